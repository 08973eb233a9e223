/* LayerNorm, activation, dropout: rows over threads. Work is cut into one contiguous part per thread; sums
 * over rows are made per part and added in the order of the parts, so that results depend on the thread count
 * only. */
#include "ops_impl.h"
#include "tandem/rng.h"

#include <math.h>
#include <string.h>

/* Rows [begin, end) of a part. */
typedef struct row_range {
    int64_t begin, count;
} row_range;

static row_range part_rows(int64_t rows, int parts, int part)
{
    int64_t begin = tdm_part_begin(rows, parts, part);
    return (row_range){begin, tdm_part_begin(rows, parts, part + 1) - begin};
}

static const void *act_or_null(tdm_dtype dtype, const void *x, int64_t i)
{
    return x ? act_at(dtype, x, i) : NULL;
}

static void *act_or_null_mutable(tdm_dtype dtype, void *x, int64_t i)
{
    return x ? act_at_mutable(dtype, x, i) : NULL;
}

/* Parts for sums over rows into `floats` floats per part; 1 when a part's sums do not fit its scratch. */
static int parts_with_sums(const tdm_ops *ops, int64_t rows, int64_t row_work, int64_t floats)
{
    return ops_scratch(ops, 0, sizeof(float) * (size_t)floats) ? ops_threads_for(ops, rows, row_work) : 1;
}

/* The part's zeroed sums; those of a single part are the result itself. */
static float *part_sums(const tdm_ops *ops, int part, int64_t floats)
{
    float *sums = ops_scratch(ops, part, sizeof(float) * (size_t)floats);
    memset(sums, 0, sizeof(float) * (size_t)floats);
    return sums;
}

static void add_parts(const tdm_ops *ops, int parts, int64_t offset, int64_t n, float *to)
{
    for (int part = 0; part < parts; part++) {
        const float *sums = ops_scratch(ops, part, 0);
        ops->kernels->add(n, to, sums + offset, to);
    }
}

void ops_column_sums(tdm_ops *ops, tdm_dtype dtype, int64_t t, int64_t width, const void *x, float *sums)
{
    int parts = parts_with_sums(ops, t, width * 4, width);
    if (parts == 1) {
        ops->kernels->column_sums(dtype, t, width, x, sums);
        return;
    }
#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; part++) {
        row_range rows = part_rows(t, parts, part);
        ops->kernels->column_sums(dtype, rows.count, width, act_at(dtype, x, rows.begin * width),
                                  part_sums(ops, part, width));
    }
    add_parts(ops, parts, 0, width, sums);
}

static void layernorm_forward(tdm_ops *ops, tdm_dtype dtype, int64_t t, int64_t width, const float *x,
                              const void *branch, float *x_out, const float *gamma, const float *beta,
                              void *y, float *mean, float *rstd)
{
    double start = op_begin();
    int parts = ops_threads_for(ops, t, width * 12);
#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; part++) {
        row_range rows = part_rows(t, parts, part);
        int64_t at = rows.begin * width;
        ops->kernels->layernorm_forward(dtype, rows.count, width, x + at, act_or_null(dtype, branch, at),
                                        branch ? x_out + at : NULL, gamma, beta,
                                        act_or_null_mutable(dtype, y, at), y ? mean + rows.begin : NULL,
                                        y ? rstd + rows.begin : NULL);
    }
    op_end(ops, TDM_OP_LAYERNORM, start, 0.0);
}

void tdm_layernorm_forward(tdm_ops *ops, int64_t t, int64_t width, const float *x, const void *branch,
                           float *x_out, const float *gamma, const float *beta, void *y, float *mean,
                           float *rstd)
{
    layernorm_forward(ops, ops->dtype, t, width, x, branch, x_out, gamma, beta, y, mean, rstd);
}

void tdm_layernorm_forward_f32(tdm_ops *ops, int64_t t, int64_t width, const float *x, const float *gamma,
                               const float *beta, float *y, float *mean, float *rstd)
{
    layernorm_forward(ops, TDM_F32, t, width, x, NULL, NULL, gamma, beta, y, mean, rstd);
}

void tdm_layernorm_again(tdm_ops *ops, int64_t t, int64_t width, const float *x, const float *mean,
                         const float *rstd, const float *gamma, const float *beta, void *y)
{
    double start = op_begin();
    int parts = ops_threads_for(ops, t, width * 6);
#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; part++) {
        row_range rows = part_rows(t, parts, part);
        int64_t at = rows.begin * width;
        ops->kernels->layernorm_again(ops->dtype, rows.count, width, x + at, mean + rows.begin,
                                      rstd + rows.begin, gamma, beta, act_at_mutable(ops->dtype, y, at));
    }
    op_end(ops, TDM_OP_LAYERNORM, start, 0.0);
}

static void layernorm_backward(tdm_ops *ops, tdm_dtype dtype, int64_t t, int64_t width, const void *dy,
                               const float *x, const float *mean, const float *rstd, const float *gamma,
                               bool add, float *dx, void *dx_act, float *dgamma, float *dbeta)
{
    double start = op_begin();
    int parts = parts_with_sums(ops, t, width * 16, 2 * width);
    if (parts == 1) {
        ops->kernels->layernorm_backward(dtype, t, width, dy, x, mean, rstd, gamma, add, dx, dx_act, dgamma,
                                         dbeta);
        op_end(ops, TDM_OP_LAYERNORM, start, 0.0);
        return;
    }
#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; part++) {
        row_range rows = part_rows(t, parts, part);
        int64_t at = rows.begin * width;
        float *sums = part_sums(ops, part, 2 * width);
        ops->kernels->layernorm_backward(dtype, rows.count, width, act_at(dtype, dy, at), x + at,
                                         mean + rows.begin, rstd + rows.begin, gamma, add, dx + at,
                                         act_or_null_mutable(dtype, dx_act, at), sums, sums + width);
    }
    add_parts(ops, parts, 0, width, dgamma);
    add_parts(ops, parts, width, width, dbeta);
    op_end(ops, TDM_OP_LAYERNORM, start, 0.0);
}

void tdm_layernorm_backward(tdm_ops *ops, int64_t t, int64_t width, const void *dy, const float *x,
                            const float *mean, const float *rstd, const float *gamma, bool add, float *dx,
                            void *dx_act, float *dgamma, float *dbeta)
{
    layernorm_backward(ops, ops->dtype, t, width, dy, x, mean, rstd, gamma, add, dx, dx_act, dgamma, dbeta);
}

void tdm_layernorm_backward_f32(tdm_ops *ops, int64_t t, int64_t width, const float *dy, const float *x,
                                const float *mean, const float *rstd, const float *gamma, float *dx,
                                float *dgamma, float *dbeta)
{
    layernorm_backward(ops, TDM_F32, t, width, dy, x, mean, rstd, gamma, false, dx, NULL, dgamma, dbeta);
}

static void activation_forward(tdm_ops *ops, tdm_dtype dtype, tdm_activation kind, int64_t n, const void *x,
                               void *y)
{
    double start = op_begin();
    int parts = ops_threads_for(ops, n, 24);
#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; part++) {
        row_range range = part_rows(n, parts, part);
        ops->kernels->activation_forward(kind, dtype, range.count, act_at(dtype, x, range.begin),
                                         act_at_mutable(dtype, y, range.begin));
    }
    op_end(ops, TDM_OP_ACTIVATION, start, 0.0);
}

static void activation_backward(tdm_ops *ops, tdm_dtype dtype, tdm_activation kind, int64_t n, const void *x,
                                const void *dy, void *dx, void *y)
{
    double start = op_begin();
    int parts = ops_threads_for(ops, n, 32);
#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; part++) {
        row_range range = part_rows(n, parts, part);
        ops->kernels->activation_backward(
            kind, dtype, range.count, act_at(dtype, x, range.begin), act_at(dtype, dy, range.begin),
            act_at_mutable(dtype, dx, range.begin), act_or_null_mutable(dtype, y, range.begin));
    }
    op_end(ops, TDM_OP_ACTIVATION, start, 0.0);
}

void tdm_activation_forward(tdm_ops *ops, tdm_activation kind, int64_t n, const void *x, void *y)
{
    activation_forward(ops, ops->dtype, kind, n, x, y);
}

void tdm_activation_forward_f32(tdm_ops *ops, tdm_activation kind, int64_t n, const float *x, float *y)
{
    activation_forward(ops, TDM_F32, kind, n, x, y);
}

void tdm_activation_backward(tdm_ops *ops, tdm_activation kind, int64_t n, const void *x, const void *dy,
                             void *dx, void *y)
{
    activation_backward(ops, ops->dtype, kind, n, x, dy, dx, y);
}

void tdm_activation_backward_f32(tdm_ops *ops, tdm_activation kind, int64_t n, const float *x,
                                 const float *dy, float *dx)
{
    activation_backward(ops, TDM_F32, kind, n, x, dy, dx, NULL);
}

static void dropout_sequence(tdm_ops *ops, uint32_t threshold, float scale, const tdm_rng *stream,
                             int64_t begin, int64_t end, int64_t place, int64_t width, void *x)
{
    for (int64_t row = begin; row < end; row++) {
        const uint32_t counter[4] = {0, (uint32_t)(place + row - begin), stream->counter[2],
                                     stream->counter[3]};
        ops->kernels->dropout(ops->dtype, width, stream->key, counter, threshold, scale,
                              act_at_mutable(ops->dtype, x, row * width));
    }
}

void tdm_dropout(tdm_ops *ops, double p, uint64_t seed, uint64_t step, uint32_t site, int64_t n_seq,
                 const int64_t *seq, const int64_t *sample, const int64_t *place, int64_t width, void *x)
{
    if (p <= 0.0 || n_seq == 0) return;
    double start = op_begin();
    uint32_t threshold = p < 1.0 ? (uint32_t)(p * 0x1p32) : UINT32_MAX;
    float scale = p < 1.0 ? (float)(1.0 / (1.0 - p)) : 0.0f;
    int threads = ops_threads_for(ops, n_seq, (seq[n_seq] - seq[0]) / n_seq * width * 8);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n_seq; i++) {
        tdm_rng stream = tdm_rng_at(seed, step, (uint64_t)sample[i], TDM_RNG_DROPOUT + site * 256);
        dropout_sequence(ops, threshold, scale, &stream, seq[i], seq[i + 1], place ? place[i] : 0, width, x);
    }
    op_end(ops, TDM_OP_OTHER, start, 0.0);
}

void tdm_dropout_rows(tdm_ops *ops, double p, uint64_t seed, uint64_t step, uint32_t site, int64_t n,
                      const int64_t *sample, int64_t width, const float *x, float *y)
{
    if (n == 0 || (p <= 0.0 && x == y)) return;
    const double start = op_begin(), limit = ceil(p * 0x1p32); /* word·2^-32 < p, of whole numbers */
    const uint32_t threshold = limit < 0x1p32 ? (uint32_t)limit : UINT32_MAX;
    const float scale = p < 1.0 ? (float)(1.0 / (1.0 - p)) : 0.0f;
    const int threads = ops_threads_for(ops, n, width * 8);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        const tdm_rng stream = tdm_rng_at(seed, step, (uint64_t)sample[i], TDM_RNG_DROPOUT + site * 256);
        ops->kernels->dropout_row(width, stream.key, stream.counter, threshold, scale, x + i * width,
                                  y + i * width);
    }
    op_end(ops, TDM_OP_OTHER, start, 0.0);
}
