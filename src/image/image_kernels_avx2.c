#include <immintrin.h>

#define LANES 8
typedef __m256i ints;

static inline ints ints_of(int value)
{
    return _mm256_set1_epi32(value);
}

static inline ints ints_from_bytes(const unsigned char *from)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from));
}

static inline ints ints_add_product(ints sum, ints a, ints b)
{
    return _mm256_add_epi32(sum, _mm256_mullo_epi32(a, b));
}

/* Without the `bits` after the point, cut to 8 bits. */
static inline void ints_store_bytes(ints value, int bits, unsigned char *to)
{
    value = _mm256_srai_epi32(value, bits);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
    _mm_storel_epi64((__m128i *)(void *)to, _mm_packus_epi16(words, words));
}

#define KERNELS     image_kernels_avx2
#define KERNEL_NAME "avx2"
#include "image_kernels_body.h"
