/* Every evaluation task, in the order of --help; the first is what runs without --task. */
#ifndef TANDEM_APP_EVAL_TASK_TABLE_H
#define TANDEM_APP_EVAL_TASK_TABLE_H

#include "eval_task.h"

#define EVAL_TASK_TABLE(ROW)                                                                                 \
    ROW(task_retrieval)                                                                                      \
    ROW(task_zeroshot)                                                                                       \
    ROW(task_embeddings)                                                                                     \
    ROW(task_compare)                                                                                        \
    ROW(task_fuse)

#define DECLARE_TASK(task) extern const eval_task task;
EVAL_TASK_TABLE(DECLARE_TASK)

#endif
