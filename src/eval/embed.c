/* Embedding a split: each rank embeds a contiguous piece of the images and one of the captions. */
#include "eval_impl.h"

#include "tandem/loader.h"
#include "tandem/model.h"

#include <string.h>

tdm_status tdm_embeddings_reserve(tdm_embeddings *e)
{
    TDM_TRY(TDM_ALLOC(e->images * e->d, &e->image));
    TDM_TRY(TDM_ALLOC(e->captions * e->d, &e->text));
    TDM_TRY(TDM_ALLOC(e->captions, &e->image_row_of_caption));
    TDM_TRY(TDM_ALLOC(e->images, &e->image_identity));
    TDM_TRY(TDM_ALLOC(e->captions, &e->caption_identity));
    if (e->label_words == 0) return TDM_OK;
    TDM_TRY(TDM_ALLOC(e->images * e->label_words, &e->image_labels));
    return TDM_ALLOC(e->captions * e->label_words, &e->caption_labels);
}

void tdm_embeddings_free(tdm_embeddings *embeddings)
{
    if (embeddings == NULL) return;
    tdm_free(embeddings->image);
    tdm_free(embeddings->text);
    tdm_free(embeddings->image_row);
    tdm_free(embeddings->image_row_of_caption);
    tdm_free(embeddings->image_identity);
    tdm_free(embeddings->caption_identity);
    tdm_free(embeddings->image_labels);
    tdm_free(embeddings->caption_labels);
    tdm_free(embeddings->class_name);
    *embeddings = (tdm_embeddings){0};
}

typedef struct embedding_job {
    tdm_model *model;
    tdm_ops *ops;
    const tdm_config *config;
    tdm_dataset *dataset;
    const tdm_tokenizer *tokenizer;
    int64_t batch, workers;
    float *feature;                        /* [batch][d] before normalisation */
    float *norm;                           /* [batch] */
    uint8_t *image[2];                     /* [batch][height][width][3] */
    int64_t feature_width[TDM_MODALITIES]; /* of what a tower reads; 0: it reads pixels or tokens */
    float *cached;                         /* [batch][larger width] */
} embedding_job;

static const tdm_pass inference = {.train = false};

static tdm_status embed_rows(embedding_job *job, tdm_modality modality, const tdm_tower_input *input,
                             float *out)
{
    TDM_TRY(tdm_model_embed(job->model, modality, input, &inference,
                            &(tdm_tower_output){.pooled = job->feature}));
    tdm_l2norm_forward(job->ops, input->n, tdm_model_embed_dim(job->model), job->feature, out, job->norm);
    return TDM_OK;
}

/* Images or captions first … first + n of the whole set, by their cached features. */
static tdm_status embed_cached(embedding_job *job, tdm_modality modality, int64_t first, int64_t n,
                               float *out)
{
    const int64_t width = job->feature_width[modality];
    for (int64_t i = 0; i < n; i++) {
        const int64_t row =
            modality == TDM_IMAGE ? tdm_dataset_image_row(job->dataset, first + i) : first + i;
        TDM_TRY(tdm_dataset_read_feature(job->dataset, modality, row, job->cached + i * width));
    }
    const tdm_tower_input input = {.n = n, .feature = job->cached};
    return embed_rows(job, modality, &input, out);
}

/* Begins to decode the batch that starts with image i of this rank's piece, if there is one. */
static tdm_status decode_ahead(const embedding_job *job, const tdm_embeddings *e, int64_t i, uint8_t *image,
                               tdm_images_ahead **ahead)
{
    const tdm_tower_config *tower = &job->config->model.image;
    const int64_t n = tdm_min_i64(job->batch, e->images - i);
    if (n <= 0) return TDM_OK;
    return tdm_images_begin(job->dataset, e->image_first + i, n, tower->height_px, tower->width_px,
                            tdm_image_policy_of(tower), job->workers, image, ahead);
}

/* One batch; the next is decoded meanwhile. Of the two images, image[0] holds the batch. */
static tdm_status embed_pixels(embedding_job *job, const tdm_embeddings *e, int64_t i, int64_t n)
{
    tdm_images_ahead *ahead = NULL;
    const tdm_tower_input input = {.n = n, .image = job->image[0]};
    TDM_TRY(decode_ahead(job, e, i + n, job->image[1], &ahead));
    const tdm_status status = embed_rows(job, TDM_IMAGE, &input, e->image + i * e->d);
    const tdm_error kept = *tdm_error_last();
    const tdm_status next = tdm_images_wait(&ahead);
    if (status != TDM_OK) return tdm_error_adopt(&kept);
    uint8_t *const done = job->image[0];
    job->image[0] = job->image[1];
    job->image[1] = done;
    return next;
}

/* The first batch of this rank's piece, and room for the next where there are several. */
static tdm_status load_first(embedding_job *job, const tdm_embeddings *e)
{
    const tdm_tower_config *tower = &job->config->model.image;
    const int64_t n = tdm_min_i64(job->batch, e->images), bytes = n * tower->height_px * tower->width_px * 3;
    TDM_TRY(TDM_ALLOC(bytes, &job->image[0]));
    if (n < e->images) TDM_TRY(TDM_ALLOC(bytes, &job->image[1]));
    return tdm_load_images(job->dataset, e->image_first, n, tower->height_px, tower->width_px,
                           tdm_image_policy_of(tower), job->workers, job->image[0]);
}

static tdm_status embed_images(embedding_job *job, const tdm_embeddings *e)
{
    const bool cached = job->feature_width[TDM_IMAGE] > 0;
    if (!cached && e->images > 0) TDM_TRY(load_first(job, e));
    for (int64_t i = 0; i < e->images; i += job->batch) {
        const int64_t n = tdm_min_i64(job->batch, e->images - i);
        TDM_TRY(tdm_stop_point("after embedding %lld of %lld images", (long long)i, (long long)e->images));
        TDM_TRY(cached ? embed_cached(job, TDM_IMAGE, e->image_first + i, n, e->image + i * e->d)
                       : embed_pixels(job, e, i, n));
        tdm_progress("embedding images %lld/%lld", (long long)(i + n), (long long)e->images);
    }
    return TDM_OK;
}

static tdm_status embed_tokens(embedding_job *job, int64_t first, int64_t n, float *out)
{
    tdm_text_batch text = {0};
    tdm_status status =
        tdm_load_captions(job->dataset, job->tokenizer, first, n, tdm_caption_tokens(job->config), &text);
    const tdm_tower_input input = {.n = n, .token = text.token, .seq = text.seq};
    if (status == TDM_OK) status = embed_rows(job, TDM_TEXT, &input, out);
    tdm_free(text.token);
    tdm_free(text.seq);
    return status;
}

static tdm_status embed_captions(embedding_job *job, const tdm_embeddings *e)
{
    for (int64_t i = 0; i < e->captions; i += job->batch) {
        const int64_t n = tdm_min_i64(job->batch, e->captions - i), first = e->caption_first + i;
        TDM_TRY(
            tdm_stop_point("after embedding %lld of %lld captions", (long long)i, (long long)e->captions));
        float *out = e->text + i * e->d;
        TDM_TRY(job->feature_width[TDM_TEXT] > 0 ? embed_cached(job, TDM_TEXT, first, n, out)
                                                 : embed_tokens(job, first, n, out));
        tdm_progress("embedding captions %lld/%lld", (long long)(i + n), (long long)e->captions);
    }
    return TDM_OK;
}

static tdm_status copy_labels(tdm_dataset *dataset, int64_t row, uint64_t *words)
{
    const uint64_t *bits;
    TDM_TRY(tdm_dataset_class_bits(dataset, row, &bits));
    memcpy(words, bits, (size_t)tdm_dataset_class_words(dataset) * sizeof *words);
    return TDM_OK;
}

static tdm_status fill_labels(tdm_dataset *dataset, tdm_embeddings *e)
{
    const int64_t words = e->label_words;
    for (int64_t i = 0; i < e->images; i++)
        TDM_TRY(copy_labels(dataset, tdm_dataset_image_row(dataset, e->image_first + i),
                            e->image_labels + i * words));
    for (int64_t c = 0; c < e->captions; c++)
        TDM_TRY(copy_labels(dataset, tdm_dataset_caption_image(dataset, e->caption_first + c),
                            e->caption_labels + c * words));
    return TDM_OK;
}

/* Rows and identities of this rank's piece. A caption of a row without an image has no place in the gallery. */
static tdm_status fill_rows(const tdm_dataset *dataset, tdm_embeddings *e)
{
    if (tdm_dataset_imageless(dataset) > 0) TDM_TRY(TDM_ALLOC(e->images, &e->image_row));
    for (int64_t i = 0; i < e->images; i++) {
        const int64_t row = tdm_dataset_image_row(dataset, e->image_first + i);
        if (e->image_row != NULL) e->image_row[i] = row;
        e->image_identity[i] = tdm_dataset_identity(dataset, row);
    }
    for (int64_t c = 0; c < e->captions; c++) {
        const int64_t row = tdm_dataset_caption_image(dataset, e->caption_first + c);
        e->image_row_of_caption[c] = tdm_dataset_image_number(dataset, row);
        e->caption_identity[c] = tdm_dataset_identity(dataset, row);
    }
    return TDM_OK;
}

/* Sizes, rows, identities and classes of this rank's piece. */
static tdm_status describe_piece(tdm_comm *comm, tdm_dataset *dataset, int64_t captions, int64_t d,
                                 tdm_embeddings *e)
{
    const int rank = tdm_comm_rank(comm), size = tdm_comm_size(comm);
    const int64_t images = tdm_dataset_images(dataset) - tdm_dataset_imageless(dataset);
    *e = (tdm_embeddings){.d = d,
                          .image_first = tdm_part_begin(images, size, rank),
                          .caption_first = tdm_part_begin(captions, size, rank),
                          .class_count = tdm_dataset_class_count(dataset)};
    e->images = tdm_part_begin(images, size, rank + 1) - e->image_first;
    e->captions = tdm_part_begin(captions, size, rank + 1) - e->caption_first;
    e->label_words = (e->class_count + 63) / 64;
    TDM_TRY(tdm_embeddings_reserve(e));
    TDM_TRY(fill_rows(dataset, e));
    TDM_TRY(TDM_ALLOC(e->class_count, &e->class_name));
    for (int64_t c = 0; c < e->class_count; c++) e->class_name[c] = tdm_dataset_class_name(dataset, c);
    return e->class_count > 0 ? fill_labels(dataset, e) : TDM_OK;
}

/* Widths of the cached features that towers read, and room for them. */
static tdm_status prepare_cached(embedding_job *job)
{
    int64_t widest = 0;
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const int64_t have = tdm_dataset_feature_width(job->dataset, (tdm_modality)m);
        tdm_tower_reads reads;
        int64_t width;
        TDM_TRY(tdm_model_reads(job->config, (tdm_modality)m, &reads, &width));
        if (reads != TDM_READS_FEATURES) continue;
        TDM_REQUIRE(have == width, TDM_E_SHAPE,
                    "the data hold %s features of width %lld, the model reads %lld",
                    tdm_modality_name((tdm_modality)m), (long long)have, (long long)width);
        job->feature_width[m] = width;
        widest = tdm_max_i64(widest, width);
    }
    return TDM_ALLOC(job->batch * widest, &job->cached);
}

/* Rows of feature[n][d] that are not finite; *first is the first of them, or n. */
static int64_t count_bad_rows(int64_t n, int64_t d, const float *feature, int64_t *first)
{
    int64_t bad = 0;
    *first = n;
    for (int64_t i = 0; i < n; i++) {
        float sum = 0.0f; /* of x - x: 0, or NaN */
        for (int64_t k = 0; k < d; k++) sum += feature[i * d + k] - feature[i * d + k];
        if (sum == 0.0f) continue;
        if (bad++ == 0) *first = i;
    }
    return bad;
}

/* row: of the split, whose name is shown. */
static tdm_status refuse_rows(tdm_dataset *dataset, const char *what, int64_t bad, int64_t n, int64_t first,
                              int64_t row)
{
    tdm_text name = {0};
    TDM_TRY(tdm_dataset_read_name(dataset, row, &name));
    (void)TDM_ERROR(
        TDM_E_NUMERIC,
        "%lld of %lld %s embeddings are not finite, the first is that of %s %lld (%.300s): the model's "
        "weights or its input are not",
        (long long)bad, (long long)n, what, what, (long long)first, name.data ? name.data : "");
    tdm_text_free(&name);
    return TDM_E_NUMERIC;
}

/* Of this rank's piece. */
static tdm_status check_finite(tdm_dataset *dataset, const tdm_embeddings *e)
{
    int64_t first;
    const int64_t images = count_bad_rows(e->images, e->d, e->image, &first);
    if (images > 0)
        return refuse_rows(dataset, "image", images, e->images, e->image_first + first,
                           tdm_dataset_image_row(dataset, e->image_first + first));
    const int64_t captions = count_bad_rows(e->captions, e->d, e->text, &first);
    if (captions > 0)
        return refuse_rows(dataset, "caption", captions, e->captions, e->caption_first + first,
                           tdm_dataset_caption_image(dataset, e->caption_first + first));
    return TDM_OK;
}

static tdm_status prepare(embedding_job *job)
{
    TDM_TRY(prepare_cached(job));
    TDM_TRY(TDM_ALLOC(job->batch * tdm_model_embed_dim(job->model), &job->feature));
    return TDM_ALLOC(job->batch, &job->norm);
}

static tdm_status embed_piece(tdm_comm *comm, embedding_job *job, tdm_embeddings *e)
{
    const int64_t d = tdm_model_embed_dim(job->model);
    TDM_TRY(prepare(job));
    const bool texts = job->tokenizer != NULL || job->feature_width[TDM_TEXT] > 0;
    const int64_t captions = texts ? tdm_dataset_captions(job->dataset) : 0;
    TDM_TRY(describe_piece(comm, job->dataset, captions, d, e));
    TDM_TRY(embed_images(job, e));
    TDM_TRY(embed_captions(job, e));
    return check_finite(job->dataset, e);
}

static void job_end(embedding_job *job)
{
    tdm_progress_clear();
    tdm_free(job->feature);
    tdm_free(job->norm);
    tdm_free(job->image[0]);
    tdm_free(job->image[1]);
    tdm_free(job->cached);
}

tdm_status tdm_embed_dataset(tdm_comm *comm, struct tdm_model *model, tdm_ops *ops,
                             const struct tdm_config *config, struct tdm_dataset *dataset,
                             const struct tdm_tokenizer *tokenizer, int64_t batch, int64_t workers,
                             tdm_embeddings *embeddings)
{
    TDM_REQUIRE(batch >= 1 && workers >= 1, TDM_E_USAGE,
                "embedding in batches of %lld on %lld decode threads", (long long)batch, (long long)workers);
    if (tdm_dataset_imageless(dataset) > 0)
        tdm_log(TDM_LOG_INFO, "%lld of %lld rows have no image and are not in the gallery",
                (long long)tdm_dataset_imageless(dataset), (long long)tdm_dataset_images(dataset));
    embedding_job job = {.model = model,
                         .ops = ops,
                         .config = config,
                         .dataset = dataset,
                         .tokenizer = tokenizer,
                         .batch = batch,
                         .workers = workers};
    const tdm_status status = embed_piece(comm, &job, embeddings);
    job_end(&job);
    if (status != TDM_OK) tdm_embeddings_free(embeddings);
    return status;
}

tdm_status tdm_embed_again(struct tdm_model *model, tdm_ops *ops, const struct tdm_config *config,
                           struct tdm_dataset *dataset, const struct tdm_tokenizer *tokenizer, int64_t batch,
                           int64_t workers, tdm_modality modality, tdm_embeddings *embeddings)
{
    embedding_job job = {.model = model,
                         .ops = ops,
                         .config = config,
                         .dataset = dataset,
                         .tokenizer = tokenizer,
                         .batch = batch,
                         .workers = workers};
    tdm_status status = prepare(&job);
    if (status == TDM_OK)
        status = modality == TDM_IMAGE ? embed_images(&job, embeddings) : embed_captions(&job, embeddings);
    if (status == TDM_OK) status = check_finite(dataset, embeddings);
    job_end(&job);
    return status;
}
