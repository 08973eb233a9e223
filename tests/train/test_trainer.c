/* The distributed step against the whole batch computed on one rank: loss, gradients, chunks, dropout (also of
 * patches); and the gradient against finite differences. Runs on 1, 2, 3 and 4 ranks; every rank also computes everything
 * alone as the reference. */
#include "trainer_case.h"

#include <math.h>

enum { B = 10, HEIGHT = 16, WIDTH = 8, EMBED = 16, CONTEXT = 9, VOCAB = 40, TOKENS = B * CONTEXT };

/* The same global batch on every rank. */
typedef struct global_batch {
    uint8_t image[B * HEIGHT * WIDTH * 3];
    int32_t token[TOKENS];
    int64_t seq[B + 1], sample[B], identity[B];
} global_batch;

static void fill_global(global_batch *g)
{
    tdm_rng rng = tdm_rng_at(7, 0, 0, TDM_RNG_TEST);
    for (size_t i = 0; i < sizeof(g->image); i++) g->image[i] = (uint8_t)tdm_rng_u32(&rng);
    g->seq[0] = 0;
    for (int i = 0; i < B; i++) {
        const int64_t length = 2 + tdm_rng_below(&rng, CONTEXT - 1);
        for (int64_t k = 0; k < length; k++) g->token[g->seq[i] + k] = (int32_t)tdm_rng_below(&rng, VOCAB);
        g->seq[i + 1] = g->seq[i] + length;
        g->sample[i] = 100 + 3 * i;
        g->identity[i] = i % 7; /* three identities occur twice */
    }
}

static const char *const *extra; /* assignments, up to NULL */

static void set_up(setup *s, const char *precision, int64_t chunk, double dropout)
{
    static const char *const assignments[] = {"model.embed_dim=16",       "model.image.height_px=16",
                                              "model.image.width_px=8",   "model.image.patch_px=4",
                                              "model.image.width=32",     "model.image.layers=2",
                                              "model.image.heads=2",      "model.text.width=32",
                                              "model.text.layers=2",      "model.text.heads=2",
                                              "model.text.vocab_size=40", "model.text.context_length=9",
                                              "train.batch=10",           "optim.lr=0.01",
                                              "optim.warmup_steps=0",     "optim.schedule=constant",
                                              "train.bucket_mib=1",       NULL};
    set_up_config(s, assignments);
    set_all(s, extra);
    s->config.train.chunk = chunk;
    s->config.model.dropout = dropout;
    s->config.model.image.patch_dropout = 2.0 * dropout;
    s->config.model.text.attention_dropout = dropout;
    set_up_model(s, precision, 1, B);
    set_up_trainer(s);
}

/* This rank's piece of the global batch, in newly allocated arrays. */
static void cut_batch(const global_batch *g, tdm_batch *batch, tdm_text_batch *text)
{
    const int ranks = tdm_comm_size(comm), rank = tdm_comm_rank(comm);
    const int64_t first = tdm_part_begin(B, ranks, rank), n = tdm_part_begin(B, ranks, rank + 1) - first;
    memset(batch, 0, sizeof(*batch));
    batch->n = batch->view[TDM_VIEW_IMAGE_AUG_1].n = batch->view[TDM_VIEW_TEXT_PLAIN].n = n;
    batch->view[TDM_VIEW_IMAGE_AUG_1].image = (uint8_t *)(uintptr_t)(g->image + first * HEIGHT * WIDTH * 3);
    text->token = (int32_t *)(uintptr_t)(g->token + g->seq[first]);
    CHECK_OK(TDM_ALLOC(n + 1, &text->seq));
    for (int64_t i = 0; i <= n; i++) text->seq[i] = g->seq[first + i] - g->seq[first];
    batch->view[TDM_VIEW_TEXT_PLAIN].text = *text;
    batch->sample = (int64_t *)(uintptr_t)(g->sample + first);
    batch->identity = (int64_t *)(uintptr_t)(g->identity + first);
}

/* Loss of the whole batch on this rank alone; with `grad`, its gradient too (in params.grad). */
static double whole_batch(setup *s, const global_batch *g, bool grad)
{
    const tdm_pass mode = {.train = true,
                           .whole_images = s->config.train.unmasked_share == 1.0,
                           .seed = (uint64_t)s->config.seed,
                           .step = (uint64_t)s->optim.step};
    const tdm_tower_input image = {.n = B, .image = g->image, .sample = g->sample};
    const tdm_tower_input text = {.n = B, .token = g->token, .seq = g->seq, .sample = g->sample};
    static float raw[2][B * EMBED], unit[2][B * EMBED], dunit[2][B * EMBED], norm[2][B];
    CHECK_OK(tdm_model_load(s->model));
    if (grad) {
        CHECK_OK(
            tdm_model_forward(s->model, TDM_IMAGE, &image, &mode, &(tdm_tower_output){.pooled = raw[0]}));
        CHECK_OK(tdm_model_forward(s->model, TDM_TEXT, &text, &mode, &(tdm_tower_output){.pooled = raw[1]}));
    } else {
        CHECK_OK(tdm_model_embed(s->model, TDM_IMAGE, &image, &mode, &(tdm_tower_output){.pooled = raw[0]}));
        CHECK_OK(tdm_model_embed(s->model, TDM_TEXT, &text, &mode, &(tdm_tower_output){.pooled = raw[1]}));
    }
    memset(dunit, 0, sizeof(dunit));
    for (int m = 0; m < 2; m++) tdm_l2norm_forward(s->ops, B, EMBED, raw[m], unit[m], norm[m]);
    double value = 0.0, dlogit_scale = 0.0;
    CHECK_OK(infonce_alone(s->ops, &s->config, B, EMBED, *tdm_model_logit_scale(s->model), g->identity,
                           unit[0], unit[1], dunit[0], dunit[1], &dlogit_scale, &value));
    if (grad) {
        memset(s->params.grad, 0, sizeof(float) * (size_t)s->params.total);
        *tdm_model_dlogit_scale(s->model) = (float)dlogit_scale;
        for (int m = 0; m < 2; m++)
            tdm_l2norm_backward(s->ops, B, EMBED, unit[m], norm[m], dunit[m], dunit[m]);
        CHECK_OK(tdm_model_backward(s->model, TDM_TEXT, &(tdm_tower_output){.pooled = dunit[1]}, NULL, NULL));
        CHECK_OK(
            tdm_model_backward(s->model, TDM_IMAGE, &(tdm_tower_output){.pooled = dunit[0]}, NULL, NULL));
    }
    return value;
}

static double difference(int64_t n, const float *a, const float *b)
{
    double worst = 0.0, scale = 0.0;
    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)a[i] - b[i]));
        scale = fmax(scale, fabs((double)b[i]));
    }
    return worst / scale;
}

/* f32: sums of about 1e3 terms in another order, 1e-5 of the largest gradient; bf16: activations have 8 bits
 * and the features that the loss sees differ in their last bit at most, 2 % of the largest gradient. */
static void check_step(const char *precision, int64_t chunk, double dropout, double loss_tolerance,
                       double tolerance)
{
    global_batch g;
    setup s;
    tdm_batch batch;
    tdm_text_batch text;
    fill_global(&g);
    set_up(&s, precision, chunk, dropout);
    cut_batch(&g, &batch, &text);

    const double expected = whole_batch(&s, &g, true);
    float *expected_grad;
    CHECK_OK(TDM_ALLOC(s.params.total, &expected_grad));
    memcpy(expected_grad, s.params.grad, sizeof(float) * (size_t)s.params.total);

    tdm_step_report report;
    CHECK_OK(tdm_trainer_step(s.trainer, &batch, &report));
    const double loss_error = fabs(report.loss - expected) / expected;
    const double grad_error = difference(s.params.total, s.params.grad, expected_grad);
    if (tdm_comm_rank(comm) == 0)
        print_message("%s chunk %d dropout %.1f on %d ranks: loss %.6f, off by %.1e, gradient off by %.1e\n",
                      precision, (int)chunk, dropout, tdm_comm_size(comm), report.loss, loss_error,
                      grad_error);
    CHECK_LE(loss_error, loss_tolerance);
    CHECK_LE(grad_error, tolerance);
    CHECK_GT(report.grad_norm, 0.0);

    /* the update moved the weights, alike on every rank */
    double sum = 0.0;
    for (int64_t i = 0; i < s.params.total; i++) sum += s.params.weight[i];
    uint64_t bits;
    memcpy(&bits, &sum, sizeof(bits));
    CHECK_TRUE(tdm_comm_all_equal_u64(comm, bits));
    tdm_free(expected_grad);
    tdm_free(text.seq);
    tear_down(&s);
}

static void test_f32(void **state)
{
    (void)state;
    check_step("f32", 0, 0.0, 1e-6, 1e-5);
    check_step("f32", 0, 0.2, 1e-6, 1e-5);
}

static void test_chunks(void **state)
{
    (void)state;
    check_step("f32", 1, 0.2, 1e-6, 1e-5);
    check_step("f32", 3, 0.2, 1e-6, 1e-5);
}

static void test_bf16(void **state)
{
    (void)state;
    tdm_dtype dtype;
    if (tdm_ops_resolve_precision("bf16", &dtype) != TDM_OK) SKIP("this CPU has no bf16");
    check_step("bf16", 0, 0.2, 1e-3, 2e-2);
    check_step("bf16", 2, 0.2, 1e-3, 2e-2);
}

/* A run of a few steps, whose weights and moments (where this rank has them) go to `weight` and `m`. */
static void run_steps(const char *const *assignments, float **weight, float **m, double *norm,
                      int64_t *moments)
{
    enum { STEPS = 4 };
    global_batch g;
    setup s;
    tdm_batch batch;
    tdm_text_batch text;
    tdm_step_report report;
    fill_global(&g);
    extra = assignments;
    set_up(&s, "f32", 0, 0.2);
    extra = NULL;
    cut_batch(&g, &batch, &text);
    for (int i = 0; i < STEPS; i++) {
        CHECK_OK(tdm_trainer_step(s.trainer, &batch, &report));
        norm[i] = report.grad_norm;
    }
    CHECK_OK(TDM_ALLOC(s.params.total, weight));
    CHECK_OK(TDM_ALLOC(s.params.total, m));
    memcpy(*weight, s.params.weight, sizeof(float) * (size_t)s.params.total);
    tdm_span piece;
    *moments = 0;
    for (int64_t from = 0, at; tdm_optim_next(&s.optim, &from, s.params.total, &piece, &at);) {
        memcpy(*m + piece.begin, s.optim.moment[0] + at, sizeof(float) * (size_t)(piece.end - piece.begin));
        *moments += piece.end - piece.begin;
    }
    tdm_comm_sum_f32(comm, *m, s.params.total); /* whole: `ranks` times the same */
    tdm_free(text.seq);
    tear_down(&s);
}

/* Sharding the optimiser changes no bit of the weights, the gradient's norm or the moments, with clipping and
 * with frozen rows; each rank has its share of the moments. */
static void check_shard(const char *freeze, int64_t share_of)
{
    const char *const whole[] = {"optim.clip_norm=0.5", freeze, NULL};
    const char *const shard[] = {"optim.clip_norm=0.5", freeze, "optim.shard=true", NULL};
    const int ranks = tdm_comm_size(comm);
    float *weight[2], *m[2];
    double norm[2][4];
    int64_t moments[2];
    run_steps(whole, &weight[0], &m[0], norm[0], &moments[0]);
    run_steps(shard, &weight[1], &m[1], norm[1], &moments[1]);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(norm[0][i], norm[1][i]);
        CHECK_GT(norm[0][i], 0.5);
    }
    CHECK_MEM_EQ(weight[0], weight[1], sizeof(float) * (size_t)moments[0]);
    for (int64_t i = 0; i < moments[0]; i++)
        if (!(fabs(m[0][i] - ranks * (double)m[1][i]) <= 1e-6 * fabs(m[0][i])))
            fail_msg("moment %lld: %g and %d x %g", (long long)i, m[0][i], ranks, m[1][i]);
    CHECK_LE(moments[1], moments[0] / share_of / ranks + 256);
    if (tdm_comm_rank(comm) == 0)
        print_message("%s, %d ranks: %lld of %lld moments here\n", freeze, ranks, (long long)moments[1],
                      (long long)moments[0]);
    for (int i = 0; i < 2; i++) {
        tdm_free(weight[i]);
        tdm_free(m[i]);
    }
}

static void test_shard(void **state)
{
    (void)state;
    check_shard("optim.freeze=[]", 1);
    check_shard("optim.freeze=[\"image\"]", 1);
}

/* Of 100 steps the last 2 see whole images, as if there were no patch dropout. */
static void test_unmasked_share(void **state)
{
    (void)state;
    static const char *const assignments[] = {"train.unmasked_share=0.02", NULL};
    global_batch g;
    setup s;
    tdm_batch batch;
    tdm_text_batch text;
    tdm_step_report report;
    double flop = 0.0;
    fill_global(&g);
    extra = assignments;
    set_up(&s, "f32", 3, 0.2);
    extra = NULL;
    cut_batch(&g, &batch, &text);
    for (int64_t step = 96; step < 100; step++) {
        s.optim.step = step;
        s.config.train.unmasked_share = step < 98 ? 0.0 : 1.0;
        const double expected = whole_batch(&s, &g, false);
        s.config.train.unmasked_share = 0.02;
        CHECK_OK(tdm_trainer_step(s.trainer, &batch, &report));
        CHECK_NEAR(report.loss, expected, 1e-6 * expected);
        if (step == 98)
            CHECK_GT(report.flop, 1.2 * flop);
        else if (step > 96)
            CHECK_EQ(report.flop, flop);
        flop = report.flop;
    }
    tdm_free(text.seq);
    tear_down(&s);
}

/* Directional derivatives: (L(w + h u) - L(w - h u)) / 2h against the gradient along u, for random directions
 * u in each parameter. f32 losses carry about 3e-7 of error, so the quotient carries 3e-7 / h; h = 3e-3 keeps
 * that at 1e-4 and the third-order term small: 1 % of the largest slope is asked for. */
static void test_finite_differences(void **state)
{
    (void)state;
    global_batch g;
    setup s;
    fill_global(&g);
    set_up(&s, "f32", 0, 0.2);
    const double h = 3e-3;
    double worst = 0.0, largest = 0.0;
    const char *where = "";
    whole_batch(&s, &g, true);
    float *saved, *grad, *direction;
    CHECK_OK(TDM_ALLOC(s.params.total, &saved));
    CHECK_OK(TDM_ALLOC(s.params.total, &grad));
    CHECK_OK(TDM_ALLOC(s.params.total, &direction));
    memcpy(saved, s.params.weight, sizeof(float) * (size_t)s.params.total);
    memcpy(grad, s.params.grad, sizeof(float) * (size_t)s.params.total);
    for (int64_t p = 0; p < s.params.count; p++) {
        const tdm_param *row = &s.params.row[p];
        tdm_rng rng = tdm_rng_at(11, 0, (uint64_t)p, TDM_RNG_TEST);
        double length = 0.0, slope = 0.0;
        for (int64_t i = 0; i < row->size; i++) {
            direction[i] = (float)tdm_rng_normal(&rng);
            length += (double)direction[i] * direction[i];
        }
        length = sqrt(length);
        double loss[2];
        for (int side = 0; side < 2; side++) {
            for (int64_t i = 0; i < row->size; i++)
                s.params.weight[row->offset + i] =
                    saved[row->offset + i] + (float)((side ? -h : h) * direction[i] / length);
            loss[side] = whole_batch(&s, &g, false);
        }
        for (int64_t i = 0; i < row->size; i++) slope += grad[row->offset + i] * direction[i] / length;
        memcpy(s.params.weight, saved, sizeof(float) * (size_t)s.params.total);
        const double error = fabs((loss[0] - loss[1]) / (2 * h) - slope);
        largest = fmax(largest, fabs(slope));
        if (error > worst) {
            worst = error;
            where = row->name;
        }
    }
    print_message("finite differences of %lld parameters: worst %.2e (%s), largest slope %.2e\n",
                  (long long)s.params.count, worst, where, largest);
    CHECK_GT(largest, 1e-2);
    CHECK_LE(worst, 1e-2 * largest);
    tdm_free(saved);
    tdm_free(grad);
    tdm_free(direction);
    tear_down(&s);
}

int main(int argc, char **argv)
{
    if (tdm_register_options() != TDM_OK || tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_shard),
        cmocka_unit_test(test_unmasked_share),
        cmocka_unit_test(test_finite_differences),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    tdm_config_unregister_all();
    return failed;
}
