/* LayerNorm's forward with a bf16 branch and output; part of kernels_body.h where the compiler has
 * AVX512_BF16.
 *
 * The residual stream is kept for the backward, in memory that is cold, and nothing reads it soon. A large
 * one is therefore written past the caches, and its row goes on in a copy that stays in L1. */

enum { LAYERNORM_WIDTH = 4096 }; /* widest row that has a copy */

/* kept = x + branch, streamed to `stream` as well unless that is NULL; returns the sum of the elements. */
static inline float residual_sum_bf16(int64_t width, const float *x, const uint16_t *branch, float *kept,
                                      float *stream)
{
    __m512 low_sum = _mm512_setzero_ps(), high_sum = low_sum;
    for (int64_t i = 0; i < width; i += 32) {
        const __m512i low_bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(branch + i)));
        const __m512i high_bits =
            _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(branch + i + 16)));
        const __m512 low = _mm512_add_ps(_mm512_loadu_ps(x + i), lanes_even(low_bits));
        const __m512 high = _mm512_add_ps(_mm512_loadu_ps(x + i + 16), lanes_even(high_bits));
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

/* width: a multiple of 32 */
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
