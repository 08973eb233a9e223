/* f32 matrix products on AVX-512: 14 x 32 sums, in 28 of the 32 vector registers, 14 cycles a k. The micro
 * kernel reaches 96 % of the peak from L2, on a core whose second hardware thread runs another program four
 * fifths (bench/RESULTS.md). */
#include "gemm_lanes.h"

enum {
    ROWS = 14,
    COLS = 32,
    LEFT = 16,            /* floats of a row of a packed left panel */
    UNROLL = 4,           /* k between two jumps */
    DEPTH = 1 << 20,      /* from L2 is fast enough */
    LEFT_BYTES = 1 << 20, /* packed left operand of a block at most */
    ROW_PANELS = 24       /* its panels at most */
};

/* (*low_sum, *high_sum) += (low, high) · *factor. The factor is broadcast by the multiplication itself: 28 such
 * instructions a k take fewer slots than as many and 14 broadcasts, which is 8 % on a core whose second
 * hardware thread runs another program. Compilers share one broadcast if they may choose. */
static inline __attribute__((always_inline)) void add_products(lanes *low_sum, lanes *high_sum, lanes low,
                                                               lanes high, const float *factor)
{
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(*low_sum) : "v"(low), "m"(*factor));
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(*high_sum) : "v"(high), "m"(*factor));
}

#include "gemm_body.h"

const gemm_backend gemm_avx512 = {
    .weight_bytes = weight_bytes,
    .pack_piece = pack_piece,
    .multiply_scratch_bytes = multiply_scratch_bytes,
    .multiply = multiply,
    .backward_weight_scratch_bytes = backward_weight_scratch_bytes,
    .backward_weight = backward_weight,
};
