/* CombSUM (Fox and Shaw, TREC-2): the sum of the scores, each scaled to 0 … 1 within its query's list. */
#include "fuse_table.h"

static double comb_sum(const void *options, int64_t runs, const int64_t *rank, const double *scaled)
{
    double sum = 0;
    (void)options;
    for (int64_t r = 0; r < runs; r++)
        if (rank[r] > 0) sum += scaled[r];
    return sum;
}

const tdm_fusion fusion_comb_sum = {
    .name = "comb_sum",
    .help = "CombSUM: sum of the scores, each scaled to 0 … 1 in its list",
    .score = comb_sum,
};
