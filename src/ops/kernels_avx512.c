/* The fused loops for x86-64-v4 (AVX-512); see folder.cmake for the flags. */
#define KERNEL_TABLE        ops_kernels_avx512
#define KERNEL_NAME         "avx512"
#define KERNEL_VECTOR_BYTES 64
#include "kernels_body.h"
