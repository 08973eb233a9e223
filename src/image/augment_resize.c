/* The whole image becomes exactly as high and wide as the model's input, whatever model.image.resize says. */
#include "image_impl.h"

typedef struct resize_options {
    int interpolation; /* image_filter */
} resize_options;

static const tdm_option options[] = {
    TDM_CHOICE_OPTION(resize_options, interpolation, "bicubic", IMAGE_FILTERS,
                      "How the image is resized, antialiased either way as by Pillow."),
};

static image_filter filter(const void *with)
{
    return (image_filter)((const resize_options *)with)->interpolation;
}

const image_augment_row image_augment_resize = {
    .operation = {.name = "resize", TDM_OPERATION_OPTIONS(resize_options, options)},
    .filter = filter,
    .exact = true,
};
