/* AVX-512. */
#include "significance_impl.h"

#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>

#define NAME           resample_kernel_avx512
#define WIDTH          8
#define MULTIPLY(a, b) (words) _mm512_mul_epu32((__m512i)(a), (__m512i)(b))
#include "resample_kernel.inc"
#endif
