/* Sums of int8 products to results, 16 at a time. Private to src/ops; AVX-512. Compile with -ffp-contract=off: products
 * and sums are rounded one by one, as everywhere (int8.h). */
#ifndef TANDEM_OPS_INT8_FINISH_H
#define TANDEM_OPS_INT8_FINISH_H

#include "int8.h"
#include "masks.h"

/* As tdm_bf16_round. */
static inline __m256i int8_bf16_of(__m512 y)
{
    const __m512i bits = _mm512_castps_si512(y);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const __m512i nan = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(y, y, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_blend_epi32(is_nan, rounded, nan), 16));
}

/* The two halves of a row of INT8_COLS sums. */
static inline __attribute__((always_inline)) void int8_finish(const __m512i sum[2], const int8_panel *panel,
                                                              int64_t row, const int8_result *result)
{
    const __m512 scale = _mm512_set1_ps(panel->scale[row]), middle = _mm512_set1_ps(panel->middle[row]);
    const int64_t at = row * result->step;
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        const __mmask16 keep = first_of_16(result->cols - 16 * h);
        const __m512 scaled = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum[h]), scale),
                                            _mm512_loadu_ps(result->scale + 16 * h));
        const __m512 shift = _mm512_add_ps(_mm512_mul_ps(middle, _mm512_loadu_ps(result->sum + 16 * h)),
                                           _mm512_loadu_ps(result->bias + 16 * h));
        const __m512 y = _mm512_add_ps(scaled, shift);
        if (result->dtype == TDM_BF16)
            _mm256_mask_storeu_epi16((uint16_t *)result->y + at + 16 * h, keep, int8_bf16_of(y));
        else if (result->stream)
            _mm512_stream_ps((float *)result->y + at + 16 * h, y);
        else
            _mm512_mask_storeu_ps((float *)result->y + at + 16 * h, keep, y);
    }
}

#endif
