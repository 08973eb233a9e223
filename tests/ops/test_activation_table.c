/* The tables of bf16 activations against erf() and exp() in double precision, for every bf16 number. */
#include "activation_table.h"
#include "ops_test.h"

#include <math.h>
#include <stdlib.h>

enum { NUMBERS = 1 << 16 };

typedef struct activation_pair {
    double value, slope;
} activation_pair;

static activation_pair exact(tdm_activation kind, double x)
{
    if (kind == TDM_QUICKGELU) {
        double s = 1.0 / (1.0 + exp(-1.702 * x));
        return (activation_pair){x * s, s * (1.0 + 1.702 * x * (1.0 - s))};
    }
    double cdf = 0.5 * erfc(-x * sqrt(0.5)), density = exp(-0.5 * x * x) / sqrt(2.0 * acos(-1.0));
    return (activation_pair){x * cdf, cdf + x * density};
}

static float cubic(const activation_cubics c, int interval, float r)
{
    float p = c[3][interval];
    for (int k = 2; k >= 0; k--) p = fmaf(p, r, c[k][interval]);
    return p;
}

/* As activation_table.h says. */
static activation_pair looked_up(const activation_table *table, float x)
{
    float a = fminf(fabsf(x), (ACTIVATION_INTERVALS - 1) / table->steps);
    int interval = (int)lrintf(a * table->steps);
    float r = fmaf(a, table->steps, -(float)interval), d = cubic(table->slope, interval, r);
    return (activation_pair){fmaxf(x, 0.0f) - fabsf(x) * cubic(table->value, interval, r),
                             x < 0.0f ? d : 1.0f - d};
}

/* Beyond, x² overflows in the exact formula; the table has been zero for long. */
static bool ordinary(float x)
{
    return fabsf(x) <= 1e18f;
}

/* The bounds that activation_lanes.h promises. */
static double value_bound(double value)
{
    return 1e-4 * fabs(value) + 2.5e-7;
}
static const double slope_bound = 3e-5;

static void test_table(void **state)
{
    (void)state;
    for (int kind = TDM_QUICKGELU; kind <= TDM_GELU; kind++) {
        const activation_table *table = activation_table_of((tdm_activation)kind);
        double worst_value = 0.0, worst_slope = 0.0;
        for (int i = 0; i < NUMBERS; i++) {
            float x = bf16_value_ref((uint16_t)i);
            if (!ordinary(x)) continue;
            activation_pair want = exact((tdm_activation)kind, x), got = looked_up(table, x);
            worst_value = fmax(worst_value, fabs(got.value - want.value) / value_bound(want.value));
            worst_slope = fmax(worst_slope, fabs(got.slope - want.slope));
        }
        if (getenv("OPS_TEST_VERBOSE"))
            print_message("kind %d: value %.3f of its bound, slope %.2e\n", kind, worst_value, worst_slope);
        CHECK_LE(worst_value, 1.0);
        CHECK_LE(worst_slope, slope_bound);
    }
}

/* Half a unit in the last of bf16's 8 places. */
static double rounding(double x)
{
    int exponent;
    frexp(x, &exponent);
    return ldexp(1.0, exponent - 9);
}

static void check_number(tdm_activation kind, uint16_t number, uint16_t value, uint16_t slope)
{
    float x = bf16_value_ref(number);
    double got = bf16_value_ref(value), got_slope = bf16_value_ref(slope);
    if (isnan(x)) {
        CHECK_TRUE(isnan(got));
        CHECK_TRUE(isnan(got_slope));
        return;
    }
    if (!ordinary(x)) return;
    activation_pair want = exact(kind, x);
    if (!(fabs(got - want.value) <= value_bound(want.value) + rounding(want.value)))
        fail_msg("activation %d of %.9g is %.9g, want %.9g", kind, x, got, want.value);
    if (!(fabs(got_slope - want.slope) <= slope_bound + rounding(want.slope)))
        fail_msg("slope %d of %.9g is %.9g, want %.9g", kind, x, got_slope, want.slope);
}

/* All numbers through the functions that layers call, in a length that leaves a rest. */
static void test_every_number(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_BF16, 2);
    if (!ops) return;
    enum { N = NUMBERS + 5 };
    uint16_t *x = malloc(sizeof(*x) * N), *one = malloc(sizeof(*x) * N), *y = malloc(sizeof(*x) * N);
    uint16_t *y_again = malloc(sizeof(*x) * N), *slope = malloc(sizeof(*x) * N), *dx = malloc(sizeof(*x) * N);
    for (int i = 0; i < N; i++) {
        x[i] = (uint16_t)i;
        one[i] = bf16_round_ref(1.0f);
    }
    for (int kind = TDM_QUICKGELU; kind <= TDM_GELU; kind++) {
        tdm_activation_forward(ops, (tdm_activation)kind, N, x, y);
        tdm_activation_backward(ops, (tdm_activation)kind, N, x, one, slope, y_again);
        tdm_activation_backward(ops, (tdm_activation)kind, N, x, one, dx, NULL);
        for (int i = 0; i < N; i++) check_number((tdm_activation)kind, x[i], y[i], slope[i]);
        CHECK_MEM_EQ(y, y_again, sizeof(*x) * N);
        CHECK_MEM_EQ(slope, dx, sizeof(*x) * N);
    }
    free(x), free(one), free(y), free(y_again), free(slope), free(dx);
    tdm_ops_destroy(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_every_number)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
