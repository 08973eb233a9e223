#include "run_log.h"
#include "result_json.h"
#include "roster_log.h"

#include "tandem/base.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#define SLOW_SHARE 0.05 /* of an interval, from where on the log says it */
#define SLOW_S     0.5  /* shorter is noise of a small run */

/* Of a run that goes on from `step`: no line of a later one, no end, no start that came to nothing else. */
static bool is_kept(const json_t *line, int64_t step)
{
    const json_t *number = json_object_get(line, "step");
    if (number == NULL || json_object_get(line, "end") != NULL) return false;
    return json_integer_value(number) < step + (json_object_get(line, "start") == NULL);
}

/* Only these lines stay; a last one that was cut by a kill does not. */
static tdm_status keep_lines_until(const char *path, int64_t step)
{
    tdm_text old = {0}, kept = {0};
    tdm_status status = tdm_read_file(path, &old);
    for (char *line = old.data; status == TDM_OK && line && *line;) {
        char *end = strchr(line, '\n');
        if (!end) break;
        json_t *object = json_loadb(line, (size_t)(end - line), 0, NULL);
        if (is_kept(object, step)) status = tdm_text_append(&kept, line, (size_t)(end - line) + 1);
        json_decref(object);
        line = end + 1;
    }
    if (status == TDM_OK) status = tdm_write_file_atomic(path, kept.data ? kept.data : "", kept.length);
    tdm_text_free(&old);
    tdm_text_free(&kept);
    return status;
}

tdm_status run_log_open(run_log *log, const char *run_dir, int64_t step)
{
    char path[4096];
    log->start_s = log->since_s = tdm_now_s();
    log->start_step = step;
    if (tdm_log_rank() != 0) return TDM_OK;
    TDM_TRY(tdm_path_join(path, sizeof(path), run_dir, "metrics.jsonl"));
    if (tdm_path_exists(path)) TDM_TRY(keep_lines_until(path, step));
    log->metrics = fopen(path, "a");
    TDM_REQUIRE(log->metrics, TDM_E_IO, "%s: cannot open: %s", path, strerror(errno));
    return TDM_OK;
}

void run_log_close(run_log *log)
{
    if (log->metrics) fclose(log->metrics);
    log->metrics = NULL;
}

/* One whole line per write, so that a reader never sees half of one. */
static tdm_status write_line(run_log *log, json_t *object)
{
    char *line = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(object);
    TDM_REQUIRE(line, TDM_E_NOMEM, "metrics.jsonl: cannot build a line");
    const bool written = fprintf(log->metrics, "%s\n", line) > 0 && fflush(log->metrics) == 0;
    free(line);
    TDM_REQUIRE(written, TDM_E_IO, "metrics.jsonl: cannot write: %s", strerror(errno));
    return TDM_OK;
}

static void set_real(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null());
}

static void show_duration(char out[32], double seconds)
{
    const int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, 32, "%lld h %02lld min", (long long)(s / 3600), (long long)(s / 60 % 60));
    else
        snprintf(out, 32, "%lld min %02lld s", (long long)(s / 60), (long long)(s % 60));
}

static void show_bar(char out[64], double fraction)
{
    enum { CELLS = 20 };
    const int full = (int)(fraction * CELLS);
    for (int i = 0; i < CELLS; i++) out[i] = i < full ? '#' : '.';
    out[CELLS] = '\0';
}

/* Nothing counted since the last line. */
static void begin_interval(run_log *log)
{
    log->steps = 0;
    log->flop = log->transfer_s = 0.0;
    log->wait = (rank_wait){0};
    log->since_s = tdm_now_s();
}

tdm_status run_log_start(run_log *log, double epoch, const tdm_roster *roster)
{
    if (tdm_log_rank() != 0) return TDM_OK;
    json_t *line = json_object();
    json_object_set_new(line, "step", json_integer(log->start_step));
    set_real(line, "epoch", epoch);
    json_object_set_new(line, "start", roster_json(roster));
    return write_line(log, line);
}

tdm_status run_log_resume(run_log *log, double epoch, const tdm_resume *resume)
{
    json_t *changed = json_array();
    for (int64_t i = 0; tdm_log_rank() == 0 && i < resume->differences.count; i++) {
        const tdm_difference *d = &resume->differences.item[i];
        if (d->change == TDM_CHANGE_FREE) continue;
        json_array_append_new(changed, json_pack("{ssssss}", "key", d->key, "was", d->was, "is", d->is));
    }
    if (json_array_size(changed) == 0) {
        json_decref(changed);
        return TDM_OK;
    }
    json_t *line = json_object(), *event = json_object();
    json_object_set_new(line, "step", json_integer(log->start_step));
    set_real(line, "epoch", epoch);
    json_object_set_new(event, "checkpoint", json_string(resume->dir));
    json_object_set_new(event, "changed", changed);
    json_object_set_new(event, "learning_rate", json_pack("[ff]", resume->lr_was, resume->lr_is));
    json_object_set_new(line, "resume", event);
    return write_line(log, line);
}

/* Collective. What all ranks waited in the interval: *slow, and the longest that one waited for its loader. */
static double meet_ranks(run_log *log, slow_rank *slow)
{
    const int ranks = tdm_comm_size(log->comm);
    int64_t one[ranks];
    rank_wait wait[ranks];
    double most_s = 0.0;
    for (int r = 0; r < ranks; r++) one[r] = 1;
    tdm_comm_gather_rows(log->comm, &log->wait, wait, one, sizeof *wait);
    for (int r = 0; r < ranks; r++) most_s = fmax(most_s, wait[r].loader_s);
    if (ranks > 1) *slow = slow_rank_of(wait, ranks);
    return most_s;
}

static void show_slow(const run_log *log, const slow_rank *slow, double window_s)
{
    if (slow->wait_s <= fmax(SLOW_S, SLOW_SHARE * window_s)) return;
    tdm_log(TDM_LOG_INFO, "slow: all waited for rank %d on %s, %.1f s of %.1f s, %s", slow->rank,
            tdm_comm_host(log->comm, slow->rank), slow->wait_s, window_s,
            2.0 * slow->wait_data_s > slow->wait_s ? "for its data" : "which computed longer");
}

static void set_slow(const run_log *log, json_t *line, const slow_rank *slow, double window_s)
{
    json_t *object = json_object();
    json_object_set_new(object, "rank", json_integer(slow->rank));
    json_object_set_new(object, "host", tdm_json_text(tdm_comm_host(log->comm, slow->rank)));
    set_real(object, "wait_s", slow->wait_s);
    set_real(object, "wait_data_s", slow->wait_data_s);
    set_real(object, "share", slow->wait_s / window_s);
    json_object_set_new(line, "slow_rank", object);
}

tdm_status run_log_step(run_log *log, int64_t step, double epoch, const tdm_step_report *report,
                        const rank_wait *wait, double elapsed_s)
{
    slow_rank slow = {0};
    log->steps++;
    log->wait.loader_s += wait->loader_s;
    log->wait.data_s += wait->data_s;
    log->wait.step_s += report->comm.wait_s;
    log->transfer_s += report->comm.transfer_s;
    log->flop += report->flop;
    const bool due = step % log->log_every == 0 || step == log->total_steps;
    /* all wait for the rank that waits longest */
    const double wait_data_s = due ? meet_ranks(log, &slow) : log->wait.loader_s;
    if (tdm_log_rank() != 0) {
        if (due) begin_interval(log);
        return TDM_OK;
    }

    const double now_s = tdm_now_s(), window_s = now_s - log->since_s;
    const double pairs_per_s = (double)(log->steps * log->batch) / window_s;
    const double per_step_s = (now_s - log->start_s) / (double)(step - log->start_step);
    char eta[32], bar[64];
    show_duration(eta, per_step_s * (double)(log->total_steps - step));
    show_bar(bar, (double)step / (double)log->total_steps);
    tdm_progress("%s step %lld/%lld  loss %.4f  %.1f pairs/s  data wait %.1f %%  ETA %s", bar,
                 (long long)step, (long long)log->total_steps, report->loss, pairs_per_s,
                 100.0 * wait_data_s / window_s, eta);

    if (!due) return TDM_OK;
    if (!tdm_progress_active())
        tdm_log(TDM_LOG_INFO,
                "step %lld/%lld  epoch %.2f  loss %.4f  lr %.3g  scale %.2f  |g| %.3g  "
                "%.1f pairs/s  data wait %.1f %%  rank wait %.1f %%  comm %.1f %%  ETA %s",
                (long long)step, (long long)log->total_steps, epoch, report->loss, report->lr,
                exp(report->logit_scale), report->grad_norm, pairs_per_s, 100.0 * wait_data_s / window_s,
                100.0 * log->wait.step_s / window_s, 100.0 * log->transfer_s / window_s, eta);

    if (!tdm_progress_active()) show_slow(log, &slow, window_s);

    json_t *line = json_object();
    json_object_set_new(line, "step", json_integer(step));
    set_real(line, "epoch", epoch);
    set_real(line, "loss", report->loss);
    for (int i = 0; i < report->term_count; i++) {
        char key[96];
        snprintf(key, sizeof(key), "loss_%s", report->term_name[i]);
        set_real(line, key, report->term[i]);
    }
    set_real(line, "lr", report->lr);
    set_real(line, "inverse_temperature", exp(report->logit_scale)); /* logit_scale is its logarithm */
    set_real(line, "grad_norm", report->grad_norm);
    set_real(line, "pairs_per_s", pairs_per_s);
    set_real(line, "gflops", log->flop / window_s * 1e-9);
    set_real(line, "wait_data_s", wait_data_s);
    set_real(line, "wait_ranks_s", log->wait.step_s);
    set_real(line, "comm_s", log->transfer_s);
    set_real(line, "wait_comm_s", log->wait.step_s + log->transfer_s);
    set_real(line, "wait_data_share", wait_data_s / window_s);
    set_real(line, "wait_ranks_share", log->wait.step_s / window_s);
    set_real(line, "comm_share", log->transfer_s / window_s);
    if (tdm_comm_size(log->comm) > 1) set_slow(log, line, &slow, window_s);
    set_real(line, "elapsed_s", elapsed_s);
    json_object_set_new(line, "rss_bytes", json_integer(tdm_resident_bytes()));
    begin_interval(log);
    return write_line(log, line);
}

tdm_status run_log_eval(run_log *log, int64_t step, double epoch, const tdm_metrics metrics[TDM_DIRECTIONS])
{
    begin_interval(log); /* its time is not training time */
    if (tdm_log_rank() != 0) return TDM_OK;
    json_t *line = json_object(), *eval = json_object();
    for (int i = 0; i < TDM_DIRECTIONS; i++) {
        const tdm_direction direction = (tdm_direction)i;
        tdm_text values = {0};
        json_object_set_new(eval, tdm_direction_key(direction), result_metrics(&metrics[i]));
        if (tdm_metrics_print(&metrics[i], true, &values) == TDM_OK)
            tdm_log(TDM_LOG_INFO, "evaluation at step %lld, %s: %s", (long long)step,
                    tdm_direction_label(direction), values.data);
        tdm_text_free(&values);
    }
    json_object_set_new(eval, tdm_direction_key(TDM_AVERAGE), result_average(metrics));
    const tdm_metric_rows *rows = metrics[TDM_TEXT_TO_IMAGE].rows;
    if (rows && rows->r_sum) json_object_set_new(eval, "r_sum", result_r_sum(metrics));
    json_object_set_new(line, "step", json_integer(step));
    set_real(line, "epoch", epoch);
    json_object_set_new(line, "eval", eval);
    return write_line(log, line);
}

tdm_status run_log_end(run_log *log, int64_t step, double epoch, const char *reason, const run_best *best)
{
    if (tdm_log_rank() != 0) return TDM_OK;
    json_t *line = json_object(), *end = json_object();
    json_object_set_new(line, "step", json_integer(step));
    set_real(line, "epoch", epoch);
    json_object_set_new(end, "reason", json_string(reason));
    json_object_set_new(end, "metric", tdm_json_text(best->metric));
    json_object_set_new(end, "chosen_on", tdm_json_text(best->split));
    set_real(end, "best", best->value);
    json_object_set_new(end, "best_step", json_integer(best->step));
    set_real(end, "best_epoch", best->epoch);
    json_object_set_new(end, "evaluations_since_best", json_integer(best->since));
    json_object_set_new(line, "end", end);
    return write_line(log, line);
}

void run_log_show_end(const run_log *log, int64_t step, const char *run_dir, bool complete,
                      const run_best *best)
{
    if (!complete)
        tdm_log(
            TDM_LOG_INFO,
            "ended early at step %lld of %lld: %lld evaluations in a row (train.patience) were not better "
            "than the best",
            (long long)step, (long long)log->total_steps, (long long)best->since);
    tdm_log(
        TDM_LOG_INFO,
        "the best of this run: %s = %.4f of epoch %.4g, step %lld, chosen on %s, %lld evaluations before the "
        "end; other commands take it for %s",
        best->metric, best->value, best->epoch, (long long)best->step, best->split, (long long)best->since,
        run_dir);
    if (strcmp(best->split, "test") == 0)
        tdm_log(TDM_LOG_WARN, "it was chosen on the test split: its figures there are of the split that it "
                              "was chosen on; eval.split chooses on another");
}
