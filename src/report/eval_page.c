/* The page of a retrieval: picture of the embedding, figures, curves, classes, some queries with what they found. */
#include "report_impl.h"

#include <stdlib.h>

/* Both directions in one chart: precision over recall, or over the rank. */
static tdm_status append_curve(tdm_text *html, line_chart chart,
                               const tdm_curve_point *const point[TDM_DIRECTIONS],
                               const int64_t count[TDM_DIRECTIONS], bool by_rank)
{
    double *xy[TDM_DIRECTIONS] = {NULL}; /* [2][count] */
    tdm_status status = TDM_OK;
    for (int d = 0; d < TDM_DIRECTIONS && status == TDM_OK; d++) {
        const int64_t n = count[d];
        status = TDM_ALLOC(2 * n, &xy[d]);
        for (int64_t i = 0; i < n && status == TDM_OK; i++) {
            xy[d][i] = by_rank ? (double)point[d][i].rank : point[d][i].recall;
            xy[d][n + i] = point[d][i].precision;
        }
        if (status == TDM_OK)
            chart.series[chart.series_count++] = (chart_series){
                .name = tdm_direction_label((tdm_direction)d), .n = n, .x = xy[d], .y = xy[d] + n};
    }
    if (status == TDM_OK) status = chart_append(html, &chart);
    for (int d = 0; d < TDM_DIRECTIONS; d++) tdm_free(xy[d]);
    return status;
}

static tdm_status append_curves(tdm_text *html, const tdm_eval_page *page)
{
    static const line_chart by_recall = {.title = "Precision and recall",
                                         .unit = "mean over the queries",
                                         .x_title = "recall",
                                         .from_zero = true},
                            by_scope = {.title = "Precision and scope",
                                        .unit = "mean over the queries",
                                        .x_title = "the first … of the gallery",
                                        .from_zero = true,
                                        .x_is_log = true};
    if (page->recalls[0] + page->scopes[0] == 0) return TDM_OK;
    TDM_TRY(tdm_text_printf(html, "<h2>Curves</h2>\n<div class=\"charts\">\n"));
    TDM_TRY(append_curve(html, by_recall, page->recall, page->recalls, false));
    TDM_TRY(append_curve(html, by_scope, page->scope, page->scopes, true));
    return tdm_text_printf(html, "</div>\n");
}

static tdm_status append_section(tdm_text *html, const tdm_eval_section *section)
{
    TDM_TRY(tdm_text_printf(html, "<h2>"));
    TDM_TRY(tdm_text_html(html, section->title));
    TDM_TRY(tdm_text_printf(html, "</h2>\n"));
    if (section->note != NULL) {
        TDM_TRY(tdm_text_printf(html, "<p class=\"sub\">"));
        TDM_TRY(tdm_text_html(html, section->note));
        TDM_TRY(tdm_text_printf(html, "%s</p>\n", section->queries == 0 ? " There are none." : ""));
    }
    return sheet_append(html, section->query, section->queries);
}

static tdm_status append_page(tdm_text *html, const tdm_eval_page *page)
{
    TDM_TRY(html_begin(html, page->title, page->subtitle));
    const size_t begin = html->length;
    if (page->picture != NULL) TDM_TRY(picture_append(html, page->picture));
    TDM_TRY(intervals_append(html, page));
    TDM_TRY(orders_append(html, page));
    TDM_TRY(append_curves(html, page));
    TDM_TRY(class_metrics_append(html, page));
    if ((html->length > begin || page->sections > 0) && page->queries > 0)
        TDM_TRY(tdm_text_printf(html, "<h2>Some queries</h2>\n"));
    TDM_TRY(sheet_append(html, page->query, page->queries));
    for (int64_t i = 0; i < page->sections; i++) TDM_TRY(append_section(html, &page->section[i]));
    return html_end(html, SHEET_NOTE);
}

tdm_status tdm_eval_page_write(const char *path, const tdm_eval_page *page)
{
    tdm_text html = {0};
    tdm_status status = append_page(&html, page);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, html.data, html.length);
    tdm_text_free(&html);
    return status;
}
