/* Cross-entropy of a linear classifier of CLIP4CMR (arXiv 2201.02772; github zhixiongz/CLIP4CMR), one for both modalities,
 * on unit features. With N the rows of a modality that have a class:
 *
 *     L = 1/N sum_i CE(scale · (W v_i + b), classes of i)   + the same for the texts
 *
 * Several classes of a row share its target evenly. W and b are those of linear_regression. */
#include "loss_impl.h"

#include <math.h>

typedef struct cross_entropy_options {
    class_options classes;
    double scale;
} cross_entropy_options;

static const tdm_option cross_entropy_rows[] = {
    CLASS_OPTIONS,
    TDM_FLOAT_OPTION(cross_entropy_options, scale, "1.0", 1e-6, 1e6, "",
                     "Multiplies what the classifier says (1 as released)."),
};

static tdm_status cross_entropy_check(const void *options, const tdm_loss_setup *setup)
{
    return class_check("cross_entropy", options, setup);
}

static tdm_status cross_entropy_create(const void *options, const tdm_loss_setup *setup, void **state)
{
    return classifier_create(options, setup, state);
}

static double cross_entropy_row(void *context, const class_rows *r, const uint64_t *bits, int64_t own,
                                float *x)
{
    const cross_entropy_options *o = r->call->options;
    const float *bias = context, scale = (float)o->scale;
    for (int64_t c = 0; c < r->classes; c++) x[c] = scale * (x[c] + bias[c]);
    return shared_row_loss(r->classes, bits, own, scale, x);
}

static tdm_status cross_entropy_step(const tdm_loss_call *call)
{
    const class_matrix *m = call->state;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    class_rows r;
    TDM_TRY(class_rows_make(call, &r));
    TDM_TRY(class_rows_means(&r, cross_entropy_row, tdm_weight_of(m->params, m->bias), (double[]){1, 1}));
    class_rows_bias(&r);
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const cross_entropy_terms[] = {"cross_entropy", "cross_entropy_image",
                                                  "cross_entropy_text", NULL};

const tdm_loss tdm_loss_cross_entropy = {
    .name = "cross_entropy",
    .terms = cross_entropy_terms,
    .options = cross_entropy_rows,
    .option_count = sizeof(cross_entropy_rows) / sizeof(cross_entropy_rows[0]),
    .option_bytes = sizeof(cross_entropy_options),
    .needs = class_needs,
    .check = cross_entropy_check,
    .create = cross_entropy_create,
    .destroy = class_matrix_destroy,
    .load = class_matrix_load,
    .scratch_bytes = class_rows_scratch_bytes,
    .step = cross_entropy_step,
};
