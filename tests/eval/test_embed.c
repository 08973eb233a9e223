/* Embedding a split: pieces, normalisation, rows and labels, against one row at a time through the model. */
#include "check.h"
#include "scratch.h"
#include "tandem/config.h"
#include "tandem/eval.h"
#include "tandem/loader.h"
#include "tandem/model.h"

#include "shapes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tdm_comm *comm;
static int rank, size;
static char dir[64];

static const char merges[] = "#version: 0.2\nr e\nre d</w>\nd i\n";
static const char model_text[] =
    "model: { name = \"tiny\"; embed_dim = 20; activation = \"gelu\"; tokenizer = \"memory\";"
    "image: { height_px = 32; width_px = 32; patch_px = 8; width = 32; layers = 1; heads = 2; };"
    "text: { context_length = 24; vocab_size = 517; width = 32; layers = 1; heads = 2; }; };";

typedef struct fixture {
    tdm_config config;
    tdm_tokenizer *tokenizer;
    tdm_dataset *dataset;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
} fixture;

static tdm_status open_fixture(fixture *f)
{
    TDM_TRY(tdm_config_init(&f->config));
    TDM_TRY(tdm_config_load_text(&f->config, "model", model_text));
    TDM_TRY(tdm_tokenizer_open_memory("merges", merges, sizeof merges - 1, &f->tokenizer));
    TDM_TRY(tdm_dataset_open(dir, "test", &f->dataset));
    TDM_TRY(tdm_ops_create(TDM_F32, 1, &f->ops));
    TDM_TRY(tdm_model_create(&f->config, f->ops, false, 16, &f->params, &f->model));
    TDM_TRY(tdm_params_allocate(&f->params, false));
    tdm_params_init(&f->params, 3);
    return tdm_model_load(f->model);
}

static void close_fixture(fixture *f)
{
    tdm_model_destroy(&f->model);
    tdm_params_destroy(&f->params);
    tdm_ops_destroy(&f->ops);
    tdm_dataset_close(&f->dataset);
    tdm_tokenizer_destroy(&f->tokenizer);
    tdm_config_destroy(&f->config);
}

static void normalise(const float *feature, int64_t d, float *out)
{
    double square = 0;
    for (int64_t k = 0; k < d; k++) square += (double)feature[k] * (double)feature[k];
    for (int64_t k = 0; k < d; k++) out[k] = (float)((double)feature[k] / sqrt(square));
}

/* f32 rounding of two ways to sum a norm: a few units of the last place of values below 1 */
static void check_image(fixture *f, const tdm_embeddings *e, int64_t i)
{
    uint8_t pixel[32 * 32 * 3];
    float feature[20], want[20];
    CHECK_OK(tdm_load_images(f->dataset, e->image_first + i, 1, 32, 32, (tdm_image_policy){0}, 1, pixel));
    const tdm_tower_input input = {.n = 1, .image = pixel};
    CHECK_OK(
        tdm_model_embed(f->model, TDM_IMAGE, &input, &(tdm_pass){0}, &(tdm_tower_output){.pooled = feature}));
    normalise(feature, 20, want);
    CHECK_CLOSE_ARRAY(20, e->image + i * 20, want, 2e-6);
}

static void check_caption(fixture *f, const tdm_embeddings *e, int64_t c)
{
    float feature[20], want[20];
    tdm_text_batch text = {0};
    CHECK_OK(tdm_load_captions(f->dataset, f->tokenizer, e->caption_first + c, 1, 24, &text));
    const tdm_tower_input input = {.n = 1, .token = text.token, .seq = text.seq};
    CHECK_OK(
        tdm_model_embed(f->model, TDM_TEXT, &input, &(tdm_pass){0}, &(tdm_tower_output){.pooled = feature}));
    normalise(feature, 20, want);
    CHECK_CLOSE_ARRAY(20, e->text + c * 20, want, 2e-6);
    tdm_free(text.token);
    tdm_free(text.seq);
}

static void test_pieces(void **state)
{
    fixture *f = *state;
    tdm_embeddings e;
    /* a batch that divides nothing evenly */
    CHECK_OK(tdm_embed_dataset(comm, f->model, f->ops, &f->config, f->dataset, f->tokenizer, 7, 2, &e));
    int64_t total[2] = {e.images, e.captions};
    tdm_comm_sum_i64(comm, total, 2);
    CHECK_EQ(total[0], 64);
    CHECK_EQ(total[1], 128);
    CHECK_EQ(e.image_first, tdm_part_begin(64, size, rank));
    CHECK_EQ(e.d, 20);
    for (int64_t i = 0; i < e.images; i++) {
        check_image(f, &e, i);
        CHECK_EQ(e.image_identity[i], (e.image_first + i) % 32);
        CHECK_EQ(e.image_labels[i], 1 << (e.image_first + i) / 8 % 4);
    }
    for (int64_t c = 0; c < e.captions; c++) {
        const int64_t image = (e.caption_first + c) / 2;
        check_caption(f, &e, c);
        CHECK_EQ(e.image_row_of_caption[c], image);
        CHECK_EQ(e.caption_identity[c], image % 32);
        CHECK_EQ(e.caption_labels[c], 1 << image / 8 % 4);
    }
    tdm_embeddings_free(&e);
}

static void evaluate_by(fixture *f, const tdm_embeddings *e, const char *positives,
                        tdm_metrics metrics[TDM_DIRECTIONS], tdm_status want)
{
    const tdm_match *match = NULL;
    CHECK_OK(tdm_match_find("positives", TDM_E_USAGE, positives, &match));
    CHECK_EQ(tdm_eval_embeddings(comm, f->ops, e, match, metrics), want);
}

/* Every way of matching says the same of two images of a data set as of their embeddings' keys. */
static void test_match_rows(void **state)
{
    fixture *f = *state;
    size_t count = 0;
    const tdm_match *const *row = tdm_match_table(&count);
    const int64_t images = tdm_dataset_images(f->dataset);
    tdm_embeddings e;
    CHECK_OK(tdm_embed_dataset(comm, f->model, f->ops, &f->config, f->dataset, f->tokenizer, 16, 1, &e));
    int64_t *image_row = NULL, pairs[2] = {0, 0};
    CHECK_OK(TDM_ALLOC(e.images, &image_row));
    for (size_t r = 0; r < count; r++) {
        tdm_eval_side image = {0}, text = {0};
        CHECK_OK(row[r]->set_keys(&e, image_row, &image, &text));
        for (int64_t c = 0; c < e.captions; c++) {
            for (int64_t i = 0; i < e.images; i++) {
                const bool by_key = image.labels != NULL ? (image.labels[i] & text.labels[c]) != 0
                                                         : image.id[i] == text.id[c];
                bool positive = !by_key;
                CHECK_OK(
                    row[r]->is_positive(f->dataset, e.image_row_of_caption[c], e.image_first + i, &positive));
                CHECK_EQ(positive, by_key);
                pairs[positive]++;
            }
        }
    }
    tdm_comm_sum_i64(comm, pairs, 2);
    CHECK_GE(pairs[true], 1);
    CHECK_LE(pairs[true], (int64_t)count * images * images * 2);
    CHECK_GE(pairs[false], 1);
    CHECK_LE(pairs[false], (int64_t)count * images * images * 2);
    tdm_free(image_row);
    tdm_embeddings_free(&e);
}

/* How many positives there are shows in mINP's and R@k's inputs: pairs have 1 or 2, identities 2 or 4,
 * classes 16 or 32. Perfect embeddings (one-hot of the identity) must be found wherever the definition says
 * so. */
static void test_positives(void **state)
{
    fixture *f = *state;
    tdm_embeddings e;
    tdm_metrics m[TDM_DIRECTIONS], *const t = &m[TDM_TEXT_TO_IMAGE], *const i = &m[TDM_IMAGE_TO_TEXT];
    CHECK_OK(tdm_embed_dataset(comm, f->model, f->ops, &f->config, f->dataset, f->tokenizer, 16, 1, &e));
    float *image = NULL, *text = NULL;
    CHECK_OK(TDM_ALLOC(e.images * 32, &image));
    CHECK_OK(TDM_ALLOC(e.captions * 32, &text));
    for (int64_t r = 0; r < e.images; r++) image[r * 32 + e.image_identity[r]] = 1;
    for (int64_t r = 0; r < e.captions; r++) text[r * 32 + e.caption_identity[r]] = 1;
    tdm_embeddings perfect = e;
    perfect.d = 32;
    perfect.image = image;
    perfect.text = text;

    evaluate_by(f, &perfect, "identity", m, TDM_OK);
    CHECK_EQ(tdm_metrics_value(t, "map"), 1);
    CHECK_EQ(tdm_metrics_value(t, "map_at_r"), 1);
    CHECK_EQ(tdm_metrics_value(t, "minp"), 1);
    CHECK_EQ(tdm_metrics_value(i, "map"), 1);
    CHECK_EQ(tdm_metrics_value(i, "recall_at_1"), 1);
    CHECK_EQ(t->queries, 128);
    CHECK_EQ(t->gallery, 64);
    CHECK_EQ(i->queries, 64);

    /* two images per identity tie; the lower row wins: half of the captions find their own first, half second
     */
    evaluate_by(f, &perfect, "pair", m, TDM_OK);
    CHECK_EQ(tdm_metrics_value(t, "recall_at_1"), 0.5);
    CHECK_EQ(tdm_metrics_value(t, "recall_at_5"), 1);
    CHECK_EQ(tdm_metrics_value(t, "mean_rank"), 1.5);
    CHECK_EQ(tdm_metrics_value(t, "median_rank"), 1.5);

    evaluate_by(f, &perfect, "class", m, TDM_OK);
    CHECK_EQ(tdm_metrics_value(t, "recall_at_1"), 1);
    CHECK_LT(tdm_metrics_value(t, "map"), 1);
    CHECK_EQ(t->without_positive, 0);

    perfect.class_count = 0;
    evaluate_by(f, &perfect, "class", m, TDM_E_DATA);
    const tdm_match *match;
    CHECK_FAILS(tdm_match_find("eval.positives", TDM_E_CONFIG, "colour", &match), TDM_E_CONFIG,
                "eval.positives colour: must be pair, identity or class");
    tdm_free(image);
    tdm_free(text);
    tdm_embeddings_free(&e);
}

/* A weight that is not finite: the rows are counted, and the first sample is named. */
static void test_not_finite(void **state)
{
    fixture *f = *state;
    static const char *const rows[] = {"visual.proj", "text_projection"};
    for (int text = 0; text < 2; text++) {
        const tdm_param *row = tdm_params_find(&f->params, rows[text]);
        float *weight = f->params.weight + row->offset, kept = *weight;
        const int64_t n = text ? 128 : 64, first = tdm_part_begin(n, size, rank);
        const int64_t own = tdm_part_begin(n, size, rank + 1) - first;
        tdm_embeddings e;
        tdm_text name = {0};
        char message[512];
        *weight = NAN;
        CHECK_OK(tdm_model_load(f->model));
        CHECK_OK(tdm_dataset_read_name(f->dataset, text ? first / 2 : first, &name));
        snprintf(message, sizeof message,
                 "%lld of %lld %s embeddings are not finite, the first is that of %s %lld (%s)",
                 (long long)own, (long long)own, text ? "caption" : "image", text ? "caption" : "image",
                 (long long)first, name.data);
        CHECK_FAILS(tdm_embed_dataset(comm, f->model, f->ops, &f->config, f->dataset, f->tokenizer, 7, 2, &e),
                    TDM_E_NUMERIC, message);
        CHECK_NULL(e.image);
        *weight = kept;
        CHECK_OK(tdm_model_load(f->model));
        tdm_text_free(&name);
    }
}

int main(int argc, char **argv)
{
    fixture f = {0};
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    size = tdm_comm_size(comm);
    tdm_status status = TDM_OK;
    if (rank == 0 && scratch_dir(dir, sizeof dir) == 0) status = make_shapes(dir);
    tdm_comm_broadcast(comm, dir, sizeof dir, 0);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) status = tdm_comm_agree(comm, open_fixture(&f));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_pieces, &f),
        cmocka_unit_test_prestate(test_positives, &f),
        cmocka_unit_test_prestate(test_match_rows, &f),
        cmocka_unit_test_prestate(test_not_finite, &f),
    };
    int failed = 1;
    if (status == TDM_OK)
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    else
        tdm_comm_report(comm);
    close_fixture(&f);
    tdm_comm_barrier(comm);
    if (rank == 0 && tdm_remove_tree(dir) != TDM_OK) failed = 1;
    tdm_comm_destroy(&comm);
    return failed;
}
