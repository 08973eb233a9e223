/* Triplet objective of CLIP4CMR (arXiv 2201.02772; github zhixiongz/CLIP4CMR, metrics.py, Triplet_Loss), both directions
 * added. With d2_ij = |v_i - t_j|^2, P pairs (i, j) of what belongs together, and N(i) what does not belong to i:
 *
 *     all:                 T = 1/P sum_{(i,j)} sum_{k in N(i)} max(0, d2_ij - d2_ik + margin)
 *     hardest, semi_hard:  T = 1/P sum_{(i,j)} max(0, d2_ij - d2_ik + margin) with one k of N(i):
 *         hardest    the nearest
 *         semi_hard  the nearest that is not nearer than j or, if all are nearer, the farthest
 *
 * The released code has `all` (there with semi_hard=True) and `semi_hard` (with semi_hard=False). A query without
 * negatives has no triplet.
 *
 * No loop over triplets: a row's positives are sorted, and each negative finds its place among them by bisection. It
 * then knows with how many positives it is active, and their sum, by the sums of the sorted positives; a positive knows
 * the number of its active negatives by the sum of the places. That is O(B log B) for a row. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

enum { MINING_ALL, MINING_SEMI_HARD, MINING_HARDEST };

typedef struct triplet_options {
    pairs_options pairs;
    double margin;
    int mining;
} triplet_options;

static const tdm_option triplet_rows[] = {
    PAIRS_OPTIONS,
    TDM_FLOAT_OPTION(triplet_options, margin, "0.2", 0, 100, "",
                     "By which a negative shall be farther away than a positive, in squared distance."),
    TDM_CHOICE_OPTION(
        triplet_options, mining, "all", "all|semi_hard|hardest",
        "Negatives of a positive: all (released with semi_hard=True), the nearest that is farther away (released with semi_hard=False), the nearest."),
};

static tdm_status triplet_check(const void *options, const tdm_loss_setup *setup)
{
    return pairs_check("triplet", options, setup);
}

typedef struct positive {
    float x; /* cosine */
    int32_t at;
} positive;

/* Temporaries of a thread's row. */
typedef struct room {
    double margin;
    positive *list, *other; /* [W] */
    double *sum;            /* [W+1] of the cosines of the first k of the list */
    int64_t *count;         /* [W+1] */
    int32_t *nearest;       /* [W+1] */
} room;

static tdm_status take(const tdm_loss_call *call, tdm_scratch *scratch, room *r)
{
    const int64_t W = tdm_max_i64(call->rows[TDM_IMAGE].B, call->rows[TDM_TEXT].B);
    TDM_TAKE(scratch, W, &r->list);
    TDM_TAKE(scratch, W, &r->other);
    TDM_TAKE(scratch, W + 1, &r->sum);
    TDM_TAKE(scratch, W + 1, &r->count);
    TDM_TAKE(scratch, W + 1, &r->nearest);
    return TDM_OK;
}

static int64_t triplet_scratch_bytes(const tdm_loss_call *call)
{
    room r;
    tdm_scratch count = {.capacity_bytes = SIZE_MAX};
    for (int i = 0; i < tdm_ops_threads(call->nn->ops); i++)
        if (take(call, &count, &r) != TDM_OK) return 0;
    return (int64_t)count.used_bytes + pairs_scratch_bytes(call);
}

/* ---- Positives in the order of their cosines ---- */

/* Bits that ascend with the value. */
static uint32_t ordered_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Ascending, those of one value in their order: radix sort in three passes of 11 bits, the result is in the list. */
static void sort_positives(room *r, int64_t n)
{
    enum { BITS = 11, BINS = 1 << BITS, PASSES = 3 };
    for (int pass = 0; pass < PASSES; pass++) {
        int32_t begin[BINS + 1] = {0};
        const int shift = pass * BITS;
        for (int64_t i = 0; i < n; i++) begin[(ordered_bits(r->list[i].x) >> shift & (BINS - 1)) + 1]++;
        for (int b = 0; b < BINS; b++) begin[b + 1] += begin[b];
        for (int64_t i = 0; i < n; i++)
            r->other[begin[ordered_bits(r->list[i].x) >> shift & (BINS - 1)]++] = r->list[i];
        positive *const sorted = r->other;
        r->other = r->list;
        r->list = sorted;
    }
}

/* How many of the list are below x or, with `equal`, not above it. Without branches that a CPU guesses wrong. */
static int64_t below(const positive *list, int64_t n, float x, bool equal)
{
    int64_t base = 0;
    while (n > 0) {
        const int64_t half = (n + 1) / 2;
        const float y = list[base + half - 1].x;
        base += (equal ? y <= x : y < x) ? half : 0;
        n -= half;
    }
    return base;
}

static int64_t list_positives(room *r, const pair_rows *p, const float *x)
{
    int64_t n = 0;
    for (int64_t j = 0; j < p->W; j++) {
        r->list[n] = (positive){x[j], (int32_t)j};
        n += p->same[j];
    }
    return n;
}

/* ---- Rows: d2_ij - d2_ik + margin = 2 (x_k - x_j) + margin ---- */

static double all_row(void *context, const pair_rows *p, int64_t query, float *x)
{
    room *r = (room *)context + p->thread;
    const int64_t n = list_positives(r, p, x);
    double value = 0.0;
    (void)query;
    if (n == 0 || n == p->W) {
        memset(x, 0, sizeof(*x) * (size_t)p->W);
        return 0.0;
    }
    sort_positives(r, n);
    r->sum[0] = 0.0;
    for (int64_t k = 0; k < n; k++) r->sum[k + 1] = r->sum[k] + r->list[k].x;
    memset(r->count, 0, sizeof(*r->count) * (size_t)(n + 1));
    for (int64_t k = 0; k < p->W; k++) {
        if (p->same[k]) continue;
        const int64_t active = below(r->list, n, (float)(x[k] + 0.5 * r->margin), true);
        value += (double)active * (2.0 * x[k] + r->margin) - 2.0 * r->sum[active];
        x[k] = 2.0f * (float)active;
        r->count[active]++;
    }
    for (int64_t k = n, active = 0; k-- > 0;) { /* negatives that see more than the first k */
        active += r->count[k + 1];
        x[r->list[k].at] = -2.0f * (float)active;
    }
    return value;
}

/* nearest[k]: the answer that the k-th of the sorted positives is compared with. */
static void choose_negatives(const room *r, const pair_rows *p, int64_t n, bool semi_hard, const float *x)
{
    int32_t farthest = -1, hardest = -1;
    for (int64_t k = 0; k < n; k++) r->nearest[k] = -1;
    for (int64_t k = 0; k < p->W; k++) {
        if (p->same[k]) continue;
        if (farthest < 0 || x[k] < x[farthest]) farthest = (int32_t)k;
        if (hardest < 0 || x[k] > x[hardest]) hardest = (int32_t)k;
        const int64_t first = semi_hard ? below(r->list, n, x[k], false) : n;
        if (first < n && (r->nearest[first] < 0 || x[k] > x[r->nearest[first]]))
            r->nearest[first] = (int32_t)k;
    }
    int32_t best = semi_hard ? farthest : hardest;
    for (int64_t k = 0; k < n; k++) { /* what is farther than a positive is so for those behind it */
        if (r->nearest[k] >= 0 && x[r->nearest[k]] > x[best]) best = r->nearest[k];
        r->nearest[k] = best;
    }
}

static double one_row(room *r, const pair_rows *p, bool semi_hard, float *x)
{
    const int64_t n = list_positives(r, p, x);
    double value = 0.0;
    if (n > 0 && n < p->W) {
        if (semi_hard) sort_positives(r, n);
        choose_negatives(r, p, n, semi_hard, x);
        for (int64_t k = 0; k < n; k++) r->sum[k] = x[r->nearest[k]];
    }
    memset(x, 0, sizeof(*x) * (size_t)p->W);
    for (int64_t k = 0; k < n && n < p->W; k++) {
        const double hinge = 2.0 * (r->sum[k] - r->list[k].x) + r->margin;
        if (hinge < 0.0) continue;
        value += hinge;
        x[r->list[k].at] -= 2.0f;
        x[r->nearest[k]] += 2.0f;
    }
    return value;
}

static double semi_hard_row(void *context, const pair_rows *p, int64_t query, float *x)
{
    (void)query;
    return one_row((room *)context + p->thread, p, true, x);
}

static double hardest_row(void *context, const pair_rows *p, int64_t query, float *x)
{
    (void)query;
    return one_row((room *)context + p->thread, p, false, x);
}

static tdm_status triplet_step(const tdm_loss_call *call)
{
    static pairs_row *const row[] = {
        [MINING_ALL] = all_row, [MINING_SEMI_HARD] = semi_hard_row, [MINING_HARDEST] = hardest_row};
    const triplet_options *o = call->options;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    const int threads = tdm_ops_threads(call->nn->ops);
    room r[threads];
    double P, queries;
    pair_rows p;
    TDM_TRY(pairs_make(call, o->pairs.positives, &p));
    p.alone = true;
    for (int i = 0; i < threads; i++) {
        r[i].margin = o->margin;
        TDM_TRY(take(call, call->nn->scratch, &r[i]));
    }
    pairs_count(&p, &P, &queries);
    for (int m = 0; P > 0.0 && m < TDM_MODALITIES; m++) {
        double value = 0.0;
        pairs_turn(&p, (tdm_modality)m);
        TDM_TRY(pairs_walk(&p, row[o->mining], r, call->weight / P, &value));
        call->term[0] += value / P;
        call->term[1 + m] += value / P;
    }
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const triplet_terms[] = {"triplet", "triplet_image_to_text", "triplet_text_to_image",
                                            NULL};

const tdm_loss tdm_loss_triplet = {
    .name = "triplet",
    .terms = triplet_terms,
    .options = triplet_rows,
    .option_count = sizeof(triplet_rows) / sizeof(triplet_rows[0]),
    .option_bytes = sizeof(triplet_options),
    .needs = pairs_needs,
    .tie = pairs_tie,
    .check = triplet_check,
    .scratch_bytes = triplet_scratch_bytes,
    .step = triplet_step,
};
