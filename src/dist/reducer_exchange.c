/* Sums between nodes by direct messages, in two rounds whatever the number of nodes: every rank sends the pieces of its
 * part to the nodes that complete them, adds what arrives for its own in the order of the nodes, and sends that to all.
 * So a sum has the same bits on every rank and in every run. */
#include "reducer_impl.h"
#include "wire.h"

#include "tandem/base.h"

static int64_t element_bytes(tdm_wire wire)
{
    return wire == TDM_WIRE_BF16 ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(float);
}

static int64_t buffer_bytes(const tdm_reducer *r)
{
    const int64_t rows = (int64_t)r->comm->own_cells * (r->comm->nodes - 1);
    return rows * r->longest_piece * element_bytes(r->options.wire);
}

static tdm_span piece_at(const tdm_reducer *r, int64_t k, int lane, int node)
{
    return piece_of(r->comm, reducer_cell(r, k, lane), node);
}

static void add_request(tdm_reducer *r, int lane, bool send, void *data, int64_t n, int node, int64_t k)
{
    enum { TAGS = 16384 };
    const MPI_Datatype type = r->wire == TDM_WIRE_BF16 ? MPI_UINT16_T : MPI_FLOAT;
    slot *s = reducer_slot(r, k);
    MPI_Request *request = &s->request[s->requests];
    if (n == 0) return;
    if (send)
        MPI_Isend(data, (int)n, type, node, (int)(k % TAGS), r->lane[lane], request);
    else
        MPI_Irecv(data, (int)n, type, node, (int)(k % TAGS), r->lane[lane], request);
    s->requests++;
}

/* Where node m's elements arrive: a row for each node but this one. */
static void *row_at(tdm_reducer *r, int64_t k, int lane, int m)
{
    const int64_t row = (int64_t)lane * (r->comm->nodes - 1) + (m < r->comm->node_index ? m : m - 1);
    return reducer_slot(r, k)->buffer + row * r->longest_piece * element_bytes(r->wire);
}

/* Room for the elements of the arena from `at`, rounded. */
static uint16_t *rounded_at(tdm_reducer *r, int64_t k, int64_t at)
{
    return reducer_slot(r, k)->rounded + (at - part_of(r->comm, r->bucket[k]).begin);
}

/* What is sent of the arena: its elements, or the same rounded. */
static void *to_send(tdm_reducer *r, int64_t k, tdm_span piece)
{
    float *data = r->arena->at + piece.begin;
    if (r->wire == TDM_WIRE_F32) return data;
    uint16_t *rounded = rounded_at(r, k, piece.begin);
    wire_to_bf16(r->options.threads, data, rounded, piece.end - piece.begin);
    return rounded;
}

/* Every node gets this node's addend to its piece. */
static void send_pieces(tdm_reducer *r, int64_t k, int lane)
{
    const int nodes = r->comm->nodes, mine = r->comm->node_index;
    const tdm_span own = piece_at(r, k, lane, mine);
    for (int i = 1; i < nodes; i++) {
        const int m = (mine + nodes - i) % nodes;
        add_request(r, lane, false, row_at(r, k, lane, m), own.end - own.begin, m, k);
    }
    for (int i = 1; i < nodes; i++) {
        const int m = (mine + i) % nodes;
        const tdm_span piece = piece_at(r, k, lane, m);
        add_request(r, lane, true, to_send(r, k, piece), piece.end - piece.begin, m, k);
    }
}

static void add_received(tdm_reducer *r, int64_t k, int lane)
{
    const int nodes = r->comm->nodes, mine = r->comm->node_index;
    const tdm_span own = piece_at(r, k, lane, mine);
    wire_add_rows(r->wire, r->options.threads, nodes, mine, row_at(r, k, lane, mine == 0 ? 1 : 0),
                  r->longest_piece, r->arena->at + own.begin, own.end - own.begin);
}

/* Every node gets the completed piece. In bf16 this rank goes on with what the others receive. */
static void send_completed(tdm_reducer *r, int64_t k, int lane)
{
    const int nodes = r->comm->nodes, mine = r->comm->node_index;
    const bool bf16 = r->wire == TDM_WIRE_BF16;
    const tdm_span own = piece_at(r, k, lane, mine);
    const int64_t n = own.end - own.begin;
    for (int i = 1; i < nodes; i++) {
        const int m = (mine + nodes - i) % nodes;
        const tdm_span piece = piece_at(r, k, lane, m);
        add_request(r, lane, false, bf16 ? row_at(r, k, lane, m) : r->arena->at + piece.begin,
                    piece.end - piece.begin, m, k);
    }
    void *data = to_send(r, k, own);
    if (bf16) wire_from_bf16(r->options.threads, data, r->arena->at + own.begin, n);
    for (int i = 1; i < nodes; i++) add_request(r, lane, true, data, n, (mine + i) % nodes, k);
}

static void keep_completed(tdm_reducer *r, int64_t k, int lane)
{
    for (int m = 0; m < r->comm->nodes; m++) {
        const tdm_span piece = piece_at(r, k, lane, m);
        if (m != r->comm->node_index)
            wire_from_bf16(r->options.threads, row_at(r, k, lane, m), r->arena->at + piece.begin,
                           piece.end - piece.begin);
    }
}

static void start(tdm_reducer *r, int64_t k)
{
    for (int lane = 0; r->sum && lane < r->comm->own_cells; lane++) send_pieces(r, k, lane);
}

static void turn(tdm_reducer *r, int64_t k)
{
    for (int lane = 0; lane < r->comm->own_cells; lane++) {
        if (r->sum) add_received(r, k, lane);
        if (r->gather) send_completed(r, k, lane);
    }
}

static void end(tdm_reducer *r, int64_t k)
{
    if (!r->gather || r->wire == TDM_WIRE_F32) return;
    for (int lane = 0; lane < r->comm->own_cells; lane++) keep_completed(r, k, lane);
}

const reduce_way reduce_exchange = {
    .name = "exchange", .buffer_bytes = buffer_bytes, .start = start, .turn = turn, .end = end};
