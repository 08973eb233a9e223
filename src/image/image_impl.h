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
    image_buffer tensor[2];                /* a view in floats; a second one while an augmentation runs */
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

typedef struct
    image_axis { /* which part of `size` inputs becomes full_n outputs, of which [skip, skip + n) are wanted */
    int64_t size;
    double begin, length;
    int64_t full_n, skip, n;
} image_axis;
/* Taps in the memory of dimension 0 (columns) or 1 (rows); `exact` of all outputs only if asked for. */
TDM_CHECKED tdm_status image_taps_make(tdm_image_work *work, image_filter filter, int dimension,
                                       const image_axis *axis, bool keep_exact, image_taps *out);

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

enum { IMAGE_RGB = 3 }; /* bytes of a pixel behind the resize */

/* Nearest neighbour, as Pillow's transform: the pixel in row y and column x comes from column
 * matrix[0] x + matrix[1] y + matrix[2], row matrix[3] x + matrix[4] y + matrix[5], of pixels' centres; outside is
 * `fill`. In place. */
TDM_CHECKED tdm_status image_affine(tdm_image_work *work, const double matrix[6], int fill, int64_t height,
                                    int64_t width, uint8_t *pixel);
/* Counter-clockwise about the centre, as Pillow's rotate. */
TDM_CHECKED tdm_status image_rotate(tdm_image_work *work, double degrees, int fill, int64_t height,
                                    int64_t width, uint8_t *pixel);

/* The operations that the learned and the random policies choose from, on 8 bits, with torchvision's magnitudes
 * (_apply_op of its autoaugment.py) and the levels of Pillow. */
typedef enum image_policy_op {
    IMAGE_OP_IDENTITY,
    IMAGE_OP_SHEAR_X,     /* by this share of a row for each row */
    IMAGE_OP_SHEAR_Y,     /* by this share of a column for each column */
    IMAGE_OP_TRANSLATE_X, /* to the right by whole pixels */
    IMAGE_OP_TRANSLATE_Y, /* downwards */
    IMAGE_OP_ROTATE,      /* degrees, counter-clockwise */
    IMAGE_OP_BRIGHTNESS,  /* by the factor 1 + magnitude, as the next three */
    IMAGE_OP_SATURATION,
    IMAGE_OP_CONTRAST,
    IMAGE_OP_SHARPNESS,
    IMAGE_OP_POSTERIZE, /* bits that are kept */
    IMAGE_OP_SOLARIZE,  /* levels from here on are inverted */
    IMAGE_OP_AUTOCONTRAST,
    IMAGE_OP_EQUALIZE,
    IMAGE_OP_INVERT,
    IMAGE_POLICY_OPS
} image_policy_op;
TDM_CHECKED tdm_status image_policy_apply(tdm_image_work *work, image_policy_op op, double magnitude,
                                          int64_t height, int64_t width, uint8_t *pixel);

/* ---- views in floats: value[3][height][width] from 0 to 1, red, green, blue, as torchvision's ToTensor ---- */

void image_to_tensor(const uint8_t *pixel, int64_t n, float *value);
void image_from_tensor(const float *value, int64_t n, uint8_t *pixel); /* rounded */
void image_adjust_tensor(image_adjustment kind, double factor, float *value, int64_t n);
void image_gray_tensor(float *value, int64_t n);
/* torchvision's rotate, nearest neighbour: in place */
TDM_CHECKED tdm_status image_rotate_tensor(tdm_image_work *work, double degrees, float fill, int64_t height,
                                           int64_t width, float *value);
/* A part of the view, resized to all of it. */
TDM_CHECKED tdm_status image_zoom_tensor(tdm_image_work *work, const image_box *box, image_filter filter,
                                         int64_t height, int64_t width, float *value);
/* Each plane with the same odd number of weights along rows and columns; beyond an edge the picture is mirrored in its
 * outermost pixels. In place. */
TDM_CHECKED tdm_status image_convolve_tensor(tdm_image_work *work, const float *weight, int64_t taps,
                                             int64_t height, int64_t width, float *value);

/* ---- augmentations ---- */

/* One augmentation: what it does to the part of the file's picture that is looked at (crop), to the resizing, or to
 * the resized view, there to 8 bits, to floats, or to either. What is random draws from `rng`, always the same number
 * of draws or decided by draws before. `options`: of operation.options, NULL without. */
typedef struct image_augment_row {
    tdm_operation operation;
    /* Narrows the box before the resize, which then is exact. Behind `resize` the row changes the view, if it can. */
    void (*crop)(const void *options, tdm_rng *rng, image_box *box);
    /* How the box is resized; the last row of a list that says so counts. */
    image_filter (*filter)(const void *options);
    /* Resizes the box to exactly the height and width of the model's input. */
    bool exact;
    /* From here to the end of the list the view is floats, which are rounded once. */
    bool to_tensor;
    /* Changes pixel[height][width][3] in place after the resize. May take work->scratch. */
    tdm_status (*apply)(tdm_image_work *work, const void *options, tdm_rng *rng, int64_t height,
                        int64_t width, uint8_t *pixel);
    /* The same for value[3][height][width]; clamped to 0 … 1 only where torchvision clamps. May take work->scratch. */
    tdm_status (*apply_tensor)(tdm_image_work *work, const void *options, tdm_rng *rng, int64_t height,
                               int64_t width, float *value);
    /* A row that applies others: their list, and which of its n entries, in order, come about; at most
     * IMAGE_POOL_MOST. */
    const tdm_strings *(*list)(const void *options);
    int64_t (*pick)(const void *options, tdm_rng *rng, int64_t n, int64_t *chosen);
} image_augment_row;
enum { IMAGE_POOL_MOST = 64 };

/* For a row's check: low must not lie above high. */
TDM_CHECKED tdm_status image_check_range(const char *where, const char *name, const char *low_key, double low,
                                         const char *high_key, double high);

/* Options of a row that happens with a probability and then draws one number. */
typedef struct image_strength {
    double p, min, max;
} image_strength;
#define IMAGE_STRENGTH_OPTIONS(p_default, least, most, low, high, unit, what)                                \
    TDM_FLOAT_OPTION(image_strength, p, p_default, 0, 1, "", "Probability that it happens."),                \
        TDM_FLOAT_OPTION(image_strength, min, low, least, most, unit, "Least " what "."),                    \
        TDM_FLOAT_OPTION(image_strength, max, high, least, most, unit, "Greatest " what ".")
/* Draws p, then the number; false: it does not happen. `options` begin with an image_strength. */
bool image_strength_draw(const void *options, tdm_rng *rng, double *strength);

typedef struct image_step {
    const image_augment_row *row;
    const void *options;
    tdm_image_pipeline *pool; /* owned: of row->list, else NULL */
} image_step;

struct tdm_image_pipeline {
    bool exact; /* the box is resized exactly; else as the model's preprocessing does it */
    image_filter filter;
    int64_t boxes; /* the first steps choose a part of the file's picture */
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
/* What the list does to a resized view; with floats they are left in work->tensor[0]. */
TDM_CHECKED tdm_status image_change(tdm_image_work *work, const tdm_image_pipeline *pipeline, tdm_rng *rng,
                                    int64_t height, int64_t width, uint8_t *pixel);
/* tdm_image_augment */
TDM_CHECKED tdm_status image_view(tdm_image_work *work, const tdm_image *image, const image_target *target,
                                  const tdm_image_pipeline *pipeline, tdm_rng rng, uint8_t *out);

#endif
