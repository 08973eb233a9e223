/* A random rectangle becomes one value, as torchvision's RandomErasing: Zhong et al., "Random erasing data
 * augmentation", arXiv 1708.04896. */
#include "image_impl.h"

#include <math.h>
#include <string.h>

typedef struct erase_options {
    double p, min_scale, max_scale, min_ratio, max_ratio;
    int64_t value;
} erase_options;

#define OPTION(field, def, low, high, help) TDM_FLOAT_OPTION(erase_options, field, def, low, high, "", help)
static const tdm_option options[] = {
    OPTION(p, "0.5", 0, 1, "Probability of erasing a rectangle."),
    OPTION(min_scale, "0.1", 1e-4, 1, "Smallest area of the rectangle, of the view's."),
    OPTION(max_scale, "0.2", 1e-4, 1, "Largest area of the rectangle, of the view's."),
    OPTION(min_ratio, "0.3", 0.01, 100, "Least height over width of the rectangle."),
    OPTION(max_ratio, "3.3", 0.01, 100, "Greatest height over width of the rectangle."),
    TDM_INT_OPTION(erase_options, value, "0", 0, 255, "", "Red, green and blue of an erased pixel."),
};

static tdm_status check(const char *where, const void *with)
{
    const erase_options *o = with;
    TDM_REQUIRE(o->min_scale <= o->max_scale, TDM_E_CONFIG,
                "%s: erase: min_scale = %g is larger than max_scale = %g", where, o->min_scale, o->max_scale);
    TDM_REQUIRE(o->min_ratio <= o->max_ratio, TDM_E_CONFIG,
                "%s: erase: min_ratio = %g is larger than max_ratio = %g", where, o->min_ratio, o->max_ratio);
    return TDM_OK;
}

static void fill(uint8_t *pixel, int64_t width, const image_box *box, int value)
{
    for (int64_t row = box->top; row < box->top + box->height; row++)
        memset(pixel + (row * width + box->left) * IMAGE_RGB, value, (size_t)(box->width * IMAGE_RGB));
}

/* A rectangle as high or as wide as the view does not count; after ten of them nothing is erased. */
static tdm_status erase(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height, int64_t width,
                        uint8_t *pixel)
{
    enum { TRIES = 10 };
    (void)work;
    const erase_options *o = with;
    if (tdm_rng_uniform(rng) >= o->p) return TDM_OK;
    const double log_min = log(o->min_ratio), log_max = log(o->max_ratio);
    for (int i = 0; i < TRIES; i++) {
        const double area = (double)(height * width) * tdm_rng_range(rng, o->min_scale, o->max_scale);
        const double ratio = exp(tdm_rng_range(rng, log_min, log_max));
        image_box box = {.height = (int64_t)nearbyint(sqrt(area * ratio)),
                         .width = (int64_t)nearbyint(sqrt(area / ratio))};
        if (box.height >= height || box.width >= width) continue;
        box.top = tdm_rng_below(rng, height - box.height + 1);
        box.left = tdm_rng_below(rng, width - box.width + 1);
        fill(pixel, width, &box, (int)o->value);
        break;
    }
    return TDM_OK;
}

const image_augment_row image_augment_erase = {
    .operation = {.name = "erase", .check = check, TDM_OPERATION_OPTIONS(erase_options, options)},
    .apply = erase,
};
