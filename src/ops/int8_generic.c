/* Products in int8 by plain loops. */
#include "int8_rows.h"

enum { ROWS = 4 };

static int32_t quantise(tdm_dtype dtype, int64_t k, int64_t padded, const void *x, int8_t *out, float *scale,
                        float *middle)
{
    return int8_quantise(dtype, k, padded, x, out, scale, middle);
}

static void arrange(int64_t rows, int64_t padded, const int8_t *row, void *panel)
{
    int8_arrange_pairs(rows, ROWS, padded, row, panel);
}

static void multiply(int64_t padded, const int8_panel *panel, const void *right, int8_later later,
                     const int8_result *result)
{
    (void)later;
    int32_t sum[ROWS][INT8_COLS];
    const int16_t *left = panel->left, *weight = right;
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < INT8_COLS; c++) sum[r][c] = r < panel->rows ? panel->start[r] : 0;
    for (int64_t k = 0; k < padded; k += 2, left += 2 * ROWS, weight += 2 * INT8_COLS)
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < INT8_COLS; c++)
                sum[r][c] += left[2 * r] * weight[2 * c] + left[2 * r + 1] * weight[2 * c + 1];
    for (int64_t r = 0; r < panel->rows; r++) int8_finish_row(sum[r], panel, r, result);
}

const int8_kernel int8_kernel_generic = {
    .name = "generic",
    .rows = ROWS,
    .left_rows = ROWS,
    .value_bytes = 2,
    .quantise = quantise,
    .arrange = arrange,
    .multiply = multiply,
};
