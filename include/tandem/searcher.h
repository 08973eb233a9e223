/* Finding: a model, a gallery, and the best of it for a text or an image. */
#ifndef TANDEM_SEARCHER_H
#define TANDEM_SEARCHER_H

#include "tandem/inference.h"

/* What opening a folder of pictures found, on every rank. */
typedef struct tdm_folder_news {
    int64_t pictures;   /* files of the gallery: those below that are not unreadable */
    int64_t known;      /* embedded before: neither size, times nor inode have changed */
    int64_t recognised; /* embedded before under another name or time: the content is the same */
    int64_t embedded;   /* now */
    int64_t gone;       /* embedded before, and no longer there */
    int64_t unreadable;
    int64_t captions, captions_embedded;
} tdm_folder_news;
typedef struct tdm_unreadable {
    const char *name; /* below the folder */
    const char *why;
} tdm_unreadable;

typedef struct tdm_searcher {
    tdm_comm *comm;                         /* borrowed */
    const tdm_inference *inference;         /* borrowed */
    tdm_embeddings embeddings;              /* this rank's piece of the gallery */
    tdm_dataset *dataset;                   /* leads to captions, names and pictures; NULL when it is gone */
    struct picture_folder *folder;          /* does so for a folder of pictures; else NULL */
    tdm_folder_news news;                   /* of a folder */
    char source[TDM_PATH_BYTES], split[64]; /* of the data set; the folder, split "" */
    tdm_text class_names;                   /* of embeddings whose data set is gone */
    bool is_view;                           /* embeddings and dataset are borrowed */
    tdm_eval_gallery *packed[TDM_MODALITIES]; /* made by the first search */
} tdm_searcher;

typedef struct tdm_searcher_options {
    const char *gallery;    /* see tdm_searcher_open */
    const char *split;      /* "" when there is only one */
    const char *cache;      /* directory of what was embedded of folders; NULL: the default one; "": none */
    bool images_only;       /* of packed data captions are not embedded: nobody looks for them */
    int64_t class_level;    /* of a folder: which of its folders are classes, as for tandem pack; 0: none */
    int64_t identity_level; /* the same: identities */
} tdm_searcher_options;

/* gallery: a directory of any of three kinds.
 * - Embeddings of tandem embed, made by this model. Captions, names and pictures are those of their source; where that is
 *   gone, rows and scores are all there is.
 * - A packed data directory, which is embedded.
 * - A folder of pictures, as tandem pack --format folder reads it. What is embedded is kept in `cache`, $XDG_CACHE_HOME/tandem
 *   or ~/.cache/tandem by default, and only new and changed pictures are embedded again. Unreadable ones are left out.
 * The struct must not move as long as it is open. Collective. */
TDM_CHECKED tdm_status tdm_searcher_open(tdm_comm *comm, const tdm_inference *inference,
                                         const tdm_searcher_options *options, tdm_searcher *searcher);
/* Over what the caller has embedded already, and keeps. */
tdm_searcher tdm_searcher_over(tdm_comm *comm, const tdm_inference *inference, tdm_dataset *dataset,
                               const tdm_embeddings *embeddings);
void tdm_searcher_close(tdm_searcher *searcher);

/* Of a folder: what could not be read, on rank 0, [*count]; borrowed. */
const tdm_unreadable *tdm_searcher_unreadable(const tdm_searcher *searcher, int64_t *count);
/* Is anything known but rows and scores? */
bool tdm_searcher_has_source(const tdm_searcher *searcher);
/* Classes of the gallery, 0: it has none; NULL: the name is not known. */
int64_t tdm_searcher_classes(const tdm_searcher *searcher);
const char *tdm_searcher_class_name(const tdm_searcher *searcher, int64_t index);
/* Class bits of an image row (tdm_found_item.image), bit c % 64 of word c / 64; NULL: not known here, as of images of other
 * ranks where the data set is gone. Valid until the searcher is closed. Not collective. */
TDM_CHECKED tdm_status tdm_searcher_class_bits(const tdm_searcher *searcher, int64_t image,
                                               const uint64_t **bits);

/* Which rows may be found: those of any of the classes, and of any of the identities. Zeroed: all. */
typedef struct tdm_filter { /* owned; tdm_filter_free */
    uint64_t *class_bits;   /* [embeddings.label_words]; NULL: any class or none */
    int64_t *identity;      /* [identities] */
    int64_t identities;     /* 0: any */
} tdm_filter;
/* Adds classes or identities by their names: `names` is one, or several with commas between them. Identities of packed
 * data are numbers. TDM_E_USAGE begins with `where` and says which name there is instead. Not collective. */
TDM_CHECKED tdm_status tdm_filter_add_classes(const tdm_searcher *searcher, const char *where,
                                              const char *names, tdm_filter *filter);
TDM_CHECKED tdm_status tdm_filter_add_identities(const tdm_searcher *searcher, const char *where,
                                                 const char *names, tdm_filter *filter);
void tdm_filter_free(tdm_filter *filter);

typedef struct tdm_find { /* what is looked for */
    tdm_modality what;    /* images or captions */
    int64_t k;
    const tdm_filter *filter; /* the same on all ranks; NULL: everything may be found */
    /* A result is hidden whose cosine with a better one that is shown is at least this, or whose embedding has the same
     * bits; 0: none is. Further results take their places. */
    double hide_duplicates;
} tdm_find;
typedef struct tdm_found { /* owned; tdm_found_free */
    tdm_modality what;
    int64_t gallery;    /* rows that were searched: those that pass the filter */
    int64_t queries, k; /* on rank 0 the queries of all ranks, in the order of the ranks; elsewhere 0 */
    int64_t *row;       /* [queries][k] best first; -1: there is no further one, the rest were duplicates */
    float *score;       /* [queries][k] cosine */
    int64_t *hidden;    /* [queries] duplicates before the last result; NULL unless asked for */
} tdm_found;
/* The k best (k is less when the gallery is smaller) for query[n][d], unit norm, of this rank; n may be 0. The same for
 * any number of ranks; ties: the lower row first. A filter that nothing passes gives k = 0. Collective. */
TDM_CHECKED tdm_status tdm_searcher_find(tdm_searcher *searcher, const tdm_find *find, int64_t n,
                                         const float *query, tdm_found *found);
void tdm_found_free(tdm_found *found);

/* Embeddings of gallery rows row[n] of rank 0 into feature[n][d] on every rank; n and row are rank 0's. "More like this"
 * is a search with one of them. TDM_E_USAGE: there is no such row. Collective. */
TDM_CHECKED tdm_status tdm_searcher_features(const tdm_searcher *searcher, tdm_modality what, int64_t n,
                                             const int64_t *row, float *feature);

typedef struct tdm_found_item { /* owned; tdm_found_items_free */
    int64_t row;                /* in the gallery; -1: none, and all else is empty */
    int64_t image;              /* global row of the image, or of the caption's image */
    int64_t caption;            /* global row of the caption; -1 when images were searched */
    double score;
    bool is_positive; /* for the caller */
    tdm_text text;    /* the caption, or the image's captions; without a source empty, as are the next two */
    tdm_text name;    /* of the image's file; of a folder its path below it */
    tdm_text
        thumbnail; /* encoded, as packed or smaller; empty unless asked for, and where the file is gone */
} tdm_found_item;
/* What query `query` found, into item[found->k], zeroed before. On rank 0, not collective. */
TDM_CHECKED tdm_status tdm_searcher_read(const tdm_searcher *searcher, const tdm_found *found, int64_t query,
                                         bool with_thumbnails, tdm_found_item *item);
/* One item: row of the gallery of `what`. Not collective; any rank may read what lies on a disk that it sees. */
TDM_CHECKED tdm_status tdm_searcher_read_row(const tdm_searcher *searcher, tdm_modality what, int64_t row,
                                             bool with_thumbnail, tdm_found_item *item);
/* The picture of an image row (tdm_found_item.image) in full, encoded as its file is; TDM_E_DATA where there is none. */
TDM_CHECKED tdm_status tdm_searcher_read_image(const tdm_searcher *searcher, int64_t image,
                                               tdm_text *encoded);
/* Embeds picture files to search with, path[n], into feature[n][embed_dim], as those of a folder. The first that cannot
 * be read is the error, *failed its place, -1 otherwise. Not collective. */
TDM_CHECKED tdm_status tdm_search_embed_files(const tdm_inference *inference, int64_t n,
                                              const char *const *path, float *feature, int64_t *failed);
/* Frees the texts and the array. */
void tdm_found_items_free(tdm_found_item *item, int64_t count);

#endif
