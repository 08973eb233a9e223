/* Dual softmax (CAMoE, arXiv 2109.04290, section 3.3) as CLIP4CMR has it (github zhixiongz/CLIP4CMR, metrics.py,
 * dual_softmax_loss): each logit is weighted by how much its answer prefers this query among all. With
 * s_ij = exp(logit_scale) · v_i·t_j and n images:
 *
 *     p_ij = exp(s_ij / temperature) / sum_i' exp(s_i'j / temperature),  s'_ij = n s_ij p_ij
 *     L = 1/N sum_i -log softmax_j(s'_ij)[own text of i]   over the N images that have one
 *
 * and the mean of this and the same with images and texts exchanged. The released code has the first direction only, and
 * no mean over i.
 *
 * With g = dL/ds' the derivative is dL/ds_ij = n g_ij p_ij + p_ij (n g_ij s_ij - c_j) / temperature, where
 * c_j = sum_i p_ij n g_ij s_ij. The two sums of an answer run over all ranks: three passes over the own queries. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

enum { DIRECTIONS_BOTH, DIRECTIONS_IMAGE_TO_TEXT };

typedef struct dual_softmax_options {
    pairs_options pairs; /* without `positives`: the pair only */
    double temperature;
    int directions;
} dual_softmax_options;

static const tdm_option dual_softmax_rows[] = {
    TDM_LOSS_COMMON_OPTIONS,
    PAIRS_VIEW_OPTIONS,
    TDM_FLOAT_OPTION(dual_softmax_options, temperature, "1000.0", 1e-3, 1e9, "",
                     "Of the softmax over the queries (1000 as released)."),
    TDM_CHOICE_OPTION(dual_softmax_options, directions, "both", "both|image_to_text",
                      "The mean of both, or images that ask only, as released."),
};

static tdm_status dual_softmax_check(const void *options, const tdm_loss_setup *setup)
{
    pairs_options o = *(const pairs_options *)options;
    o.positives = SAME_SAMPLE;
    return pairs_check("dual_softmax", &o, setup);
}

typedef struct passes {
    double scale, temperature, n;
    double *preference; /* of each answer: the sum of exp((s - scale) / temperature) over the queries */
    double *center;     /* c */
    double *share, *exponential; /* of a row */
    double dlogit_scale;
} passes;

/* exp(s / temperature), relative to the largest that there can be. */
static double preferred(const passes *w, double s)
{
    return exp((s - w->scale) / w->temperature);
}

static double add_up(void *context, const pair_rows *p, int64_t query, float *x)
{
    const passes *w = context;
    (void)query;
    for (int64_t j = 0; j < p->W; j++) w->preference[j] += preferred(w, w->scale * x[j]);
    return 0.0;
}

/* Of a row of cosines x: share[W] = p_ij, and exponential[W] = exp(s'_ij - most). Returns the sum of these. */
static double sharpen(const passes *w, const pair_rows *p, const float *x, double *most)
{
    double sum = 0.0;
    *most = -INFINITY;
    for (int64_t j = 0; j < p->W; j++) {
        const double s = w->scale * x[j];
        w->share[j] = preferred(w, s) / w->preference[j];
        *most = fmax(*most, w->n * s * w->share[j]);
    }
    for (int64_t j = 0; j < p->W; j++)
        sum += w->exponential[j] = exp(w->n * w->scale * x[j] * w->share[j] - *most);
    return sum;
}

static double evaluate(void *context, const pair_rows *p, int64_t query, float *x)
{
    const passes *w = context;
    const int64_t own = pairs_own(p, query);
    double most;
    if (own < 0) return 0.0;
    const double sum = sharpen(w, p, x, &most);
    for (int64_t j = 0; j < p->W; j++)
        w->center[j] += w->n * w->scale * x[j] * w->share[j] * (w->exponential[j] / sum - (j == own));
    return most + log(sum) - w->n * w->scale * x[own] * w->share[own];
}

static double differentiate(void *context, const pair_rows *p, int64_t query, float *x)
{
    passes *w = context;
    const int64_t own = pairs_own(p, query);
    double most;
    const double sum = sharpen(w, p, x, &most);
    for (int64_t j = 0; j < p->W; j++) {
        const double s = w->scale * x[j], ng = own < 0 ? 0.0 : w->n * (w->exponential[j] / sum - (j == own));
        const double ds = w->share[j] * (ng + (ng * s - w->center[j]) / w->temperature);
        w->dlogit_scale += ds * s;
        x[j] = (float)(w->scale * ds);
    }
    return 0.0;
}

static tdm_status run(const pair_rows *p, double share, passes *w)
{
    const tdm_loss_call *call = p->call;
    double value = 0.0, unused = 0.0, P, N;
    pairs_count(p, &P, &N);
    if (N == 0.0) return TDM_OK;
    w->n = (double)p->query_rows->B;
    w->dlogit_scale = 0.0;
    memset(w->preference, 0, sizeof(double) * (size_t)p->W);
    memset(w->center, 0, sizeof(double) * (size_t)p->W);
    TDM_TRY(pairs_look(p, add_up, w, &unused));
    call->exchange->sum(call->exchange->context, p->W, w->preference);
    TDM_TRY(pairs_look(p, evaluate, w, &value));
    call->exchange->sum(call->exchange->context, p->W, w->center);
    TDM_TRY(pairs_walk(p, differentiate, w, call->weight * share / N, &unused));
    *call->dlogit_scale += call->weight * share / N * w->dlogit_scale;
    call->term[0] += share * value / N;
    call->term[1 + p->query] += value / N;
    return TDM_OK;
}

static tdm_status dual_softmax_step(const tdm_loss_call *call)
{
    const dual_softmax_options *o = call->options;
    const int directions = o->directions == DIRECTIONS_BOTH ? TDM_MODALITIES : 1;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    pair_rows p;
    TDM_TRY(pairs_make(call, SAME_SAMPLE, &p));
    passes w = {.scale = exp(call->logit_scale),
                .temperature = o->temperature,
                .preference = p.room[0],
                .center = p.room[1],
                .share = p.room[2],
                .exponential = p.room[3]};
    for (int m = 0; m < directions; m++) {
        pairs_turn(&p, (tdm_modality)m);
        TDM_TRY(run(&p, 1.0 / directions, &w));
    }
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const dual_softmax_terms[] = {"dual_softmax", "dual_softmax_image_to_text",
                                                 "dual_softmax_text_to_image", NULL};

const tdm_loss tdm_loss_dual_softmax = {
    .name = "dual_softmax",
    .terms = dual_softmax_terms,
    .options = dual_softmax_rows,
    .option_count = sizeof(dual_softmax_rows) / sizeof(dual_softmax_rows[0]),
    .option_bytes = sizeof(dual_softmax_options),
    .needs = pairs_needs,
    .tie = sample_tie,
    .check = dual_softmax_check,
    .scratch_bytes = pairs_scratch_bytes,
    .step = dual_softmax_step,
};
