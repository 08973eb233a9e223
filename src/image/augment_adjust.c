/* One adjustment of the colours by a factor from a range: what jitter does of all of them. Four rows that differ by the
 * adjustment. */
#include "image_impl.h"

#define FACTOR_OPTIONS IMAGE_STRENGTH_OPTIONS("1.0", 0, 100, "0.9", "1.1", "", "factor; 1 changes nothing")
static const tdm_option factor_options[] = {FACTOR_OPTIONS};
static const tdm_option turn_options[] = {
    IMAGE_STRENGTH_OPTIONS("1.0", -0.5, 0.5, "-0.1", "0.1", "turns", "turn of the hue"),
};

static tdm_status check_named(const char *where, const char *name, const void *with)
{
    const image_strength *o = with;
    return image_check_range(where, name, "min", o->min, "max", o->max);
}

static tdm_status adjust(image_adjustment kind, const void *with, tdm_rng *rng, int64_t n, uint8_t *pixel)
{
    double factor;
    if (image_strength_draw(with, rng, &factor)) image_adjust(kind, factor, pixel, n);
    return TDM_OK;
}

static tdm_status adjust_tensor(image_adjustment kind, const void *with, tdm_rng *rng, int64_t n,
                                float *value)
{
    double factor;
    if (image_strength_draw(with, rng, &factor)) image_adjust_tensor(kind, factor, value, n);
    return TDM_OK;
}

/* row: image_augment_NAME; id: NAME */
#define ADJUSTMENT(row, id, kind, rows)                                                                      \
    static tdm_status id##_check(const char *where, const void *with)                                        \
    {                                                                                                        \
        return check_named(where, #id, with);                                                                \
    }                                                                                                        \
    static tdm_status id##_apply(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,       \
                                 int64_t width, uint8_t *pixel)                                              \
    {                                                                                                        \
        (void)work;                                                                                          \
        return adjust(kind, with, rng, height * width, pixel);                                               \
    }                                                                                                        \
    static tdm_status id##_tensor(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,      \
                                  int64_t width, float *value)                                               \
    {                                                                                                        \
        (void)work;                                                                                          \
        return adjust_tensor(kind, with, rng, height * width, value);                                        \
    }                                                                                                        \
    const image_augment_row row = {                                                                          \
        .operation = {.name = #id, .check = id##_check, TDM_OPERATION_OPTIONS(image_strength, rows)},        \
        .apply = id##_apply,                                                                                 \
        .apply_tensor = id##_tensor,                                                                         \
    };
ADJUSTMENT(image_augment_brightness, brightness, IMAGE_BRIGHTNESS, factor_options)
ADJUSTMENT(image_augment_contrast, contrast, IMAGE_CONTRAST, factor_options)
ADJUSTMENT(image_augment_saturation, saturation, IMAGE_SATURATION, factor_options)
ADJUSTMENT(image_augment_hue, hue, IMAGE_HUE, turn_options)
