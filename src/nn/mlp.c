/* y = dropout(W2 · activation(W1 · x + b1) + b2), in f32 rows. */
#include "tandem/nn.h"

tdm_status tdm_nn_mlp_declare(tdm_params *params, const tdm_nn_mlp_setup *setup, tdm_nn_mlp *mlp)
{
    char first[160], second[160];
    snprintf(first, sizeof first, "%s.%s", setup->prefix, setup->first ? setup->first : "fc1");
    snprintf(second, sizeof second, "%s.%s", setup->prefix, setup->second ? setup->second : "fc2");
    *mlp = (tdm_nn_mlp){.activation = setup->activation, .dropout = setup->dropout, .site = setup->site};
    TDM_TRY(tdm_nn_linear_declare(params, first, setup->in, setup->hidden, setup->has_bias, &mlp->first));
    return tdm_nn_linear_declare(params, second, setup->hidden, setup->out, setup->has_bias, &mlp->second);
}

tdm_status tdm_nn_mlp_take(const tdm_nn_mlp *mlp, tdm_scratch *scratch, int64_t n, tdm_nn_mlp_kept *kept)
{
    TDM_TAKE(scratch, n * mlp->first.out, &kept->hidden);
    TDM_TAKE(scratch, n * mlp->first.out, &kept->activated);
    return TDM_OK;
}

tdm_status tdm_nn_mlp_forward(const tdm_nn *nn, const tdm_nn_mlp *mlp, const tdm_pass *pass, int64_t n,
                              const int64_t *sample, const float *x, const tdm_nn_mlp_kept *kept, float *y)
{
    TDM_TRY(tdm_nn_linear_forward(nn, &mlp->first, n, x, kept->hidden));
    tdm_nn_activation_forward(mlp->activation, n * mlp->first.out, kept->hidden, kept->activated);
    TDM_TRY(tdm_nn_linear_forward(nn, &mlp->second, n, kept->activated, y));
    tdm_nn_dropout(nn, pass, mlp->dropout, mlp->site, n, sample, mlp->second.out, y, y);
    return TDM_OK;
}

tdm_status tdm_nn_mlp_backward(const tdm_nn *nn, const tdm_nn_mlp *mlp, const tdm_pass *pass, int64_t n,
                               const int64_t *sample, const float *x, const tdm_nn_mlp_kept *kept,
                               const float *dy, float *dx)
{
    const size_t mark = tdm_scratch_mark(nn->scratch);
    const int64_t hidden = mlp->first.out, out = mlp->second.out;
    float *dropped, *dhidden;
    TDM_TAKE(nn->scratch, n * out, &dropped);
    TDM_TAKE(nn->scratch, n * hidden, &dhidden);
    tdm_nn_dropout(nn, pass, mlp->dropout, mlp->site, n, sample, out, dy, dropped);
    TDM_TRY(tdm_nn_linear_backward(nn, &mlp->second, n, kept->activated, dropped, dhidden));
    tdm_nn_activation_backward(mlp->activation, n * hidden, kept->hidden, dhidden, dhidden);
    TDM_TRY(tdm_nn_linear_backward(nn, &mlp->first, n, x, dhidden, dx));
    tdm_scratch_rewind(nn->scratch, mark);
    return TDM_OK;
}

size_t tdm_nn_mlp_backward_bytes(const tdm_nn_mlp *mlp, int64_t n)
{
    return sizeof(float) * (size_t)(n * (mlp->first.out + mlp->second.out)) + 2 * 64;
}
