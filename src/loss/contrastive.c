/* Contrastive objective of CLIP4CMR (arXiv 2201.02772; github zhixiongz/CLIP4CMR, metrics.py, Contrastive_Loss): what
 * belongs together lies close, all else at least a margin m apart. With d2_ij = |v_i - t_j|^2, M_ij = 1 for what belongs
 * together, else 0, and N the mean of the numbers of images and texts:
 *
 *     L = 1/N [ sum_ij M_ij d2_ij + sum_ij (1 - M_ij) max(0, m - d2_ij) ]
 *
 * The released code takes the hinge of the positives, too, with a distance of 0: a constant m·P/N for P positives. */
#include "loss_impl.h"

enum { DEFINITION_SOUND, DEFINITION_RELEASED };

typedef struct contrastive_options {
    pairs_options pairs;
    double margin;
    int definition;
} contrastive_options;

static const tdm_option contrastive_rows[] = {
    PAIRS_OPTIONS,
    TDM_FLOAT_OPTION(contrastive_options, margin, "0.2", 0, 100, "",
                     "Squared distance from which on a negative counts no more."),
    TDM_CHOICE_OPTION(contrastive_options, definition, "sound", "sound|released",
                      "released: adds CLIP4CMR's constant, margin times positives by pairs; same gradients."),
};

static tdm_status contrastive_check(const void *options, const tdm_loss_setup *setup)
{
    return pairs_check("contrastive", options, setup);
}

static double contrastive_row(void *context, const pair_rows *p, int64_t query, float *x)
{
    const contrastive_options *o = context;
    const double constant = o->definition == DEFINITION_RELEASED ? o->margin : 0.0;
    double value = 0.0;
    (void)query;
    for (int64_t j = 0; j < p->W; j++) {
        const double d2 = 2.0 - 2.0 * x[j];
        if (p->same[j]) {
            value += d2 + constant;
            x[j] = -2.0f;
        } else if (d2 <= o->margin) {
            value += o->margin - d2;
            x[j] = 2.0f;
        } else {
            x[j] = 0.0f;
        }
    }
    return value;
}

static tdm_status contrastive_step(const tdm_loss_call *call)
{
    const contrastive_options *o = call->options;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    const double N = 0.5 * (double)(call->rows[TDM_IMAGE].B + call->rows[TDM_TEXT].B);
    pair_rows p;
    double value = 0.0;
    TDM_TRY(pairs_make(call, o->pairs.positives, &p));
    p.alone = true;
    TDM_TRY(pairs_walk(&p, contrastive_row, (void *)o, call->weight / N, &value));
    call->term[0] += value / N;
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const contrastive_terms[] = {"contrastive", NULL};

const tdm_loss tdm_loss_contrastive = {
    .name = "contrastive",
    .terms = contrastive_terms,
    .options = contrastive_rows,
    .option_count = sizeof(contrastive_rows) / sizeof(contrastive_rows[0]),
    .option_bytes = sizeof(contrastive_options),
    .needs = pairs_needs,
    .tie = pairs_tie,
    .check = contrastive_check,
    .scratch_bytes = pairs_scratch_bytes,
    .step = contrastive_step,
};
