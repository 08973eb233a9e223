/* Made by make_significance_golden.py: do not edit. */
enum { GOLDEN_QUERIES = 14, GOLDEN_METRICS = 3, GOLDEN_TESTS = 8 };
/* [metrics][queries] of the second system less the first */
static const double golden_difference[] = {0.0,
                                           0.0,
                                           0.0,
                                           1.0,
                                           0.0,
                                           0.0,
                                           0.0,
                                           0.0,
                                           1.0,
                                           0.0,
                                           0.0,
                                           1.0,
                                           1.0,
                                           0.0,
                                           -0.8,
                                           0.10714285714285715,
                                           0.125,
                                           -0.6666666666666667,
                                           -0.25,
                                           0.8571428571428572,
                                           0.0,
                                           -0.25,
                                           0.19047619047619047,
                                           0.08333333333333334,
                                           0.3,
                                           -0.3,
                                           -0.16666666666666669,
                                           0.8333333333333334,
                                           -4.0,
                                           -17.0,
                                           -31.0,
                                           -28.0,
                                           -24.0,
                                           6.0,
                                           -3.0,
                                           59.0,
                                           -31.0,
                                           11.0,
                                           -20.0,
                                           2.0,
                                           36.0,
                                           -89.0};
static const int64_t golden_cluster[] = {7, 7, 3, 5, 3, 9, 9, 9, 1, 0, 2, 4, 6, 8};
/* scipy.stats.permutation_test, of queries and of clusters */
static const double golden_p[] = {0.125, 0.97314453125, 0.3394775390625},
                    golden_clustered[] = {0.125, 0.970703125, 0.357421875};
/* statsmodels.stats.multitest.multipletests(method="holm") */
static const double golden_many[] = {0.011, 0.04, 0.0005, 0.9, 0.04, 0.3, 0.0125, 1.0};
static const double golden_holm[] = {0.077, 0.2, 0.004, 1.0, 0.2, 0.8999999999999999, 0.077, 1.0};
