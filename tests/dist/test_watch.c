/* The watchdog without a job: whom all wait for, how that is said, and what ranks tell each other in files. Whole jobs
 * are tests/run/stall.sh's. */
#include "check.h"
#include "scratch.h"
#include "tandem/base.h"

#include "../../src/dist/watch_impl.h"

#include <signal.h>
#include <sys/wait.h>

enum { SIZE = 4 };
#define STALL_S 600.0

static const char host[SIZE][64] = {"cn01", "cn01", "cn02", "cn03"};
static stall_peer peer[SIZE];
static int room[SIZE];
static stall_verdict verdict;
static char line[1024];

/* All wait in one collective of step 118 since the tenth minute. */
static int all_wait(void **state)
{
    (void)state;
    for (int r = 0; r < SIZE; r++)
        peer[r] = (stall_peer){.answers = true,
                               .state = {.step = 118,
                                         .meetings = 7,
                                         .quiet_s = STALL_S,
                                         .asks = true,
                                         .phase = "backward",
                                         .wait = "sum of gradients"}};
    return 0;
}

static void judge(stall_kind kind, const char *words)
{
    verdict = (stall_verdict){.rank = room};
    stall_judge(peer, SIZE, STALL_S, &verdict);
    CHECK_EQ(verdict.kind, kind);
    if (kind == STALL_NONE) return;
    stall_describe(&verdict, peer, SIZE, 0, host, STALL_S, line, sizeof line);
    CHECK_STR_EQ(line, words);
}

static void test_silent(void **state)
{
    (void)state;
    peer[2].answers = false;
    judge(STALL_SILENT,
          "no progress for 10.0 minutes: all wait for rank 2 of 4 on cn02 in step 118, backward: sum of "
          "gradients; it does not answer: stopped, or its host cannot be reached");
    peer[2].look = LOOK_STOPPED;
    judge(STALL_SILENT,
          "no progress for 10.0 minutes: all wait for rank 2 of 4 on cn02 in step 118, backward: sum of "
          "gradients; it is stopped, by SIGSTOP or the like");
    peer[3].answers = false;      /* for another reason: they are not told apart */
    peer[1].state.wait[0] = '\0'; /* at work, but that is not why */
    judge(STALL_SILENT,
          "no progress for 10.0 minutes: all wait for rank 2 on cn02 and rank 3 on cn03, of 4 in step "
          "118, backward: sum of gradients; they do not answer: stopped, or their hosts cannot be "
          "reached");
    CHECK_FALSE(verdict.traced);
    peer[3].look = LOOK_TRACED;
    judge(STALL_SILENT, line);
    CHECK_TRUE(verdict.traced);
}

static void test_busy(void **state)
{
    (void)state;
    peer[1].state = (stall_state){.step = 118, .meetings = 7, .phase = "checkpoint"};
    judge(STALL_BUSY,
          "no progress for 10.0 minutes: all wait for rank 1 of 4 on cn01, which is at work in step 118, "
          "checkpoint");
    peer[0].state =
        (stall_state){.step = 118, .meetings = 8, .phase = "checkpoint"}; /* one collective ahead */
    judge(STALL_BUSY, line);
    CHECK_EQ(verdict.count, 1);
    CHECK_EQ(verdict.rank[0], 1);
}

static void test_lost(void **state)
{
    (void)state;
    judge(
        STALL_LOST,
        "no progress for 10.0 minutes: all 4 ranks, on cn01, cn02, cn03, wait for each other in step 118, backward: sum of "
        "gradients; all answer, so a message between them is lost or does not get through");
    peer[3].state.quiet_s = STALL_S / 3.0; /* its messages arrive */
    judge(STALL_NONE, "");
    peer[3].state.quiet_s = STALL_S;
    peer[3].state.meetings = 6;
    peer[3].state.step = 0;
    snprintf(peer[3].state.phase, NAME_BYTES, "start");
    judge(
        STALL_LOST,
        "no progress for 10.0 minutes: all wait for rank 3 of 4 on cn03 in step 118, backward: sum of "
        "gradients; it is behind the others, before the first step, start: sum of gradients; all answer, so a message may be lost or not get through");
}

/* ---- Files ---- */

static char run[64];
static stall_process process[SIZE];
static stall_reading reading[SIZE][SIZE];
static look looks[SIZE][SIZE];

static stall_files files_of(int self)
{
    stall_files f = {.self = self,
                     .size = SIZE,
                     .host = host,
                     .process = process,
                     .grace_s = 60.0,
                     .reading = reading[self],
                     .look = looks[self]};
    CHECK_OK(tdm_path_join(f.dir, sizeof f.dir, run, ".tandem-stall"));
    for (int r = 0; r < SIZE; r++) reading[self][r] = (stall_reading){.news_s = -1.0};
    return f;
}

static void test_files(void **state)
{
    (void)state;
    bool end;
    stall_files zero = files_of(0), one = files_of(1), three = files_of(3);
    const stall_state works = {.step = 3, .phase = "checkpoint"};
    stall_state asks = {
        .step = 3, .meetings = 5, .quiet_s = 1.5, .asks = true, .phase = "a b", .wait = "c d"};
    stall_files_round(&zero, &works, &end);
    CHECK_FALSE(tdm_path_exists(zero.dir)); /* nobody asks: nobody answers */
    for (int i = 0; i < 2; i++) {
        CHECK_FALSE(stall_files_answers(&three, 0, tdm_now_s())); /* one writing may be old */
        stall_files_round(&three, &asks, &end);
        stall_files_round(&zero, &works, &end);
    }
    stall_files_round(&three, &asks, &end);
    CHECK_FALSE(end);
    CHECK_TRUE(stall_files_answers(&three, 0, tdm_now_s()));
    CHECK_FALSE(stall_files_answers(&three, 0, tdm_now_s() + 61.0));
    CHECK_FALSE(stall_files_answers(&three, 1, tdm_now_s()));
    CHECK_STR_EQ(reading[3][0].state.phase, "checkpoint");
    CHECK_STR_EQ(reading[3][0].state.wait, "");
    CHECK_FALSE(reading[3][0].state.asks);

    /* who asks and has a higher one that asks reads it all; the higher one leaves it to the lower one */
    for (int i = 0; i < 3; i++) {
        stall_files_round(&three, &asks, &end);
        stall_files_round(&one, &asks, &end);
    }
    CHECK_TRUE(stall_files_answers(&one, 3, tdm_now_s()));
    CHECK_STR_EQ(reading[1][3].state.wait, "c d");
    CHECK_EQ(reading[1][3].state.meetings, 5);
    CHECK_TRUE(stall_files_answers(&three, 1, tdm_now_s()));

    stall_files_tell_end(&one);
    stall_files_round(&three, &asks, &end);
    CHECK_TRUE(end);
    char path[TDM_PATH_BYTES];
    CHECK_OK(tdm_path_join(path, sizeof path, one.dir, "end"));
    CHECK_EQ(unlink(path), 0);
    stall_files_withdraw(&zero);
    stall_files_withdraw(&one);
    CHECK_TRUE(tdm_path_exists(one.dir));
    stall_files_withdraw(&three);
    CHECK_FALSE(tdm_path_exists(one.dir));
}

/* A process of the same host that is stopped, then gone, is seen, and by word of its neighbour elsewhere, too. */
static void test_neighbour(void **state)
{
    (void)state;
    bool end;
    const stall_state asks = {.asks = true, .phase = "p", .wait = "w"};
    int ready[2];
    CHECK_EQ(pipe(ready), 0);
    stall_process_here(&process[1]);
    const pid_t child = fork();
    if (child == 0) {
        stall_process here;
        stall_process_here(&here);
        (void)!write(ready[1], &here, sizeof here);
        for (;;) pause();
    }
    CHECK_EQ(read(ready[0], &process[0], sizeof process[0]), sizeof process[0]);
    stall_files one = files_of(1), three = files_of(3);
    stall_files_round(&one, &asks, &end);
    CHECK_EQ(one.look[0], LOOK_WELL);
    kill(child, SIGSTOP);
    CHECK_EQ(waitpid(child, NULL, WUNTRACED), child);
    stall_files_round(&one, &asks, &end);
    CHECK_EQ(one.look[0], LOOK_STOPPED);
    stall_files_round(&three, &asks, &end);
    CHECK_EQ(three.look[0], LOOK_STOPPED);
    kill(child, SIGKILL);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    stall_files_round(&one, &asks, &end);
    CHECK_EQ(one.look[0], LOOK_GONE);
    stall_files_withdraw(&one);
    stall_files_withdraw(&three);
}

/* Begins and ends at any time, also while it speaks; what a job left before goes away. */
static void test_life(void **state)
{
    (void)state;
    tdm_comm *comm;
    tdm_watch *watch = NULL;
    char note[TDM_PATH_BYTES];
    CHECK_OK(tdm_comm_create_alone(&comm));
    CHECK_OK(tdm_path_join(note, sizeof note, run, "stalled.txt"));
    CHECK_OK(tdm_write_file_atomic(note, "", 0));
    CHECK_OK(tdm_watch_start(comm, &(tdm_watch_options){.run_dir = run}, &watch));
    CHECK_NULL(watch); /* switched off */
    for (int i = 0; i < 20; i++) {
        CHECK_OK(tdm_watch_start(comm, &(tdm_watch_options){.run_dir = run, .stall_s = 0.01, .end = true},
                                 &watch));
        usleep((useconds_t)(i * 1500));
        tdm_pulse_step(i);
        tdm_watch_stop(&watch);
        CHECK_NULL(watch);
    }
    CHECK_FALSE(tdm_path_exists(note));
    tdm_comm_destroy(&comm);
}

int main(void)
{
    if (scratch_dir(run, sizeof run) != 0) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_silent, all_wait),
                                       cmocka_unit_test_setup(test_busy, all_wait),
                                       cmocka_unit_test_setup(test_lost, all_wait),
                                       cmocka_unit_test(test_files),
                                       cmocka_unit_test(test_neighbour),
                                       cmocka_unit_test(test_life)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
