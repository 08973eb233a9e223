/* The gallery of a searcher, and what is found in it. */
#include "tandem/searcher.h"

#include "eval_impl.h"

#include <string.h>

/* ---- The gallery ---- */

/* The only split of a packed data set, unless one is named. */
static tdm_status choose_data_split(const char *dir, char *split, size_t bytes)
{
    tdm_index_row *row = NULL;
    int64_t count = 0, splits = 0;
    tdm_text names = {0};
    TDM_TRY(tdm_index_read(dir, &row, &count));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < count && status == TDM_OK; i++) {
        bool seen = false;
        for (int64_t j = 0; j < i; j++) seen |= strcmp(row[i].split, row[j].split) == 0;
        if (seen) continue;
        status = tdm_text_printf(&names, "%s%s", splits++ > 0 ? ", " : "", row[i].split);
    }
    if (status == TDM_OK && splits != 1)
        status = TDM_ERROR(TDM_E_USAGE, "%s: which --split? It has %s", dir,
                           names.data == NULL ? "none" : names.data);
    if (status == TDM_OK) snprintf(split, bytes, "%s", row[0].split);
    tdm_text_free(&names);
    tdm_free(row);
    return status;
}

static tdm_status embed_gallery(const char *dir, tdm_searcher *s)
{
    snprintf(s->source, sizeof s->source, "%s", dir);
    return tdm_inference_embed_data(s->comm, s->inference, s->dataset, true, &s->embeddings);
}

static tdm_status check_embeddings(const char *dir, const tdm_embedding_info *info, const tdm_searcher *s)
{
    const int64_t d = tdm_model_embed_dim(s->inference->model);
    TDM_REQUIRE(s->embeddings.d == d, TDM_E_SHAPE, "%s: embeddings of width %lld, the model's have %lld", dir,
                (long long)s->embeddings.d, (long long)d);
    TDM_REQUIRE(strcmp(info->model_digest, s->inference->digest) == 0, TDM_E_DATA,
                "%s: was embedded by another model (%s) than %s; run tandem embed again", dir, info->model,
                s->inference->dir);
    return TDM_OK;
}

/* The source shards lead to captions, names and pictures. Collective. */
static tdm_status open_source(const char *dir, tdm_searcher *s)
{
    char index[TDM_PATH_BYTES];
    int64_t embedded[2] = {s->embeddings.images, s->embeddings.captions};
    tdm_comm_sum_i64(s->comm, embedded, 2);
    TDM_TRY(tdm_path_join(index, sizeof index, s->source, "dataset.h5"));
    if (!tdm_path_exists(index)) return TDM_OK;
    TDM_TRY(tdm_dataset_open(s->source, s->split, &s->dataset));
    const int64_t images = tdm_dataset_images(s->dataset) - tdm_dataset_imageless(s->dataset);
    const int64_t captions = tdm_dataset_captions(s->dataset);
    TDM_REQUIRE(
        images == embedded[0] && captions == embedded[1], TDM_E_DATA,
        "%s: split \"%s\" of %s has %lld images and %lld captions, embedded were %lld and %lld; run tandem embed again",
        dir, s->split, s->source, (long long)images, (long long)captions, (long long)embedded[0],
        (long long)embedded[1]);
    return TDM_OK;
}

static tdm_status read_gallery(const char *dir, tdm_searcher *s)
{
    tdm_embedding_info info;
    TDM_AGREE(s->comm, tdm_embeddings_find_split(dir, s->split, sizeof s->split));
    TDM_TRY(tdm_embeddings_read(s->comm, dir, s->split, &info, &s->embeddings));
    TDM_AGREE(s->comm, check_embeddings(dir, &info, s));
    snprintf(s->source, sizeof s->source, "%s", info.source);
    return tdm_comm_agree(s->comm, open_source(dir, s));
}

static tdm_status load_gallery(const char *dir, tdm_searcher *s)
{
    char index[TDM_PATH_BYTES];
    const tdm_status status = tdm_path_is_dir(dir)
                                  ? tdm_path_join(index, sizeof index, dir, "dataset.h5")
                                  : TDM_ERROR(TDM_E_IO, "%s: there is no such directory", dir);
    TDM_AGREE(s->comm, status);
    tdm_reading reading = {0};
    const bool packed = tdm_path_exists(index);
    TDM_TRY(tdm_comm_agree_on(
        s->comm, tdm_reading_add(&reading, "gallery", dir, packed ? "a data set" : "embeddings"), &reading));
    if (!packed) return read_gallery(dir, s);
    if (s->split[0] == '\0') TDM_AGREE(s->comm, choose_data_split(dir, s->split, sizeof s->split));
    TDM_TRY(tdm_inference_open_data(s->comm, s->inference, dir, s->split, &s->dataset));
    return tdm_comm_agree(s->comm, embed_gallery(dir, s));
}

tdm_status tdm_searcher_open(tdm_comm *comm, const tdm_inference *inference, const char *dir,
                             const char *split, tdm_searcher *searcher)
{
    *searcher = (tdm_searcher){.comm = comm, .inference = inference};
    snprintf(searcher->split, sizeof searcher->split, "%s", split);
    const tdm_status status = load_gallery(dir, searcher);
    if (status != TDM_OK) tdm_searcher_close(searcher);
    return status;
}

tdm_searcher tdm_searcher_over(tdm_comm *comm, const tdm_inference *inference, tdm_dataset *dataset,
                               const tdm_embeddings *embeddings)
{
    return (tdm_searcher){.comm = comm,
                          .inference = inference,
                          .embeddings = *embeddings,
                          .dataset = dataset,
                          .source = "the data set",
                          .is_view = true};
}

void tdm_searcher_close(tdm_searcher *searcher)
{
    if (!searcher->is_view) {
        tdm_embeddings_free(&searcher->embeddings);
        tdm_dataset_close(&searcher->dataset);
    }
    *searcher = (tdm_searcher){0};
}

/* ---- Finding ---- */

/* Rows and scores of all ranks' queries to rank 0. Collective. */
static tdm_status collect(const tdm_searcher *s, int64_t n, const int64_t *row, const float *score,
                          tdm_found *found)
{
    int64_t *offset = NULL; /* [ranks + 1] in bytes */
    unsigned char *rows = NULL, *scores = NULL;
    TDM_AGREE(s->comm, TDM_ALLOC(tdm_comm_size(s->comm) + 1, &offset));
    tdm_status status = tdm_comm_collect(s->comm, row, n * found->k * (int64_t)sizeof *row, &rows, offset);
    if (status == TDM_OK)
        status = tdm_comm_collect(s->comm, score, n * found->k * (int64_t)sizeof *score, &scores, offset);
    found->row = (int64_t *)(void *)rows;
    found->score = (float *)(void *)scores;
    if (status == TDM_OK && tdm_comm_rank(s->comm) == 0)
        found->queries = offset[tdm_comm_size(s->comm)] / (found->k * (int64_t)sizeof *score);
    tdm_free(offset);
    return status;
}

static tdm_status find(const tdm_searcher *s, int64_t n, const float *query, int64_t *row, float *score,
                       tdm_found *found)
{
    const tdm_embeddings *e = &s->embeddings;
    const tdm_eval_side queries = {.n = n, .d = e->d, .feature = query};
    const tdm_eval_side images = {.n = e->images, .d = e->d, .feature = e->image};
    const tdm_eval_side captions = {.n = e->captions, .d = e->d, .feature = e->text};
    TDM_TRY(tdm_eval_top_k(s->comm, s->inference->ops, &queries,
                           found->what == TDM_IMAGE ? &images : &captions, found->k,
                           tdm_eval_block_rows(s->inference->ops), row, score));
    return collect(s, n, row, score, found);
}

tdm_status tdm_searcher_find(const tdm_searcher *searcher, tdm_modality what, int64_t n, const float *query,
                             int64_t k, tdm_found *found)
{
    const tdm_embeddings *e = &searcher->embeddings;
    int64_t *row = NULL;
    float *score = NULL;
    *found = (tdm_found){.what = what, .gallery = what == TDM_IMAGE ? e->images : e->captions};
    tdm_comm_sum_i64(searcher->comm, &found->gallery, 1);
    found->k = tdm_min_i64(k, found->gallery);
    tdm_status status = TDM_OK;
    if (found->k < 1) status = TDM_ERROR(TDM_E_DATA, "%s: the gallery is empty", searcher->source);
    if (status == TDM_OK) status = TDM_ALLOC(n * found->k, &row);
    if (status == TDM_OK) status = TDM_ALLOC(n * found->k, &score);
    status = tdm_comm_agree(searcher->comm, status);
    if (status == TDM_OK) status = find(searcher, n, query, row, score, found);
    tdm_free(row);
    tdm_free(score);
    if (status != TDM_OK) tdm_found_free(found);
    return status;
}

void tdm_found_free(tdm_found *found)
{
    tdm_free(found->row);
    tdm_free(found->score);
    *found = (tdm_found){0};
}
