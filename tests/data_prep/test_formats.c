/* The readers of raw data sets: what they list, and what they refuse. No image is decoded here. */
#include "list_case.h"

/* ---- csv ---- */

static void csv_commas_and_quotes(void **state)
{
    (void)state;
    put("a/pairs.csv", "id,title,filepath\n"
                       "1,\"a cat, \"\"sleeping\"\"\",img/1.png\n"
                       "2,\"two\nlines\",img/2.png\n"
                       "\n"
                       "3, padded ,/absolute/3.png\n"
                       "4,a second caption,img/1.png"); /* no newline at the end */
    CHECK_OK(list_again("csv", at("a/pairs.csv")));
    CHECK_EQ(list.count, 3);
    EXPECT(0, "img/1.png", "a cat, \"sleeping\"", "a second caption");
    EXPECT(1, "img/2.png", "two\nlines");
    EXPECT(2, "/absolute/3.png", "padded");
    CHECK_STR_EQ(list.item[0].path, at("a/img/1.png"));
    CHECK_STR_EQ(list.item[2].path, "/absolute/3.png");
    CHECK_EQ(list.item[0].bytes, -1);
    CHECK_EQ(list.item[0].identity, -1);
    CHECK_STR_EQ(list.item[0].split, "");
}

static void csv_tabs_byte_order_mark_and_windows_lines(void **state)
{
    (void)state;
    put("pairs.tsv", "\xef\xbb\xbf"
                     "filepath\ttitle\r\nb.png\ta, with a comma\r\nc.png\t\xc3\xa9t\xc3\xa9\r\nd.png\t\r\n");
    CHECK_OK(list_again("csv", at("pairs.tsv")));
    CHECK_EQ(list.count, 3);
    EXPECT(0, "b.png", "a, with a comma");
    EXPECT(1, "c.png", "\xc3\xa9t\xc3\xa9");
    EXPECT_NO_CAPTION(2, "d.png");
    CHECK_EQ(list.item[2].caption_fault_n, 1); /* kept, for the packer to report */
    CHECK_TRUE(list.item[2].caption_fault[0].empty);
}

static void csv_same_name_in_two_folders(void **state)
{
    (void)state;
    put("a/x.csv", "filepath,title\n1.png,of a\n");
    put("b/x.csv", "filepath,title\n1.png,of b\n");
    CHECK_OK(list_again("csv", at("a/x.csv")));
    CHECK_OK(tdm_pack_list_source(format_named("csv"), NULL, at("b/x.csv"), &list));
    CHECK_EQ(list.count, 2);
    EXPECT(0, "1.png", "of a");
    EXPECT(1, "1.png", "of b");
}

static void csv_many_rows_of_few_images(void **state)
{
    (void)state;
    tdm_text text = {0};
    CHECK_OK(tdm_text_printf(&text, "filepath,title\n"));
    for (int i = 0; i < 9000; i++) CHECK_OK(tdm_text_printf(&text, "%d.png,caption %d\n", i % 3000, i));
    put_bytes("x.csv", text.data, text.length);
    tdm_text_free(&text);
    CHECK_OK(list_again("csv", at("x.csv")));
    CHECK_EQ(list.count, 3000);
    EXPECT(2999, "2999.png", "caption 2999", "caption 5999", "caption 8999");
}

/* What the whole file is wrong with. */
static void csv_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"", "no column \"filepath\""},
        {"\n\n", "the file is empty"},
        {"path,title\na,b\n", "it has \"path\", \"title\", separated by commas"},
        {"filepath;title\na;b\n", "it has \"filepath;title\""},
        {"filepath\tcaption\na\tb\n", "no column \"title\""},
        {"filepath\tcaption\na\tb\n", "--image-column and --caption-column name others, --delimiter"},
        {"filepath, title\na,b\n", "\" title\" has a blank beside it"},
        {"filepath,\"title\n", "line 1: a quoted field is not closed"},
        {"1.png,a cat\n2.png,a dog\n",
         "it has \"1.png\", \"a cat\", separated by commas. The first line should name the "
         "columns, and seems to be a row"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        put("wrong.csv", wrong[i].text);
        CHECK_FAILS(list_again("csv", at("wrong.csv")), TDM_E_FORMAT, "wrong.csv");
        CHECK_MESSAGE(wrong[i].says);
    }
    CHECK_FAILS(list_again("csv", at("absent.csv")), TDM_E_IO, "absent.csv");

    put_bytes("wrong.csv", "f\0i\0l\0e\0", 8);
    CHECK_FAILS(list_again("csv", at("wrong.csv")), TDM_E_FORMAT, "wrong.csv");
    CHECK_MESSAGE("UTF-16");
    put_bytes("wrong.csv.gz", "\x1f\x8b\x08\0", 4);
    CHECK_FAILS(list_again("csv", at("wrong.csv.gz")), TDM_E_FORMAT, "wrong.csv.gz: is compressed with gzip");
}

/* What single rows are wrong with: the others are listed. */
static void csv_bad_rows(void **state)
{
    (void)state;
    tdm_text text = {0};
    CHECK_OK(tdm_text_printf(&text,
                             "filepath,title,unused\n"
                             "a.png,of a,caf\xe9\n"    /* 2: a column that is not used may hold anything */
                             "b.png\n"                 /* 3 */
                             "c.png,\"never closed,\n" /* 4 */
                             "d.png,\"of\"d,\n"        /* 5 */
                             "https://example.org/e.png,of e,\n"             /* 6 */
                             "caf\xe9.png,of f,\n"                           /* 7 */
                             " g.png , of g ,\n"                             /* 8 */
                             "h.png,caf\xe9,\n"                              /* 9 */
                             "i.png,\xc2\xa0,\n"));                          /* 10 */
    for (int i = 0; i < 5000; i++) CHECK_OK(tdm_text_append(&text, "x", 1)); /* 11 */
    CHECK_OK(tdm_text_printf(&text, ",of x,\nz.png,of z,\n"));
    put_bytes("x.csv", text.data, text.length);
    tdm_text_free(&text);
    CHECK_OK(list_again("csv", at("x.csv")));
    CHECK_EQ(list.count, 5);
    EXPECT(0, "a.png", "of a");
    EXPECT(1, "g.png", "of g");
    EXPECT_NO_CAPTION(2, "h.png");
    EXPECT_NO_CAPTION(3, "i.png");
    EXPECT(4, "z.png", "of z");
    static const char *const says[] = {
        "x.csv: line 3 has 1 field, the header 3",
        "x.csv: line 4: text after a closing quote", /* that of line 5 */
        "x.csv: line 5: text after a closing quote",
        "x.csv: line 6: \"https://example.org/e.png\" is an address: images are read from files, not fetched",
        "x.csv: line 7, column \"filepath\": byte 0xE9 at offset",
        "x.csv: line 11: path is too long",
    };
    CHECK_EQ(list.fault_n, sizeof(says) / sizeof(says[0]));
    for (int64_t i = 0; i < list.fault_n; i++)
        if (!strstr(list.fault[i], says[i])) CHECK_STR_EQ(list.fault[i], says[i]);
    CHECK_NOT_NULL(strstr(list.fault_where[0], "x.csv: line 3"));
    CHECK_NOT_NULL(
        strstr(list.item[2].caption_fault[0].why, "x.csv: line 9, column \"title\": byte 0xE9 at offset"));
    CHECK_NOT_NULL(
        strstr(list.item[3].caption_fault[0].why, "x.csv: line 10 (i.png, caption 1): the caption is empty"));
}

#define LIST_WITH(...) list_with("csv", "x.csv", (const char *const[]){__VA_ARGS__, NULL})

static void csv_columns_by_option(void **state)
{
    (void)state;
    put("x.csv", "title,filepath,photo,english\nno,no.png,1.png,a cat\n");
    CHECK_OK(LIST_WITH("image_column", "photo", "caption_column", "english"));
    CHECK_EQ(list.count, 1);
    EXPECT(0, "1.png", "a cat");
    CHECK_EQ(list.left_out[0].count, 2); /* columns */

    put("x.csv", "filepath;a,b\n1.png;of 1\n");
    CHECK_OK(LIST_WITH("delimiter", ";", "caption_column", "a,b")); /* one column of that name */
    EXPECT(0, "1.png", "of 1");
    put("x.csv", "filepath|title\n1.png|of 1\n");
    CHECK_OK(LIST_WITH("delimiter", "|"));
    EXPECT(0, "1.png", "of 1");
    put("x.csv", "filepath\ttitle\n1.png\tof 1\n");
    CHECK_OK(LIST_WITH("delimiter", "tab"));
    EXPECT(0, "1.png", "of 1");
    CHECK_FAILS(LIST_WITH("delimiter", ";;"), TDM_E_USAGE, "--delimiter ;;: is one character, or \"tab\"");
    CHECK_FAILS(LIST_WITH("delimiter", "\""), TDM_E_USAGE, "--delimiter");
    CHECK_FAILS(LIST_WITH("split_column", "fold"), TDM_E_FORMAT, "no column \"fold\"");
    put_bytes("x.csv", "filepath,title\n1.png,caf\xe9\n", 26);
    CHECK_OK(LIST_WITH("encoding", "latin-1"));
    EXPECT(0, "1.png", "caf\xc3\xa9");
}

/* Several columns of captions, of which some are empty; lists of captions in a cell. */
static void csv_several_captions(void **state)
{
    (void)state;
    put("x.csv", "filepath,one,two,three\n1.png,a,,c\n2.png,,,\n3.png,\"[\"\"x\"\", \"\"y\"\"]\",z,\n");
    CHECK_OK(LIST_WITH("caption_column", "one,two,three"));
    CHECK_EQ(list.count, 3);
    EXPECT(0, "1.png", "a", "c");
    EXPECT_NO_CAPTION(1, "2.png");
    CHECK_TRUE(list.item[1].caption_fault[0].empty);
    EXPECT(2, "3.png", "x", "y", "z");
    CHECK_FAILS(LIST_WITH("caption_column", "one,four"), TDM_E_FORMAT, "no column \"four\"");

    put("x.csv",
        "filepath\ttitle\n1.png\t[\"a cat\", \"\", \"a \\u00e9\"]\n2.png\t[laughs]\n3.png\t[]\n4.png\t[1]\n"
        "5.png\t['a', 'b']\n");
    CHECK_OK(list_again("csv", at("x.csv")));
    EXPECT(0, "1.png", "a cat", "a \xc3\xa9");
    CHECK_NOT_NULL(
        strstr(list.item[0].caption_fault[0].why, "x.csv: line 2, column \"title\": [1] (1.png, caption 2)"));
    EXPECT(1, "2.png", "[laughs]");
    EXPECT_NO_CAPTION(2, "3.png");
    EXPECT(3, "4.png", "[1]");
    EXPECT(4, "5.png", "['a', 'b']");
}

static void csv_identities_classes_and_splits(void **state)
{
    (void)state;
    put("x.csv", "filepath,title,who,what,fold\n"
                 "1.png,a,7,cat|small animal,train\n"
                 "2.png,b,9,cat,test\n"
                 "1.png,c,7,small animal|cat,train\n"
                 "1.png,d,,,train\n");
    CHECK_OK(LIST_WITH("identity_column", "who", "class_column", "what", "split_column", "fold"));
    CHECK_EQ(list.count, 2);
    EXPECT(0, "1.png", "a", "c", "d");
    for (int i = 0; i < 2; i++) CHECK_NULL(list.item[i].fault);
    CHECK_STR_EQ(list.identities.name[list.item[0].identity], "7");
    CHECK_STR_EQ(list.identities.name[list.item[1].identity], "9");
    CHECK_EQ(list.item[0].class_n, 2);
    CHECK_STR_EQ(list.classes.name[list.item[0].class_index[1]], "small animal");
    CHECK_EQ(list.item[1].class_n, 1);
    CHECK_STR_EQ(list.item[0].split, "train");
    CHECK_STR_EQ(list.item[1].split, "test");
    CHECK_EQ(list.left_out_key.count, 0);

    CHECK_OK(LIST_WITH("class_column", "what", "class_separator", ""));
    CHECK_STR_EQ(list.classes.name[list.item[0].class_index[0]], "cat|small animal");
    CHECK_NOT_NULL(list.item[0].fault); /* "small animal|cat" is another class then */
}

/* Rows of one image that do not agree, and labels that cannot be. */
static void csv_labels_that_cannot_be(void **state)
{
    (void)state;
    static const struct {
        const char *rows, *says;
    } wrong[] = {
        {"1.png,a,7,cat,train\n1.png,b,8,cat,train\n",
         "x.csv: line 3: 1.png: has two identities, \"7\" and \"8\""},
        {"1.png,a,7,cat,train\n1.png,b,7,dog,train\n",
         "x.csv: line 3: \"1.png\" has class \"dog\", which another row of it does not name"},
        {"1.png,a,7,cat,train\n1.png,b,7,cat,test\n",
         "x.csv: line 3: \"1.png\" is in split \"test\", another row says \"train\""},
        {"1.png,a,\xe9,cat,train\n", "x.csv: line 2, column \"who\": byte 0xE9"},
        {"1.png,a,7,\xe9,train\n", "x.csv: line 2, column \"what\": byte 0xE9"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), "filepath,title,who,what,fold\n%s", wrong[i].rows);
        put("x.csv", text);
        CHECK_OK(LIST_WITH("identity_column", "who", "class_column", "what", "split_column", "fold"));
        CHECK_EQ(list.count, 1);
        CHECK_NOT_NULL(list.item[0].fault);
        if (!strstr(list.item[0].fault, wrong[i].says)) CHECK_STR_EQ(list.item[0].fault, wrong[i].says);
    }
    put("x.csv", "filepath,title,fold\n1.png,a,\n2.png,b,../x\n3.png,c,train\n");
    CHECK_OK(LIST_WITH("split_column", "fold"));
    CHECK_EQ(list.count, 1);
    CHECK_EQ(list.fault_n, 2);
    CHECK_NOT_NULL(strstr(list.fault[0], "x.csv: line 2: its split is empty"));
    CHECK_NOT_NULL(strstr(list.fault[1], "x.csv: line 3: \"../x\" cannot be the name of a split"));
}

/* Empty cells: images without a caption, captions without an image, and neither. */
static void csv_unpaired_rows(void **state)
{
    (void)state;
    put("pairs.csv", "filepath,title\n1.png,\n,\"a caption\nof two lines\"\n1.png,a cat\n,another\n,\n");
    CHECK_OK(list_again("csv", at("pairs.csv")));
    CHECK_EQ(list.count, 4);
    EXPECT(0, "1.png", "a cat");
    CHECK_EQ(list.item[0].caption_fault[0].number, 1);
    EXPECT(1, "pairs.csv:3", "a caption\nof two lines");
    EXPECT(2, "pairs.csv:6", "another");
    EXPECT_NO_CAPTION(3, "pairs.csv:7");
    CHECK_NOT_NULL(list.item[0].path);
    for (int i = 1; i < 4; i++) CHECK_NULL(list.item[i].path);
}

/* ---- karpathy ---- */

static const char karpathy[] =
    "{\"dataset\": \"coco\", \"images\": [\n"
    "{\"filepath\": \"val2014\", \"filename\": \"1.jpg\", \"split\": \"test\", \"cocoid\": 391895,\n"
    " \"sentences\": [{\"raw\": \"A man.\", \"tokens\": [\"a\", \"man\"]}, {\"raw\": \" A rider. \"}]},\n"
    "{\"filename\": \"2.jpg\", \"split\": \"restval\", \"sentences\": [{\"raw\": \"caf\\u00e9\"}]},\n"
    "{\"filename\": \"3.jpg\", \"split\": \"train\", \"sentences\": []},\n"
    "{\"filename\": \"4.jpg\", \"split\": \"train\"}]}";

static void karpathy_images_and_roots(void **state)
{
    (void)state;
    put("set/dataset_coco.json", karpathy);
    char source[600];

    CHECK_OK(list_again("karpathy", at("set/dataset_coco.json"))); /* beside the file */
    CHECK_EQ(list.count, 4);
    EXPECT(0, "val2014/1.jpg", "A man.", "A rider.");
    EXPECT(1, "2.jpg", "caf\xc3\xa9");
    EXPECT_NO_CAPTION(2, "3.jpg");
    EXPECT_NO_CAPTION(3, "4.jpg");
    CHECK_STR_EQ(list.item[0].split, "test");
    CHECK_STR_EQ(list.item[1].split, "restval");
    CHECK_STR_EQ(list.item[0].path, at("set/val2014/1.jpg"));

    CHECK_OK(tdm_make_dirs(at("set/images")));
    CHECK_OK(list_again("karpathy", at("set/dataset_coco.json")));
    CHECK_STR_EQ(list.item[0].path, at("set/images/val2014/1.jpg"));

    snprintf(source, sizeof(source), "%s:/pictures", at("set/dataset_coco.json"));
    CHECK_OK(list_again("karpathy", source));
    CHECK_STR_EQ(list.item[1].path, "/pictures/2.jpg");
}

static void karpathy_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"", "is empty, not JSON"},
        {"{\"images\": [\n{\"filename\": \"1.jpg\",,}]}", "line 2"},
        {"[]", "is no Karpathy split file"},
        {"7", "is no Karpathy split file"},
        {"{}", "has no \"images\""},
        {"{\"images\": 3}", "\"images\" is not an array"},
        {"{\"images\": [{\"file_name\": \"1.jpg\", \"id\": 1}], \"annotations\": []}",
         "looks like an annotation file of COCO"},
        {"[{\"file_path\": \"1.jpg\", \"captions\": [\"a\"], \"id\": 1, \"split\": \"train\"}]",
         "looks like the list of CUHK-PEDES"},
        {"[{\"img_path\": \"1.jpg\", \"captions\": [\"a\"], \"id\": 1}]", "RSTPReid"},
        {"{\"images\": []}\n{\"images\": []}", "one document is read"},
        {"\x1f\x8b", "is compressed with gzip"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        put("wrong.json", wrong[i].text);
        CHECK_FAILS(list_again("karpathy", at("wrong.json")), TDM_E_FORMAT, "wrong.json");
        CHECK_MESSAGE(wrong[i].says);
    }
    CHECK_FAILS(list_again("karpathy", at("absent.json")), TDM_E_IO, "absent.json");
}

/* Images that cannot become samples: the others are listed. */
static void karpathy_bad_images(void **state)
{
    (void)state;
    static const char *const says[] = {
        "images[0] has no \"filename\"",
        "images[1] has no \"split\"",
        "images[2]: \"filename\" is not a string",
        "images[3]: \"filename\" is empty",
        "images[4]: \"filepath\" is not a string",
        "images[5].filename holds a NUL",
        "images[6].filename holds half of a surrogate pair",
        "images[7]: its split is empty",
        "images[8]: \"../x\" cannot be the name of a split",
    };
    put("set.json",
        "{\"images\": [3, {\"filename\": \"1.jpg\"}, {\"filename\": 7, \"split\": \"a\"},"
        "{\"filename\": \"\", \"split\": \"a\"},"
        "{\"filename\": \"1.jpg\", \"split\": \"a\", \"filepath\": []},"
        "{\"filename\": \"1\\u0000.jpg\", \"split\": \"a\"},"
        "{\"filename\": \"\\ud83d.jpg\", \"split\": \"a\"},"
        "{\"filename\": \"1.jpg\", \"split\": \"\"}, {\"filename\": \"1.jpg\", \"split\": \"../x\"},"
        "{\"filename\": \"9.jpg\", \"split\": \"a\", \"sentences\": 7},"
        "{\"filename\": \"10.jpg\", \"split\": \"a\", \"sentences\": [{\"raw\": \"of 10\"}], \"x\": NaN}]}");
    CHECK_OK(list_again("karpathy", at("set.json")));
    CHECK_EQ(list.fault_n, sizeof(says) / sizeof(says[0]));
    for (int64_t i = 0; i < list.fault_n; i++)
        if (!strstr(list.fault[i], says[i])) CHECK_STR_EQ(list.fault[i], says[i]);
    CHECK_EQ(list.count, 2);
    CHECK_NOT_NULL(
        strstr(list.item[0].fault, "images[9].sentences is neither a caption nor a list of captions"));
    EXPECT(1, "10.jpg", "of 10");
}

/* Sentences that cannot be captions: the others of their image are. Captions written in other ways. */
static void karpathy_bad_sentences_and_lists(void **state)
{
    (void)state;
    static const char *const says[] = {
        "images[0].sentences[1] has no \"raw\"",
        "images[0].sentences[2].raw (1.jpg, caption 3): the caption is empty",
        "images[0].sentences[3].raw (1.jpg, caption 4): the caption holds a zero byte",
        "images[0].sentences[4].raw holds half of a surrogate pair",
        "images[0].sentences[5].raw holds bytes that are not UTF-8",
        "images[0].sentences[6] is not a string",
    };
    put("set.json",
        "{\"images\": [{\"filename\": \"1.jpg\", \"split\": \"a\", \"sentences\": [{\"raw\": \"first\"}, "
        "{\"tokens\": []}, {\"raw\": \" \"}, {\"raw\": \"a\\u0000b\"}, {\"raw\": \"a\\ud83d\"}, "
        "{\"raw\": \"caf\xe9\"}, 7, {\"raw\": \"last\", \"bad\": \"\\ud83d\"}]},"
        "{\"filename\": \"2.jpg\", \"split\": \"a\", \"sentences\": [\"one\", \"two\"]},"
        "{\"filename\": \"3.jpg\", \"split\": \"a\", \"captions\": [\"one\", {\"caption\": \"two\"}]},"
        "{\"filename\": \"4.jpg\", \"split\": \"a\", \"caption\": \"one\"}]}");
    CHECK_OK(list_again("karpathy", at("set.json")));
    CHECK_EQ(list.count, 4);
    EXPECT(0, "1.jpg", "first", "last");
    EXPECT(1, "2.jpg", "one", "two");
    EXPECT(2, "3.jpg", "one", "two");
    EXPECT(3, "4.jpg", "one");
    CHECK_EQ(list.item[0].caption_fault_n, sizeof(says) / sizeof(says[0]));
    for (int64_t i = 0; i < list.item[0].caption_fault_n; i++)
        if (!strstr(list.item[0].caption_fault[i].why, says[i]))
            CHECK_STR_EQ(list.item[0].caption_fault[i].why, says[i]);
    for (int64_t i = 0; i < list.count; i++) CHECK_NULL(list.item[i].fault);
}

/* ---- emoji ---- */

static void emoji_artists_are_splits(void **state)
{
    (void)state;
    put("emoji.json",
        "{\"concepts\": [{\"label\": \"hot dog\", \"tags\": [\"food\", \"sausage\"], \"subgroup\": \"food\"},"
        "{\"label\": \"cat\", \"tags\": [], \"subgroup\": \"animal\"}],"
        "\"images\": [{\"file\": \"google/1.png\", \"artist\": \"google\", \"concept\": 1},"
        "{\"file\": \"google/0.png\", \"artist\": \"google\", \"concept\": 0},"
        "{\"file\": \"fluent/0.png\", \"artist\": \"fluent\", \"concept\": 0}]}");
    CHECK_OK(list_again("emoji", dir));
    CHECK_EQ(list.count, 3);
    EXPECT(0, "google/1.png", "cat");
    EXPECT(1, "google/0.png", "hot dog");
    EXPECT(2, "fluent/0.png", "hot dog");
    CHECK_STR_EQ(list.item[2].split, "fluent");
    CHECK_EQ(list.item[0].identity, 1);
    CHECK_EQ(list.item[2].identity, 0);
    CHECK_EQ(list.classes.count, 2);
    CHECK_STR_EQ(list.classes.name[list.item[2].class_index[0]], "food");
    CHECK_STR_EQ(format_named("emoji")->split, "train=google+twitter+openmoji,test=fluent");

    put("emoji.json",
        "{\"concepts\": [], \"images\": [{\"file\": \"a\", \"artist\": \"b\", \"concept\": 0}]}");
    CHECK_OK(list_again("emoji", dir));
    CHECK_EQ(list.count, 0);
    CHECK_CONTAINS(list.fault[0], "images[0]: there is no concept 0");
    put("emoji.json",
        "{\"concepts\": [{\"label\": \"x\"}], \"images\": [{\"file\": \"a\", \"artist\": \"b\", \"concept\": 0}]}");
    CHECK_OK(list_again("emoji", dir));
    CHECK_CONTAINS(list.fault[0], "emoji.json: concepts[0] has no \"subgroup\"");
    put("emoji.json", "{\"concepts\": []}");
    CHECK_FAILS(list_again("emoji", dir), TDM_E_FORMAT, "emoji.json");
    CHECK_MESSAGE("\"images\"");
}

/* ---- the table ---- */

/* The default of a row can be read by tdm_pack_format_defaults, and its type can be a flag. */
static void check_row(const tdm_pack_format *format, const tdm_option *row)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    char nothing[] = "", *end = nothing;
    CHECK_STR_NE(row->key, "");
    CHECK_EQ(strspn(row->key, letters), strlen(row->key));
    CHECK_NOT_NULL(row->help);
    CHECK_STR_NE(row->help, "");
    CHECK_NOT_NULL(row->default_text);
    CHECK_LT(row->offset, format->option_bytes);
    switch (row->type) {
    case TDM_OPTION_BOOL: CHECK_STR_EQ(row->default_text, "false"); break; /* a switch turns it on */
    case TDM_OPTION_INT: (void)strtoll(row->default_text, &end, 10); break;
    case TDM_OPTION_FLOAT: (void)strtod(row->default_text, &end); break;
    case TDM_OPTION_STRING: break;
    case TDM_OPTION_CHOICE: CHECK_GE(tdm_option_choice(row->choices, row->default_text), 0); break;
    case TDM_OPTION_STRINGS: CHECK_STR_EQ(row->default_text, ""); break;
    default: fail_msg("%s: %s has a type that is no flag", format->name, row->key);
    }
    CHECK_TRUE(end != row->default_text);
    CHECK_STR_EQ(end, "");
}

static void every_row_is_sound(void **state)
{
    (void)state;
    size_t count;
    const tdm_pack_format *const *formats = tdm_pack_formats(&count);
    for (size_t i = 0; i < count; i++) {
        const tdm_pack_format *format = formats[i];
        CHECK_TRUE(format_named(format->name) == format); /* no name twice */
        CHECK_NOT_NULL(format->help);
        CHECK_STR_NE(format->help, "");
        CHECK_EQ(format->option_count > 0, format->option_bytes > 0);
        for (size_t k = 0; k < format->option_count; k++) check_row(format, &format->options[k]);
        CHECK_FAILS(tdm_pack_list_source(format, NULL, at("absent"), &list), TDM_E_IO, "absent");
        CHECK_EQ(list.count, 0);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_list)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(csv_commas_and_quotes),
        CASE(csv_tabs_byte_order_mark_and_windows_lines),
        CASE(csv_same_name_in_two_folders),
        CASE(csv_many_rows_of_few_images),
        CASE(csv_refusals),
        CASE(csv_bad_rows),
        CASE(csv_several_captions),
        CASE(csv_identities_classes_and_splits),
        CASE(csv_labels_that_cannot_be),
        CASE(csv_columns_by_option),
        CASE(csv_unpaired_rows),
        CASE(karpathy_images_and_roots),
        CASE(karpathy_refusals),
        CASE(karpathy_bad_images),
        CASE(karpathy_bad_sentences_and_lists),
        CASE(emoji_artists_are_splits),
        CASE(every_row_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
