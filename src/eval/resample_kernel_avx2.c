/* AVX2. */
#include "significance_impl.h"

#include <string.h>

#if defined(__AVX2__)
#define NAME  resample_kernel_avx2
#define WIDTH 4
#include "resample_kernel.inc"
#endif
