/* Average precision: mean over the positives of i / r_i, where r_1 < … < r_m are their ranks. */
#include "metric_sums.h"

static double average_precision(const tdm_ranking *ranking, int64_t cutoff)
{
    (void)cutoff;
    return precisions_until(ranking, INT64_MAX) / (double)ranking->m;
}

/* Musgrave, Belongie, Lim: A Metric Learning Reality Check, ECCV 2020. */
static double average_precision_at_r(const tdm_ranking *ranking, int64_t cutoff)
{
    (void)cutoff;
    return precisions_until(ranking, ranking->m) / (double)ranking->m;
}

const tdm_metric metric_map = {
    .name = "map",
    .label = "mAP",
    .title = "mAP",
    .help = "mean over the queries of the average precision",
    .also = "AP,mAP",
    .is_share = true,
    .is_headline = true,
    .value = average_precision,
};

const tdm_metric metric_map_at_r = {
    .name = "map_at_r",
    .label = "mAP@R",
    .title = "mAP@R",
    .help = "mean over the queries of the average precision over the first m places, m being the positives",
    .also = "mAP@R",
    .is_share = true,
    .value = average_precision_at_r,
};
