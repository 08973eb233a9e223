/* What a run leaves for the study, DIR/study-run.json, and the table made of it. */
#include "study_impl.h"

#include "tandem/metric.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const result_name = "study-run.json";

/* The run's file, NULL when there is none of this digest. */
static json_t *read_result(const tdm_study_run *run)
{
    char path[TDM_PATH_BYTES];
    if (tdm_path_join(path, sizeof path, run->dir, result_name) != TDM_OK || !tdm_path_exists(path))
        return NULL;
    json_t *result = json_load_file(path, 0, NULL);
    const char *digest = json_string_value(json_object_get(result, "digest"));
    if (digest && !strcmp(digest, run->digest)) return result;
    json_decref(result);
    return NULL;
}

static bool has_failed(const json_t *result)
{
    return json_object_get(result, "failed") != NULL;
}

tdm_study_state tdm_study_state_of(const tdm_study_run *run)
{
    json_t *result = read_result(run);
    const tdm_study_state state = !result                            ? TDM_STUDY_MISSING
                                  : json_object_get(result, "begun") ? TDM_STUDY_BEGUN
                                  : has_failed(result)               ? TDM_STUDY_FAILED
                                                                     : TDM_STUDY_DONE;
    json_decref(result);
    return state;
}

/* ---- When a run ends ---- */

/* "text_to_image.recall_at_1" of an evaluation. */
static json_t *figure_of(const json_t *evaluation, const tdm_metric_choice *choice)
{
    const json_t *of =
        choice->r_sum ? evaluation : json_object_get(evaluation, tdm_direction_key(choice->direction));
    return json_object_get(of, choice->metric->name);
}

/* The last object under `key` in metrics.jsonl, of that step only (-1: of any); NULL: none. *found is the caller's. */
static tdm_status last_object(const char *dir, const char *key, json_int_t step, json_t **found)
{
    char path[TDM_PATH_BYTES];
    tdm_text text = {0};
    *found = NULL;
    TDM_TRY(tdm_path_join(path, sizeof path, dir, "metrics.jsonl"));
    const tdm_status status = tdm_read_file(path, &text);
    for (char *rest = text.data, *line; status == TDM_OK && (line = strsep(&rest, "\n")) != NULL;) {
        json_t *object = *line ? json_loads(line, 0, NULL) : NULL, *here = json_object_get(object, key);
        if (here && (step < 0 || json_integer_value(json_object_get(object, "step")) == step)) {
            json_decref(*found);
            *found = json_incref(here);
        }
        json_decref(object);
    }
    tdm_text_free(&text);
    return status;
}

/* A run with early stopping says at its end which step was the best; -1: it has none. */
static tdm_status best_step_of(const char *dir, json_int_t *step)
{
    json_t *end;
    TDM_TRY(last_object(dir, "end", -1, &end));
    *step = end ? json_integer_value(json_object_get(end, "best_step")) : -1;
    json_decref(end);
    return TDM_OK;
}

tdm_status tdm_study_takes_best(const tdm_study *study, const tdm_study_run *run, bool *best)
{
    json_int_t step = -1;
    if (!study->eval_checkpoint) TDM_TRY(best_step_of(run->dir, &step));
    *best = study->eval_checkpoint ? !strcmp(study->eval_checkpoint, "best") : step >= 0;
    return TDM_OK;
}

/* *biased: the checkpoint was chosen on the split that it is measured on. */
static tdm_status find_evaluation(const tdm_study *study, const char *dir, json_t **evaluation, bool *biased)
{
    char path[TDM_PATH_BYTES];
    json_int_t best_step = -1;
    if (!study->eval_split) {
        TDM_TRY(best_step_of(dir, &best_step));
        *biased = best_step >= 0;
        return last_object(dir, "eval", best_step, evaluation);
    }
    TDM_TRY(tdm_path_join(path, sizeof path, dir, "eval.json"));
    *evaluation = json_load_file(path, 0, NULL);
    *biased =
        json_is_true(json_object_get(json_object_get(*evaluation, "selection"), "chosen_on_measured_split"));
    return TDM_OK;
}

static tdm_status take_figures(const tdm_study *study, const char *dir, const json_t *evaluation,
                               json_t *metrics)
{
    TDM_REQUIRE(
        evaluation, TDM_E_CONFIG,
        "%s: the run was never evaluated; set eval.dir and eval.split, or give the study a group eval", dir);
    for (int64_t k = 0; k < study->metric.count; k++) {
        tdm_metric_choice choice;
        TDM_TRY(tdm_metric_choose("metrics", study->metric.item[k], &study->metric_rows, &choice));
        json_t *value = figure_of(evaluation, &choice);
        TDM_REQUIRE(json_is_number(value), TDM_E_CONFIG,
                    "%s: its evaluation has no %s; what is not always there is asked for by eval.metrics",
                    dir, study->metric.item[k]);
        json_object_set(metrics, study->metric.item[k], value);
    }
    return TDM_OK;
}

static tdm_status write_result(const tdm_study_run *run, const json_t *result)
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_make_dirs(run->dir));
    TDM_TRY(tdm_path_join(path, sizeof path, run->dir, result_name));
    char *text = json_dumps(result, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    TDM_REQUIRE(text, TDM_E_NOMEM, "%s: no memory for its text", path);
    const tdm_status status = tdm_write_file_atomic(path, text, strlen(text));
    free(text);
    return status;
}

tdm_status tdm_study_begin(const tdm_study_run *run)
{
    json_t *mark = json_object();
    json_object_set_new(mark, "digest", json_string(run->digest));
    json_object_set_new(mark, "begun", json_true());
    const tdm_status status = write_result(run, mark);
    json_decref(mark);
    return status;
}

tdm_status tdm_study_put_back(const tdm_study_run *run)
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, run->dir, result_name));
    TDM_REQUIRE(remove(path) == 0, TDM_E_IO, "%s: cannot remove: %s", path, strerror(errno));
    return TDM_OK;
}

tdm_status tdm_study_finish(const tdm_study *study, const tdm_study_run *run, const char *message)
{
    json_t *result = json_object(), *metrics = json_object(), *evaluation = NULL;
    bool biased = false;
    tdm_status status = TDM_OK;
    json_object_set_new(result, "digest", json_string(run->digest));
    json_object_set_new(result, "row", json_string(study->row[run->row].label));
    json_object_set_new(result, "seed", json_integer(run->seed));
    if (message) {
        json_object_set_new(result, "failed", json_string(message));
    } else {
        status = find_evaluation(study, run->dir, &evaluation, &biased);
        if (status == TDM_OK) status = take_figures(study, run->dir, evaluation, metrics);
        json_object_set(result, "metrics", metrics);
        json_object_set_new(result, "chosen_on_measured_split", json_boolean(biased));
    }
    if (status == TDM_OK) status = write_result(run, result);
    json_decref(evaluation);
    json_decref(metrics);
    json_decref(result);
    return status;
}

/* ---- The table ---- */

void study_table_free(study_table *table)
{
    free(table->line);
    free(table->cell);
    free(table->value);
    free(table->run_dir);
    free((void *)table->run_dirs);
    for (int64_t k = 0; table->label && k < table->shown.metrics; k++)
        free((void *)(uintptr_t)table->label[k]);
    free((void *)table->label);
    free(table->is_share);
    *table = (study_table){0};
}

static tdm_status take_memory(const tdm_study *study, study_table *t)
{
    const size_t rows = (size_t)study->rows, metrics = (size_t)study->metric.count,
                 runs = (size_t)tdm_study_runs(study);
    t->line = calloc(rows, sizeof *t->line);
    t->cell = calloc(rows * metrics, sizeof *t->cell);
    t->value = calloc(runs * metrics, sizeof *t->value);
    t->run_dir = calloc(runs, sizeof *t->run_dir);
    t->run_dirs = calloc(runs, sizeof *t->run_dirs);
    t->label = calloc(metrics, sizeof *t->label);
    t->is_share = calloc(metrics, sizeof *t->is_share);
    TDM_REQUIRE(t->line && t->cell && t->value && t->run_dir && t->run_dirs && t->label && t->is_share,
                TDM_E_NOMEM, "no memory for the table of a study");
    return TDM_OK;
}

static tdm_status describe_metrics(const tdm_study *study, study_table *t)
{
    for (int64_t k = 0; k < study->metric.count; k++) {
        tdm_metric_choice choice;
        char label[128];
        TDM_TRY(tdm_metric_choose("metrics", study->metric.item[k], &study->metric_rows, &choice));
        snprintf(label, sizeof label, "%s, %s", choice.metric->title, tdm_direction_label(choice.direction));
        t->label[k] = strdup(label);
        TDM_REQUIRE(t->label[k], TDM_E_NOMEM, "no memory for the table of a study");
        t->is_share[k] = choice.metric->is_share;
    }
    return TDM_OK;
}

/* Figures by [run][metric], NaN where a run has none; `state` by run. */
typedef struct figures {
    double *value;
    tdm_study_run *run;
    tdm_study_state *state;
    bool *biased; /* the checkpoint was chosen on the split that it is measured on */
    int64_t runs;
} figures;

static tdm_status read_figures(const tdm_study *study, const char *out, figures *f)
{
    const int64_t metrics = study->metric.count;
    f->runs = tdm_study_runs(study);
    f->value = calloc((size_t)(f->runs * metrics), sizeof *f->value);
    f->run = calloc((size_t)f->runs, sizeof *f->run);
    f->state = calloc((size_t)f->runs, sizeof *f->state);
    f->biased = calloc((size_t)f->runs, sizeof *f->biased);
    TDM_REQUIRE(f->value && f->run && f->state && f->biased, TDM_E_NOMEM,
                "no memory for the figures of a study");
    for (int64_t i = 0; i < f->runs; i++) {
        TDM_TRY(tdm_study_run_at(study, out, i, &f->run[i]));
        json_t *result = read_result(&f->run[i]);
        f->state[i] = tdm_study_state_of(&f->run[i]);
        f->biased[i] = json_is_true(json_object_get(result, "chosen_on_measured_split"));
        for (int64_t k = 0; k < metrics; k++) {
            const json_t *value = json_object_get(json_object_get(result, "metrics"), study->metric.item[k]);
            f->value[i * metrics + k] = json_is_number(value) ? json_number_value(value) : NAN;
        }
        json_decref(result);
    }
    return TDM_OK;
}

/* The run of that row and seed that is done; -1: none. */
static int64_t find_run(const figures *f, int64_t row, int64_t seed)
{
    for (int64_t i = 0; i < f->runs; i++)
        if (f->run[i].row == row && f->run[i].seed == seed) return f->state[i] == TDM_STUDY_DONE ? i : -1;
    return -1;
}

/* Differences of the row to the base over the seeds that both have. */
static tdm_status compare(const tdm_study *study, const figures *f, int64_t row, int64_t k,
                          tdm_study_cell *cell)
{
    double *difference = calloc((size_t)study->row[row].seeds, sizeof *difference);
    int64_t n = 0;
    TDM_REQUIRE(difference, TDM_E_NOMEM, "no memory for the table of a study");
    for (int64_t s = 0; s < study->row[row].seeds; s++) {
        const int64_t own = find_run(f, row, study->row[row].seed[s]),
                      base = find_run(f, study->base, study->row[row].seed[s]);
        if (own < 0 || base < 0) continue;
        difference[n++] = f->value[own * study->metric.count + k] - f->value[base * study->metric.count + k];
    }
    if (n) cell->difference = tdm_mean(difference, n);
    cell->p = tdm_paired_p(difference, n);
    free(difference);
    return TDM_OK;
}

static tdm_status fill(const tdm_study *study, const figures *f, study_table *t)
{
    const int64_t metrics = study->metric.count;
    int64_t values = 0, dirs = 0;
    for (int64_t r = 0; r < study->rows; r++) {
        tdm_study_line *line = &t->line[r];
        *line = (tdm_study_line){.label = study->row[r].label,
                                 .series = study->row[r].series,
                                 .x = study->row[r].x,
                                 .cell = t->cell + r * metrics,
                                 .run_dir = t->run_dirs + dirs};
        for (int64_t i = 0; i < f->runs; i++) {
            if (f->run[i].row != r) continue;
            line->failed += f->state[i] == TDM_STUDY_FAILED;
            if (f->state[i] != TDM_STUDY_DONE) continue;
            line->runs++;
            line->biased |= f->biased[i];
            snprintf(t->run_dir[dirs], sizeof t->run_dir[dirs], "%s", f->run[i].dir);
            t->run_dirs[dirs] = t->run_dir[dirs];
            dirs++;
        }
        for (int64_t k = 0; k < metrics; k++) {
            tdm_study_cell *cell = &t->cell[r * metrics + k];
            double *value = t->value + values;
            *cell = (tdm_study_cell){.value = value, .difference = NAN, .p = NAN};
            for (int64_t i = 0; i < f->runs; i++)
                if (f->run[i].row == r && f->state[i] == TDM_STUDY_DONE)
                    value[cell->n++] = f->value[i * metrics + k];
            values += cell->n;
            cell->mean = tdm_mean(value, cell->n);
            cell->std = tdm_sample_deviation(value, cell->n);
            if (r != study->base) TDM_TRY(compare(study, f, r, k, cell));
        }
    }
    return TDM_OK;
}

tdm_status study_table_make(const tdm_study *study, const char *out, study_table *t)
{
    figures f = {0};
    *t = (study_table){0};
    tdm_status status = take_memory(study, t);
    t->shown = (tdm_study_table){.title = study->title,
                                 .x_title = study->x_title ? study->x_title : "",
                                 .metric = study->metric.item,
                                 .label = t->label,
                                 .is_share = t->is_share,
                                 .metrics = study->metric.count,
                                 .lines = study->rows,
                                 .base = study->base,
                                 .line = t->line};
    if (status == TDM_OK) status = describe_metrics(study, t);
    if (status == TDM_OK) status = read_figures(study, out, &f);
    if (status == TDM_OK) status = fill(study, &f, t);
    free(f.value);
    free(f.run);
    free(f.state);
    free(f.biased);
    return status;
}

tdm_status tdm_study_report(const tdm_study *study, const char *out)
{
    char json[TDM_PATH_BYTES], csv[TDM_PATH_BYTES], latex[TDM_PATH_BYTES], text[TDM_PATH_BYTES],
        page[TDM_PATH_BYTES];
    study_table table;
    TDM_TRY(tdm_make_dirs(out));
    TDM_TRY(tdm_path_join(json, sizeof json, out, "study.json"));
    TDM_TRY(tdm_path_join(csv, sizeof csv, out, "study.csv"));
    TDM_TRY(tdm_path_join(latex, sizeof latex, out, "study.tex"));
    TDM_TRY(tdm_path_join(text, sizeof text, out, "study.txt"));
    TDM_TRY(tdm_path_join(page, sizeof page, out, "report.html"));
    tdm_status status = study_table_make(study, out, &table);
    if (status == TDM_OK) status = study_write_json(study, &table.shown, json);
    if (status == TDM_OK) status = study_write_csv(&table.shown, csv);
    if (status == TDM_OK) status = study_write_latex(&table.shown, latex);
    if (status == TDM_OK) status = study_write_text(&table.shown, text);
    if (status == TDM_OK) status = tdm_study_page_write(page, &table.shown);
    study_table_free(&table);
    return status;
}
