/* The operations of the policies, each by itself: a row for each, with Pillow's levels (image_policy.c). */
#include "image_impl.h"

static tdm_status apply(tdm_image_work *work, const void *with, tdm_rng *rng, image_policy_op op, double base,
                        int64_t height, int64_t width, uint8_t *pixel)
{
    double strength;
    if (!image_strength_draw(with, rng, &strength)) return TDM_OK;
    return image_policy_apply(work, op, strength - base, height, width, pixel);
}

static tdm_status check_named(const char *where, const char *name, const void *with)
{
    const image_strength *o = with;
    return image_check_range(where, name, "min", o->min, "max", o->max);
}

/* row: image_augment_NAME; id: NAME; base: what is taken off for torchvision's magnitude; then the options */
#define LEVELS_ROW(row, id, op, base, ...)                                                                   \
    static const tdm_option id##_options[] = {__VA_ARGS__};                                                  \
    static tdm_status id##_check(const char *where, const void *with)                                        \
    {                                                                                                        \
        return check_named(where, #id, with);                                                                \
    }                                                                                                        \
    static tdm_status id##_apply(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,       \
                                 int64_t width, uint8_t *pixel)                                              \
    {                                                                                                        \
        return apply(work, with, rng, op, base, height, width, pixel);                                       \
    }                                                                                                        \
    const image_augment_row row = {                                                                          \
        .operation = {.name = #id,                                                                           \
                      .check = id##_check,                                                                   \
                      TDM_OPERATION_OPTIONS(image_strength, id##_options)},                                  \
        .apply = id##_apply,                                                                                 \
    };
LEVELS_ROW(image_augment_shear_x, shear_x, IMAGE_OP_SHEAR_X, 0.0,
           IMAGE_STRENGTH_OPTIONS("1.0", -10, 10, "-0.3", "0.3", "",
                                  "shift of a row against the one above, in pixels"))
LEVELS_ROW(image_augment_shear_y, shear_y, IMAGE_OP_SHEAR_Y, 0.0,
           IMAGE_STRENGTH_OPTIONS("1.0", -10, 10, "-0.3", "0.3", "",
                                  "shift of a column against the one on its left, in pixels"))
LEVELS_ROW(image_augment_translate_x, translate_x, IMAGE_OP_TRANSLATE_X, 0.0,
           IMAGE_STRENGTH_OPTIONS("1.0", -TDM_IMAGE_MAX_PX, TDM_IMAGE_MAX_PX, "-32.0", "32.0", "px",
                                  "shift to the right, cut to whole pixels"))
LEVELS_ROW(image_augment_translate_y, translate_y, IMAGE_OP_TRANSLATE_Y, 0.0,
           IMAGE_STRENGTH_OPTIONS("1.0", -TDM_IMAGE_MAX_PX, TDM_IMAGE_MAX_PX, "-32.0", "32.0", "px",
                                  "shift downwards, cut to whole pixels"))
LEVELS_ROW(image_augment_sharpness, sharpness, IMAGE_OP_SHARPNESS, 1.0,
           IMAGE_STRENGTH_OPTIONS("1.0", 0, 100, "0.1", "1.9", "", "factor; 0 smooths, 1 changes nothing"))
LEVELS_ROW(image_augment_posterize, posterize, IMAGE_OP_POSTERIZE, 0.0,
           IMAGE_STRENGTH_OPTIONS("1.0", 1, 8, "4.0", "4.0", "bits",
                                  "number of bits that are kept, cut to a whole one"))
LEVELS_ROW(image_augment_solarize, solarize, IMAGE_OP_SOLARIZE, 0.0,
           IMAGE_STRENGTH_OPTIONS("1.0", 0, 256, "128.0", "128.0", "",
                                  "level from which on levels are inverted"))

/* ---- without a number ---- */

typedef struct chance {
    double p;
} chance;

static const tdm_option chance_options[] = {
    TDM_FLOAT_OPTION(chance, p, "1.0", 0, 1, "", "Probability that it happens."),
};

static tdm_status apply_by_chance(tdm_image_work *work, const void *with, tdm_rng *rng, image_policy_op op,
                                  int64_t height, int64_t width, uint8_t *pixel)
{
    const chance *o = with;
    return tdm_rng_uniform(rng) < o->p ? image_policy_apply(work, op, 0.0, height, width, pixel) : TDM_OK;
}

static tdm_status autocontrast(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                               int64_t width, uint8_t *pixel)
{
    return apply_by_chance(work, with, rng, IMAGE_OP_AUTOCONTRAST, height, width, pixel);
}

static tdm_status equalize(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                           int64_t width, uint8_t *pixel)
{
    return apply_by_chance(work, with, rng, IMAGE_OP_EQUALIZE, height, width, pixel);
}

static tdm_status invert(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height, int64_t width,
                         uint8_t *pixel)
{
    return apply_by_chance(work, with, rng, IMAGE_OP_INVERT, height, width, pixel);
}

const image_augment_row image_augment_autocontrast = {
    .operation = {.name = "autocontrast", TDM_OPERATION_OPTIONS(chance, chance_options)},
    .apply = autocontrast};
const image_augment_row image_augment_equalize = {
    .operation = {.name = "equalize", TDM_OPERATION_OPTIONS(chance, chance_options)}, .apply = equalize};
const image_augment_row image_augment_invert = {
    .operation = {.name = "invert", TDM_OPERATION_OPTIONS(chance, chance_options)}, .apply = invert};
