/* Rows of an embedding that is spread over the ranks, on one of them. */
#include "tandem/projection.h"
#include "tandem/rng.h"

#include <stdlib.h>
#include <string.h>

void tdm_embedding_sample_free(tdm_embedding_sample *sample)
{
    tdm_free(sample->place);
    tdm_free(sample->feature);
    *sample = (tdm_embedding_sample){0};
}

/* n of 0 … total-1, ascending. */
static tdm_status choose(int64_t total, int64_t n, uint64_t seed, int64_t **chosen)
{
    TDM_TRY(TDM_ALLOC(n, chosen));
    for (int64_t i = 0; i < n; i++) (*chosen)[i] = n == total ? i : tdm_permute(total, seed, 0, i);
    qsort(*chosen, (size_t)n, sizeof **chosen, tdm_compare_i64);
    return TDM_OK;
}

/* What this rank has of chosen[n]: rows first … first+count-1 of the list are in feature[count][d]. */
static tdm_status pick(int64_t n, const int64_t *chosen, int64_t first, int64_t count, int64_t d,
                       const float *feature, int64_t *own, float **picked)
{
    const int64_t begin = tdm_lower_bound(chosen, n, first);
    *own = tdm_lower_bound(chosen, n, first + count) - begin;
    TDM_TRY(TDM_ALLOC(*own * d, picked));
    for (int64_t i = 0; i < *own; i++)
        memcpy(*picked + i * d, feature + (chosen[begin + i] - first) * d, (size_t)d * sizeof(float));
    return TDM_OK;
}

/* out[…][d] on rank 0: the chosen rows of one modality, of which each rank has a piece, in the order of the ranks. */
static tdm_status collect(tdm_comm *comm, int64_t n, const int64_t *chosen, int64_t first, int64_t count,
                          int64_t d, const float *feature, float *out)
{
    float *picked = NULL;
    unsigned char *all = NULL;
    int64_t *offset = NULL, own = 0;
    tdm_status status = TDM_ALLOC(tdm_comm_size(comm) + 1, &offset);
    if (status == TDM_OK) status = pick(n, chosen, first, count, d, feature, &own, &picked);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK)
        status = tdm_comm_collect(comm, picked, own * d * (int64_t)sizeof *picked, &all, offset);
    if (status == TDM_OK && tdm_comm_rank(comm) == 0) memcpy(out, all, (size_t)offset[tdm_comm_size(comm)]);
    tdm_free(all);
    tdm_free(picked);
    tdm_free(offset);
    return status;
}

/* The caller frees, also after an error. chosen: images are numbered from 0, captions go on behind them. */
static tdm_status take(tdm_comm *comm, const tdm_embeddings *e, int64_t all_images, const int64_t *chosen,
                       tdm_embedding_sample *s)
{
    if (tdm_comm_rank(comm) == 0) {
        memcpy(s->place, chosen, (size_t)s->n * sizeof *chosen);
        for (int64_t i = s->images; i < s->n; i++) s->place[i] -= all_images;
    }
    TDM_TRY(collect(comm, s->images, chosen, e->image_first, e->images, s->d, e->image, s->feature));
    return collect(comm, s->n - s->images, chosen + s->images, all_images + e->caption_first, e->captions,
                   s->d, e->text, s->feature + s->images * s->d);
}

tdm_status tdm_embedding_sample_take(tdm_comm *comm, const tdm_embeddings *embeddings, int64_t most,
                                     uint64_t seed, tdm_embedding_sample *sample)
{
    int64_t count[2] = {embeddings->images, embeddings->captions}, *chosen = NULL;
    tdm_comm_sum_i64(comm, count, 2);
    const int64_t total = count[0] + count[1], n = tdm_min_i64(most, total);
    const bool is_root = tdm_comm_rank(comm) == 0;
    *sample = (tdm_embedding_sample){.n = n, .total = total, .d = embeddings->d};
    tdm_status status = choose(total, n, seed, &chosen);
    if (status == TDM_OK) sample->images = tdm_lower_bound(chosen, n, count[0]);
    if (status == TDM_OK && is_root) status = TDM_ALLOC(n, &sample->place);
    if (status == TDM_OK) status = TDM_ALLOC(is_root ? n * sample->d : 0, &sample->feature);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) status = take(comm, embeddings, count[0], chosen, sample);
    tdm_free(chosen);
    if (status != TDM_OK || !is_root) tdm_embedding_sample_free(sample);
    return status;
}
