/* Queries with many positives: the place of a score among them. */
#include "metrics_impl.h"

#include <math.h>

/* To compare a score with so many takes about as long as to look it up, with AVX-512 and with AVX2. */
#define FEW_POSITIVES 128

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

bool many_has(const positives *p, int64_t query)
{
    return p->offset[query + 1] - p->offset[query] > FEW_POSITIVES;
}

tdm_status many_open(positives p, int64_t n, int threads, many_positives *many)
{
    bool any = false;
    *many = (many_positives){.positives = p, .n = n};
    for (int64_t i = 0; i < n && !any; i++) any = many_has(&p, i);
    if (!any) return TDM_OK;
    TDM_TRY(TDM_ALLOC(n, &many->bins));
    TDM_TRY(TDM_ALLOC(2 * p.total + n, &many->first));
    TDM_TRY(TDM_ALLOC(p.total + n, &many->histogram));
    /* Twice as many bins as positives: most bins hold none or one. */
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16)
    for (int64_t i = 0; i < n; i++) {
        const int64_t begin = p.offset[i], m = p.offset[i + 1] - begin;
        if (many_has(&p, i))
            many->bins[i] = make_bins(p.score + begin, m, 2 * m, many->first + 2 * begin + i);
    }
    return TDM_OK;
}

void many_add(const many_positives *many, const eval_kernel *kernel, int64_t query, int64_t n,
              const float *score, const int64_t *item_row, int32_t *place, bool shared)
{
    const positives *p = &many->positives;
    const int64_t begin = p->offset[query], last = p->offset[query + 1] - 1;
    int64_t *histogram = many->histogram + begin + query;
    const int64_t selected = kernel->select(n, score, p->score[last], place);
    for (int64_t j = 0; j < selected; j++) {
        const int64_t at = place_among(&many->bins[query], p->score + begin, p->row + begin, score[place[j]],
                                       item_row[place[j]]);
        if (shared) {
#pragma omp atomic
            histogram[at]++;
        } else {
            histogram[at]++;
        }
    }
}

bool many_between(const many_positives *many, int64_t query, float low, float high, int64_t item_row)
{
    const positives *p = &many->positives;
    const score_bins *bins = &many->bins[query];
    const int64_t begin = p->offset[query], last = p->offset[query + 1] - 1;
    if (high < p->score[last] || low > bins->highest) return false;
    if (low <= bins->highest && high <= bins->highest) { /* often: one bin, and nothing in it */
        const int64_t bin = bin_of(bins, low);
        if (bin == bin_of(bins, high) && bins->first[bin] == bins->first[bin + 1]) return false;
    }
    return place_among(bins, p->score + begin, p->row + begin, low, item_row) !=
           place_among(bins, p->score + begin, p->row + begin, high, item_row);
}

/* An item that stands before place j of the positives beats those from j on. */
void many_finish(const many_positives *many, int threads)
{
    const positives *p = &many->positives;
    if (many->bins == NULL) return;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16)
    for (int64_t i = 0; i < many->n; i++) {
        int64_t sum = 0;
        for (int64_t at = p->offset[i]; many_has(p, i) && at < p->offset[i + 1]; at++) {
            sum += many->histogram[at + i];
            p->beaten[at] += sum;
        }
    }
}

void many_free(many_positives *many)
{
    tdm_free(many->bins);
    tdm_free(many->first);
    tdm_free(many->histogram);
    *many = (many_positives){0};
}
