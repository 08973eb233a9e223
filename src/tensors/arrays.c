/* Files by content, the list of arrays, reading elements. */
#include "arrays_impl.h"
#include "tensors_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct block { /* a mapped file, or memory of tdm_alloc */
    void *data;
    size_t mapped; /* bytes; 0: allocated */
    char *path;    /* of a file */
} block;

struct tdm_arrays {
    array **item; /* [count] */
    int64_t count, capacity;
    block *block;
    int64_t blocks, block_capacity;
};

/* ---- The list ---- */

tdm_status tdm_arrays_create(tdm_arrays **arrays)
{
    return TDM_ALLOC(1, arrays);
}

void tdm_arrays_destroy(tdm_arrays **arrays)
{
    tdm_arrays *a = *arrays;
    if (!a) return;
    for (int64_t i = 0; i < a->count; i++) {
        array *item = a->item[i];
        for (int64_t k = 0; item->text && k < item->shown.rows; k++) free(item->text[k]);
        tdm_free(item->text);
        free((char *)(uintptr_t)item->shown.name);
        free((char *)(uintptr_t)item->shown.fault);
        tdm_free(item);
    }
    for (int64_t i = 0; i < a->blocks; i++) {
        if (a->block[i].mapped) munmap(a->block[i].data, a->block[i].mapped);
        if (!a->block[i].mapped) tdm_free(a->block[i].data);
        free(a->block[i].path);
    }
    free(a->item);
    free(a->block);
    tdm_free(a);
    *arrays = NULL;
}

static tdm_status add_block(tdm_arrays *arrays, block **added)
{
    TDM_TRY(tensor_grow(&arrays->block, arrays->blocks, &arrays->block_capacity, sizeof *arrays->block));
    *added = &arrays->block[arrays->blocks++];
    **added = (block){0};
    return TDM_OK;
}

tdm_status arrays_own(tdm_arrays *arrays, size_t bytes, void **out)
{
    block *b;
    TDM_TRY(add_block(arrays, &b));
    TDM_TRY(tdm_alloc(bytes, "array", &b->data));
    *out = b->data;
    return TDM_OK;
}

int64_t tdm_arrays_count(const tdm_arrays *arrays)
{
    return arrays->count;
}

const tdm_array *tdm_arrays_at(const tdm_arrays *arrays, int64_t index)
{
    return &arrays->item[index]->shown;
}

const tdm_array *tdm_arrays_find(const tdm_arrays *arrays, const char *name)
{
    for (int64_t i = 0; i < arrays->count; i++)
        if (!strcmp(arrays->item[i]->shown.name, name)) return &arrays->item[i]->shown;
    return NULL;
}

tdm_status tdm_arrays_describe(const tdm_arrays *arrays, tdm_text *text)
{
    enum { MOST = 20 };
    for (int64_t i = 0; i < arrays->count && i < MOST; i++) {
        const tdm_array *a = &arrays->item[i]->shown;
        TDM_TRY(tdm_text_printf(text, "%s%.60s", i ? ", " : "", a->name));
        if (a->fault) continue;
        TDM_TRY(tdm_text_printf(text, " %s [", a->type));
        for (int k = 0; k < a->ndim; k++)
            TDM_TRY(tdm_text_printf(text, "%s%lld", k ? ", " : "", (long long)a->shape[k]));
        TDM_TRY(tdm_text_printf(text, "]"));
    }
    return arrays->count > MOST ? tdm_text_printf(text, ", …")
           : arrays->count      ? TDM_OK
                                : tdm_text_printf(text, "nothing");
}

/* ---- What readers call ---- */

tdm_status array_add(tdm_arrays *arrays, const char *path, const char *name, size_t name_bytes, array **added)
{
    TDM_REQUIRE(name_bytes < 1024 && !memchr(name, '\0', name_bytes), TDM_E_FORMAT,
                "%s: an array has a name of %zu bytes, or with a NUL", path, name_bytes);
    TDM_TRY(tensor_grow(&arrays->item, arrays->count, &arrays->capacity, sizeof(array *)));
    TDM_TRY(TDM_ALLOC(1, added));
    arrays->item[arrays->count++] = *added;
    (*added)->shown.name = strndup(name, name_bytes);
    (*added)->shown.file = path;
    TDM_REQUIRE((*added)->shown.name, TDM_E_NOMEM, "%s: no memory for the names of its arrays", path);
    const tdm_array *first = tdm_arrays_find(arrays, (*added)->shown.name);
    TDM_REQUIRE(first == &(*added)->shown, TDM_E_FORMAT, "%s: a second array is called %s, after that of %s",
                path, (*added)->shown.name, first->file);
    return TDM_OK;
}

tdm_status array_fault(array *a, const char *fmt, ...)
{
    char *why = NULL;
    va_list args;
    va_start(args, fmt);
    const int length = vasprintf(&why, fmt, args);
    va_end(args);
    TDM_REQUIRE(length >= 0, TDM_E_NOMEM, "%s: no memory", a->shown.file);
    a->shown.fault = why;
    return TDM_OK;
}

static void set_shape(array *a, int ndim, const int64_t *shape)
{
    a->shown.ndim = ndim;
    a->shown.rows = ndim ? shape[0] : 1;
    a->shown.width = 1;
    for (int i = 0; i < ndim; i++) {
        a->shown.shape[i] = shape[i];
        if (i) a->shown.width *= shape[i];
    }
}

tdm_status array_place(array *a, array_type type, int ndim, const int64_t *shape, bool is_fortran,
                       const void *data, uint64_t bytes)
{
    static const char *const names[] = {"f", "i", "u", "text", "text"};
    int64_t all = type.bytes;
    TDM_REQUIRE(ndim <= TDM_ARRAY_MAX_DIMS, TDM_E_FORMAT, "%s: %s has %d dimensions, at most %d are read",
                a->shown.file, a->shown.name, ndim, TDM_ARRAY_MAX_DIMS);
    for (int k = 0; k < ndim; k++) { /* the fastest first */
        const int i = is_fortran ? k : ndim - 1 - k;
        a->stride[i] = all;
        TDM_REQUIRE(shape[i] >= 0 && !__builtin_mul_overflow(all, shape[i], &all), TDM_E_FORMAT,
                    "%s: %s has a dimension of %lld", a->shown.file, a->shown.name, (long long)shape[i]);
    }
    TDM_REQUIRE((uint64_t)all <= bytes, TDM_E_FORMAT,
                "%s: %s has %llu bytes, its shape needs %lld: cut off or damaged", a->shown.file,
                a->shown.name, (unsigned long long)bytes, (long long)all);
    set_shape(a, ndim, shape);
    a->type = type;
    a->data = data;
    a->shown.is_text = type.kind >= ARRAY_UTF32;
    if (a->shown.is_text)
        snprintf(a->shown.type, sizeof a->shown.type, "text");
    else
        snprintf(a->shown.type, sizeof a->shown.type, "%s%lld", names[type.kind],
                 (long long)(8 * type.bytes));
    return TDM_OK;
}

tdm_status array_texts(array *a, int64_t rows, char ***text)
{
    TDM_TRY(TDM_ALLOC(rows + 1, &a->text));
    set_shape(a, 1, &rows);
    a->shown.is_text = true;
    snprintf(a->shown.type, sizeof a->shown.type, "text");
    *text = a->text;
    return TDM_OK;
}

tdm_status array_numbers(tdm_arrays *arrays, array *a, int64_t rows, int64_t **number)
{
    TDM_TRY(arrays_own(arrays, sizeof **number * (size_t)(rows + 1), (void **)number));
    return array_place(a, (array_type){.kind = ARRAY_INT, .bytes = 8}, 1, &rows, false, *number,
                       sizeof **number * (uint64_t)rows);
}

bool array_type_parse(const char *code, size_t length, array_type *type)
{
    char text[24];
    if (length == 0 || length >= sizeof text) return false;
    memcpy(text, code, length);
    text[length] = '\0';
    const char *at = text;
    *type = (array_type){0};
    if (strchr("<>|=", *at)) type->is_swapped = *at++ == '>';
    if (!strcmp(at, "?")) at = "b1";
    const char kind = *at;
    char *end;
    const long long size = kind ? strtoll(at + 1, &end, 10) : 0;
    if (!kind || end == at + 1 || *end || size < 1 || size > 1 << 20) return false;
    type->bytes = size;
    type->kind = kind == 'f' ? ARRAY_FLOAT : kind == 'i' ? ARRAY_INT : ARRAY_UINT;
    switch (kind) {
    case 'f': return size == 2 || size == 4 || size == 8;
    case 'i':
    case 'u': return size == 1 || size == 2 || size == 4 || size == 8;
    case 'b': return size == 1;
    case 'S': type->kind = ARRAY_BYTES; return true;
    case 'U': type->kind = ARRAY_UTF32, type->bytes = 4 * size; return true;
    default: return false;
    }
}

/* ---- Files ---- */

enum { HEAD_BYTES = 128 };

typedef tdm_status (*array_reader)(tdm_arrays *arrays, const array_file *file);

/* NULL: no file of arrays. */
static array_reader reader_of(const unsigned char *head, size_t bytes)
{
    if (bytes >= 6 && !memcmp(head, "\x93NUMPY", 6)) return npy_read;
    if (bytes >= 4 && (!memcmp(head, "PK\3\4", 4) || !memcmp(head, "PK\5\6", 4))) return npz_read;
    if (bytes == HEAD_BYTES && !memcmp(head, "MATLAB 7.3 MAT-file", 19)) return matlab_h5_read;
    if (bytes == HEAD_BYTES && (!memcmp(head + 126, "IM", 2) || !memcmp(head + 126, "MI", 2)))
        return matlab_read;
    if (bytes >= 3 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5) return pickled_arrays_read;
    return NULL;
}

bool tdm_arrays_are_in(const char *path)
{
    unsigned char head[HEAD_BYTES];
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const ssize_t n = fd < 0 ? -1 : read(fd, head, sizeof head);
    if (fd >= 0) close(fd);
    return n > 0 && reader_of(head, (size_t)n);
}

/* The file is mapped: features of hundreds of megabytes are shared by the ranks of a host. */
static tdm_status map_file(tdm_arrays *arrays, array_file *file)
{
    struct stat info;
    block *b;
    TDM_REQUIRE(fstat(file->fd, &info) == 0 && S_ISREG(info.st_mode), TDM_E_IO, "%s: is not a regular file",
                file->path);
    TDM_REQUIRE(info.st_size > 0, TDM_E_FORMAT, "%s: is empty", file->path);
    TDM_TRY(add_block(arrays, &b));
    b->path = strdup(file->path);
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file->fd, 0);
    TDM_REQUIRE(data != MAP_FAILED, TDM_E_IO, "%s: cannot map: %s", file->path, strerror(errno));
    b->data = data;
    b->mapped = (size_t)info.st_size;
    TDM_REQUIRE(b->path, TDM_E_NOMEM, "%s: no memory for its path", file->path);
    file->path = b->path;
    file->data = data;
    file->bytes = b->mapped;
    return TDM_OK;
}

tdm_status tdm_arrays_add(tdm_arrays *arrays, const char *path)
{
    array_file file = {.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    TDM_REQUIRE(file.fd >= 0, TDM_E_IO, "%s: cannot open: %s", path, strerror(errno));
    tdm_status status = map_file(arrays, &file);
    const array_reader read_arrays =
        status == TDM_OK ? reader_of(file.data, file.bytes < HEAD_BYTES ? file.bytes : HEAD_BYTES) : NULL;
    if (status == TDM_OK && !read_arrays)
        status = TDM_ERROR(
            TDM_E_FORMAT,
            "%s: is no file of NumPy (.npy, .npz) or MATLAB (5 to 7.3), and no pickle of a protocol from 2 to 5",
            path);
    if (status == TDM_OK) status = read_arrays(arrays, &file);
    close(file.fd);
    return status;
}

/* ---- Elements ---- */

/* Element `element` of the row, in the order in which the last index runs fastest. */
static const unsigned char *place_of(const array *a, int64_t row, int64_t element)
{
    int64_t at = a->shown.ndim ? row * a->stride[0] : 0;
    for (int k = a->shown.ndim - 1; k > 0; k--) {
        at += element % a->shown.shape[k] * a->stride[k];
        element /= a->shown.shape[k];
    }
    return a->data + at;
}

static uint64_t bits_at(const array_type *type, const unsigned char *at)
{
    uint64_t bits = 0;
    for (int64_t i = 0; i < type->bytes; i++)
        bits |= (uint64_t)at[i] << 8 * (type->is_swapped ? type->bytes - 1 - i : i);
    return bits;
}

static int64_t sign_extend(uint64_t bits, int64_t bytes)
{
    const int unused = (int)(64 - 8 * bytes);
    return (int64_t)(bits << unused) >> unused;
}

static double float_of(uint64_t bits, int64_t bytes)
{
    float value = 0;
    const uint32_t low = (uint32_t)bits;
    const uint16_t half = (uint16_t)bits;
    double wide;
    switch (bytes) {
    case 2: tensor_to_f32(TDM_TENSOR_F16, 1, &half, &value); return (double)value;
    case 4: memcpy(&value, &low, sizeof value); return (double)value;
    default: memcpy(&wide, &bits, sizeof wide); return wide;
    }
}

static tdm_status check_row(const array *a, int64_t row)
{
    TDM_REQUIRE(!a->shown.fault, TDM_E_FORMAT, "%s: %s %s", a->shown.file, a->shown.name, a->shown.fault);
    TDM_REQUIRE(row >= 0 && row < a->shown.rows, TDM_E_DATA, "%s: %s has no row %lld", a->shown.file,
                a->shown.name, (long long)row);
    return TDM_OK;
}

/* Rows are what memory would hold: the usual case, and the largest files. */
static bool is_plain_f32(const array *a)
{
    const bool little = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    return a->type.kind == ARRAY_FLOAT && a->type.bytes == sizeof(float) && a->type.is_swapped != little &&
           a->shown.ndim == 2 && a->stride[1] == sizeof(float);
}

tdm_status tdm_array_row(const tdm_array *shown, int64_t row, float *out)
{
    const array *a = (const array *)shown;
    TDM_TRY(check_row(a, row));
    TDM_REQUIRE(!shown->is_text, TDM_E_FORMAT, "%s: %s holds texts, not numbers", shown->file, shown->name);
    if (is_plain_f32(a)) {
        memcpy(out, a->data + row * a->stride[0], (size_t)shown->width * sizeof *out);
        return TDM_OK;
    }
    for (int64_t i = 0; i < shown->width; i++) {
        const uint64_t bits = bits_at(&a->type, place_of(a, row, i));
        out[i] = a->type.kind == ARRAY_FLOAT ? (float)float_of(bits, a->type.bytes)
                 : a->type.kind == ARRAY_INT ? (float)sign_extend(bits, a->type.bytes)
                                             : (float)bits;
    }
    return TDM_OK;
}

tdm_status tdm_array_whole(const tdm_array *shown, int64_t row, int64_t element, int64_t *value)
{
    const array *a = (const array *)shown;
    TDM_TRY(check_row(a, row));
    TDM_REQUIRE(!shown->is_text, TDM_E_FORMAT, "%s: %s holds texts, not numbers", shown->file, shown->name);
    const uint64_t bits = bits_at(&a->type, place_of(a, row, element));
    if (a->type.kind == ARRAY_FLOAT) {
        const double x = float_of(bits, a->type.bytes);
        TDM_REQUIRE(x == floor(x) && fabs(x) < 0x1p53, TDM_E_DATA,
                    "%s: row %lld of %s is %g, no whole number", shown->file, (long long)row, shown->name, x);
        *value = (int64_t)x;
        return TDM_OK;
    }
    *value = a->type.kind == ARRAY_INT ? sign_extend(bits, a->type.bytes) : (int64_t)bits;
    TDM_REQUIRE(a->type.kind == ARRAY_INT || *value >= 0, TDM_E_DATA, "%s: row %lld of %s is too large",
                shown->file, (long long)row, shown->name);
    return TDM_OK;
}

static tdm_status append_point(tdm_text *text, uint32_t point)
{
    char out[4];
    size_t n = 1;
    if (point < 0x80) {
        out[0] = (char)point;
    } else if (point < 0x800) {
        out[0] = (char)(0xc0 | point >> 6), n = 2;
    } else if (point < 0x10000) {
        out[0] = (char)(0xe0 | point >> 12), n = 3;
    } else {
        out[0] = (char)(0xf0 | (point >> 18 & 7)), n = 4;
    }
    for (size_t i = 1; i < n; i++) out[i] = (char)(0x80 | (point >> 6 * (n - 1 - i) & 63));
    return tdm_text_append(text, out, n);
}

/* Padded with NULs at the end. */
static tdm_status append_points(const array *a, const unsigned char *at, tdm_text *text)
{
    const array_type point = {.bytes = 4, .is_swapped = a->type.is_swapped};
    int64_t n = a->type.bytes / 4;
    while (n > 0 && !bits_at(&point, at + 4 * (n - 1))) n--;
    for (int64_t i = 0; i < n; i++) TDM_TRY(append_point(text, (uint32_t)bits_at(&point, at + 4 * i)));
    return TDM_OK;
}

tdm_status tdm_array_text(const tdm_array *shown, int64_t row, tdm_text *text)
{
    const array *a = (const array *)shown;
    int64_t number;
    TDM_TRY(check_row(a, row));
    if (a->text) return tdm_text_append(text, a->text[row], strlen(a->text[row]));
    if (shown->is_text && a->type.kind == ARRAY_UTF32) return append_points(a, place_of(a, row, 0), text);
    if (shown->is_text) {
        const char *at = (const char *)place_of(a, row, 0);
        return tdm_text_append(text, at, strnlen(at, (size_t)a->type.bytes));
    }
    TDM_TRY(tdm_array_whole(shown, row, 0, &number));
    return tdm_text_printf(text, "%lld", (long long)number);
}
