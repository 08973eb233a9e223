/* Ranks of all positives, and the metrics made from them.
 *
 * A block of queries goes round the ring twice. On the first round every rank adds the scores and rows of the
 * positives it holds. At home they are sorted as a ranking sorts them. On the second round every rank counts,
 * for each positive, the gallery items that beat it; the sum + 1 is its rank. Nothing of size queries ×
 * gallery exists, and nothing but a query's own positives is sorted. */
#include "metrics_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- From ranks to metrics ---- */

/* Sums in the order of the global query rows: the same bits whoever evaluated which query. value[n] of the
 * queries that have a positive; sorted afterwards where the summary needs it. */
static double summarise(const tdm_metric *metric, int64_t n, double *value)
{
    double sum = 0;
    if (n == 0) return metric->empty;
    switch (metric->summary) {
    case TDM_MEAN:
        for (int64_t i = 0; i < n; i++) sum += value[i];
        return sum / (double)n;
    case TDM_MEDIAN:
        qsort(value, (size_t)n, sizeof *value, tdm_compare_doubles);
        return 0.5 * (value[(n - 1) / 2] + value[n / 2]);
    }
    return metric->empty;
}

/* value [metrics][queries of this rank], NaN where a query has no positive; all[layout->queries] is room for
 * one metric of all queries. Collective. */
static void make_metrics(const evaluation *eval, const eval_layout *layout, int64_t n, const double *value,
                         double *all, tdm_metrics *metrics)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(eval->rows, &count);
    *metrics = (tdm_metrics){.queries = layout->queries, .gallery = layout->gallery, .rows = eval->rows};
    for (size_t r = 0; r < count; r++) {
        int64_t with = 0;
        tdm_comm_gather_rows(eval->comm, value + (int64_t)r * n, all, layout->query_rows, sizeof *all);
        detail_by_class(&eval->tally, layout, all, (int)r, summarise, eval->detail);
        for (int64_t i = 0; i < layout->queries; i++)
            if (!isnan(all[i])) all[with++] = all[i];
        metrics->without_positive = layout->queries - with;
        metrics->value[r] = summarise(row[r], with, all);
    }
}

void tdm_judgements_free(tdm_judgements *judged)
{
    tdm_free(judged->offset);
    tdm_free(judged->row);
    tdm_free(judged->grade);
    *judged = (tdm_judgements){0};
}

static int compare_grades(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x < y) - (x > y);
}

/* Of the block's positives: grade[total] in the order of the ranking, and behind it the ideal order of each query's. */
static tdm_status find_grades(const evaluation *eval, int64_t query_first, const int64_t *order, int64_t n,
                              const positives *p, int32_t **grade)
{
    const tdm_judgements *j = eval->judged;
    TDM_TRY(TDM_ALLOC(2 * p->total, grade));
    int32_t *ideal = *grade + p->total;
    for (int64_t i = 0; i < n; i++) {
        const int64_t first = j->offset[query_first + order[i]];
        const int64_t count = j->offset[query_first + order[i] + 1] - first;
        for (int64_t k = p->offset[i]; k < p->offset[i + 1]; k++)
            (*grade)[k] = j->grade[first + tdm_lower_bound(j->row + first, count, p->row[k])];
        const size_t m = (size_t)(p->offset[i + 1] - p->offset[i]);
        memcpy(ideal + p->offset[i], *grade + p->offset[i], m * sizeof *ideal);
        qsort(ideal + p->offset[i], m, sizeof *ideal, compare_grades);
    }
    return TDM_OK;
}

/* What query `query` contributes to each metric; m = 0: nothing. value [metrics][n] */
static void contribute(const tdm_metric_rows *rows, const tdm_ranking *ranking, int64_t query, int64_t n,
                       double *value)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(rows, &count);
    for (size_t r = 0; r < count; r++)
        value[(int64_t)r * n + query] = ranking->m == 0 ? NAN : row[r]->value(ranking, row[r]->cutoff);
}

/* ---- The whole ---- */

static int compare_i64(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

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

/* The block of local queries order[0 … n): fills value [metrics][query->n] by local row. Collective. */
static tdm_status evaluate_block(evaluation *eval, const tdm_eval_side *query, int64_t query_first,
                                 const int64_t *order, int64_t n, double *value)
{
    tdm_status status = eval_ring_load(&eval->ring, query, query_first, order, n);
    TDM_TRY(travel(eval, status, metrics_collect));
    status = metrics_arrange(eval);
    status = travel(eval, status, metrics_count);
    TDM_TRY(status);
    const positives p = metrics_positives(&eval->ring, n);
    int32_t *grade = NULL;
    if (eval->judged)
        status = tdm_comm_agree(eval->comm, find_grades(eval, query_first, order, n, &p, &grade));
    for (int64_t i = 0; i < p.total; i++) p.beaten[i]++; /* items that beat it -> its rank */
    for (int64_t i = 0; status == TDM_OK && i < n; i++) {
        tdm_ranking ranking = {.m = p.offset[i + 1] - p.offset[i], .rank = p.beaten + p.offset[i]};
        if (grade) {
            ranking.grade = grade + p.offset[i];
            ranking.ideal = grade + p.total + p.offset[i];
        }
        contribute(eval->rows, &ranking, order[i], query->n, value);
        detail_add(&eval->tally, &ranking);
    }
    tdm_free(grade);
    return status;
}

static tdm_status evaluate(evaluation *eval, const eval_layout *layout, const tdm_eval_side *query,
                           const tdm_eval_side *gallery, int64_t query_block, int64_t *order, double *value,
                           double *all, tdm_metrics *metrics)
{
    const bool by_id = layout->label_words == 0 && !eval->judged;
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
        TDM_TRY(evaluate_block(eval, query, layout->query_first, order + begin, end - begin, value));
    }
    TDM_TRY(detail_open_classes(eval->comm, layout, eval->detail, &eval->tally));
    make_metrics(eval, layout, query->n, value, all, metrics);
    if (eval->detail && eval->detail->value) {
        size_t count = 0;
        (void)tdm_metric_rows_of(eval->rows, &count);
        memcpy(eval->detail->value, value, count * (size_t)query->n * sizeof *value);
    }
    return eval->tally.found ? detail_make_curves(eval->comm, &eval->tally, eval->detail) : TDM_OK;
}

tdm_status tdm_eval_metrics(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                            const tdm_eval_side *gallery, bool exclude_self, int64_t query_block,
                            tdm_metrics *metrics)
{
    return tdm_eval_metrics_in_detail(comm, ops, query, gallery, exclude_self, query_block, metrics, NULL);
}

tdm_status tdm_eval_metrics_in_detail(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                      const tdm_eval_side *gallery, bool exclude_self, int64_t query_block,
                                      tdm_metrics *metrics, tdm_eval_detail *detail)
{
    eval_layout layout = {0};
    int64_t *order = NULL;
    double *value = NULL, *all = NULL;
    size_t count = 0;
    const tdm_metric_rows *rows = detail ? detail->rows : NULL;
    (void)tdm_metric_rows_of(rows, &count);
    tdm_status status = eval_layout_create(comm, query, gallery, query_block, &layout);
    evaluation eval = {.comm = comm,
                       .threads = eval_threads(ops),
                       .exclude_self = exclude_self,
                       .judged = query->judged,
                       .rows = rows,
                       .detail = detail};
    eval.ring = (eval_ring){.comm = comm, .d = query->d, .label_words = layout.label_words};
    if (status == TDM_OK) {
        status = TDM_ALLOC(query->n, &order);
        if (status == TDM_OK) status = TDM_ALLOC((int64_t)count * query->n, &value);
        if (status == TDM_OK) status = TDM_ALLOC(layout.queries, &all);
        if (status == TDM_OK && query->judged && query->judged->queries != layout.queries)
            status = TDM_ERROR(TDM_E_SHAPE, "judgements of %lld queries, there are %lld",
                               (long long)query->judged->queries, (long long)layout.queries);
        if (status == TDM_OK) status = detail_create(detail, layout.gallery, &eval.tally);
        status = tdm_comm_agree(comm, status);
    }
    if (status == TDM_OK)
        status = evaluate(&eval, &layout, query, gallery, query_block, order, value, all, metrics);
    tdm_free(order);
    tdm_free(value);
    tdm_free(all);
    detail_free(&eval.tally);
    tdm_free(eval.packed_query);
    eval_gallery_free(&eval.gallery);
    eval_ring_free(&eval.ring);
    eval_layout_free(&layout);
    return status;
}
