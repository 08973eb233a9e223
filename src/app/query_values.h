/* Every metric of every query: gathered, written, and what intervals are made of. */
#ifndef TANDEM_APP_QUERY_VALUES_H
#define TANDEM_APP_QUERY_VALUES_H

#include "command.h"
#include "row_file.h"
#include "tandem/json_text.h"
#include "tandem/significance.h"

/* The same on every rank. Names and rows are borrowed. */
typedef struct query_values { /* query_values_free */
    const row_names *query;
    const row_names *cluster; /* what each query belongs to; count 0: each stands alone */
    const char *cluster_by;   /* "image"; "query": each stands alone */
    const tdm_metric_rows *rows;
    double *value; /* [rows][queries], NaN where a query has no positive */
} query_values;
/* Fills v->value from local [rows][n] of this rank's queries. Collective. */
TDM_CHECKED tdm_status query_values_gather(tdm_comm *comm, int64_t n, const double *local, query_values *v);
/* A path that ends in .h5 or .hdf5 gets a data set of f64 for each metric, and the names as lists of strings query_ and
 * cluster_; any other a CSV. Rank 0 writes. Collective. */
TDM_CHECKED tdm_status query_values_write(tdm_comm *comm, const query_values *v, const char *path);
void query_values_free(query_values *v);

/* ---- Intervals ---- */
typedef struct interval_options {
    double level; /* 0: none */
    int64_t resamples, seed;
} interval_options;
#define INTERVAL_DEFAULTS                                                                                    \
    {                                                                                                        \
        .resamples = 10000, .seed = 1                                                                        \
    }
#define INTERVAL_FLAGS(options, default_level)                                                               \
    FLAG_FLOAT("--intervals", &(options).level, "LEVEL", default_level, "", 0.5, 0.9999,                     \
               "bootstrap intervals of so much, as 0.95"),                                                   \
        FLAG_INT("--resamples", &(options).resamples, "N", "10000", "", 100, 1000000, "of the bootstrap"),   \
        FLAG_INT("--seed", &(options).seed, "N", "1", "", 0, (int64_t)1 << 53, "of what is drawn")

typedef struct metric_intervals {
    int64_t queries, clusters; /* that have a positive */
    tdm_interval of[TDM_MAX_METRICS];
} metric_intervals;
/* Collective; every rank gets the same. threads 0: tdm_default_threads. */
TDM_CHECKED tdm_status query_values_intervals(tdm_comm *comm, const query_values *v,
                                              const interval_options *options, int64_t threads,
                                              metric_intervals *intervals);
/* [low, high]; null where there is none. */
json_t *interval_json(tdm_interval interval);
/* {"level", "resamples", "seed", "clusters_by", "clusters", "of": {NAME: [low, high]}} */
json_t *intervals_json(const query_values *v, const interval_options *options,
                       const metric_intervals *intervals);
/* One line of the log: "NAME95 % intervals: R@1 0.41 to 0.44 …" */
TDM_CHECKED tdm_status intervals_log(const char *name, const query_values *v, const interval_options *options,
                                     const metric_intervals *intervals);

#endif
