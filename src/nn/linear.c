/* Linear layers in f32: of few rows straight from the arena, of many from packed weights. */
#include "tandem/nn.h"

#include <math.h>
#include <string.h>

tdm_status tdm_nn_linear_declare(tdm_params *params, const char *prefix, int64_t in, int64_t out,
                                 bool has_bias, tdm_nn_linear *layer)
{
    const double bound = 1.0 / sqrt((double)in);
    *layer = (tdm_nn_linear){.in = in, .out = out, .bias = -1};
    TDM_TRY(tdm_declare(params, &layer->weight, TDM_INIT_UNIFORM, bound, 2, (int64_t[]){out, in}, prefix,
                        "weight"));
    if (!has_bias) return TDM_OK;
    return tdm_declare(params, &layer->bias, TDM_INIT_UNIFORM, bound, 1, (int64_t[]){out}, prefix, "bias");
}

tdm_status tdm_nn_linear_pack(const tdm_nn *nn, tdm_nn_linear *layer)
{
    return tdm_linear_create_f32(nn->ops, layer->in, layer->out, layer->bias >= 0, &layer->packed);
}

void tdm_nn_linear_free(tdm_nn_linear *layer)
{
    tdm_linear_destroy(&layer->packed);
}

tdm_status tdm_nn_linear_load(const tdm_nn *nn, const tdm_scope *scope, tdm_nn_linear *layer)
{
    if (!layer->packed) return TDM_OK;
    return tdm_load_linear(scope, nn->params, layer->packed, layer->weight, layer->bias, nn->train);
}

tdm_status tdm_nn_linear_forward(const tdm_nn *nn, const tdm_nn_linear *layer, int64_t n, const float *x,
                                 float *y)
{
    const int64_t in = layer->in, out = layer->out;
    if (n == 0) return TDM_OK;
    if (layer->packed) return tdm_linear_forward(layer->packed, n, x, y);
    if (layer->bias >= 0) {
        const float *bias = tdm_weight_of(nn->params, layer->bias);
        for (int64_t i = 0; i < n; i++) memcpy(y + i * out, bias, sizeof(float) * (size_t)out);
    }
    return tdm_gemm(nn->ops, false, true, n, out, in, 1.0f, x, in, tdm_weight_of(nn->params, layer->weight),
                    in, layer->bias >= 0 ? 1.0f : 0.0f, y, out);
}

tdm_status tdm_nn_linear_backward(const tdm_nn *nn, const tdm_nn_linear *layer, int64_t n, const float *x,
                                  const float *dy, float *dx)
{
    const int64_t in = layer->in, out = layer->out;
    const tdm_params *p = nn->params;
    if (n == 0) return TDM_OK;
    if (layer->packed) {
        TDM_TRY(tdm_weight_gradient(p, layer->packed, layer->weight, layer->bias, n, x, dy));
        return dx ? tdm_linear_backward_data(layer->packed, n, dy, dx) : TDM_OK;
    }
    if (tdm_is_trained(p, layer->weight))
        TDM_TRY(tdm_gemm(nn->ops, true, false, out, in, n, 1.0f, dy, out, x, in, 1.0f,
                         tdm_grad_of(p, layer->weight), in));
    if (layer->bias >= 0 && tdm_is_trained(p, layer->bias)) {
        float *dbias = tdm_grad_of(p, layer->bias);
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < out; k++) dbias[k] += dy[i * out + k];
    }
    if (!dx) return TDM_OK;
    return tdm_gemm(nn->ops, false, false, n, in, out, 1.0f, dy, out, tdm_weight_of(p, layer->weight), in,
                    0.0f, dx, in);
}
