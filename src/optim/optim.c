/* The tables of update rules and schedules, and the update. */
#include "optim_impl.h"
#include "optim_table.h"

#include <math.h>
#include <string.h>

#define DECLARE_ROW(row) extern const tdm_optimizer row;
OPTIMIZER_TABLE(DECLARE_ROW)
#define TABLE_ROW(row) &row,
static const tdm_optimizer *const optimizers[] = {OPTIMIZER_TABLE(TABLE_ROW)};
enum { OPTIMIZERS = sizeof(optimizers) / sizeof(optimizers[0]) };

const tdm_optimizer *const *optimizer_table(size_t *count)
{
    *count = OPTIMIZERS;
    return optimizers;
}

/* ---- Options ---- */

/* Rows of the two tables, chosen by name. */
typedef struct optim_choices {
    int name, schedule;
} optim_choices;

enum { NAMES_BYTES = 512 };
static char optimizer_names[NAMES_BYTES], schedule_names[NAMES_BYTES]; /* "a|b|c"; filled from the tables */

static const tdm_option choice_rows[] = {
    /* the moments of one rule mean nothing to another, whatever they are called */
    TDM_OPTION_ROW(TDM_OPTION_CHOICE, optim_choices, name, "adamw", 0, 0, optimizer_names, "", "Optimiser.",
                   NULL, TDM_CHANGE_BREAKS),
    TDM_CHOICE_OPTION(optim_choices, schedule, "cosine", schedule_names, "Learning rate after warm-up."),
};

static tdm_status add_name(char names[NAMES_BYTES], size_t index, const char *name)
{
    const size_t length = index == 0 ? 0 : strlen(names);
    const int n = snprintf(names + length, NAMES_BYTES - length, "%s%s", index == 0 ? "" : "|", name);
    TDM_REQUIRE(n < (int)(NAMES_BYTES - length), TDM_E_CONFIG, "optim: too many names, with \"%s\"", name);
    return TDM_OK;
}

/* Two rules may share their rows, so that these count whatever rule is on. */
static tdm_status register_rows(const tdm_option *rows, size_t count, size_t bytes)
{
    const tdm_option_group group = {
        .prefix = "optim", .rows = rows, .count = count, .bytes = bytes, .change = TDM_CHANGE_RUN};
    return tdm_config_register(&group);
}

tdm_status tdm_optim_register(void)
{
    size_t schedules;
    const tdm_schedule *schedule = schedule_table(&schedules);
    for (size_t i = 0; i < OPTIMIZERS; i++) TDM_TRY(add_name(optimizer_names, i, optimizers[i]->name));
    for (size_t i = 0; i < schedules; i++) TDM_TRY(add_name(schedule_names, i, schedule[i].name));
    TDM_TRY(register_rows(choice_rows, sizeof(choice_rows) / sizeof(choice_rows[0]), sizeof(optim_choices)));
    for (size_t i = 0; i < OPTIMIZERS; i++)
        if (optimizers[i]->option_count > 0)
            TDM_TRY(register_rows(optimizers[i]->options, optimizers[i]->option_count,
                                  optimizers[i]->option_bytes));
    return TDM_OK;
}

static tdm_status find_choices(const tdm_config *config, const optim_choices **choices)
{
    *choices = tdm_config_rows(config, "optim", choice_rows);
    TDM_REQUIRE(*choices, TDM_E_CONFIG, "the keys of the optimisers are not registered: tdm_optim_register");
    return TDM_OK;
}

static int moments_of(const tdm_optimizer *rule)
{
    int count = 0;
    while (rule->moment[count]) count++;
    return count;
}

tdm_status tdm_optim_moments(const tdm_config *config, int *count)
{
    const optim_choices *choices;
    TDM_TRY(find_choices(config, &choices));
    *count = moments_of(optimizers[choices->name]);
    return TDM_OK;
}

tdm_status tdm_learning_rate_of(const tdm_config *config, double at, double end, double *rate)
{
    const optim_choices *choices;
    size_t schedules;
    TDM_TRY(find_choices(config, &choices));
    *rate = schedule_rate(&schedule_table(&schedules)[choices->schedule], config, at, end);
    return TDM_OK;
}

/* ---- Life ---- */

tdm_status tdm_optim_create_part(const tdm_config *config, const tdm_span *part, int64_t parts,
                                 tdm_optim *optim)
{
    const optim_choices *choices;
    size_t schedules;
    int64_t elements = 0;
    memset(optim, 0, sizeof(*optim));
    TDM_TRY(find_choices(config, &choices));
    optim->rule = optimizers[choices->name];
    optim->options = tdm_config_rows(config, "optim", optim->rule->options);
    optim->schedule = &schedule_table(&schedules)[choices->schedule];
    optim->moments = moments_of(optim->rule);
    for (int64_t i = 0; i < parts; i++) elements += part[i].end - part[i].begin;
    TDM_TRY(TDM_ALLOC(parts, &optim->part));
    if (parts > 0) memcpy(optim->part, part, sizeof(*part) * (size_t)parts);
    optim->parts = parts;
    for (int k = 0; k < optim->moments; k++) TDM_TRY(TDM_ALLOC(elements, &optim->moment[k]));
    return TDM_OK;
}

tdm_status tdm_optim_create(const tdm_config *config, const tdm_params *params, tdm_optim *optim)
{
    const tdm_span all = {0, params->total};
    return tdm_optim_create_part(config, &all, 1, optim);
}

void tdm_optim_destroy(tdm_optim *optim)
{
    for (int k = 0; k < optim->moments; k++) tdm_free(optim->moment[k]);
    tdm_free(optim->part);
    memset(optim, 0, sizeof(*optim));
}

const char *tdm_optim_moment_name(const tdm_optim *optim, int moment)
{
    return optim->rule->moment[moment];
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

/* ---- The update ---- */

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

/* Elements of one row whose moments are here: from piece->begin of the arena, from `at` of the moments. */
static tdm_status update_piece(const tdm_optim *optim, const update_call *of_row, tdm_params *params,
                               const tdm_span *piece, int64_t at)
{
    update_call call = *of_row;
    call.n = piece->end - piece->begin;
    call.w = params->weight + piece->begin;
    call.g = params->grad + piece->begin;
    for (int k = 0; k < optim->moments; k++) call.moment[k] = optim->moment[k] + at;
    return optim->rule->update(&call);
}

tdm_status tdm_optim_apply(tdm_optim *optim, const tdm_config *config, tdm_ops *ops, tdm_params *params,
                           double lr, double grad_norm)
{
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
        const update_call call = {.ops = ops,
                                  .options = optim->options,
                                  .row = row,
                                  .grad_scale = scale,
                                  .lr = lr * row->lr_scale,
                                  .decay = row->decay ? config->optim.weight_decay : 0.0,
                                  .step = optim->step};
        while (tdm_optim_next(optim, &from, row->offset + row->size, &piece, &at))
            TDM_TRY(update_piece(optim, &call, params, &piece, at));
    }
    return TDM_OK;
}
