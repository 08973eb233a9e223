/* Systems over the same queries: matched by id, tested, and what is written of it. */
#ifndef TANDEM_APP_COMPARISON_H
#define TANDEM_APP_COMPARISON_H

#include "query_file.h"
#include "query_values.h"
#include "tandem/report.h"

typedef struct comparison_options {
    const char *metrics;    /* names with commas between them; "": all that every file has */
    const char *changed_by; /* "": map, else the first */
    int64_t changed;        /* queries in each list of those that changed most */
    int64_t permutations, threads;
    bool alone; /* clusters of the files are not looked at */
    interval_options intervals;
} comparison_options;

typedef struct comparison {            /* zero-initialise; comparison_free */
    tdm_comparison shown;              /* points into what follows */
    int64_t systems, metrics, queries; /* metrics in all files, queries with a value in all */
    query_file *file;                  /* [systems] */
    int64_t *only;                     /* [systems] queries that another file does not have */
    int64_t without_value;             /* in all files, but some value is missing */
    bool clustered;
    int64_t *cluster; /* [queries] */
    double *value;    /* [systems][metrics][queries] */
    /* its own */
    const tdm_metric **known;    /* [metrics] NULL: no metric of Tandem */
    tdm_metric_rows rows;        /* that `known` points to */
    int64_t *column;             /* [systems][metrics] in the file */
    int64_t *row;                /* [systems][queries] in the file */
    tdm_compared_metric *metric; /* [metrics] */
    tdm_compared *compared;      /* [systems][metrics] */
    tdm_changed_query *changed;  /* [systems][2][at most changed] */
    tdm_compared_system *system; /* [systems] */
} comparison;
/* name, path [systems], the first being what the others are compared with; borrowed. Collective. */
TDM_CHECKED tdm_status comparison_make(tdm_comm *comm, int64_t systems, const char *const *name,
                                       const char *const *path, const comparison_options *options,
                                       comparison *made);
void comparison_free(comparison *made);

/* ---- comparison_write.c ---- */
/* The tables in the log. */
void comparison_log(const comparison *made);
TDM_CHECKED tdm_status comparison_write_json(const comparison *made, const char *const *path,
                                             const char *json);
/* A tabular of booktabs for each system but the first; shares in percent. */
TDM_CHECKED tdm_status comparison_write_latex(const comparison *made, const char *path);
TDM_CHECKED tdm_status comparison_write_html(const comparison *made, const char *path);

#endif
