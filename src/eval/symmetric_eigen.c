/* Eigenvectors of a symmetric matrix: Householder's tridiagonal form, then QL steps with implicit shifts (Martin,
 * Reinsch, Wilkinson, Numerische Mathematik 11, 1968; Bowdler and others, the same volume). Matrices keep the vectors as
 * rows, so that every inner loop runs along memory. */
#include "projection_impl.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { MAX_STEPS = 60 }; /* of QL for one eigenvalue; two are usual */

typedef struct eigen {
    int64_t d;
    double *a;        /* [d][d] the matrix; below, row k holds the k-th reflection's vector */
    double *q;        /* [d][d] rows: the vectors */
    double *diagonal; /* [d] */
    double *beside;   /* [d] element k couples k and k+1 */
    double *work;     /* [d] */
    double size;      /* largest element of the tridiagonal form: what is below its rounding counts as 0 */
} eigen;

static double dot(int64_t n, const double *x, const double *y)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < n; k++) sum += x[k] * y[k];
    return sum;
}

/* y += factor x */
static void add(int64_t n, double factor, const double *x, double *y)
{
#pragma omp simd
    for (int64_t k = 0; k < n; k++) y[k] += factor * x[k];
}

/* A <- H A H with H = I - 2 u u' on the elements behind `step`, which H maps onto their first. u, of unit norm or zero,
 * stays in row `step` from column step+1 on. */
static void reflect(eigen *e, int64_t step)
{
    const int64_t d = e->d, first = step + 1, n = d - first;
    double *u = e->a + step * d + first, *w = e->work;
    const double norm = sqrt(dot(n, u, u));
    e->beside[step] = u[0] > 0 ? -norm : norm;
    u[0] -= e->beside[step];
    const double length = sqrt(dot(n, u, u));
    if (!(length > 0)) {
        memset(u, 0, (size_t)n * sizeof *u);
        return;
    }
    for (int64_t k = 0; k < n; k++) u[k] /= length;
        /* w = A u - (u' A u) u, then A -= 2 (u w' + w u') */
#pragma omp parallel for schedule(static) if (n > 128)
    for (int64_t i = 0; i < n; i++) w[i] = dot(n, e->a + (first + i) * d + first, u);
    add(n, -dot(n, u, w), u, w);
#pragma omp parallel for schedule(static) if (n > 128)
    for (int64_t i = 0; i < n; i++) {
        double *row = e->a + (first + i) * d + first;
        add(n, -2 * u[i], w, row);
        add(n, -2 * w[i], u, row);
    }
}

static void make_tridiagonal(eigen *e)
{
    const int64_t d = e->d;
    for (int64_t step = 0; step + 1 < d; step++) {
        reflect(e, step);
        e->diagonal[step] = e->a[step * d + step];
    }
    e->diagonal[d - 1] = e->a[(d - 1) * d + d - 1];
    e->beside[d - 1] = 0;
    for (int64_t k = 0; k < d; k++) e->size = fmax(e->size, fmax(fabs(e->diagonal[k]), fabs(e->beside[k])));
}

/* Rows of q: the columns of H_0 H_1 …, that is the unit vectors with the last reflection applied first. */
static void multiply_reflections(eigen *e)
{
    const int64_t d = e->d;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < d; i++) {
        double *row = e->q + i * d;
        row[i] = 1;
        for (int64_t step = d - 2; step >= 0; step--) {
            const double *u = e->a + step * d + step + 1;
            add(d - step - 1, -2 * dot(d - step - 1, row + step + 1, u), u, row + step + 1);
        }
    }
}

/* One QL step with Wilkinson's shift on the elements first … last. */
static void ql_step(eigen *e, int64_t first, int64_t last)
{
    const int64_t d = e->d;
    double *diagonal = e->diagonal, *beside = e->beside;
    const double half = (diagonal[first + 1] - diagonal[first]) / (2 * beside[first]);
    double g = diagonal[last] - diagonal[first] + beside[first] / (half + copysign(hypot(half, 1), half));
    double s = 1, c = 1, p = 0;
    for (int64_t i = last - 1; i >= first; i--) {
        const double f = s * beside[i], b = c * beside[i], r = hypot(f, g);
        beside[i + 1] = r;
        if (r == 0) { /* underflow: the matrix falls apart here */
            diagonal[i + 1] -= p;
            beside[last] = 0;
            return;
        }
        s = f / r;
        c = g / r;
        g = diagonal[i + 1] - p;
        const double t = (diagonal[i] - g) * s + 2 * c * b;
        p = s * t;
        diagonal[i + 1] = g + p;
        g = c * t - b;
        double *low = e->q + i * d, *high = low + d;
#pragma omp simd
        for (int64_t k = 0; k < d; k++) {
            const double x = low[k], y = high[k];
            high[k] = s * x + c * y;
            low[k] = c * x - s * y;
        }
    }
    diagonal[first] -= p;
    beside[first] = g;
    beside[last] = 0;
}

static tdm_status make_diagonal(eigen *e)
{
    for (int64_t first = 0; first < e->d; first++) {
        for (int steps = 0;; steps++) {
            int64_t last = first;
            while (last < e->d - 1 && !(fabs(e->beside[last]) <= DBL_EPSILON * e->size)) last++;
            if (last == first) break;
            TDM_REQUIRE(steps < MAX_STEPS, TDM_E_NUMERIC,
                        "eigenvalues of a matrix of %lld rows do not converge", (long long)e->d);
            ql_step(e, first, last);
        }
    }
    return TDM_OK;
}

/* The largest first; a receives the vectors. */
static void sort_into(const eigen *e, double *a, double *value)
{
    const int64_t d = e->d;
    for (int64_t to = 0; to < d; to++) {
        int64_t best = 0;
        for (int64_t k = 1; k < d; k++)
            if (e->diagonal[k] > e->diagonal[best]) best = k;
        value[to] = e->diagonal[best];
        memcpy(a + to * d, e->q + best * d, (size_t)d * sizeof *a);
        e->diagonal[best] = -INFINITY;
    }
}

tdm_status symmetric_eigen(int64_t d, double *a, double *value)
{
    eigen e = {.d = d, .a = a};
    tdm_status status = TDM_ALLOC(d * d, &e.q);
    if (status == TDM_OK) status = TDM_ALLOC(d, &e.diagonal);
    if (status == TDM_OK) status = TDM_ALLOC(d, &e.beside);
    if (status == TDM_OK) status = TDM_ALLOC(d, &e.work);
    if (status == TDM_OK) {
        make_tridiagonal(&e);
        multiply_reflections(&e);
        status = make_diagonal(&e);
    }
    if (status == TDM_OK) sort_into(&e, a, value);
    tdm_free(e.q);
    tdm_free(e.diagonal);
    tdm_free(e.beside);
    tdm_free(e.work);
    return status;
}
