/* A comparison as lines of the log, JSON and LaTeX. */
#include "comparison.h"

#include "result_json.h"

#include <math.h>

/* ---- The log ---- */

static int digits_of(const tdm_compared_metric *metric)
{
    return metric->is_share ? 4 : 2;
}

static void log_metric(const tdm_comparison *c, int64_t s, int64_t m)
{
    const tdm_compared *of = &c->system[s].metric[m];
    const int digits = digits_of(&c->metric[m]);
    char p[2][16];
    tdm_show_p(p[0], of->p);
    tdm_show_p(p[1], of->adjusted);
    /* the dash has three bytes and one column */
    tdm_log(TDM_LOG_INFO, "  %-16s %9.*f %9.*f  %+9.*f  %+9.*f to %+9.*f  %*s %*s  %6lld %6lld %7lld",
            c->metric[m].label, digits, c->system[0].metric[m].value, digits, of->value, digits,
            of->difference, digits, of->interval.low, digits, of->interval.high, isnan(of->p) ? 9 : 7, p[0],
            isnan(of->adjusted) ? 9 : 7, p[1], (long long)of->better, (long long)of->worse,
            (long long)of->equal);
}

static void log_changed(const tdm_comparison *c, const char *what, const tdm_changed_query *query,
                        int64_t count)
{
    const tdm_compared_metric *by = &c->metric[c->changed_by];
    const int digits = digits_of(by);
    if (count > 0) tdm_log(TDM_LOG_INFO, "  %s in %s:", what, by->label);
    for (int64_t i = 0; i < count; i++)
        tdm_log(TDM_LOG_INFO, "    %.*f -> %.*f  %.200s", digits, query[i].before, digits, query[i].after,
                query[i].name);
}

void comparison_log(const comparison *made)
{
    const tdm_comparison *c = &made->shown;
    for (int64_t s = 1; s < c->systems; s++) {
        char interval[32];
        snprintf(interval, sizeof interval, "%g %% interval", 100 * c->level);
        tdm_log(TDM_LOG_INFO, "%s against %s:", c->system[s].name, c->system[0].name);
        tdm_log(TDM_LOG_INFO, "  %-16s %9s %9s  %9s  %22s  %7s %7s  %6s %6s %7s", "", "before", "after",
                "change", interval, "p", "p, Holm", "better", "worse", "equal");
        for (int64_t m = 0; m < c->metrics; m++) log_metric(c, s, m);
        log_changed(c, "largest gains", c->system[s].gain, c->system[s].gains);
        log_changed(c, "largest losses", c->system[s].loss, c->system[s].losses);
    }
    tdm_log(
        TDM_LOG_INFO,
        "%lld queries in %lld clusters; %lld permutations, %lld resamples; Holm's correction over %lld tests",
        (long long)c->queries, (long long)c->clusters, (long long)c->permutations, (long long)c->resamples,
        (long long)c->tests);
}

/* ---- JSON ---- */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *changed_json(const tdm_changed_query *query, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) {
        json_t *one = json_object();
        json_object_set_new(one, "query", tdm_json_text(query[i].name));
        json_object_set_new(one, "before", number(query[i].before));
        json_object_set_new(one, "after", number(query[i].after));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *metric_json(const tdm_compared *of)
{
    json_t *object = json_object();
    json_object_set_new(object, "difference", number(of->difference));
    json_object_set_new(object, "interval", interval_json(of->interval));
    json_object_set_new(object, "p", number(of->p));
    json_object_set_new(object, "p_holm", number(of->adjusted));
    json_object_set_new(object, "exact", json_boolean(of->exact));
    json_object_set_new(object, "better", json_integer(of->better));
    json_object_set_new(object, "worse", json_integer(of->worse));
    json_object_set_new(object, "equal", json_integer(of->equal));
    return object;
}

static json_t *systems_json(const comparison *made, const char *const *path)
{
    const tdm_comparison *c = &made->shown;
    json_t *systems = json_array();
    for (int64_t s = 0; s < c->systems; s++) {
        json_t *system = json_object(), *values = json_object();
        json_object_set_new(system, "name", tdm_json_text(c->system[s].name));
        json_object_set_new(system, "file", tdm_json_text(path[s]));
        json_object_set_new(system, "queries", json_integer(made->file[s].query.count));
        json_object_set_new(system, "not_in_all_files", json_integer(made->only[s]));
        for (int64_t m = 0; m < c->metrics; m++)
            json_object_set_new(values, c->metric[m].name, number(c->system[s].metric[m].value));
        json_object_set_new(system, "metrics", values);
        json_array_append_new(systems, system);
    }
    return systems;
}

static json_t *comparisons_json(const tdm_comparison *c)
{
    json_t *list = json_array();
    for (int64_t s = 1; s < c->systems; s++) {
        json_t *one = json_object(), *metrics = json_object();
        json_object_set_new(one, "system", tdm_json_text(c->system[s].name));
        json_object_set_new(one, "against", tdm_json_text(c->system[0].name));
        for (int64_t m = 0; m < c->metrics; m++)
            json_object_set_new(metrics, c->metric[m].name, metric_json(&c->system[s].metric[m]));
        json_object_set_new(one, "metrics", metrics);
        json_object_set_new(one, "gains", changed_json(c->system[s].gain, c->system[s].gains));
        json_object_set_new(one, "losses", changed_json(c->system[s].loss, c->system[s].losses));
        json_array_append_new(list, one);
    }
    return list;
}

tdm_status comparison_write_json(const comparison *made, const char *const *path, const char *json)
{
    const tdm_comparison *c = &made->shown;
    json_t *root = json_object();
    json_object_set_new(root, "queries", json_integer(c->queries));
    json_object_set_new(root, "clusters", json_integer(c->clusters));
    json_object_set_new(root, "without_value", json_integer(made->without_value));
    json_object_set_new(root, "level", json_real(c->level));
    json_object_set_new(root, "resamples", json_integer(c->resamples));
    json_object_set_new(root, "permutations", json_integer(c->permutations));
    json_object_set_new(root, "seed", json_integer(c->seed));
    json_object_set_new(root, "tests", json_integer(c->tests));
    json_object_set_new(root, "changed_by", tdm_json_text(c->metric[c->changed_by].name));
    json_object_set_new(root, "systems", systems_json(made, path));
    json_object_set_new(root, "comparisons", comparisons_json(c));
    const tdm_status status = result_write(root, 17, json);
    json_decref(root);
    return status;
}

/* ---- LaTeX ---- */

static tdm_status latex_p(tdm_text *tex, double p)
{
    if (isnan(p)) return tdm_text_printf(tex, " & --");
    return p < 0.0001 ? tdm_text_printf(tex, " & $<$0.0001") : tdm_text_printf(tex, " & %.4f", p);
}

static tdm_status latex_line(tdm_text *tex, const tdm_comparison *c, int64_t s, int64_t m)
{
    const tdm_compared *of = &c->system[s].metric[m];
    const double factor = c->metric[m].is_share ? 100.0 : 1.0;
    TDM_TRY(tdm_text_latex(tex, c->metric[m].label));
    TDM_TRY(tdm_text_printf(tex, " & %.2f & %.2f & $%+.2f$ & $[%+.2f, %+.2f]$",
                            factor * c->system[0].metric[m].value, factor * of->value,
                            factor * of->difference, factor * of->interval.low, factor * of->interval.high));
    TDM_TRY(latex_p(tex, of->p));
    TDM_TRY(latex_p(tex, of->adjusted));
    return tdm_text_printf(tex, " & %lld/%lld/%lld \\\\\n", (long long)of->better, (long long)of->worse,
                           (long long)of->equal);
}

static tdm_status latex_system(tdm_text *tex, const tdm_comparison *c, int64_t s)
{
    TDM_TRY(tdm_text_printf(tex, "\\begin{tabular}{lrrrcrrr}\n\\toprule\n & "));
    TDM_TRY(tdm_text_latex(tex, c->system[0].name));
    TDM_TRY(tdm_text_printf(tex, " & "));
    TDM_TRY(tdm_text_latex(tex, c->system[s].name));
    TDM_TRY(tdm_text_printf(tex,
                            " & $\\Delta$ & %g\\,\\%% interval & $p$ & $p$ (Holm) & better/worse/equal \\\\\n"
                            "\\midrule\n",
                            100 * c->level));
    for (int64_t m = 0; m < c->metrics; m++) TDM_TRY(latex_line(tex, c, s, m));
    return tdm_text_printf(tex, "\\bottomrule\n\\end{tabular}\n");
}

tdm_status comparison_write_latex(const comparison *made, const char *path)
{
    const tdm_comparison *c = &made->shown;
    tdm_text tex = {0};
    tdm_status status = tdm_text_printf(
        &tex,
        "%% needs \\usepackage{booktabs}\n"
        "%% %lld queries in %lld clusters; paired randomisation test, %lld permutations; Holm "
        "over %lld tests;\n%% percentile bootstrap, %lld resamples; shares in percent\n",
        (long long)c->queries, (long long)c->clusters, (long long)c->permutations, (long long)c->tests,
        (long long)c->resamples);
    for (int64_t s = 1; status == TDM_OK && s < c->systems; s++) status = latex_system(&tex, c, s);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, tex.data, tex.length);
    tdm_text_free(&tex);
    return status;
}

/* ---- HTML ---- */

tdm_status comparison_write_html(const comparison *made, const char *path)
{
    const tdm_comparison *c = &made->shown;
    char subtitle[256];
    snprintf(subtitle, sizeof subtitle,
             "%lld queries in %lld clusters; %lld permutations, %lld resamples; %lld tests",
             (long long)c->queries, (long long)c->clusters, (long long)c->permutations,
             (long long)c->resamples, (long long)c->tests);
    return tdm_comparison_page_write(path, subtitle, c);
}
