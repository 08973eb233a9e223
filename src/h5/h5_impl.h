/* Private to src/h5.
 *
 *   h5.c         files: create, open, finish, discard; what a failure is called
 *   attribute.c  attributes of the root, groups
 *   array.c      data sets, in pieces and whole
 *   strings.c    lists of strings, columns of texts
 *   list.c       what a file holds, and reading everything once
 *   seal.c       checksums of the whole file, behind its end
 *   map.c        a sealed file in memory */
#ifndef TANDEM_H5_IMPL_H
#define TANDEM_H5_IMPL_H

#include "tandem/h5.h"

#include <hdf5.h>

struct tdm_h5 {
    hid_t id;
    tdm_h5_array *array; /* those that are open, linked by next */
    char path[];
};

struct tdm_h5_array {
    tdm_h5 *file;
    tdm_h5_array *next;
    hid_t id;
    tdm_h5_type type;
    int ndim;
    int64_t shape[TDM_H5_MAX_DIMS];
    char name[];
};

/* Switches HDF5's own printing off for this thread. First line of whatever may be a thread's first call. */
void h5_quiet(void);

/* Records "PATH: cannot DOING" "NAME: REASON", the reason being HDF5's: h5_cannot(code, path, "read /", name).
 * TDM_E_FORMAT: "PATH: is damaged: cannot …", since HDF5 could not make sense of the file. Any HDF5 call clears its error stack, so this stands before whatever is closed. */
TDM_CHECKED tdm_status h5_cannot(tdm_status code, const char *path, const char *doing, const char *name);

/* Whether the root holds this: 1, 0, or -1 when the file is too damaged to tell. */
int h5_look_up(const tdm_h5 *file, const char *name);

/* What is done with each data set. */
typedef tdm_status h5_dataset_visitor(const tdm_h5 *file, const char *path, hid_t dataset, void *context);
TDM_CHECKED tdm_status h5_visit_datasets(const tdm_h5 *file, h5_dataset_visitor *visit, void *context);
/* Reads a data set once, so that HDF5 compares its checksums. */
TDM_CHECKED tdm_status h5_verify_set(const tdm_h5 *file, const char *path, hid_t set);

/* ---- seal.c ---- */
typedef struct h5_seal_hashes {
    uint64_t *hash; /* [blocks and the seal's own numbers] as in the file; owned (tdm_free) */
    int64_t bytes, block_bytes, blocks;
} h5_seal_hashes;

/* Appends the checksums to a closed file and syncs it. */
TDM_CHECKED tdm_status h5_seal(const char *path);
bool h5_ends_with_seal(const char *path);
/* A file for its bytes; TDM_E_IO. The caller closes it. */
TDM_CHECKED tdm_status h5_open_bytes(const char *path, int flags, int *fd, int64_t *bytes);
/* Fills `found`; found->hash stays NULL when the file has no seal. */
TDM_CHECKED tdm_status h5_read_seal(int fd, const char *path, int64_t file_bytes, h5_seal_hashes *found);
/* Whether block number `block` is the one that was written. */
bool h5_block_is_whole(const h5_seal_hashes *seal, int64_t block, const void *data, size_t bytes);
/* The error about blocks [begin, end), with the data sets that lie there. */
TDM_CHECKED tdm_status h5_report_blocks(const char *path, const h5_seal_hashes *seal, int64_t begin,
                                        int64_t end);

/* A string type of `bytes` characters in UTF-8, padded with NULs. The caller closes it. */
hid_t h5_text_type(size_t bytes);

/* Rows [first, first + n) of a set with `ndim` dimensions, converted to `memory_type`. */
bool h5_read_rows(hid_t set, hid_t memory_type, int ndim, const hsize_t *dims, int64_t first, int64_t n,
                  void *out);
/* False when it is not an array of at most TDM_H5_MAX_DIMS dimensions. */
bool h5_set_dims(hid_t set, int *ndim, hsize_t dims[TDM_H5_MAX_DIMS]);
/* False when the bytes of so many elements are more than an i64 can count. */
bool h5_count_elements(int ndim, const hsize_t *dims, hsize_t *elements);
/* HDF5 lets a set claim any size and gives zeros for what is not there: every chunk must be stored. */
bool h5_is_written(hid_t set, int ndim, const hsize_t *dims, hsize_t elements);
/* Creates a checked set and writes `data`, unless it is NULL; the set stays open. *set is H5I_INVALID_HID
 * when it could not be created. */
TDM_CHECKED tdm_status h5_put_set(tdm_h5 *file, const char *name, hid_t file_type, hid_t memory_type,
                                  int ndim, const int64_t *shape, int64_t chunk_bytes, bool grows,
                                  const void *data, hid_t *set);
/* Closes a set that was written whole. */
TDM_CHECKED tdm_status h5_finish_set(tdm_h5 *file, const char *name, hid_t *set);
/* Opens a set that must have `ndim` dimensions, the class and, unless `again`, all its rows; fills dims. */
TDM_CHECKED tdm_status h5_open_set(const tdm_h5 *file, const char *name, H5T_class_t class, int ndim,
                                   int64_t cache_bytes, bool again, hsize_t *dims, hid_t *set);

#endif
