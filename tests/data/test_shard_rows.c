/* Rows that lack a part, further wordings of captions, stored features, class bits in memory. */
#include "check.h"
#include "tandem/loader.h"
#include "toy.h"

#include <hdf5.h>

enum { ROWS = 6, CLASSES = 70, WIDTH = 3, TEXT_WIDTH = 2 };

typedef struct fixture {
    char dir[64];
    tdm_dataset *dataset;
} fixture;

static int setup(void **state)
{
    fixture *made = calloc(1, sizeof(*made));
    toy_dir(made->dir);
    *state = made;
    return 0;
}

static int teardown(void **state)
{
    fixture *it = *state;
    tdm_dataset_close(&it->dataset);
    CHECK_OK(tdm_remove_tree(it->dir));
    free(it);
    return 0;
}

/* What row i of the test's data set has: 0 both, 1 text only, 2 image only. */
static bool row_has_image(int64_t i)
{
    return i % 3 != 1;
}
static int64_t row_captions(int64_t i)
{
    return i % 3 == 2 ? 0 : 1 + i % 2;
}
static int64_t caption_alternatives(int64_t caption)
{
    return caption % 3; /* of the split's captions */
}

static void feature_of(int64_t row, int64_t width, bool image, float *out)
{
    for (int64_t k = 0; k < width; k++) out[k] = (float)(100 * row + 10 * k + image);
}

typedef struct plan {
    bool encoded, alternatives;
    int64_t width[TDM_MODALITIES];
} plan;

/* Row i, whose captions are numbered from *caption on. */
static tdm_status add_row(tdm_shard_writer *writer, const plan *p, int64_t i, int64_t *caption)
{
    char text[2][32], wording[2][32], bytes[32];
    const char *const texts[2] = {text[0], text[1]}, *const wordings[2] = {wording[0], wording[1]};
    float image[WIDTH], captions[2 * TEXT_WIDTH];
    tdm_shard_strings list[2] = {{wordings, 0}, {wordings, 0}};
    const int64_t classes[2] = {i, CLASSES - 1 - i};
    for (int64_t k = 0; k < row_captions(i); k++, ++*caption) {
        snprintf(text[k], sizeof(text[k]), p->encoded ? "caption %lld" : "", (long long)*caption);
        list[k].n = caption_alternatives(*caption);
        feature_of(*caption, TEXT_WIDTH, false, captions + k * TEXT_WIDTH);
    }
    for (int64_t k = 0; k < 2; k++) snprintf(wording[k], sizeof(wording[k]), "wording %lld", (long long)k);
    feature_of(i, WIDTH, true, image);
    const bool encoded = p->encoded && row_has_image(i);
    const tdm_shard_sample sample = {
        .image = bytes,
        .image_bytes = encoded ? snprintf(bytes, sizeof(bytes), "image %lld", (long long)i) : 0,
        .name = "row",
        .identity = i / 2,
        .class_index = classes,
        .class_n = 2,
        .caption = texts,
        .caption_n = row_captions(i),
        .alternative = p->alternatives ? list : NULL,
        .image_feature = p->width[TDM_IMAGE] && row_has_image(i) ? image : NULL,
        .caption_feature = p->width[TDM_TEXT] ? captions : NULL};
    return tdm_shard_writer_add(writer, &sample);
}

/* Two shards of ROWS / 2 rows. */
static void write_split(const fixture *it, const plan *p)
{
    static char name[CLASSES][8];
    const char *names[CLASSES];
    tdm_index_row row[2];
    int64_t caption = 0;
    memset(row, 0, sizeof(row));
    for (int c = 0; c < CLASSES; c++) {
        snprintf(name[c], sizeof(name[c]), "c%d", c);
        names[c] = name[c];
    }
    for (int s = 0; s < 2; s++) {
        char path[256];
        tdm_shard_writer *writer;
        tdm_shard_info info = {
            .dataset = "rows", .split = "rows", .class_count = CLASSES, .class_name = names};
        memcpy(info.feature_width, p->width, sizeof(p->width));
        snprintf(row[s].file, sizeof(row[s].file), "rows-%05d.h5", s);
        strcpy(row[s].split, "rows");
        CHECK_OK(tdm_path_join(path, sizeof(path), it->dir, row[s].file));
        CHECK_OK(tdm_shard_writer_create(path, &info, &writer));
        for (int64_t i = s * ROWS / 2; i < (s + 1) * ROWS / 2; i++) CHECK_OK(add_row(writer, p, i, &caption));
        CHECK_OK(tdm_shard_writer_finish(&writer, &row[s].images, &row[s].captions, row[s].digest));
    }
    CHECK_OK(tdm_index_write(it->dir, "rows", row, 2));
}

static tdm_dataset *open_split(fixture *it, const plan *p)
{
    write_split(it, p);
    CHECK_OK(tdm_dataset_open(it->dir, "rows", &it->dataset));
    CHECK_OK(tdm_dataset_verify(it->dataset));
    return it->dataset;
}

static void rows_may_lack_a_part(void **state)
{
    tdm_dataset *dataset = open_split(*state, &(plan){.encoded = true});
    tdm_text text = {0};
    int64_t number = 0, caption = 0, first, n;
    CHECK_EQ(tdm_dataset_images(dataset), ROWS);
    CHECK_EQ(tdm_dataset_imageless(dataset), 2);
    CHECK_EQ(tdm_dataset_captionless(dataset), 2);
    for (int64_t i = 0; i < ROWS; i++) {
        char expected[32];
        snprintf(expected, sizeof(expected), "image %lld", (long long)i);
        CHECK_EQ(tdm_dataset_has_image(dataset, i), row_has_image(i));
        CHECK_EQ(tdm_dataset_identity(dataset, i), i / 2);
        tdm_dataset_image_captions(dataset, i, &first, &n);
        CHECK_EQ(n, row_captions(i));
        CHECK_EQ(first, caption);
        caption += n;
        if (row_has_image(i)) {
            CHECK_OK(tdm_dataset_read_image(dataset, i, &text));
            CHECK_STR_EQ(text.data, expected);
            CHECK_EQ(tdm_dataset_image_number(dataset, i), number);
            CHECK_EQ(tdm_dataset_image_row(dataset, number++), i);
        } else {
            CHECK_FAILS(tdm_dataset_read_image(dataset, i, &text), TDM_E_DATA, "has no image");
            CHECK_MESSAGE(i < 3 ? "rows-00000.h5 row 1" : "rows-00001.h5 row 1");
            CHECK_EQ(tdm_dataset_image_number(dataset, i), -1);
        }
    }
    CHECK_EQ(tdm_dataset_alternatives(dataset), 0);
    CHECK_EQ(tdm_dataset_feature_width(dataset, TDM_IMAGE), 0);
    CHECK_FAILS(tdm_dataset_read_feature(dataset, TDM_IMAGE, 0, NULL), TDM_E_DATA, "holds no image features");
    tdm_text_free(&text);
}

static void alternatives_come_back(void **state)
{
    tdm_dataset *dataset = open_split(*state, &(plan){.encoded = true, .alternatives = true});
    tdm_text text = {0};
    int64_t next = 0, first, n;
    CHECK_EQ(tdm_dataset_captions(dataset), 6);
    for (int64_t c = 0; c < tdm_dataset_captions(dataset); c++) {
        tdm_dataset_caption_alternatives(dataset, c, &first, &n);
        CHECK_EQ(first, next);
        CHECK_EQ(n, caption_alternatives(c));
        for (int64_t k = 0; k < n; k++, next++) {
            CHECK_OK(tdm_dataset_read_alternative(dataset, first + k, &text));
            CHECK_STR_EQ(text.data, k == 0 ? "wording 0" : "wording 1");
        }
    }
    CHECK_EQ(tdm_dataset_alternatives(dataset), next);
    CHECK_FAILS(tdm_dataset_read_alternative(dataset, next, &text), TDM_E_SHAPE, "no alternative");
    tdm_text_free(&text);
}

static void check_features(tdm_dataset *dataset)
{
    float found[WIDTH], expected[WIDTH];
    CHECK_EQ(tdm_dataset_feature_width(dataset, TDM_IMAGE), WIDTH);
    CHECK_EQ(tdm_dataset_feature_width(dataset, TDM_TEXT), TEXT_WIDTH);
    CHECK_EQ(tdm_dataset_imageless(dataset), 2);
    for (int64_t i = 0; i < ROWS; i++) {
        feature_of(i, WIDTH, true, expected);
        if (row_has_image(i)) {
            CHECK_OK(tdm_dataset_read_feature(dataset, TDM_IMAGE, i, found));
            CHECK_MEM_EQ(found, expected, sizeof(expected));
        } else {
            CHECK_FAILS(tdm_dataset_read_feature(dataset, TDM_IMAGE, i, found), TDM_E_DATA, "has no image");
        }
    }
    for (int64_t c = 0; c < tdm_dataset_captions(dataset); c++) {
        feature_of(c, TEXT_WIDTH, false, expected);
        CHECK_OK(tdm_dataset_read_feature(dataset, TDM_TEXT, c, found));
        CHECK_MEM_EQ(found, expected, TEXT_WIDTH * sizeof(*expected));
    }
    CHECK_FAILS(tdm_dataset_read_feature(dataset, TDM_TEXT, 6, found), TDM_E_SHAPE, "no caption row 6");
}

static void features_stand_beside_images(void **state)
{
    tdm_dataset *dataset = open_split(*state, &(plan){.encoded = true, .width = {WIDTH, TEXT_WIDTH}});
    tdm_text text = {0};
    check_features(dataset);
    CHECK_OK(tdm_dataset_read_image(dataset, 2, &text));
    CHECK_STR_EQ(text.data, "image 2");
    tdm_text_free(&text);
}

static void features_stand_alone(void **state)
{
    tdm_dataset *dataset = open_split(*state, &(plan){.width = {WIDTH, TEXT_WIDTH}});
    tdm_text text = {0};
    check_features(dataset);
    CHECK_TRUE(tdm_dataset_has_image(dataset, 0));
    CHECK_FAILS(tdm_dataset_read_image(dataset, 0, &text), TDM_E_DATA, "row 0: has no encoded image");
    CHECK_OK(tdm_dataset_read_caption(dataset, 0, &text));
    CHECK_EQ(text.length, 0);
    tdm_text_free(&text);
}

/* More than 64 classes: two words a row. */
static void class_bits_are_in_memory(void **state)
{
    tdm_dataset *dataset = open_split(*state, &(plan){.encoded = true});
    const uint64_t *words, *again;
    uint8_t bit[CLASSES];
    CHECK_EQ(tdm_dataset_class_words(dataset), 2);
    for (int64_t i = ROWS - 1; i >= 0; i--) {
        CHECK_OK(tdm_dataset_class_bits(dataset, i, &words));
        CHECK_OK(tdm_dataset_classes(dataset, i, bit));
        for (int64_t c = 0; c < CLASSES; c++) {
            CHECK_EQ(words[c / 64] >> (c % 64) & 1, c == i || c == CLASSES - 1 - i);
            CHECK_EQ(bit[c], c == i || c == CLASSES - 1 - i);
        }
        CHECK_OK(tdm_dataset_class_bits(dataset, i, &again));
        CHECK_TRUE(again == words);
    }
    CHECK_FAILS(tdm_dataset_class_bits(dataset, ROWS, &words), TDM_E_SHAPE, "no image row 6");
    CHECK_NULL(words);
}

static void bad_rows_are_refused(void **state)
{
    const fixture *it = *state;
    const tdm_shard_info plain = {.dataset = "bad", .split = "bad"};
    tdm_shard_info wide = {.dataset = "bad", .split = "bad", .feature_width = {2, 2}};
    const char *const caption[1] = {"fine"}, *const blank[1] = {" "};
    const float finite[2] = {1, 2}, nan[2] = {1, NAN};
    const tdm_shard_strings alternative = {blank, 1};
    const tdm_shard_sample none = {.name = "a.png", .identity = -1};
    char path[256];
    tdm_shard_writer *writer;
    CHECK_OK(tdm_path_join(path, sizeof(path), it->dir, "bad-00000.h5"));
    CHECK_OK(tdm_shard_writer_create(path, &plain, &writer));
    tdm_shard_sample sample = none;
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA,
                "a.png: has neither an image nor a caption");
    sample.caption = caption;
    sample.caption_n = 1;
    sample.alternative = &alternative;
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA,
                "a.png: an alternative of caption 1 is empty");
    sample.alternative = NULL;
    sample.caption_feature = finite;
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA,
                "a.png: has caption features, but the shard has none");
    sample.caption_feature = NULL;
    sample.image_feature = finite;
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA,
                "a.png: has an image feature, but the shard has none");
    tdm_shard_writer_destroy(&writer);

    CHECK_OK(tdm_shard_writer_create(path, &wide, &writer));
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA, "a.png: its captions have no features");
    sample.caption_feature = nan;
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA,
                "a.png: the caption feature is not finite at 1");
    sample.caption_feature = finite;
    sample.image = "image";
    sample.image_bytes = 5;
    sample.image_feature = NULL;
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA, "a.png: its image has no feature");
    tdm_shard_writer_destroy(&writer);
    wide.feature_width[0] = -1;
    CHECK_FAILS(tdm_shard_writer_create(path, &wide, &writer), TDM_E_SHAPE, "features are -1 wide");
}

/* Replaces row `at` of an i64 data set of the first shard, and makes the index fit. */
static void poke(const fixture *it, const char *name, int64_t at, int64_t value)
{
    char path[256];
    tdm_index_row *row;
    int64_t count;
    const hsize_t start = (hsize_t)at, one = 1;
    CHECK_OK(tdm_path_join(path, sizeof(path), it->dir, "rows-00000.h5"));
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), set = H5Dopen2(file, name, H5P_DEFAULT);
    const hid_t space = H5Dget_space(set), memory = H5Screate(H5S_SCALAR);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &one, NULL);
    CHECK_GE(H5Dwrite(set, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, &value), 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(set);
    H5Fclose(file);
    CHECK_OK(tdm_index_read(it->dir, &row, &count));
    CHECK_OK(tdm_index_write(it->dir, "rows", row, count));
    tdm_free(row);
}

/* The loader reads whole shards; what is wrong with a row is said of that row all the same. */
static void loader_names_the_row(tdm_dataset *dataset, const char *message)
{
    const tdm_loader_config config = {.global_batch = tdm_dataset_captions(dataset),
                                      .size = 1,
                                      .views = 1u << TDM_VIEW_IMAGE_PLAIN | 1u << TDM_VIEW_TEXT_PLAIN,
                                      .feature_width = {WIDTH, TEXT_WIDTH},
                                      .workers = 1,
                                      .prefetch = 1};
    tdm_loader *loader;
    const tdm_batch *batch;
    CHECK_OK(tdm_loader_create(dataset, NULL, &config, 0, &loader));
    CHECK_FAILS(tdm_loader_next(loader, &batch, NULL), TDM_E_DATA, message);
    CHECK_FAILS(tdm_loader_next(loader, &batch, NULL), TDM_E_DATA, message);
    tdm_loader_destroy(&loader);
}

/* Another program's shard: the checksums are right, a value is not finite. */
static void features_that_are_not_finite(void **state)
{
    fixture *it = *state;
    static const char *const names[] = {"image/feature", "caption/feature"};
    for (int m = 0; m < TDM_MODALITIES; m++) {
        char path[256];
        float row[WIDTH];
        tdm_index_row *index;
        int64_t count;
        write_split(it, &(plan){.width = {WIDTH, TEXT_WIDTH}});
        CHECK_OK(tdm_path_join(path, sizeof(path), it->dir, "rows-00000.h5"));
        const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT),
                    set = H5Dopen2(file, names[m], H5P_DEFAULT);
        const hid_t space = H5Dget_space(set), memory = H5Screate(H5S_SCALAR);
        H5Sselect_hyperslab(space, H5S_SELECT_SET, (const hsize_t[]){0, 1}, NULL, (const hsize_t[]){1, 1},
                            NULL);
        CHECK_GE(H5Dwrite(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, &(float){INFINITY}), 0);
        H5Sclose(memory);
        H5Sclose(space);
        H5Dclose(set);
        H5Fclose(file);
        CHECK_OK(tdm_index_read(it->dir, &index, &count));
        CHECK_OK(tdm_index_write(it->dir, "rows", index, count));
        tdm_free(index);
        CHECK_OK(tdm_dataset_open(it->dir, "rows", &it->dataset));
        CHECK_FAILS(tdm_dataset_read_feature(it->dataset, (tdm_modality)m, 0, row), TDM_E_DATA,
                    m ? "rows-00000.h5 caption row 0: its caption feature is not finite at 1"
                      : "rows-00000.h5 row 0: its image feature is not finite at 1");
        loader_names_the_row(it->dataset, m ? "caption row 0: its caption feature" : " row 0: its image");
        tdm_dataset_close(&it->dataset);
    }
}

static void inconsistent_rows_are_refused(void **state)
{
    fixture *it = *state;
    static const struct {
        const char *name;
        int64_t at, value;
        const char *message;
    } bad[] = {{"caption/image", 1, 0, "row 1: has neither an image nor a caption"},
               {"caption/alternative_caption", 1, -1, "/caption/alternative_caption is wrong at row 1"},
               {"caption/alternative_caption", 0, 3, "/caption/alternative_caption is wrong at row"},
               {"caption/alternative_offset", 1, 0, "/caption/alternative_offset is wrong at row 0"},
               {"caption/alternative_offset", 3, 1000, "/caption/alternative_"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_split(it, &(plan){.encoded = true, .alternatives = true});
        poke(it, bad[i].name, bad[i].at, bad[i].value);
        if (i == 0) poke(it, bad[i].name, 2, 0); /* both captions of the row without an image */
        CHECK_FAILS(tdm_dataset_open(it->dir, "rows", &it->dataset), TDM_E_FORMAT, bad[i].message);
        CHECK_MESSAGE("rows-00000.h5");
    }
    /* a claim of an image that is not there is only found when it is read */
    write_split(it, &(plan){.width = {WIDTH, TEXT_WIDTH}});
    poke(it, "image/has_feature", 0, 0);
    CHECK_OK(tdm_dataset_open(it->dir, "rows", &it->dataset));
    CHECK_EQ(tdm_dataset_imageless(it->dataset), 3);
    tdm_dataset_close(&it->dataset);
    /* features of another width in one of the shards */
    char path[256], first[256];
    tdm_text bytes = {0};
    CHECK_OK(tdm_path_join(first, sizeof(first), it->dir, "rows-00000.h5"));
    CHECK_OK(tdm_read_file(first, &bytes));
    CHECK_OK(tdm_path_join(path, sizeof(path), it->dir, "keep"));
    CHECK_OK(tdm_write_file_atomic(path, bytes.data, bytes.length));
    write_split(it, &(plan){.width = {WIDTH - 1, TEXT_WIDTH}});
    CHECK_OK(tdm_write_file_atomic(first, bytes.data, bytes.length));
    tdm_index_row *row;
    int64_t count;
    CHECK_OK(tdm_index_read(it->dir, &row, &count));
    CHECK_OK(tdm_index_write(it->dir, "rows", row, count));
    tdm_free(row);
    CHECK_FAILS(tdm_dataset_open(it->dir, "rows", &it->dataset), TDM_E_FORMAT, "/image/feature is 2 wide");
    CHECK_MESSAGE("rows-00001.h5");
    tdm_text_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_may_lack_a_part, setup, teardown),
        cmocka_unit_test_setup_teardown(alternatives_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(features_stand_beside_images, setup, teardown),
        cmocka_unit_test_setup_teardown(features_stand_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(class_bits_are_in_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_rows_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(features_that_are_not_finite, setup, teardown),
        cmocka_unit_test_setup_teardown(inconsistent_rows_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
