/* What is made of a retrieval beside the means over its queries: means over groups of queries, and folds. The same bits
 * for any number of ranks. */
#ifndef TANDEM_EVAL_GROUPS_H
#define TANDEM_EVAL_GROUPS_H

#include "tandem/eval.h"

/* ---- Groups: classes, identities, labels ---- */

/* Of this rank's queries. Borrowed. */
typedef struct tdm_query_groups {
    const int64_t *id;    /* [n] queries of one id are one group; NULL: the bits say it */
    const uint64_t *bits; /* [n][words] a query belongs to the group of each of its bits */
    int64_t words;
} tdm_query_groups;

typedef struct tdm_group_metrics { /* tdm_group_metrics_free */
    int64_t groups;                /* that have a query */
    int64_t without_positive;      /* of them: none of their queries has a positive */
    int64_t *id;                   /* [groups] ascending: ids, or numbers of bits */
    int64_t *queries;              /* [groups] that have a positive */
    double *value; /* [rows][groups] over those; NaN where there are none. NULL: not asked for */
    double macro[TDM_MAX_METRICS]; /* the unweighted mean of the groups' means; NaN of what is no mean */
} tdm_group_metrics;
/* value [rows][n] of this rank's queries, as tdm_eval_detail has it; rows NULL: the table. Collective. */
TDM_CHECKED tdm_status tdm_eval_group_metrics(tdm_comm *comm, const tdm_metric_rows *rows, int64_t n,
                                              const double *value, const tdm_query_groups *of, bool each,
                                              tdm_group_metrics *metrics);
void tdm_group_metrics_free(tdm_group_metrics *metrics);

/* ---- Folds: parts of a retrieval, each evaluated alone ---- */

/* Fold k of `folds`: the images are cut in their order, contiguously, sizes differ by one at most; captions follow their
 * images, those without one are in no fold. *part owns what it holds. Collective. */
TDM_CHECKED tdm_status tdm_embeddings_fold(tdm_comm *comm, const tdm_embeddings *embeddings, int64_t folds,
                                           int64_t k, tdm_embeddings *part);

/* The rows of one side whose `fold` is k. */
typedef struct tdm_side_fold { /* tdm_side_fold_free */
    tdm_eval_side side;
    float *feature;
    int64_t *id, *camera;
} tdm_side_fold;
/* fold[side->n]; labels and judgements are not carried over. Not collective. */
TDM_CHECKED tdm_status tdm_side_fold_take(const tdm_eval_side *side, const int64_t *fold, int64_t k,
                                          tdm_side_fold *part);
void tdm_side_fold_free(tdm_side_fold *part);

/* Of each row the mean over the folds that have a query with a positive; counts are summed up. */
void tdm_metrics_mean(int64_t folds, const tdm_metrics *fold, tdm_metrics *mean);

#endif
