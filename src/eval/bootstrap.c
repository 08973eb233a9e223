/* Percentile bootstrap of means and medians over clusters of queries.
 *
 * A resample is how often each cluster was drawn. All statistics are made of the same resamples: the sums of a
 * cluster stand side by side in vectors, and four resamples share each read of them. */
#include "significance_impl.h"

#include "tandem/cpu.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

enum { CHUNK = 256, WORDS = 1024 }; /* clusters, random numbers at once */

typedef struct sorted_column { /* of a median */
    double *value;             /* [n] ascending */
    int64_t *cluster;          /* [n] of the queries in this order */
} sorted_column;

typedef struct bootstrap {
    const tdm_query_values *values;
    const tdm_statistic *statistic;
    const resample_kernel *kernel;
    uint64_t seed;
    int64_t clusters, statistics, tiles;
    int64_t *number;          /* [n] cluster of each query */
    double *sum;              /* [clusters][tiles][LANES] of each mean; behind them, the cluster's size */
    int64_t means;            /* lanes in use, but for the size */
    int64_t *lane;            /* [statistics] of a mean, -1: a median */
    sorted_column (*sort)[2]; /* [statistics] of a median: column and minus */
} bootstrap;

typedef struct workspace {              /* of one thread */
    uint16_t *drawn[RESAMPLES_AT_ONCE]; /* [clusters] how often */
    double *times;                      /* [CHUNK][RESAMPLES_AT_ONCE] */
    double *sum;                        /* [tiles][RESAMPLES_AT_ONCE][LANES] */
    uint32_t word[WORDS];
} workspace;

tdm_status resample_kernel_choose(const resample_kernel **kernel)
{
    tdm_cpu cpu;
    TDM_TRY(tdm_cpu_detect(&cpu));
    *kernel = &resample_kernel_generic;
#if defined(__x86_64__)
    if (cpu.isa == TDM_ISA_AVX512) *kernel = &resample_kernel_avx512;
    if (cpu.isa == TDM_ISA_AVX2) *kernel = &resample_kernel_avx2;
#endif
    return TDM_OK;
}

/* ---- Clusters ---- */

tdm_status clusters_number(const tdm_query_values *values, int64_t *number, int64_t *count)
{
    const int64_t n = values->n;
    tdm_keyed *order = NULL;
    *count = n;
    for (int64_t i = 0; i < n; i++) number[i] = i;
    if (values->cluster == NULL || n == 0) return TDM_OK;
    TDM_TRY(TDM_ALLOC(n, &order));
    for (int64_t i = 0; i < n; i++) order[i] = (tdm_keyed){values->cluster[i], i};
    qsort(order, (size_t)n, sizeof *order, tdm_compare_keyed);
    /* the first query of its cluster, and then that one's number */
    for (int64_t i = 1; i < n; i++)
        if (order[i].key == order[i - 1].key) number[order[i].place] = number[order[i - 1].place];
    tdm_free(order);
    *count = 0;
    for (int64_t i = 0; i < n; i++) number[i] = number[i] == i ? (*count)++ : number[number[i]];
    return TDM_OK;
}

tdm_status tdm_cluster_count(const tdm_query_values *values, int64_t *count)
{
    int64_t *number = NULL;
    TDM_TRY(TDM_ALLOC(values->n, &number));
    const tdm_status status = clusters_number(values, number, count);
    tdm_free(number);
    return status;
}

/* ---- Sums and orders, once ---- */

static double value_of(const bootstrap *b, int64_t column, int64_t query)
{
    return column < 0 ? 0 : b->values->value[column * b->values->n + query];
}

static void add_up(bootstrap *b)
{
    const int64_t width = b->tiles * LANES;
    for (int64_t i = 0; i < b->values->n; i++) {
        double *sum = b->sum + b->number[i] * width;
        for (int64_t s = 0; s < b->statistics; s++)
            if (b->lane[s] >= 0)
                sum[b->lane[s]] +=
                    value_of(b, b->statistic[s].column, i) - value_of(b, b->statistic[s].minus, i);
        sum[b->means] += 1;
    }
}

static tdm_status sort_column(const bootstrap *b, int64_t column, sorted_column *sorted)
{
    const int64_t n = b->values->n;
    ranked *order = NULL;
    if (column < 0) return TDM_OK;
    TDM_TRY(TDM_ALLOC(n, &sorted->value));
    TDM_TRY(TDM_ALLOC(n, &sorted->cluster));
    TDM_TRY(TDM_ALLOC(n, &order));
    for (int64_t i = 0; i < n; i++) order[i] = (ranked){value_of(b, column, i), i};
    qsort(order, (size_t)n, sizeof *order, compare_ranked);
    for (int64_t i = 0; i < n; i++) {
        sorted->value[i] = order[i].value;
        sorted->cluster[i] = b->number[order[i].place];
    }
    tdm_free(order);
    return TDM_OK;
}

static tdm_status prepare(bootstrap *b)
{
    TDM_TRY(resample_kernel_choose(&b->kernel));
    TDM_TRY(TDM_ALLOC(b->values->n, &b->number));
    TDM_TRY(clusters_number(b->values, b->number, &b->clusters));
    TDM_REQUIRE(b->clusters < UINT32_MAX, TDM_E_SHAPE, "bootstrap: %lld clusters are too many",
                (long long)b->clusters);
    TDM_TRY(TDM_ALLOC(b->statistics, &b->lane));
    TDM_TRY(TDM_ALLOC(b->statistics, &b->sort));
    for (int64_t s = 0; s < b->statistics; s++)
        b->lane[s] = b->statistic[s].summary == TDM_MEAN ? b->means++ : -1;
    b->tiles = (b->means + 1 + LANES - 1) / LANES;
    TDM_TRY(TDM_ALLOC(b->clusters * b->tiles * LANES, &b->sum));
    add_up(b);
    for (int64_t s = 0; s < b->statistics; s++) {
        if (b->lane[s] >= 0) continue;
        TDM_TRY(sort_column(b, b->statistic[s].column, &b->sort[s][0]));
        TDM_TRY(sort_column(b, b->statistic[s].minus, &b->sort[s][1]));
    }
    return TDM_OK;
}

static void bootstrap_close(bootstrap *b)
{
    for (int64_t s = 0; b->sort != NULL && s < b->statistics; s++)
        for (int i = 0; i < 2; i++) {
            tdm_free(b->sort[s][i].value);
            tdm_free(b->sort[s][i].cluster);
        }
    tdm_free(b->sort);
    tdm_free(b->lane);
    tdm_free(b->sum);
    tdm_free(b->number);
}

/* ---- Resamples ---- */

/* Lemire, "Fast random integer generation in an interval", 2019: unbiased, and nearly all words count. */
static void draw(const bootstrap *b, int64_t resample, uint32_t word[WORDS], uint16_t *drawn)
{
    const uint32_t c = (uint32_t)b->clusters, reject = -c % c;
    tdm_rng rng = tdm_rng_at(b->seed, (uint64_t)resample, 0, TDM_RNG_BOOTSTRAP);
    memset(drawn, 0, c * sizeof *drawn);
    for (int64_t left = c; left > 0;) {
        const int64_t n = tdm_min_i64(left, WORDS);
        b->kernel->fill(&rng, n, word);
        for (int64_t i = 0; i < n; i++) {
            const uint64_t product = (uint64_t)word[i] * c;
            if ((uint32_t)product < reject) continue;
            drawn[product >> 32]++;
            left--;
        }
    }
}

static void weigh(const bootstrap *b, workspace *w)
{
    memset(w->sum, 0, (size_t)(b->tiles * RESAMPLES_AT_ONCE * LANES) * sizeof *w->sum);
    for (int64_t first = 0; first < b->clusters; first += CHUNK) {
        const int64_t n = tdm_min_i64(CHUNK, b->clusters - first);
        for (int64_t i = 0; i < n; i++)
            for (int r = 0; r < RESAMPLES_AT_ONCE; r++)
                w->times[i * RESAMPLES_AT_ONCE + r] = w->drawn[r][first + i];
        for (int64_t t = 0; t < b->tiles; t++)
            b->kernel->weigh(n, w->times, b->sum + (first * b->tiles + t) * LANES, b->tiles,
                             w->sum + t * RESAMPLES_AT_ONCE * LANES);
    }
}

/* The mean of the middle two of `total` values, or the middle one twice. */
static double median(const sorted_column *sorted, const uint16_t *drawn, int64_t total)
{
    int64_t i = -1, seen = 0;
    if (sorted->value == NULL) return 0;
    while (seen <= (total - 1) / 2) seen += drawn[sorted->cluster[++i]];
    const double low = sorted->value[i];
    while (seen <= total / 2) seen += drawn[sorted->cluster[++i]];
    return 0.5 * (low + sorted->value[i]);
}

/* out[n][statistics] of the resamples from `first` on; n <= RESAMPLES_AT_ONCE */
static void resample(const bootstrap *b, int64_t first, int64_t n, workspace *w, double *out)
{
    for (int64_t r = 0; r < n; r++) draw(b, first + r, w->word, w->drawn[r]);
    weigh(b, w);
    for (int64_t r = 0; r < n; r++) {
        const double *sum = w->sum + r * LANES;
        const int64_t tile = RESAMPLES_AT_ONCE * LANES;
        const double size = sum[b->means / LANES * tile + b->means % LANES];
        for (int64_t s = 0; s < b->statistics; s++) {
            const int64_t lane = b->lane[s];
            out[r * b->statistics + s] = lane >= 0 ? sum[lane / LANES * tile + lane % LANES] / size
                                                   : median(&b->sort[s][0], w->drawn[r], (int64_t)size) -
                                                         median(&b->sort[s][1], w->drawn[r], (int64_t)size);
        }
    }
}

static tdm_status workspace_open(const bootstrap *b, workspace *w)
{
    for (int r = 0; r < RESAMPLES_AT_ONCE; r++) TDM_TRY(TDM_ALLOC(b->clusters, &w->drawn[r]));
    TDM_TRY(TDM_ALLOC(CHUNK * RESAMPLES_AT_ONCE, &w->times));
    return TDM_ALLOC(b->tiles * RESAMPLES_AT_ONCE * LANES, &w->sum);
}

static void workspace_close(workspace *w)
{
    for (int r = 0; r < RESAMPLES_AT_ONCE; r++) tdm_free(w->drawn[r]);
    tdm_free(w->times);
    tdm_free(w->sum);
}

/* Resamples [begin, begin + n) of this rank: out[n][statistics] */
static tdm_status run(const bootstrap *b, int64_t begin, int64_t n, int threads, double *out)
{
    workspace *work = NULL;
    TDM_TRY(TDM_ALLOC(threads, &work));
    tdm_status status = TDM_OK;
    for (int t = 0; status == TDM_OK && t < threads; t++) status = workspace_open(b, &work[t]);
    if (status == TDM_OK) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 4)
        for (int64_t r = 0; r < n; r += RESAMPLES_AT_ONCE)
            resample(b, begin + r, tdm_min_i64(RESAMPLES_AT_ONCE, n - r), &work[omp_get_thread_num()],
                     out + r * b->statistics);
    }
    for (int t = 0; t < threads; t++) workspace_close(&work[t]);
    tdm_free(work);
    return status;
}

/* ---- Ends ---- */

/* Between the order statistics of ascending[n], at (n - 1) share. */
static double quantile(const double *ascending, int64_t n, double share)
{
    const double at = share * (double)(n - 1);
    const int64_t low = tdm_min_i64((int64_t)at, n - 1), high = tdm_min_i64(low + 1, n - 1);
    return ascending[low] + (at - (double)low) * (ascending[high] - ascending[low]);
}

/* all [resamples][statistics] */
static tdm_status find_ends(const double *all, int64_t resamples, int64_t statistics, double level,
                            tdm_interval *interval)
{
    double *column = NULL;
    TDM_TRY(TDM_ALLOC(resamples, &column));
    for (int64_t s = 0; s < statistics; s++) {
        for (int64_t r = 0; r < resamples; r++) column[r] = all[r * statistics + s];
        qsort(column, (size_t)resamples, sizeof *column, tdm_compare_doubles);
        interval[s] = (tdm_interval){quantile(column, resamples, 0.5 * (1 - level)),
                                     quantile(column, resamples, 0.5 * (1 + level))};
    }
    tdm_free(column);
    return TDM_OK;
}

tdm_status tdm_bootstrap_intervals(tdm_comm *comm, const tdm_query_values *values,
                                   const tdm_statistic *statistic, int64_t statistics,
                                   const tdm_bootstrap *how, tdm_interval *interval)
{
    const int size = tdm_comm_size(comm), rank = tdm_comm_rank(comm);
    bootstrap b = {.values = values, .statistic = statistic, .seed = how->seed, .statistics = statistics};
    double *own = NULL, *all = NULL;
    int64_t *rows = NULL;
    for (int64_t s = 0; s < statistics; s++) interval[s] = (tdm_interval){NAN, NAN};
    if (values->n == 0) return TDM_OK;
    const int64_t begin = tdm_part_begin(how->resamples, size, rank);
    const int64_t n = tdm_part_begin(how->resamples, size, rank + 1) - begin;
    tdm_status status = prepare(&b);
    if (status == TDM_OK) status = TDM_ALLOC(n * statistics, &own);
    if (status == TDM_OK) status = TDM_ALLOC(how->resamples * statistics, &all);
    if (status == TDM_OK) status = TDM_ALLOC(size, &rows);
    if (status == TDM_OK) status = run(&b, begin, n, how->threads, own);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        for (int r = 0; r < size; r++)
            rows[r] = tdm_part_begin(how->resamples, size, r + 1) - tdm_part_begin(how->resamples, size, r);
        tdm_comm_gather_rows(comm, own, all, rows, statistics * (int64_t)sizeof *all);
        status = tdm_comm_agree(comm, find_ends(all, how->resamples, statistics, how->level, interval));
    }
    tdm_free(own);
    tdm_free(all);
    tdm_free(rows);
    bootstrap_close(&b);
    return status;
}
