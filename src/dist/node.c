/* Which ranks share a node, and how they read and write each other's memory.
 *
 * process_vm_readv and process_vm_writev copy straight out of another process or into it, once, with nothing
 * to set up. Arenas stay private memory in huge pages; a shared window has small ones, which cost the kernels
 * that work on it more than the copies cost. They need the right to trace that process, which some containers
 * withhold; then every rank counts as a node of its own and all goes through MPI. */
#include "comm_impl.h"

#include "tandem/base.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
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
    tdm_free(comm->pid);
    tdm_free(comm->node_begin);
    tdm_free(comm->cut);
    comm->pid = NULL;
    comm->node_begin = NULL;
    comm->cut = NULL;
}

/* The group that place `place` of a host falls into, by sizes as of comm_find_nodes. TDM_E_USAGE: they are none. */
static tdm_status group_of(const char *sizes, int place, int *group)
{
    int64_t begin = 0;
    *group = 0;
    for (const char *at = sizes;; at++) {
        char *end;
        const long ranks = strtol(at, &end, 10);
        TDM_REQUIRE(end != at && ranks >= 1 && ranks < INT_MAX && (*end == ',' || *end == '\0'), TDM_E_USAGE,
                    "TANDEM_NODE_RANKS = \"%s\": expected ranks per node, as in 2 or 3,1", sizes);
        if (*end == '\0') {
            if (place >= begin) *group += (int)((place - begin) / ranks);
            return TDM_OK;
        }
        if (place >= begin + ranks) (*group)++;
        begin += ranks;
        at = end;
    }
}

/* Ranks of this host, or of a group of them. */
static tdm_status split_host(tdm_comm *comm, const char *sizes, MPI_Comm *node)
{
    MPI_Comm host;
    MPI_Comm_split_type(comm->mpi, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &host);
    *node = host;
    if (sizes == NULL) return TDM_OK;
    int place, group;
    MPI_Comm_rank(host, &place);
    const tdm_status status = tdm_comm_agree(comm, group_of(sizes, place, &group));
    if (status == TDM_OK) MPI_Comm_split(host, group, place, node);
    MPI_Comm_free(&host);
    return status;
}

/* All ranks or none use the nodes. */
static bool all_readable(const tdm_comm *comm, int readable)
{
    MPI_Allreduce(MPI_IN_PLACE, &readable, 1, MPI_INT, MPI_MIN, comm->mpi);
    if (!readable)
        tdm_log(TDM_LOG_INFO, "ranks of one node may not read each other's memory here (process_vm_readv): "
                              "their gradients go through MPI");
    return readable;
}

/* A rank by itself is a node. */
static void be_alone(tdm_comm *comm)
{
    comm->node = MPI_COMM_NULL;
    comm->node_rank = 0;
    comm->node_size = 1;
}

/* Joins the ranks of a node; comm->pid has room for as many. */
static void join_node(tdm_comm *comm, MPI_Comm node, int ranks)
{
    be_alone(comm);
    if (!all_readable(comm, reads_all(comm, node, ranks)) || ranks == 1) {
        MPI_Comm_free(&node);
        return;
    }
    comm->node = node;
    comm->node_size = ranks;
    MPI_Comm_rank(node, &comm->node_rank);
}

/* first[size]: of every rank, the first one of its node. */
static tdm_status list_nodes(tdm_comm *comm, const int *first)
{
    TDM_TRY(TDM_ALLOC((int64_t)comm->size + 1, &comm->node_begin));
    int ranks[comm->size]; /* of the node that begins with this rank */
    memset(ranks, 0, sizeof ranks);
    for (int r = 0; r < comm->size; r++) ranks[first[r]]++;
    comm->nodes = 0;
    for (int r = 0; r < comm->size; r++) {
        if (ranks[r] == 0) continue;
        if (first[comm->rank] == r) comm->node_index = comm->nodes;
        comm->node_begin[comm->nodes + 1] = comm->node_begin[comm->nodes] + ranks[r];
        comm->nodes++;
    }
    return comm_cut_cells(comm);
}

tdm_status comm_find_nodes(tdm_comm *comm, const char *sizes)
{
    comm_forget_nodes(comm);
    be_alone(comm);
    int first[comm->size], mine = comm->rank, ranks;
    first[0] = 0;
    if (comm->size == 1) return list_nodes(comm, first);
    MPI_Comm node;
    TDM_TRY(split_host(comm, sizes, &node));
    MPI_Comm_size(node, &ranks);
    const tdm_status status = tdm_comm_agree(comm, TDM_ALLOC(ranks, &comm->pid));
    if (status != TDM_OK) {
        MPI_Comm_free(&node);
        return status;
    }
    join_node(comm, node, ranks);
    if (comm->node != MPI_COMM_NULL) MPI_Bcast(&mine, 1, MPI_INT, 0, comm->node);
    MPI_Allgather(&mine, 1, MPI_INT, first, 1, MPI_INT, comm->mpi);
    return tdm_comm_agree(comm, list_nodes(comm, first));
}
