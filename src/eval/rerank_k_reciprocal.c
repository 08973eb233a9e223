/* Re-ranking with k-reciprocal encoding (Zhong, Zheng, Cao and Li, CVPR 2017, arXiv 1701.08398).
 *
 * Over queries and gallery as one list, d(i, j) being the squared distance of two rows divided by the largest from i:
 *
 *     N(i, k)  the k + 1 nearest of i, which i itself belongs to
 *     R(i, k)  = {j in N(i, k) : i in N(j, k)}                                             k-reciprocal neighbours
 *     R*(i)    = R(i, k1) and every R(c, k1/2), c in R(i, k1), of which more than two thirds lie in R(i, k1)
 *     V(i, j)  = exp(-d(i, j)) for j in R*(i), else 0; divided by their sum
 *     V'(i, .) = mean of V(n, .) over the k2 nearest n of i
 *     J(q, g)  = 1 - S / (2 - S), S = sum over j of min(V'(q, j), V'(g, j))
 *     distance = (1 - lambda) J(q, g) + lambda d(q, g)
 *
 * Nothing here has the size of rows × rows. A row of V has some dozens of entries, and J is 1 wherever those of query and
 * gallery row have none in common: only the pairs that do have some are listed (tdm_reordering).
 *
 * Every rank holds the neighbours (4 (k1 + 1) bytes a row) and V (8 bytes an entry) of all rows, so that what follows the
 * search asks nobody: rows of V' are made when they are needed, of its own queries and of the whole gallery. */
#include "rerank_impl.h"

#include <math.h>
#include <stdlib.h>

typedef struct reciprocal_options {
    int64_t k1, k2;
    double lambda;
    int64_t candidates;
} reciprocal_options;

static const tdm_option reciprocal_rows[] = {
    TDM_INT_OPTION(reciprocal_options, k1, "20", 1, 1000, "rows", "Neighbours that must be mutual."),
    TDM_INT_OPTION(reciprocal_options, k2, "6", 1, 1000, "rows", "Neighbours whose encodings are averaged."),
    TDM_FLOAT_OPTION(reciprocal_options, lambda, "0.3", 0, 1, "",
                     "Weight of the original distance; that of the Jaccard distance is the rest."),
    TDM_INT_OPTION(
        reciprocal_options, candidates, "0", 0, 1000000, "rows",
        "An approximation: neighbours are looked for among the queries and the gallery rows that are "
        "among so many best of any query; 0: among all."),
};

typedef struct entry { /* of a row of V */
    int32_t column;
    float weight;
} entry;

typedef struct encoding {
    rerank_pool pool;
    int64_t k1, half, k2; /* half of k1, rounded as NumPy does: a half to the even number */
    int64_t width;        /* of `list` */
    int32_t *list;        /* [rows][width] neighbours of all rows */
    double *far[POOL_SIDES];
    int64_t *offset; /* [rows + 1] */
    entry *v;        /* V of all rows, columns ascending */
    int threads;
} encoding;

static void encoding_close(encoding *e)
{
    pool_close(&e->pool);
    tdm_free(e->list);
    for (int s = 0; s < POOL_SIDES; s++) tdm_free(e->far[s]);
    tdm_free(e->offset);
    tdm_free(e->v);
}

/* ---- R*(i) ---- */

static bool is_among(const int32_t *list, int64_t n, int32_t row)
{
    bool found = false;
    for (int64_t j = 0; j < n; j++) found |= list[j] == row;
    return found;
}

/* R(i, k) into out, in the order of the distance. Returns how many. */
static int64_t reciprocal(const encoding *e, int32_t i, int64_t k, int32_t *out)
{
    const int32_t *near = e->list + i * e->width;
    int64_t n = 0;
    for (int64_t j = 0; j <= k; j++)
        if (near[j] >= 0 && is_among(e->list + near[j] * e->width, k + 1, i)) out[n++] = near[j];
    return n;
}

static int compare_i32(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Room that R*(i) needs: every neighbour may bring its own. */
static int64_t most_expanded(const encoding *e)
{
    return (e->k1 + 1) * (e->half + 2);
}

/* R*(i), ascending, into out[most_expanded]. Returns how many. */
static int64_t expanded(const encoding *e, int32_t i, int32_t *out)
{
    const int64_t own = reciprocal(e, i, e->k1, out);
    int64_t n = own, distinct = 0;
    for (int64_t c = 0; c < own; c++) {
        int32_t *of_candidate = out + n;
        const int64_t m = reciprocal(e, out[c], e->half, of_candidate);
        int64_t common = 0;
        for (int64_t j = 0; j < m; j++) common += is_among(out, own, of_candidate[j]);
        if ((double)common > 2.0 / 3 * (double)m) n += m;
    }
    qsort(out, (size_t)n, sizeof *out, compare_i32);
    for (int64_t j = 0; j < n; j++)
        if (distinct == 0 || out[distinct - 1] != out[j]) out[distinct++] = out[j];
    return distinct;
}

/* ---- V ---- */

enum { BLOCK = 1 << 17 }; /* rows that are encoded at once */

typedef struct sets { /* R* of a block of rows, as rows of both sides */
    int64_t n;
    int64_t *offset[POOL_SIDES]; /* [n + 1] */
    int64_t *row[POOL_SIDES];
    float *score[POOL_SIDES];
} sets;

static void sets_free(sets *r)
{
    for (int s = 0; s < POOL_SIDES; s++) {
        tdm_free(r->offset[s]);
        tdm_free(r->row[s]);
        tdm_free(r->score[s]);
    }
    *r = (sets){0};
}

/* R* of the rows first + [0, n), of the pool: counted (row NULL), or written. room [threads][most_expanded] */
static void visit_sets(const encoding *e, int64_t first, sets *r, bool count, int32_t *room)
{
    const int64_t queries = e->pool.total[POOL_QUERY];
#pragma omp parallel for num_threads(e->threads) schedule(static, 1)
    for (int thread = 0; thread < e->threads; thread++) {
        int32_t *set = room + thread * most_expanded(e);
        const int64_t last = tdm_part_begin(r->n, e->threads, thread + 1);
        for (int64_t i = tdm_part_begin(r->n, e->threads, thread); i < last; i++) {
            const int64_t m = expanded(e, (int32_t)(first + i), set);
            int64_t of_queries = 0;
            while (of_queries < m && set[of_queries] < queries) of_queries++;
            if (count) {
                r->offset[POOL_QUERY][i + 1] = of_queries;
                r->offset[POOL_GALLERY][i + 1] = m - of_queries;
                continue;
            }
            int64_t *out[POOL_SIDES];
            for (int s = 0; s < POOL_SIDES; s++) out[s] = r->row[s] + r->offset[s][i];
            for (int64_t j = 0; j < of_queries; j++) *out[POOL_QUERY]++ = set[j];
            for (int64_t j = of_queries; j < m; j++) *out[POOL_GALLERY]++ = set[j] - queries;
        }
    }
}

/* Of the local rows [begin, begin + n) of a side. */
static tdm_status make_sets(const encoding *e, int side, int64_t begin, int64_t n, sets *r)
{
    const int64_t first =
        begin + e->pool.first[side] + (side == POOL_GALLERY ? e->pool.total[POOL_QUERY] : 0);
    int32_t *room = NULL;
    *r = (sets){.n = n};
    tdm_status status = TDM_ALLOC(e->threads * most_expanded(e), &room);
    for (int s = 0; s < POOL_SIDES && status == TDM_OK; s++) status = TDM_ALLOC(n + 1, &r->offset[s]);
    if (status == TDM_OK) {
        visit_sets(e, first, r, true, room);
        for (int s = 0; s < POOL_SIDES; s++)
            for (int64_t i = 0; i < n; i++) r->offset[s][i + 1] += r->offset[s][i];
    }
    for (int s = 0; s < POOL_SIDES && status == TDM_OK; s++) {
        status = TDM_ALLOC(r->offset[s][n], &r->row[s]);
        if (status == TDM_OK) status = TDM_ALLOC(r->offset[s][n], &r->score[s]);
    }
    if (status == TDM_OK) visit_sets(e, first, r, false, room);
    tdm_free(room);
    return status;
}

/* Row i of the block: exp(-d) over their sum, columns ascending. */
static void weigh(const sets *r, int64_t i, int64_t queries, double square, double far, entry *out)
{
    double sum = 0;
    for (int pass = 0; pass < 2; pass++) { /* the sum; the weights */
        entry *at = out;
        for (int s = 0; s < POOL_SIDES; s++) {
            for (int64_t p = r->offset[s][i]; p < r->offset[s][i + 1]; p++) {
                const double weight = exp(-relative_distance(square, (double)r->score[s][p], far));
                if (pass == 0)
                    sum += weight;
                else
                    *at++ = (entry){.column = (int32_t)(r->row[s][p] + (s == POOL_GALLERY ? queries : 0)),
                                    .weight = (float)(weight / sum)};
            }
        }
    }
}

/* Appends the rows of a block to the side's own V; count [n] of each row. */
static tdm_status weigh_block(const encoding *e, int side, int64_t begin, const sets *r, int64_t *count,
                              eval_buffer *own)
{
    const int64_t before = own->bytes, *const *offset = (const int64_t *const *)r->offset;
    TDM_TRY(eval_buffer_resize(own, before + (offset[0][r->n] + offset[1][r->n]) * (int64_t)sizeof(entry)));
    if (own->data == NULL) return TDM_OK; /* no rows, or none with an entry */
    entry *out = (entry *)(void *)(own->data + before);
#pragma omp parallel for num_threads(e->threads) schedule(static)
    for (int64_t i = 0; i < r->n; i++) {
        weigh(r, i, e->pool.total[POOL_QUERY], e->pool.square[side][begin + i], e->far[side][begin + i],
              out + offset[0][i] + offset[1][i]);
        count[begin + i] = offset[0][i + 1] - offset[0][i] + offset[1][i + 1] - offset[1][i];
    }
    return TDM_OK;
}

static tdm_status encode_block(const encoding *e, int side, int64_t begin, int64_t n, int64_t *count,
                               eval_buffer *own)
{
    const rerank_pool *pool = &e->pool;
    sets r = {0};
    tdm_eval_side block = pool->seeking[side];
    block.n = n;
    block.feature += begin * block.d;
    tdm_status status = tdm_comm_agree(pool->comm, make_sets(e, side, begin, n, &r));
    for (int s = 0; s < POOL_SIDES && status == TDM_OK; s++)
        status = eval_pair_scores(pool->comm, pool->ops, &block, &pool->found[s], r.offset[s], r.row[s],
                                  r.score[s]);
    if (status == TDM_OK) status = weigh_block(e, side, begin, &r, count, own);
    sets_free(&r);
    return tdm_comm_agree(pool->comm, status);
}

/* Everybody's rows of V from everybody's own. count[s][n], own[s]: of this rank. */
static tdm_status gather_encodings(encoding *e, int64_t *const count[POOL_SIDES],
                                   const eval_buffer own[POOL_SIDES])
{
    const rerank_pool *pool = &e->pool;
    int64_t *part = NULL, total = 0;
    tdm_status status = TDM_ALLOC(pool->rows + 1, &e->offset);
    if (status == TDM_OK) status = TDM_ALLOC(tdm_comm_size(pool->comm), &part);
    status = tdm_comm_agree(pool->comm, status);
    if (status == TDM_OK) {
        tdm_comm_gather_rows(pool->comm, count[0], e->offset + 1, pool->part[0], sizeof **count);
        tdm_comm_gather_rows(pool->comm, count[1], e->offset + 1 + pool->total[0], pool->part[1],
                             sizeof **count);
        for (int64_t i = 0; i < pool->rows; i++) e->offset[i + 1] += e->offset[i];
        status = tdm_comm_agree(pool->comm, TDM_ALLOC(e->offset[pool->rows], &e->v));
    }
    for (int s = 0; s < POOL_SIDES && status == TDM_OK; s++) {
        int64_t begin = total;
        tdm_comm_gather_i64(pool->comm, own[s].bytes / (int64_t)sizeof(entry), part);
        for (int r = 0; r < tdm_comm_size(pool->comm); r++) total += part[r];
        tdm_comm_gather_rows(pool->comm, own[s].data, e->v + begin, part, sizeof(entry));
    }
    tdm_free(part);
    return status;
}

static tdm_status encode(encoding *e)
{
    const rerank_pool *pool = &e->pool;
    int64_t *count[POOL_SIDES] = {NULL, NULL};
    eval_buffer own[POOL_SIDES] = {{0}, {0}};
    tdm_status status = TDM_ALLOC(pool->n[0], &count[0]);
    if (status == TDM_OK) status = TDM_ALLOC(pool->n[1], &count[1]);
    status = tdm_comm_agree(pool->comm, status);
    for (int side = 0; side < POOL_SIDES; side++) {
        int64_t most = 0;
        for (int r = 0; r < tdm_comm_size(pool->comm); r++) most = tdm_max_i64(most, pool->part[side][r]);
        for (int64_t round = 0; status == TDM_OK && round * BLOCK < most; round++) {
            const int64_t begin = tdm_min_i64(round * BLOCK, pool->n[side]);
            const int64_t n = tdm_min_i64(begin + BLOCK, pool->n[side]) - begin;
            status = encode_block(e, side, begin, n, count[side], &own[side]);
        }
    }
    if (status == TDM_OK) status = gather_encodings(e, count, own);
    for (int side = 0; side < POOL_SIDES; side++) {
        tdm_free(count[side]);
        tdm_free(own[side].data);
    }
    return status;
}

/* ---- V' ---- */

/* Columns that somebody asks for; NULL: all. */
typedef struct index_of_queries {
    int64_t *offset; /* [rows + 1] by column */
    int32_t *query;  /* local, ascending within a column */
    float *weight;
} index_of_queries;

/* Row i of V', of the columns that are in `index` only, into out; columns ascending. head[2·k2]: room. The means are sums
 * in the order of the neighbours. Returns how many. */
static int64_t average(const encoding *e, int64_t i, const index_of_queries *index, int64_t *head, entry *out)
{
    const int32_t *near = e->list + i * e->width;
    int64_t lists = 0, n = 0;
    for (int64_t j = 0; j < e->k2 && near[j] >= 0; j++, lists++) {
        head[2 * j] = e->offset[near[j]];
        head[2 * j + 1] = e->offset[near[j] + 1];
    }
    for (;;) {
        int32_t column = INT32_MAX;
        for (int64_t j = 0; j < lists; j++)
            if (head[2 * j] < head[2 * j + 1] && e->v[head[2 * j]].column < column)
                column = e->v[head[2 * j]].column;
        if (column == INT32_MAX) return n;
        double sum = 0;
        for (int64_t j = 0; j < lists; j++)
            if (head[2 * j] < head[2 * j + 1] && e->v[head[2 * j]].column == column)
                sum += (double)e->v[head[2 * j]++].weight;
        if (index == NULL || index->offset[column] < index->offset[column + 1])
            out[n++] = (entry){.column = column, .weight = (float)(sum / (double)lists)};
    }
}

/* Entries of the longest row of V', at most. */
static int64_t most_averaged(const encoding *e)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < e->pool.rows; i++)
        longest = tdm_max_i64(longest, e->offset[i + 1] - e->offset[i]);
    return longest * e->k2;
}

static void index_free(index_of_queries *index)
{
    tdm_free(index->offset);
    tdm_free(index->query);
    tdm_free(index->weight);
}

/* V' of this rank's queries, by columns: made twice, to count and to write. */
static tdm_status index_queries(const encoding *e, index_of_queries *index, int64_t *head, entry *row)
{
    const rerank_pool *pool = &e->pool;
    int64_t *cursor = NULL;
    tdm_status status = TDM_ALLOC(pool->rows + 1, &index->offset);
    if (status == TDM_OK) status = TDM_ALLOC(pool->rows, &cursor);
    for (int pass = 0; pass < 2 && status == TDM_OK; pass++) {
        for (int64_t q = 0; q < pool->n[POOL_QUERY]; q++) {
            const int64_t n = average(e, pool->first[POOL_QUERY] + q, NULL, head, row);
            for (int64_t j = 0; j < n; j++) {
                if (pass == 0) {
                    index->offset[row[j].column + 1]++;
                    continue;
                }
                const int64_t at = cursor[row[j].column]++;
                index->query[at] = (int32_t)q;
                index->weight[at] = row[j].weight;
            }
        }
        if (pass == 1) break;
        for (int64_t c = 0; c < pool->rows; c++) {
            index->offset[c + 1] += index->offset[c];
            cursor[c] = index->offset[c];
        }
        status = TDM_ALLOC(index->offset[pool->rows], &index->query);
        if (status == TDM_OK) status = TDM_ALLOC(index->offset[pool->rows], &index->weight);
    }
    tdm_free(cursor);
    return status;
}

/* ---- Pairs with something in common ---- */

typedef struct shared { /* S of a query and a gallery row */
    int32_t query, row;
    double sum;
} shared;

typedef struct overlap_worker { /* of one thread */
    int64_t *head;
    entry *row;
    double *sum;      /* [queries] 0 but during a gallery row */
    int32_t *touched; /* [queries] */
    eval_buffer found;
    bool failed;
} overlap_worker;

static tdm_status open_worker(const encoding *e, int64_t longest, overlap_worker *w)
{
    TDM_TRY(TDM_ALLOC(2 * e->k2, &w->head));
    TDM_TRY(TDM_ALLOC(longest, &w->row));
    TDM_TRY(TDM_ALLOC(e->pool.n[POOL_QUERY], &w->sum));
    return TDM_ALLOC(e->pool.n[POOL_QUERY], &w->touched);
}

static void close_worker(overlap_worker *w)
{
    tdm_free(w->head);
    tdm_free(w->row);
    tdm_free(w->sum);
    tdm_free(w->touched);
    tdm_free(w->found.data);
}

/* The queries that share a column with gallery row g. */
static bool find_shared(const encoding *e, const index_of_queries *index, int64_t g, overlap_worker *w)
{
    const int64_t n = average(e, e->pool.total[POOL_QUERY] + g, index, w->head, w->row);
    int64_t touched = 0;
    for (int64_t j = 0; j < n; j++) {
        for (int64_t p = index->offset[w->row[j].column]; p < index->offset[w->row[j].column + 1]; p++) {
            const int32_t q = index->query[p];
            const float least = fminf(w->row[j].weight, index->weight[p]);
            if (least <= 0) continue;
            if (w->sum[q] == 0) w->touched[touched++] = q;
            w->sum[q] += (double)least;
        }
    }
    const int64_t before = w->found.bytes;
    if (touched == 0) return true;
    if (eval_buffer_resize(&w->found, before + touched * (int64_t)sizeof(shared)) != TDM_OK) return false;
    shared *out = (shared *)(void *)(w->found.data + before);
    for (int64_t t = 0; t < touched; t++) {
        out[t] = (shared){.query = w->touched[t], .row = (int32_t)g, .sum = w->sum[w->touched[t]]};
        w->sum[w->touched[t]] = 0;
    }
    return true;
}

/* Of the workers, which have ascending parts of the gallery, into lists by query. */
static tdm_status list_shared(const encoding *e, const overlap_worker *worker, tdm_reordering *out)
{
    const int64_t n = e->pool.n[POOL_QUERY];
    int64_t *cursor = NULL;
    TDM_TRY(TDM_ALLOC(n + 1, &out->offset));
    TDM_TRY(TDM_ALLOC(n, &cursor));
    for (int pass = 0; pass < 2; pass++) {
        for (int t = 0; t < e->threads; t++) {
            const shared *found = (const shared *)(const void *)worker[t].found.data;
            const int64_t count = worker[t].found.bytes / (int64_t)sizeof *found;
            for (int64_t p = 0; p < count; p++) {
                if (pass == 0) {
                    out->offset[found[p].query + 1]++;
                    continue;
                }
                const int64_t at = cursor[found[p].query]++;
                out->row[at] = found[p].row;
                out->distance[at] = 1 - found[p].sum / (2 - found[p].sum); /* J for now */
            }
        }
        if (pass == 1) break;
        for (int64_t i = 0; i < n; i++) {
            out->offset[i + 1] += out->offset[i];
            cursor[i] = out->offset[i];
        }
        tdm_status status = TDM_ALLOC(out->offset[n], &out->row);
        if (status == TDM_OK) status = TDM_ALLOC(out->offset[n], &out->distance);
        if (status == TDM_OK) status = TDM_ALLOC(out->offset[n], &out->score);
        if (status != TDM_OK) {
            tdm_free(cursor);
            return status;
        }
    }
    tdm_free(cursor);
    return TDM_OK;
}

/* J of the pairs of this rank's queries with anything in the gallery. Not collective. */
static tdm_status find_overlaps(const encoding *e, tdm_reordering *out)
{
    const int64_t gallery = e->pool.total[POOL_GALLERY], longest = most_averaged(e);
    index_of_queries index = {0};
    overlap_worker *worker = NULL;
    TDM_TRY(TDM_ALLOC(e->threads, &worker));
    tdm_status status = TDM_OK;
    for (int t = 0; t < e->threads && status == TDM_OK; t++) status = open_worker(e, longest, &worker[t]);
    if (status == TDM_OK) status = index_queries(e, &index, worker[0].head, worker[0].row);
    if (status == TDM_OK) {
#pragma omp parallel for num_threads(e->threads) schedule(static, 1)
        for (int t = 0; t < e->threads; t++) {
            const int64_t last = tdm_part_begin(gallery, e->threads, t + 1);
            for (int64_t g = tdm_part_begin(gallery, e->threads, t); g < last && !worker[t].failed; g++)
                worker[t].failed = !find_shared(e, &index, g, &worker[t]);
        }
        for (int t = 0; t < e->threads && status == TDM_OK; t++)
            if (worker[t].failed) status = TDM_ERROR(TDM_E_NOMEM, "no memory for what a re-ranking found");
    }
    if (status == TDM_OK) status = list_shared(e, worker, out);
    for (int t = 0; t < e->threads; t++) close_worker(&worker[t]);
    tdm_free(worker);
    index_free(&index);
    return status;
}

/* ---- The whole ---- */

/* From J to the final distance. */
static void finish(const encoding *e, tdm_reordering *out)
{
    for (int64_t i = 0; i < e->pool.n[POOL_QUERY]; i++)
        for (int64_t p = out->offset[i]; p < out->offset[i + 1]; p++)
            out->distance[p] =
                out->base * out->distance[p] +
                out->weight * relative_distance(out->square[i], (double)out->score[p], out->far[i]);
}

static tdm_status list_overlaps(encoding *e, double lambda, tdm_reordering *out)
{
    rerank_pool *pool = &e->pool;
    out->base = 1 - lambda;
    out->weight = lambda;
    TDM_AGREE(pool->comm, find_overlaps(e, out));
    TDM_TRY(eval_pair_scores(pool->comm, pool->ops, &pool->seeking[POOL_QUERY], &pool->found[POOL_GALLERY],
                             out->offset, out->row, out->score));
    out->square = pool->square[POOL_QUERY];
    out->far = e->far[POOL_QUERY];
    pool->square[POOL_QUERY] = e->far[POOL_QUERY] = NULL;
    finish(e, out);
    return TDM_OK;
}

static tdm_status rerank_all(const tdm_rerank_input *input, const reciprocal_options *o,
                             tdm_reordering *reordering)
{
    encoding e = {.k1 = o->k1,
                  .half = (int64_t)rint((double)o->k1 / 2),
                  .k2 = o->k2,
                  .width = tdm_max_i64(o->k1 + 1, o->k2),
                  .threads = eval_threads(input->ops)};
    tdm_status status = pool_open(input, &e.pool);
    if (status == TDM_OK) status = pool_neighbours(&e.pool, e.width, &e.list, e.far);
    if (status == TDM_OK) status = encode(&e);
    if (status == TDM_OK) status = list_overlaps(&e, o->lambda, reordering);
    encoding_close(&e);
    return status;
}

/* The same with a part of the gallery. Distances are divided by the largest within that part. */
static tdm_status rerank_candidates_only(const tdm_rerank_input *input, const reciprocal_options *o,
                                         tdm_reordering *reordering)
{
    rerank_pool pool = {0};
    rerank_candidates c = {0};
    tdm_rerank_input part = *input;
    tdm_status status = pool_open(input, &pool);
    const int64_t most = tdm_min_i64(o->candidates, tdm_max_i64(1, pool.total[POOL_GALLERY]));
    if (status == TDM_OK) status = candidates_open(&pool, input->gallery, most, &c);
    pool_close(&pool);
    part.gallery = &c.side;
    if (status == TDM_OK) status = rerank_all(&part, o, reordering);
    for (int64_t p = 0; status == TDM_OK && p < reordering->offset[input->query->n]; p++)
        reordering->row[p] = c.row[reordering->row[p]];
    candidates_close(&c);
    return status;
}

static tdm_status k_reciprocal(const tdm_rerank_input *input, const void *options, tdm_reordering *reordering)
{
    const reciprocal_options *o = options;
    return o->candidates > 0 ? rerank_candidates_only(input, o, reordering)
                             : rerank_all(input, o, reordering);
}

const tdm_rerank rerank_k_reciprocal = {
    .name = "k_reciprocal",
    .help = "k-reciprocal encoding of Zhong et al.",
    .options = reciprocal_rows,
    .option_count = sizeof reciprocal_rows / sizeof reciprocal_rows[0],
    .option_bytes = sizeof(reciprocal_options),
    .takes_euclidean = true,
    .reorder = k_reciprocal,
};
