/* Recall@K, of two kinds. Any: is the best positive among the first K? Over the queries that is the share of those
 * answered: hit rate, success, CMC at rank K. All: how many of a query's positives are there? */
#include "metric_sums.h"

static double recall(const tdm_ranking *ranking, int64_t cutoff)
{
    return ranking->rank[0] <= cutoff ? 1 : 0;
}

static double recall_of_all(const tdm_ranking *ranking, int64_t cutoff)
{
    return (double)count_until(ranking, cutoff) / (double)ranking->m;
}

#define RECALL(variable, k, places)                                                                          \
    const tdm_metric variable = {                                                                            \
        .name = "recall_at_" k,                                                                              \
        .label = "R@" k,                                                                                     \
        .title = "Recall@" k,                                                                                \
        .help = "share of the queries whose best positive stands among the first " k,                        \
        .also = "Success@" k ",CMC@" k ",Rank@" k ",hit_rate@" k,                                            \
        .is_share = true,                                                                                    \
        .is_headline = true,                                                                                 \
        .cutoff = places,                                                                                    \
        .value = recall,                                                                                     \
    }

RECALL(metric_recall_at_1, "1", 1);
RECALL(metric_recall_at_5, "5", 5);
RECALL(metric_recall_at_10, "10", 10);
RECALL(family_recall, METRIC_K, 0);

const tdm_metric family_recall_all = {
    .name = "recall_all_at_" METRIC_K,
    .label = "R@" METRIC_K "/all",
    .title = "Recall of all@" METRIC_K,
    .help = "mean over the queries of the share of their positives that stand among the first " METRIC_K,
    .also = "R@" METRIC_K ",recall@" METRIC_K,
    .is_share = true,
    .value = recall_of_all,
};
