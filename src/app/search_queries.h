/* What tandem search looks for: one query of the command line, or a file of them. */
#ifndef TANDEM_APP_SEARCH_QUERIES_H
#define TANDEM_APP_SEARCH_QUERIES_H

#include "command.h"

typedef struct search_query { /* owned; search_queries_free */
    char *text, *image;       /* a text, the file of an image, or both; NULL: none */
    char *id;                 /* from a file of queries; NULL: none */
    double weight;            /* of the image, where there are both */
    int64_t line;             /* of the file; 0: of the command line */
} search_query;
typedef struct search_queries { /* zero-initialise; search_queries_free */
    const char *file;           /* "": the command line; borrowed */
    search_query *query;        /* [count] */
    int64_t count, capacity;
} search_queries;

/* Copies; text or image may be NULL. */
TDM_CHECKED tdm_status search_queries_add(search_queries *queries, const char *text, const char *image,
                                          double weight);
/* The lines of a file, "-": of standard input, which rank 0 reads for all. A line is a text; "image:PATH" is an image; a
 * line that begins with { is an object with text, image or both, weight and id. Blank lines are passed over.
 * TDM_E_DATA names file and line. Collective. */
TDM_CHECKED tdm_status search_queries_read(tdm_comm *comm, const char *file, double weight,
                                           search_queries *queries);
/* Queries [begin, end) into feature[end - begin][d]. *cut: texts that were longer than the model reads. Not collective. */
TDM_CHECKED tdm_status search_queries_embed(const tdm_inference *inference, const search_queries *queries,
                                            int64_t begin, int64_t end, float *feature, int64_t *cut);
void search_queries_free(search_queries *queries);

#endif
