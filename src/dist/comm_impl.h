/* Private to src/dist: what a communicator holds. */
#ifndef TANDEM_COMM_IMPL_H
#define TANDEM_COMM_IMPL_H

#include "tandem/comm.h"

#include <mpi.h>
#include <sys/types.h>

enum { COMM_MAX_COUNT = 1 << 28 }; /* well below int, so that no byte count inside MPI overflows one */

struct tdm_comm {
    MPI_Comm mpi; /* a duplicate of the world: nobody else's messages can meet ours */
    int rank, size;
    char host[64];
    bool initialized_here; /* then destroy finalizes MPI */
    int64_t max_count;     /* elements (or bytes) given to one MPI call */

    /* Nodes: groups of equally many ranks that can read each other's memory. node_size = 1 and node =
     * MPI_COMM_NULL where there are none. `across` joins the ranks of the same place in every node. */
    MPI_Comm node, across;
    int node_rank, node_size, across_rank, across_size;
    pid_t *pid; /* [node_size], owned */
};

/* Lowers max_count so that tests walk the paths of arrays beyond 2^31 elements with small ones. Must be the
 * same on every rank. */
void comm_set_max_count(tdm_comm *comm, int64_t max_count);

/* ---- launcher.c ---- */
/* TDM_E_LIBRARY on every task when the launcher started several but MPI's world has `size` 1. */
TDM_CHECKED tdm_status comm_check_launch(int size);

/* ---- node.c ---- */
/* Finds the nodes; of one host, at most `most_ranks` consecutive ranks form one (0: no limit), so that tests
 * see several. Collective. */
TDM_CHECKED tdm_status comm_find_nodes(tdm_comm *comm, int most_ranks);
void comm_forget_nodes(tdm_comm *comm);
/* to[n] <- from[n] in the memory of rank `peer` of this node. Aborts the job when that process is gone. */
void comm_read_peer(tdm_comm *comm, int peer, const float *from, float *to, int64_t n);
/* to[n] in the memory of rank `peer` of this node <- from[n]. */
void comm_write_peer(tdm_comm *comm, int peer, const float *from, float *to, int64_t n);

/* ---- parts.c ---- */
/* Piece i of `span` cut into `parts`; cuts lie on multiples of 16 elements, counted from its begin. */
tdm_span part_of(tdm_span span, int parts, int i);
/* Cuts the spans, the last one first and each from its end, into pieces of at most `longest` elements; fills
 * `piece` unless it is NULL. Returns how many. */
int64_t cut_spans(const tdm_span *span, int64_t spans, int64_t longest, tdm_span *piece);
/* Elements of a bucket, as the configuration's bytes give them. */
int64_t bucket_elements(const tdm_comm *comm, int64_t bucket_bytes);

#endif
