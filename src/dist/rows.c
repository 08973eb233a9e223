/* Rows that travel between ranks: gather, its adjoint, ring shift, collection on rank 0.
 *
 * MPI-3 counts are int. Where a transfer would exceed max_count, it is made of one rooted collective per
 * rank, each cut into pieces, instead of one vector collective. */
#include "comm_impl.h"

#include "tandem/base.h"

#include <string.h>

enum { TAG_SHIFT = 101, TAG_COLLECT = 102 };

static int64_t sum_rows(const int64_t *rows, int size)
{
    int64_t sum = 0;
    for (int r = 0; r < size; r++) sum += rows[r];
    return sum;
}

/* counts[size] and offsets[size] of rows × unit for an MPI vector collective: int, so only when they fit. */
static void int_counts(const int64_t *rows, int size, int64_t unit, int *count, int *offset)
{
    int64_t at = 0;
    for (int r = 0; r < size; r++) {
        count[r] = (int)(rows[r] * unit);
        if (offset != NULL) offset[r] = (int)at;
        at += rows[r] * unit;
    }
}

static void gather_by_broadcast(tdm_comm *comm, unsigned char *all, const int64_t *rows, int64_t row_bytes)
{
    for (int r = 0; r < comm->size; r++) {
        tdm_comm_broadcast(comm, all, rows[r] * row_bytes, r);
        all += rows[r] * row_bytes;
    }
}

void tdm_comm_gather_rows(tdm_comm *comm, const void *local, void *all, const int64_t *rows,
                          int64_t row_bytes)
{
    unsigned char *mine = (unsigned char *)all + sum_rows(rows, comm->rank) * row_bytes;
    const int64_t local_bytes = rows[comm->rank] * row_bytes;
    if (local_bytes > 0 && (const void *)mine != local) memmove(mine, local, (size_t)local_bytes);
    if (comm->size == 1) return;
    if (sum_rows(rows, comm->size) * row_bytes > comm->max_count) {
        gather_by_broadcast(comm, all, rows, row_bytes);
        return;
    }
    int count[comm->size], offset[comm->size];
    int_counts(rows, comm->size, row_bytes, count, offset);
    tdm_pulse_wait("gathering of rows");
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, count, offset, MPI_BYTE, comm->mpi);
    tdm_pulse_met();
}

static void reduce_to_root(tdm_comm *comm, const float *from, float *to, int64_t count, int root)
{
    tdm_pulse_wait("sum of rows");
    for (int64_t at = 0; at < count; at += comm->max_count) {
        const int n = (int)tdm_min_i64(count - at, comm->max_count);
        tdm_pulse_beat();
        MPI_Reduce(from + at, comm->rank == root ? to + at : NULL, n, MPI_FLOAT, MPI_SUM, root, comm->mpi);
    }
    tdm_pulse_met();
}

void tdm_comm_reduce_scatter_rows(tdm_comm *comm, const float *all, float *local, const int64_t *rows,
                                  int64_t width)
{
    if (comm->size == 1) {
        if (rows[0] > 0 && local != all) memmove(local, all, (size_t)(rows[0] * width) * sizeof *local);
        return;
    }
    if (sum_rows(rows, comm->size) * width > comm->max_count) {
        for (int r = 0; r < comm->size; r++) {
            reduce_to_root(comm, all, local, rows[r] * width, r);
            all += rows[r] * width;
        }
        return;
    }
    int count[comm->size];
    int_counts(rows, comm->size, width, count, NULL);
    tdm_pulse_wait("sum of rows");
    MPI_Reduce_scatter(all, local, count, MPI_FLOAT, MPI_SUM, comm->mpi);
    tdm_pulse_met();
}

/* Both directions of one step; whoever has nothing left talks to nobody. */
static void exchange(tdm_comm *comm, const unsigned char *from, int64_t send_bytes, int to_rank,
                     unsigned char *to, int64_t recv_bytes, int from_rank)
{
    /* Piece i of a sender meets piece i of its receiver. */
    while (send_bytes > 0 || recv_bytes > 0) {
        tdm_pulse_beat();
        const int out = (int)tdm_min_i64(send_bytes, comm->max_count);
        const int in = (int)tdm_min_i64(recv_bytes, comm->max_count);
        MPI_Sendrecv(from, out, MPI_BYTE, out > 0 ? to_rank : MPI_PROC_NULL, TAG_SHIFT, to, in, MPI_BYTE,
                     in > 0 ? from_rank : MPI_PROC_NULL, TAG_SHIFT, comm->mpi, MPI_STATUS_IGNORE);
        from += out;
        to += in;
        send_bytes -= out;
        recv_bytes -= in;
    }
}

/* Rows that rank `a` has in the one cut and rank `b` in the other. */
static int64_t common_rows(const int64_t *rows, int a, const int64_t *want, int b, int64_t *first)
{
    const int64_t begin_a = sum_rows(rows, a), begin_b = sum_rows(want, b);
    *first = tdm_max_i64(begin_a, begin_b);
    return tdm_max_i64(0, tdm_min_i64(begin_a + rows[a], begin_b + want[b]) - *first);
}

void tdm_comm_recut_rows(tdm_comm *comm, const void *local, const int64_t *rows, void *out,
                         const int64_t *want, int64_t row_bytes)
{
    const int64_t mine = sum_rows(rows, comm->rank), wanted = sum_rows(want, comm->rank);
    int64_t first_out, first_in;
    const int64_t kept = common_rows(rows, comm->rank, want, comm->rank, &first_out);
    if (kept > 0)
        memcpy((unsigned char *)out + (first_out - wanted) * row_bytes,
               (const unsigned char *)local + (first_out - mine) * row_bytes, (size_t)(kept * row_bytes));
    tdm_pulse_wait("rows that are cut anew");
    for (int step = 1; step < comm->size; step++) {
        const int to = (comm->rank + step) % comm->size, from = (comm->rank + comm->size - step) % comm->size;
        const int64_t n_out = common_rows(rows, comm->rank, want, to, &first_out);
        const int64_t n_in = common_rows(rows, from, want, comm->rank, &first_in);
        exchange(comm, n_out > 0 ? (const unsigned char *)local + (first_out - mine) * row_bytes : NULL,
                 n_out * row_bytes, to,
                 n_in > 0 ? (unsigned char *)out + (first_in - wanted) * row_bytes : NULL, n_in * row_bytes,
                 from);
    }
    tdm_pulse_met();
}

void tdm_comm_shift(tdm_comm *comm, const void *send, int64_t send_bytes, void *recv, int64_t recv_bytes)
{
    if (comm->size == 1) {
        if (send_bytes > 0 && recv != send) memmove(recv, send, (size_t)send_bytes);
        return;
    }
    const int next = (comm->rank + 1) % comm->size;
    const int previous = (comm->rank + comm->size - 1) % comm->size;
    tdm_pulse_wait("exchange with the next rank");
    exchange(comm, send, send_bytes, next, recv, recv_bytes, previous);
    tdm_pulse_met();
}

static tdm_status collect_buffer(tdm_comm *comm, const int64_t *bytes, unsigned char **all, int64_t *offset)
{
    if (comm->rank != 0) return TDM_OK;
    offset[0] = 0;
    for (int r = 0; r < comm->size; r++) offset[r + 1] = offset[r] + bytes[r];
    return tdm_alloc((size_t)offset[comm->size], "data collected on rank 0", (void **)all);
}

static void send_pieces(tdm_comm *comm, const unsigned char *data, int64_t bytes)
{
    for (int64_t at = 0; at < bytes; at += comm->max_count) {
        const int n = (int)tdm_min_i64(bytes - at, comm->max_count);
        tdm_pulse_beat();
        MPI_Send(data + at, n, MPI_BYTE, 0, TAG_COLLECT, comm->mpi);
    }
}

static void receive_pieces(tdm_comm *comm, unsigned char *data, int64_t bytes, int from)
{
    for (int64_t at = 0; at < bytes; at += comm->max_count) {
        const int n = (int)tdm_min_i64(bytes - at, comm->max_count);
        tdm_pulse_beat();
        MPI_Recv(data + at, n, MPI_BYTE, from, TAG_COLLECT, comm->mpi, MPI_STATUS_IGNORE);
    }
}

tdm_status tdm_comm_collect(tdm_comm *comm, const void *local, int64_t bytes, unsigned char **all,
                            int64_t *offset)
{
    *all = NULL;
    int64_t rank_bytes[comm->size];
    tdm_comm_gather_i64(comm, bytes, rank_bytes);
    TDM_TRY(tdm_comm_agree(comm, collect_buffer(comm, rank_bytes, all, offset)));
    tdm_pulse_wait("collection on rank 0");
    if (comm->rank != 0) send_pieces(comm, local, bytes);
    if (comm->rank == 0 && bytes > 0) memcpy(*all, local, (size_t)bytes);
    for (int r = 1; r < comm->size && comm->rank == 0; r++)
        receive_pieces(comm, *all + offset[r], rank_bytes[r], r);
    tdm_pulse_met();
    return TDM_OK;
}
