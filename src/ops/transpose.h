/* Private to src/ops; x86-64 only. */
#ifndef TANDEM_OPS_TRANSPOSE_H
#define TANDEM_OPS_TRANSPOSE_H

#include <immintrin.h>

/* Transposes 8 x 8 dwords in registers: pairs of rows, of twos, of fours. */
static inline __attribute__((target("avx2"))) void transpose_dwords_8(__m256i r[8])
{
    __m256i s[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) { /* r[i + j]: columns j and 4 + j, rows i to i + 3 */
        r[i] = _mm256_unpacklo_epi64(s[i], s[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(s[i], s[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(s[i + 1], s[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(s[i + 1], s[i + 3]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        s[j] = _mm256_permute2x128_si256(r[j], r[4 + j], 0x20);
        s[4 + j] = _mm256_permute2x128_si256(r[j], r[4 + j], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) r[i] = s[i];
}

/* Transposes 16 x 16 dwords in registers: pairs of rows, of twos, of fours, of eights. */
static inline __attribute__((target("avx512f"))) void transpose_dwords(__m512i r[16])
{
    __m512i s[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* r[i + j]: column j of each lane, rows i to i + 3 */
        r[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) { /* lanes: columns j, 4 + j, 8 + j, 12 + j */
        __m512i a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88),
                b = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        __m512i d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
        s[j] = _mm512_shuffle_i32x4(a, c, 0x88);
        s[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
        s[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
        s[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) r[i] = s[i];
}

#endif
