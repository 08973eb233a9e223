/* Objectives. One file and one row of src/loss/loss_table.h each.
 *
 * An objective says what it needs of each view and receives that for one step. Its value and gradients are shares:
 * a rank computes the terms of its own rows, the trainer sums them over the ranks.
 *
 *   global  sees the unit features of the whole global batch, runs once a step, may exchange rows with the other
 *           ranks, the same calls in the same order on every rank.
 *   local   needs no other rows: runs piece by piece with the chunk of samples that it belongs to.
 *
 * No objective builds a matrix of B x B on one rank: rows in blocks, or a smaller algebra. */
#ifndef TANDEM_LOSS_H
#define TANDEM_LOSS_H

#include "tandem/base.h"
#include "tandem/config.h"
#include "tandem/nn.h"
#include "tandem/option.h"
#include "tandem/ops.h"
#include "tandem/views.h"

/* What an objective may need of a view, bits. */
enum {
    TDM_NEED_RAW = 1,    /* this rank's features before normalisation */
    TDM_NEED_ALL = 2,    /* unit features of the global batch, gathered once for all objectives */
    TDM_NEED_TOKENS = 4, /* this rank's projected dense tokens; local objectives only */
    TDM_NEED_TARGET =
        8 /* as ALL, from a pass of its own without gradient and with other dropout masks; where the
                            tower draws no random numbers, ALL itself */
};
typedef struct tdm_loss_needs {
    uint8_t view[TDM_VIEWS]; /* bits; 0: the view is not needed */
} tdm_loss_needs;

/* The rows of one modality in the global batch. Samples may have an image only or a text only. */
typedef struct tdm_loss_rows {
    int64_t B;               /* rows of all ranks */
    int64_t row0, b;         /* of this call: [row0, row0 + b) */
    const int64_t *sample;   /* [B] place of each row's sample in the global batch, ascending */
    const int64_t *identity; /* [B] */
    const uint64_t *classes; /* [B][class_words] bits, NULL without classes */
    int64_t class_words;
} tdm_loss_rows;

/* One view in one call. What was not asked for is NULL. Gradients are added to, already multiplied by weight. */
typedef struct tdm_loss_view {
    const float *raw; /* [b][d] */
    float *draw;
    const float *all; /* [B][d] unit norm */
    float *dall;
    const float *target;        /* [B][d] unit norm */
    const float *tokens;        /* [seq[b]][d] */
    float *dtokens;             /* zeros before the first objective */
    const int64_t *seq;         /* [b+1] offsets of each row's tokens, seq[0] = 0 */
    const int32_t *token;       /* of a text: [seq[b]] ids */
    const int32_t *predict;     /* of a masked text: [seq[b]] the token to predict, -1 where there is none */
    const int64_t *sample_keys; /* [b] keys of randomness */
} tdm_loss_view;

/* Collective services for global objectives; rows are those of a modality. */
typedef struct tdm_exchange {
    void *context;
    /* all [B][width] <- every rank's local [b][width]; and the adjoint: local = sum over ranks of their all. */
    void (*gather)(void *context, tdm_modality rows, int64_t width, const float *local, float *all);
    void (*scatter)(void *context, tdm_modality rows, int64_t width, const float *all, float *local);
    void (*sum)(void *context, int64_t count, double *value); /* in place, the same bits everywhere */
} tdm_exchange;

/* One step of one objective, or one piece of it. */
typedef struct tdm_loss_call {
    const void *options;
    void *state; /* what create made */
    const tdm_nn *nn;
    double weight; /* multiplies the gradients, not the terms */
    int64_t d;
    int64_t step, total_steps;
    uint64_t seed;
    float logit_scale; /* log of the inverse temperature */
    double normalizer; /* of all ranks: see tdm_loss.normalizer */
    tdm_loss_rows rows[TDM_MODALITIES];
    tdm_loss_view view[TDM_VIEWS];
    const tdm_exchange *exchange; /* NULL in local objectives */
    double *term;                 /* [terms] added to: this rank's share; term[0] is the loss */
    double *dlogit_scale;         /* added to */
} tdm_loss_call;

/* What own parameters may depend on. */
typedef struct tdm_loss_setup {
    const tdm_nn *nn;
    const tdm_scope *scope; /* of the objective's own rows */
    int64_t d;              /* embed_dim */
    int64_t rows;           /* the most rows of one call on this rank */
    int64_t samples;        /* of a global batch; 0: train.batch */
    bool unpaired;          /* no sample has an image and a text */
    bool own_identities;    /* no two rows of the training data have one identity */
    int64_t identities;     /* distinct ones of the training data, ascending in identity[identities] */
    const int64_t *identity;
    int64_t classes;                /* of the training data */
    int64_t vocab_size;             /* of the tokenizer */
    int64_t tokens[TDM_MODALITIES]; /* the most dense tokens of one row, 0: the tower gives none */
    const tdm_config *config;
} tdm_loss_setup;

/* The first fields of every objective's options, and their rows. */
typedef struct tdm_loss_common {
    double weight;       /* multiplies the loss */
    double weight_start; /* while ramp_steps is above 0: where the weight begins */
    int64_t ramp_steps;
} tdm_loss_common;
#define TDM_LOSS_COMMON_OPTIONS                                                                              \
    {"weight",                                                                                               \
     TDM_OPTION_FLOAT,                                                                                       \
     offsetof(tdm_loss_common, weight),                                                                      \
     "0.0",                                                                                                  \
     0,                                                                                                      \
     1e6,                                                                                                    \
     NULL,                                                                                                   \
     "",                                                                                                     \
     "Multiplies the loss; 0 switches it off. With no objective on, infonce is on with 1.",                  \
     NULL,                                                                                                   \
     TDM_CHANGE_OF_GROUP},                                                                                   \
        {"weight_start",                                                                                     \
         TDM_OPTION_FLOAT,                                                                                   \
         offsetof(tdm_loss_common, weight_start),                                                            \
         "0.0",                                                                                              \
         0,                                                                                                  \
         1e6,                                                                                                \
         NULL,                                                                                               \
         "",                                                                                                 \
         "With ramp_steps: the weight at step 0.",                                                           \
         NULL,                                                                                               \
         TDM_CHANGE_OF_GROUP},                                                                               \
    {                                                                                                        \
        "ramp_steps", TDM_OPTION_INT, offsetof(tdm_loss_common, ramp_steps), "0", 0, 1e12, NULL, "steps",    \
            "The weight goes linearly from weight_start to weight over so many steps; 0: no ramp.", NULL,    \
            TDM_CHANGE_OF_GROUP                                                                              \
    }

/* What an image and a text have in common that an objective takes to belong together. */
typedef enum tdm_tie { TDM_TIE_CLASS, TDM_TIE_IDENTITY, TDM_TIE_SAMPLE } tdm_tie;

typedef struct tdm_loss {
    const char *name;          /* config group loss.NAME */
    const char *const *terms;  /* logged scalars, NULL-terminated; terms[0] is the loss */
    const tdm_option *options; /* relative keys, TDM_LOSS_COMMON_OPTIONS first */
    size_t option_count, option_bytes;
    bool local;
    bool by_identity; /* own parameters have a row for each identity of the training data */
    void (*needs)(const void *options, tdm_loss_needs *needs);
    /* What it learns from; one of pairs alone is refused where a batch has none. NULL: it does not compare images with
     * texts. */
    tdm_tie (*tie)(const void *options);
    /* Options that do not fit each other or the setup. NULL: nothing to check. */
    tdm_status (*check)(const void *options, const tdm_loss_setup *setup);
    /* Declares own parameters, named loss.NAME.…, and makes what the steps need. NULL: has none. */
    tdm_status (*create)(const void *options, const tdm_loss_setup *setup, void **state);
    void (*destroy)(void **state);
    /* Packs own weights, where layers do that; scope as in tdm_scope. NULL: nothing to pack. */
    tdm_status (*load)(void *state);
    /* This rank's share of what the sum over all rows is divided by, known before any feature is; call holds the
     * whole local batch, without features. NULL: call.normalizer is 0. */
    double (*normalizer)(const tdm_loss_call *call);
    /* Scratch that a step with these rows takes at most. NULL: none. */
    int64_t (*scratch_bytes)(const tdm_loss_call *call);
    tdm_status (*step)(const tdm_loss_call *call);
} tdm_loss;

/* All rows, in table order. */
const tdm_loss *const *tdm_loss_table(size_t *count);
const tdm_loss *tdm_loss_find(const char *name);
/* Registers every loss's options with the configuration. Call once before the first tdm_config_init. */
TDM_CHECKED tdm_status tdm_loss_register(void);
/* Writes down what a configuration without any objective means (loss.infonce.weight = 1), so that the resolved one
 * says it. */
TDM_CHECKED tdm_status tdm_loss_settle(tdm_config *config);
/* Weight of an objective at a step. Where a configuration switches on none, infonce is on with 1. */
double tdm_loss_weight(const tdm_config *config, const tdm_loss *loss, int64_t step);
/* Is it on at any step? */
bool tdm_loss_is_on(const tdm_config *config, const tdm_loss *loss);
/* What all objectives that are on need together. */
void tdm_loss_all_needs(const tdm_config *config, tdm_loss_needs *needs);
/* Its views as a set. */
tdm_view_set tdm_loss_views(const tdm_loss_needs *needs);

/* ---- The objectives of a run ---- */

#define TDM_LOSS_MAX_TERMS 64 /* of all objectives together */

typedef struct tdm_loss_instance {
    const tdm_loss *type;
    const void *options;
    void *state;
    tdm_scope scope; /* of its rows */
    int first_term;  /* of its terms among all */
    int terms;
    tdm_loss_needs needs;
} tdm_loss_instance;

typedef struct tdm_losses {
    int64_t count;
    tdm_loss_instance *loss; /* [count] in table order */
    tdm_loss_needs needs;    /* of all */
    int terms;
    const char *term_name[TDM_LOSS_MAX_TERMS];
    tdm_nn nn;
    tdm_scratch scratch; /* of one objective at a time; the trainer reserves it */
    int64_t first_row;   /* of the arena: their parameters, up to its end */
} tdm_losses;

/* The objectives that the configuration switches on; their parameters are declared behind all others, before
 * the arena is allocated. Of setup nn's scratch, scope and config are filled here. Errors: TDM_E_CONFIG names the key. */
TDM_CHECKED tdm_status tdm_losses_create(const tdm_config *config, const tdm_loss_setup *setup,
                                         tdm_losses **losses);
void tdm_losses_destroy(tdm_losses **losses);
/* After the arena is filled, and after every update (only_trained): see tdm_model_load. */
TDM_CHECKED tdm_status tdm_losses_load(tdm_losses *losses, bool only_trained);

#endif
