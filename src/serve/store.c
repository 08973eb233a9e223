/* Features by the digest of what they were made of, in an open table of fixed size; the oldest of a few places makes
 * room. */
#include "serve_impl.h"

#include <stdlib.h>

enum { PLACES = 8, MOST_PICTURE_BYTES = 64 * 1024 };

typedef struct entry {
    char id[SERVE_ID_BYTES]; /* "": free */
    bool cut;
    int64_t used; /* when, in calls */
    tdm_text picture;
} entry;

struct serve_store {
    pthread_mutex_t lock;
    int64_t d, most, calls;
    entry *entry;   /* [most] */
    float *feature; /* [most][d] */
};

tdm_status serve_store_create(int64_t d, int64_t most, serve_store **store)
{
    TDM_TRY(TDM_ALLOC(1, store));
    serve_store *s = *store;
    pthread_mutex_init(&s->lock, NULL);
    s->d = d;
    s->most = most;
    TDM_TRY(TDM_ALLOC(most, &s->entry));
    return TDM_ALLOC(most * d, &s->feature);
}

void serve_store_destroy(serve_store **store)
{
    serve_store *s = *store;
    if (s == NULL) return;
    for (int64_t i = 0; s->entry != NULL && i < s->most; i++) tdm_text_free(&s->entry[i].picture);
    tdm_free(s->entry);
    tdm_free(s->feature);
    pthread_mutex_destroy(&s->lock);
    tdm_free(s);
    *store = NULL;
}

tdm_status serve_store_id(char kind, const void *data, size_t bytes, char id[SERVE_ID_BYTES])
{
    tdm_sha256 *sha = NULL;
    char hex[65];
    TDM_TRY(tdm_sha256_create(&sha));
    tdm_sha256_update(sha, &kind, 1);
    tdm_sha256_update(sha, data, bytes);
    tdm_sha256_finish(&sha, hex);
    snprintf(id, SERVE_ID_BYTES, "%.32s", hex);
    return TDM_OK;
}

/* The lock is held. The entry of this id, or one that may be overwritten. */
static entry *find_place(serve_store *s, const char *id)
{
    char head[17];
    entry *oldest = NULL;
    snprintf(head, sizeof head, "%.16s", id);
    const uint64_t at = strtoull(head, NULL, 16);
    for (uint64_t i = 0; i < PLACES; i++) {
        entry *e = &s->entry[(at + i) % (uint64_t)s->most];
        if (strcmp(e->id, id) == 0) return e;
        if (oldest == NULL || e->used < oldest->used) oldest = e;
    }
    return oldest;
}

/* The lock is held. NULL: not there. */
static entry *find_entry(serve_store *s, const char *id)
{
    entry *e = find_place(s, id);
    if (id[0] == '\0' || strcmp(e->id, id) != 0) return NULL;
    e->used = ++s->calls;
    return e;
}

bool serve_store_find(serve_store *store, const char *id, float *feature, bool *cut)
{
    pthread_mutex_lock(&store->lock);
    const entry *e = find_entry(store, id);
    if (e != NULL) {
        memcpy(feature, store->feature + (e - store->entry) * store->d, (size_t)store->d * sizeof *feature);
        *cut = e->cut;
    }
    pthread_mutex_unlock(&store->lock);
    return e != NULL;
}

tdm_status serve_store_keep(serve_store *store, const char *id, const float *feature, bool cut,
                            const tdm_text *picture)
{
    tdm_status status = TDM_OK;
    pthread_mutex_lock(&store->lock);
    entry *e = find_place(store, id);
    if (strcmp(e->id, id) != 0) {
        tdm_text_free(&e->picture);
        snprintf(e->id, sizeof e->id, "%s", id);
        e->cut = cut;
        memcpy(store->feature + (e - store->entry) * store->d, feature, (size_t)store->d * sizeof *feature);
        if (picture != NULL && picture->length <= MOST_PICTURE_BYTES)
            status = tdm_text_append(&e->picture, picture->data, picture->length);
    }
    e->used = ++store->calls;
    pthread_mutex_unlock(&store->lock);
    return status;
}

bool serve_store_picture(serve_store *store, const char *id, tdm_text *out)
{
    pthread_mutex_lock(&store->lock);
    const entry *e = find_entry(store, id);
    const bool there = e != NULL && e->picture.length > 0 &&
                       tdm_text_append(out, e->picture.data, e->picture.length) == TDM_OK;
    pthread_mutex_unlock(&store->lock);
    return there;
}
