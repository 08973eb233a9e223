/* Private to src/dist: what a communicator holds. */
#ifndef TANDEM_COMM_IMPL_H
#define TANDEM_COMM_IMPL_H

#include "tandem/comm.h"

#include <mpi.h>

enum { COMM_MAX_COUNT = 1 << 28 }; /* well below int, so that no byte count inside MPI overflows one */

struct tdm_comm {
    MPI_Comm mpi; /* a duplicate of the world: nobody else's messages can meet ours */
    int rank, size;
    char host[64];
    bool initialized_here; /* then destroy finalizes MPI */
    int64_t max_count;     /* elements (or bytes) given to one MPI call */
};

/* Lowers max_count so that tests walk the paths of arrays beyond 2^31 elements with small ones. Must be the
 * same on every rank. */
void tdm_comm_set_max_count(tdm_comm *comm, int64_t max_count);

#endif
