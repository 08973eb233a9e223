/* Zero-shot classification on 1-4 ranks: accuracies against NumPy, class features against one prompt at a
 * time through the model, the whole way on a sharded split with images of no and of several classes, files of
 * lines. */
#include "check.h"
#include "scratch.h"
#include "tandem/config.h"
#include "tandem/eval.h"
#include "tandem/model.h"
#include "tandem/shard.h"
#include "tandem/tokenizer.h"

#include "../golden/zeroshot_golden.h"
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
    "text: { context_length = 24; vocab_size = 517; width = 32; layers = 2; heads = 2; }; };";
static const char *const class_name[] = {"square", "disc", "cross", "ring"};
static const char *const form[] = {"a {}.", "red {}, {}", "{}"};
enum { CLASSES = 4, TEMPLATES = 3, D = 20, BATCH = 16 };
static const tdm_prompts prompts = {
    .classes = CLASSES, .templates = TEMPLATES, .class_name = class_name, .form = form};

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
    TDM_TRY(tdm_dataset_open(dir, "mixed", &f->dataset));
    TDM_TRY(tdm_ops_create(TDM_F32, 1, &f->ops));
    TDM_TRY(tdm_model_create(&f->config, f->ops, false, BATCH, &f->params, &f->model));
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

/* ---- Accuracy ---- */

static float *widen(const int8_t *from, int64_t n)
{
    float *to = NULL;
    CHECK_OK(TDM_ALLOC(n, &to));
    for (int64_t i = 0; i < n; i++) to[i] = from[i];
    return to;
}

static void check_golden(tdm_ops *ops, const zeroshot_golden *g)
{
    const int64_t words = (g->classes + 63) / 64;
    const int64_t first_image = tdm_part_begin(g->images, size, rank);
    const int64_t first_class = tdm_part_begin(g->classes, size, rank);
    float *image = widen(g->image, g->images * g->d), *feature = widen(g->class_feature, g->classes * g->d);
    const tdm_eval_side images = {.n = tdm_part_begin(g->images, size, rank + 1) - first_image,
                                  .d = g->d,
                                  .feature = image + first_image * g->d,
                                  .labels = g->label + first_image * words,
                                  .label_words = words};
    const tdm_eval_side classes = {.n = tdm_part_begin(g->classes, size, rank + 1) - first_class,
                                   .d = g->d,
                                   .feature = feature + first_class * g->d};
    tdm_accuracy a;
    CHECK_OK(tdm_zeroshot_accuracy(comm, ops, &images, &classes, &a));
    CHECK_EQ(a.images, g->images);
    CHECK_EQ(a.classes, g->classes);
    CHECK_EQ(a.without_class, g->without);
    CHECK_EQ(a.several_classes, g->several);
    CHECK_EQ(a.classes_without_images, g->empty);
    for (int64_t c = 0; c < g->classes; c++) {
        CHECK_EQ(a.per_class[c].images, g->per_class[3 * c]);
        CHECK_EQ(a.per_class[c].top_1, g->per_class[3 * c + 1]);
        CHECK_EQ(a.per_class[c].top_5, g->per_class[3 * c + 2]);
    }
    /* counts are exact; the divisions and the sum of up to 70 shares round in f64 */
    CHECK_NEAR(a.top_1, g->top_1, 1e-14);
    CHECK_NEAR(a.top_5, g->top_5, 1e-14);
    CHECK_NEAR(a.mean_per_class, g->mean_per_class, 1e-14);
    tdm_accuracy_free(&a);
    tdm_free(image);
    tdm_free(feature);
}

static void test_golden(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < sizeof zeroshot_goldens / sizeof zeroshot_goldens[0]; i++)
        check_golden(f->ops, &zeroshot_goldens[i]);
}

/* Nothing to average is an error on every rank, never 0 or NaN. */
static void test_nothing(void **state)
{
    fixture *f = *state;
    const float feature[2] = {1, 0};
    const uint64_t none = 0;
    const int64_t n = rank == 0;
    const tdm_eval_side classes = {.n = n, .d = 2, .feature = feature};
    tdm_eval_side image = {.n = n, .d = 2, .feature = feature, .labels = &none, .label_words = 1};
    tdm_accuracy a;
    CHECK_FAILS(tdm_zeroshot_accuracy(comm, f->ops, &image, &classes, &a), TDM_E_DATA, "");
    CHECK_NULL(a.per_class);
    image.n = 0;
    CHECK_FAILS(tdm_zeroshot_accuracy(comm, f->ops, &image, &classes, &a), TDM_E_DATA, "");
    image.n = n;
    image.label_words = 2;
    CHECK_EQ(tdm_zeroshot_accuracy(comm, f->ops, &image, &classes, &a),
             rank == 0 || size > 1 ? TDM_E_SHAPE : TDM_OK);
}

/* ---- Class features ---- */

/* Adds a prompt's unit feature to sum[D]. */
static void add_unit_feature(fixture *f, const char *text, double *sum)
{
    int32_t token[24];
    float feature[D];
    int64_t seq[2] = {0, 0};
    double square = 0;
    CHECK_OK(tdm_tokenizer_encode(f->tokenizer, text, 24, token, &seq[1], NULL));
    const tdm_tower_input input = {.n = 1, .token = token, .seq = seq};
    CHECK_OK(
        tdm_model_embed(f->model, TDM_TEXT, &input, &(tdm_pass){0}, &(tdm_tower_output){.pooled = feature}));
    for (int k = 0; k < D; k++) square += (double)feature[k] * (double)feature[k];
    for (int k = 0; k < D; k++) sum[k] += (double)feature[k] / sqrt(square);
}

static void expected_feature(fixture *f, int64_t class, double *sum)
{
    char text[3][64];
    double square = 0;
    snprintf(text[0], 64, "a %s.", class_name[class]);
    snprintf(text[1], 64, "red %s, %s", class_name[class], class_name[class]);
    snprintf(text[2], 64, "%s", class_name[class]);
    memset(sum, 0, D * sizeof *sum);
    for (int t = 0; t < TEMPLATES; t++) add_unit_feature(f, text[t], sum);
    for (int k = 0; k < D; k++) square += sum[k] * sum[k];
    for (int k = 0; k < D; k++) sum[k] /= sqrt(square);
}

static void test_class_features(void **state)
{
    fixture *f = *state;
    float first[CLASSES * D]; /* of the first batch size: the others must give the same bits */
    for (int64_t batch = 1; batch <= BATCH; batch++) {
        int64_t n, cut;
        float *feature;
        CHECK_OK(tdm_zeroshot_classes(comm, f->model, f->ops, &f->config, f->tokenizer, &prompts, batch, &n,
                                      &feature, &cut));
        CHECK_EQ(n, tdm_part_begin(CLASSES, size, rank + 1) - tdm_part_begin(CLASSES, size, rank));
        CHECK_EQ(cut, 0);
        for (int64_t c = 0; c < n; c++) {
            double want[D];
            expected_feature(f, tdm_part_begin(CLASSES, size, rank) + c, want);
            /* f32 rounding of features of norm 1 */
            for (int k = 0; k < D; k++) CHECK_NEAR((double)feature[c * D + k], want[k], 2e-6);
        }
        if (batch == 1) memcpy(first, feature, sizeof(float) * (size_t)(n * D));
        if (strncmp(tdm_ops_isa(f->ops), "avx2", 4) != 0) /* see tandem/ops.h */
            CHECK_MEM_EQ(first, feature, sizeof(float) * (size_t)(n * D));
        tdm_free(feature);
    }
    const char *const long_name[] = {"an extremely long name of a class that the context cannot hold"};
    const tdm_prompts too_long = {.classes = 1, .templates = 1, .class_name = long_name, .form = form};
    int64_t n, cut;
    float *feature;
    CHECK_OK(tdm_zeroshot_classes(comm, f->model, f->ops, &f->config, f->tokenizer, &too_long, BATCH, &n,
                                  &feature, &cut));
    CHECK_EQ(cut, n);
    tdm_free(feature);
}

/* ---- The whole way ---- */

/* Features of all ranks, gathered everywhere, and the accuracy from them by the definition. */
static void test_split(void **state)
{
    fixture *f = *state;
    int64_t n, cut;
    float *feature, *all_classes = NULL, *all_images = NULL;
    tdm_embeddings e;
    tdm_accuracy a;
    CHECK_OK(tdm_zeroshot_classes(comm, f->model, f->ops, &f->config, f->tokenizer, &prompts, BATCH, &n,
                                  &feature, &cut));
    CHECK_OK(tdm_embed_dataset(comm, f->model, f->ops, &f->config, f->dataset, NULL, 7, 2, &e));
    CHECK_EQ(e.captions, 0);
    const tdm_eval_side image = {
        .n = e.images, .d = D, .feature = e.image, .labels = e.image_labels, .label_words = e.label_words};
    const tdm_eval_side classes = {.n = n, .d = D, .feature = feature};
    CHECK_OK(tdm_zeroshot_accuracy(comm, f->ops, &image, &classes, &a));

    int64_t rows[8];
    CHECK_OK(TDM_ALLOC(CLASSES * D, &all_classes));
    CHECK_OK(TDM_ALLOC(MIXED_IMAGES * D, &all_images));
    tdm_comm_gather_i64(comm, n, rows);
    tdm_comm_gather_rows(comm, feature, all_classes, rows, D * sizeof(float));
    tdm_comm_gather_i64(comm, e.images, rows);
    tdm_comm_gather_rows(comm, e.image, all_images, rows, D * sizeof(float));
    static float score[MIXED_IMAGES * CLASSES];
    CHECK_OK(tdm_eval_scores(MIXED_IMAGES, CLASSES, D, all_images, all_classes, score));
    int64_t found = 0, without = 0, several = 0, per_class[CLASSES][2] = {{0}};
    for (int64_t i = 0; i < MIXED_IMAGES; i++) {
        int64_t own[2], best = 0;
        const int count = mixed_classes(i, own);
        for (int64_t c = 1; c < CLASSES; c++)
            if (score[i * CLASSES + c] > score[i * CLASSES + best]) best = c;
        bool hit = false;
        for (int j = 0; j < count; j++) hit |= own[j] == best;
        for (int j = 0; j < count; j++) {
            per_class[own[j]][0]++;
            per_class[own[j]][1] += hit;
        }
        found += hit;
        without += count == 0;
        several += count == 2;
    }
    CHECK_EQ(a.images, MIXED_IMAGES);
    CHECK_EQ(a.without_class, without);
    CHECK_EQ(a.several_classes, several);
    CHECK_GT(without, 0);
    CHECK_GT(several, 0);
    CHECK_GT(found, 0);
    CHECK_EQ(a.top_1, (double)found / (double)(MIXED_IMAGES - without));
    CHECK_EQ(a.top_5, 1); /* of four classes */
    for (int c = 0; c < CLASSES; c++) {
        CHECK_EQ(a.per_class[c].images, per_class[c][0]);
        CHECK_EQ(a.per_class[c].top_1, per_class[c][1]);
    }
    tdm_accuracy_free(&a);
    tdm_embeddings_free(&e);
    tdm_free(feature);
    tdm_free(all_classes);
    tdm_free(all_images);
}

/* ---- Files ---- */

static char path[128];

static void write_text(const char *text, size_t bytes)
{
    snprintf(path, sizeof path, "%s/lines-%d.txt", dir, rank);
    CHECK_OK(tdm_write_file_atomic(path, text, bytes));
}

static void refuse_templates(const char *text, size_t bytes, const char *message)
{
    tdm_line_list list;
    write_text(text, bytes);
    CHECK_FAILS(tdm_templates_read(path, &list), TDM_E_FORMAT, "");
    CHECK_NULL(list.line);
    CHECK_MESSAGE(message);
    CHECK_MESSAGE(path);
}

static void test_files(void **state)
{
    (void)state;
    tdm_line_list list;
    static const char good[] = "\xEF\xBB\xBF# a comment\r\n  a {} and {}\t\r\n\r\n #{}\nlast {}";
    write_text(good, sizeof good - 1);
    CHECK_OK(tdm_templates_read(path, &list));
    CHECK_EQ(list.count, 3);
    CHECK_STR_EQ(list.line[0], "a {} and {}");
    CHECK_STR_EQ(list.line[1], "#{}");
    CHECK_STR_EQ(list.line[2], "last {}");
    CHECK_EQ(list.number[2], 5);
    tdm_line_list_free(&list);

    refuse_templates("", 0, "holds no template");
    refuse_templates("# only this\n\n  \n", 16, "holds no template");
    refuse_templates("a {}\n\na { }\n", 12, ":3: template \"a { }\" has no {}");
    refuse_templates("a {}\0b {}\n", 10, "NUL");

    write_text("one\ntwo\n", 8);
    CHECK_OK(tdm_class_names_read(path, 2, &list));
    CHECK_STR_EQ(list.line[1], "two");
    tdm_line_list_free(&list);
    CHECK_FAILS(tdm_class_names_read(path, 3, &list), TDM_E_FORMAT,
                "holds 2 class names, the data set has 3");
    CHECK_FAILS(tdm_class_names_read("/nowhere/names", 3, &list), TDM_E_IO, "");
}

int main(int argc, char **argv)
{
    fixture f = {0};
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    size = tdm_comm_size(comm);
    tdm_status status = TDM_OK;
    if (rank == 0 && scratch_dir(dir, sizeof dir) == 0) status = make_mixed_shapes(dir);
    tdm_comm_broadcast(comm, dir, sizeof dir, 0);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) status = tdm_comm_agree(comm, open_fixture(&f));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_golden, &f),         cmocka_unit_test_prestate(test_nothing, &f),
        cmocka_unit_test_prestate(test_class_features, &f), cmocka_unit_test_prestate(test_split, &f),
        cmocka_unit_test_prestate(test_files, &f),
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
