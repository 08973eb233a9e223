/* How sure is a figure that is a mean over queries, and is one system better than another? Bootstrap intervals,
 * paired randomisation tests, Holm's correction.
 *
 * Random numbers are named by seed, resample or permutation, and query: the same bits for any number of ranks and
 * threads, and with any instruction set. */
#ifndef TANDEM_SIGNIFICANCE_H
#define TANDEM_SIGNIFICANCE_H

#include "tandem/comm.h"
#include "tandem/metric.h"

/* What each query contributes, the same on every rank. Borrowed. Queries that belong together, as the captions of one
 * image do, are no independent draws: clusters are drawn again, or change signs, as wholes. */
typedef struct tdm_query_values {
    int64_t n, columns;
    const double *value;    /* [columns][n], finite */
    const int64_t *cluster; /* [n] queries of equal numbers belong together; NULL: each stands alone */
} tdm_query_values;

/* How many clusters there are. Not collective. */
TDM_CHECKED tdm_status tdm_cluster_count(const tdm_query_values *values, int64_t *count);

/* ---- Intervals ----
 * The percentile bootstrap (Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979;
 * Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). Each resample draws as many clusters as
 * there are, with replacement; the ends are quantiles of what the statistic is over the resamples, interpolated
 * linearly as NumPy does. */
typedef struct tdm_statistic {
    tdm_metric_summary summary;
    int64_t column, minus; /* of `column`, less that of `minus` unless this is -1 */
} tdm_statistic;
typedef struct tdm_bootstrap {
    int64_t resamples;
    double level; /* 0.95 */
    uint64_t seed;
    int threads;
} tdm_bootstrap;
/* interval[statistics]. Collective; every rank gets the same. */
TDM_CHECKED tdm_status tdm_bootstrap_intervals(tdm_comm *comm, const tdm_query_values *values,
                                               const tdm_statistic *statistic, int64_t statistics,
                                               const tdm_bootstrap *how, tdm_interval *interval);

/* ---- Paired randomisation test ----
 * Fisher's (The Design of Experiments, 1935), as Smucker, Allan and Carterette (CIKM 2007) recommend it for
 * retrieval: if two systems are alike, each query's difference has its sign by chance. T is the sum of a
 * column; p the share of sign patterns whose |T| is as large as the observed one or larger. Where at most as many
 * clusters differ as make `permutations` patterns, all patterns are counted. Otherwise `permutations` are drawn, and
 * p = (1 + how many reach it) / (1 + permutations). Sums that differ by less than their rounding are equal. */
typedef struct tdm_flip_test {
    double p;          /* two-sided */
    int64_t differing; /* clusters whose difference is not 0 */
    int64_t patterns;  /* that were counted */
    bool exact;        /* these are all */
} tdm_flip_test;
enum { TDM_MOST_PERMUTATIONS = 1 << 30 };
/* difference: a column per metric; test[columns]. Collective; every rank gets the same. */
TDM_CHECKED tdm_status tdm_sign_flip_test(tdm_comm *comm, const tdm_query_values *difference,
                                          int64_t permutations, uint64_t seed, int threads,
                                          tdm_flip_test *test);

/* Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979): the chance that any of the hypotheses
 * which hold is rejected stays below the level at which adjusted[i] is read. NaN: no test, neither counted nor
 * adjusted. */
TDM_CHECKED tdm_status tdm_holm(int64_t n, const double *p, double *adjusted);

#endif
