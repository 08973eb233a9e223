#include "read_text.h"

#include "pack_impl.h"
#include "tandem/plain_text.h"

#include <errno.h>
#include <iconv.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- What a file is by its first bytes ---- */

typedef struct magic {
    const char *bytes;
    size_t length;
    const char *what;
} magic;

/* Files that are given where text is asked for. */
static const magic foreign[] = {
    {"\x1f\x8b", 2, "compressed with gzip: unpack it first (gunzip)"},
    {"BZh", 3, "compressed with bzip2: unpack it first (bunzip2)"},
    {"\xfd"
     "7zXZ",
     5, "compressed with xz: unpack it first (unxz)"},
    {"\x28\xb5\x2f\xfd", 4, "compressed with zstd: unpack it first (unzstd)"},
    {"PK\x03\x04", 4, "a zip file or an Excel workbook: unpack it, or save it as text, first"},
    {"\xd0\xcf\x11\xe0", 4, "an old Excel workbook: save it as text first"},
    {"PAR1", 4, "a Parquet file: write it as CSV first"},
    {"\x89HDF", 4, "an HDF5 file, not text"},
};

/* Longer marks first: that of UTF-32 begins with that of UTF-16. */
static const magic marks[] = {
    {"\xef\xbb\xbf", 3, NULL},   {"\xff\xfe\0\0", 4, "UTF-32LE"}, {"\0\0\xfe\xff", 4, "UTF-32BE"},
    {"\xff\xfe", 2, "UTF-16LE"}, {"\xfe\xff", 2, "UTF-16BE"},
};

static const magic *find_magic(const magic *row, size_t rows, const char *data, size_t length)
{
    for (size_t i = 0; i < rows; i++)
        if (length >= row[i].length && !memcmp(data, row[i].bytes, row[i].length)) return &row[i];
    return NULL;
}

/* UTF-16 that does not say so: Latin letters have a zero byte beside them, always on the same side. */
static tdm_status refuse_unmarked(const char *name, const char *data, size_t length)
{
    enum { LOOKED_AT = 4096 };
    const size_t n = length < LOOKED_AT ? length : LOOKED_AT;
    size_t zeros[2] = {0};
    for (size_t i = 0; i < n; i++) zeros[i & 1] += data[i] == '\0';
    const size_t all = zeros[0] + zeros[1];
    if (n < 4 || all * 4 < n) return TDM_OK;
    TDM_REQUIRE(zeros[0] && zeros[1], TDM_E_FORMAT,
                "%s: has a zero byte in most characters, so it is UTF-16 without a byte order mark: "
                "--encoding utf-16%s reads it",
                name, zeros[1] ? "le" : "be");
    TDM_FAIL(TDM_E_FORMAT, "%s: is no text: %zu of its first %zu bytes are zero", name, all, n);
}

/* ---- Conversion ---- */

/* The names that people write beside those that iconv knows. */
static const char *iconv_name(const char *encoding)
{
    static const char *const other[][2] = {
        {"latin-1", "ISO-8859-1"}, {"latin_1", "ISO-8859-1"}, {"iso8859-1", "ISO-8859-1"},
        {"utf_8", "UTF-8"},        {"utf8", "UTF-8"},         {"utf-8-sig", "UTF-8"},
        {"utf_16", "UTF-16"},      {"utf16", "UTF-16"},       {"ansi", "CP1252"},
    };
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
        if (!strcasecmp(encoding, other[i][0])) return other[i][1];
    return encoding[0] ? encoding : "UTF-8";
}

static tdm_status run_iconv(const char *name, const char *encoding, iconv_t how, const char *data,
                            size_t length, tdm_text *out)
{
    char block[65536], *from = (char *)(uintptr_t)data; /* iconv does not write there */
    size_t left = length;
    while (left) {
        char *to = block;
        size_t room = sizeof(block);
        const size_t done = iconv(how, &from, &left, &to, &room);
        const int error = done == (size_t)-1 ? errno : 0;
        TDM_TRY(tdm_text_append(out, block, sizeof(block) - room));
        TDM_REQUIRE(error != EILSEQ, TDM_E_FORMAT, "%s: byte 0x%02X at offset %zu is not %s", name,
                    (unsigned char)*from, (size_t)(from - data), encoding);
        TDM_REQUIRE(error != EINVAL, TDM_E_FORMAT, "%s: ends within a character of %s, at offset %zu", name,
                    encoding, (size_t)(from - data));
    }
    return TDM_OK;
}

static tdm_status convert(const char *name, const char *encoding, const char *data, size_t length,
                          tdm_text *out)
{
    const iconv_t how = iconv_open("UTF-8", iconv_name(encoding));
    TDM_REQUIRE(how != (iconv_t)-1, TDM_E_USAGE,
                "--encoding %s: unknown; utf-8, latin-1, cp1252, utf-16 and what `iconv -l` lists are known",
                encoding);
    const tdm_status status = run_iconv(name, encoding, how, data, length, out);
    iconv_close(how);
    return status;
}

/* The bytes of the file, which are in file->text, become UTF-8. */
static tdm_status decode(const char *name, const char *encoding, text_file *file)
{
    const char *data = file->text.data;
    size_t length = file->text.length;
    const magic *is = find_magic(foreign, sizeof(foreign) / sizeof(foreign[0]), data, length);
    TDM_REQUIRE(!is, TDM_E_FORMAT, "%s: is %s", name, is ? is->what : "");
    const magic *mark = find_magic(marks, sizeof(marks) / sizeof(marks[0]), data, length);
    if (mark) file->marked = mark->what;
    const char *from = mark ? mark->what ? mark->what : "UTF-8" : iconv_name(encoding);
    if (!strcasecmp(from, "UTF-8")) {
        if (!mark) TDM_TRY(refuse_unmarked(name, data, length));
    } else {
        tdm_text converted = {0};
        const size_t skip = mark ? mark->length : 0;
        tdm_status status = tdm_text_append(&converted, "", 0);
        if (status == TDM_OK)
            status = convert(name, mark ? from : encoding, data + skip, length - skip, &converted);
        tdm_text_free(&file->text);
        file->text = converted;
        TDM_TRY(status);
    }
    file->at = file->text.data;
    file->end = file->at + file->text.length;
    while (tdm_byte_order_mark(file->at, (size_t)(file->end - file->at))) file->at += 3; /* some write two */
    return TDM_OK;
}

tdm_status text_open_memory(const char *name, const char *encoding, const char *data, size_t length,
                            text_file *file)
{
    *file = (text_file){0};
    TDM_TRY(tdm_text_append(&file->text, data, length));
    return decode(name, encoding, file);
}

tdm_status text_open(const char *path, const char *encoding, text_file *file)
{
    *file = (text_file){0};
    TDM_TRY(tdm_read_file(path, &file->text));
    return decode(path, encoding, file);
}

void text_close(text_file *file)
{
    tdm_text_free(&file->text);
    *file = (text_file){0};
}

/* ---- Judging ---- */

size_t text_sound(const char *text, size_t length)
{
    const char *zero = memchr(text, '\0', length);
    return pack_utf8_fault(text, zero ? (size_t)(zero - text) : length);
}

tdm_status text_check(const char *where, const char *text, size_t length, int64_t offset)
{
    const size_t sound = text_sound(text, length);
    if (sound == length) return TDM_OK;
    const long long at = (long long)offset + (long long)sound;
    TDM_REQUIRE(text[sound], TDM_E_DATA, "%s: a NUL at offset %lld: text has none", where, at);
    TDM_FAIL(TDM_E_DATA,
             "%s: byte 0x%02X at offset %lld is not UTF-8; --encoding latin-1 or cp1252 reads older files",
             where, (unsigned char)text[sound], at);
}
