/* CLIP's vision transformer: patch convolution, class token, positions, ln_pre, blocks, ln_post on the class
 * token, projection (github openai/CLIP, clip/model.py, VisionTransformer). Images may be of any
 * patch-divisible shape. */
#include "projection.h"

#include <math.h>
#include <string.h>

/* What one forward leaves for its backward, on the scratch stack. */
typedef struct vit_kept {
    struct vit_kept *below; /* the one before */
    size_t mark;            /* where this one begins */
    tdm_sequences rows;
    int64_t n, patches; /* of each image that are computed */
    const uint8_t *image;
    int64_t *seq, *sample, *class_row; /* [n+2], [n+1], [n] */
    int64_t *place;                    /* [n][patches] which ones; NULL: all */
    float *x;                          /* the blocks' input [t][width] */
    projection_kept end;
    tdm_transformer_tape *blocks;
    /* where something of the input end is trained; made again unless everything is kept */
    void *patch_rows;                /* [n·patches, rounded up][3·patch·patch] */
    float *x0, *pre_mean, *pre_rstd; /* before ln_pre [t][width] */
} vit_kept;

typedef struct vit {
    tower base;
    tdm_ops *ops;
    tdm_params *params;
    tdm_scratch *scratch;
    bool train;
    int64_t height, image_width, patch, width, embed_dim;
    int64_t patches, kept; /* of an image; those that patch dropout leaves */
    bool ends_whole;       /* some training passes may have all, too */
    double mean[3], std[3];
    int64_t class_embedding, position, conv, ln_pre_weight, ln_pre_bias;
    projection end; /* ln_post and proj */
    tdm_linear *patch_linear;
    tdm_transformer *blocks;
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
    tdm_transformer_destroy(&v->blocks);
    tdm_free(v);
    *base = NULL;
}

static tdm_status vit_create(const tower_setup *setup, tower **out);

static tdm_status vit_load(tower *base)
{
    vit *v = (vit *)base;
    TDM_TRY(tdm_load_linear(&base->scope, v->params, v->patch_linear, v->conv, -1, false));
    return tdm_transformer_load(v->blocks);
}

static int64_t patches_in(const vit *v, const tdm_pass *pass)
{
    return pass->train && !pass->whole_images ? v->kept : v->patches;
}

/* Token rows of k's images, and rows of their patches, rounded up. */
static int64_t token_rows(const vit_kept *k)
{
    return tdm_round_up(k->n * (1 + k->patches), TDM_ROW_STEP);
}

static int64_t patch_rows(const vit_kept *k)
{
    return tdm_round_up(k->n * k->patches, TDM_ROW_STEP);
}

/* Room for everything but the input end. */
static tdm_status kept_take(const vit *v, tdm_scratch *s, bool dense, vit_kept *k)
{
    TDM_TAKE(s, k->n + 2, &k->seq);
    TDM_TAKE(s, k->n + 1, &k->sample);
    TDM_TAKE(s, k->n, &k->class_row);
    if (k->patches < v->patches) TDM_TAKE(s, k->n * k->patches, &k->place);
    TDM_TRY(projection_take(&v->end, s, k->n, dense ? token_rows(k) : 0, &k->end));
    TDM_TAKE(s, token_rows(k) * v->width, &k->x);
    return TDM_OK;
}

static tdm_status input_take(const vit *v, tdm_scratch *s, vit_kept *k)
{
    TDM_TAKE_ACT(s, v->ops, patch_rows(k) * 3 * v->patch * v->patch, &k->patch_rows);
    TDM_TAKE(s, token_rows(k) * v->width, &k->x0);
    TDM_TAKE(s, token_rows(k), &k->pre_mean);
    TDM_TAKE(s, token_rows(k), &k->pre_rstd);
    return TDM_OK;
}

/* Offsets of n sequences of 1 + patches rows and the filler that rounds the total up, and which patches these are. */
static void fill_rows(const vit *v, const tdm_tower_input *input, const tdm_pass *pass, vit_kept *k)
{
    const int64_t n = k->n, length = 1 + k->patches;
    k->image = input->image;
    for (int64_t i = 0; i <= n; i++) k->seq[i] = i * length;
    for (int64_t i = 0; i < n; i++) k->class_row[i] = i * length;
    for (int64_t i = 0; i < n; i++) k->sample[i] = input->sample ? input->sample[i] : 0;
    for (int64_t i = 0; k->place && i < n; i++)
        tdm_patches_draw(pass, k->sample[i], v->patches, k->patches, k->place + i * k->patches);
    k->sample[n] = 0;
    k->seq[n + 1] = token_rows(k);
    k->rows = (tdm_sequences){.t = k->seq[n + 1], .n_seq = n + 1, .seq = k->seq, .sample = k->sample};
    k->end.n = n;
    k->end.t = k->rows.t;
    k->end.real = n * length;
    k->end.pick = k->class_row;
}

/* Is any of class token, positions, patch convolution and ln_pre trained? */
static bool trains_input(const vit *v)
{
    return v->base.scope.lowest_row <= v->ln_pre_bias;
}

static bool keeps_input(const vit *v)
{
    return trains_input(v) && v->base.scope.level == TDM_KEEP_ALL;
}

/* The rows of patches that the matmul rounds up to are zeros. */
static void clear_filler(const vit *v, const vit_kept *k, int64_t width, void *rows)
{
    const size_t row_bytes = tdm_dtype_bytes(tdm_ops_dtype(v->ops)) * (size_t)width;
    const int64_t real = k->n * k->patches;
    memset((char *)rows + (size_t)real * row_bytes, 0, (size_t)(patch_rows(k) - real) * row_bytes);
}

/* k->x = ln_pre([class token; patches] + positions). Leaves patch_rows and x0 on the scratch. */
static tdm_status embed_patches(vit *v, vit_kept *k)
{
    const tdm_params *p = v->params;
    const int64_t n = k->n, w = v->width, t = k->rows.t, length = 1 + k->patches;
    TDM_TRY(input_take(v, v->scratch, k));
    const size_t kept = tdm_scratch_mark(v->scratch);
    void *embedded;
    TDM_TAKE_ACT(v->scratch, v->ops, patch_rows(k) * w, &embedded);
    tdm_patchify(v->ops, n, v->height, v->image_width, v->patch, k->patches, k->place, k->image, v->mean,
                 v->std, k->patch_rows);
    clear_filler(v, k, 3 * v->patch * v->patch, k->patch_rows);
    TDM_TRY(tdm_linear_forward(v->patch_linear, patch_rows(k), k->patch_rows, embedded));
    tdm_image_tokens_forward(v->ops, n, k->patches, k->place, w, embedded,
                             tdm_weight_of(p, v->class_embedding), tdm_weight_of(p, v->position), k->x0);
    memset(k->x0 + n * length * w, 0, sizeof(float) * (size_t)((t - n * length) * w));
    tdm_scratch_rewind(v->scratch, kept);
    tdm_layernorm_forward_f32(v->ops, t, w, k->x0, tdm_weight_of(p, v->ln_pre_weight),
                              tdm_weight_of(p, v->ln_pre_bias), k->x, k->pre_mean, k->pre_rstd);
    return TDM_OK;
}

static tdm_status vit_forward(tower *base, const tdm_tower_input *input, const tdm_pass *mode, bool keep,
                              const tdm_tower_output *output)
{
    vit *v = (vit *)base;
    const int64_t n = input->n;
    const bool dense = output->tokens != NULL;
    const size_t mark = tdm_scratch_mark(v->scratch);
    vit_kept *k;
    TDM_TAKE(v->scratch, 1, &k);
    *k = (vit_kept){
        .below = base->kept, .mark = mark, .n = n, .patches = patches_in(v, mode), .end.dense = dense};
    TDM_TRY(kept_take(v, v->scratch, dense, k));
    fill_rows(v, input, mode, k);

    const size_t before_input = tdm_scratch_mark(v->scratch);
    TDM_TRY(embed_patches(v, k));
    if (!keep || !keeps_input(v)) tdm_scratch_rewind(v->scratch, before_input);
    TDM_TRY(tdm_transformer_forward(v->blocks, &k->rows, mode, k->x, n, dense ? NULL : k->class_row, k->end.x,
                                    keep ? &k->blocks : NULL));
    TDM_TRY(projection_forward(&v->end, &k->end, output));
    if (keep)
        base->kept = k;
    else
        tdm_scratch_rewind(v->scratch, mark);
    return TDM_OK;
}

/* Temporaries of input_backward. */
static tdm_status dinput_take(const vit *v, tdm_scratch *s, const vit_kept *k, float **dx0, void **dpatch)
{
    TDM_TAKE(s, token_rows(k) * v->width, dx0);
    TDM_TAKE_ACT(s, v->ops, patch_rows(k) * v->width, dpatch);
    return TDM_OK;
}

/* The adjoint of embed_patches. */
static tdm_status input_backward(vit *v, vit_kept *k, const float *dx)
{
    const tdm_params *p = v->params;
    const int64_t w = v->width;
    float *dx0;
    void *dpatch;
    if (!keeps_input(v)) TDM_TRY(embed_patches(v, k));
    TDM_TRY(dinput_take(v, v->scratch, k, &dx0, &dpatch));
    tdm_layernorm_backward_f32(v->ops, k->rows.t, w, dx, k->x0, k->pre_mean, k->pre_rstd,
                               tdm_weight_of(p, v->ln_pre_weight), dx0, tdm_grad_of(p, v->ln_pre_weight),
                               tdm_grad_of(p, v->ln_pre_bias));
    tdm_image_tokens_backward(v->ops, k->n, k->patches, k->place, w, dx0, dpatch,
                              tdm_grad_of(p, v->class_embedding), tdm_grad_of(p, v->position));
    clear_filler(v, k, w, dpatch);
    return tdm_weight_gradient(p, v->patch_linear, v->conv, -1, patch_rows(k), k->patch_rows, dpatch);
}

static tdm_status vit_backward(tower *base, const tdm_tower_output *gradient, tdm_final_from *final_from,
                               void *context)
{
    vit *v = (vit *)base;
    vit_kept *k = base->kept;
    const tdm_param *row = v->params->row;
    const int64_t w = v->width, t = k->rows.t;
    float *dx, *dend;
    TDM_TAKE(v->scratch, t * w, &dx);
    TDM_TAKE(v->scratch, (k->end.dense ? t : k->n) * w, &dend);
    TDM_TRY(projection_backward(&v->end, &k->end, gradient, dend));
    if (final_from) final_from(context, row[v->end.ln_weight].offset);
    if (tdm_goes_below(&base->scope, v->end.ln_weight))
        TDM_TRY(tdm_transformer_backward(v->blocks, k->blocks, dend, dx, final_from, context));
    if (trains_input(v)) TDM_TRY(input_backward(v, k, dx));
    if (final_from) final_from(context, row[v->class_embedding].offset);
    base->kept = k->below;
    tdm_scratch_rewind(v->scratch, k->mark);
    return TDM_OK;
}

static double vit_backward_share(const tower *base)
{
    return tdm_transformer_backward_share(((const vit *)base)->blocks);
}

static double vit_forward_flop(const tdm_config *config, const tdm_pass *pass, int64_t n, int64_t tokens,
                               int64_t tokens_squared)
{
    (void)tokens, (void)tokens_squared;
    const tdm_tower_config *c = &config->model.image;
    const int64_t patches = tdm_model_patches(config, pass), length = 1 + patches;
    const tower_drop drop = tower_drop_of(c);
    return tdm_transformer_flop(c->width, c->layers, c->mlp_ratio, n, n * length, n * length * length, false,
                                drop.part) +
           2.0 * (double)(n * patches) * 3.0 * (double)(c->patch_px * c->patch_px * c->width) +
           2.0 * (double)n * (double)(c->width * tower_feature_dim(config, TDM_IMAGE));
}

/* Of calls that compute so many patches of an image. */
static tdm_status bytes_of(const vit *v, int64_t n, int64_t patches, bool dense, tower_bytes *bytes)
{
    vit_kept k = {.n = n, .patches = patches};
    const int64_t t = token_rows(&k), stream = t * v->width; /* of the gradients */
    float *dx0;
    void *dpatch;
    tdm_transformer_bytes blocks;
    TDM_TRY(tdm_transformer_scratch_bytes(v->blocks, t, dense ? -1 : n, &blocks));
    tdm_scratch kept = {.capacity_bytes = SIZE_MAX, .used_bytes = sizeof(k) + 64}, input = kept,
                dinput = kept;
    TDM_TRY(kept_take(v, &kept, dense, &k));
    const size_t lone = kept.used_bytes;
    if (keeps_input(v)) TDM_TRY(input_take(v, &kept, &k));
    TDM_TRY(input_take(v, &input, &k));
    TDM_TAKE_ACT(&input, v->ops, patch_rows(&k) * v->width, &dpatch);
    if (trains_input(v)) TDM_TRY(dinput_take(v, &dinput, &k, &dx0, &dpatch));
    if (trains_input(v) && !keeps_input(v)) dinput.used_bytes += input.used_bytes;
    const size_t gradients = sizeof(float) * (size_t)(stream + (dense ? t : n) * v->width) + 2 * 64;
    const size_t backward = gradients + tdm_larger(projection_backward_bytes(&v->end, n, dense ? t : 0),
                                                   tdm_larger(blocks.backward, dinput.used_bytes));
    *bytes =
        (tower_bytes){.kept = (int64_t)(kept.used_bytes + blocks.kept),
                      .work = (int64_t)tdm_larger(tdm_larger(blocks.forward, input.used_bytes), backward),
                      .lone = (int64_t)(lone + tdm_larger(input.used_bytes, blocks.lone))};
    return TDM_OK;
}

/* Calls that keep nothing may be those of an evaluation, which sees whole images. */
static tdm_status vit_scratch_bytes(const tower *base, int64_t n, int64_t tokens_per_caption, bool dense,
                                    tower_bytes *bytes)
{
    (void)tokens_per_caption;
    const vit *v = (const vit *)base;
    tower_bytes whole;
    TDM_TRY(bytes_of(v, n, v->patches, dense, &whole));
    TDM_TRY(bytes_of(v, n, v->ends_whole ? v->patches : v->kept, dense, bytes));
    bytes->lone = whole.lone;
    return TDM_OK;
}

static int64_t vit_token_rows(const tower *base, const tdm_tower_input *input, const tdm_pass *pass)
{
    return input->n * (1 + patches_in((const vit *)base, pass));
}

static int64_t vit_place_px(const tdm_config *config)
{
    return config->model.image.patch_px;
}

static tdm_status vit_check(const tdm_config *config)
{
    const tdm_tower_config *c = &config->model.image;
    TDM_REQUIRE(c->height_px % c->patch_px == 0 && c->width_px % c->patch_px == 0, TDM_E_CONFIG,
                "model.image.patch_px = %lld does not divide %lld x %lld px (height x width)",
                (long long)c->patch_px, (long long)c->height_px, (long long)c->width_px);
    return tower_check_blocks(config, TDM_IMAGE);
}

static tdm_transformer *vit_blocks(const tower *base)
{
    return ((const vit *)base)->blocks;
}

const tower_type tower_vit = {
    .name = "vit",
    .modality = TDM_IMAGE,
    .reads = TDM_READS_PIXELS,
    .has_levels = true,
    .blocks = vit_blocks,
    .has_tokens = true,
    .has_patches = true,
    .token_rows = vit_token_rows,
    .place_px = vit_place_px,
    .check = vit_check,
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
    v->base.random = config->model.dropout > 0.0 || c->patch_dropout > 0.0;
    v->ops = setup->nn.ops;
    v->params = setup->nn.params;
    v->scratch = setup->nn.scratch;
    v->train = setup->nn.train;
    v->height = c->height_px;
    v->image_width = c->width_px;
    v->patch = c->patch_px;
    v->patches = tdm_model_patches(config, &(tdm_pass){.train = false});
    v->kept = tdm_model_patches(config, &(tdm_pass){.train = true});
    v->ends_whole = config->train.unmasked_share > 0.0;
    v->width = c->width;
    v->embed_dim = tower_feature_dim(config, TDM_IMAGE);
    memcpy(v->mean, c->mean, sizeof(v->mean));
    memcpy(v->std, c->std, sizeof(v->std));

    const int64_t w = v->width, patch_values = 3 * v->patch * v->patch;
    const double scale = pow((double)w, -0.5);
    tdm_params *p = v->params;
    TDM_TRY(tdm_declare(p, &v->class_embedding, TDM_INIT_NORMAL, scale, 1, (int64_t[]){w}, "visual",
                        "class_embedding"));
    TDM_TRY(tdm_declare(p, &v->position, TDM_INIT_NORMAL, scale, 2, (int64_t[]){1 + v->patches, w}, "visual",
                        "positional_embedding"));
    TDM_TRY(tdm_declare(p, &v->conv, TDM_INIT_NORMAL, pow(3.0 * (double)patch_values, -0.5), 4,
                        (int64_t[]){w, 3, v->patch, v->patch}, "visual", "conv1.weight"));
    TDM_TRY(tdm_declare(p, &v->ln_pre_weight, TDM_INIT_ONE, 0, 1, (int64_t[]){w}, "visual", "ln_pre.weight"));
    TDM_TRY(tdm_declare(p, &v->ln_pre_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, "visual", "ln_pre.bias"));
    TDM_TRY(tdm_linear_create(v->ops, patch_values, w, false, false, &v->patch_linear));
    tdm_linear_may_round(v->patch_linear);
    const tower_drop drop = tower_drop_of(c);
    const tdm_transformer_setup blocks = {
        .nn = &setup->nn,
        .scope = &v->base.scope,
        .prefix = "visual.transformer",
        .width = w,
        .layers = c->layers,
        .heads = c->heads,
        .mlp_width = mlp_width(c),
        .activation = (tdm_activation)config->model.activation,
        .causal = false,
        .dropout = config->model.dropout,
        .dropout_site = 0,
        .without = drop.part,
    };
    TDM_TRY(tdm_transformer_create(&blocks, &v->blocks));
    v->end = (projection){.nn = setup->nn, .scope = &v->base.scope, .width = w, .embed_dim = v->embed_dim};
    TDM_TRY(
        tdm_declare(p, &v->end.ln_weight, TDM_INIT_ONE, 0, 1, (int64_t[]){w}, "visual", "ln_post.weight"));
    TDM_TRY(tdm_declare(p, &v->end.ln_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, "visual", "ln_post.bias"));
    TDM_TRY(tdm_declare(p, &v->end.proj, TDM_INIT_NORMAL, scale, 2, (int64_t[]){w, v->embed_dim}, "visual",
                        "proj"));
    tdm_set_layer(p, v->end.ln_weight, c->layers + 1);
    return TDM_OK;
}

static tdm_status vit_create(const tower_setup *setup, tower **out)
{
    vit *v;
    TDM_TRY(TDM_ALLOC(1, &v));
    *out = &v->base;
    return vit_build(v, setup);
}
