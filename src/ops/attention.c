/* Attention: heads of sequences over threads. Each head writes its own columns of its own rows, so the order
 * in which threads take heads does not show in the result. */
#include "attention_pairs.h"
#include "gemm_share.h"
#include "tandem/rng.h"

#include <math.h>
#include <omp.h>

/* Scratch of one head; the same for every instruction set. */
static size_t attention_scratch_bytes(int64_t length, int64_t head_dim)
{
    const int64_t step = attention_step(head_dim), score_step = ATTENTION_QUERIES + VECTOR_PAD;
    const int64_t rows = 4 * length * step; /* k, v, dk, dv */
    /* q, dout, dq; q and dout transposed */
    const int64_t queries = 3 * ATTENTION_QUERIES * step + 2 * head_dim * score_step;
    const int64_t scores = 2 * ATTENTION_KEYS * score_step;
    return sizeof(float) * (size_t)(rows + queries + scores + 16 * VECTOR_PAD);
}

static int64_t longest_sequence(int64_t n_seq, const int64_t *seq)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < n_seq; i++) longest = tdm_max_i64(longest, seq[i + 1] - seq[i]);
    return longest;
}

/* Products of scores that are computed, times 2·head_dim, for one of the matmuls of attention. */
static double score_flop(int64_t n_seq, const int64_t *seq, int64_t heads, int64_t head_dim, bool causal)
{
    double scores = 0.0;
    for (int64_t i = 0; i < n_seq; i++) {
        double length = (double)(seq[i + 1] - seq[i]);
        scores += causal ? length * (length + 1.0) / 2.0 : length * length;
    }
    return 2.0 * scores * (double)heads * (double)head_dim;
}

typedef struct attention_rows {
    int64_t heads, head_dim;
    bool causal;
    const tdm_attention_dropout *dropout; /* NULL: none */
    const void *qkv, *dout;
    void *out, *dqkv; /* dqkv NULL: forward */
    float *lse;
    int64_t t; /* rows: the step of lse */
} attention_rows;

/* The mask's streams of one sequence; head << 20 leaves room for 4 million keys. */
static attention_mask mask_of(const tdm_attention_dropout *dropout, int64_t i, int64_t head)
{
    if (dropout == NULL || dropout->p <= 0.0) return (attention_mask){0};
    const tdm_rng stream = tdm_rng_at(dropout->seed, dropout->step, (uint64_t)dropout->sample[i],
                                      TDM_RNG_DROPOUT + dropout->site * 256);
    return (attention_mask){.threshold = (uint32_t)(dropout->p * 0x1p32),
                            .scale = (float)(1.0 / (1.0 - dropout->p)),
                            .first = (uint32_t)head << 20,
                            .key = {stream.key[0], stream.key[1]},
                            .high = {stream.counter[2], stream.counter[3]}};
}

/* The head's view of the rows. */
static attention_head head_of(const tdm_ops *ops, const attention_rows *rows, int64_t begin, int64_t length,
                              int64_t head)
{
    int64_t width = rows->heads * rows->head_dim, column = head * rows->head_dim;
    int64_t at = begin * 3 * width + column;
    tdm_dtype dtype = ops->dtype;
    attention_head view = {
        .dtype = dtype,
        .length = length,
        .head_dim = rows->head_dim,
        .qkv_step = 3 * width,
        .out_step = width,
        .causal = rows->causal,
        .stream = rows->t * (rows->dqkv ? 3 : 1) * width * (int64_t)tdm_dtype_bytes(dtype) / ops->threads >
                  GEMM_STREAM_BYTES,
        .scale = (float)(1.0 / sqrt((double)rows->head_dim)),
        .q = act_at(dtype, rows->qkv, at),
        .k = act_at(dtype, rows->qkv, at + width),
        .v = act_at(dtype, rows->qkv, at + 2 * width),
        .out = act_at_mutable(dtype, rows->out, begin * width + column),
        .lse = rows->lse + head * rows->t + begin,
    };
    if (rows->dqkv) {
        view.dout = act_at(dtype, rows->dout, begin * width + column);
        view.dq = act_at_mutable(dtype, rows->dqkv, at);
        view.dk = act_at_mutable(dtype, rows->dqkv, at + width);
        view.dv = act_at_mutable(dtype, rows->dqkv, at + 2 * width);
    }
    return view;
}

/* The way for one length: products of pairs where they exist and the sequence is short enough, else the table's
 * kernels. Tiles take several heads at once as long as their operands fit the caches; products in vectors gain nothing
 * from it. */
typedef struct head_way {
    const attention_pairs *pairs; /* NULL: the table's kernels */
    int64_t heads;                /* at once */
    size_t scratch_bytes;
} head_way;

static head_way choose_way(const tdm_ops *ops, int64_t length, int64_t head_dim)
{
#if defined(TANDEM_HAVE_AMX)
    enum { SHORT = 128 };
    if (ops->dtype == TDM_BF16 && ops->cpu.avx512_bf16 && length <= PAIRS_MAX_LENGTH &&
        head_dim <= PAIRS_MAX_HEAD_DIM) {
        const bool tiles = ops->cpu.amx_bf16;
        const attention_pairs *pairs = tiles ? &attention_amx : &attention_avx512_bf16;
        const int64_t heads = tiles && length <= SHORT ? PAIRS_MAX_HEADS : 1;
        return (head_way){pairs, heads, (size_t)heads * pairs->scratch_bytes(length, head_dim)};
    }
#else
    (void)ops;
#endif
    return (head_way){NULL, 1, attention_scratch_bytes(length, head_dim)};
}

/* `count` heads of one sequence */
static void run_way(const tdm_ops *ops, const head_way *way, const attention_head *head, int64_t count,
                    bool backward, void *scratch)
{
    if (way->pairs) {
        (backward ? way->pairs->backward : way->pairs->forward)(head, count, scratch);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        (backward ? ops->kernels->attention_backward : ops->kernels->attention_forward)(&head[i], scratch);
}

enum { GROUP = 4 }; /* heads of one job, the same for all sequences */

static attention_head view_of(const tdm_ops *ops, const attention_rows *rows, const int64_t *seq, int64_t i,
                              int64_t head)
{
    attention_head view = head_of(ops, rows, seq[i], seq[i + 1] - seq[i], head);
    view.mask = mask_of(rows->dropout, i, head);
    view.factors = ops->kernels->attention_factors;
    return view;
}

/* Heads [first, first + GROUP) of sequence i, as far as there are; `next_job` is likely the thread's next one. */
static void run_job(const tdm_ops *ops, const attention_rows *rows, int64_t n_seq, const int64_t *seq,
                    int64_t job, int64_t next_job, void *scratch)
{
    const int64_t groups = (rows->heads + GROUP - 1) / GROUP;
    const int64_t i = job / groups, first = job % groups * GROUP;
    const int64_t length = seq[i + 1] - seq[i], count = tdm_min_i64(GROUP, rows->heads - first);
    if (length == 0) return;
    const head_way way = choose_way(ops, length, rows->head_dim);
    attention_head view[GROUP + 1];
    for (int64_t h = 0; h < count; h++) {
        view[h] = view_of(ops, rows, seq, i, first + h);
        view[h].next = &view[h + 1];
    }
    if (next_job < n_seq * groups)
        view[count] = view_of(ops, rows, seq, next_job / groups, next_job % groups * GROUP);
    else
        view[count - 1].next = NULL;
    for (int64_t h = 0; h < count; h += way.heads)
        run_way(ops, &way, view + h, tdm_min_i64(way.heads, count - h), rows->dqkv != NULL, scratch);
}

static void run_heads(tdm_ops *ops, const attention_rows *rows, int64_t n_seq, const int64_t *seq)
{
    const int64_t jobs = n_seq * ((rows->heads + GROUP - 1) / GROUP);
    const int threads = ops_threads_for(ops, n_seq * rows->heads, 1 << 16);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t job = 0; job < jobs; job++)
            run_job(ops, rows, n_seq, seq, job, job + threads, ops->scratch[omp_get_thread_num()].base);
#if defined(__x86_64__)
        __builtin_ia32_sfence(); /* streaming stores are seen after it */
#endif
    }
}

static bool fits_scratch(const tdm_ops *ops, int64_t n_seq, const int64_t *seq, int64_t head_dim)
{
    head_way way = choose_way(ops, longest_sequence(n_seq, seq), head_dim);
    return ops_scratch(ops, 0, way.scratch_bytes) != NULL;
}

void tdm_attention_forward(tdm_ops *ops, int64_t n_seq, const int64_t *seq, int64_t heads, int64_t head_dim,
                           bool causal, const tdm_attention_dropout *dropout, const void *qkv, void *out,
                           float *lse)
{
    double start = op_begin();
    if (fits_scratch(ops, n_seq, seq, head_dim)) {
        attention_rows rows = {.heads = heads,
                               .head_dim = head_dim,
                               .causal = causal,
                               .dropout = dropout,
                               .qkv = qkv,
                               .out = out,
                               .lse = lse,
                               .t = seq[n_seq]};
        run_heads(ops, &rows, n_seq, seq);
    } else { /* a hundred thousand tokens in one sequence: slow, but right */
        attention_forward_ref(ops->dtype, n_seq, seq, heads, head_dim, causal, dropout, qkv, out, lse);
    }
    op_end(ops, TDM_OP_ATTENTION_FORWARD, start, 2.0 * score_flop(n_seq, seq, heads, head_dim, causal));
}

void tdm_attention_backward(tdm_ops *ops, int64_t n_seq, const int64_t *seq, int64_t heads, int64_t head_dim,
                            bool causal, const tdm_attention_dropout *dropout, const void *qkv,
                            const void *out, const float *lse, const void *dout, void *dqkv)
{
    double start = op_begin();
    if (fits_scratch(ops, n_seq, seq, head_dim)) {
        /* `out` and `lse` are only read by the backward kernel; the head's view has one type for both ways.
         */
        attention_rows rows = {.heads = heads,
                               .head_dim = head_dim,
                               .causal = causal,
                               .dropout = dropout,
                               .qkv = qkv,
                               .out = (void *)(uintptr_t)out,
                               .lse = (float *)(uintptr_t)lse,
                               .dout = dout,
                               .dqkv = dqkv,
                               .t = seq[n_seq]};
        run_heads(ops, &rows, n_seq, seq);
    } else {
        attention_backward_ref(ops->dtype, n_seq, seq, heads, head_dim, causal, dropout, qkv, out, lse, dout,
                               dqkv);
    }
    /* Counted as twice the forward pass: dq, dk, dv and dp; the recomputed scores are not counted. */
    op_end(ops, TDM_OP_ATTENTION_BACKWARD, start, 4.0 * score_flop(n_seq, seq, heads, head_dim, causal));
}
