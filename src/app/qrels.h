/* Judgements as TREC writes them: lines of "query iteration document grade". */
#ifndef TANDEM_APP_QRELS_H
#define TANDEM_APP_QRELS_H

#include "row_file.h"
#include "tandem/eval.h"
#include "tandem/json_text.h"

typedef struct qrels {        /* zero-initialise; qrels_free */
    tdm_judgements judged;    /* grades of 1 and above, of queries and documents that are there */
    int64_t judgements;       /* lines */
    int64_t unknown_query;    /* lines whose query is not there */
    int64_t unknown_document; /* other lines whose document is not there */
    int64_t unjudged;         /* queries without a line */
} qrels;

/* Of ids. Counts what is not there and names the first few in the log. Errors name the line: fields, grade, a pair that
 * is judged twice. TDM_E_DATA when no judgement is about a query and a document that are there. */
TDM_CHECKED tdm_status qrels_read(const char *path, const row_names *query, const row_names *gallery,
                                  qrels *out);
/* What the JSON of an evaluation says of them. NULL: out of memory. */
json_t *qrels_json(const char *path, const qrels *read);
void qrels_free(qrels *read);

#endif
