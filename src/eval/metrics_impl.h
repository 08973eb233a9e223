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

/* What the details are made of, from the queries of this rank until they are summed. */
typedef struct eval_tally {
    int64_t gallery, queries; /* queries that have a positive */
    int64_t *found,
        *recalled; /* [gallery + 1] by rank: positives, and their shares of their queries' positives */
    uint64_t *query_class; /* [all queries][class_words] */
    double *chosen;        /* [all queries] room */
} eval_tally;
TDM_CHECKED tdm_status detail_create(tdm_eval_detail *detail, int64_t gallery, eval_tally *tally);
void detail_free(eval_tally *tally);
void detail_add(eval_tally *tally, const tdm_ranking *ranking);
/* Collective. */
TDM_CHECKED tdm_status detail_make_curves(tdm_comm *comm, eval_tally *tally, tdm_eval_detail *detail);
/* Collective: the classes of all queries. */
TDM_CHECKED tdm_status detail_open_classes(tdm_comm *comm, const eval_layout *layout, tdm_eval_detail *detail,
                                           eval_tally *tally);
/* value [all queries] of one metric, NaN without a positive. */
void detail_by_class(const eval_tally *tally, const eval_layout *layout, const double *value, int metric,
                     double (*summary)(const tdm_metric *, int64_t, double *), tdm_eval_detail *detail);

typedef struct evaluation {
    tdm_comm *comm;
    int threads;
    bool exclude_self;
    const tdm_judgements *judged; /* NULL: ids or labels say what matches */
    const tdm_metric_rows *rows;  /* NULL: the table */
    eval_gallery gallery;
    eval_ring ring;
    tdm_eval_detail *detail; /* NULL: none is asked for */
    eval_tally tally;
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
