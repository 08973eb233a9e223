/* Without colours, as torchvision's RandomGrayscale. */
#include "image_impl.h"

typedef struct gray_options {
    double p;
} gray_options;

static const tdm_option options[] = {
    TDM_OPTION_FIELD(TDM_OPTION_FLOAT, gray_options, p, "0.0", 0, 1, NULL, "",
                     "Probability of removing the colours.", "augment.gray"),
};

static tdm_status gray(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height, int64_t width,
                       uint8_t *pixel)
{
    (void)work;
    const gray_options *o = with;
    if (tdm_rng_uniform(rng) < o->p) image_kernels_chosen()->gray(pixel, height * width);
    return TDM_OK;
}

static tdm_status gray_tensor(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                              int64_t width, float *value)
{
    (void)work;
    const gray_options *o = with;
    if (tdm_rng_uniform(rng) < o->p) image_gray_tensor(value, height * width);
    return TDM_OK;
}

const image_augment_row image_augment_gray = {
    .operation = {.name = "gray", TDM_OPERATION_OPTIONS(gray_options, options)},
    .apply = gray,
    .apply_tensor = gray_tensor,
};
