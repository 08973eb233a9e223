/* Attention on products of pairs of bf16, included by a file for each instruction that multiplies them.
 *
 * TDPBF16PS and VDPBF16PS multiply rows of contiguous k with pairs of k by columns. A right operand therefore
 * consists of 32-bit words that hold two neighbours in k:
 *
 *     product           left operand (rows as they are)     right operand (words)
 *     S  = Q K^T        Q  [query][dim]                     K^T  [dim pair][key]     K's words transposed
 *     dP = dO V^T       dO [query][dim]                     V^T  [dim pair][key]     V's words transposed
 *     O  = P V          P  [query][key]                     V    [key pair][dim]     two rows interleaved
 *     dQ = dS K         dS [query][key]                     K    [key pair][dim]     two rows interleaved
 *     dV = P^T dO       P^T  [key][query]                   dO   [query pair][dim]   two rows interleaved
 *     dK = dS^T Q       dS^T [key][query]                   Q    [query pair][dim]   two rows interleaved
 *
 * P^T and dS^T are made by interleaving two rows of queries into words and transposing the words. All sizes
 * are padded with zeros to multiples of 32. Queries go in blocks of 32. */
#include "attention_pairs.h"

#include "bf16_dot.h"
#include "masks.h"
#include "transpose.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK = 32, /* queries or keys that are computed at once, and to a multiple of which memory is padded */
    LANES = 16  /* words of a vector */
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
 * It may round rows, k_end and columns up to multiples of 32. Between begin and end of a call for heads of `length`. */
static void begin_products(int64_t length);
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

/* words[padded/2][step]: element (2i, c) in the low and (2i + 1, c) in the high half. */
static void interleave_rows(int64_t rows, int64_t width, const uint16_t *from, int64_t from_step,
                            int64_t padded, int64_t step, uint32_t *words)
{
    const __m512i low =
        _mm512_set_epi32(0x2f000f, 0x2e000e, 0x2d000d, 0x2c000c, 0x2b000b, 0x2a000a, 0x290009, 0x280008,
                         0x270007, 0x260006, 0x250005, 0x240004, 0x230003, 0x220002, 0x210001, 0x200000);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    int64_t pairs = (rows + 1) / 2;
    for (int64_t pair = 0; pair < pairs; pair++) {
        const uint16_t *even = from + 2 * pair * from_step;
        bool has_odd = 2 * pair + 1 < rows;
        for (int64_t column = 0; column < step; column += 32) {
            __m512i a = load_part(even, column, width);
            __m512i b = has_odd ? load_part(even + from_step, column, width) : _mm512_setzero_si512();
            uint32_t *to = words + pair * step + column;
            _mm512_store_si512(to, _mm512_permutex2var_epi16(a, low, b));
            _mm512_store_si512(to + 16, _mm512_permutex2var_epi16(a, high, b));
        }
    }
    memset(words + pairs * step, 0, sizeof(*words) * (size_t)((padded / 2 - pairs) * step));
}

/* words[step/2][padded]: word (d, row) = elements (2d, 2d + 1) of the row; zero beyond rows and width. */
static void transpose_rows(int64_t rows, int64_t width, const uint16_t *from, int64_t from_step,
                           int64_t padded, int64_t step, uint32_t *words)
{
    for (int64_t row = 0; row < padded; row += LANES)
        for (int64_t column = 0; column < step; column += 32) {
            __m512i block[16];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                block[i] = row + i < rows ? load_part(from + (row + i) * from_step, column, width)
                                          : _mm512_setzero_si512();
            transpose_dwords(block);
            uint32_t *to = words + column / 2 * padded + row;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) _mm512_store_si512(to + i * padded, block[i]);
        }
}

/* 2^x for x <= about 0, relative error 3e-6; 0 below -126. */
static inline __m512 exp2_vector(__m512 x)
{
    x = _mm512_max_ps(_mm512_set1_ps(-150.0f), x); /* in this order a NaN stays */
    __m512 n = _mm512_roundscale_ps(x, 0);
    __m512 r = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(9.582776798e-3f); /* as rough_exp in kernels_body.h */
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.590721608e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.402410453e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.931241045e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static const float LOG2_E = 1.44269504f;

/* to[width] = from·scale as bf16; stream: past the caches, where these are whole lines */
static void store_row(int64_t width, const float *from, float scale, bool stream, uint16_t *to)
{
    __m512 factor = _mm512_set1_ps(scale);
    if (stream && width % 32 == 0 && (uintptr_t)to % 64 == 0) {
        for (int64_t i = 0; i < width; i += 32) {
            const __m512 low = _mm512_mul_ps(_mm512_load_ps(from + i), factor);
            const __m512 high = _mm512_mul_ps(_mm512_load_ps(from + i + 16), factor);
            _mm512_stream_si512((void *)(to + i), bf16_round_both(high, low));
        }
        return;
    }
    for (int64_t i = 0; i < width; i += 16) {
        __m512 value = _mm512_mul_ps(_mm512_load_ps(from + i), factor);
        _mm256_mask_storeu_epi16(to + i, first_of_16(width - i), bf16_round(value));
    }
}

/* p[width] = exp(scale·(score - max)), times factor unless that is NULL, as bf16, zero from `seen` on; returns the sum
 * (of the unrounded values without factor) and *log_sum = log of the sum of exp(scale·score). */
static float softmax_row(int64_t seen, int64_t width, float scale, const float *score, const float *factor_of,
                         uint16_t *p, float *log_sum)
{
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __m512 largest = lowest, sum = _mm512_setzero_ps();
    for (int64_t key = 0; key < seen; key += 16)
        largest = _mm512_mask_max_ps(largest, first_of_16(seen - key), largest, _mm512_load_ps(score + key));
    float shift = _mm512_reduce_max_ps(largest) * scale;
    __m512 factor = _mm512_set1_ps(scale * LOG2_E), offset = _mm512_set1_ps(shift * LOG2_E);
    int64_t key = 0;
    for (; key < seen; key += 16) {
        __m512 value = exp2_vector(_mm512_fmsub_ps(_mm512_load_ps(score + key), factor, offset));
        value = _mm512_maskz_mov_ps(first_of_16(seen - key), value);
        sum = _mm512_add_ps(sum, value);
        if (factor_of) value = _mm512_mul_ps(value, _mm512_load_ps(factor_of + key));
        _mm256_store_si256((__m256i *)(p + key), bf16_round(value));
    }
    for (; key < width; key += 16) _mm256_store_si256((__m256i *)(p + key), _mm256_setzero_si256());
    float total = _mm512_reduce_add_ps(sum);
    *log_sum = shift + logf(total);
    return total;
}

/* Dropout's factors of one query's keys. */
typedef struct factor_row {
    _Alignas(64) float of[PAIRS_MAX_LENGTH];
} factor_row;

/* NULL: there is no dropout. */
static const float *factors(const attention_head *head, int64_t query, factor_row *room)
{
    if (head->mask.threshold == 0) return NULL;
    head->factors(&head->mask, query, 0, head->length, room->of);
    return room->of;
}

static int64_t pad(int64_t n)
{
    return tdm_round_up(n, BLOCK);
}

/* Rows of the block of queries from `query` that exist. */
static int64_t block_rows(const attention_head *head, int64_t query)
{
    return tdm_min_i64(BLOCK, head->length - query);
}

/* Keys that the block of queries from `query` sees, the same rounded up to blocks, and those that one query sees. */
static int64_t seen_keys(const attention_head *head, int64_t query)
{
    return head->causal ? tdm_min_i64(query + BLOCK, head->length) : head->length;
}
static int64_t block_keys(const attention_head *head, int64_t query)
{
    return pad(seen_keys(head, query));
}
static int64_t query_keys(const attention_head *head, int64_t query)
{
    return head->causal ? query + 1 : head->length;
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
    int64_t operands = 7 * rows * width * 2; /* q, dout; transposed k, v; interleaved k, q, dout */
    int64_t blocks = BLOCK * (rows * 4 * 2 + rows * 2 * 3 + width * 4);
    int64_t squares = 2 * rows * rows * 2; /* P^T, dS^T */
    return (size_t)(operands + blocks + squares + rows * 4 + 32 * 64);
}

/* ---- Forward ----
 * A tile load cannot take what a store has not yet written to the cache, hence every phase is done for all
 * heads of a group before the next. */

typedef struct forward_operands {
    int64_t rows, width; /* padded length and head_dim */
    uint16_t *q, *p;     /* [rows][width], [32][rows] */
    uint32_t *kt, *v;    /* [width/2][rows], [rows/2][width] */
    float *scores, *out; /* [32][rows], [32][width] */
    float sum[BLOCK];
} forward_operands;

static void load_forward(const attention_head *head, unsigned char **at, forward_operands *o)
{
    const int64_t length = head->length, dim = head->head_dim, step = head->qkv_step;
    const int64_t rows = o->rows = pad(length), width = o->width = pad(dim);
    o->q = take(at, rows * width * 2);
    o->kt = take(at, rows * width * 2);
    o->v = take(at, rows * width * 2);
    o->p = take(at, BLOCK * rows * 2);
    o->scores = take(at, BLOCK * rows * 4);
    o->out = take(at, BLOCK * width * 4);
    copy_rows(length, dim, head->q, step, rows, width, o->q);
    transpose_rows(length, dim, head->k, step, rows, width, o->kt);
    interleave_rows(length, dim, head->v, step, rows, width, o->v);
}

static void forward_block(const attention_head *head, forward_operands *o, int64_t count, int64_t query)
{
    factor_row room;
    for (int64_t h = 0; h < count; h++)
        multiply((left_rows){o[h].q + query * o[h].width, o[h].width}, (right_words){o[h].kt, o[h].rows},
                 block_rows(&head[h], query), 0, head[h].head_dim, seen_keys(&head[h], query), o[h].scores,
                 o[h].rows);
    for (int64_t h = 0; h < count; h++)
        for (int64_t row = 0; row < block_rows(&head[h], query); row++)
            o[h].sum[row] =
                softmax_row(query_keys(&head[h], query + row), block_keys(&head[h], query), head[h].scale,
                            o[h].scores + row * o[h].rows, factors(&head[h], query + row, &room),
                            o[h].p + row * o[h].rows, head[h].lse + query + row);
    for (int64_t h = 0; h < count; h++)
        multiply((left_rows){o[h].p, o[h].rows}, (right_words){o[h].v, o[h].width},
                 block_rows(&head[h], query), 0, seen_keys(&head[h], query), head[h].head_dim, o[h].out,
                 o[h].width);
    for (int64_t h = 0; h < count; h++)
        for (int64_t row = 0; row < block_rows(&head[h], query); row++)
            store_row(head[h].head_dim, o[h].out + row * o[h].width, 1.0f / o[h].sum[row], head[h].stream,
                      (uint16_t *)head[h].out + (query + row) * head[h].out_step);
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
    int64_t rows, width;                /* padded length and head_dim */
    uint16_t *q, *dout;                 /* [rows][width] */
    uint32_t *kt, *vt;                  /* [width/2][rows] */
    uint32_t *k, *q_pairs, *dout_pairs; /* [rows/2][width] */
    float *delta;                       /* [length]: dout·out */
    float *scores, *dp;                 /* [32][rows] */
    uint16_t *ds;                       /* [32][rows] */
    uint32_t *p_pairs, *ds_pairs;       /* [16][rows]: two queries to a word */
    uint16_t *pt, *dst;                 /* [rows of keys][rows of queries] */
    float *block;                       /* [32][width] */
} backward_operands;

static void take_backward(const attention_head *head, unsigned char **at, backward_operands *o)
{
    int64_t rows = o->rows = pad(head->length), width = o->width = pad(head->head_dim);
    o->q = take(at, rows * width * 2);
    o->dout = take(at, rows * width * 2);
    o->kt = take(at, rows * width * 2);
    o->vt = take(at, rows * width * 2);
    o->k = take(at, rows * width * 2);
    o->q_pairs = take(at, rows * width * 2);
    o->dout_pairs = take(at, rows * width * 2);
    o->delta = take(at, rows * 4);
    o->scores = take(at, BLOCK * rows * 4);
    o->dp = take(at, BLOCK * rows * 4);
    o->ds = take(at, BLOCK * rows * 2);
    o->p_pairs = take(at, BLOCK * rows * 2);
    o->ds_pairs = take(at, BLOCK * rows * 2);
    o->pt = take(at, rows * rows * 2);
    o->dst = take(at, rows * rows * 2);
    o->block = take(at, BLOCK * width * 4);
}

static inline __m512 to_f32(__m256i x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

static void load_backward(const attention_head *head, backward_operands *o)
{
    int64_t length = head->length, dim = head->head_dim, rows = o->rows, width = o->width;
    copy_rows(length, dim, head->q, head->qkv_step, rows, width, o->q);
    copy_rows(length, dim, head->dout, head->out_step, rows, width, o->dout);
    transpose_rows(length, dim, head->k, head->qkv_step, rows, width, o->kt);
    transpose_rows(length, dim, head->v, head->qkv_step, rows, width, o->vt);
    interleave_rows(length, dim, head->k, head->qkv_step, rows, width, o->k);
    interleave_rows(rows, width, o->q, width, rows, width, o->q_pairs);
    interleave_rows(rows, width, o->dout, width, rows, width, o->dout_pairs);
    for (int64_t row = 0; row < length; row++) {
        const uint16_t *out = (const uint16_t *)head->out + row * head->out_step;
        __m512 sum = _mm512_setzero_ps();
        for (int64_t i = 0; i < dim; i += 16) {
            __m512 a = to_f32(_mm256_maskz_loadu_epi16(first_of_16(dim - i), out + i));
            __m512 b = to_f32(_mm256_load_si256((const __m256i *)(o->dout + row * width + i)));
            sum = _mm512_fmadd_ps(a, b, sum);
        }
        o->delta[row] = _mm512_reduce_add_ps(sum);
    }
}

/* What the probabilities of one query are made from; a query that does not exist sees no key. */
typedef struct query_row {
    int64_t seen;
    __m512 offset, delta;              /* lse·log2(e) */
    const float *scores, *dp, *factor; /* factor: NULL without dropout */
} query_row;

static query_row row_of(const attention_head *head, const backward_operands *o, int64_t query, int64_t row,
                        factor_row *room)
{
    bool exists = query + row < head->length;
    return (query_row){
        .seen = exists ? query_keys(head, query + row) : 0,
        .offset = _mm512_set1_ps(exists ? head->lse[query + row] * LOG2_E : 0.0f),
        .delta = _mm512_set1_ps(exists ? o->delta[query + row] : 0.0f),
        .scores = o->scores + row * o->rows,
        .dp = o->dp + row * o->rows,
        .factor = exists ? factors(head, query + row, room) : NULL,
    };
}

/* p = exp(scale·score - lse), ds = p (dp - delta) for 16 keys; with factors f ds = p (f dp - delta) and then p = f p */
static inline void probabilities(const query_row *row, __m512 factor, int64_t key, __m512 *p, __m512 *ds)
{
    __m512 value = exp2_vector(_mm512_fmsub_ps(_mm512_load_ps(row->scores + key), factor, row->offset));
    const __mmask16 seen = first_of_16(row->seen - key); /* beyond it may be anything, also a NaN */
    *p = _mm512_maskz_mov_ps(seen, value);
    if (row->factor) {
        const __m512 factor_of = _mm512_load_ps(row->factor + key);
        const __m512 dp = _mm512_mul_ps(_mm512_load_ps(row->dp + key), factor_of);
        *ds = _mm512_maskz_mul_ps(seen, *p, _mm512_sub_ps(dp, row->delta));
        *p = _mm512_maskz_mul_ps(seen, *p, factor_of);
        return;
    }
    *ds = _mm512_maskz_mul_ps(seen, *p, _mm512_sub_ps(_mm512_load_ps(row->dp + key), row->delta));
}

/* Two queries at a time: rows of ds, and words of two queries of p and ds. */
static void probability_rows(const attention_head *head, backward_operands *o, int64_t query, int64_t keys)
{
    const __m512i interleave =
        _mm512_set_epi32(0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009, 0x180008,
                         0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
    const __m512 factor = _mm512_set1_ps(head->scale * LOG2_E);
    factor_row room[2];
    for (int64_t pair = 0; pair < BLOCK / 2; pair++) {
        const query_row even = row_of(head, o, query, 2 * pair, &room[0]),
                        odd = row_of(head, o, query, 2 * pair + 1, &room[1]);
        uint16_t *ds_row = o->ds + 2 * pair * o->rows;
        for (int64_t key = 0; key < keys; key += 16) {
            __m512 p0, p1, ds0, ds1;
            probabilities(&even, factor, key, &p0, &ds0);
            probabilities(&odd, factor, key, &p1, &ds1);
            __m512i p = bf16_round_both(p1, p0), ds = bf16_round_both(ds1, ds0);
            _mm256_store_si256((__m256i *)(ds_row + key), _mm512_castsi512_si256(ds));
            _mm256_store_si256((__m256i *)(ds_row + o->rows + key), _mm512_extracti64x4_epi64(ds, 1));
            _mm512_store_si512(o->p_pairs + pair * o->rows + key, _mm512_permutexvar_epi16(interleave, p));
            _mm512_store_si512(o->ds_pairs + pair * o->rows + key, _mm512_permutexvar_epi16(interleave, ds));
        }
    }
}

/* The block's words [16 pairs of queries][keys] -> to[keys][rows] at the block's queries. */
static void transpose_block(const backward_operands *o, int64_t query, int64_t keys, const uint32_t *words,
                            uint16_t *to)
{
    for (int64_t key = 0; key < keys; key += LANES) {
        __m512i block[16];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) block[i] = _mm512_load_si512(words + i * o->rows + key);
        transpose_dwords(block);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) _mm512_store_si512(to + (key + i) * o->rows + query, block[i]);
    }
}

/* Rows of 32 of a gradient, times scale, as bf16. */
static void store_block(const attention_head *head, const backward_operands *o, int64_t first, float scale,
                        uint16_t *gradient)
{
    for (int64_t row = 0; row < block_rows(head, first); row++)
        store_row(head->head_dim, o->block + row * o->width, scale, head->stream,
                  gradient + (first + row) * head->qkv_step);
}

/* dQ of 32 queries; leaves their part of P^T and dS^T. */
static void query_block(const attention_head *head, backward_operands *o, int64_t count, int64_t query)
{
    for (int64_t h = 0; h < count; h++) {
        const int64_t rows = block_rows(&head[h], query), keys = seen_keys(&head[h], query);
        const int64_t width = o[h].width, at = query * width, dim = head[h].head_dim;
        multiply((left_rows){o[h].q + at, width}, (right_words){o[h].kt, o[h].rows}, rows, 0, dim, keys,
                 o[h].scores, o[h].rows);
        multiply((left_rows){o[h].dout + at, width}, (right_words){o[h].vt, o[h].rows}, rows, 0, dim, keys,
                 o[h].dp, o[h].rows);
    }
    for (int64_t h = 0; h < count; h++) probability_rows(&head[h], &o[h], query, block_keys(&head[h], query));
    for (int64_t h = 0; h < count; h++) {
        const int64_t keys = block_keys(&head[h], query);
        multiply((left_rows){o[h].ds, o[h].rows}, (right_words){o[h].k, o[h].width},
                 block_rows(&head[h], query), 0, seen_keys(&head[h], query), head[h].head_dim, o[h].block,
                 o[h].width);
        transpose_block(&o[h], query, keys, o[h].p_pairs, o[h].pt);
        transpose_block(&o[h], query, keys, o[h].ds_pairs, o[h].dst);
    }
    for (int64_t h = 0; h < count; h++) store_block(&head[h], &o[h], query, head[h].scale, head[h].dq);
}

/* block[32 keys][width] = left[32 keys][queries] · right[queries][width] */
static void multiply_keys(const attention_head *head, const backward_operands *o, int64_t key,
                          const uint16_t *left, const uint32_t *right)
{
    int64_t first = head->causal ? key : 0; /* earlier queries do not see these keys */
    multiply((left_rows){left + key * o->rows, o->rows}, (right_words){right, o->width},
             block_rows(head, key), first, head->length, head->head_dim, o->block, o->width);
}

/* dV and dK of 32 keys */
static void key_block(const attention_head *head, backward_operands *o, int64_t count, int64_t key)
{
    for (int64_t h = 0; h < count; h++) multiply_keys(&head[h], &o[h], key, o[h].pt, o[h].dout_pairs);
    for (int64_t h = 0; h < count; h++) store_block(&head[h], &o[h], key, 1.0f, head[h].dv);
    for (int64_t h = 0; h < count; h++) multiply_keys(&head[h], &o[h], key, o[h].dst, o[h].q_pairs);
    for (int64_t h = 0; h < count; h++) store_block(&head[h], &o[h], key, head[h].scale, head[h].dk);
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
    for (int64_t query = 0; query < head->length; query += BLOCK) query_block(head, o, count, query);
    for (int64_t key = 0; key < head->length; key += BLOCK) key_block(head, o, count, key);
    end_products();
}
