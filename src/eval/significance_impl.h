/* Private to src/eval: what bootstrap and randomisation test share. */
#ifndef TANDEM_SIGNIFICANCE_IMPL_H
#define TANDEM_SIGNIFICANCE_IMPL_H

#include "tandem/rng.h"
#include "tandem/significance.h"

/* Columns stand side by side in vectors of so many doubles. A lane adds in the order of the clusters, without
 * fused operations: equal bits on every CPU. */
enum {
    LANES = 8,
    RESAMPLES_AT_ONCE = 4,
    FLIP_CLUSTERS = 8, /* whose signs make a byte */
    FLIP_PATTERNS = 1 << FLIP_CLUSTERS,
    FLIP_GROUPS = 2,  /* of these clusters at once */
    FLIP_BLOCK = 2048 /* permutations at once */
};

/* One per instruction set, of resample_kernel.inc. All arrays are aligned to 64 bytes. */
typedef struct resample_kernel {
    /* tdm_rng_fill */
    void (*fill)(tdm_rng *rng, int64_t n, uint32_t *out);
    /* sum[r][lane] += times[i][r] · value[i · stride][lane] */
    void (*weigh)(int64_t n, const double *times, const double *value, int64_t stride, double *sum);
    /* table[b][lane] = the sum of eight differences, [FLIP_CLUSTERS] rows `stride` doubles apart, of which each has the
     * sign that its bit in b says */
    void (*tabulate)(const double *difference, int64_t stride, double *table);
    /* sum[p][lane] += table[0][sign[0][p]][lane] + table[1][sign[1][p]][lane], n <= FLIP_BLOCK
     * sign [FLIP_GROUPS][FLIP_BLOCK], table [FLIP_GROUPS][FLIP_PATTERNS][LANES] */
    void (*flip)(int64_t n, const uint8_t *sign, const double *table, double *sum);
} resample_kernel;
extern const resample_kernel resample_kernel_generic;
#if defined(__x86_64__)
extern const resample_kernel resample_kernel_avx2;
extern const resample_kernel resample_kernel_avx512;
#endif
TDM_CHECKED tdm_status resample_kernel_choose(const resample_kernel **kernel);

/* For qsort: by value, those of one value by place. */
typedef struct ranked {
    double value;
    int64_t place;
} ranked;
static inline int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

/* number[n]: the cluster of each query, from 0 in the order of their first queries. *count of them. */
TDM_CHECKED tdm_status clusters_number(const tdm_query_values *values, int64_t *number, int64_t *count);

#endif
