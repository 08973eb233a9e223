/* An image into the size that a model or a file wants. */
#include "image_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RGB = 3 };

tdm_status tdm_image_resize(const tdm_image *image, double top, double left, double box_height,
                            double box_width, int64_t out_height, int64_t out_width, uint8_t *out)
{
    const image_window window = image_window_of(image, 0, 0, image->height, image->width);
    const resample_plan plan = {.top = top,
                                .left = left,
                                .box_height = box_height,
                                .box_width = box_width,
                                .full_height = out_height,
                                .full_width = out_width,
                                .out_height = out_height,
                                .out_width = out_width,
                                .out_stride = out_width * RGB};
    tdm_image_work work = {0};
    const tdm_status status = image_resample(&work, &window, &plan, out);
    image_work_free(&work);
    return status;
}

/* ---- A model's input ---- */

tdm_image_policy tdm_image_policy_of(const tdm_tower_config *tower)
{
    return (tdm_image_policy){.alpha = strcmp(tower->alpha, "white") ? TDM_ALPHA_DROP : TDM_ALPHA_WHITE,
                              .fit = !strcmp(tower->resize, "squash")    ? TDM_FIT_SQUASH
                                     : !strcmp(tower->resize, "longest") ? TDM_FIT_LONGEST
                                                                         : TDM_FIT_CROP};
}

/* round() of Python: halves to even. */
static int64_t round_half_even(double x)
{
    return (int64_t)nearbyint(x);
}

/* torchvision's Resize: the longer side is cut to an integer. */
static void cover_square(int64_t image_height, int64_t image_width, int64_t *height, int64_t *width)
{
    const int64_t side = *height;
    if (image_width >= image_height)
        *width = side * image_width / image_height;
    else
        *height = side * image_height / image_width;
}

/* open_clip's ResizeKeepRatio: both sides over the smaller (cover) or the larger (fit inside) of the two
 * ratios, rounded. */
static void keep_ratio(int64_t image_height, int64_t image_width, bool cover, int64_t *height, int64_t *width)
{
    const double high = (double)image_height / (double)*height, wide = (double)image_width / (double)*width;
    const double ratio = cover == (high < wide) ? high : wide;
    *height = tdm_max_i64(1, round_half_even((double)image_height / ratio));
    *width = tdm_max_i64(1, round_half_even((double)image_width / ratio));
}

/* The image as a whole at its new size, of which the result has the centre, or all with black around. */
static resample_plan plan_plain(int64_t image_height, int64_t image_width, tdm_image_fit fit, int64_t height,
                                int64_t width)
{
    int64_t full_height = height, full_width = width;
    if (fit == TDM_FIT_CROP && height == width)
        cover_square(image_height, image_width, &full_height, &full_width);
    else if (fit != TDM_FIT_SQUASH)
        keep_ratio(image_height, image_width, fit == TDM_FIT_CROP, &full_height, &full_width);
    return (resample_plan){
        .box_height = (double)image_height,
        .box_width = (double)image_width,
        .full_height = full_height,
        .full_width = full_width,
        .row = full_height > height ? round_half_even((double)(full_height - height) / 2.0) : 0,
        .column = full_width > width ? round_half_even((double)(full_width - width) / 2.0) : 0,
        .out_height = tdm_min_i64(height, full_height),
        .out_width = tdm_min_i64(width, full_width),
        .out_stride = width * RGB};
}

image_box image_plain_box(int64_t image_height, int64_t image_width, tdm_image_fit fit, int64_t height,
                          int64_t width)
{
    const resample_plan plan = plan_plain(image_height, image_width, fit, height, width);
    image_box box;
    image_reach(image_height, plan.full_height, plan.row, plan.out_height, &box.top, &box.height);
    image_reach(image_width, plan.full_width, plan.column, plan.out_width, &box.left, &box.width);
    return box;
}

tdm_status image_plain(tdm_image_work *work, const tdm_image *image, tdm_image_fit fit, int64_t height,
                       int64_t width, uint8_t *out)
{
    TDM_REQUIRE(height > 0 && width > 0 && image->height > 0 && image->width > 0, TDM_E_SHAPE,
                "cannot make %lld x %lld px of an image of %lld x %lld px", (long long)height,
                (long long)width, (long long)image->height, (long long)image->width);
    const image_window window = image_window_of(image, 0, 0, image->height, image->width);
    const resample_plan plan = plan_plain(image->height, image->width, fit, height, width);
    const int64_t top = (height - plan.out_height) / 2, left = (width - plan.out_width) / 2;
    if (plan.out_height < height || plan.out_width < width) memset(out, 0, (size_t)(height * width * RGB));
    return image_resample(work, &window, &plan, out + (top * width + left) * RGB);
}

tdm_status tdm_image_plain(const tdm_image *image, tdm_image_fit fit, int64_t height, int64_t width,
                           uint8_t *out)
{
    tdm_image_work work = {0};
    const tdm_status status = image_plain(&work, image, fit, height, width, out);
    image_work_free(&work);
    return status;
}

/* ---- A smaller file ---- */

/* RGB of every pixel, [height][width][3]; the caller frees. */
static tdm_status as_rgb(const tdm_image *image, tdm_image *rgb)
{
    const int64_t bytes = image_pixel_bytes(image->mode);
    *rgb = (tdm_image){.height = image->height, .width = image->width, .mode = TDM_IMAGE_RGB};
    rgb->pixel = malloc((size_t)(image->height * image->width * RGB));
    TDM_REQUIRE(rgb->pixel, TDM_E_NOMEM, "not enough memory for an image of %lld x %lld px",
                (long long)image->width, (long long)image->height);
    for (int64_t row = 0; row < image->height; row++)
        image_row_to_rgb(image->mode, false, image->pixel + row * image->width * bytes, image->width,
                         rgb->pixel + row * image->width * RGB);
    return TDM_OK;
}

/* Alpha of every pixel, as gray. */
static tdm_status alpha_as_rgb(const tdm_image *image, tdm_image *gray)
{
    TDM_TRY(as_rgb(image, gray));
    for (int64_t i = 0; i < image->height * image->width; i++)
        memset(gray->pixel + RGB * i, image->pixel[4 * i + 3], RGB);
    return TDM_OK;
}

static tdm_status scale_whole(const tdm_image *image, int64_t height, int64_t width, uint8_t *out)
{
    return tdm_image_resize(image, 0, 0, (double)image->height, (double)image->width, height, width, out);
}

/* Colour and alpha apart, both as Pillow's resize of RGBA makes them. */
static tdm_status scale_rgba(const tdm_image *image, int64_t height, int64_t width, tdm_image *scaled)
{
    tdm_image alpha = {0};
    uint8_t *colour = NULL, *gray = NULL;
    tdm_status status = alpha_as_rgb(image, &alpha);
    if (status == TDM_OK) status = TDM_ALLOC(height * width * RGB, &colour);
    if (status == TDM_OK) status = TDM_ALLOC(height * width * RGB, &gray);
    if (status == TDM_OK) status = scale_whole(image, height, width, colour);
    if (status == TDM_OK) status = scale_whole(&alpha, height, width, gray);
    for (int64_t i = 0; i < height * width && status == TDM_OK; i++) {
        memcpy(scaled->pixel + 4 * i, colour + RGB * i, RGB);
        scaled->pixel[4 * i + 3] = gray[RGB * i];
    }
    tdm_free(colour);
    tdm_free(gray);
    tdm_image_free(&alpha);
    return status;
}

tdm_status tdm_image_scale(const tdm_image *image, int64_t height, int64_t width, tdm_image *scaled)
{
    const bool alpha = image->mode == TDM_IMAGE_RGBA;
    tdm_image whole = *image;
    if (whole.mode == TDM_IMAGE_INDEXED) whole.mode = TDM_IMAGE_RGB;
    *scaled = (tdm_image){.height = height, .width = width, .mode = alpha ? TDM_IMAGE_RGBA : TDM_IMAGE_RGB};
    scaled->pixel = malloc((size_t)(height * width * (alpha ? 4 : RGB)));
    TDM_REQUIRE(scaled->pixel, TDM_E_NOMEM, "not enough memory for an image of %lld x %lld px",
                (long long)width, (long long)height);
    const tdm_status status =
        alpha ? scale_rgba(&whole, height, width, scaled) : scale_whole(&whole, height, width, scaled->pixel);
    if (status != TDM_OK) tdm_image_free(scaled);
    return status;
}
