/* The parameters of a model: rows in one flat f32 arena, in forward order. Optimiser, gradient reduction,
 * checkpoint, import/export and the golden tests all walk these rows. Names are open_clip's. */
#ifndef TANDEM_PARAMS_H
#define TANDEM_PARAMS_H

#include "tandem/base.h"

typedef enum tdm_init {
    TDM_INIT_ZERO,
    TDM_INIT_ONE,
    TDM_INIT_NORMAL,  /* init_value: standard deviation */
    TDM_INIT_UNIFORM, /* between -init_value and init_value */
    TDM_INIT_CONSTANT /* init_value */
} tdm_init;

typedef struct tdm_param {
    char name[120];
    int ndim; /* 0 (a scalar) … 4 */
    int64_t shape[4];
    int64_t size;   /* product of shape; 1 for a scalar */
    int64_t offset; /* of the first element in the arena, a multiple of 16 */
    tdm_init init;
    double init_value; /* see tdm_init */
    bool decay;        /* weight decay applies */
    double lr_scale;   /* multiplies the learning rate; 0 = frozen */
    int tower;         /* whose row it is: a tdm_modality, or -1 (logit_scale) */
    int layer;         /* in its tower: 0 = the input end (embeddings, a resnet's stem), 1 … n = the blocks,
                          n + 1 = the output end (final LayerNorm and projection, attention pooling) */
    struct tdm_linear *linear; /* borrowed from the model, which sets it when it is loaded: the layer whose
                                  weight this is, or NULL */
    bool buffer;               /* stored like a parameter, but never trained: running statistics, which the
                                  model itself moves (tdm_model_update_statistics), or weights of what it leaves
                                  out. Its gradient is zero, no optimiser touches it whatever lr_scale says */
} tdm_param;

/* A row that is not trained gets no update and no decay, and its gradient counts nowhere. */
static inline bool tdm_param_trained(const tdm_param *row)
{
    return !row->buffer && row->lr_scale != 0.0;
}

/* A row of an objective, loss.NAME.…, and not of the model: evaluation, search and export do without it. */
static inline bool tdm_param_of_objective(const char *name)
{
    return strncmp(name, "loss.", 5) == 0;
}

typedef struct tdm_params {
    tdm_param *row;
    int64_t count, capacity;
    int64_t total; /* elements of the arena, including alignment gaps (zeros) */
    float *weight; /* [total], NULL until allocated */
    bool is_lent;  /* weight is tdm_weights', read only, and rows stand in the order of a file */
    float *grad;   /* [total], NULL for inference; where rows are frozen its content means nothing */
} tdm_params;

/* Appends a row; *index is its place in `row`. Before tdm_params_allocate. Shape is read up to ndim. */
TDM_CHECKED tdm_status tdm_params_add(tdm_params *params, const char *name, int ndim, const int64_t *shape,
                                      tdm_init init, double init_value, bool decay, int64_t *index);
/* The same for a buffer: no decay, lr_scale 0. */
TDM_CHECKED tdm_status tdm_params_add_buffer(tdm_params *params, const char *name, int ndim,
                                             const int64_t *shape, tdm_init init, double init_value,
                                             int64_t *index);
TDM_CHECKED tdm_status tdm_params_allocate(tdm_params *params, bool with_grad);
/* Fills weight from (seed, row index): the same on every rank. */
void tdm_params_init(tdm_params *params, uint64_t seed);
/* NULL when there is none of that name. */
const tdm_param *tdm_params_find(const tdm_params *params, const char *name);
int64_t tdm_params_elements(const tdm_params *params); /* without gaps */
/* The next stretch of the arena whose rows are all trained, at row *row or above (0 to begin with; moved on
 * to the first row behind the stretch). False when there is none. */
bool tdm_params_next_trained(const tdm_params *params, int64_t *row, tdm_span *span);
void tdm_params_destroy(tdm_params *params); /* tolerates a zeroed struct */

#endif
