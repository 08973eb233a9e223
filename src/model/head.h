/* Private to src/model: heads behind the pooled features of a tower. A new one is a file head_NAME.c with a
 * `const head_type` and a row of head_table.h; its options are the groups model.image.NAME and model.text.NAME. */
#ifndef TANDEM_MODEL_HEAD_H
#define TANDEM_MODEL_HEAD_H

#include "model_impl.h"

/* What a head is built from; everything is borrowed. */
typedef struct head_setup {
    tdm_nn nn;
    const void *options;
    int64_t in, out;    /* widths of the tower's features and of the embedding space */
    const char *prefix; /* of its rows: "visual_head", "text_head" */
    uint32_t site;      /* of its dropout; one more for each further dropout */
    bool cached;        /* the tower's features are cached: the head is all there is to compute */
} head_setup;

typedef struct head head;

/* One call of n rows; kept is what `take` has made room for. */
typedef struct head_call {
    int64_t n;
    const int64_t *sample; /* [n] keys of dropout */
    tdm_pass pass;
    void *kept;
} head_call;

typedef struct head_type {
    const char *name;
    const tdm_option *options; /* NULL: none */
    size_t option_count, option_bytes;
    /* Rules for widths; NULL: none. group: "model.image". */
    tdm_status (*check)(const void *options, const char *group, int64_t in, int64_t out);
    tdm_status (*create)(const head_setup *setup, head **out); /* declares its rows */
    void (*destroy)(head *self); /* what tdm_free of the head does not give back; NULL: nothing */
    /* The weights have changed; scope is the tower's. NULL: nothing to do. */
    tdm_status (*load)(head *self, const tdm_scope *scope);
    /* Room for what a forward of n rows needs and its backward reads. */
    tdm_status (*take)(const head *self, tdm_scratch *scratch, int64_t n, void **kept);
    /* x[n][in] -> y[n][out] */
    tdm_status (*forward)(const head *self, const head_call *call, const float *x, float *y);
    /* Adds the gradients of its trained rows; dx[n][in] is written, NULL: not wanted. */
    tdm_status (*backward)(const head *self, const head_call *call, const float *x, const float *dy,
                           float *dx);
    size_t (*backward_bytes)(const head *self, int64_t n);                /* of scratch, beside kept */
    double (*forward_flop)(const void *options, int64_t in, int64_t out); /* of one row */
} head_type;

struct head { /* first member of a head's own struct, which tdm_free frees */
    const head_type *type;
    tdm_nn nn;
    int64_t in, out;
    bool random; /* set by create, as a tower's */
};

/* The configured head of a modality; *type is NULL for "none". Errors: TDM_E_CONFIG names the key. */
tdm_status head_find(const tdm_config *config, tdm_modality modality, const head_type **type,
                     const void **options);
tdm_status head_create(const tdm_config *config, const tdm_nn *nn, tdm_modality modality, bool cached,
                       head **out);
void head_destroy(head **self);
tdm_status head_register(void);
tdm_status head_check(const tdm_config *config, tdm_modality modality);
double head_flop(const tdm_config *config, tdm_modality modality, int64_t n);

#endif
