/* Vectors, tiles of sums and transposition for attention_body.h; part of kernels_body.h. */

#if KERNEL_VECTOR_BYTES >= 32
#include <immintrin.h>
#endif

/* A vector register of floats, the same of integers, and floats at any 4-byte address. */
typedef float vec __attribute__((vector_size(KERNEL_VECTOR_BYTES)));
typedef int32_t ivec __attribute__((vector_size(KERNEL_VECTOR_BYTES)));
typedef uint32_t uvec __attribute__((vector_size(KERNEL_VECTOR_BYTES)));
typedef float vec_at __attribute__((vector_size(KERNEL_VECTOR_BYTES), aligned(4), may_alias));

enum {
    VECTOR = KERNEL_VECTOR_BYTES / 4,
    WIDEST_TILE = KERNEL_VECTOR_BYTES == 64 ? 4 : 3, /* vectors of a row of sums */
    HIGHEST_TILE = KERNEL_VECTOR_BYTES == 64 ? 14 : 12
};

INLINE vec load_vec(const float *x)
{
    return *(const vec_at *)x;
}

INLINE void store_vec(float *x, vec value)
{
    *(vec_at *)x = value;
}

/* Past the caches; x lies at a multiple of the vector. */
INLINE void stream_vec(float *x, vec value)
{
#if KERNEL_VECTOR_BYTES == 64
    _mm512_stream_ps(x, (__m512)value);
#elif KERNEL_VECTOR_BYTES == 32
    _mm256_stream_ps(x, (__m256)value);
#else
    store_vec(x, value);
#endif
}

/* Where mask is set (all ones) a, else b. */
INLINE vec select_vec(ivec mask, vec a, vec b)
{
    return (vec)((mask & (ivec)a) | (~mask & (ivec)b));
}

/* The larger one; b where one is a NaN. */
INLINE vec max_vec(vec a, vec b)
{
#if KERNEL_VECTOR_BYTES == 64
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif KERNEL_VECTOR_BYTES == 32
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return select_vec(a > b, a, b);
#endif
}

INLINE vec all_lanes(float x)
{
    return x - (vec){0};
}

/* 2^x, relative error below 2e-7; 0 where x is below -125.5, in narrow vectors -126.5. x must not be above 127. The
 * polynomial on |r| <= 1/2 was fitted for the least largest relative error, 1.1e-7. */
INLINE vec exp2_vec(vec x)
{
#if KERNEL_VECTOR_BYTES == 64
    /* Results below the normal numbers would take an assist of microcode; a NaN stays. */
    const __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-125.5f), _CMP_NLT_UQ);
    const vec n = (vec)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vec r = x - n;
#else
    const float shift = 12582912.0f;    /* 1.5·2^23: the sum's low mantissa bits are round(x) */
    x = max_vec(all_lanes(-127.0f), x); /* in this order a NaN stays */
    const vec shifted = x + shift;
    const vec r = x - (shifted - shift);
#endif
    vec p = 1.326472731e-3f * r + 9.671512991e-3f;
    p = p * r + 5.550733581e-2f;
    p = p * r + 2.402224243e-1f;
    p = p * r + 6.931470037e-1f;
    p = p * r + 1.0f;
#if KERNEL_VECTOR_BYTES == 64
    return (vec)_mm512_maskz_scalef_ps(normal, (__m512)p, (__m512)n);
#else
    return p * (vec)(((uvec)shifted << 23) + 0x3f800000u); /* -127 makes a factor of zero */
#endif
}

/* The natural logarithm of a positive normal number, relative error below 2e-7 beyond rounding; a NaN stays. x = 2^n m
 * with m in [sqrt(1/2), sqrt(2)), and log m = 2 artanh((m - 1)/(m + 1)) as a series. */
INLINE vec log_vec(vec x)
{
    const ivec n = ((ivec)x - 0x3f3504f3) >> 23;
    const vec m = (vec)((uvec)x - ((uvec)n << 23)), s = (m - 1.0f) / (m + 1.0f), z = s * s;
    const vec series = (((z * (1.0f / 9.0f) + 1.0f / 7.0f) * z + 0.2f) * z + 1.0f / 3.0f) * z;
    return __builtin_convertvector(n, vec) * 0.693147182f + (2.0f * s * series + 2.0f * s) + (x - x);
}

/* ---- Rows of memory that are wanted in L2 later, in pieces that are fetched while something else is multiplied ---- */
enum { STREAMS = 8, CACHE_LINE = 64, FETCHED = 4 * CACHE_LINE };

typedef struct row_stream {
    const char *at;
    int64_t row_bytes;
} row_stream;

/* Pieces of the rows of all streams, row by row. */
typedef struct fetch {
    int64_t streams, rows, pieces; /* pieces of a row */
    int64_t row, stream, piece;    /* the next one */
    float due, per_work;           /* pieces that are due, pieces for each multiplication of a vector */
    row_stream of[STREAMS];
} fetch;

/* What is due beside so much work. */
static __attribute__((noinline)) void fetch_some(fetch *f, int64_t work)
{
    for (f->due += f->per_work * (float)work; f->due >= 1.0f && f->row < f->rows; f->due -= 1.0f) {
        const row_stream *from = &f->of[f->stream];
        const char *at = from->at + f->row * from->row_bytes + f->piece * FETCHED;
        for (int i = 0; i < FETCHED; i += CACHE_LINE) __builtin_prefetch(at + i, 0, 2);
        if (++f->piece < f->pieces) continue;
        f->piece = 0;
        if (++f->stream < f->streams) continue;
        f->stream = 0;
        f->row++;
    }
}

/* ---- Products: C[rows][vectors·VECTOR] (+)= A[rows][k] · B[k][vectors·VECTOR] ---- */

/* Row r takes the k below limit + r, or those from r - limit on, or all. */
typedef enum k_range { K_ALL, K_TO_ROW, K_FROM_ROW } k_range;

/* A[row][i] is a[row·row_step + i·k_step]; rows of b and c are b_step and c_step apart. */
typedef struct panel {
    int64_t k;
    const float *a;
    int64_t row_step, k_step;
    const float *b;
    int64_t b_step;
    float *c;
    int64_t c_step;
    bool add;
    k_range range;
    int64_t limit;
} panel;

/* Rows of the tile whose rows have so many vectors: its sums, a row of B and one element of A fill the registers. */
INLINE int64_t tile_height(int64_t vectors)
{
    static const int8_t narrow[] = {0, 12, 6, 4}, wide[] = {0, 14, 14, 9, 6};
    return KERNEL_VECTOR_BYTES == 64 ? wide[vectors] : narrow[vectors];
}

/* Vectors of the next tile's rows where `vectors` are left. */
INLINE int64_t tile_width(int64_t vectors)
{
#if KERNEL_VECTOR_BYTES == 64 /* of about one width, not a single one that fills 14 registers at the end */
    const int64_t tiles = (vectors + WIDEST_TILE - 1) / WIDEST_TILE;
    return (vectors + tiles - 1) / tiles;
#else
    return vectors == 3 ? 3 : tdm_min_i64(vectors, 2);
#endif
}

/* One tile of so many rows and vectors; k of A and B from left and b on. */
INLINE void tile_product(const int rows, const int vectors, const panel *p, int64_t k, const float *left,
                         const float *b, float *c)
{
    vec sum[HIGHEST_TILE][WIDEST_TILE];
    const int64_t b_step = p->b_step, c_step = p->c_step, row_step = p->row_step, k_step = p->k_step;
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            sum[r][j] = p->add ? load_vec(c + r * c_step + j * VECTOR) : (vec){0};
    }
    /* Every third row has a pointer: the two behind it are addressed with row_step as an index. */
    const float *a[5];
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) a[i] = left + 3 * i * row_step;
#pragma GCC unroll 1
    for (; k > 0; k--) {
        vec right[WIDEST_TILE];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) right[j] = load_vec(b + j * VECTOR);
        b += b_step;
#pragma GCC unroll 14
        for (int r = 0; r < rows; r++) {
            const float value = a[r / 3][r % 3 * row_step];
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) sum[r][j] += value * right[j];
        }
#pragma GCC unroll 5
        for (int j = 0; j < 5; j++) a[j] += k_step;
    }
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) store_vec(c + r * c_step + j * VECTOR, sum[r][j]);
    }
}

/* Rows [begin, end) of the panel by tiles of `rows`. */
INLINE void panel_product(const int rows, const int vectors, int64_t begin, int64_t end, const panel *p,
                          fetch *f)
{
    for (int64_t row = begin; row < end; row += rows) {
        int64_t first = 0, last = p->k;
        if (p->range == K_TO_ROW) last = tdm_min_i64(last, p->limit + row + rows - 1);
        if (p->range == K_FROM_ROW) first = tdm_max_i64(0, row - p->limit);
        if (first >= last && p->add) continue;
        if (f->row < f->rows) fetch_some(f, rows * vectors * (last - first));
        tile_product(rows, vectors, p, last - first, p->a + row * p->row_step + first * p->k_step,
                     p->b + first * p->b_step, p->c + row * p->c_step);
    }
}

#define TILE_ROWS(rows)                                                                                      \
    case rows:                                                                                               \
        if (rows <= most) panel_product(rows, vectors, begin, end, p, f);                                    \
        break;
INLINE void panel_of_width(int64_t rows, const int vectors, int64_t begin, int64_t end, const panel *p,
                           fetch *f)
{
    const int64_t most = tile_height(vectors);
    switch (rows) {
        TILE_ROWS(1)
        TILE_ROWS(2)
        TILE_ROWS(3)
        TILE_ROWS(4)
        TILE_ROWS(5)
        TILE_ROWS(6)
        TILE_ROWS(7)
        TILE_ROWS(8)
        TILE_ROWS(9)
        TILE_ROWS(10)
        TILE_ROWS(11)
        TILE_ROWS(12)
        TILE_ROWS(13)
        TILE_ROWS(14)
    }
}
#undef TILE_ROWS

/* Rows [begin, end) of a panel that is `vectors` wide, by tiles of `rows`. */
static __attribute__((noinline)) void run_panel(int64_t rows, int64_t vectors, int64_t begin, int64_t end,
                                                const panel *p, fetch *f)
{
    switch (vectors) {
    case 1: panel_of_width(rows, 1, begin, end, p, f); break;
    case 2: panel_of_width(rows, 2, begin, end, p, f); break;
    case 3: panel_of_width(rows, 3, begin, end, p, f); break;
#if KERNEL_VECTOR_BYTES == 64
    case 4: panel_of_width(rows, 4, begin, end, p, f); break;
#endif
    default: break;
    }
}

/* Rows [begin, end) of a panel in tiles of about one height, so that none has too few sums to hide what an addition
 * takes. */
static void multiply_rows(const panel *p, int64_t begin, int64_t end, int64_t vectors, fetch *f)
{
    const int64_t rows = end - begin, height = tile_height(vectors), tiles = (rows + height - 1) / height;
    if (rows <= 0) return;
    const int64_t low = rows / tiles, split = begin + rows % tiles * (low + 1);
    if (split > begin) run_panel(low + 1, vectors, begin, split, p, f);
    run_panel(low, vectors, split, end, p, f);
}

/* ---- Transposition ---- */

/* r[i]: 4 of the columns of row i of each quarter or half of VECTOR rows -> these columns */
#if KERNEL_VECTOR_BYTES == 64
typedef __m512 quarters;

INLINE void transpose_quarters(__m512 r[4])
{
    const __m512d a = (__m512d)_mm512_unpacklo_ps(r[0], r[1]), b = (__m512d)_mm512_unpackhi_ps(r[0], r[1]);
    const __m512d c = (__m512d)_mm512_unpacklo_ps(r[2], r[3]), d = (__m512d)_mm512_unpackhi_ps(r[2], r[3]);
    r[0] = (__m512)_mm512_unpacklo_pd(a, c), r[1] = (__m512)_mm512_unpackhi_pd(a, c);
    r[2] = (__m512)_mm512_unpacklo_pd(b, d), r[3] = (__m512)_mm512_unpackhi_pd(b, d);
}

/* Four floats each of rows i, i + 4, i + 8, i + 12: loads do what else shuffles would, and there is one unit for them. */
INLINE __m512 load_quarters(const float *const row[16], int i, int64_t column)
{
    __m512 r = _mm512_castps128_ps512(_mm_loadu_ps(row[i] + column));
    r = _mm512_mask_broadcast_f32x4(r, 0x00f0, _mm_loadu_ps(row[i + 4] + column));
    r = _mm512_mask_broadcast_f32x4(r, 0x0f00, _mm_loadu_ps(row[i + 8] + column));
    return _mm512_mask_broadcast_f32x4(r, 0xf000, _mm_loadu_ps(row[i + 12] + column));
}
#elif KERNEL_VECTOR_BYTES == 32
typedef __m256 quarters;

INLINE void transpose_quarters(__m256 r[4])
{
    const __m256d a = (__m256d)_mm256_unpacklo_ps(r[0], r[1]), b = (__m256d)_mm256_unpackhi_ps(r[0], r[1]);
    const __m256d c = (__m256d)_mm256_unpacklo_ps(r[2], r[3]), d = (__m256d)_mm256_unpackhi_ps(r[2], r[3]);
    r[0] = (__m256)_mm256_unpacklo_pd(a, c), r[1] = (__m256)_mm256_unpackhi_pd(a, c);
    r[2] = (__m256)_mm256_unpacklo_pd(b, d), r[3] = (__m256)_mm256_unpackhi_pd(b, d);
}

INLINE __m256 load_quarters(const float *const row[8], int i, int64_t column)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[i] + column)),
                                _mm_loadu_ps(row[i + 4] + column), 1);
}
#endif

/* to[width][to_step] = transpose of `rows` rows, 1 to VECTOR, that are from_step apart; the columns beyond `rows` repeat
 * the first one. */
INLINE void transpose_rows(int64_t rows, int64_t width, int64_t from_step, const float *from, int64_t to_step,
                           float *to)
{
    int64_t column = 0;
#if KERNEL_VECTOR_BYTES >= 32
    enum { FEW = VECTOR / 6 }; /* rows whose elements are as quickly copied one by one */
    const float *row[VECTOR];
    for (int64_t i = 0; i < VECTOR; i++) row[i] = from + (i < rows ? i : 0) * from_step;
    for (; rows > FEW && column + 4 <= width; column += 4) {
        quarters part[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) part[i] = load_quarters(row, i, column);
        transpose_quarters(part);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) store_vec(to + (column + i) * to_step, (vec)part[i]);
    }
#endif
    for (; column < width; column++) {
        store_vec(to + column * to_step, all_lanes(from[column]));
        for (int64_t i = 1; i < rows; i++) to[column * to_step + i] = from[i * from_step + column];
    }
}

/* Sums of the elements of VECTOR vectors. */
INLINE vec sums_of(float x[VECTOR][VECTOR])
{
    float columns[VECTOR][VECTOR];
    transpose_rows(VECTOR, VECTOR, VECTOR, x[0], VECTOR, columns[0]);
    vec sum = (vec){0};
    for (int i = 0; i < VECTOR; i++) sum += load_vec(columns[i]);
    return sum;
}
