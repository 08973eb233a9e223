/* report.html of a run directory. */
#include "report_impl.h"

#include "tandem/metric.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Curves ---- a chart is a row: its title and the keys that it draws ---- */

typedef struct chart_row {
    const char *title, *unit;
    bool from_zero;
    double scale; /* multiplies the values */
    struct {
        const char *key, *name;
    } series[CHART_MAX_SERIES];
} chart_row;

static const chart_row rate_rows[] = {
    {"Learning rate", "", true, 1, {{"lr", "learning rate"}}},
};

static const chart_row run_rows[] = {
    {"Inverse temperature", "exp(logit_scale)", false, 1, {{"inverse_temperature", "inverse temperature"}}},
    {"Gradient norm", "before clipping", true, 1, {{"grad_norm", "gradient norm"}}},
    {"Throughput", "pairs per second", true, 1, {{"pairs_per_s", "pairs/s"}}},
    {"Waiting",
     "% of the time",
     true,
     100,
     {{"wait_data_share", "for data"},
      {"wait_ranks_share", "for slower ranks"},
      {"comm_share", "communication"}}},
    {"Memory", "resident MiB of rank 0", true, 1.0 / (1 << 20), {{"rss_bytes", "resident"}}},
};

static tdm_status append_scaled(tdm_text *html, line_chart *c, double scale)
{
    double *scaled[CHART_MAX_SERIES] = {NULL};
    tdm_status status = TDM_OK;
    for (int i = 0; i < c->series_count && scale != 1 && status == TDM_OK; i++) {
        status = TDM_ALLOC(c->series[i].n, &scaled[i]);
        for (int64_t j = 0; j < c->series[i].n && status == TDM_OK; j++)
            scaled[i][j] = c->series[i].y[j] * scale;
        c->series[i].y = scaled[i];
    }
    if (status == TDM_OK) status = chart_append(html, c);
    for (int i = 0; i < CHART_MAX_SERIES; i++) tdm_free(scaled[i]);
    return status;
}

static const run_curve *eval_curve(const run_curves *curves, tdm_direction direction, const char *key)
{
    char name[96];
    snprintf(name, sizeof name, "eval.%s.%s", tdm_direction_key(direction), key);
    return run_curves_find(curves, name);
}

static void add_series(line_chart *c, const run_curve *curve, const char *name)
{
    if (curve == NULL || curve->n == 0 || c->series_count == CHART_MAX_SERIES) return;
    c->series[c->series_count++] = (chart_series){.name = name, .n = curve->n, .x = curve->x, .y = curve->y};
}

static tdm_status append_rows(tdm_text *html, const run_curves *curves, const chart_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        line_chart c = {
            .title = rows[i].title, .unit = rows[i].unit, .x_title = "step", .from_zero = rows[i].from_zero};
        for (int s = 0; s < CHART_MAX_SERIES && rows[i].series[s].key != NULL; s++)
            add_series(&c, run_curves_find(curves, rows[i].series[s].key), rows[i].series[s].name);
        TDM_TRY(append_scaled(html, &c, rows[i].scale));
    }
    return TDM_OK;
}

/* One chart per direction: the headline metrics. */
static tdm_status append_evaluation(tdm_text *html, const run_curves *curves)
{
    size_t count = 0;
    const tdm_metric *const *metric = tdm_metric_table(&count);
    for (int d = 0; d < TDM_DIRECTIONS; d++) {
        char title[64];
        snprintf(title, sizeof title, "%s", tdm_direction_label((tdm_direction)d));
        title[0] = (char)toupper((unsigned char)title[0]);
        line_chart c = {
            .title = title, .unit = "on the evaluation split", .x_title = "step", .from_zero = true};
        for (size_t i = 0; i < count; i++)
            if (metric[i]->is_headline)
                add_series(&c, eval_curve(curves, (tdm_direction)d, metric[i]->name), metric[i]->title);
        TDM_TRY(chart_append(html, &c));
    }
    return TDM_OK;
}

/* The total and, when there are several, its terms: every key that begins with "loss". */
static tdm_status append_loss(tdm_text *html, const run_curves *curves)
{
    line_chart c = {.title = "Loss", .unit = "", .x_title = "step"};
    add_series(&c, run_curves_find(curves, "loss"), "total");
    int64_t terms = 0;
    for (int64_t i = 0; i < curves->count; i++) terms += strncmp(curves->item[i].name, "loss_", 5) == 0;
    for (int64_t i = 0; i < curves->count && terms > 1; i++)
        if (strncmp(curves->item[i].name, "loss_", 5) == 0)
            add_series(&c, &curves->item[i], curves->item[i].name + 5);
    return append_scaled(html, &c, 1);
}

/* ---- Tiles ---- */

/* NaN without a finite one. */
static double last_point(const run_curve *c)
{
    for (int64_t i = c == NULL ? 0 : c->n; i > 0; i--)
        if (isfinite(c->y[i - 1])) return c->y[i - 1];
    return NAN;
}

static double last_value(const run_curves *curves, const char *name)
{
    return last_point(run_curves_find(curves, name));
}

static double median_value(const run_curves *curves, const char *name);

static tdm_status append_tile(tdm_text *html, const char *value, const char *label)
{
    TDM_TRY(tdm_text_printf(html, "<div class=\"tile\"><b>%s</b><span>", value));
    TDM_TRY(tdm_text_html(html, label));
    return tdm_text_printf(html, "</span></div>\n");
}

static tdm_status append_number_tile(tdm_text *html, double value, const char *label)
{
    char text[32];
    if (!isfinite(value)) return TDM_OK;
    show_value(text, value);
    return append_tile(html, text, label);
}

static tdm_status append_time_tile(tdm_text *html, double seconds)
{
    char text[48];
    if (!isfinite(seconds)) return TDM_OK;
    const int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 3600)
        snprintf(text, sizeof text, "%lld h %02lld min", (long long)(s / 3600), (long long)(s / 60 % 60));
    else
        snprintf(text, sizeof text, "%lld min %02lld s", (long long)(s / 60), (long long)(s % 60));
    return append_tile(html, text, "training time");
}

static int compare_f64(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median_value(const run_curves *curves, const char *name)
{
    const run_curve *c = run_curves_find(curves, name);
    double *sorted = NULL, median = NAN;
    if (c == NULL || c->n == 0 || TDM_ALLOC(c->n, &sorted) != TDM_OK) return NAN;
    int64_t n = 0;
    for (int64_t i = 0; i < c->n; i++)
        if (isfinite(c->y[i])) sorted[n++] = c->y[i];
    qsort(sorted, (size_t)n, sizeof *sorted, compare_f64);
    if (n > 0) median = sorted[n / 2];
    tdm_free(sorted);
    return median;
}

static tdm_status append_share_tile(tdm_text *html, const run_curve *c, const char *label)
{
    double sum = 0.0;
    char text[32];
    if (c == NULL || c->n == 0) return TDM_OK;
    for (int64_t i = 0; i < c->n; i++) sum += isfinite(c->y[i]) ? c->y[i] : 0.0;
    snprintf(text, sizeof text, "%.1f %%", 100.0 * sum / (double)c->n);
    return append_tile(html, text, label);
}

/* The first metric of the table. */
static tdm_status append_metric_tile(tdm_text *html, const run_curves *curves)
{
    size_t count = 0;
    char label[96];
    const tdm_metric *metric = tdm_metric_table(&count)[0];
    snprintf(label, sizeof label, "%s %s, last", tdm_direction_label(TDM_TEXT_TO_IMAGE), metric->title);
    return append_number_tile(html, last_point(eval_curve(curves, TDM_TEXT_TO_IMAGE, metric->name)), label);
}

static tdm_status append_tiles(tdm_text *html, const run_curves *curves)
{
    TDM_TRY(tdm_text_printf(html, "<div class=\"tiles\">\n"));
    if (isfinite(curves->last_step)) TDM_TRY(append_number_tile(html, curves->last_step, "steps"));
    TDM_TRY(append_number_tile(html, last_value(curves, "epoch"), "epochs"));
    TDM_TRY(append_time_tile(html, last_value(curves, "elapsed_s")));
    TDM_TRY(append_number_tile(html, last_value(curves, "loss"), "loss, last"));
    TDM_TRY(append_number_tile(html, median_value(curves, "pairs_per_s"), "pairs/s, median"));
    TDM_TRY(append_share_tile(html, run_curves_find(curves, "wait_data_share"), "waiting for data"));
    TDM_TRY(append_metric_tile(html, curves));
    return tdm_text_printf(html, "</div>\n");
}

/* ---- Final metrics ---- */

static tdm_status append_cell(tdm_text *html, double value, bool is_share)
{
    if (!isfinite(value)) return tdm_text_printf(html, "<td>–</td>");
    if (is_share) return tdm_text_printf(html, "<td>%.4f</td>", value);
    return tdm_text_printf(html, value == rint(value) ? "<td>%.0f</td>" : "<td>%.2f</td>", value);
}

/* From eval.json where there is one, else from the last evaluation while training. */
static double final_value(const run_curves *curves, const json_t *eval, tdm_direction direction,
                          const char *key)
{
    if (eval == NULL) return last_point(eval_curve(curves, direction, key));
    const json_t *value = json_object_get(json_object_get(eval, tdm_direction_key(direction)), key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Nothing where neither direction has the value: a file of an earlier version. */
static tdm_status append_metric(tdm_text *html, const run_curves *curves, const json_t *eval, const char *key,
                                const char *title, const char *help, bool is_share)
{
    double value[TDM_DIRECTIONS];
    bool is_there = false;
    for (int d = 0; d < TDM_DIRECTIONS; d++) {
        value[d] = final_value(curves, eval, (tdm_direction)d, key);
        is_there |= isfinite(value[d]);
    }
    if (!is_there) return TDM_OK;
    TDM_TRY(tdm_text_printf(html, "<tr><td title=\""));
    TDM_TRY(tdm_text_html(html, help));
    TDM_TRY(tdm_text_printf(html, "\">%s</td>", title));
    for (int d = 0; d < TDM_DIRECTIONS; d++) TDM_TRY(append_cell(html, value[d], is_share));
    return tdm_text_printf(html, "</tr>\n");
}

/* A figure that was asked for; nothing where `key` is no metric's, or is in the table. */
static tdm_status append_asked(tdm_text *html, const run_curves *curves, const json_t *eval, const char *key)
{
    tdm_metric_rows rows;
    size_t table = 0;
    (void)tdm_metric_table(&table);
    /* What is no metric is no failure here. */
    if (tdm_metric_rows_ask("report", TDM_E_DATA, key, &rows) != TDM_OK) return TDM_OK;
    tdm_status status = TDM_OK;
    for (size_t i = table; i < rows.count && status == TDM_OK; i++)
        status = append_metric(html, curves, eval, rows.row[i]->name, rows.row[i]->title, rows.row[i]->help,
                               rows.row[i]->is_share);
    tdm_metric_rows_free(&rows);
    return status;
}

/* Those of eval.metrics, or of --metrics, in their order. */
static tdm_status append_all_asked(tdm_text *html, const run_curves *curves, const json_t *eval)
{
    char prefix[64];
    const char *key = tdm_direction_key(TDM_TEXT_TO_IMAGE);
    json_t *value, *direction = json_object_get(eval, key);
    const int length = snprintf(prefix, sizeof prefix, "eval.%s.", key);
    json_object_foreach(direction, key, value)
    {
        if (json_is_number(value)) TDM_TRY(append_asked(html, curves, eval, key));
    }
    for (int64_t i = 0; eval == NULL && i < curves->count; i++)
        if (strncmp(curves->item[i].name, prefix, (size_t)length) == 0)
            TDM_TRY(append_asked(html, curves, eval, curves->item[i].name + length));
    return TDM_OK;
}

static tdm_status append_metric_rows(tdm_text *html, const run_curves *curves, const json_t *eval)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_table(&count);
    for (size_t i = 0; i < count; i++)
        TDM_TRY(
            append_metric(html, curves, eval, row[i]->name, row[i]->title, row[i]->help, row[i]->is_share));
    TDM_TRY(append_all_asked(html, curves, eval));
    TDM_TRY(append_metric(html, curves, eval, "queries", "Queries", "", false));
    TDM_TRY(append_metric(html, curves, eval, "without_positive", "Queries without a positive (left out)", "",
                          false));
    return append_metric(html, curves, eval, "gallery", "Gallery", "", false);
}

static tdm_status append_string(tdm_text *html, const json_t *eval, const char *key, const char *label)
{
    const char *value = json_string_value(json_object_get(eval, key));
    if (value == NULL) return TDM_OK;
    TDM_TRY(tdm_text_printf(html, "%s", label));
    TDM_TRY(tdm_text_html(html, value));
    return TDM_OK;
}

static tdm_status append_selection(tdm_text *html, const json_t *selection)
{
    if (selection == NULL) return TDM_OK;
    TDM_TRY(append_string(html, selection, "metric", "; the best checkpoint by "));
    TDM_TRY(append_string(html, selection, "chosen_on", ", chosen on split "));
    return json_is_true(json_object_get(selection, "chosen_on_measured_split"))
               ? tdm_text_printf(html, ", <b>the split that it is measured on</b>: the figures flatter it")
               : TDM_OK;
}

static tdm_status append_metrics(tdm_text *html, const run_curves *curves, const json_t *eval)
{
    size_t count = 0;
    const char *first = tdm_metric_table(&count)[0]->name;
    if (eval == NULL && !isfinite(final_value(curves, NULL, TDM_TEXT_TO_IMAGE, first))) return TDM_OK;
    TDM_TRY(tdm_text_printf(html, "<h2>%s</h2>\n", eval != NULL ? "Final metrics" : "Last evaluation"));
    if (eval != NULL) {
        TDM_TRY(tdm_text_printf(html, "<p class=\"sub\" style=\"margin-bottom:12px\">"));
        TDM_TRY(append_string(html, eval, "data", ""));
        TDM_TRY(append_string(html, eval, "split", ", split "));
        TDM_TRY(append_string(html, eval, "positives", ", positives by "));
        TDM_TRY(append_selection(html, json_object_get(eval, "selection")));
        TDM_TRY(tdm_text_printf(html, "</p>\n"));
    } else if (isfinite(last_value(curves, "end.best_step"))) {
        TDM_TRY(tdm_text_printf(
            html,
            "<p class=\"sub\" style=\"margin-bottom:12px\">The best was that of epoch %.4g, step "
            "%.0f: other commands take its checkpoint.</p>\n",
            last_value(curves, "end.best_epoch"), last_value(curves, "end.best_step")));
    }
    TDM_TRY(tdm_text_printf(html, "<table>\n<tr><th></th><th>text → image</th><th>image → text</th></tr>\n"));
    TDM_TRY(append_metric_rows(html, curves, eval));
    return tdm_text_printf(html, "</table>\n");
}

/* ---- The page ---- */

static tdm_status append_config(tdm_text *html, const char *path)
{
    tdm_text config = {0};
    if (!tdm_path_exists(path)) return TDM_OK;
    tdm_status status = tdm_read_file(path, &config);
    if (status == TDM_OK)
        status =
            tdm_text_printf(html, "<h2>Configuration</h2>\n<details><summary>config.cfg</summary>\n<pre>");
    if (status == TDM_OK) status = tdm_text_html(html, config.data);
    if (status == TDM_OK) status = tdm_text_printf(html, "</pre></details>\n");
    tdm_text_free(&config);
    return status;
}

static tdm_status append_page(tdm_text *html, const char *run_dir, const run_curves *curves,
                              const json_t *eval, const char *config_path)
{
    char subtitle[TDM_PATH_BYTES + 64], note[256];
    snprintf(subtitle, sizeof subtitle, "Run %s", run_dir);
    TDM_TRY(html_begin(html, "Tandem training report", subtitle));
    TDM_TRY(append_tiles(html, curves));
    TDM_TRY(append_metrics(html, curves, eval));
    TDM_TRY(tdm_text_printf(html, "<h2>Curves</h2>\n<div class=\"charts\">\n"));
    TDM_TRY(append_loss(html, curves));
    TDM_TRY(append_rows(html, curves, rate_rows, sizeof rate_rows / sizeof rate_rows[0]));
    TDM_TRY(append_evaluation(html, curves));
    TDM_TRY(append_rows(html, curves, run_rows, sizeof run_rows / sizeof run_rows[0]));
    TDM_TRY(tdm_text_printf(html, "</div>\n"));
    TDM_TRY(slow_ranks_append(html, curves));
    TDM_TRY(append_config(html, config_path));
    snprintf(note, sizeof note, "Tandem " TDM_VERSION ". The numbers behind the curves: metrics.jsonl%s",
             curves->bad_lines > 0 ? ", of which a line that is no JSON object with a step was left out."
                                   : ".");
    return html_end(html, note);
}

/* NULL when there is none; a file that is not JSON counts as none and is reported. */
static json_t *read_eval(const char *path)
{
    if (!tdm_path_exists(path)) return NULL;
    json_error_t error;
    json_t *eval = json_load_file(path, 0, &error);
    if (!json_is_object(eval)) {
        tdm_log(TDM_LOG_WARN, "%s: left out of the report: %s", path,
                eval == NULL ? error.text : "not a JSON object");
        json_decref(eval);
        return NULL;
    }
    return eval;
}

tdm_status tdm_report_write(const char *run_dir)
{
    char metrics_path[TDM_PATH_BYTES], config_path[TDM_PATH_BYTES], eval_path[TDM_PATH_BYTES],
        report_path[TDM_PATH_BYTES];
    run_curves curves = {0};
    tdm_text html = {0};
    TDM_TRY(tdm_path_join(metrics_path, sizeof metrics_path, run_dir, "metrics.jsonl"));
    TDM_TRY(tdm_path_join(config_path, sizeof config_path, run_dir, "config.cfg"));
    TDM_TRY(tdm_path_join(eval_path, sizeof eval_path, run_dir, "eval.json"));
    TDM_TRY(tdm_path_join(report_path, sizeof report_path, run_dir, "report.html"));
    TDM_TRY(run_curves_read(metrics_path, &curves));
    json_t *eval = read_eval(eval_path);
    tdm_status status = append_page(&html, run_dir, &curves, eval, config_path);
    if (status == TDM_OK) status = tdm_write_file_atomic(report_path, html.data, html.length);
    json_decref(eval);
    tdm_text_free(&html);
    run_curves_free(&curves);
    return status;
}
