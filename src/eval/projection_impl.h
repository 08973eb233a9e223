/* Private to src/eval: what the projections share. */
#ifndef TANDEM_PROJECTION_IMPL_H
#define TANDEM_PROJECTION_IMPL_H

#include "tandem/projection.h"

/* Eigenvalues of the symmetric matrix a[d][d], falling, and its eigenvectors as the rows of a, unit norm. */
TDM_CHECKED tdm_status symmetric_eigen(int64_t d, double *a, double *value);

/* place[n][2]: the two principal components; share[2]: of the variance. */
TDM_CHECKED tdm_status pca_place(int64_t n, int64_t d, const float *feature, double *place, double share[2]);

/* t-SNE in steps, for the tests. p[n][n]: joint probabilities of the rows, which sum to 1. */
TDM_CHECKED tdm_status tsne_joint(int64_t n, int64_t d, const float *feature, double perplexity, float *p);
/* place[n][2]: where gradient descent begins, and ends after `steps` steps. */
TDM_CHECKED tdm_status tsne_descend(int64_t n, const float *p, int steps, double *place);
/* Kullback-Leibler divergence of the picture from p, natural logarithm. */
TDM_CHECKED tdm_status tsne_divergence(int64_t n, const float *p, const double *place, double *divergence);

#endif
