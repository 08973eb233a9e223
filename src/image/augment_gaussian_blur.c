/* torchvision's GaussianBlur: a kernel of a fixed size, whose deviation is drawn. On 8 bits, too, it computes in floats
 * and rounds. */
#include "image_impl.h"

#include <math.h>

enum { MOST_TAPS = 255 };

typedef struct gaussian_options {
    double p, min_sigma, max_sigma;
    int64_t kernel;
} gaussian_options;

#define OPTION(field, def, low, high, help)                                                                  \
    TDM_FLOAT_OPTION(gaussian_options, field, def, low, high, "px", help)
static const tdm_option options[] = {
    TDM_FLOAT_OPTION(gaussian_options, p, "1.0", 0, 1, "", "Probability of a blur."),
    OPTION(min_sigma, "0.1", 1e-3, 1000, "Least standard deviation."),
    OPTION(max_sigma, "2.0", 1e-3, 1000, "Greatest standard deviation."),
    TDM_INT_OPTION(gaussian_options, kernel, "3", 1, MOST_TAPS, "px", "Side of the kernel, odd."),
};

static tdm_status check(const char *where, const void *with)
{
    const gaussian_options *o = with;
    TDM_REQUIRE(o->kernel % 2 == 1, TDM_E_CONFIG, "%s: gaussian_blur: kernel = %lld is not odd", where,
                (long long)o->kernel);
    return image_check_range(where, "gaussian_blur", "min_sigma", o->min_sigma, "max_sigma", o->max_sigma);
}

static void make_weights(int64_t taps, double sigma, float *weight)
{
    double sum = 0.0, exact[MOST_TAPS];
    for (int64_t i = 0; i < taps; i++) {
        const double x = ((double)i - (double)(taps - 1) * 0.5) / sigma;
        exact[i] = exp(-0.5 * x * x);
        sum += exact[i];
    }
    for (int64_t i = 0; i < taps; i++) weight[i] = (float)(exact[i] / sum);
}

static tdm_status blur_tensor(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                              int64_t width, float *value)
{
    const gaussian_options *o = with;
    float weight[MOST_TAPS];
    if (tdm_rng_uniform(rng) >= o->p) return TDM_OK;
    make_weights(o->kernel, tdm_rng_range(rng, o->min_sigma, o->max_sigma), weight);
    return image_convolve_tensor(work, weight, o->kernel, height, width, value);
}

static tdm_status blur(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height, int64_t width,
                       uint8_t *pixel)
{
    float *value;
    TDM_TRY(IMAGE_TAKE(&work->tensor[0], IMAGE_RGB * height * width, &value));
    image_to_tensor(pixel, height * width, value);
    TDM_TRY(blur_tensor(work, with, rng, height, width, value));
    image_from_tensor(value, height * width, pixel);
    return TDM_OK;
}

const image_augment_row image_augment_gaussian_blur = {
    .operation = {.name = "gaussian_blur", .check = check, TDM_OPERATION_OPTIONS(gaussian_options, options)},
    .apply = blur,
    .apply_tensor = blur_tensor,
};
