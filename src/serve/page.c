/* The page as HTML. Its script renders nothing itself: it fetches the page of another address and takes over its
 * parts. So all of it reads and works without a script, and whatever comes from outside is escaped here and nowhere
 * else: by tdm_text_html, addresses by serve_query_print before. */
#include "serve_impl.h"

/* ---- Small parts ---- */

static bool is_known(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static const char *text_of(const serve_query *query)
{
    return query->text.length > 0 ? query->text.data : "";
}

/* before, the text, after; nothing where there is no text. */
static tdm_status append_part(tdm_text *html, const char *before, const char *text, const char *after)
{
    if (!is_known(text)) return TDM_OK;
    TDM_TRY(tdm_text_printf(html, "%s", before));
    TDM_TRY(tdm_text_html(html, text));
    return tdm_text_printf(html, "%s", after);
}

/* "12,345" */
static tdm_status append_count(tdm_text *html, int64_t count)
{
    char digits[24];
    const int length = snprintf(digits, sizeof digits, "%lld", (long long)count);
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) TDM_TRY(tdm_text_append(html, ",", 1));
        TDM_TRY(tdm_text_append(html, digits + i, 1));
    }
    return TDM_OK;
}

/* An <a> that is left open. */
static tdm_status append_link(tdm_text *html, const char *attributes, const serve_query *query,
                              int64_t offset)
{
    tdm_text url = {0};
    tdm_status status = serve_query_print(query, offset, &url);
    if (status == TDM_OK)
        status = tdm_text_printf(html, "<a %s href=\"/%s", attributes, url.length > 0 ? "?" : "");
    if (status == TDM_OK && url.length > 0) status = tdm_text_html(html, url.data);
    if (status == TDM_OK) status = tdm_text_append(html, "\">", 2);
    tdm_text_free(&url);
    return status;
}

/* What a picture is called where it cannot be seen. */
static tdm_status append_alternative(tdm_text *html, const serve_item *item)
{
    if (is_known(item->text)) return tdm_text_html(html, item->text);
    if (is_known(item->name)) return tdm_text_html(html, item->name);
    return tdm_text_printf(html, "Picture %lld", (long long)item->row);
}

static tdm_status append_labels(tdm_text *html, const serve_item *item)
{
    for (int64_t i = 0; i < item->labels; i++) TDM_TRY(append_part(html, "<bdi>", item->label[i], "</bdi> "));
    return TDM_OK;
}

/* Caption, classes, file: whatever is known. */
static tdm_status append_facts(tdm_text *html, const serve_item *item)
{
    TDM_TRY(append_part(html, "<p class=\"caption\" dir=\"auto\">", item->text, "</p>\n"));
    if (item->labels > 0) {
        TDM_TRY(tdm_text_printf(html, "<p class=\"labels\">"));
        TDM_TRY(append_labels(html, item));
        TDM_TRY(tdm_text_printf(html, "</p>\n"));
    }
    return append_part(html, "<p class=\"name\"><bdi>", item->name, "</bdi></p>\n");
}

/* ---- Head ---- */

/* What is asked for, in words; without tags where it is a title. */
static tdm_status append_subject(tdm_text *html, const serve_results *r, bool with_tags)
{
    const serve_query *query = r->query;
    const bool has_text = query->text.length > 0;
    if (!is_known(r->gallery)) return tdm_text_html(html, r->title); /* for strangers */
    if (query->row >= 0)
        TDM_TRY(tdm_text_printf(html, "Like picture %lld", (long long)query->row));
    else if (query->upload[0] != '\0')
        TDM_TRY(tdm_text_printf(html, "Like your picture"));
    else if (!has_text)
        return tdm_text_printf(html, query->find == TDM_TEXT ? "All captions" : "All pictures");
    if (has_text && serve_query_has_picture(query)) TDM_TRY(tdm_text_printf(html, ", and "));
    return append_part(html, with_tags ? "<q dir=\"auto\">" : "“", text_of(query), with_tags ? "</q>" : "”");
}

static tdm_status append_head(tdm_text *html, const serve_results *r)
{
    TDM_TRY(tdm_text_printf(html, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                                  "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                                  "<meta name=\"color-scheme\" content=\"light dark\">\n<title>"));
    if (!serve_query_is_empty(r->query)) {
        TDM_TRY(append_subject(html, r, false));
        TDM_TRY(tdm_text_printf(html, " – "));
    }
    TDM_TRY(tdm_text_html(html, r->title));
    return tdm_text_printf(html, "</title>\n<link rel=\"icon\" href=\"/icon.svg\">\n"
                                 "<link rel=\"stylesheet\" href=\"/style.css\">\n"
                                 "<script src=\"/page.js\"></script>\n</head>\n");
}

/* ---- The forms ---- */

static bool is_chosen(const serve_query *query, const char *label)
{
    for (int64_t i = 0; i < query->labels; i++)
        if (strcmp(query->label[i], label) == 0) return true;
    return false;
}

/* A box for each class that is chosen, and a list to choose one more. */
static tdm_status append_classes(tdm_text *html, const serve_results *r)
{
    const serve_query *query = r->query;
    for (int64_t i = 0; i < query->labels; i++) {
        TDM_TRY(append_part(
            html, "<label class=\"choice\"><input type=\"checkbox\" name=\"class\" checked value=\"",
            query->label[i], "\">"));
        TDM_TRY(append_part(html, "<bdi>", query->label[i], "</bdi></label>\n"));
    }
    if (r->labels == 0 || query->labels == SERVE_CLASSES) return TDM_OK;
    TDM_TRY(tdm_text_printf(html,
                            "<label class=\"choice\"><span>%s</span> <select id=\"class\" name=\"class\">\n"
                            "<option value=\"\">%s</option>\n",
                            query->labels > 0 ? "or" : "Class", query->labels > 0 ? "…" : "all"));
    for (int64_t i = 0; i < r->labels; i++) {
        if (is_chosen(query, r->label[i])) continue;
        TDM_TRY(append_part(html, "<option value=\"", r->label[i], "\">"));
        TDM_TRY(append_part(html, "", r->label[i], "</option>\n"));
    }
    return tdm_text_printf(html, "</select></label>\n");
}

static tdm_status append_filters(tdm_text *html, const serve_results *r)
{
    TDM_TRY(tdm_text_printf(html, "<div class=\"filters\" id=\"filters\">\n"));
    TDM_TRY(append_classes(html, r));
    if (r->can_unique)
        TDM_TRY(
            tdm_text_printf(html,
                            "<label class=\"choice\"><input type=\"checkbox\" id=\"unique\" name=\"unique\" "
                            "value=\"1\"%s>Hide near-duplicates</label>\n",
                            r->query->unique ? " checked" : ""));
    return tdm_text_printf(html, "</div>\n");
}

/* The picture that is asked for, opening the description beside it. Its fields belong to the form above. */
static tdm_status append_asked_picture(tdm_text *html, const serve_results *r)
{
    const long long row = r->query->row;
    if (row >= 0)
        TDM_TRY(tdm_text_printf(html,
                                "<input type=\"hidden\" form=\"search\" name=\"row\" value=\"%lld\">\n"
                                "<a class=\"asked\" href=\"/image/%lld\"><img src=\"/thumbnail/%lld\" "
                                "alt=\"Picture %lld\"></a>\n",
                                row, row, row, row));
    else {
        TDM_TRY(append_part(html, "<input type=\"hidden\" form=\"search\" name=\"upload\" value=\"",
                            r->query->upload, "\">\n"));
        TDM_TRY(append_part(html, "<span class=\"asked\"><img src=\"/upload/", r->query->upload,
                            "\" alt=\"Your picture\"></span>\n"));
    }
    TDM_TRY(tdm_text_printf(html, "<div class=\"facts\">\n"));
    if (row < 0) return tdm_text_printf(html, "<p class=\"caption\">Your picture</p>\n");
    if (r->asked != NULL) TDM_TRY(append_facts(html, r->asked));
    return tdm_text_printf(html, "<p class=\"name\">row %lld</p>\n", row);
}

/* The picture, what it weighs beside a text, and how to be rid of it. One that is not there is gone already. */
static tdm_status append_picture(tdm_text *html, const serve_results *r)
{
    const bool is_gone = r->fault != NULL && r->fault->status == 404;
    if (!serve_query_has_picture(r->query) || is_gone)
        return tdm_text_printf(html, "<div id=\"picture\"></div>\n");
    TDM_TRY(
        tdm_text_printf(html, "<div id=\"picture\" role=\"region\" aria-label=\"The picture asked for\">\n"));
    TDM_TRY(append_asked_picture(html, r));
    TDM_TRY(tdm_text_printf(
        html,
        "</div>\n<div class=\"tune\">\n<p class=\"weight\"><span aria-hidden=\"true\">text</span>"
        "<input type=\"range\" id=\"weight\" form=\"search\" name=\"weight\" min=\"0\" max=\"1\" step=\"0.05\" "
        "aria-label=\"Weight of the picture beside the text\" data-usual=\"%.6g\" value=\"%.6g\">"
        "<span aria-hidden=\"true\">picture</span></p>\n",
        SERVE_DEFAULT_WEIGHT, r->query->weight));
    serve_query without = *r->query;
    without.row = -1;
    without.upload[0] = '\0';
    TDM_TRY(append_link(html, "class=\"button\" id=\"without\"", &without, 0));
    return tdm_text_printf(html, "Without the picture</a>\n</div>\n</div>\n");
}

/* What is asked for and has no field of its own. */
static tdm_status append_kept(tdm_text *html, const serve_query *query)
{
    if (query->find == TDM_TEXT)
        TDM_TRY(tdm_text_printf(html, "<input type=\"hidden\" name=\"find\" value=\"captions\">\n"));
    if (query->k == SERVE_DEFAULT_K) return TDM_OK;
    return tdm_text_printf(html, "<input type=\"hidden\" name=\"k\" value=\"%lld\">\n", (long long)query->k);
}

static tdm_status append_search(tdm_text *html, const serve_results *r)
{
    const char *label = !r->can_text                        ? "The model reads no texts"
                        : serve_query_has_picture(r->query) ? "Add words to the picture"
                                                            : "Describe a picture";
    TDM_TRY(tdm_text_printf(
        html,
        "<form id=\"search\" role=\"search\" action=\"/\" method=\"get\">\n<div class=\"box\">\n"
        "<input type=\"search\" id=\"q\" name=\"q\" aria-label=\"%s\" placeholder=\"%s\" "
        "maxlength=\"%d\" autocomplete=\"off\" enterkeyhint=\"search\" dir=\"auto\"%s%s value=\"",
        label, label, SERVE_TEXT_BYTES, serve_query_is_empty(r->query) ? " autofocus" : "",
        r->can_text ? "" : " disabled"));
    TDM_TRY(tdm_text_html(html, text_of(r->query)));
    TDM_TRY(tdm_text_printf(html, "\">\n<button>Search</button>\n</div>\n"));
    TDM_TRY(append_kept(html, r->query));
    TDM_TRY(append_filters(html, r));
    return tdm_text_printf(html, "</form>\n");
}

/* What is asked for stays beside the new picture. */
static tdm_status append_upload(tdm_text *html, const serve_results *r)
{
    if (!r->can_picture) return TDM_OK;
    const serve_query *query = r->query;
    TDM_TRY(
        tdm_text_printf(html,
                        "<form id=\"upload\" action=\"/\" method=\"post\" enctype=\"multipart/form-data\" "
                        "data-bytes=\"%lld\">\n<div id=\"kept\">\n",
                        (long long)r->body_bytes));
    TDM_TRY(append_part(html, "<input type=\"hidden\" name=\"q\" value=\"", text_of(query), "\">\n"));
    TDM_TRY(append_kept(html, query));
    for (int64_t i = 0; i < query->labels; i++)
        TDM_TRY(
            append_part(html, "<input type=\"hidden\" name=\"class\" value=\"", query->label[i], "\">\n"));
    if (query->unique)
        TDM_TRY(tdm_text_printf(html, "<input type=\"hidden\" name=\"unique\" value=\"1\">\n"));
    return tdm_text_printf(
        html, "</div>\n<label for=\"file\"><span class=\"long\">Search by </span>picture</label>\n"
              "<input type=\"file\" id=\"file\" name=\"image\" accept=\"image/*\" required>\n"
              "<button>Send</button>\n</form>\n");
}

static const char keys[] =
    "<h2>Keys</h2>\n<dl>\n"
    "<dt><kbd>/</kbd></dt><dd>to the search box</dd>\n"
    "<dt><kbd>Enter</kbd></dt><dd>search; open a picture</dd>\n"
    "<dt><kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd></dt><dd>from picture to picture</dd>\n"
    "<dt><kbd>Home</kbd> <kbd>End</kbd></dt><dd>first and last picture</dd>\n"
    "<dt><kbd>Esc</kbd></dt><dd>close a picture; back to the search box</dd>\n"
    "<dt>drop, paste</dt><dd>a picture, to search by it</dd>\n</dl>\n";

static tdm_status append_about(tdm_text *html, const serve_results *r)
{
    if (!is_known(r->gallery)) return TDM_OK;
    TDM_TRY(tdm_text_printf(html, "<details id=\"about\">\n<summary><span aria-hidden=\"true\">?</span><span "
                                  "class=\"unseen\">About, and keys</span></summary>\n<div>\n<p>"));
    TDM_TRY(append_count(html, r->images));
    TDM_TRY(append_part(html, " pictures of <bdi>", r->gallery, "</bdi>"));
    TDM_TRY(append_part(html, ", split <bdi>", r->split, "</bdi>"));
    TDM_TRY(append_part(html, ". Found by <bdi>", r->model, "</bdi>"));
    return tdm_text_printf(html,
                           ". Scores are cosine similarities.</p>\n%s<p class=\"soft\">Tandem " TDM_VERSION
                           "</p>\n</div>\n</details>\n",
                           keys);
}

/* ---- Results ---- */

/* The question that asks for more of the same kind, with the same filters. */
static serve_query like(const serve_results *r, const serve_item *item)
{
    serve_query query = *r->query;
    query.text = (tdm_text){0};
    query.upload[0] = '\0';
    query.row = item->row;
    query.weight = SERVE_DEFAULT_WEIGHT;
    return query;
}

static tdm_status append_like(tdm_text *html, const serve_results *r, const serve_item *item)
{
    const serve_query query = like(r, item);
    TDM_TRY(append_link(html, "class=\"like\"", &query, 0));
    TDM_TRY(tdm_text_printf(html, "More like this<span class=\"unseen\">: "));
    TDM_TRY(append_alternative(html, item));
    return tdm_text_printf(html, "</span></a>\n");
}

/* The picture, which leads to itself, or what is there in its place. */
static tdm_status append_thumbnail(tdm_text *html, const serve_results *r, const serve_item *item)
{
    const long long row = item->row;
    if (!item->has_picture) {
        const serve_query query = like(r, item);
        TDM_TRY(append_link(html, "class=\"thumb\"", &query, 0));
        return tdm_text_printf(html, "<span>no picture</span></a>\n");
    }
    TDM_TRY(tdm_text_printf(html,
                            "<a class=\"thumb\" href=\"/image/%lld\"><img src=\"/thumbnail/%lld\" "
                            "loading=\"lazy\" decoding=\"async\" alt=\"",
                            row, row));
    TDM_TRY(append_alternative(html, item));
    return tdm_text_printf(html, "\"></a>\n");
}

static tdm_status append_item(tdm_text *html, const serve_results *r, const serve_item *item)
{
    TDM_TRY(tdm_text_printf(html, "<li data-row=\"%lld\">\n", (long long)item->row));
    TDM_TRY(append_thumbnail(html, r, item));
    TDM_TRY(
        tdm_text_printf(html, "<p class=\"line\"><span class=\"rank\">%lld</span>", (long long)item->rank));
    if (!serve_query_is_empty(r->query))
        TDM_TRY(tdm_text_printf(html, "<span class=\"score\">%.4f</span>", item->score));
    TDM_TRY(tdm_text_printf(html, "</p>\n"));
    TDM_TRY(append_facts(html, item));
    TDM_TRY(append_like(html, r, item));
    return tdm_text_printf(html, "</li>\n");
}

/* "1 to 24 of 1,234" */
static tdm_status append_extent(tdm_text *html, const serve_results *r)
{
    if (r->items == 0 && serve_query_is_empty(r->query) && r->query->labels == 0)
        return tdm_text_printf(html, "<p id=\"extent\">Describe one above, or drop one here.</p>\n");
    if (r->items == 0)
        return tdm_text_printf(html, "<p id=\"extent\">%s</p>\n",
                               r->query->offset > 0 ? "No more of them" : "Nothing was found");
    TDM_TRY(tdm_text_printf(html, "<p id=\"extent\"><span id=\"from\">"));
    TDM_TRY(append_count(html, r->item[0].rank));
    TDM_TRY(tdm_text_printf(html, "</span> to <span id=\"to\">"));
    TDM_TRY(append_count(html, r->item[r->items - 1].rank));
    TDM_TRY(tdm_text_printf(html, "</span> of %s", r->total == SERVE_MOST_DEPTH ? "the first " : ""));
    TDM_TRY(append_count(html, r->total));
    return tdm_text_printf(html, "</p>\n");
}

static tdm_status append_back(tdm_text *html, const serve_results *r)
{
    const serve_query *query = r->query;
    if (query->offset == 0) return TDM_OK;
    TDM_TRY(append_link(html, "class=\"turn\" id=\"back\" rel=\"prev\"", query,
                        query->offset > query->k ? query->offset - query->k : 0));
    return tdm_text_printf(html, "The ones before</a>\n");
}

static tdm_status append_more(tdm_text *html, const serve_results *r)
{
    if (r->next_offset < 0) return TDM_OK;
    TDM_TRY(append_link(html, "class=\"turn\" id=\"more\" rel=\"next\"", r->query, r->next_offset));
    return tdm_text_printf(html, "More</a>\n");
}

static tdm_status append_results(tdm_text *html, const serve_results *r)
{
    TDM_TRY(tdm_text_printf(html, "<main id=\"results\" tabindex=\"-1\" aria-labelledby=\"subject\">\n"));
    if (r->fault != NULL)
        TDM_TRY(append_part(html, "<p class=\"fault\" role=\"alert\">", r->fault->message, "</p>\n"));
    if (r->cut)
        TDM_TRY(tdm_text_printf(html,
                                "<p class=\"note\">The text is longer than the model reads: its end was left "
                                "out.</p>\n"));
    TDM_TRY(tdm_text_printf(html, "<div class=\"heading\">\n<h1 id=\"subject\">"));
    TDM_TRY(append_subject(html, r, true));
    TDM_TRY(tdm_text_printf(html, "</h1>\n"));
    if (r->fault == NULL) TDM_TRY(append_extent(html, r));
    TDM_TRY(tdm_text_printf(html, "</div>\n"));
    TDM_TRY(append_back(html, r));
    TDM_TRY(tdm_text_printf(html, "<ol id=\"grid\" start=\"%lld\">\n", (long long)r->query->offset + 1));
    for (int64_t i = 0; i < r->items; i++) TDM_TRY(append_item(html, r, &r->item[i]));
    TDM_TRY(tdm_text_printf(html, "</ol>\n"));
    TDM_TRY(append_more(html, r));
    return tdm_text_printf(html, "</main>\n");
}

/* For who is not known yet. */
static const char token_form[] =
    "<form action=\"/\" method=\"get\" class=\"box\">\n<input type=\"password\" name=\"token\" aria-label=\"Token\" "
    "placeholder=\"Token\" required>\n<button>Enter</button>\n</form>\n";

/* What the script fills and shows. */
static const char hidden[] =
    "<dialog id=\"view\" aria-labelledby=\"view-caption\">\n<button type=\"button\" id=\"close\" aria-label=\"Close\">"
    "×</button>\n<div class=\"stage\"><img alt=\"\"></div>\n"
    "<div class=\"facts\">\n<p class=\"caption\" id=\"view-caption\" dir=\"auto\" aria-live=\"polite\"></p>\n<dl>\n"
    "<dt>Score</dt><dd data-part=\"score\"></dd>\n<dt>Class</dt><dd data-part=\"labels\"></dd>\n"
    "<dt>File</dt><dd data-part=\"name\"></dd>\n<dt>Row</dt><dd data-part=\"row\"></dd>\n</dl>\n<p class=\"steps\">\n"
    "<button type=\"button\" id=\"previous\">← Previous</button>\n<button type=\"button\" id=\"next\">Next →</button>\n"
    "<a class=\"button\" id=\"view-like\" href=\"/\">More like this</a>\n</p>\n</div>\n</dialog>\n"
    "<p id=\"live\" class=\"unseen\" role=\"status\"></p>\n"
    "<p id=\"drop\" hidden>Drop the picture to search by it</p>\n";

tdm_status serve_page_render(const serve_results *results, tdm_text *out)
{
    TDM_TRY(append_head(out, results));
    TDM_TRY(tdm_text_printf(out, "<body>\n<a class=\"skip\" href=\"#results\">To the pictures</a>\n<header>\n"
                                 "<a class=\"home\" href=\"/\">"));
    TDM_TRY(tdm_text_html(out, results->title));
    TDM_TRY(tdm_text_printf(out, "</a>\n"));
    const bool is_stranger = results->fault != NULL && results->fault->status == 401;
    if (is_stranger)
        TDM_TRY(tdm_text_printf(out, token_form));
    else {
        TDM_TRY(append_search(out, results));
        TDM_TRY(append_upload(out, results));
    }
    TDM_TRY(append_about(out, results));
    TDM_TRY(tdm_text_printf(out, "</header>\n"));
    TDM_TRY(append_picture(out, results));
    TDM_TRY(append_results(out, results));
    return tdm_text_printf(out, "%s</body>\n</html>\n", hidden);
}
