/* Principal components: the centred points seen along the two directions in which they vary most. Exact: all
 * eigenvectors of the covariance, in f64. */
#include "projection_impl.h"

#include <math.h>
#include <string.h>

enum { ROWS = 8 }; /* of the covariance that one pass over the points makes */

/* x[n][d] less its mean, in f64. */
static void centre(int64_t n, int64_t d, const float *feature, double *mean, double *x)
{
    memset(mean, 0, (size_t)d * sizeof *mean);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < d; k++) mean[k] += (double)feature[i * d + k];
    for (int64_t k = 0; k < d; k++) mean[k] /= (double)n;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < d; k++) x[i * d + k] = (double)feature[i * d + k] - mean[k];
}

/* Σ over the points of x_k x_l, [d][d]. Each sum has one thread and the order of the points. */
static void sum_products(int64_t n, int64_t d, const double *x, double *product)
{
#pragma omp parallel for schedule(dynamic)
    for (int64_t first = 0; first < d; first += ROWS)
        for (int64_t i = 0; i < n; i++) {
            const double *row = x + i * d;
            for (int64_t k = first; k < tdm_min_i64(first + ROWS, d); k++)
#pragma omp simd
                for (int64_t l = 0; l < d; l++) product[k * d + l] += row[k] * row[l];
        }
}

/* The sign of an eigenvector is free: its largest entry is positive. */
static void fix_sign(int64_t d, double *direction)
{
    int64_t largest = 0;
    for (int64_t k = 1; k < d; k++)
        if (fabs(direction[k]) > fabs(direction[largest])) largest = k;
    for (int64_t k = 0; direction[largest] < 0 && k < d; k++) direction[k] = -direction[k];
}

static void place_along(int64_t n, int64_t d, const double *x, const double *direction, double *place)
{
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t k = 0; k < d; k++) sum += x[i * d + k] * direction[k];
        place[2 * i] = sum;
    }
}

tdm_status pca_place(int64_t n, int64_t d, const float *feature, double *place, double share[2])
{
    double *x = NULL, *product = NULL, *value = NULL, total = 0;
    memset(place, 0, (size_t)n * 2 * sizeof *place);
    share[0] = share[1] = 0;
    if (n < 1) return TDM_OK;
    tdm_status status = TDM_ALLOC(n * d, &x);
    if (status == TDM_OK) status = TDM_ALLOC(d * d, &product);
    if (status == TDM_OK) status = TDM_ALLOC(d, &value);
    if (status == TDM_OK) {
        centre(n, d, feature, value, x);
        sum_products(n, d, x, product);
        status = symmetric_eigen(d, product, value);
    }
    for (int64_t k = 0; status == TDM_OK && k < d; k++) total += fmax(0, value[k]);
    for (int64_t c = 0; status == TDM_OK && c < tdm_min_i64(2, d); c++) {
        share[c] = total > 0 ? fmax(0, value[c]) / total : 0;
        fix_sign(d, product + c * d);
        place_along(n, d, x, product + c * d, place + c);
    }
    tdm_free(x);
    tdm_free(product);
    tdm_free(value);
    return status;
}

static tdm_status project(int64_t n, int64_t d, const float *feature, const tdm_projection_options *options,
                          double *place, tdm_text *note)
{
    (void)options;
    double share[2];
    TDM_TRY(pca_place(n, d, feature, place, share));
    return tdm_text_printf(note,
                           "The two principal components of images and texts together, centred: "
                           "%.1f %% of the variance across, %.1f %% upwards.",
                           100 * share[0], 100 * share[1]);
}

const tdm_projection projection_pca = {
    .name = "pca",
    .title = "PCA",
    .help = "principal components: the two directions in which the points vary most",
    .project = project,
};
