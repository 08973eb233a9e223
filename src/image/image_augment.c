/* Augmentations with the distributions of torchvision (RandomResizedCrop, RandomHorizontalFlip, ColorJitter,
 * RandomGrayscale) and the 8-bit arithmetic of Pillow, on which torchvision works. */
#include "image_impl.h"
#include "augment_table.h"

#include <math.h>
#include <string.h>

enum { CHANNELS = 3 };

/* ---- crop ---- */

/* Box of the image's full height or width with the nearest allowed ratio, centred. */
static void center_box(const tdm_augment_config *config, image_box *box)
{
    int64_t height = box->height, width = box->width;
    double ratio = (double)width / (double)height;
    if (ratio < config->crop_min_ratio)
        height = (int64_t)nearbyint((double)width / config->crop_min_ratio);
    else if (ratio > config->crop_max_ratio)
        width = (int64_t)nearbyint((double)height * config->crop_max_ratio);
    height = tdm_max_i64(1, tdm_min_i64(height, box->height));
    width = tdm_max_i64(1, tdm_min_i64(width, box->width));
    box->top += (box->height - height) / 2;
    box->left += (box->width - width) / 2;
    box->height = height;
    box->width = width;
}

static void crop(const tdm_augment_config *config, tdm_rng *rng, image_box *box)
{
    enum { TRIES = 10 };
    double area = (double)box->height * (double)box->width;
    double log_min = log(config->crop_min_ratio), log_max = log(config->crop_max_ratio);
    for (int i = 0; i < TRIES; i++) {
        double target = area * tdm_rng_range(rng, config->crop_min_scale, config->crop_max_scale);
        double ratio = exp(tdm_rng_range(rng, log_min, log_max));
        int64_t width = (int64_t)nearbyint(sqrt(target * ratio));
        int64_t height = (int64_t)nearbyint(sqrt(target / ratio));
        if (width < 1 || width > box->width || height < 1 || height > box->height) continue;
        box->top += tdm_rng_below(rng, box->height - height + 1);
        box->left += tdm_rng_below(rng, box->width - width + 1);
        box->height = height;
        box->width = width;
        return;
    }
    center_box(config, box);
}
const image_augment_row image_augment_crop = {.name = "crop", .crop = crop};

/* ---- flip ---- */

static void flip(const tdm_augment_config *config, tdm_rng *rng, int64_t height, int64_t width,
                 uint8_t *pixel)
{
    if (tdm_rng_uniform(rng) >= config->flip) return;
    for (int64_t row = 0; row < height; row++) {
        uint8_t *left = pixel + row * width * CHANNELS, *right = left + (width - 1) * CHANNELS;
        for (; left < right; left += CHANNELS, right -= CHANNELS) {
            uint8_t kept[CHANNELS];
            memcpy(kept, left, CHANNELS);
            memcpy(left, right, CHANNELS);
            memcpy(right, kept, CHANNELS);
        }
    }
}
const image_augment_row image_augment_flip = {.name = "flip", .apply = flip};

/* ---- colour ---- */

/* Resampling went before, and has refused an unknown TANDEM_ISA. */
static const image_kernels *chosen_kernels(void)
{
    const image_kernels *kernels;
    return image_kernels_choose(&kernels) == TDM_OK ? kernels : &image_kernels_generic;
}

void image_adjust(image_adjustment kind, double factor, uint8_t *pixel, int64_t n)
{
    const image_kernels *kernels = chosen_kernels();
    switch (kind) {
    case IMAGE_BRIGHTNESS: kernels->blend(0, (float)factor, pixel, n * CHANNELS); break;
    case IMAGE_CONTRAST: {
        const double mean = (double)kernels->luma_sum(pixel, n) / (double)n;
        kernels->blend((uint8_t)(mean + 0.5), (float)factor, pixel, n * CHANNELS);
        break;
    }
    case IMAGE_SATURATION: kernels->saturate((float)factor, pixel, n); break;
    case IMAGE_HUE: kernels->turn((uint8_t)(int)(factor * 255.0), pixel, n); break;
    case IMAGE_ADJUSTMENTS: break;
    }
}

/* All adjustments in random order, with factors from [max(0, 1 - x), 1 + x), hue from [-x, x). */
static void jitter(const tdm_augment_config *config, tdm_rng *rng, int64_t height, int64_t width,
                   uint8_t *pixel)
{
    if (tdm_rng_uniform(rng) >= config->jitter) return;
    const double strength[] = {config->brightness, config->contrast, config->saturation, config->hue};
    double factor[IMAGE_ADJUSTMENTS];
    int order[IMAGE_ADJUSTMENTS];
    for (int i = 0; i < IMAGE_ADJUSTMENTS; i++) {
        double middle = i == IMAGE_HUE ? 0.0 : 1.0;
        double low = i == IMAGE_HUE ? -strength[i] : fmax(0.0, middle - strength[i]);
        factor[i] = tdm_rng_range(rng, low, middle + strength[i]);
        order[i] = i;
    }
    for (int i = IMAGE_ADJUSTMENTS - 1; i > 0; i--) {
        int j = (int)tdm_rng_below(rng, i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    for (int i = 0; i < IMAGE_ADJUSTMENTS; i++)
        if (strength[order[i]] > 0.0)
            image_adjust((image_adjustment)order[i], factor[order[i]], pixel, height * width);
}
const image_augment_row image_augment_jitter = {.name = "jitter", .apply = jitter};

static void gray(const tdm_augment_config *config, tdm_rng *rng, int64_t height, int64_t width,
                 uint8_t *pixel)
{
    if (tdm_rng_uniform(rng) >= config->gray) return;
    chosen_kernels()->gray(pixel, height * width);
}
const image_augment_row image_augment_gray = {.name = "gray", .apply = gray};

/* ---- all of them ---- */

#define ROW(name) &name,
static const image_augment_row *const AUGMENT[] = {IMAGE_AUGMENT_TABLE(ROW)};
#undef ROW
enum { AUGMENTS = sizeof(AUGMENT) / sizeof(AUGMENT[0]) };

image_box image_augment_box(int64_t image_height, int64_t image_width, const tdm_augment_config *config,
                            tdm_rng *rng)
{
    image_box box = {.height = image_height, .width = image_width};
    for (size_t i = 0; i < AUGMENTS; i++)
        if (AUGMENT[i]->crop) AUGMENT[i]->crop(config, rng, &box);
    return box;
}

tdm_status image_augment(tdm_image_work *work, const tdm_image *image, const tdm_augment_config *config,
                         tdm_rng rng, int64_t height, int64_t width, uint8_t *out)
{
    TDM_REQUIRE(image->height > 0 && image->width > 0, TDM_E_SHAPE, "cannot augment an empty image");
    const image_box box = image_augment_box(image->height, image->width, config, &rng);
    const image_window window = image_window_of(image, box.top, box.left, box.height, box.width);
    const resample_plan plan = {.box_height = (double)box.height,
                                .box_width = (double)box.width,
                                .full_height = height,
                                .full_width = width,
                                .out_height = height,
                                .out_width = width,
                                .out_stride = width * CHANNELS};
    TDM_TRY(image_resample(work, &window, &plan, out));
    for (size_t i = 0; i < AUGMENTS; i++)
        if (AUGMENT[i]->apply) AUGMENT[i]->apply(config, &rng, height, width, out);
    return TDM_OK;
}

tdm_status tdm_image_augment(const tdm_image *image, const tdm_augment_config *config, tdm_rng rng,
                             int64_t height, int64_t width, uint8_t *out)
{
    tdm_image_work work = {0};
    const tdm_status status = image_augment(&work, image, config, rng, height, width, out);
    image_work_free(&work);
    return status;
}
