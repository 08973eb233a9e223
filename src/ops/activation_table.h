/* GELU and QuickGELU as tables of cubics, for values that are bf16 before and after. Private to src/ops.
 *
 * Both activations are x·F(x) with F(-a) = 1 - F(a), and their slopes D have D(-a) = 1 - D(a) too. With the
 * tails f(a) = F(-a) and d(a) = D(-a) of a = |x|:
 *
 *     value = max(x, 0) - a·f(a)          slope = x < 0 ? d(a) : 1 - d(a)
 *
 * f and d are cubics on intervals of a that are 1/steps wide; interval i is centred on i/steps, and its cubic
 * sum_k c[k][i]·r^k is in r = a·steps - i, |r| <= 1/2. The last interval, where both are below rounding, is
 * zero and has no end. */
#ifndef TANDEM_OPS_ACTIVATION_TABLE_H
#define TANDEM_OPS_ACTIVATION_TABLE_H

#include "tandem/ops.h"

enum { ACTIVATION_TERMS = 4, ACTIVATION_INTERVALS = 32 };

typedef float activation_cubics[ACTIVATION_TERMS][ACTIVATION_INTERVALS] __attribute__((aligned(64)));

typedef struct activation_table {
    activation_cubics value, slope; /* f and d */
    float steps;
} activation_table;

/* Made by the first call, in double precision; the same for every thread, never freed. */
const activation_table *activation_table_of(tdm_activation kind);

#endif
