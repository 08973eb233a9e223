/* Average pooling and attention pooling of images in rows. Images, or rows of one, over threads; sums over
 * images are made by column ranges, in image order. */
#include "ops_impl.h"

#include <math.h>
#include <omp.h>

void tdm_average_pool_forward(tdm_ops *ops, int64_t n, int64_t height, int64_t width, int64_t channels,
                              const void *x, void *y)
{
    const double start = op_begin();
    const int64_t row = width * channels; /* elements of a row of pixels of x */
    const int threads = ops_threads_for(ops, n * height / 2, row * 6);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n * height / 2; i++)
        ops->kernels->average_pool_forward(
            ops->dtype, width / 2, channels, act_at(ops->dtype, x, 2 * i * row),
            act_at(ops->dtype, x, (2 * i + 1) * row), act_at_mutable(ops->dtype, y, i * (row / 2)));
    op_end(ops, TDM_OP_OTHER, start, 0.0);
}

void tdm_average_pool_backward(tdm_ops *ops, int64_t n, int64_t height, int64_t width, int64_t channels,
                               const void *dy, bool add, void *dx)
{
    const double start = op_begin();
    const int64_t row = width * channels;
    const int threads = ops_threads_for(ops, n * height / 2, row * 6);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n * height / 2; i++)
        ops->kernels->average_pool_backward(
            ops->dtype, width / 2, channels, act_at(ops->dtype, dy, i * (row / 2)), add,
            act_at_mutable(ops->dtype, dx, 2 * i * row), act_at_mutable(ops->dtype, dx, (2 * i + 1) * row));
    op_end(ops, TDM_OP_OTHER, start, 0.0);
}

void tdm_pool_tokens_forward(tdm_ops *ops, int64_t n, int64_t pixels, int64_t width, const void *x,
                             const float *position, void *token)
{
    const double start = op_begin();
    const int threads = ops_threads_for(ops, n, pixels * width * 8);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float *sum = ops_scratch(ops, omp_get_thread_num(), sizeof(float) * (size_t)width);
        ops->kernels->pool_tokens_forward(ops->dtype, pixels, width,
                                          act_at(ops->dtype, x, i * pixels * width), position,
                                          act_at_mutable(ops->dtype, token, i * (1 + pixels) * width), sum);
    }
    op_end(ops, TDM_OP_EMBEDDING, start, 0.0);
}

/* Adds columns [begin, end) of all images' gradients of the tokens. */
static void add_positions(const tdm_ops *ops, int64_t n, int64_t image, int64_t width, int64_t begin,
                          int64_t end, const void *da, const void *db, const void *dfirst, float *dposition)
{
    const int64_t first_end = tdm_min_i64(end, width);
    float *to = dposition + begin;
    for (int64_t i = 0; i < n; i++) {
        ops->kernels->add_act(ops->dtype, end - begin, act_at(ops->dtype, da, i * image + begin), to, to);
        ops->kernels->add_act(ops->dtype, end - begin, act_at(ops->dtype, db, i * image + begin), to, to);
        if (begin < first_end)
            ops->kernels->add_act(ops->dtype, first_end - begin,
                                  act_at(ops->dtype, dfirst, i * width + begin), to, to);
    }
}

void tdm_pool_tokens_backward(tdm_ops *ops, int64_t n, int64_t pixels, int64_t width, const void *da,
                              const void *db, const void *dfirst, void *dx, float *dposition)
{
    const double start = op_begin();
    const tdm_dtype dtype = ops->dtype;
    const int64_t image = (1 + pixels) * width;
    const int threads = ops_threads_for(ops, n, image * 10);
#pragma omp parallel num_threads(threads)
    {
        const int parts = omp_get_num_threads(), part = omp_get_thread_num();
        float *mean = ops_scratch(ops, part, sizeof(float) * (size_t)width);
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < n; i++)
            ops->kernels->pool_tokens_backward(dtype, pixels, width, act_at(dtype, da, i * image),
                                               act_at(dtype, db, i * image), act_at(dtype, dfirst, i * width),
                                               act_at_mutable(dtype, dx, i * pixels * width), mean);
        add_positions(ops, n, image, width, tdm_part_begin(image, parts, part),
                      tdm_part_begin(image, parts, part + 1), da, db, dfirst, dposition);
    }
    op_end(ops, TDM_OP_EMBEDDING, start, 0.0);
}

/* Image i's part of the arrays. */
static pool_attention image_of(const tdm_ops *ops, int64_t i, int64_t length, int64_t heads, int64_t head_dim,
                               const void *q, const void *k, const void *v)
{
    const int64_t width = heads * head_dim;
    return (pool_attention){.dtype = ops->dtype,
                            .length = length,
                            .heads = heads,
                            .head_dim = head_dim,
                            .scale = (float)(1.0 / sqrt((double)head_dim)),
                            .q = act_at(ops->dtype, q, i * width),
                            .k = act_at(ops->dtype, k, i * length * width),
                            .v = act_at(ops->dtype, v, i * length * width)};
}

static double pool_flop(int64_t n, int64_t length, int64_t heads, int64_t head_dim)
{
    return 4.0 * (double)n * (double)length * (double)(heads * head_dim);
}

void tdm_pool_attention_forward(tdm_ops *ops, int64_t n, int64_t length, int64_t heads, int64_t head_dim,
                                const void *q, const void *k, const void *v, float *out, float *p)
{
    const double start = op_begin();
    const int threads = ops_threads_for(ops, n, length * heads * head_dim * 4);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        pool_attention image = image_of(ops, i, length, heads, head_dim, q, k, v);
        image.out = out + i * heads * head_dim;
        image.p = p + i * heads * length;
        ops->kernels->pool_attention_forward(&image);
    }
    op_end(ops, TDM_OP_ATTENTION_FORWARD, start, pool_flop(n, length, heads, head_dim));
}

void tdm_pool_attention_backward(tdm_ops *ops, int64_t n, int64_t length, int64_t heads, int64_t head_dim,
                                 const void *q, const void *k, const void *v, const float *p,
                                 const float *dout, void *dq, void *dk, void *dv)
{
    const double start = op_begin();
    const int64_t width = heads * head_dim;
    const int threads = ops_threads_for(ops, n, length * width * 8);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        pool_attention image = image_of(ops, i, length, heads, head_dim, q, k, v);
        image.p = (float *)(uintptr_t)(p + i * heads * length); /* only read by backward */
        image.dout = dout + i * width;
        image.dq = act_at_mutable(ops->dtype, dq, i * width);
        image.dk = act_at_mutable(ops->dtype, dk, i * length * width);
        image.dv = act_at_mutable(ops->dtype, dv, i * length * width);
        float *scratch = ops_scratch(ops, omp_get_thread_num(), sizeof(float) * (size_t)(length + head_dim));
        ops->kernels->pool_attention_backward(&image, scratch);
    }
    op_end(ops, TDM_OP_ATTENTION_BACKWARD, start, 2.0 * pool_flop(n, length, heads, head_dim));
}
