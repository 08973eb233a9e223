/* Mean, deviation and the paired t-test (Student, "The probable error of a mean", Biometrika 6, 1908). */
#include "tandem/study.h"

#include <math.h>

double tdm_mean(const double *value, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += value[i];
    return n ? sum / (double)n : NAN;
}

double tdm_sample_deviation(const double *value, int64_t n)
{
    const double mean = tdm_mean(value, n);
    double sum = 0.0;
    if (n < 2) return NAN;
    for (int64_t i = 0; i < n; i++) sum += (value[i] - mean) * (value[i] - mean);
    return sqrt(sum / (double)(n - 1));
}

/* The continued fraction of the incomplete beta function (Abramowitz and Stegun, 26.5.8), by Lentz's method. */
static double beta_fraction(double a, double b, double x)
{
    enum { MOST = 400 };
    const double tiny = 1e-300;
    double c = 1.0, d = 1.0 - (a + b) * x / (a + 1.0);
    d = 1.0 / (fabs(d) < tiny ? tiny : d);
    double h = d;
    for (int m = 1; m <= MOST; m++) {
        const double even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
                     odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0));
        double change = 1.0;
        for (int k = 0; k < 2; k++) {
            const double step = k ? odd : even;
            d = 1.0 + step * d;
            c = 1.0 + step / c;
            d = 1.0 / (fabs(d) < tiny ? tiny : d);
            if (fabs(c) < tiny) c = tiny;
            change = c * d;
            h *= change;
        }
        if (fabs(change - 1.0) < 1e-15) break;
    }
    return h;
}

/* Regularised incomplete beta function I_x(a, b). */
static double incomplete_beta(double a, double b, double x)
{
    if (x <= 0.0 || x >= 1.0) return x <= 0.0 ? 0.0 : 1.0;
    const double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1.0) / (a + b + 2.0) ? front * beta_fraction(a, b, x) / a
                                         : 1.0 - front * beta_fraction(b, a, 1.0 - x) / b;
}

double tdm_student_p(double t, double freedom)
{
    return incomplete_beta(0.5 * freedom, 0.5, freedom / (freedom + t * t));
}

double tdm_paired_p(const double *difference, int64_t n)
{
    const double mean = tdm_mean(difference, n), deviation = tdm_sample_deviation(difference, n);
    if (n < 2) return NAN;
    if (deviation == 0.0) return mean == 0.0 ? 1.0 : NAN;
    return tdm_student_p(mean / (deviation / sqrt((double)n)), (double)(n - 1));
}
