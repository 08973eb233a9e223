/* Vectors of floats, and of their bits, in the widest registers that this file is compiled for: AVX-512 or
 * AVX2. What gemm_body.h is written in. Private to src/ops; x86-64 only. */
#ifndef TANDEM_OPS_GEMM_LANES_H
#define TANDEM_OPS_GEMM_LANES_H

#include "masks.h"
#include "transpose.h"

#if defined(__AVX512F__)

enum { LANES = 16 };
typedef __m512 lanes;
typedef __m512i lane_bits;
typedef __mmask16 lane_mask;

/* The first `count`; none below 0, all above LANES. */
static inline lane_mask first_lanes(int64_t count)
{
    return first_of_16(count);
}
/* Those that the mask names, and zeros. */
static inline lanes load_lanes(lane_mask mask, const float *x)
{
    return _mm512_maskz_loadu_ps(mask, x);
}
static inline void store_lanes(float *y, lane_mask mask, lanes v)
{
    _mm512_mask_storeu_ps(y, mask, v);
}
static inline lane_bits load_bits(lane_mask mask, const float *x)
{
    return _mm512_maskz_loadu_epi32(mask, x);
}
/* Aligned: */
static inline lanes load_aligned(const float *x)
{
    return _mm512_load_ps(x);
}
static inline void store_aligned(float *y, lanes v)
{
    _mm512_store_ps(y, v);
}
static inline void stream_aligned(float *y, lanes v)
{
    _mm512_stream_ps(y, v);
}
static inline lane_bits load_bits_aligned(const float *x)
{
    return _mm512_load_si512(x);
}
static inline void store_bits_aligned(float *y, lane_bits v)
{
    _mm512_store_si512(y, v);
}
/* Anywhere: */
static inline void store_whole(float *y, lanes v)
{
    _mm512_storeu_ps(y, v);
}
static inline void store_bits(float *y, lane_bits v)
{
    _mm512_storeu_si512(y, v);
}
static inline lanes zero_lanes(void)
{
    return _mm512_setzero_ps();
}
static inline lane_bits zero_bits(void)
{
    return _mm512_setzero_si512();
}
static inline lanes add_lanes(lanes a, lanes b)
{
    return _mm512_add_ps(a, b);
}
static inline void transpose_lanes(lane_bits r[LANES])
{
    transpose_dwords(r);
}

#else

enum { LANES = 8 };
typedef __m256 lanes;
typedef __m256i lane_bits;
typedef int64_t lane_mask; /* how many: masked stores are slow on many CPUs, whole ones are not */

static inline lane_mask first_lanes(int64_t count)
{
    return count;
}
static inline lane_bits bits_of_mask(lane_mask count)
{
    const int some = (int)(count < 0 ? 0 : count > LANES ? LANES : count);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(some), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline lanes load_lanes(lane_mask mask, const float *x)
{
    return mask >= LANES ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, bits_of_mask(mask));
}
static inline void store_lanes(float *y, lane_mask mask, lanes v)
{
    if (mask >= LANES)
        _mm256_storeu_ps(y, v);
    else
        _mm256_maskstore_ps(y, bits_of_mask(mask), v);
}
static inline lane_bits load_bits(lane_mask mask, const float *x)
{
    return _mm256_castps_si256(load_lanes(mask, x));
}
static inline lanes load_aligned(const float *x)
{
    return _mm256_load_ps(x);
}
static inline void store_aligned(float *y, lanes v)
{
    _mm256_store_ps(y, v);
}
static inline void stream_aligned(float *y, lanes v)
{
    _mm256_stream_ps(y, v);
}
static inline lane_bits load_bits_aligned(const float *x)
{
    return _mm256_castps_si256(_mm256_load_ps(x));
}
static inline void store_bits_aligned(float *y, lane_bits v)
{
    _mm256_store_ps(y, _mm256_castsi256_ps(v));
}
static inline void store_whole(float *y, lanes v)
{
    _mm256_storeu_ps(y, v);
}
static inline void store_bits(float *y, lane_bits v)
{
    _mm256_storeu_ps(y, _mm256_castsi256_ps(v));
}
static inline lanes zero_lanes(void)
{
    return _mm256_setzero_ps();
}
static inline lane_bits zero_bits(void)
{
    return _mm256_setzero_si256();
}
static inline lanes add_lanes(lanes a, lanes b)
{
    return _mm256_add_ps(a, b);
}
static inline void transpose_lanes(lane_bits r[LANES])
{
    transpose_dwords_8(r);
}

#endif
#endif
