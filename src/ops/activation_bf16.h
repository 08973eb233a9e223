/* Activations of bf16 rows by table (activation_lanes.h); part of kernels_body.h where the compiler has
 * AVX512_BF16. Every CPU with which a context has bf16 activations has it too. */
#include "activation_lanes.h"

static inline __mmask32 first_of_32(int64_t count)
{
    return count >= 32 ? 0xffffffffu : (1u << count) - 1u;
}

static void activation_forward_bf16(tdm_activation kind, int64_t n, const uint16_t *x, uint16_t *y)
{
    const activation_lanes lanes = lanes_load(kind);
    for (int64_t i = 0; i < n; i += 32) {
        const __mmask32 mask = first_of_32(n - i);
        const __m512i pairs = _mm512_maskz_loadu_epi16(mask, x + i);
        const __m512 even = lanes_activation(&lanes, lanes_even(pairs));
        const __m512 odd = lanes_activation(&lanes, lanes_odd(pairs));
        _mm512_mask_storeu_epi16(y + i, mask, lanes_round(even, odd));
    }
}

/* y as well, in half of the time that another forward would take. */
static void activation_backward_bf16_both(tdm_activation kind, int64_t n, const uint16_t *x,
                                          const uint16_t *dy, uint16_t *dx, uint16_t *y)
{
    const activation_lanes lanes = lanes_load(kind);
    for (int64_t i = 0; i < n; i += 32) {
        const __mmask32 mask = first_of_32(n - i);
        const __m512i pairs = _mm512_maskz_loadu_epi16(mask, x + i);
        const __m512i above = _mm512_maskz_loadu_epi16(mask, dy + i);
        __m512 even_slope, odd_slope;
        const __m512 even = lanes_activation_with_slope(&lanes, lanes_even(pairs), &even_slope);
        const __m512 odd = lanes_activation_with_slope(&lanes, lanes_odd(pairs), &odd_slope);
        _mm512_mask_storeu_epi16(y + i, mask, lanes_round(even, odd));
        _mm512_mask_storeu_epi16(dx + i, mask,
                                 lanes_round(_mm512_mul_ps(lanes_even(above), even_slope),
                                             _mm512_mul_ps(lanes_odd(above), odd_slope)));
    }
}

static void activation_backward_bf16(tdm_activation kind, int64_t n, const uint16_t *x, const uint16_t *dy,
                                     uint16_t *dx)
{
    const activation_lanes lanes = lanes_load(kind);
    for (int64_t i = 0; i < n; i += 32) {
        const __mmask32 mask = first_of_32(n - i);
        const __m512i pairs = _mm512_maskz_loadu_epi16(mask, x + i);
        const __m512i above = _mm512_maskz_loadu_epi16(mask, dy + i);
        const __m512 even = _mm512_mul_ps(lanes_even(above), lanes_slope(&lanes, lanes_even(pairs)));
        const __m512 odd = _mm512_mul_ps(lanes_odd(above), lanes_slope(&lanes, lanes_odd(pairs)));
        _mm512_mask_storeu_epi16(dx + i, mask, lanes_round(even, odd));
    }
}
