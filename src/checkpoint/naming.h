/* Private to src/checkpoint: how other programs spell the tensors of a CLIP model. A naming is one file with
 * a `const naming` and a row of naming_table.h. */
#ifndef TANDEM_CHECKPOINT_NAMING_H
#define TANDEM_CHECKPOINT_NAMING_H

#include "tandem/convert.h"
#include "tandem/dir_lock.h"

#include <jansson.h>

enum { NAMING_PARTS = 3, NAMING_ANCHORS = 3, NAMING_NAME_BYTES = 256 };

typedef enum naming_how {
    NAMING_COPY,
    NAMING_TRANSPOSED, /* a matrix, rows for columns */
    NAMING_QKV         /* three tensors, which follow each other along the first dimension */
} naming_how;

/* One rule, or many where '*' stands for the same characters on both sides. */
typedef struct naming_rule {
    const char *row;    /* parameter of the arena */
    const char *tensor; /* of the file; with NAMING_QKV, '?' stands for q, k and v */
    naming_how how;
} naming_rule;

/* What is known of a model beside its tensors' values; 0 or NULL: not known. */
typedef struct model_facts {
    char source[512]; /* where from, for messages */
    const char *activation;
    int64_t embed_dim;
    tdm_tower_config image, text;
    bool has_mean, has_std;
} model_facts;

/* What an export writes. */
typedef struct export_job {
    const tdm_export_options *options;
    const struct naming *naming;
    char dir[4096], weights[4096]; /* the folder, and the file of weights in it */
    tdm_config config;
    tdm_params params;
    tdm_tokenizer *tokenizer; /* NULL: the checkpoint has none */
    tdm_dir_lock *lock;       /* of dir */
} export_job;

typedef struct naming {
    const char *name;
    /* Every file of this naming holds one of the text tower's and one of the image tower's, after a prefix that
     * wraps all names. */
    const char *text_anchor[NAMING_ANCHORS], *image_anchor[NAMING_ANCHORS];
    const naming_rule *rule; /* the first that fits is taken whose tensors the file has */
    size_t rules;
    const char *const *ignored; /* patterns of tensors that carry no weights; NULL at the end */
    const char *const *heads;   /* of tensors that are no part of the two towers; NULL, or NULL at the end */
    bool mask_token;            /* the tokenizer is the variant with <|mask|> */
    /* Reads a configuration file's root when it is one of this program's, else leaves `facts` alone. */
    tdm_status (*read_config)(const char *path, const json_t *root, model_facts *facts);
    /* Export: NULL when it is only read. TDM_E_CONFIG when the model has no such form. */
    tdm_status (*check)(const export_job *job);
    /* Files beside the weights, in the order of writing; NULL at the end. */
    const char *const *(*files)(const export_job *job);
    tdm_status (*write_file)(const export_job *job, const char *name, tdm_text *text);
    const char *counters; /* pattern of rows beside which "num_batches_tracked" stands, or NULL */
} naming;

const naming *naming_find(const char *name);
/* Namings in the order of the table; NULL beyond the last. */
const naming *naming_at(size_t index);

/* Does `pattern` ('*': any characters, at most once) fit `name`? *star, unless NULL, is what '*' stands for,
 * `star_bytes` long. */
bool naming_fits(const char *pattern, const char *name, const char **star, size_t *star_bytes);
bool naming_fits_any(const char *const *patterns, const char *name);

/* The file's tensors of one parameter. */
typedef struct naming_tensors {
    naming_how how;
    int count; /* 1, or NAMING_PARTS for NAMING_QKV; 0: the naming has no name for it */
    char name[NAMING_PARTS][NAMING_NAME_BYTES];
} naming_tensors;
/* By the `alternative`-th rule that fits the parameter, 0 first; an export uses the first. */
void naming_tensors_of(const naming *n, const char *row, int alternative, naming_tensors *tensors);

/* ---- huggingface_tokenizer.c ---- */
/* One of the tokenizer files that Transformers reads; appended to `text`. */
TDM_CHECKED tdm_status huggingface_tokenizer_file(const export_job *job, const char *name, tdm_text *text);

/* ---- json.c ---- */
/* A member along a path "a.b", or NULL. */
const json_t *json_at(const json_t *root, const char *path);
/* Set *value when the member is there and a number above 0, or a string. */
void json_take_count(const json_t *root, const char *path, int64_t *value);
void json_take_number(const json_t *root, const char *path, double *value);
const char *json_text(const json_t *root, const char *path); /* NULL: not there, or no string */
/* Three numbers; true when they are there. */
bool json_take_rgb(const json_t *root, const char *path, double rgb[3]);
/* TDM_E_CONFIG names the file and the path when the member is there and is not `known`: a string, a number or
 * "true"; NULL: null, false, 0 or empty. */
TDM_CHECKED tdm_status json_require(const char *file, const json_t *root, const char *path,
                                    const char *known);
/* Appends `value` as text with a newline, and drops it. NULL means that memory ran out while it was made. */
TDM_CHECKED tdm_status json_append(json_t *value, tdm_text *text);
/* [red, green, blue] */
json_t *json_rgb(const double rgb[3]);

#endif
