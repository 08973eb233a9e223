/* How fast intervals and paired tests are, and whether they say what they claim.
 *
 *   significance_bench speed [queries] [metrics] [threads]     defaults: 25000 12 1
 *   significance_bench calibration [trials]                    default: 2000
 *
 * Calibration: two systems that are alike, whose p should be at most x in a share x of the trials; and intervals of 95 %,
 * which should hold the true figure in a share 0.95 of them. */
#include "tandem/base.h"
#include "tandem/rng.h"
#include "tandem/significance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_QUERIES = 1000, CAPTIONS = 5, RESAMPLES = 1000, PERMUTATIONS = 999 };

static tdm_comm *comm;

/* ---- Speed ---- */

static tdm_status measure(int64_t queries, int64_t metrics, int threads)
{
    double *value = NULL;
    tdm_statistic statistic[TDM_MAX_METRICS];
    tdm_interval interval[TDM_MAX_METRICS];
    tdm_flip_test test[TDM_MAX_METRICS];
    TDM_REQUIRE(metrics >= 1 && metrics <= TDM_MAX_METRICS, TDM_E_USAGE, "metrics: 1 to %d", TDM_MAX_METRICS);
    TDM_TRY(TDM_ALLOC(queries * metrics, &value));
    tdm_rng rng = tdm_rng_at(1, 0, 0, TDM_RNG_TEST);
    for (int64_t i = 0; i < queries * metrics; i++) value[i] = tdm_rng_uniform(&rng) - 0.5;
    for (int64_t m = 0; m < metrics; m++) statistic[m] = (tdm_statistic){TDM_MEAN, m, -1};
    const tdm_query_values values = {queries, metrics, value, NULL};
    const tdm_bootstrap how = {.resamples = 10000, .level = 0.95, .seed = 1, .threads = threads};
    const double begin_s = tdm_now_s();
    const clock_t begin = clock();
    tdm_status status = tdm_bootstrap_intervals(comm, &values, statistic, metrics, &how, interval);
    const double middle_s = tdm_now_s();
    const clock_t middle = clock();
    if (status == TDM_OK) status = tdm_sign_flip_test(comm, &values, 100000, 1, threads, test);
    if (status == TDM_OK)
        printf("%lld queries, %lld metrics, %d threads: 10,000 resamples %.2f s (%.2f of a core), 100,000 "
               "permutations %.2f s (%.2f)\n",
               (long long)queries, (long long)metrics, threads, middle_s - begin_s,
               (double)(middle - begin) / CLOCKS_PER_SEC, tdm_now_s() - middle_s,
               (double)(clock() - middle) / CLOCKS_PER_SEC);
    tdm_free(value);
    return status;
}

/* ---- Calibration ---- */

typedef double draw(tdm_rng *rng);

static double found(tdm_rng *rng)
{
    return tdm_rng_uniform(rng) < 0.3;
}
static double found_mostly(tdm_rng *rng)
{
    return tdm_rng_uniform(rng) < 0.95;
}
/* 1 / rank, the logarithm of the rank being exponential: many small values, some of 1. */
static double reciprocal_rank(tdm_rng *rng)
{
    return 1 / ceil(exp(-2 * log1p(-tdm_rng_uniform(rng))) - 0.5);
}
static double rank(tdm_rng *rng)
{
    return fmin(1000, 1 / reciprocal_rank(rng));
}

static const struct {
    const char *name;
    draw *draw;
    tdm_metric_summary summary;
} kinds[] = {{"found, 0.3", found, TDM_MEAN},
             {"found, 0.95", found_mostly, TDM_MEAN},
             {"1/rank", reciprocal_rank, TDM_MEAN},
             {"rank, median", rank, TDM_MEDIAN}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static double truth(int kind)
{
    enum { MANY = 2000001 };
    static double value[MANY];
    double sum = 0;
    tdm_rng rng = tdm_rng_at(2, (uint64_t)kind, 0, TDM_RNG_TEST);
    for (int i = 0; i < MANY; i++) sum += value[i] = kinds[kind].draw(&rng);
    if (kinds[kind].summary == TDM_MEAN) return sum / MANY;
    qsort(value, MANY, sizeof *value, tdm_compare_doubles);
    return value[MANY / 2];
}

/* What queries of one cluster share: with `shared` all captions of an image have the same value. */
static tdm_status cover(int kind, int64_t n, bool shared, int64_t trials)
{
    static double value[MOST_QUERIES];
    static int64_t cluster[MOST_QUERIES];
    const double want = truth(kind);
    const tdm_statistic statistic = {kinds[kind].summary, 0, -1};
    const tdm_query_values together = {n, 1, value, cluster}, alone = {n, 1, value, NULL};
    tdm_rng rng = tdm_rng_at(3, (uint64_t)kind, (uint64_t)n, TDM_RNG_TEST);
    int64_t held = 0, held_alone = 0;
    for (int64_t t = 0; t < trials; t++) {
        const tdm_bootstrap how = {RESAMPLES, 0.95, (uint64_t)t, 1};
        tdm_interval interval;
        for (int64_t i = 0; i < n; i++) {
            cluster[i] = shared ? i / CAPTIONS : i;
            value[i] = shared && i % CAPTIONS > 0 ? value[i - 1] : kinds[kind].draw(&rng);
        }
        TDM_TRY(tdm_bootstrap_intervals(comm, &together, &statistic, 1, &how, &interval));
        held += interval.low <= want && want <= interval.high;
        if (!shared) continue;
        TDM_TRY(tdm_bootstrap_intervals(comm, &alone, &statistic, 1, &how, &interval));
        held_alone += interval.low <= want && want <= interval.high;
    }
    printf("%-14s %5lld queries%s: covered %.3f", kinds[kind].name, (long long)n,
           shared ? " in fives" : "         ", (double)held / (double)trials);
    if (shared) printf(", as if each stood alone %.3f", (double)held_alone / (double)trials);
    puts("");
    return TDM_OK;
}

static tdm_status reject(int kind, int64_t n, int64_t trials)
{
    static double value[MOST_QUERIES];
    static const double level[] = {0.01, 0.05, 0.1, 0.5};
    enum { LEVELS = sizeof level / sizeof level[0] };
    const tdm_query_values values = {n, 1, value, NULL};
    tdm_rng rng = tdm_rng_at(4, (uint64_t)kind, (uint64_t)n, TDM_RNG_TEST);
    int64_t below[LEVELS] = {0};
    for (int64_t t = 0; t < trials; t++) {
        tdm_flip_test test;
        for (int64_t i = 0; i < n; i++) value[i] = kinds[kind].draw(&rng) - kinds[kind].draw(&rng);
        TDM_TRY(tdm_sign_flip_test(comm, &values, PERMUTATIONS, (uint64_t)t, 1, &test));
        for (int l = 0; l < LEVELS; l++) below[l] += test.p <= level[l];
    }
    printf("%-14s %5lld queries: p at most", kinds[kind].name, (long long)n);
    for (int l = 0; l < LEVELS; l++)
        printf("%s %g in %.3f", l ? "," : "", level[l], (double)below[l] / (double)trials);
    puts("");
    return TDM_OK;
}

static tdm_status calibrate(int64_t trials)
{
    static const int64_t sizes[] = {50, 200, 1000};
    printf("%lld trials; a share of 0.05 has a standard deviation of %.4f\n", (long long)trials,
           sqrt(0.05 * 0.95 / (double)trials));
    for (int kind = 0; kind < KINDS; kind++)
        for (int s = 0; s < 3 && kinds[kind].summary == TDM_MEAN; s++)
            TDM_TRY(reject(kind, sizes[s], trials));
    for (int kind = 0; kind < KINDS; kind++)
        for (int s = 0; s < 3; s++) TDM_TRY(cover(kind, sizes[s], false, trials));
    for (int kind = 0; kind < KINDS; kind++) TDM_TRY(cover(kind, MOST_QUERIES, true, trials));
    return TDM_OK;
}

static int64_t number(int argc, char **argv, int i, int64_t otherwise)
{
    return argc > i ? strtoll(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    const bool speed = argc < 2 || strcmp(argv[1], "speed") == 0;
    if (tdm_comm_create_alone(&comm) != TDM_OK) return 1;
    const tdm_status status = speed ? measure(number(argc, argv, 2, 25000), number(argc, argv, 3, 12),
                                              (int)number(argc, argv, 4, 1))
                                    : calibrate(number(argc, argv, 2, 2000));
    if (status != TDM_OK) tdm_comm_report(comm);
    tdm_comm_destroy(&comm);
    return status != TDM_OK;
}
