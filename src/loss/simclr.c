/* SimCLR's NT-Xent between two views of one modality (Chen et al., arXiv 2002.05709), as TBPS-CLIP uses it beside the
 * contrastive loss (arXiv 2308.10045; github Flame-Chasers/TBPS-CLIP): features before normalisation pass an MLP
 * (linear, ReLU, linear) of its own, and
 *
 *     X = unit rows of both views [2B][out],  L = 1/(2B) sum_r -log softmax_c(X_r·X_c / tau)[partner of r],  c != r
 *
 * Rows of one identity are negatives like all others. A rank computes the anchors of its own rows, in blocks. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

enum { MODALITY_IMAGE, MODALITY_TEXT, MODALITY_BOTH };

typedef struct simclr_options {
    tdm_loss_common common;
    int modality;
    int64_t hidden, out;
    double temperature;
} simclr_options;

static const tdm_option simclr_rows[] = {
    TDM_LOSS_COMMON_OPTIONS,
    TDM_CHOICE_OPTION(
        simclr_options, modality, "image", "image|text|both",
        "Views that are compared: ss_1 and ss_2 of the image, aug_1 and aug_2 of the text, or both, added, each with an MLP of its own."),
    TDM_INT_OPTION(simclr_options, hidden, "128", 1, 65536, "features", "Hidden width of the MLP."),
    TDM_INT_OPTION(simclr_options, out, "512", 1, 65536, "features", "Output width of the MLP."),
    TDM_FLOAT_OPTION(simclr_options, temperature, "0.1", 1e-4, 100, "",
                     "tau, by which similarities are divided."),
};

static const int pair_of[TDM_MODALITIES][2] = {{TDM_VIEW_IMAGE_SS_1, TDM_VIEW_IMAGE_SS_2},
                                               {TDM_VIEW_TEXT_AUG_1, TDM_VIEW_TEXT_AUG_2}};

static bool uses(const simclr_options *o, int m)
{
    return o->modality == MODALITY_BOTH || o->modality == (m == TDM_IMAGE ? MODALITY_IMAGE : MODALITY_TEXT);
}

typedef struct simclr_state {
    tdm_nn_linear fc1[TDM_MODALITIES], fc2[TDM_MODALITIES];
} simclr_state;

static void simclr_needs(const void *options, tdm_loss_needs *needs)
{
    for (int m = 0; m < TDM_MODALITIES; m++)
        for (int k = 0; uses(options, m) && k < 2; k++) needs->view[pair_of[m][k]] = TDM_NEED_RAW;
}

static tdm_status simclr_create(const void *options, const tdm_loss_setup *setup, void **state)
{
    const simclr_options *o = options;
    simclr_state *s;
    TDM_TRY(TDM_ALLOC(1, &s));
    *state = s;
    for (int m = 0; m < TDM_MODALITIES; m++) {
        char prefix[64];
        if (!uses(o, m)) continue;
        snprintf(prefix, sizeof(prefix), "loss.simclr.%s.fc1", tdm_modality_name((tdm_modality)m));
        TDM_TRY(tdm_nn_linear_declare(setup->nn->params, prefix, setup->d, o->hidden, true, &s->fc1[m]));
        prefix[strlen(prefix) - 1] = '2';
        TDM_TRY(tdm_nn_linear_declare(setup->nn->params, prefix, o->hidden, o->out, true, &s->fc2[m]));
    }
    return TDM_OK;
}

static void simclr_destroy(void **state)
{
    tdm_free(*state);
    *state = NULL;
}

/* Temporaries. b, B: rows of the modality here and on all ranks; view k's rows stand at k·b or k·B. */
typedef struct room {
    int64_t block;
    float *hidden, *active;           /* [2b][hidden] before and after ReLU */
    float *out, *unit, *norm, *dunit; /* [2b][out], [2b] */
    float *all, *dall;                /* [2B][out] */
    float *logits;                    /* [block][2B] */
    float *dhidden, *dx;              /* [b][hidden], [b][d] */
} room;

static tdm_status room_take(const tdm_loss_call *call, tdm_modality m, tdm_scratch *scratch, room *r)
{
    const simclr_options *o = call->options;
    const int64_t b = call->rows[m].b, B = call->rows[m].B;
    r->block = block_rows_of(2 * b, 2 * B);
    TDM_TAKE(scratch, 2 * b * o->hidden, &r->hidden);
    TDM_TAKE(scratch, 2 * b * o->hidden, &r->active);
    TDM_TAKE(scratch, 2 * b * o->out, &r->out);
    TDM_TAKE(scratch, 2 * b * o->out, &r->unit);
    TDM_TAKE(scratch, 2 * b * o->out, &r->dunit);
    TDM_TAKE(scratch, 2 * b, &r->norm);
    TDM_TAKE(scratch, 2 * B * o->out, &r->all);
    TDM_TAKE(scratch, 2 * B * o->out, &r->dall);
    TDM_TAKE(scratch, r->block * 2 * B, &r->logits);
    TDM_TAKE(scratch, b * o->hidden, &r->dhidden);
    TDM_TAKE(scratch, b * call->d, &r->dx);
    return TDM_OK;
}

static int64_t simclr_scratch_bytes(const tdm_loss_call *call)
{
    int64_t most = 0;
    for (int m = 0; m < TDM_MODALITIES; m++) {
        room r;
        tdm_scratch count = {.capacity_bytes = SIZE_MAX};
        if (uses(call->options, m) && room_take(call, (tdm_modality)m, &count, &r) == TDM_OK)
            most = tdm_max_i64(most, (int64_t)count.used_bytes);
    }
    return most;
}

/* Unit rows of both views, gathered. */
static tdm_status project(const tdm_loss_call *call, tdm_modality m, const room *r)
{
    const simclr_options *o = call->options;
    const simclr_state *s = call->state;
    const int64_t b = call->rows[m].b, B = call->rows[m].B;
    for (int k = 0; k < 2; k++) {
        const int64_t at = k * b * o->hidden;
        const float *raw = call->view[pair_of[m][k]].raw;
        TDM_TRY(tdm_nn_linear_forward(call->nn, &s->fc1[m], b, raw, r->hidden + at));
        for (int64_t i = 0; i < b * o->hidden; i++) r->active[at + i] = fmaxf(r->hidden[at + i], 0.0f);
        TDM_TRY(tdm_nn_linear_forward(call->nn, &s->fc2[m], b, r->active + at, r->out + k * b * o->out));
    }
    tdm_l2norm_forward(call->nn->ops, 2 * b, o->out, r->out, r->unit, r->norm);
    for (int k = 0; k < 2; k++)
        call->exchange->gather(call->exchange->context, m, o->out, r->unit + k * b * o->out,
                               r->all + k * B * o->out);
    return TDM_OK;
}

/* A row of similarities: its loss; leaves softmax - onehot, 0 for itself. */
static double row_loss(int64_t B2, int64_t self, int64_t partner, float *x)
{
    float most = -INFINITY;
    double sum = 0.0;
    for (int64_t j = 0; j < B2; j++)
        if (j != self) most = fmaxf(most, x[j]);
    const double target = (double)x[partner] - most;
    for (int64_t j = 0; j < B2; j++) {
        x[j] = j == self ? 0.0f : expf(x[j] - most);
        sum += x[j];
    }
    const float share = (float)(1.0 / sum);
    for (int64_t j = 0; j < B2; j++) x[j] *= share;
    x[partner] -= 1.0f;
    return log(sum) - target;
}

/* Anchors [first, first+n) of view k, as rows of this rank. Gradients go into dall, of anchors and of candidates. */
static tdm_status anchors(const tdm_loss_call *call, tdm_modality m, int k, int64_t first, int64_t n,
                          const room *r, double *loss)
{
    const simclr_options *o = call->options;
    const tdm_loss_rows *rows = &call->rows[m];
    const int64_t B = rows->B, out = o->out, row = k * B + rows->row0 + first;
    const float inverse = (float)(1.0 / o->temperature);
    const float dscale = (float)(call->weight / (2.0 * (double)B * o->temperature)),
                *anchor = r->all + row * out;
    tdm_ops *ops = call->nn->ops;
    TDM_TRY(
        tdm_gemm(ops, false, true, n, 2 * B, out, inverse, anchor, out, r->all, out, 0.0f, r->logits, 2 * B));
    for (int64_t i = 0; i < n; i++) {
        const int64_t self = row + i, partner = self + (k ? -B : B);
        *loss += row_loss(2 * B, self, partner, r->logits + i * 2 * B);
    }
    TDM_TRY(tdm_gemm(ops, false, false, n, out, 2 * B, dscale, r->logits, 2 * B, r->all, out, 1.0f,
                     r->dall + row * out, out));
    return tdm_gemm(ops, true, false, 2 * B, out, n, dscale, r->logits, 2 * B, anchor, out, 1.0f, r->dall,
                    out);
}

/* From dall to the parameters and to the features. */
static tdm_status project_backward(const tdm_loss_call *call, tdm_modality m, const room *r)
{
    const simclr_options *o = call->options;
    const simclr_state *s = call->state;
    const int64_t b = call->rows[m].b, B = call->rows[m].B;
    for (int k = 0; k < 2; k++)
        call->exchange->scatter(call->exchange->context, m, o->out, r->dall + k * B * o->out,
                                r->dunit + k * b * o->out);
    tdm_l2norm_backward(call->nn->ops, 2 * b, o->out, r->unit, r->norm, r->dunit, r->dunit);
    for (int k = 0; k < 2; k++) {
        const int64_t at = k * b * o->hidden;
        const tdm_loss_view *view = &call->view[pair_of[m][k]];
        TDM_TRY(tdm_nn_linear_backward(call->nn, &s->fc2[m], b, r->active + at, r->dunit + k * b * o->out,
                                       r->dhidden));
        for (int64_t i = 0; i < b * o->hidden; i++)
            if (r->hidden[at + i] <= 0.0f) r->dhidden[i] = 0.0f;
        TDM_TRY(tdm_nn_linear_backward(call->nn, &s->fc1[m], b, view->raw, r->dhidden, r->dx));
        for (int64_t i = 0; i < b * call->d; i++) view->draw[i] += r->dx[i];
    }
    return TDM_OK;
}

static tdm_status simclr_modality(const tdm_loss_call *call, tdm_modality m)
{
    const simclr_options *o = call->options;
    const tdm_loss_rows *rows = &call->rows[m];
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    room r;
    if (rows->B == 0) return TDM_OK;
    TDM_TRY(room_take(call, m, call->nn->scratch, &r));
    TDM_TRY(project(call, m, &r));
    memset(r.dall, 0, sizeof(float) * (size_t)(2 * rows->B * o->out));
    double loss = 0.0;
    for (int k = 0; k < 2; k++)
        for (int64_t at = 0; at < rows->b; at += r.block)
            TDM_TRY(anchors(call, m, k, at, tdm_min_i64(r.block, rows->b - at), &r, &loss));
    loss /= 2.0 * (double)rows->B;
    call->term[0] += loss;
    call->term[1 + m] += loss;
    TDM_TRY(project_backward(call, m, &r));
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static tdm_status simclr_step(const tdm_loss_call *call)
{
    for (int m = 0; m < TDM_MODALITIES; m++)
        if (uses(call->options, m)) TDM_TRY(simclr_modality(call, (tdm_modality)m));
    return TDM_OK;
}

static const char *const simclr_terms[] = {"simclr", "simclr_image", "simclr_text", NULL};

const tdm_loss tdm_loss_simclr = {
    .name = "simclr",
    .terms = simclr_terms,
    .options = simclr_rows,
    .option_count = sizeof(simclr_rows) / sizeof(simclr_rows[0]),
    .option_bytes = sizeof(simclr_options),
    .needs = simclr_needs,
    .create = simclr_create,
    .destroy = simclr_destroy,
    .scratch_bytes = simclr_scratch_bytes,
    .step = simclr_step,
};
