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

/* Different names, numbered in the order of their first appearance; found by a hash. */
typedef struct tdm_pack_names {
    char **name; /* [count] owned */
    int64_t count, capacity;
    int64_t *slot; /* [slots] index + 1, open addressing */
    int64_t slots;
} tdm_pack_names;

/* A caption that cannot be packed. */
typedef struct tdm_pack_caption_fault {
    int64_t number; /* among the captions that the sample was given, from 1 */
    bool empty;     /* nothing is wrong with it but that it says nothing */
    char *why;      /* the whole message: file, place, caption, reason */
} tdm_pack_caption_fault;

/* What the source holds, is no sample, and does not come into the shards: of one kind and extension. */
typedef struct tdm_pack_left_out {
    char *kind;         /* plural, as it follows a count: "files that are neither an image nor captions" */
    char extension[16]; /* lower case, with the dot; "": none */
    int64_t count;
    char **where, **why; /* [listed] the first ones; why is NULL where the kind says all */
    int64_t listed;
} tdm_pack_left_out;

/* One sample: an image with captions, an image alone, or captions alone. Features may take the place of the
 * image, and of each caption's text, which is then empty. */
typedef struct tdm_pack_item {
    char *name;            /* of the image; of captions without one where they stand: "pairs.csv:17" */
    char *path;            /* file that holds the image; NULL: there is none */
    int64_t offset, bytes; /* piece of `path`; bytes = -1: the whole file */
    char *split;           /* "" = the split that the command line asks for */
    char **caption;        /* [caption_n] those that can be packed: UTF-8 that says something */
    int64_t caption_n;
    tdm_pack_caption_fault *caption_fault; /* [caption_fault_n] and those that cannot */
    int64_t caption_fault_n;
    int64_t caption_given;   /* good and bad ones together */
    bool caption_is_bad;     /* the last one */
    char **alternative;      /* [alternative_n] further wordings of captions, in the captions' order */
    int64_t *alternative_of; /* [alternative_n] index of its caption */
    int64_t alternative_n;
    tdm_pack_features *image_feature, *text_feature; /* owned by the list; NULL: none */
    int64_t image_feature_row;
    int64_t *text_feature_row; /* [caption_n] */
    int64_t
        identity; /* -1: none; a number of the format's own, or an index of the list's identities where those are
                         named */
    int64_t *class_index;
    int64_t class_n;
    char *fault; /* why the sample cannot be used, where that was found while listing; else NULL */
} tdm_pack_item;

typedef struct tdm_pack_list { /* owned; tdm_pack_list_free */
    tdm_pack_item *item;
    int64_t count, capacity;
    tdm_pack_names classes, identities;
    tdm_pack_features **features; /* [features_n] that items point to */
    int64_t features_n;
    char **fault_where, **fault; /* [fault_n] what could not even become an item, and why */
    int64_t fault_n;
    tdm_pack_left_out *left_out; /* [left_out_key.count] */
    tdm_pack_names left_out_key;
} tdm_pack_list;
void tdm_pack_list_free(tdm_pack_list *list);

typedef struct tdm_pack_format {
    const char *name;              /* --format NAME */
    const char *help;              /* one line: what SOURCE is */
    bool takes_file, takes_folder; /* what SOURCE may be; neither: the format sees for itself */
    const char
        *split; /* what --split is when it is not given, or NULL: the items' own splits, else "train" */
    /* The format's own options, none of four or three numbers, with keys like "image_column", which is
     * --image-column on the command line; stored in a struct of option_bytes. */
    const tdm_option *options;
    size_t option_count, option_bytes;
    /* Appends every sample of `source` in a fixed order; reads metadata and captions, no image bytes. Runs on
     * every rank alike. Errors name file and line or key, and mean the whole source. What is wrong with one sample
     * alone is its `fault`, with one caption a caption_fault. Images without captions and captions without an image
     * are listed all the same: the packer decides. */
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
    bool refuse_overlong;   /* with tokenizer: a sample with a caption that would be cut is bad */
    int64_t image_px;   /* 0 = original bytes; else shorter side resized to this (never enlarged), JPEG 95 or
                           PNG as the source, whose transparency stays */
    int64_t shard_size; /* images per shard */
    bool skip_bad;
    bool steal_lock;    /* as tdm_dir_lock_options.steal */
    bool keep_unpaired; /* pack images without captions and captions without images; else they are bad */
    uint64_t seed;      /* of fractional splits */
    const char *const *source;
    int64_t source_count;
} tdm_pack_options;
enum { TDM_PACK_SPLITS = 64 }; /* at most, of one call */
typedef struct tdm_pack_split {
    char name[32];
    int64_t samples, images, captions;
    int64_t identities; /* different ones; 0 where there are none */
    int64_t classes;    /* those that occur */
} tdm_pack_split;
typedef struct tdm_pack_result {
    tdm_pack_split split[TDM_PACK_SPLITS]; /* [split_n] that were written */
    int split_n;
    int64_t images, captions, shards, truncated_captions;
    int64_t bad;                     /* samples, and sources, that could not be used */
    int64_t bad_captions;            /* of samples that are packed with their other captions */
    int64_t left_out;                /* of the sources, what is no sample */
    int64_t images_only, texts_only; /* samples without a caption, without an image */
    int64_t alternatives;            /* further wordings of captions */
} tdm_pack_result;
/* Collective. Shards and report do not depend on the number of ranks: images are cut into shards before they
 * are read (so that a shard with bad images is smaller), shard s of the list is written by rank s mod size.
 * Writes out_dir/pack-report.json (what is bad or left out, with the reasons). Without skip_bad the first bad
 * sample or caption of the list is the error, and neither index nor report is written. A source that holds nothing is a
 * warning where others have samples. */
TDM_CHECKED tdm_status tdm_pack(tdm_comm *comm, const tdm_pack_options *options, tdm_pack_result *result);

#endif
