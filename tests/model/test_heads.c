/* Heads, every row of the table: gradients of all parameters, with dropout, against finite differences; frozen
 * towers below; several forwards that wait; what is refused. And what each computes, against plain sums. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tandem/base.h"
#include "tandem/model.h"
#include "tandem/rng.h"

enum { N = 3, PX = 16, PIXELS = PX * PX * 3, E = 8 };

static const int64_t seq[N + 1] = {0, 4, 11, 13}, samples[N] = {5, 6, 7};
static int32_t token[13];
static uint8_t image[N * PIXELS];
static const tdm_pass training = {.train = true, .seed = 3, .step = 4};

typedef struct setup {
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
} setup;

/* What the heads are called below: a row of the table, or "mlp" with another number of layers. */
static const char *head_name(size_t index)
{
    static const char *const deeper[] = {"mlp 1", "mlp 3"};
    size_t rows = 0;
    while (tdm_model_head_name(rows)) rows++;
    return index < rows ? tdm_model_head_name(index) : index < rows + 2 ? deeper[index - rows] : NULL;
}

static tdm_status set_config(tdm_config *config, const char *name)
{
    static const char *const assignments[] = {
        "model.embed_dim=8",   "model.image.height_px=16", "model.image.width_px=16",
        "model.image.width=8", "model.image.patch_px=8",   "model.image.layers=1",
        "model.image.heads=2", "model.text.width=8",       "model.text.layers=1",
        "model.text.heads=2",  "model.text.vocab_size=20", "model.text.context_length=7",
    };
    char key[64];
    const int type = (int)strcspn(name, " ");
    TDM_TRY(tdm_config_init(config));
    for (size_t i = 0; i < sizeof assignments / sizeof assignments[0]; i++)
        TDM_TRY(tdm_config_set(config, assignments[i]));
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const char *modality = tdm_modality_name((tdm_modality)m);
        snprintf(key, sizeof key, "model.%s.head=%.*s", modality, type, name);
        TDM_TRY(tdm_config_set(config, key));
        if (!name[type]) continue;
        snprintf(key, sizeof key, "model.%s.mlp.layers=%s", modality, name + type + 1);
        TDM_TRY(tdm_config_set(config, key));
        snprintf(key, sizeof key, "model.%s.mlp.hidden=5", modality);
        TDM_TRY(tdm_config_set(config, key));
    }
    return TDM_OK;
}

static void set_up(setup *s, const char *name)
{
    memset(s, 0, sizeof *s);
    CHECK_OK(set_config(&s->config, name));
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
    const tdm_model_plan plan = {.batch = 2 * N, .chunk = N, .views = {1, 1}, .keep_all = true};
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

static void functional(float c[N * E])
{
    tdm_rng rng = tdm_rng_at(8, 0, 0, TDM_RNG_TEST);
    for (int i = 0; i < N * E; i++) c[i] = (float)tdm_rng_normal(&rng);
}

static double value_of(setup *s, tdm_modality modality, const float *c)
{
    const tdm_tower_input input = input_of(modality);
    float y[N * E];
    CHECK_OK(tdm_model_embed(s->model, modality, &input, &training, &(tdm_tower_output){.pooled = y}));
    double value = 0;
    for (int i = 0; i < N * E; i++) value += (double)c[i] * y[i];
    return value;
}

static void forward(setup *s, tdm_modality modality, float *y)
{
    const tdm_tower_input input = input_of(modality);
    CHECK_OK(tdm_model_forward(s->model, modality, &input, &training, &(tdm_tower_output){.pooled = y}));
}

static void backward(setup *s, tdm_modality modality, float *c, tdm_final_from *final_from, void *context)
{
    CHECK_OK(tdm_model_backward(s->model, modality, &(tdm_tower_output){.pooled = c}, final_from, context));
}

/* Half the difference between two steps says how far the first is from a line: a kink of a relu, not a mistake. */
static bool difference(setup *s, tdm_modality modality, const float *c, float *w, double *slope)
{
    const float before = *w, steps[2] = {4e-3f, 8e-3f};
    double slopes[2];
    for (int i = 0; i < 2; i++) {
        double side[2];
        for (int sign = 0; sign < 2; sign++) {
            *w = before + (sign ? steps[i] : -steps[i]);
            CHECK_OK(tdm_model_load(s->model));
            side[sign] = value_of(s, modality, c);
        }
        slopes[i] = (side[1] - side[0]) / (2 * (double)steps[i]);
    }
    *w = before;
    *slope = slopes[0];
    return fabs(slopes[1] - slopes[0]) < 5e-3 + 0.01 * fabs(slopes[0]);
}

static void check_rows(setup *s, tdm_modality modality, const float *c)
{
    int checked = 0, smooth = 0;
    for (int64_t i = 0; i < s->params.count; i++) {
        const tdm_param *row = &s->params.row[i];
        const bool head = strstr(row->name, "_head.") != NULL;
        if (row->tower != (int)modality) continue;
        for (int64_t k = 0; k < row->size; k += head ? 1 : tdm_max_i64(row->size / 3, 1)) {
            double slope;
            checked++;
            if (!difference(s, modality, c, &s->params.weight[row->offset + k], &slope)) continue;
            smooth++;
            if (fabs(slope - (double)s->params.grad[row->offset + k]) > 0.02 * fabs(slope) + 5e-3)
                fail_msg("%s [%lld]: %g by differences, gradient %g", row->name, (long long)k, slope,
                         (double)s->params.grad[row->offset + k]);
        }
    }
    CHECK_OK(tdm_model_load(s->model));
    CHECK_GT(smooth, 0.8 * checked);
}

static void test_gradients(void **state)
{
    (void)state;
    const char *name;
    for (size_t h = 0; (name = head_name(h)) != NULL; h++)
        for (int m = 0; m < TDM_MODALITIES; m++) {
            setup s;
            float c[N * E], y[N * E];
            set_up(&s, name);
            functional(c);
            tdm_model_clear_gradients(s.model, (tdm_span){0, s.params.total});
            forward(&s, (tdm_modality)m, y);
            backward(&s, (tdm_modality)m, c, NULL, NULL);
            check_rows(&s, (tdm_modality)m, c);
            tear_down(&s);
        }
}

/* ---- Frozen towers ---- */
static void note_final(void *context, int64_t begin)
{
    int64_t *last = context;
    CHECK_LT(begin, *last);
    *last = begin;
}

static int64_t first_of(const setup *s, int modality)
{
    int64_t row = 0;
    while (s->params.row[row].tower != modality) row++;
    return s->params.row[row].offset;
}

static void freeze_towers(setup *s)
{
    for (int64_t i = 0; i < s->params.count; i++)
        if (!strstr(s->params.row[i].name, "_head.")) s->params.row[i].lr_scale = 0;
    CHECK_OK(tdm_model_load(s->model));
}

/* The head's gradients are the same bits whether the tower below is trained or not. */
static void test_frozen_tower(void **state)
{
    (void)state;
    const char *name;
    for (size_t h = 0; (name = head_name(h)) != NULL; h++) {
        setup whole, frozen;
        float c[N * E], y[N * E];
        set_up(&whole, name);
        set_up(&frozen, name);
        freeze_towers(&frozen);
        functional(c);
        for (int m = 0; m < TDM_MODALITIES; m++) {
            setup *both[2] = {&whole, &frozen};
            CHECK_TRUE(tdm_model_trains(frozen.model, (tdm_modality)m));
            for (int i = 0; i < 2; i++) {
                int64_t last = both[i]->params.total;
                tdm_model_clear_gradients(both[i]->model, (tdm_span){0, both[i]->params.total});
                forward(both[i], (tdm_modality)m, y);
                backward(both[i], (tdm_modality)m, c, note_final, &last);
                CHECK_EQ(last, first_of(both[i], m));
            }
            for (int64_t r = 0; r < whole.params.count; r++) {
                const tdm_param *row = &whole.params.row[r];
                if (strstr(row->name, "_head.") && row->tower == m)
                    CHECK_MEM_EQ(frozen.params.grad + row->offset, whole.params.grad + row->offset,
                                 sizeof(float) * (size_t)row->size);
            }
        }
        tear_down(&whole);
        tear_down(&frozen);
    }
}

/* Four forwards wait, backwards come in the opposite order: twice the gradient of one. */
static void test_stack(void **state)
{
    (void)state;
    const char *name;
    for (size_t h = 0; (name = head_name(h)) != NULL; h++) {
        setup s, once;
        float c[N * E], y[N * E];
        set_up(&s, name);
        set_up(&once, name);
        functional(c);
        for (int i = 0; i < 4; i++) forward(&s, i % 2 ? TDM_TEXT : TDM_IMAGE, y);
        for (int i = 3; i >= 0; i--) backward(&s, i % 2 ? TDM_TEXT : TDM_IMAGE, c, NULL, NULL);
        for (int m = 0; m < TDM_MODALITIES; m++) {
            forward(&once, (tdm_modality)m, y);
            backward(&once, (tdm_modality)m, c, NULL, NULL);
        }
        for (int64_t i = 0; i < once.params.total; i++) once.params.grad[i] *= 2;
        CHECK_CLOSE_ARRAY(s.params.total, s.params.grad, once.params.grad, 1e-4);
        tear_down(&s);
        tear_down(&once);
    }
}

/* ---- What each computes ---- */
static const float *weight(const setup *s, const char *name)
{
    const tdm_param *row = tdm_params_find(&s->params, name);
    CHECK_NOT_NULL(row);
    return s->params.weight + row->offset;
}

/* The tower's own features: the same rows without a head. */
static void tower_features(const setup *s, float x[N * E])
{
    setup bare;
    set_up(&bare, "none");
    for (int64_t i = 0; i < bare.params.count; i++) {
        const tdm_param *row = &bare.params.row[i];
        memcpy(bare.params.weight + row->offset, weight(s, row->name), sizeof(float) * (size_t)row->size);
    }
    CHECK_OK(tdm_model_load(bare.model));
    const tdm_tower_input input = input_of(TDM_IMAGE);
    CHECK_OK(
        tdm_model_embed(bare.model, TDM_IMAGE, &input, &(tdm_pass){0}, &(tdm_tower_output){.pooled = x}));
    tear_down(&bare);
}

static void test_adapter(void **state)
{
    (void)state;
    setup s;
    float x[N * E], y[N * E], expected[N * E];
    set_up(&s, "adapter");
    tower_features(&s, x);
    const float *w1 = weight(&s, "visual_head.fc1.weight"), *w2 = weight(&s, "visual_head.fc2.weight");
    for (int i = 0; i < N; i++)
        for (int e = 0; e < E; e++) {
            double sum = 0;
            for (int h = 0; h < E / 4; h++) {
                double hidden = 0;
                for (int k = 0; k < E; k++) hidden += (double)w1[h * E + k] * x[i * E + k];
                sum += w2[e * (E / 4) + h] * fmax(hidden, 0);
            }
            expected[i * E + e] = (float)(0.4 * fmax(sum, 0) + 0.6 * x[i * E + e]);
        }
    const tdm_tower_input input = input_of(TDM_IMAGE);
    CHECK_OK(tdm_model_embed(s.model, TDM_IMAGE, &input, &(tdm_pass){0}, &(tdm_tower_output){.pooled = y}));
    CHECK_CLOSE_ARRAY(N * E, y, expected, 1e-5);
    tear_down(&s);
}

static void test_deep_mlp(void **state)
{
    (void)state;
    setup s;
    float x[N * E], y[N * E], expected[N * E];
    set_up(&s, "mlp 3");
    tower_features(&s, x);
    for (int i = 0; i < N; i++) {
        double in[E], out[E];
        for (int k = 0; k < E; k++) in[k] = (double)x[i * E + k];
        for (int layer = 1; layer <= 3; layer++) {
            const int64_t wide = layer == 1 ? E : 5, high = layer == 3 ? E : 5;
            char name[2][64];
            snprintf(name[0], sizeof name[0], "visual_head.fc%d.weight", layer);
            snprintf(name[1], sizeof name[1], "visual_head.fc%d.bias", layer);
            for (int64_t o = 0; o < high; o++) {
                out[o] = (double)weight(&s, name[1])[o];
                for (int64_t k = 0; k < wide; k++)
                    out[o] += (double)weight(&s, name[0])[o * wide + k] * in[k];
                if (layer < 3) out[o] *= 0.5 * (1 + erf(out[o] / sqrt(2.0)));
            }
            memcpy(in, out, sizeof in);
        }
        for (int o = 0; o < E; o++) expected[i * E + o] = (float)out[o];
    }
    const tdm_tower_input input = input_of(TDM_IMAGE);
    CHECK_OK(tdm_model_embed(s.model, TDM_IMAGE, &input, &(tdm_pass){0}, &(tdm_tower_output){.pooled = y}));
    CHECK_CLOSE_ARRAY(N * E, y, expected, 1e-5);
    tear_down(&s);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const broken[][2] = {
        {"model.image.head=adaptr",
         "model.image.head: \"adaptr\" is unknown (did you mean adapter?); known: none"},
        {"model.text.feature_dim=16",
         "model.text.feature_dim = 16 is not model.embed_dim = 8, as an adapter needs"},
        {"model.text.adapter.reduction=3", "model.text.adapter.reduction = 3 does not divide the 8 features"},
        {"model.text.head=none\nmodel.text.feature_dim=9", "model.text.feature_dim = 9 without a head"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        tdm_config config;
        CHECK_OK(set_config(&config, "adapter"));
        char text[256], *rest = text;
        snprintf(text, sizeof text, "%s", broken[i][0]);
        for (char *line; (line = strsep(&rest, "\n")) != NULL;) CHECK_OK(tdm_config_set(&config, line));
        CHECK_FAILS(tdm_model_check(&config), TDM_E_CONFIG, broken[i][1]);
        tdm_config_destroy(&config);
    }
}

int main(void)
{
    if (tdm_model_register() != TDM_OK) return 1;
    tdm_rng rng = tdm_rng_at(1, 0, 0, TDM_RNG_TEST);
    for (size_t i = 0; i < sizeof image; i++) image[i] = (uint8_t)tdm_rng_u32(&rng);
    for (int64_t i = 0; i < seq[N]; i++) token[i] = (int32_t)tdm_rng_below(&rng, 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_frozen_tower), cmocka_unit_test(test_stack),
        cmocka_unit_test(test_adapter),   cmocka_unit_test(test_deep_mlp),     cmocka_unit_test(test_refused),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_config_unregister_all();
    return failed;
}
