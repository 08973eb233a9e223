/* The readers that the formats share: CSV, lists of lines, JSON, tar. What each gives back, and what it says
 * about files that are wrong. */
#include "raw_case.h"
#include "read_csv.h"
#include "read_json.h"
#include "read_list.h"
#include "read_tar.h"

/* ---- csv ---- */

/* The whole file as "field|field/field|field", or the error's message in `out`. */
static tdm_status csv_text(const char *path, char separator, tdm_text *out)
{
    csv_reader csv;
    bool found = true;
    out->length = 0;
    tdm_status status = csv_open(path, separator, &csv);
    while (status == TDM_OK && (status = csv_next(&csv, &found)) == TDM_OK && found)
        for (int i = 0; i < csv.columns; i++)
            CHECK_OK(tdm_text_printf(out, "%s%s", i ? "|" : out->length ? "/" : "", csv.field[i].data));
    csv_close(&csv);
    csv_close(&csv); /* once more does no harm */
    return status;
}

static void csv_records(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        char separator;
        const char *want;
    } good[] = {
        {"a,b\n1,2\n3,4\n", 0, "1|2/3|4"},
        {"a,b\r\n1,2\r\n\r\n3,4", 0, "1|2/3|4"},
        {"\n\n\xef\xbb\xbf,b\n1,2", 0, "1|2"}, /* a mark that is not the file's first is text */
        {"\xef\xbb\xbf"
         "a,b\n1,2",
         0, "1|2"},
        {"a\tb\n1,5\t2\n", 0, "1,5|2"},
        {"a;b\n1,5;2\n", ';', "1,5|2"},
        {"a,b\n\"x,\"\"y\"\"\n z\",\n", 0, "x,\"y\"\n z|"},
        {"a,b\n,\n", 0, "|"},
        {"a,b\n 1 ,2\"\n", 0, " 1 |2\""}, /* a quote inside a field is a character */
        {"a\n\"\"\n", 0, ""},
    };
    tdm_text out = {0};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        put("x.csv", good[i].text);
        CHECK_OK(csv_text(at("x.csv"), good[i].separator, &out));
        if (!out.length) CHECK_OK(tdm_text_append(&out, "", 0));
        CHECK_STR_EQ(out.data, good[i].want);
    }
    tdm_text_free(&out);
}

static void csv_lines_and_columns(void **state)
{
    (void)state;
    csv_reader csv;
    int column;
    bool found;
    put("x.csv", "a,b,a\n\n1,\"2\n2\",3\n4,5,6\n");
    CHECK_OK(csv_open(at("x.csv"), 0, &csv));
    CHECK_EQ(csv.columns, 3);
    CHECK_EQ(csv_column(&csv, "a"), 0); /* the first of that name */
    CHECK_EQ(csv_column(&csv, "c"), -1);
    CHECK_OK(csv_need_column(&csv, "b", "", &column));
    CHECK_EQ(column, 1);
    CHECK_FAILS(csv_need_column(&csv, "c", "", &column), TDM_E_FORMAT, "no column \"c\"; it has");
    CHECK_MESSAGE("\"b\"");
    CHECK_OK(csv_next(&csv, &found));
    CHECK_EQ(csv.line, 3);
    CHECK_STR_EQ(csv.header[2].data, "a"); /* kept while records go by */
    CHECK_OK(csv_next(&csv, &found));
    CHECK_EQ(csv.line, 5);
    CHECK_OK(csv_next(&csv, &found));
    CHECK_FALSE(found);
    CHECK_OK(csv_next(&csv, &found)); /* and stays so */
    CHECK_FALSE(found);
    csv_close(&csv);
}

static void csv_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"a,b\n1\n", "line 2 has 1 fields, the header 2"},
        {"a,b\n\"1\n2\",3\n4,5,6", "line 4 has 3 fields"},
        {"a,b\n1,\"2", "line 2: a quoted field is not closed"},
        {"a,b\n1,\"2\"3\n", "line 2: text after a closing quote"},
        {"a,\"b\n", "line 1: a quoted field is not closed"},
    };
    tdm_text out = {0};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        put("x.csv", wrong[i].text);
        CHECK_FAILS(csv_text(at("x.csv"), 0, &out), TDM_E_FORMAT, "x.csv");
        CHECK_MESSAGE(wrong[i].says);
    }
    CHECK_FAILS(csv_text(at("absent"), 0, &out), TDM_E_IO, "absent");
    tdm_text_free(&out);
}

/* ---- list ---- */

static void list_entries(void **state)
{
    (void)state;
    static const struct {
        int64_t line;
        const char *entry;
    } want[] = {{1, "first"}, {4, "two words"}, {5, "\xc3\xa9"}, {7, "last"}};
    list_reader list;
    put("x.txt", "\xef\xbb\xbf"
                 "first\r\n\n \t\r\n  two words\t\n\xc3\xa9\n\nlast");
    CHECK_OK(list_open(at("x.txt"), &list));
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        CHECK_TRUE(list_next(&list));
        CHECK_EQ(list.line, want[i].line);
        CHECK_EQ(list.length, strlen(want[i].entry));
        CHECK_MEM_EQ(list.entry, want[i].entry, list.length);
    }
    CHECK_FALSE(list_next(&list));
    CHECK_FALSE(list_next(&list));
    list_close(&list);

    put("x.txt", "");
    CHECK_OK(list_open(at("x.txt"), &list));
    CHECK_FALSE(list_next(&list));
    list_close(&list);
    put_bytes("x.txt", "a\0b", 3);
    CHECK_FAILS(list_open(at("x.txt"), &list), TDM_E_FORMAT, "x.txt");
    CHECK_MESSAGE("zero byte");
    list_close(&list);
    CHECK_FAILS(list_open(at("absent"), &list), TDM_E_IO, "absent");
    list_close(&list);
}

/* ---- json ---- */

static void json_values_and_places(void **state)
{
    (void)state;
    json_node root, array, other;
    const char *text;
    int64_t number;
    put("x.json",
        "\xef\xbb\xbf{\"a\": [{\"s\": \"x\", \"n\": 7, \"none\": null, \"in\": [[1], [2, \"y\"]]}]}");
    CHECK_OK(read_json_file(at("x.json"), &root));
    CHECK_OK(json_node_array(&root, "a", &array));
    CHECK_EQ(json_node_count(&array), 1);
    const json_node item = json_node_item(&array, 0);
    CHECK_OK(json_node_string(&item, "s", &text));
    CHECK_STR_EQ(text, "x");
    CHECK_OK(json_node_int(&item, "n", &number));
    CHECK_EQ(number, 7);
    CHECK_NULL(json_node_get(&item, "none").value);
    CHECK_NULL(json_node_get(&array, "s").value); /* an array has no keys */
    CHECK_EQ(json_node_count(&item), 0);          /* an object is no array */

    char where[600];
    const json_node in = json_node_get(&item, "in"), second = json_node_item(&in, 1),
                    deep = json_node_item(&second, 1);
    snprintf(where, sizeof(where), "%s: a[0].in[1][1]", at("x.json"));
    CHECK_STR_EQ(json_node_where(&deep), where);
    CHECK_STR_EQ(json_node_where(&root), at("x.json"));

    CHECK_FAILS(json_node_string(&item, "t", &text), TDM_E_FORMAT, "x.json: a[0] has no \"t\"");
    CHECK_FAILS(json_node_string(&item, "none", &text), TDM_E_FORMAT, "a[0] has no \"none\"");
    CHECK_FAILS(json_node_string(&item, "n", &text), TDM_E_FORMAT, "a[0]: \"n\" is not a string");
    CHECK_FAILS(json_node_int(&item, "s", &number), TDM_E_FORMAT, "a[0]: \"s\" is not an integer");
    CHECK_FAILS(json_node_array(&item, "s", &other), TDM_E_FORMAT, "a[0]: \"s\" is not an array");
    read_json_free(&root);
    read_json_free(&root);
}

static void json_refusals(void **state)
{
    (void)state;
    json_node root;
    put("x.json", "{\"a\":\n [1,,2]}");
    CHECK_FAILS(read_json_file(at("x.json"), &root), TDM_E_FORMAT, "x.json: line 2, column");
    read_json_free(&root);
    put("x.json", "");
    CHECK_FAILS(read_json_file(at("x.json"), &root), TDM_E_FORMAT, "x.json: line 1");
    read_json_free(&root);
    CHECK_FAILS(read_json_file(at("absent"), &root), TDM_E_IO, "absent");
    read_json_free(&root);
    CHECK_FAILS(read_json_text("a.tar: 1.json", "[1", 2, &root), TDM_E_FORMAT, "a.tar: 1.json: line 1");
    read_json_free(&root);
}

/* ---- tar ---- */

static void tar_members(void **state)
{
    (void)state;
    tar_reader tar;
    bool found;
    tdm_text text = {0}, file = {0};
    make_tar("x.tar", archive_write_set_format_pax);
    make_tar_file("one.txt", "the first");
    make_tar_file("two.txt", "");
    make_tar_file("three.bin", "never read");
    make_tar_file("four.txt", "the last");
    make_tar_end();
    CHECK_OK(tdm_read_file(at("x.tar"), &file));

    CHECK_OK(tar_open(at("x.tar"), &tar));
    CHECK_OK(tar_next(&tar, &found));
    CHECK_TRUE(found);
    CHECK_STR_EQ(tar.name, "one.txt");
    CHECK_EQ(tar.bytes, 9);
    CHECK_MEM_EQ(file.data + tar.offset, "the first", 9);
    CHECK_OK(tar_read(&tar, 9, &text));
    CHECK_STR_EQ(text.data, "the first");
    CHECK_OK(tar_next(&tar, &found));
    CHECK_OK(tar_read(&tar, 9, &text));
    CHECK_STR_EQ(text.data, "");
    CHECK_OK(tar_next(&tar, &found));
    CHECK_FAILS(tar_read(&tar, 9, &text), TDM_E_FORMAT, "x.tar: three.bin: 10 bytes");
    CHECK_OK(tar_next(&tar, &found));
    CHECK_STR_EQ(tar.name, "four.txt");
    CHECK_MEM_EQ(file.data + tar.offset, "the last", 8);
    CHECK_OK(tar_next(&tar, &found));
    CHECK_FALSE(found);
    tar_close(&tar);
    tar_close(&tar);

    put_bytes("cut.tar", file.data, 512 + 3); /* within the first one's data */
    CHECK_OK(tar_open(at("cut.tar"), &tar));
    CHECK_OK(tar_next(&tar, &found));
    CHECK_FAILS(tar_next(&tar, &found), TDM_E_FORMAT, "cut.tar");
    CHECK_MESSAGE("damaged");
    tar_close(&tar);
    CHECK_FAILS(tar_open(at("absent.tar"), &tar), TDM_E_IO, "absent.tar");
    tar_close(&tar);
    tdm_text_free(&text);
    tdm_text_free(&file);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(csv_records),  CASE(csv_lines_and_columns),  CASE(csv_refusals),
        CASE(list_entries), CASE(json_values_and_places), CASE(json_refusals),
        CASE(tar_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
