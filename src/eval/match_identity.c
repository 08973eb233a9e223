/* Everything of one identity: a person, or one concept. */
#include "match_table.h"

#include "tandem/shard.h"

static tdm_status set_keys(const tdm_embeddings *embeddings, int64_t *image_row, tdm_eval_side *image,
                           tdm_eval_side *text)
{
    (void)image_row;
    image->id = embeddings->image_identity;
    text->id = embeddings->caption_identity;
    return TDM_OK;
}

static tdm_status is_positive(tdm_dataset *dataset, int64_t a, int64_t b, bool *positive)
{
    *positive = tdm_dataset_identity(dataset, a) == tdm_dataset_identity(dataset, b);
    return TDM_OK;
}

const tdm_match match_identity = {
    .name = "identity",
    .help = "everything of one identity",
    .set_keys = set_keys,
    .is_positive = is_positive,
};
