/* A tiny CLIP against PyTorch: features, symmetric InfoNCE with hard and soft targets, every gradient, AdamW.
 *
 * The reference (tests/golden/make_clip_golden.py) pads captions to the context length; Tandem packs them, so
 * this is the comparison of padded against packed text too. The image is not square.
 *
 * Tolerances, f32: PyTorch's own f32 differs from its f64 by up to 3e-6 of a tensor's largest value in
 * gradients; ours sums in another order: 2e-5. AdamW's first update is lr·g/(|g| + eps) and magnifies the
 * rounding of small gradients; weights may differ by 5 % of lr (decay alone moves a weight of 1 by 20 % of
 * lr). bf16 keeps 8 bits: directions are compared.
 *
 * The keys' third of attn.in_proj_bias has no influence on a softmax: its exact gradient is zero, what
 * remains is rounding, which AdamW scales up. There only |gradient| and |update| are bounded. */

#include <hdf5.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "golden/context_golden.h"
#include "golden/patches_golden.h"
#include "optim_update.h"
#include "tandem/base.h"
#include "tandem/config.h"
#include "tandem/loss.h"
#include "loss/infonce_alone.h"
#include "tandem/model.h"
#include "tandem/optim.h"

#define F32_FEATURES       1e-5 /* of the largest value of the tensor */
#define F32_GRADIENTS      2e-5
#define F32_WEIGHTS        0.05  /* of lr */
#define F32_LOSSES         2e-5  /* of each of ten losses, relative */
#define BF16_FEATURES      0.999 /* cosine of every row */
#define BF16_GRADIENTS     0.99  /* cosine of every tensor */
#define BF16_LOSSES        0.02  /* of the first loss */
#define DEAD_BIAS_GRADIENT 1e-5  /* of the tensor's largest gradient */

enum { N = 6, EMBED = 16, STEPS = 10 };
static const double lr = 1e-3;

/* ---- The golden file ---- */
static hid_t golden;

/* Whole data set as `type` (native f32, i32 …); caller frees. count must match unless it is negative. */
static void *read_golden(hid_t type, int64_t count, const char *fmt, ...)
{
    char path[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(path, sizeof path, fmt, args);
    va_end(args);
    const hid_t set = H5Dopen2(golden, path, H5P_DEFAULT);
    if (set < 0) fail_msg("golden file has no %s", path);
    const hid_t space = H5Dget_space(set);
    const int64_t have = H5Sget_simple_extent_npoints(space);
    if (count >= 0 && have != count) {
        fail_msg("%s holds %lld values, not %lld", path, (long long)have, (long long)count);
    }
    void *data = malloc((size_t)have * H5Tget_size(type) + 1);
    CHECK_NOT_NULL(data);
    CHECK_GE(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), 0);
    H5Sclose(space);
    H5Dclose(set);
    return data;
}

/* ---- Worst errors ---- */
typedef struct worst {
    double value; /* largest relative error, or 1 - cosine */
    char name[160];
} worst;

static void note(worst *w, double value, const char *name)
{
    if (value > w->value || !isfinite(value)) {
        w->value = value;
        snprintf(w->name, sizeof w->name, "%s", name);
    }
}

static void report(const worst *w, double limit, const char *what, const char *variant)
{
    print_message("%-22s %-28s worst %.2e (limit %.0e) %s\n", variant, what, w->value, limit, w->name);
    if (!(w->value <= limit)) fail_msg("%s: %s: %s is off by %g", variant, what, w->name, w->value);
}

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

/* ---- One model ---- */
typedef struct setup {
    char variant[32];
    const char *activation;
    tdm_dtype dtype;
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
    tdm_tower_input image, text;
    void *inputs[4]; /* owned */
    int64_t *identity;
} setup;

static void set_config(tdm_config *config, const char *activation)
{
    static const char *const assignments[] = {
        "model.embed_dim=16",
        "model.dropout=0.0",
        "model.logit_scale_max=4.6052",
        "model.image.tower=vit",
        "model.image.height_px=24",
        "model.image.width_px=16",
        "model.image.patch_px=8",
        "model.image.width=32",
        "model.image.layers=2",
        "model.image.heads=4",
        "model.image.mlp_ratio=4.0",
        "model.image.mean=[0.48145466, 0.4578275, 0.40821073]",
        "model.image.std=[0.26862954, 0.26130258, 0.27577711]",
        "model.text.tower=text",
        "model.text.context_length=12",
        "model.text.vocab_size=64",
        "model.text.width=24",
        "model.text.layers=2",
        "model.text.heads=3",
        "model.text.mlp_ratio=4.0",
        "optim.name=adamw",
        "optim.lr=1e-3",
        "optim.beta1=0.9",
        "optim.beta2=0.98",
        "optim.eps=1e-6",
        "optim.weight_decay=0.2",
        "optim.clip_norm=1.0",
    };
    CHECK_OK(tdm_config_init(config));
    for (size_t i = 0; i < sizeof assignments / sizeof assignments[0]; i++) {
        CHECK_OK(tdm_config_set(config, assignments[i]));
    }
    char text[64];
    snprintf(text, sizeof text, "model.activation=%s", activation);
    CHECK_OK(tdm_config_set(config, text));
    CHECK_OK(tdm_config_check(config));
}

static void load_weights(setup *s)
{
    for (int64_t i = 0; i < s->params.count; i++) {
        const tdm_param *row = &s->params.row[i];
        if (!strcmp(row->name, TDM_CONTEXT_ROW)) continue; /* not in this file */
        float *value = read_golden(H5T_NATIVE_FLOAT, row->size, "weight/%s", row->name);
        memcpy(s->params.weight + row->offset, value, (size_t)row->size * sizeof *value);
        free(value);
    }
    CHECK_OK(tdm_model_load(s->model));
}

static void create(setup *s, const char *activation, tdm_dtype dtype, int64_t vectors, double patch_dropout)
{
    memset(s, 0, sizeof *s);
    snprintf(s->variant, sizeof s->variant, "%s %s", activation, tdm_dtype_name(dtype));
    s->activation = activation;
    s->dtype = dtype;
    set_config(&s->config, activation);
    s->config.model.text.context_tokens = vectors;
    s->config.model.image.patch_dropout = patch_dropout;
    CHECK_OK(tdm_ops_create(dtype, 1, &s->ops));
    CHECK_OK(tdm_model_create(&s->config, s->ops, true, N, &s->params, &s->model));
    CHECK_OK(tdm_params_allocate(&s->params, true));
    load_weights(s);

    s->inputs[0] = read_golden(H5T_NATIVE_UINT8, (int64_t)N * 24 * 16 * 3, "input/image");
    s->inputs[1] = read_golden(H5T_NATIVE_INT32, -1, "input/token");
    s->inputs[2] = read_golden(H5T_NATIVE_INT64, N + 1, "input/seq");
    s->inputs[3] = read_golden(H5T_NATIVE_INT64, N, "input/identity");
    s->image = (tdm_tower_input){.n = N, .image = s->inputs[0]};
    s->text = (tdm_tower_input){.n = N, .token = s->inputs[1], .seq = s->inputs[2]};
    s->identity = s->inputs[3];
}

static void destroy(setup *s)
{
    for (size_t i = 0; i < sizeof s->inputs / sizeof s->inputs[0]; i++) free(s->inputs[i]);
    tdm_model_destroy(&s->model);
    tdm_params_destroy(&s->params);
    tdm_ops_destroy(&s->ops);
    tdm_config_destroy(&s->config);
}

static const tdm_pass train_mode = {.train = true};

typedef struct step_result {
    double loss;
    float image[N * EMBED], text[N * EMBED]; /* features before normalisation */
} step_result;

/* Whatever stood in the gradients is gone. */
static void clear_gradients(setup *s)
{
    for (int64_t i = 0; i < s->params.count; i++)
        memset(s->params.grad + s->params.row[i].offset, 0x7f, sizeof(float) * (size_t)s->params.row[i].size);
    tdm_model_clear_gradients(s->model, (tdm_span){0, s->params.total});
}

/* Forward, loss, backward into params.grad (cleared first). */
static step_result run_step(setup *s, const char *targets)
{
    step_result r;
    char text[64];
    snprintf(text, sizeof text, "loss.infonce.soft_targets=%s", targets);
    CHECK_OK(tdm_config_set(&s->config, text));
    clear_gradients(s);

    CHECK_OK(tdm_model_forward(s->model, TDM_IMAGE, &s->image, &train_mode,
                               &(tdm_tower_output){.pooled = r.image}));
    CHECK_OK(
        tdm_model_forward(s->model, TDM_TEXT, &s->text, &train_mode, &(tdm_tower_output){.pooled = r.text}));
    float image[N * EMBED], image_norm[N], caption[N * EMBED], caption_norm[N];
    tdm_l2norm_forward(s->ops, N, EMBED, r.image, image, image_norm);
    tdm_l2norm_forward(s->ops, N, EMBED, r.text, caption, caption_norm);

    float dimage[N * EMBED] = {0}, dcaption[N * EMBED] = {0};
    double value = 0.0, dlogit_scale = 0.0;
    CHECK_OK(infonce_alone(s->ops, &s->config, N, EMBED, *tdm_model_logit_scale(s->model), s->identity, image,
                           caption, dimage, dcaption, &dlogit_scale, &value));
    r.loss = value;
    *tdm_model_dlogit_scale(s->model) += (float)dlogit_scale;

    float dfeatures[N * EMBED];
    tdm_l2norm_backward(s->ops, N, EMBED, caption, caption_norm, dcaption, dfeatures);
    CHECK_OK(tdm_model_backward(s->model, TDM_TEXT, &(tdm_tower_output){.pooled = dfeatures}, NULL, NULL));
    tdm_l2norm_backward(s->ops, N, EMBED, image, image_norm, dimage, dfeatures);
    CHECK_OK(tdm_model_backward(s->model, TDM_IMAGE, &(tdm_tower_output){.pooled = dfeatures}, NULL, NULL));
    return r;
}

/* ---- Tests ---- */
static void check_features(const setup *s, const float *image, const float *text)
{
    const float *const got[] = {image, text};
    static const char *const names[] = {"image_features", "text_features"};
    for (int k = 0; k < 2; k++) {
        worst w = {.value = 0};
        float *want = read_golden(H5T_NATIVE_FLOAT, N * EMBED, "%s/%s", s->activation, names[k]);
        if (s->dtype == TDM_F32) {
            note(&w, max_difference(N * EMBED, got[k], want) / max_abs(N * EMBED, want), "");
        } else {
            for (int64_t i = 0; i < N; i++) note(&w, angle(EMBED, got[k] + i * EMBED, want + i * EMBED), "");
        }
        report(&w, s->dtype == TDM_F32 ? F32_FEATURES : 1 - BF16_FEATURES, names[k], s->variant);
        free(want);
    }
}

/* Embedding alone, and captions 3..5 alone, as a slice whose first offset is not 0. */
static void check_embed(setup *s, const step_result *r)
{
    float image[N * EMBED], text[N * EMBED];
    const tdm_pass mode = {.train = false};
    CHECK_OK(tdm_model_embed(s->model, TDM_IMAGE, &s->image, &mode, &(tdm_tower_output){.pooled = image}));
    CHECK_OK(tdm_model_embed(s->model, TDM_TEXT, &s->text, &mode, &(tdm_tower_output){.pooled = text}));
    CHECK_MEM_EQ(image, r->image, sizeof image);
    CHECK_MEM_EQ(text, r->text, sizeof text);

    tdm_tower_input slice = s->text;
    slice.n = 3;
    slice.seq += 3;
    CHECK_OK(tdm_model_embed(s->model, TDM_TEXT, &slice, &mode, &(tdm_tower_output){.pooled = text}));
    worst w = {.value = 0};
    note(&w, max_difference(3 * EMBED, text, r->text + 3 * EMBED) / max_abs(N * EMBED, r->text), "");
    report(&w, F32_FEATURES, "slice of a batch", s->variant);
}

static bool is_key_bias(const tdm_param *row)
{
    return strstr(row->name, "attn.in_proj_bias") != NULL;
}

static void check_gradients(const setup *s, const char *targets)
{
    worst w = {.value = 0}, dead = {.value = 0};
    for (int64_t i = 0; i < s->params.count; i++) {
        const tdm_param *row = &s->params.row[i];
        float *want =
            read_golden(H5T_NATIVE_FLOAT, row->size, "%s/%s/grad/%s", s->activation, targets, row->name);
        float *got = malloc((size_t)row->size * sizeof *got);
        CHECK_NOT_NULL(got);
        memcpy(got, s->params.grad + row->offset, (size_t)row->size * sizeof *got);
        const double largest = max_abs(row->size, want);
        if (is_key_bias(row)) { /* thirds: queries, keys, values */
            const int64_t third = row->size / 3;
            note(&dead, max_abs(third, got + third) / largest, row->name);
            memset(got + third, 0, (size_t)third * sizeof *got);
            memset(want + third, 0, (size_t)third * sizeof *want);
        }
        const double error = s->dtype == TDM_F32 ? max_difference(row->size, got, want) / largest
                                                 : angle(row->size, got, want);
        note(&w, error, row->name);
        free(got);
        free(want);
    }
    char what[48];
    snprintf(what, sizeof what, "%s gradients", targets);
    report(&w, s->dtype == TDM_F32 ? F32_GRADIENTS : 1 - BF16_GRADIENTS, what, s->variant);
    if (s->dtype == TDM_F32) report(&dead, DEAD_BIAS_GRADIENT, "gradients of key biases", s->variant);
}

static void check_gaps(const setup *s)
{
    for (int64_t i = 0; i + 1 < s->params.count; i++) {
        const tdm_param *row = &s->params.row[i];
        for (int64_t at = row->offset + row->size; at < row[1].offset; at++) {
            CHECK_EQ(s->params.weight[at], 0);
            CHECK_EQ(s->params.grad[at], 0);
        }
    }
}

static void check_stepped(const setup *s, const char *targets)
{
    worst w = {.value = 0}, dead = {.value = 0};
    for (int64_t i = 0; i < s->params.count; i++) {
        const tdm_param *row = &s->params.row[i];
        float *want =
            read_golden(H5T_NATIVE_FLOAT, row->size, "%s/%s/stepped/%s", s->activation, targets, row->name);
        const float *got = s->params.weight + row->offset;
        const int64_t third = is_key_bias(row) ? row->size / 3 : 0;
        if (third > 0) {
            note(&dead, max_difference(third, got + third, want + third) / lr, row->name);
            memcpy(want + third, got + third, (size_t)third * sizeof *want);
        }
        note(&w, max_difference(row->size, got, want) / lr, row->name);
        free(want);
    }
    report(&w, F32_WEIGHTS, "one update / lr", s->variant);
    report(&dead, 1.0, "one of key biases / lr", s->variant);
}

/* Ten updates on the batch: the loss before each. */
static void check_training(setup *s, const char *targets, const char *stored)
{
    tdm_optim optim;
    CHECK_OK(tdm_optim_create(&s->config, &s->params, &optim));
    float *losses = read_golden(H5T_NATIVE_FLOAT, STEPS, "%s/%s/losses", s->activation, stored);
    float *grad_norm = read_golden(H5T_NATIVE_FLOAT, 1, "%s/%s/grad_norm", s->activation, stored);
    worst w = {.value = 0}, norms = {.value = 0};
    for (int k = 0; k < STEPS; k++) {
        char name[16];
        snprintf(name, sizeof name, "step %d", k);
        const step_result r = run_step(s, targets);
        const double scale = s->dtype == TDM_F32 ? losses[k] : losses[0];
        note(&w, fabs(r.loss - losses[k]) / scale, name);
        if (k == 0) {
            check_features(s, r.image, r.text);
            check_embed(s, &r);
            check_gradients(s, stored);
            check_gaps(s);
        }
        double norm = 0;
        CHECK_OK(optim_update(&optim, &s->config, s->ops, &s->params, lr, &norm));
        if (k == 0) note(&norms, fabs(norm - *grad_norm) / *grad_norm, "");
        tdm_model_clamp(s->model);
        if (k == 0 && s->dtype == TDM_F32 && strcmp(stored, "hard") == 0) check_stepped(s, stored);
        CHECK_OK(tdm_model_load(s->model));
    }
    report(&norms, s->dtype == TDM_F32 ? F32_GRADIENTS : BF16_LOSSES, "gradient norm", s->variant);
    report(&w, s->dtype == TDM_F32 ? F32_LOSSES : BF16_LOSSES, "ten losses", s->variant);
    free(losses);
    free(grad_norm);
    tdm_optim_destroy(&optim);
}

static void check_model(tdm_dtype dtype)
{
    static const char *const activations[] = {"quickgelu", "gelu"};
    static const char *const targets[][2] = {{"none", "hard"}, {"identity", "soft"}};
    for (size_t a = 0; a < 2; a++) {
        setup s;
        create(&s, activations[a], dtype, 0, 0.0);
        for (size_t t = 0; t < 2; t++) {
            load_weights(&s);
            check_training(&s, targets[t][0], targets[t][1]);
        }
        destroy(&s);
    }
}

/* ---- A learned context: the reference stands in context_golden.h ---- */

/* As the reference cuts them: the end token stays. */
static void cut_captions(setup *s, int32_t *token, int64_t *seq)
{
    const int64_t most = tdm_caption_tokens(&s->config);
    seq[0] = 0;
    for (int64_t i = 0; i < N; i++) {
        const int32_t *from = s->text.token + s->text.seq[i];
        const int64_t have = s->text.seq[i + 1] - s->text.seq[i], length = have < most ? have : most;
        memcpy(token + seq[i], from, sizeof(*token) * (size_t)length);
        seq[i + 1] = seq[i] + length;
        token[seq[i + 1] - 1] = from[have - 1];
    }
}

static void check_row(const setup *s, worst *w, const char *name, const float *want)
{
    const tdm_param *row = tdm_params_find(&s->params, name);
    const float *got = s->params.grad + row->offset;
    note(w,
         s->dtype == TDM_F32 ? max_difference(row->size, got, want) / max_abs(row->size, want)
                             : angle(row->size, got, want),
         name);
}

static void check_rows(const setup *s, worst *w, const float *got, const float *want)
{
    for (int64_t i = 0; i < N * EMBED; i += EMBED)
        note(w,
             s->dtype == TDM_F32 ? max_difference(EMBED, got + i, want + i) / max_abs(N * EMBED, want)
                                 : angle(EMBED, got + i, want + i),
             "");
}

static void check_context(tdm_dtype dtype)
{
    setup s;
    int32_t token[N * 12];
    int64_t seq[N + 1];
    float features[N * EMBED];
    create(&s, "quickgelu", dtype, GOLDEN_VECTORS, 0.0);
    const tdm_param *row = tdm_params_find(&s.params, TDM_CONTEXT_ROW);
    memcpy(s.params.weight + row->offset, golden_context, sizeof golden_context);
    cut_captions(&s, token, seq);
    float *image = read_golden(H5T_NATIVE_FLOAT, N * EMBED, "quickgelu/image_features");
    const tdm_tower_input input = {.n = N, .token = token, .seq = seq};
    clear_gradients(&s);
    CHECK_OK(
        tdm_model_forward(s.model, TDM_TEXT, &input, &train_mode, &(tdm_tower_output){.pooled = features}));
    CHECK_OK(tdm_model_backward(s.model, TDM_TEXT, &(tdm_tower_output){.pooled = image}, NULL, NULL));
    worst values = {.value = 0}, gradients = {.value = 0};
    check_rows(&s, &values, features, golden_features);
    check_row(&s, &gradients, TDM_CONTEXT_ROW, golden_d_context);
    check_row(&s, &gradients, "positional_embedding", golden_d_positional_embedding);
    check_row(&s, &gradients, "token_embedding.weight", golden_d_token_embedding);
    check_row(&s, &gradients, "ln_final.weight", golden_d_ln_final);
    report(&values, dtype == TDM_F32 ? F32_FEATURES : 1 - BF16_FEATURES, "learned context", s.variant);
    report(&gradients, dtype == TDM_F32 ? F32_GRADIENTS : 1 - BF16_GRADIENTS, "learned context: gradients",
           s.variant);
    free(image);
    destroy(&s);
}

/* ---- Patch dropout: the reference stands in patches_golden.h ---- */
static void check_patches(tdm_dtype dtype)
{
    setup s;
    int64_t sample[N], place[N * GOLDEN_KEPT];
    float features[N * EMBED];
    create(&s, "quickgelu", dtype, 0, golden_dropout);
    const tdm_pass pass = {.train = true, .seed = GOLDEN_SEED, .step = golden_step};
    CHECK_EQ(tdm_model_patches(&s.config, &pass), GOLDEN_KEPT);
    for (int64_t i = 0; i < N; i++) {
        sample[i] = GOLDEN_FIRST_SAMPLE + i;
        tdm_patches_draw(&pass, sample[i], 6, GOLDEN_KEPT, place + i * GOLDEN_KEPT);
    }
    CHECK_MEM_EQ(place, golden_place, sizeof place);
    float *text = read_golden(H5T_NATIVE_FLOAT, N * EMBED, "quickgelu/text_features");
    s.image.sample = sample;
    clear_gradients(&s);
    CHECK_OK(tdm_model_forward(s.model, TDM_IMAGE, &s.image, &pass, &(tdm_tower_output){.pooled = features}));
    CHECK_OK(tdm_model_backward(s.model, TDM_IMAGE, &(tdm_tower_output){.pooled = text}, NULL, NULL));
    worst values = {.value = 0}, gradients = {.value = 0};
    check_rows(&s, &values, features, golden_patch_features);
    check_row(&s, &gradients, "visual.class_embedding", golden_patch_d_class_embedding);
    check_row(&s, &gradients, "visual.positional_embedding", golden_patch_d_positional_embedding);
    check_row(&s, &gradients, "visual.conv1.weight", golden_patch_d_conv1);
    check_row(&s, &gradients, "visual.ln_pre.bias", golden_patch_d_ln_pre_bias);
    report(&values, dtype == TDM_F32 ? F32_FEATURES : 1 - BF16_FEATURES, "patch dropout", s.variant);
    report(&gradients, dtype == TDM_F32 ? F32_GRADIENTS : 1 - BF16_GRADIENTS, "patch dropout: gradients",
           s.variant);
    free(text);
    destroy(&s);
}

static herr_t count_link(hid_t group, const char *name, const H5L_info_t *info, void *count)
{
    (void)group, (void)name, (void)info;
    ++*(int64_t *)count;
    return 0;
}

/* Every parameter of the reference is a row here, with the shape's order of dimensions (sizes are checked by
 * load_weights), and the decay flag follows CLIP's rule: matrices only. */
static void test_rows(void **state)
{
    (void)state;
    setup s;
    create(&s, "quickgelu", TDM_F32, 0, 0.0);
    const hid_t group = H5Gopen2(golden, "weight", H5P_DEFAULT);
    int64_t count = 0;
    CHECK_GE(H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, count_link, &count), 0);
    CHECK_EQ(s.params.count, count);
    for (int64_t i = 0; i < s.params.count; i++) {
        const tdm_param *row = &s.params.row[i];
        const hid_t set = H5Dopen2(group, row->name, H5P_DEFAULT);
        const hid_t space = H5Dget_space(set);
        hsize_t shape[8] = {0};
        CHECK_EQ(H5Sget_simple_extent_ndims(space), row->ndim);
        H5Sget_simple_extent_dims(space, shape, NULL);
        for (int k = 0; k < row->ndim; k++) CHECK_EQ(shape[k], row->shape[k]);
        CHECK_EQ(row->decay, row->ndim >= 2);
        H5Sclose(space);
        H5Dclose(set);
    }
    H5Gclose(group);
    destroy(&s);
}

static void test_f32(void **state)
{
    (void)state;
    check_model(TDM_F32);
    check_context(TDM_F32);
    check_patches(TDM_F32);
}

static void test_bf16(void **state)
{
    (void)state;
    tdm_dtype dtype;
    if (tdm_ops_resolve_precision("bf16", &dtype) != TDM_OK) SKIP("this CPU has no bf16");
    check_model(TDM_BF16);
    check_context(TDM_BF16);
    check_patches(TDM_BF16);
}

static int open_golden(void **state)
{
    (void)state;
    const char *source = getenv("TANDEM_SOURCE_DIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/golden/clip_golden.h5", source ? source : ".");
    golden = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    return golden >= 0 && tdm_model_register() == TDM_OK && tdm_optim_register() == TDM_OK &&
                   tdm_loss_register() == TDM_OK
               ? 0
               : -1;
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
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
