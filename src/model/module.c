/* A tower and the head behind its pooled features. The head works on f32 rows; what it keeps for its backward lies
 * below what the tower keeps, on the same stack. */
#include "module.h"

#include <string.h>

/* What a forward of the head leaves. */
struct head_record {
    head_record *below;
    size_t mark;
    head_call call;
    int64_t *sample; /* [n] */
    const float *x;  /* [n][feature_dim] the tower's pooled features */
};

tdm_status module_create(const tower_setup *setup, tdm_modality modality, module *m)
{
    const tower_type *type;
    tdm_params *params = setup->nn.params;
    const int64_t first_row = params->count;
    TDM_TRY(tower_find(setup->config, modality, &type));
    m->nn = setup->nn;
    m->feature_dim = tower_feature_dim(setup->config, modality);
    TDM_TRY(type->create(setup, &m->tower));
    m->tower->scope.first_row = m->tower->scope.lowest_row = first_row;
    m->tower->scope.end_row = m->head_row = params->count;
    int64_t layer = 0; /* the head's is the one behind the tower's last */
    for (int64_t row = first_row; row < params->count; row++)
        layer = tdm_max_i64(layer, params->row[row].layer + 1);
    TDM_TRY(head_create(setup->config, &setup->nn, modality, type->reads == TDM_READS_FEATURES, &m->head));
    m->end_row = params->count;
    m->head_trains = m->end_row > m->head_row;
    tdm_set_layer(params, m->head_row, layer);
    for (int64_t row = first_row; row < params->count; row++) params->row[row].tower = (int)modality;
    return TDM_OK;
}

void module_destroy(module *m)
{
    if (m->tower) m->tower->type->destroy(&m->tower);
    head_destroy(&m->head);
}

tdm_status module_load(module *m, bool only_trained)
{
    tdm_scope *scope = &m->tower->scope;
    m->head_trains = false;
    for (int64_t row = m->head_row; row < m->end_row; row++)
        m->head_trains = m->head_trains || tdm_is_trained(m->nn.params, row);
    int64_t row = scope->first_row;
    while (row < scope->end_row && !tdm_is_trained(m->nn.params, row)) row++;
    scope->lowest_row = row;
    scope->only_trained = only_trained;
    if (!only_trained || row < scope->end_row) TDM_TRY(m->tower->type->load(m->tower));
    return m->head && m->head->type->load ? m->head->type->load(m->head, scope) : TDM_OK;
}

bool module_tower_trains(const module *m)
{
    return m->tower->scope.lowest_row < m->tower->scope.end_row;
}

bool module_trains(const module *m)
{
    return m->head_trains || module_tower_trains(m);
}

/* Cached features are not copied: the head reads them where they are. */
static bool is_cached(const module *m)
{
    return m->tower->type->reads == TDM_READS_FEATURES;
}

/* *pooled: where the tower's features go, NULL for cached ones. */
static tdm_status record_take(const module *m, tdm_scratch *scratch, int64_t n, head_record **record,
                              float **pooled)
{
    head_record room = {0};
    *pooled = NULL;
    TDM_TAKE(scratch, 1, record);
    TDM_TAKE(scratch, n, &room.sample);
    if (!is_cached(m)) TDM_TAKE(scratch, n * m->feature_dim, pooled);
    TDM_TRY(m->head->type->take(m->head, scratch, n, &room.call.kept));
    if (*record) **record = room;
    return TDM_OK;
}

tdm_status module_forward(module *m, const tdm_tower_input *input, const tdm_pass *pass, bool keep,
                          const tdm_tower_output *output)
{
    const tower_type *type = m->tower->type;
    const size_t mark = tdm_scratch_mark(m->nn.scratch);
    const bool keep_tower = keep && module_tower_trains(m);
    head_record *r;
    float *pooled;
    TDM_REQUIRE(!output->tokens || type->has_tokens, TDM_E_CONFIG,
                "model.%s.tower = \"%s\" gives no dense tokens", tdm_modality_name(type->modality),
                type->name);
    if (!m->head) return type->forward(m->tower, input, pass, keep_tower, output);
    TDM_TRY(record_take(m, m->nn.scratch, input->n, &r, &pooled));
    r->below = m->waiting;
    r->mark = mark;
    r->call.n = input->n;
    r->call.pass = *pass;
    r->call.sample = r->sample;
    for (int64_t i = 0; i < input->n; i++) r->sample[i] = input->sample ? input->sample[i] : 0;
    r->x = pooled ? pooled : input->feature;
    TDM_TRY(type->forward(m->tower, input, pass, keep_tower, &(tdm_tower_output){pooled, output->tokens}));
    TDM_TRY(m->head->type->forward(m->head, &r->call, r->x, output->pooled));
    if (keep && module_trains(m))
        m->waiting = r;
    else
        tdm_scratch_rewind(m->nn.scratch, mark);
    return TDM_OK;
}

/* The head's part: *dx is the gradient of the tower's pooled features, NULL where nothing of it is trained. It lies
 * above what the tower keeps, whose backward gives all of that back. */
static tdm_status head_backward(module *m, const float *dy, float **dx)
{
    const head_record *r = m->waiting;
    *dx = NULL;
    if (module_tower_trains(m)) TDM_TAKE(m->nn.scratch, r->call.n * m->feature_dim, dx);
    const size_t mark = tdm_scratch_mark(m->nn.scratch);
    TDM_TRY(m->head->type->backward(m->head, &r->call, r->x, dy, *dx));
    tdm_scratch_rewind(m->nn.scratch, mark);
    return TDM_OK;
}

tdm_status module_backward(module *m, const tdm_tower_output *gradient, tdm_final_from *final_from,
                           void *context)
{
    const tdm_param *row = m->nn.params->row;
    tdm_tower_output own = *gradient;
    if (m->head) TDM_TRY(head_backward(m, gradient->pooled, &own.pooled));
    if (m->head && final_from) final_from(context, row[m->head_row].offset);
    if (module_tower_trains(m))
        TDM_TRY(m->tower->type->backward(m->tower, &own, final_from, context));
    else if (final_from)
        final_from(context, row[m->tower->scope.first_row].offset);
    if (!m->head) return TDM_OK;
    tdm_scratch_rewind(m->nn.scratch, m->waiting->mark);
    m->waiting = m->waiting->below;
    return TDM_OK;
}

tdm_status module_bytes(const module *m, int64_t n, int64_t tokens_per_caption, bool dense, bool train,
                        tower_bytes *bytes)
{
    TDM_TRY(m->tower->type->scratch_bytes(m->tower, n, tokens_per_caption, dense, bytes));
    if (!module_tower_trains(m)) {
        bytes->kept = 0;
        bytes->work = bytes->lone;
    }
    if (m->head) {
        tdm_scratch room = {.capacity_bytes = SIZE_MAX};
        head_record *r;
        float *pooled;
        TDM_TRY(record_take(m, &room, n, &r, &pooled));
        bytes->kept += (int64_t)room.used_bytes;
        bytes->lone += (int64_t)room.used_bytes;
        bytes->work += (int64_t)(m->head->type->backward_bytes(m->head, n) +
                                 sizeof(float) * (size_t)(n * m->feature_dim) + 64);
    }
    if (!train || !module_trains(m)) bytes->kept = bytes->work = 0;
    return TDM_OK;
}
