/* Paired randomisation tests over clusters of queries, and Holm's correction.
 *
 * A permutation gives each cluster's sum of differences a sign. Eight clusters have 256 signed sums, which are made
 * once for a block of permutations: each of these then adds one vector, of all columns, for eight clusters. */
#include "significance_impl.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>

enum {
    TOGETHER = FLIP_GROUPS * FLIP_CLUSTERS,
    BLOCK = FLIP_BLOCK,
    MOST_EXACT = 24
}; /* clusters whose patterns may all be counted */

typedef struct flip_run { /* of some columns */
    const resample_kernel *kernel;
    uint64_t seed;
    bool exact;
    int64_t patterns;      /* that are drawn, or all there are */
    int64_t groups, tiles; /* of eight clusters, of eight columns */
    double *difference;    /* [groups · TOGETHER][tiles · LANES], zeros beyond the clusters and columns */
    double *least;         /* [tiles · LANES] |T| from which on a pattern counts */
    int64_t *reached;      /* [tiles · LANES] patterns */
} flip_run;

typedef struct workspace {
    double *table; /* [FLIP_GROUPS][FLIP_PATTERNS][LANES] */
    double *sum;   /* [tiles][BLOCK][LANES] */
    uint8_t *sign; /* [FLIP_GROUPS][BLOCK] */
    int64_t *reached;
} workspace;

/* ---- Patterns ---- */

/* Signs of one group of clusters in the permutations [first, first + BLOCK). */
static void make_signs(const flip_run *f, int64_t first, int64_t group, uint8_t sign[BLOCK])
{
    if (f->exact) {
        for (int64_t p = 0; p < BLOCK; p++)
            sign[p] = (uint8_t)((uint64_t)(first + p) >> tdm_min_i64(group * FLIP_CLUSTERS, 63));
        return;
    }
    uint32_t word[BLOCK / sizeof(uint32_t)];
    tdm_rng rng = tdm_rng_at(f->seed, (uint64_t)(first / BLOCK), (uint64_t)group, TDM_RNG_FLIP);
    f->kernel->fill(&rng, BLOCK / sizeof *word, word);
    memcpy(sign, word, BLOCK);
}

static void run_block(const flip_run *f, int64_t block, workspace *w)
{
    const int64_t width = f->tiles * LANES, first = block * BLOCK;
    const int64_t n = tdm_min_i64(BLOCK, f->patterns - first);
    memset(w->sum, 0, (size_t)(width * BLOCK) * sizeof *w->sum);
    for (int64_t g = 0; g < f->groups; g++) {
        for (int h = 0; h < FLIP_GROUPS; h++) make_signs(f, first, g * FLIP_GROUPS + h, w->sign + h * BLOCK);
        for (int64_t t = 0; t < f->tiles; t++) {
            for (int h = 0; h < FLIP_GROUPS; h++)
                f->kernel->tabulate(f->difference + (g * TOGETHER + h * FLIP_CLUSTERS) * width + t * LANES,
                                    width, w->table + h * FLIP_PATTERNS * LANES);
            f->kernel->flip(n, w->sign, w->table, w->sum + t * BLOCK * LANES);
        }
    }
    for (int64_t t = 0; t < f->tiles; t++)
        for (int64_t p = 0; p < n; p++)
            for (int64_t l = 0; l < LANES; l++)
                w->reached[t * LANES + l] +=
                    fabs(w->sum[(t * BLOCK + p) * LANES + l]) >= f->least[t * LANES + l];
}

static tdm_status workspace_open(const flip_run *f, workspace *w)
{
    TDM_TRY(TDM_ALLOC(FLIP_GROUPS * FLIP_PATTERNS * LANES, &w->table));
    TDM_TRY(TDM_ALLOC(f->tiles * BLOCK * LANES, &w->sum));
    TDM_TRY(TDM_ALLOC(FLIP_GROUPS * BLOCK, &w->sign));
    return TDM_ALLOC(f->tiles * LANES, &w->reached);
}

static void workspace_close(workspace *w)
{
    tdm_free(w->table);
    tdm_free(w->sum);
    tdm_free(w->sign);
    tdm_free(w->reached);
}

/* This rank's blocks; adds to f->reached. */
static tdm_status run_blocks(flip_run *f, int size, int rank, int threads)
{
    const int64_t blocks = (f->patterns + BLOCK - 1) / BLOCK;
    const int64_t begin = tdm_part_begin(blocks, size, rank), end = tdm_part_begin(blocks, size, rank + 1);
    workspace *work = NULL;
    TDM_TRY(TDM_ALLOC(threads, &work));
    tdm_status status = TDM_OK;
    for (int t = 0; status == TDM_OK && t < threads; t++) status = workspace_open(f, &work[t]);
    if (status == TDM_OK) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
        for (int64_t b = begin; b < end; b++) run_block(f, b, &work[omp_get_thread_num()]);
        for (int t = 0; t < threads; t++)
            for (int64_t l = 0; l < f->tiles * LANES; l++) f->reached[l] += work[t].reached[l];
    }
    for (int t = 0; t < threads; t++) workspace_close(&work[t]);
    tdm_free(work);
    return status;
}

/* ---- Columns ---- */

typedef struct flip_test {
    tdm_comm *comm;
    const tdm_query_values *difference;
    const resample_kernel *kernel;
    int64_t permutations;
    uint64_t seed;
    int threads;
    int64_t clusters;
    int64_t *number; /* [n] cluster of each query */
    double *sum;     /* [columns][clusters] */
    tdm_flip_test *test;
} flip_test;

/* From which |T| on a pattern reaches the observed one: less by what rounding may do. Each query's difference is
 * right to DBL_EPSILON of the larger of its two values, of which |difference| is no measure; their sum is right to as
 * much, times the number of queries. Values of a metric are at most `largest`. */
static double least_of(const flip_test *t, int64_t column)
{
    const int64_t n = t->difference->n;
    double observed = 0, largest = 1, total = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(t->difference->value[column * n + i]));
    for (int64_t c = 0; c < t->clusters; c++) {
        observed += t->sum[column * t->clusters + c];
        total += fabs(t->sum[column * t->clusters + c]);
    }
    return fabs(observed) - DBL_EPSILON * (4 * total + (double)n * largest);
}

/* May all patterns of so many clusters be counted? */
static bool takes_all(const flip_test *t, int64_t clusters)
{
    return clusters <= MOST_EXACT && (int64_t)1 << clusters <= t->permutations;
}

static tdm_status flip_run_open(const flip_test *t, const int64_t *column, int64_t columns, flip_run *f)
{
    f->kernel = t->kernel;
    f->tiles = (columns + LANES - 1) / LANES;
    const int64_t width = f->tiles * LANES;
    TDM_TRY(TDM_ALLOC((t->clusters + TOGETHER) * width, &f->difference));
    TDM_TRY(TDM_ALLOC(width, &f->least));
    TDM_TRY(TDM_ALLOC(width, &f->reached));
    int64_t kept = 0;
    for (int64_t c = 0; c < t->clusters; c++) { /* what differs in no column changes no sum */
        double *row = f->difference + kept * width;
        bool differs = false;
        for (int64_t k = 0; k < columns; k++) {
            row[k] = t->sum[column[k] * t->clusters + c];
            differs |= row[k] != 0;
        }
        kept += differs;
    }
    memset(f->difference + kept * width, 0, (size_t)(TOGETHER * width) * sizeof *f->difference);
    f->groups = (kept + TOGETHER - 1) / TOGETHER;
    for (int64_t k = 0; k < columns; k++) f->least[k] = least_of(t, column[k]);
    f->exact = takes_all(t, kept);
    f->patterns = f->exact ? (int64_t)1 << kept : t->permutations;
    f->seed = t->seed;
    return TDM_OK;
}

static void flip_run_close(flip_run *f)
{
    tdm_free(f->difference);
    tdm_free(f->least);
    tdm_free(f->reached);
}

/* Fills test[column[k]], k < columns. Collective. */
static tdm_status test_columns(flip_test *t, const int64_t *column, int64_t columns)
{
    flip_run f = {0};
    if (columns == 0) return TDM_OK;
    tdm_status status = flip_run_open(t, column, columns, &f);
    if (status == TDM_OK) status = run_blocks(&f, tdm_comm_size(t->comm), tdm_comm_rank(t->comm), t->threads);
    status = tdm_comm_agree(t->comm, status);
    if (status == TDM_OK) {
        tdm_comm_sum_i64(t->comm, f.reached, columns);
        const int64_t observed = f.exact ? 0 : 1; /* all patterns contain it */
        for (int64_t k = 0; k < columns; k++) {
            tdm_flip_test *test = &t->test[column[k]];
            test->exact = f.exact;
            test->patterns = f.patterns;
            test->p = (double)(f.reached[k] + observed) / (double)(f.patterns + observed);
        }
    }
    flip_run_close(&f);
    return status;
}

static tdm_status prepare(flip_test *t)
{
    const tdm_query_values *d = t->difference;
    TDM_TRY(resample_kernel_choose(&t->kernel));
    TDM_TRY(TDM_ALLOC(d->n, &t->number));
    TDM_TRY(clusters_number(d, t->number, &t->clusters));
    TDM_TRY(TDM_ALLOC(d->columns * t->clusters, &t->sum));
    for (int64_t m = 0; m < d->columns; m++) {
        double *sum = t->sum + m * t->clusters;
        for (int64_t i = 0; i < d->n; i++) sum[t->number[i]] += d->value[m * d->n + i];
        t->test[m] = (tdm_flip_test){0};
        for (int64_t c = 0; c < t->clusters; c++) t->test[m].differing += sum[c] != 0;
    }
    return TDM_OK;
}

/* A column in which few clusters differ has few patterns, and is counted by itself. */
static tdm_status test_all(flip_test *t, int64_t *column)
{
    int64_t drawn = 0;
    for (int64_t m = 0; m < t->difference->columns; m++) {
        if (takes_all(t, t->test[m].differing))
            TDM_TRY(test_columns(t, &m, 1));
        else
            column[drawn++] = m;
    }
    return test_columns(t, column, drawn);
}

tdm_status tdm_sign_flip_test(tdm_comm *comm, const tdm_query_values *difference, int64_t permutations,
                              uint64_t seed, int threads, tdm_flip_test *test)
{
    flip_test t = {.comm = comm,
                   .difference = difference,
                   .permutations = permutations,
                   .seed = seed,
                   .threads = threads,
                   .test = test};
    int64_t *column = NULL;
    tdm_status status = prepare(&t);
    if (status == TDM_OK) status = TDM_ALLOC(difference->columns, &column);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) status = test_all(&t, column);
    tdm_free(column);
    tdm_free(t.number);
    tdm_free(t.sum);
    return status;
}

/* ---- Holm ---- */

tdm_status tdm_holm(int64_t n, const double *p, double *adjusted)
{
    ranked *order = NULL;
    int64_t tests = 0;
    double largest = 0;
    TDM_TRY(TDM_ALLOC(n, &order));
    for (int64_t i = 0; i < n; i++) {
        adjusted[i] = NAN;
        if (!isnan(p[i])) order[tests++] = (ranked){p[i], i};
    }
    if (tests > 0) qsort(order, (size_t)tests, sizeof *order, compare_ranked);
    for (int64_t i = 0; i < tests; i++) {
        largest = fmin(1, fmax(largest, (double)(tests - i) * order[i].value));
        adjusted[order[i].place] = largest;
    }
    tdm_free(order);
    return TDM_OK;
}
