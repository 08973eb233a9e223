/* One value of every type: from text, its range and choices, and printed so that it reads back. */
#include "check.h"
#include "config_impl.h"
#include "tandem/rng.h"

#include <stdlib.h>

typedef struct values {
    bool on;
    int64_t count, any, four[4];
    double rate, three[3];
    const char *word, *mode;
    int way;
    tdm_strings list, some;
} values;

enum { ON, COUNT, ANY, FOUR, RATE, THREE, WORD, MODE, WAY, LIST, SOME, ROWS };
static const tdm_option rows[ROWS] = {
    [ON] = TDM_BOOL_OPTION(values, on, "false", "On."),
    [COUNT] = TDM_INT_OPTION(values, count, "3", 1, 100, "px", "Count."),
    [ANY] = TDM_INT_OPTION(values, any, "0", 0, 0, "", "Any integer."),
    [FOUR] = TDM_OPTION_FIELD(TDM_OPTION_INT4, values, four, "[1, 2, 3, 4]", 0, 50, NULL, "", "Four.", NULL),
    [RATE] = TDM_FLOAT_OPTION(values, rate, "0.5", 0, 1, "", "Rate."),
    [THREE] = TDM_OPTION_FIELD(TDM_OPTION_FLOAT3, values, three, "[0.1, 0.2, 0.3]", -1, 1, NULL, "", "Three.",
                               NULL),
    [WORD] = TDM_STRING_OPTION(values, word, "", "Word."),
    [MODE] =
        TDM_OPTION_FIELD(TDM_OPTION_STRING, values, mode, "cosine", 0, 0, "cosine|linear", "", "Mode.", NULL),
    [WAY] = TDM_CHOICE_OPTION(values, way, "left", "left|right|leftmost", "Way."),
    [LIST] = TDM_STRINGS_OPTION(values, list, "[]", NULL, "List."),
    [SOME] = TDM_STRINGS_OPTION(values, some, "[a]", "a|b|c", "Some."),
};

static tdm_config config; /* keeps the strings */
static values value;

static config_field field(int row)
{
    return (config_field){rows[row].key, &rows[row], (unsigned char *)&value + rows[row].offset, NULL};
}

static tdm_status set(int row, const char *text)
{
    const config_field f = field(row);
    return config_set_text(&config, "here", &f, text);
}

static void check_printed(int row, const char *want)
{
    const config_field f = field(row);
    tdm_text text = {0};
    CHECK_OK(config_value_print(&f, &text));
    CHECK_STR_EQ(text.data, want);
    tdm_text_free(&text);
}

static void test_good_texts(void **state)
{
    (void)state;
    static const struct {
        int row;
        const char *text, *printed;
    } good[] = {
        {ON, "true", "true"},
        {ON, "false", "false"},
        {COUNT, "1", "1"}, /* both ends of a range belong to it */
        {COUNT, "100", "100"},
        {COUNT, " 42 ", "42"},
        {ANY, "-9223372036854775808", "-9223372036854775808L"}, /* no range in the row: any */
        {ANY, "9223372036854775807", "9223372036854775807L"},
        {ANY, "2147483647", "2147483647"},
        {ANY, "2147483648", "2147483648L"},
        {FOUR, "[4,3, 2 ,1]", "[4, 3, 2, 1]"},
        {FOUR, "(4, 3, 2, 50)", "[4, 3, 2, 50]"},
        {FOUR, "0,1,2,3", "[0, 1, 2, 3]"},
        {RATE, "0", "0.0"},
        {RATE, "1", "1.0"},
        {RATE, "1e-3", "0.001"},
        {RATE, ".25", "0.25"},
        {RATE, "1e-300", "1.0e-300"},
        {THREE, "[-1, 0.5, 1]", "[-1.0, 0.5, 1.0]"},
        {THREE, "0.1,0.2,0.3", "[0.1, 0.2, 0.3]"},
        {WORD, "", "\"\""},
        {WORD, "a b=c", "\"a b=c\""},
        {WORD, "\"quoted\"", "\"quoted\""},
        {WORD, "\"", "\"\\\"\""},
        {WORD, "back\\slash\t\x7f", "\"back\\\\slash\\x09\\x7f\""},
        {WORD, "é漢", "\"é漢\""},
        {MODE, "linear", "\"linear\""},
        {WAY, "left", "\"left\""},
        {WAY, "right", "\"right\""},
        {WAY, "\"leftmost\"", "\"leftmost\""},
        {LIST, "", "[]"},
        {LIST, "[]", "[]"},
        {LIST, "[ ]", "[]"},
        {LIST, "one", "[\"one\"]"},
        {LIST, "[one, two three , \"a,b\"]", "[\"one\", \"two three\", \"a,b\"]"},
        {LIST, "[block.[0-5], crop(low=0.2, high=1)]", "[\"block.[0-5]\", \"crop(low=0.2, high=1)\"]"},
        {LIST, "[\"say \\\"yes\\\"\", \"a\\\\b\"]", "[\"say \\\"yes\\\"\", \"a\\\\b\"]"},
        {SOME, "[c, a, a]", "[\"c\", \"a\", \"a\"]"},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        CHECK_OK(set(good[i].row, good[i].text));
        check_printed(good[i].row, good[i].printed);
    }
    CHECK_OK(set(WAY, "right"));
    CHECK_EQ(value.way, 1); /* counted from 0, as the row writes them */
}

static void test_bad_texts(void **state)
{
    (void)state;
    static const struct {
        int row;
        const char *text, *message;
    } bad[] = {
        {ON, "yes", "here: on: expected true or false, got \"yes\""},
        {ON, "True", "expected true or false"},
        {ON, "", "expected true or false"},
        {COUNT, "0", "here: count = 0 is out of range (1 to 100 px)"},
        {COUNT, "101", "out of range"},
        {COUNT, "3x", "expected an integer (1 to 100 px), got \"3x\""},
        {COUNT, "3.0", "expected an integer"},
        {COUNT, "", "expected an integer"},
        {ANY, "9223372036854775808", "expected an integer"},
        {FOUR, "[1,2,3]", "four: expected four integers [a, b, c, d] (0 to 50), got \"[1,2,3]\""},
        {FOUR, "[1,2,3,4,5]", "expected four integers"},
        {FOUR, "[1,2,3,4", "expected four integers"},
        {FOUR, "[1,2,3,4)", "expected four integers"},
        {FOUR, "[1,2,3,4] 5", "expected four integers"},
        {FOUR, "1 2 3 4", "expected four integers"},
        {FOUR, "[1,2,3,51]", "four = 51 is out of range (0 to 50)"},
        {RATE, "1.0000001", "rate = 1.0000001 is out of range (0 to 1)"},
        {RATE, "-0.1", "out of range"},
        {RATE, "nan", "rate is not a finite number"},
        {RATE, "inf", "not a finite number"},
        {RATE, "1e999", "not a finite number"},
        {RATE, "fast", "expected a number"},
        {THREE, "[0,0]", "expected three numbers [r, g, b]"},
        {THREE, "[0,0,1.5]", "three = 1.5 is out of range (-1 to 1)"},
        {MODE, "cosin", "mode = \"cosin\" is not one of cosine|linear (did you mean \"cosine\"?)"},
        {MODE, "", "not one of cosine|linear"},
        {MODE, "cosine|linear", "not one of"},
        {WAY, "leftmos", "way = \"leftmos\" is not one of left|right|leftmost (did you mean \"leftmost\"?)"},
        {WAY, "1", "not one of left|right|leftmost"},
        {LIST, "[a", "list: expected strings [\"a\", \"b\"], got \"[a\""},
        {LIST, "[\"a", "expected strings"},
        {LIST, "[,a]", "expected strings"},
        {LIST, "[a] b", "expected strings"},
        {SOME, "[a, d]", "some = \"d\" is not one of a|b|c"},
    };
    for (int row = 0; row < ROWS; row++) CHECK_OK(set(row, rows[row].default_text));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const int row = bad[i].row;
        const config_field f = field(row);
        tdm_text before = {0};
        CHECK_OK(config_value_print(&f, &before));
        CHECK_FAILS(set(row, bad[i].text), TDM_E_CONFIG, bad[i].message);
        CHECK_MESSAGE("here: "); /* where it stands */
        CHECK_MESSAGE(rows[row].key);
        const bool sequence = row == FOUR || row == THREE; /* its first elements may have been set */
        if (!sequence) check_printed(row, before.data);
        tdm_text_free(&before);
    }
}

/* What is printed is the shortest text that strtod gives back, and libconfig reads it as a number with a fraction. */
static void test_double_texts(void **state)
{
    (void)state;
    tdm_rng rng = tdm_rng_at(1, 0, 0, TDM_RNG_TEST);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = (uint64_t)tdm_rng_u32(&rng) << 32;
        bits |= tdm_rng_u32(&rng);
        double number = i < 2000 ? (i - 1000) / 8.0 : i < 4000 ? (i - 3000) / 1000.0 : 0.0;
        if (i >= 4000) memcpy(&number, &bits, sizeof bits);
        if (!isfinite(number)) continue;
        char text[40], shorter[40];
        config_double_text(number, text, sizeof text);
        CHECK_EQ(strtod(text, NULL), number);
        CHECK_CONTAINS(text, ".");
        int digits = 0;
        for (const char *at = text; *at && *at != 'e'; at++) digits += *at >= '0' && *at <= '9';
        if (digits < 3 || digits > 17) continue; /* "3.0" has one digit more than it needs */
        snprintf(shorter, sizeof shorter, "%.*g", digits - 2, number);
        if (strtod(shorter, NULL) == number && strchr(shorter, '.')) CHECK_STR_EQ(text, shorter);
    }
}

static void test_ranges(void **state)
{
    (void)state;
    static const char *const want[ROWS] = {
        [ON] = "",          [COUNT] = "1 to 100 px",  [ANY] = "",
        [FOUR] = "0 to 50", [RATE] = "0 to 1",        [THREE] = "-1 to 1",
        [WORD] = "",        [MODE] = "cosine|linear", [WAY] = "left|right|leftmost",
        [LIST] = "",        [SOME] = "a|b|c",
    };
    char text[80];
    for (int row = 0; row < ROWS; row++) {
        config_range_text(&rows[row], text, sizeof text);
        CHECK_STR_EQ(text, want[row]);
        CHECK_STR_NE(config_type_name(rows[row].type), "a value");
    }
    const tdm_option seconds = {.type = TDM_OPTION_INT, .unit = "s"};
    config_range_text(&seconds, text, sizeof text);
    CHECK_STR_EQ(text, "s");
}

/* The defaults are texts too: all of them are read when a configuration begins. */
static void test_registered(void **state)
{
    (void)state;
    const values *set_value = tdm_config_group(&config, "test.option");
    CHECK_NOT_NULL(set_value);
    CHECK_FALSE(set_value->on);
    CHECK_EQ(set_value->count, 3);
    CHECK_EQ(set_value->four[3], 4);
    CHECK_EQ(set_value->rate, 0.5);
    CHECK_EQ(set_value->three[2], 0.3);
    CHECK_STR_EQ(set_value->word, "");
    CHECK_STR_EQ(set_value->mode, "cosine");
    CHECK_EQ(set_value->way, 0);
    CHECK_EQ(set_value->list.count, 0);
    CHECK_EQ(set_value->some.count, 1);
}

/* Through a file: every type is printed in libconfig's syntax and read again by libconfig. */
static void test_round_trip(void **state)
{
    (void)state;
    static const char *const assignments[] = {
        "on=true",
        "count=77",
        "any=-5000000000",
        "four=9,8,7,6",
        "rate=0.1",
        "three=-0.3,0,1e-7",
        "word=\\ \"x\" \t#//",
        "mode=linear",
        "way=leftmost",
        "list=[\"a, b\", \"\\\"\", c]",
        "some=[]",
    };
    tdm_config from, to;
    CHECK_OK(tdm_config_init(&from));
    CHECK_OK(tdm_config_init(&to));
    for (size_t i = 0; i < sizeof assignments / sizeof assignments[0]; i++) {
        char assignment[80];
        snprintf(assignment, sizeof assignment, "test.option.%s", assignments[i]);
        CHECK_OK(tdm_config_set(&from, assignment));
    }
    tdm_text first = {0}, second = {0};
    CHECK_OK(tdm_config_print(&from, "test", &first));
    CHECK_OK(tdm_config_load_text(&to, "printed", first.data));
    CHECK_OK(tdm_config_print(&to, "test", &second));
    CHECK_STR_EQ(second.data, first.data);
    const values *read = tdm_config_group(&to, "test.option");
    CHECK_EQ(read->any, -5000000000);
    CHECK_EQ(read->three[2], 1e-7);
    CHECK_STR_EQ(read->word, "\\ \"x\" \t#//");
    CHECK_EQ(read->way, 2);
    CHECK_EQ(read->list.count, 3);
    CHECK_STR_EQ(read->list.item[1], "\"");
    CHECK_EQ(read->some.count, 0);
    tdm_text_free(&first);
    tdm_text_free(&second);
    tdm_config_destroy(&from);
    tdm_config_destroy(&to);
}

static int set_up(void **state)
{
    (void)state;
    memset(&value, 0, sizeof value);
    const tdm_option_group group = {.prefix = "test.option",
                                    .rows = rows,
                                    .count = ROWS,
                                    .bytes = sizeof(values),
                                    .change = TDM_CHANGE_RUN};
    if (tdm_config_register(&group) != TDM_OK) return 1;
    return tdm_config_init(&config) != TDM_OK;
}

static int tear_down(void **state)
{
    (void)state;
    tdm_free(value.list.item);
    tdm_free(value.some.item);
    tdm_config_destroy(&config);
    tdm_config_unregister_all();
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_good_texts), CASE(test_bad_texts),  CASE(test_double_texts),
        CASE(test_ranges),     CASE(test_registered), CASE(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
