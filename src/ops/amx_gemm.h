/* bf16 matrix products on AMX tiles, for the linear layers. Private to src/ops; x86-64 only.
 *
 * Everything is row-major except packed weights. t tokens; any sizes >= 1 (odd ones work, multiples of 32 are
 * fast). Rounding to bf16 is to nearest even; sums are f32. Each element of a result is summed by one thread
 * in an order that depends on its sizes alone: results are the same for every number of threads.
 *
 * The functions configure the tiles on entry and release them before they return, in each of their threads.
 */
#ifndef TANDEM_OPS_AMX_GEMM_H
#define TANDEM_OPS_AMX_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Weights ----
 * The right operand of a product, k contracted and n kept, as bf16 tiles: n in panels of 32, k in steps of
 * 32,
 *
 *     [ceil(n/32)] [ceil(k/32)] [2 halves of the panel] [16 pairs of k] [16 of n] [2 of the pair]
 *
 * padded with zeros. This many bf16 elements, 64-byte aligned: */
size_t amx_weight_elements(int64_t k, int64_t n);
/* Packs f32 w[rows][cols] in one pass. Either destination may be NULL.
 * along_cols: right operand with k = cols, n = rows:  y[t][rows] = x[t][cols] · w^T
 * along_rows: right operand with k = rows, n = cols:  y[t][cols] = x[t][rows] · w     */
void amx_pack_weight(int threads, int64_t rows, int64_t cols, const float *w, uint16_t *along_cols,
                     uint16_t *along_rows);
/* Some rows and columns of it; each begins at a multiple of AMX_PANEL and ends at one or at the end. */
enum { AMX_PANEL = 32 };
typedef struct amx_piece {
    int64_t row_begin, row_end, col_begin, col_end;
} amx_piece;
void amx_pack_piece(int64_t rows, int64_t cols, amx_piece piece, const float *w, uint16_t *along_cols,
                    uint16_t *along_rows);

/* ---- Products ----
 * `workspace` is 64-byte aligned memory of the size that the function beside says, contents undefined. */

/* y[t][n] = x[t][k] · weight + bias[n]; x, y bf16; bias f32 or NULL. Forward and data gradient alike.
 * A y too large for the caches is written past them. */
size_t amx_multiply_workspace_bytes(int threads, int64_t k);
void amx_multiply(int threads, int64_t t, int64_t k, int64_t n, const uint16_t *x, const uint16_t *weight,
                  const float *bias, uint16_t *y, void *workspace);

/* The weight gradient: c[rows][cols] += a[t][rows]^T · b[t][cols], or = without `add`; a, b bf16, c f32.
 * a_sums[rows] += column sums of a, b_sums[cols] += column sums of b; either may be NULL. */
size_t amx_backward_weight_workspace_bytes(int threads);
void amx_backward_weight(int threads, int64_t t, int64_t rows, int64_t cols, const uint16_t *a,
                         const uint16_t *b, bool add, float *c, float *a_sums, float *b_sums,
                         void *workspace);

#endif
