/* bf16 matrix products on AMX tiles. Instructions: Intel 64 SDM vol. 2, TDPBF16PS, TILELOADD, LDTILECFG.
 *
 * A tile is 16 rows of 64 bytes. TDPBF16PS adds to 16 x 16 f32 sums the product of a left tile, 16 rows of 32
 * contiguous k, and a right tile, 16 rows of 16 columns where each element is a pair (k, k + 1):
 *
 *        left [16 m][32 k]          right [16 k/2][16 n][2]           sums [16 m][16 n]
 *      m0  k0 k1 k2 … k31        k0k1   n0:k0 k1  n1:k0 k1 …
 *      m1  k0 k1 k2 … k31        k2k3   n0:k2 k3  n1:k2 k3 …
 *
 * Everything below is one micro kernel: 32 x 32 sums, held in four tiles, plus a panel of 32 rows times a
 * panel of 32 columns. Of the eight tiles, four hold sums and two hold each operand; per step of 32 k it
 * loads four tiles (4 KB) and multiplies four times (64 cycles). Around it, in words:
 *
 *     product           for each block of rows (its left operand stays in L2)
 *                           for each panel of 32 columns
 *                               for each panel of 32 rows: micro kernel over all of k
 *                               every second panel of columns: round two tiles of sums, store rows of 64 bf16
 *     weight gradient   for each block of the gradient (its sums stay in L2), k being tokens
 *                           for each chunk of tokens
 *                               pack the block's part of both operands into panels
 *                               for each panel of columns, of rows: micro kernel over the chunk,
 *                                   while the next chunk's part comes to L2
 *                           add the sums to the gradient
 *
 * What decides the speed: four tile loads and four multiplications a step, 64 cycles where everything is in
 * L1 and the core is one's own (amx_multiply_step says what else there is to it). Both panels come from L2,
 * which makes it 90 to 100; hence the next step is prefetched into L1, and what comes from further away (the
 * next panel of a weight, the next chunk of tokens) into L2. Cutting k so that one panel stays in L1 gains
 * there what it loses on storing and reloading sums. Memory comes next: 64-byte pieces of rows written
 * through the caches reach 2.4 GB/s, streaming stores of pairs of lines 15 GB/s. The weight gradient is one
 * third faster with its operands packed again for every block than with a packed copy shared through memory.
 * What gained nothing is listed in bench/RESULTS.md.
 */
#include "amx_tiles.h"
#include "gemm_pairs.h"
#include "tandem/base.h"

#include <omp.h>
#include <string.h>

enum {
    LEFT_BYTES = 1 << 20, /* left operand of a block of rows, aimed at */
    ROW_PANELS = 16,      /* panels of a block of rows at most: their sums are 64 KB */
    BLOCK_TILES = 160,    /* tiles of 32 x 32 sums of a block of the gradient at most: 640 KB */
    BLOCK_PANELS = 24,    /* its panels in each direction at most */
    CHUNK_STEPS = 6       /* steps of a chunk of tokens, packed at once */
};

/* ---- Tiles ---- */

/* bias: 32 values, or NULL for zero */
static inline void start_sums(const float *bias)
{
    if (bias)
        amx_load_sums(bias, 0); /* the same row 16 times */
    else
        amx_clear_sums();
}

/* A panel of the left operand: 32 rows. Plain: rows of a row-major matrix. Packed: [step][32 rows][32 k]. */
typedef struct left_panel {
    const uint16_t *at;
    int64_t row_step;  /* elements between rows */
    int64_t next_step; /* elements between steps of k */
} left_panel;

/* sums += left · right over `steps` steps of k */
static inline void multiply_panels(int64_t steps, left_panel left, const uint16_t *right, wanted_pair *later)
{
    const uint16_t *upper = left.at, *lower = left.at + TILE * left.row_step;
    wanted_pair fetched = *later;
    for (int64_t i = 0; i < steps; i++) {
        amx_operands now = {.upper = upper,
                            .lower = lower,
                            .right = {right, right + BLOCK / 2},
                            .left_bytes = left.row_step * 2,
                            .right_bytes = 64};
        upper += left.next_step;
        lower += left.next_step;
        right += BLOCK;
        amx_operands next = now;
        next.upper = upper, next.lower = lower;
        next.right[0] = right, next.right[1] = right + BLOCK / 2;
        amx_multiply_step(now, next);
        fetch_some(&fetched.a);
        fetch_some(&fetched.b);
    }
    *later = fetched;
}

/* ---- Packing the left operand of the weight gradient ---- */

/* Four 8-element pieces of rows 8 apart, one per lane. */
static inline __m512i load_lanes(const uint16_t *x, int64_t row_step)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)x));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(x + 8 * row_step)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(x + 16 * row_step)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(x + 24 * row_step)), 3);
}

/* 32 x 32 elements [k][m] -> one step of a left panel, [32 m][32 k]. Eight columns at a time: lane l of
 * register i holds row 8 l + i, so that transposing 8 x 8 within lanes gives whole rows of the panel. */
static inline void pack_left(const uint16_t *x, int64_t row_step, uint16_t *panel)
{
    for (int g = 0; g < 4; g++) {
        __m512i r[8], s[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) r[i] = load_lanes(x + g * 8 + i * row_step, row_step);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) { /* rows 2i, 2i + 1: columns 0 to 3 | 4 to 7 */
            s[i] = _mm512_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
            s[4 + i] = _mm512_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) { /* rows 0 to 3 | 4 to 7, columns 2i, 2i + 1 */
            const __m512i *a = s + i / 2 * 4;
            r[i] = i % 2 ? _mm512_unpackhi_epi32(a[0], a[1]) : _mm512_unpacklo_epi32(a[0], a[1]);
            r[4 + i] = i % 2 ? _mm512_unpackhi_epi32(a[2], a[3]) : _mm512_unpacklo_epi32(a[2], a[3]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            _mm512_store_si512(panel + (g * 8 + 2 * i) * 32, _mm512_unpacklo_epi64(r[i], r[4 + i]));
            _mm512_store_si512(panel + (g * 8 + 2 * i + 1) * 32, _mm512_unpackhi_epi64(r[i], r[4 + i]));
        }
    }
}

/* Likewise of the right one; add_tile puts the columns in order. */
static inline void pack_right_mixed(const uint16_t *x, int64_t row_step, uint16_t *panel)
{
    pack_right(x, row_step, false, false, panel);
}

/* Out of line: the loop around it has no registers to spare. */
static __attribute__((noinline)) void pack_side(bool is_left, const uint16_t *x, int64_t t, int64_t width,
                                                int64_t token, int64_t steps, int64_t begin, int64_t end,
                                                uint16_t *packed, float *sums)
{
    if (is_left)
        pack_chunk(pack_left, x, t, width, token, steps, begin, end, CHUNK_STEPS, packed, sums);
    else
        pack_chunk(pack_right_mixed, x, t, width, token, steps, begin, end, CHUNK_STEPS, packed, sums);
}

/* ---- y = x · weight + bias ---- */

/* What one thread works in. */
typedef struct product_scratch {
    float *even; /* [ROW_PANELS][32][32] finished sums of an even panel of columns, kept for its neighbour */
    float *odd[2];  /* [32][32] finished sums of an odd panel: one being rounded while the next is made */
    float *bias;    /* [32] of the current panel, padded */
    uint16_t *left; /* [rows of a block][steps · 32], where x cannot be read in place */
} product_scratch;

/* Panels of rows per block: the left operand takes LEFT_BYTES at most. */
static int64_t rows_of_block(int64_t steps)
{
    int64_t fit = LEFT_BYTES / (steps * BLOCK * 2);
    return fit < 4 ? 4 : tdm_min_i64(fit, ROW_PANELS);
}

static size_t product_scratch_bytes(int64_t steps)
{
    return (ROW_PANELS + 2) * BLOCK * sizeof(float) + PANEL * sizeof(float) +
           (size_t)(rows_of_block(steps) * steps) * BLOCK * sizeof(uint16_t);
}

static product_scratch carve_product_scratch(unsigned char *memory)
{
    product_scratch s;
    s.even = (float *)memory;
    s.odd[0] = s.even + ROW_PANELS * BLOCK;
    s.odd[1] = s.odd[0] + BLOCK;
    s.bias = s.odd[1] + BLOCK;
    s.left = (uint16_t *)(s.bias + PANEL);
    return s;
}

/* Finished sums of 32 rows and two panels of columns on their way to y. */
typedef struct rounding {
    const float *even, *odd; /* NULL: none */
    uint16_t *y;
    int64_t rows, cols;
} rounding;

static inline __m512i round_row(const float *sums)
{
    return bf16_round_both(_mm512_load_ps(sums + TILE), _mm512_load_ps(sums));
}

/* Rounds to bf16 and stores. Called one micro kernel late: its vector instructions then run beside the tile
 * multiplications, which the processor has queued by that time. */
static inline void round_sums(rounding r, const pairs_product *p)
{
    if (!r.even) return;
    if (p->stream && r.cols == 2 * PANEL) {
        for (int64_t i = 0; i < r.rows; i++) {
            _mm512_stream_si512((void *)(r.y + i * p->n), round_row(r.even + i * PANEL));
            _mm512_stream_si512((void *)(r.y + i * p->n + PANEL), round_row(r.odd + i * PANEL));
        }
        return;
    }
    __mmask32 even = first_of_32(r.cols), odd = first_of_32(r.cols - PANEL);
    for (int64_t i = 0; i < r.rows; i++) {
        _mm512_mask_storeu_epi16(r.y + i * p->n, even, round_row(r.even + i * PANEL));
        if (odd) _mm512_mask_storeu_epi16(r.y + i * p->n + PANEL, odd, round_row(r.odd + i * PANEL));
    }
}

/* The left operand of rows [row, row + rows): x itself, or a padded copy where rows or k are no multiple
 * of 32. */
static left_panel left_of_block(const pairs_product *p, int64_t row, int64_t rows, uint16_t *copy)
{
    const uint16_t *x = p->x + row * p->k;
    if (rows % PANEL == 0 && p->k % STEP == 0)
        return (left_panel){.at = x, .row_step = p->k, .next_step = STEP};
    int64_t width = p->steps * STEP, padded_rows = ceil_div(rows, PANEL) * PANEL;
    for (int64_t i = 0; i < padded_rows; i++) {
        int64_t filled = i < rows ? p->k : 0;
        if (filled) memcpy(copy + i * width, x + i * p->k, (size_t)filled * 2);
        memset(copy + i * width + filled, 0, (size_t)(width - filled) * 2);
    }
    finish_stores();
    return (left_panel){.at = copy, .row_step = width, .next_step = STEP};
}

/* 32 biases of a panel of columns; NULL without bias. A copy where the panel is not full. */
static const float *bias_of_panel(const pairs_product *p, int64_t col, float *copy)
{
    if (!p->bias || col + PANEL <= p->n) return p->bias ? p->bias + col : NULL;
    for (int64_t i = 0; i < PANEL; i++) copy[i] = col + i < p->n ? p->bias[col + i] : 0.0f;
    finish_stores();
    return copy;
}

typedef struct position {
    int64_t row, rows; /* of the block */
    int64_t j;         /* panel of columns */
    bool even, last;   /* first of a pair of panels; the block's last */
} position;

/* One panel of columns of a block of rows. Two panels are rounded together, panel i of the rows while the
 * processor multiplies panel i + 1; the last one is left in `waiting`. */
static void multiply_panel(const pairs_product *p, position at, left_panel block, product_scratch s,
                           rounding *waiting)
{
    const float *bias = bias_of_panel(p, at.j * PANEL, s.bias);
    const uint16_t *right = p->weight + at.j * p->steps * BLOCK;
    const int64_t row_panels = ceil_div(at.rows, PANEL);
    wanted_pair later = {
        .b = want(right + p->steps * BLOCK, 1, p->steps * BLOCK * 2, 0, row_panels * p->steps)};
    for (int64_t i = 0; i < row_panels; i++) {
        left_panel left = block;
        left.at += i * PANEL * left.row_step;
        start_sums(bias);
        multiply_panels(p->steps, left, right, &later);
        round_sums(*waiting, p);
        float *even = s.even + i * BLOCK, *odd = at.even ? NULL : s.odd[i % 2];
        amx_store_sums(at.even ? even : odd, PANEL * 4);
        waiting->even = NULL;
        if (at.even && !at.last) continue;
        int64_t col = (at.j - !at.even) * PANEL;
        *waiting = (rounding){.even = even,
                              .odd = odd,
                              .y = p->y + (at.row + i * PANEL) * p->n + col,
                              .rows = tdm_min_i64(PANEL, at.rows - i * PANEL),
                              .cols = tdm_min_i64(at.even ? PANEL : 2 * PANEL, p->n - col)};
    }
}

/* Rows [row, row + rows), panels of columns [col_begin, col_end). */
static void multiply_block(const pairs_product *p, int64_t row, int64_t rows, int64_t col_begin,
                           int64_t col_end, product_scratch s)
{
    left_panel block = left_of_block(p, row, rows, s.left);
    rounding waiting = {0};
    for (int64_t j = col_begin; j < col_end; j++) {
        position at = {
            .row = row, .rows = rows, .j = j, .even = (j - col_begin) % 2 == 0, .last = j == col_end - 1};
        multiply_panel(p, at, block, s, &waiting);
        if (!at.even || at.last) {
            round_sums(waiting, p);
            waiting.even = NULL;
        }
    }
}

static size_t multiply_scratch_bytes(int64_t k)
{
    return product_scratch_bytes(ceil_div(k, STEP));
}

static void multiply(int threads, int64_t t, int64_t k, int64_t n, const void *x, const void *weight,
                     const float *bias, void *y, const tdm_scratch *scratch)
{
    const pairs_product p = pairs_product_of(threads, t, k, n, x, weight, bias, y);
#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num(), team = omp_get_num_threads();
        const product_scratch s = carve_product_scratch(scratch[thread].base);
        gemm_share mine = gemm_share_of(thread, team, ceil_div(t, PANEL), ceil_div(n, PANEL));
        const int64_t blocks = ceil_div(mine.row_end - mine.row_begin, rows_of_block(p.steps));
        amx_configure_tiles(TILE);
        for (int64_t i = 0; i < blocks; i++) {
            const gemm_share part = gemm_part(mine, blocks, 1, i, 0);
            const int64_t row = part.row_begin * PANEL, rows = tdm_min_i64(part.row_end * PANEL, t) - row;
            multiply_block(&p, row, rows, part.col_begin, part.col_end, s);
        }
        _tile_release();
        _mm_sfence(); /* streaming stores are seen after it */
    }
}

/* ---- c += a^T · b ---- */

typedef struct gradient {
    int64_t t, rows, cols;
    const uint16_t *a, *b;
    bool add, stream; /* stream: c goes to memory past the caches */
    float *c, *a_sums, *b_sums;
} gradient;

/* What one thread works in. */
typedef struct gradient_scratch {
    float *sums;     /* [panels of columns][panels of rows][32][32] of a block, BLOCK_TILES at most */
    uint16_t *left;  /* chunk of a: [panels of rows][steps][32 m][32 k] */
    uint16_t *right; /* chunk of b: [panels of columns][steps][2][16 k/2][16 n][2] */
} gradient_scratch;

static const size_t gradient_scratch_bytes =
    (size_t)BLOCK * (BLOCK_TILES * sizeof(float) + 2 * BLOCK_PANELS * CHUNK_STEPS * sizeof(uint16_t));

/* c += or = the finished sums of one tile, whose columns pack_right left in another order */
static void add_tile(const gradient *g, int64_t i, int64_t j, const float *sums)
{
    const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i high = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    int64_t rows = tdm_min_i64(PANEL, g->rows - i * PANEL), cols = g->cols - j * PANEL;
    const __mmask16 keep_low = first_of_16(cols), keep_high = first_of_16(cols - 16);
    float *c = g->c + i * PANEL * g->cols + j * PANEL;
    for (int64_t r = 0; r < rows; r++, c += g->cols, sums += PANEL) {
        __m512 a = _mm512_load_ps(sums), b = _mm512_load_ps(sums + TILE);
        __m512 x = _mm512_permutex2var_ps(a, low, b), y = _mm512_permutex2var_ps(a, high, b);
        if (g->stream) {
            _mm512_stream_ps(c, x);
            _mm512_stream_ps(c + 16, y);
            continue;
        }
        if (g->add) {
            x = _mm512_add_ps(_mm512_maskz_loadu_ps(keep_low, c), x);
            y = _mm512_add_ps(_mm512_maskz_loadu_ps(keep_high, c + 16), y);
        }
        _mm512_mask_storeu_ps(c, keep_low, x);
        _mm512_mask_storeu_ps(c + 16, keep_high, y);
    }
}

/* The block's part of the chunk of tokens that begins at `token`, which may be none. */
static wanted_pair want_chunk(const gradient *g, gemm_share block, int64_t token, int64_t steps)
{
    const int64_t tokens = tdm_min_i64(CHUNK_STEPS * STEP, g->t - token);
    const int64_t row = block.row_begin * PANEL, rows = tdm_min_i64(block.row_end * PANEL, g->rows) - row;
    const int64_t col = block.col_begin * PANEL, cols = tdm_min_i64(block.col_end * PANEL, g->cols) - col;
    return (wanted_pair){.a = want(g->a + token * g->rows + row, tokens, rows * 2, g->rows * 2, steps),
                         .b = want(g->b + token * g->cols + col, tokens, cols * 2, g->cols * 2, steps)};
}

/* One block of the gradient over all tokens; `next` is the one after it. */
static void update_block(const gradient *g, gemm_share block, gemm_share next, gradient_scratch s)
{
    int64_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
    float *a_sums = block.col_begin == 0 ? g->a_sums : NULL,
          *b_sums = block.row_begin == 0 ? g->b_sums : NULL;
    for (int64_t token = 0; token < g->t; token += CHUNK_STEPS * STEP) {
        int64_t steps = tdm_min_i64(CHUNK_STEPS, ceil_div(g->t - token, STEP));
        pack_side(true, g->a, g->t, g->rows, token, steps, block.row_begin, block.row_end, s.left, a_sums);
        pack_side(false, g->b, g->t, g->cols, token, steps, block.col_begin, block.col_end, s.right, b_sums);
        const int64_t after = token + steps * STEP, work = rows * cols * steps;
        wanted_pair later = after < g->t ? want_chunk(g, block, after, work) : want_chunk(g, next, 0, work);
        for (int64_t j = 0; j < cols; j++)
            for (int64_t i = 0; i < rows; i++) {
                float *sums = s.sums + (j * rows + i) * BLOCK;
                left_panel left = {
                    .at = s.left + i * CHUNK_STEPS * BLOCK, .row_step = STEP, .next_step = BLOCK};
                if (token == 0)
                    start_sums(NULL);
                else
                    amx_load_sums(sums, PANEL * 4);
                multiply_panels(steps, left, s.right + j * CHUNK_STEPS * BLOCK, &later);
                amx_store_sums(sums, PANEL * 4);
            }
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            add_tile(g, block.row_begin + i, block.col_begin + j, s.sums + (j * rows + i) * BLOCK);
}

/* A share of the gradient and into how many parts its rows and columns are cut. */
typedef struct gradient_cut {
    gemm_share share;
    int64_t row_parts, col_parts;
} gradient_cut;

/* Such that each block fits the scratch and the operands, which are packed anew for every block, are packed
 * as rarely as can be. */
static gradient_cut cut_share(gemm_share share)
{
    const int64_t rows = share.row_end - share.row_begin, cols = share.col_end - share.col_begin;
    gradient_cut cut = {.share = share};
    if (rows == 0 || cols == 0) return cut;
    int64_t best = INT64_MAX;
    for (int64_t p = ceil_div(rows, BLOCK_PANELS); p <= rows; p++) {
        int64_t q = ceil_div(cols, tdm_min_i64(BLOCK_PANELS, BLOCK_TILES / ceil_div(rows, p)));
        int64_t packed = q * rows + p * cols;
        if (packed >= best) continue;
        best = packed;
        cut.row_parts = p;
        cut.col_parts = q;
    }
    return cut;
}

/* Block `i`; an empty one behind the last. */
static gemm_share block_of(gradient_cut cut, int64_t i)
{
    if (i >= cut.row_parts * cut.col_parts) return (gemm_share){0};
    return gemm_part(cut.share, cut.row_parts, cut.col_parts, i / cut.col_parts, i % cut.col_parts);
}

static size_t backward_weight_scratch_bytes(void)
{
    return gradient_scratch_bytes;
}

static void backward_weight(int threads, int64_t t, int64_t rows, int64_t cols, const void *a, const void *b,
                            bool add, float *c, float *a_sums, float *b_sums, const tdm_scratch *scratch)
{
    const gradient g = {.t = t,
                        .rows = rows,
                        .cols = cols,
                        .a = a,
                        .b = b,
                        .add = add,
                        .stream = !add && gemm_streams(threads, c, rows, cols, PANEL, sizeof(float)),
                        .c = c,
                        .a_sums = a_sums,
                        .b_sums = b_sums};
#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num(), team = omp_get_num_threads();
        gradient_scratch s;
        s.sums = (float *)scratch[thread].base;
        s.left = (uint16_t *)(s.sums + BLOCK_TILES * BLOCK);
        s.right = s.left + BLOCK_PANELS * CHUNK_STEPS * BLOCK;
        gemm_share mine = gemm_share_of(thread, team, ceil_div(rows, PANEL), ceil_div(cols, PANEL));
        const gradient_cut cut = cut_share(mine);
        amx_configure_tiles(TILE);
        for (int64_t i = 0; i < cut.row_parts * cut.col_parts; i++)
            update_block(&g, block_of(cut, i), block_of(cut, i + 1), s);
        _tile_release();
        _mm_sfence();
    }
}

const gemm_backend gemm_amx = {
    .weight_bytes = pairs_weight_bytes,
    .pack_piece = pairs_pack_piece,
    .multiply_scratch_bytes = multiply_scratch_bytes,
    .multiply = multiply,
    .backward_weight_scratch_bytes = backward_weight_scratch_bytes,
    .backward_weight = backward_weight,
};
