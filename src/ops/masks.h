/* Private to src/ops; x86-64 only. */
#ifndef TANDEM_OPS_MASKS_H
#define TANDEM_OPS_MASKS_H

#include <immintrin.h>
#include <stdint.h>

/* The first `count` of 16 or 32 elements; none below 0, all above. */
static inline __mmask16 first_of_16(int64_t count)
{
    return (__mmask16)(count >= 16 ? 0xffffu : count <= 0 ? 0 : (1u << count) - 1);
}
static inline __mmask32 first_of_32(int64_t count)
{
    return count >= 32 ? 0xffffffffu : count <= 0 ? 0 : (1u << count) - 1;
}

#endif
