/* Average precision: mean over the positives of i / r_i, where r_1 < … < r_m are their ranks. */
#include "metric_table.h"

/* Only the positives with r_i <= `last` count; m stays the divisor. */
static double precision_until(const tdm_ranking *ranking, int64_t last)
{
    double sum = 0;
    for (int64_t i = 0; i < ranking->m && ranking->rank[i] <= last; i++)
        sum += (double)(i + 1) / (double)ranking->rank[i];
    return sum / (double)ranking->m;
}

static double average_precision(const tdm_ranking *ranking, int64_t cutoff)
{
    (void)cutoff;
    return precision_until(ranking, INT64_MAX);
}

/* Musgrave, Belongie, Lim: A Metric Learning Reality Check, ECCV 2020. */
static double average_precision_at_r(const tdm_ranking *ranking, int64_t cutoff)
{
    (void)cutoff;
    return precision_until(ranking, ranking->m);
}

const tdm_metric metric_map = {
    .name = "map",
    .label = "mAP",
    .title = "mAP",
    .help = "mean over the queries of the average precision",
    .is_share = true,
    .is_headline = true,
    .value = average_precision,
};

const tdm_metric metric_map_at_r = {
    .name = "map_at_r",
    .label = "mAP@R",
    .title = "mAP@R",
    .help = "mean over the queries of the average precision over the first m places, m being the positives",
    .is_share = true,
    .value = average_precision_at_r,
};
