/* Private to the transformer towers: their output end, a final LayerNorm and a projection without bias, on one row
 * of each sequence or, for dense tokens, on all of them. */
#ifndef TANDEM_MODEL_PROJECTION_H
#define TANDEM_MODEL_PROJECTION_H

#include "model_impl.h"

typedef struct projection {
    tdm_nn nn;
    const tdm_scope *scope;
    int64_t width, embed_dim;
    int64_t ln_weight, ln_bias, proj; /* rows of the arena; proj [width][embed_dim] */
} projection;

/* Of one call, for its backward. rows: t with dense tokens, else n. */
typedef struct projection_kept {
    int64_t n, t, real;              /* sequences; rows of tokens with and without the filler */
    bool dense;                      /* all rows, not only the picked ones */
    const int64_t *pick;             /* [n] row of each sequence's pooled token */
    float *x, *normed, *mean, *rstd; /* before and after the LayerNorm [rows][width], [rows] */
} projection_kept;

/* Room for what is kept; t: rows of tokens, 0 when only the picked rows are wanted. */
tdm_status projection_take(const projection *p, tdm_scratch *s, int64_t n, int64_t t, projection_kept *k);
/* From k->x. */
tdm_status projection_forward(const projection *p, const projection_kept *k, const tdm_tower_output *output);
/* dx [rows][width] is written, unless only proj is trained. */
tdm_status projection_backward(const projection *p, const projection_kept *k,
                               const tdm_tower_output *gradient, float *dx);
/* Of its temporaries. */
size_t projection_backward_bytes(const projection *p, int64_t n, int64_t t);

#endif
