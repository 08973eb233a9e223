#include "comparison.h"

#include <math.h>
#include <stdlib.h>

/* ---- Metrics ---- */

/* Tandem's metric of this name, NULL: none. Those that take a cutoff are made by their names, together. */
static tdm_status know_metrics(comparison *c, const row_names *names, const int64_t *order)
{
    tdm_text families = {0};
    tdm_status status = TDM_OK;
    for (int64_t m = 0; status == TDM_OK && m < c->metrics; m++) {
        const char *name = row_names_at(names, order[m]);
        tdm_metric_rows alone = {0};
        size_t table = 0;
        (void)tdm_metric_table(&table);
        const bool is_family =
            tdm_metric_rows_ask("", TDM_E_USAGE, name, &alone) == TDM_OK && alone.count > table;
        tdm_metric_rows_free(&alone);
        if (is_family) status = tdm_text_printf(&families, "%s%s", families.length > 0 ? "," : "", name);
    }
    if (status == TDM_OK)
        status = tdm_metric_rows_ask("--compare", TDM_E_USAGE, families.data ? families.data : "", &c->rows);
    tdm_text_free(&families);
    for (int64_t m = 0; status == TDM_OK && m < c->metrics; m++)
        for (size_t i = 0; i < c->rows.count; i++)
            if (strcmp(c->rows.row[i]->name, row_names_at(names, order[m])) == 0)
                c->known[m] = c->rows.row[i];
    return status;
}

static bool in_all_files(const comparison *c, const char *name)
{
    for (int64_t s = 0; s < c->systems; s++)
        if (row_names_find(&c->file[s].metric, name) < 0) return false;
    return true;
}

/* The columns of the first file that all files have, those of the table of metrics first, in its order. */
static int64_t order_metrics(const comparison *c, int64_t *order)
{
    const row_names *names = &c->file[0].metric;
    size_t table = 0;
    int64_t n = 0;
    const tdm_metric *const *row = tdm_metric_table(&table);
    for (size_t i = 0; i < table; i++)
        if (in_all_files(c, row[i]->name)) order[n++] = row_names_find(names, row[i]->name);
    for (int64_t m = 0; m < names->count; m++) {
        const char *name = row_names_at(names, m);
        if (tdm_metric_index(name) < 0 && in_all_files(c, name)) order[n++] = m;
    }
    return n;
}

/* Those that --metrics names, in its order. */
static tdm_status choose_metrics(comparison *c, const char *asked, int64_t *order)
{
    const row_names *names = &c->file[0].metric;
    char name[128];
    c->metrics = 0;
    for (size_t length; *asked != '\0'; asked += length + (asked[length] == ',')) {
        length = strcspn(asked, ",");
        snprintf(name, sizeof name, "%.*s", (int)length, asked);
        TDM_REQUIRE(in_all_files(c, name), TDM_E_USAGE,
                    "tandem eval: --metrics: not all files have a column \"%.100s\"", name);
        const int64_t column = row_names_find(names, name);
        for (int64_t m = 0; m < c->metrics; m++)
            TDM_REQUIRE(order[m] != column, TDM_E_USAGE, "tandem eval: --metrics: %.100s stands there twice",
                        name);
        order[c->metrics++] = column;
    }
    return TDM_OK;
}

static bool is_share(const comparison *c, int64_t m)
{
    const double *value = c->value + m * c->queries;
    if (c->known[m]) return c->known[m]->is_share;
    for (int64_t s = 0; s < c->systems; s++)
        for (int64_t i = 0; i < c->queries; i++) {
            const double v = value[s * c->metrics * c->queries + i];
            if (v < 0 || v > 1) return false;
        }
    return true;
}

static tdm_status find_metrics(comparison *c, const comparison_options *options)
{
    const row_names *names = &c->file[0].metric;
    int64_t *order = NULL;
    TDM_TRY(TDM_ALLOC(names->count, &order));
    c->metrics = order_metrics(c, order);
    tdm_status status = TDM_OK;
    if (c->metrics == 0) status = TDM_ERROR(TDM_E_DATA, "--compare: the files have no metric in common");
    if (status == TDM_OK && c->metrics < names->count && options->metrics[0] == '\0')
        tdm_log(TDM_LOG_INFO, "--compare: %lld of %lld metrics of the first file are not in all files",
                (long long)(names->count - c->metrics), (long long)names->count);
    if (status == TDM_OK && options->metrics[0] != '\0') status = choose_metrics(c, options->metrics, order);
    if (status == TDM_OK) status = TDM_ALLOC(c->metrics, &c->known);
    if (status == TDM_OK) status = TDM_ALLOC(c->metrics, &c->metric);
    if (status == TDM_OK) status = TDM_ALLOC(c->systems * c->metrics, &c->column);
    if (status == TDM_OK) status = know_metrics(c, names, order);
    for (int64_t m = 0; status == TDM_OK && m < c->metrics; m++) {
        c->metric[m].name = row_names_at(names, order[m]);
        c->metric[m].label = c->known[m] ? c->known[m]->label : c->metric[m].name;
        c->metric[m].less_is_better = c->known[m] && c->known[m]->less_is_better;
        for (int64_t s = 0; s < c->systems; s++)
            c->column[s * c->metrics + m] = row_names_find(&c->file[s].metric, c->metric[m].name);
    }
    tdm_free(order);
    return status;
}

/* The metric by which queries are listed that changed. */
static tdm_status choose_changed_by(comparison *c, const char *asked)
{
    const char *by = asked[0] != '\0' ? asked : "map";
    int64_t at = c->metrics - 1;
    while (at > 0 && strcmp(c->metric[at].name, by) != 0) at--;
    TDM_REQUIRE(asked[0] == '\0' || strcmp(c->metric[at].name, by) == 0, TDM_E_USAGE,
                "tandem eval: --changed-by: \"%.80s\" is not among the metrics that are compared", by);
    c->shown.changed_by = at;
    return TDM_OK;
}

/* ---- Queries ---- */

static double value_in_file(const comparison *c, int64_t s, int64_t m, int64_t row)
{
    return c->file[s].value[c->column[s * c->metrics + m] * c->file[s].query.count + row];
}

static bool has_values(const comparison *c, const int64_t *row)
{
    for (int64_t s = 0; s < c->systems; s++)
        for (int64_t m = 0; m < c->metrics; m++)
            if (isnan(value_in_file(c, s, m, row[s]))) return false;
    return true;
}

/* Where file s has the query, in every file: row[systems]; false when one does not have it. */
static bool find_rows(const comparison *c, int64_t s, int64_t query, int64_t *row)
{
    for (int64_t t = 0; t < c->systems; t++) {
        row[t] = t == s ? query : row_names_find(&c->file[t].query, row_names_at(&c->file[s].query, query));
        if (row[t] < 0) return false;
    }
    return true;
}

/* Queries that a file does not share with all others are counted, and the first few named. */
static tdm_status count_only(comparison *c, const char *const *path, int64_t *row)
{
    enum { MOST_SHOWN = 5 };
    for (int64_t s = 0; s < c->systems; s++) {
        tdm_text shown = {0};
        tdm_status status = TDM_OK;
        for (int64_t i = 0; status == TDM_OK && i < c->file[s].query.count; i++) {
            if (find_rows(c, s, i, row)) continue;
            if (c->only[s]++ < MOST_SHOWN)
                status = tdm_text_printf(&shown, "%s%.60s", shown.length > 0 ? ", " : "",
                                         row_names_at(&c->file[s].query, i));
        }
        if (status == TDM_OK && c->only[s] > 0)
            tdm_log(TDM_LOG_WARN, "%s: %lld of %lld queries are not in all files and are left out, first %s",
                    path[s], (long long)c->only[s], (long long)c->file[s].query.count, shown.data);
        tdm_text_free(&shown);
        TDM_TRY(status);
    }
    return TDM_OK;
}

static tdm_status match_queries(comparison *c, const char *const *path)
{
    const int64_t first = c->file[0].query.count;
    int64_t *row = NULL, shared = 0;
    TDM_TRY(TDM_ALLOC(c->systems, &row));
    tdm_status status = TDM_ALLOC(c->systems * first, &c->row);
    if (status == TDM_OK) status = TDM_ALLOC(c->systems, &c->only);
    for (int64_t i = 0; status == TDM_OK && i < first; i++) {
        if (!find_rows(c, 0, i, row)) continue;
        shared++;
        if (!has_values(c, row)) continue;
        for (int64_t s = 0; s < c->systems; s++) c->row[s * first + c->queries] = row[s];
        c->queries++;
    }
    c->without_value = shared - c->queries;
    if (status == TDM_OK) status = count_only(c, path, row);
    if (status == TDM_OK && c->queries == 0)
        status = TDM_ERROR(
            TDM_E_DATA, "--compare: no query has values in all files: the first of %s is %.60s, of %s %.60s",
            path[0], row_names_at(&c->file[0].query, 0), path[1], row_names_at(&c->file[1].query, 0));
    if (status == TDM_OK && c->without_value > 0)
        tdm_log(TDM_LOG_WARN, "%lld queries have no value in one of the files and are left out",
                (long long)c->without_value);
    if (status == TDM_OK) status = TDM_ALLOC(c->systems * c->metrics * c->queries, &c->value);
    for (int64_t s = 0; status == TDM_OK && s < c->systems; s++)
        for (int64_t m = 0; m < c->metrics; m++)
            for (int64_t i = 0; i < c->queries; i++)
                c->value[(s * c->metrics + m) * c->queries + i] =
                    value_in_file(c, s, m, c->row[s * first + i]);
    tdm_free(row);
    return status;
}

/* Files that say what a query belongs to say the same. */
static tdm_status find_clusters(comparison *c, const comparison_options *options, const char *const *path)
{
    const int64_t first = c->file[0].query.count;
    int64_t by = -1;
    TDM_TRY(TDM_ALLOC(c->queries, &c->cluster));
    for (int64_t i = 0; i < c->queries; i++) c->cluster[i] = i;
    for (int64_t s = 0; !options->alone && s < c->systems; s++) {
        const row_names *of = &c->file[s].cluster;
        if (of->count == 0) continue;
        if (by < 0) {
            by = s;
            for (int64_t i = 0; i < c->queries; i++)
                c->cluster[i] = row_names_find(of, row_names_at(of, c->row[s * first + i]));
            continue;
        }
        for (int64_t i = 0; i < c->queries; i++) {
            const char *here = row_names_at(of, c->row[s * first + i]);
            const char *there = row_names_at(&c->file[by].cluster, c->row[by * first + i]);
            TDM_REQUIRE(
                strcmp(here, there) == 0, TDM_E_DATA,
                "--compare: query %.60s belongs to cluster %.60s in %s, to %.60s in %s; --alone does not "
                "look at clusters",
                row_names_at(&c->file[0].query, c->row[i]), there, path[by], here, path[s]);
        }
    }
    c->clustered = by >= 0;
    return TDM_OK;
}

/* ---- Figures ---- */

static const double *values_of(const comparison *c, int64_t s, int64_t m)
{
    return c->value + (s * c->metrics + m) * c->queries;
}

static bool is_median(const comparison *c, int64_t m)
{
    return c->known[m] && c->known[m]->summary == TDM_MEDIAN;
}

/* Of what is no metric of Tandem the mean. */
static tdm_status summarise(const comparison *c, int64_t s, int64_t m, double *summary)
{
    static const tdm_metric mean = {.summary = TDM_MEAN};
    const int64_t n = c->queries;
    double *value = NULL;
    TDM_TRY(TDM_ALLOC(n, &value));
    memcpy(value, values_of(c, s, m), (size_t)n * sizeof *value);
    *summary = tdm_metric_summarise(c->known[m] ? c->known[m] : &mean, n, value);
    tdm_free(value);
    return TDM_OK;
}

/* More is better. */
static double gain_of(const comparison *c, int64_t s, int64_t m, int64_t i)
{
    const double difference = values_of(c, s, m)[i] - values_of(c, 0, m)[i];
    return c->metric[m].less_is_better ? -difference : difference;
}

static tdm_status fill_values(comparison *c)
{
    for (int64_t s = 0; s < c->systems; s++)
        for (int64_t m = 0; m < c->metrics; m++) {
            tdm_compared *of = &c->compared[s * c->metrics + m];
            *of = (tdm_compared){.interval = {NAN, NAN}, .p = NAN, .adjusted = NAN};
            TDM_TRY(summarise(c, s, m, &of->value));
            if (s == 0) continue;
            of->difference = of->value - c->compared[m].value;
            for (int64_t i = 0; i < c->queries; i++) {
                const double gain = gain_of(c, s, m, i);
                of->better += gain > 0;
                of->worse += gain < 0;
                of->equal += gain == 0;
            }
        }
    return TDM_OK;
}

/* Room for one system's columns: differences of all metrics, then both sides of each median. */
typedef struct columns {
    tdm_query_values values;
    double *value; /* [3 · metrics][queries] at most */
    tdm_statistic *statistic;
    tdm_interval *interval;
    tdm_flip_test *test;
} columns;

static tdm_status columns_open(const comparison *c, columns *k)
{
    TDM_TRY(TDM_ALLOC(3 * c->metrics * c->queries, &k->value));
    TDM_TRY(TDM_ALLOC(c->metrics, &k->statistic));
    TDM_TRY(TDM_ALLOC(c->metrics, &k->interval));
    return TDM_ALLOC(c->metrics, &k->test);
}

static void columns_close(columns *k)
{
    tdm_free(k->value);
    tdm_free(k->statistic);
    tdm_free(k->interval);
    tdm_free(k->test);
}

static void columns_fill(const comparison *c, int64_t s, columns *k)
{
    const int64_t n = c->queries;
    int64_t next = c->metrics;
    for (int64_t m = 0; m < c->metrics; m++) {
        const double *after = values_of(c, s, m), *before = values_of(c, 0, m);
        for (int64_t i = 0; i < n; i++) k->value[m * n + i] = after[i] - before[i];
        k->statistic[m] = (tdm_statistic){TDM_MEAN, m, -1};
        if (!is_median(c, m)) continue;
        memcpy(k->value + next * n, after, (size_t)n * sizeof *after);
        memcpy(k->value + (next + 1) * n, before, (size_t)n * sizeof *before);
        k->statistic[m] = (tdm_statistic){TDM_MEDIAN, next, next + 1};
        next += 2;
    }
    k->values = (tdm_query_values){n, c->metrics, k->value, c->cluster};
}

/* Collective. */
static tdm_status test_system(tdm_comm *comm, comparison *c, const comparison_options *o, int64_t s,
                              columns *k)
{
    const int threads = o->threads > 0 ? (int)o->threads : tdm_default_threads();
    const tdm_bootstrap how = {.resamples = o->intervals.resamples,
                               .level = o->intervals.level,
                               .seed = (uint64_t)o->intervals.seed,
                               .threads = threads};
    columns_fill(c, s, k);
    TDM_TRY(tdm_bootstrap_intervals(comm, &k->values, k->statistic, c->metrics, &how, k->interval));
    TDM_TRY(tdm_sign_flip_test(comm, &k->values, o->permutations, how.seed, threads, k->test));
    for (int64_t m = 0; m < c->metrics; m++) {
        tdm_compared *of = &c->compared[s * c->metrics + m];
        of->interval = k->interval[m];
        if (is_median(c, m)) continue; /* the test is of means */
        of->p = k->test[m].p;
        of->exact = k->test[m].exact;
    }
    return TDM_OK;
}

/* The first metric whose differences are those of m, query by query, as those of mAP and MRR where each query has one
 * positive: that is one hypothesis, and is tested once. */
static int64_t first_alike(const comparison *c, int64_t s, int64_t m)
{
    for (int64_t k = 0; k < m; k++) {
        int64_t i = 0;
        while (!is_median(c, k) && i < c->queries &&
               values_of(c, s, k)[i] - values_of(c, 0, k)[i] == values_of(c, s, m)[i] - values_of(c, 0, m)[i])
            i++;
        if (i == c->queries) return k;
    }
    return m;
}

static tdm_status adjust(comparison *c)
{
    const int64_t tests = c->systems * c->metrics;
    double *p = NULL;
    TDM_TRY(TDM_ALLOC(2 * tests, &p));
    for (int64_t i = 0; i < tests; i++) {
        const int64_t s = i / c->metrics, m = i % c->metrics;
        p[i] = first_alike(c, s, m) == m ? c->compared[i].p : NAN;
        c->shown.tests += !isnan(p[i]);
    }
    const tdm_status status = tdm_holm(tests, p, p + tests);
    for (int64_t i = 0; status == TDM_OK && i < tests; i++) {
        const int64_t s = i / c->metrics, m = i % c->metrics;
        if (!isnan(c->compared[i].p))
            c->compared[i].adjusted = p[tests + s * c->metrics + first_alike(c, s, m)];
    }
    tdm_free(p);
    return status;
}

/* ---- What changed most ---- */

typedef struct ranked_gain {
    double gain;
    int64_t query;
} ranked_gain;

static int compare_gains(const void *a, const void *b)
{
    const ranked_gain *x = a, *y = b;
    if (x->gain != y->gain) return x->gain > y->gain ? -1 : 1;
    return (x->query > y->query) - (x->query < y->query);
}

/* lost: gains of the other sign. *count <= most of them */
static void list_changed(const comparison *c, int64_t s, bool lost, int64_t most, ranked_gain *order,
                         tdm_changed_query *list, int64_t *count)
{
    const int64_t m = c->shown.changed_by;
    for (int64_t i = 0; i < c->queries; i++)
        order[i] = (ranked_gain){lost ? -gain_of(c, s, m, i) : gain_of(c, s, m, i), i};
    qsort(order, (size_t)c->queries, sizeof *order, compare_gains);
    for (*count = 0; *count < most && order[*count].gain > 0; (*count)++) {
        const int64_t i = order[*count].query;
        list[*count] = (tdm_changed_query){row_names_at(&c->file[0].query, c->row[i]), values_of(c, 0, m)[i],
                                           values_of(c, s, m)[i]};
    }
}

static tdm_status find_changed(comparison *c, const comparison_options *o, const char *const *name)
{
    const int64_t most = tdm_min_i64(o->changed, c->queries);
    ranked_gain *order = NULL;
    TDM_TRY(TDM_ALLOC(2 * c->systems * most, &c->changed));
    TDM_TRY(TDM_ALLOC(c->systems, &c->system));
    TDM_TRY(TDM_ALLOC(c->queries, &order));
    for (int64_t s = 0; s < c->systems; s++) {
        tdm_compared_system *system = &c->system[s];
        tdm_changed_query *gain = c->changed + 2 * s * most, *loss = gain + most;
        *system = (tdm_compared_system){
            .name = name[s], .metric = c->compared + s * c->metrics, .gain = gain, .loss = loss};
        list_changed(c, s, false, most, order, gain, &system->gains);
        list_changed(c, s, true, most, order, loss, &system->losses);
    }
    tdm_free(order);
    return TDM_OK;
}

/* ---- The whole ---- */

static tdm_status prepare(comparison *c, const comparison_options *o, const char *const *name,
                          const char *const *path)
{
    TDM_TRY(find_metrics(c, o));
    TDM_TRY(choose_changed_by(c, o->changed_by));
    TDM_TRY(match_queries(c, path));
    TDM_TRY(find_clusters(c, o, path));
    for (int64_t m = 0; m < c->metrics; m++) c->metric[m].is_share = is_share(c, m);
    TDM_TRY(TDM_ALLOC(c->systems * c->metrics, &c->compared));
    TDM_TRY(fill_values(c));
    c->shown = (tdm_comparison){.changed_by = c->shown.changed_by,
                                .metric = c->metric,
                                .metrics = c->metrics,
                                .systems = c->systems,
                                .queries = c->queries,
                                .permutations = o->permutations,
                                .resamples = o->intervals.resamples,
                                .seed = o->intervals.seed,
                                .level = o->intervals.level};
    const tdm_query_values all = {.n = c->queries, .cluster = c->cluster};
    TDM_TRY(tdm_cluster_count(&all, &c->shown.clusters));
    TDM_TRY(find_changed(c, o, name));
    c->shown.system = c->system;
    return TDM_OK;
}

tdm_status comparison_make(tdm_comm *comm, int64_t systems, const char *const *name, const char *const *path,
                           const comparison_options *options, comparison *made)
{
    columns k = {0};
    made->systems = systems;
    TDM_TRY(tdm_comm_agree(comm, TDM_ALLOC(systems, &made->file)));
    for (int64_t s = 0; s < systems; s++)
        TDM_TRY(query_file_read(comm, "--compare", path[s], &made->file[s]));
    TDM_AGREE(comm, prepare(made, options, name, path));
    tdm_status status = tdm_comm_agree(comm, columns_open(made, &k));
    for (int64_t s = 1; status == TDM_OK && s < systems; s++)
        status = test_system(comm, made, options, s, &k);
    columns_close(&k);
    if (status == TDM_OK) status = tdm_comm_agree(comm, adjust(made));
    return status;
}

void comparison_free(comparison *made)
{
    for (int64_t s = 0; made->file != NULL && s < made->systems; s++) query_file_free(&made->file[s]);
    tdm_free(made->file);
    tdm_free(made->only);
    tdm_free(made->cluster);
    tdm_free(made->value);
    tdm_free((void *)made->known);
    tdm_metric_rows_free(&made->rows);
    tdm_free(made->column);
    tdm_free(made->row);
    tdm_free(made->metric);
    tdm_free(made->compared);
    tdm_free(made->changed);
    tdm_free(made->system);
}
