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

/* A byte of a line in hexadecimal. */
static uint8_t hex_byte(const char *hex)
{
    const char text[3] = {hex[0], hex[1], 0};
    return (uint8_t)strtol(text, NULL, 16);
}

static void check_pixels(const char *entry, const uint8_t *pixel, int64_t count, const char *hex)
{
    CHECK_EQ(strlen(hex), count * 2);
    for (int64_t i = 0; i < count; i++)
        if (hex_byte(hex + 2 * i) != pixel[i])
            fail_msg("%s: byte %d is %d, not %d", entry, (int)i, pixel[i], hex_byte(hex + 2 * i));
}

/* Single precision in another order of operations: the resize's weights alone differ by 1.3e-6 in torch. Of the nearest
 * neighbour some pixels may be their neighbours: their source lies on a border. */
static void check_values(const char *entry, const float *value, int64_t count, const char *hex)
{
    const bool nearest = !strncmp(entry, "rotate", 6);
    const double tolerance = strncmp(entry, "crop", 4) ? 1e-6 : 2e-6;
    int64_t others = 0;
    CHECK_EQ(strlen(hex), count * 8);
    for (int64_t i = 0; i < count; i++) {
        float want;
        uint8_t bytes[4];
        for (int k = 0; k < 4; k++) bytes[k] = hex_byte(hex + 8 * i + 2 * k);
        memcpy(&want, bytes, sizeof want);
        if (fabs((double)value[i] - (double)want) <= tolerance) continue;
        if (!nearest)
            fail_msg("%s: value %d is %.8f, not %.8f", entry, (int)i, (double)value[i], (double)want);
        others++;
    }
    if (others > count / 50) fail_msg("%s: %d of %d values are others", entry, (int)others, (int)count);
}

static void check_view(tdm_config *config, const char *entry, bool floats, tdm_rng rng, int64_t height,
                       int64_t width, const char *hex)
{
    char list[256];
    tdm_image_work *work;
    tdm_image image = golden_source(height, width);
    snprintf(list, sizeof(list), floats ? "[resize, tensor, \"%s\"]" : "[resize, \"%s\"]", entry);
    tdm_image_pipeline *pipeline = make_pipeline(config, list);
    CHECK_OK(tdm_image_work_create(&work));
    CHECK_OK(image_change(work, pipeline, &rng, height, width, image.pixel));
    if (floats)
        check_values(entry, work->tensor[0].data, height * width * 3, hex);
    else
        check_pixels(entry, image.pixel, height * width * 3, hex);
    tdm_image_free(&image);
    tdm_image_work_destroy(&work);
    tdm_image_pipeline_destroy(&pipeline);
}

static void check_box(tdm_config *config, const char *entry, tdm_rng rng, int64_t height, int64_t width,
                      char *text)
{
    char list[256];
    snprintf(list, sizeof(list), "[\"%s\"]", entry);
    tdm_image_pipeline *pipeline = make_pipeline(config, list);
    CHECK_EQ(pipeline->count, 1);
    image_box box = {.height = height, .width = width};
    pipeline->step[0].row->crop(pipeline->step[0].options, &rng, &box);
    CHECK_EQ(box.top, strtoll(strsep(&text, ","), NULL, 10));
    CHECK_EQ(box.left, strtoll(strsep(&text, ","), NULL, 10));
    CHECK_EQ(box.height, strtoll(strsep(&text, ","), NULL, 10));
    CHECK_EQ(box.width, strtoll(strsep(&text, ","), NULL, 10));
    tdm_image_pipeline_destroy(&pipeline);
}

static void check_case(tdm_config *config, char *line)
{
    const char *kind = word(&line);
    const int64_t height = number(&line), width = number(&line);
    const uint64_t seed = (uint64_t)number(&line), step = (uint64_t)number(&line),
                   sample = (uint64_t)number(&line);
    const tdm_rng rng = tdm_rng_at(seed, step, sample, (uint32_t)number(&line));
    const char *entry = word(&line);
    if (!strcmp(kind, "box"))
        check_box(config, entry, rng, height, width, word(&line));
    else
        check_view(config, entry, !strcmp(kind, "tensor"), rng, height, width, word(&line));
}

static void rows_equal_their_golden_files(void **state)
{
    (void)state;
    tdm_config config = augment_config();
    const tdm_operation *row;
    for (size_t i = 0; (row = tdm_image_augment_row(i)) != NULL; i++) {
        tdm_image_pipeline *pipeline = alone(&config, row, "1");
        /* resizing: against Pillow in test_image; to floats: in the golden files of all that works on them */
        const bool elsewhere = pipeline->step[0].row->exact || pipeline->step[0].row->to_tensor;
        tdm_image_pipeline_destroy(&pipeline);
        if (elsewhere) continue;
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
        {"[resize, gray, resize]", "resize resizes it, it cannot stand behind gray"},
        {"[tensor, resize]", "resize resizes it, it cannot stand behind tensor"},
        {"[tensor, tensor]", "tensor stands twice"},
        {"[tensor, blur]", "blur works on 8 bits, it cannot stand behind tensor"},
        {"[tensor, \"pool(of=[flip, equalize])\"]", "pool: equalize works on 8 bits"},
        {"[\"pool(of=[flip, tensor])\"]", "pool: tensor cannot stand in a pool"},
        {"[\"pool(of=[flip, pool])\"]", "pool: pool cannot stand in a pool"},
        {"[\"pool(of=[flop])\"]", "pool: \"flop\" is no augmentation of images (did you mean flip?)"},
        {"[\"pool(of=[flip(q=1)])\"]", "augment.flip has no option \"q\" (did you mean p?)"},
        {"[\"pool(of=[flip], replace=false)\"]",
         "pool: k = 2 different operations, but augment.pool.of has 1"},
        {"[\"pool(of=[])\"]", "pool: augment.pool.of names no operation"},
        {"[\"rotate(min=30)\"]", "rotate: min = 30 is larger than max = 15"},
        {"[\"gaussian_blur(kernel=4)\"]", "gaussian_blur: kernel = 4 is not odd"},
        {"[\"rand_augment(magnitude=31)\"]", "magnitude = 31 is not below bins = 31"},
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
        char assignment[256];
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

/* ---- shares over many draws; tolerances are four standard deviations ---- */

enum { DRAWS = 10000 };

static void check_share(const char *what, int64_t count, double want)
{
    const double share = (double)count / DRAWS, deviation = sqrt(want * (1.0 - want) / DRAWS);
    if (fabs(share - want) > 4.0 * deviation)
        fail_msg("%s: %g of the draws, not %g (standard deviation %g)", what, share, want, deviation);
}

/* At 224 x 224 one try in five succeeds; after ten the crop is the whole view: .114, and the rest rounds to it. */
static void a_crop_of_a_square_view_is_often_all_of_it(void **state)
{
    (void)state;
    tdm_config config = augment_config();
    tdm_image_pipeline *pipeline = make_pipeline(&config, "[resize, crop]");
    int64_t whole = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        image_box box = {.height = 224, .width = 224};
        tdm_rng rng = tdm_rng_at(7, 1, i, TDM_RNG_TEST);
        pipeline->step[1].row->crop(pipeline->step[1].options, &rng, &box);
        whole += box.height == 224 && box.width == 224;
    }
    check_share("whole crops", whole, 0.115);
    tdm_image_pipeline_destroy(&pipeline);
    /* twice as high as wide, every try fails: rows 106 to 276 remain */
    pipeline = make_pipeline(&config, "[resize, crop]");
    for (uint64_t i = 0; i < 100; i++) {
        image_box box = {.height = 384, .width = 128};
        tdm_rng rng = tdm_rng_at(7, 2, i, TDM_RNG_TEST);
        pipeline->step[1].row->crop(pipeline->step[1].options, &rng, &box);
        CHECK_EQ(box.top, 106);
        CHECK_EQ(box.height, 171);
        CHECK_EQ(box.width, 128);
    }
    tdm_image_pipeline_destroy(&pipeline);
    tdm_config_destroy(&config);
}

/* The default pool: two of six with replacement; then without. */
static void a_pool_draws_evenly(void **state)
{
    (void)state;
    tdm_config config = augment_config();
    static const char *const list[] = {"[pool]", "[pool(replace=false)]"};
    for (int c = 0; c < 2; c++) {
        tdm_image_pipeline *pipeline = make_pipeline(&config, list[c]);
        const image_step *step = &pipeline->step[0];
        int64_t occurs[6] = {0}, first[6] = {0}, twice = 0, chosen[IMAGE_POOL_MOST];
        CHECK_EQ(step->pool->count, 6);
        for (uint64_t i = 0; i < DRAWS; i++) {
            tdm_rng rng = tdm_rng_at(7, 3, i, TDM_RNG_TEST);
            CHECK_EQ(step->row->pick(step->options, &rng, 6, chosen), 2);
            first[chosen[0]]++;
            occurs[chosen[0]]++;
            if (chosen[1] == chosen[0])
                twice++;
            else
                occurs[chosen[1]]++;
        }
        for (int i = 0; i < 6; i++) {
            check_share("an operation stands first", first[i], 1.0 / 6.0);
            check_share("an operation occurs", occurs[i], c == 0 ? 11.0 / 36.0 : 1.0 / 3.0);
        }
        if (c == 0)
            check_share("the same operation twice", twice, 1.0 / 6.0);
        else
            CHECK_EQ(twice, 0);
        tdm_image_pipeline_destroy(&pipeline);
    }
    tdm_config_destroy(&config);
}

static void half_of_the_views_are_erased(void **state)
{
    (void)state;
    enum { SIDE = 64 };
    tdm_config config = augment_config();
    tdm_image_pipeline *pipeline = make_pipeline(&config, "[resize, erase]");
    tdm_image_work work = {0};
    int64_t views = 0, pixels = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        uint8_t pixel[SIDE * SIDE * 3];
        int64_t erased = 0;
        tdm_rng rng = tdm_rng_at(7, 4, i, TDM_RNG_TEST);
        memset(pixel, 255, sizeof pixel);
        CHECK_OK(image_change(&work, pipeline, &rng, SIDE, SIDE, pixel));
        for (int k = 0; k < SIDE * SIDE; k++) erased += pixel[3 * k] == 0;
        views += erased > 0;
        pixels += erased;
    }
    check_share("erased views", views, 0.5);
    /* uniform in 0.1 to 0.2; its deviation over 5,000 of them is 0.0004, of the rounding of sides no more */
    const double area = (double)pixels / (double)views / (SIDE * SIDE);
    if (fabs(area - 0.15) > 0.002) fail_msg("%g of an erased view is erased, not 0.15", area);
    image_work_free(&work);
    tdm_image_pipeline_destroy(&pipeline);
    tdm_config_destroy(&config);
}

/* ---- floats ---- */

/* Rounded once: 8 bits come back as they were, and two halves make a quarter of the value, not of a rounded half. */
static void floats_are_rounded_at_the_end(void **state)
{
    (void)state;
    static const char *const half = "\"brightness(min=0.5,max=0.5)\"";
    tdm_config config = augment_config();
    for (int c = 0; c < 2; c++) {
        char list[256];
        snprintf(list, sizeof list, c ? "[resize, tensor, %s, %s]" : "[resize, tensor]", half, half);
        tdm_image_pipeline *pipeline = make_pipeline(&config, list);
        tdm_image_work work = {0};
        tdm_rng rng = tdm_rng_at(7, 5, 0, TDM_RNG_TEST);
        uint8_t pixel[256 * 3];
        for (int i = 0; i < 256 * 3; i++) pixel[i] = (uint8_t)(i / 3);
        CHECK_OK(image_change(&work, pipeline, &rng, 16, 16, pixel));
        for (int i = 0; i < 256 * 3; i++) {
            const double want = c ? i / 3 / 4.0 : i / 3;
            if (fabs(pixel[i] - want) > 0.5 + 1e-5) fail_msg("level %d became %d", i / 3, pixel[i]);
        }
        image_work_free(&work);
        tdm_image_pipeline_destroy(&pipeline);
    }
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
        cmocka_unit_test(a_crop_of_a_square_view_is_often_all_of_it),
        cmocka_unit_test(a_pool_draws_evenly),
        cmocka_unit_test(half_of_the_views_are_erased),
        cmocka_unit_test(floats_are_rounded_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
