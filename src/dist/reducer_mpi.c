/* Sums between nodes by MPI's non-blocking collectives, which may run in the network or know its topology. The order of
 * the addends is MPI's: the same bits on every rank, as MPI demands, but perhaps others in another run.
 *
 * MPI_Iallreduce is not called in place: Open MPI chooses its fast algorithms only with two buffers. */
#include "reducer_impl.h"
#include "wire.h"

#include "tandem/base.h"

/* A part, or with shards the pieces of the lanes. */
static int64_t buffer_bytes(const tdm_reducer *r)
{
    const int64_t elements = r->options.shard ? r->comm->own_cells * r->longest_piece : r->longest_part;
    return elements * (int64_t)sizeof(float);
}

static float *sum_at(tdm_reducer *r, int64_t k, int lane)
{
    float *buffer = (float *)reducer_slot(r, k)->buffer;
    if (!r->gather) return buffer + lane * r->longest_piece;
    return buffer + (reducer_cell(r, k, lane).begin - part_of(r->comm, r->bucket[k]).begin);
}

/* What the sum covers here. */
static tdm_span summed_span(const tdm_reducer *r, int64_t k, int lane)
{
    const tdm_span cell = reducer_cell(r, k, lane);
    return r->gather ? cell : piece_of(r->comm, cell, r->comm->node_index);
}

/* Lengths of a lane's pieces, and behind them where they begin in the cell. */
static int *piece_counts(tdm_reducer *r, int64_t k, int lane)
{
    const int nodes = r->comm->nodes;
    const tdm_span cell = reducer_cell(r, k, lane);
    int *count = reducer_slot(r, k)->count + 2 * lane * nodes;
    for (int m = 0; m < nodes; m++) {
        const tdm_span piece = piece_of(r->comm, cell, m);
        count[m] = (int)(piece.end - piece.begin);
        count[nodes + m] = (int)(piece.begin - cell.begin);
    }
    return count;
}

static void start_lane(tdm_reducer *r, int64_t k, int lane)
{
    slot *s = reducer_slot(r, k);
    const tdm_span cell = reducer_cell(r, k, lane);
    const float *addend = r->arena->at + cell.begin;
    if (cell.begin == cell.end) return;
    MPI_Request *request = &s->request[s->requests++];
    if (r->gather)
        MPI_Iallreduce(addend, sum_at(r, k, lane), (int)(cell.end - cell.begin), MPI_FLOAT, MPI_SUM,
                       r->lane[lane], request);
    else
        MPI_Ireduce_scatter(addend, sum_at(r, k, lane), piece_counts(r, k, lane), MPI_FLOAT, MPI_SUM,
                            r->lane[lane], request);
}

static void keep_sum(tdm_reducer *r, int64_t k, int lane)
{
    const tdm_span span = summed_span(r, k, lane);
    wire_copy(r->options.threads, sum_at(r, k, lane), r->arena->at + span.begin, span.end - span.begin);
}

static void gather_lane(tdm_reducer *r, int64_t k, int lane)
{
    slot *s = reducer_slot(r, k);
    const tdm_span cell = reducer_cell(r, k, lane);
    if (cell.begin == cell.end) return;
    const int *count = piece_counts(r, k, lane);
    MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, r->arena->at + cell.begin, count,
                    count + r->comm->nodes, MPI_FLOAT, r->lane[lane], &s->request[s->requests++]);
}

static void start(tdm_reducer *r, int64_t k)
{
    for (int lane = 0; r->sum && lane < r->comm->own_cells; lane++) start_lane(r, k, lane);
}

static void turn(tdm_reducer *r, int64_t k)
{
    for (int lane = 0; lane < r->comm->own_cells; lane++)
        if (r->sum)
            keep_sum(r, k, lane);
        else
            gather_lane(r, k, lane);
}

static void end(tdm_reducer *r, int64_t k)
{
    (void)r;
    (void)k;
}

const reduce_way reduce_mpi = {
    .name = "mpi", .buffer_bytes = buffer_bytes, .start = start, .turn = turn, .end = end};
