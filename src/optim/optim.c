#include "optim_impl.h"
#include "optim_table.h"

#include <math.h>
#include <string.h>

#define DECLARE_ROW(row) extern const optimizer row;
OPTIMIZER_TABLE(DECLARE_ROW)
#define TABLE_ROW(row) &row,
static const optimizer *const optimizers[] = {OPTIMIZER_TABLE(TABLE_ROW)};

tdm_status tdm_optim_create_part(const tdm_span *part, int64_t parts, tdm_optim *optim)
{
    int64_t elements = 0;
    for (int64_t i = 0; i < parts; i++) elements += part[i].end - part[i].begin;
    memset(optim, 0, sizeof(*optim));
    TDM_TRY(TDM_ALLOC(parts, &optim->part));
    if (parts > 0) memcpy(optim->part, part, sizeof(*part) * (size_t)parts);
    optim->parts = parts;
    TDM_TRY(TDM_ALLOC(elements, &optim->m));
    return TDM_ALLOC(elements, &optim->v);
}

tdm_status tdm_optim_create(const tdm_params *params, tdm_optim *optim)
{
    const tdm_span all = {0, params->total};
    return tdm_optim_create_part(&all, 1, optim);
}

void tdm_optim_destroy(tdm_optim *optim)
{
    tdm_free(optim->m);
    tdm_free(optim->v);
    tdm_free(optim->part);
    memset(optim, 0, sizeof(*optim));
}

bool tdm_optim_is_whole(const tdm_optim *optim, const tdm_params *params)
{
    return optim->parts == 1 && optim->part[0].begin == 0 && optim->part[0].end == params->total;
}

bool tdm_optim_next(const tdm_optim *optim, int64_t *from, int64_t end, tdm_span *piece, int64_t *at)
{
    int64_t first = 0; /* moment of the part */
    for (int64_t i = 0; i < optim->parts && optim->part[i].begin < end; i++) {
        const tdm_span part = optim->part[i];
        piece->begin = tdm_max_i64(*from, part.begin);
        piece->end = tdm_min_i64(end, part.end);
        if (piece->begin < piece->end) {
            *at = first + piece->begin - part.begin;
            *from = piece->end;
            return true;
        }
        first += part.end - part.begin;
    }
    return false;
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

double tdm_optim_squares(tdm_ops *ops, const tdm_params *params, const tdm_span *span, int64_t spans)
{
    double sum = 0.0;
    tdm_span trained;
    for (int64_t row = 0; tdm_params_next_trained(params, &row, &trained);)
        for (int64_t i = 0; i < spans; i++) {
            const int64_t begin = tdm_max_i64(span[i].begin, trained.begin);
            const int64_t end = tdm_min_i64(span[i].end, trained.end);
            if (begin < end) sum += tdm_sum_squares(ops, end - begin, params->grad + begin);
        }
    return sum;
}

tdm_status tdm_optim_apply(tdm_optim *optim, const tdm_config *config, tdm_ops *ops, tdm_params *params,
                           double lr, double grad_norm)
{
    const optimizer *rule = find_optimizer(config->optim.name);
    TDM_REQUIRE(rule, TDM_E_CONFIG, "optim.name: \"%s\" is unknown", config->optim.name);
    TDM_REQUIRE(isfinite(grad_norm), TDM_E_NUMERIC, "step %lld: the gradient is not finite (norm %g)",
                (long long)optim->step, grad_norm);
    /* as torch.nn.utils.clip_grad_norm_ */
    const double limit = config->optim.clip_norm;
    const double scale = limit > 0.0 ? fmin(1.0, limit / (grad_norm + 1e-6)) : 1.0;
    optim->step++;
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        tdm_span piece;
        int64_t from = row->offset, at;
        if (!tdm_param_trained(row)) continue;
        while (tdm_optim_next(optim, &from, row->offset + row->size, &piece, &at))
            TDM_TRY(rule->update(config, ops, row, piece.end - piece.begin, params->weight + piece.begin,
                                 params->grad + piece.begin, optim->m + at, optim->v + at, scale, lr,
                                 optim->step));
    }
    return TDM_OK;
}
