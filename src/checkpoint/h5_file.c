#include "checkpoint_impl.h"

#include <string.h>

enum { CHUNK_BYTES = 1 << 20, MAX_ATTRIBUTE_BYTES = 4 << 20 };

/* ---- Opening and closing ---- */

static tdm_status keep_path(const char *path, h5_file *file)
{
    file->id = H5I_INVALID_HID;
    const int n = snprintf(file->path, sizeof file->path, "%s", path);
    TDM_REQUIRE(n >= 0 && n < (int)sizeof file->path, TDM_E_IO, "%.200s…: path is too long", path);
    return TDM_OK;
}

tdm_status h5_create(const char *path, const char *format, h5_file *file)
{
    TDM_TRY(keep_path(path, file));
    tdm_status status = tdm_h5_create(path, &file->id);
    if (status == TDM_OK) status = h5_put_text(file, "format", format);
    if (status == TDM_OK) status = h5_put_i64(file, "version", CKPT_VERSION);
    if (status == TDM_OK) status = h5_put_text(file, "tool_version", TDM_VERSION);
    return status;
}

void h5_discard(h5_file *file)
{
    tdm_h5_discard(&file->id);
}

tdm_status h5_finish(h5_file *file)
{
    TDM_TRY(tdm_h5_finish(file->path, &file->id));
    return tdm_fsync_path(file->path);
}

tdm_status h5_open_any(const char *path, h5_file *file)
{
    TDM_TRY(keep_path(path, file));
    return tdm_h5_open(path, &file->id);
}

static tdm_status check_format(const h5_file *file, const char *format)
{
    tdm_text found = {0};
    tdm_status status = h5_get_text(file, "format", &found);
    if (status == TDM_OK && strcmp(found.data, format) != 0) {
        status = TDM_ERROR(TDM_E_FORMAT, "%s: format attribute is \"%.60s\", expected \"%s\"", file->path,
                           found.data, format);
    }
    tdm_text_free(&found);
    TDM_TRY(status);
    int64_t version;
    TDM_TRY(h5_get_i64(file, "version", &version));
    TDM_REQUIRE(version == CKPT_VERSION, TDM_E_FORMAT, "%s: %s version %lld, this program reads version %d",
                file->path, format, (long long)version, CKPT_VERSION);
    return TDM_OK;
}

tdm_status h5_open(const char *path, const char *format, h5_file *file)
{
    TDM_TRY(h5_open_any(path, file));
    const tdm_status status = check_format(file, format);
    if (status != TDM_OK) h5_discard(file);
    return status;
}

/* ---- Attributes ---- */

static tdm_status attribute_error(const h5_file *file, const char *name)
{
    TDM_FAIL(TDM_E_IO, "%s: cannot write attribute %s: %s", file->path, name, tdm_h5_reason());
}

/* Every HDF5 call forgets the last failure: messages are made before anything is closed. */
static tdm_status put_attribute(h5_file *file, const char *name, hid_t type, const void *value)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(file->id, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    tdm_status status = TDM_OK;
    if (attribute < 0 || H5Awrite(attribute, type, value) < 0) status = attribute_error(file, name);
    if (attribute >= 0 && H5Aclose(attribute) < 0 && status == TDM_OK) status = attribute_error(file, name);
    if (space >= 0) H5Sclose(space);
    return status;
}

tdm_status h5_put_text(h5_file *file, const char *attribute, const char *value)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(value) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    H5Tset_strpad(type, H5T_STR_NULLTERM);
    const tdm_status status = put_attribute(file, attribute, type, value);
    if (type >= 0) H5Tclose(type);
    return status;
}

tdm_status h5_put_i64(h5_file *file, const char *attribute, int64_t value)
{
    return put_attribute(file, attribute, H5T_NATIVE_INT64, &value);
}

tdm_status h5_put_f64(h5_file *file, const char *attribute, double value)
{
    return put_attribute(file, attribute, H5T_NATIVE_DOUBLE, &value);
}

/* The attribute with its type, when it is a scalar of the class. */
static tdm_status open_attribute(const h5_file *file, const char *name, H5T_class_t class, const char *what,
                                 hid_t *attribute, hid_t *type)
{
    *attribute = *type = H5I_INVALID_HID;
    const htri_t exists = H5Aexists(file->id, name);
    TDM_REQUIRE(exists != 0, TDM_E_FORMAT, "%s: attribute %s is missing", file->path, name);
    if (exists > 0) *attribute = H5Aopen(file->id, name, H5P_DEFAULT);
    TDM_REQUIRE(*attribute >= 0, TDM_E_FORMAT, "%s: cannot read attribute %s: %s", file->path, name,
                tdm_h5_reason());
    const hid_t space = H5Aget_space(*attribute);
    *type = H5Aget_type(*attribute);
    const bool fits =
        space >= 0 && *type >= 0 && H5Sget_simple_extent_npoints(space) == 1 && H5Tget_class(*type) == class;
    if (space >= 0) H5Sclose(space);
    if (fits) return TDM_OK;
    if (*type >= 0) H5Tclose(*type);
    H5Aclose(*attribute);
    TDM_FAIL(TDM_E_FORMAT, "%s: attribute %s is not %s", file->path, name, what);
}

static tdm_status get_number(const h5_file *file, const char *name, H5T_class_t class, const char *what,
                             hid_t memory_type, void *value)
{
    hid_t attribute, type;
    TDM_TRY(open_attribute(file, name, class, what, &attribute, &type));
    const bool ok = H5Aread(attribute, memory_type, value) >= 0;
    tdm_status status = TDM_OK;
    if (!ok) {
        status =
            TDM_ERROR(TDM_E_FORMAT, "%s: cannot read attribute %s: %s", file->path, name, tdm_h5_reason());
    }
    H5Tclose(type);
    H5Aclose(attribute);
    return status;
}

tdm_status h5_get_i64(const h5_file *file, const char *attribute, int64_t *value)
{
    return get_number(file, attribute, H5T_INTEGER, "an integer", H5T_NATIVE_INT64, value);
}

tdm_status h5_get_f64(const h5_file *file, const char *attribute, double *value)
{
    return get_number(file, attribute, H5T_FLOAT, "a number", H5T_NATIVE_DOUBLE, value);
}

/* Files rewritten by h5py hold strings of variable length, which HDF5 allocates. */
static bool read_variable_text(hid_t attribute, hid_t type, tdm_text *text)
{
    char *value = NULL;
    const hid_t native = H5Tget_native_type(type, H5T_DIR_DEFAULT);
    bool ok = native >= 0 && H5Aread(attribute, native, &value) >= 0 && value != NULL;
    if (ok) ok = tdm_text_append(text, value, strlen(value)) == TDM_OK;
    if (value != NULL) H5free_memory(value);
    if (native >= 0) H5Tclose(native);
    return ok;
}

static bool read_fixed_text(hid_t attribute, hid_t type, tdm_text *text)
{
    const size_t bytes = H5Tget_size(type);
    char *value = NULL;
    if (bytes == 0 || bytes > MAX_ATTRIBUTE_BYTES) return false;
    if (tdm_alloc(bytes + 1, "attribute", (void **)&value) != TDM_OK) return false;
    const bool ok =
        H5Aread(attribute, type, value) >= 0 && tdm_text_append(text, value, strnlen(value, bytes)) == TDM_OK;
    tdm_free(value);
    return ok;
}

tdm_status h5_get_text(const h5_file *file, const char *attribute, tdm_text *text)
{
    hid_t id, type;
    TDM_TRY(open_attribute(file, attribute, H5T_STRING, "a string", &id, &type));
    const bool ok =
        H5Tis_variable_str(type) > 0 ? read_variable_text(id, type, text) : read_fixed_text(id, type, text);
    H5Tclose(type);
    H5Aclose(id);
    TDM_REQUIRE(ok, TDM_E_FORMAT, "%s: cannot read attribute %s", file->path, attribute);
    return TDM_OK;
}

/* ---- Data sets ---- */

tdm_status h5_put_group(h5_file *file, const char *name)
{
    const hid_t list = H5Pcreate(H5P_GROUP_CREATE);
    hid_t group = H5I_INVALID_HID;
    if (list >= 0 && H5Pset_obj_track_times(list, false) >= 0) { /* equal checkpoints are equal bytes */
        group = H5Gcreate2(file->id, name, H5P_DEFAULT, list, H5P_DEFAULT);
    }
    tdm_status status = TDM_OK;
    if (group < 0) {
        status = TDM_ERROR(TDM_E_IO, "%s: cannot write /%s: %s", file->path, name, tdm_h5_reason());
    }
    if (list >= 0) H5Pclose(list);
    if (group >= 0) H5Gclose(group);
    return status;
}

/* Creation list of a data set: chunks of about CHUNK_BYTES, cut along the first dimensions, with checksums.
 */
static hid_t checked_list(int ndim, const hsize_t *dims, size_t element_bytes)
{
    hsize_t chunk[CKPT_MAX_DIMS], elements = 1;
    for (int i = 0; i < ndim; i++) elements *= dims[i];
    for (int i = 0; i < ndim; i++) {
        const hsize_t row = elements / dims[i], limit = CHUNK_BYTES / element_bytes;
        chunk[i] = elements <= limit ? dims[i] : row >= limit ? 1 : limit / row;
        elements = row * chunk[i];
    }
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    if (list < 0) return list;
    if (H5Pset_chunk(list, ndim, chunk) < 0 || H5Pset_fletcher32(list) < 0 ||
        H5Pset_obj_track_times(list, false) < 0) {
        H5Pclose(list);
        return H5I_INVALID_HID;
    }
    return list;
}

/* Flushes, so that a full disk is met here, where the file can still be discarded, and not in a close. */
static tdm_status put_dataset(h5_file *file, const char *group, const char *name, hid_t type,
                              size_t element_bytes, int ndim, const hsize_t *dims, const void *data)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", group, name);
    const hid_t space = H5Screate_simple(ndim, dims, NULL), list = checked_list(ndim, dims, element_bytes);
    hid_t made = H5I_INVALID_HID;
    if (space >= 0 && list >= 0) {
        made = H5Dcreate2(file->id, path, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    }
    const bool ok =
        made >= 0 && H5Dwrite(made, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0 && H5Dflush(made) >= 0;
    tdm_status status = TDM_OK;
    if (!ok) {
        status = TDM_ERROR(TDM_E_IO, "%s: cannot write %s: %s", file->path, path, tdm_h5_reason());
        h5_discard(file); /* closes the data set as well */
    } else {
        H5Dclose(made);
    }
    if (space >= 0) H5Sclose(space);
    if (list >= 0) H5Pclose(list);
    return status;
}

/* Dimensions in the file: a scalar is one row. */
static int file_dims(int ndim, const int64_t *shape, hsize_t dims[CKPT_MAX_DIMS])
{
    dims[0] = 1;
    for (int i = 0; i < ndim; i++) dims[i] = (hsize_t)shape[i];
    return ndim > 0 ? ndim : 1;
}

tdm_status h5_put_f32(h5_file *file, const char *group, const char *name, int ndim, const int64_t *shape,
                      const float *data)
{
    hsize_t dims[CKPT_MAX_DIMS];
    const int n = file_dims(ndim, shape, dims);
    return put_dataset(file, group, name, H5T_IEEE_F32LE, sizeof *data, n, dims, data);
}

tdm_status h5_put_bytes(h5_file *file, const char *name, const void *data, size_t bytes)
{
    const hsize_t dims[1] = {bytes};
    return put_dataset(file, "", name, H5T_STD_U8LE, 1, 1, dims, data);
}

bool h5_has(const h5_file *file, const char *name)
{
    return H5Lexists(file->id, name, H5P_DEFAULT) > 0;
}

static hid_t open_dataset(const h5_file *file, const char *group, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", group, name);
    return H5Dopen2(file->id, path, H5P_DEFAULT);
}

static bool dataset_shape(hid_t dataset, int *ndim, int64_t shape[CKPT_MAX_DIMS])
{
    const hid_t space = H5Dget_space(dataset);
    if (space < 0) return false;
    *ndim = H5Sget_simple_extent_ndims(space);
    hsize_t dims[CKPT_MAX_DIMS];
    const bool ok = *ndim >= 0 && *ndim <= CKPT_MAX_DIMS && H5Sget_simple_extent_dims(space, dims, NULL) >= 0;
    for (int i = 0; ok && i < *ndim; i++) shape[i] = (int64_t)dims[i];
    H5Sclose(space);
    return ok;
}

bool h5_shape(const h5_file *file, const char *group, const char *name, int *ndim,
              int64_t shape[CKPT_MAX_DIMS])
{
    const hid_t dataset = open_dataset(file, group, name);
    if (dataset < 0) return false;
    const bool ok = dataset_shape(dataset, ndim, shape);
    H5Dclose(dataset);
    return ok;
}

static bool same_shape(hid_t dataset, int ndim, const int64_t *shape)
{
    hsize_t want[CKPT_MAX_DIMS];
    const int want_ndim = file_dims(ndim, shape, want);
    int got_ndim;
    int64_t got[CKPT_MAX_DIMS];
    if (!dataset_shape(dataset, &got_ndim, got)) return false;
    if (ndim == 0 && got_ndim == 0) return true;
    if (got_ndim != want_ndim) return false;
    for (int i = 0; i < got_ndim; i++) {
        if (got[i] != (int64_t)want[i]) return false;
    }
    return true;
}

tdm_status h5_get_f32(const h5_file *file, const char *group, const char *name, int ndim,
                      const int64_t *shape, float *data)
{
    const hid_t dataset = open_dataset(file, group, name);
    TDM_REQUIRE(dataset >= 0, TDM_E_FORMAT, "%s: %s/%s is missing", file->path, group, name);
    tdm_status status = TDM_OK;
    if (!same_shape(dataset, ndim, shape)) {
        status = TDM_ERROR(TDM_E_SHAPE, "%s: %s/%s has another shape", file->path, group, name);
    } else if (H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        status =
            TDM_ERROR(TDM_E_FORMAT, "%s: cannot read %s/%s: %s", file->path, group, name, tdm_h5_reason());
    }
    H5Dclose(dataset);
    return status;
}

tdm_status h5_get_bytes(const h5_file *file, const char *name, tdm_text *text)
{
    enum { MOST_BYTES = 1 << 30 };
    const hid_t dataset = open_dataset(file, "", name);
    TDM_REQUIRE(dataset >= 0, TDM_E_FORMAT, "%s: /%s is missing", file->path, name);
    int ndim = 0;
    int64_t shape[CKPT_MAX_DIMS] = {0};
    unsigned char *data = NULL;
    tdm_status status = TDM_OK;
    if (!dataset_shape(dataset, &ndim, shape) || ndim != 1 || shape[0] > MOST_BYTES) {
        status = TDM_ERROR(TDM_E_FORMAT, "%s: /%s is not a byte array", file->path, name);
    }
    if (status == TDM_OK) status = tdm_alloc((size_t)shape[0], name, (void **)&data);
    if (status == TDM_OK && H5Dread(dataset, H5T_NATIVE_UCHAR, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        status = TDM_ERROR(TDM_E_FORMAT, "%s: cannot read /%s: %s", file->path, name, tdm_h5_reason());
    }
    if (status == TDM_OK) status = tdm_text_append(text, data, (size_t)shape[0]);
    tdm_free(data);
    H5Dclose(dataset);
    return status;
}

tdm_status h5_group_size(const h5_file *file, const char *group, int64_t *count)
{
    H5G_info_t info;
    TDM_REQUIRE(h5_has(file, group) && H5Gget_info_by_name(file->id, group, &info, H5P_DEFAULT) >= 0,
                TDM_E_FORMAT, "%s: group /%s is missing", file->path, group);
    *count = (int64_t)info.nlinks;
    return TDM_OK;
}

tdm_status h5_link_name(const h5_file *file, const char *group, int64_t index, char *name, size_t bytes)
{
    const ssize_t n = H5Lget_name_by_idx(file->id, group, H5_INDEX_NAME, H5_ITER_INC, (hsize_t)index, name,
                                         bytes, H5P_DEFAULT);
    TDM_REQUIRE(n >= 0, TDM_E_FORMAT, "%s: cannot list /%s: %s", file->path, group, tdm_h5_reason());
    return TDM_OK;
}
