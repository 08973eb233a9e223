/* Names of rows. */
#include "row_file.h"

#include "tandem/h5.h"
#include "text_lines.h"

#include <errno.h>
#include <stdlib.h>

static int compare_rows(const void *a, const void *b, void *context)
{
    const row_names *names = context;
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    const int order = strcmp(row_names_at(names, x), row_names_at(names, y));
    return order != 0 ? order : (x > y) - (x < y);
}

static tdm_status open_names(int64_t rows, row_names *names)
{
    TDM_TRY(TDM_ALLOC(rows, &names->offset));
    return TDM_ALLOC(rows, &names->sorted);
}

/* Of the name that was appended to the bytes. */
static tdm_status end_name(row_names *names)
{
    names->count++;
    return tdm_text_append(&names->bytes, "", 1);
}

static void sort_names(row_names *names)
{
    for (int64_t i = 0; i < names->count; i++) names->sorted[i] = i;
    qsort_r(names->sorted, (size_t)names->count, sizeof *names->sorted, compare_rows, names);
}

/* ---- Reading ---- */

static tdm_status wrong_count(const row_file *file, const char *what, int64_t has, const char *of,
                              int64_t rows)
{
    TDM_FAIL(TDM_E_SHAPE, "%s: %s: has %lld %s, %s has %lld rows", file->option, file->given, (long long)has,
             what, of, (long long)rows);
}

static tdm_status read_lines(const row_file *file, const char *of, int64_t rows, row_names *names)
{
    text_lines lines = {.file = fopen(file->path, "r"), .name = file->given};
    TDM_REQUIRE(lines.file != NULL, TDM_E_IO, "%s: %s: cannot open: %s", file->option, file->given,
                strerror(errno));
    bool found = true;
    int64_t count = 0;
    tdm_status status = text_lines_next(&lines, &found);
    while (status == TDM_OK && found) {
        size_t length = lines.length;
        if (length > 0 && lines.line[length - 1] == '\r') length--;
        if (length == 0)
            status = TDM_ERROR(TDM_E_DATA, "%s: %s: line %lld is empty", file->option, file->given,
                               (long long)lines.number);
        if (status == TDM_OK && count++ < rows) {
            names->offset[names->count] = (int64_t)names->bytes.length;
            status = tdm_text_append(&names->bytes, lines.line, length);
            if (status == TDM_OK) status = end_name(names);
        }
        if (status == TDM_OK) status = text_lines_next(&lines, &found);
    }
    text_lines_free(&lines);
    fclose(lines.file);
    TDM_TRY(status);
    return count == rows ? TDM_OK : wrong_count(file, "lines", count, of, rows);
}

static tdm_status take_array(const row_file *file, const tdm_array *a, const char *of, int64_t rows,
                             row_names *names)
{
    TDM_REQUIRE(a->fault == NULL, TDM_E_FORMAT, "%s: %s: %s %s", file->option, file->given, a->name,
                a->fault);
    TDM_REQUIRE(a->width == 1 && a->ndim >= 1, TDM_E_SHAPE,
                "%s: %s: has %d dimensions; names are a list [rows]", file->option, file->given, a->ndim);
    if (a->rows != rows) return wrong_count(file, "rows", a->rows, of, rows);
    for (int64_t i = 0; i < rows; i++) {
        names->offset[i] = (int64_t)names->bytes.length;
        TDM_TRY(tdm_array_text(a, i, &names->bytes));
        TDM_TRY(end_name(names));
    }
    return TDM_OK;
}

static tdm_status read_array(const row_file *file, const char *of, int64_t rows, row_names *names)
{
    tdm_arrays *arrays = NULL;
    TDM_TRY(tdm_arrays_create(&arrays));
    tdm_status status = tdm_arrays_add(arrays, file->path);
    const tdm_array *a = row_file_array(file, arrays);
    if (status == TDM_OK && a == NULL)
        status = TDM_ERROR(TDM_E_USAGE, "%s: %s: which of its %lld arrays? Write FILE:NAME", file->option,
                           file->given, (long long)tdm_arrays_count(arrays));
    if (status == TDM_OK) status = take_array(file, a, of, rows, names);
    tdm_arrays_destroy(&arrays);
    return status;
}

static tdm_status fill_numbers(int64_t rows, const int64_t *number, row_names *names)
{
    for (int64_t i = 0; i < rows; i++) {
        names->offset[i] = (int64_t)names->bytes.length;
        TDM_TRY(tdm_text_printf(&names->bytes, "%lld", (long long)(number != NULL ? number[i] : i)));
        TDM_TRY(end_name(names));
    }
    return TDM_OK;
}

/* Whole numbers only: h5py writes texts of variable length, which are not read. */
static tdm_status read_set(const row_file *file, const char *of, int64_t rows, row_names *names)
{
    tdm_h5 *h5 = NULL;
    int ndim = -1;
    int64_t shape[TDM_H5_MAX_DIMS] = {0}, *number = NULL;
    TDM_TRY(tdm_h5_open(file->path, NULL, 0, &h5));
    tdm_status status = file->name[0] == '\0' ? TDM_OK : tdm_h5_find_shape(h5, file->name, &ndim, shape);
    if (status == TDM_OK && ndim != 1)
        status = TDM_ERROR(TDM_E_SHAPE,
                           "%s: %s: names are a data set of whole numbers [rows], given as FILE:/PATH",
                           file->option, file->given);
    if (status == TDM_OK && shape[0] != rows) status = wrong_count(file, "rows", shape[0], of, rows);
    if (status == TDM_OK) status = tdm_h5_get_i64s(h5, file->name, &rows, &number);
    if (status == TDM_OK) status = fill_numbers(rows, number, names);
    tdm_free(number);
    tdm_h5_discard(&h5);
    return status;
}

tdm_status row_names_read(const row_file *file, const char *of, int64_t rows, row_names *names)
{
    TDM_TRY(open_names(rows, names));
    switch (file->kind) {
    case ROW_TEXT: TDM_TRY(read_lines(file, of, rows, names)); break;
    case ROW_ARRAYS: TDM_TRY(read_array(file, of, rows, names)); break;
    case ROW_H5: TDM_TRY(read_set(file, of, rows, names)); break;
    case ROW_EMBEDDINGS:
        TDM_FAIL(TDM_E_USAGE, "%s: %s: is a directory; names are lines of text or an array", file->option,
                 file->given);
    }
    sort_names(names);
    return TDM_OK;
}

tdm_status row_names_number(int64_t rows, const int64_t *number, row_names *names)
{
    TDM_TRY(open_names(rows, names));
    TDM_TRY(fill_numbers(rows, number, names));
    sort_names(names);
    return TDM_OK;
}

tdm_status row_names_index(int64_t count, row_names *names)
{
    TDM_TRY(open_names(count, names));
    for (int64_t at = 0; names->count < count; at += (int64_t)strlen(names->bytes.data + at) + 1)
        names->offset[names->count++] = at;
    sort_names(names);
    return TDM_OK;
}

/* ---- Looking up ---- */

const char *row_names_at(const row_names *names, int64_t row)
{
    return names->bytes.data + names->offset[row];
}

int64_t row_names_find(const row_names *names, const char *name)
{
    int64_t low = 0, high = names->count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (strcmp(row_names_at(names, names->sorted[middle]), name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    const bool found = low < names->count && strcmp(row_names_at(names, names->sorted[low]), name) == 0;
    return found ? names->sorted[low] : -1;
}

tdm_status row_names_match(const row_names *names, int64_t first, int64_t n, const row_names *known,
                           int64_t **row)
{
    TDM_TRY(TDM_ALLOC(n, row));
    for (int64_t i = 0; i < n; i++) (*row)[i] = row_names_find(known, row_names_at(names, first + i));
    return TDM_OK;
}

tdm_status row_names_check_ids(const char *what, const row_names *names)
{
    for (int64_t i = 0; i < names->count; i++) {
        const char *name = row_names_at(names, i);
        TDM_REQUIRE(name[0] != '\0' && name[strcspn(name, " \t\r\n\v\f")] == '\0', TDM_E_DATA,
                    "%s: row %lld has the id \"%.80s\"; an id is not empty and has no white space", what,
                    (long long)i, name);
    }
    for (int64_t i = 1; i < names->count; i++) {
        const int64_t a = names->sorted[i - 1], b = names->sorted[i];
        TDM_REQUIRE(strcmp(row_names_at(names, a), row_names_at(names, b)) != 0, TDM_E_DATA,
                    "%s: rows %lld and %lld have the same id \"%.80s\"; what several rows share is a label",
                    what, (long long)a, (long long)b, row_names_at(names, a));
    }
    return TDM_OK;
}

void row_names_keep(row_names *names, const bool *keep)
{
    int64_t count = 0;
    for (int64_t i = 0; i < names->count; i++)
        if (keep[i]) names->offset[count++] = names->offset[i];
    names->count = count;
    sort_names(names);
}

void row_names_free(row_names *names)
{
    tdm_text_free(&names->bytes);
    tdm_free(names->offset);
    tdm_free(names->sorted);
    *names = (row_names){0};
}
