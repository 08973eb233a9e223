/* LayerNorm of f32 rows. */
#include "tandem/nn.h"

tdm_status tdm_nn_norm_declare(tdm_params *params, const char *prefix, int64_t width, tdm_nn_norm *norm)
{
    *norm = (tdm_nn_norm){.width = width};
    TDM_TRY(tdm_declare(params, &norm->weight, TDM_INIT_ONE, 0, 1, (int64_t[]){width}, prefix, "weight"));
    return tdm_declare(params, &norm->bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){width}, prefix, "bias");
}

void tdm_nn_norm_forward(const tdm_nn *nn, const tdm_nn_norm *norm, int64_t n, const float *x, float *y,
                         float *mean, float *rstd)
{
    tdm_layernorm_forward_f32(nn->ops, n, norm->width, x, tdm_weight_of(nn->params, norm->weight),
                              tdm_weight_of(nn->params, norm->bias), y, mean, rstd);
}

void tdm_nn_norm_backward(const tdm_nn *nn, const tdm_nn_norm *norm, int64_t n, const float *x,
                          const float *mean, const float *rstd, const float *dy, float *dx)
{
    tdm_layernorm_backward_f32(nn->ops, n, norm->width, dy, x, mean, rstd,
                               tdm_weight_of(nn->params, norm->weight), dx,
                               tdm_grad_of(nn->params, norm->weight), tdm_grad_of(nn->params, norm->bias));
}
