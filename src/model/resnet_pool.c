/* Attention pooling of the ModifiedResNet: one query, the mean of the pixels (github openai/CLIP,
 * clip/model.py, AttentionPool2d). */
#include "resnet_impl.h"

#include <math.h>
#include <string.h>

tdm_status pool_create(resnet *r, const tdm_tower_config *c)
{
    attention_pool *a = &r->pool;
    tdm_params *p = r->params;
    static const char *const names[] = {[K] = "k_proj", [Q] = "q_proj", [V] = "v_proj"};
    const int64_t w = r->width * 32, e = r->embed_dim;
    const double std = pow((double)w, -0.5); /* also the bound of nn.Linear's uniform biases */
    a->pixels = (r->height / 32) * (r->width_px / 32);
    a->width = w;
    a->heads = c->heads;
    TDM_TRY(tdm_declare(p, &a->position, TDM_INIT_NORMAL, std, 2, (int64_t[]){1 + a->pixels, w},
                        "visual.attnpool", "positional_embedding"));
    for (int i = 0; i < 3; i++) {
        char at[64];
        snprintf(at, sizeof(at), "visual.attnpool.%s", names[i]);
        TDM_TRY(tdm_declare(p, &a->weight[i], TDM_INIT_NORMAL, std, 2, (int64_t[]){w, w}, at, "weight"));
        TDM_TRY(tdm_declare(p, &a->bias[i], TDM_INIT_UNIFORM, std, 1, (int64_t[]){w}, at, "bias"));
        TDM_TRY(tdm_linear_create(r->ops, w, w, true, false, &a->linear[i]));
    }
    TDM_TRY(tdm_declare(p, &a->c_weight, TDM_INIT_NORMAL, std, 2, (int64_t[]){e, w}, "visual.attnpool.c_proj",
                        "weight"));
    return tdm_declare(p, &a->c_bias, TDM_INIT_UNIFORM, std, 1, (int64_t[]){e}, "visual.attnpool.c_proj",
                       "bias");
}

static tdm_status pool_reserve(resnet *r, int64_t n)
{
    attention_pool *a = &r->pool;
    const int64_t tokens = n * (1 + a->pixels), w = a->width;
    TDM_TAKE_ACT(r->scratch, r->ops, tokens * w, &a->token);
    TDM_TAKE_ACT(r->scratch, r->ops, n * w, &a->first);
    TDM_TAKE_ACT(r->scratch, r->ops, tokens * w, &a->k);
    TDM_TAKE_ACT(r->scratch, r->ops, tokens * w, &a->v);
    TDM_TAKE_ACT(r->scratch, r->ops, n * w, &a->q);
    TDM_TAKE(r->scratch, tokens * a->heads, &a->p);
    TDM_TAKE(r->scratch, n * w, &a->out);
    return TDM_OK;
}

tdm_status pool_forward(resnet *r, int64_t n, const void *x, float *features)
{
    attention_pool *a = &r->pool;
    const int64_t length = 1 + a->pixels, w = a->width, e = r->embed_dim;
    const size_t row_bytes = tdm_dtype_bytes(tdm_ops_dtype(r->ops)) * (size_t)w;
    const float *bias = tdm_weight_of(r->params, a->c_bias);
    TDM_TRY(pool_reserve(r, n));
    tdm_pool_tokens_forward(r->ops, n, a->pixels, w, x, tdm_weight_of(r->params, a->position), a->token);
    for (int64_t i = 0; i < n; i++)
        memcpy((char *)a->first + (size_t)i * row_bytes, (char *)a->token + (size_t)(i * length) * row_bytes,
               row_bytes);
    TDM_TRY(tdm_linear_forward(a->linear[K], n * length, a->token, a->k));
    TDM_TRY(tdm_linear_forward(a->linear[V], n * length, a->token, a->v));
    TDM_TRY(tdm_linear_forward(a->linear[Q], n, a->first, a->q));
    tdm_pool_attention_forward(r->ops, n, length, a->heads, w / a->heads, a->q, a->k, a->v, a->out, a->p);
    TDM_TRY(tdm_gemm(r->ops, false, true, n, e, w, 1.0f, a->out, w, tdm_weight_of(r->params, a->c_weight), w,
                     0.0f, features, e));
    for (int64_t i = 0; i < n * e; i++) features[i] += bias[i % e];
    return TDM_OK;
}

/* Of the pool's output, that of everything below it. */
static tdm_status attention_backward(resnet *r, const float *dfeatures, void *dx)
{
    const attention_pool *a = &r->pool;
    const tdm_params *p = r->params;
    const int64_t n = r->n, length = 1 + a->pixels, t = n * length, w = a->width, e = r->embed_dim;
    float *dout;
    void *dq, *dk, *dv, *dfirst, *da, *db;
    TDM_TAKE(r->scratch, n * w, &dout);
    TDM_TAKE_ACT(r->scratch, r->ops, n * w, &dq);
    TDM_TAKE_ACT(r->scratch, r->ops, n * w, &dfirst);
    TDM_TAKE_ACT(r->scratch, r->ops, t * w, &dk);
    TDM_TAKE_ACT(r->scratch, r->ops, t * w, &dv);
    TDM_TAKE_ACT(r->scratch, r->ops, t * w, &da);
    TDM_TAKE_ACT(r->scratch, r->ops, t * w, &db);
    TDM_TRY(tdm_gemm(r->ops, false, false, n, w, e, 1.0f, dfeatures, e, tdm_weight_of(p, a->c_weight), w,
                     0.0f, dout, w));
    tdm_pool_attention_backward(r->ops, n, length, a->heads, w / a->heads, a->q, a->k, a->v, a->p, dout, dq,
                                dk, dv);
    TDM_TRY(tdm_weight_gradient(p, a->linear[K], a->weight[K], a->bias[K], t, a->token, dk));
    TDM_TRY(tdm_weight_gradient(p, a->linear[V], a->weight[V], a->bias[V], t, a->token, dv));
    TDM_TRY(tdm_weight_gradient(p, a->linear[Q], a->weight[Q], a->bias[Q], n, a->first, dq));
    if (!tdm_goes_below(&r->base.scope, a->weight[K])) return TDM_OK; /* the first of the three */
    TDM_TRY(tdm_linear_backward_data(a->linear[K], t, dk, da));
    TDM_TRY(tdm_linear_backward_data(a->linear[V], t, dv, db));
    TDM_TRY(tdm_linear_backward_data(a->linear[Q], n, dq, dfirst));
    tdm_pool_tokens_backward(r->ops, n, a->pixels, w, da, db, dfirst, dx, tdm_grad_of(p, a->position));
    return TDM_OK;
}

/* The gradients of what is trained; dx only if something below the pool is. */
tdm_status pool_backward(resnet *r, const float *dfeatures, void *dx)
{
    const attention_pool *a = &r->pool;
    const tdm_params *p = r->params;
    const size_t mark = tdm_scratch_mark(r->scratch);
    const int64_t n = r->n, w = a->width, e = r->embed_dim;
    if (tdm_is_trained(p, a->c_bias)) {
        float *dbias = tdm_grad_of(p, a->c_bias);
        for (int64_t i = 0; i < n * e; i++) dbias[i % e] += dfeatures[i];
    }
    if (tdm_is_trained(p, a->c_weight))
        TDM_TRY(tdm_gemm(r->ops, true, false, e, w, n, 1.0f, dfeatures, e, a->out, w, 1.0f,
                         tdm_grad_of(p, a->c_weight), w));
    if (!tdm_goes_below(&r->base.scope, a->c_weight)) return TDM_OK;
    TDM_TRY(attention_backward(r, dfeatures, dx));
    tdm_scratch_rewind(r->scratch, mark);
    return TDM_OK;
}
