/* Layers that are left out (model.*.drop): the same model with zeros in the output layers of what is left out is an
 * independent reference, forward and backward. Sums over 16 columns and three blocks in f32 stay below 1e-5. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tandem/base.h"
#include "tandem/model.h"
#include "tandem/rng.h"

enum { N = 3, PX = 16, PIXELS = PX * PX * 3, E = 8, CAPTION_TOKENS = 13, IMAGE_TOKENS = 5 };

static const int64_t seq[N + 1] = {0, 4, 11, 13}, samples[N] = {5, 6, 7};
static int32_t token[CAPTION_TOKENS];
static uint8_t image[N * PIXELS];
static const tdm_pass training = {.train = true, .seed = 3, .step = 4};

typedef struct setup {
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
} setup;

static void set_config(tdm_config *config, const char *drop)
{
    static const char *const assignments[] = {
        "model.embed_dim=8",    "model.image.height_px=16", "model.image.width_px=16",
        "model.image.width=16", "model.image.patch_px=8",   "model.image.layers=3",
        "model.image.heads=2",  "model.text.width=16",      "model.text.layers=3",
        "model.text.heads=2",   "model.text.vocab_size=20", "model.text.context_length=7",
        "model.dropout=0.2",
    };
    char key[128];
    CHECK_OK(tdm_config_init(config));
    for (size_t i = 0; i < sizeof assignments / sizeof assignments[0]; i++)
        CHECK_OK(tdm_config_set(config, assignments[i]));
    for (int m = 0; m < TDM_MODALITIES; m++) {
        snprintf(key, sizeof key, "model.%s.drop=%s", tdm_modality_name((tdm_modality)m), drop);
        CHECK_OK(tdm_config_set(config, key));
    }
}

static void set_up(setup *s, const char *drop, tdm_recompute recompute)
{
    memset(s, 0, sizeof *s);
    set_config(&s->config, drop);
    CHECK_OK(tdm_ops_create(TDM_F32, 1, &s->ops));
    CHECK_OK(tdm_model_create(&s->config, s->ops, true, N, &s->params, &s->model));
    CHECK_OK(tdm_params_allocate(&s->params, true));
    tdm_params_init(&s->params, 1);
    for (int64_t i = 0; i < s->params.count; i++) { /* biases that start at zero hide mistakes */
        tdm_rng rng = tdm_rng_at(2, 0, (uint64_t)i, TDM_RNG_TEST);
        for (int64_t k = 0; k < s->params.row[i].size; k++)
            s->params.weight[s->params.row[i].offset + k] += (float)(0.1 * tdm_rng_normal(&rng));
    }
    CHECK_OK(tdm_model_load(s->model));
    const tdm_model_plan plan = {
        .batch = N, .chunk = N, .views = {1, 1}, .tokens = {true, true}, .blocks = recompute};
    CHECK_OK(tdm_model_reserve(s->model, &plan));
}

static void tear_down(setup *s)
{
    tdm_model_destroy(&s->model);
    tdm_params_destroy(&s->params);
    tdm_ops_destroy(&s->ops);
    tdm_config_destroy(&s->config);
}

static tdm_tower_input input_of(tdm_modality modality)
{
    const tdm_tower_input images = {.n = N, .image = image, .sample = samples};
    const tdm_tower_input texts = {.n = N, .token = token, .seq = seq, .sample = samples};
    return modality == TDM_IMAGE ? images : texts;
}

/* Forward and backward of fixed gradients; dense: of the tokens, too. */
static void step(setup *s, tdm_modality modality, bool dense, float pooled[N * E], float *tokens)
{
    const tdm_tower_input input = input_of(modality);
    float dpooled[N * E], dtokens[N * IMAGE_TOKENS * E];
    tdm_rng rng = tdm_rng_at(8, 0, 0, TDM_RNG_TEST);
    for (int i = 0; i < N * E; i++) dpooled[i] = (float)tdm_rng_normal(&rng);
    for (int i = 0; i < N * IMAGE_TOKENS * E; i++) dtokens[i] = (float)tdm_rng_normal(&rng);
    memset(s->params.grad, 0, sizeof(float) * (size_t)s->params.total);
    tdm_model_clear_gradients(s->model, (tdm_span){0, s->params.total});
    CHECK_OK(tdm_model_forward(s->model, modality, &input, &training,
                               &(tdm_tower_output){.pooled = pooled, .tokens = dense ? tokens : NULL}));
    CHECK_OK(tdm_model_backward(s->model, modality,
                                &(tdm_tower_output){.pooled = dpooled, .tokens = dense ? dtokens : NULL},
                                NULL, NULL));
}

/* The reference: rows of `dropped` that are buffers there have silent output layers here. */
static void silence_like(setup *s, const setup *dropped)
{
    for (int64_t i = 0; i < s->params.count; i++) s->params.row[i].buffer = dropped->params.row[i].buffer;
    CHECK_GT(tdm_model_silence(&s->params), 0);
    for (int64_t i = 0; i < s->params.count; i++) s->params.row[i].buffer = false;
    CHECK_OK(tdm_model_load(s->model));
}

static void compare(setup *dropped, setup *silent, tdm_modality modality, bool dense)
{
    const int tokens = modality == TDM_IMAGE ? N * IMAGE_TOKENS : CAPTION_TOKENS;
    float pooled[2][N * E], token_rows[2][N * IMAGE_TOKENS * E];
    step(dropped, modality, dense, pooled[0], token_rows[0]);
    step(silent, modality, dense, pooled[1], token_rows[1]);
    CHECK_CLOSE_ARRAY(N * E, pooled[0], pooled[1], 1e-5);
    if (dense) CHECK_CLOSE_ARRAY(tokens * E, token_rows[0], token_rows[1], 1e-5);
    for (int64_t i = 0; i < dropped->params.count; i++) {
        const tdm_param *row = &dropped->params.row[i];
        if (row->tower != (int)modality || row->buffer) continue;
        double largest = 0;
        for (int64_t k = 0; k < row->size; k++)
            largest = fmax(largest, fabs((double)silent->params.grad[row->offset + k]));
        CHECK_CLOSE_ARRAY(row->size, dropped->params.grad + row->offset, silent->params.grad + row->offset,
                          1e-5 + 1e-5 * largest);
    }
}

static const char *const drops[] = {"[\"2\"]",
                                    "[\"3\"]",
                                    "[\"1\"]",
                                    "[\"1.attention\"]",
                                    "[\"3.attention\"]",
                                    "[\"3.mlp\"]",
                                    "[\"2.mlp\"]",
                                    "[\"1\", \"2.attention\", \"3.mlp\"]",
                                    "[\"2\", \"3\"]",
                                    "[\"3.mlp\", \"3.attention\", \"2.mlp\"]",
                                    "[\"1\",\"2\",\"3\"]"};
enum { DROPS = sizeof drops / sizeof drops[0] };

static void test_against_silent_branches(void **state)
{
    (void)state;
    for (int i = 0; i < DROPS; i++)
        for (int level = 0; level < 3; level++)
            for (int m = 0; m < TDM_MODALITIES; m++)
                for (int dense = 0; dense < 2; dense++) {
                    setup dropped, silent;
                    set_up(&dropped, drops[i], (tdm_recompute)level);
                    set_up(&silent, "[]", TDM_RECOMPUTE_NOTHING);
                    silence_like(&silent, &dropped);
                    compare(&dropped, &silent, (tdm_modality)m, dense != 0);
                    tear_down(&dropped);
                    tear_down(&silent);
                }
}

/* Frozen below, or frozen but for the embeddings: the backward stops or goes through. */
static void test_frozen(void **state)
{
    (void)state;
    for (int i = 0; i < DROPS; i++)
        for (int above = 0; above < 2; above++) {
            setup dropped, silent;
            set_up(&dropped, drops[i], TDM_RECOMPUTE_NOTHING);
            set_up(&silent, "[]", TDM_RECOMPUTE_NOTHING);
            silence_like(&silent, &dropped);
            setup *const both[2] = {&dropped, &silent};
            for (int k = 0; k < 2; k++) {
                for (int64_t r = 0; r < both[k]->params.count; r++) {
                    tdm_param *row = &both[k]->params.row[r];
                    if (above ? row->layer < 3 : row->layer > 0) row->lr_scale = 0.0;
                    if (row->lr_scale == 0.0) dropped.params.row[r].buffer = true; /* not compared */
                }
                CHECK_OK(tdm_model_load(both[k]->model));
            }
            compare(&dropped, &silent, TDM_IMAGE, false);
            compare(&dropped, &silent, TDM_TEXT, false);
            tear_down(&dropped);
            tear_down(&silent);
        }
}

/* What a probe does: the same bits as the configuration's, and back again. */
static void test_leave_out_and_back(void **state)
{
    (void)state;
    for (int m = 0; m < TDM_MODALITIES; m++) {
        setup dropped, whole;
        float wanted[N * E], was[N * E], y[N * E];
        const tdm_tower_input input = input_of((tdm_modality)m);
        const tdm_pass mode = {.train = false};
        set_up(&dropped, "[\"3\", \"1.mlp\"]", TDM_RECOMPUTE_NOTHING);
        set_up(&whole, "[]", TDM_RECOMPUTE_NOTHING);
        CHECK_EQ(tdm_model_layers(whole.model, (tdm_modality)m), 3);
        CHECK_EQ(tdm_model_left_out(dropped.model, (tdm_modality)m, 0), TDM_BLOCK_MLP);
        CHECK_OK(tdm_model_embed(dropped.model, (tdm_modality)m, &input, &mode,
                                 &(tdm_tower_output){.pooled = wanted}));
        CHECK_OK(
            tdm_model_embed(whole.model, (tdm_modality)m, &input, &mode, &(tdm_tower_output){.pooled = was}));
        tdm_model_leave_out(whole.model, (tdm_modality)m, 2, TDM_BLOCK_WHOLE);
        tdm_model_leave_out(whole.model, (tdm_modality)m, 0, TDM_BLOCK_MLP);
        CHECK_OK(
            tdm_model_embed(whole.model, (tdm_modality)m, &input, &mode, &(tdm_tower_output){.pooled = y}));
        CHECK_MEM_EQ(y, wanted, sizeof y);
        tdm_model_leave_out(whole.model, (tdm_modality)m, 2, 0);
        tdm_model_leave_out(whole.model, (tdm_modality)m, 0, 0);
        CHECK_OK(
            tdm_model_embed(whole.model, (tdm_modality)m, &input, &mode, &(tdm_tower_output){.pooled = y}));
        CHECK_MEM_EQ(y, was, sizeof y);
        tear_down(&dropped);
        tear_down(&whole);
    }
}

/* FLOP of what is left: a layer costs the same wherever it stands, but for what the last one saves. */
static void test_flop(void **state)
{
    (void)state;
    double flop[4];
    static const char *const lists[4] = {"[]", "[\"1\"]", "[\"2.attention\", \"2.mlp\"]", "[\"1.mlp\"]"};
    for (int i = 0; i < 4; i++) {
        tdm_config config;
        set_config(&config, lists[i]);
        flop[i] = tdm_model_tower_flop(&config, TDM_IMAGE, &(tdm_pass){0}, N, 0, 0);
        tdm_config_destroy(&config);
    }
    const double t = N * IMAGE_TOKENS, w = 16; /* width */
    CHECK_NEAR(flop[0] - flop[1], 2 * w * w * t * 12 + 4 * N * IMAGE_TOKENS * IMAGE_TOKENS * w, 0.5);
    CHECK_NEAR(flop[1] - flop[2], 0, 0.5);
    CHECK_NEAR(flop[0] - flop[3], 2 * w * w * t * 8, 0.5);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const broken[][2] = {
        {"model.text.drop=[\"4\"]", "model.text.drop: \"4\": the tower has 3 layers"},
        {"model.image.drop=[\"0\"]", "model.image.drop: \"0\" is not \"N\""},
        {"model.image.drop=[\"2.norm\"]", "\"2.norm\" is not"},
        {"model.image.drop=[\"99999999999999999999\"]", "the tower has 3 layers"},
        {"model.image.drop=[\"\"]", "\"\" is not"},
        {"model.image.drop=[\"1\"]\nmodel.image.tower=resnet", "model.image.drop is about the layers"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        tdm_config config;
        set_config(&config, "[]");
        char text[256], *rest = text;
        snprintf(text, sizeof text, "%s", broken[i][0]);
        for (char *line; (line = strsep(&rest, "\n")) != NULL;) CHECK_OK(tdm_config_set(&config, line));
        CHECK_FAILS(tdm_model_check(&config), TDM_E_CONFIG, broken[i][1]);
        tdm_config_destroy(&config);
    }
}

int main(void)
{
    for (int i = 0; i < CAPTION_TOKENS; i++) token[i] = i * 7 % 20;
    for (int i = 0; i < N * PIXELS; i++) image[i] = (uint8_t)(i * 37 % 251);
    if (tdm_model_register() != TDM_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_silent_branches),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_leave_out_and_back),
        cmocka_unit_test(test_flop),
        cmocka_unit_test(test_refused),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_config_unregister_all();
    return failed;
}
