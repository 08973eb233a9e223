/* What the image files of this folder share. */
#ifndef TANDEM_IMAGE_IMPL_H
#define TANDEM_IMAGE_IMPL_H

#include "image_kernels.h"

#include "tandem/image.h"

/* Decoded images may hold at most this many pixels (as Pillow's own limit for suspicious files, about
 * 13,000 x 13,000): a file of a few hundred bytes could otherwise ask for gigabytes. */
#define IMAGE_MAX_PIXELS INT64_C(178956970)

/* A part of an image, in pixels. */
typedef struct image_box {
    int64_t top, left, height, width;
} image_box;

/* Memory that grows and is kept; what it held is lost when it grows. Zero-initialise. */
typedef struct image_buffer {
    void *data; /* malloc'd */
    size_t bytes;
} image_buffer;
TDM_CHECKED tdm_status image_buffer_take(image_buffer *buffer, size_t bytes, void **out);
#define IMAGE_TAKE(buffer, count, out)                                                                       \
    image_buffer_take(buffer, sizeof(**(out)) * (size_t)(count), (void **)(out))
void image_buffer_adopt(image_buffer *buffer, void *data, size_t bytes); /* data: malloc'd, becomes its own */

/* Working memory of one thread. */
struct tdm_image_work {
    image_buffer decoded, converted;       /* pixels of a file */
    image_buffer packed, unpacked;         /* PNG: image data before and after inflating */
    image_buffer place[2], weight[2];      /* taps of columns and rows */
    image_buffer exact[2];                 /* their weights before rounding */
    image_buffer middle, columns, four[2]; /* between the passes; rows turned; pixels of four channels */
    image_buffer scratch[2];               /* of an augmentation while it runs */
    struct libdeflate_decompressor *inflater;
};
void image_work_free(tdm_image_work *work); /* what it holds */

/* What the pixels of a decoded PNG are. */
typedef struct image_traits {
    int channels; /* 1 … 4, 2 and 4 with alpha */
    bool indexed; /* of a palette, or one bit */
    bool deep;    /* u16, one channel */
    bool alpha;   /* a channel of its own */
    bool keyed;   /* tRNS */
} image_traits;

/* image_png.c: pixels into work->decoded. Checksums are compared where they matter. drop_alpha: a gray of 16 bits may stay
 * deep though it has a transparent shade. */
bool image_is_png(const unsigned char *data, size_t bytes);
TDM_CHECKED tdm_status image_png_probe(const char *name, const unsigned char *data, size_t bytes,
                                       int64_t *height, int64_t *width);
TDM_CHECKED tdm_status image_png_decode(const char *name, tdm_image_work *work, const unsigned char *data,
                                        size_t bytes, bool drop_alpha, image_traits *traits);

/* image_jpeg.c: *channels 3 or 4, the latter CMYK as it stands in the file. height, width: of the probe.
 * Pixels outside `box` may be left undefined. */
TDM_CHECKED tdm_status image_jpeg_decode(const char *name, const void *data, size_t bytes, int64_t height,
                                         int64_t width, const image_box *box, image_buffer *to,
                                         int *channels);

/* image_gif.c: *pixel [height][width][4], malloc'd. indexed: the palette is no ramp of grays. */
bool image_is_gif(const unsigned char *data, size_t bytes);
TDM_CHECKED tdm_status image_gif_probe(const char *name, const unsigned char *data, size_t bytes,
                                       int64_t *height, int64_t *width);
TDM_CHECKED tdm_status image_gif_decode(const char *name, const unsigned char *data, size_t bytes,
                                        bool *indexed, bool *transparent, uint8_t **pixel);

/* image_type.c: says why no decoder takes a file, TDM_E_DATA. */
TDM_CHECKED tdm_status image_refuse_type(const char *name, const void *data, size_t bytes);

/* image_decode.c */
bool image_is_webp(const unsigned char *data, size_t bytes);

/* image_bmp.c. "BM" alone could begin a caption: the size of the header behind it is looked at, too.
 * Pixels [height][width][channels], 3 or 4, into work->decoded. indexed: a palette that is no ramp of grays, or one bit. */
bool image_is_bmp(const unsigned char *data, size_t bytes);
TDM_CHECKED tdm_status image_bmp_probe(const char *name, const unsigned char *data, size_t bytes,
                                       int64_t *height, int64_t *width);
TDM_CHECKED tdm_status image_bmp_decode(const char *name, tdm_image_work *work, const unsigned char *data,
                                        size_t bytes, int *channels, bool *indexed);

/* Sides and pixels within the limits, else TDM_E_DATA. */
TDM_CHECKED tdm_status image_check_size(const char *name, int64_t height, int64_t width);

/* image_check.c: what libjpeg does not look at before it decodes: every segment up to EOI there, Huffman tables of a
 * size that can be and, unless a file has none at all, defined before a scan uses them. The size is that of the frame. */
bool image_is_jpeg(const unsigned char *data, size_t bytes);
TDM_CHECKED tdm_status image_check_jpeg(const char *name, const unsigned char *data, size_t bytes,
                                        int64_t *height, int64_t *width);

/* image_decode.c: an image whose size the probe told. image->pixel is borrowed from `work`, valid until it
 * decodes again; only the pixels in `box` need be defined. */
TDM_CHECKED tdm_status image_decode(tdm_image_work *work, const char *name, const void *data, size_t bytes,
                                    tdm_image_alpha alpha, const image_box *box, tdm_image *image);

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

/* Pillow's filters; palettes are resized by nearest neighbour whatever is asked for. */
#define IMAGE_FILTERS "bicubic|bilinear"
typedef enum image_filter { IMAGE_BICUBIC, IMAGE_BILINEAR } image_filter;

/* Resamples the box of the window (see tdm_image_resize; filter taps stop at the window's edges) to
 * full_height × full_width and stores only rows [row, row + out_height), columns [column, column + out_width)
 * of the result, as RGB, `out_stride` bytes from row to row. */
typedef struct resample_plan {
    double top, left, box_height, box_width;
    int64_t full_height, full_width;
    int64_t row, column, out_height, out_width, out_stride;
    image_filter filter;
} resample_plan;
TDM_CHECKED tdm_status image_resample(tdm_image_work *work, const image_window *window,
                                      const resample_plan *plan, uint8_t *out);

/* Inputs [*begin, *begin + *count) hold all that outputs [skip, skip + n) of full_n read when `size` are
 * resized to full_n. */
void image_reach(int64_t size, int64_t full_n, int64_t skip, int64_t n, int64_t *begin, int64_t *count);

/* tdm_image_plain, and which part of an image it looks at. */
image_box image_plain_box(int64_t image_height, int64_t image_width, tdm_image_fit fit, int64_t height,
                          int64_t width);
TDM_CHECKED tdm_status image_plain(tdm_image_work *work, const tdm_image *image, tdm_image_fit fit,
                                   int64_t height, int64_t width, uint8_t *out);

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

/* ---- augmentations ---- */

enum { IMAGE_RGB = 3 }; /* bytes of a pixel behind the resize */

/* One augmentation. A row has one of the three; what is random draws from `rng`, always the same number of draws or
 * decided by draws before. `options`: of operation.options, NULL without. */
typedef struct image_augment_row {
    tdm_operation operation;
    /* Narrows the box before the resize, which then is exact. */
    void (*crop)(const void *options, tdm_rng *rng, image_box *box);
    /* How the box is resized; the last row of a list that says so counts. */
    image_filter (*filter)(const void *options);
    /* Resizes the box to exactly the height and width of the model's input. */
    bool exact;
    /* Changes pixel[height][width][3] in place after the resize. May take work->scratch. */
    tdm_status (*apply)(tdm_image_work *work, const void *options, tdm_rng *rng, int64_t height,
                        int64_t width, uint8_t *pixel);
} image_augment_row;

typedef struct image_step {
    const image_augment_row *row;
    const void *options;
} image_step;

struct tdm_image_pipeline {
    bool exact; /* the box is resized exactly; else as the model's preprocessing does it */
    image_filter filter;
    int64_t count;
    image_step step[];
};

/* What a model wants. */
typedef struct image_target {
    tdm_image_fit fit;
    int64_t height, width;
} image_target;
/* Which part of the image a view looks at. */
image_box image_view_box(const tdm_image *image, const image_target *target,
                         const tdm_image_pipeline *pipeline, tdm_rng *rng);
/* tdm_image_augment */
TDM_CHECKED tdm_status image_view(tdm_image_work *work, const tdm_image *image, const image_target *target,
                                  const tdm_image_pipeline *pipeline, tdm_rng rng, uint8_t *out);

#endif
