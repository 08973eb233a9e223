/* The rows of the metrics, and what is done with each of them. */
#include "metric_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define METRIC_ADDRESS(metric) &metric,
static const tdm_metric *const metrics_known[] = {TDM_METRIC_TABLE(METRIC_ADDRESS)};
enum { METRICS = sizeof metrics_known / sizeof metrics_known[0] };
_Static_assert((int)METRICS <= (int)TDM_MAX_METRICS, "tdm_metrics has room for every metric");

static const struct {
    const char *key, *label;
} directions[TDM_DIRECTIONS + 1] = {
    [TDM_TEXT_TO_IMAGE] = {"text_to_image", "text to image"},
    [TDM_IMAGE_TO_TEXT] = {"image_to_text", "image to text"},
    [TDM_AVERAGE] = {"average", "both directions"},
};

const tdm_metric *const *tdm_metric_table(size_t *count)
{
    *count = METRICS;
    return metrics_known;
}

int tdm_metric_index(const char *name)
{
    for (int i = 0; i < METRICS; i++)
        if (strcmp(metrics_known[i]->name, name) == 0) return i;
    return -1;
}

double tdm_metric_summarise(const tdm_metric *metric, int64_t n, double *value)
{
    double sum = 0;
    if (n == 0) return metric->empty;
    switch (metric->summary) {
    case TDM_MEAN:
        for (int64_t i = 0; i < n; i++) sum += value[i];
        return sum / (double)n;
    case TDM_MEDIAN:
        qsort(value, (size_t)n, sizeof *value, tdm_compare_doubles);
        return 0.5 * (value[(n - 1) / 2] + value[n / 2]);
    }
    return metric->empty;
}

bool tdm_metric_better(const tdm_metric *metric, double value, double best)
{
    if (isnan(best)) return true;
    return metric->less_is_better ? value < best : value > best;
}

double tdm_metrics_value(const tdm_metrics *metrics, const char *name)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(metrics->rows, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(row[i]->name, name) == 0) return metrics->value[i];
    return NAN;
}

/* Place of a row among those of `rows`. */
static size_t place_of(const tdm_metric *metric, const tdm_metric_rows *rows)
{
    size_t count = 0, i = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(rows, &count);
    while (i + 1 < count && row[i] != metric) i++;
    return i;
}

double tdm_metrics_chosen(const tdm_metrics metrics[TDM_DIRECTIONS], const tdm_metric_choice *choice)
{
    if (choice->r_sum) return tdm_metrics_r_sum(metrics);
    const size_t i = place_of(choice->metric, metrics[TDM_TEXT_TO_IMAGE].rows);
    if (choice->direction != TDM_AVERAGE) return metrics[choice->direction].value[i];
    return (metrics[TDM_TEXT_TO_IMAGE].value[i] + metrics[TDM_IMAGE_TO_TEXT].value[i]) / 2;
}

double tdm_metrics_r_sum(const tdm_metrics metrics[TDM_DIRECTIONS])
{
    static const char *const term[] = {"recall_at_1", "recall_at_5", "recall_at_10"};
    double sum = 0;
    for (int d = 0; d < TDM_DIRECTIONS; d++)
        for (size_t i = 0; i < sizeof term / sizeof term[0]; i++)
            sum += tdm_metrics_value(&metrics[d], term[i]);
    return sum;
}

tdm_status tdm_metrics_print(const tdm_metrics *metrics, bool headline_only, tdm_text *text)
{
    size_t count = 0;
    const tdm_metric *const *rows = tdm_metric_rows_of(metrics->rows, &count);
    const char *between = "";
    for (size_t i = 0; i < count; i++) {
        const tdm_metric *row = rows[i];
        if (headline_only && !row->is_headline) continue;
        TDM_TRY(tdm_text_printf(text, row->is_share ? "%s%s %.4f" : "%s%s %.1f", between, row->label,
                                metrics->value[i]));
        between = "  ";
    }
    return TDM_OK;
}

const char *tdm_direction_key(tdm_direction direction)
{
    return directions[direction].key;
}

const char *tdm_direction_label(tdm_direction direction)
{
    return directions[direction].label;
}

tdm_status tdm_metric_choose(const char *where, const char *key, const tdm_metric_rows *rows,
                             tdm_metric_choice *choice)
{
    enum { CHOICES = (TDM_DIRECTIONS + 1) * TDM_MAX_METRICS + 1 };
    static const tdm_metric r_sum = {.name = "r_sum", .label = "R-sum", .title = "R-sum"};
    char name[CHOICES][96];
    const char *names[CHOICES];
    size_t count = 0;
    int choices = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(rows, &count);
    if (rows && rows->r_sum && strcmp(key, r_sum.name) == 0) {
        *choice = (tdm_metric_choice){.direction = TDM_AVERAGE, .metric = &r_sum, .r_sum = true};
        return TDM_OK;
    }
    for (int d = 0; d <= TDM_DIRECTIONS; d++) {
        for (size_t i = 0; i < count; i++, choices++) {
            snprintf(name[choices], sizeof name[choices], "%s.%s", directions[d].key, row[i]->name);
            names[choices] = name[choices];
            if (strcmp(key, name[choices]) != 0) continue;
            *choice = (tdm_metric_choice){.direction = (tdm_direction)d, .metric = row[i]};
            return TDM_OK;
        }
    }
    const char *near = tdm_nearest_name(key, names, (size_t)choices);
    TDM_REQUIRE(near == NULL, TDM_E_CONFIG,
                "%s = \"%s\": there is no such metric; did you mean \"%s\"? Others, with "
                "any cutoff, are there when eval.metrics names them",
                where, key, near);
    TDM_FAIL(TDM_E_CONFIG,
             "%s = \"%s\": there is no such metric; `tandem eval --help` lists them, "
             "\"%s\" is one, and eval.metrics adds others",
             where, key, names[0]);
}
