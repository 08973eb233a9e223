/* Any CPU: compilers make two doubles a register where there are such. */
#include "significance_impl.h"

#include <string.h>

#define NAME  resample_kernel_generic
#define WIDTH 2
#include "resample_kernel.inc"
