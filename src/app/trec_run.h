/* TREC runs: lines of "query iteration document rank score name". */
#ifndef TANDEM_APP_TREC_RUN_H
#define TANDEM_APP_TREC_RUN_H

#include "row_file.h"
#include "tandem/fuse.h"

enum { RUNS_QUERY, RUNS_DOCUMENT, RUNS_NAMES };
typedef struct run_set { /* zero-initialise; run_set_free */
    int64_t count;
    char path[TDM_MAX_RUNS][TDM_PATH_BYTES];
    tdm_run run[TDM_MAX_RUNS];
    row_names name[RUNS_NAMES]; /* of queries and documents, in the order in which the files bring them up */
} run_set;
/* paths: with commas between them. qrels: a file of judgements, whose queries and documents get numbers, too, so that what
 * no run lists is known to be missed. A query's documents stand in the order of falling score, of equal scores in that of the
 * lines; the rank that a line says is not looked at. Errors begin with `where` and name the line: fields, a score that is
 * no finite number, a document that a query has twice. Collective: the ranks agree on what they read. */
TDM_CHECKED tdm_status run_set_read(tdm_comm *comm, const char *where, const char *paths, const char *qrels,
                                    run_set *set);
void run_set_free(run_set *set);
/* All of it, with scores of 17 digits. Not collective. */
TDM_CHECKED tdm_status trec_run_write(const char *path, const tdm_run *run, const row_names *query,
                                      const row_names *document);

#endif
