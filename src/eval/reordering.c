/* Ranks in another order of the gallery (tdm_reordering), in which some rows of a query are listed with distances of their
 * own and all others have a distance that falls as their score rises.
 *
 * The rows that are not listed and rank before a positive are those that pass a threshold of score and row. So they are
 * counted as in the plain ranking, over the whole gallery, with this threshold in place of the positive. Listed rows that
 * pass it are taken off again, and listed rows that rank before the positive are added: both are looked up in the list. */
#include "reordering_impl.h"

#include "rerank_impl.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void tdm_reordering_free(tdm_reordering *reordering)
{
    tdm_free(reordering->query);
    tdm_free(reordering->gallery);
    tdm_free(reordering->offset);
    tdm_free(reordering->row);
    tdm_free(reordering->score);
    tdm_free(reordering->distance);
    tdm_free(reordering->square);
    tdm_free(reordering->far);
    *reordering = (tdm_reordering){0};
}

/* ---- The order ---- */

/* Of a gallery row of this score that is not listed; it never rises with the score. */
static double plain_distance(const tdm_reordering *r, int64_t query, float score)
{
    return r->base + r->weight * relative_distance(r->square[query], (double)score, r->far[query]);
}

static int compare_scored(const void *a, const void *b) /* the plain order */
{
    const placed *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static int compare_placed(const void *a, const void *b) /* the other order */
{
    const placed *x = a, *y = b;
    if (x->distance != y->distance) return x->distance < y->distance ? -1 : 1;
    return compare_scored(a, b);
}

/* How many of sorted[n] stand before `item`. */
static int64_t count_before(const placed *sorted, int64_t n, const placed *item,
                            int (*compare)(const void *, const void *))
{
    int64_t low = 0;
    while (n > 0) {
        const int64_t half = n / 2;
        if (compare(&sorted[low + half], item) < 0) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

static placed listed(const tdm_reordering *r, int64_t at)
{
    return (placed){.distance = r->distance[at], .score = r->score[at], .row = r->row[at]};
}

/* Gallery row of this score in the order of the query. */
static placed place(const tdm_reordering *r, int64_t query, float score, int64_t row)
{
    const int64_t begin = r->offset[query], n = r->offset[query + 1] - begin;
    const int64_t at = tdm_lower_bound(r->row + begin, n, row);
    if (at < n && r->row[begin + at] == row) return listed(r, begin + at);
    return (placed){.distance = plain_distance(r, query, score), .score = score, .row = row};
}

/* ---- Thresholds ---- */

/* Finite floats as whole numbers in the same order, and back. */
static int64_t number_of(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >= 0 ? bits : -(int64_t)(bits & INT32_MAX);
}

static float float_of(int64_t number)
{
    const int32_t bits = number >= 0 ? (int32_t)number : (int32_t)((uint32_t)-number | 0x80000000U);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Largest score whose distance is not yet below `distance` (strictly: not yet `distance` or less); -FLT_MAX when there is
 * none. */
static float last_behind(const tdm_reordering *r, int64_t query, double distance, bool strictly)
{
    int64_t low = number_of(-FLT_MAX), high = number_of(FLT_MAX);
    while (low < high) {
        const int64_t middle = low + (high - low + 1) / 2;
        const double at = plain_distance(r, query, float_of(middle));
        if (strictly ? at > distance : at >= distance)
            low = middle;
        else
            high = middle - 1;
    }
    return float_of(low);
}

/* A row that is not listed ranks before `item` when its score is above threshold->score, or is the same and its row is
 * lower than threshold->row. */
static placed threshold_of(const tdm_reordering *r, int64_t query, const placed *item)
{
    placed threshold = {.score = item->score, .row = item->row};
    if (plain_distance(r, query, item->score) == item->distance) return threshold;
    /* Rows of the same distance, if there are any, have scores on one side of the item's. */
    const float farther = last_behind(r, query, item->distance, true);
    const bool before_equals = item->score > farther; /* the item's score is above theirs */
    threshold.score = before_equals ? last_behind(r, query, item->distance, false) : farther;
    threshold.row = -1;
    return threshold;
}

tdm_status reordering_enter(const tdm_reordering *reordering, const int64_t *query, int64_t n,
                            const eval_buffer *arranged, int threads, placed **kept)
{
    const positives in_block = positives_in(arranged, n), *p = &in_block;
    TDM_TRY(TDM_ALLOC(p->total, kept));
    placed *item = *kept;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16)
    for (int64_t i = 0; i < n; i++) {
        const int64_t begin = p->offset[i], end = p->offset[i + 1];
        for (int64_t k = begin; k < end; k++) item[k] = place(reordering, query[i], p->score[k], p->row[k]);
        qsort(item + begin, (size_t)(end - begin), sizeof *item, compare_placed);
        for (int64_t k = begin; k < end; k++) {
            const placed threshold = threshold_of(reordering, query[i], &item[k]);
            p->score[k] = threshold.score;
            p->row[k] = threshold.row;
        }
    }
    return TDM_OK;
}

tdm_status reordering_leave(const tdm_reordering *reordering, const int64_t *query, int64_t n,
                            const eval_buffer *arranged, int threads, const placed *kept)
{
    const tdm_reordering *r = reordering;
    const positives in_block = positives_in(arranged, n), *p = &in_block;
    int64_t longest = 0;
    placed *room = NULL; /* [threads][longest] */
    for (int64_t i = 0; i < n; i++)
        longest = tdm_max_i64(longest, r->offset[query[i] + 1] - r->offset[query[i]]);
    TDM_TRY(TDM_ALLOC(threads * longest, &room));
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        placed *list = room + thread * longest;
        for (int64_t i = thread; i < n; i += threads) {
            const int64_t begin = r->offset[query[i]], count = r->offset[query[i] + 1] - begin;
            for (int64_t j = 0; j < count; j++) list[j] = listed(r, begin + j);
            qsort(list, (size_t)count, sizeof *list, compare_placed);
            for (int64_t k = p->offset[i]; k < p->offset[i + 1]; k++)
                p->beaten[k] += count_before(list, count, &kept[k], compare_placed);
            qsort(list, (size_t)count, sizeof *list, compare_scored);
            for (int64_t k = p->offset[i]; k < p->offset[i + 1]; k++) {
                const placed threshold = {.score = p->score[k], .row = p->row[k]};
                p->beaten[k] -= count_before(list, count, &threshold, compare_scored);
                p->score[k] = kept[k].score;
                p->row[k] = kept[k].row;
            }
        }
    }
    tdm_free(room);
    return TDM_OK;
}

/* ---- What others call ---- */

typedef struct reordered_sides { /* as they are ranked */
    tdm_eval_side query, gallery;
    float *of_query, *of_gallery; /* owned, of the Euclidean distance */
} reordered_sides;

static void sides_close(reordered_sides *sides)
{
    tdm_free(sides->of_query);
    tdm_free(sides->of_gallery);
}

/* Collective. */
static tdm_status sides_open(const tdm_rerank_input *input, const tdm_reordering *reordering,
                             reordered_sides *sides)
{
    *sides = (reordered_sides){.query = *input->query, .gallery = *input->gallery};
    if (reordering->query) sides->query.feature = reordering->query;
    if (reordering->gallery) sides->gallery.feature = reordering->gallery;
    tdm_status status = TDM_OK;
    if (input->distance == TDM_EUCLIDEAN) {
        status = tdm_eval_euclidean_rows(&sides->query, false, &sides->of_query);
        if (status == TDM_OK) status = tdm_eval_euclidean_rows(&sides->gallery, true, &sides->of_gallery);
        sides->query.feature = sides->of_query;
        sides->gallery.feature = sides->of_gallery;
        sides->query.d = sides->gallery.d = input->query->d + 1;
    }
    status = tdm_comm_agree(input->comm, status);
    if (status != TDM_OK) sides_close(sides);
    return status;
}

tdm_status tdm_reordering_metrics(const tdm_rerank_input *input, const tdm_reordering *reordering,
                                  tdm_metrics *metrics, tdm_eval_detail *detail)
{
    reordered_sides sides;
    TDM_TRY(sides_open(input, reordering, &sides));
    const int64_t block = tdm_eval_block_rows(input->ops);
    const tdm_status status = metrics_reordered(input->comm, input->ops, &sides.query, &sides.gallery,
                                                reordering, block, metrics, detail);
    sides_close(&sides);
    return status;
}

/* ---- The best ---- */

/* The k first of a query out of the plain order's best, of which the listed ones are passed over, and the list. */
static void merge_best(const tdm_reordering *r, int64_t query, const int64_t *row, const float *score,
                       int64_t depth, int64_t k, placed *list, int64_t *out_row, float *out_score)
{
    const int64_t begin = r->offset[query], count = r->offset[query + 1] - begin;
    int64_t at = 0, next = 0;
    float last = INFINITY;
    placed before = {.distance = -1};
    for (int64_t j = 0; j < count; j++) list[j] = listed(r, begin + j);
    qsort(list, (size_t)count, sizeof *list, compare_placed);
    for (int64_t j = 0; j < k; j++) {
        placed plain = {.row = -1};
        for (; next < depth && row[next] >= 0; next++) {
            const int64_t found = tdm_lower_bound(r->row + begin, count, row[next]);
            if (found < count && r->row[begin + found] == row[next]) continue;
            plain = (placed){plain_distance(r, query, score[next]), score[next], row[next]};
            break;
        }
        const bool of_list = at < count && (plain.row < 0 || compare_placed(&list[at], &plain) < 0);
        const placed best = of_list ? list[at] : plain;
        at += of_list;
        next += !of_list && plain.row >= 0;
        /* In f32 two distances may become one; a lower one then goes down by the last bit. */
        const bool tie = best.distance == before.distance && best.score == before.score;
        const float value = (float)(1 - best.distance);
        out_row[j] = best.row;
        out_score[j] = best.row < 0 ? 0 : tie ? last : fminf(value, nextafterf(last, -INFINITY));
        last = out_score[j];
        before = best;
    }
}

tdm_status tdm_reordering_top_k(const tdm_rerank_input *input, const tdm_reordering *reordering, int64_t k,
                                int64_t *row, float *score)
{
    enum { BLOCK = 1024 }; /* local queries at once */
    tdm_comm *comm = input->comm;
    const tdm_reordering *r = reordering;
    const int64_t n = input->query->n, query_block = tdm_eval_block_rows(input->ops);
    reordered_sides sides;
    int64_t *deep_row = NULL, longest = 0;
    float *deep_score = NULL;
    placed *list = NULL;
    TDM_REQUIRE(k >= 1, TDM_E_SHAPE, "the %lld best of a gallery are asked for", (long long)k);
    TDM_TRY(sides_open(input, r, &sides));
    if (r->offset == NULL) {
        const tdm_status status =
            tdm_eval_top_k(comm, input->ops, &sides.query, &sides.gallery, k, query_block, row, score);
        sides_close(&sides);
        return status;
    }
    for (int64_t i = 0; i < n; i++) longest = tdm_max_i64(longest, r->offset[i + 1] - r->offset[i]);
    double most[2] = {(double)longest, (double)n};
    tdm_comm_max_f64(comm, most, 2);
    const int64_t depth = k + (int64_t)most[0]; /* so many that k are left */
    tdm_status status = TDM_ALLOC(BLOCK * depth, &deep_row);
    if (status == TDM_OK) status = TDM_ALLOC(BLOCK * depth, &deep_score);
    if (status == TDM_OK) status = TDM_ALLOC(longest, &list);
    status = tdm_comm_agree(comm, status);
    for (int64_t round = 0; status == TDM_OK && round * BLOCK < (int64_t)most[1]; round++) {
        const int64_t begin = tdm_min_i64(round * BLOCK, n), end = tdm_min_i64(begin + BLOCK, n);
        tdm_eval_side block = sides.query;
        block.feature += begin * block.d;
        block.n = end - begin;
        status = tdm_eval_top_k(comm, input->ops, &block, &sides.gallery, depth, query_block, deep_row,
                                deep_score);
        for (int64_t i = begin; status == TDM_OK && i < end; i++)
            merge_best(r, i, deep_row + (i - begin) * depth, deep_score + (i - begin) * depth, depth, k, list,
                       row + i * k, score + i * k);
    }
    tdm_free(deep_row);
    tdm_free(deep_score);
    tdm_free(list);
    sides_close(&sides);
    return status;
}
