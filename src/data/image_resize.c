/* Pillow's two-pass resampling of 8-bit images (python-pillow/Pillow, src/libImaging/Resample.c describes
 * it): per output pixel a window of taps whose width grows with the reduction, coefficients in fixed point
 * with 22 fractional bits, horizontal pass first, rounded to 8 bits between the passes. */
#include "image_impl.h"

#include <math.h>
#include <string.h>

enum { PRECISION_BITS = 32 - 8 - 2, CHANNELS = 3 };
#define CUBIC_SUPPORT 2.0

/* Taps of one dimension: output i = sum over j < count[i] of weight[i*taps + j] * input[first[i] + j]. */
typedef struct taps {
    int64_t taps; /* stride of weight */
    int64_t *first, *count;
    int32_t *weight;
} taps;

static void taps_free(taps *it)
{
    tdm_free(it->first);
    tdm_free(it->count);
    tdm_free(it->weight);
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
                              int64_t n, taps *out)
{
    float in0 = (float)begin, in1 = (float)(begin + length);
    double scale = (double)(in1 - in0) / (double)full_n;
    double widening = scale < 1.0 ? 1.0 : scale;
    double support = CUBIC_SUPPORT * widening;
    double *exact = NULL;
    out->taps = (int64_t)ceil(support) * 2 + 1;
    tdm_status status = TDM_ALLOC(n, &out->first);
    if (status == TDM_OK) status = TDM_ALLOC(n, &out->count);
    if (status == TDM_OK) status = TDM_ALLOC(n * out->taps, &out->weight);
    if (status == TDM_OK) status = TDM_ALLOC(out->taps, &exact);
    for (int64_t i = 0; i < n && status == TDM_OK; i++) {
        double center = (double)in0 + ((double)(i + skip) + 0.5) * scale;
        int64_t first = tdm_max_i64(0, (int64_t)(center - support + 0.5));
        int64_t end = tdm_min_i64(size, (int64_t)(center + support + 0.5));
        double sum = 0.0;
        for (int64_t j = 0; j < end - first; j++) {
            exact[j] = cubic(((double)(j + first) - center + 0.5) * (1.0 / widening));
            sum += exact[j];
        }
        for (int64_t j = 0; j < end - first; j++)
            out->weight[i * out->taps + j] = fixed_point(sum != 0.0 ? exact[j] / sum : exact[j]);
        out->first[i] = first;
        out->count[i] = end - first;
    }
    tdm_free(exact);
    return status;
}

static inline uint8_t clip8(int32_t value)
{
    value >>= PRECISION_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* One row: in [..][3] -> out [n][3] */
static void horizontal_row(const taps *x, int64_t n, const uint8_t *in, uint8_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *from = in + x->first[i] * CHANNELS;
        const int32_t *weight = x->weight + i * x->taps;
        int32_t r = 1 << (PRECISION_BITS - 1), g = r, b = r;
        for (int64_t j = 0; j < x->count[i]; j++) {
            r += from[CHANNELS * j] * weight[j];
            g += from[CHANNELS * j + 1] * weight[j];
            b += from[CHANNELS * j + 2] * weight[j];
        }
        out[CHANNELS * i] = clip8(r);
        out[CHANNELS * i + 1] = clip8(g);
        out[CHANNELS * i + 2] = clip8(b);
    }
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

/* Both passes; middle[rows][out_width][3] holds the rows [y->first[0], …) that the second pass reads. */
static tdm_status two_passes(const image_window *window, const taps *x, const taps *y, int64_t out_height,
                             int64_t out_width, uint8_t *out)
{
    int64_t begin = y->first[0], end = y->first[out_height - 1] + y->count[out_height - 1];
    int64_t bytes = out_width * CHANNELS;
    uint8_t *middle = NULL;
    int32_t *sum = NULL;
    tdm_status status = TDM_ALLOC((end - begin) * bytes, &middle);
    if (status == TDM_OK) status = TDM_ALLOC(bytes, &sum);
    if (status == TDM_OK) {
        for (int64_t row = begin; row < end; row++)
            horizontal_row(x, out_width, window->pixel + row * window->stride,
                           middle + (row - begin) * bytes);
        for (int64_t i = 0; i < out_height; i++)
            vertical_row(y->weight + i * y->taps, y->count[i], middle + (y->first[i] - begin) * bytes, bytes,
                         bytes, sum, out + i * bytes);
    }
    tdm_free(middle);
    tdm_free(sum);
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
    TDM_REQUIRE(plan->out_height > 0 && plan->out_width > 0 && plan->full_height <= TDM_IMAGE_MAX_PX &&
                    plan->full_width <= TDM_IMAGE_MAX_PX,
                TDM_E_SHAPE, "cannot resize an image to %lld x %lld px", (long long)plan->full_height,
                (long long)plan->full_width);
    TDM_REQUIRE(
        fits(plan->top, plan->box_height, window->height) && fits(plan->left, plan->box_width, window->width),
        TDM_E_SHAPE, "resize: box %g+%g, %g+%g is outside the image of %lld x %lld px", plan->top,
        plan->box_height, plan->left, plan->box_width, (long long)window->height, (long long)window->width);
    if (is_copy(window, plan)) {
        const uint8_t *from = window->pixel + plan->row * window->stride + plan->column * CHANNELS;
        for (int64_t i = 0; i < plan->out_height; i++)
            memcpy(out + i * plan->out_width * CHANNELS, from + i * window->stride,
                   (size_t)(plan->out_width * CHANNELS));
        return TDM_OK;
    }
    taps x = {0}, y = {0};
    tdm_status status = taps_create(window->width, plan->left, plan->box_width, plan->full_width,
                                    plan->column, plan->out_width, &x);
    if (status == TDM_OK)
        status = taps_create(window->height, plan->top, plan->box_height, plan->full_height, plan->row,
                             plan->out_height, &y);
    if (status == TDM_OK) status = two_passes(window, &x, &y, plan->out_height, plan->out_width, out);
    taps_free(&x);
    taps_free(&y);
    return status;
}

tdm_status tdm_image_resize(const tdm_image *image, double top, double left, double box_height,
                            double box_width, int64_t out_height, int64_t out_width, uint8_t *out)
{
    const image_window window = {.pixel = image->pixel,
                                 .height = image->height,
                                 .width = image->width,
                                 .stride = image->width * CHANNELS};
    const resample_plan plan = {.top = top,
                                .left = left,
                                .box_height = box_height,
                                .box_width = box_width,
                                .full_height = out_height,
                                .full_width = out_width,
                                .out_height = out_height,
                                .out_width = out_width};
    return image_resample(&window, &plan, out);
}

/* round() of Python: halves to even. */
static int64_t round_half_even(double x)
{
    return (int64_t)nearbyint(x);
}

tdm_status tdm_image_plain(const tdm_image *image, int64_t height, int64_t width, uint8_t *out)
{
    /* torchvision's Resize: the side that must only cover is cut to an integer, then CenterCrop */
    int64_t full_height = height, full_width = width;
    TDM_REQUIRE(height > 0 && width > 0 && image->height > 0 && image->width > 0, TDM_E_SHAPE,
                "cannot make %lld x %lld px of an image of %lld x %lld px", (long long)height,
                (long long)width, (long long)image->height, (long long)image->width);
    if (image->width * height >= image->height * width)
        full_width = tdm_max_i64(width, height * image->width / image->height);
    else
        full_height = tdm_max_i64(height, width * image->height / image->width);
    const image_window window = {.pixel = image->pixel,
                                 .height = image->height,
                                 .width = image->width,
                                 .stride = image->width * CHANNELS};
    const resample_plan plan = {.box_height = (double)image->height,
                                .box_width = (double)image->width,
                                .full_height = full_height,
                                .full_width = full_width,
                                .row = round_half_even((double)(full_height - height) / 2.0),
                                .column = round_half_even((double)(full_width - width) / 2.0),
                                .out_height = height,
                                .out_width = width};
    return image_resample(&window, &plan, out);
}
