/* CLIP's vision transformer: patch convolution, class token, positions, ln_pre, blocks, ln_post on the class
 * token, projection (github openai/CLIP, clip/model.py, VisionTransformer). Images may be of any
 * patch-divisible shape. */
#include "model_impl.h"

#include <math.h>
#include <string.h>

typedef struct vit {
    tower base;
    tdm_ops *ops;
    tdm_params *params;
    tdm_scratch *scratch;
    bool train;
    int64_t height, image_width, patch, patches, width, embed_dim;
    double mean[3], std[3];
    int64_t class_embedding, position, conv, ln_pre_weight, ln_pre_bias, ln_post_weight, ln_post_bias, proj;
    tdm_linear *patch_linear;
    transformer *blocks;
    /* kept for backward */
    size_t mark;
    packed rows;
    int64_t n;
    void *patch_rows;                               /* [n·patches, rounded up][3·patch·patch] */
    float *x0, *pre_mean, *pre_rstd;                /* before ln_pre [t][width] */
    float *pooled, *post_mean, *post_rstd, *normed; /* class tokens before and after ln_post [n][width] */
    int64_t *class_row;                             /* [n] */
} vit;

static int64_t mlp_width(const tdm_tower_config *config)
{
    return (int64_t)llround((double)config->width * config->mlp_ratio);
}

static void vit_destroy(tower **base)
{
    vit *v = (vit *)*base;
    if (!v) return;
    tdm_linear_destroy(&v->patch_linear);
    transformer_destroy(&v->blocks);
    tdm_free(v);
    *base = NULL;
}

static tdm_status vit_create(const tower_setup *setup, tower **out);

static tdm_status vit_load(tower *base)
{
    vit *v = (vit *)base;
    TDM_TRY(load_linear(base, v->params, v->patch_linear, v->conv, -1, false));
    return transformer_load(v->blocks);
}

/* Offsets of n sequences of 1 + patches rows and the filler that rounds the total up. */
static tdm_status vit_rows(vit *v, const tdm_tower_input *input, packed *rows)
{
    const int64_t n = input->n, length = 1 + v->patches;
    int64_t *seq, *sample;
    TAKE(v->scratch, n + 2, &seq);
    TAKE(v->scratch, n + 1, &sample);
    for (int64_t i = 0; i <= n; i++) seq[i] = i * length;
    for (int64_t i = 0; i < n; i++) sample[i] = input->sample ? input->sample[i] : 0;
    sample[n] = 0;
    seq[n + 1] = tdm_round_up(n * length, TDM_ROW_STEP);
    *rows = (packed){.t = seq[n + 1], .n_seq = n + 1, .seq = seq, .sample = sample};
    return TDM_OK;
}

/* Is any of class token, positions, patch convolution and ln_pre trained? */
static bool trains_input(const vit *v)
{
    return v->base.lowest_row <= v->ln_pre_bias;
}

/* x [t][width] = ln_pre([class token; patches] + positions). Leaves patch_rows and x0 on the scratch. */
static tdm_status embed_patches(vit *v, const tdm_tower_input *input, float *x)
{
    const tdm_params *p = v->params;
    const int64_t n = input->n, w = v->width, t = v->rows.t, patch_values = 3 * v->patch * v->patch;
    const int64_t length = 1 + v->patches, patch_t = tdm_round_up(n * v->patches, TDM_ROW_STEP);
    const size_t act = tdm_dtype_bytes(tdm_ops_dtype(v->ops));
    TAKE_ACT(v->scratch, v->ops, patch_t * patch_values, &v->patch_rows);
    TAKE(v->scratch, t * w, &v->x0);
    TAKE(v->scratch, t, &v->pre_mean);
    TAKE(v->scratch, t, &v->pre_rstd);
    const size_t kept = tdm_scratch_mark(v->scratch);
    void *embedded;
    TAKE_ACT(v->scratch, v->ops, patch_t * w, &embedded);
    tdm_patchify(v->ops, n, v->height, v->image_width, v->patch, input->image, v->mean, v->std,
                 v->patch_rows);
    memset((char *)v->patch_rows + act * (size_t)(n * v->patches * patch_values), 0,
           act * (size_t)((patch_t - n * v->patches) * patch_values));
    TDM_TRY(tdm_linear_forward(v->patch_linear, patch_t, v->patch_rows, embedded));
    tdm_image_tokens_forward(v->ops, n, v->patches, w, embedded, weight_of(p, v->class_embedding),
                             weight_of(p, v->position), v->x0);
    memset(v->x0 + n * length * w, 0, sizeof(float) * (size_t)((t - n * length) * w));
    tdm_scratch_rewind(v->scratch, kept);
    tdm_layernorm_forward_f32(v->ops, t, w, v->x0, weight_of(p, v->ln_pre_weight),
                              weight_of(p, v->ln_pre_bias), x, v->pre_mean, v->pre_rstd);
    return TDM_OK;
}

static tdm_status vit_forward(tower *base, const tdm_tower_input *input, const tdm_tower_mode *mode,
                              bool keep, float *features)
{
    vit *v = (vit *)base;
    const tdm_params *p = v->params;
    const int64_t n = input->n, w = v->width;
    v->mark = tdm_scratch_mark(v->scratch);
    v->n = n;
    TDM_TRY(vit_rows(v, input, &v->rows));
    const int64_t t = v->rows.t;

    float *x, *last;
    TAKE(v->scratch, n * w, &v->pooled);
    TAKE(v->scratch, n * w, &v->normed);
    TAKE(v->scratch, n, &v->post_mean);
    TAKE(v->scratch, n, &v->post_rstd);
    TAKE(v->scratch, n, &v->class_row);
    for (int64_t i = 0; i < n; i++) v->class_row[i] = i * (1 + v->patches);
    TAKE(v->scratch, t * w, &x);
    last = x;
    if (keep) TAKE(v->scratch, t * w, &last);

    const size_t before_input = tdm_scratch_mark(v->scratch);
    TDM_TRY(embed_patches(v, input, x));
    if (!keep || !trains_input(v)) tdm_scratch_rewind(v->scratch, before_input);
    TDM_TRY(transformer_forward(v->blocks, &v->rows, mode, keep, x, last));

    tdm_gather_rows(v->ops, n, w, v->class_row, last, v->pooled);
    tdm_layernorm_forward_f32(v->ops, n, w, v->pooled, weight_of(p, v->ln_post_weight),
                              weight_of(p, v->ln_post_bias), v->normed, v->post_mean, v->post_rstd);
    TDM_TRY(tdm_gemm(v->ops, false, false, n, v->embed_dim, w, 1.0f, v->normed, w, weight_of(p, v->proj),
                     v->embed_dim, 0.0f, features, v->embed_dim));
    if (!keep) tdm_scratch_rewind(v->scratch, v->mark);
    return TDM_OK;
}

/* features = ln_post(class token) · proj. dpooled [n][width] is written, unless only proj is trained. */
static tdm_status output_backward(vit *v, const float *dfeatures, float *dpooled)
{
    const tdm_params *p = v->params;
    const int64_t n = v->n, w = v->width, e = v->embed_dim;
    float *dnormed;
    TAKE(v->scratch, n * w, &dnormed);
    if (is_trained(p, v->proj))
        TDM_TRY(tdm_gemm(v->ops, true, false, w, e, n, 1.0f, v->normed, w, dfeatures, e, 1.0f,
                         grad_of(p, v->proj), e));
    if (!goes_below(&v->base, v->proj)) return TDM_OK;
    TDM_TRY(tdm_gemm(v->ops, false, true, n, w, e, 1.0f, dfeatures, e, weight_of(p, v->proj), e, 0.0f,
                     dnormed, w));
    tdm_layernorm_backward_f32(v->ops, n, w, dnormed, v->pooled, v->post_mean, v->post_rstd,
                               weight_of(p, v->ln_post_weight), dpooled, grad_of(p, v->ln_post_weight),
                               grad_of(p, v->ln_post_bias));
    return TDM_OK;
}

/* The adjoint of embed_patches. */
static tdm_status input_backward(vit *v, const float *dx)
{
    const tdm_params *p = v->params;
    const int64_t n = v->n, w = v->width, t = v->rows.t;
    const int64_t patch_t = tdm_round_up(n * v->patches, TDM_ROW_STEP);
    const size_t act = tdm_dtype_bytes(tdm_ops_dtype(v->ops));
    float *dx0;
    void *dpatch;
    TAKE(v->scratch, t * w, &dx0);
    TAKE_ACT(v->scratch, v->ops, patch_t * w, &dpatch);
    tdm_layernorm_backward_f32(v->ops, t, w, dx, v->x0, v->pre_mean, v->pre_rstd,
                               weight_of(p, v->ln_pre_weight), dx0, grad_of(p, v->ln_pre_weight),
                               grad_of(p, v->ln_pre_bias));
    tdm_image_tokens_backward(v->ops, n, v->patches, w, dx0, dpatch, grad_of(p, v->class_embedding),
                              grad_of(p, v->position));
    memset((char *)dpatch + act * (size_t)(n * v->patches * w), 0,
           act * (size_t)((patch_t - n * v->patches) * w));
    return weight_gradient(p, v->patch_linear, v->conv, -1, patch_t, v->patch_rows, dpatch);
}

static tdm_status vit_backward(tower *base, const float *dfeatures, tdm_final_from *final_from, void *context)
{
    vit *v = (vit *)base;
    const tdm_param *row = v->params->row;
    const int64_t n = v->n, w = v->width, t = v->rows.t;
    float *dx, *dpooled;
    TAKE(v->scratch, t * w, &dx);
    TAKE(v->scratch, n * w, &dpooled);
    TDM_TRY(output_backward(v, dfeatures, dpooled));
    if (final_from) final_from(context, row[v->ln_post_weight].offset);
    if (goes_below(base, v->ln_post_weight)) {
        memset(dx, 0, sizeof(float) * (size_t)(t * w));
        tdm_scatter_rows(v->ops, n, w, v->class_row, dpooled, dx);
        TDM_TRY(transformer_backward(v->blocks, dx, final_from, context));
    }
    if (trains_input(v)) TDM_TRY(input_backward(v, dx));
    if (final_from) final_from(context, row[v->class_embedding].offset);
    tdm_scratch_rewind(v->scratch, v->mark);
    return TDM_OK;
}

static double vit_backward_share(const tower *base)
{
    return transformer_backward_share(((const vit *)base)->blocks);
}

static double vit_forward_flop(const tdm_config *config, int64_t n, int64_t tokens, int64_t tokens_squared)
{
    (void)tokens, (void)tokens_squared;
    const tdm_tower_config *c = &config->model.image;
    const int64_t patches = (c->height_px / c->patch_px) * (c->width_px / c->patch_px), length = 1 + patches;
    return transformer_flop(c->width, c->layers, c->mlp_ratio, n * length, n * length * length, false) +
           2.0 * (double)(n * patches) * 3.0 * (double)(c->patch_px * c->patch_px * c->width) +
           2.0 * (double)n * (double)(c->width * config->model.embed_dim);
}

static int64_t vit_scratch_bytes(const tdm_config *config, tdm_dtype dtype, int64_t n,
                                 int64_t tokens_per_caption, bool train)
{
    (void)tokens_per_caption;
    const tdm_tower_config *c = &config->model.image;
    const int64_t patches = (c->height_px / c->patch_px) * (c->width_px / c->patch_px);
    const int64_t patch_rows = tdm_round_up(n * patches, TDM_ROW_STEP) * 3 * c->patch_px * c->patch_px;
    return transformer_tower_bytes(c, dtype, n, n * (1 + patches), train) +
           (int64_t)tdm_dtype_bytes(dtype) * patch_rows;
}

const tower_type tower_vit = {
    .name = "vit",
    .modality = TDM_IMAGE,
    .create = vit_create,
    .destroy = vit_destroy,
    .load = vit_load,
    .forward = vit_forward,
    .backward = vit_backward,
    .scratch_bytes = vit_scratch_bytes,
    .forward_flop = vit_forward_flop,
    .backward_share = vit_backward_share,
};

static tdm_status vit_build(vit *v, const tower_setup *setup)
{
    const tdm_config *config = setup->config;
    const tdm_tower_config *c = &config->model.image;
    v->base.type = &tower_vit;
    v->ops = setup->ops;
    v->params = setup->params;
    v->scratch = setup->scratch;
    v->train = setup->train;
    v->height = c->height_px;
    v->image_width = c->width_px;
    v->patch = c->patch_px;
    v->patches = (c->height_px / c->patch_px) * (c->width_px / c->patch_px);
    v->width = c->width;
    v->embed_dim = config->model.embed_dim;
    memcpy(v->mean, c->mean, sizeof(v->mean));
    memcpy(v->std, c->std, sizeof(v->std));

    const int64_t w = v->width, patch_values = 3 * v->patch * v->patch;
    const double scale = pow((double)w, -0.5);
    tdm_params *p = v->params;
    TDM_TRY(declare(p, &v->class_embedding, TDM_INIT_NORMAL, scale, 1, (int64_t[]){w}, "visual",
                    "class_embedding"));
    TDM_TRY(declare(p, &v->position, TDM_INIT_NORMAL, scale, 2, (int64_t[]){1 + v->patches, w}, "visual",
                    "positional_embedding"));
    TDM_TRY(declare(p, &v->conv, TDM_INIT_NORMAL, pow(3.0 * (double)patch_values, -0.5), 4,
                    (int64_t[]){w, 3, v->patch, v->patch}, "visual", "conv1.weight"));
    TDM_TRY(declare(p, &v->ln_pre_weight, TDM_INIT_ONE, 0, 1, (int64_t[]){w}, "visual", "ln_pre.weight"));
    TDM_TRY(declare(p, &v->ln_pre_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, "visual", "ln_pre.bias"));
    TDM_TRY(tdm_linear_create(v->ops, patch_values, w, false, false, &v->patch_linear));
    const transformer_setup blocks = {
        .tower = setup,
        .owner = &v->base,
        .prefix = "visual.transformer",
        .width = w,
        .layers = c->layers,
        .heads = c->heads,
        .mlp_width = mlp_width(c),
        .activation = strcmp(config->model.activation, "gelu") ? TDM_QUICKGELU : TDM_GELU,
        .causal = false,
        .dropout = config->model.dropout,
        .dropout_site = 0,
    };
    TDM_TRY(transformer_create(&blocks, &v->blocks));
    TDM_TRY(declare(p, &v->ln_post_weight, TDM_INIT_ONE, 0, 1, (int64_t[]){w}, "visual", "ln_post.weight"));
    TDM_TRY(declare(p, &v->ln_post_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, "visual", "ln_post.bias"));
    TDM_TRY(declare(p, &v->proj, TDM_INIT_NORMAL, scale, 2, (int64_t[]){w, v->embed_dim}, "visual", "proj"));
    set_layer(p, v->ln_post_weight, c->layers + 1);
    return TDM_OK;
}

static tdm_status vit_create(const tower_setup *setup, tower **out)
{
    vit *v;
    TDM_TRY(TDM_ALLOC(1, &v));
    *out = &v->base;
    return vit_build(v, setup);
}
