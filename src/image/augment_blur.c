/* Pillow's ImageFilter.GaussianBlur: three box blurs with a fractional radius along the rows, then three along the
 * columns, 8 bits after each (src/libImaging/BoxBlur.c, after Gwosdek et al., "Theoretical foundations of Gaussian
 * convolution by extended box filtering", SSVM 2011). Weights have 24 bits behind the point. */
#include "image_impl.h"

#include <math.h>
#include <string.h>

enum { PASSES = 3 };

typedef struct blur_options {
    double p, min_radius, max_radius;
} blur_options;

static const tdm_option options[] = {
    TDM_FLOAT_OPTION(blur_options, p, "0.5", 0, 1, "", "Probability of a blur."),
    TDM_FLOAT_OPTION(blur_options, min_radius, "0.1", 0, 1000, "px", "Least standard deviation."),
    TDM_FLOAT_OPTION(blur_options, max_radius, "2.0", 0, 1000, "px", "Greatest standard deviation."),
};

static tdm_status check(const char *where, const void *with)
{
    const blur_options *o = with;
    return image_check_range(where, "blur", "min_radius", o->min_radius, "max_radius", o->max_radius);
}

/* A box of 2 reach + 1 values with weight `whole`, and one more on either side with weight `edge`. */
typedef struct box_blur {
    int64_t reach;
    uint32_t whole, edge;
} box_blur;

/* In single precision, as Pillow computes it. */
static box_blur box_of(float radius)
{
    const float sigma2 = radius * radius / (float)PASSES;
    const float length = (float)sqrt(12.0 * (double)sigma2 + 1.0);
    const float l = floorf((length - 1.0f) / 2.0f);
    float a = (2.0f * l + 1.0f) * (l * (l + 1.0f) - 3.0f * sigma2);
    a /= 6.0f * (sigma2 - (l + 1.0f) * (l + 1.0f));
    const float wide = l + a;
    box_blur box = {.reach = (int64_t)wide};
    box.whole = (uint32_t)((float)(1u << 24) / (wide * 2.0f + 1.0f));
    box.edge = ((1u << 24) - (uint32_t)(box.reach * 2 + 1) * box.whole) / 2;
    return box;
}

static int64_t clamp(int64_t at, int64_t n)
{
    return at < 0 ? 0 : at >= n ? n - 1 : at;
}

/* sum: of the boxes; left, right: what lies beside them */
static void store(const box_blur *box, int64_t n, const uint32_t *sum, const uint8_t *left,
                  const uint8_t *right, uint8_t *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] =
            (uint8_t)((sum[i] * box->whole + (uint32_t)(left[i] + right[i]) * box->edge + (1u << 23)) >> 24);
}

/* One row; padded: room for the row with its edges repeated, sum: [width * 3] */
static void blur_row(const box_blur *box, int64_t width, uint8_t *padded, uint32_t *sum, uint8_t *row)
{
    const int64_t reach = box->reach, beside = reach + 1, bytes = width * IMAGE_RGB;
    for (int64_t i = 0; i < beside; i++) {
        memcpy(padded + i * IMAGE_RGB, row, IMAGE_RGB);
        memcpy(padded + (beside + width + i) * IMAGE_RGB, row + bytes - IMAGE_RGB, IMAGE_RGB);
    }
    memcpy(padded + beside * IMAGE_RGB, row, (size_t)bytes);
    const uint8_t *in = padded + IMAGE_RGB;
    if (reach < 8) { /* sums anew: they need no order */
        for (int64_t i = 0; i < bytes; i++) sum[i] = in[i];
        for (int64_t j = 1; j <= 2 * reach; j++)
            for (int64_t i = 0; i < bytes; i++) sum[i] += in[i + j * IMAGE_RGB];
    } else {
        memset(sum, 0, IMAGE_RGB * sizeof(*sum));
        for (int64_t j = 0; j <= 2 * reach; j++)
            for (int c = 0; c < IMAGE_RGB; c++) sum[c] += in[j * IMAGE_RGB + c];
        for (int64_t i = IMAGE_RGB; i < bytes; i++)
            sum[i] = sum[i - IMAGE_RGB] + in[i + 2 * reach * IMAGE_RGB] - in[i - IMAGE_RGB];
    }
    store(box, bytes, sum, padded, padded + 2 * beside * IMAGE_RGB, row);
}

/* One pass down the columns, of all of them at once. sum: [bytes] */
static void blur_columns(const box_blur *box, int64_t height, int64_t bytes, uint32_t *sum,
                         const uint8_t *from, uint8_t *to)
{
    const int64_t reach = box->reach;
    memset(sum, 0, (size_t)bytes * sizeof(*sum));
    for (int64_t j = -reach; j <= reach; j++) {
        const uint8_t *in = from + clamp(j, height) * bytes;
        for (int64_t i = 0; i < bytes; i++) sum[i] += in[i];
    }
    for (int64_t row = 0; row < height; row++) {
        const uint8_t *above = from + clamp(row - reach - 1, height) * bytes;
        const uint8_t *below = from + clamp(row + reach + 1, height) * bytes;
        const uint8_t *gone = from + clamp(row - reach, height) * bytes;
        store(box, bytes, sum, above, below, to + row * bytes);
        for (int64_t i = 0; i < bytes; i++) sum[i] += (uint32_t)below[i] - gone[i];
    }
}

static tdm_status blur_view(tdm_image_work *work, double radius, int64_t height, int64_t width,
                            uint8_t *pixel)
{
    const box_blur box = box_of((float)radius);
    const int64_t bytes = width * IMAGE_RGB;
    uint8_t *other, *padded;
    uint32_t *sum;
    TDM_TRY(IMAGE_TAKE(&work->scratch[0], height * bytes + bytes + 2 * (box.reach + 1) * IMAGE_RGB, &other));
    TDM_TRY(IMAGE_TAKE(&work->scratch[1], bytes, &sum));
    padded = other + height * bytes;
    for (int64_t row = 0; row < height; row++)
        for (int pass = 0; pass < PASSES; pass++) blur_row(&box, width, padded, sum, pixel + row * bytes);
    blur_columns(&box, height, bytes, sum, pixel, other);
    blur_columns(&box, height, bytes, sum, other, pixel);
    blur_columns(&box, height, bytes, sum, pixel, other);
    memcpy(pixel, other, (size_t)(height * bytes));
    return TDM_OK;
}

static tdm_status blur(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height, int64_t width,
                       uint8_t *pixel)
{
    const blur_options *o = with;
    if (tdm_rng_uniform(rng) >= o->p) return TDM_OK;
    const double radius = tdm_rng_range(rng, o->min_radius, o->max_radius);
    return radius > 0.0 ? blur_view(work, radius, height, width, pixel) : TDM_OK;
}

const image_augment_row image_augment_blur = {
    .operation = {.name = "blur", .check = check, TDM_OPERATION_OPTIONS(blur_options, options)},
    .apply = blur,
};
