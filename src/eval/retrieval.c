/* Retrieval in both directions over embeddings. */
#include "eval_impl.h"

#include <string.h>

int64_t eval_block_rows(const tdm_ops *ops)
{
    return tdm_max_i64(512, 96 * (int64_t)eval_threads(ops));
}

tdm_status tdm_eval_embeddings(tdm_comm *comm, tdm_ops *ops, const tdm_embeddings *embeddings,
                               const char *positives, tdm_metrics *text_to_image, tdm_metrics *image_to_text)
{
    const tdm_embeddings *e = embeddings;
    int64_t *image_row = NULL;
    tdm_status status = TDM_ALLOC(e->images, &image_row);
    tdm_eval_side image = {.n = e->images, .d = e->d, .feature = e->image};
    tdm_eval_side text = {.n = e->captions, .d = e->d, .feature = e->text};
    if (status != TDM_OK) {
        /* agreed below */
    } else if (strcmp(positives, "pair") == 0) {
        for (int64_t i = 0; i < e->images; i++) image_row[i] = e->image_first + i;
        image.id = image_row;
        text.id = e->image_row_of_caption;
    } else if (strcmp(positives, "identity") == 0) {
        image.id = e->image_identity;
        text.id = e->caption_identity;
    } else if (strcmp(positives, "class") == 0) {
        image.labels = e->image_labels;
        text.labels = e->caption_labels;
        image.label_words = text.label_words = e->label_words;
        if (e->class_count == 0)
            status = TDM_ERROR(TDM_E_DATA, "positives by class: the data set has no classes");
    } else {
        status = TDM_ERROR(TDM_E_USAGE, "positives \"%s\": must be pair, identity or class", positives);
    }
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK)
        status = tdm_eval_metrics(comm, ops, &text, &image, false, eval_block_rows(ops), text_to_image);
    if (status == TDM_OK)
        status = tdm_eval_metrics(comm, ops, &image, &text, false, eval_block_rows(ops), image_to_text);
    tdm_free(image_row);
    return status;
}
