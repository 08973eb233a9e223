/* Cross-attention in f32: queries of one list of sequences, keys and values of another. Sequence i of the queries
 * sees all of sequence i of the keys:
 *
 *     q = xq Wq^T + bq, (k, v) = xk Wkv^T + bkv
 *     P = softmax(q k^T / sqrt(head_dim))     per sequence and head
 *     y = (P v) Wo^T + bo
 *
 * Rows and initial values as torch.nn.MultiheadAttention has them in CLIP's code: one in_proj of 3·width rows. */
#include "tandem/nn.h"

#include <math.h>
#include <string.h>

tdm_status tdm_nn_cross_attention_declare(tdm_params *params, const char *prefix, int64_t width,
                                          int64_t heads, double out_std, tdm_nn_cross_attention *layer)
{
    const int64_t w = width;
    *layer = (tdm_nn_cross_attention){.width = width, .heads = heads};
    TDM_TRY(tdm_declare(params, &layer->in_weight, TDM_INIT_NORMAL, pow((double)w, -0.5), 2,
                        (int64_t[]){3 * w, w}, prefix, "in_proj_weight"));
    TDM_TRY(tdm_declare(params, &layer->in_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){3 * w}, prefix,
                        "in_proj_bias"));
    TDM_TRY(tdm_declare(params, &layer->out_weight, TDM_INIT_NORMAL, out_std, 2, (int64_t[]){w, w}, prefix,
                        "out_proj.weight"));
    return tdm_declare(params, &layer->out_bias, TDM_INIT_ZERO, 0, 1, (int64_t[]){w}, prefix,
                       "out_proj.bias");
}

/* Elements of P over all sequences and heads. */
static int64_t weight_count(const tdm_nn_cross_attention *layer, const tdm_nn_pairs *pairs)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < pairs->n; i++)
        sum += (pairs->query[i + 1] - pairs->query[i]) * (pairs->key[i + 1] - pairs->key[i]);
    return layer->heads * sum;
}

tdm_status tdm_nn_cross_attention_take(const tdm_nn_cross_attention *layer, tdm_scratch *scratch,
                                       const tdm_nn_pairs *pairs, tdm_nn_cross_attention_kept *kept)
{
    const int64_t w = layer->width, queries = pairs->query[pairs->n], keys = pairs->key[pairs->n];
    TDM_TAKE(scratch, queries * w, &kept->q);
    TDM_TAKE(scratch, keys * 2 * w, &kept->kv);
    TDM_TAKE(scratch, weight_count(layer, pairs), &kept->p);
    TDM_TAKE(scratch, queries * w, &kept->attended);
    return TDM_OK;
}

/* y[n][out] = x[n][w] · rows [first, first + out) of in_proj + bias */
static tdm_status project(const tdm_nn *nn, const tdm_nn_cross_attention *layer, int64_t first, int64_t out,
                          int64_t n, const float *x, float *y)
{
    const int64_t w = layer->width;
    const float *bias = tdm_weight_of(nn->params, layer->in_bias) + first;
    if (n == 0) return TDM_OK;
    for (int64_t i = 0; i < n; i++) memcpy(y + i * out, bias, sizeof(float) * (size_t)out);
    return tdm_gemm(nn->ops, false, true, n, out, w, 1.0f, x, w,
                    tdm_weight_of(nn->params, layer->in_weight) + first * w, w, 1.0f, y, out);
}

static tdm_status project_backward(const tdm_nn *nn, const tdm_nn_cross_attention *layer, int64_t first,
                                   int64_t out, int64_t n, const float *x, const float *dy, float *dx)
{
    const int64_t w = layer->width;
    const tdm_params *p = nn->params;
    if (n == 0) return TDM_OK;
    if (tdm_is_trained(p, layer->in_weight))
        TDM_TRY(tdm_gemm(nn->ops, true, false, out, w, n, 1.0f, dy, out, x, w, 1.0f,
                         tdm_grad_of(p, layer->in_weight) + first * w, w));
    if (tdm_is_trained(p, layer->in_bias)) {
        float *dbias = tdm_grad_of(p, layer->in_bias) + first;
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < out; k++) dbias[k] += dy[i * out + k];
    }
    if (!dx) return TDM_OK;
    return tdm_gemm(nn->ops, false, false, n, w, out, 1.0f, dy, out,
                    tdm_weight_of(p, layer->in_weight) + first * w, w, 0.0f, dx, w);
}

static void softmax_rows(int64_t n, int64_t width, float *x)
{
    for (int64_t i = 0; i < n; i++) {
        float *row = x + i * width, largest = row[0], sum = 0.0f;
        for (int64_t k = 1; k < width; k++) largest = row[k] > largest ? row[k] : largest;
        for (int64_t k = 0; k < width; k++) sum += row[k] = expf(row[k] - largest);
        for (int64_t k = 0; k < width; k++) row[k] /= sum;
    }
}

/* dp becomes the gradient before the softmax: p (dp - sum p dp). */
static void softmax_backward_rows(int64_t n, int64_t width, const float *p, float *dp)
{
    for (int64_t i = 0; i < n; i++) {
        const float *row = p + i * width;
        float *drow = dp + i * width, sum = 0.0f;
        for (int64_t k = 0; k < width; k++) sum += row[k] * drow[k];
        for (int64_t k = 0; k < width; k++) drow[k] = row[k] * (drow[k] - sum);
    }
}

tdm_status tdm_nn_cross_attention_forward(const tdm_nn *nn, const tdm_nn_cross_attention *layer,
                                          const tdm_nn_pairs *pairs, const float *xq, const float *xk,
                                          const tdm_nn_cross_attention_kept *kept, float *y)
{
    const int64_t w = layer->width, d = w / layer->heads, queries = pairs->query[pairs->n];
    const float scale = (float)(1.0 / sqrt((double)d));
    TDM_TRY(project(nn, layer, 0, w, queries, xq, kept->q));
    TDM_TRY(project(nn, layer, w, 2 * w, pairs->key[pairs->n], xk, kept->kv));
    float *p = kept->p;
    for (int64_t i = 0; i < pairs->n; i++) {
        const int64_t q0 = pairs->query[i], k0 = pairs->key[i];
        const int64_t m = pairs->query[i + 1] - q0, length = pairs->key[i + 1] - k0;
        for (int64_t h = 0; h < layer->heads && m > 0; h++, p += m * length) {
            const float *k = kept->kv + k0 * 2 * w + h * d, *v = k + w;
            TDM_TRY(tdm_gemm(nn->ops, false, true, m, length, d, scale, kept->q + q0 * w + h * d, w, k, 2 * w,
                             0.0f, p, length));
            softmax_rows(m, length, p);
            TDM_TRY(tdm_gemm(nn->ops, false, false, m, d, length, 1.0f, p, length, v, 2 * w, 0.0f,
                             kept->attended + q0 * w + h * d, w));
        }
    }
    const tdm_nn_linear out = {.in = w, .out = w, .weight = layer->out_weight, .bias = layer->out_bias};
    return tdm_nn_linear_forward(nn, &out, queries, kept->attended, y);
}

/* dq and dkv of all sequences from the gradient of the attended rows; dp: room for the largest P of one head. */
static tdm_status attention_backward(const tdm_nn *nn, const tdm_nn_cross_attention *layer,
                                     const tdm_nn_pairs *pairs, const tdm_nn_cross_attention_kept *kept,
                                     const float *dattended, float *dp, float *dq, float *dkv)
{
    const int64_t w = layer->width, d = w / layer->heads;
    const float scale = (float)(1.0 / sqrt((double)d));
    const float *p = kept->p;
    for (int64_t i = 0; i < pairs->n; i++) {
        const int64_t q0 = pairs->query[i], k0 = pairs->key[i];
        const int64_t m = pairs->query[i + 1] - q0, length = pairs->key[i + 1] - k0;
        if (m == 0) memset(dkv + k0 * 2 * w, 0, sizeof(float) * (size_t)(length * 2 * w));
        for (int64_t h = 0; h < layer->heads && m > 0; h++, p += m * length) {
            const float *q = kept->q + q0 * w + h * d, *k = kept->kv + k0 * 2 * w + h * d, *v = k + w;
            const float *dy = dattended + q0 * w + h * d;
            float *dk = dkv + k0 * 2 * w + h * d, *dv = dk + w;
            TDM_TRY(tdm_gemm(nn->ops, true, false, length, d, m, 1.0f, p, length, dy, w, 0.0f, dv, 2 * w));
            TDM_TRY(tdm_gemm(nn->ops, false, true, m, length, d, 1.0f, dy, w, v, 2 * w, 0.0f, dp, length));
            softmax_backward_rows(m, length, p, dp);
            TDM_TRY(tdm_gemm(nn->ops, false, false, m, d, length, scale, dp, length, k, 2 * w, 0.0f,
                             dq + q0 * w + h * d, w));
            TDM_TRY(tdm_gemm(nn->ops, true, false, length, d, m, scale, dp, length, q, w, 0.0f, dk, 2 * w));
        }
    }
    return TDM_OK;
}

static int64_t largest_pair(const tdm_nn_pairs *pairs)
{
    int64_t largest = 1;
    for (int64_t i = 0; i < pairs->n; i++)
        largest = tdm_max_i64(largest,
                              (pairs->query[i + 1] - pairs->query[i]) * (pairs->key[i + 1] - pairs->key[i]));
    return largest;
}

tdm_status tdm_nn_cross_attention_backward(const tdm_nn *nn, const tdm_nn_cross_attention *layer,
                                           const tdm_nn_pairs *pairs, const float *xq, const float *xk,
                                           const tdm_nn_cross_attention_kept *kept, const float *dy,
                                           float *dxq, float *dxk)
{
    const size_t mark = tdm_scratch_mark(nn->scratch);
    const int64_t w = layer->width, queries = pairs->query[pairs->n], keys = pairs->key[pairs->n];
    const tdm_nn_linear out = {.in = w, .out = w, .weight = layer->out_weight, .bias = layer->out_bias};
    float *dattended, *dp, *dq, *dkv;
    TDM_TAKE(nn->scratch, queries * w, &dattended);
    TDM_TAKE(nn->scratch, largest_pair(pairs), &dp);
    TDM_TAKE(nn->scratch, queries * w, &dq);
    TDM_TAKE(nn->scratch, keys * 2 * w, &dkv);
    TDM_TRY(tdm_nn_linear_backward(nn, &out, queries, kept->attended, dy, dattended));
    TDM_TRY(attention_backward(nn, layer, pairs, kept, dattended, dp, dq, dkv));
    TDM_TRY(project_backward(nn, layer, 0, w, queries, xq, dq, dxq));
    TDM_TRY(project_backward(nn, layer, w, 2 * w, keys, xk, dkv, dxk));
    tdm_scratch_rewind(nn->scratch, mark);
    return TDM_OK;
}

size_t tdm_nn_cross_attention_backward_bytes(const tdm_nn_cross_attention *layer, const tdm_nn_pairs *pairs)
{
    const int64_t w = layer->width, queries = pairs->query[pairs->n], keys = pairs->key[pairs->n];
    return sizeof(float) * (size_t)(2 * queries * w + largest_pair(pairs) + keys * 2 * w) + 4 * 64;
}
