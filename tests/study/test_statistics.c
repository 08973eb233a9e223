/* Mean, deviation and the paired t-test against SciPy 1.17 (scipy.stats.t.sf, ttest_rel). */
#include "check.h"
#include "tandem/study.h"

#include <math.h>

static void close_to(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-12 * fabs(expected)))
        fail_msg("%.17g, not %.17g: relative difference %g", value, expected, fabs(value / expected - 1.0));
}

/* 2 · scipy.stats.t.sf(t, freedom): both branches of the continued fraction, small and large freedom */
static void students_p_is_scipys(void **state)
{
    (void)state;
    static const double p[][3] = {
        {0.0, 3.0, 1},
        {0.5, 1.0, 0.70483276469913347},
        {2.0, 5.0, 0.10193947882985835},
        {2.776445105197793, 4.0, 0.050000000000000079},
        {12.7, 1.0, 0.050024327689344165},
        {1.0, 30.0, 0.32530861542603018},
        {4.0, 200.0, 8.9130952185934424e-05},
        {30.0, 9.0, 2.4837047041582635e-10},
    };
    for (size_t i = 0; i < sizeof p / sizeof p[0]; i++) {
        close_to(tdm_student_p(p[i][0], p[i][1]), p[i][2]);
        close_to(tdm_student_p(-p[i][0], p[i][1]), p[i][2]);
    }
}

static void a_paired_test_is_scipys(void **state)
{
    (void)state;
    const double difference[] = {0.011, 0.004, -0.002, 0.009, 0.006};
    close_to(tdm_mean(difference, 5), 0.0055999999999999991);
    close_to(tdm_sample_deviation(difference, 5), 0.0050299105359837169);
    close_to(tdm_paired_p(difference, 5), 0.067520287278263785);
}

/* What cannot be said is not a number, and is no crash. */
static void few_or_equal_values(void **state)
{
    (void)state;
    const double equal[] = {0.25, 0.25, 0.25}, none[] = {0, 0, 0};
    assert_true(isnan(tdm_mean(equal, 0)));
    assert_true(isnan(tdm_sample_deviation(equal, 1)));
    assert_true(isnan(tdm_paired_p(equal, 1)));
    assert_true(isnan(tdm_paired_p(equal, 3)));
    assert_true(tdm_paired_p(none, 3) == 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(students_p_is_scipys),
        cmocka_unit_test(a_paired_test_is_scipys),
        cmocka_unit_test(few_or_equal_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
