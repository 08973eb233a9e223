/* A split in memory: what src/data/dataset_open.c fills and dataset.c answers from. */
#ifndef TANDEM_DATASET_IMPL_H
#define TANDEM_DATASET_IMPL_H

#include "shard_impl.h"
#include "tandem/config.h"
#include "tandem/loader.h"

typedef struct shard {
    char *path;
    int64_t first_image, first_caption, first_alternative; /* global rows */
    int64_t images, captions, alternatives, file_bytes;
    int64_t *image_offset, *caption_offset, *alternative_offset; /* [images+1] … */
    int64_t *identity;                                           /* [images], -1 = none */
    int64_t *caption_image;                                      /* [captions] local rows, not decreasing */
    int64_t *alternative_caption;          /* [alternatives] local captions, not decreasing */
    int64_t feature_width[TDM_MODALITIES]; /* 0: no features */
    uint8_t *has_feature;                  /* [images]; NULL: every row has its image feature */
    float *held[TDM_MODALITIES]; /* [rows][feature_width], checked; NULL: rows are read from the file */
    bool hold_tried[TDM_MODALITIES];
    uint64_t *class_bits; /* [images][class_words], from the first use on */
    char digest[65];
    tdm_h5 *file; /* NULL when closed, as are its arrays */
    tdm_h5_array *image_bytes, *caption_bytes, *alternative_bytes, *feature[TDM_MODALITIES];
    uint64_t last_use;
} shard;

struct tdm_dataset {
    char dir[TDM_PATH_BYTES], split[32];
    shard *shard;
    int64_t shard_count, images, captions, alternatives, class_count;
    int64_t imageless, captionless; /* rows without */
    int64_t *image_row;             /* [images - imageless]; NULL when every row has an image */
    tdm_text class_bytes;           /* names, each with its NUL */
    int64_t *class_at;              /* [class_count] in class_bytes */
    char tokenizer_digest[65];
    bool has_identity;
    bool is_chosen; /* tdm_dataset_take_share has been */
    uint8_t *taken; /* [images] of data.share and data.imbalance; NULL: all are */
    int64_t taken_rows, taken_samples[TDM_SAMPLE_ALL + 1];
    uint8_t *kept[TDM_MODALITIES]; /* [images], [captions] of data.imbalance; NULL: all are */
    int64_t open_count;
    uint64_t clock;
    unsigned char *scratch; /* for one image, name or caption */
    int64_t scratch_bytes;
    int64_t hold_bytes; /* what dataset_hold_features has left */
};

/* Makes sure that the shard's file is open; at most OPEN_SHARDS are at a time, the least recently used is
 * closed for the next. */
TDM_CHECKED tdm_status dataset_use_shard(tdm_dataset *dataset, shard *it);
void dataset_close_shard(tdm_dataset *dataset, shard *it);
/* From now on the features of a shard are read at once, with its first row, and held until the data set is closed: those
 * of as many shards as fit `bytes`. Rows of the others are read one by one. */
void dataset_hold_features(tdm_dataset *dataset, int64_t bytes);
/* Row of the shard: an encoded image, or an image feature. */
bool dataset_row_has_image(const shard *it, int64_t row);
/* share.c: the samples of this kind that the share leaves, by their numbers without it. sample NULL: counted only. */
int64_t dataset_taken_samples(const tdm_dataset *dataset, tdm_sample kind, int64_t *sample);
/* Fills taken_rows and taken_samples. */
void dataset_count_taken(tdm_dataset *dataset);
/* data.share_seed, or the run's. */
int64_t dataset_share_seed(const tdm_config *config);
/* The beginning of SHA-256("WHAT SEED NAME"): what a choice goes by. */
TDM_CHECKED tdm_status dataset_order_key(const char *what, int64_t seed, const char *name, int64_t length,
                                         uint64_t *key);
/* The names of a shard's rows; to be freed on an error, too. */
TDM_CHECKED tdm_status dataset_shard_names(tdm_dataset *dataset, shard *it, tdm_h5_strings *names);

/* imbalance.c: the shares of images and texts, of the rows that data.share leaves. */
TDM_CHECKED tdm_status dataset_take_imbalance(tdm_dataset *dataset, const tdm_config *config);
/* Image row, or caption. */
static inline bool dataset_is_kept(const tdm_dataset *dataset, tdm_modality modality, int64_t index)
{
    return !dataset->kept[modality] || dataset->kept[modality][index];
}
/* What a step of so many pairs draws; config may be NULL. */
tdm_draw imbalance_draw(const tdm_config *config, int64_t batch);
/* Samples of an epoch whose images and texts are drawn by themselves, counted as pairs of the batch: kept[] rows of each
 * are enough for samples / batch steps. */
int64_t imbalance_samples(const int64_t kept[TDM_MODALITIES], const tdm_draw *draw, int64_t batch);
/* Image rows or captions that are left: row[…] NULL: counted only. */
int64_t imbalance_rows(const tdm_dataset *dataset, tdm_modality modality, int64_t *row);

#endif
