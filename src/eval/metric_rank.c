/* The rank of the best positive. */
#include "metric_table.h"

static double first_rank(const tdm_ranking *ranking, int64_t cutoff)
{
    (void)cutoff;
    return (double)ranking->rank[0];
}

const tdm_metric metric_median_rank = {
    .name = "median_rank",
    .label = "median rank",
    .title = "Median rank of the first positive",
    .help = "median over the queries of the best positive's rank; 1 is first",
    .less_is_better = true,
    .value = first_rank,
    .summary = TDM_MEDIAN,
};

const tdm_metric metric_mean_rank = {
    .name = "mean_rank",
    .label = "mean rank",
    .title = "Mean rank of the first positive",
    .help = "mean over the queries of the best positive's rank; 1 is first",
    .less_is_better = true,
    .value = first_rank,
};
