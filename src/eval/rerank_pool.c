/* Queries and gallery as one list of rows, each of which searches all: the nearest of every row, and the farthest.
 *
 * The list has the queries first, so that ties, which go to the lower row, do not depend on how rows are spread over the
 * ranks. It is never put together: every row searches both sides, and two lists are merged. */
#include "rerank_impl.h"

static tdm_status count_rows(rerank_pool *pool)
{
    for (int s = 0; s < POOL_SIDES; s++) {
        TDM_AGREE(pool->comm, TDM_ALLOC(tdm_comm_size(pool->comm), &pool->part[s]));
        pool->total[s] = eval_count_rows(pool->comm, pool->n[s], pool->part[s], &pool->first[s]);
        pool->rows += pool->total[s];
    }
    return tdm_comm_agree(pool->comm, pool->rows < INT32_MAX
                                          ? TDM_OK
                                          : TDM_ERROR(TDM_E_SHAPE,
                                                      "re-ranking of %lld rows: fewer than 2^31 are possible",
                                                      (long long)pool->rows));
}

/* cosine: |a - b|² = 2 - 2 a·b; euclidean: |a|² - 2 (a·b - |b|²/2) */
static tdm_status make_side(rerank_pool *pool, const tdm_eval_side *given, tdm_distance distance, int s)
{
    const int64_t d = given->d;
    tdm_eval_side side = {.n = given->n, .d = d, .feature = given->feature};
    TDM_TRY(TDM_ALLOC(given->n, &pool->square[s]));
    for (int64_t i = 0; i < given->n; i++) pool->square[s][i] = 2;
    pool->seeking[s] = pool->found[s] = side;
    if (distance != TDM_EUCLIDEAN) return TDM_OK;
    TDM_TRY(tdm_eval_euclidean_rows(given, false, &pool->owned[s]));
    TDM_TRY(tdm_eval_euclidean_rows(given, true, &pool->owned[POOL_SIDES + s]));
    pool->seeking[s].feature = pool->owned[s];
    pool->found[s].feature = pool->owned[POOL_SIDES + s];
    pool->seeking[s].d = pool->found[s].d = d + 1;
    for (int64_t i = 0; i < given->n; i++)
        pool->square[s][i] = -2.0 * (double)pool->owned[POOL_SIDES + s][i * (d + 1) + d];
    return TDM_OK;
}

tdm_status pool_open(const tdm_rerank_input *input, rerank_pool *pool)
{
    *pool = (rerank_pool){.comm = input->comm, .ops = input->ops};
    const tdm_eval_side *const given[POOL_SIDES] = {input->query, input->gallery};
    for (int s = 0; s < POOL_SIDES; s++) pool->n[s] = given[s]->n;
    TDM_TRY(count_rows(pool));
    tdm_status status = TDM_OK;
    for (int s = 0; s < POOL_SIDES && status == TDM_OK; s++)
        status = make_side(pool, given[s], input->distance, s);
    return tdm_comm_agree(pool->comm, status);
}

void pool_close(rerank_pool *pool)
{
    for (int s = 0; s < POOL_SIDES; s++) {
        tdm_free(pool->part[s]);
        tdm_free(pool->square[s]);
        tdm_free(pool->owned[s]);
        tdm_free(pool->owned[POOL_SIDES + s]);
    }
    *pool = (rerank_pool){0};
}

/* ---- Search ---- */

enum { BLOCK = 1 << 16 }; /* rows that search at once */

typedef struct pool_search { /* room for one block */
    const rerank_pool *pool;
    int64_t k;
    int64_t *row[POOL_SIDES]; /* [BLOCK][k], of each side as gallery */
    float *score[POOL_SIDES];
    int64_t *farthest;       /* [BLOCK] whose it is: of no interest */
    float *negated, *lowest; /* [BLOCK][d], [BLOCK] */
} pool_search;

/* The k best of two lists; a row of the queries, which are the lower ones, goes first. */
static void merge(const pool_search *search, int64_t i, int32_t *out)
{
    const int64_t k = search->k;
    const int64_t *const row[POOL_SIDES] = {search->row[0] + i * k, search->row[1] + i * k};
    const float *const score[POOL_SIDES] = {search->score[0] + i * k, search->score[1] + i * k};
    int64_t at[POOL_SIDES] = {0, 0};
    for (int64_t j = 0; j < k; j++) {
        const bool query_left = at[0] < k && row[0][at[0]] >= 0;
        const bool gallery_left = at[1] < k && row[1][at[1]] >= 0;
        int s = POOL_GALLERY;
        if (query_left && (!gallery_left || score[0][at[0]] >= score[1][at[1]])) s = POOL_QUERY;
        out[j] = -1;
        if (query_left || gallery_left)
            out[j] = (int32_t)(row[s][at[s]++] + (s == POOL_GALLERY ? search->pool->total[POOL_QUERY] : 0));
    }
}

/* The lowest score of each row of the block is the highest of its negative: negating an operand negates every step of a
 * chain of fused multiply-adds. */
static tdm_status find_farthest(pool_search *search, tdm_eval_side *block, const double *square, double *far)
{
    const rerank_pool *pool = search->pool;
    for (int64_t e = 0; e < block->n * block->d; e++) search->negated[e] = -block->feature[e];
    block->feature = search->negated;
    for (int64_t i = 0; i < block->n; i++) far[i] = 0;
    for (int s = 0; s < POOL_SIDES; s++) {
        if (pool->total[s] == 0) continue;
        TDM_TRY(tdm_eval_top_k(pool->comm, pool->ops, block, &pool->found[s], 1,
                               tdm_eval_block_rows(pool->ops), search->farthest, search->lowest));
        for (int64_t i = 0; i < block->n; i++) {
            const double distance = square[i] + 2.0 * (double)search->lowest[i];
            if (distance > far[i]) far[i] = distance;
        }
    }
    return TDM_OK;
}

static tdm_status search_side(pool_search *search, int side, int32_t *list, double *far)
{
    const rerank_pool *pool = search->pool;
    int64_t most = 0;
    for (int r = 0; r < tdm_comm_size(pool->comm); r++) most = tdm_max_i64(most, pool->part[side][r]);
    for (int64_t round = 0; round * BLOCK < most; round++) {
        const int64_t begin = tdm_min_i64(round * BLOCK, pool->n[side]);
        const int64_t n = tdm_min_i64(begin + BLOCK, pool->n[side]) - begin;
        tdm_eval_side block = pool->seeking[side];
        block.n = n;
        block.feature += begin * block.d;
        for (int s = 0; s < POOL_SIDES; s++)
            TDM_TRY(tdm_eval_top_k(pool->comm, pool->ops, &block, &pool->found[s], search->k,
                                   tdm_eval_block_rows(pool->ops), search->row[s], search->score[s]));
        for (int64_t i = 0; i < n; i++) merge(search, i, list + (begin + i) * search->k);
        TDM_TRY(find_farthest(search, &block, pool->square[side] + begin, far + begin));
    }
    return TDM_OK;
}

static tdm_status open_search(pool_search *search, int64_t d)
{
    const rerank_pool *pool = search->pool;
    const int64_t n = tdm_min_i64(BLOCK, tdm_max_i64(pool->n[0], pool->n[1]));
    for (int s = 0; s < POOL_SIDES; s++) {
        TDM_TRY(TDM_ALLOC(n * search->k, &search->row[s]));
        TDM_TRY(TDM_ALLOC(n * search->k, &search->score[s]));
    }
    TDM_TRY(TDM_ALLOC(n, &search->farthest));
    TDM_TRY(TDM_ALLOC(n, &search->lowest));
    return TDM_ALLOC(n * d, &search->negated);
}

static void close_search(pool_search *search)
{
    for (int s = 0; s < POOL_SIDES; s++) {
        tdm_free(search->row[s]);
        tdm_free(search->score[s]);
    }
    tdm_free(search->farthest);
    tdm_free(search->lowest);
    tdm_free(search->negated);
}

tdm_status pool_neighbours(const rerank_pool *pool, int64_t k, int32_t **list, double *far[POOL_SIDES])
{
    pool_search search = {.pool = pool, .k = k};
    int32_t *own[POOL_SIDES] = {NULL, NULL};
    tdm_status status = open_search(&search, pool->seeking[POOL_QUERY].d);
    for (int s = 0; s < POOL_SIDES && status == TDM_OK; s++) {
        status = TDM_ALLOC(pool->n[s] * k, &own[s]);
        if (status == TDM_OK) status = TDM_ALLOC(pool->n[s], &far[s]);
    }
    status = tdm_comm_agree(pool->comm, status);
    for (int s = 0; s < POOL_SIDES && status == TDM_OK; s++) status = search_side(&search, s, own[s], far[s]);
    close_search(&search);
    if (status == TDM_OK) status = tdm_comm_agree(pool->comm, TDM_ALLOC(pool->rows * k, list));
    for (int s = 0; s < POOL_SIDES; s++) {
        const int64_t first = s == POOL_GALLERY ? pool->total[POOL_QUERY] : 0;
        if (status == TDM_OK)
            tdm_comm_gather_rows(pool->comm, own[s], *list + first * k, pool->part[s],
                                 k * (int64_t)sizeof **list);
        tdm_free(own[s]);
    }
    return status;
}
