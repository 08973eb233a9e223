/* Pre-LayerNorm residual blocks as in CLIP (Radford et al., "Learning transferable visual models from natural
 * language supervision", 2021; github openai/CLIP, clip/model.py):
 *
 *     x = x + out_proj(attention(qkv(ln_1(x))))
 *     x = x + c_proj(activation(c_fc(ln_2(x))))
 *
 * The residual stream x is f32; what enters and leaves a matmul has the context's activation dtype. Each
 * residual sum is done by the LayerNorm that reads it next, so a branch is read once.
 *
 * Of the last block's output only one row of each sequence is wanted. Behind its attention, which sees all
 * rows, the last block therefore works on these rows alone ("picked"), forward and backward.
 *
 * Activation checkpointing (Chen et al., arXiv 1604.06174): a tape's tensors come in groups, and only those
 * up to owner->level are kept for backward, which makes the others again in room that the blocks share: with
 * the same kernels from the same operands, so that the results are the same bits. */
#include "model_impl.h"

#include <math.h>
#include <string.h>

/* What a block leaves for its backward, on the scratch stack. */
typedef struct block_tape {
    float *x_in, *mean1, *rstd1; /* KEEP_INPUT: [t][width], [t], [t] */
    void *qkv, *attention;       /* KEEP_ATTENTION: [t][3·width], [t][width] */
    float *lse;                  /* [heads][t] */
    void *picked_attention;      /* last block only: rows of attention and of the residual stream */
    float *picked_x;
    float *x_mid, *mean2, *rstd2; /* [t][width], [t], [t]; here and below t is fewer in the last block */
    void *n1, *n2, *hidden;       /* KEEP_ALL; hidden: before the activation, [t][mlp_width] */
} block_tape;

/* Rows of a block: before its attention is done, behind it, and those picked between the two. */
typedef struct block_rows {
    int64_t before, behind, picked;
} block_rows;

struct transformer_tape {
    packed rows;
    packed picked; /* n sequences of one row, and the filler */
    int64_t n;
    const int64_t *out_row;
    tdm_tower_mode mode;
    block_tape block[];
};

typedef struct block {
    /* parameter rows */
    int64_t ln1_weight, ln1_bias, qkv_weight, qkv_bias, out_weight, out_bias;
    int64_t ln2_weight, ln2_bias, fc_weight, fc_bias, proj_weight, proj_bias;
    tdm_linear *qkv, *out, *fc, *proj;
} block;

struct transformer {
    tdm_ops *ops;
    tdm_params *params;
    tdm_scratch *scratch;
    int64_t width, layers, heads, mlp_width;
    tdm_activation activation;
    bool causal, train;
    double dropout;
    uint32_t dropout_site;
    const tower *owner;
    block *block;
};

tdm_status declare(tdm_params *params, int64_t *index, tdm_init init, double init_value, int ndim,
                   const int64_t *shape, const char *prefix, const char *name)
{
    char full[256];
    snprintf(full, sizeof(full), "%s%s%s", prefix, prefix[0] ? "." : "", name);
    return tdm_params_add(params, full, ndim, shape, init, init_value, ndim >= 2, index);
}

tdm_status weight_gradient(const tdm_params *params, tdm_linear *linear, int64_t weight, int64_t bias,
                           int64_t t, const void *x, const void *dy)
{
    float *dweight = is_trained(params, weight) ? grad_of(params, weight) : NULL;
    float *dbias = bias >= 0 && is_trained(params, bias) ? grad_of(params, bias) : NULL;
    return dweight || dbias ? tdm_linear_backward_weight(linear, t, x, dy, dweight, dbias) : TDM_OK;
}

tdm_status load_linear(const tower *self, const tdm_params *params, tdm_linear *linear, int64_t weight,
                       int64_t bias, bool train)
{
    const bool trained = is_trained(params, weight) || (bias >= 0 && is_trained(params, bias));
    if (self->only_trained) return trained ? tdm_linear_reload(linear) : TDM_OK;
    params->row[weight].linear = linear;
    return tdm_linear_load(linear, weight_of(params, weight), bias >= 0 ? weight_of(params, bias) : NULL,
                           train && goes_below(self, weight));
}

static tdm_status block_create(transformer *tr, const char *prefix, int64_t layer)
{
    block *b = &tr->block[layer];
    char at[128];
    snprintf(at, sizeof(at), "%s.resblocks.%lld", prefix, (long long)layer);
    const int64_t w = tr->width, m = tr->mlp_width;
    /* standard deviations of CLIP's initialize_parameters */
    const double attention_std = pow((double)w, -0.5);
    const double residual_std = attention_std * pow(2.0 * (double)tr->layers, -0.5);
    const double fc_std = pow(2.0 * (double)w, -0.5);

    tdm_params *p = tr->params;
    TDM_TRY(declare(p, &b->ln1_weight, TDM_INIT_ONE, 0, 1, (int64_t[]){w}, at, "ln_1.weight"));
    TDM_TRY(declare(p, &b->ln1_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, at, "ln_1.bias"));
    TDM_TRY(declare(p, &b->qkv_weight, TDM_INIT_NORMAL, attention_std, 2, (int64_t[]){3 * w, w}, at,
                    "attn.in_proj_weight"));
    TDM_TRY(declare(p, &b->qkv_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){3 * w}, at, "attn.in_proj_bias"));
    TDM_TRY(declare(p, &b->out_weight, TDM_INIT_NORMAL, residual_std, 2, (int64_t[]){w, w}, at,
                    "attn.out_proj.weight"));
    TDM_TRY(declare(p, &b->out_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, at, "attn.out_proj.bias"));
    TDM_TRY(declare(p, &b->ln2_weight, TDM_INIT_ONE, 0, 1, (int64_t[]){w}, at, "ln_2.weight"));
    TDM_TRY(declare(p, &b->ln2_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, at, "ln_2.bias"));
    TDM_TRY(declare(p, &b->fc_weight, TDM_INIT_NORMAL, fc_std, 2, (int64_t[]){m, w}, at, "mlp.c_fc.weight"));
    TDM_TRY(declare(p, &b->fc_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){m}, at, "mlp.c_fc.bias"));
    TDM_TRY(declare(p, &b->proj_weight, TDM_INIT_NORMAL, residual_std, 2, (int64_t[]){w, m}, at,
                    "mlp.c_proj.weight"));
    TDM_TRY(declare(p, &b->proj_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, at, "mlp.c_proj.bias"));
    set_layer(p, b->ln1_weight, layer + 1);

    TDM_TRY(tdm_linear_create(tr->ops, w, 3 * w, true, false, &b->qkv));
    TDM_TRY(tdm_linear_create(tr->ops, w, w, true, false, &b->out));
    TDM_TRY(tdm_linear_create(tr->ops, w, m, true, false, &b->fc));
    TDM_TRY(tdm_linear_create(tr->ops, m, w, true, false, &b->proj));
    return TDM_OK;
}

tdm_status transformer_create(const transformer_setup *setup, transformer **out)
{
    TDM_TRY(TDM_ALLOC(1, out));
    transformer *tr = *out;
    tr->ops = setup->tower->ops;
    tr->params = setup->tower->params;
    tr->scratch = setup->tower->scratch;
    tr->train = setup->tower->train;
    tr->width = setup->width;
    tr->layers = setup->layers;
    tr->heads = setup->heads;
    tr->mlp_width = setup->mlp_width;
    tr->activation = setup->activation;
    tr->causal = setup->causal;
    tr->dropout = setup->dropout;
    tr->dropout_site = setup->dropout_site;
    tr->owner = setup->owner;
    TDM_TRY(TDM_ALLOC(tr->layers, &tr->block));
    for (int64_t layer = 0; layer < tr->layers; layer++) TDM_TRY(block_create(tr, setup->prefix, layer));
    return TDM_OK;
}

void transformer_destroy(transformer **tr)
{
    if (!*tr) return;
    for (int64_t i = 0; (*tr)->block && i < (*tr)->layers; i++) {
        block *b = &(*tr)->block[i];
        tdm_linear_destroy(&b->qkv);
        tdm_linear_destroy(&b->out);
        tdm_linear_destroy(&b->fc);
        tdm_linear_destroy(&b->proj);
    }
    tdm_free((*tr)->block);
    tdm_free(*tr);
    *tr = NULL;
}

tdm_status transformer_load(transformer *tr)
{
    const tdm_params *p = tr->params;
    for (int64_t i = 0; i < tr->layers; i++) {
        block *b = &tr->block[i];
        TDM_TRY(load_linear(tr->owner, p, b->qkv, b->qkv_weight, b->qkv_bias, tr->train));
        TDM_TRY(load_linear(tr->owner, p, b->out, b->out_weight, b->out_bias, tr->train));
        TDM_TRY(load_linear(tr->owner, p, b->fc, b->fc_weight, b->fc_bias, tr->train));
        TDM_TRY(load_linear(tr->owner, p, b->proj, b->proj_weight, b->proj_bias, tr->train));
    }
    return TDM_OK;
}

/* The lowest block that takes part in the backward; `layers` when none does. */
static int64_t lowest_block(const transformer *tr)
{
    int64_t i = 0;
    while (i < tr->layers && tr->owner->lowest_row > tr->block[i].proj_bias) i++;
    return i;
}

double transformer_backward_share(const transformer *tr)
{
    const tdm_params *p = tr->params;
    double all = 0.0, done = 0.0;
    for (int64_t i = 0; i < tr->layers; i++) {
        const block *b = &tr->block[i];
        const int64_t row[] = {b->qkv_weight, b->out_weight, b->fc_weight, b->proj_weight};
        for (int k = 0; k < 4; k++) {
            const double size = (double)p->row[row[k]].size;
            all += 2.0 * size;
            done += size * (is_trained(p, row[k]) + goes_below(tr->owner, row[k]));
        }
    }
    return all > 0.0 ? done / all : 1.0;
}

/* Room for the groups of a tape above level `from`, up to level `to`; x_in may be there already. */
static tdm_status tape_take(const transformer *tr, tdm_scratch *s, block_rows rows, tape_level from,
                            tape_level to, block_tape *k)
{
    const int64_t w = tr->width, t = rows.before;
    if (from < KEEP_INPUT && to >= KEEP_INPUT) {
        if (!k->x_in) TAKE(s, t * w, &k->x_in);
        TAKE(s, t, &k->mean1);
        TAKE(s, t, &k->rstd1);
    }
    if (from < KEEP_ATTENTION && to >= KEEP_ATTENTION) {
        TAKE_ACT(s, tr->ops, t * 3 * w, &k->qkv);
        TAKE_ACT(s, tr->ops, t * w, &k->attention);
        TAKE(s, t * tr->heads, &k->lse);
        TAKE_ACT(s, tr->ops, rows.picked * w, &k->picked_attention);
        TAKE(s, rows.picked * w, &k->picked_x);
        TAKE(s, rows.behind * w, &k->x_mid);
        TAKE(s, rows.behind, &k->mean2);
        TAKE(s, rows.behind, &k->rstd2);
    }
    if (from < KEEP_ALL && to >= KEEP_ALL) {
        TAKE_ACT(s, tr->ops, t * w, &k->n1);
        TAKE_ACT(s, tr->ops, rows.behind * w, &k->n2);
        TAKE_ACT(s, tr->ops, rows.behind * tr->mlp_width, &k->hidden);
    }
    return TDM_OK;
}

/* The groups above `level` are those of `shared`. */
static void tape_share(block_tape *k, tape_level level, const block_tape *shared)
{
    const block_tape own = *k;
    *k = *shared;
    if (level >= KEEP_INPUT) {
        k->x_in = own.x_in;
        k->mean1 = own.mean1;
        k->rstd1 = own.rstd1;
    }
    if (level >= KEEP_ATTENTION) {
        k->qkv = own.qkv;
        k->attention = own.attention;
        k->lse = own.lse;
        k->picked_attention = own.picked_attention;
        k->picked_x = own.picked_x;
        k->x_mid = own.x_mid;
        k->mean2 = own.mean2;
        k->rstd2 = own.rstd2;
    }
}

static bool is_last(const transformer *tr, int64_t layer)
{
    return layer == tr->layers - 1;
}

static int64_t picked_rows(int64_t n)
{
    return tdm_round_up(n, TDM_ROW_STEP);
}

/* A transformer_tape of n sequences in bytes, a multiple of what scratch is aligned to: the blocks' tapes and
 * behind them seq[n + 2] and place[n + 1] of the picked rows. */
static size_t tape_bytes(const transformer *tr, int64_t n)
{
    const size_t bytes = sizeof(transformer_tape) + sizeof(block_tape) * (size_t)tr->layers +
                         sizeof(int64_t) * (size_t)(2 * n + 3);
    return (size_t)tdm_round_up((int64_t)bytes, 64);
}

static void tape_rows(const transformer *tr, const packed *rows, int64_t n, const int64_t *out_row,
                      transformer_tape *tape)
{
    int64_t *seq = (int64_t *)(tape->block + tr->layers), *place = seq + n + 2;
    for (int64_t i = 0; i <= n; i++) seq[i] = i;
    for (int64_t i = 0; i < n; i++) place[i] = out_row[i] - rows->seq[i];
    seq[n + 1] = picked_rows(n);
    place[n] = 0;
    tape->rows = *rows;
    tape->picked =
        (packed){.t = seq[n + 1], .n_seq = n + 1, .seq = seq, .sample = rows->sample, .place = place};
    tape->n = n;
    tape->out_row = out_row;
}

/* What the backward of blocks from `first` on needs. The first block's input is the transformer's. */
static tdm_status tapes_keep(const transformer *tr, tdm_scratch *s, int64_t t, int64_t n, int64_t first,
                             float *x, block_tape *tapes)
{
    for (int64_t i = first; i < tr->layers; i++) {
        const block_rows inner = {t, t, 0}, last = {t, picked_rows(n), picked_rows(n)};
        tapes[i] = (block_tape){.x_in = i == 0 ? x : NULL};
        TDM_TRY(tape_take(tr, s, is_last(tr, i) ? last : inner, KEEP_NOTHING, tr->owner->level, &tapes[i]));
    }
    return TDM_OK;
}

/* Room for what else a forward needs: blocks below `first` keep nothing, and sum the residual stream in
 * place.
 */
static tdm_status tapes_share(const transformer *tr, tdm_scratch *s, int64_t t, int64_t n, int64_t first,
                              block_tape *tapes)
{
    block_tape shared = {0};
    const tape_level from = first > 0 ? KEEP_NOTHING : tr->owner->level;
    TDM_TRY(tape_take(tr, s, (block_rows){t, t, picked_rows(n)}, from, KEEP_ALL, &shared));
    for (int64_t i = first; i < tr->layers && tr->owner->level < KEEP_ALL; i++)
        tape_share(&tapes[i], tr->owner->level, &shared);
    shared.x_mid = shared.x_in;
    for (int64_t i = 0; i < first; i++) tapes[i] = shared;
    return TDM_OK;
}

static void branch_dropout(transformer *tr, const packed *rows, const tdm_tower_mode *mode, int64_t layer,
                           int which, void *branch)
{
    if (!mode->train || tr->dropout == 0.0) return;
    tdm_dropout(tr->ops, tr->dropout, mode->seed, mode->step,
                tr->dropout_site + (uint32_t)(2 * layer + which), rows->n_seq, rows->seq, rows->sample,
                rows->place, tr->width, branch);
}

/* ---- Picked rows ---- */

static const packed *rows_behind_attention(const transformer *tr, const transformer_tape *tape, int64_t layer)
{
    return is_last(tr, layer) ? &tape->picked : &tape->rows;
}

static size_t act_row_bytes(const transformer *tr)
{
    return tdm_dtype_bytes(tdm_ops_dtype(tr->ops)) * (size_t)tr->width;
}

/* y = the picked rows of x, then zeros. */
static void pick(const transformer *tr, const transformer_tape *tape, const float *x, float *y)
{
    const int64_t n = tape->n, w = tr->width;
    tdm_gather_rows(tr->ops, n, w, tape->out_row, x, y);
    memset(y + n * w, 0, sizeof(float) * (size_t)((tape->picked.t - n) * w));
}

static void pick_act(const transformer *tr, const transformer_tape *tape, const void *x, void *y)
{
    const size_t bytes = act_row_bytes(tr), n = (size_t)tape->n;
    for (size_t i = 0; i < n; i++)
        memcpy((char *)y + i * bytes, (const char *)x + (size_t)tape->out_row[i] * bytes, bytes);
    memset((char *)y + n * bytes, 0, ((size_t)tape->picked.t - n) * bytes);
}

/* The adjoints: all other rows are zero. */
static void put_back(const transformer *tr, const transformer_tape *tape, const float *dy, float *dx)
{
    memset(dx, 0, sizeof(float) * (size_t)(tape->rows.t * tr->width));
    tdm_scatter_rows(tr->ops, tape->n, tr->width, tape->out_row, dy, dx);
}

static void put_back_act(const transformer *tr, const transformer_tape *tape, const void *dy, void *dx)
{
    const size_t bytes = act_row_bytes(tr);
    memset(dx, 0, (size_t)tape->rows.t * bytes);
    for (int64_t i = 0; i < tape->n; i++)
        memcpy((char *)dx + (size_t)tape->out_row[i] * bytes, (const char *)dy + (size_t)i * bytes, bytes);
}

/* ---- Forward ---- */

/* From n1 to branch [t][width]. */
static tdm_status attention_forward(transformer *tr, int64_t layer, const transformer_tape *tape,
                                    void *branch)
{
    const block *b = &tr->block[layer];
    const block_tape *k = &tape->block[layer];
    const packed *rows = &tape->rows;
    const int64_t t = rows->t, w = tr->width;
    TDM_TRY(tdm_linear_forward(b->qkv, t, k->n1, k->qkv));
    tdm_attention_forward(tr->ops, rows->n_seq, rows->seq, tr->heads, w / tr->heads, tr->causal, k->qkv,
                          k->attention, k->lse);
    const packed *behind = rows_behind_attention(tr, tape, layer);
    if (is_last(tr, layer)) pick_act(tr, tape, k->attention, k->picked_attention);
    TDM_TRY(tdm_linear_forward(b->out, behind->t, is_last(tr, layer) ? k->picked_attention : k->attention,
                               branch));
    branch_dropout(tr, behind, &tape->mode, layer, 0, branch);
    return TDM_OK;
}

/* x_mid = x + branch, and its LayerNorm. */
static void middle_forward(transformer *tr, int64_t layer, const transformer_tape *tape, const float *x,
                           const void *branch)
{
    const block *b = &tr->block[layer];
    const block_tape *k = &tape->block[layer];
    const tdm_params *p = tr->params;
    if (is_last(tr, layer)) pick(tr, tape, x, k->picked_x);
    tdm_layernorm_forward(tr->ops, rows_behind_attention(tr, tape, layer)->t, tr->width,
                          is_last(tr, layer) ? k->picked_x : x, branch, k->x_mid, weight_of(p, b->ln2_weight),
                          weight_of(p, b->ln2_bias), k->n2, k->mean2, k->rstd2);
}

/* x (+ pending branch of the block before) enters, a new pending branch leaves: x_mid + *branch is the
 * block's output. `activated` [t][mlp_width] and branch [t][width] are temporaries. */
static tdm_status block_forward(transformer *tr, int64_t layer, const transformer_tape *tape, const float *x,
                                const void *pending, void *activated, void *branch)
{
    const block *b = &tr->block[layer];
    const block_tape *k = &tape->block[layer];
    const tdm_params *p = tr->params;
    const packed *behind = rows_behind_attention(tr, tape, layer);
    const int64_t t = behind->t;
    tdm_layernorm_forward(tr->ops, tape->rows.t, tr->width, x, pending, k->x_in, weight_of(p, b->ln1_weight),
                          weight_of(p, b->ln1_bias), k->n1, k->mean1, k->rstd1);
    TDM_TRY(attention_forward(tr, layer, tape, branch));
    middle_forward(tr, layer, tape, pending ? k->x_in : x, branch);
    TDM_TRY(tdm_linear_forward(b->fc, t, k->n2, k->hidden));
    tdm_activation_forward(tr->ops, tr->activation, t * tr->mlp_width, k->hidden, activated);
    TDM_TRY(tdm_linear_forward(b->proj, t, activated, branch));
    branch_dropout(tr, behind, &tape->mode, layer, 1, branch);
    return TDM_OK;
}

/* Fills the groups of a block's tape that were not kept. branch [t][width] is a temporary. */
static tdm_status block_again(transformer *tr, int64_t layer, const transformer_tape *tape, void *branch)
{
    const block *b = &tr->block[layer];
    const block_tape *k = &tape->block[layer];
    const tdm_params *p = tr->params;
    const int64_t t = rows_behind_attention(tr, tape, layer)->t;
    if (tr->owner->level == KEEP_ALL) return TDM_OK;
    tdm_layernorm_again(tr->ops, tape->rows.t, tr->width, k->x_in, k->mean1, k->rstd1,
                        weight_of(p, b->ln1_weight), weight_of(p, b->ln1_bias), k->n1);
    if (tr->owner->level == KEEP_INPUT) {
        TDM_TRY(attention_forward(tr, layer, tape, branch));
        middle_forward(tr, layer, tape, k->x_in, branch);
    } else {
        tdm_layernorm_again(tr->ops, t, tr->width, k->x_mid, k->mean2, k->rstd2, weight_of(p, b->ln2_weight),
                            weight_of(p, b->ln2_bias), k->n2);
    }
    return tdm_linear_forward(b->fc, t, k->n2, k->hidden);
}

/* Temporaries of a forward beside the tapes. */
static tdm_status forward_take(const transformer *tr, tdm_scratch *s, int64_t t, void **activated,
                               void **branch)
{
    TAKE_ACT(s, tr->ops, t * tr->mlp_width, activated);
    TAKE_ACT(s, tr->ops, t * tr->width, branch);
    return TDM_OK;
}

tdm_status transformer_forward(transformer *tr, const packed *rows, const tdm_tower_mode *mode, float *x,
                               int64_t n, const int64_t *out_row, float *out, transformer_tape **tape)
{
    const int64_t t = rows->t, first_kept = tape ? lowest_block(tr) : tr->layers;
    const size_t entry = tdm_scratch_mark(tr->scratch);
    transformer_tape *k;
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
    for (int64_t i = 0; i < tr->layers; i++) {
        TDM_TRY(block_forward(tr, i, k, stream, pending, activated, branch));
        stream = k->block[i].x_mid;
        pending = branch;
    }
    tdm_layernorm_forward(tr->ops, n, tr->width, stream, pending, out, NULL, NULL, NULL, NULL, NULL);
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

static tdm_status gradients_take(const transformer *tr, tdm_scratch *s, int64_t t, int64_t n,
                                 block_gradients *d)
{
    TAKE(s, picked_rows(n) * tr->width, &d->picked);
    TAKE_ACT(s, tr->ops, t * tr->width, &d->branch);
    TAKE_ACT(s, tr->ops, t * tr->width, &d->normed);
    const size_t mark = tdm_scratch_mark(s);
    TAKE_ACT(s, tr->ops, t * tr->mlp_width, &d->hidden);
    tdm_scratch_rewind(s, mark);
    TAKE_ACT(s, tr->ops, t * tr->width, &d->attention);
    TAKE_ACT(s, tr->ops, t * tr->width * 3, &d->qkv);
    return TDM_OK;
}

/* x_out = x_mid + dropout(c_proj(activation(c_fc(ln_2(x_mid))))). Returns where nothing below is trained. */
static tdm_status mlp_backward(transformer *tr, int64_t layer, const transformer_tape *tape,
                               block_gradients *d, float *dx)
{
    const tdm_params *p = tr->params;
    const block *b = &tr->block[layer];
    const block_tape *k = &tape->block[layer];
    const packed *behind = rows_behind_attention(tr, tape, layer);
    const int64_t t = behind->t, w = tr->width, m = tr->mlp_width;
    void *activated = k->hidden; /* takes the place of what it is made from */
    branch_dropout(tr, behind, &tape->mode, layer, 1, d->branch);
    if (goes_below(tr->owner, b->proj_weight)) {
        TDM_TRY(tdm_linear_backward_data(b->proj, t, d->branch, d->hidden));
        tdm_activation_backward(tr->ops, tr->activation, t * m, k->hidden, d->hidden, d->hidden, activated);
    } else {
        tdm_activation_forward(tr->ops, tr->activation, t * m, k->hidden, activated);
    }
    TDM_TRY(weight_gradient(p, b->proj, b->proj_weight, b->proj_bias, t, activated, d->branch));
    if (!goes_below(tr->owner, b->proj_weight)) return TDM_OK;
    TDM_TRY(weight_gradient(p, b->fc, b->fc_weight, b->fc_bias, t, k->n2, d->hidden));
    if (!goes_below(tr->owner, b->fc_weight)) return TDM_OK;
    TDM_TRY(tdm_linear_backward_data(b->fc, t, d->hidden, d->normed));
    tdm_layernorm_backward(tr->ops, t, w, d->normed, k->x_mid, k->mean2, k->rstd2,
                           weight_of(p, b->ln2_weight), true, dx, d->branch, grad_of(p, b->ln2_weight),
                           grad_of(p, b->ln2_bias));
    return TDM_OK;
}

/* d->attention from d->branch; in the last block dx as well, which was d->picked so far. */
static tdm_status out_backward(transformer *tr, int64_t layer, const transformer_tape *tape,
                               block_gradients *d, float *dx)
{
    const block *b = &tr->block[layer];
    if (!is_last(tr, layer)) return tdm_linear_backward_data(b->out, tape->rows.t, d->branch, d->attention);
    TDM_TRY(tdm_linear_backward_data(b->out, tape->picked.t, d->branch, d->normed));
    put_back_act(tr, tape, d->normed, d->attention);
    put_back(tr, tape, d->picked, dx);
    return TDM_OK;
}

/* x_mid = x_in + dropout(out_proj(attention(qkv(ln_1(x_in))))). Returns where nothing below is trained. */
static tdm_status attention_backward(transformer *tr, int64_t layer, const transformer_tape *tape,
                                     block_gradients *d, float *dx)
{
    const tdm_params *p = tr->params;
    const packed *rows = &tape->rows;
    const block *b = &tr->block[layer];
    const block_tape *k = &tape->block[layer];
    const int64_t t = rows->t, w = tr->width;
    const packed *behind = rows_behind_attention(tr, tape, layer);
    branch_dropout(tr, behind, &tape->mode, layer, 0, d->branch);
    TDM_TRY(weight_gradient(p, b->out, b->out_weight, b->out_bias, behind->t,
                            is_last(tr, layer) ? k->picked_attention : k->attention, d->branch));
    if (!goes_below(tr->owner, b->out_weight)) return TDM_OK;
    TDM_TRY(out_backward(tr, layer, tape, d, dx));
    tdm_attention_backward(tr->ops, rows->n_seq, rows->seq, tr->heads, w / tr->heads, tr->causal, k->qkv,
                           k->attention, k->lse, d->attention, d->qkv);
    TDM_TRY(weight_gradient(p, b->qkv, b->qkv_weight, b->qkv_bias, t, k->n1, d->qkv));
    if (!goes_below(tr->owner, b->qkv_weight)) return TDM_OK;
    TDM_TRY(tdm_linear_backward_data(b->qkv, t, d->qkv, d->normed));
    tdm_layernorm_backward(tr->ops, t, w, d->normed, k->x_in, k->mean1, k->rstd1, weight_of(p, b->ln1_weight),
                           true, dx, d->branch, grad_of(p, b->ln1_weight), grad_of(p, b->ln1_bias));
    return TDM_OK;
}

tdm_status transformer_backward(transformer *tr, transformer_tape *tape, const float *dout, float *dx,
                                tdm_final_from *final_from, void *context)
{
    const size_t entry = tdm_scratch_mark(tr->scratch);
    const int64_t t = tape->rows.t, n = tape->n, w = tr->width, lowest = lowest_block(tr);
    block_tape shared = {0};
    block_gradients d;
    TDM_TRY(
        tape_take(tr, tr->scratch, (block_rows){t, t, picked_rows(n)}, tr->owner->level, KEEP_ALL, &shared));
    TDM_TRY(gradients_take(tr, tr->scratch, t, n, &d));

    memcpy(d.picked, dout, sizeof(float) * (size_t)(n * w));
    memset(d.picked + n * w, 0, sizeof(float) * (size_t)((tape->picked.t - n) * w));
    tdm_to_act(tr->ops, tape->picked.t * w, d.picked, d.branch);
    for (int64_t i = tr->layers - 1; i >= lowest; i--) {
        if (tr->owner->level < KEEP_ALL) tape_share(&tape->block[i], tr->owner->level, &shared);
        TDM_TRY(block_again(tr, i, tape, d.normed));
        TDM_TRY(mlp_backward(tr, i, tape, &d, is_last(tr, i) ? d.picked : dx));
        if (goes_below(tr->owner, tr->block[i].ln2_weight)) TDM_TRY(attention_backward(tr, i, tape, &d, dx));
        if (final_from) final_from(context, tr->params->row[tr->block[i].ln1_weight].offset);
    }
    tdm_scratch_rewind(tr->scratch, entry);
    return TDM_OK;
}

tdm_status transformer_scratch_bytes(const transformer *tr, int64_t t, int64_t n, transformer_bytes *bytes)
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
        status =
            tape_take(tr, &backward, (block_rows){t, t, picked_rows(n)}, tr->owner->level, KEEP_ALL, &shared);
    if (status == TDM_OK) status = gradients_take(tr, &backward, t, n, &d);
    if (status == TDM_OK) status = tapes_share(tr, &lone, t, n, tr->layers, tapes);
    if (status == TDM_OK) status = forward_take(tr, &lone, t, &activated, &branch);
    *bytes = (transformer_bytes){.kept = kept.used_bytes,
                                 .forward = forward.peak_bytes,
                                 .backward = backward.peak_bytes,
                                 .lone = lone.peak_bytes};
    tdm_free(tapes);
    return status;
}

double transformer_flop(int64_t width, int64_t layers, double mlp_ratio, int64_t n, int64_t tokens,
                        int64_t tokens_squared, bool causal)
{
    const double w = (double)width,
                 behind = 1.0 + 2.0 * mlp_ratio; /* linears behind attention, before it 3 */
    const double linears = 2.0 * w * w * (double)tokens * (3.0 + behind);
    const double attention = 4.0 * (double)tokens_squared * w * (causal ? 0.5 : 1.0);
    return (double)layers * (linears + attention) - 2.0 * w * w * (double)(tokens - n) * behind;
}
