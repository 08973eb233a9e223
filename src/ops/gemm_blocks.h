/* How matrix products are cut: into shares of threads, into blocks that stay in L2; and what is fetched into
 * L2 for later meanwhile. A panel is the rows or the columns of one micro kernel. Private to src/ops. */
#ifndef TANDEM_OPS_GEMM_BLOCKS_H
#define TANDEM_OPS_GEMM_BLOCKS_H

#include "gemm.h"
#include "masks.h"
#include "tandem/base.h"

static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* A result of which a thread writes more than this is written past the caches: most results are cold. */
enum { GEMM_STREAM_BYTES = 1 << 18 };

/* ---- Who computes what: panels of rows and columns ---- */
typedef struct gemm_share {
    int64_t row_begin, row_end, col_begin, col_end;
} gemm_share;

/* Part (row, col) of a share that is cut into row_parts x col_parts. */
static inline gemm_share gemm_part(gemm_share whole, int64_t row_parts, int64_t col_parts, int64_t row,
                                   int64_t col)
{
    const int64_t rows = whole.row_end - whole.row_begin, cols = whole.col_end - whole.col_begin;
    return (gemm_share){.row_begin = whole.row_begin + tdm_part_begin(rows, row_parts, row),
                        .row_end = whole.row_begin + tdm_part_begin(rows, row_parts, row + 1),
                        .col_begin = whole.col_begin + tdm_part_begin(cols, col_parts, col),
                        .col_end = whole.col_begin + tdm_part_begin(cols, col_parts, col + 1)};
}

/* Threads form a grid over the panels: the factorisation of `threads` whose largest share is smallest; on a
 * tie, the one with more parts of rows. */
static inline gemm_share gemm_share_of(int thread, int threads, int64_t row_panels, int64_t col_panels)
{
    int best = threads;
    int64_t best_size = INT64_MAX;
    for (int parts = threads; parts >= 1; parts--) {
        if (threads % parts) continue;
        int64_t size = ceil_div(row_panels, parts) * ceil_div(col_panels, threads / parts);
        if (size >= best_size) continue;
        best_size = size;
        best = parts;
    }
    return gemm_part((gemm_share){0, row_panels, 0, col_panels}, best, threads / best, thread % best,
                     thread / best);
}

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

/* ---- Memory that is wanted in L2 later, in rows: fetched bit by bit while something else is multiplied, and
 * a little beyond ---- */
typedef struct wanted {
    const char *at, *row_end;
    int64_t row_bytes; /* of what is fetched of a row */
    int64_t next_row;  /* bytes from a row to the next */
    int64_t per_step;  /* lines fetched in a step of k */
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
                    .per_step = ceil_div(rows * lines, steps)};
}

static inline void fetch_some(wanted *w)
{
    for (int64_t i = 0; i < w->per_step; i++) {
        _mm_prefetch(w->at, _MM_HINT_T1);
        w->at += 64;
        if (w->at != w->row_end) continue;
        w->at += w->next_row - w->row_bytes;
        w->row_end += w->next_row;
    }
}

#endif
