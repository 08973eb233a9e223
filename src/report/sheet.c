/* Contact sheets: queries with what was found for them, thumbnails inline. */
#include "report_impl.h"

static tdm_status append_item(tdm_text *html, const tdm_sheet_item *item, int64_t rank)
{
    bool known = false;
    tdm_text source = {0};
    tdm_status status = html_image_source(&source, item->image, item->image_bytes, &known);
    if (status == TDM_OK)
        status = tdm_text_printf(html, "<div class=\"item%s\"><div class=\"thumb\">",
                                 item->is_positive ? " match" : "");
    if (status == TDM_OK)
        status = known ? tdm_text_printf(html, "<img alt=\"\" %s>", source.data)
                       : tdm_text_printf(html, "no thumbnail");
    tdm_text_free(&source);
    TDM_TRY(status);
    TDM_TRY(tdm_text_printf(
        html, "</div><div class=\"label\"><span class=\"score\">%.4f</span><b>%lld</b>%s<div>", item->score,
        (long long)rank, item->is_positive ? "<span class=\"tag\">match</span>" : ""));
    if (item->caption != NULL) TDM_TRY(tdm_text_html(html, item->caption));
    TDM_TRY(tdm_text_printf(html, "</div><div class=\"name\">"));
    if (item->name != NULL) TDM_TRY(tdm_text_html(html, item->name));
    return tdm_text_printf(html, "</div></div></div>\n");
}

static tdm_status append_query(tdm_text *html, const tdm_sheet_query *query)
{
    bool known = false;
    tdm_text source = {0};
    tdm_status status = html_image_source(&source, query->image, query->image_bytes, &known);
    if (status == TDM_OK) status = tdm_text_printf(html, "<section><div class=\"query\">");
    if (status == TDM_OK && known) status = tdm_text_printf(html, "<img alt=\"query\" %s>", source.data);
    tdm_text_free(&source);
    TDM_TRY(status);
    TDM_TRY(tdm_text_printf(html, "<div><span>Query</span><h2>"));
    TDM_TRY(tdm_text_html(html, query->text != NULL ? query->text : "image"));
    TDM_TRY(tdm_text_printf(html, "</h2>"));
    if (query->note != NULL) {
        TDM_TRY(tdm_text_printf(html, "<span>"));
        TDM_TRY(tdm_text_html(html, query->note));
        TDM_TRY(tdm_text_printf(html, "</span>"));
    }
    TDM_TRY(tdm_text_printf(html, "</div></div>\n<div class=\"sheet\">\n"));
    for (int64_t i = 0; i < query->item_count; i++) TDM_TRY(append_item(html, &query->item[i], i + 1));
    return tdm_text_printf(html, "</div></section>\n");
}

tdm_status sheet_append(tdm_text *html, const tdm_sheet_query *query, int64_t query_count)
{
    for (int64_t i = 0; i < query_count; i++) TDM_TRY(append_query(html, &query[i]));
    return TDM_OK;
}

tdm_status tdm_sheet_write(const char *path, const char *title, const char *subtitle,
                           const tdm_sheet_query *query, int64_t query_count)
{
    tdm_text html = {0};
    tdm_status status = html_begin(&html, title, subtitle);
    if (status == TDM_OK) status = sheet_append(&html, query, query_count);
    if (status == TDM_OK) status = html_end(&html, SHEET_NOTE);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, html.data, html.length);
    tdm_text_free(&html);
    return status;
}
