/* Private to src/model: what a tower is. */
#ifndef TANDEM_MODEL_IMPL_H
#define TANDEM_MODEL_IMPL_H

#include "tandem/base.h"
#include "tandem/model.h"
#include "tandem/nn.h"

enum { TOWER_MOST_LAYERS = 1000 }; /* the schema's end of model.*.layers */

typedef struct rank_sum { /* of tdm_model_set_rank_sum */
    tdm_rank_sum *sum;
    void *context;
} rank_sum;

/* What a tower is built from. Everything is borrowed and outlives the tower. */
typedef struct tower_setup {
    const tdm_config *config; /* valid during create only */
    tdm_nn nn;
    const rank_sum *rank_sum;
} tower_setup;

typedef struct tower tower;

/* Bytes of scratch. */
typedef struct tower_bytes {
    int64_t kept; /* by a forward for its backward */
    int64_t work; /* used by that forward and that backward beside it, the larger of the two */
    int64_t lone; /* of a forward that keeps nothing */
} tower_bytes;

/* A tower type: one file, one row of tower_table.h. */
typedef struct tower_type {
    const char *name;
    tdm_modality modality;
    tdm_tower_reads reads;
    bool has_levels;  /* heeds scope.level; others know TDM_KEEP_ALL only */
    bool has_tokens;  /* gives dense tokens */
    bool has_patches; /* knows patch dropout */
    /* The blocks that model.*.drop is about; NULL: there are none. */
    tdm_transformer *(*blocks)(const tower *self);
    /* Keys of its own under model.image or model.text; NULL: none. tower_options gives their struct. */
    const tdm_option *options;
    size_t option_count, option_bytes;
    /* Side in px of an image's place with a position of its own; NULL: there are none. */
    int64_t (*place_px)(const tdm_config *config);
    /* Rules between the keys it reads; NULL: none. */
    tdm_status (*check)(const tdm_config *config);
    /* Declares its parameters in forward order. */
    tdm_status (*create)(const tower_setup *setup, tower **out);
    void (*destroy)(tower **self);
    tdm_status (*load)(tower *self); /* packs the weights */
    /* output->tokens only where has_tokens. keep: leaves its activations on the scratch stack, as a record that
     * becomes self->kept, for one backward, which takes the last record off. */
    tdm_status (*forward)(tower *self, const tdm_tower_input *input, const tdm_pass *mode, bool keep,
                          const tdm_tower_output *output);
    tdm_status (*backward)(tower *self, const tdm_tower_output *gradient, tdm_final_from *final_from,
                           void *context);
    /* Rows of dense tokens; NULL where it has none. */
    int64_t (*token_rows)(const tower *self, const tdm_tower_input *input, const tdm_pass *pass);
    void (*update_statistics)(tower *self, bool apply); /* NULL: has none */
    /* See tdm_model_whole_batch; NULL: never. */
    const char *(*whole_batch)(const tower *self);
    /* Of one call with n samples, upper bounds, as of the last load (before the first: all is trained). */
    tdm_status (*scratch_bytes)(const tower *self, int64_t n, int64_t tokens_per_caption, bool dense,
                                tower_bytes *bytes);
    /* FLOP of one forward: see tdm_model_tower_flop. */
    double (*forward_flop)(const tdm_config *config, const tdm_pass *pass, int64_t n, int64_t tokens,
                           int64_t tokens_squared);
    /* Share of the backward's matmuls that frozen rows leave, 0 … 1; may be NULL: all of them. */
    double (*backward_share)(const tower *self);
} tower_type;

struct tower {
    const tower_type *type;
    /* Set by the model. A tower that is frozen as a whole is never asked for its activations or a backward. */
    tdm_scope scope;
    /* Set by create: a training pass draws random numbers, so that two passes of one input differ. */
    bool random;
    /* The tower's own: the last of the forwards that wait for their backward, NULL when none does. */
    void *kept;
};

/* Errors: TDM_E_CONFIG names the key and the nearest name. */
tdm_status tower_find(const tdm_config *config, tdm_modality modality, const tower_type **type);
/* The struct of the tower's own keys. */
tdm_status tower_options(const tower_type *type, const tdm_config *config, const void **options);
/* What model.*.drop leaves out of the blocks, of a configuration that has been checked. */
typedef struct tower_drop {
    unsigned char part[TOWER_MOST_LAYERS];
} tower_drop;
tower_drop tower_drop_of(const tdm_tower_config *config);
/* width divisible by heads, whole MLPs, blocks to drop that exist. */
tdm_status tower_check_blocks(const tdm_config *config, tdm_modality modality);

/* Width of the tower's own features. */
static inline int64_t tower_feature_dim(const tdm_config *config, tdm_modality modality)
{
    const tdm_tower_config *c = modality == TDM_IMAGE ? &config->model.image : &config->model.text;
    return c->feature_dim > 0 ? c->feature_dim : config->model.embed_dim;
}

static inline const tdm_tower_config *tower_config(const tdm_config *config, tdm_modality modality)
{
    return modality == TDM_IMAGE ? &config->model.image : &config->model.text;
}

#endif
