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
    return ops->dtype == TDM_BF16 && ops->cpu.amx_bf16 && ops->cpu.avx512_bf16;
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

static tdm_status backward_weight(void *state, int64_t t, const void *x, const void *dy, bool add,
                                  float *dweight, float *dbias)
{
    amx_linear *l = state;
    const linear_shape *s = &l->shape;
    int64_t rows = s->transposed ? s->in : s->out, cols = s->transposed ? s->out : s->in;
    void *space;
    TDM_TRY(workspace(l, amx_backward_weight_workspace_bytes(l->ops->threads), &space));
    amx_backward_weight(l->ops->threads, t, rows, cols, s->transposed ? x : dy, s->transposed ? dy : x, add,
                        dweight, s->transposed ? NULL : dbias, s->transposed ? dbias : NULL, space);
    return TDM_OK;
}

/* Panels of 32 rows of the weight, in pieces of columns that stay in L2 from the update to the packing. */
static void update(void *state, const tdm_adamw_step *step, float *w, const float *g, float *m, float *v)
{
    enum { PIECE = 1024 };
    const amx_linear *l = state;
    const linear_shape *s = &l->shape;
    const int64_t rows = s->transposed ? s->in : s->out, cols = s->transposed ? s->out : s->in;
    uint16_t *data = l->data_loaded ? l->data : NULL;
    uint16_t *along_cols = s->transposed ? data : l->forward, *along_rows = s->transposed ? l->forward : data;
#pragma omp parallel for num_threads(l->ops->threads) schedule(static)
    for (int64_t row = 0; row < rows; row += AMX_PANEL)
        for (int64_t col = 0; col < cols; col += PIECE) {
            const amx_piece piece = {row, tdm_min_i64(row + AMX_PANEL, rows), col,
                                     tdm_min_i64(col + PIECE, cols)};
            for (int64_t i = piece.row_begin; i < piece.row_end; i++) {
                const int64_t at = i * cols + piece.col_begin;
                l->ops->kernels->adamw(piece.col_end - piece.col_begin, w + at, g + at, m + at, v + at, step);
            }
            amx_pack_piece(rows, cols, piece, w, along_cols, along_rows);
        }
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
    .update = update,
};
#endif
