/* The instructions of AVX512_BF16: the only place that names them for products and attention. Private to src/ops;
 * x86-64. Intel 64 SDM vol. 2: VDPBF16PS, VCVTNEPS2BF16, VCVTNE2PS2BF16.
 *
 * Where TANDEM_EMULATE_BF16 is defined they are computed with AVX-512 F, BW and DQ alone, to the same bits, so that
 * whatever is built on them runs and is tested on every CPU with AVX-512 (tiles: amx_emulated.h). Where
 * TANDEM_PROXY_BF16 is defined, VPDPWSSD of AVX512_VNNI stands in for the product: pairs of 16 bits and 32-bit sums as
 * well, and on most CPUs of the same speed. Its results mean nothing; bench/gemm_bench.c measures with it where the real
 * one is missing. */
#ifndef TANDEM_OPS_BF16_DOT_H
#define TANDEM_OPS_BF16_DOT_H

#include <immintrin.h>
#include <stdint.h>

#if defined(TANDEM_PROXY_BF16)
#define BF16_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
#elif defined(TANDEM_EMULATE_BF16)
#define BF16_TARGET "avx512f,avx512bw,avx512dq,avx512vl"
#else
#define BF16_TARGET "avx512f,avx512bf16"
#endif
#define BF16_INLINE static inline __attribute__((always_inline, target(BF16_TARGET)))

typedef float bf16_pair __attribute__((may_alias, aligned(1)));

/* The pair at `at`, which may be any address, 16 times. */
BF16_INLINE __m512i bf16_repeat_pair(const void *at)
{
    return _mm512_castps_si512(_mm512_set1_ps(*(const bf16_pair *)at));
}

#if defined(TANDEM_PROXY_BF16)
/* Of as many micro-operations. */
BF16_INLINE __m256i bf16_round(__m512 x)
{
    return _mm512_cvtepi32_epi16(_mm512_castps_si512(x));
}

BF16_INLINE __m512i bf16_round_both(__m512 high, __m512 low)
{
    return _mm512_packs_epi32(_mm512_castps_si512(low), _mm512_castps_si512(high));
}
#elif defined(TANDEM_EMULATE_BF16)
/* f32 to bf16 in the upper half of each word: the nearest, of two the even one; what is denormal counts as zero, and a
 * NaN stays one. */
BF16_INLINE __m512i bf16_round_words(__m512 x)
{
    const __m512i bits = _mm512_castps_si512(x), one = _mm512_set1_epi32(1);
    const __m512i last = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(last, _mm512_set1_epi32(0x7fff)));
    rounded =
        _mm512_mask_or_epi32(rounded, _mm512_fpclass_ps_mask(x, 0x81), bits, _mm512_set1_epi32(0x400000));
    return _mm512_mask_and_epi32(rounded, _mm512_fpclass_ps_mask(x, 0x20), bits,
                                 _mm512_set1_epi32((int)0x80000000u));
}

BF16_INLINE __m256i bf16_round(__m512 x)
{
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(bf16_round_words(x), 16));
}

/* `low` in the lower half. */
BF16_INLINE __m512i bf16_round_both(__m512 high, __m512 low)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(bf16_round(low)), bf16_round(high), 1);
}
#else
BF16_INLINE __m256i bf16_round(__m512 x)
{
    return (__m256i)_mm512_cvtneps_pbh(x);
}

BF16_INLINE __m512i bf16_round_both(__m512 high, __m512 low)
{
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}
#endif

/* sum + a · b: 16 sums, to each the products of two neighbours. For bf16_dot_pair b is one pair in memory, which the
 * instruction itself repeats: one instruction less, for one load more where a pair is used twice. */
#if defined(TANDEM_PROXY_BF16)
BF16_INLINE __m512 bf16_dot(__m512 sum, __m512i a, __m512i b)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b)); /* casts would make copies */
    return sum;
}
BF16_INLINE __m512 bf16_dot_pair(__m512 sum, __m512i a, const void *pair)
{
    __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(a), "m"(*(const bf16_pair *)pair));
    return sum;
}
#elif defined(TANDEM_EMULATE_BF16)
/* Denormal numbers become zeros of their sign. */
BF16_INLINE __m512 bf16_flush(__m512 x)
{
    return _mm512_mask_and_ps(x, _mm512_fpclass_ps_mask(x, 0x20), x, _mm512_set1_ps(-0.0f));
}

/* Two multiplications that round once each, the upper half's first; denormal numbers are zeros, before and after. One
 * case differs in its last bit: a sum that rounds up to the smallest normal number is not flushed. */
BF16_INLINE __m512 bf16_dot(__m512 sum, __m512i a, __m512i b)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
    const __m512 a1 = bf16_flush(_mm512_castsi512_ps(_mm512_and_si512(a, upper))),
                 b1 = bf16_flush(_mm512_castsi512_ps(_mm512_and_si512(b, upper))),
                 a0 = bf16_flush(_mm512_castsi512_ps(_mm512_slli_epi32(a, 16))),
                 b0 = bf16_flush(_mm512_castsi512_ps(_mm512_slli_epi32(b, 16)));
    sum = bf16_flush(_mm512_fmadd_ps(a1, b1, bf16_flush(sum)));
    return bf16_flush(_mm512_fmadd_ps(a0, b0, sum));
}
BF16_INLINE __m512 bf16_dot_pair(__m512 sum, __m512i a, const void *pair)
{
    return bf16_dot(sum, a, bf16_repeat_pair(pair));
}
#else
BF16_INLINE __m512 bf16_dot(__m512 sum, __m512i a, __m512i b)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}
BF16_INLINE __m512 bf16_dot_pair(__m512 sum, __m512i a, const void *pair)
{
    __asm__("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(a), "m"(*(const bf16_pair *)pair));
    return sum;
}
#endif

#endif
