/* Bucketed sums over the ranks that overlap with backward, on two levels (parts.c says who adds what):
 *
 *   ready      a bucket is final on this rank
 *   summed     this rank has added its part of it over the ranks of its node, out of their memory
 *   sent       the pieces of that part are on their way to the nodes that complete them
 *   scattered  what the other nodes sent for this rank's piece has arrived and is added
 *   pushed     the completed pieces of the part have arrived from the other nodes, and this rank has written
 * the part into the memory of the ranks of its node (on one node: as soon as it was added)
 *
 * Each is a count of buckets, in the order in which backward finishes them: from the end of the arena. Ranks
 * of a node see each other's `ready` and `pushed` in a shared window. A part of an arena is read and written
 * by its rank alone, between the two. Sharded sums end at `scattered`; a gathering of weights begins there.
 *
 * Nothing advances by itself: MPI has no progress thread here, and additions need a core anyway. */
#include "wire.h"

#include "tandem/base.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum { SLOTS = 4 }; /* buckets between `sent` and `pushed` */

typedef struct bucket {
    tdm_span all, part, own; /* own: this rank's piece of its part */
} bucket;

/* A rank's counts, which only grow, in a cache line of their own. */
typedef struct counts {
    _Alignas(64) _Atomic int64_t ready;
    _Atomic int64_t pushed;
} counts;

typedef struct arena {
    float *at;
    float **peer; /* [node_size], where it begins in the ranks of the node */
} arena;

/* Messages of one bucket. */
typedef struct slot {
    MPI_Request *request; /* [2·(nodes-1)] */
    int requests;
    unsigned char *received; /* [nodes-1][longest piece] of the wire's type */
    uint16_t *rounded;       /* [longest part], bf16 only */
} slot;

struct tdm_reducer {
    tdm_comm *comm;       /* borrowed */
    MPI_Comm across, all; /* of its own: other collectives may run while buckets are under way */
    tdm_reducer_options options;
    arena grad, weight;
    bucket *bucket; /* [buckets] */
    int64_t buckets, longest_piece;
    MPI_Win window;
    counts *mine, **peer; /* [node_size] */
    slot slot[SLOTS];

    const arena *arena; /* that is under way */
    bool sum, gather;   /* which stages it passes */
    tdm_wire wire;
    int64_t base; /* buckets of all that came before */
    int64_t ready, summed, sent, scattered, pushed;
    double polls_s; /* since the last finish */
};

/* ---- Set-up ---- */

static tdm_status create_slots(tdm_reducer *r, int64_t longest_part)
{
    const int others = r->comm->across_size - 1;
    const bool bf16 = r->options.wire == TDM_WIRE_BF16;
    const int64_t element_bytes = bf16 ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(float);
    for (int i = 0; i < SLOTS; i++) {
        slot *s = &r->slot[i];
        TDM_TRY(TDM_ALLOC(2 * others, &s->request));
        TDM_TRY(TDM_ALLOC(others * r->longest_piece * element_bytes, &s->received));
        if (bf16) TDM_TRY(TDM_ALLOC(longest_part, &s->rounded));
    }
    return TDM_OK;
}

static tdm_status create_buckets(tdm_reducer *r, const tdm_span *span, int64_t spans, int64_t *longest_part)
{
    const tdm_comm *comm = r->comm;
    const int64_t longest = bucket_elements(comm, r->options.bucket_bytes);
    tdm_span *cut;
    r->buckets = cut_spans(span, spans, longest, NULL);
    TDM_TRY(TDM_ALLOC(r->buckets, &r->bucket));
    TDM_TRY(TDM_ALLOC(r->buckets, &cut));
    cut_spans(span, spans, longest, cut);
    *longest_part = 0;
    for (int64_t i = 0; i < r->buckets; i++) {
        bucket *b = &r->bucket[i];
        b->all = cut[i];
        b->part = part_of(b->all, comm->node_size, comm->node_rank);
        b->own = part_of(b->part, comm->across_size, comm->across_rank);
        *longest_part = tdm_max_i64(*longest_part, b->part.end - b->part.begin);
        for (int m = 0; m < comm->across_size; m++) {
            const tdm_span piece = part_of(b->part, comm->across_size, m);
            r->longest_piece = tdm_max_i64(r->longest_piece, piece.end - piece.begin);
        }
    }
    tdm_free(cut);
    return TDM_OK;
}

static tdm_status create_local(tdm_reducer *r, const tdm_span *span, int64_t spans)
{
    int64_t longest_part;
    TDM_TRY(create_buckets(r, span, spans, &longest_part));
    TDM_TRY(TDM_ALLOC(r->comm->node_size, &r->grad.peer));
    TDM_TRY(TDM_ALLOC(r->comm->node_size, &r->weight.peer));
    TDM_TRY(TDM_ALLOC(r->comm->node_size, &r->peer));
    return create_slots(r, longest_part);
}

/* Addresses of the node's arenas, and the window that holds the counts. */
static void meet_node(tdm_reducer *r)
{
    const MPI_Comm node = r->comm->node;
    const int ranks = r->comm->node_size;
    MPI_Allgather(&r->grad.at, (int)sizeof(float *), MPI_BYTE, r->grad.peer, (int)sizeof(float *), MPI_BYTE,
                  node);
    MPI_Allgather(&r->weight.at, (int)sizeof(float *), MPI_BYTE, r->weight.peer, (int)sizeof(float *),
                  MPI_BYTE, node);
    MPI_Win_allocate_shared((MPI_Aint)(2 * sizeof(counts)), 1, MPI_INFO_NULL, node, &r->mine, &r->window);
    for (int i = 0; i < ranks; i++) {
        MPI_Aint bytes;
        int unit;
        void *at;
        MPI_Win_shared_query(r->window, i, &bytes, &unit, &at);
        /* MPI promises no alignment: every rank finds the same one in the room of two */
        r->peer[i] = (counts *)(((uintptr_t)at + sizeof(counts) - 1) / sizeof(counts) * sizeof(counts));
    }
    r->mine = r->peer[r->comm->node_rank];
    atomic_store(&r->mine->ready, 0);
    atomic_store(&r->mine->pushed, 0);
    MPI_Barrier(node);
}

tdm_status tdm_reducer_create(tdm_comm *comm, float *grad, float *weight, const tdm_span *span, int64_t spans,
                              const tdm_reducer_options *options, tdm_reducer **reducer)
{
    *reducer = NULL;
    TDM_REQUIRE(options->bucket_bytes >= (int64_t)sizeof(float), TDM_E_CONFIG,
                "gradient bucket of %lld bytes", (long long)options->bucket_bytes);
    tdm_reducer *made = NULL;
    TDM_TRY(TDM_ALLOC(1, &made));
    made->comm = comm;
    made->across = made->all = MPI_COMM_NULL;
    made->window = MPI_WIN_NULL;
    made->options = *options;
    made->grad.at = grad;
    made->weight.at = weight;
    *reducer = made;
    if (comm->size == 1) return TDM_OK;
    const tdm_status status = tdm_comm_agree(comm, create_local(made, span, spans));
    if (status != TDM_OK) {
        tdm_reducer_destroy(reducer);
        return status;
    }
    MPI_Comm_dup(comm->mpi, &made->all);
    MPI_Comm_dup(comm->across, &made->across);
    if (comm->node_size > 1) meet_node(made);
    return TDM_OK;
}

void tdm_reducer_destroy(tdm_reducer **reducer)
{
    if (reducer == NULL || *reducer == NULL) return;
    tdm_reducer *r = *reducer;
    if (r->window != MPI_WIN_NULL) MPI_Win_free(&r->window);
    if (r->across != MPI_COMM_NULL) MPI_Comm_free(&r->across);
    if (r->all != MPI_COMM_NULL) MPI_Comm_free(&r->all);
    for (int i = 0; i < SLOTS; i++) {
        tdm_free(r->slot[i].request);
        tdm_free(r->slot[i].received);
        tdm_free(r->slot[i].rounded);
    }
    tdm_free(r->grad.peer);
    tdm_free(r->weight.peer);
    tdm_free(r->peer);
    tdm_free(r->bucket);
    tdm_free(r);
    *reducer = NULL;
}

/* ---- Within a node ---- */

typedef enum count { READY, PUSHED } count;

static _Atomic int64_t *count_at(counts *c, count which)
{
    return which == READY ? &c->ready : &c->pushed;
}

static void tell(tdm_reducer *r, count which, int64_t value)
{
    if (r->window == MPI_WIN_NULL) return;
    atomic_store_explicit(count_at(r->mine, which), r->base + value, memory_order_release);
}

/* Has every rank of the node come to `value`? */
static bool all_have(const tdm_reducer *r, count which, int64_t value)
{
    if (r->window == MPI_WIN_NULL) return true;
    for (int i = 0; i < r->comm->node_size; i++)
        if (atomic_load_explicit(count_at(r->peer[i], which), memory_order_acquire) < r->base + value)
            return false;
    return true;
}

/* Nothing happens to the part between the sum and the push. */
static bool pushes_at_once(const tdm_reducer *r)
{
    return r->sum && r->gather && r->comm->across_size == 1;
}

static void sum_in_node(tdm_reducer *r, int64_t k)
{
    const tdm_span part = r->bucket[k].part;
    if (r->sum && r->comm->node_size > 1)
        wire_add_peers(r->comm, r->options.threads, r->arena->peer, r->arena->at + part.begin,
                       part.end - part.begin, pushes_at_once(r));
}

static void push_to_node(tdm_reducer *r, int64_t k)
{
    const tdm_span part = r->bucket[k].part;
    if (r->gather && r->comm->node_size > 1 && !pushes_at_once(r))
        wire_push(r->comm, r->options.threads, r->arena->peer, r->arena->at + part.begin,
                  part.end - part.begin);
}

/* ---- Between nodes ---- */

static void add_request(tdm_reducer *r, slot *s, bool send, void *data, int64_t n, int node, int64_t k)
{
    enum { TAGS = 16384 };
    const MPI_Datatype type = r->wire == TDM_WIRE_BF16 ? MPI_UINT16_T : MPI_FLOAT;
    MPI_Request *request = &s->request[s->requests];
    if (n == 0) return;
    if (send)
        MPI_Isend(data, (int)n, type, node, (int)(k % TAGS), r->across, request);
    else
        MPI_Irecv(data, (int)n, type, node, (int)(k % TAGS), r->across, request);
    s->requests++;
}

/* Where node m's elements lie in a slot's `received`. */
static void *received_from(const tdm_reducer *r, const slot *s, int m)
{
    const int64_t row = m < r->comm->across_rank ? m : m - 1;
    const size_t element_bytes = r->wire == TDM_WIRE_BF16 ? sizeof(uint16_t) : sizeof(float);
    return s->received + (size_t)(row * r->longest_piece) * element_bytes;
}

/* Every node gets this node's addend to its piece. */
static void send_pieces(tdm_reducer *r, int64_t k)
{
    const int nodes = r->comm->across_size, mine = r->comm->across_rank;
    const bucket *b = &r->bucket[k];
    slot *s = &r->slot[k % SLOTS];
    s->requests = 0;
    if (!r->sum || nodes == 1) return;
    for (int i = 1; i < nodes; i++) {
        const int m = (mine + nodes - i) % nodes;
        add_request(r, s, false, received_from(r, s, m), b->own.end - b->own.begin, m, k);
    }
    for (int i = 1; i < nodes; i++) {
        const int m = (mine + i) % nodes;
        const tdm_span piece = part_of(b->part, nodes, m);
        const int64_t n = piece.end - piece.begin;
        void *data = r->arena->at + piece.begin;
        if (r->wire == TDM_WIRE_BF16) {
            uint16_t *rounded = s->rounded + (piece.begin - b->part.begin);
            wire_to_bf16(r->options.threads, data, rounded, n);
            data = rounded;
        }
        add_request(r, s, true, data, n, m, k);
    }
}

static bool arrived(tdm_reducer *r, int64_t k)
{
    slot *s = &r->slot[k % SLOTS];
    int done = 1;
    if (s->requests > 0) MPI_Testall(s->requests, s->request, &done, MPI_STATUSES_IGNORE);
    return done;
}

static void add_received(tdm_reducer *r, int64_t k)
{
    const tdm_span own = r->bucket[k].own;
    if (!r->sum || r->comm->across_size == 1) return;
    wire_add_rows(r->wire, r->options.threads, r->comm->across_size, r->comm->across_rank,
                  r->slot[k % SLOTS].received, r->longest_piece, r->arena->at + own.begin,
                  own.end - own.begin);
}

/* Every node gets the completed piece. In bf16 this rank goes on with what the others receive. */
static void send_completed(tdm_reducer *r, int64_t k)
{
    const int nodes = r->comm->across_size, mine = r->comm->across_rank;
    const bucket *b = &r->bucket[k];
    const int64_t n = b->own.end - b->own.begin;
    slot *s = &r->slot[k % SLOTS];
    float *own = r->arena->at + b->own.begin;
    const bool bf16 = r->wire == TDM_WIRE_BF16;
    s->requests = 0;
    if (!r->gather || nodes == 1) return;
    for (int i = 1; i < nodes; i++) {
        const int m = (mine + nodes - i) % nodes;
        const tdm_span piece = part_of(b->part, nodes, m);
        add_request(r, s, false, bf16 ? received_from(r, s, m) : r->arena->at + piece.begin,
                    piece.end - piece.begin, m, k);
    }
    if (bf16) {
        wire_to_bf16(r->options.threads, own, s->rounded, n);
        wire_from_bf16(r->options.threads, s->rounded, own, n);
    }
    for (int i = 1; i < nodes; i++)
        add_request(r, s, true, bf16 ? (void *)s->rounded : (void *)own, n, (mine + i) % nodes, k);
}

static void keep_completed(tdm_reducer *r, int64_t k)
{
    const int nodes = r->comm->across_size, mine = r->comm->across_rank;
    if (!r->gather || nodes == 1 || r->wire == TDM_WIRE_F32) return;
    for (int m = 0; m < nodes; m++) {
        const tdm_span piece = part_of(r->bucket[k].part, nodes, m);
        if (m != mine)
            wire_from_bf16(r->options.threads, received_from(r, &r->slot[k % SLOTS], m),
                           r->arena->at + piece.begin, piece.end - piece.begin);
    }
}

/* ---- Progress ---- */

static void begin(tdm_reducer *r, const arena *of, bool sum, bool gather, tdm_wire wire)
{
    r->arena = of;
    r->sum = sum;
    r->gather = gather;
    r->wire = wire;
}

/* Takes every bucket as far as it goes; whether anything happened. */
static bool advance(tdm_reducer *r)
{
    bool moved = false;
    for (; r->summed < r->ready && all_have(r, READY, r->summed + 1); r->summed++, moved = true)
        sum_in_node(r, r->summed);
    for (; r->sent < r->summed && r->sent < r->pushed + SLOTS; r->sent++, moved = true)
        send_pieces(r, r->sent);
    for (; r->scattered < r->sent && arrived(r, r->scattered); r->scattered++, moved = true) {
        add_received(r, r->scattered);
        send_completed(r, r->scattered);
    }
    for (; r->pushed < r->scattered && arrived(r, r->pushed); moved = true) {
        keep_completed(r, r->pushed);
        push_to_node(r, r->pushed);
        tell(r, PUSHED, ++r->pushed);
    }
    return moved;
}

void tdm_reducer_poll(tdm_reducer *reducer)
{
    if (reducer->pushed == reducer->ready) return;
    const double start_s = tdm_now_s();
    (void)advance(reducer);
    reducer->polls_s += tdm_now_s() - start_s;
}

void tdm_reducer_ready(tdm_reducer *reducer, int64_t first)
{
    const int64_t before = reducer->ready;
    if (before == 0) begin(reducer, &reducer->grad, true, !reducer->options.shard, reducer->options.wire);
    if (reducer->comm->size == 1) return;
    while (reducer->ready < reducer->buckets && reducer->bucket[reducer->ready].all.begin >= first)
        reducer->ready++;
    if (reducer->ready > before) tell(reducer, READY, reducer->ready);
    tdm_reducer_poll(reducer);
}

/* Until all buckets are done here, and no rank of the node reads this rank's arena any more. What passes
 * before the last rank has come here too is waiting, unless something is done meanwhile. */
static void complete(tdm_reducer *r, tdm_comm_time *time)
{
    MPI_Request barrier;
    int together = 0;
    double last_s = tdm_now_s();
    MPI_Ibarrier(r->all, &barrier);
    for (bool done = false; !done;) {
        const bool moved = advance(r);
        if (!together) MPI_Test(&barrier, &together, MPI_STATUS_IGNORE);
        done = together && r->pushed == r->buckets && all_have(r, PUSHED, r->buckets);
        if (!moved && !done) sched_yield();
        const double now_s = tdm_now_s();
        *(moved || together ? &time->transfer_s : &time->wait_s) += now_s - last_s;
        last_s = now_s;
    }
    r->base += r->buckets;
    r->ready = r->summed = r->sent = r->scattered = r->pushed = 0;
}

void tdm_reducer_finish(tdm_reducer *reducer, tdm_comm_time *time)
{
    if (reducer->comm->size == 1) return;
    tdm_reducer_ready(reducer, 0);
    complete(reducer, time);
    time->transfer_s += reducer->polls_s;
    reducer->polls_s = 0.0;
}

void tdm_reducer_gather(tdm_reducer *reducer, tdm_comm_time *time)
{
    if (reducer->comm->size == 1) return;
    begin(reducer, &reducer->weight, false, true, TDM_WIRE_F32);
    reducer->ready = reducer->buckets;
    tell(reducer, READY, reducer->ready);
    complete(reducer, time);
}
