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

static void set_up(setup *s, const char *settings)
{
    memset(s, 0, sizeof *s);
    configure(&s->config, settings);
    CHECK_OK(tdm_ops_create(TDM_F32, 1, &s->ops));
    CHECK_OK(tdm_model_create(&s->config, s->ops, true, N, &s->params, &s->model));
    CHECK_OK(tdm_params_allocate(&s->params, true));
    tdm_params_init(&s->params, 1);
    CHECK_OK(tdm_model_load(s->model));
    const tdm_model_plan plan = {.batch = N, .chunk = 2, .views = {1, 1}, .keep_all = true};
    CHECK_OK(tdm_model_reserve(s->model, &plan));
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
        cmocka_unit_test(test_refused),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_config_unregister_all();
    return failed;
}
