/* Embedding files on 1-4 ranks: what is written comes back, and what is broken is named. */
#include "check.h"
#include "scratch.h"
#include "h5/variable_text.h"
#include "tandem/comm.h"
#include "tandem/eval.h"
#include "tandem/rng.h"

#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IMAGES = 41, CAPTIONS = 97, D = 24, CLASSES = 70, WORDS = 2 };

static tdm_comm *comm;
static int rank, size;
static char dir[64];

static const tdm_embedding_info info = {.source = "/data/somewhere",
                                        .split = "val",
                                        .model = "run/checkpoints/step-1",
                                        .model_digest = "0123abcd"};

/* Every value follows from its global row, so that any piece can be checked anywhere. */
static float feature_at(int64_t row, int64_t k, bool is_image)
{
    return sinf((float)(row * 131 + k * 7 + (is_image ? 3 : 0)));
}

static uint64_t labels_of(int64_t image, int64_t word)
{
    return word == 0 ? (uint64_t)image * 0x9e3779b97f4a7c15ULL : (uint64_t)image % 64;
}

static tdm_embeddings make_piece(bool with_classes)
{
    tdm_embeddings e = {.d = D,
                        .image_first = tdm_part_begin(IMAGES, size, rank),
                        .caption_first = tdm_part_begin(CAPTIONS, size, rank),
                        .class_count = with_classes ? CLASSES : 0,
                        .label_words = with_classes ? WORDS : 0};
    e.images = tdm_part_begin(IMAGES, size, rank + 1) - e.image_first;
    e.captions = tdm_part_begin(CAPTIONS, size, rank + 1) - e.caption_first;
    CHECK_OK(tdm_embeddings_reserve(&e));
    for (int64_t i = 0; i < e.images; i++) {
        const int64_t row = e.image_first + i;
        for (int64_t k = 0; k < D; k++) e.image[i * D + k] = feature_at(row, k, true);
        e.image_identity[i] = row / 2;
        for (int64_t w = 0; w < e.label_words; w++) e.image_labels[i * WORDS + w] = labels_of(row, w);
    }
    for (int64_t c = 0; c < e.captions; c++) {
        const int64_t row = e.caption_first + c, image = row * IMAGES / CAPTIONS;
        for (int64_t k = 0; k < D; k++) e.text[c * D + k] = feature_at(row, k, false);
        e.image_row_of_caption[c] = image;
        e.caption_identity[c] = image / 2;
        for (int64_t w = 0; w < e.label_words; w++) e.caption_labels[c * WORDS + w] = labels_of(image, w);
    }
    return e;
}

static void write_piece(tdm_dtype dtype, bool with_classes)
{
    tdm_embeddings e = make_piece(with_classes);
    CHECK_OK(tdm_embeddings_write(comm, dir, &info, dtype, &e));
    tdm_embeddings_free(&e);
}

/* tolerance relative to 1: 0 for f32; bf16 keeps 8 bits, half of the last is 2^-9 */
static void check_read(double tolerance, bool with_classes)
{
    tdm_embeddings want = make_piece(with_classes), got;
    tdm_embedding_info found;
    CHECK_OK(tdm_embeddings_read(comm, dir, "val", &found, &got));
    CHECK_STR_EQ(found.source, info.source);
    CHECK_STR_EQ(found.model, info.model);
    CHECK_STR_EQ(found.model_digest, info.model_digest);
    CHECK_EQ(got.d, D);
    CHECK_EQ(got.images, want.images);
    CHECK_EQ(got.image_first, want.image_first);
    CHECK_EQ(got.captions, want.captions);
    CHECK_EQ(got.class_count, want.class_count);
    CHECK_CLOSE_ARRAY(want.images * D, got.image, want.image, tolerance);
    CHECK_CLOSE_ARRAY(want.captions * D, got.text, want.text, tolerance);
    CHECK_MEM_EQ(got.image_identity, want.image_identity, (size_t)want.images * 8);
    CHECK_MEM_EQ(got.caption_identity, want.caption_identity, (size_t)want.captions * 8);
    CHECK_MEM_EQ(got.image_row_of_caption, want.image_row_of_caption, (size_t)want.captions * 8);
    for (int64_t i = 0; i < want.captions * want.label_words; i++) {
        const uint64_t mask = i % WORDS == 1 ? (UINT64_C(1) << (CLASSES - 64)) - 1 : UINT64_MAX;
        CHECK_EQ(got.caption_labels[i], want.caption_labels[i] & mask);
    }
    tdm_embeddings_free(&got);
    tdm_embeddings_free(&want);
}

/* Rank 1 reads other files. */
static void check_other_files(void)
{
    char other[sizeof dir + 8];
    tdm_embedding_info found;
    tdm_embeddings got, e = make_piece(true);
    snprintf(other, sizeof other, "%s/other", dir);
    CHECK_OK(tdm_embeddings_write(comm, other, &info, TDM_F32, &e));
    tdm_embeddings_free(&e);
    if (tdm_comm_size(comm) == 1) return;
    CHECK_FAILS(tdm_embeddings_read(comm, tdm_comm_rank(comm) == 1 ? other : dir, "val", &found, &got),
                TDM_E_DATA, "/other/val-00000.h5: this rank has this file of embeddings where rank 0 on ");
}

static void test_round_trip(void **state)
{
    (void)state;
    write_piece(TDM_F32, true);
    check_read(0, true);
    check_other_files();
    write_piece(TDM_BF16, false);
    check_read(1.0 / 512, false);
    CHECK_FAILS(tdm_embeddings_read(comm, dir, "test", &(tdm_embedding_info){0}, &(tdm_embeddings){0}),
                TDM_E_IO, "");
}

static void part(char path[128], int number)
{
    snprintf(path, 128, "%s/val-%05d.h5", dir, number);
}

/* Files of an earlier run on more ranks would else be taken for parts of this one. */
static void test_old_parts_go(void **state)
{
    (void)state;
    char old[128], older[128], own[128];
    part(own, 0);
    part(old, size);
    part(older, size + 1);
    write_piece(TDM_F32, false);
    if (rank == 0) {
        tdm_text bytes = {0};
        CHECK_OK(tdm_read_file(own, &bytes));
        CHECK_OK(tdm_write_file_atomic(old, bytes.data, bytes.length));
        CHECK_OK(tdm_write_file_atomic(older, bytes.data, bytes.length));
        tdm_text_free(&bytes);
    }
    write_piece(TDM_F32, false);
    CHECK_FALSE(tdm_path_exists(old));
    CHECK_FALSE(tdm_path_exists(older));
    check_read(0, false);
}

static void refuse(tdm_status code, const char *message)
{
    tdm_embedding_info found;
    tdm_embeddings got;
    tdm_comm_barrier(comm);
    CHECK_EQ(tdm_embeddings_read(comm, dir, "val", &found, &got), code);
    if (strstr(tdm_error_last()->message, message) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", message, tdm_error_last()->message);
    tdm_comm_barrier(comm);
}

/* Another text of the same length, with the checksums made right. */
static void set_text(const char *path, const char *name, const char *value)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), attribute = H5Aopen(file, name, H5P_DEFAULT);
    const hid_t type = H5Aget_type(attribute);
    CHECK_EQ(H5Tget_size(type), strlen(value) + 1);
    CHECK_GE(H5Awrite(attribute, type, value), 0);
    H5Tclose(type);
    H5Aclose(attribute);
    H5Fclose(file);
}

/* Rank 0 breaks the last part in one way after another. */
static void test_broken_files(void **state)
{
    (void)state;
    char path[128];
    part(path, size - 1);
    write_piece(TDM_F32, false);
    tdm_text whole = {0};
    CHECK_OK(tdm_read_file(path, &whole));
    tdm_comm_barrier(comm);

    if (rank == 0) CHECK_OK(tdm_write_file_atomic(path, whole.data, whole.length / 2));
    refuse(TDM_E_FORMAT, "truncated");

    if (rank == 0) CHECK_OK(tdm_write_file_atomic(path, "no HDF5", 7));
    refuse(TDM_E_FORMAT, path);

    /* a value of the image embeddings, found by its bytes */
    const float value = feature_at(tdm_part_begin(IMAGES, size, size - 1), 3, true);
    char *at = memmem(whole.data, whole.length, &value, sizeof value);
    CHECK_NOT_NULL(at);
    at[1] ^= 0x10;
    if (rank == 0) CHECK_OK(tdm_write_file_atomic(path, whole.data, whole.length));
    refuse(TDM_E_FORMAT, "is damaged: bytes ");
    at[1] ^= 0x10;

    if (rank == 0) {
        CHECK_OK(tdm_write_file_atomic(path, whole.data, whole.length));
        set_text(path, "format", "tandem.embroider");
    }
    refuse(TDM_E_FORMAT, "format attribute is \"tandem.embroider\", expected \"tandem.embedding\"");

    if (rank == 0) {
        CHECK_OK(tdm_write_file_atomic(path, whole.data, whole.length));
        CHECK_TRUE(put_variable_text(path, "model", "run"));
    }
    refuse(TDM_E_FORMAT, "attribute model is a string of variable length");

    if (rank == 0) CHECK_EQ(unlink(path), 0);
    refuse(TDM_E_IO, "cannot open: No such file or directory");
    tdm_text_free(&whole);
}

/* Files of other programs may hold what tandem embed refuses to write. */
static void test_not_finite(void **state)
{
    (void)state;
    for (int text = 0; text < 2; text++) {
        tdm_embeddings e = make_piece(false);
        if (rank == size - 1) (text ? e.text : e.image)[2 * D + 5] = text ? -INFINITY : NAN;
        CHECK_OK(tdm_embeddings_write(comm, dir, &info, TDM_BF16, &e));
        tdm_embeddings_free(&e);
        char message[160];
        snprintf(message, sizeof message, "%s: /%s/embedding of row %lld is not finite", dir,
                 text ? "text" : "image",
                 (long long)tdm_part_begin(text ? CAPTIONS : IMAGES, size, size - 1) + 2);
        refuse(TDM_E_NUMERIC, message);
    }
}

static void test_find_split(void **state)
{
    (void)state;
    char split[32] = "";
    write_piece(TDM_F32, false);
    CHECK_OK(tdm_embeddings_find_split(dir, split, sizeof split));
    CHECK_STR_EQ(split, "val");
    CHECK_OK(tdm_embeddings_find_split(dir, split, sizeof split));
    snprintf(split, sizeof split, "test");
    CHECK_FAILS(tdm_embeddings_find_split(dir, split, sizeof split), TDM_E_USAGE, "it has val");
    CHECK_FAILS(tdm_embeddings_find_split("/nowhere", split, sizeof split), TDM_E_IO, "");
}

/* Shards and embedding files have the same names. */
static void test_data_directory_is_refused(void **state)
{
    (void)state;
    char index[128];
    snprintf(index, sizeof index, "%s/dataset.h5", dir);
    if (rank == 0) CHECK_OK(tdm_write_file_atomic(index, "x", 1));
    tdm_comm_barrier(comm);
    tdm_embeddings e = make_piece(false);
    CHECK_FAILS(tdm_embeddings_write(comm, dir, &info, TDM_F32, &e), TDM_E_USAGE, "");
    tdm_embeddings_free(&e);
    tdm_comm_barrier(comm);
    if (rank == 0) CHECK_EQ(unlink(index), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_old_parts_go),
        cmocka_unit_test(test_broken_files), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_find_split),   cmocka_unit_test(test_data_directory_is_refused),
    };
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    size = tdm_comm_size(comm);
    if (rank == 0 && scratch_dir(dir, sizeof dir) != 0) tdm_comm_abort(comm);
    tdm_comm_broadcast(comm, dir, sizeof dir, 0);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_barrier(comm);
    const tdm_status removed = rank == 0 ? tdm_remove_tree(dir) : TDM_OK;
    tdm_comm_destroy(&comm);
    return failed != 0 || removed != TDM_OK;
}
