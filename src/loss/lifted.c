/* Lifted structured embedding (Song et al. 2016, arXiv 1511.06452, equation 4) between images and texts, as CLIP4CMR has
 * it (arXiv 2201.02772; github zhixiongz/CLIP4CMR, metrics.py, Lifted_Loss). With d_ij = |v_i - t_j|, P pairs (i, j) of what
 * belongs together and N(i) what does not belong to i:
 *
 *     J_ij = d_ij + log( sum_{k in N(i)} exp(margin - d_ik) + sum_{l in N(j)} exp(margin - d_lj) )
 *     L = 1/(2P) sum_{(i,j)} max(0, J_ij)^2
 *
 * The released code is 1/(2P) sum_{(i,j)} (d_ij + r_i + r_j) without hinge and square, with r_i the log of the sum over the
 * texts of N(i) and r_j taken from row j, an image. Where classes are single that is 2 n_i r_i for the n_i positives of an
 * image, and so it is computed here, which needs no image for each text. A pair without negatives has no loss; the
 * gradient of a distance of 0 is 0.
 *
 * The sums of the images are a rank's own, those of the texts are exchanged: three passes over the own images. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

enum { DEFINITION_SOUND, DEFINITION_RELEASED };

typedef struct lifted_options {
    pairs_options pairs;
    double margin;
    int definition;
} lifted_options;

static const tdm_option lifted_rows[] = {
    PAIRS_OPTIONS,
    TDM_FLOAT_OPTION(lifted_options, margin, "1.0", 0, 100, "", "Margin, in distance."),
    TDM_CHOICE_OPTION(
        lifted_options, definition, "sound", "sound|released",
        "released: CLIP4CMR's, two logarithms in place of one, neither hinge nor square, the image's negatives only."),
};

static tdm_status lifted_check(const void *options, const tdm_loss_setup *setup)
{
    return pairs_check("lifted", options, setup);
}

/* Per image or text, of the global batch. */
typedef struct sums {
    const lifted_options *o;
    double *image, *text; /* sums of exp(margin - d) over the negatives */
    double *dtext;        /* dL/d text, of all ranks */
} sums;

/* Of nearly equal vectors the cosine says too little in f32. */
static double distance(const pair_rows *p, int64_t query, int64_t answer, double cosine)
{
    const int64_t d = p->call->d;
    const float *v = p->query_view->all + query * d, *t = p->answer_view->all + answer * d;
    double squares = 0.0;
    if (cosine < 0.9) return sqrt(2.0 - 2.0 * cosine);
    for (int64_t k = 0; k < d; k++) squares += ((double)v[k] - t[k]) * ((double)v[k] - t[k]);
    return sqrt(squares);
}

/* d = sqrt(2 - 2 cos): dL/dcos from dL/dd. */
static float slope(double dd, double d)
{
    return d > 1e-6 ? (float)(-dd / d) : 0.0f;
}

/* ---- The three passes ---- */

static double add_up(void *context, const pair_rows *p, int64_t i, float *x)
{
    const sums *s = context;
    s->image[i] = 0.0;
    for (int64_t j = 0; j < p->W; j++) {
        if (p->same[j]) continue;
        const double e = exp(s->o->margin - distance(p, i, j, x[j]));
        s->image[i] += e;
        s->text[j] += e;
    }
    return 0.0;
}

/* J of a positive, 0 where it counts nothing; *sum: under its logarithm. */
static double structured(const sums *s, int64_t i, int64_t j, double d, double *sum)
{
    *sum = s->image[i] + s->text[j];
    return *sum > 0.0 ? fmax(0.0, d + log(*sum)) : 0.0;
}

static double evaluate(void *context, const pair_rows *p, int64_t i, float *x)
{
    const sums *s = context;
    double value = 0.0;
    for (int64_t j = 0; j < p->W; j++) {
        double sum;
        if (!p->same[j]) continue;
        const double J = structured(s, i, j, distance(p, i, j, x[j]), &sum);
        if (J > 0.0) s->dtext[j] += 2.0 * J / sum;
        value += J * J;
    }
    return value;
}

static double differentiate(void *context, const pair_rows *p, int64_t i, float *x)
{
    const sums *s = context;
    double dimage = 0.0;
    for (int64_t j = 0; j < p->W; j++) {
        double sum;
        if (!p->same[j]) continue;
        const double d = distance(p, i, j, x[j]), J = structured(s, i, j, d, &sum);
        if (J > 0.0) dimage += 2.0 * J / sum;
        x[j] = slope(2.0 * J, d);
    }
    for (int64_t j = 0; j < p->W; j++) {
        if (p->same[j]) continue;
        const double d = distance(p, i, j, x[j]);
        x[j] = slope(-(dimage + s->dtext[j]) * exp(s->o->margin - d), d);
    }
    return 0.0;
}

static tdm_status run_sound(const pair_rows *p, sums *s, double P)
{
    const tdm_loss_call *call = p->call;
    double value = 0.0, unused = 0.0;
    pair_rows last = *p;
    last.alone = true; /* the passes before it add to sums of the answers, row by row */
    memset(s->text, 0, sizeof(double) * (size_t)p->W);
    memset(s->dtext, 0, sizeof(double) * (size_t)p->W);
    TDM_TRY(pairs_look(p, add_up, s, &unused));
    call->exchange->sum(call->exchange->context, p->W, s->text);
    TDM_TRY(pairs_look(p, evaluate, s, &value));
    call->exchange->sum(call->exchange->context, p->W, s->dtext);
    TDM_TRY(pairs_walk(&last, differentiate, s, call->weight / (2.0 * P), &unused));
    call->term[0] += value / (2.0 * P);
    return TDM_OK;
}

/* ---- As released ---- */

static double released_row(void *context, const pair_rows *p, int64_t i, float *x)
{
    const sums *s = context;
    double sum = 0.0, value = 0.0, count = 0.0;
    for (int64_t j = 0; j < p->W; j++) {
        const double d = distance(p, i, j, x[j]);
        if (!p->same[j]) {
            sum += exp(s->o->margin - d);
            continue;
        }
        count += 1.0;
        value += d;
    }
    for (int64_t j = 0; j < p->W; j++) {
        const double d = distance(p, i, j, x[j]);
        if (sum == 0.0) /* no negatives */
            x[j] = 0.0f;
        else
            x[j] = slope(p->same[j] ? 1.0 : -2.0 * count * exp(s->o->margin - d) / sum, d);
    }
    return sum > 0.0 ? value + 2.0 * count * log(sum) : 0.0;
}

static tdm_status lifted_step(const tdm_loss_call *call)
{
    const lifted_options *o = call->options;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    double P, queries, value = 0.0;
    pair_rows p;
    TDM_TRY(pairs_make(call, o->pairs.positives, &p));
    pairs_count(&p, &P, &queries);
    sums s = {.o = o, .image = p.room[0], .text = p.room[1], .dtext = p.room[2]};
    if (P > 0.0 && o->definition == DEFINITION_SOUND) TDM_TRY(run_sound(&p, &s, P));
    if (P > 0.0 && o->definition == DEFINITION_RELEASED) {
        TDM_TRY(pairs_walk(&p, released_row, &s, call->weight / (2.0 * P), &value));
        call->term[0] += value / (2.0 * P);
    }
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const lifted_terms[] = {"lifted", NULL};

const tdm_loss tdm_loss_lifted = {
    .name = "lifted",
    .terms = lifted_terms,
    .options = lifted_rows,
    .option_count = sizeof(lifted_rows) / sizeof(lifted_rows[0]),
    .option_bytes = sizeof(lifted_options),
    .needs = pairs_needs,
    .tie = pairs_tie,
    .check = lifted_check,
    .scratch_bytes = pairs_scratch_bytes,
    .step = lifted_step,
};
