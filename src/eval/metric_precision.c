/* Precision@K: the share of positives among the first K places; K stays the divisor where there are fewer positives. That
 * of 1 is recall_at_1. CLIP4CMR's evaluate.py (github zhixiongz/CLIP4CMR, 12d7e71) prints these five, in percent. */
#include "metric_sums.h"

static double precision(const tdm_ranking *ranking, int64_t cutoff)
{
    return (double)count_until(ranking, cutoff) / (double)cutoff;
}

#define PRECISION(variable, k, places)                                                                       \
    const tdm_metric variable = {                                                                            \
        .name = "precision_at_" k,                                                                           \
        .label = "P@" k,                                                                                     \
        .title = "Precision@" k,                                                                             \
        .help = "mean over the queries of the share of positives among the first " k,                        \
        .also = "P@" k ",precision@" k,                                                                      \
        .is_share = true,                                                                                    \
        .cutoff = places,                                                                                    \
        .value = precision,                                                                                  \
    }

PRECISION(metric_precision_at_1, "1", 1);
PRECISION(metric_precision_at_2, "2", 2);
PRECISION(metric_precision_at_4, "4", 4);
PRECISION(metric_precision_at_8, "8", 8);
PRECISION(metric_precision_at_16, "16", 16);
PRECISION(family_precision, METRIC_K, 0);

static double precision_at_r(const tdm_ranking *ranking, int64_t cutoff)
{
    (void)cutoff;
    return precision(ranking, ranking->m);
}

const tdm_metric family_r_precision = {
    .name = "r_precision",
    .label = "R-Prec",
    .title = "R-Precision",
    .help = "mean over the queries of the share of positives among the first m, m being the positives",
    .also = "Rprec,RPrec,r-precision",
    .is_share = true,
    .value = precision_at_r,
};
