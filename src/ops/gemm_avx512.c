/* f32 matrix products on AVX-512.
 *
 * Everything below is one micro kernel: 14 x 32 sums, in 28 of the 32 vector registers. For each k it loads
 * two vectors of the right panel and multiplies and adds 28 times (14 cycles), each time with one element of
 * the left panel, broadcast:
 *
 *        left [k][16], 14 used          right [k][32]          sums [14][32]
 *
 * Both panels are packed, each a stream of whole lines. Around it is one loop, over a block of the result:
 *
 *     for each panel of 32 columns, while the next one and its part of the result come to L2
 *         for each panel of 14 rows, which stay in L2: micro kernel, from the result into the result
 *
 * and around that, in words:
 *
 *     product           for each block of rows, for each chunk of k
 *                           pack them, multiply them with the packed weight
 *     weight gradient   for each chunk of tokens, which are k here
 *                           pack the right operand into memory
 *                           for each block of the left one's columns: pack them, multiply
 *
 * The micro kernel reaches 96 % of the peak from L2, on a core whose second hardware thread runs another
 * program four fifths (bench/RESULTS.md).
 */
#include "gemm_blocks.h"
#include "transpose.h"

#include <omp.h>
#include <string.h>

enum {
    ROWS = 14,            /* of the micro kernel */
    COLS = GEMM_PIECE,    /* likewise */
    VECTOR = 16,          /* floats of a vector */
    LEFT = VECTOR,        /* floats of a row of a packed left panel */
    STEP = 16,            /* k between two looks at what to fetch into L2 */
    CHUNK = 1280,         /* k of a block at most */
    LEFT_BYTES = 1 << 20, /* packed left operand of a block at most */
    ROW_PANELS = 24,      /* its panels at most */
    PAD = GEMM_PIECE,     /* to which k of a packed weight is rounded up */
    GROUP = 8,            /* tokens packed of one panel before the next panel */
    RIGHT_PANELS = 128    /* panels of a gradient's right operand packed at once: 20 MB */
};

/* ---- The micro kernel ---- */

typedef struct tile_sums {
    __m512 at[ROWS][2];
} tile_sums;

/* *sum += x · *factor. The factor is broadcast by the multiplication itself: 28 such instructions a k take
 * fewer slots than as many and 14 broadcasts, which is 8 % on a core whose second hardware thread runs
 * another program. Compilers share one broadcast if they may choose. */
static inline void add_product(__m512 *sum, __m512 x, const float *factor)
{
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(x), "m"(*factor));
}

/* s + left · right over k, a multiple of STEP */
static inline __attribute__((always_inline)) tile_sums multiply_panels(int64_t k, const float *left,
                                                                       const float *right, tile_sums s,
                                                                       wanted_pair *later)
{
    wanted_pair fetched = *later;
    for (int64_t p = 0; p < k; p += STEP) {
        fetch_some(&fetched.a);
        fetch_some(&fetched.b);
#pragma GCC unroll 2
        for (int i = 0; i < STEP; i++, left += LEFT, right += COLS) {
            const __m512 low = _mm512_load_ps(right), high = _mm512_load_ps(right + VECTOR);
#pragma GCC unroll 14
            for (int r = 0; r < ROWS; r++) {
                add_product(&s.at[r][0], low, left + r);
                add_product(&s.at[r][1], high, left + r);
            }
        }
    }
    *later = fetched;
    return s;
}

/* The same row 14 times; NULL: zeros. */
static inline tile_sums repeat_row(const float *row, int64_t cols)
{
    tile_sums s;
    for (int h = 0; h < 2; h++) {
        const __m512 v = row ? _mm512_maskz_loadu_ps(first_of_16(cols - h * VECTOR), row + h * VECTOR)
                             : _mm512_setzero_ps();
        for (int r = 0; r < ROWS; r++) s.at[r][h] = v;
    }
    return s;
}

/* Sums in rows of memory that are row_step floats apart, as many rows and columns as there are. */
static inline tile_sums load_sums(const float *c, int64_t row_step, int64_t rows, int64_t cols)
{
    const __mmask16 low = first_of_16(cols), high = first_of_16(cols - VECTOR);
    tile_sums s;
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) {
        s.at[r][0] = s.at[r][1] = _mm512_setzero_ps();
        if (r >= rows) continue;
        s.at[r][0] = _mm512_maskz_loadu_ps(low, c + r * row_step);
        s.at[r][1] = _mm512_maskz_loadu_ps(high, c + r * row_step + VECTOR);
    }
    return s;
}

static inline void store_sums(tile_sums s, float *c, int64_t row_step, int64_t rows, int64_t cols)
{
    const __mmask16 low = first_of_16(cols), high = first_of_16(cols - VECTOR);
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) {
        if (r >= rows) break;
        _mm512_mask_storeu_ps(c + r * row_step, low, s.at[r][0]);
        _mm512_mask_storeu_ps(c + r * row_step + VECTOR, high, s.at[r][1]);
    }
}

/* All of them, past the caches; aligned. */
static inline void stream_sums(tile_sums s, float *c, int64_t row_step)
{
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) {
        _mm512_stream_ps(c + r * row_step, s.at[r][0]);
        _mm512_stream_ps(c + r * row_step + VECTOR, s.at[r][1]);
    }
}

/* ---- A block of a result ---- */

/* Some of k. */
typedef struct chunk {
    int64_t begin, count;
    int64_t padded; /* to a multiple of STEP: so many k are multiplied, the left operand's rest is zero */
} chunk;

/* k of every chunk but the last, which may be smaller: a multiple of STEP */
static int64_t chunk_size(int64_t k)
{
    return tdm_round_up(ceil_div(k, ceil_div(k, CHUNK)), STEP);
}
static chunk chunk_at(int64_t k, int64_t begin)
{
    const int64_t count = tdm_min_i64(chunk_size(k), k - begin);
    return (chunk){begin, count, tdm_round_up(count, STEP)};
}

/* Left panels of a block of `k`: LEFT_BYTES at most. */
static int64_t panels_of_block(int64_t k)
{
    return tdm_min_i64(LEFT_BYTES / (k * LEFT * (int64_t)sizeof(float)), ROW_PANELS);
}

/* c[rows][cols] = left · right + bias, or c += left · right */
typedef struct block {
    int64_t k, rows, cols;
    const float *left;  /* [panels of rows][k][16] */
    const float *right; /* [panels of columns][k][32], panels right_step floats apart */
    int64_t right_step;
    float *c; /* rows c_step floats apart */
    int64_t c_step;
    bool add;
    bool stream;       /* past the caches, where 14 rows are full; c is aligned and cols a multiple of 32 */
    const float *bias; /* [cols], or NULL */
} block;

static void multiply_block(const block *b)
{
    const int64_t size = sizeof(float), steps = ceil_div(b->rows, ROWS) * b->k / STEP;
    for (int64_t col = 0; col < b->cols; col += COLS) {
        const float *left = b->left, *right = b->right + col / COLS * b->right_step;
        float *c = b->c + col;
        const int64_t cols = b->cols - col;
        wanted_pair later = {.a = want(c + COLS, b->add ? b->rows : 0, COLS * size, b->c_step * size, steps),
                             .b = want(right + b->right_step, 1, b->k * COLS * size, 0, steps)};
        for (int64_t row = 0; row < b->rows; row += ROWS, left += b->k * LEFT, c += ROWS * b->c_step) {
            const int64_t rows = b->rows - row;
            tile_sums s = b->add ? load_sums(c, b->c_step, rows, cols)
                                 : repeat_row(b->bias ? b->bias + col : NULL, cols);
            s = multiply_panels(b->k, left, right, s, &later);
            if (b->stream && rows >= ROWS)
                stream_sums(s, c, b->c_step);
            else
                store_sums(s, c, b->c_step, rows, cols);
        }
    }
}

/* ---- Weights: [ceil(n/32)] [k, rounded up to 32] [32 of n], padded with zeros ---- */

/* 32 x 32 floats, their rows row_step apart -> [32][32], the rows and columns that there are, the rest zero
 */
static inline void copy_padded(const float *x, int64_t row_step, int64_t rows, int64_t cols, float *y)
{
    for (int64_t i = 0; i < PAD; i++, y += COLS)
        for (int h = 0; h < 2; h++) {
            const __mmask16 keep = i < rows ? first_of_16(cols - h * VECTOR) : 0;
            const float *row = i < rows ? x + i * row_step + h * VECTOR : x;
            _mm512_store_ps(y + h * VECTOR, _mm512_maskz_loadu_ps(keep, row));
        }
}

/* [32 n][32 k] -> [32 k][32 n], by quarters of 16 x 16 */
static inline void transpose_block(const float *x, float *y)
{
    for (int q = 0; q < 4; q++) {
        const int64_t n = q / 2 * VECTOR, k = q % 2 * VECTOR;
        __m512i r[VECTOR];
#pragma GCC unroll 16
        for (int i = 0; i < VECTOR; i++) r[i] = _mm512_load_si512(x + (n + i) * COLS + k);
        transpose_dwords(r);
#pragma GCC unroll 16
        for (int i = 0; i < VECTOR; i++) _mm512_store_si512(y + (k + i) * COLS + n, r[i]);
    }
}

static inline void stream_block(const float *x, float *y)
{
    for (int64_t i = 0; i < GEMM_BLOCK; i += VECTOR) _mm512_stream_ps(y + i, _mm512_load_ps(x + i));
}

static inline void pack_block(const float *w, int64_t row_step, int64_t rows, int64_t cols, void *along_cols,
                              void *along_rows)
{
    float plain[GEMM_BLOCK] __attribute__((aligned(64))), transposed[GEMM_BLOCK] __attribute__((aligned(64)));
    copy_padded(w, row_step, rows, cols, plain);
    if (along_rows) stream_block(plain, along_rows);
    if (!along_cols) return;
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
    gemm_pack_blocks(rows, cols, piece, w, along_cols, along_rows, sizeof(float), pack_block);
}

/* ---- y = x · weight + bias ---- */

typedef struct product {
    int64_t k, n;
    const float *x, *weight, *bias;
    float *y;
    bool stream; /* y goes to memory past the caches */
} product;

/* k columns of `rows` rows of x, 14 at most, that are row_step apart -> [padded][16], the rest zero */
static void pack_rows(const float *x, int64_t row_step, int64_t rows, chunk k, float *left)
{
    for (int64_t p = 0; p < k.padded; p += VECTOR) {
        const __mmask16 keep = first_of_16(k.count - p);
        __m512i r[VECTOR];
#pragma GCC unroll 16
        for (int i = 0; i < VECTOR; i++) {
            r[i] = _mm512_setzero_si512();
            if (i < ROWS && i < rows) r[i] = _mm512_maskz_loadu_epi32(keep, x + i * row_step + k.begin + p);
        }
        transpose_dwords(r);
#pragma GCC unroll 16
        for (int i = 0; i < VECTOR; i++)
            if (p + i < k.padded) _mm512_store_si512(left + (p + i) * LEFT, r[i]);
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
            pack_rows(p->x + (row + r) * p->k, p->k, rows - r, k, left + r / ROWS * k.padded * LEFT);
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
    const bool aligned = n % COLS == 0 && (uintptr_t)y % 64 == 0;
    const product p = {.k = k,
                       .n = n,
                       .x = x,
                       .weight = weight,
                       .bias = bias,
                       .y = y,
                       .stream = aligned && k <= CHUNK && t * n * 4 / threads > GEMM_STREAM_BYTES};
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num(), team = omp_get_num_threads();
        const gemm_share mine = gemm_share_of(thread, team, ceil_div(t, ROWS), ceil_div(n, COLS));
        const int64_t blocks = ceil_div(mine.row_end - mine.row_begin, panels_of_block(chunk_size(k)));
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
    float *c, *a_sums, *b_sums;
} gradient;

/* What one thread works in: panels of a chunk of tokens. */
typedef struct gradient_scratch {
    float *left;  /* [panels of a block][padded][16] */
    float *right; /* [RIGHT_PANELS][padded][32] */
} gradient_scratch;

/* 16 columns of `tokens` rows of x, or those of them that `keep` names and zeros, to rows of a panel. The
 * sums of the columns that `summed` names are added to sums, unless it is NULL. */
static inline void pack_columns(const float *x, int64_t width, int64_t tokens, __mmask16 keep, float *panel,
                                int64_t panel_width, bool stream, float *sums, __mmask16 summed)
{
    __m512 sum = _mm512_setzero_ps();
    for (int64_t s = 0; s < tokens; s++) {
        const __m512 v = _mm512_maskz_loadu_ps(keep, x + s * width);
        if (stream)
            _mm512_stream_ps(panel + s * panel_width, v);
        else
            _mm512_store_ps(panel + s * panel_width, v);
        sum = _mm512_add_ps(sum, v);
    }
    if (!sums) return;
    _mm512_mask_storeu_ps(sums, summed, _mm512_add_ps(_mm512_maskz_loadu_ps(summed, sums), sum));
}

/* Panels [begin, end) of 14 columns of a chunk of a. Rows in groups, so that memory is read in order; what a
 * panel's last two columns hold is never used. */
static void pack_left(const gradient *g, chunk tokens, int64_t begin, int64_t end, float *sums, float *left)
{
    for (int64_t s = 0; s < tokens.count; s += GROUP)
        for (int64_t i = begin; i < end; i++) {
            const int64_t cols = g->rows - i * ROWS;
            pack_columns(g->a + (tokens.begin + s) * g->rows + i * ROWS, g->rows,
                         tdm_min_i64(GROUP, tokens.count - s), first_of_16(cols),
                         left + ((i - begin) * tokens.padded + s) * LEFT, LEFT, false,
                         sums ? sums + i * ROWS : NULL, first_of_16(tdm_min_i64(ROWS, cols)));
        }
    for (int64_t i = 0; i < end - begin; i++)
        memset(left + (i * tokens.padded + tokens.count) * LEFT, 0,
               (size_t)((tokens.padded - tokens.count) * LEFT) * sizeof(float));
}

/* Panels [begin, end) of 32 columns of a chunk of b. They are more than the caches hold: written past them.
 */
static void pack_right(const gradient *g, chunk tokens, int64_t begin, int64_t end, float *sums, float *right)
{
    for (int64_t s = 0; s < tokens.count; s += GROUP)
        for (int64_t i = 2 * begin; i < 2 * end; i++) { /* halves of panels */
            const __mmask16 keep = first_of_16(g->cols - i * VECTOR);
            pack_columns(g->b + (tokens.begin + s) * g->cols + i * VECTOR, g->cols,
                         tdm_min_i64(GROUP, tokens.count - s), keep,
                         right + ((i / 2 - begin) * tokens.padded + s) * COLS + i % 2 * VECTOR, COLS, true,
                         sums ? sums + i * VECTOR : NULL, keep);
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
                         .add = g->add || tokens.begin > 0};
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
    const gradient g = {
        .rows = rows, .cols = cols, .a = a, .b = b, .add = add, .c = c, .a_sums = a_sums, .b_sums = b_sums};
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
    }
}

const gemm_backend gemm_avx512 = {
    .weight_bytes = weight_bytes,
    .pack_piece = pack_piece,
    .multiply_scratch_bytes = multiply_scratch_bytes,
    .multiply = multiply,
    .backward_weight_scratch_bytes = backward_weight_scratch_bytes,
    .backward_weight = backward_weight,
};
