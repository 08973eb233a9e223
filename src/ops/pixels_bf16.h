/* Bytes of pixels to bf16 planes; part of kernels_body.h where the compiler has AVX512_BF16. */

/* Of 16 pixels, four in each 128-bit lane: byte `channel` of each, as 32-bit integers. */
static inline __m512i channel_of_pixels(__m512i pixels, int channel)
{
    const __m512i first = _mm512_setr_epi32(0, 3, 6, 9, 0, 3, 6, 9, 0, 3, 6, 9, 0, 3, 6, 9);
    const __m512i byte = _mm512_add_epi32(first, _mm512_set1_epi32((int)0x80808000u + channel));
    return _mm512_shuffle_epi8(pixels, byte); /* an index with its top bit set gives zero */
}

static void split_pixels(int64_t n, const uint8_t *pixel, const float offset[3], const float scale[3],
                         uint16_t *const plane[3])
{
    const __m512i lanes_of_4 = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
    for (int64_t i = 0; i < n; i += 16) {
        const int count = (int)tdm_min_i64(16, n - i);
        const __m512i bytes = _mm512_maskz_loadu_epi8((1ull << (3 * count)) - 1, pixel + 3 * i);
        const __m512i pixels = _mm512_permutexvar_epi32(lanes_of_4, bytes);
        for (int c = 0; c < 3; c++) {
            const __m512 value = _mm512_cvtepi32_ps(channel_of_pixels(pixels, c));
            const __m512 scaled =
                _mm512_mul_ps(_mm512_sub_ps(value, _mm512_set1_ps(offset[c])), _mm512_set1_ps(scale[c]));
            _mm256_mask_storeu_epi16(plane[c] + i, (__mmask16)((1u << count) - 1),
                                     (__m256i)_mm512_cvtneps_pbh(scaled));
        }
    }
}
