/* Pictures of an embedding: its points, or a sample of them, placed in the plane. */
#ifndef TANDEM_PROJECTION_H
#define TANDEM_PROJECTION_H

#include "tandem/eval.h"

/* Rows of an embedding, of all ranks: the images first, each modality in its own order. */
typedef struct tdm_embedding_sample { /* owned; tdm_embedding_sample_free */
    int64_t n, images;                /* the first `images` of the n are images, the others captions */
    int64_t total;                    /* images and captions that there are */
    int64_t d;
    int64_t *
        place; /* [n] place in the gallery of images, or number of the caption in the split; ascending in both */
    float *feature; /* [n][d] */
} tdm_embedding_sample;
/* All rows, or a random choice of `most` where there are more. It depends on the seed and on how many images and
 * captions there are, not on the ranks. Filled on rank 0; elsewhere n = 0. Collective. */
TDM_CHECKED tdm_status tdm_embedding_sample_take(tdm_comm *comm, const tdm_embeddings *embeddings,
                                                 int64_t most, uint64_t seed, tdm_embedding_sample *sample);
void tdm_embedding_sample_free(tdm_embedding_sample *sample);

typedef struct tdm_projection_options {
    double perplexity; /* of t-SNE: about how many neighbours count */
} tdm_projection_options;

/* A way into the plane. One file and one row of src/eval/projection_table.h each. */
typedef struct tdm_projection {
    const char *name;  /* value of tandem eval --projection */
    const char *title; /* on pages */
    const char *help;
    /* place[n][2]. Appends to `note` a sentence for people about the result. The same bits for any number of threads.
     * Not collective. */
    tdm_status (*project)(int64_t n, int64_t d, const float *feature, const tdm_projection_options *options,
                          double *place, tdm_text *note);
} tdm_projection;
const tdm_projection *const *tdm_projection_table(size_t *count);

#endif
