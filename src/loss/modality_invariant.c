/* Modality-invariant objective of CLIP4CMR (arXiv 2201.02772; github zhixiongz/CLIP4CMR, metrics.py,
 * Modality_invariant_Loss): what belongs together lies close. With M_ij = 1 for what belongs together, else 0,
 *
 *     L = 1/N sum_ij M_ij |v_i - t_j|^2
 *
 * N is the mean of the numbers of images and texts or, where only a pair belongs together, the number of pairs. */
#include "loss_impl.h"

static const tdm_option modality_invariant_rows[] = {PAIRS_OPTIONS};

static tdm_status modality_invariant_check(const void *options, const tdm_loss_setup *setup)
{
    return pairs_check("modality_invariant", options, setup);
}

static double modality_invariant_row(void *context, const pair_rows *p, int64_t query, float *x)
{
    double value = 0.0;
    (void)context;
    (void)query;
    for (int64_t j = 0; j < p->W; j++) {
        if (p->same[j]) value += 2.0 - 2.0 * x[j];
        x[j] = p->same[j] ? -2.0f : 0.0f;
    }
    return value;
}

static tdm_status modality_invariant_step(const tdm_loss_call *call)
{
    const pairs_options *o = call->options;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    double N = 0.5 * (double)(call->rows[TDM_IMAGE].B + call->rows[TDM_TEXT].B), value = 0.0, queries;
    pair_rows p;
    TDM_TRY(pairs_make(call, o->positives, &p));
    p.alone = true;
    if (o->positives == SAME_SAMPLE) pairs_count(&p, &N, &queries);
    if (N > 0.0) {
        TDM_TRY(pairs_walk(&p, modality_invariant_row, NULL, call->weight / N, &value));
        call->term[0] += value / N;
    }
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const modality_invariant_terms[] = {"modality_invariant", NULL};

const tdm_loss tdm_loss_modality_invariant = {
    .name = "modality_invariant",
    .terms = modality_invariant_terms,
    .options = modality_invariant_rows,
    .option_count = sizeof(modality_invariant_rows) / sizeof(modality_invariant_rows[0]),
    .option_bytes = sizeof(pairs_options),
    .needs = pairs_needs,
    .tie = pairs_tie,
    .check = modality_invariant_check,
    .scratch_bytes = pairs_scratch_bytes,
    .step = modality_invariant_step,
};
