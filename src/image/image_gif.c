/* The first frame of a GIF (CompuServe, Graphics Interchange Format, version 89a): colours and transparency
 * as Pillow sees them. Pixels outside the frame have the transparent index, or index 0. */
#include "image_impl.h"

#include <stdlib.h>
#include <string.h>

enum { CODES = 4096, CODE_BITS_MAX = 12, HEAD_BYTES = 13, FRAME_BYTES = 9 };

typedef struct gif_file {
    const unsigned char *data;
    size_t bytes, at;
    int64_t height, width; /* of the canvas, which holds the frame */
    int64_t top, left, frame_height, frame_width;
    bool interlaced;
    int transparent; /* index, -1: none */
    uint8_t palette[256][3];
    int colours; /* of the palette */
    int code_bits;
} gif_file;

bool image_is_gif(const unsigned char *data, size_t bytes)
{
    return bytes >= 6 && (!memcmp(data, "GIF87a", 6) || !memcmp(data, "GIF89a", 6));
}

/* The next n bytes, NULL: there are fewer. */
static const unsigned char *take(gif_file *g, size_t n)
{
    if (n > g->bytes - g->at) return NULL;
    g->at += n;
    return g->data + g->at - n;
}

static int64_t little_endian(const unsigned char *p)
{
    return p[0] | p[1] << 8;
}

/* A colour table of 2^(n+1) entries, n the flags' lowest bits. */
static bool take_palette(gif_file *g, int flags)
{
    const size_t bytes = (size_t)3 << ((flags & 7) + 1);
    const unsigned char *colours = take(g, bytes);
    if (!colours) return false;
    memset(g->palette, 0, sizeof g->palette);
    memcpy(g->palette, colours, bytes);
    g->colours = (int)(bytes / 3);
    return true;
}

/* Blocks up to the one of length 0; *first: the first, or NULL. */
static bool skip_blocks(gif_file *g, const unsigned char **first, size_t *first_bytes)
{
    *first = NULL;
    for (;;) {
        const unsigned char *length = take(g, 1);
        if (!length) return false;
        if (*length == 0) return true;
        const unsigned char *block = take(g, *length);
        if (!block) return false;
        if (*first) continue;
        *first = block;
        *first_bytes = *length;
    }
}

static bool take_extension(gif_file *g)
{
    enum { GRAPHIC_CONTROL = 0xF9 };
    const unsigned char *label = take(g, 1), *block;
    size_t bytes = 0;
    if (!label || !skip_blocks(g, &block, &bytes)) return false;
    if (*label == GRAPHIC_CONTROL && block && bytes >= 4 && (block[0] & 1)) g->transparent = block[3];
    return true;
}

static bool take_frame(gif_file *g)
{
    const unsigned char *head = take(g, FRAME_BYTES);
    if (!head) return false;
    g->left = little_endian(head);
    g->top = little_endian(head + 2);
    g->frame_width = little_endian(head + 4);
    g->frame_height = little_endian(head + 6);
    g->interlaced = head[8] & 0x40;
    if ((head[8] & 0x80) && !take_palette(g, head[8])) return false;
    g->width = tdm_max_i64(g->width, g->left + g->frame_width);
    g->height = tdm_max_i64(g->height, g->top + g->frame_height);
    const unsigned char *bits = take(g, 1);
    g->code_bits = bits ? *bits : 0;
    return bits != NULL;
}

/* Everything up to the first frame's pixels. */
static bool read_head(gif_file *g)
{
    const unsigned char *head = take(g, HEAD_BYTES);
    if (!head) return false;
    g->width = little_endian(head + 6);
    g->height = little_endian(head + 8);
    g->transparent = -1;
    g->colours = 256;
    for (int i = 0; i < 256; i++) memset(g->palette[i], i, 3);
    if ((head[10] & 0x80) && !take_palette(g, head[10])) return false;
    for (;;) {
        const unsigned char *kind = take(g, 1);
        if (!kind) return false;
        if (*kind == ',') return take_frame(g);
        if (*kind == '!' && !take_extension(g)) return false;
        if (*kind == ';') return false;
    }
}

tdm_status image_gif_probe(const char *name, const unsigned char *data, size_t bytes, int64_t *height,
                           int64_t *width)
{
    gif_file g = {.data = data, .bytes = bytes};
    TDM_REQUIRE(read_head(&g), TDM_E_DATA, "%s: image is truncated", name);
    *height = g.height;
    *width = g.width;
    return image_check_size(name, g.height, g.width);
}

/* ---- LZW ---- */

typedef struct lzw {
    const unsigned char *data; /* [bytes], blocks joined */
    size_t bytes, at;
    uint32_t buffer;
    int buffered;
    uint16_t before[CODES]; /* the code that a code goes on from */
    uint8_t last[CODES];    /* its last index */
    uint8_t stack[CODES];
} lzw;

/* -1: there is no more. */
static int take_code(lzw *z, int bits)
{
    while (z->buffered < bits) {
        if (z->at == z->bytes) return -1;
        z->buffer |= (uint32_t)z->data[z->at++] << z->buffered;
        z->buffered += 8;
    }
    const int code = (int)(z->buffer & ((1u << bits) - 1));
    z->buffer >>= bits;
    z->buffered -= bits;
    return code;
}

/* index[n]. False: the data are damaged or end too early. */
static bool unpack(lzw *z, int code_bits, uint8_t *index, int64_t n)
{
    const int clear = 1 << code_bits, end = clear + 1;
    int bits = code_bits + 1, next = end + 1, previous = -1, first = 0;
    for (int i = 0; i < clear; i++) z->last[i] = (uint8_t)i;
    for (int64_t at = 0; at < n;) {
        int code = take_code(z, bits), depth = 0;
        if (code < 0 || code == end) return false;
        if (code == clear) {
            bits = code_bits + 1;
            next = end + 1;
            previous = -1;
            continue;
        }
        const int whole = code;
        if (code > next || (code == next && previous < 0) || (previous < 0 && code > clear)) return false;
        if (code == next) { /* the code that is just being made: the previous one and its own first index */
            z->stack[depth++] = (uint8_t)first;
            code = previous;
        }
        for (; code > clear; code = z->before[code]) z->stack[depth++] = z->last[code];
        first = code;
        z->stack[depth++] = (uint8_t)first;
        while (depth && at < n) index[at++] = z->stack[--depth];
        if (previous >= 0 && next < CODES) {
            z->before[next] = (uint16_t)previous;
            z->last[next++] = (uint8_t)first;
            if (next == 1 << bits && bits < CODE_BITS_MAX) bits++;
        }
        previous = whole;
    }
    return true;
}

/* Joins the blocks of pixel data. */
static tdm_status join_blocks(const char *name, gif_file *g, tdm_text *joined)
{
    for (;;) {
        const unsigned char *length = take(g, 1), *block = length ? take(g, *length) : NULL;
        TDM_REQUIRE(block, TDM_E_DATA, "%s: image is truncated", name);
        if (*length == 0) return TDM_OK;
        TDM_TRY(tdm_text_append(joined, block, *length));
    }
}

static tdm_status unpack_frame(const char *name, gif_file *g, uint8_t *index)
{
    lzw *z = NULL;
    tdm_text joined = {0};
    TDM_REQUIRE(g->code_bits >= 1 && g->code_bits <= 8, TDM_E_DATA, "%s: corrupt image (GIF code size)",
                name);
    tdm_status status = join_blocks(name, g, &joined);
    if (status == TDM_OK) status = TDM_ALLOC(1, &z);
    if (status == TDM_OK) {
        z->data = (const unsigned char *)joined.data;
        z->bytes = joined.length;
        if (!unpack(z, g->code_bits, index, g->frame_height * g->frame_width))
            status = TDM_ERROR(TDM_E_DATA, "%s: corrupt image (GIF codes)", name);
    }
    tdm_free(z);
    tdm_text_free(&joined);
    return status;
}

/* Row of the frame that comes as the i-th. */
static int64_t frame_row(const gif_file *g, int64_t i)
{
    static const int begin[] = {0, 4, 2, 1}, step[] = {8, 8, 4, 2};
    if (!g->interlaced) return i;
    for (int pass = 0; pass < 4; pass++) {
        const int64_t rows = (g->frame_height - begin[pass] + step[pass] - 1) / step[pass];
        if (i < rows) return begin[pass] + i * step[pass];
        i -= tdm_max_i64(rows, 0);
    }
    return 0;
}

static void colour(const gif_file *g, int index, uint8_t *rgba)
{
    memcpy(rgba, g->palette[index], 3);
    rgba[3] = index == g->transparent ? 0 : 255;
}

static bool palette_is_gray(const gif_file *g)
{
    for (int i = 0; i < g->colours; i++)
        if (g->palette[i][0] != i || g->palette[i][1] != i || g->palette[i][2] != i) return false;
    return true;
}

tdm_status image_gif_decode(const char *name, const unsigned char *data, size_t bytes, bool *indexed,
                            bool *transparent, uint8_t **pixel)
{
    gif_file g = {.data = data, .bytes = bytes};
    uint8_t *index = NULL;
    TDM_REQUIRE(read_head(&g), TDM_E_DATA, "%s: image is truncated", name);
    TDM_TRY(TDM_ALLOC(g.frame_height * g.frame_width, &index));
    tdm_status status = unpack_frame(name, &g, index);
    uint8_t *out = status == TDM_OK ? malloc((size_t)(g.height * g.width) * 4) : NULL;
    if (status == TDM_OK && !out) status = TDM_ERROR(TDM_E_NOMEM, "%s: not enough memory to decode it", name);
    if (status == TDM_OK) {
        for (int64_t i = 0; i < g.height * g.width; i++)
            colour(&g, g.transparent < 0 ? 0 : g.transparent, out + 4 * i);
        for (int64_t i = 0; i < g.frame_height; i++)
            for (int64_t x = 0; x < g.frame_width; x++)
                colour(&g, index[i * g.frame_width + x],
                       out + 4 * ((g.top + frame_row(&g, i)) * g.width + g.left + x));
    }
    tdm_free(index);
    *indexed = !palette_is_gray(&g);
    *transparent = g.transparent >= 0;
    *pixel = out;
    return status;
}
