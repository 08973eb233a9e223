/* The fused loops for x86-64-v3 (AVX2, FMA); see folder.cmake for the flags. */
#define KERNEL_TABLE        ops_kernels_avx2
#define KERNEL_NAME         "avx2"
#define KERNEL_VECTOR_BYTES 32
#include "kernels_body.h"
