/* tandem eval --query FILE --gallery FILE, in parts: what is read (external_read.c), what a query does not see
 * (external_junk.c), the sides that are ranked (external_sides.c), labels as groups and as folds (external_parts.c). The
 * task puts them together. */
#ifndef TANDEM_APP_EXTERNAL_H
#define TANDEM_APP_EXTERNAL_H

#include "eval_task.h"
#include "fused_rows.h"
#include "junk.h"
#include "qrels.h"
#include "query_values.h"
#include "reranked.h"
#include "result_json.h"

enum { QUERY, GALLERY, SIDES };
typedef struct embeddings_options { /* files; "" = unset */
    const char *side[SIDES], *ids[SIDES], *labels[SIDES], *cameras[SIDES];
    const char *junk_label;
    bool exclude_self;
    const char *qrels, *label_separator, *distance, *metrics, *run_out, *per_query, *rerank;
    const char *fuse[SIDES]; /* the same rows by another model */
    double fuse_weight;
    const char *resume;
    bool macro, per_class;
    int64_t memory_mib;
    int64_t folds; /* 0: none */
    int64_t depth;
    const char *clusters;
    interval_options intervals;
} embeddings_options;

typedef struct ranked { /* one side of the retrieval */
    row_file file;
    row_matrix matrix;
    row_names ids, labels;
    uint64_t *bits; /* [matrix.n][words] of its labels, where there are several */
    int64_t words;
    int64_t *key; /* [matrix.n] equal where the labels are */
    float *with_norms;
    tdm_eval_source source; /* of a gallery that stays in its file */
    tdm_eval_side side;
} ranked;

typedef struct external {
    tdm_comm *comm;
    const eval_request *request;
    const embeddings_options *options;
    tdm_distance distance;
    ranked side[SIDES];
    row_sets sets[SIDES]; /* several labels of each row; .rows = 0: there is one */
    row_names label;      /* all distinct ones of these */
    row_names camera[SIDES];
    row_junk junk;
    int64_t left_out; /* gallery rows of --junk-label */
    qrels qrels;
    tdm_ops *ops;
    tdm_metric_rows rows;
    double *value; /* [rows][local queries] */
    tdm_metrics metrics;
    tdm_eval_work work;
    tdm_group_metrics groups; /* --macro, --per-class */
    tdm_metrics *fold;        /* [folds] */
    int64_t *fold_of[SIDES];  /* of each row of this rank, -1: none */
    int64_t queries_in_no_fold;
    row_names cluster; /* of the queries; count 0: each stands alone */
    query_values each;
    metric_intervals intervals;
    tdm_rerank_list rerank;
    json_t *reranked;         /* figures of each; NULL: none is asked for */
    fused_rows second[SIDES]; /* of another model */
    json_t *fused;            /* figures of both; NULL: not asked for */
} external;
extern const char *const external_side_option[SIDES]; /* "--query", "--gallery" */

/* ---- Reading ---- */
TDM_CHECKED tdm_status external_check_options(const external *x);
/* Both sides with ids, labels and judgements, less the rows that are junk for all. Collective. */
TDM_CHECKED tdm_status external_read(external *x);
/* A name for each row of side s, from a file. Collective. */
TDM_CHECKED tdm_status external_read_names(const external *x, const char *option, const char *given, int s,
                                           row_names *names);
/* What the queries belong to: the file's; of Tandem's own captions the image; else each stands alone. Collective. */
TDM_CHECKED tdm_status external_read_clusters(external *x);
/* Labels of the rows, or the ids where there are none. */
const row_names *external_labels(const ranked *side);
/* Have rows several labels? */
bool external_has_several(const external *x);
/* Rows of a side stay in their file when a rank's take more. */
int64_t external_most_bytes(const external *x, int s);

/* ---- What a query does not see ---- */
/* Takes rows out of the gallery, and finds what is junk for some of the queries. Collective. */
TDM_CHECKED tdm_status external_read_junk(external *x);
/* NULL: nothing was to be left out. */
json_t *external_junk_json(const external *x);

/* ---- What is ranked ---- */
TDM_CHECKED tdm_status external_make_sides(external *x);

/* ---- Labels as groups, and folds ---- */
/* Collective, behind the ranking. */
TDM_CHECKED tdm_status external_make_groups(external *x);
json_t *external_by_label(const external *x); /* a line for each group */
/* Before and behind the ranking. The second is collective. */
TDM_CHECKED tdm_status external_find_folds(external *x);
TDM_CHECKED tdm_status external_make_folds(external *x);

#endif
