#include "activation_table.h"

#include <math.h>
#include <pthread.h>

/* The tails of activation_table.h. */
static double gelu_tail(double a)
{
    return 0.5 * erfc(a * 0.70710678118654752);
}
static double gelu_slope_tail(double a)
{
    return gelu_tail(a) - a * exp(-0.5 * a * a) * 0.39894228040143268;
}
static double quickgelu_tail(double a)
{
    return 1.0 / (1.0 + exp(1.702 * a));
}
static double quickgelu_slope_tail(double a)
{
    double s = quickgelu_tail(a);
    return s * (1.0 - 1.702 * a * (1.0 - s));
}

/* steps: the last interval begins at 30.5 / steps, where the value is -6e-8 for GELU, -2e-7 for QuickGELU. */
static const struct activation_row {
    double (*value)(double a), (*slope)(double a);
    double steps;
} rows[] = {
    [TDM_QUICKGELU] = {quickgelu_tail, quickgelu_slope_tail, 2.9375},
    [TDM_GELU] = {gelu_tail, gelu_slope_tail, 5.5},
};
enum { KINDS = sizeof(rows) / sizeof(*rows) };

static activation_table tables[KINDS];

/* The cubic in r that meets f((i + r) / steps) in the zeros of Chebyshev's polynomial on |r| <= 1/2, by
 * Newton's divided differences. Its error is within a few per cent of the best cubic's. */
static void fit_cubic(double (*f)(double), double steps, int i, double c[ACTIVATION_TERMS])
{
    double node[ACTIVATION_TERMS], difference[ACTIVATION_TERMS];
    for (int k = 0; k < ACTIVATION_TERMS; k++) {
        node[k] = 0.5 * cos((2 * k + 1) * 3.14159265358979324 / (2 * ACTIVATION_TERMS));
        difference[k] = f((i + node[k]) / steps);
    }
    for (int order = 1; order < ACTIVATION_TERMS; order++)
        for (int k = ACTIVATION_TERMS - 1; k >= order; k--)
            difference[k] = (difference[k] - difference[k - 1]) / (node[k] - node[k - order]);
    for (int k = 0; k < ACTIVATION_TERMS; k++) c[k] = 0.0;
    for (int order = ACTIVATION_TERMS - 1; order >= 0; order--) { /* c = c·(r - node) + difference */
        for (int k = ACTIVATION_TERMS - 1; k > 0; k--) c[k] = c[k - 1] - node[order] * c[k];
        c[0] = difference[order] - node[order] * c[0];
    }
}

static void fit(double (*f)(double), double steps, activation_cubics cubics)
{
    for (int i = 0; i < ACTIVATION_INTERVALS; i++) {
        double c[ACTIVATION_TERMS] = {0};
        if (i < ACTIVATION_INTERVALS - 1) fit_cubic(f, steps, i, c);
        for (int k = 0; k < ACTIVATION_TERMS; k++) cubics[k][i] = (float)c[k];
    }
}

static void make_tables(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tables[kind].steps = (float)rows[kind].steps;
        fit(rows[kind].value, rows[kind].steps, tables[kind].value);
        fit(rows[kind].slope, rows[kind].steps, tables[kind].slope);
    }
}

const activation_table *activation_table_of(tdm_activation kind)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_tables);
    return &tables[kind];
}
