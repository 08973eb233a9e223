/* PNG of every depth, interlaced or not, unpacked by libdeflate. (W3C, Portable Network Graphics, second edition)
 * The first picture of an APNG is that of a PNG. */
#include "image_impl.h"

#include <libdeflate.h>
#include <string.h>
#include <zlib.h>

enum { GRAY = 0, RGB = 2, PALETTE = 3, GRAY_ALPHA = 4, RGBA = 6, COLOURS = 256 };
enum {
    SIGNATURE = 8,
    AROUND = 12
}; /* bytes before the first chunk; of a chunk's length, type and checksum */

typedef struct png_file {
    int64_t height, width;
    int depth, colour;
    bool interlaced;
    int samples; /* of a pixel as it is stored */
    int colours; /* of the palette */
    uint8_t rgba[COLOURS][4];
    bool keyed;            /* tRNS: alpha of the palette, or one gray or colour that is transparent */
    uint32_t key[3];       /* the latter */
    const uint8_t *packed; /* image data, all pieces together; NULL: none yet */
    size_t packed_bytes;
    bool doubtful; /* a checksum of their chunks is wrong, or the file ends in them */
    bool ended;    /* by IEND */
} png_file;

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

bool image_is_png(const unsigned char *data, size_t bytes)
{
    static const unsigned char signature[SIGNATURE] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    return bytes >= sizeof(signature) && !memcmp(data, signature, sizeof(signature));
}

/* ---- chunks ---- */

typedef struct png_chunk {
    const unsigned char *type; /* its checksum goes from here to the end of its content */
    const unsigned char *content;
    size_t length;
    bool whole; /* else the file ends in it */
} png_chunk;

static bool is_type(const png_chunk *chunk, const char *type)
{
    return !memcmp(chunk->type, type, 4);
}

/* Four letters; the case of the first says whether a reader may ignore what it does not know. */
static bool is_chunk_type(const unsigned char *type)
{
    for (int i = 0; i < 4; i++) {
        const unsigned char letter = type[i] | 0x20;
        if (letter < 'a' || letter > 'z') return false;
    }
    return true;
}

/* The chunk at byte *at, and *at behind it. False: there is none. */
static bool take_chunk(const unsigned char *data, size_t bytes, size_t *at, png_chunk *chunk)
{
    enum { HEAD = 8 };
    if (*at >= bytes || bytes - *at < HEAD) return false;
    const size_t left = bytes - *at;
    chunk->type = data + *at + 4;
    chunk->content = data + *at + HEAD;
    chunk->length = big_endian(data + *at);
    chunk->whole = left >= AROUND && chunk->length <= left - AROUND;
    if (chunk->length > left - HEAD) chunk->length = left - HEAD;
    *at = chunk->whole ? *at + chunk->length + AROUND : bytes;
    return is_chunk_type(chunk->type);
}

static bool sum_matches(const png_chunk *chunk)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    (void)chunk;
    return true; /* else hardly any mutated file would come farther */
#else
    return libdeflate_crc32(0, chunk->type, chunk->length + 4) == big_endian(chunk->content + chunk->length);
#endif
}

/* ---- the header ---- */

static int count_samples(int colour)
{
    static const int samples[] = {[GRAY] = 1, [RGB] = 3, [PALETTE] = 1, [GRAY_ALPHA] = 2, [RGBA] = 4};
    return colour <= RGBA ? samples[colour] : 0;
}

static bool has_depth(int colour, int depth)
{
    if (depth == 8) return true;
    if (depth == 16) return colour != PALETTE;
    return (colour == GRAY || colour == PALETTE) && (depth == 1 || depth == 2 || depth == 4);
}

static tdm_status read_head(const char *name, png_file *png, const unsigned char *data, size_t bytes)
{
    enum { LENGTH = 13, DEPTH = 8, COLOUR, METHOD, FILTER, INTERLACE };
    size_t at = SIGNATURE;
    png_chunk chunk = {0};
    TDM_REQUIRE(bytes >= SIGNATURE + LENGTH + AROUND, TDM_E_DATA, "%s: image is truncated", name);
    const bool any = take_chunk(data, bytes, &at, &chunk);
    TDM_REQUIRE(!any || !is_type(&chunk, "CgBI"), TDM_E_DATA,
                "%s: is a PNG in iPhone's own format, which is not decoded; convert it", name);
    TDM_REQUIRE(any && is_type(&chunk, "IHDR") && chunk.length == LENGTH && chunk.whole, TDM_E_DATA,
                "%s: corrupt image (it begins with another chunk than IHDR)", name);
    const unsigned char *head = chunk.content;
    png->width = big_endian(head);
    png->height = big_endian(head + 4);
    png->depth = head[DEPTH];
    png->colour = head[COLOUR];
    png->samples = count_samples(png->colour);
    png->interlaced = head[INTERLACE] != 0;
    TDM_TRY(image_check_size(name, png->height, png->width));
    TDM_REQUIRE(sum_matches(&chunk), TDM_E_DATA, "%s: corrupt image (checksum of PNG chunk IHDR)", name);
    TDM_REQUIRE(png->samples && has_depth(png->colour, png->depth), TDM_E_DATA,
                "%s: corrupt image (PNG of colour type %d with %d bits)", name, png->colour, png->depth);
    TDM_REQUIRE(head[METHOD] == 0 && head[FILTER] == 0 && head[INTERLACE] <= 1, TDM_E_DATA,
                "%s: unsupported PNG (methods %d, %d, %d)", name, head[METHOD], head[FILTER],
                head[INTERLACE]);
    return TDM_OK;
}

tdm_status image_png_probe(const char *name, const unsigned char *data, size_t bytes, int64_t *height,
                           int64_t *width)
{
    png_file png = {0};
    TDM_TRY(read_head(name, &png, data, bytes));
    *height = png.height;
    *width = png.width;
    return TDM_OK;
}

/* ---- palette, transparency, data ---- */

/* The alpha of a palette may be known before its colours. */
static void read_palette(png_file *png, const png_chunk *chunk)
{
    png->colours = (int)tdm_min_i64((int64_t)chunk->length / 3, COLOURS);
    for (int i = 0; i < png->colours; i++) memcpy(png->rgba[i], chunk->content + 3 * i, 3);
}

static tdm_status read_transparency(const char *name, png_file *png, const png_chunk *chunk)
{
    if (png->colour == PALETTE) {
        png->keyed = true;
        for (size_t i = 0; i < chunk->length && i < COLOURS; i++) png->rgba[i][3] = chunk->content[i];
    } else if (png->colour == GRAY || png->colour == RGB) {
        TDM_REQUIRE(chunk->length >= 2 * (size_t)png->samples, TDM_E_DATA,
                    "%s: corrupt image (length of PNG chunk tRNS)", name);
        png->keyed = true;
        for (int i = 0; i < png->samples; i++)
            png->key[i] = (uint32_t)chunk->content[2 * i] << 8 | chunk->content[2 * i + 1];
    }
    return TDM_OK;
}

/* False: not enough memory. */
static bool add_data(png_file *png, tdm_image_work *work, const unsigned char *data, size_t length,
                     size_t most)
{
    uint8_t *joined = work->packed.data;
    if (png->packed_bytes == 0) { /* mostly the only piece */
        png->packed = data;
        png->packed_bytes = length;
        return true;
    }
    if (png->packed != joined) {
        if (IMAGE_TAKE(&work->packed, most, &joined) != TDM_OK) return false;
        memcpy(joined, png->packed, png->packed_bytes);
        png->packed = joined;
    }
    memcpy(joined + png->packed_bytes, data, length);
    png->packed_bytes += length;
    return true;
}

/* Damage in what does not change pixels is ignored. That of image data is left to the checksum of their own. */
static tdm_status check_chunk(const char *name, png_file *png, const png_chunk *chunk)
{
    const bool data = is_type(chunk, "IDAT");
    TDM_REQUIRE(chunk->whole || png->packed || data, TDM_E_DATA, "%s: image is truncated", name);
    if (data && (!chunk->whole || !sum_matches(chunk))) png->doubtful = true;
    const bool matters = !data && chunk->whole && (!(chunk->type[0] & 0x20) || is_type(chunk, "tRNS")) &&
                         !is_type(chunk, "IEND");
    TDM_REQUIRE(!matters || sum_matches(chunk), TDM_E_DATA, "%s: corrupt image (checksum of PNG chunk %.4s)",
                name, (const char *)chunk->type);
    return TDM_OK;
}

/* A file that ends behind its data, or in them, without IEND, may hold all pixels. */
static tdm_status read_chunks(const char *name, png_file *png, tdm_image_work *work,
                              const unsigned char *data, size_t bytes)
{
    size_t at = SIGNATURE, begin = at;
    png_chunk chunk;
    for (int i = 0; i < COLOURS; i++) png->rgba[i][3] = 255;
    while (begin = at, take_chunk(data, bytes, &at, &chunk) && !is_type(&chunk, "IEND")) {
        TDM_TRY(check_chunk(name, png, &chunk));
        if (is_type(&chunk, "IDAT"))
            TDM_REQUIRE(add_data(png, work, chunk.content, chunk.length, bytes), TDM_E_NOMEM,
                        "%s: not enough memory to decode it", name);
        else if (!png->packed && is_type(&chunk, "PLTE"))
            read_palette(png, &chunk);
        else if (!png->packed && is_type(&chunk, "tRNS"))
            TDM_TRY(read_transparency(name, png, &chunk));
    }
    png->ended = bytes - begin >= 8 && is_type(&chunk, "IEND");
    TDM_REQUIRE(png->ended || png->packed || bytes - begin < 8, TDM_E_DATA,
                "%s: corrupt image (no PNG chunk at byte %zu)", name, begin);
    TDM_REQUIRE(png->packed || png->ended, TDM_E_DATA, "%s: image is truncated", name);
    TDM_REQUIRE(png->packed, TDM_E_DATA, "%s: corrupt image (a PNG without image data)", name);
    TDM_REQUIRE(png->colour != PALETTE || png->colours > 0, TDM_E_DATA,
                "%s: corrupt image (a PNG without its palette)", name);
    return TDM_OK;
}

/* ---- unpacking ---- */

/* Adler-32 of what was unpacked, big-endian behind what was packed. */
static bool own_sum_matches(const uint8_t *rows, size_t bytes, const uint8_t *sum, size_t left)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    (void)rows;
    (void)bytes;
    (void)sum;
    return left > 0;
#else
    return left >= 4 && libdeflate_adler32(1, rows, bytes) == big_endian(sum);
#endif
}

/* Data that go on behind the last pixel: libdeflate wants to know how much there is. */
static bool inflate_begin(const png_file *png, uint8_t *rows, size_t want)
{
    z_stream z = {
        .next_in = (Bytef *)(uintptr_t)png->packed, .avail_in = (uInt)png->packed_bytes, .next_out = rows};
    if (want > UINT32_MAX || inflateInit(&z) != Z_OK) return false;
    z.avail_out = (uInt)want;
    const int code = inflate(&z, Z_SYNC_FLUSH);
    const bool whole = z.total_out == want && (code == Z_OK || code == Z_STREAM_END);
    inflateEnd(&z);
    return whole;
}

/* png->packed -> rows[want]. The data's own checksum decides, whatever those of the chunks are. */
static tdm_status unpack(const char *name, const png_file *png, tdm_image_work *work, uint8_t *rows,
                         size_t want)
{
    enum { HEAD = 2, DEFLATE = 8, DICTIONARY = 0x20 };
    const uint8_t *zlib = png->packed;
    const size_t bytes = png->packed_bytes;
    size_t used = 0, made = 0;
    if (!work->inflater) work->inflater = libdeflate_alloc_decompressor();
    TDM_REQUIRE(work->inflater, TDM_E_NOMEM, "%s: not enough memory to decode it", name);
    const bool known = bytes >= HEAD && (zlib[0] * 256 + zlib[1]) % 31 == 0 && (zlib[0] & 15) == DEFLATE &&
                       !(zlib[1] & DICTIONARY);
    const enum libdeflate_result result =
        known ? libdeflate_deflate_decompress_ex(work->inflater, zlib + HEAD, bytes - HEAD, rows, want, &used,
                                                 &made)
              : LIBDEFLATE_BAD_DATA;
    bool good = result == LIBDEFLATE_SUCCESS && made == want &&
                own_sum_matches(rows, want, zlib + HEAD + used, bytes - HEAD - used);
    if (result == LIBDEFLATE_INSUFFICIENT_SPACE && !png->doubtful) good = inflate_begin(png, rows, want);
    TDM_REQUIRE(good || png->ended, TDM_E_DATA, "%s: image is truncated", name);
    TDM_REQUIRE(good || !png->doubtful, TDM_E_DATA, "%s: corrupt image (checksum of PNG chunk IDAT)", name);
    TDM_REQUIRE(good || made == want, TDM_E_DATA, "%s: corrupt image (PNG data of %zu bytes, not %zu)", name,
                made, want);
    TDM_REQUIRE(good, TDM_E_DATA, "%s: corrupt image (checksum within PNG chunk IDAT)", name);
    return TDM_OK;
}

/* ---- filters ---- section 9; `above` is the row above, `step` the bytes from a pixel to the next */

enum { STEP_MOST = 8 };

static inline int distance(int a, int b)
{
    return a > b ? a - b : b - a;
}

static inline void undo_paeth(const uint8_t *in, const uint8_t *above, int64_t n, int step, uint8_t *out)
{
    int left[STEP_MOST] = {0}, corner[STEP_MOST] = {0};
    for (int64_t i = 0; i < n; i += step)
        for (int k = 0; k < step; k++) {
            const int a = left[k], b = above[i + k], c = corner[k];
            const int pa = distance(b, c), pb = distance(a, c), pc = distance(a + b, 2 * c);
            int best = pb <= pc ? b : c;
            best = pa <= pb && pa <= pc ? a : best;
            left[k] = (in[i + k] + best) & 255;
            out[i + k] = (uint8_t)left[k];
            corner[k] = b;
        }
}

static inline void undo_average(const uint8_t *in, const uint8_t *above, int64_t n, int step, uint8_t *out)
{
    int left[STEP_MOST] = {0};
    for (int64_t i = 0; i < n; i += step)
        for (int k = 0; k < step; k++) {
            left[k] = (in[i + k] + (left[k] + above[i + k]) / 2) & 255;
            out[i + k] = (uint8_t)left[k];
        }
}

static inline void undo_left(const uint8_t *in, int64_t n, int step, uint8_t *out)
{
    int left[STEP_MOST] = {0};
    for (int64_t i = 0; i < n; i += step)
        for (int k = 0; k < step; k++) {
            left[k] = (in[i + k] + left[k]) & 255;
            out[i + k] = (uint8_t)left[k];
        }
}

static inline bool undo_filter(int filter, const uint8_t *in, const uint8_t *above, int64_t n, int step,
                               uint8_t *restrict out)
{
    switch (filter) {
    case 0: memcpy(out, in, (size_t)n); return true;
    case 1: undo_left(in, n, step, out); return true;
    case 2:
        for (int64_t i = 0; i < n; i++) out[i] = (uint8_t)(in[i] + above[i]);
        return true;
    case 3: undo_average(in, above, n, step, out); return true;
    case 4: undo_paeth(in, above, n, step, out); return true;
    default: return false;
    }
}

/* An image, or a pass of it: rows[height][1 + row] -> out[height][row] */
static tdm_status undo_filters(const char *name, const uint8_t *rows, int64_t height, int64_t row, int step,
                               const uint8_t *zeros, uint8_t *out)
{
    bool good = true;
    for (int64_t y = 0; y < height && good; y++, rows += row + 1, out += row) {
        const uint8_t *above = y ? out - row : zeros;
        switch (step) { /* a constant, for the compiler */
        case 1: good = undo_filter(rows[0], rows + 1, above, row, 1, out); break;
        case 2: good = undo_filter(rows[0], rows + 1, above, row, 2, out); break;
        case 3: good = undo_filter(rows[0], rows + 1, above, row, 3, out); break;
        case 4: good = undo_filter(rows[0], rows + 1, above, row, 4, out); break;
        case 6: good = undo_filter(rows[0], rows + 1, above, row, 6, out); break;
        default: good = undo_filter(rows[0], rows + 1, above, row, 8, out); break;
        }
    }
    TDM_REQUIRE(good, TDM_E_DATA, "%s: corrupt image (PNG filter)", name);
    return TDM_OK;
}

/* ---- interlacing ---- section 8: seven passes, each a smaller image */

typedef struct png_pass {
    int64_t top, left, down, right; /* its first pixel, and steps from one to the next */
} png_pass;
enum { PASSES = 7 };
static const png_pass PASS[PASSES] = {{0, 0, 8, 8}, {0, 4, 8, 8}, {4, 0, 8, 4}, {0, 2, 4, 4},
                                      {2, 0, 4, 2}, {0, 1, 2, 2}, {1, 0, 2, 1}};

static int64_t row_bytes(const png_file *png, int64_t width)
{
    return (width * png->samples * png->depth + 7) / 8;
}

/* Rows and columns of a pass; 0 of either: it is left out. */
static void pass_size(const png_file *png, const png_pass *pass, int64_t *height, int64_t *width)
{
    *height = (png->height - pass->top + pass->down - 1) / pass->down;
    *width = (png->width - pass->left + pass->right - 1) / pass->right;
    if (*width == 0) *height = 0;
}

/* Bytes of the unpacked data. */
static int64_t data_bytes(const png_file *png)
{
    int64_t height, width, bytes = 0;
    if (!png->interlaced) return png->height * (row_bytes(png, png->width) + 1);
    for (int p = 0; p < PASSES; p++) {
        pass_size(png, &PASS[p], &height, &width);
        bytes += height * (row_bytes(png, width) + 1);
    }
    return bytes;
}

/* One row of a pass to its places in a row of the image. bits: of a pixel */
static void scatter(const uint8_t *from, int64_t width, const png_pass *pass, int bits, uint8_t *row)
{
    const int64_t bytes = bits / 8;
    for (int64_t i = 0; i < width; i++) {
        const int64_t x = pass->left + i * pass->right;
        if (bytes > 0) {
            memcpy(row + x * bytes, from + i * bytes, (size_t)bytes);
            continue;
        }
        const int64_t bit = i * bits, to = x * bits;
        const int value = from[bit / 8] >> (8 - bits - bit % 8) & ((1 << bits) - 1);
        row[to / 8] |= (uint8_t)(value << (8 - bits - to % 8));
    }
}

/* rows -> out[height][row]; work->converted holds a pass. */
static tdm_status undo_interlacing(const char *name, const png_file *png, tdm_image_work *work,
                                   const uint8_t *rows, const uint8_t *zeros, uint8_t *out)
{
    const int bits = png->samples * png->depth;
    const int64_t stride = row_bytes(png, png->width);
    memset(out, 0, (size_t)(png->height * stride));
    for (int p = 0; p < PASSES; p++) {
        int64_t height, width;
        uint8_t *part;
        pass_size(png, &PASS[p], &height, &width);
        const int64_t row = row_bytes(png, width);
        TDM_TRY(IMAGE_TAKE(&work->converted, height * row, &part));
        TDM_TRY(undo_filters(name, rows, height, row, bits < 8 ? 1 : bits / 8, zeros, part));
        for (int64_t y = 0; y < height; y++)
            scatter(part + y * row, width, &PASS[p], bits, out + (PASS[p].top + y * PASS[p].down) * stride);
        rows += height * (row + 1);
    }
    return TDM_OK;
}

/* ---- pixels ---- from stored[height][row] */

/* Colours that the palette lacks are black, as in Pillow. */
static void look_up(const png_file *png, const uint8_t *stored, int channels, uint8_t *out)
{
    const int mask = (1 << png->depth) - 1;
    const int64_t row = row_bytes(png, png->width);
    for (int64_t y = 0; y < png->height; y++, stored += row)
        for (int64_t x = 0; x < png->width; x++, out += channels) {
            const int64_t bit = x * png->depth;
            const int entry = stored[bit / 8] >> (8 - png->depth - bit % 8) & mask;
            memcpy(out, png->rgba[entry], (size_t)channels);
        }
}

static uint32_t sample_at(const uint8_t *row, int64_t i, int depth)
{
    if (depth == 8) return row[i];
    if (depth == 16) return (uint32_t)row[2 * i] << 8 | row[2 * i + 1];
    return row[i * depth / 8] >> (8 - depth - i * depth % 8) & ((1u << depth) - 1);
}

/* Samples to 8 bits, of 16 the higher ones, and alpha where a key makes it. */
static void expand(const png_file *png, const uint8_t *stored, uint8_t *out)
{
    const int n = png->samples, depth = png->depth;
    const uint32_t most = (1u << depth) - 1;
    const int64_t row = row_bytes(png, png->width);
    for (int64_t y = 0; y < png->height; y++, stored += row)
        for (int64_t x = 0; x < png->width; x++) {
            bool is_key = png->keyed;
            for (int c = 0; c < n; c++) {
                const uint32_t value = sample_at(stored, x * n + c, depth);
                if (png->keyed && value != png->key[c]) is_key = false;
                *out++ = (uint8_t)(depth == 16 ? value >> 8 : value * 255 / most);
            }
            if (png->keyed) *out++ = is_key ? 0 : 255;
        }
}

static void read_deep(const png_file *png, const uint8_t *stored, uint16_t *out)
{
    for (int64_t i = 0; i < png->height * png->width; i++) out[i] = (uint16_t)sample_at(stored, i, 16);
}

/* What the pixels are, before transparency counts. */
static void tell_traits(const png_file *png, bool drop_alpha, image_traits *traits)
{
    traits->indexed = png->colour == PALETTE || (png->colour == GRAY && png->depth == 1);
    traits->deep = png->colour == GRAY && png->depth == 16 && (drop_alpha || !png->keyed);
    traits->alpha = png->colour == GRAY_ALPHA || png->colour == RGBA;
    traits->keyed = png->keyed;
    if (traits->deep)
        traits->channels = 1;
    else if (png->colour == PALETTE)
        traits->channels = png->keyed ? 4 : 3;
    else
        traits->channels = png->samples + png->keyed;
}

static tdm_status make_pixels(const png_file *png, tdm_image_work *work, const image_traits *traits,
                              const uint8_t *stored)
{
    uint8_t *out;
    const int64_t sample = traits->deep ? 2 : 1;
    TDM_TRY(IMAGE_TAKE(&work->decoded, png->height * png->width * traits->channels * sample, &out));
    if (traits->deep)
        read_deep(png, stored, (uint16_t *)(void *)out);
    else if (png->colour == PALETTE)
        look_up(png, stored, traits->channels, out);
    else
        expand(png, stored, out);
    return TDM_OK;
}

/* Common files: 8 bits, as they are. */
static bool is_plain(const png_file *png)
{
    return png->depth == 8 && png->colour != PALETTE && !png->keyed;
}

tdm_status image_png_decode(const char *name, tdm_image_work *work, const unsigned char *data, size_t bytes,
                            bool drop_alpha, image_traits *traits)
{
    png_file png = {0};
    uint8_t *rows, *stored;
    TDM_TRY(read_head(name, &png, data, bytes));
    TDM_TRY(read_chunks(name, &png, work, data, bytes));
    tell_traits(&png, drop_alpha, traits);
    const int64_t row = row_bytes(&png, png.width), want = data_bytes(&png);
    TDM_TRY(IMAGE_TAKE(&work->unpacked, want + row, &rows));
    TDM_TRY(unpack(name, &png, work, rows, (size_t)want));
    uint8_t *zeros = rows + want;
    memset(zeros, 0, (size_t)row);
    TDM_TRY(IMAGE_TAKE(is_plain(&png) ? &work->decoded : &work->packed, png.height * row, &stored));
    if (png.interlaced)
        TDM_TRY(undo_interlacing(name, &png, work, rows, zeros, stored));
    else
        TDM_TRY(undo_filters(name, rows, png.height, row, (int)tdm_max_i64(1, png.samples * png.depth / 8),
                             zeros, stored));
    return is_plain(&png) ? TDM_OK : make_pixels(&png, work, traits, stored);
}
