/* MATLAB's MAT-files of version 5, which versions up to 7.2 write (MathWorks, "MAT-File Format"): a header of 128 bytes,
 * then elements of a tag and data. A variable is an element miMATRIX, or one in a zlib stream. */
#include "arrays_impl.h"

#include <stdlib.h>
#include <zlib.h>

enum { HEADER_BYTES = 128, TAG_BYTES = 8, DEPTH_MAX = 2 };
enum {
    MI_INT8 = 1,
    MI_UINT8,
    MI_INT16,
    MI_UINT16,
    MI_INT32,
    MI_UINT32,
    MI_SINGLE,
    MI_DOUBLE = 9,
    MI_INT64 = 12,
    MI_UINT64,
    MI_MATRIX,
    MI_COMPRESSED,
    MI_UTF8,
    MI_UTF16,
    MI_UTF32
};
enum { MX_CELL = 1, MX_STRUCT, MX_OBJECT, MX_CHAR, MX_SPARSE, MX_DOUBLE, MX_SINGLE, MX_INT8, MX_UINT64 = 15 };

typedef struct cursor { /* [at, end) of elements */
    const char *path;
    const unsigned char *at, *end;
    bool is_swapped; /* big-endian */
} cursor;

typedef struct element {
    uint32_t type;
    const unsigned char *data;
    size_t bytes;
} element;

#define MAT_REQUIRE(c, condition, what)                                                                      \
    TDM_REQUIRE(condition, TDM_E_FORMAT, "%s: MATLAB file: %s", (c)->path, what)

static uint32_t u32_at(const cursor *c, const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return c->is_swapped ? __builtin_bswap32(value) : value;
}

/* Small ones hold type and length in four bytes and up to four of data. */
static tdm_status next_element(cursor *c, element *e)
{
    const size_t left = (size_t)(c->end - c->at);
    MAT_REQUIRE(c, left >= TAG_BYTES, "is cut off");
    const uint32_t first = u32_at(c, c->at);
    if (first >> 16) {
        *e = (element){.type = first & 0xffff, .data = c->at + 4, .bytes = first >> 16};
        MAT_REQUIRE(c, e->bytes <= 4, "is damaged: an element has a strange tag");
        c->at += TAG_BYTES;
        return TDM_OK;
    }
    *e = (element){.type = first, .data = c->at + TAG_BYTES, .bytes = u32_at(c, c->at + 4)};
    MAT_REQUIRE(c, e->bytes <= left - TAG_BYTES, "is cut off within an element");
    const size_t padded = e->type == MI_COMPRESSED ? e->bytes : (e->bytes + 7) / 8 * 8;
    c->at += TAG_BYTES + (padded < left - TAG_BYTES ? padded : left - TAG_BYTES);
    return TDM_OK;
}

static bool type_of(const cursor *c, uint32_t mi, array_type *type)
{
    static const array_type types[] = {
        [MI_INT8] = {ARRAY_INT, 1, false},     [MI_UINT8] = {ARRAY_UINT, 1, false},
        [MI_INT16] = {ARRAY_INT, 2, false},    [MI_UINT16] = {ARRAY_UINT, 2, false},
        [MI_INT32] = {ARRAY_INT, 4, false},    [MI_UINT32] = {ARRAY_UINT, 4, false},
        [MI_SINGLE] = {ARRAY_FLOAT, 4, false}, [MI_DOUBLE] = {ARRAY_FLOAT, 8, false},
        [MI_INT64] = {ARRAY_INT, 8, false},    [MI_UINT64] = {ARRAY_UINT, 8, false}};
    if (mi >= sizeof types / sizeof types[0] || !types[mi].bytes) return false;
    *type = types[mi];
    type->is_swapped = c->is_swapped;
    return true;
}

/* ---- Texts ---- */

/* Row `row` of a char array of `rows` × `columns`, which is stored column by column, without blanks at its end. */
static tdm_status row_of_chars(const cursor *c, const element *e, int64_t rows, int64_t columns, int64_t row,
                               char **out)
{
    tdm_text text = {0};
    const bool wide = e->type == MI_UINT16 || e->type == MI_UTF16, whole = e->type == MI_UTF8 && rows == 1;
    const size_t each = wide ? 2 : 1;
    const int64_t n = whole ? (int64_t)e->bytes : columns;
    MAT_REQUIRE(c, whole || (uint64_t)rows * (uint64_t)columns <= e->bytes / each,
                "is damaged: texts are too short");
    tdm_status status = tdm_text_append(&text, "", 0);
    for (int64_t k = 0; status == TDM_OK && k < n; k++) {
        const unsigned char *at = e->data + (size_t)(whole ? k : k * rows + row) * each;
        const unsigned point = !wide           ? at[0]
                               : c->is_swapped ? (unsigned)at[0] << 8 | at[1]
                                               : at[0] | (unsigned)at[1] << 8;
        const char utf8[3] = {(char)(0xe0 | point >> 12), (char)(0x80 | (point >> 6 & 63)),
                              (char)(0x80 | (point & 63))};
        const char two[2] = {(char)(0xc0 | point >> 6), utf8[2]}, one[1] = {(char)point};
        status = point < 0x80 || e->type == MI_UTF8 ? tdm_text_append(&text, one, 1)
                 : point < 0x800                    ? tdm_text_append(&text, two, 2)
                                                    : tdm_text_append(&text, utf8, 3);
    }
    while (text.length && text.data[text.length - 1] == ' ') text.data[--text.length] = '\0';
    if (status == TDM_OK) *out = strdup(text.data ? text.data : "");
    tdm_text_free(&text);
    TDM_TRY(status);
    TDM_REQUIRE(*out, TDM_E_NOMEM, "%s: no memory for its texts", c->path);
    return TDM_OK;
}

static tdm_status read_chars(const cursor *c, const element *e, int ndim, const int64_t *shape, array *a)
{
    char **text;
    const bool known = e->type == MI_UINT16 || e->type == MI_UTF16 || e->type == MI_UTF8 ||
                       e->type == MI_INT8 || e->type == MI_UINT8;
    if (ndim != 2 || !known) return array_fault(a, "holds texts in a form that is not read");
    MAT_REQUIRE(c, shape[0] <= (int64_t)e->bytes + 1, "is damaged: a text has too many rows");
    TDM_TRY(array_texts(a, shape[0], &text));
    for (int64_t i = 0; i < shape[0]; i++) TDM_TRY(row_of_chars(c, e, shape[0], shape[1], i, &text[i]));
    return TDM_OK;
}

/* ---- Variables ---- */

typedef struct variable {
    unsigned class;
    int ndim;
    int64_t shape[TDM_ARRAY_MAX_DIMS], count;
    const char *name;
    size_t name_bytes;
    bool is_complex;
} variable;

/* What each miMATRIX begins with. */
static tdm_status read_head(cursor *c, variable *v)
{
    element flags, dims, name;
    TDM_TRY(next_element(c, &flags));
    MAT_REQUIRE(c, flags.type == MI_UINT32 && flags.bytes == 8, "is damaged: a variable has no flags");
    const uint32_t bits = u32_at(c, flags.data);
    *v = (variable){.class = bits & 0xff, .is_complex = bits & 0x800, .count = 1};
    TDM_TRY(next_element(c, &dims));
    MAT_REQUIRE(c, dims.type == MI_INT32 && dims.bytes / 4 <= TDM_ARRAY_MAX_DIMS,
                "is damaged: a variable has no shape");
    v->ndim = (int)(dims.bytes / 4);
    for (int i = 0; i < v->ndim; i++) {
        v->shape[i] = (int32_t)u32_at(c, dims.data + 4 * i);
        MAT_REQUIRE(c, v->shape[i] >= 0 && !__builtin_mul_overflow(v->count, v->shape[i], &v->count),
                    "is damaged: a variable has a strange shape");
    }
    TDM_TRY(next_element(c, &name));
    v->name = (const char *)name.data;
    v->name_bytes = name.bytes;
    return TDM_OK;
}

/* A cell array of texts, or of one whole number each: labels of one class a row. */
static tdm_status read_cells(cursor *c, const variable *v, array *a)
{
    char **text;
    MAT_REQUIRE(c, v->count <= (c->end - c->at) / TAG_BYTES, "is damaged: a cell array has too many cells");
    TDM_TRY(array_texts(a, v->count, &text));
    for (int64_t i = 0; i < v->count; i++) {
        element cell, chars;
        variable inner;
        TDM_TRY(next_element(c, &cell));
        cursor within = {c->path, cell.data, cell.data + cell.bytes, c->is_swapped};
        if (cell.type == MI_MATRIX && cell.bytes) TDM_TRY(read_head(&within, &inner));
        if (cell.type != MI_MATRIX || !cell.bytes || inner.class != MX_CHAR || inner.ndim != 2 ||
            inner.shape[0] > 1)
            return array_fault(a, "is a cell array of other things than texts");
        if (inner.count) TDM_TRY(next_element(&within, &chars));
        if (inner.count) TDM_TRY(row_of_chars(c, &chars, 1, inner.shape[1], 0, &text[i]));
        if (!inner.count) text[i] = strdup("");
        TDM_REQUIRE(text[i], TDM_E_NOMEM, "%s: no memory for its texts", c->path);
    }
    return TDM_OK;
}

static tdm_status read_matrix(tdm_arrays *arrays, cursor c)
{
    variable v;
    element real;
    array_type type;
    array *a;
    TDM_TRY(read_head(&c, &v));
    if (!v.name_bytes) return TDM_OK; /* functions' workspace */
    TDM_TRY(array_add(arrays, c.path, v.name, v.name_bytes, &a));
    if (v.class == MX_CELL) return read_cells(&c, &v, a);
    if (v.class == MX_SPARSE) return array_fault(a, "is a sparse matrix; save full(%.60s)", a->shown.name);
    if (v.class != MX_CHAR && (v.class < MX_DOUBLE || v.class > MX_UINT64))
        return array_fault(a, "is a struct or an object; save its fields as variables");
    if (v.is_complex) return array_fault(a, "holds complex numbers");
    TDM_TRY(next_element(&c, &real));
    if (v.class == MX_CHAR) return read_chars(&c, &real, v.ndim, v.shape, a);
    MAT_REQUIRE(&c, type_of(&c, real.type, &type), "is damaged: numbers are of a strange type");
    return array_place(a, type, v.ndim, v.shape, true, real.data, real.bytes);
}

/* A zlib stream of one element, whose tag says how long it is. */
static tdm_status read_compressed(tdm_arrays *arrays, const cursor *c, const element *packed)
{
    enum { MOST = 1032 }; /* deflate's greatest ratio */
    unsigned char tag[TAG_BYTES];
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)packed->data,
                  .avail_in = (uInt)packed->bytes,
                  .next_out = tag,
                  .avail_out = TAG_BYTES};
    MAT_REQUIRE(c, inflateInit(&z) == Z_OK, "no memory to inflate a variable");
    int code = inflate(&z, Z_SYNC_FLUSH);
    const bool has_tag = (code == Z_OK || code == Z_STREAM_END) && z.avail_out == 0;
    const uint32_t type = has_tag ? u32_at(c, tag) : 0, bytes = has_tag ? u32_at(c, tag + 4) : 0;
    void *data = NULL;
    tdm_status status = TDM_OK;
    if (!has_tag || type != MI_MATRIX || bytes / MOST > packed->bytes)
        status =
            TDM_ERROR(TDM_E_FORMAT, "%s: MATLAB file: is damaged: a variable cannot be inflated", c->path);
    if (status == TDM_OK) status = arrays_own(arrays, (size_t)bytes + 1, &data);
    if (status == TDM_OK) {
        z.next_out = data;
        z.avail_out = bytes;
        code = inflate(&z, Z_SYNC_FLUSH);
        if ((code != Z_OK && code != Z_STREAM_END) || z.avail_out)
            status = TDM_ERROR(TDM_E_FORMAT, "%s: MATLAB file: is damaged: a variable cannot be inflated",
                               c->path);
    }
    inflateEnd(&z);
    TDM_TRY(status);
    const unsigned char *begin = data;
    return read_matrix(arrays, (cursor){c->path, begin, begin + bytes, c->is_swapped});
}

tdm_status matlab_read(tdm_arrays *arrays, const array_file *file)
{
    cursor c = {file->path, file->data + HEADER_BYTES, file->data + file->bytes,
                !memcmp(file->data + 126, "MI", 2)};
    while (c.at < c.end) {
        element e;
        TDM_TRY(next_element(&c, &e));
        if (e.type == MI_COMPRESSED) TDM_TRY(read_compressed(arrays, &c, &e));
        if (e.type == MI_MATRIX && e.bytes)
            TDM_TRY(read_matrix(arrays, (cursor){c.path, e.data, e.data + e.bytes, c.is_swapped}));
    }
    return TDM_OK;
}
