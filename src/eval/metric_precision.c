/* Precision@K: the share of positives among the first K places; K stays the divisor where there are fewer positives. That
 * of 1 is recall_at_1. CLIP4CMR's evaluate.py (github zhixiongz/CLIP4CMR, 12d7e71) prints these five, in percent. */
#include "metric_table.h"

static double precision(const tdm_ranking *ranking, int64_t cutoff)
{
    int64_t hits = 0;
    while (hits < ranking->m && ranking->rank[hits] <= cutoff) hits++;
    return (double)hits / (double)cutoff;
}

#define PRECISION(k)                                                                                         \
    const tdm_metric metric_precision_at_##k = {                                                             \
        .name = "precision_at_" #k,                                                                          \
        .label = "P@" #k,                                                                                    \
        .title = "Precision@" #k,                                                                            \
        .help = "mean over the queries of the share of positives among the first " #k,                       \
        .is_share = true,                                                                                    \
        .cutoff = k,                                                                                         \
        .value = precision,                                                                                  \
    }

PRECISION(1);
PRECISION(2);
PRECISION(4);
PRECISION(8);
PRECISION(16);
