/* bf16 matrix products on AVX512_BF16. Instruction: Intel 64 SDM vol. 2, VDPBF16PS, which adds to each of 16 f32 sums
 * the products of two pairs of bf16: a pair is a word of 32 bits, and everything is as in f32 with half as many k.
 *
 * Everything below is one micro kernel: 14 x 32 sums, in 28 of the 32 vector registers. For each pair of k it loads two
 * vectors of the right panel and multiplies 28 times, each time with one pair of the left panel, broadcast:
 *
 *        left, product             left, gradient            right                        sums [14][32]
 *        [step][14][16 k/2][2]     [step][16 k/2][16][2]     [step][2][16 k/2][16][2]
 *
 * Right panels are those of the tiles (gemm_pairs.h). A product's left panels are rows of x, copied so that 14 of them
 * are one stream; the gradient's are pairs of tokens, interleaved. Around it, in words:
 *
 *     product           for each block of rows: copy them, while the next block's come to L2
 *                           for each panel of 32 columns of the packed weight
 *                               for each panel of 14 rows, which stay in L2: micro kernel over all of k, round, store
 *     weight gradient   for each chunk of tokens, which are k here
 *                           pack the right operand into memory
 *                           for each block of the left one's columns: pack them
 *                               for each panel of columns, of rows: micro kernel, from the gradient into it
 */
#include "gemm_pairs.h"

#include <omp.h>

enum {
    ROWS = 14,                            /* of the micro kernel */
    VECTOR = 16,                          /* sums of a vector, words of a row of a gradient's left panel */
    PAIRS = STEP / 2,                     /* pairs of k of a step */
    PRODUCT_STEP_BYTES = ROWS * STEP * 2, /* of a product's left panel */
    GRADIENT_STEP_BYTES = PAIRS * VECTOR * 4, /* of a gradient's */
    RIGHT_STEP_BYTES = BLOCK * 2,             /* of a right panel */
    LEFT_BYTES = 1 << 19,                     /* left operand of a block, aimed at */
    ROW_PANELS = 24,                          /* its panels at most */
    FEWEST_PANELS = 4,                        /* and at least: so often is a weight read from further away */
    CHUNK_STEPS = 80,                         /* steps of a chunk of tokens at most */
    RIGHT_PANELS = 128                        /* panels of a gradient's right operand packed at once: 20 MB */
};

#include "gemm_sums.h"

/* ---- The micro kernel ---- */

/* s + left · right over `steps` steps. In a step of the left panel rows are row_bytes and pairs pair_bytes apart.
 *
 * Every second row's pair is broadcast by the multiplications themselves: all would be two loads a cycle and more, none
 * half as many instructions again, which a core feels whose second hardware thread runs another program. Where rows are
 * lines, the first pair of a step touches all of them: they are fetched into L1 during the step before. */
static inline __attribute__((always_inline)) tile_sums multiply_panels(
    const int row_bytes, const int pair_bytes, const int step_bytes, int64_t steps, const unsigned char *left,
    const uint16_t *right, tile_sums s, wanted_pair *later)
{
    wanted_pair fetched = *later;
    for (int64_t i = 0; i < steps; i++, left += step_bytes - PAIRS * pair_bytes, right += BLOCK / 2) {
        fetch_some(&fetched.a);
        fetch_some(&fetched.b);
#pragma GCC unroll 2
        for (int p = 0; p < PAIRS; p++, left += pair_bytes, right += 2 * VECTOR) {
            if (row_bytes == 64)
                _mm_prefetch((const char *)left + step_bytes + p * (row_bytes - pair_bytes), _MM_HINT_T0);
            const __m512i low = _mm512_load_si512(right), high = _mm512_load_si512(right + BLOCK / 2);
#pragma GCC unroll 14
            for (int r = 0; r < ROWS; r++) {
                const unsigned char *at = left + r * row_bytes;
                if (r % 2) {
                    s.at[r][0] = bf16_dot_pair(s.at[r][0], low, at);
                    s.at[r][1] = bf16_dot_pair(s.at[r][1], high, at);
                    continue;
                }
                const __m512i pair = bf16_repeat_pair(at);
                s.at[r][0] = bf16_dot(s.at[r][0], low, pair);
                s.at[r][1] = bf16_dot(s.at[r][1], high, pair);
            }
        }
    }
    *later = fetched;
    return s;
}

/* Rounded to bf16. stream: past the caches; y is aligned and cols a multiple of 32. */
static inline void store_rounded(tile_sums s, uint16_t *y, int64_t row_step, int64_t rows, int64_t cols,
                                 bool stream)
{
    const __mmask32 keep = first_of_32(cols);
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) {
        if (r >= rows) break;
        const __m512i rounded = bf16_round_both(s.at[r][1], s.at[r][0]);
        if (stream)
            _mm512_stream_si512((void *)(y + r * row_step), rounded);
        else
            _mm512_mask_storeu_epi16(y + r * row_step, keep, rounded);
    }
}

/* Panels of rows of a block whose left panels take panel_bytes each. */
static int64_t panels_of_block(int64_t panel_bytes)
{
    return tdm_max_i64(FEWEST_PANELS, tdm_min_i64(LEFT_BYTES / panel_bytes, ROW_PANELS));
}

/* ---- y = x · weight + bias ---- */

/* Some rows of x and panels of columns of the weight. */
typedef struct product_block {
    int64_t row, rows, col_begin, col_end;
} product_block;

/* The block's rows of x -> [panels][steps][14][32], zero beyond k. */
static void copy_rows(const pairs_product *p, product_block b, unsigned char *left)
{
    for (int64_t r = 0; r < b.rows; r++) {
        const uint16_t *x = p->x + (b.row + r) * p->k;
        unsigned char *to = left + r / ROWS * p->steps * PRODUCT_STEP_BYTES + r % ROWS * STEP * 2;
        for (int64_t k = 0; k < p->k; k += STEP, to += PRODUCT_STEP_BYTES)
            _mm512_store_si512(to, _mm512_maskz_loadu_epi16(first_of_32(p->k - k), x + k));
    }
}

/* `after` is the block that follows, which may be empty. */
static void multiply_block(const pairs_product *p, product_block b, product_block after, unsigned char *left)
{
    const int64_t panels = ceil_div(b.rows, ROWS), steps = panels * p->steps;
    wanted_pair later = {
        .a = want(p->x + after.row * p->k, 1, after.rows * p->k * 2, 0, steps * (b.col_end - b.col_begin))};
    copy_rows(p, b, left);
    for (int64_t j = b.col_begin; j < b.col_end; j++) {
        const uint16_t *right = p->weight + j * p->steps * BLOCK;
        const int64_t col = j * PANEL, cols = p->n - col;
        later.b = want(right + p->steps * BLOCK, 1, p->steps * RIGHT_STEP_BYTES, 0, steps);
        for (int64_t i = 0; i < panels; i++) {
            tile_sums s = repeat_row(p->bias ? p->bias + col : NULL, cols);
            s = multiply_panels(STEP * 2, 4, PRODUCT_STEP_BYTES, p->steps,
                                left + i * p->steps * PRODUCT_STEP_BYTES, right, s, &later);
            store_rounded(s, p->y + (b.row + i * ROWS) * p->n + col, p->n, b.rows - i * ROWS, cols,
                          p->stream);
        }
    }
}

static size_t multiply_scratch_bytes(int64_t k)
{
    const int64_t panel_bytes = ceil_div(k, STEP) * PRODUCT_STEP_BYTES;
    return (size_t)(panels_of_block(panel_bytes) * panel_bytes);
}

/* Block i of a share; an empty one behind the last. */
static product_block block_of(gemm_share mine, int64_t t, int64_t blocks, int64_t i)
{
    if (i >= blocks) return (product_block){0};
    const gemm_share part = gemm_part(mine, blocks, 1, i, 0);
    const int64_t row = part.row_begin * ROWS;
    return (product_block){row, tdm_min_i64(part.row_end * ROWS, t) - row, part.col_begin, part.col_end};
}

static void multiply(int threads, int64_t t, int64_t k, int64_t n, const void *x, const void *weight,
                     const float *bias, void *y, const tdm_scratch *scratch)
{
    const pairs_product p = pairs_product_of(threads, t, k, n, x, weight, bias, y);
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num(), team = omp_get_num_threads();
        const gemm_share mine = gemm_share_of(thread, team, ceil_div(t, ROWS), ceil_div(n, PANEL));
        const int64_t fit = panels_of_block(p.steps * PRODUCT_STEP_BYTES);
        const int64_t blocks =
            mine.col_begin < mine.col_end ? ceil_div(mine.row_end - mine.row_begin, fit) : 0;
        for (int64_t i = 0; i < blocks; i++)
            multiply_block(&p, block_of(mine, t, blocks, i), block_of(mine, t, blocks, i + 1),
                           scratch[thread].base);
        _mm_sfence(); /* streaming stores are seen after it */
    }
}

/* ---- c += a^T · b ---- */

typedef struct gradient {
    int64_t t, rows, cols;
    const uint16_t *a, *b;
    bool add;
    float *c, *a_sums, *b_sums;
} gradient;

/* What one thread works in: panels of a chunk of tokens. */
typedef struct gradient_scratch {
    unsigned char *left; /* [panels of a block][steps][16][16][2] */
    uint16_t *right;     /* [RIGHT_PANELS][steps][2][16][16][2] */
} gradient_scratch;

typedef struct chunk {
    int64_t token, tokens, steps;
} chunk;

/* 16 elements and the 16 of the row below to words; zeros where a row is missing or `keep` does not name them. */
static inline __m512i interleave_tokens(const uint16_t *x, int64_t width, int64_t tokens, __mmask16 keep)
{
    const __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(keep, x));
    if (tokens < 2) return even;
    const __m512i odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(keep, x + width));
    return _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
}

/* One step, 14 columns of `tokens` rows of a, 32 at most, `cols` of which there are; what a panel's last two columns hold
 * is never used. sums: [14], to which the columns' sums are added, or NULL. */
static inline void pack_left_step(const uint16_t *x, int64_t width, int64_t tokens, int64_t cols, float *sums,
                                  unsigned char *to)
{
    const __mmask16 keep = first_of_16(cols), summed = first_of_16(tdm_min_i64(cols, ROWS));
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t s = 0; s < STEP; s += 2, to += VECTOR * 4) {
        const __m512i words =
            s < tokens ? interleave_tokens(x + s * width, width, tokens - s, keep) : _mm512_setzero_si512();
        _mm512_store_si512(to, words);
        sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_slli_epi32(words, 16)));
        sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_and_si512(words, upper)));
    }
    if (sums) _mm512_mask_storeu_ps(sums, summed, _mm512_add_ps(_mm512_maskz_loadu_ps(summed, sums), sum));
}

/* Panels [begin, end) of 14 columns of a chunk of a. */
static void pack_left(const gradient *g, chunk k, int64_t begin, int64_t end, float *sums,
                      unsigned char *left)
{
    for (int64_t s = 0; s < k.steps; s++)
        for (int64_t i = begin; i < end; i++) {
            const int64_t tokens = k.tokens - s * STEP;
            const uint16_t *x = g->a + (k.token + s * STEP) * g->rows + i * ROWS;
            if (tokens > STEP) prefetch_rows(x + STEP * g->rows, tdm_min_i64(STEP, tokens - STEP), g->rows);
            pack_left_step(x, g->rows, tdm_min_i64(STEP, tokens), g->rows - i * ROWS,
                           sums ? sums + i * ROWS : NULL,
                           left + ((i - begin) * k.steps + s) * GRADIENT_STEP_BYTES);
        }
}

/* Right panels are more than the caches hold: written past them. */
static inline void pack_right_streamed(const uint16_t *x, int64_t row_step, uint16_t *panel)
{
    pack_right(x, row_step, true, true, panel);
}

/* A block of the gradient: its left panels times all panels of columns of the share. */
static void add_block(const gradient *g, gemm_share part, chunk k, gradient_scratch s)
{
    const int64_t row = part.row_begin * ROWS, panels = part.row_end - part.row_begin,
                  steps = panels * k.steps;
    const bool add = g->add || k.token > 0;
    for (int64_t j = part.col_begin; j < part.col_end; j++) {
        const uint16_t *right = s.right + (j - part.col_begin) * k.steps * BLOCK;
        const int64_t col = j * PANEL, cols = g->cols - col;
        float *c = g->c + row * g->cols + col;
        wanted_pair later = {.a = want(c + PANEL, add ? tdm_min_i64(panels * ROWS, g->rows - row) : 0,
                                       PANEL * 4, g->cols * 4, steps),
                             .b = want(right + k.steps * BLOCK, 1, k.steps * RIGHT_STEP_BYTES, 0, steps)};
        for (int64_t i = 0; i < panels; i++, c += ROWS * g->cols) {
            const int64_t rows = g->rows - row - i * ROWS;
            tile_sums sums = add ? load_sums(c, g->cols, rows, cols) : repeat_row(NULL, cols);
            sums = multiply_panels(4, VECTOR * 4, GRADIENT_STEP_BYTES, k.steps,
                                   s.left + i * k.steps * GRADIENT_STEP_BYTES, right, sums, &later);
            store_sums(sums, c, g->cols, rows, cols);
        }
    }
}

/* What a chunk of tokens adds to a share of the gradient. */
static void update_share(const gradient *g, gemm_share mine, chunk k, gradient_scratch s)
{
    const int64_t panels = mine.row_end - mine.row_begin,
                  blocks = ceil_div(panels, panels_of_block(k.steps * GRADIENT_STEP_BYTES));
    pack_chunk(pack_right_streamed, g->b, g->t, g->cols, k.token, k.steps, mine.col_begin, mine.col_end,
               k.steps, s.right, mine.row_begin == 0 ? g->b_sums : NULL);
    _mm_sfence();
    for (int64_t i = 0; i < blocks; i++) {
        const gemm_share part = gemm_part(mine, blocks, 1, i, 0);
        pack_left(g, k, part.row_begin, part.row_end, mine.col_begin == 0 ? g->a_sums : NULL, s.left);
        add_block(g, part, k, s);
    }
}

_Static_assert((int)FEWEST_PANELS *CHUNK_STEPS *GRADIENT_STEP_BYTES <= (int)LEFT_BYTES,
               "room of a gradient's block");

static size_t backward_weight_scratch_bytes(void)
{
    return (size_t)LEFT_BYTES + (size_t)RIGHT_PANELS * CHUNK_STEPS * RIGHT_STEP_BYTES;
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
                        .c = c,
                        .a_sums = a_sums,
                        .b_sums = b_sums};
    const int64_t steps = ceil_div(t, STEP), chunk_steps = ceil_div(steps, ceil_div(steps, CHUNK_STEPS));
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num(), team = omp_get_num_threads();
        const gradient_scratch s = {.left = scratch[thread].base,
                                    .right = (uint16_t *)(scratch[thread].base + LEFT_BYTES)};
        const gemm_share mine = gemm_share_of(thread, team, ceil_div(rows, ROWS), ceil_div(cols, PANEL));
        const int64_t parts = ceil_div(mine.col_end - mine.col_begin, RIGHT_PANELS);
        for (int64_t part = 0; part < parts; part++)
            for (int64_t step = 0; step < steps; step += chunk_steps) {
                const int64_t token = step * STEP, count = tdm_min_i64(chunk_steps, steps - step);
                update_share(&g, gemm_part(mine, 1, parts, 0, part),
                             (chunk){token, tdm_min_i64(count * STEP, t - token), count}, s);
            }
    }
}

const gemm_backend gemm_avx512_bf16 = {
    .weight_bytes = pairs_weight_bytes,
    .pack_piece = pairs_pack_piece,
    .multiply_scratch_bytes = multiply_scratch_bytes,
    .multiply = multiply,
    .backward_weight_scratch_bytes = backward_weight_scratch_bytes,
    .backward_weight = backward_weight,
};
