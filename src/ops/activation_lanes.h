/* GELU and QuickGELU of 16 floats, for values that are bf16 before and after (activation_table.h). Inline, so
 * that a loop which has the values in registers anyway can apply them. AVX-512F; private to src/ops.
 *
 *     activation_lanes lanes = lanes_load(TDM_GELU);            once, outside the loop
 *     y = lanes_activation(&lanes, x);                          7 cycles of two vector units
 *     y = lanes_activation_with_slope(&lanes, x, &slope);       12 cycles
 *     slope = lanes_slope(&lanes, x);                           7 cycles
 *
 * |error| <= 1e-4·|value| + 2.5e-7, and 3e-5 of a slope, a hundredth of what rounding to bf16 does
 * (test_activation_table tries every bf16 number). A NaN stays one; of infinities the value is NaN. */
#ifndef TANDEM_OPS_ACTIVATION_LANES_H
#define TANDEM_OPS_ACTIVATION_LANES_H

#include "activation_table.h"

#include <immintrin.h>

/* A table in registers: 8 for value, 8 for slope (a loop that uses one does not load the other). */
typedef struct activation_lanes {
    __m512 value[ACTIVATION_TERMS][2], slope[ACTIVATION_TERMS][2];
    __m512 steps, last; /* last: where the last interval's centre is */
} activation_lanes;

static inline __attribute__((always_inline)) activation_lanes lanes_load(tdm_activation kind)
{
    const activation_table *table = activation_table_of(kind);
    activation_lanes lanes;
#pragma GCC unroll 4
    for (int k = 0; k < ACTIVATION_TERMS; k++) {
        lanes.value[k][0] = _mm512_load_ps(table->value[k]);
        lanes.value[k][1] = _mm512_load_ps(table->value[k] + 16);
        lanes.slope[k][0] = _mm512_load_ps(table->slope[k]);
        lanes.slope[k][1] = _mm512_load_ps(table->slope[k] + 16);
    }
    lanes.steps = _mm512_set1_ps(table->steps);
    lanes.last = _mm512_set1_ps((float)(ACTIVATION_INTERVALS - 1) / table->steps);
    return lanes;
}

/* Which interval |x| is in (the low 5 bits of `index` count), and where. */
typedef struct lanes_place {
    __m512 a, r;
    __m512i index;
} lanes_place;

static inline __attribute__((always_inline)) lanes_place lanes_find(const activation_lanes *lanes, __m512 x)
{
    const __m512 shift =
        _mm512_set1_ps(12582912.0f); /* 1.5·2^23: a sum's low mantissa bits are the integer */
    lanes_place place;
    place.a = _mm512_abs_ps(x);
    __m512 inside = _mm512_min_ps(lanes->last, place.a); /* in this order a NaN stays */
    __m512 shifted = _mm512_fmadd_ps(inside, lanes->steps, shift);
    place.r = _mm512_fmsub_ps(inside, lanes->steps, _mm512_sub_ps(shifted, shift));
    place.index = _mm512_castps_si512(shifted);
    return place;
}

static inline __attribute__((always_inline)) __m512 lanes_cubic(const __m512 c[ACTIVATION_TERMS][2],
                                                                lanes_place at)
{
    __m512 p = _mm512_permutex2var_ps(c[3][0], at.index, c[3][1]);
    p = _mm512_fmadd_ps(p, at.r, _mm512_permutex2var_ps(c[2][0], at.index, c[2][1]));
    p = _mm512_fmadd_ps(p, at.r, _mm512_permutex2var_ps(c[1][0], at.index, c[1][1]));
    return _mm512_fmadd_ps(p, at.r, _mm512_permutex2var_ps(c[0][0], at.index, c[0][1]));
}

static inline __attribute__((always_inline)) __m512 lanes_value_at(const activation_lanes *lanes,
                                                                   lanes_place at, __m512 x)
{
    __m512 positive = _mm512_max_ps(x, _mm512_setzero_ps());
    return _mm512_fnmadd_ps(at.a, lanes_cubic(lanes->value, at), positive);
}

static inline __attribute__((always_inline)) __m512 lanes_slope_at(const activation_lanes *lanes,
                                                                   lanes_place at, __m512 x)
{
    __m512 tail = lanes_cubic(lanes->slope, at);
    __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ);
    return _mm512_mask_sub_ps(tail, positive, _mm512_set1_ps(1.0f), tail);
}

static inline __attribute__((always_inline)) __m512 lanes_activation(const activation_lanes *lanes, __m512 x)
{
    return lanes_value_at(lanes, lanes_find(lanes, x), x);
}

static inline __attribute__((always_inline)) __m512 lanes_slope(const activation_lanes *lanes, __m512 x)
{
    return lanes_slope_at(lanes, lanes_find(lanes, x), x);
}

static inline __attribute__((always_inline)) __m512 lanes_activation_with_slope(const activation_lanes *lanes,
                                                                                __m512 x, __m512 *slope)
{
    lanes_place at = lanes_find(lanes, x);
    *slope = lanes_slope_at(lanes, at, x);
    return lanes_value_at(lanes, at, x);
}

/* 32 bf16 numbers are two times 16 floats: the even ones and the odd ones. */
static inline __attribute__((always_inline)) __m512 lanes_even(__m512i pairs)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
}
static inline __attribute__((always_inline)) __m512 lanes_odd(__m512i pairs)
{
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000u)));
}
#if defined(__AVX512BF16__)
/* And back, rounded to nearest even. */
static inline __attribute__((always_inline)) __m512i lanes_round(__m512 even, __m512 odd)
{
    const __m512i interleave =
        _mm512_set_epi32(0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009, 0x180008,
                         0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
    return _mm512_permutexvar_epi16(interleave, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}
#endif

#endif
