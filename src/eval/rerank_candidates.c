/* Part of a gallery: the rows that are among the best of any query. */
#include "rerank_impl.h"

#include <string.h>

void candidates_close(rerank_candidates *c)
{
    tdm_free(c->row);
    tdm_free(c->feature);
    *c = (rerank_candidates){0};
}

/* row [*count]: gallery rows that some rank has put into found[n·k], ascending. */
static tdm_status join(tdm_comm *comm, const int64_t *found, int64_t n, int64_t gallery, rerank_candidates *c)
{
    int64_t *is_found = NULL;
    TDM_AGREE(comm, TDM_ALLOC(gallery, &is_found));
    for (int64_t i = 0; i < n; i++)
        if (found[i] >= 0) is_found[found[i]] = 1;
    tdm_comm_sum_i64(comm, is_found, gallery);
    for (int64_t g = 0; g < gallery; g++) c->rows += is_found[g] > 0;
    const tdm_status status = tdm_comm_agree(comm, TDM_ALLOC(c->rows, &c->row));
    for (int64_t g = 0, at = 0; status == TDM_OK && g < gallery; g++)
        if (is_found[g] > 0) c->row[at++] = g;
    tdm_free(is_found);
    return status;
}

/* This rank's candidates side by side. */
static tdm_status copy_rows(const tdm_eval_side *gallery, int64_t first, rerank_candidates *c)
{
    const int64_t d = gallery->d, begin = tdm_lower_bound(c->row, c->rows, first);
    const int64_t n = tdm_lower_bound(c->row, c->rows, first + gallery->n) - begin;
    TDM_TRY(TDM_ALLOC(n * d, &c->feature));
    for (int64_t i = 0; i < n; i++)
        memcpy(c->feature + i * d, gallery->feature + (c->row[begin + i] - first) * d,
               (size_t)d * sizeof(float));
    c->side = (tdm_eval_side){.n = n, .d = d, .feature = c->feature};
    return TDM_OK;
}

tdm_status candidates_open(const rerank_pool *pool, const tdm_eval_side *gallery, int64_t k,
                           rerank_candidates *c)
{
    const tdm_eval_side *query = &pool->seeking[POOL_QUERY];
    int64_t *found = NULL;
    float *score = NULL;
    *c = (rerank_candidates){0};
    tdm_status status = TDM_ALLOC(query->n * k, &found);
    if (status == TDM_OK) status = TDM_ALLOC(query->n * k, &score);
    status = tdm_comm_agree(pool->comm, status);
    if (status == TDM_OK)
        status = tdm_eval_top_k(pool->comm, pool->ops, query, &pool->found[POOL_GALLERY], k,
                                tdm_eval_block_rows(pool->ops), found, score);
    tdm_free(score);
    if (status == TDM_OK) status = join(pool->comm, found, query->n * k, pool->total[POOL_GALLERY], c);
    tdm_free(found);
    if (status == TDM_OK)
        status = tdm_comm_agree(pool->comm, copy_rows(gallery, pool->first[POOL_GALLERY], c));
    return status;
}
