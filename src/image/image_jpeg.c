/* JPEG by libjpeg-turbo with its defaults (accurate inverse DCT, smooth upsampling), as in Pillow: the same
 * pixels, CMYK included. */
#include "image_impl.h"

#include <setjmp.h>
#include <stdio.h>
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
    int channels;
    uint8_t *pixel; /* [height][width][channels] */
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

/* Moves on to the last edge between MCU rows at or before row `end`: what lies between is unpacked, so that
 * damage is noticed, but not made into pixels. */
static void skip_rows(struct jpeg_decompress_struct *jpeg, int64_t step, int64_t end)
{
    const int64_t rows = (end - (int64_t)jpeg->output_scanline) / step * step;
    if (rows > 0) jpeg_skip_scanlines(jpeg, (JDIMENSION)rows);
}

/* Smooth upsampling looks at the neighbours and begins anew at the edges of what is decoded, so there is a
 * margin around the box. Where libjpeg's code for parts is not well trodden, all is decoded. */
static bool can_decode_part(const struct jpeg_decompress_struct *jpeg)
{
    for (int c = 0; c < jpeg->num_components; c++) {
        const jpeg_component_info *it = &jpeg->comp_info[c];
        const int most = c == 0 && jpeg->num_components == 3 ? 2 : 1;
        if (it->h_samp_factor > most || it->v_samp_factor > most) return false;
    }
    return jpeg->num_components <= 3;
}

static void read_rows(jpeg_job *job, const image_box *box)
{
    enum { MARGIN = 2 * DCTSIZE };
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    jpeg_start_decompress(jpeg);
    const int64_t height = jpeg->output_height, full_width = jpeg->output_width;
    const int64_t stride = full_width * job->channels;
    const bool part = can_decode_part(jpeg);
    const int64_t step = (int64_t)jpeg->max_v_samp_factor * DCTSIZE; /* rows of an MCU */
    const int64_t top = box->top - MARGIN, bottom = tdm_round_up(box->top + box->height, step);
    JDIMENSION left = (JDIMENSION)tdm_max_i64(0, box->left - MARGIN);
    JDIMENSION width = (JDIMENSION)(tdm_min_i64(full_width, box->left + box->width + MARGIN) - left);
    if (part && width < jpeg->output_width)
        jpeg_crop_scanline(jpeg, &left, &width);
    else
        left = 0;
    if (part) skip_rows(jpeg, step, top);
    while (jpeg->output_scanline < height) {
        JSAMPROW row = job->pixel + jpeg->output_scanline * stride + (int64_t)left * job->channels;
        jpeg_read_scanlines(jpeg, &row, 1);
        if (part && jpeg->output_scanline == bottom) skip_rows(jpeg, step, height - 1);
    }
    jpeg_finish_decompress(jpeg);
}

/* False: job->message says why. size: height, width. */
static bool decode(jpeg_job *job, const void *data, size_t bytes, const int64_t size[2], const image_box *box,
                   image_buffer *to)
{
    if (setjmp(job->failed)) return false;
    begin(job, data, bytes);
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    job->channels = jpeg->num_components == 4 ? 4 : 3;
    if (jpeg->num_components != 1 && jpeg->num_components != job->channels) {
        snprintf(job->message, sizeof job->message, "%d components", jpeg->num_components);
        return false;
    }
    if (jpeg->image_height != size[0] || jpeg->image_width != size[1]) {
        snprintf(job->message, sizeof job->message, "its size changes while it is decoded");
        return false;
    }
    jpeg->out_color_space = job->channels == 4 ? JCS_CMYK : JCS_RGB; /* of grays, too */
    if (IMAGE_TAKE(to, size[0] * size[1] * job->channels, &job->pixel) != TDM_OK) {
        snprintf(job->message, sizeof job->message, "not enough memory");
        return false;
    }
    read_rows(job, box);
    return true;
}

tdm_status image_jpeg_decode(const char *name, const void *data, size_t bytes, int64_t height, int64_t width,
                             const image_box *box, image_buffer *to, int *channels)
{
    jpeg_job job = {.pixel = NULL};
    const int64_t size[2] = {height, width};
    const bool good = decode(&job, data, bytes, size, box, to);
    jpeg_destroy_decompress(&job.jpeg);
    TDM_REQUIRE(good, TDM_E_DATA, "%s: corrupt or unsupported image (%s)", name, job.message);
    *channels = job.channels;
    return TDM_OK;
}
