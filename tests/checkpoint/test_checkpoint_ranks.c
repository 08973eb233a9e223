/* tdm_checkpoint_save on several ranks: all return the same, also when rank 0 cannot write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "checkpoint_case.h"

#include <stdlib.h>

static tdm_comm *comm;
static checkpoint_case one;
static char run[256];

static void test_save(void **state)
{
    (void)state;
    checkpoint_case_fill(&one, 5);
    if (tdm_comm_rank(comm) != 0) one.params.weight[0] = -1; /* replicated by contract: rank 0's is written */
    assert_int_equal(
        tdm_checkpoint_save(comm, run, &one.config, &one.params, &one.optim, one.tokenizer, &one.state, true),
        TDM_OK);
    char dir[512];
    assert_int_equal(tdm_checkpoint_latest(run, dir, sizeof dir), TDM_OK);
    assert_non_null(strstr(dir, "checkpoints/step-00000005"));
    assert_int_equal(tdm_checkpoint_read_model(dir, &one.params), TDM_OK);
    assert_true(one.params.weight[0] == 5);
    assert_int_equal(tdm_checkpoint_verify(dir), TDM_OK);
    tdm_comm_barrier(comm);
}

static void test_failure_is_agreed(void **state)
{
    (void)state;
    char file[512];
    snprintf(file, sizeof file, "%s/a-file", run);
    if (tdm_comm_rank(comm) == 0) assert_int_equal(tdm_write_file_atomic(file, "x", 1), TDM_OK);
    tdm_comm_barrier(comm);
    assert_int_equal(tdm_checkpoint_save(comm, file, &one.config, &one.params, &one.optim, one.tokenizer,
                                         &one.state, false),
                     TDM_E_IO);
    assert_non_null(strstr(tdm_error_last()->message, "a-file"));
    assert_int_equal(tdm_error_last()->rank, 0);
}

int main(int argc, char **argv)
{
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    if (checkpoint_case_create(&one) != TDM_OK) return 1;
    snprintf(run, sizeof run, "%s/tandem-checkpoint-ranks-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (tdm_comm_rank(comm) == 0 && mkdtemp(run) == NULL) return 1;
    tdm_comm_broadcast(comm, run, sizeof run, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_save),
        cmocka_unit_test(test_failure_is_agreed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_barrier(comm);
    if (tdm_comm_rank(comm) == 0 && tdm_remove_tree(run) != TDM_OK) failed++;
    checkpoint_case_destroy(&one);
    tdm_comm_destroy(&comm);
    return failed;
}
