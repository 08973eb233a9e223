/* Decoding, resizing and augmenting of u8 RGB images, [height][width][3]. Not collective, thread-safe. */
#ifndef TANDEM_IMAGE_H
#define TANDEM_IMAGE_H

#include "tandem/base.h"
#include "tandem/rng.h"

#define TDM_IMAGE_MAX_PX 32768 /* either side; larger files are refused before decoding */

typedef struct tdm_image {
    int64_t height, width;
    uint8_t *pixel; /* [height][width][3], owned; tdm_image_free */
} tdm_image;
void tdm_image_free(tdm_image *image);

/* JPEG, PNG, BMP, GIF (first frame) by stb_image, WebP by libwebp. Alpha is composed over white. `name`
 * stands in messages. Errors: TDM_E_DATA: empty, unsupported, corrupt, or larger than TDM_IMAGE_MAX_PX. */
TDM_CHECKED tdm_status tdm_image_decode(const char *name, const void *data, size_t bytes, tdm_image *image);
/* Size without decoding. */
TDM_CHECKED tdm_status tdm_image_probe(const char *name, const void *data, size_t bytes, int64_t *height,
                                       int64_t *width);
/* Antialiased bicubic (a = -0.5, support scaled with the reduction, 8-bit between the two passes) of the box
 * (top, left, box_height, box_width; fractions allowed) to out_height × out_width, as Pillow's
 * Image.resize(BICUBIC, box=…). out[out_height][out_width][3] is the caller's. */
TDM_CHECKED tdm_status tdm_image_resize(const tdm_image *image, double top, double left, double box_height,
                                        double box_width, int64_t out_height, int64_t out_width,
                                        uint8_t *out);
TDM_CHECKED tdm_status tdm_image_encode_png(const uint8_t *pixel, int64_t height, int64_t width,
                                            tdm_text *out);
TDM_CHECKED tdm_status tdm_image_encode_jpeg(const uint8_t *pixel, int64_t height, int64_t width, int quality,
                                             tdm_text *out);

/* What happens to one view of an image. Rows stand in src/data/augment_table.h. */
typedef struct tdm_augment_config {
    double crop_min_scale, crop_max_scale, crop_min_ratio, crop_max_ratio;
    double flip, jitter, brightness, contrast, saturation, hue, gray;
} tdm_augment_config;
/* Evaluation's view: resize to cover (shorter side), centre crop. out[height][width][3] */
TDM_CHECKED tdm_status tdm_image_plain(const tdm_image *image, int64_t height, int64_t width, uint8_t *out);
/* Random resized crop, then the colour and flip rows in table order, all from `rng`. */
TDM_CHECKED tdm_status tdm_image_augment(const tdm_image *image, const tdm_augment_config *config,
                                         tdm_rng rng, int64_t height, int64_t width, uint8_t *out);

#endif
