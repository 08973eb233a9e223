/* The index's rows as they stand in the file. */
#ifndef TANDEM_INDEX_IMPL_H
#define TANDEM_INDEX_IMPL_H

#include "shard_impl.h"

typedef struct index_row {
    tdm_index_row row;
    int64_t file_bytes;
} index_row;

/* As tdm_index_read. */
TDM_CHECKED tdm_status index_read(const char *dir, index_row **row, int64_t *count);

#endif
