#include "optim_impl.h"
#include "optim_table.h"

#include <math.h>
#include <string.h>

#define DECLARE_ROW(row) extern const optimizer row;
OPTIMIZER_TABLE(DECLARE_ROW)
#define TABLE_ROW(row) &row,
static const optimizer *const optimizers[] = {OPTIMIZER_TABLE(TABLE_ROW)};

tdm_status tdm_optim_create(const tdm_params *params, tdm_optim *optim)
{
    memset(optim, 0, sizeof(*optim));
    TDM_TRY(TDM_ALLOC(params->total, &optim->m));
    return TDM_ALLOC(params->total, &optim->v);
}

void tdm_optim_destroy(tdm_optim *optim)
{
    tdm_free(optim->m);
    tdm_free(optim->v);
    memset(optim, 0, sizeof(*optim));
}

double tdm_learning_rate(const tdm_config *config, int64_t step, int64_t total_steps)
{
    const double peak = config->optim.lr, floor = peak * config->optim.min_lr_ratio;
    const int64_t warmup = config->optim.warmup_steps;
    if (step < warmup) return peak * (double)(step + 1) / (double)warmup;
    if (!strcmp(config->optim.schedule, "constant")) return peak;
    const double progress =
        total_steps > warmup ? fmin(1.0, (double)(step - warmup) / (double)(total_steps - warmup)) : 1.0;
    if (!strcmp(config->optim.schedule, "linear")) return peak + (floor - peak) * progress;
    return floor + 0.5 * (peak - floor) * (1.0 + cos(3.141592653589793 * progress));
}

static const optimizer *find_optimizer(const char *name)
{
    for (size_t i = 0; i < sizeof(optimizers) / sizeof(optimizers[0]); i++)
        if (!strcmp(optimizers[i]->name, name)) return optimizers[i];
    return NULL;
}

/* Of the gradients of trained rows: as torch with requires_grad=False, frozen ones have no share. */
static double sum_squares(tdm_ops *ops, const tdm_params *params)
{
    double sum = 0.0;
    tdm_span span;
    for (int64_t row = 0; tdm_params_next_trained(params, &row, &span);)
        sum += tdm_sum_squares(ops, span.end - span.begin, params->grad + span.begin);
    return sum;
}

tdm_status tdm_optim_update(tdm_optim *optim, const tdm_config *config, tdm_ops *ops, tdm_params *params,
                            double lr, double *grad_norm)
{
    const optimizer *rule = find_optimizer(config->optim.name);
    TDM_REQUIRE(rule, TDM_E_CONFIG, "optim.name: \"%s\" is unknown", config->optim.name);
    *grad_norm = sqrt(sum_squares(ops, params));
    TDM_REQUIRE(isfinite(*grad_norm), TDM_E_NUMERIC, "step %lld: the gradient is not finite (norm %g)",
                (long long)optim->step, *grad_norm);
    /* as torch.nn.utils.clip_grad_norm_ */
    const double limit = config->optim.clip_norm;
    const double scale = limit > 0.0 ? fmin(1.0, limit / (*grad_norm + 1e-6)) : 1.0;
    optim->step++;
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        if (!tdm_param_trained(row)) continue;
        const int64_t at = row->offset;
        TDM_TRY(rule->update(config, ops, row, params->weight + at, params->grad + at, optim->m + at,
                             optim->v + at, scale, lr, optim->step));
    }
    return TDM_OK;
}
