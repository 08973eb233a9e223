/* Reference twins of convolution, batch normalisation and pooling, in the style of ref.c. */
#include "ops_impl.h"

#include <math.h>

static double rounded(tdm_dtype dtype, float value)
{
    return dtype == TDM_BF16 ? bf16_value_ref(bf16_round_ref(value)) : value;
}

/* ---- Convolution: the sum over all (image, y, x, ky, kx) pairs whose pixel lies inside ---- */
typedef struct tap {
    int64_t from, to; /* row of the input pixel, of the output pixel */
    int64_t weight;   /* ky·kernel + kx */
} tap;

/* The input pixel that output pixel (y, x) sees at (ky, kx); false outside. */
static bool find_tap(int64_t i, int64_t kernel, int64_t height, int64_t width, int64_t y, int64_t x,
                     int64_t ky, int64_t kx, tap *found)
{
    const int64_t v = y + ky - kernel / 2, u = x + kx - kernel / 2;
    if (v < 0 || v >= height || u < 0 || u >= width) return false;
    *found = (tap){(i * height + v) * width + u, (i * height + y) * width + x, ky * kernel + kx};
    return true;
}

void conv_forward_ref(tdm_dtype dtype, int64_t n, int64_t in, int64_t out, int64_t kernel, int64_t height,
                      int64_t width, const float *weight, const void *x, void *y)
{
    for (int64_t row = 0; row < n * height * width; row++)
        for (int64_t o = 0; o < out; o++) {
            const int64_t i = row / (height * width), py = row / width % height, px = row % width;
            double sum = 0.0;
            for (int64_t k = 0; k < kernel * kernel; k++) {
                tap t;
                if (!find_tap(i, kernel, height, width, py, px, k / kernel, k % kernel, &t)) continue;
                for (int64_t c = 0; c < in; c++)
                    sum += act_get_ref(dtype, x, t.from * in + c) *
                           rounded(dtype, weight[(o * in + c) * kernel * kernel + k]);
            }
            act_set_ref(dtype, y, row * out + o, sum);
        }
}

/* dx at pixel p gathers from the outputs that saw p: the taps of the mirrored kernel. */
void conv_backward_data_ref(tdm_dtype dtype, int64_t n, int64_t in, int64_t out, int64_t kernel,
                            int64_t height, int64_t width, const float *weight, const void *dy, void *dx)
{
    for (int64_t row = 0; row < n * height * width; row++)
        for (int64_t c = 0; c < in; c++) {
            const int64_t i = row / (height * width), py = row / width % height, px = row % width;
            double sum = 0.0;
            for (int64_t k = 0; k < kernel * kernel; k++) {
                tap t;
                if (!find_tap(i, kernel, height, width, py, px, k / kernel, k % kernel, &t)) continue;
                const int64_t mirrored = kernel * kernel - 1 - k;
                for (int64_t o = 0; o < out; o++)
                    sum += act_get_ref(dtype, dy, t.from * out + o) *
                           rounded(dtype, weight[(o * in + c) * kernel * kernel + mirrored]);
            }
            act_set_ref(dtype, dx, row * in + c, sum);
        }
}

void conv_backward_weight_ref(tdm_dtype dtype, int64_t n, int64_t in, int64_t out, int64_t kernel,
                              int64_t height, int64_t width, const void *x, const void *dy, float *dweight)
{
    for (int64_t o = 0; o < out; o++)
        for (int64_t c = 0; c < in; c++)
            for (int64_t k = 0; k < kernel * kernel; k++) {
                double sum = 0.0;
                for (int64_t row = 0; row < n * height * width; row++) {
                    const int64_t i = row / (height * width), py = row / width % height, px = row % width;
                    tap t;
                    if (find_tap(i, kernel, height, width, py, px, k / kernel, k % kernel, &t))
                        sum += (double)act_get_ref(dtype, x, t.from * in + c) *
                               act_get_ref(dtype, dy, t.to * out + o);
                }
                float *to = &dweight[(o * in + c) * kernel * kernel + k];
                *to = (float)(*to + sum);
            }
}

/* ---- Batch normalisation ---- */
void batchnorm_sums_ref(tdm_dtype dtype, int64_t t, int64_t width, const void *x, double *sum)
{
    for (int64_t i = 0; i < width; i++) {
        sum[i] = sum[width + i] = 0.0;
        for (int64_t row = 0; row < t; row++) {
            const double value = act_get_ref(dtype, x, row * width + i);
            sum[i] += value;
            sum[width + i] += value * value;
        }
    }
}

static double open_gradient(tdm_dtype dtype, const void *x, const void *dy, int64_t at, int64_t i,
                            const tdm_batchnorm *norm, bool relu)
{
    const double y = (double)act_get_ref(dtype, x, at) * norm->scale[i] + norm->shift[i];
    return !relu || y > 0.0 ? act_get_ref(dtype, dy, at) : 0.0;
}

void batchnorm_forward_ref(tdm_dtype dtype, int64_t t, int64_t width, const void *x,
                           const tdm_batchnorm *norm, const void *residual, bool relu, void *y)
{
    for (int64_t at = 0; at < t * width; at++) {
        const int64_t i = at % width;
        double value = (double)act_get_ref(dtype, x, at) * norm->scale[i] + norm->shift[i];
        if (residual) value += act_get_ref(dtype, residual, at);
        act_set_ref(dtype, y, at, relu && value < 0.0 ? 0.0 : value);
    }
}

void batchnorm_backward_sums_ref(tdm_dtype dtype, int64_t t, int64_t width, const void *x, const void *dy,
                                 const tdm_batchnorm *norm, bool relu, double *sum)
{
    for (int64_t i = 0; i < width; i++) {
        sum[i] = sum[width + i] = 0.0;
        for (int64_t row = 0; row < t; row++) {
            const int64_t at = row * width + i;
            const double g = open_gradient(dtype, x, dy, at, i, norm, relu);
            sum[i] += g;
            sum[width + i] += g * ((double)act_get_ref(dtype, x, at) - norm->mean[i]) * norm->rstd[i];
        }
    }
}

void batchnorm_backward_data_ref(tdm_dtype dtype, int64_t t, int64_t width, const void *x, const void *dy,
                                 const tdm_batchnorm *norm, bool relu, const double *sum, double count,
                                 void *dx)
{
    for (int64_t at = 0; at < t * width; at++) {
        const int64_t i = at % width;
        const double h = ((double)act_get_ref(dtype, x, at) - norm->mean[i]) * norm->rstd[i];
        double g = open_gradient(dtype, x, dy, at, i, norm, relu);
        if (sum) g -= sum[i] / count + h * sum[width + i] / count;
        act_set_ref(dtype, dx, at, norm->scale[i] * g);
    }
}

void residual_backward_ref(tdm_dtype dtype, int64_t n, const void *y, const void *da, const void *db,
                           void *dx)
{
    for (int64_t i = 0; i < n; i++) {
        const double g = act_get_ref(dtype, da, i) + (db ? (double)act_get_ref(dtype, db, i) : 0.0);
        act_set_ref(dtype, dx, i, act_get_ref(dtype, y, i) > 0.0f ? g : 0.0);
    }
}

/* ---- Average pooling ---- */
/* Element of x under output element `at`, corner 0 … 3. */
static int64_t pooled_from(int64_t at, int corner, int64_t height, int64_t width, int64_t channels)
{
    const int64_t c = at % channels, pixel = at / channels;
    const int64_t px = pixel % (width / 2), py = pixel / (width / 2) % (height / 2);
    const int64_t i = pixel / (width / 2) / (height / 2);
    return ((i * height + 2 * py + corner / 2) * width + 2 * px + corner % 2) * channels + c;
}

void average_pool_forward_ref(tdm_dtype dtype, int64_t n, int64_t height, int64_t width, int64_t channels,
                              const void *x, void *y)
{
    for (int64_t at = 0; at < n * height * width * channels / 4; at++) {
        double sum = 0.0;
        for (int corner = 0; corner < 4; corner++)
            sum += act_get_ref(dtype, x, pooled_from(at, corner, height, width, channels));
        act_set_ref(dtype, y, at, 0.25 * sum);
    }
}

void average_pool_backward_ref(tdm_dtype dtype, int64_t n, int64_t height, int64_t width, int64_t channels,
                               const void *dy, bool add, void *dx)
{
    for (int64_t at = 0; at < n * height * width * channels / 4; at++)
        for (int corner = 0; corner < 4; corner++) {
            const int64_t to = pooled_from(at, corner, height, width, channels);
            const double before = add ? act_get_ref(dtype, dx, to) : 0.0;
            act_set_ref(dtype, dx, to, before + 0.25 * (double)act_get_ref(dtype, dy, at));
        }
}

/* ---- Attention pooling ---- */
void pool_tokens_forward_ref(tdm_dtype dtype, int64_t n, int64_t pixels, int64_t width, const void *x,
                             const float *position, void *token)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < width; c++) {
            const int64_t to = i * (1 + pixels) * width + c;
            double sum = 0.0;
            for (int64_t k = 0; k < pixels; k++) {
                const double value = act_get_ref(dtype, x, (i * pixels + k) * width + c);
                sum += value;
                act_set_ref(dtype, token, to + (1 + k) * width, value + position[(1 + k) * width + c]);
            }
            act_set_ref(dtype, token, to, sum / (double)pixels + position[c]);
        }
}

void pool_tokens_backward_ref(tdm_dtype dtype, int64_t n, int64_t pixels, int64_t width, const void *da,
                              const void *db, const void *dfirst, void *dx, float *dposition)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k <= pixels; k++)
            for (int64_t c = 0; c < width; c++) {
                const int64_t first = i * (1 + pixels) * width + c, at = first + k * width;
                const double own = (double)act_get_ref(dtype, da, at) + act_get_ref(dtype, db, at);
                const double query = act_get_ref(dtype, dfirst, i * width + c);
                const double mean = query + act_get_ref(dtype, da, first) + act_get_ref(dtype, db, first);
                float *position = &dposition[k * width + c];
                *position = (float)(*position + own + (k == 0 ? query : 0.0));
                if (k > 0)
                    act_set_ref(dtype, dx, (i * pixels + k - 1) * width + c, own + mean / (double)pixels);
            }
}

static double pool_score(tdm_dtype dtype, int64_t head_dim, const void *q, int64_t at, const void *k,
                         int64_t to)
{
    double sum = 0.0;
    for (int64_t c = 0; c < head_dim; c++)
        sum += (double)act_get_ref(dtype, q, at + c) * act_get_ref(dtype, k, to + c);
    return sum / sqrt((double)head_dim);
}

void pool_attention_forward_ref(tdm_dtype dtype, int64_t n, int64_t length, int64_t heads, int64_t head_dim,
                                const void *q, const void *k, const void *v, float *out, float *p)
{
    const int64_t width = heads * head_dim;
    for (int64_t row = 0; row < n * heads; row++) {
        const int64_t i = row / heads, at = row * head_dim, key = i * length * width + row % heads * head_dim;
        double largest = -INFINITY, total = 0.0;
        for (int64_t j = 0; j < length; j++)
            largest = fmax(largest, pool_score(dtype, head_dim, q, at, k, key + j * width));
        for (int64_t j = 0; j < length; j++)
            total += exp(pool_score(dtype, head_dim, q, at, k, key + j * width) - largest);
        for (int64_t j = 0; j < length; j++)
            p[row * length + j] =
                (float)(exp(pool_score(dtype, head_dim, q, at, k, key + j * width) - largest) / total);
        for (int64_t c = 0; c < head_dim; c++) {
            double sum = 0.0;
            for (int64_t j = 0; j < length; j++)
                sum += (double)p[row * length + j] * act_get_ref(dtype, v, key + j * width + c);
            out[at + c] = (float)sum;
        }
    }
}

void pool_attention_backward_ref(tdm_dtype dtype, int64_t n, int64_t length, int64_t heads, int64_t head_dim,
                                 const void *q, const void *k, const void *v, const float *p,
                                 const float *dout, void *dq, void *dk, void *dv)
{
    const int64_t width = heads * head_dim;
    for (int64_t row = 0; row < n * heads; row++) {
        const int64_t i = row / heads, at = row * head_dim, key = i * length * width + row % heads * head_dim;
        const float *share = p + row * length;
        double mean = 0.0;
        for (int64_t j = 0; j < length; j++)
            for (int64_t c = 0; c < head_dim; c++)
                mean += (double)share[j] * dout[at + c] * act_get_ref(dtype, v, key + j * width + c);
        for (int64_t c = 0; c < head_dim; c++) {
            double query = 0.0;
            for (int64_t j = 0; j < length; j++) {
                const int64_t to = key + j * width;
                double dp = 0.0;
                for (int64_t e = 0; e < head_dim; e++)
                    dp += (double)dout[at + e] * act_get_ref(dtype, v, to + e);
                const double slope = share[j] * (dp - mean) / sqrt((double)head_dim);
                query += slope * act_get_ref(dtype, k, to + c);
                act_set_ref(dtype, dk, to + c, slope * act_get_ref(dtype, q, at + c));
                act_set_ref(dtype, dv, to + c, (double)share[j] * dout[at + c]);
            }
            act_set_ref(dtype, dq, at + c, query);
        }
    }
}

/* ---- Input end ---- */
void image_windows_ref(tdm_dtype dtype, int64_t n, int64_t height, int64_t width, int64_t kernel,
                       int64_t stride, int64_t pad, const uint8_t *image, const double mean[3],
                       const double std[3], void *rows)
{
    const int64_t out_h = (height + 2 * pad - kernel) / stride + 1;
    const int64_t out_w = (width + 2 * pad - kernel) / stride + 1;
    for (int64_t at = 0; at < n * out_h * out_w * 3 * kernel * kernel; at++) {
        const int64_t x = at % kernel, y = at / kernel % kernel, channel = at / kernel / kernel % 3;
        const int64_t row = at / (3 * kernel * kernel);
        const int64_t v = row / out_w % out_h * stride - pad + y, u = row % out_w * stride - pad + x;
        const int64_t pixel = (row / out_w / out_h * height + v) * width + u;
        const bool inside = v >= 0 && v < height && u >= 0 && u < width;
        act_set_ref(dtype, rows, at,
                    inside ? (image[pixel * 3 + channel] / 255.0 - mean[channel]) / std[channel] : 0.0);
    }
}
