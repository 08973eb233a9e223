/* Private to src/eval: what the re-rankings share. */
#ifndef TANDEM_RERANK_IMPL_H
#define TANDEM_RERANK_IMPL_H

#include "eval_impl.h"
#include "rerank_table.h"

#include <math.h>

/* Of two rows, as a share of the largest from the first: square as in rerank_pool. */
static inline double relative_distance(double square, double score, double far)
{
    return far > 0 ? fmax(0, square - 2 * score) / far : 0;
}

/* ---- Options in brackets: NAME(key=value, …) ---- */
typedef struct call_text { /* one call of a list, cut into its parts */
    char name[64];
    const char *arguments;
    size_t length;
} call_text;
/* The call at *at, which moves on behind the comma after it. TDM_E_USAGE begins with `where`. */
TDM_CHECKED tdm_status call_next(const char *where, const char **at, call_text *call);
/* Its place among the names; TDM_E_USAGE says which one is near. */
TDM_CHECKED tdm_status call_find(const char *where, const call_text *call, const char *const *known,
                                 size_t count, size_t *at);
/* The defaults of `rows` into `options`, and over them what the call says. Numbers only. */
TDM_CHECKED tdm_status call_options(const char *where, const call_text *call, const tdm_option *rows,
                                    size_t count, void *options);

/* ---- Scores of chosen pairs ---- */
/* score[p] of local query i with the global gallery row[p], for p from offset[i] to offset[i + 1]; rows ascend within a
 * query. The bits are those of every other score. Collective. */
TDM_CHECKED tdm_status eval_pair_scores(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                        const tdm_eval_side *gallery, const int64_t *offset,
                                        const int64_t *row, float *score);

/* ---- Queries and gallery as one list, the queries first ---- */
enum { POOL_QUERY, POOL_GALLERY, POOL_SIDES };
typedef struct rerank_pool {
    tdm_comm *comm;
    tdm_ops *ops;
    int64_t n[POOL_SIDES], total[POOL_SIDES],
        first[POOL_SIDES];     /* local, of all, global row of local row 0 */
    int64_t *part[POOL_SIDES]; /* [size] rows of each rank */
    int64_t rows;              /* of both */
    /* Rows as queries and as gallery, in the order of rising distance; their features are owned, or the given ones. */
    tdm_eval_side seeking[POOL_SIDES], found[POOL_SIDES];
    float *owned[2 * POOL_SIDES];
    double *square[POOL_SIDES]; /* [n]: squared distance = square - 2 score */
} rerank_pool;
/* Collective. */
TDM_CHECKED tdm_status pool_open(const tdm_rerank_input *input, rerank_pool *pool);
void pool_close(rerank_pool *pool);
/* list [rows][k]: the k nearest of each row in the pool, itself among them, -1 where the pool is smaller; the same on
 * every rank. Of equal distances the lower row is first. far[side][n]: the largest squared distance from each local row
 * to any. Both are the caller's to free. Collective. */
TDM_CHECKED tdm_status pool_neighbours(const rerank_pool *pool, int64_t k, int32_t **list,
                                       double *far[POOL_SIDES]);

/* ---- A part of the gallery instead of all of it ---- */
typedef struct rerank_candidates { /* candidates_close */
    int64_t rows, *row;            /* of all ranks: global gallery rows, ascending */
    float *feature;                /* [side.n][d] owned */
    tdm_eval_side side;            /* this rank's, without ids */
} rerank_candidates;
/* The rows of `gallery`, which the pool was made of, that are among the k best of any query. Collective. */
TDM_CHECKED tdm_status candidates_open(const rerank_pool *pool, const tdm_eval_side *gallery, int64_t k,
                                       rerank_candidates *candidates);
void candidates_close(rerank_candidates *candidates);

#endif
