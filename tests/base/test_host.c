/* Threads when nobody says how many, threads on given cores, and requests to stop. */
#include "check.h"
#include "tandem/base.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_default_threads(void **state)
{
    (void)state;
    static const char *const names[] = {"OMP_NUM_THREADS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS",
                                        "SLURM_NTASKS_PER_NODE"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) unsetenv(names[i]);
    const int all = tdm_default_threads();
    const int online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    CHECK_GE(all, 1);
    CHECK_LE(all, online);
    setenv("OMP_NUM_THREADS", "3", 1);
    CHECK_EQ(tdm_default_threads(), 3);
    setenv("OMP_NUM_THREADS", "none", 1); /* not a number: as if it were not there */
    CHECK_EQ(tdm_default_threads(), all);
    unsetenv("OMP_NUM_THREADS");
    for (size_t i = 1; i < sizeof names / sizeof names[0]; i++) {
        setenv(names[i], "1000000", 1); /* more ranks than cores */
        if (all == online) CHECK_EQ(tdm_default_threads(), 1);
        setenv(names[i], "1", 1);
        CHECK_EQ(tdm_default_threads(), all);
        unsetenv(names[i]);
    }
    /* bound to one core */
    cpu_set_t before, one;
    CHECK_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&one) == 0; core++)
        if (CPU_ISSET(core, &before)) CPU_SET(core, &one);
    CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    const int bound = tdm_default_threads();
    CHECK_EQ(sched_setaffinity(0, sizeof before, &before), 0);
    CHECK_EQ(bound, 1);
}

static void *cores_of_thread(void *argument)
{
    cpu_set_t *set = argument;
    return sched_getaffinity(0, sizeof *set, set) == 0 ? set : NULL;
}

static void run_thread(cpu_set_t *set)
{
    pthread_t thread;
    void *result;
    CHECK_EQ(tdm_thread_create(&thread, cores_of_thread, set), 0);
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK_NOT_NULL(result);
}

static void test_thread_create(void **state)
{
    (void)state;
    cpu_set_t mine, got;
    CHECK_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
    run_thread(&got);
    CHECK_TRUE(CPU_EQUAL(&got, &mine)); /* of the thread that creates it */
    int core = 0;
    while (!CPU_ISSET(core, &mine)) core++;
    tdm_set_cores(&core, 1);
    run_thread(&got);
    CHECK_EQ(CPU_COUNT(&got), 1);
    CHECK_TRUE(CPU_ISSET(core, &got));
    const int none[] = {-1, CPU_SETSIZE};
    tdm_set_cores(none, 2); /* no core at all: as before the first call */
    run_thread(&got);
    CHECK_TRUE(CPU_EQUAL(&got, &mine));
}

/* In a child, since the flag cannot be taken back. */
static int stopped_by(int number)
{
    const pid_t child = fork();
    if (child == 0) {
        tdm_stop_install();
        if (tdm_stop_requested()) _exit(1);
        raise(number);
        _exit(tdm_stop_requested() ? 0 : 2);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    return status;
}

static void test_stop(void **state)
{
    (void)state;
    CHECK_FALSE(tdm_stop_requested());
    CHECK_EQ(stopped_by(SIGTERM), 0);
    CHECK_EQ(stopped_by(SIGUSR1), 0);
    CHECK_EQ(stopped_by(SIGINT), 0);
    CHECK_EQ(stopped_by(SIGHUP), 0);
    CHECK_FALSE(tdm_stop_requested());
}

/* A child that gets `first`, after pause_ms `second`, and ends with 0 if it lives and knows that it is to stop. */
static int stopped_twice(int first, int pause_ms, int second)
{
    const pid_t child = fork();
    if (child == 0) {
        tdm_stop_install();
        raise(first);
        usleep((useconds_t)pause_ms * 1000);
        raise(second);
        _exit(tdm_stop_requested() ? 0 : 2);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    return status;
}

static void test_second_stop(void **state)
{
    (void)state;
    const int ends[] = {SIGINT, SIGHUP};
    for (size_t i = 0; i < 2; i++) {
        const int status = stopped_twice(ends[i], 600, ends[i]);
        CHECK_TRUE(WIFSIGNALED(status)); /* the shell's code is 128 + the signal */
        CHECK_EQ(WTERMSIG(status), ends[i]);
        CHECK_EQ(stopped_twice(ends[i], 0, ends[i]), 0); /* at once: a terminal that closes sends two */
    }
    CHECK_EQ(WTERMSIG(stopped_twice(SIGTERM, 600, SIGINT)), SIGINT);
    /* a batch system warns with one signal and later sends another: the checkpoint still comes */
    CHECK_EQ(stopped_twice(SIGUSR1, 600, SIGTERM), 0);
    CHECK_EQ(stopped_twice(SIGTERM, 600, SIGTERM), 0);
    CHECK_EQ(stopped_twice(SIGINT, 600, SIGTERM), 0);
}

/* Ignored at the start: nohup, and background jobs of shells. */
static void test_ignored_stop(void **state)
{
    (void)state;
    const struct {
        int number, ignored;
    } cases[] = {{SIGHUP, true}, {SIGINT, true}, {SIGTERM, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const pid_t child = fork();
        if (child == 0) {
            signal(cases[i].number, SIG_IGN);
            tdm_stop_install();
            raise(cases[i].number);
            _exit(tdm_stop_requested() == !cases[i].ignored ? 0 : 1);
        }
        int status = -1;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_threads),
        cmocka_unit_test(test_thread_create),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_second_stop),
        cmocka_unit_test(test_ignored_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
