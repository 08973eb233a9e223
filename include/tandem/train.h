/* One optimiser step over the global batch. */
#ifndef TANDEM_TRAIN_H
#define TANDEM_TRAIN_H

#include "tandem/comm.h"
#include "tandem/loader.h"
#include "tandem/loss.h"
#include "tandem/model.h"
#include "tandem/optim.h"

typedef struct tdm_trainer tdm_trainer;

typedef struct tdm_step_report {
    double loss; /* weighted sum of all objectives over the global batch */
    int term_count;
    const char *term_name[TDM_LOSS_MAX_TERMS];
    double term[TDM_LOSS_MAX_TERMS]; /* unweighted */
    double lr, grad_norm, logit_scale;
    double step_s;      /* of this rank, data wait not included */
    tdm_comm_time comm; /* of it: not computing, but waiting for slower ranks or communicating */
    double flop;        /* matmul FLOP of this rank's pairs */
    int64_t tokens;     /* of this rank's captions */
} tdm_step_report;

/* Views that the configuration's losses (weight > 0) need, as bit sets. TDM_E_CONFIG when no loss is on. */
TDM_CHECKED tdm_status tdm_trainer_views(const tdm_config *config, tdm_view_set *views);
/* The pass of a view in the step, with its keys of dropout; target: the pass without gradient. */
tdm_pass tdm_step_pass(const tdm_config *config, int64_t step, tdm_view view, bool target);
/* The most rows that the model sees at once: train.chunk or the whole local batch. */
int64_t tdm_trainer_rows(const tdm_config *config, int ranks);
/* How a rank with the largest share of the batch divides its step, and what it keeps (train.recompute). */
TDM_CHECKED tdm_status tdm_trainer_plan(const tdm_config *config, int ranks, tdm_model_plan *plan);

/* The optimiser as the configuration asks for it: with the moments of all parameters, or, with optim.shard,
 * of this rank's part. After tdm_optim_groups: which rows are trained is read now. Not collective. */
TDM_CHECKED tdm_status tdm_trainer_optim(const tdm_comm *comm, const tdm_config *config,
                                         const tdm_params *params, tdm_optim *optim);
/* Borrows everything; params are allocated with gradients and the model is loaded; reserves its activations
 * (tdm_model_reserve). Which rows are trained is read now and may not change later. Not collective. */
TDM_CHECKED tdm_status tdm_trainer_create(tdm_comm *comm, tdm_ops *ops, const tdm_config *config,
                                          tdm_params *params, tdm_model *model, tdm_losses *losses,
                                          tdm_optim *optim, int64_t total_steps, tdm_trainer **trainer);
void tdm_trainer_destroy(tdm_trainer **trainer);
/* What schedules and ramps go by, where it is not the step alone. */
void tdm_trainer_set_clock(tdm_trainer *trainer, const tdm_clock *clock);
/* The most that losses have taken of the trainer's scratch. */
int64_t tdm_trainer_scratch_bytes(const tdm_trainer *trainer);
/* Forward, loss over the global batch, backward with overlapped gradient sums, update, repacking of the
 * weights. Collective. batch: this rank's piece, n = its share of tdm_step_draw(…).samples. With optim.shard params->grad
 * holds the sums of this rank's part only. TDM_E_NUMERIC (loss or gradient not finite) is returned by all
 * ranks alike and leaves the parameters as they were; after any other error the peers may be waiting:
 * tdm_comm_abort. */
TDM_CHECKED tdm_status tdm_trainer_step(tdm_trainer *trainer, const tdm_batch *batch,
                                        tdm_step_report *report);

#endif
