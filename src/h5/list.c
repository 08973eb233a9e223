/* What an HDF5 file holds, whoever wrote it; and reading everything once, for its checksums. */
#include "h5_impl.h"

#include <stdlib.h>
#include <string.h>

enum { SLAB_BYTES = 16 << 20, DEPTH = 8 };

void tdm_h5_items_free(tdm_h5_items *items)
{
    for (int64_t i = 0; i < items->count; i++) {
        free(items->item[i].name);
        free(items->item[i].value);
    }
    free(items->item);
    memset(items, 0, sizeof *items);
}

const tdm_h5_item *tdm_h5_items_find(const tdm_h5_items *items, const char *name)
{
    for (int64_t i = 0; i < items->count; i++) {
        if (strcmp(items->item[i].name, name) == 0) return &items->item[i];
    }
    return NULL;
}

static tdm_status add_item(tdm_h5_items *items, const char *name, tdm_h5_item **item)
{
    if (items->count == items->capacity) {
        const int64_t capacity = items->capacity * 2 + 64;
        tdm_h5_item *grown = realloc(items->item, (size_t)capacity * sizeof *grown);
        TDM_REQUIRE(grown, TDM_E_NOMEM, "out of memory for a list of %lld items", (long long)capacity);
        items->item = grown;
        items->capacity = capacity;
    }
    *item = &items->item[items->count];
    memset(*item, 0, sizeof **item);
    (*item)->name = strdup(name);
    TDM_REQUIRE((*item)->name, TDM_E_NOMEM, "out of memory");
    items->count++;
    return TDM_OK;
}

static const char *type_name(hid_t type)
{
    const size_t bytes = H5Tget_size(type);
    switch (H5Tget_class(type)) {
    case H5T_FLOAT: return bytes == 4 ? "f32" : bytes == 8 ? "f64" : bytes == 2 ? "f16" : "float";
    case H5T_STRING: return "string";
    case H5T_INTEGER: {
        static const char *const names[2][4] = {{"u8", "u16", "u32", "u64"}, {"i8", "i16", "i32", "i64"}};
        const int size = bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3;
        return names[H5Tget_sign(type) != H5T_SGN_NONE][size];
    }
    default: return "other";
    }
}

/* ---- Attributes of the root ---- */

static tdm_status attribute_value(const tdm_h5 *file, const char *name, const char *type, tdm_text *text)
{
    if (strcmp(type, "string") == 0) return tdm_h5_get_text(file, name, text);
    if (type[0] == 'f') {
        double value;
        TDM_TRY(tdm_h5_get_f64(file, name, &value));
        return tdm_text_printf(text, "%.17g", value);
    }
    int64_t value;
    TDM_TRY(tdm_h5_get_i64(file, name, &value));
    return tdm_text_printf(text, "%lld", (long long)value);
}

static tdm_status list_attribute(const tdm_h5 *file, const char *name, tdm_h5_items *items)
{
    const hid_t attribute = H5Aopen(file->id, name, H5P_DEFAULT);
    if (attribute < 0) return h5_cannot(TDM_E_FORMAT, file->path, "read attribute ", name);
    const hid_t type = H5Aget_type(attribute);
    const char *kind = type >= 0 ? type_name(type) : "other";
    if (type >= 0) H5Tclose(type);
    H5Aclose(attribute);
    tdm_h5_item *item;
    TDM_TRY(add_item(items, name, &item));
    snprintf(item->type, sizeof item->type, "%s", kind);
    tdm_text text = {0};
    tdm_status status = tdm_text_append(&text, "", 0);
    /* An attribute that is no scalar, or of a type that Tandem does not write, is listed without a value. */
    if (status == TDM_OK && strcmp(kind, "other") != 0) (void)attribute_value(file, name, kind, &text);
    item->value = text.data;
    return status;
}

typedef struct attribute_walk {
    const tdm_h5 *file;
    tdm_h5_items *items;
    tdm_status status;
} attribute_walk;

static herr_t visit_attribute(hid_t object, const char *name, const H5A_info_t *info, void *context)
{
    (void)object;
    (void)info;
    attribute_walk *walk = context;
    walk->status = list_attribute(walk->file, name, walk->items);
    return walk->status == TDM_OK ? 0 : 1; /* 1 ends the walk */
}

static tdm_status list_attributes(const tdm_h5 *file, tdm_h5_items *items)
{
    attribute_walk walk = {.file = file, .items = items, .status = TDM_OK};
    const herr_t code = H5Aiterate2(file->id, H5_INDEX_NAME, H5_ITER_INC, NULL, visit_attribute, &walk);
    if (code < 0) return h5_cannot(TDM_E_FORMAT, file->path, "read its attributes", "");
    return walk.status;
}

/* ---- Data sets ---- */

static tdm_status visit_group(const tdm_h5 *file, const char *path, int depth, h5_dataset_visitor *visit,
                              void *context);

static tdm_status visit_link(const tdm_h5 *file, const char *path, int depth, h5_dataset_visitor *visit,
                             void *context)
{
    const hid_t object = H5Oopen(file->id, path, H5P_DEFAULT);
    if (object < 0) return h5_cannot(TDM_E_FORMAT, file->path, "open ", path);
    tdm_status status = TDM_OK;
    if (H5Iget_type(object) == H5I_DATASET) {
        status = visit(file, path, object, context);
    } else if (H5Iget_type(object) == H5I_GROUP && depth < DEPTH) {
        status = visit_group(file, path, depth + 1, visit, context);
    }
    H5Oclose(object);
    return status;
}

static tdm_status visit_group(const tdm_h5 *file, const char *path, int depth, h5_dataset_visitor *visit,
                              void *context)
{
    H5G_info_t info;
    if (H5Gget_info_by_name(file->id, path[0] ? path : "/", &info, H5P_DEFAULT) < 0)
        return h5_cannot(TDM_E_FORMAT, file->path, "list ", path);
    for (hsize_t i = 0; i < info.nlinks; i++) {
        char name[256], inner[1024];
        TDM_TRY(tdm_h5_link_name(file, path[0] ? path + 1 : ".", (int64_t)i, name, sizeof name));
        const int n = snprintf(inner, sizeof inner, "%s/%s", path, name);
        TDM_REQUIRE(n < (int)sizeof inner, TDM_E_FORMAT, "%s: name %s/… is too long", file->path, path);
        TDM_TRY(visit_link(file, inner, depth, visit, context));
    }
    return TDM_OK;
}

tdm_status h5_visit_datasets(const tdm_h5 *file, h5_dataset_visitor *visit, void *context)
{
    h5_quiet();
    return visit_group(file, "", 0, visit, context);
}

static tdm_status list_dataset(const tdm_h5 *file, const char *path, hid_t dataset, void *context)
{
    (void)file;
    tdm_h5_item *item;
    TDM_TRY(add_item(context, path, &item));
    const hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    hsize_t dims[H5S_MAX_RANK] = {0};
    const int ndim = space >= 0 ? H5Sget_simple_extent_dims(space, dims, NULL) : 0;
    item->ndim = (int)tdm_min_i64(tdm_max_i64(ndim, 0), TDM_H5_MAX_DIMS);
    item->elements = space >= 0 ? (int64_t)H5Sget_simple_extent_npoints(space) : 0;
    for (int i = 0; i < item->ndim; i++) item->shape[i] = (int64_t)dims[i];
    snprintf(item->type, sizeof item->type, "%s", type >= 0 ? type_name(type) : "other");
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    return TDM_OK;
}

static tdm_status list_all(const tdm_h5 *file, tdm_h5_items *items)
{
    TDM_TRY(list_attributes(file, items));
    return h5_visit_datasets(file, list_dataset, items);
}

tdm_status tdm_h5_list(const char *path, tdm_h5_items *items)
{
    tdm_h5 *file;
    memset(items, 0, sizeof *items);
    TDM_TRY(tdm_h5_open(path, NULL, 0, &file));
    const tdm_status status = list_all(file, items);
    tdm_h5_discard(&file);
    if (status != TDM_OK) tdm_h5_items_free(items);
    return status;
}

/* ---- Verification ---- */

/* Rows of the first dimension read at once: about SLAB_BYTES, whole chunks where there are any. */
static hsize_t slab_rows(hid_t set, size_t row_bytes)
{
    hsize_t rows = row_bytes >= SLAB_BYTES ? 1 : SLAB_BYTES / tdm_max_i64(1, (int64_t)row_bytes);
    hsize_t chunk[H5S_MAX_RANK];
    const hid_t list = H5Dget_create_plist(set);
    if (list >= 0 && H5Pget_layout(list) == H5D_CHUNKED && H5Pget_chunk(list, H5S_MAX_RANK, chunk) > 0)
        rows = rows > chunk[0] ? rows / chunk[0] * chunk[0] : chunk[0];
    if (list >= 0) H5Pclose(list);
    return rows;
}

static tdm_status read_all(const tdm_h5 *file, const char *path, hid_t set, hid_t type, int ndim,
                           const hsize_t *dims)
{
    const hsize_t total = ndim > 0 ? dims[0] : 1;
    size_t row_bytes = H5Tget_size(type);
    for (int i = 1; i < ndim; i++) row_bytes *= (size_t)dims[i];
    const hsize_t step = ndim > 0 ? slab_rows(set, row_bytes) : 1;
    void *buffer = NULL;
    TDM_TRY(tdm_alloc((size_t)(step < total ? step : total) * row_bytes, path, &buffer));
    bool ok = ndim > 0 || H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer) >= 0;
    for (hsize_t first = 0; ok && ndim > 0 && first < total; first += step) {
        const hsize_t rows = total - first < step ? total - first : step;
        ok = h5_read_rows(set, type, ndim, dims, (int64_t)first, (int64_t)rows, buffer);
    }
    const tdm_status status = ok ? TDM_OK : h5_cannot(TDM_E_FORMAT, file->path, "read ", path);
    tdm_free(buffer);
    return status;
}

static tdm_status verify_typed(const tdm_h5 *file, const char *path, hid_t set, hid_t type, hid_t space)
{
    hsize_t dims[H5S_MAX_RANK] = {1}, elements;
    TDM_REQUIRE(H5Tdetect_class(type, H5T_VLEN) == 0 && H5Tis_variable_str(type) == 0, TDM_E_FORMAT,
                "%s: %s is of variable length, which carries no checksums", file->path, path);
    const int ndim = H5Sget_simple_extent_dims(space, dims, NULL);
    if (ndim < 0) return h5_cannot(TDM_E_FORMAT, file->path, "read the shape of ", path);
    TDM_REQUIRE(h5_count_elements(ndim, dims, &elements), TDM_E_FORMAT, "%s: %s is too large", file->path,
                path);
    if (elements == 0) return TDM_OK;
    TDM_REQUIRE(h5_is_written(set, ndim, dims, elements), TDM_E_FORMAT,
                "%s: is damaged: %s was not written completely", file->path, path);
    return read_all(file, path, set, type, ndim, dims);
}

tdm_status h5_verify_set(const tdm_h5 *file, const char *path, hid_t set)
{
    const hid_t type = H5Dget_type(set), space = type >= 0 ? H5Dget_space(set) : H5I_INVALID_HID;
    const tdm_status status = type < 0 || space < 0 ? h5_cannot(TDM_E_FORMAT, file->path, "read ", path)
                                                    : verify_typed(file, path, set, type, space);
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    return status;
}

/* Every `parts`-th data set belongs to a part. */
typedef struct verify_walk {
    int64_t part, parts, next;
} verify_walk;

static tdm_status verify_dataset(const tdm_h5 *file, const char *path, hid_t set, void *context)
{
    verify_walk *walk = context;
    return walk->next++ % walk->parts == walk->part ? h5_verify_set(file, path, set) : TDM_OK;
}

/* What a file without a seal offers: HDF5's checksums of its structure and of each data set. */
static tdm_status verify_unsealed(const char *path, int64_t part, int64_t parts)
{
    verify_walk walk = {.part = part, .parts = parts};
    tdm_h5 *file;
    TDM_TRY(tdm_h5_open(path, NULL, 0, &file));
    const tdm_status status = h5_visit_datasets(file, verify_dataset, &walk);
    tdm_h5_discard(&file);
    return status;
}

tdm_status tdm_h5_verify_part(const char *path, int64_t part, int64_t parts, bool *sealed)
{
    h5_quiet();
    TDM_TRY(tdm_h5_compare_seal(path, part, parts, sealed));
    return *sealed ? TDM_OK : verify_unsealed(path, part, parts);
}

tdm_status tdm_h5_verify(const char *path)
{
    bool sealed;
    return tdm_h5_verify_part(path, 0, 1, &sealed);
}
