/* Objectives. One file and one row of src/loss/loss_table.h each.
 *
 * Every rank holds the unit-norm features of the whole global batch (gathered) and computes the terms of its
 * own rows only; the trainer sums value and feature gradients over the ranks (reduce-scatter). */
#ifndef TANDEM_LOSS_H
#define TANDEM_LOSS_H

#include "tandem/base.h"
#include "tandem/option.h"
#include "tandem/ops.h"
#include "tandem/views.h"

#define TDM_LOSS_MAX_TERMS 4

typedef struct tdm_loss_input {
    int64_t B, row0, b, d;        /* global rows; this rank's rows [row0, row0+b); embedding width */
    const float *view[TDM_VIEWS]; /* [B][d] unit norm each; NULL where no loss asked for the view */
    const int64_t *identity;      /* [B] */
    float logit_scale;            /* log of the inverse temperature */
    tdm_scratch *scratch;         /* of scratch_bytes, for temporaries: no step allocates memory */
} tdm_loss_input;

typedef struct tdm_loss_output {
    double term[TDM_LOSS_MAX_TERMS]; /* this rank's share; the sum over ranks is the value. term[0] is the
                                        loss */
    float *dview[TDM_VIEWS];         /* [B][d], added to, already multiplied by `weight` */
    double dlogit_scale;             /* added to */
} tdm_loss_output;

typedef struct tdm_loss {
    const char *name;          /* config group loss.NAME */
    const char *const *terms;  /* logged scalars, NULL-terminated, terms[0] is the total */
    const tdm_option *options; /* relative keys; the first is "weight" at offset 0 (double) */
    size_t option_count, option_bytes;
    tdm_view_set (*views)(const void *options);
    /* Of one step with input's B, b and d. */
    int64_t (*scratch_bytes)(const void *options, const tdm_loss_input *input);
    /* `weight` multiplies the gradients, not the logged terms. */
    tdm_status (*step)(const void *options, double weight, tdm_ops *ops, const tdm_loss_input *input,
                       tdm_loss_output *output);
} tdm_loss;

/* All rows, in table order. */
const tdm_loss *const *tdm_loss_table(size_t *count);
const tdm_loss *tdm_loss_find(const char *name);
/* Registers every loss's options with the configuration. Call once before the first tdm_config_load. */
TDM_CHECKED tdm_status tdm_loss_register(void);

#endif
