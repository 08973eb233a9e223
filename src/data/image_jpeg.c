/* JPEG by libjpeg-turbo with its defaults (accurate inverse DCT, smooth upsampling), as in Pillow: the same
 * pixels, CMYK included. */
#include "image_impl.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after stdio.h */
#include <jpeglib.h>
#include <jerror.h>

enum { SCANS_MAX = 500 /* of a progressive file; hostile ones hold thousands, each a pass over the image */ };

typedef struct jpeg_job {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    char message[JMSG_LENGTH_MAX];
    uint8_t *pixel;
} jpeg_job;

static void fail(j_common_ptr any)
{
    jpeg_job *job = any->client_data;
    any->err->format_message(any, job->message);
    longjmp(job->failed, 1);
}

/* Warnings about missing or damaged data are errors here, since the picture is not the one that was meant;
 * the others (bytes between segments, unknown versions) leave it whole. */
static void note(j_common_ptr any, int level)
{
    if (level >= 0) return;
    switch (any->err->msg_code) {
    case JWRN_ARITH_BAD_CODE:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC: fail(any); break;
    default: any->err->num_warnings++;
    }
}

static void print_nothing(j_common_ptr any)
{
    (void)any;
}

static void count_scans(j_common_ptr any)
{
    jpeg_job *job = any->client_data;
    if (job->jpeg.input_scan_number <= SCANS_MAX) return;
    snprintf(job->message, sizeof job->message, "more than %d scans", (int)SCANS_MAX);
    longjmp(job->failed, 1);
}

/* Between this and jpeg_destroy_decompress errors jump to job->failed. */
static void begin(jpeg_job *job, const void *data, size_t bytes)
{
    job->jpeg.err = jpeg_std_error(&job->errors);
    job->jpeg.client_data = job;
    job->errors.error_exit = fail;
    job->errors.emit_message = note;
    job->errors.output_message = print_nothing;
    jpeg_create_decompress(&job->jpeg);
    job->progress.progress_monitor = count_scans;
    job->jpeg.progress = &job->progress;
    jpeg_mem_src(&job->jpeg, data, bytes);
    jpeg_read_header(&job->jpeg, TRUE);
}

static void read_rows(jpeg_job *job)
{
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    jpeg_start_decompress(jpeg);
    const size_t stride = (size_t)jpeg->output_width * (size_t)jpeg->output_components;
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = job->pixel + jpeg->output_scanline * stride;
        jpeg_read_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_decompress(jpeg);
}

/* False: job->message says why. size: height, width. */
static bool decode(jpeg_job *job, const void *data, size_t bytes, const int64_t size[2], int *channels)
{
    if (setjmp(job->failed)) return false;
    begin(job, data, bytes);
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    *channels = jpeg->num_components;
    if (*channels != 1 && *channels != 3 && *channels != 4) {
        snprintf(job->message, sizeof job->message, "%d components", *channels);
        return false;
    }
    if (jpeg->image_height != size[0] || jpeg->image_width != size[1]) {
        snprintf(job->message, sizeof job->message, "its size changes while it is decoded");
        return false;
    }
    jpeg->out_color_space = *channels == 1 ? JCS_GRAYSCALE : *channels == 3 ? JCS_RGB : JCS_CMYK;
    job->pixel = malloc((size_t)(size[0] * size[1]) * (size_t)*channels);
    if (!job->pixel) {
        snprintf(job->message, sizeof job->message, "not enough memory");
        return false;
    }
    read_rows(job);
    return true;
}

static bool read_size(jpeg_job *job, const void *data, size_t bytes)
{
    if (setjmp(job->failed)) return false;
    begin(job, data, bytes);
    return true;
}

tdm_status image_jpeg_probe(const char *name, const void *data, size_t bytes, int64_t *height, int64_t *width)
{
    jpeg_job job = {.pixel = NULL};
    const bool good = read_size(&job, data, bytes);
    *height = job.jpeg.image_height;
    *width = job.jpeg.image_width;
    jpeg_destroy_decompress(&job.jpeg);
    TDM_REQUIRE(good, TDM_E_DATA, "%s: corrupt or unsupported image (%s)", name, job.message);
    return TDM_OK;
}

tdm_status image_jpeg_decode(const char *name, const void *data, size_t bytes, int64_t height, int64_t width,
                             int *channels, uint8_t **pixel)
{
    jpeg_job job = {.pixel = NULL};
    const int64_t size[2] = {height, width};
    const bool good = decode(&job, data, bytes, size, channels);
    jpeg_destroy_decompress(&job.jpeg);
    if (!good) {
        free(job.pixel);
        TDM_FAIL(TDM_E_DATA, "%s: corrupt or unsupported image (%s)", name, job.message);
    }
    *pixel = job.pixel;
    return TDM_OK;
}
