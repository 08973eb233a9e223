/* Inside src/tensors/: named arrays.
 *   arrays.c         files by content, the list, reading elements
 *   arrays_numpy.c   .npy, .npz
 *   arrays_matlab.c  MATLAB 5 to 7.2
 *   arrays_h5.c      MATLAB 7.3
 *   arrays_pickle.c  pickles */
#ifndef TANDEM_ARRAYS_IMPL_H
#define TANDEM_ARRAYS_IMPL_H

#include "tandem/arrays.h"

typedef enum array_kind { ARRAY_FLOAT, ARRAY_INT, ARRAY_UINT, ARRAY_UTF32, ARRAY_BYTES } array_kind;

typedef struct array_type { /* of one element */
    array_kind kind;
    int64_t bytes;   /* each, where it is a number; of the whole text in the kinds of text */
    bool is_swapped; /* big-endian */
} array_type;

typedef struct array {
    tdm_array shown; /* must be the first; name and fault are owned */
    array_type type;
    int64_t stride[TDM_ARRAY_MAX_DIMS]; /* in bytes */
    const unsigned char *data;          /* element 0 */
    char **text;                        /* [rows] owned, in place of data; NULL: none */
} array;

/* One more array, which is not readable yet; it stays the arrays'. */
TDM_CHECKED tdm_status array_add(tdm_arrays *arrays, const char *path, const char *name, size_t name_bytes,
                                 array **added);
/* It cannot be read: `why` follows "PATH: NAME ". */
TDM_PRINTF(2, 3) TDM_CHECKED tdm_status array_fault(array *a, const char *fmt, ...);
/* Its elements lie at data[bytes] without gaps, the last index or (is_fortran) the first running fastest. */
TDM_CHECKED tdm_status array_place(array *a, array_type type, int ndim, const int64_t *shape, bool is_fortran,
                                   const void *data, uint64_t bytes);
/* A list of `rows` texts, or of numbers; the caller fills (*text)[i] with strdup's, or (*number)[i]. */
TDM_CHECKED tdm_status array_texts(array *a, int64_t rows, char ***text);
TDM_CHECKED tdm_status array_numbers(tdm_arrays *arrays, array *a, int64_t rows, int64_t **number);
/* Memory that lives as long as the arrays. */
TDM_CHECKED tdm_status arrays_own(tdm_arrays *arrays, size_t bytes, void **out);
/* "<f4", "f4", "|S10", "<U7". False: another one. */
bool array_type_parse(const char *code, size_t length, array_type *type);

typedef struct array_file {
    const char *path;
    int fd;
    const unsigned char *data; /* [bytes] mapped, valid as long as the arrays */
    size_t bytes;
} array_file;
TDM_CHECKED tdm_status npy_read(tdm_arrays *arrays, const array_file *file);
TDM_CHECKED tdm_status npz_read(tdm_arrays *arrays, const array_file *file);
TDM_CHECKED tdm_status matlab_read(tdm_arrays *arrays, const array_file *file);
TDM_CHECKED tdm_status matlab_h5_read(tdm_arrays *arrays, const array_file *file);
TDM_CHECKED tdm_status pickled_arrays_read(tdm_arrays *arrays, const array_file *file);

#endif
