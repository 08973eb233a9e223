#include "model_impl.h"
#include "tower_table.h"

#include <string.h>

struct tdm_model {
    tdm_params *params;
    tdm_scratch scratch;
    tower *tower[TDM_MODALITIES];
    rank_sum rank_sum;
    int64_t embed_dim, logit_scale;
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

/* Activations of one chunk in bytes: an upper bound, from the longest captions. */
static int64_t scratch_bytes(const tdm_config *config, const tower_type *const types[TDM_MODALITIES],
                             tdm_dtype dtype, int64_t n_rows, int64_t tokens_per_caption, bool train)
{
    int64_t bytes = 0;
    for (int m = 0; m < TDM_MODALITIES; m++)
        bytes += types[m]->scratch_bytes(config, dtype, n_rows, tokens_per_caption, train);
    return bytes;
}

tdm_status tdm_model_create(const tdm_config *config, tdm_ops *ops, bool train, int64_t max_rows,
                            tdm_params *params, tdm_model **model)
{
    const tower_type *types[TDM_MODALITIES];
    *model = NULL;
    TDM_TRY(find_towers(config, types));
    TDM_TRY(TDM_ALLOC(1, model));
    tdm_model *m = *model;
    m->params = params;
    m->embed_dim = config->model.embed_dim;
    m->logit_scale_max = config->model.logit_scale_max;
    TDM_TRY(tdm_scratch_create((size_t)scratch_bytes(config, types, tdm_ops_dtype(ops), max_rows,
                                                     config->model.text.context_length, train),
                               &m->scratch));
    const tower_setup setup = {.config = config,
                               .ops = ops,
                               .params = params,
                               .scratch = &m->scratch,
                               .rank_sum = &m->rank_sum,
                               .train = train};
    for (int i = 0; i < TDM_MODALITIES; i++) {
        const int64_t first_row = params->count;
        TDM_TRY(types[i]->create(&setup, &m->tower[i]));
        m->tower[i]->first_row = m->tower[i]->lowest_row = first_row;
        m->tower[i]->end_row = params->count;
        for (int64_t row = first_row; row < params->count; row++) params->row[row].tower = i;
    }
    return declare(params, &m->logit_scale, TDM_INIT_CONSTANT, config->model.logit_scale_init, 0, NULL, "",
                   "logit_scale");
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
    int64_t row = self->first_row;
    while (row < self->end_row && !is_trained(model->params, row)) row++;
    self->lowest_row = row;
    self->only_trained = only_trained;
    return only_trained && row == self->end_row ? TDM_OK : self->type->load(self);
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
    return self->lowest_row < self->end_row;
}

tdm_status tdm_model_embed(tdm_model *model, tdm_modality modality, const tdm_tower_input *input,
                           const tdm_tower_mode *mode, float *features)
{
    tower *self = model->tower[modality];
    return self->type->forward(self, input, mode, false, features);
}

tdm_status tdm_model_forward(tdm_model *model, tdm_modality modality, const tdm_tower_input *input,
                             const tdm_tower_mode *mode, float *features)
{
    tower *self = model->tower[modality];
    return self->type->forward(self, input, mode, tdm_model_trains(model, modality), features);
}

tdm_status tdm_model_backward(tdm_model *model, tdm_modality modality, const float *dfeatures,
                              tdm_final_from *final_from, void *context)
{
    tower *self = model->tower[modality];
    if (tdm_model_trains(model, modality)) return self->type->backward(self, dfeatures, final_from, context);
    if (final_from) final_from(context, model->params->row[self->first_row].offset);
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
    return weight_of(model->params, model->logit_scale);
}

float *tdm_model_dlogit_scale(tdm_model *model)
{
    return grad_of(model->params, model->logit_scale);
}

void tdm_model_clamp(tdm_model *model)
{
    if (!is_trained(model->params, model->logit_scale)) return;
    float *scale = tdm_model_logit_scale(model);
    if (*scale > (float)model->logit_scale_max) *scale = (float)model->logit_scale_max;
    if (*scale < 0.0f) *scale = 0.0f;
}

tdm_status tdm_model_memory_estimate(const tdm_config *config, tdm_dtype dtype, int64_t n_rows,
                                     int64_t tokens_per_caption, tdm_model_memory *memory)
{
    const tower_type *types[TDM_MODALITIES];
    tdm_params params = {0};
    tdm_ops *ops = NULL;
    tdm_model *model = NULL;
    TDM_TRY(find_towers(config, types));
    tdm_status status = tdm_ops_create(dtype, 1, &ops);
    if (status == TDM_OK) status = tdm_model_create(config, ops, true, 1, &params, &model);
    if (status == TDM_OK) {
        memory->parameters = 2 * (int64_t)sizeof(float) * params.total;
        memory->optimizer = 2 * (int64_t)sizeof(float) * params.total;
        memory->packed = 2 * (int64_t)tdm_dtype_bytes(dtype) * params.total;
        memory->activations = scratch_bytes(config, types, dtype, n_rows, tokens_per_caption, true);
    }
    tdm_model_destroy(&model);
    tdm_ops_destroy(&ops);
    tdm_params_destroy(&params);
    return status;
}

double tdm_model_tower_flop(const tdm_config *config, tdm_modality modality, int64_t n, int64_t tokens,
                            int64_t tokens_squared)
{
    const tower_type *types[TDM_MODALITIES];
    return find_towers(config, types) == TDM_OK
               ? types[modality]->forward_flop(config, n, tokens, tokens_squared)
               : 0.0;
}
