/* The k best gallery rows of each query: every rank keeps the best of what it saw in the travelling block. */
#include "eval_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate {
    int64_t row; /* -1: free place */
    float score;
} candidate;

/* a ranks behind b: lower score, or equal and higher row; a free place ranks behind everything. */
static bool is_behind(const candidate *a, const candidate *b)
{
    if (a->row < 0 || b->row < 0) return a->row < 0 && b->row >= 0;
    return a->score < b->score || (a->score == b->score && a->row > b->row);
}

/* heap[k]: a binary heap with the last-ranked candidate at its root, which `item` replaces. */
static void replace_last(candidate *heap, int64_t k, candidate item)
{
    int64_t at = 0;
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
        const float threshold = heap[0].row < 0 ? -INFINITY : heap[0].score;
        const int64_t n = g->kernel->select(columns, tile + r * columns, threshold, place);
        for (int64_t j = 0; j < n; j++) {
            const candidate item = {.row = g->row[panel * columns + place[j]],
                                    .score = tile[r * columns + place[j]]};
            if (item.row >= 0 && is_behind(&heap[0], &item)) replace_last(heap, search->k, item);
        }
    }
}

static void search_block(const eval_gallery *gallery, const eval_ring *ring, int64_t k, int threads,
                         float *packed_query)
{
    const eval_queries queries = eval_ring_queries(ring);
    const int64_t groups = (queries.n + EVAL_TILE_ROWS - 1) / EVAL_TILE_ROWS;
    const top_search search = {.gallery = gallery,
                               .packed_query = packed_query,
                               .n = queries.n,
                               .k = k,
                               .best = (candidate *)(void *)ring->tail.data};
    eval_pack_queries(queries.n, ring->d, queries.feature, packed_query);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        const int64_t begin = tdm_part_begin(groups, threads, thread);
        const int64_t end = tdm_part_begin(groups, threads, thread + 1);
        for (int64_t panel = 0; panel < gallery->panels; panel++)
            for (int64_t g = begin; g < end; g++) search_tile(&search, g, panel);
    }
}

static tdm_status load_block(eval_ring *ring, const tdm_eval_side *query, int64_t first, int64_t begin,
                             int64_t n, int64_t k)
{
    int64_t *order = NULL;
    TDM_TRY(TDM_ALLOC(n, &order));
    for (int64_t i = 0; i < n; i++) order[i] = begin + i;
    tdm_status status = eval_ring_load(ring, query, first, order, n);
    tdm_free(order);
    if (status == TDM_OK) status = eval_buffer_resize(&ring->tail, n * k * (int64_t)sizeof(candidate));
    TDM_TRY(status);
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

static tdm_status search_all(eval_ring *ring, const eval_layout *layout, const eval_gallery *gallery,
                             const tdm_eval_side *query, int64_t k, int64_t block, int threads,
                             float *packed_query, int64_t *row, float *score)
{
    for (int64_t round = 0; round < layout->rounds; round++) {
        const int64_t begin = tdm_min_i64(round * block, query->n);
        const int64_t n = tdm_min_i64(begin + block, query->n) - begin;
        tdm_status status = load_block(ring, query, layout->query_first, begin, n, k);
        for (int hop = 0; hop < tdm_comm_size(ring->comm); hop++) {
            if (status == TDM_OK) search_block(gallery, ring, k, threads, packed_query);
            TDM_TRY(eval_ring_shift(ring, status));
        }
        store_block(ring, begin, k, row, score);
    }
    return TDM_OK;
}

tdm_status tdm_eval_top_k(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                          const tdm_eval_side *gallery, int64_t k, int64_t query_block, int64_t *row,
                          float *score)
{
    TDM_REQUIRE(k >= 1, TDM_E_SHAPE, "the %lld best of a gallery are asked for", (long long)k);
    /* Who is whose positive plays no part: leave ids and labels at home. */
    tdm_eval_side bare_query = *query, bare_gallery = *gallery;
    bare_query.id = bare_gallery.id = NULL;
    bare_query.labels = bare_gallery.labels = NULL;
    eval_layout layout = {0};
    eval_gallery packed = {0};
    eval_ring ring = {.comm = comm, .d = query->d};
    float *packed_query = NULL;
    const int threads = eval_threads(ops);
    tdm_status status = eval_layout_create(comm, &bare_query, &bare_gallery, query_block, &layout);
    if (status == TDM_OK) {
        int64_t block = 0; /* the longest block that any rank sends */
        for (int r = 0; r < tdm_comm_size(comm); r++) block = tdm_max_i64(block, layout.query_rows[r]);
        block = tdm_min_i64(block, query_block);
        status = eval_gallery_pack(&bare_gallery, layout.gallery_first, false, threads, &packed);
        if (status == TDM_OK) status = TDM_ALLOC((block + EVAL_TILE_ROWS) * query->d, &packed_query);
        status = tdm_comm_agree(comm, status);
        if (status == TDM_OK)
            status = search_all(&ring, &layout, &packed, &bare_query, k, query_block, threads, packed_query,
                                row, score);
    }
    tdm_free(packed_query);
    eval_gallery_free(&packed);
    eval_ring_free(&ring);
    eval_layout_free(&layout);
    return status;
}
