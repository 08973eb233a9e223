/* Retrieval in both directions over embeddings. */
#include "eval_impl.h"

/* Of a rank: 10 million positives and more, where it holds a few for each row as a rule. */
#define POSITIVE_BYTES ((int64_t)1 << 29)

int64_t tdm_eval_block_rows(const tdm_ops *ops)
{
    return tdm_max_i64(512, 96 * (int64_t)eval_threads(ops));
}

tdm_status tdm_eval_euclidean_rows(const tdm_eval_side *side, bool of_gallery, float **out)
{
    const int64_t d = side->d;
    TDM_TRY(TDM_ALLOC(side->n * (d + 1), out));
    for (int64_t i = 0; i < side->n; i++) {
        double square = 0;
        for (int64_t k = 0; k < d; k++)
            square += (double)side->feature[i * d + k] * (double)side->feature[i * d + k];
        memcpy(*out + i * (d + 1), side->feature + i * d, sizeof(float) * (size_t)d);
        (*out)[i * (d + 1) + d] = of_gallery ? (float)(-square / 2) : 1.0F;
    }
    return TDM_OK;
}

/* One more column makes the two directions unlike: each is evaluated alone. Collective. */
static tdm_status evaluate_euclidean(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                     const tdm_eval_side *gallery, tdm_metrics *metrics,
                                     tdm_eval_detail *detail)
{
    tdm_eval_side q = *query, g = *gallery;
    float *of_query = NULL, *of_gallery = NULL;
    tdm_status status = tdm_eval_euclidean_rows(query, false, &of_query);
    if (status == TDM_OK) status = tdm_eval_euclidean_rows(gallery, true, &of_gallery);
    q.feature = of_query;
    g.feature = of_gallery;
    q.d = g.d = query->d + 1;
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK)
        status =
            tdm_eval_metrics_in_detail(comm, ops, &q, &g, false, tdm_eval_block_rows(ops), metrics, detail);
    tdm_free(of_query);
    tdm_free(of_gallery);
    return status;
}

tdm_status tdm_eval_embeddings(tdm_comm *comm, tdm_ops *ops, const tdm_embeddings *embeddings,
                               const tdm_match *match, tdm_metrics metrics[TDM_DIRECTIONS])
{
    return tdm_eval_embeddings_in_detail(comm, ops, embeddings, match, TDM_COSINE, metrics, NULL);
}

tdm_status tdm_eval_embeddings_in_detail(tdm_comm *comm, tdm_ops *ops, const tdm_embeddings *embeddings,
                                         const tdm_match *match, tdm_distance distance,
                                         tdm_metrics metrics[TDM_DIRECTIONS],
                                         tdm_eval_detail detail[TDM_DIRECTIONS])
{
    const tdm_embeddings *e = embeddings;
    int64_t *image_row = NULL;
    tdm_eval_side side[TDM_DIRECTIONS] = {
        [TDM_TEXT_TO_IMAGE] = {.n = e->captions, .d = e->d, .feature = e->text},
        [TDM_IMAGE_TO_TEXT] = {.n = e->images, .d = e->d, .feature = e->image},
    };
    tdm_status status = TDM_ALLOC(e->images, &image_row);
    if (status == TDM_OK)
        status = match->set_keys(e, image_row, &side[TDM_IMAGE_TO_TEXT], &side[TDM_TEXT_TO_IMAGE]);
    status = tdm_comm_agree(comm, status);
    for (int i = 0; detail && i < TDM_DIRECTIONS; i++) {
        detail[i].query_class = i == TDM_TEXT_TO_IMAGE ? e->caption_labels : e->image_labels;
        detail[i].class_words = e->label_words;
    }
    if (status == TDM_OK && distance != TDM_EUCLIDEAN)
        status =
            tdm_eval_both_ways(comm, ops, side, tdm_eval_block_rows(ops), POSITIVE_BYTES, metrics, detail);
    for (int i = 0; status == TDM_OK && distance == TDM_EUCLIDEAN && i < TDM_DIRECTIONS; i++)
        status =
            evaluate_euclidean(comm, ops, &side[i], &side[1 - i], &metrics[i], detail ? &detail[i] : NULL);
    tdm_free(image_row);
    return status;
}
