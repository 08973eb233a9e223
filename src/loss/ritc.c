/* Reversed image-text contrast, R-ITC (TBPS-CLIP, arXiv 2308.10045, section 3.2.2): the KL divergence of the labels
 * from the prediction, the other way round than in the contrastive loss:
 *
 *     p_ij = softmax_j(s · v_i·t_j),  s = exp(logit_scale),  q_ij = [id_i = id_j] / |{k : id_k = id_i}|
 *     L = 1/(2N) sum_i sum_j p_ij (log p_ij - log(q_ij + eps))   (image to text)   + the same with v and t exchanged
 *
 * q + eps is not normalised again, as published and as released. With KL_i the row's sum, dL/dlogit_ij is
 * 1/(2N) · p_ij (log p_ij - log(q_ij + eps) - KL_i). A row without any positive is left out of its direction, and N is
 * the number of rows that have one. A rank computes its own rows of both matrices, in blocks. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

enum { POSITIVES_PAIR, POSITIVES_IDENTITY };

typedef struct ritc_options {
    tdm_loss_common common;
    int positives;
    double eps;
    const char *image_view, *text_view;
} ritc_options;

static const tdm_option ritc_rows[] = {
    TDM_LOSS_COMMON_OPTIONS,
    TDM_CHOICE_OPTION(ritc_options, positives, "identity", "pair|identity",
                      "What belongs together: the pair only, or everything of one identity."),
    TDM_FLOAT_OPTION(ritc_options, eps, "0.01", 1e-30, 1, "", "Added to the labels before their logarithm."),
    TDM_STRING_OPTION(ritc_options, image_view, "aug_1", "View of the image."),
    TDM_STRING_OPTION(ritc_options, text_view, "plain", "View of the text."),
};

static void ritc_needs(const void *options, tdm_loss_needs *needs)
{
    const ritc_options *o = options;
    needs->view[view_named(TDM_IMAGE, o->image_view)] = TDM_NEED_ALL;
    needs->view[view_named(TDM_TEXT, o->text_view)] = TDM_NEED_ALL;
}

static tdm_tie ritc_tie(const void *options)
{
    const ritc_options *o = options;
    return o->positives == POSITIVES_IDENTITY ? TDM_TIE_IDENTITY : TDM_TIE_SAMPLE;
}

static tdm_status ritc_check(const void *options, const tdm_loss_setup *setup)
{
    (void)setup;
    const ritc_options *o = options;
    TDM_TRY(check_view("loss.ritc.image_view", TDM_IMAGE, o->image_view));
    return check_view("loss.ritc.text_view", TDM_TEXT, o->text_view);
}

/* Temporaries of `block` rows. */
typedef struct room {
    int64_t block;
    float *logits, *target; /* [block][B] */
    float *drow;            /* [block][d] */
    key_index index[TDM_MODALITIES];
} room;

static tdm_status room_take(const tdm_loss_call *call, tdm_scratch *scratch, room *r)
{
    const ritc_options *o = call->options;
    const tdm_loss_rows *image = &call->rows[TDM_IMAGE], *text = &call->rows[TDM_TEXT];
    const int64_t B = tdm_max_i64(image->B, text->B);
    r->block = block_rows_of(tdm_max_i64(image->b, text->b), B);
    TDM_TAKE(scratch, r->block * B, &r->logits);
    TDM_TAKE(scratch, r->block * B, &r->target);
    TDM_TAKE(scratch, r->block * call->d, &r->drow);
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const tdm_loss_rows *rows = &call->rows[m];
        TDM_TRY(key_index_make(scratch, rows->B,
                               o->positives == POSITIVES_IDENTITY ? rows->identity : rows->sample,
                               &r->index[m]));
    }
    return TDM_OK;
}

static int64_t ritc_scratch_bytes(const tdm_loss_call *call)
{
    room r;
    tdm_scratch count = {.capacity_bytes = SIZE_MAX};
    return room_take(call, &count, &r) == TDM_OK ? (int64_t)count.used_bytes : 0;
}

/* A row of logits x[B] with labels q[B]: its divergence; leaves dKL/dlogits. positive: answers of the row. */
static double row_divergence(int64_t B, int64_t positive, double eps, const float *q, float *x)
{
    const double log_none = log(eps), log_positive = log(1.0 / (double)positive + eps);
    float most = x[0];
    double sum = 0.0, divergence = 0.0;
    for (int64_t j = 1; j < B; j++) most = fmaxf(most, x[j]);
    for (int64_t j = 0; j < B; j++) sum += exp((double)x[j] - most);
    const double log_sum = most + log(sum);
    for (int64_t j = 0; j < B; j++) {
        const double log_p = x[j] - log_sum;
        divergence += exp(log_p) * (log_p - (q[j] > 0.0f ? log_positive : log_none));
    }
    for (int64_t j = 0; j < B; j++) {
        const double log_p = x[j] - log_sum;
        x[j] = (float)(exp(log_p) * (log_p - (q[j] > 0.0f ? log_positive : log_none) - divergence));
    }
    return divergence;
}

static tdm_status ritc_block(const tdm_loss_call *call, const direction *dir, int64_t first, int64_t n,
                             float dscale, const room *r, double *loss)
{
    const ritc_options *o = call->options;
    const int64_t B = dir->answer_rows->B;
    TDM_TRY(direction_logits(call, dir, first, n, r->logits));
    direction_targets(dir, first, n, r->target);
    for (int64_t i = 0; i < n; i++) {
        const int64_t positives = direction_positives(dir, first + i);
        float *row = r->logits + i * B;
        if (positives)
            *loss += row_divergence(B, positives, o->eps, r->target + i * B, row);
        else
            memset(row, 0, sizeof(*row) * (size_t)B);
    }
    return direction_backward(call, dir, first, n, dscale, r->logits, r->drow);
}

static tdm_status ritc_step(const tdm_loss_call *call)
{
    const ritc_options *o = call->options;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    const int view[TDM_MODALITIES] = {
        [TDM_IMAGE] = view_named(TDM_IMAGE, o->image_view), [TDM_TEXT] = view_named(TDM_TEXT, o->text_view)};
    room r = {0};
    TDM_TRY(room_take(call, call->nn->scratch, &r));
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const direction dir =
            direction_make(call, (tdm_modality)m, view, o->positives == POSITIVES_IDENTITY, r.index);
        const double count = (double)dir.with_positive;
        double loss = 0.0;
        for (int64_t at = 0; count > 0.0 && at < dir.query_rows->b; at += r.block)
            TDM_TRY(ritc_block(call, &dir, dir.query_rows->row0 + at,
                               tdm_min_i64(r.block, dir.query_rows->b - at),
                               (float)(0.5 * call->weight / count), &r, &loss));
        if (count == 0.0) continue;
        call->term[0] += 0.5 * loss / count;
        call->term[1 + m] += loss / count;
    }
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const ritc_terms[] = {"ritc", "ritc_image_to_text", "ritc_text_to_image", NULL};

const tdm_loss tdm_loss_ritc = {
    .name = "ritc",
    .terms = ritc_terms,
    .options = ritc_rows,
    .option_count = sizeof(ritc_rows) / sizeof(ritc_rows[0]),
    .option_bytes = sizeof(ritc_options),
    .needs = ritc_needs,
    .tie = ritc_tie,
    .check = ritc_check,
    .scratch_bytes = ritc_scratch_bytes,
    .step = ritc_step,
};
