/* Run reports and contact sheets: single HTML files with inline SVG and inline PNG/JPEG, no network, no
 * script needed to read them. Not collective; rank 0 writes. */
#ifndef TANDEM_REPORT_H
#define TANDEM_REPORT_H

#include "tandem/base.h"
#include "tandem/metric.h"

/* report.html from RUN/metrics.jsonl, RUN/config.cfg and, if present, RUN/eval.json: curves of loss, learning
 * rate, inverse temperature, gradient norm, pairs/s, data and communication wait; final metrics; configuration. */
TDM_CHECKED tdm_status tdm_report_write(const char *run_dir);

typedef struct tdm_sheet_item {
    int64_t row;
    double score;
    const char *caption; /* UTF-8 */
    const char *name;    /* source file */
    const void *image;   /* encoded bytes (PNG, JPEG, WebP, GIF or BMP), embedded as they are */
    int64_t image_bytes;
    bool is_positive; /* framed green (eval's sheets) */
} tdm_sheet_item;
typedef struct tdm_sheet_query {
    const char *text;  /* or NULL */
    const void *image; /* query image, or NULL */
    int64_t image_bytes;
    const tdm_sheet_item *item;
    int64_t item_count;
    const char *note; /* a line below the query, or NULL */
} tdm_sheet_query;
/* The figures of one order of the gallery. */
typedef struct tdm_eval_order {
    const char *name;           /* "k_reciprocal(k1=20, k2=6, lambda=0.3)" */
    const tdm_metrics *metrics; /* [TDM_DIRECTIONS] of the same rows as every other order's */
} tdm_eval_order;

/* Points in the plane. Everything borrowed. */
typedef struct tdm_picture_point {
    bool is_text;  /* a cross, else a circle */
    int64_t group; /* by which it is coloured, -1: none */
    /* Shown when the point is pointed at; each may be NULL. UTF-8 */
    const char *text, *name;
    const void *image; /* encoded, small */
    int64_t image_bytes;
} tdm_picture_point;
typedef struct tdm_picture_view {
    const char *title, *note;
    const double *place; /* [n][2], the second upwards */
} tdm_picture_view;
typedef struct tdm_picture {
    const char *title, *subtitle;
    const tdm_picture_view *view; /* the same points in several ways, of which the page shows one at a time */
    int64_t views;
    const tdm_picture_point *point;
    int64_t n;
    const char *const *group; /* [groups] names */
    int64_t groups;
} tdm_picture;

/* Queries under a heading. */
typedef struct tdm_eval_section {
    const char *title, *note; /* note: NULL, none */
    const tdm_sheet_query *query;
    int64_t queries;
} tdm_eval_section;

/* What tandem eval shows of a retrieval. Everything borrowed. */
typedef struct tdm_eval_page {
    const char *title, *subtitle;
    const tdm_picture *picture;                              /* NULL: none */
    const tdm_curve_point *recall[TDM_DIRECTIONS];           /* [recalls] precision by recall */
    const tdm_curve_point *scope[TDM_DIRECTIONS];            /* [scopes] by rank */
    int64_t recalls[TDM_DIRECTIONS], scopes[TDM_DIRECTIONS]; /* 0: no curves */
    const tdm_class_metrics *per_class[TDM_DIRECTIONS];      /* [classes] */
    const char *const *class_name;
    int64_t classes;                              /* 0: no table */
    const tdm_metrics *metrics;                   /* [TDM_DIRECTIONS] shown with their intervals, or NULL */
    const tdm_interval *interval[TDM_DIRECTIONS]; /* of each metric */
    const char *interval_note;                    /* what they are */
    const tdm_eval_order *order;                  /* [orders] shown beside each other, the plain one first */
    int64_t orders;                               /* 0: no table */
    const tdm_metric_rows *rows;                  /* of per_class; NULL: the table of metrics */
    const tdm_sheet_query *query;                 /* [queries] some queries with what they found */
    int64_t queries;
    const tdm_eval_section *section; /* [sections] further ones */
    int64_t sections;
} tdm_eval_page;
TDM_CHECKED tdm_status tdm_eval_page_write(const char *path, const tdm_eval_page *page);

/* A table of classes. */
typedef struct tdm_class_row {
    const char *name; /* UTF-8 */
    int64_t images;
    double top_1, top_5; /* shares of them that were found; not finite: no images */
} tdm_class_row;
typedef struct tdm_tile { /* one figure above the table */
    const char *label;
    double value;
} tdm_tile;
/* Rows are shown by falling top_1, else in their order, those without images last. */
TDM_CHECKED tdm_status tdm_class_table_write(const char *path, const char *title, const char *subtitle,
                                             const tdm_tile *tile, int64_t tile_count,
                                             const tdm_class_row *row, int64_t row_count);

/* The table of a study: rows of runs, columns of metrics. Everything borrowed. */
typedef struct tdm_study_cell { /* one metric of one row */
    double mean, std;           /* over value[n]; NaN: there are none, fewer than two */
    const double *value;        /* in the order of the seeds */
    int64_t n;
    double difference, p; /* to the base row, over the seeds that both have; NaN: none, or the base itself */
} tdm_study_cell;
typedef struct tdm_study_line {
    const char *label;
    const char *series; /* lines of one series are joined where metrics are drawn over x */
    double x;           /* NaN: no axis has numbers */
    int64_t runs, failed;
    bool biased;                /* a checkpoint of it was chosen on the split that it is measured on */
    const tdm_study_cell *cell; /* [metrics] */
    const char *const *run_dir; /* [runs] of those that are done */
} tdm_study_line;
typedef struct tdm_study_table {
    const char *title, *x_title;
    const char *const *metric; /* [metrics] "text_to_image.recall_at_1" */
    const char *const *label;  /* [metrics] "Recall@1, text to image" */
    const bool *is_share;      /* [metrics] shown in percent */
    int64_t metrics, lines, base;
    const tdm_study_line *line;
} tdm_study_table;
/* The table, each metric over x, and the learning curves of its runs (the mean over a row's runs at each step). */
TDM_CHECKED tdm_status tdm_study_page_write(const char *path, const tdm_study_table *table);

/* Systems over the same queries, each beside the first. Everything borrowed. */
typedef struct tdm_compared_metric {
    const char *name, *label;
    bool is_share, less_is_better;
} tdm_compared_metric;
typedef struct tdm_compared { /* one metric of one system */
    double value;             /* over the queries that all systems have */
    /* To the first system; of that one itself, zeros. */
    double difference;
    tdm_interval interval;        /* of the difference */
    double p, adjusted;           /* of the paired randomisation test, and by Holm; NaN: not tested */
    bool exact;                   /* p counts all patterns of signs */
    int64_t better, worse, equal; /* queries */
} tdm_compared;
typedef struct tdm_changed_query { /* in the metric changed_by */
    const char *name;
    double before, after;
} tdm_changed_query;
typedef struct tdm_compared_system {
    const char *name;
    const tdm_compared *metric;           /* [metrics] */
    const tdm_changed_query *gain, *loss; /* the largest first */
    int64_t gains, losses;
} tdm_compared_system;
typedef struct tdm_comparison {
    const tdm_compared_metric *metric;
    const tdm_compared_system *system;
    int64_t metrics, systems, changed_by, tests;
    int64_t queries, clusters; /* the same: each query stands alone */
    int64_t permutations, resamples, seed;
    double level;
} tdm_comparison;
TDM_CHECKED tdm_status tdm_comparison_page_write(const char *path, const char *subtitle,
                                                 const tdm_comparison *comparison);
/* A p as tables show it: "0.0123", "<0.0001"; "–" for NaN. */
void tdm_show_p(char out[16], double p);

/* What the augmentations make of some samples. Everything borrowed. */
typedef struct tdm_view_draws { /* of one view of one sample: images or words */
    const char *view;           /* "image.aug_1" */
    const char *list;           /* its augmentations */
    const tdm_text *image;      /* [n] encoded, or NULL */
    const tdm_text *words;      /* [n] UTF-8, or NULL */
    int64_t n;
} tdm_view_draws;
typedef struct tdm_view_sample {
    const char *name, *caption; /* caption: NULL, none */
    const void *image;          /* the file's, NULL: none */
    int64_t image_bytes;
    const tdm_view_draws *view;
    int64_t views;
} tdm_view_sample;
TDM_CHECKED tdm_status tdm_views_page_write(const char *path, const char *title, const char *subtitle,
                                            const tdm_view_sample *sample, int64_t samples);

/* Scores by layer of a compression probe: one row for each part of a layer. Everything borrowed. */
typedef struct tdm_probe_scores {
    const char *title;
    int64_t layers, parts;
    const char *const *part; /* [parts] */
    const double *score;     /* [parts][layers], 0 … 1 */
} tdm_probe_scores;
/* note: lines of text below the tables. */
TDM_CHECKED tdm_status tdm_probe_page_write(const char *path, const char *title, const char *subtitle,
                                            const tdm_probe_scores *scores, int64_t count,
                                            const char *const *note, int64_t notes);

TDM_CHECKED tdm_status tdm_sheet_write(const char *path, const char *title, const char *subtitle,
                                       const tdm_sheet_query *query, int64_t query_count);

#endif
