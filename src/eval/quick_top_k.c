/* The k best rows of a quick gallery. Each query keeps two things: the k highest lower ends that it saw, of which the
 * least is its floor, and the items that may reach it. An item whose upper end is below the floor ranks behind k others.
 * What is still there when all of the gallery has passed is few, and is scored. */
#include "top_k_impl.h"

#include <math.h>

enum { CHUNK_ITEMS = 512, BATCH = 32 };

typedef struct waiting {
    int64_t column;
    float high;
} waiting;

typedef struct quick_search { /* one block */
    const eval_gallery *gallery;
    const eval_queries *queries;
    int64_t k, room, chunk; /* places in a list of those that wait; panels of a chunk */
    candidate *best;        /* [n][k] heaps */
    float *floor;           /* [n][k] heaps with the least at the root */
    waiting *list;          /* [n][room] */
    int64_t *count;         /* [n] */
    float *plain;           /* [threads][floats] */
    int64_t floats;
    bool *abandoned;
} quick_search;

static void raise_floor(float *heap, int64_t k, float value)
{
    int64_t at = 0;
    for (int64_t child = 1; child < k; child = 2 * at + 1) {
        if (child + 1 < k && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= value) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = value;
}

/* What an item of query i must reach: k others do. */
static float least_of(const quick_search *s, int64_t i)
{
    return fmaxf(s->floor[i * s->k], top_k_threshold(s->best + i * s->k));
}

/* An item with this score belongs to the best or not; one that is no number never does. */
static void offer_score(const quick_search *s, int64_t i, int64_t column, float score)
{
    candidate *heap = s->best + i * s->k;
    const int64_t row = s->gallery->row[column];
    if (row >= 0 && score >= top_k_threshold(heap)) top_k_offer(heap, s->k, (candidate){row, score});
}

static void drop_hopeless(const quick_search *s, int64_t i)
{
    const float least = least_of(s, i);
    waiting *list = s->list + i * s->room;
    int64_t kept = 0;
    for (int64_t w = 0; w < s->count[i]; w++)
        if (list[w].high >= least) list[kept++] = list[w];
    s->count[i] = kept;
}

/* Scores all that wait. */
static void score_waiting(const quick_search *s, int64_t i, eval_quick_work *work)
{
    const eval_gallery *g = s->gallery;
    waiting *list = s->list + i * s->room;
    const float *x[BATCH], *y[BATCH];
    float score[BATCH];
    for (int64_t begin = 0; begin < s->count[i]; begin += BATCH) {
        const int64_t n = tdm_min_i64(BATCH, s->count[i] - begin);
        for (int64_t w = 0; w < n; w++) {
            x[w] = s->queries->feature + i * g->d;
            y[w] = g->feature + (g->row[list[begin + w].column] - g->first) * g->d;
        }
        eval_quick_chains(g->quick, n, x, y, score, work);
        for (int64_t w = 0; w < n; w++) offer_score(s, i, list[begin + w].column, score[w]);
    }
    s->count[i] = 0;
}

static void let_wait(const quick_search *s, int64_t i, int64_t column, float low, float high,
                     eval_quick_work *work)
{
    float *floor = s->floor + i * s->k;
    if (s->gallery->row[column] < 0) return;
    if (s->count[i] == s->room) {
        drop_hopeless(s, i);
        if (s->count[i] > s->room / 2) score_waiting(s, i, work);
    }
    if (low > floor[0]) raise_floor(floor, s->k, low);
    s->list[i * s->room + s->count[i]++] = (waiting){column, high};
}

/* A group of queries against a chunk; false: f32 would have been faster. */
static bool search_chunk(const quick_search *s, int64_t group, int64_t panel, int64_t panels,
                         eval_quick_work *work)
{
    const eval_gallery *g = s->gallery;
    const int64_t columns = g->kernel->columns, first = group * EVAL_TILE_ROWS;
    const int64_t rows = tdm_min_i64(EVAL_TILE_ROWS, s->queries->n - first);
    float low[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS], high[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS];
    int32_t place[EVAL_MAX_COLUMNS];
    for (int64_t p = panel; p < panel + panels; p++) {
        eval_quick_tile(g->quick, group, p, columns, low, high);
        for (int64_t r = 0; r < rows; r++) {
            const float *l = low + r * columns, *h = high + r * columns;
            const int64_t n = g->kernel->select(columns, h, least_of(s, first + r), place);
            for (int64_t j = 0; j < n; j++)
                let_wait(s, first + r, p * columns + place[j], l[place[j]], h[place[j]], work);
        }
    }
    work->pairs += rows * panels * columns;
    return eval_quick_pays(g->quick, work);
}

static void search_plainly(const quick_search *s, int64_t group, int64_t panel, int64_t panels,
                           eval_plain *plain)
{
    const eval_gallery *g = s->gallery;
    const int64_t n = panels * g->kernel->columns, first = group * EVAL_TILE_ROWS;
    const int64_t rows = tdm_min_i64(EVAL_TILE_ROWS, s->queries->n - first);
    float score[EVAL_TILE_ROWS * CHUNK_ITEMS];
    int32_t place[CHUNK_ITEMS];
    eval_plain_scores(g, rows, s->queries->feature + first * g->d, panel, panels, plain, score);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t selected = g->kernel->select(n, score + r * n, least_of(s, first + r), place);
        for (int64_t j = 0; j < selected; j++)
            offer_score(s, first + r, panel * g->kernel->columns + place[j], score[r * n + place[j]]);
    }
}

static void search_groups(const quick_search *s, int64_t begin, int64_t end, float *room)
{
    const eval_gallery *g = s->gallery;
    eval_quick_work work = {0};
    eval_plain plain = {room, -1};
    for (int64_t panel = 0; panel < g->panels; panel += s->chunk) {
        const int64_t panels = tdm_min_i64(s->chunk, g->panels - panel);
        for (int64_t group = begin; group < end; group++) {
            bool abandoned;
#pragma omp atomic read
            abandoned = *s->abandoned;
            if (abandoned) {
                search_plainly(s, group, panel, panels, &plain);
            } else if (!search_chunk(s, group, panel, panels, &work)) {
#pragma omp atomic write
                *s->abandoned = true;
            }
        }
    }
    for (int64_t i = begin * EVAL_TILE_ROWS; i < tdm_min_i64(end * EVAL_TILE_ROWS, s->queries->n); i++) {
        drop_hopeless(s, i);
        score_waiting(s, i, &work);
    }
}

static tdm_status search(quick_search *s, int threads)
{
    const int64_t n = s->queries->n, groups = eval_tile_groups(n);
    s->floats = eval_plain_floats(s->gallery, s->chunk);
    TDM_TRY(TDM_ALLOC(n * s->k, &s->floor));
    TDM_TRY(TDM_ALLOC(n * s->room, &s->list));
    TDM_TRY(TDM_ALLOC(n, &s->count));
    TDM_TRY(TDM_ALLOC(threads * s->floats, &s->plain));
    TDM_TRY(eval_quick_load(s->gallery->quick, n, s->queries->feature, threads));
    for (int64_t i = 0; i < n * s->k; i++) /* a heap of candidates is one of their scores */
        s->floor[i] = s->best[i].row < 0 ? -INFINITY : s->best[i].score;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++)
        search_groups(s, tdm_part_begin(groups, threads, thread), tdm_part_begin(groups, threads, thread + 1),
                      s->plain + thread * s->floats);
    return TDM_OK;
}

tdm_status quick_top_k(const eval_gallery *gallery, const eval_queries *queries, int64_t k, int threads,
                       candidate *best, bool *pays)
{
    bool abandoned = false;
    const int64_t columns = gallery->kernel->columns, bytes = 256 * 1024;
    quick_search s = {.gallery = gallery,
                      .queries = queries,
                      .k = k,
                      .room = 2 * k + 2 * BATCH,
                      .chunk = tdm_max_i64(1, bytes / (gallery->quick->words * 4 * columns)),
                      .best = best,
                      .abandoned = &abandoned};
    s.chunk = tdm_min_i64(s.chunk, CHUNK_ITEMS / columns);
    const tdm_status status = search(&s, threads);
    tdm_free(s.floor);
    tdm_free(s.list);
    tdm_free(s.count);
    tdm_free(s.plain);
    *pays = !abandoned;
    return status;
}
