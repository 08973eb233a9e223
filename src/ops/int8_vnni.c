/* Products in int8 on AVX-512 with VNNI: the micro kernel of gemm_avx512.c, 14 x 32 sums in 28 registers, with four k
 * where that one has one. Left panels are [padded / 4][16][4] bytes, of which 14 are used. */
#include "int8_finish.h"
#include "int8_rows.h"
#include "transpose.h"

enum { ROWS = 14, LEFT = 16, WORD = 4, UNROLLED = 4, VECTOR = 16, AHEAD_BYTES = 8192 };

static const __mmask16 ALL = 0xffff;

/* ---- Rows: what int8_rows.h says, to the bit ---- */

static inline __attribute__((always_inline)) __m512 values_at(tdm_dtype dtype, const void *x, int64_t i,
                                                              __mmask16 keep)
{
    if (dtype == TDM_F32) return _mm512_maskz_loadu_ps(keep, (const float *)x + i);
    const __m512i half = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(keep, (const uint16_t *)x + i));
    return _mm512_castsi512_ps(_mm512_slli_epi32(half, 16));
}

typedef struct running_range {
    __m512 low, high, zero; /* zero: NaN where something was not finite */
} running_range;

static inline __attribute__((always_inline)) void widen(running_range *r, __m512 v, __mmask16 keep)
{
    r->low = _mm512_mask_min_ps(r->low, keep, r->low, v);
    r->high = _mm512_mask_max_ps(r->high, keep, r->high, v);
    r->zero = _mm512_fmadd_ps(v, _mm512_setzero_ps(), r->zero);
}

static inline __attribute__((always_inline)) int8_range range_of(tdm_dtype dtype, int64_t k, const void *x)
{
    running_range a = {_mm512_set1_ps(INFINITY), _mm512_set1_ps(-INFINITY), _mm512_setzero_ps()}, b = a;
    int64_t i = 0;
    for (; i + 2 * VECTOR <= k; i += 2 * VECTOR) { /* two chains */
        widen(&a, values_at(dtype, x, i, ALL), ALL);
        widen(&b, values_at(dtype, x, i + VECTOR, ALL), ALL);
    }
    for (; i < k; i += VECTOR) widen(&a, values_at(dtype, x, i, first_of_16(k - i)), first_of_16(k - i));
    return (int8_range){_mm512_reduce_min_ps(_mm512_min_ps(a.low, b.low)),
                        _mm512_reduce_max_ps(_mm512_max_ps(a.high, b.high)),
                        _mm512_reduce_add_ps(_mm512_add_ps(a.zero, b.zero)) == 0.0F};
}

static inline __attribute__((always_inline)) __m512i round_16(__m512 v, int8_scaling s, __mmask16 keep,
                                                              int8_t *out)
{
    const __m512 scaled =
        _mm512_mul_ps(_mm512_sub_ps(v, _mm512_set1_ps(s.middle)), _mm512_set1_ps(s.inverse));
    const __m512i whole = _mm512_maskz_cvtps_epi32(keep, scaled);
    _mm_mask_storeu_epi8(out, keep, _mm512_cvtepi32_epi8(whole));
    return whole;
}

static inline __attribute__((always_inline)) int32_t round_row(tdm_dtype dtype, int64_t k, const void *x,
                                                               int8_scaling s, int8_t *out)
{
    /* Rows follow each other, and are read twice: one is fetched a while before its first reading. */
    const int64_t act_bytes = (int64_t)tdm_dtype_bytes(dtype), row_bytes = k * act_bytes;
    const int64_t ahead = tdm_max_i64(1, AHEAD_BYTES / row_bytes) * row_bytes;
    __m512i sum = _mm512_setzero_si512();
    int64_t i = 0;
#pragma GCC unroll 2
    for (; i + VECTOR <= k; i += VECTOR) {
        _mm_prefetch((const char *)x + ahead + i * act_bytes, _MM_HINT_T0);
        sum = _mm512_add_epi32(sum, round_16(values_at(dtype, x, i, ALL), s, ALL, out + i));
    }
    const __mmask16 rest = first_of_16(k - i);
    if (rest) sum = _mm512_add_epi32(sum, round_16(values_at(dtype, x, i, rest), s, rest, out + i));
    return _mm512_reduce_add_epi32(sum);
}

static int32_t quantise(tdm_dtype dtype, int64_t k, int64_t padded, const void *x, int8_t *out, float *scale,
                        float *middle)
{
    const int8_range range = dtype == TDM_F32 ? range_of(TDM_F32, k, x) : range_of(TDM_BF16, k, x);
    const int8_scaling s = int8_scaling_of(range.low, range.high, range.is_finite, middle != NULL);
    *scale = s.scale;
    if (middle) *middle = s.middle;
    memset(out + k, 0, (size_t)(padded - k));
    if (s.scale > 0.0F)
        return dtype == TDM_F32 ? round_row(TDM_F32, k, x, s, out) : round_row(TDM_BF16, k, x, s, out);
    memset(out, 0, (size_t)k);
    return 0;
}

/* ---- Panels and products ---- */

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
 * broadcast by the instruction itself, see add_products of gemm_avx512.c. */
static inline void add_products(__m512i *sum, __m512i weight, const int32_t *word)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(weight), "m"(*word));
}

static void multiply(int64_t padded, const int8_panel *panel, const void *right, int8_later later,
                     const int8_result *result)
{
    __m512i sum[ROWS][2];
    const int32_t *left = panel->left;
    const char *weight = right;
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++)
        sum[r][0] = sum[r][1] = _mm512_set1_epi32(r < panel->rows ? panel->start[r] : 0);
    const int64_t per_step = (later.lines * UNROLLED * WORD + padded - 1) / padded;
    const char *const later_end = later.at + later.lines * 64;
    for (int64_t k = 0; k < padded; k += UNROLLED * WORD) {
        for (int64_t i = 0; i < per_step && later.at < later_end; i++, later.at += 64)
            _mm_prefetch(later.at, _MM_HINT_T1);
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

static void end(void)
{
    _mm_sfence(); /* streaming stores are seen after it */
}

const int8_kernel int8_kernel_vnni = {
    .name = "vnni",
    .rows = ROWS,
    .left_rows = LEFT,
    .value_bytes = 1,
    .quantise = quantise,
    .arrange = arrange,
    .end = end,
    .multiply = multiply,
};
