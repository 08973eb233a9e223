/* The queries of both directions of a retrieval: their names, and what they belong to. */
#ifndef TANDEM_APP_RETRIEVAL_QUERIES_H
#define TANDEM_APP_RETRIEVAL_QUERIES_H

#include "query_values.h"
#include "tandem/eval.h"

#define RETRIEVAL_CLUSTERS "image|identity|query" /* what the queries of one cluster share */

typedef struct retrieval_queries { /* retrieval_queries_free */
    row_names query, cluster;      /* cluster.count 0: each stands alone */
    int64_t n;                     /* of this rank */
} retrieval_queries;
/* Captions are called by their number in the split, images by their row. A query without the image or the identity stands
 * alone. by: one of RETRIEVAL_CLUSTERS. Collective. */
TDM_CHECKED tdm_status retrieval_queries_open(tdm_comm *comm, const tdm_embeddings *embeddings,
                                              tdm_direction direction, const char *by,
                                              retrieval_queries *queries);
void retrieval_queries_free(retrieval_queries *queries);
/* "each.text_to_image.csv" for each.csv */
TDM_CHECKED tdm_status retrieval_queries_path(const char *path, tdm_direction direction, tdm_text *text);

#endif
