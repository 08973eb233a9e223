/* Ranks and metrics on 1-4 ranks: against NumPy, and against the definition with equality of bits, for
 * several shardings, block sizes and instruction sets. */
#include "check.h"
#include "scratch.h"
#include "tandem/comm.h"
#include "tandem/cpu.h"
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
    int64_t *key, *camera; /* camera NULL: no rule */
} whole_side;

static whole_side make_side(int64_t n, int64_t d)
{
    whole_side side = {.n = n, .d = d};
    CHECK_OK(TDM_ALLOC(n * d, &side.feature));
    CHECK_OK(TDM_ALLOC(n, &side.key));
    return side;
}

static void free_side(whole_side *side)
{
    tdm_free(side->feature);
    tdm_free(side->key);
    tdm_free(side->camera);
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
    if (side->camera) part.camera = side->camera + begin;
    return part;
}

/* tolerance 0: the same bits. NaN in `want`: the value is not known beforehand. */
static void assert_metrics(const char *name, const tdm_metrics *got, const tdm_metrics *want,
                           double tolerance)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_table(&count);
    CHECK_EQ(got->queries, want->queries);
    CHECK_EQ(got->gallery, want->gallery);
    CHECK_EQ(got->without_positive, want->without_positive);
    for (size_t i = 0; i < count; i++) {
        const double a = got->value[i], b = want->value[i];
        if (isnan(b) || fabs(a - b) <= tolerance * fmax(1.0, fabs(b))) continue;
        print_error("%s on rank %d/%d: %s is %.17g, wanted %.17g\n", name, rank, size, row[i]->name, a, b);
        fail();
    }
}

/* From now on the kernels of this instruction set, or the test is skipped (on all ranks: they share this host). */
static void use_isa(const char *isa)
{
    tdm_cpu cpu;
    setenv("TANDEM_ISA", isa, 1);
    CHECK_OK(tdm_cpu_detect(&cpu));
    if (strcmp(tdm_isa_name(cpu.isa), isa) != 0) SKIP("this CPU has no %s", isa);
}

static int any_isa(void **state)
{
    (void)state;
    return unsetenv("TANDEM_ISA");
}

static void check_all_ways(const char *name, const whole_side *query, const whole_side *gallery,
                           bool labelled, bool exclude_self, const tdm_metrics *want, double tolerance)
{
    /* Few queries also travel one by one; with many that would be thousands of messages and nothing new. */
    const int64_t blocks[] = {query->n <= 5 ? 1 : 19, 31, 64, 100000};
    tdm_metrics first; /* all ways give the same bits, known beforehand or not */
    for (int way = 0; way < 6; way++) {
        const int sharding = way % SHARDINGS, other = way / 2 % SHARDINGS;
        const tdm_eval_side q = piece(query, labelled, sharding), g = piece(gallery, labelled, other);
        tdm_metrics got;
        CHECK_OK(tdm_eval_metrics(comm, NULL, &q, &g, exclude_self, blocks[way % 4], &got));
        assert_metrics(name, &got, want, tolerance);
        if (way == 0) first = got;
        assert_metrics(name, &got, &first, 0);
    }
}

/* ---- NumPy's values ---- */

static whole_side golden_side(int64_t n, int64_t d, const int16_t *feature, const int64_t *key)
{
    whole_side side = make_side(n, d);
    for (int64_t i = 0; i < n * d; i++) side.feature[i] = feature[i];
    memcpy(side.key, key, (size_t)n * sizeof *key);
    return side;
}

/* Every row of the table has a value in the golden file: add its definition to make_eval_golden.py. */
static tdm_metrics golden_metrics(const eval_golden_metrics *golden)
{
    enum { KNOWN = sizeof golden->metric / sizeof golden->metric[0] };
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_table(&count);
    tdm_metrics metrics = {
        .queries = golden->queries, .gallery = golden->gallery, .without_positive = golden->without_positive};
    for (size_t i = 0; i < count; i++) {
        int at = 0;
        while (at < KNOWN && strcmp(golden->metric[at].name, row[i]->name) != 0) at++;
        if (at == KNOWN) fail_msg("no golden value of %s", row[i]->name);
        metrics.value[i] = golden->metric[at].value;
    }
    return metrics;
}

static void test_numpy(void **state)
{
    use_isa(*state);
    for (size_t i = 0; i < sizeof eval_goldens / sizeof eval_goldens[0]; i++) {
        const eval_golden *g = &eval_goldens[i];
        const tdm_metrics want = golden_metrics(&g->expected);
        whole_side query = golden_side(g->expected.queries, g->d, g->query, g->query_key);
        whole_side gallery = golden_side(g->expected.gallery, g->d, g->gallery, g->gallery_key);
        /* f64 means of at most 90 values in another order of summation */
        check_all_ways(g->name, &query, &gallery, g->labelled, g->exclude_self, &want, 1e-13);
        free_side(&query);
        free_side(&gallery);
    }
}

/* ---- The definition, literally ---- */

static float *definition_scores(const whole_side *query, const whole_side *gallery)
{
    float *score = NULL;
    CHECK_OK(TDM_ALLOC(query->n * gallery->n, &score));
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

/* Is row g as if it were not there for query q? */
static bool is_junk(const whole_side *query, const whole_side *gallery, int64_t q, int64_t g,
                    bool exclude_self)
{
    return (exclude_self && g == q) ||
           (query->camera && query->key[q] == gallery->key[g] && query->camera[q] == gallery->camera[g]);
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
        if (!match || is_junk(query, gallery, q, p, exclude_self)) continue;
        ranks[m] = 1;
        for (int64_t g = 0; g < gallery->n; g++)
            if (!is_junk(query, gallery, q, g, exclude_self))
                ranks[m] += s[g] > s[p] || (s[g] == s[p] && g < p);
        m++;
    }
    qsort(ranks, (size_t)m, sizeof *ranks, compare_i64);
    return m;
}

static void set_value(tdm_metrics *metrics, const char *name, double value)
{
    const int i = tdm_metric_index(name);
    CHECK_GE(i, 0);
    CHECK_LE(i, TDM_MAX_METRICS - 1);
    metrics->value[i] = value;
}

/* Of the metrics whose sums have one order here and there; the others are compared with NumPy's. */
static tdm_metrics definition(const whole_side *query, const whole_side *gallery, bool labelled,
                              bool exclude_self)
{
    tdm_metrics want = {.queries = query->n, .gallery = gallery->n};
    float *score = definition_scores(query, gallery);
    int64_t *ranks = NULL, *first = NULL, with = 0;
    CHECK_OK(TDM_ALLOC(gallery->n, &ranks));
    CHECK_OK(TDM_ALLOC(query->n, &first));
    double within[3] = {0, 0, 0}, sum_rank = 0, sum_ap = 0, sum_ap_at_r = 0, sum_inp = 0;
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
        sum_rank += (double)ranks[0];
        sum_ap += ap / (double)m;
        sum_ap_at_r += ap_at_r / (double)m;
        sum_inp += (double)m / (double)ranks[m - 1];
    }
    qsort(first, (size_t)with, sizeof *first, compare_i64);
    const double n = (double)with;
    want.without_positive = query->n - with;
    for (int i = 0; i < TDM_MAX_METRICS; i++) want.value[i] = NAN;
    set_value(&want, "recall_at_1", within[0] / n);
    set_value(&want, "recall_at_5", within[1] / n);
    set_value(&want, "recall_at_10", within[2] / n);
    set_value(&want, "median_rank",
              with % 2 == 1 ? (double)first[with / 2]
                            : ((double)first[with / 2 - 1] + (double)first[with / 2]) / 2);
    set_value(&want, "mean_rank", sum_rank / n);
    set_value(&want, "map", sum_ap / n);
    set_value(&want, "map_at_r", sum_ap_at_r / n);
    set_value(&want, "minp", sum_inp / n);
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
    use_isa(*state);
    check_definition("pairs", 60, 150, 33, 200, false);
    check_definition("several", 61, 257, 16, 40, false);
    check_definition("classes", 40, 420, 20, 2, false); /* more positives than are compared one by one */
    check_definition("labels", 50, 130, 12, 6, true);
}

static void test_exclude_self(void **state)
{
    use_isa(*state);
    whole_side rows = random_side(110, 9, 4, false, 3);
    const tdm_metrics want = definition(&rows, &rows, false, true);
    check_all_ways("self", &rows, &rows, false, true, &want, 0);
    free_side(&rows);
}

/* ---- Both directions in one pass ---- */

/* What one asks of each direction: everything. */
static tdm_eval_detail everything(const uint64_t *bits, double *value)
{
    return (tdm_eval_detail){
        .classes = 3, .query_class = bits, .class_words = 1, .curves = true, .value = value};
}

static void assert_detail(const tdm_eval_detail *got, const tdm_eval_detail *want, int64_t n)
{
    size_t count = 0;
    (void)tdm_metric_table(&count);
    CHECK_MEM_EQ(got->value, want->value, count * (size_t)n * sizeof *got->value);
    CHECK_MEM_EQ(got->per_class, want->per_class, 3 * sizeof *got->per_class);
    CHECK_EQ(got->points, want->points);
    CHECK_MEM_EQ(got->precision_recall, want->precision_recall, sizeof got->precision_recall);
    CHECK_EQ(got->scopes, want->scopes);
    CHECK_MEM_EQ(got->scope, want->scope, (size_t)got->scopes * sizeof *got->scope);
}

/* One pass over a and b against a pass for each direction: the same bits of everything. bytes: for positives. */
static void check_both(const whole_side *a, const whole_side *b, bool labelled, int way, int64_t block,
                       int64_t bytes)
{
    const whole_side *whole[2] = {a, b};
    tdm_eval_side side[2];
    tdm_eval_detail one[2], both[2];
    tdm_metrics want[2], got[2];
    double *value[4] = {NULL};
    uint64_t *bits[2] = {NULL};
    size_t count = 0;
    (void)tdm_metric_table(&count);
    for (int i = 0; i < 2; i++) {
        side[i] = piece(whole[i], labelled, i == 0 ? way % SHARDINGS : way / 2 % SHARDINGS);
        CHECK_OK(TDM_ALLOC(side[i].n, &bits[i]));
        for (int64_t j = 0; j < side[i].n; j++) bits[i][j] = (uint64_t)(j + way) % 8;
        for (int k = 0; k < 2; k++) CHECK_OK(TDM_ALLOC((int64_t)count * side[i].n, &value[2 * i + k]));
        one[i] = everything(bits[i], value[2 * i]);
        both[i] = everything(bits[i], value[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++)
        CHECK_OK(
            tdm_eval_metrics_in_detail(comm, NULL, &side[i], &side[1 - i], false, 100000, &want[i], &one[i]));
    CHECK_OK(tdm_eval_both_ways(comm, NULL, side, block, bytes, got, both));
    for (int i = 0; i < 2; i++) {
        assert_metrics("both", &got[i], &want[i], 0);
        assert_detail(&both[i], &one[i], side[i].n);
    }
    for (int i = 0; i < 2; i++) {
        tdm_eval_detail_free(&one[i]);
        tdm_eval_detail_free(&both[i]);
        tdm_free(bits[i]);
    }
    for (int i = 0; i < 4; i++) tdm_free(value[i]);
}

static void check_both_ways(int64_t na, int64_t nb, int64_t d, int64_t identities, bool labelled, bool ties)
{
    whole_side a = random_side(na, d, identities, labelled, 6),
               b = random_side(nb, d, identities, labelled, 7);
    /* Few different rows: scores are equal across tiles, blocks and ranks. */
    for (int64_t i = 0; ties && i < na * d; i++) a.feature[i] = (float)(i / d % 3 - i % 2);
    for (int64_t i = 0; ties && i < nb * d; i++) b.feature[i] = (float)(i / d % 2 + i % 3);
    if (na > 0 && nb > 0) {
        const tdm_metrics want[2] = {definition(&a, &b, labelled, false),
                                     definition(&b, &a, labelled, false)};
        const tdm_eval_side side[2] = {piece(&a, labelled, EVEN), piece(&b, labelled, BACK)};
        tdm_metrics got[2];
        CHECK_OK(tdm_eval_both_ways(comm, NULL, side, 37, INT64_MAX, got, NULL));
        for (int i = 0; i < 2; i++) assert_metrics("both against the definition", &got[i], &want[i], 0);
    }
    check_both(&a, &b, labelled, 1, 64, INT64_MAX);
    check_both(&a, &b, labelled, 2, 100000, INT64_MAX);
    free_side(&a);
    free_side(&b);
}

static void test_both(void **state)
{
    use_isa(*state);
    check_both_ways(150, 60, 33, 200, false, false); /* few have a positive */
    check_both_ways(161, 57, 16, 40, false, false);
    check_both_ways(310, 330, 9, 2, false, false); /* each has many */
    check_both_ways(390, 60, 5, 3, false, false);  /* columns with few and with many beside each other */
    check_both_ways(50, 130, 12, 6, true, false);
    check_both_ways(161, 57, 7, 40, false, true);
    check_both_ways(290, 160, 7, 2, false, true);
    check_both_ways(3, 5, 4, 2, false, true);
    check_both_ways(0, 5, 4, 2, false, false);
    check_both_ways(5, 0, 4, 2, false, false);
    whole_side a = random_side(60, 4, 3, false, 8), b = random_side(60, 4, 3, false, 9);
    check_both(&a, &b, false, 0, 19, 0); /* there is no room for positives */
    check_both(&a, &b, false, 1, 19,
               rank == 0 ? 8000 : 12000); /* there is less on the way, on one rank alone */
    tdm_eval_side side[2] = {piece(&a, false, EVEN), piece(&b, false, EVEN)};
    const tdm_judgements judged = {.queries = 60};
    tdm_metrics got[2];
    side[1].judged = &judged;
    CHECK_FAILS(tdm_eval_both_ways(comm, NULL, side, 8, INT64_MAX, got, NULL), TDM_E_USAGE, "judgements");
    side[1].judged = NULL;
    for (int64_t i = 0; i < 240; i++) a.feature[i] = b.feature[i] = 3e38F;
    CHECK_FAILS(tdm_eval_both_ways(comm, NULL, side, 8, INT64_MAX, got, NULL), TDM_E_NUMERIC, "not finite");
    side[1].d = 3;
    CHECK_FAILS(tdm_eval_both_ways(comm, NULL, side, 8, INT64_MAX, got, NULL), TDM_E_SHAPE, "");
    free_side(&a);
    free_side(&b);
}

/* ---- A gallery in pieces, and evaluations that go on ---- */

/* Rows of a side as a source. The read of number `fails` fails, 0: none. */
typedef struct rows_source {
    const tdm_eval_side *side;
    int64_t reads, fails;
    tdm_eval_source source;
} rows_source;

static tdm_status read_rows(void *context, int64_t first, int64_t n, float *feature)
{
    rows_source *rows = context;
    const int64_t d = rows->side->d;
    CHECK_GE(first, 0);
    CHECK_GE(n, 1);
    CHECK_LE(n, rows->source.piece_rows);
    CHECK_LE(first + n, rows->side->n);
    if (++rows->reads == rows->fails) return TDM_ERROR(TDM_E_IO, "read %lld fails", (long long)rows->reads);
    memcpy(feature, rows->side->feature + first * d, (size_t)(n * d) * sizeof *feature);
    return TDM_OK;
}

/* The same rows, read in pieces. */
static tdm_eval_side in_pieces(const tdm_eval_side *side, int64_t piece_rows, rows_source *rows)
{
    *rows = (rows_source){.side = side, .source = {piece_rows, read_rows, rows}};
    tdm_eval_side out = *side;
    out.feature = NULL;
    out.source = &rows->source;
    return out;
}

static void check_pieces(const whole_side *query, const whole_side *gallery, bool labelled, bool exclude_self,
                         int64_t piece_rows, int64_t block)
{
    enum { K = 12 };
    const tdm_eval_side q = piece(query, labelled, EVEN),
                        g = piece(gallery, labelled, block % 2 ? FRONT : EVEN);
    rows_source rows;
    const tdm_eval_side read = in_pieces(&g, piece_rows, &rows);
    tdm_metrics want, got;
    int64_t *best[2] = {NULL};
    float *score[2] = {NULL};
    CHECK_OK(tdm_eval_metrics(comm, NULL, &q, &g, exclude_self, 1000, &want));
    CHECK_OK(tdm_eval_metrics(comm, NULL, &q, &read, exclude_self, block, &got));
    assert_metrics("in pieces", &got, &want, 0);
    if (g.n > 0) CHECK_GE(rows.reads, 1);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(TDM_ALLOC(q.n * K, &best[i]));
        CHECK_OK(TDM_ALLOC(q.n * K, &score[i]));
        CHECK_OK(tdm_eval_top_k(comm, NULL, &q, i ? &read : &g, K, 1000, best[i], score[i]));
    }
    CHECK_MEM_EQ(best[1], best[0], (size_t)(q.n * K) * sizeof *best[0]);
    CHECK_MEM_EQ(score[1], score[0], (size_t)(q.n * K) * sizeof *score[0]);
    for (int i = 0; i < 2; i++) {
        tdm_free(best[i]);
        tdm_free(score[i]);
    }
}

static void test_pieces(void **state)
{
    (void)state;
    whole_side query = random_side(60, 7, 9, false, 41), gallery = random_side(150, 7, 9, false, 42);
    check_pieces(&query, &gallery, false, false, 40, 1000);
    check_pieces(&query, &gallery, false, false, 7, 3); /* more blocks than stay with a piece */
    check_pieces(&gallery, &gallery, false, true, 40, 65);
    check_pieces(&query, &gallery, true, false, 33, 31);
    for (int64_t i = 0; i < gallery.n * 7; i++) gallery.feature[i] = (float)(i / 7 % 3 - i % 2); /* ties */
    check_pieces(&query, &gallery, false, false, 11, 1000);
    gallery.n = 5; /* fewer than are asked for */
    check_pieces(&query, &gallery, false, false, 2, 1000);
    gallery.n = 150;
    gallery.feature[140 * 7 + 1] = NAN;
    tdm_eval_side q = piece(&query, false, EVEN), g = piece(&gallery, false, EVEN), read;
    rows_source rows;
    tdm_metrics got;
    read = in_pieces(&g, 16, &rows);
    CHECK_FAILS(tdm_eval_metrics(comm, NULL, &q, &read, false, 64, &got), TDM_E_NUMERIC,
                "gallery embedding 140 is not finite in element 1");
    read = in_pieces(&g, 0, &rows);
    CHECK_FAILS(tdm_eval_metrics(comm, NULL, &q, &read, false, 64, &got), TDM_E_SHAPE, "pieces of 0 rows");
    const tdm_eval_side both[2] = {q, read};
    tdm_metrics two[2];
    CHECK_FAILS(tdm_eval_both_ways(comm, NULL, both, 64, 0, two, NULL), TDM_E_USAGE, "in pieces");
    free_side(&query);
    free_side(&gallery);
}

/* The evaluation fails on its way, twice, and goes on each time; then from the same file in another way. */
static void test_goes_on(void **state)
{
    (void)state;
    enum { PIECES = 3, BLOCK = 2 };
    char dir[64] = "", path[96];
    whole_side query = random_side(97, 7, 9, false, 43), gallery = random_side(150, 7, 9, false, 44);
    if (rank == 0) CHECK_EQ(scratch_dir(dir, sizeof dir), 0);
    tdm_comm_broadcast(comm, dir, sizeof dir, 0);
    snprintf(path, sizeof path, "%s/kept.h5", dir);
    const tdm_eval_side q = piece(&query, false, EVEN), g = piece(&gallery, false, EVEN);
    rows_source rows;
    tdm_eval_side read = in_pieces(&g, g.n / PIECES + 1, &rows);
    tdm_metrics want, got;
    double *value[2] = {NULL};
    size_t count = 0;
    (void)tdm_metric_table(&count);
    for (int i = 0; i < 2; i++) CHECK_OK(TDM_ALLOC((int64_t)count * q.n, &value[i]));
    tdm_eval_detail plain = {.value = value[0]}, kept = {.value = value[1], .keep = path};
    CHECK_OK(tdm_eval_metrics_in_detail(comm, NULL, &q, &read, false, BLOCK, &want, &plain));
    const int64_t all = rows.reads;
    for (int64_t part = 2; part <= 4; part += 2) {
        read = in_pieces(&g, g.n / PIECES + 1, &rows);
        rows.fails = PIECES + all / part + 1; /* the digest reads all of them, too */
        CHECK_FAILS(tdm_eval_metrics_in_detail(comm, NULL, &q, &read, false, BLOCK, &got, &kept), TDM_E_IO,
                    " fails");
    }
    read = in_pieces(&g, g.n / PIECES + 1, &rows);
    CHECK_OK(tdm_eval_metrics_in_detail(comm, NULL, &q, &read, false, BLOCK, &got, &kept));
    assert_metrics("goes on", &got, &want, 0);
    CHECK_MEM_EQ(value[1], value[0], count * (size_t)q.n * sizeof *value[0]);
    if (size <= 2) CHECK_LE(rows.reads, PIECES + all * 4 / 5); /* with more, a rank has few blocks */
    /* Another block, and the gallery in memory: all is there. */
    memset(value[1], 0, count * (size_t)q.n * sizeof *value[0]);
    CHECK_OK(tdm_eval_metrics_in_detail(comm, NULL, &q, &g, false, 31, &got, &kept));
    assert_metrics("was there", &got, &want, 0);
    CHECK_MEM_EQ(value[1], value[0], count * (size_t)q.n * sizeof *value[0]);
    /* Another evaluation. */
    CHECK_FAILS(tdm_eval_metrics_in_detail(comm, NULL, &q, &g, true, 31, &got, &kept), TDM_E_DATA,
                "is of another evaluation");
    query.feature[96 * 7] += 1;
    CHECK_FAILS(tdm_eval_metrics_in_detail(comm, NULL, &q, &g, false, 31, &got, &kept), TDM_E_DATA,
                "is of another evaluation");
    query.feature[96 * 7] -= 1;
    kept.curves = true;
    CHECK_FAILS(tdm_eval_metrics_in_detail(comm, NULL, &q, &g, false, 31, &got, &kept), TDM_E_USAGE,
                "curves");
    kept.curves = false;
    if (rank == 0) CHECK_OK(tdm_write_file_atomic(path, "no file of this kind", 20));
    tdm_comm_barrier(comm);
    CHECK_FAILS(tdm_eval_metrics_in_detail(comm, NULL, &q, &g, false, 31, &got, &kept), TDM_E_FORMAT, path);
    kept.keep = "/nowhere/kept.h5";
    CHECK_FAILS(tdm_eval_metrics_in_detail(comm, NULL, &q, &g, false, 31, &got, &kept), TDM_E_IO, "/nowhere");
    for (int i = 0; i < 2; i++) tdm_free(value[i]);
    tdm_comm_barrier(comm);
    if (rank == 0) CHECK_OK(tdm_remove_tree(dir));
    free_side(&query);
    free_side(&gallery);
}

/* ---- Curves and classes ---- */

static void set_cameras(whole_side *side, int64_t cameras, uint64_t sample)
{
    CHECK_OK(TDM_ALLOC(side->n, &side->camera));
    for (int64_t i = 0; i < side->n; i++) {
        tdm_rng rng = tdm_rng_at(15, sample, (uint64_t)i, TDM_RNG_TEST);
        side->camera[i] = tdm_rng_below(&rng, cameras);
    }
}

/* Few positives of a query and many, some or all of them junk; ties, since rows come twice; oneself left out as well. */
static void test_cameras(void **state)
{
    (void)state;
    static const int64_t identities[] = {40, 4}, cameras[] = {2, 6};
    for (int i = 0; i < 2; i++) {
        whole_side query = random_side(60, 7, identities[i], false, 41),
                   gallery = random_side(130, 7, identities[i], false, 42);
        for (int64_t k = 0; k < 60 * 7; k++) gallery.feature[60 * 7 + k] = gallery.feature[k];
        for (int64_t k = 0; k < 60; k++) gallery.key[60 + k] = gallery.key[k];
        const tdm_metrics plain = definition(&query, &gallery, false, false);
        set_cameras(&query, cameras[i], 1);
        set_cameras(&gallery, cameras[i], 2);
        const bool self = i == 1;
        const tdm_metrics want = definition(self ? &gallery : &query, &gallery, false, self);
        check_all_ways("cameras", self ? &gallery : &query, &gallery, false, self, &want, 0);
        CHECK_TRUE(self || want.without_positive > plain.without_positive);
        free_side(&query);
        free_side(&gallery);
    }
}

static void check_detail(const whole_side *query, const whole_side *gallery, int classes,
                         const tdm_eval_detail *got)
{
    float *score = definition_scores(query, gallery);
    int64_t *ranks = NULL, *found = NULL, with = 0;
    double *recall = NULL, ap[8] = {0};
    int64_t of_class[8] = {0}, at_step = 0;
    CHECK_OK(TDM_ALLOC(gallery->n, &ranks));
    CHECK_OK(TDM_ALLOC(gallery->n + 1, &found));
    CHECK_OK(TDM_ALLOC(gallery->n + 1, &recall));
    for (int64_t q = 0; q < query->n; q++) {
        const int64_t m = definition_ranks(score, query, gallery, q, true, false, ranks);
        double sum = 0;
        if (m == 0) continue;
        with++;
        for (int64_t i = 0; i < m; i++) {
            for (int64_t k = ranks[i]; k <= gallery->n; k++) found[k]++, recall[k] += 1 / (double)m;
            sum += (double)(i + 1) / (double)ranks[i];
        }
        for (int c = 0; c < classes; c++)
            if (query->key[q] >> c & 1) ap[c] += sum / (double)m, of_class[c]++;
    }
    CHECK_EQ(got->points, TDM_RECALL_STEPS);
    for (int64_t k = 1; k <= gallery->n;
         k++) /* thinned as CLIP4CMR's neighbours do: the first rank of each step */
        for (; at_step < TDM_RECALL_STEPS &&
               recall[k] / (double)with >= (double)(at_step + 1) / TDM_RECALL_STEPS - 1e-9;
             at_step++) {
            CHECK_EQ(got->precision_recall[at_step].rank, k);
            CHECK_NEAR(got->precision_recall[at_step].recall, recall[k] / (double)with, 1e-11);
            CHECK_NEAR(got->precision_recall[at_step].precision, (double)found[k] / (double)(with * k),
                       1e-14);
        }
    CHECK_EQ(got->scope[0].rank, 1);
    CHECK_EQ(got->scope[3].rank, 10);
    CHECK_EQ(got->scope[got->scopes - 1].rank, gallery->n);
    for (int i = 0; i < got->scopes; i++)
        CHECK_NEAR(got->scope[i].precision,
                   (double)found[got->scope[i].rank] / (double)(with * got->scope[i].rank), 1e-14);
    for (int c = 0; c < classes; c++) {
        CHECK_EQ(got->per_class[c].queries, of_class[c]);
        CHECK_NEAR(got->per_class[c].value[tdm_metric_index("map")], ap[c] / (double)of_class[c], 1e-13);
    }
    tdm_free(score);
    tdm_free(ranks);
    tdm_free(found);
    tdm_free(recall);
}

static void test_detail(void **state)
{
    (void)state;
    enum { CLASSES = 5 };
    whole_side query = random_side(50, 12, CLASSES, true, 1),
               gallery = random_side(130, 12, CLASSES, true, 2);
    tdm_eval_detail first = {0};
    for (int way = 0; way < 6; way++) {
        const tdm_eval_side q = piece(&query, true, way % SHARDINGS),
                            g = piece(&gallery, true, way / 2 % SHARDINGS);
        tdm_eval_detail got = {.classes = CLASSES, .query_class = q.labels, .class_words = 1, .curves = true};
        tdm_metrics metrics;
        CHECK_OK(tdm_eval_metrics_in_detail(comm, NULL, &q, &g, false, way % 2 ? 7 : 1000, &metrics, &got));
        check_detail(&query, &gallery, CLASSES, &got);
        if (way) CHECK_MEM_EQ(got.precision_recall, first.precision_recall, sizeof first.precision_recall);
        if (way) CHECK_MEM_EQ(got.per_class, first.per_class, sizeof *first.per_class * CLASSES);
        if (!way) first = got;
        if (way) tdm_eval_detail_free(&got);
    }
    tdm_eval_detail_free(&first);
    free_side(&query);
    free_side(&gallery);
}

/* Rows that are no unit vectors, for which the two distances differ. */
static void test_euclidean(void **state)
{
    (void)state;
    enum { ROWS = 60, WIDTH = 6 };
    whole_side image = make_side(ROWS, WIDTH), text = make_side(ROWS, WIDTH);
    for (int64_t i = 0; i < ROWS * WIDTH; i++) {
        tdm_rng rng = tdm_rng_at(14, 0, (uint64_t)i, TDM_RNG_TEST);
        image.feature[i] = (float)tdm_rng_below(&rng, 33) - 16; /* small whole numbers: sums are exact */
        text.feature[i] = (float)tdm_rng_below(&rng, 33) - 16;
    }
    for (int64_t i = 0; i < ROWS; i++) image.key[i] = text.key[i] = i % 4;
    const tdm_eval_side mine = piece(&image, false, EVEN), words = piece(&text, false, EVEN);
    const tdm_embeddings e = {.d = WIDTH,
                              .images = mine.n,
                              .captions = words.n,
                              .image = (float *)(uintptr_t)mine.feature,
                              .text = (float *)(uintptr_t)words.feature,
                              .image_identity = (int64_t *)(uintptr_t)mine.id,
                              .caption_identity = (int64_t *)(uintptr_t)words.id};
    const tdm_match *match;
    tdm_metrics got[TDM_DIRECTIONS];
    CHECK_OK(tdm_match_find("test", TDM_E_USAGE, "identity", &match));
    CHECK_OK(tdm_eval_embeddings_in_detail(comm, NULL, &e, match, TDM_EUCLIDEAN, got, NULL));
    double sum = 0;
    for (int64_t q = 0; q < ROWS; q++) {
        int64_t distance[ROWS], m = 0;
        double ap = 0;
        for (int64_t g = 0; g < ROWS; g++) {
            distance[g] = 0;
            for (int64_t k = 0; k < WIDTH; k++) {
                const int64_t by = (int64_t)(text.feature[q * WIDTH + k] - image.feature[g * WIDTH + k]);
                distance[g] += by * by;
            }
        }
        for (int64_t before = 0, done = 0; done < ROWS; done++) { /* by rank: the lower row first */
            int64_t best = -1;
            for (int64_t g = 0; g < ROWS; g++)
                if (distance[g] >= 0 && (best < 0 || distance[g] < distance[best])) best = g;
            distance[best] = -1;
            before++;
            if (image.key[best] == text.key[q]) ap += (double)++m / (double)before;
        }
        sum += ap / (double)m;
    }
    CHECK_NEAR(tdm_metrics_value(&got[TDM_TEXT_TO_IMAGE], "map"), sum / ROWS, 1e-13);
    CHECK_OK(tdm_eval_embeddings(comm, NULL, &e, match, got));
    CHECK_TRUE(fabs(tdm_metrics_value(&got[TDM_TEXT_TO_IMAGE], "map") - sum / ROWS) > 1e-3);
    free_side(&image);
    free_side(&text);
}

/* ---- Top k ---- */

/* A gallery that is kept, on three threads where the ranks leave room for them: the same list; and without every third row the rest of it. first: of g */
static void check_kept(const tdm_eval_side *q, const tdm_eval_side *g, int64_t first, int64_t gallery,
                       int64_t k, int64_t block, const int64_t *row, const float *best)
{
    tdm_ops *ops = NULL;
    tdm_eval_gallery *kept = NULL;
    int64_t *all = NULL, *own = NULL;
    float *all_score = NULL, *score = NULL;
    uint8_t *passes = NULL;
    CHECK_OK(tdm_ops_create(TDM_F32, size == 1 ? 3 : 1, &ops));
    CHECK_OK(TDM_ALLOC(q->n * gallery, &all));
    CHECK_OK(TDM_ALLOC(q->n * gallery, &all_score));
    CHECK_OK(TDM_ALLOC(q->n * k, &own));
    CHECK_OK(TDM_ALLOC(q->n * k, &score));
    CHECK_OK(TDM_ALLOC(g->n, &passes));
    for (int64_t i = 0; i < g->n; i++) passes[i] = (first + i) % 3 != 0;
    CHECK_OK(tdm_eval_gallery_create(comm, ops, g, &kept));
    CHECK_OK(tdm_eval_gallery_top_k(comm, ops, q, kept, NULL, k, block, own, score));
    CHECK_EQ(memcmp(own, row, (size_t)(q->n * k) * sizeof *own), 0);
    CHECK_EQ(memcmp(score, best, (size_t)(q->n * k) * sizeof *score), 0);
    CHECK_OK(tdm_eval_gallery_top_k(comm, ops, q, kept, NULL, gallery, block, all, all_score));
    CHECK_OK(tdm_eval_gallery_top_k(comm, ops, q, kept, passes, k, block, own, score));
    for (int64_t i = 0; i < q->n; i++) {
        int64_t j = 0;
        for (int64_t c = 0; c < gallery && j < k; c++) {
            if (all[i * gallery + c] % 3 == 0) continue;
            CHECK_EQ(own[i * k + j], all[i * gallery + c]);
            CHECK_EQ(score[i * k + j], all_score[i * gallery + c]);
            j++;
        }
        for (; j < k; j++) CHECK_EQ(own[i * k + j], -1);
    }
    tdm_eval_gallery_destroy(&kept);
    tdm_ops_destroy(&ops);
    tdm_free(all);
    tdm_free(all_score);
    tdm_free(own);
    tdm_free(score);
    tdm_free(passes);
}

static void check_top_k(const whole_side *query, const whole_side *gallery, int64_t k)
{
    float *score = definition_scores(query, gallery);
    for (int way = 0; way < 6; way++) {
        const tdm_eval_side q = piece(query, false, way % SHARDINGS);
        const tdm_eval_side g = piece(gallery, false, way / 2 % SHARDINGS);
        const int64_t begin = cut_at(query->n, way % SHARDINGS, rank);
        int64_t *row = NULL;
        float *best = NULL;
        CHECK_OK(TDM_ALLOC(q.n * k, &row));
        CHECK_OK(TDM_ALLOC(q.n * k, &best));
        CHECK_OK(tdm_eval_top_k(comm, NULL, &q, &g, k, way % 2 == 0 ? 4 : 1000, row, best));
        if (size == 1 || way == 4)
            check_kept(&q, &g, cut_at(gallery->n, way / 2 % SHARDINGS, rank), gallery->n, k,
                       way % 2 == 0 ? 4 : 1000, row, best);
        for (int64_t i = 0; i < q.n; i++) {
            const float *s = score + (begin + i) * gallery->n;
            for (int64_t j = 0; j < k; j++) { /* the item with exactly j items before it */
                const int64_t at = row[i * k + j];
                if (j >= gallery->n) {
                    CHECK_EQ(at, -1);
                    CHECK_EQ(best[i * k + j], 0);
                    continue;
                }
                CHECK_GE(at, 0);
                CHECK_LE(at, gallery->n - 1);
                int64_t before = 0;
                for (int64_t c = 0; c < gallery->n; c++) before += s[c] > s[at] || (s[c] == s[at] && c < at);
                CHECK_EQ(before, j);
                CHECK_EQ(best[i * k + j], s[at]);
            }
        }
        tdm_free(row);
        tdm_free(best);
    }
    tdm_free(score);
}

static void test_top_k(void **state)
{
    use_isa(*state);
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
    CHECK_FAILS(tdm_eval_metrics(comm, NULL, &q, &g, false, 8, &got), TDM_E_SHAPE, "");
    g = q;
    CHECK_FAILS(tdm_eval_metrics(comm, NULL, &q, &g, false, 0, &got), TDM_E_SHAPE, "");
    rows.feature[12 * 4 - 1] = NAN; /* on the last rank */
    CHECK_FAILS(tdm_eval_metrics(comm, NULL, &q, &g, false, 8, &got), TDM_E_NUMERIC,
                "query embedding 11 is not finite in element 3");
    rows.feature[12 * 4 - 1] = 0;
    for (int i = 0; i < 12 * 4; i++) rows.feature[i] = 3e38F; /* finite, with scores beyond f32 */
    CHECK_FAILS(tdm_eval_metrics(comm, NULL, &q, &g, false, 8, &got), TDM_E_NUMERIC, "");
    int64_t row[24];
    float score[24];
    CHECK_FAILS(tdm_eval_top_k(comm, NULL, &q, &g, 0, 8, row, score), TDM_E_SHAPE, "");
    free_side(&rows);
}

/* ---- Judgements instead of ids ---- */

/* The same matches as the keys', as a list; the grade of gallery row g is 1, or 1 + g % 3. */
static tdm_judgements judge(const whole_side *query, const whole_side *gallery, bool graded)
{
    tdm_judgements j = {.queries = query->n};
    CHECK_OK(TDM_ALLOC(query->n + 1, &j.offset));
    CHECK_OK(TDM_ALLOC(query->n * gallery->n, &j.row));
    CHECK_OK(TDM_ALLOC(query->n * gallery->n, &j.grade));
    for (int64_t q = 0, at = 0; q < query->n; q++) {
        for (int64_t g = 0; g < gallery->n; g++) {
            if (query->key[q] != gallery->key[g]) continue;
            j.row[at] = g;
            j.grade[at++] = graded ? (int32_t)(1 + g % 3) : 1;
        }
        j.offset[q + 1] = at;
    }
    return j;
}

/* nDCG@10 of one query by sorting its gallery, grades as above. NaN: no positive. */
static double definition_ndcg(const float *score, const whole_side *query, const whole_side *gallery,
                              int64_t q, bool exclude_self)
{
    double gain = 0, ideal = 0;
    int64_t of_grade[4] = {0}, place = 0;
    for (int64_t g = 0; g < gallery->n; g++) {
        if (query->key[q] != gallery->key[g] || (exclude_self && g == q)) continue;
        int64_t at = 1;
        for (int64_t h = 0; h < gallery->n; h++)
            at += !(exclude_self && h == q) && (score[h] > score[g] || (score[h] == score[g] && h < g));
        of_grade[1 + g % 3]++;
        if (at <= 10) gain += (double)(1 + g % 3) / log2((double)(at + 1));
    }
    for (int grade = 3; grade > 0; grade--)
        for (int64_t i = 0; i < of_grade[grade] && place < 10; i++)
            ideal += grade / log2((double)(++place + 1));
    return place > 0 ? gain / ideal : NAN;
}

static void check_judged(const whole_side *query, const whole_side *gallery, bool exclude_self)
{
    size_t count = 0;
    (void)tdm_metric_table(&count);
    const int ndcg = tdm_metric_index("ndcg_at_10");
    float *score = definition_scores(query, gallery);
    tdm_judgements flat = judge(query, gallery, false), graded = judge(query, gallery, true);
    for (int sharding = 0; sharding < SHARDINGS; sharding++) {
        tdm_eval_side q = piece(query, false, sharding),
                      g = piece(gallery, false, (sharding + 1) % SHARDINGS);
        const int64_t first = cut_at(query->n, sharding, rank);
        tdm_metrics by_id, got;
        double *value = NULL;
        CHECK_OK(TDM_ALLOC((int64_t)count * q.n, &value));
        CHECK_OK(tdm_eval_metrics(comm, NULL, &q, &g, exclude_self, 19, &by_id));
        q.id = g.id = NULL;
        q.judged = &flat;
        CHECK_OK(tdm_eval_metrics(comm, NULL, &q, &g, exclude_self, 31, &got));
        assert_metrics("judged", &got, &by_id, 0);
        q.judged = &graded;
        tdm_eval_detail detail = {.value = value};
        CHECK_OK(tdm_eval_metrics_in_detail(comm, NULL, &q, &g, exclude_self, 7, &got, &detail));
        by_id.value[ndcg] = NAN; /* the one that looks at grades */
        assert_metrics("graded", &got, &by_id, 0);
        for (int64_t i = 0; i < q.n; i++) {
            const double want =
                definition_ndcg(score + (first + i) * gallery->n, query, gallery, first + i, exclude_self);
            CHECK_EQ(isnan(value[ndcg * q.n + i]), isnan(want));
            /* sums of at most ten f64 in another order */
            if (!isnan(want)) CHECK_TRUE(fabs(value[ndcg * q.n + i] - want) <= 1e-14);
        }
        tdm_free(value);
    }
    tdm_eval_side q = piece(query, false, EVEN), g = piece(gallery, false, EVEN);
    tdm_metrics got;
    flat.queries--;
    q.judged = &flat;
    CHECK_FAILS(tdm_eval_metrics(comm, NULL, &q, &g, exclude_self, 8, &got), TDM_E_SHAPE, "judgements of");
    tdm_judgements_free(&flat);
    tdm_judgements_free(&graded);
    tdm_free(score);
}

static void test_judged(void **state)
{
    (void)state;
    whole_side query = random_side(60, 5, 9, false, 31), gallery = random_side(150, 5, 12, false, 32);
    check_judged(&query, &gallery, false);
    check_judged(&gallery, &gallery, true);
    free_side(&query);
    free_side(&gallery);
}

/* ---- What a row says of itself ---- */

/* A positive that moves up makes no metric worse, in the direction that its row names. */
static void check_direction(const tdm_metric *metric, const int64_t *ranks, int64_t m)
{
    int64_t better[8];
    const tdm_ranking ranking = {.m = m, .rank = ranks}, moved = {.m = m, .rank = better};
    const double value = metric->value(&ranking, metric->cutoff);
    CHECK_TRUE(isfinite(value));
    if (metric->is_share) {
        CHECK_GE(value, 0);
        CHECK_LE(value, 1);
    }
    for (int64_t i = 0; i < m; i++) {
        if (ranks[i] == (i == 0 ? 1 : ranks[i - 1] + 1)) continue; /* no room above */
        memcpy(better, ranks, (size_t)m * sizeof *better);
        better[i]--;
        if (metric->may_fall) continue;
        CHECK_FALSE(tdm_metric_better(metric, value, metric->value(&moved, metric->cutoff)));
    }
}

static void test_rows(void **state)
{
    (void)state;
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_table(&count);
    enum { POSITIVES = 50 }; /* as many as the first K of any row may hold, and no more */
    int64_t perfect[POSITIVES];
    for (int i = 0; i < POSITIVES; i++) perfect[i] = i + 1;
    for (size_t i = 0; i < count; i++) {
        static const int64_t far[] = {401, 512, 900, 100000};
        const tdm_ranking best = {.m = POSITIVES, .rank = perfect}, worst = {.m = 4, .rank = far};
        CHECK_TRUE(tdm_metric_better(row[i], row[i]->value(&best, row[i]->cutoff),
                                     row[i]->value(&worst, row[i]->cutoff)));
        CHECK_TRUE(tdm_metric_better(row[i], 0.5, NAN)); /* the first is always better than none */
        if (row[i]->is_share) CHECK_EQ(row[i]->value(&best, row[i]->cutoff), 1);
        CHECK_EQ(tdm_metric_index(row[i]->name), i);
        CHECK_NE(row[i]->label[0], '\0');
        CHECK_NE(row[i]->title[0], '\0');
        CHECK_NE(row[i]->help[0], '\0');
        for (uint64_t sample = 0; sample < 300; sample++) {
            tdm_rng rng = tdm_rng_at(13, 0, sample, TDM_RNG_TEST);
            int64_t ranks[8], m = 1 + tdm_rng_below(&rng, 8);
            for (int64_t p = 0; p < m; p++)
                ranks[p] = (p == 0 ? 1 : ranks[p - 1] + 1) + tdm_rng_below(&rng, 1 + tdm_rng_below(&rng, 9));
            check_direction(row[i], ranks, m);
        }
    }
    CHECK_EQ(tdm_metric_index("recall_at_2"), -1);
    CHECK_TRUE(isnan(tdm_metrics_value(&(tdm_metrics){.queries = 1}, "recall_at_2")));
}

/* ---- Rows that are asked for ---- */

static const tdm_metric *asked(const tdm_metric_rows *rows, const char *name)
{
    for (size_t i = 0; i < rows->count; i++)
        if (strcmp(rows->row[i]->name, name) == 0) return rows->row[i];
    fail_msg("there is no row %s", name);
    return NULL;
}

/* By hand: three positives at the ranks 2, 3 and 7; grades 1, 3 and 2. */
static void test_asked(void **state)
{
    (void)state;
    static const int64_t ranks[] = {2, 3, 7};
    static const int32_t grade[] = {1, 3, 2}, ideal[] = {3, 2, 1};
    const tdm_ranking plain = {.m = 3, .rank = ranks};
    const tdm_ranking graded = {.m = 3, .rank = ranks, .grade = grade, .ideal = ideal};
    const struct {
        const char *name, *label;
        double plain, graded;
    } want[] = {
        {"recall_at_2", "R@2", 1, 1},
        {"recall_all_at_2", "R@2/all", 1.0 / 3, 1.0 / 3},
        {"recall_all_at_7", "R@7/all", 1, 1},
        {"precision_at_3", "P@3", 2.0 / 3, 2.0 / 3},
        {"precision_at_100", "P@100", 0.03, 0.03},
        {"r_precision", "R-Prec", 2.0 / 3, 2.0 / 3},
        {"map_at_3_hits", "mAP@3/hits", (1.0 / 2 + 2.0 / 3) / 2, (1.0 / 2 + 2.0 / 3) / 2},
        {"map_at_2_min", "mAP@2/min", 1.0 / 2 / 2, 1.0 / 2 / 2},
        {"map_at_3_r", "mAP@3/R", (1.0 / 2 + 2.0 / 3) / 3, (1.0 / 2 + 2.0 / 3) / 3},
        {"map_at_1000000000_r", "mAP@1000000000/R", (1.0 / 2 + 2.0 / 3 + 3.0 / 7) / 3,
         (1.0 / 2 + 2.0 / 3 + 3.0 / 7) / 3},
        {"mrr_at_2", "MRR@2", 0.5, 0.5},
        {"mrr_at_1", "MRR@1", 0, 0},
        {"ndcg_at_2", "nDCG@2", 1 / log2(3) / (1 + 1 / log2(3)), 1 / log2(3) / (3 + 2 / log2(3))},
        /* the ideal of ten places or of three are one, with three positives */
        {"ndcg_at_3", "nDCG@3", (1 / log2(3) + 0.5) / (1 + 1 / log2(3) + 0.5),
         (1 / log2(3) + 1.5) / (3 + 2 / log2(3) + 0.5)},
    };
    size_t table = 0;
    const tdm_metric *const *first = tdm_metric_table(&table);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        tdm_metric_rows rows;
        CHECK_OK(tdm_metric_rows_ask("--metrics", TDM_E_USAGE, want[i].name, &rows));
        CHECK_EQ(rows.count, table + 1);
        CHECK_FALSE(rows.r_sum);
        for (size_t r = 0; r < table; r++) CHECK_TRUE(rows.row[r] == first[r]);
        const tdm_metric *row = asked(&rows, want[i].name);
        CHECK_STR_EQ(row->label, want[i].label);
        CHECK_LACKS(row->title, "{");
        CHECK_LACKS(row->help, "{");
        CHECK_FALSE(row->is_headline);
        /* a few roundings of f64 */
        CHECK_NEAR(row->value(&plain, row->cutoff), want[i].plain, 1e-15);
        CHECK_NEAR(row->value(&graded, row->cutoff), want[i].graded, 1e-15);
        tdm_metric_rows_free(&rows);
    }
}

static void test_asking(void **state)
{
    (void)state;
    size_t table = 0, families = 0;
    (void)tdm_metric_table(&table);
    (void)tdm_metric_family_table(&families);
    tdm_metric_rows rows;
    CHECK_OK(tdm_metric_rows_ask("--metrics", TDM_E_USAGE, "", &rows));
    CHECK_EQ(rows.count, table);
    tdm_metric_rows_free(&rows);
    /* Twice, and what the table has: once. */
    CHECK_OK(tdm_metric_rows_ask("--metrics", TDM_E_USAGE, "recall_at_5,map,recall_at_7,r_sum,recall_at_7",
                                 &rows));
    CHECK_EQ(rows.count, table + 1);
    CHECK_TRUE(rows.r_sum);
    tdm_metric_rows_free(&rows);
    static const char *const others[][2] = {
        {"Success@5", "recall_at_5"},
        {"CMC@7", "recall_at_7"},
        {"hit_rate@20", "recall_at_20"},
        {"R@5", "recall_all_at_5"},
        {"P@10", "precision_at_10"},
        {"P@4", "precision_at_4"},
        {"Rprec", "r_precision"},
        {"nDCG@10", "ndcg_at_10"},
        {"nDCG@11", "ndcg_at_11"},
        {"AP", "map"},
        {"AP@5", "map_at_5_r"},
        {"mAP@5/min", "map_at_5_min"},
        {"RR", "mrr"},
        {"RR@10", "mrr_at_10"},
        {"mINP", "minp"},
        {"mAP@R", "map_at_r"},
        {"AP@50", "map_at_50_r"},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        CHECK_OK(tdm_metric_rows_ask("--metrics", TDM_E_USAGE, others[i][0], &rows));
        CHECK_EQ(rows.count, table + (tdm_metric_index(others[i][1]) < 0));
        CHECK_STR_EQ(asked(&rows, others[i][1])->name, others[i][1]);
        tdm_metric_rows_free(&rows);
    }
    static const char *const wrong[][2] = {
        {"mAP@5", "did you mean map_at_5_hits, map_at_5_min, map_at_5_r?"},
        {"Success@0", "there is no metric"},
        {"recall_at_0", "there is no metric \"recall_at_0\"; did you mean recall_at_10?"},
        {"recal_at_20", "did you mean recall_at_20?"},
        {"recall_at_05", "did you mean recall_at_5?"},
        {"recall_at_1000000001", "there is no metric"},
        {"recall_at_99999999999999999999", "there is no metric"},
        {"recall_at_7x", "did you mean recall_at_7?"},
        {"recall_at_", "did you mean recall_at_1"},
        {"ndcg_at_{K}", "there is no metric"},
        {"map_at_5", "did you mean map_at_5_hits, map_at_5_min, map_at_5_r?"},
        {"r_precison", "did you mean r_precision?"},
        {"map,,mrr", "there is no metric \"\""},
        {"accuracy_of_all_the_world", "`tandem eval --help`"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_FAILS(tdm_metric_rows_ask("--metrics", TDM_E_USAGE, wrong[i][0], &rows), TDM_E_USAGE,
                    "--metrics: ");
        CHECK_MESSAGE(wrong[i][1]);
        CHECK_TRUE(rows.made == NULL);
    }
    tdm_text many = {0};
    for (int k = 0; k < TDM_MAX_METRICS; k++)
        CHECK_OK(tdm_text_printf(&many, "%srecall_all_at_%d", k ? "," : "", k + 1));
    CHECK_FAILS(tdm_metric_rows_ask("--metrics", TDM_E_USAGE, many.data, &rows), TDM_E_USAGE,
                "more than 64 figures");
    tdm_text_free(&many);
}

/* The table's values keep their bits, those that were asked for are summed alike, by class and by query, too. */
static void test_asked_rows(void **state)
{
    (void)state;
    whole_side query = random_side(60, 5, 9, false, 31), gallery = random_side(150, 5, 12, false, 32);
    const tdm_eval_side q = piece(&query, false, EVEN), g = piece(&gallery, false, EVEN);
    size_t table = 0;
    (void)tdm_metric_table(&table);
    tdm_metric_rows rows;
    CHECK_OK(tdm_metric_rows_ask("--metrics", TDM_E_USAGE, "recall_all_at_20,mrr_at_1000,r_precision,r_sum",
                                 &rows));
    tdm_metrics plain, got[TDM_DIRECTIONS];
    double *value = NULL;
    uint64_t *one_class = NULL;
    CHECK_OK(TDM_ALLOC((int64_t)rows.count * q.n, &value));
    CHECK_OK(TDM_ALLOC(q.n, &one_class));
    for (int64_t i = 0; i < q.n; i++) one_class[i] = 1;
    tdm_eval_detail detail = {
        .rows = &rows, .value = value, .classes = 1, .query_class = one_class, .class_words = 1};
    CHECK_OK(tdm_eval_metrics(comm, NULL, &q, &g, false, 19, &plain));
    CHECK_OK(tdm_eval_metrics_in_detail(comm, NULL, &q, &g, false, 19, &got[0], &detail));
    assert_metrics("asked", &got[0], &plain, 0);
    CHECK_TRUE(plain.rows == NULL);
    CHECK_TRUE(got[0].rows == &rows);
    CHECK_EQ(got[0].value[table + 1], tdm_metrics_value(&plain, "mrr")); /* 150 in the gallery */
    for (size_t r = 0; r < rows.count; r++) CHECK_EQ(detail.per_class[0].value[r], got[0].value[r]);
    float *score = definition_scores(&query, &gallery);
    double all = 0, first = 0, with = 0;
    int64_t rank_of[150];
    for (int64_t i = 0; i < query.n; i++) {
        const int64_t m = definition_ranks(score, &query, &gallery, i, false, false, rank_of);
        double within = 0, at_r = 0;
        for (int64_t p = 0; p < m; p++) {
            within += rank_of[p] <= 20;
            at_r += rank_of[p] <= m;
        }
        if (m == 0) continue;
        with++;
        all += within / (double)m;
        first += at_r / (double)m;
    }
    /* means of at most 60 f64 */
    CHECK_NEAR(got[0].value[table], all / with, 1e-13);
    CHECK_NEAR(got[0].value[table + 2], first / with, 1e-13);
    tdm_text text = {0};
    CHECK_OK(tdm_metrics_print(&got[0], false, &text));
    CHECK_CONTAINS(text.data, "  R@20/all 0.");
    got[1] = got[0];
    const double r_sum = tdm_metrics_value(&plain, "recall_at_1") + tdm_metrics_value(&plain, "recall_at_5") +
                         tdm_metrics_value(&plain, "recall_at_10");
    CHECK_NEAR(tdm_metrics_r_sum(got), 2 * r_sum, 1e-15);
    tdm_text_free(&text);
    tdm_eval_detail_free(&detail);
    tdm_metric_rows_free(&rows);
    tdm_free(value);
    tdm_free(one_class);
    tdm_free(score);
    free_side(&query);
    free_side(&gallery);
}

static void test_choice(void **state)
{
    (void)state;
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_table(&count);
    for (size_t i = 0; i < count; i++) {
        for (int d = 0; d <= TDM_AVERAGE; d++) {
            char key[96];
            tdm_metric_choice choice;
            snprintf(key, sizeof key, "%s.%s", tdm_direction_key((tdm_direction)d), row[i]->name);
            CHECK_OK(tdm_metric_choose("best", key, NULL, &choice));
            CHECK_EQ(choice.direction, d);
            CHECK_TRUE(choice.metric == row[i]);
            tdm_metrics metrics[TDM_DIRECTIONS] = {0};
            metrics[TDM_TEXT_TO_IMAGE].value[i] = 0.25;
            metrics[TDM_IMAGE_TO_TEXT].value[i] = 0.75;
            CHECK_EQ(tdm_metrics_chosen(metrics, &choice), d == TDM_AVERAGE ? 0.5 : metrics[d].value[i]);
        }
    }
    tdm_metric_rows rows;
    tdm_metric_choice choice;
    CHECK_OK(tdm_metric_rows_ask("eval.metrics", TDM_E_CONFIG, "ndcg_at_3,recall_at_2,r_sum", &rows));
    CHECK_OK(tdm_metric_choose("best", "average.recall_at_2", &rows, &choice));
    CHECK_STR_EQ(choice.metric->name, "recall_at_2");
    tdm_metrics both[TDM_DIRECTIONS] = {{.rows = &rows}, {.rows = &rows}};
    both[TDM_TEXT_TO_IMAGE].value[count + 1] = 0.5;
    both[TDM_TEXT_TO_IMAGE].value[tdm_metric_index("recall_at_5")] = 0.125;
    CHECK_EQ(tdm_metrics_chosen(both, &choice), 0.25);
    CHECK_EQ(tdm_metrics_value(&both[TDM_TEXT_TO_IMAGE], "recall_at_2"), 0.5);
    CHECK_OK(tdm_metric_choose("best", "r_sum", &rows, &choice));
    CHECK_EQ(tdm_metrics_chosen(both, &choice), 0.125);
    CHECK_TRUE(tdm_metric_better(choice.metric, 2, 1));
    tdm_metric_rows_free(&rows);
    CHECK_FAILS(tdm_metric_choose("best", "r_sum", NULL, &choice), TDM_E_CONFIG, "eval.metrics");
    CHECK_OK(tdm_metric_choose_any("--metric", TDM_E_USAGE, "average.nDCG@3", &rows, &choice));
    CHECK_EQ(rows.count, count + 1);
    CHECK_EQ(choice.direction, TDM_AVERAGE);
    CHECK_STR_EQ(choice.metric->name, "ndcg_at_3");
    tdm_metric_rows_free(&rows);
    CHECK_OK(tdm_metric_choose_any("--metric", TDM_E_USAGE, "image_to_text.AP", &rows, &choice));
    CHECK_EQ(choice.direction, TDM_IMAGE_TO_TEXT);
    CHECK_TRUE(choice.metric == row[tdm_metric_index("map")]);
    tdm_metric_rows_free(&rows);
    CHECK_FAILS(tdm_metric_choose_any("--metric", TDM_E_USAGE, "average.recal_at_3", &rows, &choice),
                TDM_E_USAGE, "did you mean recall_at_3?");
    CHECK_FAILS(tdm_metric_choose_any("--metric", TDM_E_USAGE, "recall_at_3", &rows, &choice), TDM_E_USAGE,
                "text_to_image.recall_at_3 or average.recall_at_3");
    tdm_metric_rows_free(&rows);
    static const char *const wrong[][2] = {
        {"text_to_image.recall_at_2", "did you mean \"text_to_image.recall_at_1\""},
        {"image_to_txt.map", "did you mean \"image_to_text.map\""},
        {"accuracy", "`tandem eval --help`"},
        {"text_to_image.queries", "no such metric"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_FAILS(tdm_metric_choose("best", wrong[i][0], NULL, &choice), TDM_E_CONFIG, wrong[i][0]);
        CHECK_MESSAGE(wrong[i][1]);
    }
}

static void test_print(void **state)
{
    (void)state;
    tdm_metrics m = {.queries = 3};
    set_value(&m, "recall_at_5", 0.5);
    set_value(&m, "mean_rank", 12.25);
    tdm_text all = {0}, headline = {0};
    CHECK_OK(tdm_metrics_print(&m, false, &all));
    CHECK_OK(tdm_metrics_print(&m, true, &headline));
    CHECK_CONTAINS(all.data, "R@1 0.0000  R@5 0.5000  R@10 0.0000  ");
    CHECK_CONTAINS(all.data, "mean rank 12.2");
    CHECK_CONTAINS(headline.data, "R@5 0.5000");
    CHECK_LACKS(headline.data, "rank");
    tdm_text_free(&all);
    tdm_text_free(&headline);
}

/* A test once per instruction set. */
#define ON(test, isa)                                                                                        \
    {                                                                                                        \
#test " " isa, test, NULL, any_isa, isa                                                              \
    }
#define EACH(test) ON(test, "generic"), ON(test, "avx2"), ON(test, "avx512")

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        EACH(test_numpy),
        EACH(test_definition),
        EACH(test_exclude_self),
        EACH(test_both),
        EACH(test_top_k),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_cameras),
        cmocka_unit_test(test_detail),
        cmocka_unit_test(test_euclidean),
        cmocka_unit_test(test_judged),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_asked),
        cmocka_unit_test(test_asking),
        cmocka_unit_test(test_asked_rows),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_print),
    };
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    size = tdm_comm_size(comm);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    return failed;
}
