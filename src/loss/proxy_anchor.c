/* Proxy-Anchor (arXiv 2003.13911, equation 4) as CLIP4CMR has it (github zhixiongz/CLIP4CMR, metrics.py, Proxy_Anchor):
 * each proxy is an anchor for all rows of the batch. With s_ic = v_i·c and C classes, of which n have a row in the batch:
 *
 *     L = 1/n sum_{c with rows} log(1 + sum_{i of c} exp(-alpha (s_ic - delta)))
 *       + 1/C sum_c             log(1 + sum_{i not of c} exp(alpha (s_ic + delta)))
 *
 * for the images and for the texts, added up; or once over the rows of both (features = "concat", which the released
 * comment asks for). alpha is 32 in the paper and 1 in the released code. Rows without a class take no part.
 *
 * The sums of a class run over all ranks. Since |v| is 1 all exponents are at most u_c = alpha (|c| + delta), which every
 * rank knows: log(1 + sum) = u_c + log(exp(-u_c) + sum of exp(exponent - u_c)). */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

enum { PROXIES_TRAINABLE, PROXIES_FIXED };
enum { FEATURES_SEPARATE, FEATURES_CONCAT };

typedef struct proxy_anchor_options {
    class_options classes;
    int proxies, features;
    double alpha, delta;
} proxy_anchor_options;

static const tdm_option proxy_anchor_rows[] = {
    CLASS_OPTIONS,
    TDM_CHOICE_OPTION(proxy_anchor_options, proxies, "trainable", "trainable|fixed",
                      "fixed: as they are drawn."),
    TDM_CHOICE_OPTION(proxy_anchor_options, features, "separate", "separate|concat",
                      "The modalities by themselves, added; or the rows of both as one batch."),
    TDM_FLOAT_OPTION(proxy_anchor_options, alpha, "32.0", 1e-6, 300, "",
                     "Multiplies the cosines (32 as published, 1 as released)."),
    TDM_FLOAT_OPTION(proxy_anchor_options, delta, "0.1", -1, 1, "", "Margin of the cosines."),
};

static tdm_status proxy_anchor_check(const void *options, const tdm_loss_setup *setup)
{
    return class_check("proxy_anchor", options, setup);
}

static tdm_status proxy_anchor_create(const void *options, const tdm_loss_setup *setup, void **state)
{
    const proxy_anchor_options *o = options;
    return centers_create("loss.proxy_anchor", &o->classes, o->proxies == PROXIES_TRAINABLE, setup, state);
}

/* Of each class; from all ranks once they are exchanged. */
typedef struct anchors {
    double *bound;               /* u */
    double *positive, *negative; /* sums of exp(exponent - u); then what their terms are multiplied by */
} anchors;

/* exp(exponent - u) of a row and a class. */
static double relative(const proxy_anchor_options *o, const anchors *a, bool positive, int64_t c, double s)
{
    return exp((positive ? -o->alpha * (s - o->delta) : o->alpha * (s + o->delta)) - a->bound[c]);
}

static double add_up(void *context, const class_rows *r, const uint64_t *bits, int64_t own, float *x)
{
    const proxy_anchor_options *o = r->call->options;
    const anchors *a = context;
    (void)own;
    for (int64_t c = 0; c < r->classes; c++) {
        const bool positive = class_has(bits, c);
        (positive ? a->positive : a->negative)[c] += relative(o, a, positive, c, x[c]);
    }
    return 0.0;
}

static double differentiate(void *context, const class_rows *r, const uint64_t *bits, int64_t own, float *x)
{
    const proxy_anchor_options *o = r->call->options;
    const anchors *a = context;
    (void)own;
    for (int64_t c = 0; c < r->classes; c++) {
        const bool positive = class_has(bits, c);
        const double e = relative(o, a, positive, c, x[c]);
        x[c] = (float)(positive ? -o->alpha * a->positive[c] * e : o->alpha * a->negative[c] * e);
    }
    return 0.0;
}

/* The loss from the sums, in whose place come the factors of the gradient: 1/n or 1/C by 1 + sum, times exp(u). */
static double finish_sums(int64_t C, const anchors *a)
{
    double with_rows = 0.0, value = 0.0;
    for (int64_t c = 0; c < C; c++) with_rows += a->positive[c] > 0.0;
    for (int64_t c = 0; c < C; c++) {
        const double none = exp(-a->bound[c]);
        if (a->positive[c] > 0.0) value += (a->bound[c] + log(none + a->positive[c])) / with_rows;
        value += (a->bound[c] + log(none + a->negative[c])) / (double)C;
        a->positive[c] = a->positive[c] > 0.0 ? 1.0 / (with_rows * (none + a->positive[c])) : 0.0;
        a->negative[c] = 1.0 / ((double)C * (none + a->negative[c]));
    }
    return value;
}

/* Modalities [begin, end) as one batch. */
static tdm_status run(const tdm_loss_call *call, const class_rows *r, const anchors *a, int begin, int end)
{
    const int64_t C = r->classes;
    int64_t own = 0, all = 0;
    double unused = 0.0;
    memset(a->positive, 0, sizeof(double) * (size_t)C);
    memset(a->negative, 0, sizeof(double) * (size_t)C);
    for (int m = begin; m < end; m++) {
        TDM_TRY(class_rows_look(r, (tdm_modality)m, add_up, (void *)a, &unused));
        own += call->rows[m].b;
        all += call->rows[m].B;
    }
    call->exchange->sum(call->exchange->context, C, a->positive);
    call->exchange->sum(call->exchange->context, C, a->negative);
    if (all == 0) return TDM_OK;
    const double value = finish_sums(C, a) * (double)own / (double)all; /* every rank knows it: its share */
    for (int m = begin; m < end; m++)
        TDM_TRY(class_rows_walk(r, (tdm_modality)m, differentiate, (void *)a, call->weight, &unused));
    call->term[0] += value;
    return TDM_OK;
}

static tdm_status proxy_anchor_step(const tdm_loss_call *call)
{
    const proxy_anchor_options *o = call->options;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    class_rows r;
    TDM_TRY(class_rows_make(call, &r));
    const anchors a = {.bound = r.room[0], .positive = r.room[1], .negative = r.room[2]};
    class_rows_squares(&r, a.bound);
    for (int64_t c = 0; c < r.classes; c++) a.bound[c] = o->alpha * (sqrt(a.bound[c]) + o->delta);
    if (o->features == FEATURES_CONCAT) TDM_TRY(run(call, &r, &a, 0, TDM_MODALITIES));
    for (int m = 0; o->features == FEATURES_SEPARATE && m < TDM_MODALITIES; m++)
        TDM_TRY(run(call, &r, &a, m, m + 1));
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const proxy_anchor_terms[] = {"proxy_anchor", NULL};

const tdm_loss tdm_loss_proxy_anchor = {
    .name = "proxy_anchor",
    .terms = proxy_anchor_terms,
    .options = proxy_anchor_rows,
    .option_count = sizeof(proxy_anchor_rows) / sizeof(proxy_anchor_rows[0]),
    .option_bytes = sizeof(proxy_anchor_options),
    .needs = class_needs,
    .check = proxy_anchor_check,
    .create = proxy_anchor_create,
    .destroy = class_matrix_destroy,
    .load = class_matrix_load,
    .scratch_bytes = class_rows_scratch_bytes,
    .step = proxy_anchor_step,
};
