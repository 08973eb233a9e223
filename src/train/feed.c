#include "feed.h"

#include <string.h>

tdm_status feed_open_tokenizer(const tdm_config *c, const char *pretrained, tdm_tokenizer **tokenizer)
{
    const bool stored = !c->model.tokenizer[0]; /* the pretrained model's */
    if (stored)
        TDM_TRY(tdm_checkpoint_read_tokenizer(pretrained, tokenizer));
    else
        TDM_TRY(tdm_tokenizer_open_variant(c->model.tokenizer, c->model.tokenizer_mask, tokenizer));
    const int64_t size = tdm_tokenizer_vocab_size(*tokenizer);
    TDM_REQUIRE(size == c->model.text.vocab_size, TDM_E_CONFIG,
                "%s: the tokenizer has %lld tokens, model.text.vocab_size is %lld",
                stored ? pretrained : c->model.tokenizer, (long long)size,
                (long long)c->model.text.vocab_size);
    return TDM_OK;
}

tdm_status feed_open_data(const char *dir, const char *split, const tdm_tokenizer *tokenizer,
                          const char *name, tdm_dataset **dataset)
{
    TDM_TRY(tdm_dataset_open(dir, split, dataset));
    const char *digest = tdm_dataset_tokenizer_digest(*dataset);
    TDM_REQUIRE(
        !digest[0] || !strcmp(digest, tdm_tokenizer_digest(tokenizer)), TDM_E_DATA,
        "%s: split \"%s\" was packed with another tokenizer (%.12s…) than model.tokenizer %s (%.12s…)", dir,
        split, digest, name, tdm_tokenizer_digest(tokenizer));
    return TDM_OK;
}

tdm_status feed_create_loader(const tdm_config *c, const tdm_comm *comm, tdm_dataset *dataset,
                              const tdm_tokenizer *tokenizer, int64_t step, tdm_loader **out)
{
    tdm_loader_config loader = {
        .global_batch = c->train.batch,
        .rank = tdm_comm_rank(comm),
        .size = tdm_comm_size(comm),
        .seed = (uint64_t)c->seed,
        .sample_images = !strcmp(c->data.sample, "image"),
        .height = c->model.image.height_px,
        .width = c->model.image.width_px,
        .image_policy = tdm_image_policy_of(&c->model.image),
        .context_length = c->model.text.context_length,
        .workers = c->data.workers,
        .prefetch = c->data.prefetch,
        .augment = {.crop_min_scale = c->augment.crop_min_scale,
                    .crop_max_scale = c->augment.crop_max_scale,
                    .crop_min_ratio = c->augment.crop_min_ratio,
                    .crop_max_ratio = c->augment.crop_max_ratio,
                    .flip = c->augment.flip,
                    .jitter = c->augment.jitter,
                    .brightness = c->augment.brightness,
                    .contrast = c->augment.contrast,
                    .saturation = c->augment.saturation,
                    .hue = c->augment.hue,
                    .gray = c->augment.gray},
    };
    TDM_TRY(tdm_trainer_views(c, &loader.views));
    return tdm_loader_create(dataset, tokenizer, &loader, step, out);
}
