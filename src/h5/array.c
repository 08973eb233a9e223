/* Data sets: chunked, with checksums, in pieces and whole. */
#include "h5_impl.h"

#include <string.h>

enum { CACHE_SLOTS = 10007 };

/* ---- Types ---- */

static hid_t stored_type(tdm_h5_type type)
{
    switch (type) {
    case TDM_H5_U8: return H5T_STD_U8LE;
    case TDM_H5_U16: return H5T_STD_U16LE;
    case TDM_H5_I64: return H5T_STD_I64LE;
    case TDM_H5_F32: return H5T_IEEE_F32LE;
    case TDM_H5_F64: return H5T_IEEE_F64LE;
    }
    return H5I_INVALID_HID;
}

static hid_t native_type(tdm_h5_type type)
{
    switch (type) {
    case TDM_H5_U8: return H5T_NATIVE_UINT8;
    case TDM_H5_U16: return H5T_NATIVE_UINT16;
    case TDM_H5_I64: return H5T_NATIVE_INT64;
    case TDM_H5_F32: return H5T_NATIVE_FLOAT;
    case TDM_H5_F64: return H5T_NATIVE_DOUBLE;
    }
    return H5I_INVALID_HID;
}

static H5T_class_t type_class(tdm_h5_type type)
{
    return type == TDM_H5_F32 || type == TDM_H5_F64 ? H5T_FLOAT : H5T_INTEGER;
}

/* ---- Shapes ---- */

/* Dimensions in the file: a scalar is one row. */
static int file_dims(int ndim, const int64_t *shape, hsize_t dims[TDM_H5_MAX_DIMS])
{
    dims[0] = 1;
    for (int i = 0; i < ndim; i++) dims[i] = (hsize_t)shape[i];
    return ndim > 0 ? ndim : 1;
}

bool h5_set_dims(hid_t set, int *ndim, hsize_t dims[TDM_H5_MAX_DIMS])
{
    const hid_t space = H5Dget_space(set);
    if (space < 0) return false;
    *ndim = H5Sget_simple_extent_ndims(space);
    const bool ok =
        *ndim >= 0 && *ndim <= TDM_H5_MAX_DIMS && H5Sget_simple_extent_dims(space, dims, NULL) >= 0;
    H5Sclose(space);
    return ok;
}

bool h5_count_elements(int ndim, const hsize_t *dims, hsize_t *elements)
{
    *elements = 1;
    for (int i = 0; i < ndim; i++) {
        if (dims[i] != 0 && *elements > INT64_MAX / 8 / dims[i]) return false;
        *elements *= dims[i];
    }
    return true;
}

static void shape_text(int ndim, const hsize_t *dims, char *text, size_t bytes)
{
    size_t at = (size_t)snprintf(text, bytes, "[");
    for (int i = 0; i < ndim && at < bytes; i++)
        at +=
            (size_t)snprintf(text + at, bytes - at, "%s%llu", i > 0 ? ", " : "", (unsigned long long)dims[i]);
    if (at < bytes) snprintf(text + at, bytes - at, "]");
}

/* HDF5 could not open a data set that there is. The reason is recorded before HDF5 is asked anything else. */
static tdm_status cannot_open_set(const tdm_h5 *file, const char *name)
{
    const tdm_status status = h5_cannot(TDM_E_FORMAT, file->path, "open /", name);
    const hid_t object = H5Oopen(file->id, name, H5P_DEFAULT);
    const bool other = object >= 0 && H5Iget_type(object) != H5I_DATASET;
    if (object >= 0) H5Oclose(object);
    TDM_REQUIRE(!other, TDM_E_FORMAT, "%s: /%s is not an array", file->path, name);
    return status;
}

tdm_status tdm_h5_find_shape(const tdm_h5 *file, const char *name, int *ndim, int64_t shape[TDM_H5_MAX_DIMS])
{
    hsize_t dims[TDM_H5_MAX_DIMS];
    bool there;
    *ndim = -1;
    TDM_TRY(tdm_h5_find(file, name, &there));
    if (!there) return TDM_OK;
    const hid_t set = H5Dopen2(file->id, name, H5P_DEFAULT);
    if (set < 0) return cannot_open_set(file, name);
    const bool ok = h5_set_dims(set, ndim, dims);
    for (int i = 0; ok && i < *ndim; i++) shape[i] = (int64_t)dims[i];
    H5Dclose(set);
    TDM_REQUIRE(ok, TDM_E_FORMAT, "%s: /%s is not an array", file->path, name);
    return TDM_OK;
}

/* ---- Writing ---- */

/* Chunks of about chunk_bytes: whole along the last dimensions, cut along the first. */
static void chunk_dims(int ndim, const hsize_t *dims, hsize_t limit, bool grows, hsize_t *chunk)
{
    for (int i = 0; i < ndim; i++) {
        hsize_t row = 1;
        for (int k = i + 1; k < ndim; k++) row *= dims[k] > 0 ? dims[k] : 1;
        chunk[i] = row >= limit ? 1 : limit / row;
        /* a chunk may not exceed a fixed extent, and an empty set still needs one */
        if (!(grows && i == 0) && chunk[i] > dims[i]) chunk[i] = dims[i] > 0 ? dims[i] : 1;
    }
}

static hid_t checked_list(int ndim, const hsize_t *chunk)
{
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    if (list < 0) return list;
    if (H5Pset_chunk(list, ndim, chunk) >= 0 && H5Pset_fletcher32(list) >= 0 &&
        H5Pset_obj_track_times(list, false) >= 0)
        return list;
    H5Pclose(list);
    return H5I_INVALID_HID;
}

tdm_status h5_put_set(tdm_h5 *file, const char *name, hid_t file_type, hid_t memory_type, int ndim,
                      const int64_t *shape, int64_t chunk_bytes, bool grows, const void *data, hid_t *set)
{
    hsize_t dims[TDM_H5_MAX_DIMS], most[TDM_H5_MAX_DIMS], chunk[TDM_H5_MAX_DIMS], elements = 0;
    h5_quiet();
    *set = H5I_INVALID_HID;
    const int n = file_dims(ndim, shape, dims);
    const size_t bytes = H5Tget_size(file_type);
    chunk_dims(n, dims, (hsize_t)tdm_max_i64(1, chunk_bytes / tdm_max_i64(1, (int64_t)bytes)), grows, chunk);
    memcpy(most, dims, sizeof most);
    if (grows || dims[0] == 0) most[0] = H5S_UNLIMITED;
    const hid_t space = H5Screate_simple(n, dims, most), list = checked_list(n, chunk);
    if (space >= 0 && list >= 0)
        *set = H5Dcreate2(file->id, name, file_type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    tdm_status status = TDM_OK;
    if (*set < 0 || (data != NULL && h5_count_elements(n, dims, &elements) && elements > 0 &&
                     H5Dwrite(*set, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0))
        status = h5_cannot(TDM_E_IO, file->path, "write /", name);
    if (space >= 0) H5Sclose(space);
    if (list >= 0) H5Pclose(list);
    return status;
}

/* Flushes, so that a full disk is met here, where the file can still be discarded, and not in a close. After
 * a failure the set stays open: closing the file closes it. */
tdm_status h5_finish_set(tdm_h5 *file, const char *name, hid_t *set)
{
    if (H5Dflush(*set) < 0 || H5Dclose(*set) < 0) return h5_cannot(TDM_E_IO, file->path, "write /", name);
    *set = H5I_INVALID_HID;
    return TDM_OK;
}

tdm_status tdm_h5_put_array(tdm_h5 *file, const char *name, tdm_h5_type type, int ndim, const int64_t *shape,
                            int64_t chunk_bytes, const void *data)
{
    hid_t set;
    TDM_TRY(h5_put_set(file, name, stored_type(type), native_type(type), ndim, shape, chunk_bytes, false,
                       data, &set));
    return h5_finish_set(file, name, &set);
}

/* ---- Open arrays ---- */

static tdm_status keep_array(tdm_h5 *file, const char *name, tdm_h5_type type, hid_t set, int ndim,
                             const int64_t *shape, tdm_h5_array **array)
{
    tdm_h5_array *made;
    const size_t length = strlen(name);
    const tdm_status status = tdm_alloc(sizeof *made + length + 1, name, (void **)&made);
    if (status != TDM_OK) {
        H5Dclose(set);
        return status;
    }
    made->file = file;
    made->id = set;
    made->type = type;
    made->ndim = ndim;
    memcpy(made->shape, shape, (size_t)ndim * sizeof *shape);
    memcpy(made->name, name, length + 1);
    made->next = file->array;
    file->array = made;
    *array = made;
    return TDM_OK;
}

void tdm_h5_close_array(tdm_h5_array **array)
{
    tdm_h5_array *dying = *array;
    *array = NULL;
    if (dying == NULL) return;
    h5_quiet();
    for (tdm_h5_array **link = &dying->file->array; *link != NULL; link = &(*link)->next)
        if (*link == dying) {
            *link = dying->next;
            break;
        }
    H5Dclose(dying->id);
    tdm_free(dying);
}

tdm_status tdm_h5_grow(tdm_h5 *file, const char *name, tdm_h5_type type, int64_t width, int64_t chunk_bytes,
                       tdm_h5_array **array)
{
    const int64_t shape[2] = {0, width};
    const int ndim = width > 0 ? 2 : 1;
    hid_t set;
    *array = NULL;
    TDM_TRY(h5_put_set(file, name, stored_type(type), native_type(type), ndim, shape, chunk_bytes, true, NULL,
                       &set));
    return keep_array(file, name, type, set, ndim, shape, array);
}

static bool append(const tdm_h5_array *array, const hsize_t *start, const hsize_t *count, const void *data)
{
    const hsize_t extent[2] = {start[0] + count[0], count[1]};
    hid_t in_file = H5I_INVALID_HID, in_memory = H5I_INVALID_HID;
    /* one chain, so that the first failure's reason is still there */
    const bool ok = H5Dset_extent(array->id, extent) >= 0 && (in_file = H5Dget_space(array->id)) >= 0 &&
                    (in_memory = H5Screate_simple(array->ndim, count, NULL)) >= 0 &&
                    H5Sselect_hyperslab(in_file, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
                    H5Dwrite(array->id, native_type(array->type), in_memory, in_file, H5P_DEFAULT, data) >= 0;
    const hid_t stack = ok ? H5I_INVALID_HID : H5Eget_current_stack();
    if (in_file >= 0) H5Sclose(in_file);
    if (in_memory >= 0) H5Sclose(in_memory);
    if (stack >= 0) H5Eset_current_stack(stack);
    return ok;
}

tdm_status tdm_h5_append(tdm_h5_array *array, int64_t rows, const void *data)
{
    h5_quiet();
    if (rows == 0) return TDM_OK;
    const hsize_t start[2] = {(hsize_t)array->shape[0], 0};
    const hsize_t count[2] = {(hsize_t)rows, array->ndim > 1 ? (hsize_t)array->shape[1] : 1};
    if (!append(array, start, count, data))
        return h5_cannot(TDM_E_IO, array->file->path, "write /", array->name);
    array->shape[0] += rows;
    return TDM_OK;
}

/* ---- Reading ---- */

bool h5_is_written(hid_t set, int ndim, const hsize_t *dims, hsize_t elements)
{
    const hid_t list = H5Dget_create_plist(set), space = H5Dget_space(set), type = H5Dget_type(set);
    hsize_t chunk[H5S_MAX_RANK] = {0}, stored = 0, needed = 1;
    bool ok = false;
    if (list >= 0 && space >= 0 && type >= 0) {
        switch (H5Pget_layout(list)) {
        case H5D_CHUNKED:
            ok = H5Pget_chunk(list, ndim, chunk) == ndim && H5Dget_num_chunks(set, space, &stored) >= 0;
            for (int i = 0; ok && i < ndim; i++) needed *= (dims[i] + chunk[i] - 1) / chunk[i];
            ok = ok && stored >= needed;
            break;
        case H5D_CONTIGUOUS: ok = H5Dget_storage_size(set) / H5Tget_size(type) >= elements; break;
        case H5D_COMPACT: ok = true; break;
        default: break;
        }
    }
    if (list >= 0) H5Pclose(list);
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return ok;
}

static bool has_class(hid_t set, H5T_class_t class)
{
    const hid_t type = H5Dget_type(set);
    const bool has =
        type >= 0 && H5Tget_class(type) == class && (class != H5T_STRING || H5Tis_variable_str(type) == 0);
    if (type >= 0) H5Tclose(type);
    return has;
}

static tdm_status check_set(const tdm_h5 *file, const char *name, hid_t set, H5T_class_t class, int ndim,
                            bool again, hsize_t *dims)
{
    int found;
    hsize_t all[TDM_H5_MAX_DIMS], elements;
    TDM_REQUIRE(has_class(set, class) && h5_set_dims(set, &found, all) && found == ndim, TDM_E_FORMAT,
                "%s: /%s is not an array of %s with %d dimension%s", file->path, name,
                class == H5T_STRING  ? "strings of a fixed length"
                : class == H5T_FLOAT ? "floats"
                                     : "integers",
                ndim, ndim > 1 ? "s" : "");
    memcpy(dims, all, (size_t)ndim * sizeof *dims);
    TDM_REQUIRE(h5_count_elements(ndim, dims, &elements), TDM_E_FORMAT, "%s: /%s is too large", file->path,
                name);
    TDM_REQUIRE(again || elements == 0 || h5_is_written(set, ndim, dims, elements), TDM_E_FORMAT,
                "%s: is damaged: /%s was not written completely", file->path, name);
    return TDM_OK;
}

static hid_t cached_access(int64_t cache_bytes)
{
    const hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
    if (access >= 0 && cache_bytes > 0) H5Pset_chunk_cache(access, CACHE_SLOTS, (size_t)cache_bytes, 0.75);
    return access;
}

tdm_status h5_open_set(const tdm_h5 *file, const char *name, H5T_class_t class, int ndim, int64_t cache_bytes,
                       bool again, hsize_t *dims, hid_t *set)
{
    *set = H5I_INVALID_HID;
    bool there;
    TDM_TRY(tdm_h5_find(file, name, &there));
    TDM_REQUIRE(there, TDM_E_FORMAT, "%s: /%s is missing", file->path, name);
    const hid_t access = cached_access(cache_bytes);
    const hid_t opened = access >= 0 ? H5Dopen2(file->id, name, access) : H5I_INVALID_HID;
    tdm_status status = opened < 0 ? cannot_open_set(file, name) : TDM_OK;
    if (access >= 0) H5Pclose(access);
    TDM_TRY(status);
    status = check_set(file, name, opened, class, ndim, again, dims);
    if (status == TDM_OK)
        *set = opened;
    else
        H5Dclose(opened);
    return status;
}

bool h5_read_rows(hid_t set, hid_t type, int ndim, const hsize_t *dims, int64_t first, int64_t n, void *out)
{
    hsize_t start[H5S_MAX_RANK] = {(hsize_t)first}, count[H5S_MAX_RANK];
    for (int i = 0; i < ndim; i++) count[i] = i == 0 ? (hsize_t)n : dims[i];
    hid_t in_file = H5I_INVALID_HID, in_memory = H5I_INVALID_HID;
    const bool ok = (in_file = H5Dget_space(set)) >= 0 &&
                    (in_memory = H5Screate_simple(ndim, count, NULL)) >= 0 &&
                    H5Sselect_hyperslab(in_file, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
                    H5Dread(set, type, in_memory, in_file, H5P_DEFAULT, out) >= 0;
    /* closing clears the error stack, which the message is made of */
    const hid_t stack = ok ? H5I_INVALID_HID : H5Eget_current_stack();
    if (in_memory >= 0) H5Sclose(in_memory);
    if (in_file >= 0) H5Sclose(in_file);
    if (stack >= 0) H5Eset_current_stack(stack);
    return ok;
}

static tdm_status open_array(tdm_h5 *file, const char *name, tdm_h5_type type, int ndim, int64_t cache_bytes,
                             bool again, int64_t *shape, tdm_h5_array **array)
{
    hsize_t dims[TDM_H5_MAX_DIMS];
    hid_t set;
    h5_quiet();
    *array = NULL;
    TDM_TRY(h5_open_set(file, name, type_class(type), ndim, cache_bytes, again, dims, &set));
    for (int i = 0; i < ndim; i++) shape[i] = (int64_t)dims[i];
    return keep_array(file, name, type, set, ndim, shape, array);
}

tdm_status tdm_h5_open_array(tdm_h5 *file, const char *name, tdm_h5_type type, int ndim, int64_t *shape,
                             tdm_h5_array **array)
{
    return open_array(file, name, type, ndim, 0, false, shape, array);
}

tdm_status tdm_h5_open_array_again(tdm_h5 *file, const char *name, tdm_h5_type type, int ndim,
                                   int64_t cache_bytes, int64_t *shape, tdm_h5_array **array)
{
    return open_array(file, name, type, ndim, cache_bytes, true, shape, array);
}

tdm_status tdm_h5_read(tdm_h5_array *array, int64_t first, int64_t n, void *out)
{
    h5_quiet();
    TDM_REQUIRE(first >= 0 && n >= 0 && first <= array->shape[0] - n, TDM_E_FORMAT,
                "%s: /%s has %lld rows, not those from %lld to %lld", array->file->path, array->name,
                (long long)array->shape[0], (long long)first, (long long)(first + n));
    if (n == 0) return TDM_OK;
    hsize_t dims[TDM_H5_MAX_DIMS];
    for (int i = 0; i < array->ndim; i++) dims[i] = (hsize_t)array->shape[i];
    if (!h5_read_rows(array->id, native_type(array->type), array->ndim, dims, first, n, out))
        return h5_cannot(TDM_E_FORMAT, array->file->path, "read /", array->name);
    return TDM_OK;
}

/* ---- Whole arrays ---- */

static bool same_shape(int ndim, const hsize_t *dims, int want_ndim, const hsize_t *want)
{
    if (ndim != want_ndim) return false;
    for (int i = 0; i < ndim; i++)
        if (dims[i] != want[i]) return false;
    return true;
}

static tdm_status check_shape(const tdm_h5 *file, const char *name, int ndim, const int64_t *shape,
                              int *found)
{
    hsize_t want[TDM_H5_MAX_DIMS], dims[TDM_H5_MAX_DIMS];
    int64_t got[TDM_H5_MAX_DIMS];
    char have[100], expected[100];
    TDM_TRY(tdm_h5_find_shape(file, name, found, got));
    TDM_REQUIRE(*found >= 0, TDM_E_FORMAT, "%s: /%s is missing", file->path, name);
    for (int i = 0; i < *found; i++) dims[i] = (hsize_t)got[i];
    const int want_ndim = file_dims(ndim, shape, want);
    if (same_shape(*found, dims, want_ndim, want)) return TDM_OK;
    shape_text(*found, dims, have, sizeof have);
    shape_text(ndim, want, expected, sizeof expected);
    TDM_FAIL(TDM_E_SHAPE, "%s: /%s is %s, expected %s", file->path, name, have, expected);
}

tdm_status tdm_h5_get_array(tdm_h5 *file, const char *name, tdm_h5_type type, int ndim, const int64_t *shape,
                            void *out)
{
    int64_t found[TDM_H5_MAX_DIMS];
    int found_ndim;
    tdm_h5_array *array;
    TDM_TRY(check_shape(file, name, ndim, shape, &found_ndim));
    TDM_TRY(tdm_h5_open_array(file, name, type, found_ndim, found, &array));
    const tdm_status status = tdm_h5_read(array, 0, found[0], out);
    tdm_h5_close_array(&array);
    return status;
}

tdm_status tdm_h5_get_i64s(tdm_h5 *file, const char *name, int64_t *count, int64_t **out)
{
    int64_t rows;
    tdm_h5_array *array;
    *out = NULL;
    TDM_TRY(tdm_h5_open_array(file, name, TDM_H5_I64, 1, &rows, &array));
    tdm_status status = TDM_OK;
    if (*count >= 0 && rows != *count)
        status = TDM_ERROR(TDM_E_FORMAT, "%s: /%s holds %lld rows, expected %lld", file->path, name,
                           (long long)rows, (long long)*count);
    if (status == TDM_OK) status = TDM_ALLOC(rows, out);
    if (status == TDM_OK) status = tdm_h5_read(array, 0, rows, *out);
    tdm_h5_close_array(&array);
    if (status == TDM_OK) {
        *count = rows;
    } else {
        tdm_free(*out);
        *out = NULL;
    }
    return status;
}

tdm_status tdm_h5_get_bytes(tdm_h5 *file, const char *name, tdm_text *text)
{
    enum { MOST_BYTES = 1 << 30 };
    int64_t bytes;
    tdm_h5_array *array;
    unsigned char *data = NULL;
    TDM_TRY(tdm_h5_open_array(file, name, TDM_H5_U8, 1, &bytes, &array));
    tdm_status status = TDM_OK;
    if (bytes > MOST_BYTES)
        status = TDM_ERROR(TDM_E_FORMAT, "%s: /%s is longer than 1 GiB", file->path, name);
    if (status == TDM_OK) status = TDM_ALLOC(bytes, &data);
    if (status == TDM_OK) status = tdm_h5_read(array, 0, bytes, data);
    if (status == TDM_OK) status = tdm_text_append(text, data, (size_t)bytes);
    tdm_free(data);
    tdm_h5_close_array(&array);
    return status;
}
