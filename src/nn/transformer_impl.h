/* Private to the transformer's three files: what it is made of (transformer_weights.c), what a forward leaves
 * for its backward (tdm_transformer_tape.c), and both (transformer.c). */
#ifndef TANDEM_NN_TRANSFORMER_IMPL_H
#define TANDEM_NN_TRANSFORMER_IMPL_H

#include "tandem/nn.h"

/* What a block leaves for its backward, on the scratch stack. */
typedef struct block_tape {
    float *x_in, *mean1, *rstd1; /* TDM_KEEP_INPUT: [t][width], [t], [t] */
    void *qkv, *attention;       /* TDM_KEEP_ATTENTION: [t][3·width], [t][width] */
    float *lse;                  /* [heads][t] */
    void *picked_attention;      /* last block only: rows of attention and of the residual stream */
    float *picked_x;
    float *x_mid, *mean2, *rstd2; /* [t][width], [t], [t]; here and below t is fewer in the last block */
    void *n1, *n2, *hidden;       /* TDM_KEEP_ALL; hidden: before the activation, [t][mlp_width] */
} block_tape;

/* Rows of a block: before its attention is done, behind it, and those picked between the two. */
typedef struct block_rows {
    int64_t before, behind, picked;
} block_rows;

struct tdm_transformer_tape {
    tdm_sequences rows;
    tdm_sequences picked; /* n sequences of one row, and the filler */
    int64_t n;            /* ALL_ROWS: nothing is picked */
    const int64_t *out_row;
    tdm_pass mode;
    block_tape block[];
};

typedef struct block {
    /* parameter rows */
    int64_t ln1_weight, ln1_bias, qkv_weight, qkv_bias, out_weight, out_bias;
    int64_t ln2_weight, ln2_bias, fc_weight, fc_bias, proj_weight, proj_bias;
    tdm_linear *qkv, *out, *fc, *proj;
    unsigned without; /* of tdm_block_part: what is left out */
} block;

struct tdm_transformer {
    tdm_ops *ops;
    tdm_params *params;
    tdm_scratch *scratch;
    int64_t width, layers, heads, mlp_width;
    int64_t first, last; /* of the blocks that run; layers and -1 when none does */
    tdm_activation activation;
    bool causal, train;
    double dropout, attention_dropout;
    uint32_t dropout_site;
    const tdm_scope *scope;
    block *block;
};

enum { ALL_ROWS = -1 };

/* A block without both branches is left out altogether: neither computed nor kept. */
static inline bool runs(const tdm_transformer *tr, int64_t layer)
{
    return tr->block[layer].without != TDM_BLOCK_WHOLE;
}

/* Does the block go on with picked rows alone behind its attention? */
static inline bool picks(const tdm_transformer *tr, int64_t n, int64_t layer)
{
    return n != ALL_ROWS && layer == tr->last;
}

static inline int64_t picked_rows(int64_t n)
{
    return n == ALL_ROWS ? 0 : tdm_round_up(n, TDM_ROW_STEP);
}

static inline const tdm_sequences *rows_behind_attention(const tdm_transformer *tr,
                                                         const tdm_transformer_tape *tape, int64_t layer)
{
    return picks(tr, tape->n, layer) ? &tape->picked : &tape->rows;
}

/* The lowest block that takes part in the backward; `layers` when none does. */
int64_t lowest_block(const tdm_transformer *tr);

/* Room for the groups of a tape above level `from`, up to level `to`; x_in may be there already. */
tdm_status tape_take(const tdm_transformer *tr, tdm_scratch *s, block_rows rows, tdm_keep from, tdm_keep to,
                     block_tape *k);
/* The groups above `level` are those of `shared`. */
void tape_share(block_tape *k, tdm_keep level, const block_tape *shared);
/* A tdm_transformer_tape of n sequences in bytes, a multiple of what scratch is aligned to: the blocks' tapes and
 * behind them seq[n + 2] and place[n + 1] of the picked rows. */
size_t tape_bytes(const tdm_transformer *tr, int64_t n);
void tape_rows(const tdm_transformer *tr, const tdm_sequences *rows, int64_t n, const int64_t *out_row,
               tdm_transformer_tape *tape);
/* What the backward of blocks from `first` on needs. The first block's input is the transformer's. */
tdm_status tapes_keep(const tdm_transformer *tr, tdm_scratch *s, int64_t t, int64_t n, int64_t first,
                      float *x, block_tape *tapes);
/* Room for what else a forward needs: blocks below `first` keep nothing, and sum the residual stream in
 * place.
 */
tdm_status tapes_share(const tdm_transformer *tr, tdm_scratch *s, int64_t t, int64_t n, int64_t first,
                       block_tape *tapes);
/* y = the picked rows of x, then zeros. */
void tape_pick(const tdm_transformer *tr, const tdm_transformer_tape *tape, const float *x, float *y);
void tape_pick_act(const tdm_transformer *tr, const tdm_transformer_tape *tape, const void *x, void *y);
/* The adjoints: all other rows are zero. */
void tape_put_back(const tdm_transformer *tr, const tdm_transformer_tape *tape, const float *dy, float *dx);
void tape_put_back_act(const tdm_transformer *tr, const tdm_transformer_tape *tape, const void *dy, void *dx);

#endif
