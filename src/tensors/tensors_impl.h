/* Inside src/tensors/:
 *   file.c               opening by content, the list of tensors, reading one
 *   foreign.c            what is no file of tensors
 *   convert.c            element types and their values as f32
 *   safetensors_read.c   a safetensors file
 *   safetensors_write.c
 *   shards.c             the index of a sharded file
 *   zip.c                the container of .pt archives
 *   pickle.c             the machine that reads pickles
 *   torch_read.c         the tensors in a pickle */
#ifndef TANDEM_TENSORS_IMPL_H
#define TANDEM_TENSORS_IMPL_H

#include "tandem/tensors.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the files are little-endian, values are copied");

typedef struct tensor_source { /* an open file */
    char *path;
    int fd;
    int64_t bytes;
} tensor_source;

typedef struct tensor_entry {
    tdm_tensor tensor; /* name owned */
    int64_t source;
    int64_t first_byte;                  /* of element 0, in the source */
    int64_t stride[TDM_TENSOR_MAX_DIMS]; /* in elements, not negative */
    int64_t span;                        /* elements from the first to the last, in the source */
} tensor_entry;

struct tdm_tensor_file {
    tensor_source *source;
    int64_t sources, source_capacity;
    tensor_entry *entry;
    int64_t entries, entry_capacity;
    const tensor_entry **by_name; /* [entries], sorted, once all are known */
};

/* Makes room for one more item in an array from malloc. */
TDM_CHECKED tdm_status tensor_grow(void *array, int64_t count, int64_t *capacity, size_t item_bytes);

/* out[bytes] from offset `at`, which must lie within the source. */
TDM_CHECKED tdm_status source_read(const tensor_source *source, int64_t at, size_t bytes, void *out);

/* elements = product of shape. The message names source and tensor. */
TDM_CHECKED tdm_status tensor_count_elements(const char *path, const char *name, int ndim,
                                             const int64_t *shape, int64_t *elements);

/* Adds a copy of `entry` under a copy of its name; fills elements, and with stride = NULL those of a
 * row-major tensor. The caller has checked that it lies within its source. */
TDM_CHECKED tdm_status tensor_file_add(tdm_tensor_file *file, const tensor_entry *entry);
/* Opens `path` by its content and adds its tensors; an index is followed only where `may_be_index`. */
TDM_CHECKED tdm_status tensor_file_add_path(tdm_tensor_file *file, const char *path, bool may_be_index);

/* Add the tensors of the file's last source. */
TDM_CHECKED tdm_status safetensors_read(tdm_tensor_file *file);
TDM_CHECKED tdm_status shards_read(tdm_tensor_file *file);
TDM_CHECKED tdm_status torch_read(tdm_tensor_file *file);

/* TDM_E_FORMAT when the file that begins with head[bytes] is of a known other kind: says which, and what to do. */
TDM_CHECKED tdm_status foreign_known(const char *path, const unsigned char *head, size_t bytes);
/* Always fail: say what the file or the folder is. */
TDM_CHECKED tdm_status foreign_file(const char *path, const unsigned char *head, size_t bytes);
TDM_CHECKED tdm_status foreign_folder(const char *dir);

enum { SAFETENSORS_HEADER_BYTES_MAX = 100000000 }; /* as in the reference implementation */

bool tensor_type_by_name(const char *name, tdm_tensor_type *type);
/* n values of `type`, packed, from bytes of any alignment */
void tensor_to_f32(tdm_tensor_type type, int64_t n, const void *from, float *to);
uint16_t tensor_f32_to_f16(float value);

#endif
