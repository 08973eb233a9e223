/* AdamW: decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), on the rows that ask for it.
 *
 *     m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g²
 *     w = w (1 - lr decay) - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) */
#include "optim_impl.h"

#include <math.h>

typedef struct adamw_options {
    double beta1, beta2, eps;
} adamw_options;

static const tdm_option adamw_rows[] = {
    TDM_FLOAT_OPTION(adamw_options, beta1, "0.9", 0, 0.999999, "", "Decay of the first moment."),
    TDM_FLOAT_OPTION(adamw_options, beta2, "0.98", 0, 0.99999999, "", "Decay of the second moment."),
    TDM_FLOAT_OPTION(adamw_options, eps, "1e-6", 1e-15, 1, "", "Added to the root of the second moment."),
};

static tdm_status adamw_update(const update_call *call)
{
    const adamw_options *o = call->options;
    const tdm_adamw rule = {
        .grad_scale = call->grad_scale,
        .lr = call->lr,
        .beta1 = o->beta1,
        .beta2 = o->beta2,
        .eps = o->eps,
        .decay = call->decay,
        .step = call->step,
    };
    tdm_linear *linear = call->row->linear;
    float *m = call->moment[0], *v = call->moment[1];
    if (linear && call->n == call->row->size) return tdm_linear_adamw(linear, &rule, call->w, call->g, m, v);
    tdm_adamw_update(call->ops, &rule, call->n, call->w, call->g, m, v);
    return TDM_OK;
}

static void adamw_reference(const update_call *call)
{
    const adamw_options *o = call->options;
    const double unbias1 = 1.0 - pow(o->beta1, (double)call->step);
    const double unbias2 = 1.0 - pow(o->beta2, (double)call->step);
    for (int64_t i = 0; i < call->n; i++) {
        const double g = call->grad_scale * (double)call->g[i];
        const double m = o->beta1 * (double)call->moment[0][i] + (1.0 - o->beta1) * g;
        const double v = o->beta2 * (double)call->moment[1][i] + (1.0 - o->beta2) * g * g;
        const double move = m / unbias1 / (sqrt(v / unbias2) + o->eps);
        call->w[i] = (float)((double)call->w[i] * (1.0 - call->lr * call->decay) - call->lr * move);
        call->moment[0][i] = (float)m;
        call->moment[1][i] = (float)v;
    }
}

const tdm_optimizer optimizer_adamw = {
    .name = "adamw",
    .moment = {"m", "v"},
    .options = adamw_rows,
    .option_count = sizeof(adamw_rows) / sizeof(adamw_rows[0]),
    .option_bytes = sizeof(adamw_options),
    .update = adamw_update,
    .reference = adamw_reference,
};
