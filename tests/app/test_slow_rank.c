/* Which rank the others waited for, from how long each waited itself. */
#include "check.h"

#include "../../src/app/slow_rank.h"

static void test_slow_rank(void **state)
{
    (void)state;
    /* rank 2 computes 9 s longer than 0 and 6 s longer than 1; all wait 1 s for something else */
    const rank_wait computes[] = {{0.0, 0.5, 9.5}, {3.0, 0.5, 6.5}, {0.0, 0.5, 0.5}};
    slow_rank slow = slow_rank_of(computes, 3);
    CHECK_EQ(slow.rank, 2);
    CHECK_NEAR(slow.wait_s, 7.5, 1e-12);
    CHECK_NEAR(slow.wait_data_s, 0.0, 1e-12);

    /* rank 0 waits for its loader, the other one for rank 0, which has to wait for it in the step in turn */
    const rank_wait reads[] = {{8.0, 0.0, 2.0}, {0.0, 8.0, 0.5}};
    slow = slow_rank_of(reads, 2);
    CHECK_EQ(slow.rank, 0);
    CHECK_NEAR(slow.wait_s, 6.5, 1e-12);
    CHECK_NEAR(slow.wait_data_s, 6.5, 1e-12); /* never more than the whole */

    const rank_wait alike[] = {{0.0, 1.0, 1.0}, {0.0, 1.0, 1.0}, {0.0, 1.0, 1.0}};
    CHECK_NEAR(slow_rank_of(alike, 3).wait_s, 0.0, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_slow_rank)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
