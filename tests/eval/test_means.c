/* Means over groups of queries and folds, worked out by hand, on 1-4 ranks. */
#include "check.h"
#include "tandem/comm.h"
#include "tandem/eval_groups.h"

#include <math.h>

static tdm_comm *comm;
static int rank, size;

/* ---- Groups ---- */

enum { QUERIES = 7 };

/* value [rows][own] of queries whose every metric is of[query]. */
static double *own_values(const double *of, int64_t begin, int64_t own)
{
    size_t count = 0;
    double *value = NULL;
    (void)tdm_metric_table(&count);
    CHECK_OK(TDM_ALLOC((int64_t)count * own, &value));
    for (int64_t i = 0; i < (int64_t)count * own; i++) value[i] = of[begin + i % own];
    return value;
}

static void check_groups(const tdm_query_groups *of, const double *value, int64_t own, const int64_t *id,
                         const int64_t *queries, const double *mean, int64_t groups)
{
    tdm_group_metrics got;
    const int64_t map = tdm_metric_index("map"), median = tdm_metric_index("median_rank");
    double sum = 0;
    int64_t with = 0;
    CHECK_OK(tdm_eval_group_metrics(comm, NULL, own, value, of, true, &got));
    CHECK_EQ(got.groups, groups);
    for (int64_t k = 0; k < groups; k++) {
        CHECK_EQ(got.id[k], id[k]);
        CHECK_EQ(got.queries[k], queries[k]);
        const double is = got.value[map * groups + k];
        if (queries[k] == 0) CHECK_TRUE(isnan(is));
        if (queries[k] > 0) CHECK_EQ(is, mean[k]);
        sum += queries[k] > 0 ? mean[k] : 0;
        with += queries[k] > 0;
    }
    CHECK_EQ(got.without_positive, groups - with);
    CHECK_EQ(got.macro[map], sum / (double)with);
    CHECK_TRUE(isnan(got.macro[median]));
    tdm_group_metrics_free(&got);
    CHECK_OK(tdm_eval_group_metrics(comm, NULL, own, value, of, false, &got));
    CHECK_TRUE(got.value == NULL);
    CHECK_EQ(got.macro[map], sum / (double)with);
    tdm_group_metrics_free(&got);
}

static void test_groups(void **state)
{
    (void)state;
    static const double of[QUERIES] = {1, 0.5, NAN, 0.25, 0, NAN, 0.5};
    static const int64_t ids[QUERIES] = {-3, 9, 9, 9, 70000000000, 4, -3};
    /* bits 1, 1 and 70, 70, none, 70, 2, 0 */
    static const uint64_t bits[QUERIES][2] = {{2, 0}, {2, 64}, {0, 64}, {0, 0}, {0, 64}, {4, 0}, {1, 0}};
    const int64_t begin = tdm_part_begin(QUERIES, size, rank);
    const int64_t own = tdm_part_begin(QUERIES, size, rank + 1) - begin;
    double *value = own_values(of, begin, own);
    const tdm_query_groups by_id = {.id = ids + begin}, by_bit = {.bits = bits[begin], .words = 2};
    check_groups(&by_id, value, own, (const int64_t[]){-3, 4, 9, 70000000000}, (const int64_t[]){2, 0, 2, 1},
                 (const double[]){0.75, 0, 0.375, 0}, 4);
    check_groups(&by_bit, value, own, (const int64_t[]){0, 1, 2, 70}, (const int64_t[]){1, 2, 0, 2},
                 (const double[]){0.5, 0.75, 0, 0.25}, 4);
    tdm_free(value);
}

/* ---- Folds ---- */

enum { IMAGES = 5, CAPTIONS = 8 };

static int64_t part_of(int64_t n, int64_t *begin)
{
    *begin = tdm_part_begin(n, size, rank);
    return tdm_part_begin(n, size, rank + 1) - *begin;
}

/* Features are the rows' own numbers, so that one sees which came along. */
static void test_folds(void **state)
{
    (void)state;
    float image[IMAGES], text[CAPTIONS];
    int64_t image_identity[IMAGES], caption_identity[CAPTIONS],
        image_of[CAPTIONS] = {4, 0, -1, 1, 2, 2, 3, 0};
    uint64_t image_labels[IMAGES], caption_labels[CAPTIONS];
    for (int i = 0; i < IMAGES; i++) {
        image[i] = (float)i;
        image_identity[i] = 10 + i;
        image_labels[i] = 100 + (uint64_t)i;
    }
    for (int c = 0; c < CAPTIONS; c++) {
        text[c] = (float)c;
        caption_identity[c] = 20 + c;
        caption_labels[c] = 200 + (uint64_t)c;
    }
    int64_t i, c;
    tdm_embeddings e = {.d = 1, .class_count = 9, .label_words = 1};
    e.images = part_of(IMAGES, &i);
    e.captions = part_of(CAPTIONS, &c);
    e.image_first = i;
    e.caption_first = c;
    e.image = image + i;
    e.text = text + c;
    e.image_identity = image_identity + i;
    e.caption_identity = caption_identity + c;
    e.image_labels = image_labels + i;
    e.caption_labels = caption_labels + c;
    e.image_row_of_caption = image_of + c;
    static const struct {
        int64_t first_image, captions, caption[5], image_of[5];
    } want[2] = {{0, 5, {1, 3, 4, 5, 7}, {0, 1, 2, 2, 0}}, {3, 2, {0, 6}, {1, 0}}};
    for (int64_t k = 0; k < 2; k++) { /* images 0 to 2, images 3 and 4 */
        tdm_embeddings part;
        CHECK_OK(tdm_embeddings_fold(comm, &e, 2, k, &part));
        int64_t total[2] = {part.images, part.captions};
        tdm_comm_sum_i64(comm, total, 2);
        CHECK_EQ(total[0], 3 - k);
        CHECK_EQ(total[1], want[k].captions);
        for (int64_t j = 0; j < part.images; j++) {
            const int64_t row = want[k].first_image + part.image_first + j;
            CHECK_EQ(part.image[j], row);
            CHECK_EQ(part.image_identity[j], 10 + row);
            CHECK_EQ(part.image_labels[j], 100 + row);
        }
        for (int64_t j = 0; j < part.captions; j++) {
            const int64_t at = part.caption_first + j;
            const int64_t caption = want[k].caption[at];
            CHECK_EQ(part.text[j], caption);
            CHECK_EQ(part.caption_identity[j], 20 + caption);
            CHECK_EQ(part.caption_labels[j], 200 + caption);
            CHECK_EQ(part.image_row_of_caption[j], want[k].image_of[at]);
        }
        tdm_embeddings_free(&part);
    }
}

static void test_side(void **state)
{
    (void)state;
    static const float feature[] = {0, 1, 10, 11, 20, 21};
    static const int64_t id[] = {7, 8, 9}, fold[] = {1, -1, 1};
    const tdm_eval_side side = {.n = 3, .d = 2, .feature = feature, .id = id};
    tdm_side_fold part;
    CHECK_OK(tdm_side_fold_take(&side, fold, 1, &part));
    CHECK_EQ(part.side.n, 2);
    CHECK_MEM_EQ(part.side.feature, ((const float[]){0, 1, 20, 21}), 4 * sizeof *feature);
    CHECK_EQ(part.side.id[1], 9);
    tdm_side_fold_free(&part);
    CHECK_OK(tdm_side_fold_take(&side, fold, 0, &part));
    CHECK_EQ(part.side.n, 0);
    tdm_side_fold_free(&part);
}

static void test_mean(void **state)
{
    (void)state;
    const int map = tdm_metric_index("map");
    tdm_metrics fold[3] = {{.queries = 4, .gallery = 5, .without_positive = 1},
                           {.queries = 2, .gallery = 6, .without_positive = 2},
                           {.queries = 3, .gallery = 7}},
                mean;
    fold[0].value[map] = 0.5;
    fold[1].value[map] = 17; /* of no query: does not count */
    fold[2].value[map] = 0.25;
    tdm_metrics_mean(3, fold, &mean);
    CHECK_EQ(mean.queries, 9);
    CHECK_EQ(mean.gallery, 18);
    CHECK_EQ(mean.without_positive, 3);
    CHECK_EQ(mean.value[map], 0.375);
    tdm_metrics_mean(1, fold + 1, &mean);
    CHECK_EQ(mean.value[map], 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_folds),
        cmocka_unit_test(test_side),
        cmocka_unit_test(test_mean),
    };
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    size = tdm_comm_size(comm);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    return failed;
}
