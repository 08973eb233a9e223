/* Who completes which sums. The spans are cut into buckets from the end of the arena; a bucket into one part
 * for each place in a node; a part into one piece for each node:
 *
 *   bucket   [         part of place 0         |         part of place 1         ]
 *   pieces   [ node 0  |  node 1  |   node 2   |  node 0  |  node 1  |   node 2  ]
 *
 * A rank completes the piece of its place and its node: it adds the parts of its place within the node, then
 * the pieces of its node over the nodes, always in the order of the ranks. */
#include "comm_impl.h"

#include "tandem/base.h"

enum { CUT_STEP = 16, LEAST_MESSAGE_BYTES = 64 << 10 };

tdm_span part_of(tdm_span span, int parts, int i)
{
    const int64_t n = span.end - span.begin, steps = (n + CUT_STEP - 1) / CUT_STEP;
    return (tdm_span){span.begin + tdm_min_i64(n, tdm_part_begin(steps, parts, i) * CUT_STEP),
                      span.begin + tdm_min_i64(n, tdm_part_begin(steps, parts, i + 1) * CUT_STEP)};
}

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
    if (comm->across_size > 64)
        bytes = tdm_max_i64(bytes, (int64_t)LEAST_MESSAGE_BYTES * comm->across_size * comm->node_size);
    const int64_t n = tdm_min_i64(bytes / (int64_t)sizeof(float), comm->max_count);
    return n >= CUT_STEP ? n / CUT_STEP * CUT_STEP : n;
}

tdm_status tdm_comm_part(const tdm_comm *comm, const tdm_span *span, int64_t spans, int64_t bucket_bytes,
                         tdm_span **part, int64_t *parts)
{
    const int64_t longest = bucket_elements(comm, bucket_bytes);
    const int64_t buckets = cut_spans(span, spans, longest, NULL);
    tdm_span *cut;
    *parts = 0;
    TDM_TRY(TDM_ALLOC(buckets, &cut));
    *part = cut;
    cut_spans(span, spans, longest, cut);
    for (int64_t low = 0, high = buckets - 1; low < high; low++, high--) { /* ascending */
        const tdm_span kept = cut[low];
        cut[low] = cut[high];
        cut[high] = kept;
    }
    for (int64_t i = 0; i < buckets; i++) {
        const tdm_span own =
            part_of(part_of(cut[i], comm->node_size, comm->node_rank), comm->across_size, comm->across_rank);
        if (own.begin == own.end) continue;
        if (*parts > 0 && cut[*parts - 1].end == own.begin)
            cut[*parts - 1].end = own.end;
        else
            cut[(*parts)++] = own;
    }
    return TDM_OK;
}
