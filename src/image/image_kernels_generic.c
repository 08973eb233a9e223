/* Plain loops: for CPUs without a set of their own, and what the tests compare the others with. */
#include "image_kernels.h"

#include <string.h>

enum { CHANNELS = 3, HALF = 1 << (IMAGE_WEIGHT_BITS - 1) };

static inline uint8_t clip_int(int value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* ---- resizing ---- */

static inline void row_of_channels(const image_taps *x, int64_t n, int64_t skip, int channels,
                                   const uint8_t *in, uint8_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *from = in + (x->first[i] - skip) * channels;
        const int32_t *weight = x->weight + i * x->taps;
        int32_t sum[4] = {HALF, HALF, HALF, HALF};
        for (int64_t j = 0; j < x->count[i]; j++)
            for (int c = 0; c < channels; c++) sum[c] += from[channels * j + c] * weight[j];
        for (int c = 0; c < channels; c++) out[channels * i + c] = clip_int(sum[c] >> IMAGE_WEIGHT_BITS);
    }
}

static void across(const image_taps *x, int64_t n, int64_t skip, int channels, int64_t rows,
                   const uint8_t *in, int64_t in_stride, uint8_t *out, int64_t out_stride, uint8_t *scratch)
{
    (void)scratch;
    for (int64_t row = 0; row < rows; row++)
        if (channels == CHANNELS)
            row_of_channels(x, n, skip, CHANNELS, in + row * in_stride, out + row * out_stride);
        else
            row_of_channels(x, n, skip, 4, in + row * in_stride, out + row * out_stride);
}

static void down(const int32_t *weight, int64_t count, const uint8_t *in, int64_t stride, int64_t bytes,
                 uint8_t *out)
{
    enum { BLOCK = 64 };
    for (int64_t at = 0; at < bytes; at += BLOCK) {
        const int64_t n = bytes - at < BLOCK ? bytes - at : BLOCK;
        int32_t sum[BLOCK];
        for (int64_t i = 0; i < n; i++) sum[i] = HALF;
        for (int64_t j = 0; j < count; j++) {
            const uint8_t *row = in + j * stride + at;
            for (int64_t i = 0; i < n; i++) sum[i] += row[i] * weight[j];
        }
        for (int64_t i = 0; i < n; i++) out[at + i] = clip_int(sum[i] >> IMAGE_WEIGHT_BITS);
    }
}

/* ---- colour ---- */

static inline uint8_t luma(const uint8_t *p)
{
    return (uint8_t)((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
}

static inline uint8_t mix(uint8_t base, uint8_t value, float factor)
{
    float mixed = (float)base + factor * (float)((int)value - (int)base);
    if (mixed <= 0.0f) return 0;
    if (mixed >= 255.0f) return 255;
    return (uint8_t)mixed;
}

static void blend(uint8_t base, float factor, uint8_t *value, int64_t bytes)
{
    uint8_t table[256];
    for (int i = 0; i < 256; i++) table[i] = mix(base, (uint8_t)i, factor);
    for (int64_t i = 0; i < bytes; i++) value[i] = table[value[i]];
}

static int64_t luma_sum(const uint8_t *pixel, int64_t n)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += luma(pixel + CHANNELS * i);
    return sum;
}

static void gray(uint8_t *pixel, int64_t n)
{
    for (int64_t i = 0; i < n; i++) memset(pixel + CHANNELS * i, luma(pixel + CHANNELS * i), CHANNELS);
}

static void saturate(float factor, uint8_t *pixel, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint8_t *p = pixel + CHANNELS * i, base = luma(p);
        for (int c = 0; c < CHANNELS; c++) p[c] = mix(base, p[c], factor);
    }
}

static inline uint8_t round_positive(double value)
{
    return clip_int((int)(value + 0.5));
}

/* 8-bit hue, saturation, value as Pillow's convert("HSV"). */
static void to_hsv(const uint8_t *p, uint8_t *hsv)
{
    int r = p[0], g = p[1], b = p[2];
    int most = r > g ? (r > b ? r : b) : (g > b ? g : b);
    int least = r < g ? (r < b ? r : b) : (g < b ? g : b);
    hsv[0] = hsv[1] = 0;
    hsv[2] = (uint8_t)most;
    if (most == least) return;
    float range = (float)(most - least);
    float rc = (float)(most - r) / range, gc = (float)(most - g) / range, bc = (float)(most - b) / range;
    float h, s = range / (float)most;
    if (r == most)
        h = bc - gc;
    else if (g == most)
        h = (float)(2.0 + rc - bc);
    else
        h = (float)(4.0 + gc - rc);
    double turns = h / 6.0 + 1.0; /* 5/6 … 11/6 */
    h = (float)(turns >= 1.0 ? turns - 1.0 : turns);
    hsv[0] = clip_int((int)(h * 255.0));
    hsv[1] = clip_int((int)(s * 255.0));
}

static void from_hsv(const uint8_t *hsv, uint8_t *p)
{
    uint8_t v = hsv[2];
    if (hsv[1] == 0) {
        p[0] = p[1] = p[2] = v;
        return;
    }
    float fs = (float)(hsv[1] / 255.0), h = (float)(hsv[0] * 6.0 / 255.0);
    int sector = (int)h;
    float f = h - (float)sector;
    uint8_t low = round_positive((double)v * (1.0 - fs));
    uint8_t falling = round_positive((double)v * (1.0 - fs * f));
    uint8_t rising = round_positive((double)v * (1.0 - fs * (1.0 - f)));
    const uint8_t rgb[6][3] = {{v, rising, low},  {falling, v, low}, {low, v, rising},
                               {low, falling, v}, {rising, low, v},  {v, low, falling}};
    memcpy(p, rgb[sector % 6], 3);
}

static void turn_hue(uint8_t turn, uint8_t *pixel, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint8_t hsv[CHANNELS], *p = pixel + CHANNELS * i;
        to_hsv(p, hsv);
        hsv[0] = (uint8_t)(hsv[0] + turn);
        from_hsv(hsv, p);
    }
}

const image_kernels image_kernels_generic = {.name = "generic",
                                             .across = across,
                                             .down = down,
                                             .blend = blend,
                                             .luma_sum = luma_sum,
                                             .gray = gray,
                                             .saturate = saturate,
                                             .turn = turn_hue};
