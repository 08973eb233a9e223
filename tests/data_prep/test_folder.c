/* The reader of folders: what it lists, names and leaves out. No image is decoded here. */
#include "list_case.h"

#include <sys/stat.h>
#include <unistd.h>

static void folder_is_sorted_and_recursive(void **state)
{
    (void)state;
    put("raw/b.png", "image");
    put("raw/b.txt", "first\n\n  second  \r\n\t\nthird");
    put("raw/a/z.JPG", "image");
    put("raw/a/z.txt", "in a folder\n");
    put("raw/B.webp", "image"); /* upper case sorts first, in every locale */
    put("raw/B.txt", "capital");
    put("raw/a.b.png", "image");
    put("raw/a.b.txt", "two dots");
    put("raw/lonely.png", "image");
    put("raw/notes.md", "no image");
    put("raw/.hidden.png", "image");
    CHECK_OK(list_again("folder", at("raw")));
    CHECK_EQ(list.count, 5);
    EXPECT(0, "B.webp", "capital");
    EXPECT(1, "a/z.JPG", "in a folder");
    EXPECT(2, "a.b.png", "two dots");
    EXPECT(3, "b.png", "first", "second", "third");
    EXPECT_NO_CAPTION(4, "lonely.png");
    CHECK_STR_EQ(list.item[1].path, at("raw/a/z.JPG"));
}

/* Texts without an image; endings in any case. */
static void folder_unpaired_files(void **state)
{
    (void)state;
    put("raw/A.JPG", "image");
    put("raw/A.TXT", "of A\n");
    put("raw/a.x.png", "image");
    put("raw/a.txt", "\xef\xbb\xbf"
                     "alone\nand again\n");
    put("raw/b.png/c.txt", "b.png is a folder, and so no image of b.txt");
    put("raw/b.txt", "of no folder");
    put("raw/z.txt", "\n");
    CHECK_OK(list_again("folder", at("raw")));
    CHECK_EQ(list.count, 6);
    EXPECT(0, "A.JPG", "of A");
    EXPECT(1, "a.txt", "alone", "and again");
    EXPECT_NO_CAPTION(2, "a.x.png");
    EXPECT(3, "b.png/c.txt", "b.png is a folder, and so no image of b.txt");
    EXPECT(4, "b.txt", "of no folder");
    EXPECT_NO_CAPTION(5, "z.txt");
    CHECK_NULL(list.item[1].path);
    CHECK_NOT_NULL(list.item[2].path);
}

/* What is wrong with one file's text is that sample's fault, not the folder's. */
static void folder_fault_of_one_sample(void **state)
{
    (void)state;
    put("raw/1.png", "image");
    put_bytes("raw/1.txt", "a\0 \0b\0", 6);
    put("raw/2.png", "image");
    put("raw/2.txt", "two");
    CHECK_OK(list_again("folder", at("raw")));
    CHECK_EQ(list.count, 2);
    CHECK_EQ(list.item[0].caption_fault_n, 1);
    CHECK_CONTAINS(list.item[0].caption_fault[0].why, "1.txt");
    CHECK_CONTAINS(list.item[0].caption_fault[0].why, "UTF-16");
    CHECK_EQ(list.item[1].caption_fault_n, 0);
    EXPECT(1, "2.png", "two");
}

static void folder_refusals(void **state)
{
    (void)state;
    CHECK_FAILS(list_again("folder", at("absent")), TDM_E_IO, "absent");
    put("file", "no folder");
    CHECK_FAILS(list_again("folder", at("file")), TDM_E_IO, "file");
    CHECK_OK(tdm_make_dirs(at("loop")));
    CHECK_EQ(symlink(".", at("loop/again")), 0); /* ends, and says why */
    CHECK_OK(list_again("folder", at("loop")));
    CHECK_EQ(list.fault_n, 1);
    CHECK_CONTAINS(list.fault[0], "loop/again: is a link to a folder that it stands in");
}

static const char foreign[] = "files that are neither an image nor captions";

/* Whatever is no image and no text is counted by its ending. */
static void folder_counts_what_it_leaves_out(void **state)
{
    (void)state;
    put("raw/a.png", "image");
    put("raw/a.txt", "a\n");
    put("raw/notes.md", "no image");
    put("raw/b/NOTES.MD", "no image");
    put("raw/b/list.json", "{}");
    put("raw/b/checksums", "no ending");
    put("raw/.hidden.png", "image");
    put("raw/.git/x.png", "image");
    CHECK_EQ(mkfifo(at("raw/pipe"), 0600), 0); /* is not opened, which would wait for ever */
    CHECK_EQ(mkfifo(at("raw/pipe.png"), 0600), 0);
    CHECK_OK(list_again("folder", at("raw")));
    CHECK_EQ(list.count, 1);
    CHECK_EQ(list.fault_n, 0);
    CHECK_EQ(left_out(foreign, ".md"), 2);
    CHECK_EQ(left_out(foreign, ".json"), 1);
    CHECK_EQ(left_out(foreign, ""), 2);
    CHECK_EQ(left_out(foreign, ".png"), 1);
    CHECK_EQ(left_out("hidden files and folders", ".png") + left_out("hidden files and folders", ""), 2);
}

static const char png[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

/* An ending that says nothing, or none: the content decides. */
static void folder_tells_types_by_content(void **state)
{
    (void)state;
    put_bytes("raw/a", png, sizeof(png));
    put("raw/a.txt", "without an ending\n");
    put_bytes("raw/b.data", png, sizeof(png));
    put("raw/b.txt", "a strange ending\n");
    put_bytes("raw/IMG_2020.01.05", png, sizeof(png)); /* .05 is no ending */
    put("raw/IMG_2020.01.05.txt", "a date\n");
    put("raw/c.jfif", "x");
    put("raw/c.TXT", "known by its ending\n");
    put("raw/d.tif", "x"); /* for the decoder to refuse by name */
    put("raw/d.txt", "of d\n");
    put("raw/e.data", "not an image");
    put("raw/LICENSE.pdf", "%PDF-1.4"); /* no image where no text says so */
    put("raw/f.pdf", "%PDF-1.4");
    put("raw/f.txt", "of f\n");
    CHECK_OK(list_again("folder", at("raw")));
    CHECK_EQ(list.count, 6);
    EXPECT(5, "f.pdf", "of f");
    CHECK_EQ(left_out(foreign, ".pdf"), 1);
    EXPECT(0, "IMG_2020.01.05", "a date");
    EXPECT(1, "a", "without an ending");
    EXPECT(2, "b.data", "a strange ending");
    EXPECT(3, "c.jfif", "known by its ending");
    EXPECT(4, "d.tif", "of d");
    CHECK_EQ(left_out(foreign, ".data"), 1);
}

static void folder_texts_of_one_image(void **state)
{
    (void)state;
    put("raw/a.png", "image");
    put("raw/a.webp", "image"); /* two images may share a text */
    put("raw/a.caption", "of the other tool\n");
    put("raw/a.txt", "of a\n");
    put("raw/b.jpg", "image");
    put("raw/b.caption", "of b\n");
    put("raw/c.png", "image");
    put("raw/c.0.txt", "of no c\n"); /* stands between c and c.png */
    CHECK_OK(list_again("folder", at("raw")));
    CHECK_EQ(list.count, 5);
    EXPECT(0, "a.png", "of a");
    EXPECT(1, "a.webp", "of a");
    EXPECT(2, "b.jpg", "of b");
    EXPECT(3, "c.0.txt", "of no c");
    EXPECT_NO_CAPTION(4, "c.png");
    CHECK_EQ(left_out("texts beside another one of the same image", ".caption"), 1);
}

static void folder_links(void **state)
{
    (void)state;
    put("other/x.png", "image");
    put("other/x.txt", "linked\n");
    put("raw/a.txt", "of a\n");
    CHECK_EQ(symlink("../other/x.png", at("raw/a.png")), 0);
    CHECK_EQ(symlink("../other", at("raw/b")), 0);
    CHECK_EQ(symlink("nowhere", at("raw/c.png")), 0); /* listed: reading it fails and names it */
    CHECK_EQ(symlink("nowhere", at("raw/c.txt")), 0);
    CHECK_EQ(symlink("nowhere", at("raw/d")), 0);
    CHECK_OK(list_again("folder", at("raw")));
    CHECK_EQ(list.count, 3);
    EXPECT(0, "a.png", "of a");
    EXPECT(1, "b/x.png", "linked");
    EXPECT_NO_CAPTION(2, "c.png");
    CHECK_CONTAINS(list.item[2].caption_fault[0].why, "c.txt");
    CHECK_EQ(left_out(foreign, ""), 1);
}

/* A folder below that cannot be read is named, and the others are listed. */
static void folder_that_cannot_be_read(void **state)
{
    (void)state;
    char deep[512] = "raw";
    for (int i = 0; i < 70; i++) strcat(deep, "/d");
    put("raw/x.png", "image");
    CHECK_OK(tdm_make_dirs(at(deep)));
    CHECK_OK(list_again("folder", at("raw")));
    CHECK_EQ(list.count, 1);
    CHECK_EQ(list.fault_n, 1);
    CHECK_CONTAINS(list.fault[0], "folders are nested more than 64 deep");
    CHECK_OK(tdm_remove_tree(at("raw")));
    put("raw/a/x.png", "image");
    put("raw/b/x.png", "image");
    CHECK_EQ(chmod(dir, 0755), 0);
    CHECK_EQ(chmod(at("raw/a"), 0), 0);
    const bool root = geteuid() == 0; /* who reads everything */
    if (root) CHECK_EQ(seteuid(65534), 0);
    const tdm_status status = list_again("folder", at("raw"));
    if (root) CHECK_EQ(seteuid(0), 0);
    CHECK_EQ(chmod(at("raw/a"), 0700), 0);
    CHECK_OK(status);
    CHECK_EQ(list.count, 1);
    CHECK_EQ(list.fault_n, 1);
    CHECK_CONTAINS(list.fault[0], "raw/a: cannot list");
}

#define FOLDER_WITH(...) list_with("folder", "raw", (const char *const[]){__VA_ARGS__, NULL})

static void folder_levels(void **state)
{
    (void)state;
    put("raw/train/cat/felix/1.png", "image");
    put("raw/train/dog/rex/1.png", "image");
    put("raw/val/cat/felix/2.png", "image");
    put("raw/val/3.png", "image"); /* stands too high */
    CHECK_OK(FOLDER_WITH("split_level", "1", "class_level", "2", "identity_level", "3"));
    CHECK_EQ(list.count, 4);
    CHECK_EQ(list.classes.count, 2);
    CHECK_EQ(list.identities.count, 2);
    static const char *const split[] = {"train", "train", "val", "val"};
    static const char *const class[] = {"cat", "dog", NULL, "cat"};
    static const char *const identity[] = {"felix", "rex", NULL, "felix"};
    for (int i = 0; i < 4; i++) {
        const tdm_pack_item *item = &list.item[i];
        CHECK_STR_EQ(item->split, split[i]);
        CHECK_EQ(item->class_n, class[i] != NULL);
        CHECK_EQ(item->fault == NULL, class[i] != NULL);
        if (!class[i]) continue;
        CHECK_STR_EQ(list.classes.name[item->class_index[0]], class[i]);
        CHECK_STR_EQ(list.identities.name[item->identity], identity[i]);
    }
    CHECK_CONTAINS(list.item[2].fault, "val/3.png: stands in no folder of level 2 (--class-level)");
    CHECK_OK(FOLDER_WITH("class_level", "1"));
    CHECK_EQ(list.classes.count, 2);
    CHECK_STR_EQ(list.classes.name[1], "val");
    CHECK_EQ(list.item[0].identity, -1);
}

/* UTF-16 is understood where it says so, and named where it does not. */
static void folder_encodings(void **state)
{
    (void)state;
    put("raw/1.png", "image");
    put_bytes("raw/1.txt",
              "\xff\xfe"
              "a\0\n\0b\0",
              8);
    put("raw/2.png", "image");
    put_bytes("raw/2.txt", "a\0 \0b\0o\0", 8);
    put("raw/3.png", "image");
    put("raw/3.txt", "caf\xe9\n");
    put("raw/4.png", "image");
    put_bytes("raw/4.txt", "one\ntw\0o\nthree", 14);
    CHECK_OK(list_again("folder", at("raw")));
    EXPECT(0, "1.png", "a", "b");
    EXPECT_NO_CAPTION(1, "2.png");
    CHECK_CONTAINS(list.item[1].caption_fault[0].why, "2.txt: has a zero byte in most characters");
    EXPECT_NO_CAPTION(2, "3.png");
    CHECK_CONTAINS(list.item[2].caption_fault[0].why, "3.txt: line 1: the caption is not UTF-8");
    EXPECT(3, "4.png", "one", "three");
    CHECK_CONTAINS(list.item[3].caption_fault[0].why, "4.txt: line 2: the caption holds a zero byte");
    CHECK_OK(FOLDER_WITH("encoding", "latin-1"));
    EXPECT(2, "3.png", "caf\xc3\xa9");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_list)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(folder_is_sorted_and_recursive),
        CASE(folder_unpaired_files),
        CASE(folder_fault_of_one_sample),
        CASE(folder_refusals),
        CASE(folder_counts_what_it_leaves_out),
        CASE(folder_tells_types_by_content),
        CASE(folder_texts_of_one_image),
        CASE(folder_links),
        CASE(folder_that_cannot_be_read),
        CASE(folder_levels),
        CASE(folder_encodings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
