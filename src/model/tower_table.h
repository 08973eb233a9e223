/* Every tower type. A new one is a file with a `const tower_type` and a row here. */
#define TOWER_TABLE(ROW)                                                                                     \
    ROW(tower_vit)                                                                                           \
    ROW(tower_resnet)                                                                                        \
    ROW(tower_text)                                                                                          \
    ROW(tower_image_features)                                                                                \
    ROW(tower_text_features)
