/* Linear layers in bf16 on AMX tiles (amx_gemm.h). */
#include "linear_impl.h"

#if defined(TANDEM_HAVE_AMX)
#include "amx_gemm.h"

typedef struct amx_linear {
    tdm_ops *ops;
    linear_shape shape;
    uint16_t *forward, *data; /* packed weights; data is made by the first load that asks for it */
    bool data_loaded;
    const float *bias;
} amx_linear;

static bool supports(const tdm_ops *ops, const linear_shape *shape)
{
    (void)shape;
    return ops->dtype == TDM_BF16 && ops->cpu.amx_bf16 && amx_gemm_available();
}

static void destroy(void **state)
{
    amx_linear *l = *state;
    if (!l) return;
    tdm_free(l->forward);
    tdm_free(l->data);
    tdm_free(l);
    *state = NULL;
}

static tdm_status create(tdm_ops *ops, const linear_shape *shape, void **state)
{
    amx_linear *l = NULL;
    tdm_status status = TDM_ALLOC(1, &l);
    *state = l;
    TDM_TRY(status);
    l->ops = ops;
    l->shape = *shape;
    return TDM_ALLOC(amx_weight_elements(shape->in, shape->out), &l->forward);
}

static tdm_status pack(void *state, const float *weight, const float *bias, bool with_backward)
{
    amx_linear *l = state;
    const linear_shape *s = &l->shape;
    if (with_backward && !l->data) TDM_TRY(TDM_ALLOC(amx_weight_elements(s->out, s->in), &l->data));
    uint16_t *data = with_backward ? l->data : NULL;
    if (s->transposed)
        amx_pack_weight(l->ops->threads, s->in, s->out, weight, data, l->forward);
    else
        amx_pack_weight(l->ops->threads, s->out, s->in, weight, l->forward, data);
    l->bias = bias;
    l->data_loaded = with_backward;
    return TDM_OK;
}

/* The products' workspace is the first thread's scratch, which nothing else uses meanwhile. */
static tdm_status workspace(const amx_linear *l, size_t bytes, void **out)
{
    *out = tdm_ops_scratch(l->ops, 0, bytes);
    TDM_REQUIRE(*out, TDM_E_NOMEM,
                "a linear layer of %lld inputs and %lld outputs needs %zu bytes of workspace",
                (long long)l->shape.in, (long long)l->shape.out, bytes);
    return TDM_OK;
}

static tdm_status multiply(amx_linear *l, int64_t t, int64_t k, int64_t n, const void *x,
                           const uint16_t *weight, const float *bias, void *y)
{
    void *space;
    TDM_TRY(workspace(l, amx_multiply_workspace_bytes(l->ops->threads, k), &space));
    amx_multiply(l->ops->threads, t, k, n, x, weight, bias, y, space);
    return TDM_OK;
}

static tdm_status forward(void *state, int64_t t, const void *x, void *y)
{
    amx_linear *l = state;
    return multiply(l, t, l->shape.in, l->shape.out, x, l->forward, l->bias, y);
}

static tdm_status backward_data(void *state, int64_t t, const void *dy, void *dx)
{
    amx_linear *l = state;
    TDM_REQUIRE(l->data_loaded, TDM_E_SHAPE, "a linear layer was loaded without its backward weights");
    return multiply(l, t, l->shape.out, l->shape.in, dy, l->data, NULL, dx);
}

static tdm_status backward_weight(void *state, int64_t t, const void *x, const void *dy, float *dweight,
                                  float *dbias)
{
    amx_linear *l = state;
    const linear_shape *s = &l->shape;
    int64_t rows = s->transposed ? s->in : s->out, cols = s->transposed ? s->out : s->in;
    void *space;
    TDM_TRY(workspace(l, amx_backward_weight_workspace_bytes(l->ops->threads), &space));
    amx_backward_weight(l->ops->threads, t, rows, cols, s->transposed ? x : dy, s->transposed ? dy : x,
                        dweight, s->transposed ? NULL : dbias, s->transposed ? dbias : NULL, space);
    return TDM_OK;
}

const linear_backend linear_amx = {
    .name = "AMX",
    .supports = supports,
    .create = create,
    .destroy = destroy,
    .pack = pack,
    .forward = forward,
    .backward_data = backward_data,
    .backward_weight = backward_weight,
};
#endif
