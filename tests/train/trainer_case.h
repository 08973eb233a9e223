/* What the tests of the training step build on every rank: a model of some thousand weights, its optimiser
 * and its trainer. */
#ifndef TANDEM_TEST_TRAINER_CASE_H
#define TANDEM_TEST_TRAINER_CASE_H

#include "tandem/tandem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define must(expr)                                                                                           \
    do {                                                                                                     \
        if ((expr) != TDM_OK) fail_msg("%s", tdm_error_last()->message);                                     \
    } while (0)

static tdm_comm *comm;

typedef struct setup {
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
    tdm_optim optim;
    tdm_trainer *trainer;
} setup;

/* KEY=VALUE, up to NULL; `assignments` may be NULL. */
static inline void set_all(setup *s, const char *const *assignments)
{
    for (; assignments && *assignments; assignments++) must(tdm_config_set(&s->config, *assignments));
}

/* A configuration of the defaults and these. */
static inline void set_up_config(setup *s, const char *const *assignments)
{
    memset(s, 0, sizeof *s);
    must(tdm_config_init(&s->config));
    set_all(s, assignments);
}

/* The configured model for `rows` samples at once, its parameters allocated and not yet filled. */
static inline void set_up_model(setup *s, const char *precision, int threads, int64_t rows)
{
    tdm_dtype dtype;
    must(tdm_ops_resolve_precision(precision, &dtype));
    must(tdm_ops_create(dtype, threads, &s->ops));
    must(tdm_model_create(&s->config, s->ops, true, rows, &s->params, &s->model));
    must(tdm_optim_groups(&s->config, &s->params));
    must(tdm_params_allocate(&s->params, true));
}

/* Initial weights, zero moments, a trainer of 100 steps. */
static inline void set_up_trainer(setup *s)
{
    tdm_params_init(&s->params, 3);
    must(tdm_trainer_optim(comm, &s->config, &s->params, &s->optim));
    must(tdm_model_load(s->model));
    must(tdm_trainer_create(comm, s->ops, &s->config, &s->params, s->model, &s->optim, 100, &s->trainer));
}

static inline void tear_down(setup *s)
{
    tdm_trainer_destroy(&s->trainer);
    tdm_optim_destroy(&s->optim);
    tdm_model_destroy(&s->model);
    tdm_params_destroy(&s->params);
    tdm_ops_destroy(&s->ops);
    tdm_config_destroy(&s->config);
}

#endif
