/* Batch normalisation over rows. A part of the rows per thread; sums are made in f32 over blocks of rows and
 * added in f64, block by block and part by part. */
#include "ops_impl.h"

#include <math.h>
#include <string.h>

enum { BLOCK_ROWS = 256 }; /* f32 sums over so many rows; a block stays in the caches between two passes */

/* One pass over the rows. */
typedef struct pass {
    tdm_ops *ops;
    int64_t width;
    const void *x, *dy; /* dy NULL: forward sums */
    const float *centre;
    const tdm_batchnorm *norm;
    bool relu;
    const float *slope, *offset;
    void *dx; /* NULL: sums only */
} pass;

/* A thread's scratch. */
typedef struct part_scratch {
    double *total; /* [2·width] */
    float *block;  /* [2·width] */
    float *extra;  /* [2·width] of the first thread: centre, or slope and offset */
} part_scratch;

static part_scratch scratch_of(const tdm_ops *ops, int thread, int64_t width)
{
    const size_t doubles = sizeof(double) * 2 * (size_t)width, floats = sizeof(float) * 2 * (size_t)width;
    unsigned char *base = ops_scratch(ops, thread, doubles + 2 * floats);
    return (part_scratch){(double *)(void *)base, (float *)(void *)(base + doubles),
                          (float *)(void *)(base + doubles + floats)};
}

static void run_block(const pass *p, int64_t row, int64_t rows, float *sums)
{
    const ops_kernels *kernels = p->ops->kernels;
    const tdm_dtype dtype = p->ops->dtype;
    const int64_t at = row * p->width;
    const void *x = act_at(dtype, p->x, at), *dy = p->dy ? act_at(dtype, p->dy, at) : NULL;
    if (sums && !dy) kernels->batchnorm_sums(dtype, rows, p->width, x, p->centre, sums);
    if (sums && dy) kernels->batchnorm_backward_sums(dtype, rows, p->width, x, dy, p->norm, p->relu, sums);
    if (p->dx)
        kernels->batchnorm_backward_data(dtype, rows, p->width, x, dy, p->norm, p->relu, p->slope, p->offset,
                                         act_at_mutable(dtype, p->dx, at));
}

/* sum NULL: no sums */
static void run_pass(const pass *p, int64_t t, double *sum)
{
    const int64_t width = p->width;
    const int parts = ops_threads_for(p->ops, t, width * 12);
#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; part++) {
        const part_scratch s = scratch_of(p->ops, part, width);
        const int64_t end = tdm_part_begin(t, parts, part + 1);
        if (sum) memset(s.total, 0, sizeof(double) * 2 * (size_t)width);
        for (int64_t row = tdm_part_begin(t, parts, part); row < end; row += BLOCK_ROWS) {
            if (sum) memset(s.block, 0, sizeof(float) * 2 * (size_t)width);
            run_block(p, row, tdm_min_i64(BLOCK_ROWS, end - row), sum ? s.block : NULL);
            for (int64_t i = 0; sum && i < 2 * width; i++) s.total[i] += s.block[i];
        }
    }
    if (!sum) return;
    memset(sum, 0, sizeof(double) * 2 * (size_t)width);
    for (int part = 0; part < parts; part++) {
        const double *total = scratch_of(p->ops, part, width).total;
        for (int64_t i = 0; i < 2 * width; i++) sum[i] += total[i];
    }
}

/* Differences from the first row are summed, so that a large mean costs no digits of the variance. */
void tdm_batchnorm_sums(tdm_ops *ops, int64_t t, int64_t width, const void *x, double *sum)
{
    const double start = op_begin();
    float *centre = scratch_of(ops, 0, width).extra;
    for (int64_t i = 0; i < width; i++)
        centre[i] = t == 0                   ? 0.0f
                    : ops->dtype == TDM_BF16 ? bf16_value_ref(((const uint16_t *)x)[i])
                                             : ((const float *)x)[i];
    const pass p = {.ops = ops, .width = width, .x = x, .centre = centre};
    run_pass(&p, t, sum);
    for (int64_t i = 0; i < width; i++) {
        const double c = centre[i], n = (double)t;
        sum[width + i] += c * (2.0 * sum[i] + n * c);
        sum[i] += n * c;
    }
    op_end(ops, TDM_OP_BATCHNORM, start, 0.0);
}

void tdm_batchnorm_prepare(int64_t width, const float *mean, const float *variance, const float *gamma,
                           const float *beta, tdm_batchnorm *norm)
{
    for (int64_t i = 0; i < width; i++) {
        const double rstd = 1.0 / sqrt((double)variance[i] + 1e-5), scale = rstd * gamma[i];
        norm->mean[i] = mean[i];
        norm->rstd[i] = (float)rstd;
        norm->scale[i] = (float)scale;
        norm->shift[i] = (float)(beta[i] - mean[i] * scale);
    }
}

void tdm_batchnorm_forward(tdm_ops *ops, int64_t t, int64_t width, const void *x, const tdm_batchnorm *norm,
                           const void *residual, bool relu, void *y)
{
    const double start = op_begin();
    const int parts = ops_threads_for(ops, t, width * 8);
#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; part++) {
        const int64_t row = tdm_part_begin(t, parts, part), at = row * width;
        ops->kernels->batchnorm_forward(
            ops->dtype, tdm_part_begin(t, parts, part + 1) - row, width, act_at(ops->dtype, x, at), norm,
            residual ? act_at(ops->dtype, residual, at) : NULL, relu, act_at_mutable(ops->dtype, y, at));
    }
    op_end(ops, TDM_OP_BATCHNORM, start, 0.0);
}

void tdm_batchnorm_backward_sums(tdm_ops *ops, int64_t t, int64_t width, const void *x, const void *dy,
                                 const tdm_batchnorm *norm, bool relu, double *sum)
{
    const double start = op_begin();
    const pass p = {.ops = ops, .width = width, .x = x, .dy = dy, .norm = norm, .relu = relu};
    run_pass(&p, t, sum);
    op_end(ops, TDM_OP_BATCHNORM, start, 0.0);
}

/* slope[width], and offset[width] behind it, in the first thread's scratch */
static float *slope_and_offset(tdm_ops *ops, int64_t width)
{
    return scratch_of(ops, 0, width).extra;
}

/* dx = scale·g + slope·(x - mean) + offset; `sum` as in tdm_batchnorm_backward_sums, or NULL */
static void backward_pass(tdm_ops *ops, int64_t t, int64_t width, const void *x, const void *dy,
                          const tdm_batchnorm *norm, bool relu, double *sum, void *dx)
{
    const float *slope = slope_and_offset(ops, width);
    const pass p = {.ops = ops,
                    .width = width,
                    .x = x,
                    .dy = dy,
                    .norm = norm,
                    .relu = relu,
                    .slope = slope,
                    .offset = slope + width,
                    .dx = dx};
    run_pass(&p, t, sum);
}

void tdm_batchnorm_backward_data(tdm_ops *ops, int64_t t, int64_t width, const void *x, const void *dy,
                                 const tdm_batchnorm *norm, bool relu, const double *sum, double count,
                                 void *dx)
{
    const double start = op_begin();
    float *slope = slope_and_offset(ops, width), *offset = slope + width;
    for (int64_t i = 0; i < width; i++) {
        slope[i] = (float)(-(double)norm->scale[i] * norm->rstd[i] * sum[width + i] / count);
        offset[i] = (float)(-(double)norm->scale[i] * sum[i] / count);
    }
    backward_pass(ops, t, width, x, dy, norm, relu, NULL, dx);
    op_end(ops, TDM_OP_BATCHNORM, start, 0.0);
}

void tdm_batchnorm_backward_fixed(tdm_ops *ops, int64_t t, int64_t width, const void *x, const void *dy,
                                  const tdm_batchnorm *norm, bool relu, double *sum, void *dx)
{
    const double start = op_begin();
    memset(slope_and_offset(ops, width), 0, sizeof(float) * 2 * (size_t)width);
    backward_pass(ops, t, width, x, dy, norm, relu, sum, dx);
    op_end(ops, TDM_OP_BATCHNORM, start, 0.0);
}

void tdm_residual_backward(tdm_ops *ops, int64_t n, const void *y, const void *da, const void *db, void *dx)
{
    const double start = op_begin();
    const tdm_dtype dtype = ops->dtype;
    const int parts = ops_threads_for(ops, n, 8);
#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; part++) {
        const int64_t begin = tdm_part_begin(n, parts, part), end = tdm_part_begin(n, parts, part + 1);
        ops->kernels->residual_backward(dtype, end - begin, act_at(dtype, y, begin), act_at(dtype, da, begin),
                                        db ? act_at(dtype, db, begin) : NULL,
                                        act_at_mutable(dtype, dx, begin));
    }
    op_end(ops, TDM_OP_ACTIVATION, start, 0.0);
}
