/* Private to the files of the ModifiedResNet: resnet.c (blocks, stem, the tower), resnet_unit.c (a
 * convolution and the normalisation behind it), resnet_pool.c (attention pooling). */
#ifndef TANDEM_MODEL_RESNET_IMPL_H
#define TANDEM_MODEL_RESNET_IMPL_H

#include "model_impl.h"

enum { STAGES = 4, STEM = 3, EXPANSION = 4, WINDOW = 3 * 3 * 3 /* of the first convolution */ };

/* ---- Shapes ---- */
typedef struct block_shape {
    int64_t stage, index; /* "layerSTAGE.INDEX", stage from 1 */
    int64_t in, planes;   /* channels that enter and that the 3x3 convolution has */
    int64_t stride;
    int64_t height, width; /* of its input */
} block_shape;

static inline int64_t block_count(const tdm_tower_config *c)
{
    int64_t count = 0;
    for (int stage = 0; stage < STAGES; stage++) count += c->stage_layers[stage];
    return count;
}

static inline block_shape shape_of_block(const tdm_tower_config *c, int64_t block)
{
    block_shape s = {.in = c->width, .height = c->height_px / 4, .width = c->width_px / 4};
    for (s.stage = 1;; s.stage++) {
        s.planes = c->width << (s.stage - 1);
        for (s.index = 0; s.index < c->stage_layers[s.stage - 1]; s.index++) {
            s.stride = s.stage > 1 && s.index == 0 ? 2 : 1;
            if (block-- == 0) return s;
            s.in = s.planes * EXPANSION;
            s.height /= s.stride;
            s.width /= s.stride;
        }
    }
}

static inline bool has_projection(const block_shape *s)
{
    return s->stride > 1 || s->in != s->planes * EXPANSION;
}

/* Pixels of one image where a block begins and ends. */
static inline int64_t pixels_in(const block_shape *s)
{
    return s->height * s->width;
}

static inline int64_t pixels_out(const block_shape *s)
{
    return pixels_in(s) / (s->stride * s->stride);
}

/* ---- A convolution and the normalisation behind it ---- */
typedef struct unit {
    int64_t pixels, out;
    tdm_conv *conv;
    int64_t weight, gamma, beta, mean, variance; /* parameter rows */
    float *next_mean, *next_variance; /* the running statistics that were noted [out], when training */
    bool noted;
    /* kept for backward */
    const void *x;
    void *c; /* the convolution's output */
    tdm_batchnorm norm;
    double count; /* rows of the global batch */
} unit;

typedef struct block {
    block_shape shape;
    unit a, b, c, d; /* 1x1, 3x3, 1x1; d: the projection of the residual, where has_projection */
    /* kept for backward */
    void *x, *y1, *y2, *pooled, *out; /* input; inputs of b, c and d; output */
} block;

typedef struct attention_pool {
    int64_t pixels, width, heads;
    int64_t position, weight[3], bias[3], c_weight, c_bias; /* parameter rows; three: keys, queries, values */
    tdm_linear *linear[3];
    /* kept for backward */
    void *token, *first, *k, *v, *q;
    float *p, *out;
} attention_pool;

enum { K, Q, V }; /* CLIP's order */

typedef struct resnet {
    tower base;
    tdm_ops *ops;
    tdm_params *params;
    tdm_scratch *scratch;
    const rank_sum *rank_sum;
    bool train, sync;
    int64_t height, width_px, width, embed_dim, blocks;
    double mean[3], std[3];
    unit stem[STEM];
    block *block;
    attention_pool pool;
    int64_t widest;        /* channels */
    int64_t stream_values; /* of one image, the largest input or output of a block */
    double *sum;           /* [2·widest + 1] */
    float *moments;        /* [2·widest]: mean and variance of a batch */
    /* kept for backward */
    int64_t n;
    bool batch_stats;
    void *stem_y[STEM - 1], *stream0; /* outputs of the stem's units, of the stem */
} resnet;

/* What one forward leaves for its backward, on the scratch stack: what the tower's parts had noted. */
typedef struct resnet_kept {
    struct resnet_kept *below; /* the one before */
    size_t mark;               /* where this one begins */
    resnet tower;
    block *blocks; /* [blocks] */
} resnet_kept;

/* ---- resnet_unit.c ---- */
tdm_status unit_create(resnet *r, const char *prefix, const char *conv, const char *norm, int64_t in,
                       int64_t out, int64_t kernel, int64_t height, int64_t width, double gamma, unit *u);
void unit_destroy(unit *u);
tdm_status unit_load(resnet *r, unit *u);
/* Room for what a unit keeps. */
tdm_status unit_reserve(resnet *r, unit *u, int64_t n);
/* y = normalised convolution of x (+ residual, unless NULL), through a ReLU if relu. */
tdm_status unit_forward(resnet *r, unit *u, int64_t n, bool keep, const void *x, const void *residual,
                        bool relu, void *y);
/* dy: gradient of y, with relu before the ReLU's part; dc: room for the gradient of the convolution's output,
 * may be dy; dx: gradient of x, unless NULL. */
tdm_status unit_backward(resnet *r, unit *u, bool relu, const void *dy, void *dc, void *dx);
void unit_update(resnet *r, unit *u, bool apply);

/* ---- resnet_pool.c ---- */
tdm_status pool_create(resnet *r, const tdm_tower_config *c);
tdm_status pool_forward(resnet *r, int64_t n, const void *x, float *features);
/* dx: gradient of the last block's output. */
tdm_status pool_backward(resnet *r, const float *dfeatures, void *dx);

#endif
