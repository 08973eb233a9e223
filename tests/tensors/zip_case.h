/* Makes zip archives in memory, as small as the format allows. */
#ifndef TESTS_ZIP_CASE_H
#define TESTS_ZIP_CASE_H

#include "tandem/base.h"

#include <string.h>

typedef struct zip_part {
    const char *name;
    const void *data;
    size_t bytes;
} zip_part;

static inline void zip_put(tdm_text *out, uint64_t number, size_t width)
{
    (void)!tdm_text_append(out, &number, width); /* little-endian */
}

static inline void zip_put_text(tdm_text *out, const char *text)
{
    (void)!tdm_text_append(out, text, strlen(text));
}

static inline void zip_put_local(tdm_text *out, const zip_part *part)
{
    zip_put_text(out, "PK\3\4");
    zip_put(out, 45, 2);
    zip_put(out, 0, 8); /* flags, method, time, date */
    zip_put(out, 0, 4); /* crc */
    zip_put(out, part->bytes, 4);
    zip_put(out, part->bytes, 4);
    zip_put(out, strlen(part->name), 2);
    zip_put(out, 0, 2);
    zip_put_text(out, part->name);
    (void)!tdm_text_append(out, part->data, part->bytes);
}

/* With is64 the size and the place stand in the 64-bit extra field. */
static inline void zip_put_central(tdm_text *out, const zip_part *part, uint64_t header_at, bool is64)
{
    zip_put_text(out, "PK\1\2");
    zip_put(out, 45, 2);
    zip_put(out, 45, 2);
    zip_put(out, 0, 8);
    zip_put(out, 0, 4);
    zip_put(out, is64 ? UINT32_MAX : part->bytes, 4);
    zip_put(out, is64 ? UINT32_MAX : part->bytes, 4);
    zip_put(out, strlen(part->name), 2);
    zip_put(out, is64 ? 28 : 0, 2);
    zip_put(out, 0, 4); /* comment, disk */
    zip_put(out, 0, 6); /* attributes */
    zip_put(out, is64 ? UINT32_MAX : header_at, 4);
    zip_put_text(out, part->name);
    if (!is64) return;
    zip_put(out, 1, 2);
    zip_put(out, 24, 2);
    zip_put(out, part->bytes, 8);
    zip_put(out, part->bytes, 8);
    zip_put(out, header_at, 8);
}

static inline void zip_put_end(tdm_text *out, uint64_t entries, uint64_t bytes, uint64_t at, bool is64)
{
    if (is64) {
        zip_put_text(out, "PK\6\6");
        zip_put(out, 44, 8);
        zip_put(out, 45, 2);
        zip_put(out, 45, 2);
        zip_put(out, 0, 8);
        zip_put(out, entries, 8);
        zip_put(out, entries, 8);
        zip_put(out, bytes, 8);
        zip_put(out, at, 8);
        zip_put_text(out, "PK\6\7");
        zip_put(out, 0, 4);
        zip_put(out, at + bytes, 8);
        zip_put(out, 1, 4);
    }
    zip_put_text(out, "PK\5\6");
    zip_put(out, 0, 4);
    zip_put(out, is64 ? UINT16_MAX : entries, 2);
    zip_put(out, is64 ? UINT16_MAX : entries, 2);
    zip_put(out, is64 ? UINT32_MAX : bytes, 4);
    zip_put(out, is64 ? UINT32_MAX : at, 4);
    zip_put(out, 0, 2);
}

/* Appends to out, which is empty; at most 16 parts. */
static inline void zip_make(tdm_text *out, const zip_part *part, size_t parts, bool is64)
{
    uint64_t header_at[16] = {0};
    for (size_t i = 0; i < parts; i++) {
        header_at[i] = out->length;
        zip_put_local(out, &part[i]);
    }
    const uint64_t at = out->length;
    for (size_t i = 0; i < parts; i++) zip_put_central(out, &part[i], header_at[i], is64);
    zip_put_end(out, parts, out->length - at, at, is64);
}

/* An archive as torch.save makes it, with storages 0 (16 bytes) and 1 (4 bytes): 0, 1, 2, … */
static inline void zip_make_torch(tdm_text *out, const void *pickle, size_t bytes)
{
    static const char numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const zip_part part[] = {{"archive/data.pkl", pickle, bytes},
                             {"archive/byteorder", "little", 6},
                             {"archive/data/0", numbers, 16},
                             {"archive/data/1", numbers, 4}};
    zip_make(out, part, sizeof part / sizeof part[0], false);
}

#endif
