/* Operands of products of bf16 pairs, packed: what AMX tiles and VDPBF16PS read alike. Private to src/ops; x86-64.
 *
 * A step of a right panel is 32 k by 32 columns of 32-bit words that hold two neighbours in k, in two halves of 16
 * columns: [2][16 k/2][16 n][2]. */
#ifndef TANDEM_OPS_GEMM_PAIRS_H
#define TANDEM_OPS_GEMM_PAIRS_H

#include "bf16_dot.h"
#include "gemm_blocks.h"
#include "transpose.h"
#include "tandem/base.h"

#include <string.h>

enum {
    PANEL = GEMM_PIECE,    /* columns of a right panel */
    STEP = 32,             /* k of one step of a panel */
    GEMM_HALF = PANEL / 2, /* columns or pairs of k of half a step */
    BLOCK = PANEL * STEP   /* elements of one step of one panel */
};

/* Keeps the compiler from moving plain stores past a tile load, whose intrinsic does not say what it reads.
 */
static inline void finish_stores(void)
{
    __asm__ volatile("" ::: "memory");
}

/* stream: past the caches */
static inline void store_line(uint16_t *to, __m512i line, bool stream)
{
    if (stream)
        _mm512_stream_si512((void *)to, line);
    else
        _mm512_store_si512(to, line);
}

/* 32 x 32 elements [k][n] -> one step of a right panel, [2][16 k/2][16 n][2]. Interleaving works within
 * 128-bit lanes: in order, quadwords 0 to 3 are first put in the lanes' low halves and 4 to 7 in the high
 * ones. Without it, the columns of the two tiles are 0-3 8-11 16-19 24-27 and 4-7 12-15 20-23 28-31. */
static inline void pack_right(const uint16_t *x, int64_t row_step, bool in_order, bool stream,
                              uint16_t *panel)
{
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    for (int p = 0; p < GEMM_HALF; p++) {
        __m512i even = _mm512_loadu_si512(x + 2 * p * row_step);
        __m512i odd = _mm512_loadu_si512(x + (2 * p + 1) * row_step);
        if (in_order) {
            even = _mm512_permutexvar_epi64(order, even);
            odd = _mm512_permutexvar_epi64(order, odd);
        }
        store_line(panel + p * 32, _mm512_unpacklo_epi16(even, odd), stream);
        store_line(panel + BLOCK / 2 + p * 32, _mm512_unpackhi_epi16(even, odd), stream);
    }
}

/* 32 x 32 elements [n][k] -> one step of a right panel, [2][16 k/2][16 n][2], streamed */
static inline void pack_right_transposed(const uint16_t *x, int64_t row_step, uint16_t *panel)
{
    for (int half = 0; half < 2; half++) {
        __m512i r[GEMM_HALF];
#pragma GCC unroll 16
        for (int n = 0; n < GEMM_HALF; n++) r[n] = _mm512_loadu_si512(x + (half * GEMM_HALF + n) * row_step);
        transpose_dwords(r);
#pragma GCC unroll 16
        for (int p = 0; p < GEMM_HALF; p++) store_line(panel + half * (BLOCK / 2) + p * 32, r[p], true);
    }
}

/* The upper left rows x cols of 32 x 32 elements, the rest zero. */
static inline void copy_padded(const uint16_t *x, int64_t row_step, int64_t rows, int64_t cols, uint16_t *y)
{
    memset(y, 0, BLOCK * sizeof(*y));
    for (int64_t i = 0; i < rows; i++) memcpy(y + i * 32, x + i * row_step, (size_t)cols * sizeof(*y));
}

/* f32 -> bf16, likewise */
static inline void convert_block(const float *w, int64_t row_step, int64_t rows, int64_t cols, uint16_t *y)
{
    const __mmask16 low = first_of_16(cols), high = first_of_16(cols - 16);
    for (int64_t i = 0; i < 32; i++) {
        __m512i v = _mm512_setzero_si512();
        if (i < rows)
            v = bf16_round_both(_mm512_maskz_loadu_ps(high, w + i * row_step + 16),
                                _mm512_maskz_loadu_ps(low, w + i * row_step));
        _mm512_store_si512(y + i * 32, v);
    }
}

/* Blocks of packed weights: [2 halves of the panel] [16 pairs of k] [16 of n] [2 of the pair] */
static inline void pack_block(const float *w, int64_t row_step, int64_t rows, int64_t cols,
                              gemm_place along_cols, gemm_place along_rows)
{
    uint16_t block[BLOCK] __attribute__((aligned(64)));
    convert_block(w, row_step, rows, cols, block);
    if (along_cols.at) pack_right_transposed(block, PANEL, along_cols.at);
    if (along_rows.at) pack_right(block, PANEL, true, true, along_rows.at);
}

static size_t pairs_weight_bytes(int64_t k, int64_t n)
{
    return gemm_weight_bytes(k, n, sizeof(uint16_t));
}

static void pairs_pack_piece(int64_t rows, int64_t cols, gemm_piece piece, const float *w, void *along_cols,
                             void *along_rows)
{
    gemm_pack_blocks(rows, cols, piece, w, along_cols, along_rows, sizeof(uint16_t), 1, pack_block);
}

/* sums[cols] += column sums of 32 rows of 32 elements */
static inline void add_column_sums(const uint16_t *x, int64_t row_step, int64_t cols, float *sums)
{
    const __m512i odd_mask = _mm512_set1_epi32((int)0xffff0000u);
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    for (int i = 0; i < 32; i++) {
        __m512i v = _mm512_loadu_si512(x + i * row_step);
        even = _mm512_add_ps(even, _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)));
        odd = _mm512_add_ps(odd, _mm512_castsi512_ps(_mm512_and_si512(v, odd_mask)));
    }
    __mmask16 keep[2] = {first_of_16(cols), first_of_16(cols - 16)};
    __m512 added[2] = {_mm512_permutex2var_ps(even, low, odd), _mm512_permutex2var_ps(even, high, odd)};
    for (int h = 0; h < 2; h++) {
        __m512 sum = _mm512_add_ps(_mm512_maskz_loadu_ps(keep[h], sums + h * 16), added[h]);
        _mm512_mask_storeu_ps(sums + h * 16, keep[h], sum);
    }
}

static inline void prefetch_rows(const uint16_t *x, int64_t rows, int64_t row_step)
{
    for (int64_t i = 0; i < rows; i++) _mm_prefetch((const char *)(x + i * row_step), _MM_HINT_T0);
}

/* One step of a panel from 32 x 32 elements whose rows are row_step apart. */
typedef void pack_step(const uint16_t *x, int64_t row_step, uint16_t *panel);

/* Packs `steps` steps of 32 tokens, from `token` on, of panels [begin, end) of x[t][width], panel_steps steps apart.
 * sums: [width], to which the panels' column sums are added, or NULL. */
static inline __attribute__((always_inline)) void pack_chunk(pack_step *pack, const uint16_t *x, int64_t t,
                                                             int64_t width, int64_t token, int64_t steps,
                                                             int64_t begin, int64_t end, int64_t panel_steps,
                                                             uint16_t *packed, float *sums)
{
    uint16_t padded[BLOCK] __attribute__((aligned(64)));
    for (int64_t s = 0; s < steps; s++)
        for (int64_t j = begin; j < end; j++) {
            int64_t first = token + s * STEP, row_step = width;
            int64_t rows = tdm_min_i64(STEP, t - first), cols = tdm_min_i64(PANEL, width - j * PANEL);
            const uint16_t *block = x + first * width + j * PANEL;
            if (s + 1 < steps)
                prefetch_rows(block + STEP * width, tdm_min_i64(STEP, t - first - STEP), width);
            if (rows < STEP || cols < PANEL) {
                copy_padded(block, width, rows, cols, padded);
                block = padded;
                row_step = PANEL;
            }
            uint16_t *panel = packed + ((j - begin) * panel_steps + s) * BLOCK;
            pack(block, row_step, panel);
            if (sums) add_column_sums(block, row_step, cols, sums + j * PANEL);
        }
    finish_stores();
}

/* ---- y = x · weight + bias, both sides bf16 ---- */

typedef struct pairs_product {
    int64_t k, n, steps; /* steps = ceil(k / 32) */
    const uint16_t *x, *weight;
    const float *bias;
    uint16_t *y;
    bool stream; /* y goes to memory past the caches */
} pairs_product;

/* Of the arguments of gemm_backend.multiply. */
static inline pairs_product pairs_product_of(int threads, int64_t t, int64_t k, int64_t n, const void *x,
                                             const void *weight, const float *bias, void *y)
{
    return (pairs_product){.k = k,
                           .n = n,
                           .steps = ceil_div(k, STEP),
                           .x = x,
                           .weight = weight,
                           .bias = bias,
                           .y = y,
                           .stream = gemm_streams(threads, y, t, n, PANEL, sizeof(uint16_t))};
}

#endif
