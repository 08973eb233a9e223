/* --format features: matrices in HDF5 files and folders of embeddings, through the packer into shards. Rank 0
 * writes and reads, every rank packs. */
#include "check.h"
#include "data/toy.h"
#include "tandem/eval.h"
#include "tandem/h5.h"
#include "tandem/pack.h"

enum { N = 7, D = 5, E = 3 }; /* images, width of images and of texts */

static tdm_comm *comm;
static char dir[64], source[512], out[512];

static bool first_rank(void)
{
    return tdm_comm_rank(comm) == 0;
}

static int set_up(void **state)
{
    (void)state;
    if (first_rank()) toy_dir(dir);
    tdm_comm_broadcast(comm, dir, sizeof(dir), 0);
    snprintf(source, sizeof(source), "%s/x.h5", dir);
    snprintf(out, sizeof(out), "%s/out", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tdm_comm_barrier(comm);
    return first_rank() && tdm_remove_tree(dir) != TDM_OK;
}

/* Element of row `row` of a matrix: tells where it is from. */
static float element(int side, int64_t row, int64_t column)
{
    return (float)(side * 1000 + row * 10 + column) / 16.0f;
}

static void put_matrix(tdm_h5 *file, const char *name, int side, int64_t rows, int64_t width)
{
    float *data;
    const int64_t shape[2] = {rows, width};
    CHECK_OK(TDM_ALLOC(rows * width + 1, &data));
    for (int64_t i = 0; i < rows * width; i++) data[i] = element(side, i / width, i % width);
    CHECK_OK(tdm_h5_put_array(file, name, TDM_H5_F32, 2, shape, 4096, data));
    tdm_free(data);
}

static void put_numbers(tdm_h5 *file, const char *name, int64_t n, const int64_t *number)
{
    CHECK_OK(tdm_h5_put_array(file, name, TDM_H5_I64, 1, &n, 4096, number));
}

/* Collective. */
static tdm_status pack(bool keep, bool skip_bad, tdm_pack_result *result)
{
    const char *const sources[] = {source};
    const tdm_pack_options options = {.format = "features",
                                      .out_dir = out,
                                      .dataset_name = "toy",
                                      .split = "",
                                      .shard_size = 3,
                                      .seed = 1,
                                      .keep_unpaired = keep,
                                      .skip_bad = skip_bad,
                                      .source = sources,
                                      .source_count = 1};
    tdm_comm_barrier(comm);
    const tdm_status status = tdm_pack(comm, &options, result);
    CHECK_TRUE(tdm_comm_all_equal_u64(comm, (uint64_t)status));
    tdm_comm_barrier(comm);
    return status;
}

/* Stored row `row` of the modality is row `from` of its matrix. */
static void check_feature(tdm_dataset *set, tdm_modality modality, int64_t row, int64_t from)
{
    float feature[D + E];
    const int64_t width = tdm_dataset_feature_width(set, modality);
    CHECK_EQ(width, modality == TDM_IMAGE ? D : E);
    CHECK_OK(tdm_dataset_read_feature(set, modality, row, feature));
    for (int64_t i = 0; i < width; i++) CHECK_EQ(feature[i], element(modality == TDM_TEXT, from, i));
}

static void check_name(tdm_dataset *set, int64_t row, const char *name)
{
    tdm_text text = {0};
    CHECK_OK(tdm_dataset_read_name(set, row, &text));
    CHECK_STR_EQ(text.data, name);
    tdm_text_free(&text);
}

static void texts_of_images_and_alone(void **state)
{
    (void)state;
    static const int64_t text_image[] = {3, 0, 3, -1, 1, 2, 4, 5, 3, -1}, label[N] = {2, 0, -1, 1, 1, 2, 0},
                         text_label[10] = {9, 9, 9, 1, 9, 9, 9, 9, 9, 0};
    enum { M = 10 };
    tdm_pack_result result;
    if (first_rank()) {
        tdm_h5 *file;
        CHECK_OK(tdm_h5_create(source, "somebody's", 1, &file));
        put_matrix(file, "image", 0, N, D);
        put_matrix(file, "text", 1, M, E);
        put_numbers(file, "text_image", M, text_image);
        put_numbers(file, "label", N, label);
        put_numbers(file, "text_label", M, text_label);
        CHECK_OK(tdm_h5_finish(&file));
    }
    CHECK_FAILS(pack(false, false, &result), TDM_E_DATA, "x.h5 image 6: has no caption"); /* row 6 of 9 */
    CHECK_OK(pack(true, false, &result));
    CHECK_EQ(result.images, N);
    CHECK_EQ(result.captions, M);
    CHECK_EQ(result.images_only, 1);
    CHECK_EQ(result.texts_only, 2);
    CHECK_EQ(result.shards, 3);
    if (!first_rank()) return;

    static const int64_t from[] = {1, 4, 5, 0, 2, 8, 6, 7, 3, 9}; /* texts in the order of their images */
    static const int64_t captions[N + 2] = {1, 1, 1, 3, 1, 1, 0, 1, 1};
    tdm_dataset *set = NULL;
    uint8_t bit[10];
    CHECK_OK(tdm_dataset_open(out, "train", &set));
    CHECK_OK(tdm_dataset_verify(set));
    CHECK_EQ(tdm_dataset_images(set), N + 2);
    CHECK_EQ(tdm_dataset_captions(set), M);
    CHECK_EQ(tdm_dataset_class_count(set), 10); /* labels 0 … 9 */
    CHECK_STR_EQ(tdm_dataset_class_name(set, 7), "7");
    for (int64_t i = 0; i < N + 2; i++) {
        int64_t first, n;
        tdm_dataset_image_captions(set, i, &first, &n);
        CHECK_EQ(n, captions[i]);
        CHECK_EQ(tdm_dataset_has_image(set, i), i < N);
        if (i < N) check_feature(set, TDM_IMAGE, i, i);
        CHECK_OK(tdm_dataset_classes(set, i, bit));
        const int64_t wanted = i < N ? label[i] : text_label[from[M - 2 + i - N]];
        for (int64_t c = 0; c < 10; c++) CHECK_EQ(bit[c], c == wanted);
    }
    for (int64_t k = 0; k < M; k++) check_feature(set, TDM_TEXT, k, from[k]);
    check_name(set, 3, "x.h5 image 3");
    check_name(set, N + 1, "x.h5 text 9");
    tdm_dataset_close(&set);
}

/* As many texts as images belong to each other by their rows; several classes; identities. */
static void equal_numbers_are_pairs(void **state)
{
    (void)state;
    static const int64_t identity[N] = {4, 4, 0, 9, 9, 9, 1};
    tdm_pack_result result;
    if (first_rank()) {
        tdm_h5 *file;
        uint8_t bit[N][2] = {{0}};
        const int64_t shape[2] = {N, 2};
        for (int i = 0; i < N; i++) bit[i][0] = i % 2, bit[i][1] = i > 2;
        CHECK_OK(tdm_h5_create(source, "somebody's", 1, &file));
        put_matrix(file, "image", 0, N, D);
        put_matrix(file, "text", 1, N, E);
        put_numbers(file, "identity", N, identity);
        CHECK_OK(tdm_h5_put_array(file, "class", TDM_H5_U8, 2, shape, 4096, bit));
        CHECK_OK(tdm_h5_finish(&file));
    }
    CHECK_OK(pack(false, false, &result));
    CHECK_EQ(result.captions, N);
    if (!first_rank()) return;
    tdm_dataset *set = NULL;
    CHECK_OK(tdm_dataset_open(out, "train", &set));
    for (int64_t i = 0; i < N; i++) {
        uint8_t bit[2];
        check_feature(set, TDM_IMAGE, i, i);
        check_feature(set, TDM_TEXT, i, i);
        CHECK_EQ(tdm_dataset_identity(set, i), identity[i]);
        CHECK_OK(tdm_dataset_classes(set, i, bit));
        CHECK_EQ(bit[0], i % 2);
        CHECK_EQ(bit[1], i > 2);
    }
    tdm_dataset_close(&set);
}

static void one_modality_only(void **state)
{
    (void)state;
    tdm_pack_result result;
    if (first_rank()) {
        tdm_h5 *file;
        CHECK_OK(tdm_h5_create(source, "somebody's", 1, &file));
        put_matrix(file, "text", 1, N, E);
        CHECK_OK(tdm_h5_finish(&file));
    }
    CHECK_OK(pack(true, false, &result));
    CHECK_EQ(result.images, 0);
    CHECK_EQ(result.texts_only, N);
    if (!first_rank()) return;
    tdm_dataset *set = NULL;
    CHECK_OK(tdm_dataset_open(out, "train", &set));
    CHECK_EQ(tdm_dataset_feature_width(set, TDM_IMAGE), 0);
    for (int64_t i = 0; i < N; i++) check_feature(set, TDM_TEXT, i, i);
    tdm_dataset_close(&set);
}

/* A row with a NaN is one bad sample. */
static void values_that_are_not_finite(void **state)
{
    (void)state;
    tdm_pack_result result;
    if (first_rank()) {
        tdm_h5 *file;
        float data[2][E] = {{1, 2, 3}, {4, NAN, 6}};
        const int64_t shape[2] = {2, E};
        CHECK_OK(tdm_h5_create(source, "somebody's", 1, &file));
        put_matrix(file, "image", 0, 2, D);
        CHECK_OK(tdm_h5_put_array(file, "text", TDM_H5_F32, 2, shape, 4096, data));
        CHECK_OK(tdm_h5_finish(&file));
    }
    CHECK_FAILS(pack(false, false, &result), TDM_E_DATA, "x.h5: text[1][1] is not finite");
    CHECK_OK(pack(false, true, &result));
    CHECK_EQ(result.bad, 1);
    CHECK_EQ(result.images, 1);
}

static void refusals(void **state)
{
    (void)state;
    static const int64_t far[2] = {0, 2};
    static const struct {
        int64_t images, texts, labels;
        const int64_t *text_image;
        tdm_status code;
        const char *says;
    } wrong[] = {
        {0, 0, 0, NULL, TDM_E_FORMAT, "x.h5: has neither /image nor /text"},
        {2, 2, 0, far, TDM_E_FORMAT, "x.h5: text 1 belongs to image 2 of 2"},
        {3, 2, 0, NULL, TDM_E_DATA, "x.h5 image 0: has no caption"},
        {2, 2, 3, NULL, TDM_E_FORMAT, "label"},
        {2, 2, 2, NULL, TDM_E_FORMAT, "x.h5: 16385 classes"},
    };
    tdm_pack_result result;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (first_rank()) {
            tdm_h5 *file;
            CHECK_OK(tdm_h5_create(source, "somebody's", 1, &file));
            if (wrong[i].images) put_matrix(file, "image", 0, wrong[i].images, D);
            if (wrong[i].texts) put_matrix(file, "text", 1, wrong[i].texts, E);
            if (wrong[i].text_image) put_numbers(file, "text_image", wrong[i].texts, wrong[i].text_image);
            if (wrong[i].labels)
                put_numbers(file, "label", wrong[i].labels, (const int64_t[3]){0, INT64_MAX});
            CHECK_OK(tdm_h5_finish(&file));
        }
        CHECK_FAILS(pack(false, false, &result), wrong[i].code, wrong[i].says);
    }
    if (first_rank()) CHECK_OK(tdm_write_file_atomic(source, "no HDF5", 7));
    CHECK_FAILS(pack(false, false, &result), TDM_E_FORMAT, "x.h5: is not an HDF5 file");
    snprintf(source, sizeof(source), "%s", dir);
    CHECK_FAILS(pack(false, false, &result), TDM_E_FORMAT, "holds no embeddings (SPLIT-00000.h5)");
}

/* What `tandem embed` writes, on as many ranks as the test runs on, in bf16. */
static void folder_of_embeddings(void **state)
{
    (void)state;
    enum { IMAGES = 9, CAPTIONS = 2 * IMAGES, CLASSES = 3 };
    const int rank = tdm_comm_rank(comm), size = tdm_comm_size(comm);
    const int64_t first = tdm_part_begin(IMAGES, size, rank);
    const int64_t n = tdm_part_begin(IMAGES, size, rank + 1) - first;
    float image[IMAGES][D], text[CAPTIONS][D];
    int64_t image_row[CAPTIONS], identity[IMAGES], caption_identity[CAPTIONS];
    uint64_t label[IMAGES], caption_label[CAPTIONS];
    for (int64_t i = 0; i < n; i++) {
        for (int d = 0; d < D; d++) image[i][d] = (float)(first + i + d); /* whole in bf16 */
        identity[i] = (first + i) / 2;
        label[i] = 1u << (first + i) % CLASSES;
    }
    for (int64_t k = 0; k < 2 * n; k++) {
        for (int d = 0; d < D; d++) text[k][d] = (float)(2 * first + k - d);
        image_row[k] = first + k / 2;
        caption_identity[k] = image_row[k] / 2;
        caption_label[k] = label[k / 2];
    }
    const char *names[CLASSES] = {"bird", "1", "fish"};
    const tdm_embeddings embeddings = {.d = D,
                                       .class_name = names,
                                       .images = n,
                                       .image_first = first,
                                       .captions = 2 * n,
                                       .caption_first = 2 * first,
                                       .image = &image[0][0],
                                       .text = &text[0][0],
                                       .image_row_of_caption = image_row,
                                       .image_identity = identity,
                                       .caption_identity = caption_identity,
                                       .class_count = CLASSES,
                                       .label_words = 1,
                                       .image_labels = label,
                                       .caption_labels = caption_label};
    const tdm_embedding_info info = {.source = "data", .split = "test", .model = "m", .model_digest = "d"};
    tdm_pack_result result;
    snprintf(source, sizeof(source), "%s", dir);
    CHECK_OK(tdm_embeddings_write(comm, dir, &info, TDM_BF16, &embeddings));
    CHECK_OK(pack(false, false, &result));
    CHECK_EQ(result.images, IMAGES);
    CHECK_EQ(result.captions, CAPTIONS);
    if (!first_rank()) return;
    tdm_dataset *set = NULL;
    CHECK_OK(tdm_dataset_open(out, "test", &set)); /* the split that was embedded */
    for (int64_t i = 0; i < IMAGES; i++) {
        float feature[D];
        uint8_t bit[CLASSES];
        CHECK_OK(tdm_dataset_read_feature(set, TDM_IMAGE, i, feature));
        for (int d = 0; d < D; d++) CHECK_EQ(feature[d], (float)(i + d));
        CHECK_EQ(tdm_dataset_identity(set, i), i / 2);
        CHECK_OK(tdm_dataset_classes(set, i, bit));
        for (int c = 0; c < CLASSES; c++) CHECK_EQ(bit[c], c == i % CLASSES);
    }
    for (int c = 0; c < CLASSES; c++) CHECK_STR_EQ(tdm_dataset_class_name(set, c), names[c]);
    for (int64_t k = 0; k < CAPTIONS; k++) {
        float feature[D];
        CHECK_OK(tdm_dataset_read_feature(set, TDM_TEXT, k, feature));
        for (int d = 0; d < D; d++) CHECK_EQ(feature[d], (float)(k - d));
        CHECK_EQ(tdm_dataset_caption_image(set, k), k / 2);
    }
    tdm_dataset_close(&set);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(texts_of_images_and_alone),
        CASE(equal_numbers_are_pairs),
        CASE(one_modality_only),
        CASE(values_that_are_not_finite),
        CASE(refusals),
        CASE(folder_of_embeddings),
    };
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    double failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_max_f64(comm, &failed, 1);
    tdm_comm_destroy(&comm);
    return failed != 0;
}
