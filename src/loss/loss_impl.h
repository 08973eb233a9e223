/* Private to src/loss: what objectives share. */
#ifndef TANDEM_LOSS_IMPL_H
#define TANDEM_LOSS_IMPL_H

#include "tandem/loss.h"

/* Rows of a modality by a key (sample or identity): which of them have a given one. */
typedef struct key_index {
    int64_t n;
    int64_t (*pair)[2]; /* [n] key and row, ascending */
} key_index;
TDM_CHECKED tdm_status key_index_make(tdm_scratch *scratch, int64_t n, const int64_t *key, key_index *index);
int64_t key_index_bytes(int64_t n);
/* Places [*begin, *end) of the pairs with this key. */
void key_index_find(const key_index *index, int64_t key, int64_t *begin, int64_t *end);

/* Declares a parameter, or finds the one of that name and shape that another objective has declared. */
TDM_CHECKED tdm_status shared_parameter(tdm_params *params, const char *name, tdm_init init,
                                        double init_value, int ndim, const int64_t *shape, int64_t *index);

/* Rows of a block of `B` columns that together hold 16 MiB of f32. */
int64_t block_rows_of(int64_t b, int64_t B);

/* Cross-entropy of one row of logits x[classes] against a class; leaves factor · (softmax - onehot) in x. */
double class_row_loss(int64_t classes, int64_t target, float factor, float *x);

/* The view of a modality that an option names. Of an unknown name the first one, which check_view refuses. */
int view_named(tdm_modality modality, const char *name);
/* TDM_E_CONFIG names the option and the views that there are. */
TDM_CHECKED tdm_status check_view(const char *key, tdm_modality modality, const char *name);

#endif
