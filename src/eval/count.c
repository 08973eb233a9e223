/* The second round: for each positive the gallery items that beat it. */
#include "metrics_impl.h"

#include <math.h>
#include <string.h>

/* Up to here each positive is compared with every score (vectorised); beyond, each score is looked up in the
 * sorted positives. */
#define COMPARE_ALL_MAX 16

/* A query with many positives finds the place of a score among them through equal bins over their range. */
typedef struct score_bins {
    float highest, scale;
    int64_t count;  /* of bins */
    int32_t *first; /* [count+1] first positive (best first) of each bin or of a later one */
} score_bins;

/* Monotone in the score, hence: positives of lower bins score higher, positives of higher bins score lower.
 */
static int64_t bin_of(const score_bins *bins, float score)
{
    const float at = (bins->highest - score) * bins->scale;
    return at < (float)(bins->count - 1) ? (int64_t)at : bins->count - 1; /* also when `at` is not a number */
}

/* positive_score[m] descending; first[count+1] is the caller's. */
static score_bins make_bins(const float *positive_score, int64_t m, int64_t count, int32_t *first)
{
    score_bins bins = {.highest = positive_score[0], .count = count, .first = first};
    const float range = positive_score[0] - positive_score[m - 1];
    bins.scale = range > 0 && isfinite((float)count / range) ? (float)count / range : 0.0F;
    int64_t next = 0;
    for (int64_t i = 0; i < m; i++)
        for (const int64_t bin = bin_of(&bins, positive_score[i]); next <= bin; next++)
            first[next] = (int32_t)i;
    for (; next <= count; next++) first[next] = (int32_t)m;
    return bins;
}

/* How many of the m positives rank before an item, which is one of its bin's or lies between two bins. */
static int64_t place_among(const score_bins *bins, const float *positive_score, const int64_t *positive_row,
                           float score, int64_t row)
{
    if (score > bins->highest) return 0;
    const int64_t bin = bin_of(bins, score);
    int64_t low = bins->first[bin], n = bins->first[bin + 1] - low;
    while (n > 0) {
        const int64_t half = n / 2, i = low + half;
        if (positive_score[i] > score || (positive_score[i] == score && positive_row[i] <= row)) {
            low = i + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

typedef struct counting { /* one visit of a block */
    const evaluation *eval;
    eval_queries queries;
    positives positives;
    score_bins *bins;   /* [n] of the queries with many positives */
    int32_t *bin_first; /* their tables */
    int64_t *histogram; /* m + 1 per query: items by their place among its positives */
    int64_t chunk;      /* panels that are scored before anything is counted */
} counting;

static bool has_many(const positives *p, int64_t i)
{
    return p->offset[i + 1] - p->offset[i] > COMPARE_ALL_MAX;
}

/* Twice as many bins as positives: most bins hold none or one. */
static void make_all_bins(counting *c)
{
    const positives *p = &c->positives;
#pragma omp parallel for num_threads(c->eval->threads) schedule(dynamic, 16)
    for (int64_t i = 0; i < c->queries.n; i++) {
        const int64_t begin = p->offset[i], m = p->offset[i + 1] - begin;
        if (has_many(p, i)) c->bins[i] = make_bins(p->score + begin, m, 2 * m, c->bin_first + 2 * begin + i);
    }
}

/* score[n]: query i against the columns from `column` on. */
static void count_scores(const counting *c, int64_t i, int64_t column, int64_t n, float *score,
                         int32_t *place)
{
    const eval_gallery *g = &c->eval->gallery;
    const positives *p = &c->positives;
    const int64_t begin = p->offset[i], m = p->offset[i + 1] - begin;
    if (m == 0) return;
    const int64_t *item_row = g->row + column;
    if (c->eval->exclude_self) {
        const int64_t local = c->queries.row[i] - g->first;
        const int64_t own = local < 0 || local >= g->n ? -1 : g->column == NULL ? local : g->column[local];
        if (own >= column && own < column + n) score[own - column] = -INFINITY;
    }
    if (!has_many(p, i)) {
        g->kernel->count_beating(n, score, item_row, m, p->score + begin, p->row + begin, p->beaten + begin);
        return;
    }
    int64_t *histogram = c->histogram + begin + i;
    const int64_t selected = g->kernel->select(n, score, p->score[begin + m - 1], place);
    for (int64_t j = 0; j < selected; j++)
        histogram[place_among(&c->bins[i], p->score + begin, p->row + begin, score[place[j]],
                              item_row[place[j]])]++;
}

/* Scores of one group of queries against panels [panel, panel + panels), as rows score[EVAL_TILE_ROWS][…]. */
static void score_group(const eval_gallery *g, const float *query_group, int64_t panel, int64_t panels,
                        float *score)
{
    const int64_t columns = g->kernel->columns;
    float tile[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS];
    for (int64_t q = 0; q < panels; q++) {
        eval_gallery_tile(g, query_group, panel + q, tile);
        for (int64_t r = 0; r < EVAL_TILE_ROWS; r++)
            memcpy(score + (r * panels + q) * columns, tile + r * columns, (size_t)columns * sizeof *tile);
    }
}

enum { CHUNK_BYTES = 512 * 1024, CHUNK_ITEMS = 512 };

/* All panels against the groups [begin, end): a chunk of panels stays in the cache while the groups pass. */
static void count_groups(const counting *c, int64_t begin, int64_t end)
{
    const eval_gallery *g = &c->eval->gallery;
    const int64_t columns = g->kernel->columns;
    float score[EVAL_TILE_ROWS * CHUNK_ITEMS];
    int32_t place[CHUNK_ITEMS];
    for (int64_t panel = 0; panel < g->panels; panel += c->chunk) {
        const int64_t panels = tdm_min_i64(c->chunk, g->panels - panel), n = panels * columns;
        for (int64_t group = begin; group < end; group++) {
            const int64_t first = group * EVAL_TILE_ROWS;
            const int64_t last = tdm_min_i64(first + EVAL_TILE_ROWS, c->queries.n);
            if (c->positives.offset[last] == c->positives.offset[first]) continue; /* nothing to rank */
            score_group(g, c->eval->packed_query + first * g->d, panel, panels, score);
            for (int64_t i = first; i < last; i++)
                count_scores(c, i, panel * columns, n, score + (i - first) * n, place);
        }
    }
}

/* An item that stands before place j of the positives beats those from j on. */
static void add_histograms(const counting *c)
{
    const positives *p = &c->positives;
    for (int64_t i = 0; i < c->queries.n; i++) {
        int64_t sum = 0;
        for (int64_t at = p->offset[i]; has_many(p, i) && at < p->offset[i + 1]; at++) {
            sum += c->histogram[at + i];
            p->beaten[at] += sum;
        }
    }
}

tdm_status metrics_count(evaluation *eval)
{
    counting c = {.eval = eval, .queries = eval_ring_queries(&eval->ring)};
    const int64_t n = c.queries.n, groups = (n + EVAL_TILE_ROWS - 1) / EVAL_TILE_ROWS;
    const int64_t columns = eval->gallery.kernel->columns;
    c.positives = metrics_positives(&eval->ring, n);
    c.chunk = CHUNK_BYTES / (int64_t)sizeof(float) / (columns * eval->gallery.d);
    c.chunk = tdm_max_i64(1, tdm_min_i64(c.chunk, CHUNK_ITEMS / columns));
    tdm_status status = TDM_ALLOC(n, &c.bins);
    if (status == TDM_OK) status = TDM_ALLOC(2 * c.positives.total + n, &c.bin_first);
    if (status == TDM_OK) status = TDM_ALLOC(c.positives.total + n, &c.histogram);
    if (status == TDM_OK) {
        make_all_bins(&c);
#pragma omp parallel for num_threads(eval->threads) schedule(static, 1)
        for (int thread = 0; thread < eval->threads; thread++)
            count_groups(&c, tdm_part_begin(groups, eval->threads, thread),
                         tdm_part_begin(groups, eval->threads, thread + 1));
        add_histograms(&c);
    }
    tdm_free(c.bins);
    tdm_free(c.bin_first);
    tdm_free(c.histogram);
    return status;
}
