#include "module.h"

#include <string.h>

struct tdm_model {
    tdm_ops *ops;
    tdm_params *params;
    tdm_scratch scratch;
    module module[TDM_MODALITIES];
    rank_sum rank_sum;
    int64_t embed_dim, caption_tokens, logit_scale;
    int64_t packed_bytes; /* that the towers' layers have allocated */
    double logit_scale_max;
};

static void set_levels(const tdm_model *model, tdm_recompute blocks)
{
    for (int i = 0; i < TDM_MODALITIES; i++)
        model->module[i].tower->scope.level = (tdm_keep)(TDM_KEEP_ALL - (int)blocks);
}

bool tdm_model_recomputes(const tdm_model *model)
{
    bool all = true;
    for (int i = 0; i < TDM_MODALITIES; i++) all = all && model->module[i].tower->type->has_levels;
    return all;
}

static tdm_status check_levels(const tdm_model *model, tdm_recompute blocks)
{
    for (int i = 0; i < TDM_MODALITIES; i++)
        TDM_REQUIRE(
            blocks == TDM_RECOMPUTE_NOTHING || model->module[i].tower->type->has_levels, TDM_E_CONFIG,
            "train.recompute = \"%s\" is about the blocks of transformers; a %s keeps all (\"none\") or "
            "runs its chunks again (\"chunk\")",
            blocks == TDM_RECOMPUTE_MLP ? "mlp" : "block", model->module[i].tower->type->name);
    return TDM_OK;
}

/* What one modality needs for calls of n samples, zero for none. */
static tdm_status call_bytes(const tdm_model *model, const tdm_model_plan *plan, bool train, int modality,
                             int64_t n, int64_t tokens_per_caption, tower_bytes *bytes)
{
    *bytes = (tower_bytes){0};
    if (n == 0 || plan->views[modality] == 0) return TDM_OK;
    return module_bytes(&model->module[modality], n, tokens_per_caption, plan->tokens[modality], train,
                        bytes);
}

/* An upper bound of what `plan` needs at once, with captions of so many tokens. The most is in use while the
 * last call of a chunk does its work: then all calls of the chunk wait, and with keep_all those of the chunks
 * before it. */
static tdm_status plan_bytes(const tdm_model *model, const tdm_model_plan *plan, bool train,
                             int64_t tokens_per_caption, int64_t *total)
{
    const int64_t whole = plan->batch / plan->chunk, rest = plan->batch % plan->chunk;
    const int64_t size[2] = {whole > 0 ? plan->chunk : 0, rest}; /* of the whole chunks, of the last one */
    int64_t below = 0;                                           /* kept by the chunks before */
    *total = 0;
    for (int c = 0; c < 2; c++) {
        tower_bytes one[TDM_MODALITIES];
        int64_t chunk = 0;
        for (int m = 0; m < TDM_MODALITIES; m++) {
            TDM_TRY(call_bytes(model, plan, train, m, size[c], tokens_per_caption, &one[m]));
            chunk += plan->views[m] * one[m].kept;
        }
        if (plan->keep_all && c == 0) below = tdm_max_i64(whole - 1, 0) * chunk;
        int64_t kept = below;
        for (int m = 0; m < TDM_MODALITIES; m++) {
            *total = tdm_max_i64(*total, kept + one[m].lone);
            kept += plan->views[m] * one[m].kept;
            *total = tdm_max_i64(*total, kept + one[m].work);
        }
        if (plan->keep_all) below = kept;
    }
    return TDM_OK;
}

/* A new arena, unless the present one is large enough: nothing is kept in it. */
static tdm_status reserve(tdm_model *model, const tdm_model_plan *plan, bool train)
{
    int64_t bytes;
    TDM_TRY(plan_bytes(model, plan, train, model->caption_tokens, &bytes));
    if ((size_t)bytes <= model->scratch.capacity_bytes) return TDM_OK;
    tdm_scratch_destroy(&model->scratch);
    return tdm_scratch_create((size_t)bytes, &model->scratch);
}

tdm_status tdm_model_create(const tdm_config *config, tdm_ops *ops, bool train, int64_t max_rows,
                            tdm_params *params, tdm_model **model)
{
    *model = NULL;
    TDM_TRY(tdm_model_check(config));
    TDM_TRY(TDM_ALLOC(1, model));
    tdm_model *m = *model;
    m->ops = ops;
    m->params = params;
    m->embed_dim = config->model.embed_dim;
    m->logit_scale_max = config->model.logit_scale_max;
    m->caption_tokens = tdm_caption_tokens(config);
    const tower_setup setup = {.config = config,
                               .nn = {.ops = ops, .params = params, .scratch = &m->scratch, .train = train},
                               .rank_sum = &m->rank_sum};
    m->packed_bytes = -tdm_memory_used().bytes;
    for (int i = 0; i < TDM_MODALITIES; i++) TDM_TRY(module_create(&setup, (tdm_modality)i, &m->module[i]));
    m->packed_bytes += tdm_memory_used().bytes;
    TDM_TRY(tdm_declare(params, &m->logit_scale, TDM_INIT_CONSTANT, config->model.logit_scale_init, 0, NULL,
                        "", "logit_scale"));
    set_levels(m, TDM_RECOMPUTE_NOTHING);
    const tdm_model_plan one_call = {.batch = max_rows, .chunk = max_rows, .views = {1, 1}};
    return reserve(m, &one_call, train);
}

tdm_status tdm_model_reserve(tdm_model *model, const tdm_model_plan *plan)
{
    TDM_TRY(check_levels(model, plan->blocks));
    set_levels(model, plan->blocks);
    TDM_TRY(reserve(model, plan, true));
    model->scratch.peak_bytes = 0;
    return TDM_OK;
}

static tdm_transformer *blocks_of(const tdm_model *model, tdm_modality modality)
{
    const tower *self = model->module[modality].tower;
    return self->type->blocks ? self->type->blocks(self) : NULL;
}

int64_t tdm_model_layers(const tdm_model *model, tdm_modality modality)
{
    const tdm_transformer *blocks = blocks_of(model, modality);
    return blocks ? tdm_transformer_layers(blocks) : 0;
}

tdm_span tdm_model_part(const tdm_model *model, tdm_modality modality, int64_t layer, unsigned part)
{
    return tdm_transformer_part(blocks_of(model, modality), layer, part);
}

unsigned tdm_model_left_out(const tdm_model *model, tdm_modality modality, int64_t layer)
{
    return tdm_transformer_left_out(blocks_of(model, modality), layer);
}

void tdm_model_leave_out(tdm_model *model, tdm_modality modality, int64_t layer, unsigned part)
{
    tdm_transformer_leave_out(blocks_of(model, modality), layer, part);
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n > m && !strcmp(text + n - m, end);
}

int64_t tdm_model_silence(tdm_params *params)
{
    static const char *const output[] = {".attn.out_proj.weight", ".attn.out_proj.bias", ".mlp.c_proj.weight",
                                         ".mlp.c_proj.bias"};
    int64_t rows = 0;
    for (int64_t i = 0; i < params->count; i++)
        for (size_t k = 0; k < sizeof output / sizeof output[0]; k++) {
            const tdm_param *row = &params->row[i];
            if (!row->buffer || !ends_with(row->name, output[k])) continue;
            memset(params->weight + row->offset, 0, sizeof(float) * (size_t)row->size);
            rows++;
        }
    return rows / 2;
}

void tdm_model_forget(tdm_model *model)
{
    for (int i = 0; i < TDM_MODALITIES; i++) {
        model->module[i].tower->kept = NULL;
        model->module[i].waiting = NULL;
    }
    tdm_scratch_rewind(&model->scratch, 0);
}

void tdm_model_destroy(tdm_model **model)
{
    if (!*model) return;
    for (int i = 0; i < TDM_MODALITIES; i++) module_destroy(&(*model)->module[i]);
    tdm_scratch_destroy(&(*model)->scratch);
    tdm_free(*model);
    *model = NULL;
}

int64_t tdm_model_embed_dim(const tdm_model *model)
{
    return model->embed_dim;
}

void tdm_model_set_rank_sum(tdm_model *model, tdm_rank_sum *sum, void *context)
{
    model->rank_sum.sum = sum;
    model->rank_sum.context = context;
}

void tdm_model_update_statistics(tdm_model *model, bool apply)
{
    for (int i = 0; i < TDM_MODALITIES; i++) {
        const tower_type *type = model->module[i].tower->type;
        if (type->update_statistics) type->update_statistics(model->module[i].tower, apply);
    }
}

static tdm_status load(tdm_model *model, int first, int end, bool only_trained)
{
    model->packed_bytes -= tdm_memory_used().bytes;
    tdm_status status = TDM_OK;
    for (int i = first; i < end && status == TDM_OK; i++)
        status = module_load(&model->module[i], only_trained);
    model->packed_bytes += tdm_memory_used().bytes;
    return status;
}

tdm_status tdm_model_load(tdm_model *model)
{
    return load(model, 0, TDM_MODALITIES, false);
}

tdm_status tdm_model_load_tower(tdm_model *model, tdm_modality modality)
{
    return load(model, (int)modality, (int)modality + 1, false);
}

tdm_status tdm_model_load_trained(tdm_model *model)
{
    return load(model, 0, TDM_MODALITIES, true);
}

bool tdm_model_trains(const tdm_model *model, tdm_modality modality)
{
    return module_trains(&model->module[modality]);
}

const char *tdm_model_whole_batch(const tdm_model *model, tdm_modality modality)
{
    const tower *self = model->module[modality].tower;
    return self->type->whole_batch ? self->type->whole_batch(self) : NULL;
}

bool tdm_model_is_random(const tdm_model *model, tdm_modality modality)
{
    const module *m = &model->module[modality];
    return m->tower->random || (m->head && m->head->random);
}

bool tdm_model_has_tokens(const tdm_model *model, tdm_modality modality)
{
    return model->module[modality].tower->type->has_tokens;
}

int64_t tdm_model_token_dim(const tdm_model *model, tdm_modality modality)
{
    return model->module[modality].feature_dim;
}

int64_t tdm_model_token_rows(const tdm_model *model, tdm_modality modality, const tdm_tower_input *input,
                             const tdm_pass *pass)
{
    const tower *self = model->module[modality].tower;
    return self->type->has_tokens ? self->type->token_rows(self, input, pass) : 0;
}

int64_t tdm_model_most_tokens(const tdm_model *model, tdm_modality modality)
{
    const tdm_tower_input one = {.n = 1};
    if (!tdm_model_has_tokens(model, modality)) return 0;
    return modality == TDM_TEXT ? model->caption_tokens
                                : tdm_model_token_rows(model, modality, &one, &(tdm_pass){0});
}

tdm_status tdm_model_embed(tdm_model *model, tdm_modality modality, const tdm_tower_input *input,
                           const tdm_pass *mode, const tdm_tower_output *output)
{
    return module_forward(&model->module[modality], input, mode, false, output);
}

tdm_status tdm_model_forward(tdm_model *model, tdm_modality modality, const tdm_tower_input *input,
                             const tdm_pass *mode, const tdm_tower_output *output)
{
    return module_forward(&model->module[modality], input, mode, true, output);
}

void tdm_model_clear_gradients(tdm_model *model, tdm_span stretch)
{
    const tdm_params *p = model->params;
    for (int64_t i = 0; i < p->count; i++) {
        const tdm_param *row = &p->row[i];
        if (row->offset < stretch.begin || row->offset >= stretch.end) continue;
        const bool written =
            row->linear && tdm_param_trained(row); /* else cleared here, as is the gap behind */
        const int64_t begin = row->offset + (written ? row->size : 0);
        const int64_t end = i + 1 < p->count ? p->row[i + 1].offset : p->total;
        if (written) tdm_linear_clear_gradient(row->linear);
        tdm_clear(model->ops, end - begin, p->grad + begin);
    }
}

tdm_status tdm_model_backward(tdm_model *model, tdm_modality modality, const tdm_tower_output *gradient,
                              tdm_final_from *final_from, void *context)
{
    module *self = &model->module[modality];
    if (module_trains(self)) return module_backward(self, gradient, final_from, context);
    if (final_from) final_from(context, model->params->row[self->tower->scope.first_row].offset);
    return TDM_OK;
}

double tdm_model_backward_share(const tdm_model *model, tdm_modality modality)
{
    const module *self = &model->module[modality];
    if (!module_tower_trains(self)) return 0.0;
    return self->tower->type->backward_share ? self->tower->type->backward_share(self->tower) : 1.0;
}

float *tdm_model_logit_scale(tdm_model *model)
{
    return tdm_weight_of(model->params, model->logit_scale);
}

float *tdm_model_dlogit_scale(tdm_model *model)
{
    return tdm_grad_of(model->params, model->logit_scale);
}

void tdm_model_clamp(tdm_model *model)
{
    if (!tdm_is_trained(model->params, model->logit_scale)) return;
    float *scale = tdm_model_logit_scale(model);
    if (*scale > (float)model->logit_scale_max) *scale = (float)model->logit_scale_max;
    if (*scale < 0.0f) *scale = 0.0f;
}

tdm_status tdm_model_memory_estimate(const tdm_model *model, const tdm_model_plan *plan,
                                     int64_t tokens_per_caption, tdm_model_memory *memory)
{
    int64_t trained = 0;
    tdm_span span;
    for (int64_t row = 0; tdm_params_next_trained(model->params, &row, &span);)
        trained += span.end - span.begin;
    memory->weights = (int64_t)sizeof(float) * model->params->total;
    memory->gradients = (int64_t)sizeof(float) * trained;
    memory->packed = model->packed_bytes;
    TDM_TRY(check_levels(model, plan->blocks));
    const tdm_keep present = model->module[0].tower->scope.level;
    set_levels(model, plan->blocks);
    const tdm_status status = plan_bytes(model, plan, true, tokens_per_caption, &memory->activations);
    set_levels(model, (tdm_recompute)(TDM_KEEP_ALL - (int)present));
    return status;
}

int64_t tdm_model_activation_bytes(const tdm_model *model)
{
    return (int64_t)model->scratch.peak_bytes;
}
