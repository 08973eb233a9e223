/* Linear layers on oneDNN's matmul. The weights are kept in the layout that oneDNN prefers for a nominal
 * number of rows, once for forward (K = in, N = out) and once for the data gradient (K = out, N = in);
 * primitives for other row counts are made for that same layout, so that weights are packed once a step
 * whatever the rows. */
#include "linear_impl.h"
#include "ops_dnnl.h"

#include <string.h>

enum {
    NOMINAL_ROWS = 1024, /* the layout is chosen for this many rows */
    CACHED_ROWS = 64     /* row counts remembered per direction; then the oldest is replaced */
};

typedef struct cached_matmul {
    int64_t t;
    dnnl_primitive_t primitive;
    dnnl_memory_t src, weights, dst; /* weights: only in the weight gradient, where they are activations */
} cached_matmul;

typedef struct matmul_cache {
    cached_matmul entry[CACHED_ROWS];
    int count, next;
} matmul_cache;

/* Weights packed for one direction: [k][n] in oneDNN's layout. */
typedef struct packed_weights {
    ops_md plain, packed;
    void *data;
    dnnl_memory_t plain_memory, memory;
    dnnl_primitive_t reorder;
} packed_weights;

typedef struct dnnl_linear {
    tdm_ops *ops;
    linear_shape shape;
    packed_weights forward, data;
    bool data_loaded; /* `data` is of the last load */
    ops_md bias;
    dnnl_memory_t bias_memory;
    matmul_cache forward_cache, data_cache, weight_cache;
} dnnl_linear;

static dnnl_data_type_t act_type(const tdm_ops *ops)
{
    return ops->dtype == TDM_BF16 ? dnnl_bf16 : dnnl_f32;
}

static bool supports(const tdm_ops *ops, const linear_shape *shape)
{
    (void)ops;
    (void)shape;
    return true;
}

static void destroy_matmul(cached_matmul *entry)
{
    if (entry->primitive) dnnl_primitive_destroy(entry->primitive);
    if (entry->src) dnnl_memory_destroy(entry->src);
    if (entry->weights) dnnl_memory_destroy(entry->weights);
    if (entry->dst) dnnl_memory_destroy(entry->dst);
    *entry = (cached_matmul){0};
}

static void destroy_weights(packed_weights *w)
{
    if (w->reorder) dnnl_primitive_destroy(w->reorder);
    if (w->plain_memory) dnnl_memory_destroy(w->plain_memory);
    if (w->memory) dnnl_memory_destroy(w->memory);
    tdm_free(w->data);
    ops_md_destroy(&w->plain);
    ops_md_destroy(&w->packed);
}

static void destroy(void **state)
{
    dnnl_linear *l = *state;
    if (!l) return;
    matmul_cache *caches[] = {&l->forward_cache, &l->data_cache, &l->weight_cache};
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < CACHED_ROWS; i++) destroy_matmul(&caches[c]->entry[i]);
    destroy_weights(&l->forward);
    destroy_weights(&l->data);
    if (l->bias_memory) dnnl_memory_destroy(l->bias_memory);
    ops_md_destroy(&l->bias);
    tdm_free(l);
    *state = NULL;
}

/* Row-major dst[m][n] = src[m][k] · weights[k][n] with weights in the layout `weights`. */
static tdm_status make_product(dnnl_linear *l, int64_t m, int64_t k, int64_t n, const ops_md *weights,
                               const ops_md *bias, cached_matmul *entry, ops_md *chosen)
{
    ops_md src = {0}, dst = {0};
    dnnl_engine_t engine = l->ops->dnnl->engine;
    TDM_TRY(ops_md_strided(&src, m, k, k, 1, act_type(l->ops)));
    tdm_status status = ops_md_strided(&dst, m, n, n, 1, act_type(l->ops));
    if (status == TDM_OK)
        status = ops_dnnl_matmul(engine, &src, weights, bias, &dst, false, &entry->primitive, chosen);
    if (status == TDM_OK) status = ops_dnnl_memory(engine, &src, DNNL_MEMORY_NONE, &entry->src);
    if (status == TDM_OK) status = ops_dnnl_memory(engine, &dst, DNNL_MEMORY_NONE, &entry->dst);
    ops_md_destroy(&src);
    ops_md_destroy(&dst);
    if (status != TDM_OK) destroy_matmul(entry);
    entry->t = m;
    return status;
}

/* Lets oneDNN choose the layout of a [k][n] operand, allocates it, and prepares the reorder from the f32
 * master weight, whose element (k, n) is at k·k_stride + n·n_stride. */
static tdm_status prepare_weights(dnnl_linear *l, int64_t k, int64_t n, int64_t k_stride, int64_t n_stride,
                                  const ops_md *bias, matmul_cache *cache, packed_weights *w)
{
    dnnl_engine_t engine = l->ops->dnnl->engine;
    ops_md any = {0};
    TDM_TRY(ops_md_any(&any, k, n, act_type(l->ops)));
    tdm_status status = make_product(l, NOMINAL_ROWS, k, n, &any, bias, &cache->entry[0], &w->packed);
    ops_md_destroy(&any);
    TDM_TRY(status);
    cache->count = cache->next = 1;
    TDM_TRY(tdm_alloc(ops_md_bytes(&w->packed), "packed weights", &w->data));
    TDM_TRY(ops_dnnl_memory(engine, &w->packed, w->data, &w->memory));
    TDM_TRY(ops_md_strided(&w->plain, k, n, k_stride, n_stride, dnnl_f32));
    TDM_TRY(ops_dnnl_memory(engine, &w->plain, DNNL_MEMORY_NONE, &w->plain_memory));
    return ops_dnnl_reorder(engine, &w->plain, &w->packed, false, &w->reorder);
}

static tdm_status prepare_forward(dnnl_linear *l)
{
    const linear_shape *s = &l->shape;
    if (s->has_bias && !l->bias_memory) {
        TDM_TRY(ops_md_strided(&l->bias, 1, s->out, s->out, 1, dnnl_f32));
        TDM_TRY(ops_dnnl_memory(l->ops->dnnl->engine, &l->bias, DNNL_MEMORY_NONE, &l->bias_memory));
    }
    return prepare_weights(l, s->in, s->out, s->transposed ? s->out : 1, s->transposed ? 1 : s->in,
                           s->has_bias ? &l->bias : NULL, &l->forward_cache, &l->forward);
}

static tdm_status prepare_data(dnnl_linear *l)
{
    const linear_shape *s = &l->shape;
    return prepare_weights(l, s->out, s->in, s->transposed ? 1 : s->in, s->transposed ? s->out : 1, NULL,
                           &l->data_cache, &l->data);
}

static tdm_status create(tdm_ops *ops, const linear_shape *shape, void **state)
{
    dnnl_linear *l = NULL;
    tdm_status status = TDM_ALLOC(1, &l);
    *state = l;
    TDM_TRY(status);
    l->ops = ops;
    l->shape = *shape;
    int saved = ops_dnnl_enter(ops);
    status = prepare_forward(l);
    ops_dnnl_leave(saved);
    return status;
}

static tdm_status execute(dnnl_linear *l, dnnl_primitive_t primitive, int arguments,
                          const dnnl_exec_arg_t *argument, const char *what)
{
    TDM_TRY(
        ops_dnnl_check(dnnl_primitive_execute(primitive, l->ops->dnnl->stream, arguments, argument), what));
    return ops_dnnl_check(dnnl_stream_wait(l->ops->dnnl->stream), what);
}

/* oneDNN's handles are not const; sources are only read. */
static dnnl_status_t point(dnnl_memory_t memory, const void *data)
{
    return dnnl_memory_set_data_handle(memory, (void *)(uintptr_t)data);
}

static tdm_status reorder_weights(dnnl_linear *l, packed_weights *w, const float *weight)
{
    TDM_TRY(ops_dnnl_check(point(w->plain_memory, weight), "weights"));
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, w->plain_memory}, {DNNL_ARG_TO, w->memory}};
    return execute(l, w->reorder, 2, arguments, "packing weights");
}

static tdm_status pack_entered(dnnl_linear *l, const float *weight, const float *bias, bool with_backward)
{
    if (l->bias_memory) TDM_TRY(ops_dnnl_check(point(l->bias_memory, bias), "bias"));
    TDM_TRY(reorder_weights(l, &l->forward, weight));
    l->data_loaded = with_backward;
    if (!with_backward) return TDM_OK;
    if (!l->data.reorder) TDM_TRY(prepare_data(l));
    return reorder_weights(l, &l->data, weight);
}

static tdm_status pack(void *state, const float *weight, const float *bias, bool with_backward)
{
    dnnl_linear *l = state;
    int saved = ops_dnnl_enter(l->ops);
    tdm_status status = pack_entered(l, weight, bias, with_backward);
    ops_dnnl_leave(saved);
    return status;
}

/* The remembered primitive for t rows, or the entry to fill (primitive NULL). */
static cached_matmul *find_matmul(matmul_cache *cache, int64_t t)
{
    for (int i = 0; i < cache->count; i++)
        if (cache->entry[i].t == t && cache->entry[i].primitive) return &cache->entry[i];
    cached_matmul *entry = &cache->entry[cache->next];
    cache->next = (cache->next + 1) % CACHED_ROWS;
    if (cache->count < CACHED_ROWS) cache->count++;
    destroy_matmul(entry);
    return entry;
}

static tdm_status run_product(dnnl_linear *l, int64_t t, int64_t k, int64_t n, packed_weights *w,
                              dnnl_memory_t bias, matmul_cache *cache, const void *src, void *dst)
{
    cached_matmul *entry = find_matmul(cache, t);
    if (!entry->primitive) TDM_TRY(make_product(l, t, k, n, &w->packed, bias ? &l->bias : NULL, entry, NULL));
    TDM_TRY(ops_dnnl_check(point(entry->src, src), "source"));
    TDM_TRY(ops_dnnl_check(point(entry->dst, dst), "destination"));
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, entry->src},
                                         {DNNL_ARG_WEIGHTS, w->memory},
                                         {DNNL_ARG_DST, entry->dst},
                                         {DNNL_ARG_BIAS, bias}};
    return execute(l, entry->primitive, bias ? 4 : 3, arguments, "linear layer");
}

static tdm_status forward(void *state, int64_t t, const void *x, void *y)
{
    dnnl_linear *l = state;
    int saved = ops_dnnl_enter(l->ops);
    tdm_status status =
        run_product(l, t, l->shape.in, l->shape.out, &l->forward, l->bias_memory, &l->forward_cache, x, y);
    ops_dnnl_leave(saved);
    return status;
}

static tdm_status backward_data(void *state, int64_t t, const void *dy, void *dx)
{
    dnnl_linear *l = state;
    TDM_REQUIRE(l->data_loaded, TDM_E_SHAPE, "a linear layer was loaded without its backward weights");
    int saved = ops_dnnl_enter(l->ops);
    tdm_status status = run_product(l, t, l->shape.out, l->shape.in, &l->data, NULL, &l->data_cache, dy, dx);
    ops_dnnl_leave(saved);
    return status;
}

/* dweight[rows][columns] += left[t][rows]^T · right[t][columns], bf16 */
static tdm_status make_weight_gradient(dnnl_linear *l, int64_t t, int64_t rows, int64_t columns,
                                       cached_matmul *entry)
{
    ops_md left = {0}, right = {0}, dst = {0};
    dnnl_engine_t engine = l->ops->dnnl->engine;
    TDM_TRY(ops_md_strided(&left, rows, t, 1, rows, act_type(l->ops)));
    tdm_status status = ops_md_strided(&right, t, columns, columns, 1, act_type(l->ops));
    if (status == TDM_OK) status = ops_md_strided(&dst, rows, columns, columns, 1, dnnl_f32);
    if (status == TDM_OK)
        status = ops_dnnl_matmul(engine, &left, &right, NULL, &dst, true, &entry->primitive, NULL);
    if (status == TDM_OK) status = ops_dnnl_memory(engine, &left, DNNL_MEMORY_NONE, &entry->src);
    if (status == TDM_OK) status = ops_dnnl_memory(engine, &right, DNNL_MEMORY_NONE, &entry->weights);
    if (status == TDM_OK) status = ops_dnnl_memory(engine, &dst, DNNL_MEMORY_NONE, &entry->dst);
    ops_md_destroy(&left);
    ops_md_destroy(&right);
    ops_md_destroy(&dst);
    if (status != TDM_OK) destroy_matmul(entry);
    entry->t = t;
    return status;
}

static tdm_status run_weight_gradient(dnnl_linear *l, int64_t t, int64_t rows, int64_t columns,
                                      const void *left, const void *right, float *dweight)
{
    if (l->ops->dtype == TDM_F32)
        return ops_dnnl_check(
            dnnl_sgemm('T', 'N', rows, columns, t, 1.0f, left, rows, right, columns, 1.0f, dweight, columns),
            "weight gradient");
    cached_matmul *entry = find_matmul(&l->weight_cache, t);
    if (!entry->primitive) TDM_TRY(make_weight_gradient(l, t, rows, columns, entry));
    TDM_TRY(ops_dnnl_check(point(entry->src, left), "source"));
    TDM_TRY(ops_dnnl_check(point(entry->weights, right), "source"));
    TDM_TRY(ops_dnnl_check(point(entry->dst, dweight), "weight gradient"));
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, entry->src}, {DNNL_ARG_WEIGHTS, entry->weights}, {DNNL_ARG_DST, entry->dst}};
    return execute(l, entry->primitive, 3, arguments, "weight gradient");
}

static tdm_status backward_weight(void *state, int64_t t, const void *x, const void *dy, bool add,
                                  float *dweight, float *dbias)
{
    dnnl_linear *l = state;
    const linear_shape *s = &l->shape;
    if (!add) memset(dweight, 0, sizeof(float) * (size_t)(s->in * s->out));
    int saved = ops_dnnl_enter(l->ops);
    tdm_status status = s->transposed ? run_weight_gradient(l, t, s->in, s->out, x, dy, dweight)
                                      : run_weight_gradient(l, t, s->out, s->in, dy, x, dweight);
    ops_dnnl_leave(saved);
    if (status == TDM_OK && dbias) ops_column_sums(l->ops, s->dtype, t, s->out, dy, dbias);
    return status;
}

const linear_backend linear_dnnl = {
    .name = "oneDNN",
    .supports = supports,
    .create = create,
    .destroy = destroy,
    .pack = pack,
    .forward = forward,
    .backward_data = backward_data,
    .backward_weight = backward_weight,
};
