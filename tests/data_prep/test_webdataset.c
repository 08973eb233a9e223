/* The reader of tar files: what it lists, names and leaves out. No image is decoded here. */
#include "list_case.h"

/* The item's piece of its file is `text`. */
static void expect_piece(int64_t i, const char *text)
{
    const tdm_pack_item *item = &list.item[i];
    tdm_text file = {0};
    CHECK_EQ(item->bytes, strlen(text));
    CHECK_OK(tdm_read_file(item->path, &file));
    CHECK_TRUE(item->offset > 0);
    CHECK_TRUE(item->offset + item->bytes <= (int64_t)file.length);
    CHECK_MEM_EQ(file.data + item->offset, text, strlen(text));
    tdm_text_free(&file);
}

static void webdataset_samples(void **state)
{
    (void)state;
    int (*const format[])(struct archive *) = {archive_write_set_format_ustar, archive_write_set_format_pax,
                                               archive_write_set_format_gnutar};
    char deep[256] = "";
    for (int i = 0; i < 8; i++)
        strcat(deep, "a-folder-with-a-name/"); /* needs a header of its own in gnutar */
    for (size_t i = 0; i < sizeof(format) / sizeof(format[0]); i++) {
        char image[300], caption[300];
        make_tar("set.tar", format[i]);
        make_tar_file("000.jpg", "the first image");
        make_tar_file("000.txt", "a caption\n");
        make_tar_file("._001.png", "a file manager's shadow of the next");
        make_tar_file("001.json", "{\"text\": \"of json\", \"id\": 7}");
        make_tar_file("001.png",
                      "image two, longer than one block of a tar file: ................................"
                      "..................................................................................."
                      "..................................................................................."
                      "..................................................................................."
                      "..................................................................................."
                      "...................................................................................");
        make_tar_file("001.cls", "3");
        make_tar_file("README", "no part of a sample");
        make_tar_file("x.y/002.caption.txt", "no image of this key");
        make_tar_file("x.y/003.webp", "three");
        make_tar_file("x.y/003.json", "{\"caption\": \"text beats json\"}");
        make_tar_file("x.y/003.txt", "text");
        snprintf(image, sizeof(image), "%s004.jpeg", deep);
        snprintf(caption, sizeof(caption), "%s004.txt", deep);
        make_tar_file(image, "four");
        make_tar_file(caption, "deep");
        make_tar_file("5.jpg", "five");
        make_tar_file("5.json", "{\"width\": 3}");
        make_tar_file("6.json", "{\"caption\": null, \"text\": \"of json, without an image\"}");
        make_tar_file("7.json", "{\"width\": 3}");
        make_tar_end();

        CHECK_OK(list_again("webdataset", at("set.tar")));
        CHECK_EQ(list.count, 7);
        EXPECT(0, "000.jpg", "a caption");
        EXPECT(1, "001.png", "of json");
        EXPECT(2, "x.y/002.caption.txt", "no image of this key");
        EXPECT(3, "x.y/003.webp", "text");
        EXPECT(4, image, "deep");
        EXPECT_NO_CAPTION(5, "5.jpg");
        EXPECT(6, "6.json", "of json, without an image");
        expect_piece(0, "the first image");
        expect_piece(3, "three");
        expect_piece(4, "four");
        expect_piece(5, "five");
        CHECK_NULL(list.item[2].path);
        CHECK_NULL(list.item[6].path);
    }
}

static void webdataset_names_beyond_ascii(void **state)
{
    (void)state;
    make_tar("set.tar", archive_write_set_format_ustar);
    make_tar_file("caf\xc3\xa9.jpg", "image");
    make_tar_file("caf\xc3\xa9.txt", "coffee");
    make_tar_end();
    CHECK_OK(list_again("webdataset", at("set.tar")));
    CHECK_EQ(list.count, 1);
    EXPECT(0, "caf\xc3\xa9.jpg", "coffee");
}

static void webdataset_refusals(void **state)
{
    (void)state;
    put("text.tar", "this is no tar file, but long enough to be looked at by a reader of tar files");
    CHECK_FAILS(list_again("webdataset", at("text.tar")), TDM_E_FORMAT, "text.tar");
    CHECK_MESSAGE("tar");
    CHECK_FAILS(list_again("webdataset", at("absent.tar")), TDM_E_IO, "absent.tar");
}

static void webdataset_compressed_is_refused(void **state)
{
    (void)state;
    made_tar = archive_write_new();
    archive_write_set_format_ustar(made_tar);
    CHECK_EQ(archive_write_add_filter_gzip(made_tar), ARCHIVE_OK);
    CHECK_EQ(archive_write_open_filename(made_tar, at("set.tar.gz")), ARCHIVE_OK);
    make_tar_file("1.jpg", "a");
    make_tar_file("1.txt", "a");
    make_tar_end();
    CHECK_FAILS(list_again("webdataset", at("set.tar.gz")), TDM_E_FORMAT, "set.tar.gz");
    CHECK_MESSAGE("is compressed with gzip");
    CHECK_MESSAGE("tar xzf");
}

/* Item i is bad, and the message says so. */
static void expect_fault(int64_t i, const char *says)
{
    CHECK_LT(i, list.count);
    CHECK_NOT_NULL(list.item[i].fault);
    CHECK_CONTAINS(list.item[i].fault, says);
}

static void expect_lost(int64_t i, const char *says)
{
    CHECK_LT(i, list.count);
    CHECK_EQ(list.item[i].caption_fault_n, 1);
    CHECK_CONTAINS(list.item[i].caption_fault[0].why, says);
}

static const char unused[] = "members that are not used";

/* A key's members: names and data, up to NULL. */
static void make_set(const char *const *member)
{
    make_tar("set.tar", archive_write_set_format_pax);
    for (; *member; member += 2) make_tar_file(member[0], member[1]);
    make_tar_end();
}
#define MAKE_SET(...) make_set((const char *const[]){__VA_ARGS__, NULL})
#define WEB_WITH(...) list_with("webdataset", "set.tar", (const char *const[]){__VA_ARGS__, NULL})

static void webdataset_two_images_of_a_key(void **state)
{
    (void)state;
    MAKE_SET("1.jpg", "plain", "1.seg.png", "mask", "1.txt", "one",   /* the plain one */
             "2.jpg", "a", "2.png", "b", "2.txt", "two",              /* both are plain */
             "3.left.jpg", "a", "3.right.jpg", "b", "3.txt", "three", /* none is */
             "4.only.webp", "four", "4.txt", "four",                  /* no doubt */
             "5.jpg", "five", "5.svg", "<svg>", "5.txt", "five");     /* one decodes */
    CHECK_OK(list_again("webdataset", at("set.tar")));
    CHECK_EQ(list.count, 5);
    EXPECT(0, "1.jpg", "one");
    expect_piece(0, "plain");
    expect_fault(1, "set.tar: 2.jpg and 2.png are both its image: --image-field jpg picks one");
    expect_fault(2,
                 "set.tar: 3.left.jpg and 3.right.jpg are both its image: --image-field left.jpg picks one");
    expect_piece(3, "four");
    expect_piece(4, "five");
    CHECK_EQ(left_out(unused, ".svg"), 1);
    CHECK_EQ(left_out(unused, ".png"), 2);
    CHECK_OK(WEB_WITH("image_field", "right.jpg,PNG;jpg,only.webp"));
    CHECK_EQ(list.count, 5);
    for (int i = 0; i < 5; i++) CHECK_NULL(list.item[i].fault);
    EXPECT(1, "2.png", "two");
    EXPECT(2, "3.right.jpg", "three");
}

static void webdataset_second_sample_of_a_key(void **state)
{
    (void)state;
    MAKE_SET("1.jpg", "a", "1.txt", "first", "1.jpg", "b", "1.txt", "second", /* at once */
             "2.jpg", "c", "2.txt", "two", "3.jpg", "d", "3.txt", "three",    /* and later */
             "2.jpg", "e", "2.txt", "again");
    CHECK_OK(list_again("webdataset", at("set.tar")));
    CHECK_EQ(list.count, 5);
    EXPECT(0, "1.jpg", "first");
    expect_piece(0, "a");
    expect_fault(1, "set.tar: 1.jpg: a second sample of key \"1\"");
    EXPECT(2, "2.jpg", "two");
    EXPECT(3, "3.jpg", "three");
    expect_fault(4, "set.tar: 2.jpg: a second sample of key \"2\"");
    for (int i = 0; i < 4; i++) CHECK_EQ(list.item[i].fault != NULL, i == 1);
}

/* Unsorted: all images, then all texts. */
static void webdataset_members_apart(void **state)
{
    (void)state;
    MAKE_SET("./a/1.JPG", "one", ".//a/2.Jpg", "two", "a/./1.TXT", "first", "a/x/../2.txt", "second");
    CHECK_OK(list_again("webdataset", at("set.tar")));
    CHECK_EQ(list.count, 2);
    EXPECT(0, "a/1.JPG", "first");
    EXPECT(1, "a/2.Jpg", "second");
    expect_piece(1, "two");
}

static void webdataset_json_only_where_needed(void **state)
{
    (void)state;
    char big[1 << 12];
    memset(big, 'x', sizeof(big));
    memcpy(big, "{\"pad\": \"", 9);
    strcpy(big + sizeof(big) - 3, "\"}");
    MAKE_SET("1.jpg", "a", "1.json", "{\"caption\": ", "1.txt", "one", /* broken, and not needed */
             "2.jpg", "a", "2.json", "{\"caption\": ",                 /* needed */
             "3.jpg", "a", "3.json",
             "{\"caption\": \"three\", \"p\": NaN, \"n\": 123456789012345678901234567890}", "4.jpg", "a",
             "4.JSON", "\xef\xbb\xbf{\"captions\": [\"one\", \"\", \"two\"]}", "5.jpg", "a", "5.json",
             "[\"one\", {\"raw\": \"two\"}]", "6.jpg", "a", "6.json", "{\"caption\": \"a\\u0000b\"}", "7.jpg",
             "a", "7.json", "", "8.jpg", "a", "8.json", big, "9.json", "{\"width\": 3}", "stats.json",
             "[1, 2]");
    CHECK_OK(list_again("webdataset", at("set.tar")));
    EXPECT(0, "1.jpg", "one");
    expect_lost(1, "set.tar: 2.json: line 1");
    EXPECT(2, "3.jpg", "three");
    EXPECT(3, "4.jpg", "one", "two");
    expect_lost(3, "4.JSON: captions[1]");
    EXPECT(4, "5.jpg", "one", "two");
    expect_lost(5, "6.json: caption");
    expect_lost(6, "7.json");
    EXPECT_NO_CAPTION(7, "8.jpg");
    CHECK_EQ(left_out(unused, ".json"), 2); /* 1.json, 9.json */
}

static void webdataset_captions(void **state)
{
    (void)state;
    MAKE_SET("1.jpg", "a", "1.caption", "one", "1.txt.bak", "x",          /* */
             "2.jpg", "a", "2.long.txt", "l", "2.short.txt", "s",         /* none is plain */
             "3.jpg", "a", "3.txt", "", "4.jpg", "a", "4.txt", "caf\xe9", /* empty; not UTF-8 */
             "5.jpg", "a", "5.txt", "\xff\xfex", "6.txt", "alone");       /* cut UTF-16 */
    CHECK_OK(list_again("webdataset", at("set.tar")));
    CHECK_EQ(list.count, 6);
    EXPECT(0, "1.jpg", "one");
    expect_lost(
        1, "set.tar: 2.long.txt and 2.short.txt are both its caption: --caption-field long.txt picks one");
    expect_lost(2, "set.tar: 3.txt: the caption is empty");
    expect_lost(3, "set.tar: 4.txt: the caption is not UTF-8");
    expect_lost(4, "set.tar: 5.txt: ends within a character of UTF-16LE");
    CHECK_NULL(list.item[5].path);
    CHECK_OK(WEB_WITH("caption_field", "short.txt"));
    EXPECT(1, "2.jpg", "s");
    CHECK_OK(WEB_WITH("encoding", "latin-1"));
    EXPECT(3, "4.jpg", "caf\xc3\xa9");

    MAKE_SET("1.jpg", "a", "1.json", "{\"caption\": \"no\", \"blip\": [\"yes\", \"indeed\"]}", "1.txt", "no");
    CHECK_OK(WEB_WITH("caption_field", "blip"));
    EXPECT(0, "1.jpg", "yes", "indeed");
}

static void webdataset_identities_classes_splits(void **state)
{
    (void)state;
    MAKE_SET("1.jpg", "a", "1.cls", "3\n", "1.json",
             "{\"person\": \"ada\", \"kind\": [\"cat\", \"pet\"], \"part\": \"val\"}", "2.jpg", "a", "2.cls",
             "cat|dog", "2.json", "{\"person\": 7, \"kind\": \"cat\", \"part\": \"a/b\"}", "3.jpg", "a",
             "3.id", " bob \n", "3.json", "{\"person\": [1], \"kind\": 2.5}", "4.jpg", "a", "4.txt", "x");
    CHECK_OK(list_again("webdataset", at("set.tar"))); /* .cls without an option */
    CHECK_EQ(list.classes.count, 3);
    CHECK_STR_EQ(list.classes.name[list.item[0].class_index[0]], "3");
    CHECK_EQ(list.item[1].class_n, 2);
    CHECK_EQ(list.item[2].class_n, 0);
    CHECK_OK(WEB_WITH("identity_field", "person", "class_field", "kind"));
    CHECK_STR_EQ(list.identities.name[list.item[0].identity], "ada");
    CHECK_STR_EQ(list.identities.name[list.item[1].identity], "7");
    CHECK_EQ(list.item[0].class_n, 2);
    CHECK_STR_EQ(list.classes.name[list.item[0].class_index[1]], "pet");
    expect_fault(2, "3.json: person");
    expect_fault(3, "set.tar: 4.jpg: has no \"person\" (--identity-field)");
    CHECK_OK(WEB_WITH("identity_field", "id"));
    CHECK_STR_EQ(list.identities.name[list.item[2].identity], "bob");
    CHECK_OK(WEB_WITH("split_field", "part"));
    CHECK_STR_EQ(list.item[0].split, "val");
    expect_fault(1, "cannot be the name of a split");
    expect_fault(3, "has no text \"part\" (--split-field)");
    CHECK_FAILS(WEB_WITH("class_field", "knid"), TDM_E_FORMAT,
                "set.tar: no sample has \"knid\" (--class-field)");
}

static void webdataset_foreign_members(void **state)
{
    (void)state;
    MAKE_SET("1.jpg", "a", "1.txt", "one", "1.npy", "x", "1.pickle", "x", "2.npy", "x", "README", "x",
             ".DS_Store", "x", "a/._1.jpg", "x");
    CHECK_OK(list_again("webdataset", at("set.tar")));
    CHECK_EQ(list.count, 1);
    CHECK_EQ(left_out(unused, ".npy"), 2);
    CHECK_EQ(left_out(unused, ".pickle"), 1);
    CHECK_EQ(left_out("members without a key", ""), 1);
    CHECK_EQ(left_out("hidden files", "") + left_out("hidden files", ".jpg"), 2);
}

/* Types by content, where no ending says more. */
static void webdataset_types_by_content(void **state)
{
    (void)state;
    MAKE_SET("1.img", "GIF89a....", "1.txt", "one", "2.tif", "II*", "2.txt", "two", "3.data", "no image",
             "3.txt", "three", "LICENSE.pdf", "%PDF-1.4", "5.pdf", "%PDF-1.4", "5.txt", "of a PDF", "6.jpg",
             "a", "6.txt", "six", "6.cls", "\x80\x04\xff");
    CHECK_OK(list_again("webdataset", at("set.tar")));
    CHECK_EQ(list.count, 5);
    EXPECT(3, "5.pdf", "of a PDF");
    CHECK_EQ(left_out(unused, ".pdf"), 1); /* no image where no text says so */
    EXPECT(4, "6.jpg", "six");
    CHECK_NULL(list.item[4].fault);
    CHECK_EQ(left_out("members called .cls that are no class", ".cls"), 1);
    EXPECT(0, "1.img", "one");
    expect_piece(0, "GIF89a....");
    EXPECT(1, "2.tif", "two"); /* for the decoder to refuse by name */
    CHECK_NULL(list.item[2].path);
    CHECK_EQ(left_out(unused, ".data"), 1);
}

static void webdataset_empty_and_cut(void **state)
{
    (void)state;
    put("zero.tar", "");
    CHECK_OK(list_again("webdataset", at("zero.tar")));
    CHECK_EQ(list.count + list.fault_n, 0);
    make_tar("set.tar", archive_write_set_format_ustar);
    make_tar_end();
    CHECK_OK(list_again("webdataset", at("set.tar")));
    CHECK_EQ(list.count + list.fault_n, 0);

    char image[4000];
    memset(image, 'x', sizeof(image) - 1);
    image[sizeof(image) - 1] = '\0';
    make_tar("set.tar", archive_write_set_format_ustar);
    make_tar_file("1.jpg", "a");
    make_tar_file("1.txt", "a");
    make_tar_file("2.txt", "b");
    make_tar_file("2.jpg", image);
    make_tar_file("3.jpg", "c");
    make_tar_end();
    tdm_text file = {0};
    CHECK_OK(tdm_read_file(at("set.tar"), &file));
    put_bytes("cut.tar", file.data, 7 * 512 + 1000); /* within the image's data */
    CHECK_OK(list_again("webdataset", at("cut.tar")));
    CHECK_EQ(list.count, 2);
    EXPECT(0, "1.jpg", "a");
    expect_fault(1, "cut.tar: 2.jpg: is cut short");
    CHECK_EQ(list.fault_n, 1);
    CHECK_CONTAINS(list.fault[0], "cut.tar: is cut short or damaged");

    put_bytes("cut.tar", file.data, 6 * 512); /* between two members */
    CHECK_OK(list_again("webdataset", at("cut.tar")));
    CHECK_EQ(list.count, 2);
    CHECK_EQ(list.fault_n, 0);
    CHECK_EQ(left_out("tar files that end without a mark, and may have been cut there", ".tar"), 1);

    memset(file.data + 6 * 512 + 148, '9', 8); /* the checksum of the fourth header */
    put_bytes("cut.tar", file.data, file.length);
    CHECK_OK(list_again("webdataset", at("cut.tar")));
    EXPECT(0, "1.jpg", "a");
    CHECK_EQ(list.fault_n, 1);
    tdm_text_free(&file);
}

/* As `cat a.tar b.tar` makes them. */
static void webdataset_joined_tars(void **state)
{
    (void)state;
    tdm_text both = {0}, one = {0};
    MAKE_SET("1.jpg", "a", "1.txt", "one");
    CHECK_OK(tdm_read_file(at("set.tar"), &both));
    MAKE_SET("2.jpg", "b", "2.txt", "two");
    CHECK_OK(tdm_read_file(at("set.tar"), &one));
    CHECK_OK(tdm_text_append(&both, one.data, one.length));
    put_bytes("set.tar", both.data, both.length);
    CHECK_OK(list_again("webdataset", at("set.tar")));
    CHECK_EQ(list.count, 2);
    EXPECT(1, "2.jpg", "two");
    expect_piece(1, "b");
    tdm_text_free(&both);
    tdm_text_free(&one);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_list)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(webdataset_samples),
        CASE(webdataset_names_beyond_ascii),
        CASE(webdataset_refusals),
        CASE(webdataset_compressed_is_refused),
        CASE(webdataset_two_images_of_a_key),
        CASE(webdataset_second_sample_of_a_key),
        CASE(webdataset_members_apart),
        CASE(webdataset_json_only_where_needed),
        CASE(webdataset_captions),
        CASE(webdataset_identities_classes_splits),
        CASE(webdataset_foreign_members),
        CASE(webdataset_types_by_content),
        CASE(webdataset_empty_and_cut),
        CASE(webdataset_joined_tars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
