/* Private to src/dist: what a communicator holds. */
#ifndef TANDEM_COMM_IMPL_H
#define TANDEM_COMM_IMPL_H

#include "tandem/comm.h"
#include "tandem/pulse.h"

#include <mpi.h>
#include <sys/types.h>

enum { COMM_MAX_COUNT = 1 << 28 }; /* well below int, so that no byte count inside MPI overflows one */

/* i of `parts`: a place in a bucket of any length. */
typedef struct comm_cut {
    int64_t i, parts;
} comm_cut;

struct tdm_comm {
    MPI_Comm mpi; /* a duplicate of the world: nobody else's messages can meet ours */
    int rank, size;
    char host[64];
    char (*hosts)[64];     /* [size], owned */
    bool initialized_here; /* then destroy finalizes MPI */
    int64_t max_count;     /* elements (or bytes) given to one MPI call */

    /* Nodes: groups of ranks that can read each other's memory, in the order of their first ranks. */
    int nodes, node_index, node_rank, node_size;
    int *node_begin;   /* [nodes+1], owned: how many ranks the nodes before have */
    int64_t node_unit; /* which the sizes of all nodes are multiples of */
    MPI_Comm node;     /* MPI_COMM_NULL: this rank is alone in it */
    pid_t *pid;        /* [node_size], owned */

    /* Cells of a bucket, see parts.c. */
    comm_cut *cut; /* [cells+1], owned */
    int cells, first_cell, own_cells;
};

/* Lowers max_count so that tests walk the paths of arrays beyond 2^31 elements with small ones. Must be the
 * same on every rank. */
void comm_set_max_count(tdm_comm *comm, int64_t max_count);

/* ---- launcher.c ---- */
/* TDM_E_LIBRARY on every task when the launcher started several but MPI's world has `size` 1. */
TDM_CHECKED tdm_status comm_check_launch(int size);

/* ---- roster.c ---- */
/* "Open MPI v4.1.4, package: …" -> "Open MPI 4.1.4": name and version of what MPI_Get_library_version says. */
void comm_short_library(const char *text, char *out, size_t room);

/* ---- node.c ---- */
/* Finds the nodes. `sizes` ("2", "3,1"; NULL: no limit) lets so many consecutive ranks of one host form one, the last
 * size again and again, so that tests see several. Collective. */
TDM_CHECKED tdm_status comm_find_nodes(tdm_comm *comm, const char *sizes);
void comm_forget_nodes(tdm_comm *comm);
/* to[n] <- from[n] in the memory of rank `peer` of this node. Aborts the job when that process is gone. */
void comm_read_peer(tdm_comm *comm, int peer, const float *from, float *to, int64_t n);
/* to[n] in the memory of rank `peer` of this node <- from[n]. */
void comm_write_peer(tdm_comm *comm, int peer, const float *from, float *to, int64_t n);

/* ---- parts.c ---- */
/* Lays out the cells; the nodes are known. */
TDM_CHECKED tdm_status comm_cut_cells(tdm_comm *comm);
/* The most cells that any rank has. */
int most_cells(const tdm_comm *comm);
/* Cuts lie on multiples of 16 elements, counted from the begin of what is cut. */
tdm_span cell_of(const tdm_comm *comm, tdm_span bucket, int cell);
tdm_span part_of(const tdm_comm *comm, tdm_span bucket); /* this rank's */
tdm_span piece_of(const tdm_comm *comm, tdm_span cell, int node);
/* Cuts the spans, the last one first and each from its end, into pieces of at most `longest` elements; fills
 * `piece` unless it is NULL. Returns how many. */
int64_t cut_spans(const tdm_span *span, int64_t spans, int64_t longest, tdm_span *piece);
/* Elements of a bucket, as the configuration's bytes give them. */
int64_t bucket_elements(const tdm_comm *comm, int64_t bucket_bytes);

#endif
