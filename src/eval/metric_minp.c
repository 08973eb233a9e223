/* Mean inverse negative penalty: how far down the last positive stands (Ye et al., Deep Learning for Person
 * Re-identification, 2021). */
#include "metric_table.h"

static double inverse_negative_penalty(const tdm_ranking *ranking, int64_t cutoff)
{
    (void)cutoff;
    return (double)ranking->m / (double)ranking->rank[ranking->m - 1];
}

const tdm_metric metric_minp = {
    .name = "minp",
    .label = "mINP",
    .title = "mINP",
    .help = "mean over the queries of m / rank of the last of their m positives",
    .also = "mINP",
    .is_share = true,
    .value = inverse_negative_penalty,
};
