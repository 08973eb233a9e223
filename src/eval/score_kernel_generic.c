/* Any CPU: fmaf, which the C standard rounds once, so the bits equal those of the vector kernels. Compilers
 * turn it into vector instructions where the target has them (AArch64). */
#include "eval_impl.h"

#include <math.h>

typedef struct lane {
    float x;
} lane;
static inline lane lane_of(float x)
{
    return (lane){x};
}

#define NAME                   eval_kernel_generic
#define ISA_NAME               "generic"
#define VEC                    lane
#define WIDTH                  1
#define ROWS                   4
#define VECS                   16
#define ZERO()                 lane_of(0.0F)
#define LOAD(p)                lane_of(*(p))
#define STORE(p, v)            (*(p) = (v).x)
#define BROADCAST(p)           lane_of(*(p))
#define FMA(a, b, c)           lane_of(fmaf((a).x, (b).x, (c).x))
#define GREATER(a, b)          ((unsigned)((a).x > (b).x))
#define EQUAL(a, b)            ((unsigned)((a).x == (b).x))
#define COUNTS                 int32_t
#define LOAD_COUNTS(p)         (*(p))
#define STORE_COUNTS(p, c)     (*(p) = (c))
#define COUNT_GREATER(c, a, b) ((c) + ((a).x > (b).x))
#include "score_kernel.inc"
