/* Named arrays as other programs write them: NumPy (.npy, .npz), MATLAB (versions 5 to 7.2, and 7.3, which is HDF5) and
 * pickles of a dictionary of NumPy arrays and lists, which are only read, never executed. Not collective.
 *
 * A file is told by its content. The array of an .npy file is called by the file's name without the ending, that of a
 * pickle that is nothing but an array "array". What cannot be read (a struct, a sparse matrix) is listed all the same and
 * says why; it is an error only for those who want it.
 *
 *     tdm_arrays *arrays;
 *     TDM_TRY(tdm_arrays_create(&arrays));
 *     tdm_status status = tdm_arrays_add(arrays, "clip_train.pkl");
 *     const tdm_array *image = tdm_arrays_find(arrays, "image");
 *     if (status == TDM_OK && image) status = tdm_array_row(image, 0, out);
 *     tdm_arrays_destroy(&arrays);
 */
#ifndef TANDEM_ARRAYS_H
#define TANDEM_ARRAYS_H

#include "tandem/base.h"

enum { TDM_ARRAY_MAX_DIMS = 8 };

typedef struct tdm_array {
    const char *name;  /* as the file spells it */
    const char *file;  /* its path */
    const char *fault; /* why it cannot be read, or NULL */
    bool is_text;      /* one text per element, else numbers */
    char type[8];      /* "f32", "i64", "text" … */
    int ndim;          /* MATLAB and a NumPy scalar: as the file says */
    int64_t shape[TDM_ARRAY_MAX_DIMS];
    int64_t rows, width; /* shape[0] (1 of a scalar), and the product of the others */
} tdm_array;

typedef struct tdm_arrays tdm_arrays;
TDM_CHECKED tdm_status tdm_arrays_create(tdm_arrays **arrays);
void tdm_arrays_destroy(tdm_arrays **arrays); /* NULL is fine */
/* Does the file begin like one of these? */
bool tdm_arrays_are_in(const char *path);
/* Adds what the file holds. Errors name the file and the array: TDM_E_IO, TDM_E_FORMAT (cut off, damaged, a name that is
 * there already). */
TDM_CHECKED tdm_status tdm_arrays_add(tdm_arrays *arrays, const char *path);
int64_t tdm_arrays_count(const tdm_arrays *arrays);
const tdm_array *tdm_arrays_at(const tdm_arrays *arrays,
                               int64_t index); /* valid until the arrays are destroyed */
const tdm_array *tdm_arrays_find(const tdm_arrays *arrays, const char *name); /* NULL when not there */
/* "image f32 [800, 1024], label i64 [800]", appended: for messages. */
TDM_CHECKED tdm_status tdm_arrays_describe(const tdm_arrays *arrays, tdm_text *text);

/* out[width] of numbers as f32. The array must be readable and no text, as below. */
TDM_CHECKED tdm_status tdm_array_row(const tdm_array *array, int64_t row, float *out);
/* A whole number, from a float, too; element within the row. Errors name file, array and row. */
TDM_CHECKED tdm_status tdm_array_whole(const tdm_array *array, int64_t row, int64_t element, int64_t *value);
/* Appends row `row` of a text array or the decimal digits of a whole number. */
TDM_CHECKED tdm_status tdm_array_text(const tdm_array *array, int64_t row, tdm_text *text);

#endif
