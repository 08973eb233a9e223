/* Attention on products of pairs of bf16, included by a file for each instruction that multiplies them.
 *
 * TDPBF16PS and VDPBF16PS multiply rows of contiguous k with pairs of k by columns. A right operand therefore
 * consists of 32-bit words that hold two neighbours in k. Scores lie with a query in each column:
 *
 *     product             left operand (rows)              right operand (words)
 *     S^T  = K Q^T        K    [key][dim]                  Q^T   [dim pair][query]    Q's words transposed
 *     dP^T = V dO^T       V    [key][dim]                  dO^T  [dim pair][query]    dO's words transposed
 *     O^T  = V^T P^T      V^T  [dim][key]   transposed     P^T   [key pair][query]    two rows interleaved
 *     dQ^T = K^T dS^T     K^T  [dim][key]   transposed     dS^T  [key pair][query]    two rows interleaved
 *     dV   = P^T dO       P^T  [key][query]                dO    [query pair][dim]    two rows interleaved
 *     dK   = dS^T Q       dS^T [key][query]                Q     [query pair][dim]    two rows interleaved
 *
 * so that the softmax of a query runs down one lane, and that nothing of the size of the scores is transposed. All
 * sizes are padded with zeros to multiples of 32. Forward goes by blocks of 32 queries, backward by blocks of 32 keys. */
#include "attention_pairs.h"

#include "bf16_dot.h"
#include "masks.h"
#include "transpose.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK = 32, /* queries or keys that are computed at once, and to a multiple of which memory is padded */
    LANES = 16, /* words of a vector */
    GROUP = ATTENTION_MASK_GROUP
};

/* A left operand: bf16 rows of `step` elements; a right one: rows of `step` words, one row per pair of k. */
typedef struct left_rows {
    const uint16_t *at;
    int64_t step;
} left_rows;
typedef struct right_words {
    const uint32_t *at;
    int64_t step;
} right_words;

/* What the including file defines.
 * c[rows][columns] = A[rows][k_begin … k_end) · B[k_begin … k_end)[columns]; k_begin a multiple of 32, rows 32 at most.
 * It may round rows, k_end and columns up to multiples of 32. begin_products says how many rows the products have that
 * follow, from 32 on any number; end_products ends them. */
static void begin_products(int64_t rows);
static void multiply(left_rows left, right_words right, int64_t rows, int64_t k_begin, int64_t k_end,
                     int64_t columns, float *c, int64_t c_step);
static void end_products(void);

/* 32 elements of a row of `width`, those beyond it zero. */
static inline __m512i load_part(const uint16_t *row, int64_t column, int64_t width)
{
    return _mm512_maskz_loadu_epi16(first_of_32(width - column), row + column);
}

/* to[padded rows][step] = from[rows][from_step], zero beyond. */
static void copy_rows(int64_t rows, int64_t width, const uint16_t *from, int64_t from_step, int64_t padded,
                      int64_t step, uint16_t *to)
{
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < step; column += 32)
            _mm512_store_si512(to + row * step + column, load_part(from + row * from_step, column, width));
    memset(to + rows * step, 0, sizeof(*to) * (size_t)((padded - rows) * step));
}

/* Two rows of 32 elements -> words of the first and of the last 16 columns, the second row in the upper halves. */
typedef struct pair_words {
    __m512i first, last;
} pair_words;
static inline pair_words interleave(__m512i even, __m512i odd)
{
    const __m512i first =
        _mm512_set_epi32(0x2f000f, 0x2e000e, 0x2d000d, 0x2c000c, 0x2b000b, 0x2a000a, 0x290009, 0x280008,
                         0x270007, 0x260006, 0x250005, 0x240004, 0x230003, 0x220002, 0x210001, 0x200000);
    const __m512i last = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    return (pair_words){_mm512_permutex2var_epi16(even, first, odd),
                        _mm512_permutex2var_epi16(even, last, odd)};
}

/* The same of two rows of 16 that a register holds one behind the other. */
static inline __m512i interleave_halves(__m512i rows)
{
    const __m512i order =
        _mm512_set_epi32(0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009, 0x180008,
                         0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
    return _mm512_permutexvar_epi16(order, rows);
}

/* words[padded/2][step]: element (2i, c) in the low and (2i + 1, c) in the high half. */
static void interleave_rows(int64_t rows, int64_t width, const uint16_t *from, int64_t from_step,
                            int64_t padded, int64_t step, uint32_t *words)
{
    int64_t pairs = (rows + 1) / 2;
    for (int64_t pair = 0; pair < pairs; pair++) {
        const uint16_t *even = from + 2 * pair * from_step;
        bool has_odd = 2 * pair + 1 < rows;
        for (int64_t column = 0; column < step; column += 32) {
            __m512i a = load_part(even, column, width);
            __m512i b = has_odd ? load_part(even + from_step, column, width) : _mm512_setzero_si512();
            const pair_words w = interleave(a, b);
            _mm512_store_si512(words + pair * step + column, w.first);
            _mm512_store_si512(words + pair * step + column + LANES, w.last);
        }
    }
    memset(words + pairs * step, 0, sizeof(*words) * (size_t)((padded / 2 - pairs) * step));
}

/* Words of 16 rows from `row` on, 32 columns from `column` on, transposed: word i of each row in block[i]. */
static inline __attribute__((always_inline)) void load_words(int64_t rows, int64_t width,
                                                             const uint16_t *from, int64_t from_step,
                                                             int64_t row, int64_t column,
                                                             __m512i block[LANES])
{
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        block[i] =
            row + i < rows ? load_part(from + (row + i) * from_step, column, width) : _mm512_setzero_si512();
    transpose_dwords(block);
}

/* words[step/2][padded]: word (d, row) = elements (2d, 2d + 1) of the row; zero beyond rows and width. */
static void transpose_rows(int64_t rows, int64_t width, const uint16_t *from, int64_t from_step,
                           int64_t padded, int64_t step, uint32_t *words)
{
    for (int64_t row = 0; row < padded; row += LANES)
        for (int64_t column = 0; column < step; column += 32) {
            __m512i block[LANES];
            load_words(rows, width, from, from_step, row, column, block);
            uint32_t *to = words + column / 2 * padded + row;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) _mm512_store_si512(to + i * padded, block[i]);
        }
}

/* to[step][padded]: the transpose; zero beyond rows and width. */
static void transpose_elements(int64_t rows, int64_t width, const uint16_t *from, int64_t from_step,
                               int64_t padded, int64_t step, uint16_t *to)
{
    const __m512i two = _mm512_set1_epi16(2), one = _mm512_set1_epi16(1);
    __m512i even = _mm512_setzero_si512(); /* 0, 2, 4 … 62 */
    for (int i = 1; i < 32; i++) {
        even = _mm512_mask_add_epi16(even, ~0u << i, even, two);
    }
    const __m512i odd = _mm512_add_epi16(even, one);
    for (int64_t row = 0; row < padded; row += BLOCK)
        for (int64_t column = 0; column < step; column += 32) {
            __m512i low[LANES], high[LANES];
            load_words(rows, width, from, from_step, row, column, low);
            load_words(rows, width, from, from_step, row + LANES, column, high);
            uint16_t *at = to + column * padded + row;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) {
                _mm512_store_si512(at + (2 * i) * padded, _mm512_permutex2var_epi16(low[i], even, high[i]));
                _mm512_store_si512(at + (2 * i + 1) * padded,
                                   _mm512_permutex2var_epi16(low[i], odd, high[i]));
            }
        }
}

/* 2^(x - 0.5) for x <= about 0.5, relative error 3e-6; denormal below -126, 0 below -149. Zero but where `wanted`. With
 * x = n + r, n whole, it is 2^n 2^(r - 0.5), the latter by the polynomial of rough_exp in kernels_body.h, moved by 0.5:
 * reduce gives r, scalef takes n of x itself, and infinities need no care. */
static inline __m512 exp2_less_half(__mmask16 wanted, __m512 x)
{
    const __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
    __m512 p = _mm512_set1_ps(9.582776798e-03f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(3.674166248e-02f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.707543864e-01f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.900220829e-01f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(7.071087306e-01f));
    return _mm512_maskz_scalef_ps(wanted, p, x);
}

/* Natural logarithm of positive normal numbers, relative error 2e-7; a NaN stays one. x = 2^n m with m in 0.75 … 1.5,
 * ln m = 2 artanh(s), s = (m - 1)/(m + 1). */
static inline __m512 log_vector(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1.0f),
                 m = _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
    const __m512 n = _mm512_sub_ps(_mm512_getexp_ps(x), _mm512_getexp_ps(m));
    const __m512 s = _mm512_div_ps(_mm512_sub_ps(m, one), _mm512_add_ps(m, one)), z = _mm512_mul_ps(s, s);
    __m512 p = _mm512_set1_ps(1.0f / 9.0f);
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(1.0f / 7.0f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(0.2f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(1.0f / 3.0f));
    p = _mm512_fmadd_ps(p, z, one);
    const __m512 twice = _mm512_add_ps(s, s);
    return _mm512_fmadd_ps(n, _mm512_set1_ps(0.693147182f), _mm512_mul_ps(twice, p));
}

static const float LOG2_E = 1.44269504f;

/* Of one row 32 columns from `column` on; stream: past the caches, where these are whole lines. */
static inline void store_part(__m512i part, int64_t column, int64_t width, bool stream, uint16_t *row)
{
    uint16_t *to = row + column;
    if (stream && width - column >= 32 && (uintptr_t)to % 64 == 0)
        _mm512_stream_si512((void *)to, part);
    else
        _mm512_mask_storeu_epi16(to, first_of_32(width - column), part);
}

/* to[rows][width] = from[rows][from_step]·scale as bf16 */
static void store_rows(int64_t rows, int64_t width, const float *from, int64_t from_step, float scale,
                       bool stream, int64_t step, uint16_t *to)
{
    const __m512 factor = _mm512_set1_ps(scale);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < width; i += 32) {
            const float *at = from + row * from_step + i;
            const __m512 low = _mm512_mul_ps(_mm512_load_ps(at), factor);
            const __m512 high = _mm512_mul_ps(_mm512_load_ps(at + LANES), factor);
            store_part(bf16_round_both(high, low), i, width, stream, to + row * step);
        }
}

/* to[columns][width] = transpose of from[width][BLOCK], times each column's scale, as bf16; 16 columns at most */
static void store_columns(int64_t columns, int64_t width, const float *from, __m512 scale, bool stream,
                          int64_t step, uint16_t *to)
{
    for (int64_t i = 0; i < width; i += 32) {
        __m512i words[LANES];
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++) {
            const float *at = from + (i + 2 * j) * BLOCK;
            const __m512 low = _mm512_mul_ps(_mm512_load_ps(at), scale);
            const __m512 high = _mm512_mul_ps(_mm512_load_ps(at + BLOCK), scale);
            words[j] = interleave_halves(bf16_round_both(high, low));
        }
        transpose_dwords(words);
        if (columns >= LANES) {
#pragma GCC unroll 16
            for (int c = 0; c < LANES; c++) store_part(words[c], i, width, stream, to + c * step);
        } else {
            for (int64_t c = 0; c < columns; c++) store_part(words[c], i, width, stream, to + c * step);
        }
    }
}

/* Lanes of 16 queries from `query` on that see a key; of queries that do not exist it may be any. */
static inline __mmask16 seeing(const attention_head *head, int64_t query, int64_t key)
{
    if (key >= head->length) return 0;
    return head->causal ? (__mmask16)~first_of_16(key - query) : 0xffff;
}

/* Dropout's factors: to[GROUP keys][step] of 16 queries; `key` begins a group. */
static void make_factors(const attention_head *head, int64_t query, int64_t key, int64_t step, float *to)
{
    float rows[LANES][GROUP] __attribute__((aligned(64)));
    const int64_t queries = tdm_min_i64(LANES, head->length - query);
    for (int64_t i = 0; i < LANES; i++) /* of queries that do not exist the last one's */
        head->factors(&head->mask, query + tdm_min_i64(i, queries - 1), key, GROUP, rows[i]);
    for (int64_t k = 0; k < GROUP; k += LANES) {
        __m512i block[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) block[i] = _mm512_load_si512(rows[i] + k);
        transpose_dwords(block);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) _mm512_store_si512(to + (k + i) * step, block[i]);
    }
}

static int64_t pad(int64_t n)
{
    return tdm_round_up(n, BLOCK);
}

/* Queries or keys of the block from `first` that exist. */
static int64_t block_rows(const attention_head *head, int64_t first)
{
    return tdm_min_i64(BLOCK, head->length - first);
}

/* Keys that the block of queries from `query` sees. */
static int64_t seen_keys(const attention_head *head, int64_t query)
{
    return head->causal ? tdm_min_i64(query + BLOCK, head->length) : head->length;
}

/* Memory is taken in pieces of 64 bytes. */
static void *take(unsigned char **at, int64_t bytes)
{
    void *taken = *at;
    *at += tdm_round_up(bytes, 64);
    return taken;
}

static size_t scratch_bytes(int64_t length, int64_t head_dim)
{
    int64_t rows = pad(length), width = pad(head_dim);
    int64_t operands = 7 * rows * width * 2; /* k, v; transposed k, q, dout; interleaved q, dout */
    int64_t blocks = BLOCK * (rows * 4 * 2 + rows * 2 * 2 + width * 4);
    int64_t square = rows * rows * 2;                  /* dS^T */
    int64_t queries = rows * 4 * 2 + GROUP * rows * 4; /* lse, delta, factors */
    return (size_t)(operands + blocks + square + queries + 32 * 64);
}

/* c[head_dim][BLOCK] = left[head_dim][rows] · right[keys][BLOCK queries], a block of dim at a time */
static void multiply_dims(const attention_head *head, int64_t rows, const uint16_t *left, right_words right,
                          int64_t query, float *c)
{
    for (int64_t dim = 0; dim < head->head_dim; dim += BLOCK)
        multiply((left_rows){left + dim * rows, rows}, right, tdm_min_i64(BLOCK, head->head_dim - dim), 0,
                 seen_keys(head, query), block_rows(head, query), c + dim * BLOCK, BLOCK);
}

/* ---- Forward ----
 * A tile load cannot take what a store has not yet written to the cache, hence every phase is done for all
 * heads of a group before the next. */

typedef struct forward_operands {
    int64_t rows, width; /* padded length and head_dim */
    uint16_t *k, *vt;    /* [rows][width], [width][rows] */
    uint32_t *qt, *p;    /* [width/2][rows], [rows/2][BLOCK] */
    float *scores, *out; /* [rows][BLOCK], [width][BLOCK] */
    __m512 scale[2];     /* of 16 queries each: 1 / the sum of their probabilities */
} forward_operands;

static void load_forward(const attention_head *head, unsigned char **at, forward_operands *o)
{
    const int64_t length = head->length, dim = head->head_dim, step = head->qkv_step;
    const int64_t rows = o->rows = pad(length), width = o->width = pad(dim);
    o->k = take(at, rows * width * 2);
    o->qt = take(at, rows * width * 2);
    o->vt = take(at, rows * width * 2);
    o->p = take(at, BLOCK * rows * 2);
    o->scores = take(at, BLOCK * rows * 4);
    o->out = take(at, BLOCK * width * 4);
    copy_rows(length, dim, head->k, step, rows, width, o->k);
    transpose_rows(length, dim, head->q, step, rows, width, o->qt);
    transpose_elements(length, dim, head->v, step, rows, width, o->vt);
}

/* The largest score of each of 16 queries; `lane` of the block from `query`. */
static __m512 largest_scores(const attention_head *head, const forward_operands *o, int64_t query,
                             int64_t lane)
{
    const float *scores = o->scores + lane;
    const int64_t seen = seen_keys(head, query), all_see = head->causal ? query + lane + 1 : seen;
    __m512 largest[4];
    for (int i = 0; i < 4; i++) largest[i] = _mm512_set1_ps(-INFINITY);
    int64_t key = 0;
    for (; key + 4 <= all_see; key += 4)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            largest[i] = _mm512_max_ps(largest[i], _mm512_load_ps(scores + (key + i) * BLOCK));
    for (; key < seen; key++)
        largest[0] = _mm512_mask_max_ps(largest[0], seeing(head, query + lane, key), largest[0],
                                        _mm512_load_ps(scores + key * BLOCK));
    return _mm512_max_ps(_mm512_max_ps(largest[0], largest[1]), _mm512_max_ps(largest[2], largest[3]));
}

/* Of 16 queries p = exp(scale·(score - max)), times dropout's factors, as words of two keys, zero up to a multiple of
 * 32 keys. lse = log of the sum of exp(scale·score). The sum is of the unrounded values without factors. */
static void softmax_columns(const attention_head *head, forward_operands *o, int64_t query, int64_t lane)
{
    const float *scores = o->scores + lane;
    uint32_t *p = o->p + lane;
    const int64_t seen = seen_keys(head, query), all_see = head->causal ? query + lane + 1 : seen;
    const __m512 shift = _mm512_mul_ps(largest_scores(head, o, query, lane), _mm512_set1_ps(head->scale));
    const __m512 factor = _mm512_set1_ps(head->scale * LOG2_E);
    const __m512 offset = _mm512_fmsub_ps(shift, _mm512_set1_ps(LOG2_E), _mm512_set1_ps(0.5f));
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    float factors[GROUP][LANES] __attribute__((aligned(64)));
    for (int64_t key = 0; key < seen; key += 2) {
        __m512 value[2];
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            const __mmask16 mask = key + i < all_see ? 0xffff : seeing(head, query + lane, key + i);
            const __m512 score = _mm512_load_ps(scores + (key + i) * BLOCK);
            value[i] = exp2_less_half(mask, _mm512_fmsub_ps(score, factor, offset));
            sum[i] = _mm512_add_ps(sum[i], value[i]);
        }
        if (head->mask.threshold) {
            if (key % GROUP == 0) make_factors(head, query + lane, key, LANES, factors[0]);
            value[0] = _mm512_mul_ps(value[0], _mm512_load_ps(factors[key % GROUP]));
            value[1] = _mm512_mul_ps(value[1], _mm512_load_ps(factors[key % GROUP + 1]));
        }
        _mm512_store_si512(p + key / 2 * BLOCK, interleave_halves(bf16_round_both(value[1], value[0])));
    }
    for (int64_t pair = (seen + 1) / 2; pair < pad(seen) / 2; pair++)
        _mm512_store_si512(p + pair * BLOCK, _mm512_setzero_si512());
    const __m512 total = _mm512_add_ps(sum[0], sum[1]);
    o->scale[lane / LANES] = _mm512_div_ps(_mm512_set1_ps(1.0f), total);
    _mm512_mask_storeu_ps(head->lse + query + lane, first_of_16(head->length - query - lane),
                          _mm512_add_ps(shift, log_vector(total)));
}

static void forward_block(const attention_head *head, forward_operands *o, int64_t count, int64_t query)
{
    const int64_t queries = block_rows(head, query);
    for (int64_t h = 0; h < count; h++)
        for (int64_t key = 0; key < seen_keys(&head[h], query); key += BLOCK)
            multiply((left_rows){o[h].k + key * o[h].width, o[h].width},
                     (right_words){o[h].qt + query, o[h].rows}, block_rows(&head[h], key), 0,
                     head[h].head_dim, queries, o[h].scores + key * BLOCK, BLOCK);
    for (int64_t h = 0; h < count; h++)
        for (int64_t lane = 0; lane < queries; lane += LANES) softmax_columns(&head[h], &o[h], query, lane);
    if (head->length < BLOCK) begin_products(BLOCK); /* there is one block */
    for (int64_t h = 0; h < count; h++)
        multiply_dims(&head[h], o[h].rows, o[h].vt, (right_words){o[h].p, BLOCK}, query, o[h].out);
    for (int64_t h = 0; h < count; h++)
        for (int64_t lane = 0; lane < queries; lane += LANES)
            store_columns(tdm_min_i64(LANES, queries - lane), head[h].head_dim, o[h].out + lane,
                          o[h].scale[lane / LANES], head[h].stream, head[h].out_step,
                          (uint16_t *)head[h].out + (query + lane) * head[h].out_step);
}

static void forward(const attention_head *head, int64_t count, void *scratch)
{
    forward_operands o[PAIRS_MAX_HEADS];
    unsigned char *at = scratch;
    for (int64_t h = 0; h < count; h++) load_forward(&head[h], &at, &o[h]);
    begin_products(head->length);
    for (int64_t query = 0; query < head->length; query += BLOCK) forward_block(head, o, count, query);
    end_products();
}

/* ---- Backward ---- */

typedef struct backward_operands {
    int64_t rows, width;            /* padded length and head_dim */
    uint16_t *k, *v, *kt;           /* [rows][width], [rows][width], [width][rows] */
    uint32_t *qt, *dout_t;          /* [width/2][rows] */
    uint32_t *q_pairs, *dout_pairs; /* [rows/2][width] */
    float *offset, *delta;          /* [rows]: lse·log2(e) - 0.5, dout·out */
    float *factors;                 /* [GROUP][rows] */
    float *scores, *dp;             /* [BLOCK][rows] */
    uint16_t *p, *ds;               /* [BLOCK][rows] */
    uint32_t *ds_pairs;             /* [rows/2][rows]: two keys to a word */
    float *block;                   /* [BLOCK][width] or [width][BLOCK] */
} backward_operands;

static void take_backward(const attention_head *head, unsigned char **at, backward_operands *o)
{
    int64_t rows = o->rows = pad(head->length), width = o->width = pad(head->head_dim);
    o->k = take(at, rows * width * 2);
    o->v = take(at, rows * width * 2);
    o->kt = take(at, rows * width * 2);
    o->qt = take(at, rows * width * 2);
    o->dout_t = take(at, rows * width * 2);
    o->q_pairs = take(at, rows * width * 2);
    o->dout_pairs = take(at, rows * width * 2);
    o->offset = take(at, rows * 4);
    o->delta = take(at, rows * 4);
    o->scores = take(at, BLOCK * rows * 4);
    o->dp = take(at, BLOCK * rows * 4);
    o->p = take(at, BLOCK * rows * 2);
    o->ds = take(at, BLOCK * rows * 2);
    o->ds_pairs = take(at, rows * rows * 2);
    o->block = take(at, BLOCK * width * 4);
    o->factors = take(at, GROUP * rows * 4);
}

static void load_backward(const attention_head *head, backward_operands *o)
{
    int64_t length = head->length, dim = head->head_dim, rows = o->rows, width = o->width;
    copy_rows(length, dim, head->k, head->qkv_step, rows, width, o->k);
    copy_rows(length, dim, head->v, head->qkv_step, rows, width, o->v);
    transpose_elements(rows, width, o->k, width, rows, width, o->kt);
    transpose_rows(length, dim, head->q, head->qkv_step, rows, width, o->qt);
    interleave_rows(length, dim, head->q, head->qkv_step, rows, width, o->q_pairs);
    transpose_rows(length, dim, head->dout, head->out_step, rows, width, o->dout_t);
    interleave_rows(length, dim, head->dout, head->out_step, rows, width, o->dout_pairs);
    for (int64_t row = 0; row < length; row++) {
        const uint16_t *out = (const uint16_t *)head->out + row * head->out_step;
        const uint16_t *dout = (const uint16_t *)head->dout + row * head->out_step;
        __m512 sum = _mm512_setzero_ps();
        for (int64_t i = 0; i < dim; i += 32)
            sum = bf16_dot(sum, load_part(out, i, dim), load_part(dout, i, dim));
        o->delta[row] = _mm512_reduce_add_ps(sum);
    }
    for (int64_t row = 0; row < rows; row++)
        o->offset[row] = row < length ? head->lse[row] * LOG2_E - 0.5f : 0.0f;
}

/* What the probabilities of 16 queries are made from. */
typedef struct query_lanes {
    int64_t query;
    __mmask16 exist;
    __m512 offset, delta;
} query_lanes;

/* p = exp(scale·score - lse), ds = p (dp - delta) of a key of the block; with factors f ds = p (f dp - delta) and then
 * p = f p. Zero where a query does not exist or does not see the key; what is read there may be anything, also a NaN. */
static inline __attribute__((always_inline)) void probabilities(const attention_head *head,
                                                                const backward_operands *o,
                                                                const query_lanes *q, int64_t first,
                                                                int64_t key, __m512 factor, __m512 *p,
                                                                __m512 *ds)
{
    const int64_t at = key * o->rows + q->query;
    const __mmask16 seen = q->exist & seeing(head, q->query, first + key);
    __m512 dp = _mm512_load_ps(o->dp + at);
    *p = exp2_less_half(seen, _mm512_fmsub_ps(_mm512_load_ps(o->scores + at), factor, q->offset));
    if (!head->mask.threshold) {
        *ds = _mm512_maskz_mul_ps(seen, *p, _mm512_sub_ps(dp, q->delta));
        return;
    }
    const __m512 factor_of = _mm512_load_ps(o->factors + (first % GROUP + key) * o->rows + q->query);
    dp = _mm512_mul_ps(dp, factor_of);
    *ds = _mm512_maskz_mul_ps(seen, *p, _mm512_sub_ps(dp, q->delta));
    *p = _mm512_maskz_mul_ps(seen, *p, factor_of);
}

/* Of 32 keys from `first` and 32 queries from `query`: rows of p and ds, and words of two keys of ds. */
static void probability_block(const attention_head *head, const backward_operands *o, int64_t first,
                              int64_t query)
{
    const __m512 factor = _mm512_set1_ps(head->scale * LOG2_E);
    const int64_t rows = o->rows;
    query_lanes lanes[2];
    for (int i = 0; i < 2; i++) {
        const int64_t at = query + i * LANES;
        lanes[i] = (query_lanes){at, first_of_16(head->length - at), _mm512_load_ps(o->offset + at),
                                 _mm512_load_ps(o->delta + at)};
        if (head->mask.threshold && first % GROUP == 0 && at < head->length)
            make_factors(head, at, first, rows, o->factors + at);
    }
    for (int64_t key = 0; key < BLOCK; key += 2) {
        __m512i ds[2];
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            __m512 p0, p1, ds0, ds1;
            probabilities(head, o, &lanes[0], first, key + i, factor, &p0, &ds0);
            probabilities(head, o, &lanes[1], first, key + i, factor, &p1, &ds1);
            ds[i] = bf16_round_both(ds1, ds0);
            _mm512_store_si512(o->p + (key + i) * rows + query, bf16_round_both(p1, p0));
            _mm512_store_si512(o->ds + (key + i) * rows + query, ds[i]);
        }
        const pair_words words = interleave(ds[0], ds[1]);
        uint32_t *to = o->ds_pairs + (first + key) / 2 * rows + query;
        _mm512_store_si512(to, words.first);
        _mm512_store_si512(to + LANES, words.last);
    }
}

/* The first query that sees keys from `key` on. */
static int64_t first_query(const attention_head *head, int64_t key)
{
    return head->causal ? key : 0;
}

/* scores[32 keys][queries] = left[32 keys][width] · right[width][queries] */
static void multiply_queries(const attention_head *head, const backward_operands *o, int64_t key,
                             const uint16_t *left, const uint32_t *right, float *scores)
{
    const int64_t first = first_query(head, key);
    multiply((left_rows){left + key * o->width, o->width}, (right_words){right + first, o->rows},
             block_rows(head, key), 0, head->head_dim, head->length - first, scores + first, o->rows);
}

/* gradient[32 keys] = left[32 keys][queries] · right[queries][width], times scale */
static void multiply_keys(const attention_head *head, const backward_operands *o, int64_t key,
                          const uint16_t *left, const uint32_t *right)
{
    multiply((left_rows){left, o->rows}, (right_words){right, o->width}, block_rows(head, key),
             first_query(head, key), head->length, head->head_dim, o->block, o->width);
}
static void store_keys(const attention_head *head, const backward_operands *o, int64_t key, float scale,
                       uint16_t *gradient)
{
    store_rows(block_rows(head, key), head->head_dim, o->block, o->width, scale, head->stream, head->qkv_step,
               gradient + key * head->qkv_step);
}

/* dV and dK of 32 keys; leaves their part of dS^T. */
static void key_block(const attention_head *head, backward_operands *o, int64_t count, int64_t key)
{
    for (int64_t h = 0; h < count; h++) {
        multiply_queries(&head[h], &o[h], key, o[h].k, o[h].qt, o[h].scores);
        multiply_queries(&head[h], &o[h], key, o[h].v, o[h].dout_t, o[h].dp);
    }
    for (int64_t h = 0; h < count; h++)
        for (int64_t query = first_query(&head[h], key); query < o[h].rows; query += BLOCK)
            probability_block(&head[h], &o[h], key, query);
    for (int64_t h = 0; h < count; h++) multiply_keys(&head[h], &o[h], key, o[h].p, o[h].dout_pairs);
    for (int64_t h = 0; h < count; h++) store_keys(&head[h], &o[h], key, 1.0f, head[h].dv);
    for (int64_t h = 0; h < count; h++) multiply_keys(&head[h], &o[h], key, o[h].ds, o[h].q_pairs);
    for (int64_t h = 0; h < count; h++) store_keys(&head[h], &o[h], key, head[h].scale, head[h].dk);
}

/* dQ of 32 queries */
static void query_block(const attention_head *head, backward_operands *o, int64_t count, int64_t query)
{
    for (int64_t h = 0; h < count; h++)
        multiply_dims(&head[h], o[h].rows, o[h].kt, (right_words){o[h].ds_pairs + query, o[h].rows}, query,
                      o[h].block);
    for (int64_t h = 0; h < count; h++)
        for (int64_t lane = 0; lane < block_rows(head, query); lane += LANES)
            store_columns(tdm_min_i64(LANES, block_rows(head, query) - lane), head[h].head_dim,
                          o[h].block + lane, _mm512_set1_ps(head[h].scale), head[h].stream, head[h].qkv_step,
                          (uint16_t *)head[h].dq + (query + lane) * head[h].qkv_step);
}

static void backward(const attention_head *head, int64_t count, void *scratch)
{
    backward_operands o[PAIRS_MAX_HEADS];
    unsigned char *at = scratch;
    for (int64_t h = 0; h < count; h++) {
        take_backward(&head[h], &at, &o[h]);
        load_backward(&head[h], &o[h]);
    }
    begin_products(head->length);
    for (int64_t key = 0; key < head->length; key += BLOCK) key_block(head, o, count, key);
    if (head->length < BLOCK) begin_products(BLOCK);
    for (int64_t query = 0; query < head->length; query += BLOCK) query_block(head, o, count, query);
    end_products();
}
