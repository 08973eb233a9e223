/* What the files of the loader share.
 *
 *   loader.c         slots, threads, life
 *   loader_sample.c  which samples an epoch has; one sample: read, made, packed
 *   loader_mix.c     samples into which another is mixed
 *   view_lists.c     the lists of augmentations, compiled */
#ifndef TANDEM_LOADER_IMPL_H
#define TANDEM_LOADER_IMPL_H

#include "tandem/loader.h"

typedef struct view_pipelines { /* of each view that is asked for, by its modality */
    tdm_image_pipeline *image[TDM_VIEWS];
    tdm_text_pipeline *text[TDM_VIEWS];
} view_pipelines;
/* config NULL: nothing is augmented. Half made on an error, to be freed all the same. */
TDM_CHECKED tdm_status view_pipelines_create(const tdm_config *config, tdm_view_set views,
                                             const tdm_tokenizer *tokenizer, view_pipelines *made);
void view_pipelines_free(view_pipelines *pipelines);

/* The samples of an epoch. */
typedef struct sample_list {
    const tdm_dataset *dataset;
    tdm_sample kind;
    int64_t samples;
    int64_t *captionless;         /* rows, when all are samples */
    int64_t *taken;               /* [samples] of data.share: which of all; NULL: there is no share */
    int64_t *row[TDM_MODALITIES]; /* [rows] of an unpaired draw: image rows, captions */
    int64_t rows[TDM_MODALITIES];
    int64_t images_left_out, captions_left_out;
} sample_list;
/* draw: of a step with so many pairs. */
TDM_CHECKED tdm_status sample_list_create(const tdm_dataset *dataset, tdm_sample kind, const tdm_draw *draw,
                                          int64_t batch, sample_list *list);
void sample_list_free(sample_list *list);

/* Samples into which another of the batch is mixed, and in which views. */
typedef struct mix_options {
    double p, share;
    int kind; /* tdm_image_mix_kind */
    tdm_strings views;
} mix_options;
typedef struct loader_mix {
    const mix_options *options; /* NULL: nothing is mixed */
    bool view[TDM_VIEWS];
} loader_mix;
TDM_CHECKED tdm_status loader_mix_create(const tdm_config *config, loader_mix *mix);
/* Place in the global batch of the sample that is mixed into the one at place `at`; -1: none. The batch begins at
 * sample `first` of the epoch's order. */
int64_t loader_mix_partner(const loader_mix *mix, uint64_t seed, int64_t epoch, int64_t first, int64_t batch,
                           int64_t at);

/* What the reader leaves for a worker. */
typedef struct sample_input {
    int64_t caption_row;         /* -1: none */
    int64_t row[TDM_MODALITIES]; /* among the batch's rows of the modality; -1: the sample has none */
    tdm_text image, caption;
    tdm_text *wording; /* [wordings] room for other wordings, of which `alternatives` are filled */
    const char **alternative;
    int64_t wordings, alternatives;
    struct mix_partner { /* mixed into the sample */
        bool is_there;
        int64_t sample, image_row, caption_row; /* -1: it has no such part */
        tdm_text image, caption;
    } partner;
    tdm_error error; /* of the reader: nothing to decode */
} sample_input;

/* Memory of one view; the batch shows what is filled of it. */
typedef struct view_room {
    uint8_t *image;          /* [n][height][width][3] */
    float *feature;          /* [n][width] */
    int32_t *token, *target; /* [n][context_length], before packing; views of the plain caption share one */
    int64_t *count;          /* [n] tokens */
    int32_t *packed, *packed_target;
    int64_t *seq; /* [n+1] */
} view_room;

typedef struct slot {
    tdm_batch batch;
    sample_input *input;             /* [n] */
    int64_t *member[TDM_MODALITIES]; /* [n] */
    view_room room[TDM_VIEWS];
    int64_t left;          /* samples that are not done */
    int64_t ready_batch;   /* the batch whose samples are all done, counted from the loader's first, from 1 */
    int64_t failed_sample; /* lowest local sample that failed, n when none */
    tdm_error error;       /* of that sample */
} slot;

/* What does not change while a loader lives. */
typedef struct loader_plan {
    tdm_dataset *dataset;
    const tdm_tokenizer *tokenizer;
    tdm_loader_config config;
    view_pipelines pipelines;
    loader_mix mix;
    int first_plain; /* the first text view that is the caption as it is, -1: none */
    tdm_draw draw;
    sample_list list;
    int64_t steps_per_epoch; /* floor(samples / B) */
    int64_t begin, n;        /* this rank's piece of a global batch */
} loader_plan;

/* Working memory of a worker. Zero-initialise. */
typedef struct sample_work {
    tdm_image_work *image;
    tdm_text_work text;
    tdm_text joined; /* captions of a sample and its partner */
    uint8_t *other;  /* [height][width][3] a view of the partner */
} sample_work;
void sample_work_free(sample_work *work);

/* Is this view asked for, and of the modality? */
bool loader_wants_view(const tdm_loader_config *config, int view, tdm_modality modality);
/* Is any view of the modality asked for? */
bool loader_wants(const tdm_loader_config *config, tdm_modality modality);
/* And are they made of images or captions, not of cached features? */
bool loader_makes(const tdm_loader_config *config, tdm_modality modality);

TDM_CHECKED tdm_status loader_make_slot(const loader_plan *plan, slot *made);
void loader_free_slot(slot *dying, int64_t n);

/* Reader: which samples batch `number` of the run holds, and which rows its views have. */
void loader_name_samples(const loader_plan *plan, slot *to, int64_t number);
/* Reader: what the files hold of sample `i`. */
TDM_CHECKED tdm_status loader_read_sample(const loader_plan *plan, slot *to, int64_t i);
/* Worker: decodes, augments and tokenises what the reader left. */
TDM_CHECKED tdm_status loader_make_sample(const loader_plan *plan, sample_work *work, slot *to, int64_t i);
/* The last worker of a batch: captions end to end. */
void loader_pack(const loader_plan *plan, slot *to);

#endif
