/* Retrieval in both directions over embeddings. */
#include "eval_impl.h"

int64_t eval_block_rows(const tdm_ops *ops)
{
    return tdm_max_i64(512, 96 * (int64_t)eval_threads(ops));
}

tdm_status tdm_eval_embeddings(tdm_comm *comm, tdm_ops *ops, const tdm_embeddings *embeddings,
                               const tdm_match *match, tdm_metrics metrics[TDM_DIRECTIONS])
{
    const tdm_embeddings *e = embeddings;
    int64_t *image_row = NULL;
    tdm_eval_side image = {.n = e->images, .d = e->d, .feature = e->image};
    tdm_eval_side text = {.n = e->captions, .d = e->d, .feature = e->text};
    tdm_status status = TDM_ALLOC(e->images, &image_row);
    if (status == TDM_OK) status = match->set_keys(e, image_row, &image, &text);
    status = tdm_comm_agree(comm, status);
    const int64_t block = eval_block_rows(ops);
    if (status == TDM_OK)
        status = tdm_eval_metrics(comm, ops, &text, &image, false, block, &metrics[TDM_TEXT_TO_IMAGE]);
    if (status == TDM_OK)
        status = tdm_eval_metrics(comm, ops, &image, &text, false, block, &metrics[TDM_IMAGE_TO_TEXT]);
    tdm_free(image_row);
    return status;
}
