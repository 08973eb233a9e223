/* BMP with every header from OS/2's to BITMAPV5HEADER, of rows or run lengths, as Pillow 13 reads it. Two of its habits
 * are left out, both on files that hardly exist: palettes of 2 or 16 grays whose pixels have another number of bits. */
#include "image_impl.h"

#include <string.h>

enum {
    FILE_HEADER = 14,
    CORE_HEADER = 12, /* OS/2's, and BITMAPCOREHEADER */
    INFO_HEADER = 40, /* its masks follow behind it */
    HEADER_MOST = 124,
    COLOURS_MOST = 256
};
enum { ROWS = 0, RLE8 = 1, RLE4 = 2, BITFIELDS = 3 }; /* compression */
enum { RED, GREEN, BLUE, ALPHA };                     /* of masks */

typedef struct bmp_file {
    const unsigned char *data;
    size_t bytes;
    uint32_t header, bits, compression; /* size of the header behind the file's; bits of a pixel */
    int64_t height, width;
    bool top_down;
    uint32_t mask[4];
    int64_t colours; /* that the palette should have */
    size_t palette;  /* where it stands, */
    size_t pixels;   /* and the pixels */
    uint8_t rgb[COLOURS_MOST][3];
} bmp_file;

static uint32_t little_endian(const unsigned char *p, int bytes)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint32_t)p[i] << (8 * i);
    return value;
}

bool image_is_bmp(const unsigned char *data, size_t bytes)
{
    if (bytes < FILE_HEADER + 4 || memcmp(data, "BM", 2)) return false;
    const uint32_t header = little_endian(data + FILE_HEADER, 4);
    return header >= CORE_HEADER && header <= HEADER_MOST && header % 4 == 0;
}

/* ---- headers ---- */

static bool is_known_header(uint32_t size)
{
    static const uint32_t known[] = {CORE_HEADER, INFO_HEADER, 52, 56, 64, 108, HEADER_MOST};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (size == known[i]) return true;
    return false;
}

static void read_core(bmp_file *bmp, const unsigned char *info)
{
    bmp->width = little_endian(info + 4, 2);
    bmp->height = little_endian(info + 6, 2);
    bmp->bits = little_endian(info + 10, 2);
}

/* Sizes are unsigned, so that a negative width is far too large. */
static void read_info(bmp_file *bmp, const unsigned char *info)
{
    const uint32_t height = little_endian(info + 8, 4);
    bmp->width = little_endian(info + 4, 4);
    bmp->top_down = height >> 24 == 0xff;
    bmp->height = bmp->top_down ? (INT64_C(1) << 32) - height : height;
    bmp->bits = little_endian(info + 14, 2);
    bmp->compression = little_endian(info + 16, 4);
    bmp->colours = little_endian(info + 32, 4);
}

static tdm_status read_masks(const char *name, bmp_file *bmp)
{
    enum { HAS_ALPHA = 56 };
    const size_t at = FILE_HEADER + INFO_HEADER, masks = bmp->header >= HAS_ALPHA ? 4 : 3;
    TDM_REQUIRE(bmp->bytes >= at + 4 * masks, TDM_E_DATA, "%s: image is truncated", name);
    for (size_t i = 0; i < masks; i++) bmp->mask[i] = little_endian(bmp->data + at + 4 * i, 4);
    if (bmp->header == INFO_HEADER) bmp->palette += 4 * masks;
    return TDM_OK;
}

static tdm_status read_head(const char *name, bmp_file *bmp)
{
    enum { OFFSET = 10 };
    const unsigned char *info = bmp->data + FILE_HEADER;
    TDM_REQUIRE(bmp->bytes >= FILE_HEADER + CORE_HEADER, TDM_E_DATA, "%s: image is truncated", name);
    bmp->header = little_endian(info, 4);
    TDM_REQUIRE(is_known_header(bmp->header), TDM_E_DATA, "%s: a BMP header of %u bytes is not supported",
                name, bmp->header);
    TDM_REQUIRE(bmp->bytes >= FILE_HEADER + bmp->header, TDM_E_DATA, "%s: image is truncated", name);
    if (bmp->header == CORE_HEADER)
        read_core(bmp, info);
    else
        read_info(bmp, info);
    bmp->palette = FILE_HEADER + bmp->header;
    if (bmp->compression == BITFIELDS) TDM_TRY(read_masks(name, bmp));
    bmp->pixels = little_endian(bmp->data + OFFSET, 4);
    return TDM_OK;
}

/* Colours that the palette lacks are black. It may stand where the pixels should, or the file not say where they are. */
static tdm_status read_palette(const char *name, bmp_file *bmp)
{
    const size_t stride = bmp->header == CORE_HEADER ? 3 : 4;
    if (bmp->colours == 0) bmp->colours = INT64_C(1) << bmp->bits;
    TDM_REQUIRE(bmp->colours <= COLOURS_MOST, TDM_E_DATA, "%s: corrupt image (a BMP palette of %lld colours)",
                name, (long long)bmp->colours);
    const size_t end = bmp->palette + stride * (size_t)bmp->colours;
    if (bmp->pixels == 0 || bmp->pixels == FILE_HEADER + bmp->header) bmp->pixels = end;
    TDM_REQUIRE(end <= bmp->bytes, TDM_E_DATA, "%s: image is truncated", name);
    for (int64_t i = 0; i < bmp->colours; i++) {
        const unsigned char *bgr = bmp->data + bmp->palette + stride * (size_t)i;
        for (int c = 0; c < 3; c++) bmp->rgb[i][c] = bgr[2 - c];
    }
    return TDM_OK;
}

/* The ramp of grays, or black and white, is no palette to Pillow. */
static bool is_gray_ramp(const bmp_file *bmp)
{
    for (int64_t i = 0; i < bmp->colours; i++) {
        const int64_t value = bmp->colours == 2 ? i * 255 : i;
        for (int c = 0; c < 3; c++)
            if (bmp->rgb[i][c] != value) return false;
    }
    return true;
}

tdm_status image_bmp_probe(const char *name, const unsigned char *data, size_t bytes, int64_t *height,
                           int64_t *width)
{
    bmp_file bmp = {.data = data, .bytes = bytes};
    TDM_TRY(read_head(name, &bmp));
    *height = bmp.height;
    *width = bmp.width;
    return TDM_OK;
}

/* ---- rows ---- */

/* Where row y of the image stands among the file's. */
static int64_t file_row(const bmp_file *bmp, int64_t y)
{
    return bmp->top_down ? y : bmp->height - 1 - y;
}

/* Rows are padded to four bytes; what is behind the last one's pixels may be missing. *stride: from row to row. */
static tdm_status find_rows(const char *name, const bmp_file *bmp, const unsigned char **rows, size_t *stride)
{
    const size_t bits = (size_t)bmp->width * bmp->bits;
    *stride = (bits + 31) / 32 * 4;
    const size_t need = *stride * (size_t)(bmp->height - 1) + (bits + 7) / 8;
    TDM_REQUIRE(bmp->pixels <= bmp->bytes && need <= bmp->bytes - bmp->pixels, TDM_E_DATA,
                "%s: image is truncated", name);
    *rows = bmp->data + bmp->pixels;
    return TDM_OK;
}

static void read_indices(const bmp_file *bmp, const unsigned char *rows, size_t stride, uint8_t *out)
{
    const int64_t bits = bmp->bits, per_byte = 8 / bits;
    for (int64_t y = 0; y < bmp->height; y++) {
        const unsigned char *row = rows + (size_t)file_row(bmp, y) * stride;
        for (int64_t x = 0; x < bmp->width; x++, out += 3) {
            const int64_t shift = 8 - bits * (x % per_byte + 1);
            memcpy(out, bmp->rgb[row[x / per_byte] >> shift & ((1 << bits) - 1)], 3);
        }
    }
}

/* ---- run lengths ---- */

typedef struct run_length {
    const unsigned char *data; /* of the file */
    size_t bytes, at;
    uint8_t *index;      /* [size], rows in the file's order */
    int64_t size, width; /* of the image in pixels; of a row */
    int64_t count;       /* how many there are already */
    int64_t x;
    bool four; /* bits of a pixel, else eight */
} run_length;

static void put(run_length *z, int64_t n, uint8_t index)
{
    n = tdm_min_i64(n, z->size - z->count);
    memset(z->index + z->count, index, (size_t)n);
    z->count += n;
}

static void put_run(run_length *z, int64_t n, uint8_t value)
{
    if (z->x + n > z->width) n = tdm_max_i64(0, z->width - z->x);
    z->x += n;
    if (!z->four) {
        put(z, n, value);
        return;
    }
    for (int64_t i = 0; i < n; i++) put(z, 1, i % 2 ? value & 15 : value >> 4);
}

/* n indices as they are; false: there are fewer. */
static bool copy(run_length *z, int64_t n)
{
    const int64_t fit = tdm_min_i64(n, z->size - z->count);
    const size_t bytes = (size_t)(z->four ? (fit + 1) / 2 : fit);
    if (bytes > z->bytes - z->at) return false;
    const unsigned char *from = z->data + z->at;
    for (int64_t i = 0; i < fit; i++)
        put(z, 1, !z->four ? from[i] : i % 2 ? from[i / 2] & 15 : from[i / 2] >> 4);
    z->at += bytes;
    z->x += n;
    if (z->at % 2) z->at++; /* of the file, as Pillow counts */
    return true;
}

/* What follows a zero. False: the image ends. */
static bool escape(run_length *z, unsigned char code)
{
    enum { END_OF_ROW = 0, END = 1, DELTA = 2 };
    switch (code) {
    case END_OF_ROW:
        if (z->count % z->width) put(z, z->width - z->count % z->width, 0);
        z->x = 0;
        return true;
    case END: return false;
    case DELTA:
        if (z->bytes - z->at < 2) return false;
        put(z, z->data[z->at] + z->data[z->at + 1] * z->width, 0);
        z->at += 2;
        z->x = z->count % z->width;
        return true;
    default: return copy(z, code);
    }
}

static tdm_status unpack(const char *name, const bmp_file *bmp, uint8_t *index)
{
    run_length z = {.data = bmp->data,
                    .bytes = bmp->bytes,
                    .at = bmp->pixels,
                    .index = index,
                    .size = bmp->height * bmp->width,
                    .width = bmp->width,
                    .four = bmp->compression == RLE4};
    while (z.count < z.size && z.at < z.bytes && z.bytes - z.at >= 2) {
        const unsigned char n = z.data[z.at], value = z.data[z.at + 1];
        z.at += 2;
        if (n > 0)
            put_run(&z, n, value);
        else if (!escape(&z, value))
            break;
    }
    TDM_REQUIRE(z.count == z.size, TDM_E_DATA, "%s: image is truncated (run lengths of %lld of %lld pixels)",
                name, (long long)z.count, (long long)z.size);
    return TDM_OK;
}

static tdm_status decode_run_lengths(const char *name, tdm_image_work *work, const bmp_file *bmp,
                                     uint8_t *out)
{
    uint8_t *index;
    TDM_TRY(IMAGE_TAKE(&work->packed, bmp->height * bmp->width, &index));
    TDM_TRY(unpack(name, bmp, index));
    for (int64_t y = 0; y < bmp->height; y++) {
        const uint8_t *row = index + file_row(bmp, y) * bmp->width;
        for (int64_t x = 0; x < bmp->width; x++, out += 3) memcpy(out, bmp->rgb[row[x]], 3);
    }
    return TDM_OK;
}

/* ---- colours ---- */

/* Two bytes to RGB: bits 5-5-5, or 5-6-5 when green has six. */
static void read_short(const unsigned char *from, bool six, uint8_t *out)
{
    const uint32_t pixel = little_endian(from, 2), red = pixel >> (six ? 11 : 10) & 31;
    const uint32_t green = pixel >> 5 & (six ? 63 : 31), blue = pixel & 31;
    out[RED] = (uint8_t)(red * 255 / 31);
    out[GREEN] = (uint8_t)(green * 255 / (six ? 63 : 31));
    out[BLUE] = (uint8_t)(blue * 255 / 31);
}

/* Which byte of a pixel a mask is, -1: none. */
static int byte_of(uint32_t mask)
{
    for (int i = 0; i < 4; i++)
        if (mask == UINT32_C(255) << (8 * i)) return i;
    return -1;
}

/* How pixels of 16, 24 and 32 bits hold their colours. */
typedef struct bmp_layout {
    bool six;     /* of 16 bits: 5-6-5, else 5-5-5 */
    int place[4]; /* else the byte of red, green, blue, alpha; alpha -1: none */
} bmp_layout;

static bool has_masks(const bmp_file *bmp, uint32_t red, uint32_t green, uint32_t blue)
{
    return bmp->mask[RED] == red && bmp->mask[GREEN] == green && bmp->mask[BLUE] == blue;
}

/* Without masks blue stands first. */
static bool find_layout(const bmp_file *bmp, bmp_layout *layout)
{
    *layout = (bmp_layout){.place = {2, 1, 0, -1}};
    if (bmp->compression != BITFIELDS) return true;
    if (bmp->bits == 16) {
        layout->six = has_masks(bmp, 0xf800, 0x7e0, 0x1f);
        return layout->six || has_masks(bmp, 0x7c00, 0x3e0, 0x1f);
    }
    if (bmp->bits == 32 && has_masks(bmp, 0, 0, 0) && !bmp->mask[ALPHA]) {
        layout->place[ALPHA] = 3;
        return true;
    }
    const int bytes = (int)bmp->bits / 8;
    const bool alpha = bmp->mask[ALPHA] && bytes == 4;
    for (int c = 0; c < (alpha ? 4 : 3); c++) {
        layout->place[c] = byte_of(bmp->mask[c]);
        if (layout->place[c] < 0 || layout->place[c] >= bytes) return false;
    }
    return true;
}

static void read_colours(const bmp_file *bmp, const bmp_layout *layout, const unsigned char *rows,
                         size_t stride, int channels, uint8_t *out)
{
    const size_t bytes = bmp->bits / 8;
    for (int64_t y = 0; y < bmp->height; y++) {
        const unsigned char *from = rows + (size_t)file_row(bmp, y) * stride;
        for (int64_t x = 0; x < bmp->width; x++, from += bytes, out += channels) {
            if (bytes == 2)
                read_short(from, layout->six, out);
            else
                for (int c = 0; c < channels; c++) out[c] = from[layout->place[c]];
        }
    }
}

/* ---- decoding ---- */

/* known_masks: find_layout knows them */
static tdm_status check_kind(const char *name, const bmp_file *bmp, bool known_masks)
{
    const uint32_t bits = bmp->bits;
    TDM_REQUIRE(bits == 1 || bits == 4 || bits == 8 || bits == 16 || bits == 24 || bits == 32, TDM_E_DATA,
                "%s: a BMP of %u bits a pixel is not supported", name, bits);
    const bool packed = bmp->compression == RLE8 || bmp->compression == RLE4;
    TDM_REQUIRE(bmp->compression <= BITFIELDS && !(packed && bits > 8) &&
                    !(bmp->compression == BITFIELDS && bits <= 8),
                TDM_E_DATA, "%s: BMP compression %u of %u bits a pixel is not supported", name,
                bmp->compression, bits);
    TDM_REQUIRE(bits <= 8 || known_masks, TDM_E_DATA, "%s: BMP masks %x, %x, %x, %x are not supported", name,
                bmp->mask[RED], bmp->mask[GREEN], bmp->mask[BLUE], bmp->mask[ALPHA]);
    return TDM_OK;
}

tdm_status image_bmp_decode(const char *name, tdm_image_work *work, const unsigned char *data, size_t bytes,
                            int *channels, bool *indexed)
{
    bmp_file bmp = {.data = data, .bytes = bytes};
    bmp_layout layout;
    const unsigned char *rows = NULL;
    size_t stride = 0;
    uint8_t *out;
    TDM_TRY(read_head(name, &bmp));
    const bool known_masks = find_layout(&bmp, &layout);
    TDM_TRY(check_kind(name, &bmp, known_masks));
    const bool coloured = bmp.bits > 8;
    if (!coloured) TDM_TRY(read_palette(name, &bmp));
    if (bmp.pixels == 0) bmp.pixels = bmp.palette;
    *channels = coloured && layout.place[ALPHA] >= 0 ? 4 : 3;
    *indexed = !coloured && (!is_gray_ramp(&bmp) || bmp.colours <= 2);
    TDM_TRY(IMAGE_TAKE(&work->decoded, bmp.height * bmp.width * *channels, &out));
    if (bmp.compression == RLE8 || bmp.compression == RLE4) return decode_run_lengths(name, work, &bmp, out);
    TDM_TRY(find_rows(name, &bmp, &rows, &stride));
    if (coloured)
        read_colours(&bmp, &layout, rows, stride, *channels, out);
    else
        read_indices(&bmp, rows, stride, out);
    return TDM_OK;
}
