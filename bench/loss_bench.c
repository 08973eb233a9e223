/* Seconds of a step of an objective by itself, on one rank and one thread.
 *
 *   loss_bench NAME [rows] [dim] [classes] [repeats] [loss.NAME.KEY=VALUE ...]
 *   defaults:       1024   256   10        5
 *
 * Random unit vectors, each of one class, drawn towards its class. Writes {"seconds": [one per repetition]}. */
#include "tandem/base.h"
#include "tandem/loss.h"
#include "tandem/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_UPS = 1 };

typedef struct bench {
    const tdm_loss *loss;
    int64_t rows, d, classes, words;
    int repeats;
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_losses *losses;
    int64_t *sample, *identity;
    uint64_t *bits;                          /* [rows][words] */
    float *all[TDM_VIEWS], *dall[TDM_VIEWS]; /* [rows][d] */
} bench;

/* ---- One rank's exchange ---- */

static void gather(void *context, tdm_modality rows, int64_t width, const float *local, float *all)
{
    (void)rows;
    memcpy(all, local, sizeof(float) * (size_t)(((const bench *)context)->rows * width));
}

static void scatter(void *context, tdm_modality rows, int64_t width, const float *all, float *local)
{
    gather(context, rows, width, all, local);
}

static void sum(void *context, int64_t count, double *value)
{
    (void)context;
    (void)count;
    (void)value;
}

/* ---- Data ---- */

static void fill_rows(const bench *b, uint64_t stream, float *x)
{
    for (int64_t i = 0; i < b->rows; i++, x += b->d) {
        tdm_rng shared = tdm_rng_at(1, 2, (uint64_t)(i % b->classes), 0),
                own = tdm_rng_at(1, 3 + stream, (uint64_t)i, 0);
        double squares = 0.0;
        for (int64_t k = 0; k < b->d; k++) {
            x[k] = (float)(0.7 * tdm_rng_normal(&shared) + tdm_rng_normal(&own));
            squares += (double)x[k] * x[k];
        }
        for (int64_t k = 0; k < b->d; k++) x[k] *= (float)(1.0 / sqrt(squares));
    }
}

static tdm_status fill(bench *b)
{
    b->words = (b->classes + 63) / 64;
    TDM_TRY(TDM_ALLOC(b->rows, &b->sample));
    TDM_TRY(TDM_ALLOC(b->rows, &b->identity));
    TDM_TRY(TDM_ALLOC(b->rows * b->words, &b->bits));
    for (int64_t i = 0; i < b->rows; i++) {
        const int64_t c = i % b->classes;
        b->sample[i] = b->identity[i] = i;
        b->bits[i * b->words + c / 64] = UINT64_C(1) << (c % 64);
    }
    for (int v = 0; v < TDM_VIEWS; v++) {
        if (!b->losses->needs.view[v]) continue;
        TDM_TRY(TDM_ALLOC(b->rows * b->d, &b->all[v]));
        TDM_TRY(TDM_ALLOC(b->rows * b->d, &b->dall[v]));
        fill_rows(b, (uint64_t)v, b->all[v]);
    }
    return TDM_OK;
}

static tdm_status configure(bench *b, int options, char **option)
{
    char text[160];
    TDM_TRY(tdm_loss_register());
    TDM_TRY(tdm_config_init(&b->config));
    snprintf(text, sizeof(text), "loss.%s.weight=1", b->loss->name);
    TDM_TRY(tdm_config_set(&b->config, text));
    for (int i = 0; i < options; i++) TDM_TRY(tdm_config_set(&b->config, option[i]));
    b->config.train.batch = b->rows;
    return TDM_OK;
}

static tdm_status build(bench *b)
{
    TDM_TRY(tdm_ops_create(TDM_F32, 1, &b->ops));
    const tdm_nn nn = {.ops = b->ops, .params = &b->params, .train = true};
    const tdm_loss_setup setup = {
        .nn = &nn, .d = b->d, .rows = b->rows, .identities = 0, .classes = b->classes, .vocab_size = 2};
    TDM_TRY(tdm_losses_create(&b->config, &setup, &b->losses));
    TDM_TRY(tdm_params_allocate(&b->params, true));
    tdm_params_init(&b->params, 1);
    TDM_TRY(fill(b));
    return tdm_losses_load(b->losses, false);
}

/* ---- Steps ---- */

static tdm_status run(bench *b)
{
    const tdm_exchange exchange = {.context = b, .gather = gather, .scatter = scatter, .sum = sum};
    const tdm_loss_instance *one = &b->losses->loss[0];
    double term[TDM_LOSS_MAX_TERMS] = {0}, dlogit_scale = 0.0;
    tdm_loss_call call = {.options = one->options,
                          .state = one->state,
                          .nn = &b->losses->nn,
                          .weight = 1.0,
                          .d = b->d,
                          .total_steps = 1,
                          .logit_scale = 2.66f,
                          .exchange = &exchange,
                          .term = term,
                          .dlogit_scale = &dlogit_scale};
    for (int m = 0; m < TDM_MODALITIES; m++)
        call.rows[m] = (tdm_loss_rows){b->rows, 0, b->rows, b->sample, b->identity, b->bits, b->words};
    for (int v = 0; v < TDM_VIEWS; v++) call.view[v] = (tdm_loss_view){.all = b->all[v], .dall = b->dall[v]};
    TDM_TRY(tdm_scratch_create(b->loss->scratch_bytes ? (size_t)b->loss->scratch_bytes(&call) : 0,
                               &b->losses->scratch));
    printf(
        "{\"loss\": \"%s\", \"rows\": %lld, \"dim\": %lld, \"classes\": %lld, \"scratch_mib\": %.1f, \"seconds\": [",
        b->loss->name, (long long)b->rows, (long long)b->d, (long long)b->classes,
        (double)b->losses->scratch.capacity_bytes / (1 << 20));
    for (int i = -WARM_UPS; i < b->repeats; i++) {
        const double start_s = tdm_now_s();
        TDM_TRY(b->loss->step(&call));
        if (i >= 0) printf("%s%.4f", i > 0 ? ", " : "", tdm_now_s() - start_s);
    }
    printf("], \"value\": %.6g}\n", term[0] / (b->repeats + WARM_UPS));
    return TDM_OK;
}

static void destroy(bench *b)
{
    tdm_losses_destroy(&b->losses);
    tdm_params_destroy(&b->params);
    tdm_ops_destroy(&b->ops);
    tdm_config_destroy(&b->config);
    tdm_free(b->sample);
    tdm_free(b->identity);
    tdm_free(b->bits);
    for (int v = 0; v < TDM_VIEWS; v++) {
        tdm_free(b->all[v]);
        tdm_free(b->dall[v]);
    }
}

int main(int argc, char **argv)
{
    bench b = {.loss = argc > 1 ? tdm_loss_find(argv[1]) : NULL,
               .rows = argc > 2 ? atoll(argv[2]) : 1024,
               .d = argc > 3 ? atoll(argv[3]) : 256,
               .classes = argc > 4 ? atoll(argv[4]) : 10,
               .repeats = argc > 5 ? atoi(argv[5]) : 5};
    if (!b.loss || b.loss->local) {
        fprintf(
            stderr,
            "usage: loss_bench NAME [rows] [dim] [classes] [repeats] [loss.NAME.KEY=VALUE ...]; NAME is a global objective\n");
        return 2;
    }
    tdm_status status = configure(&b, argc > 6 ? argc - 6 : 0, argv + 6);
    if (status == TDM_OK) status = build(&b);
    if (status == TDM_OK) status = run(&b);
    if (status != TDM_OK) fprintf(stderr, "loss_bench: %s\n", tdm_error_last()->message);
    destroy(&b);
    return status == TDM_OK ? 0 : 1;
}
