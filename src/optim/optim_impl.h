/* Private to src/optim. */
#ifndef TANDEM_OPTIM_IMPL_H
#define TANDEM_OPTIM_IMPL_H

#include "tandem/optim.h"

typedef struct optimizer {
    const char *name; /* optim.name */
    /* Updates n elements of one row in place, and when they are the whole row also what its linear layer has
     * packed of it; g is multiplied by grad_scale first; step counts from 1. */
    tdm_status (*update)(const tdm_config *config, tdm_ops *ops, const tdm_param *row, int64_t n, float *w,
                         const float *g, float *m, float *v, double grad_scale, double lr, int64_t step);
} optimizer;

#endif
