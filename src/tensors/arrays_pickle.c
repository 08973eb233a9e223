/* Pickles of a dictionary of NumPy arrays and lists, as CLIP4CMR's clip_train.pkl {'image', 'text', 'label', 'ids'}: read
 * by the machine that executes nothing. An array is a call of numpy's _reconstruct with a state of five, or of _frombuffer
 * (protocol 5). */
#include "arrays_impl.h"
#include "pickle.h"

#include <stdlib.h>

typedef struct reader {
    tdm_arrays *arrays;
    const char *path;
    pickle *p;
} reader;

static const pickle_value *value_at(const reader *r, int32_t value)
{
    return value >= 0 ? &r->p->value[value] : NULL;
}

static bool is_kind(const reader *r, int32_t value, pickle_kind kind)
{
    return value >= 0 && r->p->value[value].kind == kind;
}

/* Is it a call of numpy's `name`, whatever module of numpy says so? */
static bool is_call(const reader *r, int32_t value, const char *name)
{
    if (!is_kind(r, value, PICKLE_CALL)) return false;
    const pickle_value *f = value_at(r, r->p->value[value].of.function);
    return f->global.name_bytes == strlen(name) &&
           !memcmp(r->p->data + f->global.name_at, name, strlen(name));
}

static int32_t argument(const reader *r, int32_t call, int32_t index)
{
    return pickle_item(r->p, r->p->value[call].of.value, index);
}

/* dtype('f4', False, True) with the state (3, '<', …). */
static bool read_dtype(const reader *r, int32_t value, array_type *type)
{
    if (!is_call(r, value, "dtype")) return false;
    const pickle_value *code = value_at(r, argument(r, value, 0));
    const int32_t order = pickle_item(r->p, r->p->value[value].of.state, 1);
    if (!code || code->kind != PICKLE_TEXT ||
        !array_type_parse((const char *)r->p->data + code->text.at, code->text.bytes, type))
        return false;
    type->is_swapped = pickle_is_text(r->p, order, ">");
    return true;
}

/* Protocol 2 knows no bytes: they are text whose points are below 256, in UTF-8. */
static tdm_status read_encoded(const reader *r, const pickle_value *text, const void **data, uint64_t *bytes)
{
    unsigned char *out;
    const char *at = (const char *)r->p->data + text->text.at, *end = at + text->text.bytes;
    *bytes = 0;
    TDM_TRY(arrays_own(r->arrays, text->text.bytes + 1, (void **)&out));
    for (uint64_t n = 0; at < end; *bytes = ++n) {
        const int32_t point = tdm_utf8_next(at, end, &at);
        TDM_REQUIRE(point >= 0 && point < 256, TDM_E_FORMAT, "%s: pickle: bytes of an array are damaged",
                    r->path);
        out[n] = (unsigned char)point;
    }
    *data = out;
    return TDM_OK;
}

/* NULL: there are none. */
static tdm_status read_bytes(const reader *r, int32_t value, const void **data, uint64_t *bytes)
{
    const pickle_value *v = value_at(r, value);
    *data = NULL;
    if (v && (v->kind == PICKLE_BYTES || v->kind == PICKLE_TEXT)) {
        *data = r->p->data + v->text.at;
        *bytes = v->text.bytes;
    } else if (is_call(r, value, "encode") && is_kind(r, argument(r, value, 0), PICKLE_TEXT)) {
        return read_encoded(r, value_at(r, argument(r, value, 0)), data, bytes);
    } else if (is_call(r, value, "bytes")) { /* of nothing */
        *data = r->p->data;
        *bytes = 0;
    }
    return TDM_OK;
}

static bool read_shape(const reader *r, int32_t tuple, int *ndim, int64_t shape[TDM_ARRAY_MAX_DIMS])
{
    if (!is_kind(r, tuple, PICKLE_TUPLE) || r->p->value[tuple].items.count > TDM_ARRAY_MAX_DIMS) return false;
    *ndim = r->p->value[tuple].items.count;
    for (int i = 0; i < *ndim; i++)
        if (!pickle_int(r->p, pickle_item(r->p, tuple, i), &shape[i])) return false;
    return true;
}

/* A list of whole numbers or of texts. */
static tdm_status read_list(const reader *r, int32_t list, array *a)
{
    const pickle *p = r->p;
    const int64_t n = p->value[list].items.count;
    const int32_t first = p->value[list].items.first;
    const bool is_text = first >= 0 && is_kind(r, p->cell[first].value, PICKLE_TEXT);
    int64_t i = 0, *number = NULL;
    char **text = NULL;
    for (int32_t at = first; at >= 0; at = p->cell[at].next)
        if (!is_kind(r, p->cell[at].value, is_text ? PICKLE_TEXT : PICKLE_INT))
            return array_fault(
                a, "is a list of other things than texts or whole numbers; np.stack makes an array of it");
    if (is_text)
        TDM_TRY(array_texts(a, n, &text));
    else
        TDM_TRY(array_numbers(r->arrays, a, n, &number));
    for (int32_t at = first; at >= 0; at = p->cell[at].next, i++) {
        const pickle_value *v = &p->value[p->cell[at].value];
        if (number) number[i] = v->number;
        if (!is_text) continue;
        text[i] = strndup((const char *)p->data + v->text.at, v->text.bytes);
        TDM_REQUIRE(text[i], TDM_E_NOMEM, "%s: no memory for its texts", r->path);
    }
    return TDM_OK;
}

static tdm_status read_array(const reader *r, int32_t call, array *a)
{
    const pickle *p = r->p;
    const bool buffer = is_call(r, call, "_frombuffer");
    const int32_t state = p->value[call].of.state,
                  content = buffer ? argument(r, call, 0) : pickle_item(p, state, 4);
    const int32_t dtype = buffer ? argument(r, call, 1) : pickle_item(p, state, 2);
    int ndim;
    int64_t shape[TDM_ARRAY_MAX_DIMS], is_fortran = buffer && pickle_is_text(p, argument(r, call, 3), "F");
    array_type type;
    const void *data;
    uint64_t bytes = 0;
    if (!read_shape(r, buffer ? argument(r, call, 2) : pickle_item(p, state, 1), &ndim, shape))
        return array_fault(a, "is an array without a shape");
    if (!buffer) pickle_int(p, pickle_item(p, state, 3), &is_fortran);
    if (is_kind(r, content, PICKLE_LIST) && ndim == 1) return read_list(r, content, a); /* of objects */
    if (!read_dtype(r, dtype, &type)) return array_fault(a, "is an array of elements that are not read");
    TDM_TRY(read_bytes(r, content, &data, &bytes));
    if (!data) return array_fault(a, "is an array without its bytes");
    return array_place(a, type, ndim, shape, is_fortran != 0, data, bytes);
}

static tdm_status add_value(const reader *r, const char *name, size_t bytes, int32_t value)
{
    array *a;
    TDM_TRY(array_add(r->arrays, r->path, name, bytes, &a));
    if (is_call(r, value, "_reconstruct") || is_call(r, value, "_frombuffer")) return read_array(r, value, a);
    if (is_kind(r, value, PICKLE_LIST) || is_kind(r, value, PICKLE_TUPLE)) return read_list(r, value, a);
    if (is_kind(r, value, PICKLE_TENSOR))
        return array_fault(a, "is a tensor of PyTorch; pickle its .numpy()");
    return array_fault(a, "is no array");
}

static tdm_status add_root(const reader *r)
{
    const pickle *p = r->p;
    const int32_t root = p->root;
    if (!is_kind(r, root, PICKLE_DICT)) return add_value(r, "array", 5, root);
    for (int32_t at = p->value[root].items.first; at >= 0; at = p->cell[at].next) {
        const pickle_value *key = value_at(r, p->cell[at].key);
        if (key && (key->kind == PICKLE_TEXT || key->kind == PICKLE_BYTES))
            TDM_TRY(add_value(r, (const char *)p->data + key->text.at, key->text.bytes, p->cell[at].value));
    }
    return TDM_OK;
}

tdm_status pickled_arrays_read(tdm_arrays *arrays, const array_file *file)
{
    pickle p = {0};
    const reader r = {arrays, file->path, &p};
    tdm_status status = pickle_read(file->path, file->data, file->bytes, &p);
    if (status == TDM_OK) status = add_root(&r);
    pickle_free(&p);
    return status;
}
