/* AMX tiles: what matrix products, attention and the measurement of the peak share. Private to src/ops;
 * x86-64 with TANDEM_HAVE_AMX. Instructions: Intel 64 SDM vol. 2, TDPBF16PS, TILELOADD, LDTILECFG; vol.
 * 1, 18.2. */
#ifndef TANDEM_OPS_AMX_TILES_H
#define TANDEM_OPS_AMX_TILES_H

#include <immintrin.h>
#include <stdint.h>

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

/* Transposes 16 x 16 dwords in registers: pairs of rows, of twos, of fours, of eights. */
static inline __attribute__((target("avx512f"))) void amx_transpose_dwords(__m512i r[16])
{
    __m512i s[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* r[i + j]: column j of each lane, rows i to i + 3 */
        r[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) { /* lanes: columns j, 4 + j, 8 + j, 12 + j */
        __m512i a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88),
                b = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        __m512i d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
        s[j] = _mm512_shuffle_i32x4(a, c, 0x88);
        s[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
        s[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
        s[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) r[i] = s[i];
}

#endif
