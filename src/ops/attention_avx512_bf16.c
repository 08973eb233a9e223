/* Attention on AVX512_BF16: products by VDPBF16PS, 16 sums at a time, in exactly the rows that exist. */
#include "attention_pairs_body.h"

/* Of the micro kernel: rows by two vectors of 16 columns, all sums in registers. */
enum { MOST_ROWS = 14 };

static void begin_products(int64_t rows)
{
    (void)rows;
}

static void end_products(void)
{
}

/* c[rows][vectors · 16] = left · right over `pairs` pairs of k. Rows are reached from every third. */
static inline __attribute__((always_inline)) void multiply_rows(const int rows, const int vectors,
                                                                left_rows left, right_words right,
                                                                int64_t pairs, float *c, int64_t c_step)
{
    const char *third[(MOST_ROWS + 2) / 3];
    const int64_t row_bytes = left.step * 2;
    __m512 sum[MOST_ROWS][2];
#pragma GCC unroll 5
    for (int i = 0; i < (rows + 2) / 3; i++) third[i] = (const char *)left.at + 3 * i * row_bytes;
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    const uint32_t *words = right.at;
    for (int64_t p = 0; p < pairs; p++, words += right.step) {
        __m512i b[2];
        b[0] = _mm512_load_si512(words);
        if (vectors > 1) b[1] = _mm512_load_si512(words + LANES);
#pragma GCC unroll 14
        for (int r = 0; r < rows; r++) {
            const __m512i a = bf16_repeat_pair(third[r / 3] + r % 3 * row_bytes + 4 * p);
            sum[r][0] = bf16_dot(sum[r][0], b[0], a);
            if (vectors > 1) sum[r][1] = bf16_dot(sum[r][1], b[1], a);
        }
    }
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) _mm512_store_ps(c + r * c_step + v * LANES, sum[r][v]);
}

/* All columns of a few rows: two vectors at a time, then one. */
static inline __attribute__((always_inline)) void multiply_columns(const int rows, left_rows left,
                                                                   right_words right, int64_t pairs,
                                                                   int64_t columns, float *c, int64_t c_step)
{
    int64_t column = 0;
    for (; columns - column > LANES; column += 2 * LANES)
        multiply_rows(rows, 2, left, (right_words){right.at + column, right.step}, pairs, c + column, c_step);
    if (column < columns)
        multiply_rows(rows, 1, left, (right_words){right.at + column, right.step}, pairs, c + column, c_step);
}

/* The rows in equal parts of MOST_ROWS at most, each rounded up to an even number: memory is padded to 32. */
static void multiply(left_rows left, right_words right, int64_t rows, int64_t k_begin, int64_t k_end,
                     int64_t columns, float *c, int64_t c_step)
{
    const int64_t pairs = (k_end - k_begin + 1) / 2, parts = (rows + MOST_ROWS - 1) / MOST_ROWS;
    left.at += k_begin;
    right.at += k_begin / 2 * right.step;
    for (int64_t row = 0, part = 0; part < parts; part++) {
        const int64_t count = tdm_round_up((rows - row + parts - part - 1) / (parts - part), 2);
        const left_rows some = {left.at + row * left.step, left.step};
        float *to = c + row * c_step;
        switch (count) {
        case 2: multiply_columns(2, some, right, pairs, columns, to, c_step); break;
        case 4: multiply_columns(4, some, right, pairs, columns, to, c_step); break;
        case 6: multiply_columns(6, some, right, pairs, columns, to, c_step); break;
        case 8: multiply_columns(8, some, right, pairs, columns, to, c_step); break;
        case 10: multiply_columns(10, some, right, pairs, columns, to, c_step); break;
        case 12: multiply_columns(12, some, right, pairs, columns, to, c_step); break;
        default: multiply_columns(MOST_ROWS, some, right, pairs, columns, to, c_step);
        }
        row += count;
    }
}

const attention_pairs attention_avx512_bf16 = {
    .scratch_bytes = scratch_bytes, .forward = forward, .backward = backward};
