/* Embedding picture files: several threads read and decode a batch, then the model takes it. */
#include "search_impl.h"

#include <pthread.h>
#include <string.h>

enum { MOST_THREADS = 256 };

typedef struct batch {
    const tdm_inference *inference;
    const gallery_cache *cache;
    picture *const *picture; /* [n] */
    int64_t n, next;
    uint8_t *pixel; /* [n][height][width][3] */
    pthread_mutex_t lock;
    tdm_error error; /* that is no picture's own */
} batch;

/* Is the error the picture's own, so that one goes on without it? As for tandem pack. */
static bool is_fault(tdm_status status)
{
    return status == TDM_E_DATA || status == TDM_E_IO || status == TDM_E_FORMAT;
}

static tdm_status read_picture(const batch *b, picture *it, tdm_text *encoded, uint8_t *pixel)
{
    encoded->length = 0;
    TDM_TRY(tdm_read_file(it->path, encoded));
    TDM_TRY(tdm_sha256_buffer(encoded->data, encoded->length, it->digest));
    it->cached = gallery_cache_with_digest(b->cache, it->digest);
    if (it->cached < 0)
        return tdm_inference_decode(b->inference, it->path, encoded->data, encoded->length, pixel);
    it->state = PICTURE_RECOGNISED;
    return TDM_OK;
}

/* Picture i of the batch, which then is recognised, unreadable, or decoded and still new. */
static tdm_status take_picture(batch *b, int64_t i, tdm_text *encoded)
{
    picture *it = b->picture[i];
    const tdm_status status =
        read_picture(b, it, encoded, b->pixel + i * tdm_inference_pixel_bytes(b->inference));
    if (!is_fault(status)) return status;
    it->state = PICTURE_UNREADABLE;
    return tdm_text_printf(&it->why, "%s", tdm_error_last()->message);
}

static void *batch_main(void *argument)
{
    batch *b = argument;
    tdm_text encoded = {0};
    for (;;) {
        pthread_mutex_lock(&b->lock);
        const int64_t i = b->next++;
        pthread_mutex_unlock(&b->lock);
        if (i >= b->n) break;
        if (take_picture(b, i, &encoded) == TDM_OK) continue;
        pthread_mutex_lock(&b->lock);
        b->error = *tdm_error_last();
        b->next = b->n;
        pthread_mutex_unlock(&b->lock);
    }
    tdm_text_free(&encoded);
    return NULL;
}

/* This thread works, too; when a further one cannot be started, those that run do all. */
static tdm_status decode_batch(batch *b)
{
    pthread_t thread[MOST_THREADS];
    const int64_t more = tdm_min_i64(tdm_min_i64(b->inference->workers, MOST_THREADS), b->n) - 1;
    int64_t running = 0;
    pthread_mutex_init(&b->lock, NULL);
    while (running < more && tdm_thread_create(&thread[running], batch_main, b) == 0) running++;
    batch_main(b);
    for (int64_t i = 0; i < running; i++) pthread_join(thread[i], NULL);
    pthread_mutex_destroy(&b->lock);
    return b->error.code == TDM_OK ? TDM_OK : tdm_error_adopt(&b->error);
}

/* The features of what is decoded, each into its picture's row. made [n][d]: room. */
static tdm_status embed_batch(const batch *b, const picture *first, float *made, float *feature)
{
    const int64_t bytes = tdm_inference_pixel_bytes(b->inference),
                  d = tdm_model_embed_dim(b->inference->model);
    int64_t decoded = 0;
    for (int64_t i = 0; i < b->n; i++)
        if (b->picture[i]->state == PICTURE_NEW)
            memmove(b->pixel + decoded++ * bytes, b->pixel + i * bytes, (size_t)bytes);
    TDM_TRY(tdm_inference_embed_pixels(b->inference, decoded, b->pixel, made));
    decoded = 0;
    for (int64_t i = 0; i < b->n; i++) {
        if (b->picture[i]->state != PICTURE_NEW) continue;
        memcpy(feature + (b->picture[i] - first) * d, made + decoded++ * d, (size_t)d * sizeof *made);
        b->picture[i]->state = PICTURE_EMBEDDED;
    }
    return TDM_OK;
}

/* list[n]: those that the stamps do not know. */
static tdm_status embed_list(const tdm_inference *inference, const gallery_cache *cache, int64_t n,
                             picture **list, const picture *first, float *feature)
{
    const int64_t most = tdm_min_i64(inference->batch, n);
    uint8_t *pixel = NULL;
    float *made = NULL;
    tdm_status status = TDM_ALLOC(most * tdm_inference_pixel_bytes(inference), &pixel);
    if (status == TDM_OK) status = TDM_ALLOC(most * tdm_model_embed_dim(inference->model), &made);
    for (int64_t i = 0; i < n && status == TDM_OK; i += most) {
        batch b = {.inference = inference,
                   .cache = cache,
                   .picture = list + i,
                   .n = tdm_min_i64(most, n - i),
                   .pixel = pixel};
        status = tdm_stop_point("after embedding %lld of %lld pictures", (long long)i, (long long)n);
        if (status == TDM_OK) status = decode_batch(&b);
        if (status == TDM_OK) status = embed_batch(&b, first, made, feature);
        tdm_progress("embedding pictures %lld/%lld", (long long)(i + b.n), (long long)n);
    }
    tdm_progress_clear();
    tdm_free(pixel);
    tdm_free(made);
    return status;
}

/* Takes the stamp, and what the cache says of it. */
static void look_up(const gallery_cache *cache, picture *it)
{
    it->cached = -1;
    if (it->state == PICTURE_UNREADABLE) return;
    if (!picture_stamp_take(it->path, &it->stamp)) return; /* reading it says why */
    const int64_t row = gallery_cache_named(cache, it->name);
    if (row < 0 || !picture_stamp_fits(&cache->stamp[row], &it->stamp)) return;
    it->state = PICTURE_KNOWN;
    it->cached = row;
    memcpy(it->digest, cache->digest + row * DIGEST_CHARS, DIGEST_CHARS);
}

static tdm_status read_kept(gallery_cache *cache, int64_t n, const picture *first, float *feature)
{
    int64_t *row = NULL;
    TDM_TRY(TDM_ALLOC(n, &row));
    for (int64_t i = 0; i < n; i++) row[i] = first[i].cached;
    const tdm_status status = gallery_cache_features(cache, TDM_IMAGE, n, row, feature);
    tdm_free(row);
    return status;
}

/* All that the cache knew is new again. */
static void distrust(gallery_cache *cache, int64_t n, picture *first)
{
    gallery_cache_forget(cache);
    for (int64_t i = 0; i < n; i++) {
        first[i].cached = -1;
        if (first[i].state == PICTURE_KNOWN || first[i].state == PICTURE_RECOGNISED)
            first[i].state = PICTURE_NEW;
    }
}

static tdm_status embed_new(const tdm_inference *inference, const gallery_cache *cache, int64_t n,
                            picture *first, float *feature)
{
    picture **list = NULL;
    int64_t unknown = 0;
    TDM_TRY(TDM_ALLOC(n, &list));
    for (int64_t i = 0; i < n; i++)
        if (first[i].state == PICTURE_NEW) list[unknown++] = &first[i];
    const tdm_status status = embed_list(inference, cache, unknown, list, first, feature);
    tdm_free(list);
    return status;
}

tdm_status pictures_embed(const tdm_inference *inference, gallery_cache *cache, int64_t n, picture *first,
                          float *feature)
{
    for (int64_t i = 0; i < n; i++) look_up(cache, &first[i]);
    tdm_status status = embed_new(inference, cache, n, first, feature);
    if (status != TDM_OK && status != TDM_E_STOPPED) return status;
    const tdm_status kept = read_kept(cache, n, first, feature);
    if (kept == TDM_OK) return status;
    if (!is_fault(kept)) return kept;
    tdm_log(TDM_LOG_ALL_RANKS, "what was kept of the embeddings is damaged, they are made anew: %s",
            tdm_error_last()->message);
    distrust(cache, n, first);
    return embed_new(inference, cache, n, first, feature);
}

static tdm_status embed_files(const tdm_inference *inference, int64_t n, picture *file, float *feature,
                              int64_t *failed)
{
    gallery_cache nothing = {.d = tdm_model_embed_dim(inference->model)};
    TDM_TRY(pictures_embed(inference, &nothing, n, file, feature));
    for (int64_t i = 0; i < n; i++) {
        if (file[i].state != PICTURE_UNREADABLE) continue;
        *failed = i;
        TDM_FAIL(TDM_E_DATA, "%s", file[i].why.data);
    }
    return TDM_OK;
}

tdm_status tdm_search_embed_files(const tdm_inference *inference, int64_t n, const char *const *path,
                                  float *feature, int64_t *failed)
{
    picture *file = NULL;
    *failed = -1;
    TDM_TRY(TDM_ALLOC(n, &file));
    for (int64_t i = 0; i < n; i++) file[i] = (picture){.name = path[i], .path = path[i]};
    const tdm_status status = embed_files(inference, n, file, feature, failed);
    for (int64_t i = 0; i < n; i++) tdm_text_free(&file[i].why);
    tdm_free(file);
    return status;
}
