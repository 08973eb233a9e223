/* What an evaluation writes for other programs: the best of every query. */
#ifndef TANDEM_APP_RANKING_FILES_H
#define TANDEM_APP_RANKING_FILES_H

#include "junk.h"
#include "tandem/eval.h"

/* junk: rows that a query does not see, or NULL.
 * A TREC run, "query Q0 document rank score tandem": the `depth` best of every query, in the order of the queries.
 * query and gallery as for tdm_eval_top_k. Scores have nine digits, so that reading them gives the same f32. The same
 * bytes for any number of ranks. Collective. */
TDM_CHECKED tdm_status ranking_write_run(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                         const tdm_eval_side *gallery, const row_names *query_names,
                                         const row_names *gallery_names, const row_junk *junk,
                                         int64_t query_first, int64_t depth, const char *path);
/* The same of lists that are made already: row [n][k], score [n][k] of this rank's queries, of which each writes `depth`
 * rows that are no junk. Collective. */
TDM_CHECKED tdm_status ranking_write_lists(tdm_comm *comm, const row_names *query_names,
                                           const row_names *gallery_names, const row_junk *junk,
                                           int64_t query_first, int64_t n, int64_t k, int64_t depth,
                                           const int64_t *row, const float *score, const char *path);
/* A file beside `path`: `name` stands before the ending, as in best.NAME.trec; number 2 and more: best.NAME_2.trec. */
TDM_CHECKED tdm_status ranking_path_beside(const char *path, const char *name, int64_t number,
                                           char out[TDM_PATH_BYTES]);

#endif
