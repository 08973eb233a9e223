/* Our own matrix products against plain loops in f64 over the same operands: odd sizes, every tail, one to
 * three threads, and bit-identical results whatever the threads. What this CPU cannot run is skipped, with a
 * message. */
#include "ops_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gemm.h"

/* What a test runs on; its first state. */
typedef struct implementation {
    const gemm_backend *gemm;
    tdm_dtype dtype;
    tdm_isa isa;       /* at least, of f32 */
    int64_t panel;     /* columns of a packed f32 weight's panels */
    const char *needs; /* of the CPU */
    bool tiles;
    const gemm_backend *twin; /* of the same bits, or NULL */
} implementation;

/* Skips where the CPU or the build lacks it. */
static const implementation *require(void **state)
{
    const implementation *impl = *state;
    tdm_cpu cpu;
    CHECK_OK(tdm_cpu_detect(&cpu));
    tdm_cpu_request_tiles(&cpu);
    const bool there =
        impl->dtype == TDM_F32 ? cpu.isa >= impl->isa : cpu.avx512_bf16 && (cpu.amx_bf16 || !impl->tiles);
    if (!impl->gemm || !there) SKIP("no %s", impl->needs);
    return impl;
}

static void *aligned(size_t bytes)
{
    void *p = aligned_alloc(64, (size_t)tdm_round_up((int64_t)bytes + 1, 64));
    CHECK_NOT_NULL(p);
    return p;
}

/* Of `threads` threads, each just as large as asked for, so that AddressSanitizer sees what is beyond. */
static tdm_scratch *make_scratch(int threads, size_t bytes)
{
    tdm_scratch *scratch = aligned((size_t)threads * sizeof(*scratch));
    for (int i = 0; i < threads; i++)
        scratch[i] = (tdm_scratch){.base = aligned(bytes), .capacity_bytes = bytes};
    return scratch;
}

static void free_scratch(int threads, tdm_scratch *scratch)
{
    for (int i = 0; i < threads; i++) free(scratch[i].base);
    free(scratch);
}

/* What a weight is multiplied as. */
static float rounded_to(tdm_dtype dtype, float x)
{
    return dtype == TDM_F32 ? x : bf16_value_ref(bf16_round_ref(x));
}

/* |sum of k products in f32 - exact| <= k · 2^-24 · sum |products| (Higham, 2002, section 3.1); `mass` is
 * that sum of magnitudes. The processor adds pairs in its own order, hence the factor 2. */
static double sum_error(int64_t k, double mass)
{
    return 2.0 * (double)(k + 1) * mass * 0x1p-24;
}

static void check(const char *what, int64_t index, double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound))
        fail_msg("%s[%lld] is %.9g, expected %.9g ± %.2g", what, (long long)index, got, want, bound);
}

/* ---- Products ---- */

typedef struct size {
    int64_t t, k, n;
} size;

/* Whole panels, single elements, each tail alone, all tails, more blocks of rows than one, long k, and
 * results that are large enough (over 1 MiB) to be streamed. */
static const size sizes[] = {
    {64, 64, 64},   {1, 1, 1},        {32, 32, 31},     {33, 32, 32},   {32, 33, 32},
    {31, 31, 31},   {95, 65, 97},     {17, 300, 40},    {7, 1000, 10},  {1, 512, 64},
    {600, 64, 96},  {2500, 40, 7},    {100, 576, 33},   {64, 2080, 32}, {20, 2624, 40},
    {550, 32, 992}, {1090, 32, 1024}, {1090, 48, 1000}, {70, 4800, 33},
};
enum { SIZES = sizeof(sizes) / sizeof(*sizes) };

/* `weight` is [n][k] if along_cols, else [k][n]. */
static void check_product(const implementation *impl, size s, bool along_cols, bool with_bias, int threads)
{
    const gemm_backend *gemm = impl->gemm;
    void *x = random_act(impl->dtype, s.t * s.k, 1, 1.0);
    void *y = aligned((size_t)(s.t * s.n) * tdm_dtype_bytes(impl->dtype));
    float *weight = random_f32(s.k * s.n, 2, 1.0), *bias = random_f32(s.n, 3, 1.0);
    void *packed = aligned(gemm->weight_bytes(s.k, s.n));
    tdm_scratch *scratch = make_scratch(threads, gemm->multiply_scratch_bytes(s.k));
    if (along_cols)
        gemm_pack_weight(gemm, threads, s.n, s.k, weight, packed, NULL);
    else
        gemm_pack_weight(gemm, threads, s.k, s.n, weight, NULL, packed);
    gemm->multiply(threads, s.t, s.k, s.n, x, packed, with_bias ? bias : NULL, y, scratch);

    double *rounded = aligned((size_t)(s.k * s.n) * sizeof(double)); /* [n][k] */
    for (int64_t j = 0; j < s.n; j++)
        for (int64_t i = 0; i < s.k; i++)
            rounded[j * s.k + i] = rounded_to(impl->dtype, weight[along_cols ? j * s.k + i : i * s.n + j]);
    double *row = aligned((size_t)s.k * sizeof(double));
    int64_t row_step = s.t * s.n * s.k > 4000000 ? 7 : 1; /* large ones: every seventh row, and the last */
    for (int64_t r = 0; r < s.t; r = r + row_step < s.t || r == s.t - 1 ? r + row_step : s.t - 1) {
        for (int64_t i = 0; i < s.k; i++) row[i] = act_get_ref(impl->dtype, x, r * s.k + i);
        for (int64_t j = 0; j < s.n; j++) {
            double want = with_bias ? bias[j] : 0.0, mass = fabs(want);
            for (int64_t i = 0; i < s.k; i++) {
                double product = row[i] * rounded[j * s.k + i];
                want += product;
                mass += fabs(product);
            }
            double bound = sum_error(s.k, mass);
            if (impl->dtype == TDM_BF16) bound += (fabs(want) + bound) * 0x1p-8; /* half a unit of 8 bits */
            check("y", r * s.n + j, act_get_ref(impl->dtype, y, r * s.n + j), want, bound);
        }
    }
    free(x), free(y), free(weight), free(bias), free(packed), free(rounded), free(row);
    free_scratch(threads, scratch);
}

static void test_products(void **state)
{
    const implementation *impl = require(state);
    for (int i = 0; i < SIZES; i++)
        for (int variant = 0; variant < 4; variant++)
            check_product(impl, sizes[i], variant & 1, variant & 2, 1 + (i + variant) % 3);
}

/* Where element (k, n) of a packed weight of `steps` steps of 32 k stands. */
static int64_t place_of(const implementation *impl, int64_t steps, int64_t k, int64_t n)
{
    if (impl->dtype == TDM_F32) return (n / impl->panel * steps * 32 + k) * impl->panel + n % impl->panel;
    return ((n / 32 * steps + k / 32) * 2 + n / 16 % 2) * 512 + k % 32 / 2 * 32 + n % 16 * 2 + k % 2;
}

/* Both layouts made in one pass, padded with zeros; rounding is to nearest even. */
static void test_packing(void **state)
{
    const implementation *impl = require(state);
    enum { ROWS = 70, COLS = 45 };
    float *w = random_f32(ROWS * COLS, 1, 1.0);
    void *cols = aligned(impl->gemm->weight_bytes(COLS, ROWS)),
         *rows = aligned(impl->gemm->weight_bytes(ROWS, COLS));
    gemm_pack_weight(impl->gemm, 2, ROWS, COLS, w, cols, rows);
    for (int64_t r = 0; r < 96; r++)
        for (int64_t c = 0; c < 64; c++) {
            const float want = r < ROWS && c < COLS ? rounded_to(impl->dtype, w[r * COLS + c]) : 0.0f;
            const int64_t along_cols = place_of(impl, 2, c, r), along_rows = place_of(impl, 3, r, c);
            CHECK_NEAR(act_get_ref(impl->dtype, cols, along_cols), want, 0.0f);
            CHECK_NEAR(act_get_ref(impl->dtype, rows, along_rows), want, 0.0f);
        }
    free(w), free(cols), free(rows);
}

/* ---- Weight gradient ---- */

static void check_gradient(const implementation *impl, size s, bool add, bool sums_of_a, int threads)
{
    int64_t rows = s.k, cols = s.n;
    void *a = random_act(impl->dtype, s.t * rows, 1, 1.0), *b = random_act(impl->dtype, s.t * cols, 2, 1.0);
    float *before = random_f32(rows * cols, 3, 1.0), *c = aligned((size_t)(rows * cols) * sizeof(float));
    memcpy(c, before, (size_t)(rows * cols) * sizeof(float));
    int64_t width = sums_of_a ? rows : cols;
    float *sums = random_f32(width, 4, 1.0), *sums_before = copy_f32(sums, width);
    tdm_scratch *scratch = make_scratch(threads, impl->gemm->backward_weight_scratch_bytes());
    impl->gemm->backward_weight(threads, s.t, rows, cols, a, b, add, c, sums_of_a ? sums : NULL,
                                sums_of_a ? NULL : sums, scratch);
    double *want = aligned((size_t)(rows * cols) * sizeof(double));
    double *mass = aligned((size_t)(rows * cols) * sizeof(double));
    for (int64_t i = 0; i < rows * cols; i++) mass[i] = fabs(want[i] = add ? before[i] : 0.0);
    for (int64_t r = 0; r < s.t; r++)
        for (int64_t i = 0; i < rows; i++) {
            double left = act_get_ref(impl->dtype, a, r * rows + i);
            for (int64_t j = 0; j < cols; j++) {
                double product = left * act_get_ref(impl->dtype, b, r * cols + j);
                want[i * cols + j] += product;
                mass[i * cols + j] += fabs(product);
            }
        }
    for (int64_t i = 0; i < rows * cols; i++) check("dW", i, c[i], want[i], sum_error(s.t, mass[i]));
    for (int64_t j = 0; j < width; j++) {
        double sum = sums_before[j], magnitude = fabs(sum);
        for (int64_t r = 0; r < s.t; r++) {
            double v = act_get_ref(impl->dtype, sums_of_a ? a : b, r * width + j);
            sum += v;
            magnitude += fabs(v);
        }
        check("column sum", j, sums[j], sum, sum_error(s.t, magnitude));
    }
    free(a), free(b), free(c), free(before), free(sums), free(sums_before), free(want), free(mass);
    free_scratch(threads, scratch);
}

static void test_gradients(void **state)
{
    const implementation *impl = require(state);
    /* more than one chunk of tokens, more panels than one block has in either direction or in all */
    static const size more[] = {{300, 40, 70},
                                {257, 64, 32},
                                {520, 33, 129},
                                {40, 800, 32},
                                {33, 32, 801},
                                {40, 20, 4200},
                                {70, 608, 480},
                                /* several blocks of several chunks of tokens each: on tiles, on vectors */
                                {450, 417, 481},
                                {2600, 340, 8}};
    for (int i = 0; i < 14; i++)
        for (int threads = 1; threads <= 3; threads++)
            check_gradient(impl, sizes[i], threads > 1, threads & 1, threads);
    for (size_t i = 0; i < sizeof(more) / sizeof(*more); i++)
        for (int variant = 0; variant < 2; variant++)
            check_gradient(impl, more[i], variant != (int)i % 2, variant, 1 + (int)i % 3);
}

/* Neither the threads nor the other rows of a call change a bit; a result is written past the caches or not.
 */
static void test_same_bits(void **state)
{
    const implementation *impl = require(state);
    const gemm_backend *gemm = impl->gemm;
    enum { T = 1100, K = 96, N = 512, CUT = 96 };
    const size_t bytes = tdm_dtype_bytes(impl->dtype);
    unsigned char *x = random_act(impl->dtype, T * K, 1, 1.0), *dy = random_act(impl->dtype, T * N, 2, 1.0);
    float *w = random_f32(K * N, 3, 1.0);
    unsigned char *packed = aligned(gemm->weight_bytes(K, N)), *y = aligned(T * N * bytes),
                  *z = aligned(T * N * bytes);
    float *dw = aligned(K * N * 4), *dv = aligned(K * N * 4), sums[N], other[N];
    gemm_pack_weight(gemm, 1, N, K, w, packed, NULL);
    memset(dw, 0, K * N * 4);
    memset(sums, 0, sizeof(sums));
    tdm_scratch *scratch =
        make_scratch(4, gemm->multiply_scratch_bytes(K) + gemm->backward_weight_scratch_bytes());
    gemm->multiply(1, T, K, N, x, packed, NULL, y, scratch);
    gemm->backward_weight(1, T, N, K, dy, x, true, dw, sums, NULL, scratch);
    for (int threads = 2; threads <= 4; threads++) {
        gemm->multiply(threads, T, K, N, x, packed, NULL, z, scratch);
        CHECK_MEM_EQ(y, z, T * N * bytes);
        memset(dv, 0, K * N * 4);
        memset(other, 0, sizeof(other));
        gemm->backward_weight(threads, T, N, K, dy, x, true, dv, other, NULL, scratch);
        CHECK_MEM_EQ(dw, dv, K * N * 4);
        CHECK_MEM_EQ(sums, other, sizeof(sums));
    }
    memset(z, 0, T * N * bytes);
    for (size_t r = 0; r < T; r += CUT)
        gemm->multiply(1, tdm_min_i64(CUT, T - (int64_t)r), K, N, x + r * K * bytes, packed, NULL,
                       z + r * N * bytes, scratch);
    CHECK_MEM_EQ(y, z, T * N * bytes);
    free(x), free(dy), free(w), free(packed), free(y), free(z), free(dw), free(dv);
    free_scratch(4, scratch);
}

/* Rows and columns beyond the operands are not read into the result, whatever stands there. */
static void test_not_a_number_stays_in_its_row(void **state)
{
    const implementation *impl = require(state);
    enum { T = 40, K = 40, N = 40, BAD = 17 };
    void *x = random_act(impl->dtype, T * K, 1, 1.0), *y = aligned(T * N * tdm_dtype_bytes(impl->dtype));
    float *w = random_f32(K * N, 2, 1.0);
    void *packed = aligned(impl->gemm->weight_bytes(K, N));
    tdm_scratch *scratch = make_scratch(1, impl->gemm->multiply_scratch_bytes(K));
    act_set_ref(impl->dtype, x, BAD * K + 3, NAN);
    gemm_pack_weight(impl->gemm, 1, N, K, w, packed, NULL);
    impl->gemm->multiply(1, T, K, N, x, packed, NULL, y, scratch);
    for (int64_t i = 0; i < T * N; i++) CHECK_EQ(isnan(act_get_ref(impl->dtype, y, i)) != 0, i / N == BAD);
    free(x), free(w), free(packed), free(y);
    free_scratch(1, scratch);
}

#if !defined(TANDEM_EMULATE_BF16)
/* Sums are in the order of k on both: a run may go on with the other instructions, bit for bit as far as products
 * go. */
static void test_avx2_has_the_bits_of_avx512(void **state)
{
    const implementation *impl = require(state);
    enum { T = 90, K = 1400, N = 75 };
    const gemm_backend *both[2] = {impl->gemm, impl->twin};
    float *x = random_f32(T * K, 1, 1.0), *w = random_f32(K * N, 2, 1.0), *dy = random_f32(T * N, 3, 1.0),
          *y[2], *dw[2], sums[2][N] = {{0}};
    for (int i = 0; i < 2; i++) {
        void *packed = aligned(both[i]->weight_bytes(K, N));
        y[i] = aligned(T * N * 4), dw[i] = aligned(K * N * 4);
        gemm_pack_weight(both[i], 1, N, K, w, packed, NULL);
        tdm_scratch *scratch =
            make_scratch(1, both[i]->multiply_scratch_bytes(K) + both[i]->backward_weight_scratch_bytes());
        both[i]->multiply(1, T, K, N, x, packed, NULL, y[i], scratch);
        both[i]->backward_weight(1, T, N, K, dy, x, false, dw[i], sums[i], NULL, scratch);
        free(packed);
        free_scratch(1, scratch);
    }
    CHECK_MEM_EQ(y[0], y[1], T * N * 4);
    CHECK_MEM_EQ(dw[0], dw[1], K * N * 4);
    CHECK_MEM_EQ(sums[0], sums[1], sizeof(sums[0]));
    free(x), free(w), free(dy), free(y[0]), free(y[1]), free(dw[0]), free(dw[1]);
}
#endif

int main(void)
{
    implementation amx = {.dtype = TDM_BF16, .needs = "AMX-BF16", .tiles = true},
                   avx512_bf16 = {.dtype = TDM_BF16, .needs = "AVX512_BF16"},
                   avx512 = {.dtype = TDM_F32, .isa = TDM_ISA_AVX512, .panel = 32, .needs = "AVX-512"},
                   avx2 = {.dtype = TDM_F32, .isa = TDM_ISA_AVX2, .panel = 16, .needs = "AVX2"};
#if defined(TANDEM_HAVE_AMX)
    amx.gemm = &gemm_amx;
    avx512_bf16.gemm = &gemm_avx512_bf16;
#endif
#if defined(__x86_64__)
    avx512.gemm = &gemm_avx512, avx512.twin = &gemm_avx2;
    avx2.gemm = &gemm_avx2;
#endif
#define ON(test, implementation)                                                                             \
    {                                                                                                        \
        "" #test " on " #implementation, test, NULL, NULL, &(implementation)                                 \
    }
#define ALL(implementation)                                                                                  \
    ON(test_packing, implementation), ON(test_products, implementation), ON(test_gradients, implementation), \
        ON(test_same_bits, implementation), ON(test_not_a_number_stays_in_its_row, implementation)
    const struct CMUnitTest tests[] = {
        ALL(avx512_bf16),
        ALL(amx),
#if !defined(TANDEM_EMULATE_BF16) /* which changes no other */
        ALL(avx512),
        ALL(avx2),
        ON(test_avx2_has_the_bits_of_avx512, avx512),
#endif
    };
    (void)amx, (void)avx512, (void)avx2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
