/* Any bytes as an image file: decoded or refused, then resized in every way and augmented. */
#include "fuzz.h"
#include "tandem/image.h"

#define MAX_PIXELS (1 << 20) /* larger images only take longer */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    enum { PX = 9 };
    static const tdm_augment_config config = {.crop_min_scale = 0.1,
                                              .crop_max_scale = 1.0,
                                              .crop_min_ratio = 0.5,
                                              .crop_max_ratio = 2.0,
                                              .flip = 0.5,
                                              .jitter = 1.0,
                                              .brightness = 0.4,
                                              .contrast = 0.4,
                                              .saturation = 0.4,
                                              .hue = 0.5,
                                              .gray = 0.2};
    uint8_t out[PX * PX * 3];
    tdm_image image;
    int64_t height, width;
    if (tdm_image_probe("fuzz", data, bytes, &height, &width) != TDM_OK || height * width > MAX_PIXELS)
        return 0;
    for (tdm_image_alpha alpha = TDM_ALPHA_DROP; alpha <= TDM_ALPHA_KEEP; alpha++) {
        tdm_image small;
        if (tdm_image_decode("fuzz", data, bytes, alpha, &image) != TDM_OK) return 0;
        FUZZ_REQUIRE(image.height == height && image.width == width);
        for (tdm_image_fit fit = TDM_FIT_CROP; fit <= TDM_FIT_LONGEST; fit++)
            FUZZ_REQUIRE(tdm_image_plain(&image, fit, PX, PX - (int)alpha, out) == TDM_OK);
        FUZZ_REQUIRE(tdm_image_augment(&image, &config, tdm_rng_at(1, 1, bytes, TDM_RNG_TEST), PX, PX, out) ==
                     TDM_OK);
        FUZZ_REQUIRE(tdm_image_scale(&image, PX, PX + 1, &small) == TDM_OK);
        tdm_image_free(&small);
        tdm_image_free(&image);
    }
    return 0;
}
