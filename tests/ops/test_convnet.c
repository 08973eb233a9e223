/* Convolution, batch normalisation and pooling against plain loops. */
#include "ops_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Convolution ---- */
typedef struct conv_case {
    int64_t n, in, out, kernel, height, width;
} conv_case;

static void check_conv(tdm_ops *ops, tdm_conv *conv, const conv_case *c, const float *weight, uint64_t seed)
{
    const tdm_dtype dtype = tdm_ops_dtype(ops);
    const int64_t t = c->n * c->height * c->width, taps = c->out * c->in * c->kernel * c->kernel;
    void *x = random_act(dtype, t * c->in, seed, 1.0), *dy = random_act(dtype, t * c->out, seed + 1, 1.0);
    void *y = random_act(dtype, t * c->out, 3, 1.0), *y_ref = random_act(dtype, t * c->out, 4, 1.0);
    void *dx = random_act(dtype, t * c->in, 5, 1.0), *dx_ref = random_act(dtype, t * c->in, 6, 1.0);
    float *dw = random_f32(taps, 7, 1.0), *dw_ref = copy_f32(dw, taps); /* added to */
    CHECK_OK(tdm_conv_forward(conv, c->n, x, y));
    conv_forward_ref(dtype, c->n, c->in, c->out, c->kernel, c->height, c->width, weight, x, y_ref);
    check_act("conv y", TOL_MATMUL, dtype, t * c->out, y, y_ref);
    CHECK_OK(tdm_conv_backward_data(conv, c->n, dy, dx));
    conv_backward_data_ref(dtype, c->n, c->in, c->out, c->kernel, c->height, c->width, weight, dy, dx_ref);
    check_act("conv dx", TOL_MATMUL, dtype, t * c->in, dx, dx_ref);
    CHECK_OK(tdm_conv_backward_weight(conv, c->n, x, dy, dw));
    conv_backward_weight_ref(dtype, c->n, c->in, c->out, c->kernel, c->height, c->width, x, dy, dw_ref);
    check_f32("conv dweight", TOL_MATMUL, TDM_F32, taps, dw, dw_ref);
    free(x), free(dy), free(y), free(y_ref), free(dx), free(dx_ref), free(dw), free(dw_ref);
}

/* Also batches of other sizes than the first, more than are remembered, and a second load. */
static void conv_cases(tdm_ops *ops)
{
    static const conv_case cases[] = {
        {2, 5, 7, 3, 6, 4},   {2, 16, 32, 3, 6, 6}, {1, 64, 32, 3, 5, 5},
        {2, 32, 16, 1, 5, 5}, {2, 3, 8, 5, 9, 7},   {2, 4, 4, 3, 2, 2},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        conv_case c = cases[i];
        const int64_t taps = c.out * c.in * c.kernel * c.kernel;
        float *weight = random_f32(taps, 11, 0.3), *other = random_f32(taps, 12, 0.3);
        tdm_conv *conv;
        CHECK_OK(tdm_conv_create(ops, c.in, c.out, c.kernel, c.height, c.width, &conv));
        CHECK_OK(tdm_conv_load(conv, weight, true));
        check_conv(ops, conv, &c, weight, 20);
        CHECK_OK(tdm_conv_load(conv, other, true));
        check_conv(ops, conv, &c, other, 30);
        for (c.n = 1; i == 0 && c.n <= 6; c.n++) check_conv(ops, conv, &c, other, 40);
        c.n = cases[i].n;
        check_conv(ops, conv, &c, other, 50);
        tdm_conv_destroy(&conv);
        CHECK_NULL(conv);
        free(weight), free(other);
    }
}

static void test_conv(void **state)
{
    (void)state;
    for_each_context(conv_cases);
}

/* A kernel counts as convolution whichever way it is computed. */
static void test_conv_stats(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 1);
    for (int64_t kernel = 1; kernel <= 3; kernel += 2) {
        memset(tdm_ops_stats(ops), 0, sizeof(tdm_op_stats));
        const int64_t taps = 6 * 4 * kernel * kernel;
        float *weight = random_f32(taps, 1, 1.0), *x = random_f32(2 * 5 * 3 * 4, 2, 1.0);
        float *y = random_f32(2 * 5 * 3 * 6, 3, 1.0);
        tdm_conv *conv;
        CHECK_OK(tdm_conv_create(ops, 4, 6, kernel, 5, 3, &conv));
        CHECK_OK(tdm_conv_load(conv, weight, true));
        CHECK_OK(tdm_conv_forward(conv, 2, x, y));
        CHECK_OK(tdm_conv_backward_weight(conv, 2, x, y, weight));
        CHECK_OK(tdm_conv_backward_data(conv, 2, y, x));
        const double flop = 2.0 * 2 * 5 * 3 * (double)taps;
        const tdm_op_stats *stats = tdm_ops_stats(ops);
        CHECK_EQ(stats->flop[TDM_OP_CONV_FORWARD], flop);
        CHECK_EQ(stats->flop[TDM_OP_CONV_DATA], flop);
        CHECK_EQ(stats->flop[TDM_OP_CONV_WEIGHT], flop);
        CHECK_EQ(stats->flop[TDM_OP_LINEAR_FORWARD], 0.0);
        tdm_conv_destroy(&conv);
        free(weight), free(x), free(y);
    }
    tdm_conv *conv;
    CHECK_FAILS(tdm_conv_create(ops, 4, 6, 2, 5, 3, &conv), TDM_E_SHAPE, "");
    CHECK_NULL(conv);
    CHECK_OK(tdm_conv_create(ops, 4, 6, 3, 5, 3, &conv));
    float x[5 * 3 * 4] = {0}, y[5 * 3 * 6];
    CHECK_FAILS(tdm_conv_forward(conv, 1, x, y), TDM_E_SHAPE, ""); /* no weights yet */
    tdm_conv_destroy(&conv);
    tdm_ops_destroy(&ops);
}

/* ---- Batch normalisation ---- */
typedef struct norm_memory {
    tdm_batchnorm norm;
    float *mean, *variance, *gamma, *beta;
} norm_memory;

static norm_memory make_norm(int64_t width)
{
    norm_memory m = {.mean = random_f32(width, 21, 1.0),
                     .variance = random_f32(width, 22, 1.0),
                     .gamma = random_f32(width, 23, 1.0),
                     .beta = random_f32(width, 24, 1.0)};
    for (int64_t i = 0; i < width; i++) m.variance[i] = 0.5f + fabsf(m.variance[i]);
    m.norm.mean = random_f32(width, 25, 1.0);
    m.norm.rstd = random_f32(width, 26, 1.0);
    m.norm.scale = random_f32(width, 27, 1.0);
    m.norm.shift = random_f32(width, 28, 1.0);
    tdm_batchnorm_prepare(width, m.mean, m.variance, m.gamma, m.beta, &m.norm);
    return m;
}

static void free_norm(norm_memory *m)
{
    free(m->mean), free(m->variance), free(m->gamma), free(m->beta);
    free(m->norm.mean), free(m->norm.rstd), free(m->norm.scale), free(m->norm.shift);
}

static void check_sums(const char *what, int64_t n, const double *got, const double *want)
{
    float *a = random_f32(n, 1, 0.0), *b = random_f32(n, 1, 0.0);
    for (int64_t i = 0; i < n; i++) a[i] = (float)got[i], b[i] = (float)want[i];
    check_f32(what, TOL_REDUCTION, TDM_F32, n, a, b);
    free(a), free(b);
}

static void check_batchnorm(tdm_ops *ops, int64_t t, int64_t width, bool relu, bool residual)
{
    const tdm_dtype dtype = tdm_ops_dtype(ops);
    const int64_t n = t * width;
    norm_memory m = make_norm(width);
    void *x = random_act(dtype, n, 1, 1.5), *add = random_act(dtype, n, 2, 1.0);
    void *y = random_act(dtype, n, 3, 1.0), *y_ref = random_act(dtype, n, 4, 1.0);
    double *sum = malloc(sizeof(double) * 4 * (size_t)width), *sum_ref = sum + 2 * width;
    tdm_batchnorm_sums(ops, t, width, x, sum);
    batchnorm_sums_ref(dtype, t, width, x, sum_ref);
    check_sums("batchnorm sums", 2 * width, sum, sum_ref);
    tdm_batchnorm_forward(ops, t, width, x, &m.norm, residual ? add : NULL, relu, y);
    batchnorm_forward_ref(dtype, t, width, x, &m.norm, residual ? add : NULL, relu, y_ref);
    check_act("batchnorm y", TOL_ELEMENT, dtype, n, y, y_ref);
    memcpy(y, add, (size_t)n * tdm_dtype_bytes(dtype)); /* in place of the residual */
    tdm_batchnorm_forward(ops, t, width, x, &m.norm, residual ? y : NULL, relu, y);
    check_act("batchnorm y in place", TOL_ELEMENT, dtype, n, y, y_ref);

    void *dy = random_act(dtype, n, 5, 1.0), *dx = random_act(dtype, n, 6, 1.0);
    void *dx_ref = random_act(dtype, n, 7, 1.0);
    tdm_batchnorm_backward_sums(ops, t, width, x, dy, &m.norm, relu, sum);
    batchnorm_backward_sums_ref(dtype, t, width, x, dy, &m.norm, relu, sum_ref);
    check_sums("batchnorm backward sums", 2 * width, sum, sum_ref);
    tdm_batchnorm_backward_data(ops, t, width, x, dy, &m.norm, relu, sum_ref, (double)t + 2.0, dx);
    batchnorm_backward_data_ref(dtype, t, width, x, dy, &m.norm, relu, sum_ref, (double)t + 2.0, dx_ref);
    check_act("batchnorm dx", TOL_REDUCTION, dtype, n, dx, dx_ref);
    memset(sum, 0, sizeof(double) * 2 * (size_t)width);
    batchnorm_backward_data_ref(dtype, t, width, x, dy, &m.norm, relu, NULL, 0.0, dx_ref);
    tdm_batchnorm_backward_fixed(ops, t, width, x, dy, &m.norm, relu, sum, dy); /* in place */
    check_act("batchnorm fixed dx", TOL_ELEMENT, dtype, n, dy, dx_ref);
    check_sums("batchnorm fixed sums", 2 * width, sum, sum_ref);
    free(x), free(add), free(y), free(y_ref), free(sum), free(dy), free(dx), free(dx_ref);
    free_norm(&m);
}

static void batchnorm_sizes(tdm_ops *ops)
{
    static const int64_t widths[] = {1, 4, 15, 33, 64}, rows[] = {1, 2, 3, 7, 65};
    for (int k = 0; k < 4; k++) {
        for (size_t w = 0; w < 5; w++)
            for (size_t r = 0; r < 5; r++) check_batchnorm(ops, rows[r], widths[w], k & 1, k & 2);
        check_batchnorm(ops, 1300, 16, k & 1, k & 2); /* some blocks of rows */
    }
}

static void test_batchnorm(void **state)
{
    (void)state;
    for_each_context(batchnorm_sizes);
}

/* A mean a thousand times the deviation: sums of squares in f32 would leave nothing of the variance. */
static void test_batchnorm_large_mean(void **state)
{
    (void)state;
    enum { T = 5000, WIDTH = 3 };
    tdm_ops *ops = make_ops(TDM_F32, 2);
    float *x = random_f32(T * WIDTH, 1, 1.0);
    double sum[2 * WIDTH], want[2 * WIDTH];
    for (int64_t i = 0; i < T * WIDTH; i++) x[i] += 1000.0f * (float)(i % WIDTH - 1);
    tdm_batchnorm_sums(ops, T, WIDTH, x, sum);
    batchnorm_sums_ref(TDM_F32, T, WIDTH, x, want);
    for (int i = 0; i < WIDTH; i++) {
        const double mean = sum[i] / T, mean_ref = want[i] / T;
        const double variance = sum[WIDTH + i] / T - mean * mean;
        const double variance_ref = want[WIDTH + i] / T - mean_ref * mean_ref;
        CHECK_NEAR(mean, mean_ref, 1e-6);
        CHECK_NEAR(variance, variance_ref, 1e-6);
    }
    tdm_batchnorm_sums(ops, 0, WIDTH, x, sum);
    for (int i = 0; i < 2 * WIDTH; i++) CHECK_EQ(sum[i], 0.0);
    free(x);
    tdm_ops_destroy(&ops);
}

static void residual_sizes(tdm_ops *ops)
{
    static const int64_t sizes[] = {1, 15, 64, 1000, 40001};
    const tdm_dtype dtype = tdm_ops_dtype(ops);
    for (size_t i = 0; i < 5; i++)
        for (int both = 0; both < 2; both++) {
            const int64_t n = sizes[i];
            void *y = random_act(dtype, n, 1, 1.0), *da = random_act(dtype, n, 2, 1.0);
            void *db = random_act(dtype, n, 3, 1.0), *dx = random_act(dtype, n, 4, 1.0);
            residual_backward_ref(dtype, n, y, da, both ? db : NULL, dx);
            tdm_residual_backward(ops, n, y, da, both ? db : NULL, da);
            check_act("residual", TOL_ELEMENT, dtype, n, da, dx);
            free(y), free(da), free(db), free(dx);
        }
}

static void test_residual(void **state)
{
    (void)state;
    for_each_context(residual_sizes);
}

/* ---- Pooling ---- */
static void average_pool_cases(tdm_ops *ops)
{
    static const int64_t cases[][4] = {{1, 2, 2, 1}, {2, 4, 6, 5}, {3, 8, 2, 64}, {2, 16, 16, 33}};
    const tdm_dtype dtype = tdm_ops_dtype(ops);
    for (size_t i = 0; i < 4; i++) {
        const int64_t *c = cases[i], n = c[0] * c[1] * c[2] * c[3];
        void *x = random_act(dtype, n, 1, 1.0), *y = random_act(dtype, n / 4, 2, 1.0);
        void *y_ref = random_act(dtype, n / 4, 3, 1.0), *x_ref = copy_act(dtype, x, n);
        tdm_average_pool_forward(ops, c[0], c[1], c[2], c[3], x, y);
        average_pool_forward_ref(dtype, c[0], c[1], c[2], c[3], x, y_ref);
        check_act("average pool", TOL_ELEMENT, dtype, n / 4, y, y_ref);
        for (int add = 1; add >= 0; add--) {
            tdm_average_pool_backward(ops, c[0], c[1], c[2], c[3], y_ref, add, x);
            average_pool_backward_ref(dtype, c[0], c[1], c[2], c[3], y_ref, add, x_ref);
            check_act("average pool dx", TOL_ELEMENT, dtype, n, x, x_ref);
        }
        free(x), free(y), free(y_ref), free(x_ref);
    }
}

static void test_average_pool(void **state)
{
    (void)state;
    for_each_context(average_pool_cases);
}

static void check_pool_tokens(tdm_ops *ops, int64_t n, int64_t pixels, int64_t width)
{
    const tdm_dtype dtype = tdm_ops_dtype(ops);
    const int64_t t = n * (1 + pixels) * width, in = n * pixels * width, place = (1 + pixels) * width;
    void *x = random_act(dtype, in, 1, 1.0), *token = random_act(dtype, t, 2, 1.0);
    void *token_ref = random_act(dtype, t, 3, 1.0);
    float *position = random_f32(place, 4, 1.0);
    tdm_pool_tokens_forward(ops, n, pixels, width, x, position, token);
    pool_tokens_forward_ref(dtype, n, pixels, width, x, position, token_ref);
    check_act("pool tokens", TOL_REDUCTION, dtype, t, token, token_ref);
    void *da = random_act(dtype, t, 5, 1.0), *db = random_act(dtype, t, 6, 1.0);
    void *dfirst = random_act(dtype, n * width, 7, 1.0);
    void *dx = random_act(dtype, in, 8, 1.0), *dx_ref = random_act(dtype, in, 9, 1.0);
    float *dposition = random_f32(place, 10, 1.0), *dposition_ref = copy_f32(dposition, place);
    tdm_pool_tokens_backward(ops, n, pixels, width, da, db, dfirst, dx, dposition);
    pool_tokens_backward_ref(dtype, n, pixels, width, da, db, dfirst, dx_ref, dposition_ref);
    check_act("pool tokens dx", TOL_REDUCTION, dtype, in, dx, dx_ref);
    check_f32("pool tokens dposition", TOL_REDUCTION, TDM_F32, place, dposition, dposition_ref);
    free(x), free(token), free(token_ref), free(position), free(da), free(db), free(dfirst), free(dx),
        free(dx_ref), free(dposition), free(dposition_ref);
}

static void check_pool_attention(tdm_ops *ops, int64_t n, int64_t length, int64_t heads, int64_t head_dim)
{
    const tdm_dtype dtype = tdm_ops_dtype(ops);
    const int64_t w = heads * head_dim, t = n * length * w;
    void *q = random_act(dtype, n * w, 1, 1.5), *k = random_act(dtype, t, 2, 1.5);
    void *v = random_act(dtype, t, 3, 1.0);
    float *out = random_f32(n * w, 4, 1.0), *out_ref = random_f32(n * w, 5, 1.0);
    float *p = random_f32(n * heads * length, 6, 1.0), *p_ref = random_f32(n * heads * length, 7, 1.0);
    tdm_pool_attention_forward(ops, n, length, heads, head_dim, q, k, v, out, p);
    pool_attention_forward_ref(dtype, n, length, heads, head_dim, q, k, v, out_ref, p_ref);
    check_f32("pool attention", TOL_ATTENTION, TDM_F32, n * w, out, out_ref);
    check_f32("pool attention p", TOL_ATTENTION, TDM_F32, n * heads * length, p, p_ref);
    float *dout = random_f32(n * w, 8, 1.0);
    void *dq = random_act(dtype, n * w, 9, 1.0), *dq_ref = random_act(dtype, n * w, 10, 1.0);
    void *dk = random_act(dtype, t, 11, 1.0), *dk_ref = random_act(dtype, t, 12, 1.0);
    void *dv = random_act(dtype, t, 13, 1.0), *dv_ref = random_act(dtype, t, 14, 1.0);
    tdm_pool_attention_backward(ops, n, length, heads, head_dim, q, k, v, p_ref, dout, dq, dk, dv);
    pool_attention_backward_ref(dtype, n, length, heads, head_dim, q, k, v, p_ref, dout, dq_ref, dk_ref,
                                dv_ref);
    if (length > 1) { /* of one key the softmax is constant: zero but for rounding */
        check_act("pool attention dq", TOL_ATTENTION, dtype, n * w, dq, dq_ref);
        check_act("pool attention dk", TOL_ATTENTION, dtype, t, dk, dk_ref);
    }
    check_act("pool attention dv", TOL_ATTENTION, dtype, t, dv, dv_ref);
    free(q), free(k), free(v), free(out), free(out_ref), free(p), free(p_ref), free(dout), free(dq),
        free(dq_ref), free(dk), free(dk_ref), free(dv), free(dv_ref);
}

static void attention_pool_cases(tdm_ops *ops)
{
    check_pool_tokens(ops, 1, 1, 1);
    check_pool_tokens(ops, 3, 4, 33);
    check_pool_tokens(ops, 7, 49, 128);
    check_pool_attention(ops, 1, 1, 1, 3);
    check_pool_attention(ops, 3, 5, 2, 7);
    check_pool_attention(ops, 5, 50, 4, 64);
}

static void test_attention_pool(void **state)
{
    (void)state;
    for_each_context(attention_pool_cases);
}

/* ---- Windows ---- */
static void window_cases(tdm_ops *ops)
{
    enum { N = 2, HEIGHT = 8, WIDTH = 12 };
    static const int64_t cases[][3] = {{3, 2, 1}, {4, 4, 0}, {3, 1, 1}, {5, 3, 2}}; /* kernel, stride, pad */
    static const double mean[3] = {0.5, 0.4, 0.3}, std[3] = {0.2, 0.25, 0.3};
    const tdm_dtype dtype = tdm_ops_dtype(ops);
    uint8_t image[N * HEIGHT * WIDTH * 3];
    for (int i = 0; i < N * HEIGHT * WIDTH * 3; i++) image[i] = (uint8_t)(i * 37 + i / 7);
    for (size_t i = 0; i < 4; i++) {
        const int64_t k = cases[i][0], s = cases[i][1], p = cases[i][2];
        const int64_t rows = N * ((HEIGHT + 2 * p - k) / s + 1) * ((WIDTH + 2 * p - k) / s + 1);
        void *got = random_act(dtype, rows * 3 * k * k, 1, 1.0),
             *want = random_act(dtype, rows * 3 * k * k, 2, 1.0);
        tdm_image_windows(ops, N, HEIGHT, WIDTH, k, s, p, image, mean, std, got);
        image_windows_ref(dtype, N, HEIGHT, WIDTH, k, s, p, image, mean, std, want);
        check_act("windows", TOL_EXACT, dtype, rows * 3 * k * k, got, want);
        if (p == 0) { /* without overlap they are patches */
            tdm_patchify(ops, N, HEIGHT, WIDTH, k, 0, NULL, image, mean, std, want);
            check_act("windows as patches", TOL_EXACT, dtype, rows * 3 * k * k, got, want);
        }
        free(got), free(want);
    }
}

static void test_windows(void **state)
{
    (void)state;
    for_each_context(window_cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),           cmocka_unit_test(test_conv_stats),
        cmocka_unit_test(test_batchnorm),      cmocka_unit_test(test_batchnorm_large_mean),
        cmocka_unit_test(test_residual),       cmocka_unit_test(test_average_pool),
        cmocka_unit_test(test_attention_pool), cmocka_unit_test(test_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
