/* Batches for training, decoded ahead on threads; and ordered slices for evaluation. */
#ifndef TANDEM_LOADER_H
#define TANDEM_LOADER_H

#include "tandem/image.h"
#include "tandem/shard.h"
#include "tandem/text_augment.h"
#include "tandem/tokenizer.h"
#include "tandem/views.h"

/* Packed token rows: those of sequence i are token[seq[i]] … token[seq[i+1] - 1]. */
typedef struct tdm_text_batch {
    int32_t *token; /* [seq[n]] */
    int64_t *seq;   /* [n+1] offsets */
} tdm_text_batch;

/* One view of the local batch. What its tower reads is set, the rest is NULL; without rows all is. */
typedef struct tdm_batch_view {
    int64_t n; /* rows: the samples of the batch that have this modality */
    const int64_t
        *member;    /* [n] place of each row's sample in the batch, ascending; NULL: row i is sample i */
    uint8_t *image; /* [n][height][width][3] u8 */
    tdm_text_batch text;
    int32_t *target; /* of a masked text: [seq[n]], the token to predict, -1 where there is none */
    float *feature;  /* [n][width], for towers that read features */
} tdm_batch_view;

typedef struct tdm_batch { /* this rank's piece of a global batch */
    int64_t n;             /* samples */
    int64_t epoch;
    tdm_batch_view view[TDM_VIEWS];
    int64_t *sample;      /* [n] global sample index (row of the data set): the key of randomness */
    int64_t *image_row;   /* [n] global image row */
    int64_t *identity;    /* [n] */
    int64_t class_words;  /* 64-bit words of class bits; 0: the data have no classes */
    uint64_t *class_bits; /* [n][class_words], NULL without classes */
} tdm_batch;

/* Where a run stands in its data: its next sample is number `sample` of the order of `epoch`. */
typedef struct tdm_place {
    int64_t epoch, sample;
} tdm_place;
/* ---- Few-shot ---- */
/* The keys data.share, data.share_by, data.share_seed. Before the first tdm_config_init. */
TDM_CHECKED tdm_status tdm_share_register(void);
/* From now on only the configured share of the rows is samples, and the rest is passed over; rows keep their numbers.
 * Which ones depends on the seed and on the images' names (or identities) alone. Of what is left, data.imbalance keeps
 * shares of the images and of the texts. The log says what is used. Once for a data set. */
TDM_CHECKED tdm_status tdm_dataset_take_share(tdm_dataset *dataset, const tdm_config *config);
bool tdm_dataset_is_taken(const tdm_dataset *dataset, int64_t image);

/* ---- Modality imbalance ---- */
/* The keys data.imbalance, data.image_share, data.text_share. Before the first tdm_config_init. */
TDM_CHECKED tdm_status tdm_imbalance_register(void);
/* What the batch of a step is. */
typedef struct tdm_draw {
    bool unpaired;                /* a sample is an image or a text, drawn by itself */
    int64_t samples;              /* on all ranks: train.batch, or images and texts together */
    int64_t rows[TDM_MODALITIES]; /* the most images and texts that they have */
} tdm_draw;
tdm_draw tdm_step_draw(const tdm_config *config);

/* Samples of an epoch of this kind. Where steps are unpaired: train.batch times the steps of an epoch, and what a place
 * counts is pairs of the batch, too. */
int64_t tdm_dataset_samples(const tdm_dataset *dataset, tdm_sample kind);
/* Where the batch behind `batches` more begins. An epoch ends where fewer samples are left than a batch has. */
tdm_place tdm_place_after(tdm_place from, int64_t samples, int64_t batch, int64_t batches);
/* Batches up to the end of `epochs` epochs; -1: the place is beyond it. */
int64_t tdm_place_batches(tdm_place from, int64_t samples, int64_t batch, int64_t epochs);

typedef struct tdm_loader_config {
    int64_t global_batch; /* B */
    tdm_place from;       /* batches are counted from here */
    int rank, size;       /* this rank's contiguous piece of every global batch */
    uint64_t seed;
    tdm_sample sample;
    tdm_view_set views; /* to make */
    /* Of a modality whose tower reads cached features: their width; its only view is plain. 0: it reads pixels or
     * tokens. */
    int64_t feature_width[TDM_MODALITIES];
    int64_t height, width;
    tdm_image_policy image_policy;
    int64_t context_length;
    int64_t workers, prefetch;
    /* What is done to the views: views.NAME.augment and the groups augment.NAME. Borrowed. NULL: nothing. */
    const tdm_config *config;
} tdm_loader_config;

/* Options of the group `mix`: samples into which another of the same batch is mixed. Once, before the first
 * tdm_config_init; without it nothing is mixed. */
TDM_CHECKED tdm_status tdm_loader_register(void);

/* Every list views.NAME.augment: names of known augmentations, each of a modality of the view, in an order that can
 * be, options that can be. One message that names the list. */
TDM_CHECKED tdm_status tdm_views_check(const tdm_config *config);
/* Warns where the list of one of these views is not the default one and names an operation that does nothing because
 * its p is 0. After tdm_views_check. */
TDM_CHECKED tdm_status tdm_views_warn(const tdm_config *config, tdm_view_set views);

typedef struct tdm_loader tdm_loader;
/* Borrows dataset and tokenizer; the dataset must not be used elsewhere until destroyed. step: the first
 * global batch to give, counted from config.from. Batch k from the beginning is samples [k·B, (k+1)·B) of the endless
 * list of epoch permutations, where each epoch drops its last incomplete batch. TDM_E_DATA when the split has fewer samples
 * than B. */
TDM_CHECKED tdm_status tdm_loader_create(tdm_dataset *dataset, const tdm_tokenizer *tokenizer,
                                         const tdm_loader_config *config, int64_t step, tdm_loader **loader);
void tdm_loader_destroy(tdm_loader **loader); /* stops and joins its threads */
int64_t tdm_loader_steps_per_epoch(const tdm_loader *loader);
/* What an epoch leaves out, of this data set with this kind of samples. */
typedef struct tdm_left_out {
    int64_t images;   /* without a caption (samples are captions) */
    int64_t captions; /* without an image (samples are images) */
    int64_t samples;  /* too few for one more batch, others in each epoch */
} tdm_left_out;
tdm_left_out tdm_loader_left_out(const tdm_loader *loader);
/* What it reads beside the data set: the files of augmentations. */
TDM_CHECKED tdm_status tdm_loader_reading(const tdm_loader *loader, tdm_reading *reading);
/* Batches that are decoded and wait for tdm_loader_next: at most config.prefetch, one more before the first
 * call. */
int64_t tdm_loader_ready(tdm_loader *loader);
/* Next local batch. Collective: no. Blocks until one is decoded; *wait_s is the time it blocked, 0 when one
 * was ready. batch: borrowed, valid until the next call on this loader. Errors: TDM_E_DATA names the shard
 * and the row.
 */
TDM_CHECKED tdm_status tdm_loader_next(tdm_loader *loader, const tdm_batch **batch, double *wait_s);

/* Evaluation: plain views of images [first, first+n) of those that exist (tdm_dataset_image_row), or token rows of
 * captions [first, first+n), made on `workers` threads. image[n][height][width][3] is the caller's; text is filled
 * (tdm_free both members). */
TDM_CHECKED tdm_status tdm_load_images(tdm_dataset *dataset, int64_t first, int64_t n, int64_t height,
                                       int64_t width, tdm_image_policy policy, int64_t workers,
                                       uint8_t *image);
/* The same images on threads that let others go first, while the caller computes: it leaves dataset and
 * `image` alone until tdm_images_wait, which returns what tdm_load_images would, and frees. *ahead NULL is fine there. */
typedef struct tdm_images_ahead tdm_images_ahead;
TDM_CHECKED tdm_status tdm_images_begin(tdm_dataset *dataset, int64_t first, int64_t n, int64_t height,
                                        int64_t width, tdm_image_policy policy, int64_t workers,
                                        uint8_t *image, tdm_images_ahead **ahead);
TDM_CHECKED tdm_status tdm_images_wait(tdm_images_ahead **ahead);
TDM_CHECKED tdm_status tdm_load_captions(tdm_dataset *dataset, const tdm_tokenizer *tokenizer, int64_t first,
                                         int64_t n, int64_t context_length, tdm_text_batch *text);
#endif
