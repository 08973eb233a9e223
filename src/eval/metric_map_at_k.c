/* Average precision over the first K places: the sum over the positives there of i / r_i, divided by what the name says.
 * The literature of supervised cross-modal retrieval calls each of them mAP@K, mostly with K = 50. */
#include "metric_sums.h"

/* evaluate.py of github zhixiongz/CLIP4CMR, as its ancestors: by the positives found, 0 where there are none. */
static double by_hits(const tdm_ranking *ranking, int64_t cutoff)
{
    const int64_t hits = count_until(ranking, cutoff);
    return hits ? precisions_until(ranking, cutoff) / (double)hits : 0;
}

static double by_min(const tdm_ranking *ranking, int64_t cutoff)
{
    return precisions_until(ranking, cutoff) / (double)tdm_min_i64(ranking->m, cutoff);
}

static double by_all(const tdm_ranking *ranking, int64_t cutoff)
{
    return precisions_until(ranking, cutoff) / (double)ranking->m;
}

#define MAP_AT(variable, k, places, key, text, function, flaw, others, what)                                 \
    const tdm_metric variable = {                                                                            \
        .name = "map_at_" k "_" key,                                                                         \
        .label = "mAP@" k "/" text,                                                                          \
        .title = "mAP@" k " by " what,                                                                       \
        .help =                                                                                              \
            "mean over the queries of the average precision over the first " k " places, divided by " what,  \
        .also = others,                                                                                      \
        .is_share = true,                                                                                    \
        .may_fall = flaw,                                                                                    \
        .cutoff = places,                                                                                    \
        .value = function,                                                                                   \
    }
#define BY_HITS(variable, k, places)                                                                         \
    MAP_AT(variable, k, places, "hits", "hits", by_hits, true, "mAP@" k "/hits", "the positives found there")
#define BY_MIN(variable, k, places)                                                                          \
    MAP_AT(variable, k, places, "min", "min", by_min, false, "mAP@" k "/min",                                \
           "the lesser of " k " and the positives")
#define BY_ALL(variable, k, places)                                                                          \
    MAP_AT(variable, k, places, "r", "R", by_all, false, "AP@" k ",map@" k ",mAP@" k "/R", "all positives")

BY_HITS(metric_map_at_50_hits, "50", 50);
BY_MIN(metric_map_at_50_min, "50", 50);
BY_ALL(metric_map_at_50_r, "50", 50);
BY_HITS(family_map_hits, METRIC_K, 0);
BY_MIN(family_map_min, METRIC_K, 0);
BY_ALL(family_map_r, METRIC_K, 0);
