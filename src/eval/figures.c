/* From the rankings of one direction's queries to its metrics. */
#include "metrics_impl.h"

#include <math.h>

tdm_status figures_open(const eval_layout *layout, int64_t n, tdm_eval_detail *detail, eval_figures *figures)
{
    size_t count = 0;
    *figures =
        (eval_figures){.layout = layout, .n = n, .detail = detail, .rows = detail ? detail->rows : NULL};
    (void)tdm_metric_rows_of(figures->rows, &count);
    TDM_TRY(TDM_ALLOC((int64_t)count * n, &figures->value));
    TDM_TRY(TDM_ALLOC(layout->queries, &figures->all));
    return detail_create(detail, layout->gallery, &figures->tally);
}

void figures_add(eval_figures *figures, int64_t query, const tdm_ranking *ranking)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(figures->rows, &count);
    for (size_t r = 0; r < count; r++)
        figures->value[(int64_t)r * figures->n + query] =
            ranking->m == 0 ? NAN : row[r]->value(ranking, row[r]->cutoff);
    detail_add(&figures->tally, ranking);
}

static void make_metrics(tdm_comm *comm, const eval_figures *figures, tdm_metrics *metrics)
{
    const eval_layout *layout = figures->layout;
    double *all = figures->all;
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(figures->rows, &count);
    *metrics = (tdm_metrics){.queries = layout->queries, .gallery = layout->gallery, .rows = figures->rows};
    for (size_t r = 0; r < count; r++) {
        int64_t with = 0;
        tdm_comm_gather_rows(comm, figures->value + (int64_t)r * figures->n, all, layout->query_rows,
                             sizeof *all);
        detail_by_class(&figures->tally, layout, all, (int)r, figures->detail);
        for (int64_t i = 0; i < layout->queries; i++)
            if (!isnan(all[i])) all[with++] = all[i];
        metrics->without_positive = layout->queries - with;
        metrics->value[r] = tdm_metric_summarise(row[r], with, all);
    }
}

tdm_status figures_finish(tdm_comm *comm, eval_figures *figures, tdm_metrics *metrics)
{
    tdm_eval_detail *detail = figures->detail;
    TDM_TRY(detail_open_classes(comm, figures->layout, detail, &figures->tally));
    make_metrics(comm, figures, metrics);
    if (detail && detail->value) {
        size_t count = 0;
        (void)tdm_metric_rows_of(figures->rows, &count);
        memcpy(detail->value, figures->value, count * (size_t)figures->n * sizeof *figures->value);
    }
    return figures->tally.found ? detail_make_curves(comm, &figures->tally, detail) : TDM_OK;
}

void figures_free(eval_figures *figures)
{
    detail_free(&figures->tally);
    tdm_free(figures->value);
    tdm_free(figures->all);
    *figures = (eval_figures){0};
}
