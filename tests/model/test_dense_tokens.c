/* Dense tokens of the transformer towers: the image's against a plain f64 ViT that stands here, the text's against
 * the pooled features of cut captions (under the causal mask token i is what the caption up to i gives), gradients
 * against finite differences. f32 rounds to 6e-8; sums over 16 columns and two blocks stay below 1e-5. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tandem/base.h"
#include "tandem/model.h"
#include "tandem/rng.h"

enum {
    N = 3,
    PX = 16,
    PATCH = 8,
    PATCHES = 4,
    W = 16,
    E = 8,
    LAYERS = 2,
    HEADS = 2,
    CONTEXT = 7,
    LEARNED = 2,
    VOCAB = 20
};
enum { PIXELS = PX * PX * 3, IMAGE_ROWS = N * (1 + PATCHES), MOST = 32 };

static const int64_t seq[N + 1] = {0, 4, 11, 13}, samples[N] = {5, 6, 7};
static int32_t token[13];
static uint8_t image[N * PIXELS];

typedef struct setup {
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
} setup;

/* learned: vectors of the text's learned context, for which the texts have more places. */
static void set_up(setup *s, const char *recompute, int64_t learned)
{
    static const char *const assignments[] = {
        "model.embed_dim=8",
        "model.image.height_px=16",
        "model.image.width_px=16",
        "model.image.width=16",
        "model.image.patch_px=8",
        "model.image.layers=2",
        "model.image.heads=2",
        "model.text.width=16",
        "model.text.layers=2",
        "model.text.heads=2",
        "model.text.vocab_size=20",
        "model.dropout=0.2",
        "model.text.attention_dropout=0.2",
    };
    memset(s, 0, sizeof *s);
    CHECK_OK(tdm_config_init(&s->config));
    for (size_t i = 0; i < sizeof assignments / sizeof assignments[0]; i++)
        CHECK_OK(tdm_config_set(&s->config, assignments[i]));
    s->config.model.text.context_tokens = learned;
    s->config.model.text.context_length = CONTEXT + LEARNED;
    CHECK_OK(tdm_ops_create(TDM_F32, 1, &s->ops));
    CHECK_OK(tdm_model_create(&s->config, s->ops, true, N, &s->params, &s->model));
    CHECK_OK(tdm_params_allocate(&s->params, true));
    tdm_params_init(&s->params, 1);
    for (int64_t i = 0; i < s->params.count; i++) { /* biases that start at zero hide mistakes */
        const tdm_param *row = &s->params.row[i];
        tdm_rng rng = tdm_rng_at(2, 0, (uint64_t)i, TDM_RNG_TEST);
        for (int64_t k = 0; k < row->size; k++)
            s->params.weight[row->offset + k] += (float)(0.1 * tdm_rng_normal(&rng));
    }
    CHECK_OK(tdm_model_load(s->model));
    const tdm_model_plan plan = {.batch = N,
                                 .chunk = N,
                                 .views = {2, 1},
                                 .tokens = {true, true},
                                 .blocks = strcmp(recompute, "block") ? TDM_RECOMPUTE_NOTHING
                                                                      : TDM_RECOMPUTE_BLOCK};
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

/* ---- A plain ViT ---- */
static const float *row_of(const setup *s, const char *format, int layer)
{
    char name[128];
    snprintf(name, sizeof name, format, layer);
    const tdm_param *row = tdm_params_find(&s->params, name);
    CHECK_NOT_NULL(row);
    return s->params.weight + row->offset;
}

static void plain_norm(const float *weight, const float *bias, const double *x, double *y)
{
    double mean = 0, variance = 0;
    for (int c = 0; c < W; c++) mean += x[c] / W;
    for (int c = 0; c < W; c++) variance += (x[c] - mean) * (x[c] - mean) / W;
    for (int c = 0; c < W; c++) y[c] = (x[c] - mean) / sqrt(variance + 1e-5) * weight[c] + bias[c];
}

/* weight [out][in] */
static void plain_linear(int in, int out, const float *weight, const float *bias, const double *x, double *y)
{
    for (int o = 0; o < out; o++) {
        y[o] = bias ? bias[o] : 0;
        for (int i = 0; i < in; i++) y[o] += weight[o * in + i] * x[i];
    }
}

static void plain_attention(double qkv[][3 * W], double out[][W])
{
    enum { T = 1 + PATCHES, D = W / HEADS };
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < T; i++) {
            double p[T], sum = 0;
            for (int j = 0; j < T; j++) {
                double dot = 0;
                for (int c = 0; c < D; c++) dot += qkv[i][h * D + c] * qkv[j][W + h * D + c];
                sum += p[j] = exp(dot / sqrt(D));
            }
            for (int c = 0; c < D; c++) {
                out[i][h * D + c] = 0;
                for (int j = 0; j < T; j++) out[i][h * D + c] += p[j] / sum * qkv[j][2 * W + h * D + c];
            }
        }
}

static void plain_block(const setup *s, int layer, double x[][W])
{
    double qkv[1 + PATCHES][3 * W], attended[1 + PATCHES][W], y[4 * W], hidden[4 * W];
#define ROW(name) row_of(s, "visual.transformer.resblocks.%d." name, layer)
    for (int i = 0; i <= PATCHES; i++) {
        plain_norm(ROW("ln_1.weight"), ROW("ln_1.bias"), x[i], y);
        plain_linear(W, 3 * W, ROW("attn.in_proj_weight"), ROW("attn.in_proj_bias"), y, qkv[i]);
    }
    plain_attention(qkv, attended);
    for (int i = 0; i <= PATCHES; i++) {
        plain_linear(W, W, ROW("attn.out_proj.weight"), ROW("attn.out_proj.bias"), attended[i], y);
        for (int c = 0; c < W; c++) x[i][c] += y[c];
        plain_norm(ROW("ln_2.weight"), ROW("ln_2.bias"), x[i], y);
        plain_linear(W, 4 * W, ROW("mlp.c_fc.weight"), ROW("mlp.c_fc.bias"), y, hidden);
        for (int c = 0; c < 4 * W; c++) hidden[c] /= 1 + exp(-1.702 * hidden[c]);
        plain_linear(4 * W, W, ROW("mlp.c_proj.weight"), ROW("mlp.c_proj.bias"), hidden, y);
        for (int c = 0; c < W; c++) x[i][c] += y[c];
    }
#undef ROW
}

/* out[1 + PATCHES][E] of one image. */
static void plain_vit(const setup *s, const uint8_t *pixels, float *out)
{
    const tdm_tower_config *c = &s->config.model.image;
    const float *conv = row_of(s, "visual.conv1.weight", 0), *proj = row_of(s, "visual.proj", 0);
    const float *position = row_of(s, "visual.positional_embedding", 0);
    double x[1 + PATCHES][W], y[W];
    for (int i = 0; i <= PATCHES; i++) {
        double patch[3 * PATCH * PATCH];
        const int top = (i - 1) / 2 * PATCH, left = (i - 1) % 2 * PATCH;
        for (int k = 0; i > 0 && k < 3 * PATCH * PATCH; k++) {
            const int rgb = k / (PATCH * PATCH), row = k / PATCH % PATCH + top, column = k % PATCH + left;
            patch[k] = (pixels[(row * PX + column) * 3 + rgb] / 255.0 - c->mean[rgb]) / c->std[rgb];
        }
        for (int k = 0; k < W; k++) x[i][k] = row_of(s, "visual.class_embedding", 0)[k];
        if (i > 0) plain_linear(3 * PATCH * PATCH, W, conv, NULL, patch, x[i]);
        for (int k = 0; k < W; k++) x[i][k] += position[i * W + k];
        plain_norm(row_of(s, "visual.ln_pre.weight", 0), row_of(s, "visual.ln_pre.bias", 0), x[i], y);
        memcpy(x[i], y, sizeof y);
    }
    for (int layer = 0; layer < LAYERS; layer++) plain_block(s, layer, x);
    for (int i = 0; i <= PATCHES; i++) {
        plain_norm(row_of(s, "visual.ln_post.weight", 0), row_of(s, "visual.ln_post.bias", 0), x[i], y);
        for (int e = 0; e < E; e++) {
            double sum = 0;
            for (int k = 0; k < W; k++) sum += y[k] * proj[k * E + e];
            out[i * E + e] = (float)sum;
        }
    }
}

/* ---- Values ---- */
static void test_image_tokens(void **state)
{
    (void)state;
    setup s;
    set_up(&s, "none", 0);
    const tdm_tower_input input = input_of(TDM_IMAGE);
    float pooled[N * E], alone[N * E], tokens[IMAGE_ROWS * E], expected[IMAGE_ROWS * E];
    CHECK_TRUE(tdm_model_has_tokens(s.model, TDM_IMAGE));
    CHECK_EQ(tdm_model_token_rows(s.model, TDM_IMAGE, &input, &(tdm_pass){0}), IMAGE_ROWS);
    CHECK_OK(
        tdm_model_embed(s.model, TDM_IMAGE, &input, &(tdm_pass){0}, &(tdm_tower_output){pooled, tokens}));
    CHECK_OK(tdm_model_embed(s.model, TDM_IMAGE, &input, &(tdm_pass){0}, &(tdm_tower_output){alone, NULL}));
    CHECK_CLOSE_ARRAY(N * E, pooled, alone, 1e-5);
    for (int i = 0; i < N; i++) plain_vit(&s, image + i * PIXELS, expected + i * (1 + PATCHES) * E);
    CHECK_CLOSE_ARRAY(IMAGE_ROWS * E, tokens, expected, 1e-5);
    tear_down(&s);
}

static void check_text_tokens(int64_t learned)
{
    setup s;
    set_up(&s, "none", learned);
    const tdm_tower_input input = input_of(TDM_TEXT);
    float pooled[N * E], alone[N * E], tokens[MOST * E], cut[E];
    CHECK_EQ(tdm_model_token_rows(s.model, TDM_TEXT, &input, &(tdm_pass){0}), seq[N]);
    CHECK_OK(tdm_model_embed(s.model, TDM_TEXT, &input, &(tdm_pass){0}, &(tdm_tower_output){pooled, tokens}));
    CHECK_OK(tdm_model_embed(s.model, TDM_TEXT, &input, &(tdm_pass){0}, &(tdm_tower_output){alone, NULL}));
    CHECK_CLOSE_ARRAY(N * E, pooled, alone, 1e-5);
    for (int i = 0; i < N; i++)
        for (int64_t end = seq[i] + 1; end <= seq[i + 1]; end++) {
            const tdm_tower_input part = {.n = 1, .token = token, .seq = (int64_t[]){seq[i], end}};
            CHECK_OK(
                tdm_model_embed(s.model, TDM_TEXT, &part, &(tdm_pass){0}, &(tdm_tower_output){cut, NULL}));
            CHECK_CLOSE_ARRAY(E, tokens + (end - 1) * E, cut, 1e-5);
        }
    tear_down(&s);
}

static void test_text_tokens(void **state)
{
    (void)state;
    check_text_tokens(0);
    check_text_tokens(LEARNED);
}

static const tdm_pass training = {.train = true, .seed = 3, .step = 4};

/* Rows of the same name and shape. */
static void copy_weights(const setup *from, setup *to)
{
    for (int64_t i = 0; i < from->params.count; i++) {
        const tdm_param *row = &from->params.row[i], *same = tdm_params_find(&to->params, row->name);
        if (same)
            memcpy(to->params.weight + same->offset, from->params.weight + row->offset,
                   sizeof(float) * (size_t)row->size);
    }
    CHECK_OK(tdm_model_load(to->model));
}

/* A context that is two words' embeddings gives what the words in front of every caption give, the same bits with the
 * same dropout; and of the dense tokens those of the caption. */
static void test_words_as_context(void **state)
{
    (void)state;
    static const int32_t words[LEARNED] = {3, 11};
    setup with, without;
    set_up(&with, "none", LEARNED);
    set_up(&without, "none", 0);
    for (int i = 0; i < LEARNED; i++)
        memcpy((float *)row_of(&with, TDM_CONTEXT_ROW, 0) + i * W,
               row_of(&with, "token_embedding.weight", 0) + words[i] * W, sizeof(float) * W);
    copy_weights(&with, &without);
    int32_t longer[MOST];
    int64_t longer_seq[N + 1] = {0}, own[MOST], rows = 0;
    for (int i = 0; i < N; i++) {
        int64_t at = longer_seq[i];
        for (int64_t k = seq[i]; k < seq[i + 1]; k++) {
            own[rows++] = at;
            longer[at++] = token[k];
            for (int j = 0; k == seq[i] && j < LEARNED; j++) longer[at++] = words[j];
        }
        longer_seq[i + 1] = at;
    }
    const tdm_tower_input input = input_of(TDM_TEXT);
    const tdm_tower_input spelled = {.n = N, .token = longer, .seq = longer_seq, .sample = samples};
    float pooled[2][N * E], tokens[2][MOST * E];
    for (int train = 0; train < 2; train++) {
        const tdm_pass pass = train ? training : (tdm_pass){0};
        CHECK_OK(tdm_model_embed(with.model, TDM_TEXT, &input, &pass, &(tdm_tower_output){pooled[0], NULL}));
        CHECK_OK(
            tdm_model_embed(without.model, TDM_TEXT, &spelled, &pass, &(tdm_tower_output){pooled[1], NULL}));
        CHECK_MEM_EQ(pooled[0], pooled[1], sizeof pooled[0]);
        CHECK_OK(
            tdm_model_embed(with.model, TDM_TEXT, &input, &pass, &(tdm_tower_output){pooled[0], tokens[0]}));
        CHECK_OK(tdm_model_embed(without.model, TDM_TEXT, &spelled, &pass,
                                 &(tdm_tower_output){pooled[1], tokens[1]}));
        CHECK_CLOSE_ARRAY(N * E, pooled[0], pooled[1], 1e-6);
        for (int64_t i = 0; i < rows; i++)
            CHECK_CLOSE_ARRAY(E, tokens[0] + i * E, tokens[1] + own[i] * E, 1e-6);
    }
    tear_down(&with);
    tear_down(&without);
}

/* Captions have the places that the context leaves. */
static void test_too_long(void **state)
{
    (void)state;
    setup s;
    set_up(&s, "none", LEARNED);
    float pooled[E];
    const int32_t many[CONTEXT + 1] = {0};
    const tdm_tower_input input = {.n = 1, .token = many, .seq = (int64_t[]){0, CONTEXT + 1}};
    CHECK_FAILS(
        tdm_model_embed(s.model, TDM_TEXT, &input, &(tdm_pass){0}, &(tdm_tower_output){pooled, NULL}),
        TDM_E_SHAPE,
        "caption 0 of the batch has 8 tokens; model.text.context_length is 9, model.text.context_tokens among");
    s.config.model.text.context_tokens = CONTEXT + 1;
    CHECK_FAILS(tdm_model_check(&s.config), TDM_E_CONFIG,
                "model.text.context_tokens = 8 leaves no room for captions in model.text.context_length = 9");
    tear_down(&s);
}

static void test_resnet_has_none(void **state)
{
    (void)state;
    setup s = {0};
    CHECK_OK(tdm_config_init(&s.config));
    static const char *const assignments[] = {"model.image.tower=resnet", "model.image.height_px=32",
                                              "model.image.width_px=32",  "model.image.width=8",
                                              "model.image.heads=4",      "model.text.layers=1",
                                              "model.text.width=8",       "model.text.heads=2",
                                              "model.text.vocab_size=20", "model.text.context_length=7"};
    for (size_t i = 0; i < sizeof assignments / sizeof assignments[0]; i++)
        CHECK_OK(tdm_config_set(&s.config, assignments[i]));
    CHECK_OK(tdm_ops_create(TDM_F32, 1, &s.ops));
    CHECK_OK(tdm_model_create(&s.config, s.ops, false, 1, &s.params, &s.model));
    CHECK_FALSE(tdm_model_has_tokens(s.model, TDM_IMAGE));
    const tdm_tower_input input = {.n = 1, .image = image};
    CHECK_EQ(tdm_model_token_rows(s.model, TDM_IMAGE, &input, &(tdm_pass){0}), 0);
    float x[1];
    CHECK_FAILS(tdm_model_embed(s.model, TDM_IMAGE, &input, &(tdm_pass){0}, &(tdm_tower_output){x, x}),
                TDM_E_CONFIG, "model.image.tower = \"resnet\" gives no dense tokens");
    tear_down(&s);
}

/* ---- Gradients ---- */

/* A random linear functional of pooled features and tokens. */
typedef struct functional {
    float pooled[N * E], tokens[MOST * E];
} functional;

static double value_of(setup *s, tdm_modality modality, const functional *f)
{
    const tdm_tower_input input = input_of(modality);
    const int64_t rows = tdm_model_token_rows(s->model, modality, &input, &(tdm_pass){0});
    float pooled[N * E], tokens[MOST * E];
    CHECK_OK(tdm_model_embed(s->model, modality, &input, &training, &(tdm_tower_output){pooled, tokens}));
    double value = 0;
    for (int i = 0; i < N * E; i++) value += (double)f->pooled[i] * pooled[i];
    for (int64_t i = 0; i < rows * E; i++) value += (double)f->tokens[i] * tokens[i];
    return value;
}

static void gradients(setup *s, tdm_modality modality, const functional *f, bool with_tokens)
{
    const tdm_tower_input input = input_of(modality);
    float pooled[N * E], tokens[MOST * E];
    tdm_model_clear_gradients(s->model, (tdm_span){0, s->params.total});
    CHECK_OK(tdm_model_forward(s->model, modality, &input, &training, &(tdm_tower_output){pooled, tokens}));
    functional copy = *f;
    const tdm_tower_output gradient = {copy.pooled, with_tokens ? copy.tokens : NULL};
    CHECK_OK(tdm_model_backward(s->model, modality, &gradient, NULL, NULL));
}

/* Differences of f32 values over 2e-2 are off by some 1e-7 / 2e-2 of the value, and by the third derivative. */
static void check_differences(setup *s, tdm_modality modality, const functional *f)
{
    const float step = 1e-2f;
    gradients(s, modality, f, true);
    for (int64_t i = 0; i < s->params.count; i++) {
        const tdm_param *row = &s->params.row[i];
        if (row->tower != (int)modality) continue;
        double largest = 0;
        for (int64_t k = 0; k < row->size; k++)
            largest = fmax(largest, fabs((double)s->params.grad[row->offset + k]));
        for (int64_t k = 0; k < row->size; k += tdm_max_i64(row->size / 5, 1)) {
            float *w = &s->params.weight[row->offset + k], before = *w;
            double side[2];
            for (int sign = 0; sign < 2; sign++) {
                *w = before + (sign ? step : -step);
                CHECK_OK(tdm_model_load(s->model));
                side[sign] = value_of(s, modality, f);
            }
            *w = before;
            const double difference = (side[1] - side[0]) / (2 * (double)step);
            const double error = fabs(difference - (double)s->params.grad[row->offset + k]);
            if (error > 0.02 * largest + 2e-3)
                fail_msg("%s [%lld]: %g by differences, gradient %g", row->name, (long long)k, difference,
                         (double)s->params.grad[row->offset + k]);
        }
        CHECK_OK(tdm_model_load(s->model));
    }
}

static void random_functional(functional *f)
{
    tdm_rng rng = tdm_rng_at(8, 0, 0, TDM_RNG_TEST);
    for (int i = 0; i < N * E; i++) f->pooled[i] = (float)tdm_rng_normal(&rng);
    for (int i = 0; i < MOST * E; i++) f->tokens[i] = (float)tdm_rng_normal(&rng);
}

static void test_gradients(void **state)
{
    (void)state;
    setup s;
    functional f;
    set_up(&s, "none", 0);
    random_functional(&f);
    check_differences(&s, TDM_IMAGE, &f);
    check_differences(&s, TDM_TEXT, &f);
    tear_down(&s);
    set_up(&s, "none", LEARNED);
    check_differences(&s, TDM_TEXT, &f);
    tear_down(&s);
}

/* Where the gradients of a tower lie: its rows stand behind each other. */
static tdm_span tower_span(const tdm_params *params, int tower)
{
    tdm_span span = {-1, -1};
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        if (row->tower != tower) continue;
        if (span.begin < 0) span.begin = row->offset;
        span.end = row->offset + row->size;
    }
    CHECK_TRUE(span.begin >= 0);
    return span;
}

/* Blocks made again give the same bits; without a gradient of the tokens it is that of the pooled features alone,
 * which the picked rows give, too. */
static void check_other_ways(int64_t learned)
{
    setup kept, again;
    functional f;
    set_up(&kept, "none", learned);
    set_up(&again, "block", learned);
    random_functional(&f);
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const tdm_span tower = tower_span(&kept.params, m);
        const int64_t size = tower.end - tower.begin;
        gradients(&kept, (tdm_modality)m, &f, true);
        gradients(&again, (tdm_modality)m, &f, true);
        CHECK_MEM_EQ(again.params.grad + tower.begin, kept.params.grad + tower.begin,
                     sizeof(float) * (size_t)size);
        gradients(&kept, (tdm_modality)m, &f, false);
        const tdm_tower_input input = input_of((tdm_modality)m);
        float pooled[N * E];
        tdm_model_clear_gradients(again.model, (tdm_span){0, again.params.total});
        CHECK_OK(tdm_model_forward(again.model, (tdm_modality)m, &input, &training,
                                   &(tdm_tower_output){pooled, NULL}));
        CHECK_OK(tdm_model_backward(again.model, (tdm_modality)m, &(tdm_tower_output){f.pooled, NULL}, NULL,
                                    NULL));
        CHECK_CLOSE_ARRAY(size, again.params.grad + tower.begin, kept.params.grad + tower.begin, 1e-4);
    }
    tear_down(&kept);
    tear_down(&again);
}

static void test_other_ways(void **state)
{
    (void)state;
    check_other_ways(0);
    check_other_ways(LEARNED);
}

int main(void)
{
    if (tdm_model_register() != TDM_OK) return 1;
    tdm_rng rng = tdm_rng_at(1, 0, 0, TDM_RNG_TEST);
    for (size_t i = 0; i < sizeof image; i++) image[i] = (uint8_t)tdm_rng_u32(&rng);
    for (int64_t i = 0; i < seq[N]; i++) token[i] = (int32_t)tdm_rng_below(&rng, VOCAB);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_tokens),    cmocka_unit_test(test_text_tokens),
        cmocka_unit_test(test_resnet_has_none), cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_other_ways),      cmocka_unit_test(test_words_as_context),
        cmocka_unit_test(test_too_long),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_config_unregister_all();
    return failed;
}
