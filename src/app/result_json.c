#include "result_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

tdm_status result_write(const json_t *root, int digits, const char *path)
{
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION((size_t)digits));
    TDM_REQUIRE(text != NULL, TDM_E_NOMEM, "cannot make the JSON of the results");
    tdm_text line = {0};
    tdm_status status = tdm_text_json(&line, text);
    if (status == TDM_OK) status = tdm_text_append(&line, "\n", 1);
    free(text);
    if (status == TDM_OK && path[0] != '\0')
        status = tdm_write_file_atomic(path, line.data, line.length);
    else if (status == TDM_OK && (fputs(line.data, stdout) == EOF || fflush(stdout) != 0))
        status = TDM_ERROR(TDM_E_IO, "standard output: cannot write");
    tdm_text_free(&line);
    return status;
}

/* A whole number has no point. */
static json_t *metric_value(double value)
{
    if (!isfinite(value)) return json_null();
    return value == rint(value) && fabs(value) < 1e15 ? json_integer((json_int_t)value) : json_real(value);
}

json_t *result_metrics(const tdm_metrics *metrics)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(metrics->rows, &count);
    json_t *object = json_object();
    json_object_set_new(object, "queries", json_integer(metrics->queries));
    json_object_set_new(object, "gallery", json_integer(metrics->gallery));
    json_object_set_new(object, "without_positive", json_integer(metrics->without_positive));
    for (size_t i = 0; i < count; i++)
        json_object_set_new(object, row[i]->name, metric_value(metrics->value[i]));
    return object;
}

tdm_status result_log(const char *name, const tdm_metrics *m, const char *behind)
{
    tdm_text values = {0};
    const tdm_status status = tdm_metrics_print(m, false, &values);
    if (status == TDM_OK)
        tdm_log(TDM_LOG_INFO, "%s%s  (%lld queries, gallery %lld%s)", name, values.data,
                (long long)m->queries, (long long)m->gallery, behind);
    if (m->without_positive > 0)
        tdm_log(TDM_LOG_WARN, "%s%lld of %lld queries have no positive in the gallery and are left out", name,
                (long long)m->without_positive, (long long)m->queries);
    tdm_text_free(&values);
    return status;
}

json_t *result_average(const tdm_metrics metrics[TDM_DIRECTIONS])
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(metrics[TDM_TEXT_TO_IMAGE].rows, &count);
    json_t *object = json_object();
    for (size_t i = 0; i < count; i++)
        json_object_set_new(
            object, row[i]->name,
            metric_value((metrics[TDM_TEXT_TO_IMAGE].value[i] + metrics[TDM_IMAGE_TO_TEXT].value[i]) / 2));
    return object;
}

json_t *result_r_sum(const tdm_metrics metrics[TDM_DIRECTIONS])
{
    return metric_value(tdm_metrics_r_sum(metrics));
}

tdm_status result_selection(json_t *root, const tdm_inference *inference, const tdm_dataset *dataset)
{
    const tdm_config *c = &inference->config;
    const tdm_selection *chosen = &inference->selection;
    char digest[65];
    if (!chosen->is_best) return TDM_OK;
    TDM_TRY(tdm_dataset_digest(dataset, digest));
    const bool same = strcmp(digest, chosen->eval_digest) == 0;
    json_t *selection = json_object();
    json_object_set_new(selection, "metric", tdm_json_text(c->checkpoint.best_metric));
    json_object_set_new(selection, "value", metric_value(chosen->value));
    if (chosen->epoch > 0.0) json_object_set_new(selection, "epoch", metric_value(chosen->epoch));
    json_object_set_new(selection, "chosen_on", tdm_json_text(c->eval.split));
    json_object_set_new(selection, "chosen_on_measured_split", json_boolean(same));
    json_object_set_new(root, "selection", selection);
    if (same)
        tdm_log(
            TDM_LOG_WARN,
            "the checkpoint was chosen on the split that it is measured on (%s): the figures flatter it; let "
            "eval.split choose on another",
            c->eval.split);
    return TDM_OK;
}

static json_t *curve(const tdm_curve_point *point, int points)
{
    json_t *list = json_array();
    for (int i = 0; i < points; i++) {
        json_t *one = json_object();
        json_object_set_new(one, "rank", json_integer(point[i].rank));
        json_object_set_new(one, "recall", metric_value(point[i].recall));
        json_object_set_new(one, "precision", metric_value(point[i].precision));
        json_array_append_new(list, one);
    }
    return list;
}

void result_detail(json_t *object, const tdm_dataset *dataset, const tdm_eval_detail *detail)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(detail->rows, &count);
    if (detail->curves) {
        json_object_set_new(object, "precision_recall", curve(detail->precision_recall, detail->points));
        json_object_set_new(object, "precision_scope", curve(detail->scope, detail->scopes));
    }
    if (!detail->classes) return;
    json_t *classes = json_array();
    for (int64_t c = 0; c < detail->classes; c++) {
        const tdm_class_metrics *of = &detail->per_class[c];
        json_t *one = json_object();
        json_object_set_new(one, "class", tdm_json_text(tdm_dataset_class_name(dataset, c)));
        json_object_set_new(one, "queries", json_integer(of->queries));
        for (size_t i = 0; of->queries && i < count; i++)
            json_object_set_new(one, row[i]->name, metric_value(of->value[i]));
        json_array_append_new(classes, one);
    }
    json_object_set_new(object, "per_class", classes);
}
