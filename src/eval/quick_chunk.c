/* Counting with a quick gallery: a chunk of intervals, made as narrow as the positives of its rows and columns need it.
 * What is counted afterwards is the lower ends: each is on the same side of every positive's score as the score itself,
 * or is the score. */
#include "metrics_impl.h"

typedef struct open_chunk { /* pairs are named by their row and column in it */
    const evaluation *eval;
    const eval_queries *queries;
    const score_chunk *chunk;
    quick_scorer *scorer;
} open_chunk;

static void settle(const open_chunk *o, int64_t r, int64_t j, float t)
{
    const score_chunk *chunk = o->chunk;
    const eval_gallery *g = &o->eval->gallery;
    const int64_t i = chunk->first + r, at = r * chunk->n + j;
    eval_quick_settle(g->quick, i, o->queries->feature + i * g->d, chunk->panel * g->kernel->columns + j, t,
                      chunk->score + at, o->scorer->high + at, &o->scorer->work);
}

/* The same until no positive of a query with many is between the ends. */
static void settle_among(const open_chunk *o, const many_positives *many, int64_t query, int64_t item_row,
                         int64_t r, int64_t j)
{
    const score_chunk *chunk = o->chunk;
    const eval_gallery *g = &o->eval->gallery;
    const int64_t i = chunk->first + r, at = r * chunk->n + j;
    while (many_between(many, query, chunk->score[at], o->scorer->high[at], item_row) &&
           eval_quick_narrow(g->quick, i, o->queries->feature + i * g->d,
                             chunk->panel * g->kernel->columns + j, chunk->score + at, o->scorer->high + at,
                             &o->scorer->work))
        continue;
}

/* The scores of positives are known. */
static void put_known(const open_chunk *o, const positives *p, int64_t r)
{
    const score_chunk *chunk = o->chunk;
    const eval_gallery *g = &o->eval->gallery;
    const int64_t i = chunk->first + r, first = chunk->panel * g->kernel->columns;
    for (int64_t k = p->offset[i]; k < p->offset[i + 1]; k++) {
        const int64_t local = p->row[k] - g->first;
        if (local < 0 || local >= g->n) continue;
        const int64_t j = eval_gallery_column(g, local) - first;
        if (j >= 0 && j < chunk->n)
            chunk->score[r * chunk->n + j] = o->scorer->high[r * chunk->n + j] = p->score[k];
    }
}

static void settle_row(const open_chunk *o, const positives *p, const many_positives *many, int64_t r)
{
    const score_chunk *chunk = o->chunk;
    const eval_gallery *g = &o->eval->gallery;
    const int64_t i = chunk->first + r, begin = p->offset[i], end = p->offset[i + 1];
    const float *low = chunk->score + r * chunk->n, *high = o->scorer->high + r * chunk->n;
    int32_t *place = o->scorer->place;
    if (begin == end) return;
    put_known(o, p, r);
    if (many_has(p, i)) {
        const int64_t n = g->kernel->select(chunk->n, high, p->score[end - 1], place);
        for (int64_t k = 0; k < n; k++)
            settle_among(o, many, i, g->row[chunk->panel * g->kernel->columns + place[k]], r, place[k]);
        return;
    }
    for (int64_t at = begin; at < end; at++) {
        const int64_t n = g->quick->kernel->open(chunk->n, low, high, p->score[at], place);
        for (int64_t k = 0; k < n; k++) settle(o, r, place[k], p->score[at]);
    }
}

static void settle_columns(const open_chunk *o)
{
    const score_chunk *chunk = o->chunk;
    const eval_columns *columns = o->eval->columns;
    const int64_t width = o->eval->gallery.kernel->columns;
    int32_t *place = o->scorer->place;
    for (int64_t q = 0; q < chunk->panels; q++) {
        const int64_t panel = chunk->panel + q;
        for (int64_t s = columns->slot[panel]; s < columns->slot[panel + 1]; s++) {
            const float *threshold = columns->threshold + s * width;
            const int64_t n =
                o->eval->gallery.quick->kernel->open_columns(chunk->rows, chunk->n, chunk->score + q * width,
                                                             o->scorer->high + q * width, threshold, place);
            for (int64_t k = 0; k < n; k++)
                settle(o, place[k] / width, q * width + place[k] % width, threshold[place[k] % width]);
        }
        for (uint32_t lanes = columns->lanes[panel]; lanes != 0; lanes &= lanes - 1) {
            const int64_t j = __builtin_ctz(lanes);
            for (int64_t r = 0; r < chunk->rows; r++)
                settle_among(o, &columns->many, panel * width + j, o->queries->row[chunk->first + r], r,
                             q * width + j);
        }
    }
}

bool quick_score(const evaluation *eval, const eval_queries *queries, const positives *p,
                 const many_positives *many, const score_chunk *chunk, quick_scorer *scorer)
{
    const open_chunk open = {eval, queries, chunk, scorer};
    const int64_t columns = eval->gallery.kernel->columns;
    for (int64_t q = 0; q < chunk->panels; q++)
        eval_quick_tile(eval->gallery.quick, chunk->first / EVAL_TILE_ROWS, chunk->panel + q, chunk->n,
                        chunk->score + q * columns, scorer->high + q * columns);
    for (int64_t r = 0; r < chunk->rows; r++) settle_row(&open, p, many, r);
    if (eval->columns) settle_columns(&open);
    scorer->work.pairs += chunk->rows * tdm_min_i64(chunk->n, eval->gallery.n - chunk->panel * columns);
    return eval_quick_pays(eval->gallery.quick, &scorer->work);
}

void quick_score_found(const evaluation *eval, const eval_queries *queries, found_positive *found,
                       int64_t count)
{
    enum { BATCH = 32 };
    const eval_gallery *g = &eval->gallery;
#pragma omp parallel for num_threads(eval->threads) schedule(static)
    for (int64_t begin = 0; begin < count; begin += BATCH) {
        const int64_t n = tdm_min_i64(BATCH, count - begin);
        const float *x[BATCH], *y[BATCH];
        float score[BATCH];
        for (int64_t i = 0; i < n; i++) {
            x[i] = queries->feature + found[begin + i].query * g->d;
            y[i] = g->feature + (found[begin + i].row - g->first) * g->d;
        }
        g->quick->kernel->chains(g->d, n, x, y, score);
        for (int64_t i = 0; i < n; i++) found[begin + i].score = score[i];
    }
}
