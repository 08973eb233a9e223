/* The positives of a block of queries: collected on the first round, sorted at home. */
#include "metrics_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool share_bit(const uint64_t *a, const uint64_t *b, int64_t words)
{
    for (int64_t w = 0; w < words; w++)
        if (a[w] & b[w]) return true;
    return false;
}

static bool is_answer(const evaluation *eval, const eval_queries *queries, int64_t i, int64_t column)
{
    const eval_gallery *g = &eval->gallery;
    const int64_t row = g->row[column];
    if (eval->exclude_self && row == queries->row[i]) return false;
    if (g->sorted_id != NULL) return g->sorted_id[column] == queries->id[i];
    const int64_t words = eval->ring.label_words;
    return share_bit(queries->labels + i * words, g->labels + (row - g->first) * words, words);
}

/* The columns among which the positives of query i lie: its id's, or all with labels. */
static void candidate_columns(const evaluation *eval, const eval_queries *queries, int64_t i, int64_t *begin,
                              int64_t *end)
{
    const eval_gallery *g = &eval->gallery;
    *begin = 0;
    *end = g->n;
    if (g->sorted_id == NULL) return;
    const int64_t id = queries->id[i];
    *begin = tdm_lower_bound(g->sorted_id, g->n, id);
    if (id < INT64_MAX) *end = tdm_lower_bound(g->sorted_id, g->n, id + 1);
}

/* Places [*begin, *end) in the list of judgements of query i: those whose gallery rows are here. */
static void judged_here(const evaluation *eval, const eval_queries *queries, int64_t i, int64_t *begin,
                        int64_t *end)
{
    const eval_gallery *g = &eval->gallery;
    const int64_t *offset = eval->judged->offset + queries->row[i];
    const int64_t *row = eval->judged->row + offset[0];
    *begin = offset[0] + tdm_lower_bound(row, offset[1] - offset[0], g->first);
    *end = offset[0] + tdm_lower_bound(row, offset[1] - offset[0], g->first + g->n);
}

static int64_t count_positives(const evaluation *eval, const eval_queries *queries, int64_t i)
{
    int64_t begin, end, count = 0;
    if (eval->judged) {
        judged_here(eval, queries, i, &begin, &end);
        for (int64_t k = begin; k < end; k++)
            count += !eval->exclude_self || eval->judged->row[k] != queries->row[i];
        return count;
    }
    candidate_columns(eval, queries, i, &begin, &end);
    for (int64_t c = begin; c < end; c++) count += is_answer(eval, queries, i, c);
    return count;
}

/* Writes the positives of the queries [first, first + rows) of one tile that lie in panel p; without scores where the
 * gallery is not packed as f32. */
static void collect_tile(const evaluation *eval, const eval_queries *queries, int64_t first, int64_t rows,
                         int64_t p, const bool *wanted, found_positive **cursor)
{
    const eval_gallery *g = &eval->gallery;
    const int64_t columns = g->kernel->columns;
    const int64_t end = tdm_min_i64(g->n, (p + 1) * columns);
    float tile[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS];
    bool computed = false;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = p * columns; wanted[r] && c < end; c++) {
            if (!is_answer(eval, queries, first + r, c)) continue;
            *cursor[r] = (found_positive){.row = g->row[c], .query = (int32_t)(first + r)};
            if (g->packed) {
                if (!computed) eval_gallery_tile(g, eval->packed_query + first * g->d, p, tile);
                computed = true;
                cursor[r]->score = tile[r * columns + c - p * columns];
            }
            cursor[r]++;
        }
    }
}

/* All positives of one group of queries; out[i - first] is where query i's records go. Queries of the group
 * with the same id share their tiles. */
static void collect_group(const evaluation *eval, const eval_queries *queries, int64_t first, int64_t rows,
                          found_positive **cursor)
{
    const int64_t columns = eval->gallery.kernel->columns;
    bool done[EVAL_TILE_ROWS] = {false};
    for (int64_t r = 0; r < rows; r++) {
        if (done[r]) continue;
        int64_t begin, end;
        candidate_columns(eval, queries, first + r, &begin, &end);
        bool wanted[EVAL_TILE_ROWS] = {false};
        for (int64_t s = r; s < rows; s++) {
            wanted[s] = !done[s] &&
                        (eval->gallery.sorted_id == NULL || queries->id[first + s] == queries->id[first + r]);
            done[s] |= wanted[s];
        }
        for (int64_t p = begin / columns; p * columns < end; p++)
            collect_tile(eval, queries, first, rows, p, wanted, cursor);
    }
}

/* The same where a list says what matches: its columns keep the rows' order. */
static void collect_judged(const evaluation *eval, const eval_queries *queries, int64_t first, int64_t rows,
                           found_positive *const *cursor)
{
    const eval_gallery *g = &eval->gallery;
    const int64_t columns = g->kernel->columns;
    float tile[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS];
    for (int64_t r = 0; r < rows; r++) {
        int64_t begin, end, panel = -1;
        found_positive *out = cursor[r];
        judged_here(eval, queries, first + r, &begin, &end);
        for (int64_t k = begin; k < end; k++) {
            const int64_t row = eval->judged->row[k], column = row - g->first;
            if (eval->exclude_self && row == queries->row[first + r]) continue;
            *out = (found_positive){.row = row, .query = (int32_t)(first + r)};
            if (g->packed) {
                if (column / columns != panel)
                    eval_gallery_tile(g, eval->packed_query + first * g->d, column / columns, tile);
                panel = column / columns;
                out->score = tile[r * columns + column % columns];
            }
            out++;
        }
    }
}

/* Where so many of the pairs are positives, their scores alone would take longer than all pairs as f32. */
static tdm_status leave_quick(evaluation *eval, const eval_queries *queries, int64_t found)
{
    const tdm_eval_side sample = {.n = queries->n, .d = eval->ring.d, .feature = queries->feature};
    if (found <= queries->n * eval->gallery.n / 64) return TDM_OK;
    while (eval->gallery.quick && !eval->gallery.quick->forced) TDM_TRY(metrics_fall(eval, &sample));
    return TDM_OK;
}

tdm_status metrics_collect(evaluation *eval)
{
    const eval_queries queries = eval_ring_queries(&eval->ring);
    const int64_t n = queries.n, groups = eval_tile_groups(n);
    int64_t *begin = NULL;
    TDM_TRY(TDM_ALLOC(n + 1, &begin));
#pragma omp parallel for num_threads(eval->threads) schedule(dynamic, 16)
    for (int64_t i = 0; i < n; i++) begin[i + 1] = count_positives(eval, &queries, i);
    for (int64_t i = 0; i < n; i++) begin[i + 1] += begin[i];
    const int64_t before = eval->ring.tail.bytes;
    const int64_t added = begin[n] * (int64_t)sizeof(found_positive);
    tdm_status status = eval_buffer_resize(&eval->ring.tail, before + added);
    if (status == TDM_OK) status = leave_quick(eval, &queries, begin[n]);
    if (status == TDM_OK && added > 0) {
        if (eval->gallery.packed) eval_pack_queries(n, eval->ring.d, queries.feature, eval->packed_query);
        found_positive *out = (found_positive *)(void *)(eval->ring.tail.data + before);
#pragma omp parallel for num_threads(eval->threads) schedule(dynamic, 4)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t first = g * EVAL_TILE_ROWS, rows = tdm_min_i64(EVAL_TILE_ROWS, n - first);
            found_positive *cursor[EVAL_TILE_ROWS];
            for (int64_t r = 0; r < rows; r++) cursor[r] = out + begin[first + r];
            if (eval->judged)
                collect_judged(eval, &queries, first, rows, cursor);
            else
                collect_group(eval, &queries, first, rows, cursor);
        }
        if (eval->gallery.quick) quick_score_found(eval, &queries, out, begin[n]);
    }
    if (status == TDM_OK && eval->columns)
        status = columns_take(
            eval, &queries, (const found_positive *)(const void *)(eval->ring.tail.data + before), begin[n]);
    tdm_free(begin);
    return status;
}

/* ---- At home: sort ---- */

static int64_t positives_bytes(int64_t n, int64_t total)
{
    return 8 * (n + 1 + 2 * total) + 4 * total;
}

static int compare_positive(const void *a, const void *b)
{
    const found_positive *x = a, *y = b;
    if (x->query != y->query) return x->query < y->query ? -1 : 1;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

tdm_status positives_arrange(const eval_buffer *buffer, int64_t n, int threads, eval_buffer *arranged)
{
    const int64_t total = buffer->bytes / (int64_t)sizeof(found_positive);
    const found_positive *found = (const found_positive *)(const void *)buffer->data;
    found_positive *sorted = NULL;
    int64_t *cursor = NULL;
    tdm_status status = TDM_ALLOC(total, &sorted);
    if (status == TDM_OK) status = TDM_ALLOC(n + 1, &cursor);
    if (status == TDM_OK) status = eval_buffer_resize(arranged, positives_bytes(n, total));
    for (int64_t i = 0; i < total && status == TDM_OK; i++)
        if (!isfinite(found[i].score))
            status = TDM_ERROR(TDM_E_NUMERIC, "the score of a query and gallery row %lld is not finite",
                               (long long)found[i].row);
    if (status == TDM_OK) {
        int64_t *offset = (int64_t *)(void *)arranged->data;
        for (int64_t i = 0; i < total; i++) cursor[found[i].query + 1]++;
        for (int64_t i = 0; i < n; i++) cursor[i + 1] += cursor[i];
        memcpy(offset, cursor, (size_t)(n + 1) * sizeof *offset);
        for (int64_t i = 0; i < total; i++) sorted[cursor[found[i].query]++] = found[i];
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16)
        for (int64_t i = 0; i < n; i++)
            qsort(sorted + offset[i], (size_t)(offset[i + 1] - offset[i]), sizeof *sorted, compare_positive);
        const positives p = positives_in(arranged, n);
        for (int64_t i = 0; i < total; i++) {
            p.row[i] = sorted[i].row;
            p.score[i] = sorted[i].score;
            p.beaten[i] = 0;
        }
    }
    tdm_free(sorted);
    tdm_free(cursor);
    return status;
}

positives positives_in(const eval_buffer *arranged, int64_t n)
{
    positives p = {.offset = (int64_t *)(void *)arranged->data};
    p.total = p.offset[n];
    p.row = p.offset + n + 1;
    p.beaten = p.row + p.total;
    p.score = (float *)(p.beaten + p.total);
    return p;
}
