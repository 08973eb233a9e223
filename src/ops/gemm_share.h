/* How matrix products are cut into shares of threads. A panel is the rows or the columns of one micro kernel. Private to
 * src/ops. */
#ifndef TANDEM_OPS_GEMM_SHARE_H
#define TANDEM_OPS_GEMM_SHARE_H

#include "tandem/base.h"

static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* A result of which a thread writes more than this is written past the caches: most results are cold. */
enum { GEMM_STREAM_BYTES = 1 << 18 };

/* Whether y[rows][cols] is, in panels of panel_cols: each of their rows must be whole lines. */
static inline bool gemm_streams(int threads, const void *y, int64_t rows, int64_t cols, int64_t panel_cols,
                                int64_t element_bytes)
{
    return cols % panel_cols == 0 && (uintptr_t)y % 64 == 0 &&
           rows * cols * element_bytes / threads > GEMM_STREAM_BYTES;
}

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

#endif
