/* Private to src/search: a folder of pictures as a gallery, and what is kept of its embeddings. */
#ifndef TANDEM_SEARCH_IMPL_H
#define TANDEM_SEARCH_IMPL_H

#include "tandem/h5.h"
#include "tandem/pack.h"
#include "tandem/searcher.h"

/* ---- What was embedded before: one HDF5 file for a folder and a model ----
 * Root attributes: format "tandem.gallery", version 1, folder, key, embed_dim. Data sets: name_bytes, name_offset (below
 * the folder); stamp i64[n][STAMP_FIELDS]; digest (64 characters each); image f32[n][d]; caption_bytes, caption_offset,
 * text f32[captions][d]. */
enum { DIGEST_CHARS = 64 };

/* A file when it was read. While all of it stays, its content does. */
typedef struct picture_stamp {
    int64_t bytes, modified_ns, changed_ns, inode; /* modified_ns -1: in doubt, it was too young to tell */
} picture_stamp;
enum { STAMP_FIELDS = sizeof(picture_stamp) / sizeof(int64_t) };
/* False: there is no such file. */
bool picture_stamp_take(const char *path, picture_stamp *stamp);
/* Does it say that the content is the same? */
bool picture_stamp_fits(const picture_stamp *before, const picture_stamp *now);

typedef struct gallery_cache { /* owned; gallery_cache_close */
    char path[TDM_PATH_BYTES]; /* "": nothing is kept */
    char folder[TDM_PATH_BYTES], key[65];
    int64_t d;
    tdm_h5 *file; /* open for features; NULL: there is none yet */
    tdm_h5_array *image_array, *text_array;
    int64_t images, captions;
    tdm_h5_strings name, caption;
    picture_stamp *stamp;                      /* [images] */
    char *digest;                              /* [images][DIGEST_CHARS] */
    int64_t *by_name, *by_digest, *by_caption; /* rows in that order */
} gallery_cache;

/* Where the gallery of `folder` is kept, for this model and way of embedding; and what is there. A file that is damaged or
 * of another version is one that is not there. dir as tdm_searcher_options.cache; isa: of what computes, the same on all
 * ranks. */
TDM_CHECKED tdm_status gallery_cache_open(const char *dir, const char *folder, const tdm_inference *inference,
                                          const char *isa, gallery_cache *cache);
void gallery_cache_close(gallery_cache *cache);
/* From here on nothing was embedded before. */
void gallery_cache_forget(gallery_cache *cache);
/* Rows of the cache; -1: none. */
int64_t gallery_cache_named(const gallery_cache *cache, const char *name);
int64_t gallery_cache_with_digest(const gallery_cache *cache, const char *digest);
int64_t gallery_cache_with_caption(const gallery_cache *cache, const char *caption);
/* Features of the rows row[n] into feature[n][d], in passing over those that are -1. */
TDM_CHECKED tdm_status gallery_cache_features(gallery_cache *cache, tdm_modality modality, int64_t n,
                                              const int64_t *row, float *feature);
/* What is to be kept. Everything borrowed. */
typedef struct gallery_kept {
    tdm_h5_strings name, caption;
    const picture_stamp *stamp;
    const char *digest;
    const float *image, *text;
} gallery_kept;
/* Takes the place of the file at once: of two writers the last one stays. */
TDM_CHECKED tdm_status gallery_cache_write(const gallery_cache *cache, const gallery_kept *kept);

/* ---- Choosing among what was found ---- */
/* Local row i of the images or captions. */
bool filter_passes(const tdm_searcher *searcher, tdm_modality what, const tdm_filter *filter, int64_t i);
/* Of more->k candidates of each query the k best without duplicates, into found. *enough: each has k, or there are no
 * further candidates; else found is left alone. The same answer on every rank. Collective. */
TDM_CHECKED tdm_status distinct_only(const tdm_searcher *searcher, double threshold, int64_t k,
                                     const tdm_found *more, tdm_found *found, bool *enough);

/* ---- A folder ---- */
typedef struct picture_folder { /* owned; folder_close */
    char dir[TDM_PATH_BYTES];
    tdm_pack_list list;     /* all that it holds; the same on every rank */
    int64_t images;         /* that can be read, of all ranks */
    int64_t *item;          /* [images] of the list */
    int64_t *caption_first; /* [images + 1] */
    uint64_t *class_bits;   /* [images][words]; NULL: no classes */
    tdm_unreadable *bad;    /* [bads] on rank 0 */
    int64_t bads;
    tdm_text bad_text; /* what they point into */
} picture_folder;

/* Lists, embeds what is new, keeps it. Fills folder, news and embeddings of the searcher. Collective. */
TDM_CHECKED tdm_status folder_open(const tdm_searcher_options *options, tdm_searcher *searcher);
void folder_close(picture_folder **folder);
int64_t folder_image_of_caption(const picture_folder *folder, int64_t caption);
/* Captions [first, first + n) of an image. */
void folder_captions(const picture_folder *folder, int64_t image, int64_t *first, int64_t *n);
const char *folder_caption(const picture_folder *folder, int64_t caption);
const tdm_pack_item *folder_picture(const picture_folder *folder, int64_t image);

/* ---- Embedding files that are pictures ---- */
typedef enum picture_state {
    PICTURE_NEW,        /* not looked at yet */
    PICTURE_KNOWN,      /* embedded before, the stamp says */
    PICTURE_RECOGNISED, /* embedded before, the content says */
    PICTURE_EMBEDDED,   /* now */
    PICTURE_UNREADABLE
} picture_state;
typedef struct picture {
    const char *name, *path; /* borrowed */
    picture_state state;
    int64_t cached; /* row of the cache, -1 */
    picture_stamp stamp;
    char digest[DIGEST_CHARS + 1];
    tdm_text why; /* of the unreadable */
} picture;
/* Embeds first[n] into feature[n][d], but for what the cache has. TDM_E_STOPPED leaves the rest PICTURE_NEW. Not collective. */
TDM_CHECKED tdm_status pictures_embed(const tdm_inference *inference, gallery_cache *cache, int64_t n,
                                      picture *first, float *feature);

#endif
