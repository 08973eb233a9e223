/* HDF5 shards: encoded images, captions and labels. One thread per process at a time. Not collective unless
 * said.
 *
 * A shard holds rows. A row is a sample: an image, any number of captions, an identity and classes. It may have
 * no image (text only) or no caption (image only), but not neither.
 *
 * A file `SPLIT-00042.h5`, root attributes: format "tandem.shard", version 1, dataset, split, tool_version,
 * image_policy ("original" or "resized to N px"), source_digest, images (rows), captions, tokenizer_digest ("" if
 * unchecked). Data sets, chunked with Fletcher-32; piece i of a `bytes` is [offset[i], offset[i+1]):
 *   /image/bytes u8[…]       /image/offset i64[images+1]       encoded images; an empty piece: no image
 *   /image/identity i64[images]                                -1 everywhere: each row its own
 *   /image/name_bytes u8[…]  /image/name_offset i64[images+1]  the file that each row came from
 *   /image/class u8[images][classes]                           multi-hot; absent without classes, as are
 *   /class/name_bytes u8[…]  /class/name_offset i64[classes+1]
 *   /caption/bytes u8[…]     /caption/offset i64[captions+1]   UTF-8
 *   /caption/image i64[captions]                               its row, not decreasing
 * Further wordings of captions, such as back-translations; absent without any:
 *   /caption/alternative_bytes u8[…]  /caption/alternative_offset i64[alternatives+1]
 *   /caption/alternative_caption i64[alternatives]             its caption, not decreasing
 * Features that were computed before (tower = "features"), instead of or beside images and texts; absent without:
 *   /image/feature f32[images][width]    zeros in a row without an image
 *   /image/has_feature u8[images]        0: the row has no image; absent: every row has its feature
 *   /caption/feature f32[captions][width]
 * A row has an image when it has an encoded one or a feature. In a shard with caption features a text may be empty.
 * Captions are stored in the order of their rows. Equal input gives equal files, byte for byte.
 */
#ifndef TANDEM_SHARD_H
#define TANDEM_SHARD_H

#include "tandem/reading.h"
#include "tandem/views.h"

/* ---- Writing ---- */
typedef struct tdm_shard_writer tdm_shard_writer;
typedef struct tdm_shard_info { /* root attributes; strings borrowed while creating */
    const char *dataset, *split, *image_policy, *source_digest, *tokenizer_digest;
    int64_t class_count;
    const char *const *class_name;         /* [class_count] */
    int64_t feature_width[TDM_MODALITIES]; /* of the shard's features, 0: none */
} tdm_shard_info;
typedef struct tdm_shard_strings { /* borrowed, UTF-8, NUL-terminated */
    const char *const *string;
    int64_t n;
} tdm_shard_strings;
typedef struct tdm_shard_sample { /* one row; everything borrowed during the call */
    const void *image;            /* encoded bytes */
    int64_t image_bytes;          /* 0: the row has no encoded image */
    const char *name;             /* source file, for messages and contact sheets */
    int64_t identity;             /* < 0: the row is its own identity (pair); must then be -1 for all */
    const int64_t *class_index;   /* [class_n], may be NULL */
    int64_t class_n;
    const char *const *caption; /* [caption_n] UTF-8, NUL-terminated; empty only beside caption features */
    int64_t caption_n;
    const tdm_shard_strings
        *alternative; /* [caption_n] further wordings of each caption; lists may be empty; NULL: none */
    const float
        *image_feature; /* [feature_width]; NULL: none, then the row may have no encoded image either */
    const float
        *caption_feature; /* [caption_n][feature_width]; every caption has one, or the shard has none */
} tdm_shard_sample;
/* Writes to path.tmp; finish renames. A writer that is destroyed unfinished removes its file. */
TDM_CHECKED tdm_status tdm_shard_writer_create(const char *path, const tdm_shard_info *info,
                                               tdm_shard_writer **writer);
TDM_CHECKED tdm_status tdm_shard_writer_add(tdm_shard_writer *writer, const tdm_shard_sample *sample);
TDM_CHECKED tdm_status tdm_shard_writer_finish(tdm_shard_writer **writer, int64_t *images, int64_t *captions,
                                               char digest[65]);
void tdm_shard_writer_destroy(tdm_shard_writer **writer);

/* The index of a data directory, `dataset.h5` (format "tandem.dataset"): one row per shard. */
typedef struct tdm_index_row {
    char file[64], split[32], digest[65]; /* digest: SHA-256 of the shard file */
    int64_t images, captions;
} tdm_index_row;
/* Replaces the rows of the splits that occur in `row` and keeps other splits' rows. Atomic. */
TDM_CHECKED tdm_status tdm_index_write(const char *dir, const char *dataset, const tdm_index_row *row,
                                       int64_t count);
TDM_CHECKED tdm_status tdm_index_read(const char *dir, tdm_index_row **row,
                                      int64_t *count); /* *row: tdm_free */

/* ---- Reading ---- a split of a data directory as one list of images and one list of captions ---- */
typedef struct tdm_dataset tdm_dataset;
/* Opens the index and every shard of the split; checks presence, format, version, counts and sizes against
 * the index. Errors name the shard (and what is missing, truncated or different). An unknown split lists the
 * known ones. */
TDM_CHECKED tdm_status tdm_dataset_open(const char *dir, const char *split, tdm_dataset **dataset);
void tdm_dataset_close(tdm_dataset **dataset);
int64_t tdm_dataset_images(const tdm_dataset *dataset);
int64_t tdm_dataset_captions(const tdm_dataset *dataset);
int64_t tdm_dataset_class_count(const tdm_dataset *dataset);
const char *tdm_dataset_class_name(const tdm_dataset *dataset, int64_t index);
/* SHA-256 over the digests of the split's shards: equal where its samples and their order are. */
TDM_CHECKED tdm_status tdm_dataset_digest(const tdm_dataset *dataset, char digest[65]);
/* The split and each of its shards, by what the index and the shards' seals say. what: "data set". */
TDM_CHECKED tdm_status tdm_dataset_reading(const tdm_dataset *dataset, const char *what,
                                           tdm_reading *reading);
const char *tdm_dataset_tokenizer_digest(
    const tdm_dataset *dataset); /* "" when the shards were not checked */
/* In memory after open, global image rows 0 … images-1: */
int64_t tdm_dataset_identity(const tdm_dataset *dataset,
                             int64_t image); /* its own row where the data has none */
bool tdm_dataset_has_identity(const tdm_dataset *dataset);
int64_t tdm_dataset_caption_image(const tdm_dataset *dataset, int64_t caption); /* global image row */
/* Captions [first, first + n) belong to this row; n may be 0. */
void tdm_dataset_image_captions(const tdm_dataset *dataset, int64_t image, int64_t *first, int64_t *n);
/* Alternatives [first, first + n) are further wordings of this caption; n may be 0. */
int64_t tdm_dataset_alternatives(const tdm_dataset *dataset);
void tdm_dataset_caption_alternatives(const tdm_dataset *dataset, int64_t caption, int64_t *first,
                                      int64_t *n);
/* Rows that lack an image, or captions. */
bool tdm_dataset_has_image(const tdm_dataset *dataset, int64_t image);
int64_t tdm_dataset_imageless(const tdm_dataset *dataset);
int64_t tdm_dataset_captionless(const tdm_dataset *dataset);
/* The images that exist, numbered from 0 to images - imageless - 1: the row of one, and back (-1: the row has
 * none). A gallery holds these. */
int64_t tdm_dataset_image_row(const tdm_dataset *dataset, int64_t number);
int64_t tdm_dataset_image_number(const tdm_dataset *dataset, int64_t image);
/* Width of the stored features of a modality, 0: none. */
int64_t tdm_dataset_feature_width(const tdm_dataset *dataset, tdm_modality modality);
/* Class bits of a row: words[class_words], bit c % 64 of word c / 64; NULL without classes. A shard's bits are read
 * on the first use and stay in memory; valid until the data set is closed. */
int64_t tdm_dataset_class_words(const tdm_dataset *dataset);
TDM_CHECKED tdm_status tdm_dataset_class_bits(tdm_dataset *dataset, int64_t image, const uint64_t **words);
/* The same into bit[class_count] (0/1). */
TDM_CHECKED tdm_status tdm_dataset_classes(tdm_dataset *dataset, int64_t image, uint8_t *bit);
/* Reads into `out` (cleared first). Errors (TDM_E_FORMAT for a checksum, TDM_E_DATA where a row has no image) name
 * the shard and the row. */
TDM_CHECKED tdm_status tdm_dataset_read_image(tdm_dataset *dataset, int64_t image, tdm_text *out);
TDM_CHECKED tdm_status tdm_dataset_read_caption(tdm_dataset *dataset, int64_t caption, tdm_text *out);
TDM_CHECKED tdm_status tdm_dataset_read_alternative(tdm_dataset *dataset, int64_t index, tdm_text *out);
TDM_CHECKED tdm_status tdm_dataset_read_name(tdm_dataset *dataset, int64_t image, tdm_text *out);
/* Feature of an image row or of a caption into out[feature_width]. */
TDM_CHECKED tdm_status tdm_dataset_read_feature(tdm_dataset *dataset, tdm_modality modality, int64_t row,
                                                float *out);
/* "DIR/train-00001.h5 row 17", for messages; static per thread. */
const char *tdm_dataset_where(const tdm_dataset *dataset, int64_t image);
/* Reads every data set of every shard (checksums) and compares the file digests with the index. */
TDM_CHECKED tdm_status tdm_dataset_verify(tdm_dataset *dataset);

#endif
