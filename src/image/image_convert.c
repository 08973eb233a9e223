/* Pixels of the modes into RGB, as Pillow converts them (src/libImaging/Convert.c). */
#include "image_impl.h"

#include <string.h>

int64_t image_pixel_bytes(tdm_image_mode mode)
{
    switch (mode) {
    case TDM_IMAGE_RGB:
    case TDM_IMAGE_INDEXED: return 3;
    case TDM_IMAGE_RGBA:
    case TDM_IMAGE_CMYK: return 4;
    case TDM_IMAGE_GRAY16: return 2;
    }
    return 0;
}

image_window image_window_of(const tdm_image *image, int64_t top, int64_t left, int64_t height, int64_t width)
{
    const int64_t bytes = image_pixel_bytes(image->mode);
    return (image_window){.pixel = image->pixel + (top * image->width + left) * bytes,
                          .height = height,
                          .width = width,
                          .stride = image->width * bytes,
                          .mode = image->mode};
}

/* a · b / 255, rounded, for a and b up to 255 */
static inline uint8_t scale_255(unsigned a, unsigned b)
{
    const unsigned t = a * b + 128;
    return (uint8_t)(((t >> 8) + t) >> 8);
}

void image_premultiply(const uint8_t *from, int64_t n, uint8_t *to)
{
    for (int64_t i = 0; i < 4 * n; i += 4) {
        const uint8_t alpha = from[i + 3];
        for (int c = 0; c < 3; c++) to[i + c] = scale_255(from[i + c], alpha);
        to[i + 3] = alpha;
    }
}

static inline uint8_t unpremultiplied(unsigned value, unsigned alpha)
{
    if (alpha == 0 || alpha == 255) return (uint8_t)value;
    const unsigned whole = 255 * value / alpha;
    return (uint8_t)(whole > 255 ? 255 : whole);
}

static void from_rgba(const uint8_t *from, int64_t n, bool premultiplied, uint8_t *to)
{
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            to[3 * i + c] =
                premultiplied ? unpremultiplied(from[4 * i + c], from[4 * i + 3]) : from[4 * i + c];
}

static void from_cmyk(const uint8_t *from, int64_t n, uint8_t *to)
{
    for (int64_t i = 0; i < n; i++) {
        const unsigned light = 255u - from[4 * i + 3];
        for (int c = 0; c < 3; c++) to[3 * i + c] = (uint8_t)(light - scale_255(from[4 * i + c], light));
    }
}

/* Pillow takes 16-bit grays for numbers of which only 0 … 255 can be shown. */
static void from_gray16(const uint8_t *from, int64_t n, uint8_t *to)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t value;
        memcpy(&value, from + 2 * i, sizeof value);
        memset(to + 3 * i, value > 255 ? 255 : value, 3);
    }
}

void image_row_to_rgb(tdm_image_mode mode, bool premultiplied, const uint8_t *from, int64_t n, uint8_t *to)
{
    switch (mode) {
    case TDM_IMAGE_RGB:
    case TDM_IMAGE_INDEXED: memcpy(to, from, (size_t)(3 * n)); return;
    case TDM_IMAGE_RGBA: from_rgba(from, n, premultiplied, to); return;
    case TDM_IMAGE_CMYK: from_cmyk(from, n, to); return;
    case TDM_IMAGE_GRAY16: from_gray16(from, n, to); return;
    }
}
