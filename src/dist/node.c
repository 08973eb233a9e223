/* Which ranks share a node, and how they read and write each other's memory.
 *
 * process_vm_readv and process_vm_writev copy straight out of another process or into it, once, with nothing
 * to set up. Arenas stay private memory in huge pages; a shared window has small ones, which cost the kernels
 * that work on it more than the copies cost. They need the right to trace that process, which some containers
 * withhold; then every rank counts as a node of its own and all goes through MPI. */
#include "comm_impl.h"

#include "tandem/base.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

typedef ssize_t copy_function(pid_t pid, const struct iovec *local, unsigned long local_count,
                              const struct iovec *remote, unsigned long remote_count, unsigned long flags);

/* Bytes that were copied; less than `bytes` with errno set on failure. */
static size_t copy(copy_function *function, pid_t pid, uintptr_t here, uintptr_t there, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        const struct iovec local = {(void *)(here + done), bytes - done};
        const struct iovec remote = {(void *)(there + done), bytes - done};
        const ssize_t n = function(pid, &local, 1, &remote, 1, 0);
        if (n <= 0) break;
        done += (size_t)n;
    }
    return done;
}

_Noreturn static void abort_copy(tdm_comm *comm, int peer)
{
    (void)TDM_ERROR(TDM_E_IO, "cannot reach the memory of process %d of this node: %s", (int)comm->pid[peer],
                    strerror(errno));
    tdm_comm_abort(comm);
}

void comm_read_peer(tdm_comm *comm, int peer, const float *from, float *to, int64_t n)
{
    const size_t bytes = (size_t)n * sizeof *to;
    if (copy(process_vm_readv, comm->pid[peer], (uintptr_t)to, (uintptr_t)from, bytes) != bytes)
        abort_copy(comm, peer);
}

void comm_write_peer(tdm_comm *comm, int peer, const float *from, float *to, int64_t n)
{
    const size_t bytes = (size_t)n * sizeof *to;
    if (copy(process_vm_writev, comm->pid[peer], (uintptr_t)from, (uintptr_t)to, bytes) != bytes)
        abort_copy(comm, peer);
}

/* Whether this rank can read every other one of `host`; fills comm->pid. A number that only the right process
 * has tells it from another one of the same id in another container. */
static bool reads_all(tdm_comm *comm, MPI_Comm host, int ranks)
{
    struct {
        pid_t pid;
        int rank;
        const int *at;
    } mine = {.pid = getpid(), .rank = comm->rank, .at = &comm->rank}, all[ranks];
    memset(all, 0, sizeof all);
    MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, host);
    bool ok = true;
    for (int i = 0; i < ranks; i++) {
        int found = -1;
        comm->pid[i] = all[i].pid;
        ok = ok &&
             copy(process_vm_readv, all[i].pid, (uintptr_t)&found, (uintptr_t)all[i].at, sizeof found) ==
                 sizeof found &&
             found == all[i].rank;
    }
    MPI_Barrier(host); /* nobody goes on while it is read */
    return ok;
}

void comm_forget_nodes(tdm_comm *comm)
{
    if (comm->node != MPI_COMM_NULL) MPI_Comm_free(&comm->node);
    if (comm->across != MPI_COMM_NULL) MPI_Comm_free(&comm->across);
    tdm_free(comm->pid);
    comm->pid = NULL;
}

/* Ranks of this host in groups of `most`, or all of them. */
static MPI_Comm split_host(const tdm_comm *comm, int most)
{
    MPI_Comm host, group;
    MPI_Comm_split_type(comm->mpi, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &host);
    if (most <= 0) return host;
    int place;
    MPI_Comm_rank(host, &place);
    MPI_Comm_split(host, place / most, place, &group);
    MPI_Comm_free(&host);
    return group;
}

void tdm_comm_warn_threads(tdm_comm *comm, int threads)
{
    struct {
        int excess, rank;
    } worst = {0, comm->rank};
    struct {
        char host[64];
        int threads, cores, ranks;
    } full = {.threads = threads, .ranks = 1};
    uint8_t core[TDM_CORE_BYTES];
    full.cores = tdm_allowed_cores(core);
    memcpy(full.host, comm->host, sizeof full.host);
    if (comm->size > 1) {
        MPI_Comm host = split_host(comm, 0);
        MPI_Comm_size(host, &full.ranks);
        MPI_Allreduce(MPI_IN_PLACE, &full.threads, 1, MPI_INT, MPI_SUM, host);
        MPI_Allreduce(MPI_IN_PLACE, core, (int)sizeof core, MPI_BYTE, MPI_BOR, host);
        MPI_Comm_free(&host);
        full.cores = 0;
        for (size_t i = 0; i < sizeof core; i++) full.cores += __builtin_popcount(core[i]);
    }
    worst.excess = full.cores > 0 ? full.threads - full.cores : 0;
    if (comm->size > 1) MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_2INT, MPI_MAXLOC, comm->mpi);
    if (worst.excess <= 0) return;
    tdm_comm_broadcast(comm, &full, (int64_t)sizeof full, worst.rank);
    tdm_log(
        TDM_LOG_WARN,
        "%s: %d threads (%d rank%s) share %d core%s, which is slow; OMP_NUM_THREADS or --threads says how many a "
        "rank starts, and mpirun's binding which cores it has",
        full.host, full.threads, full.ranks, full.ranks == 1 ? "" : "s", full.cores,
        full.cores == 1 ? "" : "s");
}

/* All ranks or none use the nodes: they must be of one size, and readable. */
static bool nodes_are_usable(const tdm_comm *comm, int ranks, bool readable)
{
    int least[3] = {ranks, -ranks, readable};
    MPI_Allreduce(MPI_IN_PLACE, least, 3, MPI_INT, MPI_MIN, comm->mpi);
    if (!least[2])
        tdm_log(TDM_LOG_INFO, "ranks of one node may not read each other's memory here (process_vm_readv): "
                              "their gradients go through MPI");
    return least[0] == -least[1] && least[2];
}

tdm_status comm_find_nodes(tdm_comm *comm, int most_ranks)
{
    comm_forget_nodes(comm);
    comm->node_rank = comm->across_rank = 0;
    comm->node_size = comm->across_size = 1;
    if (comm->size == 1) return TDM_OK;
    MPI_Comm node = split_host(comm, most_ranks);
    int ranks;
    MPI_Comm_size(node, &ranks);
    tdm_status status = tdm_comm_agree(comm, TDM_ALLOC(ranks, &comm->pid));
    if (status == TDM_OK && nodes_are_usable(comm, ranks, reads_all(comm, node, ranks)) && ranks > 1) {
        comm->node = node;
        comm->node_size = ranks;
        MPI_Comm_rank(node, &comm->node_rank);
    } else {
        MPI_Comm_free(&node);
    }
    TDM_TRY(status);
    MPI_Comm_split(comm->mpi, comm->node_rank, comm->rank, &comm->across);
    MPI_Comm_rank(comm->across, &comm->across_rank);
    MPI_Comm_size(comm->across, &comm->across_size);
    return TDM_OK;
}
