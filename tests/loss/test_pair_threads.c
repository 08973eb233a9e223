/* Objectives whose rows threads share: the value and the gradients of one thread and of several. */
#include <string.h>

#include "check.h"
#include "tandem/base.h"
#include "tandem/loss.h"
#include "tandem/rng.h"

/* Pairs enough for five threads (pairs.c: WORTH_A_THREAD); rows, not a multiple of them */
enum { B = 301, D = 6, CLASSES = 7, THREADS = 3 };

typedef struct outcome {
    double term[TDM_LOSS_MAX_TERMS];
    float d[TDM_VIEWS][B * D];
} outcome;

static void scatter(void *context, tdm_modality rows, int64_t width, const float *from, float *to)
{
    (void)context, (void)rows;
    memcpy(to, from, sizeof(float) * (size_t)(B * width));
}

static void sum(void *context, int64_t count, double *value)
{
    (void)context, (void)count, (void)value;
}

static void fill_rows(int v, float *x)
{
    for (int i = 0; i < B; i++, x += D) {
        tdm_rng shared = tdm_rng_at(1, 2, (uint64_t)(i % CLASSES), TDM_RNG_TEST),
                own = tdm_rng_at(1, 3 + (uint64_t)v, (uint64_t)i, TDM_RNG_TEST);
        double squares = 0;
        for (int k = 0; k < D; k++) {
            x[k] = (float)(0.7 * tdm_rng_normal(&shared) + tdm_rng_normal(&own));
            squares += (double)x[k] * x[k];
        }
        for (int k = 0; k < D; k++) x[k] *= (float)(1 / sqrt(squares));
    }
}

static void step(const char *const setting[2], int threads, outcome *out)
{
    static int64_t sample[B];
    static uint64_t bits[B];
    static float x[TDM_VIEWS][B * D];
    tdm_config config;
    tdm_ops *ops;
    tdm_params params = {0};
    tdm_losses *losses;
    memset(out, 0, sizeof *out);
    CHECK_OK(tdm_config_init(&config));
    for (int i = 0; i < 2; i++) CHECK_OK(tdm_config_set(&config, setting[i]));
    config.train.batch = B;
    CHECK_OK(tdm_ops_create(TDM_F32, threads, &ops));
    const tdm_nn nn = {.ops = ops, .params = &params, .train = true};
    const tdm_loss_setup setup = {.nn = &nn, .d = D, .rows = B, .classes = CLASSES, .vocab_size = 2};
    CHECK_OK(tdm_losses_create(&config, &setup, &losses));
    CHECK_OK(tdm_params_allocate(&params, true));
    const tdm_loss_instance *one = &losses->loss[0];
    const tdm_exchange exchange = {.gather = scatter, .scatter = scatter, .sum = sum};
    double dlogit_scale = 0;
    tdm_loss_call call = {.options = one->options,
                          .state = one->state,
                          .nn = &losses->nn,
                          .weight = 1,
                          .d = D,
                          .total_steps = 1,
                          .exchange = &exchange,
                          .term = out->term,
                          .dlogit_scale = &dlogit_scale};
    for (int i = 0; i < B; i++) sample[i] = i, bits[i] = UINT64_C(1) << (i % CLASSES);
    for (int m = 0; m < TDM_MODALITIES; m++) call.rows[m] = (tdm_loss_rows){B, 0, B, sample, sample, bits, 1};
    for (int v = 0; v < TDM_VIEWS; v++) {
        fill_rows(v, x[v]);
        call.view[v] = (tdm_loss_view){.all = x[v], .dall = out->d[v]};
    }
    CHECK_OK(tdm_scratch_create((size_t)one->type->scratch_bytes(&call), &losses->scratch));
    CHECK_OK(one->type->step(&call));
    tdm_losses_destroy(&losses);
    tdm_params_destroy(&params);
    tdm_ops_destroy(&ops);
    tdm_config_destroy(&config);
}

static void test_threads(void **state)
{
    (void)state;
    static const char *const setting[][2] = {
        {"loss.contrastive.weight=1", "loss.contrastive.margin=1"},
        {"loss.modality_invariant.weight=1", "loss.modality_invariant.positives=class"},
        {"loss.triplet.weight=1", "loss.triplet.mining=all"},
        {"loss.triplet.weight=1", "loss.triplet.mining=semi_hard"},
        {"loss.triplet.weight=1", "loss.triplet.mining=hardest"},
        {"loss.lifted.weight=1", "loss.lifted.definition=sound"},
        {"loss.npairs.weight=1", "loss.npairs.definition=released"},
        {"loss.supcon.weight=1", "loss.supcon.definition=sound"},
    };
    for (size_t i = 0; i < sizeof setting / sizeof setting[0]; i++) {
        static outcome one, several;
        double squares = 0;
        step(setting[i], 1, &one);
        step(setting[i], THREADS, &several);
        CHECK_GT(one.term[0], 0);
        /* the products of oneDNN may sum in another order: cosines to 1e-7, a triplet more or less at its margin */
        CHECK_NEAR(several.term[0], one.term[0], 1e-6 * one.term[0]);
        for (int v = 0; v < TDM_VIEWS; v++)
            for (int k = 0; k < B * D; k++) squares += (double)one.d[v][k] * one.d[v][k];
        CHECK_GT(squares, 0);
        const double typical = sqrt(squares / (2 * B * D));
        for (int v = 0; v < TDM_VIEWS; v++)
            for (int k = 0; k < B * D; k++) CHECK_NEAR(several.d[v][k], one.d[v][k], 1e-4 * typical);
    }
}

int main(void)
{
    if (tdm_loss_register() != TDM_OK) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_config_unregister_all();
    return failed;
}
