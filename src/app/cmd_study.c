/* tandem study: the missing runs of a study, one after another in this process, each as `tandem train` and
 * `tandem eval` would do it, and the table of what came out. */
#include "command.h"

#include "tandem/study.h"

#include <stdlib.h>
#include <string.h>

extern const tdm_command tdm_command_train, tdm_command_eval;

typedef struct study_options {
    const char *config, *out, *only;
    tdm_strings set;
    bool report, dry_run, steal_lock;
} study_options;

typedef struct share {
    int64_t part, parts; /* runs whose index is part, modulo parts */
} share;

static tdm_status parse_only(const char *text, share *only)
{
    int used = 0;
    long long part = 1, parts = 1;
    if (text[0])
        TDM_REQUIRE(sscanf(text, "%lld/%lld%n", &part, &parts, &used) == 2 && !text[used] && part >= 1 &&
                        part <= parts,
                    TDM_E_USAGE, "study: --only %s: must be I/N with I from 1 to N", text);
    *only = (share){.part = part - 1, .parts = parts};
    return TDM_OK;
}

/* ---- One run ---- */

/* The arguments of a command, as on a command line. */
typedef struct arguments {
    char *item[2048];
    int count;
} arguments;

static tdm_status add(arguments *list, const char *text)
{
    TDM_REQUIRE(list->count < (int)(sizeof list->item / sizeof list->item[0]), TDM_E_CONFIG,
                "study: a row has too many overrides");
    list->item[list->count] = strdup(text);
    TDM_REQUIRE(list->item[list->count], TDM_E_NOMEM, "no memory for the arguments of a run");
    list->count++;
    return TDM_OK;
}

static tdm_status add_pair(arguments *list, const char *flag, const char *value)
{
    TDM_TRY(add(list, flag));
    return add(list, value);
}

static void arguments_free(arguments *list)
{
    for (int i = 0; i < list->count; i++) free(list->item[i]);
    list->count = 0;
}

static tdm_status train_arguments(const study_options *o, const tdm_study *study, const tdm_study_run *run,
                                  arguments *list)
{
    const tdm_strings *set = &study->row[run->row].set;
    char seed[48];
    TDM_TRY(add(list, "train"));
    TDM_TRY(add_pair(list, "--config", study->config));
    for (int64_t i = 0; i < set->count; i++) TDM_TRY(add_pair(list, "--set", set->item[i]));
    snprintf(seed, sizeof seed, "seed=%lld", (long long)run->seed);
    TDM_TRY(add_pair(list, "--set", seed));
    TDM_TRY(add_pair(list, "--out", run->dir));
    if (o->steal_lock) TDM_TRY(add(list, "--steal-lock"));
    return add_pair(list, "--resume", "auto");
}

/* The best checkpoint is named by its run, so that the evaluation knows how it was chosen.
 * RUN/checkpoints/latest and best are files that hold a checkpoint's name. */
static tdm_status checkpoint_of(const char *run_dir, const char *which, char path[TDM_PATH_BYTES])
{
    tdm_text name = {0};
    char pointer[TDM_PATH_BYTES];
    int length = snprintf(pointer, sizeof pointer, "%s/checkpoints/%s", run_dir, which);
    TDM_REQUIRE(length < TDM_PATH_BYTES, TDM_E_IO, "%s: path is too long", run_dir);
    TDM_TRY(tdm_read_file(pointer, &name));
    length = snprintf(path, TDM_PATH_BYTES, "%s/checkpoints/%.*s", run_dir, (int)strcspn(name.data, "\n"),
                      name.data);
    tdm_text_free(&name);
    TDM_REQUIRE(length < TDM_PATH_BYTES, TDM_E_IO, "%s: path is too long", run_dir);
    return TDM_OK;
}

/* What the run itself evaluated on. */
static tdm_status add_eval_dir(const tdm_study_run *run, arguments *list)
{
    tdm_config config;
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, run->dir, "config.cfg"));
    TDM_TRY(tdm_config_init(&config));
    tdm_status status = tdm_config_load(&config, path);
    if (status == TDM_OK && !config.eval.dir[0])
        status = TDM_ERROR(TDM_E_CONFIG, "%s: eval.dir is not set, nor the study's eval.data", path);
    if (status == TDM_OK) status = add_pair(list, "--data", config.eval.dir);
    tdm_config_destroy(&config);
    return status;
}

/* Those that are not always there. */
static tdm_status add_metrics(const tdm_study *study, arguments *list)
{
    size_t table = 0;
    tdm_text names = {0};
    tdm_status status = TDM_OK;
    (void)tdm_metric_table(&table);
    for (size_t i = table; i < study->metric_rows.count && status == TDM_OK; i++)
        status =
            tdm_text_printf(&names, "%s%s", names.length > 0 ? "," : "", study->metric_rows.row[i]->name);
    if (status == TDM_OK && study->metric_rows.r_sum)
        status = tdm_text_printf(&names, "%sr_sum", names.length > 0 ? "," : "");
    if (status == TDM_OK && names.length > 0) status = add_pair(list, "--metrics", names.data);
    tdm_text_free(&names);
    return status;
}

static tdm_status eval_arguments(const study_options *o, const tdm_study *study, const tdm_study_run *run,
                                 arguments *list)
{
    (void)o; /* an evaluation holds no lock */
    char path[TDM_PATH_BYTES];
    TDM_TRY(add(list, "eval"));
    bool best;
    TDM_TRY(tdm_study_takes_best(study, run, &best));
    TDM_TRY(checkpoint_of(run->dir, best ? "best" : "latest", path));
    TDM_TRY(add_pair(list, "--model", best ? run->dir : path));
    if (study->eval_data) TDM_TRY(add_pair(list, "--data", study->eval_data));
    if (!study->eval_data) TDM_TRY(add_eval_dir(run, list));
    TDM_TRY(add_pair(list, "--split", study->eval_split));
    if (study->eval_positives) TDM_TRY(add_pair(list, "--positives", study->eval_positives));
    TDM_TRY(add_metrics(study, list));
    TDM_TRY(tdm_path_join(path, sizeof path, run->dir, "eval.json"));
    return add_pair(list, "--json", path);
}

typedef tdm_status fill_arguments(const study_options *o, const tdm_study *study, const tdm_study_run *run,
                                  arguments *list);

static tdm_status run_command(tdm_comm *comm, const tdm_command *command, fill_arguments *fill,
                              const study_options *o, const tdm_study *study, const tdm_study_run *run)
{
    arguments *list = calloc(1, sizeof *list);
    tdm_status status =
        list ? fill(o, study, run, list) : TDM_ERROR(TDM_E_NOMEM, "no memory for the arguments of a run");
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) status = tdm_comm_agree(comm, command->run(comm, list->count, list->item));
    if (list) arguments_free(list);
    free(list);
    return status;
}

/* Rank 0 writes, all hear of it. */
static tdm_status finish(tdm_comm *comm, const tdm_study *study, const tdm_study_run *run,
                         const char *message)
{
    const bool writes = tdm_comm_rank(comm) == 0;
    return tdm_comm_agree(comm, writes ? tdm_study_finish(study, run, message) : TDM_OK);
}

/* Rank 0 marks the run, all hear of it. */
static tdm_status mark(tdm_comm *comm, const tdm_study_run *run, tdm_status (*change)(const tdm_study_run *))
{
    return tdm_comm_agree(comm, tdm_comm_rank(comm) == 0 ? change(run) : TDM_OK);
}

/* A failure is the run's own: it is named and the study goes on. Stopping on request is passed up. */
static tdm_status make_run(tdm_comm *comm, const tdm_study *study, const study_options *o,
                           const tdm_study_run *run, int64_t *failed)
{
    TDM_TRY(mark(comm, run, tdm_study_begin));
    tdm_status status = run_command(comm, &tdm_command_train, train_arguments, o, study, run);
    if (status == TDM_OK && study->eval_split)
        status = run_command(comm, &tdm_command_eval, eval_arguments, o, study, run);
    if (status == TDM_OK) status = finish(comm, study, run, NULL);
    if (status == TDM_E_STOPPED) {
        const tdm_error kept = *tdm_error_last();
        TDM_TRY(mark(comm, run, tdm_study_put_back));
        return tdm_error_adopt(&kept);
    }
    if (status == TDM_OK) return TDM_OK;
    char message[sizeof tdm_error_last()->message];
    snprintf(message, sizeof message, "%s", tdm_error_last()->message);
    tdm_log(TDM_LOG_WARN, "study: %s failed: %s", run->dir, message);
    ++*failed;
    return finish(comm, study, run, message);
}

/* ---- The study ---- */

/* What is done already, decided by rank 0. */
static tdm_study_state state_of(tdm_comm *comm, const tdm_study_run *run)
{
    int32_t state = tdm_comm_rank(comm) == 0 ? (int32_t)tdm_study_state_of(run) : 0;
    tdm_comm_broadcast(comm, &state, sizeof state, 0);
    return (tdm_study_state)state;
}

/* A signal that came between two runs. */
static bool is_stopped(tdm_comm *comm)
{
    return tdm_comm_any(comm, tdm_stop_requested());
}

static tdm_status report(tdm_comm *comm, const tdm_study *study, const char *out)
{
    const bool writes = tdm_comm_rank(comm) == 0;
    return tdm_comm_agree(comm, writes ? tdm_study_report(study, out) : TDM_OK);
}

/* The table, on stdout. */
static tdm_status show_table(tdm_comm *comm, const char *out)
{
    char path[TDM_PATH_BYTES];
    tdm_text table = {0};
    if (tdm_comm_rank(comm) != 0) return TDM_OK;
    TDM_TRY(tdm_path_join(path, sizeof path, out, "study.txt"));
    TDM_TRY(tdm_read_file(path, &table));
    const bool written = fputs(table.data, stdout) != EOF && fflush(stdout) == 0;
    tdm_text_free(&table);
    TDM_REQUIRE(written, TDM_E_IO, "study: cannot write to stdout");
    return TDM_OK;
}

/* One run and the table with it. */
static tdm_status make_one(tdm_comm *comm, const tdm_study *study, const study_options *o, int64_t index,
                           const tdm_study_run *run, int64_t *failed)
{
    if (is_stopped(comm))
        TDM_FAIL(TDM_E_STOPPED, "stopped on request before %s; the same call goes on", run->dir);
    tdm_log(TDM_LOG_INFO, "study: run %lld of %lld: %s, seed %lld", (long long)index + 1,
            (long long)tdm_study_runs(study), study->row[run->row].label, (long long)run->seed);
    const tdm_status status = make_run(comm, study, o, run, failed);
    const tdm_error kept = *tdm_error_last();
    if (status != TDM_OK && status != TDM_E_STOPPED) return status;
    TDM_TRY(report(comm, study, o->out));
    return status == TDM_OK ? TDM_OK : tdm_error_adopt(&kept);
}

/* Those that have not been tried come first: a run that fails, or ends the process, is in no other's way. */
static tdm_status make_runs(tdm_comm *comm, const tdm_study *study, const study_options *o, const share *only)
{
    const int64_t runs = tdm_study_runs(study);
    int64_t failed = 0;
    bool *tried = NULL;
    TDM_TRY(TDM_ALLOC(runs, &tried));
    tdm_status status = TDM_OK;
    for (int again = 0; again < 2; again++)
        for (int64_t i = only->part; i < runs && status == TDM_OK; i += only->parts) {
            tdm_study_run run;
            status = tdm_comm_agree(comm, tdm_study_run_at(study, o->out, i, &run));
            if (status != TDM_OK || tried[i]) continue;
            const tdm_study_state state = state_of(comm, &run);
            tried[i] = again || state == TDM_STUDY_DONE || state == TDM_STUDY_MISSING;
            if (tried[i] && state != TDM_STUDY_DONE) status = make_one(comm, study, o, i, &run, &failed);
        }
    tdm_free(tried);
    TDM_TRY(status);
    TDM_TRY(report(comm, study, o->out));
    TDM_AGREE(comm, show_table(comm, o->out));
    TDM_REQUIRE(!failed, TDM_E_DATA, "%s: %lld runs failed; a further call tries them again", o->out,
                (long long)failed);
    return TDM_OK;
}

/* Steps of a run, from its configuration and data. */
static tdm_status count_steps(tdm_comm *comm, const tdm_study *study, const tdm_study_run *run,
                              int64_t *steps)
{
    tdm_session session = {.comm = comm};
    char seed[48];
    tdm_strings set = study->row[run->row].set;
    const char **item = calloc((size_t)set.count + 1, sizeof *item);
    TDM_REQUIRE(item, TDM_E_NOMEM, "no memory for the overrides of a run");
    for (int64_t i = 0; i < set.count; i++) item[i] = set.item[i];
    snprintf(seed, sizeof seed, "seed=%lld", (long long)run->seed);
    item[set.count++] = seed;
    set.item = item;
    tdm_status status = tdm_session_configure(&session, study->config, &set);
    if (status == TDM_OK) status = tdm_session_open_data(&session);
    if (status == TDM_OK) status = tdm_session_create_loader(&session);
    *steps = session.total_steps;
    tdm_session_destroy(&session);
    free((void *)item);
    return status;
}

/* Seconds of a step in a run that has begun, from the last line of its metrics.jsonl; 0: not begun. */
static double step_seconds(const char *dir)
{
    char path[TDM_PATH_BYTES];
    tdm_text text = {0};
    double seconds = 0.0;
    if (tdm_path_join(path, sizeof path, dir, "metrics.jsonl") == TDM_OK && tdm_path_exists(path) &&
        tdm_read_file(path, &text) == TDM_OK) {
        const char *step = NULL, *elapsed = NULL;
        for (const char *at = text.data; (at = strstr(at, "{\"step\":")) != NULL; at++) {
            const char *found = strstr(at, "\"elapsed_s\":");
            if (found) step = at + 8, elapsed = found + 12;
        }
        if (step && strtod(step, NULL) > 0.0) seconds = strtod(elapsed, NULL) / strtod(step, NULL);
    }
    tdm_text_free(&text);
    return seconds;
}

/* What would be run. The time is that of the steps that were made already. */
static tdm_status show_runs(tdm_comm *comm, const tdm_study *study, const study_options *o, const share *only)
{
    const int64_t runs = tdm_study_runs(study);
    int64_t missing = 0, steps_left = 0, timed = 0;
    double seconds = 0.0;
    for (int64_t i = 0; i < runs; i++) {
        static const char *const word[] = {"to be run", "begun, to be run again", "done",
                                           "failed, to be run again"};
        tdm_study_run run;
        int64_t steps = 0;
        TDM_AGREE(comm, tdm_study_run_at(study, o->out, i, &run));
        const double one = tdm_comm_rank(comm) == 0 ? step_seconds(run.dir) : 0.0;
        if (one > 0.0) seconds += one, timed++;
        if (i % only->parts != only->part) continue;
        if (is_stopped(comm)) TDM_FAIL(TDM_E_STOPPED, "stopped on request");
        const tdm_study_state state = state_of(comm, &run);
        TDM_AGREE(comm, count_steps(comm, study, &run, &steps));
        tdm_log(TDM_LOG_INFO, "%s, seed %lld: %lld steps, %s", study->row[run.row].label, (long long)run.seed,
                (long long)steps, word[state]);
        if (state == TDM_STUDY_DONE) continue;
        missing++;
        steps_left += steps;
    }
    tdm_log(TDM_LOG_INFO, "%lld of %lld runs are missing here: %lld steps", (long long)missing,
            (long long)runs, (long long)steps_left);
    if (timed)
        tdm_log(TDM_LOG_INFO, "expected: %.1f hours, at %.3g s a step as in the runs that have begun",
                (double)steps_left * seconds / (double)timed / 3600.0, seconds / (double)timed);
    else
        tdm_log(TDM_LOG_INFO, "expected time: not known before a run has begun");
    return TDM_OK;
}

static tdm_status run_study(tdm_comm *comm, const study_options *o)
{
    tdm_study *study = NULL;
    share only = {.parts = 1};
    tdm_reading reading = {0};
    tdm_status status = parse_only(o->only, &only);
    if (status == TDM_OK) status = tdm_study_read(o->config, &o->set, &study);
    if (status == TDM_OK) status = tdm_reading_add_file(&reading, "study", o->config);
    if (status == TDM_OK) status = tdm_reading_add_file(&reading, "base configuration", study->config);
    status = tdm_comm_agree_on(comm, status, &reading);
    if (status == TDM_OK && o->dry_run) status = show_runs(comm, study, o, &only);
    if (status == TDM_OK && o->report) status = report(comm, study, o->out);
    if (status == TDM_OK && o->report) status = tdm_comm_agree(comm, show_table(comm, o->out));
    if (status == TDM_OK && !o->dry_run && !o->report) status = make_runs(comm, study, o, &only);
    const tdm_error kept = *tdm_error_last();
    tdm_study_destroy(&study);
    return status == TDM_OK ? TDM_OK : tdm_error_adopt(&kept);
}

static tdm_status study_run(tdm_comm *comm, int argc, char **argv)
{
    study_options options = {.config = "", .out = "", .only = ""};
    const tdm_flag flags[] = {
        FLAG_STRING("--config", &options.config, "FILE", NULL, "the study's file; see docs/studies.md"),
        FLAG_STRING("--out", &options.out, "DIR", NULL,
                    "directory for the runs, study.json, study.csv, study.tex, study.txt and report.html"),
        FLAG_STRING("--only", &options.only, "I/N", "",
                    "make each N-th run from the I-th on, for array jobs"),
        FLAG_LIST("--set", &options.set, "GROUP.KEY=VALUE", "",
                  "overrides one configuration key of every run; may be repeated"),
        FLAG_SWITCH("--report", &options.report,
                    "only write table and page again, of the runs that are done"),
        FLAG_SWITCH("--dry-run", &options.dry_run,
                    "say which runs are missing, their steps and the expected time"),
        FLAG_STEAL_LOCK(&options.steal_lock),
    };
    tdm_strings positional = {0};
    bool help = false;
    tdm_status status =
        tdm_parse_flags("study", "--config STUDY.cfg --out DIR [--only I/N] [--report]", flags,
                        sizeof(flags) / sizeof(flags[0]), argc, argv, &positional, &help);
    if (status == TDM_OK && !help && positional.count)
        status = TDM_ERROR(TDM_E_USAGE, "study: unexpected argument \"%s\"", positional.item[0]);
    free((void *)positional.item);
    if (status == TDM_OK && !help) status = run_study(comm, &options);
    free((void *)options.set.item);
    return status;
}

const tdm_command tdm_command_study = {
    .name = "study",
    .summary = "a grid of training runs and one table with plots",
    .mpi = true,
    .stops = true,
    .run = study_run,
};
