/* Normalised discounted cumulative gain at K: a positive at rank r gains its grade / log2(r + 1) when r <= K, divided
 * by what the ideal ranking gains, which begins with the positives of the highest grades (Järvelin and Kekäläinen, 2002;
 * the gain is the grade itself, as in trec_eval). Without grades all are 1. */
#include "metric_table.h"

#include <math.h>

static double ndcg(const tdm_ranking *ranking, int64_t cutoff)
{
    double gain = 0, ideal = 0;
    for (int64_t i = 0; i < ranking->m && i < cutoff; i++) {
        ideal += (ranking->ideal ? ranking->ideal[i] : 1) / log2((double)(i + 2));
        if (ranking->rank[i] <= cutoff)
            gain += (ranking->grade ? ranking->grade[i] : 1) / log2((double)(ranking->rank[i] + 1));
    }
    return gain / ideal;
}

#define NDCG(variable, k, places)                                                                            \
    const tdm_metric variable = {                                                                            \
        .name = "ndcg_at_" k,                                                                                \
        .label = "nDCG@" k,                                                                                  \
        .title = "nDCG@" k,                                                                                  \
        .help = "mean over the queries of the discounted gain of the first " k                               \
                " places, 1 being the ideal ranking's",                                                      \
        .also = "nDCG@" k ",NDCG@" k ",ndcg@" k,                                                             \
        .is_share = true,                                                                                    \
        .cutoff = places,                                                                                    \
        .value = ndcg,                                                                                       \
    }

NDCG(metric_ndcg_at_10, "10", 10);
NDCG(family_ndcg, METRIC_K, 0);
