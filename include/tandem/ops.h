/* Layers on oneDNN and fused loops. The only header through which the rest of Tandem computes.
 *
 * Activations have the context's dtype ("act": f32 or bf16, as void pointers); the residual stream, the
 * parameters, their gradients and all statistics are f32. Gradients of parameters are ADDED to their
 * buffers, gradients of activations are written, unless said otherwise. Token rows [t][width] are the
 * concatenation of sequences; seq[n+1] holds offsets. Row counts given to tdm_linear_* should be multiples
 * of TDM_ROW_STEP so that few primitive shapes exist: callers add one dummy sequence whose gradient is zero.
 * No function allocates after warm-up except to create a primitive of a shape not seen before.
 * Results do not depend on the number of calls into which rows are cut (up to rounding in f32 with AVX2,
 * where oneDNN's matrix products sum in an order that the number of rows decides); they are deterministic for
 * a given thread count. None is collective. */
#ifndef TANDEM_OPS_H
#define TANDEM_OPS_H

#include "tandem/status.h"

#define TDM_ROW_STEP 64

typedef enum tdm_dtype { TDM_F32, TDM_BF16 } tdm_dtype;
static inline size_t tdm_dtype_bytes(tdm_dtype dtype)
{
    return dtype == TDM_BF16 ? 2 : 4;
}
static inline const char *tdm_dtype_name(tdm_dtype dtype)
{
    return dtype == TDM_BF16 ? "bf16" : "f32";
}

typedef struct tdm_ops tdm_ops;

/* dtype of activations; threads >= 1. TDM_BF16 on a CPU without native bf16 is refused: ask
 * tdm_ops_resolve_precision first. The environment variable TANDEM_ISA (generic, avx2, avx512, avx512_bf16) caps
 * the instruction sets of the fused loops and of oneDNN alike. */
TDM_CHECKED tdm_status tdm_ops_create(tdm_dtype dtype, int threads, tdm_ops **ops);
void tdm_ops_destroy(tdm_ops **ops);
tdm_dtype tdm_ops_dtype(const tdm_ops *ops);
int tdm_ops_threads(const tdm_ops *ops);
/* Called on the caller's thread when an operation has ended, so that communication goes on between the pieces
 * of a layer; it must not compute with `ops`. NULL (the start): nothing. */
void tdm_ops_set_poll(tdm_ops *ops, void (*poll)(void *context), void *context);
/* "auto" -> bf16 where AVX512_BF16 or AMX-BF16 exist (and TANDEM_ISA allows), else f32. Refuses "bf16"
 * elsewhere. AVX512_BF16 alone must be worth it: where it multiplies no faster than f32, "auto" is f32, unless
 * TANDEM_ISA names it. Ranks that ask for "auto" agree on the answer. */
TDM_CHECKED tdm_status tdm_ops_resolve_precision(const char *precision, tdm_dtype *dtype);
/* How many times as fast as f32 AVX512_BF16 multiplies here, measured within milliseconds at the first call; 0 where the
 * CPU lacks it, and where it has tiles, which need no measurement. */
double tdm_ops_bf16_gain(void);
/* "avx512+amx", "avx2" …: what the fused loops and matmuls will use. */
const char *tdm_ops_isa(const tdm_ops *ops);
/* "3.7.1": oneDNN's version. */
void tdm_ops_library(char out[24]);
/* Peak of a register-resident loop on all threads, GFLOP/s: the best of `runs` runs of about 10 ms, by the widest
 * instructions that TANDEM_ISA and the precision allow. On shared hardware one run tells what can be had at this
 * moment, five what there is. */
double tdm_ops_measure_peak_gflops(const tdm_ops *ops, int runs);
/* "FMA on 256 bits", "AMX tiles" …: those instructions. */
const char *tdm_ops_peak_name(const tdm_ops *ops);

/* Time and matmul work by kind of operation, for `tandem bench` and the progress line. */
typedef enum tdm_op_kind {
    TDM_OP_LINEAR_FORWARD,
    TDM_OP_LINEAR_DATA,
    TDM_OP_LINEAR_WEIGHT,
    TDM_OP_WEIGHT_PACK,
    TDM_OP_ATTENTION_FORWARD,
    TDM_OP_ATTENTION_BACKWARD,
    TDM_OP_CONV_FORWARD,
    TDM_OP_CONV_DATA,
    TDM_OP_CONV_WEIGHT,
    TDM_OP_LAYERNORM,
    TDM_OP_BATCHNORM,
    TDM_OP_ACTIVATION,
    TDM_OP_EMBEDDING,
    TDM_OP_LOSS,
    TDM_OP_OPTIMIZER,
    TDM_OP_OTHER,
    TDM_OP_KINDS
} tdm_op_kind;
const char *tdm_op_kind_name(tdm_op_kind kind);
typedef struct tdm_op_stats {
    double seconds[TDM_OP_KINDS];
    double flop[TDM_OP_KINDS]; /* 2·M·N·K of linears, convolutions and attention (causal counted as
                                  computed: half) */
} tdm_op_stats;
tdm_op_stats *tdm_ops_stats(tdm_ops *ops); /* borrowed; callers may zero it */
/* oneDNN primitives that the calling thread has created so far: a training step creates none after the first
 * ones, while its shapes repeat. */
int64_t tdm_ops_primitives(void);

/* ---- Conversions ---- */
void tdm_to_act(tdm_ops *ops, int64_t n, const float *x, void *y);
void tdm_clear(tdm_ops *ops, int64_t n, float *x);            /* zeros; past the caches when there are many */
void tdm_f32_to_bf16(int64_t n, const float *x, uint16_t *y); /* round to nearest even */
void tdm_bf16_to_f32(int64_t n, const uint16_t *x, float *y);

/* ---- Linear: y[t][out] = x[t][in] · W^T + bias ----
 * `weight` is [out][in] (PyTorch's Linear) or, with transposed, [in][out] (CLIP's projections). */
typedef struct tdm_linear tdm_linear;
TDM_CHECKED tdm_status tdm_linear_create(tdm_ops *ops, int64_t in, int64_t out, bool has_bias,
                                         bool transposed, tdm_linear **linear);
/* The same for rows that are f32 whatever the ops' dtype. *linear is NULL where tdm_gemm is as fast as anything: without
 * AVX2, and with TANDEM_MATMUL=dnnl. */
TDM_CHECKED tdm_status tdm_linear_create_f32(tdm_ops *ops, int64_t in, int64_t out, bool has_bias,
                                             tdm_linear **linear);
void tdm_linear_destroy(tdm_linear **linear);
/* Int8, for inference: layers that may round and are loaded while the ops are told to round hold their weight in int8, by
 * output channel, and round the rows of x to int8, each by itself. The sums are exact, so that y has the same bits on
 * every CPU and however the rows are cut into calls. Such a layer is not loaded with_backward. */
void tdm_linear_may_round(tdm_linear *linear);
void tdm_ops_round_linears(tdm_ops *ops, bool round);
/* "vnni", "amx" …: the kernel of these products. */
const char *tdm_ops_int8(const tdm_ops *ops);
/* Packs the f32 master weights for forward (and, if with_backward, for the data gradient). `weight` and
 * `bias` are borrowed until the next load. */
TDM_CHECKED tdm_status tdm_linear_load(tdm_linear *linear, const float *weight, const float *bias,
                                       bool with_backward);
/* Once a step, when the values that were loaded have changed: packs them again, unless tdm_linear_adamw has
 * done so since the last load or reload. */
TDM_CHECKED tdm_status tdm_linear_reload(tdm_linear *linear);
TDM_CHECKED tdm_status tdm_linear_forward(tdm_linear *linear, int64_t t, const void *x, void *y);
/* dx[t][in] = dy[t][out] · W */
TDM_CHECKED tdm_status tdm_linear_backward_data(tdm_linear *linear, int64_t t, const void *dy, void *dx);
/* dweight += dy^T · x (in the weight's own layout), dbias += column sums of dy. NULL: not wanted. */
TDM_CHECKED tdm_status tdm_linear_backward_weight(tdm_linear *linear, int64_t t, const void *x,
                                                  const void *dy, float *dweight, float *dbias);
/* Instead of filling dweight with zeros: the next tdm_linear_backward_weight with a dweight writes it. */
void tdm_linear_clear_gradient(tdm_linear *linear);

/* ---- Convolution of images in rows x[n·height·width][in] (channels last), stride 1, no bias ----
 * weight [out][in][kernel][kernel] as torch.nn.Conv2d's; kernel odd, zero padding of kernel/2 keeps the size.
 * With kernel 1 it is a linear layer over the pixels. */
typedef struct tdm_conv tdm_conv;
TDM_CHECKED tdm_status tdm_conv_create(tdm_ops *ops, int64_t in, int64_t out, int64_t kernel, int64_t height,
                                       int64_t width, tdm_conv **conv);
void tdm_conv_destroy(tdm_conv **conv);
/* `weight` is borrowed until the next load; it is packed now or before its first use. Once a step. */
TDM_CHECKED tdm_status tdm_conv_load(tdm_conv *conv, const float *weight, bool with_backward);
/* n images; few different n should occur, each has primitives of its own. */
TDM_CHECKED tdm_status tdm_conv_forward(tdm_conv *conv, int64_t n, const void *x, void *y);
TDM_CHECKED tdm_status tdm_conv_backward_data(tdm_conv *conv, int64_t n, const void *dy, void *dx);
/* dweight += */
TDM_CHECKED tdm_status tdm_conv_backward_weight(tdm_conv *conv, int64_t n, const void *x, const void *dy,
                                                float *dweight);

/* ---- Batch normalisation of rows x[t][width] (torch.nn.BatchNorm2d, channels last) ----
 *     y = (x - mean)·rstd·gamma + beta, rstd = 1/sqrt(variance + 1e-5)
 * The statistics are the caller's: those of a batch, whose sums may be added over ranks between the two
 * calls, or fixed ones. */
typedef struct tdm_batchnorm { /* [width] each, the caller's memory; filled by tdm_batchnorm_prepare */
    float *mean, *rstd;
    float *scale, *shift; /* y = x·scale + shift */
} tdm_batchnorm;
/* sum[2·width] = column sums of x, then of x². Relative error 1e-6 of the variance, however large the mean.
 */
void tdm_batchnorm_sums(tdm_ops *ops, int64_t t, int64_t width, const void *x, double *sum);
void tdm_batchnorm_prepare(int64_t width, const float *mean, const float *variance, const float *gamma,
                           const float *beta, tdm_batchnorm *norm);
/* y = x·scale + shift (+ residual, unless NULL), then max(y, 0) with relu. y may be x or residual. */
void tdm_batchnorm_forward(tdm_ops *ops, int64_t t, int64_t width, const void *x, const tdm_batchnorm *norm,
                           const void *residual, bool relu, void *y);
/* With g = dy, or with relu g = dy where x·scale + shift > 0 (a forward pass without residual), and
 * h = (x - mean)·rstd: sum[2·width] = column sums of g, then of g·h: the gradients of beta and gamma. */
void tdm_batchnorm_backward_sums(tdm_ops *ops, int64_t t, int64_t width, const void *x, const void *dy,
                                 const tdm_batchnorm *norm, bool relu, double *sum);
/* Statistics of a batch of `count` rows, whose sums are `sum`: dx = scale·(g - sum_g/count - h·sum_gh/count).
 * dx may be dy. */
void tdm_batchnorm_backward_data(tdm_ops *ops, int64_t t, int64_t width, const void *x, const void *dy,
                                 const tdm_batchnorm *norm, bool relu, const double *sum, double count,
                                 void *dx);
/* Fixed statistics: dx = scale·g, and the sums in the same pass. dx may be dy. */
void tdm_batchnorm_backward_fixed(tdm_ops *ops, int64_t t, int64_t width, const void *x, const void *dy,
                                  const tdm_batchnorm *norm, bool relu, double *sum, void *dx);
/* Of y = max(a + b, 0) and of the sum before it: dx[n] = da + db (NULL: da alone) where y > 0, else 0. dx may
 * be da or db. */
void tdm_residual_backward(tdm_ops *ops, int64_t n, const void *y, const void *da, const void *db, void *dx);

/* ---- Average pooling 2x2, stride 2, of images in rows [n·height·width][channels]; even height and width
 * ---- */
void tdm_average_pool_forward(tdm_ops *ops, int64_t n, int64_t height, int64_t width, int64_t channels,
                              const void *x, void *y);
/* dx[n·height·width] is written, or with add, added to. */
void tdm_average_pool_backward(tdm_ops *ops, int64_t n, int64_t height, int64_t width, int64_t channels,
                               const void *dy, bool add, void *dx);

/* ---- Attention pooling (github openai/CLIP, clip/model.py, AttentionPool2d) ---- */
/* token[n][1+pixels][width] = [mean of the pixels; pixels] + position[1+pixels][width] */
void tdm_pool_tokens_forward(tdm_ops *ops, int64_t n, int64_t pixels, int64_t width, const void *x,
                             const float *position, void *token);
/* The gradient of token is da + db, and at the first of each image dfirst[n][width] besides; dx is written,
 * dposition += . */
void tdm_pool_tokens_backward(tdm_ops *ops, int64_t n, int64_t pixels, int64_t width, const void *da,
                              const void *db, const void *dfirst, void *dx, float *dposition);
/* One query per image: q[n][heads·head_dim]; k, v[n·length][heads·head_dim] act; out[n][heads·head_dim] f32,
 * p[n][heads][length] f32 the softmax of q·k/sqrt(head_dim). */
void tdm_pool_attention_forward(tdm_ops *ops, int64_t n, int64_t length, int64_t heads, int64_t head_dim,
                                const void *q, const void *k, const void *v, float *out, float *p);
void tdm_pool_attention_backward(tdm_ops *ops, int64_t n, int64_t length, int64_t heads, int64_t head_dim,
                                 const void *q, const void *k, const void *v, const float *p,
                                 const float *dout, void *dq, void *dk, void *dv);

/* ---- LayerNorm on the f32 residual stream ----
 * forward: x_out = x + branch (branch NULL: x_out is not written, x is used); then, unless y is NULL,
 *          mean[t], rstd[t], y[t][width] = (x_out - mean)·rstd·gamma + beta, act dtype.   eps = 1e-5
 * x_out may equal x. */
void tdm_layernorm_forward(tdm_ops *ops, int64_t t, int64_t width, const float *x, const void *branch,
                           float *x_out, const float *gamma, const float *beta, void *y, float *mean,
                           float *rstd);
/* The same with f32 output and without a branch (ln_pre, whose output is the residual stream; ln_post). */
void tdm_layernorm_forward_f32(tdm_ops *ops, int64_t t, int64_t width, const float *x, const float *gamma,
                               const float *beta, float *y, float *mean, float *rstd);
/* y again, the same bits, from what a tdm_layernorm_forward left in x_out (or x), mean and rstd. */
void tdm_layernorm_again(tdm_ops *ops, int64_t t, int64_t width, const float *x, const float *mean,
                         const float *rstd, const float *gamma, const float *beta, void *y);
/* dx[t][width] f32: with add, dx += the gradient through LayerNorm (residual), else it is written.
 * dx_act, unless NULL, receives the resulting dx in act dtype (input of the branch's backward).
 * dgamma += , dbeta += . x is the LayerNorm's input. */
void tdm_layernorm_backward(tdm_ops *ops, int64_t t, int64_t width, const void *dy, const float *x,
                            const float *mean, const float *rstd, const float *gamma, bool add, float *dx,
                            void *dx_act, float *dgamma, float *dbeta);
void tdm_layernorm_backward_f32(tdm_ops *ops, int64_t t, int64_t width, const float *dy, const float *x,
                                const float *mean, const float *rstd, const float *gamma, float *dx,
                                float *dgamma, float *dbeta);

/* ---- Activation ---- quickgelu: x·sigmoid(1.702 x); gelu: x·Phi(x) (erf, as torch.nn.GELU()). */
typedef enum tdm_activation { TDM_QUICKGELU, TDM_GELU } tdm_activation;
void tdm_activation_forward(tdm_ops *ops, tdm_activation kind, int64_t n, const void *x, void *y);
/* dx may equal dy. y, unless NULL, receives the recomputed output (so that it need not be kept); in both
 * functions y may equal x. */
void tdm_activation_backward(tdm_ops *ops, tdm_activation kind, int64_t n, const void *x, const void *dy,
                             void *dx, void *y);
/* Of f32 rows whatever the ops' dtype. */
void tdm_activation_forward_f32(tdm_ops *ops, tdm_activation kind, int64_t n, const float *x, float *y);
void tdm_activation_backward_f32(tdm_ops *ops, tdm_activation kind, int64_t n, const float *x,
                                 const float *dy, float *dx);

/* ---- Attention, fused per (sequence, head) ----
 * qkv [t][3·heads·head_dim] (q, k, v thirds, as in nn.MultiheadAttention's in_proj), out [t][heads·head_dim],
 * lse [heads][t] f32 log-sum-exp of each row's scores. scale = 1/sqrt(head_dim). Any sequence length, also 0.
 * The S×S matrix is never written to memory beyond a cache-sized block. */
/* Dropout of the probabilities, behind the softmax: kept ones are scaled by 1/(1-p). The mask is keyed by (seed, step,
 * sample[sequence], site, head, query, key), so that the backward replays the forward's. */
typedef struct tdm_attention_dropout {
    double p; /* < 1 */
    uint64_t seed, step;
    uint32_t site;
    const int64_t *sample; /* [n_seq] */
} tdm_attention_dropout;
/* dropout: NULL, none */
void tdm_attention_forward(tdm_ops *ops, int64_t n_seq, const int64_t *seq, int64_t heads, int64_t head_dim,
                           bool causal, const tdm_attention_dropout *dropout, const void *qkv, void *out,
                           float *lse);
void tdm_attention_backward(tdm_ops *ops, int64_t n_seq, const int64_t *seq, int64_t heads, int64_t head_dim,
                            bool causal, const tdm_attention_dropout *dropout, const void *qkv,
                            const void *out, const float *lse, const void *dout, void *dqkv);

/* ---- Input ends of the towers ---- */
/* u8 images [n][height][width][3] -> act rows [n·grid_h·grid_w][3·patch·patch] of (u8/255 - mean)/std, in the
 * order of a conv1.weight row [3][patch][patch]; patches row by row. Height and width divisible by patch.
 * place [n][kept]: the patches of each image that become rows, counted from 0; NULL: all of them, whatever kept. */
void tdm_patchify(tdm_ops *ops, int64_t n, int64_t height, int64_t width, int64_t patch, int64_t kept,
                  const int64_t *place, const uint8_t *image, const double mean[3], const double std[3],
                  void *rows);
/* The same for overlapping windows, as a convolution of any stride with zero padding sees them: act rows
 * [n·out_h·out_w][3·kernel·kernel], out_h = (height + 2·pad - kernel)/stride + 1; 0 outside the image. */
void tdm_image_windows(tdm_ops *ops, int64_t n, int64_t height, int64_t width, int64_t kernel, int64_t stride,
                       int64_t pad, const uint8_t *image, const double mean[3], const double std[3],
                       void *rows);
/* x[n][1+patches][width] f32 = [class_token; patch rows] + positions: position[0] of the class token, position[1+i]
 * of patch i. place [n][patches]: which patches the rows are, as of tdm_patchify; NULL: 0 … patches-1. */
void tdm_image_tokens_forward(tdm_ops *ops, int64_t n, int64_t patches, const int64_t *place, int64_t width,
                              const void *patch_rows, const float *class_token, const float *position,
                              float *x);
/* Splits dx: d_patch_rows act [n·patches][width] is written, dclass_token += , dposition += . */
void tdm_image_tokens_backward(tdm_ops *ops, int64_t n, int64_t patches, const int64_t *place, int64_t width,
                               const float *dx, void *d_patch_rows, float *dclass_token, float *dposition);
/* x[t][width] f32 = table[token[t]] + position[place in its sequence]; of a token -1-i it is context[i] in place of a
 * row of the table (NULL: there are none). Rows beyond seq[n_seq] are not touched. */
void tdm_text_tokens_forward(tdm_ops *ops, int64_t n_seq, const int64_t *seq, int64_t width,
                             const int32_t *token, const float *table, const float *context,
                             const float *position, float *x);
/* dtable[token] += dx row, dcontext[-1-token] += , dposition += , each unless NULL; summed in a fixed order. No dense
 * vocabulary pass. */
void tdm_text_tokens_backward(tdm_ops *ops, int64_t n_seq, const int64_t *seq, int64_t width,
                              const int32_t *token, const float *dx, float *dtable, float *dcontext,
                              float *dposition);
/* y[n][width] = x[row[i]]; and the adjoint: dx[row[i]] += dy[i] (rows distinct). */
void tdm_gather_rows(tdm_ops *ops, int64_t n, int64_t width, const int64_t *row, const float *x, float *y);
void tdm_scatter_rows(tdm_ops *ops, int64_t n, int64_t width, const int64_t *row, const float *dy, float *dx);

/* ---- Dropout on act rows [t][width], in place ----
 * Kept values are scaled by 1/(1-p). The mask of a row is keyed by (seed, step, sample[sequence of the row],
 * site, place in the sequence): calling it on the gradient with the same keys replays it. place[n_seq]: of
 * the first row that is here of each sequence; NULL: 0. */
void tdm_dropout(tdm_ops *ops, double p, uint64_t seed, uint64_t step, uint32_t site, int64_t n_seq,
                 const int64_t *seq, const int64_t *sample, const int64_t *place, int64_t width, void *x);
/* The same on f32 rows x[n][width], one of each sample, into y, which may be x. Element k has the k-th number of its
 * row's stream. */
void tdm_dropout_rows(tdm_ops *ops, double p, uint64_t seed, uint64_t step, uint32_t site, int64_t n,
                      const int64_t *sample, int64_t width, const float *x, float *y);

/* ---- Output end ---- */
/* y = x / |x| per row (f32); norm[n] kept. Rows of norm < 1e-12 are divided by 1e-12 as torch's normalize. */
void tdm_l2norm_forward(tdm_ops *ops, int64_t n, int64_t width, const float *x, float *y, float *norm);
/* dx = (dy - y·(y·dy)) / norm */
void tdm_l2norm_backward(tdm_ops *ops, int64_t n, int64_t width, const float *y, const float *norm,
                         const float *dy, float *dx);
/* dx += the same; rows of at most tens of millions of floats. */
void tdm_l2norm_backward_add(tdm_ops *ops, int64_t n, int64_t width, const float *y, const float *norm,
                             const float *dy, float *dx);
/* C[m][n] = alpha·op(A)·op(B) + beta·C, f32 row-major with leading dimensions. */
TDM_CHECKED tdm_status tdm_gemm(tdm_ops *ops, bool transpose_a, bool transpose_b, int64_t m, int64_t n,
                                int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                                int64_t ldb, float beta, float *c, int64_t ldc);
/* Rows of logits [n][classes] against target rows of the same shape (each sums to 1):
 * loss[i] = -sum_j target_ij·log_softmax(logits)_ij ; logits become softmax - target. f32, max-subtracted. */
void tdm_softmax_cross_entropy(tdm_ops *ops, int64_t n, int64_t classes, float *logits, const float *target,
                               float *loss);

/* ---- Optimiser's inner loops (called by optim/) ---- */
double tdm_sum_squares(tdm_ops *ops, int64_t n, const float *x); /* in f64, fixed order */
/* One AdamW update (Loshchilov and Hutter, 2019, as torch.optim.AdamW): g is multiplied by grad_scale first;
 * w -= lr·decay·w; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g²; w -= lr·(m/c1)/(sqrt(v/c2)+eps),
 * c1 = 1-b1^step, c2 = 1-b2^step. */
typedef struct tdm_adamw {
    double grad_scale, lr, beta1, beta2, eps, decay;
    int64_t step;
} tdm_adamw;
void tdm_adamw_update(tdm_ops *ops, const tdm_adamw *rule, int64_t n, float *w, const float *g, float *m,
                      float *v);
/* The same for the whole weight of a linear layer, the one that was loaded: packs it as well, part by part
 * while it is in the cache. The result has the bits of tdm_adamw_update and tdm_linear_load. */
TDM_CHECKED tdm_status tdm_linear_adamw(tdm_linear *linear, const tdm_adamw *rule, float *w, const float *g,
                                        float *m, float *v);

#endif
