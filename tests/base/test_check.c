/* The macros of check.h themselves: a check that cannot fail says nothing. The tests of the first group all have to
 * fail, those of the second to pass; the output of this program therefore shows failures. */
#include "check.h"
#include "tandem/base.h"

#define TEST(name, ...)                                                                                      \
    static void name(void **state)                                                                           \
    {                                                                                                        \
        (void)state;                                                                                         \
        __VA_ARGS__;                                                                                         \
    }

static const float f32[] = {1, 2, 3}, f32_moved[] = {1, 2.5f, 3.1f}, f32_nan[] = {1, NAN, 3};
static const double f64[] = {1, 2, 3}, f64_moved[] = {1, 2, 4};

/* ---- All fail ---- */

TEST(bad_ok, CHECK_OK(TDM_ERROR(TDM_E_IO, "x: broken")))
TEST(bad_fails_code, CHECK_FAILS(TDM_ERROR(TDM_E_IO, "x: broken"), TDM_E_DATA, "broken"))
TEST(bad_fails_text, CHECK_FAILS(TDM_ERROR(TDM_E_IO, "x: broken"), TDM_E_IO, "whole"))
TEST(bad_fails_not, CHECK_FAILS(TDM_OK, TDM_E_IO, ""))
TEST(bad_message, (void)TDM_ERROR(TDM_E_IO, "x: broken"); CHECK_MESSAGE("whole"))
TEST(bad_true, CHECK_TRUE(1 == 2))
TEST(bad_false, CHECK_FALSE(1 == 1))
TEST(bad_null, CHECK_NULL("text"))
TEST(bad_not_null, CHECK_NOT_NULL(NULL))
TEST(bad_eq, CHECK_EQ(1, 2))
TEST(bad_eq_wide, CHECK_EQ(INT64_C(1) << 32, 0))
TEST(bad_eq_unsigned, CHECK_EQ(UINT64_MAX, UINT64_MAX - 1))
TEST(bad_eq_float, CHECK_EQ(1.5f, 1))
TEST(bad_eq_last_bit, CHECK_EQ(1.0, nextafter(1.0, 2.0)))
TEST(bad_eq_nan, CHECK_EQ(NAN, NAN))
TEST(bad_ne, CHECK_NE(3, 3))
TEST(bad_lt, CHECK_LT(2, 2))
TEST(bad_le, CHECK_LE(2.5, 2))
TEST(bad_le_nan, CHECK_LE(NAN, 2))
TEST(bad_gt, CHECK_GT(2, 2))
TEST(bad_ge, CHECK_GE(-1, 0))
TEST(bad_near, CHECK_NEAR(1, 2, 0.5))
TEST(bad_near_nan, CHECK_NEAR(NAN, NAN, 1))
TEST(bad_close, CHECK_CLOSE_ARRAY(3, f32, f32_moved, 0.4))
TEST(bad_close_nan, CHECK_CLOSE_ARRAY(3, f32_nan, f32, 100))
TEST(bad_close_f64, CHECK_CLOSE_ARRAY(3, f64, f64_moved, 0.5))
TEST(bad_string, CHECK_STR_EQ("a", "b"))
TEST(bad_string_null, CHECK_STR_EQ(NULL, ""))
TEST(bad_strings_equal, CHECK_STR_NE("a", "a"))
TEST(bad_contains, CHECK_CONTAINS("abc", "d"))
TEST(bad_contains_null, CHECK_CONTAINS(NULL, ""))
TEST(bad_lacks, CHECK_LACKS("abc", "b"))
TEST(bad_lacks_null, CHECK_LACKS(NULL, "b"))
TEST(bad_memory, CHECK_MEM_EQ("abc", "abd", 3))
TEST(bad_memory_equal, CHECK_MEM_NE("abc", "abd", 2))

/* ---- All pass ---- */

TEST(good_status, CHECK_OK(TDM_OK); CHECK_FAILS(TDM_ERROR(TDM_E_IO, "x: broken"), TDM_E_IO, "broken");
     CHECK_MESSAGE("x: "))
TEST(good_integers, CHECK_EQ(-1, INT64_C(-1)); CHECK_EQ(true, 1); CHECK_EQ((size_t)3, 3); CHECK_EQ('a', 97);
     CHECK_NE(INT64_MIN, INT64_MAX); CHECK_EQ((uint8_t)200, 200))
TEST(good_floats, CHECK_EQ(0.5f, 0.5); CHECK_EQ(0.0, -0.0); CHECK_NE(NAN, NAN); CHECK_LT(1, 1.5);
     CHECK_LE(2, 2); CHECK_GT(INFINITY, 1e300); CHECK_GE(2, 2); CHECK_NEAR(1, 1.5, 0.5))
TEST(good_arrays, CHECK_CLOSE_ARRAY(3, f32, f32_moved, 0.5); CHECK_CLOSE_ARRAY(3, f32, f32, 0);
     CHECK_CLOSE_ARRAY(2, f64, f64_moved, 0); CHECK_CLOSE_ARRAY(0, f32, f32_nan, 0))
TEST(good_strings, CHECK_STR_EQ("a", "a"); CHECK_STR_EQ(NULL, NULL); CHECK_STR_NE("a", NULL);
     CHECK_CONTAINS("abc", "bc"); CHECK_LACKS("abc", "d"))
TEST(good_memory, CHECK_MEM_EQ("abc", "abd", 2); CHECK_MEM_EQ(f32, f32_moved, 0);
     CHECK_MEM_NE("abc", "abd", 3))
TEST(good_once, int64_t i = 0; CHECK_EQ(i++, 0); CHECK_LT(i++, 2); CHECK_NEAR(i++, 2, 0);
     CHECK_TRUE(i++ == 3); CHECK_EQ(i, 4))

int main(void)
{
#define T(name) cmocka_unit_test(name)
    const struct CMUnitTest bad[] = {
        T(bad_ok),
        T(bad_fails_code),
        T(bad_fails_text),
        T(bad_fails_not),
        T(bad_message),
        T(bad_true),
        T(bad_false),
        T(bad_null),
        T(bad_not_null),
        T(bad_eq),
        T(bad_eq_wide),
        T(bad_eq_unsigned),
        T(bad_eq_float),
        T(bad_eq_last_bit),
        T(bad_eq_nan),
        T(bad_ne),
        T(bad_lt),
        T(bad_le),
        T(bad_le_nan),
        T(bad_gt),
        T(bad_ge),
        T(bad_near),
        T(bad_near_nan),
        T(bad_close),
        T(bad_close_nan),
        T(bad_close_f64),
        T(bad_string),
        T(bad_string_null),
        T(bad_strings_equal),
        T(bad_contains),
        T(bad_contains_null),
        T(bad_lacks),
        T(bad_lacks_null),
        T(bad_memory),
        T(bad_memory_equal),
    };
    const struct CMUnitTest good[] = {
        T(good_status),  T(good_integers), T(good_floats), T(good_arrays),
        T(good_strings), T(good_memory),   T(good_once),
    };
    const int failed = cmocka_run_group_tests(bad, NULL, NULL), all = sizeof bad / sizeof bad[0];
    const int failed_wrongly = cmocka_run_group_tests(good, NULL, NULL);
    printf("%d of %d checks failed as they should, %d of the others\n", failed, all, failed_wrongly);
    return failed != all || failed_wrongly != 0;
}
