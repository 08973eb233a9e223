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

/* Luma of ITU-R 601-2 in 16-bit fixed point, as Pillow's convert("L"). */
static inline uint8_t luma(const uint8_t *p)
{
    return (uint8_t)((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
}

/* base + factor * (value - base), cut to 8 bits; Pillow's Image.blend works in single precision. */
static inline uint8_t blend(uint8_t base, uint8_t value, float factor)
{
    float mixed = (float)base + factor * (float)((int)value - (int)base);
    if (mixed <= 0.0f) return 0;
    if (mixed >= 255.0f) return 255;
    return (uint8_t)mixed;
}

static void brightness(uint8_t *pixel, int64_t n, double factor)
{
    uint8_t table[256];
    for (int i = 0; i < 256; i++) table[i] = blend(0, (uint8_t)i, (float)factor);
    for (int64_t i = 0; i < n * CHANNELS; i++) pixel[i] = table[pixel[i]];
}

static void contrast(uint8_t *pixel, int64_t n, double factor)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += luma(pixel + CHANNELS * i);
    uint8_t mean = (uint8_t)((double)sum / (double)n + 0.5);
    uint8_t table[256];
    for (int i = 0; i < 256; i++) table[i] = blend(mean, (uint8_t)i, (float)factor);
    for (int64_t i = 0; i < n * CHANNELS; i++) pixel[i] = table[pixel[i]];
}

static void saturation(uint8_t *pixel, int64_t n, double factor)
{
    for (int64_t i = 0; i < n; i++) {
        uint8_t *p = pixel + CHANNELS * i, gray = luma(p);
        for (int c = 0; c < CHANNELS; c++) p[c] = blend(gray, p[c], (float)factor);
    }
}

static inline uint8_t clip_int(int value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static inline uint8_t round_positive(double value)
{
    return clip_int((int)(value + 0.5));
}

/* 8-bit hue, saturation, value as Pillow's convert("HSV"). */
static void to_hsv(const uint8_t *p, uint8_t *hsv)
{
    int r = p[0], g = p[1], b = p[2];
    int most = r > g ? (r > b ? r : b) : (g > b ? g : b);
    int least = r < g ? (r < b ? r : b) : (g < b ? g : b);
    hsv[0] = hsv[1] = 0;
    hsv[2] = (uint8_t)most;
    if (most == least) return;
    float range = (float)(most - least);
    float rc = (float)(most - r) / range, gc = (float)(most - g) / range, bc = (float)(most - b) / range;
    float h, s = range / (float)most;
    if (r == most)
        h = bc - gc;
    else if (g == most)
        h = (float)(2.0 + rc - bc);
    else
        h = (float)(4.0 + gc - rc);
    double turns = h / 6.0 + 1.0; /* 5/6 … 11/6 */
    h = (float)(turns >= 1.0 ? turns - 1.0 : turns);
    hsv[0] = clip_int((int)(h * 255.0));
    hsv[1] = clip_int((int)(s * 255.0));
}

static void from_hsv(const uint8_t *hsv, uint8_t *p)
{
    uint8_t v = hsv[2];
    if (hsv[1] == 0) {
        p[0] = p[1] = p[2] = v;
        return;
    }
    float fs = (float)(hsv[1] / 255.0), h = (float)(hsv[0] * 6.0 / 255.0);
    int sector = (int)h;
    float f = h - (float)sector;
    uint8_t low = round_positive((double)v * (1.0 - fs));
    uint8_t falling = round_positive((double)v * (1.0 - fs * f));
    uint8_t rising = round_positive((double)v * (1.0 - fs * (1.0 - f)));
    const uint8_t rgb[6][3] = {{v, rising, low},  {falling, v, low}, {low, v, rising},
                               {low, falling, v}, {rising, low, v},  {v, low, falling}};
    memcpy(p, rgb[sector % 6], 3);
}

/* shift: fraction of the colour circle, -0.5 … 0.5 */
static void hue(uint8_t *pixel, int64_t n, double shift)
{
    uint8_t turn = (uint8_t)(int)(shift * 255.0);
    for (int64_t i = 0; i < n; i++) {
        uint8_t hsv[CHANNELS], before[CHANNELS], *p = pixel + CHANNELS * i;
        memcpy(before, p, CHANNELS);
        to_hsv(p, hsv);
        hsv[0] = (uint8_t)(hsv[0] + turn);
        from_hsv(hsv, p);
        /* flat areas are common in drawings */
        for (; i + 1 < n && !memcmp(p + CHANNELS, before, CHANNELS); i++, p += CHANNELS)
            memcpy(p + CHANNELS, p, CHANNELS);
    }
}

void image_adjust(image_adjustment kind, double factor, uint8_t *pixel, int64_t n)
{
    switch (kind) {
    case IMAGE_BRIGHTNESS: brightness(pixel, n, factor); break;
    case IMAGE_CONTRAST: contrast(pixel, n, factor); break;
    case IMAGE_SATURATION: saturation(pixel, n, factor); break;
    case IMAGE_HUE: hue(pixel, n, factor); break;
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
    for (int64_t i = 0; i < height * width; i++)
        memset(pixel + CHANNELS * i, luma(pixel + CHANNELS * i), CHANNELS);
}
const image_augment_row image_augment_gray = {.name = "gray", .apply = gray};

/* ---- all of them ---- */

#define ROW(name) &name,
static const image_augment_row *const AUGMENT[] = {IMAGE_AUGMENT_TABLE(ROW)};
#undef ROW
enum { AUGMENTS = sizeof(AUGMENT) / sizeof(AUGMENT[0]) };

tdm_status tdm_image_augment(const tdm_image *image, const tdm_augment_config *config, tdm_rng rng,
                             int64_t height, int64_t width, uint8_t *out)
{
    TDM_REQUIRE(image->height > 0 && image->width > 0, TDM_E_SHAPE, "cannot augment an empty image");
    image_box box = {.height = image->height, .width = image->width};
    for (size_t i = 0; i < AUGMENTS; i++)
        if (AUGMENT[i]->crop) AUGMENT[i]->crop(config, &rng, &box);
    const image_window window = image_window_of(image, box.top, box.left, box.height, box.width);
    const resample_plan plan = {.box_height = (double)box.height,
                                .box_width = (double)box.width,
                                .full_height = height,
                                .full_width = width,
                                .out_height = height,
                                .out_width = width,
                                .out_stride = width * CHANNELS};
    TDM_TRY(image_resample(&window, &plan, out));
    for (size_t i = 0; i < AUGMENTS; i++)
        if (AUGMENT[i]->apply) AUGMENT[i]->apply(config, &rng, height, width, out);
    return TDM_OK;
}
