/* Mean reciprocal rank of the first positive. */
#include "metric_table.h"

static double reciprocal_rank(const tdm_ranking *ranking, int64_t cutoff)
{
    (void)cutoff;
    return 1 / (double)ranking->rank[0];
}

const tdm_metric metric_mrr = {
    .name = "mrr",
    .label = "MRR",
    .title = "MRR",
    .help = "mean over the queries of 1 / rank of the best positive",
    .is_share = true,
    .value = reciprocal_rank,
};
