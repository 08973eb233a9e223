/* The sets of supervised cross-modal retrieval in their own layouts: wikipedia, pascal_sentence, nus_wide, xmedianet,
 * cmr_split. */
#include "list_case.h"

static void expect_class(int64_t item, const char *split, const char *name)
{
    CHECK_STR_EQ(list.item[item].split, split);
    CHECK_EQ(list.item[item].class_n, 1);
    CHECK_STR_EQ(list.classes.name[list.item[item].class_index[0]], name);
}

static void split_files(void **state)
{
    (void)state;
    put("c/split/train.txt", "a1:0\nb-2:2\n");
    put("c/split/valid.txt", "v:1\n");
    put("c/split/test.txt", "t:1\n\nbroken\nlost:9\n");
    put("c/text/a1.json", "\"The black-and-white 2 cats, [sic].\"");
    put("c/text/b-2.json", "\"b\"");
    put("c/text/v.json", "\"v\"");
    put("c/text/t.json", "[\"no string\"]");
    put("c/text/lost.json", "\"l\"");
    for (int i = 0; i < 4; i++)
        put((const char *[]){"c/wiki_image/a1.jpg", "c/wiki_image/b-2.jpg", "c/wiki_image/v.jpg",
                             "c/wiki_image/t.jpg"}[i],
            "x");
    CHECK_OK(list_with("cmr_split", "c", (const char *const[]){NULL}));
    CHECK_EQ(list.count, 5);
    EXPECT(0, "a1", "The black-and-white 2 cats, [sic].");
    EXPECT(1, "b-2", "b");
    expect_class(0, "train", "0");
    expect_class(1, "train", "2");
    expect_class(2, "val", "1");
    CHECK_EQ(list.item[3].caption_fault_n, 1);
    CHECK_CONTAINS(list.item[4].fault, "there is no image");
    CHECK_EQ(list.fault_n, 1);
    CHECK_CONTAINS(list.fault[0], "test.txt: line 3: \"broken\"");
    put("c/names", "art\nbiology\nhistory\n");
    char names[512];
    snprintf(names, sizeof names, "%s", at("c/names"));
    CHECK_OK(list_with("cmr_split", "c", (const char *const[]){"class_list", names, "clean", "cmr", NULL}));
    EXPECT(0, "a1", "The blackandwhite  cats sic");
    expect_class(1, "train", "history");
    CHECK_EQ(list.classes.count, 3);
    put("c/split/test.txt", "v:3\n");
    CHECK_OK(list_with("cmr_split", "c", (const char *const[]){"class_list", names, NULL}));
    CHECK_CONTAINS(list.item[3].fault, "class 3 is not from 0 to 2");
    CHECK_OK(list_with("cmr_split", "c", (const char *const[]){"label_base", "1", NULL}));
    CHECK_CONTAINS(list.item[0].fault, "class 0 is not from 1");
    expect_class(1, "train", "2");
    CHECK_EQ(list.item[1].class_index[0], 1);
}

/* A line that is too long is named, never cut; the lines behind it count. */
static void a_line_that_is_too_long(void **state)
{
    (void)state;
    char lines[2048];
    memset(lines, 'a', sizeof lines);
    memcpy(lines + 1500, ":0\na1:0\n", 9);
    put("c/split/train.txt", lines);
    put("c/text/a1.json", "\"text\"");
    put("c/wiki_image/a1.jpg", "x");
    CHECK_OK(list_again("cmr_split", at("c")));
    CHECK_EQ(list.count, 1);
    CHECK_STR_EQ(list.item[0].split, "train");
    CHECK_EQ(list.fault_n, 1);
    CHECK_CONTAINS(list.fault[0], "line 1: is longer than 1000 bytes");
}

static void wikipedia(void **state)
{
    (void)state;
    put("w/trainset_txt_img_cat.list", "t-1\tabc\t10\nt-2\tdef\t1\n");
    put("w/testset_txt_img_cat.list", "t-3\tghi\t11\n");
    put("w/texts/t-1.xml",
        "<document><text>\nShips &amp; <b>boats</b>\nof war &unknown;\n</text><x>no</x></document>");
    put("w/texts/t-2.xml", "Plain");
    put("w/texts/t-3.xml", "<text>t</text>");
    put("w/images/warfare/abc.jpg", "x");
    put("w/images/art/def.jpg", "x");
    CHECK_OK(list_with("wikipedia", "w", (const char *const[]){NULL}));
    CHECK_EQ(list.count, 3);
    EXPECT(0, "abc", "Ships & boats of war &unknown;");
    EXPECT(1, "def", "Plain");
    expect_class(0, "train", "warfare");
    expect_class(1, "train", "art");
    CHECK_EQ(list.classes.count, 10);
    CHECK_NOT_NULL(list.item[2].fault);
}

static void pascal(void **state)
{
    (void)state;
    put("p/dataset/bird/2.jpg", "x");
    put("p/dataset/aeroplane/1.jpg", "x");
    put("p/sentence/aeroplane/1.txt", "One.\nTwo.\n");
    put("p/sentence/bird/2.txt", "Three.\n");
    CHECK_OK(list_with("pascal_sentence", "p", (const char *const[]){NULL}));
    EXPECT(0, "aeroplane/1.jpg", "One.", "Two.");
    EXPECT(1, "bird/2.jpg", "Three.");
    expect_class(0, "", "aeroplane");
    expect_class(1, "", "bird");
}

/* Five images; b has both classes that are listed below, d none, e is of no split. */
static void put_nus_wide(void)
{
    put("n/ImageList/Imagelist.txt",
        "sky\\0001_11.jpg\r\nsky\\0002_22.jpg\r\ndog\\0001_33.jpg\r\ndog\\0002_44.jpg\r\ndog\\0003_55.jpg\r\n");
    put("n/ImageList/TrainImagelist.txt", "sky\\0001_11.jpg\r\nsky\\0002_22.jpg\r\ndog\\0002_44.jpg\r\n");
    put("n/ImageList/TestImagelist.txt", "dog\\0001_33.jpg\r\n");
    put("n/Groundtruth/AllLabels/Labels_dog.txt", "0\n1\n1\n0\n1\n");
    put("n/Groundtruth/AllLabels/Labels_sky.txt", "1\n1\n0\n0\n0\n");
    put("n/Groundtruth/AllLabels/Labels_sun.txt", "1\n0\n0\n1\n0\n");
    put("n/NUS_WID_Tags/All_Tags.txt", "11 blue  Sky sun \n22 dog\n33 \n44 evening\n55 puppy\n");
    put("n/Concepts81.txt", "dog\nsky\nsun\n");
    put("n/two", "sky\ndog\n");
    put("n/tags", "sun\nblue\n");
    put("n/Flickr/sky/0001_11.jpg", "x");
    put("n/Flickr/sky/0002_22.jpg", "x");
}

static void nus_wide(void **state)
{
    (void)state;
    put_nus_wide();
    char two[512], tags[512];
    snprintf(two, sizeof two, "%s", at("n/two"));
    snprintf(tags, sizeof tags, "%s", at("n/tags"));
    /* one class each; what has none or several is counted */
    CHECK_OK(list_with("nus_wide", "n", (const char *const[]){"class_list", two, NULL}));
    CHECK_EQ(list.count, 2);
    EXPECT(0, "sky/0001_11.jpg", "blue Sky sun");
    expect_class(0, "train", "sky");
    CHECK_EQ(list.item[0].class_index[0], 0);
    CHECK_NULL(list.item[0].fault);
    EXPECT_NO_CAPTION(1, "dog/0001_33.jpg"); /* no tags, and the image is not there */
    CHECK_TRUE(list.item[1].caption_fault[0].empty);
    CHECK_CONTAINS(list.item[1].fault, "there is no image");
    expect_class(1, "test", "dog");
    CHECK_EQ(left_out("images with several of the classes", ".jpg"), 1);
    CHECK_EQ(left_out("images with none of the classes", ".jpg"), 1);
    CHECK_EQ(left_out("images that are neither of train nor of test", ".jpg"), 1);
    CHECK_EQ(list.fault_n, 0);
    /* several classes, all of the set's; only some tags */
    CHECK_OK(list_with("nus_wide", "n", (const char *const[]){"labels", "several", "tag_list", tags, NULL}));
    CHECK_EQ(list.count, 4);
    CHECK_EQ(list.classes.count, 3);
    EXPECT(0, "sky/0001_11.jpg", "blue sun");
    CHECK_EQ(list.item[0].class_n, 2);
    CHECK_EQ(list.item[0].class_index[0], 1);
    CHECK_EQ(list.item[0].class_index[1], 2);
    EXPECT_NO_CAPTION(1, "sky/0002_22.jpg");
    CHECK_EQ(list.item[1].class_n, 2);
    expect_class(3, "train", "sun");
}

static void nus_wide_that_does_not_fit(void **state)
{
    (void)state;
    put_nus_wide();
    put("n/NUS_WID_Tags/All_Tags.txt", "11 a\n23 b\n33 c\n44 d\n55 e\n");
    put("n/ImageList/TestImagelist.txt", "sky\\0001_11.jpg\ncat\\1_1.jpg\n");
    CHECK_OK(list_with("nus_wide", "n", (const char *const[]){"labels", "several", NULL}));
    CHECK_CONTAINS(list.item[1].caption_fault[0].why, "line 2: \"23\" is not the number of sky/0002_22.jpg");
    CHECK_EQ(list.fault_n, 2);
    CHECK_CONTAINS(list.fault[0], "TestImagelist.txt: line 1: sky/0001_11.jpg is of split train already");
    CHECK_CONTAINS(list.fault[1], "line 2: Imagelist.txt has no cat/1_1.jpg");
    put("n/Groundtruth/AllLabels/Labels_sky.txt", "1\n1\n0\n0\n");
    CHECK_FAILS(list_again("nus_wide", at("n")), TDM_E_FORMAT,
                "Labels_sky.txt: has 4 lines, Imagelist.txt has 5");
    put("n/Groundtruth/AllLabels/Labels_sky.txt", "1\n1\n-1130179\n0\n0\n");
    CHECK_FAILS(list_again("nus_wide", at("n")), TDM_E_FORMAT, "Labels_sky.txt: line 3 is neither 0 nor 1");
    put("n/Concepts81.txt", "cow\n");
    CHECK_FAILS(list_again("nus_wide", at("n")), TDM_E_IO, "Labels_cow.txt");
    CHECK_OK(tdm_remove_tree(at("n/ImageList")));
    CHECK_FAILS(list_again("nus_wide", at("n")), TDM_E_IO, "has no ImageList/Imagelist.txt");
}

static void xmedianet(void **state)
{
    (void)state;
    put("x/img_train_list.txt", "img/a.jpg 1\nimg/b.jpg 200\n");
    put("x/text_train_list.txt", "txt/a.txt 1\ntxt/b.txt 3\n");
    put("x/img_test_list.txt", "img/a.jpg 2\n");
    put("x/text_test_list.txt", "txt/a.txt 2\n");
    put("x/img/a.jpg", "x");
    put("x/txt/a.txt", "  Text of a. ");
    CHECK_OK(list_with("xmedianet", "x", (const char *const[]){NULL}));
    CHECK_EQ(list.count, 2);
    EXPECT(0, "img/a.jpg", "Text of a.");
    expect_class(0, "train", "1");
    CHECK_EQ(list.item[0].class_index[0], 0);
    expect_class(1, "test", "2");
    CHECK_CONTAINS(list.fault[0], "is of class 200, its text txt/b.txt of 3");
    put("x/text_test_list.txt", "");
    CHECK_FAILS(list_with("xmedianet", "x", (const char *const[]){NULL}), TDM_E_FORMAT,
                "have not as many lines");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(split_files, set_up, tear_down_list),
        cmocka_unit_test_setup_teardown(a_line_that_is_too_long, set_up, tear_down_list),
        cmocka_unit_test_setup_teardown(wikipedia, set_up, tear_down_list),
        cmocka_unit_test_setup_teardown(pascal, set_up, tear_down_list),
        cmocka_unit_test_setup_teardown(nus_wide, set_up, tear_down_list),
        cmocka_unit_test_setup_teardown(nus_wide_that_does_not_fit, set_up, tear_down_list),
        cmocka_unit_test_setup_teardown(xmedianet, set_up, tear_down_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
