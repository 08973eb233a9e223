/* LayerNorm's forward with a bf16 branch and output; part of kernels_body.h where the compiler has
 * AVX512_BF16.
 *
 * The residual stream is kept for the backward, in memory that is cold, and nothing reads it soon. A large
 * one is therefore written past the caches, and its row goes on in a copy that stays in L1. */

enum { LAYERNORM_WIDTH = 4096 }; /* widest row that has a copy */

static inline __m512 load_bf16(const uint16_t *x)
{
    return lanes_even(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)x)));
}

/* kept = x + branch, streamed to `stream` as well unless that is NULL; returns the sum of the elements. */
static inline float residual_sum_bf16(int64_t width, const float *x, const uint16_t *branch, float *kept,
                                      float *stream)
{
    __m512 low_sum = _mm512_setzero_ps(), high_sum = low_sum;
    for (int64_t i = 0; i < width; i += 32) {
        const __m512 low = _mm512_add_ps(_mm512_loadu_ps(x + i), load_bf16(branch + i));
        const __m512 high = _mm512_add_ps(_mm512_loadu_ps(x + i + 16), load_bf16(branch + i + 16));
        _mm512_storeu_ps(kept + i, low);
        _mm512_storeu_ps(kept + i + 16, high);
        if (stream) {
            _mm512_stream_ps(stream + i, low);
            _mm512_stream_ps(stream + i + 16, high);
        }
        low_sum = _mm512_add_ps(low_sum, low);
        high_sum = _mm512_add_ps(high_sum, high);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(low_sum, high_sum));
}

static inline float sum_of_squares_about(int64_t width, const float *x, float mean)
{
    const __m512 centre = _mm512_set1_ps(mean);
    __m512 low_sum = _mm512_setzero_ps(), high_sum = low_sum;
    for (int64_t i = 0; i < width; i += 32) {
        const __m512 low = _mm512_sub_ps(_mm512_loadu_ps(x + i), centre);
        const __m512 high = _mm512_sub_ps(_mm512_loadu_ps(x + i + 16), centre);
        low_sum = _mm512_fmadd_ps(low, low, low_sum);
        high_sum = _mm512_fmadd_ps(high, high, high_sum);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(low_sum, high_sum));
}

static inline __m512 normalised(const float *x, __m512 centre, __m512 scale, const float *gamma,
                                const float *beta)
{
    const __m512 h = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x), centre), scale);
    return _mm512_fmadd_ps(h, _mm512_loadu_ps(gamma), _mm512_loadu_ps(beta));
}

static inline void normalise_row_bf16(int64_t width, const float *x, float mean, float rstd,
                                      const float *gamma, const float *beta, uint16_t *y)
{
    const __m512 centre = _mm512_set1_ps(mean), scale = _mm512_set1_ps(rstd);
    for (int64_t i = 0; i < width; i += 32) {
        const __m512 low = normalised(x + i, centre, scale, gamma + i, beta + i);
        const __m512 high = normalised(x + i + 16, centre, scale, gamma + i + 16, beta + i + 16);
        _mm512_storeu_si512(y + i, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

static void layernorm_forward_bf16(int64_t rows, int64_t width, const float *x, const uint16_t *branch,
                                   float *x_out, const float *gamma, const float *beta, uint16_t *y,
                                   float *mean, float *rstd)
{
    enum { STREAM_BYTES = 1 << 20 };
    const bool stream = x != x_out && width <= LAYERNORM_WIDTH && (uintptr_t)x_out % 64 == 0 &&
                        rows * width * (int64_t)sizeof(float) >= STREAM_BYTES;
    float copy[LAYERNORM_WIDTH] __attribute__((aligned(64)));
    for (int64_t row = 0; row < rows; row++) {
        const int64_t at = row * width;
        float *kept = stream ? copy : x_out + at;
        const float sum = residual_sum_bf16(width, x + at, branch + at, kept, stream ? x_out + at : NULL);
        if (!y) continue;
        mean[row] = sum / (float)width;
        rstd[row] = 1.0f / sqrtf(sum_of_squares_about(width, kept, mean[row]) / (float)width + 1e-5f);
        normalise_row_bf16(width, kept, mean[row], rstd[row], gamma, beta, y + at);
    }
    _mm_sfence(); /* what was streamed is seen by other threads after it */
}

/* What a row of the backward reads: with c = x - mean, h = c·rstd and g = dy·gamma as in
 * layernorm_backward_row. */
typedef struct layernorm_gradient {
    const uint16_t *dy;
    const float *x, *gamma;
    __m512 mean, rstd;
} layernorm_gradient;

/* Sums of g and of g·h over lanes; adds dy·h to dgamma and dy to dbeta. */
static inline void layernorm_sums_bf16(const layernorm_gradient *row, int64_t i, float *dgamma, float *dbeta,
                                       __m512 *sum_g, __m512 *sum_gh)
{
    const __m512 d = load_bf16(row->dy + i);
    const __m512 h = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row->x + i), row->mean), row->rstd);
    const __m512 g = _mm512_mul_ps(d, _mm512_loadu_ps(row->gamma + i));
    *sum_g = _mm512_add_ps(*sum_g, g);
    *sum_gh = _mm512_fmadd_ps(g, h, *sum_gh);
    _mm512_storeu_ps(dgamma + i, _mm512_fmadd_ps(d, h, _mm512_loadu_ps(dgamma + i)));
    _mm512_storeu_ps(dbeta + i, _mm512_add_ps(d, _mm512_loadu_ps(dbeta + i)));
}

/* before + rstd·g - constant - c·slope */
static inline __m512 layernorm_dx_bf16(const layernorm_gradient *row, int64_t i, __m512 before,
                                       __m512 constant, __m512 slope)
{
    const __m512 c = _mm512_sub_ps(_mm512_loadu_ps(row->x + i), row->mean);
    const __m512 g = _mm512_mul_ps(load_bf16(row->dy + i), _mm512_loadu_ps(row->gamma + i));
    const __m512 from_g = _mm512_fmadd_ps(g, row->rstd, _mm512_sub_ps(before, constant));
    return _mm512_fnmadd_ps(c, slope, from_g);
}

static inline void layernorm_backward_row_bf16(int64_t width, const layernorm_gradient *row, float rstd,
                                               bool add, float *dx, uint16_t *dx_act, float *dgamma,
                                               float *dbeta)
{
    const __m512 zero = _mm512_setzero_ps();
    __m512 low_g = zero, low_gh = zero, high_g = zero, high_gh = zero;
    for (int64_t i = 0; i < width; i += 32) {
        layernorm_sums_bf16(row, i, dgamma, dbeta, &low_g, &low_gh);
        layernorm_sums_bf16(row, i + 16, dgamma, dbeta, &high_g, &high_gh);
    }
    const float mean_g = _mm512_reduce_add_ps(_mm512_add_ps(low_g, high_g)) / (float)width;
    const float mean_gh = _mm512_reduce_add_ps(_mm512_add_ps(low_gh, high_gh)) / (float)width;
    const __m512 constant = _mm512_set1_ps(rstd * mean_g), slope = _mm512_set1_ps(rstd * rstd * mean_gh);
    for (int64_t i = 0; i < width; i += 32) {
        const __m512 low_before = add ? _mm512_loadu_ps(dx + i) : zero;
        const __m512 high_before = add ? _mm512_loadu_ps(dx + i + 16) : zero;
        const __m512 low = layernorm_dx_bf16(row, i, low_before, constant, slope);
        const __m512 high = layernorm_dx_bf16(row, i + 16, high_before, constant, slope);
        _mm512_storeu_ps(dx + i, low);
        _mm512_storeu_ps(dx + i + 16, high);
        if (dx_act) _mm512_storeu_si512(dx_act + i, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

static void layernorm_backward_bf16(int64_t rows, int64_t width, const uint16_t *dy, const float *x,
                                    const float *mean, const float *rstd, const float *gamma, bool add,
                                    float *dx, uint16_t *dx_act, float *dgamma, float *dbeta)
{
    for (int64_t i = 0; i < rows; i++) {
        const int64_t at = i * width;
        const layernorm_gradient row = {dy + at, x + at, gamma, _mm512_set1_ps(mean[i]),
                                        _mm512_set1_ps(rstd[i])};
        layernorm_backward_row_bf16(width, &row, rstd[i], add, dx + at, dx_act ? dx_act + at : NULL, dgamma,
                                    dbeta);
    }
}
