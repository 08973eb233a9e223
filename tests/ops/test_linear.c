/* Linear layers against plain loops: both weight layouts, awkward sizes, accumulation, reloading. */
#include "ops_test.h"

#include <stdlib.h>
#include <string.h>

typedef struct linear_case {
    int64_t t, in, out;
} linear_case;

static const linear_case cases[] = {{1, 1, 1},      {7, 5, 3},     {64, 64, 64},  {63, 65, 127},
                                    {128, 64, 192}, {65, 96, 24},  {192, 48, 80}, {320, 64, 33},
                                    {1, 512, 64},   {200, 32, 128}};

static void check_linear(tdm_ops *ops, linear_case c, bool bias, bool transposed)
{
    tdm_dtype dtype = tdm_ops_dtype(ops);
    int64_t t = c.t, in = c.in, out = c.out;
    float *weight = random_f32(in * out, 1, 1.0), *b = random_f32(out, 2, 1.0);
    void *x = random_act(dtype, t * in, 3, 1.0), *dy = random_act(dtype, t * out, 4, 1.0);
    void *y = random_act(dtype, t * out, 5, 1.0), *dx = random_act(dtype, t * in, 6, 1.0);
    void *y_ref = copy_act(dtype, y, t * out), *dx_ref = copy_act(dtype, dx, t * in);
    float *dw = random_f32(in * out, 7, 1.0), *db = random_f32(out, 8, 1.0);
    float *dw_ref = copy_f32(dw, in * out), *db_ref = copy_f32(db, out);

    tdm_linear *linear;
    CHECK_OK(tdm_linear_create(ops, in, out, bias, transposed, &linear));
    CHECK_OK(tdm_linear_load(linear, weight, bias ? b : NULL, true));
    CHECK_OK(tdm_linear_forward(linear, t, x, y));
    CHECK_OK(tdm_linear_backward_data(linear, t, dy, dx));
    CHECK_OK(tdm_linear_backward_weight(linear, t, x, dy, dw, bias ? db : NULL));
    linear_forward_ref(dtype, t, in, out, transposed, weight, bias ? b : NULL, x, y_ref);
    linear_backward_data_ref(dtype, t, in, out, transposed, weight, dy, dx_ref);
    linear_backward_weight_ref(dtype, t, in, out, transposed, x, dy, dw_ref, bias ? db_ref : NULL);
    check_act("linear y", TOL_MATMUL, dtype, t * out, y, y_ref);
    check_act("linear dx", TOL_MATMUL, dtype, t * in, dx, dx_ref);
    check_f32("linear dw", TOL_MATMUL, TDM_F32, in * out, dw, dw_ref);
    check_f32("linear db", TOL_REDUCTION, TDM_F32, out, db, db_ref);
    tdm_linear_destroy(&linear);
    CHECK_NULL(linear);
    free(weight), free(b), free(x), free(dy), free(y), free(dx), free(y_ref), free(dx_ref);
    free(dw), free(db), free(dw_ref), free(db_ref);
}

static void all_shapes(tdm_ops *ops)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        for (int variant = 0; variant < 4; variant++) check_linear(ops, cases[i], variant & 1, variant & 2);
}

static void test_shapes(void **state)
{
    (void)state;
    for_each_context(all_shapes);
}

/* Many row counts on one packed weight, more than are remembered, and a second load. */
static void many_rows(tdm_ops *ops)
{
    enum { IN = 40, OUT = 24, ROWS = 66 };
    tdm_dtype dtype = tdm_ops_dtype(ops);
    tdm_linear *linear;
    CHECK_OK(tdm_linear_create(ops, IN, OUT, true, false, &linear));
    void *x = random_act(dtype, ROWS * IN, 1, 1.0), *dy = random_act(dtype, ROWS * OUT, 2, 1.0);
    void *y = random_act(dtype, ROWS * OUT, 3, 1.0), *y_ref = random_act(dtype, ROWS * OUT, 3, 1.0);
    float *dw = random_f32(IN * OUT, 4, 0.0), *dw_ref = random_f32(IN * OUT, 4, 0.0);
    for (uint64_t load = 0; load < 2; load++) {
        float *weight = random_f32(IN * OUT, 10 + load, 1.0), *bias = random_f32(OUT, 20 + load, 1.0);
        CHECK_OK(tdm_linear_load(linear, weight, bias, false));
        for (int64_t t = 1; t <= ROWS; t += load ? 13 : 1) {
            CHECK_OK(tdm_linear_forward(linear, t, x, y));
            CHECK_OK(tdm_linear_backward_weight(linear, t, x, dy, dw, NULL));
            linear_forward_ref(dtype, t, IN, OUT, false, weight, bias, x, y_ref);
            linear_backward_weight_ref(dtype, t, IN, OUT, false, x, dy, dw_ref, NULL);
            check_act("rows y", TOL_MATMUL, dtype, ROWS * OUT, y, y_ref);
        }
        free(weight), free(bias);
    }
    check_f32("rows dw", TOL_MATMUL, TDM_F32, IN * OUT, dw, dw_ref);
    tdm_linear_destroy(&linear);
    free(x), free(dy), free(y), free(y_ref), free(dw), free(dw_ref);
}

static void test_many_rows(void **state)
{
    (void)state;
    for_each_context(many_rows);
}

/* The result of a row must not depend on the other rows of the call: packed and chunked batches agree. */
static void cut_rows(tdm_ops *ops)
{
    enum { IN = 96, OUT = 160, ROWS = 256, CUT = 64 };
    tdm_dtype dtype = tdm_ops_dtype(ops);
    tdm_linear *linear;
    float *weight = random_f32(IN * OUT, 1, 1.0);
    void *x = random_act(dtype, ROWS * IN, 2, 1.0);
    void *whole = random_act(dtype, ROWS * OUT, 3, 1.0), *cut = random_act(dtype, ROWS * OUT, 4, 1.0);
    CHECK_OK(tdm_linear_create(ops, IN, OUT, false, false, &linear));
    CHECK_OK(tdm_linear_load(linear, weight, NULL, false));
    CHECK_OK(tdm_linear_forward(linear, ROWS, x, whole));
    for (int64_t at = 0; at < ROWS; at += CUT)
        CHECK_OK(
            tdm_linear_forward(linear, CUT, act_at(dtype, x, at * IN), act_at_mutable(dtype, cut, at * OUT)));
    check_act("cut rows", TOL_MATMUL, dtype, ROWS * OUT, cut, whole);
    tdm_linear_destroy(&linear);
    free(weight), free(x), free(whole), free(cut);
}

static void test_cut_rows(void **state)
{
    (void)state;
    for_each_context(cut_rows);
}

static void repeatable(tdm_ops *ops)
{
    enum { IN = 128, OUT = 192, ROWS = 320 };
    tdm_dtype dtype = tdm_ops_dtype(ops);
    tdm_linear *linear;
    float *weight = random_f32(IN * OUT, 1, 1.0), *dw[2], *db[2];
    void *x = random_act(dtype, ROWS * IN, 2, 1.0), *dy = random_act(dtype, ROWS * OUT, 3, 1.0);
    for (int run = 0; run < 2; run++) {
        dw[run] = random_f32(IN * OUT, 4, 1.0);
        db[run] = random_f32(OUT, 5, 1.0);
        CHECK_OK(tdm_linear_create(ops, IN, OUT, true, false, &linear));
        CHECK_OK(tdm_linear_load(linear, weight, weight, true));
        CHECK_OK(tdm_linear_backward_weight(linear, ROWS, x, dy, dw[run], db[run]));
        tdm_linear_destroy(&linear);
    }
    CHECK_MEM_EQ(dw[0], dw[1], sizeof(float) * IN * OUT);
    CHECK_MEM_EQ(db[0], db[1], sizeof(float) * OUT);
    for (int run = 0; run < 2; run++) free(dw[run]), free(db[run]);
    free(weight), free(x), free(dy);
}

static void test_repeatable(void **state)
{
    (void)state;
    for_each_context(repeatable);
}

/* The gradient of the first call after a clear is written over whatever stood there, that of the next added.
 */
static void clear_gradient(tdm_ops *ops)
{
    enum { IN = 70, OUT = 40, ROWS = 96, N = IN * OUT };
    tdm_dtype dtype = tdm_ops_dtype(ops);
    tdm_linear *linear;
    float *weight = random_f32(N, 1, 1.0);
    void *x = random_act(dtype, ROWS * IN, 2, 1.0), *dy = random_act(dtype, ROWS * OUT, 3, 1.0);
    float *dw = random_f32(N, 4, 1.0), *dw_ref = calloc(N, sizeof(float)), *none = calloc(N, sizeof(float));
    CHECK_OK(tdm_linear_create(ops, IN, OUT, false, false, &linear));
    CHECK_OK(tdm_linear_load(linear, weight, NULL, false));
    tdm_linear_clear_gradient(linear);
    for (int call = 0; call < 2; call++) {
        CHECK_OK(tdm_linear_backward_weight(linear, ROWS, x, dy, dw, NULL));
        linear_backward_weight_ref(dtype, ROWS, IN, OUT, false, x, dy, dw_ref, NULL);
        check_f32("cleared dw", TOL_MATMUL, TDM_F32, N, dw, dw_ref);
    }
    tdm_linear_clear_gradient(linear);
    CHECK_OK(tdm_linear_backward_weight(linear, 0, x, dy, dw, NULL));
    CHECK_MEM_EQ(dw, none, sizeof(float) * N);
    tdm_linear_destroy(&linear);
    free(weight), free(x), free(dy), free(dw), free(dw_ref), free(none);
}

static void test_clear_gradient(void **state)
{
    (void)state;
    for_each_context(clear_gradient);
}

/* A layer that the optimiser updates against one that is loaded with updated weights: the same bits. */
static void update(tdm_ops *ops, int64_t in, int64_t out, bool transposed)
{
    enum { ROWS = 40 };
    const int64_t n = in * out;
    tdm_dtype dtype = tdm_ops_dtype(ops);
    float *bias = random_f32(out, 1, 1.0), *w[2], *m[2], *v[2];
    void *x = random_act(dtype, ROWS * in, 2, 1.0), *dy = random_act(dtype, ROWS * out, 3, 1.0);
    void *y[2], *dx[2];
    for (int way = 0; way < 2; way++) {
        tdm_linear *linear;
        w[way] = random_f32(n, 4, 1.0);
        m[way] = calloc((size_t)n, sizeof(float));
        v[way] = calloc((size_t)n, sizeof(float));
        y[way] = random_act(dtype, ROWS * out, 5, 1.0);
        dx[way] = random_act(dtype, ROWS * in, 6, 1.0);
        CHECK_OK(tdm_linear_create(ops, in, out, true, transposed, &linear));
        CHECK_OK(tdm_linear_load(linear, w[way], bias, true));
        for (int64_t step = 1; step <= 2; step++) {
            const tdm_adamw rule = {0.7, 1e-2, 0.9, 0.98, 1e-6, 0.2, step};
            float *g = random_f32(n, 10 + (uint64_t)step, 0.1);
            if (way == 0)
                CHECK_OK(tdm_linear_adamw(linear, &rule, w[way], g, m[way], v[way]));
            else
                tdm_adamw_update(ops, &rule, n, w[way], g, m[way], v[way]);
            CHECK_OK(tdm_linear_reload(linear));
            free(g);
        }
        CHECK_OK(tdm_linear_forward(linear, ROWS, x, y[way]));
        CHECK_OK(tdm_linear_backward_data(linear, ROWS, dy, dx[way]));
        tdm_linear_destroy(&linear);
    }
    CHECK_MEM_EQ(w[0], w[1], sizeof(float) * (size_t)n);
    CHECK_MEM_EQ(m[0], m[1], sizeof(float) * (size_t)n);
    CHECK_MEM_EQ(v[0], v[1], sizeof(float) * (size_t)n);
    CHECK_MEM_EQ(y[0], y[1], tdm_dtype_bytes(dtype) * (size_t)(ROWS * out));
    CHECK_MEM_EQ(dx[0], dx[1], tdm_dtype_bytes(dtype) * (size_t)(ROWS * in));
    for (int way = 0; way < 2; way++) free(w[way]), free(m[way]), free(v[way]), free(y[way]), free(dx[way]);
    free(bias), free(x), free(dy);
}

static void updates(tdm_ops *ops)
{
    for (int transposed = 0; transposed < 2; transposed++) {
        update(ops, 1, 1, transposed);
        update(ops, 70, 45, transposed);
        update(ops, 1100, 64, transposed); /* wider than a piece */
    }
}

static void test_update(void **state)
{
    (void)state;
    for_each_context(updates);
}

static void test_wrong_use(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 1);
    tdm_linear *linear = NULL;
    float weight[6] = {0};
    CHECK_FAILS(tdm_linear_create(ops, 0, 3, false, false, &linear), TDM_E_SHAPE, "");
    tdm_linear_destroy(&linear);
    CHECK_OK(tdm_linear_create(ops, 2, 3, true, false, &linear));
    CHECK_FAILS(tdm_linear_reload(linear), TDM_E_SHAPE, "");
    CHECK_FAILS(tdm_linear_load(linear, weight, NULL, true), TDM_E_SHAPE, "");
    CHECK_OK(tdm_linear_load(linear, weight, weight, false));
    CHECK_FAILS(tdm_linear_backward_data(linear, 2, weight, weight), TDM_E_SHAPE, "");
    CHECK_OK(tdm_linear_forward(linear, 0, NULL, NULL));
    float other[6] = {0}, moments[2][6] = {{0}};
    const tdm_adamw rule = {.grad_scale = 1.0, .step = 1};
    CHECK_FAILS(tdm_linear_adamw(linear, &rule, other, other, moments[0], moments[1]), TDM_E_SHAPE, "");
    tdm_linear_destroy(&linear);
    tdm_linear_destroy(&linear);
    tdm_ops_destroy(&ops);
    tdm_ops_destroy(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),         cmocka_unit_test(test_many_rows),
        cmocka_unit_test(test_cut_rows),       cmocka_unit_test(test_repeatable),
        cmocka_unit_test(test_clear_gradient), cmocka_unit_test(test_update),
        cmocka_unit_test(test_wrong_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
