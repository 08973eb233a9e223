/* AdamW: decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), on the rows that ask for it. */
#include "optim_impl.h"

static void adamw_update(const tdm_config *config, tdm_ops *ops, const tdm_param *row, float *w,
                         const float *g, float *m, float *v, double grad_scale, double lr, int64_t step)
{
    tdm_adamw_update(ops, row->size, w, g, m, v, grad_scale, lr * row->lr_scale, config->optim.beta1,
                     config->optim.beta2, config->optim.eps, row->decay ? config->optim.weight_decay : 0.0,
                     step);
}

const optimizer optimizer_adamw = {.name = "adamw", .update = adamw_update};
