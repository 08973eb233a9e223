/* A random part of the image, with the distribution of torchvision's RandomResizedCrop: of the file's image before the
 * resize, of the view behind it. */
#include "image_impl.h"

#include <math.h>
#include <string.h>

typedef struct crop_options {
    double min_scale, max_scale, min_ratio, max_ratio;
    int64_t box[4];
    int interpolation; /* image_filter */
} crop_options;

#define OPTION(field, def, low, high, help)                                                                  \
    TDM_OPTION_FIELD(TDM_OPTION_FLOAT, crop_options, field, def, low, high, NULL, "", help,                  \
                     "augment.crop_" #field)
static const tdm_option options[] = {
    OPTION(min_scale, "0.9", 1e-4, 1, "Smallest area of the random crop, of the image's."),
    OPTION(max_scale, "1.0", 1e-4, 1, "Largest area of the random crop, of the image's."),
    OPTION(min_ratio, "0.75", 0.01, 100, "Least width over height of the random crop."),
    OPTION(max_ratio, "1.3333333333333333", 0.01, 100, "Greatest width over height of the random crop."),
    TDM_OPTION_FIELD(TDM_OPTION_INT4, crop_options, box, "[0, 0, 0, 0]", 0, TDM_IMAGE_MAX_PX, NULL, "px",
                     "Top, left, height and width of the crop, cut to the image; all 0: a random one.", NULL),
    TDM_CHOICE_OPTION(crop_options, interpolation, "bicubic", IMAGE_FILTERS,
                      "How the crop is resized. Where `resize` stands in the list, its own counts."),
};

static tdm_status check(const char *where, const void *with)
{
    const crop_options *o = with;
    TDM_TRY(image_check_range(where, "crop", "min_scale", o->min_scale, "max_scale", o->max_scale));
    return image_check_range(where, "crop", "min_ratio", o->min_ratio, "max_ratio", o->max_ratio);
}

/* Box of the image's full height or width with the nearest allowed ratio, centred. */
static void center_box(const crop_options *o, image_box *box)
{
    int64_t height = box->height, width = box->width;
    double ratio = (double)width / (double)height;
    if (ratio < o->min_ratio)
        height = (int64_t)nearbyint((double)width / o->min_ratio);
    else if (ratio > o->max_ratio)
        width = (int64_t)nearbyint((double)height * o->max_ratio);
    height = tdm_max_i64(1, tdm_min_i64(height, box->height));
    width = tdm_max_i64(1, tdm_min_i64(width, box->width));
    box->top += (box->height - height) / 2;
    box->left += (box->width - width) / 2;
    box->height = height;
    box->width = width;
}

/* The fixed part, cut to the image but for one pixel at least. */
static void fixed_box(const int64_t fixed[4], image_box *box)
{
    const int64_t top = tdm_min_i64(fixed[0], box->height - 1), left = tdm_min_i64(fixed[1], box->width - 1);
    *box = (image_box){.top = box->top + top,
                       .left = box->left + left,
                       .height = tdm_min_i64(fixed[2], box->height - top),
                       .width = tdm_min_i64(fixed[3], box->width - left)};
}

static void crop(const void *with, tdm_rng *rng, image_box *box)
{
    enum { TRIES = 10 };
    const crop_options *o = with;
    double area = (double)box->height * (double)box->width;
    double log_min = log(o->min_ratio), log_max = log(o->max_ratio);
    if (o->box[2] > 0 && o->box[3] > 0) {
        fixed_box(o->box, box);
        return;
    }
    for (int i = 0; i < TRIES; i++) {
        double target = area * tdm_rng_range(rng, o->min_scale, o->max_scale);
        double ratio = exp(tdm_rng_range(rng, log_min, log_max));
        int64_t width = (int64_t)nearbyint(sqrt(target * ratio));
        int64_t height = (int64_t)nearbyint(sqrt(target / ratio));
        if (width < 1 || width > box->width || height < 1 || height > box->height) continue;
        box->top += tdm_rng_below(rng, box->height - height + 1);
        box->left += tdm_rng_below(rng, box->width - width + 1);
        box->height = height;
        box->width = width;
        return;
    }
    center_box(o, box);
}

static image_filter filter(const void *with)
{
    return (image_filter)((const crop_options *)with)->interpolation;
}

/* ---- of a view, resized to all of it ---- */

static tdm_status zoom(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height, int64_t width,
                       uint8_t *pixel)
{
    image_box box = {.height = height, .width = width};
    crop(with, rng, &box);
    const int64_t stride = width * IMAGE_RGB;
    const image_window window = {.pixel = pixel + box.top * stride + box.left * IMAGE_RGB,
                                 .height = box.height,
                                 .width = box.width,
                                 .stride = stride,
                                 .mode = TDM_IMAGE_RGB};
    const resample_plan plan = {.box_height = (double)box.height,
                                .box_width = (double)box.width,
                                .full_height = height,
                                .full_width = width,
                                .out_height = height,
                                .out_width = width,
                                .out_stride = stride,
                                .filter = filter(with)};
    uint8_t *made;
    TDM_TRY(IMAGE_TAKE(&work->scratch[0], height * stride, &made));
    TDM_TRY(image_resample(work, &window, &plan, made));
    memcpy(pixel, made, (size_t)(height * stride));
    return TDM_OK;
}

static tdm_status zoom_tensor(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                              int64_t width, float *value)
{
    image_box box = {.height = height, .width = width};
    crop(with, rng, &box);
    return image_zoom_tensor(work, &box, filter(with), height, width, value);
}

const image_augment_row image_augment_crop = {
    .operation = {.name = "crop", .check = check, TDM_OPERATION_OPTIONS(crop_options, options)},
    .crop = crop,
    .filter = filter,
    .apply = zoom,
    .apply_tensor = zoom_tensor,
};
