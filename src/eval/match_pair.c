/* An image and its own captions. */
#include "match_table.h"

#include "tandem/shard.h"

static tdm_status set_keys(const tdm_embeddings *embeddings, int64_t *image_row, tdm_eval_side *image,
                           tdm_eval_side *text)
{
    for (int64_t i = 0; i < embeddings->images; i++) image_row[i] = embeddings->image_first + i;
    image->id = image_row;
    text->id = embeddings->image_row_of_caption;
    return TDM_OK;
}

static tdm_status is_positive(tdm_dataset *dataset, int64_t a, int64_t b, bool *positive)
{
    (void)dataset;
    *positive = a == b;
    return TDM_OK;
}

const tdm_match match_pair = {
    .name = "pair",
    .help = "an image and its own captions",
    .set_keys = set_keys,
    .is_positive = is_positive,
};
