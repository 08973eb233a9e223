/* Shards and the index: what is written comes back, and damaged files are told by name. */
#include "check.h"
#include "h5/variable_text.h"
#include "toy.h"

#include <hdf5.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

typedef struct fixture {
    char dir[64];
} fixture;

static int setup(void **state)
{
    fixture *made = calloc(1, sizeof(*made));
    toy_dir(made->dir);
    CHECK_OK(toy_write(made->dir, "train", true));
    *state = made;
    return 0;
}

static int teardown(void **state)
{
    fixture *it = *state;
    CHECK_OK(tdm_remove_tree(it->dir));
    free(it);
    return 0;
}

static void path_of(const fixture *it, const char *file, char path[256])
{
    CHECK_OK(tdm_path_join(path, 256, it->dir, file));
}

/* ---- what is written comes back ---- */

static void check_image(tdm_dataset *dataset, int64_t image, tdm_text *text)
{
    uint8_t expected[TOY_HEIGHT * TOY_WIDTH * 3], bit[4];
    char name[64];
    tdm_image decoded;
    int64_t first, n;
    toy_pixels(image, expected);
    CHECK_OK(tdm_dataset_read_image(dataset, image, text));
    CHECK_OK(tdm_image_decode("toy", text->data, text->length, TDM_ALPHA_DROP, &decoded));
    CHECK_MEM_EQ(decoded.pixel, expected, sizeof(expected));
    tdm_image_free(&decoded);
    snprintf(name, sizeof(name), "raw/%lld.png", (long long)image);
    CHECK_OK(tdm_dataset_read_name(dataset, image, text));
    CHECK_STR_EQ(text->data, name);
    CHECK_EQ(tdm_dataset_identity(dataset, image), 1000 + image / 2);
    tdm_dataset_image_captions(dataset, image, &first, &n);
    CHECK_EQ(first, 2 * image);
    CHECK_EQ(n, 2);
    CHECK_OK(tdm_dataset_classes(dataset, image, bit));
    for (int64_t c = 0; c < 3; c++) CHECK_EQ(bit[c], image % 3 == c);
    CHECK_EQ(bit[3], image % 2);
}

static void a_split_reads_as_one_list(void **state)
{
    const fixture *it = *state;
    tdm_dataset *dataset;
    tdm_text text = {0};
    CHECK_OK(tdm_dataset_open(it->dir, "train", &dataset));
    CHECK_EQ(tdm_dataset_images(dataset), TOY_IMAGES);
    CHECK_EQ(tdm_dataset_captions(dataset), TOY_CAPTIONS);
    CHECK_TRUE(tdm_dataset_has_identity(dataset));
    CHECK_EQ(tdm_dataset_class_count(dataset), 4);
    for (int64_t c = 0; c < 4; c++) CHECK_STR_EQ(tdm_dataset_class_name(dataset, c), TOY_CLASS[c]);
    CHECK_STR_EQ(tdm_dataset_tokenizer_digest(dataset), "cafe");
    for (int64_t i = TOY_IMAGES - 1; i >= 0; i--) check_image(dataset, i, &text);
    for (int64_t i = 0; i < TOY_CAPTIONS; i++) {
        char expected[64];
        snprintf(expected, sizeof(expected),
                 i % 2 ? "the caption number two of image %lld, \xc3\xa9" : "image %lld", (long long)i / 2);
        CHECK_OK(tdm_dataset_read_caption(dataset, i, &text));
        CHECK_STR_EQ(text.data, expected);
        CHECK_EQ(tdm_dataset_caption_image(dataset, i), i / 2);
    }
    CHECK_CONTAINS(tdm_dataset_where(dataset, 8), "train-00001.h5 row 0");
    CHECK_OK(tdm_dataset_verify(dataset));
    CHECK_FAILS(tdm_dataset_read_image(dataset, TOY_IMAGES, &text), TDM_E_SHAPE, "");
    CHECK_FAILS(tdm_dataset_read_caption(dataset, -1, &text), TDM_E_SHAPE, "");
    tdm_text_free(&text);
    tdm_dataset_close(&dataset);
    tdm_dataset_close(&dataset); /* NULL is fine */
}

static void without_identities_each_image_is_its_own(void **state)
{
    const fixture *it = *state;
    tdm_dataset *dataset;
    CHECK_OK(toy_write(it->dir, "val", false));
    CHECK_OK(tdm_dataset_open(it->dir, "val", &dataset));
    CHECK_FALSE(tdm_dataset_has_identity(dataset));
    for (int64_t i = 0; i < TOY_IMAGES; i++) CHECK_EQ(tdm_dataset_identity(dataset, i), i);
    tdm_dataset_close(&dataset);
}

static void the_index_keeps_other_splits(void **state)
{
    const fixture *it = *state;
    tdm_index_row *row;
    int64_t count;
    tdm_dataset *dataset;
    CHECK_OK(toy_write(it->dir, "val", true));
    CHECK_OK(toy_write(it->dir, "train", true)); /* replaces, does not double */
    CHECK_OK(tdm_index_read(it->dir, &row, &count));
    CHECK_EQ(count, 2 * TOY_SHARDS);
    CHECK_STR_EQ(row[0].split, "val");
    CHECK_STR_EQ(row[TOY_SHARDS].file, "train-00000.h5");
    CHECK_EQ(row[TOY_SHARDS].images, 8);
    CHECK_EQ(row[TOY_SHARDS].captions, 16);
    tdm_free(row);
    CHECK_OK(tdm_dataset_open(it->dir, "val", &dataset));
    tdm_dataset_close(&dataset);
    CHECK_FAILS(tdm_dataset_open(it->dir, "test", &dataset), TDM_E_DATA, "no split \"test\"");
    CHECK_MESSAGE("val, train");
    CHECK_NULL(dataset);
}

static void equal_input_gives_equal_files(void **state)
{
    const fixture *it = *state;
    char other[64], path[256];
    tdm_text a = {0}, b = {0};
    toy_dir(other);
    CHECK_OK(toy_write(other, "train", true));
    const char *const file[] = {"train-00000.h5", "train-00002.h5", "dataset.h5"};
    for (size_t i = 0; i < 3; i++) {
        a.length = b.length = 0;
        path_of(it, file[i], path);
        CHECK_OK(tdm_read_file(path, &a));
        CHECK_OK(tdm_path_join(path, sizeof(path), other, file[i]));
        CHECK_OK(tdm_read_file(path, &b));
        CHECK_EQ(a.length, b.length);
        CHECK_MEM_EQ(a.data, b.data, a.length);
    }
    tdm_text_free(&a);
    tdm_text_free(&b);
    CHECK_OK(tdm_remove_tree(other));
}

/* More shards than files are held open, and images larger than a chunk and than the write buffer. */
static void many_shards_and_large_images(void **state)
{
    const fixture *it = *state;
    enum { SHARDS = 40, BYTES = 3000000 };
    unsigned char *bytes = malloc(BYTES);
    tdm_index_row row[SHARDS];
    memset(row, 0, sizeof(row));
    for (int64_t i = 0; i < BYTES; i++) bytes[i] = (unsigned char)(i * i >> 3);
    for (int s = 0; s < SHARDS; s++) {
        const tdm_shard_info info = {.dataset = "big", .split = "big"};
        const char *const caption = "x";
        char path[256];
        tdm_shard_writer *writer;
        snprintf(row[s].file, sizeof(row[s].file), "big-%05d.h5", s);
        strcpy(row[s].split, "big");
        path_of(it, row[s].file, path);
        CHECK_OK(tdm_shard_writer_create(path, &info, &writer));
        for (int i = 0; i < (s == 7 ? 3 : 2); i++) { /* s * 10 + i tells the image */
            const tdm_shard_sample sample = {.image = bytes + s * 10 + i,
                                             .image_bytes = s == 7 ? 1000000 * (i + 1) - 100 : 50,
                                             .identity = -1,
                                             .caption = &caption,
                                             .caption_n = 1};
            CHECK_OK(tdm_shard_writer_add(writer, &sample));
        }
        CHECK_OK(tdm_shard_writer_finish(&writer, &row[s].images, &row[s].captions, row[s].digest));
    }
    CHECK_OK(tdm_index_write(it->dir, "big", row, SHARDS));
    tdm_dataset *dataset;
    tdm_text text = {0};
    CHECK_OK(tdm_dataset_open(it->dir, "big", &dataset));
    for (int pass = 0; pass < 2; pass++)
        for (int s = SHARDS - 1; s >= 0; s--) {
            int64_t image = 2 * s + (s > 7) + 1;
            CHECK_OK(tdm_dataset_read_image(dataset, image, &text));
            CHECK_EQ(text.length, s == 7 ? 2000000 - 100 : 50);
            CHECK_MEM_EQ(text.data, bytes + s * 10 + 1, text.length);
        }
    CHECK_OK(tdm_dataset_verify(dataset));
    tdm_dataset_close(&dataset);
    tdm_text_free(&text);
    free(bytes);
}

/* ---- what must not be packed ---- */

static void bad_samples_are_refused(void **state)
{
    const fixture *it = *state;
    const tdm_shard_info info = {.dataset = "bad", .split = "bad"};
    char path[256], temporary[260];
    path_of(it, "bad-00000.h5", path);
    snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    tdm_shard_writer *writer;
    CHECK_OK(tdm_shard_writer_create(path, &info, &writer));
    const char *caption[1] = {"fine"};
    const int64_t class_index = 0;
    const tdm_shard_sample good = {.image = "image",
                                   .image_bytes = 5,
                                   .name = "a.png",
                                   .identity = 4,
                                   .caption = caption,
                                   .caption_n = 1};
    tdm_shard_sample sample = good;
    sample.image_bytes = sample.caption_n = 0;
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA, "a.png");
    CHECK_MESSAGE("neither an image nor a caption");
    sample = good;
    caption[0] = "";
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA, "a.png");
    CHECK_MESSAGE("caption 1 is empty");
    caption[0] = " \t\n";
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA, "a.png");
    CHECK_MESSAGE("caption 1 is empty");
    caption[0] = "caf\xe9";
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA, "a.png");
    CHECK_MESSAGE("not valid UTF-8");
    caption[0] = "fine";
    sample.class_index = &class_index;
    sample.class_n = 1;
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA, "a.png");
    CHECK_MESSAGE("there are 0 classes");
    CHECK_OK(tdm_shard_writer_add(writer, &good));
    sample = good;
    sample.identity = -1;
    CHECK_FAILS(tdm_shard_writer_add(writer, &sample), TDM_E_DATA, "a.png");
    CHECK_MESSAGE("identity");
    CHECK_TRUE(tdm_path_exists(temporary));
    tdm_shard_writer_destroy(&writer); /* unfinished: leaves nothing behind */
    CHECK_NULL(writer);
    CHECK_FALSE(tdm_path_exists(temporary));
    CHECK_FALSE(tdm_path_exists(path));
    CHECK_FAILS(tdm_shard_writer_create("/nonexistent/x.h5", &info, &writer), TDM_E_IO, "/nonexistent/x.h5");
    CHECK_MESSAGE("cannot create");
}

/* The file-size limit stands for a full disk. */
static void a_full_disk_is_an_error(void **state)
{
    const fixture *it = *state;
    const tdm_shard_info info = {.dataset = "full", .split = "full"};
    struct rlimit before, small;
    char path[256], digest[65];
    int64_t images, captions;
    enum { BYTES = 4 << 20 };
    unsigned char *bytes = calloc(1, BYTES);
    const char *const caption = "x";
    const tdm_shard_sample sample = {.image = bytes,
                                     .image_bytes = BYTES,
                                     .name = "a.png",
                                     .identity = -1,
                                     .caption = &caption,
                                     .caption_n = 1};
    path_of(it, "full-00000.h5", path);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 1 << 20;
    signal(SIGXFSZ, SIG_IGN);
    tdm_shard_writer *writer;
    CHECK_OK(tdm_shard_writer_create(path, &info, &writer));
    setrlimit(RLIMIT_FSIZE, &small);
    tdm_status status = tdm_shard_writer_add(writer, &sample);
    if (status == TDM_OK)
        status = tdm_shard_writer_finish(&writer, &images, &captions, digest);
    else
        tdm_shard_writer_destroy(&writer);
    setrlimit(RLIMIT_FSIZE, &before);
    CHECK_FAILS(status, TDM_E_IO, "full-00000.h5");
    CHECK_FALSE(tdm_path_exists(path));
    free(bytes);
}

/* ---- damaged files ---- */

static void overwrite(const char *path, int64_t at, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "r+b");
    CHECK_NOT_NULL(file);
    CHECK_EQ(fseek(file, (long)at, SEEK_SET), 0);
    CHECK_EQ(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

/* Where `part` stands in the file. */
static int64_t find_bytes(const char *path, const void *part, size_t n)
{
    tdm_text file = {0};
    CHECK_OK(tdm_read_file(path, &file));
    const char *at = memmem(file.data, file.length, part, n);
    CHECK_NOT_NULL(at);
    int64_t offset = at - file.data;
    tdm_text_free(&file);
    return offset;
}

static void a_flipped_byte_is_found(void **state)
{
    const fixture *it = *state;
    char path[256];
    tdm_dataset *dataset;
    tdm_text text = {0};
    /* one byte of the second image of the second shard */
    CHECK_OK(tdm_dataset_open(it->dir, "train", &dataset));
    CHECK_OK(tdm_dataset_read_image(dataset, 9, &text));
    tdm_dataset_close(&dataset);
    path_of(it, "train-00001.h5", path);
    overwrite(path, find_bytes(path, text.data, text.length) + 40, "\xff", 1);
    CHECK_OK(tdm_dataset_open(it->dir, "train", &dataset));
    CHECK_FAILS(tdm_dataset_read_image(dataset, 9, &text), TDM_E_FORMAT, "train-00001.h5 row 1");
    CHECK_MESSAGE("/image/bytes: checksum error");
    CHECK_FAILS(tdm_dataset_verify(dataset), TDM_E_FORMAT, "train-00001.h5: is damaged: bytes ");
    CHECK_MESSAGE("/image/bytes");
    CHECK_OK(tdm_dataset_read_image(dataset, 0, &text));
    tdm_dataset_close(&dataset);
    /* one of the captions */
    path_of(it, "train-00002.h5", path);
    overwrite(path, find_bytes(path, "the caption number two of image 20", 34), "T", 1);
    CHECK_OK(tdm_dataset_open(it->dir, "train", &dataset));
    CHECK_FAILS(tdm_dataset_read_caption(dataset, 41, &text), TDM_E_FORMAT, "train-00002.h5 caption row");
    CHECK_MESSAGE("/caption/bytes: checksum error");
    tdm_dataset_close(&dataset);
    tdm_text_free(&text);
}

/* A hole of zeros over whole chunks, which pass HDF5's checksum. */
static void zeros_are_found(void **state)
{
    const fixture *it = *state;
    char path[256];
    tdm_dataset *dataset;
    tdm_text text = {0};
    path_of(it, "train-00001.h5", path);
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    static const char *const names[] = {"caption/bytes", "image/bytes"};
    for (int i = 0; i < 2; i++) {
        const hid_t set = H5Dopen2(file, names[i], H5P_DEFAULT);
        const hsize_t first = 0;
        haddr_t at;
        hsize_t bytes;
        CHECK_GE(H5Dget_chunk_info_by_coord(set, &first, NULL, &at, &bytes), 0);
        H5Dclose(set);
        char *zeros = calloc(1, bytes);
        overwrite(path, (int64_t)at, zeros, bytes);
        free(zeros);
    }
    H5Fclose(file);
    CHECK_OK(tdm_dataset_open(it->dir, "train", &dataset));
    CHECK_FAILS(tdm_dataset_read_image(dataset, 8, &text), TDM_E_FORMAT,
                "train-00001.h5 row 0: is damaged: begins with zeros");
    CHECK_FAILS(tdm_dataset_read_caption(dataset, 16, &text), TDM_E_FORMAT,
                "train-00001.h5 caption row 0: is damaged: begins with zeros");
    CHECK_FAILS(tdm_dataset_verify(dataset), TDM_E_FORMAT, "train-00001.h5: is damaged: bytes ");
    tdm_dataset_close(&dataset);
    tdm_text_free(&text);
}

static void a_changed_shard_is_found(void **state)
{
    const fixture *it = *state;
    char path[256];
    tdm_dataset *dataset;
    path_of(it, "train-00000.h5", path);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t attribute = H5Aopen(file, "source_digest", H5P_DEFAULT), type = H5Aget_type(attribute);
    CHECK_GE(H5Awrite(attribute, type, "nope"), 0);
    H5Tclose(type);
    H5Aclose(attribute);
    H5Fclose(file);
    CHECK_FAILS(tdm_dataset_open(it->dir, "train", &dataset), TDM_E_FORMAT,
                "train-00000.h5: is damaged: truncated or changed after packing");
}

static void damaged_directories_are_told_by_name(void **state)
{
    const fixture *it = *state;
    char path[256], index[256];
    tdm_dataset *dataset;
    struct stat info;
    path_of(it, "train-00001.h5", path);
    path_of(it, "dataset.h5", index);
    CHECK_EQ(stat(path, &info), 0);
    CHECK_EQ(truncate(path, info.st_size / 2), 0);
    CHECK_FAILS(tdm_dataset_open(it->dir, "train", &dataset), TDM_E_FORMAT, "train-00001.h5");
    CHECK_MESSAGE("truncated");
    CHECK_NULL(dataset);
    CHECK_EQ(truncate(path, 0), 0);
    CHECK_FAILS(tdm_dataset_open(it->dir, "train", &dataset), TDM_E_FORMAT, "train-00001.h5");
    CHECK_MESSAGE("truncated");
    unlink(path);
    CHECK_FAILS(tdm_dataset_open(it->dir, "train", &dataset), TDM_E_IO, "train-00001.h5");
    CHECK_MESSAGE("missing");
    CHECK_EQ(stat(index, &info), 0);
    CHECK_EQ(truncate(index, info.st_size - 100), 0);
    CHECK_FAILS(tdm_dataset_open(it->dir, "train", &dataset), TDM_E_FORMAT, "dataset.h5");
    CHECK_MESSAGE("is damaged: ");
    unlink(index);
    CHECK_FAILS(tdm_dataset_open(it->dir, "train", &dataset), TDM_E_IO, "dataset.h5");
    CHECK_MESSAGE("missing");
    CHECK_FAILS(tdm_dataset_open("/nonexistent", "train", &dataset), TDM_E_IO, "/nonexistent");
    CHECK_MESSAGE("not a data directory");
}

/* The index's size of a shard that a test changes is made right again, so that later checks are reached. */
static void reindex(const fixture *it, int64_t images_more)
{
    tdm_index_row *row;
    int64_t count;
    CHECK_OK(tdm_index_read(it->dir, &row, &count));
    row[0].images += images_more;
    CHECK_OK(tdm_index_write(it->dir, "toy", row, count));
    tdm_free(row);
}

static void other_files_are_told_apart(void **state)
{
    const fixture *it = *state;
    char path[256];
    tdm_dataset *dataset;
    path_of(it, "train-00000.h5", path);
    /* counts */
    reindex(it, 1);
    CHECK_FAILS(tdm_dataset_open(it->dir, "train", &dataset), TDM_E_FORMAT, "train-00000.h5");
    CHECK_MESSAGE("holds 8 images, the index says 9");
    reindex(it, -1);
    /* the format attribute: a string of the same length */
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t attribute = H5Aopen(file, "format", H5P_DEFAULT), type = H5Aget_type(attribute);
    CHECK_GE(H5Awrite(attribute, type, "tandem.other"), 0);
    H5Tclose(type);
    H5Aclose(attribute);
    H5Fclose(file);
    reindex(it, 0);
    CHECK_FAILS(tdm_dataset_open(it->dir, "train", &dataset), TDM_E_FORMAT, "train-00000.h5");
    CHECK_MESSAGE("format attribute is \"tandem.other\"");
    /* no attribute */
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Adelete(file, "format");
    H5Fclose(file);
    reindex(it, 0);
    CHECK_FAILS(tdm_dataset_open(it->dir, "train", &dataset), TDM_E_FORMAT, "train-00000.h5");
    CHECK_MESSAGE("no format attribute");
    /* a text of another kind */
    CHECK_OK(toy_write(it->dir, "train", true));
    CHECK_TRUE(put_variable_text(path, "split", "train"));
    reindex(it, 0);
    CHECK_FAILS(tdm_dataset_open(it->dir, "train", &dataset), TDM_E_FORMAT, "train-00000.h5");
    CHECK_MESSAGE("attribute split is a string of variable length");
    /* not HDF5 */
    CHECK_OK(tdm_write_file_atomic(path, "hello, world", 12));
    reindex(it, 0);
    CHECK_FAILS(tdm_dataset_open(it->dir, "train", &dataset), TDM_E_FORMAT, "train-00000.h5");
    CHECK_MESSAGE("not an HDF5 file");
}

/* Replaces row `at` of an i64 data set of the first shard. */
static void poke(const fixture *it, const char *name, int64_t at, int64_t value)
{
    char path[256];
    path_of(it, "train-00000.h5", path);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), dataset = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(dataset), one = H5Screate(H5S_SCALAR);
    hsize_t start = (hsize_t)at, count = 1;
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL);
    CHECK_GE(H5Dwrite(dataset, H5T_NATIVE_INT64, one, space, H5P_DEFAULT, &value), 0);
    H5Sclose(one);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(file);
    reindex(it, 0);
}

static void inconsistent_shards_are_refused(void **state)
{
    const fixture *it = *state;
    static const struct {
        const char *name;
        int64_t at, value;
    } bad[] = {{"image/offset", 0, 1},         {"image/offset", 3, -5},   {"image/offset", 7, 1 << 20},
               {"caption/offset", 2, 1 << 30}, {"caption/image", 5, 7},   {"caption/image", 5, -1},
               {"caption/image", 5, 0},        {"image/identity", 2, -1}, {"class/name_offset", 1, 100}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        tdm_dataset *dataset;
        poke(it, bad[i].name, bad[i].at, bad[i].value);
        CHECK_FAILS(tdm_dataset_open(it->dir, "train", &dataset), TDM_E_FORMAT, "train-00000.h5");
        CHECK_NULL(dataset);
        CHECK_OK(toy_write(it->dir, "train", true));
    }
    /* names are checked when they are read */
    tdm_dataset *dataset;
    tdm_text text = {0};
    poke(it, "image/name_offset", 2, 1 << 20);
    CHECK_OK(tdm_dataset_open(it->dir, "train", &dataset));
    CHECK_FAILS(tdm_dataset_read_name(dataset, 1, &text), TDM_E_FORMAT, "train-00000.h5");
    CHECK_MESSAGE("name_offset");
    tdm_dataset_close(&dataset);
    tdm_text_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_split_reads_as_one_list, setup, teardown),
        cmocka_unit_test_setup_teardown(without_identities_each_image_is_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(the_index_keeps_other_splits, setup, teardown),
        cmocka_unit_test_setup_teardown(equal_input_gives_equal_files, setup, teardown),
        cmocka_unit_test_setup_teardown(many_shards_and_large_images, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_samples_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flipped_byte_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(zeros_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_shard_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_directories_are_told_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(other_files_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(inconsistent_shards_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
