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
        !digest[0] || !tokenizer || !strcmp(digest, tdm_tokenizer_digest(tokenizer)), TDM_E_DATA,
        "%s: split \"%s\" was packed with another tokenizer (%.12s…) than model.tokenizer %s (%.12s…)", dir,
        split, digest, name, tokenizer ? tdm_tokenizer_digest(tokenizer) : "");
    return TDM_OK;
}

/* Once, when the run begins. */
static tdm_status show_views(const tdm_config *c, tdm_view_set views, const tdm_loader *loader)
{
    const tdm_left_out out = tdm_loader_left_out(loader);
    if (out.images)
        tdm_log(TDM_LOG_WARN,
                "data: an epoch leaves out %lld images without a caption; data.sample = \"all\" takes them",
                (long long)out.images);
    if (out.captions)
        tdm_log(TDM_LOG_WARN,
                "data: an epoch leaves out %lld captions without an image; data.sample = \"all\" takes them",
                (long long)out.captions);
    if (out.samples)
        tdm_log(TDM_LOG_INFO,
                "data: each epoch leaves out the last %lld samples of its order, fewer than one batch",
                (long long)out.samples);
    return tdm_views_warn(c, views);
}

tdm_status feed_create_loader(const tdm_config *c, const tdm_comm *comm, tdm_dataset *dataset,
                              const tdm_tokenizer *tokenizer, tdm_place from, tdm_loader **out)
{
    tdm_loader_config loader = {
        .global_batch = c->train.batch,
        .from = from,
        .rank = tdm_comm_rank(comm),
        .size = tdm_comm_size(comm),
        .seed = (uint64_t)c->seed,
        .sample = (tdm_sample)c->data.sample,
        .height = c->model.image.height_px,
        .width = c->model.image.width_px,
        .image_policy = tdm_image_policy_of(&c->model.image),
        .context_length = tdm_caption_tokens(c),
        .workers = c->data.workers,
        .prefetch = c->data.prefetch,
        .config = c,
    };
    TDM_TRY(tdm_trainer_views(c, &loader.views));
    for (int m = 0; m < TDM_MODALITIES; m++) {
        tdm_tower_reads reads;
        int64_t width;
        TDM_TRY(tdm_model_reads(c, (tdm_modality)m, &reads, &width));
        if (reads == TDM_READS_FEATURES) loader.feature_width[m] = width;
    }
    TDM_TRY(tdm_loader_create(dataset, tokenizer, &loader, 0, out));
    return from.epoch == 0 && from.sample == 0 ? show_views(c, loader.views, *out) : TDM_OK;
}
