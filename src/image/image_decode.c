#include "image_impl.h"

#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

#define IMAGE_MAX_BYTES (INT64_C(1) << 30) /* of an encoded image; below what stb counts in int */

void tdm_image_free(tdm_image *image)
{
    free(image->pixel); /* from malloc, by stb or by us */
    memset(image, 0, sizeof(*image));
}

bool image_is_webp(const unsigned char *data, size_t bytes)
{
    return bytes >= 12 && !memcmp(data, "RIFF", 4) && !memcmp(data + 8, "WEBP", 4);
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

static tdm_status webp_features(const char *name, const unsigned char *data, size_t bytes,
                                WebPBitstreamFeatures *features)
{
    const VP8StatusCode code = WebPGetFeatures(data, bytes, features);
    TDM_REQUIRE(code != VP8_STATUS_NOT_ENOUGH_DATA, TDM_E_DATA, "%s: image is truncated", name);
    TDM_REQUIRE(code == VP8_STATUS_OK, TDM_E_DATA, "%s: corrupt WebP image", name);
    return TDM_OK;
}

static tdm_status webp_probe(const char *name, const unsigned char *data, size_t bytes, int64_t *height,
                             int64_t *width)
{
    WebPBitstreamFeatures features;
    TDM_TRY(webp_features(name, data, bytes, &features));
    *height = features.height;
    *width = features.width;
    return TDM_OK;
}

/* Where the pixels of an image go that is as large as `out`, or a part of it. */
typedef struct webp_canvas {
    int64_t height, width;
    int channels;
    uint8_t *out; /* [height][width][channels] */
} webp_canvas;

static bool webp_read(const uint8_t *data, size_t bytes, const webp_canvas *canvas, int64_t top, int64_t left)
{
    const size_t row = (size_t)canvas->width * (size_t)canvas->channels;
    const size_t skip = (size_t)top * row + (size_t)left * (size_t)canvas->channels;
    const size_t size = row * (size_t)canvas->height - skip;
    return canvas->channels == 4 ? WebPDecodeRGBAInto(data, bytes, canvas->out + skip, size, (int)row)
                                 : WebPDecodeRGBInto(data, bytes, canvas->out + skip, size, (int)row);
}

/* The first frame of an animation, transparent black around it. */
static bool webp_read_first(const unsigned char *data, size_t bytes, const webp_canvas *canvas)
{
    const WebPData file = {.bytes = data, .size = bytes};
    WebPDemuxer *demuxer = WebPDemux(&file);
    WebPIterator frame;
    bool good = demuxer && WebPDemuxGetFrame(demuxer, 1, &frame);
    if (good) {
        int width, height; /* of the frame's own header, which may say something else */
        memset(canvas->out, 0, (size_t)(canvas->height * canvas->width * canvas->channels));
        good = frame.complete && frame.x_offset + frame.width <= canvas->width &&
               frame.y_offset + frame.height <= canvas->height &&
               WebPGetInfo(frame.fragment.bytes, frame.fragment.size, &width, &height) &&
               width == frame.width && height == frame.height &&
               webp_read(frame.fragment.bytes, frame.fragment.size, canvas, frame.y_offset, frame.x_offset);
        WebPDemuxReleaseIterator(&frame);
    }
    WebPDemuxDelete(demuxer);
    return good;
}

static tdm_status webp_decode(const char *name, const unsigned char *data, size_t bytes, int64_t *height,
                              int64_t *width, image_buffer *to, int *channels)
{
    WebPBitstreamFeatures features;
    webp_canvas canvas;
    TDM_TRY(webp_features(name, data, bytes, &features));
    *height = canvas.height = features.height;
    *width = canvas.width = features.width;
    *channels = canvas.channels = features.has_alpha ? 4 : 3;
    TDM_TRY(IMAGE_TAKE(to, canvas.height * canvas.width * canvas.channels, &canvas.out));
    TDM_REQUIRE(features.has_animation ? webp_read_first(data, bytes, &canvas)
                                       : webp_read(data, bytes, &canvas, 0, 0),
                TDM_E_DATA, "%s: truncated or corrupt WebP image", name);
    return TDM_OK;
}

/* ---- all formats ---- */

tdm_status tdm_image_probe(const char *name, const void *data, size_t bytes, int64_t *height, int64_t *width)
{
    TDM_REQUIRE(bytes > 0, TDM_E_DATA, "%s: image is empty", name);
    TDM_REQUIRE(bytes <= (size_t)IMAGE_MAX_BYTES, TDM_E_DATA, "%s: image file is larger than 1 GiB", name);
    if (image_is_webp(data, bytes)) {
        TDM_TRY(webp_probe(name, data, bytes, height, width));
    } else if (image_is_jpeg(data, bytes)) {
        TDM_TRY(image_check_jpeg(name, data, bytes, height, width));
    } else if (image_is_gif(data, bytes)) {
        TDM_TRY(image_gif_probe(name, data, bytes, height, width));
    } else if (image_is_png(data, bytes)) {
        TDM_TRY(image_png_probe(name, data, bytes, height, width));
    } else if (image_is_bmp(data, bytes)) {
        TDM_TRY(image_bmp_probe(name, data, bytes, height, width));
    } else {
        return image_refuse_type(name, data, bytes);
    }
    return image_check_size(name, *height, *width);
}

/* A decoded file before it has a mode. */
typedef struct raw_image {
    uint8_t *pixel; /* [height][width][channels], of a work's buffer; channels 1 … 4, 2 and 4 with alpha */
    int channels;
    bool deep;        /* u16, one channel */
    bool cmyk;        /* inverted, as Adobe writes it and every file is taken to be */
    bool indexed;     /* of a palette, or one bit */
    bool transparent; /* alpha says something */
    bool keyed;       /* but Pillow has it aside, as the index or colour that is transparent */
} raw_image;

static tdm_status png_decode(tdm_image_work *work, const char *name, const unsigned char *data, size_t bytes,
                             bool drop_alpha, raw_image *raw)
{
    image_traits traits = {0};
    TDM_TRY(image_png_decode(name, work, data, bytes, drop_alpha, &traits));
    raw->channels = traits.channels;
    raw->deep = traits.deep;
    raw->indexed = traits.indexed;
    raw->keyed = traits.keyed;
    raw->transparent = traits.alpha || traits.keyed;
    return TDM_OK;
}

static tdm_status decode_raw(tdm_image_work *work, const char *name, const unsigned char *data, size_t bytes,
                             bool drop_alpha, const image_box *box, int64_t *height, int64_t *width,
                             raw_image *raw)
{
    image_buffer *to = &work->decoded;
    if (image_is_webp(data, bytes)) {
        TDM_TRY(webp_decode(name, data, bytes, height, width, to, &raw->channels));
        raw->transparent = raw->channels == 4;
    } else if (image_is_jpeg(data, bytes)) {
        TDM_TRY(image_jpeg_decode(name, data, bytes, *height, *width, box, to, &raw->channels));
        raw->cmyk = raw->channels == 4;
    } else if (image_is_gif(data, bytes)) {
        uint8_t *pixel;
        TDM_TRY(image_gif_decode(name, data, bytes, &raw->indexed, &raw->transparent, &pixel));
        image_buffer_adopt(to, pixel, (size_t)(*height * *width * 4));
        raw->channels = 4;
        raw->keyed = true;
    } else if (image_is_bmp(data, bytes)) {
        TDM_TRY(image_bmp_decode(name, work, data, bytes, &raw->channels, &raw->indexed));
        raw->transparent = raw->channels == 4;
    } else {
        TDM_TRY(png_decode(work, name, data, bytes, drop_alpha, raw));
    }
    raw->pixel = to->data;
    return TDM_OK;
}

/* value over white with 8-bit alpha, rounded */
static inline uint8_t over_white(uint8_t value, uint8_t alpha)
{
    return (uint8_t)((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

/* Where there is no alpha channel it is 255. */
static void read_rgba(const uint8_t *from, int channels, uint8_t rgba[4])
{
    rgba[0] = from[0];
    rgba[1] = channels > 2 ? from[1] : from[0];
    rgba[2] = channels > 2 ? from[2] : from[0];
    rgba[3] = channels == 2 || channels == 4 ? from[channels - 1] : 255;
}

/* [n] pixels of raw->channels to RGB or, with out_channels 4, RGBA; `to` may be `from` when it has no more
 * channels. */
static void convert(const raw_image *raw, bool white, int out_channels, int64_t n, uint8_t *to)
{
    const uint8_t *from = raw->pixel;
    for (int64_t i = 0; i < n; i++, from += raw->channels, to += out_channels) {
        uint8_t p[4];
        read_rgba(from, raw->channels, p);
        for (int c = 0; white && c < 3; c++) p[c] = over_white(p[c], p[3]);
        memcpy(to, p, (size_t)out_channels);
    }
}

static tdm_image_mode choose_mode(const raw_image *raw, tdm_image_alpha alpha)
{
    if (raw->cmyk) return TDM_IMAGE_CMYK;
    if (raw->deep) return TDM_IMAGE_GRAY16;
    if (raw->transparent && alpha == TDM_ALPHA_KEEP) return TDM_IMAGE_RGBA;
    if (raw->transparent && alpha == TDM_ALPHA_WHITE) return TDM_IMAGE_RGB;
    if (raw->indexed) return TDM_IMAGE_INDEXED;
    return raw->transparent && !raw->keyed ? TDM_IMAGE_RGBA : TDM_IMAGE_RGB;
}

static tdm_status finish(tdm_image_work *work, const raw_image *raw, tdm_image_alpha alpha, tdm_image *image)
{
    const int64_t n = image->height * image->width;
    image->mode = choose_mode(raw, alpha);
    image->pixel = raw->pixel;
    if (image->mode == TDM_IMAGE_GRAY16) return TDM_OK;
    if (image->mode == TDM_IMAGE_CMYK) {
        for (int64_t i = 0; i < 4 * n; i++) image->pixel[i] = (uint8_t)(255 - image->pixel[i]);
        return TDM_OK;
    }
    const int channels = image->mode == TDM_IMAGE_RGBA ? 4 : 3;
    if (raw->channels < channels) TDM_TRY(IMAGE_TAKE(&work->converted, n * channels, &image->pixel));
    if (raw->channels != channels)
        convert(raw, raw->transparent && alpha == TDM_ALPHA_WHITE, channels, n, image->pixel);
    return TDM_OK;
}

tdm_status image_decode(tdm_image_work *work, const char *name, const void *data, size_t bytes,
                        tdm_image_alpha alpha, const image_box *box, tdm_image *image)
{
    int64_t height = image->height, width = image->width;
    raw_image raw = {0};
    const image_kernels *kernels; /* a picture that needs none of them is refused, too */
    TDM_TRY(image_kernels_choose(&kernels));
    TDM_TRY(decode_raw(work, name, data, bytes, alpha == TDM_ALPHA_DROP, box, &height, &width, &raw));
    TDM_REQUIRE(image->height == height && image->width == width, TDM_E_DATA,
                "%s: corrupt image (its size changes while it is decoded)", name);
    return finish(work, &raw, alpha, image);
}

tdm_status tdm_image_decode(const char *name, const void *data, size_t bytes, tdm_image_alpha alpha,
                            tdm_image *image)
{
    tdm_image_work work = {0};
    memset(image, 0, sizeof(*image));
    TDM_TRY(tdm_image_probe(name, data, bytes, &image->height, &image->width));
    const image_box all = {.height = image->height, .width = image->width};
    const tdm_status status = image_decode(&work, name, data, bytes, alpha, &all, image);
    if (status != TDM_OK)
        memset(image, 0, sizeof(*image));
    else if (image->pixel == work.decoded.data) /* which the caller frees now */
        work.decoded.data = NULL;
    else
        work.converted.data = NULL;
    image_work_free(&work);
    return status;
}
