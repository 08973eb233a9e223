/* The one layer over HDF5: shards, embeddings and checkpoints are lists of names on top of it, and no other
 * folder calls HDF5. One thread per process at a time. Not collective.
 *
 * Files are checked end to end: every data set is chunked with Fletcher-32, HDF5's own metadata carries
 * checksums, and a finished file ends with a seal, the checksums of all its blocks (src/h5/seal.c), which
 * tdm_h5_verify compares. Reading compares HDF5's only, which a chunk of zeros passes. Messages of what does not fit
 * say "PATH: is damaged: ". Nothing depends on the clock: equal content gives equal bytes. Strings have a fixed length;
 * those of variable length are refused.
 *
 * Names have no leading slash ("image/bytes"). Errors begin with the path of the file. What has failed to be
 * written can only be discarded.
 *
 *     tdm_h5 *file;
 *     TDM_TRY(tdm_h5_create(path, "tandem.shard", 1, &file));
 *     tdm_status status = tdm_h5_put_i64(file, "images", 7);
 *     if (status == TDM_OK) status = tdm_h5_finish(&file);
 *     tdm_h5_discard(&file);
 */
#ifndef TANDEM_H5_H
#define TANDEM_H5_H

#include "tandem/base.h"

#define TDM_H5_MAX_DIMS 4

/* "1.10.8": the library's version. */
void tdm_h5_library(char out[24]);

/* ---- Files ---- */
typedef struct tdm_h5 tdm_h5;

/* Overwrites. Puts the attributes format, version and tool_version. */
TDM_CHECKED tdm_status tdm_h5_create(const char *path, const char *format, int64_t version, tdm_h5 **file);
/* The same; whatever is stored begins at a multiple of 64 bytes, so that arrays of one chunk can be used where they
 * stand (tdm_h5_map). */
TDM_CHECKED tdm_status tdm_h5_create_aligned(const char *path, const char *format, int64_t version,
                                             tdm_h5 **file);
/* Read-only; the attributes format and version must be these. format NULL: any HDF5 file.
 * TDM_E_IO: missing, not a file; TDM_E_FORMAT: empty, not HDF5, truncated, another format or version. */
TDM_CHECKED tdm_status tdm_h5_open(const char *path, const char *format, int64_t version, tdm_h5 **file);
/* Writes out what HDF5 holds back, so that a full disk is met here and not in a close; closes; seals; fsyncs. On
 * failure *file is still to be discarded. */
TDM_CHECKED tdm_status tdm_h5_finish(tdm_h5 **file);
/* Closes without a care for the content: after reading, and after a write that failed. Frees the file and the
 * arrays that are open in it. NULL is fine. */
void tdm_h5_discard(tdm_h5 **file);
const char *tdm_h5_path(const tdm_h5 *file);

/* ---- Attributes of the root, scalars ---- */
TDM_CHECKED tdm_status tdm_h5_put_text(tdm_h5 *file, const char *name, const char *value);
TDM_CHECKED tdm_status tdm_h5_put_i64(tdm_h5 *file, const char *name, int64_t value);
TDM_CHECKED tdm_status tdm_h5_put_f64(tdm_h5 *file, const char *name, double value);
bool tdm_h5_has_attribute(const tdm_h5 *file, const char *name); /* false, too, when damage hides it */
/* Appends to `text`. */
TDM_CHECKED tdm_status tdm_h5_get_text(const tdm_h5 *file, const char *name, tdm_text *text);
/* Cut to bytes - 1. */
TDM_CHECKED tdm_status tdm_h5_get_chars(const tdm_h5 *file, const char *name, char *out, size_t bytes);
TDM_CHECKED tdm_status tdm_h5_get_i64(const tdm_h5 *file, const char *name, int64_t *value);
TDM_CHECKED tdm_status tdm_h5_get_f64(const tdm_h5 *file, const char *name, double *value);

/* ---- Groups ---- */
TDM_CHECKED tdm_status tdm_h5_put_group(tdm_h5 *file, const char *name);
bool tdm_h5_has(const tdm_h5 *file, const char *name); /* false, too, when damage hides it */
TDM_CHECKED tdm_status tdm_h5_find(const tdm_h5 *file, const char *name, bool *there);
/* How many links a group ("": the root) holds, and the name of each, in alphabetical order. */
TDM_CHECKED tdm_status tdm_h5_group_size(const tdm_h5 *file, const char *group, int64_t *count);
TDM_CHECKED tdm_status tdm_h5_link_name(const tdm_h5 *file, const char *group, int64_t index, char *name,
                                        size_t bytes);

/* ---- Arrays ---- rank 1 to TDM_H5_MAX_DIMS; a scalar (ndim 0) is stored as one row of one, since only
 * chunked data sets carry checksums. Little endian in the file. Reading converts between integers of any
 * width, and between floats; a set of the other class is refused. So is a set that claims rows which were
 * never written: HDF5 would give zeros for them. */
typedef enum tdm_h5_type { TDM_H5_U8, TDM_H5_U16, TDM_H5_I64, TDM_H5_F32, TDM_H5_F64 } tdm_h5_type;

/* Chunks of about chunk_bytes, cut along the first dimensions. */
TDM_CHECKED tdm_status tdm_h5_put_array(tdm_h5 *file, const char *name, tdm_h5_type type, int ndim,
                                        const int64_t *shape, int64_t chunk_bytes, const void *data);
/* The whole array, which must have this shape (TDM_E_SHAPE). */
TDM_CHECKED tdm_status tdm_h5_get_array(tdm_h5 *file, const char *name, tdm_h5_type type, int ndim,
                                        const int64_t *shape, void *out);
/* Shape of a data set; *ndim = -1 when there is none. TDM_E_FORMAT: it has more than TDM_H5_MAX_DIMS dimensions. */
TDM_CHECKED tdm_status tdm_h5_find_shape(const tdm_h5 *file, const char *name, int *ndim,
                                         int64_t shape[TDM_H5_MAX_DIMS]);
/* A whole list of i64. *count >= 0: as many are required; else filled. *out: tdm_free. */
TDM_CHECKED tdm_status tdm_h5_get_i64s(tdm_h5 *file, const char *name, int64_t *count, int64_t **out);
/* A whole list of bytes, at most 1 GiB, appended to `text`. */
TDM_CHECKED tdm_status tdm_h5_get_bytes(tdm_h5 *file, const char *name, tdm_text *text);

/* Piece by piece. The file owns its open arrays: closing one earlier is optional. */
typedef struct tdm_h5_array tdm_h5_array;
/* An array [0] or [0][width] (width 0: one dimension) that grows along its first dimension. */
TDM_CHECKED tdm_status tdm_h5_grow(tdm_h5 *file, const char *name, tdm_h5_type type, int64_t width,
                                   int64_t chunk_bytes, tdm_h5_array **array);
TDM_CHECKED tdm_status tdm_h5_append(tdm_h5_array *array, int64_t rows, const void *data);
/* shape[ndim] is filled. */
TDM_CHECKED tdm_status tdm_h5_open_array(tdm_h5 *file, const char *name, tdm_h5_type type, int ndim,
                                         int64_t *shape, tdm_h5_array **array);
/* The same for an array that this process has opened before: that every row was written is not looked up
 * again, which takes a walk over all chunks. cache_bytes: of chunks in memory, 0 for HDF5's megabyte. */
TDM_CHECKED tdm_status tdm_h5_open_array_again(tdm_h5 *file, const char *name, tdm_h5_type type, int ndim,
                                               int64_t cache_bytes, int64_t *shape, tdm_h5_array **array);
/* Rows [first, first + n) of the first dimension. */
TDM_CHECKED tdm_status tdm_h5_read(tdm_h5_array *array, int64_t first, int64_t n, void *out);
void tdm_h5_close_array(tdm_h5_array **array); /* NULL is fine */

/* ---- Lists of strings ---- the bytes of all behind one another in PREFIXbytes, where each begins in
 * PREFIXoffset [count + 1]: piece i is [offset[i], offset[i + 1]) */
typedef struct tdm_h5_strings { /* zero-initialise; tdm_h5_strings_free */
    tdm_text bytes, ends;       /* ends: i64[count] */
    int64_t count;
} tdm_h5_strings;
TDM_CHECKED tdm_status tdm_h5_strings_add(tdm_h5_strings *list, const char *string, size_t bytes);
void tdm_h5_strings_free(tdm_h5_strings *list);
/* String i, not NUL-terminated. */
const char *tdm_h5_strings_at(const tdm_h5_strings *list, int64_t i, int64_t *bytes);
TDM_CHECKED tdm_status tdm_h5_put_strings(tdm_h5 *file, const char *prefix, const tdm_h5_strings *list);
/* The offsets alone: they begin with 0, do not decrease, no piece is shorter than `shortest` or longer than
 * `longest`, and the last is the length of the bytes. *count as in tdm_h5_get_i64s, of strings. *offset
 * [*count + 1]: tdm_free. */
TDM_CHECKED tdm_status tdm_h5_get_offsets(tdm_h5 *file, const char *prefix, int64_t shortest, int64_t longest,
                                          int64_t *count, int64_t **offset);
/* All of it; `list` is cleared first. */
TDM_CHECKED tdm_status tdm_h5_get_strings(tdm_h5 *file, const char *prefix, int64_t longest,
                                          tdm_h5_strings *list);

/* ---- Columns ---- `count` texts of `bytes` characters each, padded with NULs */
TDM_CHECKED tdm_status tdm_h5_put_cells(tdm_h5 *file, const char *name, size_t bytes, int64_t count,
                                        int64_t chunk_bytes, const char *cells);
/* Texts of another width are cut or padded. *count as in tdm_h5_get_i64s. *cells: tdm_free. */
TDM_CHECKED tdm_status tdm_h5_get_cells(tdm_h5 *file, const char *name, size_t bytes, int64_t *count,
                                        char **cells);

/* ---- A sealed file in memory ---- read only, by pages as they are used. It may be renamed or removed meanwhile, but not
 * written into or cut. */
typedef struct tdm_h5_map tdm_h5_map;
/* *map NULL, and TDM_OK: the file has no seal, or cannot be mapped. TDM_E_FORMAT: it is cut, or its seal is damaged. */
TDM_CHECKED tdm_status tdm_h5_map_open(const char *path, tdm_h5_map **map);
void tdm_h5_map_close(tdm_h5_map **map); /* NULL is fine */
/* TDM_E_IO: by now the path names another file. */
TDM_CHECKED tdm_status tdm_h5_map_check_name(const tdm_h5_map *map);
const void *tdm_h5_map_bytes(const tdm_h5_map *map);
int64_t tdm_h5_map_end(const tdm_h5_map *map); /* bytes in front of the seal */
/* Compares the seal's blocks that hold bytes [begin, end), each once in the map's life. The same errors as tdm_h5_verify. */
TDM_CHECKED tdm_status tdm_h5_map_compare(tdm_h5_map *map, int64_t begin, int64_t end);
/* Where the arrays of a group stand in the file. */
typedef struct tdm_h5_place {
    char name[256]; /* in the group */
    int ndim;
    int64_t shape[TDM_H5_MAX_DIMS];
    int64_t at, bytes; /* as f32 in one piece, in this machine's order; at -1: not so */
} tdm_h5_place;
/* By name. *place: tdm_free. */
TDM_CHECKED tdm_status tdm_h5_find_places(const tdm_h5 *file, const char *group, tdm_h5_place **place,
                                          int64_t *count);

/* ---- Any HDF5 file, for `tandem info` ---- */
typedef struct tdm_h5_item {
    char *name;    /* of a root attribute ("format"), or path of a data set ("/param/logit_scale") */
    char *value;   /* of an attribute; NULL for a data set */
    char type[16]; /* "f32", "i64", "u8", "string" … */
    int ndim;
    int64_t shape[TDM_H5_MAX_DIMS];
    int64_t elements;
} tdm_h5_item;
typedef struct tdm_h5_items { /* owned; tdm_h5_items_free */
    tdm_h5_item *item;
    int64_t count, capacity;
} tdm_h5_items;
TDM_CHECKED tdm_status tdm_h5_list(const char *path, tdm_h5_items *items);
const tdm_h5_item *tdm_h5_items_find(const tdm_h5_items *items, const char *name); /* NULL when not there */
void tdm_h5_items_free(tdm_h5_items *items);
/* Reads the file once and compares its seal; without one (it was written by an older version or changed by another
 * program) every data set and HDF5's checksum of it. Errors name the file, and the bytes or the data set. */
TDM_CHECKED tdm_status tdm_h5_verify(const char *path);
/* Part `part` of `parts` of comparing the seal; nothing without one. *sealed: whether there is one. */
TDM_CHECKED tdm_status tdm_h5_compare_seal(const char *path, int64_t part, int64_t parts, bool *sealed);
/* Part `part` of `parts` of the same work, which cover it together. *sealed: whether there is a seal. */
TDM_CHECKED tdm_status tdm_h5_verify_part(const char *path, int64_t part, int64_t parts, bool *sealed);
/* Equal where the content of two files was equal when they were finished: the seal's own checksum and the size, which
 * reads 32 bytes; without a seal, tdm_file_digest. Damage since then is not seen. */
TDM_CHECKED tdm_status tdm_h5_digest(const char *path, char digest[65]);

#endif
