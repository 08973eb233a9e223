/* Scores of a compression probe, as tables that are shaded by their values. */
#include "report_impl.h"

static const char style[] =
    ".scroll{overflow-x:auto}.probe td,.probe th{padding:7px 10px;text-align:center}\n"
    ".probe td{background:color-mix(in srgb,var(--s1) calc(var(--v)*70%),var(--card))}\n";

static tdm_status append_scores(tdm_text *html, const tdm_probe_scores *s)
{
    TDM_TRY(tdm_text_printf(html, "<h2>"));
    TDM_TRY(tdm_text_html(html, s->title));
    TDM_TRY(
        tdm_text_printf(html, "</h2>\n<div class=\"scroll\"><table class=\"probe\">\n<tr><th>layer</th>"));
    for (int64_t i = 0; i < s->layers; i++)
        TDM_TRY(tdm_text_printf(html, "<th>%lld</th>", (long long)(i + 1)));
    for (int64_t p = 0; p < s->parts; p++) {
        TDM_TRY(tdm_text_printf(html, "</tr>\n<tr><th>"));
        TDM_TRY(tdm_text_html(html, s->part[p]));
        TDM_TRY(tdm_text_printf(html, "</th>"));
        for (int64_t i = 0; i < s->layers; i++) {
            const double score = s->score[p * s->layers + i];
            TDM_TRY(tdm_text_printf(html, "<td style=\"--v:%.3f\">%.2f</td>", score, score));
        }
    }
    return tdm_text_printf(html, "</tr>\n</table></div>\n");
}

static tdm_status append_page(tdm_text *html, const char *title, const char *subtitle,
                              const tdm_probe_scores *scores, int64_t count, const char *const *note,
                              int64_t notes)
{
    TDM_TRY(html_begin(html, title, subtitle));
    TDM_TRY(tdm_text_printf(html, "<style>\n%s</style>\n", style));
    for (int64_t i = 0; i < count; i++) TDM_TRY(append_scores(html, &scores[i]));
    TDM_TRY(tdm_text_printf(html, "<h2>Layers to leave out or freeze</h2>\n<ul>\n"));
    for (int64_t i = 0; i < notes; i++) {
        TDM_TRY(tdm_text_printf(html, "<li>"));
        TDM_TRY(tdm_text_html(html, note[i]));
        TDM_TRY(tdm_text_printf(html, "</li>\n"));
    }
    TDM_TRY(tdm_text_printf(html, "</ul>\n"));
    return html_end(html,
                    "Tandem " TDM_VERSION ". C1: what is lost without a part, over the largest loss of its "
                    "tower. C2: how much of the way from the initial to the trained weights a part needs.");
}

tdm_status tdm_probe_page_write(const char *path, const char *title, const char *subtitle,
                                const tdm_probe_scores *scores, int64_t count, const char *const *note,
                                int64_t notes)
{
    tdm_text html = {0};
    tdm_status status = append_page(&html, title, subtitle, scores, count, note, notes);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, html.data, html.length);
    tdm_text_free(&html);
    return status;
}
