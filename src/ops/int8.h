/* Products in int8 for linear layers that only infer. Private to src/ops.
 *
 *     x[i] = z[i] + a[i]·X[i] + what is left over     each row ("token") by itself; z: the middle of its numbers,
 *                                                     a: the 127th part of what its farthest is off, |X| <= 127
 *     w[n] = b[n]·W[n] + what is left over            each output channel; b: the 127th part of its largest |w|
 *     y[i][n] = a[i]·b[n]·(X·W)[i][n] + (z[i]·c[n] + bias[n]),     c[n] = b[n] · the sum of W[n]
 *
 * X·W is a sum of integers. Each is less than 2^31 for k <= INT8_WIDEST, so that it is exact, and what is done to it
 * afterwards is products and sums that are each rounded to f32: every kernel gives the same bits, whatever the number of
 * rows, threads or the instruction set. What is left over is a/2 or b/2 at most. A row that is not finite, or its range,
 * is NaN altogether; where range and largest are below 2^-100, X is 0.
 *
 * Instructions that multiply bytes want one side unsigned. That is the weight: its integers are stored with 128 added,
 * and a row's sums begin with -128 times the sum of its X, which takes it out again. Sums wrap, hence nothing on the way
 * can overflow; none of the instructions that are used saturates. */
#ifndef TANDEM_OPS_INT8_H
#define TANDEM_OPS_INT8_H

#include "tandem/base.h"
#include "tandem/ops.h"

enum {
    INT8_COLS = 32,      /* channels of a panel of the packed weight */
    INT8_STEP = 64,      /* to which k is rounded up */
    INT8_WIDEST = 65536, /* k: 127·127·k < 2^31, and 255·127·k < 2^31 too */
    INT8_MOST_ROWS = 32  /* of a panel of the left operand */
};

/* A panel of rows, as the kernel's `arrange` leaves it. */
typedef struct int8_panel {
    const void *left;     /* [kernel->left_rows · padded · value_bytes] */
    const float *scale;   /* [rows] a */
    const float *middle;  /* [rows] z */
    const int32_t *start; /* [rows] what the sums begin with */
    int64_t rows;         /* that are there, kernel->rows at most */
} int8_panel;

/* Memory that is wanted in L2 after this product, to be fetched during it; a hint. */
typedef struct int8_later {
    const char *at;
    int64_t lines; /* of 64 bytes */
} int8_later;

/* Up to INT8_COLS columns of a panel's rows. */
typedef struct int8_result {
    tdm_dtype dtype;
    void *y;            /* rows `step` elements apart */
    int64_t step, cols; /* that are there */
    bool stream;        /* a hint: past the caches; y is aligned and all columns are there */
    const float *scale; /* [INT8_COLS] b */
    const float *sum;   /* [INT8_COLS] c */
    const float *bias;  /* [INT8_COLS] */
} int8_result;

typedef struct int8_kernel {
    const char *name;
    int64_t rows;        /* of a panel of the left operand */
    int64_t left_rows;   /* for which it has room */
    int64_t value_bytes; /* of a packed integer, left and right: 1, the weight's with 128 added; or 2 */
    /* out[padded] and *scale of x[k], of `dtype`; zeros beyond k. middle NULL: it is 0, as for weights. Returns the sum
     * of out. */
    int32_t (*quantise)(tdm_dtype dtype, int64_t k, int64_t padded, const void *x, int8_t *out, float *scale,
                        float *middle);
    /* Rows row[rows][padded] as a panel. NULL: they are one as they stand, [left_rows][padded]. */
    void (*arrange)(int64_t rows, int64_t padded, const int8_t *row, void *panel);
    void (*begin)(void), (*end)(void); /* around a thread's calls of multiply; NULL: nothing */
    /* right: [padded / 4][INT8_COLS][4] bytes, or [padded / 2][INT8_COLS][2] int16; aligned to 64 bytes, as `left`. */
    void (*multiply)(int64_t padded, const int8_panel *panel, const void *right, int8_later later,
                     const int8_result *result);
} int8_kernel;

extern const int8_kernel int8_kernel_generic;
#if defined(__x86_64__)
extern const int8_kernel int8_kernel_avx2;
extern const int8_kernel int8_kernel_vnni; /* AVX-512 with VNNI */
#endif
#if defined(TANDEM_HAVE_AMX)
extern const int8_kernel int8_kernel_amx; /* AMX-INT8, beside AVX-512 */
#endif

#endif
