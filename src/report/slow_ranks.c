/* The table of ranks that the others waited for. */
#include "report_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 10 };

typedef struct slow_row {
    double rank, wait_s, wait_data_s;
    int64_t intervals;
} slow_row;

static int by_rank(const void *a, const void *b)
{
    return tdm_compare_doubles(&((const slow_row *)a)->rank, &((const slow_row *)b)->rank);
}

static int most_first(const void *a, const void *b)
{
    return tdm_compare_doubles(&((const slow_row *)b)->wait_s, &((const slow_row *)a)->wait_s);
}

/* One row an interval, then one a rank. */
static int64_t sum_rows(slow_row *row, int64_t count)
{
    int64_t n = 0;
    qsort(row, (size_t)count, sizeof *row, by_rank);
    for (int64_t i = 0; i < count; i++) {
        if (n > 0 && row[n - 1].rank == row[i].rank) {
            row[n - 1].wait_s += row[i].wait_s;
            row[n - 1].wait_data_s += row[i].wait_data_s;
            row[n - 1].intervals += row[i].intervals;
        } else {
            row[n++] = row[i];
        }
    }
    qsort(row, (size_t)n, sizeof *row, most_first);
    return n;
}

/* Curves of one object have their points in the same lines, unless somebody has written into the file. */
static double value_at(const run_curve *c, int64_t i)
{
    return c != NULL && i < c->n ? c->y[i] : NAN;
}

static int64_t read_rows(const run_curves *curves, const run_curve *rank, slow_row *row)
{
    const run_curve *wait = run_curves_find(curves, "slow_rank.wait_s");
    const run_curve *data = run_curves_find(curves, "slow_rank.wait_data_s");
    int64_t n = 0;
    for (int64_t i = 0; i < rank->n; i++) {
        const double wait_s = value_at(wait, i), data_s = value_at(data, i);
        if (!isfinite(rank->y[i]) || !isfinite(wait_s)) continue;
        row[n++] = (slow_row){.rank = rank->y[i],
                              .wait_s = wait_s,
                              .wait_data_s = isfinite(data_s) ? data_s : 0.0,
                              .intervals = 1};
    }
    return n;
}

static const char *host_of(const run_curves *curves, double rank)
{
    for (int64_t i = 0; i < curves->host_count; i++)
        if ((double)curves->host[i].rank == rank) return curves->host[i].name;
    return "";
}

static tdm_status append_row(tdm_text *html, const run_curves *curves, const slow_row *row)
{
    TDM_TRY(tdm_text_printf(html, "<tr><td>rank %.0f ", row->rank));
    TDM_TRY(tdm_text_html(html, host_of(curves, row->rank)));
    return tdm_text_printf(html, "</td><td>%.1f</td><td>%.1f</td><td>%lld</td></tr>\n", row->wait_s,
                           row->wait_data_s, (long long)row->intervals);
}

tdm_status slow_ranks_append(tdm_text *html, const run_curves *curves)
{
    const run_curve *rank = run_curves_find(curves, "slow_rank.rank");
    slow_row *row = NULL;
    if (rank == NULL || rank->n == 0) return TDM_OK;
    TDM_TRY(TDM_ALLOC(rank->n, &row));
    const int64_t count = sum_rows(row, read_rows(curves, rank, row));
    tdm_status status = tdm_text_printf(
        html,
        "<h2>Slow ranks</h2>\n<p class=\"sub\" style=\"margin-bottom:12px\">The rank that the others waited for, by "
        "intervals of the log: the mean of their seconds.</p>\n<table>\n<tr><th></th><th>waited for, s</th>"
        "<th>of it for data, s</th><th>intervals</th></tr>\n");
    for (int64_t i = 0; i < count && i < SHOWN && status == TDM_OK; i++)
        status = append_row(html, curves, &row[i]);
    if (status == TDM_OK) status = tdm_text_printf(html, "</table>\n");
    tdm_free(row);
    return status;
}
