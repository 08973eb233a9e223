/* A turn about the centre, as torchvision's RandomRotation with the nearest neighbour. */
#include "image_impl.h"

typedef struct rotate_options {
    image_strength strength;
    int64_t fill;
} rotate_options;

static const tdm_option options[] = {
    IMAGE_STRENGTH_OPTIONS("1.0", -360, 360, "-15.0", "15.0", "degrees", "angle, counter-clockwise"),
    TDM_INT_OPTION(rotate_options, fill, "0", 0, 255, "", "Red, green and blue outside the picture."),
};

static tdm_status check(const char *where, const void *with)
{
    const image_strength *o = with;
    return image_check_range(where, "rotate", "min", o->min, "max", o->max);
}

static tdm_status rotate(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height, int64_t width,
                         uint8_t *pixel)
{
    const rotate_options *o = with;
    double degrees;
    if (!image_strength_draw(&o->strength, rng, &degrees)) return TDM_OK;
    return image_rotate(work, degrees, (int)o->fill, height, width, pixel);
}

static tdm_status rotate_tensor(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                                int64_t width, float *value)
{
    const rotate_options *o = with;
    double degrees;
    if (!image_strength_draw(&o->strength, rng, &degrees)) return TDM_OK;
    return image_rotate_tensor(work, degrees, (float)o->fill / 255.0f, height, width, value);
}

const image_augment_row image_augment_rotate = {
    .operation = {.name = "rotate", .check = check, TDM_OPERATION_OPTIONS(rotate_options, options)},
    .apply = rotate,
    .apply_tensor = rotate_tensor,
};
