/* How matrix products are cut into blocks that stay in L2, and what is fetched into L2 for later meanwhile. Private to
 * src/ops; x86-64 only. */
#ifndef TANDEM_OPS_GEMM_BLOCKS_H
#define TANDEM_OPS_GEMM_BLOCKS_H

#include "gemm.h"
#include "gemm_share.h"
#include "masks.h"
#include "tandem/base.h"

/* ---- Packed weights: panels of 32 of n, in each all of k by 32, in blocks of 32 x 32 elements, padded with
 * zeros; or two panels of 16 for each, one after the other, with half of each block ---- */
enum { GEMM_BLOCK = GEMM_PIECE * GEMM_PIECE };

static inline size_t gemm_weight_bytes(int64_t k, int64_t n, size_t element_bytes)
{
    return (size_t)(ceil_div(n, GEMM_PIECE) * ceil_div(k, GEMM_PIECE)) * GEMM_BLOCK * element_bytes;
}

/* Where a block belongs; at NULL: not wanted. */
typedef struct gemm_place {
    void *at;
    int64_t half_step; /* bytes from its half in the first narrow panel to that in the second */
} gemm_place;

/* Packs 32 x 32 elements of f32 w, their rows row_step apart, of which rows x cols are there, for either
 * direction. May stream. */
typedef void gemm_pack_block(const float *w, int64_t row_step, int64_t rows, int64_t cols,
                             gemm_place along_cols, gemm_place along_rows);

/* Block `step` of the `steps` of k, of 32 columns of n, which are `narrow` panels, 1 or 2 */
static inline gemm_place gemm_place_of(void *packed, int64_t panel, int64_t steps, int64_t step, int narrow,
                                       size_t element_bytes)
{
    const int64_t bytes = (int64_t)(GEMM_BLOCK * element_bytes);
    if (!packed) return (gemm_place){NULL, 0};
    return (gemm_place){(unsigned char *)packed + (panel * steps * narrow + step) * bytes / narrow,
                        steps * bytes / narrow};
}

static inline __attribute__((always_inline)) void gemm_pack_blocks(int64_t rows, int64_t cols,
                                                                   gemm_piece piece, const float *w,
                                                                   void *along_cols, void *along_rows,
                                                                   size_t element_bytes, int narrow,
                                                                   gemm_pack_block *pack)
{
    const int64_t row_blocks = ceil_div(rows, GEMM_PIECE), col_blocks = ceil_div(cols, GEMM_PIECE);
    for (int64_t i = piece.row_begin / GEMM_PIECE; i * GEMM_PIECE < piece.row_end; i++)
        for (int64_t j = piece.col_begin / GEMM_PIECE; j * GEMM_PIECE < piece.col_end; j++)
            pack(w + (i * cols + j) * GEMM_PIECE, cols, tdm_min_i64(GEMM_PIECE, rows - i * GEMM_PIECE),
                 tdm_min_i64(GEMM_PIECE, cols - j * GEMM_PIECE),
                 gemm_place_of(along_cols, i, col_blocks, j, narrow, element_bytes),
                 gemm_place_of(along_rows, j, row_blocks, i, narrow, element_bytes));
    _mm_sfence(); /* streaming stores are seen after it */
}

/* ---- Memory that is wanted in L2 later, in rows: fetched bit by bit while something else is multiplied ---- */
typedef struct wanted {
    const char *at, *row_end;
    int64_t row_bytes; /* of what is fetched of a row */
    int64_t next_row;  /* bytes from a row to the next */
    int64_t per_step;  /* lines fetched in a step of k */
    int64_t lines;     /* still to be fetched */
} wanted;

/* The two operands of what comes next. */
typedef struct wanted_pair {
    wanted a, b;
} wanted_pair;

/* row_bytes of each of `rows` rows that are next_row bytes apart, to be fetched in `steps` steps */
static inline wanted want(const void *x, int64_t rows, int64_t row_bytes, int64_t next_row, int64_t steps)
{
    const int64_t lines = ceil_div(row_bytes, 64);
    return (wanted){.at = x,
                    .row_end = (const char *)x + lines * 64,
                    .row_bytes = lines * 64,
                    .next_row = next_row,
                    .per_step = ceil_div(rows * lines, steps),
                    .lines = rows * lines};
}

static inline void fetch_some(wanted *w)
{
    for (int64_t i = 0; i < w->per_step && w->lines > 0; i++, w->lines--) {
        _mm_prefetch(w->at, _MM_HINT_T1);
        w->at += 64;
        if (w->at != w->row_end) continue;
        w->at += w->next_row - w->row_bytes;
        w->row_end += w->next_row;
    }
}

#endif
