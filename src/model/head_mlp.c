/* The head of CLIP4CMR (Zeng et al., arXiv 2201.02772): y = dropout(W2 gelu(W1 x + b1) + b2), gelu with erf. */
#include "head.h"

typedef struct mlp_options {
    int64_t hidden;
    double dropout;
} mlp_options;

static const tdm_option options[] = {
    TDM_INT_OPTION(mlp_options, hidden, "256", 1, 65536, "features", "Width of the head's hidden layer."),
    TDM_OPTION_ROW(TDM_OPTION_FLOAT, mlp_options, dropout, "0.1", 0, 0.95, NULL, "",
                   "Dropout behind the head's second layer.", NULL, TDM_CHANGE_RUN),
};

typedef struct mlp {
    head base;
    tdm_nn_mlp layers;
} mlp;

static tdm_status mlp_create(const head_setup *setup, head **out)
{
    const mlp_options *o = setup->options;
    const tdm_nn_mlp_setup layers = {.prefix = setup->prefix,
                                     .in = setup->in,
                                     .hidden = o->hidden,
                                     .out = setup->out,
                                     .has_bias = true,
                                     .activation = TDM_NN_GELU,
                                     .dropout = o->dropout,
                                     .site = setup->site};
    mlp *m;
    TDM_TRY(TDM_ALLOC(1, &m));
    *out = &m->base;
    return tdm_nn_mlp_declare(setup->nn.params, &layers, &m->layers);
}

static tdm_status mlp_take(const head *self, tdm_scratch *scratch, int64_t n, void **kept)
{
    tdm_nn_mlp_kept room, *k;
    TDM_TAKE(scratch, 1, &k);
    TDM_TRY(tdm_nn_mlp_take(&((const mlp *)self)->layers, scratch, n, &room));
    *kept = k;
    if (k) *k = room;
    return TDM_OK;
}

static tdm_status mlp_forward(const head *self, const head_call *call, const float *x, float *y)
{
    const mlp *m = (const mlp *)self;
    return tdm_nn_mlp_forward(&self->nn, &m->layers, &call->pass, call->n, call->sample, x, call->kept, y);
}

static tdm_status mlp_backward(const head *self, const head_call *call, const float *x, const float *dy,
                               float *dx)
{
    const mlp *m = (const mlp *)self;
    return tdm_nn_mlp_backward(&self->nn, &m->layers, &call->pass, call->n, call->sample, x, call->kept, dy,
                               dx);
}

static size_t mlp_backward_bytes(const head *self, int64_t n)
{
    return tdm_nn_mlp_backward_bytes(&((const mlp *)self)->layers, n);
}

static double mlp_forward_flop(const void *keys, int64_t in, int64_t out)
{
    return 2.0 * (double)((const mlp_options *)keys)->hidden * (double)(in + out);
}

const head_type head_mlp = {
    .name = "mlp",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .option_bytes = sizeof(mlp_options),
    .create = mlp_create,
    .take = mlp_take,
    .forward = mlp_forward,
    .backward = mlp_backward,
    .backward_bytes = mlp_backward_bytes,
    .forward_flop = mlp_forward_flop,
};
