/* The gallery's rows as queries of the other direction. They stay where they are while the blocks pass by: the first
 * round collects the scores of the rows of a block that match, the second counts the rows that beat them.
 *
 * A tile is counted in vectors across its columns: lane j compares the scores of the tile's rows with a positive of
 * column j. Columns with many positives look each score up instead. Which item a tie prefers is decided by its row in
 * the whole list, so that neither the ranks nor the blocks matter. */
#include "metrics_impl.h"

#include <math.h>

tdm_status columns_take(evaluation *eval, const eval_queries *queries, const found_positive *found,
                        int64_t count)
{
    const eval_gallery *g = &eval->gallery;
    eval_buffer *buffer = &eval->columns->found;
    const int64_t before = buffer->bytes;
    TDM_TRY(eval_buffer_resize(buffer, before + count * (int64_t)sizeof *found));
    found_positive *out = (found_positive *)(void *)(buffer->data + before);
#pragma omp parallel for num_threads(eval->threads) schedule(static)
    for (int64_t i = 0; i < count; i++)
        out[i] = (found_positive){.row = queries->row[found[i].query],
                                  .score = found[i].score,
                                  .query = (int32_t)eval_gallery_column(g, found[i].row - g->first)};
    return TDM_OK;
}

/* Positives of column c that are compared in vectors. */
static int64_t few_of(const eval_columns *columns, const eval_gallery *g, int64_t c)
{
    if (c >= g->n || many_has(&columns->positives, c)) return 0;
    return columns->positives.offset[c + 1] - columns->positives.offset[c];
}

static void find_slots(const evaluation *eval)
{
    eval_columns *columns = eval->columns;
    const eval_gallery *g = &eval->gallery;
    const int64_t width = g->kernel->columns;
    for (int64_t panel = 0; panel < g->panels; panel++) {
        int64_t slots = 0;
        for (int64_t j = 0; j < width; j++) {
            const int64_t c = panel * width + j;
            slots = tdm_max_i64(slots, few_of(columns, g, c));
            if (c < g->n && many_has(&columns->positives, c)) columns->lanes[panel] |= (uint32_t)1 << j;
        }
        columns->slot[panel + 1] = columns->slot[panel] + slots;
    }
}

static void set_thresholds(const evaluation *eval)
{
    eval_columns *columns = eval->columns;
    const eval_gallery *g = &eval->gallery;
    const int64_t width = g->kernel->columns;
    for (int64_t panel = 0; panel < g->panels; panel++)
        for (int64_t s = columns->slot[panel]; s < columns->slot[panel + 1]; s++)
            for (int64_t j = 0; j < width; j++) {
                const int64_t c = panel * width + j, place = s - columns->slot[panel];
                columns->threshold[s * width + j] =
                    place < few_of(columns, g, c)
                        ? columns->positives.score[columns->positives.offset[c] + place]
                        : NAN;
            }
}

tdm_status columns_arrange(evaluation *eval)
{
    eval_columns *columns = eval->columns;
    const eval_gallery *g = &eval->gallery;
    TDM_TRY(positives_arrange(&columns->found, g->n, eval->threads, &columns->arranged));
    tdm_free(columns->found.data);
    columns->found = (eval_buffer){0};
    columns->positives = positives_in(&columns->arranged, g->n);
    TDM_TRY(many_open(columns->positives, g->n, eval->threads, &columns->many));
    TDM_TRY(TDM_ALLOC(g->panels + 1, &columns->slot));
    TDM_TRY(TDM_ALLOC(g->panels, &columns->lanes));
    find_slots(eval);
    TDM_TRY(TDM_ALLOC(columns->slot[g->panels] * g->kernel->columns, &columns->threshold));
    set_thresholds(eval);
    return TDM_OK;
}

int64_t columns_slots(const eval_columns *columns, int64_t panel, int64_t panels)
{
    return columns->slot[panel + panels] - columns->slot[panel];
}

bool columns_have(const evaluation *eval, int64_t panel, int64_t panels)
{
    const eval_gallery *g = &eval->gallery;
    const int64_t *offset = eval->columns->positives.offset;
    const int64_t end = tdm_min_i64(g->n, (panel + panels) * g->kernel->columns);
    return offset[end] > offset[panel * g->kernel->columns];
}

/* Some score of column c equals one of its few positives: an item of a lower row ranks before it. */
static void count_ties(const evaluation *eval, const eval_queries *queries, const score_chunk *chunk,
                       int64_t c, int32_t *counter)
{
    const positives *p = &eval->columns->positives;
    const int64_t width = eval->gallery.kernel->columns;
    const float *score = chunk->score + c - chunk->panel * width;
    for (int64_t i = p->offset[c]; i < p->offset[c + 1]; i++, counter += width)
        for (int64_t r = 0; r < chunk->rows; r++)
            *counter += score[r * chunk->n] == p->score[i] && queries->row[chunk->first + r] < p->row[i];
}

/* Column c, which has many positives: its scores as a row. */
static void look_up(const evaluation *eval, const eval_queries *queries, const score_chunk *chunk, int64_t c)
{
    const eval_kernel *kernel = eval->gallery.kernel;
    const float *score = chunk->score + c - chunk->panel * kernel->columns;
    float row[EVAL_MAX_COLUMNS];
    int32_t place[EVAL_MAX_COLUMNS];
    for (int64_t r = 0; r < kernel->columns; r++)
        row[r] = r < chunk->rows ? score[r * chunk->n] : -INFINITY; /* below every positive */
    many_add(&eval->columns->many, kernel, c, kernel->columns, row, queries->row + chunk->first, place, true);
}

void columns_count(const evaluation *eval, const eval_queries *queries, const score_chunk *chunk,
                   int32_t *counter)
{
    const eval_columns *columns = eval->columns;
    const eval_kernel *kernel = eval->gallery.kernel;
    for (int64_t q = 0; q < chunk->panels; q++) {
        const int64_t panel = chunk->panel + q, c = panel * kernel->columns;
        const int64_t slots = columns_slots(columns, panel, 1);
        uint32_t ties =
            kernel->count_columns(chunk->rows, chunk->n, chunk->score + q * kernel->columns, slots,
                                  columns->threshold + columns->slot[panel] * kernel->columns, counter);
        for (; ties != 0; ties &= ties - 1)
            count_ties(eval, queries, chunk, c + __builtin_ctz(ties), counter + __builtin_ctz(ties));
        for (uint32_t many = columns->lanes[panel]; many != 0; many &= many - 1)
            look_up(eval, queries, chunk, c + __builtin_ctz(many));
        counter += slots * kernel->columns;
    }
}

void columns_add(const evaluation *eval, int64_t panel, int64_t panels, int32_t *counter)
{
    const eval_columns *columns = eval->columns;
    const int64_t width = eval->gallery.kernel->columns;
    for (int64_t q = panel; q < panel + panels; q++)
        for (int64_t s = columns->slot[q]; s < columns->slot[q + 1]; s++, counter += width)
            for (int64_t j = 0; j < width; j++) {
                if (counter[j] == 0) continue;
                const int64_t at = columns->positives.offset[q * width + j] + s - columns->slot[q];
#pragma omp atomic
                columns->positives.beaten[at] += counter[j];
                counter[j] = 0;
            }
}

void columns_figures(const evaluation *eval, eval_figures *figures)
{
    const eval_gallery *g = &eval->gallery;
    const positives *p = &eval->columns->positives;
    many_finish(&eval->columns->many, eval->threads);
    for (int64_t i = 0; i < p->total; i++) p->beaten[i]++; /* items that beat it -> its rank */
    for (int64_t c = 0; c < g->n; c++) {
        const tdm_ranking ranking = {.m = p->offset[c + 1] - p->offset[c], .rank = p->beaten + p->offset[c]};
        figures_add(figures, g->row[c] - g->first, &ranking);
    }
}

void columns_free(eval_columns *columns)
{
    many_free(&columns->many);
    tdm_free(columns->found.data);
    tdm_free(columns->arranged.data);
    tdm_free(columns->slot);
    tdm_free(columns->threshold);
    tdm_free(columns->lanes);
    *columns = (eval_columns){0};
}
