/* The communication of one training step for SimGrid's SMPI: the calls of src/train/trainer.c in their order
 * and sizes, with computing replaced by its modelled seconds (a plan that bench/scaling.py writes). Prints
 * the simulated seconds of the step and of its parts, the longest of any rank.
 *
 * The gradient sums are those of src/dist/reducer.c: additions in a node, then one of the ways below over the ranks of
 * the same place in all nodes, copies in the node; a bucket advances in polls only. MPI_Iallreduce is made by hand, in
 * the rounds of the usual algorithms, as libraries without progress threads do it: SMPI's sends everything to everybody.
 * MPI_Reduce_scatter is made by hand as well (Open MPI's ring and butterfly): SMPI's
 * would need memory for a copy of all features per rank.
 *
 *   smpirun … step_pattern PLAN [POLLS]      POLLS: per stage of the backward pass */
#include <mpi.h>
#include <smpi/smpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RING_BELOW = 64, F32 = 4, SLOTS = 4, MAX_STAGES = 256, MAX_BUCKETS = 4096, TAG_SCATTER = 5000 };

typedef struct way way;

typedef struct plan {
    const way *reduce;
    int ranks, node_ranks, b, d, wire_bytes, stages, buckets;
    double memory, forward_s, loss_s, fixed_s; /* memory: bytes/s of a rank */
    double stage_s[MAX_STAGES];
    long elements[MAX_BUCKETS];
    int after[MAX_BUCKETS]; /* the stage that makes the bucket final */
} plan;

/* One bucket between nodes. */
typedef struct sum {
    int tag, round, requests;
    long elements;
    MPI_Request *request; /* [2·(nodes-1)] */
} sum;

typedef struct simulation {
    const plan *plan;
    int rank, log2_ranks, nodes;
    int ready, started, open; /* buckets [0, ready) are final, [0, started) begun; sums [0, open) under way */
    char *out, *in;           /* shared by all ranks: contents do not matter */
    sum sums[SLOTS];
} simulation;

static const way *find_way(const char *name);

static bool read_plan(const char *path, plan *p)
{
    FILE *file = fopen(path, "r");
    if (!file) return false;
    char reduce[32] = "";
    bool ok = fscanf(file, " ranks %d node %d b %d d %d wire %d memory %lf forward %lf loss %lf fixed %lf",
                     &p->ranks, &p->node_ranks, &p->b, &p->d, &p->wire_bytes, &p->memory, &p->forward_s,
                     &p->loss_s, &p->fixed_s) == 9 &&
              fscanf(file, " reduce %31s stages %d buckets %d", reduce, &p->stages, &p->buckets) == 3 &&
              (p->reduce = find_way(reduce)) != NULL && p->stages <= MAX_STAGES && p->buckets <= MAX_BUCKETS;
    for (int i = 0; ok && i < p->stages; i++) ok = fscanf(file, "%lf", &p->stage_s[i]) == 1;
    for (int i = 0; ok && i < p->buckets; i++)
        ok = fscanf(file, "%ld %d", &p->elements[i], &p->after[i]) == 2;
    fclose(file);
    return ok;
}

static void compute(double seconds)
{
    if (seconds > 0.0) smpi_execute(seconds);
}

/* Adding received elements: two reads and a write. */
static void add(const simulation *s, double elements)
{
    compute(3.0 * F32 * elements / s->plan->memory);
}

/* ---- Gradient sums ---- */

static void move_bytes(const simulation *s, double bytes)
{
    compute(bytes / s->plan->memory);
}

/* One round of a sum: messages of `elements` to and from one node, or to and from all others; then as many are added as
 * `adds` says. */
typedef struct message_round {
    int to, from; /* nodes; ALL */
    double elements, adds;
} message_round;
enum { ALL = -1 };

struct way {
    const char *name;
    int (*rounds)(const simulation *s);
    message_round (*at)(const simulation *s, double part, int round);
    bool copies; /* from a buffer of its own, at the end */
};

static int node_of(const simulation *s)
{
    return s->rank / s->plan->node_ranks;
}

static int log2_nodes(const simulation *s)
{
    int n = 0;
    while (1 << n < s->nodes) n++;
    return n;
}

static int exchange_rounds(const simulation *s)
{
    (void)s;
    return 2;
}

static message_round exchange_at(const simulation *s, double part, int round)
{
    const double adds = round == 0 ? part * (s->nodes - 1) / s->nodes : 0.0;
    return (message_round){ALL, ALL, part / s->nodes, adds};
}

/* Recursive halving, then doubling. */
static int rabenseifner_rounds(const simulation *s)
{
    return 2 * log2_nodes(s);
}

static message_round rabenseifner_at(const simulation *s, double part, int round)
{
    const int log2 = log2_nodes(s), k = round < log2 ? round : 2 * log2 - 1 - round;
    const int peer = node_of(s) ^ (1 << k);
    const double n = part / (2 << k);
    return (message_round){peer, peer, n, round < log2 ? n : 0.0};
}

static int ring_rounds(const simulation *s)
{
    return 2 * (s->nodes - 1);
}

static message_round ring_at(const simulation *s, double part, int round)
{
    const double n = part / s->nodes;
    return (message_round){(node_of(s) + 1) % s->nodes, (node_of(s) + s->nodes - 1) % s->nodes, n,
                           round < s->nodes - 1 ? n : 0.0};
}

static message_round doubling_at(const simulation *s, double part, int round)
{
    const int peer = node_of(s) ^ (1 << round);
    return (message_round){peer, peer, part, part};
}

static const way ways[] = {
    {"exchange", exchange_rounds, exchange_at, false},
    {"rabenseifner", rabenseifner_rounds, rabenseifner_at, true},
    {"ring", ring_rounds, ring_at, true},
    {"doubling", log2_nodes, doubling_at, true},
};

static const way *find_way(const char *name)
{
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (strcmp(ways[i].name, name) == 0) return &ways[i];
    return NULL;
}

static void send_to(simulation *s, sum *x, int to, int from, int bytes)
{
    const int place = s->rank % s->plan->node_ranks;
    MPI_Irecv(s->in, bytes, MPI_BYTE, from * s->plan->node_ranks + place, x->tag, MPI_COMM_WORLD,
              &x->request[x->requests++]);
    MPI_Isend(s->out, bytes, MPI_BYTE, to * s->plan->node_ranks + place, x->tag, MPI_COMM_WORLD,
              &x->request[x->requests++]);
}

static message_round round_of(const simulation *s, const sum *x)
{
    return s->plan->reduce->at(s, (double)x->elements / s->plan->node_ranks, x->round);
}

static void send_round(simulation *s, sum *x)
{
    const message_round round = round_of(s, x);
    const int bytes = (int)(round.elements * s->plan->wire_bytes), mine = node_of(s);
    x->requests = 0;
    if (round.to != ALL) {
        send_to(s, x, round.to, round.from, bytes);
        return;
    }
    for (int i = 1; i < s->nodes; i++)
        send_to(s, x, (mine + i) % s->nodes, (mine + s->nodes - i) % s->nodes, bytes);
}

/* Writes the part into the memory of the others; on one node while it is in the cache. */
static void push_in_node(const simulation *s, double elements)
{
    const double ranks = s->plan->node_ranks;
    if (ranks > 1) move_bytes(s, F32 * elements / ranks * (ranks - (s->nodes == 1)));
}

static void start_sum(simulation *s)
{
    const double ranks = s->plan->node_ranks;
    const long elements = s->plan->elements[s->started];
    if (ranks > 1) move_bytes(s, F32 * (double)elements / ranks * (ranks + 1));
    if (s->nodes > 1) {
        sum *x = &s->sums[s->open++];
        x->tag = s->started;
        x->round = 0;
        x->elements = elements;
        send_round(s, x);
    } else {
        push_in_node(s, (double)elements);
    }
    s->started++;
}

/* The round of `x` has arrived: true when it was the last one. */
static bool next_round(simulation *s, sum *x)
{
    const way *reduce = s->plan->reduce;
    add(s, round_of(s, x).adds);
    if (++x->round < reduce->rounds(s)) {
        send_round(s, x);
        return false;
    }
    if (reduce->copies) move_bytes(s, 2.0 * F32 * (double)x->elements / s->plan->node_ranks);
    push_in_node(s, (double)x->elements);
    return true;
}

static void end_sum(simulation *s, int i)
{
    const sum ended = s->sums[i];
    for (int k = i; k + 1 < s->open; k++) s->sums[k] = s->sums[k + 1];
    s->sums[--s->open] = ended; /* its requests are used again */
}

static void poll_sums(simulation *s)
{
    while (s->started < s->ready && s->open < SLOTS) start_sum(s);
    for (int i = 0; i < s->open;) {
        int arrived = 0;
        MPI_Testall(s->sums[i].requests, s->sums[i].request, &arrived, MPI_STATUSES_IGNORE);
        if (arrived && next_round(s, &s->sums[i]))
            end_sum(s, i);
        else
            i++;
    }
}

static void finish_sums(simulation *s)
{
    while (s->open > 0 || s->started < s->ready) {
        while (s->started < s->ready && s->open < SLOTS) start_sum(s);
        if (s->open == 0) continue;
        MPI_Waitall(s->sums[0].requests, s->sums[0].request, MPI_STATUSES_IGNORE);
        if (next_round(s, &s->sums[0])) end_sum(s, 0);
        poll_sums(s);
    }
}

static void backward(simulation *s, int polls)
{
    const plan *p = s->plan;
    for (int i = 0; i < p->stages; i++) {
        for (int k = 0; k < polls; k++) {
            compute(p->stage_s[i] / polls);
            if (k + 1 < polls) poll_sums(s);
        }
        while (s->ready < p->buckets && p->after[s->ready] == i && p->ranks > 1) s->ready++;
        poll_sums(s);
    }
}

/* ---- Features ---- */

static void gather_features(simulation *s)
{
    const plan *p = s->plan;
    const int row_bytes = p->d * F32;
    int *count = malloc(sizeof(int) * (size_t)p->ranks), *offset = malloc(sizeof(int) * (size_t)p->ranks);
    for (int r = 0; r < p->ranks; r++) {
        count[r] = p->b * row_bytes;
        offset[r] = r * count[r];
    }
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, s->in, count, offset, MPI_BYTE, MPI_COMM_WORLD);
    free(count);
    free(offset);
}

static void exchange(simulation *s, int to, int from, long elements)
{
    MPI_Sendrecv(s->out, (int)(F32 * elements), MPI_BYTE, to, TAG_SCATTER, s->in, (int)(F32 * elements),
                 MPI_BYTE, from, TAG_SCATTER, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void reduce_scatter(simulation *s)
{
    const plan *p = s->plan;
    const long mine = (long)p->b * p->d;
    if (p->ranks < RING_BELOW) {
        for (int i = 1; i < p->ranks; i++) {
            exchange(s, (s->rank + 1) % p->ranks, (s->rank + p->ranks - 1) % p->ranks, mine);
            add(s, (double)mine);
        }
        return;
    }
    int mirror = 0;
    for (int k = 0; k < s->log2_ranks; k++) {
        const long half = mine * p->ranks >> (k + 1);
        exchange(s, s->rank ^ (1 << k), s->rank ^ (1 << k), half);
        add(s, (double)half);
        mirror |= (s->rank >> k & 1) << (s->log2_ranks - 1 - k);
    }
    if (mirror != s->rank)
        exchange(s, mirror, mirror, mine); /* halving leaves the blocks in bit-reversed order */
}

static void sum_scalars(int count)
{
    double value[4] = {0};
    MPI_Allreduce(MPI_IN_PLACE, value, count, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
}

/* ---- A step ---- */

/* part: seconds of all, of gathers, of reduce-scatters, and what gradient sums added to backward. */
static void step(simulation *s, int polls, double part[4])
{
    const plan *p = s->plan;
    const double start_s = MPI_Wtime();
    compute(p->forward_s);
    double at_s = MPI_Wtime();
    MPI_Allgather(s->out, p->b * 8, MPI_BYTE, s->in, p->b * 8, MPI_BYTE, MPI_COMM_WORLD); /* identities */
    gather_features(s);
    gather_features(s);
    part[1] = MPI_Wtime() - at_s;
    compute(p->loss_s);
    sum_scalars(4);
    at_s = MPI_Wtime();
    reduce_scatter(s);
    reduce_scatter(s);
    part[2] = MPI_Wtime() - at_s;
    at_s = MPI_Wtime();
    backward(s, polls);
    finish_sums(s);
    part[3] = MPI_Wtime() - at_s;
    for (int i = 0; i < p->stages; i++) part[3] -= p->stage_s[i];
    compute(p->fixed_s);
    sum_scalars(2);
    part[0] = MPI_Wtime() - start_s;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    int size;
    plan p;
    simulation *s = calloc(1, sizeof *s);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm_rank(MPI_COMM_WORLD, &s->rank);
    const int polls = argc > 2 ? atoi(argv[2]) : 16;
    if (argc < 2 || polls < 1 || !read_plan(argv[1], &p) || p.ranks != size || (size & (size - 1)) != 0) {
        if (s->rank == 0)
            fprintf(stderr,
                    "step_pattern: needs a readable plan for %d ranks, a power of two, and polls >= 1\n",
                    size);
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    s->plan = &p;
    while (1 << s->log2_ranks < size) s->log2_ranks++;
    s->nodes = size / p.node_ranks;
    for (int i = 0; i < SLOTS; i++) s->sums[i].request = malloc(2 * sizeof(MPI_Request) * (size_t)s->nodes);
    size_t bytes = (size_t)p.b * (size_t)p.d * F32 * (size_t)size;
    for (int i = 0; i < p.buckets; i++)
        if (bytes < (size_t)p.elements[i] * F32) bytes = (size_t)p.elements[i] * F32;
    s->out = SMPI_SHARED_MALLOC(bytes);
    s->in = SMPI_SHARED_MALLOC(bytes);

    double part[4], longest[4];
    MPI_Barrier(MPI_COMM_WORLD);
    step(s, polls, part);
    MPI_Reduce(part, longest, 4, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
    if (s->rank == 0)
        printf("step_s %.6f gather_s %.6f scatter_s %.6f sums_s %.6f\n", longest[0], longest[1], longest[2],
               longest[3]);
    for (int i = 0; i < SLOTS; i++) free(s->sums[i].request);
    SMPI_SHARED_FREE(s->out);
    SMPI_SHARED_FREE(s->in);
    free(s);
    MPI_Finalize();
    return 0;
}
