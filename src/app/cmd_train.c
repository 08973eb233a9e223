/* tandem train: a run from configuration to final checkpoint. */
#include "command.h"
#include "memory_plan.h"
#include "roster_log.h"
#include "run_log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct train_options {
    const char *config, *out, *resume;
    tdm_strings set;
    bool resume_changed, dry_run, steal_lock;
} train_options;

/* Everything that a run owns. */
typedef struct run {
    tdm_comm *comm;
    const train_options *options;
    tdm_session session;
    tdm_dir_lock *lock;
    tdm_watch *watch;
    tdm_dataset *eval_dataset;
    tdm_resume resume; /* what the run goes on from */
    tdm_roster roster; /* what it is made of */
    tdm_train_state state;
    run_log log;
    const tdm_match *match;           /* eval.positives */
    tdm_metric_rows rows;             /* eval.metrics behind the table's */
    tdm_metric_choice best_metric;    /* checkpoint.best_metric, one of them; .metric NULL: none */
    double start_s, elapsed_before_s; /* of this process, of those before it */
    double checkpoint_s;              /* when the last checkpoint was written */
} run;

static void run_destroy(run *r)
{
    run_log_close(&r->log);
    tdm_watch_stop(&r->watch);
    tdm_dir_lock_release(&r->lock);
    tdm_resume_destroy(&r->resume);
    tdm_roster_free(&r->roster);
    tdm_dataset_close(&r->eval_dataset);
    tdm_metric_rows_free(&r->rows);
    tdm_session_destroy(&r->session);
}

/* ---- Setting up, one phase per function ---- */

/* How a phase ended, on all ranks; whether one of them was asked to stop is looked at between any two. */
static tdm_status phase(run *r, tdm_status local)
{
    return tdm_comm_agree(r->comm, local == TDM_OK ? tdm_stop_point("before the first step") : local);
}

static tdm_status load_config(run *r)
{
    const train_options *o = r->options;
    const tdm_config *c = &r->session.config;
    TDM_TRY(tdm_session_configure(&r->session, o->config, &o->set));
    TDM_TRY(tdm_match_find("eval.positives", TDM_E_CONFIG, c->eval.positives, &r->match));
    TDM_TRY(tdm_metric_rows_ask("eval.metrics", TDM_E_CONFIG, c->eval.metrics, &r->rows));
    if (c->checkpoint.best_metric[0] == '\0') return TDM_OK;
    return tdm_metric_choose("checkpoint.best_metric", c->checkpoint.best_metric, &r->rows, &r->best_metric);
}

static tdm_status open_all_data(run *r)
{
    const tdm_config *c = &r->session.config;
    TDM_TRY(tdm_session_open_data(&r->session));
    if (!c->eval.dir[0]) return TDM_OK;
    return tdm_session_open_split(&r->session, c->eval.dir, c->eval.split, &r->eval_dataset);
}

static tdm_status lock_run_dir(run *r)
{
    const train_options *o = r->options;
    return tdm_dir_lock_take(
        r->comm, &(tdm_dir_lock_options){.dir = o->out, .command = "train", .steal = o->steal_lock},
        &r->lock);
}

static tdm_status start_watch(run *r)
{
    const tdm_config *c = &r->session.config;
    return tdm_watch_start(r->comm,
                           &(tdm_watch_options){.run_dir = r->options->out,
                                                .stall_s = 60.0 * c->train.stall_minutes,
                                                .end = c->train.stall_end},
                           &r->watch);
}

static tdm_status check_new(const char *out)
{
    bool any;
    TDM_TRY(tdm_checkpoint_any(out, &any));
    TDM_REQUIRE(!any, TDM_E_IO,
                "%s: holds a run already; continue it with --resume auto or choose another --out", out);
    return TDM_OK;
}

/* Which checkpoint to go on from, whole; "" = start anew. */
static tdm_status find_resume(run *r, char path[TDM_PATH_BYTES])
{
    const char *resume = r->options->resume;
    const bool decides = tdm_comm_rank(r->comm) == 0;
    path[0] = '\0';
    if (!resume[0]) return tdm_comm_agree(r->comm, decides ? check_new(r->options->out) : TDM_OK);
    if (!strcmp(resume, "auto")) return tdm_checkpoint_latest(r->comm, r->options->out, path, TDM_PATH_BYTES);
    TDM_AGREE(r->comm, decides ? tdm_checkpoint_find(resume, false, path, TDM_PATH_BYTES) : TDM_OK);
    tdm_comm_broadcast(r->comm, path, TDM_PATH_BYTES, 0);
    return tdm_checkpoint_check(r->comm, path, true);
}

static tdm_status resume_from(run *r, const char *path)
{
    TDM_TRY(tdm_resume_open(&r->session, path, r->eval_dataset, &r->resume));
    TDM_TRY(tdm_resume_check(&r->resume, r->options->resume_changed));
    TDM_TRY(tdm_resume_place(&r->session, &r->resume));
    TDM_TRY(tdm_checkpoint_read_model(path, &r->session.params));
    TDM_TRY(tdm_checkpoint_read_state(path, &r->session.params, &r->session.optim, &r->state));
    r->state.best_value = r->resume.state.best_value;
    r->state.best_step = r->resume.state.best_step;
    r->state.evaluations_since_best = r->resume.state.evaluations_since_best;
    r->state.evaluation_due = r->state.evaluation_due && r->eval_dataset;
    r->elapsed_before_s = r->state.elapsed_s;
    return TDM_OK;
}

/* The best checkpoint so far is the one that `best` names, or the run does without it: it may lie in the directory of
 * another run (--resume PATH), and `best` may name one of a course that was given up. */
static tdm_status find_best(run *r)
{
    int32_t there = 1;
    tdm_status status = TDM_OK;
    if (r->state.best_step < 0) return TDM_OK;
    if (tdm_comm_rank(r->comm) == 0) {
        bool found = true;
        status = tdm_checkpoint_point_best(r->options->out, r->state.best_step, &found);
        there = found;
    }
    TDM_AGREE(r->comm, status);
    tdm_comm_broadcast(r->comm, &there, sizeof there, 0);
    if (there) return TDM_OK;
    tdm_log(TDM_LOG_WARN,
            "resume: the best checkpoint so far, of step %lld, is not in %s: a new best is looked for",
            (long long)r->state.best_step, r->options->out);
    r->state.best_value = NAN;
    r->state.best_step = -1;
    r->state.evaluations_since_best = 0;
    return TDM_OK;
}

static void log_lines(const char *text)
{
    for (const char *end; *text != '\0'; text = *end ? end + 1 : end) {
        end = text + strcspn(text, "\n");
        tdm_log(TDM_LOG_INFO, "%.*s", (int)(end - text), text);
    }
}

static tdm_status write_run_config(run *r)
{
    if (tdm_comm_rank(r->comm) != 0) return TDM_OK;
    char path[TDM_PATH_BYTES];
    tdm_text text = {0};
    TDM_TRY(tdm_make_dirs(r->options->out));
    TDM_TRY(tdm_path_join(path, sizeof(path), r->options->out, "config.cfg"));
    tdm_status status = tdm_config_print(&r->session.config, NULL, &text);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, text.data, text.length);
    if (status == TDM_OK) {
        tdm_log(TDM_LOG_INFO, "# resolved configuration, also in %s", path);
        log_lines(text.data);
    }
    tdm_text_free(&text);
    return status;
}

static tdm_status show_plan(run *r)
{
    const tdm_config *c = &r->session.config;
    tdm_log(TDM_LOG_INFO, "data: %s, split %s: %lld images, %lld captions", c->data.dir, c->data.split,
            (long long)tdm_dataset_images(r->session.dataset),
            (long long)tdm_dataset_captions(r->session.dataset));
    tdm_log(TDM_LOG_INFO, "plan: %lld steps of %lld pairs, %lld steps per epoch, %.1f epochs",
            (long long)r->session.total_steps, (long long)c->train.batch,
            (long long)r->session.steps_per_epoch, tdm_session_epoch(&r->session, r->session.total_steps));
    tdm_log(TDM_LOG_INFO, "model: %s, %.2f million parameters", c->model.name,
            (double)tdm_params_elements(&r->session.params) * 1e-6);
    return roster_log(r->comm, r->session.ops, &r->roster);
}

static tdm_status show_groups(const run *r)
{
    tdm_text text = {0};
    const tdm_status status = tdm_optim_describe(&r->session.params, &text);
    if (status == TDM_OK && text.length) log_lines(text.data); /* one message a line */
    tdm_text_free(&text);
    return status;
}

static tdm_status show_memory(run *r)
{
    tdm_loader_destroy(&r->session.loader); /* reads the data set, too */
    return memory_plan_show(&r->session.config, tdm_comm_size(r->comm), r->session.model, r->session.dataset,
                            r->session.tokenizer);
}

/* ---- The run ---- */

static double elapsed_s(const run *r)
{
    return r->elapsed_before_s + tdm_now_s() - r->start_s;
}

static tdm_status save(run *r, bool best)
{
    TDM_AGREE(r->comm, tdm_dir_lock_check(r->lock));
    tdm_status status = tdm_session_state(&r->session, &r->state);
    r->state.eval_digest[0] = '\0';
    if (status == TDM_OK && r->eval_dataset)
        status = tdm_dataset_digest(r->eval_dataset, r->state.eval_digest);
    TDM_AGREE(r->comm, status);
    r->state.elapsed_s = elapsed_s(r);
    r->checkpoint_s = tdm_now_s();
    tdm_pulse_phase("checkpoint");
    return tdm_checkpoint_save(r->comm, r->options->out, &r->session.config, &r->session.params,
                               &r->session.optim, r->session.tokenizer, &r->state, best);
}

static tdm_status evaluate(run *r, bool *best)
{
    const tdm_config *c = &r->session.config;
    tdm_embeddings embeddings = {0};
    tdm_metrics metrics[TDM_DIRECTIONS];
    tdm_eval_detail detail[TDM_DIRECTIONS] = {{.rows = &r->rows}, {.rows = &r->rows}};
    *best = false;
    tdm_pulse_phase("evaluation");
    tdm_status status = tdm_embed_dataset(
        r->comm, r->session.model, r->session.ops, c, r->eval_dataset, r->session.tokenizer,
        tdm_min_i64(256, tdm_trainer_rows(c, tdm_comm_size(r->comm))), c->data.workers, &embeddings);
    status = tdm_comm_agree(r->comm, status);
    if (status == TDM_OK)
        status = tdm_eval_embeddings_in_detail(r->comm, r->session.ops, &embeddings, r->match, TDM_COSINE,
                                               metrics, detail);
    tdm_embeddings_free(&embeddings);
    TDM_TRY(status);
    TDM_TRY(run_log_eval(&r->log, r->session.optim.step,
                         tdm_session_epoch(&r->session, r->session.optim.step), metrics));

    if (r->best_metric.metric == NULL) return TDM_OK;
    const double value = tdm_metrics_chosen(metrics, &r->best_metric); /* the same bits on every rank */
    *best = tdm_metric_better(r->best_metric.metric, value, r->state.best_value);
    r->state.evaluations_since_best++;
    if (*best) {
        r->state.best_value = value;
        r->state.best_step = r->session.optim.step;
        r->state.best_epoch = tdm_session_epoch(&r->session, r->session.optim.step);
        r->state.evaluations_since_best = 0;
    }
    return TDM_OK;
}

static bool is_out_of_patience(const run *r)
{
    const int64_t patience = r->session.config.train.patience;
    return patience > 0 && r->eval_dataset && r->state.evaluations_since_best >= patience;
}

static bool is_complete(const run *r)
{
    return r->session.optim.step >= r->session.total_steps;
}

static run_best best_of(const run *r)
{
    const tdm_config *c = &r->session.config;
    return (run_best){.metric = c->checkpoint.best_metric,
                      .split = c->eval.split,
                      .value = r->state.best_value,
                      .step = r->state.best_step,
                      .epoch = r->state.best_epoch,
                      .since = r->state.evaluations_since_best};
}

/* Has the last step ended an epoch whose number is a multiple of `every`? */
static bool ends_epochs(const tdm_session *s, int64_t every)
{
    const tdm_place place = tdm_session_place(s);
    return every > 0 && place.sample == 0 && place.epoch % every == 0;
}

/* The evaluation that is due, unless the run was asked to stop, and a checkpoint where there is a reason: that, the end
 * of the run, a new best, or `due`. */
static tdm_status measure_and_save(run *r, bool due, bool *stop)
{
    bool best = false;
    if (r->state.evaluation_due && !*stop) {
        const tdm_status status = evaluate(r, &best);
        *stop = status == TDM_E_STOPPED; /* on a request, given up for the checkpoint */
        if (!*stop) TDM_TRY(status);
        r->state.evaluation_due = *stop;
    }
    const char *end = is_complete(r) ? "complete" : is_out_of_patience(r) ? "patience" : "";
    if (*stop || r->session.config.train.patience == 0) end = "";
    snprintf(r->state.end, sizeof r->state.end, "%s", end);
    if (end[0]) {
        const run_best chosen = best_of(r);
        TDM_AGREE(r->comm, run_log_end(&r->log, r->session.optim.step,
                                       tdm_session_epoch(&r->session, r->session.optim.step), end, &chosen));
    }
    if (*stop || is_complete(r) || is_out_of_patience(r) || best || due) TDM_TRY(save(r, best));
    return TDM_OK;
}

/* Evaluation and checkpoint as the configuration asks for them; *stop when the run was asked to end early. */
static tdm_status after_step(run *r, bool *stop)
{
    const tdm_config *c = &r->session.config;
    const int64_t step = r->session.optim.step;
    const bool last = is_complete(r);
    const double minutes = (tdm_now_s() - r->checkpoint_s) / 60.0;
    const double limit = c->train.time_limit_minutes;
    double wish[2] = {
        tdm_stop_requested() || (limit > 0.0 && (tdm_now_s() - r->start_s) / 60.0 >= limit),
        c->checkpoint.every_minutes > 0.0 && minutes >= c->checkpoint.every_minutes,
    };
    tdm_comm_max_f64(r->comm, wish, 2);
    *stop = wish[0] > 0.0 && !last;

    r->state.evaluation_due = r->eval_dataset && (last || ends_epochs(&r->session, c->eval.every_epochs));
    const bool due =
        (c->checkpoint.every_steps > 0 && step % c->checkpoint.every_steps == 0) || wish[1] > 0.0;
    return measure_and_save(r, due, stop);
}

/* Is nothing left of a run that goes on? */
static bool is_over(const run *r)
{
    return !r->state.evaluation_due && (is_complete(r) || is_out_of_patience(r));
}

/* Whether any rank was asked to. */
static bool stop_before_first_step(run *r)
{
    return tdm_comm_any(r->comm, tdm_stop_requested()) && !is_over(r);
}

static tdm_status stopped_early(void)
{
    TDM_FAIL(TDM_E_STOPPED,
             "stopped on request before the first step: nothing is lost, and the same command goes on");
}

/* Of this rank; behind it all ranks have one. */
static tdm_status next_batch(run *r, const tdm_batch **batch, rank_wait *wait)
{
    *wait = (rank_wait){0};
    tdm_pulse_phase("reading data");
    tdm_status status = tdm_loader_next(r->session.loader, batch, &wait->loader_s);
    const double start_s = tdm_now_s();
    status = tdm_comm_agree(r->comm, status);
    wait->data_s = tdm_now_s() - start_s;
    return status;
}

static tdm_status run_steps(run *r)
{
    bool stop = stop_before_first_step(r);
    if (r->state.evaluation_due && !stop) TDM_TRY(measure_and_save(r, true, &stop));
    while (!is_over(r) && !stop) {
        const tdm_batch *batch;
        tdm_step_report report;
        rank_wait wait;
        tdm_pulse_step(r->session.optim.step + 1);
        TDM_TRY(next_batch(r, &batch, &wait));
        const tdm_status status = tdm_trainer_step(r->session.trainer, batch, &report);
        if (status == TDM_E_NUMERIC) return status; /* the same on every rank */
        if (status != TDM_OK) tdm_comm_abort(r->comm);
        tdm_pulse_phase("end of the step");
        TDM_AGREE(r->comm, run_log_step(&r->log, r->session.optim.step,
                                        tdm_session_epoch(&r->session, r->session.optim.step), &report, &wait,
                                        elapsed_s(r)));
        TDM_TRY(after_step(r, &stop));
    }
    if (r->best_metric.metric && r->state.best_step >= 0 && !stop) {
        const run_best best = best_of(r);
        run_log_show_end(&r->log, r->session.optim.step, r->options->out, is_complete(r), &best);
    }
    if (stop && r->session.optim.step == r->session.first_step) return stopped_early();
    if (stop)
        TDM_FAIL(TDM_E_STOPPED, "stopped on request at step %lld of %lld; continue with --resume auto",
                 (long long)r->session.optim.step, (long long)r->session.total_steps);
    return TDM_OK;
}

static void show_nothing_to_do(const run *r, const char *resume)
{
    const long long step = (long long)r->session.optim.step;
    if (is_complete(r))
        tdm_log(TDM_LOG_INFO,
                "nothing to do: %s is at step %lld of %lld; train.epochs or train.steps extend a run", resume,
                step, (long long)r->session.total_steps);
    else
        tdm_log(
            TDM_LOG_INFO,
            "nothing to do: %s, step %lld, ended early: %lld evaluations were not better than %s = %.4f of "
            "epoch %.4g; a larger train.patience extends a run, 0 takes it to its last step",
            resume, step, (long long)r->state.evaluations_since_best,
            r->session.config.checkpoint.best_metric, r->state.best_value, r->state.best_epoch);
}

/* All that is read, from `resume` or, when that is "", anew. *over: nothing is left to do. */
static tdm_status prepare(run *r, char resume[TDM_PATH_BYTES], bool *over)
{
    *over = false;
    TDM_TRY(phase(r, load_config(r)));
    TDM_TRY(tdm_session_agree_config(&r->session, r->options->config));
    if (!r->options->dry_run) TDM_TRY(lock_run_dir(r));
    if (!r->options->dry_run) TDM_TRY(start_watch(r));
    if (r->session.pretrained[0]) TDM_TRY(tdm_checkpoint_check(r->comm, r->session.pretrained, false));
    tdm_pulse_phase("opening the data");
    TDM_TRY(phase(r, open_all_data(r)));
    TDM_TRY(tdm_session_agree_data(&r->session, r->eval_dataset));
    tdm_pulse_phase("making the model");
    TDM_TRY(phase(r, tdm_session_create_model(&r->session)));
    r->state.best_value = NAN;
    r->state.best_step = -1;
    tdm_pulse_phase("reading a checkpoint");
    TDM_TRY(find_resume(r, resume));
    if (!resume[0] && r->session.pretrained[0]) TDM_TRY(phase(r, tdm_session_read_pretrained(&r->session)));
    if (resume[0]) TDM_TRY(tdm_session_agree_checkpoint(&r->session, resume));
    if (resume[0]) TDM_TRY(phase(r, resume_from(r, resume)));
    if (resume[0] && !r->options->dry_run) TDM_TRY(find_best(r));
    tdm_pulse_phase("start");
    TDM_TRY(phase(r, tdm_session_create_loader(&r->session)));
    TDM_TRY(tdm_session_agree_start(&r->session, resume));
    if (resume[0] && is_over(r)) {
        show_nothing_to_do(r, resume);
        *over = true;
        return TDM_OK;
    }
    TDM_TRY(phase(r, tdm_session_load(&r->session)));
    return phase(r, tdm_session_start(&r->session));
}

static tdm_status run_training(run *r)
{
    char resume[TDM_PATH_BYTES];
    bool over;
    const tdm_status prepared = prepare(r, resume, &over);
    if (prepared == TDM_E_STOPPED) return stopped_early();
    if (prepared != TDM_OK || over) return prepared;
    if (!r->options->dry_run) TDM_AGREE(r->comm, write_run_config(r));
    TDM_TRY(show_plan(r));
    TDM_AGREE(r->comm, show_groups(r));
    if (r->options->dry_run) return tdm_comm_agree(r->comm, show_memory(r));

    if (resume[0]) tdm_log(TDM_LOG_INFO, "resuming from %s at step %lld", resume, (long long)r->state.step);
    r->log = (run_log){.comm = r->comm,
                       .total_steps = r->session.total_steps,
                       .batch = r->session.config.train.batch,
                       .log_every = r->session.config.train.log_every};
    TDM_AGREE(r->comm, run_log_open(&r->log, r->options->out, r->state.step));
    TDM_AGREE(r->comm, run_log_start(&r->log, tdm_session_epoch(&r->session, r->state.step), &r->roster));
    if (resume[0])
        TDM_AGREE(r->comm,
                  run_log_resume(&r->log, tdm_session_epoch(&r->session, r->state.step), &r->resume));
    r->start_s = r->checkpoint_s = tdm_now_s();
    const tdm_status status = run_steps(r);
    tdm_progress_clear();
    tdm_pulse_phase("report");
    const tdm_error kept = *tdm_error_last();
    if (tdm_comm_rank(r->comm) == 0 && tdm_dir_lock_check(r->lock) == TDM_OK &&
        tdm_path_exists(r->options->out) && tdm_report_write(r->options->out) != TDM_OK)
        tdm_log(TDM_LOG_WARN, "report.html was not written: %s", tdm_error_last()->message);
    return status == TDM_OK ? TDM_OK : tdm_error_adopt(&kept);
}

static tdm_status print_keys(void)
{
    tdm_text text = {0};
    tdm_status status = tdm_config_help(&text);
    if (status == TDM_OK) printf("\nConfiguration keys (libconfig file, or --set):\n%s", text.data);
    tdm_text_free(&text);
    return status;
}

static tdm_status train_run(tdm_comm *comm, int argc, char **argv)
{
    train_options options = {.config = "", .out = "", .resume = ""};
    const tdm_flag flags[] = {
        FLAG_STRING("--config", &options.config, "FILE", NULL, "the run's libconfig file"),
        FLAG_LIST("--set", &options.set, "GROUP.KEY=VALUE", "",
                  "overrides one configuration key; may be repeated"),
        FLAG_STRING("--out", &options.out, "RUN_DIR", NULL,
                    "directory for checkpoints, metrics.jsonl and report.html"),
        FLAG_STRING(
            "--resume", &options.resume, "auto|PATH", "",
            "continue from the newest whole checkpoint of RUN_DIR (auto: start anew when there is none) or from PATH"),
        FLAG_SWITCH("--resume-changed", &options.resume_changed,
                    "resume although keys differ that give the checkpoint's weights another meaning"),
        FLAG_SWITCH("--dry-run", &options.dry_run,
                    "check configuration and data, say steps, parameters and memory, and stop"),
        FLAG_STEAL_LOCK(&options.steal_lock),
    };
    tdm_strings positional = {0};
    bool help = false;
    tdm_status status =
        tdm_parse_flags("train", "--config FILE [--set group.key=value]… --out RUN_DIR [--resume auto|PATH]",
                        flags, sizeof(flags) / sizeof(flags[0]), argc, argv, &positional, &help);
    if (status == TDM_OK && help) status = print_keys();
    if (status == TDM_OK && !help && positional.count)
        status = TDM_ERROR(TDM_E_USAGE, "train: unexpected argument \"%s\"", positional.item[0]);
    free(positional.item);
    if (status == TDM_OK && !help) {
        run r = {.comm = comm, .options = &options, .session = {.comm = comm}};
        status = run_training(&r);
        const tdm_error kept = *tdm_error_last();
        run_destroy(&r);
        if (status != TDM_OK) status = tdm_error_adopt(&kept);
    }
    free(options.set.item);
    return status;
}

const tdm_command tdm_command_train = {
    .name = "train",
    .summary = "train a model from packed shards",
    .mpi = true,
    .stops = true,
    .run = train_run,
};
