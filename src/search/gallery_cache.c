/* What is kept of a folder's embeddings. Reading looks rows up one by one, so that a rank reads its own only. */
#include "search_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CACHE_FORMAT "tandem.gallery"
enum { CACHE_VERSION = 1, CHUNK_BYTES = 1 << 18, LONGEST = 1 << 24 };

/* ---- Stamps ---- */

static int64_t nanoseconds(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

/* A file that was written within the last seconds may be written again within the same tick of its file system's clock:
 * such a stamp proves nothing later. */
bool picture_stamp_take(const char *path, picture_stamp *stamp)
{
    enum { SETTLED_S = 3 };
    struct stat info;
    struct timespec now = {0};
    if (stat(path, &info) != 0) return false;
    clock_gettime(CLOCK_REALTIME, &now);
    *stamp = (picture_stamp){.bytes = info.st_size,
                             .modified_ns = nanoseconds(&info.st_mtim),
                             .changed_ns = nanoseconds(&info.st_ctim),
                             .inode = (int64_t)info.st_ino};
    const int64_t latest = tdm_max_i64(stamp->modified_ns, stamp->changed_ns);
    if (nanoseconds(&now) - latest < SETTLED_S * INT64_C(1000000000)) stamp->modified_ns = -1;
    return true;
}

bool picture_stamp_fits(const picture_stamp *before, const picture_stamp *now)
{
    return before->modified_ns >= 0 && memcmp(before, now, sizeof *before) == 0;
}

/* ---- Where ---- */

/* All that the bits of an embedding depend on. */
static tdm_status key_of(const tdm_inference *inference, const char *isa, char key[65])
{
    const tdm_tower_config *image = &inference->config.model.image;
    const tdm_image_policy policy = tdm_image_policy_of(image);
    char digest[65], path[TDM_PATH_BYTES];
    tdm_text all = {0};
    TDM_TRY(tdm_path_join(path, sizeof path, inference->dir, "model.h5"));
    TDM_TRY(tdm_h5_digest(path, digest)); /* does not read it all, as SHA-256 would */
    tdm_status status = tdm_text_printf(
        &all, "%s %s%s on %s %lldx%lld fit %d alpha %d tokens %lld of %s", digest,
        inference->rounding != NULL ? "int8 in " : "", tdm_dtype_name(tdm_ops_dtype(inference->ops)), isa,
        (long long)image->width_px, (long long)image->height_px, (int)policy.fit, (int)policy.alpha,
        (long long)tdm_caption_tokens(&inference->config),
        inference->tokenizer != NULL ? tdm_tokenizer_digest(inference->tokenizer) : "none");
    if (status == TDM_OK) status = tdm_sha256_buffer(all.data, all.length, key);
    tdm_text_free(&all);
    return status;
}

/* *dir "": there is no place. */
static void default_dir(char dir[TDM_PATH_BYTES])
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length = 0;
    if (cache != NULL && cache[0] == '/') /* a relative one counts as unset, says the standard */
        length = snprintf(dir, TDM_PATH_BYTES, "%s/tandem", cache);
    else if (home != NULL && home[0] == '/')
        length = snprintf(dir, TDM_PATH_BYTES, "%s/.cache/tandem", home);
    if (length <= 0 || length >= TDM_PATH_BYTES) dir[0] = '\0';
}

static tdm_status place_of(const char *dir, gallery_cache *cache)
{
    char own[TDM_PATH_BYTES] = "", name[80], digest[65];
    tdm_text both = {0};
    if (dir == NULL)
        default_dir(own);
    else
        snprintf(own, sizeof own, "%s", dir);
    if (own[0] == '\0') {
        if (dir == NULL)
            tdm_log(TDM_LOG_WARN,
                    "neither XDG_CACHE_HOME nor HOME says where to keep embeddings: none are kept");
        return TDM_OK;
    }
    tdm_status status = tdm_text_append(&both, cache->folder, strlen(cache->folder) + 1);
    if (status == TDM_OK) status = tdm_text_append(&both, cache->key, strlen(cache->key));
    if (status == TDM_OK) status = tdm_sha256_buffer(both.data, both.length, digest);
    tdm_text_free(&both);
    TDM_TRY(status);
    snprintf(name, sizeof name, "gallery-%.32s.h5", digest);
    return tdm_path_join(cache->path, sizeof cache->path, own, name);
}

/* ---- Looking up ---- */

static int compare_bytes(const char *a, int64_t a_bytes, const char *b, int64_t b_bytes)
{
    const int order = memcmp(a, b, (size_t)tdm_min_i64(a_bytes, b_bytes));
    return order != 0 ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static int compare_strings(const void *a, const void *b, void *list)
{
    int64_t bytes_a, bytes_b;
    const char *at = tdm_h5_strings_at(list, *(const int64_t *)a, &bytes_a);
    const char *other = tdm_h5_strings_at(list, *(const int64_t *)b, &bytes_b);
    return compare_bytes(at, bytes_a, other, bytes_b);
}

static int compare_digests(const void *a, const void *b, void *digest)
{
    const char *all = digest;
    return memcmp(all + *(const int64_t *)a * DIGEST_CHARS, all + *(const int64_t *)b * DIGEST_CHARS,
                  DIGEST_CHARS);
}

static tdm_status make_order(int64_t n, int (*compare)(const void *, const void *, void *), void *with,
                             int64_t **order)
{
    TDM_TRY(TDM_ALLOC(n, order));
    for (int64_t i = 0; i < n; i++) (*order)[i] = i;
    qsort_r(*order, (size_t)n, sizeof **order, compare, with);
    return TDM_OK;
}

static int64_t find_string(const tdm_h5_strings *list, const int64_t *order, const char *wanted)
{
    const int64_t length = (int64_t)strlen(wanted);
    int64_t low = 0, high = list->count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        int64_t bytes;
        const char *at = tdm_h5_strings_at(list, order[middle], &bytes);
        const int way = compare_bytes(at, bytes, wanted, length);
        if (way == 0) return order[middle];
        if (way < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

int64_t gallery_cache_named(const gallery_cache *cache, const char *name)
{
    return cache->file == NULL ? -1 : find_string(&cache->name, cache->by_name, name);
}

int64_t gallery_cache_with_caption(const gallery_cache *cache, const char *caption)
{
    return cache->file == NULL ? -1 : find_string(&cache->caption, cache->by_caption, caption);
}

int64_t gallery_cache_with_digest(const gallery_cache *cache, const char *digest)
{
    int64_t low = 0, high = cache->file == NULL ? 0 : cache->images;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int way = memcmp(cache->digest + cache->by_digest[middle] * DIGEST_CHARS, digest, DIGEST_CHARS);
        if (way == 0) return cache->by_digest[middle];
        if (way < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

/* ---- Reading ---- */

static tdm_status open_features(gallery_cache *cache, const char *name, int64_t rows, tdm_h5_array **array)
{
    int64_t shape[2];
    TDM_TRY(tdm_h5_open_array(cache->file, name, TDM_H5_F32, 2, shape, array));
    TDM_REQUIRE(shape[0] == rows && shape[1] == cache->d, TDM_E_FORMAT, "%s: /%s has another size",
                cache->path, name);
    return TDM_OK;
}

static tdm_status read_tables(gallery_cache *c)
{
    char key[65];
    const int64_t shape[2] = {0, STAMP_FIELDS};
    int64_t d;
    TDM_TRY(tdm_h5_get_chars(c->file, "key", key, sizeof key));
    TDM_TRY(tdm_h5_get_i64(c->file, "embed_dim", &d));
    TDM_REQUIRE(strcmp(key, c->key) == 0 && d == c->d, TDM_E_FORMAT, "%s: is of another model", c->path);
    TDM_TRY(tdm_h5_get_strings(c->file, "name_", LONGEST, &c->name));
    TDM_TRY(tdm_h5_get_strings(c->file, "caption_", LONGEST, &c->caption));
    c->images = c->name.count;
    c->captions = c->caption.count;
    const int64_t stamps[2] = {c->images, shape[1]};
    TDM_TRY(TDM_ALLOC(c->images, &c->stamp));
    TDM_TRY(tdm_h5_get_array(c->file, "stamp", TDM_H5_I64, 2, stamps, c->stamp));
    TDM_TRY(tdm_h5_get_cells(c->file, "digest", DIGEST_CHARS, &c->images, &c->digest));
    TDM_TRY(open_features(c, "image", c->images, &c->image_array));
    TDM_TRY(open_features(c, "text", c->captions, &c->text_array));
    TDM_TRY(make_order(c->images, compare_strings, &c->name, &c->by_name));
    TDM_TRY(make_order(c->images, compare_digests, c->digest, &c->by_digest));
    return make_order(c->captions, compare_strings, &c->caption, &c->by_caption);
}

void gallery_cache_forget(gallery_cache *c)
{
    tdm_h5_discard(&c->file);
    c->image_array = c->text_array = NULL;
    tdm_h5_strings_free(&c->name);
    tdm_h5_strings_free(&c->caption);
    tdm_free(c->stamp);
    tdm_free(c->digest);
    tdm_free(c->by_name);
    tdm_free(c->by_digest);
    tdm_free(c->by_caption);
    c->stamp = NULL;
    c->digest = NULL;
    c->by_name = c->by_digest = c->by_caption = NULL;
    c->images = c->captions = 0;
}

tdm_status gallery_cache_open(const char *dir, const char *folder, const tdm_inference *inference,
                              const char *isa, gallery_cache *cache)
{
    char *real = realpath(folder, NULL);
    *cache = (gallery_cache){.d = tdm_model_embed_dim(inference->model)};
    TDM_REQUIRE(real != NULL && strlen(real) < sizeof cache->folder, TDM_E_IO,
                "%s: cannot find its real path: %s", folder, strerror(errno));
    snprintf(cache->folder, sizeof cache->folder, "%s", real);
    free(real);
    if (dir != NULL && dir[0] == '\0') return TDM_OK;
    TDM_TRY(key_of(inference, isa, cache->key));
    TDM_TRY(place_of(dir, cache));
    if (cache->path[0] == '\0' || !tdm_path_exists(cache->path)) return TDM_OK;
    tdm_status status = tdm_h5_open(cache->path, CACHE_FORMAT, CACHE_VERSION, &cache->file);
    if (status == TDM_OK) status = read_tables(cache);
    if (status == TDM_OK) return TDM_OK;
    gallery_cache_forget(cache);
    if (status == TDM_E_NOMEM) return status;
    tdm_log(TDM_LOG_WARN, "what was kept of the embeddings is of no use, all are made anew: %s",
            tdm_error_last()->message);
    return TDM_OK;
}

void gallery_cache_close(gallery_cache *cache)
{
    gallery_cache_forget(cache);
    *cache = (gallery_cache){0};
}

tdm_status gallery_cache_features(gallery_cache *cache, tdm_modality modality, int64_t n, const int64_t *row,
                                  float *feature)
{
    tdm_h5_array *array = modality == TDM_IMAGE ? cache->image_array : cache->text_array;
    for (int64_t i = 0, run; i < n; i += run) { /* where nothing has changed, one run is all */
        for (run = 1; i + run < n && row[i] >= 0 && row[i + run] == row[i] + run;) run++;
        if (row[i] >= 0) TDM_TRY(tdm_h5_read(array, row[i], run, feature + i * cache->d));
    }
    return TDM_OK;
}

/* ---- Writing ---- */

static tdm_status put_all(tdm_h5 *file, const gallery_cache *c, const gallery_kept *kept)
{
    const int64_t images = kept->name.count, captions = kept->caption.count;
    const int64_t stamps[2] = {images, STAMP_FIELDS}, image[2] = {images, c->d}, text[2] = {captions, c->d};
    TDM_TRY(tdm_h5_put_text(file, "folder", c->folder));
    TDM_TRY(tdm_h5_put_text(file, "key", c->key));
    TDM_TRY(tdm_h5_put_i64(file, "embed_dim", c->d));
    TDM_TRY(tdm_h5_put_strings(file, "name_", &kept->name));
    TDM_TRY(tdm_h5_put_array(file, "stamp", TDM_H5_I64, 2, stamps, CHUNK_BYTES, kept->stamp));
    TDM_TRY(tdm_h5_put_cells(file, "digest", DIGEST_CHARS, images, CHUNK_BYTES, kept->digest));
    TDM_TRY(tdm_h5_put_array(file, "image", TDM_H5_F32, 2, image, CHUNK_BYTES, kept->image));
    TDM_TRY(tdm_h5_put_strings(file, "caption_", &kept->caption));
    return tdm_h5_put_array(file, "text", TDM_H5_F32, 2, text, CHUNK_BYTES, kept->text);
}

static tdm_status write_file(const char *path, const gallery_cache *c, const gallery_kept *kept)
{
    tdm_h5 *file = NULL;
    tdm_status status = tdm_h5_create(path, CACHE_FORMAT, CACHE_VERSION, &file);
    if (status == TDM_OK) status = put_all(file, c, kept);
    if (status == TDM_OK) status = tdm_h5_finish(&file);
    tdm_h5_discard(&file);
    return status;
}

tdm_status gallery_cache_write(const gallery_cache *cache, const gallery_kept *kept)
{
    char dir[TDM_PATH_BYTES], temporary[TDM_PATH_BYTES];
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(cache->path, '/') - cache->path), cache->path);
    TDM_TRY(tdm_make_dirs(dir));
    uint64_t number = 0; /* a name of this writer's own */
    TDM_REQUIRE(getrandom(&number, sizeof number, 0) == sizeof number, TDM_E_LIBRARY,
                "the system gives no random bytes: %s", strerror(errno));
    const int length =
        snprintf(temporary, sizeof temporary, "%s.%016llx.tmp", cache->path, (unsigned long long)number);
    TDM_REQUIRE(length < (int)sizeof temporary, TDM_E_IO, "%.200s…: path is too long", cache->path);
    tdm_status status = write_file(temporary, cache, kept);
    if (status == TDM_OK && rename(temporary, cache->path) != 0)
        status = TDM_ERROR(TDM_E_IO, "%s: cannot rename: %s", temporary, strerror(errno));
    if (status != TDM_OK) unlink(temporary);
    return status;
}
