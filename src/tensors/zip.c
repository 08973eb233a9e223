/* The format is PKWARE's APPNOTE.TXT, 6.3.3: local headers (4.3.7), central directory (4.3.12), its end
 * (4.3.16) and the 64-bit forms of that (4.3.14, 4.3.15) and of sizes (4.5.3). */
#include "zip.h"

#include <stdlib.h>
#include <string.h>

enum {
    LOCAL_BYTES = 30,
    CENTRAL_BYTES = 46,
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    COMMENT_BYTES_MAX = 65535,
    DIRECTORY_BYTES_MAX = 64 << 20,
    EXTRA_ZIP64 = 1,
    FLAG_ENCRYPTED = 1
};

static uint16_t u16_at(const unsigned char *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t u32_at(const unsigned char *at)
{
    return u16_at(at) | (uint32_t)u16_at(at + 2) << 16;
}

static uint64_t u64_at(const unsigned char *at)
{
    return u32_at(at) | (uint64_t)u32_at(at + 4) << 32;
}

/* ---- Where the directory is ---- */

typedef struct directory_place {
    uint64_t at, bytes, entries;
    int64_t limit; /* where the record that says so begins */
} directory_place;

/* The last record of the file, behind which is only its own comment. */
static tdm_status find_end(const tensor_source *source, unsigned char end[END_BYTES], int64_t *end_at)
{
    const int64_t bytes = tdm_min_i64(source->bytes, END_BYTES + COMMENT_BYTES_MAX);
    unsigned char *tail = NULL;
    TDM_TRY(TDM_ALLOC(bytes, &tail));
    tdm_status status = source_read(source, source->bytes - bytes, (size_t)bytes, tail);
    int64_t at = bytes - END_BYTES;
    for (; at >= 0; at--)
        if (memcmp(tail + at, "PK\5\6", 4) == 0 && u16_at(tail + at + 20) == bytes - END_BYTES - at) break;
    if (status == TDM_OK && at >= 0) memcpy(end, tail + at, END_BYTES);
    tdm_free(tail);
    TDM_TRY(status);
    TDM_REQUIRE(at >= 0, TDM_E_FORMAT, "%s: is a zip archive without its end: truncated?", source->path);
    *end_at = source->bytes - bytes + at;
    return TDM_OK;
}

/* The 64-bit end record, where there is one. */
static tdm_status read_end64(const tensor_source *source, int64_t end_at, directory_place *place)
{
    unsigned char locator[LOCATOR_BYTES], end[END64_BYTES];
    if (end_at < LOCATOR_BYTES) return TDM_OK;
    TDM_TRY(source_read(source, end_at - LOCATOR_BYTES, sizeof locator, locator));
    if (memcmp(locator, "PK\6\7", 4) != 0) return TDM_OK;
    const uint64_t at = u64_at(locator + 8), limit = (uint64_t)(end_at - LOCATOR_BYTES);
    TDM_REQUIRE(limit >= END64_BYTES && at <= limit - END64_BYTES, TDM_E_FORMAT,
                "%s: zip: its 64-bit end record would be at byte %llu", source->path, (unsigned long long)at);
    TDM_TRY(source_read(source, (int64_t)at, sizeof end, end));
    TDM_REQUIRE(memcmp(end, "PK\6\6", 4) == 0, TDM_E_FORMAT, "%s: zip: has no 64-bit end record at byte %llu",
                source->path, (unsigned long long)at);
    *place = (directory_place){
        .entries = u64_at(end + 32), .bytes = u64_at(end + 40), .at = u64_at(end + 48), .limit = (int64_t)at};
    return TDM_OK;
}

static tdm_status find_directory(const tensor_source *source, directory_place *place)
{
    unsigned char end[END_BYTES] = {0};
    int64_t end_at = 0;
    TDM_TRY(find_end(source, end, &end_at));
    TDM_REQUIRE(u16_at(end + 4) == u16_at(end + 6), TDM_E_FORMAT,
                "%s: zip: is one part of an archive of several disks", source->path);
    *place = (directory_place){
        .entries = u16_at(end + 10), .bytes = u32_at(end + 12), .at = u32_at(end + 16), .limit = end_at};
    TDM_TRY(read_end64(source, end_at, place));
    TDM_REQUIRE(place->at <= (uint64_t)place->limit && place->bytes <= (uint64_t)place->limit - place->at,
                TDM_E_FORMAT, "%s: zip: its directory (%llu bytes at byte %llu) is not within the file",
                source->path, (unsigned long long)place->bytes, (unsigned long long)place->at);
    TDM_REQUIRE(place->bytes <= DIRECTORY_BYTES_MAX, TDM_E_FORMAT, "%s: zip: its directory has %llu bytes",
                source->path, (unsigned long long)place->bytes);
    TDM_REQUIRE(place->entries <= place->bytes / CENTRAL_BYTES, TDM_E_FORMAT,
                "%s: zip: %llu entries do not fit into a directory of %llu bytes", source->path,
                (unsigned long long)place->entries, (unsigned long long)place->bytes);
    return TDM_OK;
}

/* ---- Its rows ---- */

/* Values that do not fit 32 bits stand in the extra field, in this order, those that do not. */
static bool read_zip64(const unsigned char *extra, size_t bytes, uint64_t *size[3])
{
    while (bytes >= 4) {
        const uint16_t id = u16_at(extra);
        size_t length = u16_at(extra + 2);
        extra += 4;
        bytes -= 4;
        if (length > bytes) return false;
        const unsigned char *at = extra;
        extra += length;
        bytes -= length;
        if (id != EXTRA_ZIP64) continue;
        for (int i = 0; i < 3; i++) {
            if (*size[i] != UINT32_MAX) continue;
            if (length < 8) return false;
            *size[i] = u64_at(at);
            at += 8;
            length -= 8;
        }
        return true;
    }
    return *size[0] != UINT32_MAX && *size[1] != UINT32_MAX && *size[2] != UINT32_MAX;
}

static tdm_status read_row(const zip_archive *zip, const unsigned char *row, int64_t left, int64_t index,
                           zip_entry *entry, int64_t *row_bytes)
{
    const char *path = zip->source->path;
    TDM_REQUIRE(left >= CENTRAL_BYTES && memcmp(row, "PK\1\2", 4) == 0, TDM_E_FORMAT,
                "%s: zip: entry %lld of its directory is missing", path, (long long)index);
    const size_t name_bytes = u16_at(row + 28), extra_bytes = u16_at(row + 30);
    uint64_t packed = u32_at(row + 20), bytes = u32_at(row + 24), header_at = u32_at(row + 42);
    *row_bytes = CENTRAL_BYTES + (int64_t)name_bytes + (int64_t)extra_bytes + u16_at(row + 32);
    TDM_REQUIRE(*row_bytes <= left, TDM_E_FORMAT, "%s: zip: entry %lld of its directory is cut off", path,
                (long long)index);
    const unsigned char *extra = row + CENTRAL_BYTES + name_bytes;
    const bool sizes = read_zip64(extra, extra_bytes, (uint64_t *[]){&bytes, &packed, &header_at});
    const uint64_t in_file = u16_at(row + 10) == 0 ? bytes : packed;
    TDM_REQUIRE(sizes && in_file <= (uint64_t)zip->source->bytes && bytes <= INT64_MAX &&
                    header_at <= (uint64_t)zip->source->bytes,
                TDM_E_FORMAT, "%s: zip: entry %lld of its directory would have %llu bytes at byte %llu", path,
                (long long)index, (unsigned long long)bytes, (unsigned long long)header_at);
    *entry = (zip_entry){.name = (const char *)row + CENTRAL_BYTES,
                         .name_bytes = name_bytes,
                         .bytes = (int64_t)bytes,
                         .packed = (int64_t)packed,
                         .header_at = (int64_t)header_at,
                         .method = u16_at(row + 10),
                         .flags = u16_at(row + 8)};
    return TDM_OK;
}

static int compare_bytes(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    const int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order != 0 ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static int compare_entries(const void *a, const void *b)
{
    const zip_entry *x = a, *y = b;
    return compare_bytes(x->name, x->name_bytes, y->name, y->name_bytes);
}

static tdm_status read_rows(zip_archive *zip)
{
    int64_t at = 0, row_bytes = 0;
    for (int64_t i = 0; i < zip->entries; i++, at += row_bytes)
        TDM_TRY(read_row(zip, zip->directory + at, zip->directory_bytes - at, i, &zip->entry[i], &row_bytes));
    qsort(zip->entry, (size_t)zip->entries, sizeof *zip->entry, compare_entries);
    for (int64_t i = 1; i < zip->entries; i++)
        TDM_REQUIRE(compare_entries(&zip->entry[i - 1], &zip->entry[i]) != 0, TDM_E_FORMAT,
                    "%s: zip: two entries are named %.*s", zip->source->path,
                    (int)tdm_min_i64((int64_t)zip->entry[i].name_bytes, 200), zip->entry[i].name);
    return TDM_OK;
}

tdm_status zip_open(const tensor_source *source, zip_archive *zip)
{
    directory_place place = {0};
    *zip = (zip_archive){.source = source};
    TDM_TRY(find_directory(source, &place));
    zip->directory_at = (int64_t)place.at;
    zip->directory_bytes = (int64_t)place.bytes;
    zip->entries = (int64_t)place.entries;
    TDM_TRY(TDM_ALLOC(zip->directory_bytes, &zip->directory));
    TDM_TRY(TDM_ALLOC(zip->entries, &zip->entry));
    TDM_TRY(source_read(source, zip->directory_at, (size_t)zip->directory_bytes, zip->directory));
    return read_rows(zip);
}

void zip_free(zip_archive *zip)
{
    tdm_free(zip->directory);
    tdm_free(zip->entry);
    *zip = (zip_archive){0};
}

const zip_entry *zip_find(const zip_archive *zip, const char *name)
{
    const zip_entry key = {.name = name, .name_bytes = strlen(name)};
    return bsearch(&key, zip->entry, (size_t)zip->entries, sizeof *zip->entry, compare_entries);
}

tdm_status zip_locate(const zip_archive *zip, const zip_entry *entry, int64_t *data_at)
{
    const char *path = zip->source->path, *name = entry->name;
    const int shown = (int)tdm_min_i64((int64_t)entry->name_bytes, 200);
    unsigned char header[LOCAL_BYTES];
    TDM_REQUIRE((entry->flags & FLAG_ENCRYPTED) == 0, TDM_E_FORMAT, "%s: zip: %.*s is encrypted", path, shown,
                name);
    TDM_REQUIRE(entry->method == 0, TDM_E_FORMAT,
                "%s: zip: %.*s is compressed, which PyTorch does not do; pack the archive anew with `zip -0`",
                path, shown, name);
    TDM_REQUIRE(entry->header_at + LOCAL_BYTES <= zip->directory_at, TDM_E_FORMAT,
                "%s: zip: %.*s would begin at byte %lld", path, shown, name, (long long)entry->header_at);
    TDM_TRY(source_read(zip->source, entry->header_at, sizeof header, header));
    TDM_REQUIRE(memcmp(header, "PK\3\4", 4) == 0, TDM_E_FORMAT, "%s: zip: %.*s does not begin at byte %lld",
                path, shown, name, (long long)entry->header_at);
    *data_at = entry->header_at + LOCAL_BYTES + u16_at(header + 26) + u16_at(header + 28);
    TDM_REQUIRE(*data_at <= zip->directory_at && entry->bytes <= zip->directory_at - *data_at, TDM_E_FORMAT,
                "%s: zip: %.*s has %lld bytes at byte %lld, more than there are before the directory", path,
                shown, name, (long long)entry->bytes, (long long)*data_at);
    return TDM_OK;
}
