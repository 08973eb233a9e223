/* Ranks and metrics on 1-4 ranks: against NumPy, and against the definition with equality of bits, for
 * several shardings, block sizes and instruction sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tandem/comm.h"
#include "tandem/eval.h"
#include "tandem/rng.h"

#include "../golden/eval_golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tdm_comm *comm;
static int rank, size;

/* A whole list on every rank, of which `piece` cuts this rank's part. */
typedef struct whole_side {
    int64_t n, d;
    float *feature;
    int64_t *key;
} whole_side;

static whole_side make_side(int64_t n, int64_t d)
{
    whole_side side = {.n = n, .d = d};
    assert_int_equal(TDM_ALLOC(n * d, &side.feature), TDM_OK);
    assert_int_equal(TDM_ALLOC(n, &side.key), TDM_OK);
    return side;
}

static void free_side(whole_side *side)
{
    tdm_free(side->feature);
    tdm_free(side->key);
}

enum { EVEN, FRONT, BACK, SHARDINGS }; /* FRONT and BACK leave ranks empty or nearly so */

static int64_t cut_at(int64_t n, int sharding, int part)
{
    if (sharding == EVEN || part == 0 || part == size) return tdm_part_begin(n, size, part);
    return sharding == FRONT ? n - tdm_min_i64(n, size - 1 - part) : tdm_min_i64(n, part - 1);
}

static tdm_eval_side piece(const whole_side *side, bool labelled, int sharding)
{
    const int64_t begin = cut_at(side->n, sharding, rank), end = cut_at(side->n, sharding, rank + 1);
    tdm_eval_side part = {.n = end - begin, .d = side->d, .feature = side->feature + begin * side->d};
    if (labelled) {
        part.labels = (const uint64_t *)(const void *)(side->key + begin);
        part.label_words = 1;
    } else {
        part.id = side->key + begin;
    }
    return part;
}

static void print_difference(const char *name, const tdm_metrics *got, const tdm_metrics *want)
{
    tdm_text text = {0};
    assert_int_equal(tdm_metrics_json(got, &text), TDM_OK);
    assert_int_equal(tdm_text_printf(&text, "\n  wanted "), TDM_OK);
    assert_int_equal(tdm_metrics_json(want, &text), TDM_OK);
    print_error("%s on rank %d/%d: %s\n", name, rank, size, text.data);
    tdm_text_free(&text);
}

static bool near(double a, double b, double tolerance)
{
    return fabs(a - b) <= tolerance * fmax(1.0, fabs(b));
}

/* tolerance 0: the same bits */
static void assert_metrics(const char *name, const tdm_metrics *got, const tdm_metrics *want,
                           double tolerance)
{
    const double *a = &got->recall_at_1, *b = &want->recall_at_1;
    bool same = got->queries == want->queries && got->gallery == want->gallery &&
                got->without_positive == want->without_positive;
    for (int i = 0; i < 8; i++) same = same && near(a[i], b[i], tolerance);
    if (!same) print_difference(name, got, want);
    assert_true(same);
}

static const char *const isas[] = {"generic", "avx2", "avx512"};

static void check_all_ways(const char *name, const whole_side *query, const whole_side *gallery,
                           bool labelled, bool exclude_self, const tdm_metrics *want, double tolerance)
{
    /* Few queries also travel one by one; with many that would be thousands of messages and nothing new. */
    const int64_t blocks[] = {query->n <= 5 ? 1 : 19, 31, 64, 100000};
    for (int way = 0; way < 12; way++) {
        setenv("TANDEM_ISA", isas[way % 3], 1);
        const int sharding = way % SHARDINGS, other = way / 4 % SHARDINGS;
        const tdm_eval_side q = piece(query, labelled, sharding), g = piece(gallery, labelled, other);
        tdm_metrics got;
        assert_int_equal(tdm_eval_metrics(comm, NULL, &q, &g, exclude_self, blocks[way % 4], &got), TDM_OK);
        assert_metrics(name, &got, want, tolerance);
    }
    unsetenv("TANDEM_ISA");
}

/* ---- NumPy's values ---- */

static whole_side golden_side(int64_t n, int64_t d, const int16_t *feature, const int64_t *key)
{
    whole_side side = make_side(n, d);
    for (int64_t i = 0; i < n * d; i++) side.feature[i] = feature[i];
    memcpy(side.key, key, (size_t)n * sizeof *key);
    return side;
}

static void test_numpy(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof eval_goldens / sizeof eval_goldens[0]; i++) {
        const eval_golden *g = &eval_goldens[i];
        whole_side query = golden_side(g->expected.queries, g->d, g->query, g->query_key);
        whole_side gallery = golden_side(g->expected.gallery, g->d, g->gallery, g->gallery_key);
        /* f64 means of at most 90 values in another order of summation */
        check_all_ways(g->name, &query, &gallery, g->labelled, g->exclude_self, &g->expected, 1e-13);
        free_side(&query);
        free_side(&gallery);
    }
}

/* ---- The definition, literally ---- */

static float *definition_scores(const whole_side *query, const whole_side *gallery)
{
    float *score = NULL;
    assert_int_equal(TDM_ALLOC(query->n * gallery->n, &score), TDM_OK);
    for (int64_t q = 0; q < query->n; q++)
        for (int64_t g = 0; g < gallery->n; g++) {
            float sum = 0;
            for (int64_t k = 0; k < query->d; k++)
                sum = fmaf(query->feature[q * query->d + k], gallery->feature[g * query->d + k], sum);
            score[q * gallery->n + g] = sum;
        }
    return score;
}

static int compare_i64(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* rank[m] ascending of the positives of query q; returns m. */
static int64_t definition_ranks(const float *score, const whole_side *query, const whole_side *gallery,
                                int64_t q, bool labelled, bool exclude_self, int64_t *ranks)
{
    int64_t m = 0;
    const float *s = score + q * gallery->n;
    for (int64_t p = 0; p < gallery->n; p++) {
        const bool match =
            labelled ? (query->key[q] & gallery->key[p]) != 0 : query->key[q] == gallery->key[p];
        if (!match || (exclude_self && p == q)) continue;
        ranks[m] = 1;
        for (int64_t g = 0; g < gallery->n; g++)
            if (!(exclude_self && g == q)) ranks[m] += s[g] > s[p] || (s[g] == s[p] && g < p);
        m++;
    }
    qsort(ranks, (size_t)m, sizeof *ranks, compare_i64);
    return m;
}

static tdm_metrics definition(const whole_side *query, const whole_side *gallery, bool labelled,
                              bool exclude_self)
{
    tdm_metrics want = {.queries = query->n, .gallery = gallery->n};
    float *score = definition_scores(query, gallery);
    int64_t *ranks = NULL, *first = NULL, with = 0;
    assert_int_equal(TDM_ALLOC(gallery->n, &ranks), TDM_OK);
    assert_int_equal(TDM_ALLOC(query->n, &first), TDM_OK);
    double within[3] = {0, 0, 0};
    for (int64_t q = 0; q < query->n; q++) {
        const int64_t m = definition_ranks(score, query, gallery, q, labelled, exclude_self, ranks);
        if (m == 0) continue;
        double ap = 0, ap_at_r = 0;
        for (int64_t i = 0; i < m; i++) {
            ap += (double)(i + 1) / (double)ranks[i];
            ap_at_r += ranks[i] <= m ? (double)(i + 1) / (double)ranks[i] : 0;
        }
        first[with++] = ranks[0];
        within[0] += ranks[0] <= 1;
        within[1] += ranks[0] <= 5;
        within[2] += ranks[0] <= 10;
        want.mean_rank += (double)ranks[0];
        want.map += ap / (double)m;
        want.map_at_r += ap_at_r / (double)m;
        want.minp += (double)m / (double)ranks[m - 1];
    }
    qsort(first, (size_t)with, sizeof *first, compare_i64);
    const double n = (double)with;
    want.without_positive = query->n - with;
    want.recall_at_1 = within[0] / n;
    want.recall_at_5 = within[1] / n;
    want.recall_at_10 = within[2] / n;
    want.median_rank =
        with % 2 == 1 ? (double)first[with / 2] : ((double)first[with / 2 - 1] + (double)first[with / 2]) / 2;
    want.mean_rank /= n;
    want.map /= n;
    want.map_at_r /= n;
    want.minp /= n;
    tdm_free(score);
    tdm_free(ranks);
    tdm_free(first);
    return want;
}

/* keys < 0: as many identities as that, unit rows around their centres; > 0: random bits of so many labels */
static whole_side random_side(int64_t n, int64_t d, int64_t identities, bool labelled, uint64_t sample)
{
    whole_side side = make_side(n, d);
    for (int64_t i = 0; i < n; i++) {
        tdm_rng rng = tdm_rng_at(11, sample, (uint64_t)i, TDM_RNG_TEST);
        side.key[i] = tdm_rng_below(&rng, labelled ? (int64_t)1 << identities : identities);
        if (labelled) side.key[i] &= tdm_rng_below(&rng, (int64_t)1 << identities);
        tdm_rng centre = tdm_rng_at(12, 0, (uint64_t)side.key[i], TDM_RNG_TEST);
        double square = 0;
        for (int64_t k = 0; k < d; k++) {
            side.feature[i * d + k] = (float)(0.5 * tdm_rng_normal(&centre) + tdm_rng_normal(&rng));
            square += (double)side.feature[i * d + k] * side.feature[i * d + k];
        }
        for (int64_t k = 0; k < d; k++) side.feature[i * d + k] /= (float)sqrt(square);
    }
    return side;
}

static void check_definition(const char *name, int64_t nq, int64_t ng, int64_t d, int64_t identities,
                             bool labelled)
{
    whole_side query = random_side(nq, d, identities, labelled, 1);
    whole_side gallery = random_side(ng, d, identities, labelled, 2);
    const tdm_metrics want = definition(&query, &gallery, labelled, false);
    check_all_ways(name, &query, &gallery, labelled, false, &want, 0);
    free_side(&query);
    free_side(&gallery);
}

static void test_definition(void **state)
{
    (void)state;
    check_definition("pairs", 60, 150, 33, 200, false);
    check_definition("several", 61, 257, 16, 40, false);
    check_definition("classes", 40, 260, 20, 3, false);
    check_definition("labels", 50, 130, 12, 6, true);
}

static void test_exclude_self(void **state)
{
    (void)state;
    whole_side rows = random_side(110, 9, 4, false, 3);
    const tdm_metrics want = definition(&rows, &rows, false, true);
    check_all_ways("self", &rows, &rows, false, true, &want, 0);
    free_side(&rows);
}

/* ---- Top k ---- */

static void check_top_k(const whole_side *query, const whole_side *gallery, int64_t k)
{
    float *score = definition_scores(query, gallery);
    for (int way = 0; way < 6; way++) {
        setenv("TANDEM_ISA", isas[way % 3], 1);
        const tdm_eval_side q = piece(query, false, way % SHARDINGS);
        const tdm_eval_side g = piece(gallery, false, way / 2 % SHARDINGS);
        const int64_t begin = cut_at(query->n, way % SHARDINGS, rank);
        int64_t *row = NULL;
        float *best = NULL;
        assert_int_equal(TDM_ALLOC(q.n * k, &row), TDM_OK);
        assert_int_equal(TDM_ALLOC(q.n * k, &best), TDM_OK);
        assert_int_equal(tdm_eval_top_k(comm, NULL, &q, &g, k, way % 2 == 0 ? 4 : 1000, row, best), TDM_OK);
        for (int64_t i = 0; i < q.n; i++) {
            const float *s = score + (begin + i) * gallery->n;
            for (int64_t j = 0; j < k; j++) { /* the item with exactly j items before it */
                const int64_t at = row[i * k + j];
                if (j >= gallery->n) {
                    assert_int_equal(at, -1);
                    assert_true(best[i * k + j] == 0);
                    continue;
                }
                assert_in_range(at, 0, gallery->n - 1);
                int64_t before = 0;
                for (int64_t c = 0; c < gallery->n; c++) before += s[c] > s[at] || (s[c] == s[at] && c < at);
                assert_int_equal(before, j);
                assert_true(best[i * k + j] == s[at]);
            }
        }
        tdm_free(row);
        tdm_free(best);
    }
    unsetenv("TANDEM_ISA");
    tdm_free(score);
}

static void test_top_k(void **state)
{
    (void)state;
    whole_side query = random_side(25, 10, 5, false, 4), gallery = random_side(141, 10, 5, false, 5);
    check_top_k(&query, &gallery, 1);
    check_top_k(&query, &gallery, 10);
    check_top_k(&query, &gallery, 150); /* more than there are */
    for (int64_t i = 0; i < query.n * query.d; i++) query.feature[i] = (float)(i % 3);
    for (int64_t i = 0; i < gallery.n * gallery.d; i++) gallery.feature[i] = (float)(i % 2);
    check_top_k(&query, &gallery, 17); /* ties everywhere */
    free_side(&query);
    free_side(&gallery);
}

/* ---- Bad input ---- every rank gets the same status ---- */

static void test_errors(void **state)
{
    (void)state;
    whole_side rows = random_side(12, 4, 3, false, 6);
    tdm_eval_side q = piece(&rows, false, EVEN), g = q;
    tdm_metrics got;
    g.d = rank == size - 1 ? 5 : 4;
    assert_int_equal(tdm_eval_metrics(comm, NULL, &q, &g, false, 8, &got), TDM_E_SHAPE);
    g = q;
    assert_int_equal(tdm_eval_metrics(comm, NULL, &q, &g, false, 0, &got), TDM_E_SHAPE);
    rows.feature[12 * 4 - 1] = NAN; /* on the last rank */
    assert_int_equal(tdm_eval_metrics(comm, NULL, &q, &g, false, 8, &got), TDM_E_NUMERIC);
    assert_non_null(strstr(tdm_error_last()->message, "query embedding 11 is not finite in element 3"));
    rows.feature[12 * 4 - 1] = 0;
    for (int i = 0; i < 12 * 4; i++) rows.feature[i] = 3e38F; /* finite, with scores beyond f32 */
    assert_int_equal(tdm_eval_metrics(comm, NULL, &q, &g, false, 8, &got), TDM_E_NUMERIC);
    int64_t row[24];
    float score[24];
    assert_int_equal(tdm_eval_top_k(comm, NULL, &q, &g, 0, 8, row, score), TDM_E_SHAPE);
    free_side(&rows);
}

static void test_json(void **state)
{
    (void)state;
    const tdm_metrics m = {
        .queries = 3, .gallery = 4, .without_positive = 1, .recall_at_1 = 0.5, .map = 0.25};
    tdm_text text = {0};
    assert_int_equal(tdm_metrics_json(&m, &text), TDM_OK);
    assert_string_equal(text.data,
                        "{\"queries\": 3, \"gallery\": 4, \"without_positive\": 1, \"recall_at_1\": 0.5, "
                        "\"recall_at_5\": 0, \"recall_at_10\": 0, \"median_rank\": 0, \"mean_rank\": 0, "
                        "\"map\": 0.25, \"map_at_r\": 0, \"minp\": 0}");
    tdm_text_free(&text);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numpy), cmocka_unit_test(test_definition), cmocka_unit_test(test_exclude_self),
        cmocka_unit_test(test_top_k), cmocka_unit_test(test_errors),     cmocka_unit_test(test_json),
    };
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    size = tdm_comm_size(comm);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    return failed;
}
