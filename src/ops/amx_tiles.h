/* AMX tiles: what matrix products, attention and the measurement of the peak share. Private to src/ops;
 * x86-64 with TANDEM_HAVE_AMX. Instructions: Intel 64 SDM vol. 2, TDPBF16PS, TILELOADD, LDTILECFG; vol.
 * 1, 18.2. Where TANDEM_EMULATE_BF16 is defined they are emulated. */
#ifndef TANDEM_OPS_AMX_TILES_H
#define TANDEM_OPS_AMX_TILES_H

#include <immintrin.h>
#include <stdint.h>

#if defined(TANDEM_EMULATE_BF16)
#include "amx_emulated.h"
#endif

enum { TILE = 16 }; /* rows of a tile, columns of a tile of sums */

/* The eight tiles of a micro kernel of 32 x 32 sums:
 *
 *      sums  | 0 1 |    left operand | 4 |    right operand | 6 7 |
 *            | 2 3 |                 | 5 |
 *
 * Rows of 64 bytes; 16 of them, or in tiles 2, 3 and 5 `lower_rows`, 1 … 16: the time of a multiplication is
 * that of the rows of its left operand. */
static inline __attribute__((target("amx-tile"))) void amx_configure_tiles(int lower_rows)
{
    struct { /* palette 1 */
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config __attribute__((aligned(64))) = {
        .palette = 1,
        .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
        .rows = {TILE, TILE, TILE, TILE, TILE, TILE, TILE, TILE},
    };
    config.rows[2] = config.rows[3] = config.rows[5] = (uint8_t)lower_rows;
    __asm__ volatile("" : : "r"(&config) : "memory"); /* GCC 12 thinks that the next reads 8 bytes only */
    _tile_loadconfig(&config);
}

/* What one step of k multiplies: 16 rows each at `upper` and `lower`, left_bytes apart, and 16 pairs of k by
 * 16 columns each at right[0] and right[1], their rows right_bytes apart. */
typedef struct amx_operands {
    const void *upper, *lower, *right[2];
    int64_t left_bytes, right_bytes;
} amx_operands;

/* Keeps tile instructions apart, see amx_multiply_step. */
static inline void amx_space(void)
{
    __asm__ volatile(".rept 8\n\tnop\n\t.endr");
}

/* Prefetches eight rows from row `first` on into L1, which keeps tile instructions apart as well; where
 * `rows` is NULL, that alone. */
static inline void amx_prefetch(const void *rows, int64_t row_bytes, int first)
{
    if (!rows) {
        amx_space();
        return;
    }
    const char *row = (const char *)rows + first * row_bytes;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        __asm__ volatile("prefetcht0 %0" : : "m"(row[i * row_bytes])); /* volatile: stays where it is */
}

/* 32 x 32 sums whose rows are row_bytes apart */
static inline __attribute__((target("amx-tile"))) void amx_load_sums(const float *c, int64_t row_bytes)
{
    const char *lower = (const char *)c + TILE * row_bytes;
    _tile_loadd(0, c, row_bytes);
    amx_space();
    _tile_loadd(1, c + TILE, row_bytes);
    amx_space();
    _tile_loadd(2, lower, row_bytes);
    amx_space();
    _tile_loadd(3, lower + TILE * sizeof(float), row_bytes);
    amx_space();
}
static inline __attribute__((target("amx-tile"))) void amx_store_sums(float *c, int64_t row_bytes)
{
    char *lower = (char *)c + TILE * row_bytes;
    _tile_stored(0, c, row_bytes);
    amx_space();
    _tile_stored(1, c + TILE, row_bytes);
    amx_space();
    _tile_stored(2, lower, row_bytes);
    amx_space();
    _tile_stored(3, lower + TILE * sizeof(float), row_bytes);
    amx_space();
}
static inline __attribute__((target("amx-tile"))) void amx_clear_sums(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

/* sums += left · right for 32 k. `next`: the operands of the step after it, if they may not be in L1.
 *
 * On a core whose second hardware thread runs another program, these eight tile instructions take 137 ns as
 * such, and 29 on a core of one's own. Clearing each tile after its last use and keeping tile instructions
 * apart makes that 58 and 29. The processor renames tiles, and it behaves as if two threads shared a small
 * stock of registers beyond the eight that have names: a cleared tile takes none (bench/amx_tiles_bench.c).
 */
static inline __attribute__((target("amx-tile,amx-bf16"))) void amx_multiply_step(amx_operands now,
                                                                                  amx_operands next)
{
    _tile_loadd(4, now.upper, now.left_bytes);
    amx_prefetch(next.upper, next.left_bytes, 0);
    _tile_loadd(6, now.right[0], now.right_bytes);
    amx_prefetch(next.upper, next.left_bytes, 8);
    _tile_loadd(7, now.right[1], now.right_bytes);
    amx_prefetch(next.right[0], next.right_bytes, 0);
    _tile_dpbf16ps(0, 4, 6);
    amx_prefetch(next.right[0], next.right_bytes, 8);
    _tile_dpbf16ps(1, 4, 7);
    amx_prefetch(next.right[1], next.right_bytes, 0);
    _tile_zero(4);
    _tile_loadd(5, now.lower, now.left_bytes);
    amx_prefetch(next.right[1], next.right_bytes, 8);
    _tile_dpbf16ps(2, 5, 6);
    amx_prefetch(next.lower, next.left_bytes, 0);
    _tile_zero(6);
    _tile_dpbf16ps(3, 5, 7);
    amx_prefetch(next.lower, next.left_bytes, 8);
    _tile_zero(5);
    _tile_zero(7);
}

#endif
