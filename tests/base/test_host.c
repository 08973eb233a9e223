/* Threads when nobody says how many, threads on given cores, requests to stop, and what the host has. */
#include "check.h"
#include "tandem/base.h"
#include "tandem/machine.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <string.h>
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
        if (tdm_stop_requested() || tdm_stop_point("before") != TDM_OK) _exit(1);
        raise(number);
        if (tdm_stop_point("while reading %s", "a.h5") != TDM_E_STOPPED) _exit(3);
        if (strcmp(tdm_error_last()->message, "stopped on request while reading a.h5")) _exit(4);
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

static void test_machine(void **state)
{
    (void)state;
    tdm_machine m;
    uint8_t core[TDM_CORE_BYTES];
    tdm_machine_describe(&m);
    CHECK_EQ(m.online_cores, sysconf(_SC_NPROCESSORS_ONLN));
    CHECK_EQ(m.allowed_cores, tdm_allowed_cores(core));
    CHECK_LE(m.own_numa_nodes, m.numa_nodes);
    CHECK_GT(m.memory_bytes, 1 << 20);
    CHECK_LE(m.available_bytes, m.memory_bytes);
    CHECK_GE(m.limit_bytes, 0);
    CHECK_LT(m.limit_bytes, m.memory_bytes); /* 0: none */
    CHECK_CONTAINS(m.huge_pages, "reserved");
}

static void test_file_system(void **state)
{
    (void)state;
    tdm_file_system s;
    char dir[] = "/tmp/tandem-machine-XXXXXX", line[4];
    CHECK_NOT_NULL(mkdtemp(dir));
    tdm_file_system_describe(dir, &s);
    CHECK_GT(strlen(s.type), 0);
    CHECK_STR_EQ(s.hard_links, "work");
    CHECK_GT(s.free_bytes, 0);
    CHECK_EQ(rmdir(dir), 0); /* nothing is left in it */
    tdm_file_system_describe(dir, &s);
    CHECK_STR_EQ(s.type, "missing");
    tdm_file_system_describe("/proc/self", &s); /* nobody can write there */
    CHECK_MEM_EQ(s.hard_links, "cannot write: ", 14);
    tdm_read_line("/proc/self/comm", line, sizeof line);
    CHECK_STR_EQ(line, "tes");
    tdm_read_line(dir, line, sizeof line);
    CHECK_STR_EQ(line, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_threads),
        cmocka_unit_test(test_thread_create),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_second_stop),
        cmocka_unit_test(test_ignored_stop),
        cmocka_unit_test(test_machine),
        cmocka_unit_test(test_file_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
