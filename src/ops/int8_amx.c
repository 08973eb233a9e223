/* Products in int8 on AMX tiles: 32 x 32 sums in four tiles, 64 k a step (tdpbsud: signed by unsigned bytes). Left panels
 * are plain rows; the packed weight is the same as VNNI's. */
#include "amx_tiles.h"
#include "int8_finish.h"
#include "int8_rows.h"

enum { ROWS = 2 * TILE, WEIGHT_ROW = 4 * INT8_COLS, WEIGHT_STEP = INT8_STEP / 4 * WEIGHT_ROW };

static int32_t quantise(tdm_dtype dtype, int64_t k, int64_t padded, const void *x, int8_t *out, float *scale,
                        float *middle)
{
    return int8_kernel_vnni.quantise(dtype, k, padded, x, out, scale, middle);
}

/* The step of amx_tiles.h in bytes: tiles are cleared after their last use, and tile instructions kept apart. */
static inline __attribute__((target("amx-tile,amx-int8"))) void multiply_step(const int8_t *left,
                                                                              int64_t left_step,
                                                                              const char *right)
{
    _tile_loadd(4, left, left_step);
    amx_space();
    _tile_loadd(6, right, WEIGHT_ROW);
    amx_space();
    _tile_loadd(7, right + 64, WEIGHT_ROW);
    amx_space();
    _tile_dpbsud(0, 4, 6);
    amx_space();
    _tile_dpbsud(1, 4, 7);
    amx_space();
    _tile_zero(4);
    _tile_loadd(5, left + TILE * left_step, left_step);
    amx_space();
    _tile_dpbsud(2, 5, 6);
    amx_space();
    _tile_zero(6);
    _tile_dpbsud(3, 5, 7);
    amx_space();
    _tile_zero(5);
    _tile_zero(7);
}

static __attribute__((target("amx-tile,amx-int8"))) void multiply(int64_t padded, const int8_panel *panel,
                                                                  const void *right, int8_later later,
                                                                  const int8_result *result)
{
    int32_t sums[ROWS][INT8_COLS] __attribute__((aligned(64)));
    const int8_t *left = panel->left;
    const char *weight = right;
    amx_clear_sums();
    const int64_t per_step = (later.lines * INT8_STEP + padded - 1) / padded;
    const char *const later_end = later.at + later.lines * 64;
    for (int64_t k = 0; k < padded; k += INT8_STEP, left += INT8_STEP, weight += WEIGHT_STEP) {
        for (int64_t i = 0; i < per_step && later.at < later_end; i++, later.at += 64)
            _mm_prefetch(later.at, _MM_HINT_T1);
        multiply_step(left, padded, weight);
    }
    amx_store_sums((float *)(void *)sums, (int64_t)sizeof sums[0]);
    for (int64_t r = 0; r < panel->rows; r++) {
        const __m512i start = _mm512_set1_epi32(panel->start[r]);
        const __m512i sum[2] = {_mm512_add_epi32(_mm512_load_si512(sums[r]), start),
                                _mm512_add_epi32(_mm512_load_si512(sums[r] + TILE), start)};
        int8_finish(sum, panel, r, result);
    }
}

static void begin(void)
{
    amx_configure_tiles(TILE);
}

static __attribute__((target("amx-tile"))) void end(void)
{
    _tile_release();
    _mm_sfence(); /* streaming stores are seen after it */
}

const int8_kernel int8_kernel_amx = {
    .name = "amx",
    .rows = ROWS,
    .left_rows = ROWS,
    .value_bytes = 1,
    .quantise = quantise,
    .begin = begin,
    .end = end,
    .multiply = multiply,
};
