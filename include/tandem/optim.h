/* AdamW with decay groups, learning-rate schedules, clipping by global norm. Not collective. */
#ifndef TANDEM_OPTIM_H
#define TANDEM_OPTIM_H

#include "tandem/config.h"
#include "tandem/ops.h"
#include "tandem/params.h"

typedef struct tdm_optim {
    float *m, *v; /* moments, laid out as the arena [params->total]; zeros where rows are frozen */
    int64_t step; /* updates done */
} tdm_optim;

TDM_CHECKED tdm_status tdm_optim_create(const tdm_params *params, tdm_optim *optim);
void tdm_optim_destroy(tdm_optim *optim);
/* Learning rate of update number `step` (0-based) of `total_steps`: linear warm-up, then the schedule. */
double tdm_learning_rate(const tdm_config *config, int64_t step, int64_t total_steps);
/* Sets lr_scale of every row from the configuration, and with it which rows are trained. Once, between
 * tdm_model_create and tdm_model_load:
 *
 *     lr_scale = optim.layer_decay ^ (layers above the row's in its tower) · FACTOR, or 0 when frozen
 *
 * (BEiT's layer-wise decay: Bao et al., arXiv 2106.08254; a tower of n blocks has n + 2 layers,
 * tdm_param.layer: its output end has exponent 0, its top block 1, its input end n + 1; logit_scale belongs
 * to no tower). optim.lr_scale holds entries "ROWS=FACTOR", of which the last that names a row counts;
 * optim.freeze holds entries "ROWS", or "!ROWS", which trains them after all; again the last counts. ROWS is
 * a glob of parameter names (fnmatch, * matches points too), "image" or "text" for a whole tower, "image:K"
 * or "text:K" for a tower's input end and its lowest K blocks. Errors: TDM_E_CONFIG names an entry that
 * matches nothing, with the nearest parameter, or says that nothing is left to train. */
TDM_CHECKED tdm_status tdm_optim_groups(const tdm_config *config, tdm_params *params);
/* One line per lr_scale, the largest first, frozen rows last: how many parameters and values. Appended. */
TDM_CHECKED tdm_status tdm_optim_describe(const tdm_params *params, tdm_text *text);

/* One update of every trained row with its own lr_scale and decay flag; a frozen row keeps its bits, as
 * buffers do, and has no share in the norm. Returns the gradient's global norm before clipping in *grad_norm;
 * TDM_E_NUMERIC when it is not finite (nothing is changed then). */
TDM_CHECKED tdm_status tdm_optim_update(tdm_optim *optim, const tdm_config *config, tdm_ops *ops,
                                        tdm_params *params, double lr, double *grad_norm);

#endif
