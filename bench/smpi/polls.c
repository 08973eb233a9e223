/* How many polls does a non-blocking sum need? Counts the MPI_Test calls, 50 ms apart, until an
 * MPI_Iallreduce by Rabenseifner's algorithm is done: whatever the size, its 2 log2 p rounds decide. For a
 * real MPI library:
 *
 *   mpicc -o polls bench/smpi/polls.c && mpirun -n 8 ./polls [BYTES] */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
    setenv("OMPI_MCA_coll_libnbc_iallreduce_algorithm", "rabenseifner", 0); /* as src/dist/comm.c */
    MPI_Init(&argc, &argv);
    const int count = (argc > 1 ? atoi(argv[1]) : 1 << 22) / (int)sizeof(float);
    float *value = calloc((size_t)count, sizeof *value);
    int rank, ranks;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    for (int run = 0; run < 5 && value; run++) {
        MPI_Request request;
        MPI_Barrier(MPI_COMM_WORLD);
        MPI_Iallreduce(MPI_IN_PLACE, value, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD, &request);
        int polls = 0, done = 0, most = 0;
        while (!done) {
            nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
            MPI_Test(&request, &done, MPI_STATUS_IGNORE);
            polls++;
        }
        MPI_Reduce(&polls, &most, 1, MPI_INT, MPI_MAX, 0, MPI_COMM_WORLD);
        if (rank == 0) printf("%d ranks, %zu bytes: %d polls\n", ranks, (size_t)count * sizeof *value, most);
    }
    free(value);
    MPI_Finalize();
    return 0;
}
