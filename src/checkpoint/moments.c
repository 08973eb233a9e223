/* Moments of a sharded optimiser on their way to rank 0, one row of the parameters at a time: no rank ever
 * holds more than its share and one row. Every rank walks the same rows, those of all moments in turn; an error of
 * the way itself is agreed on and ends it on all, one of the file does not end it. */
#include "checkpoint_impl.h"

#include <string.h>

tdm_status moments_create(tdm_comm *comm, const tdm_params *params, const tdm_optim *optim, moments *source)
{
    int64_t longest = 0;
    memset(source, 0, sizeof *source);
    source->comm = comm;
    source->params = params;
    source->optim = optim;
    source->whole = tdm_optim_is_whole(optim, params);
    for (int64_t i = 0; i < params->count; i++) longest = tdm_max_i64(longest, params->row[i].size);
    if (source->whole) return TDM_OK;
    TDM_TRY(TDM_ALLOC(optim->parts + 1, &source->piece));
    return tdm_comm_rank(comm) == 0 ? TDM_ALLOC(longest, &source->row) : TDM_OK;
}

void moments_destroy(moments *source)
{
    tdm_free(source->piece);
    tdm_free(source->row);
    memset(source, 0, sizeof *source);
}

/* The moment that row number `index` is of. */
static const float *moment_of(const moments *source, int64_t index)
{
    return source->optim->moment[index / source->params->count];
}

/* Puts the pieces of all ranks, values and where they belong, into source->row. */
static void place(moments *source, const tdm_param *row, const unsigned char *pieces, const int64_t *piece_at,
                  const unsigned char *values, const int64_t *value_at)
{
    memset(source->row, 0, (size_t)row->size * sizeof *source->row);
    for (int r = 0; r < tdm_comm_size(source->comm); r++) {
        const tdm_span *piece = (const tdm_span *)(const void *)(pieces + piece_at[r]);
        const int64_t count = (piece_at[r + 1] - piece_at[r]) / (int64_t)sizeof *piece;
        const float *value = (const float *)(const void *)(values + value_at[r]);
        for (int64_t i = 0; i < count; i++) {
            const int64_t n = piece[i].end - piece[i].begin;
            memcpy(source->row + piece[i].begin - row->offset, value, (size_t)n * sizeof *value);
            value += n;
        }
    }
}

/* Collective: row number source->next, which on rank 0 comes to stand in source->row. */
static tdm_status collect_next(moments *source)
{
    const tdm_params *params = source->params;
    const tdm_param *row = &params->row[source->next % params->count];
    const float *from = moment_of(source, source->next);
    int64_t position = row->offset, at, first = 0, elements = 0, count = 0;
    while (tdm_optim_next(source->optim, &position, row->offset + row->size, &source->piece[count], &at)) {
        if (count == 0) first = at; /* moments of neighbouring pieces are neighbours */
        elements += source->piece[count].end - source->piece[count].begin;
        count++;
    }
    const int ranks = tdm_comm_size(source->comm);
    unsigned char *pieces = NULL, *values = NULL;
    int64_t piece_at[ranks + 1], value_at[ranks + 1];
    source->next++;
    tdm_status status = tdm_comm_collect(source->comm, source->piece, count * (int64_t)sizeof *source->piece,
                                         &pieces, piece_at);
    if (status == TDM_OK)
        status =
            tdm_comm_collect(source->comm, from + first, elements * (int64_t)sizeof *from, &values, value_at);
    if (status == TDM_OK && tdm_comm_rank(source->comm) == 0)
        place(source, row, pieces, piece_at, values, value_at);
    tdm_free(pieces);
    tdm_free(values);
    if (status != TDM_OK) source->lost = true;
    return status;
}

tdm_status moments_row(moments *source, int64_t index, const float **data)
{
    const tdm_params *params = source->params;
    const int64_t offset = params->row[index % params->count].offset;
    if (source->whole) {
        *data = moment_of(source, index) + offset;
        return TDM_OK;
    }
    TDM_REQUIRE(index == source->next, TDM_E_LIBRARY, "moments are read out of order");
    TDM_TRY(collect_next(source));
    *data = source->row;
    return TDM_OK;
}

tdm_status moments_rest(moments *source)
{
    if (source->whole) return TDM_OK;
    const int64_t rows = source->optim->moments * source->params->count;
    while (!source->lost && source->next < rows) TDM_TRY(collect_next(source));
    return TDM_OK;
}
