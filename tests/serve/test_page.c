/* The page of tandem serve: what stands in it, and that nothing from outside gets out of its place. */
#include "check.h"

#include "../../src/serve/serve_impl.h"

#include <stdlib.h>

/* Ends an attribute, an element, a comment, the page; turns the direction; is no UTF-8. */
#define HOSTILE "\"'></title></p><script>alert(1)</script><!-- \xe2\x80\xae \xff &amp;"

static int count(const char *page, const char *what)
{
    int n = 0;
    for (const char *at = strstr(page, what); at != NULL; at = strstr(at + 1, what)) n++;
    return n;
}

/* Every element that is opened is closed, and the policy that the page is served under leaves it whole. */
static void check_page(const char *page)
{
    static const char *const elements[] = {"a",      "body", "button", "dd",     "details", "dialog",
                                           "div",    "form", "h1",     "li",     "main",    "ol",
                                           "option", "p",    "q",      "script", "select",  "span"};
    for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++) {
        char open[16], open_attribute[16], close[16];
        snprintf(open, sizeof open, "<%s>", elements[i]);
        snprintf(open_attribute, sizeof open_attribute, "<%s ", elements[i]);
        snprintf(close, sizeof close, "</%s>", elements[i]);
        CHECK_EQ(count(page, open) + count(page, open_attribute), count(page, close));
    }
    CHECK_EQ(count(page, "<script"), 1);
    CHECK_LACKS(page, "<style");
    CHECK_LACKS(page, " style=");
    CHECK_LACKS(page, " onclick=");
    CHECK_LACKS(page, "http:");
    CHECK_LACKS(page, "https:");
    CHECK_LACKS(page, "\xff");
    CHECK_EQ(count(page, "<h1 "), 1);
    CHECK_EQ(count(page, "</html>\n"), 1);
}

static char *render(const serve_results *results)
{
    tdm_text page = {0};
    CHECK_OK(serve_page_render(results, &page));
    check_page(page.data);
    return page.data;
}

static serve_query ask(const char *text)
{
    serve_query query = {.row = -1, .weight = SERVE_DEFAULT_WEIGHT, .find = TDM_IMAGE, .k = SERVE_DEFAULT_K};
    if (text[0] != '\0') CHECK_OK(tdm_text_append(&query.text, text, strlen(text)));
    return query;
}

static serve_results results_of(const serve_query *query)
{
    return (serve_results){.title = "T & T",
                           .gallery = "/data",
                           .split = "test",
                           .model = "runs/a",
                           .images = 1234567,
                           .can_text = true,
                           .can_picture = true,
                           .can_unique = true,
                           .body_bytes = 1 << 20,
                           .query = query,
                           .next_offset = -1};
}

static void test_front(void **state)
{
    (void)state;
    serve_query query = ask("");
    const serve_results results = results_of(&query);
    char *page = render(&results);
    CHECK_CONTAINS(page, "<title>T &amp; T</title>");
    CHECK_CONTAINS(page, "1,234,567 pictures of <bdi>/data</bdi>");
    CHECK_CONTAINS(page, " autofocus");
    CHECK_CONTAINS(page, "data-bytes=\"1048576\"");
    CHECK_CONTAINS(page, "name=\"unique\"");
    CHECK_LACKS(page, "<select"); /* no classes */
    CHECK_LACKS(page, "id=\"more\"");
    CHECK_LACKS(page, "id=\"back\"");
    free(page);
}

static void test_results(void **state)
{
    (void)state;
    const char *label[] = {"cat", "dog"};
    serve_item item[] = {
        {.rank = 25,
         .row = 7,
         .caption = -1,
         .score = 0.25,
         .text = "a cat",
         .name = "a.png",
         .label = label,
         .labels = 1,
         .has_picture = true},
        {.rank = 26,
         .row = 1234,
         .caption = -1,
         .score = -0.5,
         .text = "",
         .name = "b.png",
         .has_picture = false},
    };
    serve_query query = ask("a & b");
    query.offset = 24;
    query.labels = 1;
    query.label[0] = "dog";
    query.unique = true;
    serve_results results = results_of(&query);
    results.label = label;
    results.labels = 2;
    results.item = item;
    results.items = 2;
    results.total = 5000;
    results.next_offset = 26;
    results.cut = true;
    char *page = render(&results);
    CHECK_CONTAINS(page, "<title>“a &amp; b” – T &amp; T</title>");
    CHECK_CONTAINS(page, "<span id=\"from\">25</span> to <span id=\"to\">26</span> of 5,000");
    CHECK_CONTAINS(page, "<li data-row=\"7\">");
    CHECK_CONTAINS(page, "src=\"/thumbnail/7\" loading=\"lazy\" decoding=\"async\" alt=\"a cat\"");
    CHECK_CONTAINS(page, "<span class=\"score\">0.2500</span>");
    CHECK_CONTAINS(page, "<span class=\"score\">-0.5000</span>");
    CHECK_LACKS(page, "/thumbnail/1234");
    CHECK_LACKS(page, "/image/1234");
    CHECK_CONTAINS(page,
                   "<a class=\"thumb\" href=\"/?row=1234&amp;class=dog&amp;unique=1\"><span>no picture");
    CHECK_CONTAINS(page, "More like this<span class=\"unseen\">: b.png</span>"); /* for want of a caption */
    CHECK_CONTAINS(page, "href=\"/?row=1234&amp;class=dog&amp;unique=1\"");      /* the filters stay */
    CHECK_CONTAINS(
        page, "id=\"more\" rel=\"next\" href=\"/?q=a%20%26%20b&amp;class=dog&amp;unique=1&amp;offset=26\"");
    CHECK_CONTAINS(page, "id=\"back\" rel=\"prev\" href=\"/?q=a%20%26%20b&amp;class=dog&amp;unique=1\"");
    CHECK_CONTAINS(page, "name=\"class\" checked value=\"dog\"");
    CHECK_CONTAINS(page, "<option value=\"cat\">cat</option>");
    CHECK_LACKS(page, "<option value=\"dog\">"); /* chosen already */
    CHECK_CONTAINS(page, "its end was left out");
    CHECK_LACKS(page, " autofocus");
    free(page);
    tdm_text_free(&query.text);
}

/* A picture of the gallery, then one that was sent, beside a text. */
static void test_picture(void **state)
{
    (void)state;
    serve_query query = ask("red");
    query.row = 12;
    query.weight = 0.75;
    serve_results results = results_of(&query);
    const serve_item asked = {.row = 12, .text = "a fox", .name = "fox.png", .has_picture = true};
    results.asked = &asked;
    char *page = render(&results);
    CHECK_CONTAINS(page, "<h1 id=\"subject\">Like picture 12, and <q dir=\"auto\">red</q></h1>");
    CHECK_CONTAINS(page, "form=\"search\" name=\"row\" value=\"12\"");
    CHECK_CONTAINS(page, "<p class=\"caption\" dir=\"auto\">a fox</p>");
    CHECK_CONTAINS(page, "data-usual=\"0.5\" value=\"0.75\"");
    CHECK_CONTAINS(page, "id=\"without\" href=\"/?q=red\"");
    free(page);
    query.row = -1;
    results.asked = NULL;
    snprintf(query.upload, sizeof query.upload, "%s", "0123456789abcdef0123456789abcdef");
    page = render(&results);
    CHECK_CONTAINS(page, "src=\"/upload/0123456789abcdef0123456789abcdef\" alt=\"Your picture\"");
    CHECK_CONTAINS(page, "name=\"upload\" value=\"0123456789abcdef0123456789abcdef\"");
    free(page);
    tdm_text_free(&query.text);
}

static void test_fault(void **state)
{
    (void)state;
    serve_query query = ask("x");
    serve_results results = results_of(&query);
    serve_fault fault = {.status = 429, .code = "too_many_requests"};
    snprintf(fault.message, sizeof fault.message, "wait <2> s");
    results.fault = &fault;
    char *page = render(&results);
    CHECK_CONTAINS(page, "<p class=\"fault\" role=\"alert\">wait &lt;2&gt; s</p>");
    CHECK_LACKS(page, "id=\"extent\"");
    free(page);
    tdm_text_free(&query.text);
}

/* Who has no token is told nothing of the gallery, and asked for it. A model of features reads neither texts nor
 * pictures. */
static void test_without(void **state)
{
    (void)state;
    serve_query query = ask("");
    const serve_fault fault = {.status = 401, .code = "unauthorized", .message = "a token is needed"};
    const serve_results stranger = {.title = "Tandem", .query = &query, .fault = &fault, .next_offset = -1};
    char *page = render(&stranger);
    CHECK_CONTAINS(page, "name=\"token\"");
    CHECK_LACKS(page, "id=\"q\"");
    CHECK_LACKS(page, "id=\"about\"");
    free(page);
    serve_results results = results_of(&query);
    results.can_text = results.can_picture = false;
    page = render(&results);
    CHECK_CONTAINS(page, " disabled value=\"\"");
    CHECK_LACKS(page, "type=\"file\"");
    free(page);
}

static void test_hostile(void **state)
{
    (void)state;
    const char *label[] = {HOSTILE};
    serve_item item = {.rank = 1,
                       .row = 3,
                       .caption = -1,
                       .text = HOSTILE,
                       .name = HOSTILE,
                       .label = label,
                       .labels = 1,
                       .has_picture = true};
    serve_query query = ask(HOSTILE);
    query.labels = 1;
    query.label[0] = HOSTILE;
    query.row = 3;
    serve_fault fault = {.status = 400, .message = HOSTILE};
    serve_results results = results_of(&query);
    results.title = results.gallery = results.split = results.model = HOSTILE;
    results.label = label;
    results.labels = results.items = 1;
    results.item = &item;
    results.asked = &item;
    results.fault = &fault;
    results.next_offset = 24;
    char *page = render(&results);
    CHECK_EQ(count(page, "alert(1)"), count(page, "&lt;script&gt;alert(1)&lt;/script&gt;"));
    CHECK_EQ(count(page, "<title>"), 1);
    CHECK_EQ(count(page, "</title>"), 1);
    CHECK_LACKS(page, "<!-- ");
    CHECK_CONTAINS(page, "q=%22%27%3E%3C%2Ftitle%3E"); /* in the addresses */
    free(page);
    tdm_text_free(&query.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_front), cmocka_unit_test(test_results), cmocka_unit_test(test_picture),
        cmocka_unit_test(test_fault), cmocka_unit_test(test_without), cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
