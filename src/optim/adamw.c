/* AdamW: decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), on the rows that ask for it. */
#include "optim_impl.h"

static tdm_status adamw_update(const tdm_config *config, tdm_ops *ops, const tdm_param *row, int64_t n,
                               float *w, const float *g, float *m, float *v, double grad_scale, double lr,
                               int64_t step)
{
    const tdm_adamw rule = {
        .grad_scale = grad_scale,
        .lr = lr * row->lr_scale,
        .beta1 = config->optim.beta1,
        .beta2 = config->optim.beta2,
        .eps = config->optim.eps,
        .decay = row->decay ? config->optim.weight_decay : 0.0,
        .step = step,
    };
    if (row->linear && n == row->size) return tdm_linear_adamw(row->linear, &rule, w, g, m, v);
    tdm_adamw_update(ops, &rule, n, w, g, m, v);
    return TDM_OK;
}

const optimizer optimizer_adamw = {.name = "adamw", .update = adamw_update};
