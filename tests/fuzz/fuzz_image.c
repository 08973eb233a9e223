/* Any bytes as an image file: decoded or refused, then resized in every way and augmented; and views made of
 * the parts that they need, which must be the same. */
#include "fuzz.h"
#include "tandem/image.h"

#include <string.h>

#define MAX_PIXELS (1 << 20) /* larger images only take longer */

enum { PX = 9, VIEW_BYTES = PX * PX * 3 };

static tdm_image_pipeline *small_crop, *all_kinds;

/* *made, once. */
static tdm_image_pipeline *pipeline_of(const char *list, tdm_image_pipeline **made)
{
    static tdm_config config;
    char assignment[256];
    if (*made) return *made;
    if (!config.store) {
        FUZZ_REQUIRE(tdm_image_augment_register() == TDM_OK);
        FUZZ_REQUIRE(tdm_config_init(&config) == TDM_OK);
    }
    snprintf(assignment, sizeof(assignment), "views.aug_1.augment=%s", list);
    FUZZ_REQUIRE(tdm_config_set(&config, assignment) == TDM_OK);
    FUZZ_REQUIRE(tdm_image_pipeline_create(&config, "fuzz", &config.views[TDM_VIEW_NAME_AUG_1].augment,
                                           made) == TDM_OK);
    return *made;
}

/* image: the same file, NULL when it was refused. */
static void check_views(const uint8_t *data, size_t bytes, const tdm_image *image)
{
    tdm_image_pipeline *small =
        pipeline_of("[crop(min_scale=0.01, max_scale=0.2, min_ratio=0.5, max_ratio=2)]", &small_crop);
    uint8_t out[2][VIEW_BYTES], want[VIEW_BYTES];
    const tdm_rng rng = tdm_rng_at(2, 1, bytes, TDM_RNG_TEST);
    const tdm_image_request request[2] = {{.pipeline = small, .rng = rng, .out = out[0]}, {.out = out[1]}};
    tdm_image_work *work;
    FUZZ_REQUIRE(tdm_image_work_create(&work) == TDM_OK);
    for (int count = 1; count <= 2; count++) {
        const tdm_status status =
            tdm_image_make(work, "fuzz", data, bytes, (tdm_image_policy){0}, PX, PX, count, request);
        FUZZ_REQUIRE((status == TDM_OK) == (image != NULL));
    }
    tdm_image_work_destroy(&work);
    if (!image) return;
    FUZZ_REQUIRE(tdm_image_augment(image, small, TDM_FIT_CROP, rng, PX, PX, want) == TDM_OK);
    FUZZ_REQUIRE(!memcmp(want, out[0], VIEW_BYTES));
    FUZZ_REQUIRE(tdm_image_plain(image, TDM_FIT_CROP, PX, PX, want) == TDM_OK);
    FUZZ_REQUIRE(!memcmp(want, out[1], VIEW_BYTES));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const tdm_image_pipeline *all = pipeline_of(
        "[crop(min_scale=0.1, min_ratio=0.5, max_ratio=2), flip(p=0.5), jitter(p=1, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.5), gray(p=0.2), blur(p=0.5), rand_augment, tensor, pool]",
        &all_kinds);
    uint8_t out[VIEW_BYTES];
    tdm_image image;
    int64_t height, width;
    if (tdm_image_probe("fuzz", data, bytes, &height, &width) != TDM_OK || height * width > MAX_PIXELS)
        return 0;
    for (tdm_image_alpha alpha = TDM_ALPHA_DROP; alpha <= TDM_ALPHA_KEEP; alpha++) {
        tdm_image small;
        const tdm_status status = tdm_image_decode("fuzz", data, bytes, alpha, &image);
        if (alpha == TDM_ALPHA_DROP) check_views(data, bytes, status == TDM_OK ? &image : NULL);
        if (status != TDM_OK) return 0;
        FUZZ_REQUIRE(image.height == height && image.width == width);
        for (tdm_image_fit fit = TDM_FIT_CROP; fit <= TDM_FIT_LONGEST; fit++)
            FUZZ_REQUIRE(tdm_image_plain(&image, fit, PX, PX - (int)alpha, out) == TDM_OK);
        FUZZ_REQUIRE(tdm_image_augment(&image, all, TDM_FIT_CROP, tdm_rng_at(1, 1, bytes, TDM_RNG_TEST), PX,
                                       PX, out) == TDM_OK);
        FUZZ_REQUIRE(tdm_image_scale(&image, PX, PX + 1, &small) == TDM_OK);
        tdm_image_free(&small);
        tdm_image_free(&image);
    }
    return 0;
}
