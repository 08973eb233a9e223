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

static void set_values(json_t *object, const tdm_metric_rows *rows, const double *value)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(rows, &count);
    for (size_t i = 0; i < count; i++) json_object_set_new(object, row[i]->name, metric_value(value[i]));
}

json_t *result_metrics(const tdm_metrics *metrics)
{
    json_t *object = json_object();
    json_object_set_new(object, "queries", json_integer(metrics->queries));
    json_object_set_new(object, "gallery", json_integer(metrics->gallery));
    json_object_set_new(object, "without_positive", json_integer(metrics->without_positive));
    set_values(object, metrics->rows, metrics->value);
    return object;
}

void result_log_work(const tdm_eval_work *work)
{
    char text[160];
    tdm_eval_work_print(work, text, sizeof text);
    tdm_log(TDM_LOG_INFO, "%s", text);
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

json_t *result_folds(int64_t folds, int directions, const char *const *key, tdm_metrics *const *fold)
{
    json_t *object = json_object(), *each = json_array();
    tdm_metrics mean[TDM_DIRECTIONS];
    json_object_set_new(object, "count", json_integer(folds));
    for (int d = 0; d < directions; d++) {
        json_t *values = json_object();
        tdm_metrics_mean(folds, fold[d], &mean[d]);
        set_values(values, mean[d].rows, mean[d].value);
        json_object_set_new(object, key[d], values);
    }
    if (directions == TDM_DIRECTIONS) {
        json_object_set_new(object, "average", result_average(mean));
        if (mean[0].rows && mean[0].rows->r_sum) json_object_set_new(object, "r_sum", result_r_sum(mean));
    }
    for (int64_t k = 0; k < folds; k++) {
        json_t *one = json_object();
        for (int d = 0; d < directions; d++) json_object_set_new(one, key[d], result_metrics(&fold[d][k]));
        json_array_append_new(each, one);
    }
    json_object_set_new(object, "each", each);
    return object;
}

json_t *result_group(const char *name, const tdm_metric_rows *rows, const tdm_group_metrics *groups,
                     int64_t k)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(rows, &count);
    json_t *object = json_object();
    json_object_set_new(object, "class", tdm_json_text(name));
    json_object_set_new(object, "queries", json_integer(groups->queries[k]));
    for (size_t i = 0; groups->queries[k] && i < count; i++)
        json_object_set_new(object, row[i]->name,
                            metric_value(groups->value[(int64_t)i * groups->groups + k]));
    return object;
}

json_t *result_macro(const char *by, const tdm_metric_rows *rows, const tdm_group_metrics *groups)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(rows, &count);
    json_t *object = json_object();
    json_object_set_new(object, "by", json_string(by));
    json_object_set_new(object, "groups", json_integer(groups->groups));
    json_object_set_new(object, "without_positive", json_integer(groups->without_positive));
    for (size_t i = 0; i < count; i++)
        if (row[i]->summary == TDM_MEAN)
            json_object_set_new(object, row[i]->name, metric_value(groups->macro[i]));
    return object;
}

json_t *result_macro_average(const char *by, const tdm_metric_rows *rows,
                             const tdm_group_metrics groups[TDM_DIRECTIONS])
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(rows, &count);
    json_t *object = json_object();
    json_object_set_new(object, "by", json_string(by));
    for (size_t i = 0; i < count; i++)
        if (row[i]->summary == TDM_MEAN)
            json_object_set_new(
                object, row[i]->name,
                metric_value((groups[TDM_TEXT_TO_IMAGE].macro[i] + groups[TDM_IMAGE_TO_TEXT].macro[i]) / 2));
    return object;
}

json_t *result_r_sum(const tdm_metrics metrics[TDM_DIRECTIONS])
{
    return metric_value(tdm_metrics_r_sum(metrics));
}

void result_rounding(json_t *root, const tdm_inference *inference)
{
    if (inference->rounding == NULL) return;
    json_t *all = json_object();
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const tdm_rounding *r = &inference->rounding[m];
        json_t *one = json_object();
        json_object_set_new(one, "rows", json_integer(r->rows));
        json_object_set_new(one, "cosine_mean", r->rows > 0 ? json_real(r->mean) : json_null());
        json_object_set_new(one, "cosine_min", r->rows > 0 ? json_real(r->least) : json_null());
        json_object_set_new(all, tdm_modality_name((tdm_modality)m), one);
    }
    json_object_set_new(root, "int8", all);
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

json_t *result_call(const char *name, const tdm_option *option, size_t count, const void *options)
{
    json_t *object = json_object();
    json_object_set_new(object, "name", json_string(name));
    for (size_t o = 0; o < count; o++) {
        const void *field = (const unsigned char *)options + option[o].offset;
        json_object_set_new(object, option[o].key,
                            option[o].type == TDM_OPTION_INT ? json_integer(*(const int64_t *)field)
                                                             : json_real(*(const double *)field));
    }
    return object;
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
