#include "projection.h"

#include <string.h>

static int64_t row_count(int64_t n, int64_t t)
{
    return t > 0 ? t : n;
}

tdm_status projection_take(const projection *p, tdm_scratch *s, int64_t n, int64_t t, projection_kept *k)
{
    const int64_t rows = row_count(n, t);
    TDM_TAKE(s, rows * p->width, &k->x);
    TDM_TAKE(s, rows * p->width, &k->normed);
    TDM_TAKE(s, rows, &k->mean);
    TDM_TAKE(s, rows, &k->rstd);
    return TDM_OK;
}

tdm_status projection_forward(const projection *p, const projection_kept *k, const tdm_tower_output *output)
{
    const tdm_params *params = p->nn.params;
    const int64_t rows = k->dense ? k->real : k->n, w = p->width, e = p->embed_dim;
    float *y = k->dense ? output->tokens : output->pooled;
    tdm_layernorm_forward_f32(p->nn.ops, rows, w, k->x, tdm_weight_of(params, p->ln_weight),
                              tdm_weight_of(params, p->ln_bias), k->normed, k->mean, k->rstd);
    TDM_TRY(tdm_gemm(p->nn.ops, false, false, rows, e, w, 1.0f, k->normed, w, tdm_weight_of(params, p->proj),
                     e, 0.0f, y, e));
    if (k->dense) tdm_gather_rows(p->nn.ops, k->n, e, k->pick, output->tokens, output->pooled);
    return TDM_OK;
}

/* dy [rows][embed_dim]: of the dense tokens, with that of the pooled ones added. */
static tdm_status join_gradients(const projection *p, const projection_kept *k,
                                 const tdm_tower_output *gradient, const float **dy)
{
    const int64_t e = p->embed_dim;
    float *sum;
    *dy = gradient->pooled;
    if (!k->dense) return TDM_OK;
    TDM_TAKE(p->nn.scratch, k->real * e, &sum);
    if (gradient->tokens)
        memcpy(sum, gradient->tokens, sizeof(float) * (size_t)(k->real * e));
    else
        memset(sum, 0, sizeof(float) * (size_t)(k->real * e));
    for (int64_t i = 0; i < k->n; i++)
        for (int64_t c = 0; c < e; c++) sum[k->pick[i] * e + c] += gradient->pooled[i * e + c];
    *dy = sum;
    return TDM_OK;
}

tdm_status projection_backward(const projection *p, const projection_kept *k,
                               const tdm_tower_output *gradient, float *dx)
{
    const tdm_params *params = p->nn.params;
    const int64_t rows = k->dense ? k->real : k->n, w = p->width, e = p->embed_dim;
    const size_t mark = tdm_scratch_mark(p->nn.scratch);
    const float *dy;
    float *dnormed;
    TDM_TAKE(p->nn.scratch, rows * w, &dnormed);
    TDM_TRY(join_gradients(p, k, gradient, &dy));
    if (tdm_is_trained(params, p->proj))
        TDM_TRY(tdm_gemm(p->nn.ops, true, false, w, e, rows, 1.0f, k->normed, w, dy, e, 1.0f,
                         tdm_grad_of(params, p->proj), e));
    if (!tdm_goes_below(p->scope, p->proj)) return TDM_OK;
    TDM_TRY(tdm_gemm(p->nn.ops, false, true, rows, w, e, 1.0f, dy, e, tdm_weight_of(params, p->proj), e, 0.0f,
                     dnormed, w));
    tdm_layernorm_backward_f32(p->nn.ops, rows, w, dnormed, k->x, k->mean, k->rstd,
                               tdm_weight_of(params, p->ln_weight), dx, tdm_grad_of(params, p->ln_weight),
                               tdm_grad_of(params, p->ln_bias));
    if (k->dense) memset(dx + rows * w, 0, sizeof(float) * (size_t)((k->t - rows) * w));
    tdm_scratch_rewind(p->nn.scratch, mark);
    return TDM_OK;
}

size_t projection_backward_bytes(const projection *p, int64_t n, int64_t t)
{
    const int64_t rows = row_count(n, t);
    return sizeof(float) * (size_t)(rows * p->width + (t > 0 ? t * p->embed_dim : 0)) + 2 * 64;
}
