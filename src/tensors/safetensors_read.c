/* safetensors: 8 bytes header length, a JSON header {name: {dtype, shape, data_offsets: [begin, end]}}, then
 * the tensors' data without gap or overlap. https://github.com/huggingface/safetensors#format */
#include "tensors_impl.h"

#include <stdlib.h>
#include <string.h>
#include <jansson.h>

enum { LENGTH_BYTES = 8 };

typedef struct header {
    const char *path;
    int64_t bytes;      /* of the JSON */
    int64_t data_at;    /* in the file */
    int64_t data_bytes; /* after the header */
} header;

static tdm_status read_length(const tensor_source *source, header *h)
{
    uint64_t length;
    TDM_TRY(source_read(source, 0, sizeof length, &length));
    TDM_REQUIRE(length <= SAFETENSORS_HEADER_BYTES_MAX, TDM_E_FORMAT,
                "%s: its header would have %llu bytes, a safetensors file's has at most %d", source->path,
                (unsigned long long)length, SAFETENSORS_HEADER_BYTES_MAX);
    TDM_REQUIRE(
        (int64_t)length <= source->bytes - LENGTH_BYTES, TDM_E_FORMAT,
        "%s: is no safetensors file, or truncated: its header would have %llu bytes, the file has %lld",
        source->path, (unsigned long long)length, (long long)source->bytes);
    h->path = source->path;
    h->bytes = (int64_t)length;
    h->data_at = LENGTH_BYTES + h->bytes;
    h->data_bytes = source->bytes - h->data_at;
    return TDM_OK;
}

static tdm_status read_json(const tensor_source *source, const header *h, json_t **root)
{
    json_error_t error;
    char *text = NULL;
    TDM_TRY(TDM_ALLOC(h->bytes, &text));
    const tdm_status status = source_read(source, LENGTH_BYTES, (size_t)h->bytes, text);
    *root = status == TDM_OK ? json_loadb(text, (size_t)h->bytes, JSON_REJECT_DUPLICATES, &error) : NULL;
    tdm_free(text);
    TDM_TRY(status);
    TDM_REQUIRE(*root != NULL, TDM_E_FORMAT, "%s: its header is not JSON: %s (byte %d)", h->path, error.text,
                error.position);
    if (json_is_object(*root)) return TDM_OK;
    json_decref(*root);
    TDM_FAIL(TDM_E_FORMAT, "%s: its header is not a JSON object", h->path);
}

static tdm_status read_shape(const header *h, const json_t *shape, tdm_tensor *t)
{
    TDM_REQUIRE(json_is_array(shape), TDM_E_FORMAT, "%s: tensor %s: shape is missing or no list", h->path,
                t->name);
    TDM_REQUIRE(json_array_size(shape) <= TDM_TENSOR_MAX_DIMS, TDM_E_FORMAT,
                "%s: tensor %s: has %zu dimensions, at most %d are read", h->path, t->name,
                json_array_size(shape), TDM_TENSOR_MAX_DIMS);
    t->ndim = (int)json_array_size(shape);
    for (int i = 0; i < t->ndim; i++) {
        const json_t *size = json_array_get(shape, (size_t)i);
        TDM_REQUIRE(json_is_integer(size), TDM_E_FORMAT, "%s: tensor %s: shape[%d] is not an integer",
                    h->path, t->name, i);
        t->shape[i] = json_integer_value(size);
    }
    return tensor_count_elements(h->path, t->name, t->ndim, t->shape, &t->elements);
}

static tdm_status read_offsets(const header *h, const json_t *offsets, const tdm_tensor *t, int64_t *begin)
{
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    TDM_REQUIRE(json_array_size(offsets) == 2 && json_is_integer(first) && json_is_integer(last),
                TDM_E_FORMAT, "%s: tensor %s: data_offsets is missing or not two integers", h->path, t->name);
    const int64_t end = json_integer_value(last);
    *begin = json_integer_value(first);
    TDM_REQUIRE(*begin >= 0 && *begin <= end, TDM_E_FORMAT, "%s: tensor %s: data_offsets are %lld and %lld",
                h->path, t->name, (long long)*begin, (long long)end);
    TDM_REQUIRE(end <= h->data_bytes, TDM_E_FORMAT,
                "%s: tensor %s: ends at byte %lld of the data, of which there are %lld (truncated?)", h->path,
                t->name, (long long)end, (long long)h->data_bytes);
    const int64_t wanted = t->elements * (int64_t)tdm_tensor_type_bytes(t->type);
    TDM_REQUIRE(end - *begin == wanted, TDM_E_FORMAT,
                "%s: tensor %s: data_offsets give it %lld bytes, type and shape %lld", h->path, t->name,
                (long long)(end - *begin), (long long)wanted);
    return TDM_OK;
}

static tdm_status add_tensor(tdm_tensor_file *file, const header *h, const char *name, const json_t *value)
{
    tensor_entry entry = {.tensor.name = name, .source = file->sources - 1};
    const char *type = json_string_value(json_object_get(value, "dtype"));
    int64_t begin = 0;
    TDM_REQUIRE(json_is_object(value) && type != NULL, TDM_E_FORMAT, "%s: tensor %s: has no dtype", h->path,
                name);
    TDM_REQUIRE(
        tensor_type_by_name(type, &entry.tensor.type), TDM_E_FORMAT,
        "%s: tensor %s: type %.32s is not supported (F64, F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL are)",
        h->path, name, type);
    TDM_TRY(read_shape(h, json_object_get(value, "shape"), &entry.tensor));
    TDM_TRY(read_offsets(h, json_object_get(value, "data_offsets"), &entry.tensor, &begin));
    entry.first_byte = h->data_at + begin;
    entry.span = entry.tensor.elements;
    for (int64_t i = entry.tensor.ndim - 1, stride = 1; i >= 0; stride *= entry.tensor.shape[i--])
        entry.stride[i] = stride;
    return tensor_file_add(file, &entry);
}

static tdm_status add_tensors(tdm_tensor_file *file, const header *h, const json_t *root)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)root, name, value)
    {
        if (strcmp(name, "__metadata__") != 0)
            TDM_TRY(add_tensor(file, h, name, value));
        else
            TDM_REQUIRE(json_is_object(value), TDM_E_FORMAT, "%s: its __metadata__ is not a JSON object",
                        h->path);
    }
    return TDM_OK;
}

static int64_t entry_end(const tensor_entry *entry)
{
    return entry->first_byte + entry->span * (int64_t)tdm_tensor_type_bytes(entry->tensor.type);
}

static int compare_places(const void *a, const void *b)
{
    const tensor_entry *x = *(const tensor_entry *const *)a, *y = *(const tensor_entry *const *)b;
    if (x->first_byte != y->first_byte) return x->first_byte < y->first_byte ? -1 : 1;
    return entry_end(x) < entry_end(y) ? -1 : entry_end(x) > entry_end(y);
}

/* The tensors tile the data: what overlaps or leaves a hole was not written by a sane program, and the
 * reference implementation refuses it too. */
static tdm_status check_tiling(const header *h, const tensor_entry **place, int64_t count)
{
    int64_t at = h->data_at;
    qsort(place, (size_t)count, sizeof *place, compare_places);
    for (int64_t i = 0; i < count; i++) {
        TDM_REQUIRE(place[i]->first_byte >= at, TDM_E_FORMAT, "%s: tensor %s overlaps tensor %s", h->path,
                    place[i]->tensor.name, place[i - 1]->tensor.name);
        TDM_REQUIRE(place[i]->first_byte == at, TDM_E_FORMAT,
                    "%s: %lld bytes before tensor %s belong to no tensor", h->path,
                    (long long)(place[i]->first_byte - at), place[i]->tensor.name);
        at = entry_end(place[i]);
    }
    TDM_REQUIRE(at == h->data_at + h->data_bytes, TDM_E_FORMAT,
                "%s: %lld bytes at its end belong to no tensor", h->path,
                (long long)(h->data_at + h->data_bytes - at));
    return TDM_OK;
}

tdm_status safetensors_read(tdm_tensor_file *file)
{
    const tensor_source *source = &file->source[file->sources - 1];
    const int64_t before = file->entries;
    header h = {0};
    json_t *root = NULL;
    TDM_TRY(read_length(source, &h));
    TDM_TRY(read_json(source, &h, &root));
    tdm_status status = add_tensors(file, &h, root);
    json_decref(root);
    TDM_TRY(status);
    const tensor_entry **place = NULL;
    TDM_TRY(TDM_ALLOC(file->entries - before, &place));
    for (int64_t i = before; i < file->entries; i++) place[i - before] = &file->entry[i];
    status = check_tiling(&h, place, file->entries - before);
    tdm_free(place);
    return status;
}
