/* Layers that towers, heads and objectives are built of, and the rules by which they own rows of the parameter
 * arena. Private to the library: installed for completeness, no stable interface.
 *
 * A module (a tower, a head, an objective) declares its rows in forward order while it is created; they are one
 * stretch of the arena. The arena is allocated behind all modules and filled. `load` then packs the weights for
 * the matmuls, once, and again after every optimiser step. Nothing here is collective. */
#ifndef TANDEM_NN_H
#define TANDEM_NN_H

#include "tandem/base.h"
#include "tandem/ops.h"
#include "tandem/params.h"

/* What a layer is built from. Everything is borrowed and outlives it. */
typedef struct tdm_nn {
    tdm_ops *ops;
    tdm_params *params;
    tdm_scratch *scratch; /* activations and temporaries, a stack */
    bool train;           /* room for what a backward needs */
} tdm_nn;

/* What is kept of a transformer's block from forward to backward; each level keeps more than the one before. */
typedef enum tdm_keep { TDM_KEEP_NOTHING, TDM_KEEP_INPUT, TDM_KEEP_ATTENTION, TDM_KEEP_ALL } tdm_keep;

/* The rows of one module, and which of them are trained. Its owner sets it; layers read it. A layer that does
 * not heed lowest_row is right, only slower: gradients of frozen rows are ignored. */
typedef struct tdm_scope {
    int64_t first_row, end_row; /* rows [first_row, end_row) of the arena, once they are declared */
    int64_t lowest_row; /* before each load: the first trained row; nothing below it needs a gradient */
    bool only_trained;  /* before each load: rows that are not trained have not changed since the last */
    tdm_keep level;     /* while nothing waits for a backward: what transformer blocks keep */
} tdm_scope;

/* Is anything of the module below this row of it trained, so that the gradient has to go on? */
static inline bool tdm_goes_below(const tdm_scope *scope, int64_t row)
{
    return scope->lowest_row < row;
}

/* One pass of a training step or of an evaluation. Dropout is on when train; its masks are keyed by (seed, step,
 * sample, site). Patch dropout is on when train and not whole_images. */
typedef struct tdm_pass {
    bool train, whole_images;
    uint64_t seed, step;
} tdm_pass;

/* Told by a backward after each layer: the arena from `begin` to the end of the module's rows has its final
 * gradient if this was the last piece of the batch. */
typedef void tdm_final_from(void *context, int64_t begin);

/* ---- Rows of the arena ---- */

/* Declares PREFIX.NAME of up to 4 dimensions; weight decay applies to matrices only, as in open_clip. */
TDM_CHECKED tdm_status tdm_declare(tdm_params *params, int64_t *index, tdm_init init, double init_value,
                                   int ndim, const int64_t *shape, const char *prefix, const char *name);
/* Gives the rows from `first` to the last one declared their place in the tower: see tdm_param.layer. */
static inline void tdm_set_layer(tdm_params *params, int64_t first, int64_t layer)
{
    for (int64_t i = first; i < params->count; i++) params->row[i].layer = (int)layer;
}
static inline bool tdm_is_trained(const tdm_params *params, int64_t index)
{
    return tdm_param_trained(&params->row[index]);
}
/* f32 arrays of a row, by index. */
static inline float *tdm_weight_of(const tdm_params *params, int64_t index)
{
    return params->weight + params->row[index].offset;
}
static inline float *tdm_grad_of(const tdm_params *params, int64_t index)
{
    return params->grad + params->row[index].offset;
}

/* ---- Linear layers whose weights are rows ---- */

/* dW and db of a linear layer, as far as they are trained. bias < 0: it has none. */
TDM_CHECKED tdm_status tdm_weight_gradient(const tdm_params *params, tdm_linear *linear, int64_t weight,
                                           int64_t bias, int64_t t, const void *x, const void *dy);
/* Packs a linear layer; leaves out what is packed already, and the backward's copy where nothing below it is
 * trained. bias < 0: it has none. */
TDM_CHECKED tdm_status tdm_load_linear(const tdm_scope *scope, const tdm_params *params, tdm_linear *linear,
                                       int64_t weight, int64_t bias, bool train);

/* ---- f32 layers of few rows, for heads and objectives: computed from the arena's weights, nothing is packed ----
 */
typedef struct tdm_nn_linear {
    int64_t in, out;
    int64_t weight, bias; /* rows PREFIX.weight [out][in] and PREFIX.bias [out]; bias < 0: it has none */
    tdm_linear *packed;   /* by tdm_nn_linear_pack, NULL: nothing is packed; owned */
} tdm_nn_linear;
/* Initial values of torch.nn.Linear: uniform within 1/sqrt(in), weight and bias. */
TDM_CHECKED tdm_status tdm_nn_linear_declare(tdm_params *params, const char *prefix, int64_t in, int64_t out,
                                             bool has_bias, tdm_nn_linear *layer);
/* For a layer of many rows: from now on its weights are packed by each load, and its products are those of towers, where
 * the CPU has any that are faster than tdm_gemm. They round otherwise. To be freed. */
TDM_CHECKED tdm_status tdm_nn_linear_pack(const tdm_nn *nn, tdm_nn_linear *layer);
void tdm_nn_linear_free(tdm_nn_linear *layer);
/* Once the weights have changed. Nothing to do for a layer that is not packed. */
TDM_CHECKED tdm_status tdm_nn_linear_load(const tdm_nn *nn, const tdm_scope *scope, tdm_nn_linear *layer);
/* y[n][out] = x[n][in] · W^T + bias */
TDM_CHECKED tdm_status tdm_nn_linear_forward(const tdm_nn *nn, const tdm_nn_linear *layer, int64_t n,
                                             const float *x, float *y);
/* Adds the gradients of the trained rows; dx[n][in] is written, NULL: not wanted. */
TDM_CHECKED tdm_status tdm_nn_linear_backward(const tdm_nn *nn, const tdm_nn_linear *layer, int64_t n,
                                              const float *x, const float *dy, float *dx);

/* y may be x, dx may be dy. gelu: x·Phi(x) (erf); quickgelu: x·sigmoid(1.702 x). */
typedef enum tdm_nn_activation { TDM_NN_RELU, TDM_NN_GELU, TDM_NN_QUICKGELU } tdm_nn_activation;
void tdm_nn_activation_forward(tdm_nn_activation kind, int64_t n, const float *x, float *y);
void tdm_nn_activation_backward(tdm_nn_activation kind, int64_t n, const float *x, const float *dy,
                                float *dx);
/* Dropout of x[n][width] into y, which may be x; x itself where the pass does not train. Row i's mask is keyed by (seed, step, sample[i], site), so
 * that the same call on the gradient is its backward. */
void tdm_nn_dropout(const tdm_nn *nn, const tdm_pass *pass, double p, uint32_t site, int64_t n,
                    const int64_t *sample, int64_t width, const float *x, float *y);

/* y = dropout(W2 · activation(W1 · x + b1) + b2) */
typedef struct tdm_nn_mlp_setup {
    const char *prefix, *first, *second; /* rows PREFIX.FIRST.weight …; NULL: fc1 and fc2 */
    int64_t in, hidden, out;
    bool has_bias;
    tdm_nn_activation activation;
    double dropout;
    uint32_t site; /* of the dropout */
} tdm_nn_mlp_setup;
typedef struct tdm_nn_mlp {
    tdm_nn_linear first, second;
    tdm_nn_activation activation;
    double dropout;
    uint32_t site;
} tdm_nn_mlp;
typedef struct tdm_nn_mlp_kept {
    float *hidden, *activated; /* [n][hidden] before and after the activation */
} tdm_nn_mlp_kept;
TDM_CHECKED tdm_status tdm_nn_mlp_declare(tdm_params *params, const tdm_nn_mlp_setup *setup, tdm_nn_mlp *mlp);
/* Room for what a forward needs, and a backward reads. */
TDM_CHECKED tdm_status tdm_nn_mlp_take(const tdm_nn_mlp *mlp, tdm_scratch *scratch, int64_t n,
                                       tdm_nn_mlp_kept *kept);
TDM_CHECKED tdm_status tdm_nn_mlp_forward(const tdm_nn *nn, const tdm_nn_mlp *mlp, const tdm_pass *pass,
                                          int64_t n, const int64_t *sample, const float *x,
                                          const tdm_nn_mlp_kept *kept, float *y);
/* x, kept, pass, sample: as the forward had them. Adds the gradients of the trained rows; dx NULL: not wanted. */
TDM_CHECKED tdm_status tdm_nn_mlp_backward(const tdm_nn *nn, const tdm_nn_mlp *mlp, const tdm_pass *pass,
                                           int64_t n, const int64_t *sample, const float *x,
                                           const tdm_nn_mlp_kept *kept, const float *dy, float *dx);
size_t tdm_nn_mlp_backward_bytes(const tdm_nn_mlp *mlp, int64_t n); /* of scratch, beside kept */

/* LayerNorm with eps 1e-5: rows PREFIX.weight and PREFIX.bias. mean, rstd [n] are for the backward. */
typedef struct tdm_nn_norm {
    int64_t width, weight, bias;
} tdm_nn_norm;
TDM_CHECKED tdm_status tdm_nn_norm_declare(tdm_params *params, const char *prefix, int64_t width,
                                           tdm_nn_norm *norm);
void tdm_nn_norm_forward(const tdm_nn *nn, const tdm_nn_norm *norm, int64_t n, const float *x, float *y,
                         float *mean, float *rstd);
/* Adds to the gradients of both rows; dx is written. */
void tdm_nn_norm_backward(const tdm_nn *nn, const tdm_nn_norm *norm, int64_t n, const float *x,
                          const float *mean, const float *rstd, const float *dy, float *dx);

/* Cross-attention: rows of query sequence i see those of key sequence i; no mask, no dropout, no residual. Rows
 * PREFIX.in_proj_weight [3w][w], in_proj_bias, out_proj.weight, out_proj.bias, as torch.nn.MultiheadAttention. */
typedef struct tdm_nn_cross_attention {
    int64_t width, heads;
    int64_t in_weight, in_bias, out_weight, out_bias;
} tdm_nn_cross_attention;
/* Offsets [n+1] of n sequences of each list, both from 0. A sequence of keys has at least one row. */
typedef struct tdm_nn_pairs {
    int64_t n;
    const int64_t *query, *key;
} tdm_nn_pairs;
typedef struct tdm_nn_cross_attention_kept {
    float *q, *kv, *p, *attended;
} tdm_nn_cross_attention_kept;
/* Initial values: in_proj normal with width^-1/2, out_proj with out_std, biases 0. */
TDM_CHECKED tdm_status tdm_nn_cross_attention_declare(tdm_params *params, const char *prefix, int64_t width,
                                                      int64_t heads, double out_std,
                                                      tdm_nn_cross_attention *layer);
TDM_CHECKED tdm_status tdm_nn_cross_attention_take(const tdm_nn_cross_attention *layer, tdm_scratch *scratch,
                                                   const tdm_nn_pairs *pairs,
                                                   tdm_nn_cross_attention_kept *kept);
/* xq [query[n]][w], xk [key[n]][w] (keys and values) -> y [query[n]][w]; kept is filled. */
TDM_CHECKED tdm_status tdm_nn_cross_attention_forward(const tdm_nn *nn, const tdm_nn_cross_attention *layer,
                                                      const tdm_nn_pairs *pairs, const float *xq,
                                                      const float *xk,
                                                      const tdm_nn_cross_attention_kept *kept, float *y);
/* Adds the gradients of the trained rows; dxq and dxk are written, NULL: not wanted. */
TDM_CHECKED tdm_status tdm_nn_cross_attention_backward(const tdm_nn *nn, const tdm_nn_cross_attention *layer,
                                                       const tdm_nn_pairs *pairs, const float *xq,
                                                       const float *xk,
                                                       const tdm_nn_cross_attention_kept *kept,
                                                       const float *dy, float *dxq, float *dxk);
size_t tdm_nn_cross_attention_backward_bytes(const tdm_nn_cross_attention *layer, const tdm_nn_pairs *pairs);

/* ---- A stack of pre-LayerNorm residual blocks over sequences of any length ---- */
/* What of a block can be left out: a branch with its LayerNorm, the residual kept; both: the block is an identity. */
enum { TDM_BLOCK_ATTENTION = 1, TDM_BLOCK_MLP = 2, TDM_BLOCK_WHOLE = 3 };
typedef struct tdm_transformer_setup {
    const tdm_nn *nn;
    const tdm_scope *scope; /* of the module that it belongs to */
    const char *prefix;     /* "visual.transformer" or "transformer" */
    int64_t width, layers, heads, mlp_width;
    tdm_activation activation;
    bool causal;
    double dropout, attention_dropout; /* of the branches, of the probabilities */
    uint32_t dropout_site;             /* of the first block's first branch; 4096 are the transformer's */
    /* [layers] what is left out; NULL: nothing. Its rows are declared all the same, as buffers. */
    const unsigned char *without;
} tdm_transformer_setup;

typedef struct tdm_transformer tdm_transformer;
typedef struct tdm_transformer_tape tdm_transformer_tape; /* what a forward leaves, on the scratch stack */
TDM_CHECKED tdm_status tdm_transformer_create(const tdm_transformer_setup *setup, tdm_transformer **out);
void tdm_transformer_destroy(tdm_transformer **tr);
TDM_CHECKED tdm_status tdm_transformer_load(tdm_transformer *tr);
int64_t tdm_transformer_layers(const tdm_transformer *tr);
/* Rows [begin, end) of parts of a block, counted from 0; none for no part. */
tdm_span tdm_transformer_part(const tdm_transformer *tr, int64_t layer, unsigned part);
/* Of a transformer without a backward, until the next call: another choice of what is left out of a block. What the
 * last load found left out is not packed, and must stay so. */
void tdm_transformer_leave_out(tdm_transformer *tr, int64_t layer, unsigned part);
unsigned tdm_transformer_left_out(const tdm_transformer *tr, int64_t layer);

/* Rows of sequences, one sequence behind the other: seq[n_seq+1], seq[0] = 0, seq[n_seq] = t, a multiple of
 * TDM_ROW_STEP: the last sequence is the filler, whose gradient is zero. sample[n_seq]. place[n_seq]: of a
 * sequence's first row in the whole one, where it is a part; NULL: 0. Borrowed until the backward. */
typedef struct tdm_sequences {
    int64_t t, n_seq;
    const int64_t *seq;
    const int64_t *sample;
    const int64_t *place;
} tdm_sequences;

/* From x [t][width] f32 to out [n][width] f32, the rows out_row[n] of the result, each in the sequence of its
 * number; no others are computed. out_row NULL: out [t][width], all rows, whatever n. tape, unless NULL, receives what the backward needs; x stays in use until
 * then, as does out_row. */
TDM_CHECKED tdm_status tdm_transformer_forward(tdm_transformer *tr, const tdm_sequences *rows,
                                               const tdm_pass *mode, float *x, int64_t n,
                                               const int64_t *out_row, float *out,
                                               tdm_transformer_tape **tape);
/* dout [n][width] or [t][width] is the gradient of out, zero in the filler; dx [t][width] receives that of x, unless nothing below the blocks
 * is trained: then it stops at the lowest trained row. */
TDM_CHECKED tdm_status tdm_transformer_backward(tdm_transformer *tr, tdm_transformer_tape *tape,
                                                const float *dout, float *dx, tdm_final_from *final_from,
                                                void *context);
/* Share of the backward's matmuls that frozen rows leave, 0 … 1. */
double tdm_transformer_backward_share(const tdm_transformer *tr);
/* Bytes of scratch for t rows of n sequences, or, n = -1, where all rows are wanted; as of the last load. */
typedef struct tdm_transformer_bytes {
    size_t kept, forward, backward, lone; /* lone: of a forward without tape */
} tdm_transformer_bytes;
TDM_CHECKED tdm_status tdm_transformer_scratch_bytes(const tdm_transformer *tr, int64_t t, int64_t n,
                                                     tdm_transformer_bytes *bytes);
/* Matmul FLOP of one forward of n sequences; without: as in the setup. */
double tdm_transformer_flop(int64_t width, int64_t layers, double mlp_ratio, int64_t n, int64_t tokens,
                            int64_t tokens_squared, bool causal, const unsigned char *without);

/* ---- Scratch ---- */
static inline size_t tdm_larger(size_t a, size_t b)
{
    return a > b ? a : b;
}
/* Typed scratch: TDM_TAKE(scratch, count, &pointer) */
#define TDM_TAKE(scratch, count, out)                                                                        \
    TDM_TRY(tdm_scratch_take((scratch), sizeof(**(out)) * (size_t)(count), (void **)(out)))
#define TDM_TAKE_ACT(scratch, ops, count, out)                                                               \
    TDM_TRY(tdm_scratch_take((scratch), tdm_dtype_bytes(tdm_ops_dtype(ops)) * (size_t)(count), (out)))

#endif
