/* The AMX products against plain loops in f64 over the same bf16 operands: odd sizes, every tail, one to
 * three threads, and bit-identical results whatever the threads. Skipped, with a message, on CPUs without
 * AMX-BF16. */
#include "ops_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(TANDEM_HAVE_AMX)
#include "amx_gemm.h"

static void require_amx(void)
{
    tdm_cpu cpu;
    assert_int_equal(tdm_cpu_detect(&cpu), TDM_OK);
    if (cpu.amx_bf16 && cpu.avx512_bf16) return;
    print_message("no AMX-BF16 on this CPU: skipped\n");
    skip();
}

static void *aligned(size_t bytes)
{
    void *p = aligned_alloc(64, (size_t)tdm_round_up((int64_t)bytes + 1, 64));
    assert_non_null(p);
    return p;
}

static float value(uint16_t x)
{
    return tdm_bf16_value_ref(x);
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
    {64, 64, 64},   {1, 1, 1},      {32, 32, 31},   {33, 32, 32},     {32, 33, 32},     {31, 31, 31},
    {95, 65, 97},   {17, 300, 40},  {7, 1000, 10},  {1, 512, 64},     {600, 64, 96},    {2500, 40, 7},
    {100, 576, 33}, {64, 2080, 32}, {550, 32, 992}, {1090, 32, 1024}, {1090, 48, 1000},
};
enum { SIZES = sizeof(sizes) / sizeof(*sizes) };

/* `weight` is [n][k] if along_cols, else [k][n]. */
static void check_product(size s, bool along_cols, bool with_bias, int threads)
{
    uint16_t *x = random_act(TDM_BF16, s.t * s.k, 1, 1.0), *y = aligned((size_t)(s.t * s.n) * 2);
    float *weight = random_f32(s.k * s.n, 2, 1.0), *bias = random_f32(s.n, 3, 1.0);
    uint16_t *packed = aligned(amx_weight_elements(s.k, s.n) * 2);
    void *workspace = aligned(amx_multiply_workspace_bytes(threads, s.k));
    if (along_cols)
        amx_pack_weight(threads, s.n, s.k, weight, packed, NULL);
    else
        amx_pack_weight(threads, s.k, s.n, weight, NULL, packed);
    amx_multiply(threads, s.t, s.k, s.n, x, packed, with_bias ? bias : NULL, y, workspace);

    double *rounded = aligned((size_t)(s.k * s.n) * sizeof(double)); /* [n][k] */
    for (int64_t j = 0; j < s.n; j++)
        for (int64_t i = 0; i < s.k; i++)
            rounded[j * s.k + i] = value(tdm_bf16_round_ref(weight[along_cols ? j * s.k + i : i * s.n + j]));
    double *row = aligned((size_t)s.k * sizeof(double));
    int64_t row_step = s.t * s.n * s.k > 4000000 ? 7 : 1; /* large ones: every seventh row, and the last */
    for (int64_t r = 0; r < s.t; r = r + row_step < s.t || r == s.t - 1 ? r + row_step : s.t - 1) {
        for (int64_t i = 0; i < s.k; i++) row[i] = value(x[r * s.k + i]);
        for (int64_t j = 0; j < s.n; j++) {
            double want = with_bias ? bias[j] : 0.0, mass = fabs(want);
            for (int64_t i = 0; i < s.k; i++) {
                double product = row[i] * rounded[j * s.k + i];
                want += product;
                mass += fabs(product);
            }
            double bound = sum_error(s.k, mass);
            bound += (fabs(want) + bound) * 0x1p-8; /* rounding to bf16, half a unit of 8 bits */
            check("y", r * s.n + j, value(y[r * s.n + j]), want, bound);
        }
    }
    free(x), free(y), free(weight), free(bias), free(packed), free(workspace), free(rounded), free(row);
}

static void test_products(void **state)
{
    (void)state;
    require_amx();
    for (int i = 0; i < SIZES; i++)
        for (int variant = 0; variant < 4; variant++)
            check_product(sizes[i], variant & 1, variant & 2, 1 + (i + variant) % 3);
}

/* Both layouts made in one pass are those made one at a time, and rounding is to nearest even. */
static void test_packing(void **state)
{
    (void)state;
    require_amx();
    enum { ROWS = 70, COLS = 45 };
    float *w = random_f32(ROWS * COLS, 1, 1.0);
    size_t n_cols = amx_weight_elements(COLS, ROWS), n_rows = amx_weight_elements(ROWS, COLS);
    uint16_t *cols = aligned(n_cols * 2), *rows = aligned(n_rows * 2);
    amx_pack_weight(2, ROWS, COLS, w, cols, rows);
    for (int64_t k = 0; k < 64; k++) /* the layout drawn in amx_gemm.h */
        for (int64_t n = 0; n < 96; n++) {
            int64_t at =
                ((n / 32 * 2 + k / 32) * 2 + n / 16 % 2) * 512 + k % 32 / 2 * 32 + n % 16 * 2 + k % 2;
            uint16_t want = k < COLS && n < ROWS ? tdm_bf16_round_ref(w[n * COLS + k]) : 0;
            assert_int_equal(cols[at], want);
        }
    for (int64_t k = 0; k < 96; k++)
        for (int64_t n = 0; n < 64; n++) {
            int64_t at =
                ((n / 32 * 3 + k / 32) * 2 + n / 16 % 2) * 512 + k % 32 / 2 * 32 + n % 16 * 2 + k % 2;
            uint16_t want = k < ROWS && n < COLS ? tdm_bf16_round_ref(w[k * COLS + n]) : 0;
            assert_int_equal(rows[at], want);
        }
    free(w), free(cols), free(rows);
}

/* ---- Weight gradient ---- */

static void check_gradient(size s, bool add, bool sums_of_a, int threads)
{
    int64_t rows = s.k, cols = s.n;
    uint16_t *a = random_act(TDM_BF16, s.t * rows, 1, 1.0), *b = random_act(TDM_BF16, s.t * cols, 2, 1.0);
    float *c = random_f32(rows * cols, 3, 1.0), *before = copy_f32(c, rows * cols);
    int64_t width = sums_of_a ? rows : cols;
    float *sums = random_f32(width, 4, 1.0), *sums_before = copy_f32(sums, width);
    void *workspace = aligned(amx_backward_weight_workspace_bytes(threads));
    amx_backward_weight(threads, s.t, rows, cols, a, b, add, c, sums_of_a ? sums : NULL,
                        sums_of_a ? NULL : sums, workspace);
    double *want = aligned((size_t)(rows * cols) * sizeof(double));
    double *mass = aligned((size_t)(rows * cols) * sizeof(double));
    for (int64_t i = 0; i < rows * cols; i++) mass[i] = fabs(want[i] = add ? before[i] : 0.0);
    for (int64_t r = 0; r < s.t; r++)
        for (int64_t i = 0; i < rows; i++) {
            double left = value(a[r * rows + i]);
            for (int64_t j = 0; j < cols; j++) {
                double product = left * value(b[r * cols + j]);
                want[i * cols + j] += product;
                mass[i * cols + j] += fabs(product);
            }
        }
    for (int64_t i = 0; i < rows * cols; i++) check("dW", i, c[i], want[i], sum_error(s.t, mass[i]));
    for (int64_t j = 0; j < width; j++) {
        double sum = sums_before[j], magnitude = fabs(sum);
        for (int64_t r = 0; r < s.t; r++) {
            double v = value(sums_of_a ? a[r * rows + j] : b[r * cols + j]);
            sum += v;
            magnitude += fabs(v);
        }
        check("column sum", j, sums[j], sum, sum_error(s.t, magnitude));
    }
    free(a), free(b), free(c), free(before), free(sums), free(sums_before), free(workspace), free(want);
    free(mass);
}

static void test_gradients(void **state)
{
    (void)state;
    require_amx();
    /* more than one chunk of tokens, more panels than one block has in either direction or in all */
    static const size more[] = {
        {300, 40, 70}, {257, 64, 32},  {520, 33, 129}, {40, 800, 32},
        {33, 32, 801}, {70, 608, 480}, {450, 417, 481}}; /* several blocks of several chunks of tokens each */
    for (int i = 0; i < 14; i++)
        for (int threads = 1; threads <= 3; threads++)
            check_gradient(sizes[i], threads > 1, threads & 1, threads);
    for (size_t i = 0; i < sizeof(more) / sizeof(*more); i++)
        for (int variant = 0; variant < 2; variant++)
            check_gradient(more[i], variant != (int)i % 2, variant, 1 + (int)i % 3);
}

/* Neither the threads nor the other rows of a call change a bit; a result is written past the caches or not.
 */
static void test_same_bits(void **state)
{
    (void)state;
    require_amx();
    enum { T = 1100, K = 96, N = 512, CUT = 96 };
    uint16_t *x = random_act(TDM_BF16, T * K, 1, 1.0), *dy = random_act(TDM_BF16, T * N, 2, 1.0);
    float *w = random_f32(K * N, 3, 1.0);
    uint16_t *packed = aligned(amx_weight_elements(K, N) * 2), *y = aligned(T * N * 2),
             *z = aligned(T * N * 2);
    float *dw = aligned(K * N * 4), *dv = aligned(K * N * 4), sums[N], other[N];
    amx_pack_weight(1, N, K, w, packed, NULL);
    memset(dw, 0, K * N * 4);
    memset(sums, 0, sizeof(sums));
    void *workspace = aligned(amx_multiply_workspace_bytes(4, K) + amx_backward_weight_workspace_bytes(4));
    amx_multiply(1, T, K, N, x, packed, NULL, y, workspace);
    amx_backward_weight(1, T, N, K, dy, x, true, dw, sums, NULL, workspace);
    for (int threads = 2; threads <= 4; threads++) {
        amx_multiply(threads, T, K, N, x, packed, NULL, z, workspace);
        assert_memory_equal(y, z, T * N * 2);
        memset(dv, 0, K * N * 4);
        memset(other, 0, sizeof(other));
        amx_backward_weight(threads, T, N, K, dy, x, true, dv, other, NULL, workspace);
        assert_memory_equal(dw, dv, K * N * 4);
        assert_memory_equal(sums, other, sizeof(sums));
    }
    memset(z, 0, T * N * 2);
    for (int64_t r = 0; r < T; r += CUT)
        amx_multiply(1, tdm_min_i64(CUT, T - r), K, N, x + r * K, packed, NULL, z + r * N, workspace);
    assert_memory_equal(y, z, T * N * 2);
    free(x), free(dy), free(w), free(packed), free(y), free(z), free(dw), free(dv), free(workspace);
}

/* Rows and columns beyond the operands are not read into the result, whatever stands there. */
static void test_not_a_number_stays_in_its_row(void **state)
{
    (void)state;
    require_amx();
    enum { T = 40, K = 40, N = 40, BAD = 17 };
    uint16_t *x = random_act(TDM_BF16, T * K, 1, 1.0);
    float *w = random_f32(K * N, 2, 1.0);
    uint16_t *packed = aligned(amx_weight_elements(K, N) * 2), *y = aligned(T * N * 2);
    void *workspace = aligned(amx_multiply_workspace_bytes(1, K));
    x[BAD * K + 3] = 0x7fc0;
    amx_pack_weight(1, N, K, w, packed, NULL);
    amx_multiply(1, T, K, N, x, packed, NULL, y, workspace);
    for (int64_t i = 0; i < T * N; i++) assert_int_equal(isnan(value(y[i])) != 0, i / N == BAD);
    free(x), free(w), free(packed), free(y), free(workspace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packing),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_not_a_number_stays_in_its_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    printf("built without AMX: skipped\n");
    return 0;
}
#endif
