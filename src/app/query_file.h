/* Reads what --per-query wrote, or any CSV with a column `query` and figures of each query beside it. */
#ifndef TANDEM_APP_QUERY_FILE_H
#define TANDEM_APP_QUERY_FILE_H

#include "row_file.h"

typedef struct query_file { /* query_file_free */
    row_names query;        /* no two alike */
    row_names cluster;      /* what each query belongs to; count 0: the file does not say */
    row_names metric;       /* no two alike */
    double *value;          /* [metrics][queries], NaN where there is none */
} query_file;
/* Errors name file, line and column. Collective: the ranks read the same content. */
TDM_CHECKED tdm_status query_file_read(tdm_comm *comm, const char *option, const char *path,
                                       query_file *file);
void query_file_free(query_file *file);

#endif
