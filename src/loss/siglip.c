/* The sigmoid loss of SigLIP (Zhai et al., arXiv 2303.15343, equation 1): every image and every text of the global
 * batch is a question of its own, does the pair belong together?
 *
 *     L = -1/B sum_i sum_j log sigmoid(z_ij · (exp(logit_scale) · v_i·t_j + bias)),   z_ij = 1 for a pair, else -1
 *
 * bias is learned, from -10: most pairs do not belong together. B is the mean of the numbers of images and texts.
 * A rank computes the rows of its own images, in blocks. */
#include "loss_impl.h"

#include <math.h>

enum { POSITIVES_PAIR, POSITIVES_IDENTITY };

typedef struct siglip_options {
    tdm_loss_common common;
    int positives;
    const char *image_view, *text_view;
    double bias_init;
} siglip_options;

static const tdm_option siglip_rows[] = {
    TDM_LOSS_COMMON_OPTIONS,
    TDM_CHOICE_OPTION(siglip_options, positives, "pair", "pair|identity",
                      "What belongs together: the pair only, or everything of one identity."),
    TDM_OPTION_ROW(TDM_OPTION_FLOAT, siglip_options, bias_init, "-10.0", -1000, 1000, NULL, "",
                   "Initial value of the learned bias.", NULL, TDM_CHANGE_START),
    TDM_STRING_OPTION(siglip_options, image_view, "aug_1", "View of the image."),
    TDM_STRING_OPTION(siglip_options, text_view, "plain", "View of the text."),
};

typedef struct siglip_state {
    int64_t bias; /* row loss.siglip.bias */
} siglip_state;

static void siglip_needs(const void *options, tdm_loss_needs *needs)
{
    const siglip_options *o = options;
    needs->view[view_named(TDM_IMAGE, o->image_view)] = TDM_NEED_ALL;
    needs->view[view_named(TDM_TEXT, o->text_view)] = TDM_NEED_ALL;
}

static tdm_tie siglip_tie(const void *options)
{
    const siglip_options *o = options;
    return o->positives == POSITIVES_IDENTITY ? TDM_TIE_IDENTITY : TDM_TIE_SAMPLE;
}

static tdm_status siglip_check(const void *options, const tdm_loss_setup *setup)
{
    (void)setup;
    const siglip_options *o = options;
    TDM_TRY(check_view("loss.siglip.image_view", TDM_IMAGE, o->image_view));
    return check_view("loss.siglip.text_view", TDM_TEXT, o->text_view);
}

static tdm_status siglip_create(const void *options, const tdm_loss_setup *setup, void **state)
{
    const siglip_options *o = options;
    siglip_state *s;
    TDM_TRY(TDM_ALLOC(1, &s));
    *state = s;
    return tdm_declare(setup->nn->params, &s->bias, TDM_INIT_CONSTANT, o->bias_init, 0, NULL, "loss.siglip",
                       "bias");
}

static void siglip_destroy(void **state)
{
    tdm_free(*state);
    *state = NULL;
}

/* Temporaries of `block` rows. */
typedef struct room {
    int64_t block;
    float *logits;                   /* [block][B texts]; becomes dL/dlogits without weight */
    float *drow;                     /* [block][d] */
    key_index index[TDM_MODALITIES]; /* of the texts */
} room;

static tdm_status room_take(const tdm_loss_call *call, tdm_scratch *scratch, room *r)
{
    const siglip_options *o = call->options;
    const tdm_loss_rows *image = &call->rows[TDM_IMAGE], *text = &call->rows[TDM_TEXT];
    r->block = block_rows_of(image->b, text->B);
    TDM_TAKE(scratch, r->block * text->B, &r->logits);
    TDM_TAKE(scratch, r->block * call->d, &r->drow);
    return key_index_make(scratch, text->B, o->positives == POSITIVES_PAIR ? text->sample : text->identity,
                          &r->index[TDM_TEXT]);
}

static int64_t siglip_scratch_bytes(const tdm_loss_call *call)
{
    room r;
    tdm_scratch count = {.capacity_bytes = SIZE_MAX};
    return room_take(call, &count, &r) == TDM_OK ? (int64_t)count.used_bytes : 0;
}

/* log(1 + e^x), without overflow. */
static double softplus(double x)
{
    return x > 0.0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

/* One row of logits without bias: its loss; leaves dL/dlogits. Positives stand in texts[begin, end). */
static double row_loss(const key_index *texts, int64_t begin, int64_t end, int64_t B, float bias, float *x)
{
    double loss = 0.0;
    for (int64_t k = begin; k < end; k++)
        loss -= (double)x[texts->pair[k][1]] + bias; /* softplus(-x) = softplus(x) - x */
    for (int64_t j = 0; j < B; j++) {
        const double logit = (double)x[j] + bias;
        loss += softplus(logit);
        x[j] = (float)(1.0 / (1.0 + exp(-logit)));
    }
    for (int64_t k = begin; k < end; k++) x[texts->pair[k][1]] -= 1.0f;
    return loss;
}

static tdm_status siglip_block(const tdm_loss_call *call, const direction *dir, int64_t first, int64_t n,
                               double divisor, const room *r, double *loss)
{
    const siglip_state *s = call->state;
    const int64_t B = dir->answer_rows->B;
    const float bias = *tdm_weight_of(call->nn->params, s->bias), dscale = (float)(call->weight / divisor);
    double dbias = 0.0;
    TDM_TRY(direction_logits(call, dir, first, n, r->logits));
    for (int64_t i = 0; i < n; i++) {
        int64_t begin, end;
        float *row = r->logits + i * B;
        key_index_find(dir->answers, dir->key[first + i], &begin, &end);
        *loss += row_loss(dir->answers, begin, end, B, bias, row);
        for (int64_t j = 0; j < B; j++) dbias += row[j];
    }
    *tdm_grad_of(call->nn->params, s->bias) += (float)(dscale * dbias);
    return direction_backward(call, dir, first, n, dscale, r->logits, r->drow);
}

static tdm_status siglip_step(const tdm_loss_call *call)
{
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    const siglip_options *o = call->options;
    const tdm_loss_rows *image = &call->rows[TDM_IMAGE];
    const double divisor = 0.5 * (double)(image->B + call->rows[TDM_TEXT].B);
    room r = {0};
    TDM_TRY(room_take(call, call->nn->scratch, &r));
    const int view[TDM_MODALITIES] = {
        [TDM_IMAGE] = view_named(TDM_IMAGE, o->image_view), [TDM_TEXT] = view_named(TDM_TEXT, o->text_view)};
    const direction dir = direction_make(call, TDM_IMAGE, view, o->positives == POSITIVES_IDENTITY, r.index);
    for (int64_t at = 0; at < image->b; at += r.block) {
        double loss = 0.0;
        TDM_TRY(siglip_block(call, &dir, image->row0 + at, tdm_min_i64(r.block, image->b - at), divisor, &r,
                             &loss));
        call->term[0] += loss / divisor;
    }
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const siglip_terms[] = {"siglip", NULL};

const tdm_loss tdm_loss_siglip = {
    .name = "siglip",
    .terms = siglip_terms,
    .options = siglip_rows,
    .option_count = sizeof(siglip_rows) / sizeof(siglip_rows[0]),
    .option_bytes = sizeof(siglip_options),
    .needs = siglip_needs,
    .tie = siglip_tie,
    .check = siglip_check,
    .create = siglip_create,
    .destroy = siglip_destroy,
    .scratch_bytes = siglip_scratch_bytes,
    .step = siglip_step,
};
