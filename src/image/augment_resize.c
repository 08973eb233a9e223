/* The whole image becomes exactly as high and wide as the model's input, whatever model.image.resize says. */
#include "image_impl.h"

const image_augment_row image_augment_resize = {.operation = {.name = "resize"}, .exact = true};
