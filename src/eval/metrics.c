/* Ranks of all positives, and the metrics made from them.
 *
 * A block of queries goes round the ring twice. On the first round every rank adds the scores and rows of the
 * positives it holds. At home they are sorted as a ranking sorts them. On the second round every rank counts,
 * for each positive, the gallery items that beat it; the sum + 1 is its rank. Nothing of size queries ×
 * gallery exists, and nothing but a query's own positives is sorted. */
#include "eval_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Up to here each positive is compared with every score (vectorised); beyond, each score is looked up in the
 * sorted positives. */
#define COMPARE_ALL_MAX 16

typedef struct found_positive { /* one record of the tail of the first round */
    int64_t row;
    float score;
    int32_t query; /* place in the block */
} found_positive;

typedef struct positives { /* the tail of the second round, as pointers into it */
    int64_t total;
    int64_t *offset; /* [n+1] of each query's positives */
    int64_t *row;    /* [total] best first */
    int64_t *beaten; /* [total] items that beat it */
    float *score;    /* [total] */
} positives;

typedef struct answer { /* what one query contributes; first_rank 0: it has no positive */
    int64_t first_rank;
    double ap, ap_at_r, inp;
} answer;

typedef struct evaluation {
    tdm_comm *comm;
    int threads;
    bool exclude_self;
    eval_gallery gallery;
    eval_ring ring;
    float *packed_query; /* [groups][d][EVAL_TILE_ROWS] of the block that is here */
} evaluation;

/* ---- First round: collect ---- */

static bool share_bit(const uint64_t *a, const uint64_t *b, int64_t words)
{
    for (int64_t w = 0; w < words; w++)
        if (a[w] & b[w]) return true;
    return false;
}

static bool is_answer(const evaluation *eval, const eval_queries *queries, int64_t i, int64_t column)
{
    const eval_gallery *g = &eval->gallery;
    const int64_t row = g->row[column];
    if (eval->exclude_self && row == queries->row[i]) return false;
    if (g->sorted_id != NULL) return g->sorted_id[column] == queries->id[i];
    const int64_t words = eval->ring.label_words;
    return share_bit(queries->labels + i * words, g->labels + (row - g->first) * words, words);
}

/* First column whose id is >= id. */
static int64_t lower_bound(const int64_t *sorted, int64_t n, int64_t id)
{
    int64_t low = 0;
    while (n > 0) {
        const int64_t half = n / 2;
        if (sorted[low + half] < id) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

/* The columns among which the positives of query i lie: its id's, or all with labels. */
static void candidate_columns(const evaluation *eval, const eval_queries *queries, int64_t i, int64_t *begin,
                              int64_t *end)
{
    const eval_gallery *g = &eval->gallery;
    *begin = 0;
    *end = g->n;
    if (g->sorted_id == NULL) return;
    const int64_t id = queries->id[i];
    *begin = lower_bound(g->sorted_id, g->n, id);
    if (id < INT64_MAX) *end = lower_bound(g->sorted_id, g->n, id + 1);
}

static int64_t count_positives(const evaluation *eval, const eval_queries *queries, int64_t i)
{
    int64_t begin, end, count = 0;
    candidate_columns(eval, queries, i, &begin, &end);
    for (int64_t c = begin; c < end; c++) count += is_answer(eval, queries, i, c);
    return count;
}

/* Writes the positives of the queries [first, first + rows) of one tile that lie in panel p. */
static void collect_tile(const evaluation *eval, const eval_queries *queries, int64_t first, int64_t rows,
                         int64_t p, const bool *wanted, found_positive **cursor)
{
    const eval_gallery *g = &eval->gallery;
    const int64_t columns = g->kernel->columns;
    const int64_t end = tdm_min_i64(g->n, (p + 1) * columns);
    float tile[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS];
    bool computed = false;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = p * columns; wanted[r] && c < end; c++) {
            if (!is_answer(eval, queries, first + r, c)) continue;
            if (!computed) eval_gallery_tile(g, eval->packed_query + first * g->d, p, tile);
            computed = true;
            *cursor[r]++ = (found_positive){.row = g->row[c],
                                            .score = tile[r * columns + c - p * columns],
                                            .query = (int32_t)(first + r)};
        }
    }
}

/* All positives of one group of queries; out[i - first] is where query i's records go. Queries of the group
 * with the same id share their tiles. */
static void collect_group(const evaluation *eval, const eval_queries *queries, int64_t first, int64_t rows,
                          found_positive **cursor)
{
    const int64_t columns = eval->gallery.kernel->columns;
    bool done[EVAL_TILE_ROWS] = {false};
    for (int64_t r = 0; r < rows; r++) {
        if (done[r]) continue;
        int64_t begin, end;
        candidate_columns(eval, queries, first + r, &begin, &end);
        bool wanted[EVAL_TILE_ROWS] = {false};
        for (int64_t s = r; s < rows; s++) {
            wanted[s] = !done[s] &&
                        (eval->gallery.sorted_id == NULL || queries->id[first + s] == queries->id[first + r]);
            done[s] |= wanted[s];
        }
        for (int64_t p = begin / columns; p * columns < end; p++)
            collect_tile(eval, queries, first, rows, p, wanted, cursor);
    }
}

/* Appends this rank's positives of the block to the tail. */
static tdm_status collect(evaluation *eval)
{
    const eval_queries queries = eval_ring_queries(&eval->ring);
    const int64_t n = queries.n, groups = (n + EVAL_TILE_ROWS - 1) / EVAL_TILE_ROWS;
    int64_t *begin = NULL;
    TDM_TRY(TDM_ALLOC(n + 1, &begin));
#pragma omp parallel for num_threads(eval->threads) schedule(dynamic, 16)
    for (int64_t i = 0; i < n; i++) begin[i + 1] = count_positives(eval, &queries, i);
    for (int64_t i = 0; i < n; i++) begin[i + 1] += begin[i];
    const int64_t before = eval->ring.tail.bytes;
    const int64_t added = begin[n] * (int64_t)sizeof(found_positive);
    tdm_status status = eval_buffer_resize(&eval->ring.tail, before + added);
    if (status == TDM_OK && added > 0) {
        found_positive *out = (found_positive *)(void *)(eval->ring.tail.data + before);
#pragma omp parallel for num_threads(eval->threads) schedule(dynamic, 4)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t first = g * EVAL_TILE_ROWS, rows = tdm_min_i64(EVAL_TILE_ROWS, n - first);
            found_positive *cursor[EVAL_TILE_ROWS];
            for (int64_t r = 0; r < rows; r++) cursor[r] = out + begin[first + r];
            collect_group(eval, &queries, first, rows, cursor);
        }
    }
    tdm_free(begin);
    return status;
}

/* ---- At home: sort ---- */

static int64_t positives_bytes(int64_t n, int64_t total)
{
    return 8 * (n + 1 + 2 * total) + 4 * total;
}

static positives positives_in(const eval_ring *ring, int64_t n)
{
    positives p = {.offset = (int64_t *)(void *)ring->tail.data};
    p.total = p.offset[n];
    p.row = p.offset + n + 1;
    p.beaten = p.row + p.total;
    p.score = (float *)(p.beaten + p.total);
    return p;
}

static int compare_positive(const void *a, const void *b)
{
    const found_positive *x = a, *y = b;
    if (x->query != y->query) return x->query < y->query ? -1 : 1;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Turns the tail's records into sorted positives. The records of a query came from several ranks. */
static tdm_status arrange(evaluation *eval)
{
    const int64_t n = eval_ring_queries(&eval->ring).n;
    const int64_t total = eval->ring.tail.bytes / (int64_t)sizeof(found_positive);
    const found_positive *found = (const found_positive *)(const void *)eval->ring.tail.data;
    found_positive *sorted = NULL;
    int64_t *cursor = NULL;
    eval_buffer arranged = {0};
    tdm_status status = TDM_ALLOC(total, &sorted);
    if (status == TDM_OK) status = TDM_ALLOC(n + 1, &cursor);
    if (status == TDM_OK) status = eval_buffer_resize(&arranged, positives_bytes(n, total));
    for (int64_t i = 0; i < total && status == TDM_OK; i++)
        if (!isfinite(found[i].score))
            status = tdm_error_set(TDM_E_NUMERIC, __FILE__, __LINE__,
                                   "the score of a query and gallery row %lld is not finite",
                                   (long long)found[i].row);
    if (status == TDM_OK) {
        int64_t *offset = (int64_t *)(void *)arranged.data;
        for (int64_t i = 0; i < total; i++) cursor[found[i].query + 1]++;
        for (int64_t i = 0; i < n; i++) cursor[i + 1] += cursor[i];
        memcpy(offset, cursor, (size_t)(n + 1) * sizeof *offset);
        for (int64_t i = 0; i < total; i++) sorted[cursor[found[i].query]++] = found[i];
#pragma omp parallel for num_threads(eval->threads) schedule(dynamic, 16)
        for (int64_t i = 0; i < n; i++)
            qsort(sorted + offset[i], (size_t)(offset[i + 1] - offset[i]), sizeof *sorted, compare_positive);
        tdm_free(eval->ring.tail.data);
        eval->ring.tail = arranged;
        const positives p = positives_in(&eval->ring, n);
        for (int64_t i = 0; i < total; i++) {
            p.row[i] = sorted[i].row;
            p.score[i] = sorted[i].score;
            p.beaten[i] = 0;
        }
    }
    tdm_free(sorted);
    tdm_free(cursor);
    return status;
}

/* ---- Second round: count ---- */

/* A query with many positives finds the place of a score among them through equal bins over their range. */
typedef struct score_bins {
    float highest, scale;
    int64_t count;  /* of bins */
    int32_t *first; /* [count+1] first positive (best first) of each bin or of a later one */
} score_bins;

/* Monotone in the score, hence: positives of lower bins score higher, positives of higher bins score lower.
 */
static int64_t bin_of(const score_bins *bins, float score)
{
    const float at = (bins->highest - score) * bins->scale;
    return at < (float)(bins->count - 1) ? (int64_t)at : bins->count - 1; /* also when `at` is not a number */
}

/* positive_score[m] descending; first[count+1] is the caller's. */
static score_bins make_bins(const float *positive_score, int64_t m, int64_t count, int32_t *first)
{
    score_bins bins = {.highest = positive_score[0], .count = count, .first = first};
    const float range = positive_score[0] - positive_score[m - 1];
    bins.scale = range > 0 && isfinite((float)count / range) ? (float)count / range : 0.0F;
    int64_t next = 0;
    for (int64_t i = 0; i < m; i++)
        for (const int64_t bin = bin_of(&bins, positive_score[i]); next <= bin; next++)
            first[next] = (int32_t)i;
    for (; next <= count; next++) first[next] = (int32_t)m;
    return bins;
}

/* How many of the m positives rank before an item, which is one of its bin's or lies between two bins. */
static int64_t place_among(const score_bins *bins, const float *positive_score, const int64_t *positive_row,
                           float score, int64_t row)
{
    if (score > bins->highest) return 0;
    const int64_t bin = bin_of(bins, score);
    int64_t low = bins->first[bin], n = bins->first[bin + 1] - low;
    while (n > 0) {
        const int64_t half = n / 2, i = low + half;
        if (positive_score[i] > score || (positive_score[i] == score && positive_row[i] <= row)) {
            low = i + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

typedef struct counting { /* one visit of a block */
    const evaluation *eval;
    eval_queries queries;
    positives positives;
    score_bins *bins;   /* [n] of the queries with many positives */
    int32_t *bin_first; /* their tables */
    int64_t *histogram; /* m + 1 per query: items by their place among its positives */
    int64_t chunk;      /* panels that are scored before anything is counted */
} counting;

static bool has_many(const positives *p, int64_t i)
{
    return p->offset[i + 1] - p->offset[i] > COMPARE_ALL_MAX;
}

/* Twice as many bins as positives: most bins hold none or one. */
static void make_all_bins(counting *c)
{
    const positives *p = &c->positives;
#pragma omp parallel for num_threads(c->eval->threads) schedule(dynamic, 16)
    for (int64_t i = 0; i < c->queries.n; i++) {
        const int64_t begin = p->offset[i], m = p->offset[i + 1] - begin;
        if (has_many(p, i)) c->bins[i] = make_bins(p->score + begin, m, 2 * m, c->bin_first + 2 * begin + i);
    }
}

/* score[n]: query i against the columns from `column` on. */
static void count_scores(const counting *c, int64_t i, int64_t column, int64_t n, float *score,
                         int32_t *place)
{
    const eval_gallery *g = &c->eval->gallery;
    const positives *p = &c->positives;
    const int64_t begin = p->offset[i], m = p->offset[i + 1] - begin;
    if (m == 0) return;
    const int64_t *item_row = g->row + column;
    if (c->eval->exclude_self) {
        const int64_t local = c->queries.row[i] - g->first;
        const int64_t own = local < 0 || local >= g->n ? -1 : g->column == NULL ? local : g->column[local];
        if (own >= column && own < column + n) score[own - column] = -INFINITY;
    }
    if (!has_many(p, i)) {
        g->kernel->count_beating(n, score, item_row, m, p->score + begin, p->row + begin, p->beaten + begin);
        return;
    }
    int64_t *histogram = c->histogram + begin + i;
    const int64_t selected = g->kernel->select(n, score, p->score[begin + m - 1], place);
    for (int64_t j = 0; j < selected; j++)
        histogram[place_among(&c->bins[i], p->score + begin, p->row + begin, score[place[j]],
                              item_row[place[j]])]++;
}

/* Scores of one group of queries against panels [panel, panel + panels), as rows score[EVAL_TILE_ROWS][…]. */
static void score_group(const eval_gallery *g, const float *query_group, int64_t panel, int64_t panels,
                        float *score)
{
    const int64_t columns = g->kernel->columns;
    float tile[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS];
    for (int64_t q = 0; q < panels; q++) {
        eval_gallery_tile(g, query_group, panel + q, tile);
        for (int64_t r = 0; r < EVAL_TILE_ROWS; r++)
            memcpy(score + (r * panels + q) * columns, tile + r * columns, (size_t)columns * sizeof *tile);
    }
}

enum { CHUNK_BYTES = 512 * 1024, CHUNK_ITEMS = 512 };

/* All panels against the groups [begin, end): a chunk of panels stays in the cache while the groups pass. */
static void count_groups(const counting *c, int64_t begin, int64_t end)
{
    const eval_gallery *g = &c->eval->gallery;
    const int64_t columns = g->kernel->columns;
    float score[EVAL_TILE_ROWS * CHUNK_ITEMS];
    int32_t place[CHUNK_ITEMS];
    for (int64_t panel = 0; panel < g->panels; panel += c->chunk) {
        const int64_t panels = tdm_min_i64(c->chunk, g->panels - panel), n = panels * columns;
        for (int64_t group = begin; group < end; group++) {
            const int64_t first = group * EVAL_TILE_ROWS;
            const int64_t last = tdm_min_i64(first + EVAL_TILE_ROWS, c->queries.n);
            if (c->positives.offset[last] == c->positives.offset[first]) continue; /* nothing to rank */
            score_group(g, c->eval->packed_query + first * g->d, panel, panels, score);
            for (int64_t i = first; i < last; i++)
                count_scores(c, i, panel * columns, n, score + (i - first) * n, place);
        }
    }
}

/* An item that stands before place j of the positives beats those from j on. */
static void add_histograms(const counting *c)
{
    const positives *p = &c->positives;
    for (int64_t i = 0; i < c->queries.n; i++) {
        int64_t sum = 0;
        for (int64_t at = p->offset[i]; has_many(p, i) && at < p->offset[i + 1]; at++) {
            sum += c->histogram[at + i];
            p->beaten[at] += sum;
        }
    }
}

/* Adds to `beaten` the items of this rank's part of the gallery. */
static tdm_status count(evaluation *eval)
{
    counting c = {.eval = eval, .queries = eval_ring_queries(&eval->ring)};
    const int64_t n = c.queries.n, groups = (n + EVAL_TILE_ROWS - 1) / EVAL_TILE_ROWS;
    const int64_t columns = eval->gallery.kernel->columns;
    c.positives = positives_in(&eval->ring, n);
    c.chunk = CHUNK_BYTES / (int64_t)sizeof(float) / (columns * eval->gallery.d);
    c.chunk = tdm_max_i64(1, tdm_min_i64(c.chunk, CHUNK_ITEMS / columns));
    tdm_status status = TDM_ALLOC(n, &c.bins);
    if (status == TDM_OK) status = TDM_ALLOC(2 * c.positives.total + n, &c.bin_first);
    if (status == TDM_OK) status = TDM_ALLOC(c.positives.total + n, &c.histogram);
    if (status == TDM_OK) {
        make_all_bins(&c);
#pragma omp parallel for num_threads(eval->threads) schedule(static, 1)
        for (int thread = 0; thread < eval->threads; thread++)
            count_groups(&c, tdm_part_begin(groups, eval->threads, thread),
                         tdm_part_begin(groups, eval->threads, thread + 1));
        add_histograms(&c);
    }
    tdm_free(c.bins);
    tdm_free(c.bin_first);
    tdm_free(c.histogram);
    return status;
}

/* ---- From ranks to metrics ---- */

/* AP = mean of i / r_i; at R = m only the places r_i <= m count (Musgrave, Belongie, Lim: A Metric Learning
 * Reality Check, ECCV 2020); INP = m / r_m (Ye et al., Deep Learning for Person Re-identification, 2021). */
static answer answer_of(const int64_t *beaten, int64_t m)
{
    answer a = {0};
    if (m == 0) return a;
    a.first_rank = beaten[0] + 1;
    for (int64_t i = 0; i < m; i++) {
        const int64_t rank = beaten[i] + 1;
        const double precision = (double)(i + 1) / (double)rank;
        a.ap += precision;
        if (rank <= m) a.ap_at_r += precision;
    }
    a.ap /= (double)m;
    a.ap_at_r /= (double)m;
    a.inp = (double)m / (double)(beaten[m - 1] + 1);
    return a;
}

static int compare_i64(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Sums in the order of the global query rows: the same bits whoever evaluated which query. */
static tdm_status summarise(const answer *all, int64_t queries, int64_t gallery, tdm_metrics *metrics)
{
    int64_t *rank = NULL;
    TDM_TRY(TDM_ALLOC(queries, &rank));
    tdm_metrics m = {.queries = queries, .gallery = gallery};
    int64_t with = 0, at_1 = 0, at_5 = 0, at_10 = 0;
    for (int64_t i = 0; i < queries; i++) {
        const int64_t first = all[i].first_rank;
        if (first == 0) continue;
        rank[with++] = first;
        at_1 += first <= 1;
        at_5 += first <= 5;
        at_10 += first <= 10;
        m.mean_rank += (double)first;
        m.map += all[i].ap;
        m.map_at_r += all[i].ap_at_r;
        m.minp += all[i].inp;
    }
    m.without_positive = queries - with;
    if (with > 0) {
        const double n = (double)with;
        qsort(rank, (size_t)with, sizeof *rank, compare_i64);
        m.recall_at_1 = (double)at_1 / n;
        m.recall_at_5 = (double)at_5 / n;
        m.recall_at_10 = (double)at_10 / n;
        m.median_rank = 0.5 * (double)(rank[(with - 1) / 2] + rank[with / 2]);
        m.mean_rank /= n;
        m.map /= n;
        m.map_at_r /= n;
        m.minp /= n;
    }
    tdm_free(rank);
    *metrics = m;
    return TDM_OK;
}

/* ---- The whole ---- */

/* Local query rows in the order of (id, row), so that equal ids travel together and share work. */
static tdm_status order_queries(const tdm_eval_side *query, bool by_id, int64_t *order)
{
    int64_t(*pair)[2] = NULL;
    TDM_TRY(tdm_alloc((size_t)query->n * sizeof *pair, "order of queries", (void **)&pair));
    for (int64_t i = 0; i < query->n; i++) {
        pair[i][0] = by_id ? query->id[i] : i;
        pair[i][1] = i;
    }
    qsort(pair, (size_t)query->n, sizeof *pair, compare_i64);
    for (int64_t i = 0; i < query->n; i++) order[i] = pair[i][1];
    tdm_free(pair);
    return TDM_OK;
}

/* Sends the block round the ring once; `step` sees it on every rank. `local`: status so far. Collective. */
static tdm_status travel(evaluation *eval, tdm_status local, tdm_status (*step)(evaluation *))
{
    for (int hop = 0; hop < tdm_comm_size(eval->comm); hop++) {
        if (local == TDM_OK) {
            const eval_queries queries = eval_ring_queries(&eval->ring);
            eval_pack_queries(queries.n, eval->ring.d, queries.feature, eval->packed_query);
            local = step(eval);
        }
        TDM_TRY(eval_ring_shift(&eval->ring, local));
    }
    return TDM_OK;
}

/* The block of local queries order[0 … n): fills answers by local row. Collective. */
static tdm_status evaluate_block(evaluation *eval, const tdm_eval_side *query, int64_t query_first,
                                 const int64_t *order, int64_t n, answer *answers)
{
    tdm_status status = eval_ring_load(&eval->ring, query, query_first, order, n);
    TDM_TRY(travel(eval, status, collect));
    status = arrange(eval);
    TDM_TRY(travel(eval, status, count));
    const positives p = positives_in(&eval->ring, n);
    for (int64_t i = 0; i < n; i++)
        answers[order[i]] = answer_of(p.beaten + p.offset[i], p.offset[i + 1] - p.offset[i]);
    return TDM_OK;
}

static tdm_status evaluate(evaluation *eval, const eval_layout *layout, const tdm_eval_side *query,
                           const tdm_eval_side *gallery, int64_t query_block, int64_t *order, answer *answers,
                           answer *all, tdm_metrics *metrics)
{
    const bool by_id = layout->label_words == 0;
    int64_t longest = 1; /* block that any rank sends */
    for (int r = 0; r < tdm_comm_size(eval->comm); r++) longest = tdm_max_i64(longest, layout->query_rows[r]);
    const int64_t block = tdm_min_i64(tdm_min_i64(query_block, longest), INT32_MAX);
    const int64_t groups = (block + EVAL_TILE_ROWS - 1) / EVAL_TILE_ROWS;
    tdm_status status =
        eval_gallery_pack(gallery, layout->gallery_first, by_id, eval->threads, &eval->gallery);
    if (status == TDM_OK) status = TDM_ALLOC(groups * EVAL_TILE_ROWS * eval->ring.d, &eval->packed_query);
    if (status == TDM_OK) status = order_queries(query, by_id, order);
    TDM_AGREE(eval->comm, status);
    for (int64_t round = 0; round < layout->rounds; round++) {
        const int64_t begin = tdm_min_i64(round * block, query->n);
        const int64_t end = tdm_min_i64(begin + block, query->n);
        TDM_TRY(evaluate_block(eval, query, layout->query_first, order + begin, end - begin, answers));
    }
    tdm_comm_gather_rows(eval->comm, answers, all, layout->query_rows, sizeof *all);
    return tdm_comm_agree(eval->comm, summarise(all, layout->queries, layout->gallery, metrics));
}

tdm_status tdm_eval_metrics(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                            const tdm_eval_side *gallery, bool exclude_self, int64_t query_block,
                            tdm_metrics *metrics)
{
    eval_layout layout = {0};
    int64_t *order = NULL;
    answer *answers = NULL, *all = NULL;
    tdm_status status = eval_layout_create(comm, query, gallery, query_block, &layout);
    evaluation eval = {.comm = comm, .threads = eval_threads(ops), .exclude_self = exclude_self};
    eval.ring = (eval_ring){.comm = comm, .d = query->d, .label_words = layout.label_words};
    if (status == TDM_OK) {
        status = TDM_ALLOC(query->n, &order);
        if (status == TDM_OK) status = TDM_ALLOC(query->n, &answers);
        if (status == TDM_OK) status = TDM_ALLOC(layout.queries, &all);
        status = tdm_comm_agree(comm, status);
    }
    if (status == TDM_OK)
        status = evaluate(&eval, &layout, query, gallery, query_block, order, answers, all, metrics);
    tdm_free(order);
    tdm_free(answers);
    tdm_free(all);
    tdm_free(eval.packed_query);
    eval_gallery_free(&eval.gallery);
    eval_ring_free(&eval.ring);
    eval_layout_free(&layout);
    return status;
}

tdm_status tdm_metrics_json(const tdm_metrics *metrics, tdm_text *text)
{
    return tdm_text_printf(
        text,
        "{\"queries\": %lld, \"gallery\": %lld, \"without_positive\": %lld, \"recall_at_1\": %.17g, "
        "\"recall_at_5\": %.17g, \"recall_at_10\": %.17g, \"median_rank\": %.17g, \"mean_rank\": %.17g, "
        "\"map\": %.17g, \"map_at_r\": %.17g, \"minp\": %.17g}",
        (long long)metrics->queries, (long long)metrics->gallery, (long long)metrics->without_positive,
        metrics->recall_at_1, metrics->recall_at_5, metrics->recall_at_10, metrics->median_rank,
        metrics->mean_rank, metrics->map, metrics->map_at_r, metrics->minp);
}
