/* Evaluation tasks: what `tandem eval --task NAME` does. One file and one row of eval_task_table.h each. */
#ifndef TANDEM_APP_EVAL_TASK_H
#define TANDEM_APP_EVAL_TASK_H

#include "inference_flags.h"

typedef struct eval_request { /* what every task is given */
    tdm_inference_options inference;
    const char *data, *split;
    const char *json, *html; /* files to write; "": standard output, no page */
    tdm_strings rest;        /* arguments that belong to no option */
} eval_request;

enum { EVAL_TASK_MAX_FLAGS = 32 };

typedef struct eval_task {
    const char *name;
    const char *help;
    /* The task's own options: a struct and the rows that fill it. They are refused with another task. */
    size_t option_bytes;
    const void *defaults;
    bool needs_model;      /* --model, --data and --split must be there */
    const char *chosen_by; /* an option of its own that chooses the task without --task; NULL: none */
    bool takes_files;      /* request->rest may hold some */
    size_t (*flags)(void *options, tdm_flag flag[EVAL_TASK_MAX_FLAGS]); /* fills; returns how many */
    /* Lines after the options of --help, or NULL. */
    void (*explain)(void);
    /* Collective. */
    tdm_status (*run)(tdm_comm *comm, const eval_request *request, const void *options);
} eval_task;

#endif
