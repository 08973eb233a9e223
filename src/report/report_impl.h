/* Private to src/report: the page frame, curves, values as text. */
#ifndef TANDEM_REPORT_IMPL_H
#define TANDEM_REPORT_IMPL_H

#include "tandem/report.h"

/* Everything up to and including the heading; style, light and dark, is inline. subtitle may be NULL. */
TDM_CHECKED tdm_status html_begin(tdm_text *html, const char *title, const char *subtitle);
TDM_CHECKED tdm_status html_end(tdm_text *html, const char *note);
/* src="data:…" of an encoded image; nothing, and *known = false, when its type is not one that browsers show.
 */
TDM_CHECKED tdm_status html_image_source(tdm_text *html, const void *image, int64_t bytes, bool *known);

/* "12.3k", "0.0415", "3": three significant digits, for people. */
void show_value(char out[32], double value);
/* The same of a metric: four places of a share. */
void show_figure(char out[32], double value, bool is_share);

typedef struct chart_series {
    const char *name;
    int64_t n;
    const double *x, *y; /* x ascending; a y that is not finite interrupts the line */
} chart_series;
enum { CHART_MAX_SERIES = 8 };
typedef struct line_chart {
    const char *title, *unit; /* unit may be "" */
    const char *x_title;
    bool from_zero; /* the y axis begins at 0 */
    bool x_is_log;  /* x is positive, its axis logarithmic */
    int series_count;
    chart_series series[CHART_MAX_SERIES];
} line_chart;
/* A <figure> with title, legend (name and last value) and inline SVG; nothing when no series has a point. */
TDM_CHECKED tdm_status chart_append(tdm_text *html, const line_chart *chart);

/* The parts of an evaluation's page. */
TDM_CHECKED tdm_status picture_append(tdm_text *html, const tdm_picture *picture);
TDM_CHECKED tdm_status intervals_append(tdm_text *html, const tdm_eval_page *page);
TDM_CHECKED tdm_status orders_append(tdm_text *html, const tdm_eval_page *page);
TDM_CHECKED tdm_status class_metrics_append(tdm_text *html, const tdm_eval_page *page);
TDM_CHECKED tdm_status sheet_append(tdm_text *html, const tdm_sheet_query *query, int64_t query_count);
#define SHEET_NOTE                                                                                           \
    "Tandem " TDM_VERSION ". Scores are cosine similarities. Thumbnails are the images of the data set, "    \
    "embedded in this file."

/* One value per step under one name: "loss", "eval.text_to_image.map". */
typedef struct run_curve {
    char name[96];
    int64_t n, capacity;
    double *x, *y;
} run_curve;
/* The host of a rank that was slow. */
typedef struct run_host {
    int64_t rank;
    char name[64];
} run_host;
typedef struct run_curves {
    run_curve *item;
    int64_t count, capacity;
    double last_step;
    run_host *host;
    int64_t host_count, host_capacity;
    int64_t bad_lines; /* of metrics.jsonl: not JSON objects with a step, such as a half-written last one */
} run_curves;
TDM_CHECKED tdm_status run_curves_read(const char *path, run_curves *curves);
const run_curve *run_curves_find(const run_curves *curves, const char *name); /* NULL when not there */
void run_curves_free(run_curves *curves);

/* ---- slow_ranks.c ---- */
/* Nothing for a run of one rank. */
TDM_CHECKED tdm_status slow_ranks_append(tdm_text *html, const run_curves *curves);

#endif
