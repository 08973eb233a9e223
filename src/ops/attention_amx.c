/* Attention on AMX tiles. Instructions: Intel 64 SDM vol. 2, TDPBF16PS, TILELOADD, LDTILECFG. */
#include "attention_pairs_body.h"

#include "amx_tiles.h"

/* Of the lower half of a block of 32, a single short block's rows are computed. */
static void begin_products(int64_t rows)
{
    amx_configure_tiles(rows < BLOCK ? (int)tdm_max_i64(rows - TILE, 1) : TILE);
}

static void end_products(void)
{
    _tile_release();
}

/* 32 columns */
static inline void multiply_block(left_rows left, right_words right, int64_t k_begin, int64_t k_end, float *c,
                                  int64_t c_step)
{
    amx_clear_sums();
    for (int64_t k = k_begin; k < k_end; k += BLOCK) {
        const uint16_t *a = left.at + k;
        const uint32_t *b = right.at + k / 2 * right.step;
        amx_operands now = {.upper = a,
                            .lower = a + TILE * left.step,
                            .right = {b, b + TILE},
                            .left_bytes = left.step * 2,
                            .right_bytes = right.step * 4};
        amx_multiply_step(now, (amx_operands){0});
    }
    amx_store_sums(c, c_step * 4);
}

/* All 32 rows, or those that begin_products has set. */
static void multiply(left_rows left, right_words right, int64_t rows, int64_t k_begin, int64_t k_end,
                     int64_t columns, float *c, int64_t c_step)
{
    (void)rows;
    for (int64_t column = 0; column < columns; column += BLOCK) {
        right_words part = {right.at + column, right.step};
        multiply_block(left, part, k_begin, k_end, c + column, c_step);
    }
}

const attention_pairs attention_amx = {
    .scratch_bytes = scratch_bytes, .forward = forward, .backward = backward};
