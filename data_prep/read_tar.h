/* Private to data_prep: the regular files in an uncompressed tar file, in its order, each with its place, so
 * that the packer can read it without the archive. Errors name tar and member.
 *
 *     tar_reader tar;
 *     tdm_status status = tar_open("000.tar", &tar);
 *     while (status == TDM_OK && (status = tar_next(&tar, &found)) == TDM_OK && found) use(tar.name, tar.offset);
 *     tar_close(&tar);
 */
#ifndef TANDEM_READ_TAR_H
#define TANDEM_READ_TAR_H

#include "tandem/base.h"

typedef struct tar_reader {
    const char *path;      /* borrowed */
    const char *name;      /* of the present member; valid until the next one */
    int64_t offset, bytes; /* of its data in the tar file */
    /* the reader's own */
    struct archive *archive;
} tar_reader;

/* Pair with tar_close, after a failure too. */
TDM_CHECKED tdm_status tar_open(const char *path, tar_reader *tar);
/* *found is false behind the last member. */
TDM_CHECKED tdm_status tar_next(tar_reader *tar, bool *found);
/* The present member's data into `out` (cleared first), once. More than `most_bytes` is an error. */
TDM_CHECKED tdm_status tar_read(tar_reader *tar, int64_t most_bytes, tdm_text *out);
void tar_close(tar_reader *tar);

#endif
