/* Private to the search for the k best: a heap of candidates, and the search in a quick gallery. */
#ifndef TANDEM_TOP_K_IMPL_H
#define TANDEM_TOP_K_IMPL_H

#include "quick_impl.h"

typedef struct candidate {
    int64_t row; /* -1: free place */
    float score;
} candidate;

/* heap[k]: a binary heap with the last-ranked candidate at its root. The score that an item needs at least to be among
 * them. */
float top_k_threshold(const candidate *heap);
/* `item`, unless it ranks behind all of them, replaces the last. */
void top_k_offer(candidate *heap, int64_t k, candidate item);

/* The queries of a block against the quick gallery: offers to best[n][k] all that belongs there. *pays = false: f32
 * would have been faster. */
TDM_CHECKED tdm_status quick_top_k(const eval_gallery *gallery, const eval_queries *queries, int64_t k,
                                   int threads, candidate *best, bool *pays);

#endif
