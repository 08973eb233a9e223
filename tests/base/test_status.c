/* The record of an error: what it holds, whose it is, and how it is passed on. */
#include "check.h"
#include "tandem/base.h"

static tdm_status divide(int a, int b, int *out)
{
    TDM_REQUIRE(b != 0, TDM_E_DATA, "cannot divide %d by zero", a);
    *out = a / b;
    return TDM_OK;
}

static tdm_status divide_twice(int a, int b, int *out)
{
    TDM_TRY(divide(a, b, out));
    return divide(*out, b, out);
}

static void test_record(void **state)
{
    (void)state;
    int out = 0;
    CHECK_OK(divide_twice(12, 2, &out));
    CHECK_EQ(out, 3);
    CHECK_FAILS(divide_twice(12, 0, &out), TDM_E_DATA, "cannot divide 12 by zero");
    const tdm_error *error = tdm_error_last();
    CHECK_EQ(error->code, TDM_E_DATA);
    CHECK_STR_EQ(error->file, "base/test_status.c"); /* the last folder is enough */
    CHECK_GT(error->line, 0);
    CHECK_EQ(error->rank, -1);
}

static void test_file_names(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"/a/b/src/data/shard.c", "data/shard.c"},
                                           {"data/shard.c", "data/shard.c"},
                                           {"shard.c", "shard.c"},
                                           {"/shard.c", "/shard.c"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        CHECK_EQ(tdm_error_set(TDM_E_IO, names[i][0], 7, "x"), TDM_E_IO);
        CHECK_STR_EQ(tdm_error_last()->file, names[i][1]);
        CHECK_EQ(tdm_error_last()->line, 7);
    }
}

/* A message may say more than there is room for, and may be made of the one before it. */
static void test_long_and_nested(void **state)
{
    (void)state;
    CHECK_EQ(TDM_ERROR(TDM_E_IO, "%03000d", 1), TDM_E_IO);
    CHECK_EQ(strlen(tdm_error_last()->message), sizeof(tdm_error_last()->message) - 1);
    CHECK_EQ(TDM_ERROR(TDM_E_IO, "inner"), TDM_E_IO);
    CHECK_FAILS(TDM_ERROR(TDM_E_FORMAT, "outer (%s)", tdm_error_last()->message), TDM_E_FORMAT,
                "outer (inner)");
}

static void *fail_elsewhere(void *argument)
{
    tdm_error *copy = argument;
    (void)TDM_ERROR(TDM_E_NUMERIC, "of another thread");
    *copy = *tdm_error_last();
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    (void)TDM_ERROR(TDM_E_IO, "of this thread");
    tdm_error other = {0};
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, fail_elsewhere, &other), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_STR_EQ(tdm_error_last()->message, "of this thread");
    CHECK_STR_EQ(other.message, "of another thread");
    CHECK_EQ(tdm_error_adopt(&other), TDM_E_NUMERIC);
    CHECK_STR_EQ(tdm_error_last()->message, "of another thread");
    CHECK_EQ(tdm_error_adopt(tdm_error_last()), TDM_E_NUMERIC); /* its own record */
}

static void test_names(void **state)
{
    (void)state;
    for (int a = TDM_OK; a <= TDM_E_OTHER_RANK; a++) {
        CHECK_STR_NE(tdm_status_name((tdm_status)a), "unknown");
        for (int b = TDM_OK; b < a; b++)
            CHECK_STR_NE(tdm_status_name((tdm_status)a), tdm_status_name((tdm_status)b));
    }
    CHECK_STR_EQ(tdm_status_name((tdm_status)(TDM_E_OTHER_RANK + 1)), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record),          cmocka_unit_test(test_file_names),
        cmocka_unit_test(test_long_and_nested), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
