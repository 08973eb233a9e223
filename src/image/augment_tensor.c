/* From here on a view is computed in floats, as torchvision's transforms behind ToTensor. */
#include "image_impl.h"

const image_augment_row image_augment_tensor = {.operation = {.name = "tensor"}, .to_tensor = true};
