/* The page. Everything on it works without a script. */
#include "serve_impl.h"

static tdm_status append_head(const serve_results *r, tdm_text *out)
{
    TDM_TRY(tdm_text_printf(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                                 "<meta name=\"viewport\" content=\"width=device-width\">\n<title>"));
    TDM_TRY(tdm_text_html(out, r->title));
    return tdm_text_printf(out, "</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n"
                                "<script src=\"/page.js\" defer></script>\n</head>\n<body>\n");
}

static tdm_status append_form(const serve_results *r, tdm_text *out)
{
    TDM_TRY(tdm_text_printf(out, "<form action=\"/\" method=\"get\"><input name=\"q\" value=\""));
    TDM_TRY(tdm_text_html(out, r->query->text.length > 0 ? r->query->text.data : ""));
    return tdm_text_printf(out, "\"><button>Search</button></form>\n");
}

static tdm_status append_item(const serve_item *item, tdm_text *out)
{
    TDM_TRY(tdm_text_printf(out,
                            "<li><a href=\"/image/%lld\"><img alt=\"\" src=\"/thumbnail/%lld\"></a> %.4f ",
                            (long long)item->row, (long long)item->row, item->score));
    TDM_TRY(tdm_text_html(out, item->text));
    return tdm_text_printf(out, " <a href=\"/?row=%lld\">more like this</a></li>\n", (long long)item->row);
}

tdm_status serve_page_render(const serve_results *results, tdm_text *out)
{
    TDM_TRY(append_head(results, out));
    TDM_TRY(append_form(results, out));
    if (results->fault != NULL) {
        TDM_TRY(tdm_text_printf(out, "<p>"));
        TDM_TRY(tdm_text_html(out, results->fault->message));
        TDM_TRY(tdm_text_printf(out, "</p>\n"));
    }
    TDM_TRY(tdm_text_printf(out, "<ol>\n"));
    for (int64_t i = 0; i < results->items; i++) TDM_TRY(append_item(&results->item[i], out));
    return tdm_text_printf(out, "</ol>\n</body>\n</html>\n");
}
