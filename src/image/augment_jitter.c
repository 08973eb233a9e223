/* Colour jitter with the distribution of torchvision's ColorJitter and the arithmetic of what it works on: 8 bits as
 * Pillow's images, or floats as tensors. */
#include "image_impl.h"

#include <math.h>

typedef struct jitter_options {
    double p, brightness, contrast, saturation, hue;
} jitter_options;

#define OPTION(field, former, high, unit, help)                                                              \
    TDM_OPTION_FIELD(TDM_OPTION_FLOAT, jitter_options, field, "0.0", 0, high, NULL, unit, help, former)
static const tdm_option options[] = {
    OPTION(p, "augment.jitter", 1, "", "Probability of colour jitter."),
    OPTION(brightness, "augment.brightness", 1, "", "Colour jitter: brightness is scaled by up to 1 ± this."),
    OPTION(contrast, "augment.contrast", 1, "", "Colour jitter: contrast is scaled by up to 1 ± this."),
    OPTION(saturation, "augment.saturation", 1, "", "Colour jitter: saturation is scaled by up to 1 ± this."),
    OPTION(hue, "augment.hue", 0.5, "turns", "Colour jitter: hue is shifted by up to ± this."),
};

void image_adjust(image_adjustment kind, double factor, uint8_t *pixel, int64_t n)
{
    const image_kernels *kernels = image_kernels_chosen();
    switch (kind) {
    case IMAGE_BRIGHTNESS: kernels->blend(0, (float)factor, pixel, n * IMAGE_RGB); break;
    case IMAGE_CONTRAST: {
        const double mean = (double)kernels->luma_sum(pixel, n) / (double)n;
        kernels->blend((uint8_t)(mean + 0.5), (float)factor, pixel, n * IMAGE_RGB);
        break;
    }
    case IMAGE_SATURATION: kernels->saturate((float)factor, pixel, n); break;
    case IMAGE_HUE: kernels->turn((uint8_t)(int)(factor * 255.0), pixel, n); break;
    case IMAGE_ADJUSTMENTS: break;
    }
}

typedef struct jitter_draw {
    int count; /* of `order` */
    image_adjustment order[IMAGE_ADJUSTMENTS];
    double factor[IMAGE_ADJUSTMENTS];
} jitter_draw;

/* All adjustments in random order, with factors from [max(0, 1 - x), 1 + x), hue from [-x, x). */
static void draw_jitter(const jitter_options *o, tdm_rng *rng, jitter_draw *draw)
{
    const double strength[] = {o->brightness, o->contrast, o->saturation, o->hue};
    int order[IMAGE_ADJUSTMENTS];
    draw->count = 0;
    if (tdm_rng_uniform(rng) >= o->p) return;
    for (int i = 0; i < IMAGE_ADJUSTMENTS; i++) {
        double middle = i == IMAGE_HUE ? 0.0 : 1.0;
        double low = i == IMAGE_HUE ? -strength[i] : fmax(0.0, middle - strength[i]);
        draw->factor[i] = tdm_rng_range(rng, low, middle + strength[i]);
        order[i] = i;
    }
    for (int i = IMAGE_ADJUSTMENTS - 1; i > 0; i--) {
        int j = (int)tdm_rng_below(rng, i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    for (int i = 0; i < IMAGE_ADJUSTMENTS; i++)
        if (strength[order[i]] > 0.0) draw->order[draw->count++] = (image_adjustment)order[i];
}

static tdm_status jitter(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height, int64_t width,
                         uint8_t *pixel)
{
    (void)work;
    jitter_draw draw;
    draw_jitter(with, rng, &draw);
    for (int i = 0; i < draw.count; i++)
        image_adjust(draw.order[i], draw.factor[draw.order[i]], pixel, height * width);
    return TDM_OK;
}

static tdm_status jitter_tensor(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                                int64_t width, float *value)
{
    (void)work;
    jitter_draw draw;
    draw_jitter(with, rng, &draw);
    for (int i = 0; i < draw.count; i++)
        image_adjust_tensor(draw.order[i], draw.factor[draw.order[i]], value, height * width);
    return TDM_OK;
}

const image_augment_row image_augment_jitter = {
    .operation = {.name = "jitter", TDM_OPERATION_OPTIONS(jitter_options, options)},
    .apply = jitter,
    .apply_tensor = jitter_tensor,
};
