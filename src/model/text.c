/* CLIP's text transformer: token and position embeddings, causal blocks, ln_final, the end-of-text token's
 * row, projection (github openai/CLIP, clip/model.py, CLIP.encode_text). Captions are packed: nothing after
 * the end-of-text token is computed, which under the causal mask changes no result. A learned context may stand in
 * front of each caption; outside of this file nobody sees its rows. */
#include "projection.h"

#include <math.h>
#include <string.h>

/* What one forward leaves for its backward, on the scratch stack. */
typedef struct text_kept {
    struct text_kept *below; /* the one before */
    size_t mark;             /* where this one begins */
    tdm_sequences rows;
    int64_t n;
    const int32_t *token;            /* [seq[n]] the input's, borrowed; `joined` where there is a context */
    int32_t *joined;                 /* [t] tokens with the context's, -1 … -m, behind each start token */
    int64_t *seq, *sample, *end_row; /* [n+2], [n+1], [n] */
    float *x;                        /* the blocks' input [t][width] */
    projection_kept end;
    tdm_transformer_tape *blocks;
} text_kept;

typedef struct text {
    tower base;
    tdm_ops *ops;
    tdm_params *params;
    tdm_scratch *scratch;
    int64_t most, vocab, width, embed_dim; /* most: tokens of a caption */
    int64_t m;                             /* vectors of the context */
    int64_t table, position, context;      /* rows; context < 0: there is none */
    projection end;                        /* ln_final and text_projection */
    tdm_transformer *blocks;
} text;

static void text_destroy(tower **base)
{
    text *x = (text *)*base;
    if (!x) return;
    tdm_transformer_destroy(&x->blocks);
    tdm_free(x);
    *base = NULL;
}

static tdm_status text_load(tower *base)
{
    return tdm_transformer_load(((text *)base)->blocks);
}

/* Room for n captions in t rows. */
static tdm_status kept_take(const text *x, tdm_scratch *s, int64_t n, int64_t t, bool dense, text_kept *k)
{
    TDM_TAKE(s, n + 2, &k->seq);
    TDM_TAKE(s, n + 1, &k->sample);
    TDM_TAKE(s, n, &k->end_row);
    if (x->m > 0) TDM_TAKE(s, t, &k->joined);
    TDM_TRY(projection_take(&x->end, s, n, dense ? t : 0, &k->end));
    TDM_TAKE(s, t * x->width, &k->x);
    return TDM_OK;
}

static tdm_status check_tokens(const text *x, const tdm_tower_input *input)
{
    for (int64_t i = 0; i < input->n; i++) {
        const int64_t length = input->seq[i + 1] - input->seq[i];
        TDM_REQUIRE(length >= 1 && length <= x->most, TDM_E_SHAPE,
                    "caption %lld of the batch has %lld tokens; model.text.context_length is %lld%s",
                    (long long)i, (long long)length, (long long)(x->most + x->m),
                    x->m > 0 ? ", model.text.context_tokens among them" : "");
    }
    for (int64_t i = input->seq[0]; i < input->seq[input->n]; i++)
        TDM_REQUIRE(input->token[i] >= 0 && input->token[i] < x->vocab, TDM_E_SHAPE,
                    "token id %d is outside model.text.vocab_size %lld", input->token[i],
                    (long long)x->vocab);
    return TDM_OK;
}

/* The learned context stands behind each start token (CoOp, Zhou et al., arXiv 2109.01134; github
 * KaiyangZhou/CoOp, trainers/coop.py: [SOT, V_1 … V_m, caption, EOT]). */
static void join_context(const text *x, const tdm_tower_input *input, text_kept *k)
{
    const int32_t *from = input->token + input->seq[0];
    int32_t *to = k->joined;
    for (int64_t i = 0; i < k->n; i++) {
        const int64_t rest = input->seq[i + 1] - input->seq[i] - 1;
        *to++ = *from++;
        for (int64_t v = 0; v < x->m; v++) *to++ = (int32_t)(-1 - v);
        memcpy(to, from, sizeof(*to) * (size_t)rest);
        from += rest;
        to += rest;
    }
}

/* Rows of the captions, the context's among them, and of the filler that rounds the total up to t. Dense tokens are
 * the captions' own: pooled ones are picked from these. */
static void fill_rows(const text *x, const tdm_tower_input *input, int64_t t, text_kept *k)
{
    const int64_t n = input->n, m = x->m;
    k->n = n;
    k->token = m > 0 ? k->joined : input->token + input->seq[0];
    for (int64_t i = 0; i <= n; i++) k->seq[i] = input->seq[i] - input->seq[0] + i * m;
    for (int64_t i = 0; i < n; i++) {
        const int64_t last = input->seq[i + 1] - input->seq[i] - 1; /* 0: before the context */
        k->end_row[i] = k->seq[i] + last + (k->end.dense ? -i * m : last > 0 ? m : 0);
    }
    if (m > 0) join_context(x, input, k);
    for (int64_t i = 0; i < n; i++) k->sample[i] = input->sample ? input->sample[i] : 0;
    k->sample[n] = 0;
    k->seq[n + 1] = t;
    k->rows = (tdm_sequences){.t = t, .n_seq = n + 1, .seq = k->seq, .sample = k->sample};
    k->end.n = n;
    k->end.t = t;
    k->end.real = k->seq[n] - n * m;
    k->end.pick = k->end_row;
}

/* Rows of x [t][width] that are the context's go away: the others move together. */
static void drop_context(const text *x, const text_kept *k, float *rows)
{
    const int64_t w = x->width;
    for (int64_t i = 0; x->m > 0 && i < k->n; i++) {
        const float *from = rows + k->seq[i] * w;
        float *to = rows + (k->seq[i] - i * x->m) * w;
        const int64_t rest = k->seq[i + 1] - k->seq[i] - 1 - x->m;
        memmove(to, from, sizeof(float) * (size_t)w);
        memmove(to + w, from + (1 + x->m) * w, sizeof(float) * (size_t)(rest * w));
    }
}

/* The adjoint: they move apart, with zeros for the context's. */
static void restore_context(const text *x, const text_kept *k, float *rows)
{
    const int64_t w = x->width;
    for (int64_t i = k->n - 1; x->m > 0 && i >= 0; i--) {
        const float *from = rows + (k->seq[i] - i * x->m) * w;
        float *to = rows + k->seq[i] * w;
        const int64_t rest = k->seq[i + 1] - k->seq[i] - 1 - x->m;
        memmove(to + (1 + x->m) * w, from + w, sizeof(float) * (size_t)(rest * w));
        memmove(to, from, sizeof(float) * (size_t)w);
        memset(to + w, 0, sizeof(float) * (size_t)(x->m * w));
    }
}

static const float *context_of(const text *x)
{
    return x->m > 0 ? tdm_weight_of(x->params, x->context) : NULL;
}

static tdm_status text_forward(tower *base, const tdm_tower_input *input, const tdm_pass *mode, bool keep,
                               const tdm_tower_output *output)
{
    text *x = (text *)base;
    const tdm_params *p = x->params;
    const int64_t n = input->n, w = x->width, real = input->seq[n] - input->seq[0] + n * x->m;
    const int64_t t = tdm_round_up(real, TDM_ROW_STEP);
    const bool dense = output->tokens != NULL;
    const size_t mark = tdm_scratch_mark(x->scratch);
    text_kept *k;
    TDM_TRY(check_tokens(x, input));
    TDM_TAKE(x->scratch, 1, &k);
    *k = (text_kept){.below = base->kept, .mark = mark, .end.dense = dense};
    TDM_TRY(kept_take(x, x->scratch, n, t, dense, k));
    fill_rows(x, input, t, k);

    tdm_text_tokens_forward(x->ops, n, k->seq, w, k->token, tdm_weight_of(p, x->table), context_of(x),
                            tdm_weight_of(p, x->position), k->x);
    memset(k->x + real * w, 0, sizeof(float) * (size_t)((t - real) * w));
    TDM_TRY(tdm_transformer_forward(x->blocks, &k->rows, mode, k->x, n, dense ? NULL : k->end_row, k->end.x,
                                    keep ? &k->blocks : NULL));
    if (dense) drop_context(x, k, k->end.x);
    TDM_TRY(projection_forward(&x->end, &k->end, output));
    if (keep)
        base->kept = k;
    else
        tdm_scratch_rewind(x->scratch, mark);
    return TDM_OK;
}

/* From dx of the embedded rows, where something below the blocks is trained. */
static void embedding_backward(const text *x, const text_kept *k, const float *dx)
{
    const tdm_params *p = x->params;
    const bool whole = x->base.scope.lowest_row <= x->position; /* positions or the table are trained */
    const bool context = x->m > 0 && tdm_is_trained(p, x->context);
    if (!whole && !context) return;
    tdm_text_tokens_backward(
        x->ops, k->n, k->seq, x->width, k->token, dx, whole ? tdm_grad_of(p, x->table) : NULL,
        context ? tdm_grad_of(p, x->context) : NULL, whole ? tdm_grad_of(p, x->position) : NULL);
}

static tdm_status text_backward(tower *base, const tdm_tower_output *gradient, tdm_final_from *final_from,
                                void *context)
{
    text *x = (text *)base;
    text_kept *k = base->kept;
    const tdm_params *p = x->params;
    const int64_t n = k->n, w = x->width, t = k->rows.t;
    float *dend, *dx;
    TDM_TAKE(x->scratch, t * w, &dx);
    TDM_TAKE(x->scratch, (k->end.dense ? t : n) * w, &dend);
    TDM_TRY(projection_backward(&x->end, &k->end, gradient, dend));
    if (k->end.dense) restore_context(x, k, dend);
    if (final_from) final_from(context, p->row[x->end.ln_weight].offset);
    if (tdm_goes_below(&base->scope, x->end.ln_weight))
        TDM_TRY(tdm_transformer_backward(x->blocks, k->blocks, dend, dx, final_from, context));
    embedding_backward(x, k, dx);
    if (final_from) final_from(context, p->row[x->table].offset);
    base->kept = k->below;
    tdm_scratch_rewind(x->scratch, k->mark);
    return TDM_OK;
}

static double text_backward_share(const tower *base)
{
    return tdm_transformer_backward_share(((const text *)base)->blocks);
}

static double text_forward_flop(const tdm_config *config, const tdm_pass *pass, int64_t n, int64_t tokens,
                                int64_t tokens_squared)
{
    (void)pass;
    const tdm_tower_config *c = &config->model.text;
    const tower_drop drop = tower_drop_of(c);
    const int64_t m = c->context_tokens; /* (l + m)^2 = l^2 + 2 m l + m^2 */
    tokens_squared += m * (2 * tokens + n * m);
    tokens += n * m;
    return tdm_transformer_flop(c->width, c->layers, c->mlp_ratio, n, tokens, tokens_squared, true,
                                drop.part) +
           2.0 * (double)n * (double)(c->width * tower_feature_dim(config, TDM_TEXT));
}

static tdm_status text_scratch_bytes(const tower *base, int64_t n, int64_t tokens_per_caption, bool dense,
                                     tower_bytes *bytes)
{
    const text *x = (const text *)base;
    const int64_t t = tdm_round_up(n * (tdm_min_i64(tokens_per_caption, x->most) + x->m), TDM_ROW_STEP);
    const size_t gradients = sizeof(float) * (size_t)((t + (dense ? t : n)) * x->width) + 2 * 64;
    const size_t end = projection_backward_bytes(&x->end, n, dense ? t : 0);
    text_kept k;
    tdm_transformer_bytes blocks;
    TDM_TRY(tdm_transformer_scratch_bytes(x->blocks, t, dense ? -1 : n, &blocks));
    tdm_scratch kept = {.capacity_bytes = SIZE_MAX, .used_bytes = sizeof(k) + 64};
    TDM_TRY(kept_take(x, &kept, n, t, dense, &k));
    *bytes = (tower_bytes){
        .kept = (int64_t)(kept.used_bytes + blocks.kept),
        .work = (int64_t)tdm_larger(blocks.forward, gradients + tdm_larger(end, blocks.backward)),
        .lone = (int64_t)(kept.used_bytes + blocks.lone)};
    return TDM_OK;
}

static tdm_status text_create(const tower_setup *setup, tower **out);

static int64_t text_token_rows(const tower *base, const tdm_tower_input *input, const tdm_pass *pass)
{
    (void)base, (void)pass;
    return input->seq[input->n] - input->seq[0];
}

static tdm_status text_check(const tdm_config *config)
{
    const tdm_tower_config *c = &config->model.text;
    TDM_REQUIRE(
        tdm_caption_tokens(config) >= 2, TDM_E_CONFIG,
        "model.text.context_tokens = %lld leaves no room for captions in model.text.context_length = %lld",
        (long long)c->context_tokens, (long long)c->context_length);
    return tower_check_blocks(config, TDM_TEXT);
}

static tdm_transformer *text_blocks(const tower *base)
{
    return ((const text *)base)->blocks;
}

const tower_type tower_text = {
    .name = "text",
    .modality = TDM_TEXT,
    .reads = TDM_READS_TOKENS,
    .has_levels = true,
    .blocks = text_blocks,
    .has_tokens = true,
    .token_rows = text_token_rows,
    .check = text_check,
    .create = text_create,
    .destroy = text_destroy,
    .load = text_load,
    .forward = text_forward,
    .backward = text_backward,
    .scratch_bytes = text_scratch_bytes,
    .forward_flop = text_forward_flop,
    .backward_share = text_backward_share,
};

static tdm_status text_build(text *x, const tower_setup *setup)
{
    const tdm_config *config = setup->config;
    const tdm_tower_config *c = &config->model.text;
    x->base.type = &tower_text;
    x->base.random = config->model.dropout > 0.0 || c->attention_dropout > 0.0;
    x->ops = setup->nn.ops;
    x->params = setup->nn.params;
    x->scratch = setup->nn.scratch;
    x->most = tdm_caption_tokens(config);
    x->m = c->context_tokens;
    x->vocab = c->vocab_size;
    x->width = c->width;
    x->embed_dim = tower_feature_dim(config, TDM_TEXT);

    const int64_t w = x->width;
    tdm_params *p = x->params;
    TDM_TRY(tdm_declare(p, &x->table, TDM_INIT_NORMAL, 0.02, 2, (int64_t[]){x->vocab, w}, "",
                        "token_embedding.weight"));
    TDM_TRY(tdm_declare(p, &x->position, TDM_INIT_NORMAL, 0.01, 2, (int64_t[]){c->context_length, w}, "",
                        "positional_embedding"));
    x->context = -1;
    if (x->m > 0)
        TDM_TRY(
            tdm_declare(p, &x->context, TDM_INIT_NORMAL, 0.02, 2, (int64_t[]){x->m, w}, "", TDM_CONTEXT_ROW));
    const tower_drop drop = tower_drop_of(c);
    const tdm_transformer_setup blocks = {
        .nn = &setup->nn,
        .scope = &x->base.scope,
        .prefix = "transformer",
        .width = w,
        .layers = c->layers,
        .heads = c->heads,
        .mlp_width = (int64_t)llround((double)w * c->mlp_ratio),
        .activation = (tdm_activation)config->model.activation,
        .causal = true,
        .dropout = config->model.dropout,
        .attention_dropout = c->attention_dropout,
        .dropout_site = 4096,
        .without = drop.part,
    };
    TDM_TRY(tdm_transformer_create(&blocks, &x->blocks));
    x->end = (projection){.nn = setup->nn, .scope = &x->base.scope, .width = w, .embed_dim = x->embed_dim};
    TDM_TRY(tdm_declare(p, &x->end.ln_weight, TDM_INIT_ONE, 0, 1, (int64_t[]){w}, "", "ln_final.weight"));
    TDM_TRY(tdm_declare(p, &x->end.ln_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, "", "ln_final.bias"));
    TDM_TRY(tdm_declare(p, &x->end.proj, TDM_INIT_NORMAL, pow((double)w, -0.5), 2,
                        (int64_t[]){w, x->embed_dim}, "", "text_projection"));
    tdm_set_layer(p, x->end.ln_weight, c->layers + 1);
    return TDM_OK;
}

static tdm_status text_create(const tower_setup *setup, tower **out)
{
    text *x;
    TDM_TRY(TDM_ALLOC(1, &x));
    *out = &x->base;
    return text_build(x, setup);
}
