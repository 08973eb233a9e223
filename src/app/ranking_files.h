/* What an evaluation writes for other programs: the best of every query. */
#ifndef TANDEM_APP_RANKING_FILES_H
#define TANDEM_APP_RANKING_FILES_H

#include "junk.h"
#include "tandem/eval.h"

/* A TREC run, "query Q0 document rank score tandem": the `depth` best of every query, in the order of the queries. */
typedef struct ranking_run { /* all borrowed */
    const row_names *query, *gallery;
    const row_junk *junk;   /* rows that a query does not see, or NULL */
    int64_t query_first, n; /* this rank's queries */
    int64_t depth;
    const char *path;
} ranking_run;
/* How many rows of each query have to be looked for: the junk that may stand before the last of them as well. */
int64_t ranking_length(const ranking_run *run);
/* query and gallery as for tdm_eval_top_k. Scores have nine digits, so that reading them gives the same f32. The same
 * bytes for any number of ranks. Collective. */
TDM_CHECKED tdm_status ranking_write_run(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                         const tdm_eval_side *gallery, const ranking_run *run);
/* The same of lists that are made already: row and score [n][ranking_length]. Collective. */
TDM_CHECKED tdm_status ranking_write_lists(tdm_comm *comm, const ranking_run *run, const int64_t *row,
                                           const float *score);
/* A file beside `path`: `name` stands before the ending, as in best.NAME.trec; number 2 and more: best.NAME_2.trec. */
TDM_CHECKED tdm_status ranking_path_beside(const char *path, const char *name, int64_t number,
                                           char out[TDM_PATH_BYTES]);

#endif
