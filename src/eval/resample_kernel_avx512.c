/* AVX-512. */
#include "significance_impl.h"

#include <string.h>

#if defined(__AVX512F__)
#define NAME  resample_kernel_avx512
#define WIDTH 8
#include "resample_kernel.inc"
#endif
