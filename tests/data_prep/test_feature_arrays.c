/* --format features of NumPy, MATLAB and pickles: the files of tests/golden/make_array_golden.py, whose formulas stand
 * here again. */
#include "list_case.h"

#include <stdlib.h>

enum { N = 7, D = 5, E = 3 };

static const char *golden(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/tests/golden/arrays/%s", getenv("TANDEM_SOURCE_DIR"), name);
    return path;
}

typedef struct given {
    const char *key, *value;
} given;

static tdm_status list_golden(const char *name, const given *option)
{
    const tdm_pack_format *format = format_named("features");
    void *values;
    tdm_pack_list_free(&list);
    CHECK_OK(tdm_alloc(format->option_bytes, "options", &values));
    tdm_pack_format_defaults(format, values);
    for (; option && option->key; option++) set_option(format, values, option->key, option->value);
    const tdm_status status = tdm_pack_list_source(format, values, golden(name), &list);
    tdm_free(values);
    return status;
}

/* Item `at` is row `row` of the golden features. */
static void check_item(int64_t at, int64_t row, bool has_class)
{
    float out[D];
    const tdm_pack_item *item = &list.item[at];
    CHECK_EQ(item->image_feature->width, D);
    CHECK_OK(item->image_feature->read(item->image_feature, item->image_feature_row, out));
    for (int k = 0; k < D; k++) CHECK_EQ(out[k], (float)(10 * row + k) / 16);
    CHECK_EQ(item->caption_n, 1);
    CHECK_EQ(item->text_feature->width, E);
    CHECK_OK(item->text_feature->read(item->text_feature, item->text_feature_row[0], out));
    for (int k = 0; k < E; k++) CHECK_EQ(out[k], (float)(1000 + 10 * row + k) / 16);
    CHECK_EQ(item->class_n, has_class);
    if (has_class) CHECK_EQ(item->class_index[0], row % 3);
}

static void check_all(const char *id)
{
    CHECK_EQ(list.count, N);
    for (int64_t i = 0; i < N; i++) {
        char name[64];
        check_item(i, i, true);
        snprintf(name, sizeof name, id, (int)i);
        if (id[0]) CHECK_STR_EQ(list.item[i].name, name);
    }
}

static void whole_files(void **state)
{
    (void)state;
    static const given from_1[] = {{"label_base", "1"}, {NULL, NULL}},
                       by_itself[] = {{"label_base", "auto"}, {NULL, NULL}};
    static const struct {
        const char *name, *id;
    } files[] = {{"protocol2.pkl", "set/é-%d"},   {"protocol3.pkl", "set/é-%d"},
                 {"protocol5.pkl", "set/é-%d"},   {"big_endian.pkl", "set/é-%d"},
                 {"../array_folder", "set/é-%d"}, {"deflated.npz", "deflated.npz image %d"},
                 {"plain.mat", "set/é-%d"},       {"v73.mat", "v73.mat image %d"}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        CHECK_OK(list_golden(files[i].name, from_1));
        check_all(files[i].id);
        CHECK_OK(list_golden(files[i].name, by_itself));
        check_all(files[i].id);
    }
    CHECK_OK(list_golden("stored.npz", NULL)); /* classes as a matrix of 0 and 1 */
    check_all("stored.npz image %d");
    CHECK_OK(list_golden("chars.mat", NULL)); /* ids as rows of characters */
    check_all("set/e-%d");
}

/* Without the option classes count from 0, as in the sets of CLIP4CMR that do. */
static void labels_from_0(void **state)
{
    (void)state;
    static const given from_1[] = {{"label_base", "1"}, {"label_key", "label"}, {NULL, NULL}};
    CHECK_OK(list_golden("plain.mat", NULL));
    CHECK_EQ(list.classes.count, 4);
    CHECK_EQ(list.item[1].class_index[0], 2);
    CHECK_OK(list_golden("stored.npz", from_1)); /* a matrix has no numbers of classes */
    check_item(1, 1, true);
}

static void splits(void **state)
{
    (void)state;
    static const given keys[] = {{"image_key", "train=I_tr,test=I_te"},
                                 {"text_key", "train=T_tr,test=T_te"},
                                 {"label_key", "train=L_tr,test=L_te"},
                                 {"label_base", "1"},
                                 {NULL, NULL}};
    CHECK_OK(list_golden("splits.mat", keys));
    CHECK_EQ(list.count, N);
    for (int64_t i = 0; i < N; i++) {
        check_item(i, i, true);
        CHECK_STR_EQ(list.item[i].split, i < 4 ? "train" : "test");
    }
    static const given from_1[] = {{"label_base", "1"}, {NULL, NULL}};
    CHECK_OK(list_golden("clip_test.pkl", from_1)); /* the name says it */
    CHECK_EQ(list.count, 3);
    for (int64_t i = 0; i < 3; i++) {
        check_item(i, 4 + i, true);
        CHECK_STR_EQ(list.item[i].split, "test");
    }
}

static void faults(void **state)
{
    (void)state;
    static const given missing[] = {{"label_key", "L"}, {NULL, NULL}},
                       sparse[] = {{"image_key", "sparse"}, {NULL, NULL}},
                       structure[] = {{"text_key", "struct"}, {NULL, NULL}},
                       objects[] = {{"ids_key", "note"}, {NULL, NULL}},
                       texts[] = {{"image_key", "ids"}, {NULL, NULL}},
                       longer[] = {{"image_key", "I_tr"}, {"label_key", "L_te"}, {NULL, NULL}},
                       names[] = {{"label_key", "ids"}, {NULL, NULL}};
    CHECK_FAILS(list_golden("plain.mat", missing), TDM_E_FORMAT,
                "plain.mat: holds no L, which --label-key asks for; it holds image f32 [7, 5]");
    CHECK_FAILS(list_golden("splits.mat", NULL), TDM_E_FORMAT,
                "splits.mat: holds neither image nor text features");
    CHECK_FAILS(list_golden("splits.mat", sparse), TDM_E_FORMAT, "splits.mat: sparse is a sparse matrix");
    CHECK_FAILS(list_golden("splits.mat", structure), TDM_E_FORMAT, "splits.mat: struct is a struct");
    CHECK_FAILS(list_golden("splits.mat", longer), TDM_E_SHAPE,
                "splits.mat: L_te is [1][3], and there are 4 rows");
    CHECK_FAILS(list_golden("deflated.npz", objects), TDM_E_FORMAT,
                "deflated.npz: note holds objects of Python");
    CHECK_FAILS(list_golden("plain.mat", texts), TDM_E_SHAPE, "plain.mat: ids is no matrix of numbers");
    CHECK_FAILS(list_golden("plain.mat", names), TDM_E_FORMAT, "plain.mat: ids holds texts");
    CHECK_FAILS(list_golden("lists.pkl", NULL), TDM_E_FORMAT, "lists.pkl: image is a list of other things");
    CHECK_FAILS(list_golden("stored.npz", missing), TDM_E_FORMAT, "stored.npz: holds no L");
}

/* Each file, cut anywhere, is an error that names it, never a crash; a table of contents at the end needs all of it. */
static void cut_files(void **state)
{
    (void)state;
    static const char *const files[] = {
        "clip_train.pkl",           "protocol5.pkl", "stored.npz", "deflated.npz", "plain.mat", "splits.mat",
        "../array_folder/image.npy"};
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        tdm_text whole = {0};
        CHECK_OK(tdm_read_file(golden(files[f]), &whole));
        for (size_t bytes = 1; bytes < whole.length; bytes += 7) {
            char path[512];
            snprintf(path, sizeof path, "%s/cut", dir);
            CHECK_OK(tdm_write_file_atomic(path, whole.data, bytes));
            tdm_pack_list_free(&list);
            if (tdm_pack_list_source(format_named("features"), NULL, path, &list) != TDM_OK)
                CHECK_CONTAINS(tdm_error_last()->message, "cut");
            else /* MATLAB's variables end where the file does */
                CHECK_TRUE(f == 4);
        }
        tdm_text_free(&whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_files), cmocka_unit_test(labels_from_0),
                                       cmocka_unit_test(splits), cmocka_unit_test(faults),
                                       cmocka_unit_test_setup_teardown(cut_files, set_up, tear_down_list)};
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_pack_list_free(&list);
    return failed;
}
