/* Parts of JPEG images: the pixels of the whole image, and its errors. */
#include "image_case.h"

#include <stdio.h>
/* after stdio.h */
#include <jpeglib.h>

typedef struct jpeg_kind {
    int height, width, channels, across, down, quality; /* sampling of the first component */
    bool progressive, restarts;
} jpeg_kind;

static jpeg_kind random_kind(tdm_rng *rng)
{
    static const int channels[] = {1, 3, 3, 3, 3, 3, 3, 4};
    return (jpeg_kind){.height = 1 + (int)tdm_rng_below(rng, 150),
                       .width = 1 + (int)tdm_rng_below(rng, 150),
                       .channels = channels[tdm_rng_below(rng, 8)],
                       .across = 1 + (int)tdm_rng_below(rng, 2),
                       .down = 1 + (int)tdm_rng_below(rng, 2),
                       .quality = 20 + (int)tdm_rng_below(rng, 75),
                       .progressive = tdm_rng_below(rng, 4) == 0,
                       .restarts = tdm_rng_below(rng, 4) == 0};
}

/* Waves and noise. The caller frees. */
static uint8_t *make_pixels(tdm_rng *rng, const jpeg_kind *kind)
{
    const int n = kind->height * kind->width * kind->channels;
    uint8_t *pixel = malloc((size_t)n);
    const int a = 1 + (int)tdm_rng_below(rng, 9), b = 1 + (int)tdm_rng_below(rng, 9);
    for (int i = 0; i < n; i++) {
        const int place = i / kind->channels, x = place % kind->width, y = place / kind->width;
        const int wave = (a * x + b * y + i % kind->channels * 85) % 200;
        pixel[i] = (uint8_t)(wave + (x / 9 + y / 7) % 2 * 30 + tdm_rng_below(rng, 25));
    }
    return pixel;
}

static void write_jpeg(tdm_rng *rng, const jpeg_kind *kind, unsigned char **file, unsigned long *bytes)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    uint8_t *pixel = make_pixels(rng, kind);
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    *file = NULL;
    *bytes = 0;
    jpeg_mem_dest(&jpeg, file, bytes);
    jpeg.image_height = (JDIMENSION)kind->height;
    jpeg.image_width = (JDIMENSION)kind->width;
    jpeg.input_components = kind->channels;
    jpeg.in_color_space = kind->channels == 1 ? JCS_GRAYSCALE : kind->channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, kind->quality, TRUE);
    if (kind->channels == 3) {
        jpeg.comp_info[0].h_samp_factor = kind->across;
        jpeg.comp_info[0].v_samp_factor = kind->down;
    }
    if (kind->progressive) jpeg_simple_progression(&jpeg);
    if (kind->restarts) jpeg.restart_interval = 3;
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row = pixel + (int)jpeg.next_scanline * kind->width * kind->channels;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    free(pixel);
}

static image_box random_box(tdm_rng *rng, const jpeg_kind *kind)
{
    image_box box = {.height = 1 + tdm_rng_below(rng, kind->height),
                     .width = 1 + tdm_rng_below(rng, kind->width)};
    box.top = tdm_rng_below(rng, kind->height - box.height + 1);
    box.left = tdm_rng_below(rng, kind->width - box.width + 1);
    return box;
}

static void assert_same_part(const tdm_image *part, const tdm_image *whole, const image_box *box)
{
    const int64_t bytes = image_pixel_bytes(whole->mode), stride = whole->width * bytes;
    CHECK_EQ(part->mode, whole->mode);
    for (int64_t y = box->top; y < box->top + box->height; y++)
        CHECK_MEM_EQ(part->pixel + y * stride + box->left * bytes,
                     whole->pixel + y * stride + box->left * bytes, (size_t)(box->width * bytes));
}

static void parts_have_the_pixels_of_the_whole(void **state)
{
    (void)state;
    tdm_image_work work = {0};
    for (uint64_t round = 0; round < 600; round++) {
        tdm_rng rng = tdm_rng_at(5, 0, round, TDM_RNG_TEST);
        const jpeg_kind kind = random_kind(&rng);
        unsigned char *file;
        unsigned long bytes;
        tdm_image whole;
        write_jpeg(&rng, &kind, &file, &bytes);
        CHECK_OK(tdm_image_decode("whole", file, bytes, TDM_ALPHA_DROP, &whole));
        for (int k = 0; k < 4; k++) {
            const image_box box = random_box(&rng, &kind);
            tdm_image part = {.height = whole.height, .width = whole.width};
            if (work.decoded.data) memset(work.decoded.data, k, work.decoded.bytes);
            CHECK_OK(image_decode(&work, "part", file, bytes, TDM_ALPHA_DROP, &box, &part));
            assert_same_part(&part, &whole, &box);
        }
        tdm_image_free(&whole);
        free(file);
    }
    image_work_free(&work);
}

/* What does not hold all of an image is refused, wherever one looks. */
static void damage_is_found_outside_the_part(void **state)
{
    (void)state;
    tdm_image_work work = {0};
    int damaged = 0;
    for (uint64_t round = 0; round < 600; round++) {
        tdm_rng rng = tdm_rng_at(6, 0, round, TDM_RNG_TEST);
        const jpeg_kind kind = random_kind(&rng);
        unsigned char *file;
        unsigned long bytes;
        tdm_image whole, part;
        write_jpeg(&rng, &kind, &file, &bytes);
        for (int k = 0; k < 3; k++)
            file[bytes / 2 + (unsigned long)tdm_rng_below(&rng, (int64_t)bytes / 2)] ^= 0x55;
        const image_box box = random_box(&rng, &kind);
        const tdm_status want = tdm_image_decode("whole", file, bytes, TDM_ALPHA_DROP, &whole);
        part = (tdm_image){0};
        tdm_status got = tdm_image_probe("part", file, bytes, &part.height, &part.width);
        if (got == TDM_OK && (part.height != kind.height || part.width != kind.width)) {
            if (want == TDM_OK) tdm_image_free(&whole); /* the damage is in the header */
            free(file);
            continue;
        }
        if (got == TDM_OK) got = image_decode(&work, "part", file, bytes, TDM_ALPHA_DROP, &box, &part);
        CHECK_EQ(got, want);
        if (want == TDM_OK) {
            assert_same_part(&part, &whole, &box);
            tdm_image_free(&whole);
        } else {
            damaged++;
        }
        free(file);
    }
    CHECK_GT(damaged, 100);
    image_work_free(&work);
}

/* Views of one file, made together from the part that they need. */
static void views_are_those_of_the_whole(void **state)
{
    (void)state;
    enum { PX = 20 };
    tdm_config config = augment_config();
    tdm_image_pipeline *pipeline = make_pipeline(
        &config, "[crop(min_scale=0.02, max_scale=0.4, min_ratio=0.5, max_ratio=2), flip(p=0.5)]");
    static const tdm_image_fit fits[] = {TDM_FIT_CROP, TDM_FIT_SQUASH, TDM_FIT_LONGEST};
    tdm_image_work *work;
    uint8_t got[3][PX * (PX + 4) * 3], want[PX * (PX + 4) * 3];
    CHECK_OK(tdm_image_work_create(&work));
    for (uint64_t round = 0; round < 300; round++) {
        tdm_rng rng = tdm_rng_at(7, 0, round, TDM_RNG_TEST);
        const jpeg_kind kind = random_kind(&rng);
        const int64_t width = PX + tdm_rng_below(&rng, 2) * 4;
        const tdm_image_policy policy = {.fit = fits[round % 3]};
        const int count = 1 + (int)tdm_rng_below(&rng, 3), plain = (int)tdm_rng_below(&rng, 3);
        unsigned char *file;
        unsigned long bytes;
        tdm_image whole;
        tdm_image_request request[3];
        write_jpeg(&rng, &kind, &file, &bytes);
        for (int i = 0; i < 3; i++)
            request[i] = (tdm_image_request){.pipeline = i == plain ? NULL : pipeline,
                                             .rng = tdm_rng_at(8, (uint64_t)i, round, TDM_RNG_TEST),
                                             .out = got[i]};
        CHECK_OK(tdm_image_make(work, "views", file, bytes, policy, PX, width, count, request));
        CHECK_OK(tdm_image_decode("whole", file, bytes, policy.alpha, &whole));
        for (int i = 0; i < count; i++) {
            if (i == plain)
                CHECK_OK(tdm_image_plain(&whole, policy.fit, PX, width, want));
            else
                CHECK_OK(tdm_image_augment(&whole, pipeline, policy.fit, request[i].rng, PX, width, want));
            CHECK_MEM_EQ(want, got[i], (size_t)(PX * width * 3));
        }
        tdm_image_free(&whole);
        free(file);
    }
    tdm_image_work_destroy(&work);
    tdm_image_pipeline_destroy(&pipeline);
    tdm_config_destroy(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_have_the_pixels_of_the_whole),
        cmocka_unit_test(damage_is_found_outside_the_part),
        cmocka_unit_test(views_are_those_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
