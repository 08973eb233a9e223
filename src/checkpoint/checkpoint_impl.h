/* Private to src/checkpoint.
 *
 *   save.c        a run's directory of checkpoints: temporary directory, rename, pointers, keep N
 *   moments.c     a sharded optimiser's moments on their way to rank 0
 *   find.c        which checkpoint, and whether it is whole
 *   restore.c     reading
 *   progress.c    where the run stands, and what it is compared with when it goes on
 *   rows.c        rows of the parameter table as data sets
 *   weights.c     weights to compute with, a tower at a time: mapped, or read
 *
 * Weights of other programs (convert_impl.h, weights_file.h, naming.h):
 *   import.c        a file of tensors becomes a checkpoint; import_check.c compares it with the model
 *   export.c        the way back
 *   pretrained.c    weights to start training from
 *   weights_file.c  the file, seen through its naming; architecture.c: what model it holds
 *   naming*.c       how each program spells the tensors, and its configuration files; json.c
 *   positions.c     position embeddings of another size */
#ifndef TANDEM_CHECKPOINT_IMPL_H
#define TANDEM_CHECKPOINT_IMPL_H

#include "tandem/checkpoint.h"
#include "tandem/h5.h"

enum { CKPT_VERSION = 1 };
#define CKPT_MODEL_FORMAT "tandem.model"
#define CKPT_STATE_FORMAT "tandem.state"

/* ---- rows.c ---- */
/* whole: in one piece, as weights are stored, which may be used where they stand in the file. */
TDM_CHECKED tdm_status checkpoint_put_row(tdm_h5 *file, const char *group, const tdm_param *row, bool whole,
                                          const float *data);
/* TDM_E_SHAPE when the row has another shape. */
TDM_CHECKED tdm_status checkpoint_get_row(tdm_h5 *file, const char *group, const char *row, int ndim,
                                          const int64_t *shape, float *data);
/* Shape of a row; *ndim = -1 when the file holds none. A scalar is one row of one. */
TDM_CHECKED tdm_status checkpoint_row_shape(const tdm_h5 *file, const char *group, const char *row, int *ndim,
                                            int64_t shape[TDM_H5_MAX_DIMS]);

/* ---- restore.c ---- */
/* NULL when the group holds none of that name. */
const tdm_h5_place *checkpoint_find_place(const tdm_h5_place *place, int64_t count, const char *name);
/* The group's data sets are exactly the parameters, or one message names what differs. */
TDM_CHECKED tdm_status checkpoint_compare_places(const char *path, const char *group,
                                                 const tdm_h5_place *place, int64_t count,
                                                 const tdm_params *params);

/* ---- moments.c ---- */
typedef struct moments {
    tdm_comm *comm;
    const tdm_params *params;
    const tdm_optim *optim;
    bool whole;      /* rank 0 has them all */
    tdm_span *piece; /* [optim->parts+1], of one row */
    float *row;      /* rank 0: values of one row */
    int64_t
        next; /* rows 0 … count-1 are those of the first moment, count … 2·count-1 those of the second … */
    bool lost; /* the ranks have agreed on an error */
} moments;
TDM_CHECKED tdm_status moments_create(tdm_comm *comm, const tdm_params *params, const tdm_optim *optim,
                                      moments *source);
void moments_destroy(moments *source);
/* Rank 0, in ascending order without a gap while the others are in moments_rest: *data is valid until the
 * next call. */
TDM_CHECKED tdm_status moments_row(moments *source, int64_t index, const float **data);
/* Collective: walks over the rows that are left, so that all ranks end at the same place. */
TDM_CHECKED tdm_status moments_rest(moments *source);

/* ---- progress.c ---- */
TDM_CHECKED tdm_status progress_put(tdm_h5 *file, const tdm_train_state *state);
/* Sets has_facts and what it stands for; a file of an earlier version has none. */
TDM_CHECKED tdm_status progress_get(tdm_h5 *file, tdm_train_state *state);

/* ---- save.c ---- */
/* Rank 0's part of tdm_checkpoint_save. */
TDM_CHECKED tdm_status checkpoint_save_local(const char *run_dir, const tdm_config *config,
                                             const tdm_params *params, const tdm_optim *optim,
                                             const tdm_tokenizer *tokenizer, const tdm_train_state *state,
                                             bool best);
/* Step of a directory name "step-00001234", or -1. */
int64_t checkpoint_step_of(const char *name);
/* Steps of the checkpoint directories in `dir`, newest first; *step is owned by the caller (free). */
TDM_CHECKED tdm_status checkpoint_list(const char *dir, int64_t **step, int64_t *count);

/* ---- restore.c ---- */
/* "[3, 4]" */
void shape_text(int ndim, const int64_t *shape, char *text, size_t bytes);
/* Opens DIR/model.h5, DIR/state.h5. */
TDM_CHECKED tdm_status checkpoint_open_model(const char *dir, tdm_h5 **file);
TDM_CHECKED tdm_status checkpoint_open_state(const char *dir, tdm_h5 **file);

/* ---- find.c ---- */
/* Step that DIR/latest or DIR/best names, or -1. */
int64_t checkpoint_pointed(const char *dir, const char *pointer);

#endif
