/* Update rules, groups of parameters, learning-rate schedules, clipping by global norm. Not collective. */
#ifndef TANDEM_OPTIM_H
#define TANDEM_OPTIM_H

#include "tandem/config.h"
#include "tandem/ops.h"
#include "tandem/params.h"

enum { TDM_OPTIM_MOMENTS = 4 }; /* the most of an update rule */

typedef struct tdm_optimizer tdm_optimizer; /* an update rule: a row of src/optim/optim_table.h */
typedef struct tdm_schedule tdm_schedule;

typedef struct tdm_optim {
    const tdm_optimizer *rule;    /* optim.name */
    const void *options;          /* its own keys; the configuration's */
    const tdm_schedule *schedule; /* optim.schedule */
    int moments;                  /* that the rule keeps of each element */
    float *moment
        [TDM_OPTIM_MOMENTS]; /* of the elements in part[parts], one span after the other; zeros where frozen */
    tdm_span *part;          /* of the arena, ascending: all of it, or this rank's share */
    int64_t parts;
    int64_t step; /* updates done */
} tdm_optim;

/* The keys optim.name, optim.schedule and those of the update rules. Before the first tdm_config_init. */
TDM_CHECKED tdm_status tdm_optim_register(void);
/* How many moments the configured rule keeps of each element. */
TDM_CHECKED tdm_status tdm_optim_moments(const tdm_config *config, int *count);

/* With the moments of the whole arena, as params lays it out. The configuration must outlive the optimiser; name and
 * schedule are read now. */
TDM_CHECKED tdm_status tdm_optim_create(const tdm_config *config, const tdm_params *params, tdm_optim *optim);
/* With those of part[parts] only (copied), which is all that tdm_optim_apply then updates. */
TDM_CHECKED tdm_status tdm_optim_create_part(const tdm_config *config, const tdm_span *part, int64_t parts,
                                             tdm_optim *optim);
/* What the rule calls a moment, and a checkpoint the group that holds it. */
const char *tdm_optim_moment_name(const tdm_optim *optim, int moment);
void tdm_optim_destroy(tdm_optim *optim);
bool tdm_optim_is_whole(const tdm_optim *optim, const tdm_params *params);
/* The next stretch of the arena's elements [*from, end) whose moments are here: *piece, and *at, where its
 * moments begin. *from moves behind it. False when there is none. */
bool tdm_optim_next(const tdm_optim *optim, int64_t *from, int64_t end, tdm_span *piece, int64_t *at);
/* What schedules and ramps go by. It is the step, until a resumed run has another batch or data set and the rest of its
 * epochs another number of steps: then it goes on from where it stood so that it ends where it would have. */
typedef struct tdm_clock {
    int64_t step; /* at this step it stood … */
    double at;    /* … here, … */
    double rate;  /* … and goes on so far with each */
    double end;   /* of the schedule */
} tdm_clock;
double tdm_clock_at(const tdm_clock *clock, int64_t step);
/* Is the step among the last of the schedule, which are this share of it, in whole steps? */
bool tdm_clock_ends(const tdm_clock *clock, int64_t step, double share);
/* Learning rate of the update at `at` (counted from 0) of `end`: linear warm-up, then the schedule. */
double tdm_learning_rate(const tdm_optim *optim, const tdm_config *config, double at, double end);
/* The same for a configuration without an optimiser. */
TDM_CHECKED tdm_status tdm_learning_rate_of(const tdm_config *config, double at, double end, double *rate);
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

/* Sum of squares of the gradients of trained rows within span[spans]: as torch with requires_grad=False,
 * frozen ones have no share. */
double tdm_optim_squares(tdm_ops *ops, const tdm_params *params, const tdm_span *span, int64_t spans);
/* One update of every trained row's elements in the optimiser's part, with the row's lr_scale and decay flag;
 * a frozen row keeps its bits, as buffers do. grad_norm: of the whole gradient, for clipping.
 * TDM_E_NUMERIC when it is not finite (nothing is changed then). */
TDM_CHECKED tdm_status tdm_optim_apply(tdm_optim *optim, const tdm_config *config, tdm_ops *ops,
                                       tdm_params *params, double lr, double grad_norm);

#endif
