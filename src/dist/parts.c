/* Who completes which sums. The spans are cut into buckets from the end of the arena; a bucket into one part
 * for each rank of a node; a part into one piece for each node:
 *
 *   bucket   [         part of rank 0          |         part of rank 1          ]
 *   pieces   [ node 0  |  node 1  |   node 2   |  node 0  |  node 1  |   node 2  ]
 *
 * A rank adds its part over the ranks of its node, then its node's pieces of that part over the nodes, always in the
 * order of the ranks.
 *
 * Nodes of different sizes cut a bucket in different places. All cuts together make its cells; within a cell every node
 * has one rank, and these share it out:
 *
 *   node 0   [    rank 0     |    rank 1     |    rank 2     ]
 *   node 1   [        rank 0         |        rank 1         ]
 *   cells    [      0        |   1   |   2   |       3       ]
 *
 * So parts are made of whole cells, and pieces are cut out of cells. A node gets pieces as large as it has ranks, so
 * that every rank completes about as much. */
#include "comm_impl.h"

#include "tandem/base.h"

#include <stdlib.h>

enum { CUT_STEP = 16, LEAST_MESSAGE_BYTES = 64 << 10 };

/* ---- Cells ---- */

static int node_ranks(const tdm_comm *comm, int node)
{
    return comm->node_begin[node + 1] - comm->node_begin[node];
}

static int64_t greatest_divisor(int64_t a, int64_t b)
{
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* What the sizes of all nodes are multiples of. */
static int64_t find_unit(const tdm_comm *comm)
{
    int64_t unit = 0;
    for (int m = 0; m < comm->nodes; m++) unit = greatest_divisor(node_ranks(comm, m), unit);
    return unit;
}

static int compare_cuts(const void *a, const void *b)
{
    const comm_cut *x = a, *y = b;
    const int64_t left = x->i * y->parts, right = y->i * x->parts;
    return (left > right) - (left < right);
}

/* The rank of a node of `ranks` that has this cell. */
static int64_t place_of(comm_cut begin, int64_t ranks)
{
    return begin.i * ranks / begin.parts;
}

tdm_status comm_cut_cells(tdm_comm *comm)
{
    int64_t cuts = 0, kept = 0;
    TDM_TRY(TDM_ALLOC((int64_t)comm->size + comm->nodes, &comm->cut));
    for (int m = 0; m < comm->nodes; m++)
        for (int i = 0; i <= node_ranks(comm, m); i++) comm->cut[cuts++] = (comm_cut){i, node_ranks(comm, m)};
    qsort(comm->cut, (size_t)cuts, sizeof *comm->cut, compare_cuts);
    for (int64_t i = 0; i < cuts; i++)
        if (kept == 0 || compare_cuts(&comm->cut[kept - 1], &comm->cut[i]) != 0)
            comm->cut[kept++] = comm->cut[i];
    comm->cells = (int)kept - 1;
    comm->node_unit = find_unit(comm);
    comm->first_cell = comm->own_cells = 0;
    for (int c = comm->cells - 1; c >= 0; c--) {
        if (place_of(comm->cut[c], comm->node_size) != comm->node_rank) continue;
        comm->first_cell = c;
        comm->own_cells++;
    }
    return TDM_OK;
}

int most_cells(const tdm_comm *comm)
{
    int most = 0;
    for (int m = 0; m < comm->nodes; m++) {
        int64_t place = -1;
        for (int c = 0, run = 0; c < comm->cells; c++) {
            const int64_t next = place_of(comm->cut[c], node_ranks(comm, m));
            run = next == place ? run + 1 : 1;
            place = next;
            if (run > most) most = run;
        }
    }
    return most;
}

/* Where a cut of the span falls. In the order of the fractions, whatever their parts; tdm_part_begin, which promises that
 * for one number of parts only, is what nodes of one size have always been cut by. */
static int64_t cut_at(const tdm_comm *comm, tdm_span span, comm_cut cut)
{
    const int64_t steps = (span.end - span.begin + CUT_STEP - 1) / CUT_STEP;
    const bool even = comm->node_unit * comm->nodes == comm->size;
    const int64_t step = even ? tdm_part_begin(steps, cut.parts, cut.i) : steps * cut.i / cut.parts;
    return tdm_min_i64(span.end, span.begin + step * CUT_STEP);
}

tdm_span cell_of(const tdm_comm *comm, tdm_span bucket, int cell)
{
    return (tdm_span){cut_at(comm, bucket, comm->cut[cell]), cut_at(comm, bucket, comm->cut[cell + 1])};
}

tdm_span part_of(const tdm_comm *comm, tdm_span bucket)
{
    const comm_cut *cut = &comm->cut[comm->first_cell];
    return (tdm_span){cut_at(comm, bucket, cut[0]), cut_at(comm, bucket, cut[comm->own_cells])};
}

tdm_span piece_of(const tdm_comm *comm, tdm_span cell, int node)
{
    const int64_t unit = comm->node_unit, units = comm->size / unit;
    return (tdm_span){cut_at(comm, cell, (comm_cut){comm->node_begin[node] / unit, units}),
                      cut_at(comm, cell, (comm_cut){comm->node_begin[node + 1] / unit, units})};
}

/* ---- Buckets ---- */

int64_t cut_spans(const tdm_span *span, int64_t spans, int64_t longest, tdm_span *piece)
{
    int64_t n = 0;
    for (int64_t s = spans - 1; s >= 0; s--)
        for (int64_t end = span[s].end; end > span[s].begin; n++) {
            const int64_t begin = tdm_max_i64(span[s].begin, end - longest);
            if (piece) piece[n] = (tdm_span){begin, end};
            end = begin;
        }
    return n;
}

/* Not less than LEAST_MESSAGE_BYTES to each of many nodes: shorter messages cost their latency. */
int64_t bucket_elements(const tdm_comm *comm, int64_t bucket_bytes)
{
    int64_t bytes = bucket_bytes;
    if (comm->nodes > 64) bytes = tdm_max_i64(bytes, (int64_t)LEAST_MESSAGE_BYTES * comm->size);
    const int64_t n = tdm_min_i64(bytes / (int64_t)sizeof(float), comm->max_count);
    return n >= CUT_STEP ? n / CUT_STEP * CUT_STEP : n;
}

static void append(tdm_span **part, int64_t *parts, tdm_span own)
{
    if (own.begin == own.end) return;
    if (*parts > 0 && (*part)[*parts - 1].end == own.begin)
        (*part)[*parts - 1].end = own.end;
    else
        (*part)[(*parts)++] = own;
}

tdm_status tdm_comm_part(const tdm_comm *comm, const tdm_span *span, int64_t spans, int64_t bucket_bytes,
                         tdm_span **part, int64_t *parts)
{
    const int64_t longest = bucket_elements(comm, bucket_bytes);
    const int64_t buckets = cut_spans(span, spans, longest, NULL);
    tdm_span *bucket;
    *parts = 0;
    TDM_TRY(TDM_ALLOC(buckets * comm->own_cells, part));
    TDM_TRY(TDM_ALLOC(buckets, &bucket));
    cut_spans(span, spans, longest, bucket);
    for (int64_t k = buckets - 1; k >= 0; k--) /* ascending */
        for (int c = 0; c < comm->own_cells; c++)
            append(part, parts,
                   piece_of(comm, cell_of(comm, bucket[k], comm->first_cell + c), comm->node_index));
    tdm_free(bucket);
    return TDM_OK;
}
