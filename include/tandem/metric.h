/* Retrieval metrics. One file and one row of src/eval/metric_table.h each: JSON, console, run log, report and
 * checkpoint.best_metric walk the rows. */
#ifndef TANDEM_METRIC_H
#define TANDEM_METRIC_H

#include "tandem/base.h"

/* Where the positives of one query stand in its ranking. */
typedef struct tdm_ranking {
    int64_t m;           /* positives, at least 1 */
    const int64_t *rank; /* [m] ascending; 1 = best */
    /* [m] of each positive, at least 1, and the same from the largest to the smallest; NULL: all are 1. */
    const int32_t *grade, *ideal;
} tdm_ranking;

typedef enum tdm_metric_summary { TDM_MEAN, TDM_MEDIAN } tdm_metric_summary;

typedef struct tdm_metric {
    const char *name;  /* key in JSON and after the dot of checkpoint.best_metric */
    const char *label; /* on the console: "R@1" */
    const char *title; /* on pages: "Recall@1" */
    const char *help;  /* one sentence */
    const char *also;  /* other names that one may ask by, "AP,mAP": those of ir-measures first; NULL: none */
    bool less_is_better;
    bool is_share;    /* from 0 to 1; otherwise a rank or a count */
    bool is_headline; /* one of the few that short lines, charts and sheets show */
    bool may_fall;    /* when a positive moves up: a flaw of the definition, kept for comparisons */
    int64_t cutoff;   /* K of "…@K"; 0 = none */
    /* Of one query, finite. */
    double (*value)(const tdm_ranking *ranking, int64_t cutoff);
    /* Over the queries that have a positive. The mean is summed in their global order; the median of an even
     * count is the mean of the middle two. */
    tdm_metric_summary summary;
    double empty; /* when no query has a positive */
} tdm_metric;

enum { TDM_MAX_METRICS = 64 };
/* All rows, in the order of the JSON. */
const tdm_metric *const *tdm_metric_table(size_t *count);
/* Rows that one may ask for by name: "{K}" in the texts stands for a cutoff of one's choice. */
const tdm_metric *const *tdm_metric_family_table(size_t *count);
/* The mean or median of value[n], which may be sorted for it. Sums go in the order that is given. n = 0: .empty */
double tdm_metric_summarise(const tdm_metric *metric, int64_t n, double *value);
/* Place in the table, -1 when there is none of the name. */
int tdm_metric_index(const char *name);
/* Is `value` better than `best`? NaN as `best`: there is none yet. */
bool tdm_metric_better(const tdm_metric *metric, double value, double best);

/* The rows of the table, and behind them those that were asked for. */
typedef struct tdm_metric_rows { /* tdm_metric_rows_free */
    size_t count;
    const tdm_metric *row[TDM_MAX_METRICS];
    bool r_sum;               /* tdm_metrics_r_sum was asked for, too */
    struct metric_made *made; /* owned: what the families became */
} tdm_metric_rows;
/* names: "recall_at_20,r_precision", "" for none. What the table has already is not added again. An error `code`
 * begins with `where` and names the nearest that exists. */
TDM_CHECKED tdm_status tdm_metric_rows_ask(const char *where, tdm_status code, const char *names,
                                           tdm_metric_rows *rows);
void tdm_metric_rows_free(tdm_metric_rows *rows);
/* rows NULL: the table. */
const tdm_metric *const *tdm_metric_rows_of(const tdm_metric_rows *rows, size_t *count);

typedef struct tdm_metrics {                    /* of one direction of a retrieval */
    int64_t queries, gallery, without_positive; /* queries without a positive are left out of `value` */
    const tdm_metric_rows *rows;                /* of `value`; NULL: the table. Borrowed */
    double value[TDM_MAX_METRICS];              /* in the order of the rows */
} tdm_metrics;
/* By name; NaN when there is no such metric. */
double tdm_metrics_value(const tdm_metrics *metrics, const char *name);
/* " R@1 0.4170  R@5 0.8000": label and value of every row, or of the headline ones, appended to `text`. */
TDM_CHECKED tdm_status tdm_metrics_print(const tdm_metrics *metrics, bool headline_only, tdm_text *text);

/* What one may ask for beside them (tdm_eval_detail). */
typedef struct tdm_curve_point { /* means over the queries that have a positive, at one rank */
    int64_t rank;
    double recall, precision;
} tdm_curve_point;
typedef struct tdm_class_metrics {
    int64_t queries; /* of the class that have a positive */
    double value[TDM_MAX_METRICS];
} tdm_class_metrics;

typedef struct tdm_interval { /* that holds a figure (significance.h); NaN: there are no queries */
    double low, high;
} tdm_interval;

/* ---- The two directions of a retrieval ---- */
typedef enum tdm_direction {
    TDM_TEXT_TO_IMAGE,
    TDM_IMAGE_TO_TEXT,
    TDM_DIRECTIONS,
    TDM_AVERAGE = TDM_DIRECTIONS /* of a choice only: the mean of both */
} tdm_direction;
const char *tdm_direction_key(tdm_direction direction);   /* "text_to_image", in JSON */
const char *tdm_direction_label(tdm_direction direction); /* "text to image" */

/* What checkpoint.best_metric names: "text_to_image.recall_at_1", "average.map", "r_sum". */
typedef struct tdm_metric_choice {
    tdm_direction direction;
    const tdm_metric *metric;
    bool r_sum; /* of both directions; metric describes it and has no value of its own */
} tdm_metric_choice;
/* The rows that such keys name, "average.ndcg_at_20", behind those of the table; errors as tdm_metric_rows_ask. */
TDM_CHECKED tdm_status tdm_metric_rows_of_keys(const char *where, tdm_status code, const char *const *key,
                                               int64_t count, tdm_metric_rows *rows);
/* rows: among which (NULL: the table); choice borrows of them. TDM_E_CONFIG begins with `where` and names `key` and the
 * nearest one that exists. */
TDM_CHECKED tdm_status tdm_metric_choose(const char *where, const char *key, const tdm_metric_rows *rows,
                                         tdm_metric_choice *choice);
/* One key alone, of whatever name --metrics takes, "average.nDCG@20"; *rows becomes the table and its row, to be
 * freed. Errors
 * as both of the above. */
TDM_CHECKED tdm_status tdm_metric_choose_any(const char *where, tdm_status code, const char *key,
                                             tdm_metric_rows *rows, tdm_metric_choice *choice);
/* Of metrics of the same rows. */
double tdm_metrics_chosen(const tdm_metrics metrics[TDM_DIRECTIONS], const tdm_metric_choice *choice);
/* Recall at 1, 5 and 10 of both directions, added up: from 0 to 6. */
double tdm_metrics_r_sum(const tdm_metrics metrics[TDM_DIRECTIONS]);

#endif
