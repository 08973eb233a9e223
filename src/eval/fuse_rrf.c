/* Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): sum over the runs of 1 / (k + rank). */
#include "fuse_table.h"

typedef struct rrf_options {
    int64_t k;
} rrf_options;

static const tdm_option rrf_rows[] = {
    TDM_INT_OPTION(rrf_options, k, "60", 0, 1000000, "", "The larger, the less the first places count."),
};

static double rrf(const void *options, int64_t runs, const int64_t *rank, const double *scaled)
{
    const rrf_options *o = options;
    double sum = 0;
    (void)scaled;
    for (int64_t r = 0; r < runs; r++)
        if (rank[r] > 0) sum += 1 / (double)(o->k + rank[r]);
    return sum;
}

const tdm_fusion fusion_rrf = {
    .name = "rrf",
    .help = "reciprocal rank fusion: sum of 1 / (k + rank)",
    .options = rrf_rows,
    .option_count = sizeof rrf_rows / sizeof rrf_rows[0],
    .option_bytes = sizeof(rrf_options),
    .score = rrf,
};
