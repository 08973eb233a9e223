/* Private to src/eval: the two rounds of a block of queries; see metrics.c. */
#ifndef TANDEM_METRICS_IMPL_H
#define TANDEM_METRICS_IMPL_H

#include "eval_impl.h"

typedef struct positives { /* the ring's tail on the second round, as pointers into it */
    int64_t total;
    int64_t *offset; /* [n+1] of each query's positives */
    int64_t *row;    /* [total] best first */
    int64_t *beaten; /* [total] items that beat it */
    float *score;    /* [total] */
} positives;

typedef struct evaluation {
    tdm_comm *comm;
    int threads;
    bool exclude_self;
    eval_gallery gallery;
    eval_ring ring;
    float *packed_query; /* [groups][d][EVAL_TILE_ROWS] of the block that is here */
} evaluation;

/* First round: appends this rank's positives of the block to the tail. */
TDM_CHECKED tdm_status metrics_collect(evaluation *eval);
/* At home: turns the tail's records, which came from several ranks, into sorted positives. */
TDM_CHECKED tdm_status metrics_arrange(evaluation *eval);
/* Second round: adds to `beaten` the items of this rank's part of the gallery. */
TDM_CHECKED tdm_status metrics_count(evaluation *eval);
/* The tail after metrics_arrange. */
positives metrics_positives(const eval_ring *ring, int64_t n);

#endif
