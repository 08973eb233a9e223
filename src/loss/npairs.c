/* N-pairs (Sohn, NeurIPS 2016, equation 7) between images and texts, the mean of both directions, as CLIP4CMR means it
 * (arXiv 2201.02772; github zhixiongz/CLIP4CMR, metrics.py, Npairs). With P pairs (i, j) of what belongs together, N(i) what
 * does not belong to i and x_ij = scale · v_i·t_j:
 *
 *     L = 1/P sum_{(i,j)} log(1 + sum_{k in N(i)} exp(x_ik - x_ij))
 *
 * The released code (which ends with a NameError) takes exponentials twice and leaves the 1 out: with e = exp(x),
 * 1/P sum_{(i,j)} [ log sum_{k in N(i)} exp(e_ik) - e_ij ], and adds 0.1 times the mean norm of image and text, which for
 * unit vectors is 0.2. A query without negatives has no loss. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

enum { DEFINITION_SOUND, DEFINITION_RELEASED };

typedef struct npairs_options {
    pairs_options pairs;
    double scale;
    int definition;
} npairs_options;

static const tdm_option npairs_rows[] = {
    PAIRS_OPTIONS,
    TDM_FLOAT_OPTION(npairs_options, scale, "1.0", 1e-6, 300, "", "Multiplies the cosines."),
    TDM_CHOICE_OPTION(
        npairs_options, definition, "sound", "sound|released",
        "released: CLIP4CMR's, with the exponential of an exponential and the norms of the vectors added."),
};

static tdm_status npairs_check(const void *options, const tdm_loss_setup *setup)
{
    return pairs_check("npairs", options, setup);
}

/* dL/dx_ij = -q_ij, q_ij = S / (exp(x_ij) + S) with S the sum over the negatives; dL/dx_ik is the softmax over N(i) times
 * the sum of q_ij. All relative to the largest x of the row. */
static double sound_row(void *context, const pair_rows *p, int64_t query, float *x)
{
    const npairs_options *o = context;
    double most = -INFINITY, sum = 0.0, value = 0.0, q = 0.0;
    (void)query;
    for (int64_t j = 0; j < p->W; j++) most = fmax(most, o->scale * x[j]);
    for (int64_t j = 0; j < p->W; j++)
        if (!p->same[j]) sum += exp(o->scale * x[j] - most);
    for (int64_t j = 0; j < p->W; j++) {
        if (!p->same[j]) continue;
        const double own = o->scale * x[j] - most, both = exp(own) + sum;
        if (sum > 0.0) value += log(both) - own;
        q += sum / both;
        x[j] = (float)(-o->scale * sum / both);
    }
    for (int64_t j = 0; j < p->W; j++)
        if (!p->same[j]) x[j] = (float)(o->scale * q * exp(o->scale * x[j] - most) / sum);
    return value;
}

static double released_row(void *context, const pair_rows *p, int64_t query, float *x)
{
    const npairs_options *o = context;
    double most = -INFINITY, sum = 0.0, value = 0.0, count = 0.0;
    (void)query;
    for (int64_t j = 0; j < p->W; j++)
        if (!p->same[j]) most = fmax(most, exp(o->scale * x[j]));
    if (most == -INFINITY) { /* no negatives */
        memset(x, 0, sizeof(*x) * (size_t)p->W);
        return 0.0;
    }
    for (int64_t j = 0; j < p->W; j++) {
        const double e = exp(o->scale * x[j]);
        count += p->same[j];
        if (p->same[j])
            value -= e;
        else
            sum += exp(e - most);
    }
    for (int64_t j = 0; j < p->W; j++) {
        const double e = exp(o->scale * x[j]);
        x[j] = (float)(o->scale * e * (p->same[j] ? -1.0 : count * exp(e - most) / sum));
    }
    return value + count * (most + log(sum));
}

static tdm_status npairs_step(const tdm_loss_call *call)
{
    const npairs_options *o = call->options;
    const bool released = o->definition == DEFINITION_RELEASED;
    const tdm_loss_rows *image = &call->rows[TDM_IMAGE], *text = &call->rows[TDM_TEXT];
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    double P, queries;
    pair_rows p;
    TDM_TRY(pairs_make(call, o->pairs.positives, &p));
    p.alone = true;
    pairs_count(&p, &P, &queries);
    for (int m = 0; P > 0.0 && m < TDM_MODALITIES; m++) {
        double value = 0.0;
        pairs_turn(&p, (tdm_modality)m);
        TDM_TRY(
            pairs_walk(&p, released ? released_row : sound_row, (void *)o, 0.5 * call->weight / P, &value));
        call->term[0] += 0.5 * value / P;
        call->term[1 + m] += value / P;
    }
    if (released) call->term[0] += 0.2 * (double)(image->b + text->b) / (double)(image->B + text->B);
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const npairs_terms[] = {"npairs", "npairs_image_to_text", "npairs_text_to_image", NULL};

const tdm_loss tdm_loss_npairs = {
    .name = "npairs",
    .terms = npairs_terms,
    .options = npairs_rows,
    .option_count = sizeof(npairs_rows) / sizeof(npairs_rows[0]),
    .option_bytes = sizeof(npairs_options),
    .needs = pairs_needs,
    .tie = pairs_tie,
    .check = npairs_check,
    .scratch_bytes = pairs_scratch_bytes,
    .step = npairs_step,
};
