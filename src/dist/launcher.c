/* What launchers say about a job, by the variables that they set: whether one started this process, and how many
 * tasks it started. MPI cannot say the latter when it does not understand the launcher: then every task is a job of
 * its own to it, rank 0 of 1. */
#include "comm_impl.h"

#include <stdlib.h>
#include <string.h>

bool tdm_comm_launched(void)
{
    static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"};
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        if (getenv(variables[i]) != NULL) return true;
    return false;
}

/* srun and Flux hand PMI or PMIx to the tasks; mpirun within a job of Slurm sets its own variables beside. */
const char *tdm_comm_launcher(void)
{
    static const struct {
        const char *variable, *name;
    } rows[] = {{"OMPI_COMM_WORLD_SIZE", "mpirun of Open MPI"},
                {"PALS_RANKID", "PALS"},
                {"ALPS_APP_PE", "aprun"},
                {"FLUX_TASK_RANK", "flux"},
                {"MPI_LOCALNRANKS", "mpiexec of MPICH (Hydra)"},
                {"SLURM_STEP_NUM_TASKS", "srun"},
                {"PMIX_RANK", "a launcher with PMIx"},
                {"PMI_RANK", "a launcher with PMI"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        /* in the shell of `srun --pty` nothing has been launched yet */
        if (!strncmp(rows[i].variable, "SLURM_", 6) && getenv("SLURM_PTY_PORT") != NULL) continue;
        if (getenv(rows[i].variable) != NULL) return rows[i].name;
    }
    return "none";
}

/* A number of the environment, or -1. */
static long number_of(const char *name)
{
    char *end;
    const char *text = getenv(name);
    if (text == NULL || *text == '\0') return -1;
    const long value = strtol(text, &end, 10);
    return *end == '\0' && value >= 0 ? value : -1;
}

/* The size that a variable tells, or what a rank above 0 tells: that there are more. */
static int tasks_of(const char *name, bool is_rank, char evidence[64])
{
    const long value = number_of(name);
    if (value <= (is_rank ? 0 : 1)) return 1;
    snprintf(evidence, 64, "%s=%ld", name, value);
    return (int)value + is_rank;
}

int tdm_comm_started_tasks(char evidence[64])
{
    static const struct {
        const char *name;
        bool is_rank;
    } others[] = {{"MPI_LOCALNRANKS", false}, {"PMIX_RANK", true},   {"PMI_RANK", true},
                  {"PALS_LOCAL_SIZE", false}, {"PALS_RANKID", true}, {"SLURM_STEP_NUM_TASKS", false},
                  {"SLURM_PROCID", true}};
    const long ompi = number_of("OMPI_COMM_WORLD_SIZE"), pmi = number_of("PMI_SIZE");
    evidence[0] = '\0';
    /* mpirun counts, not what started it or its daemons: under Slurm the ranks inherit the variables of a step
     * with one task a node. */
    if (ompi == 1 || pmi == 1) return 1;
    if (ompi > 1) return tasks_of("OMPI_COMM_WORLD_SIZE", false, evidence);
    if (pmi > 1) return tasks_of("PMI_SIZE", false, evidence);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        /* SLURM_NTASKS stands in every batch script and says nothing about this process; only srun tells of a step.
         * The shell of `srun --pty` is a step, too, and what is started in it is not one of its tasks. */
        if (!strncmp(others[i].name, "SLURM_", 6) && getenv("SLURM_PTY_PORT") != NULL) continue;
        const int tasks = tasks_of(others[i].name, others[i].is_rank, evidence);
        if (tasks > 1) return tasks;
    }
    return 1;
}

tdm_status comm_check_launch(int size)
{
    char evidence[64], library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    if (size > 1 || tdm_comm_started_tasks(evidence) == 1) return TDM_OK;
    MPI_Get_library_version(library, &length);
    library[strcspn(library, ",\n")] = '\0';
    TDM_FAIL(
        TDM_E_LIBRARY,
        "the launcher started several tasks (%s), but MPI sees only this one, so that each would be rank 0 of 1; "
        "check that mpirun is that of %.100s, which this program uses, and under Slurm that srun speaks with it "
        "(`srun --mpi=list`; --mpi=pmix or --mpi=pmi2)",
        evidence, library);
}
