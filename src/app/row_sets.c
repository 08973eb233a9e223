/* Several labels of each row: lines that are divided, or a matrix of 0 and 1. */
#include "row_file.h"

#include "tandem/h5.h"

#include <string.h>

enum { MOST_LABELS = 65536 }; /* distinct ones: each row has a bit for each */

/* What is collected on the way: every label of every row, one after another. */
typedef struct collection {
    const row_file *file;
    row_sets *sets;
    tdm_text bytes; /* each with its NUL */
    int64_t count;
} collection;

static tdm_status add_label(collection *c, const char *text, size_t length)
{
    TDM_TRY(tdm_text_append(&c->bytes, text, length));
    c->count++;
    return tdm_text_append(&c->bytes, "", 1);
}

/* ---- Lines ---- */

/* The pieces between the separators, without blanks at their ends; empty ones are none. */
static tdm_status add_pieces(collection *c, const char *line, const char *separators)
{
    static const char blank[] = " \t\r";
    for (const char *at = line;; at++) {
        at += strspn(at, blank);
        const size_t length = strcspn(at, separators);
        size_t kept = length;
        while (kept > 0 && strchr(blank, at[kept - 1]) != NULL) kept--;
        if (kept > 0) TDM_TRY(add_label(c, at, kept));
        at += length;
        if (*at == '\0') return TDM_OK;
    }
}

static tdm_status divide_names(collection *c, const row_names *names, const char *separators)
{
    for (int64_t i = 0; i < names->count; i++) {
        TDM_TRY(add_pieces(c, row_names_at(names, i), separators));
        c->sets->first[i + 1] = c->count;
    }
    return TDM_OK;
}

/* ---- A matrix ---- */

static tdm_status add_columns(collection *c, int64_t row, const float *value)
{
    for (int64_t k = 0; k < c->sets->columns; k++) {
        char number[24];
        TDM_REQUIRE(value[k] == 0 || value[k] == 1, TDM_E_DATA,
                    "%s: %s: row %lld, column %lld is %g; a matrix of labels holds 0 and 1", c->file->option,
                    c->file->given, (long long)row, (long long)k, (double)value[k]);
        if (value[k] == 0) continue;
        const int length = snprintf(number, sizeof number, "%lld", (long long)k);
        TDM_TRY(add_label(c, number, (size_t)length));
    }
    c->sets->first[row + 1] = c->count;
    return TDM_OK;
}

static tdm_status check_rows(const collection *c, int64_t has, const char *of)
{
    TDM_REQUIRE(has == c->sets->rows, TDM_E_SHAPE, "%s: %s: has %lld rows, %s has %lld rows", c->file->option,
                c->file->given, (long long)has, of, (long long)c->sets->rows);
    return TDM_OK;
}

/* The array that the place names when it is a matrix of numbers; NULL: it is something else. */
static tdm_status find_matrix(const row_file *file, tdm_arrays *arrays, const tdm_array **found)
{
    TDM_TRY(tdm_arrays_add(arrays, file->path));
    const tdm_array *a = row_file_array(file, arrays);
    const bool is = a && !a->fault && !a->is_text && a->ndim == 2 && a->width > 1;
    *found = is ? a : NULL;
    return TDM_OK;
}

static tdm_status read_array(collection *c, const char *of)
{
    tdm_arrays *arrays = NULL;
    const tdm_array *a = NULL;
    float *value = NULL;
    TDM_TRY(tdm_arrays_create(&arrays));
    tdm_status status = find_matrix(c->file, arrays, &a);
    if (status == TDM_OK) status = check_rows(c, a->rows, of);
    if (status == TDM_OK) status = TDM_ALLOC(a->width, &value);
    if (status == TDM_OK) c->sets->columns = a->width;
    for (int64_t i = 0; status == TDM_OK && i < c->sets->rows; i++) {
        status = tdm_array_row(a, i, value);
        if (status == TDM_OK) status = add_columns(c, i, value);
    }
    tdm_free(value);
    tdm_arrays_destroy(&arrays);
    return status;
}

static tdm_status read_set(collection *c, const char *of)
{
    tdm_h5 *h5 = NULL;
    tdm_h5_array *set = NULL;
    int64_t shape[TDM_H5_MAX_DIMS], *whole = NULL;
    float *value = NULL;
    TDM_TRY(tdm_h5_open(c->file->path, NULL, 0, &h5));
    tdm_status status = tdm_h5_open_array(h5, c->file->name, TDM_H5_I64, 2, shape, &set);
    if (status == TDM_OK) status = check_rows(c, shape[0], of);
    if (status == TDM_OK) c->sets->columns = shape[1];
    if (status == TDM_OK) status = TDM_ALLOC(c->sets->columns, &whole);
    if (status == TDM_OK) status = TDM_ALLOC(c->sets->columns, &value);
    for (int64_t i = 0; status == TDM_OK && i < c->sets->rows; i++) {
        status = tdm_h5_read(set, i, 1, whole);
        for (int64_t k = 0; k < c->sets->columns; k++) value[k] = (float)whole[k];
        if (status == TDM_OK) status = add_columns(c, i, value);
    }
    tdm_free(whole);
    tdm_free(value);
    tdm_h5_discard(&h5);
    return status;
}

/* ---- From all labels to distinct ones ---- */

/* One name after another, in the order of the labels' names. */
static tdm_status name_distinct(const row_names *all, row_sets *sets)
{
    row_names *names = &sets->names;
    int64_t count = 0;
    TDM_TRY(TDM_ALLOC(all->count, &sets->label));
    for (int64_t i = 0; i < all->count; i++) {
        const char *name = row_names_at(all, all->sorted[i]);
        if (i == 0 || strcmp(name, row_names_at(all, all->sorted[i - 1])) != 0) {
            count++;
            TDM_TRY(tdm_text_append(&names->bytes, name, strlen(name) + 1));
        }
        sets->label[all->sorted[i]] = count - 1;
    }
    return row_names_index(count, names);
}

static tdm_status finish(collection *c)
{
    row_names all = {.bytes = c->bytes};
    c->bytes = (tdm_text){0};
    tdm_status status = row_names_index(c->count, &all);
    if (status == TDM_OK) status = name_distinct(&all, c->sets);
    row_names_free(&all);
    return status;
}

static tdm_status begin(int64_t rows, collection *c)
{
    c->sets->rows = rows;
    return TDM_ALLOC(rows + 1, &c->sets->first);
}

static void free_collection(collection *c)
{
    tdm_text_free(&c->bytes);
}

/* ---- Reading ---- */

static tdm_status is_matrix(const row_file *file, bool *is)
{
    tdm_arrays *arrays = NULL;
    const tdm_array *a = NULL;
    TDM_TRY(tdm_arrays_create(&arrays));
    const tdm_status status = find_matrix(file, arrays, &a);
    *is = a != NULL;
    tdm_arrays_destroy(&arrays);
    return status;
}

static tdm_status is_matrix_set(const row_file *file, bool *is)
{
    tdm_h5 *h5 = NULL;
    int ndim = -1;
    int64_t shape[TDM_H5_MAX_DIMS];
    if (file->name[0] == '\0') return TDM_OK;
    TDM_TRY(tdm_h5_open(file->path, NULL, 0, &h5));
    const tdm_status status = tdm_h5_find_shape(h5, file->name, &ndim, shape);
    tdm_h5_discard(&h5);
    *is = ndim == 2;
    return status;
}

static tdm_status find_matrix_in(const row_file *file, bool *is)
{
    *is = false;
    if (file->kind == ROW_ARRAYS) return is_matrix(file, is);
    return file->kind == ROW_H5 ? is_matrix_set(file, is) : TDM_OK;
}

tdm_status row_sets_are_in(const row_file *file, const char *separators, bool *are)
{
    TDM_TRY(find_matrix_in(file, are));
    *are |= separators[0] != '\0';
    return TDM_OK;
}

tdm_status row_sets_read(const row_file *file, const char *separators, const char *of, int64_t rows,
                         row_sets *sets)
{
    collection c = {.file = file, .sets = sets};
    row_names names = {0};
    bool matrix = false;
    TDM_TRY(find_matrix_in(file, &matrix));
    tdm_status status = begin(rows, &c);
    if (status == TDM_OK && matrix)
        status = file->kind == ROW_H5 ? read_set(&c, of) : read_array(&c, of);
    else if (status == TDM_OK) {
        status = row_names_read(file, of, rows, &names);
        if (status == TDM_OK) status = divide_names(&c, &names, separators);
    }
    if (status == TDM_OK) status = finish(&c);
    row_names_free(&names);
    free_collection(&c);
    return status;
}

tdm_status row_sets_of_names(const row_names *names, row_sets *sets)
{
    collection c = {.sets = sets};
    tdm_status status = begin(names->count, &c);
    if (status == TDM_OK) status = divide_names(&c, names, "");
    if (status == TDM_OK) status = finish(&c);
    free_collection(&c);
    return status;
}

/* ---- Bits ---- */

tdm_status row_sets_names(const row_sets *sets, int count, row_names *names)
{
    row_names all = {0};
    row_sets merged = {0};
    int64_t total = 0;
    tdm_status status = TDM_OK;
    for (int s = 0; s < count && status == TDM_OK; s++) {
        status = tdm_text_append(&all.bytes, sets[s].names.bytes.data, sets[s].names.bytes.length);
        total += sets[s].names.count;
    }
    if (status == TDM_OK) status = row_names_index(total, &all);
    if (status == TDM_OK) status = name_distinct(&all, &merged);
    *names = merged.names;
    merged.names = (row_names){0};
    row_sets_free(&merged);
    row_names_free(&all);
    TDM_TRY(status);
    TDM_REQUIRE(names->count <= MOST_LABELS, TDM_E_DATA,
                "there are %lld distinct labels; where rows have several, at most %d",
                (long long)names->count, MOST_LABELS);
    return TDM_OK;
}

tdm_status row_sets_bits(const row_sets *sets, const row_names *names, int64_t first, int64_t n,
                         uint64_t **bits, int64_t *words)
{
    int64_t *number = NULL;         /* of each label here among `names` */
    *words = names->count / 64 + 1; /* 0 would mean that ids match */
    tdm_status status = TDM_ALLOC(n * *words, bits);
    if (status == TDM_OK) status = TDM_ALLOC(sets->names.count, &number);
    for (int64_t k = 0; status == TDM_OK && k < sets->names.count; k++)
        number[k] = row_names_find(names, row_names_at(&sets->names, k));
    for (int64_t i = 0; status == TDM_OK && i < n; i++) {
        for (int64_t k = sets->first[first + i]; k < sets->first[first + i + 1]; k++) {
            const int64_t bit = number[sets->label[k]];
            (*bits)[i * *words + bit / 64] |= UINT64_C(1) << bit % 64;
        }
    }
    tdm_free(number);
    return status;
}

int64_t row_sets_find(const row_sets *sets, const char *name)
{
    return row_names_find(&sets->names, name);
}

bool row_sets_has(const row_sets *sets, int64_t row, int64_t label)
{
    for (int64_t k = sets->first[row]; k < sets->first[row + 1]; k++)
        if (sets->label[k] == label) return true;
    return false;
}

void row_sets_keep(row_sets *sets, const bool *keep)
{
    int64_t rows = 0, labels = 0;
    for (int64_t i = 0, end = 0, begin = 0; i < sets->rows; i++, begin = end) {
        end = sets->first[i + 1];
        if (!keep[i]) continue;
        for (int64_t k = begin; k < end; k++) sets->label[labels++] = sets->label[k];
        sets->first[++rows] = labels;
    }
    sets->rows = rows;
}

void row_sets_free(row_sets *sets)
{
    tdm_free(sets->first);
    tdm_free(sets->label);
    row_names_free(&sets->names);
    *sets = (row_sets){0};
}
