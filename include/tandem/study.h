/* Studies: a grid of training runs and the table of what came out.
 *
 * A study file is libconfig:
 *
 *     title = "Losses";                        of the page; default: the file's name
 *     config = "small.cfg";                    base configuration, relative to this file
 *     set = ["train.epochs=5"];                overrides of every run
 *     seeds = [1, 2, 3];                       one run of each row for each
 *     metrics = ["text_to_image.recall_at_1"]; columns of the table, each of the last evaluation of a run
 *     base = "ITC";                            row that the others are compared with; default: the first
 *     axes = ( { name = "loss"; values = ( { label = "ITC"; set = ["loss.infonce.weight=1"]; },
 *                                          { label = "siglip"; set = ["loss.siglip.weight=1"]; seeds = [1]; } ); } );
 *     eval = { data = "shards"; split = "test"; checkpoint = "best"; positives = "identity"; };
 *
 * Rows are all combinations of the axes' values, the last axis fastest. A value may have a number `x`: then each metric
 * is plotted over it. With the group `eval` a run is evaluated once more when it is done, on another split or with
 * another checkpoint ("latest", "best") than training did, and these figures make the table. Without a word about the
 * checkpoint, and without `eval`, a run with early stopping (train.patience) counts by its best evaluation, any other by
 * its last.
 *
 * Every run is an ordinary run directory, OUT/runs/LABEL/seed-N. Not collective. */
#ifndef TANDEM_STUDY_H
#define TANDEM_STUDY_H

#include "tandem/base.h"
#include "tandem/metric.h"
#include "tandem/option.h"

typedef struct tdm_study_row { /* owned by the study */
    char *label, *slug;        /* slug: its folder under OUT/runs */
    char *series;              /* its values of the axes that have no x; "" when there is none */
    double x;                  /* NaN: no axis has numbers */
    tdm_strings set;           /* overrides, of the study and of the row */
    const int64_t *seed;       /* [seeds] */
    int64_t seeds;
} tdm_study_row;

typedef struct tdm_study {
    char *name, *title, *x_title;
    char *config;                                  /* path of the base configuration */
    char *eval_data, *eval_split, *eval_positives; /* NULL: an evaluation while training counts */
    char *eval_checkpoint;                         /* NULL: see tdm_study_takes_best */
    tdm_strings metric;
    tdm_metric_rows metric_rows; /* among which they are */
    tdm_study_row *row;          /* [rows] */
    int64_t rows, base;          /* base: index of the row to compare with */
    void *memory;                /* of the strings */
} tdm_study;

/* Reads the file; `set` (may be NULL): further overrides of every run, the last word. Errors: TDM_E_CONFIG names file,
 * line and key. *study is the caller's, tdm_study_destroy. */
TDM_CHECKED tdm_status tdm_study_read(const char *path, const tdm_strings *set, tdm_study **study);
void tdm_study_destroy(tdm_study **study);

/* One run: row and seed. */
typedef struct tdm_study_run {
    int64_t row, seed;
    char dir[TDM_PATH_BYTES];
    char digest[65]; /* of what decides the run: base configuration, overrides, seed, evaluation */
} tdm_study_run;
/* Number of runs, and run `index`: all rows of the first seed, then of the second … so that a table fills evenly. */
int64_t tdm_study_runs(const tdm_study *study);
TDM_CHECKED tdm_status tdm_study_run_at(const tdm_study *study, const char *out, int64_t index,
                                        tdm_study_run *run);

typedef enum tdm_study_state {
    TDM_STUDY_MISSING, /* not begun, not complete, or of another digest */
    TDM_STUDY_BEGUN,   /* at work; or its process ended without a word, by a kill or an abort of MPI */
    TDM_STUDY_DONE,
    TDM_STUDY_FAILED /* and not tried again since */
} tdm_study_state;
/* What DIR/study-run.json says of a run. */
tdm_study_state tdm_study_state_of(const tdm_study_run *run);
/* Is a run that has ended measured at its best checkpoint? Otherwise at its latest. */
TDM_CHECKED tdm_status tdm_study_takes_best(const tdm_study *study, const tdm_study_run *run, bool *best);
/* Marks a run as begun. A run that takes the whole process with it is then known by the next call. */
TDM_CHECKED tdm_status tdm_study_begin(const tdm_study_run *run);
/* A run that was stopped on request is missing again. */
TDM_CHECKED tdm_status tdm_study_put_back(const tdm_study_run *run);
/* Writes it: the figures of a run that is done (metrics.jsonl, or eval.json), or why it failed (message, else NULL).
 * Errors: TDM_E_CONFIG when a run has no such metric. */
TDM_CHECKED tdm_status tdm_study_finish(const tdm_study *study, const tdm_study_run *run,
                                        const char *message);

/* Reads what runs have finished and writes OUT/study.json, study.csv, study.tex, study.txt (the
 * table as plain text) and report.html.
 *
 * study.json: {"study", "rows": [{"label", "settings", "runs", "failed", "chosen_on_measured_split", "metrics": {NAME:
 * {"mean", "std", "n", "values"}}}]}; with a base row also "difference" and "p" (two-sided paired t-test over the seeds that both rows
 * have). std is the sample's (n - 1); null where there are fewer than two values. */
TDM_CHECKED tdm_status tdm_study_report(const tdm_study *study, const char *out);

/* ---- Statistics ---- */
double tdm_mean(const double *value, int64_t n);
double tdm_sample_deviation(const double *value, int64_t n); /* NaN for n < 2 */
/* Two-sided p of Student's t with `freedom` degrees of freedom. */
double tdm_student_p(double t, double freedom);
/* Two-sided p of the paired t-test that differences[n] have mean 0; NaN for n < 2, or when all are equal and not 0. */
double tdm_paired_p(const double *difference, int64_t n);

#endif
