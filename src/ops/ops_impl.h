/* Private to src/ops: the context, the table of fused loops and their plain reference twins. */
#ifndef TANDEM_OPS_IMPL_H
#define TANDEM_OPS_IMPL_H

#include "tandem/base.h"
#include "tandem/cpu.h"
#include "tandem/ops.h"

/* ---- Fused loops: one serial function per kernel, compiled for several instruction sets ----
 * Rows are dense; "act" pointers have type dtype. Sums are added to their buffers. */
/* Dropout of a head's probabilities. Key k of a query has word k%64/16 of the Philox block {first + k/64·16 + k%16,
 * query, high}: 64 neighbours are four vectors of 16. */
typedef struct attention_mask {
    uint32_t threshold; /* a probability stays where its word is not below; 0: there is no dropout */
    float scale;        /* of what stays */
    uint32_t first, key[2], high[2];
} attention_mask;
#define ATTENTION_MASK_GROUP 64 /* keys */
/* factor[keys, rounded up to groups]: 0 or the scale, of the keys from `key`, which begins a group */
typedef void attention_factors_of(const attention_mask *mask, int64_t query, int64_t key, int64_t keys,
                                  float *factor);

typedef struct attention_head {
    tdm_dtype dtype;
    int64_t length;   /* S: rows of the sequence */
    int64_t head_dim; /* hd */
    int64_t qkv_step; /* elements between rows of q, k, v and of their gradients */
    int64_t out_step; /* elements between rows of out and dout */
    bool causal;
    bool stream; /* past the caches: what all heads write would not stay there */
    float scale;
    attention_mask mask;
    attention_factors_of *factors; /* the table's */
    const void *q, *k, *v;         /* act [S][hd] */
    void *out;                     /* act [S][hd]; written by forward, read by backward */
    float *lse;                    /* [S]; written by forward, read by backward */
    const void *dout;              /* act [S][hd]; backward only, and so on */
    void *dq, *dk, *dv;
    const struct attention_head
        *next; /* the head that this thread takes next: its rows may be fetched; or NULL */
} attention_head;

typedef struct pool_attention { /* of one image */
    tdm_dtype dtype;
    int64_t length, heads, head_dim;
    float scale;
    const void *q, *k, *v; /* act [width], [length][width], [length][width] */
    float *out, *p;        /* [width], [heads][length]; p is read by backward */
    const float *dout;     /* backward only, and so on */
    void *dq, *dk, *dv;
} pool_attention;

typedef struct adamw_step {
    float grad_scale, keep;           /* keep = 1 - lr·decay */
    float beta1, rest1, beta2, rest2; /* rest = 1 - beta, rounded once */
    float step_size, rsqrt_c2, eps;   /* lr / c1, 1 / sqrt(c2) */
} adamw_step;
adamw_step adamw_constants(const tdm_adamw *rule);

typedef struct ops_kernels {
    const char *name;
    void (*f32_to_bf16)(int64_t n, const float *x, uint16_t *y);
    void (*bf16_to_f32)(int64_t n, const uint16_t *x, float *y);
    void (*clear)(int64_t n, float *x);
    /* y = a + b; y may be a or b */
    void (*add)(int64_t n, const float *a, const float *b, float *y);
    void (*add_act)(tdm_dtype dtype, int64_t n, const void *a, const float *b, float *y);
    void (*layernorm_forward)(tdm_dtype dtype, int64_t rows, int64_t width, const float *x,
                              const void *branch, float *x_out, const float *gamma, const float *beta,
                              void *y, float *mean, float *rstd);
    /* y from x_out, mean and rstd of a forward: its bits */
    void (*layernorm_again)(tdm_dtype dtype, int64_t rows, int64_t width, const float *x, const float *mean,
                            const float *rstd, const float *gamma, const float *beta, void *y);
    void (*layernorm_backward)(tdm_dtype dtype, int64_t rows, int64_t width, const void *dy, const float *x,
                               const float *mean, const float *rstd, const float *gamma, bool add, float *dx,
                               void *dx_act, float *dgamma, float *dbeta);
    void (*activation_forward)(tdm_activation kind, tdm_dtype dtype, int64_t n, const void *x, void *y);
    void (*activation_backward)(tdm_activation kind, tdm_dtype dtype, int64_t n, const void *x,
                                const void *dy, void *dx, void *y);
    /* sums[width] += x[rows][width] summed over rows */
    void (*column_sums)(tdm_dtype dtype, int64_t rows, int64_t width, const void *x, float *sums);
    /* scratch: attention_scratch_bytes of attention.c, 64-byte aligned */
    void (*attention_forward)(const attention_head *head, void *scratch);
    void (*attention_backward)(const attention_head *head, void *scratch);
    attention_factors_of *attention_factors;
    /* Batch normalisation: sums[2·width] f32 are added to; see tandem/ops.h for h and g.
     * sums: of x - centre, then of its square */
    void (*batchnorm_sums)(tdm_dtype dtype, int64_t rows, int64_t width, const void *x, const float *centre,
                           float *sums);
    void (*batchnorm_forward)(tdm_dtype dtype, int64_t rows, int64_t width, const void *x,
                              const tdm_batchnorm *norm, const void *residual, bool relu, void *y);
    void (*batchnorm_backward_sums)(tdm_dtype dtype, int64_t rows, int64_t width, const void *x,
                                    const void *dy, const tdm_batchnorm *norm, bool relu, float *sums);
    /* dx = scale·g + slope·(x - mean) + offset */
    void (*batchnorm_backward_data)(tdm_dtype dtype, int64_t rows, int64_t width, const void *x,
                                    const void *dy, const tdm_batchnorm *norm, bool relu, const float *slope,
                                    const float *offset, void *dx);
    void (*residual_backward)(tdm_dtype dtype, int64_t n, const void *y, const void *da, const void *db,
                              void *dx);
    /* One row of `width` outputs from two rows of 2·width pixels, and back. */
    void (*average_pool_forward)(tdm_dtype dtype, int64_t width, int64_t channels, const void *upper,
                                 const void *lower, void *y);
    void (*average_pool_backward)(tdm_dtype dtype, int64_t width, int64_t channels, const void *dy, bool add,
                                  void *upper, void *lower);
    /* One image. scratch: [width] */
    void (*pool_tokens_forward)(tdm_dtype dtype, int64_t pixels, int64_t width, const void *x,
                                const float *position, void *token, float *scratch);
    void (*pool_tokens_backward)(tdm_dtype dtype, int64_t pixels, int64_t width, const void *da,
                                 const void *db, const void *dfirst, void *dx, float *scratch);
    /* One image. scratch: [length + head_dim] */
    void (*pool_attention_forward)(const pool_attention *pool);
    void (*pool_attention_backward)(const pool_attention *pool, float *scratch);
    /* n pixels of three bytes -> plane[channel][n] bf16 of (byte - offset)·scale; NULL: there is no quick way
     */
    void (*split_pixels)(int64_t n, const uint8_t *pixel, const float offset[3], const float scale[3],
                         uint16_t *const plane[3]);
    /* One row, in place. Element e takes word e / quarter of the Philox block with counter
     * {e % quarter, counter[1], counter[2], counter[3]}, quarter = (width + 3) / 4, and is kept, times
     * `scale`, where the word is >= threshold. */
    void (*dropout)(tdm_dtype dtype, int64_t width, const uint32_t key[2], const uint32_t counter[4],
                    uint32_t threshold, float scale, void *x);
    /* The same of f32, from x to y, which may be x; element e with word e % 4 of the block with counter {e / 4, …}: in the
     * order of a tdm_rng. */
    void (*dropout_row)(int64_t width, const uint32_t key[2], const uint32_t counter[4], uint32_t threshold,
                        float scale, const float *x, float *y);
    void (*l2norm_forward)(int64_t rows, int64_t width, const float *x, float *y, float *norm);
    void (*l2norm_backward)(int64_t rows, int64_t width, const float *y, const float *norm, const float *dy,
                            float *dx);
    void (*softmax_cross_entropy)(int64_t rows, int64_t classes, float *logits, const float *target,
                                  float *loss);
    double (*sum_squares)(int64_t n, const float *x);
    void (*adamw)(int64_t n, float *w, const float *g, float *m, float *v, const adamw_step *step);
} ops_kernels;

extern const ops_kernels ops_kernels_generic;
#if defined(__x86_64__)
extern const ops_kernels ops_kernels_avx2;
extern const ops_kernels ops_kernels_avx512;
#endif

/* Key and query rows of one block of scores; keys are whole groups of the mask, queries whole vectors. */
#define ATTENTION_KEYS    256
#define ATTENTION_QUERIES 64
/* Floats to which scratch rows are padded: the widest vector. */
#define VECTOR_PAD 16
/* Floats from a row of a head to the next in scratch: an odd number of lines, so that a column of lines spreads over the
 * sets of a cache. The same holds for ATTENTION_QUERIES + VECTOR_PAD. */
static inline int64_t attention_step(int64_t head_dim)
{
    const int64_t lines = (head_dim + VECTOR_PAD - 1) / VECTOR_PAD;
    return (lines | 1) * VECTOR_PAD;
}

/* tdm_ops_measure_peak_gflops of this thread, in its own CPU time. */
double ops_thread_peak_gflops(const tdm_ops *ops, int runs);
/* GFLOP/s of VDPBF16PS by those of f32 on 512 bits, likewise; the CPU must have both. */
double ops_measure_bf16_gain(void);

/* ---- Context ---- */
struct ops_dnnl;
struct tdm_ops {
    tdm_dtype dtype;
    int threads;
    tdm_cpu cpu;
    const ops_kernels *kernels;
    bool round_linears; /* see tdm_ops_round_linears */
    char isa_name[32];
    struct ops_dnnl *dnnl;
    tdm_op_stats stats;
    tdm_scratch *scratch;        /* [threads], memory that only a thread of a parallel region uses */
    void (*poll)(void *context); /* see tdm_ops_set_poll */
    void *poll_context;
};

/* At least `bytes` of the thread's scratch, 64-byte aligned, contents undefined; NULL when it does not fit.
 */
void *ops_scratch(const tdm_ops *ops, int thread, size_t bytes);
/* Threads worth starting for `items` independent items of `item_work` bytes or flop each. */
int ops_threads_for(const tdm_ops *ops, int64_t items, int64_t item_work);

/* ---- Time by kind: double start = op_begin(); …; op_end(ops, kind, start, flop); ---- */
static inline double op_begin(void)
{
    return tdm_now_s();
}
static inline void op_end(tdm_ops *ops, tdm_op_kind kind, double start, double flop)
{
    ops->stats.seconds[kind] += tdm_now_s() - start;
    ops->stats.flop[kind] += flop;
    if (ops->poll) ops->poll(ops->poll_context);
}

static inline const void *act_at(tdm_dtype dtype, const void *x, int64_t i)
{
    return (const unsigned char *)x + (size_t)i * tdm_dtype_bytes(dtype);
}
static inline void *act_at_mutable(tdm_dtype dtype, void *x, int64_t i)
{
    return (unsigned char *)x + (size_t)i * tdm_dtype_bytes(dtype);
}

/* sums[width] += column sums of x[t][width]; partial sums of the threads are added in thread order. */
void ops_column_sums(tdm_ops *ops, tdm_dtype dtype, int64_t t, int64_t width, const void *x, float *sums);

/* ---- Reference twins: plain loops, accumulating in double, one thread, no blocking ---- */
float bf16_value_ref(uint16_t x);
uint16_t bf16_round_ref(float x);
float act_get_ref(tdm_dtype dtype, const void *x, int64_t i);
void act_set_ref(tdm_dtype dtype, void *x, int64_t i, double value);
void linear_forward_ref(tdm_dtype dtype, int64_t t, int64_t in, int64_t out, bool transposed,
                        const float *weight, const float *bias, const void *x, void *y);
void linear_backward_data_ref(tdm_dtype dtype, int64_t t, int64_t in, int64_t out, bool transposed,
                              const float *weight, const void *dy, void *dx);
void linear_backward_weight_ref(tdm_dtype dtype, int64_t t, int64_t in, int64_t out, bool transposed,
                                const void *x, const void *dy, float *dweight, float *dbias);
void layernorm_forward_ref(tdm_dtype dtype, int64_t t, int64_t width, const float *x, const void *branch,
                           float *x_out, const float *gamma, const float *beta, void *y, float *mean,
                           float *rstd);
void layernorm_backward_ref(tdm_dtype dtype, int64_t t, int64_t width, const void *dy, const float *x,
                            const float *mean, const float *rstd, const float *gamma, bool add, float *dx,
                            void *dx_act, float *dgamma, float *dbeta);
void activation_forward_ref(tdm_activation kind, tdm_dtype dtype, int64_t n, const void *x, void *y);
void activation_backward_ref(tdm_activation kind, tdm_dtype dtype, int64_t n, const void *x, const void *dy,
                             void *dx, void *y);
void attention_forward_ref(tdm_dtype dtype, int64_t n_seq, const int64_t *seq, int64_t heads,
                           int64_t head_dim, bool causal, const tdm_attention_dropout *dropout,
                           const void *qkv, void *out, float *lse);
void attention_backward_ref(tdm_dtype dtype, int64_t n_seq, const int64_t *seq, int64_t heads,
                            int64_t head_dim, bool causal, const tdm_attention_dropout *dropout,
                            const void *qkv, const void *out, const float *lse, const void *dout, void *dqkv);
void conv_forward_ref(tdm_dtype dtype, int64_t n, int64_t in, int64_t out, int64_t kernel, int64_t height,
                      int64_t width, const float *weight, const void *x, void *y);
void conv_backward_data_ref(tdm_dtype dtype, int64_t n, int64_t in, int64_t out, int64_t kernel,
                            int64_t height, int64_t width, const float *weight, const void *dy, void *dx);
void conv_backward_weight_ref(tdm_dtype dtype, int64_t n, int64_t in, int64_t out, int64_t kernel,
                              int64_t height, int64_t width, const void *x, const void *dy, float *dweight);
void batchnorm_sums_ref(tdm_dtype dtype, int64_t t, int64_t width, const void *x, double *sum);
void batchnorm_forward_ref(tdm_dtype dtype, int64_t t, int64_t width, const void *x,
                           const tdm_batchnorm *norm, const void *residual, bool relu, void *y);
void batchnorm_backward_sums_ref(tdm_dtype dtype, int64_t t, int64_t width, const void *x, const void *dy,
                                 const tdm_batchnorm *norm, bool relu, double *sum);
/* sum NULL: fixed statistics */
void batchnorm_backward_data_ref(tdm_dtype dtype, int64_t t, int64_t width, const void *x, const void *dy,
                                 const tdm_batchnorm *norm, bool relu, const double *sum, double count,
                                 void *dx);
void residual_backward_ref(tdm_dtype dtype, int64_t n, const void *y, const void *da, const void *db,
                           void *dx);
void average_pool_forward_ref(tdm_dtype dtype, int64_t n, int64_t height, int64_t width, int64_t channels,
                              const void *x, void *y);
void average_pool_backward_ref(tdm_dtype dtype, int64_t n, int64_t height, int64_t width, int64_t channels,
                               const void *dy, bool add, void *dx);
void pool_tokens_forward_ref(tdm_dtype dtype, int64_t n, int64_t pixels, int64_t width, const void *x,
                             const float *position, void *token);
void pool_tokens_backward_ref(tdm_dtype dtype, int64_t n, int64_t pixels, int64_t width, const void *da,
                              const void *db, const void *dfirst, void *dx, float *dposition);
void pool_attention_forward_ref(tdm_dtype dtype, int64_t n, int64_t length, int64_t heads, int64_t head_dim,
                                const void *q, const void *k, const void *v, float *out, float *p);
void pool_attention_backward_ref(tdm_dtype dtype, int64_t n, int64_t length, int64_t heads, int64_t head_dim,
                                 const void *q, const void *k, const void *v, const float *p,
                                 const float *dout, void *dq, void *dk, void *dv);
void image_windows_ref(tdm_dtype dtype, int64_t n, int64_t height, int64_t width, int64_t kernel,
                       int64_t stride, int64_t pad, const uint8_t *image, const double mean[3],
                       const double std[3], void *rows);
void patchify_ref(tdm_dtype dtype, int64_t n, int64_t height, int64_t width, int64_t patch, int64_t kept,
                  const int64_t *place, const uint8_t *image, const double mean[3], const double std[3],
                  void *rows);
void image_tokens_forward_ref(tdm_dtype dtype, int64_t n, int64_t patches, const int64_t *place,
                              int64_t width, const void *patch_rows, const float *class_token,
                              const float *position, float *x);
void image_tokens_backward_ref(tdm_dtype dtype, int64_t n, int64_t patches, const int64_t *place,
                               int64_t width, const float *dx, void *d_patch_rows, float *dclass_token,
                               float *dposition);
void text_tokens_forward_ref(int64_t n_seq, const int64_t *seq, int64_t width, const int32_t *token,
                             const float *table, const float *context, const float *position, float *x);
void text_tokens_backward_ref(int64_t n_seq, const int64_t *seq, int64_t width, const int32_t *token,
                              const float *dx, float *dtable, float *dcontext, float *dposition);
void dropout_ref(tdm_dtype dtype, double p, uint64_t seed, uint64_t step, uint32_t site, int64_t n_seq,
                 const int64_t *seq, const int64_t *sample, int64_t width, void *x);
void dropout_rows_ref(double p, uint64_t seed, uint64_t step, uint32_t site, int64_t n, const int64_t *sample,
                      int64_t width, float *x);
void l2norm_forward_ref(int64_t n, int64_t width, const float *x, float *y, float *norm);
void l2norm_backward_ref(int64_t n, int64_t width, const float *y, const float *norm, const float *dy,
                         float *dx);
void gemm_ref(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
              const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
void softmax_cross_entropy_ref(int64_t n, int64_t classes, float *logits, const float *target, float *loss);
double sum_squares_ref(int64_t n, const float *x);
void adamw_update_ref(const tdm_adamw *rule, int64_t n, float *w, const float *g, float *m, float *v);

#endif
