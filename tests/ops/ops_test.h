/* Shared by the tests of src/ops: random data, buffers in either dtype, comparison with tolerances. */
#ifndef TANDEM_OPS_TEST_H
#define TANDEM_OPS_TEST_H

#include "check.h"
#include "ops_impl.h"

/* One row per kind of result; see ops_test.c for the numbers and why. */
typedef enum tolerance {
    TOL_EXACT,      /* the same operations in the same order */
    TOL_ELEMENT,    /* a few operations per element */
    TOL_ACTIVATION, /* own exponential and erfc */
    TOL_REDUCTION,  /* a row's or a column's sum */
    TOL_MATMUL,     /* sums over a matmul's inner dimension */
    TOL_ATTENTION,  /* two matmuls with an exponential between them */
    TOL_CHAIN,      /* several operations, each rounding its result */
    TOL_KINDS
} tolerance;

/* Fails the test unless every |got - want| <= tolerance·(|want| + rms(want)); reports the worst. */
void check_f32(const char *what, tolerance kind, tdm_dtype dtype, int64_t n, const float *got,
               const float *want);
void check_act(const char *what, tolerance kind, tdm_dtype dtype, int64_t n, const void *got,
               const void *want);

/* malloc'ed, so that a sanitizer sees an access beyond the end; free() them. */
float *random_f32(int64_t n, uint64_t seed, double scale);
void *random_act(tdm_dtype dtype, int64_t n, uint64_t seed, double scale);
void *copy_of(const void *data, size_t bytes);
static inline void *copy_act(tdm_dtype dtype, const void *data, int64_t n)
{
    return copy_of(data, (size_t)n * tdm_dtype_bytes(dtype));
}
static inline float *copy_f32(const float *data, int64_t n)
{
    return copy_of(data, (size_t)n * sizeof(float));
}

/* A context of `dtype` with `threads`, or NULL if this CPU (under TANDEM_ISA) has no bf16. */
tdm_ops *make_ops(tdm_dtype dtype, int threads);

/* Runs `body` for both dtypes on 1 and 2 threads. */
void for_each_context(void (*body)(tdm_ops *ops));

/* seq[n+1] from lengths; returns the rows. */
int64_t fill_offsets(int64_t n, const int64_t *lengths, int64_t *seq);

#endif
