/* What the tests of images share. */
#ifndef TANDEM_TEST_IMAGE_CASE_H
#define TANDEM_TEST_IMAGE_CASE_H

#include "check.h"
#include "../../src/image/image_impl.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* A file of tests/golden/images; tdm_text_free. */
static inline tdm_text golden_file(const char *file)
{
    char path[4096];
    const char *source = getenv("TANDEM_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/tests/golden/images/%s", source ? source : ".", file);
    tdm_text text = {0};
    CHECK_OK(tdm_read_file(path, &text));
    return text;
}

/* As synthetic() in tests/golden/make_resize_golden.py. The caller frees. */
static inline tdm_image golden_source(int64_t height, int64_t width)
{
    tdm_image image = {.height = height, .width = width, .pixel = malloc((size_t)(height * width * 3))};
    CHECK_NOT_NULL(image.pixel);
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++)
            for (int64_t c = 0; c < 3; c++) {
                int64_t noise = (x * 73 + y * 151 + c * 37 + x * y * 29) % 61;
                int64_t edge = (x / (5 + c) + y / 7) % 2 == 0 ? 120 : 20;
                image.pixel[(y * width + x) * 3 + c] = (uint8_t)((edge + noise + x * (c + 1)) % 256);
            }
    return image;
}

/* A configuration with the augmentations' options; tdm_config_destroy. */
static inline tdm_config augment_config(void)
{
    tdm_config config;
    CHECK_OK(tdm_image_augment_register());
    CHECK_OK(tdm_config_init(&config));
    return config;
}

/* The pipeline of a list as --set takes it, "[crop, flip(p=1)]"; tdm_image_pipeline_destroy. */
static inline tdm_image_pipeline *make_pipeline(tdm_config *config, const char *list)
{
    char assignment[512];
    tdm_image_pipeline *made;
    snprintf(assignment, sizeof(assignment), "views.aug_1.augment=%s", list);
    CHECK_OK(tdm_config_set(config, assignment));
    CHECK_OK(tdm_image_pipeline_create(config, "views.aug_1.augment",
                                       &config->views[TDM_VIEW_NAME_AUG_1].augment, &made));
    return made;
}

#endif
