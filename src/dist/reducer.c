/* Bucketed sums over the ranks that overlap with backward, on two levels (parts.c says who adds what): in a node out of
 * each other's memory, between nodes by one of the ways of reducer_impl.h.
 *
 *   ready      a bucket is final on this rank
 *   summed     this rank has added its part of it over the ranks of its node, out of their memory
 *   sent       that part is on its way to the other nodes
 *   scattered  the other nodes have sent theirs, so that this rank's pieces are complete
 *   pushed     the whole part is complete, and this rank has written it into the memory of the ranks of its node (on
 *              one node: as soon as it was added)
 *
 * Each is a count of buckets, in the order in which backward finishes them: from the end of the arena. Ranks
 * of a node see each other's `ready` and `pushed` in a shared window. A part of an arena is read and written
 * by its rank alone, between the two. Sharded sums end at `scattered`; a gathering of weights begins there.
 *
 * Nothing advances by itself: MPI has no progress thread here, and additions need a core anyway. */
#include "reducer_impl.h"
#include "wire.h"

#include "tandem/base.h"

#include <sched.h>
#include <string.h>

/* In the order of tdm_reduce. */
static const reduce_way *const ways[REDUCE_WAYS] = {&reduce_exchange, &reduce_mpi};

/* ---- Set-up ---- */

/* Whether a step may take it; what a choice is not needed for goes by exchange. */
static bool may_take(const tdm_reducer *r, int way)
{
    return reducer_is_open(r) || r->way == ways[way];
}

static tdm_status create_slots(tdm_reducer *r)
{
    const int64_t lanes = r->comm->own_cells, nodes = r->comm->nodes;
    int64_t bytes = 0;
    for (int i = 0; i < REDUCE_WAYS; i++)
        if (may_take(r, i)) bytes = tdm_max_i64(bytes, ways[i]->buffer_bytes(r));
    for (int i = 0; i < SLOTS; i++) {
        slot *s = &r->slot[i];
        TDM_TRY(TDM_ALLOC(2 * lanes * nodes, &s->request));
        TDM_TRY(TDM_ALLOC(2 * lanes * nodes, &s->count));
        TDM_TRY(TDM_ALLOC(bytes, &s->buffer));
        if (r->options.wire == TDM_WIRE_BF16) TDM_TRY(TDM_ALLOC(r->longest_part, &s->rounded));
    }
    return TDM_OK;
}

static int64_t length_of(tdm_span span)
{
    return span.end - span.begin;
}

static tdm_status create_buckets(tdm_reducer *r, const tdm_span *span, int64_t spans)
{
    const tdm_comm *comm = r->comm;
    const int64_t longest = bucket_elements(comm, r->options.bucket_bytes);
    r->buckets = cut_spans(span, spans, longest, NULL);
    TDM_TRY(TDM_ALLOC(r->buckets, &r->bucket));
    cut_spans(span, spans, longest, r->bucket);
    for (int64_t k = 0; k < r->buckets; k++) {
        r->longest_part = tdm_max_i64(r->longest_part, length_of(part_of(comm, r->bucket[k])));
        for (int lane = 0; lane < comm->own_cells; lane++)
            for (int m = 0; m < comm->nodes; m++)
                r->longest_piece =
                    tdm_max_i64(r->longest_piece, length_of(piece_of(comm, reducer_cell(r, k, lane), m)));
    }
    return TDM_OK;
}

static tdm_status create_local(tdm_reducer *r, const tdm_span *span, int64_t spans)
{
    TDM_TRY(create_buckets(r, span, spans));
    TDM_TRY(TDM_ALLOC(r->comm->node_size, &r->grad.peer));
    TDM_TRY(TDM_ALLOC(r->comm->node_size, &r->weight.peer));
    TDM_TRY(TDM_ALLOC(r->comm->node_size, &r->peer));
    TDM_TRY(TDM_ALLOC(r->comm->own_cells, &r->lane));
    for (int i = 0; i < r->comm->own_cells; i++) r->lane[i] = MPI_COMM_NULL;
    return r->comm->nodes > 1 ? create_slots(r) : TDM_OK;
}

/* The communicators of this rank's cells: rank m is the one of node m. The cells of a rank follow each other, so that
 * each falls into another round. */
static void join_lanes(tdm_reducer *r)
{
    const tdm_comm *comm = r->comm;
    const int rounds = most_cells(comm);
    for (int round = 0; round < rounds; round++) {
        int mine = MPI_UNDEFINED;
        for (int c = comm->first_cell; c < comm->first_cell + comm->own_cells; c++)
            if (c % rounds == round) mine = c;
        MPI_Comm lane;
        MPI_Comm_split(r->all, mine, comm->node_index, &lane);
        if (mine != MPI_UNDEFINED) r->lane[mine - comm->first_cell] = lane;
    }
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
    TDM_REQUIRE(options->reduce != TDM_REDUCE_MPI || options->wire == TDM_WIRE_F32, TDM_E_CONFIG,
                "MPI has no sum of bf16, so gradients that travel as bf16 need the direct exchange");
    tdm_reducer *made = NULL;
    TDM_TRY(TDM_ALLOC(1, &made));
    made->comm = comm;
    made->all = MPI_COMM_NULL;
    made->window = MPI_WIN_NULL;
    made->options = *options;
    made->grad.at = grad;
    made->weight.at = weight;
    made->way = ways[options->reduce == TDM_REDUCE_MPI];
    *reducer = made;
    if (comm->size == 1) return TDM_OK;
    const tdm_status status = tdm_comm_agree(comm, create_local(made, span, spans));
    if (status != TDM_OK) {
        tdm_reducer_destroy(reducer);
        return status;
    }
    MPI_Comm_dup(comm->mpi, &made->all);
    if (comm->nodes > 1) join_lanes(made);
    if (comm->node_size > 1) meet_node(made);
    return TDM_OK;
}

void tdm_reducer_destroy(tdm_reducer **reducer)
{
    if (reducer == NULL || *reducer == NULL) return;
    tdm_reducer *r = *reducer;
    if (r->window != MPI_WIN_NULL) MPI_Win_free(&r->window);
    for (int i = 0; r->lane && i < r->comm->own_cells; i++)
        if (r->lane[i] != MPI_COMM_NULL) MPI_Comm_free(&r->lane[i]);
    if (r->all != MPI_COMM_NULL) MPI_Comm_free(&r->all);
    for (int i = 0; i < SLOTS; i++) {
        tdm_free(r->slot[i].request);
        tdm_free(r->slot[i].count);
        tdm_free(r->slot[i].buffer);
        tdm_free(r->slot[i].rounded);
    }
    tdm_free(r->lane);
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
    return r->sum && r->gather && r->comm->nodes == 1;
}

static void sum_in_node(tdm_reducer *r, int64_t k)
{
    const tdm_span part = part_of(r->comm, r->bucket[k]);
    if (r->sum && r->comm->node_size > 1)
        wire_add_peers(r->comm, r->options.threads, r->arena->peer, r->arena->at + part.begin,
                       part.end - part.begin, pushes_at_once(r));
}

static void push_to_node(tdm_reducer *r, int64_t k)
{
    const tdm_span part = part_of(r->comm, r->bucket[k]);
    if (r->gather && r->comm->node_size > 1 && !pushes_at_once(r))
        wire_push(r->comm, r->options.threads, r->arena->peer, r->arena->at + part.begin,
                  part.end - part.begin);
}

/* ---- Between nodes ---- */

tdm_span reducer_cell(const tdm_reducer *r, int64_t k, int lane)
{
    return cell_of(r->comm, r->bucket[k], r->comm->first_cell + lane);
}

slot *reducer_slot(tdm_reducer *r, int64_t k)
{
    return &r->slot[k % SLOTS];
}

typedef void way_stage(tdm_reducer *r, int64_t k);

static void pass(tdm_reducer *r, int64_t k, way_stage *stage)
{
    if (r->comm->nodes == 1) return;
    reducer_slot(r, k)->requests = 0;
    stage(r, k);
}

static bool arrived(tdm_reducer *r, int64_t k)
{
    slot *s = reducer_slot(r, k);
    int done = 1;
    if (s->requests > 0) MPI_Testall(s->requests, s->request, &done, MPI_STATUSES_IGNORE);
    return done;
}

/* ---- Progress ---- */

static void begin(tdm_reducer *r, const arena *of, bool sum, bool gather, tdm_wire wire)
{
    if (sum && reducer_is_open(r)) r->way = ways[reducer_next_way(r)];
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
        pass(r, r->sent, r->way->start);
    for (; r->scattered < r->sent && arrived(r, r->scattered); r->scattered++, moved = true)
        pass(r, r->scattered, r->way->turn);
    for (; r->pushed < r->scattered && arrived(r, r->pushed); moved = true) {
        pass(r, r->pushed, r->way->end);
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
    if (reducer->comm->size == 1) return;
    if (reducer->arena == NULL)
        begin(reducer, &reducer->grad, true, !reducer->options.shard, reducer->options.wire);
    while (reducer->ready < reducer->buckets && reducer->bucket[reducer->ready].begin >= first)
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
    tdm_pulse_wait(r->sum ? "sum of gradients" : "exchange of weights");
    MPI_Ibarrier(r->all, &barrier);
    for (bool done = false; !done;) {
        const bool moved = advance(r);
        if (moved) tdm_pulse_beat();
        if (!together) MPI_Test(&barrier, &together, MPI_STATUS_IGNORE);
        done = together && r->pushed == r->buckets && all_have(r, PUSHED, r->buckets);
        if (!moved && !done) sched_yield();
        const double now_s = tdm_now_s();
        *(moved || together ? &time->transfer_s : &time->wait_s) += now_s - last_s;
        last_s = now_s;
    }
    tdm_pulse_met();
    r->base += r->buckets;
    r->arena = NULL;
    r->ready = r->summed = r->sent = r->scattered = r->pushed = 0;
}

void tdm_reducer_finish(tdm_reducer *reducer, tdm_comm_time *time)
{
    if (reducer->comm->size == 1) return;
    const double before_s = time->transfer_s;
    tdm_reducer_ready(reducer, 0);
    complete(reducer, time);
    time->transfer_s += reducer->polls_s;
    reducer->polls_s = 0.0;
    reducer->step_s += time->transfer_s - before_s;
}

void tdm_reducer_gather(tdm_reducer *reducer, tdm_comm_time *time)
{
    if (reducer->comm->size == 1) return;
    const double before_s = time->transfer_s;
    begin(reducer, &reducer->weight, false, true, TDM_WIRE_F32);
    reducer->ready = reducer->buckets;
    tell(reducer, READY, reducer->ready);
    complete(reducer, time);
    reducer->step_s += time->transfer_s - before_s;
}
