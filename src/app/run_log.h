/* What a run leaves to be watched: metrics.jsonl, log lines and the progress bar, written by rank 0. */
#ifndef TANDEM_APP_RUN_LOG_H
#define TANDEM_APP_RUN_LOG_H

#include "slow_rank.h"

#include "tandem/eval.h"
#include "tandem/resume.h"
#include "tandem/roster.h"
#include "tandem/train.h"

/* The best evaluation so far. */
typedef struct run_best {
    const char *metric, *split; /* checkpoint.best_metric, eval.split */
    double value, epoch;
    int64_t step, since; /* evaluations since then */
} run_best;

/* Sums over the steps since the last log line. */
typedef struct run_log {
    tdm_comm *comm;
    FILE *metrics; /* RUN/metrics.jsonl, NULL on other ranks */
    int64_t total_steps, batch, log_every;
    double start_s; /* of this process's first step */
    int64_t start_step;
    int64_t steps; /* since the last line */
    double since_s;
    double flop;       /* of this rank */
    rank_wait wait;    /* of this rank */
    double transfer_s; /* of this rank */
} run_log;

/* Opens RUN/metrics.jsonl and drops lines of steps after `step` (a resumed run repeats them). */
TDM_CHECKED tdm_status run_log_open(run_log *log, const char *run_dir, int64_t step);
void run_log_close(run_log *log);
/* What runs it, a line per start. */
TDM_CHECKED tdm_status run_log_start(run_log *log, double epoch, const tdm_roster *roster);
/* That the run goes on otherwise than its checkpoint; nothing where it does not. */
TDM_CHECKED tdm_status run_log_resume(run_log *log, double epoch, const tdm_resume *resume);
/* Collective. After each step (number `step`, counted from 1). wait: .loader_s and .data_s of it; the rest is in the
 * report. elapsed_s: training time over all resumes. */
TDM_CHECKED tdm_status run_log_step(run_log *log, int64_t step, double epoch, const tdm_step_report *report,
                                    const rank_wait *wait, double elapsed_s);
/* An evaluation while training. */
TDM_CHECKED tdm_status run_log_eval(run_log *log, int64_t step, double epoch,
                                    const tdm_metrics metrics[TDM_DIRECTIONS]);
/* Why the run ends, "complete" or "patience". A run that goes on after all drops the line. */
TDM_CHECKED tdm_status run_log_end(run_log *log, int64_t step, double epoch, const char *reason,
                                   const run_best *best);
/* The same for people, with the checkpoint that other commands take. */
void run_log_show_end(const run_log *log, int64_t step, const char *run_dir, bool complete,
                      const run_best *best);

#endif
