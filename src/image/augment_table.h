/* The augmentations, in the order in which they are applied. A new one is a file (or a function in
 * image_augment.c) and a row here. */
#define IMAGE_AUGMENT_TABLE(ROW)                                                                             \
    ROW(image_augment_crop)                                                                                  \
    ROW(image_augment_flip)                                                                                  \
    ROW(image_augment_jitter)                                                                                \
    ROW(image_augment_gray)
