/* Prototype contrast of CLIP4CMR (arXiv 2201.02772; github zhixiongz/CLIP4CMR, metrics.py, PAN; after PAN,
 * doi 10.1145/3404835.3462867): a feature lies closer to its class's prototype than to those of other classes. With d2 the
 * squared distance, c_y the prototype of the class of row i and N the rows of a modality that have a class:
 *
 *     L = 1/N sum_i -log softmax_c(-d2(v_i, c))[y_i] + regulariser · 1/N sum_i d2(v_i, c_y)   + the same for the texts
 *
 * Several classes of a row share its target evenly. The released code divides by N once more, never uses the regulariser
 * and leaves the prototypes as they are drawn: definition = "released", regulariser = 0, prototypes = "fixed".
 *
 * Up to a constant of the row -d2 is l_c = 2 v·c - |c|^2, so that dL/dc has a part -2 c for each dL/dl_c. */
#include "loss_impl.h"

enum { DEFINITION_SOUND, DEFINITION_RELEASED };
enum { PROTOTYPES_TRAINABLE, PROTOTYPES_FIXED };

typedef struct prototype_options {
    class_options classes;
    int prototypes, definition;
    double regulariser;
} prototype_options;

static const tdm_option prototype_rows[] = {
    CLASS_OPTIONS,
    TDM_CHOICE_OPTION(prototype_options, prototypes, "trainable", "trainable|fixed",
                      "fixed: as they are drawn, which is what was released."),
    TDM_FLOAT_OPTION(prototype_options, regulariser, "0.0", 0, 1e6, "",
                     "Weight of the squared distance to the own prototype (0 as released)."),
    TDM_CHOICE_OPTION(prototype_options, definition, "sound", "sound|released",
                      "released: the mean over the rows is divided by their number again."),
};

static tdm_status prototype_check(const void *options, const tdm_loss_setup *setup)
{
    return class_check("prototype", options, setup);
}

static tdm_status prototype_create(const void *options, const tdm_loss_setup *setup, void **state)
{
    const prototype_options *o = options;
    return centers_create("loss.prototype", &o->classes, o->prototypes == PROTOTYPES_TRAINABLE, setup, state);
}

static double prototype_row(void *context, const class_rows *r, const uint64_t *bits, int64_t own, float *x)
{
    const prototype_options *o = r->call->options;
    const double *squares = context, share = o->regulariser / (double)own;
    double value = 0.0;
    for (int64_t c = 0; c < r->classes; c++) {
        x[c] = (float)(2.0 * x[c] - squares[c]);
        if (class_has(bits, c)) value += share * (1.0 - x[c]); /* |v| is 1 */
    }
    value += shared_row_loss(r->classes, bits, own, 2.0f, x);
    for (int64_t c = 0; o->regulariser > 0.0 && c < r->classes; c++)
        if (class_has(bits, c)) x[c] -= (float)(2.0 * share);
    return value;
}

/* The part of dL/dc along c; dsum is twice the sum of dL/dl. */
static void shrink_centers(const class_rows *r)
{
    const class_matrix *m = r->matrix;
    float *dcenter = tdm_grad_of(m->params, m->weight);
    for (int64_t c = 0; c < m->classes; c++)
        for (int64_t k = 0; k < m->d; k++)
            dcenter[c * m->d + k] -= (float)(r->dsum[c] * r->weight[c * m->d + k]);
}

static tdm_status prototype_step(const tdm_loss_call *call)
{
    const prototype_options *o = call->options;
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    class_rows r;
    double divide[TDM_MODALITIES] = {1.0, 1.0};
    TDM_TRY(class_rows_make(call, &r));
    for (int m = 0; o->definition == DEFINITION_RELEASED && m < TDM_MODALITIES; m++)
        divide[m] = (double)class_rows_labelled(&call->rows[m]);
    class_rows_squares(&r, r.room[0]);
    TDM_TRY(class_rows_means(&r, prototype_row, r.room[0], divide));
    if (o->prototypes == PROTOTYPES_TRAINABLE) shrink_centers(&r);
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const prototype_terms[] = {"prototype", "prototype_image", "prototype_text", NULL};

const tdm_loss tdm_loss_prototype = {
    .name = "prototype",
    .terms = prototype_terms,
    .options = prototype_rows,
    .option_count = sizeof(prototype_rows) / sizeof(prototype_rows[0]),
    .option_bytes = sizeof(prototype_options),
    .needs = class_needs,
    .check = prototype_check,
    .create = prototype_create,
    .destroy = class_matrix_destroy,
    .load = class_matrix_load,
    .scratch_bytes = class_rows_scratch_bytes,
    .step = prototype_step,
};
