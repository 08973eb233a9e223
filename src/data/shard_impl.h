/* What the shard writer, the index and the reader share: HDF5 without its printed errors, with ours. */
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

enum { SHARD_CHUNK_BYTES = 65536, SHARD_TEXT_CHUNK_BYTES = 16384, SHARD_CHUNK_ROWS = 8192 };

/* ---- files ---- the caller closes with H5Fclose */
/* Read-only. Errors name the path: missing, not HDF5, truncated, wrong format attribute or version. */
TDM_CHECKED tdm_status shard_h5_open(const char *path, const char *format, hid_t *file);

/* ---- root attributes ---- */
TDM_CHECKED tdm_status shard_h5_put_text(const char *path, hid_t file, const char *name, const char *value);
TDM_CHECKED tdm_status shard_h5_put_i64(const char *path, hid_t file, const char *name, int64_t value);
/* Fixed or variable length; cut to bytes - 1. */
TDM_CHECKED tdm_status shard_h5_get_text(const char *path, hid_t file, const char *name, char *out,
                                         size_t bytes);
TDM_CHECKED tdm_status shard_h5_get_i64(const char *path, hid_t file, const char *name, int64_t *value);

/* ---- data sets ---- names without a leading slash */
TDM_CHECKED tdm_status shard_h5_put_group(const char *path, hid_t file, const char *name);
/* Chunked, Fletcher-32. dims[rank] now; extendible along the first dimension when `grows`. *dataset may be
 * NULL, else the caller closes it. data may be NULL. */
TDM_CHECKED tdm_status shard_h5_put(const char *path, hid_t file, const char *name, hid_t type, int rank,
                                    const hsize_t *dims, hsize_t chunk_rows, bool grows, const void *data,
                                    hid_t *dataset);
/* Opens a data set that must have `rank` dimensions; fills dims[rank]. The caller closes with H5Dclose. */
TDM_CHECKED tdm_status shard_h5_open_dataset(const char *path, hid_t file, const char *name, int rank,
                                             hsize_t *dims, hid_t *dataset);
bool shard_h5_has(hid_t file, const char *name);
/* Rows [first, first + n) of a data set of one or two dimensions (width = second dimension, else 1) into
 * `out`, converted to `type`. On failure the reason is tdm_h5_reason(); the caller makes the message. */
bool shard_h5_read(hid_t dataset, hid_t type, int64_t first, int64_t n, int64_t width, void *out);
/* A whole i64[*count] data set; *count is filled, or, when it is >= 0, required. *out: tdm_free. */
TDM_CHECKED tdm_status shard_h5_read_i64(const char *path, hid_t file, const char *name, int64_t *count,
                                         int64_t **out);

/* ---- what the reader shares with the loader ---- */
const char *dataset_dir(const tdm_dataset *dataset);
const char *dataset_split(const tdm_dataset *dataset);

#endif
