/* The head of CLIP4CMR (Zeng et al., arXiv 2201.02772): y = dropout(W2 gelu(W1 x + b1) + b2), gelu with erf. With another
 * number of layers: all but the last end in a gelu, and have `hidden` outputs.
 *
 * Behind cached features the head is the step's work: its weights are packed, its gelu is the towers'. Behind a tower,
 * beside which it takes no time, it is computed as it always was, so that such runs keep their bits. */
#include "head.h"

enum { MOST_LAYERS = 8 };

typedef struct mlp_options {
    int64_t hidden, layers;
    double dropout;
} mlp_options;

static const tdm_option options[] = {
    TDM_INT_OPTION(mlp_options, hidden, "256", 1, 65536, "features", "Width of the head's hidden layers."),
    TDM_INT_OPTION(mlp_options, layers, "2", 1, MOST_LAYERS, "layers", "The head's linear layers."),
    TDM_OPTION_ROW(TDM_OPTION_FLOAT, mlp_options, dropout, "0.1", 0, 0.95, NULL, "",
                   "Dropout behind the head's last layer.", NULL, TDM_CHANGE_RUN),
};

typedef struct mlp {
    head base;
    tdm_nn_linear layer[MOST_LAYERS];
    int64_t layers;
    double dropout;
    uint32_t site;
    bool cached;
} mlp;

typedef struct mlp_kept {
    float *hidden[MOST_LAYERS], *activated[MOST_LAYERS]; /* [n][hidden] of all layers but the last */
} mlp_kept;

static tdm_status mlp_create(const head_setup *setup, head **out)
{
    const mlp_options *o = setup->options;
    mlp *m;
    TDM_TRY(TDM_ALLOC(1, &m));
    *out = &m->base;
    m->base.random = o->dropout > 0.0;
    m->layers = o->layers;
    m->dropout = o->dropout;
    m->site = setup->site;
    m->cached = setup->cached;
    for (int64_t l = 0; l < m->layers; l++) {
        char name[96];
        snprintf(name, sizeof name, "%s.fc%lld", setup->prefix, (long long)l + 1);
        TDM_TRY(tdm_nn_linear_declare(setup->nn.params, name, l ? o->hidden : setup->in,
                                      l < m->layers - 1 ? o->hidden : setup->out, true, &m->layer[l]));
        if (m->cached) TDM_TRY(tdm_nn_linear_pack(&setup->nn, &m->layer[l]));
    }
    return TDM_OK;
}

static void mlp_destroy(head *self)
{
    mlp *m = (mlp *)self;
    for (int64_t l = 0; l < m->layers; l++) tdm_nn_linear_free(&m->layer[l]);
}

static tdm_status mlp_load(head *self, const tdm_scope *scope)
{
    mlp *m = (mlp *)self;
    for (int64_t l = 0; l < m->layers; l++) TDM_TRY(tdm_nn_linear_load(&self->nn, scope, &m->layer[l]));
    return TDM_OK;
}

static tdm_status mlp_take(const head *self, tdm_scratch *scratch, int64_t n, void **kept)
{
    const mlp *m = (const mlp *)self;
    mlp_kept room = {0}, *k;
    TDM_TAKE(scratch, 1, &k);
    for (int64_t l = 0; l < m->layers - 1; l++) {
        TDM_TAKE(scratch, n * m->layer[l].out, &room.hidden[l]);
        TDM_TAKE(scratch, n * m->layer[l].out, &room.activated[l]);
    }
    *kept = k;
    if (k) *k = room;
    return TDM_OK;
}

static void gelu_forward(const mlp *m, int64_t n, const float *x, float *y)
{
    if (m->cached)
        tdm_activation_forward_f32(m->base.nn.ops, TDM_GELU, n, x, y);
    else
        tdm_nn_activation_forward(TDM_NN_GELU, n, x, y);
}

static void gelu_backward(const mlp *m, int64_t n, const float *x, const float *dy, float *dx)
{
    if (m->cached)
        tdm_activation_backward_f32(m->base.nn.ops, TDM_GELU, n, x, dy, dx);
    else
        tdm_nn_activation_backward(TDM_NN_GELU, n, x, dy, dx);
}

static tdm_status mlp_forward(const head *self, const head_call *call, const float *x, float *y)
{
    const mlp *m = (const mlp *)self;
    const mlp_kept *k = call->kept;
    const int64_t last = m->layers - 1;
    for (int64_t l = 0; l < last; l++) {
        TDM_TRY(tdm_nn_linear_forward(&self->nn, &m->layer[l], call->n, x, k->hidden[l]));
        gelu_forward(m, call->n * m->layer[l].out, k->hidden[l], k->activated[l]);
        x = k->activated[l];
    }
    TDM_TRY(tdm_nn_linear_forward(&self->nn, &m->layer[last], call->n, x, y));
    tdm_nn_dropout(&self->nn, &call->pass, m->dropout, m->site, call->n, call->sample, self->out, y, y);
    return TDM_OK;
}

static tdm_status mlp_backward(const head *self, const head_call *call, const float *x, const float *dy,
                               float *dx)
{
    const mlp *m = (const mlp *)self;
    const mlp_kept *k = call->kept;
    const int64_t n = call->n;
    tdm_scratch *scratch = self->nn.scratch;
    const size_t mark = tdm_scratch_mark(scratch);
    float *d, *below;
    TDM_TAKE(scratch, n * self->out, &d);
    tdm_nn_dropout(&self->nn, &call->pass, m->dropout, m->site, n, call->sample, self->out, dy, d);
    for (int64_t l = m->layers - 1; l > 0; l--, d = below) {
        TDM_TAKE(scratch, n * m->layer[l].in, &below);
        TDM_TRY(tdm_nn_linear_backward(&self->nn, &m->layer[l], n, k->activated[l - 1], d, below));
        gelu_backward(m, n * m->layer[l].in, k->hidden[l - 1], below, below);
    }
    TDM_TRY(tdm_nn_linear_backward(&self->nn, &m->layer[0], n, x, d, dx));
    tdm_scratch_rewind(scratch, mark);
    return TDM_OK;
}

static size_t mlp_backward_bytes(const head *self, int64_t n)
{
    const mlp *m = (const mlp *)self;
    int64_t floats = 0;
    for (int64_t l = 0; l < m->layers; l++) floats += n * m->layer[l].out;
    return sizeof(float) * (size_t)floats + (size_t)m->layers * 64;
}

static double mlp_forward_flop(const void *keys, int64_t in, int64_t out)
{
    const mlp_options *o = keys;
    if (o->layers == 1) return 2.0 * (double)in * (double)out;
    return 2.0 * (double)o->hidden * ((double)(in + out) + (double)(o->layers - 2) * (double)o->hidden);
}

const head_type head_mlp = {
    .name = "mlp",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .option_bytes = sizeof(mlp_options),
    .create = mlp_create,
    .destroy = mlp_destroy,
    .load = mlp_load,
    .take = mlp_take,
    .forward = mlp_forward,
    .backward = mlp_backward,
    .backward_bytes = mlp_backward_bytes,
    .forward_flop = mlp_forward_flop,
};
