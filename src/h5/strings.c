/* Lists of strings of any length, and columns of texts of a fixed width. */
#include "h5_impl.h"

#include <string.h>

enum { NAME_BYTES = 256, BYTES_CHUNK_BYTES = 16384, OFFSET_CHUNK_BYTES = 65536 };

/* ---- Lists ---- */

tdm_status tdm_h5_strings_add(tdm_h5_strings *list, const char *string, size_t bytes)
{
    TDM_TRY(tdm_text_append(&list->bytes, string, bytes));
    const int64_t end = (int64_t)list->bytes.length;
    TDM_TRY(tdm_text_append(&list->ends, &end, sizeof end));
    list->count++;
    return TDM_OK;
}

void tdm_h5_strings_free(tdm_h5_strings *list)
{
    tdm_text_free(&list->bytes);
    tdm_text_free(&list->ends);
    list->count = 0;
}

static int64_t end_of(const tdm_h5_strings *list, int64_t i)
{
    int64_t end = 0;
    if (i >= 0) memcpy(&end, list->ends.data + (size_t)i * sizeof end, sizeof end);
    return end;
}

const char *tdm_h5_strings_at(const tdm_h5_strings *list, int64_t i, int64_t *bytes)
{
    const int64_t begin = end_of(list, i - 1);
    *bytes = end_of(list, i) - begin;
    return list->bytes.data + begin;
}

static tdm_status list_names(const tdm_h5 *file, const char *prefix, char bytes[NAME_BYTES],
                             char offset[NAME_BYTES])
{
    (void)snprintf(bytes, NAME_BYTES, "%sbytes", prefix);
    const int n = snprintf(offset, NAME_BYTES, "%soffset", prefix);
    TDM_REQUIRE(n < NAME_BYTES, TDM_E_SHAPE, "%s: the name %s… is too long", file->path, prefix);
    return TDM_OK;
}

tdm_status tdm_h5_put_strings(tdm_h5 *file, const char *prefix, const tdm_h5_strings *list)
{
    char bytes_name[NAME_BYTES], offset_name[NAME_BYTES];
    int64_t *offset;
    const int64_t bytes = (int64_t)list->bytes.length, offsets = list->count + 1;
    TDM_TRY(list_names(file, prefix, bytes_name, offset_name));
    TDM_TRY(tdm_h5_put_array(file, bytes_name, TDM_H5_U8, 1, &bytes, BYTES_CHUNK_BYTES, list->bytes.data));
    TDM_TRY(TDM_ALLOC(offsets, &offset));
    if (list->count > 0) memcpy(offset + 1, list->ends.data, list->ends.length);
    const tdm_status status =
        tdm_h5_put_array(file, offset_name, TDM_H5_I64, 1, &offsets, OFFSET_CHUNK_BYTES, offset);
    tdm_free(offset);
    return status;
}

static tdm_status check_offsets(tdm_h5 *file, const char *bytes_name, const char *offset_name,
                                const int64_t *offset, int64_t count, int64_t shortest, int64_t longest)
{
    int64_t length;
    tdm_h5_array *bytes;
    TDM_TRY(tdm_h5_open_array(file, bytes_name, TDM_H5_U8, 1, &length, &bytes));
    tdm_h5_close_array(&bytes);
    TDM_REQUIRE(offset[0] == 0, TDM_E_FORMAT, "%s: /%s does not begin with 0", file->path, offset_name);
    for (int64_t i = 0; i < count; i++)
        TDM_REQUIRE(offset[i + 1] >= offset[i] && offset[i + 1] - offset[i] >= shortest &&
                        offset[i + 1] - offset[i] <= longest,
                    TDM_E_FORMAT, "%s: /%s is wrong at row %lld", file->path, offset_name, (long long)i);
    TDM_REQUIRE(offset[count] == length, TDM_E_FORMAT, "%s: /%s holds %lld bytes, /%s says %lld", file->path,
                bytes_name, (long long)length, offset_name, (long long)offset[count]);
    return TDM_OK;
}

tdm_status tdm_h5_get_offsets(tdm_h5 *file, const char *prefix, int64_t shortest, int64_t longest,
                              int64_t *count, int64_t **offset)
{
    char bytes_name[NAME_BYTES], offset_name[NAME_BYTES];
    int64_t offsets = *count >= 0 ? *count + 1 : -1;
    *offset = NULL;
    TDM_TRY(list_names(file, prefix, bytes_name, offset_name));
    TDM_TRY(tdm_h5_get_i64s(file, offset_name, &offsets, offset));
    tdm_status status =
        offsets > 0 ? check_offsets(file, bytes_name, offset_name, *offset, offsets - 1, shortest, longest)
                    : TDM_ERROR(TDM_E_FORMAT, "%s: /%s is empty", file->path, offset_name);
    if (status == TDM_OK) {
        *count = offsets - 1;
    } else {
        tdm_free(*offset);
        *offset = NULL;
    }
    return status;
}

tdm_status tdm_h5_get_strings(tdm_h5 *file, const char *prefix, int64_t longest, tdm_h5_strings *list)
{
    char bytes_name[NAME_BYTES], offset_name[NAME_BYTES];
    int64_t count = -1, *offset;
    tdm_h5_strings_free(list);
    TDM_TRY(list_names(file, prefix, bytes_name, offset_name));
    TDM_TRY(tdm_h5_get_offsets(file, prefix, 0, longest, &count, &offset));
    tdm_status status = tdm_h5_get_bytes(file, bytes_name, &list->bytes);
    if (status == TDM_OK) status = tdm_text_append(&list->ends, offset + 1, (size_t)count * sizeof *offset);
    list->count = count;
    tdm_free(offset);
    if (status != TDM_OK) tdm_h5_strings_free(list);
    return status;
}

/* ---- Columns ---- */

tdm_status tdm_h5_put_cells(tdm_h5 *file, const char *name, size_t bytes, int64_t count, int64_t chunk_bytes,
                            const char *cells)
{
    hid_t set;
    const hid_t type = h5_text_type(bytes);
    tdm_status status = h5_put_set(file, name, type, type, 1, &count, chunk_bytes, false, cells, &set);
    if (status == TDM_OK) status = h5_finish_set(file, name, &set);
    if (type >= 0) H5Tclose(type);
    return status;
}

static tdm_status read_cells(const tdm_h5 *file, const char *name, hid_t set, size_t bytes, hsize_t rows,
                             char **cells)
{
    TDM_REQUIRE(rows <= (hsize_t)INT64_MAX / bytes, TDM_E_FORMAT, "%s: /%s is too large", file->path, name);
    TDM_TRY(tdm_alloc(bytes * (size_t)rows, name, (void **)cells));
    const hid_t type = h5_text_type(bytes);
    tdm_status status = TDM_OK;
    if (rows > 0 && !h5_read_rows(set, type, 1, &rows, 0, (int64_t)rows, *cells))
        status = h5_cannot(TDM_E_FORMAT, file->path, "read /", name);
    if (type >= 0) H5Tclose(type);
    return status;
}

tdm_status tdm_h5_get_cells(tdm_h5 *file, const char *name, size_t bytes, int64_t *count, char **cells)
{
    hsize_t rows;
    hid_t set;
    h5_quiet();
    *cells = NULL;
    TDM_TRY(h5_open_set(file, name, H5T_STRING, 1, 0, false, &rows, &set));
    tdm_status status = TDM_OK;
    if (*count >= 0 && rows != (hsize_t)*count)
        status = TDM_ERROR(TDM_E_FORMAT, "%s: /%s holds %llu rows, expected %lld", file->path, name,
                           (unsigned long long)rows, (long long)*count);
    if (status == TDM_OK) status = read_cells(file, name, set, bytes, rows, cells);
    H5Dclose(set);
    if (status == TDM_OK) {
        *count = (int64_t)rows;
    } else {
        tdm_free(*cells);
        *cells = NULL;
    }
    return status;
}
