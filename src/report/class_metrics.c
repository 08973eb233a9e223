/* A retrieval by class: the headline metrics of each class's queries and those that were asked for, in both directions. */
#include "report_impl.h"

#include <math.h>
#include <stdlib.h>

static const char style[] =
    ".dense{width:100%}.dense th,.dense td{padding:5px 8px}.dense td:first-child{min-width:"
    "9em;overflow-wrap:anywhere}.dense tr:nth-child(2)>*{border-top:0}"
    ".dense [colspan]{text-align:center}.dense .bar{width:10%;min-width:60px}";
static const char ordered_by[] = "map"; /* the mean of both directions */

/* The rows that have a column: the headline ones, and those behind the table's. */
static bool is_shown(const tdm_metric *const *row, size_t i)
{
    size_t table = 0;
    (void)tdm_metric_table(&table);
    return row[i]->is_headline || i >= table;
}

typedef struct class_line {
    int64_t class;
    double mean; /* NaN: no queries in one of the directions */
} class_line;

static double value_of(const tdm_eval_page *page, int direction, int64_t class, int metric)
{
    const tdm_class_metrics *of = &page->per_class[direction][class];
    return of->queries > 0 ? of->value[metric] : NAN;
}

static int compare_lines(const void *a, const void *b)
{
    const class_line *x = a, *y = b;
    const double left = isfinite(x->mean) ? x->mean : -1, right = isfinite(y->mean) ? y->mean : -1;
    if (left != right) return left > right ? -1 : 1;
    return x->class < y->class ? -1 : 1;
}

static tdm_status append_head(tdm_text *html, const tdm_eval_page *page)
{
    size_t count = 0;
    const tdm_metric *const *metric = tdm_metric_rows_of(page->rows, &count);
    const char *title = metric[tdm_metric_index(ordered_by)]->title;
    int columns = 0;
    for (size_t i = 0; i < count; i++) columns += is_shown(metric, i);
    TDM_TRY(tdm_text_printf(html, "<tr><th></th>"));
    for (int d = 0; d < TDM_DIRECTIONS; d++)
        TDM_TRY(tdm_text_printf(html, "<th colspan=\"%d\">%s</th>", columns + 1,
                                tdm_direction_label((tdm_direction)d)));
    TDM_TRY(tdm_text_printf(html, "<th colspan=\"2\">both</th></tr>\n<tr><th>class</th>"));
    for (int d = 0; d < TDM_DIRECTIONS; d++) {
        TDM_TRY(tdm_text_printf(html, "<th>queries</th>"));
        for (size_t i = 0; i < count; i++)
            if (is_shown(metric, i)) TDM_TRY(tdm_text_printf(html, "<th>%s</th>", metric[i]->title));
    }
    return tdm_text_printf(html, "<th>%s</th><th class=\"bar\"></th></tr>\n", title);
}

static tdm_status append_value(tdm_text *html, double value, bool is_share)
{
    char text[32];
    show_value(text, value);
    if (is_share && isfinite(value)) snprintf(text, sizeof text, "%.3f", value);
    return tdm_text_printf(html, "<td>%s</td>", text);
}

static tdm_status append_line(tdm_text *html, const tdm_eval_page *page, const class_line *line)
{
    size_t count = 0;
    const tdm_metric *const *metric = tdm_metric_rows_of(page->rows, &count);
    TDM_TRY(tdm_text_printf(html, "<tr><td>"));
    TDM_TRY(tdm_text_html(html, page->class_name[line->class]));
    TDM_TRY(tdm_text_printf(html, "</td>"));
    for (int d = 0; d < TDM_DIRECTIONS; d++) {
        TDM_TRY(tdm_text_printf(html, "<td>%lld</td>", (long long)page->per_class[d][line->class].queries));
        for (int i = 0; i < (int)count; i++)
            if (is_shown(metric, (size_t)i))
                TDM_TRY(append_value(html, value_of(page, d, line->class, i), metric[i]->is_share));
    }
    TDM_TRY(append_value(html, line->mean, true));
    return tdm_text_printf(html, "<td class=\"bar\"><i style=\"width:%.1f%%\"></i></td></tr>\n",
                           isfinite(line->mean) ? 100 * line->mean : 0.0);
}

static tdm_status append_lines(tdm_text *html, const tdm_eval_page *page, class_line *line)
{
    const int metric = tdm_metric_index(ordered_by);
    for (int64_t c = 0; c < page->classes; c++) {
        line[c].class = c;
        for (int d = 0; d < TDM_DIRECTIONS; d++)
            line[c].mean += value_of(page, d, c, metric) / TDM_DIRECTIONS;
    }
    qsort(line, (size_t)page->classes, sizeof *line, compare_lines);
    for (int64_t c = 0; c < page->classes; c++) TDM_TRY(append_line(html, page, &line[c]));
    return TDM_OK;
}

tdm_status class_metrics_append(tdm_text *html, const tdm_eval_page *page)
{
    class_line *line = NULL;
    if (page->classes == 0) return TDM_OK;
    TDM_TRY(
        tdm_text_printf(html,
                        "<style>%s</style><h2>By class</h2>\n<p class=\"sub\" style=\"margin-bottom:12px\">"
                        "The queries of each class; the best classes first.</p>\n"
                        "<div style=\"overflow-x:auto\">\n<table class=\"dense\">\n",
                        style));
    TDM_TRY(append_head(html, page));
    TDM_TRY(TDM_ALLOC(page->classes, &line));
    const tdm_status status = append_lines(html, page, line);
    tdm_free(line);
    TDM_TRY(status);
    return tdm_text_printf(html, "</table></div>\n");
}
