/* Average precision over the first 50 places, the sum over the positives there of i / r_i divided by what the name says.
 * The literature of supervised cross-modal retrieval calls each of them mAP@50. */
#include "metric_table.h"

/* Sum over the positives among the first `last` places, and how many they are. */
static double precision_sum(const tdm_ranking *ranking, int64_t last, int64_t *hits)
{
    double sum = 0;
    int64_t i = 0;
    for (; i < ranking->m && ranking->rank[i] <= last; i++) sum += (double)(i + 1) / (double)ranking->rank[i];
    *hits = i;
    return sum;
}

/* evaluate.py of github zhixiongz/CLIP4CMR, as its ancestors: by the positives found, 0 where there are none. */
static double by_hits(const tdm_ranking *ranking, int64_t cutoff)
{
    int64_t hits;
    const double sum = precision_sum(ranking, cutoff, &hits);
    return hits ? sum / (double)hits : 0;
}

static double by_min(const tdm_ranking *ranking, int64_t cutoff)
{
    int64_t hits;
    const double sum = precision_sum(ranking, cutoff, &hits);
    return sum / (double)tdm_min_i64(ranking->m, cutoff);
}

static double by_all(const tdm_ranking *ranking, int64_t cutoff)
{
    int64_t hits;
    return precision_sum(ranking, cutoff, &hits) / (double)ranking->m;
}

#define MAP_AT_50(key, text, function, flaw, what)                                                           \
    const tdm_metric metric_map_at_50_##key = {                                                              \
        .name = "map_at_50_" #key,                                                                           \
        .label = "mAP@50/" text,                                                                             \
        .title = "mAP@50 by " what,                                                                          \
        .help = "mean over the queries of the average precision over the first 50 places, divided by " what, \
        .is_share = true,                                                                                    \
        .may_fall = flaw,                                                                                    \
        .cutoff = 50,                                                                                        \
        .value = function,                                                                                   \
    }
MAP_AT_50(hits, "hits", by_hits, true, "the positives found there");
MAP_AT_50(min, "min", by_min, false, "the lesser of 50 and the positives");
MAP_AT_50(r, "R", by_all, false, "all positives");
