/* Any CPU: the twin of the vector kernels in plain C. Nothing is gained by it, so that it runs in tests only. */
#include "quick_impl.h"

#include <math.h>
#include <string.h>

typedef struct lane {
    float x;
} lane;
typedef struct word {
    int32_t x;
} word;
static inline lane lane_of(float x)
{
    return (lane){x};
}

static inline word dot_int16(word sum, word a, word b)
{
    int16_t x[2], y[2];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    return (word){sum.x + x[0] * y[0] + x[1] * y[1]};
}

static inline word dot_int8(word sum, word a, word b)
{
    int8_t x[4], y[4];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < 4; i++) sum.x += x[i] * y[i];
    return sum;
}

static inline void transpose(const float *const *row, int64_t k, lane v[4])
{
    for (int i = 0; i < 4; i++) v[i] = lane_of(row[0][k + i]);
}

#define NAME           eval_quick_kernel_generic
#define ISA_NAME       "generic"
#define FIRST          EVAL_F32
#define WIDTH          1
#define VECS           16
#define ROWS           4
#define INT            word
#define ILOAD(p)       (*(const word *)(p))
#define ISTORE(p, v)   (*(p) = (v).x)
#define ISET(p)        (*(const word *)(p))
#define DOT16(s, a, q) dot_int16(s, a, q)
#define DOT8(s, a, q)  dot_int8(s, a, q)
#define OFFSET         0
#define VEC            lane
#define ZERO()         lane_of(0.0F)
#define LOAD(p)        lane_of(*(p))
#define STORE(p, v)    (*(p) = (v).x)
#define BROADCAST(p)   lane_of(*(p))
#define FMA(a, b, c)   lane_of(fmaf((a).x, (b).x, (c).x))
#define MUL(a, b)      lane_of((a).x *(b).x)
#define ADD(a, b)      lane_of((a).x + (b).x)
#define SUB(a, b)      lane_of((a).x - (b).x)
#define TRANSPOSE      transpose
#define SUM(v)         ((v).x)
#define FLOATS(i)      lane_of((float)(i).x)
#define GREATER(a, b)  ((unsigned)((a).x > (b).x))
#define EQUAL(a, b)    ((unsigned)((a).x == (b).x))
#include "quick_kernel.inc"
