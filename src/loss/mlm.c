/* Masked language modelling over both modalities (TBPS-CLIP's MLM loss, github Flame-Chasers/TBPS-CLIP): tokens of
 * the caption are hidden, and told from the rest of the caption and from the image.
 *
 *     q = LN_t(text tokens),  k = v = LN_i(image tokens),  x = cross_attention(q, k)      no residual
 *     h = LN_post(blocks(x))                                 `depth` pre-LayerNorm blocks, no mask
 *     logits = W2 LN(QuickGELU(W1 h + b1)) + b2              at the hidden places only
 *     L = mean of the cross-entropies over all hidden places of the global batch
 *
 * Local: a caption needs no other row than its own image. Captions without an image are left out. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

typedef struct mlm_options {
    tdm_loss_common common;
    int64_t depth, heads;
    const char *image_view;
} mlm_options;

static const tdm_option mlm_rows[] = {
    TDM_LOSS_COMMON_OPTIONS,
    TDM_INT_OPTION(mlm_options, depth, "4", 1, 100, "blocks", "Blocks behind the cross-attention."),
    TDM_OPTION_ROW(TDM_OPTION_INT, mlm_options, heads, "8", 1, 1024, NULL, "heads",
                   "Attention heads of the cross-attention and of each block.", NULL, TDM_CHANGE_MEANING),
    TDM_STRING_OPTION(mlm_options, image_view, "aug_1", "View of the image whose tokens are seen."),
};

typedef struct mlm_state {
    int64_t tokens[TDM_MODALITIES]; /* of one row at most */
    int64_t vocab;
    tdm_nn_norm ln_text, ln_image, ln_post, head_norm;
    tdm_nn_cross_attention cross;
    tdm_transformer *blocks;
    tdm_nn_linear dense, decoder;
} mlm_state;

static void mlm_needs(const void *options, tdm_loss_needs *needs)
{
    const mlm_options *o = options;
    needs->view[view_named(TDM_IMAGE, o->image_view)] = TDM_NEED_TOKENS;
    needs->view[TDM_VIEW_TEXT_MASKED] = TDM_NEED_TOKENS;
}

static tdm_status mlm_check(const void *options, const tdm_loss_setup *setup)
{
    const mlm_options *o = options;
    TDM_TRY(check_view("loss.mlm.image_view", TDM_IMAGE, o->image_view));
    TDM_REQUIRE(setup->d % o->heads == 0, TDM_E_CONFIG,
                "loss.mlm.heads = %lld does not divide model.embed_dim = %lld", (long long)o->heads,
                (long long)setup->d);
    return TDM_OK;
}

/* Rows in forward order; initial values as released (standard deviations of CLIP's model code). */
static tdm_status declare(const mlm_options *o, const tdm_loss_setup *setup, mlm_state *s)
{
    tdm_params *p = setup->nn->params;
    const int64_t d = setup->d;
    const double residual_std = pow((double)d, -0.5) * pow(2.0 * (double)o->depth, -0.5);
    TDM_TRY(tdm_nn_norm_declare(p, "loss.mlm.ln_text", d, &s->ln_text));
    TDM_TRY(tdm_nn_norm_declare(p, "loss.mlm.ln_image", d, &s->ln_image));
    TDM_TRY(tdm_nn_cross_attention_declare(p, "loss.mlm.cross", d, o->heads, residual_std, &s->cross));
    const tdm_transformer_setup blocks = {.nn = setup->nn,
                                          .scope = setup->scope,
                                          .prefix = "loss.mlm",
                                          .width = d,
                                          .layers = o->depth,
                                          .heads = o->heads,
                                          .mlp_width = 4 * d,
                                          .activation = TDM_QUICKGELU};
    TDM_TRY(tdm_transformer_create(&blocks, &s->blocks));
    TDM_TRY(tdm_nn_norm_declare(p, "loss.mlm.ln_post", d, &s->ln_post));
    TDM_TRY(tdm_nn_linear_declare(p, "loss.mlm.head.dense", d, d, true, &s->dense));
    TDM_TRY(tdm_nn_norm_declare(p, "loss.mlm.head.norm", d, &s->head_norm));
    TDM_TRY(tdm_nn_linear_declare(p, "loss.mlm.head.decoder", d, s->vocab, true, &s->decoder));
    p->row[s->dense.weight].init = p->row[s->decoder.weight].init = TDM_INIT_NORMAL;
    p->row[s->dense.weight].init_value = pow(2.0 * (double)d, -0.5);
    p->row[s->decoder.weight].init_value = residual_std;
    return TDM_OK;
}

static tdm_status mlm_create(const void *options, const tdm_loss_setup *setup, void **state)
{
    mlm_state *s;
    TDM_TRY(TDM_ALLOC(1, &s));
    *state = s;
    s->vocab = setup->vocab_size;
    memcpy(s->tokens, setup->tokens, sizeof(s->tokens));
    return declare(options, setup, s);
}

static void mlm_destroy(void **state)
{
    mlm_state *s = *state;
    if (s) tdm_transformer_destroy(&s->blocks);
    tdm_free(s);
    *state = NULL;
}

static tdm_status mlm_load(void *state)
{
    return tdm_transformer_load(((mlm_state *)state)->blocks);
}

/* ---- Rows that have both ---- */

/* Image and text row, counted from the call's first, of the next sample at or behind *i and *t that has both. */
static bool next_pair(const tdm_loss_call *call, int64_t *i, int64_t *t)
{
    const tdm_loss_rows *image = &call->rows[TDM_IMAGE], *text = &call->rows[TDM_TEXT];
    while (*i < image->b && *t < text->b) {
        const int64_t a = image->sample[image->row0 + *i], b = text->sample[text->row0 + *t];
        if (a == b) return true;
        if (a < b)
            ++*i;
        else
            ++*t;
    }
    return false;
}

static int64_t count_hidden(const tdm_loss_view *text, int64_t row)
{
    int64_t count = 0;
    for (int64_t k = text->seq[row]; k < text->seq[row + 1]; k++) count += text->predict[k] >= 0;
    return count;
}

static double mlm_normalizer(const tdm_loss_call *call)
{
    const tdm_loss_view *text = &call->view[TDM_VIEW_TEXT_MASKED];
    double count = 0.0;
    for (int64_t i = 0, t = 0; text->predict && next_pair(call, &i, &t); i++, t++)
        count += (double)count_hidden(text, t);
    return count;
}

/* ---- Room ---- */

/* n pairs with `text` and `image` tokens in all, copied one behind the other; t: `text` rounded up. */
typedef struct room {
    int64_t n, t, hidden;
    int64_t *pair_text, *pair_image; /* [n] rows */
    int64_t *text_seq, *image_seq;   /* [n+2], [n+1] */
    int64_t *sample;                 /* [n+1] */
    int64_t *place;                  /* [hidden] rows of tokens */
    int32_t *target;                 /* [hidden] */
    float *xt, *xi, *nt, *ni;        /* tokens, and normalised */
    float *mean_t, *rstd_t, *mean_i, *rstd_i;
    tdm_nn_cross_attention_kept cross;
    float *x, *y, *dy, *dx;                   /* [t][d] into and out of the blocks, and gradients */
    float *picked, *normed, *mean_p, *rstd_p; /* [hidden][d] */
    float *dense, *active, *head, *mean_h, *rstd_h;
    float *dhead, *dnext; /* [hidden][d] */
    float *dnt, *dni;     /* gradients of nt and ni, then of the tokens */
    int64_t block;
    float *logits; /* [block][vocab] */
} room;

static tdm_status room_take(const mlm_state *s, int64_t d, int64_t n, int64_t text, int64_t image,
                            int64_t hidden, tdm_scratch *c, room *r)
{
    r->t = tdm_round_up(text, TDM_ROW_STEP);
    r->block = block_rows_of(hidden, s->vocab);
    TDM_TAKE(c, n, &r->pair_text);
    TDM_TAKE(c, n, &r->pair_image);
    TDM_TAKE(c, n + 2, &r->text_seq);
    TDM_TAKE(c, n + 1, &r->image_seq);
    TDM_TAKE(c, n + 1, &r->sample);
    TDM_TAKE(c, hidden, &r->place);
    TDM_TAKE(c, hidden, &r->target);
    float **const text_rows[] = {&r->xt, &r->nt, &r->dnt, &r->x, &r->y, &r->dy, &r->dx};
    for (size_t k = 0; k < sizeof(text_rows) / sizeof(text_rows[0]); k++) TDM_TAKE(c, r->t * d, text_rows[k]);
    float **const image_rows[] = {&r->xi, &r->ni, &r->dni};
    for (size_t k = 0; k < sizeof(image_rows) / sizeof(image_rows[0]); k++)
        TDM_TAKE(c, image * d, image_rows[k]);
    float **const hidden_rows[] = {&r->picked, &r->normed, &r->dense, &r->active,
                                   &r->head,   &r->dhead,  &r->dnext};
    for (size_t k = 0; k < sizeof(hidden_rows) / sizeof(hidden_rows[0]); k++)
        TDM_TAKE(c, hidden * d, hidden_rows[k]);
    TDM_TAKE(c, r->t, &r->mean_t);
    TDM_TAKE(c, r->t, &r->rstd_t);
    TDM_TAKE(c, image, &r->mean_i);
    TDM_TAKE(c, image, &r->rstd_i);
    float **const hidden_values[] = {&r->mean_p, &r->rstd_p, &r->mean_h, &r->rstd_h};
    for (size_t k = 0; k < sizeof(hidden_values) / sizeof(hidden_values[0]); k++)
        TDM_TAKE(c, hidden, hidden_values[k]);
    TDM_TAKE(c, r->block * s->vocab, &r->logits);
    return TDM_OK;
}

/* A piece of the longest rows. */
static int64_t largest_bytes(const mlm_state *s, int64_t d, int64_t n, int64_t *query, int64_t *key)
{
    room r;
    tdm_transformer_bytes blocks;
    tdm_scratch count = {.capacity_bytes = SIZE_MAX};
    for (int64_t i = 0; i <= n; i++) {
        query[i] = i * s->tokens[TDM_TEXT];
        key[i] = i * s->tokens[TDM_IMAGE];
    }
    const tdm_nn_pairs pairs = {.n = n, .query = query, .key = key};
    if (room_take(s, d, n, query[n], key[n], query[n], &count, &r) != TDM_OK) return 0;
    if (tdm_nn_cross_attention_take(&s->cross, &count, &pairs, &r.cross) != TDM_OK) return 0;
    if (tdm_transformer_scratch_bytes(s->blocks, r.t, -1, &blocks) != TDM_OK) return 0;
    const size_t cross = tdm_nn_cross_attention_backward_bytes(&s->cross, &pairs);
    return (int64_t)(count.used_bytes +
                     tdm_larger(cross, blocks.kept + tdm_larger(blocks.forward, blocks.backward))) +
           1024;
}

static int64_t mlm_scratch_bytes(const tdm_loss_call *call)
{
    const mlm_state *s = call->state;
    const int64_t n = tdm_min_i64(call->rows[TDM_IMAGE].b, call->rows[TDM_TEXT].b);
    int64_t *query = NULL, *key = NULL, bytes = 0;
    if (TDM_ALLOC(n + 1, &query) == TDM_OK && TDM_ALLOC(n + 1, &key) == TDM_OK)
        bytes = largest_bytes(s, call->d, n, query, key);
    tdm_free(query);
    tdm_free(key);
    return bytes;
}

/* ---- The step ---- */

static const tdm_loss_view *image_of(const tdm_loss_call *call)
{
    return &call->view[view_named(TDM_IMAGE, ((const mlm_options *)call->options)->image_view)];
}

static void count_rows(const tdm_loss_call *call, int64_t *n, int64_t *text, int64_t *image, int64_t *hidden)
{
    const tdm_loss_view *t_view = &call->view[TDM_VIEW_TEXT_MASKED], *i_view = image_of(call);
    *n = *text = *image = *hidden = 0;
    for (int64_t i = 0, t = 0; next_pair(call, &i, &t); i++, t++) {
        ++*n;
        *text += t_view->seq[t + 1] - t_view->seq[t];
        *image += i_view->seq[i + 1] - i_view->seq[i];
        *hidden += count_hidden(t_view, t);
    }
}

/* Copies the tokens of all pairs, and lists the hidden places. */
static void collect(const tdm_loss_call *call, room *r)
{
    const tdm_loss_view *t_view = &call->view[TDM_VIEW_TEXT_MASKED], *i_view = image_of(call);
    const int64_t d = call->d;
    r->n = r->hidden = 0;
    r->text_seq[0] = r->image_seq[0] = 0;
    for (int64_t i = 0, t = 0; next_pair(call, &i, &t); i++, t++, r->n++) {
        const int64_t at = r->text_seq[r->n], length = t_view->seq[t + 1] - t_view->seq[t];
        const int64_t patches = i_view->seq[i + 1] - i_view->seq[i];
        r->pair_text[r->n] = t;
        r->pair_image[r->n] = i;
        r->sample[r->n] = 0; /* no dropout here */
        memcpy(r->xt + at * d, t_view->tokens + t_view->seq[t] * d, sizeof(float) * (size_t)(length * d));
        memcpy(r->xi + r->image_seq[r->n] * d, i_view->tokens + i_view->seq[i] * d,
               sizeof(float) * (size_t)(patches * d));
        r->text_seq[r->n + 1] = at + length;
        r->image_seq[r->n + 1] = r->image_seq[r->n] + patches;
        for (int64_t k = 0; k < length; k++) {
            if (t_view->predict[t_view->seq[t] + k] < 0) continue;
            r->place[r->hidden] = at + k;
            r->target[r->hidden++] = t_view->predict[t_view->seq[t] + k];
        }
    }
    r->sample[r->n] = 0;
    r->text_seq[r->n + 1] = r->t; /* the filler */
}

/* Up to the rows before the decoder. */
static tdm_status forward(const tdm_loss_call *call, const tdm_sequences *rows, const tdm_nn_pairs *pairs,
                          room *r, tdm_transformer_tape **tape)
{
    const mlm_state *s = call->state;
    const tdm_nn *nn = call->nn;
    const int64_t d = call->d, text = pairs->query[pairs->n], image = pairs->key[pairs->n];
    const tdm_pass pass = {.train = true};
    tdm_nn_norm_forward(nn, &s->ln_text, text, r->xt, r->nt, r->mean_t, r->rstd_t);
    tdm_nn_norm_forward(nn, &s->ln_image, image, r->xi, r->ni, r->mean_i, r->rstd_i);
    TDM_TRY(tdm_nn_cross_attention_forward(nn, &s->cross, pairs, r->nt, r->ni, &r->cross, r->x));
    memset(r->x + text * d, 0, sizeof(float) * (size_t)((r->t - text) * d));
    TDM_TRY(tdm_transformer_forward(s->blocks, rows, &pass, r->x, 0, NULL, r->y, tape));
    tdm_gather_rows(nn->ops, r->hidden, d, r->place, r->y, r->picked);
    tdm_nn_norm_forward(nn, &s->ln_post, r->hidden, r->picked, r->normed, r->mean_p, r->rstd_p);
    TDM_TRY(tdm_nn_linear_forward(nn, &s->dense, r->hidden, r->normed, r->dense));
    tdm_nn_activation_forward(TDM_NN_QUICKGELU, r->hidden * d, r->dense, r->active);
    tdm_nn_norm_forward(nn, &s->head_norm, r->hidden, r->active, r->head, r->mean_h, r->rstd_h);
    return TDM_OK;
}

/* Logits in blocks: the loss, and dhead. */
static tdm_status decode(const tdm_loss_call *call, const room *r)
{
    const mlm_state *s = call->state;
    const int64_t d = call->d;
    const float factor = (float)(call->weight / call->normalizer);
    double loss = 0.0;
    for (int64_t at = 0; at < r->hidden; at += r->block) {
        const int64_t n = tdm_min_i64(r->block, r->hidden - at);
        TDM_TRY(tdm_nn_linear_forward(call->nn, &s->decoder, n, r->head + at * d, r->logits));
        for (int64_t i = 0; i < n; i++) {
            const int32_t target = r->target[at + i];
            TDM_REQUIRE(target < s->vocab, TDM_E_DATA,
                        "loss.mlm: token %d to predict is outside the vocabulary of %lld", target,
                        (long long)s->vocab);
            loss += class_row_loss(s->vocab, target, factor, r->logits + i * s->vocab);
        }
        TDM_TRY(
            tdm_nn_linear_backward(call->nn, &s->decoder, n, r->head + at * d, r->logits, r->dhead + at * d));
    }
    call->term[0] += loss / call->normalizer;
    return TDM_OK;
}

static tdm_status backward(const tdm_loss_call *call, const tdm_nn_pairs *pairs, room *r,
                           tdm_transformer_tape *tape)
{
    const mlm_state *s = call->state;
    const tdm_nn *nn = call->nn;
    const int64_t d = call->d, text = pairs->query[pairs->n], image = pairs->key[pairs->n];
    tdm_nn_norm_backward(nn, &s->head_norm, r->hidden, r->active, r->mean_h, r->rstd_h, r->dhead, r->dnext);
    tdm_nn_activation_backward(TDM_NN_QUICKGELU, r->hidden * d, r->dense, r->dnext, r->dnext);
    TDM_TRY(tdm_nn_linear_backward(nn, &s->dense, r->hidden, r->normed, r->dnext, r->dhead));
    tdm_nn_norm_backward(nn, &s->ln_post, r->hidden, r->picked, r->mean_p, r->rstd_p, r->dhead, r->dnext);
    memset(r->dy, 0, sizeof(float) * (size_t)(r->t * d));
    tdm_scatter_rows(nn->ops, r->hidden, d, r->place, r->dnext, r->dy);
    TDM_TRY(tdm_transformer_backward(s->blocks, tape, r->dy, r->dx, NULL, NULL));
    TDM_TRY(tdm_nn_cross_attention_backward(nn, &s->cross, pairs, r->nt, r->ni, &r->cross, r->dx, r->dnt,
                                            r->dni));
    tdm_nn_norm_backward(nn, &s->ln_text, text, r->xt, r->mean_t, r->rstd_t, r->dnt, r->dx);
    tdm_nn_norm_backward(nn, &s->ln_image, image, r->xi, r->mean_i, r->rstd_i, r->dni, r->ni);
    return TDM_OK;
}

/* Adds the gradients to those of the tokens; they stand in dx and ni. */
static void spread(const tdm_loss_call *call, const room *r)
{
    const tdm_loss_view *t_view = &call->view[TDM_VIEW_TEXT_MASKED], *i_view = image_of(call);
    const int64_t d = call->d;
    for (int64_t k = 0; k < r->n; k++) {
        float *text = t_view->dtokens + t_view->seq[r->pair_text[k]] * d;
        float *image = i_view->dtokens + i_view->seq[r->pair_image[k]] * d;
        for (int64_t j = r->text_seq[k] * d; j < r->text_seq[k + 1] * d; j++) *text++ += r->dx[j];
        for (int64_t j = r->image_seq[k] * d; j < r->image_seq[k + 1] * d; j++) *image++ += r->ni[j];
    }
}

static tdm_status mlm_step(const tdm_loss_call *call)
{
    const mlm_state *s = call->state;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    int64_t n, text, image, hidden;
    room r;
    tdm_transformer_tape *tape;
    TDM_REQUIRE(call->view[TDM_VIEW_TEXT_MASKED].predict, TDM_E_CONFIG,
                "loss.mlm: the view text.masked has no tokens to predict: views.masked.augment needs mask");
    count_rows(call, &n, &text, &image, &hidden);
    if (hidden == 0) return TDM_OK;
    TDM_TRY(room_take(s, call->d, n, text, image, hidden, call->nn->scratch, &r));
    collect(call, &r);
    const tdm_nn_pairs pairs = {.n = n, .query = r.text_seq, .key = r.image_seq};
    const tdm_sequences rows = {.t = r.t, .n_seq = n + 1, .seq = r.text_seq, .sample = r.sample};
    TDM_TRY(tdm_nn_cross_attention_take(&s->cross, call->nn->scratch, &pairs, &r.cross));
    TDM_TRY(forward(call, &rows, &pairs, &r, &tape));
    TDM_TRY(decode(call, &r));
    TDM_TRY(backward(call, &pairs, &r, tape));
    spread(call, &r);
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const mlm_terms[] = {"mlm", NULL};

const tdm_loss tdm_loss_mlm = {
    .name = "mlm",
    .terms = mlm_terms,
    .options = mlm_rows,
    .option_count = sizeof(mlm_rows) / sizeof(mlm_rows[0]),
    .option_bytes = sizeof(mlm_options),
    .local = true,
    .needs = mlm_needs,
    .tie = sample_tie,
    .check = mlm_check,
    .create = mlm_create,
    .destroy = mlm_destroy,
    .load = mlm_load,
    .normalizer = mlm_normalizer,
    .scratch_bytes = mlm_scratch_bytes,
    .step = mlm_step,
};
