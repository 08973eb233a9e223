/* Private to src/dist: the reducer, and the ways that sums take between nodes. */
#ifndef TANDEM_REDUCER_IMPL_H
#define TANDEM_REDUCER_IMPL_H

#include "comm_impl.h"

#include <stdatomic.h>

enum {
    SLOTS = 4,        /* buckets between `sent` and `pushed` */
    REDUCE_WAYS = 2,  /* exchange, MPI */
    REDUCE_ROUNDS = 6 /* steps of each before one is chosen; the first one does not count */
};

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
    MPI_Request *request; /* [2·lanes·nodes] */
    int requests;
    int *count;            /* [2·lanes·nodes], numbers that MPI reads until it is done */
    unsigned char *buffer; /* what arrives, as the way lays it out */
    uint16_t *rounded;     /* [longest part], bf16 only */
} slot;

/* How sums travel between nodes. The stages of bucket k are called in this order, and each when the requests that the
 * one before has added to the slot are done. r->sum: the addends of this rank's part set off, and its pieces of it get
 * complete; r->gather: the pieces set off, and the part gets complete. A lane is one of this rank's cells, where it
 * meets one rank of every node. */
typedef struct reduce_way {
    const char *name;
    int64_t (*buffer_bytes)(const tdm_reducer *r); /* of a slot */
    void (*start)(tdm_reducer *r, int64_t k);
    void (*turn)(tdm_reducer *r, int64_t k);
    void (*end)(tdm_reducer *r, int64_t k);
} reduce_way;
extern const reduce_way reduce_exchange, reduce_mpi;

struct tdm_reducer {
    tdm_comm *comm; /* borrowed */
    MPI_Comm all;   /* of its own, as the lanes: other collectives may run while buckets are under way */
    MPI_Comm *lane; /* [own_cells], MPI_COMM_NULL on one node */
    tdm_reducer_options options;
    arena grad, weight;
    tdm_span *bucket; /* [buckets] */
    int64_t buckets, longest_part, longest_piece;
    MPI_Win window;
    counts *mine, **peer; /* [node_size] */
    slot slot[SLOTS];
    const reduce_way *way;

    const arena *arena; /* that is under way */
    bool sum, gather;   /* which stages it passes */
    tdm_wire wire;
    int64_t base; /* buckets of all that came before */
    int64_t ready, summed, sent, scattered, pushed;
    double polls_s; /* since the last finish */

    /* Until a way is chosen. */
    int64_t steps;
    double step_s,
        tried_s[REDUCE_WAYS * REDUCE_ROUNDS]; /* seconds in sums, of the current step and of those before */
};

tdm_span reducer_cell(const tdm_reducer *r, int64_t k, int lane);
slot *reducer_slot(tdm_reducer *r, int64_t k);

/* ---- reducer_choice.c ---- */
/* Whether the way is still to be chosen. */
bool reducer_is_open(const tdm_reducer *r);
/* The way of the step that begins, as an index into the ways. Collective. */
int reducer_next_way(tdm_reducer *r);

#endif
