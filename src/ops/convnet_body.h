/* Batch normalisation, pooling and attention pooling; included by kernels_body.h, whose helpers it uses. */

/* Calls `call` with FLAG a compile-time constant. */
#define BY_FLAG(flag, call)                                                                                  \
    do {                                                                                                     \
        if (flag) {                                                                                          \
            enum { FLAG = 1 };                                                                               \
            call;                                                                                            \
        } else {                                                                                             \
            enum { FLAG = 0 };                                                                               \
            call;                                                                                            \
        }                                                                                                    \
    } while (0)

/* ---- Batch normalisation ---- four rows a pass: a quarter of the traffic on the sums and coefficients. */
INLINE void batchnorm_sums_typed(int dtype, int64_t rows, int64_t width, const void *x, const float *centre,
                                 float *sums)
{
    float *squares = sums + width;
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) {
        int64_t at = row * width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            float a = act_get(dtype, x, at + i) - centre[i];
            float b = act_get(dtype, x, at + width + i) - centre[i];
            float c = act_get(dtype, x, at + 2 * width + i) - centre[i];
            float d = act_get(dtype, x, at + 3 * width + i) - centre[i];
            sums[i] += (a + b) + (c + d);
            squares[i] += (a * a + b * b) + (c * c + d * d);
        }
    }
    for (; row < rows; row++) {
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            float a = act_get(dtype, x, row * width + i) - centre[i];
            sums[i] += a;
            squares[i] += a * a;
        }
    }
}

static void batchnorm_sums(tdm_dtype dtype, int64_t rows, int64_t width, const void *x, const float *centre,
                           float *sums)
{
    BY_DTYPE(dtype, batchnorm_sums_typed(DTYPE, rows, width, x, centre, sums));
}

INLINE void batchnorm_forward_typed(int dtype, int relu, int64_t rows, int64_t width, const void *x,
                                    const tdm_batchnorm *norm, const void *residual, void *y)
{
    const float *scale = norm->scale, *shift = norm->shift;
    const float least = relu ? 0.0f : -INFINITY;
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = row * width;
        if (residual) {
#pragma omp simd
            for (int64_t i = 0; i < width; i++) {
                float value =
                    act_get(dtype, x, at + i) * scale[i] + shift[i] + act_get(dtype, residual, at + i);
                act_set(dtype, y, at + i, value < least ? least : value);
            }
        } else {
#pragma omp simd
            for (int64_t i = 0; i < width; i++) {
                float value = act_get(dtype, x, at + i) * scale[i] + shift[i];
                act_set(dtype, y, at + i, value < least ? least : value);
            }
        }
    }
}

static void batchnorm_forward(tdm_dtype dtype, int64_t rows, int64_t width, const void *x,
                              const tdm_batchnorm *norm, const void *residual, bool relu, void *y)
{
    BY_FLAG(relu, BY_DTYPE(dtype, batchnorm_forward_typed(DTYPE, FLAG, rows, width, x, norm, residual, y)));
}

/* g: dy, or 0 where the ReLU behind the normalisation was shut */
INLINE float open_gradient(int relu, float x, float dy, float scale, float shift)
{
    return !relu || x * scale + shift > 0.0f ? dy : 0.0f;
}

INLINE void batchnorm_backward_sums_typed(int dtype, int relu, int64_t rows, int64_t width, const void *x,
                                          const void *dy, const tdm_batchnorm *norm, float *sums)
{
    const float *mean = norm->mean, *rstd = norm->rstd, *scale = norm->scale, *shift = norm->shift;
    float *products = sums + width;
    int64_t row = 0;
    for (; row + 2 <= rows; row += 2) {
        int64_t at = row * width, next = at + width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            float x0 = act_get(dtype, x, at + i), x1 = act_get(dtype, x, next + i);
            float g0 = open_gradient(relu, x0, act_get(dtype, dy, at + i), scale[i], shift[i]);
            float g1 = open_gradient(relu, x1, act_get(dtype, dy, next + i), scale[i], shift[i]);
            sums[i] += g0 + g1;
            products[i] += (g0 * (x0 - mean[i]) + g1 * (x1 - mean[i])) * rstd[i];
        }
    }
    for (; row < rows; row++) {
        int64_t at = row * width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            float x0 = act_get(dtype, x, at + i);
            float g0 = open_gradient(relu, x0, act_get(dtype, dy, at + i), scale[i], shift[i]);
            sums[i] += g0;
            products[i] += g0 * (x0 - mean[i]) * rstd[i];
        }
    }
}

static void batchnorm_backward_sums(tdm_dtype dtype, int64_t rows, int64_t width, const void *x,
                                    const void *dy, const tdm_batchnorm *norm, bool relu, float *sums)
{
    BY_FLAG(relu,
            BY_DTYPE(dtype, batchnorm_backward_sums_typed(DTYPE, FLAG, rows, width, x, dy, norm, sums)));
}

INLINE void batchnorm_backward_data_typed(int dtype, int relu, int64_t rows, int64_t width, const void *x,
                                          const void *dy, const tdm_batchnorm *norm, const float *slope,
                                          const float *offset, void *dx)
{
    const float *mean = norm->mean, *scale = norm->scale, *shift = norm->shift;
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = row * width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            float value = act_get(dtype, x, at + i);
            float g = open_gradient(relu, value, act_get(dtype, dy, at + i), scale[i], shift[i]);
            act_set(dtype, dx, at + i, scale[i] * g + slope[i] * (value - mean[i]) + offset[i]);
        }
    }
}

static void batchnorm_backward_data(tdm_dtype dtype, int64_t rows, int64_t width, const void *x,
                                    const void *dy, const tdm_batchnorm *norm, bool relu, const float *slope,
                                    const float *offset, void *dx)
{
    BY_FLAG(relu, BY_DTYPE(dtype, batchnorm_backward_data_typed(DTYPE, FLAG, rows, width, x, dy, norm, slope,
                                                                offset, dx)));
}

INLINE void residual_backward_typed(int dtype, int64_t n, const void *y, const void *da, const void *db,
                                    void *dx)
{
    if (db) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float g = act_get(dtype, da, i) + act_get(dtype, db, i);
            act_set(dtype, dx, i, act_get(dtype, y, i) > 0.0f ? g : 0.0f);
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            act_set(dtype, dx, i, act_get(dtype, y, i) > 0.0f ? act_get(dtype, da, i) : 0.0f);
    }
}

static void residual_backward(tdm_dtype dtype, int64_t n, const void *y, const void *da, const void *db,
                              void *dx)
{
    BY_DTYPE(dtype, residual_backward_typed(DTYPE, n, y, da, db, dx));
}

/* ---- Average pooling ---- */
INLINE void average_pool_forward_typed(int dtype, int64_t width, int64_t channels, const void *upper,
                                       const void *lower, void *y)
{
    for (int64_t pixel = 0; pixel < width; pixel++) {
        int64_t left = 2 * pixel * channels, right = left + channels, to = pixel * channels;
#pragma omp simd
        for (int64_t i = 0; i < channels; i++) {
            float sum = (act_get(dtype, upper, left + i) + act_get(dtype, upper, right + i)) +
                        (act_get(dtype, lower, left + i) + act_get(dtype, lower, right + i));
            act_set(dtype, y, to + i, 0.25f * sum);
        }
    }
}

static void average_pool_forward(tdm_dtype dtype, int64_t width, int64_t channels, const void *upper,
                                 const void *lower, void *y)
{
    BY_DTYPE(dtype, average_pool_forward_typed(DTYPE, width, channels, upper, lower, y));
}

/* dx of one pixel */
INLINE void average_pool_spread(int dtype, int add, int64_t channels, const void *dy, int64_t from, void *dx,
                                int64_t to)
{
#pragma omp simd
    for (int64_t i = 0; i < channels; i++) {
        float before = add ? act_get(dtype, dx, to + i) : 0.0f;
        act_set(dtype, dx, to + i, before + 0.25f * act_get(dtype, dy, from + i));
    }
}

INLINE void average_pool_backward_typed(int dtype, int add, int64_t width, int64_t channels, const void *dy,
                                        void *upper, void *lower)
{
    for (int64_t pixel = 0; pixel < width; pixel++) {
        int64_t from = pixel * channels, left = 2 * from, right = left + channels;
        average_pool_spread(dtype, add, channels, dy, from, upper, left);
        average_pool_spread(dtype, add, channels, dy, from, upper, right);
        average_pool_spread(dtype, add, channels, dy, from, lower, left);
        average_pool_spread(dtype, add, channels, dy, from, lower, right);
    }
}

static void average_pool_backward(tdm_dtype dtype, int64_t width, int64_t channels, const void *dy, bool add,
                                  void *upper, void *lower)
{
    BY_FLAG(add,
            BY_DTYPE(dtype, average_pool_backward_typed(DTYPE, FLAG, width, channels, dy, upper, lower)));
}

/* ---- Attention pooling ---- */
INLINE void pool_tokens_forward_typed(int dtype, int64_t pixels, int64_t width, const void *x,
                                      const float *position, void *token, float *sum)
{
    memset(sum, 0, sizeof(float) * (size_t)width);
    for (int64_t pixel = 0; pixel < pixels; pixel++) {
        int64_t from = pixel * width, to = from + width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            float value = act_get(dtype, x, from + i);
            sum[i] += value;
            act_set(dtype, token, to + i, value + position[to + i]);
        }
    }
    const float share = 1.0f / (float)pixels;
#pragma omp simd
    for (int64_t i = 0; i < width; i++) act_set(dtype, token, i, sum[i] * share + position[i]);
}

static void pool_tokens_forward(tdm_dtype dtype, int64_t pixels, int64_t width, const void *x,
                                const float *position, void *token, float *scratch)
{
    BY_DTYPE(dtype, pool_tokens_forward_typed(DTYPE, pixels, width, x, position, token, scratch));
}

INLINE void pool_tokens_backward_typed(int dtype, int64_t pixels, int64_t width, const void *da,
                                       const void *db, const void *dfirst, void *dx, float *mean)
{
    const float share = 1.0f / (float)pixels;
#pragma omp simd
    for (int64_t i = 0; i < width; i++)
        mean[i] = share * (act_get(dtype, da, i) + act_get(dtype, db, i) + act_get(dtype, dfirst, i));
    for (int64_t pixel = 0; pixel < pixels; pixel++) {
        int64_t to = pixel * width, from = to + width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            act_set(dtype, dx, to + i, act_get(dtype, da, from + i) + act_get(dtype, db, from + i) + mean[i]);
    }
}

static void pool_tokens_backward(tdm_dtype dtype, int64_t pixels, int64_t width, const void *da,
                                 const void *db, const void *dfirst, void *dx, float *scratch)
{
    BY_DTYPE(dtype, pool_tokens_backward_typed(DTYPE, pixels, width, da, db, dfirst, dx, scratch));
}

/* sum_i a_i b_i of act values from a + at and b + to */
INLINE float act_dot(int dtype, int64_t n, const void *a, int64_t at, const void *b, int64_t to)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += act_get(dtype, a, at + i) * act_get(dtype, b, to + i);
    return sum;
}

INLINE void softmax_row(int64_t n, float *x)
{
    float largest = x[0], sum = 0.0f;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; i++) largest = x[i] > largest ? x[i] : largest;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        x[i] = fast_exp(x[i] - largest);
        sum += x[i];
    }
    const float scale = 1.0f / sum;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) x[i] *= scale;
}

INLINE void pool_attention_forward_typed(int dtype, const pool_attention *pool)
{
    const int64_t width = pool->heads * pool->head_dim, hd = pool->head_dim;
    for (int64_t head = 0; head < pool->heads; head++) {
        const int64_t column = head * hd;
        float *p = pool->p + head * pool->length, *out = pool->out + column;
        for (int64_t j = 0; j < pool->length; j++)
            p[j] = pool->scale * act_dot(dtype, hd, pool->q, column, pool->k, j * width + column);
        softmax_row(pool->length, p);
        memset(out, 0, sizeof(float) * (size_t)hd);
        for (int64_t j = 0; j < pool->length; j++) {
#pragma omp simd
            for (int64_t i = 0; i < hd; i++) out[i] += p[j] * act_get(dtype, pool->v, j * width + column + i);
        }
    }
}

static void pool_attention_forward(const pool_attention *pool)
{
    BY_DTYPE(pool->dtype, pool_attention_forward_typed(DTYPE, pool));
}

/* dv_j = p_j dout, dp_j = dout·v_j, ds_j = p_j (dp_j - sum p dp), dq = scale sum ds_j k_j, dk_j = scale ds_j
 * q */
INLINE void pool_attention_backward_typed(int dtype, const pool_attention *pool, float *scratch)
{
    const int64_t width = pool->heads * pool->head_dim, hd = pool->head_dim;
    float *ds = scratch, *dq = scratch + pool->length;
    for (int64_t head = 0; head < pool->heads; head++) {
        const int64_t column = head * hd;
        const float *p = pool->p + head * pool->length, *dout = pool->dout + column;
        float mean = 0.0f;
        for (int64_t j = 0; j < pool->length; j++) {
            const int64_t at = j * width + column;
            float dp = 0.0f;
#pragma omp simd reduction(+ : dp)
            for (int64_t i = 0; i < hd; i++) {
                dp += dout[i] * act_get(dtype, pool->v, at + i);
                act_set(dtype, pool->dv, at + i, p[j] * dout[i]);
            }
            ds[j] = dp;
            mean += p[j] * dp;
        }
        memset(dq, 0, sizeof(float) * (size_t)hd);
        for (int64_t j = 0; j < pool->length; j++) {
            const int64_t at = j * width + column;
            const float slope = pool->scale * p[j] * (ds[j] - mean);
#pragma omp simd
            for (int64_t i = 0; i < hd; i++) {
                dq[i] += slope * act_get(dtype, pool->k, at + i);
                act_set(dtype, pool->dk, at + i, slope * act_get(dtype, pool->q, column + i));
            }
        }
#pragma omp simd
        for (int64_t i = 0; i < hd; i++) act_set(dtype, pool->dq, column + i, dq[i]);
    }
}

static void pool_attention_backward(const pool_attention *pool, float *scratch)
{
    BY_DTYPE(pool->dtype, pool_attention_backward_typed(DTYPE, pool, scratch));
}
