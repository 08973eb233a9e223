/* Finding in a packed directory and in stored embeddings, on 1 and 3 ranks, against the scores one by one. */
#include "check.h"
#include "scratch.h"
#include "tandem/checkpoint.h"
#include "tandem/searcher.h"

#include "shapes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static tdm_comm *comm;
static int rank, size;
static char dir[64], data_dir[80], model_dir[80], embedding_dir[80];

static const char merges[] = "#version: 0.2\nr e\nre d</w>\nd i\n";
static const char model_text[] =
    "model: { name = \"tiny\"; embed_dim = 20; activation = \"gelu\"; tokenizer = \"memory\";"
    "image: { height_px = 32; width_px = 32; patch_px = 8; width = 32; layers = 1; heads = 2; };"
    "text: { context_length = 24; vocab_size = 517; width = 32; layers = 1; heads = 2; }; };";
static const tdm_inference_options options = {
    .model = model_dir, .precision = "f32", .threads = 1, .batch = 16, .workers = 1};

static tdm_status write_checkpoint(const char *path, uint64_t seed)
{
    tdm_config config = {0};
    tdm_tokenizer *tokenizer = NULL;
    tdm_ops *ops = NULL;
    tdm_params params = {0};
    tdm_model *model = NULL;
    tdm_status status = tdm_make_dirs(path);
    if (status == TDM_OK) status = tdm_config_init(&config);
    if (status == TDM_OK) status = tdm_config_load_text(&config, "model", model_text);
    if (status == TDM_OK) status = tdm_tokenizer_open_memory("merges", merges, sizeof merges - 1, &tokenizer);
    if (status == TDM_OK) status = tdm_ops_create(TDM_F32, 1, &ops);
    if (status == TDM_OK) status = tdm_model_create(&config, ops, false, 16, &params, &model);
    if (status == TDM_OK) status = tdm_params_allocate(&params, false);
    if (status == TDM_OK) tdm_params_init(&params, seed);
    if (status == TDM_OK) status = tdm_checkpoint_write_model(path, &config, &params, tokenizer, 7);
    tdm_model_destroy(&model);
    tdm_params_destroy(&params);
    tdm_ops_destroy(&ops);
    tdm_tokenizer_destroy(&tokenizer);
    tdm_config_destroy(&config);
    return status;
}

static void open_model(bool with_digest, tdm_inference *inference)
{
    *inference = (tdm_inference){0};
    CHECK_OK(tdm_inference_open(comm, &options, with_digest, inference));
}

static tdm_status open_gallery(const tdm_inference *inference, const char *gallery, const char *split,
                               tdm_searcher *searcher)
{
    const tdm_searcher_options how = {.gallery = gallery, .split = split, .cache = ""};
    return tdm_searcher_open(comm, inference, &how, searcher);
}

/* One text and one image get the features that they get among others. oneDNN, which multiplies where there is no
 * AVX-512, adds in another order for another number of rows: features of unit norm differ by some 1e-7. */
static void test_one(void **state)
{
    (void)state;
    tdm_inference in;
    open_model(false, &in);
    tdm_dataset *dataset = NULL;
    tdm_embeddings e;
    CHECK_EQ(in.step, 7);
    CHECK_OK(tdm_inference_open_data(comm, &in, data_dir, "test", &dataset));
    CHECK_OK(tdm_inference_embed_data(comm, &in, dataset, true, &e));
    for (int64_t i = 0; i < 5 && i < e.captions; i++) {
        float feature[20];
        bool cut = true;
        tdm_text caption = {0}, image = {0};
        CHECK_OK(tdm_dataset_read_caption(dataset, e.caption_first + i, &caption));
        CHECK_OK(tdm_inference_embed_text(&in, caption.data, feature, &cut));
        CHECK_FALSE(cut);
        CHECK_CLOSE_ARRAY(e.d, feature, e.text + i * e.d, 1e-6);
        CHECK_OK(tdm_dataset_read_image(dataset, e.image_first + i, &image));
        CHECK_OK(tdm_inference_embed_image(&in, "it", image.data, image.length, feature));
        CHECK_CLOSE_ARRAY(e.d, feature, e.image + i * e.d, 1e-6);
        tdm_text_free(&caption);
        tdm_text_free(&image);
    }
    float feature[20];
    bool cut = false;
    CHECK_FAILS(tdm_inference_embed_text(&in, " \t", feature, &cut), TDM_E_DATA, "");
    CHECK_OK(tdm_inference_embed_text(&in, "a text that is longer than the context", feature, &cut));
    CHECK_TRUE(cut);
    CHECK_FAILS(tdm_inference_embed_image(&in, "no.png", "no", 2, feature), TDM_E_DATA, "no.png");
    tdm_embeddings_free(&e);
    tdm_dataset_close(&dataset);
    tdm_inference_close(&in);
}

static float dot(const float *a, const float *b, int64_t d)
{
    float sum = 0;
    for (int64_t k = 0; k < d; k++) sum = fmaf(a[k], b[k], sum);
    return sum;
}

/* On rank 0: item j of the list is the one with exactly j before it. gallery [rows][d] whole */
static void check_best(const tdm_found *found, const float *query, const float *gallery, int64_t d)
{
    for (int64_t q = 0; q < found->queries; q++) {
        for (int64_t j = 0; j < found->k; j++) {
            const int64_t at = found->row[q * found->k + j];
            CHECK_GE(at, 0);
            CHECK_LE(at, found->gallery - 1);
            const float score = dot(query + q * d, gallery + at * d, d);
            CHECK_EQ(found->score[q * found->k + j], score);
            int64_t before = 0;
            for (int64_t g = 0; g < found->gallery; g++) {
                const float other = dot(query + q * d, gallery + g * d, d);
                before += other > score || (other == score && g < at);
            }
            CHECK_EQ(before, j);
        }
    }
}

static float *whole_of(const float *piece, int64_t n, int64_t d)
{
    int64_t *rows = NULL, total = n;
    float *all = NULL;
    CHECK_OK(TDM_ALLOC(size, &rows));
    tdm_comm_gather_i64(comm, n, rows);
    tdm_comm_sum_i64(comm, &total, 1);
    CHECK_OK(TDM_ALLOC(total * d, &all));
    tdm_comm_gather_rows(comm, piece, all, rows, d * (int64_t)sizeof *all);
    tdm_free(rows);
    return all;
}

/* Each rank asks for its first `own` captions. */
static void check_find(tdm_searcher *s, tdm_modality what, int64_t own, int64_t k)
{
    const tdm_embeddings *e = &s->embeddings;
    float *query = whole_of(e->text, own, e->d);
    float *gallery =
        what == TDM_IMAGE ? whole_of(e->image, e->images, e->d) : whole_of(e->text, e->captions, e->d);
    tdm_found found;
    CHECK_OK(tdm_searcher_find(s, &(tdm_find){.what = what, .k = k}, own, e->text, &found));
    int64_t queries = own;
    tdm_comm_sum_i64(comm, &queries, 1);
    CHECK_EQ(found.queries, rank == 0 ? queries : 0);
    CHECK_EQ(found.k, tdm_min_i64(k, what == TDM_IMAGE ? 64 : 128));
    check_best(&found, query, gallery, e->d);
    tdm_found_free(&found);
    tdm_free(query);
    tdm_free(gallery);
}

static void check_items(tdm_searcher *s, tdm_modality what, bool has_source)
{
    tdm_found found;
    tdm_found_item *item = NULL;
    CHECK_OK(tdm_searcher_find(s, &(tdm_find){.what = what, .k = 3}, rank == 0 ? 1 : 0, s->embeddings.text,
                               &found));
    if (rank == 0) {
        CHECK_OK(TDM_ALLOC(found.k, &item));
        CHECK_OK(tdm_searcher_read(s, &found, 0, true, item));
    }
    for (int64_t i = 0; rank == 0 && i < found.k; i++) {
        CHECK_EQ(item[i].caption, what == TDM_TEXT ? found.row[i] : -1);
        if (has_source || what == TDM_IMAGE)
            CHECK_EQ(item[i].image, what == TDM_TEXT ? found.row[i] / 2 : found.row[i]);
        CHECK_EQ(item[i].score, (double)found.score[i]);
        CHECK_EQ(item[i].text.length > 0, has_source);
        CHECK_EQ(item[i].name.length > 0, has_source);
        CHECK_EQ(item[i].thumbnail.length > 0, has_source);
        if (has_source) CHECK_EQ(strstr(item[i].text.data, " / ") != NULL, what == TDM_IMAGE);
    }
    tdm_found_items_free(item, found.k);
    tdm_found_free(&found);
}

static void test_find(void **state)
{
    (void)state;
    tdm_inference in;
    open_model(true, &in);
    tdm_searcher packed, stored;
    CHECK_OK(open_gallery(&in, data_dir, "test", &packed));
    tdm_embedding_info info = {0};
    snprintf(info.source, sizeof info.source, "%s", data_dir);
    snprintf(info.split, sizeof info.split, "test");
    snprintf(info.model, sizeof info.model, "%s", model_dir);
    snprintf(info.model_digest, sizeof info.model_digest, "%s", in.digest);
    CHECK_OK(tdm_embeddings_write(comm, embedding_dir, &info, TDM_F32, &packed.embeddings));
    CHECK_OK(open_gallery(&in, embedding_dir, "", &stored));
    CHECK_STR_EQ(stored.split, "test");
    tdm_searcher *const searchers[] = {&packed, &stored};
    for (int i = 0; i < 2; i++) {
        check_find(searchers[i], TDM_IMAGE, 2, 5);
        check_find(searchers[i], TDM_IMAGE, rank == 0 ? 4 : 0, 100); /* more than there are */
        check_find(searchers[i], TDM_TEXT, rank, 7);
        check_items(searchers[i], TDM_IMAGE, true);
        check_items(searchers[i], TDM_TEXT, true);
    }
    tdm_searcher view = tdm_searcher_over(comm, &in, packed.dataset, &packed.embeddings);
    check_find(&view, TDM_IMAGE, 1, 3);
    tdm_searcher_close(&view); /* leaves what it borrowed */
    check_find(&packed, TDM_IMAGE, 1, 3);
    tdm_searcher_close(&stored);

    /* Embeddings without their source, and of another model. */
    snprintf(info.source, sizeof info.source, "%s/gone", dir);
    CHECK_OK(tdm_embeddings_write(comm, embedding_dir, &info, TDM_F32, &packed.embeddings));
    CHECK_OK(open_gallery(&in, embedding_dir, "", &stored));
    CHECK_NULL(stored.dataset);
    check_find(&stored, TDM_IMAGE, 1, 3);
    check_items(&stored, TDM_IMAGE, false);
    check_items(&stored, TDM_TEXT, false);
    tdm_searcher_close(&stored);
    memset(info.model_digest, 'a', 64);
    CHECK_OK(tdm_embeddings_write(comm, embedding_dir, &info, TDM_F32, &packed.embeddings));
    CHECK_FAILS(open_gallery(&in, embedding_dir, "", &stored), TDM_E_DATA, "another model");
    tdm_searcher_close(&packed);
    tdm_inference_close(&in);
}

static void test_errors(void **state)
{
    (void)state;
    tdm_inference in;
    open_model(false, &in);
    tdm_searcher s;
    const struct {
        const char *dir, *split, *message;
        tdm_status status;
    } wrong[] = {
        {"/nosuch", "", "there is no such directory", TDM_E_IO},
        {data_dir, "", "which --split? It has", TDM_E_USAGE},
        {data_dir, "val", "val", TDM_E_DATA},
        {model_dir, "", "neither embeddings", TDM_E_IO},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const tdm_status status = open_gallery(&in, wrong[i].dir, wrong[i].split, &s);
        if (status != wrong[i].status || strstr(tdm_error_last()->message, wrong[i].message) == NULL)
            print_error("%s: %s\n", wrong[i].dir, tdm_error_last()->message);
        CHECK_EQ(status, wrong[i].status);
        CHECK_MESSAGE(wrong[i].message);
    }
    tdm_inference_close(&in);
    tdm_inference_options o = options;
    o.model = "/nosuch";
    tdm_inference none = {0};
    CHECK_NE(tdm_inference_open(comm, &o, false, &none), TDM_OK);
    tdm_inference_close(&none);
}

int main(int argc, char **argv)
{
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    size = tdm_comm_size(comm);
    tdm_status status = TDM_OK;
    if (rank == 0 && scratch_dir(dir, sizeof dir) != 0)
        status = TDM_ERROR(TDM_E_IO, "%s: cannot make it", dir);
    tdm_comm_broadcast(comm, dir, sizeof dir, 0);
    snprintf(data_dir, sizeof data_dir, "%s/data", dir);
    snprintf(model_dir, sizeof model_dir, "%s/model", dir);
    snprintf(embedding_dir, sizeof embedding_dir, "%s/embeddings", dir);
    if (rank == 0 && status == TDM_OK) status = tdm_make_dirs(data_dir);
    if (rank == 0 && status == TDM_OK) status = make_shapes(data_dir);
    if (rank == 0 && status == TDM_OK) status = write_checkpoint(model_dir, 3);
    status = tdm_comm_agree(comm, status);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_errors),
    };
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
