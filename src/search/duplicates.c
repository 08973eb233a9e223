/* Near-duplicates of better results are left out of what was found. */
#include "search_impl.h"

#include <string.h>

/* Duplicates have the same bits, or a cosine of at least the threshold. */
static bool is_duplicate(int64_t d, const float *a, const float *b, double threshold)
{
    double sum = 0;
    if (memcmp(a, b, (size_t)d * sizeof *a) == 0) return true;
    for (int64_t k = 0; k < d; k++) sum += (double)a[k] * (double)b[k];
    return sum >= threshold;
}

/* Candidates of one query: feature [n][d]. kept [k]: places of those that are shown; returns how many. *hidden: the
 * duplicates among the candidates up to the last of these. */
static int64_t choose(int64_t n, int64_t d, const float *feature, double threshold, int64_t k, int64_t *kept,
                      int64_t *hidden)
{
    int64_t shown = 0;
    *hidden = 0;
    for (int64_t i = 0; i < n && shown < k; i++) {
        bool is_new = true;
        for (int64_t j = 0; j < shown && is_new; j++)
            is_new = !is_duplicate(d, feature + i * d, feature + kept[j] * d, threshold);
        if (is_new)
            kept[shown++] = i;
        else
            ++*hidden;
    }
    return shown;
}

typedef struct distinct_job {
    double threshold;
    int64_t k, d;
    const tdm_found *more;
    float *feature; /* [more->k][d] */
    int64_t *kept;  /* [k] */
} distinct_job;

/* Query q on rank 0. */
static void store(const distinct_job *job, int64_t q, tdm_found *found, bool *enough)
{
    const tdm_found *more = job->more;
    const int64_t shown =
        choose(more->k, job->d, job->feature, job->threshold, job->k, job->kept, &found->hidden[q]);
    if (shown < job->k && more->k < more->gallery) *enough = false;
    for (int64_t j = 0; j < job->k; j++) {
        const int64_t from = q * more->k + (j < shown ? job->kept[j] : 0), to = q * job->k + j;
        found->row[to] = j < shown ? more->row[from] : -1;
        found->score[to] = j < shown ? more->score[from] : 0;
    }
}

static void free_found(tdm_found *found)
{
    const tdm_found all = *found;
    tdm_found_free(found);
    *found = (tdm_found){.what = all.what, .gallery = all.gallery, .k = all.k};
}

/* Room of rank 0. */
static tdm_status prepare(distinct_job *job, int64_t queries, tdm_found *found)
{
    found->queries = queries;
    TDM_TRY(TDM_ALLOC(queries * job->k, &found->row));
    TDM_TRY(TDM_ALLOC(queries * job->k, &found->score));
    return TDM_ALLOC(queries, &found->hidden);
}

tdm_status distinct_only(const tdm_searcher *searcher, double threshold, int64_t k, const tdm_found *more,
                         tdm_found *found, bool *enough)
{
    tdm_comm *comm = searcher->comm;
    const bool first = tdm_comm_rank(comm) == 0;
    distinct_job job = {.threshold = threshold, .k = k, .d = searcher->embeddings.d, .more = more};
    int64_t queries = more->queries;
    tdm_comm_broadcast(comm, &queries, sizeof queries, 0);
    tdm_status status = TDM_ALLOC(more->k * job.d, &job.feature);
    if (status == TDM_OK) status = TDM_ALLOC(k, &job.kept);
    if (status == TDM_OK && first) status = prepare(&job, queries, found);
    status = tdm_comm_agree(comm, status);
    *enough = true;
    for (int64_t q = 0; status == TDM_OK && q < queries; q++) {
        status = tdm_searcher_features(searcher, found->what, more->k, first ? more->row + q * more->k : NULL,
                                       job.feature);
        if (status == TDM_OK && first) store(&job, q, found, enough);
    }
    tdm_comm_broadcast(comm, enough, sizeof *enough, 0);
    if (status != TDM_OK || !*enough) free_found(found);
    tdm_free(job.feature);
    tdm_free(job.kept);
    return status;
}
