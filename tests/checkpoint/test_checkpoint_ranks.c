/* tdm_checkpoint_save on several ranks: all return the same, also when rank 0 cannot write. */
#include "check.h"
#include "scratch.h"
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
    CHECK_OK(tdm_checkpoint_save(comm, run, &one.config, &one.params, &one.optim, one.tokenizer, &one.state,
                                 true));
    char dir[512];
    CHECK_OK(tdm_checkpoint_latest(comm, run, dir, sizeof dir));
    CHECK_CONTAINS(dir, "checkpoints/step-00000005");
    CHECK_OK(tdm_checkpoint_read_model(dir, &one.params));
    CHECK_EQ(one.params.weight[0], 5);
    CHECK_OK(tdm_checkpoint_verify(dir));
    tdm_comm_barrier(comm);
}

static void test_failure_is_agreed(void **state)
{
    (void)state;
    char file[512];
    snprintf(file, sizeof file, "%s/a-file", run);
    if (tdm_comm_rank(comm) == 0) CHECK_OK(tdm_write_file_atomic(file, "x", 1));
    tdm_comm_barrier(comm);
    CHECK_FAILS(tdm_checkpoint_save(comm, file, &one.config, &one.params, &one.optim, one.tokenizer,
                                    &one.state, false),
                TDM_E_IO, "a-file");
    CHECK_EQ(tdm_error_last()->rank, 0);
}

/* This rank's part of a sharded optimiser: every `stripes`-th of stretches of 1000 elements. */
static void cut_moments(tdm_optim *optim, int64_t offset)
{
    enum { STRETCH = 1000 };
    const int size = tdm_comm_size(comm), rank = tdm_comm_rank(comm);
    static tdm_span part[1000];
    int64_t parts = 0;
    for (int64_t i = 0; i * STRETCH < one.params.total; i++)
        if ((i + offset) % size == rank)
            part[parts++] = (tdm_span){i * STRETCH, tdm_min_i64(one.params.total, (i + 1) * STRETCH)};
    CHECK_OK(tdm_optim_create_part(&one.config, part, parts, optim));
}

/* A sharded optimiser's checkpoint is the file that a whole one writes, and comes back whole or in other
 * parts. */
static void test_shard(void **state)
{
    (void)state;
    tdm_optim whole = one.optim, shard, got;
    tdm_span piece;
    char dir[512];
    checkpoint_case_fill(&one, 6);
    cut_moments(&shard, 0);
    for (int64_t from = 0, at; tdm_optim_next(&shard, &from, one.params.total, &piece, &at);) {
        const size_t bytes = (size_t)(piece.end - piece.begin) * sizeof(float);
        memcpy(shard.moment[0] + at, whole.moment[0] + piece.begin, bytes);
        memcpy(shard.moment[1] + at, whole.moment[1] + piece.begin, bytes);
    }
    shard.step = 6;
    CHECK_OK(
        tdm_checkpoint_save(comm, run, &one.config, &one.params, &shard, one.tokenizer, &one.state, false));
    CHECK_OK(tdm_checkpoint_latest(comm, run, dir, sizeof dir));
    CHECK_CONTAINS(dir, "step-00000006");

    CHECK_OK(tdm_optim_create(&one.config, &one.params, &got));
    CHECK_OK(tdm_checkpoint_read_state(dir, &one.params, &got, &one.state));
    for (int64_t i = 0; i < one.params.count; i++) {
        const tdm_param *row = &one.params.row[i];
        const size_t bytes = (size_t)row->size * sizeof(float);
        CHECK_MEM_EQ(got.moment[0] + row->offset, whole.moment[0] + row->offset, bytes);
        CHECK_MEM_EQ(got.moment[1] + row->offset, whole.moment[1] + row->offset, bytes);
    }
    CHECK_EQ(got.step, 6);
    tdm_optim_destroy(&got);
    cut_moments(&got, 1);
    CHECK_OK(tdm_checkpoint_read_state(dir, &one.params, &got, &one.state));
    for (int64_t from = 0, at; tdm_optim_next(&got, &from, one.params.total, &piece, &at);)
        for (int64_t i = 0; i < one.params.count; i++) {
            const tdm_param *row = &one.params.row[i];
            const int64_t begin = tdm_max_i64(piece.begin, row->offset);
            const int64_t end = tdm_min_i64(piece.end, row->offset + row->size);
            if (begin < end)
                CHECK_MEM_EQ(got.moment[1] + at + begin - piece.begin, whole.moment[1] + begin,
                             (size_t)(end - begin) * sizeof(float));
        }
    tdm_optim_destroy(&got);

    char file[512]; /* rank 0 fails: nobody waits for it */
    snprintf(file, sizeof file, "%s/a-file", run);
    if (tdm_comm_rank(comm) == 0) CHECK_OK(tdm_write_file_atomic(file, "x", 1));
    tdm_comm_barrier(comm);
    CHECK_FAILS(
        tdm_checkpoint_save(comm, file, &one.config, &one.params, &shard, one.tokenizer, &one.state, false),
        TDM_E_IO, "a-file");
    tdm_optim_destroy(&shard);
}

int main(int argc, char **argv)
{
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    if (checkpoint_case_create(&one) != TDM_OK) return 1;
    if (tdm_comm_rank(comm) == 0 && scratch_dir(run, sizeof run) != 0) return 1;
    tdm_comm_broadcast(comm, run, sizeof run, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_save),
        cmocka_unit_test(test_failure_is_agreed),
        cmocka_unit_test(test_shard),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_barrier(comm);
    if (tdm_comm_rank(comm) == 0 && tdm_remove_tree(run) != TDM_OK) failed++;
    checkpoint_case_destroy(&one);
    tdm_comm_destroy(&comm);
    return failed;
}
