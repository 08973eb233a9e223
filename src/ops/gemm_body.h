/* f32 matrix products on vectors: the loops around a micro kernel, the packing and the backend. Included by
 * gemm_avx512.c and gemm_avx2.c, which define ROWS, COLS, LEFT, UNROLL, DEPTH, LEFT_BYTES, ROW_PANELS and
 * add_products. A micro kernel holds ROWS x COLS sums in registers. For each k it loads two vectors of the
 * right panel, and multiplies them with one element of the left panel after the other:
 *
 *        left [k][LEFT], ROWS used           right [k][COLS]          sums [ROWS][COLS]
 *
 * Both panels are packed, each a stream. Around it are three loops, over a block of the result:
 *
 *     for each panel of COLS columns, while the next one and its part of the result come to L2
 *         for each stretch of k, DEPTH at most, if not all of k: as much of the panel as stays in L1
 *             for each panel of ROWS rows, which stay in L2: micro kernel, from the result into the result
 *
 * and around those, in words:
 *
 *     product           for each block of rows, for each chunk of k
 *                           pack them, multiply them with the packed weight
 *     weight gradient   for each chunk of tokens, which are k here
 *                           pack the right operand into memory
 *                           for each block of the left one's columns: pack them, multiply
 *
 * An element is summed in the order of k, whatever the sizes of blocks: the same bits on AVX2 and AVX-512.
 */
#include "gemm_blocks.h"
#include "gemm_sums.h"

#include <omp.h>
#include <string.h>

enum {
    STEP = 16,                  /* k between two looks at what to fetch into L2 */
    CHUNK = 1280,               /* k of a block at most */
    WHOLE = DEPTH >= CHUNK,     /* the only stretch of k is all of it */
    PAD = GEMM_PIECE,           /* to which k of a packed weight is rounded up */
    NARROW = GEMM_PIECE / COLS, /* panels of 32 columns of a packed weight */
    GROUP = 8,                  /* tokens packed of one panel before the next panel */
    RIGHT_PANELS = 128 * NARROW /* panels of a gradient's right operand packed at once: 20 MB */
};
_Static_assert(COLS == HALVES * LANES && (int)ROWS <= (int)LANES, "shape of the micro kernel");

/* ---- The micro kernel ---- */

/* s + left · right over k, a multiple of STEP */
static inline __attribute__((always_inline)) tile_sums multiply_panels(int64_t k, const float *left,
                                                                       const float *right, tile_sums s,
                                                                       wanted_pair *later)
{
    wanted_pair fetched = *later;
    for (int64_t p = 0; p < k; p += STEP) {
        fetch_some(&fetched.a);
        fetch_some(&fetched.b);
        for (int i = 0; i < STEP; i += UNROLL)
#pragma GCC unroll 16
            for (int u = 0; u < UNROLL; u++, left += LEFT, right += COLS) {
                const lanes low = load_aligned(right), high = load_aligned(right + LANES);
#pragma GCC unroll 14
                for (int r = 0; r < ROWS; r++) add_products(&s.at[r][0], &s.at[r][1], low, high, left + r);
                __asm__ volatile("" ::: "memory"); /* else compilers load ahead and spill sums */
            }
    }
    *later = fetched;
    return s;
}

/* All of them, past the caches; aligned. */
static inline void stream_sums(tile_sums s, float *c, int64_t row_step)
{
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) {
        stream_aligned(c + r * row_step, s.at[r][0]);
        stream_aligned(c + r * row_step + LANES, s.at[r][1]);
    }
}

/* All of them, in a tile of their own, [ROWS][COLS] */
static inline tile_sums load_tile(const float *tile)
{
    tile_sums s;
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) {
        s.at[r][0] = load_aligned(tile + r * COLS);
        s.at[r][1] = load_aligned(tile + r * COLS + LANES);
    }
    return s;
}

static inline void store_tile(tile_sums s, float *tile)
{
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) {
        store_aligned(tile + r * COLS, s.at[r][0]);
        store_aligned(tile + r * COLS + LANES, s.at[r][1]);
    }
}

/* ---- A block of a result ---- */

/* Some of k. */
typedef struct chunk {
    int64_t begin, count;
    int64_t padded; /* to a multiple of STEP: so many k are multiplied, the left operand's rest is zero */
} chunk;

/* k of every part of it but the last, which may be smaller: a multiple of STEP, at most `most` */
static int64_t part_of_k(int64_t k, int64_t most)
{
    return tdm_round_up(ceil_div(k, ceil_div(k, most)), STEP);
}
static int64_t chunk_size(int64_t k)
{
    return part_of_k(k, CHUNK);
}
static chunk chunk_at(int64_t k, int64_t begin)
{
    const int64_t count = tdm_min_i64(chunk_size(k), k - begin);
    return (chunk){begin, count, tdm_round_up(count, STEP)};
}

/* Floats of a left panel. Its rows are stored in order as whole vectors, and the last one reaches beyond it. */
static int64_t left_panel(int64_t k)
{
    return k * LEFT + LANES - LEFT;
}

/* Left panels of a block of `k`: LEFT_BYTES at most. */
static int64_t panels_of_block(int64_t k)
{
    return tdm_min_i64(LEFT_BYTES / (left_panel(k) * (int64_t)sizeof(float)), ROW_PANELS);
}

/* c[rows][cols] = left · right + bias, or c += left · right */
typedef struct block {
    int64_t k, rows, cols;
    const float *left;  /* [panels of rows][k][LEFT], left_panel(k) apart */
    const float *right; /* [panels of columns][k][COLS], panels right_step floats apart */
    int64_t right_step;
    float *c; /* rows c_step floats apart */
    int64_t c_step;
    bool add;
    bool stream; /* past the caches, where ROWS rows are full; c is aligned and cols a multiple of COLS */
    const float *bias; /* [cols], or NULL */
} block;

/* One stretch of k in one panel of columns. `first`: begins with what the block begins with; `last`: ends in
 * the result. Between two stretches the sums are in `tiles`, [ROW_PANELS][ROWS][COLS]. */
static inline __attribute__((always_inline)) void multiply_stretch(const block *b, int64_t col, int64_t begin,
                                                                   int64_t count, bool first, bool last,
                                                                   float *tiles, wanted_pair *later)
{
    const float *left = b->left + begin * LEFT, *right = b->right + col / COLS * b->right_step + begin * COLS;
    float *c = b->c + col;
    const int64_t cols = b->cols - col;
    for (int64_t row = 0; row < b->rows; row += ROWS, left += left_panel(b->k), c += ROWS * b->c_step) {
        const int64_t rows = b->rows - row;
        tile_sums s = !first   ? load_tile(tiles + row * COLS)
                      : b->add ? load_sums(c, b->c_step, rows, cols)
                               : repeat_row(b->bias ? b->bias + col : NULL, cols);
        s = multiply_panels(count, left, right, s, later);
        if (!last)
            store_tile(s, tiles + row * COLS);
        else if (b->stream && rows >= ROWS)
            stream_sums(s, c, b->c_step);
        else
            store_sums(s, c, b->c_step, rows, cols);
    }
}

static void multiply_block(const block *b)
{
    const int64_t size = sizeof(float), steps = ceil_div(b->rows, ROWS) * b->k / STEP;
    float tiles[WHOLE ? 1 : ROW_PANELS * ROWS * COLS] __attribute__((aligned(64)));
    for (int64_t col = 0; col < b->cols; col += COLS) {
        wanted_pair later = {
            .a = want(b->c + col + COLS, b->add ? b->rows : 0, COLS * size, b->c_step * size, steps),
            .b = want(b->right + (col / COLS + 1) * b->right_step, 1, b->k * COLS * size, 0, steps)};
        const int64_t stretch = part_of_k(b->k, DEPTH);
        if (WHOLE) /* said apart: one more loop around the micro kernel and GCC spills its sums */
            multiply_stretch(b, col, 0, b->k, true, true, tiles, &later);
        for (int64_t k = 0; !WHOLE && k < b->k; k += stretch) {
            const int64_t count = tdm_min_i64(stretch, b->k - k);
            multiply_stretch(b, col, k, count, k == 0, k + count == b->k, tiles, &later);
        }
    }
}

/* ---- Weights: [panels of COLS of n] [k, rounded up to 32] [COLS of n], padded with zeros ---- */

enum { PART = PAD * COLS }; /* floats of a block of 32 x 32 that belong to one panel */

/* 32 x 32 floats, their rows row_step apart -> [NARROW][32][COLS], the rows and columns that there are, the
 * rest zero */
static inline void copy_padded(const float *x, int64_t row_step, int64_t rows, int64_t cols, float *y)
{
    for (int64_t i = 0; i < PAD; i++, y += COLS)
        for (int64_t j = 0; j < GEMM_PIECE; j += LANES) {
            const lane_mask keep = first_lanes(i < rows ? cols - j : 0);
            const float *row = i < rows ? x + i * row_step + j : x;
            store_aligned(y + j / COLS * PART + j % COLS, load_lanes(keep, row));
        }
}

/* [NARROW][32 n][COLS of k] -> [NARROW][32 k][COLS of n] */
static inline void transpose_block(const float *x, float *y)
{
    for (int64_t n = 0; n < GEMM_PIECE; n += LANES)
        for (int64_t k = 0; k < GEMM_PIECE; k += LANES) {
            const float *from = x + k / COLS * PART + n * COLS + k % COLS;
            float *to = y + n / COLS * PART + k * COLS + n % COLS;
            lane_bits r[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) r[i] = load_bits_aligned(from + i * COLS);
            transpose_lanes(r);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) store_bits_aligned(to + i * COLS, r[i]);
        }
}

static inline void stream_block(const float *x, gemm_place place)
{
    for (int64_t part = 0; part < NARROW; part++) {
        float *y = (float *)((unsigned char *)place.at + part * place.half_step);
        for (int64_t i = 0; i < PART; i += LANES) stream_aligned(y + i, load_aligned(x + part * PART + i));
    }
}

static inline void pack_block(const float *w, int64_t row_step, int64_t rows, int64_t cols,
                              gemm_place along_cols, gemm_place along_rows)
{
    float plain[GEMM_BLOCK] __attribute__((aligned(64))), transposed[GEMM_BLOCK] __attribute__((aligned(64)));
    copy_padded(w, row_step, rows, cols, plain);
    if (along_rows.at) stream_block(plain, along_rows);
    if (!along_cols.at) return;
    transpose_block(plain, transposed);
    stream_block(transposed, along_cols);
}

static size_t weight_bytes(int64_t k, int64_t n)
{
    return gemm_weight_bytes(k, n, sizeof(float));
}

static void pack_piece(int64_t rows, int64_t cols, gemm_piece piece, const float *w, void *along_cols,
                       void *along_rows)
{
    gemm_pack_blocks(rows, cols, piece, w, along_cols, along_rows, sizeof(float), NARROW, pack_block);
}

/* ---- y = x · weight + bias ---- */

typedef struct product {
    int64_t k, n;
    const float *x, *weight, *bias;
    float *y;
    bool stream; /* y goes to memory past the caches */
} product;

/* k columns of `rows` rows of x, ROWS at most, that are row_step apart -> [padded][LEFT], the rest zero */
static void pack_rows(const float *x, int64_t row_step, int64_t rows, chunk k, float *left)
{
    for (int64_t p = 0; p < k.padded; p += LANES) {
        const lane_mask keep = first_lanes(k.count - p);
        lane_bits r[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            r[i] = zero_bits();
            if (i >= ROWS || i >= rows) continue;
            const float *from = x + i * row_step + k.begin + p;
            r[i] = load_bits(keep, from);
            _mm_prefetch((const char *)(from + ROWS * row_step), _MM_HINT_T0); /* of the next panel */
        }
        transpose_lanes(r);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) store_bits(left + (p + i) * LEFT, r[i]);
    }
}

/* Rows [row, row + rows) of y, panels of columns [col_begin, col_end). */
static void multiply_rows(const product *p, int64_t row, int64_t rows, int64_t col_begin, int64_t col_end,
                          float *left)
{
    const int64_t col = col_begin * COLS, panel = tdm_round_up(p->k, PAD) * COLS;
    for (int64_t begin = 0; begin < p->k; begin += chunk_size(p->k)) {
        const chunk k = chunk_at(p->k, begin);
        for (int64_t r = 0; r < rows; r += ROWS)
            pack_rows(p->x + (row + r) * p->k, p->k, rows - r, k, left + r / ROWS * left_panel(k.padded));
        const block b = {.k = k.padded,
                         .rows = rows,
                         .cols = tdm_min_i64(col_end * COLS, p->n) - col,
                         .left = left,
                         .right = p->weight + col_begin * panel + k.begin * COLS,
                         .right_step = panel,
                         .c = p->y + row * p->n + col,
                         .c_step = p->n,
                         .add = begin > 0,
                         .stream = p->stream,
                         .bias = p->bias ? p->bias + col : NULL};
        multiply_block(&b);
    }
}

static size_t multiply_scratch_bytes(int64_t k)
{
    (void)k;
    return LEFT_BYTES;
}

static void multiply(int threads, int64_t t, int64_t k, int64_t n, const void *x, const void *weight,
                     const float *bias, void *y, const tdm_scratch *scratch)
{
    const product p = {.k = k,
                       .n = n,
                       .x = x,
                       .weight = weight,
                       .bias = bias,
                       .y = y,
                       .stream = k <= CHUNK && gemm_streams(threads, y, t, n, COLS, sizeof(float))};
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num(), team = omp_get_num_threads();
        const gemm_share mine = gemm_share_of(thread, team, ceil_div(t, ROWS), ceil_div(n, COLS));
        const int64_t panels = mine.col_begin < mine.col_end ? mine.row_end - mine.row_begin : 0;
        const int64_t blocks = ceil_div(panels, panels_of_block(chunk_size(k)));
        for (int64_t i = 0; i < blocks; i++) {
            const gemm_share part = gemm_part(mine, blocks, 1, i, 0);
            const int64_t row = part.row_begin * ROWS, rows = tdm_min_i64(part.row_end * ROWS, t) - row;
            multiply_rows(&p, row, rows, part.col_begin, part.col_end, (float *)scratch[thread].base);
        }
        _mm_sfence();
    }
}

/* ---- c += a^T · b ---- */

typedef struct gradient {
    int64_t rows, cols;
    const float *a, *b;
    bool add;
    bool stream; /* c goes to memory past the caches */
    float *c, *a_sums, *b_sums;
} gradient;

/* What one thread works in: panels of a chunk of tokens. */
typedef struct gradient_scratch {
    float *left;  /* [panels of a block][padded][LEFT], left_panel(padded) apart */
    float *right; /* [RIGHT_PANELS][padded][COLS] */
} gradient_scratch;

/* LANES columns of `tokens` rows of x, or those of them that `keep` names and zeros, to rows of a panel. The
 * sums of the columns that `summed` names are added to sums, unless it is NULL. */
static inline void pack_columns(const float *x, int64_t width, int64_t tokens, lane_mask keep, float *panel,
                                int64_t panel_width, bool stream, float *sums, lane_mask summed)
{
    lanes sum = zero_lanes();
    for (int64_t s = 0; s < tokens; s++) {
        const lanes v = load_lanes(keep, x + s * width);
        _mm_prefetch((const char *)(x + (s + GROUP) * width), _MM_HINT_T0);
        if (stream)
            stream_aligned(panel + s * panel_width, v);
        else
            store_whole(panel + s * panel_width, v);
        sum = add_lanes(sum, v);
    }
    if (!sums) return;
    store_lanes(sums, summed, add_lanes(load_lanes(summed, sums), sum));
}

/* Panels [begin, end) of ROWS columns of a chunk of a. Rows in groups, so that memory is read in order; what a
 * panel's last columns hold beyond ROWS is never used. */
static void pack_left(const gradient *g, chunk tokens, int64_t begin, int64_t end, float *sums, float *left)
{
    for (int64_t s = 0; s < tokens.count; s += GROUP)
        for (int64_t i = begin; i < end; i++) {
            const int64_t cols = g->rows - i * ROWS;
            pack_columns(g->a + (tokens.begin + s) * g->rows + i * ROWS, g->rows,
                         tdm_min_i64(GROUP, tokens.count - s), first_lanes(cols),
                         left + (i - begin) * left_panel(tokens.padded) + s * LEFT, LEFT, false,
                         sums ? sums + i * ROWS : NULL, first_lanes(tdm_min_i64(ROWS, cols)));
        }
    for (int64_t i = 0; i < end - begin; i++)
        memset(left + i * left_panel(tokens.padded) + tokens.count * LEFT, 0,
               (size_t)((tokens.padded - tokens.count) * LEFT) * sizeof(float));
}

/* Panels [begin, end) of COLS columns of a chunk of b. They are more than the caches hold: written past them.
 */
static void pack_right(const gradient *g, chunk tokens, int64_t begin, int64_t end, float *sums, float *right)
{
    for (int64_t s = 0; s < tokens.count; s += GROUP)
        for (int64_t i = HALVES * begin; i < HALVES * end; i++) { /* halves of panels */
            const lane_mask keep = first_lanes(g->cols - i * LANES);
            pack_columns(g->b + (tokens.begin + s) * g->cols + i * LANES, g->cols,
                         tdm_min_i64(GROUP, tokens.count - s), keep,
                         right + ((i / HALVES - begin) * tokens.padded + s) * COLS + i % HALVES * LANES, COLS,
                         true, sums ? sums + i * LANES : NULL, keep);
        }
    for (int64_t j = 0; j < end - begin; j++)
        memset(right + (j * tokens.padded + tokens.count) * COLS, 0,
               (size_t)((tokens.padded - tokens.count) * COLS) * sizeof(float));
    _mm_sfence();
}

/* What a chunk of tokens adds to a share of the gradient. */
static void update_share(const gradient *g, gemm_share mine, chunk tokens, gradient_scratch s)
{
    const int64_t panels = mine.row_end - mine.row_begin,
                  blocks = ceil_div(panels, panels_of_block(tokens.padded));
    const int64_t col = mine.col_begin * COLS;
    pack_right(g, tokens, mine.col_begin, mine.col_end, mine.row_begin == 0 ? g->b_sums : NULL, s.right);
    for (int64_t i = 0; i < blocks; i++) {
        const gemm_share part = gemm_part(mine, blocks, 1, i, 0);
        const int64_t row = part.row_begin * ROWS;
        pack_left(g, tokens, part.row_begin, part.row_end, mine.col_begin == 0 ? g->a_sums : NULL, s.left);
        const block b = {.k = tokens.padded,
                         .rows = tdm_min_i64(part.row_end * ROWS, g->rows) - row,
                         .cols = tdm_min_i64(mine.col_end * COLS, g->cols) - col,
                         .left = s.left,
                         .right = s.right,
                         .right_step = tokens.padded * COLS,
                         .c = g->c + row * g->cols + col,
                         .c_step = g->cols,
                         .add = g->add || tokens.begin > 0,
                         .stream = g->stream};
        multiply_block(&b);
    }
}

static size_t backward_weight_scratch_bytes(void)
{
    return LEFT_BYTES + sizeof(float) * RIGHT_PANELS * CHUNK * COLS;
}

static void backward_weight(int threads, int64_t t, int64_t rows, int64_t cols, const void *a, const void *b,
                            bool add, float *c, float *a_sums, float *b_sums, const tdm_scratch *scratch)
{
    const gradient g = {.rows = rows,
                        .cols = cols,
                        .a = a,
                        .b = b,
                        .add = add,
                        .stream =
                            !add && t <= CHUNK && gemm_streams(threads, c, rows, cols, COLS, sizeof(float)),
                        .c = c,
                        .a_sums = a_sums,
                        .b_sums = b_sums};
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num(), team = omp_get_num_threads();
        const gradient_scratch s = {.left = (float *)scratch[thread].base,
                                    .right = (float *)(scratch[thread].base + LEFT_BYTES)};
        const gemm_share mine = gemm_share_of(thread, team, ceil_div(rows, ROWS), ceil_div(cols, COLS));
        const int64_t parts = ceil_div(mine.col_end - mine.col_begin, RIGHT_PANELS);
        for (int64_t part = 0; part < parts; part++)
            for (int64_t begin = 0; begin < t; begin += chunk_size(t))
                update_share(&g, gemm_part(mine, 1, parts, 0, part), chunk_at(t, begin), s);
        _mm_sfence();
    }
}
