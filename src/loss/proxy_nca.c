/* Proxy-NCA (arXiv 1703.07464) as CLIP4CMR has it (github zhixiongz/CLIP4CMR, metrics.py, Proxy_NCA): the own proxy against
 * all others. With s_ic = scale · v_i·c, y the class of row i and N the rows of a modality that have a class:
 *
 *     L = 1/N sum_i [ log sum_{c != y} exp(s_ic) - s_iy ]   + the same for the texts
 *
 * A row of several classes has the mean over them, against those that it does not have; one that has all classes takes
 * no part. Squared distances of unit vectors, as in the first paper, are scale = 2. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

enum { PROXIES_TRAINABLE, PROXIES_FIXED };

typedef struct proxy_nca_options {
    class_options classes;
    int proxies;
    double scale;
} proxy_nca_options;

static const tdm_option proxy_nca_rows[] = {
    CLASS_OPTIONS,
    TDM_CHOICE_OPTION(proxy_nca_options, proxies, "trainable", "trainable|fixed",
                      "fixed: as they are drawn."),
    TDM_FLOAT_OPTION(proxy_nca_options, scale, "1.0", 1e-6, 1e6, "",
                     "Multiplies the cosines (1 as released, 2 for squared distances)."),
};

static tdm_status proxy_nca_check(const void *options, const tdm_loss_setup *setup)
{
    return class_check("proxy_nca", options, setup);
}

static tdm_status proxy_nca_create(const void *options, const tdm_loss_setup *setup, void **state)
{
    const proxy_nca_options *o = options;
    return centers_create("loss.proxy_nca", &o->classes, o->proxies == PROXIES_TRAINABLE, setup, state);
}

static double proxy_nca_row(void *context, const class_rows *r, const uint64_t *bits, int64_t own, float *x)
{
    const proxy_nca_options *o = r->call->options;
    const double scale = o->scale;
    double most = -INFINITY, sum = 0.0, mean = 0.0;
    (void)context;
    for (int64_t c = 0; c < r->classes; c++) {
        if (class_has(bits, c))
            mean += scale * x[c] / (double)own;
        else
            most = fmax(most, scale * x[c]);
    }
    if (own == r->classes) {
        memset(x, 0, sizeof(*x) * (size_t)r->classes);
        return 0.0;
    }
    for (int64_t c = 0; c < r->classes; c++)
        if (!class_has(bits, c)) sum += exp(scale * x[c] - most);
    for (int64_t c = 0; c < r->classes; c++)
        x[c] = (float)(class_has(bits, c) ? -scale / (double)own : scale * exp(scale * x[c] - most) / sum);
    return most + log(sum) - mean;
}

static tdm_status proxy_nca_step(const tdm_loss_call *call)
{
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    class_rows r;
    TDM_TRY(class_rows_make(call, &r));
    TDM_TRY(class_rows_means(&r, proxy_nca_row, NULL, (double[]){1, 1}));
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const proxy_nca_terms[] = {"proxy_nca", "proxy_nca_image", "proxy_nca_text", NULL};

const tdm_loss tdm_loss_proxy_nca = {
    .name = "proxy_nca",
    .terms = proxy_nca_terms,
    .options = proxy_nca_rows,
    .option_count = sizeof(proxy_nca_rows) / sizeof(proxy_nca_rows[0]),
    .option_bytes = sizeof(proxy_nca_options),
    .needs = class_needs,
    .check = proxy_nca_check,
    .create = proxy_nca_create,
    .destroy = class_matrix_destroy,
    .load = class_matrix_load,
    .scratch_bytes = class_rows_scratch_bytes,
    .step = proxy_nca_step,
};
