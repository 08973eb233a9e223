/* Linear layers: dispatch to a backend, bookkeeping. */
#include "linear_impl.h"

#include <stdlib.h>
#include <string.h>

struct tdm_linear {
    tdm_ops *ops;
    linear_shape shape;
    const linear_backend *exact;   /* the table's choice */
    const linear_backend *backend; /* what serves now: that, or linear_int8 */
    void *state;
    const float *weight, *bias; /* as loaded, borrowed */
    bool with_backward;
    bool may_round;      /* see tdm_linear_may_round */
    bool packed;         /* tdm_linear_adamw has packed the weight since the last load */
    bool clear_gradient; /* the next gradient of the weight is written, not added */
    tdm_op_kind forward_kind, data_kind, weight_kind;
};

/* The first that supports the layer serves it; the last supports everything. */
static const linear_backend *const backends[] = {
    &linear_gemm,
    &linear_dnnl,
};

/* The environment variable TANDEM_MATMUL set to "dnnl" leaves only oneDNN; "own" or nothing is the table's
 * order. */
static tdm_status choose_backend(tdm_linear *l)
{
    const char *wish = getenv("TANDEM_MATMUL");
    bool any = !wish || !*wish || !strcmp(wish, "own");
    TDM_REQUIRE(any || !strcmp(wish, "dnnl"), TDM_E_CONFIG,
                "environment: TANDEM_MATMUL is \"%s\", not one of own, dnnl", wish);
    for (size_t i = 0; !l->exact && i < sizeof(backends) / sizeof(*backends); i++)
        if ((any || backends[i] == &linear_dnnl) && backends[i]->supports(l->ops, &l->shape))
            l->exact = backends[i];
    TDM_REQUIRE(l->exact, TDM_E_SHAPE, "no way to compute a linear layer of %lld inputs and %lld outputs",
                (long long)l->shape.in, (long long)l->shape.out);
    return TDM_OK;
}

static tdm_status create(tdm_ops *ops, linear_shape shape, tdm_linear **linear)
{
    TDM_REQUIRE(shape.in > 0 && shape.out > 0, TDM_E_SHAPE, "a linear layer of %lld inputs and %lld outputs",
                (long long)shape.in, (long long)shape.out);
    TDM_TRY(TDM_ALLOC(1, linear));
    tdm_linear *l = *linear;
    l->ops = ops;
    l->shape = shape;
    linear_count_as(l, TDM_OP_LINEAR_FORWARD, TDM_OP_LINEAR_DATA, TDM_OP_LINEAR_WEIGHT);
    TDM_TRY(choose_backend(l));
    l->backend = l->exact;
    return l->backend->create(ops, &l->shape, &l->state);
}

tdm_status tdm_linear_create(tdm_ops *ops, int64_t in, int64_t out, bool has_bias, bool transposed,
                             tdm_linear **linear)
{
    *linear = NULL;
    return create(ops, (linear_shape){ops->dtype, in, out, has_bias, transposed}, linear);
}

tdm_status tdm_linear_create_f32(tdm_ops *ops, int64_t in, int64_t out, bool has_bias, tdm_linear **linear)
{
    *linear = NULL;
    TDM_TRY(create(ops, (linear_shape){TDM_F32, in, out, has_bias, false}, linear));
    if ((*linear)->backend == &linear_dnnl) tdm_linear_destroy(linear);
    return TDM_OK;
}

void linear_count_as(tdm_linear *l, tdm_op_kind forward, tdm_op_kind data, tdm_op_kind weight)
{
    l->forward_kind = forward;
    l->data_kind = data;
    l->weight_kind = weight;
}

void tdm_linear_destroy(tdm_linear **linear)
{
    if (!*linear) return;
    if ((*linear)->backend) (*linear)->backend->destroy(&(*linear)->state);
    tdm_free(*linear);
    *linear = NULL;
}

static double linear_flop(const tdm_linear *l, int64_t t)
{
    return 2.0 * (double)t * (double)l->shape.in * (double)l->shape.out;
}

static tdm_status pack(tdm_linear *l)
{
    double start = op_begin();
    TDM_TRY(l->backend->pack(l->state, l->weight, l->bias, l->with_backward));
    op_end(l->ops, TDM_OP_WEIGHT_PACK, start, 0.0);
    return TDM_OK;
}

/* The backend that the next load wants. */
static tdm_status change_backend(tdm_linear *l)
{
    const bool rounds = l->ops->round_linears && l->may_round && linear_int8.supports(l->ops, &l->shape);
    const linear_backend *wanted = rounds ? &linear_int8 : l->exact;
    if (wanted == l->backend) return TDM_OK;
    l->backend->destroy(&l->state);
    l->backend = wanted;
    return wanted->create(l->ops, &l->shape, &l->state);
}

void tdm_linear_may_round(tdm_linear *l)
{
    l->may_round = true;
}

tdm_status tdm_linear_load(tdm_linear *l, const float *weight, const float *bias, bool with_backward)
{
    TDM_REQUIRE(!l->shape.has_bias || bias, TDM_E_SHAPE, "a linear layer with bias is loaded without one");
    l->weight = weight;
    l->bias = l->shape.has_bias ? bias : NULL;
    l->with_backward = with_backward;
    l->packed = false;
    TDM_TRY(change_backend(l));
    return pack(l);
}

tdm_status tdm_linear_reload(tdm_linear *l)
{
    TDM_REQUIRE(l->weight, TDM_E_SHAPE, "a linear layer is reloaded that was never loaded");
    bool packed = l->packed;
    l->packed = false;
    return packed ? TDM_OK : pack(l);
}

tdm_status tdm_linear_adamw(tdm_linear *l, const tdm_adamw *rule, float *w, const float *g, float *m,
                            float *v)
{
    TDM_REQUIRE(w == l->weight, TDM_E_SHAPE, "a linear layer is updated with a weight that was not loaded");
    l->packed = true;
    if (!l->backend->update) {
        tdm_adamw_update(l->ops, rule, l->shape.in * l->shape.out, w, g, m, v);
        return pack(l);
    }
    double start = op_begin();
    const adamw_step constants = adamw_constants(rule);
    l->backend->update(l->state, &constants, w, g, m, v);
    op_end(l->ops, TDM_OP_OPTIMIZER, start, 0.0);
    return TDM_OK;
}

tdm_status tdm_linear_forward(tdm_linear *l, int64_t t, const void *x, void *y)
{
    if (t == 0) return TDM_OK;
    double start = op_begin();
    TDM_TRY(l->backend->forward(l->state, t, x, y));
    op_end(l->ops, l->forward_kind, start, linear_flop(l, t));
    return TDM_OK;
}

tdm_status tdm_linear_backward_data(tdm_linear *l, int64_t t, const void *dy, void *dx)
{
    if (t == 0) return TDM_OK;
    double start = op_begin();
    TDM_TRY(l->backend->backward_data(l->state, t, dy, dx));
    op_end(l->ops, l->data_kind, start, linear_flop(l, t));
    return TDM_OK;
}

tdm_status tdm_linear_backward_weight(tdm_linear *l, int64_t t, const void *x, const void *dy, float *dweight,
                                      float *dbias)
{
    const bool add = !dweight || !l->clear_gradient;
    if (dweight) l->clear_gradient = false;
    if (t == 0) {
        if (!add) memset(dweight, 0, sizeof(float) * (size_t)(l->shape.in * l->shape.out));
        return TDM_OK;
    }
    double start = op_begin();
    if (dweight)
        TDM_TRY(l->backend->backward_weight(l->state, t, x, dy, add, dweight, dbias));
    else if (dbias)
        ops_column_sums(l->ops, l->shape.dtype, t, l->shape.out, dy, dbias);
    op_end(l->ops, l->weight_kind, start, dweight ? linear_flop(l, t) : 0.0);
    return TDM_OK;
}

void tdm_linear_clear_gradient(tdm_linear *l)
{
    l->clear_gradient = true;
}
