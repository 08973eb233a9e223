/* Bucketed gradient sums that overlap with backward. Buckets are counted from the end of the arena, in the
 * order in which backward finishes them; a bucket lies within one span:
 *
 *   spans  [ bucket 3 ]    [ bucket 2 |   bucket 1   |   bucket 0   ]
 *                                            ^ begin: bucket 0 is final and under way, 1 is not yet
 *
 * Open MPI has no progress thread here: a sum under way advances only inside MPI calls, hence
 * tdm_reducer_poll between layers. */
#include "comm_impl.h"

#include "tandem/base.h"

struct tdm_reducer {
    MPI_Comm mpi; /* of its own: other collectives may run while buckets are under way */
    int size;
    float *grad;                    /* borrowed */
    tdm_span *bucket;               /* [buckets] */
    int64_t buckets, started, open; /* buckets [0, started) were started, [open, started) may be under way */
    MPI_Request *request;           /* [buckets] */
    int *index;                     /* [buckets], what Testsome completed */
};

/* Cuts the spans, the last one first and each from its end, into pieces of at most `longest` elements; fills
 * `piece` unless it is NULL. Returns how many. */
static int64_t cut_spans(const tdm_span *span, int64_t spans, int64_t longest, tdm_span *piece)
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

tdm_status tdm_reducer_create(tdm_comm *comm, float *grad, const tdm_span *span, int64_t spans,
                              int64_t bucket_bytes, tdm_reducer **reducer)
{
    *reducer = NULL;
    TDM_REQUIRE(bucket_bytes >= (int64_t)sizeof(float), TDM_E_CONFIG, "gradient bucket of %lld bytes",
                (long long)bucket_bytes);
    tdm_reducer *made = NULL;
    TDM_TRY(TDM_ALLOC(1, &made));
    made->mpi = MPI_COMM_NULL;
    made->size = comm->size;
    made->grad = grad;
    const int64_t longest = tdm_min_i64(bucket_bytes / (int64_t)sizeof(float), comm->max_count);
    made->buckets = cut_spans(span, spans, longest, NULL);
    *reducer = made;
    if (comm->size == 1) return TDM_OK;
    tdm_status status = TDM_ALLOC(made->buckets, &made->bucket);
    if (status == TDM_OK) status = TDM_ALLOC(made->buckets, &made->request);
    if (status == TDM_OK) status = TDM_ALLOC(made->buckets, &made->index);
    status = tdm_comm_agree(comm, status);
    if (status != TDM_OK) {
        tdm_reducer_destroy(reducer);
        return status;
    }
    cut_spans(span, spans, longest, made->bucket);
    MPI_Comm_dup(comm->mpi, &made->mpi);
    return TDM_OK;
}

void tdm_reducer_destroy(tdm_reducer **reducer)
{
    if (reducer == NULL || *reducer == NULL) return;
    if ((*reducer)->mpi != MPI_COMM_NULL) MPI_Comm_free(&(*reducer)->mpi);
    tdm_free((*reducer)->bucket);
    tdm_free((*reducer)->request);
    tdm_free((*reducer)->index);
    tdm_free(*reducer);
    *reducer = NULL;
}

void tdm_reducer_ready(tdm_reducer *reducer, int64_t begin)
{
    if (reducer->size == 1) return;
    while (reducer->started < reducer->buckets && reducer->bucket[reducer->started].begin >= begin) {
        const tdm_span *bucket = &reducer->bucket[reducer->started];
        MPI_Iallreduce(MPI_IN_PLACE, reducer->grad + bucket->begin, (int)(bucket->end - bucket->begin),
                       MPI_FLOAT, MPI_SUM, reducer->mpi, &reducer->request[reducer->started]);
        reducer->started++;
    }
    tdm_reducer_poll(reducer);
}

void tdm_reducer_poll(tdm_reducer *reducer)
{
    if (reducer->size == 1 || reducer->open == reducer->started) return;
    int done = 0;
    MPI_Testsome((int)(reducer->started - reducer->open), reducer->request + reducer->open, &done,
                 reducer->index, MPI_STATUSES_IGNORE);
    while (reducer->open < reducer->started && reducer->request[reducer->open] == MPI_REQUEST_NULL) {
        reducer->open++;
    }
}

void tdm_reducer_finish(tdm_reducer *reducer, double *exposed_s)
{
    *exposed_s = 0;
    if (reducer->size == 1) return;
    const double start_s = tdm_now_s();
    tdm_reducer_ready(reducer, 0);
    MPI_Waitall((int)(reducer->started - reducer->open), reducer->request + reducer->open,
                MPI_STATUSES_IGNORE);
    reducer->started = reducer->open = 0;
    *exposed_s = tdm_now_s() - start_s;
}
