/* A random rectangle becomes one value, as torchvision's RandomErasing: Zhong et al., "Random erasing data
 * augmentation", arXiv 1708.04896. */
#include "image_impl.h"

#include <math.h>
#include <string.h>

typedef struct erase_options {
    double p, min_scale, max_scale, min_ratio, max_ratio;
    int64_t value;
    int64_t box[4];
} erase_options;

#define OPTION(field, def, low, high, help) TDM_FLOAT_OPTION(erase_options, field, def, low, high, "", help)
static const tdm_option options[] = {
    OPTION(p, "0.5", 0, 1, "Probability of erasing a rectangle."),
    OPTION(min_scale, "0.1", 1e-4, 1, "Smallest area of the rectangle, of the view's."),
    OPTION(max_scale, "0.2", 1e-4, 1, "Largest area of the rectangle, of the view's."),
    OPTION(min_ratio, "0.3", 0.01, 100, "Least height over width of the rectangle."),
    OPTION(max_ratio, "3.3", 0.01, 100,
           "Greatest height over width of the rectangle; TBPS-CLIP's code has 3.3, its paper says 10/3."),
    TDM_OPTION_FIELD(TDM_OPTION_INT4, erase_options, box, "[0, 0, 0, 0]", 0, TDM_IMAGE_MAX_PX, NULL, "px",
                     "Top, left, height and width of the rectangle; all 0: a random one.", NULL),
    TDM_INT_OPTION(erase_options, value, "0", 0, 255, "", "Red, green and blue of an erased pixel."),
};

static tdm_status check(const char *where, const void *with)
{
    const erase_options *o = with;
    TDM_TRY(image_check_range(where, "erase", "min_scale", o->min_scale, "max_scale", o->max_scale));
    return image_check_range(where, "erase", "min_ratio", o->min_ratio, "max_ratio", o->max_ratio);
}

/* A rectangle as high or as wide as the view does not count; after ten of them nothing is erased: an empty box. */
static image_box draw_box(const erase_options *o, tdm_rng *rng, int64_t height, int64_t width)
{
    enum { TRIES = 10 };
    const int64_t *fixed = o->box;
    image_box box = {0};
    if (tdm_rng_uniform(rng) >= o->p) return box;
    if (fixed[2] > 0 && fixed[3] > 0)
        return (image_box){.top = tdm_min_i64(fixed[0], height),
                           .left = tdm_min_i64(fixed[1], width),
                           .height = tdm_max_i64(0, tdm_min_i64(fixed[2], height - fixed[0])),
                           .width = tdm_max_i64(0, tdm_min_i64(fixed[3], width - fixed[1]))};
    const double log_min = log(o->min_ratio), log_max = log(o->max_ratio);
    for (int i = 0; i < TRIES; i++) {
        const double area = (double)(height * width) * tdm_rng_range(rng, o->min_scale, o->max_scale);
        const double ratio = exp(tdm_rng_range(rng, log_min, log_max));
        box = (image_box){.height = (int64_t)nearbyint(sqrt(area * ratio)),
                          .width = (int64_t)nearbyint(sqrt(area / ratio))};
        if (box.height >= height || box.width >= width) continue;
        box.top = tdm_rng_below(rng, height - box.height + 1);
        box.left = tdm_rng_below(rng, width - box.width + 1);
        return box;
    }
    return (image_box){0};
}

static tdm_status erase(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height, int64_t width,
                        uint8_t *pixel)
{
    (void)work;
    const erase_options *o = with;
    const image_box box = draw_box(o, rng, height, width);
    for (int64_t row = box.top; row < box.top + box.height; row++)
        memset(pixel + (row * width + box.left) * IMAGE_RGB, (int)o->value, (size_t)(box.width * IMAGE_RGB));
    return TDM_OK;
}

static tdm_status erase_tensor(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                               int64_t width, float *value)
{
    (void)work;
    const erase_options *o = with;
    const image_box box = draw_box(o, rng, height, width);
    for (int c = 0; c < IMAGE_RGB; c++)
        for (int64_t row = box.top; row < box.top + box.height; row++)
            for (int64_t i = box.left; i < box.left + box.width; i++)
                value[(c * height + row) * width + i] = (float)o->value / 255.0f;
    return TDM_OK;
}

const image_augment_row image_augment_erase = {
    .operation = {.name = "erase", .check = check, TDM_OPERATION_OPTIONS(erase_options, options)},
    .apply = erase,
    .apply_tensor = erase_tensor,
};
