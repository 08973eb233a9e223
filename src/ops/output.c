/* Output end of the towers, the loss's inner loop and the optimiser's inner loops. */
#include "ops_impl.h"

#include <math.h>
#include <omp.h>

enum { CHUNK = 1 << 16 }; /* elements of one partial sum: the same whatever the threads */

void tdm_l2norm_forward(tdm_ops *ops, int64_t n, int64_t width, const float *x, float *y, float *norm)
{
    double start = op_begin();
    int threads = ops_threads_for(ops, n, width * 12);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < n; row++)
        ops->kernels->l2norm_forward(1, width, x + row * width, y + row * width, norm + row);
    op_end(ops, TDM_OP_OTHER, start, 0.0);
}

void tdm_l2norm_backward(tdm_ops *ops, int64_t n, int64_t width, const float *y, const float *norm,
                         const float *dy, float *dx)
{
    double start = op_begin();
    int threads = ops_threads_for(ops, n, width * 16);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < n; row++)
        ops->kernels->l2norm_backward(1, width, y + row * width, norm + row, dy + row * width,
                                      dx + row * width);
    op_end(ops, TDM_OP_OTHER, start, 0.0);
}

/* By way of the thread's scratch: added behind the rounding, as by tdm_l2norm_backward and a sum. */
void tdm_l2norm_backward_add(tdm_ops *ops, int64_t n, int64_t width, const float *y, const float *norm,
                             const float *dy, float *dx)
{
    double start = op_begin();
    int threads = ops_threads_for(ops, n, width * 20);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < n; row++) {
        float *gradient = ops_scratch(ops, omp_get_thread_num(), sizeof(float) * (size_t)width);
        ops->kernels->l2norm_backward(1, width, y + row * width, norm + row, dy + row * width, gradient);
        ops->kernels->add(width, dx + row * width, gradient, dx + row * width);
    }
    op_end(ops, TDM_OP_OTHER, start, 0.0);
}

void tdm_softmax_cross_entropy(tdm_ops *ops, int64_t n, int64_t classes, float *logits, const float *target,
                               float *loss)
{
    double start = op_begin();
    int threads = ops_threads_for(ops, n, classes * 32);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < n; row++)
        ops->kernels->softmax_cross_entropy(1, classes, logits + row * classes, target + row * classes,
                                            loss + row);
    op_end(ops, TDM_OP_LOSS, start, 0.0);
}

/* Partial sums of chunks go through the first thread's scratch, GROUP of them at a time. */
double tdm_sum_squares(tdm_ops *ops, int64_t n, const float *x)
{
    enum { GROUP = 4096 };
    double start = op_begin();
    double *partial = ops_scratch(ops, 0, sizeof(double) * GROUP);
    double total = 0.0;
    int threads = ops_threads_for(ops, n, 4);
    int64_t chunks = (n + CHUNK - 1) / CHUNK;
    for (int64_t first = 0; first < chunks; first += GROUP) {
        int64_t count = tdm_min_i64(GROUP, chunks - first);
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t i = 0; i < count; i++) {
            int64_t begin = (first + i) * CHUNK;
            partial[i] = ops->kernels->sum_squares(tdm_min_i64(CHUNK, n - begin), x + begin);
        }
        for (int64_t i = 0; i < count; i++) total += partial[i];
    }
    op_end(ops, TDM_OP_OPTIMIZER, start, 0.0);
    return total;
}

adamw_step adamw_constants(const tdm_adamw *rule)
{
    const double c1 = 1.0 - pow(rule->beta1, (double)rule->step);
    const double c2 = 1.0 - pow(rule->beta2, (double)rule->step);
    return (adamw_step){
        .grad_scale = (float)rule->grad_scale,
        .keep = (float)(1.0 - rule->lr * rule->decay),
        .beta1 = (float)rule->beta1,
        .rest1 = (float)(1.0 - rule->beta1),
        .beta2 = (float)rule->beta2,
        .rest2 = (float)(1.0 - rule->beta2),
        .step_size = (float)(rule->lr / c1),
        .rsqrt_c2 = (float)(1.0 / sqrt(c2)),
        .eps = (float)rule->eps,
    };
}

void tdm_adamw_update(tdm_ops *ops, const tdm_adamw *rule, int64_t n, float *w, const float *g, float *m,
                      float *v)
{
    double start = op_begin();
    const adamw_step constants = adamw_constants(rule);
    int threads = ops_threads_for(ops, n, 28);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int part = 0; part < threads; part++) {
        int64_t begin = tdm_part_begin(n, threads, part), end = tdm_part_begin(n, threads, part + 1);
        ops->kernels->adamw(end - begin, w + begin, g + begin, m + begin, v + begin, &constants);
    }
    op_end(ops, TDM_OP_OPTIMIZER, start, 0.0);
}
