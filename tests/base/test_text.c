/* Growing text, escapes for HTML, the nearest name. */
#include "check.h"
#include "tandem/base.h"

#include <stdlib.h>

static void test_append(void **state)
{
    (void)state;
    tdm_text text = {0};
    CHECK_OK(tdm_text_append(&text, NULL, 0));
    CHECK_STR_EQ(text.data, ""); /* a string, though nothing was written */
    CHECK_EQ(text.length, 0);
    CHECK_OK(tdm_text_append(&text, "ab", 2));
    CHECK_OK(tdm_text_append(&text, "c\0d", 3));
    CHECK_EQ(text.length, 5);
    CHECK_MEM_EQ(text.data, "abc\0d", 6);
    CHECK_OK(tdm_text_printf(&text, "%s", ""));
    CHECK_EQ(text.length, 5);
    tdm_text_free(&text);
    CHECK_NULL(text.data);
    CHECK_EQ(text.length, 0);
    CHECK_EQ(text.capacity, 0);
    tdm_text_free(&text);
}

static void test_printf(void **state)
{
    (void)state;
    tdm_text text = {0};
    CHECK_OK(tdm_text_printf(&text, "%d of %s", 3, "four"));
    CHECK_OK(tdm_text_printf(&text, ", %.2f%%", 75.0));
    CHECK_STR_EQ(text.data, "3 of four, 75.00%");
    CHECK_EQ(text.length, strlen(text.data));
    tdm_text_free(&text);
    /* one piece that is longer than any first room */
    CHECK_OK(tdm_text_printf(&text, "<%5000d>", 7));
    CHECK_EQ(text.length, 5002);
    CHECK_STR_EQ(text.data + 4999, " 7>");
    tdm_text_free(&text);
}

/* Every length, in steps that meet every state of the room. */
static void test_growth(void **state)
{
    (void)state;
    enum { TOTAL = 300000 };
    char *want = malloc(TOTAL + 64);
    CHECK_NOT_NULL(want);
    tdm_text text = {0};
    size_t growths = 0, step = 0;
    while (text.length < TOTAL) {
        const size_t n = step++ % 61, before = text.capacity;
        memset(want + text.length, 'a' + (int)(step % 26), n);
        CHECK_OK(step % 2 ? tdm_text_append(&text, want + text.length, n)
                          : tdm_text_printf(&text, "%.*s", (int)n, want + text.length));
        growths += text.capacity != before;
        CHECK_LT(text.length, text.capacity);
        CHECK_EQ(text.data[text.length], '\0');
    }
    CHECK_MEM_EQ(text.data, want, text.length);
    CHECK_LT(growths, 40); /* in proportion to what there is, or many appends cost their square */
    CHECK_LT(text.capacity, 2 * text.length + 128);
    tdm_text_free(&text);
    free(want);
}

static void test_html(void **state)
{
    (void)state;
    tdm_text text = {0};
    CHECK_OK(tdm_text_html(&text, ""));
    CHECK_STR_EQ(text.data, "");
    CHECK_OK(tdm_text_html(&text, "<a href=\"x\" id='y'>R&D</a> é漢"));
    CHECK_STR_EQ(text.data, "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;R&amp;D&lt;/a&gt; é漢");
    CHECK_OK(tdm_text_html(&text, "&amp;"));
    CHECK_STR_EQ(text.data + text.length - 9, "&amp;amp;"); /* once more: the input is text, not HTML */
    tdm_text_free(&text);
}

static void test_csv_and_latex(void **state)
{
    (void)state;
    tdm_text text = {0};
    CHECK_OK(tdm_text_csv(&text, "plain"));
    CHECK_OK(tdm_text_csv(&text, ",a \"b\""));
    CHECK_STR_EQ(text.data, "plain\",a \"\"b\"\"\"");
    tdm_text_free(&text);
    CHECK_OK(tdm_text_latex(&text, "R@1 50% of $a_b^c & {\\x} #~"));
    CHECK_STR_EQ(text.data, "R@1 50\\% of \\$a\\_b\\^{}c \\& \\{\\textbackslash{}x\\} \\#\\~{}");
    tdm_text_free(&text);
}

/* What browsers must not see: control characters, those that turn the direction, what is no UTF-8. */
static void test_html_hostile(void **state)
{
    (void)state;
    tdm_text text = {0};
    CHECK_OK(tdm_text_html(&text, "a\x1b]0;x\x07\x7f\xc2\x9b"
                                  "b\tc\r\n\xff\"'</script>]]>\xe2\x80\xae"
                                  "d\xe2\x81\xa6\xe2\x82"));
    CHECK_STR_EQ(text.data,
                 "a]0;xb\tc\r\n" TDM_REPLACEMENT "&quot;&#39;&lt;/script&gt;]]&gt;d" TDM_REPLACEMENT);
    tdm_text_free(&text);
}

/* Python's bytes.decode("utf-8", "replace") gives the same. */
static void test_utf8(void **state)
{
    (void)state;
#define R TDM_REPLACEMENT
    static const struct {
        const char *raw, *want;
    } cases[] = {
        {"", ""},
        {"plain, \xc3\xa9 \xe6\xbc\xa2 \xf0\x9f\x90\x88", "plain, \xc3\xa9 \xe6\xbc\xa2 \xf0\x9f\x90\x88"},
        {"\xff", R},
        {"a\xe2\x82", "a" R}, /* cut: one part */
        {"\xe2\x82z", R "z"},
        {"\xed\xa0\x80", R R R}, /* a surrogate */
        {"\xc0\xaf", R R},       /* overlong */
        {"\xf0\x80\x80\xaf", R R R R},
        {"\xf4\x90\x80\x80", R R R R}, /* beyond U+10FFFF */
        {"\x80\xbf-", R R "-"},
        {"\xf1\x80\x80\xe1\x80\xc2"
         "b",
         R R R "b"},
    };
#undef R
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tdm_text text = {0};
        CHECK_OK(tdm_text_utf8(&text, cases[i].raw, strlen(cases[i].raw)));
        CHECK_STR_EQ(text.data, cases[i].want);
        tdm_text_free(&text);
    }
    tdm_text text = {0};
    CHECK_OK(tdm_text_utf8(&text, NULL, 0));
    CHECK_STR_EQ(text.data, "");
    CHECK_OK(tdm_text_utf8(&text, "a\0b\xff", 4));
    CHECK_EQ(text.length, 6);
    CHECK_MEM_EQ(text.data, "a\0b" TDM_REPLACEMENT, 7);
    tdm_text_free(&text);
}

static void test_json(void **state)
{
    (void)state;
    tdm_text text = {0};
    CHECK_OK(tdm_text_json(&text, "{\"a\": \"\\u001b \xc3\xa9 \x7f\xc2\x9b\xe2\x80\xae\"}\n"));
    CHECK_STR_EQ(text.data, "{\"a\": \"\\u001b \xc3\xa9 \\u007f\\u009b\\u202e\"}\n");
    tdm_text_free(&text);
}

static void test_show(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *want;
    } cases[] = {
        {"", ""},
        {"caf\xc3\xa9 \xe6\xbc\xa2 \\ 50 %", "caf\xc3\xa9 \xe6\xbc\xa2 \\ 50 %"},
        {"\x1b]0;title\x07", "\\x1b]0;title\\x07"},
        {"a\nb\tc\rd\x7f", "a\\nb\\tc\\rd\\x7f"},
        {"\xc2\x9b"
         "31m",
         "\\u009b31m"},                            /* C1: CSI */
        {"\xe2\x80\xaegpj.exe", "\\u202egpj.exe"}, /* right to left from here */
        {"\xe2\x81\xa6x\xe2\x81\xa9", "\\u2066x\\u2069"},
        {"\xe2\x80\xa8", "\\u2028"},
        {"\xe2\x80\x8d\xd7\x90\xe2\x80\x8f", "\xe2\x80\x8d\xd7\x90\xe2\x80\x8f"}, /* joiners and marks stay */
        {"\xff-\xe2\x82", "\\xff-\\xe2\\x82"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tdm_text text = {0};
        char all[64], one[4];
        CHECK_OK(tdm_text_show(&text, cases[i].raw));
        CHECK_STR_EQ(text.data, cases[i].want);
        CHECK_EQ(tdm_show_text(all, sizeof all, cases[i].raw), strlen(cases[i].want));
        CHECK_STR_EQ(all, cases[i].want);
        CHECK_LT(tdm_show_text(one, sizeof one, cases[i].raw), sizeof one);
        CHECK_MEM_EQ(one, all, strlen(one));
        tdm_text_free(&text);
    }
    char cut[] = "ab\xe2\x82", whole[] = "ab\xe2\x82\xac", bad[] = "a\xff";
    tdm_trim_cut(cut);
    CHECK_STR_EQ(cut, "ab");
    tdm_trim_cut(whole);
    CHECK_STR_EQ(whole, "ab\xe2\x82\xac");
    tdm_trim_cut(bad); /* was so before it was cut */
    CHECK_STR_EQ(bad, "a\xff");
}

static void test_nearest_name(void **state)
{
    (void)state;
    static const char *const names[] = {"batch", "chunk", "epochs", "steps", "log_every", "lr"};
    static const struct {
        const char *word, *want;
    } cases[] = {
        {"batch", "batch"},  {"bach", "batch"},   {"btach", "batch"},        {"batchs", "batch"},
        {"epoch", "epochs"}, {"step", "steps"},   {"logevery", "log_every"}, {"chunks", "chunk"},
        {"rl", NULL},        {"l", "lr"},         {"qwertyuiop", NULL},      {"", NULL},
        {"patch", "batch"},  {"elephants", NULL},
    };
    enum { NAMES = sizeof names / sizeof names[0] };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_STR_EQ(tdm_nearest_name(cases[i].word, names, NAMES), cases[i].want);
    CHECK_NULL(tdm_nearest_name("batch", names, 0));
    /* of two that are equally far the first, of unequal ones the nearer */
    static const char *const twins[] = {"cart", "card", "cars"};
    CHECK_STR_EQ(tdm_nearest_name("carx", twins, 3), "cart");
    CHECK_STR_EQ(tdm_nearest_name("cards", twins, 3), "card");
    /* longer than any name: no match and no overflow */
    char word[400];
    memset(word, 'a', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    const char *const long_names[] = {word, "b"};
    CHECK_NULL(tdm_nearest_name("b_long_key", long_names, 1));
}

/* By the plain recursion. */
static size_t slow_distance(const char *a, const char *b)
{
    if (!*a) return strlen(b);
    if (!*b) return strlen(a);
    const size_t change = slow_distance(a + 1, b + 1) + (*a != *b);
    const size_t remove = slow_distance(a + 1, b) + 1, insert = slow_distance(a, b + 1) + 1;
    const size_t best = change < remove ? change : remove;
    return best < insert ? best : insert;
}

static void test_distance(void **state)
{
    (void)state;
    static const char *const words[] = {"abab", "baba", "aab", "b", "abcabc", "acb", "cab", "bbaa", "cc"};
    enum { WORDS = sizeof words / sizeof words[0] };
    for (int i = 0; i < WORDS; i++)
        for (int k = 0; k < WORDS; k++) {
            const bool near = slow_distance(words[i], words[k]) < strlen(words[i]) / 3 + 2;
            CHECK_STR_EQ(tdm_nearest_name(words[i], &words[k], 1), near ? words[k] : NULL);
        }
}

static void test_numbers(void **state)
{
    (void)state;
    CHECK_EQ(tdm_round_up(0, 8), 0);
    CHECK_EQ(tdm_round_up(1, 8), 8);
    CHECK_EQ(tdm_round_up(16, 8), 16);
    for (int64_t count = 0; count < 40; count++)
        for (int64_t parts = 1; parts < 12; parts++) {
            CHECK_EQ(tdm_part_begin(count, parts, 0), 0);
            CHECK_EQ(tdm_part_begin(count, parts, parts), count);
            for (int64_t part = 0; part < parts; part++) {
                const int64_t n = tdm_part_begin(count, parts, part + 1) - tdm_part_begin(count, parts, part);
                CHECK_GE(n, count / parts);
                CHECK_LE(n, (count + parts - 1) / parts);
            }
        }
}

/* Every bf16 comes back; between two of them the nearer one wins, ties go to the even one. */
static void test_bf16(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        const float value = tdm_bf16_value((uint16_t)bits);
        if (isnan(value))
            CHECK_TRUE(isnan(tdm_bf16_value(tdm_bf16_round(value))));
        else
            CHECK_EQ(tdm_bf16_round(value), bits);
    }
    CHECK_EQ(tdm_bf16_round(1.0f + 0x1p-9f), 0x3f80); /* below half */
    CHECK_EQ(tdm_bf16_round(1.0f + 0x1p-8f), 0x3f80); /* half: to the even one below */
    CHECK_EQ(tdm_bf16_round(1.0f + 0x3p-8f), 0x3f82); /* half: to the even one above */
    CHECK_EQ(tdm_bf16_round(1.0f + 0x1.01p-8f), 0x3f81);
    CHECK_EQ(tdm_bf16_round(3.4e38f), 0x7f80); /* beyond the largest: infinity */
    CHECK_EQ(tdm_bf16_round(-0.0f), 0x8000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),        cmocka_unit_test(test_printf),
        cmocka_unit_test(test_growth),        cmocka_unit_test(test_html),
        cmocka_unit_test(test_html_hostile),  cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_csv_and_latex), cmocka_unit_test(test_show),
        cmocka_unit_test(test_json),          cmocka_unit_test(test_nearest_name),
        cmocka_unit_test(test_distance),      cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
