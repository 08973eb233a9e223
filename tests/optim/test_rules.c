/* Every update rule of the table: it goes downhill, does what its formula says, and does the same bits in parts. */
#include "check.h"
#include "optim_update.h"

#include "../../src/optim/optim_impl.h"

#include <math.h>
#include <string.h>

enum { MATRIX = 700, BIAS = 37, ALL = MATRIX + BIAS }; /* elements */

typedef struct run {
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_optim optim;
} run;

static void start(run *r, const tdm_optimizer *rule)
{
    char name[80];
    memset(r, 0, sizeof(*r));
    CHECK_OK(tdm_config_init(&r->config));
    snprintf(name, sizeof(name), "optim.name=%s", rule->name);
    CHECK_OK(tdm_config_set(&r->config, name));
    r->config.optim.clip_norm = 2.0;
    CHECK_OK(tdm_ops_create(TDM_F32, 2, &r->ops));
    CHECK_OK(tdm_params_add(&r->params, "matrix", 2, (int64_t[]){7, 100}, TDM_INIT_ZERO, 0, true, NULL));
    CHECK_OK(tdm_params_add(&r->params, "bias", 1, (int64_t[]){BIAS}, TDM_INIT_ZERO, 0, false, NULL));
    r->params.row[1].lr_scale = 0.5;
    CHECK_OK(tdm_params_allocate(&r->params, true));
    for (int64_t p = 0; p < r->params.count; p++)
        for (int64_t i = 0; i < r->params.row[p].size; i++)
            r->params.weight[r->params.row[p].offset + i] = (float)((7 * i + 3 * p) % 23 - 11) / 10.0f;
    CHECK_OK(tdm_optim_create(&r->config, &r->params, &r->optim));
}

static void finish(run *r)
{
    tdm_optim_destroy(&r->optim);
    tdm_params_destroy(&r->params);
    tdm_ops_destroy(&r->ops);
    tdm_config_destroy(&r->config);
}

/* f = sum a_i (w_i - c_i)^2 / 2, curvatures a from 0.5 to 4: fills the gradient and returns f. */
static double quadratic(const tdm_params *params)
{
    double f = 0.0;
    for (int64_t p = 0; p < params->count; p++)
        for (int64_t i = 0; i < params->row[p].size; i++) {
            const int64_t at = params->row[p].offset + i;
            const double a = 0.5 * (double)(1 + i % 8),
                         away = (double)params->weight[at] - 0.1 * (double)(i % 5);
            params->grad[at] = (float)(a * away);
            f += 0.5 * a * away * away;
        }
    return f;
}

static void test_downhill(const tdm_optimizer *rule)
{
    enum { STEPS = 300 };
    run r;
    double norm, least = INFINITY;
    start(&r, rule);
    r.config.optim.weight_decay = 0.0; /* which would pull to another minimum */
    const double first = quadratic(&r.params);
    for (int step = 0; step < STEPS; step++) {
        CHECK_OK(optim_update(&r.optim, &r.config, r.ops, &r.params, 0.02, &norm));
        const double f = quadratic(&r.params);
        if (!isfinite(f)) fail_msg("%s: step %d: the weights are not finite", rule->name, step);
        least = fmin(least, f);
    }
    if (!(least < 0.01 * first)) fail_msg("%s: from %g to %g only", rule->name, first, least);
    CHECK_EQ(r.optim.step, STEPS);
    finish(&r);
}

/* Both begin each step with the same numbers: a few roundings of f32 lie between, of values up to 1.1. */
static void test_reference(const tdm_optimizer *rule)
{
    enum { STEPS = 8 };
    run r;
    double norm;
    start(&r, rule);
    r.config.optim.weight_decay = 0.3;
    for (int step = 1; step <= STEPS; step++) {
        float w[TDM_OPTIM_MOMENTS + 1][ALL]; /* weights, then moments */
        quadratic(&r.params);
        const tdm_span all = {0, r.params.total};
        norm = sqrt(tdm_optim_squares(r.ops, &r.params, &all, 1));
        for (int64_t p = 0, at = 0; p < r.params.count; at += r.params.row[p++].size) {
            const tdm_param *row = &r.params.row[p];
            const size_t bytes = sizeof(float) * (size_t)row->size;
            update_call call = {.ops = r.ops,
                                .options = r.optim.options,
                                .row = row,
                                .n = row->size,
                                .w = w[0] + at,
                                .g = r.params.grad + row->offset,
                                .grad_scale = fmin(1.0, 2.0 / (norm + 1e-6)),
                                .lr = 0.02 * row->lr_scale,
                                .decay = row->decay ? 0.3 : 0.0,
                                .step = step};
            memcpy(call.w, r.params.weight + row->offset, bytes);
            for (int k = 0; k < r.optim.moments; k++) {
                call.moment[k] = w[k + 1] + at;
                memcpy(call.moment[k], r.optim.moment[k] + row->offset, bytes);
            }
            rule->reference(&call);
        }
        CHECK_OK(optim_update(&r.optim, &r.config, r.ops, &r.params, 0.02, &norm));
        for (int64_t p = 0, at = 0; p < r.params.count; p++)
            for (int64_t i = 0; i < r.params.row[p].size; i++, at++) {
                const int64_t of_arena = r.params.row[p].offset + i;
                CHECK_NEAR(r.params.weight[of_arena], w[0][at], 1e-6);
                for (int k = 0; k < r.optim.moments; k++)
                    CHECK_NEAR(r.optim.moment[k][of_arena], w[k + 1][at], 1e-6);
            }
    }
    finish(&r);
}

/* Two optimisers that hold a part each, cut in the middle of a row, against one that holds all. */
static void test_parts(const tdm_optimizer *rule)
{
    enum { STEPS = 5, CUT = 333 };
    run whole, cut;
    tdm_optim part[2];
    double norm;
    start(&whole, rule);
    start(&cut, rule);
    const tdm_span span[2] = {{0, CUT}, {CUT, cut.params.total}};
    for (int i = 0; i < 2; i++) CHECK_OK(tdm_optim_create_part(&cut.config, &span[i], 1, &part[i]));
    for (int step = 0; step < STEPS; step++) {
        quadratic(&whole.params);
        quadratic(&cut.params);
        CHECK_OK(optim_update(&whole.optim, &whole.config, whole.ops, &whole.params, 0.02, &norm));
        for (int i = 0; i < 2; i++)
            CHECK_OK(tdm_optim_apply(&part[i], &cut.config, cut.ops, &cut.params, 0.02, norm));
    }
    CHECK_MEM_EQ(cut.params.weight, whole.params.weight, sizeof(float) * (size_t)whole.params.total);
    for (int k = 0; k < whole.optim.moments; k++) {
        CHECK_MEM_EQ(part[0].moment[k], whole.optim.moment[k], sizeof(float) * CUT);
        CHECK_MEM_EQ(part[1].moment[k], whole.optim.moment[k] + CUT,
                     sizeof(float) * (size_t)(whole.params.total - CUT));
    }
    for (int i = 0; i < 2; i++) tdm_optim_destroy(&part[i]);
    finish(&whole);
    finish(&cut);
}

static void test_table(void **state)
{
    (void)state;
    size_t count;
    const tdm_optimizer *const *rule = optimizer_table(&count);
    CHECK_TRUE(count > 0);
    for (size_t i = 0; i < count; i++) {
        test_downhill(rule[i]);
        test_reference(rule[i]);
        test_parts(rule[i]);
    }
}

static void test_names(void **state)
{
    (void)state;
    tdm_config config;
    int moments;
    CHECK_OK(tdm_config_init(&config));
    CHECK_FAILS(tdm_config_set(&config, "optim.name=adamv"), TDM_E_CONFIG, "did you mean \"adamw\"?");
    CHECK_OK(tdm_config_set(&config, "optim.name=adamw"));
    CHECK_OK(tdm_optim_moments(&config, &moments));
    CHECK_EQ(moments, 2);
    tdm_config_destroy(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_names)};
    if (tdm_optim_register() != TDM_OK) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
