/* The kernels, compiled once per x86 instruction set. Before this come LANES, `ints` (a vector of so many
 * int32) and its functions, KERNELS and KERNEL_NAME. Loops over BLOCK values are written for the compiler to
 * make vectors of: no branches, one width. */
#include "image_kernels.h"

#include <stdbool.h>
#include <string.h>

enum { CHANNELS = 3, PARTS = IMAGE_ROWS / LANES, BLOCK = 64 };

static inline int64_t least_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- resizing: rows become columns of IMAGE_ROWS bytes, so that one weight serves a whole vector ---- */

/* x[row] of 16 bytes becomes x[column]. Each round moves the highest bit of the byte's place (row, column) to
 * its lowest. */
static inline void transpose(__m128i x[IMAGE_ROWS])
{
    for (int round = 0; round < 4; round++) {
        __m128i y[IMAGE_ROWS];
        for (int i = 0; i < IMAGE_ROWS / 2; i++) {
            y[2 * i] = _mm_unpacklo_epi8(x[i], x[i + IMAGE_ROWS / 2]);
            y[2 * i + 1] = _mm_unpackhi_epi8(x[i], x[i + IMAGE_ROWS / 2]);
        }
        memcpy(x, y, sizeof(y));
    }
}

/* in[rows][bytes] -> column[bytes][IMAGE_ROWS]; the last row stands for those that are missing. */
static void rows_to_columns(const uint8_t *in, int64_t stride, int64_t rows, int64_t bytes, uint8_t *column)
{
    for (int64_t at = 0; bytes >= IMAGE_ROWS && at < bytes; at += IMAGE_ROWS) {
        const int64_t first = least_of(at, bytes - IMAGE_ROWS);
        __m128i x[IMAGE_ROWS];
        for (int r = 0; r < IMAGE_ROWS; r++)
            x[r] =
                _mm_loadu_si128((const __m128i *)(const void *)(in + least_of(r, rows - 1) * stride + first));
        transpose(x);
        for (int i = 0; i < IMAGE_ROWS; i++)
            _mm_storeu_si128((__m128i *)(void *)(column + (first + i) * IMAGE_ROWS), x[i]);
    }
    for (int64_t at = 0; bytes < IMAGE_ROWS && at < bytes; at++)
        for (int64_t r = 0; r < IMAGE_ROWS; r++)
            column[at * IMAGE_ROWS + r] = in[least_of(r, rows - 1) * stride + at];
}

/* column[bytes][IMAGE_ROWS] -> out[rows][bytes] */
static void columns_to_rows(const uint8_t *column, int64_t rows, int64_t bytes, uint8_t *out, int64_t stride)
{
    for (int64_t at = 0; bytes >= IMAGE_ROWS && at < bytes; at += IMAGE_ROWS) {
        const int64_t first = least_of(at, bytes - IMAGE_ROWS);
        __m128i x[IMAGE_ROWS];
        for (int i = 0; i < IMAGE_ROWS; i++)
            x[i] = _mm_loadu_si128((const __m128i *)(const void *)(column + (first + i) * IMAGE_ROWS));
        transpose(x);
        for (int64_t r = 0; r < rows; r++)
            _mm_storeu_si128((__m128i *)(void *)(out + r * stride + first), x[r]);
    }
    for (int64_t at = 0; bytes < IMAGE_ROWS && at < bytes; at++)
        for (int64_t r = 0; r < rows; r++) out[r * stride + at] = column[at * IMAGE_ROWS + r];
}

/* column[count][channels][IMAGE_ROWS] -> out[channels][IMAGE_ROWS] */
static inline void weigh_columns(const int32_t *weight, int64_t count, int channels, const uint8_t *column,
                                 uint8_t *out)
{
    ints sum[4][PARTS];
    for (int c = 0; c < channels; c++)
        for (int p = 0; p < PARTS; p++) sum[c][p] = ints_of(1 << (IMAGE_WEIGHT_BITS - 1));
    for (int64_t j = 0; j < count; j++, column += channels * IMAGE_ROWS) {
        const ints w = ints_of(weight[j]);
        for (int c = 0; c < channels; c++)
            for (int p = 0; p < PARTS; p++)
                sum[c][p] =
                    ints_add_product(sum[c][p], ints_from_bytes(column + c * IMAGE_ROWS + p * LANES), w);
    }
    for (int c = 0; c < channels; c++)
        for (int p = 0; p < PARTS; p++)
            ints_store_bytes(sum[c][p], IMAGE_WEIGHT_BITS, out + c * IMAGE_ROWS + p * LANES);
}

static void across(const image_taps *x, int64_t n, int64_t skip, int channels, int64_t rows,
                   const uint8_t *in, int64_t in_stride, uint8_t *out, int64_t out_stride, uint8_t *scratch)
{
    uint8_t made[IMAGE_TILE * 4 * IMAGE_ROWS];
    for (int64_t begin = 0; begin < n; begin += IMAGE_TILE) {
        const int64_t end = least_of(n, begin + IMAGE_TILE), first = x->first[begin];
        rows_to_columns(in + (first - skip) * channels, in_stride, rows,
                        (x->first[end - 1] + x->count[end - 1] - first) * channels, scratch);
        for (int64_t i = begin; i < end; i++) {
            const uint8_t *from = scratch + (x->first[i] - first) * channels * IMAGE_ROWS;
            uint8_t *to = made + (i - begin) * channels * IMAGE_ROWS;
            if (channels == CHANNELS)
                weigh_columns(x->weight + i * x->taps, x->count[i], CHANNELS, from, to);
            else
                weigh_columns(x->weight + i * x->taps, x->count[i], 4, from, to);
        }
        columns_to_rows(made, rows, (end - begin) * channels, out + begin * channels, out_stride);
    }
}

/* `vectors` at a time, as many sums as there are registers for. */
static inline void weigh_rows(const int32_t *weight, int64_t count, const uint8_t *in, int64_t stride,
                              int vectors, uint8_t *out)
{
    ints sum[4];
    for (int v = 0; v < vectors; v++) sum[v] = ints_of(1 << (IMAGE_WEIGHT_BITS - 1));
    for (int64_t j = 0; j < count; j++) {
        const ints w = ints_of(weight[j]);
        for (int v = 0; v < vectors; v++)
            sum[v] = ints_add_product(sum[v], ints_from_bytes(in + j * stride + v * LANES), w);
    }
    for (int v = 0; v < vectors; v++) ints_store_bytes(sum[v], IMAGE_WEIGHT_BITS, out + v * LANES);
}

static void down(const int32_t *weight, int64_t count, const uint8_t *in, int64_t stride, int64_t bytes,
                 uint8_t *out)
{
    int64_t at = 0;
    for (; at + 4 * LANES <= bytes; at += 4 * LANES) weigh_rows(weight, count, in + at, stride, 4, out + at);
    for (; at + LANES <= bytes; at += LANES) weigh_rows(weight, count, in + at, stride, 1, out + at);
    if (at < bytes) image_kernels_generic.down(weight, count, in + at, stride, bytes - at, out + at);
}

/* ---- colour ---- */

/* Byte i of vector v of 16 pixels is channel (16 v + i) % 3 of pixel (16 v + i) / 3. A mask takes bytes of
 * one vector to their places in another; those that are not in it become 0. */
#define SPLIT(c, v, k) (int8_t)((3 * (k) + (c)) / 16 == (v) ? (3 * (k) + (c)) % 16 : -128)
#define MERGE(c, v, k) (int8_t)((16 * (v) + (k)) % 3 == (c) ? (16 * (v) + (k)) / 3 : -128)
#define MASK(of, c, v)                                                                                       \
    {                                                                                                        \
        of(c, v, 0), of(c, v, 1), of(c, v, 2), of(c, v, 3), of(c, v, 4), of(c, v, 5), of(c, v, 6),           \
            of(c, v, 7), of(c, v, 8), of(c, v, 9), of(c, v, 10), of(c, v, 11), of(c, v, 12), of(c, v, 13),   \
            of(c, v, 14), of(c, v, 15)                                                                       \
    }
#define MASKS(of)                                                                                            \
    {                                                                                                        \
        {MASK(of, 0, 0), MASK(of, 0, 1), MASK(of, 0, 2)}, {MASK(of, 1, 0), MASK(of, 1, 1), MASK(of, 1, 2)},  \
        {                                                                                                    \
            MASK(of, 2, 0), MASK(of, 2, 1), MASK(of, 2, 2)                                                   \
        }                                                                                                    \
    }
static const int8_t split_mask[CHANNELS][3][16] = MASKS(SPLIT), merge_mask[CHANNELS][3][16] = MASKS(MERGE);

static inline __m128i load_bytes(const void *from)
{
    return _mm_loadu_si128((const __m128i *)from);
}

static inline __m128i pick(const __m128i v[3], const __m128i m0, const __m128i m1, const __m128i m2)
{
    return _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(v[0], m0), _mm_shuffle_epi8(v[1], m1)),
                        _mm_shuffle_epi8(v[2], m2));
}

typedef struct planes {
    uint8_t c[CHANNELS][BLOCK];
} planes;

static inline void split(const uint8_t *pixel, planes *to)
{
    for (int i = 0; i < BLOCK; i += 16) {
        const uint8_t *p = pixel + CHANNELS * i;
        const __m128i v[3] = {load_bytes(p), load_bytes(p + 16), load_bytes(p + 32)};
        for (int c = 0; c < CHANNELS; c++)
            _mm_storeu_si128((__m128i *)(void *)(to->c[c] + i),
                             pick(v, load_bytes(split_mask[c][0]), load_bytes(split_mask[c][1]),
                                  load_bytes(split_mask[c][2])));
    }
}

static inline void merge(const planes *from, uint8_t *pixel)
{
    for (int i = 0; i < BLOCK; i += 16) {
        const __m128i v[3] = {load_bytes(from->c[0] + i), load_bytes(from->c[1] + i),
                              load_bytes(from->c[2] + i)};
        for (int out = 0; out < 3; out++)
            _mm_storeu_si128((__m128i *)(void *)(pixel + CHANNELS * i + 16 * out),
                             pick(v, load_bytes(merge_mask[0][out]), load_bytes(merge_mask[1][out]),
                                  load_bytes(merge_mask[2][out])));
    }
}

/* `change` on every block of pixels, the last one filled up. */
#define FOR_BLOCKS(pixel, n, change)                                                                         \
    do {                                                                                                     \
        planes block_;                                                                                       \
        int64_t i_ = 0;                                                                                      \
        for (; i_ + BLOCK <= (n); i_ += BLOCK) {                                                             \
            split((pixel) + CHANNELS * i_, &block_);                                                         \
            change(&block_);                                                                                 \
            merge(&block_, (pixel) + CHANNELS * i_);                                                         \
        }                                                                                                    \
        if (i_ < (n)) {                                                                                      \
            uint8_t last_[CHANNELS * BLOCK] = {0};                                                           \
            memcpy(last_, (pixel) + CHANNELS * i_, (size_t)(CHANNELS * ((n)-i_)));                           \
            split(last_, &block_);                                                                           \
            change(&block_);                                                                                 \
            merge(&block_, last_);                                                                           \
            memcpy((pixel) + CHANNELS * i_, last_, (size_t)(CHANNELS * ((n)-i_)));                           \
        }                                                                                                    \
    } while (0)

static inline int luma(const planes *p, int i)
{
    return (p->c[0][i] * 19595 + p->c[1][i] * 38470 + p->c[2][i] * 7471 + 0x8000) >> 16;
}

static inline int mix(int base, int value, float factor)
{
    float mixed = (float)base + factor * (float)(value - base);
    mixed = mixed > 0.0f ? mixed : 0.0f;
    return (int)(mixed < 255.0f ? mixed : 255.0f);
}

static void blend(uint8_t base, float factor, uint8_t *value, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) value[i] = (uint8_t)mix(base, value[i], factor);
}

static int64_t luma_sum(const uint8_t *pixel, int64_t n)
{
    planes block;
    int64_t sum = 0, at = 0;
    for (; at + BLOCK <= n; at += BLOCK) {
        int part = 0;
        split(pixel + CHANNELS * at, &block);
        for (int i = 0; i < BLOCK; i++) part += luma(&block, i);
        sum += part;
    }
    return sum + image_kernels_generic.luma_sum(pixel + CHANNELS * at, n - at);
}

static inline void gray_block(planes *p)
{
    for (int i = 0; i < BLOCK; i++) p->c[0][i] = (uint8_t)luma(p, i);
    memcpy(p->c[1], p->c[0], BLOCK);
    memcpy(p->c[2], p->c[0], BLOCK);
}

static void gray(uint8_t *pixel, int64_t n)
{
    FOR_BLOCKS(pixel, n, gray_block);
}

static inline void saturate_block(planes *p, float factor)
{
    for (int i = 0; i < BLOCK; i++) {
        const int base = luma(p, i);
        for (int c = 0; c < CHANNELS; c++) p->c[c][i] = (uint8_t)mix(base, p->c[c][i], factor);
    }
}

static void saturate(float factor, uint8_t *pixel, int64_t n)
{
#define CHANGE(block) saturate_block(block, factor)
    FOR_BLOCKS(pixel, n, CHANGE);
#undef CHANGE
}

/* x or 0. (Choices by ?: come out as branches when there are many.) */
static inline int only_if(int condition, int x)
{
    return x & -condition;
}

/* The generic kernel's arithmetic. Of (most - r) / range and its like one is 0, of the largest channel, and
 * one is 1, of the smallest; with the third, `middle`, hue is start + sign * middle in each of the six orders
 * of the channels. There, double precision is exact, so that single precision rounds to the same. */
static inline void turn_block(planes *p, int turn)
{
    for (int i = 0; i < BLOCK; i++) {
        const int r = p->c[0][i], g = p->c[1][i], b = p->c[2][i];
        const int rg_most = r > g ? r : g, rg_least = r < g ? r : g;
        const int most = rg_most > b ? rg_most : b, least = rg_least < b ? rg_least : b;
        const int range = most - least, colours = range > 0;
        const float middle = (float)(2 * most + least - r - g - b) / (float)(range + 1 - colours);
        const float s = (float)range / (float)(most + (most == 0));
        const int r_most = r == most, g_most = (g == most) & ~r_most, b_most = 1 - r_most - g_most;
        const int r_least = r == least, g_least = g == least;
        const int start = only_if(r_most, 1 - 2 * g_least) + only_if(g_most, 1 + 2 * r_least) +
                          only_if(b_most, 5 - 2 * r_least);
        const int sign = only_if(r_most, 2 * g_least - 1) + only_if(g_most, 1 - 2 * r_least) +
                         only_if(b_most, 2 * r_least - 1);
        double turns = ((float)start + (float)sign * middle) / 6.0 + 1.0;
        turns -= turns >= 1.0 ? 1.0 : 0.0;
        const int hue = (only_if(colours, (int)((float)turns * 255.0)) + turn) & 255;

        const float fs = (float)((int)(s * 255.0) / 255.0), sixths = (float)(hue * 6.0 / 255.0);
        const int sector = (int)sixths; /* 6, of hue 255, is 0 again */
        const float f = sixths - (float)sector;
        const int low = (int)(most * (1.0 - fs) + 0.5);
        const int falling = (int)(most * (1.0 - fs * f) + 0.5);
        const int rising = (int)(most * (1.0 - fs * (1.0 - f)) + 0.5);
        const int first = (sector == 0) | (sector == 6), in_1 = sector == 1, in_2 = sector == 2;
        const int in_3 = sector == 3, in_4 = sector == 4, in_5 = sector == 5;
        p->c[0][i] = (uint8_t)(only_if(first | in_5, most) | only_if(in_1, falling) |
                               only_if(in_2 | in_3, low) | only_if(in_4, rising));
        p->c[1][i] = (uint8_t)(only_if(in_1 | in_2, most) | only_if(in_3, falling) |
                               only_if(in_4 | in_5, low) | only_if(first, rising));
        p->c[2][i] = (uint8_t)(only_if(in_3 | in_4, most) | only_if(in_5, falling) |
                               only_if(first | in_1, low) | only_if(in_2, rising));
    }
}

static void turn_hue(uint8_t turn, uint8_t *pixel, int64_t n)
{
#define CHANGE(block) turn_block(block, turn)
    FOR_BLOCKS(pixel, n, CHANGE);
#undef CHANGE
}

const image_kernels KERNELS = {.name = KERNEL_NAME,
                               .across = across,
                               .down = down,
                               .blend = blend,
                               .luma_sum = luma_sum,
                               .gray = gray,
                               .saturate = saturate,
                               .turn = turn_hue};
