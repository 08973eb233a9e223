#include "shard_impl.h"

#include <string.h>

static tdm_status check_format(const char *path, hid_t file, const char *format)
{
    char found[64];
    int64_t version;
    TDM_REQUIRE(H5Aexists(file, "format") > 0, TDM_E_FORMAT, "%s: has no format attribute, expected \"%s\"",
                path, format);
    TDM_TRY(shard_h5_get_text(path, file, "format", found, sizeof(found)));
    TDM_REQUIRE(!strcmp(found, format), TDM_E_FORMAT, "%s: format attribute is \"%s\", expected \"%s\"", path,
                found, format);
    TDM_TRY(shard_h5_get_i64(path, file, "version", &version));
    TDM_REQUIRE(version == SHARD_VERSION, TDM_E_FORMAT, "%s: %s version %lld, this program reads version %d",
                path, format, (long long)version, SHARD_VERSION);
    return TDM_OK;
}

tdm_status shard_h5_open(const char *path, const char *format, hid_t *file)
{
    TDM_TRY(tdm_h5_open(path, file));
    const tdm_status status = check_format(path, *file, format);
    if (status != TDM_OK) tdm_h5_discard(file);
    return status;
}

/* ---- attributes ---- */

static hid_t text_type(size_t bytes)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0) {
        H5Tset_size(type, bytes);
        H5Tset_cset(type, H5T_CSET_UTF8);
        H5Tset_strpad(type, H5T_STR_NULLTERM);
    }
    return type;
}

static bool write_attribute(hid_t file, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5I_INVALID_HID;
    bool ok = false;
    if (space >= 0 && type >= 0) attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute >= 0) {
        ok = H5Awrite(attribute, type, value) >= 0;
        ok = H5Aclose(attribute) >= 0 && ok;
    }
    if (space >= 0) H5Sclose(space);
    return ok;
}

tdm_status shard_h5_put_text(const char *path, hid_t file, const char *name, const char *value)
{
    hid_t type = text_type(strlen(value) + 1);
    bool ok = write_attribute(file, name, type, value);
    if (type >= 0) H5Tclose(type);
    TDM_REQUIRE(ok, TDM_E_IO, "%s: cannot write attribute %s: %s", path, name, tdm_h5_reason());
    return TDM_OK;
}

tdm_status shard_h5_put_i64(const char *path, hid_t file, const char *name, int64_t value)
{
    TDM_REQUIRE(write_attribute(file, name, H5T_NATIVE_INT64, &value), TDM_E_IO,
                "%s: cannot write attribute %s: %s", path, name, tdm_h5_reason());
    return TDM_OK;
}

/* The attribute, which must be a scalar of the class; H5I_INVALID_HID otherwise. */
static hid_t open_attribute(hid_t file, const char *name, H5T_class_t class, hid_t *type)
{
    *type = H5I_INVALID_HID;
    if (H5Aexists(file, name) <= 0) return H5I_INVALID_HID;
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    if (attribute < 0) return attribute;
    hid_t space = H5Aget_space(attribute);
    *type = H5Aget_type(attribute);
    bool fits =
        space >= 0 && *type >= 0 && H5Sget_simple_extent_npoints(space) == 1 && H5Tget_class(*type) == class;
    if (space >= 0) H5Sclose(space);
    if (fits) return attribute;
    if (*type >= 0) H5Tclose(*type);
    *type = H5I_INVALID_HID;
    H5Aclose(attribute);
    return H5I_INVALID_HID;
}

/* Variable length: HDF5 allocates the string. */
static bool read_variable_text(hid_t attribute, hid_t type, char *out, size_t bytes)
{
    hid_t native = H5Tget_native_type(type, H5T_DIR_DEFAULT);
    char *text = NULL;
    bool ok = native >= 0 && H5Aread(attribute, native, &text) >= 0 && text;
    if (ok) snprintf(out, bytes, "%s", text);
    if (text) H5free_memory(text);
    if (native >= 0) H5Tclose(native);
    return ok;
}

static bool read_fixed_text(hid_t attribute, hid_t type, char *out, size_t bytes)
{
    enum { LONGEST = 65536 };
    size_t size = H5Tget_size(type);
    char *text = NULL;
    if (size == 0 || size > LONGEST || tdm_alloc(size + 1, "attribute", (void **)&text) != TDM_OK)
        return false;
    bool ok = H5Aread(attribute, type, text) >= 0;
    if (ok) snprintf(out, bytes, "%s", text);
    tdm_free(text);
    return ok;
}

tdm_status shard_h5_get_text(const char *path, hid_t file, const char *name, char *out, size_t bytes)
{
    hid_t type;
    hid_t attribute = open_attribute(file, name, H5T_STRING, &type);
    TDM_REQUIRE(attribute >= 0, TDM_E_FORMAT, "%s: attribute %s is missing or is not a string", path, name);
    bool ok = H5Tis_variable_str(type) > 0 ? read_variable_text(attribute, type, out, bytes)
                                           : read_fixed_text(attribute, type, out, bytes);
    tdm_status status = TDM_OK;
    if (!ok) status = TDM_ERROR(TDM_E_FORMAT, "%s: cannot read attribute %s", path, name);
    H5Tclose(type);
    H5Aclose(attribute);
    return status;
}

tdm_status shard_h5_get_i64(const char *path, hid_t file, const char *name, int64_t *value)
{
    hid_t type;
    hid_t attribute = open_attribute(file, name, H5T_INTEGER, &type);
    TDM_REQUIRE(attribute >= 0, TDM_E_FORMAT, "%s: attribute %s is missing or is not an integer", path, name);
    bool ok = H5Aread(attribute, H5T_NATIVE_INT64, value) >= 0;
    H5Tclose(type);
    H5Aclose(attribute);
    TDM_REQUIRE(ok, TDM_E_FORMAT, "%s: cannot read attribute %s", path, name);
    return TDM_OK;
}

/* ---- data sets ---- */

static hid_t chunked_list(int rank, const hsize_t *dims, hsize_t chunk_rows)
{
    hsize_t chunk[2] = {chunk_rows, rank > 1 ? dims[1] : 1};
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    if (list < 0) return list;
    if (H5Pset_chunk(list, rank, chunk) < 0 || H5Pset_fletcher32(list) < 0 ||
        H5Pset_obj_track_times(list, false) < 0) {
        H5Pclose(list);
        return H5I_INVALID_HID;
    }
    return list;
}

tdm_status shard_h5_put(const char *path, hid_t file, const char *name, hid_t type, int rank,
                        const hsize_t *dims, hsize_t chunk_rows, bool grows, const void *data, hid_t *dataset)
{
    hsize_t largest[2] = {grows ? H5S_UNLIMITED : dims[0], rank > 1 ? dims[1] : 1};
    /* a chunk may not exceed a fixed extent; an empty data set still needs a chunk of one */
    if (!grows && chunk_rows > dims[0]) chunk_rows = dims[0] ? dims[0] : 1;
    if (dims[0] == 0) largest[0] = H5S_UNLIMITED;
    hid_t space = H5Screate_simple(rank, dims, largest);
    hid_t list = chunked_list(rank, dims, chunk_rows);
    hid_t made = H5I_INVALID_HID;
    if (space >= 0 && list >= 0) made = H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    bool ok = made >= 0;
    if (ok && data && dims[0]) ok = H5Dwrite(made, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    tdm_status status = TDM_OK;
    if (!ok) status = TDM_ERROR(TDM_E_IO, "%s: cannot write /%s: %s", path, name, tdm_h5_reason());
    if (made >= 0 && (!ok || !dataset)) H5Dclose(made);
    if (dataset) *dataset = ok ? made : H5I_INVALID_HID;
    if (space >= 0) H5Sclose(space);
    if (list >= 0) H5Pclose(list);
    return status;
}

tdm_status shard_h5_put_group(const char *path, hid_t file, const char *name)
{
    hid_t list = H5Pcreate(H5P_GROUP_CREATE), group = H5I_INVALID_HID;
    if (list >= 0 && H5Pset_obj_track_times(list, false) >= 0)
        group = H5Gcreate2(file, name, H5P_DEFAULT, list, H5P_DEFAULT);
    tdm_status status = TDM_OK;
    if (group < 0)
        status = TDM_ERROR(TDM_E_IO, "%s: cannot write group /%s: %s", path, name, tdm_h5_reason());
    if (group >= 0) H5Gclose(group);
    if (list >= 0) H5Pclose(list);
    return status;
}

bool shard_h5_has(hid_t file, const char *name)
{
    char group[64];
    const char *slash = strrchr(name, '/');
    snprintf(group, sizeof(group), "%.*s", slash ? (int)(slash - name) : 0, name);
    return (!*group || H5Lexists(file, group, H5P_DEFAULT) > 0) && H5Lexists(file, name, H5P_DEFAULT) > 0;
}

/* HDF5 lets a data set claim any size and gives zeros for what is not there. Even a repacked, compressed file
 * holds a byte per LARGEST_RATIO: deflate does not reach more. */
static bool is_written(hid_t dataset, int rank, const hsize_t *dims)
{
    enum { LARGEST_RATIO = 1032 };
    hsize_t stored = H5Dget_storage_size(dataset), claimed = dims[0];
    for (int i = 1; i < rank; i++) {
        if (dims[i] && claimed > UINT64_MAX / dims[i]) return false;
        claimed *= dims[i];
    }
    return claimed == 0 || (stored > 0 && claimed / LARGEST_RATIO <= stored);
}

tdm_status shard_h5_open_dataset(const char *path, hid_t file, const char *name, int rank, hsize_t *dims,
                                 hid_t *dataset)
{
    *dataset = H5I_INVALID_HID;
    TDM_REQUIRE(shard_h5_has(file, name), TDM_E_FORMAT, "%s: data set /%s is missing", path, name);
    hid_t opened = H5Dopen2(file, name, H5P_DEFAULT);
    TDM_REQUIRE(opened >= 0, TDM_E_FORMAT, "%s: cannot open /%s: %s", path, name, tdm_h5_reason());
    hid_t space = H5Dget_space(opened), type = H5Dget_type(opened);
    bool fits = space >= 0 && type >= 0 && H5Tget_class(type) == H5T_INTEGER &&
                H5Sget_simple_extent_ndims(space) == rank &&
                H5Sget_simple_extent_dims(space, dims, NULL) == rank;
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (!fits) {
        H5Dclose(opened);
        TDM_FAIL(TDM_E_FORMAT, "%s: /%s is not an array of integers with %d dimension%s", path, name, rank,
                 rank > 1 ? "s" : "");
    }
    if (!is_written(opened, rank, dims)) {
        H5Dclose(opened);
        TDM_FAIL(TDM_E_FORMAT, "%s: /%s was not written completely", path, name);
    }
    *dataset = opened;
    return TDM_OK;
}

bool shard_h5_read(hid_t dataset, hid_t type, int64_t first, int64_t n, int64_t width, void *out)
{
    if (n == 0) return true;
    hsize_t start[2] = {(hsize_t)first, 0}, count[2] = {(hsize_t)n, (hsize_t)width};
    hid_t in_file = H5Dget_space(dataset);
    if (in_file < 0) return false;
    int rank = H5Sget_simple_extent_ndims(in_file);
    hid_t in_memory = rank == 1 || rank == 2 ? H5Screate_simple(rank, count, NULL) : H5I_INVALID_HID;
    bool ok = in_memory >= 0 && H5Sselect_hyperslab(in_file, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
              H5Dread(dataset, type, in_memory, in_file, H5P_DEFAULT, out) >= 0;
    /* closing calls would clear the error stack that tdm_h5_reason reads */
    hid_t stack = ok ? H5I_INVALID_HID : H5Eget_current_stack();
    if (in_memory >= 0) H5Sclose(in_memory);
    H5Sclose(in_file);
    if (stack >= 0) H5Eset_current_stack(stack);
    return ok;
}

tdm_status shard_h5_read_i64(const char *path, hid_t file, const char *name, int64_t *count, int64_t **out)
{
    hsize_t dims[1];
    hid_t dataset;
    *out = NULL;
    TDM_TRY(shard_h5_open_dataset(path, file, name, 1, dims, &dataset));
    tdm_status status = TDM_OK;
    if (*count >= 0 && dims[0] != (hsize_t)*count)
        status = TDM_ERROR(TDM_E_FORMAT, "%s: /%s holds %llu rows, expected %lld", path, name,
                           (unsigned long long)dims[0], (long long)*count);
    else if (dims[0] > INT64_MAX / sizeof(int64_t))
        status = TDM_ERROR(TDM_E_FORMAT, "%s: /%s is too large", path, name);
    if (status == TDM_OK) status = TDM_ALLOC(dims[0], out);
    if (status == TDM_OK && !shard_h5_read(dataset, H5T_NATIVE_INT64, 0, (int64_t)dims[0], 1, *out))
        status = TDM_ERROR(TDM_E_FORMAT, "%s: cannot read /%s: %s", path, name, tdm_h5_reason());
    H5Dclose(dataset);
    if (status == TDM_OK)
        *count = (int64_t)dims[0];
    else {
        tdm_free(*out);
        *out = NULL;
    }
    return status;
}
