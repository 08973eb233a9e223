/* The common PNGs, 8 bits a channel or a palette, not interlaced, unpacked by libdeflate. Everything else,
 * and whatever is wrong with a file, is left to stb_image. (W3C, Portable Network Graphics, second edition)
 */
#include "image_impl.h"

#include <libdeflate.h>
#include <string.h>

enum { GRAY = 0, RGB = 2, PALETTE = 3, GRAY_ALPHA = 4, RGBA = 6, COLOURS = 256 };

typedef struct png_file {
    int64_t height, width;
    int depth, colour;
    int channels;     /* of a pixel as it is stored */
    int64_t row;      /* bytes of a row without its filter */
    int colours;      /* of the palette */
    bool transparent; /* it has alpha */
    uint8_t rgba[COLOURS][4];
    const uint8_t *packed; /* image data, all pieces together */
    size_t packed_bytes;
} png_file;

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool read_head(png_file *png, const unsigned char *data, size_t bytes)
{
    enum { HEAD = 16 };
    static const int channels[] = {[GRAY] = 1, [RGB] = 3, [PALETTE] = 1, [GRAY_ALPHA] = 2, [RGBA] = 4};
    const unsigned char *head = data + HEAD;
    if (bytes < HEAD + 13 || big_endian(data + 8) != 13 || memcmp(data + 12, "IHDR", 4)) return false;
    png->depth = head[8];
    png->colour = head[9];
    if (big_endian(head) != png->width || big_endian(head + 4) != png->height || head[10] || head[11] ||
        head[12])
        return false; /* another size, unknown methods, interlaced */
    if (png->colour > RGBA || channels[png->colour] == 0) return false;
    const bool whole = png->depth == 8;
    const bool part = png->colour == PALETTE && (png->depth == 1 || png->depth == 2 || png->depth == 4);
    if (!whole && !part) return false;
    png->channels = channels[png->colour];
    png->row = (png->width * png->channels * png->depth + 7) / 8;
    return true;
}

static bool read_palette(png_file *png, const unsigned char *data, size_t length)
{
    if (png->colours || length == 0 || length % 3 || length > 3 * COLOURS) return false;
    png->colours = (int)(length / 3);
    for (int i = 0; i < COLOURS; i++) png->rgba[i][3] = 255;
    for (int i = 0; i < png->colours; i++) memcpy(png->rgba[i], data + 3 * i, 3);
    return true;
}

/* tRNS: of a palette; a colour that is transparent is stb's. */
static bool read_transparency(png_file *png, const unsigned char *data, size_t length)
{
    if (png->colour != PALETTE || png->transparent || length > (size_t)png->colours) return false;
    png->transparent = true;
    for (size_t i = 0; i < length; i++) png->rgba[i][3] = data[i];
    return true;
}

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

/* image_check_png has seen that every chunk up to IEND is there. */
static bool read_chunks(png_file *png, tdm_image_work *work, const unsigned char *data, size_t bytes)
{
    enum { FIRST = 33, AROUND = 12 }; /* after IHDR; length, type and checksum */
    for (size_t at = FIRST; bytes - at >= AROUND;) {
        const size_t length = big_endian(data + at);
        const unsigned char *type = data + at + 4, *content = type + 4;
        if (length > bytes - at - AROUND) return false;
        bool good = true;
        if (!memcmp(type, "IDAT", 4))
            good = add_data(png, work, content, length, bytes);
        else if (!memcmp(type, "IEND", 4))
            return png->packed_bytes > 0 && (png->colour != PALETTE || png->colours > 0);
        else if (png->packed_bytes == 0 && !memcmp(type, "PLTE", 4))
            good = read_palette(png, content, length);
        else if (!memcmp(type, "tRNS", 4))
            good = png->packed_bytes == 0 && read_transparency(png, content, length);
        if (!good) return false;
        at += length + AROUND;
    }
    return false;
}

/* Adler-32 of what was unpacked, big-endian behind what was packed. */
static bool sum_matches(const uint8_t *rows, size_t bytes, const uint8_t *sum, size_t left)
{
    return left >= 4 && libdeflate_adler32(1, rows, bytes) == big_endian(sum);
}

/* png->packed -> rows with their filters, exactly as many as there must be. (Mostly the chunks' checksums were compared,
 * and there is no need for another.) */
static bool inflate(const png_file *png, tdm_image_work *work, bool compare_sum, uint8_t *rows)
{
    enum { HEAD = 2, DEFLATE = 8, DICTIONARY = 0x20 };
    const uint8_t *zlib = png->packed;
    const size_t want = (size_t)(png->height * (png->row + 1));
    size_t used, made;
    if (png->packed_bytes < HEAD || (zlib[0] * 256 + zlib[1]) % 31 || (zlib[0] & 15) != DEFLATE ||
        (zlib[1] & DICTIONARY))
        return false;
    if (!work->inflater) work->inflater = libdeflate_alloc_decompressor();
    if (!work->inflater ||
        libdeflate_deflate_decompress_ex(work->inflater, zlib + HEAD, png->packed_bytes - HEAD, rows, want,
                                         &used, &made) != LIBDEFLATE_SUCCESS)
        return false;
    return made == want &&
           (!compare_sum || sum_matches(rows, want, zlib + HEAD + used, png->packed_bytes - HEAD - used));
}

/* ---- filters ---- section 9; `above` is the row above, `step` the bytes from a pixel to the next */

static inline int distance(int a, int b)
{
    return a > b ? a - b : b - a;
}

static inline void undo_paeth(const uint8_t *in, const uint8_t *above, int64_t n, int step, uint8_t *out)
{
    int left[4] = {0}, corner[4] = {0};
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
    int left[4] = {0};
    for (int64_t i = 0; i < n; i += step)
        for (int k = 0; k < step; k++) {
            left[k] = (in[i + k] + (left[k] + above[i + k]) / 2) & 255;
            out[i + k] = (uint8_t)left[k];
        }
}

static inline void undo_left(const uint8_t *in, int64_t n, int step, uint8_t *out)
{
    int left[4] = {0};
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

/* rows[height][1 + row] -> out[height][row] */
static bool undo_filters(const png_file *png, const uint8_t *rows, const uint8_t *zeros, uint8_t *out)
{
    const int64_t n = png->row;
    bool good = true;
    for (int64_t y = 0; y < png->height && good; y++, rows += n + 1) {
        const uint8_t *above = y ? out + (y - 1) * n : zeros;
        switch (png->channels) { /* a constant, for the compiler */
        case 1: good = undo_filter(rows[0], rows + 1, above, n, 1, out + y * n); break;
        case 2: good = undo_filter(rows[0], rows + 1, above, n, 2, out + y * n); break;
        case 3: good = undo_filter(rows[0], rows + 1, above, n, 3, out + y * n); break;
        default: good = undo_filter(rows[0], rows + 1, above, n, 4, out + y * n); break;
        }
    }
    return good;
}

/* index[height][row] -> out[height][width][channels] */
/* Colours that the palette lacks are black, as in Pillow. */
static void look_up(const png_file *png, const uint8_t *index, int channels, uint8_t *out)
{
    const int mask = (1 << png->depth) - 1;
    for (int64_t y = 0; y < png->height; y++, index += png->row)
        for (int64_t x = 0; x < png->width; x++, out += channels) {
            const int64_t bit = x * png->depth;
            const int entry = index[bit / 8] >> (8 - png->depth - bit % 8) & mask;
            memcpy(out, png->rgba[entry], (size_t)channels);
        }
}

bool image_png_decode(tdm_image_work *work, const unsigned char *data, size_t bytes, int64_t height,
                      int64_t width, bool doubtful, int *channels)
{
    png_file png = {.height = height, .width = width};
    uint8_t *rows, *out, *index;
    if (!read_head(&png, data, bytes) || !read_chunks(&png, work, data, bytes)) return false;
    const int64_t row_bytes = png.height * (png.row + 1), pixel_bytes = png.height * png.row;
    if (IMAGE_TAKE(&work->unpacked, row_bytes + png.row, &rows) != TDM_OK ||
        !inflate(&png, work, doubtful, rows))
        return false;
    uint8_t *zeros = rows + row_bytes;
    memset(zeros, 0, (size_t)png.row);
    if (png.colour != PALETTE) {
        *channels = png.channels;
        return IMAGE_TAKE(&work->decoded, pixel_bytes, &out) == TDM_OK &&
               undo_filters(&png, rows, zeros, out);
    }
    *channels = png.transparent ? 4 : 3;
    if (IMAGE_TAKE(&work->packed, pixel_bytes, &index) != TDM_OK || !undo_filters(&png, rows, zeros, index) ||
        IMAGE_TAKE(&work->decoded, height * width * *channels, &out) != TDM_OK)
        return false;
    look_up(&png, index, *channels, out);
    return true;
}
