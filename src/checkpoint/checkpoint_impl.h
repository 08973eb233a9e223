/* Private to src/checkpoint.
 *
 *   h5_file.c     HDF5 in Tandem's dialect: writing, reading, messages
 *   h5_list.c     what a file holds, and reading everything once
 *   save.c        a run's directory of checkpoints: temporary directory, rename, pointers, keep N
 *   moments.c     a sharded optimiser's moments on their way to rank 0
 *   restore.c     finding and reading
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

enum { CKPT_VERSION = 1, CKPT_MAX_DIMS = 4 };
#define CKPT_MODEL_FORMAT "tandem.model"
#define CKPT_STATE_FORMAT "tandem.state"

/* ---- h5_file.c ---- */
typedef struct h5_file {
    hid_t id; /* H5I_INVALID_HID when closed */
    char path[TDM_PATH_BYTES];
} h5_file;

/* Writing. After a failure the file can only be discarded. */
TDM_CHECKED tdm_status h5_create(const char *path, const char *format, h5_file *file);
TDM_CHECKED tdm_status h5_put_text(h5_file *file, const char *attribute, const char *value);
TDM_CHECKED tdm_status h5_put_i64(h5_file *file, const char *attribute, int64_t value);
TDM_CHECKED tdm_status h5_put_f64(h5_file *file, const char *attribute, double value);
TDM_CHECKED tdm_status h5_put_group(h5_file *file, const char *name);
/* A scalar (ndim 0) is stored as one row of one: only chunked data sets carry checksums. */
TDM_CHECKED tdm_status h5_put_f32(h5_file *file, const char *group, const char *name, int ndim,
                                  const int64_t *shape, const float *data);
TDM_CHECKED tdm_status h5_put_bytes(h5_file *file, const char *name, const void *data, size_t bytes);
/* Flushes, closes and fsyncs. */
TDM_CHECKED tdm_status h5_finish(h5_file *file);
/* Closes without a care for the content; fine on a file that is closed or was never opened. */
void h5_discard(h5_file *file);

/* Reading. `format` NULL: any. */
TDM_CHECKED tdm_status h5_open(const char *path, const char *format, h5_file *file);
/* h5_open without a care for the attributes, for any HDF5 file. */
TDM_CHECKED tdm_status h5_open_any(const char *path, h5_file *file);
/* Appends to `text`. */
TDM_CHECKED tdm_status h5_get_text(const h5_file *file, const char *attribute, tdm_text *text);
TDM_CHECKED tdm_status h5_get_i64(const h5_file *file, const char *attribute, int64_t *value);
TDM_CHECKED tdm_status h5_get_f64(const h5_file *file, const char *attribute, double *value);
TDM_CHECKED tdm_status h5_get_f32(const h5_file *file, const char *group, const char *name, int ndim,
                                  const int64_t *shape, float *data);
/* Appends to `text`. */
TDM_CHECKED tdm_status h5_get_bytes(const h5_file *file, const char *name, tdm_text *text);
bool h5_has(const h5_file *file, const char *name);
/* Shape of a data set; false when it is none or has more than CKPT_MAX_DIMS dimensions. */
bool h5_shape(const h5_file *file, const char *group, const char *name, int *ndim,
              int64_t shape[CKPT_MAX_DIMS]);
/* Links of a group, in the order of their names. */
TDM_CHECKED tdm_status h5_group_size(const h5_file *file, const char *group, int64_t *count);
TDM_CHECKED tdm_status h5_link_name(const h5_file *file, const char *group, int64_t index, char *name,
                                    size_t bytes);

/* ---- moments.c ---- */
typedef struct moments {
    tdm_comm *comm;
    const tdm_params *params;
    const tdm_optim *optim;
    bool whole;      /* rank 0 has them all */
    tdm_span *piece; /* [optim->parts+1], of one row */
    float *row;      /* rank 0: values of one row */
    int64_t next;    /* rows 0 … count-1 are those of m, count … 2·count-1 those of v */
    bool lost;       /* the ranks have agreed on an error */
} moments;
TDM_CHECKED tdm_status moments_create(tdm_comm *comm, const tdm_params *params, const tdm_optim *optim,
                                      moments *source);
void moments_destroy(moments *source);
/* Rank 0, in ascending order without a gap while the others are in moments_rest: *data is valid until the
 * next call. */
TDM_CHECKED tdm_status moments_row(moments *source, int64_t index, const float **data);
/* Collective: walks over the rows that are left, so that all ranks end at the same place. */
TDM_CHECKED tdm_status moments_rest(moments *source);

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
/* Opens DIR/model.h5. */
TDM_CHECKED tdm_status checkpoint_open_model(const char *dir, h5_file *file);

#endif
