/* The communication of one training step for SimGrid's SMPI: the calls of src/train/trainer.c in their order
 * and sizes, with computing replaced by its modelled seconds (a plan that bench/scaling.py writes). Prints
 * the simulated seconds of the step and of its parts, the longest of any rank.
 *
 * SMPI's MPI_Iallreduce sends every vector to every rank. Here the rounds of Open MPI's Rabenseifner schedule
 * are sent by hand instead, and advance as there: one round at most per poll, a poll after each layer.
 * MPI_Reduce_scatter is made by hand as well (Open MPI's ring and butterfly): SMPI's would need memory for a
 * copy of all features per rank.
 *
 *   smpirun … step_pattern PLAN [POLLS]      POLLS: per stage of the backward pass; 1 as in the trainer */
#include <mpi.h>
#include <smpi/smpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { RING_BELOW = 64, F32 = 4, MAX_STAGES = 256, MAX_BUCKETS = 4096, TAG_SCATTER = 5000 };

typedef struct plan {
    int ranks, b, d, wire_bytes, stages, buckets;
    double memory, forward_s, loss_s, fixed_s; /* memory: bytes/s of a rank */
    double stage_s[MAX_STAGES];
    long elements[MAX_BUCKETS];
    int after[MAX_BUCKETS]; /* the stage that makes the bucket final */
} plan;

/* One gradient sum under way. */
typedef struct sum {
    int tag, round;
    long elements;
    MPI_Request request[2];
} sum;

typedef struct simulation {
    const plan *plan;
    int rank, log2_ranks, open; /* sums [0, open) are under way */
    char *out, *in;             /* shared by all ranks: contents do not matter */
    sum sums[MAX_BUCKETS];
} simulation;

static bool read_plan(const char *path, plan *p)
{
    FILE *file = fopen(path, "r");
    if (!file) return false;
    bool ok = fscanf(file, " ranks %d b %d d %d wire %d memory %lf forward %lf loss %lf fixed %lf", &p->ranks,
                     &p->b, &p->d, &p->wire_bytes, &p->memory, &p->forward_s, &p->loss_s, &p->fixed_s) == 8 &&
              fscanf(file, " stages %d buckets %d", &p->stages, &p->buckets) == 2 &&
              p->stages <= MAX_STAGES && p->buckets <= MAX_BUCKETS;
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

/* ---- Gradient sums: recursive halving, then doubling ---- */

static int distance_of(const simulation *s, int round)
{
    return round < s->log2_ranks ? round : 2 * s->log2_ranks - 1 - round;
}

static void send_round(simulation *s, sum *x)
{
    const int k = distance_of(s, x->round), peer = s->rank ^ (1 << k);
    const int bytes = (int)((x->elements >> (k + 1)) * s->plan->wire_bytes);
    MPI_Irecv(s->in, bytes, MPI_BYTE, peer, x->tag, MPI_COMM_WORLD, &x->request[0]);
    MPI_Isend(s->out, bytes, MPI_BYTE, peer, x->tag, MPI_COMM_WORLD, &x->request[1]);
}

/* The round of `x` has arrived: true when it was the last one. */
static bool next_round(simulation *s, sum *x)
{
    if (x->round < s->log2_ranks) add(s, (double)(x->elements >> (x->round + 1)));
    if (++x->round == 2 * s->log2_ranks) return true;
    send_round(s, x);
    return false;
}

static void poll_sums(simulation *s)
{
    int kept = 0;
    for (int i = 0; i < s->open; i++) {
        int arrived = 0;
        MPI_Testall(2, s->sums[i].request, &arrived, MPI_STATUSES_IGNORE);
        if (arrived && next_round(s, &s->sums[i])) continue;
        s->sums[kept++] = s->sums[i];
    }
    s->open = kept;
}

/* Waits for any message, advances its sum when that was the round's last, until all sums are done. */
static void finish_sums(simulation *s)
{
    while (s->open > 0) {
        MPI_Request waiting[2 * MAX_BUCKETS];
        int arrived;
        for (int i = 0; i < s->open; i++)
            for (int k = 0; k < 2; k++) waiting[2 * i + k] = s->sums[i].request[k];
        MPI_Waitany(2 * s->open, waiting, &arrived, MPI_STATUS_IGNORE);
        sum *x = &s->sums[arrived / 2];
        x->request[arrived % 2] = MPI_REQUEST_NULL;
        const bool round_done = x->request[0] == MPI_REQUEST_NULL && x->request[1] == MPI_REQUEST_NULL;
        if (round_done && next_round(s, x)) *x = s->sums[--s->open];
    }
}

static void backward(simulation *s, int polls)
{
    const plan *p = s->plan;
    int started = 0;
    for (int i = 0; i < p->stages; i++) {
        for (int k = 0; k < polls; k++) {
            compute(p->stage_s[i] / polls);
            if (k + 1 < polls) poll_sums(s);
        }
        for (; started < p->buckets && p->after[started] == i && p->ranks > 1; started++) {
            sum *x = &s->sums[s->open++];
            *x = (sum){.tag = started, .elements = p->elements[started]};
            send_round(s, x);
        }
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
    const int polls = argc > 2 ? atoi(argv[2]) : 1;
    if (argc < 2 || polls < 1 || !read_plan(argv[1], &p) || p.ranks != size || (size & (size - 1)) != 0) {
        if (s->rank == 0)
            fprintf(stderr,
                    "step_pattern: needs a readable plan for %d ranks, a power of two, and polls >= 1\n",
                    size);
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    s->plan = &p;
    while (1 << s->log2_ranks < size) s->log2_ranks++;
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
    SMPI_SHARED_FREE(s->out);
    SMPI_SHARED_FREE(s->in);
    free(s);
    MPI_Finalize();
    return 0;
}
