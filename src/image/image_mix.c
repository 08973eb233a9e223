/* Two views in one. */
#include "image_impl.h"

#include <string.h>

static void average(int64_t bytes, const uint8_t *other, uint8_t *pixel)
{
    for (int64_t i = 0; i < bytes; i++) {
        const int sum = pixel[i] + other[i];
        pixel[i] = (uint8_t)((sum + (sum >> 1 & 1)) >> 1);
    }
}

/* All of `from` into columns [left, left + narrow) of `to`. */
static tdm_status narrow_into(tdm_image_work *work, int64_t height, int64_t width, const uint8_t *from,
                              int64_t left, int64_t narrow, uint8_t *to)
{
    const int64_t stride = width * IMAGE_RGB;
    const image_window window = {
        .pixel = from, .height = height, .width = width, .stride = stride, .mode = TDM_IMAGE_RGB};
    const resample_plan plan = {.box_height = (double)height,
                                .box_width = (double)width,
                                .full_height = height,
                                .full_width = narrow,
                                .out_height = height,
                                .out_width = narrow,
                                .out_stride = stride,
                                .filter = IMAGE_BILINEAR};
    return image_resample(work, &window, &plan, to + left * IMAGE_RGB);
}

tdm_status tdm_image_mix(tdm_image_work *work, tdm_image_mix_kind kind, int64_t height, int64_t width,
                         const uint8_t *other, uint8_t *pixel)
{
    const int64_t bytes = height * width * IMAGE_RGB, half = width / 2;
    uint8_t *made;
    if (kind == TDM_MIX_AVERAGE) {
        average(bytes, other, pixel);
        return TDM_OK;
    }
    if (half == 0) return TDM_OK;
    TDM_TRY(IMAGE_TAKE(&work->scratch[0], bytes, &made));
    TDM_TRY(narrow_into(work, height, width, pixel, 0, half, made));
    TDM_TRY(narrow_into(work, height, width, other, half, width - half, made));
    memcpy(pixel, made, (size_t)bytes);
    return TDM_OK;
}
