/* Finding: a model, a gallery, and the best of it for a text or an image. */
#ifndef TANDEM_SEARCHER_H
#define TANDEM_SEARCHER_H

#include "tandem/inference.h"

typedef struct tdm_searcher {
    tdm_comm *comm;                         /* borrowed */
    const tdm_inference *inference;         /* borrowed */
    tdm_embeddings embeddings;              /* this rank's piece of the gallery */
    tdm_dataset *dataset;                   /* leads to captions, names and pictures; NULL when it is gone */
    char source[TDM_PATH_BYTES], split[64]; /* of the data set */
    bool is_view;                           /* embeddings and dataset are borrowed */
} tdm_searcher;

/* dir: embeddings of tandem embed, made by this model (inference opened with its digest), or a packed data
 * directory, which is embedded. split: "" when there is only one. Captions, names and pictures of embeddings are
 * those of their source; where that is gone, rows and scores are all there is. Collective. */
TDM_CHECKED tdm_status tdm_searcher_open(tdm_comm *comm, const tdm_inference *inference, const char *dir,
                                         const char *split, tdm_searcher *searcher);
/* Over what the caller has embedded already, and keeps. */
tdm_searcher tdm_searcher_over(tdm_comm *comm, const tdm_inference *inference, tdm_dataset *dataset,
                               const tdm_embeddings *embeddings);
void tdm_searcher_close(tdm_searcher *searcher);

typedef struct tdm_found { /* owned; tdm_found_free */
    tdm_modality what;     /* images or captions */
    int64_t gallery;       /* rows that were searched */
    int64_t queries, k;    /* on rank 0 the queries of all ranks, in the order of the ranks; elsewhere 0 */
    int64_t *row;          /* [queries][k] best first */
    float *score;          /* [queries][k] cosine */
} tdm_found;
/* The k best (fewer when the gallery is smaller) for query[n][d], unit norm, of this rank; n may be 0. The same for
 * any number of ranks; ties: the lower row first. Collective. */
TDM_CHECKED tdm_status tdm_searcher_find(const tdm_searcher *searcher, tdm_modality what, int64_t n,
                                         const float *query, int64_t k, tdm_found *found);
void tdm_found_free(tdm_found *found);

typedef struct tdm_found_item { /* owned; tdm_found_items_free */
    int64_t image;              /* global row of the image, or of the caption's image */
    int64_t caption;            /* global row of the caption; -1 when images were searched */
    double score;
    bool is_positive; /* for the caller */
    tdm_text text;    /* the caption, or the image's captions; without a source empty, as are the next two */
    tdm_text name;    /* of the image's file */
    tdm_text thumbnail; /* encoded, as packed or smaller; empty unless asked for */
} tdm_found_item;
/* What query `query` found, into item[found->k], zeroed before. On rank 0, not collective. */
TDM_CHECKED tdm_status tdm_searcher_read(const tdm_searcher *searcher, const tdm_found *found, int64_t query,
                                         bool with_thumbnails, tdm_found_item *item);
/* Frees the texts and the array. */
void tdm_found_items_free(tdm_found_item *item, int64_t count);

#endif
