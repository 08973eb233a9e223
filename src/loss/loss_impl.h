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

/* ---- Pairs: every image with every text of the global batch (pairs.c) ---- */

enum { SAME_CLASS = TDM_TIE_CLASS, SAME_IDENTITY = TDM_TIE_IDENTITY, SAME_SAMPLE = TDM_TIE_SAMPLE };

/* The first fields of the options of an objective of pairs, and their rows. */
typedef struct pairs_options {
    tdm_loss_common common;
    const char *image_view, *text_view;
    int positives; /* SAME_… */
} pairs_options;
#define PAIRS_VIEW_OPTIONS                                                                                   \
    TDM_STRING_OPTION(pairs_options, image_view, "aug_1", "View of the image."),                             \
        TDM_STRING_OPTION(pairs_options, text_view, "plain", "View of the text.")
#define PAIRS_OPTIONS                                                                                        \
    TDM_LOSS_COMMON_OPTIONS, PAIRS_VIEW_OPTIONS,                                                             \
        TDM_CHOICE_OPTION(                                                                                   \
            pairs_options, positives, "class", "class|identity|pair",                                        \
            "What belongs together besides a pair: what shares a class, what has one identity, or nothing.")
void pairs_needs(const void *options, tdm_loss_needs *needs);
tdm_tie pairs_tie(const void *options);
/* Of objectives that learn from pairs alone. */
tdm_tie sample_tie(const void *options);
/* name: of the objective. */
TDM_CHECKED tdm_status pairs_check(const char *name, const pairs_options *o, const tdm_loss_setup *setup);

/* Rows of one modality, those of this rank, ask; all rows of the other answer. */
typedef struct pair_rows {
    const tdm_loss_call *call;
    int relation; /* SAME_… */
    tdm_modality query;
    const tdm_loss_rows *query_rows, *answer_rows;
    const tdm_loss_view *query_view, *answer_view;
    int64_t W;       /* answers */
    int64_t block;   /* queries at a time */
    float *cosine;   /* [block][W] */
    uint8_t *same;   /* [W] of the row at hand: 1 for what belongs together */
    bool alone;      /* set by the objective: a row writes to x and to what is of its thread only */
    int thread;      /* of the row at hand */
    uint8_t *shared; /* [threads][most rows of a modality] their `same` */
    double *value;   /* [block] of a block's rows */
    double *room[4]; /* [most rows of a modality] each, the objective's to use */
} pair_rows;
/* Images ask, until pairs_turn. The memory is the call's scratch. */
TDM_CHECKED tdm_status pairs_make(const tdm_loss_call *call, int relation, pair_rows *p);
int64_t pairs_scratch_bytes(const tdm_loss_call *call);
void pairs_turn(pair_rows *p, tdm_modality query);
/* Answer of the same sample, -1: none. */
int64_t pairs_own(const pair_rows *p, int64_t query);
/* Of all ranks: positive pairs, and queries that have a positive. Collective. */
void pairs_count(const pair_rows *p, double *positive, double *queries);

/* A query's row: x[W] are the cosines, p->same says what belongs together. Returns the row's value and, for
 * pairs_walk, leaves its derivatives by the cosines in x. */
typedef double pairs_row(void *context, const pair_rows *p, int64_t query, float *x);
/* *value += the values of this rank's queries, in blocks; adds dscale times the gradients of features. */
TDM_CHECKED tdm_status pairs_walk(const pair_rows *p, pairs_row *row, void *context, double dscale,
                                  double *value);
/* The same without gradients. */
TDM_CHECKED tdm_status pairs_look(const pair_rows *p, pairs_row *row, void *context, double *value);

/* ---- Rows against a matrix of classes: a classifier, prototypes, proxies (classes.c) ---- */

enum { NORM_PROJECT, NORM_THROUGH, NORM_NONE };

/* The first fields of the options of an objective of classes, and their rows. */
typedef struct class_options {
    tdm_loss_common common;
    const char *image_view, *text_view;
    int norm; /* NORM_… */
} class_options;
#define CLASS_OPTIONS                                                                                        \
    TDM_LOSS_COMMON_OPTIONS, TDM_STRING_OPTION(class_options, image_view, "aug_1", "View of the image."),    \
        TDM_STRING_OPTION(class_options, text_view, "plain", "View of the text."),                           \
        TDM_CHOICE_OPTION(                                                                                   \
            class_options, norm, "project", "project|through|none",                                          \
            "Vectors of the classes: made unit after each update (project, released on one device); the loss sees unit copies, whose gradient passes as it is (through, released on several); free (none).")
void class_needs(const void *options, tdm_loss_needs *needs);
TDM_CHECKED tdm_status class_check(const char *name, const class_options *o, const tdm_loss_setup *setup);

/* Parameters: a vector for each class, with a bias where there is one. It is the state of its objective. */
typedef struct class_matrix {
    tdm_params *params;
    int64_t classes, d;
    int64_t weight, bias; /* rows of the arena, weight [classes][d]; bias < 0: none */
    int norm;
} class_matrix;
/* The classifier that linear_regression and cross_entropy share. */
TDM_CHECKED tdm_status classifier_create(const class_options *o, const tdm_loss_setup *setup, void **state);
/* PREFIX.centers of an objective of its own. trained: false leaves them as they are drawn. */
TDM_CHECKED tdm_status centers_create(const char *prefix, const class_options *o, bool trained,
                                      const tdm_loss_setup *setup, void **state);
void class_matrix_destroy(void **state);
/* Projects, where norm says so. A unit vector stays as it is, to the bit. */
TDM_CHECKED tdm_status class_matrix_load(void *state);

/* One modality's rows of this rank, in blocks. */
typedef struct class_rows {
    const tdm_loss_call *call;
    const class_matrix *matrix;
    const float *weight; /* [classes][d] as norm has it */
    int64_t classes, block;
    float *product;  /* [block][classes] */
    double *dsum;    /* [classes] sums over the rows of what a walk has left in x, times dscale; added to */
    double *room[3]; /* [classes] each, the objective's to use */
} class_rows;
/* state of the call is a class_matrix. */
TDM_CHECKED tdm_status class_rows_make(const tdm_loss_call *call, class_rows *r);
int64_t class_rows_scratch_bytes(const tdm_loss_call *call);
/* Rows of a modality on all ranks that have a class. */
int64_t class_rows_labelled(const tdm_loss_rows *rows);
static inline bool class_has(const uint64_t *classes, int64_t c)
{
    return classes[c / 64] >> (c % 64) & 1;
}

/* A row: x[classes] are the products with the vectors, bits say its classes, of which there are `own` >= 1. Returns
 * its value and, in a walk, leaves the derivatives by the products in x. */
typedef double class_row(void *context, const class_rows *r, const uint64_t *bits, int64_t own, float *x);
/* As pairs_walk, for the rows that have a class; with the gradients of features and vectors. */
TDM_CHECKED tdm_status class_rows_walk(const class_rows *r, tdm_modality m, class_row *row, void *context,
                                       double dscale, double *value);
TDM_CHECKED tdm_status class_rows_look(const class_rows *r, tdm_modality m, class_row *row, void *context,
                                       double *value);
/* Both modalities: the mean over the rows of each, added up, into term[0] and term[1 + modality]. divide: by what the
 * means are divided besides. */
TDM_CHECKED tdm_status class_rows_means(const class_rows *r, class_row *row, void *context,
                                        const double divide[TDM_MODALITIES]);
/* squares[classes]: |c|^2 of each vector. */
void class_rows_squares(const class_rows *r, double *squares);
/* Cross-entropy of a row of logits x[classes] against its `own` classes, which share the target evenly; leaves
 * factor · (softmax - target) in x. */
double shared_row_loss(int64_t classes, const uint64_t *bits, int64_t own, float factor, float *x);
/* Adds dsum to the gradient of the bias. */
void class_rows_bias(const class_rows *r);

/* The view of a modality that an option names. Of an unknown name the first one, which check_view refuses. */
int view_named(tdm_modality modality, const char *name);
/* TDM_E_CONFIG names the option and the views that there are. */
TDM_CHECKED tdm_status check_view(const char *key, tdm_modality modality, const char *name);

#endif
