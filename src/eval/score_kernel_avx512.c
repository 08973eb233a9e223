/* AVX-512: 6 × 64 scores in 24 registers. */
#include "eval_impl.h"

#if defined(__AVX512F__)
#include <immintrin.h>

#define NAME         eval_kernel_avx512
#define ISA_NAME     "avx512"
#define VEC          __m512
#define WIDTH        16
#define VECS         4
#define ZERO()       _mm512_setzero_ps()
#define LOAD(p)      _mm512_loadu_ps(p)
#define STORE(p, v)  _mm512_storeu_ps(p, v)
#define BROADCAST(p) _mm512_set1_ps(*(p))
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#include "score_kernel.inc"
#endif
