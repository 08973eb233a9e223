/* Which system is better: a table for each that stands beside the first, and the queries that changed most. */
#include "report_impl.h"

#include <math.h>

static const char style[] = ".scroll{overflow-x:auto}.compared td,.compared th{padding:6px 10px}"
                            ".compared .sure{font-weight:650}.name{overflow-wrap:anywhere}";

void tdm_show_p(char out[16], double p)
{
    if (isnan(p))
        snprintf(out, 16, "–");
    else if (p < 0.0001)
        snprintf(out, 16, "<0.0001");
    else
        snprintf(out, 16, "%.4f", p);
}

static void show(char out[32], double value, const tdm_compared_metric *metric, bool sign)
{
    if (isfinite(value))
        snprintf(out, 32, sign ? "%+.*f" : "%.*f", metric->is_share ? 4 : 2, value);
    else
        snprintf(out, 32, "–");
}

static tdm_status append_line(tdm_text *html, const tdm_compared_metric *metric, const tdm_compared *first,
                              const tdm_compared *c, double level)
{
    char value[5][32], p[2][16];
    const double number[] = {first->value, c->value, c->difference, c->interval.low, c->interval.high};
    for (int i = 0; i < 5; i++) show(value[i], number[i], metric, i > 1);
    tdm_show_p(p[0], c->p);
    tdm_show_p(p[1], c->adjusted);
    TDM_TRY(tdm_text_printf(html, "<tr><td>"));
    TDM_TRY(tdm_text_html(html, metric->label));
    TDM_TRY(tdm_text_printf(html, "</td><td>%s</td><td>%s</td><td>%s</td><td>[%s, %s]</td><td>", value[0],
                            value[1], value[2], value[3], value[4]));
    TDM_TRY(tdm_text_html(html, p[0]));
    TDM_TRY(tdm_text_printf(html, "</td><td%s>", c->adjusted <= 1 - level ? " class=\"sure\"" : ""));
    TDM_TRY(tdm_text_html(html, p[1]));
    return tdm_text_printf(html, "</td><td>%lld</td><td>%lld</td><td>%lld</td></tr>\n", (long long)c->better,
                           (long long)c->worse, (long long)c->equal);
}

static tdm_status append_changed(tdm_text *html, const char *title, const tdm_changed_query *query,
                                 int64_t count, const tdm_compared_metric *metric)
{
    if (count == 0) return TDM_OK;
    TDM_TRY(tdm_text_printf(html, "<figure class=\"scroll\"><figcaption>%s <i>", title));
    TDM_TRY(tdm_text_html(html, metric->label));
    TDM_TRY(tdm_text_printf(html, "</i></figcaption>\n<table class=\"compared\">\n<tr><th>query</th>"
                                  "<th>before</th><th>after</th></tr>\n"));
    for (int64_t i = 0; i < count; i++) {
        char value[2][32];
        show(value[0], query[i].before, metric, false);
        show(value[1], query[i].after, metric, false);
        TDM_TRY(tdm_text_printf(html, "<tr><td class=\"name\">"));
        TDM_TRY(tdm_text_html(html, query[i].name));
        TDM_TRY(tdm_text_printf(html, "</td><td>%s</td><td>%s</td></tr>\n", value[0], value[1]));
    }
    return tdm_text_printf(html, "</table></figure>\n");
}

static tdm_status append_system(tdm_text *html, const tdm_comparison *c, const tdm_compared_system *system)
{
    TDM_TRY(tdm_text_printf(html, "<h2 class=\"name\">"));
    TDM_TRY(tdm_text_html(html, system->name));
    TDM_TRY(
        tdm_text_printf(html, "</h2>\n<div class=\"scroll\"><table class=\"compared\">\n<tr><th></th><th>"));
    TDM_TRY(tdm_text_html(html, c->system[0].name));
    TDM_TRY(tdm_text_printf(html, "</th><th>"));
    TDM_TRY(tdm_text_html(html, system->name));
    TDM_TRY(tdm_text_printf(html,
                            "</th><th>difference</th><th>%g %% interval</th><th>p</th><th>p, Holm</th>"
                            "<th>better</th><th>worse</th><th>equal</th></tr>\n",
                            100 * c->level));
    for (int64_t m = 0; m < c->metrics; m++)
        TDM_TRY(append_line(html, &c->metric[m], &c->system[0].metric[m], &system->metric[m], c->level));
    TDM_TRY(tdm_text_printf(html, "</table></div>\n<div class=\"charts\" style=\"margin-top:16px\">\n"));
    const tdm_compared_metric *by = &c->metric[c->changed_by];
    TDM_TRY(append_changed(html, "Largest gains", system->gain, system->gains, by));
    TDM_TRY(append_changed(html, "Largest losses", system->loss, system->losses, by));
    return tdm_text_printf(html, "</div>\n");
}

static tdm_status append_page(tdm_text *html, const char *subtitle, const tdm_comparison *c)
{
    TDM_TRY(html_begin(html, "Comparison over the same queries", subtitle));
    TDM_TRY(tdm_text_printf(html, "<style>%s</style>\n", style));
    for (int64_t s = 1; s < c->systems; s++) TDM_TRY(append_system(html, c, &c->system[s]));
    return html_end(
        html,
        "Tandem " TDM_VERSION ". p: paired randomisation test, two-sided. Holm's correction is over all "
        "tests of this page; in bold what it leaves below the level. Intervals: percentile bootstrap of "
        "the difference. Better, worse and equal count queries.");
}

tdm_status tdm_comparison_page_write(const char *path, const char *subtitle, const tdm_comparison *comparison)
{
    tdm_text html = {0};
    tdm_status status = append_page(&html, subtitle, comparison);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, html.data, html.length);
    tdm_text_free(&html);
    return status;
}
