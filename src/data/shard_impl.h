/* What the shard writer, the index and the reader share. */
#ifndef TANDEM_SHARD_IMPL_H
#define TANDEM_SHARD_IMPL_H

#include "tandem/h5.h"
#include "tandem/shard.h"

#define SHARD_FORMAT      "tandem.shard"
#define INDEX_FORMAT      "tandem.dataset"
#define INDEX_FILE        "dataset.h5"
#define SHARD_VERSION     1
#define SHARD_NAME_BYTES  4096                /* longest source name or class name that is stored whole */
#define SHARD_IMAGE_BYTES (INT64_C(1) << 30)  /* largest encoded image */
#define SHARD_TEXT_BYTES  (INT64_C(16) << 20) /* longest caption */

enum { SHARD_CHUNK_BYTES = 65536, SHARD_FEATURE_WIDTH = 1 << 20 /* widest feature */ };

const char *dataset_dir(const tdm_dataset *dataset);
const char *dataset_split(const tdm_dataset *dataset);

/* "image/feature", "caption/feature" */
const char *shard_feature_name(tdm_modality modality);

#endif
