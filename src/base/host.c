#include "tandem/base.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* A positive integer from the environment, or 0. */
static int environment_count(const char *name)
{
    const char *text = getenv(name);
    return text ? (int)strtol(text, NULL, 10) : 0;
}

int tdm_default_threads(void)
{
    const int asked = environment_count("OMP_NUM_THREADS");
    if (asked > 0) return asked;

    const int online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int bound = online;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) bound = CPU_COUNT(&set);
    if (bound < online) return bound > 0 ? bound : 1;

    /* Open MPI and PRRTE, MPICH, Slurm */
    static const char *const local_ranks[] = {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS",
                                              "SLURM_NTASKS_PER_NODE"};
    for (size_t i = 0; i < sizeof(local_ranks) / sizeof(local_ranks[0]); i++) {
        const int ranks = environment_count(local_ranks[i]);
        if (ranks > 0) return ranks < online ? online / ranks : 1;
    }
    return online > 0 ? online : 1;
}

static cpu_set_t process_cores;
static bool cores_known;

void tdm_set_cores(const int *core, int64_t count)
{
    CPU_ZERO(&process_cores);
    for (int64_t i = 0; i < count; i++)
        if (core[i] >= 0 && core[i] < CPU_SETSIZE) CPU_SET(core[i], &process_cores);
    cores_known = CPU_COUNT(&process_cores) > 0;
}

int tdm_thread_create(pthread_t *thread, void *(*run)(void *), void *argument)
{
    if (!cores_known) return pthread_create(thread, NULL, run, argument);
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error) return error;
    pthread_attr_setaffinity_np(&attributes, sizeof(process_cores), &process_cores);
    error = pthread_create(thread, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    return error ? pthread_create(thread, NULL, run, argument) : 0;
}

void tdm_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct timespec tdm_after(double wait_s)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    const int64_t ns = at.tv_nsec + (int64_t)(wait_s * 1e9);
    at.tv_sec += ns / 1000000000;
    at.tv_nsec = ns % 1000000000;
    return at;
}

int tdm_allowed_cores(uint8_t bits[TDM_CORE_BYTES])
{
    cpu_set_t set = process_cores;
    memset(bits, 0, TDM_CORE_BYTES);
    if (!cores_known && sched_getaffinity(0, sizeof(set), &set) != 0) return 0; /* more than 1,024 cores */
    for (int core = 0; core < CPU_SETSIZE && core < 8 * TDM_CORE_BYTES; core++)
        if (CPU_ISSET(core, &set)) bits[core / 8] |= (uint8_t)(1 << core % 8);
    return CPU_COUNT(&set);
}
