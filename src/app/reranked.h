/* Re-rankings as the tasks of `tandem eval` ask for them, show them and write them. */
#ifndef TANDEM_APP_RERANKED_H
#define TANDEM_APP_RERANKED_H

#include "junk.h"
#include "query_values.h"
#include "tandem/rerank.h"

#define RERANK_FLAG(field)                                                                                   \
    FLAG_STRING("--rerank", field, "NAME,…", "",                                                             \
                "other orders of the gallery, each reported beside the plain one; see below")

/* What --help says of them. */
void reranked_explain(void);
/* "k_reciprocal(k1=20, k2=6, lambda=0.3)" */
TDM_CHECKED tdm_status reranked_title(const tdm_rerank_call *call, tdm_text *title);
/* {"name": …, and its options}: the figures are the caller's to add. NULL: out of memory. */
json_t *reranked_json(const tdm_rerank_call *call);

typedef struct reranking { /* of one direction; all borrowed */
    const tdm_rerank_input *input;
    const tdm_rerank_list *list;
    const query_values
        *plain; /* of the plain order: names, clusters and metrics; the values are not looked at */
    const row_names *gallery;
    const row_junk *junk; /* rows that a query does not see, or NULL */
    int64_t query_first, depth;
    /* "" or files of the plain order. Each of the list writes its own beside them: its name stands before the ending, as in
     * best.k_reciprocal.trec; of a further one of the same name with a number. */
    const char *run_out, *per_query;
} reranking;
/* All of the list: into the log, the files, and as reranked_json with the figures under `key` into `entries`.
 * Collective. */
TDM_CHECKED tdm_status reranked_all(const reranking *r, const char *key, json_t *entries);
/* The plain order of `input`, shown and written in the same way under this name. Collective. */
TDM_CHECKED tdm_status reranked_plain(const reranking *r, const char *name, tdm_metrics *metrics);

#endif
