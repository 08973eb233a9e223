/* AVX-512: 12 × 32 scores in 24 registers: per multiply-add half the gallery traffic of 6 × 64. */
#include "eval_impl.h"

#if defined(__AVX512F__)
#include <immintrin.h>

#define NAME               eval_kernel_avx512
#define ISA_NAME           "avx512"
#define VEC                __m512
#define WIDTH              16
#define ROWS               12
#define VECS               2
#define ZERO()             _mm512_setzero_ps()
#define LOAD(p)            _mm512_loadu_ps(p)
#define STORE(p, v)        _mm512_storeu_ps(p, v)
#define BROADCAST(p)       _mm512_set1_ps(*(p))
#define FMA(a, b, c)       _mm512_fmadd_ps(a, b, c)
#define GREATER(a, b)      ((unsigned)_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ))
#define EQUAL(a, b)        ((unsigned)_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ))
#define COUNTS             __m512i
#define LOAD_COUNTS(p)     _mm512_loadu_si512(p)
#define STORE_COUNTS(p, c) _mm512_storeu_si512(p, c)
#define COUNT_GREATER(c, a, b)                                                                               \
    _mm512_mask_add_epi32(c, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), c, _mm512_set1_epi32(1))
#include "score_kernel.inc"
#endif
