/* Scores of chosen pairs: the queries go round with the list of the rows that each wants, and every rank fills in those
 * that it holds. Wanted rows are put side by side as columns of a panel, so that the score kernel makes the scores. */
#include "rerank_impl.h"

typedef struct pair_tail { /* the ring's tail, as pointers into it */
    int64_t *offset;       /* [n + 1] */
    int64_t *row;          /* [total] */
    float *score;          /* [total] */
} pair_tail;

static pair_tail tail_of(const eval_ring *ring, int64_t n)
{
    pair_tail tail = {.offset = (int64_t *)(void *)ring->tail.data};
    tail.row = tail.offset + n + 1;
    tail.score = (float *)(tail.row + tail.offset[n]);
    return tail;
}

typedef struct pair_filler {
    const eval_kernel *kernel;
    const tdm_eval_side *gallery;
    int64_t gallery_first, d;
    int threads;
    float *room; /* [threads][d·(EVAL_TILE_ROWS + columns)] */
} pair_filler;

/* The wanted rows [begin, end) of one query, all of them here. */
static void fill_query(const pair_filler *f, const float *query, const pair_tail *tail, int64_t begin,
                       int64_t end, float *room)
{
    const int64_t columns = f->kernel->columns, d = f->d;
    float *group = room, *panel = room + d * EVAL_TILE_ROWS;
    float tile[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS];
    eval_pack_queries(1, d, query, group);
    for (int64_t p = begin; p < end; p += columns) {
        const int64_t n = tdm_min_i64(columns, end - p);
        for (int64_t j = 0; j < columns; j++) {
            /* Beyond the last wanted row it stands again. */
            const int64_t row = tail->row[p + tdm_min_i64(j, n - 1)] - f->gallery_first;
            for (int64_t k = 0; k < d; k++) panel[k * columns + j] = f->gallery->feature[row * d + k];
        }
        f->kernel->tile(d, group, panel, tile);
        for (int64_t j = 0; j < n; j++) tail->score[p + j] = tile[j];
    }
}

static void fill_block(const pair_filler *f, const eval_ring *ring)
{
    const eval_queries queries = eval_ring_queries(ring);
    const pair_tail tail = tail_of(ring, queries.n);
#pragma omp parallel for num_threads(f->threads) schedule(static, 1)
    for (int thread = 0; thread < f->threads; thread++) {
        float *room = f->room + thread * f->d * (EVAL_TILE_ROWS + f->kernel->columns);
        const int64_t last = tdm_part_begin(queries.n, f->threads, thread + 1);
        for (int64_t i = tdm_part_begin(queries.n, f->threads, thread); i < last; i++) {
            const int64_t first = tail.offset[i], count = tail.offset[i + 1] - first;
            const int64_t begin = tdm_lower_bound(tail.row + first, count, f->gallery_first);
            const int64_t end = tdm_lower_bound(tail.row + first, count, f->gallery_first + f->gallery->n);
            fill_query(f, queries.feature + i * f->d, &tail, first + begin, first + end, room);
        }
    }
}

static tdm_status load_block(eval_ring *ring, const tdm_eval_side *query, int64_t query_first, int64_t begin,
                             int64_t n, const int64_t *offset, const int64_t *row)
{
    const int64_t total = n > 0 ? offset[begin + n] - offset[begin] : 0;
    TDM_TRY(eval_ring_load_rows(ring, query, query_first, begin, n));
    TDM_TRY(eval_buffer_resize(&ring->tail, 8 * (n + 1 + total) + 4 * total));
    int64_t *at = (int64_t *)(void *)ring->tail.data;
    at[0] = 0;
    for (int64_t i = 1; i <= n; i++) at[i] = offset[begin + i] - offset[begin];
    memcpy(at + n + 1, row + (n > 0 ? offset[begin] : 0), (size_t)total * sizeof *row);
    return TDM_OK;
}

static tdm_status fill_all(eval_ring *ring, const eval_layout *layout, const pair_filler *f,
                           const tdm_eval_side *query, int64_t block, const int64_t *offset,
                           const int64_t *row, float *score)
{
    for (int64_t round = 0; round < layout->rounds; round++) {
        const int64_t begin = tdm_min_i64(round * block, query->n);
        const int64_t n = tdm_min_i64(begin + block, query->n) - begin;
        tdm_status status = load_block(ring, query, layout->query_first, begin, n, offset, row);
        for (int hop = 0; hop < tdm_comm_size(ring->comm); hop++) {
            if (status == TDM_OK) fill_block(f, ring);
            TDM_TRY(eval_ring_shift(ring, status));
        }
        const pair_tail tail = tail_of(ring, n);
        if (n > 0) memcpy(score + offset[begin], tail.score, (size_t)tail.offset[n] * sizeof *score);
    }
    return TDM_OK;
}

tdm_status eval_pair_scores(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                            const tdm_eval_side *gallery, const int64_t *offset, const int64_t *row,
                            float *score)
{
    tdm_eval_side bare_query = *query, bare_gallery = *gallery; /* who matches plays no part */
    bare_query.id = bare_gallery.id = NULL;
    bare_query.labels = bare_gallery.labels = NULL;
    const int64_t block = tdm_eval_block_rows(ops);
    eval_layout layout = {0};
    eval_ring ring = {.comm = comm, .d = query->d};
    pair_filler f = {.gallery = &bare_gallery, .d = query->d, .threads = eval_threads(ops)};
    tdm_status status = eval_layout_create(comm, &bare_query, &bare_gallery, block, &layout);
    if (status == TDM_OK) {
        f.gallery_first = layout.gallery_first;
        status = eval_kernel_choose(&f.kernel);
        if (status == TDM_OK)
            status = TDM_ALLOC(f.threads * f.d * (EVAL_TILE_ROWS + f.kernel->columns), &f.room);
        status = tdm_comm_agree(comm, status);
    }
    if (status == TDM_OK) status = fill_all(&ring, &layout, &f, &bare_query, block, offset, row, score);
    tdm_free(f.room);
    eval_ring_free(&ring);
    eval_layout_free(&layout);
    return status;
}
