/* AVX-512 with VNNI: 12 × 32 scores in 24 registers; 32 products of int16 or 64 of int8 an instruction, where an
 * FMA makes 16. Without VNNI int16 takes two instructions, as long as f32: there is no kernel for that. */
#include "quick_impl.h"

#if defined(__AVX512F__) && defined(__AVX512VNNI__)
#include <immintrin.h>

/* Quarter h of rows[q] holds row 4·h + q; the transposition is within the quarters. */
static inline void transpose(const float *const *row, int64_t k, __m512 v[4])
{
    __m512 rows[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
        rows[q] = _mm512_castps128_ps512(_mm_loadu_ps(row[q] + k));
        rows[q] = _mm512_insertf32x4(rows[q], _mm_loadu_ps(row[4 + q] + k), 1);
        rows[q] = _mm512_insertf32x4(rows[q], _mm_loadu_ps(row[8 + q] + k), 2);
        rows[q] = _mm512_insertf32x4(rows[q], _mm_loadu_ps(row[12 + q] + k), 3);
    }
    const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(rows[0], rows[1]));
    const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(rows[0], rows[1]));
    const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(rows[2], rows[3]));
    const __m512d e = _mm512_castps_pd(_mm512_unpackhi_ps(rows[2], rows[3]));
    v[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    v[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    v[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, e));
    v[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, e));
}

#define NAME           eval_quick_kernel_avx512
#define ISA_NAME       "avx512"
#define FIRST          EVAL_INT8
#define WIDTH          16
#define VECS           2
#define ROWS           12
#define INT            __m512i
#define ILOAD(p)       _mm512_loadu_si512(p)
#define ISTORE(p, v)   _mm512_storeu_si512(p, v)
#define ISET(p)        _mm512_set1_epi32(*(p))
#define DOT16(s, a, q) _mm512_dpwssd_epi32(s, a, q)
#define DOT8(s, a, q)  _mm512_dpbusd_epi32(s, a, q)
#define OFFSET         128
#define VEC            __m512
#define ZERO()         _mm512_setzero_ps()
#define LOAD(p)        _mm512_loadu_ps(p)
#define STORE(p, v)    _mm512_storeu_ps(p, v)
#define BROADCAST(p)   _mm512_set1_ps(*(p))
#define FMA(a, b, c)   _mm512_fmadd_ps(a, b, c)
#define MUL(a, b)      _mm512_mul_ps(a, b)
#define ADD(a, b)      _mm512_add_ps(a, b)
#define SUB(a, b)      _mm512_sub_ps(a, b)
#define TRANSPOSE      transpose
#define SUM(v)         _mm512_reduce_add_ps(v)
#define FLOATS(i)      _mm512_cvtepi32_ps(i)
#define GREATER(a, b)  ((unsigned)_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ))
#define EQUAL(a, b)    ((unsigned)_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ))
#include "quick_kernel.inc"
#endif
