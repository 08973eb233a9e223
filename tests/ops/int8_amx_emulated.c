/* The int8 products on AMX once more, with tile instructions written out in C: they are tested on CPUs that have none.
 * Linked before the library, this int8_kernel_amx stands in for its. Instructions: Intel 64 SDM vol. 2, TILELOADD,
 * TILESTORED, TILEZERO, TDPBSUD. */
#include "check.h"

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

enum { TILES = 8, TILE_ROWS = 16, ROW_BYTES = 64 };
static _Thread_local unsigned char tile[TILES][TILE_ROWS][ROW_BYTES];
static _Thread_local bool is_configured;

static void load_config(const void *config)
{
    const unsigned char *rows = (const unsigned char *)config + 48;
    for (int t = 0; t < TILES; t++) CHECK_EQ(rows[t], TILE_ROWS);
    is_configured = true;
}

static void clear(int t)
{
    CHECK_TRUE(is_configured);
    memset(tile[t], 0, sizeof tile[t]);
}

static void load(int t, const void *base, int64_t step)
{
    CHECK_TRUE(is_configured);
    for (int r = 0; r < TILE_ROWS; r++) memcpy(tile[t][r], (const char *)base + r * step, ROW_BYTES);
}

static void store(int t, void *base, int64_t step)
{
    for (int r = 0; r < TILE_ROWS; r++) memcpy((char *)base + r * step, tile[t][r], ROW_BYTES);
}

/* c[r][n] += sum over k of a[r][k]·b[k/4][4n + k%4], a signed, b unsigned, modulo 2^32 */
static void multiply_signed_by_unsigned(int c, int a, int b)
{
    CHECK_TRUE(is_configured);
    for (int r = 0; r < TILE_ROWS; r++)
        for (int n = 0; n < TILE_ROWS; n++) {
            uint32_t sum;
            memcpy(&sum, tile[c][r] + (size_t)4 * (size_t)n, sizeof sum);
            for (int k = 0; k < ROW_BYTES; k++)
                sum += (uint32_t)((int8_t)tile[a][r][k] * (int)tile[b][k / 4][4 * n + k % 4]);
            memcpy(tile[c][r] + (size_t)4 * (size_t)n, &sum, sizeof sum);
        }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbsud
#undef _tile_dpbf16ps
#define _tile_loadconfig(config)    load_config(config)
#define _tile_release()             ((void)(is_configured = false))
#define _tile_zero(t)               clear(t)
#define _tile_loadd(t, base, step)  load(t, base, step)
#define _tile_stored(t, base, step) store(t, base, step)
#define _tile_dpbsud(c, a, b)       multiply_signed_by_unsigned(c, a, b)
#define _tile_dpbf16ps(c, a, b)     ((void)0) /* other code of the shared header */

#include "int8_amx.c"
