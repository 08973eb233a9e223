/* A horizontal flip, as torchvision's RandomHorizontalFlip. */
#include "image_impl.h"

#include <string.h>

typedef struct flip_options {
    double p;
} flip_options;

static const tdm_option options[] = {
    TDM_OPTION_FIELD(TDM_OPTION_FLOAT, flip_options, p, "0.0", 0, 1, NULL, "",
                     "Probability of a horizontal flip.", "augment.flip"),
};

static tdm_status flip(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height, int64_t width,
                       uint8_t *pixel)
{
    (void)work;
    const flip_options *o = with;
    if (tdm_rng_uniform(rng) >= o->p) return TDM_OK;
    for (int64_t row = 0; row < height; row++) {
        uint8_t *left = pixel + row * width * IMAGE_RGB, *right = left + (width - 1) * IMAGE_RGB;
        for (; left < right; left += IMAGE_RGB, right -= IMAGE_RGB) {
            uint8_t kept[IMAGE_RGB];
            memcpy(kept, left, IMAGE_RGB);
            memcpy(left, right, IMAGE_RGB);
            memcpy(right, kept, IMAGE_RGB);
        }
    }
    return TDM_OK;
}

static tdm_status flip_tensor(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                              int64_t width, float *value)
{
    (void)work;
    const flip_options *o = with;
    if (tdm_rng_uniform(rng) >= o->p) return TDM_OK;
    for (int64_t row = 0; row < IMAGE_RGB * height; row++) {
        float *left = value + row * width, *right = left + width - 1;
        for (; left < right; left++, right--) {
            const float kept = *left;
            *left = *right;
            *right = kept;
        }
    }
    return TDM_OK;
}

const image_augment_row image_augment_flip = {
    .operation = {.name = "flip", TDM_OPERATION_OPTIONS(flip_options, options)},
    .apply = flip,
    .apply_tensor = flip_tensor,
};
