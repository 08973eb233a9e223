/* Private to src/eval: ranks in another order, counted as all others are. */
#ifndef TANDEM_REORDERING_IMPL_H
#define TANDEM_REORDERING_IMPL_H

#include "metrics_impl.h"
#include "tandem/rerank.h"

/* A gallery row in the other order of a query. */
typedef struct placed {
    double distance;
    float score;
    int64_t row;
} placed;

/* Between the rounds: puts the positives of a block (positives_in), whose local queries are query[n], into the other
 * order. In place of
 * a positive's score and row there now stands the threshold that the rows which are not listed pass when they rank
 * before it. *kept [total] is what stood there, in the new order. Not collective. */
TDM_CHECKED tdm_status reordering_enter(const tdm_reordering *reordering, const int64_t *query, int64_t n,
                                        const eval_buffer *arranged, int threads, placed **kept);
/* After the second round: corrects `beaten` by the listed rows, and puts the rows and scores back. */
TDM_CHECKED tdm_status reordering_leave(const tdm_reordering *reordering, const int64_t *query, int64_t n,
                                        const eval_buffer *arranged, int threads, const placed *kept);
/* As tdm_eval_metrics_in_detail; see metrics.c. Collective. */
TDM_CHECKED tdm_status metrics_reordered(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                         const tdm_eval_side *gallery, const tdm_reordering *reordering,
                                         int64_t query_block, tdm_metrics *metrics, tdm_eval_detail *detail);

#endif
