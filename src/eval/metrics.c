/* Ranks of all positives, and the metrics made from them.
 *
 * A block of queries goes round the ring twice. On the first round every rank adds the scores and rows of the
 * positives it holds. At home they are sorted as a ranking sorts them. On the second round every rank counts,
 * for each positive, the gallery items that beat it; the sum + 1 is its rank. Nothing of size queries ×
 * gallery exists, and nothing but a query's own positives is sorted. */
#include "metrics_impl.h"

#include <stdlib.h>

typedef struct answer { /* what one query contributes; first_rank 0: it has no positive */
    int64_t first_rank;
    double ap, ap_at_r, inp;
} answer;

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
    TDM_TRY(travel(eval, status, metrics_collect));
    status = metrics_arrange(eval);
    TDM_TRY(travel(eval, status, metrics_count));
    const positives p = metrics_positives(&eval->ring, n);
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
