/* Every metric of both directions by several orders of the gallery, one beside the other. */
#include "report_impl.h"

static tdm_status append_head(tdm_text *html, const tdm_eval_page *page)
{
    TDM_TRY(tdm_text_printf(html, "<tr><th></th>"));
    for (int d = 0; d < TDM_DIRECTIONS; d++)
        TDM_TRY(tdm_text_printf(html, "<th colspan=\"%lld\">%s</th>", (long long)page->orders,
                                tdm_direction_label((tdm_direction)d)));
    TDM_TRY(tdm_text_printf(html, "</tr>\n<tr><th></th>"));
    for (int d = 0; d < TDM_DIRECTIONS; d++) {
        for (int64_t i = 0; i < page->orders; i++) {
            TDM_TRY(tdm_text_printf(html, "<th>"));
            TDM_TRY(tdm_text_html(html, page->order[i].name));
            TDM_TRY(tdm_text_printf(html, "</th>"));
        }
    }
    return tdm_text_printf(html, "</tr>\n");
}

static tdm_status append_metric(tdm_text *html, const tdm_eval_page *page, const tdm_metric *metric, size_t m)
{
    TDM_TRY(tdm_text_printf(html, "<tr><td>"));
    TDM_TRY(tdm_text_html(html, metric->title));
    TDM_TRY(tdm_text_printf(html, "</td>"));
    for (int d = 0; d < TDM_DIRECTIONS; d++) {
        for (int64_t i = 0; i < page->orders; i++) {
            char shown[32];
            show_figure(shown, page->order[i].metrics[d].value[m], metric->is_share);
            TDM_TRY(tdm_text_printf(html, "<td>%s</td>", shown));
        }
    }
    return tdm_text_printf(html, "</tr>\n");
}

tdm_status orders_append(tdm_text *html, const tdm_eval_page *page)
{
    size_t count = 0;
    if (page->orders == 0) return TDM_OK;
    const tdm_metric *const *metric = tdm_metric_rows_of(page->order[0].metrics[0].rows, &count);
    TDM_TRY(tdm_text_printf(html, "<h2>Other orders</h2>\n<div style=\"overflow-x:auto\">\n<table>\n"));
    TDM_TRY(append_head(html, page));
    for (size_t m = 0; m < count; m++) TDM_TRY(append_metric(html, page, metric[m], m));
    return tdm_text_printf(html, "</table></div>\n");
}
