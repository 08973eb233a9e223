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
#define FLOATS(i)      _mm256_cvtepi32_ps(i)
#define GREATER(a, b)  ((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)))
#define EQUAL(a, b)    ((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)))
#include "quick_kernel.inc"
#endif
