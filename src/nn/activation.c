/* Activations and dropout of f32 rows. */
#include "tandem/nn.h"

#include <math.h>
#include <string.h>

void tdm_nn_activation_forward(tdm_nn_activation kind, int64_t n, const float *x, float *y)
{
    const float root_half = 0.70710678118654752f;
    switch (kind) {
    case TDM_NN_RELU:
        for (int64_t i = 0; i < n; i++) y[i] = x[i] > 0.0f ? x[i] : 0.0f;
        break;
    case TDM_NN_GELU:
        for (int64_t i = 0; i < n; i++) y[i] = 0.5f * x[i] * (1.0f + erff(x[i] * root_half));
        break;
    case TDM_NN_QUICKGELU:
        for (int64_t i = 0; i < n; i++) y[i] = x[i] / (1.0f + expf(-1.702f * x[i]));
        break;
    }
}

void tdm_nn_activation_backward(tdm_nn_activation kind, int64_t n, const float *x, const float *dy, float *dx)
{
    const float root_half = 0.70710678118654752f, density = 0.39894228040143268f; /* 1/sqrt(2 pi) */
    switch (kind) {
    case TDM_NN_RELU:
        for (int64_t i = 0; i < n; i++) dx[i] = x[i] > 0.0f ? dy[i] : 0.0f;
        break;
    case TDM_NN_GELU:
        for (int64_t i = 0; i < n; i++) {
            const float phi = 0.5f * (1.0f + erff(x[i] * root_half));
            dx[i] = dy[i] * (phi + x[i] * density * expf(-0.5f * x[i] * x[i]));
        }
        break;
    case TDM_NN_QUICKGELU:
        for (int64_t i = 0; i < n; i++) {
            const float s = 1.0f / (1.0f + expf(-1.702f * x[i]));
            dx[i] = dy[i] * s * (1.0f + 1.702f * x[i] * (1.0f - s));
        }
        break;
    }
}

void tdm_nn_dropout(const tdm_nn *nn, const tdm_pass *pass, double p, uint32_t site, int64_t n,
                    const int64_t *sample, int64_t width, const float *x, float *y)
{
    if (pass->train && p > 0.0)
        tdm_dropout_rows(nn->ops, p, pass->seed, pass->step, site, n, sample, width, x, y);
    else if (x != y)
        memcpy(y, x, sizeof(float) * (size_t)(n * width));
}
