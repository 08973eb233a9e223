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
    .also = "RR,MRR",
    .is_share = true,
    .value = reciprocal_rank,
};

static double reciprocal_rank_until(const tdm_ranking *ranking, int64_t cutoff)
{
    return ranking->rank[0] <= cutoff ? 1 / (double)ranking->rank[0] : 0;
}

const tdm_metric family_mrr = {
    .name = "mrr_at_" METRIC_K,
    .label = "MRR@" METRIC_K,
    .title = "MRR@" METRIC_K,
    .help =
        "mean over the queries of 1 / rank of the best positive, 0 when it is not among the first " METRIC_K,
    .also = "RR@" METRIC_K ",MRR@" METRIC_K ",mrr@" METRIC_K,
    .is_share = true,
    .value = reciprocal_rank_until,
};
