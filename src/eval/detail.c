/* Beside the metrics: the same by class, and curves. Whole numbers are summed over the ranks, so that the bits do not
 * depend on how many there are. */
#include "metrics_impl.h"

#include <math.h>

/* 1/m in units of 2^-40: at most 2^22 queries of one gallery may add up to 2^62. */
#define RECALL_UNIT 0x1p40

tdm_status detail_create(tdm_eval_detail *detail, int64_t gallery, eval_tally *tally)
{
    tally->gallery = gallery;
    if (!detail || !detail->curves) return TDM_OK;
    TDM_TRY(TDM_ALLOC(gallery + 1, &tally->found));
    return TDM_ALLOC(gallery + 1, &tally->recalled);
}

void detail_free(eval_tally *tally)
{
    tdm_free(tally->found);
    tdm_free(tally->recalled);
    tdm_free(tally->query_class);
    tdm_free(tally->chosen);
}

void detail_add(eval_tally *tally, const tdm_ranking *ranking)
{
    if (!tally->found || !ranking->m) return;
    const int64_t part = llrint(RECALL_UNIT / (double)ranking->m);
    tally->queries++;
    for (int64_t i = 0; i < ranking->m; i++) {
        tally->found[ranking->rank[i]]++;
        tally->recalled[ranking->rank[i]] += part;
    }
}

/* ---- Curves ---- */

/* 1, 2, 5, 10, 20, 50 … */
static int64_t next_scope(int64_t scope)
{
    int64_t power = 1;
    while (power * 10 <= scope) power *= 10;
    return scope / power == 2 ? 5 * power : scope / power == 5 ? 10 * power : 2 * scope;
}

tdm_status detail_make_curves(tdm_comm *comm, eval_tally *tally, tdm_eval_detail *detail)
{
    tdm_comm_sum_i64(comm, tally->found, tally->gallery + 1);
    tdm_comm_sum_i64(comm, tally->recalled, tally->gallery + 1);
    tdm_comm_sum_i64(comm, &tally->queries, 1);
    const double queries = (double)tally->queries;
    int64_t found = 0, recalled = 0, scope = 1;
    detail->points = detail->scopes = 0;
    if (!tally->queries) return TDM_OK;
    TDM_REQUIRE(tally->queries <= 1 << 22, TDM_E_DATA, "curves of %lld queries: at most %d are possible",
                (long long)tally->queries, 1 << 22);
    for (int64_t k = 1; k <= tally->gallery; k++) {
        found += tally->found[k];
        recalled += tally->recalled[k];
        const tdm_curve_point point = {.rank = k,
                                       .recall = fmin(1, (double)recalled / RECALL_UNIT / queries),
                                       .precision = (double)found / (queries * (double)k)};
        if (k == scope || k == tally->gallery) {
            if (detail->scopes < TDM_CURVE_POINTS) detail->scope[detail->scopes++] = point;
            scope = next_scope(scope);
        }
        while (detail->points < TDM_RECALL_STEPS &&
               point.recall >= (detail->points + 1) / (double)TDM_RECALL_STEPS - 1e-9)
            detail->precision_recall[detail->points++] = point;
    }
    return TDM_OK;
}

/* ---- Classes ---- */

tdm_status detail_open_classes(tdm_comm *comm, const eval_layout *layout, tdm_eval_detail *detail,
                               eval_tally *tally)
{
    if (!detail || !detail->classes) return TDM_OK;
    tdm_status status = TDM_ALLOC(detail->classes, &detail->per_class);
    if (status == TDM_OK) status = TDM_ALLOC(layout->queries * detail->class_words, &tally->query_class);
    if (status == TDM_OK) status = TDM_ALLOC(layout->queries, &tally->chosen);
    TDM_AGREE(comm, status);
    tdm_comm_gather_rows(comm, detail->query_class, tally->query_class, layout->query_rows,
                         sizeof(uint64_t) * (size_t)detail->class_words);
    return TDM_OK;
}

void detail_by_class(const eval_tally *tally, const eval_layout *layout, const double *value, int metric,
                     tdm_eval_detail *detail)
{
    size_t count;
    if (!tally->query_class) return;
    const tdm_metric *row = tdm_metric_rows_of(detail->rows, &count)[metric];
    for (int64_t c = 0; c < detail->classes; c++) {
        int64_t n = 0;
        for (int64_t i = 0; i < layout->queries; i++) {
            const uint64_t *bits = tally->query_class + i * detail->class_words;
            if ((bits[c / 64] >> c % 64 & 1) && !isnan(value[i])) tally->chosen[n++] = value[i];
        }
        detail->per_class[c].queries = n;
        detail->per_class[c].value[metric] = tdm_metric_summarise(row, n, tally->chosen);
    }
}

void tdm_eval_detail_free(tdm_eval_detail *detail)
{
    tdm_free(detail->per_class);
    detail->per_class = NULL;
}
