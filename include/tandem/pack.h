/* Packing raw data sets into shards. One reader per format: a file and a row of data_prep/format_table.h. */
#ifndef TANDEM_PACK_H
#define TANDEM_PACK_H

#include "tandem/comm.h"
#include "tandem/option.h"
#include "tandem/shard.h"

/* Rows of features that were computed elsewhere; a reader's own struct begins with this one. They are read
 * while packing, by any rank, in any order. */
typedef struct tdm_pack_features {
    int64_t rows, width;
    tdm_status (*read)(struct tdm_pack_features *features, int64_t row, float *out); /* [width] */
    void (*destroy)(struct tdm_pack_features *features);
} tdm_pack_features;

/* One sample: an image with captions, an image alone, or captions alone. Features may take the place of the
 * image, and of each caption's text, which is then empty. */
typedef struct tdm_pack_item {
    char *name;            /* of the image; of captions without one where they stand: "pairs.csv:17" */
    char *path;            /* file that holds the image; NULL: there is none */
    int64_t offset, bytes; /* piece of `path`; bytes = -1: the whole file */
    char *split;           /* "" = the split that the command line asks for */
    char **caption;
    int64_t caption_n;
    char **alternative;      /* [alternative_n] further wordings of captions, in the captions' order */
    int64_t *alternative_of; /* [alternative_n] index of its caption */
    int64_t alternative_n;
    tdm_pack_features *image_feature, *text_feature; /* owned by the list; NULL: none */
    int64_t image_feature_row;
    int64_t *text_feature_row; /* [caption_n] */
    int64_t identity;          /* -1 = none */
    int64_t *class_index;
    int64_t class_n;
    char *fault; /* why the sample cannot be used, where that was found while listing; else NULL */
} tdm_pack_item;

typedef struct tdm_pack_list { /* owned; tdm_pack_list_free */
    tdm_pack_item *item;
    int64_t count, capacity;
    char **class_name;
    int64_t class_count;
    tdm_pack_features **features; /* [features_n] that items point to */
    int64_t features_n;
} tdm_pack_list;
void tdm_pack_list_free(tdm_pack_list *list);

typedef struct tdm_pack_format {
    const char *name; /* --format NAME */
    const char *help; /* one line: what SOURCE is */
    const char
        *split; /* what --split is when it is not given, or NULL: the items' own splits, else "train" */
    /* The format's own options, none of four or three numbers, with keys like "image_column", which is
     * --image-column on the command line; stored in a struct of option_bytes. */
    const tdm_option *options;
    size_t option_count, option_bytes;
    /* Appends every sample of `source` in a fixed order; reads metadata and captions, no image bytes. Runs on
     * every rank alike. Errors name file and line or key. What is wrong with one sample alone is its `fault`.
     * Images without captions and captions without an image are listed all the same: the packer decides. */
    tdm_status (*list)(const char *source, const void *options, tdm_pack_list *list);
} tdm_pack_format;
const tdm_pack_format *const *tdm_pack_formats(size_t *count);
/* Fills values[option_bytes] with the defaults of the format's rows. */
void tdm_pack_format_defaults(const tdm_pack_format *format, void *values);
/* Appends the samples of one source. options: the format's struct, or NULL for the defaults. */
TDM_CHECKED tdm_status tdm_pack_list_source(const tdm_pack_format *format, const void *options,
                                            const char *source, tdm_pack_list *list);

typedef struct tdm_pack_options {
    const char *format, *out_dir, *dataset_name;
    const tdm_pack_format *reader; /* in place of the name: a format that is not in the table; else NULL */
    const void *format_options;    /* the format's struct of options, or NULL for its defaults */
    const char *split;      /* "train", or "train=0.9,val=0.1" fractions, or names of the format's own splits
                               "train=train+restval" */
    const char *tokenizer;  /* NULL, or a tokenizer (tdm_tokenizer_open) whose digest the shards record and
                               that checks the captions */
    bool tokenizer_mask;    /* the variant with <|mask|> */
    int64_t context_length; /* with tokenizer: how many captions would be cut is reported */
    int64_t image_px;   /* 0 = original bytes; else shorter side resized to this (never enlarged), JPEG 95 or
                           PNG as the source, whose transparency stays */
    int64_t shard_size; /* images per shard */
    bool skip_bad;
    bool keep_unpaired; /* pack images without captions and captions without images; else they are bad */
    uint64_t seed;      /* of fractional splits */
    const char *const *source;
    int64_t source_count;
} tdm_pack_options;
typedef struct tdm_pack_result {
    int64_t images, captions, bad, shards, truncated_captions;
    int64_t images_only, texts_only; /* samples without a caption, without an image */
    int64_t alternatives;            /* further wordings of captions */
} tdm_pack_result;
/* Collective. Shards and report do not depend on the number of ranks: images are cut into shards before they
 * are read (so that a shard with bad images is smaller), shard s of the list is written by rank s mod size.
 * Writes out_dir/pack-report.json (bad images with their errors). Without skip_bad the first bad image of the
 * list is the error, and neither index nor report is written. */
TDM_CHECKED tdm_status tdm_pack(tdm_comm *comm, const tdm_pack_options *options, tdm_pack_result *result);

#endif
