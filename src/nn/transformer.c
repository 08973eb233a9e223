/* Pre-LayerNorm residual blocks as in CLIP (Radford et al., "Learning transferable visual models from natural
 * language supervision", 2021; github openai/CLIP, clip/model.py):
 *
 *     x = x + out_proj(attention(qkv(ln_1(x))))
 *     x = x + c_proj(activation(c_fc(ln_2(x))))
 *
 * The residual stream x is f32; what enters and leaves a matmul has the context's activation dtype. Each
 * residual sum is done by the LayerNorm that reads it next, so a branch is read once.
 *
 * Mostly only one row of each sequence of the last block's output is wanted. Behind its attention, which sees
 * all rows, the last block then works on these rows alone ("picked"), forward and backward.
 *
 * Activation checkpointing (Chen et al., arXiv 1604.06174): a tape's tensors come in groups, and only those
 * up to scope->level are kept for backward, which makes the others again in room that the blocks share: with
 * the same kernels from the same operands, so that the results are the same bits. */
#include "transformer_impl.h"

#include <string.h>

static void branch_dropout(tdm_transformer *tr, const tdm_sequences *rows, const tdm_pass *mode,
                           int64_t layer, int which, void *branch)
{
    if (!mode->train || tr->dropout == 0.0) return;
    tdm_dropout(tr->ops, tr->dropout, mode->seed, mode->step,
                tr->dropout_site + (uint32_t)(2 * layer + which), rows->n_seq, rows->seq, rows->sample,
                rows->place, tr->width, branch);
}

/* The branch of rows that is left out. */
static void zero_branch(const tdm_transformer *tr, const tdm_sequences *rows, void *branch)
{
    memset(branch, 0, tdm_dtype_bytes(tdm_ops_dtype(tr->ops)) * (size_t)(rows->t * tr->width));
}

/* The sites of the attentions lie behind those of 1,000 blocks' branches. */
enum { ATTENTION_SITES = 2048 };

/* Dropout of a block's attention, filled into `room`; NULL: none. */
static const tdm_attention_dropout *attention_dropout(const tdm_transformer *tr,
                                                      const tdm_transformer_tape *tape, int64_t layer,
                                                      tdm_attention_dropout *room)
{
    if (!tape->mode.train || tr->attention_dropout == 0.0) return NULL;
    *room = (tdm_attention_dropout){.p = tr->attention_dropout,
                                    .seed = tape->mode.seed,
                                    .step = tape->mode.step,
                                    .site = tr->dropout_site + ATTENTION_SITES + (uint32_t)layer,
                                    .sample = tape->rows.sample};
    return room;
}

/* ---- Forward ---- */

/* From n1 to branch [t][width]. */
static tdm_status attention_forward(tdm_transformer *tr, int64_t layer, const tdm_transformer_tape *tape,
                                    void *branch)
{
    const block *b = &tr->block[layer];
    const block_tape *k = &tape->block[layer];
    const tdm_sequences *rows = &tape->rows;
    const int64_t t = rows->t, w = tr->width;
    if (b->without & TDM_BLOCK_ATTENTION) {
        zero_branch(tr, rows_behind_attention(tr, tape, layer), branch);
        return TDM_OK;
    }
    TDM_TRY(tdm_linear_forward(b->qkv, t, k->n1, k->qkv));
    tdm_attention_dropout drops;
    tdm_attention_forward(tr->ops, rows->n_seq, rows->seq, tr->heads, w / tr->heads, tr->causal,
                          attention_dropout(tr, tape, layer, &drops), k->qkv, k->attention, k->lse);
    const tdm_sequences *behind = rows_behind_attention(tr, tape, layer);
    if (picks(tr, tape->n, layer)) tape_pick_act(tr, tape, k->attention, k->picked_attention);
    TDM_TRY(tdm_linear_forward(b->out, behind->t,
                               picks(tr, tape->n, layer) ? k->picked_attention : k->attention, branch));
    branch_dropout(tr, behind, &tape->mode, layer, 0, branch);
    return TDM_OK;
}

/* x_mid = x + branch, and its LayerNorm. */
static void middle_forward(tdm_transformer *tr, int64_t layer, const tdm_transformer_tape *tape,
                           const float *x, const void *branch)
{
    const block *b = &tr->block[layer];
    const block_tape *k = &tape->block[layer];
    const tdm_params *p = tr->params;
    if (picks(tr, tape->n, layer)) tape_pick(tr, tape, x, k->picked_x);
    tdm_layernorm_forward(tr->ops, rows_behind_attention(tr, tape, layer)->t, tr->width,
                          picks(tr, tape->n, layer) ? k->picked_x : x, branch, k->x_mid,
                          tdm_weight_of(p, b->ln2_weight), tdm_weight_of(p, b->ln2_bias), k->n2, k->mean2,
                          k->rstd2);
}

/* x (+ pending branch of the block before) enters, a new pending branch leaves: x_mid + *branch is the
 * block's output. `activated` [t][mlp_width] and branch [t][width] are temporaries. */
static tdm_status block_forward(tdm_transformer *tr, int64_t layer, const tdm_transformer_tape *tape,
                                const float *x, const void *pending, void *activated, void *branch)
{
    const block *b = &tr->block[layer];
    const block_tape *k = &tape->block[layer];
    const tdm_params *p = tr->params;
    const tdm_sequences *behind = rows_behind_attention(tr, tape, layer);
    const int64_t t = behind->t;
    tdm_layernorm_forward(tr->ops, tape->rows.t, tr->width, x, pending, k->x_in,
                          tdm_weight_of(p, b->ln1_weight), tdm_weight_of(p, b->ln1_bias), k->n1, k->mean1,
                          k->rstd1);
    TDM_TRY(attention_forward(tr, layer, tape, branch));
    middle_forward(tr, layer, tape, pending ? k->x_in : x, branch);
    if (b->without & TDM_BLOCK_MLP) {
        zero_branch(tr, behind, branch);
        return TDM_OK;
    }
    TDM_TRY(tdm_linear_forward(b->fc, t, k->n2, k->hidden));
    tdm_activation_forward(tr->ops, tr->activation, t * tr->mlp_width, k->hidden, activated);
    TDM_TRY(tdm_linear_forward(b->proj, t, activated, branch));
    branch_dropout(tr, behind, &tape->mode, layer, 1, branch);
    return TDM_OK;
}

/* Fills the groups of a block's tape that were not kept. branch [t][width] is a temporary. */
static tdm_status block_again(tdm_transformer *tr, int64_t layer, const tdm_transformer_tape *tape,
                              void *branch)
{
    const block *b = &tr->block[layer];
    const block_tape *k = &tape->block[layer];
    const tdm_params *p = tr->params;
    const int64_t t = rows_behind_attention(tr, tape, layer)->t;
    if (tr->scope->level == TDM_KEEP_ALL) return TDM_OK;
    tdm_layernorm_again(tr->ops, tape->rows.t, tr->width, k->x_in, k->mean1, k->rstd1,
                        tdm_weight_of(p, b->ln1_weight), tdm_weight_of(p, b->ln1_bias), k->n1);
    if (tr->scope->level == TDM_KEEP_INPUT) {
        TDM_TRY(attention_forward(tr, layer, tape, branch));
        middle_forward(tr, layer, tape, k->x_in, branch);
    } else {
        tdm_layernorm_again(tr->ops, t, tr->width, k->x_mid, k->mean2, k->rstd2,
                            tdm_weight_of(p, b->ln2_weight), tdm_weight_of(p, b->ln2_bias), k->n2);
    }
    return b->without & TDM_BLOCK_MLP ? TDM_OK : tdm_linear_forward(b->fc, t, k->n2, k->hidden);
}

/* No block runs. */
static void identity_forward(const tdm_transformer *tr, const tdm_transformer_tape *tape, const float *x,
                             float *out)
{
    if (tape->n == ALL_ROWS)
        memcpy(out, x, sizeof(float) * (size_t)(tape->rows.t * tr->width));
    else
        tdm_gather_rows(tr->ops, tape->n, tr->width, tape->out_row, x, out);
}

static void identity_backward(const tdm_transformer *tr, const tdm_transformer_tape *tape, const float *dout,
                              float *dx)
{
    if (tape->n == ALL_ROWS)
        memcpy(dx, dout, sizeof(float) * (size_t)(tape->rows.t * tr->width));
    else
        tape_put_back(tr, tape, dout, dx);
}

/* Temporaries of a forward beside the tapes. */
static tdm_status forward_take(const tdm_transformer *tr, tdm_scratch *s, int64_t t, void **activated,
                               void **branch)
{
    TDM_TAKE_ACT(s, tr->ops, t * tr->mlp_width, activated);
    TDM_TAKE_ACT(s, tr->ops, t * tr->width, branch);
    return TDM_OK;
}

tdm_status tdm_transformer_forward(tdm_transformer *tr, const tdm_sequences *rows, const tdm_pass *mode,
                                   float *x, int64_t n, const int64_t *out_row, float *out,
                                   tdm_transformer_tape **tape)
{
    if (!out_row) n = ALL_ROWS;
    const int64_t t = rows->t, first_kept = tape ? lowest_block(tr) : tr->layers;
    const size_t entry = tdm_scratch_mark(tr->scratch);
    tdm_transformer_tape *k;
    void *activated, *branch;
    TDM_TRY(tdm_scratch_take(tr->scratch, tape_bytes(tr, n), (void **)&k));
    tape_rows(tr, rows, n, out_row, k);
    k->mode = *mode;
    TDM_TRY(tapes_keep(tr, tr->scratch, t, n, first_kept, x, k->block));
    const size_t kept = tape ? tdm_scratch_mark(tr->scratch) : entry;
    TDM_TRY(tapes_share(tr, tr->scratch, t, n, first_kept, k->block));
    TDM_TRY(forward_take(tr, tr->scratch, t, &activated, &branch));

    const float *stream = x;
    void *pending = NULL;
    for (int64_t i = tr->first; i <= tr->last; i++) {
        if (!runs(tr, i)) continue;
        TDM_TRY(block_forward(tr, i, k, stream, pending, activated, branch));
        stream = k->block[i].x_mid;
        pending = branch;
    }
    if (tr->last < 0)
        identity_forward(tr, k, x, out);
    else
        tdm_layernorm_forward(tr->ops, n == ALL_ROWS ? t : n, tr->width, stream, pending, out, NULL, NULL,
                              NULL, NULL, NULL);
    tdm_scratch_rewind(tr->scratch, kept);
    if (tape) *tape = k;
    return TDM_OK;
}

/* Temporaries of the backward, shared by the blocks: gradients of what their names say. The MLP's is gone
 * before the attention's begin. */
typedef struct block_gradients {
    void *branch, *normed;
    void *hidden; /* in the room of the next two */
    void *attention, *qkv;
    float *picked; /* of the residual stream's picked rows */
} block_gradients;

static tdm_status gradients_take(const tdm_transformer *tr, tdm_scratch *s, int64_t t, int64_t n,
                                 block_gradients *d)
{
    TDM_TAKE(s, picked_rows(n) * tr->width, &d->picked);
    TDM_TAKE_ACT(s, tr->ops, t * tr->width, &d->branch);
    TDM_TAKE_ACT(s, tr->ops, t * tr->width, &d->normed);
    const size_t mark = tdm_scratch_mark(s);
    TDM_TAKE_ACT(s, tr->ops, t * tr->mlp_width, &d->hidden);
    tdm_scratch_rewind(s, mark);
    TDM_TAKE_ACT(s, tr->ops, t * tr->width, &d->attention);
    TDM_TAKE_ACT(s, tr->ops, t * tr->width * 3, &d->qkv);
    return TDM_OK;
}

/* x_out = x_mid + dropout(c_proj(activation(c_fc(ln_2(x_mid))))). Returns where nothing below is trained. */
static tdm_status mlp_backward(tdm_transformer *tr, int64_t layer, const tdm_transformer_tape *tape,
                               block_gradients *d, float *dx)
{
    const tdm_params *p = tr->params;
    const block *b = &tr->block[layer];
    const block_tape *k = &tape->block[layer];
    const tdm_sequences *behind = rows_behind_attention(tr, tape, layer);
    const int64_t t = behind->t, w = tr->width, m = tr->mlp_width;
    void *activated = k->hidden; /* takes the place of what it is made from */
    branch_dropout(tr, behind, &tape->mode, layer, 1, d->branch);
    if (tdm_goes_below(tr->scope, b->proj_weight)) {
        TDM_TRY(tdm_linear_backward_data(b->proj, t, d->branch, d->hidden));
        tdm_activation_backward(tr->ops, tr->activation, t * m, k->hidden, d->hidden, d->hidden, activated);
    } else {
        tdm_activation_forward(tr->ops, tr->activation, t * m, k->hidden, activated);
    }
    TDM_TRY(tdm_weight_gradient(p, b->proj, b->proj_weight, b->proj_bias, t, activated, d->branch));
    if (!tdm_goes_below(tr->scope, b->proj_weight)) return TDM_OK;
    TDM_TRY(tdm_weight_gradient(p, b->fc, b->fc_weight, b->fc_bias, t, k->n2, d->hidden));
    if (!tdm_goes_below(tr->scope, b->fc_weight)) return TDM_OK;
    TDM_TRY(tdm_linear_backward_data(b->fc, t, d->hidden, d->normed));
    tdm_layernorm_backward(tr->ops, t, w, d->normed, k->x_mid, k->mean2, k->rstd2,
                           tdm_weight_of(p, b->ln2_weight), true, dx, d->branch,
                           tdm_grad_of(p, b->ln2_weight), tdm_grad_of(p, b->ln2_bias));
    return TDM_OK;
}

/* d->attention from d->branch; in the last block dx as well, which was d->picked so far. */
static tdm_status out_backward(tdm_transformer *tr, int64_t layer, const tdm_transformer_tape *tape,
                               block_gradients *d, float *dx)
{
    const block *b = &tr->block[layer];
    if (!picks(tr, tape->n, layer))
        return tdm_linear_backward_data(b->out, tape->rows.t, d->branch, d->attention);
    TDM_TRY(tdm_linear_backward_data(b->out, tape->picked.t, d->branch, d->normed));
    tape_put_back_act(tr, tape, d->normed, d->attention);
    tape_put_back(tr, tape, d->picked, dx);
    return TDM_OK;
}

/* x_mid = x_in + dropout(out_proj(attention(qkv(ln_1(x_in))))). Returns where nothing below is trained. */
static tdm_status attention_backward(tdm_transformer *tr, int64_t layer, const tdm_transformer_tape *tape,
                                     block_gradients *d, float *dx)
{
    const tdm_params *p = tr->params;
    const tdm_sequences *rows = &tape->rows;
    const block *b = &tr->block[layer];
    const block_tape *k = &tape->block[layer];
    const int64_t t = rows->t, w = tr->width;
    const tdm_sequences *behind = rows_behind_attention(tr, tape, layer);
    branch_dropout(tr, behind, &tape->mode, layer, 0, d->branch);
    TDM_TRY(tdm_weight_gradient(p, b->out, b->out_weight, b->out_bias, behind->t,
                                picks(tr, tape->n, layer) ? k->picked_attention : k->attention, d->branch));
    if (!tdm_goes_below(tr->scope, b->out_weight)) return TDM_OK;
    TDM_TRY(out_backward(tr, layer, tape, d, dx));
    tdm_attention_dropout drops;
    tdm_attention_backward(tr->ops, rows->n_seq, rows->seq, tr->heads, w / tr->heads, tr->causal,
                           attention_dropout(tr, tape, layer, &drops), k->qkv, k->attention, k->lse,
                           d->attention, d->qkv);
    TDM_TRY(tdm_weight_gradient(p, b->qkv, b->qkv_weight, b->qkv_bias, t, k->n1, d->qkv));
    if (!tdm_goes_below(tr->scope, b->qkv_weight)) return TDM_OK;
    TDM_TRY(tdm_linear_backward_data(b->qkv, t, d->qkv, d->normed));
    tdm_layernorm_backward(tr->ops, t, w, d->normed, k->x_in, k->mean1, k->rstd1,
                           tdm_weight_of(p, b->ln1_weight), true, dx, d->branch,
                           tdm_grad_of(p, b->ln1_weight), tdm_grad_of(p, b->ln1_bias));
    return TDM_OK;
}

/* x_mid = x_in: the gradient goes through. */
static void no_attention_backward(tdm_transformer *tr, int64_t layer, const tdm_transformer_tape *tape,
                                  block_gradients *d, float *dx)
{
    if (!picks(tr, tape->n, layer)) return;
    tape_put_back(tr, tape, d->picked, dx);
    tdm_to_act(tr->ops, tape->rows.t * tr->width, dx, d->branch);
}

static tdm_status block_backward(tdm_transformer *tr, int64_t layer, const tdm_transformer_tape *tape,
                                 block_gradients *d, float *dx)
{
    const block *b = &tr->block[layer];
    if (!(b->without & TDM_BLOCK_MLP))
        TDM_TRY(mlp_backward(tr, layer, tape, d, picks(tr, tape->n, layer) ? d->picked : dx));
    if (!tdm_goes_below(tr->scope, b->ln2_weight)) return TDM_OK;
    if (!(b->without & TDM_BLOCK_ATTENTION)) return attention_backward(tr, layer, tape, d, dx);
    no_attention_backward(tr, layer, tape, d, dx);
    return TDM_OK;
}

tdm_status tdm_transformer_backward(tdm_transformer *tr, tdm_transformer_tape *tape, const float *dout,
                                    float *dx, tdm_final_from *final_from, void *context)
{
    if (tr->last < 0) {
        identity_backward(tr, tape, dout, dx);
        return TDM_OK;
    }
    const size_t entry = tdm_scratch_mark(tr->scratch);
    const int64_t t = tape->rows.t, n = tape->n, w = tr->width, lowest = lowest_block(tr);
    block_tape shared = {0};
    block_gradients d;
    TDM_TRY(tape_take(tr, tr->scratch, (block_rows){t, t, picked_rows(n)}, tr->scope->level, TDM_KEEP_ALL,
                      &shared));
    TDM_TRY(gradients_take(tr, tr->scratch, t, n, &d));

    if (n == ALL_ROWS) {
        memcpy(dx, dout, sizeof(float) * (size_t)(t * w));
        tdm_to_act(tr->ops, t * w, dx, d.branch);
    } else {
        memcpy(d.picked, dout, sizeof(float) * (size_t)(n * w));
        memset(d.picked + n * w, 0, sizeof(float) * (size_t)((tape->picked.t - n) * w));
        tdm_to_act(tr->ops, tape->picked.t * w, d.picked, d.branch);
    }
    for (int64_t i = tr->last; i >= lowest; i--) {
        if (!runs(tr, i)) continue;
        if (tr->scope->level < TDM_KEEP_ALL) tape_share(&tape->block[i], tr->scope->level, &shared);
        TDM_TRY(block_again(tr, i, tape, d.normed));
        TDM_TRY(block_backward(tr, i, tape, &d, dx));
        if (final_from) final_from(context, tr->params->row[tr->block[i].ln1_weight].offset);
    }
    tdm_scratch_rewind(tr->scratch, entry);
    return TDM_OK;
}

tdm_status tdm_transformer_scratch_bytes(const tdm_transformer *tr, int64_t t, int64_t n,
                                         tdm_transformer_bytes *bytes)
{
    tdm_scratch kept = {.capacity_bytes = SIZE_MAX}, lone = kept;
    block_tape *tapes = NULL, shared = {0};
    float x; /* the first input has room already */
    block_gradients d;
    void *activated, *branch;
    TDM_TRY(TDM_ALLOC(tr->layers, &tapes));
    kept.used_bytes = lone.used_bytes = tape_bytes(tr, n);
    tdm_status status = tapes_keep(tr, &kept, t, n, lowest_block(tr), &x, tapes);
    tdm_scratch forward = {.capacity_bytes = SIZE_MAX}, backward = forward;
    if (status == TDM_OK) status = tapes_share(tr, &forward, t, n, lowest_block(tr), tapes);
    if (status == TDM_OK) status = forward_take(tr, &forward, t, &activated, &branch);
    if (status == TDM_OK)
        status = tape_take(tr, &backward, (block_rows){t, t, picked_rows(n)}, tr->scope->level, TDM_KEEP_ALL,
                           &shared);
    if (status == TDM_OK) status = gradients_take(tr, &backward, t, n, &d);
    if (status == TDM_OK) status = tapes_share(tr, &lone, t, n, tr->layers, tapes);
    if (status == TDM_OK) status = forward_take(tr, &lone, t, &activated, &branch);
    *bytes = (tdm_transformer_bytes){.kept = kept.used_bytes,
                                     .forward = forward.peak_bytes,
                                     .backward = backward.peak_bytes,
                                     .lone = lone.peak_bytes};
    tdm_free(tapes);
    return status;
}
