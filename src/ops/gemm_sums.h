/* The sums of a micro kernel of ROWS rows and two vectors: what is begun with, loaded and stored. Included where ROWS is
 * defined, by gemm_body.h and gemm_avx512_bf16.c. */
#ifndef TANDEM_OPS_GEMM_SUMS_H
#define TANDEM_OPS_GEMM_SUMS_H

#include "gemm_lanes.h"

enum { HALVES = 2 }; /* vectors of a row of sums, and of a right panel */

typedef struct tile_sums {
    lanes at[ROWS][HALVES];
} tile_sums;

/* The same row ROWS times; NULL: zeros. */
static inline tile_sums repeat_row(const float *row, int64_t cols)
{
    tile_sums s;
    for (int h = 0; h < HALVES; h++) {
        const lanes v = row ? load_lanes(first_lanes(cols - h * LANES), row + h * LANES) : zero_lanes();
#pragma GCC unroll 14
        for (int r = 0; r < ROWS; r++) s.at[r][h] = v;
    }
    return s;
}

/* Sums in rows of memory that are row_step floats apart, as many rows and columns as there are. */
static inline tile_sums load_sums(const float *c, int64_t row_step, int64_t rows, int64_t cols)
{
    const lane_mask low = first_lanes(cols), high = first_lanes(cols - LANES);
    tile_sums s;
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) {
        s.at[r][0] = s.at[r][1] = zero_lanes();
        if (r >= rows) continue;
        s.at[r][0] = load_lanes(low, c + r * row_step);
        s.at[r][1] = load_lanes(high, c + r * row_step + LANES);
    }
    return s;
}

static inline void store_sums(tile_sums s, float *c, int64_t row_step, int64_t rows, int64_t cols)
{
    const lane_mask low = first_lanes(cols), high = first_lanes(cols - LANES);
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) {
        if (r >= rows) break;
        store_lanes(c + r * row_step, low, s.at[r][0]);
        store_lanes(c + r * row_step + LANES, high, s.at[r][1]);
    }
}

#endif
