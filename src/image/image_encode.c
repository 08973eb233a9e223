/* The only file that holds stb_image_write: encoding of PNG and JPEG. */
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
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#define STBIW_ASSERT(x)     ((void)0)
#define STBIW_ZLIB_COMPRESS compress_png
#include <stb_image_write.h>

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
