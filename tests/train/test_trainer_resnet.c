/* The distributed step of a ModifiedResNet: statistics of the global batch over 1 … 4 ranks against the whole
 * batch on one rank: loss, gradient, running statistics. Chunks with frozen statistics; what is refused. */
#include "trainer_case.h"

#include <math.h>

enum { B = 10, HEIGHT = 64, WIDTH = 32, IMAGE = HEIGHT * WIDTH * 3, EMBED = 16, LENGTH = 5, VOCAB = 40 };

/* The global batch, the same on every rank. */
static uint8_t image[B * IMAGE];
static int32_t token[B * LENGTH];
static int64_t seq[B + 1], sample[B], identity[B];

static void fill_batch(void)
{
    tdm_rng rng = tdm_rng_at(7, 0, 0, TDM_RNG_TEST);
    for (size_t i = 0; i < sizeof(image); i++) image[i] = (uint8_t)tdm_rng_u32(&rng);
    for (int i = 0; i < B * LENGTH; i++) token[i] = (int32_t)tdm_rng_below(&rng, VOCAB);
    for (int i = 0; i <= B; i++) seq[i] = i * LENGTH;
    for (int i = 0; i < B; i++) sample[i] = identity[i] = i;
}

static void set_up(setup *s, const char *precision, const char *batch_stats)
{
    static const char *const assignments[] = {"model.embed_dim=16",
                                              "model.image.tower=resnet",
                                              "model.image.height_px=64",
                                              "model.image.width_px=32",
                                              "model.image.width=8",
                                              "model.image.heads=4",
                                              "model.image.stage_layers=[1, 1, 1, 1]",
                                              "model.text.width=16",
                                              "model.text.layers=1",
                                              "model.text.heads=2",
                                              "model.text.vocab_size=40",
                                              "model.text.context_length=5",
                                              "train.batch=10",
                                              "optim.lr=0.001",
                                              "optim.warmup_steps=0",
                                              "optim.schedule=constant",
                                              "train.bucket_mib=1",
                                              NULL};
    set_up_config(s, assignments);
    char stats[64];
    snprintf(stats, sizeof(stats), "model.image.batch_stats=%s", batch_stats);
    CHECK_OK(tdm_config_set(&s->config, stats));
    CHECK_OK(tdm_config_check(&s->config));
    set_up_model(s, precision, 1, B);
    tdm_params_init(&s->params, 3);
    for (int64_t i = 0; i < s->params.count; i++) { /* CLIP starts bn3 at zero, which hides the blocks */
        const tdm_param *row = &s->params.row[i];
        if (!strstr(row->name, "bn3.weight")) continue;
        for (int64_t k = 0; k < row->size; k++) s->params.weight[row->offset + k] = 0.5f;
    }
    CHECK_OK(tdm_optim_create(&s->config, &s->params, &s->optim));
    CHECK_OK(tdm_model_load(s->model));
}

static tdm_status create_trainer(setup *s, int64_t chunk)
{
    s->config.train.chunk = chunk;
    return tdm_session_start(s);
}

/* The step on this rank alone: loss, params.grad, moved running statistics. */
static double whole_batch(setup *s)
{
    const tdm_pass mode = {.train = true, .seed = (uint64_t)s->config.seed};
    const tdm_tower_input input[2] = {{.n = B, .image = image, .sample = sample},
                                      {.n = B, .token = token, .seq = seq, .sample = sample}};
    static float raw[2][B * EMBED], unit[2][B * EMBED], dunit[2][B * EMBED], norm[2][B];
    memset(dunit, 0, sizeof(dunit));
    for (int m = 0; m < 2; m++) {
        CHECK_OK(tdm_model_forward(s->model, (tdm_modality)m, &input[m], &mode,
                                   &(tdm_tower_output){.pooled = raw[m]}));
        tdm_l2norm_forward(s->ops, B, EMBED, raw[m], unit[m], norm[m]);
    }
    double value = 0.0, dlogit_scale = 0.0;
    CHECK_OK(infonce_alone(s->ops, &s->config, B, EMBED, *tdm_model_logit_scale(s->model), identity, unit[0],
                           unit[1], dunit[0], dunit[1], &dlogit_scale, &value));
    *tdm_model_dlogit_scale(s->model) = (float)dlogit_scale;
    for (int m = 1; m >= 0; m--) {
        tdm_l2norm_backward(s->ops, B, EMBED, unit[m], norm[m], dunit[m], dunit[m]);
        CHECK_OK(tdm_model_backward(s->model, (tdm_modality)m, &(tdm_tower_output){.pooled = dunit[m]}, NULL,
                                    NULL));
    }
    tdm_model_update_statistics(s->model, true);
    return value;
}

static tdm_status step(setup *s, tdm_step_report *report)
{
    const int ranks = tdm_comm_size(comm), rank = tdm_comm_rank(comm);
    const int64_t first = tdm_part_begin(B, ranks, rank);
    tdm_batch batch = {.n = tdm_part_begin(B, ranks, rank + 1) - first};
    batch.view[TDM_VIEW_IMAGE_AUG_1].n = batch.view[TDM_VIEW_TEXT_PLAIN].n = batch.n;
    batch.view[TDM_VIEW_IMAGE_AUG_1].image = image + first * IMAGE;
    batch.view[TDM_VIEW_TEXT_PLAIN].text.token = token + first * LENGTH;
    batch.view[TDM_VIEW_TEXT_PLAIN].text.seq = seq; /* all captions have one length */
    batch.sample = sample + first;
    batch.identity = identity + first;
    return tdm_trainer_step(s->trainer, &batch, report);
}

/* Largest difference over the rows that are (not) buffers, relative to the largest value. */
static double difference(const tdm_params *params, bool buffers, const float *a, const float *b)
{
    double worst = 0.0, scale = 0.0;
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        if (row->buffer != buffers) continue;
        for (int64_t k = row->offset; k < row->offset + row->size; k++) {
            worst = fmax(worst, fabs((double)a[k] - b[k]));
            scale = fmax(scale, fabs((double)b[k]));
        }
    }
    return worst / scale;
}

/* f32: sums of some hundred terms in another order, through some twenty normalisations: 1e-4 of the largest
 * gradient. bf16: the statistics differ in their last f32 bits, which moves single activations by one of
 * their 8 bits: 10 %. Running statistics are means over all pixels. */
static void check_step(const char *precision, const char *batch_stats, int64_t chunk, double tolerance)
{
    setup alone, shared;
    set_up(&alone, precision, batch_stats);
    set_up(&shared, precision, batch_stats);
    const double expected = whole_batch(&alone);
    CHECK_OK(create_trainer(&shared, chunk));
    tdm_step_report report;
    CHECK_OK(step(&shared, &report));
    const double loss_error = fabs(report.loss - expected) / expected;
    const double grad_error = difference(&shared.params, false, shared.params.grad, alone.params.grad);
    const double stats_error = difference(&shared.params, true, shared.params.weight, alone.params.weight);
    if (tdm_comm_rank(comm) == 0)
        print_message("%s %s chunk %d on %d ranks: loss off by %.1e, gradient %.1e, statistics %.1e\n",
                      precision, batch_stats, (int)chunk, tdm_comm_size(comm), loss_error, grad_error,
                      stats_error);
    CHECK_LE(loss_error, tolerance);
    CHECK_LE(grad_error, tolerance);
    CHECK_LE(stats_error, tolerance / 10);
    if (!strcmp(batch_stats, "frozen")) CHECK_EQ(stats_error, 0.0);
    CHECK_OK(step(&shared, &report));
    double sum = 0.0; /* after two steps every rank holds the same weights and statistics */
    for (int64_t i = 0; i < shared.params.total; i++) sum += (double)i * shared.params.weight[i];
    uint64_t bits;
    memcpy(&bits, &sum, sizeof(bits));
    CHECK_TRUE(tdm_comm_all_equal_u64(comm, bits));
    tear_down(&alone);
    tear_down(&shared);
}

static void test_sync(void **state)
{
    (void)state;
    check_step("f32", "sync", 0, 1e-4);
}

static void test_frozen(void **state)
{
    (void)state;
    check_step("f32", "frozen", 0, 1e-4);
    check_step("f32", "frozen", 2, 1e-4);
}

static void test_bf16(void **state)
{
    (void)state;
    tdm_dtype dtype;
    if (tdm_ops_resolve_precision("bf16", &dtype) != TDM_OK) SKIP("this CPU has no bf16");
    check_step("bf16", "sync", 0, 0.1);
    check_step("bf16", "frozen", 2, 5e-2);
}

/* Statistics of the batch need it whole: a smaller chunk is refused, a larger one is not. */
static void test_refused_chunk(void **state)
{
    (void)state;
    setup s;
    set_up(&s, "f32", "sync");
    const int64_t local = (B + tdm_comm_size(comm) - 1) / tdm_comm_size(comm);
    CHECK_FAILS(create_trainer(&s, local - 1), TDM_E_CONFIG, "train.chunk");
    CHECK_MESSAGE("batch_stats");
    tdm_trainer_destroy(&s.trainer);
    CHECK_OK(create_trainer(&s, local));
    tear_down(&s);
}

/* A step that fails moves nothing, the running statistics neither. */
static void test_not_finite(void **state)
{
    (void)state;
    setup s;
    set_up(&s, "f32", "sync");
    CHECK_OK(create_trainer(&s, 0));
    s.params.weight[tdm_params_find(&s.params, "visual.attnpool.c_proj.bias")->offset] = NAN;
    float *before;
    CHECK_OK(TDM_ALLOC(s.params.total, &before));
    memcpy(before, s.params.weight, sizeof(float) * (size_t)s.params.total);
    tdm_step_report report;
    CHECK_FAILS(step(&s, &report), TDM_E_NUMERIC, "");
    CHECK_MEM_EQ(before, s.params.weight, sizeof(float) * (size_t)s.params.total);
    tdm_free(before);
    tear_down(&s);
}

int main(int argc, char **argv)
{
    if (tdm_register_options() != TDM_OK || tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    fill_batch();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sync),          cmocka_unit_test(test_frozen),     cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_refused_chunk), cmocka_unit_test(test_not_finite),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    tdm_config_unregister_all();
    return failed;
}
