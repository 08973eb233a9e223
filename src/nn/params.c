#include "tandem/params.h"

#include "tandem/base.h"
#include "tandem/rng.h"

#include <stdlib.h>
#include <string.h>

enum { OFFSET_STEP = 16 }; /* one cache line, so that rows can be cut at vector boundaries */

tdm_status tdm_params_add(tdm_params *params, const char *name, int ndim, const int64_t *shape, tdm_init init,
                          double init_value, bool decay, int64_t *index)
{
    TDM_REQUIRE(!params->weight, TDM_E_SHAPE, "parameter %s: the arena is already allocated", name);
    TDM_REQUIRE(strlen(name) < sizeof(params->row->name), TDM_E_SHAPE, "parameter %s: the name is too long",
                name);
    if (params->count == params->capacity) {
        int64_t capacity = params->capacity ? 2 * params->capacity : 64;
        tdm_param *grown = realloc(params->row, sizeof(*grown) * (size_t)capacity);
        TDM_REQUIRE(grown, TDM_E_NOMEM, "cannot allocate %lld parameter rows", (long long)capacity);
        params->row = grown;
        params->capacity = capacity;
    }
    tdm_param *row = &params->row[params->count];
    memset(row, 0, sizeof(*row));
    memcpy(row->name, name, strlen(name) + 1);
    row->ndim = ndim;
    row->size = 1;
    for (int i = 0; i < ndim; i++) {
        TDM_REQUIRE(shape[i] > 0, TDM_E_SHAPE, "parameter %s: dimension %d is %lld", name, i,
                    (long long)shape[i]);
        row->shape[i] = shape[i];
        row->size *= shape[i];
    }
    row->offset = params->total;
    row->init = init;
    row->init_value = init_value;
    row->decay = decay;
    row->lr_scale = 1.0;
    row->tower = -1;
    params->total = tdm_round_up(params->total + row->size, OFFSET_STEP);
    if (index) *index = params->count;
    params->count++;
    return TDM_OK;
}

tdm_status tdm_params_add_buffer(tdm_params *params, const char *name, int ndim, const int64_t *shape,
                                 tdm_init init, double init_value, int64_t *index)
{
    int64_t row;
    TDM_TRY(tdm_params_add(params, name, ndim, shape, init, init_value, false, &row));
    params->row[row].buffer = true;
    params->row[row].lr_scale = 0.0;
    if (index) *index = row;
    return TDM_OK;
}

tdm_status tdm_params_allocate(tdm_params *params, bool with_grad)
{
    TDM_TRY(TDM_ALLOC(params->total, &params->weight));
    if (with_grad) TDM_TRY(TDM_ALLOC(params->total, &params->grad));
    return TDM_OK;
}

void tdm_params_init(tdm_params *params, uint64_t seed)
{
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        float *weight = params->weight + row->offset;
        tdm_rng rng = tdm_rng_at(seed, 0, (uint64_t)i, TDM_RNG_INIT);
        for (int64_t k = 0; k < row->size; k++) {
            switch (row->init) {
            case TDM_INIT_ZERO: weight[k] = 0.0f; break;
            case TDM_INIT_ONE: weight[k] = 1.0f; break;
            case TDM_INIT_NORMAL: weight[k] = (float)(row->init_value * tdm_rng_normal(&rng)); break;
            case TDM_INIT_UNIFORM:
                weight[k] = (float)tdm_rng_range(&rng, -row->init_value, row->init_value);
                break;
            case TDM_INIT_CONSTANT: weight[k] = (float)row->init_value; break;
            }
        }
    }
}

const tdm_param *tdm_params_find(const tdm_params *params, const char *name)
{
    for (int64_t i = 0; i < params->count; i++)
        if (!strcmp(params->row[i].name, name)) return &params->row[i];
    return NULL;
}

int64_t tdm_params_elements(const tdm_params *params)
{
    int64_t elements = 0;
    for (int64_t i = 0; i < params->count; i++) elements += params->row[i].size;
    return elements;
}

bool tdm_params_next_trained(const tdm_params *params, int64_t *row, tdm_span *span)
{
    int64_t i = *row;
    while (i < params->count && !tdm_param_trained(&params->row[i])) i++;
    if (i == params->count) return false;
    span->begin = params->row[i].offset;
    while (i < params->count && tdm_param_trained(&params->row[i])) i++;
    span->end = i < params->count ? params->row[i].offset : params->total;
    *row = i;
    return true;
}

void tdm_params_destroy(tdm_params *params)
{
    free(params->row);
    if (!params->is_lent) tdm_free(params->weight);
    tdm_free(params->grad);
    memset(params, 0, sizeof(*params));
}
