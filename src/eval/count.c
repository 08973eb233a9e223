/* The second round: for each positive the gallery items that beat it. With columns also for each positive of a gallery
 * row the queries of the block that beat it: a score has the same bits both ways, so that one product serves both. */
#include "metrics_impl.h"

#include <math.h>
#include <string.h>

enum { CHUNK_BYTES = 512 * 1024, CHUNK_ITEMS = 512 };

typedef struct counting { /* one visit of a block */
    const evaluation *eval;
    eval_queries queries;
    positives positives;
    many_positives many;
    int64_t chunk;    /* panels that are scored before anything is counted */
    int32_t *counter; /* [threads][counters] of the columns */
    int64_t counters; /* of one thread */
    float *room;      /* [threads][floats] with a quick gallery */
    int64_t floats;   /* of one thread */
    bool *abandoned;  /* by any thread: the quick gallery does not pay */
} counting;

/* The product: fills chunk->score. Everything behind it looks at nothing but the chunk. */
static void score_group(const evaluation *eval, const score_chunk *chunk)
{
    const eval_gallery *g = &eval->gallery;
    const int64_t columns = g->kernel->columns;
    float tile[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS];
    for (int64_t q = 0; q < chunk->panels; q++) {
        eval_gallery_tile(g, eval->packed_query + chunk->first * g->d, chunk->panel + q, tile);
        for (int64_t r = 0; r < EVAL_TILE_ROWS; r++)
            memcpy(chunk->score + r * chunk->n + q * columns, tile + r * columns,
                   (size_t)columns * sizeof *tile);
    }
}

/* Row i of the gallery is not an answer to query i. */
static void leave_out_self(const counting *c, const score_chunk *chunk, int64_t i, float *score)
{
    const eval_gallery *g = &c->eval->gallery;
    const int64_t column = chunk->panel * g->kernel->columns, local = c->queries.row[i] - g->first;
    if (!c->eval->exclude_self || local < 0 || local >= g->n) return;
    const int64_t own = eval_gallery_column(g, local);
    if (own >= column && own < column + chunk->n) score[own - column] = -INFINITY;
}

/* The chunk's columns as items of its rows. */
static void count_rows(const counting *c, const score_chunk *chunk, int32_t *place)
{
    const eval_gallery *g = &c->eval->gallery;
    const positives *p = &c->positives;
    const int64_t *item_row = g->row + chunk->panel * g->kernel->columns;
    for (int64_t i = chunk->first; i < chunk->first + chunk->rows; i++) {
        const int64_t begin = p->offset[i], m = p->offset[i + 1] - begin;
        float *score = chunk->score + (i - chunk->first) * chunk->n;
        if (m == 0) continue;
        leave_out_self(c, chunk, i, score);
        if (many_has(p, i))
            many_add(&c->many, g->kernel, i, chunk->n, score, item_row, place, false);
        else
            g->kernel->count_beating(chunk->n, score, item_row, m, p->score + begin, p->row + begin,
                                     p->beaten + begin);
    }
}

/* With a quick gallery, or when one thread has found that it does not pay: for the rest of the block as f32. */
static void score_quickly(const counting *c, const score_chunk *chunk, quick_scorer *scorer)
{
    const eval_gallery *g = &c->eval->gallery;
    bool abandoned;
#pragma omp atomic read
    abandoned = *c->abandoned;
    if (abandoned) {
        eval_plain_scores(g, chunk->rows, c->queries.feature + chunk->first * g->d, chunk->panel,
                          chunk->panels, &scorer->plain, chunk->score);
    } else if (!quick_score(c->eval, &c->queries, &c->positives, &c->many, chunk, scorer)) {
#pragma omp atomic write
        *c->abandoned = true;
    }
}

static void visit_chunk(const counting *c, const score_chunk *chunk, quick_scorer *scorer, int32_t *counter)
{
    if (c->eval->gallery.quick)
        score_quickly(c, chunk, scorer);
    else
        score_group(c->eval, chunk);
    if (c->eval->columns) columns_count(c->eval, &c->queries, chunk, counter);
    count_rows(c, chunk, scorer->place);
}

/* All panels against a thread's part of the groups: a chunk of panels stays in the cache while the groups pass. */
static void count_groups(const counting *c, int thread, int64_t groups)
{
    const eval_gallery *g = &c->eval->gallery;
    const positives *p = &c->positives;
    const int64_t begin = tdm_part_begin(groups, c->eval->threads, thread);
    const int64_t end = tdm_part_begin(groups, c->eval->threads, thread + 1);
    int32_t *counter = c->counter + thread * c->counters;
    float score[EVAL_TILE_ROWS * CHUNK_ITEMS], high[EVAL_TILE_ROWS * CHUNK_ITEMS];
    int32_t place[CHUNK_ITEMS];
    quick_scorer scorer = {.high = high, .place = place, .plain = {c->room + thread * c->floats, -1}};
    score_chunk chunk = {.score = score};
    for (chunk.panel = 0; chunk.panel < g->panels; chunk.panel += chunk.panels) {
        chunk.panels = tdm_min_i64(c->chunk, g->panels - chunk.panel);
        chunk.n = chunk.panels * g->kernel->columns;
        const bool any_column = c->eval->columns && columns_have(c->eval, chunk.panel, chunk.panels);
        for (int64_t group = begin; group < end; group++) {
            chunk.first = group * EVAL_TILE_ROWS;
            chunk.rows = tdm_min_i64(EVAL_TILE_ROWS, c->queries.n - chunk.first);
            const bool any_row = p->offset[chunk.first + chunk.rows] > p->offset[chunk.first];
            if (any_row || any_column) visit_chunk(c, &chunk, &scorer, counter);
        }
        if (any_column) columns_add(c->eval, chunk.panel, chunk.panels, counter);
    }
}

/* Room for the counters of one chunk's columns, for each thread. */
static tdm_status make_counters(counting *c)
{
    const eval_gallery *g = &c->eval->gallery;
    if (c->eval->columns == NULL) return TDM_OK;
    for (int64_t panel = 0; panel < g->panels; panel += c->chunk) {
        const int64_t panels = tdm_min_i64(c->chunk, g->panels - panel);
        c->counters =
            tdm_max_i64(c->counters, columns_slots(c->eval->columns, panel, panels) * g->kernel->columns);
    }
    return TDM_ALLOC(c->counters * c->eval->threads, &c->counter);
}

/* Queries as the gallery's kernel takes them; room for falling back. */
static tdm_status pack_block(evaluation *eval, counting *c)
{
    eval_gallery *g = &eval->gallery;
    if (g->quick == NULL) {
        eval_pack_queries(c->queries.n, g->d, c->queries.feature, eval->packed_query);
        return TDM_OK;
    }
    c->floats = eval_plain_floats(g, c->chunk);
    TDM_TRY(TDM_ALLOC(c->floats * eval->threads, &c->room));
    return eval_quick_load(g->quick, c->queries.n, c->queries.feature, eval->threads);
}

tdm_status metrics_fall(evaluation *eval, const tdm_eval_side *sample)
{
    eval_gallery *g = &eval->gallery;
    TDM_TRY(eval_quick_fall(g, sample, eval->threads));
    eval->plan.most = g->quick ? g->quick->precision : EVAL_F32;
    return TDM_OK;
}

tdm_status metrics_count(evaluation *eval)
{
    bool abandoned = false;
    counting c = {.eval = eval, .queries = eval_ring_queries(&eval->ring), .abandoned = &abandoned};
    const int64_t n = c.queries.n, groups = eval_tile_groups(n);
    const int64_t columns = eval->gallery.kernel->columns;
    const tdm_eval_side sample = {.n = n, .d = eval->ring.d, .feature = c.queries.feature};
    c.positives = positives_in(&eval->ring.tail, n);
    c.chunk = CHUNK_BYTES / (int64_t)sizeof(float) / (columns * eval->gallery.d);
    c.chunk = tdm_max_i64(1, tdm_min_i64(c.chunk, CHUNK_ITEMS / columns));
    tdm_status status = many_open(c.positives, n, eval->threads, &c.many);
    if (status == TDM_OK) status = make_counters(&c);
    if (status == TDM_OK) status = pack_block(eval, &c);
    if (status == TDM_OK) {
#pragma omp parallel for num_threads(eval->threads) schedule(static, 1)
        for (int thread = 0; thread < eval->threads; thread++) count_groups(&c, thread, groups);
        many_finish(&c.many, eval->threads);
    }
    many_free(&c.many);
    tdm_free(c.counter);
    tdm_free(c.room);
    if (status == TDM_OK && abandoned) status = metrics_fall(eval, &sample);
    return status;
}
