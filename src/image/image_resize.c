/* Pillow's two-pass resampling (python-pillow/Pillow, src/libImaging/Resample.c describes it): per output
 * pixel a window of taps whose width grows with the reduction. 8-bit channels: coefficients in fixed point
 * with 22 fractional bits, rounded to 8 bits between the passes; 16-bit grays: in double precision, rounded
 * to 16. */
#include "image_impl.h"

#include <math.h>
#include <string.h>

enum { RGB = 3 };
/* Keys' cubic convolution with a = -0.5. */
static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

static double triangle(double x)
{
    return fmax(0.0, 1.0 - fabs(x));
}

static const struct filter {
    double (*weight)(double x);
    double support; /* beyond it the weight is 0 */
} FILTER[] = {[IMAGE_BICUBIC] = {cubic, 2.0}, [IMAGE_BILINEAR] = {triangle, 1.0}};
static const double WIDEST = 2.0;

static int32_t fixed_point(double weight)
{
    double scaled = weight * (double)(1 << IMAGE_WEIGHT_BITS);
    return (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

/* Pillow's box is in single precision, hence the floats. */
tdm_status image_taps_make(tdm_image_work *work, image_filter chosen, int dimension, const image_axis *axis,
                           bool keep_exact, image_taps *out)
{
    const struct filter *filter = &FILTER[chosen];
    const int64_t n = axis->n;
    float in0 = (float)axis->begin, in1 = (float)(axis->begin + axis->length);
    double scale = (double)(in1 - in0) / (double)axis->full_n;
    double widening = scale < 1.0 ? 1.0 : scale;
    double support = filter->support * widening;
    out->taps = (int64_t)ceil(support) * 2 + 1;
    TDM_TRY(IMAGE_TAKE(&work->place[dimension], 2 * n, &out->first));
    TDM_TRY(IMAGE_TAKE(&work->weight[dimension], n * out->taps, &out->weight));
    TDM_TRY(IMAGE_TAKE(&work->exact[dimension], (keep_exact ? n : 1) * out->taps, &out->exact));
    out->count = out->first + n;
    for (int64_t i = 0; i < n; i++) {
        double center = (double)in0 + ((double)(i + axis->skip) + 0.5) * scale;
        int64_t first = tdm_max_i64(0, (int64_t)(center - support + 0.5));
        int64_t end = tdm_min_i64(axis->size, (int64_t)(center + support + 0.5));
        double sum = 0.0, *exact = out->exact + (keep_exact ? i * out->taps : 0);
        for (int64_t j = 0; j < end - first; j++) {
            exact[j] = filter->weight(((double)(j + first) - center + 0.5) * (1.0 / widening));
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

void image_reach(int64_t size, int64_t full_n, int64_t skip, int64_t n, int64_t *begin, int64_t *count)
{
    const double scale = (double)size / (double)full_n, support = WIDEST * fmax(scale, 1.0) + 1.0;
    *begin = tdm_max_i64(0, (int64_t)((double)skip * scale - support));
    *count = tdm_min_i64(size, (int64_t)((double)(skip + n) * scale + support) + 1) - *begin;
}

/* ---- 8 bits ---- */

/* Inputs that outputs [0, n) read: [begin, end). */
static void reach(const image_taps *it, int64_t n, int64_t *begin, int64_t *end)
{
    *begin = it->first[0];
    *end = it->first[n - 1] + it->count[n - 1];
}

/* out[out_height][stride bytes], of `channels` */
typedef struct passes {
    tdm_image_work *work;
    const image_window *window;
    const image_taps *x, *y;
    int64_t out_height, out_width, out_stride;
    int channels;
} passes;

static tdm_status rows_first(const passes *p, uint8_t *out)
{
    const image_kernels *kernels;
    TDM_TRY(image_kernels_choose(&kernels));
    int64_t begin, end, bytes = p->out_width * p->channels, stride = p->window->stride;
    uint8_t *middle, *columns; /* [end - begin][out_width] */
    reach(p->y, p->out_height, &begin, &end);
    TDM_TRY(IMAGE_TAKE(&p->work->middle, (end - begin) * bytes, &middle));
    TDM_TRY(IMAGE_TAKE(&p->work->columns, image_across_bytes(p->x, p->out_width, p->channels), &columns));
    for (int64_t row = begin; row < end; row += IMAGE_ROWS)
        kernels->across(p->x, p->out_width, 0, p->channels, tdm_min_i64(IMAGE_ROWS, end - row),
                        p->window->pixel + row * stride, stride, middle + (row - begin) * bytes, bytes,
                        columns);
    for (int64_t i = 0; i < p->out_height; i++)
        kernels->down(p->y->weight + i * p->y->taps, p->y->count[i],
                      middle + (p->y->first[i] - begin) * bytes, bytes, bytes, out + i * p->out_stride);
    return TDM_OK;
}

static tdm_status columns_first(const passes *p, uint8_t *out)
{
    const image_kernels *kernels;
    TDM_TRY(image_kernels_choose(&kernels));
    int64_t begin, end, stride = p->window->stride;
    reach(p->x, p->out_width, &begin, &end);
    const int64_t bytes = (end - begin) * p->channels;
    uint8_t *middle, *columns; /* IMAGE_ROWS rows [end - begin] */
    TDM_TRY(IMAGE_TAKE(&p->work->middle, IMAGE_ROWS * bytes, &middle));
    TDM_TRY(IMAGE_TAKE(&p->work->columns, image_across_bytes(p->x, p->out_width, p->channels), &columns));
    for (int64_t row = 0; row < p->out_height; row += IMAGE_ROWS) {
        const int64_t rows = tdm_min_i64(IMAGE_ROWS, p->out_height - row);
        for (int64_t i = row; i < row + rows; i++)
            kernels->down(p->y->weight + i * p->y->taps, p->y->count[i],
                          p->window->pixel + p->y->first[i] * stride + begin * p->channels, stride, bytes,
                          middle + (i - row) * bytes);
        kernels->across(p->x, p->out_width, begin, p->channels, rows, middle, bytes,
                        out + row * p->out_stride, p->out_stride, columns);
    }
    return TDM_OK;
}

/* ---- 16 bits ---- */

static uint16_t clip16(double value)
{
    const double rounded = floor(value + 0.5);
    return (uint16_t)(rounded < 0 ? 0 : rounded > 65535 ? 65535 : rounded);
}

static uint16_t sum16(const image_taps *it, int64_t i, const uint16_t *in, int64_t stride)
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
    const int64_t between = columns ? p->out_height * p->window->width : p->window->height * p->out_width;
    uint16_t *middle, *deep;
    TDM_TRY(IMAGE_TAKE(&p->work->middle, between, &middle));
    TDM_TRY(IMAGE_TAKE(&p->work->four[1], p->out_height * p->out_width, &deep));
    passes16(p, columns, middle, deep);
    for (int64_t i = 0; i < p->out_height; i++)
        image_row_to_rgb(TDM_IMAGE_GRAY16, false, (const uint8_t *)(deep + i * p->out_width), p->out_width,
                         out + i * p->out_stride);
    return TDM_OK;
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
    uint8_t *made;
    four.channels = 4;
    four.out_stride = four.out_width * 4;
    TDM_TRY(IMAGE_TAKE(&p->work->four[1], p->out_height * four.out_stride, &made));
    TDM_TRY(resample_rgb(&four, columns, made));
    for (int64_t i = 0; i < p->out_height; i++)
        image_row_to_rgb(mode, true, made + i * four.out_stride, p->out_width, out + i * p->out_stride);
    return TDM_OK;
}

static tdm_status resample_rgba(const passes *p, bool columns, uint8_t *out)
{
    image_window window = *p->window;
    uint8_t *multiplied;
    TDM_TRY(IMAGE_TAKE(&p->work->four[0], window.height * window.width * 4, &multiplied));
    for (int64_t row = 0; row < window.height; row++)
        image_premultiply(window.pixel + row * window.stride, window.width,
                          multiplied + row * window.width * 4);
    window.pixel = multiplied;
    window.stride = window.width * 4;
    passes with = *p;
    with.window = &window;
    return resample_four(&with, columns, TDM_IMAGE_RGBA, out);
}

/* Pillow 13 begins with the columns when they shrink by more than twice as many pixels as the rows, earlier
 * versions hardly ever did: the two orders round and clip differently, by some levels at single pixels of
 * sharp edges. */
static bool columns_come_first(const image_window *window, const resample_plan *plan)
{
    const int64_t fewer_rows = window->height - plan->full_height;
    return fewer_rows > 0 && fewer_rows > 2 * (window->width - plan->full_width);
}

static tdm_status resample_smooth(tdm_image_work *work, const image_window *window, const resample_plan *plan,
                                  uint8_t *out)
{
    const bool deep = window->mode == TDM_IMAGE_GRAY16;
    const image_axis columns_of = {.size = window->width,
                                   .begin = plan->left,
                                   .length = plan->box_width,
                                   .full_n = plan->full_width,
                                   .skip = plan->column,
                                   .n = plan->out_width};
    const image_axis rows_of = {.size = window->height,
                                .begin = plan->top,
                                .length = plan->box_height,
                                .full_n = plan->full_height,
                                .skip = plan->row,
                                .n = plan->out_height};
    image_taps x, y;
    TDM_TRY(image_taps_make(work, plan->filter, 0, &columns_of, deep, &x));
    TDM_TRY(image_taps_make(work, plan->filter, 1, &rows_of, deep, &y));
    const passes p = {.work = work,
                      .window = window,
                      .x = &x,
                      .y = &y,
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

static tdm_status resample_nearest(tdm_image_work *work, const image_window *window,
                                   const resample_plan *plan, uint8_t *out)
{
    int64_t *x, *y;
    TDM_TRY(IMAGE_TAKE(&work->place[0], plan->out_width, &x));
    TDM_TRY(IMAGE_TAKE(&work->place[1], plan->out_height, &y));
    nearest_places(plan->left, plan->box_width, window->width, plan->full_width, plan->column,
                   plan->out_width, x);
    nearest_places(plan->top, plan->box_height, window->height, plan->full_height, plan->row,
                   plan->out_height, y);
    for (int64_t row = 0; row < plan->out_height; row++)
        for (int64_t i = 0; i < plan->out_width; i++)
            memcpy(out + row * plan->out_stride + RGB * i,
                   window->pixel + y[row] * window->stride + RGB * x[i], RGB);
    return TDM_OK;
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

tdm_status image_resample(tdm_image_work *work, const image_window *window, const resample_plan *plan,
                          uint8_t *out)
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
    if (window->mode == TDM_IMAGE_INDEXED) return resample_nearest(work, window, plan, out);
    return resample_smooth(work, window, plan, out);
}
