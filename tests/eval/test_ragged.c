/* Embedding a split in which some rows have no image and some no caption. */
#include "check.h"
#include "scratch.h"

#include "tandem/comm.h"
#include "tandem/eval.h"
#include "tandem/h5.h"
#include "tandem/image.h"
#include "tandem/loader.h"
#include "tandem/model.h"
#include "tandem/shard.h"

#include <stdlib.h>

/* Rows 1, 5, 9 … have no image, rows 2, 6, 10 … no caption, all others one of each. */
enum { ROWS = 18, IMAGES = 13, IMAGELESS = 5, CAPTIONS = 14, PX = 16, D = 8, CLASSES = 3 };

static tdm_comm *comm;
static int rank;
static char dir[64], out[80];

static const char merges[] = "#version: 0.2\nr e\n";
static const char model_text[] =
    "model: { name = \"tiny\"; embed_dim = 8; activation = \"gelu\"; tokenizer = \"memory\";"
    "image: { height_px = 16; width_px = 16; patch_px = 8; width = 16; layers = 1; heads = 2; };"
    "text: { context_length = 12; vocab_size = 515; width = 16; layers = 1; heads = 2; }; };";

static bool has_image(int64_t row)
{
    return row % 4 != 1;
}
static bool has_caption(int64_t row)
{
    return row % 4 != 2;
}

static void draw(int64_t row, uint8_t pixel[PX * PX * 3])
{
    for (int64_t i = 0; i < PX * PX * 3; i++) pixel[i] = (uint8_t)((row + 1) * (37 + i * i % 91));
}

static tdm_status add_row(tdm_shard_writer *writer, int64_t row)
{
    uint8_t pixel[PX * PX * 3];
    char text[32];
    const char *const caption = text;
    tdm_text png = {0};
    draw(row, pixel);
    snprintf(text, sizeof text, "row %lld", (long long)row);
    tdm_status status = has_image(row) ? tdm_image_encode_png(pixel, PX, PX, &png) : TDM_OK;
    const tdm_shard_sample sample = {.image = png.data,
                                     .image_bytes = (int64_t)png.length,
                                     .name = "row",
                                     .identity = row / 3,
                                     .class_index = &(const int64_t){row % CLASSES},
                                     .class_n = 1,
                                     .caption = &caption,
                                     .caption_n = has_caption(row)};
    if (status == TDM_OK) status = tdm_shard_writer_add(writer, &sample);
    tdm_text_free(&png);
    return status;
}

static tdm_status write_split(void)
{
    static const char *const class_name[CLASSES] = {"a", "b", "c"};
    const tdm_shard_info info = {
        .dataset = "ragged", .split = "ragged", .class_count = CLASSES, .class_name = class_name};
    tdm_index_row row[2];
    memset(row, 0, sizeof row);
    for (int s = 0; s < 2; s++) {
        char path[128];
        tdm_shard_writer *writer;
        snprintf(row[s].split, sizeof row[s].split, "ragged");
        snprintf(row[s].file, sizeof row[s].file, "ragged-%05d.h5", s);
        TDM_TRY(tdm_path_join(path, sizeof path, dir, row[s].file));
        TDM_TRY(tdm_shard_writer_create(path, &info, &writer));
        for (int64_t i = tdm_part_begin(ROWS, 2, s); i < tdm_part_begin(ROWS, 2, s + 1); i++)
            TDM_TRY(add_row(writer, i));
        TDM_TRY(tdm_shard_writer_finish(&writer, &row[s].images, &row[s].captions, row[s].digest));
    }
    return tdm_index_write(dir, "ragged", row, 2);
}

typedef struct fixture {
    tdm_config config;
    tdm_tokenizer *tokenizer;
    tdm_dataset *dataset;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
    tdm_embeddings e;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    CHECK_OK(tdm_config_init(&f->config));
    CHECK_OK(tdm_config_load_text(&f->config, "model", model_text));
    CHECK_OK(tdm_tokenizer_open_memory("merges", merges, sizeof merges - 1, &f->tokenizer));
    CHECK_OK(tdm_dataset_open(dir, "ragged", &f->dataset));
    CHECK_OK(tdm_ops_create(TDM_F32, 1, &f->ops));
    CHECK_OK(tdm_model_create(&f->config, f->ops, false, 4, &f->params, &f->model));
    CHECK_OK(tdm_params_allocate(&f->params, false));
    tdm_params_init(&f->params, 3);
    CHECK_OK(tdm_model_load(f->model));
    CHECK_OK(tdm_embed_dataset(comm, f->model, f->ops, &f->config, f->dataset, f->tokenizer, 4, 2, &f->e));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    tdm_embeddings_free(&f->e);
    tdm_model_destroy(&f->model);
    tdm_params_destroy(&f->params);
    tdm_ops_destroy(&f->ops);
    tdm_dataset_close(&f->dataset);
    tdm_tokenizer_destroy(&f->tokenizer);
    tdm_config_destroy(&f->config);
    free(f);
    return 0;
}

/* The place-th row that has an image. */
static int64_t row_at(int64_t place)
{
    int64_t row = 0;
    for (;; row++)
        if (has_image(row) && place-- == 0) return row;
}

static int64_t place_of(int64_t row)
{
    int64_t place = 0;
    for (int64_t i = 0; i < row; i++) place += has_image(i);
    return has_image(row) ? place : -1;
}

static int64_t row_of_caption(int64_t caption)
{
    int64_t row = 0;
    for (;; row++)
        if (has_caption(row) && caption-- == 0) return row;
}

static void test_gallery_holds_what_exists(void **state)
{
    fixture *f = *state;
    const tdm_embeddings *e = &f->e;
    int64_t total[2] = {e->images, e->captions};
    tdm_comm_sum_i64(comm, total, 2);
    CHECK_EQ(total[0], IMAGES);
    CHECK_EQ(total[1], CAPTIONS);
    CHECK_EQ(tdm_dataset_imageless(f->dataset), IMAGELESS);
    for (int64_t i = 0; i < e->images; i++) {
        const int64_t row = row_at(e->image_first + i);
        uint8_t pixel[PX * PX * 3];
        float feature[D];
        double square = 0;
        draw(row, pixel);
        CHECK_OK(tdm_model_embed(f->model, TDM_IMAGE, &(tdm_tower_input){.n = 1, .image = pixel},
                                 &(tdm_pass){0}, &(tdm_tower_output){.pooled = feature}));
        for (int k = 0; k < D; k++) square += (double)feature[k] * (double)feature[k];
        for (int k = 0; k < D; k++) feature[k] = (float)((double)feature[k] / sqrt(square));
        CHECK_CLOSE_ARRAY(D, e->image + i * D, feature, 2e-6); /* a few last places: two ways to sum a norm */
        CHECK_EQ(e->image_row[i], row);
        CHECK_EQ(e->image_identity[i], row / 3);
        CHECK_EQ(e->image_labels[i], 1 << row % CLASSES);
    }
    for (int64_t c = 0; c < e->captions; c++) {
        const int64_t row = row_of_caption(e->caption_first + c);
        CHECK_EQ(e->image_row_of_caption[c], place_of(row));
        CHECK_EQ(e->caption_identity[c], row / 3);
        CHECK_EQ(e->caption_labels[c], 1 << row % CLASSES);
    }
}

static void test_captions_without_an_image_have_no_pair(void **state)
{
    fixture *f = *state;
    const tdm_match *match;
    tdm_metrics metrics[TDM_DIRECTIONS];
    CHECK_OK(tdm_match_find("positives", TDM_E_USAGE, "pair", &match));
    CHECK_OK(tdm_eval_embeddings(comm, f->ops, &f->e, match, metrics));
    CHECK_EQ(metrics[TDM_TEXT_TO_IMAGE].queries, CAPTIONS);
    CHECK_EQ(metrics[TDM_TEXT_TO_IMAGE].gallery, IMAGES);
    CHECK_EQ(metrics[TDM_TEXT_TO_IMAGE].without_positive, IMAGELESS);
    CHECK_EQ(metrics[TDM_IMAGE_TO_TEXT].without_positive, IMAGES - (CAPTIONS - IMAGELESS));
    CHECK_OK(tdm_match_find("positives", TDM_E_USAGE, "identity", &match));
    CHECK_OK(tdm_eval_embeddings(comm, f->ops, &f->e, match, metrics));
    CHECK_EQ(metrics[TDM_TEXT_TO_IMAGE].without_positive, 0);
}

static void test_files_keep_rows(void **state)
{
    fixture *f = *state;
    const tdm_embedding_info info = {.source = "data", .split = "ragged", .model = "m", .model_digest = "d"};
    tdm_embedding_info found;
    tdm_embeddings got;
    CHECK_OK(tdm_embeddings_write(comm, out, &info, TDM_F32, &f->e));
    CHECK_OK(tdm_embeddings_read(comm, out, "ragged", &found, &got));
    CHECK_EQ(got.images, f->e.images);
    CHECK_EQ(got.captions, f->e.captions);
    CHECK_MEM_EQ(got.image, f->e.image, (size_t)(got.images * D) * sizeof(float));
    CHECK_MEM_EQ(got.image_row_of_caption, f->e.image_row_of_caption, (size_t)got.captions * 8);
    for (int64_t c = 0; c < got.captions; c++) /* classes come by way of the image */
        CHECK_EQ(got.caption_labels[c], got.image_row_of_caption[c] < 0 ? 0 : f->e.caption_labels[c]);
    tdm_embeddings_free(&got);
    if (rank > 0) return;
    char path[160];
    tdm_h5 *file;
    int64_t count = -1, *row;
    CHECK_OK(tdm_path_join(path, sizeof path, out, "ragged-00000.h5"));
    CHECK_OK(tdm_h5_open(path, "tandem.embedding", 1, &file));
    CHECK_OK(tdm_h5_get_i64s(file, "image/row", &count, &row));
    CHECK_EQ(count, f->e.images);
    CHECK_MEM_EQ(row, f->e.image_row, (size_t)count * 8);
    tdm_free(row);
    tdm_h5_discard(&file);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gallery_holds_what_exists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_captions_without_an_image_have_no_pair, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files_keep_rows, setup, teardown),
    };
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    tdm_status status = TDM_OK;
    if (rank == 0 && scratch_dir(dir, sizeof dir) != 0)
        status = TDM_ERROR(TDM_E_IO, "%s: cannot make it", dir);
    if (rank == 0 && status == TDM_OK) status = write_split();
    tdm_comm_broadcast(comm, dir, sizeof dir, 0);
    snprintf(out, sizeof out, "%s/out", dir);
    status = tdm_comm_agree(comm, status);
    int failed = 1;
    if (status == TDM_OK)
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    else
        tdm_comm_report(comm);
    tdm_comm_barrier(comm);
    if (rank == 0 && tdm_remove_tree(dir) != TDM_OK) failed = 1;
    tdm_comm_destroy(&comm);
    return failed;
}
