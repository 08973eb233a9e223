/* Linear regression of CLIP4CMR (arXiv 2201.02772; github zhixiongz/CLIP4CMR, metrics.py, Label_Regression_Loss; after
 * DSCMR): a linear classifier, one for both modalities, shall say the labels themselves. With e the row of 0 and 1 of the
 * classes, |·| the Euclidean norm and N the rows of a modality that have a class:
 *
 *     L = 1/N sum_i |W v_i + b - e_i|   + the same for the texts
 *
 * Its gradient is 0 where the error is 0, and not a number in the released code. W and b are those of cross_entropy. */
#include "loss_impl.h"

#include <math.h>

typedef struct linear_regression_options {
    class_options classes;
    bool squared;
} linear_regression_options;

static const tdm_option linear_regression_rows[] = {
    CLASS_OPTIONS,
    TDM_BOOL_OPTION(linear_regression_options, squared, "false",
                    "The square of the error's norm in place of the norm, which is what was released."),
};

static tdm_status linear_regression_check(const void *options, const tdm_loss_setup *setup)
{
    return class_check("linear_regression", options, setup);
}

static tdm_status linear_regression_create(const void *options, const tdm_loss_setup *setup, void **state)
{
    return classifier_create(options, setup, state);
}

static double linear_regression_row(void *context, const class_rows *r, const uint64_t *bits, int64_t own,
                                    float *x)
{
    const linear_regression_options *o = r->call->options;
    const float *bias = context;
    double squares = 0.0;
    (void)own;
    for (int64_t c = 0; c < r->classes; c++) {
        x[c] += bias[c] - (float)class_has(bits, c);
        squares += (double)x[c] * x[c];
    }
    const double norm = sqrt(squares), factor = o->squared ? 2.0 : norm > 0.0 ? 1.0 / norm : 0.0;
    for (int64_t c = 0; c < r->classes; c++) x[c] = (float)(factor * x[c]);
    return o->squared ? squares : norm;
}

static tdm_status linear_regression_step(const tdm_loss_call *call)
{
    const class_matrix *m = call->state;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    class_rows r;
    TDM_TRY(class_rows_make(call, &r));
    TDM_TRY(class_rows_means(&r, linear_regression_row, tdm_weight_of(m->params, m->bias), (double[]){1, 1}));
    class_rows_bias(&r);
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const linear_regression_terms[] = {"linear_regression", "linear_regression_image",
                                                      "linear_regression_text", NULL};

const tdm_loss tdm_loss_linear_regression = {
    .name = "linear_regression",
    .terms = linear_regression_terms,
    .options = linear_regression_rows,
    .option_count = sizeof(linear_regression_rows) / sizeof(linear_regression_rows[0]),
    .option_bytes = sizeof(linear_regression_options),
    .needs = class_needs,
    .check = linear_regression_check,
    .create = linear_regression_create,
    .destroy = class_matrix_destroy,
    .load = class_matrix_load,
    .scratch_bytes = class_rows_scratch_bytes,
    .step = linear_regression_step,
};
