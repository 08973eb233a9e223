/* The augmentations of images. A new one is a file augment_NAME.c, which defines image_augment_NAME, and a row here. */
#define IMAGE_AUGMENT_TABLE(ROW)                                                                             \
    ROW(image_augment_crop)                                                                                  \
    ROW(image_augment_resize)                                                                                \
    ROW(image_augment_tensor)                                                                                \
    ROW(image_augment_pool)                                                                                  \
    ROW(image_augment_flip)                                                                                  \
    ROW(image_augment_vflip)                                                                                 \
    ROW(image_augment_rotate)                                                                                \
    ROW(image_augment_jitter)                                                                                \
    ROW(image_augment_brightness)                                                                            \
    ROW(image_augment_contrast)                                                                              \
    ROW(image_augment_saturation)                                                                            \
    ROW(image_augment_hue)                                                                                   \
    ROW(image_augment_gray)                                                                                  \
    ROW(image_augment_erase)                                                                                 \
    ROW(image_augment_gaussian_blur)                                                                         \
    ROW(image_augment_blur)                                                                                  \
    ROW(image_augment_auto_augment)                                                                          \
    ROW(image_augment_rand_augment)                                                                          \
    ROW(image_augment_trivial_augment)                                                                       \
    ROW(image_augment_shear_x)                                                                               \
    ROW(image_augment_shear_y)                                                                               \
    ROW(image_augment_translate_x)                                                                           \
    ROW(image_augment_translate_y)                                                                           \
    ROW(image_augment_sharpness)                                                                             \
    ROW(image_augment_posterize)                                                                             \
    ROW(image_augment_solarize)                                                                              \
    ROW(image_augment_autocontrast)                                                                          \
    ROW(image_augment_equalize)                                                                              \
    ROW(image_augment_invert)
