/* The fused loops. Included once per instruction set by kernels_*.c, which define KERNEL_TABLE, KERNEL_NAME
 * and KERNEL_VECTOR_BYTES. Plain C that the compiler vectorises; `dtype` is a constant after inlining.
 * The contracts of the functions stand at struct ops_kernels and in tandem/ops.h. */
#include "ops_impl.h"

#include <math.h>
#include <string.h>
#if defined(__AVX512F__)
#include "transpose.h"

#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
/* Calls `call` with DTYPE a compile-time constant. */
#define BY_DTYPE(dtype, call)                                                                                \
    do {                                                                                                     \
        if ((dtype) == TDM_BF16) {                                                                           \
            enum { DTYPE = TDM_BF16 };                                                                       \
            call;                                                                                            \
        } else {                                                                                             \
            enum { DTYPE = TDM_F32 };                                                                        \
            call;                                                                                            \
        }                                                                                                    \
    } while (0)

INLINE uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

INLINE float bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

INLINE float act_get(int dtype, const void *x, int64_t i)
{
    return dtype == TDM_BF16 ? tdm_bf16_value(((const uint16_t *)x)[i]) : ((const float *)x)[i];
}

/* The same for values that arithmetic made: their NaNs have few mantissa bits and cannot overflow in
 * rounding. */
INLINE uint16_t bf16_round_computed(float x)
{
    uint32_t bits = float_bits(x);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

INLINE void act_set(int dtype, void *x, int64_t i, float value)
{
    if (dtype == TDM_BF16)
        ((uint16_t *)x)[i] = bf16_round_computed(value);
    else
        ((float *)x)[i] = value;
}

/* A loop that reads several streams from memory waits for them, whatever the core fetches by itself: it asks for what
 * comes AHEAD bytes later. */
enum { AHEAD = 2048, LINE = 64 };

/* bytes: a constant, so that the loop unrolls */
INLINE void fetch_ahead(const void *x, int64_t bytes)
{
    for (int64_t at = 0; at < bytes; at += LINE) __builtin_prefetch((const char *)x + AHEAD + at);
}

/* Bounds of x, above 0 and below 0, as integers: of numbers with the sign of the bound, the larger magnitude is the
 * larger integer, and the others are smaller ones. Compilers have an instruction for that; of two floats they have to
 * tell NaN from the others. Here a NaN of the bound's sign becomes the bound, another stays, so its place is where x comes in again. */
INLINE float at_most(float x, float most)
{
    int32_t a = (int32_t)float_bits(x), b = (int32_t)float_bits(most);
    return bits_float((uint32_t)(a < b ? a : b));
}

INLINE float at_least(float x, float least)
{
    uint32_t a = float_bits(x), b = float_bits(least);
    return bits_float(a < b ? a : b);
}

/* exp(x) for |x| <= 88.3, relative error below 2e-7. Cody-Waite reduction to |r| <= ln2/2, then a polynomial fitted by
 * weighted least squares (max. relative error 3e-9). */
INLINE float exp_in_range(float x)
{
    const float shift = 12582912.0f; /* 1.5·2^23: the sum's low mantissa bits are round(x / ln2) */
    float shifted = x * 1.44269504f + shift;
    float n = shifted - shift;
    float r = x - n * 0.693359375f; /* ln2 = 0.693359375 - 2.12194440e-4, the first part is exact */
    r = r + n * 2.12194440e-4f;
    float p = 1.381446658e-3f;
    p = p * r + 8.368780618e-3f;
    p = p * r + 4.166839423e-2f;
    p = p * r + 1.666652011e-1f;
    p = p * r + 4.999999341e-1f;
    p = p * r * r + r + 1.0f;
    return p * bits_float((float_bits(shifted) << 23) + 0x3f800000u); /* p·2^n */
}

/* exp(x): 0 below -87.3, constant above 88.3 */
INLINE float fast_exp(float x)
{
    float clamped = x < -87.3f ? -87.3f : x;
    clamped = clamped > 88.3f ? 88.3f : clamped;
    float y = exp_in_range(clamped);
    return x < -87.3f ? 0.0f : y;
}

/* The same of -x, for x >= 0. */
INLINE float fast_exp_minus(float x)
{
    float y = exp_in_range(-at_most(x, 87.3f));
    return x > 87.3f ? 0.0f : y;
}

/* exp(x) for results that are rounded to bf16: relative error below 1e-5; x clamped to +-80. */
INLINE float rough_exp(float x)
{
    float t = x * 1.44269504f;
    t = t < -115.0f ? -115.0f : t;
    t = t > 115.0f ? 115.0f : t;
    const float shift = 12582912.0f;
    float shifted = t + shift;
    float r = t - (shifted - shift);
    float p = 9.582776798e-3f; /* 2^r on |r| <= 1/2, fitted by weighted least squares */
    p = p * r + 5.590721608e-2f;
    p = p * r + 2.402410453e-1f;
    p = p * r + 6.931241045e-1f;
    p = p * r + 1.0f;
    return p * bits_float((float_bits(shifted) << 23) + 0x3f800000u);
}

/* 1/x for 1 <= x < 2^125: a guess from the exponent and mantissa bits (relative error 0.12), then Newton's
 * steps r (2 - x r), each squaring the error; wide divisions take longer than this. */
INLINE float reciprocal(float x, int steps)
{
    float r = bits_float(0x7ef311c7u - float_bits(x));
    for (int i = 0; i < steps; i++) r = r * (2.0f - x * r);
    return r;
}

enum { STEPS_BF16 = 2, STEPS_F32 = 3 }; /* errors below 3e-4 and 1e-7 */

/* Phi(x) = erfc(-x/sqrt2)/2 and *density = exp(-x²/2)/sqrt(2 pi). erfc(z) exp(z²) = t Q(t) with
 * t = 1/(1 + 0.48 z), Q fitted by weighted least squares on 0 <= z <= 8 (max. relative error 1.4e-8). */
INLINE float normal_cdf(int dtype, float x, float *density)
{
    float z = at_most(fabsf(x) * 0.70710678f, 1e9f);
    float t = reciprocal(1.0f + 0.48f * z, dtype == TDM_BF16 ? STEPS_BF16 : STEPS_F32);
    float q = -5.461046072e-2f;
    q = q * t + 2.913013904e-1f;
    q = q * t - 5.740965002e-1f;
    q = q * t + 4.383183754e-1f;
    q = q * t - 1.114913942e-1f;
    q = q * t + 2.399193737e-1f;
    q = q * t + 2.278528598e-1f;
    q = q * t + 2.720515986e-1f;
    q = q * t + 2.707547642e-1f;
    float gauss = dtype == TDM_BF16 ? rough_exp(-0.5f * x * x) : fast_exp_minus(0.5f * x * x);
    float tail = 0.5f * gauss * t * q;
    *density = gauss * 0.39894228f;
    return x < 0.0f ? tail : 1.0f - tail;
}

#if defined(__AVX512BF16__)
#include "activation_bf16.h"
#include "layernorm_bf16.h"
#include "pixels_bf16.h"
#endif

static void f32_to_bf16(int64_t n, const float *x, uint16_t *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = tdm_bf16_round(x[i]);
}

static void bf16_to_f32(int64_t n, const uint16_t *x, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = tdm_bf16_value(x[i]);
}

static void clear(int64_t n, float *x)
{
    int64_t done = 0;
#if defined(__AVX512F__)
    enum { STREAMED = 1 << 18, LINES = 32 }; /* floats; 128 bytes at once */
    if (n >= STREAMED && (uintptr_t)x % 64 == 0) {
        for (; done + LINES <= n; done += LINES) {
            _mm512_stream_ps(x + done, _mm512_setzero_ps());
            _mm512_stream_ps(x + done + 16, _mm512_setzero_ps());
        }
        _mm_sfence();
    }
#endif
    memset(x + done, 0, sizeof(float) * (size_t)(n - done));
}

static void add(int64_t n, const float *a, const float *b, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

INLINE void add_act_typed(int dtype, int64_t n, const void *a, const float *b, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = act_get(dtype, a, i) + b[i];
}

static void add_act(tdm_dtype dtype, int64_t n, const void *a, const float *b, float *y)
{
    BY_DTYPE(dtype, add_act_typed(DTYPE, n, a, b, y));
}

/* ---- LayerNorm ---- */
INLINE float residual_sum(int dtype, int64_t width, const float *x, const void *branch, float *x_out)
{
    float sum = 0.0f;
    if (branch) {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; i++) {
            float value = x[i] + act_get(dtype, branch, i);
            x_out[i] = value;
            sum += value;
        }
    } else {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; i++) sum += x[i];
    }
    return sum;
}

INLINE void normalise_row(int dtype, int64_t width, const float *x, float mean, float rstd,
                          const float *gamma, const float *beta, void *y)
{
#pragma omp simd
    for (int64_t i = 0; i < width; i++) act_set(dtype, y, i, (x[i] - mean) * rstd * gamma[i] + beta[i]);
}

INLINE void layernorm_forward_row(int dtype, int64_t width, const float *x, float mean_value,
                                  const float *gamma, const float *beta, void *y, float *rstd)
{
    float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < width; i++) {
        float centred = x[i] - mean_value;
        squares += centred * centred;
    }
    *rstd = 1.0f / sqrtf(squares / (float)width + 1e-5f);
    normalise_row(dtype, width, x, mean_value, *rstd, gamma, beta, y);
}

INLINE void layernorm_forward_typed(int dtype, int64_t rows, int64_t width, const float *x,
                                    const void *branch, float *x_out, const float *gamma, const float *beta,
                                    void *y, float *mean, float *rstd)
{
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = row * width;
        float *sum_row = branch ? x_out + at : NULL;
        float sum = residual_sum(dtype, width, x + at, branch ? act_at(dtype, branch, at) : NULL, sum_row);
        if (!y) continue;
        mean[row] = sum / (float)width;
        layernorm_forward_row(dtype, width, branch ? sum_row : x + at, mean[row], gamma, beta,
                              act_at_mutable(dtype, y, at), rstd + row);
    }
}

static void layernorm_forward(tdm_dtype dtype, int64_t rows, int64_t width, const float *x,
                              const void *branch, float *x_out, const float *gamma, const float *beta,
                              void *y, float *mean, float *rstd)
{
#if defined(__AVX512BF16__)
    if (dtype == TDM_BF16 && branch && width % 32 == 0) {
        layernorm_forward_bf16(rows, width, x, branch, x_out, gamma, beta, y, mean, rstd);
        return;
    }
#endif
    BY_DTYPE(dtype,
             layernorm_forward_typed(DTYPE, rows, width, x, branch, x_out, gamma, beta, y, mean, rstd));
}

INLINE void layernorm_again_typed(int dtype, int64_t rows, int64_t width, const float *x, const float *mean,
                                  const float *rstd, const float *gamma, const float *beta, void *y)
{
    for (int64_t row = 0; row < rows; row++)
        normalise_row(dtype, width, x + row * width, mean[row], rstd[row], gamma, beta,
                      act_at_mutable(dtype, y, row * width));
}

static void layernorm_again(tdm_dtype dtype, int64_t rows, int64_t width, const float *x, const float *mean,
                            const float *rstd, const float *gamma, const float *beta, void *y)
{
    BY_DTYPE(dtype, layernorm_again_typed(DTYPE, rows, width, x, mean, rstd, gamma, beta, y));
}

/* With g = dy·gamma and h = (x - mean)·rstd: dx = rstd·(g - mean(g) - h·mean(g·h)). */
INLINE void layernorm_backward_row(int dtype, int64_t width, const void *dy, const float *x, float mean,
                                   float rstd, const float *gamma, bool add_to_dx, float *dx, void *dx_act,
                                   float *dgamma, float *dbeta)
{
    float sum_g = 0.0f, sum_gh = 0.0f;
#pragma omp simd reduction(+ : sum_g, sum_gh)
    for (int64_t i = 0; i < width; i++) {
        float d = act_get(dtype, dy, i);
        float h = (x[i] - mean) * rstd;
        float g = d * gamma[i];
        sum_g += g;
        sum_gh += g * h;
        dgamma[i] += d * h;
        dbeta[i] += d;
    }
    float mean_g = sum_g / (float)width, mean_gh = sum_gh / (float)width;
    float keep = add_to_dx ? 1.0f : 0.0f;
    if (!add_to_dx) memset(dx, 0, sizeof(float) * (size_t)width);
    if (dx_act) {
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            float h = (x[i] - mean) * rstd;
            float value = dx[i] * keep + rstd * (act_get(dtype, dy, i) * gamma[i] - mean_g - h * mean_gh);
            dx[i] = value;
            act_set(dtype, dx_act, i, value);
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            float h = (x[i] - mean) * rstd;
            dx[i] = dx[i] * keep + rstd * (act_get(dtype, dy, i) * gamma[i] - mean_g - h * mean_gh);
        }
    }
}

INLINE void layernorm_backward_typed(int dtype, int64_t rows, int64_t width, const void *dy, const float *x,
                                     const float *mean, const float *rstd, const float *gamma, bool add_to_dx,
                                     float *dx, void *dx_act, float *dgamma, float *dbeta)
{
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = row * width;
        layernorm_backward_row(dtype, width, act_at(dtype, dy, at), x + at, mean[row], rstd[row], gamma,
                               add_to_dx, dx + at, dx_act ? act_at_mutable(dtype, dx_act, at) : NULL, dgamma,
                               dbeta);
    }
}

static void layernorm_backward(tdm_dtype dtype, int64_t rows, int64_t width, const void *dy, const float *x,
                               const float *mean, const float *rstd, const float *gamma, bool add_to_dx,
                               float *dx, void *dx_act, float *dgamma, float *dbeta)
{
#if defined(__AVX512BF16__)
    if (dtype == TDM_BF16 && width % 32 == 0) {
        layernorm_backward_bf16(rows, width, dy, x, mean, rstd, gamma, add_to_dx, dx, dx_act, dgamma, dbeta);
        return;
    }
#endif
    BY_DTYPE(dtype, layernorm_backward_typed(DTYPE, rows, width, dy, x, mean, rstd, gamma, add_to_dx, dx,
                                             dx_act, dgamma, dbeta));
}

/* ---- Activation ---- */
INLINE float sigmoid(int dtype, float x)
{
    if (dtype == TDM_BF16) return reciprocal(1.0f + rough_exp(-x), STEPS_BF16);
    return reciprocal(1.0f + exp_in_range(at_least(at_most(-x, 80.0f), -87.3f)), STEPS_F32);
}

INLINE float activation_value(int kind, int dtype, float x, float *slope)
{
    if (kind == TDM_QUICKGELU) {
        float s = sigmoid(dtype, 1.702f * x);
        *slope = s * (1.0f + 1.702f * x * (1.0f - s));
        return x * s;
    }
    float density;
    float cdf = normal_cdf(dtype, x, &density);
    *slope = cdf + x * density;
    return x * cdf;
}

INLINE void activation_forward_typed(int kind, int dtype, int64_t n, const void *x, void *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float slope;
        act_set(dtype, y, i, activation_value(kind, dtype, act_get(dtype, x, i), &slope));
    }
}

static void activation_forward(tdm_activation kind, tdm_dtype dtype, int64_t n, const void *x, void *y)
{
#if defined(__AVX512BF16__)
    if (dtype == TDM_BF16) {
        activation_forward_bf16(kind, n, x, y);
        return;
    }
#endif
    if (kind == TDM_QUICKGELU)
        BY_DTYPE(dtype, activation_forward_typed(TDM_QUICKGELU, DTYPE, n, x, y));
    else
        BY_DTYPE(dtype, activation_forward_typed(TDM_GELU, DTYPE, n, x, y));
}

INLINE void activation_backward_typed(int kind, int dtype, int64_t n, const void *x, const void *dy, void *dx,
                                      void *y)
{
    if (y) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float slope;
            float value = activation_value(kind, dtype, act_get(dtype, x, i), &slope);
            act_set(dtype, dx, i, act_get(dtype, dy, i) * slope);
            act_set(dtype, y, i, value);
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float slope;
            (void)activation_value(kind, dtype, act_get(dtype, x, i), &slope);
            act_set(dtype, dx, i, act_get(dtype, dy, i) * slope);
        }
    }
}

static void activation_backward(tdm_activation kind, tdm_dtype dtype, int64_t n, const void *x,
                                const void *dy, void *dx, void *y)
{
#if defined(__AVX512BF16__)
    if (dtype == TDM_BF16) {
        if (y)
            activation_backward_bf16_both(kind, n, x, dy, dx, y);
        else
            activation_backward_bf16(kind, n, x, dy, dx);
        return;
    }
#endif
    if (kind == TDM_QUICKGELU)
        BY_DTYPE(dtype, activation_backward_typed(TDM_QUICKGELU, DTYPE, n, x, dy, dx, y));
    else
        BY_DTYPE(dtype, activation_backward_typed(TDM_GELU, DTYPE, n, x, dy, dx, y));
}

INLINE void column_sums_typed(int dtype, int64_t rows, int64_t width, const void *x, float *sums)
{
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) { /* four rows a pass: a quarter of the traffic on `sums` */
        int64_t at = row * width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            sums[i] += (act_get(dtype, x, at + i) + act_get(dtype, x, at + width + i)) +
                       (act_get(dtype, x, at + 2 * width + i) + act_get(dtype, x, at + 3 * width + i));
    }
    for (; row < rows; row++) {
#pragma omp simd
        for (int64_t i = 0; i < width; i++) sums[i] += act_get(dtype, x, row * width + i);
    }
}

static void column_sums(tdm_dtype dtype, int64_t rows, int64_t width, const void *x, float *sums)
{
    BY_DTYPE(dtype, column_sums_typed(DTYPE, rows, width, x, sums));
}

/* ---- Dropout ---- one Philox4x32-10 block (see tandem/rng.h) in a form that vectorises. */
INLINE void philox_block(uint32_t c0, const uint32_t counter[4], const uint32_t key[2], uint32_t *w0,
                         uint32_t *w1, uint32_t *w2, uint32_t *w3)
{
    uint32_t c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    *w0 = c0;
    *w1 = c1;
    *w2 = c2;
    *w3 = c3;
}

INLINE void dropout_typed(int dtype, int64_t width, const uint32_t key[2], const uint32_t counter[4],
                          uint32_t threshold, float scale, void *x)
{
    enum { BLOCK = 64 };
    int64_t quarter = (width + 3) / 4;
    for (int64_t begin = 0; begin < quarter; begin += BLOCK) {
        uint32_t word[4][BLOCK];
#pragma omp simd
        for (int lane = 0; lane < BLOCK; lane++)
            philox_block((uint32_t)begin + (uint32_t)lane, counter, key, &word[0][lane], &word[1][lane],
                         &word[2][lane], &word[3][lane]);
        int64_t count = tdm_min_i64(BLOCK, quarter - begin);
        for (int part = 0; part < 4; part++) {
            int64_t at = part * quarter + begin;
            int64_t valid = tdm_min_i64(count, width - at);
#pragma omp simd
            for (int64_t i = 0; i < valid; i++)
                act_set(dtype, x, at + i,
                        act_get(dtype, x, at + i) * (word[part][i] >= threshold ? scale : 0.0f));
        }
    }
}

static void dropout(tdm_dtype dtype, int64_t width, const uint32_t key[2], const uint32_t counter[4],
                    uint32_t threshold, float scale, void *x)
{
    BY_DTYPE(dtype, dropout_typed(DTYPE, width, key, counter, threshold, scale, x));
}

#if defined(__AVX512F__)
/* Eight Philox blocks: word w of each is the low half of a 64-bit lane, the high halves are anything. */
typedef struct philox_lanes {
    __m512i word[4];
} philox_lanes;

/* Blocks `first` … + 7, in the order 0 4 1 5 2 6 3 7, which unpacking puts right. */
INLINE philox_lanes philox_begin(uint32_t first, const uint32_t counter[4])
{
    const __m512i place = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    return (philox_lanes){{_mm512_add_epi64(_mm512_set1_epi64(first), place), _mm512_set1_epi64(counter[1]),
                           _mm512_set1_epi64(counter[2]), _mm512_set1_epi64(counter[3])}};
}

INLINE philox_lanes philox_round(philox_lanes c, __m512i key0, __m512i key1)
{
    enum { XOR_OF_THREE = 0x96 };
    const __m512i p0 = _mm512_mul_epu32(c.word[0], _mm512_set1_epi64(0xD2511F53u)),
                  p1 = _mm512_mul_epu32(c.word[2], _mm512_set1_epi64(0xCD9E8D57u));
    return (philox_lanes){
        {_mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c.word[1], key0, XOR_OF_THREE), p1,
         _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c.word[3], key1, XOR_OF_THREE), p0}};
}

/* 32 elements, of which there are `count`. */
INLINE void drop_lanes(philox_lanes c, int64_t count, __m512i threshold, __m512 scale, const float *x,
                       float *y)
{
    const __m512i low = _mm512_mask_blend_epi32(0xaaaa, c.word[0], _mm512_slli_epi64(c.word[1], 32)),
                  high = _mm512_mask_blend_epi32(0xaaaa, c.word[2], _mm512_slli_epi64(c.word[3], 32));
    const __m512i word[2] = {_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high)};
    for (int h = 0; h < 2; h++) {
        const int64_t left = count - 16 * h;
        const __mmask16 there = left >= 16 ? 0xffff : left > 0 ? (__mmask16)((1u << left) - 1) : 0;
        const __mmask16 kept = _mm512_cmpge_epu32_mask(word[h], threshold);
        const __m512 v = _mm512_maskz_loadu_ps(there, x + 16 * h);
        _mm512_mask_storeu_ps(y + 16 * h, there, _mm512_maskz_mul_ps(kept, v, scale));
    }
}

static void dropout_row(int64_t width, const uint32_t key[2], const uint32_t counter[4], uint32_t threshold,
                        float scale, const float *x, float *y)
{
    enum { STEP = 32, WORDS = 4, TOGETHER = 4 }; /* together: a multiplication takes five cycles */
    const __m512i limit = _mm512_set1_epi32((int)threshold);
    const __m512 factor = _mm512_set1_ps(scale);
    for (int64_t begin = 0; begin < width; begin += TOGETHER * STEP) {
        philox_lanes c[TOGETHER];
        uint32_t k0 = key[0], k1 = key[1];
#pragma GCC unroll 4
        for (int i = 0; i < TOGETHER; i++)
            c[i] = philox_begin((uint32_t)((begin + i * STEP) / WORDS), counter);
        for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
            const __m512i key0 = _mm512_set1_epi64(k0), key1 = _mm512_set1_epi64(k1);
#pragma GCC unroll 4
            for (int i = 0; i < TOGETHER; i++) c[i] = philox_round(c[i], key0, key1);
        }
#pragma GCC unroll 4
        for (int i = 0; i < TOGETHER; i++)
            if (begin + i * STEP < width)
                drop_lanes(c[i], width - begin - i * STEP, limit, factor, x + begin + i * STEP,
                           y + begin + i * STEP);
    }
}
#else
static void dropout_row(int64_t width, const uint32_t key[2], const uint32_t counter[4], uint32_t threshold,
                        float scale, const float *x, float *y)
{
    enum { BLOCK = 64, WORDS = 4 };
    for (int64_t begin = 0; begin < width; begin += BLOCK * WORDS) {
        const uint32_t first = (uint32_t)(begin / WORDS);
        const int64_t count = tdm_min_i64(BLOCK * WORDS, width - begin);
        uint32_t word[BLOCK * WORDS];
#pragma omp simd
        for (int lane = 0; lane < BLOCK; lane++)
            philox_block(first + (uint32_t)lane, counter, key, &word[WORDS * lane], &word[WORDS * lane + 1],
                         &word[WORDS * lane + 2], &word[WORDS * lane + 3]);
#pragma omp simd
        for (int64_t i = 0; i < count; i++) y[begin + i] = word[i] >= threshold ? x[begin + i] * scale : 0.0f;
    }
}
#endif

static void attention_factors(const attention_mask *mask, int64_t query, int64_t key, int64_t keys,
                              float *factor)
{
    enum { WORDS = 4, LANE = ATTENTION_MASK_GROUP / WORDS };
    const uint32_t counter[4] = {0, (uint32_t)query, mask->high[0], mask->high[1]};
    for (int64_t at = 0; at < keys; at += ATTENTION_MASK_GROUP) {
        const uint32_t first = mask->first + (uint32_t)((key + at) / WORDS);
        uint32_t word[WORDS][LANE];
#pragma omp simd
        for (int lane = 0; lane < LANE; lane++)
            philox_block(first + (uint32_t)lane, counter, mask->key, &word[0][lane], &word[1][lane],
                         &word[2][lane], &word[3][lane]);
        for (int part = 0; part < WORDS; part++) {
#pragma omp simd
            for (int lane = 0; lane < LANE; lane++)
                factor[at + part * LANE + lane] = word[part][lane] >= mask->threshold ? mask->scale : 0.0f;
        }
    }
}

/* ---- Output end ---- */
INLINE float dot(int64_t n, const float *a, const float *b)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void l2norm_forward(int64_t rows, int64_t width, const float *x, float *y, float *norm)
{
    for (int64_t row = 0; row < rows; row++) {
        const float *x_row = x + row * width;
        float *y_row = y + row * width;
        float length = sqrtf(dot(width, x_row, x_row));
        norm[row] = length < 1e-12f ? 1e-12f : length;
        float scale = 1.0f / norm[row];
#pragma omp simd
        for (int64_t i = 0; i < width; i++) y_row[i] = x_row[i] * scale;
    }
}

static void l2norm_backward(int64_t rows, int64_t width, const float *y, const float *norm, const float *dy,
                            float *dx)
{
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = row * width;
        float along = dot(width, y + at, dy + at);
        float scale = 1.0f / norm[row];
#pragma omp simd
        for (int64_t i = 0; i < width; i++) dx[at + i] = (dy[at + i] - y[at + i] * along) * scale;
    }
}

/* loss = -sum_j t_j (x_j - max - log sum_j exp(x_j - max)), with sum_j t_j = 1 */
INLINE float softmax_cross_entropy_row(int64_t classes, float *logits, const float *target)
{
    float largest = logits[0];
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < classes; i++) largest = logits[i] > largest ? logits[i] : largest;
    float sum = 0.0f, agreement = 0.0f;
#pragma omp simd reduction(+ : sum, agreement)
    for (int64_t i = 0; i < classes; i++) {
        float centred = logits[i] - largest;
        float power = fast_exp(centred);
        agreement += target[i] * centred;
        sum += power;
        logits[i] = power;
    }
    float scale = 1.0f / sum;
#pragma omp simd
    for (int64_t i = 0; i < classes; i++) logits[i] = logits[i] * scale - target[i];
    return logf(sum) - agreement;
}

static void softmax_cross_entropy(int64_t rows, int64_t classes, float *logits, const float *target,
                                  float *loss)
{
    for (int64_t row = 0; row < rows; row++)
        loss[row] = softmax_cross_entropy_row(classes, logits + row * classes, target + row * classes);
}

/* Of four quarters at once: one sum alone would wait for itself. */
static double sum_squares(int64_t n, const float *x)
{
    const int64_t quarter = n / 4;
    const float *b = x + quarter, *c = b + quarter, *d = c + quarter;
    double sum_a = 0.0, sum_b = 0.0, sum_c = 0.0, sum_d = 0.0;
#pragma omp simd reduction(+ : sum_a, sum_b, sum_c, sum_d)
    for (int64_t i = 0; i < quarter; i++) {
        sum_a += (double)x[i] * (double)x[i];
        sum_b += (double)b[i] * (double)b[i];
        sum_c += (double)c[i] * (double)c[i];
        sum_d += (double)d[i] * (double)d[i];
    }
    for (int64_t i = 4 * quarter; i < n; i++) sum_a += (double)x[i] * (double)x[i];
    return (sum_a + sum_b) + (sum_c + sum_d);
}

INLINE void adamw_some(int64_t n, float *w, const float *g, float *m, float *v, const adamw_step s)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float gradient = g[i] * s.grad_scale;
        float first = s.beta1 * m[i] + s.rest1 * gradient;
        float second = s.beta2 * v[i] + s.rest2 * gradient * gradient;
        m[i] = first;
        v[i] = second;
        w[i] = w[i] * s.keep - s.step_size * first / (sqrtf(second) * s.rsqrt_c2 + s.eps);
    }
}

static void adamw(int64_t n, float *w, const float *g, float *m, float *v, const adamw_step *step)
{
    enum { SOME = 64 };
    const adamw_step s = *step;
    int64_t i = 0;
    for (; i + SOME <= n; i += SOME) {
        fetch_ahead(w + i, SOME * sizeof(float));
        fetch_ahead(g + i, SOME * sizeof(float));
        fetch_ahead(m + i, SOME * sizeof(float));
        fetch_ahead(v + i, SOME * sizeof(float));
        adamw_some(SOME, w + i, g + i, m + i, v + i, s);
    }
    adamw_some(n - i, w + i, g + i, m + i, v + i, s);
}

#include "attention_body.h"
#include "convnet_body.h"

const ops_kernels KERNEL_TABLE = {
    .name = KERNEL_NAME,
    .f32_to_bf16 = f32_to_bf16,
    .bf16_to_f32 = bf16_to_f32,
    .clear = clear,
    .add = add,
    .add_act = add_act,
    .layernorm_forward = layernorm_forward,
    .layernorm_again = layernorm_again,
    .layernorm_backward = layernorm_backward,
    .activation_forward = activation_forward,
    .activation_backward = activation_backward,
    .column_sums = column_sums,
    .attention_forward = attention_forward,
    .attention_backward = attention_backward,
    .attention_factors = attention_factors,
    .batchnorm_sums = batchnorm_sums,
    .batchnorm_forward = batchnorm_forward,
    .batchnorm_backward_sums = batchnorm_backward_sums,
    .batchnorm_backward_data = batchnorm_backward_data,
    .residual_backward = residual_backward,
    .average_pool_forward = average_pool_forward,
    .average_pool_backward = average_pool_backward,
    .pool_tokens_forward = pool_tokens_forward,
    .pool_tokens_backward = pool_tokens_backward,
    .pool_attention_forward = pool_attention_forward,
    .pool_attention_backward = pool_attention_backward,
#if defined(__AVX512BF16__)
    .split_pixels = split_pixels,
#endif
    .dropout = dropout,
    .dropout_row = dropout_row,
    .l2norm_forward = l2norm_forward,
    .l2norm_backward = l2norm_backward,
    .softmax_cross_entropy = softmax_cross_entropy,
    .sum_squares = sum_squares,
    .adamw = adamw,
};
