/* Both directions of a model's embeddings in another order. */
#include "tandem/rerank.h"

#include "eval_impl.h"

/* One direction. Collective. */
static tdm_status rerank(const tdm_rerank_input *input, const tdm_rerank_call *call, tdm_metrics *metrics,
                         tdm_eval_detail *detail)
{
    tdm_reordering reordering = {0};
    tdm_status status = call->row->reorder(input, call->options, &reordering);
    if (status == TDM_OK) status = tdm_reordering_metrics(input, &reordering, metrics, detail);
    tdm_reordering_free(&reordering);
    return status;
}

tdm_status tdm_rerank_embeddings(tdm_comm *comm, tdm_ops *ops, const tdm_embeddings *embeddings,
                                 const tdm_match *match, tdm_distance distance, const tdm_rerank_call *call,
                                 const tdm_metric_rows *rows, tdm_metrics metrics[TDM_DIRECTIONS])
{
    const tdm_embeddings *e = embeddings;
    int64_t *image_row = NULL;
    tdm_eval_side image = {.n = e->images, .d = e->d, .feature = e->image};
    tdm_eval_side text = {.n = e->captions, .d = e->d, .feature = e->text};
    tdm_status status = TDM_ALLOC(e->images, &image_row);
    if (status == TDM_OK) status = match->set_keys(e, image_row, &image, &text);
    status = tdm_comm_agree(comm, status);
    for (int i = 0; status == TDM_OK && i < TDM_DIRECTIONS; i++) {
        const bool by_text = i == TDM_TEXT_TO_IMAGE;
        const tdm_rerank_input input = {.comm = comm,
                                        .ops = ops,
                                        .query = by_text ? &text : &image,
                                        .gallery = by_text ? &image : &text,
                                        .distance = distance};
        tdm_eval_detail detail = {.rows = rows};
        status = rerank(&input, call, &metrics[i], &detail);
    }
    tdm_free(image_row);
    return status;
}
