/* Every row of the table of image augmentations: what it does against another program (tests/golden/augment), that it
 * depends on its stream only, and that its probability is one. A new row needs its golden file and nothing here. */
#include "image_case.h"
#include "check.h"

#include <math.h>

enum { HEIGHT = 16, WIDTH = 20, VIEW_BYTES = HEIGHT * WIDTH * 3, GUARD = 64 };

static uint64_t fnv(uint64_t hash, const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static bool has_probability(const tdm_operation *row)
{
    for (size_t i = 0; i < row->option_count; i++)
        if (!strcmp(row->options[i].key, "p")) return true;
    return false;
}

/* "[NAME(p=VALUE)]", "[NAME]" for a row without p. */
static tdm_image_pipeline *alone(tdm_config *config, const tdm_operation *row, const char *p)
{
    char list[128];
    if (has_probability(row))
        snprintf(list, sizeof(list), "[%s(p=%s)]", row->name, p);
    else
        snprintf(list, sizeof(list), "[%s]", row->name);
    return make_pipeline(config, list);
}

static void make_view(const tdm_image *image, const tdm_image_pipeline *pipeline, tdm_rng rng,
                      uint8_t out[VIEW_BYTES])
{
    CHECK_OK(tdm_image_augment(image, pipeline, TDM_FIT_SQUASH, rng, HEIGHT, WIDTH, out));
}

/* ---- golden files ---- */

/* The next word of a line; NULL at its end. */
static char *word(char **at)
{
    char *found;
    do found = strsep(at, " \n");
    while (found && !*found);
    return found;
}

static int64_t number(char **at)
{
    return strtoll(word(at), NULL, 10);
}

static void check_pixels(const image_step *step, tdm_rng rng, int64_t height, int64_t width, const char *hex)
{
    tdm_image_work *work;
    tdm_image image = golden_source(height, width);
    CHECK_OK(tdm_image_work_create(&work));
    CHECK_OK(step->row->apply(work, step->options, &rng, height, width, image.pixel));
    CHECK_EQ(strlen(hex), height * width * 6);
    for (int64_t i = 0; i < height * width * 3; i++) {
        const char byte[3] = {hex[2 * i], hex[2 * i + 1], 0};
        if (strtol(byte, NULL, 16) != image.pixel[i])
            fail_msg("%s: byte %d of %d x %d is %d, not 0x%s", step->row->operation.name, (int)i, (int)height,
                     (int)width, image.pixel[i], byte);
    }
    tdm_image_free(&image);
    tdm_image_work_destroy(&work);
}

static void check_box(const image_step *step, tdm_rng rng, int64_t height, int64_t width, char *text)
{
    image_box box = {.height = height, .width = width};
    step->row->crop(step->options, &rng, &box);
    CHECK_EQ(box.top, strtoll(strsep(&text, ","), NULL, 10));
    CHECK_EQ(box.left, strtoll(strsep(&text, ","), NULL, 10));
    CHECK_EQ(box.height, strtoll(strsep(&text, ","), NULL, 10));
    CHECK_EQ(box.width, strtoll(strsep(&text, ","), NULL, 10));
}

static void check_case(tdm_config *config, char *line)
{
    char list[256];
    const bool box = !strcmp(word(&line), "box");
    const int64_t height = number(&line), width = number(&line);
    const uint64_t seed = (uint64_t)number(&line), step = (uint64_t)number(&line),
                   sample = (uint64_t)number(&line);
    const tdm_rng rng = tdm_rng_at(seed, step, sample, (uint32_t)number(&line));
    snprintf(list, sizeof(list), "[%s]", word(&line));
    tdm_image_pipeline *pipeline = make_pipeline(config, list);
    CHECK_EQ(pipeline->count, 1);
    if (box)
        check_box(&pipeline->step[0], rng, height, width, word(&line));
    else
        check_pixels(&pipeline->step[0], rng, height, width, word(&line));
    tdm_image_pipeline_destroy(&pipeline);
}

static void rows_equal_their_golden_files(void **state)
{
    (void)state;
    tdm_config config = augment_config();
    const tdm_operation *row;
    for (size_t i = 0; (row = tdm_image_augment_row(i)) != NULL; i++) {
        tdm_image_pipeline *pipeline = alone(&config, row, "1");
        const bool only_resizes = pipeline->step[0].row->exact; /* against Pillow in test_image */
        tdm_image_pipeline_destroy(&pipeline);
        if (only_resizes) continue;
        char name[128];
        snprintf(name, sizeof(name), "../augment/%s.txt", row->name);
        tdm_text file = golden_file(name);
        int cases = 0;
        for (char *rest = file.data, *line; (line = strsep(&rest, "\n")) != NULL && *line; cases++)
            check_case(&config, line);
        CHECK_GE(cases, 4);
        tdm_text_free(&file);
    }
    tdm_config_destroy(&config);
}

/* ---- every row ---- */

/* Equal streams give equal bytes, whatever the memory of the thread was used for; others give others. */
static void a_row_depends_on_its_stream_only(void **state)
{
    (void)state;
    tdm_config config = augment_config();
    tdm_image image = golden_source(47, 61);
    const image_target target = {.fit = TDM_FIT_SQUASH, .height = HEIGHT, .width = WIDTH};
    const tdm_operation *row;
    for (size_t i = 0; (row = tdm_image_augment_row(i)) != NULL; i++) {
        tdm_image_pipeline *pipeline = alone(&config, row, "0.5");
        tdm_image_work work = {0};
        for (uint64_t sample = 0; sample < 20; sample++) {
            uint8_t a[VIEW_BYTES], b[VIEW_BYTES + GUARD];
            const tdm_rng rng = tdm_rng_at(1, 2, sample, TDM_RNG_AUGMENT);
            memset(b, 0xab, sizeof(b));
            make_view(&image, pipeline, rng, a);
            CHECK_OK(image_view(&work, &image, &target, pipeline, rng, b));
            CHECK_MEM_EQ(a, b, VIEW_BYTES);
            for (int k = 0; k < GUARD; k++) CHECK_EQ(b[VIEW_BYTES + k], 0xab);
        }
        image_work_free(&work);
        tdm_image_pipeline_destroy(&pipeline);
    }
    tdm_image_free(&image);
    tdm_config_destroy(&config);
}

static void a_probability_of_0_changes_nothing(void **state)
{
    (void)state;
    tdm_config config = augment_config();
    tdm_image image = golden_source(47, 61);
    const tdm_operation *row;
    uint8_t plain[VIEW_BYTES], out[VIEW_BYTES];
    CHECK_OK(tdm_image_plain(&image, TDM_FIT_SQUASH, HEIGHT, WIDTH, plain));
    for (size_t i = 0; (row = tdm_image_augment_row(i)) != NULL; i++) {
        if (!has_probability(row)) continue;
        tdm_image_pipeline *pipeline = alone(&config, row, "0");
        for (uint64_t sample = 0; sample < 50; sample++) {
            make_view(&image, pipeline, tdm_rng_at(1, 2, sample, TDM_RNG_AUGMENT), out);
            CHECK_MEM_EQ(out, plain, VIEW_BYTES);
        }
        tdm_image_pipeline_destroy(&pipeline);
    }
    tdm_image_free(&image);
    tdm_config_destroy(&config);
}

/* Images of one pixel or one row, and views of them. */
static void the_smallest_images_work(void **state)
{
    (void)state;
    static const int64_t size[][4] = {{1, 1, 1, 1}, {1, 9, 3, 1}, {7, 1, 1, 8}, {2, 3, 2, 2}};
    tdm_config config = augment_config();
    const tdm_operation *row;
    for (size_t i = 0; (row = tdm_image_augment_row(i)) != NULL; i++) {
        tdm_image_pipeline *pipeline = alone(&config, row, "1");
        for (size_t k = 0; k < COUNT(size); k++) {
            tdm_image image = golden_source(size[k][0], size[k][1]);
            uint8_t out[3 * 8 * 3];
            for (uint64_t sample = 0; sample < 20; sample++)
                CHECK_OK(tdm_image_augment(&image, pipeline, TDM_FIT_CROP,
                                           tdm_rng_at(1, 2, sample, TDM_RNG_TEST), size[k][2], size[k][3],
                                           out));
            tdm_image_free(&image);
        }
        tdm_image_pipeline_destroy(&pipeline);
    }
    tdm_config_destroy(&config);
}

/* ---- pipelines ---- */

/* Views of the version in which the operations were one struct of options: the same bits. */
static void the_default_lists_keep_their_bits(void **state)
{
    (void)state;
    static const char *const quickstart[] = {
        "augment.crop_min_scale=0.7", "augment.jitter=0.5", "augment.brightness=0.4", "augment.contrast=0.4",
        "augment.saturation=0.4",     "augment.hue=0.05",   "augment.gray=0.2"};
    static const uint64_t want[2][2] = {{UINT64_C(0x093b06ff88ce7139), UINT64_C(0xa7f6edb56d01a31d)},
                                        {UINT64_C(0x0dda71c8e1e1f6d0), UINT64_C(0xeeac91d8c7390be5)}};
    tdm_log_set_quiet(true); /* former keys warn */
    for (int c = 0; c < 2; c++) {
        tdm_config config = augment_config();
        for (size_t i = 0; c == 1 && i < COUNT(quickstart); i++)
            CHECK_OK(tdm_config_set(&config, quickstart[i]));
        tdm_image_pipeline *pipeline;
        CHECK_OK(tdm_image_pipeline_create(&config, "views.aug_1.augment",
                                           &config.views[TDM_VIEW_NAME_AUG_1].augment, &pipeline));
        tdm_image image = golden_source(47, 61);
        for (uint32_t view = 1; view <= 2; view++) {
            uint64_t hash = UINT64_C(0xcbf29ce484222325);
            for (uint64_t i = 0; i < 64; i++) {
                uint8_t out[VIEW_BYTES];
                make_view(&image, pipeline, tdm_rng_at(1, 2, i, TDM_RNG_AUGMENT + 256 * view), out);
                hash = fnv(hash, out, sizeof(out));
            }
            CHECK_EQ(hash, want[c][view - 1]);
        }
        tdm_image_free(&image);
        tdm_image_pipeline_destroy(&pipeline);
        tdm_config_destroy(&config);
    }
    tdm_log_set_quiet(false);
}

/* A file and --set with the keys of earlier versions, where now a group stands. */
static void former_keys_are_read(void **state)
{
    (void)state;
    tdm_config config = augment_config();
    tdm_log_set_quiet(true);
    CHECK_OK(tdm_config_load_text(&config, "old.cfg",
                                  "augment: { crop_min_scale = 0.5; flip = 0.25; hue = 0.125; };"));
    CHECK_OK(tdm_config_set(&config, "augment.jitter=0.75"));
    tdm_log_set_quiet(false);
    tdm_text text = {0};
    CHECK_OK(tdm_config_print(&config, "augment", &text));
    CHECK_NOT_NULL(strstr(text.data, "min_scale = 0.5;"));
    CHECK_NOT_NULL(strstr(text.data, "p = 0.25;"));
    CHECK_NOT_NULL(strstr(text.data, "p = 0.75;"));
    CHECK_NOT_NULL(strstr(text.data, "hue = 0.125;"));
    tdm_text_free(&text);
    CHECK_FAILS(tdm_config_load_text(&config, "new.cfg", "augment: { flip: { q = 0.25; }; };"), TDM_E_CONFIG,
                "unknown key augment.flip.q (did you mean augment.flip.p?)");
    tdm_config_destroy(&config);
}

static void the_list_decides_the_resize(void **state)
{
    (void)state;
    tdm_config config = augment_config();
    tdm_image image = golden_source(47, 61);
    const tdm_rng rng = tdm_rng_at(1, 2, 3, TDM_RNG_TEST);
    uint8_t out[VIEW_BYTES], want[VIEW_BYTES];
    static const char *const list[] = {"[]", "[resize]", "[crop(min_scale=1,min_ratio=0.1,max_ratio=10)]"};
    for (size_t i = 0; i < COUNT(list); i++) {
        tdm_image_pipeline *pipeline = make_pipeline(&config, list[i]);
        CHECK_OK(tdm_image_augment(&image, pipeline, TDM_FIT_CROP, rng, HEIGHT, WIDTH, out));
        if (i == 0) CHECK_OK(tdm_image_plain(&image, TDM_FIT_CROP, HEIGHT, WIDTH, want));
        if (i == 1) CHECK_OK(tdm_image_resize(&image, 0, 0, 47, 61, HEIGHT, WIDTH, want));
        if (i < 2) CHECK_MEM_EQ(out, want, VIEW_BYTES);
        CHECK_EQ(pipeline->exact, i > 0);
        tdm_image_pipeline_destroy(&pipeline);
    }
    CHECK_OK(tdm_image_augment(&image, NULL, TDM_FIT_CROP, rng, HEIGHT, WIDTH, out));
    CHECK_OK(tdm_image_plain(&image, TDM_FIT_CROP, HEIGHT, WIDTH, want));
    CHECK_MEM_EQ(out, want, VIEW_BYTES);
    tdm_image_free(&image);
    tdm_config_destroy(&config);
}

/* Which filter a list takes, and that the view is made with it (test_image compares the filters with Pillow). */
static void the_list_decides_the_interpolation(void **state)
{
    (void)state;
    tdm_config config = augment_config();
    tdm_image image = golden_source(47, 61);
    const tdm_rng rng = tdm_rng_at(1, 2, 3, TDM_RNG_TEST);
    static const struct {
        const char *list;
        image_filter filter;
    } cases[] = {{"[resize]", IMAGE_BICUBIC},
                 {"[\"resize(interpolation=bilinear)\"]", IMAGE_BILINEAR},
                 {"[\"crop(min_scale=1, min_ratio=0.01, max_ratio=100)\"]", IMAGE_BICUBIC},
                 {"[\"crop(interpolation=bilinear)\"]", IMAGE_BILINEAR},
                 {"[\"crop(interpolation=bilinear)\", resize]", IMAGE_BICUBIC},
                 {"[crop, \"resize(interpolation=bilinear)\"]", IMAGE_BILINEAR}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        tdm_image_pipeline *pipeline = make_pipeline(&config, cases[i].list);
        CHECK_EQ(pipeline->filter, cases[i].filter);
        tdm_rng draws = rng;
        const image_target target = {.height = HEIGHT, .width = WIDTH};
        const image_box box = image_view_box(&image, &target, pipeline, &draws);
        const image_window part = image_window_of(&image, box.top, box.left, box.height, box.width);
        const resample_plan plan = {.box_height = (double)box.height,
                                    .box_width = (double)box.width,
                                    .full_height = HEIGHT,
                                    .full_width = WIDTH,
                                    .out_height = HEIGHT,
                                    .out_width = WIDTH,
                                    .out_stride = WIDTH * 3,
                                    .filter = cases[i].filter};
        uint8_t out[VIEW_BYTES], want[VIEW_BYTES];
        tdm_image_work *work;
        CHECK_OK(tdm_image_work_create(&work));
        CHECK_OK(image_resample(work, &part, &plan, want));
        CHECK_OK(tdm_image_augment(&image, pipeline, TDM_FIT_CROP, rng, HEIGHT, WIDTH, out));
        CHECK_MEM_EQ(out, want, VIEW_BYTES);
        tdm_image_work_destroy(&work);
        tdm_image_pipeline_destroy(&pipeline);
    }
    tdm_image_free(&image);
    tdm_config_destroy(&config);
}

static void impossible_lists_are_one_message(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"[flip, crop]", "crop chooses a part of the file's image, it cannot stand behind flip"},
        {"[gray, resize]", "resize resizes it, it cannot stand behind gray, which changes resized pixels"},
        {"[resize, crop]", "crop chooses a part of the file's image, it cannot stand behind resize"},
        {"[\"resize(p=1)\"]", "augment.resize has no option \"p\""},
        {"[\"resize(interpolation=lanczos)\"]", "augment.resize.interpolation"},
        {"[\"flip(q=1)\"]", "augment.flip has no option \"q\" (did you mean p?)"},
        {"[\"flip(p=2)\"]", "augment.flip.p = 2 is out of range"},
        {"[\"flip(p=1\"]", "the bracket is not closed"},
        {"[\"crop(min_scale=0.5, max_scale=0.4)\"]", "crop: min_scale = 0.5 is larger than max_scale = 0.4"},
        {"[\"crop(min_ratio=2)\"]", "crop: min_ratio = 2 is larger than max_ratio = 1.33333"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        tdm_config config = augment_config();
        tdm_image_pipeline *pipeline;
        char assignment[128];
        snprintf(assignment, sizeof(assignment), "views.ss_1.augment=%s", bad[i][0]);
        CHECK_OK(tdm_config_set(&config, assignment));
        CHECK_FAILS(tdm_image_pipeline_create(&config, "views.ss_1.augment",
                                              &config.views[TDM_VIEW_NAME_SS_1].augment, &pipeline),
                    TDM_E_CONFIG, bad[i][1]);
        CHECK_MESSAGE("views.ss_1.augment: ");
        CHECK_NULL(pipeline);
        tdm_config_destroy(&config);
    }
}

/* ---- crop ---- */

/* Areas and ratios stay in their ranges, the box in the image, and positions reach every corner. */
static void crops_keep_their_ranges(void **state)
{
    (void)state;
    tdm_config config = augment_config();
    tdm_image_pipeline *pipeline = make_pipeline(&config, "[crop(min_scale=0.3, max_scale=0.9)]");
    bool corner[4] = {false};
    double smallest = 1.0, largest = 0.0;
    for (uint64_t i = 0; i < 4000; i++) {
        image_box box = {.height = 200, .width = 300};
        tdm_rng rng = tdm_rng_at(7, 1, i, TDM_RNG_TEST);
        pipeline->step[0].row->crop(pipeline->step[0].options, &rng, &box);
        CHECK_GE(box.top, 0);
        CHECK_GE(box.left, 0);
        CHECK_LE(box.top + box.height, 200);
        CHECK_LE(box.left + box.width, 300);
        const double area = (double)(box.height * box.width) / (200.0 * 300.0);
        const double ratio = (double)box.width / (double)box.height;
        CHECK_GT(area, 0.29); /* sides are rounded */
        CHECK_LT(area, 0.91);
        CHECK_GT(ratio, 0.74);
        CHECK_LT(ratio, 1.35);
        smallest = fmin(smallest, area);
        largest = fmax(largest, area);
        const int top = box.top + box.height / 2 > 100, left = box.left + box.width / 2 > 150;
        corner[top * 2 + left] = true;
    }
    CHECK_LT(smallest, 0.32);
    CHECK_GT(largest, 0.8);
    for (int i = 0; i < 4; i++) CHECK_TRUE(corner[i]);
    tdm_image_pipeline_destroy(&pipeline);
    tdm_config_destroy(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_equal_their_golden_files),
        cmocka_unit_test(a_row_depends_on_its_stream_only),
        cmocka_unit_test(a_probability_of_0_changes_nothing),
        cmocka_unit_test(the_smallest_images_work),
        cmocka_unit_test(the_default_lists_keep_their_bits),
        cmocka_unit_test(former_keys_are_read),
        cmocka_unit_test(the_list_decides_the_resize),
        cmocka_unit_test(the_list_decides_the_interpolation),
        cmocka_unit_test(impossible_lists_are_one_message),
        cmocka_unit_test(crops_keep_their_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
