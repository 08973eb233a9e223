/* Decoding, resizing and augmenting of images. Not collective, thread-safe. */
#ifndef TANDEM_IMAGE_H
#define TANDEM_IMAGE_H

#include "tandem/base.h"
#include "tandem/config.h"
#include "tandem/operation.h"
#include "tandem/rng.h"

#define TDM_IMAGE_MAX_PX 32768 /* either side; larger files are refused before decoding */

/* What the pixels of a decoded file are. They are resized as they are and then become RGB, in the order of
 * OpenAI's and open_clip's preprocessing, and as Pillow does it in its modes: */
typedef enum tdm_image_mode {
    TDM_IMAGE_RGB,     /* u8 [height][width][3]: bicubic */
    TDM_IMAGE_INDEXED, /* u8 [height][width][3] of a palette, or black and white (P, 1): nearest neighbour */
    TDM_IMAGE_RGBA,    /* u8 [height][width][4]: bicubic of colour times alpha; then alpha is ignored */
    TDM_IMAGE_CMYK,    /* u8 [height][width][4], 0 is no ink */
    TDM_IMAGE_GRAY16   /* u16 [height][width] */
} tdm_image_mode;
typedef struct tdm_image {
    int64_t height, width;
    tdm_image_mode mode;
    uint8_t *pixel; /* owned; tdm_image_free */
} tdm_image;
void tdm_image_free(tdm_image *image);

/* What a file is, told by its content; the name of a file plays no part. */
typedef struct tdm_image_type {
    const char *name; /* "JPEG", "AVIF"; as in "is AVIF, which is not decoded" */
    bool decodes;     /* tdm_image_decode reads it; else it is known only, and refused by name */
} tdm_image_type;
/* As many first bytes of a file tell its type, whatever it is; with fewer SVG and PNM may be missed. */
#define TDM_IMAGE_TYPE_BYTES 1024
/* The type of a file that begins with data[bytes], static; NULL: no image that is known. Of TGA nothing can be told.
 * Text is never taken for an image unless it is SVG, PNM, PDF or PostScript. */
const tdm_image_type *tdm_image_type_of(const void *data, size_t bytes);

/* What becomes of transparency. */
typedef enum tdm_image_alpha {
    TDM_ALPHA_DROP,  /* as Pillow's convert("RGB"): ignored, transparent pixels show the colour below */
    TDM_ALPHA_WHITE, /* composed over white before anything else */
    TDM_ALPHA_KEEP   /* whatever is transparent, palettes too, becomes RGBA */
} tdm_image_alpha;

/* JPEG by libjpeg, WebP (first frame) by libwebp, PNG, BMP, GIF (first frame).
 * EXIF orientation is ignored, as by Pillow's open and convert. `name` stands in messages. Errors:
 * TDM_E_DATA: empty, unsupported, corrupt, or larger than TDM_IMAGE_MAX_PX. */
TDM_CHECKED tdm_status tdm_image_decode(const char *name, const void *data, size_t bytes,
                                        tdm_image_alpha alpha, tdm_image *image);
/* Size without decoding. */
TDM_CHECKED tdm_status tdm_image_probe(const char *name, const void *data, size_t bytes, int64_t *height,
                                       int64_t *width);
/* The box (top, left, box_height, box_width; fractions allowed) resized to out_height × out_width as Pillow
 * 13's Image.resize(BICUBIC, box=…): antialiased (a = -0.5, support scaled with the reduction, 8-bit between
 * the two passes). out[out_height][out_width][3] RGB is the caller's. */
TDM_CHECKED tdm_status tdm_image_resize(const tdm_image *image, double top, double left, double box_height,
                                        double box_width, int64_t out_height, int64_t out_width,
                                        uint8_t *out);
/* The whole image smaller or larger, RGBA stays RGBA, all else becomes RGB, palettes bicubic too. *scaled is
 * owned by the caller (tdm_image_free). */
TDM_CHECKED tdm_status tdm_image_scale(const tdm_image *image, int64_t height, int64_t width,
                                       tdm_image *scaled);
/* pixel: RGB, [height][width][3] */
TDM_CHECKED tdm_status tdm_image_encode_png(const uint8_t *pixel, int64_t height, int64_t width,
                                            tdm_text *out);
TDM_CHECKED tdm_status tdm_image_encode_rgba_png(const uint8_t *pixel, int64_t height, int64_t width,
                                                 tdm_text *out);
TDM_CHECKED tdm_status tdm_image_encode_jpeg(const uint8_t *pixel, int64_t height, int64_t width, int quality,
                                             tdm_text *out);

/* A file's picture as JPEG over white, its longer side px or less, appended to `out`. */
TDM_CHECKED tdm_status tdm_image_thumbnail(const char *name, const void *data, size_t bytes, int64_t px,
                                           int quality, tdm_text *out);

/* ---- Preprocessing of a model (configuration keys model.image.alpha and .resize) ---- */
typedef enum tdm_image_fit {
    TDM_FIT_CROP,   /* shorter side to the size, then the centre */
    TDM_FIT_SQUASH, /* both sides to the size */
    TDM_FIT_LONGEST /* longer side to the size, black around it */
} tdm_image_fit;
typedef struct tdm_image_policy {
    tdm_image_alpha alpha;
    tdm_image_fit fit;
} tdm_image_policy;
/* From the tower's configuration. */
tdm_image_policy tdm_image_policy_of(const tdm_tower_config *tower);

/* Evaluation's view. CROP: as torchvision's Resize(shorter side), which cuts the longer side to an integer,
 * and CenterCrop; a target that is not square as open_clip, which rounds it. out[height][width][3] */
TDM_CHECKED tdm_status tdm_image_plain(const tdm_image *image, tdm_image_fit fit, int64_t height,
                                       int64_t width, uint8_t *out);

/* ---- Augmentations ----
 * Operations on images are rows of src/image/augment_table.h, each with its options in the group augment.NAME of the
 * configuration. A pipeline is the list of a view (views.NAME.augment), compiled once. */

/* Their options join the configuration's schema. */
TDM_CHECKED tdm_status tdm_image_augment_register(void);
/* Row `index` of the table, NULL beyond the last. */
const tdm_operation *tdm_image_augment_row(size_t index);
typedef struct tdm_image_pipeline tdm_image_pipeline;
/* Of the list's entries those that are operations on images, in their order. What chooses a part of the image (crop)
 * and what resizes it stands before what changes pixels; without either the image is resized as for evaluation.
 * Borrows the configuration. `where` ("views.aug_1.augment") begins messages. */
TDM_CHECKED tdm_status tdm_image_pipeline_create(const tdm_config *config, const char *where,
                                                 const tdm_strings *list, tdm_image_pipeline **pipeline);
void tdm_image_pipeline_destroy(tdm_image_pipeline **pipeline);
/* pipeline: NULL is an empty one: the plain view. All draws from `rng`, in the order of the list. out[height][width][3] */
TDM_CHECKED tdm_status tdm_image_augment(const tdm_image *image, const tdm_image_pipeline *pipeline,
                                         tdm_image_fit fit, tdm_rng rng, int64_t height, int64_t width,
                                         uint8_t *out);

/* ---- Two pictures in one (`mix` of a loader, tandem/loader.h) ---- */
typedef enum tdm_image_mix_kind {
    TDM_MIX_AVERAGE,     /* MixGen, arXiv 2206.08358: the mean of both, halves to even */
    TDM_MIX_SIDE_BY_SIDE /* ConcatGen: half as wide each, bilinear with antialiasing; the other on the right */
} tdm_image_mix_kind;
struct tdm_image_work;
/* pixel, other: [height][width][3]; the result replaces `pixel`. A picture of one column stays as it is side by side. */
TDM_CHECKED tdm_status tdm_image_mix(struct tdm_image_work *work, tdm_image_mix_kind kind, int64_t height,
                                     int64_t width, const uint8_t *other, uint8_t *pixel);

/* ---- All of it, for a thread that does it often ---- */

/* Working memory of one thread, kept from image to image: once it has grown to what the largest one needs,
 * only the libraries that decode allocate. */
typedef struct tdm_image_work tdm_image_work;
TDM_CHECKED tdm_status tdm_image_work_create(tdm_image_work **work);
void tdm_image_work_destroy(tdm_image_work **work);

typedef struct tdm_image_request {      /* one view of an image, for a model */
    const tdm_image_pipeline *pipeline; /* NULL: the plain view */
    tdm_rng rng;
    uint8_t *out; /* [height][width][3], the caller's */
} tdm_image_request;
/* tdm_image_decode, then tdm_image_augment for each of want[count]: the same bits and errors. */
TDM_CHECKED tdm_status tdm_image_make(tdm_image_work *work, const char *name, const void *data, size_t bytes,
                                      tdm_image_policy policy, int64_t height, int64_t width, int count,
                                      const tdm_image_request *want);

#endif
