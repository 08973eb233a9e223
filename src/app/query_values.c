#include "query_values.h"

#include "tandem/h5.h"

#include <math.h>

/* ---- Gathering ---- */

tdm_status query_values_gather(tdm_comm *comm, int64_t n, const double *local, query_values *v)
{
    size_t count = 0;
    (void)tdm_metric_rows_of(v->rows, &count);
    const int64_t queries = v->query->count;
    int64_t *rows_of = NULL;
    tdm_status status = TDM_ALLOC(tdm_comm_size(comm), &rows_of);
    if (status == TDM_OK) status = TDM_ALLOC((int64_t)count * queries, &v->value);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        tdm_comm_gather_i64(comm, n, rows_of);
        for (int64_t m = 0; m < (int64_t)count; m++)
            tdm_comm_gather_rows(comm, local + m * n, v->value + m * queries, rows_of, sizeof *local);
    }
    tdm_free(rows_of);
    return status;
}

void query_values_free(query_values *v)
{
    tdm_free(v->value);
    v->value = NULL;
}

/* ---- Writing ---- */

static tdm_status print_csv(const query_values *v, tdm_text *csv)
{
    size_t count = 0;
    const tdm_metric *const *metric = tdm_metric_rows_of(v->rows, &count);
    const bool clustered = v->cluster->count > 0;
    TDM_TRY(tdm_text_printf(csv, "query%s", clustered ? ",cluster" : ""));
    for (size_t m = 0; m < count; m++) TDM_TRY(tdm_text_printf(csv, ",%s", metric[m]->name));
    TDM_TRY(tdm_text_printf(csv, "\n"));
    for (int64_t i = 0; i < v->query->count; i++) {
        TDM_TRY(tdm_text_csv(csv, row_names_at(v->query, i)));
        if (clustered) {
            TDM_TRY(tdm_text_printf(csv, ","));
            TDM_TRY(tdm_text_csv(csv, row_names_at(v->cluster, i)));
        }
        for (size_t m = 0; m < count; m++) {
            const double value = v->value[(int64_t)m * v->query->count + i];
            TDM_TRY(isnan(value) ? tdm_text_printf(csv, ",") : tdm_text_printf(csv, ",%.17g", value));
        }
        TDM_TRY(tdm_text_printf(csv, "\n"));
    }
    return TDM_OK;
}

static tdm_status write_csv(const query_values *v, const char *path)
{
    tdm_text csv = {0};
    tdm_status status = print_csv(v, &csv);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, csv.data, csv.length);
    tdm_text_free(&csv);
    return status;
}

static tdm_status put_names(tdm_h5 *file, const char *prefix, const row_names *names)
{
    tdm_h5_strings list = {0};
    tdm_status status = TDM_OK;
    for (int64_t i = 0; status == TDM_OK && i < names->count; i++) {
        const char *name = row_names_at(names, i);
        status = tdm_h5_strings_add(&list, name, strlen(name));
    }
    if (status == TDM_OK) status = tdm_h5_put_strings(file, prefix, &list);
    tdm_h5_strings_free(&list);
    return status;
}

static tdm_status put_queries(tdm_h5 *file, const query_values *v)
{
    enum { CHUNK_BYTES = 1 << 20 };
    size_t count = 0;
    const tdm_metric *const *metric = tdm_metric_rows_of(v->rows, &count);
    const int64_t queries = v->query->count;
    TDM_TRY(put_names(file, "query_", v->query));
    if (v->cluster->count > 0) TDM_TRY(put_names(file, "cluster_", v->cluster));
    for (size_t m = 0; m < count; m++)
        TDM_TRY(tdm_h5_put_array(file, metric[m]->name, TDM_H5_F64, 1, &queries, CHUNK_BYTES,
                                 v->value + (int64_t)m * queries));
    return TDM_OK;
}

static tdm_status write_h5(const query_values *v, const char *path)
{
    tdm_h5 *file = NULL;
    tdm_status status = tdm_h5_create(path, "tandem.per_query", 1, &file);
    if (status == TDM_OK) status = put_queries(file, v);
    if (status == TDM_OK) status = tdm_h5_finish(&file);
    tdm_h5_discard(&file);
    return status;
}

static bool ends_in(const char *path, const char *ending)
{
    const size_t length = strlen(path), tail = strlen(ending);
    return length > tail && strcmp(path + length - tail, ending) == 0;
}

tdm_status query_values_write(tdm_comm *comm, const query_values *v, const char *path)
{
    tdm_status status = TDM_OK;
    if (tdm_comm_rank(comm) == 0)
        status = ends_in(path, ".h5") || ends_in(path, ".hdf5") ? write_h5(v, path) : write_csv(v, path);
    return tdm_comm_agree(comm, status);
}

/* ---- Intervals ---- */

/* The queries that have a positive. */
static tdm_status compact(const query_values *v, int64_t columns, double **value, int64_t **cluster,
                          int64_t *n)
{
    const int64_t queries = v->query->count;
    const bool clustered = v->cluster->count > 0;
    *n = 0;
    TDM_TRY(TDM_ALLOC(columns * queries, value));
    TDM_TRY(TDM_ALLOC(queries, cluster));
    for (int64_t i = 0; i < queries; i++) {
        if (isnan(v->value[i])) continue;
        (*cluster)[(*n)++] = clustered ? row_names_find(v->cluster, row_names_at(v->cluster, i)) : i;
    }
    for (int64_t m = 0, at = 0; m < columns; m++)
        for (int64_t i = 0; i < queries; i++)
            if (!isnan(v->value[i])) (*value)[at++] = v->value[m * queries + i];
    return TDM_OK;
}

tdm_status query_values_intervals(tdm_comm *comm, const query_values *v, const interval_options *options,
                                  int64_t threads, metric_intervals *intervals)
{
    size_t count = 0;
    const tdm_metric *const *metric = tdm_metric_rows_of(v->rows, &count);
    tdm_statistic statistic[TDM_MAX_METRICS];
    double *value = NULL;
    int64_t *cluster = NULL;
    const tdm_bootstrap how = {.resamples = options->resamples,
                               .level = options->level,
                               .seed = (uint64_t)options->seed,
                               .threads = threads > 0 ? (int)threads : tdm_default_threads()};
    for (size_t m = 0; m < count; m++) statistic[m] = (tdm_statistic){metric[m]->summary, (int64_t)m, -1};
    tdm_status status = compact(v, (int64_t)count, &value, &cluster, &intervals->queries);
    const tdm_query_values all = {intervals->queries, (int64_t)count, value, cluster};
    if (status == TDM_OK) status = tdm_cluster_count(&all, &intervals->clusters);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK)
        status = tdm_bootstrap_intervals(comm, &all, statistic, (int64_t)count, &how, intervals->of);
    tdm_free(value);
    tdm_free(cluster);
    return status;
}

json_t *intervals_json(const query_values *v, const interval_options *options,
                       const metric_intervals *intervals)
{
    size_t count = 0;
    const tdm_metric *const *metric = tdm_metric_rows_of(v->rows, &count);
    json_t *object = json_object(), *of = json_object();
    json_object_set_new(object, "level", json_real(options->level));
    json_object_set_new(object, "resamples", json_integer(options->resamples));
    json_object_set_new(object, "seed", json_integer(options->seed));
    json_object_set_new(object, "clusters_by", json_string(v->cluster_by));
    json_object_set_new(object, "clusters", json_integer(intervals->clusters));
    for (size_t m = 0; m < count; m++)
        json_object_set_new(of, metric[m]->name, interval_json(intervals->of[m]));
    json_object_set_new(object, "of", of);
    return object;
}

json_t *interval_json(tdm_interval interval)
{
    json_t *ends = json_array();
    const double end[] = {interval.low, interval.high};
    for (int i = 0; i < 2; i++)
        json_array_append_new(ends, isfinite(end[i]) ? json_real(end[i]) : json_null());
    return ends;
}

tdm_status intervals_log(const char *name, const query_values *v, const interval_options *options,
                         const metric_intervals *intervals)
{
    size_t count = 0;
    const tdm_metric *const *metric = tdm_metric_rows_of(v->rows, &count);
    tdm_text line = {0};
    tdm_status status = TDM_OK;
    for (size_t m = 0; status == TDM_OK && m < count; m++) {
        const int digits = metric[m]->is_share ? 4 : 1;
        status = tdm_text_printf(&line, "  %s %.*f to %.*f", metric[m]->label, digits, intervals->of[m].low,
                                 digits, intervals->of[m].high);
    }
    if (status == TDM_OK)
        tdm_log(TDM_LOG_INFO, "%s%g %% intervals:%s  (%lld queries in %lld clusters by %s, %lld resamples)",
                name, 100 * options->level, line.data, (long long)intervals->queries,
                (long long)intervals->clusters, v->cluster_by, (long long)options->resamples);
    tdm_text_free(&line);
    return status;
}
