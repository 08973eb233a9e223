/* Views in floats: value[3][height][width], red, green and blue from 0 to 1. The formulas are those of torchvision's
 * transforms on tensors (torchvision/transforms/_functional_tensor.py), in single precision. */
#include "image_impl.h"

#include <math.h>
#include <string.h>

void image_to_tensor(const uint8_t *pixel, int64_t n, float *value)
{
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < IMAGE_RGB; c++) value[c * n + i] = (float)pixel[IMAGE_RGB * i + c] / 255.0f;
}

static inline float clamp(float value)
{
    value = value > 0.0f ? value : 0.0f;
    return value < 1.0f ? value : 1.0f;
}

/* x rounded, halves to even as torch.round, for |x| < 2^22 */
static inline float round_even(float x)
{
    const float shift = 12582912.0f; /* 1.5 * 2^23: the sum has no bits behind the point */
    return (x + shift) - shift;
}

void image_from_tensor(const float *value, int64_t n, uint8_t *pixel)
{
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < IMAGE_RGB; c++)
            pixel[IMAGE_RGB * i + c] = (uint8_t)(int)round_even(clamp(value[c * n + i]) * 255.0f);
}

/* ---- colours ---- */

static inline float luma(const float *value, int64_t n, int64_t i)
{
    return 0.2989f * value[i] + 0.587f * value[n + i] + 0.114f * value[2 * n + i];
}

void image_gray_tensor(float *value, int64_t n)
{
    for (int64_t i = 0; i < n; i++) value[i] = luma(value, n, i);
    memcpy(value + n, value, (size_t)n * sizeof(*value));
    memcpy(value + 2 * n, value, (size_t)n * sizeof(*value));
}

/* factor * value + rest, cut to 0 … 1 */
static void blend(float factor, float rest, float *value, int64_t n)
{
    for (int64_t i = 0; i < n; i++) value[i] = clamp(factor * value[i] + rest);
}

static double mean_luma(const float *value, int64_t n)
{
    enum { BLOCK = 512 };
    double sum = 0.0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t end = tdm_min_i64(at + BLOCK, n);
        float lane[8] = {0};
        int64_t i = at;
        for (; i + 8 <= end; i += 8)
            for (int k = 0; k < 8; k++) lane[k] += luma(value, n, i + k);
        for (; i < end; i++) sum += (double)luma(value, n, i);
        for (int k = 0; k < 8; k++) sum += (double)lane[k];
    }
    return sum / (double)n;
}

static void saturate(float factor, float rest, float *value, int64_t n)
{
    float *r = value, *g = value + n, *b = value + 2 * n;
    for (int64_t i = 0; i < n; i++) {
        const float base = rest * (0.2989f * r[i] + 0.587f * g[i] + 0.114f * b[i]);
        r[i] = clamp(factor * r[i] + base);
        g[i] = clamp(factor * g[i] + base);
        b[i] = clamp(factor * b[i] + base);
    }
}

typedef struct hsv {
    float h, s, v;
} hsv;

static hsv hsv_of(float r, float g, float b)
{
    const float most = fmaxf(r, fmaxf(g, b)), least = fminf(r, fminf(g, b)), range = most - least;
    if (range == 0.0f) return (hsv){0.0f, 0.0f, most};
    const float rc = (most - r) / range, gc = (most - g) / range, bc = (most - b) / range;
    const float h = r == most ? bc - gc : g == most ? 2.0f + rc - bc : 4.0f + gc - rc;
    return (hsv){fmodf(h / 6.0f + 1.0f, 1.0f), range / most, most};
}

static void rgb_of(hsv c, float *r, float *g, float *b)
{
    const float sixths = c.h * 6.0f, whole = floorf(sixths), f = sixths - whole;
    const float p = clamp(c.v * (1.0f - c.s)), q = clamp(c.v * (1.0f - c.s * f));
    const float t = clamp(c.v * (1.0f - c.s * (1.0f - f)));
    const float of[6][IMAGE_RGB] = {{c.v, t, p}, {q, c.v, p}, {p, c.v, t},
                                    {p, q, c.v}, {t, p, c.v}, {c.v, p, q}};
    const float *rgb = of[(int)whole % 6];
    *r = rgb[0];
    *g = rgb[1];
    *b = rgb[2];
}

/* Python's x % 1: never below 0 */
static void turn_hue(float turn, float *value, int64_t n)
{
    float *r = value, *g = value + n, *b = value + 2 * n;
    for (int64_t i = 0; i < n; i++) {
        hsv c = hsv_of(r[i], g[i], b[i]);
        c.h = c.h + turn - floorf(c.h + turn);
        rgb_of(c, &r[i], &g[i], &b[i]);
    }
}

void image_adjust_tensor(image_adjustment kind, double factor, float *value, int64_t n)
{
    const float f = (float)factor, rest = (float)(1.0 - factor);
    switch (kind) {
    case IMAGE_BRIGHTNESS: blend(f, 0.0f, value, IMAGE_RGB * n); break;
    case IMAGE_CONTRAST: blend(f, rest * (float)mean_luma(value, n), value, IMAGE_RGB * n); break;
    case IMAGE_SATURATION: saturate(f, rest, value, n); break;
    case IMAGE_HUE: turn_hue(f, value, n); break;
    case IMAGE_ADJUSTMENTS: break;
    }
}

/* ---- places ---- */

/* As torchvision goes about it: a grid from -1 to 1, of which each place becomes a pixel's index. */
tdm_status image_rotate_tensor(tdm_image_work *work, double degrees, float fill, int64_t height,
                               int64_t width, float *value)
{
    const double angle = degrees * acos(-1.0) / 180.0;
    const float half_w = 0.5f * (float)width, half_h = 0.5f * (float)height;
    const float xx = (float)cos(angle) / half_w, xy = (float)-sin(angle) / half_w;
    const float yx = (float)sin(angle) / half_h, yy = (float)cos(angle) / half_h;
    const int64_t n = height * width;
    float *from;
    TDM_TRY(IMAGE_TAKE(&work->tensor[1], IMAGE_RGB * n, &from));
    memcpy(from, value, (size_t)(IMAGE_RGB * n) * sizeof(*from));
    for (int64_t row = 0; row < height; row++) {
        const float y = (float)row - half_h + 0.5f;
        for (int64_t column = 0; column < width; column++) {
            const float x = (float)column - half_w + 0.5f;
            const float across = x * xx + y * xy, down = x * yx + y * yy;
            const int64_t in_x = (int64_t)round_even(((across + 1.0f) * (float)width - 1.0f) / 2.0f);
            const int64_t in_y = (int64_t)round_even(((down + 1.0f) * (float)height - 1.0f) / 2.0f);
            const bool inside = in_x >= 0 && in_x < width && in_y >= 0 && in_y < height;
            const int64_t at = inside ? in_y * width + in_x : 0, to = row * width + column;
            for (int c = 0; c < IMAGE_RGB; c++) value[c * n + to] = inside ? from[c * n + at] : fill;
        }
    }
    return TDM_OK;
}

/* One plane: the rows of the box, then its columns. weight: x->exact in single precision */
static void zoom_plane(const image_taps *x, const image_taps *y, const float *weight, const image_box *box,
                       int64_t height, int64_t width, const float *plane, float *line, float *out)
{
    const float *from = plane + box->top * width + box->left;
    for (int64_t row = 0; row < height; row++) {
        memset(line, 0, (size_t)box->width * sizeof(*line));
        for (int64_t j = 0; j < y->count[row]; j++) {
            const float w = (float)y->exact[row * y->taps + j], *in = from + (y->first[row] + j) * width;
            for (int64_t i = 0; i < box->width; i++) line[i] += w * in[i];
        }
        for (int64_t i = 0; i < width; i++) {
            float sum = 0.0f;
            for (int64_t j = 0; j < x->count[i]; j++) sum += weight[i * x->taps + j] * line[x->first[i] + j];
            out[row * width + i] = sum;
        }
    }
}

tdm_status image_zoom_tensor(tdm_image_work *work, const image_box *box, image_filter filter, int64_t height,
                             int64_t width, float *value)
{
    const image_axis across = {.size = box->width, .length = (double)box->width, .full_n = width, .n = width};
    const image_axis down = {
        .size = box->height, .length = (double)box->height, .full_n = height, .n = height};
    const int64_t n = height * width;
    image_taps x, y;
    float *made, *weight;
    if (box->height == height && box->width == width) return TDM_OK; /* every weight would be 1 or 0 */
    TDM_TRY(image_taps_make(work, filter, 0, &across, true, &x));
    TDM_TRY(image_taps_make(work, filter, 1, &down, true, &y));
    TDM_TRY(IMAGE_TAKE(&work->scratch[0], width * x.taps + box->width, &weight));
    TDM_TRY(IMAGE_TAKE(&work->tensor[1], IMAGE_RGB * n, &made));
    for (int64_t i = 0; i < width; i++)
        for (int64_t j = 0; j < x.count[i]; j++) weight[i * x.taps + j] = (float)x.exact[i * x.taps + j];
    for (int c = 0; c < IMAGE_RGB; c++)
        zoom_plane(&x, &y, weight, box, height, width, value + c * n, weight + width * x.taps, made + c * n);
    memcpy(value, made, (size_t)(IMAGE_RGB * n) * sizeof(*value));
    return TDM_OK;
}

/* Index of the mirrored picture: -1 is 1, n is n - 2. */
static int64_t mirrored(int64_t at, int64_t n)
{
    const int64_t period = tdm_max_i64(1, 2 * (n - 1));
    at = ((at % period) + period) % period;
    return at < n ? at : period - at;
}

static void convolve_plane(const float *weight, int64_t taps, int64_t height, int64_t width, float *line,
                           float *between, float *plane)
{
    const int64_t reach = taps / 2;
    for (int64_t row = 0; row < height; row++) {
        float *out = between + row * width;
        memcpy(line + reach, plane + row * width, (size_t)width * sizeof(*line));
        for (int64_t i = 1; i <= reach; i++) {
            line[reach - i] = plane[row * width + mirrored(-i, width)];
            line[reach + width - 1 + i] = plane[row * width + mirrored(width - 1 + i, width)];
        }
        memset(out, 0, (size_t)width * sizeof(*out));
        for (int64_t j = 0; j < taps; j++)
            for (int64_t i = 0; i < width; i++) out[i] += weight[j] * line[i + j];
    }
    memset(plane, 0, (size_t)(height * width) * sizeof(*plane));
    for (int64_t row = 0; row < height; row++)
        for (int64_t j = 0; j < taps; j++) {
            const float *in = between + mirrored(row + j - reach, height) * width;
            float *out = plane + row * width;
            for (int64_t i = 0; i < width; i++) out[i] += weight[j] * in[i];
        }
}

tdm_status image_convolve_tensor(tdm_image_work *work, const float *weight, int64_t taps, int64_t height,
                                 int64_t width, float *value)
{
    float *between, *line;
    TDM_TRY(IMAGE_TAKE(&work->tensor[1], height * width, &between));
    TDM_TRY(IMAGE_TAKE(&work->scratch[0], width + taps, &line));
    for (int c = 0; c < IMAGE_RGB; c++)
        convolve_plane(weight, taps, height, width, line, between, value + c * height * width);
    return TDM_OK;
}
