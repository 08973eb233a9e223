/* AdamW with decay groups, learning-rate schedules, clipping by global norm. Not collective. */
#ifndef TANDEM_OPTIM_H
#define TANDEM_OPTIM_H

#include "tandem/config.h"
#include "tandem/ops.h"
#include "tandem/params.h"

typedef struct tdm_optim {
    float *m, *v; /* moments, laid out as the arena [params->total] */
    int64_t step; /* updates done */
} tdm_optim;

TDM_CHECKED tdm_status tdm_optim_create(const tdm_params *params, tdm_optim *optim);
void tdm_optim_destroy(tdm_optim *optim);
/* Learning rate of update number `step` (0-based) of `total_steps`: linear warm-up, then the schedule. */
double tdm_learning_rate(const tdm_config *config, int64_t step, int64_t total_steps);
/* One update of every row with its own lr_scale and decay flag; buffers stay as they are. Returns the
 * gradient's global norm before clipping in *grad_norm; TDM_E_NUMERIC when it is not finite (nothing is
 * changed then). */
TDM_CHECKED tdm_status tdm_optim_update(tdm_optim *optim, const tdm_config *config, tdm_ops *ops,
                                        tdm_params *params, double lr, double *grad_norm);

#endif
