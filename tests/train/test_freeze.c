/* Frozen rows: the gradients of the others stay what they were, whichever row is trained; frozen weights keep
 * their bits; nothing is computed, summed or kept below the lowest trained row. On 1, 2 and 4 ranks. */
#include "trainer_case.h"

#include <math.h>

enum { B = 8, IMAGE_BYTES = 64 * 32 * 3 };

static const char *const vit[] = {
    "model.image.height_px=16", "model.image.width_px=8", "model.image.patch_px=8", "model.image.width=32",
    "model.image.layers=3",     "model.image.heads=2",    "model.text.layers=3",    NULL};
static const char *const resnet[] = {"model.image.tower=resnet", "model.image.height_px=64",
                                     "model.image.width_px=32",  "model.image.width=8",
                                     "model.image.heads=4",      "model.image.stage_layers=[1, 1, 2, 1]",
                                     "model.text.layers=1",      NULL};

static void set_up(setup *s, const char *precision, const char *const *image)
{
    static const char *const assignments[] = {"model.embed_dim=16",
                                              "model.text.width=32",
                                              "model.text.heads=2",
                                              "model.text.vocab_size=40",
                                              "model.text.context_length=9",
                                              "model.dropout=0.1",
                                              "train.batch=8",
                                              "optim.lr=0.01",
                                              "optim.warmup_steps=0",
                                              "optim.schedule=constant",
                                              "optim.clip_norm=0.5",
                                              "train.bucket_mib=1",
                                              NULL};
    set_up_config(s, assignments);
    set_all(s, image);
    set_up_model(s, precision, 1, B);
    s->total_steps = 100;
}

/* The same fresh run, with other rows frozen. */
static void start(setup *s, const char *freeze, int64_t chunk)
{
    char assignment[256];
    snprintf(assignment, sizeof assignment, "optim.freeze=%s", freeze);
    CHECK_OK(tdm_config_set(&s->config, assignment));
    s->config.train.chunk = chunk;
    for (int64_t i = 0; i < s->params.count; i++) s->params.row[i].lr_scale = !s->params.row[i].buffer;
    CHECK_OK(tdm_optim_groups(&s->config, &s->params));
    tdm_params_init(&s->params, 3);
    /* biases and gains off 0 and 1, so that every path has a gradient */
    tdm_rng rng = tdm_rng_at(5, 0, 0, TDM_RNG_TEST);
    for (int64_t i = 0; i < s->params.count; i++)
        for (int64_t k = 0;
             s->params.row[i].ndim == 1 && !s->params.row[i].buffer && k < s->params.row[i].size; k++)
            s->params.weight[s->params.row[i].offset + k] += 0.2F * (float)tdm_rng_normal(&rng);
    memset(s->optim.moment[0], 0, sizeof(float) * (size_t)s->params.total);
    memset(s->optim.moment[1], 0, sizeof(float) * (size_t)s->params.total);
    s->optim.step = 0;
    CHECK_OK(tdm_model_load(s->model));
    tdm_trainer_destroy(&s->trainer);
    CHECK_OK(tdm_losses_load(s->losses, false));
    CHECK_OK(tdm_session_start(s));
}

static float *copy_of(const float *x, int64_t n)
{
    float *copy = NULL;
    CHECK_OK(TDM_ALLOC(n, &copy));
    memcpy(copy, x, sizeof(float) * (size_t)n);
    return copy;
}

/* One step with all rows trained: its summed gradients, owned by the caller, and their norm by row. */
static float *full_gradient(setup *s, const batch_piece *p, int64_t chunk, double *of_row)
{
    tdm_step_report report;
    start(s, "", chunk);
    CHECK_OK(tdm_trainer_step(s->trainer, &p->batch, &report));
    float *grad = copy_of(s->params.grad, s->params.total);
    for (int64_t i = 0; i < s->params.count; i++) {
        of_row[i] = 0.0;
        for (int64_t k = 0; k < s->params.row[i].size; k++)
            of_row[i] += pow((double)grad[s->params.row[i].offset + k], 2);
    }
    return grad;
}

/* Steps with some rows frozen against the gradient of all. A frozen row's arena is filled with NaN first:
 * what reads it or sums it would show. Sums over the ranks may be cut otherwise when buckets differ: 1e-6 of
 * the row's largest value; on one rank the bits are the same but for a bias whose matrix is frozen, which
 * another loop sums. */
static void check_step(setup *s, const batch_piece *p, const char *freeze, int64_t chunk, const float *full,
                       const double *of_row, int more_steps)
{
    tdm_step_report report;
    start(s, freeze, chunk);
    float *before = copy_of(s->params.weight, s->params.total);
    double squares = 0.0;
    for (int64_t i = 0; i < s->params.total; i++) s->params.grad[i] = NAN;
    CHECK_OK(tdm_trainer_step(s->trainer, &p->batch, &report));
    for (int64_t i = 0; i < s->params.count; i++) {
        const tdm_param *row = &s->params.row[i];
        const float *grad = s->params.grad + row->offset, *want = full + row->offset;
        const size_t bytes = sizeof(float) * (size_t)row->size;
        if (row->buffer) continue;
        if (!tdm_param_trained(row)) {
            CHECK_MEM_EQ(s->params.weight + row->offset, before + row->offset, bytes);
            continue;
        }
        squares += of_row[i];
        double largest = 0.0, worst = 0.0;
        for (int64_t k = 0; k < row->size; k++) {
            const double off = fabs((double)grad[k] - (double)want[k]);
            largest = fmax(largest, fabs((double)want[k]));
            if (!(off <= worst)) worst = off; /* keeps NaN */
        }
        if (!(worst <= 1e-6 * fmax(largest, 1e-3)))
            fail_msg("freeze %s: gradient of %s is off by %g of %g", freeze, row->name, worst, largest);
    }
    CHECK_NEAR(report.grad_norm, sqrt(squares), 1e-5 * sqrt(squares));
    for (int step = 0; step < more_steps; step++) CHECK_OK(tdm_trainer_step(s->trainer, &p->batch, &report));
    int64_t moved = 0;
    for (int64_t i = 0; i < s->params.count; i++) {
        const tdm_param *row = &s->params.row[i];
        const bool same =
            !memcmp(s->params.weight + row->offset, before + row->offset, sizeof(float) * (size_t)row->size);
        if (!tdm_param_trained(row) && !row->buffer && !same)
            fail_msg("freeze %s: %s has moved", freeze, row->name);
        moved += !same;
    }
    CHECK_GT(moved, 0);
    double sum = 0.0;
    for (int64_t i = 0; i < s->params.total; i++) sum += (double)s->params.weight[i];
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    CHECK_TRUE(tdm_comm_all_equal_u64(comm, bits));
    tdm_free(before);
}

/* Every row trained by itself: the backward stops at each possible place. */
static void test_each_row(void **state)
{
    (void)state;
    batch_piece p;
    setup s;
    double of_row[200];
    make_batch_piece(&p, 17, B, 16 * 8 * 3, B * IMAGE_BYTES);
    set_up(&s, "f32", vit);
    CHECK_LT(s.params.count, 200);
    float *full = full_gradient(&s, &p, 0, of_row);
    for (int64_t i = 0; i < s.params.count; i++) {
        char freeze[160];
        snprintf(freeze, sizeof freeze, "[*, !%s]", s.params.row[i].name);
        check_step(&s, &p, freeze, 0, full, of_row, 0);
    }
    tear_down(&s);
    tdm_free(full);
    tdm_free(p.image);
}

static void check_patterns(const char *precision, int64_t chunk)
{
    static const char *const freeze[] = {
        "image",
        "text",
        "[image, logit_scale]",
        "logit_scale",
        "visual.conv1.weight",
        "image:0",
        "[image:2, text:1]",
        "[image:3, text:3]",
        "[visual.transformer.resblocks.[01].*, *.ln_*, ln_*]",
        "[*, !*bias]",
        "[*.mlp.*]",
        "[*, !*.attn.*, !visual.proj]",
        "visual.transformer.resblocks.2.*",
    };
    batch_piece p;
    setup s;
    double of_row[200];
    make_batch_piece(&p, 17, B, 16 * 8 * 3, B * IMAGE_BYTES);
    set_up(&s, precision, vit);
    float *full = full_gradient(&s, &p, chunk, of_row);
    for (size_t i = 0; i < sizeof freeze / sizeof freeze[0]; i++)
        check_step(&s, &p, freeze[i], chunk, full, of_row, 2);
    tdm_free(full);
    tear_down(&s);
    tdm_free(p.image);
}

static void test_patterns(void **state)
{
    (void)state;
    check_patterns("f32", 0);
    check_patterns("f32", 1); /* GradCache with pairs one by one */
}

static void test_bf16(void **state)
{
    (void)state;
    tdm_dtype dtype;
    if (tdm_ops_resolve_precision("bf16", &dtype) != TDM_OK) SKIP("this CPU has no bf16");
    check_patterns("bf16", 0);
}

/* The same for a resnet, which has buffers among its rows, with statistics that are fixed and of the batch.
 */
static void test_resnet(void **state)
{
    (void)state;
    static const char *const freeze[] = {
        "visual.conv1.weight",
        "image:0",
        "image:3",
        "[image:5, text:1]",
        "[*, !visual.attnpool.c_proj.bias]",
        "[*, !visual.layer3.1.conv2.weight]",
        "[*, !visual.bn1.bias]",
        "[visual.*.bn?.*, text]",
    };
    static const char *const statistics[] = {"model.image.batch_stats=frozen",
                                             "model.image.batch_stats=sync"};
    batch_piece p;
    double of_row[200];
    make_batch_piece(&p, 17, B, IMAGE_BYTES, B * IMAGE_BYTES);
    for (int k = 0; k < 2; k++) {
        const char *configured[sizeof resnet / sizeof resnet[0] + 1] = {statistics[k]};
        memcpy((void *)&configured[1], resnet, sizeof resnet);
        setup s;
        set_up(&s, "f32", configured);
        CHECK_LT(s.params.count, 200);
        float *full = full_gradient(&s, &p, 0, of_row);
        for (size_t i = (size_t)k; i < sizeof freeze / sizeof freeze[0]; i += 2)
            check_step(&s, &p, freeze[i], 0, full, of_row, 2);
        CHECK_OK(tdm_config_set(&s.config, "optim.freeze=image"));
        for (int64_t i = 0; i < s.params.count; i++) s.params.row[i].lr_scale = !s.params.row[i].buffer;
        CHECK_OK(tdm_optim_groups(&s.config, &s.params));
        CHECK_OK(tdm_model_load(s.model));
        tdm_trainer_destroy(&s.trainer);
        const tdm_status status = tdm_session_start(&s);
        CHECK_EQ(status, k == 0 ? TDM_OK : TDM_E_CONFIG);
        tdm_free(full);
        tear_down(&s);
    }
    tdm_free(p.image);
}

/* FLOP of the linear layers' backward of one step. */
static double backward_flop(setup *s, const batch_piece *p, const char *freeze, double share[2])
{
    tdm_step_report report;
    start(s, freeze, 0);
    for (int m = 0; m < TDM_MODALITIES; m++) share[m] = tdm_model_backward_share(s->model, (tdm_modality)m);
    memset(tdm_ops_stats(s->ops), 0, sizeof(tdm_op_stats));
    CHECK_OK(tdm_trainer_step(s->trainer, &p->batch, &report));
    const tdm_op_stats *stats = tdm_ops_stats(s->ops);
    return stats->flop[TDM_OP_LINEAR_DATA] + stats->flop[TDM_OP_LINEAR_WEIGHT];
}

static void test_work(void **state)
{
    (void)state;
    batch_piece p;
    setup s;
    double share[2];
    make_batch_piece(&p, 17, B, 16 * 8 * 3, B * IMAGE_BYTES);
    set_up(&s, "f32", vit);
    const double all = backward_flop(&s, &p, "", share);
    CHECK_EQ(share[TDM_IMAGE], 1.0);
    CHECK_EQ(share[TDM_TEXT], 1.0);
    const double text = backward_flop(&s, &p, "image", share);
    CHECK_EQ(share[TDM_IMAGE], 0.0);
    CHECK_EQ(share[TDM_TEXT], 1.0);
    CHECK_FALSE(tdm_model_trains(s.model, TDM_IMAGE));
    CHECK_TRUE(tdm_model_trains(s.model, TDM_TEXT));
    const double image = backward_flop(&s, &p, "text", share);
    CHECK_EQ(share[TDM_IMAGE], 1.0);
    CHECK_EQ(share[TDM_TEXT], 0.0);
    CHECK_GT(text, 0.0);
    CHECK_GT(image, 0.0);
    CHECK_NEAR(text + image, all, 1e-9 * all);
    /* the two lowest of three blocks need nothing; below the top one's qkv no gradient is needed either */
    const double top = backward_flop(&s, &p, "[image, text:2, transformer.resblocks.2.ln_1.*]", share);
    CHECK_NEAR(share[TDM_TEXT], (24.0 - 3.0) / 72.0, 1e-12);
    CHECK_NEAR(top, share[TDM_TEXT] * text, 1e-9 * text);
    CHECK_EQ(backward_flop(&s, &p, "[*, !logit_scale]", share), 0.0);
    CHECK_EQ(backward_flop(&s, &p, "[*, !visual.ln_post.*, !text_projection]", share), 0.0);
    CHECK_TRUE(tdm_model_trains(s.model, TDM_IMAGE));
    CHECK_TRUE(tdm_model_trains(s.model, TDM_TEXT));
    tear_down(&s);
    tdm_free(p.image);
}

int main(int argc, char **argv)
{
    if (tdm_register_options() != TDM_OK || tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_row), cmocka_unit_test(test_patterns), cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_resnet),   cmocka_unit_test(test_work),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    tdm_config_unregister_all();
    return failed;
}
