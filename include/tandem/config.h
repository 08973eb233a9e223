/* The configuration of a run: one struct, filled from libconfig files through one schema.
 *
 * A configuration key is its struct field: `train.batch` is config.train.batch. The rows stand in
 * src/base/config_schema.c; other folders add theirs (loss.NAME.*, what only one tower needs …). */
#ifndef TANDEM_CONFIG_H
#define TANDEM_CONFIG_H

#include "tandem/base.h"
#include "tandem/option.h"
#include "tandem/reading.h"
#include "tandem/views.h"

/* Choices are stored as numbers, in the order of the enum that reads them (TDM_OPTION_CHOICE). */
#define TDM_ACTIVATION_CHOICES "quickgelu|gelu"
#define TDM_RECOMPUTE_CHOICES  "none|mlp|block|chunk"

/* train.recompute, from the most memory to the least. */
typedef enum tdm_recompute_choice {
    TDM_RECOMPUTE_CHOICE_NONE,
    TDM_RECOMPUTE_CHOICE_MLP,
    TDM_RECOMPUTE_CHOICE_BLOCK,
    TDM_RECOMPUTE_CHOICE_CHUNK
} tdm_recompute_choice;

typedef struct tdm_tower_config {
    const char *tower;   /* a row of the tower table */
    const char *head;    /* "none", or a row of the head table */
    int64_t feature_dim; /* of the tower's own output; 0: embed_dim */
    int64_t height_px, width_px, patch_px;
    int64_t stage_layers[4]; /* resnet: blocks of the four stages; width is that of the first stage */
    double mean[3], std[3];
    const char *resize; /* "crop", "squash", "longest" */
    const char *alpha;  /* "drop", "white" */
    int64_t context_length, vocab_size;
    int64_t context_tokens;    /* learned vectors in front of every caption; 0: none */
    const char *context_words; /* whose tokens they start from */
    int64_t width, layers, heads;
    double mlp_ratio;
    tdm_strings drop; /* blocks and branches of blocks that are left out: "7", "3.attention", "5.mlp" */
    double attention_dropout; /* of texts */
    double patch_dropout;     /* of a vit: share of the patches that training does not compute */
} tdm_tower_config;

/* What an epoch is made of; in the order of data.sample's choices. */
typedef enum tdm_sample {
    TDM_SAMPLE_CAPTION, /* every caption once, with its image where it has one */
    TDM_SAMPLE_IMAGE,   /* every image once, with one of its captions where it has any */
    TDM_SAMPLE_ALL      /* every caption once, and every image without a caption once */
} tdm_sample;

typedef struct tdm_config {
    int64_t seed;
    struct {
        const char *dir; /* packed data set */
        const char *split;
        int sample;       /* a tdm_sample */
        int64_t workers;  /* decode threads per rank */
        int64_t prefetch; /* batches decoded ahead */
    } data;
    struct {
        const char *name;
        int64_t embed_dim;
        int activation;                           /* of TDM_ACTIVATION_CHOICES: a tdm_activation */
        const char *tokenizer;                    /* see tdm_tokenizer_open */
        bool tokenizer_mask;                      /* the variant with <|mask|> */
        double logit_scale_init, logit_scale_max; /* log of the inverse temperature */
        double dropout;                           /* on the two branch outputs of every block */
        const char *pretrained;                   /* checkpoint to start from, "" = none */
        const char *position_resize;              /* see tdm_resize_image_positions */
        tdm_tower_config image, text;
    } model;
    struct {
        tdm_strings augment; /* operations in order, "NAME" or "NAME(key=value, …)" */
    } views[TDM_VIEW_NAMES];
    struct {
        int64_t batch;         /* global pairs per step */
        int64_t chunk;         /* pairs embedded at once per rank; 0 = the whole local batch */
        int recompute;         /* a tdm_recompute_choice: what backward makes again */
        int64_t epochs, steps; /* steps = 0: epochs decide */
        int64_t patience;      /* evaluations without a better one that end the run; 0 = off */
        double unmasked_share; /* of the run, at its end, without patch dropout */
        const char *precision; /* "auto", "f32", "bf16" */
        int64_t threads;    /* compute threads per rank; 0 = OMP_NUM_THREADS or the cores this rank may use */
        int64_t log_every;  /* steps */
        int64_t bucket_mib; /* gradient bucket */
        int wire;           /* "f32", "bf16": gradients between nodes; a tdm_wire */
        int reduce;         /* "exchange", "mpi", "auto": how they travel there; a tdm_reduce */
        double time_limit_minutes; /* 0 = none; then checkpoint and exit 3 */
        double stall_minutes;      /* without progress; 0 = no watchdog */
        bool stall_end;            /* then exit 4 */
    } train;
    struct {
        double lr, weight_decay;
        int64_t warmup_steps;
        double warmup_epochs;      /* 0: warmup_steps count */
        double warmup_start_ratio; /* < 0: 1 / steps of the warm-up */
        double min_lr_ratio;
        double clip_norm; /* 0 = no clipping */
        tdm_strings freeze, lr_scale;
        double layer_decay;
        bool shard; /* moments over the ranks */
    } optim;
    struct {
        int64_t every_steps;
        double every_minutes;
        int64_t keep;
        const char *best_metric; /* key of eval's JSON, e.g. "text_to_image.recall_at_1" */
    } checkpoint;
    struct {
        const char *dir, *split; /* "" = no evaluation while training */
        int64_t every_epochs;    /* 0 = only at the end */
        const char *positives;   /* name of a tdm_match */
        const char *metrics;     /* "recall_at_20,ndcg_at_10" beside those that are always there */
    } eval;
    /* Everything below is private to src/base/config.c */
    struct tdm_config_store *store;
} tdm_config;

/* Most tokens of a caption, its start and end among them: longer ones are cut. */
static inline int64_t tdm_caption_tokens(const tdm_config *config)
{
    return config->model.text.context_length - config->model.text.context_tokens;
}

/* The schema's rows of everything but the losses. */
const tdm_option *tdm_config_options(size_t *count);

/* A set of rows that another folder brings, stored in its own struct. */
typedef struct tdm_option_group {
    const char *prefix;            /* "loss.infonce"; several sets may share one */
    const tdm_option *rows;        /* [count] static, keys relative to the prefix */
    size_t count, bytes;           /* of the struct, which is part of every configuration */
    tdm_change change;             /* of the rows that say none of their own */
    const char *if_key, *if_value; /* the set counts only where this key has this value; NULL: always */
} tdm_option_group;
/* Tables of objectives, augmentations, towers, heads and optimisers do so at start, before the first tdm_config_init.
 * The same set a second time is nothing new. */
TDM_CHECKED tdm_status tdm_config_register(const tdm_option_group *group);
/* The struct of a group, of the first set of rows where there are several; NULL when there is none. */
const void *tdm_config_group(const tdm_config *config, const char *prefix);
/* The struct of these rows under this prefix. */
const void *tdm_config_rows(const tdm_config *config, const char *prefix, const tdm_option *rows);
/* NAME or NAME(key=value, …), as lists of augmentations say it. Fills `name`; *arguments points to the text between
 * the brackets ("" without them), *length is its length. `where` begins the message. */
TDM_CHECKED tdm_status tdm_config_call(const char *where, const char *text, char name[64],
                                       const char **arguments, size_t *length);
/* A copy of the group's struct with "key=value, …" over it. It lives as long as the configuration. */
TDM_CHECKED tdm_status tdm_config_variant(const tdm_config *config, const char *where, const char *prefix,
                                          const char *arguments, size_t length, const void **options);
void tdm_config_unregister_all(void); /* tests */

/* Defaults only. Pair with tdm_config_destroy, which tolerates a zeroed struct. */
TDM_CHECKED tdm_status tdm_config_init(tdm_config *config);
/* Reads `path` (libconfig, with @include relative to the file's folder) over the present values.
 * Errors: TDM_E_CONFIG names file, line and key; an unknown key names the nearest known one. */
TDM_CHECKED tdm_status tdm_config_load(tdm_config *config, const char *path);
/* The same from text (a checkpoint's stored configuration); `name` stands in messages. */
TDM_CHECKED tdm_status tdm_config_load_text(tdm_config *config, const char *name, const char *text);
/* Reads a model definition (the content of the `model` group) by name or path: NAME is looked for as
 * NAME, conf/models/NAME.cfg, $TANDEM_CONF/models/NAME.cfg, conf/ beside the program (also ../conf and, installed,
 * ../share/tandem/conf) and in the data directory of the installation. */
TDM_CHECKED tdm_status tdm_config_load_model(tdm_config *config, const char *name_or_path);
/* One `group.key=value`. */
TDM_CHECKED tdm_status tdm_config_set(tdm_config *config, const char *assignment);
/* Rules between keys; those of the model are tdm_model_check's. */
TDM_CHECKED tdm_status tdm_config_check(const tdm_config *config);
/* The resolved configuration in libconfig syntax; loading it gives the same values. `group` NULL = all,
 * else only e.g. "model". */
TDM_CHECKED tdm_status tdm_config_print(const tdm_config *config, const char *group, tdm_text *text);
/* Every key with type, default, range, unit and help, for --help and the documentation. */
TDM_CHECKED tdm_status tdm_config_help(tdm_text *text);
/* FNV-1a of the printed configuration. */
TDM_CHECKED tdm_status tdm_config_hash(const tdm_config *config, uint64_t *hash);

/* One thing in which a run differs from its checkpoint: a key of the configuration, or a fact beside it. */
typedef struct tdm_difference {
    const char *key; /* borrowed, as long as the groups are registered */
    tdm_change change;
    char *was, *is; /* owned */
} tdm_difference;
typedef struct tdm_differences { /* zero-initialise; tdm_differences_free */
    tdm_difference *item;
    int64_t count;
} tdm_differences;
TDM_CHECKED tdm_status tdm_differences_add(tdm_differences *list, const char *key, tdm_change change,
                                           const char *was, const char *is);
void tdm_differences_free(tdm_differences *list);
/* Appends every key whose value differs, in the order of the schema. Keys of a set of rows that does not count in both
 * configurations are left out: the key that chooses it differs then, or it is idle. */
TDM_CHECKED tdm_status tdm_config_compare(const tdm_config *was, const tdm_config *is, tdm_differences *list);
/* Every key with its value; path: the file that messages name. */
TDM_CHECKED tdm_status tdm_config_reading(const tdm_config *config, const char *path, tdm_reading *reading);

TDM_CHECKED tdm_status tdm_config_copy(const tdm_config *from, tdm_config *to);
void tdm_config_destroy(tdm_config *config);

#endif
