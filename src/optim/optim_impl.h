/* Private to src/optim. */
#ifndef TANDEM_OPTIM_IMPL_H
#define TANDEM_OPTIM_IMPL_H

#include "tandem/optim.h"

/* Elements of one row of the parameters at one update. */
typedef struct update_call {
    tdm_ops *ops;
    const void *options; /* of the rule, as it registered them */
    const tdm_param *row;
    int64_t n;
    float *w;                         /* [n] */
    const float *g;                   /* [n], to be multiplied by grad_scale first */
    float *moment[TDM_OPTIM_MOMENTS]; /* [n] each, zeros before the first update */
    double grad_scale;                /* clipping */
    double lr;                        /* the row's: lr_scale is in it */
    double decay;                     /* optim.weight_decay, 0 for rows without */
    int64_t step;                     /* from 1 */
} update_call;

/* An update rule. Keys of its own are optim.KEY. Two rules whose keys have the same names share one array of rows;
 * other keys of the same name are refused when they are registered. */
struct tdm_optimizer {
    const char *name; /* optim.name */
    const char
        *moment[TDM_OPTIM_MOMENTS + 1]; /* what it keeps of each element, up to NULL; checkpoints have a group
                                                    of that name in state.h5 */
    const tdm_option *options;
    size_t option_count, option_bytes;
    /* Updates w and the moments in place. Where the n elements are the whole row, also what its linear layer has
     * packed of it. */
    tdm_status (*update)(const update_call *call);
    /* The same by the formula, one element after the other, for tests. */
    void (*reference)(const update_call *call);
};

/* Every rule, for tests and for what is registered. */
const tdm_optimizer *const *optimizer_table(size_t *count);

/* ---- schedule.c ---- */
struct tdm_schedule {
    const char *name; /* optim.schedule */
    /* The learning rate after the share `progress` (0 to 1) of the steps behind the warm-up. */
    double (*rate)(double peak, double floor, double progress);
};
const tdm_schedule *schedule_table(size_t *count);
double schedule_rate(const tdm_schedule *schedule, const tdm_config *config, double at, double end);

#endif
