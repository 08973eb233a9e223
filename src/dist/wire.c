#include "wire.h"

#include "tandem/base.h"

#include <string.h>

/* Elements that a thread works on at once: a buffer of them stays in its L2 cache. Conversions need none. */
enum { BLOCK = 16384, COPY = 1 << 18 };

/* Threads that a loop of `n` pieces is worth. */
static int team(int threads, int64_t n)
{
    return (int)tdm_max_i64(1, tdm_min_i64(threads, n));
}

static int64_t pieces_of(int64_t n, int64_t piece)
{
    return (n + piece - 1) / piece;
}

static void add(int64_t n, const float *x, float *sum)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) sum[i] += x[i];
}

static void push_block(tdm_comm *comm, float *const *arena, int64_t at, const float *data, int64_t n)
{
    for (int i = 1; i < comm->node_size; i++) { /* every rank begins with another one */
        const int peer = (comm->node_rank + i) % comm->node_size;
        comm_write_peer(comm, peer, data, arena[peer] + at, n);
    }
}

/* One block: the first rank's values, then the others' on top of them. */
static void add_block(tdm_comm *comm, float *const *arena, int64_t at, float *own, int64_t n, bool push)
{
    float read[BLOCK], sum[BLOCK];
    const int mine = comm->node_rank;
    float *total = mine == 0 ? own : sum;
    if (mine != 0) comm_read_peer(comm, 0, arena[0] + at, sum, n);
    for (int peer = 1; peer < comm->node_size; peer++) {
        if (peer != mine) comm_read_peer(comm, peer, arena[peer] + at, read, n);
        add(n, peer == mine ? own : read, total);
    }
    if (total != own) memcpy(own, total, (size_t)n * sizeof *own);
    if (push) push_block(comm, arena, at, total, n);
}

void wire_add_peers(tdm_comm *comm, int threads, float *const *arena, float *own, int64_t n, bool push)
{
    const int64_t pieces = pieces_of(n, BLOCK), offset = own - arena[comm->node_rank];
#pragma omp parallel for num_threads(team(threads, pieces)) schedule(static)
    for (int64_t i = 0; i < pieces; i++)
        add_block(comm, arena, offset + i * BLOCK, own + i * BLOCK, tdm_min_i64(BLOCK, n - i * BLOCK), push);
}

void wire_push(tdm_comm *comm, int threads, float *const *arena, const float *own, int64_t n)
{
    const int64_t pieces = pieces_of(n, BLOCK), offset = own - arena[comm->node_rank];
#pragma omp parallel for num_threads(team(threads, pieces)) schedule(static)
    for (int64_t i = 0; i < pieces; i++)
        push_block(comm, arena, offset + i * BLOCK, own + i * BLOCK, tdm_min_i64(BLOCK, n - i * BLOCK));
}

static void load_row(tdm_wire wire, const void *other, int64_t at, float *y, int64_t n)
{
    if (wire == TDM_WIRE_F32) {
        memcpy(y, (const float *)other + at, (size_t)n * sizeof *y);
        return;
    }
    const uint16_t *x = (const uint16_t *)other + at;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = tdm_bf16_value(x[i]);
}

static void add_row(tdm_wire wire, const void *other, int64_t at, float *y, int64_t n)
{
    if (wire == TDM_WIRE_F32) {
        add(n, (const float *)other + at, y);
        return;
    }
    const uint16_t *x = (const uint16_t *)other + at;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += tdm_bf16_value(x[i]);
}

void wire_add_rows(tdm_wire wire, int threads, int count, int mine, const void *other, int64_t stride,
                   float *own, int64_t n)
{
    const int64_t pieces = pieces_of(n, BLOCK);
#pragma omp parallel for num_threads(team(threads, pieces)) schedule(static)
    for (int64_t i = 0; i < pieces; i++) {
        float sum[BLOCK], *here = own + i * BLOCK, *total = mine == 0 ? here : sum;
        const int64_t at = i * BLOCK, length = tdm_min_i64(BLOCK, n - at);
        if (mine != 0) load_row(wire, other, at, sum, length);
        for (int row = 1; row < count; row++) {
            if (row == mine)
                add(length, here, total);
            else
                add_row(wire, other, (row < mine ? row : row - 1) * stride + at, total, length);
        }
        if (total != here) memcpy(here, total, (size_t)length * sizeof *here);
    }
}

void wire_copy(int threads, const float *x, float *y, int64_t n)
{
    const int64_t pieces = pieces_of(n, COPY);
#pragma omp parallel for num_threads(team(threads, pieces)) schedule(static)
    for (int64_t i = 0; i < pieces; i++)
        memcpy(y + i * COPY, x + i * COPY, (size_t)tdm_min_i64(COPY, n - i * COPY) * sizeof *y);
}

void wire_to_bf16(int threads, const float *x, uint16_t *y, int64_t n)
{
    const int64_t pieces = pieces_of(n, COPY);
#pragma omp parallel for num_threads(team(threads, pieces)) schedule(static)
    for (int64_t i = 0; i < pieces; i++) {
        const int64_t end = tdm_min_i64(n, (i + 1) * COPY);
#pragma omp simd
        for (int64_t k = i * COPY; k < end; k++) y[k] = tdm_bf16_round(x[k]);
    }
}

void wire_from_bf16(int threads, const uint16_t *x, float *y, int64_t n)
{
    const int64_t pieces = pieces_of(n, COPY);
#pragma omp parallel for num_threads(team(threads, pieces)) schedule(static)
    for (int64_t i = 0; i < pieces; i++) {
        const int64_t end = tdm_min_i64(n, (i + 1) * COPY);
#pragma omp simd
        for (int64_t k = i * COPY; k < end; k++) y[k] = tdm_bf16_value(x[k]);
    }
}
