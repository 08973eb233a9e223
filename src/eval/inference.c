#include "tandem/inference.h"

#include "tandem/checkpoint.h"
#include "tandem/image.h"

#include <string.h>

static tdm_status create_model(const tdm_inference_options *options, tdm_inference *inference)
{
    tdm_inference *in = inference;
    tdm_dtype dtype;
    const char *precision = options->precision[0] != '\0' ? options->precision : in->config.train.precision;
    TDM_TRY(tdm_ops_resolve_precision(precision, &dtype));
    const int threads = options->threads > 0 ? (int)options->threads : tdm_default_threads();
    TDM_TRY(tdm_ops_create(dtype, threads, &in->ops));
    TDM_TRY(tdm_model_create(&in->config, in->ops, false, options->batch, &in->params, &in->model));
    TDM_TRY(tdm_params_allocate(&in->params, false));
    TDM_TRY(tdm_checkpoint_read_model(in->dir, &in->params));
    return tdm_model_load(in->model);
}

static tdm_status open_local(const tdm_inference_options *options, bool with_digest, tdm_inference *in)
{
    in->batch = options->batch;
    in->workers = options->workers;
    TDM_TRY(tdm_config_init(&in->config));
    TDM_TRY(tdm_checkpoint_read_config(in->dir, &in->config, &in->tokenizer, &in->step));
    TDM_TRY(create_model(options, in));
    if (!with_digest) return TDM_OK;
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, in->dir, "model.h5"));
    return tdm_sha256_file(path, in->digest);
}

static tdm_status agree_on_model(tdm_comm *comm, const char *dir)
{
    tdm_reading reading = {0};
    if (tdm_comm_size(comm) == 1) return TDM_OK;
    return tdm_comm_agree_on(comm, tdm_checkpoint_reading(dir, "model", false, &reading), &reading);
}

tdm_status tdm_inference_open(tdm_comm *comm, const tdm_inference_options *options, bool with_digest,
                              tdm_inference *inference)
{
    /* by rank 0: a run that is going on may move `latest` meanwhile */
    const bool decides = tdm_comm_rank(comm) == 0;
    TDM_AGREE(comm, decides ? tdm_checkpoint_find(options->model, true, inference->dir, sizeof inference->dir)
                            : TDM_OK);
    if (decides) tdm_checkpoint_selection(options->model, inference->dir, &inference->selection);
    tdm_comm_broadcast(comm, inference->dir, sizeof inference->dir, 0);
    tdm_comm_broadcast(comm, &inference->selection, sizeof inference->selection, 0);
    TDM_TRY(agree_on_model(comm, inference->dir));
    TDM_TRY(tdm_checkpoint_check(comm, inference->dir, false));
    return tdm_comm_agree(comm, open_local(options, with_digest, inference));
}

void tdm_inference_close(tdm_inference *inference)
{
    tdm_model_destroy(&inference->model);
    tdm_params_destroy(&inference->params);
    tdm_ops_destroy(&inference->ops);
    tdm_tokenizer_destroy(&inference->tokenizer);
    tdm_config_destroy(&inference->config);
}

static tdm_status open_data(const tdm_inference *inference, const char *dir, const char *split,
                            tdm_dataset **dataset)
{
    TDM_TRY(tdm_dataset_open(dir, split, dataset));
    const char *packed = tdm_dataset_tokenizer_digest(*dataset);
    const char *own = inference->tokenizer != NULL ? tdm_tokenizer_digest(inference->tokenizer) : "";
    TDM_REQUIRE(packed[0] == '\0' || own[0] == '\0' || strcmp(packed, own) == 0, TDM_E_DATA,
                "%s: split \"%s\" was packed with another tokenizer (%.12s…) than the model's (%.12s…)", dir,
                split, packed, own);
    return TDM_OK;
}

tdm_status tdm_inference_open_data(tdm_comm *comm, const tdm_inference *inference, const char *dir,
                                   const char *split, tdm_dataset **dataset)
{
    tdm_reading reading = {0};
    tdm_status status = open_data(inference, dir, split, dataset);
    if (status == TDM_OK && tdm_comm_size(comm) > 1)
        status = tdm_dataset_reading(*dataset, "data set", &reading);
    return tdm_comm_agree_on(comm, status, &reading);
}

tdm_status tdm_inference_embed_data(tdm_comm *comm, const tdm_inference *inference, tdm_dataset *dataset,
                                    bool with_captions, tdm_embeddings *embeddings)
{
    return tdm_embed_dataset(comm, inference->model, inference->ops, &inference->config, dataset,
                             with_captions ? inference->tokenizer : NULL, inference->batch,
                             inference->workers, embeddings);
}

/* ---- One text, one image ---- */

static tdm_status embed_one(const tdm_inference *inference, tdm_modality modality,
                            const tdm_tower_input *input, float *feature)
{
    const int64_t d = tdm_model_embed_dim(inference->model);
    const tdm_pass mode = {.train = false};
    float *raw = NULL, norm;
    TDM_TRY(TDM_ALLOC(d, &raw));
    const tdm_status status =
        tdm_model_embed(inference->model, modality, input, &mode, &(tdm_tower_output){.pooled = raw});
    if (status == TDM_OK) tdm_l2norm_forward(inference->ops, 1, d, raw, feature, &norm);
    tdm_free(raw);
    return status;
}

tdm_status tdm_inference_embed_text(const tdm_inference *inference, const char *text, float *feature,
                                    bool *cut)
{
    const int64_t context = tdm_caption_tokens(&inference->config);
    int32_t *token = NULL;
    int64_t count = 0;
    TDM_REQUIRE(inference->tokenizer != NULL, TDM_E_CONFIG, "%s: holds no tokenizer: it cannot read a text",
                inference->dir);
    TDM_REQUIRE(text[strspn(text, " \t\r\n")] != '\0', TDM_E_DATA, "the text is empty");
    TDM_TRY(TDM_ALLOC(context, &token));
    tdm_status status = tdm_tokenizer_encode(inference->tokenizer, text, context, token, &count, cut);
    const int64_t seq[2] = {0, count};
    const tdm_tower_input input = {.n = 1, .token = token, .seq = seq};
    if (status == TDM_OK) status = embed_one(inference, TDM_TEXT, &input, feature);
    tdm_free(token);
    return status;
}

tdm_status tdm_inference_embed_image(const tdm_inference *inference, const char *name, const void *data,
                                     size_t bytes, float *feature)
{
    const tdm_tower_config *tower = &inference->config.model.image;
    const tdm_image_policy policy = tdm_image_policy_of(tower);
    tdm_image image = {0};
    uint8_t *plain = NULL; /* [height][width][3] */
    TDM_TRY(tdm_image_decode(name, data, bytes, policy.alpha, &image));
    tdm_status status = TDM_ALLOC(tower->height_px * tower->width_px * 3, &plain);
    if (status == TDM_OK)
        status = tdm_image_plain(&image, policy.fit, tower->height_px, tower->width_px, plain);
    const tdm_tower_input input = {.n = 1, .image = plain};
    if (status == TDM_OK) status = embed_one(inference, TDM_IMAGE, &input, feature);
    tdm_image_free(&image);
    tdm_free(plain);
    return status;
}
