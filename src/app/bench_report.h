/* What `tandem bench` measured, as text and as JSON. */
#ifndef TANDEM_APP_BENCH_REPORT_H
#define TANDEM_APP_BENCH_REPORT_H

#include "tandem/tandem.h"

/* Bytes of a rank. Blocks count as allocated, activations and peak as touched. */
typedef enum bench_memory {
    BENCH_BASE,        /* resident before anything was made: program, libraries, MPI */
    BENCH_WEIGHTS,     /* f32 */
    BENCH_GRADIENTS,   /* of trained rows */
    BENCH_MOMENTS,     /* of the optimiser */
    BENCH_PACKED,      /* the weights as the matmuls want them */
    BENCH_ACTIVATIONS, /* most at once, with temporaries */
    BENCH_FEATURES,    /* of the trainer: features, loss, buffers of communication */
    BENCH_DATA,        /* batches */
    BENCH_OTHER,       /* the rest of the peak: oneDNN's own, thread scratch, decoding */
    BENCH_PEAK,        /* most that was resident */
    BENCH_MEMORY_KINDS
} bench_memory;

typedef struct bench_result {
    const char *model, *data; /* data: "synthetic" or the directory */
    int64_t batch;            /* of a rank */
    tdm_model_plan plan;
    char recompute[64];
    int64_t steps;
    double *step_s;            /* [steps] the slowest rank's, waiting for data included */
    double wait_data_s;        /* mean of a step, like the following */
    double cpu_s;              /* of all threads of all ranks; waiting for other ranks takes it, too */
    tdm_comm_time time;        /* of the rank that spent most */
    double exposed_s;          /* both, of the rank that spent most */
    double flop, tokens;       /* of all ranks */
    double peak_gflops;        /* all ranks, the best that was seen */
    double sustained_gflops;   /* the same loop between the steps, mean */
    double blocks, primitives; /* taken and created in the measured steps */
    double memory[BENCH_MEMORY_KINDS]; /* the largest of any rank */
} bench_result;

/* Rank 0 only. Writes JSON to `path` ("": stdout), the summary to stderr. Sorts step_s. */
TDM_CHECKED tdm_status bench_report(const tdm_comm *comm, tdm_ops *ops, const bench_result *result,
                                    const char *path);

#endif
