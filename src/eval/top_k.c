/* The k best gallery rows of each query: every rank keeps the best of what it saw in the travelling block. */
#include "metrics_impl.h"
#include "top_k_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tdm_eval_gallery {
    eval_gallery packed; /* this rank's part */
};

/* a ranks behind b: lower score, or equal and higher row; a free place ranks behind everything. */
static bool is_behind(const candidate *a, const candidate *b)
{
    if (a->row < 0 || b->row < 0) return a->row < 0 && b->row >= 0;
    return a->score < b->score || (a->score == b->score && a->row > b->row);
}

float top_k_threshold(const candidate *heap)
{
    return heap[0].row < 0 ? -INFINITY : heap[0].score;
}

void top_k_offer(candidate *heap, int64_t k, candidate item)
{
    int64_t at = 0;
    if (!is_behind(&heap[0], &item)) return;
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= k) break;
        if (child + 1 < k && is_behind(&heap[child + 1], &heap[child])) child++;
        if (!is_behind(&heap[child], &item)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = item;
}

static int compare_candidate(const void *a, const void *b)
{
    return is_behind(a, b) ? 1 : is_behind(b, a) ? -1 : 0;
}

typedef struct top_search {
    const eval_gallery *gallery;
    const int64_t *row; /* [panels·columns] of the gallery, -1 also for what is passed over */
    const float *packed_query;
    int64_t n, k;
    candidate *best; /* [n][k] heaps: the ring's tail */
} top_search;

static void search_tile(const top_search *search, int64_t group, int64_t panel)
{
    const eval_gallery *g = search->gallery;
    const int64_t columns = g->kernel->columns, first = group * EVAL_TILE_ROWS;
    const int64_t rows = tdm_min_i64(EVAL_TILE_ROWS, search->n - first);
    float tile[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS];
    int32_t place[EVAL_MAX_COLUMNS];
    eval_gallery_tile(g, search->packed_query + first * g->d, panel, tile);
    for (int64_t r = 0; r < rows; r++) {
        candidate *heap = search->best + (first + r) * search->k;
        const int64_t n = g->kernel->select(columns, tile + r * columns, top_k_threshold(heap), place);
        for (int64_t j = 0; j < n; j++) {
            const candidate item = {.row = search->row[panel * columns + place[j]],
                                    .score = tile[r * columns + place[j]]};
            if (item.row >= 0) top_k_offer(heap, search->k, item);
        }
    }
}

/* Is there anything to find in it? */
static bool has_rows(const top_search *search, int64_t panel)
{
    const int64_t columns = search->gallery->kernel->columns;
    for (int64_t c = panel * columns; c < (panel + 1) * columns; c++)
        if (search->row[c] >= 0) return true;
    return false;
}

/* Each thread takes some of the groups of queries, which stay in its cache. */
static void search_many(const top_search *search, int64_t groups, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        const int64_t begin = tdm_part_begin(groups, threads, thread);
        const int64_t end = tdm_part_begin(groups, threads, thread + 1);
        for (int64_t panel = 0; begin < end && panel < search->gallery->panels; panel++) {
            if (!has_rows(search, panel)) continue;
            for (int64_t g = begin; g < end; g++) search_tile(search, g, panel);
        }
    }
}

/* Each thread takes a part of the gallery for all queries, into heaps[threads][n][k] of its own. The order of candidates
 * is total, so that the best of all heaps do not depend on how the gallery was cut. */
static void search_few(const top_search *search, int64_t groups, int threads, candidate *heaps)
{
    const int64_t each = search->n * search->k;
    for (int64_t i = 0; i < threads * each; i++) heaps[i] = (candidate){.row = -1};
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        top_search own = *search;
        own.best = heaps + thread * each;
        const int64_t end = tdm_part_begin(search->gallery->panels, threads, thread + 1);
        for (int64_t panel = tdm_part_begin(search->gallery->panels, threads, thread); panel < end; panel++) {
            if (!has_rows(&own, panel)) continue;
            for (int64_t g = 0; g < groups; g++) search_tile(&own, g, panel);
        }
    }
    for (int64_t i = 0; i < threads * each; i++)
        if (heaps[i].row >= 0)
            top_k_offer(search->best + i % each / search->k * search->k, search->k, heaps[i]);
}

static tdm_status search_f32(const eval_gallery *gallery, const eval_queries *queries, const int64_t *row,
                             int64_t k, int threads, float *packed_query, candidate *best)
{
    enum { MOST_HEAPS = 1 << 22 }; /* candidates of all threads */
    const int64_t groups = eval_tile_groups(queries->n);
    const top_search search = {
        .gallery = gallery, .row = row, .packed_query = packed_query, .n = queries->n, .k = k, .best = best};
    candidate *heaps = NULL;
    eval_pack_queries(queries->n, gallery->d, queries->feature, packed_query);
    if (groups >= threads || k > MOST_HEAPS / threads / tdm_max_i64(1, queries->n)) {
        search_many(&search, groups, threads);
        return TDM_OK;
    }
    TDM_TRY(TDM_ALLOC(threads * queries->n * k, &heaps));
    search_few(&search, groups, threads, heaps);
    tdm_free(heaps);
    return TDM_OK;
}

static tdm_status load_block(eval_ring *ring, const tdm_eval_side *query, int64_t first, int64_t begin,
                             int64_t n, int64_t k)
{
    TDM_TRY(eval_ring_load_rows(ring, query, first, begin, n));
    TDM_TRY(eval_buffer_resize(&ring->tail, n * k * (int64_t)sizeof(candidate)));
    candidate *best = (candidate *)(void *)ring->tail.data;
    for (int64_t i = 0; i < n * k; i++) best[i] = (candidate){.row = -1};
    return TDM_OK;
}

static void store_block(const eval_ring *ring, int64_t begin, int64_t k, int64_t *row, float *score)
{
    const int64_t n = eval_ring_queries(ring).n;
    candidate *best = (candidate *)(void *)ring->tail.data;
    for (int64_t i = 0; i < n; i++) {
        qsort(best + i * k, (size_t)k, sizeof *best, compare_candidate);
        for (int64_t j = 0; j < k; j++) {
            row[(begin + i) * k + j] = best[i * k + j].row;
            score[(begin + i) * k + j] = best[i * k + j].score;
        }
    }
}

typedef struct top_job {
    const eval_gallery *gallery;
    eval_gallery *quick;        /* the same, of one search only; NULL: it is kept, as f32 */
    const int64_t *gallery_row; /* as top_search.row */
    const tdm_eval_side *query;
    int64_t k, block;
    int threads;
    float *packed_query;
} top_job;

static tdm_status search_block(const top_job *job, const eval_ring *ring)
{
    const eval_queries queries = eval_ring_queries(ring);
    const tdm_eval_side sample = {.n = queries.n, .d = ring->d, .feature = queries.feature};
    candidate *best = (candidate *)(void *)ring->tail.data;
    bool pays = true;
    if (job->gallery->quick == NULL)
        return search_f32(job->gallery, &queries, job->gallery_row, job->k, job->threads, job->packed_query,
                          best);
    TDM_TRY(quick_top_k(job->gallery, &queries, job->k, job->threads, best, &pays));
    return pays ? TDM_OK : eval_quick_fall(job->quick, &sample, job->threads);
}

static tdm_status search_all(const top_job *job, eval_ring *ring, const eval_layout *layout, int64_t *row,
                             float *score)
{
    for (int64_t round = 0; round < layout->rounds; round++) {
        const int64_t begin = tdm_min_i64(round * job->block, job->query->n);
        const int64_t n = tdm_min_i64(begin + job->block, job->query->n) - begin;
        tdm_status status = load_block(ring, job->query, layout->query_first, begin, n, job->k);
        for (int hop = 0; hop < tdm_comm_size(ring->comm); hop++) {
            if (status == TDM_OK) status = search_block(job, ring);
            TDM_TRY(eval_ring_shift(ring, status));
        }
        store_block(ring, begin, job->k, row, score);
    }
    return TDM_OK;
}

/* ---- A gallery that is kept ---- */

/* Who is whose positive plays no part: ids and labels stay at home. */
static tdm_eval_side bare(const tdm_eval_side *side)
{
    return (tdm_eval_side){.n = side->n, .d = side->d, .feature = side->feature};
}

/* plan NULL: the gallery is kept. */
static tdm_status create_gallery(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *side,
                                 const eval_quick_plan *plan, tdm_eval_gallery **gallery)
{
    const tdm_eval_side rows = bare(side), no_query = {.d = side->d};
    const int threads = eval_threads(ops);
    eval_layout layout = {0};
    *gallery = NULL;
    tdm_status status = eval_layout_create(comm, &no_query, &rows, 1, &layout);
    if (status == TDM_OK) {
        status = TDM_ALLOC(1, gallery);
        if (status == TDM_OK)
            status = eval_gallery_pack_quick(&rows, layout.gallery_first, false, threads, plan,
                                             &(*gallery)->packed);
        status = tdm_comm_agree(comm, status);
    }
    eval_layout_free(&layout);
    if (status != TDM_OK) tdm_eval_gallery_destroy(gallery);
    return status;
}

tdm_status tdm_eval_gallery_create(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *side,
                                   tdm_eval_gallery **gallery)
{
    return create_gallery(comm, ops, side, NULL, gallery);
}

void tdm_eval_gallery_destroy(tdm_eval_gallery **gallery)
{
    if (*gallery != NULL) eval_gallery_free(&(*gallery)->packed);
    tdm_free(*gallery);
    *gallery = NULL;
}

/* The gallery's rows without those that do not pass; tdm_free. */
static tdm_status passing_rows(const eval_gallery *gallery, const uint8_t *passes, int64_t **row)
{
    const int64_t columns = gallery->panels * gallery->kernel->columns;
    TDM_TRY(TDM_ALLOC(columns, row));
    for (int64_t c = 0; c < columns; c++)
        (*row)[c] = gallery->row[c] >= 0 && passes[gallery->row[c] - gallery->first] ? gallery->row[c] : -1;
    return TDM_OK;
}

/* Room that this rank needs, before the first message. */
static tdm_status prepare(const tdm_comm *comm, const eval_layout *layout, const uint8_t *passes,
                          top_job *job, int64_t **row)
{
    int64_t longest = 0; /* block that any rank sends */
    for (int r = 0; r < tdm_comm_size(comm); r++) longest = tdm_max_i64(longest, layout->query_rows[r]);
    longest = tdm_min_i64(longest, job->block);
    if (passes != NULL) TDM_TRY(passing_rows(job->gallery, passes, row));
    job->gallery_row = passes != NULL ? *row : job->gallery->row;
    return TDM_ALLOC((longest + EVAL_TILE_ROWS) * job->query->d, &job->packed_query);
}

/* quick: the gallery, if it is of this search only. Collective. */
static tdm_status search_gallery(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                 const eval_gallery *gallery, eval_gallery *quick, const uint8_t *passes,
                                 int64_t k, int64_t query_block, int64_t *row, float *score)
{
    TDM_REQUIRE(k >= 1, TDM_E_SHAPE, "the %lld best of a gallery are asked for", (long long)k);
    const tdm_eval_side queries = bare(query), checked = {.d = gallery->d};
    eval_layout layout = {0};
    eval_ring ring = {.comm = comm, .d = query->d};
    top_job job = {.gallery = gallery,
                   .quick = quick,
                   .query = &queries,
                   .k = k,
                   .block = query_block,
                   .threads = eval_threads(ops)};
    int64_t *own_rows = NULL;
    tdm_status status = eval_layout_create(comm, &queries, &checked, query_block, &layout);
    if (status == TDM_OK) {
        status = tdm_comm_agree(comm, prepare(comm, &layout, passes, &job, &own_rows));
        if (status == TDM_OK) status = search_all(&job, &ring, &layout, row, score);
    }
    tdm_free(own_rows);
    tdm_free(job.packed_query);
    eval_ring_free(&ring);
    eval_layout_free(&layout);
    return status;
}

tdm_status tdm_eval_gallery_top_k(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                  const tdm_eval_gallery *gallery, const uint8_t *passes, int64_t k,
                                  int64_t query_block, int64_t *row, float *score)
{
    return search_gallery(comm, ops, query, &gallery->packed, NULL, passes, k, query_block, row, score);
}

tdm_status tdm_eval_top_k(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                          const tdm_eval_side *gallery, int64_t k, int64_t query_block, int64_t *row,
                          float *score)
{
    tdm_eval_gallery *packed = NULL;
    int64_t queries = query->n;
    if (gallery->source) return eval_top_k_in_pieces(comm, ops, query, gallery, k, query_block, row, score);
    tdm_comm_sum_i64(comm, &queries, 1);
    /* Scoring the k best takes as long as 20·k pairs as f32: in a short list that is all there is to gain. */
    const eval_quick_plan plan = {
        .query = query, .queries = gallery->n < 128 * k ? 0 : queries, .most = EVAL_PRECISIONS - 1};
    TDM_TRY(create_gallery(comm, ops, gallery, &plan, &packed));
    const tdm_status status =
        search_gallery(comm, ops, query, &packed->packed, &packed->packed, NULL, k, query_block, row, score);
    tdm_eval_gallery_destroy(&packed);
    return status;
}
