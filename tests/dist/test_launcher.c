/* Which launcher there is, and how many tasks it started, by the variables that launchers are known to set. */
#include "check.h"

#include "../../src/dist/comm_impl.h"

#include <stdlib.h>

static const char *const known[] = {
    "OMPI_COMM_WORLD_SIZE", "PMI_SIZE",     "PMI_RANK",      "PMIX_RANK",
    "MPI_LOCALNRANKS",      "ALPS_APP_PE",  "PALS_RANKID",   "PALS_LOCAL_SIZE",
    "SLURM_NTASKS",         "SLURM_PROCID", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS",
    "SLURM_PTY_PORT",       "SLURM_JOB_ID", "SLURM_NPROCS"};

/* The environment: "NAME=VALUE NAME=VALUE". */
static void set_environment(const char *text)
{
    char copy[512];
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) unsetenv(known[i]);
    snprintf(copy, sizeof copy, "%s", text);
    for (char *rest = copy, *one; (one = strsep(&rest, " ")) != NULL;) {
        char *equal = strchr(one, '=');
        if (equal == NULL) continue;
        *equal = '\0';
        setenv(one, equal + 1, 1);
    }
}

static void test_tasks(void **state)
{
    (void)state;
    static const struct {
        const char *what, *environment;
        int tasks;
        const char *evidence;
    } cases[] = {
        {"no launcher", "", 1, ""},
        {"mpirun of Open MPI", "OMPI_COMM_WORLD_SIZE=4 PMIX_RANK=0", 4, "OMPI_COMM_WORLD_SIZE=4"},
        {"mpirun -n 1", "OMPI_COMM_WORLD_SIZE=1 PMIX_RANK=0", 1, ""},
        {"hydra, the first task", "PMI_SIZE=3 PMI_RANK=0 MPI_LOCALNRANKS=3", 3, "PMI_SIZE=3"},
        {"hydra -n 1", "PMI_SIZE=1 PMI_RANK=0 MPI_LOCALNRANKS=1", 1, ""},
        {"ranks without a size", "PMIX_RANK=2", 3, "PMIX_RANK=2"},
        {"the first of them is not known to be one", "PMIX_RANK=0", 1, ""},
        {"PALS", "PALS_RANKID=5", 6, "PALS_RANKID=5"},
        {"PALS, the first", "PALS_RANKID=0 PALS_LOCAL_SIZE=2", 2, "PALS_LOCAL_SIZE=2"},
        {"a batch script", "SLURM_JOB_ID=7 SLURM_NTASKS=8 SLURM_NPROCS=8 SLURM_PROCID=0", 1, ""},
        {"srun without PMI, the first task",
         "SLURM_JOB_ID=7 SLURM_NTASKS=8 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=8 SLURM_PROCID=0", 8,
         "SLURM_STEP_NUM_TASKS=8"},
        {"srun -n 1 in an allocation of 8",
         "SLURM_NTASKS=1 SLURM_STEP_ID=1 SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0", 1, ""},
        {"srun with PMIx", "PMIX_RANK=0 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=0", 2,
         "SLURM_STEP_NUM_TASKS=2"},
        {"mpirun -n 1, its daemon is a task of a step of 4",
         "OMPI_COMM_WORLD_SIZE=1 SLURM_NTASKS=8 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=3", 1,
         ""},
        {"hydra -n 1 there", "PMI_SIZE=1 PMI_RANK=0 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=3", 1, ""},
        {"salloc's interactive step",
         "SLURM_NTASKS=8 SLURM_STEP_ID=4294967290 SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0", 1, ""},
        {"srun -n 8 --pty bash", "SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=8 SLURM_PROCID=0 SLURM_PTY_PORT=40001",
         1, ""},
        {"mpirun in that shell",
         "SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=8 SLURM_PROCID=0 SLURM_PTY_PORT=40001 OMPI_COMM_WORLD_SIZE=8",
         8, "OMPI_COMM_WORLD_SIZE=8"},
        {"not numbers", "PMI_SIZE= OMPI_COMM_WORLD_SIZE=many PMI_RANK=-1 SLURM_STEP_NUM_TASKS=2x", 1, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char evidence[64] = "none";
        set_environment(cases[i].environment);
        const int tasks = tdm_comm_started_tasks(evidence);
        if (tasks != cases[i].tasks) fail_msg("%s: %d tasks, not %d", cases[i].what, tasks, cases[i].tasks);
        CHECK_STR_EQ(evidence, cases[i].evidence);
        CHECK_OK(comm_check_launch(2)); /* MPI understands its launcher */
        if (tasks == 1) CHECK_OK(comm_check_launch(1));
        if (tasks == 1) continue;
        CHECK_FAILS(comm_check_launch(1), TDM_E_LIBRARY, "MPI sees only this one");
        CHECK_MESSAGE(evidence);
        CHECK_MESSAGE("MPI"); /* which library it is */
    }
    set_environment("");
}

static void test_name(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"none", ""},
        {"none", "SLURM_JOB_ID=7 SLURM_NTASKS=8"},
        {"none", "SLURM_STEP_NUM_TASKS=8 SLURM_PTY_PORT=40001"},
        {"mpirun of Open MPI", "OMPI_COMM_WORLD_SIZE=4 PMIX_RANK=0 SLURM_STEP_NUM_TASKS=4"},
        {"mpiexec of MPICH (Hydra)", "PMI_SIZE=3 PMI_RANK=0 MPI_LOCALNRANKS=3"},
        {"srun", "PMIX_RANK=0 SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=0"},
        {"a launcher with PMIx", "PMIX_RANK=0"},
        {"PALS", "PALS_RANKID=0 PMI_RANK=0"},
        {"aprun", "ALPS_APP_PE=0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_environment(cases[i][1]);
        CHECK_STR_EQ(tdm_comm_launcher(), cases[i][0]);
    }
    set_environment("");
}

/* One process needs no daemon of MPI beside it, and its environment stays as it was. */
static void test_alone(void **state)
{
    (void)state;
    static const char *const settings[] = {"OMPI_MCA_ess_singleton_isolated", "OMPI_MCA_pml", "OMPI_MCA_pmix",
                                           "OMPI_MCA_orte_create_session_dirs", "OMPI_MCA_btl"};
    enum { SETTINGS = sizeof settings / sizeof settings[0], OWN = SETTINGS - 1 };
    char children[32];
    tdm_comm *comm = NULL;
    for (int i = 0; i < SETTINGS; i++) unsetenv(settings[i]);
    setenv(settings[OWN], "self,vader", 1);
    CHECK_OK(tdm_comm_create(NULL, NULL, &comm));
    CHECK_EQ(tdm_comm_size(comm), 1);
    FILE *file = fopen("/proc/thread-self/children", "r"); /* not in every kernel */
    if (file != NULL) {
        if (fgets(children, sizeof children, file) != NULL) fail_msg("process %s was started", children);
        fclose(file);
    }
    for (int i = 0; i < OWN; i++) CHECK_NULL(getenv(settings[i]));
    CHECK_STR_EQ(getenv(settings[OWN]), "self,vader");
    tdm_comm_destroy(&comm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tasks), cmocka_unit_test(test_name),
                                       cmocka_unit_test(test_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
