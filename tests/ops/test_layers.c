/* LayerNorm, activation and dropout against plain loops. */
#include "ops_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int64_t sizes[] = {1, 7, 63, 64, 65, 127, 192, 768};
enum { SIZES = sizeof(sizes) / sizeof(*sizes) };

/* branch, add and dx_act on or off */
typedef struct layernorm_variant {
    bool branch, add, dx_act, in_place;
} layernorm_variant;

static void check_layernorm(tdm_ops *ops, int64_t t, int64_t width, layernorm_variant v)
{
    tdm_dtype dtype = tdm_ops_dtype(ops);
    int64_t n = t * width;
    float *x = random_f32(n, 1, 2.0), *x_ref = copy_f32(x, n);
    float *x_out = v.in_place ? x : random_f32(n, 2, 1.0), *x_out_ref = random_f32(n, 2, 1.0);
    void *branch = random_act(dtype, n, 3, 1.0), *dy = random_act(dtype, n, 4, 1.0);
    float *gamma = random_f32(width, 5, 1.0), *beta = random_f32(width, 6, 1.0);
    void *y = random_act(dtype, n, 7, 1.0), *y_ref = random_act(dtype, n, 7, 1.0);
    float *mean = random_f32(t, 8, 1.0), *mean_ref = copy_f32(mean, t);
    float *rstd = random_f32(t, 9, 1.0), *rstd_ref = copy_f32(rstd, t);
    tdm_layernorm_forward(ops, t, width, x, v.branch ? branch : NULL, x_out, gamma, beta, y, mean, rstd);
    layernorm_forward_ref(dtype, t, width, x_ref, v.branch ? branch : NULL, x_out_ref, gamma, beta, y_ref,
                          mean_ref, rstd_ref);
    if (v.branch) check_f32("layernorm sum", TOL_EXACT, TDM_F32, n, x_out, x_out_ref);
    check_act("layernorm y", TOL_REDUCTION, dtype, n, y, y_ref);
    check_f32("layernorm mean", TOL_REDUCTION, TDM_F32, t, mean, mean_ref);
    check_f32("layernorm rstd", TOL_REDUCTION, TDM_F32, t, rstd, rstd_ref);
    void *again = random_act(dtype, n, 14, 1.0);
    tdm_layernorm_again(ops, t, width, v.branch ? x_out : x, mean, rstd, gamma, beta, again);
    CHECK_MEM_EQ(again, y, tdm_dtype_bytes(dtype) * (size_t)n);
    free(again);

    const float *input = v.branch ? x_out_ref : x_ref;
    float *dx = random_f32(n, 10, 1.0), *dx_ref = copy_f32(dx, n);
    void *dx_act = random_act(dtype, n, 11, 1.0), *dx_act_ref = random_act(dtype, n, 11, 1.0);
    float *dgamma = random_f32(width, 12, 1.0), *dgamma_ref = copy_f32(dgamma, width);
    float *dbeta = random_f32(width, 13, 1.0), *dbeta_ref = copy_f32(dbeta, width);
    tdm_layernorm_backward(ops, t, width, dy, input, mean_ref, rstd_ref, gamma, v.add, dx,
                           v.dx_act ? dx_act : NULL, dgamma, dbeta);
    layernorm_backward_ref(dtype, t, width, dy, input, mean_ref, rstd_ref, gamma, v.add, dx_ref,
                           v.dx_act ? dx_act_ref : NULL, dgamma_ref, dbeta_ref);
    if (width > 1) { /* of one column the gradient is zero but for rounding */
        check_f32("layernorm dx", TOL_REDUCTION, TDM_F32, n, dx, dx_ref);
        check_act("layernorm dx_act", TOL_REDUCTION, dtype, n, dx_act, dx_act_ref);
    }
    check_f32("layernorm dgamma", TOL_REDUCTION, TDM_F32, width, dgamma, dgamma_ref);
    check_f32("layernorm dbeta", TOL_REDUCTION, TDM_F32, width, dbeta, dbeta_ref);
    if (!v.in_place) free(x_out);
    free(x), free(x_ref), free(x_out_ref), free(branch), free(dy), free(gamma), free(beta), free(y),
        free(y_ref);
    free(mean), free(mean_ref), free(rstd), free(rstd_ref), free(dx), free(dx_ref), free(dx_act),
        free(dx_act_ref);
    free(dgamma), free(dgamma_ref), free(dbeta), free(dbeta_ref);
}

static void layernorm_sizes(tdm_ops *ops)
{
    const layernorm_variant variants[] = {
        {false, false, false, false}, {true, true, true, false}, {true, false, true, true}};
    for (int i = 0; i < SIZES; i++)
        for (size_t v = 0; v < 3; v++) {
            check_layernorm(ops, 13, sizes[i], variants[v]);
            check_layernorm(ops, sizes[i], 48, variants[v]);
        }
}

static void test_layernorm(void **state)
{
    (void)state;
    for_each_context(layernorm_sizes);
}

static void layernorm_f32_and_sum_only(tdm_ops *ops)
{
    enum { T = 65, WIDTH = 96, N = T * WIDTH };
    tdm_dtype dtype = tdm_ops_dtype(ops);
    float *x = random_f32(N, 1, 1.0), *gamma = random_f32(WIDTH, 2, 1.0), *beta = random_f32(WIDTH, 3, 1.0);
    float *y = random_f32(N, 4, 1.0), *y_ref = random_f32(N, 4, 1.0), *dy = random_f32(N, 5, 1.0);
    float mean[T], rstd[T], mean_ref[T], rstd_ref[T];
    tdm_layernorm_forward_f32(ops, T, WIDTH, x, gamma, beta, y, mean, rstd);
    layernorm_forward_ref(TDM_F32, T, WIDTH, x, NULL, NULL, gamma, beta, y_ref, mean_ref, rstd_ref);
    check_f32("layernorm f32 y", TOL_REDUCTION, TDM_F32, N, y, y_ref);
    float *dx = random_f32(N, 6, 1.0), *dx_ref = random_f32(N, 6, 1.0);
    float dgamma[WIDTH] = {0}, dbeta[WIDTH] = {0}, dgamma_ref[WIDTH] = {0}, dbeta_ref[WIDTH] = {0};
    tdm_layernorm_backward_f32(ops, T, WIDTH, dy, x, mean, rstd, gamma, dx, dgamma, dbeta);
    layernorm_backward_ref(TDM_F32, T, WIDTH, dy, x, mean, rstd, gamma, false, dx_ref, NULL, dgamma_ref,
                           dbeta_ref);
    check_f32("layernorm f32 dx", TOL_REDUCTION, TDM_F32, N, dx, dx_ref);
    check_f32("layernorm f32 dgamma", TOL_REDUCTION, TDM_F32, WIDTH, dgamma, dgamma_ref);
    check_f32("layernorm f32 dbeta", TOL_REDUCTION, TDM_F32, WIDTH, dbeta, dbeta_ref);

    void *branch = random_act(dtype, N, 7, 1.0);
    tdm_layernorm_forward(ops, T, WIDTH, x, branch, y, NULL, NULL, NULL, NULL, NULL);
    layernorm_forward_ref(dtype, T, WIDTH, x, branch, y_ref, NULL, NULL, NULL, NULL, NULL);
    check_f32("residual sum", TOL_EXACT, TDM_F32, N, y, y_ref);
    free(x), free(gamma), free(beta), free(y), free(y_ref), free(dy), free(dx), free(dx_ref), free(branch);
}

static void test_layernorm_f32(void **state)
{
    (void)state;
    for_each_context(layernorm_f32_and_sum_only);
}

static void activation_sizes(tdm_ops *ops)
{
    tdm_dtype dtype = tdm_ops_dtype(ops);
    const int64_t counts[] = {1, 7, 63, 64, 65, 127, 6000, 40001};
    for (int kind = TDM_QUICKGELU; kind <= TDM_GELU; kind++)
        for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
            int64_t n = counts[i];
            void *x = random_act(dtype, n, 1, 3.0), *dy = random_act(dtype, n, 2, 1.0);
            void *y = random_act(dtype, n, 3, 1.0), *y_ref = random_act(dtype, n, 4, 1.0);
            void *dx = copy_act(dtype, dy, n), *dx_ref = random_act(dtype, n, 6, 1.0);
            tdm_activation_forward(ops, (tdm_activation)kind, n, x, y);
            activation_forward_ref((tdm_activation)kind, dtype, n, x, y_ref);
            check_act("activation y", TOL_ACTIVATION, dtype, n, y, y_ref);
            memset(y, 0, tdm_dtype_bytes(dtype) * (size_t)n);
            tdm_activation_backward(ops, (tdm_activation)kind, n, x, dx, dx, y); /* in place */
            activation_backward_ref((tdm_activation)kind, dtype, n, x, dy, dx_ref, y_ref);
            check_act("activation dx", TOL_ACTIVATION, dtype, n, dx, dx_ref);
            check_act("activation y again", TOL_ACTIVATION, dtype, n, y, y_ref);
            memset(dx, 0, tdm_dtype_bytes(dtype) * (size_t)n);
            tdm_activation_backward(ops, (tdm_activation)kind, n, x, dy, dx, NULL);
            check_act("activation dx only", TOL_ACTIVATION, dtype, n, dx, dx_ref);
            free(x), free(dy), free(y), free(y_ref), free(dx), free(dx_ref);
        }
}

static void test_activation(void **state)
{
    (void)state;
    for_each_context(activation_sizes);
}

/* Far out the functions are 0 and x, their slopes 0 and 1; infinities and NaN must not turn into something harmless.
 * Often enough that vectors compute it, and not only the loop behind them. */
static void test_activation_extremes(void **state)
{
    (void)state;
    static const float extreme[] = {-3e4f, -200.0f, -88.0f, -20.0f,   0.0f, 20.0f,
                                    88.0f, 200.0f,  3e4f,   INFINITY, NAN,  -NAN};
    enum { EXTREMES = sizeof(extreme) / sizeof(*extreme), N = 5 * EXTREMES };
    tdm_ops *ops = make_ops(TDM_F32, 1);
    float x[N], one[N], y[N], slope[N];
    for (int i = 0; i < N; i++) {
        x[i] = extreme[i % EXTREMES];
        one[i] = 1.0f;
    }
    for (int kind = TDM_QUICKGELU; kind <= TDM_GELU; kind++) {
        tdm_activation_forward(ops, (tdm_activation)kind, N, x, y);
        tdm_activation_backward(ops, (tdm_activation)kind, N, x, one, slope, NULL);
        for (int i = 0; i < N; i++) {
            const double want = x[i] < 0.0f ? 0.0 : x[i];
            if (isnan(x[i]))
                CHECK_TRUE(isnan(y[i]) && isnan(slope[i]));
            else if (isinf(x[i]))
                CHECK_TRUE(y[i] == x[i]);
            else
                CHECK_NEAR(y[i], want, 1e-6 * fabs(want) + 1e-12);
            if (isfinite(x[i]) && x[i] != 0.0f) /* 1.702 x times the rounding of 1 - sigmoid */
                CHECK_NEAR(slope[i], x[i] < 0.0f ? 0.0 : 1.0, 1e-6 + 1.1e-7 * fabs((double)x[i]));
        }
    }
    tdm_ops_destroy(&ops);
}

static void dropout_replays(tdm_ops *ops)
{
    tdm_dtype dtype = tdm_ops_dtype(ops);
    const int64_t lengths[] = {3, 0, 17, 1}, sample[] = {5, 9, 1234567890123, 0};
    int64_t seq[5], t = fill_offsets(4, lengths, seq);
    for (int i = 0; i < SIZES; i++) {
        int64_t width = sizes[i], n = t * width;
        void *x = random_act(dtype, n, 1, 1.0), *x_ref = copy_act(dtype, x, n);
        tdm_dropout(ops, 0.3, 42, 7, 2, 4, seq, sample, NULL, width, x);
        dropout_ref(dtype, 0.3, 42, 7, 2, 4, seq, sample, width, x_ref);
        check_act("dropout", TOL_ELEMENT, dtype, n, x, x_ref);
        float *y = random_f32(4 * width, 2, 1.0), *y_ref = copy_f32(y, 4 * width);
        tdm_dropout_rows(ops, 0.3, 42, 7, 2, 4, sample, width, y, y);
        dropout_rows_ref(0.3, 42, 7, 2, 4, sample, width, y_ref);
        CHECK_MEM_EQ(y, y_ref, sizeof(float) * (size_t)(4 * width));
        free(x), free(x_ref), free(y), free(y_ref);
    }
}

static void test_dropout(void **state)
{
    (void)state;
    for_each_context(dropout_replays);
}

/* The mask of a sample follows it to another place in the batch, differs between sites, steps, samples and
 * places, and keeps a share 1 - p. */
static void test_dropout_keys(void **state)
{
    (void)state;
    enum { ROWS = 40, WIDTH = 500, N = ROWS * WIDTH };
    tdm_ops *ops = make_ops(TDM_F32, 2);
    const int64_t one[2] = {0, ROWS}, two[3] = {0, 3, 3 + ROWS};
    const int64_t sample_one[] = {77}, sample_two[] = {5, 77};
    float *a = malloc(sizeof(float) * N), *b = malloc(sizeof(float) * (N + 3 * WIDTH));
    for (int64_t i = 0; i < N; i++) a[i] = 1.0f;
    for (int64_t i = 0; i < N + 3 * WIDTH; i++) b[i] = 1.0f;
    tdm_dropout(ops, 0.25, 1, 2, 3, 1, one, sample_one, NULL, WIDTH, a);
    tdm_dropout(ops, 0.25, 1, 2, 3, 2, two, sample_two, NULL, WIDTH, b);
    CHECK_MEM_EQ(a, b + 3 * WIDTH, sizeof(float) * N);
    const int64_t row[2] = {0, 1}, place[] = {17}; /* one row alone */
    for (int64_t i = 0; i < WIDTH; i++) b[i] = 1.0f;
    tdm_dropout(ops, 0.25, 1, 2, 3, 1, row, sample_one, place, WIDTH, b);
    CHECK_MEM_EQ(a + 17 * WIDTH, b, sizeof(float) * WIDTH);
    int64_t kept = 0;
    for (int64_t i = 0; i < N; i++) kept += a[i] != 0.0f;
    /* binomial: standard deviation sqrt(20000·0.75·0.25) = 61; 6 of them */
    CHECK_LT(llabs(kept - N * 3 / 4), 370);
    CHECK_MEM_NE(a, a + WIDTH, sizeof(float) * WIDTH);
    const struct {
        uint64_t seed, step;
        uint32_t site;
        int64_t sample;
    } other[] = {{2, 2, 3, 77}, {1, 3, 3, 77}, {1, 2, 4, 77}, {1, 2, 3, 78}};
    for (size_t k = 0; k < 4; k++) {
        for (int64_t i = 0; i < N; i++) b[i] = 1.0f;
        tdm_dropout(ops, 0.25, other[k].seed, other[k].step, other[k].site, 1, one, &other[k].sample, NULL,
                    WIDTH, b);
        int64_t same = 0;
        for (int64_t i = 0; i < N; i++) same += (a[i] != 0.0f) == (b[i] != 0.0f);
        /* independent masks agree with probability 0.75² + 0.25² = 0.625 (standard deviation 68) */
        CHECK_LT(llabs(same - N * 5 / 8), 420);
    }
    free(a), free(b);
    tdm_ops_destroy(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layernorm),  cmocka_unit_test(test_layernorm_f32),
        cmocka_unit_test(test_activation), cmocka_unit_test(test_activation_extremes),
        cmocka_unit_test(test_dropout),    cmocka_unit_test(test_dropout_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
