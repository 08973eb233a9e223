/* Cyclic image-text contrast, C-ITC (CyCLIP, arXiv 2205.14459; as TBPS-CLIP uses it, arXiv 2308.10045, section 3.2.2):
 * over the N pairs of the global batch, rows F of the images and G of the texts, unit norm,
 *
 *     in_modal = |F F' - G G'|^2 / N^2    cross_modal = |F G' - G F'|^2 / N^2
 *     L = lambda_in · in_modal + lambda_cross · cross_modal
 *
 * No N x N matrix is made. With U = F - G, V = F + G both differences are (U V' ± V U')/2, so that with the d x d matrices
 * P = U'U, Q = V'V, R = V'U
 *
 *     in_modal = (<P, Q> + tr(R R)) / (2 N^2)    cross_modal = (<P, Q> - tr(R R)) / (2 N^2)
 *
 * and with L = (a <P, Q> + b tr(R R)) / N^2:  dL/dU = (2a U Q + 2b V R') / N^2,  dL/dV = (2a V P + 2b U R) / N^2. Where
 * images and texts agree U is small, and no large numbers cancel. A rank adds up its own rows; one sum over the ranks
 * of three d x d matrices is all that is exchanged. Samples that have an image only or a text only are no pairs. */
#include "loss_impl.h"

#include <string.h>

enum { DIVISOR_N_SQUARED, DIVISOR_N };

typedef struct citc_options {
    tdm_loss_common common;
    double lambda_in, lambda_cross;
    int divisor;
    const char *image_view, *text_view;
} citc_options;

static const tdm_option citc_rows[] = {
    TDM_LOSS_COMMON_OPTIONS,
    TDM_FLOAT_OPTION(citc_options, lambda_in, "0.25", 0, 1e6, "",
                     "Weight of the difference within the modalities (published: 1, released: 0.25)."),
    TDM_FLOAT_OPTION(citc_options, lambda_cross, "0.25", 0, 1e6, "",
                     "Weight of the difference across the modalities (published: 1, released: 0.25)."),
    TDM_CHOICE_OPTION(
        citc_options, divisor, "n_squared", "n_squared|n",
        "What the sums over all pairs of pairs are divided by: N^2 as released, N as published."),
    TDM_STRING_OPTION(citc_options, image_view, "aug_1", "View of the image."),
    TDM_STRING_OPTION(citc_options, text_view, "plain", "View of the text."),
};

static void citc_needs(const void *options, tdm_loss_needs *needs)
{
    const citc_options *o = options;
    needs->view[view_named(TDM_IMAGE, o->image_view)] = TDM_NEED_ALL;
    needs->view[view_named(TDM_TEXT, o->text_view)] = TDM_NEED_ALL;
}

static tdm_status citc_check(const void *options, const tdm_loss_setup *setup)
{
    (void)setup;
    const citc_options *o = options;
    TDM_TRY(check_view("loss.citc.image_view", TDM_IMAGE, o->image_view));
    return check_view("loss.citc.text_view", TDM_TEXT, o->text_view);
}

enum { P, Q, R, PRODUCTS };

typedef struct room {
    int64_t (*pair)[2]; /* [n] rows of an image and of its text, of this rank */
    int64_t n;
    float *u, *v, *du, *dv;   /* [n][d] */
    float *product[PRODUCTS]; /* [d][d] of this rank, then of all */
    double *sum;              /* [PRODUCTS][d][d] */
} room;

static tdm_status room_take(const tdm_loss_call *call, tdm_scratch *scratch, room *r)
{
    const int64_t d = call->d, most = call->rows[TDM_IMAGE].b;
    TDM_TAKE(scratch, most, &r->pair);
    TDM_TAKE(scratch, most * d, &r->u);
    TDM_TAKE(scratch, most * d, &r->v);
    TDM_TAKE(scratch, most * d, &r->du);
    TDM_TAKE(scratch, most * d, &r->dv);
    for (int k = 0; k < PRODUCTS; k++) TDM_TAKE(scratch, d * d, &r->product[k]);
    TDM_TAKE(scratch, PRODUCTS * d * d, &r->sum);
    return TDM_OK;
}

static int64_t citc_scratch_bytes(const tdm_loss_call *call)
{
    room r;
    tdm_scratch count = {.capacity_bytes = SIZE_MAX};
    return room_take(call, &count, &r) == TDM_OK ? (int64_t)count.used_bytes : 0;
}

/* Pairs whose image row is this rank's; *all: those of the global batch. Samples ascend in both modalities. */
static void find_pairs(const tdm_loss_call *call, room *r, int64_t *all)
{
    const tdm_loss_rows *image = &call->rows[TDM_IMAGE], *text = &call->rows[TDM_TEXT];
    *all = r->n = 0;
    for (int64_t i = 0, j = 0; i < image->B; i++) {
        while (j < text->B && text->sample[j] < image->sample[i]) j++;
        if (j == text->B || text->sample[j] != image->sample[i]) continue;
        ++*all;
        if (i < image->row0 || i >= image->row0 + image->b) continue;
        r->pair[r->n][0] = i;
        r->pair[r->n++][1] = j;
    }
}

/* u = f - g, v = f + g, and P, Q, R of all ranks. */
static tdm_status multiply(const tdm_loss_call *call, const tdm_loss_view *image, const tdm_loss_view *text,
                           const room *r)
{
    tdm_ops *ops = call->nn->ops;
    const int64_t d = call->d, n = r->n;
    for (int64_t i = 0; i < n; i++) {
        const float *f = image->all + r->pair[i][0] * d, *g = text->all + r->pair[i][1] * d;
        for (int64_t k = 0; k < d; k++) {
            r->u[i * d + k] = f[k] - g[k];
            r->v[i * d + k] = f[k] + g[k];
        }
    }
    if (n) {
        TDM_TRY(tdm_gemm(ops, true, false, d, d, n, 1.0f, r->u, d, r->u, d, 0.0f, r->product[P], d));
        TDM_TRY(tdm_gemm(ops, true, false, d, d, n, 1.0f, r->v, d, r->v, d, 0.0f, r->product[Q], d));
        TDM_TRY(tdm_gemm(ops, true, false, d, d, n, 1.0f, r->v, d, r->u, d, 0.0f, r->product[R], d));
    }
    for (int p = 0; p < PRODUCTS; p++)
        for (int64_t k = 0; k < d * d; k++) r->sum[p * d * d + k] = n ? r->product[p][k] : 0.0;
    call->exchange->sum(call->exchange->context, PRODUCTS * d * d, r->sum);
    for (int p = 0; p < PRODUCTS; p++)
        for (int64_t k = 0; k < d * d; k++) r->product[p][k] = (float)r->sum[p * d * d + k];
    return TDM_OK;
}

/* Adds dscale times the gradients of a <P, Q> + b tr(R R). */
static tdm_status backward(const tdm_loss_call *call, const tdm_loss_view *image, const tdm_loss_view *text,
                           double a, double b, double dscale, const room *r)
{
    tdm_ops *ops = call->nn->ops;
    const int64_t d = call->d, n = r->n;
    const float da = (float)(2.0 * a * dscale), db = (float)(2.0 * b * dscale);
    TDM_TRY(tdm_gemm(ops, false, false, n, d, d, da, r->u, d, r->product[Q], d, 0.0f, r->du, d));
    TDM_TRY(tdm_gemm(ops, false, false, n, d, d, da, r->v, d, r->product[P], d, 0.0f, r->dv, d));
    if (db != 0.0f) {
        TDM_TRY(tdm_gemm(ops, false, true, n, d, d, db, r->v, d, r->product[R], d, 1.0f, r->du, d));
        TDM_TRY(tdm_gemm(ops, false, false, n, d, d, db, r->u, d, r->product[R], d, 1.0f, r->dv, d));
    }
    for (int64_t i = 0; i < n; i++) {
        float *df = image->dall + r->pair[i][0] * d, *dg = text->dall + r->pair[i][1] * d;
        for (int64_t k = 0; k < d; k++) {
            df[k] += r->dv[i * d + k] + r->du[i * d + k];
            dg[k] += r->dv[i * d + k] - r->du[i * d + k];
        }
    }
    return TDM_OK;
}

static tdm_status citc_step(const tdm_loss_call *call)
{
    const citc_options *o = call->options;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    const tdm_loss_view *image = &call->view[view_named(TDM_IMAGE, o->image_view)],
                        *text = &call->view[view_named(TDM_TEXT, o->text_view)];
    const int64_t d = call->d;
    int64_t pairs;
    room r = {0};
    TDM_TRY(room_take(call, call->nn->scratch, &r));
    find_pairs(call, &r, &pairs);
    TDM_TRY(multiply(call, image, text, &r));
    if (pairs && r.n) {
        const double N = (double)pairs, divisor = o->divisor == DIVISOR_N ? N : N * N,
                     own = (double)r.n / N; /* every rank knows the sum, and gives its share of it */
        const double *p = r.sum, *q = r.sum + d * d, *rr = r.sum + 2 * d * d;
        double both = 0.0, trace = 0.0;
        for (int64_t k = 0; k < d * d; k++) both += p[k] * q[k];
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++) trace += rr[i * d + j] * rr[j * d + i];
        const double in_modal = 0.5 * (both + trace) / divisor, cross_modal = 0.5 * (both - trace) / divisor;
        call->term[0] += own * (o->lambda_in * in_modal + o->lambda_cross * cross_modal);
        call->term[1] += own * in_modal;
        call->term[2] += own * cross_modal;
        TDM_TRY(backward(call, image, text, 0.5 * (o->lambda_in + o->lambda_cross),
                         0.5 * (o->lambda_in - o->lambda_cross), call->weight / divisor, &r));
    }
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const citc_terms[] = {"citc", "citc_in_modal", "citc_cross_modal", NULL};

const tdm_loss tdm_loss_citc = {
    .name = "citc",
    .terms = citc_terms,
    .options = citc_rows,
    .option_count = sizeof(citc_rows) / sizeof(citc_rows[0]),
    .option_bytes = sizeof(citc_options),
    .needs = citc_needs,
    .tie = sample_tie,
    .check = citc_check,
    .scratch_bytes = citc_scratch_bytes,
    .step = citc_step,
};
