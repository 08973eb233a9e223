/* A small model's parameters, moments and state, filled from a number. */
#ifndef TANDEM_TEST_CHECKPOINT_CASE_H
#define TANDEM_TEST_CHECKPOINT_CASE_H

#include "tandem/checkpoint.h"

#include <math.h>
#include <string.h>

typedef struct checkpoint_case {
    tdm_config config;
    tdm_params params;
    tdm_optim optim;
    tdm_tokenizer *tokenizer;
    tdm_train_state state;
} checkpoint_case;

static const char checkpoint_merges[] = "#version: 0.2\na b\nb c</w>\nab c\n";

static inline void fill_arena(const tdm_params *params, float *arena, float value)
{
    for (int64_t i = 0; i < params->count; i++) {
        for (int64_t k = 0; k < params->row[i].size; k++) arena[params->row[i].offset + k] = value + (float)i;
    }
}

/* Everything a function of `step`, so that a reader can tell a whole checkpoint from a mixed one. */
static inline void checkpoint_case_fill(checkpoint_case *c, int64_t step)
{
    fill_arena(&c->params, c->params.weight, (float)step);
    fill_arena(&c->params, c->optim.moment[0], (float)step + 0.25F);
    fill_arena(&c->params, c->optim.moment[1], (float)step + 0.5F);
    c->optim.step = step;
    c->state = (tdm_train_state){.step = step,
                                 .elapsed_s = 1.5 * (double)step,
                                 .best_value = NAN,
                                 .best_step = -1,
                                 .has_facts = true,
                                 .place = {step / 10, step % 10 * 7},
                                 .samples_per_epoch = 70,
                                 .samples_seen = 7 * step,
                                 .clock = {.step = 3, .at = 0.1 * (double)step, .rate = 1.5},
                                 .data_digest = "data",
                                 .eval_digest = "eval",
                                 .precision = "bf16"};
}

static inline tdm_status checkpoint_case_create(checkpoint_case *c)
{
    static const struct {
        const char *name;
        int ndim;
        int64_t shape[4];
    } rows[] = {{"visual.conv1.weight", 4, {4, 3, 2, 2}},
                {"visual.proj", 2, {6, 5}},
                {"token_embedding.weight", 2, {700, 600}}, /* 1.6 MB: several chunks */
                {"ln_final.bias", 1, {7}},
                {"logit_scale", 0, {0}}};
    memset(c, 0, sizeof *c);
    TDM_TRY(tdm_optim_register());
    TDM_TRY(tdm_config_init(&c->config));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        TDM_TRY(tdm_params_add(&c->params, rows[i].name, rows[i].ndim, rows[i].shape, TDM_INIT_ZERO, 0, true,
                               NULL));
    }
    TDM_TRY(tdm_params_allocate(&c->params, false));
    TDM_TRY(tdm_optim_create(&c->config, &c->params, &c->optim));
    TDM_TRY(
        tdm_tokenizer_open_memory("merges", checkpoint_merges, sizeof checkpoint_merges - 1, &c->tokenizer));
    checkpoint_case_fill(c, 1);
    return TDM_OK;
}

static inline void checkpoint_case_destroy(checkpoint_case *c)
{
    tdm_config_destroy(&c->config);
    tdm_params_destroy(&c->params);
    tdm_optim_destroy(&c->optim);
    tdm_tokenizer_destroy(&c->tokenizer);
}

#endif
