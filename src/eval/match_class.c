/* Everything that shares a class. */
#include "match_table.h"

#include "tandem/shard.h"

static tdm_status set_keys(const tdm_embeddings *embeddings, int64_t *image_row, tdm_eval_side *image,
                           tdm_eval_side *text)
{
    (void)image_row;
    TDM_REQUIRE(embeddings->class_count > 0, TDM_E_DATA, "positives by class: the data set has no classes");
    image->labels = embeddings->image_labels;
    text->labels = embeddings->caption_labels;
    image->label_words = text->label_words = embeddings->label_words;
    return TDM_OK;
}

static tdm_status is_positive(tdm_dataset *dataset, int64_t a, int64_t b, bool *positive)
{
    const int64_t classes = tdm_dataset_class_count(dataset);
    uint8_t *bit = NULL;
    TDM_TRY(TDM_ALLOC(2 * classes, &bit));
    tdm_status status = tdm_dataset_classes(dataset, a, bit);
    if (status == TDM_OK) status = tdm_dataset_classes(dataset, b, bit + classes);
    *positive = false;
    for (int64_t c = 0; c < classes; c++) *positive |= bit[c] && bit[classes + c];
    tdm_free(bit);
    return status;
}

const tdm_match match_class = {
    .name = "class",
    .help = "everything that shares a class",
    .set_keys = set_keys,
    .is_positive = is_positive,
};
