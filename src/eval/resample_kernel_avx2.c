/* AVX2. */
#include "significance_impl.h"

#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>

#define NAME           resample_kernel_avx2
#define WIDTH          4
#define MULTIPLY(a, b) (words) _mm256_mul_epu32((__m256i)(a), (__m256i)(b))
#include "resample_kernel.inc"
#endif
