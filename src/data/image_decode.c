#include "image_impl.h"

#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>

#define IMAGE_MAX_BYTES (INT64_C(1) << 30) /* of an encoded image; below what stb counts in int */

void tdm_image_free(tdm_image *image)
{
    free(image->pixel); /* from malloc, by stb or by us */
    memset(image, 0, sizeof(*image));
}

static bool is_webp(const unsigned char *data, size_t bytes)
{
    return bytes >= 12 && !memcmp(data, "RIFF", 4) && !memcmp(data + 8, "WEBP", 4);
}

static bool is_gif_or_bmp(const unsigned char *data, size_t bytes)
{
    return (bytes >= 4 && !memcmp(data, "GIF8", 4)) || (bytes >= 2 && !memcmp(data, "BM", 2));
}

tdm_status image_check_size(const char *name, int64_t height, int64_t width)
{
    TDM_REQUIRE(height > 0 && width > 0, TDM_E_DATA, "%s: image has no pixels", name);
    TDM_REQUIRE(height <= TDM_IMAGE_MAX_PX && width <= TDM_IMAGE_MAX_PX, TDM_E_DATA,
                "%s: image of %lld x %lld px is too large, more than %d px on a side", name, (long long)width,
                (long long)height, TDM_IMAGE_MAX_PX);
    TDM_REQUIRE(height * width <= IMAGE_MAX_PIXELS, TDM_E_DATA,
                "%s: image of %lld x %lld px is too large, more than %lld pixels", name, (long long)width,
                (long long)height, (long long)IMAGE_MAX_PIXELS);
    return TDM_OK;
}

/* ---- WebP ---- */

static tdm_status webp_probe(const char *name, const unsigned char *data, size_t bytes, int64_t *height,
                             int64_t *width, bool *alpha)
{
    WebPBitstreamFeatures features;
    VP8StatusCode code = WebPGetFeatures(data, bytes, &features);
    TDM_REQUIRE(code != VP8_STATUS_NOT_ENOUGH_DATA, TDM_E_DATA, "%s: image is truncated", name);
    TDM_REQUIRE(code == VP8_STATUS_OK, TDM_E_DATA, "%s: corrupt WebP image", name);
    TDM_REQUIRE(!features.has_animation, TDM_E_DATA, "%s: animated WebP is not supported", name);
    *height = features.height;
    *width = features.width;
    *alpha = features.has_alpha;
    return TDM_OK;
}

static tdm_status webp_decode(const char *name, const unsigned char *data, size_t bytes, int64_t *height,
                              int64_t *width, int *channels, uint8_t **pixel)
{
    bool alpha;
    TDM_TRY(webp_probe(name, data, bytes, height, width, &alpha));
    *channels = alpha ? 4 : 3;
    size_t row = (size_t)*width * (size_t)*channels, size = row * (size_t)*height;
    uint8_t *out = malloc(size);
    TDM_REQUIRE(out, TDM_E_NOMEM, "%s: not enough memory to decode it", name);
    const uint8_t *decoded = alpha ? WebPDecodeRGBAInto(data, bytes, out, size, (int)row)
                                   : WebPDecodeRGBInto(data, bytes, out, size, (int)row);
    if (!decoded) {
        free(out);
        TDM_FAIL(TDM_E_DATA, "%s: truncated or corrupt WebP image", name);
    }
    *pixel = out;
    return TDM_OK;
}

/* ---- all formats ---- */

tdm_status tdm_image_probe(const char *name, const void *data, size_t bytes, int64_t *height, int64_t *width)
{
    bool alpha;
    TDM_REQUIRE(bytes > 0, TDM_E_DATA, "%s: image is empty", name);
    TDM_REQUIRE(bytes <= (size_t)IMAGE_MAX_BYTES, TDM_E_DATA, "%s: image file is larger than 1 GiB", name);
    if (is_webp(data, bytes)) {
        TDM_TRY(webp_probe(name, data, bytes, height, width, &alpha));
        return image_check_size(name, *height, *width);
    }
    if (image_is_png(data, bytes)) {
        TDM_TRY(image_png_probe(name, data, bytes, height, width));
    } else if (image_is_jpeg(data, bytes)) {
        TDM_TRY(image_check_jpeg(name, data, bytes)); /* stb reads Huffman tables even for the size */
    } else {
        /* stb is more generous in what it takes for a JPEG than the checks are */
        TDM_REQUIRE(is_gif_or_bmp(data, bytes), TDM_E_DATA, "%s: is not a JPEG, PNG, WebP, GIF or BMP image",
                    name);
    }
    TDM_TRY(image_stb_probe(name, data, bytes, height, width));
    return image_check_size(name, *height, *width);
}

/* value over white with 8-bit alpha, rounded */
static inline uint8_t over_white(uint8_t value, uint8_t alpha)
{
    return (uint8_t)((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

/* [n][channels] -> [n][3]; `to` may be `from` when channels is 4. */
static void to_rgb(const uint8_t *from, int channels, int64_t n, uint8_t *to)
{
    for (int64_t i = 0; i < n; i++, from += channels, to += 3) {
        uint8_t r = from[0], g = channels > 2 ? from[1] : r, b = channels > 2 ? from[2] : r;
        if (channels == 2 || channels == 4) {
            uint8_t alpha = from[channels - 1];
            r = over_white(r, alpha);
            g = over_white(g, alpha);
            b = over_white(b, alpha);
        }
        to[0] = r;
        to[1] = g;
        to[2] = b;
    }
}

tdm_status tdm_image_decode(const char *name, const void *data, size_t bytes, tdm_image *image)
{
    int64_t height, width;
    int channels;
    memset(image, 0, sizeof(*image));
    TDM_TRY(tdm_image_probe(name, data, bytes, &height, &width));
    if (image_is_png(data, bytes)) TDM_TRY(image_check_png(name, data, bytes));
    uint8_t *decoded;
    if (is_webp(data, bytes))
        TDM_TRY(webp_decode(name, data, bytes, &image->height, &image->width, &channels, &decoded));
    else
        TDM_TRY(image_stb_decode(name, data, bytes, &image->height, &image->width, &channels, &decoded));
    image->pixel = decoded;
    if (image->height != height || image->width != width) {
        tdm_image_free(image);
        TDM_FAIL(TDM_E_DATA, "%s: corrupt image (its size changes while it is decoded)", name);
    }
    if (channels == 3) return TDM_OK;
    if (channels < 3) {
        image->pixel = malloc((size_t)(height * width) * 3);
        if (!image->pixel) {
            free(decoded);
            TDM_FAIL(TDM_E_NOMEM, "%s: not enough memory to decode it", name);
        }
    }
    to_rgb(decoded, channels, height * width, image->pixel);
    if (channels < 3) free(decoded);
    return TDM_OK;
}
