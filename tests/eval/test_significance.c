/* Intervals and tests on several ranks: SciPy's and statsmodels' numbers, the bootstrap's exact distribution, equal bits
 * whatever the threads and the instruction set, and how often what holds is rejected. */
#include "check.h"
#include "tandem/rng.h"
#include "tandem/significance.h"

#include "../golden/significance_golden.h"

#include <stdlib.h>

static tdm_comm *comm;

enum { QUERIES = 7, PATTERNS = 823543 /* 7^7 */ };
static const double few[2 * QUERIES] = {1, 0, 0.5, 0.25, 1, 0.125, 0.2, 3, 8, 1, 1, 12, 5, 40};
static const tdm_bootstrap plain = {.resamples = 20000, .level = 0.95, .seed = 1, .threads = 1};

static int64_t differing(const double *value, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += value[i] != 0;
    return count;
}

static void exact_tests_are_scipys(void **state)
{
    (void)state;
    tdm_query_values values = {GOLDEN_QUERIES, GOLDEN_METRICS, golden_difference, NULL};
    tdm_flip_test test[GOLDEN_METRICS];
    CHECK_OK(tdm_sign_flip_test(comm, &values, 1 << GOLDEN_QUERIES, 1, 1, test));
    for (int m = 0; m < GOLDEN_METRICS; m++) {
        CHECK_TRUE(test[m].exact);
        CHECK_EQ(test[m].differing, differing(golden_difference + m * GOLDEN_QUERIES, GOLDEN_QUERIES));
        CHECK_EQ(test[m].patterns, (int64_t)1 << test[m].differing);
        CHECK_NEAR(test[m].p, golden_p[m], 1e-15); /* both count */
    }
    values.cluster = golden_cluster;
    CHECK_OK(tdm_sign_flip_test(comm, &values, 1 << GOLDEN_QUERIES, 1, 1, test));
    for (int m = 0; m < GOLDEN_METRICS; m++) CHECK_NEAR(test[m].p, golden_clustered[m], 1e-15);
}

/* Drawn patterns: a binomial share, here within five of its standard deviations. */
static void drawn_tests_are_near_the_exact_ones(void **state)
{
    (void)state;
    enum { DRAWN = 8000 };
    const tdm_query_values values = {GOLDEN_QUERIES, GOLDEN_METRICS, golden_difference, NULL};
    tdm_flip_test test[GOLDEN_METRICS], other[GOLDEN_METRICS];
    CHECK_OK(tdm_sign_flip_test(comm, &values, DRAWN, 1, 1, test));
    CHECK_OK(tdm_sign_flip_test(comm, &values, DRAWN, 2, 1, other));
    CHECK_TRUE(test[0].exact); /* four queries differ */
    CHECK_NEAR(test[0].p, golden_p[0], 1e-15);
    for (int m = 1; m < GOLDEN_METRICS; m++) {
        CHECK_FALSE(test[m].exact);
        CHECK_EQ(test[m].patterns, DRAWN);
        CHECK_NEAR(test[m].p, golden_p[m], 5 * sqrt(golden_p[m] * (1 - golden_p[m]) / DRAWN) + 1.0 / DRAWN);
    }
    CHECK_NE(test[2].p, other[2].p);
}

/* Sums that are equal but for their rounding count as equal: 0.1 + 0.2 is not 0.3. */
static void ties_are_ties(void **state)
{
    (void)state;
    const double value[] = {0.1, 0.2, -0.3, 0.3};
    const tdm_query_values values = {4, 1, value, NULL};
    tdm_flip_test test;
    CHECK_OK(tdm_sign_flip_test(comm, &values, 16, 1, 1, &test));
    CHECK_EQ(test.p, 12.0 / 16.0); /* |T| is 0.1 in four, 0.3 or more in the others */
}

static double statistic_of(const int *drawn, int column, bool median)
{
    double value[QUERIES], sum = 0;
    for (int i = 0; i < QUERIES; i++) sum += value[i] = few[column * QUERIES + drawn[i]];
    if (!median) return sum / QUERIES;
    qsort(value, QUERIES, sizeof *value, tdm_compare_doubles);
    return value[QUERIES / 2];
}

/* The share of all 7^7 equally likely resamples whose statistic is below `value`, or at most that. */
static void exact_shares(int column, bool median, double value, double *below, double *until)
{
    int drawn[QUERIES] = {0};
    int64_t less = 0, equal = 0;
    for (int pattern = 0; pattern < PATTERNS; pattern++) {
        for (int i = 0, rest = pattern; i < QUERIES; i++, rest /= QUERIES) drawn[i] = rest % QUERIES;
        const double s = statistic_of(drawn, column, median), room = 1e-12;
        less += s < value - room;
        equal += fabs(s - value) <= room;
    }
    *below = (double)less / PATTERNS;
    *until = (double)(less + equal) / PATTERNS;
}

/* An end is a quantile of the exact distribution, within five standard deviations of the drawn share. */
static void ends_are_quantiles_of_the_bootstrap(void **state)
{
    (void)state;
    const tdm_query_values values = {QUERIES, 2, few, NULL};
    const tdm_statistic statistic[] = {{TDM_MEAN, 0, -1}, {TDM_MEDIAN, 1, -1}};
    const double share = 0.025, room = 5 * sqrt(share * (1 - share) / (double)plain.resamples);
    tdm_interval interval[2];
    CHECK_OK(tdm_bootstrap_intervals(comm, &values, statistic, 2, &plain, interval));
    for (int s = 0; s < 2; s++) {
        const double end[] = {interval[s].low, interval[s].high}, want[] = {share, 1 - share};
        for (int e = 0; e < 2; e++) {
            double below, until;
            exact_shares(s, s == 1, end[e], &below, &until);
            CHECK_LE(below, want[e] + room);
            CHECK_GE(until, want[e] - room);
        }
    }
}

/* Many columns in several vectors, several blocks of draws, and clusters of unequal size. */
enum { N = 700, COLUMNS = 19 };
/* What one rank found. */
#define GOLDEN_LOW     -0.0023579330216826812
#define GOLDEN_DRAWN_P 0.38852229554089185
static double many[COLUMNS * N];
static int64_t cluster_of[N];

static void make_many(void)
{
    tdm_rng rng = tdm_rng_at(3, 0, 0, TDM_RNG_TEST);
    for (int i = 0; i < COLUMNS * N; i++) many[i] = tdm_rng_uniform(&rng) - 0.48;
    for (int i = 0; i < N; i++) cluster_of[i] = 1000 - (i * 7 % N) / 3;
}

static void nothing_depends_on_threads_and_instructions(void **state)
{
    (void)state;
    const char *const isa[] = {"generic", "avx2", "avx512"};
    const tdm_query_values values = {N, COLUMNS, many, cluster_of};
    tdm_statistic statistic[COLUMNS];
    tdm_interval want[COLUMNS], interval[COLUMNS];
    tdm_flip_test wanted[COLUMNS], test[COLUMNS];
    for (int m = 0; m < COLUMNS; m++)
        statistic[m] = (tdm_statistic){m == 4 ? TDM_MEDIAN : TDM_MEAN, m, m == 4 ? 5 : -1};
    for (int i = 0; i < 3; i++) {
        const tdm_bootstrap how = {.resamples = 501, .level = 0.9, .seed = 5, .threads = 1 + i};
        setenv("TANDEM_ISA", isa[i], 1);
        CHECK_OK(tdm_bootstrap_intervals(comm, &values, statistic, COLUMNS, &how, i ? interval : want));
        CHECK_OK(tdm_sign_flip_test(comm, &values, 5000, 5, 1 + i, i ? test : wanted));
        for (int m = 0; i > 0 && m < COLUMNS; m++) {
            CHECK_EQ(interval[m].low, want[m].low);
            CHECK_EQ(interval[m].high, want[m].high);
            CHECK_EQ(test[m].p, wanted[m].p);
        }
    }
    unsetenv("TANDEM_ISA");
    CHECK_LT(want[0].low, want[0].high);
    /* One rank and several have the same: every one of them compares with these digits. */
    CHECK_NEAR(want[0].low, GOLDEN_LOW, 1e-15);
    CHECK_NEAR(wanted[7].p, GOLDEN_DRAWN_P, 1e-15);
}

/* Queries that say the same five times are one: their cluster is drawn, and changes its sign, as a whole. */
static void a_cluster_counts_once(void **state)
{
    (void)state;
    enum { COPIES = 5 };
    static double copied[COPIES * QUERIES];
    int64_t cluster[COPIES * QUERIES], count;
    const tdm_statistic statistic = {TDM_MEAN, 0, -1};
    tdm_interval once, copies, alone;
    tdm_flip_test test_once, test_copies;
    for (int i = 0; i < COPIES * QUERIES; i++) {
        copied[i] = few[i % QUERIES];
        cluster[i] = i % QUERIES;
    }
    const tdm_query_values single = {QUERIES, 1, few, NULL};
    tdm_query_values repeated = {COPIES * QUERIES, 1, copied, cluster};
    CHECK_OK(tdm_cluster_count(&repeated, &count));
    CHECK_EQ(count, QUERIES);
    CHECK_OK(tdm_bootstrap_intervals(comm, &single, &statistic, 1, &plain, &once));
    CHECK_OK(tdm_bootstrap_intervals(comm, &repeated, &statistic, 1, &plain, &copies));
    CHECK_NEAR(copies.low, once.low, 1e-15);
    CHECK_NEAR(copies.high, once.high, 1e-15);
    CHECK_OK(tdm_sign_flip_test(comm, &single, 1 << QUERIES, 1, 1, &test_once));
    CHECK_OK(tdm_sign_flip_test(comm, &repeated, 1 << QUERIES, 1, 1, &test_copies));
    CHECK_EQ(test_copies.p, test_once.p);
    repeated.cluster = NULL;
    CHECK_OK(tdm_bootstrap_intervals(comm, &repeated, &statistic, 1, &plain, &alone));
    CHECK_LT(alone.high - alone.low, 0.6 * (once.high - once.low)); /* about 1/sqrt(5) */
}

static void holm_is_statsmodels(void **state)
{
    (void)state;
    double adjusted[GOLDEN_TESTS], p[] = {0.02, NAN, 0.03}, some[3];
    CHECK_OK(tdm_holm(GOLDEN_TESTS, golden_many, adjusted));
    for (int i = 0; i < GOLDEN_TESTS; i++) CHECK_NEAR(adjusted[i], golden_holm[i], 1e-15);
    CHECK_OK(tdm_holm(3, p, some));
    CHECK_NEAR(some[0], 0.04, 1e-15);
    CHECK_TRUE(isnan(some[1]));
    CHECK_NEAR(some[2], 0.04, 1e-15); /* not 0.03: never below a smaller one's */
    CHECK_OK(tdm_holm(0, NULL, NULL));
}

static void little_to_compare(void **state)
{
    (void)state;
    const double same[QUERIES] = {0};
    const tdm_query_values none = {0, 1, NULL, NULL}, equal = {QUERIES, 1, same, NULL},
                           one = {1, 1, few, NULL};
    const tdm_statistic statistic[] = {{TDM_MEAN, 0, -1}, {TDM_MEDIAN, 0, -1}};
    tdm_interval interval[2];
    tdm_flip_test test;
    CHECK_OK(tdm_bootstrap_intervals(comm, &none, statistic, 1, &plain, interval));
    CHECK_TRUE(isnan(interval[0].low));
    CHECK_OK(tdm_sign_flip_test(comm, &none, 100, 1, 1, &test));
    CHECK_EQ(test.p, 1.0);
    CHECK_OK(tdm_sign_flip_test(comm, &equal, 100, 1, 1, &test));
    CHECK_EQ(test.p, 1.0);
    CHECK_EQ(test.patterns, 1);
    CHECK_OK(tdm_bootstrap_intervals(comm, &one, statistic, 2, &plain, interval));
    for (int s = 0; s < 2; s++) {
        CHECK_EQ(interval[s].low, few[0]);
        CHECK_EQ(interval[s].high, few[0]);
    }
}

static double deviate(tdm_rng *rng)
{
    const double x = tdm_rng_normal(rng);
    return x * x * x; /* heavy tails, symmetric */
}

/* Two equal systems: p at or below 0.05 in a share of 0.05 of the trials; and an interval that covers the mean. Both
 * within four standard deviations of a share of 400 trials. */
static void what_holds_is_rarely_rejected(void **state)
{
    (void)state;
    enum { TRIALS = 400, SIZE = 60 };
    static double value[2 * SIZE];
    const tdm_query_values values = {SIZE, 1, value, NULL}, skewed = {SIZE, 1, value + SIZE, NULL};
    const tdm_statistic statistic = {TDM_MEAN, 0, -1};
    const tdm_bootstrap how = {.resamples = 400, .level = 0.95, .seed = 9, .threads = 1};
    tdm_rng rng = tdm_rng_at(4, 0, 0, TDM_RNG_TEST);
    int64_t rejected = 0, covered = 0;
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        tdm_flip_test test;
        tdm_interval interval;
        for (int i = 0; i < SIZE; i++) {
            value[i] = deviate(&rng);
            value[SIZE + i] = tdm_rng_uniform(&rng) < 0.3; /* found at 1, or not */
        }
        CHECK_OK(tdm_sign_flip_test(comm, &values, 999, trial, 1, &test));
        CHECK_OK(tdm_bootstrap_intervals(comm, &skewed, &statistic, 1, &how, &interval));
        rejected += test.p <= 0.05;
        covered += interval.low <= 0.3 && interval.high >= 0.3;
    }
    const double room = 4 * sqrt(0.05 * 0.95 / TRIALS);
    CHECK_NEAR((double)rejected / TRIALS, 0.05, room);
    CHECK_NEAR((double)covered / TRIALS, 0.95, room);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_tests_are_scipys),
        cmocka_unit_test(drawn_tests_are_near_the_exact_ones),
        cmocka_unit_test(ties_are_ties),
        cmocka_unit_test(ends_are_quantiles_of_the_bootstrap),
        cmocka_unit_test(nothing_depends_on_threads_and_instructions),
        cmocka_unit_test(a_cluster_counts_once),
        cmocka_unit_test(holm_is_statsmodels),
        cmocka_unit_test(little_to_compare),
        cmocka_unit_test(what_holds_is_rarely_rejected),
    };
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    make_many();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    return failed;
}
