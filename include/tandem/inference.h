/* A checkpoint opened to embed with: configuration, tokenizer, weights, model. */
#ifndef TANDEM_INFERENCE_H
#define TANDEM_INFERENCE_H

#include "tandem/checkpoint.h"
#include "tandem/comm.h"
#include "tandem/config.h"
#include "tandem/eval.h"
#include "tandem/model.h"
#include "tandem/ops.h"
#include "tandem/params.h"
#include "tandem/shard.h"
#include "tandem/tokenizer.h"

typedef struct tdm_inference_options {
    const char *model;     /* checkpoint, run directory (best, else latest) or model.h5 */
    const char *precision; /* "" = as in the checkpoint's configuration; "int8": see tdm_inference_prepare */
    int64_t threads;       /* per rank; 0 = tdm_default_threads */
    int64_t batch;         /* rows embedded at once per rank */
    int64_t workers;       /* threads that decode images, per rank */
    bool own_weights;      /* in.params are the caller's to change: read at once, and not mapped */
} tdm_inference_options;

/* Of a tower in int8: cosines between embeddings of some rows before and after it was rounded. */
typedef struct tdm_rounding {
    bool is_done;
    int64_t rows;
    double mean, least; /* to six places; 0 of no rows */
} tdm_rounding;

typedef struct tdm_inference { /* owned; tdm_inference_close */
    char dir[TDM_PATH_BYTES];  /* of the checkpoint */
    int64_t step;              /* of training */
    tdm_selection selection;   /* how it was chosen */
    int64_t batch, workers;    /* of the options */
    tdm_config config;
    tdm_tokenizer *tokenizer;
    tdm_ops *ops;
    tdm_weights *weights; /* NULL: with own_weights */
    tdm_params params;
    tdm_model *model;       /* each tower behind tdm_inference_need */
    bool *is_loaded;        /* [TDM_MODALITIES] */
    tdm_rounding *rounding; /* [TDM_MODALITIES]; NULL: not in int8 */
} tdm_inference;

/* Into a zeroed struct, which must not move afterwards: the model points into it. Collective: every rank opens the
 * checkpoint, which must be the same on all; all return the same status. Close it after an error, too. */
TDM_CHECKED tdm_status tdm_inference_open(tdm_comm *comm, const tdm_inference_options *options,
                                          tdm_inference *inference);
void tdm_inference_close(tdm_inference *inference); /* a zeroed one is fine */
/* Reads and packs a tower's weights, the first time. The functions below do it themselves: a text in a known gallery
 * needs one tower only, and what is wrong with the data is said before. Not collective. */
TDM_CHECKED tdm_status tdm_inference_need(const tdm_inference *inference, tdm_modality modality);
/* SHA-256 of its model.h5: reads it all. Not collective. */
TDM_CHECKED tdm_status tdm_inference_digest(const tdm_inference *inference, char digest[65]);
/* tdm_h5_digest of its model.h5. Not collective. */
TDM_CHECKED tdm_status tdm_inference_seal(const tdm_inference *inference, char seal[65]);

/* Opens a split and checks that it was not packed with another tokenizer. Collective, as above. */
TDM_CHECKED tdm_status tdm_inference_open_data(tdm_comm *comm, const tdm_inference *inference,
                                               const char *dir, const char *split, tdm_dataset **dataset);
/* "bf16", "int8": what the model computes in. */
const char *tdm_inference_precision(const tdm_inference *inference);
/* Before a split is embedded: reads the towers that it needs, with captions the text tower too. In int8 it rounds the
 * linear layers of both towers' blocks and patches, and says in the log what that does to the split's first images and
 * captions (TDM_ROUNDING_ROWS at most): tdm_inference_embed_data takes towers as they are. The functions of texts and
 * pixels round a tower that is not yet with the first rows that it gets, and measure with these. Collective. */
#define TDM_ROUNDING_ROWS 64
TDM_CHECKED tdm_status tdm_inference_prepare(tdm_comm *comm, const tdm_inference *inference,
                                             tdm_dataset *dataset, bool with_captions);
/* tdm_embed_dataset with this model. */
TDM_CHECKED tdm_status tdm_inference_embed_data(tdm_comm *comm, const tdm_inference *inference,
                                                tdm_dataset *dataset, bool with_captions,
                                                tdm_embeddings *embeddings);

/* Texts text[n], or images, into feature[n][embed_dim], unit norm, a batch at a time: the same bits as embedded one by
 * one or among others. Not collective; one thread at a time.
 * cut[n], unless NULL: the text was longer than the context and lost its end. TDM_E_DATA: one is blank. */
TDM_CHECKED tdm_status tdm_inference_embed_texts(const tdm_inference *inference, int64_t n,
                                                 const char *const *text, float *feature, bool *cut);
/* An image is first decoded into pixel[tdm_inference_pixel_bytes], by any number of threads at a time; `name` stands in
 * messages. */
int64_t tdm_inference_pixel_bytes(const tdm_inference *inference);
TDM_CHECKED tdm_status tdm_inference_decode(const tdm_inference *inference, const char *name,
                                            const void *data, size_t bytes, uint8_t *pixel);
/* pixel: of n images, one behind the other */
TDM_CHECKED tdm_status tdm_inference_embed_pixels(const tdm_inference *inference, int64_t n,
                                                  const uint8_t *pixel, float *feature);
/* The same of one. */
TDM_CHECKED tdm_status tdm_inference_embed_text(const tdm_inference *inference, const char *text,
                                                float *feature, bool *cut);
TDM_CHECKED tdm_status tdm_inference_embed_image(const tdm_inference *inference, const char *name,
                                                 const void *data, size_t bytes, float *feature);
/* A query of two, such as an image and what shall be different: ((1 - weight) a + weight b) / |…|. out may be a or b. */
TDM_CHECKED tdm_status tdm_inference_combine(const tdm_inference *inference, const float *a, const float *b,
                                             double weight, float *out);

#endif
