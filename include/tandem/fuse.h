/* Several rankings made one. One file and one row of src/eval/fuse_table.h for each way. */
#ifndef TANDEM_FUSE_H
#define TANDEM_FUSE_H

#include "tandem/base.h"
#include "tandem/option.h"

/* Lists of documents, as a TREC run has them. Queries and documents are numbers that all runs share. */
typedef struct tdm_run { /* owned; zero-initialise, tdm_run_free */
    int64_t queries;
    int64_t *offset; /* [queries + 1] */
    int64_t *row;    /* documents, best first, distinct within a query */
    double *score;   /* falling */
} tdm_run;
void tdm_run_free(tdm_run *run);

typedef struct tdm_fusion {
    const char *name; /* of `tandem eval --fuse` */
    const char *help;
    const tdm_option *options; /* numbers only */
    size_t option_count, option_bytes;
    /* Of a document: its rank in each of the runs, from 1, 0 where it is not listed, and its score there, scaled to be 0
     * at the end of the query's list and 1 at its head. */
    double (*score)(const void *options, int64_t runs, const int64_t *rank, const double *scaled);
} tdm_fusion;
const tdm_fusion *const *tdm_fusion_table(size_t *count);

typedef struct tdm_fusion_call { /* NAME or NAME(key=value, …) */
    const tdm_fusion *row;
    void *options; /* owned */
} tdm_fusion_call;
enum { TDM_MAX_FUSIONS = 8, TDM_MAX_RUNS = 16 };
typedef struct tdm_fusion_list { /* zero-initialise; tdm_fusion_list_free */
    int64_t count;
    tdm_fusion_call call[TDM_MAX_FUSIONS];
} tdm_fusion_list;
/* TDM_E_USAGE begins with `where`. */
TDM_CHECKED tdm_status tdm_fusion_ask(const char *where, const char *calls, tdm_fusion_list *list);
void tdm_fusion_list_free(tdm_fusion_list *list);
/* Of the same queries. Documents that any of the runs lists, by falling score; of equal scores the lower number first. */
TDM_CHECKED tdm_status tdm_fuse(const tdm_fusion_call *call, int64_t runs, const tdm_run *run,
                                tdm_run *fused);

#endif
