/* Private to src/eval: what several metrics make of the positives among the first `last` places. */
#ifndef TANDEM_METRIC_SUMS_H
#define TANDEM_METRIC_SUMS_H

#include "metric_table.h"

/* How many they are. */
static inline int64_t count_until(const tdm_ranking *ranking, int64_t last)
{
    int64_t hits = 0;
    while (hits < ranking->m && ranking->rank[hits] <= last) hits++;
    return hits;
}

/* The sum of the precisions at their ranks, i / r_i. */
static inline double precisions_until(const tdm_ranking *ranking, int64_t last)
{
    double sum = 0;
    for (int64_t i = 0; i < ranking->m && ranking->rank[i] <= last; i++)
        sum += (double)(i + 1) / (double)ranking->rank[i];
    return sum;
}

#endif
