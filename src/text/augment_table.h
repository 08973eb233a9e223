/* The augmentations of texts. A new one is a file augment_NAME.c, which defines text_augment_NAME, and a row here. */
#define TEXT_AUGMENT_TABLE(ROW)                                                                              \
    ROW(text_augment_back_translate)                                                                         \
    ROW(text_augment_delete_words)                                                                           \
    ROW(text_augment_replace_synonyms)                                                                       \
    ROW(text_augment_insert_synonyms)                                                                        \
    ROW(text_augment_swap_words)                                                                             \
    ROW(text_augment_eda)                                                                                    \
    ROW(text_augment_mask)
