/* AMX's tiles in C with AVX-512 F, BW, DQ and VL, to the same bits: included by amx_tiles.h where TANDEM_EMULATE_BF16 is
 * defined, so that whatever is built on tiles runs and is tested on every CPU with AVX-512. What the processor refuses
 * ends here in SIGILL (there in SIGSEGV, where it is the configuration). Instructions: Intel 64 SDM vol. 2, LDTILECFG,
 * TILELOADD, TILESTORED, TDPBF16PS, TDPBSUD. */
#ifndef TANDEM_OPS_AMX_EMULATED_H
#define TANDEM_OPS_AMX_EMULATED_H

#include "bf16_dot.h"

#include <stdbool.h>
#include <string.h>

#define AMX_EMULATED static inline __attribute__((target(BF16_TARGET)))

/* Each file that uses tiles configures and releases its own. */
static _Thread_local struct {
    bool configured;
    struct {
        int rows, row_bytes;
        unsigned char row[16][64] __attribute__((aligned(64)));
    } tile[8];
} amx;

static inline void amx_demand(bool allowed)
{
    if (!allowed) __builtin_trap();
}

AMX_EMULATED void amx_release(void)
{
    memset(&amx, 0, sizeof amx);
}

/* Palette 1: bytes of a row are 16 bits each from byte 16 on, rows a byte each from byte 48 on. The other bytes are zero: a
 * start row, which is not used here, and reserved ones. */
AMX_EMULATED void amx_load_config(const void *config)
{
    const unsigned char *byte = config;
    amx_release();
    amx_demand(byte[0] == 1);
    for (int i = 1; i < 64; i++) amx_demand((i >= 16 && i < 32) || (i >= 48 && i < 56) || byte[i] == 0);
    for (int t = 0; t < 8; t++) {
        amx.tile[t].row_bytes = byte[16 + 2 * t] + 256 * byte[17 + 2 * t];
        amx.tile[t].rows = byte[48 + t];
        amx_demand(amx.tile[t].row_bytes <= 64 && amx.tile[t].rows <= 16);
        amx_demand((amx.tile[t].rows == 0) == (amx.tile[t].row_bytes == 0));
    }
    amx.configured = true;
}

AMX_EMULATED void amx_demand_tile(int t)
{
    amx_demand(amx.configured && amx.tile[t].rows > 0 && amx.tile[t].row_bytes % 4 == 0);
}

AMX_EMULATED void amx_zero(int t)
{
    amx_demand_tile(t);
    memset(amx.tile[t].row, 0, sizeof amx.tile[t].row);
}

AMX_EMULATED void amx_load(int t, const void *base, int64_t step)
{
    amx_zero(t);
    for (int r = 0; r < amx.tile[t].rows; r++)
        memcpy(amx.tile[t].row[r], (const char *)base + r * step, (size_t)amx.tile[t].row_bytes);
}

AMX_EMULATED void amx_store(int t, void *base, int64_t step)
{
    amx_demand_tile(t);
    for (int r = 0; r < amx.tile[t].rows; r++)
        memcpy((char *)base + r * step, amx.tile[t].row[r], (size_t)amx.tile[t].row_bytes);
}

/* Of full rows, the only ones that are used here. */
AMX_EMULATED void amx_demand_product(int c, int a, int b)
{
    amx_demand(amx.configured && c != a && c != b && a != b);
    amx_demand(amx.tile[c].rows == amx.tile[a].rows && amx.tile[b].rows == 16);
    amx_demand(amx.tile[a].row_bytes == 64 && amx.tile[b].row_bytes == 64 && amx.tile[c].row_bytes == 64);
}

/* c[16 rows][n] += sum over k of a[r][2k]·b[k][2n], plus the same of odd ones; each of these sums rounds after every
 * product, to the nearest, and denormal numbers are zeros before and after. */
AMX_EMULATED void amx_multiply_bf16(int c, int a, int b)
{
    enum { ZERO_DENORMALS = 0x8040, NO_EXCEPTIONS = 0x1f80 };
    const unsigned before = _mm_getcsr();
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
    unsigned char(*left)[64] = amx.tile[a].row, (*right)[64] = amx.tile[b].row, (*to)[64] = amx.tile[c].row;
    amx_demand_product(c, a, b);
    _mm_setcsr(ZERO_DENORMALS | NO_EXCEPTIONS);
    __asm__ volatile("" : "+r"(left), "+r"(right), "+r"(to) : : "memory"); /* arithmetic stays between */
    for (int r = 0; r < amx.tile[c].rows; r++) {
        __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
        for (int k = 0; k < 16; k++) {
            const __m512i x = bf16_repeat_pair(left[r] + (size_t)4 * (size_t)k),
                          y = _mm512_load_si512(right[k]);
            even = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
                                   _mm512_castsi512_ps(_mm512_slli_epi32(y, 16)), even);
            odd = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(x, upper)),
                                  _mm512_castsi512_ps(_mm512_and_si512(y, upper)), odd);
        }
        _mm512_store_ps(to[r], _mm512_add_ps(_mm512_load_ps(to[r]), _mm512_add_ps(even, odd)));
    }
    __asm__ volatile("" : : : "memory");
    _mm_setcsr(before);
}

/* c[r][n] += sum over k of a[r][k]·b[k/4][4n + k%4], a signed, b unsigned, modulo 2^32 */
AMX_EMULATED void amx_multiply_int8(int c, int a, int b)
{
    amx_demand_product(c, a, b);
    for (int r = 0; r < amx.tile[c].rows; r++)
        for (int n = 0; n < 16; n++) {
            unsigned char *at = amx.tile[c].row[r] + (size_t)4 * (size_t)n;
            uint32_t sum;
            memcpy(&sum, at, sizeof sum);
            for (int k = 0; k < 64; k++)
                sum += (uint32_t)((int8_t)amx.tile[a].row[r][k] * (int)amx.tile[b].row[k / 4][4 * n + k % 4]);
            memcpy(at, &sum, sizeof sum);
        }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbsud
#define _tile_loadconfig(config)    amx_load_config(config)
#define _tile_release()             amx_release()
#define _tile_zero(t)               amx_zero(t)
#define _tile_loadd(t, base, step)  amx_load(t, base, step)
#define _tile_stored(t, base, step) amx_store(t, base, step)
#define _tile_dpbf16ps(c, a, b)     amx_multiply_bf16(c, a, b)
#define _tile_dpbsud(c, a, b)       amx_multiply_int8(c, a, b)

#endif
