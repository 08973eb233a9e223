/* Bucketed gradient sums that overlap with backward. Buckets are counted from the end of the arena, in the
 * order in which backward finishes them:
 *
 *   arena  [ bucket 2 |   bucket 1   |   bucket 0   ]
 *                            ^ begin: bucket 0 is final and under way, 1 is not yet
 *
 * Open MPI has no progress thread here: a sum under way advances only inside MPI calls, hence
 * tdm_reducer_poll between layers. */
#include "comm_impl.h"

#include "tandem/base.h"

struct tdm_reducer {
    MPI_Comm mpi; /* of its own: other collectives may run while buckets are under way */
    int size;
    float *grad; /* borrowed */
    int64_t count, bucket;
    int64_t buckets, started, open; /* buckets [0, started) were started, [open, started) may be under way */
    MPI_Request *request;           /* [buckets] */
    int *index;                     /* [buckets], what Testsome completed */
};

tdm_status tdm_reducer_create(tdm_comm *comm, float *grad, int64_t count, int64_t bucket_bytes,
                              tdm_reducer **reducer)
{
    *reducer = NULL;
    TDM_REQUIRE(bucket_bytes >= (int64_t)sizeof(float), TDM_E_CONFIG, "gradient bucket of %lld bytes",
                (long long)bucket_bytes);
    tdm_reducer *made = NULL;
    TDM_TRY(TDM_ALLOC(1, &made));
    made->mpi = MPI_COMM_NULL;
    made->size = comm->size;
    made->grad = grad;
    made->count = count;
    made->bucket = tdm_min_i64(bucket_bytes / (int64_t)sizeof(float), comm->max_count);
    made->buckets = (count + made->bucket - 1) / made->bucket;
    *reducer = made;
    if (comm->size == 1) return TDM_OK;
    tdm_status status = TDM_ALLOC(made->buckets, &made->request);
    if (status == TDM_OK) status = TDM_ALLOC(made->buckets, &made->index);
    status = tdm_comm_agree(comm, status);
    if (status != TDM_OK) {
        tdm_reducer_destroy(reducer);
        return status;
    }
    MPI_Comm_dup(comm->mpi, &made->mpi);
    return TDM_OK;
}

void tdm_reducer_destroy(tdm_reducer **reducer)
{
    if (reducer == NULL || *reducer == NULL) return;
    if ((*reducer)->mpi != MPI_COMM_NULL) MPI_Comm_free(&(*reducer)->mpi);
    tdm_free((*reducer)->request);
    tdm_free((*reducer)->index);
    tdm_free(*reducer);
    *reducer = NULL;
}

static int64_t bucket_begin(const tdm_reducer *reducer, int64_t bucket)
{
    return tdm_max_i64(0, reducer->count - (bucket + 1) * reducer->bucket);
}

void tdm_reducer_ready(tdm_reducer *reducer, int64_t begin)
{
    if (reducer->size == 1) return;
    while (reducer->started < reducer->buckets && bucket_begin(reducer, reducer->started) >= begin) {
        const int64_t from = bucket_begin(reducer, reducer->started);
        const int64_t end = reducer->count - reducer->started * reducer->bucket;
        MPI_Iallreduce(MPI_IN_PLACE, reducer->grad + from, (int)(end - from), MPI_FLOAT, MPI_SUM,
                       reducer->mpi, &reducer->request[reducer->started]);
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
