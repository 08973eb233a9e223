#include <immintrin.h>

#define LANES 16
typedef __m512i ints;

static inline ints ints_of(int value)
{
    return _mm512_set1_epi32(value);
}

static inline ints ints_from_bytes(const unsigned char *from)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)from));
}

static inline ints ints_add_product(ints sum, ints a, ints b)
{
    return _mm512_add_epi32(sum, _mm512_mullo_epi32(a, b));
}

/* Without the `bits` after the point, cut to 8 bits. */
static inline void ints_store_bytes(ints value, int bits, unsigned char *to)
{
    value = _mm512_max_epi32(_mm512_srai_epi32(value, (unsigned)bits), _mm512_setzero_si512());
    _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtusepi32_epi8(value));
}

#define KERNELS     image_kernels_avx512
#define KERNEL_NAME "avx512"
#include "image_kernels_body.h"
