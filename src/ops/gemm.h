/* Matrix products of our own for the linear layers: one struct per kind of CPU and dtype. Private to src/ops.
 *
 * Everything is row-major except packed weights; x, y, a, b have the implementation's dtype. t tokens; any
 * sizes >= 1 (odd ones work, multiples of 32 are fast). Sums are f32. Each element of a result is summed by
 * one thread in an order that depends on its sizes alone: results are the same for every number of threads.
 * scratch[threads] is memory of each thread, 64-byte aligned, of the size that the function beside says at
 * least, contents undefined. */
#ifndef TANDEM_OPS_GEMM_H
#define TANDEM_OPS_GEMM_H

#include "tandem/base.h"

/* Some rows and columns of a weight; each begins at a multiple of GEMM_PIECE and ends at one or at the end.
 */
enum { GEMM_PIECE = 32 };
typedef struct gemm_piece {
    int64_t row_begin, row_end, col_begin, col_end;
} gemm_piece;

typedef struct gemm_backend {
    /* Of a weight packed as the right operand of a product, k contracted and n kept; 64-byte aligned. */
    size_t (*weight_bytes)(int64_t k, int64_t n);
    /* Packs a piece of f32 w[rows][cols] in one pass. Either destination may be NULL.
     * along_cols: right operand with k = cols, n = rows:  y[t][rows] = x[t][cols] · w^T
     * along_rows: right operand with k = rows, n = cols:  y[t][cols] = x[t][rows] · w     */
    void (*pack_piece)(int64_t rows, int64_t cols, gemm_piece piece, const float *w, void *along_cols,
                       void *along_rows);
    /* y[t][n] = x[t][k] · weight + bias[n]; bias f32 or NULL. Forward and data gradient alike.
     * A y too large for the caches is written past them. */
    size_t (*multiply_scratch_bytes)(int64_t k);
    void (*multiply)(int threads, int64_t t, int64_t k, int64_t n, const void *x, const void *weight,
                     const float *bias, void *y, const tdm_scratch *scratch);
    /* The weight gradient: f32 c[rows][cols] += a[t][rows]^T · b[t][cols], or = without `add`.
     * a_sums[rows] += column sums of a, b_sums[cols] += column sums of b; either may be NULL. */
    size_t (*backward_weight_scratch_bytes)(void);
    void (*backward_weight)(int threads, int64_t t, int64_t rows, int64_t cols, const void *a, const void *b,
                            bool add, float *c, float *a_sums, float *b_sums, const tdm_scratch *scratch);
} gemm_backend;

/* A whole weight in pieces. */
void gemm_pack_weight(const gemm_backend *gemm, int threads, int64_t rows, int64_t cols, const float *w,
                      void *along_cols, void *along_rows);

#if defined(TANDEM_HAVE_AMX)
extern const gemm_backend gemm_amx;         /* bf16 on CPUs with AMX-BF16; rounds to nearest even */
extern const gemm_backend gemm_avx512_bf16; /* bf16 on CPUs with AVX512_BF16, likewise */
#endif
#if defined(__x86_64__)
extern const gemm_backend gemm_avx512; /* f32 on CPUs with AVX-512 */
extern const gemm_backend gemm_avx2;   /* f32 on CPUs with AVX2 and FMA */
#endif

#endif
