#include "model_impl.h"
#include "tower_table.h"

#include <string.h>

struct tdm_model {
    tdm_ops *ops;
    tdm_params *params;
    tdm_scratch scratch;
    tower *tower[TDM_MODALITIES];
    rank_sum rank_sum;
    int64_t embed_dim, context_length, logit_scale;
    int64_t packed_bytes; /* that the towers' layers have allocated */
    double logit_scale_max;
};

#define DECLARE_ROW(type) extern const tower_type type;
TOWER_TABLE(DECLARE_ROW)
#define TABLE_ROW(type) &type,
static const tower_type *const tower_types[] = {TOWER_TABLE(TABLE_ROW)};
enum { TOWER_TYPES = sizeof(tower_types) / sizeof(tower_types[0]) };

const tower_type *tower_type_find(const char *name, tdm_modality modality)
{
    for (int i = 0; i < TOWER_TYPES; i++)
        if (tower_types[i]->modality == modality && !strcmp(tower_types[i]->name, name))
            return tower_types[i];
    return NULL;
}

static tdm_status find_towers(const tdm_config *config, const tower_type *found[TDM_MODALITIES])
{
    const char *names[TDM_MODALITIES] = {config->model.image.tower, config->model.text.tower};
    for (int m = 0; m < TDM_MODALITIES; m++) {
        found[m] = tower_type_find(names[m], (tdm_modality)m);
        if (found[m]) continue;
        char known[256] = "";
        for (int i = 0; i < TOWER_TYPES; i++)
            if ((int)tower_types[i]->modality == m) {
                strncat(known, " ", sizeof(known) - strlen(known) - 1);
                strncat(known, tower_types[i]->name, sizeof(known) - strlen(known) - 1);
            }
        TDM_FAIL(TDM_E_CONFIG, "model.%s.tower: \"%s\" is unknown; known:%s",
                 m == TDM_IMAGE ? "image" : "text", names[m], known);
    }
    return TDM_OK;
}

static void set_levels(const tdm_model *model, tdm_recompute blocks)
{
    for (int i = 0; i < TDM_MODALITIES; i++)
        model->tower[i]->scope.level = (tdm_keep)(TDM_KEEP_ALL - (int)blocks);
}

static tdm_status check_levels(const tdm_model *model, tdm_recompute blocks)
{
    for (int i = 0; i < TDM_MODALITIES; i++)
        TDM_REQUIRE(
            blocks == TDM_RECOMPUTE_NOTHING || model->tower[i]->type->has_levels, TDM_E_CONFIG,
            "train.recompute = \"%s\" is about the blocks of transformers; a %s keeps all (\"none\") or "
            "runs its chunks again (\"chunk\")",
            blocks == TDM_RECOMPUTE_MLP ? "mlp" : "block", model->tower[i]->type->name);
    return TDM_OK;
}

/* An upper bound of what `plan` needs at once, with captions of so many tokens. The towers go forward in
 * their order and backward in the opposite one, so that what the second one keeps is gone when the first goes
 * on. */
static tdm_status plan_bytes(const tdm_model *model, const tdm_model_plan *plan, bool train,
                             int64_t tokens_per_caption, int64_t *total)
{
    int64_t kept = 0;
    const int64_t rest = plan->batch % plan->chunk;
    *total = 0;
    for (int i = 0; i < TDM_MODALITIES; i++) {
        const tower *self = model->tower[i];
        tower_bytes whole, last = {0};
        TDM_TRY(self->type->scratch_bytes(self, plan->chunk, tokens_per_caption, &whole));
        if (rest > 0) TDM_TRY(self->type->scratch_bytes(self, rest, tokens_per_caption, &last));
        int64_t most = whole.lone, own = 0; /* own: what waits until the towers behind have gone */
        if (train && tdm_model_trains(model, (tdm_modality)i)) {
            own = rest > 0 ? last.kept : whole.kept;
            most = tdm_max_i64(most, whole.kept + whole.work);
            if (plan->keep_all) {
                own = plan->views[i] * (plan->batch / plan->chunk * whole.kept + last.kept);
                most = own + whole.work;
            }
        }
        *total = tdm_max_i64(*total, kept + most);
        kept += own;
    }
    return TDM_OK;
}

/* A new arena, unless the present one is large enough: nothing is kept in it. */
static tdm_status reserve(tdm_model *model, const tdm_model_plan *plan, bool train)
{
    int64_t bytes;
    TDM_TRY(plan_bytes(model, plan, train, model->context_length, &bytes));
    if ((size_t)bytes <= model->scratch.capacity_bytes) return TDM_OK;
    tdm_scratch_destroy(&model->scratch);
    return tdm_scratch_create((size_t)bytes, &model->scratch);
}

tdm_status tdm_model_create(const tdm_config *config, tdm_ops *ops, bool train, int64_t max_rows,
                            tdm_params *params, tdm_model **model)
{
    const tower_type *types[TDM_MODALITIES];
    *model = NULL;
    TDM_TRY(find_towers(config, types));
    TDM_TRY(TDM_ALLOC(1, model));
    tdm_model *m = *model;
    m->ops = ops;
    m->params = params;
    m->embed_dim = config->model.embed_dim;
    m->logit_scale_max = config->model.logit_scale_max;
    m->context_length = config->model.text.context_length;
    const tower_setup setup = {.config = config,
                               .nn = {.ops = ops, .params = params, .scratch = &m->scratch, .train = train},
                               .rank_sum = &m->rank_sum};
    m->packed_bytes = -tdm_memory_used().bytes;
    for (int i = 0; i < TDM_MODALITIES; i++) {
        const int64_t first_row = params->count;
        TDM_TRY(types[i]->create(&setup, &m->tower[i]));
        m->tower[i]->scope.first_row = m->tower[i]->scope.lowest_row = first_row;
        m->tower[i]->scope.end_row = params->count;
        for (int64_t row = first_row; row < params->count; row++) params->row[row].tower = i;
    }
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

void tdm_model_forget(tdm_model *model)
{
    for (int i = 0; i < TDM_MODALITIES; i++) model->tower[i]->kept = NULL;
    tdm_scratch_rewind(&model->scratch, 0);
}

void tdm_model_destroy(tdm_model **model)
{
    if (!*model) return;
    for (int i = 0; i < TDM_MODALITIES; i++)
        if ((*model)->tower[i]) (*model)->tower[i]->type->destroy(&(*model)->tower[i]);
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
        const tower_type *type = model->tower[i]->type;
        if (type->update_statistics) type->update_statistics(model->tower[i], apply);
    }
}

static tdm_status load_tower(tdm_model *model, tower *self, bool only_trained)
{
    int64_t row = self->scope.first_row;
    while (row < self->scope.end_row && !tdm_is_trained(model->params, row)) row++;
    self->scope.lowest_row = row;
    self->scope.only_trained = only_trained;
    if (only_trained && row == self->scope.end_row) return TDM_OK;
    model->packed_bytes -= tdm_memory_used().bytes;
    const tdm_status status = self->type->load(self);
    model->packed_bytes += tdm_memory_used().bytes;
    return status;
}

tdm_status tdm_model_load(tdm_model *model)
{
    for (int i = 0; i < TDM_MODALITIES; i++) TDM_TRY(load_tower(model, model->tower[i], false));
    return TDM_OK;
}

tdm_status tdm_model_load_trained(tdm_model *model)
{
    for (int i = 0; i < TDM_MODALITIES; i++) TDM_TRY(load_tower(model, model->tower[i], true));
    return TDM_OK;
}

bool tdm_model_trains(const tdm_model *model, tdm_modality modality)
{
    const tower *self = model->tower[modality];
    return self->scope.lowest_row < self->scope.end_row;
}

tdm_status tdm_model_embed(tdm_model *model, tdm_modality modality, const tdm_tower_input *input,
                           const tdm_pass *mode, float *features)
{
    tower *self = model->tower[modality];
    return self->type->forward(self, input, mode, false, features);
}

tdm_status tdm_model_forward(tdm_model *model, tdm_modality modality, const tdm_tower_input *input,
                             const tdm_pass *mode, float *features)
{
    tower *self = model->tower[modality];
    return self->type->forward(self, input, mode, tdm_model_trains(model, modality), features);
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

tdm_status tdm_model_backward(tdm_model *model, tdm_modality modality, const float *dfeatures,
                              tdm_final_from *final_from, void *context)
{
    tower *self = model->tower[modality];
    if (tdm_model_trains(model, modality)) return self->type->backward(self, dfeatures, final_from, context);
    if (final_from) final_from(context, model->params->row[self->scope.first_row].offset);
    return TDM_OK;
}

double tdm_model_backward_share(const tdm_model *model, tdm_modality modality)
{
    const tower *self = model->tower[modality];
    if (!tdm_model_trains(model, modality)) return 0.0;
    return self->type->backward_share ? self->type->backward_share(self) : 1.0;
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
    memory->moments = 2 * (int64_t)sizeof(float) * trained;
    memory->packed = model->packed_bytes;
    TDM_TRY(check_levels(model, plan->blocks));
    const tdm_keep present = model->tower[0]->scope.level;
    set_levels(model, plan->blocks);
    const tdm_status status = plan_bytes(model, plan, true, tokens_per_caption, &memory->activations);
    set_levels(model, (tdm_recompute)(TDM_KEEP_ALL - (int)present));
    return status;
}

int64_t tdm_model_activation_bytes(const tdm_model *model)
{
    return (int64_t)model->scratch.peak_bytes;
}

double tdm_model_tower_flop(const tdm_config *config, tdm_modality modality, int64_t n, int64_t tokens,
                            int64_t tokens_squared)
{
    const tower_type *types[TDM_MODALITIES];
    return find_towers(config, types) == TDM_OK
               ? types[modality]->forward_flop(config, n, tokens, tokens_squared)
               : 0.0;
}
