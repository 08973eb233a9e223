/* Checkpoints: a directory RUN/checkpoints/step-00001234/ with model.h5 and state.h5; see docs/files.md.
 *
 * model.h5: root attributes format "tandem.model", version 1, tool_version, config (libconfig text), step;
 * group /param with one f32 data set per parameter under its open_clip name; /tokenizer u8, see
 * tdm_tokenizer_file. state.h5: format "tandem.state"; a group for each moment, of adamw /m and /v; attributes step,
 * optim_step, elapsed seconds, best value; /progress, the rest of tdm_train_state as lines of text. Both end with
 * checksums of the whole file (tandem/h5.h). `RUN/checkpoints/latest` and `best` are text
 * files with the directory's name, replaced atomically. */
#ifndef TANDEM_CHECKPOINT_H
#define TANDEM_CHECKPOINT_H

#include "tandem/comm.h"
#include "tandem/config.h"
#include "tandem/loader.h"
#include "tandem/optim.h"
#include "tandem/params.h"
#include "tandem/tokenizer.h"

typedef struct tdm_train_state {
    int64_t step;      /* optimiser steps done = global batches consumed */
    double elapsed_s;  /* training time over all resumes */
    double best_value; /* of checkpoint.best_metric; NaN before the first */
    int64_t best_step; /* -1 before the first */
    double best_epoch;
    int64_t evaluations_since_best;
    bool evaluation_due; /* of this step, given up for the checkpoint: a run that goes on begins with it */
    char end[16];        /* why the run ended, "complete" or "patience"; "": it did not, or has no patience */
    /* What a resumed run is compared with and placed by; false: of an earlier version, which did not write it. */
    bool has_facts;
    tdm_place place;           /* of the next sample */
    int64_t samples_per_epoch; /* of the training split */
    int64_t samples_seen;      /* since the run began, repeated ones too */
    tdm_clock clock;           /* without its end */
    char data_digest[65],
        eval_digest[65];      /* tdm_dataset_digest of the training and of the evaluation's split */
    char identity_digest[65]; /* of the identities that own rows of a classifier; "": none do */
    char precision[8];        /* "f32", "bf16" */
} tdm_train_state;

/* Collective. A sharded optimiser's moments come to rank 0 row by row; the files are the same as without
 * sharding. Rank 0 writes into a temporary directory, fsyncs, renames, moves `latest`, removes the oldest
 * beyond `keep` (never the one `best` names). best: also move `best`. On failure (disk full) the temporary
 * directory is removed, the previous checkpoint stays and all ranks return the error. */
TDM_CHECKED tdm_status tdm_checkpoint_save(tdm_comm *comm, const char *run_dir, const tdm_config *config,
                                           const tdm_params *params, const tdm_optim *optim,
                                           const tdm_tokenizer *tokenizer, const tdm_train_state *state,
                                           bool best);
/* Writes only DIR/model.h5 (import). Not collective. */
TDM_CHECKED tdm_status tdm_checkpoint_write_model(const char *dir, const tdm_config *config,
                                                  const tdm_params *params, const tdm_tokenizer *tokenizer,
                                                  int64_t step);

/* Finds a checkpoint directory: PATH itself (holding model.h5, or a model.h5 file), or PATH/checkpoints/{best|latest},
 * else the newest there. Whether it is whole is not looked at. Not collective: `latest` may move meanwhile. */
TDM_CHECKED tdm_status tdm_checkpoint_find(const char *path, bool prefer_best, char *out, size_t bytes);
/* Whether a run directory holds any checkpoint, whole or not. */
TDM_CHECKED tdm_status tdm_checkpoint_any(const char *run_dir, bool *any);
/* Collective (comm NULL: this process alone); every rank reads its part of the files once.
 * TDM_E_FORMAT: a byte is not the one that was written, a file is missing, or both are not of one step; the message
 * names the file and the data set. with_state: of model.h5 and state.h5, also those of older versions, which carry
 * checksums of their data sets only; else of model.h5, where reading an older version's will compare these. */
TDM_CHECKED tdm_status tdm_checkpoint_check(tdm_comm *comm, const char *dir, bool with_state);
/* The newest whole checkpoint of a run directory, or out[0] = 0 where there is no checkpoint. Warnings name what is
 * damaged, which one is taken and which steps have to be made again; nothing is deleted. TDM_E_FORMAT: there are
 * checkpoints and none is whole. Another error (no permission, say) of a newer one ends the search. Collective as
 * above. */
TDM_CHECKED tdm_status tdm_checkpoint_latest(tdm_comm *comm, const char *run_dir, char *out, size_t bytes);

/* How the checkpoint was chosen that a run directory stands for. */
typedef struct tdm_selection {
    bool is_best; /* by its run's evaluations; false: it was named, or is the latest, and the rest is zeros */
    double value, epoch;  /* of checkpoint.best_metric; epoch 0: an earlier version did not write it */
    char eval_digest[65]; /* tdm_dataset_digest of the split that it was chosen on */
} tdm_selection;
/* dir: what tdm_checkpoint_find found for `path`, the best first. Not collective. */
void tdm_checkpoint_selection(const char *path, const char *dir, tdm_selection *selection);
/* `best` names the run's checkpoint of that step from now on; *there = false: there is none, and nothing is done. Not
 * collective. */
TDM_CHECKED tdm_status tdm_checkpoint_point_best(const char *run_dir, int64_t step, bool *there);

/* Reads model.h5's stored configuration into `config` (initialised by the caller), its tokenizer (unless NULL
 * is passed; TDM_E_FORMAT when it holds none) and its step (unless NULL is passed). */
TDM_CHECKED tdm_status tdm_checkpoint_read_config(const char *dir, tdm_config *config,
                                                  tdm_tokenizer **tokenizer, int64_t *step);
/* Its tokenizer alone. */
TDM_CHECKED tdm_status tdm_checkpoint_read_tokenizer(const char *dir, tdm_tokenizer **tokenizer);
/* Fills params->weight. Errors list missing, extra and mis-shaped parameters by name (TDM_E_SHAPE). */
TDM_CHECKED tdm_status tdm_checkpoint_read_model(const char *dir, tdm_params *params);
/* The rows of one tower alone, and those of none. */
TDM_CHECKED tdm_status tdm_checkpoint_read_tower(const char *dir, tdm_modality tower, tdm_params *params);
/* Weights to compute with, and not to change. */
typedef struct tdm_weights tdm_weights;
/* Compares with the seal what of model.h5 is no weight; of an older file, all. Not collective. */
TDM_CHECKED tdm_status tdm_weights_open(const char *dir, tdm_weights **weights);
/* Gives params, whose rows are all declared, room for its weights: their place in the file where that is possible. Both
 * stay where they are, and `weights` outlives params. TDM_E_SHAPE as tdm_checkpoint_read_model. */
TDM_CHECKED tdm_status tdm_weights_lend(tdm_weights *weights, tdm_params *params);
/* From now on the rows of a tower, and those of none, hold their values, which were compared with the seal. */
TDM_CHECKED tdm_status tdm_weights_need(tdm_weights *weights, tdm_modality tower);
void tdm_weights_close(tdm_weights **weights); /* NULL is fine */
/* The state without the moments. */
TDM_CHECKED tdm_status tdm_checkpoint_read_progress(const char *dir, tdm_train_state *state);
/* Fills the moments of the optimiser's part and the state. */
TDM_CHECKED tdm_status tdm_checkpoint_read_state(const char *dir, const tdm_params *params, tdm_optim *optim,
                                                 tdm_train_state *state);
/* Its files, model.h5 and, with_state, state.h5. what: "checkpoint". */
TDM_CHECKED tdm_status tdm_checkpoint_reading(const char *dir, const char *what, bool with_state,
                                              tdm_reading *reading);
/* tdm_checkpoint_check by this process alone, of state.h5 where it is there. */
TDM_CHECKED tdm_status tdm_checkpoint_verify(const char *dir);

#endif
