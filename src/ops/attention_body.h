/* Attention of one (sequence, head), forward and backward; part of kernels_body.h.
 *
 * q, k and v of the head are converted to f32 in the thread's scratch, once. Queries go in blocks of
 * ATTENTION_QUERIES, keys in blocks of ATTENTION_KEYS, so that a block of scores stays in the
 * second-level cache for any sequence length. Forward keeps a running maximum and sum per row (Milakov and
 * Gimelshein, "Online normalizer calculation for softmax", 2018); backward recomputes the probabilities from
 * the log-sum-exp (Dao et al., "FlashAttention", 2022). */

/* A vector register of floats, and the same at any 4-byte address. */
typedef float vec __attribute__((vector_size(KERNEL_VECTOR_BYTES)));
typedef float vec_at __attribute__((vector_size(KERNEL_VECTOR_BYTES), aligned(4), may_alias));

enum {
    VECTOR = KERNEL_VECTOR_BYTES / 4,
    TILE_ROWS = 6,
    TILE_VECTORS = KERNEL_VECTOR_BYTES == 64 ? 4 : 2, /* 24 of 32, or 12 of 16 registers accumulate */
    LANES = VECTOR_PAD                                /* scratch rows are multiples of this */
};

/* A[row][k] is a[row·row_step + k·k_step]. */
typedef struct tile_left {
    const float *a;
    int64_t row_step, k_step;
} tile_left;

/* c[rows][vectors·VECTOR] (+)= A[rows][k] · b[k][vectors·VECTOR] */
INLINE void tile_product(const int rows, const int vectors, int64_t k, tile_left left, const float *b,
                         int64_t b_step, float *c, int64_t c_step, bool accumulate)
{
    vec sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            if (accumulate)
                sum[r][j] = *(const vec_at *)(c + r * c_step + j * VECTOR);
            else
                sum[r][j] = (vec){0};
        }
    }
    for (int64_t i = 0; i < k; i++) {
        vec right[TILE_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) right[j] = *(const vec_at *)(b + i * b_step + j * VECTOR);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            float value = left.a[r * left.row_step + i * left.k_step];
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) sum[r][j] += value * right[j];
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) *(vec_at *)(c + r * c_step + j * VECTOR) = sum[r][j];
    }
}

INLINE void tile_by_rows(int64_t rows, const int vectors, int64_t k, tile_left left, const float *b,
                         int64_t b_step, float *c, int64_t c_step, bool accumulate)
{
    switch (rows) {
    case 1: tile_product(1, vectors, k, left, b, b_step, c, c_step, accumulate); break;
    case 2: tile_product(2, vectors, k, left, b, b_step, c, c_step, accumulate); break;
    case 3: tile_product(3, vectors, k, left, b, b_step, c, c_step, accumulate); break;
    case 4: tile_product(4, vectors, k, left, b, b_step, c, c_step, accumulate); break;
    case 5: tile_product(5, vectors, k, left, b, b_step, c, c_step, accumulate); break;
    default: tile_product(6, vectors, k, left, b, b_step, c, c_step, accumulate); break;
    }
}

/* c[rows][columns] (+)= A[rows][k] · b[k][columns], rows <= TILE_ROWS; columns are rounded up to VECTOR. */
static __attribute__((noinline)) void row_tile(int64_t rows, int64_t columns, int64_t k, tile_left left,
                                               const float *b, int64_t b_step, float *c, int64_t c_step,
                                               bool accumulate)
{
    int64_t vectors = (columns + VECTOR - 1) / VECTOR;
    for (; vectors >= TILE_VECTORS; vectors -= TILE_VECTORS) {
        tile_by_rows(rows, TILE_VECTORS, k, left, b, b_step, c, c_step, accumulate);
        b += TILE_VECTORS * VECTOR;
        c += TILE_VECTORS * VECTOR;
    }
    switch (vectors) {
    case 1: tile_by_rows(rows, 1, k, left, b, b_step, c, c_step, accumulate); break;
#if KERNEL_VECTOR_BYTES == 64
    case 2: tile_by_rows(rows, 2, k, left, b, b_step, c, c_step, accumulate); break;
    case 3: tile_by_rows(rows, 3, k, left, b, b_step, c, c_step, accumulate); break;
#endif
    default: break;
    }
}

/* to[rows][step] = from[rows][width]·scale as f32, the columns beyond width zero. */
INLINE void load_rows(int dtype, int64_t rows, int64_t width, int64_t from_step, const void *from,
                      float scale, int64_t step, float *to)
{
    for (int64_t row = 0; row < rows; row++) {
        float *to_row = to + row * step;
        const void *from_row = act_at(dtype, from, row * from_step);
#pragma omp simd
        for (int64_t i = 0; i < width; i++) to_row[i] = act_get(dtype, from_row, i) * scale;
        for (int64_t i = width; i < step; i++) to_row[i] = 0.0f;
    }
}

/* to[width][step] = transpose of from[rows][from_step] (f32), the columns beyond rows zero. */
INLINE void transpose_rows(int64_t rows, int64_t width, int64_t from_step, const float *from, int64_t step,
                           float *to)
{
    for (int64_t begin = 0; begin < rows; begin += LANES) {
        int64_t count = tdm_min_i64(LANES, rows - begin), i = 0;
#if defined(__AVX512F__)
        for (; i + LANES <= width; i += LANES) {
            __m512i block[LANES];
#pragma GCC unroll 16
            for (int row = 0; row < LANES; row++)
                block[row] = row < count ? _mm512_loadu_si512(from + (begin + row) * from_step + i)
                                         : _mm512_setzero_si512();
            transpose_dwords(block);
#pragma GCC unroll 16
            for (int row = 0; row < LANES; row++)
                _mm512_storeu_si512(to + (i + row) * step + begin, block[row]);
        }
#endif
        for (; i < width; i++) {
            float *column = to + i * step + begin;
            const float *source = from + begin * from_step + i;
            for (int64_t row = 0; row < count; row++) column[row] = source[row * from_step];
            for (int64_t row = count; row < LANES; row++) column[row] = 0.0f;
        }
    }
}

INLINE void store_rows(int dtype, int64_t rows, int64_t width, int64_t step, const float *from, float scale,
                       int64_t to_step, void *to)
{
    for (int64_t row = 0; row < rows; row++) {
        const float *from_row = from + row * step;
        void *to_row = act_at_mutable(dtype, to, row * to_step);
#pragma omp simd
        for (int64_t i = 0; i < width; i++) act_set(dtype, to_row, i, from_row[i] * scale);
    }
}

/* Queries of every block but the last, which may be smaller: blocks of about one size, in whole tiles. */
INLINE int64_t block_queries(int64_t length)
{
    const int64_t blocks = (length + ATTENTION_QUERIES - 1) / ATTENTION_QUERIES;
    return tdm_round_up((length + blocks - 1) / blocks, TILE_ROWS);
}

/* Keys of the block [key, key + keys) that query `query` sees. */
INLINE int64_t visible_keys(bool causal, int64_t query, int64_t key, int64_t keys)
{
    if (!causal) return keys;
    int64_t seen = query + 1 - key;
    return seen < 0 ? 0 : seen < keys ? seen : keys;
}

/* scores[queries][ATTENTION_KEYS] = q · kt, as far as the last query of each tile of rows sees. */
static void score_block(const attention_head *head, int64_t query, int64_t queries, int64_t key, int64_t keys,
                        const float *q, int64_t q_step, const float *kt, int64_t kt_step, float *scores)
{
    for (int64_t row = 0; row < queries; row += TILE_ROWS) {
        int64_t rows = tdm_min_i64(TILE_ROWS, queries - row);
        int64_t seen = visible_keys(head->causal, query + row + rows - 1, key, keys);
        tile_left left = {q + row * q_step, q_step, 1};
        row_tile(rows, seen, head->head_dim, left, kt + key, kt_step, scores + row * ATTENTION_KEYS,
                 ATTENTION_KEYS, false);
    }
}

/* p[j] = exp(p[j] - largest) for j < seen, 0 for seen <= j < width (a multiple of LANES); returns the sum. */
INLINE float exp_row(int64_t seen, int64_t width, float largest, float *p)
{
    float sums[LANES] = {0};
    int64_t blocks = (seen + LANES - 1) / LANES;
    for (int64_t j = seen; j < blocks * LANES; j++) p[j] = -INFINITY;
    for (int64_t block = 0; block < blocks; block++) {
        float *at = p + block * LANES;
#pragma omp simd
        for (int lane = 0; lane < LANES; lane++) {
            float value = fast_exp(at[lane] - largest);
            at[lane] = value;
            sums[lane] += value;
        }
    }
    memset(p + blocks * LANES, 0, sizeof(float) * (size_t)(width - blocks * LANES));
    float sum = 0.0f;
    for (int lane = 0; lane < LANES; lane++) sum += sums[lane];
    return sum;
}

INLINE float row_max(int64_t count, const float *x)
{
    float largest = x[0];
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < count; i++) largest = x[i] > largest ? x[i] : largest;
    return largest;
}

/* x[seen] *= factor[seen] */
INLINE void multiply_row(int64_t seen, const float *factor, float *x)
{
#pragma omp simd
    for (int64_t j = 0; j < seen; j++) x[j] *= factor[j];
}

typedef struct forward_scratch {
    int64_t step, kt_step; /* of rows of head_dim, of rows of keys */
    float *kt, *v;         /* [head_dim][kt_step], [S][step] */
    float *q, *out;        /* [queries][step] */
    float *scores;         /* [queries][keys] */
    float largest[ATTENTION_QUERIES], sum[ATTENTION_QUERIES];
} forward_scratch;

/* Turns a block of scores into unnormalised probabilities and rescales what earlier blocks left. */
static void online_softmax(const attention_head *head, int64_t query, int64_t queries, int64_t key,
                           int64_t keys, forward_scratch *s)
{
    int64_t width = tdm_round_up(keys, LANES);
    float factor[ATTENTION_KEYS];
    for (int64_t row = 0; row < queries; row++) {
        float *p = s->scores + row * ATTENTION_KEYS;
        int64_t seen = visible_keys(head->causal, query + row, key, keys);
        if (seen == 0) {
            memset(p, 0, sizeof(float) * (size_t)width);
            continue;
        }
        float largest = row_max(seen, p);
        if (key > 0 && s->largest[row] > largest) largest = s->largest[row];
        float sum = exp_row(seen, width, largest, p);
        if (key > 0) {
            float keep = fast_exp(s->largest[row] - largest);
            sum += s->sum[row] * keep;
            float *out = s->out + row * s->step;
#pragma omp simd
            for (int64_t i = 0; i < s->step; i++) out[i] *= keep;
        }
        s->largest[row] = largest;
        s->sum[row] = sum; /* of all, dropped or not */
        if (head->mask.threshold) {
            attention_factors(&head->mask, query + row, key, seen, factor);
            multiply_row(seen, factor, p);
        }
    }
}

static void forward_queries(const attention_head *head, int64_t query, int64_t queries, forward_scratch *s)
{
    int64_t key_end = head->causal ? query + queries : head->length;
    for (int64_t key = 0; key < key_end; key += ATTENTION_KEYS) {
        int64_t keys = tdm_min_i64(ATTENTION_KEYS, key_end - key);
        score_block(head, query, queries, key, keys, s->q, s->step, s->kt, s->kt_step, s->scores);
        online_softmax(head, query, queries, key, keys, s);
        for (int64_t row = 0; row < queries; row += TILE_ROWS) {
            int64_t rows = tdm_min_i64(TILE_ROWS, queries - row);
            int64_t seen = visible_keys(head->causal, query + row + rows - 1, key, keys);
            tile_left left = {s->scores + row * ATTENTION_KEYS, ATTENTION_KEYS, 1};
            row_tile(rows, s->step, seen, left, s->v + key * s->step, s->step, s->out + row * s->step,
                     s->step, key > 0);
        }
    }
}

INLINE float *take_floats(float **at, int64_t count)
{
    float *taken = *at;
    *at += tdm_round_up(count, LANES);
    return taken;
}

INLINE void attention_forward_typed(int dtype, const attention_head *head, void *scratch)
{
    forward_scratch s = {.step = tdm_round_up(head->head_dim, LANES),
                         .kt_step = tdm_round_up(head->length, LANES)};
    float *at = scratch;
    s.kt = take_floats(&at, head->head_dim * s.kt_step);
    s.v = take_floats(&at, head->length * s.step);
    s.q = take_floats(&at, ATTENTION_QUERIES * s.step);
    s.out = take_floats(&at, ATTENTION_QUERIES * s.step);
    s.scores = take_floats(&at, ATTENTION_QUERIES * ATTENTION_KEYS);
    load_rows(dtype, head->length, head->head_dim, head->qkv_step, head->k, 1.0f, s.step, s.v);
    transpose_rows(head->length, head->head_dim, s.step, s.v, s.kt_step, s.kt);
    load_rows(dtype, head->length, head->head_dim, head->qkv_step, head->v, 1.0f, s.step, s.v);
    const int64_t step = block_queries(head->length);
    for (int64_t query = 0; query < head->length; query += step) {
        int64_t queries = tdm_min_i64(step, head->length - query);
        load_rows(dtype, queries, head->head_dim, head->qkv_step,
                  act_at(dtype, head->q, query * head->qkv_step), head->scale, s.step, s.q);
        forward_queries(head, query, queries, &s);
        for (int64_t row = 0; row < queries; row++) {
            head->lse[query + row] = s.largest[row] + logf(s.sum[row]);
            store_rows(dtype, 1, head->head_dim, s.step, s.out + row * s.step, 1.0f / s.sum[row],
                       head->out_step, act_at_mutable(dtype, head->out, (query + row) * head->out_step));
        }
    }
}

static void attention_forward(const attention_head *head, void *scratch)
{
    BY_DTYPE(head->dtype, attention_forward_typed(DTYPE, head, scratch));
}

typedef struct backward_scratch {
    int64_t step, kt_step;
    float *q, *k, *dout; /* [S][step]; q is scaled */
    float *kt, *vt;      /* [head_dim][kt_step] */
    float *dq, *delta;   /* [S][step], [S] */
    float *dk, *dv;      /* [keys][step] */
    float *p, *ds;       /* [queries][keys] */
} backward_scratch;

/* p = exp(q·kt - lse), ds = p∘(dout·vt - delta), both zero where a query sees no key. With dropout's factors f
 * ds = p∘(f∘(dout·vt) - delta), and p becomes f∘p, which is what made out; delta = dout·out holds as it is. */
static void probability_block(const attention_head *head, int64_t query, int64_t queries, int64_t key,
                              int64_t keys, backward_scratch *s)
{
    int64_t width = tdm_round_up(keys, LANES);
    score_block(head, query, queries, key, keys, s->q + query * s->step, s->step, s->kt, s->kt_step, s->p);
    score_block(head, query, queries, key, keys, s->dout + query * s->step, s->step, s->vt, s->kt_step,
                s->ds);
    float factor[ATTENTION_KEYS];
    for (int64_t row = 0; row < queries; row++) {
        float *p = s->p + row * ATTENTION_KEYS;
        float *ds = s->ds + row * ATTENTION_KEYS;
        int64_t seen = visible_keys(head->causal, query + row, key, keys);
        (void)exp_row(seen, width, head->lse[query + row], p);
        for (int64_t j = seen; j < width; j++) ds[j] = 0.0f;
        if (head->mask.threshold) {
            attention_factors(&head->mask, query + row, key, seen, factor);
            multiply_row(seen, factor, ds);
        }
        float delta = s->delta[query + row];
        for (int64_t block = 0; block < width; block += LANES) {
#pragma omp simd
            for (int lane = 0; lane < LANES; lane++)
                ds[block + lane] = p[block + lane] * (ds[block + lane] - delta);
        }
        if (head->mask.threshold) multiply_row(seen, factor, p);
    }
}

/* dv += p^T·dout, dk += ds^T·q (rows: keys), dq += ds·k (rows: queries) */
static void gradient_block(const attention_head *head, int64_t query, int64_t queries, int64_t key,
                           int64_t keys, bool first_queries, backward_scratch *s)
{
    for (int64_t row = 0; row < keys; row += TILE_ROWS) {
        int64_t rows = tdm_min_i64(TILE_ROWS, keys - row);
        int64_t skip = head->causal ? tdm_max_i64(0, key + row - query) : 0; /* queries before these keys */
        skip = tdm_min_i64(skip, queries);
        const float *q = s->q + (query + skip) * s->step, *dout = s->dout + (query + skip) * s->step;
        int64_t at = skip * ATTENTION_KEYS + row;
        row_tile(rows, s->step, queries - skip, (tile_left){s->p + at, 1, ATTENTION_KEYS}, dout, s->step,
                 s->dv + row * s->step, s->step, !first_queries);
        row_tile(rows, s->step, queries - skip, (tile_left){s->ds + at, 1, ATTENTION_KEYS}, q, s->step,
                 s->dk + row * s->step, s->step, !first_queries);
    }
    for (int64_t row = 0; row < queries; row += TILE_ROWS) {
        int64_t rows = tdm_min_i64(TILE_ROWS, queries - row);
        int64_t seen = visible_keys(head->causal, query + row + rows - 1, key, keys);
        tile_left left = {s->ds + row * ATTENTION_KEYS, ATTENTION_KEYS, 1};
        row_tile(rows, s->step, seen, left, s->k + key * s->step, s->step, s->dq + (query + row) * s->step,
                 s->step, key > 0);
    }
}

INLINE void load_backward(int dtype, const attention_head *head, void *scratch, backward_scratch *s)
{
    int64_t length = head->length, head_dim = head->head_dim, step = s->step;
    float *at = scratch;
    s->q = take_floats(&at, length * step);
    s->k = take_floats(&at, length * step);
    s->dout = take_floats(&at, length * step);
    s->dq = take_floats(&at, length * step);
    s->kt = take_floats(&at, head_dim * s->kt_step);
    s->vt = take_floats(&at, head_dim * s->kt_step);
    s->delta = take_floats(&at, length);
    s->dk = take_floats(&at, ATTENTION_KEYS * step);
    s->dv = take_floats(&at, ATTENTION_KEYS * step);
    s->p = take_floats(&at, ATTENTION_QUERIES * ATTENTION_KEYS);
    s->ds = take_floats(&at, ATTENTION_QUERIES * ATTENTION_KEYS);
    load_rows(dtype, length, head_dim, head->qkv_step, head->v, 1.0f, step, s->k);
    transpose_rows(length, head_dim, step, s->k, s->kt_step, s->vt);
    load_rows(dtype, length, head_dim, head->qkv_step, head->k, 1.0f, step, s->k);
    transpose_rows(length, head_dim, step, s->k, s->kt_step, s->kt);
    load_rows(dtype, length, head_dim, head->qkv_step, head->q, head->scale, step, s->q);
    load_rows(dtype, length, head_dim, head->out_step, head->dout, 1.0f, step, s->dout);
    for (int64_t row = 0; row < length; row++) { /* delta = dout·out = sum_j p_j dp_j */
        const void *out = act_at(dtype, head->out, row * head->out_step);
        const float *dout = s->dout + row * step;
        float delta = 0.0f;
#pragma omp simd reduction(+ : delta)
        for (int64_t i = 0; i < head_dim; i++) delta += dout[i] * act_get(dtype, out, i);
        s->delta[row] = delta;
    }
}

INLINE void attention_backward_typed(int dtype, const attention_head *head, void *scratch)
{
    int64_t length = head->length, head_dim = head->head_dim;
    backward_scratch s = {.step = tdm_round_up(head_dim, LANES), .kt_step = tdm_round_up(length, LANES)};
    load_backward(dtype, head, scratch, &s);
    const int64_t step = block_queries(length);
    for (int64_t key = 0; key < length; key += ATTENTION_KEYS) {
        int64_t keys = tdm_min_i64(ATTENTION_KEYS, length - key);
        int64_t first = head->causal ? key / step * step : 0;
        for (int64_t query = first; query < length; query += step) {
            int64_t queries = tdm_min_i64(step, length - query);
            probability_block(head, query, queries, key, keys, &s);
            gradient_block(head, query, queries, key, keys, query == first, &s);
        }
        store_rows(dtype, keys, head_dim, s.step, s.dk, 1.0f, head->qkv_step,
                   act_at_mutable(dtype, head->dk, key * head->qkv_step));
        store_rows(dtype, keys, head_dim, s.step, s.dv, 1.0f, head->qkv_step,
                   act_at_mutable(dtype, head->dv, key * head->qkv_step));
    }
    store_rows(dtype, length, head_dim, s.step, s.dq, head->scale, head->qkv_step, head->dq);
}

static void attention_backward(const attention_head *head, void *scratch)
{
    BY_DTYPE(head->dtype, attention_backward_typed(DTYPE, head, scratch));
}
