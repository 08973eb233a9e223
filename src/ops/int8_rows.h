/* What kernels of int8 products share, compiled with the flags of each: quantisation, and plain ways to arrange a panel
 * and to finish sums. Products and sums of floats must be rounded one by one: compile with -ffp-contract=off. */
#ifndef TANDEM_OPS_INT8_ROWS_H
#define TANDEM_OPS_INT8_ROWS_H

#include "int8.h"

#include <math.h>
#include <string.h>

static inline float int8_value(tdm_dtype dtype, const void *x, int64_t i)
{
    float value;
    if (dtype == TDM_F32) return ((const float *)x)[i];
    const uint32_t bits = (uint32_t)((const uint16_t *)x)[i] << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

typedef struct int8_range {
    float low, high;
    bool is_finite;
} int8_range;

static inline __attribute__((always_inline)) int8_range int8_range_of(tdm_dtype dtype, int64_t k,
                                                                      const void *x)
{
    float low = INFINITY, high = -INFINITY, zero = 0.0F;
#pragma omp simd reduction(min : low) reduction(max : high) reduction(+ : zero)
    for (int64_t i = 0; i < k; i++) {
        const float value = int8_value(dtype, x, i);
        low = value < low ? value : low;
        high = value > high ? value : high;
        zero += value * 0.0F; /* NaN of what is not finite */
    }
    return (int8_range){low, high, zero == 0.0F};
}

static inline __attribute__((always_inline)) int32_t int8_round(tdm_dtype dtype, int64_t k, const void *x,
                                                                float middle, float inverse,
                                                                int8_t *restrict out)
{
    const float magic = 12582912.0F; /* 1.5·2^23: what is added to it is rounded to a whole, half to even */
    int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < k; i++) {
        const int32_t whole = (int32_t)(((int8_value(dtype, x, i) - middle) * inverse + magic) - magic);
        out[i] = (int8_t)whole;
        sum += whole;
    }
    return sum;
}

/* What X is made with; scale 0 or NaN: X is 0. */
typedef struct int8_scaling {
    float scale, middle, inverse;
} int8_scaling;

static inline int8_scaling int8_scaling_of(float low, float high, bool is_finite, bool about_middle)
{
    const float middle = about_middle ? low + (high - low) * 0.5F : 0.0F;
    /* to the farther end: the middle is rounded, in a narrow row far from halfway */
    const float half = high - middle > middle - low ? high - middle : middle - low;
    int8_scaling s = {.scale = half / 127.0F, .middle = middle, .inverse = 127.0F / half};
    if (half < 0x1p-100F) s.scale = 0.0F;
    if (!is_finite || !isfinite(half)) s.scale = NAN;
    return s;
}

static inline __attribute__((always_inline)) int32_t int8_quantise(tdm_dtype dtype, int64_t k, int64_t padded,
                                                                   const void *x, int8_t *out, float *scale,
                                                                   float *middle)
{
    const int8_range range = dtype == TDM_F32 ? int8_range_of(TDM_F32, k, x) : int8_range_of(TDM_BF16, k, x);
    const int8_scaling s = int8_scaling_of(range.low, range.high, range.is_finite, middle != NULL);
    *scale = s.scale;
    if (middle) *middle = s.middle;
    memset(out + k, 0, (size_t)(padded - k));
    if (!(s.scale > 0.0F)) {
        memset(out, 0, (size_t)k);
        return 0;
    }
    return dtype == TDM_F32 ? int8_round(TDM_F32, k, x, s.middle, s.inverse, out)
                            : int8_round(TDM_BF16, k, x, s.middle, s.inverse, out);
}

/* ---- Panels of int16: [padded / 2][left_rows][2] ---- */

static inline void int8_arrange_pairs(int64_t rows, int64_t left_rows, int64_t padded,
                                      const int8_t *restrict row, int16_t *restrict panel)
{
    for (int64_t r = 0; r < left_rows; r++)
        for (int64_t k = 0; k < padded; k += 2) {
            int16_t *pair = panel + (k / 2 * left_rows + r) * 2;
            pair[0] = r < rows ? row[r * padded + k] : 0;
            pair[1] = r < rows ? row[r * padded + k + 1] : 0;
        }
}

/* y of one row from its sums */
static inline void int8_finish_row(const int32_t *restrict sum, const int8_panel *panel, int64_t row,
                                   const int8_result *result)
{
    const float scale = panel->scale[row], middle = panel->middle[row];
    float y[INT8_COLS];
    for (int c = 0; c < INT8_COLS; c++)
        y[c] = (float)sum[c] * scale * result->scale[c] + (middle * result->sum[c] + result->bias[c]);
    if (result->dtype == TDM_F32) {
        memcpy((float *)result->y + row * result->step, y, sizeof(float) * (size_t)result->cols);
        return;
    }
    uint16_t *out = (uint16_t *)result->y + row * result->step;
    for (int64_t c = 0; c < result->cols; c++) out[c] = tdm_bf16_round(y[c]);
}

#endif
