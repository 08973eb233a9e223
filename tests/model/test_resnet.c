/* A tiny ModifiedResNet against OpenAI's published code in f64 (tests/golden/make_resnet_golden.py):
 * features, every gradient, running statistics; frozen statistics, chunks, finite differences.
 *
 * Tolerances, f32: PyTorch's own f32 is off by 3e-6 of the largest feature and by 1.4e-5 of a gradient's
 * largest value. bf16 keeps 8 bits: torch.autocast is off by 2e-5 in features and 5e-3 in all gradients'
 * direction with running statistics, by 1e-3 and 6.5e-2 with those of a batch, whose last stage has 16
 * pixels. The bias of k_proj has no influence on a softmax: its exact gradient is zero and only bounded here.
 */

#include <hdf5.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "optim_update.h"
#include "tandem/base.h"
#include "tandem/model.h"
#include "tandem/optim.h"
#include "tandem/rng.h"

#define F32_FEATURES   1e-5 /* of the largest feature */
#define F32_GRADIENTS  2e-4 /* of the gradient's norm */
#define F32_RUNNING    1e-5 /* of the largest statistic */
#define BF16_FEATURES  0.99 /* cosine of every row */
#define BF16_GRADIENTS 0.9  /* cosine over all sampled elements */
#define BF16_RUNNING   0.01

enum { PX = 64, N = 4, EMBED = 16, SAMPLES = 24, SEED_IMAGE = 1000, SEED_LOSS = 2000 };

/* ---- The generator's formulas ---- */
static double noise(uint32_t seed, uint32_t i)
{
    uint32_t x = i * 0x9E3779B9u + seed * 0x85EBCA6Bu;
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    x ^= x >> 16;
    return (double)(x >> 8) / 8388608.0 - 1.0;
}

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

static double value_at(const tdm_param *row, uint32_t seed, int64_t i)
{
    const double u = noise(seed, (uint32_t)i);
    if (ends_with(row->name, "running_var")) return 1 + 0.5 * u;
    if (ends_with(row->name, "running_mean")) return 0.2 * u;
    if (strstr(row->name, "positional")) return 0.5 * u;
    if (row->ndim > 1) return u * sqrt(6 / ((double)row->size / (double)row->shape[0]));
    return ends_with(row->name, "weight") ? 1 + 0.3 * u : 0.3 * u;
}

static void fill_images(int batch, int64_t n, int64_t values, uint8_t *image)
{
    (void)n;
    for (int64_t i = 0; i < values; i++)
        image[i] = (uint8_t)floor((noise(SEED_IMAGE + (uint32_t)batch, (uint32_t)i) + 1) * 128);
}

/* ---- The golden file ---- */
static hid_t golden;

static void *read_golden(hid_t type, const char *path, int64_t *count)
{
    const hid_t set = H5Dopen2(golden, path, H5P_DEFAULT);
    if (set < 0) fail_msg("golden file has no %s", path);
    const hid_t space = H5Dget_space(set);
    *count = H5Sget_simple_extent_npoints(space);
    void *data = calloc((size_t)*count + 1, H5Tget_size(type));
    CHECK_NOT_NULL(data);
    CHECK_GE(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), 0);
    H5Sclose(space);
    H5Dclose(set);
    return data;
}

/* ---- Errors ---- */
static double max_abs(int64_t n, const float *x)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)x[i]));
    return largest;
}

static double max_difference(int64_t n, const float *x, const float *y)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        const double difference = fabs((double)x[i] - y[i]);
        if (!(difference <= largest)) largest = difference; /* keeps NaN */
    }
    return largest;
}

/* 1 - cos(x, y) */
static double angle(int64_t n, const float *x, const float *y)
{
    double xx = 0, yy = 0, xy = 0;
    for (int64_t i = 0; i < n; i++) {
        xx += (double)x[i] * x[i];
        yy += (double)y[i] * y[i];
        xy += (double)x[i] * y[i];
    }
    return 1 - xy / sqrt(xx * yy);
}

static void report(const char *what, tdm_dtype dtype, double value, double limit)
{
    print_message("%-40s %s worst %.2e (limit %.0e)\n", what, dtype == TDM_BF16 ? "bf16" : "f32 ", value,
                  limit);
    if (!(value <= limit)) fail_msg("%s is off by %g, allowed %g", what, value, limit);
}

/* ---- One tower ---- */
typedef struct setup {
    tdm_dtype dtype;
    int64_t n, image_bytes;
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
    uint8_t *image;
    float *dfeatures; /* [n][EMBED] */
} setup;

static void create(setup *s, tdm_dtype dtype, int threads, int64_t width_px, const char *batch_stats)
{
    static const char *const assignments[] = {
        "model.embed_dim=16",          "model.image.tower=resnet",
        "model.image.height_px=64",    "model.image.stage_layers=[1, 1, 1, 1]",
        "model.image.width=8",         "model.image.heads=4",
        "model.text.width=16",         "model.text.layers=1",
        "model.text.heads=2",          "model.text.vocab_size=64",
        "model.text.context_length=8",
    };
    memset(s, 0, sizeof(*s));
    s->dtype = dtype;
    s->n = N;
    CHECK_OK(tdm_config_init(&s->config));
    for (size_t i = 0; i < sizeof(assignments) / sizeof(assignments[0]); i++)
        CHECK_OK(tdm_config_set(&s->config, assignments[i]));
    s->config.model.image.width_px = width_px;
    char stats[64];
    snprintf(stats, sizeof(stats), "model.image.batch_stats=%s", batch_stats);
    CHECK_OK(tdm_config_set(&s->config, stats));
    CHECK_OK(tdm_config_check(&s->config));
    CHECK_OK(tdm_ops_create(dtype, threads, &s->ops));
    CHECK_OK(tdm_model_create(&s->config, s->ops, true, N, &s->params, &s->model));
    CHECK_OK(tdm_params_allocate(&s->params, true));
    tdm_params_init(&s->params, 1);
    for (int64_t i = 0; i < s->params.count; i++) {
        const tdm_param *row = &s->params.row[i];
        if (strncmp(row->name, "visual.", 7) != 0) continue;
        for (int64_t k = 0; k < row->size; k++)
            s->params.weight[row->offset + k] = (float)value_at(row, (uint32_t)i, k);
    }
    CHECK_OK(tdm_model_load(s->model));
    s->image_bytes = PX * width_px * 3;
    s->image = malloc((size_t)(N * s->image_bytes));
    s->dfeatures = malloc(sizeof(float) * N * EMBED);
    fill_images(0, N, N * s->image_bytes, s->image);
    for (uint32_t i = 0; i < N * EMBED; i++) s->dfeatures[i] = (float)noise(SEED_LOSS, i);
}

static void destroy(setup *s)
{
    tdm_model_destroy(&s->model);
    tdm_params_destroy(&s->params);
    tdm_ops_destroy(&s->ops);
    tdm_config_destroy(&s->config);
    free(s->image);
    free(s->dfeatures);
}

/* Forward and backward of images [first, first+n) into params.grad (added). */
static void run(setup *s, bool train, int64_t first, int64_t n, float *features)
{
    const tdm_tower_input input = {.n = n, .image = s->image + first * s->image_bytes};
    const tdm_pass mode = {.train = train};
    CHECK_OK(tdm_model_forward(s->model, TDM_IMAGE, &input, &mode, &(tdm_tower_output){.pooled = features}));
    CHECK_OK(tdm_model_backward(s->model, TDM_IMAGE,
                                &(tdm_tower_output){.pooled = s->dfeatures + first * EMBED}, NULL, NULL));
}

static void clear_gradients(setup *s)
{
    memset(s->params.grad, 0, sizeof(float) * (size_t)s->params.total);
}

/* ---- Against the golden file ---- */
static void check_names(const setup *s)
{
    int64_t bytes;
    char *names = read_golden(H5T_NATIVE_UINT8, "names", &bytes), *at = names;
    int64_t i = 0;
    for (; at < names + bytes; i++) {
        char *end = strchr(at, '\n');
        *end = '\0';
        CHECK_STR_EQ(s->params.row[i].name, at);
        const tdm_param *row = &s->params.row[i];
        CHECK_EQ(row->buffer, strstr(at, "running_") != NULL);
        CHECK_EQ(row->decay, row->ndim > 1);
        CHECK_EQ(row->lr_scale, row->buffer ? 0.0 : 1.0);
        at = end + 1;
    }
    CHECK_NE(strncmp(s->params.row[i].name, "visual.", 7), 0);
    free(names);
}

static void check_features(const setup *s, const char *mode, const float *features)
{
    char path[64];
    int64_t count;
    snprintf(path, sizeof(path), "%s/features", mode);
    float *want = read_golden(H5T_NATIVE_FLOAT, path, &count);
    CHECK_EQ(count, N * EMBED);
    double worst = 0;
    if (s->dtype == TDM_F32)
        worst = max_difference(count, features, want) / max_abs(count, want);
    else
        for (int i = 0; i < N; i++) worst = fmax(worst, angle(EMBED, features + i * EMBED, want + i * EMBED));
    report(path, s->dtype, worst, s->dtype == TDM_F32 ? F32_FEATURES : 1 - BF16_FEATURES);
    free(want);
}

/* Every trained row: its norm and its samples, relative to the norm; bf16: the direction of all samples, each
 * divided by its row's norm. */
static void check_gradients(const setup *s, const char *mode)
{
    char path[192];
    int64_t rows, count, trained = 0, at = 0;
    snprintf(path, sizeof(path), "%s/norms", mode);
    float *norms = read_golden(H5T_NATIVE_FLOAT, path, &rows);
    snprintf(path, sizeof(path), "%s/samples", mode);
    float *want = read_golden(H5T_NATIVE_FLOAT, path, &count);
    float *a = calloc((size_t)count, sizeof(float)), *b = calloc((size_t)count, sizeof(float));
    double worst = 0;
    const char *where = "";
    for (int64_t i = 0; i < s->params.count; i++) {
        const tdm_param *row = &s->params.row[i];
        const float *grad = s->params.grad + row->offset;
        if (strncmp(row->name, "visual.", 7) != 0) continue;
        const double norm = sqrt(tdm_sum_squares(s->ops, row->size, grad));
        if (row->buffer) {
            CHECK_EQ(norm, 0.0);
            continue;
        }
        const bool dead = ends_with(row->name, "k_proj.bias");
        const double scale = dead ? norms[trained - 1] : norms[trained]; /* of k_proj.weight */
        double error = fabs(norm - norms[trained]) / scale;
        for (int64_t k = 0; k < row->size; k += row->size / SAMPLES + 1, at++) {
            error = fmax(error, fabs((double)grad[k] - want[at]) / scale);
            if (dead) continue;
            a[at] = (float)(grad[k] / norms[trained]);
            b[at] = (float)(want[at] / norms[trained]);
        }
        if (!(error <= worst)) {
            worst = error;
            where = row->name;
        }
        trained++;
    }
    CHECK_EQ(trained, rows);
    CHECK_EQ(at, count);
    if (s->dtype == TDM_BF16) {
        worst = angle(count, a, b);
        where = "";
    }
    snprintf(path, sizeof(path), "%s gradients %s", mode, where);
    report(path, s->dtype, worst, s->dtype == TDM_F32 ? F32_GRADIENTS : 1 - BF16_GRADIENTS);
    free(norms), free(want), free(a), free(b);
}

static float *buffers_of(const setup *s, int64_t *count)
{
    float *all = malloc(sizeof(float) * (size_t)s->params.total);
    *count = 0;
    for (int64_t i = 0; i < s->params.count; i++) {
        const tdm_param *row = &s->params.row[i];
        if (!row->buffer) continue;
        memcpy(all + *count, s->params.weight + row->offset, sizeof(float) * (size_t)row->size);
        *count += row->size;
    }
    return all;
}

/* After a training forward of batch 0 comes one of batch 1: two updates, as two views of a step would make.
 * Embedding notes nothing, and what was noted can be forgotten. */
static void check_running(setup *s)
{
    int64_t count, have;
    float features[N * EMBED];
    const tdm_tower_input input = {.n = N, .image = s->image};
    const tdm_pass mode = {.train = true};
    float *before = buffers_of(s, &have), *want = read_golden(H5T_NATIVE_FLOAT, "running", &count);
    CHECK_EQ(count, have);
    tdm_model_update_statistics(s->model, false);
    tdm_model_update_statistics(s->model, true);
    float *forgotten = buffers_of(s, &have);
    CHECK_MEM_EQ(before, forgotten, sizeof(float) * (size_t)have);

    clear_gradients(s);
    run(s, true, 0, N, features);
    CHECK_OK(tdm_model_embed(s->model, TDM_IMAGE, &input, &mode, &(tdm_tower_output){.pooled = features}));
    fill_images(1, N, N * s->image_bytes, s->image);
    run(s, true, 0, N, features);
    tdm_model_update_statistics(s->model, true);
    float *got = buffers_of(s, &have);
    report("running statistics", s->dtype, max_difference(count, got, want) / max_abs(count, want),
           s->dtype == TDM_F32 ? F32_RUNNING : BF16_RUNNING);
    free(before), free(want), free(forgotten), free(got);
}

/* The optimiser leaves buffers alone, with decay and whatever lr_scale a row was given. */
static void check_optimizer(setup *s)
{
    tdm_optim optim;
    int64_t count;
    double norm;
    CHECK_OK(tdm_optim_create(&s->config, &s->params, &optim));
    float *before = buffers_of(s, &count);
    for (int64_t i = 0; i < s->params.count; i++) {
        s->params.row[i].lr_scale = 1.0;
        s->params.row[i].decay = true;
    }
    CHECK_OK(optim_update(&optim, &s->config, s->ops, &s->params, 0.1, &norm));
    float *after = buffers_of(s, &count);
    CHECK_MEM_EQ(before, after, sizeof(float) * (size_t)count);
    for (int64_t i = 0; i < s->params.count; i++) {
        const tdm_param *row = &s->params.row[i];
        for (int64_t k = 0; row->buffer && k < row->size; k++) {
            CHECK_EQ(optim.moment[0][row->offset + k], 0);
            CHECK_EQ(optim.moment[1][row->offset + k], 0);
        }
    }
    tdm_optim_destroy(&optim);
    free(before), free(after);
}

/* An image has the bits alone that it has among others; oneDNN's narrower code may sum otherwise
 * (tandem/ops.h). */
static void check_alone(setup *s, const float *together)
{
    const tdm_pass mode = {.train = false};
    float alone[N * EMBED];
    for (int64_t first = 0, n = 1; first < N; first += n, n++) {
        const tdm_tower_input input = {.n = tdm_min_i64(n, N - first),
                                       .image = s->image + first * s->image_bytes};
        CHECK_OK(tdm_model_embed(s->model, TDM_IMAGE, &input, &mode,
                                 &(tdm_tower_output){.pooled = alone + first * EMBED}));
    }
    if (strncmp(tdm_ops_isa(s->ops), "avx512", 6) == 0) CHECK_MEM_EQ(alone, together, sizeof(alone));
    report("alone", s->dtype, max_difference(N * EMBED, alone, together) / max_abs(N * EMBED, together),
           s->dtype == TDM_F32 ? F32_FEATURES : 0.0);
}

static void check_golden(tdm_dtype dtype, int threads)
{
    setup s;
    float features[N * EMBED], embedded[N * EMBED];
    create(&s, dtype, threads, PX, "sync");
    check_names(&s);
    const tdm_tower_input input = {.n = N, .image = s.image};
    static const char *const modes[] = {"eval", "train"};
    for (int train = 0; train < 2; train++) {
        const tdm_pass mode = {.train = train};
        clear_gradients(&s);
        run(&s, train, 0, N, features);
        check_features(&s, modes[train], features);
        check_gradients(&s, modes[train]);
        CHECK_OK(tdm_model_embed(s.model, TDM_IMAGE, &input, &mode, &(tdm_tower_output){.pooled = embedded}));
        CHECK_MEM_EQ(embedded, features, sizeof(features));
        if (!train) check_alone(&s, features);
    }
    check_running(&s);
    check_optimizer(&s);
    destroy(&s);

    create(&s, dtype, threads, PX, "frozen"); /* training is as evaluation */
    int64_t count;
    float *before = buffers_of(&s, &count);
    run(&s, true, 0, N, features);
    check_features(&s, "eval", features);
    check_gradients(&s, "eval");
    tdm_model_update_statistics(s.model, true);
    float *after = buffers_of(&s, &count);
    CHECK_MEM_EQ(before, after, sizeof(float) * (size_t)count);
    free(before), free(after);
    destroy(&s);
}

static void test_f32(void **state)
{
    (void)state;
    check_golden(TDM_F32, 1);
    check_golden(TDM_F32, 2);
}

static void test_bf16(void **state)
{
    (void)state;
    tdm_dtype dtype;
    if (tdm_ops_resolve_precision("bf16", &dtype) != TDM_OK) SKIP("this CPU has no bf16");
    check_golden(TDM_BF16, 1);
    check_golden(TDM_BF16, 2);
}

/* Frozen statistics: pieces of a batch give its gradient. */
static void test_chunks(void **state)
{
    (void)state;
    setup s;
    float whole[N * EMBED], pieces[N * EMBED];
    create(&s, TDM_F32, 1, 32, "frozen");
    run(&s, true, 0, N, whole);
    float *grad = malloc(sizeof(float) * (size_t)s.params.total);
    memcpy(grad, s.params.grad, sizeof(float) * (size_t)s.params.total);
    clear_gradients(&s);
    run(&s, true, 0, 3, pieces);
    run(&s, true, 3, 1, pieces + 3 * EMBED);
    report("features in chunks", TDM_F32,
           max_difference(N * EMBED, pieces, whole) / max_abs(N * EMBED, whole), F32_FEATURES);
    report("gradients in chunks", TDM_F32,
           max_difference(s.params.total, s.params.grad, grad) / max_abs(s.params.total, grad), F32_FEATURES);

    /* of the last stage, conv1 (128·64 products at 4x2 px) gives no gradient to what is frozen below it */
    CHECK_EQ(tdm_model_backward_share(s.model, TDM_IMAGE), 1.0);
    for (int64_t i = 0; i < s.params.count; i++) {
        if (!strcmp(s.params.row[i].name, "visual.layer4.0.conv1.weight")) break;
        s.params.row[i].lr_scale = 0.0;
    }
    CHECK_OK(tdm_model_load(s.model));
    const double last = 8 * 128 * 64 + 8 * 64 * 64 * 9 + 2 * 64 * 256 + 2 * 128 * 256;
    const double stages[] = {128 * (8 * 8 + 8 * 72 + 8 * 32 + 8 * 32),
                             128 * (32 * 16 + 16 * 144) + 32 * (16 * 64 + 32 * 64),
                             32 * (64 * 32 + 32 * 288) + 8 * (32 * 128 + 64 * 128), last};
    const double all = 2 * (stages[0] + stages[1] + stages[2] + stages[3]);
    const double share = (2 * last - 8 * 128 * 64) / all;
    CHECK_NEAR(tdm_model_backward_share(s.model, TDM_IMAGE), share, 1e-12);
    free(grad);
    destroy(&s);
}

/* Slopes of sum(features · dfeatures) along a random direction in each row against the gradient, on images
 * that are not square. What is left is no rounding of the gradient: the outputs carry 1e-6 of error, which h
 * = 2.5e-4 magnifies to 4e-3, and a step moves some ReLUs over their corner, which with statistics of few
 * pixels costs up to 2 % of the largest slope; 4 % is asked for. A missing term or factor is far larger. */
static void test_finite_differences(void **state)
{
    (void)state;
    const double h = 2.5e-4;
    setup s;
    float features[N * EMBED];
    for (int sync = 0; sync < 2; sync++) {
        create(&s, TDM_F32, 1, sync ? 96 : 32, sync ? "sync" : "frozen");
        const tdm_tower_input input = {.n = N, .image = s.image};
        const tdm_pass mode = {.train = true};
        double worst = 0, largest = 0;
        const char *where = "";
        run(&s, true, 0, N, features);
        for (int64_t p = 0; p < s.params.count; p++) {
            const tdm_param *row = &s.params.row[p];
            if (strncmp(row->name, "visual.", 7) != 0 || row->buffer) continue;
            float *weight = s.params.weight + row->offset;
            float *saved = malloc(sizeof(float) * (size_t)row->size),
                  *direction = malloc(sizeof(float) * (size_t)row->size);
            memcpy(saved, weight, sizeof(float) * (size_t)row->size);
            tdm_rng rng = tdm_rng_at(5, 0, (uint64_t)p, TDM_RNG_TEST);
            double length = 0, slope = 0, loss[2];
            for (int64_t i = 0; i < row->size; i++) {
                direction[i] = (float)tdm_rng_normal(&rng);
                length += (double)direction[i] * direction[i];
            }
            length = sqrt(length);
            for (int64_t i = 0; i < row->size; i++)
                slope += s.params.grad[row->offset + i] * direction[i] / length;
            for (int side = 0; side < 2; side++) {
                for (int64_t i = 0; i < row->size; i++)
                    weight[i] = saved[i] + (float)((side ? -h : h) * direction[i] / length);
                CHECK_OK(tdm_model_load(s.model));
                CHECK_OK(tdm_model_embed(s.model, TDM_IMAGE, &input, &mode,
                                         &(tdm_tower_output){.pooled = features}));
                loss[side] = 0;
                for (int i = 0; i < N * EMBED; i++) loss[side] += (double)features[i] * s.dfeatures[i];
            }
            memcpy(weight, saved, sizeof(float) * (size_t)row->size);
            const double error = fabs((loss[0] - loss[1]) / (2 * h) - slope);
            largest = fmax(largest, fabs(slope));
            if (error > worst) {
                worst = error;
                where = row->name;
            }
            free(saved), free(direction);
        }
        print_message("%s finite differences: worst %.2e (%s), largest slope %.2e\n",
                      sync ? "sync" : "frozen", worst, where, largest);
        CHECK_GT(largest, 0.1);
        CHECK_LE(worst, 0.04 * largest);
        destroy(&s);
    }
}

/* The estimate bounds what the tower takes; a model without training needs less. */
static void test_memory_and_flop(void **state)
{
    (void)state;
    tdm_config config;
    tdm_model_memory memory, more;
    CHECK_OK(tdm_config_init(&config));
    char conf[512];
    snprintf(conf, sizeof(conf), "%s/conf", getenv("TANDEM_SOURCE_DIR"));
    setenv("TANDEM_CONF", conf, 1);
    CHECK_OK(tdm_config_load_model(&config, "rn50"));
    CHECK_OK(tdm_config_check(&config));
    /* 38.3 million parameters in the image tower, 63.7 in the text tower (OpenAI's RN50: 102,007,137) */
    tdm_params params = {0};
    tdm_ops *ops;
    tdm_model *model;
    CHECK_OK(tdm_ops_create(TDM_F32, 1, &ops));
    CHECK_OK(tdm_model_create(&config, ops, false, 1, &params, &model));
    int64_t trained = 0;
    for (int64_t i = 0; i < params.count; i++) trained += params.row[i].buffer ? 0 : params.row[i].size;
    CHECK_EQ(trained, 102007137);
    const tdm_model_plan two = {.batch = 2, .chunk = 2, .views = {1, 1}};
    const tdm_model_plan four = {.batch = 4, .chunk = 4, .views = {1, 1}};
    CHECK_OK(tdm_model_memory_estimate(model, &two, 19, &memory));
    CHECK_OK(tdm_model_memory_estimate(model, &four, 19, &more));
    CHECK_GT(more.activations, memory.activations);
    CHECK_EQ(more.weights, memory.weights);
    tdm_model_destroy(&model);
    tdm_params_destroy(&params);
    tdm_ops_destroy(&ops);
    /* CLIP's paper counts multiply-adds: RN50 6.1 G with the pooling */
    const double flop = tdm_model_tower_flop(&config, TDM_IMAGE, &(tdm_pass){0}, 1, 0, 0);
    CHECK_GT(flop, 11e9);
    CHECK_LT(flop, 13e9);
    tdm_config_destroy(&config);
}

static int open_golden(void **state)
{
    (void)state;
    const char *source = getenv("TANDEM_SOURCE_DIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/golden/resnet_golden.h5", source ? source : ".");
    golden = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    return golden >= 0 && tdm_model_register() == TDM_OK && tdm_optim_register() == TDM_OK ? 0 : -1;
}

static int close_golden(void **state)
{
    (void)state;
    tdm_config_unregister_all();
    return H5Fclose(golden) >= 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_memory_and_flop),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
