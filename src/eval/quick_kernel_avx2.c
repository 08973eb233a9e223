/* AVX2 + FMA: 6 × 16 scores in 12 registers. Its int8 takes as long as f32. */
#include "quick_impl.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

/* |query| is unsigned and its sign goes to the item; two products of at most 127² fit into int16. */
static inline __m256i dot_int8(__m256i sum, __m256i item, __m256i query)
{
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(query), _mm256_sign_epi8(item, query));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static inline float sum_of(__m256 v)
{
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Half h of rows[q] holds row 4·h + q; the transposition is within the halves. */
static inline void transpose(const float *const *row, int64_t k, __m256 v[4])
{
    __m256 rows[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++)
        rows[q] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[q] + k)),
                                       _mm_loadu_ps(row[4 + q] + k), 1);
    const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(rows[0], rows[1]));
    const __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(rows[0], rows[1]));
    const __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(rows[2], rows[3]));
    const __m256d e = _mm256_castps_pd(_mm256_unpackhi_ps(rows[2], rows[3]));
    v[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
    v[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
    v[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, e));
    v[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, e));
}

#define NAME           eval_quick_kernel_avx2
#define ISA_NAME       "avx2"
#define FIRST          EVAL_INT16
#define WIDTH          8
#define VECS           2
#define ROWS           6
#define INT            __m256i
#define ILOAD(p)       _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define ISTORE(p, v)   _mm256_storeu_si256((__m256i *)(void *)(p), v)
#define ISET(p)        _mm256_set1_epi32(*(p))
#define DOT16(s, a, q) _mm256_add_epi32(s, _mm256_madd_epi16(a, q))
#define DOT8(s, a, q)  dot_int8(s, a, q)
#define OFFSET         0
#define VEC            __m256
#define ZERO()         _mm256_setzero_ps()
#define LOAD(p)        _mm256_loadu_ps(p)
#define STORE(p, v)    _mm256_storeu_ps(p, v)
#define BROADCAST(p)   _mm256_broadcast_ss(p)
#define FMA(a, b, c)   _mm256_fmadd_ps(a, b, c)
#define MUL(a, b)      _mm256_mul_ps(a, b)
#define ADD(a, b)      _mm256_add_ps(a, b)
#define SUB(a, b)      _mm256_sub_ps(a, b)
#define TRANSPOSE      transpose
#define SUM(v)         sum_of(v)
#define FLOATS(i)      _mm256_cvtepi32_ps(i)
#define GREATER(a, b)  ((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)))
#define EQUAL(a, b)    ((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)))
#include "quick_kernel.inc"
#endif
