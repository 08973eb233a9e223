#include "ops_test.h"
#include "tandem/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Relative to |want| + rms(want). f32: eps is 6e-8; an own exponential adds 2e-7, a sum of n terms in another
 * order grows as sqrt(n)·eps, and the longest here have some thousand terms. bf16: the reference and the fast
 * path round once to 8 bits, so they may differ by one unit in the last place, 2^-7; the backward pass of attention
 * also starts from outputs that were rounded. */
static const struct tolerance_row {
    const char *name;
    double f32, bf16;
} tolerances[TOL_KINDS] = {
    [TOL_EXACT] = {"exact", 0.0, 0.0},
    [TOL_ELEMENT] = {"element", 1e-6, 0.0079},
    [TOL_ACTIVATION] = {"activation", 2e-6, 0.0079},
    [TOL_REDUCTION] = {"reduction", 5e-6, 0.0079},
    [TOL_MATMUL] = {"matmul", 1e-5, 0.0079},
    [TOL_ATTENTION] = {"attention", 1e-5, 0.04},
    [TOL_CHAIN] = {"chain", 1e-5, 0.04},
};

/* The mean is tighter: half a unit is 0.004 at most. A chain rounds several times on its way, and errors of rounding
 * that know nothing of each other add up as squares. */
static double bf16_rms(tolerance kind)
{
    return kind == TOL_CHAIN ? 0.006 : 0.004;
}

/* rms(got - want) / rms(want) */
static double rms_error(int64_t n, const float *got, const float *want)
{
    double errors = 0.0, squares = 0.0;
    for (int64_t i = 0; i < n; i++) {
        errors += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        squares += (double)want[i] * want[i];
    }
    return errors == 0.0 ? 0.0 : sqrt(errors / squares);
}

static double worst_error(int64_t n, const float *got, const float *want, int64_t *where)
{
    double squares = 0.0, worst = 0.0;
    for (int64_t i = 0; i < n; i++) squares += (double)want[i] * want[i];
    double rms = n ? sqrt(squares / (double)n) : 0.0;
    *where = -1;
    for (int64_t i = 0; i < n; i++) {
        double scale = fabs(want[i]) + rms;
        double error = fabs((double)got[i] - want[i]);
        if (error == 0.0) continue;
        error = scale > 0.0 ? error / scale : INFINITY;
        if (!(error <= worst)) { /* also a NaN */
            worst = error;
            *where = i;
        }
    }
    return worst;
}

void check_f32(const char *what, tolerance kind, tdm_dtype dtype, int64_t n, const float *got,
               const float *want)
{
    double allowed = dtype == TDM_BF16 ? tolerances[kind].bf16 : tolerances[kind].f32;
    int64_t where;
    double worst = worst_error(n, got, want, &where);
    if (getenv("OPS_TEST_VERBOSE"))
        print_message("%-40s %-10s %s worst %.2e of %.2e\n", what, tolerances[kind].name,
                      tdm_dtype_name(dtype), worst, allowed);
    enum { ENOUGH = 256 }; /* elements for a mean to mean something */
    if (dtype == TDM_BF16 && n >= ENOUGH && !(rms_error(n, got, want) <= bf16_rms(kind)))
        fail_msg("%s: rms error %.3g, allowed %.3g (%s)", what, rms_error(n, got, want), bf16_rms(kind),
                 tolerances[kind].name);
    if (!(worst <= allowed))
        fail_msg("%s: element %lld of %lld is %.9g, want %.9g: error %.3g, allowed %.3g (%s)", what,
                 (long long)where, (long long)n, where >= 0 ? got[where] : 0.0,
                 where >= 0 ? want[where] : 0.0, worst, allowed, tolerances[kind].name);
}

void check_act(const char *what, tolerance kind, tdm_dtype dtype, int64_t n, const void *got,
               const void *want)
{
    float *a = malloc(sizeof(float) * (size_t)(n + 1)), *b = malloc(sizeof(float) * (size_t)(n + 1));
    for (int64_t i = 0; i < n; i++) {
        a[i] = act_get_ref(dtype, got, i);
        b[i] = act_get_ref(dtype, want, i);
    }
    check_f32(what, kind, dtype, n, a, b);
    free(a);
    free(b);
}

float *random_f32(int64_t n, uint64_t seed, double scale)
{
    float *x = malloc(sizeof(float) * (size_t)n + 1);
    tdm_rng rng = tdm_rng_at(seed, 0, 0, TDM_RNG_TEST);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(scale * tdm_rng_normal(&rng));
    return x;
}

void *random_act(tdm_dtype dtype, int64_t n, uint64_t seed, double scale)
{
    void *x = malloc(tdm_dtype_bytes(dtype) * (size_t)n + 1);
    tdm_rng rng = tdm_rng_at(seed, 0, 0, TDM_RNG_TEST);
    for (int64_t i = 0; i < n; i++) act_set_ref(dtype, x, i, scale * tdm_rng_normal(&rng));
    return x;
}

void *copy_of(const void *data, size_t bytes)
{
    void *copy = malloc(bytes + 1);
    memcpy(copy, data, bytes);
    return copy;
}

tdm_ops *make_ops(tdm_dtype dtype, int threads)
{
    tdm_dtype same;
    if (dtype == TDM_BF16 && tdm_ops_resolve_precision("bf16", &same) != TDM_OK) return NULL;
    tdm_ops *ops;
    CHECK_OK(tdm_ops_create(dtype, threads, &ops));
    return ops;
}

void for_each_context(void (*body)(tdm_ops *ops))
{
#if defined(TANDEM_EMULATE_BF16)
    const int first = TDM_BF16, fewest = 2; /* f32 is not emulated; slow, hence once */
#else
    const int first = TDM_F32, fewest = 1;
#endif
    for (int dtype = first; dtype <= TDM_BF16; dtype++)
        for (int threads = fewest; threads <= 2; threads++) {
            tdm_ops *ops = make_ops((tdm_dtype)dtype, threads);
            if (!ops) continue;
            body(ops);
            tdm_ops_destroy(&ops);
        }
}

int64_t fill_offsets(int64_t n, const int64_t *lengths, int64_t *seq)
{
    seq[0] = 0;
    for (int64_t i = 0; i < n; i++) seq[i + 1] = seq[i] + lengths[i];
    return seq[n];
}
