/* What AutoAugment, RandAugment and TrivialAugment choose from, on 8 bits as Pillow's ImageOps and ImageEnhance. */
#include "image_impl.h"

#include <math.h>
#include <string.h>

enum { LEVELS = 256 };

static uint8_t clip(int64_t value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* ---- a table of levels for each channel ---- */

static void look_up(uint8_t table[IMAGE_RGB][LEVELS], int64_t n, uint8_t *pixel)
{
    for (int64_t i = 0; i < n; i++, pixel += IMAGE_RGB)
        for (int c = 0; c < IMAGE_RGB; c++) pixel[c] = table[c][pixel[c]];
}

static void count_levels(const uint8_t *pixel, int64_t n, int64_t count[IMAGE_RGB][LEVELS])
{
    memset(count, 0, IMAGE_RGB * sizeof(*count));
    for (int64_t i = 0; i < n; i++, pixel += IMAGE_RGB)
        for (int c = 0; c < IMAGE_RGB; c++) count[c][pixel[c]]++;
}

static void posterize(int bits, int64_t bytes, uint8_t *value)
{
    const uint8_t mask = (uint8_t)(0xff << (8 - bits));
    for (int64_t i = 0; i < bytes; i++) value[i] &= mask;
}

static void solarize(double threshold, int64_t bytes, uint8_t *value)
{
    const int from = (int)ceil(threshold); /* levels are whole */
    for (int64_t i = 0; i < bytes; i++) value[i] = (uint8_t)(value[i] >= from ? 255 - value[i] : value[i]);
}

static void stretch(const int64_t count[LEVELS], uint8_t table[LEVELS])
{
    int low = 0, high = LEVELS - 1;
    while (low < LEVELS - 1 && count[low] == 0) low++;
    while (high > 0 && count[high] == 0) high--;
    const double by = high > low ? 255.0 / (double)(high - low) : 1.0;
    const double offset = high > low ? -low * by : 0.0;
    for (int i = 0; i < LEVELS; i++) table[i] = clip((int64_t)(i * by + offset));
}

/* Pillow leaves the highest level out of the step. */
static void equalize(const int64_t count[LEVELS], uint8_t table[LEVELS])
{
    int64_t sum = 0, last = 0;
    int used = 0;
    for (int i = 0; i < LEVELS; i++) {
        sum += count[i];
        used += count[i] > 0;
        if (count[i] > 0) last = count[i];
    }
    const int64_t step = used > 1 ? (sum - last) / 255 : 0;
    int64_t at = step / 2;
    for (int i = 0; i < LEVELS; i++) {
        table[i] = step > 0 ? clip(at / step) : (uint8_t)i;
        at += count[i];
    }
}

static void by_levels(void (*make)(const int64_t *count, uint8_t *table), int64_t n, uint8_t *pixel)
{
    int64_t count[IMAGE_RGB][LEVELS];
    uint8_t table[IMAGE_RGB][LEVELS];
    count_levels(pixel, n, count);
    for (int c = 0; c < IMAGE_RGB; c++) make(count[c], table[c]);
    look_up(table, n, pixel);
}

/* ---- sharpness ---- */

/* Away from the picture smoothed by [1 1 1; 1 5 1; 1 1 1] / 13, in which the outermost pixels stay. */
static tdm_status sharpen(tdm_image_work *work, float factor, int64_t height, int64_t width, uint8_t *pixel)
{
    const int64_t stride = width * IMAGE_RGB;
    uint8_t *from;
    if (height < 3 || width < 3) return TDM_OK;
    TDM_TRY(IMAGE_TAKE(&work->scratch[0], height * stride, &from));
    memcpy(from, pixel, (size_t)(height * stride));
    for (int64_t row = 1; row < height - 1; row++) {
        const uint8_t *above = from + (row - 1) * stride, *own = above + stride, *below = own + stride;
        uint8_t *out = pixel + row * stride;
        for (int64_t i = IMAGE_RGB; i < stride - IMAGE_RGB; i++) {
            const int sum = above[i - 3] + above[i] + above[i + 3] + own[i - 3] + 5 * own[i] + own[i + 3] +
                            below[i - 3] + below[i] + below[i + 3];
            const int smooth = (2 * sum + 13) / 26; /* rounded; a sum over 13 is never half-way */
            float mixed = (float)smooth + factor * (float)(own[i] - smooth);
            mixed = mixed > 0.0f ? mixed : 0.0f;
            out[i] = (uint8_t)(int)(mixed < 255.0f ? mixed : 255.0f);
        }
    }
    return TDM_OK;
}

/* ---- all ---- */

tdm_status image_policy_apply(tdm_image_work *work, image_policy_op op, double magnitude, int64_t height,
                              int64_t width, uint8_t *pixel)
{
    const int64_t n = height * width;
    double m[6] = {1, 0, 0, 0, 1, 0};
    switch (op) {
    case IMAGE_OP_SHEAR_X: m[1] = magnitude; break;
    case IMAGE_OP_SHEAR_Y: m[3] = magnitude; break;
    case IMAGE_OP_TRANSLATE_X: m[2] = -(double)(int64_t)magnitude; break;
    case IMAGE_OP_TRANSLATE_Y: m[5] = -(double)(int64_t)magnitude; break;
    case IMAGE_OP_ROTATE: return image_rotate(work, magnitude, 0, height, width, pixel);
    case IMAGE_OP_BRIGHTNESS: image_adjust(IMAGE_BRIGHTNESS, 1.0 + magnitude, pixel, n); return TDM_OK;
    case IMAGE_OP_SATURATION: image_adjust(IMAGE_SATURATION, 1.0 + magnitude, pixel, n); return TDM_OK;
    case IMAGE_OP_CONTRAST: image_adjust(IMAGE_CONTRAST, 1.0 + magnitude, pixel, n); return TDM_OK;
    case IMAGE_OP_SHARPNESS: return sharpen(work, (float)(1.0 + magnitude), height, width, pixel);
    case IMAGE_OP_POSTERIZE: posterize((int)magnitude, n * IMAGE_RGB, pixel); return TDM_OK;
    case IMAGE_OP_SOLARIZE: solarize(magnitude, n * IMAGE_RGB, pixel); return TDM_OK;
    case IMAGE_OP_AUTOCONTRAST: by_levels(stretch, n, pixel); return TDM_OK;
    case IMAGE_OP_EQUALIZE: by_levels(equalize, n, pixel); return TDM_OK;
    case IMAGE_OP_INVERT: solarize(0.0, n * IMAGE_RGB, pixel); return TDM_OK;
    case IMAGE_OP_IDENTITY:
    case IMAGE_POLICY_OPS: return TDM_OK;
    }
    return image_affine(work, m, 0, height, width, pixel);
}
