/* One update by a whole optimiser, as one rank makes it. */
#ifndef TANDEM_TESTS_OPTIM_UPDATE_H
#define TANDEM_TESTS_OPTIM_UPDATE_H

#include "tandem/optim.h"

#include <math.h>

/* *grad_norm: of the whole gradient before clipping */
static inline tdm_status optim_update(tdm_optim *optim, const tdm_config *config, tdm_ops *ops,
                                      tdm_params *params, double lr, double *grad_norm)
{
    const tdm_span all = {0, params->total};
    *grad_norm = sqrt(tdm_optim_squares(ops, params, &all, 1));
    return tdm_optim_apply(optim, config, ops, params, lr, *grad_norm);
}

#endif
