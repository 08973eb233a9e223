#include "result_json.h"

#include <math.h>
#include <stdlib.h>

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
    const tdm_metric *const *row = tdm_metric_table(&count);
    json_t *object = json_object();
    json_object_set_new(object, "queries", json_integer(metrics->queries));
    json_object_set_new(object, "gallery", json_integer(metrics->gallery));
    json_object_set_new(object, "without_positive", json_integer(metrics->without_positive));
    for (size_t i = 0; i < count; i++)
        json_object_set_new(object, row[i]->name, metric_value(metrics->value[i]));
    return object;
}
