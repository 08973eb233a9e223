/* What namings that follow open_clip's share. */
#ifndef TANDEM_CHECKPOINT_NAMING_OPEN_CLIP_H
#define TANDEM_CHECKPOINT_NAMING_OPEN_CLIP_H

#include "naming.h"

/* SHA-256 of CLIP's merges, uncompressed (tdm_tokenizer_digest). */
#define CLIP_MERGES_DIGEST "67603cfda2e032ad77b5f8808af37789d590db664b26df8705d2bf8b3c553fc8"

extern const char *const open_clip_ignored[];
TDM_CHECKED tdm_status open_clip_read_config(const char *path, const json_t *root, model_facts *facts);

#endif
