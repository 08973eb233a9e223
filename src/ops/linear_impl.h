/* How a linear layer computes: one struct per way, tried in the order of the table in linear.c. */
#ifndef TANDEM_OPS_LINEAR_IMPL_H
#define TANDEM_OPS_LINEAR_IMPL_H

#include "ops_impl.h"

typedef struct linear_shape {
    tdm_dtype dtype; /* of x, y and their gradients */
    int64_t in, out;
    bool has_bias;
    bool transposed; /* the weight is [in][out], not [out][in] */
} linear_shape;

/* `state` is what create made; owned by the layer, passed to every function. */
typedef struct linear_backend {
    const char *name;
    bool (*supports)(const tdm_ops *ops, const linear_shape *shape);
    tdm_status (*create)(tdm_ops *ops, const linear_shape *shape, void **state);
    void (*destroy)(void **state); /* accepts NULL and half-built states */
    /* Packs the f32 weight; bias (NULL without one) is borrowed until the next pack. */
    tdm_status (*pack)(void *state, const float *weight, const float *bias, bool with_backward);
    /* y[t][out] = x[t][in]·W^T + bias */
    tdm_status (*forward)(void *state, int64_t t, const void *x, void *y);
    /* dx[t][in] = dy[t][out]·W */
    tdm_status (*backward_data)(void *state, int64_t t, const void *dy, void *dx);
    /* dweight += dy^T·x in the weight's own layout, or = without `add`; dbias (NULL: not wanted) += column
     * sums of dy */
    tdm_status (*backward_weight)(void *state, int64_t t, const void *x, const void *dy, bool add,
                                  float *dweight, float *dbias);
    /* Updates the weight that was packed and packs it in the same pass. NULL: one after the other. */
    void (*update)(void *state, const adamw_step *step, float *w, const float *g, float *m, float *v);
} linear_backend;

/* The kinds under which forward, data and weight gradient are counted; TDM_OP_LINEAR_… unless said. */
void linear_count_as(tdm_linear *linear, tdm_op_kind forward, tdm_op_kind data, tdm_op_kind weight);

extern const linear_backend linear_gemm; /* bf16 with AMX-BF16 or AVX512_BF16, f32 with AVX2 or AVX-512 */
extern const linear_backend linear_dnnl; /* every CPU, dtype and shape */
extern const linear_backend linear_int8; /* every CPU and dtype, forward only, for tdm_ops_round_linears */

#endif
