/* Accuracy by class: figures, and a table with bars. */
#include "report_impl.h"

#include <math.h>
#include <stdlib.h>

static tdm_status append_tiles(tdm_text *html, const tdm_tile *tile, int64_t count)
{
    TDM_TRY(tdm_text_printf(html, "<div class=\"tiles\">\n"));
    for (int64_t i = 0; i < count; i++) {
        char value[32];
        show_value(value, tile[i].value);
        TDM_TRY(tdm_text_printf(html, "<div class=\"tile\"><b>%s</b><span>", value));
        TDM_TRY(tdm_text_html(html, tile[i].label));
        TDM_TRY(tdm_text_printf(html, "</span></div>\n"));
    }
    return tdm_text_printf(html, "</div>\n");
}

static tdm_status append_row(tdm_text *html, const tdm_class_row *row)
{
    char top_1[32], top_5[32];
    show_value(top_1, row->top_1);
    show_value(top_5, row->top_5);
    TDM_TRY(tdm_text_printf(html, "<tr><td>"));
    TDM_TRY(tdm_text_html(html, row->name));
    return tdm_text_printf(
        html,
        "</td><td>%lld</td><td>%s</td><td class=\"bar\"><i style=\"width:%.1f%%\"></i></td><td>%s</td></tr>\n",
        (long long)row->images, top_1, isfinite(row->top_1) ? 100.0 * row->top_1 : 0.0, top_5);
}

static int compare_rows(const void *a, const void *b)
{
    const tdm_class_row *x = *(const tdm_class_row *const *)a, *y = *(const tdm_class_row *const *)b;
    const double left = isfinite(x->top_1) ? x->top_1 : -1.0, right = isfinite(y->top_1) ? y->top_1 : -1.0;
    if (left != right) return left > right ? -1 : 1;
    return x < y ? -1 : x > y; /* neighbours in the caller's array */
}

static tdm_status append_table(tdm_text *html, const tdm_class_row *row, int64_t count)
{
    const tdm_class_row **order = NULL;
    TDM_TRY(TDM_ALLOC(count, &order));
    for (int64_t i = 0; i < count; i++) order[i] = &row[i];
    qsort((void *)order, (size_t)count, sizeof *order, compare_rows);
    tdm_status status = tdm_text_printf(html, "<h2>By class</h2>\n<table>\n<tr><th>class</th><th>images</th>"
                                              "<th>top-1</th><th class=\"bar\"></th><th>top-5</th></tr>\n");
    for (int64_t i = 0; i < count && status == TDM_OK; i++) status = append_row(html, order[i]);
    tdm_free((void *)order);
    TDM_TRY(status);
    return tdm_text_printf(html, "</table>\n");
}

tdm_status tdm_class_table_write(const char *path, const char *title, const char *subtitle,
                                 const tdm_tile *tile, int64_t tile_count, const tdm_class_row *row,
                                 int64_t row_count)
{
    tdm_text html = {0};
    tdm_status status = html_begin(&html, title, subtitle);
    if (status == TDM_OK) status = append_tiles(&html, tile, tile_count);
    if (status == TDM_OK) status = append_table(&html, row, row_count);
    if (status == TDM_OK)
        status = html_end(&html,
                          "Tandem " TDM_VERSION ". Shares of the images whose class is the best one (top-1), "
                          "or among the five best (top-5), by cosine similarity.");
    if (status == TDM_OK) status = tdm_write_file_atomic(path, html.data, html.length);
    tdm_text_free(&html);
    return status;
}
