/* The readers that the formats share: CSV, lists of lines, JSON, tar. What each gives back, and what it says
 * about files that are wrong. */
#include "raw_case.h"
#include "read_csv.h"
#include "read_json.h"
#include "read_list.h"
#include "read_tar.h"

#include <math.h>

/* ---- csv ---- */

/* The whole file as "field|field/field|field", or the error's message in `out`. */
static tdm_status csv_text(const char *path, char separator, tdm_text *out)
{
    csv_reader csv;
    bool found = true;
    out->length = 0;
    tdm_status status = csv_open(path, &(csv_dialect){.separator = separator}, &csv);
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
    CHECK_OK(csv_open(at("x.csv"), &(csv_dialect){0}, &csv));
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

/* Each record as "line: field|field", or "line! message", in the order of the file. */
static void csv_lines(const char *text, size_t bytes, const csv_dialect *dialect, tdm_text *out)
{
    csv_reader csv;
    bool found = true;
    put_bytes("x.csv", text, bytes);
    out->length = 0;
    CHECK_OK(tdm_text_append(out, "", 0));
    CHECK_OK(csv_open(at("x.csv"), dialect, &csv));
    csv.image_column = 0;
    for (;;) {
        const tdm_status status = csv_next(&csv, &found);
        if (!found) break;
        CHECK_TRUE(status == TDM_OK || status == TDM_E_DATA);
        CHECK_OK(tdm_text_printf(out, "%s%lld%c", out->length ? "/" : "", (long long)csv.line,
                                 status == TDM_OK ? ':' : '!'));
        for (int i = 0; i < csv.columns && status == TDM_OK; i++)
            CHECK_OK(tdm_text_printf(out, "%s%s", i ? "|" : "", csv.field[i].data));
        if (status != TDM_OK)
            CHECK_OK(tdm_text_printf(out, "%s", strstr(tdm_error_last()->message, "x.csv: ") + 7));
    }
    csv_close(&csv);
}

/* A record that is wrong costs itself, and the reader goes on with the next line that can be one. */
static void csv_goes_on_behind_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
        const char *says; /* in the last error, or NULL */
    } cases[] = {
        {"f,t\n0.png\n1.png,one\n", "2!/3:1.png|one", "line 2 has 1 field, the header 2"},
        {"f,t\n0.png\n1.png\n2.png,two\n", "2!/3!/4:2.png|two", NULL},
        {"f,t\n0.png,a cat, on a mat\n1.png,one", "2!/3:1.png|one",
         "a field that holds the separator needs quotes"},
        {"f\tt\n0.png\t\"Hello\" said the dog\n1.png\tone\n", "2!/3:1.png|one", "text after a closing quote"},
        {"f\tt\n0.png\t\"open\n1.png\tone\n2.png\ttwo\n", "2!/3:1.png|one/4:2.png|two", "is not closed"},
        {"f,t\r\n0.png,\"open\r\n1.png,one\r\n", "2!/3:1.png|one", "is not closed"},
        {"f,t\r0.png,\"open\r1.png,one", "2!/3:1.png|one", "is not closed"},
        /* two in a row: the second line is wrong for itself */
        {"f,t\n0.png,\"open\n1.png,\"open too\n2.png,two\n", "2!/3!/4:2.png|two",
         "line 3: a quoted field is not closed"},
        /* the quotes of two rows close each other */
        {"f,t\n0.png,\"open\n1.png,one\n2.png,5 inch\"\n3.png,three\n",
         "2!/3:1.png|one/4:2.png|5 inch\"/5:3.png|three",
         "its quoted field would hold line 3, a record of its own"},
        {"\"f\",\"t\"\n\"0.png\",\"a \"b\"\n\"1.png\",\"one\"\n", "2!/3:1.png|one",
         "text after a closing quote"},
        /* a line that cannot be a record is left out with the one before it */
        {"f,t\n0.png,\"open\nand no end\n1.png,one\n", "2!/4:1.png|one", "left out with it: up to line 3"},
        /* a quoted field of several lines is none of that, even where a line has as many separators */
        {"f,t\n0.png,\"two\nlines, and \"\"quotes\"\"\"\n1.png,one\n",
         "2:0.png|two\nlines, and \"quotes\"/4:1.png|one", NULL},
        {"f,t\n0.png,\"see\nim.png\nhere\"\n1.png,one\n", "2:0.png|see\nim.png\nhere/5:1.png|one", NULL},
    };
    tdm_text out = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        csv_lines(cases[i].text, strlen(cases[i].text), &(csv_dialect){0}, &out);
        if (cases[i].says) CHECK_MESSAGE(cases[i].says);
        char got[512] = ""; /* without the messages */
        for (const char *c = out.data; *c; c++) {
            strncat(got, c, 1);
            if (*c == '!') c += strcspn(c, "/") - 1;
        }
        CHECK_STR_EQ(got, cases[i].want);
    }
    const char *plain = "f\tt\n0.png\t\"Hello\" said\n1.png\t5\"\n";
    csv_lines(plain, strlen(plain), &(csv_dialect){.plain_quotes = true}, &out);
    CHECK_STR_EQ(out.data, "2:0.png|\"Hello\" said/3:1.png|5\"");
    tdm_text_free(&out);
}

static void csv_bytes_of_fields(void **state)
{
    (void)state;
    csv_reader csv;
    bool found;
    const char text[] = "f,t,u\n0.png,\"a \"\"caf\xe9\",\xe9\n1.png,a\0b,\n";
    put_bytes("x.csv", text, sizeof(text) - 1);
    CHECK_OK(csv_open(at("x.csv"), &(csv_dialect){0}, &csv));
    CHECK_OK(csv_next(&csv, &found));
    CHECK_OK(csv_check_text(&csv, 0));
    CHECK_FAILS(csv_check_text(&csv, 1), TDM_E_DATA,
                "line 2, column \"t\": byte 0xE9 at offset 20 is not UTF-8");
    CHECK_EQ((unsigned char)text[20], 0xe9);
    CHECK_MESSAGE("--encoding latin-1");
    CHECK_OK(csv_next(&csv, &found));
    CHECK_EQ(csv.field[1].length, 3); /* not cut */
    CHECK_FAILS(csv_check_text(&csv, 1), TDM_E_DATA, "line 3, column \"t\": a NUL at offset 32");
    CHECK_EQ(text[32], 0);
    csv_close(&csv);

    put("x.csv", "f,caf\xe9\n1,2\n");
    CHECK_FAILS(csv_open(at("x.csv"), &(csv_dialect){0}, &csv), TDM_E_DATA, "line 1, column");
    csv_close(&csv);
    CHECK_OK(csv_open(at("x.csv"), &(csv_dialect){.encoding = "latin-1"}, &csv));
    CHECK_STR_EQ(csv.header[1].data, "caf\xc3\xa9");
    csv_close(&csv);
}

static void csv_need_column_says_what_may_be_meant(void **state)
{
    (void)state;
    static const struct {
        const char *header, *says;
    } cases[] = {
        {"a;title\n", " (--so and --so); it has \"a;title\", separated by commas"},
        {"a\tb\n", "it has \"a\", \"b\", separated by tabs"},
        {"a, title\n", "\" title\" has a blank beside it: take that out, or --caption-column \" title\""},
        {"a,Title\n", "\"Title\" is another one, since case counts, or --caption-column \"Title\""},
        {"", "the file is empty"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        csv_reader csv;
        int column;
        put("x.csv", cases[i].header);
        CHECK_OK(csv_open(at("x.csv"), &(csv_dialect){0}, &csv));
        csv.suggest = "--so and --so";
        CHECK_FAILS(csv_need_column(&csv, "title", "--caption-column", &column), TDM_E_FORMAT,
                    "x.csv: the header has no column \"title\"");
        CHECK_MESSAGE(cases[i].says);
        csv_close(&csv);
    }
}

static void csv_refusals(void **state)
{
    (void)state;
    csv_reader csv;
    put("x.csv", "a,\"b\n");
    CHECK_FAILS(csv_open(at("x.csv"), &(csv_dialect){0}, &csv), TDM_E_FORMAT,
                "line 1: a quoted field is not closed");
    csv_close(&csv);
    CHECK_FAILS(csv_open(at("absent"), &(csv_dialect){0}, &csv), TDM_E_IO, "absent");
    csv_close(&csv);
}

/* ---- text ---- */

static void text_encodings(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        const char *encoding, *want;
    } good[] = {
        {"caf\xc3\xa9", 5, "utf-8", "caf\xc3\xa9"},
        {"\xef\xbb\xbf"
         "a",
         4, "utf-8", "a"},
        {"\xef\xbb\xbf"
         "a",
         4, "latin-1", "a"},                            /* the mark decides */
        {"\xef\xbb\xbf\xef\xbb\xbfx", 7, "utf-8", "x"}, /* two programs wrote one each */
        {"caf\xe9", 4, "latin-1", "caf\xc3\xa9"},
        {"\x80 5", 3, "cp1252", "\xe2\x82\xac 5"},
        {"\xff\xfe"
         "a\0\xe9\0",
         6, "utf-8", "a\xc3\xa9"},
        {"\xfe\xff\0a\0\xe9", 6, "utf-8", "a\xc3\xa9"},
        {"\xff\xfe\0\0a\0\0\0", 8, "utf-8", "a"},
        {"\0\0\xfe\xff\0\0\0a", 8, "utf-8", "a"},
        {"a\0\xe9\0", 4, "utf-16le", "a\xc3\xa9"},
        {"\xff\xfe\x3d\xd8\x00\xde", 6, "utf-8", "\xf0\x9f\x98\x80"}, /* a surrogate pair */
        {"\xff\xfe", 2, "utf-8", ""},
        {"", 0, "utf-8", ""},
        {"", 0, "latin-1", ""},
    };
    text_file file;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        CHECK_OK(text_open_memory("x.txt", good[i].encoding, good[i].bytes, good[i].length, &file));
        CHECK_STR_EQ(file.at, good[i].want);
        CHECK_EQ(file.end - file.at, strlen(good[i].want));
        text_close(&file);
    }
    CHECK_OK(text_open_memory("x.txt", "utf-8", "\xff\xfe", 2, &file));
    CHECK_STR_EQ(file.marked, "UTF-16LE");
    text_close(&file);
    text_close(&file);
}

static void text_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        const char *encoding;
        tdm_status status;
        const char *says;
    } wrong[] = {
        {"a\0b\0o\0a\0", 8, "utf-8", TDM_E_FORMAT,
         "x.txt: has a zero byte in most characters, so it is UTF-16 without a "
         "byte order mark: --encoding utf-16le"},
        {"\0a\0b\0o\0a", 8, "utf-8", TDM_E_FORMAT, "--encoding utf-16be"},
        {"\0\0\0\0\0\0\0\0", 8, "utf-8", TDM_E_FORMAT, "x.txt: is no text: 8 of its first 8 bytes are zero"},
        {"\x1f\x8b\x08", 3, "utf-8", TDM_E_FORMAT, "x.txt: is compressed with gzip"},
        {"PK\x03\x04....", 8, "utf-8", TDM_E_FORMAT, "an Excel workbook"},
        {"PAR1....", 8, "utf-8", TDM_E_FORMAT, "a Parquet file"},
        {"ab\x81", 3, "cp1252", TDM_E_FORMAT, "x.txt: byte 0x81 at offset 2 is not cp1252"},
        {"\xff\xfe"
         "a\0b",
         5, "utf-8", TDM_E_FORMAT, "x.txt: ends within a character of UTF-16LE"},
        {"a", 1, "klingon", TDM_E_USAGE, "--encoding klingon: unknown; utf-8, latin-1"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        text_file file;
        CHECK_FAILS(text_open_memory("x.txt", wrong[i].encoding, wrong[i].bytes, wrong[i].length, &file),
                    wrong[i].status, wrong[i].says);
        text_close(&file);
    }
    CHECK_FAILS(text_check("x.txt", "a\xc3", 2, 10), TDM_E_DATA,
                "x.txt: byte 0xC3 at offset 11 is not UTF-8");
    CHECK_FAILS(text_check("x.txt", "a\0\xc3", 3, 0), TDM_E_DATA, "x.txt: a NUL at offset 1");
    CHECK_OK(text_check("x.txt", "a\xc3\xa9", 3, 0));
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
    CHECK_OK(list_open(at("x.txt"), "utf-8", &list));
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
    CHECK_OK(list_open(at("x.txt"), "utf-8", &list));
    CHECK_FALSE(list_next(&list));
    list_close(&list);
    put_bytes("x.txt", "a\0b\nc\n", 6); /* not cut: whoever uses the entry judges it */
    CHECK_OK(list_open(at("x.txt"), "utf-8", &list));
    CHECK_TRUE(list_next(&list));
    CHECK_EQ(list.length, 3);
    CHECK_TRUE(list_next(&list));
    CHECK_EQ(list.length, 1);
    list_close(&list);
    CHECK_FAILS(list_open(at("absent"), "utf-8", &list), TDM_E_IO, "absent");
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
    CHECK_OK(read_json_file(at("x.json"), "utf-8", &root));
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
    CHECK_FAILS(read_json_file(at("x.json"), "utf-8", &root), TDM_E_FORMAT, "x.json: line 2, column");
    read_json_free(&root);
    put("x.json", "");
    CHECK_FAILS(read_json_file(at("x.json"), "utf-8", &root), TDM_E_FORMAT, "x.json: is empty, not JSON");
    read_json_free(&root);
    CHECK_FAILS(read_json_file(at("absent"), "utf-8", &root), TDM_E_IO, "absent");
    read_json_free(&root);
    CHECK_FAILS(read_json_text("a.tar: 1.json", "[1", 2, &root), TDM_E_FORMAT, "a.tar: 1.json: line 1");
    read_json_free(&root);
}

/* What Python's json module writes or reads and the standard does not have. The other fields stay as they are. */
static void json_beyond_the_standard(void **state)
{
    (void)state;
    static const char text[] =
        "{\"nan\": NaN, \"inf\": [Infinity, -Infinity, -1, 2.5e3],\n"
        "\"big\": 12345678901234567890123, \"bigger\": 1e999, \"small\": -123456789012345678,\n"
        "\"half\": \"a\\ud83d b\", \"low\": \"\\ude00\", \"pair\": \"\\ud83d\\ude00\", \"nul\": \"a\\u0000b\",\n"
        "\"latin\": \"caf\xe9\", \"raw\": \"a\nb\tc\", \"NaN\": \"NaN \\\" 1e999\", \"k\\u0000\": 1, \"\xe9\": 2,\n"
        "\"caf\xc3\xa9\": \"\xf0\x9f\x98\x80\", \"last\": 7}";
    json_node root;
    int64_t number;
    const char *string;
    size_t length;
    CHECK_OK(read_json_text("x.json", text, sizeof(text) - 1, &root));
    CHECK_NULL(json_node_get(&root, "nan").value);
    const json_node inf = json_node_get(&root, "inf");
    CHECK_TRUE(json_is_null(json_node_item(&inf, 0).value) && json_is_null(json_node_item(&inf, 1).value));
    CHECK_EQ(json_integer_value(json_node_item(&inf, 2).value), -1);
    CHECK_TRUE(json_real_value(json_node_item(&inf, 3).value) == 2500);
    CHECK_TRUE(fabs(json_real_value(json_node_get(&root, "big").value) / 12345678901234567890123.0 - 1) <
               1e-15);
    CHECK_NULL(json_node_get(&root, "bigger").value);
    CHECK_OK(json_node_int(&root, "small", &number));
    CHECK_EQ(number, -123456789012345678);
    CHECK_OK(json_node_int(&root, "last", &number));
    CHECK_EQ(number, 7);

    CHECK_OK(json_node_string(&root, "pair", &string));
    CHECK_STR_EQ(string, "\xf0\x9f\x98\x80");
    CHECK_OK(json_node_string(&root, "caf\xc3\xa9", &string));
    CHECK_STR_EQ(string, "\xf0\x9f\x98\x80");
    CHECK_OK(json_node_string(&root, "raw", &string));
    CHECK_STR_EQ(string, "a b c");
    CHECK_OK(json_node_string(&root, "NaN", &string));
    CHECK_STR_EQ(string, "NaN \" 1e999");
    const json_node nul = json_node_get(&root, "nul");
    CHECK_OK(json_node_text(&nul, &string, &length));
    CHECK_EQ(length, 3);
    CHECK_MEM_EQ(string, "a\0b", 3);
    CHECK_FAILS(json_node_string(&root, "nul", &string), TDM_E_DATA, "x.json: nul holds a NUL");
    CHECK_FAILS(json_node_string(&root, "half", &string), TDM_E_DATA,
                "x.json: half holds half of a surrogate pair");
    CHECK_FAILS(json_node_string(&root, "low", &string), TDM_E_DATA,
                "x.json: low holds half of a surrogate pair");
    CHECK_FAILS(json_node_string(&root, "latin", &string), TDM_E_DATA,
                "x.json: latin holds bytes that are not UTF-8");
    read_json_free(&root);

    put_bytes("x.json", "{\"a\": \"caf\xe9\"}", 13);
    CHECK_OK(read_json_file(at("x.json"), "latin-1", &root));
    CHECK_OK(json_node_string(&root, "a", &string));
    CHECK_STR_EQ(string, "caf\xc3\xa9");
    read_json_free(&root);
    put_bytes("x.json", "\xff\xfe[\0]\0", 6);
    CHECK_OK(read_json_file(at("x.json"), "utf-8", &root));
    CHECK_TRUE(json_is_array(root.value));
    read_json_free(&root);
}

/* Offsets are those in the file, whatever was put in place of what stands before them. */
static void json_offsets(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"[1,,2]", "line 1, column 5 (offset 4): unexpected token near ','"},
        {"[NaN, NaN,, 1e999]", "line 1, column 12 (offset 11)"},
        {"\xef\xbb\xbf[NaN,\n\"\xe9\n\",,]", "line 3, column 4 (offset 15)"},
        {"{} {}", "one document is read, not one a line"},
        {"{}\n{}", "line 2"},
        {"[\"open", "(offset 6)"},
        {"[1, 2", "line 1, column 6 (offset 5)"},
        {" \n", "is empty"},
        {"[\"\\u12\"]", "invalid escape"},
        {"[-]", "invalid token"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        json_node root;
        CHECK_FAILS(read_json_text("x.json", wrong[i].text, strlen(wrong[i].text), &root), TDM_E_FORMAT,
                    "x.json: ");
        CHECK_MESSAGE(wrong[i].says);
        read_json_free(&root);
    }
    json_node root;
    CHECK_FAILS(read_json_text("x.json", "\x1f\x8b\x08", 3, &root), TDM_E_FORMAT,
                "x.json: is compressed with gzip");
    read_json_free(&root);
}

/* ---- tar ---- */

static void tar_members(void **state)
{
    (void)state;
    tar_index tar;
    tdm_text text = {0}, file = {0};
    make_tar("x.tar", archive_write_set_format_pax);
    make_tar_file("one.txt", "the first");
    make_tar_file("./two.txt", "");
    make_tar_file("three.bin", "never read");
    make_tar_file("four.txt", "the last");
    make_tar_end();
    CHECK_OK(tdm_read_file(at("x.tar"), &file));

    CHECK_OK(tar_open(at("x.tar"), &tar));
    CHECK_EQ(tar.count, 4);
    CHECK_STR_EQ(tar.member[0].name, "one.txt");
    CHECK_STR_EQ(tar.member[1].name, "two.txt");
    CHECK_EQ(tar.member[0].bytes, 9);
    CHECK_MEM_EQ(file.data + tar.member[0].offset, "the first", 9);
    CHECK_OK(tar_read(&tar, &tar.member[0], 9, &text));
    CHECK_STR_EQ(text.data, "the first");
    CHECK_OK(tar_read_head(&tar, &tar.member[2], 5, &text));
    CHECK_STR_EQ(text.data, "never");
    CHECK_OK(tar_read(&tar, &tar.member[1], 9, &text));
    CHECK_STR_EQ(text.data, "");
    CHECK_FAILS(tar_read(&tar, &tar.member[2], 9, &text), TDM_E_FORMAT, "x.tar: three.bin: 10 bytes");
    CHECK_FALSE(tar.unended);
    CHECK_NULL(tar.damage);
    tar_close(&tar);
    tar_close(&tar);

    put_bytes("cut.tar", file.data, 512 + 3); /* within the first one's data */
    CHECK_OK(tar_open(at("cut.tar"), &tar));
    CHECK_EQ(tar.count, 1);
    CHECK_CONTAINS(tar.member[0].fault, "cut.tar: one.txt: is cut short");
    CHECK_CONTAINS(tar.damage, "cut.tar: is cut short or damaged");
    CHECK_CONTAINS(tar.damage, "behind one.txt");
    CHECK_FAILS(tar_read(&tar, &tar.member[0], 9, &text), TDM_E_FORMAT, "is cut short");
    tar_close(&tar);
    CHECK_FAILS(tar_open(at("absent.tar"), &tar), TDM_E_IO, "absent.tar");
    tar_close(&tar);
    tdm_text_free(&text);
    tdm_text_free(&file);
}

static void make_tar_link(const char *name, const char *hard, const char *soft)
{
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, soft ? AE_IFLNK : AE_IFREG);
    if (hard) archive_entry_set_hardlink(entry, hard);
    if (soft) archive_entry_set_symlink(entry, soft);
    archive_entry_set_perm(entry, 0644);
    CHECK_GE(archive_write_header(made_tar, entry), ARCHIVE_WARN);
    archive_entry_free(entry);
}

static void tar_links(void **state)
{
    (void)state;
    static const struct {
        const char *name, *hard, *soft;
        const char *data; /* what reading it gives, or what the fault says */
        bool bad;
    } link[] = {
        {"a/hard.jpg", "a/one.jpg", NULL, "one", false},
        {"a/soft.jpg", NULL, "one.jpg", "one", false},
        {"b/up.jpg", NULL, "../a/./one.jpg", "one", false},
        {"b/dots.jpg", "./a/one.jpg", NULL, "one", false},
        {"b/twice.jpg", NULL, "up.jpg", "one", false},    /* a link to a link */
        {"b/later.jpg", NULL, "../z.jpg", "last", false}, /* its target comes later */
        {"b/nothing.jpg", NULL, "no.jpg", "which the tar file does not hold", true},
        {"b/outside.jpg", NULL, "../../a/one.jpg", "which the tar file does not hold", true},
        {"b/absolute.jpg", NULL, "/a/one.jpg", "which the tar file does not hold", true},
        {"b/itself.jpg", NULL, "itself.jpg", "which leads back", true},
        {"b/to.jpg", NULL, "fro.jpg", "which leads back", true},
        {"b/fro.jpg", NULL, "to.jpg", "which leads back", true},
    };
    enum { LINKS = sizeof(link) / sizeof(link[0]) };
    int (*const format[])(struct archive *) = {archive_write_set_format_ustar, archive_write_set_format_pax,
                                               archive_write_set_format_gnutar};
    for (int f = 0; f < 3; f++) {
        tar_index tar;
        tdm_text text = {0};
        make_tar("x.tar", format[f]);
        make_tar_file("a/one.jpg", "one");
        for (int i = 0; i < LINKS; i++) make_tar_link(link[i].name, link[i].hard, link[i].soft);
        make_tar_file("a/one.jpg", "another one"); /* behind the links */
        make_tar_file("z.jpg", "last");
        make_tar_end();
        CHECK_OK(tar_open(at("x.tar"), &tar));
        CHECK_EQ(tar.count, LINKS + 3);
        for (int i = 0; i < LINKS; i++) {
            const tar_member *member = &tar.member[i + 1];
            CHECK_STR_EQ(member->name, link[i].name);
            CHECK_EQ(member->fault != NULL, link[i].bad);
            if (link[i].bad) {
                CHECK_CONTAINS(member->fault, link[i].data);
                continue;
            }
            CHECK_OK(tar_read(&tar, member, 100, &text));
            CHECK_STR_EQ(text.data, link[i].data);
        }
        tar_close(&tar);
        tdm_text_free(&text);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(csv_records),         CASE(csv_lines_and_columns),
        CASE(csv_refusals),        CASE(csv_goes_on_behind_what_is_wrong),
        CASE(csv_bytes_of_fields), CASE(csv_need_column_says_what_may_be_meant),
        CASE(text_encodings),      CASE(text_refusals),
        CASE(list_entries),        CASE(json_values_and_places),
        CASE(json_refusals),       CASE(json_beyond_the_standard),
        CASE(json_offsets),        CASE(tar_members),
        CASE(tar_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
