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
