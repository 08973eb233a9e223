/* .npy (numpy/lib/format.py: versions 1 to 3) and .npz, a zip of them, stored or deflated. */
#include "arrays_impl.h"
#include "zip.h"

#include <stdlib.h>
#include <zlib.h>

#define NPY_REQUIRE(condition, what)                                                                         \
    TDM_REQUIRE(condition, TDM_E_FORMAT, "%s: %.200s: %s", a->shown.file, a->shown.name, what)

/* What follows "'key':" in the header, which is a dictionary as Python prints it. NULL: not there. */
static const char *value_of(const char *header, const char *key)
{
    const char *at = strstr(header, key);
    if (!at) return NULL;
    at += strlen(key);
    return at + strspn(at, "'\": ");
}

static tdm_status read_shape(const array *a, const char *at, int *ndim, int64_t shape[TDM_ARRAY_MAX_DIMS])
{
    NPY_REQUIRE(at && *at == '(', "its header names no shape");
    for (at++; *at && *at != ')';) {
        char *end;
        const long long n = strtoll(at, &end, 10);
        NPY_REQUIRE(end != at && n >= 0 && *ndim < TDM_ARRAY_MAX_DIMS, "its shape cannot be read");
        shape[(*ndim)++] = n;
        at = end + strspn(end, "L, ");
    }
    return TDM_OK;
}

/* data[bytes] is a whole .npy file. */
static tdm_status read_header(array *a, const unsigned char *data, size_t bytes)
{
    char header[4096];
    NPY_REQUIRE(bytes >= 12 && !memcmp(data, "\x93NUMPY", 6), "is no .npy file");
    NPY_REQUIRE(data[6] >= 1 && data[6] <= 3, "is of a version that is not known");
    const size_t begin = data[6] == 1 ? 10 : 12;
    size_t length = (size_t)data[8] | (size_t)data[9] << 8;
    if (begin == 12) length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    NPY_REQUIRE(length <= bytes - begin, "is cut off within its header");
    if (length >= sizeof header) return array_fault(a, "is a record of many fields");
    memcpy(header, data + begin, length);
    header[length] = '\0';

    const char *descr = value_of(header, "'descr"), *order = value_of(header, "'fortran_order");
    int ndim = 0;
    int64_t shape[TDM_ARRAY_MAX_DIMS];
    array_type type;
    NPY_REQUIRE(descr && order, "its header cannot be read");
    const size_t code = strcspn(descr, "'\"");
    if (code == 2 && descr[1] == 'O')
        return array_fault(a, "holds objects of Python (a pickle); save numbers or texts");
    if (!array_type_parse(descr, code, &type))
        return array_fault(a, "has elements %.*s, which are not read", (int)(code < 40 ? code : 40), descr);
    TDM_TRY(read_shape(a, value_of(header, "'shape"), &ndim, shape));
    return array_place(a, type, ndim, shape, *order == 'T', data + begin + length, bytes - begin - length);
}

/* "…/train_img.npy" is called train_img. */
static size_t stem_of(const char *path, const char **name)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const size_t length = strlen(base);
    *name = base;
    return length > 4 && !strcmp(base + length - 4, ".npy") ? length - 4 : length;
}

tdm_status npy_read(tdm_arrays *arrays, const array_file *file)
{
    const char *name;
    array *a;
    const size_t length = stem_of(file->path, &name);
    TDM_TRY(array_add(arrays, file->path, name, length, &a));
    return read_header(a, file->data, file->bytes);
}

/* ---- .npz ---- */

static tdm_status inflate_entry(const array *a, const unsigned char *data, size_t packed, void *out,
                                size_t bytes)
{
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)data, .next_out = out};
    NPY_REQUIRE(inflateInit2(&z, -MAX_WBITS) == Z_OK, "no memory to inflate it");
    int code = Z_OK;
    while (code == Z_OK) { /* zlib counts in 32 bits */
        const size_t in = packed - z.total_in, room = bytes - z.total_out;
        z.avail_in = in > 1 << 30 ? 1 << 30 : (uInt)in;
        z.avail_out = room > 1 << 30 ? 1 << 30 : (uInt)room;
        code = inflate(&z, Z_NO_FLUSH);
    }
    const size_t made = z.total_out;
    inflateEnd(&z);
    NPY_REQUIRE(code == Z_STREAM_END && made == bytes, "is damaged: cannot be inflated");
    return TDM_OK;
}

static tdm_status read_entry(tdm_arrays *arrays, const array_file *file, const zip_archive *zip,
                             const zip_entry *entry)
{
    enum { DEFLATED = 8, MOST = 1032 }; /* deflate's greatest ratio */
    const char *name = entry->name;
    size_t length = entry->name_bytes;
    int64_t at;
    array *a;
    if (length > 4 && !memcmp(name + length - 4, ".npy", 4)) length -= 4;
    TDM_TRY(array_add(arrays, file->path, name, length, &a));
    zip_entry stored = *entry;
    if (entry->method == DEFLATED) { /* its place is that of what is stored, its bytes those in the file */
        stored.method = 0;
        stored.bytes = entry->packed;
    }
    TDM_TRY(zip_locate(zip, &stored, &at));
    if (entry->method != DEFLATED) return read_header(a, file->data + at, (size_t)entry->bytes);
    NPY_REQUIRE(entry->bytes / MOST <= entry->packed, "is damaged: claims too many bytes");
    void *data;
    TDM_TRY(arrays_own(arrays, (size_t)entry->bytes + 1, &data));
    TDM_TRY(inflate_entry(a, file->data + at, (size_t)entry->packed, data, (size_t)entry->bytes));
    return read_header(a, data, (size_t)entry->bytes);
}

tdm_status npz_read(tdm_arrays *arrays, const array_file *file)
{
    zip_archive zip;
    char path[TDM_PATH_BYTES];
    snprintf(path, sizeof path, "%s", file->path);
    const tensor_source source = {.path = path, .fd = file->fd, .bytes = (int64_t)file->bytes};
    tdm_status status = zip_open(&source, &zip);
    for (int64_t i = 0; status == TDM_OK && i < zip.entries; i++)
        status = read_entry(arrays, file, &zip, &zip.entry[i]);
    zip_free(&zip);
    return status;
}
