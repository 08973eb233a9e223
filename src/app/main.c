/* The command line: finds the command, brings the ranks up, runs it, and turns its status into one printed
 * line and one exit code on every rank. */
#include "command.h"
#include "command_table.h"

#include <omp.h>
#include <signal.h>
#include <string.h>

#define DECLARE_COMMAND(command) extern const tdm_command command;
TDM_COMMAND_TABLE(DECLARE_COMMAND)

#define COMMAND_ADDRESS(command) &command,
static const tdm_command *const commands[] = {TDM_COMMAND_TABLE(COMMAND_ADDRESS)};

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_STOPPED = 3 };

static int exit_code(tdm_status status)
{
    switch (status) {
    case TDM_OK: return EXIT_DONE;
    case TDM_E_USAGE: return EXIT_USAGE;
    case TDM_E_STOPPED: return EXIT_STOPPED;
    default: return EXIT_FAILED;
    }
}

static void print_help(void)
{
    puts("usage: tandem COMMAND [option]…\n"
         "\n"
         "Trains CLIP on CPU clusters: pictures and captions in one embedding space.\n"
         "Commands marked * run on one rank or, under mpirun, on many.\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %c %-10s %s\n", commands[i]->mpi ? '*' : ' ', commands[i]->name, commands[i]->summary);
    puts("\n"
         "  tandem COMMAND --help   the command's options\n"
         "  tandem --version        the version\n"
         "\n"
         "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 stopped on request, to be gone on with, 4 ended by\n"
         "train.stall_end, to be started again.");
}

static tdm_status find_command(const char *name, const tdm_command **command)
{
    TDM_REQUIRE(name[0] != '\0', TDM_E_USAGE, "which command? `tandem --help` lists them");
    const char *names[COMMAND_COUNT];
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        names[i] = commands[i]->name;
        if (!strcmp(name, commands[i]->name)) {
            *command = commands[i];
            return TDM_OK;
        }
    }
    const char *near = tdm_nearest_name(name, names, COMMAND_COUNT);
    TDM_REQUIRE(near == NULL, TDM_E_USAGE, "unknown command \"%s\"; did you mean %s?", name, near);
    TDM_FAIL(TDM_E_USAGE, "unknown command \"%s\"; `tandem --help` lists the commands", name);
}

/* Whether the command may run on several ranks as it is called. */
static bool takes_ranks(const tdm_command *command, int argc, char **argv)
{
    bool flag = false;
    for (int i = 2; command->mpi_flag != NULL && i < argc; i++)
        flag = flag || strcmp(argv[i], command->mpi_flag) == 0;
    return command->mpi || flag;
}

/* All ranks run the same program with the same arguments: what they do together would not match otherwise. */
static tdm_status agree_on_call(tdm_comm *comm, tdm_status status, int argc, char **argv)
{
    tdm_reading reading = {0};
    if (status == TDM_OK) status = tdm_reading_add(&reading, "version", "tandem", TDM_VERSION);
    for (int i = 1; i < argc && status == TDM_OK; i++) {
        char place[32];
        snprintf(place, sizeof place, "argument %d", i);
        status = tdm_reading_add(&reading, "argument", place, argv[i]);
    }
    return tdm_comm_agree_on(comm, status, &reading);
}

static tdm_status run_command(const tdm_command *command, tdm_comm *comm, int argc, char **argv)
{
    TDM_REQUIRE(tdm_comm_size(comm) == 1 || takes_ranks(command, argc, argv), TDM_E_USAGE,
                "tandem %s runs on one rank, not on %d: start it without mpirun", command->name,
                tdm_comm_size(comm));
    return command->run(comm, argc - 1, argv + 1);
}

/* A launcher that sets no variables of MPI starts what runs on one rank as many times. */
static tdm_status check_alone(const tdm_command *command)
{
    char evidence[64];
    const int tasks = tdm_comm_started_tasks(evidence);
    TDM_REQUIRE(tasks == 1, TDM_E_USAGE,
                "tandem %s runs on one rank, not on %d (%s): start it without a launcher", command->name,
                tasks, evidence);
    return TDM_OK;
}

/* OpenMP's places, where it binds threads: all cores of the process. */
static void note_cores(void)
{
    enum { MOST = 1024 };
    int core[MOST], count = 0;
    for (int place = 0; omp_get_proc_bind() != omp_proc_bind_false && place < omp_get_num_places(); place++) {
        const int more = omp_get_place_num_procs(place);
        if (count + more > MOST) return;
        omp_get_place_proc_ids(place, core + count);
        count += more;
    }
    if (count) tdm_set_cores(core, count);
}

int main(int argc, char **argv)
{
    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        print_help();
        return EXIT_DONE;
    }
    if (argc > 1 && !strcmp(argv[1], "--version")) {
        puts("tandem " TDM_VERSION);
        return EXIT_DONE;
    }
    const tdm_command *command = NULL;
    tdm_status status = find_command(argc > 1 ? argv[1] : "", &command);
    const bool stops = command != NULL && command->stops;
    if (stops) tdm_stop_install(); /* before all that takes time */
    signal(SIGXFSZ, SIG_IGN);      /* a file at its size limit is an error of write(), which names the file */
    note_cores();
    char evidence[64];
    const bool several = command != NULL && takes_ranks(command, argc, argv);
    const bool alone = !tdm_comm_launched() && (command == NULL || !command->mpi || command->starts_alone) &&
                       !(several && tdm_comm_started_tasks(evidence) > 1);
    tdm_comm *comm = NULL;
    if (status == TDM_OK && alone) status = check_alone(command);
    if ((alone ? tdm_comm_create_alone(&comm) : tdm_comm_create(&argc, &argv, &comm)) != TDM_OK) {
        tdm_log_always("tandem: %s", tdm_error_last()->message);
        return EXIT_FAILED;
    }
    if (stops) tdm_stop_install();                       /* some MPI libraries take SIGUSR1 for themselves */
    const tdm_status same = tdm_comm_same_program(comm); /* its calls must fit those of other ranks */
    if (status == TDM_OK) status = same;
    tdm_cpu cpu;
    if (status == TDM_OK) status = tdm_cpu_detect(&cpu);   /* refuses an unknown TANDEM_ISA before any work */
    if (status == TDM_OK) status = tdm_register_options(); /* they join the configuration's schema */
    status = agree_on_call(comm, status, argc, argv);
    if (status == TDM_OK) status = run_command(command, comm, argc, argv);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_E_STOPPED)
        tdm_log(TDM_LOG_INFO, "%s", tdm_error_last()->message);
    else if (status != TDM_OK)
        tdm_comm_report(comm);
    tdm_comm_destroy(&comm);
    return exit_code(status);
}
