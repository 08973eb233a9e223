/* Rows that two models have embedded, side by side: their inner product is a weighted sum of both scores. */
#ifndef TANDEM_APP_FUSED_ROWS_H
#define TANDEM_APP_FUSED_ROWS_H

#include "row_file.h"
#include "tandem/eval.h"

typedef struct fused_rows { /* zero-initialise; fused_rows_free */
    row_matrix matrix;      /* the second model's */
    float *value;           /* [n][d] both */
    int64_t d;
} fused_rows;
/* given: the file of the second model, with as many rows as that of the first. Collective. */
TDM_CHECKED tdm_status fused_rows_read(tdm_comm *comm, const char *option, const char *given,
                                       const char *split, int64_t rows, const char *first_given,
                                       fused_rows *out);
/* first: the first model's rows as they are ranked. of_gallery: the second model's score counts `weight` times. Not
 * collective. */
TDM_CHECKED tdm_status fused_rows_join(const char *option, const char *given, tdm_distance distance,
                                       bool of_gallery, double weight, const tdm_eval_side *first,
                                       fused_rows *rows);
void fused_rows_free(fused_rows *rows);

#endif
