/* What MPI and the kernel say about how ranks reach each other. */
#include "comm_impl.h"

#include "tandem/roster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Transports ---- */

/* Open MPI's components, and libraries of fabrics: what was not chosen is no longer mapped once MPI has started. */
static const struct part {
    const char *file, *shown; /* in the name of a mapped file; %s: what stands behind it, up to ".so" */
} parts[] = {{"/mca_pml_", "pml %s"},   {"/mca_mtl_", "mtl %s"},        {"/mca_btl_", "btl %s"},
             {"/libucp.so", "ucx"},     {"/libfabric.so", "libfabric"}, {"/libpsm2.so", "psm2"},
             {"/libhcoll.so", "hcoll"}, {"/libucc.so", "ucc"},          {"/libsharp_coll.so", "sharp"}};

static void add_part(char *out, size_t room, const char *name)
{
    char entry[80];
    snprintf(entry, sizeof entry, "%s%.64s", out[0] ? ", " : "", name);
    const char *known = strstr(out, name);
    if (known != NULL && (known[strlen(name)] == ',' || known[strlen(name)] == '\0')) return;
    if (strlen(out) + strlen(entry) < room) strcat(out, entry);
}

static void find_transport(char *out, size_t room)
{
    FILE *file = fopen("/proc/self/maps", "r");
    char line[TDM_PATH_BYTES];
    out[0] = '\0';
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            const char *at = strstr(line, parts[i].file);
            char behind[32], name[64];
            if (at == NULL) continue;
            at += strlen(parts[i].file);
            snprintf(behind, sizeof behind, "%.*s", (int)tdm_min_i64(31, (int64_t)strcspn(at, ".\n")), at);
            snprintf(name, sizeof name, parts[i].shown, behind);
            add_part(out, room, name);
        }
    }
    if (file != NULL) fclose(file);
}

/* Variables that choose transports, as they are set: "OMPI_MCA_btl=self,tcp UCX_TLS=rc". */
static void find_settings(char *out, size_t room)
{
    static const char *const names[] = {"OMPI_MCA_pml",
                                        "OMPI_MCA_mtl",
                                        "OMPI_MCA_btl",
                                        "OMPI_MCA_btl_tcp_if_include",
                                        "UCX_TLS",
                                        "UCX_NET_DEVICES",
                                        "FI_PROVIDER",
                                        "I_MPI_FABRICS",
                                        "I_MPI_OFI_PROVIDER",
                                        "MPICH_OFI_NIC_POLICY",
                                        "MPIR_CVAR_CH4_NETMOD",
                                        "MV2_IBA_HCA"};
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value == NULL || n + strlen(names[i]) + strlen(value) + 3 > room) continue;
        n += (size_t)snprintf(out + n, room - n, "%s%s=%s", n > 0 ? " " : "", names[i], value);
    }
}

/* ---- Memory of others ---- */

/* What a child does: reads `value`, which is at the same place in its sibling. 0: it could. */
static int read_sibling(pid_t sibling, const volatile int *value, int want)
{
    int found = 0;
    const struct iovec here = {&found, sizeof found}, there = {(void *)(uintptr_t)value, sizeof found};
    if (process_vm_readv(sibling, &here, 1, &there, 1, 0) != (ssize_t)sizeof found)
        return errno == EPERM ? 1 : 2;
    return found == want ? 0 : 2;
}

/* Whether two children of this process may read each other, as two ranks of a host would. */
static bool siblings_read(void)
{
    static volatile int value;
    int hold[2], result = -1;
    if (pipe(hold) != 0) return false;
    const pid_t first = fork();
    if (first == 0) { /* lives until the pipe is closed, with another value than its sibling */
        char byte;
        value = 42;
        close(hold[1]);
        (void)!read(hold[0], &byte, 1);
        _exit(0);
    }
    for (int tries = 0; first > 0 && result != 0 && tries < 50; tries++) { /* until it has come so far */
        const pid_t second = fork();
        if (second == 0) _exit(read_sibling(first, &value, 42));
        if (second < 0 || waitpid(second, &result, 0) != second) break;
        if (WIFEXITED(result) && WEXITSTATUS(result) == 1) break; /* not allowed */
        if (result != 0) usleep(1000);
    }
    close(hold[0]);
    close(hold[1]);
    if (first > 0) (void)waitpid(first, NULL, 0);
    return result == 0;
}

static void find_peers(const tdm_comm *comm, bool alone, char *out, size_t room)
{
    char scope[16];
    tdm_read_line("/proc/sys/kernel/yama/ptrace_scope", scope, sizeof scope);
    const bool restricted = scope[0] != '\0' && scope[0] != '0';
    const bool reads = alone ? siblings_read() : comm->node != MPI_COMM_NULL;
    if (reads)
        snprintf(out, room, "read each other's memory");
    else if (restricted)
        snprintf(out, room, "go through MPI: kernel.yama.ptrace_scope is %s", scope);
    else if (alone)
        snprintf(out, room, "go through MPI: process_vm_readv is not allowed here");
    else
        snprintf(out, room, "go through MPI%s", getenv("TANDEM_NODE_RANKS") ? ": TANDEM_NODE_RANKS" : "");
}

void tdm_comm_describe(const tdm_comm *comm, tdm_comm_facts *facts)
{
    char library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0, level = MPI_THREAD_SINGLE;
    const bool alone = comm->mpi == MPI_COMM_NULL;
    memset(facts, 0, sizeof *facts);
    MPI_Get_library_version(library, &length);
    snprintf(facts->library, sizeof facts->library, "%.*s",
             (int)tdm_min_i64(159, (int64_t)strcspn(library, "\n")), library);
    if (!alone) MPI_Query_thread(&level);
    snprintf(facts->threads, sizeof facts->threads, "%s",
             alone                            ? "not started"
             : level == MPI_THREAD_MULTIPLE   ? "multiple"
             : level == MPI_THREAD_SERIALIZED ? "serialized"
             : level == MPI_THREAD_FUNNELED   ? "funneled"
                                              : "single");
    if (!alone) find_transport(facts->transport, sizeof facts->transport);
    if (!facts->transport[0])
        snprintf(facts->transport, sizeof facts->transport, "unknown%s",
                 alone ? ": MPI was not started" : "");
    find_settings(facts->settings, sizeof facts->settings);
    find_peers(comm, alone, facts->peers, sizeof facts->peers);
}
