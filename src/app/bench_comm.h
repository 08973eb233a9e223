/* tandem bench --comm: gradient sums alone, beside MPI_Allreduce. */
#ifndef TANDEM_APP_BENCH_COMM_H
#define TANDEM_APP_BENCH_COMM_H

#include "tandem/comm.h"

typedef struct bench_comm_options {
    int64_t rounds, max_mib, bucket_mib;
    int threads;
    const char *json; /* FILE, "" = stdout */
} bench_comm_options;

/* Collective. */
TDM_CHECKED tdm_status bench_comm(tdm_comm *comm, const bench_comm_options *options);

#endif
