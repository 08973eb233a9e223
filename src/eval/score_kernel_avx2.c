/* AVX2 + FMA: 6 × 16 scores in 12 registers. */
#include "eval_impl.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

#define NAME               eval_kernel_avx2
#define ISA_NAME           "avx2"
#define VEC                __m256
#define WIDTH              8
#define ROWS               6
#define VECS               2
#define ZERO()             _mm256_setzero_ps()
#define LOAD(p)            _mm256_loadu_ps(p)
#define STORE(p, v)        _mm256_storeu_ps(p, v)
#define BROADCAST(p)       _mm256_broadcast_ss(p)
#define FMA(a, b, c)       _mm256_fmadd_ps(a, b, c)
#define GREATER(a, b)      ((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)))
#define EQUAL(a, b)        ((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)))
#define COUNTS             __m256i
#define LOAD_COUNTS(p)     _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define STORE_COUNTS(p, c) _mm256_storeu_si256((__m256i *)(void *)(p), c)
/* A true lane is -1. */
#define COUNT_GREATER(c, a, b) _mm256_sub_epi32(c, _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_GT_OQ)))
#include "score_kernel.inc"
#endif
