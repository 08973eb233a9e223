/* Results as JSON: how the commands write them, and how they show them to people. */
#ifndef TANDEM_APP_RESULT_JSON_H
#define TANDEM_APP_RESULT_JSON_H

#include "tandem/json_text.h"
#include "tandem/eval.h"
#include "tandem/eval_groups.h"
#include "tandem/inference.h"
#include "tandem/shard.h"

/* With `digits` significant digits to the file `path`, or to standard output when it is "". root is borrowed and may
 * be NULL (out of memory). Control characters that JSON leaves to itself are escaped, too. */
TDM_CHECKED tdm_status result_write(const json_t *root, int digits, const char *path);
/* For people, on standard output; text is shown as tdm_text_show does. */
void result_show(const json_t *object);
/* One direction: counts, then every row of metrics->rows. */
json_t *result_metrics(const tdm_metrics *metrics);
/* The same in the log: "NAMER@1 0.4170 …  (20 queries, gallery 40BEHIND)", and a warning of queries left out. */
TDM_CHECKED tdm_status result_log(const char *name, const tdm_metrics *metrics, const char *behind);
/* How the pairs were compared, in the log. */
void result_log_work(const tdm_eval_work *work);
/* Of each metric the mean of both directions. */
json_t *result_average(const tdm_metrics metrics[TDM_DIRECTIONS]);
/* Folds: their number, of each direction the mean over the folds, of two directions "average" and what else was asked for
 * of both, and "each" with all figures of every fold. key[directions] names them; fold[direction] is a list [folds]. */
json_t *result_folds(int64_t folds, int directions, const char *const *key, tdm_metrics *const *fold);
/* One group as a line of a table by class. */
json_t *result_group(const char *name, const tdm_metric_rows *rows, const tdm_group_metrics *groups,
                     int64_t k);
/* Means over groups of queries, `by` says of what. */
json_t *result_macro(const char *by, const tdm_metric_rows *rows, const tdm_group_metrics *groups);
/* Of each of them the mean of both directions. */
json_t *result_macro_average(const char *by, const tdm_metric_rows *rows,
                             const tdm_group_metrics groups[TDM_DIRECTIONS]);
json_t *result_r_sum(const tdm_metrics metrics[TDM_DIRECTIONS]);
/* Adds "int8" where the model computes in that. */
void result_rounding(json_t *root, const tdm_inference *inference);
/* Adds "selection" where the checkpoint was chosen by the evaluations of its run, and warns where that was done on the
 * very split that is measured. */
TDM_CHECKED tdm_status result_selection(json_t *root, const tdm_inference *inference,
                                        const tdm_dataset *dataset);
/* {"name": …, and its options}, which are numbers, of what was called as NAME(key=value, …). */
json_t *result_call(const char *name, const tdm_option *option, size_t count, const void *options);
/* Adds what was asked for of one direction: curves, the table by class. */
void result_detail(json_t *object, const tdm_dataset *dataset, const tdm_eval_detail *detail);

#endif
