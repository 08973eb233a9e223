/* Packing raw data sets into shards. One reader per format: a file and a row of data_prep/format_table.h. */
#ifndef TANDEM_PACK_H
#define TANDEM_PACK_H

#include "tandem/comm.h"
#include "tandem/shard.h"

/* Where an item's image bytes are: a whole file, or a piece of an archive. */
typedef struct tdm_pack_item {
    char *name;            /* of the image, for messages */
    char *path;            /* file to read */
    int64_t offset, bytes; /* piece of `path`; bytes = -1: the whole file */
    char *split;           /* "" = the split that the command line asks for */
    char **caption;
    int64_t caption_n;
    int64_t identity; /* -1 = none */
    int64_t *class_index;
    int64_t class_n;
} tdm_pack_item;

typedef struct tdm_pack_list { /* owned; tdm_pack_list_free */
    tdm_pack_item *item;
    int64_t count, capacity;
    char **class_name;
    int64_t class_count;
} tdm_pack_list;
void tdm_pack_list_free(tdm_pack_list *list);

typedef struct tdm_pack_format {
    const char *name; /* --format NAME */
    const char *help; /* one line: what SOURCE is */
    const char
        *split; /* what --split is when it is not given, or NULL: the items' own splits, else "train" */
    /* Appends every sample of `source` in a fixed order; reads metadata and captions, no image bytes. Runs on
     * every rank alike. Errors name file and line or key. An image without captions is listed all the same:
     * the packer reports it as bad. */
    tdm_status (*list)(const char *source, tdm_pack_list *list);
} tdm_pack_format;
const tdm_pack_format *const *tdm_pack_formats(size_t *count);

typedef struct tdm_pack_options {
    const char *format, *out_dir, *dataset_name;
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
    uint64_t seed; /* of fractional splits */
    const char *const *source;
    int64_t source_count;
} tdm_pack_options;
typedef struct tdm_pack_result {
    int64_t images, captions, bad, shards, truncated_captions;
} tdm_pack_result;
/* Collective. Shards and report do not depend on the number of ranks: images are cut into shards before they
 * are read (so that a shard with bad images is smaller), shard s of the list is written by rank s mod size.
 * Writes out_dir/pack-report.json (bad images with their errors). Without skip_bad the first bad image of the
 * list is the error, and neither index nor report is written. */
TDM_CHECKED tdm_status tdm_pack(tdm_comm *comm, const tdm_pack_options *options, tdm_pack_result *result);

#endif
