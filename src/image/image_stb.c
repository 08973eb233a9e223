/* The only file that holds stb_image and stb_image_write: decoding of PNG, encoding of PNG and JPEG. */
#include "image_impl.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* zlib packs PNG better than stb's own compressor. The result is freed by stb. */
static unsigned char *compress_png(unsigned char *data, int bytes, int *out_bytes, int level)
{
    uLongf packed = compressBound((uLong)bytes);
    unsigned char *out = malloc(packed);
    if (!out) return NULL;
    if (compress2(out, &packed, data, (uLong)bytes, level) != Z_OK) {
        free(out);
        return NULL;
    }
    *out_bytes = (int)packed;
    return out;
}

/* Found as a system header (folder.cmake), whose warnings are not ours. */
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_PNG
#define STBI_NO_HDR
#define STBI_NO_LINEAR
/* tdm_image_probe applies the real limit, with a message that names the size */
#define STBI_MAX_DIMENSIONS 65535
#define STBI_ASSERT(x)      ((void)0)
#include <stb_image.h>
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#define STBIW_ASSERT(x)     ((void)0)
#define STBIW_ZLIB_COMPRESS compress_png
#include <stb_image_write.h>

/* ---- reading ---- */

/* stb pads a file that ends too early with zeros; its callbacks tell when it wanted more than there is. */
typedef struct source {
    const unsigned char *data;
    size_t bytes, at;
    bool past_end;
} source;

static int source_read(void *user, char *out, int size)
{
    source *from = user;
    size_t left = from->bytes - from->at, n = (size_t)size < left ? (size_t)size : left;
    memcpy(out, from->data + from->at, n);
    from->at += n;
    if (n == 0 && size > 0) from->past_end = true;
    return (int)n;
}

static void source_skip(void *user, int n)
{
    source *from = user;
    if (n < 0) {
        size_t back = (size_t)(-(int64_t)n);
        from->at = back < from->at ? from->at - back : 0;
        return;
    }
    if ((size_t)n > from->bytes - from->at) {
        from->past_end = true;
        n = (int)(from->bytes - from->at);
    }
    from->at += (size_t)n;
}

static int source_eof(void *user)
{
    const source *from = user;
    return from->at >= from->bytes;
}

static tdm_status failed(const char *name, bool truncated)
{
    const char *reason = stbi_failure_reason();
    if (!reason) reason = "unknown";
    if (!strcmp(reason, "too large")) TDM_FAIL(TDM_E_DATA, "%s: image is too large", name);
    if (!strcmp(reason, "outofmem")) TDM_FAIL(TDM_E_NOMEM, "%s: not enough memory to decode it", name);
    if (truncated) TDM_FAIL(TDM_E_DATA, "%s: image is truncated", name);
    TDM_FAIL(TDM_E_DATA, "%s: corrupt or unsupported image (%s)", name, reason);
}

tdm_status image_stb_decode(const char *name, const void *data, size_t bytes, bool gray16, int64_t *height,
                            int64_t *width, int *channels, uint8_t **pixel)
{
    static const stbi_io_callbacks callbacks = {source_read, source_skip, source_eof};
    source from = {.data = data, .bytes = bytes};
    int w, h, n;
    uint8_t *decoded = gray16 ? (uint8_t *)stbi_load_16_from_callbacks(&callbacks, &from, &w, &h, &n, 1)
                              : stbi_load_from_callbacks(&callbacks, &from, &w, &h, &n, 0);
    if (!decoded) return failed(name, from.past_end);
    if (from.past_end || n < 1 || n > 4) {
        stbi_image_free(decoded);
        TDM_FAIL(TDM_E_DATA, "%s: image is truncated", name);
    }
    *height = h;
    *width = w;
    *channels = gray16 ? 1 : n;
    *pixel = decoded;
    return TDM_OK;
}

/* ---- writing ---- */

typedef struct sink {
    tdm_text *out;
    tdm_status status;
} sink;

static void sink_write(void *context, void *data, int size)
{
    sink *to = context;
    if (to->status == TDM_OK && size > 0) to->status = tdm_text_append(to->out, data, (size_t)size);
}

static tdm_status check_writable(int64_t height, int64_t width)
{
    TDM_REQUIRE(height > 0 && width > 0 && height <= TDM_IMAGE_MAX_PX && width <= TDM_IMAGE_MAX_PX &&
                    height * width <= IMAGE_MAX_PIXELS,
                TDM_E_SHAPE, "cannot write an image of %lld x %lld px", (long long)height, (long long)width);
    return TDM_OK;
}

static tdm_status encode_png(const uint8_t *pixel, int64_t height, int64_t width, int channels, tdm_text *out)
{
    sink to = {.out = out, .status = TDM_OK};
    TDM_TRY(check_writable(height, width));
    TDM_REQUIRE(stbi_write_png_to_func(sink_write, &to, (int)width, (int)height, channels, pixel,
                                       (int)width * channels),
                TDM_E_NOMEM, "cannot encode a PNG of %lld x %lld px", (long long)height, (long long)width);
    return to.status;
}

tdm_status tdm_image_encode_png(const uint8_t *pixel, int64_t height, int64_t width, tdm_text *out)
{
    return encode_png(pixel, height, width, 3, out);
}

tdm_status tdm_image_encode_rgba_png(const uint8_t *pixel, int64_t height, int64_t width, tdm_text *out)
{
    return encode_png(pixel, height, width, 4, out);
}

tdm_status tdm_image_encode_jpeg(const uint8_t *pixel, int64_t height, int64_t width, int quality,
                                 tdm_text *out)
{
    sink to = {.out = out, .status = TDM_OK};
    TDM_TRY(check_writable(height, width));
    TDM_REQUIRE(stbi_write_jpg_to_func(sink_write, &to, (int)width, (int)height, 3, pixel, quality),
                TDM_E_LIBRARY, "cannot encode a JPEG of %lld x %lld px", (long long)height, (long long)width);
    return to.status;
}
