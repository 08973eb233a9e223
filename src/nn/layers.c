/* Declaring rows, and linear layers whose weights are rows. */
#include "tandem/nn.h"

tdm_status tdm_declare(tdm_params *params, int64_t *index, tdm_init init, double init_value, int ndim,
                       const int64_t *shape, const char *prefix, const char *name)
{
    char full[256];
    snprintf(full, sizeof(full), "%s%s%s", prefix, prefix[0] ? "." : "", name);
    return tdm_params_add(params, full, ndim, shape, init, init_value, ndim >= 2, index);
}

tdm_status tdm_weight_gradient(const tdm_params *params, tdm_linear *linear, int64_t weight, int64_t bias,
                               int64_t t, const void *x, const void *dy)
{
    float *dweight = tdm_is_trained(params, weight) ? tdm_grad_of(params, weight) : NULL;
    float *dbias = bias >= 0 && tdm_is_trained(params, bias) ? tdm_grad_of(params, bias) : NULL;
    return dweight || dbias ? tdm_linear_backward_weight(linear, t, x, dy, dweight, dbias) : TDM_OK;
}

tdm_status tdm_load_linear(const tdm_scope *scope, const tdm_params *params, tdm_linear *linear,
                           int64_t weight, int64_t bias, bool train)
{
    const bool trained = tdm_is_trained(params, weight) || (bias >= 0 && tdm_is_trained(params, bias));
    if (scope->only_trained) return trained ? tdm_linear_reload(linear) : TDM_OK;
    params->row[weight].linear = linear;
    return tdm_linear_load(linear, tdm_weight_of(params, weight),
                           bias >= 0 ? tdm_weight_of(params, bias) : NULL,
                           train && tdm_goes_below(scope, weight));
}
