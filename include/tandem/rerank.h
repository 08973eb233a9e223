/* After the ranking: other orders of the gallery, reported beside the plain one. One file and one row of
 * src/eval/rerank_table.h each. */
#ifndef TANDEM_RERANK_H
#define TANDEM_RERANK_H

#include "tandem/eval.h"
#include "tandem/option.h"

typedef struct tdm_rerank_input {
    tdm_comm *comm;
    tdm_ops *ops; /* NULL: OpenMP's threads */
    /* Rows as they were embedded, without the column of tdm_eval_euclidean_rows; unit norm with TDM_COSINE. */
    const tdm_eval_side *query, *gallery;
    tdm_distance distance;
} tdm_rerank_input;

/* Another order of the gallery for the queries of this rank: other rows to rank by, or gallery rows with distances of
 * their own. A gallery row that is not listed keeps its place among the others that are not:
 *
 *     distance(i, g) = base + weight·max(0, square[i] - 2 score(i, g)) / far[i]
 *
 * Of equal distances the higher score is first, of equal scores the lower row. */
typedef struct tdm_reordering { /* owned; zero-initialise, tdm_reordering_free */
    float *query, *gallery;     /* [n][d] rows that take the place of the given ones; NULL: those */
    int64_t *offset;            /* [n + 1] where each query's listed rows begin; NULL: nothing is listed */
    int64_t *row;               /* global gallery rows, ascending within a query */
    float *score;               /* of the given rows */
    double *distance;
    double base, weight;
    double *square, *far; /* [n] */
} tdm_reordering;
void tdm_reordering_free(tdm_reordering *reordering);

typedef struct tdm_rerank {
    const char *name; /* of `tandem eval --rerank` */
    const char *help;
    const tdm_option *options; /* numbers only */
    size_t option_count, option_bytes;
    bool takes_euclidean; /* all take TDM_COSINE, none TDM_DOT */
    /* The same bits for any number of ranks. Collective. */
    tdm_status (*reorder)(const tdm_rerank_input *input, const void *options, tdm_reordering *reordering);
} tdm_rerank;
const tdm_rerank *const *tdm_rerank_table(size_t *count);

/* NAME or NAME(key=value, …) with commas between them, as it was asked for. */
typedef struct tdm_rerank_call {
    const tdm_rerank *row;
    void *options; /* owned */
} tdm_rerank_call;
enum { TDM_MAX_RERANKS = 8 };
typedef struct tdm_rerank_list { /* zero-initialise; tdm_rerank_list_free */
    int64_t count;
    tdm_rerank_call call[TDM_MAX_RERANKS];
} tdm_rerank_list;
/* TDM_E_USAGE begins with `where`: an unknown name or key, a number out of range, a distance that it does not take. */
TDM_CHECKED tdm_status tdm_rerank_ask(const char *where, const char *calls, tdm_distance distance,
                                      tdm_rerank_list *list);
void tdm_rerank_list_free(tdm_rerank_list *list);

/* As tdm_eval_metrics_in_detail, in the other order. Collective. */
TDM_CHECKED tdm_status tdm_reordering_metrics(const tdm_rerank_input *input, const tdm_reordering *reordering,
                                              tdm_metrics *metrics, tdm_eval_detail *detail);
/* As tdm_eval_top_k, in the other order. score: of the rows that are ranked by, or 1 - distance; it falls wherever the
 * order is no tie. Collective. */
TDM_CHECKED tdm_status tdm_reordering_top_k(const tdm_rerank_input *input, const tdm_reordering *reordering,
                                            int64_t k, int64_t *row, float *score);

/* Both directions of a model's embeddings. rows: of the metrics, NULL: the table. Collective. */
TDM_CHECKED tdm_status tdm_rerank_embeddings(tdm_comm *comm, tdm_ops *ops, const tdm_embeddings *embeddings,
                                             const tdm_match *match, tdm_distance distance,
                                             const tdm_rerank_call *call, const tdm_metric_rows *rows,
                                             tdm_metrics metrics[TDM_DIRECTIONS]);

#endif
