/* A classifier of identities on the features of both modalities before normalisation (TBPS-CLIP's ID loss, github
 * Flame-Chasers/TBPS-CLIP):
 *
 *     L = 1/2 [ mean_i CE(W v_i + b, id_i) + mean_j CE(W t_j + b, id_j) ]
 *
 * over the images and the texts of the global batch; W [identities][embed_dim] is the objective's own. Local: a row
 * needs no other. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

typedef struct identity_options {
    tdm_loss_common common;
    const char *image_view, *text_view;
} identity_options;

static const tdm_option identity_rows[] = {
    TDM_LOSS_COMMON_OPTIONS,
    TDM_STRING_OPTION(identity_options, image_view, "aug_1", "View of the image."),
    TDM_STRING_OPTION(identity_options, text_view, "plain", "View of the text."),
};

typedef struct identity_state {
    tdm_nn_linear classifier;
    int64_t identities;
    int64_t *identity; /* [identities] ascending: class c is identity[c] */
} identity_state;

static void identity_needs(const void *options, tdm_loss_needs *needs)
{
    const identity_options *o = options;
    needs->view[view_named(TDM_IMAGE, o->image_view)] = TDM_NEED_RAW;
    needs->view[view_named(TDM_TEXT, o->text_view)] = TDM_NEED_RAW;
}

static tdm_status identity_check(const void *options, const tdm_loss_setup *setup)
{
    const identity_options *o = options;
    TDM_TRY(check_view("loss.identity.image_view", TDM_IMAGE, o->image_view));
    TDM_TRY(check_view("loss.identity.text_view", TDM_TEXT, o->text_view));
    TDM_REQUIRE(setup->identities >= 2, TDM_E_CONFIG,
                "loss.identity: the training data have %lld identities, a classifier needs two or more",
                (long long)setup->identities);
    return TDM_OK;
}

static tdm_status identity_create(const void *options, const tdm_loss_setup *setup, void **state)
{
    (void)options;
    identity_state *s;
    tdm_params *p = setup->nn->params;
    TDM_TRY(TDM_ALLOC(1, &s));
    *state = s;
    s->identities = setup->identities;
    TDM_TRY(TDM_ALLOC(s->identities, &s->identity));
    memcpy(s->identity, setup->identity, sizeof(int64_t) * (size_t)s->identities);
    TDM_TRY(
        tdm_nn_linear_declare(p, "loss.identity.classifier", setup->d, s->identities, true, &s->classifier));
    p->row[s->classifier.weight].init = TDM_INIT_NORMAL; /* as released: normal of 0.001, bias 0 */
    p->row[s->classifier.weight].init_value = 0.001;
    p->row[s->classifier.bias].init = TDM_INIT_ZERO;
    return TDM_OK;
}

static void identity_destroy(void **state)
{
    identity_state *s = *state;
    if (s) tdm_free(s->identity);
    tdm_free(s);
    *state = NULL;
}

/* Temporaries of `block` rows. */
typedef struct room {
    int64_t block;
    float *logits, *dx; /* [block][identities], [block][d] */
} room;

static tdm_status room_take(const tdm_loss_call *call, tdm_scratch *scratch, room *r)
{
    const identity_state *s = call->state;
    r->block = block_rows_of(tdm_max_i64(call->rows[TDM_IMAGE].b, call->rows[TDM_TEXT].b), s->identities);
    TDM_TAKE(scratch, r->block * s->identities, &r->logits);
    TDM_TAKE(scratch, r->block * call->d, &r->dx);
    return TDM_OK;
}

static int64_t identity_scratch_bytes(const tdm_loss_call *call)
{
    room r;
    tdm_scratch count = {.capacity_bytes = SIZE_MAX};
    return room_take(call, &count, &r) == TDM_OK ? (int64_t)count.used_bytes : 0;
}

static int64_t class_of(const identity_state *s, int64_t identity)
{
    const int64_t c = tdm_lower_bound(s->identity, s->identities, identity);
    return c < s->identities && s->identity[c] == identity ? c : -1;
}

static tdm_status classify(const tdm_loss_call *call, tdm_modality m, int v, const room *r)
{
    const identity_state *s = call->state;
    const tdm_loss_rows *rows = &call->rows[m];
    const tdm_loss_view *view = &call->view[v];
    const int64_t d = call->d;
    const float factor = (float)(call->weight * 0.5 / (double)rows->B);
    double loss = 0.0;
    for (int64_t at = 0; at < rows->b; at += r->block) {
        const int64_t n = tdm_min_i64(r->block, rows->b - at);
        TDM_TRY(tdm_nn_linear_forward(call->nn, &s->classifier, n, view->raw + at * d, r->logits));
        for (int64_t i = 0; i < n; i++) {
            const int64_t identity = rows->identity[rows->row0 + at + i], target = class_of(s, identity);
            TDM_REQUIRE(target >= 0, TDM_E_DATA,
                        "loss.identity: identity %lld is none of the training data's", (long long)identity);
            loss += class_row_loss(s->identities, target, factor, r->logits + i * s->identities);
        }
        TDM_TRY(tdm_nn_linear_backward(call->nn, &s->classifier, n, view->raw + at * d, r->logits, r->dx));
        for (int64_t k = 0; k < n * d; k++) view->draw[at * d + k] += r->dx[k];
    }
    if (rows->b > 0) {
        call->term[0] += 0.5 * loss / (double)rows->B;
        call->term[1 + m] += loss / (double)rows->B;
    }
    return TDM_OK;
}

static tdm_status identity_step(const tdm_loss_call *call)
{
    const identity_options *o = call->options;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    room r;
    TDM_TRY(room_take(call, call->nn->scratch, &r));
    TDM_TRY(classify(call, TDM_IMAGE, view_named(TDM_IMAGE, o->image_view), &r));
    TDM_TRY(classify(call, TDM_TEXT, view_named(TDM_TEXT, o->text_view), &r));
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const identity_terms[] = {"identity", "identity_image", "identity_text", NULL};

const tdm_loss tdm_loss_identity = {
    .name = "identity",
    .terms = identity_terms,
    .options = identity_rows,
    .option_count = sizeof(identity_rows) / sizeof(identity_rows[0]),
    .option_bytes = sizeof(identity_options),
    .local = true,
    .by_identity = true,
    .needs = identity_needs,
    .check = identity_check,
    .create = identity_create,
    .destroy = identity_destroy,
    .scratch_bytes = identity_scratch_bytes,
    .step = identity_step,
};
