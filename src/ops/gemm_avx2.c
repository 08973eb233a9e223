/* f32 matrix products on AVX2: 6 x 16 sums, in 12 of the 16 vector registers, 6 cycles a k. */
#include "gemm_lanes.h"

enum {
    ROWS = 6,
    COLS = 16,
    LEFT = 6,               /* floats of a row of a packed left panel */
    UNROLL = 8,             /* k between two jumps */
    DEPTH = 320,            /* 20 KB of a right panel */
    LEFT_BYTES = 512 << 10, /* packed left operand of a block at most */
    ROW_PANELS = 40         /* its panels at most */
};

/* (*low_sum, *high_sum) += (low, high) · *factor. As assembly, since compilers that may choose registers copy
 * sums from one to the other. */
static inline void add_products(lanes *low_sum, lanes *high_sum, lanes low, lanes high, const float *factor)
{
    const lanes f = _mm256_broadcast_ss(factor);
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(*low_sum) : "x"(low), "x"(f));
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(*high_sum) : "x"(high), "x"(f));
}

#include "gemm_body.h"

const gemm_backend gemm_avx2 = {
    .weight_bytes = weight_bytes,
    .pack_piece = pack_piece,
    .multiply_scratch_bytes = multiply_scratch_bytes,
    .multiply = multiply,
    .backward_weight_scratch_bytes = backward_weight_scratch_bytes,
    .backward_weight = backward_weight,
};
