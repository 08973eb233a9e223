/* A transformer's parameters and linear layers, and what they cost. Names, shapes and initial values are
 * those of CLIP's model code (github openai/CLIP, clip/model.py). */
#include "transformer_impl.h"

#include <math.h>

tdm_span tdm_transformer_part(const tdm_transformer *tr, int64_t layer, unsigned part)
{
    const block *b = &tr->block[layer];
    if (part == 0) return (tdm_span){0, 0};
    return (tdm_span){part & TDM_BLOCK_ATTENTION ? b->ln1_weight : b->ln2_weight,
                      part & TDM_BLOCK_MLP ? b->proj_bias + 1 : b->out_bias + 1};
}

/* Stored with the model, but never trained. */
static void leave_out(tdm_params *params, tdm_span rows)
{
    for (int64_t i = rows.begin; i < rows.end; i++) {
        params->row[i].buffer = true;
        params->row[i].lr_scale = 0.0;
    }
}

static void find_ends(tdm_transformer *tr)
{
    tr->first = tr->layers;
    tr->last = -1;
    for (int64_t i = 0; i < tr->layers; i++) {
        if (!runs(tr, i)) continue;
        if (tr->last < 0) tr->first = i;
        tr->last = i;
    }
}

void tdm_transformer_leave_out(tdm_transformer *tr, int64_t layer, unsigned part)
{
    tr->block[layer].without = part;
    find_ends(tr);
}

unsigned tdm_transformer_left_out(const tdm_transformer *tr, int64_t layer)
{
    return tr->block[layer].without;
}

int64_t tdm_transformer_layers(const tdm_transformer *tr)
{
    return tr->layers;
}

static tdm_status block_create(tdm_transformer *tr, const char *prefix, int64_t layer, unsigned without)
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
    TDM_TRY(tdm_declare(p, &b->ln1_weight, TDM_INIT_ONE, 0, 1, (int64_t[]){w}, at, "ln_1.weight"));
    TDM_TRY(tdm_declare(p, &b->ln1_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, at, "ln_1.bias"));
    TDM_TRY(tdm_declare(p, &b->qkv_weight, TDM_INIT_NORMAL, attention_std, 2, (int64_t[]){3 * w, w}, at,
                        "attn.in_proj_weight"));
    TDM_TRY(tdm_declare(p, &b->qkv_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){3 * w}, at, "attn.in_proj_bias"));
    TDM_TRY(tdm_declare(p, &b->out_weight, TDM_INIT_NORMAL, residual_std, 2, (int64_t[]){w, w}, at,
                        "attn.out_proj.weight"));
    TDM_TRY(tdm_declare(p, &b->out_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, at, "attn.out_proj.bias"));
    TDM_TRY(tdm_declare(p, &b->ln2_weight, TDM_INIT_ONE, 0, 1, (int64_t[]){w}, at, "ln_2.weight"));
    TDM_TRY(tdm_declare(p, &b->ln2_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, at, "ln_2.bias"));
    TDM_TRY(
        tdm_declare(p, &b->fc_weight, TDM_INIT_NORMAL, fc_std, 2, (int64_t[]){m, w}, at, "mlp.c_fc.weight"));
    TDM_TRY(tdm_declare(p, &b->fc_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){m}, at, "mlp.c_fc.bias"));
    TDM_TRY(tdm_declare(p, &b->proj_weight, TDM_INIT_NORMAL, residual_std, 2, (int64_t[]){w, m}, at,
                        "mlp.c_proj.weight"));
    TDM_TRY(tdm_declare(p, &b->proj_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, at, "mlp.c_proj.bias"));
    tdm_set_layer(p, b->ln1_weight, layer + 1);

    b->without = without;
    leave_out(p, tdm_transformer_part(tr, layer, without & TDM_BLOCK_ATTENTION));
    leave_out(p, tdm_transformer_part(tr, layer, without & TDM_BLOCK_MLP));
    TDM_TRY(tdm_linear_create(tr->ops, w, 3 * w, true, false, &b->qkv));
    TDM_TRY(tdm_linear_create(tr->ops, w, w, true, false, &b->out));
    TDM_TRY(tdm_linear_create(tr->ops, w, m, true, false, &b->fc));
    TDM_TRY(tdm_linear_create(tr->ops, m, w, true, false, &b->proj));
    tdm_linear_may_round(b->qkv);
    tdm_linear_may_round(b->out);
    tdm_linear_may_round(b->fc);
    tdm_linear_may_round(b->proj);
    return TDM_OK;
}

tdm_status tdm_transformer_create(const tdm_transformer_setup *setup, tdm_transformer **out)
{
    TDM_TRY(TDM_ALLOC(1, out));
    tdm_transformer *tr = *out;
    tr->ops = setup->nn->ops;
    tr->params = setup->nn->params;
    tr->scratch = setup->nn->scratch;
    tr->train = setup->nn->train;
    tr->width = setup->width;
    tr->layers = setup->layers;
    tr->heads = setup->heads;
    tr->mlp_width = setup->mlp_width;
    tr->activation = setup->activation;
    tr->causal = setup->causal;
    tr->dropout = setup->dropout;
    tr->attention_dropout = setup->attention_dropout;
    tr->dropout_site = setup->dropout_site;
    tr->scope = setup->scope;
    TDM_TRY(TDM_ALLOC(tr->layers, &tr->block));
    for (int64_t layer = 0; layer < tr->layers; layer++)
        TDM_TRY(block_create(tr, setup->prefix, layer, setup->without ? setup->without[layer] : 0));
    find_ends(tr);
    return TDM_OK;
}

void tdm_transformer_destroy(tdm_transformer **tr)
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

tdm_status tdm_transformer_load(tdm_transformer *tr)
{
    const tdm_params *p = tr->params;
    for (int64_t i = 0; i < tr->layers; i++) {
        block *b = &tr->block[i];
        if (!(b->without & TDM_BLOCK_ATTENTION)) {
            TDM_TRY(tdm_load_linear(tr->scope, p, b->qkv, b->qkv_weight, b->qkv_bias, tr->train));
            TDM_TRY(tdm_load_linear(tr->scope, p, b->out, b->out_weight, b->out_bias, tr->train));
        }
        if (b->without & TDM_BLOCK_MLP) continue;
        TDM_TRY(tdm_load_linear(tr->scope, p, b->fc, b->fc_weight, b->fc_bias, tr->train));
        TDM_TRY(tdm_load_linear(tr->scope, p, b->proj, b->proj_weight, b->proj_bias, tr->train));
    }
    return TDM_OK;
}

int64_t lowest_block(const tdm_transformer *tr)
{
    int64_t i = 0;
    while (i < tr->layers && tr->scope->lowest_row > tr->block[i].proj_bias) i++;
    return i;
}

double tdm_transformer_backward_share(const tdm_transformer *tr)
{
    const tdm_params *p = tr->params;
    double all = 0.0, done = 0.0;
    for (int64_t i = 0; i < tr->layers; i++) {
        const block *b = &tr->block[i];
        const int64_t row[] = {b->qkv_weight, b->out_weight, b->fc_weight, b->proj_weight};
        for (int k = 0; k < 4; k++) {
            if (b->without & (k < 2 ? TDM_BLOCK_ATTENTION : TDM_BLOCK_MLP)) continue;
            const double size = (double)p->row[row[k]].size;
            all += 2.0 * size;
            done += size * (tdm_is_trained(p, row[k]) + tdm_goes_below(tr->scope, row[k]));
        }
    }
    return all > 0.0 ? done / all : 1.0;
}

double tdm_transformer_flop(int64_t width, int64_t layers, double mlp_ratio, int64_t n, int64_t tokens,
                            int64_t tokens_squared, bool causal, const unsigned char *without)
{
    const double w = (double)width, square = 2.0 * w * w; /* of one square linear layer and row */
    const double scores = 4.0 * (double)tokens_squared * w * (causal ? 0.5 : 1.0);
    double flop = 0.0, rows = (double)n; /* behind the attention of the last block that runs */
    for (int64_t i = layers - 1; i >= 0; i--) {
        const unsigned parts = without ? without[i] : 0;
        if (!(parts & TDM_BLOCK_ATTENTION)) flop += square * (3.0 * (double)tokens + rows) + scores;
        if (!(parts & TDM_BLOCK_MLP)) flop += square * rows * 2.0 * mlp_ratio;
        if (parts != TDM_BLOCK_WHOLE) rows = (double)tokens;
    }
    return flop;
}
