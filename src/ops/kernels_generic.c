/* The fused loops for any CPU; see folder.cmake for the flags. */
#define KERNEL_TABLE        ops_kernels_generic
#define KERNEL_NAME         "generic"
#define KERNEL_VECTOR_BYTES 16
#include "kernels_body.h"
