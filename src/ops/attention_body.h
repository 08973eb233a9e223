/* Attention of one (sequence, head), forward and backward; part of kernels_body.h.
 *
 * Queries go in blocks of up to ATTENTION_QUERIES, keys in blocks of ATTENTION_KEYS, so that a block of scores stays in
 * the caches for any sequence length. Scores lie with a query in each lane of the vectors, S^T[key][query]:
 *
 *     product            broadcast element     rows of vectors        bound where causal
 *     S^T  = K Q^T       K   [key][dim]        Q^T  [dim][query]      keys up to the last query of the columns
 *     dP^T = V dO^T      V   [key][dim]        dO^T [dim][query]      the same
 *     O    = P V         P^T [key][query]      V    [key][dim]        keys up to the last query of the rows
 *     dQ   = dS K        dS^T                  K    [key][dim]        the same
 *     dV   = P^T dO      P^T                   dO   [query][dim]      queries from the first key of the rows on
 *     dK   = dS^T Q      dS^T                  Q    [query][dim]      the same
 *
 * so that the softmax of a query runs down one lane: it needs no sum or maximum across lanes, and what there is one of
 * for each query is a vector. Only the queries' rows are transposed, a block at a time. The exponentials are powers of
 * two: the scores' factor takes in log2(e).
 *
 * Forward keeps a running maximum and sum per query (Milakov and Gimelshein, "Online normalizer calculation for
 * softmax", 2018); backward recomputes the probabilities from the log-sum-exp (Dao et al., "FlashAttention", 2022). */
#include "attention_tiles.h"

enum { SCORE_STEP = ATTENTION_QUERIES + VECTOR_PAD }; /* of rows of scores and of transposed queries */

static const float LOG2_E = 1.44269504f;

/* ---- Rows ---- */
INLINE int64_t vectors_of(int64_t floats)
{
    return (floats + VECTOR - 1) / VECTOR;
}

/* to[rows][step] = from[rows][width] as f32, columns beyond width zero as far as vectors reach. */
INLINE void load_rows(int dtype, int64_t rows, int64_t width, int64_t from_step, const void *from,
                      int64_t step, float *to)
{
    const int64_t padded = vectors_of(width) * VECTOR;
    for (int64_t row = 0; row < rows; row++) {
        float *to_row = to + row * step;
        const void *from_row = act_at(dtype, from, row * from_step);
#pragma omp simd
        for (int64_t i = 0; i < width; i++) to_row[i] = act_get(dtype, from_row, i);
        for (int64_t i = width; i < padded; i++) to_row[i] = 0.0f;
    }
}

/* Rows of f32, step floats apart: where they are, or else converted to `room`[rows][step]. */
typedef struct rows_f32 {
    const float *at;
    int64_t step;
} rows_f32;

INLINE rows_f32 view_rows(int dtype, int64_t rows, int64_t width, int64_t from_step, const void *from,
                          int64_t step, float *room)
{
    if (dtype == TDM_F32) return (rows_f32){from, from_step};
    load_rows(dtype, rows, width, from_step, from, step, room);
    return (rows_f32){room, step};
}

/* stream: past the caches, where these are whole lines */
INLINE void store_row(int dtype, int64_t width, const float *from, float scale, bool stream, void *to)
{
    if (stream && dtype == TDM_F32 && width * (int64_t)sizeof(float) % CACHE_LINE == 0 &&
        (uintptr_t)to % CACHE_LINE == 0) {
        for (int64_t i = 0; i < width; i += VECTOR) stream_vec((float *)to + i, load_vec(from + i) * scale);
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < width; i++) act_set(dtype, to, i, from[i] * scale);
}

INLINE void store_rows(int dtype, int64_t rows, int64_t width, int64_t step, const float *from, float scale,
                       bool stream, int64_t to_step, void *to)
{
    for (int64_t row = 0; row < rows; row++)
        store_row(dtype, width, from + row * step, scale, stream, act_at_mutable(dtype, to, row * to_step));
}

/* to[width][SCORE_STEP] = transpose of rows of queries */
static void transpose_queries(int64_t queries, int64_t width, rows_f32 from, float *to)
{
    for (int64_t i = 0; i < queries; i += VECTOR)
        transpose_rows(tdm_min_i64(VECTOR, queries - i), width, from.step, from.at + i * from.step,
                       SCORE_STEP, to + i);
}

/* ---- The next head's rows are fetched: what it writes like what it reads, unless that goes past the caches ---- */

/* `products` products with all scores are the work of this head. */
static void start_fetch(const attention_head *head, float products, fetch *f)
{
    const attention_head *next = head->next;
    f->rows = f->row = 0;
    f->due = f->per_work = 0.0f;
    if (next == NULL || next->length == 0) return;
    const int64_t size = (int64_t)tdm_dtype_bytes(next->dtype);
    const int64_t qkv = next->qkv_step * size, out = next->out_step * size;
    const row_stream all[STREAMS] = {{next->q, qkv},    {next->k, qkv},  {next->v, qkv},  {next->out, out},
                                     {next->dout, out}, {next->dq, qkv}, {next->dk, qkv}, {next->dv, qkv}};
    const bool stream = next->stream && next->dtype == TDM_F32;
    memcpy(f->of, all, sizeof(all));
    f->stream = f->piece = 0;
    f->streams = next->dout ? (stream ? 5 : STREAMS) : (stream ? 3 : 4);
    f->rows = next->length;
    f->pieces = (next->head_dim * size + FETCHED - 1) / FETCHED;
    const float length = (float)head->length, dim = (float)head->head_dim;
    const float work = products * (head->causal ? 0.5f : 1.0f) * length * length * dim / (float)VECTOR;
    f->per_work = (float)(f->rows * f->streams * f->pieces) / work;
}

/* ---- Products of a block ---- */

/* Rows [begin, end) of a product and all columns; p's pointers are those of row and column 0. */
static void multiply(panel p, int64_t begin, int64_t end, int64_t vectors, fetch *f)
{
    for (int64_t width; vectors > 0; vectors -= width) {
        width = tile_width(vectors);
        multiply_rows(&p, begin, end, width, f);
        p.b += width * VECTOR;
        p.c += width * VECTOR;
    }
}

/* Scores of a causal head: row r, a key, is seen from column r - limit on. Keys that none but the last vectors of a
 * panel see are multiplied with these alone. */
static void multiply_triangle(panel p, int64_t rows, int64_t vectors, fetch *f)
{
    enum { FEW = 6 };
    int64_t limit = p.limit;
    for (int64_t width; vectors > 0; vectors -= width) {
        width = tile_width(vectors);
        const int64_t all = tdm_min_i64(rows, limit + width * VECTOR);
        panel part = p;
        int64_t begin = 0;
        for (int64_t i = 0; i < width; i++, part.b += VECTOR, part.c += VECTOR) {
            int64_t end = tdm_min_i64(rows, limit + (i + 1) * VECTOR);
            if (all - end < FEW) end = all;
            if (end <= begin) continue;
            multiply_rows(&part, begin, end, width - i, f);
            begin = end;
        }
        limit += width * VECTOR;
        p.b += width * VECTOR;
        p.c += width * VECTOR;
    }
}

/* A block of scores: queries [query, query + queries) and keys [key, key + keys). */
typedef struct score_block {
    const attention_head *head;
    int64_t query, queries, key, keys;
    int64_t step; /* of rows of head_dim */
} score_block;

/* to[keys][SCORE_STEP] = rows[keys][head_dim] · columns[head_dim][queries] */
static void multiply_scores(const score_block *b, rows_f32 rows, const float *columns, float *to, fetch *f)
{
    const panel p = {.k = b->head->head_dim,
                     .a = rows.at + b->key * rows.step,
                     .row_step = rows.step,
                     .k_step = 1,
                     .b = columns,
                     .b_step = SCORE_STEP,
                     .c = to,
                     .c_step = SCORE_STEP,
                     .limit = b->query - b->key};
    if (b->head->causal)
        multiply_triangle(p, b->keys, vectors_of(b->queries), f);
    else
        multiply(p, 0, b->keys, vectors_of(b->queries), f);
}

/* to[queries][step] (+)= scores^T · rows[keys][step] */
static void multiply_keys(const score_block *b, const float *scores, const float *rows, bool add, float *to,
                          fetch *f)
{
    const panel p = {.k = b->keys,
                     .a = scores,
                     .row_step = 1,
                     .k_step = SCORE_STEP,
                     .b = rows + b->key * b->step,
                     .b_step = b->step,
                     .c = to,
                     .c_step = b->step,
                     .add = add,
                     .range = b->head->causal ? K_TO_ROW : K_ALL,
                     .limit = b->query - b->key + 1};
    multiply(p, 0, b->queries, vectors_of(b->head->head_dim), f);
}

/* to[keys][step] (+)= scores · rows[queries][step]: keys that no earlier block of queries saw are written */
static void multiply_queries(const score_block *b, const float *scores, const float *rows, float *to,
                             fetch *f)
{
    panel p = {.k = b->queries,
               .a = scores,
               .row_step = SCORE_STEP,
               .k_step = 1,
               .b = rows,
               .b_step = b->step,
               .c = to + b->key * b->step,
               .c_step = b->step,
               .add = true,
               .range = b->head->causal ? K_FROM_ROW : K_ALL,
               .limit = b->query - b->key};
    const int64_t vectors = vectors_of(b->head->head_dim),
                  seen = b->head->causal || b->query == 0 ? b->query : b->head->length;
    const int64_t known = tdm_max_i64(0, tdm_min_i64(seen - b->key, b->keys));
    multiply(p, 0, known, vectors, f);
    p.add = false;
    multiply(p, known, b->keys, vectors, f);
}

/* ---- Blocks of queries: of about one size, whole vectors ---- */
INLINE int64_t query_blocks(int64_t length)
{
    return (length + ATTENTION_QUERIES - 1) / ATTENTION_QUERIES;
}
INLINE int64_t first_query(int64_t length, int64_t i)
{
    return tdm_min_i64(length, tdm_part_begin(vectors_of(length), query_blocks(length), i) * VECTOR);
}

/* ---- Columns of VECTOR queries ---- */

/* Which keys of a block the queries of a column see: all of them the first `all`, some of them those up to `some`. */
typedef struct query_column {
    int64_t at; /* the first query of the column, from the block's first on */
    int64_t all, some;
    int64_t behind; /* the column's first query less the block's first key */
} query_column;

INLINE query_column column_of(const score_block *b, int64_t at)
{
    const int64_t behind = b->query + at - b->key;
    if (!b->head->causal) return (query_column){at, b->keys, b->keys, behind};
    return (query_column){at, tdm_max_i64(0, tdm_min_i64(b->keys, behind + 1)),
                          tdm_max_i64(0, tdm_min_i64(b->keys, behind + VECTOR)), behind};
}

/* The lanes whose queries see the block's key. */
INLINE ivec seeing_lanes(const query_column *c, int64_t key)
{
    static const int32_t lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    ivec numbers;
    memcpy(&numbers, lanes, sizeof(numbers));
    return numbers >= (int32_t)(key - c->behind);
}

/* A tile of rows may reach this far beyond the keys that its queries see; it finds zeros there. */
INLINE void clear_behind(const score_block *b, const query_column *c, float *p)
{
    const int64_t end = tdm_min_i64(b->keys, c->some + HIGHEST_TILE);
    for (int64_t key = c->some; key < end; key++) store_vec(p + key * SCORE_STEP + c->at, (vec){0});
}

/* Dropout's factors of a group of keys: [key][lane] */
typedef struct factor_tile {
    float of[ATTENTION_MASK_GROUP][VECTOR];
} factor_tile;

/* Of the keys from the block's key `key` on, which begins a group. Queries that do not exist may have any. */
static void make_factors(const score_block *b, const query_column *c, int64_t key, factor_tile *to)
{
    float rows[VECTOR][ATTENTION_MASK_GROUP];
    const int64_t queries = tdm_min_i64(VECTOR, b->queries - c->at);
    for (int64_t i = 0; i < queries; i++)
        attention_factors(&b->head->mask, b->query + c->at + i, b->key + key, ATTENTION_MASK_GROUP, rows[i]);
    transpose_rows(queries, ATTENTION_MASK_GROUP, ATTENTION_MASK_GROUP, rows[0], VECTOR, to->of[0]);
}

/* ---- Forward ---- */

typedef struct forward_scratch {
    rows_f32 k;
    float *v;   /* [S][step] */
    float *out; /* [queries][step] */
    float *qt;  /* [head_dim][queries] */
    float *p;   /* [keys][queries]: scores, then unnormalised probabilities */
    float largest[ATTENTION_QUERIES], sum[ATTENTION_QUERIES]; /* of each query; of the scores as they are */
    float keep[ATTENTION_QUERIES];                            /* the factor of what earlier blocks left */
} forward_scratch;

/* The largest score of each lane, `largest` included; what a query does not see becomes -infinity. */
INLINE vec largest_scores(const query_column *c, vec largest, float *p)
{
    vec most[4] = {largest, largest, largest, largest};
    int64_t key = 0;
    for (; key + 4 <= c->all; key += 4) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) most[i] = max_vec(most[i], load_vec(p + (key + i) * SCORE_STEP + c->at));
    }
    for (; key < c->some; key++) {
        float *at = p + key * SCORE_STEP + c->at;
        if (key >= c->all)
            store_vec(at, select_vec(seeing_lanes(c, key), load_vec(at), all_lanes(-INFINITY)));
        most[0] = max_vec(most[0], load_vec(at));
    }
    return max_vec(max_vec(most[0], most[1]), max_vec(most[2], most[3]));
}

INLINE void drop(const score_block *b, const query_column *c, float *p)
{
    factor_tile factors;
    for (int64_t key = 0; key < c->some; key++) {
        const int64_t in_group = key % ATTENTION_MASK_GROUP;
        if (in_group == 0) make_factors(b, c, key, &factors);
        float *at = p + key * SCORE_STEP + c->at;
        store_vec(at, load_vec(at) * load_vec(factors.of[in_group]));
    }
}

/* Turns a block of scores into unnormalised probabilities. */
static void online_softmax(const score_block *b, forward_scratch *s)
{
    const float factor = b->head->scale * LOG2_E;
    for (int64_t at = 0; at < b->queries; at += VECTOR) {
        const query_column c = column_of(b, at);
        const vec before = b->key > 0 ? load_vec(s->largest + at) : all_lanes(-INFINITY);
        const vec largest = largest_scores(&c, before, s->p), offset = largest * factor;
        const vec keep = exp2_vec(before * factor - offset);
        vec sum = b->key > 0 ? load_vec(s->sum + at) * keep : (vec){0};
        float *p = s->p + at;
        for (int64_t key = 0; key < c.some; key++, p += SCORE_STEP) {
            const vec value = exp2_vec(load_vec(p) * factor - offset);
            store_vec(p, value);
            sum += value;
        }
        store_vec(s->largest + at, largest);
        store_vec(s->keep + at, keep);
        store_vec(s->sum + at, sum); /* of all, dropped or not */
        if (b->head->mask.threshold) drop(b, &c, s->p);
        clear_behind(b, &c, s->p);
    }
}

INLINE void scale_row(int64_t width, float factor, float *x)
{
    for (int64_t i = 0; i < width; i += VECTOR) store_vec(x + i, load_vec(x + i) * factor);
}

static void forward_queries(score_block b, forward_scratch *s, fetch *f)
{
    const attention_head *head = b.head;
    const int64_t end = head->causal ? b.query + b.queries : head->length;
    for (b.key = 0; b.key < end; b.key += ATTENTION_KEYS) {
        b.keys = tdm_min_i64(ATTENTION_KEYS, end - b.key);
        multiply_scores(&b, s->k, s->qt, s->p, f);
        online_softmax(&b, s);
        for (int64_t row = 0; row < b.queries && b.key > 0; row++)
            scale_row(head->head_dim, s->keep[row], s->out + row * b.step);
        multiply_keys(&b, s->p, s->v, b.key > 0, s->out, f);
    }
    for (int64_t at = 0; at < b.queries; at += VECTOR) {
        const vec sum = load_vec(s->sum + at);
        store_vec(s->largest + at, load_vec(s->largest + at) * head->scale + log_vec(sum));
        store_vec(s->keep + at, 1.0f / sum);
    }
    memcpy(head->lse + b.query, s->largest, sizeof(float) * (size_t)b.queries);
}

INLINE float *take_floats(float **at, int64_t count)
{
    float *taken = *at;
    *at += tdm_round_up(count, VECTOR_PAD);
    return taken;
}

INLINE void attention_forward_typed(int dtype, const attention_head *head, void *scratch)
{
    const int64_t length = head->length, dim = head->head_dim, step = attention_step(dim);
    forward_scratch s;
    float *at = scratch;
    float *const k_room = take_floats(&at, length * step), *const q_room =
                                                               take_floats(&at, ATTENTION_QUERIES * step);
    s.v = take_floats(&at, length * step);
    s.out = take_floats(&at, ATTENTION_QUERIES * step);
    s.qt = take_floats(&at, dim * SCORE_STEP);
    s.p = take_floats(&at, ATTENTION_KEYS * SCORE_STEP);
    fetch f;
    start_fetch(head, 2.0f, &f);
    s.k = view_rows(dtype, length, dim, head->qkv_step, head->k, step, k_room);
    load_rows(dtype, length, dim, head->qkv_step, head->v, step, s.v);
    for (int64_t i = 0; i < query_blocks(length); i++) {
        const int64_t query = first_query(length, i), queries = first_query(length, i + 1) - query;
        const void *q = act_at(dtype, head->q, query * head->qkv_step);
        transpose_queries(queries, dim, view_rows(dtype, queries, dim, head->qkv_step, q, step, q_room),
                          s.qt);
        forward_queries((score_block){.head = head, .query = query, .queries = queries, .step = step}, &s,
                        &f);
        for (int64_t row = 0; row < queries; row++)
            store_row(dtype, dim, s.out + row * step, s.keep[row], head->stream,
                      act_at_mutable(dtype, head->out, (query + row) * head->out_step));
    }
}

static void attention_forward(const attention_head *head, void *scratch)
{
    BY_DTYPE(head->dtype, attention_forward_typed(DTYPE, head, scratch));
}

/* ---- Backward ---- */

typedef struct backward_scratch {
    float *k, *dk, *dv; /* [S][step] */
    rows_f32 v;
    float *q, *dout, *dq;                                      /* [queries][step] */
    float *qt, *dout_t;                                        /* [head_dim][queries] */
    float *p, *ds;                                             /* [keys][queries] */
    float offset[ATTENTION_QUERIES], delta[ATTENTION_QUERIES]; /* lse·log2(e), dout·out */
} backward_scratch;

/* p = exp(scale·score - lse), ds = p∘(dp - delta), both zero where a query sees no key. With dropout's factors f
 * ds = p∘(f∘dp - delta), and p becomes f∘p, which is what made out; delta = dout·out holds as it is. */
static void make_probabilities(const score_block *b, backward_scratch *s)
{
    const float factor = b->head->scale * LOG2_E;
    factor_tile factors;
    for (int64_t at = 0; at < b->queries; at += VECTOR) {
        const query_column c = column_of(b, at);
        const vec offset = load_vec(s->offset + at), delta = load_vec(s->delta + at);
        for (int64_t key = 0; key < c.some; key++) {
            float *p_at = s->p + key * SCORE_STEP + at, *ds_at = s->ds + key * SCORE_STEP + at;
            vec p = exp2_vec(load_vec(p_at) * factor - offset), dp = load_vec(ds_at);
            vec seen_p = p;
            if (b->head->mask.threshold) {
                const int64_t in_group = key % ATTENTION_MASK_GROUP;
                if (in_group == 0) make_factors(b, &c, key, &factors);
                dp *= load_vec(factors.of[in_group]);
                seen_p *= load_vec(factors.of[in_group]);
            }
            vec ds = p * (dp - delta);
            if (key >= c.all) { /* beyond may be anything, also a NaN */
                const ivec seeing = seeing_lanes(&c, key);
                seen_p = select_vec(seeing, seen_p, (vec){0});
                ds = select_vec(seeing, ds, (vec){0});
            }
            store_vec(p_at, seen_p);
            store_vec(ds_at, ds);
        }
        clear_behind(b, &c, s->p);
        clear_behind(b, &c, s->ds);
    }
}

static void backward_queries(score_block b, backward_scratch *s, fetch *f)
{
    const int64_t end = b.head->causal ? b.query + b.queries : b.head->length;
    for (b.key = 0; b.key < end; b.key += ATTENTION_KEYS) {
        b.keys = tdm_min_i64(ATTENTION_KEYS, end - b.key);
        multiply_scores(&b, (rows_f32){s->k, b.step}, s->qt, s->p, f);
        multiply_scores(&b, s->v, s->dout_t, s->ds, f);
        make_probabilities(&b, s);
        multiply_keys(&b, s->ds, s->k, b.key > 0, s->dq, f);
        multiply_queries(&b, s->p, s->dout, s->dv, f);
        multiply_queries(&b, s->ds, s->q, s->dk, f);
    }
}

/* Rows and columns of a block of queries. */
INLINE void load_queries(int dtype, const score_block *b, backward_scratch *s)
{
    const attention_head *head = b->head;
    const int64_t dim = head->head_dim;
    load_rows(dtype, b->queries, dim, head->qkv_step, act_at(dtype, head->q, b->query * head->qkv_step),
              b->step, s->q);
    load_rows(dtype, b->queries, dim, head->out_step, act_at(dtype, head->dout, b->query * head->out_step),
              b->step, s->dout);
    transpose_queries(b->queries, dim, (rows_f32){s->q, b->step}, s->qt);
    transpose_queries(b->queries, dim, (rows_f32){s->dout, b->step}, s->dout_t);
    for (int64_t at = 0; at < b->queries; at += VECTOR) {
        float products[VECTOR][VECTOR];
        for (int64_t i = 0; i < VECTOR; i++) {
            for (int lane = 0; lane < VECTOR; lane++) products[i][lane] = 0.0f;
            if (at + i >= b->queries) continue;
            const void *out = act_at(dtype, head->out, (b->query + at + i) * head->out_step);
            const float *dout = s->dout + (at + i) * b->step;
            int64_t column = 0;
            vec sum = (vec){0};
            for (; column + VECTOR <= dim; column += VECTOR) {
                float values[VECTOR];
#pragma omp simd
                for (int lane = 0; lane < VECTOR; lane++) values[lane] = act_get(dtype, out, column + lane);
                sum += load_vec(values) * load_vec(dout + column);
            }
            store_vec(products[i], sum);
            for (; column < dim; column++) products[i][0] += act_get(dtype, out, column) * dout[column];
        }
        store_vec(s->delta + at, sums_of(products));
    }
    for (int64_t i = 0; i < b->queries; i++) s->offset[i] = head->lse[b->query + i] * LOG2_E;
    for (int64_t i = b->queries; i < vectors_of(b->queries) * VECTOR; i++)
        s->offset[i] = s->offset[i - i % VECTOR];
}

INLINE void attention_backward_typed(int dtype, const attention_head *head, void *scratch)
{
    const int64_t length = head->length, dim = head->head_dim, step = attention_step(dim);
    backward_scratch s;
    float *at = scratch;
    s.k = take_floats(&at, length * step);
    float *const v_room = take_floats(&at, length * step);
    s.dk = take_floats(&at, length * step);
    s.dv = take_floats(&at, length * step);
    s.q = take_floats(&at, ATTENTION_QUERIES * step);
    s.dout = take_floats(&at, ATTENTION_QUERIES * step);
    s.dq = take_floats(&at, ATTENTION_QUERIES * step);
    s.qt = take_floats(&at, dim * SCORE_STEP);
    s.dout_t = take_floats(&at, dim * SCORE_STEP);
    s.p = take_floats(&at, ATTENTION_KEYS * SCORE_STEP);
    s.ds = take_floats(&at, ATTENTION_KEYS * SCORE_STEP);
    fetch f;
    start_fetch(head, 5.0f, &f);
    load_rows(dtype, length, dim, head->qkv_step, head->k, step, s.k);
    s.v = view_rows(dtype, length, dim, head->qkv_step, head->v, step, v_room);
    for (int64_t i = 0; i < query_blocks(length); i++) {
        const int64_t query = first_query(length, i), queries = first_query(length, i + 1) - query;
        const score_block b = {.head = head, .query = query, .queries = queries, .step = step};
        load_queries(dtype, &b, &s);
        backward_queries(b, &s, &f);
        store_rows(dtype, queries, dim, step, s.dq, head->scale, head->stream, head->qkv_step,
                   act_at_mutable(dtype, head->dq, query * head->qkv_step));
    }
    store_rows(dtype, length, dim, step, s.dk, head->scale, head->stream, head->qkv_step, head->dk);
    store_rows(dtype, length, dim, step, s.dv, 1.0f, head->stream, head->qkv_step, head->dv);
}

static void attention_backward(const attention_head *head, void *scratch)
{
    BY_DTYPE(head->dtype, attention_backward_typed(DTYPE, head, scratch));
}
