/* Private to src/model: what a tower is, and the transformer that both towers share. */
#ifndef TANDEM_MODEL_IMPL_H
#define TANDEM_MODEL_IMPL_H

#include "tandem/base.h"
#include "tandem/model.h"

/* What a tower is built from. Everything is borrowed and outlives the tower. */
typedef struct rank_sum { /* of tdm_model_set_rank_sum */
    tdm_rank_sum *sum;
    void *context;
} rank_sum;

typedef struct tower_setup {
    const tdm_config *config; /* valid during create only */
    tdm_ops *ops;
    tdm_params *params;
    tdm_scratch *scratch; /* activations and temporaries, a stack */
    const rank_sum *rank_sum;
    bool train;
} tower_setup;

typedef struct tower tower;

/* Tensors of a block come in groups; backward finds those up to the level kept and makes the others again. */
typedef enum tape_level { KEEP_NOTHING, KEEP_INPUT, KEEP_ATTENTION, KEEP_ALL } tape_level;

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
    bool has_levels; /* heeds tower.level; others know KEEP_ALL only */
    /* Declares its parameters in forward order. */
    tdm_status (*create)(const tower_setup *setup, tower **out);
    void (*destroy)(tower **self);
    tdm_status (*load)(tower *self); /* packs the weights */
    /* features f32 [n][embed_dim]; keep: leaves its activations on the scratch stack, as a record that
     * becomes self->kept, for one backward, which takes the last record off. */
    tdm_status (*forward)(tower *self, const tdm_tower_input *input, const tdm_tower_mode *mode, bool keep,
                          float *features);
    tdm_status (*backward)(tower *self, const float *dfeatures, tdm_final_from *final_from, void *context);
    void (*update_statistics)(tower *self, bool apply); /* NULL: has none */
    /* Of one call with n samples, upper bounds, as of the last load (before the first: all is trained). */
    tdm_status (*scratch_bytes)(const tower *self, int64_t n, int64_t tokens_per_caption, tower_bytes *bytes);
    /* FLOP of one forward: see tdm_model_tower_flop. */
    double (*forward_flop)(const tdm_config *config, int64_t n, int64_t tokens, int64_t tokens_squared);
    /* Share of the backward's matmuls that frozen rows leave, 0 … 1; may be NULL: all of them. */
    double (*backward_share)(const tower *self);
} tower_type;

struct tower {
    const tower_type *type;
    /* Set by the model. A tower that does not heed them is right, only slower: gradients of frozen rows are
     * ignored, and a tower that is frozen as a whole is never asked for its activations or a backward. */
    int64_t first_row, end_row; /* its rows of the arena, after create */
    int64_t lowest_row; /* before each load: its first trained row; nothing below it needs a gradient */
    bool only_trained;  /* before each load: rows that are not trained have not changed since the last */
    tape_level level;   /* while nothing waits: what its blocks keep */
    /* The tower's own: the last of the forwards that wait for their backward, NULL when none does. */
    void *kept;
};

/* Is anything of the tower below this row of it trained, so that the gradient has to go on? */
static inline bool goes_below(const tower *self, int64_t row)
{
    return self->lowest_row < row;
}

const tower_type *tower_type_find(const char *name, tdm_modality modality);

/* ---- A stack of pre-LayerNorm residual blocks over packed sequences ---- */
typedef struct transformer_setup {
    const tower_setup *tower;
    const tower *owner;
    const char *prefix; /* "visual.transformer" or "transformer" */
    int64_t width, layers, heads, mlp_width;
    tdm_activation activation;
    bool causal;
    double dropout;
    uint32_t dropout_site; /* of the first block's first branch */
} transformer_setup;

typedef struct transformer transformer;
typedef struct transformer_tape transformer_tape; /* what a forward leaves, on the scratch stack */
tdm_status transformer_create(const transformer_setup *setup, transformer **out);
void transformer_destroy(transformer **tr);
tdm_status transformer_load(transformer *tr);

/* Rows of sequences: seq[n_seq+1], seq[0] = 0, seq[n_seq] = t, a multiple of TDM_ROW_STEP: the last sequence
 * is the filler, whose gradient is zero. sample[n_seq]. place[n_seq]: of a sequence's first row in the whole
 * one, where it is a part; NULL: 0. Borrowed until the backward. */
typedef struct packed {
    int64_t t, n_seq;
    const int64_t *seq;
    const int64_t *sample;
    const int64_t *place;
} packed;

/* From x [t][width] f32 to out [n][width] f32, the rows out_row[n] of the result, each in the sequence of its
 * number; no others are computed. tape, unless NULL, receives what the backward needs; x stays in use until
 * then, as does out_row. */
tdm_status transformer_forward(transformer *tr, const packed *rows, const tdm_tower_mode *mode, float *x,
                               int64_t n, const int64_t *out_row, float *out, transformer_tape **tape);
/* dout [n][width] is the gradient of out; dx [t][width] receives that of x, unless nothing below the blocks
 * is trained: then it stops at the lowest trained row. */
tdm_status transformer_backward(transformer *tr, transformer_tape *tape, const float *dout, float *dx,
                                tdm_final_from *final_from, void *context);
/* See tower_type.backward_share. */
double transformer_backward_share(const transformer *tr);
/* Bytes of scratch for t rows of n sequences, as of the last load. */
typedef struct transformer_bytes {
    size_t kept, forward, backward, lone; /* lone: of a forward without tape */
} transformer_bytes;
tdm_status transformer_scratch_bytes(const transformer *tr, int64_t t, int64_t n, transformer_bytes *bytes);

/* Of one forward of n sequences. */
double transformer_flop(int64_t width, int64_t layers, double mlp_ratio, int64_t n, int64_t tokens,
                        int64_t tokens_squared, bool causal);

/* ---- Small helpers ---- */
static inline size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}
/* Declares NAME of up to 4 dimensions; weight decay applies to matrices only, as in open_clip. */
tdm_status declare(tdm_params *params, int64_t *index, tdm_init init, double init_value, int ndim,
                   const int64_t *shape, const char *prefix, const char *name);
/* Gives the rows from `first` to the last one declared their place in the tower: see tdm_param.layer. */
static inline void set_layer(tdm_params *params, int64_t first, int64_t layer)
{
    for (int64_t i = first; i < params->count; i++) params->row[i].layer = (int)layer;
}
static inline bool is_trained(const tdm_params *params, int64_t index)
{
    return tdm_param_trained(&params->row[index]);
}
/* dW and db of a linear layer, as far as they are trained. bias < 0: it has none. */
tdm_status weight_gradient(const tdm_params *params, tdm_linear *linear, int64_t weight, int64_t bias,
                           int64_t t, const void *x, const void *dy);
/* Packs a linear layer; leaves out what is packed already, and the backward's copy where nothing below it is
 * trained. bias < 0: it has none. */
tdm_status load_linear(const tower *self, const tdm_params *params, tdm_linear *linear, int64_t weight,
                       int64_t bias, bool train);
/* f32 arrays of a row, by index. */
static inline float *weight_of(const tdm_params *params, int64_t index)
{
    return params->weight + params->row[index].offset;
}
static inline float *grad_of(const tdm_params *params, int64_t index)
{
    return params->grad + params->row[index].offset;
}
/* Typed scratch: TAKE(scratch, count, &pointer) */
#define TAKE(scratch, count, out)                                                                            \
    TDM_TRY(tdm_scratch_take((scratch), sizeof(**(out)) * (size_t)(count), (void **)(out)))
#define TAKE_ACT(scratch, ops, count, out)                                                                   \
    TDM_TRY(tdm_scratch_take((scratch), tdm_dtype_bytes(tdm_ops_dtype(ops)) * (size_t)(count), (out)))

#endif
