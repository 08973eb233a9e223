/* Schedules, clipping, decay groups, frozen rows, non-finite gradients. */
#include "check.h"
#include "optim_update.h"
#include "tandem/loss.h"
#include "tandem/optim.h"

#include <math.h>
#include <string.h>

/* The rate of update number `step` (from 0) of 104. */
static double rate_at(const tdm_config *config, int64_t step)
{
    tdm_optim optim;
    CHECK_OK(tdm_optim_create_part(config, NULL, 0, &optim));
    const double rate = tdm_learning_rate(&optim, config, (double)step, 104);
    double same;
    CHECK_OK(tdm_learning_rate_of(config, (double)step, 104, &same));
    CHECK_EQ(rate, same);
    tdm_optim_destroy(&optim);
    return rate;
}

static void test_schedule(void **state)
{
    (void)state;
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    config.optim.lr = 1.0;
    config.optim.warmup_steps = 4;
    config.optim.min_lr_ratio = 0.1;
    CHECK_OK(tdm_config_set(&config, "optim.schedule=cosine"));
    CHECK_NEAR(rate_at(&config, 0), 0.25, 1e-12);
    CHECK_NEAR(rate_at(&config, 3), 1.0, 1e-12);
    CHECK_NEAR(rate_at(&config, 4), 1.0, 1e-12);
    CHECK_NEAR(rate_at(&config, 54), 0.55, 1e-12); /* half way */
    CHECK_NEAR(rate_at(&config, 104), 0.1, 1e-12);
    CHECK_OK(tdm_config_set(&config, "optim.schedule=linear"));
    CHECK_NEAR(rate_at(&config, 29), 0.775, 1e-12);
    CHECK_OK(tdm_config_set(&config, "optim.schedule=constant"));
    CHECK_NEAR(rate_at(&config, 103), 1.0, 1e-12);
    CHECK_FAILS(tdm_config_set(&config, "optim.schedule=cosin"), TDM_E_CONFIG, "did you mean \"cosine\"?");
    tdm_config_destroy(&config);
}

/* TBPS-CLIP's released scheduler with 10 steps an epoch, 5 epochs: linspace(1e-6, 1e-4, 10), then the cosine to 5e-6,
 * which it never quite reaches. By the formula in double: 1e-15 is far below the digits given. */
static void test_schedule_of_tbps_clip(void **state)
{
    (void)state;
    static const struct {
        int64_t step;
        double rate;
    } want[] = {{0, 1e-6}, {1, 1.2e-5}, {9, 1e-4}, {10, 1e-4}, {30, 5.25e-5}, {49, 5.1464266e-6}};
    tdm_config config;
    tdm_optim optim;
    CHECK_OK(tdm_config_init(&config));
    CHECK_OK(tdm_config_load_text(&config, "test",
                                  "optim: { lr = 1e-4; warmup_epochs = 1.0; warmup_start_ratio = 0.01; "
                                  "min_lr_ratio = 0.05; schedule = \"cosine\"; }; train: { epochs = 5; };"));
    CHECK_OK(tdm_config_check(&config));
    CHECK_OK(tdm_optim_create_part(&config, NULL, 0, &optim));
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        CHECK_NEAR(tdm_learning_rate(&optim, &config, (double)want[i].step, 50), want[i].rate, 1e-13);
    config.optim.warmup_epochs = 0.0; /* the same in steps */
    config.optim.warmup_steps = 10;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        CHECK_NEAR(tdm_learning_rate(&optim, &config, (double)want[i].step, 50), want[i].rate, 1e-13);
    config.optim.warmup_steps = 1; /* linspace of one value is its first */
    CHECK_NEAR(tdm_learning_rate(&optim, &config, 0.0, 50), 1e-6, 1e-18);
    CHECK_NEAR(tdm_learning_rate(&optim, &config, 1.0, 50), 1e-4, 1e-18);
    /* between two steps, where a resumed run can stand, it neither falls nor goes beyond the peak */
    config.optim.warmup_steps = 10;
    double last = 0.0;
    for (double at = 0.0; at < 10.0; at += 0.25) {
        const double rate = tdm_learning_rate(&optim, &config, at, 50);
        CHECK_TRUE(rate >= last && rate <= 1e-4 * (1.0 + 1e-12));
        last = rate;
    }
    tdm_optim_destroy(&optim);
    tdm_config_destroy(&config);
}

/* The last 2 of 10 steps; with the rest of them in half as many, the last one of 5; a share of less than half a step is
 * none. */
static void test_end_of_the_schedule(void **state)
{
    (void)state;
    const tdm_clock clock = {.rate = 1.0, .end = 10.0};
    for (int64_t step = 0; step < 10; step++) {
        CHECK_EQ(tdm_clock_ends(&clock, step, 0.2), step >= 8);
        CHECK_EQ(tdm_clock_ends(&clock, step, 1.0), true);
        CHECK_EQ(tdm_clock_ends(&clock, step, 0.04), false);
        CHECK_EQ(tdm_clock_ends(&clock, step, 0.0), false);
    }
    const tdm_clock faster = {.rate = 2.0, .end = 10.0 - 1e-9};
    for (int64_t step = 0; step < 5; step++) CHECK_EQ(tdm_clock_ends(&faster, step, 0.2), step >= 4);
    const tdm_clock slower = {.step = 4, .at = 4.0, .rate = 6.0 / 13.0, .end = 10.0};
    for (int64_t step = 4; step < 17; step++) {
        CHECK_EQ(tdm_clock_ends(&slower, step, 0.0), false);
        CHECK_EQ(tdm_clock_ends(&slower, step, 0.3), step >= 11);
    }
    CHECK_EQ(tdm_clock_ends(&(tdm_clock){.rate = 1.0}, 3, 0.5), false); /* without an end */
}

static void test_warmup_that_cannot_be(void **state)
{
    (void)state;
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    CHECK_OK(tdm_config_set(&config, "optim.warmup_start_ratio=-0.5"));
    CHECK_FAILS(tdm_config_check(&config), TDM_E_CONFIG, "optim.warmup_start_ratio is -0.5");
    CHECK_OK(tdm_config_set(&config, "optim.warmup_start_ratio=0"));
    CHECK_OK(tdm_config_check(&config));
    CHECK_OK(tdm_config_set(&config, "optim.warmup_epochs=33"));
    CHECK_FAILS(tdm_config_check(&config), TDM_E_CONFIG, "more than train.epochs = 32");
    CHECK_OK(tdm_config_set(&config, "optim.warmup_epochs=1"));
    CHECK_OK(tdm_config_set(&config, "train.steps=100"));
    CHECK_FAILS(tdm_config_check(&config), TDM_E_CONFIG, "give optim.warmup_steps instead");
    tdm_config_destroy(&config);
}

typedef struct setup {
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_optim optim;
} setup;

static void set_up(setup *s)
{
    memset(s, 0, sizeof(*s));
    CHECK_OK(tdm_config_init(&s->config));
    CHECK_OK(tdm_ops_create(TDM_F32, 1, &s->ops));
    CHECK_OK(tdm_params_add(&s->params, "matrix", 2, (int64_t[]){3, 5}, TDM_INIT_CONSTANT, 1.0, true, NULL));
    CHECK_OK(tdm_params_add(&s->params, "bias", 1, (int64_t[]){7}, TDM_INIT_CONSTANT, 1.0, false, NULL));
    CHECK_OK(tdm_params_add(&s->params, "frozen", 1, (int64_t[]){2}, TDM_INIT_CONSTANT, 1.0, true, NULL));
    s->params.row[2].lr_scale = 0.0;
    CHECK_OK(tdm_params_add_buffer(&s->params, "buffer", 1, (int64_t[]){2}, TDM_INIT_ONE, 0, NULL));
    s->params.row[3].lr_scale = 2.0; /* has no meaning for a buffer */
    CHECK_OK(tdm_params_allocate(&s->params, true));
    tdm_params_init(&s->params, 1);
    CHECK_OK(tdm_optim_create(&s->config, &s->params, &s->optim));
}

static void tear_down(setup *s)
{
    tdm_optim_destroy(&s->optim);
    tdm_params_destroy(&s->params);
    tdm_ops_destroy(&s->ops);
    tdm_config_destroy(&s->config);
}

/* A first AdamW step moves each weight by lr·sign(g) (eps apart), whatever the clipping; decay acts on
 * matrices only; a frozen row has no share in the norm. */
static void test_update(void **state)
{
    (void)state;
    setup s;
    set_up(&s);
    s.config.optim.weight_decay = 0.5;
    CHECK_OK(tdm_config_set(&s.config, "optim.eps=1e-12"));
    s.config.optim.clip_norm = 0.25;
    double squares = 0.0, norm;
    for (int64_t p = 0; p < s.params.count; p++)
        for (int64_t i = 0; i < s.params.row[p].size; i++) {
            const float g = i % 2 ? -2.0f : 3.0f;
            s.params.grad[s.params.row[p].offset + i] = g;
            if (tdm_param_trained(&s.params.row[p])) squares += (double)g * g;
        }
    CHECK_OK(optim_update(&s.optim, &s.config, s.ops, &s.params, 0.01, &norm));
    CHECK_NEAR(norm, sqrt(squares), 1e-6);
    for (int i = 0; i < 7; i++) {
        const float move = i % 2 ? 0.01f : -0.01f;
        CHECK_NEAR(s.params.weight[s.params.row[0].offset + i], 1.0f - 0.01f * 0.5f + move, 1e-6);
        CHECK_NEAR(s.params.weight[s.params.row[1].offset + i], 1.0f + move, 1e-6);
        /* the first moment holds the clipped gradient */
        CHECK_NEAR(s.optim.moment[0][i], 0.1f * (i % 2 ? -2.0f : 3.0f) * 0.25f / (float)sqrt(squares), 1e-6);
    }
    CHECK_NEAR(s.params.weight[s.params.row[2].offset], 1.0f, 0.0);
    CHECK_NEAR(s.params.weight[s.params.row[3].offset], 1.0f, 0.0);
    CHECK_NEAR(s.optim.moment[0][s.params.row[3].offset], 0.0f, 0.0);
    tear_down(&s);
}

/* torch.optim.Adam, lr 1e-4, betas (0.5, 0.999), eps 1e-8, in f64 from 0: four steps with gradients 0.1 (k + 1),
 * -0.02 k and 1e-6 (k - 1.5). Plain Adam is adamw without decay; a few roundings of f32 lie between. */
static void test_adam_of_torch(void **state)
{
    (void)state;
    static const double want[] = {-4.370144045e-04, 3.259631287e-04, 1.126484187e-04};
    setup s;
    double norm;
    set_up(&s);
    CHECK_OK(tdm_config_set(&s.config, "optim.weight_decay=0"));
    CHECK_OK(tdm_config_set(&s.config, "optim.beta1=0.5"));
    CHECK_OK(tdm_config_set(&s.config, "optim.beta2=0.999"));
    CHECK_OK(tdm_config_set(&s.config, "optim.eps=1e-8"));
    float *w = s.params.weight + s.params.row[0].offset, *g = s.params.grad + s.params.row[0].offset;
    memset(w, 0, 3 * sizeof *w);
    for (int k = 0; k < 4; k++) {
        g[0] = 0.1f * (float)(k + 1);
        g[1] = -0.02f * (float)k;
        g[2] = 1e-6f * ((float)k - 1.5f);
        CHECK_OK(optim_update(&s.optim, &s.config, s.ops, &s.params, 1e-4, &norm));
    }
    for (int i = 0; i < 3; i++) CHECK_NEAR(w[i], want[i], 2e-6 * fabs(want[i]));
    tear_down(&s);
}

static void test_not_finite(void **state)
{
    (void)state;
    setup s;
    set_up(&s);
    s.params.grad[3] = NAN;
    double norm;
    CHECK_FAILS(optim_update(&s.optim, &s.config, s.ops, &s.params, 0.01, &norm), TDM_E_NUMERIC, "");
    CHECK_NEAR(s.params.weight[0], 1.0f, 0.0);
    CHECK_EQ(s.optim.step, 0);
    tear_down(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_schedule_of_tbps_clip),
        cmocka_unit_test(test_end_of_the_schedule),
        cmocka_unit_test(test_warmup_that_cannot_be),
        cmocka_unit_test(test_update),
        cmocka_unit_test(test_adam_of_torch),
        cmocka_unit_test(test_not_finite),
    };
    if (tdm_optim_register() != TDM_OK) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
