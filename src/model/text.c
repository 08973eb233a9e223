/* CLIP's text transformer: token and position embeddings, causal blocks, ln_final, the end-of-text token's
 * row, projection (github openai/CLIP, clip/model.py, CLIP.encode_text). Captions are packed: nothing after
 * the end-of-text token is computed, which under the causal mask changes no result. */
#include "model_impl.h"

#include <math.h>
#include <string.h>

typedef struct text {
    tower base;
    tdm_ops *ops;
    tdm_params *params;
    tdm_scratch *scratch;
    int64_t context, vocab, width, embed_dim;
    int64_t table, position, ln_final_weight, ln_final_bias, projection;
    transformer *blocks;
    /* kept for backward */
    size_t mark;
    packed rows;
    int64_t n;
    const int32_t *token;                 /* of the first caption of the input, borrowed */
    float *pooled, *mean, *rstd, *normed; /* end tokens before and after ln_final [n][width] */
    int64_t *end_row;                     /* [n] */
} text;

static void text_destroy(tower **base)
{
    text *x = (text *)*base;
    if (!x) return;
    transformer_destroy(&x->blocks);
    tdm_free(x);
    *base = NULL;
}

static tdm_status text_load(tower *base)
{
    return transformer_load(((text *)base)->blocks);
}

static tdm_status text_rows(text *x, const tdm_tower_input *input, packed *rows)
{
    const int64_t n = input->n;
    int64_t *seq, *sample;
    TAKE(x->scratch, n + 2, &seq);
    TAKE(x->scratch, n + 1, &sample);
    for (int64_t i = 0; i <= n; i++) seq[i] = input->seq[i] - input->seq[0];
    for (int64_t i = 0; i < n; i++) {
        sample[i] = input->sample ? input->sample[i] : 0;
        const int64_t length = seq[i + 1] - seq[i];
        TDM_REQUIRE(length >= 1 && length <= x->context, TDM_E_SHAPE,
                    "caption %lld of the batch has %lld tokens; model.text.context_length is %lld",
                    (long long)i, (long long)length, (long long)x->context);
    }
    sample[n] = 0;
    seq[n + 1] = tdm_round_up(seq[n], TDM_ROW_STEP);
    *rows = (packed){.t = seq[n + 1], .n_seq = n + 1, .seq = seq, .sample = sample};

    for (int64_t i = 0; i < seq[n]; i++) {
        const int32_t id = input->token[input->seq[0] + i];
        TDM_REQUIRE(id >= 0 && id < x->vocab, TDM_E_SHAPE,
                    "token id %d is outside model.text.vocab_size %lld", id, (long long)x->vocab);
    }
    return TDM_OK;
}

static tdm_status text_forward(tower *base, const tdm_tower_input *input, const tdm_tower_mode *mode,
                               bool keep, float *features)
{
    text *x = (text *)base;
    const tdm_params *p = x->params;
    const int64_t n = input->n, w = x->width;
    x->mark = tdm_scratch_mark(x->scratch);
    x->n = n;
    x->token = input->token + input->seq[0];
    TDM_TRY(text_rows(x, input, &x->rows));
    const int64_t t = x->rows.t, real = x->rows.seq[n];

    float *stream, *last;
    TAKE(x->scratch, n * w, &x->pooled);
    TAKE(x->scratch, n * w, &x->normed);
    TAKE(x->scratch, n, &x->mean);
    TAKE(x->scratch, n, &x->rstd);
    TAKE(x->scratch, n, &x->end_row);
    TAKE(x->scratch, t * w, &stream);
    for (int64_t i = 0; i < n; i++) x->end_row[i] = x->rows.seq[i + 1] - 1;

    tdm_text_tokens_forward(x->ops, n, x->rows.seq, w, x->token, weight_of(p, x->table),
                            weight_of(p, x->position), stream);
    memset(stream + real * w, 0, sizeof(float) * (size_t)((t - real) * w));
    last = stream;
    if (keep) TAKE(x->scratch, t * w, &last);
    TDM_TRY(transformer_forward(x->blocks, &x->rows, mode, keep, stream, last));

    tdm_gather_rows(x->ops, n, w, x->end_row, last, x->pooled);
    tdm_layernorm_forward_f32(x->ops, n, w, x->pooled, weight_of(p, x->ln_final_weight),
                              weight_of(p, x->ln_final_bias), x->normed, x->mean, x->rstd);
    TDM_TRY(tdm_gemm(x->ops, false, false, n, x->embed_dim, w, 1.0f, x->normed, w,
                     weight_of(p, x->projection), x->embed_dim, 0.0f, features, x->embed_dim));
    if (!keep) tdm_scratch_rewind(x->scratch, x->mark);
    return TDM_OK;
}

/* features = ln_final(end token) · projection. dpooled [n][width] is written, unless only it is trained. */
static tdm_status output_backward(text *x, const float *dfeatures, float *dpooled)
{
    const tdm_params *p = x->params;
    const int64_t n = x->n, w = x->width, e = x->embed_dim;
    float *dnormed;
    TAKE(x->scratch, n * w, &dnormed);
    if (is_trained(p, x->projection))
        TDM_TRY(tdm_gemm(x->ops, true, false, w, e, n, 1.0f, x->normed, w, dfeatures, e, 1.0f,
                         grad_of(p, x->projection), e));
    if (!goes_below(&x->base, x->projection)) return TDM_OK;
    TDM_TRY(tdm_gemm(x->ops, false, true, n, w, e, 1.0f, dfeatures, e, weight_of(p, x->projection), e, 0.0f,
                     dnormed, w));
    tdm_layernorm_backward_f32(x->ops, n, w, dnormed, x->pooled, x->mean, x->rstd,
                               weight_of(p, x->ln_final_weight), dpooled, grad_of(p, x->ln_final_weight),
                               grad_of(p, x->ln_final_bias));
    return TDM_OK;
}

static tdm_status text_backward(tower *base, const float *dfeatures, tdm_final_from *final_from,
                                void *context)
{
    text *x = (text *)base;
    const tdm_params *p = x->params;
    const int64_t n = x->n, w = x->width, t = x->rows.t;
    float *dpooled, *dx;
    TAKE(x->scratch, t * w, &dx);
    TAKE(x->scratch, n * w, &dpooled);
    TDM_TRY(output_backward(x, dfeatures, dpooled));
    if (final_from) final_from(context, p->row[x->ln_final_weight].offset);
    if (goes_below(base, x->ln_final_weight)) {
        memset(dx, 0, sizeof(float) * (size_t)(t * w));
        tdm_scatter_rows(x->ops, n, w, x->end_row, dpooled, dx);
        TDM_TRY(transformer_backward(x->blocks, dx, final_from, context));
    }
    if (base->lowest_row <= x->position) /* positions or the table are trained */
        tdm_text_tokens_backward(x->ops, n, x->rows.seq, w, x->token, dx, grad_of(p, x->table),
                                 grad_of(p, x->position));
    if (final_from) final_from(context, p->row[x->table].offset);
    tdm_scratch_rewind(x->scratch, x->mark);
    return TDM_OK;
}

static double text_backward_share(const tower *base)
{
    return transformer_backward_share(((const text *)base)->blocks);
}

static double text_forward_flop(const tdm_config *config, int64_t n, int64_t tokens, int64_t tokens_squared)
{
    const tdm_tower_config *c = &config->model.text;
    return transformer_flop(c->width, c->layers, c->mlp_ratio, tokens, tokens_squared, true) +
           2.0 * (double)n * (double)(c->width * config->model.embed_dim);
}

static int64_t text_scratch_bytes(const tdm_config *config, tdm_dtype dtype, int64_t n,
                                  int64_t tokens_per_caption, bool train)
{
    return transformer_tower_bytes(&config->model.text, dtype, n, n * tokens_per_caption, train);
}

static tdm_status text_create(const tower_setup *setup, tower **out);

const tower_type tower_text = {
    .name = "text",
    .modality = TDM_TEXT,
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
    x->ops = setup->ops;
    x->params = setup->params;
    x->scratch = setup->scratch;
    x->context = c->context_length;
    x->vocab = c->vocab_size;
    x->width = c->width;
    x->embed_dim = config->model.embed_dim;

    const int64_t w = x->width;
    tdm_params *p = x->params;
    TDM_TRY(declare(p, &x->table, TDM_INIT_NORMAL, 0.02, 2, (int64_t[]){x->vocab, w}, "",
                    "token_embedding.weight"));
    TDM_TRY(declare(p, &x->position, TDM_INIT_NORMAL, 0.01, 2, (int64_t[]){x->context, w}, "",
                    "positional_embedding"));
    const transformer_setup blocks = {
        .tower = setup,
        .owner = &x->base,
        .prefix = "transformer",
        .width = w,
        .layers = c->layers,
        .heads = c->heads,
        .mlp_width = (int64_t)llround((double)w * c->mlp_ratio),
        .activation = strcmp(config->model.activation, "gelu") ? TDM_QUICKGELU : TDM_GELU,
        .causal = true,
        .dropout = config->model.dropout,
        .dropout_site = 4096,
    };
    TDM_TRY(transformer_create(&blocks, &x->blocks));
    TDM_TRY(declare(p, &x->ln_final_weight, TDM_INIT_ONE, 0, 1, (int64_t[]){w}, "", "ln_final.weight"));
    TDM_TRY(declare(p, &x->ln_final_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, "", "ln_final.bias"));
    TDM_TRY(declare(p, &x->projection, TDM_INIT_NORMAL, pow((double)w, -0.5), 2, (int64_t[]){w, x->embed_dim},
                    "", "text_projection"));
    set_layer(p, x->ln_final_weight, c->layers + 1);
    return TDM_OK;
}

static tdm_status text_create(const tower_setup *setup, tower **out)
{
    text *x;
    TDM_TRY(TDM_ALLOC(1, &x));
    *out = &x->base;
    return text_build(x, setup);
}
