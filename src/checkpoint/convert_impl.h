/* Private to src/checkpoint: what import, export and training from pretrained weights share. */
#ifndef TANDEM_CHECKPOINT_CONVERT_IMPL_H
#define TANDEM_CHECKPOINT_CONVERT_IMPL_H

#include "checkpoint_impl.h"
#include "weights_file.h"

/* ---- import_check.c ---- */
typedef struct import_job {
    const tdm_import_options *options;
    weights_file src;
    model_facts shapes, folder;
    tdm_config config;
    tdm_params params;
    tdm_tokenizer *tokenizer; /* NULL: none was found */
    tdm_dir_lock *lock;       /* of options->out */
} import_job;
/* TDM_E_SHAPE names every tensor that is missing, extra, or of another shape or type. Position embeddings may
 * have another number of rows. */
TDM_CHECKED tdm_status import_check(const import_job *job);

/* ---- convert.c ---- */
/* Declares the parameters of a configuration's model; the caller allocates them. */
TDM_CHECKED tdm_status model_rows(const tdm_config *config, tdm_params *params);

bool is_position_row(const char *row);
/* The patches of an image, or the places of a ResNet's last stage. */
typedef struct position_grid {
    int64_t rows, columns;
} position_grid;
position_grid grid_of(const tdm_config *config);
/* Fills a row of position embeddings from from[have][row->shape[1]], and says so in the log. `where` begins
 * the line. */
TDM_CHECKED tdm_status resize_positions(const char *where, const char *method, const tdm_param *row,
                                        position_grid old, position_grid new, int64_t have, const float *from,
                                        float *weight);

#endif
