/* Linear layers on matrix products of our own (gemm.h). */
#include "gemm.h"
#include "linear_impl.h"

typedef struct gemm_linear {
    tdm_ops *ops;
    const gemm_backend *gemm;
    linear_shape shape;
    void *forward, *data; /* packed weights; data is made by the first load that asks for it */
    bool data_loaded;
    const float *bias;
} gemm_linear;

/* NULL: none */
static const gemm_backend *gemm_for(const tdm_ops *ops, tdm_dtype dtype)
{
#if defined(TANDEM_HAVE_AMX)
    if (dtype == TDM_BF16 && ops->cpu.avx512_bf16) return ops->cpu.amx_bf16 ? &gemm_amx : &gemm_avx512_bf16;
#endif
#if defined(__x86_64__)
    if (dtype == TDM_F32 && ops->cpu.isa == TDM_ISA_AVX512) return &gemm_avx512;
    if (dtype == TDM_F32 && ops->cpu.isa == TDM_ISA_AVX2) return &gemm_avx2;
#endif
    (void)ops, (void)dtype;
    return NULL;
}

void gemm_pack_weight(const gemm_backend *gemm, int threads, int64_t rows, int64_t cols, const float *w,
                      void *along_cols, void *along_rows)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row += GEMM_PIECE) {
        const gemm_piece piece = {row, tdm_min_i64(row + GEMM_PIECE, rows), 0, cols};
        gemm->pack_piece(rows, cols, piece, w, along_cols, along_rows);
    }
}

static bool supports(const tdm_ops *ops, const linear_shape *shape)
{
    return gemm_for(ops, shape->dtype) != NULL;
}

static void destroy(void **state)
{
    gemm_linear *l = *state;
    if (!l) return;
    tdm_free(l->forward);
    tdm_free(l->data);
    tdm_free(l);
    *state = NULL;
}

static tdm_status create(tdm_ops *ops, const linear_shape *shape, void **state)
{
    gemm_linear *l = NULL;
    tdm_status status = TDM_ALLOC(1, &l);
    *state = l;
    TDM_TRY(status);
    l->ops = ops;
    l->gemm = gemm_for(ops, shape->dtype);
    l->shape = *shape;
    return tdm_alloc(l->gemm->weight_bytes(shape->in, shape->out), "packed weights", &l->forward);
}

/* Of the weight as it is stored. */
static int64_t weight_rows(const gemm_linear *l)
{
    return l->shape.transposed ? l->shape.in : l->shape.out;
}
static int64_t weight_cols(const gemm_linear *l)
{
    return l->shape.transposed ? l->shape.out : l->shape.in;
}

/* The packed weights by the direction of the stored weight that is contracted; NULL: not wanted. */
typedef struct packed_copies {
    void *along_cols, *along_rows;
} packed_copies;

static packed_copies copies(const gemm_linear *l)
{
    void *data = l->data_loaded ? l->data : NULL;
    return l->shape.transposed ? (packed_copies){data, l->forward} : (packed_copies){l->forward, data};
}

static tdm_status pack(void *state, const float *weight, const float *bias, bool with_backward)
{
    gemm_linear *l = state;
    if (with_backward && !l->data)
        TDM_TRY(tdm_alloc(l->gemm->weight_bytes(l->shape.out, l->shape.in), "packed weights", &l->data));
    l->data_loaded = with_backward;
    const packed_copies to = copies(l);
    gemm_pack_weight(l->gemm, l->ops->threads, weight_rows(l), weight_cols(l), weight, to.along_cols,
                     to.along_rows);
    l->bias = bias;
    return TDM_OK;
}

static tdm_status require_scratch(const gemm_linear *l, size_t bytes)
{
    TDM_REQUIRE(ops_scratch(l->ops, 0, bytes), TDM_E_NOMEM,
                "a linear layer of %lld inputs and %lld outputs needs %zu bytes of scratch a thread",
                (long long)l->shape.in, (long long)l->shape.out, bytes);
    return TDM_OK;
}

static tdm_status multiply(gemm_linear *l, int64_t t, int64_t k, int64_t n, const void *x, const void *weight,
                           const float *bias, void *y)
{
    TDM_TRY(require_scratch(l, l->gemm->multiply_scratch_bytes(k)));
    l->gemm->multiply(l->ops->threads, t, k, n, x, weight, bias, y, l->ops->scratch);
    return TDM_OK;
}

static tdm_status forward(void *state, int64_t t, const void *x, void *y)
{
    gemm_linear *l = state;
    return multiply(l, t, l->shape.in, l->shape.out, x, l->forward, l->bias, y);
}

static tdm_status backward_data(void *state, int64_t t, const void *dy, void *dx)
{
    gemm_linear *l = state;
    TDM_REQUIRE(l->data_loaded, TDM_E_SHAPE, "a linear layer was loaded without its backward weights");
    return multiply(l, t, l->shape.out, l->shape.in, dy, l->data, NULL, dx);
}

static tdm_status backward_weight(void *state, int64_t t, const void *x, const void *dy, bool add,
                                  float *dweight, float *dbias)
{
    gemm_linear *l = state;
    const bool transposed = l->shape.transposed;
    TDM_TRY(require_scratch(l, l->gemm->backward_weight_scratch_bytes()));
    l->gemm->backward_weight(l->ops->threads, t, weight_rows(l), weight_cols(l), transposed ? x : dy,
                             transposed ? dy : x, add, dweight, transposed ? NULL : dbias,
                             transposed ? dbias : NULL, l->ops->scratch);
    return TDM_OK;
}

/* Panels of rows of the weight, in pieces of columns that stay in L2 from the update to the packing. */
static void update(void *state, const adamw_step *step, float *w, const float *g, float *m, float *v)
{
    enum { PIECE_COLS = 1024 };
    const gemm_linear *l = state;
    const int64_t rows = weight_rows(l), cols = weight_cols(l);
    const packed_copies to = copies(l);
#pragma omp parallel for num_threads(l->ops->threads) schedule(static)
    for (int64_t row = 0; row < rows; row += GEMM_PIECE)
        for (int64_t col = 0; col < cols; col += PIECE_COLS) {
            const gemm_piece piece = {row, tdm_min_i64(row + GEMM_PIECE, rows), col,
                                      tdm_min_i64(col + PIECE_COLS, cols)};
            for (int64_t i = piece.row_begin; i < piece.row_end; i++) {
                const int64_t at = i * cols + piece.col_begin;
                l->ops->kernels->adamw(piece.col_end - piece.col_begin, w + at, g + at, m + at, v + at, step);
            }
            l->gemm->pack_piece(rows, cols, piece, w, to.along_cols, to.along_rows);
        }
}

const linear_backend linear_gemm = {
    .name = "own products",
    .supports = supports,
    .create = create,
    .destroy = destroy,
    .pack = pack,
    .forward = forward,
    .backward_data = backward_data,
    .backward_weight = backward_weight,
    .update = update,
};
