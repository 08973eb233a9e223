/* Every naming. A new one is a file with a `const naming` and a row here. */
#define NAMING_TABLE(ROW)                                                                                    \
    ROW(naming_open_clip)                                                                                    \
    ROW(naming_open_clip_text)                                                                               \
    ROW(naming_tbps_clip)                                                                                    \
    ROW(naming_huggingface)
