/* The page of a study: its table, metrics over a numeric axis, learning curves. */
#include "report_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static tdm_status append_cell(tdm_text *html, const tdm_study_cell *cell, bool is_share)
{
    const double factor = is_share ? 100.0 : 1.0;
    if (!cell->n) return tdm_text_printf(html, "<td>–</td>");
    TDM_TRY(tdm_text_printf(html, "<td>%.2f", factor * cell->mean));
    if (isfinite(cell->std)) TDM_TRY(tdm_text_printf(html, " ± %.2f", factor * cell->std));
    if (isfinite(cell->difference)) {
        TDM_TRY(tdm_text_printf(html, "<br><small>%+.2f", factor * cell->difference));
        if (isfinite(cell->p)) TDM_TRY(tdm_text_printf(html, ", p = %.2g", cell->p));
        TDM_TRY(tdm_text_printf(html, "</small>"));
    }
    return tdm_text_printf(html, "</td>");
}

static tdm_status append_table(tdm_text *html, const tdm_study_table *table)
{
    bool biased = false;
    TDM_TRY(tdm_text_printf(html, "<h2>Results</h2>\n<table>\n<tr><th></th><th>runs</th>"));
    for (int64_t k = 0; k < table->metrics; k++) {
        TDM_TRY(tdm_text_printf(html, "<th>"));
        TDM_TRY(tdm_text_html(html, table->label[k]));
        TDM_TRY(tdm_text_printf(html, "</th>"));
    }
    for (int64_t r = 0; r < table->lines; r++) {
        const tdm_study_line *line = &table->line[r];
        TDM_TRY(tdm_text_printf(html, "</tr>\n<tr><td>%s", r == table->base ? "<b>" : ""));
        TDM_TRY(tdm_text_html(html, line->label));
        TDM_TRY(tdm_text_printf(html, "%s%s</td><td>%lld", r == table->base ? "</b>" : "",
                                line->biased ? " *" : "", (long long)line->runs));
        biased |= line->biased;
        if (line->failed) TDM_TRY(tdm_text_printf(html, ", %lld failed", (long long)line->failed));
        TDM_TRY(tdm_text_printf(html, "</td>"));
        for (int64_t k = 0; k < table->metrics; k++)
            TDM_TRY(append_cell(html, &line->cell[k], table->is_share[k]));
    }
    TDM_TRY(tdm_text_printf(html, "</tr>\n</table>\n"));
    return biased
               ? tdm_text_printf(html, "<p class=\"sub\">* The checkpoint was chosen on the split that it is "
                                       "measured on: the figures flatter it.</p>\n")
               : TDM_OK;
}

/* ---- Metrics over x ---- */

typedef struct point {
    double x, y;
} point;

static int compare_points(const void *a, const void *b)
{
    const double x = ((const point *)a)->x, y = ((const point *)b)->x;
    return (x > y) - (x < y);
}

/* The lines of one series that have x and the metric: ascending x[], y[]; their number. */
static int64_t gather_series(const tdm_study_table *table, const char *series, int64_t k, point *at,
                             double *x, double *y)
{
    int64_t n = 0;
    for (int64_t r = 0; r < table->lines; r++) {
        const tdm_study_line *line = &table->line[r];
        if (strcmp(line->series, series) || !isfinite(line->x) || !line->cell[k].n) continue;
        at[n++] = (point){line->x, (table->is_share[k] ? 100.0 : 1.0) * line->cell[k].mean};
    }
    qsort(at, (size_t)n, sizeof *at, compare_points);
    for (int64_t i = 0; i < n; i++) x[i] = at[i].x, y[i] = at[i].y;
    return n;
}

static bool is_first_of_series(const tdm_study_table *table, int64_t r)
{
    for (int64_t i = 0; i < r; i++)
        if (!strcmp(table->line[i].series, table->line[r].series)) return false;
    return isfinite(table->line[r].x);
}

static tdm_status append_over_x(tdm_text *html, const tdm_study_table *table, int64_t k, point *at,
                                double *room)
{
    const int64_t lines = table->lines;
    for (int64_t r = 0; r < lines;) { /* as many charts as the series need */
        line_chart c = {
            .title = table->label[k], .unit = table->is_share[k] ? "%" : "", .x_title = table->x_title};
        for (; r < lines && c.series_count < CHART_MAX_SERIES; r++) {
            double *x = room + 2 * lines * c.series_count, *y = x + lines;
            if (!is_first_of_series(table, r)) continue;
            const int64_t n = gather_series(table, table->line[r].series, k, at, x, y);
            const char *name = table->line[r].series[0] ? table->line[r].series : table->label[k];
            if (n) c.series[c.series_count++] = (chart_series){.name = name, .n = n, .x = x, .y = y};
        }
        TDM_TRY(chart_append(html, &c));
    }
    return TDM_OK;
}

static tdm_status append_axis(tdm_text *html, const tdm_study_table *table)
{
    point *at;
    double *room;
    if (!table->x_title[0]) return TDM_OK;
    TDM_TRY(TDM_ALLOC(table->lines, &at));
    tdm_status status = TDM_ALLOC(2 * table->lines * CHART_MAX_SERIES, &room);
    if (status == TDM_OK) {
        status = tdm_text_printf(html, "<h2>Over ");
        if (status == TDM_OK) status = tdm_text_html(html, table->x_title);
        if (status == TDM_OK) status = tdm_text_printf(html, "</h2>\n<div class=\"charts\">\n");
        for (int64_t k = 0; status == TDM_OK && k < table->metrics; k++)
            status = append_over_x(html, table, k, at, room);
        if (status == TDM_OK) status = tdm_text_printf(html, "</div>\n");
        tdm_free(room);
    }
    tdm_free(at);
    return status;
}

/* ---- Learning curves ---- */

/* Of the runs of one line: the mean at each step that the first run has and all others have, too. */
static tdm_status mean_curve(const run_curves *runs, int64_t count, const char *name, double factor,
                             run_curve *mean)
{
    const run_curve *first = count ? run_curves_find(&runs[0], name) : NULL;
    *mean = (run_curve){0};
    if (!first || !first->n) return TDM_OK;
    TDM_TRY(TDM_ALLOC(first->n, &mean->x));
    TDM_TRY(TDM_ALLOC(first->n, &mean->y));
    for (int64_t i = 0; i < first->n; i++) {
        double sum = 0.0;
        int64_t found = 0;
        for (int64_t k = 0; k < count; k++) {
            const run_curve *c = run_curves_find(&runs[k], name);
            for (int64_t j = 0; c && j < c->n; j++)
                if (c->x[j] == first->x[i]) sum += c->y[j], found++;
        }
        if (found != count) continue;
        mean->x[mean->n] = first->x[i];
        mean->y[mean->n++] = factor * sum / (double)count;
    }
    return TDM_OK;
}

/* One chart of one key for up to CHART_MAX_SERIES lines. */
static tdm_status append_curves(tdm_text *html, const tdm_study_table *table, run_curves **runs,
                                const char *key, const char *title, bool is_share, int64_t first,
                                int64_t count)
{
    run_curve mean[CHART_MAX_SERIES];
    line_chart c = {.title = title, .unit = is_share ? "%" : "", .x_title = "step"};
    memset(mean, 0, sizeof mean);
    tdm_status status = TDM_OK;
    for (int64_t r = first; status == TDM_OK && r < first + count; r++) {
        run_curve *m = &mean[c.series_count];
        status = mean_curve(runs[r], table->line[r].runs, key, is_share ? 100.0 : 1.0, m);
        if (status == TDM_OK && m->n)
            c.series[c.series_count++] =
                (chart_series){.name = table->line[r].label, .n = m->n, .x = m->x, .y = m->y};
    }
    if (status == TDM_OK && c.series_count) status = chart_append(html, &c);
    for (int i = 0; i < CHART_MAX_SERIES; i++) {
        tdm_free(mean[i].x);
        tdm_free(mean[i].y);
    }
    return status;
}

static tdm_status append_learning(tdm_text *html, const tdm_study_table *table, run_curves **runs)
{
    TDM_TRY(tdm_text_printf(html, "<h2>Learning curves</h2>\n<div class=\"charts\">\n"));
    for (int64_t first = 0; first < table->lines; first += CHART_MAX_SERIES) {
        const int64_t count = tdm_min_i64(CHART_MAX_SERIES, table->lines - first);
        TDM_TRY(append_curves(html, table, runs, "loss", "Loss", false, first, count));
        for (int64_t k = 0; k < table->metrics; k++) {
            char key[128];
            snprintf(key, sizeof key, "eval.%s", table->metric[k]);
            TDM_TRY(append_curves(html, table, runs, key, table->label[k], table->is_share[k], first, count));
        }
    }
    return tdm_text_printf(html, "</div>\n");
}

/* A run whose metrics.jsonl cannot be read has no curves; its figures are in the table all the same. */
static tdm_status read_curves(const tdm_study_line *line, run_curves **curves)
{
    TDM_TRY(TDM_ALLOC(line->runs, curves));
    for (int64_t i = 0; i < line->runs; i++) {
        char path[TDM_PATH_BYTES];
        TDM_TRY(tdm_path_join(path, sizeof path, line->run_dir[i], "metrics.jsonl"));
        if (run_curves_read(path, &(*curves)[i]) != TDM_OK)
            tdm_log(TDM_LOG_WARN, "no curves of a run: %s", tdm_error_last()->message);
    }
    return TDM_OK;
}

static tdm_status append_page(tdm_text *html, const tdm_study_table *table, run_curves **runs)
{
    int64_t done = 0, failed = 0;
    char subtitle[128];
    for (int64_t r = 0; r < table->lines; r++) {
        done += table->line[r].runs;
        failed += table->line[r].failed;
        TDM_TRY(read_curves(&table->line[r], &runs[r]));
    }
    snprintf(subtitle, sizeof subtitle, "%lld rows, %lld runs done, %lld failed", (long long)table->lines,
             (long long)done, (long long)failed);
    TDM_TRY(html_begin(html, table->title, subtitle));
    TDM_TRY(append_table(html, table));
    TDM_TRY(append_axis(html, table));
    TDM_TRY(append_learning(html, table, runs));
    return html_end(
        html, "Tandem " TDM_VERSION ". Mean ± sample standard deviation over the seeds; shares in percent. "
              "Below: difference to the row in bold, and the two-sided p of the paired t-test over the "
              "seeds that both rows have.");
}

tdm_status tdm_study_page_write(const char *path, const tdm_study_table *table)
{
    tdm_text html = {0};
    run_curves **runs;
    TDM_TRY(TDM_ALLOC(table->lines, &runs));
    tdm_status status = append_page(&html, table, runs);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, html.data, html.length);
    for (int64_t r = 0; r < table->lines; r++) {
        for (int64_t i = 0; runs[r] && i < table->line[r].runs; i++) run_curves_free(&runs[r][i]);
        tdm_free(runs[r]);
    }
    tdm_free((void *)runs);
    tdm_text_free(&html);
    return status;
}
