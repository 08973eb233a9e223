/* A group of ranks. The only module that calls MPI, with the gradient reducer beside it (reducer.h).
 * Every function here is collective unless it says otherwise. */
#ifndef TANDEM_COMM_H
#define TANDEM_COMM_H

#include "tandem/reading.h"

typedef struct tdm_comm tdm_comm;

/* MPI_Init_thread and the world's communicator. Works without mpirun (one rank). TDM_E_LIBRARY on every task when
 * a launcher that MPI does not understand started several, each of which would be rank 0 of 1. */
TDM_CHECKED tdm_status tdm_comm_create(int *argc, char ***argv, tdm_comm **comm);
/* A group of this process alone, without MPI, whose start costs a large part of a second. */
TDM_CHECKED tdm_status tdm_comm_create_alone(tdm_comm **comm);
/* Whether mpirun, srun or another launcher started this process, by the variables that they set. */
bool tdm_comm_launched(void);
/* How many tasks the launcher of this process started, as far as its variables say; at least so many. 1: none, or
 * one alone. evidence: the variable that says so, "PMI_SIZE=4", or "". */
int tdm_comm_started_tasks(char evidence[64]);
/* The launcher by its variables: "mpirun", "srun" …; "none". */
const char *tdm_comm_launcher(void);
void tdm_comm_destroy(tdm_comm **comm); /* MPI_Finalize if create began it */

int tdm_comm_rank(const tdm_comm *comm);                   /* not collective */
int tdm_comm_size(const tdm_comm *comm);                   /* not collective */
const char *tdm_comm_host(const tdm_comm *comm, int rank); /* its name; not collective */

/* Phase boundary: when any rank passes a failure, the lowest failing rank's record becomes every rank's
 * record and all return its code (so that all unwind together). */
TDM_CHECKED tdm_status tdm_comm_agree(tdm_comm *comm, tdm_status local);
#define TDM_AGREE(comm, expr) TDM_TRY(tdm_comm_agree((comm), (expr)))

/* The same, and all ranks have read the same: their lists are equal. TDM_E_DATA: the first fact in which a rank differs
 * from rank 0, and who. It stands before the first collective whose size depends on what was read.
 * local: whether the list could be made. *reading is emptied. */
TDM_CHECKED tdm_status tdm_comm_agree_on(tdm_comm *comm, tdm_status local, tdm_reading *reading);

/* Between boundaries: prints this rank's record as one line and MPI_Aborts. Not collective. */
_Noreturn void tdm_comm_abort(tdm_comm *comm);

/* Prints the agreed record on rank 0 as one line: "tandem: rank 3/16 on cn07: part4.h5: … (data/shard.c:118)"
 */
void tdm_comm_report(const tdm_comm *comm); /* not collective; silent elsewhere */

void tdm_comm_barrier(tdm_comm *comm);
/* Two levels: nodes, and ranks of a node that read each other's memory. Not collective. */
int tdm_comm_nodes(const tdm_comm *comm);
void tdm_comm_sum_f64(tdm_comm *comm, double *value, int64_t count);  /* in place */
void tdm_comm_sum_i64(tdm_comm *comm, int64_t *value, int64_t count); /* in place */
void tdm_comm_max_f64(tdm_comm *comm, double *value, int64_t count);  /* in place */
void tdm_comm_sum_f32(tdm_comm *comm, float *value, int64_t count);   /* in place; any count, also > 2^31 */
void tdm_comm_broadcast(tdm_comm *comm, void *data, int64_t bytes, int root);
/* The same for ranks that may have to wait for long: they sleep meanwhile, at most 5 ms at a time. Bytes: at most 2^28. */
TDM_CHECKED tdm_status tdm_comm_broadcast_patiently(tdm_comm *comm, void *data, int64_t bytes, int root);
/* True on every rank where it is on one. */
bool tdm_comm_any(tdm_comm *comm, bool value);
/* True when `value` is the same on every rank. */
bool tdm_comm_all_equal_u64(tdm_comm *comm, uint64_t value);

/* all [sum of rows][width] <- every rank's local [rows[rank]][width], in rank order. `rows` has one entry
 * per rank and is the same everywhere. */
void tdm_comm_gather_rows(tdm_comm *comm, const void *local, void *all, const int64_t *rows,
                          int64_t row_bytes);
/* The adjoint for f32: local [rows[rank]][width] = sum over ranks of their all[rows of this rank]. */
void tdm_comm_reduce_scatter_rows(tdm_comm *comm, const float *all, float *local, const int64_t *rows,
                                  int64_t width);
/* One int64 from every rank, in rank order. all[size]. */
void tdm_comm_gather_i64(tdm_comm *comm, int64_t value, int64_t *all);
/* Ring shift: sends `bytes` to rank+1 and receives `recv_bytes` from rank-1 (both mod size). */
void tdm_comm_shift(tdm_comm *comm, const void *send, int64_t send_bytes, void *recv, int64_t recv_bytes);
/* Rows of a list that is cut contiguously, cut anew: local [rows[rank]][width] -> out [want[rank]][width]. rows and want
 * have one entry per rank, the same everywhere, and equal sums. */
void tdm_comm_recut_rows(tdm_comm *comm, const void *local, const int64_t *rows, void *out,
                         const int64_t *want, int64_t row_bytes);
/* Variable bytes from every rank to rank 0, in rank order. On rank 0 *all is owned by the caller (tdm_free)
 * and offset[size+1] filled; elsewhere *all = NULL. */
TDM_CHECKED tdm_status tdm_comm_collect(tdm_comm *comm, const void *local, int64_t bytes, unsigned char **all,
                                        int64_t *offset);

/* ---- Bucketed gradient reduction, overlapped with backward ----
 * The gradient arena is laid out in forward order, backward finishes it from the end. When everything from
 * `begin` to the end is final, tdm_reducer_ready starts the sums of all buckets that lie wholly there.
 *
 * Ranks of one node read each other's arenas and add them, in f32; between nodes messages travel. A sum has
 * the same bits on every rank, and with TDM_REDUCE_EXCHANGE in every run of the same ranks on the same nodes. Nodes may
 * have unlike numbers of ranks.
 * TANDEM_NODE_RANKS=N in the environment lets N ranks of a host count as a node (1: all goes through MPI), and
 * TANDEM_NODE_RANKS=3,1 three and then one by one, to test and to measure. */
typedef struct tdm_reducer tdm_reducer;

/* Of what travels between nodes. TDM_WIRE_BF16: each node's addend is rounded to bf16, the sum of them made
 * in f32 and, unless `shard`, rounded once more: relative errors of at most 2^-8 each, for any number of
 * nodes.
 */
typedef enum tdm_wire { TDM_WIRE_F32, TDM_WIRE_BF16 } tdm_wire;

/* How sums travel between nodes. EXCHANGE: direct messages, added in the order of the nodes. MPI: its non-blocking
 * collectives, f32 only, in an order that is MPI's: the same bits on every rank, perhaps others in another run.
 * AUTO: the first steps take both in turn, and the faster one is kept (exchange where there is nothing to choose:
 * on one node, and in bf16). */
typedef enum tdm_reduce { TDM_REDUCE_EXCHANGE, TDM_REDUCE_MPI, TDM_REDUCE_AUTO } tdm_reduce;

typedef struct tdm_reducer_options {
    int64_t bucket_bytes; /* size of one sum (the last one of a span is smaller); more than 64 nodes have
                             larger ones, so that a message has 64 KiB */
    tdm_wire wire;
    tdm_reduce reduce;
    bool shard;  /* a rank gets the sums of its own part only (tdm_comm_part), elsewhere grad means nothing */
    int threads; /* that copy and add */
} tdm_reducer_options;

/* Seconds of the calling thread. */
typedef struct tdm_comm_time {
    double wait_s;     /* until the slowest rank came to the same point */
    double transfer_s; /* sums, copies and messages, and waiting for messages when all ranks were there */
} tdm_comm_time;

/* Which elements of span[spans] this rank completes, the same whenever the arguments are: *part [*parts],
 * ascending, owned by the caller (tdm_free). Over the ranks they cover the spans once. Not collective. */
TDM_CHECKED tdm_status tdm_comm_part(const tdm_comm *comm, const tdm_span *span, int64_t spans,
                                     int64_t bucket_bytes, tdm_span **part, int64_t *parts);

/* grad and weight are borrowed. The elements of grad in span[spans] (ascending, apart from each other, the
 * same on every rank) are summed, what lies between them is left alone. weight: may be NULL without `shard`.
 */
TDM_CHECKED tdm_status tdm_reducer_create(tdm_comm *comm, float *grad, float *weight, const tdm_span *span,
                                          int64_t spans, const tdm_reducer_options *options,
                                          tdm_reducer **reducer);
void tdm_reducer_destroy(tdm_reducer **reducer);
/* grad[begin … end of the arena) is final on this rank. begin never grows within a step. */
void tdm_reducer_ready(tdm_reducer *reducer, int64_t begin);
/* Does what can be done now. Cheap when there is nothing; call it often. Not collective in effect. */
void tdm_reducer_poll(tdm_reducer *reducer);
/* Starts what is left and waits for all; then grad holds the sums, and nobody reads it any more. Adds the
 * time since the last finish that went into communication to *time, polls included. */
void tdm_reducer_finish(tdm_reducer *reducer, tdm_comm_time *time);
/* With `shard`: every rank's part of weight reaches all others. */
void tdm_reducer_gather(tdm_reducer *reducer, tdm_comm_time *time);

#endif
