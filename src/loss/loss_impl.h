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

/* One direction of a comparison of images with texts: rows of one modality ask, rows of the other answer. */
typedef struct direction {
    const tdm_loss_rows *query_rows, *answer_rows;
    const tdm_loss_view *query, *answer;
    const key_index *answers; /* of the answers' keys */
    const int64_t *key;       /* [B] of the queries: identities, or samples */
    int64_t with_positive;    /* queries of the global batch that have an answer of their key */
    tdm_span seen;            /* answers that a query is compared with: columns of the logits, W of them */
    tdm_span trained;         /* those of them that receive gradients */
} direction;
/* query: the modality that asks. view: of each modality. index: of each modality's identities, or of its samples. All
 * answers are seen and trained. */
direction direction_make(const tdm_loss_call *call, tdm_modality query, const int view[TDM_MODALITIES],
                         bool by_identity, const key_index index[TDM_MODALITIES]);
/* Of queries [first, first + n): those that have an answer of their key in `seen`. */
int64_t direction_count(const direction *dir, int64_t first, int64_t n);
/* logits [n][W] = exp(logit_scale) query·answer of the query rows [first, first+n) of the global batch. */
TDM_CHECKED tdm_status direction_logits(const tdm_loss_call *call, const direction *dir, int64_t first,
                                        int64_t n, float *logits);
/* q [n][W]: 1/k at each of a row's k answers of its key, zeros where it has none. */
void direction_targets(const direction *dir, int64_t first, int64_t n, float *q);
/* Answers of the key of that query within `seen`. */
int64_t direction_positives(const direction *dir, int64_t query);
/* Adds dscale times the gradients of query, answer and logit_scale, from dlogits [n][W]; drow [n][d] is room. */
TDM_CHECKED tdm_status direction_backward(const tdm_loss_call *call, const direction *dir, int64_t first,
                                          int64_t n, float dscale, const float *dlogits, float *drow);

/* Cross-entropy of one row of logits x[classes] against a class; leaves factor · (softmax - onehot) in x. */
double class_row_loss(int64_t classes, int64_t target, float factor, float *x);

/* The view of a modality that an option names. Of an unknown name the first one, which check_view refuses. */
int view_named(tdm_modality modality, const char *name);
/* TDM_E_CONFIG names the option and the views that there are. */
TDM_CHECKED tdm_status check_view(const char *key, tdm_modality modality, const char *name);

#endif
