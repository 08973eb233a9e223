/* Supervised contrast (Khosla et al., arXiv 2004.11362, equation 2) between images and texts, the mean of both directions.
 * With P(i) what belongs to i, over the Q queries that have anything of the kind:
 *
 *     L = 1/Q sum_i 1/|P(i)| sum_{j in P(i)} -log softmax_j(v_i·t_j / temperature)
 *
 * As CLIP4CMR released it (arXiv 2201.02772; github zhixiongz/CLIP4CMR, metrics.py, Supervised_Contrastive_Loss): images
 * ask, positives do not stand in the denominator, and squared distances by their mean take the place of cosines. With
 * u_ij = |v_i - t_j|^2 / mean |v - t|^2, P pairs and N(i) what does not belong to i:
 *
 *     L = 1/P sum_{(i,j)} [ u_ij + log sum_{k in N(i)} exp(-u_ik) ]
 *
 * Gradients flow through the mean. A query without negatives has no loss there. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

enum { DEFINITION_SOUND, DEFINITION_RELEASED };

typedef struct supcon_options {
    pairs_options pairs;
    double temperature;
    int definition;
} supcon_options;

static const tdm_option supcon_rows[] = {
    PAIRS_OPTIONS,
    TDM_FLOAT_OPTION(supcon_options, temperature, "0.1", 1e-4, 100, "",
                     "By which cosines are divided; without meaning for definition = released."),
    TDM_CHOICE_OPTION(
        supcon_options, definition, "sound", "sound|released",
        "released: CLIP4CMR's, images ask only, negatives only in the denominator, squared distances by their mean."),
};

static tdm_status supcon_check(const void *options, const tdm_loss_setup *setup)
{
    return pairs_check("supcon", options, setup);
}

static double sound_row(void *context, const pair_rows *p, int64_t query, float *x)
{
    const supcon_options *o = context;
    const double inverse = 1.0 / o->temperature;
    double most = -INFINITY, sum = 0.0, count = 0.0, mean = 0.0;
    (void)query;
    for (int64_t j = 0; j < p->W; j++) {
        most = fmax(most, inverse * x[j]);
        count += p->same[j];
    }
    if (count == 0.0) {
        memset(x, 0, sizeof(*x) * (size_t)p->W);
        return 0.0;
    }
    for (int64_t j = 0; j < p->W; j++) {
        const double logit = inverse * x[j] - most, e = exp(logit);
        if (p->same[j]) mean += logit / count;
        sum += e;
        x[j] = (float)e;
    }
    for (int64_t j = 0; j < p->W; j++) x[j] = (float)(inverse * (x[j] / sum - p->same[j] / count));
    return log(sum) - mean;
}

static tdm_status run_sound(pair_rows *p, const supcon_options *o)
{
    const tdm_loss_call *call = p->call;
    p->alone = true;
    for (int m = 0; m < TDM_MODALITIES; m++) {
        double value = 0.0, P, Q;
        pairs_turn(p, (tdm_modality)m);
        pairs_count(p, &P, &Q);
        if (Q == 0.0) continue;
        TDM_TRY(pairs_walk(p, sound_row, (void *)o, 0.5 * call->weight / Q, &value));
        call->term[0] += 0.5 * value / Q;
        call->term[1 + m] += value / Q;
    }
    return TDM_OK;
}

/* ---- As released ---- */

typedef struct released {
    double mean;  /* of the squared distances */
    double dmean; /* dL/dmean */
    double all;   /* what every cosine's derivative has besides, by way of the mean */
} released;

static double sum_cosines(void *context, const pair_rows *p, int64_t query, float *x)
{
    double sum = 0.0;
    (void)context;
    (void)query;
    for (int64_t j = 0; j < p->W; j++) sum += x[j];
    return sum;
}

static double released_row(void *context, const pair_rows *p, int64_t query, float *x)
{
    released *r = context;
    double most = -INFINITY, sum = 0.0, value = 0.0, count = 0.0;
    (void)query;
    for (int64_t j = 0; j < p->W; j++) {
        const double u = (2.0 - 2.0 * x[j]) / r->mean;
        if (!p->same[j]) most = fmax(most, -u);
        if (p->same[j]) value += u;
        count += p->same[j];
    }
    const bool counts = most > -INFINITY; /* it has negatives */
    for (int64_t j = 0; counts && j < p->W; j++)
        if (!p->same[j]) sum += exp(-(2.0 - 2.0 * x[j]) / r->mean - most);
    for (int64_t j = 0; j < p->W; j++) {
        const double u = (2.0 - 2.0 * x[j]) / r->mean, du = !counts      ? 0.0
                                                            : p->same[j] ? 1.0
                                                                         : -count * exp(-u - most) / sum;
        r->dmean -= du * u / r->mean;
        x[j] = (float)(-2.0 * du / r->mean + r->all);
    }
    return counts ? value + count * (most + log(sum)) : 0.0;
}

static tdm_status run_released(const pair_rows *p)
{
    const tdm_loss_call *call = p->call;
    const double all = (double)p->query_rows->B * (double)p->W;
    released r = {0};
    double P, queries, cosines = 0.0, value = 0.0;
    pairs_count(p, &P, &queries);
    TDM_TRY(pairs_look(p, sum_cosines, NULL, &cosines));
    call->exchange->sum(call->exchange->context, 1, &cosines);
    r.mean = 2.0 - 2.0 * cosines / all;
    if (P == 0.0 || !(r.mean > 0.0)) return TDM_OK;
    TDM_TRY(pairs_look(p, released_row, &r, &value));
    call->exchange->sum(call->exchange->context, 1, &r.dmean);
    r.all = -2.0 * r.dmean / all;
    call->term[0] += value / P;
    call->term[1] += value / P;
    return pairs_walk(p, released_row, &r, call->weight / P, &value);
}

static tdm_status supcon_step(const tdm_loss_call *call)
{
    const supcon_options *o = call->options;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    pair_rows p;
    TDM_TRY(pairs_make(call, o->pairs.positives, &p));
    TDM_TRY(o->definition == DEFINITION_RELEASED ? run_released(&p) : run_sound(&p, o));
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const supcon_terms[] = {"supcon", "supcon_image_to_text", "supcon_text_to_image", NULL};

const tdm_loss tdm_loss_supcon = {
    .name = "supcon",
    .terms = supcon_terms,
    .options = supcon_rows,
    .option_count = sizeof(supcon_rows) / sizeof(supcon_rows[0]),
    .option_bytes = sizeof(supcon_options),
    .needs = pairs_needs,
    .tie = pairs_tie,
    .check = supcon_check,
    .scratch_bytes = pairs_scratch_bytes,
    .step = supcon_step,
};
