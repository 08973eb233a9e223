/* Run reports and contact sheets: what stands in them, and what must not. */
#include "check.h"
#include "scratch.h"
#include "tandem/report.h"

#include "../../src/report/report_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static char dir[64];

static void write_text(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_OK(tdm_write_file_atomic(path, text, strlen(text)));
}

static tdm_text read_page(const char *name)
{
    char path[128];
    tdm_text page = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_OK(tdm_read_file(path, &page));
    return page;
}

static int count(const char *page, const char *what)
{
    int n = 0;
    for (const char *at = strstr(page, what); at != NULL; at = strstr(at + 1, what)) n++;
    return n;
}

/* A page that opens from a file, anywhere: well-nested, and nothing is fetched or executed. */
static void assert_self_contained(const char *page)
{
    CHECK_LACKS(page, "http:");
    CHECK_LACKS(page, "https:");
    CHECK_LACKS(page, "<script");
    CHECK_LACKS(page, "url(");
    CHECK_LACKS(page, "nan");
    static const char *const elements[] = {"div", "figure",  "svg", "table",   "tr",
                                           "td",  "details", "pre", "section", "h2"};
    for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++) {
        char open[16], open_attribute[16], close[16];
        snprintf(open, sizeof open, "<%s>", elements[i]);
        snprintf(open_attribute, sizeof open_attribute, "<%s ", elements[i]);
        snprintf(close, sizeof close, "</%s>", elements[i]);
        CHECK_EQ(count(page, open) + count(page, open_attribute), count(page, close));
    }
    CHECK_CONTAINS(page, "prefers-color-scheme:dark");
    CHECK_CONTAINS(page, "</html>");
}

static void report(tdm_text *page)
{
    CHECK_OK(tdm_report_write(dir));
    *page = read_page("report.html");
    assert_self_contained(page->data);
}

static void test_curves(void **state)
{
    (void)state;
    char path[128];
    run_curves curves;
    write_text(
        "metrics.jsonl",
        "{\"step\": 5, \"logit_scale\": 14.5}\n" /* the key's name in earlier versions */
        "{\"step\": 10, \"inverse_temperature\": 15.5, \"loss\": 2.5, \"eval\": {\"text_to_image\": {\"map\": 0.5}}, \"name\": \"x\"}\n"
        "{\"step\": 20, \"loss\": null}\n"
        "not json\n"
        "{\"loss\": 3}\n"
        "{\"step\": 30, \"loss\": 1.5}\n"
        "{\"step\": 20, \"loss\": 2.0}\n" /* resumed from step 10 */
        "{\"step\": 40, \"lo");
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    CHECK_OK(run_curves_read(path, &curves));
    const run_curve *loss = run_curves_find(&curves, "loss");
    CHECK_NOT_NULL(loss);
    CHECK_EQ(loss->n, 2);
    CHECK_EQ(loss->x[0], 10);
    CHECK_EQ(loss->y[0], 2.5);
    CHECK_EQ(loss->x[1], 20);
    CHECK_EQ(loss->y[1], 2.0);
    CHECK_EQ(run_curves_find(&curves, "eval.text_to_image.map")->y[0], 0.5);
    const run_curve *scale = run_curves_find(&curves, "inverse_temperature");
    CHECK_NOT_NULL(scale);
    CHECK_EQ(scale->n, 2);
    CHECK_EQ(scale->y[0], 14.5);
    CHECK_EQ(scale->y[1], 15.5);
    CHECK_NULL(run_curves_find(&curves, "logit_scale"));
    CHECK_NULL(run_curves_find(&curves, "name"));
    CHECK_EQ(curves.bad_lines, 3);
    run_curves_free(&curves);
}

static void test_slow_ranks(void **state)
{
    (void)state;
    tdm_text page;
    write_text(
        "metrics.jsonl",
        "{\"step\": 1, \"slow_rank\": {\"rank\": 2, \"host\": \"c<2\", \"wait_s\": 1.5, \"wait_data_s\": 0.5}}\n"
        "{\"step\": 2, \"slow_rank\": {\"rank\": 0, \"host\": \"c0\", \"wait_s\": 2.25, \"wait_data_s\": 0}}\n"
        "{\"step\": 3, \"slow_rank\": {\"rank\": 2, \"host\": \"c<2\", \"wait_s\": 3, \"wait_data_s\": 0.25}}\n"
        "{\"step\": 4, \"slow_rank\": {\"rank\": 1, \"host\": \"c1\", \"wait_s\": null}}\n");
    report(&page);
    const char *two = strstr(page.data, "<td>rank 2 c&lt;2</td><td>4.5</td><td>0.8</td><td>2</td>");
    const char *zero = strstr(page.data, "<td>rank 0 c0</td><td>2.2</td><td>0.0</td><td>1</td>");
    CHECK_NOT_NULL(two);
    CHECK_NOT_NULL(zero);
    CHECK_TRUE(two < zero);
    CHECK_LACKS(page.data, "<td>rank 1 ");
    tdm_text_free(&page);
    write_text("metrics.jsonl", "{\"step\": 1, \"loss\": 1}\n");
    report(&page);
    CHECK_LACKS(page.data, "Slow ranks");
    tdm_text_free(&page);
}

static void test_report_of_a_run(void **state)
{
    (void)state;
    tdm_text lines = {0}, page;
    for (int step = 1; step <= 3000; step++)
        CHECK_OK(tdm_text_printf(
            &lines,
            "{\"step\": %d, \"epoch\": %.2f, \"loss\": %s, \"loss_infonce\": %.4f, "
            "\"loss_mim\": 0.5, \"lr\": 0.001, \"logit_scale\": 14.3, \"grad_norm\": %.3f, "
            "\"pairs_per_s\": 640.5, \"wait_data_share\": 0.004, \"comm_share\": 0.02, "
            "\"rss_bytes\": 1073741824, \"elapsed_s\": %d}\n",
            step, step / 100.0, step == 1500 ? "null" : "1.25", 3.0 / step, 1.0 / step, step + 7200));
    CHECK_OK(tdm_text_printf(&lines,
                             "{\"step\": 3000, \"eval\": {\"text_to_image\": {\"recall_at_1\": 0.4321}, "
                             "\"image_to_text\": {\"recall_at_1\": 0.3}}}\n{\"step\": 30"));
    write_text("metrics.jsonl", lines.data);
    write_text("config.cfg", "model: { name = \"<a & b>\"; };\n");
    report(&page);
    CHECK_CONTAINS(page.data, "Last evaluation");
    CHECK_CONTAINS(page.data, "0.4321");
    CHECK_CONTAINS(page.data, "<b>3000</b><span>steps</span>");
    CHECK_CONTAINS(page.data, "2 h 50 min");
    CHECK_CONTAINS(page.data, "<b>0.4 %</b><span>waiting for data</span>");
    CHECK_CONTAINS(page.data, "&lt;a &amp; b&gt;");
    static const char *const titles[] = {
        "Loss",          "Learning rate", "Text to image", "Image to text", "Inverse temperature",
        "Gradient norm", "Throughput",    "Waiting",       "Memory"};
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        char caption[64];
        snprintf(caption, sizeof caption, "<figcaption>%s", titles[i]);
        CHECK_CONTAINS(page.data, caption);
    }
    CHECK_EQ(count(page.data, "<svg"), 9);
    CHECK_CONTAINS(page.data, "infonce <b>0.00100</b>"); /* terms beside the total, in the legend */
    CHECK_CONTAINS(page.data, "resident <b>1024</b>");
    CHECK_LT(page.length, 400000); /* 3000 steps are thinned to pixels */
    tdm_text_free(&page);

    write_text("eval.json",
               "{\"data\": \"d<1>\", \"split\": \"test\", \"text_to_image\": {\"recall_at_1\": 0.25, "
               "\"median_rank\": 3.5, \"queries\": 1542}, \"image_to_text\": {}}");
    report(&page);
    CHECK_CONTAINS(page.data, "Final metrics");
    CHECK_CONTAINS(page.data, "d&lt;1&gt;");
    CHECK_CONTAINS(page.data, "<td>0.2500</td>");
    CHECK_CONTAINS(page.data, "<td>3.50</td>");
    CHECK_CONTAINS(page.data, "<td>1542</td>");
    tdm_text_free(&page);

    write_text("eval.json", "{\"data\": ");
    report(&page);
    CHECK_CONTAINS(page.data, "Last evaluation"); /* the broken file is left out */
    tdm_text_free(&page);
    tdm_text_free(&lines);
}

static void test_short_runs(void **state)
{
    (void)state;
    static const char *const runs[] = {"",
                                       "\n\n",
                                       "{\"step\": 1, \"loss\": 3.5",
                                       "{\"step\": 1, \"loss\": 3.5}\n",
                                       "{\"step\": 1, \"loss\": 0}\n",
                                       "{\"step\": 1, \"loss\": null}\n{\"step\": 2, \"loss\": null}\n",
                                       "{\"step\": 1, \"loss\": 1e300, \"lr\": -1e-300}\n",
                                       "[1, 2]\n7\n\"x\"\n"};
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        tdm_text page;
        write_text("metrics.jsonl", runs[i]);
        report(&page);
        tdm_text_free(&page);
    }
    CHECK_FAILS(tdm_report_write("/nowhere"), TDM_E_IO, "");
}

static void test_values(void **state)
{
    (void)state;
    const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},           {3, "3"},        {0.25, "0.250"},  {0.0415, "0.0415"},
                 {12.34, "12.3"},    {123.4, "123"},  {12345, "12.3k"}, {2.5e6, "2.50M"},
                 {1e-5, "1.00e-05"}, {-2.5, "-2.50"}, {INFINITY, "–"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[32];
        show_value(text, cases[i].value);
        CHECK_STR_EQ(text, cases[i].text);
    }
}

/* Bytes of any kind in names and captions: the page is UTF-8, and nothing of them is markup. */
static void test_hostile_sheet(void **state)
{
    (void)state;
    char path[128];
    static const char evil[] = "a\x1b]0;x\x07\xff\" onload='alert(1)'></div><script>]]>\xc2\x9b\xe2\x80\xae"
                               "b";
    const tdm_sheet_item item = {.caption = evil, .name = evil};
    const tdm_sheet_query query = {.text = evil, .item = &item, .item_count = 1};
    const tdm_class_row row = {.name = evil, .images = 1, .top_1 = 1, .top_5 = 1};
    static const char want[] =
        "a]0;x\xef\xbf\xbd&quot; onload=&#39;alert(1)&#39;&gt;&lt;/div&gt;&lt;script&gt;]]&gt;b";
    for (int table = 0; table < 2; table++) {
        snprintf(path, sizeof path, "%s/hostile.html", dir);
        CHECK_OK(table ? tdm_class_table_write(path, evil, evil, NULL, 0, &row, 1)
                       : tdm_sheet_write(path, evil, evil, &query, 1));
        tdm_text page = read_page("hostile.html");
        assert_self_contained(page.data);
        CHECK_EQ(count(page.data, want), table ? 4 : 6); /* title twice, subtitle; row, or query and item */
        CHECK_EQ(count(page.data, "alert(1)"), table ? 4 : 6);
        CHECK_EQ(strlen(page.data), page.length);
        for (const char *at = page.data, *end = at + page.length, *next; at < end; at = next) {
            const int32_t point = tdm_utf8_next(at, end, &next);
            CHECK_TRUE(point == '\n' || !(point < 0 || tdm_point_is_control(point)));
        }
        tdm_text_free(&page);
    }
}

static void test_sheet(void **state)
{
    (void)state;
    char path[128];
    static const unsigned char png[] = "\x89PNG\r\n\x1a\n\x01";
    static const unsigned char jpeg[] = "\xff\xd8\xff\xe0x";
    const tdm_sheet_item items[] = {
        {.row = 4,
         .score = 0.5,
         .caption = "a <b>",
         .name = "x&y.png",
         .image = png,
         .image_bytes = 9,
         .is_positive = true},
        {.row = 2, .score = 0.25, .image = jpeg, .image_bytes = 5},
        {.row = 1, .score = -0.125, .caption = "no image"},
        {.row = 0, .score = -1, .caption = "text", .image = "hello", .image_bytes = 5},
    };
    const tdm_sheet_query queries[] = {{.text = "\"red\" <dog>", .item = items, .item_count = 4},
                                       {.image = png, .image_bytes = 9, .item = items, .item_count = 0}};
    snprintf(path, sizeof path, "%s/sheet.html", dir);
    CHECK_OK(tdm_sheet_write(path, "T<itle", "sub", queries, 2));
    tdm_text page = read_page("sheet.html");
    assert_self_contained(page.data);
    CHECK_CONTAINS(page.data, "T&lt;itle");
    CHECK_CONTAINS(page.data, "&lt;dog&gt;");
    CHECK_CONTAINS(page.data, "a &lt;b&gt;");
    CHECK_CONTAINS(page.data, "x&amp;y.png");
    CHECK_CONTAINS(page.data, "0.5000");
    CHECK_CONTAINS(page.data, "src=\"data:image/png;base64,iVBORw0KGgoB\""); /* 9 bytes */
    CHECK_CONTAINS(page.data, "src=\"data:image/jpeg;base64,/9j/4Hg=\"");    /* 5 bytes */
    CHECK_EQ(count(page.data, "<img"), 3);
    CHECK_EQ(count(page.data, "no thumbnail"), 2);
    CHECK_EQ(count(page.data, "class=\"item match\""), 1);
    tdm_text_free(&page);
    CHECK_FAILS(tdm_sheet_write("/nowhere/sheet.html", "t", NULL, queries, 1), TDM_E_IO, "");
}

/* Points, curves and classes with names that are no HTML. */
static void test_eval_page(void **state)
{
    (void)state;
    enum { GROUPS = 23, N = 2 * GROUPS + 1 };
    static const unsigned char jpeg[] = {0xff, 0xd8, 0xff, 'x', '<'};
    tdm_picture_point point[N] = {{0}};
    double place[2][2 * N];
    const char *group[GROUPS];
    tdm_class_metrics by_class[TDM_DIRECTIONS][GROUPS] = {{{0}}};
    const int map = tdm_metric_index("map");
    for (int i = 0; i < N; i++) { /* group 0 has one point less, group 1 one more */
        point[i] = (tdm_picture_point){.is_text = i % 2, .group = i == 0 ? 1 : i / 2 % GROUPS};
        for (int k = 0; k < 2; k++) place[0][2 * i + k] = place[1][2 * i + k] = i * (k + 1);
    }
    for (int g = 0; g < GROUPS; g++) group[g] = "<i>many</i>";
    group[1] = "\"'><script>alert(1)</script>";
    group[2] = "\xff third & last";
    for (int d = 0; d < TDM_DIRECTIONS; d++)
        for (int g = 0; g < GROUPS; g++) {
            by_class[d][g].queries =
                g == 1 && d == 0 ? 0 : 7 + g; /* class 1 has no queries of one direction */
            by_class[d][g].value[map] = g == 2 ? 0.75 : 0.25;
        }
    point[3].text = "</foreignObject><script>alert(2)</script>";
    point[3].name = "\x1b</svg>'\"";
    point[4].image = jpeg;
    point[4].image_bytes = 5;
    point[N - 1].group = -1;
    const tdm_picture_view views[] = {{"PCA", "first <note>", place[0]}, {"t-SNE", "second note", place[1]}};
    const tdm_picture picture = {.title = "Embed<ding",
                                 .subtitle = "a & b",
                                 .view = views,
                                 .views = 2,
                                 .point = point,
                                 .n = N,
                                 .group = group,
                                 .groups = GROUPS};
    const tdm_curve_point recall[] = {{1, 0.5, 0.8}, {9, 1, 0.2}},
                          scope[] = {{1, 0.5, 0.8}, {1000, 1, 0.004}};
    const tdm_sheet_query query = {.text = "<q>"};
    tdm_eval_page page = {.title = "T", .subtitle = "s", .query = &query, .queries = 1};
    char path[128];
    snprintf(path, sizeof path, "%s/plain.html", dir);
    CHECK_OK(tdm_eval_page_write(path, &page));
    snprintf(path, sizeof path, "%s/sheet.html", dir);
    CHECK_OK(tdm_sheet_write(path, "T", "s", &query, 1));
    tdm_text plain = read_page("plain.html"), sheet = read_page("sheet.html");
    CHECK_STR_EQ(plain.data, sheet.data); /* nothing but the sheet was asked for */
    tdm_text_free(&plain);
    tdm_text_free(&sheet);

    const tdm_metrics metrics[TDM_DIRECTIONS] = {{.value = {0.25}}, {.value = {0.5}}};
    const tdm_interval interval[TDM_MAX_METRICS] = {{0.125, 0.75}, {NAN, NAN}};
    page.metrics = metrics;
    page.interval[0] = page.interval[1] = interval;
    page.interval_note = "90 % <drawn>";
    const tdm_metrics better[TDM_DIRECTIONS] = {{.value = {0.75}}, {.value = {1}}};
    const tdm_eval_order order[] = {{"plain", metrics}, {"other(k=<2>)", better}};
    page.order = order;
    page.orders = 2;
    page.picture = &picture;
    page.classes = GROUPS;
    page.class_name = group;
    tdm_metric_rows rows;
    CHECK_OK(tdm_metric_rows_ask("--metrics", TDM_E_USAGE, "recall_at_20", &rows));
    page.rows = &rows;
    for (int d = 0; d < TDM_DIRECTIONS; d++) {
        page.recall[d] = recall;
        page.scope[d] = scope;
        page.recalls[d] = page.scopes[d] = 2;
        page.per_class[d] = by_class[d];
    }
    CHECK_OK(tdm_eval_page_write(path, &page));
    tdm_text html = read_page("sheet.html");
    assert_self_contained(html.data);
    CHECK_LACKS(html.data, "\x1b");
    CHECK_LACKS(html.data, "<i>many");
    CHECK_EQ(count(html.data, "<th>Recall@20</th>"), TDM_DIRECTIONS);
    tdm_metric_rows_free(&rows);
    CHECK_CONTAINS(html.data, "90 % &lt;drawn&gt;");
    CHECK_CONTAINS(html.data,
                   "<td>0.2500</td><td>[0.1250, 0.7500]</td><td>0.5000</td><td>[0.1250, 0.7500]</td>");
    CHECK_CONTAINS(html.data, "<td>0.0000</td><td>[–, –]</td>");
    CHECK_CONTAINS(html.data,
                   "<th>plain</th><th>other(k=&lt;2&gt;)</th><th>plain</th><th>other(k=&lt;2&gt;)</th>");
    CHECK_CONTAINS(html.data,
                   "<td>Recall@1</td><td>0.2500</td><td>0.7500</td><td>0.5000</td><td>1.0000</td>");
    CHECK_CONTAINS(html.data, "Embed&lt;ding");
    CHECK_CONTAINS(html.data, "first &lt;note&gt;");
    CHECK_CONTAINS(html.data, "&lt;/foreignObject&gt;&lt;script&gt;");
    CHECK_CONTAINS(html.data, TDM_REPLACEMENT " third &amp; last");
    CHECK_EQ(count(html.data, "<foreignObject"), N);
    CHECK_EQ(count(html.data, "</foreignObject>"), N);
    CHECK_EQ(count(html.data, "href=\"#text-mark\""), N / 2);
    CHECK_EQ(count(html.data, "<img"), 1);
    CHECK_EQ(count(html.data, "<input type=\"radio\""), 2);
    CHECK_EQ(count(html.data, "<svg"), 3);
    /* 20 of 23 groups have colours, the first of them the largest one; the last three and the point of none are grey. */
    CHECK_EQ(count(html.data, "<g class=\"p kx\">"), 2 * 2 + 1 + 1);
    CHECK_EQ(count(html.data, "<g class=\"p k0\">"), 3);
    CHECK_CONTAINS(html.data, "3 others and none <b>6</b>");
    /* The axis of ranks has powers of ten; the best class is the first, the one without queries the last. */
    CHECK_CONTAINS(html.data, ">100</text>");
    const char *best = strstr(html.data, "</th></tr>\n<tr><td>" TDM_REPLACEMENT " third");
    CHECK_NOT_NULL(best);
    CHECK_NOT_NULL(strstr(best, "<tr><td>&quot;&#39;&gt;&lt;script"));
    CHECK_LACKS(strstr(best, "<tr><td>&quot;&#39;&gt;&lt;script"), "many");
    CHECK_CONTAINS(html.data, "<h2>Some queries</h2>");
    tdm_text_free(&html);
}

static void test_comparison_page(void **state)
{
    (void)state;
    const tdm_compared_metric metric[] = {{"map", "m<AP>", true, false},
                                          {"median_rank", "median", false, true}};
    const tdm_compared first[] = {{.value = 0.25}, {.value = 9}};
    const tdm_compared second[] = {
        {0.5, 0.25, {0.125, 0.375}, 0.00001, 0.00002, false, 7, 2, 1},
        {4, -5, {-6, -3}, NAN, NAN, false, 5, 0, 5},
    };
    const tdm_changed_query gain[] = {{"q & \x1b<i>", 0, 1}};
    const tdm_compared_system system[] = {{.name = "A", .metric = first},
                                          {.name = "<b>B</b>", .metric = second, .gain = gain, .gains = 1}};
    const tdm_comparison all = {
        .metric = metric, .system = system, .metrics = 2, .systems = 2, .level = 0.95};
    char path[128];
    snprintf(path, sizeof path, "%s/compared.html", dir);
    CHECK_OK(tdm_comparison_page_write(path, "s", &all));
    tdm_text html = read_page("compared.html");
    assert_self_contained(html.data);
    CHECK_LACKS(html.data, "<b>B");
    CHECK_LACKS(html.data, "\x1b");
    CHECK_CONTAINS(
        html.data,
        "<td>m&lt;AP&gt;</td><td>0.2500</td><td>0.5000</td><td>+0.2500</td><td>[+0.1250, +0.3750]</td>");
    CHECK_CONTAINS(html.data, "<td class=\"sure\">&lt;0.0001</td><td>7</td><td>2</td><td>1</td>");
    CHECK_CONTAINS(html.data,
                   "<td>9.00</td><td>4.00</td><td>-5.00</td><td>[-6.00, -3.00]</td><td>–</td><td>–</td>");
    CHECK_CONTAINS(html.data, "<td class=\"name\">q &amp; &lt;i&gt;</td><td>0.0000</td><td>1.0000</td>");
    CHECK_LACKS(html.data, "Largest losses");
    tdm_text_free(&html);
}

static void test_base64_of_all_lengths(void **state)
{
    (void)state;
    static const char *const tail[] = {"iVBORw0KGgo=", "iVBORw0KGgoA",
                                       "iVBORw0KGgoAAQ==", "iVBORw0KGgoAAQI="};
    unsigned char image[16] = "\x89PNG\r\n\x1a\n\x00\x01\x02";
    for (int i = 0; i < 4; i++) {
        bool known = false;
        tdm_text text = {0};
        CHECK_OK(html_image_source(&text, image, 8 + i, &known));
        CHECK_TRUE(known);
        CHECK_CONTAINS(text.data, tail[i]);
        tdm_text_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_curves),          cmocka_unit_test(test_slow_ranks),
        cmocka_unit_test(test_report_of_a_run), cmocka_unit_test(test_short_runs),
        cmocka_unit_test(test_values),          cmocka_unit_test(test_hostile_sheet),
        cmocka_unit_test(test_sheet),           cmocka_unit_test(test_eval_page),
        cmocka_unit_test(test_comparison_page), cmocka_unit_test(test_base64_of_all_lengths),
    };
    if (scratch_dir(dir, sizeof dir) != 0) return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return tdm_remove_tree(dir) != TDM_OK || failed;
}
