/* CombMNZ (Fox and Shaw, TREC-2): CombSUM times the number of runs that list the document. */
#include "fuse_table.h"

static double comb_mnz(const void *options, int64_t runs, const int64_t *rank, const double *scaled)
{
    double sum = 0;
    int64_t listed = 0;
    (void)options;
    for (int64_t r = 0; r < runs; r++) {
        if (rank[r] == 0) continue;
        sum += scaled[r];
        listed++;
    }
    return sum * (double)listed;
}

const tdm_fusion fusion_comb_mnz = {
    .name = "comb_mnz",
    .help = "CombMNZ: the same, times the number of runs that list the document",
    .score = comb_mnz,
};
