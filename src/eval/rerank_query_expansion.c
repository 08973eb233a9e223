/* α-weighted query expansion (Radenović, Tolias and Chum, arXiv 1711.02512, section 3.4): a query becomes the
 * normalised sum of itself and its k best gallery rows, each with the weight max(score, 0)^alpha. The same of the
 * gallery rows, over the gallery, is database-side augmentation. */
#include "rerank_impl.h"

#include <math.h>
#include <string.h>

typedef struct expansion_options {
    int64_t k, gallery_k;
    double alpha;
} expansion_options;

static const tdm_option expansion_rows[] = {
    TDM_INT_OPTION(expansion_options, k, "10", 0, 10000, "rows", "Gallery rows that a query is joined with."),
    TDM_FLOAT_OPTION(expansion_options, alpha, "3", 0, 100, "", "Power of the score that weighs them."),
    TDM_INT_OPTION(
        expansion_options, gallery_k, "0", 0, 10000, "rows",
        "Gallery rows that each gallery row is joined with, before that; 0: they stay as they are."),
};

/* A sum of rows in units of 2^-40 is one of whole numbers: the same in any order, hence on any number of ranks. Rows of
 * unit norm and weights up to 1 leave room for 2^22 of them. */
#define UNIT 0x1p40
enum { BLOCK = 1024 }; /* rows, of all, whose sums are made at once */

typedef struct expander {
    tdm_comm *comm;
    const tdm_eval_side *gallery;
    int64_t d, k, gallery_first;
    double alpha;
    int64_t *sum;  /* [BLOCK][d] */
    int64_t *row;  /* [BLOCK][k] of all ranks */
    float *score;  /* [BLOCK][k] */
    int64_t *part; /* [size] rows of the block at each rank */
} expander;

/* Adds the neighbours that this rank holds. */
static void add_neighbours(const expander *e, int64_t n)
{
    memset(e->sum, 0, (size_t)(n * e->d) * sizeof *e->sum);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = i * e->k; j < (i + 1) * e->k; j++) {
            const int64_t local = e->row[j] - e->gallery_first;
            if (e->row[j] < 0 || local < 0 || local >= e->gallery->n) continue;
            const double weight = pow(fmin(fmax((double)e->score[j], 0), 1), e->alpha) * UNIT;
            const float *item = e->gallery->feature + local * e->d;
            for (int64_t c = 0; c < e->d; c++) e->sum[i * e->d + c] += llrint(weight * (double)item[c]);
        }
    }
}

/* Itself and the sum, divided by their norm; where that is nothing the row stays. */
static void finish_row(int64_t d, const float *own, const int64_t *sum, float *out)
{
    double square = 0;
    for (int64_t c = 0; c < d; c++) {
        const double value = (double)own[c] + (double)sum[c] / UNIT;
        square += value * value;
    }
    const double norm = sqrt(square);
    for (int64_t c = 0; c < d; c++)
        out[c] = norm > 0 ? (float)(((double)own[c] + (double)sum[c] / UNIT) / norm) : own[c];
}

/* Rows [begin, begin + BLOCK) of all ranks; rows: how many each has. */
static void expand_block(expander *e, const tdm_eval_side *side, const int64_t *rows, int64_t begin,
                         const int64_t *row, const float *score, float *out)
{
    int64_t first = 0, n = 0, own_begin = 0, own_place = 0, own = 0;
    for (int r = 0; r < tdm_comm_size(e->comm); r++) {
        const int64_t low = tdm_min_i64(tdm_max_i64(begin - first, 0), rows[r]);
        const int64_t high = tdm_min_i64(tdm_max_i64(begin + BLOCK - first, 0), rows[r]);
        e->part[r] = high - low;
        if (r == tdm_comm_rank(e->comm)) {
            own_begin = low;
            own_place = n;
            own = high - low;
        }
        n += high - low;
        first += rows[r];
    }
    tdm_comm_gather_rows(e->comm, row + own_begin * e->k, e->row, e->part, e->k * (int64_t)sizeof *row);
    tdm_comm_gather_rows(e->comm, score + own_begin * e->k, e->score, e->part, e->k * (int64_t)sizeof *score);
    add_neighbours(e, n);
    tdm_comm_sum_i64(e->comm, e->sum, n * e->d);
    for (int64_t i = 0; i < own; i++)
        finish_row(e->d, side->feature + (own_begin + i) * e->d, e->sum + (own_place + i) * e->d,
                   out + (own_begin + i) * e->d);
}

static tdm_status open_expander(expander *e)
{
    TDM_TRY(TDM_ALLOC(BLOCK * e->d, &e->sum));
    TDM_TRY(TDM_ALLOC(BLOCK * e->k, &e->row));
    TDM_TRY(TDM_ALLOC(BLOCK * e->k, &e->score));
    return TDM_ALLOC(tdm_comm_size(e->comm), &e->part);
}

/* In a list of k + 1 neighbours the row itself is put out of count; where it is not among them, the last is. */
static void leave_out_self(int64_t first, int64_t n, int64_t k, int64_t *row, float *score)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        while (at < k - 1 && row[i * k + at] != first + i) at++;
        row[i * k + at] = -1;
        score[i * k + at] = 0;
    }
}

/* Each row of `side` joined with its k best of the gallery; but_self: the side is the gallery. *out [side->n][d] is the
 * caller's. Collective. */
static tdm_status expand(const tdm_rerank_input *input, const tdm_eval_side *side,
                         const tdm_eval_side *gallery, bool but_self, int64_t k, double alpha, float **out)
{
    expander e = {.comm = input->comm, .gallery = gallery, .d = side->d, .k = k + but_self, .alpha = alpha};
    int64_t *rows = NULL, *row = NULL, side_first = 0;
    float *score = NULL;
    tdm_status status = open_expander(&e);
    if (status == TDM_OK) status = TDM_ALLOC(tdm_comm_size(input->comm), &rows);
    if (status == TDM_OK) status = TDM_ALLOC(side->n * e.k, &row);
    if (status == TDM_OK) status = TDM_ALLOC(side->n * e.k, &score);
    if (status == TDM_OK) status = TDM_ALLOC(side->n * e.d, out);
    status = tdm_comm_agree(input->comm, status);
    if (status == TDM_OK)
        status = tdm_eval_top_k(input->comm, input->ops, side, gallery, e.k, tdm_eval_block_rows(input->ops),
                                row, score);
    if (status == TDM_OK) {
        (void)eval_count_rows(input->comm, gallery->n, rows, &e.gallery_first);
        const int64_t total = eval_count_rows(input->comm, side->n, rows, &side_first);
        if (but_self) leave_out_self(side_first, side->n, e.k, row, score);
        for (int64_t begin = 0; begin < total; begin += BLOCK)
            expand_block(&e, side, rows, begin, row, score, *out);
    }
    tdm_free(e.sum);
    tdm_free(e.row);
    tdm_free(e.score);
    tdm_free(e.part);
    tdm_free(rows);
    tdm_free(row);
    tdm_free(score);
    return status;
}

static tdm_status expand_both(const tdm_rerank_input *input, const void *options, tdm_reordering *reordering)
{
    const expansion_options *o = options;
    tdm_eval_side gallery = *input->gallery;
    if (o->gallery_k > 0) {
        TDM_TRY(expand(input, input->gallery, input->gallery, true, o->gallery_k, o->alpha,
                       &reordering->gallery));
        gallery.feature = reordering->gallery;
    }
    return o->k > 0 ? expand(input, input->query, &gallery, false, o->k, o->alpha, &reordering->query)
                    : TDM_OK;
}

const tdm_rerank rerank_query_expansion = {
    .name = "query_expansion",
    .help = "queries joined with what they find: α-QE of Radenović et al.",
    .options = expansion_rows,
    .option_count = sizeof expansion_rows / sizeof expansion_rows[0],
    .option_bytes = sizeof(expansion_options),
    .reorder = expand_both,
};
