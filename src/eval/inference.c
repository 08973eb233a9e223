#include "rounding_impl.h"

#include "tandem/checkpoint.h"
#include "tandem/h5.h"
#include "tandem/image.h"

#include <math.h>
#include <string.h>

static const char *precision_of(const tdm_inference_options *options, const tdm_inference *in)
{
    return options->precision[0] != '\0' ? options->precision : in->config.train.precision;
}

/* Collective: f32 on every rank where one has to choose it. */
static tdm_status choose_dtype(tdm_comm *comm, const char *precision, tdm_dtype *dtype)
{
    const bool rounds = strcmp(precision, "int8") == 0;
    const tdm_status status = tdm_ops_resolve_precision(rounds ? "auto" : precision, dtype);
    if (tdm_comm_any(comm, status == TDM_OK && *dtype == TDM_F32)) *dtype = TDM_F32;
    return status;
}

static tdm_status create_model(const tdm_inference_options *options, tdm_dtype dtype, tdm_inference *in)
{
    const bool rounds = strcmp(precision_of(options, in), "int8") == 0;
    if (rounds) TDM_TRY(TDM_ALLOC(TDM_MODALITIES, &in->rounding));
    const int threads = options->threads > 0 ? (int)options->threads : tdm_default_threads();
    TDM_TRY(tdm_ops_create(dtype, threads, &in->ops));
    TDM_TRY(tdm_model_create(&in->config, in->ops, false, options->batch, &in->params, &in->model));
    TDM_TRY(TDM_ALLOC(TDM_MODALITIES, &in->is_loaded));
    return options->own_weights ? tdm_params_allocate(&in->params, false)
                                : tdm_weights_lend(in->weights, &in->params);
}

tdm_status tdm_inference_need(const tdm_inference *in, tdm_modality modality)
{
    tdm_params params = in->params; /* the weights are written through it, its rows stay */
    if (in->is_loaded[modality]) return TDM_OK;
    TDM_TRY(in->weights != NULL ? tdm_weights_need(in->weights, modality)
                                : tdm_checkpoint_read_tower(in->dir, modality, &params));
    TDM_TRY(tdm_model_load_tower(in->model, modality));
    in->is_loaded[modality] = true;
    return TDM_OK;
}

static tdm_status read_config(const tdm_inference_options *options, tdm_inference *in)
{
    in->batch = options->batch;
    in->workers = options->workers;
    TDM_TRY(tdm_config_init(&in->config));
    if (!options->own_weights) TDM_TRY(tdm_weights_open(in->dir, &in->weights));
    return tdm_checkpoint_read_config(in->dir, &in->config, &in->tokenizer, &in->step);
}

static tdm_status load_local(const tdm_inference_options *options, tdm_dtype dtype, tdm_inference *in)
{
    TDM_TRY(create_model(options, dtype, in));
    for (int m = 0; m < TDM_MODALITIES && options->own_weights; m++)
        TDM_TRY(tdm_inference_need(in, (tdm_modality)m));
    return TDM_OK;
}

tdm_status tdm_inference_digest(const tdm_inference *inference, char digest[65])
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, inference->dir, "model.h5"));
    return tdm_sha256_file(path, digest);
}

tdm_status tdm_inference_seal(const tdm_inference *inference, char seal[65])
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, inference->dir, "model.h5"));
    return tdm_h5_digest(path, seal);
}

static tdm_status agree_on_model(tdm_comm *comm, const char *dir)
{
    tdm_reading reading = {0};
    if (tdm_comm_size(comm) == 1) return TDM_OK;
    return tdm_comm_agree_on(comm, tdm_checkpoint_reading(dir, "model", false, &reading), &reading);
}

tdm_status tdm_inference_open(tdm_comm *comm, const tdm_inference_options *options, tdm_inference *inference)
{
    /* by rank 0: a run that is going on may move `latest` meanwhile */
    const bool decides = tdm_comm_rank(comm) == 0;
    TDM_AGREE(comm, decides ? tdm_checkpoint_find(options->model, true, inference->dir, sizeof inference->dir)
                            : TDM_OK);
    if (decides) tdm_checkpoint_selection(options->model, inference->dir, &inference->selection);
    tdm_comm_broadcast(comm, inference->dir, sizeof inference->dir, 0);
    tdm_comm_broadcast(comm, &inference->selection, sizeof inference->selection, 0);
    TDM_TRY(agree_on_model(comm, inference->dir));
    if (options->own_weights) TDM_TRY(tdm_checkpoint_check(comm, inference->dir, false));
    tdm_dtype dtype;
    TDM_AGREE(comm, read_config(options, inference));
    TDM_AGREE(comm, choose_dtype(comm, precision_of(options, inference), &dtype));
    return tdm_comm_agree(comm, load_local(options, dtype, inference));
}

void tdm_inference_close(tdm_inference *inference)
{
    tdm_model_destroy(&inference->model);
    tdm_params_destroy(&inference->params);
    tdm_weights_close(&inference->weights);
    tdm_ops_destroy(&inference->ops);
    tdm_tokenizer_destroy(&inference->tokenizer);
    tdm_config_destroy(&inference->config);
    tdm_free(inference->is_loaded);
    tdm_free(inference->rounding);
    inference->is_loaded = NULL;
    inference->rounding = NULL;
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

tdm_status inference_need_for(const tdm_inference *in, const tdm_dataset *dataset, bool with_captions)
{
    TDM_TRY(tdm_inference_need(in, TDM_IMAGE));
    if (!with_captions && tdm_dataset_feature_width(dataset, TDM_TEXT) == 0) return TDM_OK;
    return tdm_inference_need(in, TDM_TEXT);
}

tdm_status tdm_inference_embed_data(tdm_comm *comm, const tdm_inference *inference, tdm_dataset *dataset,
                                    bool with_captions, tdm_embeddings *embeddings)
{
    TDM_TRY(inference_need_for(inference, dataset, with_captions));
    return tdm_embed_dataset(comm, inference->model, inference->ops, &inference->config, dataset,
                             with_captions ? inference->tokenizer : NULL, inference->batch,
                             inference->workers, embeddings);
}

/* ---- Some texts, some images ---- */

tdm_status inference_embed_rows(const tdm_inference *inference, tdm_modality modality,
                                const tdm_tower_input *input, float *feature)
{
    const int64_t d = tdm_model_embed_dim(inference->model);
    const tdm_pass mode = {.train = false};
    float *raw = NULL, *norm = NULL; /* [n][d], [n] */
    tdm_status status = TDM_ALLOC(input->n * d, &raw);
    if (status == TDM_OK) status = TDM_ALLOC(input->n, &norm);
    if (status == TDM_OK)
        status =
            tdm_model_embed(inference->model, modality, input, &mode, &(tdm_tower_output){.pooled = raw});
    if (status == TDM_OK) tdm_l2norm_forward(inference->ops, input->n, d, raw, feature, norm);
    tdm_free(raw);
    tdm_free(norm);
    return status;
}

/* At most a batch. */
static tdm_status embed_rows(const tdm_inference *inference, tdm_modality modality,
                             const tdm_tower_input *input, float *feature)
{
    if (input->n == 0) return TDM_OK;
    TDM_TRY(tdm_inference_need(inference, modality));
    TDM_TRY(rounding_by_rows(inference, modality, input));
    return inference_embed_rows(inference, modality, input, feature);
}

/* One batch. token [n·context], seq [n + 1]: room. */
static tdm_status embed_text_batch(const tdm_inference *inference, int64_t n, const char *const *text,
                                   int32_t *token, int64_t *seq, float *feature, bool *cut)
{
    const int64_t context = tdm_caption_tokens(&inference->config);
    for (int64_t i = 0; i < n; i++) {
        int64_t count = 0;
        bool is_cut = false;
        TDM_REQUIRE(text[i][strspn(text[i], " \t\r\n")] != '\0', TDM_E_DATA, "the text is empty");
        TDM_TRY(
            tdm_tokenizer_encode(inference->tokenizer, text[i], context, token + seq[i], &count, &is_cut));
        seq[i + 1] = seq[i] + count;
        if (cut != NULL) cut[i] = is_cut;
    }
    const tdm_tower_input input = {.n = n, .token = token, .seq = seq};
    return embed_rows(inference, TDM_TEXT, &input, feature);
}

tdm_status tdm_inference_embed_texts(const tdm_inference *inference, int64_t n, const char *const *text,
                                     float *feature, bool *cut)
{
    const int64_t context = tdm_caption_tokens(&inference->config), d = tdm_model_embed_dim(inference->model);
    const int64_t batch = tdm_min_i64(inference->batch, n);
    int32_t *token = NULL;
    int64_t *seq = NULL;
    TDM_REQUIRE(inference->tokenizer != NULL, TDM_E_CONFIG, "%s: holds no tokenizer: it cannot read a text",
                inference->dir);
    tdm_status status = TDM_ALLOC(batch * context, &token);
    if (status == TDM_OK) status = TDM_ALLOC(batch + 1, &seq);
    for (int64_t i = 0; i < n && status == TDM_OK; i += batch)
        status = embed_text_batch(inference, tdm_min_i64(batch, n - i), text + i, token, seq, feature + i * d,
                                  cut != NULL ? cut + i : NULL);
    tdm_free(token);
    tdm_free(seq);
    return status;
}

tdm_status tdm_inference_embed_text(const tdm_inference *inference, const char *text, float *feature,
                                    bool *cut)
{
    return tdm_inference_embed_texts(inference, 1, &text, feature, cut);
}

int64_t tdm_inference_pixel_bytes(const tdm_inference *inference)
{
    const tdm_tower_config *tower = &inference->config.model.image;
    return tower->height_px * tower->width_px * 3;
}

tdm_status tdm_inference_decode(const tdm_inference *inference, const char *name, const void *data,
                                size_t bytes, uint8_t *pixel)
{
    const tdm_tower_config *tower = &inference->config.model.image;
    const tdm_image_policy policy = tdm_image_policy_of(tower);
    tdm_image image = {0};
    TDM_TRY(tdm_refuse_lfs_pointer(name, data, bytes));
    TDM_TRY(tdm_image_decode(name, data, bytes, policy.alpha, &image));
    const tdm_status status = tdm_image_plain(&image, policy.fit, tower->height_px, tower->width_px, pixel);
    tdm_image_free(&image);
    return status;
}

tdm_status tdm_inference_embed_pixels(const tdm_inference *inference, int64_t n, const uint8_t *pixel,
                                      float *feature)
{
    const int64_t d = tdm_model_embed_dim(inference->model), bytes = tdm_inference_pixel_bytes(inference);
    for (int64_t i = 0; i < n; i += inference->batch) {
        const tdm_tower_input input = {.n = tdm_min_i64(inference->batch, n - i), .image = pixel + i * bytes};
        TDM_TRY(embed_rows(inference, TDM_IMAGE, &input, feature + i * d));
    }
    return TDM_OK;
}

tdm_status tdm_inference_embed_image(const tdm_inference *inference, const char *name, const void *data,
                                     size_t bytes, float *feature)
{
    uint8_t *pixel = NULL; /* [height][width][3] */
    TDM_TRY(TDM_ALLOC(tdm_inference_pixel_bytes(inference), &pixel));
    tdm_status status = tdm_inference_decode(inference, name, data, bytes, pixel);
    if (status == TDM_OK) status = tdm_inference_embed_pixels(inference, 1, pixel, feature);
    tdm_free(pixel);
    return status;
}

tdm_status tdm_inference_combine(const tdm_inference *inference, const float *a, const float *b,
                                 double weight, float *out)
{
    const int64_t d = tdm_model_embed_dim(inference->model);
    double square = 0;
    for (int64_t k = 0; k < d; k++) {
        const double sum = (1 - weight) * (double)a[k] + weight * (double)b[k];
        square += sum * sum;
    }
    const double scale = square > 0 ? 1 / sqrt(square) : 0;
    TDM_REQUIRE(scale > 0 && isfinite(scale), TDM_E_NUMERIC,
                "two queries that cancel each other cannot be combined");
    for (int64_t k = 0; k < d; k++)
        out[k] = (float)(scale * ((1 - weight) * (double)a[k] + weight * (double)b[k]));
    return TDM_OK;
}
