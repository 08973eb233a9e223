/* Products in int8 on AVX2: pairs of int16, vpmaddwd. Its sibling for bytes, vpmaddubsw, adds two products in 16 bits and
 * saturates there. 6 x 16 sums in 12 of the 16 registers; a panel of 32 channels is two such blocks. */
#include "int8_rows.h"

#include <immintrin.h>

enum { ROWS = 6, VECTOR = 8, COLS = 2 * VECTOR };

static int32_t quantise(tdm_dtype dtype, int64_t k, int64_t padded, const void *x, int8_t *out, float *scale,
                        float *middle)
{
    return int8_quantise(dtype, k, padded, x, out, scale, middle);
}

static void arrange(int64_t rows, int64_t padded, const int8_t *row, void *panel)
{
    int8_arrange_pairs(rows, ROWS, padded, row, panel);
}

static inline __m256i pair_of(const int16_t *x)
{
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return _mm256_set1_epi32(pair);
}

/* The sums of one block, rows INT8_COLS apart. */
static inline void multiply_block(int64_t padded, const int8_panel *panel, const int16_t *right,
                                  int32_t *sums)
{
    __m256i sum[ROWS][2];
    const int16_t *left = panel->left;
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++)
        sum[r][0] = sum[r][1] = _mm256_set1_epi32(r < panel->rows ? panel->start[r] : 0);
    for (int64_t k = 0; k < padded; k += 2, left += 2 * ROWS, right += 2 * INT8_COLS) {
        const __m256i low = _mm256_load_si256((const __m256i *)right);
        const __m256i high = _mm256_load_si256((const __m256i *)(right + COLS));
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; r++) {
            const __m256i x = pair_of(left + 2 * r);
            sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(low, x));
            sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(high, x));
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) {
        _mm256_storeu_si256((__m256i *)(sums + r * INT8_COLS), sum[r][0]);
        _mm256_storeu_si256((__m256i *)(sums + r * INT8_COLS + VECTOR), sum[r][1]);
    }
}

static void multiply(int64_t padded, const int8_panel *panel, const void *right, int8_later later,
                     const int8_result *result)
{
    (void)later;
    int32_t sums[ROWS * INT8_COLS];
    for (int c = 0; c < INT8_COLS; c += COLS)
        multiply_block(padded, panel, (const int16_t *)right + (ptrdiff_t)2 * c, sums + c);
    for (int64_t r = 0; r < panel->rows; r++) int8_finish_row(sums + r * INT8_COLS, panel, r, result);
}

const int8_kernel int8_kernel_avx2 = {
    .name = "avx2",
    .rows = ROWS,
    .left_rows = ROWS,
    .value_bytes = 2,
    .quantise = quantise,
    .arrange = arrange,
    .multiply = multiply,
};
