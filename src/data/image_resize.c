/* Pillow's two-pass resampling (python-pillow/Pillow, src/libImaging/Resample.c describes it): per output
 * pixel a window of taps whose width grows with the reduction. 8-bit channels: coefficients in fixed point
 * with 22 fractional bits, rounded to 8 bits between the passes; 16-bit grays: in double precision, rounded
 * to 16. */
#include "image_impl.h"

#include <math.h>
#include <string.h>

enum { PRECISION_BITS = 32 - 8 - 2, RGB = 3 };
#define CUBIC_SUPPORT 2.0

/* Taps of one dimension: output i = sum over j < count[i] of weight[i*taps + j] * input[first[i] + j]. */
typedef struct taps {
    int64_t taps; /* stride of the weights */
    int64_t *first, *count;
    int32_t *weight; /* fixed point */
    double *exact;   /* the same before rounding; for 16 bits only */
} taps;

static void taps_free(taps *it)
{
    tdm_free(it->first);
    tdm_free(it->count);
    tdm_free(it->weight);
    tdm_free(it->exact);
}

/* Keys' cubic convolution with a = -0.5. */
static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

static int32_t fixed_point(double weight)
{
    double scaled = weight * (double)(1 << PRECISION_BITS);
    return (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

/* Outputs [skip, skip + n) of [begin, begin + length) of `size` inputs, resized to full_n outputs. Pillow's
 * box is in single precision, hence the floats. */
static tdm_status taps_create(int64_t size, double begin, double length, int64_t full_n, int64_t skip,
                              int64_t n, bool keep_exact, taps *out)
{
    float in0 = (float)begin, in1 = (float)(begin + length);
    double scale = (double)(in1 - in0) / (double)full_n;
    double widening = scale < 1.0 ? 1.0 : scale;
    double support = CUBIC_SUPPORT * widening;
    out->taps = (int64_t)ceil(support) * 2 + 1;
    TDM_TRY(TDM_ALLOC(n, &out->first));
    TDM_TRY(TDM_ALLOC(n, &out->count));
    TDM_TRY(TDM_ALLOC(n * out->taps, &out->weight));
    TDM_TRY(TDM_ALLOC(keep_exact ? n * out->taps : out->taps, &out->exact));
    for (int64_t i = 0; i < n; i++) {
        double center = (double)in0 + ((double)(i + skip) + 0.5) * scale;
        int64_t first = tdm_max_i64(0, (int64_t)(center - support + 0.5));
        int64_t end = tdm_min_i64(size, (int64_t)(center + support + 0.5));
        double sum = 0.0, *exact = out->exact + (keep_exact ? i * out->taps : 0);
        for (int64_t j = 0; j < end - first; j++) {
            exact[j] = cubic(((double)(j + first) - center + 0.5) * (1.0 / widening));
            sum += exact[j];
        }
        for (int64_t j = 0; j < end - first; j++) {
            if (sum != 0.0) exact[j] /= sum;
            out->weight[i * out->taps + j] = fixed_point(exact[j]);
        }
        out->first[i] = first;
        out->count[i] = end - first;
    }
    return TDM_OK;
}

static inline uint8_t clip8(int32_t value)
{
    value >>= PRECISION_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* ---- 8 bits ---- */

/* One row: in [..][channels], whose first pixel is column `skip` -> out [n][channels] */
static inline void row_of_channels(const taps *x, int64_t n, int64_t skip, int channels, const uint8_t *in,
                                   uint8_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *from = in + (x->first[i] - skip) * channels;
        const int32_t *weight = x->weight + i * x->taps;
        int32_t sum[4] = {1 << (PRECISION_BITS - 1), 1 << (PRECISION_BITS - 1), 1 << (PRECISION_BITS - 1),
                          1 << (PRECISION_BITS - 1)};
        for (int64_t j = 0; j < x->count[i]; j++)
            for (int c = 0; c < channels; c++) sum[c] += from[channels * j + c] * weight[j];
        for (int c = 0; c < channels; c++) out[channels * i + c] = clip8(sum[c]);
    }
}

static void horizontal_row(const taps *x, int64_t n, int64_t skip, int channels, const uint8_t *in,
                           uint8_t *out)
{
    if (channels == RGB)
        row_of_channels(x, n, skip, RGB, in, out); /* a constant, for the compiler */
    else
        row_of_channels(x, n, skip, 4, in, out);
}

/* One output row from `count` input rows `stride` bytes apart; sum[bytes] is working memory. */
static void vertical_row(const int32_t *weight, int64_t count, const uint8_t *in, int64_t stride,
                         int64_t bytes, int32_t *restrict sum, uint8_t *restrict out)
{
    for (int64_t i = 0; i < bytes; i++) sum[i] = 1 << (PRECISION_BITS - 1);
    for (int64_t j = 0; j < count; j++) {
        const uint8_t *restrict row = in + j * stride;
        const int32_t w = weight[j];
        for (int64_t i = 0; i < bytes; i++) sum[i] += row[i] * w;
    }
    for (int64_t i = 0; i < bytes; i++) out[i] = clip8(sum[i]);
}

/* Inputs that outputs [0, n) read: [begin, end). */
static void reach(const taps *it, int64_t n, int64_t *begin, int64_t *end)
{
    *begin = it->first[0];
    *end = it->first[n - 1] + it->count[n - 1];
}

/* out[out_height][stride bytes], of `channels` */
typedef struct passes {
    const image_window *window;
    const taps *x, *y;
    int64_t out_height, out_width, out_stride;
    int channels;
} passes;

static tdm_status rows_first(const passes *p, uint8_t *out)
{
    int64_t begin, end, bytes = p->out_width * p->channels;
    uint8_t *middle = NULL; /* [end - begin][out_width] */
    int32_t *sum = NULL;
    reach(p->y, p->out_height, &begin, &end);
    tdm_status status = TDM_ALLOC((end - begin) * bytes, &middle);
    if (status == TDM_OK) status = TDM_ALLOC(bytes, &sum);
    if (status == TDM_OK) {
        for (int64_t row = begin; row < end; row++)
            horizontal_row(p->x, p->out_width, 0, p->channels, p->window->pixel + row * p->window->stride,
                           middle + (row - begin) * bytes);
        for (int64_t i = 0; i < p->out_height; i++)
            vertical_row(p->y->weight + i * p->y->taps, p->y->count[i],
                         middle + (p->y->first[i] - begin) * bytes, bytes, bytes, sum,
                         out + i * p->out_stride);
    }
    tdm_free(middle);
    tdm_free(sum);
    return status;
}

static tdm_status columns_first(const passes *p, uint8_t *out)
{
    int64_t begin, end;
    reach(p->x, p->out_width, &begin, &end);
    const int64_t bytes = (end - begin) * p->channels;
    uint8_t *middle = NULL; /* one row [end - begin] */
    int32_t *sum = NULL;
    tdm_status status = TDM_ALLOC(bytes, &middle);
    if (status == TDM_OK) status = TDM_ALLOC(bytes, &sum);
    for (int64_t i = 0; i < p->out_height && status == TDM_OK; i++) {
        const uint8_t *from = p->window->pixel + p->y->first[i] * p->window->stride + begin * p->channels;
        vertical_row(p->y->weight + i * p->y->taps, p->y->count[i], from, p->window->stride, bytes, sum,
                     middle);
        horizontal_row(p->x, p->out_width, begin, p->channels, middle, out + i * p->out_stride);
    }
    tdm_free(middle);
    tdm_free(sum);
    return status;
}

/* ---- 16 bits ---- */

static uint16_t clip16(double value)
{
    const double rounded = floor(value + 0.5);
    return (uint16_t)(rounded < 0 ? 0 : rounded > 65535 ? 65535 : rounded);
}

static uint16_t sum16(const taps *it, int64_t i, const uint16_t *in, int64_t stride)
{
    double sum = 0.0;
    const double *weight = it->exact + i * it->taps;
    for (int64_t j = 0; j < it->count[i]; j++) sum += in[j * stride] * weight[j];
    return clip16(sum);
}

/* middle: [height of the window][out_width], or [out_height][width of the window] */
static void passes16(const passes *p, bool columns, uint16_t *middle, uint16_t *out)
{
    const image_window *w = p->window;
    const uint16_t *in = (const uint16_t *)(const void *)w->pixel;
    const int64_t stride = w->stride / 2;
    if (!columns) {
        for (int64_t row = 0; row < w->height; row++)
            for (int64_t i = 0; i < p->out_width; i++)
                middle[row * p->out_width + i] = sum16(p->x, i, in + row * stride + p->x->first[i], 1);
        for (int64_t i = 0; i < p->out_height * p->out_width; i++) {
            const int64_t row = i / p->out_width, column = i % p->out_width;
            out[i] = sum16(p->y, row, middle + p->y->first[row] * p->out_width + column, p->out_width);
        }
        return;
    }
    for (int64_t row = 0; row < p->out_height; row++)
        for (int64_t i = 0; i < w->width; i++)
            middle[row * w->width + i] = sum16(p->y, row, in + p->y->first[row] * stride + i, stride);
    for (int64_t i = 0; i < p->out_height * p->out_width; i++) {
        const int64_t row = i / p->out_width, column = i % p->out_width;
        out[i] = sum16(p->x, column, middle + row * w->width + p->x->first[column], 1);
    }
}

static tdm_status resample16(const passes *p, bool columns, uint8_t *out)
{
    uint16_t *middle = NULL, *deep = NULL;
    tdm_status status =
        TDM_ALLOC(columns ? p->out_height * p->window->width : p->window->height * p->out_width, &middle);
    if (status == TDM_OK) status = TDM_ALLOC(p->out_height * p->out_width, &deep);
    if (status == TDM_OK) {
        passes16(p, columns, middle, deep);
        for (int64_t i = 0; i < p->out_height; i++)
            image_row_to_rgb(TDM_IMAGE_GRAY16, false, (const uint8_t *)(deep + i * p->out_width),
                             p->out_width, out + i * p->out_stride);
    }
    tdm_free(middle);
    tdm_free(deep);
    return status;
}

/* ---- Modes ---- */

static tdm_status resample_rgb(const passes *p, bool columns, uint8_t *out)
{
    return columns ? columns_first(p, out) : rows_first(p, out);
}

/* CMYK, or RGBA that is multiplied by alpha already. */
static tdm_status resample_four(const passes *p, bool columns, tdm_image_mode mode, uint8_t *out)
{
    passes four = *p;
    uint8_t *made = NULL;
    four.channels = 4;
    four.out_stride = four.out_width * 4;
    TDM_TRY(TDM_ALLOC(p->out_height * four.out_stride, &made));
    const tdm_status status = resample_rgb(&four, columns, made);
    for (int64_t i = 0; i < p->out_height && status == TDM_OK; i++)
        image_row_to_rgb(mode, true, made + i * four.out_stride, p->out_width, out + i * p->out_stride);
    tdm_free(made);
    return status;
}

static tdm_status resample_rgba(const passes *p, bool columns, uint8_t *out)
{
    image_window window = *p->window;
    uint8_t *multiplied = NULL;
    TDM_TRY(TDM_ALLOC(window.height * window.width * 4, &multiplied));
    for (int64_t row = 0; row < window.height; row++)
        image_premultiply(window.pixel + row * window.stride, window.width,
                          multiplied + row * window.width * 4);
    window.pixel = multiplied;
    window.stride = window.width * 4;
    passes with = *p;
    with.window = &window;
    const tdm_status status = resample_four(&with, columns, TDM_IMAGE_RGBA, out);
    tdm_free(multiplied);
    return status;
}

/* Pillow 13 begins with the columns when they shrink by more than twice as many pixels as the rows, earlier
 * versions hardly ever did: the two orders round and clip differently, by some levels at single pixels of
 * sharp edges. */
static bool columns_come_first(const image_window *window, const resample_plan *plan)
{
    const int64_t fewer_rows = window->height - plan->full_height;
    return fewer_rows > 0 && fewer_rows > 2 * (window->width - plan->full_width);
}

static tdm_status resample_bicubic(const image_window *window, const resample_plan *plan, const taps *x,
                                   const taps *y, uint8_t *out)
{
    const passes p = {.window = window,
                      .x = x,
                      .y = y,
                      .out_height = plan->out_height,
                      .out_width = plan->out_width,
                      .out_stride = plan->out_stride,
                      .channels = RGB};
    const bool columns = columns_come_first(window, plan);
    switch (window->mode) {
    case TDM_IMAGE_RGBA: return resample_rgba(&p, columns, out);
    case TDM_IMAGE_CMYK: return resample_four(&p, columns, TDM_IMAGE_CMYK, out);
    case TDM_IMAGE_GRAY16: return resample16(&p, columns, out);
    default: return resample_rgb(&p, columns, out);
    }
}

/* at[n]: inputs of outputs [skip, skip + n). Pillow adds up the places, so that rounding errors add up too.
 */
static void nearest_places(double begin, double length, int64_t size, int64_t full_n, int64_t skip, int64_t n,
                           int64_t *at)
{
    const double step = length / (double)full_n;
    double place = begin + step * 0.5;
    for (int64_t i = 0; i < skip + n; i++, place += step)
        if (i >= skip) at[i - skip] = tdm_min_i64((int64_t)place, size - 1);
}

static tdm_status resample_nearest(const image_window *window, const resample_plan *plan, uint8_t *out)
{
    int64_t *x = NULL, *y = NULL;
    tdm_status status = TDM_ALLOC(plan->out_width, &x);
    if (status == TDM_OK) status = TDM_ALLOC(plan->out_height, &y);
    if (status == TDM_OK) {
        nearest_places(plan->left, plan->box_width, window->width, plan->full_width, plan->column,
                       plan->out_width, x);
        nearest_places(plan->top, plan->box_height, window->height, plan->full_height, plan->row,
                       plan->out_height, y);
        for (int64_t row = 0; row < plan->out_height; row++)
            for (int64_t i = 0; i < plan->out_width; i++)
                memcpy(out + row * plan->out_stride + RGB * i,
                       window->pixel + y[row] * window->stride + RGB * x[i], RGB);
    }
    tdm_free(x);
    tdm_free(y);
    return status;
}

static bool fits(double begin, double length, int64_t size)
{
    return begin >= 0 && length > 0 && begin + length <= (double)size;
}

/* The whole window at its own size: every weight would be 1 or 0. */
static bool is_copy(const image_window *window, const resample_plan *plan)
{
    return plan->box_height == (double)window->height && plan->box_width == (double)window->width &&
           plan->full_height == window->height && plan->full_width == window->width;
}

tdm_status image_resample(const image_window *window, const resample_plan *plan, uint8_t *out)
{
    TDM_REQUIRE(plan->out_height > 0 && plan->out_width > 0 && plan->out_height <= TDM_IMAGE_MAX_PX &&
                    plan->out_width <= TDM_IMAGE_MAX_PX,
                TDM_E_SHAPE, "cannot resize an image to %lld x %lld px", (long long)plan->full_height,
                (long long)plan->full_width);
    TDM_REQUIRE(
        fits(plan->top, plan->box_height, window->height) && fits(plan->left, plan->box_width, window->width),
        TDM_E_SHAPE, "resize: box %g+%g, %g+%g is outside the image of %lld x %lld px", plan->top,
        plan->box_height, plan->left, plan->box_width, (long long)window->height, (long long)window->width);
    if (is_copy(window, plan)) {
        const int64_t bytes = image_pixel_bytes(window->mode);
        const uint8_t *from = window->pixel + plan->row * window->stride + plan->column * bytes;
        for (int64_t i = 0; i < plan->out_height; i++)
            image_row_to_rgb(window->mode, false, from + i * window->stride, plan->out_width,
                             out + i * plan->out_stride);
        return TDM_OK;
    }
    if (window->mode == TDM_IMAGE_INDEXED) return resample_nearest(window, plan, out);
    const bool deep = window->mode == TDM_IMAGE_GRAY16;
    taps x = {0}, y = {0};
    tdm_status status = taps_create(window->width, plan->left, plan->box_width, plan->full_width,
                                    plan->column, plan->out_width, deep, &x);
    if (status == TDM_OK)
        status = taps_create(window->height, plan->top, plan->box_height, plan->full_height, plan->row,
                             plan->out_height, deep, &y);
    if (status == TDM_OK) status = resample_bicubic(window, plan, &x, &y, out);
    taps_free(&x);
    taps_free(&y);
    return status;
}
