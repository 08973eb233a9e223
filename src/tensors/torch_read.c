/* PyTorch's archives: a zip with PREFIX/data.pkl, a pickle of anything with tensors in it, and their storages
 * as PREFIX/data/KEY. torch.save and torch.jit.save write the same form; a TorchScript module is an object
 * whose attributes are its parameters, buffers and submodules. */
#include "pickle.h"
#include "zip.h"

#include <string.h>

enum {
    NAME_BYTES = 1100,
    RECORD_BYTES = 512,
    DEPTH_MAX = 100,
    VISITS_MAX = 1 << 23,   /* items met in all: shared ones count each time */
    EXPANDED_MAX = 1 << 24, /* elements of a tensor that repeats those of its storage */
    BYTEORDER_BYTES = 16
};

typedef struct walker {
    tdm_tensor_file *file;
    const char *path;
    const zip_archive *zip;
    pickle *p;
    char prefix[RECORD_BYTES]; /* with '/' */
    char name[NAME_BYTES];     /* of the value being visited, joined with '.' */
    size_t name_bytes;
    int depth;
    int64_t visits;
} walker;

/* What a message calls the value being visited. */
static const char *shown_name(const walker *w)
{
    return w->name_bytes > 0 ? w->name : "tensor";
}

#define WALK_REQUIRE(w, condition, fmt, ...)                                                                 \
    TDM_REQUIRE(condition, TDM_E_FORMAT, "%s: tensor %s: " fmt, (w)->path, shown_name(w), __VA_ARGS__)

/* ---- One tensor ---- */

static const struct {
    const char *storage, *dtype;
    tdm_tensor_type type;
} types[] = {
    {"DoubleStorage", "float64", TDM_TENSOR_F64}, {"FloatStorage", "float32", TDM_TENSOR_F32},
    {"HalfStorage", "float16", TDM_TENSOR_F16},   {"BFloat16Storage", "bfloat16", TDM_TENSOR_BF16},
    {"LongStorage", "int64", TDM_TENSOR_I64},     {"IntStorage", "int32", TDM_TENSOR_I32},
    {"ShortStorage", "int16", TDM_TENSOR_I16},    {"CharStorage", "int8", TDM_TENSOR_I8},
    {"ByteStorage", "uint8", TDM_TENSOR_U8},      {"BoolStorage", "bool", TDM_TENSOR_BOOL},
};

typedef struct storage {
    int32_t key;      /* text */
    int64_t elements; /* of the tensor's type */
} storage;

/* `global`: torch.FloatStorage, or with is_dtype torch.float32 */
static tdm_status find_type(const walker *w, int32_t global, bool is_dtype, tdm_tensor_type *type)
{
    WALK_REQUIRE(w, global >= 0 && w->p->value[global].kind == PICKLE_GLOBAL, "its %s is no class of PyTorch",
                 is_dtype ? "dtype" : "storage");
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (!pickle_is_global(w->p, global, "torch", is_dtype ? types[i].dtype : types[i].storage)) continue;
        *type = types[i].type;
        return TDM_OK;
    }
    const pickle_value *v = &w->p->value[global];
    TDM_FAIL(TDM_E_FORMAT, "%s: tensor %s: type %.*s is not supported", w->path, shown_name(w),
             (int)tdm_min_i64(v->global.name_bytes, 100), (const char *)w->p->data + v->global.name_at);
}

/* ("storage", class, key, device, elements); with `dtype` the class is untyped and elements are bytes. */
static tdm_status read_storage(const walker *w, int32_t value, int32_t dtype, tdm_tensor_type *type,
                               storage *s)
{
    const pickle *p = w->p;
    const bool persistent = value >= 0 && p->value[value].kind == PICKLE_PERSISTENT;
    const int32_t row = persistent ? p->value[value].of.value : PICKLE_NONE;
    WALK_REQUIRE(w, pickle_is_text(p, pickle_item(p, row, 0), "storage"), "has no %s", "storage");
    TDM_TRY(find_type(w, dtype >= 0 ? dtype : pickle_item(p, row, 1), dtype >= 0, type));
    s->key = pickle_item(p, row, 2);
    WALK_REQUIRE(w, s->key >= 0 && p->value[s->key].kind == PICKLE_TEXT, "its storage has no %s", "name");
    WALK_REQUIRE(w, pickle_int(p, pickle_item(p, row, 4), &s->elements) && s->elements >= 0,
                 "its storage has no %s", "size");
    if (dtype >= 0) s->elements /= (int64_t)tdm_tensor_type_bytes(*type);
    return TDM_OK;
}

static tdm_status read_sizes(const walker *w, int32_t sizes, int32_t strides, tensor_entry *entry)
{
    const pickle *p = w->p;
    const bool tuples = sizes >= 0 && strides >= 0 && p->value[sizes].kind == PICKLE_TUPLE &&
                        p->value[strides].kind == PICKLE_TUPLE;
    const int ndim = tuples ? p->value[sizes].items.count : -1;
    WALK_REQUIRE(w, tuples && p->value[strides].items.count == ndim, "has no shape or no %s", "strides");
    WALK_REQUIRE(w, ndim <= TDM_TENSOR_MAX_DIMS, "has %d dimensions, at most %d are read", ndim,
                 TDM_TENSOR_MAX_DIMS);
    entry->tensor.ndim = ndim;
    for (int i = 0; i < ndim; i++) {
        WALK_REQUIRE(w, pickle_int(p, pickle_item(p, sizes, i), &entry->tensor.shape[i]),
                     "dimension %d of its shape is not an integer", i);
        WALK_REQUIRE(w, pickle_int(p, pickle_item(p, strides, i), &entry->stride[i]) && entry->stride[i] >= 0,
                     "stride %d is not an integer from 0 up", i);
    }
    return tensor_count_elements(w->path, shown_name(w), ndim, entry->tensor.shape, &entry->tensor.elements);
}

/* span: from the first element to the last. Both lie within the storage. */
static tdm_status check_span(const walker *w, const storage *s, int64_t offset, tensor_entry *entry)
{
    int64_t last = 0, reach;
    bool overflow = false;
    for (int i = 0; i < entry->tensor.ndim; i++) {
        overflow |= __builtin_mul_overflow(entry->tensor.shape[i] - 1, entry->stride[i], &reach);
        overflow |= __builtin_add_overflow(last, reach, &last);
    }
    WALK_REQUIRE(w, !overflow && offset >= 0 && offset < s->elements && last < s->elements - offset,
                 "its shape and strides go beyond its storage of %lld elements", (long long)s->elements);
    WALK_REQUIRE(w, entry->tensor.elements <= s->elements || entry->tensor.elements <= EXPANDED_MAX,
                 "repeats the %lld elements of its storage to %lld", (long long)s->elements,
                 (long long)entry->tensor.elements);
    entry->span = last + 1;
    return TDM_OK;
}

static tdm_status find_record(const walker *w, const storage *s, tdm_tensor_type type, int64_t *data_at)
{
    char record[2 * RECORD_BYTES];
    const pickle_value *key = &w->p->value[s->key];
    WALK_REQUIRE(w, key->text.bytes < RECORD_BYTES - 8, "its storage has a name of %u bytes",
                 key->text.bytes);
    snprintf(record, sizeof record, "%sdata/%.*s", w->prefix, (int)key->text.bytes,
             (const char *)w->p->data + key->text.at);
    const zip_entry *entry = zip_find(w->zip, record);
    WALK_REQUIRE(w, entry != NULL, "its storage %s is not in the archive", record);
    const int64_t element_bytes = (int64_t)tdm_tensor_type_bytes(type);
    WALK_REQUIRE(w, s->elements <= entry->bytes / element_bytes,
                 "its storage %s has %lld bytes, too few for %lld elements of %s", record,
                 (long long)entry->bytes, (long long)s->elements, tdm_tensor_type_name(type));
    return zip_locate(w->zip, entry, data_at);
}

/* _rebuild_tensor(storage, offset, shape, strides), _v2 and _v3 with more; the seventh of _v3 is the dtype */
static tdm_status add_tensor(walker *w, const pickle_value *v)
{
    const pickle *p = w->p;
    const int32_t arguments = v->of.value;
    const bool v3 = pickle_is_global(p, v->of.function, "torch._utils", "_rebuild_tensor_v3");
    tensor_entry entry = {.tensor.name = shown_name(w), .source = w->file->sources - 1};
    storage s = {0};
    int64_t offset = 0, data_at = 0;
    TDM_TRY(read_storage(w, pickle_item(p, arguments, 0), v3 ? pickle_item(p, arguments, 6) : PICKLE_NONE,
                         &entry.tensor.type, &s));
    WALK_REQUIRE(w, pickle_int(p, pickle_item(p, arguments, 1), &offset), "has no %s", "offset");
    TDM_TRY(read_sizes(w, pickle_item(p, arguments, 2), pickle_item(p, arguments, 3), &entry));
    if (entry.tensor.elements > 0) {
        TDM_TRY(check_span(w, &s, offset, &entry));
        TDM_TRY(find_record(w, &s, entry.tensor.type, &data_at));
        entry.first_byte = data_at + offset * (int64_t)tdm_tensor_type_bytes(entry.tensor.type);
    }
    return tensor_file_add(w->file, &entry);
}

/* ---- Containers ---- */

static tdm_status visit(walker *w, int32_t value);

/* Visits `value` under the name so far, '.' and part. */
static tdm_status visit_named(walker *w, const char *part, size_t bytes, int32_t value)
{
    const size_t before = w->name_bytes, dot = before > 0;
    TDM_REQUIRE(bytes < NAME_BYTES - 2 - before, TDM_E_FORMAT,
                "%s: names in its pickle are joined to %zu bytes", w->path, before + bytes);
    TDM_REQUIRE(memchr(part, '\0', bytes) == NULL, TDM_E_FORMAT,
                "%s: a name under %s has a control character", w->path, shown_name(w));
    if (dot) w->name[before] = '.';
    memcpy(w->name + before + dot, part, bytes);
    w->name_bytes = before + dot + bytes;
    w->name[w->name_bytes] = '\0';
    TDM_TRY(visit(w, value));
    w->name_bytes = before;
    w->name[before] = '\0';
    return TDM_OK;
}

static tdm_status visit_numbered(walker *w, int64_t number, int32_t value)
{
    char part[24];
    const int bytes = snprintf(part, sizeof part, "%lld", (long long)number);
    return visit_named(w, part, (size_t)bytes, value);
}

/* A pickled torch.nn.Module holds its tensors in these attributes; their names are not part of a state
 * dictionary's. */
static bool is_module_part(const pickle *p, int32_t key)
{
    return pickle_is_text(p, key, "_parameters") || pickle_is_text(p, key, "_buffers") ||
           pickle_is_text(p, key, "_modules");
}

static tdm_status count_visit(walker *w)
{
    TDM_REQUIRE(++w->visits <= VISITS_MAX, TDM_E_FORMAT, "%s: its pickle has more than %d items", w->path,
                VISITS_MAX);
    return TDM_OK;
}

static tdm_status visit_keyed(walker *w, int32_t key, int32_t value)
{
    const pickle_value *k = &w->p->value[key];
    if (k->kind == PICKLE_TEXT)
        return visit_named(w, (const char *)w->p->data + k->text.at, k->text.bytes, value);
    return k->kind == PICKLE_INT ? visit_numbered(w, k->number, value) : TDM_OK;
}

static tdm_status visit_attributes(walker *w, int32_t dictionary)
{
    const pickle *p = w->p;
    for (int32_t at = p->value[dictionary].items.first; at >= 0; at = p->cell[at].next) {
        const pickle_cell *cell = &p->cell[at];
        TDM_TRY(count_visit(w));
        if (is_module_part(p, cell->key) && p->value[cell->value].kind == PICKLE_DICT)
            TDM_TRY(visit(w, cell->value));
        else
            TDM_TRY(visit_keyed(w, cell->key, cell->value));
    }
    return TDM_OK;
}

static tdm_status visit_items(walker *w, const pickle_value *v)
{
    int64_t number = 0;
    for (int32_t at = v->items.first; at >= 0; at = w->p->cell[at].next) {
        const pickle_cell *cell = &w->p->cell[at];
        TDM_TRY(count_visit(w));
        if (cell->key == PICKLE_STATE)
            TDM_TRY(visit_attributes(w, cell->value));
        else if (cell->key == PICKLE_NONE)
            TDM_TRY(visit_numbered(w, number++, cell->value));
        else
            TDM_TRY(visit_keyed(w, cell->key, cell->value));
    }
    return TDM_OK;
}

/* Sparse, quantised and other tensors that are more than elements in a storage. */
static tdm_status refuse_other_tensors(const walker *w, int32_t class)
{
    static const char rebuild[] = "_rebuild_";
    const pickle *p = w->p;
    if (class < 0 || p->value[class].kind != PICKLE_GLOBAL) return TDM_OK;
    const pickle_value *c = &p->value[class];
    const char *module = (const char *)p->data + c->global.module_at;
    const char *name = (const char *)p->data + c->global.name_at;
    const bool is_tensor = c->global.module_bytes == 12 && memcmp(module, "torch._utils", 12) == 0 &&
                           c->global.name_bytes >= strlen(rebuild) &&
                           memcmp(name, rebuild, strlen(rebuild)) == 0;
    WALK_REQUIRE(w, !is_tensor, "is made by %.*s, which is not supported (plain dense tensors are)",
                 (int)tdm_min_i64(c->global.name_bytes, 100), name);
    return TDM_OK;
}

static tdm_status visit_box(walker *w, pickle_value *v)
{
    if (v->bare) return TDM_OK; /* seen before, and no tensors in it */
    if (v->kind == PICKLE_OBJECT) {
        if (v->open) return TDM_OK; /* objects that know their parent */
        TDM_TRY(refuse_other_tensors(w, v->items.class));
    }
    TDM_REQUIRE(!v->open, TDM_E_FORMAT, "%s: %s contains itself", w->path, shown_name(w));
    TDM_REQUIRE(w->depth < DEPTH_MAX, TDM_E_FORMAT, "%s: %s lies deeper than %d levels", w->path,
                shown_name(w), DEPTH_MAX);
    const int64_t before = w->file->entries;
    v->open = true;
    w->depth++;
    TDM_TRY(visit_items(w, v));
    w->depth--;
    v->open = false;
    v->bare = w->file->entries == before;
    return TDM_OK;
}

static tdm_status visit(walker *w, int32_t value)
{
    pickle_value *v = &w->p->value[value];
    switch ((pickle_kind)v->kind) {
    case PICKLE_TENSOR: return add_tensor(w, v);
    case PICKLE_TUPLE:
    case PICKLE_LIST:
    case PICKLE_DICT:
    case PICKLE_OBJECT: return visit_box(w, v);
    case PICKLE_OTHER:
    case PICKLE_INT:
    case PICKLE_TEXT:
    case PICKLE_BYTES:
    case PICKLE_CALL:
    case PICKLE_GLOBAL:
    case PICKLE_PERSISTENT: break;
    }
    return TDM_OK;
}

/* ---- The archive ---- */

/* PREFIX/data.pkl; the prefix with its '/' */
static tdm_status find_pickle(const zip_archive *zip, char prefix[RECORD_BYTES], const zip_entry **found)
{
    static const char tail[] = "/data.pkl";
    const char *path = zip->source->path;
    *found = NULL;
    for (int64_t i = 0; i < zip->entries; i++) {
        const zip_entry *entry = &zip->entry[i];
        const size_t before = entry->name_bytes - strlen(tail);
        if (entry->name_bytes <= strlen(tail) || entry->name_bytes >= RECORD_BYTES / 2 ||
            memcmp(entry->name + before, tail, strlen(tail)) != 0 ||
            memchr(entry->name, '/', before) != NULL || memchr(entry->name, '\0', before) != NULL)
            continue;
        TDM_REQUIRE(*found == NULL, TDM_E_FORMAT, "%s: zip: has two data.pkl", path);
        *found = entry;
        snprintf(prefix, RECORD_BYTES, "%.*s/", (int)before, entry->name);
    }
    TDM_REQUIRE(*found != NULL, TDM_E_FORMAT, "%s: is a zip archive without data.pkl, not a PyTorch file",
                path);
    return TDM_OK;
}

static tdm_status check_byteorder(const zip_archive *zip, const char *prefix)
{
    char name[RECORD_BYTES + 16], order[BYTEORDER_BYTES] = {0};
    int64_t at = 0;
    snprintf(name, sizeof name, "%sbyteorder", prefix);
    const zip_entry *entry = zip_find(zip, name);
    if (entry == NULL) return TDM_OK; /* older archives: little-endian */
    TDM_TRY(zip_locate(zip, entry, &at));
    TDM_TRY(source_read(zip->source, at, (size_t)tdm_min_i64(entry->bytes, BYTEORDER_BYTES - 1), order));
    TDM_REQUIRE(
        strcmp(order, "little") == 0, TDM_E_FORMAT,
        "%s: was written on a big-endian machine (its byte order is \"%s\"); load and save it again on a little-endian one",
        zip->source->path, strcmp(order, "big") == 0 ? order : "unknown");
    return TDM_OK;
}

static tdm_status read_pickle(const zip_archive *zip, const zip_entry *entry, void **data)
{
    int64_t at = 0;
    TDM_REQUIRE(entry->bytes <= PICKLE_BYTES_MAX, TDM_E_FORMAT,
                "%s: its pickle has %lld bytes, at most %d are read", zip->source->path,
                (long long)entry->bytes, PICKLE_BYTES_MAX);
    TDM_TRY(zip_locate(zip, entry, &at));
    TDM_TRY(tdm_alloc((size_t)entry->bytes, "pickle", data));
    return source_read(zip->source, at, (size_t)entry->bytes, *data);
}

static tdm_status read_archive(tdm_tensor_file *file, const zip_archive *zip, void **data, pickle *p)
{
    walker w = {.file = file, .path = zip->source->path, .zip = zip, .p = p};
    const zip_entry *entry = NULL;
    TDM_TRY(find_pickle(zip, w.prefix, &entry));
    TDM_TRY(check_byteorder(zip, w.prefix));
    TDM_TRY(read_pickle(zip, entry, data));
    TDM_TRY(pickle_read(w.path, *data, (size_t)entry->bytes, p));
    return visit(&w, p->root);
}

tdm_status torch_read(tdm_tensor_file *file)
{
    zip_archive zip;
    pickle p = {0};
    void *data = NULL;
    tdm_status status = zip_open(&file->source[file->sources - 1], &zip);
    if (status == TDM_OK) status = read_archive(file, &zip, &data, &p);
    pickle_free(&p);
    tdm_free(data);
    zip_free(&zip);
    return status;
}
