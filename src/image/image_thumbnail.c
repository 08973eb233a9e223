#include "tandem/image.h"

tdm_status tdm_image_thumbnail(const char *name, const void *data, size_t bytes, int64_t px, int quality,
                               tdm_text *out)
{
    tdm_image image = {0};
    uint8_t *pixel = NULL;
    TDM_TRY(tdm_image_decode(name, data, bytes, TDM_ALPHA_WHITE, &image));
    const int64_t longer = tdm_max_i64(tdm_max_i64(image.height, image.width), px);
    const int64_t height = tdm_max_i64(1, image.height * px / longer);
    const int64_t width = tdm_max_i64(1, image.width * px / longer);
    tdm_status status = TDM_ALLOC(height * width * 3, &pixel);
    if (status == TDM_OK)
        status =
            tdm_image_resize(&image, 0, 0, (double)image.height, (double)image.width, height, width, pixel);
    if (status == TDM_OK) status = tdm_image_encode_jpeg(pixel, height, width, quality, out);
    tdm_free(pixel);
    tdm_image_free(&image);
    return status;
}
