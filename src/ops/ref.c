/* Reference twins: the formulas of tandem/ops.h as plain loops in double. Tests compare the fast paths with
 * these; the attention twins also serve sequences too long for the scratch, hence they allocate nothing. */
#include "ops_impl.h"
#include "tandem/rng.h"

#include <math.h>
#include <string.h>

float bf16_value_ref(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

uint16_t bf16_round_ref(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    if (isnan(x)) return (uint16_t)(bits >> 16 | 0x40u);
    uint32_t below = bits & 0xffffu, kept = bits >> 16;
    if (below > 0x8000u || (below == 0x8000u && (kept & 1u))) kept++;
    return (uint16_t)kept;
}

float act_get_ref(tdm_dtype dtype, const void *x, int64_t i)
{
    return dtype == TDM_BF16 ? bf16_value_ref(((const uint16_t *)x)[i]) : ((const float *)x)[i];
}

void act_set_ref(tdm_dtype dtype, void *x, int64_t i, double value)
{
    if (dtype == TDM_BF16)
        ((uint16_t *)x)[i] = bf16_round_ref((float)value);
    else
        ((float *)x)[i] = (float)value;
}

/* ---- Linear: the weight is rounded to the activations' dtype, as the packed copy is ---- */
static double weight_at(tdm_dtype dtype, int64_t in, int64_t out, bool transposed, const float *weight,
                        int64_t o, int64_t i)
{
    float w = transposed ? weight[i * out + o] : weight[o * in + i];
    return dtype == TDM_BF16 ? bf16_value_ref(bf16_round_ref(w)) : w;
}

void linear_forward_ref(tdm_dtype dtype, int64_t t, int64_t in, int64_t out, bool transposed,
                        const float *weight, const float *bias, const void *x, void *y)
{
    for (int64_t row = 0; row < t; row++)
        for (int64_t o = 0; o < out; o++) {
            double sum = bias ? bias[o] : 0.0;
            for (int64_t i = 0; i < in; i++)
                sum +=
                    act_get_ref(dtype, x, row * in + i) * weight_at(dtype, in, out, transposed, weight, o, i);
            act_set_ref(dtype, y, row * out + o, sum);
        }
}

void linear_backward_data_ref(tdm_dtype dtype, int64_t t, int64_t in, int64_t out, bool transposed,
                              const float *weight, const void *dy, void *dx)
{
    for (int64_t row = 0; row < t; row++)
        for (int64_t i = 0; i < in; i++) {
            double sum = 0.0;
            for (int64_t o = 0; o < out; o++)
                sum += act_get_ref(dtype, dy, row * out + o) *
                       weight_at(dtype, in, out, transposed, weight, o, i);
            act_set_ref(dtype, dx, row * in + i, sum);
        }
}

void linear_backward_weight_ref(tdm_dtype dtype, int64_t t, int64_t in, int64_t out, bool transposed,
                                const void *x, const void *dy, float *dweight, float *dbias)
{
    for (int64_t o = 0; o < out; o++) {
        double bias = 0.0;
        for (int64_t row = 0; row < t; row++) bias += act_get_ref(dtype, dy, row * out + o);
        if (dbias) dbias[o] = (float)(dbias[o] + bias);
        for (int64_t i = 0; i < in; i++) {
            double sum = 0.0;
            for (int64_t row = 0; row < t; row++)
                sum += (double)act_get_ref(dtype, dy, row * out + o) * act_get_ref(dtype, x, row * in + i);
            float *to = transposed ? dweight + i * out + o : dweight + o * in + i;
            *to = (float)(*to + sum);
        }
    }
}

/* ---- LayerNorm ---- */
void layernorm_forward_ref(tdm_dtype dtype, int64_t t, int64_t width, const float *x, const void *branch,
                           float *x_out, const float *gamma, const float *beta, void *y, float *mean,
                           float *rstd)
{
    for (int64_t row = 0; row < t; row++) {
        const float *in = x + row * width;
        if (branch) {
            for (int64_t i = 0; i < width; i++)
                x_out[row * width + i] = in[i] + act_get_ref(dtype, branch, row * width + i);
            in = x_out + row * width;
        }
        if (!y) continue;
        double sum = 0.0, squares = 0.0;
        for (int64_t i = 0; i < width; i++) sum += in[i];
        double centre = sum / (double)width;
        for (int64_t i = 0; i < width; i++) squares += (in[i] - centre) * (in[i] - centre);
        double scale = 1.0 / sqrt(squares / (double)width + 1e-5);
        mean[row] = (float)centre;
        rstd[row] = (float)scale;
        for (int64_t i = 0; i < width; i++)
            act_set_ref(dtype, y, row * width + i, (in[i] - centre) * scale * gamma[i] + beta[i]);
    }
}

void layernorm_backward_ref(tdm_dtype dtype, int64_t t, int64_t width, const void *dy, const float *x,
                            const float *mean, const float *rstd, const float *gamma, bool add, float *dx,
                            void *dx_act, float *dgamma, float *dbeta)
{
    for (int64_t row = 0; row < t; row++) {
        double sum_g = 0.0, sum_gh = 0.0;
        for (int64_t i = 0; i < width; i++) {
            double g = (double)act_get_ref(dtype, dy, row * width + i) * gamma[i];
            sum_g += g;
            sum_gh += g * ((double)x[row * width + i] - mean[row]) * rstd[row];
        }
        for (int64_t i = 0; i < width; i++) {
            int64_t at = row * width + i;
            double g = (double)act_get_ref(dtype, dy, at) * gamma[i];
            double h = ((double)x[at] - mean[row]) * rstd[row];
            double gradient = rstd[row] * (g - sum_g / (double)width - h * sum_gh / (double)width);
            dx[at] = (float)((add ? dx[at] : 0.0) + gradient);
            if (dx_act) act_set_ref(dtype, dx_act, at, dx[at]);
        }
    }
    for (int64_t i = 0; i < width; i++) {
        double gamma_sum = dgamma[i], beta_sum = dbeta[i];
        for (int64_t row = 0; row < t; row++) {
            double d = act_get_ref(dtype, dy, row * width + i);
            gamma_sum += d * ((double)x[row * width + i] - mean[row]) * rstd[row];
            beta_sum += d;
        }
        dgamma[i] = (float)gamma_sum;
        dbeta[i] = (float)beta_sum;
    }
}

/* ---- Activation ---- */
static double activation_value(tdm_activation kind, double x, double *slope)
{
    if (kind == TDM_QUICKGELU) {
        double s = 1.0 / (1.0 + exp(-1.702 * x));
        *slope = s + 1.702 * x * s * (1.0 - s);
        return x * s;
    }
    double cdf = 0.5 * erfc(-x * 0.70710678118654752440);
    *slope = cdf + x * exp(-0.5 * x * x) * 0.39894228040143267794;
    return x * cdf;
}

void activation_forward_ref(tdm_activation kind, tdm_dtype dtype, int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i++) {
        double slope;
        act_set_ref(dtype, y, i, activation_value(kind, act_get_ref(dtype, x, i), &slope));
    }
}

void activation_backward_ref(tdm_activation kind, tdm_dtype dtype, int64_t n, const void *x, const void *dy,
                             void *dx, void *y)
{
    for (int64_t i = 0; i < n; i++) {
        double slope;
        double value = activation_value(kind, act_get_ref(dtype, x, i), &slope);
        act_set_ref(dtype, dx, i, act_get_ref(dtype, dy, i) * slope);
        if (y) act_set_ref(dtype, y, i, value);
    }
}

/* ---- Attention ---- */
/* One head of one sequence: element (row, i) of q, k, v (part 0, 1, 2) and of out. */
typedef struct head_ref {
    tdm_dtype dtype;
    int64_t begin, length, heads, head_dim, head;
    bool causal;
    double scale;
    double p; /* of dropout */
    tdm_rng stream;
} head_ref;

static int64_t qkv_index(const head_ref *h, int part, int64_t row, int64_t i)
{
    return ((h->begin + row) * 3 + part) * h->heads * h->head_dim + h->head * h->head_dim + i;
}

static int64_t out_index(const head_ref *h, int64_t row, int64_t i)
{
    return (h->begin + row) * h->heads * h->head_dim + h->head * h->head_dim + i;
}

static double score_ref(const head_ref *h, const void *qkv, int64_t row, int64_t key)
{
    double sum = 0.0;
    for (int64_t i = 0; i < h->head_dim; i++)
        sum += (double)act_get_ref(h->dtype, qkv, qkv_index(h, 0, row, i)) *
               act_get_ref(h->dtype, qkv, qkv_index(h, 1, key, i));
    return sum * h->scale;
}

/* What dropout makes of the probability of (row, key); see attention_mask. */
static double factor_ref(const head_ref *h, int64_t row, int64_t key)
{
    uint32_t word[4];
    if (h->p <= 0.0) return 1.0;
    const uint32_t counter[4] = {((uint32_t)h->head << 20) + (uint32_t)(key / 64 * 16 + key % 16),
                                 (uint32_t)row, h->stream.counter[2], h->stream.counter[3]};
    tdm_philox(counter, h->stream.key, word);
    return word[key % 64 / 16] * 0x1p-32 >= h->p ? 1.0 / (1.0 - h->p) : 0.0;
}

static int64_t key_end(const head_ref *h, int64_t row)
{
    return h->causal ? row + 1 : h->length;
}

/* Columns summed at a time: bounds the stack, whatever head_dim is. */
enum { COLUMNS = 64 };

static void attention_forward_head(const head_ref *h, const void *qkv, void *out, float *lse)
{
    for (int64_t row = 0; row < h->length; row++) {
        double largest = -INFINITY, sum = 0.0;
        for (int64_t key = 0; key < key_end(h, row); key++)
            largest = fmax(largest, score_ref(h, qkv, row, key));
        for (int64_t key = 0; key < key_end(h, row); key++) sum += exp(score_ref(h, qkv, row, key) - largest);
        double log_sum = largest + log(sum);
        lse[row] = (float)log_sum;
        for (int64_t first = 0; first < h->head_dim; first += COLUMNS) {
            double value[COLUMNS] = {0};
            int64_t count = tdm_min_i64(COLUMNS, h->head_dim - first);
            for (int64_t key = 0; key < key_end(h, row); key++) {
                double p = exp(score_ref(h, qkv, row, key) - log_sum) * factor_ref(h, row, key);
                for (int64_t i = 0; i < count; i++)
                    value[i] += p * act_get_ref(h->dtype, qkv, qkv_index(h, 2, key, first + i));
            }
            for (int64_t i = 0; i < count; i++)
                act_set_ref(h->dtype, out, out_index(h, row, first + i), value[i]);
        }
    }
}

/* *p, behind dropout, and the gradient *ds of the score of (row, key) before the scale */
static void score_gradient_ref(const head_ref *h, const void *qkv, const void *out, const float *lse,
                               const void *dout, int64_t row, int64_t key, double *p, double *ds)
{
    double dp = 0.0, delta = 0.0;
    for (int64_t i = 0; i < h->head_dim; i++) {
        double d = act_get_ref(h->dtype, dout, out_index(h, row, i));
        dp += d * act_get_ref(h->dtype, qkv, qkv_index(h, 2, key, i));
        delta += d * act_get_ref(h->dtype, out, out_index(h, row, i));
    }
    const double kept = exp(score_ref(h, qkv, row, key) - lse[row]), factor = factor_ref(h, row, key);
    *p = kept * factor;
    *ds = kept * (dp * factor - delta);
}

/* Gradients of the columns [first, first + count) of q, k and v at place `here`. */
static void attention_backward_columns(const head_ref *h, const void *qkv, const void *out, const float *lse,
                                       const void *dout, int64_t here, int64_t first, int64_t count,
                                       void *dqkv)
{
    double dq[COLUMNS] = {0}, dk[COLUMNS] = {0}, dv[COLUMNS] = {0}, p, ds;
    for (int64_t key = 0; key < key_end(h, here); key++) {
        score_gradient_ref(h, qkv, out, lse, dout, here, key, &p, &ds);
        for (int64_t i = 0; i < count; i++)
            dq[i] += ds * act_get_ref(h->dtype, qkv, qkv_index(h, 1, key, first + i));
    }
    for (int64_t row = h->causal ? here : 0; row < h->length; row++) {
        score_gradient_ref(h, qkv, out, lse, dout, row, here, &p, &ds);
        for (int64_t i = 0; i < count; i++) {
            dk[i] += ds * act_get_ref(h->dtype, qkv, qkv_index(h, 0, row, first + i));
            dv[i] += p * act_get_ref(h->dtype, dout, out_index(h, row, first + i));
        }
    }
    for (int64_t i = 0; i < count; i++) {
        act_set_ref(h->dtype, dqkv, qkv_index(h, 0, here, first + i), dq[i] * h->scale);
        act_set_ref(h->dtype, dqkv, qkv_index(h, 1, here, first + i), dk[i] * h->scale);
        act_set_ref(h->dtype, dqkv, qkv_index(h, 2, here, first + i), dv[i]);
    }
}

static void attention_backward_head(const head_ref *h, const void *qkv, const void *out, const float *lse,
                                    const void *dout, void *dqkv)
{
    for (int64_t here = 0; here < h->length; here++)
        for (int64_t first = 0; first < h->head_dim; first += COLUMNS)
            attention_backward_columns(h, qkv, out, lse, dout, here, first,
                                       tdm_min_i64(COLUMNS, h->head_dim - first), dqkv);
}

static head_ref head_of(tdm_dtype dtype, const int64_t *seq, int64_t i, int64_t heads, int64_t head_dim,
                        int64_t head, bool causal, const tdm_attention_dropout *dropout)
{
    head_ref h = {.dtype = dtype,
                  .begin = seq[i],
                  .length = seq[i + 1] - seq[i],
                  .heads = heads,
                  .head_dim = head_dim,
                  .head = head,
                  .causal = causal,
                  .scale = 1.0 / sqrt((double)head_dim)};
    if (dropout == NULL || dropout->p <= 0.0) return h;
    h.p = dropout->p;
    h.stream = tdm_rng_at(dropout->seed, dropout->step, (uint64_t)dropout->sample[i],
                          TDM_RNG_DROPOUT + dropout->site * 256);
    return h;
}

void attention_forward_ref(tdm_dtype dtype, int64_t n_seq, const int64_t *seq, int64_t heads,
                           int64_t head_dim, bool causal, const tdm_attention_dropout *dropout,
                           const void *qkv, void *out, float *lse)
{
    for (int64_t i = 0; i < n_seq; i++)
        for (int64_t head = 0; head < heads; head++) {
            head_ref h = head_of(dtype, seq, i, heads, head_dim, head, causal, dropout);
            attention_forward_head(&h, qkv, out, lse + head * seq[n_seq] + seq[i]);
        }
}

void attention_backward_ref(tdm_dtype dtype, int64_t n_seq, const int64_t *seq, int64_t heads,
                            int64_t head_dim, bool causal, const tdm_attention_dropout *dropout,
                            const void *qkv, const void *out, const float *lse, const void *dout, void *dqkv)
{
    for (int64_t i = 0; i < n_seq; i++)
        for (int64_t head = 0; head < heads; head++) {
            head_ref h = head_of(dtype, seq, i, heads, head_dim, head, causal, dropout);
            attention_backward_head(&h, qkv, out, lse + head * seq[n_seq] + seq[i], dout, dqkv);
        }
}

/* ---- Input ends ---- */
void patchify_ref(tdm_dtype dtype, int64_t n, int64_t height, int64_t width, int64_t patch, int64_t kept,
                  const int64_t *place, const uint8_t *image, const double mean[3], const double std[3],
                  void *rows)
{
    const int64_t grid_w = width / patch, each = place ? kept : height / patch * grid_w;
    for (int64_t row = 0; row < n * each; row++)
        for (int64_t c = 0; c < 3; c++)
            for (int64_t pixel = 0; pixel < patch * patch; pixel++) {
                const int64_t at = place ? place[row] : row % each;
                const int64_t y = row / each * height + at / grid_w * patch + pixel / patch;
                const int64_t x = at % grid_w * patch + pixel % patch;
                const double value = image[(y * width + x) * 3 + c] / 255.0;
                act_set_ref(dtype, rows, (row * 3 + c) * patch * patch + pixel, (value - mean[c]) / std[c]);
            }
}

/* Row of the positions that token `token` of image i has. */
static int64_t position_ref(int64_t i, int64_t patches, const int64_t *place, int64_t token)
{
    return token > 0 && place ? 1 + place[i * patches + token - 1] : token;
}

void image_tokens_forward_ref(tdm_dtype dtype, int64_t n, int64_t patches, const int64_t *place,
                              int64_t width, const void *patch_rows, const float *class_token,
                              const float *position, float *x)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k <= patches; k++)
            for (int64_t c = 0; c < width; c++) {
                float token = k == 0 ? class_token[c]
                                     : act_get_ref(dtype, patch_rows, (i * patches + k - 1) * width + c);
                x[(i * (1 + patches) + k) * width + c] =
                    token + position[position_ref(i, patches, place, k) * width + c];
            }
}

void image_tokens_backward_ref(tdm_dtype dtype, int64_t n, int64_t patches, const int64_t *place,
                               int64_t width, const float *dx, void *d_patch_rows, float *dclass_token,
                               float *dposition)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k <= patches; k++)
            for (int64_t c = 0; c < width; c++) {
                float d = dx[(i * (1 + patches) + k) * width + c];
                dposition[position_ref(i, patches, place, k) * width + c] += d;
                if (k == 0)
                    dclass_token[c] += d;
                else
                    act_set_ref(dtype, d_patch_rows, (i * patches + k - 1) * width + c, d);
            }
}

void text_tokens_forward_ref(int64_t n_seq, const int64_t *seq, int64_t width, const int32_t *token,
                             const float *table, const float *context, const float *position, float *x)
{
    for (int64_t i = 0; i < n_seq; i++)
        for (int64_t row = seq[i]; row < seq[i + 1]; row++)
            for (int64_t c = 0; c < width; c++)
                x[row * width + c] = (token[row] < 0 ? context[(-1 - token[row]) * width + c]
                                                     : table[token[row] * width + c]) +
                                     position[(row - seq[i]) * width + c];
}

void text_tokens_backward_ref(int64_t n_seq, const int64_t *seq, int64_t width, const int32_t *token,
                              const float *dx, float *dtable, float *dcontext, float *dposition)
{
    for (int64_t i = 0; i < n_seq; i++)
        for (int64_t row = seq[i]; row < seq[i + 1]; row++)
            for (int64_t c = 0; c < width; c++) {
                if (token[row] < 0)
                    dcontext[(-1 - token[row]) * width + c] += dx[row * width + c];
                else
                    dtable[token[row] * width + c] += dx[row * width + c];
                dposition[(row - seq[i]) * width + c] += dx[row * width + c];
            }
}

void dropout_ref(tdm_dtype dtype, double p, uint64_t seed, uint64_t step, uint32_t site, int64_t n_seq,
                 const int64_t *seq, const int64_t *sample, int64_t width, void *x)
{
    if (p <= 0.0) return;
    int64_t quarter = (width + 3) / 4;
    for (int64_t i = 0; i < n_seq; i++) {
        tdm_rng stream = tdm_rng_at(seed, step, (uint64_t)sample[i], TDM_RNG_DROPOUT + site * 256);
        for (int64_t row = seq[i]; row < seq[i + 1]; row++)
            for (int64_t c = 0; c < width; c++) {
                const uint32_t counter[4] = {(uint32_t)(c % quarter), (uint32_t)(row - seq[i]),
                                             stream.counter[2], stream.counter[3]};
                uint32_t word[4];
                tdm_philox(counter, stream.key, word);
                bool kept = word[c / quarter] * 0x1p-32 >= p;
                double value = act_get_ref(dtype, x, row * width + c);
                act_set_ref(dtype, x, row * width + c, kept ? value / (1.0 - p) : 0.0);
            }
    }
}

void dropout_rows_ref(double p, uint64_t seed, uint64_t step, uint32_t site, int64_t n, const int64_t *sample,
                      int64_t width, float *x)
{
    if (p <= 0.0) return;
    const float scale = (float)(1.0 / (1.0 - p));
    for (int64_t i = 0; i < n; i++) {
        tdm_rng stream = tdm_rng_at(seed, step, (uint64_t)sample[i], TDM_RNG_DROPOUT + site * 256);
        for (int64_t k = 0; k < width; k++)
            x[i * width + k] = tdm_rng_uniform(&stream) < p ? 0.0f : x[i * width + k] * scale;
    }
}

/* ---- Output end ---- */
void l2norm_forward_ref(int64_t n, int64_t width, const float *x, float *y, float *norm)
{
    for (int64_t row = 0; row < n; row++) {
        double squares = 0.0;
        for (int64_t i = 0; i < width; i++) squares += (double)x[row * width + i] * x[row * width + i];
        double length = fmax(sqrt(squares), 1e-12);
        norm[row] = (float)length;
        for (int64_t i = 0; i < width; i++) y[row * width + i] = (float)(x[row * width + i] / length);
    }
}

void l2norm_backward_ref(int64_t n, int64_t width, const float *y, const float *norm, const float *dy,
                         float *dx)
{
    for (int64_t row = 0; row < n; row++) {
        double along = 0.0;
        for (int64_t i = 0; i < width; i++) along += (double)y[row * width + i] * dy[row * width + i];
        for (int64_t i = 0; i < width; i++)
            dx[row * width + i] = (float)((dy[row * width + i] - y[row * width + i] * along) / norm[row]);
    }
}

void gemm_ref(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
              const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (int64_t l = 0; l < k; l++)
                sum += (double)(transpose_a ? a[l * lda + i] : a[i * lda + l]) *
                       (transpose_b ? b[j * ldb + l] : b[l * ldb + j]);
            c[i * ldc + j] = (float)(alpha * sum + (beta == 0.0f ? 0.0 : (double)beta * c[i * ldc + j]));
        }
}

void softmax_cross_entropy_ref(int64_t n, int64_t classes, float *logits, const float *target, float *loss)
{
    for (int64_t row = 0; row < n; row++) {
        float *x = logits + row * classes;
        const float *t = target + row * classes;
        double largest = -INFINITY, sum = 0.0, agreement = 0.0;
        for (int64_t i = 0; i < classes; i++) largest = fmax(largest, x[i]);
        for (int64_t i = 0; i < classes; i++) sum += exp(x[i] - largest);
        for (int64_t i = 0; i < classes; i++) agreement += t[i] * (x[i] - largest - log(sum));
        for (int64_t i = 0; i < classes; i++) x[i] = (float)(exp(x[i] - largest) / sum - t[i]);
        loss[row] = (float)-agreement;
    }
}

/* ---- Optimiser ---- */
double sum_squares_ref(int64_t n, const float *x)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sum;
}

void adamw_update_ref(const tdm_adamw *rule, int64_t n, float *w, const float *g, float *m, float *v)
{
    double beta1 = rule->beta1, beta2 = rule->beta2;
    double c1 = 1.0 - pow(beta1, (double)rule->step), c2 = 1.0 - pow(beta2, (double)rule->step);
    for (int64_t i = 0; i < n; i++) {
        double gradient = g[i] * rule->grad_scale;
        double first = beta1 * m[i] + (1.0 - beta1) * gradient;
        double second = beta2 * v[i] + (1.0 - beta2) * gradient * gradient;
        m[i] = (float)first;
        v[i] = (float)second;
        w[i] = (float)(w[i] * (1.0 - rule->lr * rule->decay) -
                       rule->lr * (first / c1) / (sqrt(second / c2) + rule->eps));
    }
}
