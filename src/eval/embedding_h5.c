/* HDF5 for embedding files, with our messages. */
#include "embedding_file_impl.h"

#include <string.h>

enum { CHUNK_BYTES = 1 << 18 };

tdm_status embedding_fail(tdm_status code, const embedding_file *file, const char *doing, const char *name)
{
    TDM_FAIL(code, "%s: cannot %s%s: %s", file->path, doing, name, tdm_h5_reason());
}

tdm_status embedding_put_text(embedding_file *file, const char *name, const char *value)
{
    const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, strlen(value) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    const hid_t attribute = H5Acreate2(file->id, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool written = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    const tdm_status status =
        written ? TDM_OK
                : embedding_fail(TDM_E_IO, file, "write attribute ", name); /* before the stack is cleared */
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
    return status;
}

tdm_status embedding_put_i64(embedding_file *file, const char *name, int64_t value)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(file->id, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool written = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT64, &value) >= 0;
    const tdm_status status = written ? TDM_OK : embedding_fail(TDM_E_IO, file, "write attribute ", name);
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    return status;
}

tdm_status embedding_put_rows(embedding_file *file, const char *name, hid_t file_type, hid_t memory_type,
                              int64_t rows, int64_t width, const void *data)
{
    const hsize_t dims[2] = {(hsize_t)rows, (hsize_t)width};
    const int64_t row_bytes = (int64_t)H5Tget_size(file_type) * tdm_max_i64(1, width);
    const hsize_t chunk[2] = {
        (hsize_t)tdm_max_i64(1, tdm_min_i64(tdm_max_i64(rows, 1), CHUNK_BYTES / row_bytes)), (hsize_t)width};
    const hsize_t unlimited[2] = {H5S_UNLIMITED, (hsize_t)width}; /* so that 0 rows can be chunked too */
    const int ndim = width > 0 ? 2 : 1;
    const hid_t space = H5Screate_simple(ndim, dims, unlimited), plist = H5Pcreate(H5P_DATASET_CREATE);
    tdm_status status = TDM_OK;
    hid_t set = H5I_INVALID_HID;
    if (H5Pset_chunk(plist, ndim, chunk) < 0 || H5Pset_fletcher32(plist) < 0 ||
        (set = H5Dcreate2(file->id, name, file_type, space, H5P_DEFAULT, plist, H5P_DEFAULT)) < 0 ||
        (rows > 0 && H5Dwrite(set, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0))
        status = embedding_fail(TDM_E_IO, file, "write ", name);
    if (set >= 0 && H5Dclose(set) < 0 && status == TDM_OK)
        status = embedding_fail(TDM_E_IO, file, "write ", name);
    H5Pclose(plist);
    H5Sclose(space);
    return status;
}

static bool is_scalar(hid_t attribute)
{
    const hid_t space = H5Aget_space(attribute);
    const bool one = space >= 0 && H5Sget_simple_extent_npoints(space) == 1;
    if (space >= 0) H5Sclose(space);
    return one;
}

tdm_status embedding_get_text(const embedding_file *file, const char *name, char *out, size_t bytes)
{
    const hid_t attribute = H5Aopen(file->id, name, H5P_DEFAULT);
    if (attribute < 0) return embedding_fail(TDM_E_FORMAT, file, "read attribute ", name);
    const hid_t type = H5Aget_type(attribute);
    tdm_status status = TDM_OK;
    if (!is_scalar(attribute) || H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) > 0)
        status = TDM_ERROR(TDM_E_FORMAT, "%s: attribute %s is not a string", file->path, name);
    const size_t size = H5Tget_size(type);
    void *value = NULL;
    if (status == TDM_OK) status = tdm_alloc(size + 1, "attribute", &value);
    if (status == TDM_OK && H5Aread(attribute, type, value) < 0)
        status = embedding_fail(TDM_E_FORMAT, file, "read attribute ", name);
    if (status == TDM_OK) snprintf(out, bytes, "%s", (const char *)value);
    tdm_free(value);
    H5Tclose(type);
    H5Aclose(attribute);
    return status;
}

tdm_status embedding_get_i64(const embedding_file *file, const char *name, int64_t *value)
{
    const hid_t attribute = H5Aopen(file->id, name, H5P_DEFAULT);
    if (attribute < 0) return embedding_fail(TDM_E_FORMAT, file, "read attribute ", name);
    const bool read = is_scalar(attribute) && H5Aread(attribute, H5T_NATIVE_INT64, value) >= 0;
    const tdm_status status = read ? TDM_OK : embedding_fail(TDM_E_FORMAT, file, "read attribute ", name);
    H5Aclose(attribute);
    TDM_TRY(status);
    TDM_REQUIRE(*value >= 0, TDM_E_FORMAT, "%s: attribute %s is %lld", file->path, name, (long long)*value);
    return TDM_OK;
}

/* A chunked data set may claim rows that nobody wrote, which would be read as zeros, for a long time. */
static bool is_written(hid_t set, int64_t rows, int64_t width)
{
    const hid_t type = H5Dget_type(set);
    const uint64_t row_bytes = (uint64_t)H5Tget_size(type) * (uint64_t)tdm_max_i64(1, width);
    H5Tclose(type);
    return rows >= 0 && row_bytes > 0 && (uint64_t)rows <= H5Dget_storage_size(set) / row_bytes;
}

tdm_status embedding_open_rows(const embedding_file *file, const char *name, int64_t width, hid_t *set,
                               int64_t *rows)
{
    hsize_t dims[2] = {0, 0};
    const int want = width > 0 ? 2 : 1;
    *set = H5Dopen2(file->id, name, H5P_DEFAULT);
    if (*set < 0) return embedding_fail(TDM_E_FORMAT, file, "open ", name);
    const hid_t space = H5Dget_space(*set);
    const bool fits = H5Sget_simple_extent_ndims(space) == want &&
                      H5Sget_simple_extent_dims(space, dims, NULL) == want &&
                      (width == 0 || dims[1] == (hsize_t)width);
    H5Sclose(space);
    *rows = (int64_t)dims[0];
    if (fits && is_written(*set, *rows, width)) return TDM_OK;
    H5Dclose(*set);
    TDM_FAIL(TDM_E_FORMAT, "%s: /%s %s", file->path, name,
             fits ? "claims more rows than were written" : "has another shape than the attributes say");
}

tdm_status embedding_get_rows(const embedding_file *file, const char *name, hid_t memory_type, int64_t rows,
                              int64_t width, int64_t first, int64_t n, void *out)
{
    hid_t set;
    int64_t found;
    if (n == 0) return TDM_OK;
    TDM_TRY(embedding_open_rows(file, name, width, &set, &found));
    tdm_status status = TDM_OK;
    if (found != rows)
        status = TDM_ERROR(TDM_E_FORMAT, "%s: /%s has %lld rows, not %lld", file->path, name,
                           (long long)found, (long long)rows);
    if (status == TDM_OK) {
        const hsize_t start[2] = {(hsize_t)first, 0};
        const hsize_t size[2] = {(hsize_t)n, (hsize_t)tdm_max_i64(1, width)};
        const hid_t from = H5Dget_space(set), to = H5Screate_simple(width > 0 ? 2 : 1, size, NULL);
        if (H5Sselect_hyperslab(from, H5S_SELECT_SET, start, NULL, size, NULL) < 0 ||
            H5Dread(set, memory_type, to, from, H5P_DEFAULT, out) < 0)
            status = embedding_fail(TDM_E_FORMAT, file, "read ", name);
        H5Sclose(to);
        H5Sclose(from);
    }
    H5Dclose(set);
    return status;
}

tdm_status embedding_part_path(char out[TDM_PATH_BYTES], const char *dir, const char *split, int64_t part)
{
    char name[64];
    snprintf(name, sizeof name, "%.31s-%05lld.h5", split, (long long)part);
    return tdm_path_join(out, TDM_PATH_BYTES, dir, name);
}
