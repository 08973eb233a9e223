/* The place of a file, and matrices of embeddings. */
#include "row_file.h"

#include "tandem/eval.h"
#include "tandem/h5.h"

#include <errno.h>
#include <math.h>

/* ---- Which file, what kind ---- */

static bool begins_like_h5(const char *path)
{
    static const unsigned char want[8] = "\x89HDF\r\n\x1a\n";
    unsigned char head[8];
    FILE *file = fopen(path, "rb");
    if (file == NULL) return false;
    const bool is_h5 = fread(head, 1, sizeof head, file) == sizeof head && memcmp(head, want, 8) == 0;
    fclose(file);
    return is_h5;
}

/* What exists is taken as it is; else the first colon behind something that exists divides it. */
static tdm_status split_place(row_file *file)
{
    file->name = "";
    snprintf(file->path, sizeof file->path, "%s", file->given);
    if (tdm_path_exists(file->path) && strlen(file->given) < sizeof file->path) return TDM_OK;
    for (const char *colon = strchr(file->given, ':'); colon != NULL; colon = strchr(colon + 1, ':')) {
        const size_t length = (size_t)(colon - file->given);
        if (length >= sizeof file->path) break;
        snprintf(file->path, sizeof file->path, "%.*s", (int)length, file->given);
        if (!tdm_path_exists(file->path)) continue;
        file->name = colon + 1 + strspn(colon + 1, "/");
        return TDM_OK;
    }
    TDM_FAIL(TDM_E_IO, "%s: %s: no such file or directory", file->option, file->given);
}

static tdm_status find_kind(row_file *file, tdm_reading *reading)
{
    static const char *const kinds[] = {"text", "arrays", "HDF5", "embeddings"};
    TDM_TRY(split_place(file));
    file->kind = tdm_path_is_dir(file->path)     ? ROW_EMBEDDINGS
                 : tdm_arrays_are_in(file->path) ? ROW_ARRAYS
                 : begins_like_h5(file->path)    ? ROW_H5
                                                 : ROW_TEXT;
    TDM_TRY(tdm_reading_add(reading, "kind of file", file->path, kinds[file->kind]));
    /* A directory's files are compared when they are read. */
    return file->kind == ROW_EMBEDDINGS ? TDM_OK : tdm_reading_add_file(reading, file->option, file->path);
}

tdm_status row_file_find(tdm_comm *comm, const char *option, const char *given, row_file *file)
{
    tdm_reading reading = {0};
    *file = (row_file){.option = option, .given = given};
    return tdm_comm_agree_on(comm, find_kind(file, &reading), &reading);
}

/* ---- Matrices ---- */

enum { MAPPED_BYTES = 64 << 20 };

/* Sets the shape; value, unless it would take more than most_bytes on some rank. */
static tdm_status take_part(tdm_comm *comm, const row_file *file, int64_t rows, int64_t width,
                            int64_t most_bytes, row_matrix *matrix)
{
    const int size = tdm_comm_size(comm), rank = tdm_comm_rank(comm);
    TDM_REQUIRE(rows > 0 && width > 0, TDM_E_SHAPE, "%s: %s is empty: its shape is [%lld, %lld]",
                file->option, file->given, (long long)rows, (long long)width);
    matrix->rows = rows;
    matrix->width = width;
    matrix->first = tdm_part_begin(rows, size, rank);
    matrix->n = tdm_part_begin(rows, size, rank + 1) - matrix->first;
    matrix->in_file = (rows + size - 1) / size * width * (int64_t)sizeof(float) > most_bytes;
    return matrix->in_file ? TDM_OK : TDM_ALLOC(matrix->n * width, &matrix->value);
}

const tdm_array *row_file_array(const row_file *file, const tdm_arrays *arrays)
{
    if (file->name[0] != '\0') return tdm_arrays_find(arrays, file->name);
    return tdm_arrays_count(arrays) == 1 ? tdm_arrays_at(arrays, 0) : NULL;
}

static tdm_status find_array(const row_file *file, tdm_arrays *arrays, const tdm_array **found)
{
    TDM_TRY(tdm_arrays_add(arrays, file->path));
    *found = row_file_array(file, arrays);
    if (*found != NULL) {
        const tdm_array *a = *found;
        TDM_REQUIRE(a->fault == NULL, TDM_E_FORMAT, "%s: %s: %s %s", file->option, file->given, a->name,
                    a->fault);
        return TDM_OK;
    }
    tdm_text holds = {0};
    tdm_status status = tdm_arrays_describe(arrays, &holds);
    if (status == TDM_OK)
        status = TDM_ERROR(TDM_E_USAGE, "%s: %s: which array? Write FILE:NAME; the file holds %.500s",
                           file->option, file->given, holds.data);
    tdm_text_free(&holds);
    return status;
}

/* comm: the shape is taken from the file; NULL: the rows of *matrix are known, and read. */
static tdm_status read_array_rows(tdm_comm *comm, const row_file *file, int64_t most_bytes,
                                  row_matrix *matrix)
{
    tdm_arrays *arrays = NULL;
    const tdm_array *a = NULL;
    TDM_TRY(tdm_arrays_create(&arrays));
    tdm_status status = find_array(file, arrays, &a);
    if (status == TDM_OK && (a->ndim != 2 || a->type[0] != 'f'))
        status = TDM_ERROR(TDM_E_SHAPE,
                           "%s: %s: is %s of %d dimensions; embeddings are f16, f32 or f64 [rows, width]",
                           file->option, file->given, a->type, a->ndim);
    if (status == TDM_OK && comm) status = take_part(comm, file, a->rows, a->width, most_bytes, matrix);
    for (int64_t i = 0; status == TDM_OK && matrix->value != NULL && i < matrix->n; i++)
        status = tdm_array_row(a, matrix->first + i, matrix->value + i * matrix->width);
    tdm_arrays_destroy(&arrays);
    return status;
}

/* "/a f32 [3, 4], …" of what an HDF5 file holds, for messages. */
static tdm_status which_set(const row_file *file)
{
    tdm_h5_items items = {0};
    char holds[512] = "";
    size_t used = 0;
    TDM_TRY(tdm_h5_list(file->path, &items));
    for (int64_t i = 0; i < items.count; i++) {
        const tdm_h5_item *item = &items.item[i];
        if (item->value != NULL || used + 1 >= sizeof holds) continue;
        used += (size_t)snprintf(holds + used, sizeof holds - used, "%s%s %s of %d dimensions",
                                 used > 0 ? ", " : "", item->name, item->type, item->ndim);
    }
    tdm_h5_items_free(&items);
    TDM_FAIL(TDM_E_USAGE, "%s: %s: which data set? Write FILE:/PATH; the file holds %s", file->option,
             file->given, holds[0] != '\0' ? holds : "none");
}

/* Data set file->name must have `ndim` dimensions; shape of any. */
static tdm_status find_set(const row_file *file, const tdm_h5 *h5, int ndim, int64_t shape[TDM_H5_MAX_DIMS])
{
    int found = -1;
    if (file->name[0] != '\0') TDM_TRY(tdm_h5_find_shape(h5, file->name, &found, shape));
    if (found < 0) return which_set(file);
    TDM_REQUIRE(found == ndim, TDM_E_SHAPE, "%s: %s: has %d dimensions; %s", file->option, file->given, found,
                ndim == 2 ? "embeddings are f16, f32 or f64 [rows, width]" : "names are a list [rows]");
    return TDM_OK;
}

static tdm_status read_set_rows(tdm_comm *comm, const row_file *file, int64_t most_bytes, row_matrix *matrix)
{
    tdm_h5 *h5 = NULL;
    tdm_h5_array *set = NULL;
    int64_t shape[TDM_H5_MAX_DIMS];
    TDM_TRY(tdm_h5_open(file->path, NULL, 0, &h5));
    tdm_status status = find_set(file, h5, 2, shape);
    if (status == TDM_OK)
        status = comm ? tdm_h5_open_array(h5, file->name, TDM_H5_F32, 2, shape, &set)
                      : tdm_h5_open_array_again(h5, file->name, TDM_H5_F32, 2, 0, shape, &set);
    if (status == TDM_OK && comm) status = take_part(comm, file, shape[0], shape[1], most_bytes, matrix);
    if (status == TDM_OK && matrix->value) status = tdm_h5_read(set, matrix->first, matrix->n, matrix->value);
    tdm_h5_discard(&h5);
    return status;
}

/* Which image each row of Tandem's own embeddings belongs to: its place in the gallery of images. Collective. */
static tdm_status gather_images(tdm_comm *comm, const int64_t *own, row_matrix *matrix)
{
    int64_t *rows = NULL;
    tdm_status status = TDM_ALLOC(tdm_comm_size(comm), &rows);
    if (status == TDM_OK) status = TDM_ALLOC(matrix->rows, &matrix->image);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        tdm_comm_gather_i64(comm, matrix->n, rows);
        tdm_comm_gather_rows(comm, own, matrix->image, rows, sizeof *own);
    }
    tdm_free(rows);
    return status;
}

static tdm_status take_images(tdm_comm *comm, tdm_embeddings *e, row_matrix *matrix)
{
    matrix->value = e->image;
    e->image = NULL;
    TDM_AGREE(comm, TDM_ALLOC(matrix->rows, &matrix->image));
    for (int64_t i = 0; i < matrix->rows; i++) matrix->image[i] = i;
    return TDM_OK;
}

static tdm_status take_texts(tdm_comm *comm, tdm_embeddings *e, row_matrix *matrix)
{
    matrix->value = e->text;
    e->text = NULL;
    return gather_images(comm, e->image_row_of_caption, matrix);
}

/* Collective. */
static tdm_status read_embeddings(tdm_comm *comm, const row_file *file, const char *split, row_matrix *matrix)
{
    char name[32];
    tdm_embedding_info info;
    tdm_embeddings e = {0};
    const bool texts = strcmp(file->name, "text") == 0;
    snprintf(name, sizeof name, "%s", split);
    TDM_AGREE(comm,
              texts || strcmp(file->name, "image") == 0
                  ? tdm_embeddings_find_split(file->path, name, sizeof name)
                  : TDM_ERROR(TDM_E_USAGE, "%s: %s: is a directory of embeddings; write %s:image or %s:text",
                              file->option, file->given, file->path, file->path));
    TDM_TRY(tdm_embeddings_read(comm, file->path, name, &info, &e));
    matrix->is_unit = true;
    matrix->width = e.d;
    matrix->n = matrix->rows = texts ? e.captions : e.images;
    matrix->first = texts ? e.caption_first : e.image_first;
    tdm_comm_sum_i64(comm, &matrix->rows, 1);
    tdm_status status = texts ? take_texts(comm, &e, matrix) : take_images(comm, &e, matrix);
    tdm_embeddings_free(&e);
    return status;
}

static tdm_status check_finite(const row_file *file, const row_matrix *matrix)
{
    int64_t bad = 0, first = 0;
    for (int64_t i = 0; i < matrix->n; i++) {
        bool finite = true;
        for (int64_t k = 0; k < matrix->width; k++) finite &= isfinite(matrix->value[i * matrix->width + k]);
        if (!finite && bad++ == 0) first = matrix->first + i;
    }
    TDM_REQUIRE(bad == 0, TDM_E_NUMERIC,
                "%s: %s: row %lld holds a NaN or an infinite value in f32 (%lld such rows among rows %lld to "
                "%lld)",
                file->option, file->given, (long long)first, (long long)bad, (long long)matrix->first,
                (long long)(matrix->first + matrix->n - 1));
    return TDM_OK;
}

tdm_status row_matrix_read(tdm_comm *comm, const row_file *file, const char *split, int64_t most_bytes,
                           row_matrix *matrix)
{
    switch (file->kind) {
    case ROW_EMBEDDINGS: TDM_TRY(read_embeddings(comm, file, split, matrix)); break;
    case ROW_ARRAYS: TDM_AGREE(comm, read_array_rows(comm, file, most_bytes, matrix)); break;
    case ROW_H5: TDM_AGREE(comm, read_set_rows(comm, file, most_bytes, matrix)); break;
    case ROW_TEXT:
        TDM_AGREE(comm,
                  TDM_ERROR(TDM_E_FORMAT,
                            "%s: %s: is no .npy, .npz, HDF5 or MATLAB file and no directory of embeddings",
                            file->option, file->given));
    }
    return tdm_comm_agree(comm, matrix->in_file ? TDM_OK : check_finite(file, matrix));
}

tdm_status row_matrix_rows(const row_file *file, row_matrix *part)
{
    /* A file of arrays is mapped: what has been read of it is given back after each of these. */
    const int64_t step = tdm_max_i64(1, MAPPED_BYTES / (part->width * (int64_t)sizeof(float)));
    if (file->kind == ROW_H5) TDM_TRY(read_set_rows(NULL, file, 0, part));
    for (int64_t begin = 0; file->kind != ROW_H5 && begin < part->n; begin += step) {
        row_matrix some = *part;
        some.first += begin;
        some.n = tdm_min_i64(step, part->n - begin);
        some.value += begin * part->width;
        TDM_TRY(read_array_rows(NULL, file, 0, &some));
    }
    return check_finite(file, part);
}

void row_matrix_keep(row_matrix *matrix, const bool *keep)
{
    int64_t rows = 0, first = 0, n = 0;
    for (int64_t i = 0; i < matrix->rows; i++) {
        if (!keep[i]) continue;
        first += i < matrix->first;
        if (matrix->image) matrix->image[rows] = matrix->image[i];
        rows++;
    }
    for (int64_t i = 0; i < matrix->n; i++)
        if (keep[matrix->first + i])
            memmove(matrix->value + matrix->width * n++, matrix->value + matrix->width * i,
                    (size_t)matrix->width * sizeof *matrix->value);
    matrix->rows = rows;
    matrix->first = first;
    matrix->n = n;
}

void row_matrix_free(row_matrix *matrix)
{
    tdm_free(matrix->value);
    tdm_free(matrix->image);
    *matrix = (row_matrix){0};
}

tdm_status row_matrix_normalise(const char *option, const char *given, row_matrix *m)
{
    for (int64_t i = 0; !m->is_unit && i < m->n; i++) {
        float *row = m->value + i * m->width;
        double square = 0;
        for (int64_t k = 0; k < m->width; k++) square += (double)row[k] * (double)row[k];
        TDM_REQUIRE(square > 0, TDM_E_NUMERIC,
                    "%s: %s: row %lld is all zeros: it has no cosine (--distance dot and euclidean take it)",
                    option, given, (long long)(m->first + i));
        const double norm = sqrt(square);
        for (int64_t k = 0; k < m->width; k++) row[k] = (float)((double)row[k] / norm);
    }
    return TDM_OK;
}
