/* A convolution of the ModifiedResNet and the batch normalisation behind it. */
#include "resnet_impl.h"

#include <math.h>
#include <string.h>

static const double MOMENTUM = 0.1;

tdm_status unit_create(resnet *r, const char *prefix, const char *conv, const char *norm, int64_t in,
                       int64_t out, int64_t kernel, int64_t height, int64_t width, double gamma, unit *u)
{
    tdm_params *p = r->params;
    char at[64];
    const double bound = pow((double)(in * kernel * kernel), -0.5); /* kaiming_uniform_ with a = sqrt(5) */
    u->pixels = height * width;
    u->out = out;
    r->widest = tdm_max_i64(r->widest, out);
    snprintf(at, sizeof(at), "%s.%s", prefix, conv);
    TDM_TRY(tdm_declare(p, &u->weight, TDM_INIT_UNIFORM, bound, 4, (int64_t[]){out, in, kernel, kernel}, at,
                        "weight"));
    snprintf(at, sizeof(at), "%s.%s", prefix, norm);
    TDM_TRY(tdm_declare(p, &u->gamma, TDM_INIT_CONSTANT, gamma, 1, (int64_t[]){out}, at, "weight"));
    TDM_TRY(tdm_declare(p, &u->beta, TDM_INIT_ZERO, 0, 1, (int64_t[]){out}, at, "bias"));
    char name[96];
    snprintf(name, sizeof(name), "%s.running_mean", at);
    TDM_TRY(tdm_params_add_buffer(p, name, 1, (int64_t[]){out}, TDM_INIT_ZERO, 0, &u->mean));
    snprintf(name, sizeof(name), "%s.running_var", at);
    TDM_TRY(tdm_params_add_buffer(p, name, 1, (int64_t[]){out}, TDM_INIT_ONE, 0, &u->variance));
    if (r->train && r->sync) {
        TDM_TRY(TDM_ALLOC(out, &u->next_mean));
        TDM_TRY(TDM_ALLOC(out, &u->next_variance));
    }
    const bool stem = in == 3; /* reads windows, see tdm_image_windows */
    return tdm_conv_create(r->ops, stem ? WINDOW : in, out, stem ? 1 : kernel, height, width, &u->conv);
}

void unit_destroy(unit *u)
{
    tdm_conv_destroy(&u->conv);
    tdm_free(u->next_mean);
    tdm_free(u->next_variance);
}

tdm_status unit_load(resnet *r, unit *u)
{
    if (r->base.scope.only_trained && !tdm_is_trained(r->params, u->weight)) return TDM_OK;
    return tdm_conv_load(u->conv, tdm_weight_of(r->params, u->weight), r->train);
}

tdm_status unit_reserve(resnet *r, unit *u, int64_t n)
{
    TDM_TAKE_ACT(r->scratch, r->ops, n * u->pixels * u->out, &u->c);
    TDM_TAKE(r->scratch, u->out, &u->norm.mean);
    TDM_TAKE(r->scratch, u->out, &u->norm.rstd);
    TDM_TAKE(r->scratch, u->out, &u->norm.scale);
    TDM_TAKE(r->scratch, u->out, &u->norm.shift);
    return TDM_OK;
}

static void sum_over_ranks(const resnet *r, double *value, int64_t count)
{
    if (r->rank_sum->sum) r->rank_sum->sum(r->rank_sum->context, value, count);
}

/* running = (1 - momentum) running + momentum batch, with the unbiased variance. */
static void note_statistics(resnet *r, unit *u, const float *mean, const float *variance)
{
    const size_t bytes = sizeof(float) * (size_t)u->out;
    if (!u->noted) {
        memcpy(u->next_mean, tdm_weight_of(r->params, u->mean), bytes);
        memcpy(u->next_variance, tdm_weight_of(r->params, u->variance), bytes);
        u->noted = true;
    }
    const double unbiased = u->count > 1.0 ? u->count / (u->count - 1.0) : 1.0;
    for (int64_t i = 0; i < u->out; i++) {
        u->next_mean[i] = (float)((1.0 - MOMENTUM) * u->next_mean[i] + MOMENTUM * mean[i]);
        u->next_variance[i] =
            (float)((1.0 - MOMENTUM) * u->next_variance[i] + MOMENTUM * unbiased * variance[i]);
    }
}

/* Fills u->norm for the rows in u->c. */
static void unit_statistics(resnet *r, unit *u, int64_t n, bool keep)
{
    const tdm_params *p = r->params;
    const float *mean = tdm_weight_of(p, u->mean), *variance = tdm_weight_of(p, u->variance);
    if (r->batch_stats) {
        const int64_t w = u->out, t = n * u->pixels;
        float *batch_mean = r->moments, *batch_variance = r->moments + w;
        tdm_batchnorm_sums(r->ops, t, w, u->c, r->sum);
        r->sum[2 * w] = (double)t;
        sum_over_ranks(r, r->sum, 2 * w + 1);
        u->count = r->sum[2 * w];
        for (int64_t i = 0; i < w; i++) {
            const double centre = r->sum[i] / u->count;
            batch_mean[i] = (float)centre;
            batch_variance[i] = (float)fmax(0.0, r->sum[w + i] / u->count - centre * centre);
        }
        if (keep && u->next_mean) note_statistics(r, u, batch_mean, batch_variance);
        mean = batch_mean;
        variance = batch_variance;
    }
    tdm_batchnorm_prepare(u->out, mean, variance, tdm_weight_of(p, u->gamma), tdm_weight_of(p, u->beta),
                          &u->norm);
}

tdm_status unit_forward(resnet *r, unit *u, int64_t n, bool keep, const void *x, const void *residual,
                        bool relu, void *y)
{
    u->x = x;
    TDM_TRY(tdm_conv_forward(u->conv, n, x, u->c));
    unit_statistics(r, u, n, keep);
    tdm_batchnorm_forward(r->ops, n * u->pixels, u->out, u->c, &u->norm, residual, relu, y);
    return TDM_OK;
}

tdm_status unit_backward(resnet *r, unit *u, bool relu, const void *dy, void *dc, void *dx)
{
    const tdm_params *p = r->params;
    const int64_t w = u->out, t = r->n * u->pixels;
    float *dgamma = tdm_grad_of(p, u->gamma), *dbeta = tdm_grad_of(p, u->beta);
    if (r->batch_stats)
        tdm_batchnorm_backward_sums(r->ops, t, w, u->c, dy, &u->norm, relu, r->sum);
    else
        tdm_batchnorm_backward_fixed(r->ops, t, w, u->c, dy, &u->norm, relu, r->sum, dc);
    for (int64_t i = 0; i < w; i++) { /* this rank's share: gradients are summed later */
        dbeta[i] += (float)r->sum[i];
        dgamma[i] += (float)r->sum[w + i];
    }
    if (r->batch_stats) {
        sum_over_ranks(r, r->sum, 2 * w);
        tdm_batchnorm_backward_data(r->ops, t, w, u->c, dy, &u->norm, relu, r->sum, u->count, dc);
    }
    if (tdm_is_trained(p, u->weight))
        TDM_TRY(tdm_conv_backward_weight(u->conv, r->n, u->x, dc, tdm_grad_of(p, u->weight)));
    return dx ? tdm_conv_backward_data(u->conv, r->n, dc, dx) : TDM_OK;
}

void unit_update(resnet *r, unit *u, bool apply)
{
    const size_t bytes = sizeof(float) * (size_t)u->out;
    if (u->noted && apply) {
        memcpy(tdm_weight_of(r->params, u->mean), u->next_mean, bytes);
        memcpy(tdm_weight_of(r->params, u->variance), u->next_variance, bytes);
    }
    u->noted = false;
}
