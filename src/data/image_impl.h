/* What the image files of this folder share. */
#ifndef TANDEM_IMAGE_IMPL_H
#define TANDEM_IMAGE_IMPL_H

#include "tandem/image.h"

/* Decoded images may hold at most this many pixels (as Pillow's own limit for suspicious files, about
 * 13,000 x 13,000): a file of a few hundred bytes could otherwise ask for gigabytes. */
#define IMAGE_MAX_PIXELS INT64_C(178956970)

/* image_stb.c: PNG, BMP. *pixel [height][width][channels], 1 … 4 channels, malloc'd: free(). gray16: one
 * channel of u16. */
TDM_CHECKED tdm_status image_stb_probe(const char *name, const void *data, size_t bytes, int64_t *height,
                                       int64_t *width);
TDM_CHECKED tdm_status image_stb_decode(const char *name, const void *data, size_t bytes, bool gray16,
                                        int64_t *height, int64_t *width, int *channels, uint8_t **pixel);

/* image_jpeg.c: *channels 1, 3 or 4, the last CMYK as it stands in the file. height, width: of the probe. */
TDM_CHECKED tdm_status image_jpeg_probe(const char *name, const void *data, size_t bytes, int64_t *height,
                                        int64_t *width);
TDM_CHECKED tdm_status image_jpeg_decode(const char *name, const void *data, size_t bytes, int64_t height,
                                         int64_t width, int *channels, uint8_t **pixel);

/* image_gif.c: *pixel [height][width][4], malloc'd. indexed: the palette is no ramp of grays. */
bool image_is_gif(const unsigned char *data, size_t bytes);
TDM_CHECKED tdm_status image_gif_probe(const char *name, const unsigned char *data, size_t bytes,
                                       int64_t *height, int64_t *width);
TDM_CHECKED tdm_status image_gif_decode(const char *name, const unsigned char *data, size_t bytes,
                                        bool *indexed, bool *transparent, uint8_t **pixel);

/* Sides and pixels within the limits, else TDM_E_DATA. */
TDM_CHECKED tdm_status image_check_size(const char *name, int64_t height, int64_t width);

/* What stb does not tell of a file. */
typedef struct image_traits {
    bool indexed, gray16;
    bool alpha; /* a channel of its own */
    bool keyed; /* PNG's tRNS */
} image_traits;

/* image_check.c: what stb does not look at before it decodes. PNG: size (stb answers one that is too large
 * with "unknown image type"), every chunk up to IEND there, checksums of the critical ones. JPEG: every
 * segment up to EOI there, Huffman tables of a size that can be and defined before a scan uses them. */
bool image_is_png(const unsigned char *data, size_t bytes);
TDM_CHECKED tdm_status image_png_probe(const char *name, const unsigned char *data, size_t bytes,
                                       int64_t *height, int64_t *width);
TDM_CHECKED tdm_status image_check_png(const char *name, const unsigned char *data, size_t bytes,
                                       image_traits *traits);
void image_bmp_traits(const unsigned char *data, size_t bytes, image_traits *traits);
bool image_is_jpeg(const unsigned char *data, size_t bytes);
TDM_CHECKED tdm_status image_check_jpeg(const char *name, const unsigned char *data, size_t bytes);

/* A window of an image: rows are `stride` bytes apart. */
typedef struct image_window {
    const uint8_t *pixel;
    int64_t height, width, stride;
    tdm_image_mode mode;
} image_window;
int64_t image_pixel_bytes(tdm_image_mode mode);
void image_premultiply(const uint8_t *from, int64_t n, uint8_t *to); /* RGBA [n], `to` may be `from` */
/* premultiplied: of RGBA whose colours hold alpha already */
void image_row_to_rgb(tdm_image_mode mode, bool premultiplied, const uint8_t *from, int64_t n, uint8_t *to);
/* The window of these rows and columns. */
image_window image_window_of(const tdm_image *image, int64_t top, int64_t left, int64_t height,
                             int64_t width);

/* Resamples the box of the window (see tdm_image_resize; filter taps stop at the window's edges) to
 * full_height × full_width and stores only rows [row, row + out_height), columns [column, column + out_width)
 * of the result, as RGB, `out_stride` bytes from row to row. */
typedef struct resample_plan {
    double top, left, box_height, box_width;
    int64_t full_height, full_width;
    int64_t row, column, out_height, out_width, out_stride;
} resample_plan;
TDM_CHECKED tdm_status image_resample(const image_window *window, const resample_plan *plan, uint8_t *out);

/* Colour adjustments, in place on pixel[n][3]. factor: of hue the turn, -0.5 … 0.5 of the circle; of the
 * others 1 leaves the image as it is. */
typedef enum image_adjustment {
    IMAGE_BRIGHTNESS,
    IMAGE_CONTRAST,
    IMAGE_SATURATION,
    IMAGE_HUE,
    IMAGE_ADJUSTMENTS
} image_adjustment;
void image_adjust(image_adjustment kind, double factor, uint8_t *pixel, int64_t n);

/* The window of a source image that a random crop chose, in pixels. */
typedef struct image_box {
    int64_t top, left, height, width;
} image_box;

/* One augmentation. A row has one of the two functions; both take all their draws from `rng`. */
typedef struct image_augment_row {
    const char *name;
    /* Narrows the box before the resize. */
    void (*crop)(const tdm_augment_config *config, tdm_rng *rng, image_box *box);
    /* Changes pixel[height][width][3] in place after the resize. */
    void (*apply)(const tdm_augment_config *config, tdm_rng *rng, int64_t height, int64_t width,
                  uint8_t *pixel);
} image_augment_row;

extern const image_augment_row image_augment_crop, image_augment_flip, image_augment_jitter,
    image_augment_gray;

#endif
