/* A rank that fails between two phase boundaries, while its peers wait in a collective: one line, a non-zero
 * exit code, no hang. The test starts itself under mpiexec. */
#include "check.h"
#include "tandem/base.h"
#include "tandem/comm.h"

#include <string.h>
#include <sys/wait.h>

static const char *self;

static tdm_status broken(int rank)
{
    TDM_FAIL(TDM_E_DATA, "part%d.h5 is broken", rank);
}

/* A rank of the job; `failing` aborts. */
static int rank_main(int argc, char **argv, int failing)
{
    tdm_comm *comm;
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 0;
    if (tdm_comm_rank(comm) == failing && broken(failing) != TDM_OK) tdm_comm_abort(comm);
    tdm_comm_barrier(comm); /* never complete */
    tdm_comm_destroy(&comm);
    return 0;
}

static void run_job(int ranks, int failing, const char *want)
{
    char command[1024], output[16384];
    snprintf(command, sizeof command, "mpiexec --oversubscribe -n %d '%s' %d 2>&1", ranks, self, failing);
    FILE *pipe = popen(command, "r");
    CHECK_NOT_NULL(pipe);
    const size_t n = fread(output, 1, sizeof output - 1, pipe);
    output[n] = '\0';
    const int status = pclose(pipe);
    CHECK_TRUE(WIFEXITED(status));
    CHECK_NE(WEXITSTATUS(status), 0);
    const char *line = strstr(output, "tandem: ");
    if (line == NULL || strncmp(line, want, strlen(want)) != 0)
        fail_msg("\"%s\" is not in: %s", want, output);
    CHECK_CONTAINS(line, "part");
    CHECK_CONTAINS(line, ".h5 is broken (dist/test_abort.c:");
    CHECK_LACKS(line + 1, "tandem: "); /* only one */
}

static void test_abort(void **state)
{
    (void)state;
    run_job(3, 2, "tandem: rank 2/3 on ");
    run_job(2, 0, "tandem: rank 0/2 on ");
    run_job(1, 0, "tandem: part0.h5 is broken");
}

int main(int argc, char **argv)
{
    if (argc == 2) return rank_main(argc, argv, argv[1][0] - '0');
    self = argv[0];
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_abort)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
