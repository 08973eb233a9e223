/* Activation checkpointing: whatever train.recompute keeps, a step leaves the same bits in weights, moments
 * and gradients, and the less it keeps the less memory it takes, never more than was estimated. On 1, 2 and 3
 * ranks, in one piece and in chunks, with dropout (also of patches), with
 * frozen rows. */
#include "trainer_case.h"

#include <math.h>

enum { B = 12, IMAGE_BYTES = 16 * 24 * 3, STEPS = 2 };

static void set(setup *s, const char *key, const char *value)
{
    char assignment[256];
    snprintf(assignment, sizeof assignment, "%s=%s", key, value);
    CHECK_OK(tdm_config_set(&s->config, assignment));
}

static void set_up(setup *s, const char *precision, const char *chunk, const char *freeze,
                   const char *recompute)
{
    static const char *const assignments[] = {"model.embed_dim=16",       "model.image.height_px=16",
                                              "model.image.width_px=24",  "model.image.patch_px=8",
                                              "model.image.width=48",     "model.image.layers=3",
                                              "model.image.heads=3",      "model.text.width=80",
                                              "model.text.layers=4",      "model.text.heads=5",
                                              "model.text.vocab_size=40", "model.text.context_length=9",
                                              "model.dropout=0.2",        "model.text.attention_dropout=0.2",
                                              "train.batch=12",           "optim.lr=0.01",
                                              "optim.warmup_steps=0",     "optim.schedule=constant",
                                              "train.bucket_mib=1",       NULL};
    set_up_config(s, assignments);
    set(s, "train.chunk", chunk);
    set(s, "train.recompute", recompute);
    set(s, "optim.freeze", freeze);
    set(s, "model.image.patch_dropout", "0.4");
    set_up_model(s, precision, 1, tdm_trainer_rows(&s->config, tdm_comm_size(comm)));
    set_up_trainer(s);
}

/* What some steps leave: newly allocated weights, moments and gradients of trained rows, [4][total]. */
static float *outcome(const char *precision, const char *chunk, const char *freeze, const char *recompute,
                      int64_t *total, int64_t *activations)
{
    batch_piece p;
    setup s;
    float *kept;
    tdm_step_report report;
    make_batch_piece(&p, 23, B, IMAGE_BYTES, B * IMAGE_BYTES);
    set_up(&s, precision, chunk, freeze, recompute);
    for (int i = 0; i < STEPS; i++) CHECK_OK(tdm_trainer_step(s.trainer, &p.batch, &report));
    *total = s.params.total;
    *activations = tdm_model_activation_bytes(s.model);
    tdm_model_plan plan;
    tdm_model_memory memory;
    CHECK_OK(tdm_trainer_plan(&s.config, tdm_comm_size(comm), &plan));
    CHECK_OK(tdm_model_memory_estimate(s.model, &plan, PIECE_CONTEXT, &memory));
    CHECK_GT(*activations, 0);
    CHECK_LE(*activations, memory.activations);
    CHECK_OK(TDM_ALLOC(4 * s.params.total, &kept));
    const size_t bytes = sizeof(float) * (size_t)s.params.total;
    memcpy(kept, s.params.weight, bytes);
    memcpy(kept + s.params.total, s.optim.moment[0], bytes);
    memcpy(kept + 2 * s.params.total, s.optim.moment[1], bytes);
    for (int64_t i = 0; i < s.params.count; i++) {
        const tdm_param *row = &s.params.row[i];
        if (tdm_param_trained(row))
            memcpy(kept + 3 * s.params.total + row->offset, s.params.grad + row->offset,
                   sizeof(float) * (size_t)row->size);
    }
    tear_down(&s);
    tdm_free(p.image);
    return kept;
}

static int64_t differing(int64_t n, const float *a, const float *b)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += memcmp(&a[i], &b[i], sizeof(float)) != 0;
    return count;
}

/* All ways against "none"; `less`: each must take less memory than the one before. */
static void compare(const char *precision, const char *chunk, const char *freeze, bool less)
{
    static const char *const ways[] = {"mlp", "block", "chunk"};
    int64_t total, of_none, before;
    float *none = outcome(precision, chunk, freeze, "none", &total, &of_none);
    before = of_none;
    for (int i = 0; i < 3; i++) {
        int64_t activations;
        float *other = outcome(precision, chunk, freeze, ways[i], &total, &activations);
        const int64_t differ = differing(4 * total, none, other);
        if (tdm_comm_rank(comm) == 0)
            print_message("%s chunk %s freeze %s: %s keeps %.2f of the activations, %lld values differ\n",
                          precision, chunk, freeze, ways[i], (double)activations / (double)of_none,
                          (long long)differ);
        CHECK_EQ(differ, 0);
        if (less && i < 2) CHECK_LT(activations, before);
        CHECK_LE(activations, of_none);
        before = activations;
        tdm_free(other);
    }
    tdm_free(none);
}

static void test_f32(void **state)
{
    (void)state;
    compare("f32", "0", "", true);
    compare("f32", "3", "", true);
}

static void test_bf16(void **state)
{
    (void)state;
    tdm_dtype dtype;
    if (tdm_ops_resolve_precision("bf16", &dtype) != TDM_OK) SKIP("this CPU has no bf16");
    compare("bf16", "0", "", true);
    compare("bf16", "3", "", true);
}

/* The lowest trained row: in a block, behind its attention, at the output end, in one tower only. */
static void test_freeze(void **state)
{
    (void)state;
    compare("f32", "0", "[image:1, text:2]", false);
    compare("f32", "3", "[image:2, !visual.transformer.resblocks.1.mlp.c_fc.weight]", false);
    compare("f32", "3", "[*, !visual.proj, !text_projection]", false);
    compare("f32", "3", "[image, text:0]", false);
}

/* A loss that is not finite ends a step when activations wait for their backward: the next step finds room.
 */
static void test_failed_step(void **state)
{
    (void)state;
    batch_piece p;
    setup s;
    tdm_step_report report;
    make_batch_piece(&p, 23, B, IMAGE_BYTES, B * IMAGE_BYTES);
    set_up(&s, "f32", "3", "", "block");
    CHECK_OK(tdm_trainer_step(s.trainer, &p.batch, &report));
    const int64_t activations = tdm_model_activation_bytes(s.model);
    float *scale = tdm_model_logit_scale(s.model);
    const float saved = *scale;
    for (int i = 0; i < 3; i++) {
        *scale = i == 0 ? NAN : 200.0F;
        CHECK_FAILS(tdm_trainer_step(s.trainer, &p.batch, &report), TDM_E_NUMERIC, "");
        *scale = saved;
    }
    CHECK_OK(tdm_trainer_step(s.trainer, &p.batch, &report));
    CHECK_EQ(tdm_model_activation_bytes(s.model), activations);
    tear_down(&s);
    tdm_free(p.image);
}

int main(int argc, char **argv)
{
    if (tdm_register_options() != TDM_OK || tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_freeze),
        cmocka_unit_test(test_failed_step),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    tdm_config_unregister_all();
    return failed;
}
