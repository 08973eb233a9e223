/* The augmentations of images. A new one is a file augment_NAME.c, which defines image_augment_NAME, and a row here. */
#define IMAGE_AUGMENT_TABLE(ROW)                                                                             \
    ROW(image_augment_crop)                                                                                  \
    ROW(image_augment_resize)                                                                                \
    ROW(image_augment_flip)                                                                                  \
    ROW(image_augment_jitter)                                                                                \
    ROW(image_augment_gray)                                                                                  \
    ROW(image_augment_erase)
