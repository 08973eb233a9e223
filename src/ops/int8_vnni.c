/* Products in int8 on AVX-512 with VNNI: the micro kernel of gemm_avx512.c, 14 x 32 sums in 28 registers, with four k
 * where that one has one. Left panels are [padded / 4][16][4] bytes, of which 14 are used. */
#include "int8_finish.h"
#include "int8_rows.h"
#include "transpose.h"

#if defined(__AVX512F__) && defined(__AVX512VNNI__)

enum { ROWS = 14, LEFT = 16, WORD = 4, UNROLLED = 4 };

static int32_t quantise(tdm_dtype dtype, int64_t k, int64_t padded, const void *x, int8_t *out, float *scale,
                        float *middle)
{
    return int8_quantise(dtype, k, padded, x, out, scale, middle);
}

static void arrange(int64_t rows, int64_t padded, const int8_t *row, void *panel)
{
    for (int64_t k = 0; k < padded; k += INT8_STEP) {
        __m512i words[LEFT];
        char *out = (char *)panel + k / WORD * LEFT * WORD;
#pragma GCC unroll 16
        for (int r = 0; r < LEFT; r++)
            words[r] =
                r < ROWS && r < rows ? _mm512_loadu_si512(row + r * padded + k) : _mm512_setzero_si512();
        transpose_dwords(words);
#pragma GCC unroll 16
        for (int i = 0; i < LEFT; i++) _mm512_store_si512(out + i * INT8_STEP, words[i]);
    }
}

/* *sum += weight · *word: four products of an unsigned and a signed byte each, exact, without saturation. The word is
 * broadcast by the instruction itself, see add_product of gemm_avx512.c. */
static inline void add_products(__m512i *sum, __m512i weight, const int32_t *word)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(weight), "m"(*word));
}

static void multiply(int64_t padded, const int8_panel *panel, const void *right, const int8_result *result)
{
    __m512i sum[ROWS][2];
    const int32_t *left = panel->left;
    const char *weight = right;
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++)
        sum[r][0] = sum[r][1] = _mm512_set1_epi32(r < panel->rows ? panel->start[r] : 0);
    for (int64_t k = 0; k < padded; k += UNROLLED * WORD) {
#pragma GCC unroll 4
        for (int i = 0; i < UNROLLED; i++, left += LEFT, weight += INT8_COLS * WORD) {
            const __m512i low = _mm512_load_si512(weight), high = _mm512_load_si512(weight + 64);
#pragma GCC unroll 14
            for (int r = 0; r < ROWS; r++) {
                add_products(&sum[r][0], low, left + r);
                add_products(&sum[r][1], high, left + r);
            }
        }
    }
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++)
        if (r < panel->rows) int8_finish(sum[r], panel, r, result);
}

const int8_kernel int8_kernel_vnni = {
    .name = "vnni",
    .rows = ROWS,
    .left_rows = LEFT,
    .value_bytes = 1,
    .quantise = quantise,
    .arrange = arrange,
    .multiply = multiply,
};
#endif
