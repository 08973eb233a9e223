/* Recall@K: is the best positive among the first K? Over the queries that is the share of those answered. */
#include "metric_table.h"

static double recall(const tdm_ranking *ranking, int64_t cutoff)
{
    return ranking->rank[0] <= cutoff ? 1 : 0;
}

#define RECALL(k)                                                                                            \
    const tdm_metric metric_recall_at_##k = {                                                                \
        .name = "recall_at_" #k,                                                                             \
        .label = "R@" #k,                                                                                    \
        .title = "Recall@" #k,                                                                               \
        .help = "share of the queries whose best positive stands among the first " #k,                       \
        .is_share = true,                                                                                    \
        .is_headline = true,                                                                                 \
        .cutoff = k,                                                                                         \
        .value = recall,                                                                                     \
    }

RECALL(1);
RECALL(5);
RECALL(10);
