/* A step with every objective of the table, alone and all together, on several ranks against the same step on this
 * rank alone: terms, gradient norm and updated weights, objectives' own included; in one piece, in pieces that are
 * run again and in pieces that are all kept; with samples that have an image only or a text only. The towers are
 * small transformers with dropout, so that passes, views and the pass without gradient are told apart. */
#include "trainer_case.h"

#include <math.h>

enum {
    SAMPLES = 12,
    HEIGHT = 16,
    SIDE = 8,
    IMAGE = HEIGHT * SIDE * 3,
    LENGTH = 5,
    TOKENS = SAMPLES * LENGTH,
    VOCAB = 40,
    CLASSES = 5,
    STEPS = 2
};

static tdm_comm *lone;

/* One global batch, the same on every rank: every view has numbers of its own. */
typedef struct global_batch {
    uint8_t image[TDM_VIEWS][SAMPLES * IMAGE];
    int32_t token[TDM_VIEWS][TOKENS], target[TOKENS];
    int64_t sample[SAMPLES], identity[SAMPLES];
    uint64_t class_bits[SAMPLES];
    bool has[TDM_MODALITIES][SAMPLES];
} global_batch;

static void fill_global(global_batch *g, bool partial)
{
    tdm_rng rng = tdm_rng_at(31, 0, 0, TDM_RNG_TEST);
    for (int v = 0; v < TDM_VIEWS; v++) {
        for (int i = 0; i < SAMPLES * IMAGE; i++) g->image[v][i] = (uint8_t)tdm_rng_u32(&rng);
        for (int i = 0; i < TOKENS; i++) g->token[v][i] = (int32_t)tdm_rng_below(&rng, VOCAB);
    }
    for (int i = 0; i < TOKENS; i++) g->target[i] = i % 3 == 1 ? (int32_t)tdm_rng_below(&rng, VOCAB) : -1;
    for (int i = 0; i < SAMPLES; i++) {
        g->sample[i] = 500 + 7 * i;
        g->identity[i] = i % 8;
        g->class_bits[i] = UINT64_C(1) << (i % CLASSES);
        g->has[TDM_IMAGE][i] = !partial || (i != 2 && i != 9);
        g->has[TDM_TEXT][i] =
            !partial || (i != 0 && i != 6 && i != 7 && i != 8); /* on 4 ranks one has no text */
    }
}

/* A rank's piece; arrays are its own. */
typedef struct piece_arrays {
    tdm_batch batch;
    uint8_t image[TDM_VIEWS][SAMPLES * IMAGE];
    int32_t token[TDM_VIEWS][TOKENS], target[TOKENS];
    int64_t seq[SAMPLES + 1], member[TDM_MODALITIES][SAMPLES];
} piece_arrays;

static void add_row(const global_batch *g, piece_arrays *p, int m, int64_t global, int64_t local, int64_t row)
{
    p->member[m][row] = local;
    for (int v = 0; v < TDM_VIEWS; v++) {
        if ((int)tdm_view_of((tdm_view)v)->modality != m) continue;
        if (m == TDM_IMAGE)
            memcpy(p->image[v] + row * IMAGE, g->image[v] + global * IMAGE, IMAGE);
        else
            memcpy(p->token[v] + row * LENGTH, g->token[v] + global * LENGTH, LENGTH * sizeof(int32_t));
    }
    if (m == TDM_TEXT)
        memcpy(p->target + row * LENGTH, g->target + global * LENGTH, LENGTH * sizeof(int32_t));
}

static void cut(const tdm_comm *group, global_batch *g, piece_arrays *p)
{
    const int64_t first = tdm_part_begin(SAMPLES, tdm_comm_size(group), tdm_comm_rank(group));
    const int64_t end = tdm_part_begin(SAMPLES, tdm_comm_size(group), tdm_comm_rank(group) + 1);
    int64_t rows[TDM_MODALITIES] = {0};
    memset(p, 0, sizeof *p);
    p->batch = (tdm_batch){.n = end - first,
                           .sample = g->sample + first,
                           .identity = g->identity + first,
                           .class_words = 1,
                           .class_bits = g->class_bits + first};
    for (int m = 0; m < TDM_MODALITIES; m++)
        for (int64_t i = first; i < end; i++)
            if (g->has[m][i]) add_row(g, p, m, i, i - first, rows[m]++);
    for (int i = 0; i <= SAMPLES; i++) p->seq[i] = i * LENGTH;
    for (int v = 0; v < TDM_VIEWS; v++) {
        const int m = (int)tdm_view_of((tdm_view)v)->modality;
        tdm_batch_view *view = &p->batch.view[v];
        view->n = rows[m];
        view->member = p->member[m];
        if (m == TDM_IMAGE)
            view->image = p->image[v];
        else
            view->text = (tdm_text_batch){.token = p->token[v], .seq = p->seq};
    }
    p->batch.view[TDM_VIEW_TEXT_MASKED].target = p->target;
}

static void set_up(setup *s, tdm_comm *group, const char *const *objectives, const char *more)
{
    static const char *const assignments[] = {"model.embed_dim=16",
                                              "model.image.height_px=16",
                                              "model.image.width_px=8",
                                              "model.image.patch_px=8",
                                              "model.image.patch_dropout=0.5",
                                              "model.image.width=32",
                                              "model.image.layers=2",
                                              "model.image.heads=2",
                                              "model.text.width=32",
                                              "model.text.layers=2",
                                              "model.text.heads=2",
                                              "model.text.vocab_size=40",
                                              "model.text.context_length=9",
                                              "model.dropout=0.2",
                                              "model.text.attention_dropout=0.2",
                                              "train.batch=12",
                                              "optim.lr=0.01",
                                              "optim.warmup_steps=0",
                                              "train.bucket_mib=1",
                                              "loss.simclr.hidden=8",
                                              "loss.simclr.out=8",
                                              "loss.mlm.depth=1",
                                              "loss.mlm.heads=2",
                                              NULL};
    set_up_config(s, assignments);
    s->comm = group;
    s->classes = CLASSES;
    set_all(s, objectives);
    if (more) CHECK_OK(tdm_config_set(&s->config, more));
    set_up_model(s, "f32", 1, SAMPLES);
    set_up_trainer(s);
}

/* report[STEPS]: the second step sees what the first has changed. */
static void run(tdm_comm *group, const char *const *objectives, const char *more, bool partial, setup *s,
                tdm_step_report report[STEPS])
{
    static global_batch g;
    static piece_arrays p;
    fill_global(&g, partial);
    cut(group, &g, &p);
    set_up(s, group, objectives, more);
    for (int i = 0; i < STEPS; i++) CHECK_OK(tdm_trainer_step(s->trainer, &p.batch, &report[i]));
}

/* The biases of the keys, a third of in_proj_bias: softmax does not see them, so that their gradient is nothing but
 * rounding, of which AdamW makes whole steps. */
static tdm_span key_biases(const tdm_param *row)
{
    const size_t length = strlen(row->name), end = strlen("attn.in_proj_bias");
    const bool has = length >= end && !strcmp(row->name + length - end, "attn.in_proj_bias");
    return has ? (tdm_span){row->size / 3, row->size / 3 * 2} : (tdm_span){0, 0};
}

/* f32 sums of other order; AdamW divides small gradients by their size, so that weights are compared by the largest
 * difference over the largest weight: 1e-3 of a step of 0.01 twice. */
static void check_equal(const char *what, const setup *a, const setup *b, const tdm_step_report ra[STEPS],
                        const tdm_step_report rb[STEPS])
{
    /* Where the gradients of many objectives cancel, what is left is rounding, and AdamW's first step makes it a whole
     * step: the more objectives, the more weights differ in the second. */
    static const double limit[STEPS] = {2e-6, 1e-4};
    for (int i = 0; i < STEPS; i++) {
        CHECK_EQ(ra[i].term_count, rb[i].term_count);
        for (int k = 0; k < ra[i].term_count; k++)
            if (!(fabs(ra[i].term[k] - rb[i].term[k]) <= limit[i] * fmax(1.0, fabs(rb[i].term[k]))))
                fail_msg("%s: step %d: %s is %.9g, on one rank %.9g", what, i + 1, ra[i].term_name[k],
                         ra[i].term[k], rb[i].term[k]);
        if (!(fabs(ra[i].grad_norm - rb[i].grad_norm) <= 1e-4 * rb[i].grad_norm))
            fail_msg("%s: step %d: gradient norm %.9g, on one rank %.9g", what, i + 1, ra[i].grad_norm,
                     rb[i].grad_norm);
    }
    for (int64_t i = 0; i < a->params.count; i++) {
        const tdm_param *row = &a->params.row[i];
        const tdm_span keys = key_biases(row);
        double apart = 0.0;
        for (int64_t k = 0; k < row->size; k++)
            if (k < keys.begin || k >= keys.end)
                apart += fabs((double)a->params.weight[row->offset + k] - b->params.weight[row->offset + k]) /
                         (double)row->size;
        if (!(apart <= 4e-4)) fail_msg("%s: %s is %.3g apart in the mean", what, row->name, apart);
    }
}

static void check(const char *name, const char *const *objectives, bool partial)
{
    static const char *const ways[] = {NULL, "train.chunk=2", "train.recompute=none"};
    setup alone;
    tdm_step_report expected[STEPS];
    run(lone, objectives, NULL, partial, &alone, expected);
    CHECK_GT(expected[STEPS - 1].grad_norm, 0.0);
    for (size_t k = 0; k < sizeof ways / sizeof ways[0]; k++) {
        setup s;
        tdm_step_report report[STEPS];
        char what[128];
        snprintf(what, sizeof what, "%s, %s%s", name, ways[k] ? ways[k] : "one piece",
                 partial ? ", partial" : "");
        run(comm, objectives, ways[k], partial, &s, report);
        check_equal(what, &s, &alone, report, expected);
        tear_down(&s);
    }
    tear_down(&alone);
}

static void test_each(void **state)
{
    (void)state;
    size_t count;
    const tdm_loss *const *table = tdm_loss_table(&count);
    for (size_t i = 0; i < count; i++) {
        char assignment[80];
        const char *const objectives[] = {assignment, NULL};
        snprintf(assignment, sizeof assignment, "loss.%s.weight=1", table[i]->name);
        check(table[i]->name, objectives, false);
        check(table[i]->name, objectives, true);
    }
}

static void test_together(void **state)
{
    (void)state;
    enum { MOST = 40 };
    static char text[MOST][80];
    const char *objectives[MOST + 3];
    size_t count, n = 0;
    const tdm_loss *const *table = tdm_loss_table(&count);
    for (size_t i = 0; i < count && i < MOST; i++) {
        snprintf(text[i], sizeof text[i], "loss.%s.weight=%g", table[i]->name, 1.0 / (double)(i + 1));
        objectives[n++] = text[i];
    }
    objectives[n++] = "loss.infonce.pseudo=0.3"; /* the pass without gradient */
    objectives[n] = NULL;
    check("all", objectives, false);
    check("all", objectives, true);
}

/* A tower without randomness gives the same features again: pseudo-labels come from those that are there. Dropout that
 * drops nothing makes the pass. */
static void test_lone_targets(void **state)
{
    (void)state;
    static const char *const dropout[] = {"model.dropout=0", "model.dropout=1e-12"};
    setup s[2];
    tdm_step_report report[2][STEPS];
    double flop[2];
    for (int k = 0; k < 2; k++) {
        const char *const objectives[] = {"loss.infonce.weight=1",
                                          "loss.infonce.pseudo=0.3",
                                          "model.text.attention_dropout=0",
                                          "model.image.patch_dropout=0",
                                          dropout[k],
                                          NULL};
        run(comm, objectives, NULL, true, &s[k], report[k]);
        flop[k] = tdm_ops_stats(s[k].ops)->flop[TDM_OP_LINEAR_FORWARD];
    }
    check_equal("without a pass of its own", &s[0], &s[1], report[0], report[1]);
    CHECK_GT(flop[1], 1.9 * flop[0]);
    CHECK_GT(report[1][0].flop, 1.3 * report[0][0].flop);
    for (int k = 0; k < 2; k++) tear_down(&s[k]);
}

/* Captions as long as the context, and a tower that draws: the pass without gradient finds room as well. */
static void test_full_captions(void **state)
{
    (void)state;
    char context[48];
    snprintf(context, sizeof context, "model.text.context_length=%d", LENGTH);
    const char *const objectives[] = {"loss.infonce.weight=1", "loss.infonce.pseudo=0.3", context,
                                      "model.text.width=1024",
                                      NULL}; /* memory is reserved in steps of 2 MiB */
    setup s;
    tdm_step_report report[STEPS];
    run(comm, objectives, NULL, true, &s, report);
    CHECK_TRUE(isfinite(report[STEPS - 1].loss));
    tear_down(&s);
}

int main(int argc, char **argv)
{
    if (tdm_register_options() != TDM_OK || tdm_comm_create(&argc, &argv, &comm) != TDM_OK ||
        tdm_comm_create_alone(&lone) != TDM_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_lone_targets),
        cmocka_unit_test(test_full_captions),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&lone);
    tdm_comm_destroy(&comm);
    tdm_config_unregister_all();
    return failed;
}
