/* CLIP-Adapter (Gao et al., arXiv 2110.04544): y = ratio · G(x) + (1 - ratio) · x with
 * G(x) = relu(W2 relu(W1 x)), without biases. For a frozen tower. */
#include "head.h"

typedef struct adapter_options {
    double ratio;
    int64_t reduction;
} adapter_options;

static const tdm_option options[] = {
    TDM_FLOAT_OPTION(adapter_options, ratio, "0.4", 0, 1, "",
                     "Share of the adapted features; the rest are the tower's own."),
    TDM_INT_OPTION(adapter_options, reduction, "4", 1, 65536, "",
                   "The adapter's hidden layer has the features' width divided by this."),
};

typedef struct adapter {
    head base;
    float ratio;
    tdm_nn_mlp mlp;
} adapter;

typedef struct adapter_kept {
    tdm_nn_mlp_kept mlp;
    float *before; /* [n][out] what the last relu sees */
} adapter_kept;

static tdm_status adapter_check(const void *keys, const char *group, int64_t in, int64_t out)
{
    const adapter_options *o = keys;
    TDM_REQUIRE(in == out, TDM_E_CONFIG,
                "%s.feature_dim = %lld is not model.embed_dim = %lld, as an adapter needs", group,
                (long long)in, (long long)out);
    TDM_REQUIRE(in % o->reduction == 0, TDM_E_CONFIG,
                "%s.adapter.reduction = %lld does not divide the %lld features", group,
                (long long)o->reduction, (long long)in);
    return TDM_OK;
}

static tdm_status adapter_create(const head_setup *setup, head **out)
{
    const adapter_options *o = setup->options;
    const tdm_nn_mlp_setup mlp = {.prefix = setup->prefix,
                                  .in = setup->in,
                                  .hidden = setup->in / o->reduction,
                                  .out = setup->out,
                                  .activation = TDM_NN_RELU};
    adapter *a;
    TDM_TRY(TDM_ALLOC(1, &a));
    *out = &a->base;
    a->ratio = (float)o->ratio;
    return tdm_nn_mlp_declare(setup->nn.params, &mlp, &a->mlp);
}

static tdm_status adapter_take(const head *self, tdm_scratch *scratch, int64_t n, void **kept)
{
    const adapter *a = (const adapter *)self;
    adapter_kept room, *k;
    TDM_TAKE(scratch, 1, &k);
    TDM_TRY(tdm_nn_mlp_take(&a->mlp, scratch, n, &room.mlp));
    TDM_TAKE(scratch, n * a->mlp.second.out, &room.before);
    *kept = k;
    if (k) *k = room;
    return TDM_OK;
}

static tdm_status adapter_forward(const head *self, const head_call *call, const float *x, float *y)
{
    const adapter *a = (const adapter *)self;
    const adapter_kept *k = call->kept;
    TDM_TRY(
        tdm_nn_mlp_forward(&self->nn, &a->mlp, &call->pass, call->n, call->sample, x, &k->mlp, k->before));
    tdm_nn_activation_forward(TDM_NN_RELU, call->n * self->out, k->before, y);
    for (int64_t i = 0; i < call->n * self->out; i++) y[i] = a->ratio * y[i] + (1.0f - a->ratio) * x[i];
    return TDM_OK;
}

static tdm_status adapter_backward(const head *self, const head_call *call, const float *x, const float *dy,
                                   float *dx)
{
    const adapter *a = (const adapter *)self;
    const adapter_kept *k = call->kept;
    const int64_t n = call->n * self->out;
    float *d;
    TDM_TAKE(self->nn.scratch, n, &d);
    tdm_nn_activation_backward(TDM_NN_RELU, n, k->before, dy, d);
    for (int64_t i = 0; i < n; i++) d[i] *= a->ratio;
    TDM_TRY(tdm_nn_mlp_backward(&self->nn, &a->mlp, &call->pass, call->n, call->sample, x, &k->mlp, d, dx));
    for (int64_t i = 0; dx && i < n; i++) dx[i] += (1.0f - a->ratio) * dy[i];
    return TDM_OK;
}

static size_t adapter_backward_bytes(const head *self, int64_t n)
{
    const adapter *a = (const adapter *)self;
    return sizeof(float) * (size_t)(n * self->out) + 64 + tdm_nn_mlp_backward_bytes(&a->mlp, n);
}

static double adapter_forward_flop(const void *keys, int64_t in, int64_t out)
{
    const adapter_options *o = keys;
    return 2.0 * (double)(in / o->reduction) * (double)(in + out);
}

const head_type head_adapter = {
    .name = "adapter",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .option_bytes = sizeof(adapter_options),
    .check = adapter_check,
    .create = adapter_create,
    .take = adapter_take,
    .forward = adapter_forward,
    .backward = adapter_backward,
    .backward_bytes = adapter_backward_bytes,
    .forward_flop = adapter_forward_flop,
};
