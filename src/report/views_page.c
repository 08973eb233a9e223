/* What the augmentations make of some samples, to be judged by eye. */
#include "report_impl.h"

#include <string.h>

static const char style[] =
    ".sheet{grid-template-columns:repeat(auto-fill,minmax(128px,1fr))}\n" /* eight on a wide screen */
    "h3{font-size:15px;margin:18px 0 2px}h3+.sub{margin-bottom:10px;font-size:13px}\n"
    ".words{margin:0;padding:10px 16px 10px 34px;background:var(--card);"
    "border:1px solid var(--line);border-radius:10px}\n"
    ".words mark{background:var(--goodback);color:var(--good);border-radius:4px;padding:0 2px}\n";

/* The next word between blanks in *at; its length, 0: none. */
static size_t next_word(const char **at)
{
    static const char blanks[] = " \t\r\n";
    *at += strspn(*at, blanks);
    return strcspn(*at, blanks);
}

static bool holds_word(const char *text, const char *word, size_t bytes)
{
    for (size_t n; (n = next_word(&text)) > 0; text += n)
        if (n == bytes && !memcmp(text, word, n)) return true;
    return false;
}

/* Words that the caption does not have are marked. */
static tdm_status append_words(tdm_text *html, const char *caption, const char *words)
{
    for (size_t n; (n = next_word(&words)) > 0; words += n) {
        const bool is_new = caption != NULL && !holds_word(caption, words, n);
        tdm_text word = {0};
        tdm_status status = tdm_text_append(&word, words, n);
        if (status == TDM_OK) status = tdm_text_printf(html, is_new ? "<mark>" : "");
        if (status == TDM_OK) status = tdm_text_html(html, word.data);
        if (status == TDM_OK) status = tdm_text_printf(html, is_new ? "</mark> " : " ");
        tdm_text_free(&word);
        TDM_TRY(status);
    }
    return TDM_OK;
}

static tdm_status append_image(tdm_text *html, const void *image, int64_t bytes)
{
    bool known = false;
    tdm_text source = {0};
    tdm_status status = html_image_source(&source, image, bytes, &known);
    if (status == TDM_OK && known) status = tdm_text_printf(html, "<img alt=\"\" %s>", source.data);
    tdm_text_free(&source);
    return status;
}

static tdm_status append_draws(tdm_text *html, const char *caption, const tdm_view_draws *draws)
{
    TDM_TRY(tdm_text_printf(html, "<h3>"));
    TDM_TRY(tdm_text_html(html, draws->view));
    TDM_TRY(tdm_text_printf(html, "</h3>\n<p class=\"sub\">"));
    TDM_TRY(tdm_text_html(html, draws->list));
    TDM_TRY(
        tdm_text_printf(html, "</p>\n%s\n", draws->image ? "<div class=\"sheet\">" : "<ol class=\"words\">"));
    for (int64_t i = 0; i < draws->n; i++) {
        TDM_TRY(tdm_text_printf(html, draws->image ? "<div class=\"item\"><div class=\"thumb\">" : "<li>"));
        if (draws->image)
            TDM_TRY(append_image(html, draws->image[i].data, (int64_t)draws->image[i].length));
        else
            TDM_TRY(append_words(html, caption, draws->words[i].data ? draws->words[i].data : ""));
        TDM_TRY(tdm_text_printf(html, draws->image ? "</div></div>\n" : "</li>\n"));
    }
    return tdm_text_printf(html, draws->image ? "</div>\n" : "</ol>\n");
}

static tdm_status append_sample(tdm_text *html, const tdm_view_sample *sample)
{
    TDM_TRY(tdm_text_printf(html, "<section><div class=\"query\">"));
    if (sample->image) TDM_TRY(append_image(html, sample->image, sample->image_bytes));
    TDM_TRY(tdm_text_printf(html, "<div><span>"));
    TDM_TRY(tdm_text_html(html, sample->name));
    TDM_TRY(tdm_text_printf(html, "</span><h2>"));
    TDM_TRY(tdm_text_html(html, sample->caption ? sample->caption : "no caption"));
    TDM_TRY(tdm_text_printf(html, "</h2></div></div>\n"));
    for (int64_t v = 0; v < sample->views; v++)
        TDM_TRY(append_draws(html, sample->caption, &sample->view[v]));
    return tdm_text_printf(html, "</section>\n");
}

static tdm_status append_page(tdm_text *html, const char *title, const char *subtitle,
                              const tdm_view_sample *sample, int64_t samples)
{
    TDM_TRY(html_begin(html, title, subtitle));
    TDM_TRY(tdm_text_printf(html, "<style>\n%s</style>\n", style));
    for (int64_t i = 0; i < samples; i++) TDM_TRY(append_sample(html, &sample[i]));
    return html_end(
        html, "Tandem " TDM_VERSION ". Above each sample stand its file and caption as they are; the draws "
              "of a view are those of its first epochs. Words that the caption does not have are marked.");
}

tdm_status tdm_views_page_write(const char *path, const char *title, const char *subtitle,
                                const tdm_view_sample *sample, int64_t samples)
{
    tdm_text html = {0};
    tdm_status status = append_page(&html, title, subtitle, sample, samples);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, html.data, html.length);
    tdm_text_free(&html);
    return status;
}
