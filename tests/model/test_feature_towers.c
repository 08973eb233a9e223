/* Towers of cached features: what enters leaves, only heads are trained, what is refused. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tandem/base.h"
#include "tandem/model.h"
#include "tandem/rng.h"

enum { N = 5, IN = 12, E = 8 };

static float row[N * IN];
static const int64_t samples[N] = {5, 6, 7, 1, 2};
static const tdm_pass training = {.train = true, .seed = 3, .step = 4};

typedef struct setup {
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
} setup;

/* settings: "key=value" with blanks between. */
static void configure(tdm_config *config, const char *settings)
{
    char copy[512];
    CHECK_OK(tdm_config_init(config));
    snprintf(copy, sizeof copy, "model.image.tower=features model.text.tower=features %s", settings);
    for (char *rest = copy, *one; (one = strsep(&rest, " ")) != NULL;)
        if (one[0] != '\0') CHECK_OK(tdm_config_set(config, one));
}

static void set_up_with(setup *s, const char *settings, tdm_dtype dtype, int threads)
{
    memset(s, 0, sizeof *s);
    configure(&s->config, settings);
    CHECK_OK(tdm_ops_create(dtype, threads, &s->ops));
    CHECK_OK(tdm_model_create(&s->config, s->ops, true, N, &s->params, &s->model));
    CHECK_OK(tdm_params_allocate(&s->params, true));
    tdm_params_init(&s->params, 1);
    CHECK_OK(tdm_model_load(s->model));
    const tdm_model_plan plan = {.batch = N, .chunk = 2, .views = {1, 1}, .keep_all = true};
    CHECK_OK(tdm_model_reserve(s->model, &plan));
}

static void set_up(setup *s, const char *settings)
{
    set_up_with(s, settings, TDM_F32, 1);
}

static void tear_down(setup *s)
{
    tdm_model_destroy(&s->model);
    tdm_params_destroy(&s->params);
    tdm_ops_destroy(&s->ops);
    tdm_config_destroy(&s->config);
}

static tdm_tower_input rows_from(int64_t first, int64_t n)
{
    return (tdm_tower_input){.n = n, .feature = row + first * IN, .sample = samples + first};
}

static void test_identity(void **state)
{
    (void)state;
    setup s;
    float y[N * IN];
    const tdm_tower_input input = rows_from(0, N);
    set_up(&s, "model.embed_dim=12");
    CHECK_EQ(s.params.count, 1); /* logit_scale */
    for (int m = 0; m < TDM_MODALITIES; m++) {
        tdm_tower_reads reads;
        int64_t width;
        CHECK_OK(tdm_model_reads(&s.config, (tdm_modality)m, &reads, &width));
        CHECK_EQ(reads, TDM_READS_FEATURES);
        CHECK_EQ(width, IN);
        CHECK_FALSE(tdm_model_trains(s.model, (tdm_modality)m));
        CHECK_OK(
            tdm_model_forward(s.model, (tdm_modality)m, &input, &training, &(tdm_tower_output){.pooled = y}));
        CHECK_MEM_EQ(y, row, sizeof row);
        CHECK_OK(tdm_model_backward(s.model, (tdm_modality)m, &(tdm_tower_output){.pooled = y}, NULL, NULL));
    }
    tear_down(&s);
}

/* In pieces or at once: dropout is keyed by sample, so that features and gradients agree. */
static void test_head_in_pieces(void **state)
{
    (void)state;
    setup whole, pieces;
    float y[N * E], z[N * E], c[N * E];
    for (int i = 0; i < N * E; i++) c[i] = (float)(i % 7) - 3;
    const char *settings = "model.embed_dim=8 model.image.feature_dim=12 model.text.feature_dim=12 "
                           "model.image.head=mlp model.text.head=mlp model.image.mlp.dropout=0.3";
    set_up(&whole, settings);
    set_up(&pieces, settings);
    const tdm_model_plan all = {.batch = N, .chunk = N, .views = {1, 1}};
    CHECK_OK(tdm_model_reserve(whole.model, &all));
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const tdm_modality modality = (tdm_modality)m;
        const tdm_tower_input input = rows_from(0, N);
        CHECK_TRUE(tdm_model_trains(whole.model, modality));
        CHECK_OK(
            tdm_model_forward(whole.model, modality, &input, &training, &(tdm_tower_output){.pooled = y}));
        CHECK_OK(tdm_model_backward(whole.model, modality, &(tdm_tower_output){.pooled = c}, NULL, NULL));
        for (int64_t first = 0; first < N; first += 2) {
            const tdm_tower_input piece = rows_from(first, first + 2 < N ? 2 : N - first);
            const tdm_tower_output output = {.pooled = z + first * E};
            CHECK_OK(tdm_model_forward(pieces.model, modality, &piece, &training, &output));
        }
        for (int64_t first = N - 1; first >= 0; first -= 2)
            CHECK_OK(tdm_model_backward(pieces.model, modality, &(tdm_tower_output){.pooled = c + first * E},
                                        NULL, NULL));
        CHECK_CLOSE_ARRAY(N * E, z, y, 1e-6);
    }
    CHECK_CLOSE_ARRAY(whole.params.total, pieces.params.grad, whole.params.grad, 1e-4);
    double norm = 0;
    for (int64_t i = 0; i < whole.params.total; i++) norm += fabs((double)whole.params.grad[i]);
    CHECK_GT(norm, 1);
    tear_down(&whole);
    tear_down(&pieces);
}

/* ---- The head against plain sums in double ---- */

enum { H = 40 }; /* hidden: more than a panel of the products */

static const char *const plain_settings =
    "model.embed_dim=8 model.image.feature_dim=12 model.text.feature_dim=12 model.image.head=mlp "
    "model.text.head=mlp model.image.mlp.hidden=40 model.text.mlp.hidden=40 model.image.mlp.dropout=0 "
    "model.text.mlp.dropout=0";

static double phi(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

/* Adds row i's part to the gradients of the image head, laid out as the arena; y unless NULL. */
static void plain_row(const setup *s, int64_t i, const float *dy, double *grad, double *y)
{
    const float *w = s->params.weight; /* visual_head.fc1 weight, bias, fc2 weight, bias */
    const int64_t b1 = s->params.row[1].offset, w2 = s->params.row[2].offset, b2 = s->params.row[3].offset;
    double hidden[H];
    for (int h = 0; h < H; h++) {
        hidden[h] = w[b1 + h];
        for (int k = 0; k < IN; k++) hidden[h] += (double)w[h * IN + k] * row[i * IN + k];
    }
    for (int o = 0; o < E; o++) {
        y[o] = w[b2 + o];
        grad[b2 + o] += dy[o];
        for (int h = 0; h < H; h++) {
            y[o] += w[w2 + o * H + h] * hidden[h] * phi(hidden[h]);
            grad[w2 + o * H + h] += dy[o] * hidden[h] * phi(hidden[h]);
        }
    }
    for (int h = 0; h < H; h++) {
        double d = 0;
        for (int o = 0; o < E; o++) d += (double)dy[o] * w[w2 + o * H + h];
        d *= phi(hidden[h]) + hidden[h] * exp(-hidden[h] * hidden[h] / 2) * 0.39894228040143267794;
        grad[b1 + h] += d;
        for (int k = 0; k < IN; k++) grad[h * IN + k] += d * row[i * IN + k];
    }
}

static void one_step(const setup *s, float *y)
{
    float c[N * E];
    for (int i = 0; i < N * E; i++) c[i] = (float)(i % 7) - 3;
    const tdm_tower_input input = rows_from(0, N);
    const tdm_model_plan all = {.batch = N, .chunk = N, .views = {1, 1}};
    CHECK_OK(tdm_model_reserve(s->model, &all));
    CHECK_OK(tdm_model_forward(s->model, TDM_IMAGE, &input, &training, &(tdm_tower_output){.pooled = y}));
    CHECK_OK(tdm_model_backward(s->model, TDM_IMAGE, &(tdm_tower_output){.pooled = c}, NULL, NULL));
}

static void test_head_against_plain_sums(void **state)
{
    (void)state;
    setup s;
    float y[N * E], c[N * E];
    double expected[N * E];
    set_up(&s, plain_settings);
    CHECK_STR_EQ(s.params.row[2].name, "visual_head.fc2.weight");
    const int64_t used = s.params.row[4].offset;
    double *grad = calloc((size_t)used, sizeof *grad);
    for (int i = 0; i < N * E; i++) c[i] = (float)(i % 7) - 3;
    for (int i = 0; i < N; i++) plain_row(&s, i, c + i * E, grad, expected + i * E);
    one_step(&s, y);
    /* sums of at most 40 terms of a few units in f32 */
    for (int i = 0; i < N * E; i++) CHECK_NEAR(y[i], expected[i], 2e-6);
    for (int r = 0; r < 4; r++)
        for (int64_t k = 0; k < s.params.row[r].size; k++)
            CHECK_NEAR(s.params.grad[s.params.row[r].offset + k], grad[s.params.row[r].offset + k], 2e-5);
    free(grad);
    tear_down(&s);
}

/* The head computes in f32 whatever the precision; threads change no bit. */
static void test_head_of_other_threads(void **state)
{
    (void)state;
    setup one, other;
    float y[N * E], z[N * E];
    set_up(&one, plain_settings);
    one_step(&one, y);
    for (int dtype = TDM_F32; dtype <= TDM_BF16; dtype++) {
        tdm_dtype possible;
        if (dtype == TDM_BF16 && tdm_ops_resolve_precision("bf16", &possible) != TDM_OK) continue;
        set_up_with(&other, plain_settings, (tdm_dtype)dtype, 3);
        one_step(&other, z);
        CHECK_MEM_EQ(y, z, sizeof y);
        CHECK_MEM_EQ(one.params.grad, other.params.grad, sizeof(float) * (size_t)one.params.total);
        tear_down(&other);
    }
    tear_down(&one);
}

static void test_refused(void **state)
{
    (void)state;
    setup s;
    float y[N * IN];
    set_up(&s, "model.embed_dim=12");
    CHECK_FAILS(tdm_model_embed(s.model, TDM_TEXT, &(tdm_tower_input){.n = 1}, &(tdm_pass){0},
                                &(tdm_tower_output){.pooled = y}),
                TDM_E_DATA, "model.text.tower is \"features\", but the data hold no text features");
    tear_down(&s);
    configure(&s.config, "model.embed_dim=8 model.image.feature_dim=12");
    CHECK_FAILS(tdm_model_check(&s.config), TDM_E_CONFIG, "model.image.feature_dim = 12 without a head");
    tdm_config_destroy(&s.config);
}

int main(void)
{
    if (tdm_model_register() != TDM_OK) return 1;
    tdm_rng rng = tdm_rng_at(1, 0, 0, TDM_RNG_TEST);
    for (int i = 0; i < N * IN; i++) row[i] = (float)tdm_rng_normal(&rng);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_head_in_pieces),
        cmocka_unit_test(test_head_against_plain_sums),
        cmocka_unit_test(test_head_of_other_threads),
        cmocka_unit_test(test_refused),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_config_unregister_all();
    return failed;
}
