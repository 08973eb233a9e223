/* Pre-LayerNorm residual blocks as in CLIP (Radford et al., "Learning transferable visual models from natural
 * language supervision", 2021; github openai/CLIP, clip/model.py):
 *
 *     x = x + out_proj(attention(qkv(ln_1(x))))
 *     x = x + c_proj(activation(c_fc(ln_2(x))))
 *
 * The residual stream x is f32; what enters and leaves a matmul has the context's activation dtype. Each
 * residual sum is done by the LayerNorm that reads it next, so a branch is read once. */
#include "model_impl.h"

#include <math.h>
#include <string.h>

/* What a block keeps for its backward, on the scratch stack. */
typedef struct tape {
    float *x_in, *mean1, *rstd1; /* [t][width], [t], [t] */
    void *n1, *qkv, *attention;  /* [t][width], [t][3·width], [t][width] */
    float *lse;                  /* [heads][t] */
    float *x_mid, *mean2, *rstd2;
    void *n2, *hidden; /* hidden: before the activation, [t][mlp_width] */
} tape;

typedef struct block {
    /* parameter rows */
    int64_t ln1_weight, ln1_bias, qkv_weight, qkv_bias, out_weight, out_bias;
    int64_t ln2_weight, ln2_bias, fc_weight, fc_bias, proj_weight, proj_bias;
    tdm_linear *qkv, *out, *fc, *proj;
    tape tape;
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
    packed kept_rows;
    tdm_tower_mode kept_mode;
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
    if (self->only_trained && !trained) return TDM_OK;
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

/* Room for what a block leaves behind. */
static tdm_status tape_take(transformer *tr, int64_t t, tape *k)
{
    tdm_scratch *s = tr->scratch;
    const int64_t w = tr->width;
    TAKE(s, t * w, &k->x_in);
    TAKE(s, t, &k->mean1);
    TAKE(s, t, &k->rstd1);
    TAKE_ACT(s, tr->ops, t * w, &k->n1);
    TAKE_ACT(s, tr->ops, t * 3 * w, &k->qkv);
    TAKE_ACT(s, tr->ops, t * w, &k->attention);
    TAKE(s, t * tr->heads, &k->lse);
    TAKE(s, t * w, &k->x_mid);
    TAKE(s, t, &k->mean2);
    TAKE(s, t, &k->rstd2);
    TAKE_ACT(s, tr->ops, t * w, &k->n2);
    TAKE_ACT(s, tr->ops, t * tr->mlp_width, &k->hidden);
    return TDM_OK;
}

static void branch_dropout(transformer *tr, const packed *rows, const tdm_tower_mode *mode, int64_t layer,
                           int which, void *branch)
{
    if (!mode->train || tr->dropout == 0.0) return;
    tdm_dropout(tr->ops, tr->dropout, mode->seed, mode->step,
                tr->dropout_site + (uint32_t)(2 * layer + which), rows->n_seq, rows->seq, rows->sample,
                tr->width, branch);
}

/* x (+ pending branch of the block before) enters, a new pending branch leaves: x_mid + *branch is the
 * block's output. `activated` [t][mlp_width] and branch [t][width] are temporaries. */
static tdm_status block_forward(transformer *tr, int64_t layer, const packed *rows,
                                const tdm_tower_mode *mode, const float *x, const void *pending,
                                void *activated, void *branch)
{
    block *b = &tr->block[layer];
    tape *k = &b->tape;
    const tdm_params *p = tr->params;
    const int64_t t = rows->t, w = tr->width;

    tdm_layernorm_forward(tr->ops, t, w, x, pending, k->x_in, weight_of(p, b->ln1_weight),
                          weight_of(p, b->ln1_bias), k->n1, k->mean1, k->rstd1);
    TDM_TRY(tdm_linear_forward(b->qkv, t, k->n1, k->qkv));
    tdm_attention_forward(tr->ops, rows->n_seq, rows->seq, tr->heads, w / tr->heads, tr->causal, k->qkv,
                          k->attention, k->lse);
    TDM_TRY(tdm_linear_forward(b->out, t, k->attention, branch));
    branch_dropout(tr, rows, mode, layer, 0, branch);

    tdm_layernorm_forward(tr->ops, t, w, pending ? k->x_in : x, branch, k->x_mid, weight_of(p, b->ln2_weight),
                          weight_of(p, b->ln2_bias), k->n2, k->mean2, k->rstd2);
    TDM_TRY(tdm_linear_forward(b->fc, t, k->n2, k->hidden));
    tdm_activation_forward(tr->ops, tr->activation, t * tr->mlp_width, k->hidden, activated);
    TDM_TRY(tdm_linear_forward(b->proj, t, activated, branch));
    branch_dropout(tr, rows, mode, layer, 1, branch);
    return TDM_OK;
}

tdm_status transformer_forward(transformer *tr, const packed *rows, const tdm_tower_mode *mode, bool keep,
                               float *x, float *out)
{
    const int64_t t = rows->t, first_kept = keep ? lowest_block(tr) : tr->layers;
    void *activated, *branch;

    for (int64_t i = first_kept; i < tr->layers; i++) TDM_TRY(tape_take(tr, t, &tr->block[i].tape));
    const size_t kept = tdm_scratch_mark(tr->scratch);
    if (keep) {
        tr->kept_rows = *rows;
        tr->kept_mode = *mode;
    }
    if (first_kept > 0) { /* all others work in the same room, and sum the residual stream in place */
        tape shared;
        TDM_TRY(tape_take(tr, t, &shared));
        shared.x_mid = shared.x_in;
        for (int64_t i = 0; i < first_kept; i++) tr->block[i].tape = shared;
    }
    TAKE_ACT(tr->scratch, tr->ops, t * tr->mlp_width, &activated);
    TAKE_ACT(tr->scratch, tr->ops, t * tr->width, &branch);

    const float *stream = x;
    void *pending = NULL;
    for (int64_t i = 0; i < tr->layers; i++) {
        TDM_TRY(block_forward(tr, i, rows, mode, stream, pending, activated, branch));
        if (i == 0 && first_kept == 0)
            tr->block[0].tape.x_in = x; /* without a branch the LayerNorm reads x */
        stream = tr->block[i].tape.x_mid;
        pending = branch;
    }
    if (pending)
        tdm_layernorm_forward(tr->ops, t, tr->width, stream, pending, out, NULL, NULL, NULL, NULL, NULL);
    else if (out != x)
        memcpy(out, x, sizeof(float) * (size_t)(t * tr->width));
    tdm_scratch_rewind(tr->scratch, kept);
    return TDM_OK;
}

/* Temporaries of the backward, shared by the blocks: gradients of what their names say. */
typedef struct block_gradients {
    void *branch, *hidden, *normed, *attention, *qkv;
    void *activated; /* not a gradient: the activation's output again */
} block_gradients;

/* x_out = x_mid + dropout(c_proj(activation(c_fc(ln_2(x_mid))))). Returns where nothing below is trained. */
static tdm_status mlp_backward(transformer *tr, int64_t layer, block_gradients *d, float *dx)
{
    const tdm_params *p = tr->params;
    const block *b = &tr->block[layer];
    const tape *k = &b->tape;
    const int64_t t = tr->kept_rows.t, w = tr->width, m = tr->mlp_width;
    branch_dropout(tr, &tr->kept_rows, &tr->kept_mode, layer, 1, d->branch);
    if (goes_below(tr->owner, b->proj_weight)) {
        TDM_TRY(tdm_linear_backward_data(b->proj, t, d->branch, d->hidden));
        tdm_activation_backward(tr->ops, tr->activation, t * m, k->hidden, d->hidden, d->hidden,
                                d->activated);
    } else {
        tdm_activation_forward(tr->ops, tr->activation, t * m, k->hidden, d->activated);
    }
    TDM_TRY(weight_gradient(p, b->proj, b->proj_weight, b->proj_bias, t, d->activated, d->branch));
    if (!goes_below(tr->owner, b->proj_weight)) return TDM_OK;
    TDM_TRY(weight_gradient(p, b->fc, b->fc_weight, b->fc_bias, t, k->n2, d->hidden));
    if (!goes_below(tr->owner, b->fc_weight)) return TDM_OK;
    TDM_TRY(tdm_linear_backward_data(b->fc, t, d->hidden, d->normed));
    tdm_layernorm_backward(tr->ops, t, w, d->normed, k->x_mid, k->mean2, k->rstd2,
                           weight_of(p, b->ln2_weight), true, dx, d->branch, grad_of(p, b->ln2_weight),
                           grad_of(p, b->ln2_bias));
    return TDM_OK;
}

/* x_mid = x_in + dropout(out_proj(attention(qkv(ln_1(x_in))))). Returns where nothing below is trained. */
static tdm_status attention_backward(transformer *tr, int64_t layer, block_gradients *d, float *dx)
{
    const tdm_params *p = tr->params;
    const packed *rows = &tr->kept_rows;
    const block *b = &tr->block[layer];
    const tape *k = &b->tape;
    const int64_t t = rows->t, w = tr->width;
    branch_dropout(tr, rows, &tr->kept_mode, layer, 0, d->branch);
    TDM_TRY(weight_gradient(p, b->out, b->out_weight, b->out_bias, t, k->attention, d->branch));
    if (!goes_below(tr->owner, b->out_weight)) return TDM_OK;
    TDM_TRY(tdm_linear_backward_data(b->out, t, d->branch, d->attention));
    tdm_attention_backward(tr->ops, rows->n_seq, rows->seq, tr->heads, w / tr->heads, tr->causal, k->qkv,
                           k->attention, k->lse, d->attention, d->qkv);
    TDM_TRY(weight_gradient(p, b->qkv, b->qkv_weight, b->qkv_bias, t, k->n1, d->qkv));
    if (!goes_below(tr->owner, b->qkv_weight)) return TDM_OK;
    TDM_TRY(tdm_linear_backward_data(b->qkv, t, d->qkv, d->normed));
    tdm_layernorm_backward(tr->ops, t, w, d->normed, k->x_in, k->mean1, k->rstd1, weight_of(p, b->ln1_weight),
                           true, dx, d->branch, grad_of(p, b->ln1_weight), grad_of(p, b->ln1_bias));
    return TDM_OK;
}

tdm_status transformer_backward(transformer *tr, float *dx, tdm_final_from *final_from, void *context)
{
    const size_t entry = tdm_scratch_mark(tr->scratch);
    const int64_t t = tr->kept_rows.t, w = tr->width, m = tr->mlp_width, lowest = lowest_block(tr);
    block_gradients d;
    TAKE_ACT(tr->scratch, tr->ops, t * w, &d.branch);
    TAKE_ACT(tr->scratch, tr->ops, t * m, &d.activated);
    TAKE_ACT(tr->scratch, tr->ops, t * m, &d.hidden);
    TAKE_ACT(tr->scratch, tr->ops, t * w, &d.normed);
    TAKE_ACT(tr->scratch, tr->ops, t * w, &d.attention);
    TAKE_ACT(tr->scratch, tr->ops, t * 3 * w, &d.qkv);

    if (lowest < tr->layers) tdm_to_act(tr->ops, t * w, dx, d.branch);
    for (int64_t i = tr->layers - 1; i >= lowest; i--) {
        TDM_TRY(mlp_backward(tr, i, &d, dx));
        if (goes_below(tr->owner, tr->block[i].ln2_weight)) TDM_TRY(attention_backward(tr, i, &d, dx));
        if (final_from) final_from(context, tr->params->row[tr->block[i].ln1_weight].offset);
    }
    tdm_scratch_rewind(tr->scratch, entry);
    return TDM_OK;
}

double transformer_flop(int64_t width, int64_t layers, double mlp_ratio, int64_t tokens,
                        int64_t tokens_squared, bool causal)
{
    const double w = (double)width;
    const double linears = 2.0 * (double)tokens * w * w * (4.0 + 2.0 * mlp_ratio);
    const double attention = 4.0 * (double)tokens_squared * w * (causal ? 0.5 : 1.0);
    return (double)layers * (linears + attention);
}

/* Bytes of activations that one token row keeps for backward, and of temporaries beside them. */
static int64_t bytes_per_row(int64_t width, int64_t layers, int64_t heads, int64_t mlp_width, tdm_dtype dtype)
{
    const int64_t act = (int64_t)tdm_dtype_bytes(dtype);
    const int64_t kept = 2 * 4 * width + 4 * 4 + 4 * heads + act * (6 * width + mlp_width);
    const int64_t backward = act * (6 * width + 2 * mlp_width);
    return layers * kept + backward + 3 * 4 * width;
}

int64_t transformer_tower_bytes(const tdm_tower_config *config, tdm_dtype dtype, int64_t n, int64_t rows,
                                bool train)
{
    const int64_t t = tdm_round_up(rows, TDM_ROW_STEP), width = config->width;
    const int64_t mlp_width = (int64_t)llround((double)width * config->mlp_ratio);
    const int64_t ends = (int64_t)sizeof(float) * 4;
    return t * (bytes_per_row(width, train ? config->layers : 1, config->heads, mlp_width, dtype) +
                ends * width) +
           n * 4 * ends * width + (4 << 20);
}
