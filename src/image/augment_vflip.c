/* Upside down, as torchvision's RandomVerticalFlip. */
#include "image_impl.h"

#include <string.h>

typedef struct vflip_options {
    double p;
} vflip_options;

static const tdm_option options[] = {
    TDM_FLOAT_OPTION(vflip_options, p, "0.5", 0, 1, "", "Probability of turning top and bottom round."),
};

static void swap_rows(unsigned char *a, unsigned char *b, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char kept = a[i];
        a[i] = b[i];
        b[i] = kept;
    }
}

static void turn(void *first, int64_t height, size_t row_bytes)
{
    unsigned char *top = first, *bottom = top + (size_t)(height - 1) * row_bytes;
    for (; top < bottom; top += row_bytes, bottom -= row_bytes) swap_rows(top, bottom, row_bytes);
}

static tdm_status vflip(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height, int64_t width,
                        uint8_t *pixel)
{
    (void)work;
    const vflip_options *o = with;
    if (tdm_rng_uniform(rng) < o->p) turn(pixel, height, (size_t)(width * IMAGE_RGB));
    return TDM_OK;
}

static tdm_status vflip_tensor(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                               int64_t width, float *value)
{
    (void)work;
    const vflip_options *o = with;
    if (tdm_rng_uniform(rng) >= o->p) return TDM_OK;
    for (int c = 0; c < IMAGE_RGB; c++)
        turn(value + c * height * width, height, (size_t)width * sizeof(*value));
    return TDM_OK;
}

const image_augment_row image_augment_vflip = {
    .operation = {.name = "vflip", TDM_OPERATION_OPTIONS(vflip_options, options)},
    .apply = vflip,
    .apply_tensor = vflip_tensor,
};
