/* Every metric of both directions with its interval. */
#include "report_impl.h"

#include <math.h>

void show_figure(char out[32], double value, bool is_share)
{
    if (is_share && isfinite(value))
        snprintf(out, 32, "%.4f", value);
    else
        show_value(out, value);
}

static tdm_status append_cell(tdm_text *html, double value, tdm_interval interval, bool is_share)
{
    char shown[3][32];
    const double number[3] = {value, interval.low, interval.high};
    for (int i = 0; i < 3; i++) show_figure(shown[i], number[i], is_share);
    return tdm_text_printf(html, "<td>%s</td><td>[%s, %s]</td>", shown[0], shown[1], shown[2]);
}

tdm_status intervals_append(tdm_text *html, const tdm_eval_page *page)
{
    size_t count = 0;
    if (page->metrics == NULL) return TDM_OK;
    const tdm_metric *const *metric = tdm_metric_rows_of(page->metrics[0].rows, &count);
    TDM_TRY(tdm_text_printf(html, "<h2>Figures</h2>\n<p class=\"sub\" style=\"margin-bottom:12px\">"));
    TDM_TRY(tdm_text_html(html, page->interval_note));
    TDM_TRY(tdm_text_printf(html, "</p>\n<div style=\"overflow-x:auto\">\n<table>\n<tr><th></th>"));
    for (int d = 0; d < TDM_DIRECTIONS; d++)
        TDM_TRY(tdm_text_printf(html, "<th colspan=\"2\">%s</th>", tdm_direction_label((tdm_direction)d)));
    for (size_t m = 0; m < count; m++) {
        TDM_TRY(tdm_text_printf(html, "</tr>\n<tr><td>"));
        TDM_TRY(tdm_text_html(html, metric[m]->title));
        TDM_TRY(tdm_text_printf(html, "</td>"));
        for (int d = 0; d < TDM_DIRECTIONS; d++)
            TDM_TRY(append_cell(html, page->metrics[d].value[m], page->interval[d][m], metric[m]->is_share));
    }
    return tdm_text_printf(html, "</tr>\n</table></div>\n");
}
