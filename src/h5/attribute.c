/* Attributes of the root, and groups. */
#include "h5_impl.h"

#include <string.h>

enum { MAX_TEXT_BYTES = 4 << 20 };

hid_t h5_text_type(size_t bytes)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0) return type;
    if (H5Tset_size(type, bytes) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0) return type;
    H5Tclose(type);
    return H5I_INVALID_HID;
}

/* ---- Writing ---- */

static tdm_status put_attribute(tdm_h5 *file, const char *name, hid_t type, const void *value)
{
    h5_quiet();
    const hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5I_INVALID_HID;
    if (space >= 0 && type >= 0)
        attribute = H5Acreate2(file->id, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    tdm_status status = TDM_OK;
    if (attribute < 0 || H5Awrite(attribute, type, value) < 0)
        status = h5_cannot(TDM_E_IO, file->path, "write attribute ", name);
    if (attribute >= 0 && H5Aclose(attribute) < 0 && status == TDM_OK)
        status = h5_cannot(TDM_E_IO, file->path, "write attribute ", name);
    if (space >= 0) H5Sclose(space);
    return status;
}

tdm_status tdm_h5_put_text(tdm_h5 *file, const char *name, const char *value)
{
    const hid_t type = h5_text_type(strlen(value) + 1);
    const tdm_status status = put_attribute(file, name, type, value);
    if (type >= 0) H5Tclose(type);
    return status;
}

tdm_status tdm_h5_put_i64(tdm_h5 *file, const char *name, int64_t value)
{
    return put_attribute(file, name, H5T_NATIVE_INT64, &value);
}

tdm_status tdm_h5_put_f64(tdm_h5 *file, const char *name, double value)
{
    return put_attribute(file, name, H5T_NATIVE_DOUBLE, &value);
}

/* ---- Reading ---- */

bool tdm_h5_has_attribute(const tdm_h5 *file, const char *name)
{
    h5_quiet();
    return H5Aexists(file->id, name) > 0;
}

/* One value of the class, of a fixed length. */
static tdm_status check_type(const tdm_h5 *file, const char *name, hid_t attribute, hid_t type,
                             H5T_class_t class, const char *what)
{
    const hid_t space = H5Aget_space(attribute);
    const bool one = space >= 0 && H5Sget_simple_extent_npoints(space) == 1;
    if (space >= 0) H5Sclose(space);
    TDM_REQUIRE(one && type >= 0 && H5Tget_class(type) == class, TDM_E_FORMAT, "%s: attribute %s is not %s",
                file->path, name, what);
    TDM_REQUIRE(class != H5T_STRING || H5Tis_variable_str(type) == 0, TDM_E_FORMAT,
                "%s: attribute %s is a string of variable length; only those of a fixed length are read",
                file->path, name);
    return TDM_OK;
}

static tdm_status open_attribute(const tdm_h5 *file, const char *name, H5T_class_t class, const char *what,
                                 hid_t *attribute, hid_t *type)
{
    h5_quiet();
    const htri_t exists = H5Aexists(file->id, name);
    TDM_REQUIRE(exists != 0, TDM_E_FORMAT, "%s: attribute %s is missing", file->path, name);
    *attribute = exists > 0 ? H5Aopen(file->id, name, H5P_DEFAULT) : H5I_INVALID_HID;
    if (*attribute < 0) return h5_cannot(TDM_E_FORMAT, file->path, "read attribute ", name);
    *type = H5Aget_type(*attribute);
    const tdm_status status = check_type(file, name, *attribute, *type, class, what);
    if (status == TDM_OK) return TDM_OK;
    if (*type >= 0) H5Tclose(*type);
    H5Aclose(*attribute);
    return status;
}

static tdm_status get_number(const tdm_h5 *file, const char *name, H5T_class_t class, const char *what,
                             hid_t memory_type, void *value)
{
    hid_t attribute, type;
    TDM_TRY(open_attribute(file, name, class, what, &attribute, &type));
    tdm_status status = TDM_OK;
    if (H5Aread(attribute, memory_type, value) < 0)
        status = h5_cannot(TDM_E_FORMAT, file->path, "read attribute ", name);
    H5Tclose(type);
    H5Aclose(attribute);
    return status;
}

tdm_status tdm_h5_get_i64(const tdm_h5 *file, const char *name, int64_t *value)
{
    return get_number(file, name, H5T_INTEGER, "an integer", H5T_NATIVE_INT64, value);
}

tdm_status tdm_h5_get_f64(const tdm_h5 *file, const char *name, double *value)
{
    return get_number(file, name, H5T_FLOAT, "a number", H5T_NATIVE_DOUBLE, value);
}

static tdm_status read_text(const tdm_h5 *file, const char *name, hid_t attribute, hid_t type, tdm_text *text)
{
    const size_t bytes = H5Tget_size(type);
    char *value;
    TDM_REQUIRE(bytes > 0 && bytes <= MAX_TEXT_BYTES, TDM_E_FORMAT,
                "%s: attribute %s has %zu bytes, at most %d are read", file->path, name, bytes,
                MAX_TEXT_BYTES);
    TDM_TRY(tdm_alloc(bytes + 1, name, (void **)&value));
    tdm_status status = TDM_OK;
    if (H5Aread(attribute, type, value) < 0)
        status = h5_cannot(TDM_E_FORMAT, file->path, "read attribute ", name);
    if (status == TDM_OK) status = tdm_text_append(text, value, strnlen(value, bytes));
    tdm_free(value);
    return status;
}

tdm_status tdm_h5_get_text(const tdm_h5 *file, const char *name, tdm_text *text)
{
    hid_t attribute, type;
    TDM_TRY(open_attribute(file, name, H5T_STRING, "a string", &attribute, &type));
    const tdm_status status = read_text(file, name, attribute, type, text);
    H5Tclose(type);
    H5Aclose(attribute);
    return status;
}

tdm_status tdm_h5_get_chars(const tdm_h5 *file, const char *name, char *out, size_t bytes)
{
    tdm_text text = {0};
    const tdm_status status = tdm_h5_get_text(file, name, &text);
    if (status == TDM_OK) snprintf(out, bytes, "%s", text.data);
    tdm_text_free(&text);
    return status;
}

/* ---- Groups ---- */

tdm_status tdm_h5_put_group(tdm_h5 *file, const char *name)
{
    h5_quiet();
    const hid_t list = H5Pcreate(H5P_GROUP_CREATE);
    hid_t group = H5I_INVALID_HID;
    if (list >= 0 && H5Pset_obj_track_times(list, false) >= 0)
        group = H5Gcreate2(file->id, name, H5P_DEFAULT, list, H5P_DEFAULT);
    const tdm_status status = group < 0 ? h5_cannot(TDM_E_IO, file->path, "write group /", name) : TDM_OK;
    if (group >= 0) H5Gclose(group);
    if (list >= 0) H5Pclose(list);
    return status;
}

/* A link below one that is missing is an error to HDF5, so every part of the path is looked up. */
int h5_look_up(const tdm_h5 *file, const char *name)
{
    char part[256];
    h5_quiet();
    for (const char *slash = strchr(name, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        const int n = snprintf(part, sizeof part, "%.*s", (int)(slash - name), name);
        if (n >= (int)sizeof part) return 0;
        const htri_t found = H5Lexists(file->id, part, H5P_DEFAULT);
        if (found <= 0) return found < 0 ? -1 : 0;
    }
    const htri_t found = H5Lexists(file->id, name, H5P_DEFAULT);
    return found < 0 ? -1 : found > 0;
}

bool tdm_h5_has(const tdm_h5 *file, const char *name)
{
    return h5_look_up(file, name) > 0;
}

tdm_status tdm_h5_find(const tdm_h5 *file, const char *name, bool *there)
{
    const int found = h5_look_up(file, name);
    *there = found > 0;
    return found < 0 ? h5_cannot(TDM_E_FORMAT, file->path, "look up /", name) : TDM_OK;
}

static const char *group_path(const char *group)
{
    return group[0] != '\0' ? group : "/";
}

tdm_status tdm_h5_group_size(const tdm_h5 *file, const char *group, int64_t *count)
{
    H5G_info_t info;
    bool there = true; /* as the root always is */
    if (group[0] != '\0') TDM_TRY(tdm_h5_find(file, group, &there));
    TDM_REQUIRE(there, TDM_E_FORMAT, "%s: group /%s is missing", file->path, group);
    h5_quiet();
    if (H5Gget_info_by_name(file->id, group_path(group), &info, H5P_DEFAULT) < 0)
        return h5_cannot(TDM_E_FORMAT, file->path, "open group /", group);
    *count = (int64_t)info.nlinks;
    return TDM_OK;
}

tdm_status tdm_h5_link_name(const tdm_h5 *file, const char *group, int64_t index, char *name, size_t bytes)
{
    h5_quiet();
    const ssize_t n = H5Lget_name_by_idx(file->id, group_path(group), H5_INDEX_NAME, H5_ITER_INC,
                                         (hsize_t)index, name, bytes, H5P_DEFAULT);
    if (n < 0) return h5_cannot(TDM_E_FORMAT, file->path, "list /", group);
    TDM_REQUIRE((size_t)n < bytes, TDM_E_FORMAT, "%s: the name %s… is too long", file->path, name);
    return TDM_OK;
}
