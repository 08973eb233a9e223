/* Convolution on oneDNN, channels last. A kernel of one pixel is a linear layer. Weights are packed per batch
 * size, at their first use after a load, in the layout that oneDNN prefers for it: a run sees one or two. */
#include "linear_impl.h"
#include "ops_dnnl.h"

enum { CACHED_SIZES = 4 }; /* batch sizes remembered; then the oldest is replaced */

/* One direction at one batch size. */
typedef struct conv_work {
    dnnl_primitive_t primitive, reorder; /* reorder: packs the weights, or adds the packed gradient */
    dnnl_memory_t from, to;              /* activations read (src, or dst of a gradient) and the other side */
    ops_md packed;
    dnnl_memory_t packed_memory;
    void *data;
    int64_t loaded; /* which load `data` holds */
} conv_work;

typedef struct conv_size {
    int64_t n;
    conv_work work[CONV_WAYS];
} conv_size;

struct tdm_conv {
    tdm_ops *ops;
    int64_t in, out, kernel, height, width;
    tdm_linear *linear; /* kernel 1: everything below is unused */
    ops_md plain;       /* [out][in][kernel][kernel] f32 */
    dnnl_memory_t plain_memory;
    const float *weight;
    int64_t loads;
    conv_size size[CACHED_SIZES];
    int next;
};

tdm_status tdm_conv_create(tdm_ops *ops, int64_t in, int64_t out, int64_t kernel, int64_t height,
                           int64_t width, tdm_conv **conv)
{
    *conv = NULL;
    TDM_REQUIRE(in > 0 && out > 0 && kernel % 2 == 1 && height > 0 && width > 0, TDM_E_SHAPE,
                "a convolution of %lld inputs and %lld outputs, kernel %lld, on %lld x %lld px",
                (long long)in, (long long)out, (long long)kernel, (long long)height, (long long)width);
    TDM_TRY(TDM_ALLOC(1, conv));
    tdm_conv *c = *conv;
    c->ops = ops;
    c->in = in;
    c->out = out;
    c->kernel = kernel;
    c->height = height;
    c->width = width;
    if (kernel == 1) {
        TDM_TRY(tdm_linear_create(ops, in, out, false, false, &c->linear));
        linear_count_as(c->linear, TDM_OP_CONV_FORWARD, TDM_OP_CONV_DATA, TDM_OP_CONV_WEIGHT);
        return TDM_OK;
    }
    TDM_TRY(ops_md_kernel(&c->plain, out, in, kernel, false, dnnl_f32));
    return ops_dnnl_memory(ops->dnnl->engine, &c->plain, DNNL_MEMORY_NONE, &c->plain_memory);
}

static void destroy_work(conv_work *w)
{
    if (w->primitive) dnnl_primitive_destroy(w->primitive);
    if (w->reorder) dnnl_primitive_destroy(w->reorder);
    if (w->from) dnnl_memory_destroy(w->from);
    if (w->to) dnnl_memory_destroy(w->to);
    if (w->packed_memory) dnnl_memory_destroy(w->packed_memory);
    ops_md_destroy(&w->packed);
    tdm_free(w->data);
    *w = (conv_work){0};
}

void tdm_conv_destroy(tdm_conv **conv)
{
    tdm_conv *c = *conv;
    if (!c) return;
    tdm_linear_destroy(&c->linear);
    for (int i = 0; i < CACHED_SIZES; i++)
        for (int way = 0; way < CONV_WAYS; way++) destroy_work(&c->size[i].work[way]);
    if (c->plain_memory) dnnl_memory_destroy(c->plain_memory);
    ops_md_destroy(&c->plain);
    tdm_free(c);
    *conv = NULL;
}

tdm_status tdm_conv_load(tdm_conv *c, const float *weight, bool with_backward)
{
    c->weight = weight;
    c->loads++;
    return c->linear ? tdm_linear_load(c->linear, weight, NULL, with_backward) : TDM_OK;
}

/* The primitive of a direction; oneDNN chooses the layout of the weights. */
static tdm_status make_primitive(tdm_conv *c, conv_way way, int64_t n, conv_work *w)
{
    const dnnl_data_type_t act = c->ops->dtype == TDM_BF16 ? dnnl_bf16 : dnnl_f32;
    const dnnl_engine_t engine = c->ops->dnnl->engine;
    ops_md src = {0}, dst = {0}, weights = {0}, gradient = {0};
    tdm_status status = ops_md_images(&src, n, c->in, c->height, c->width, act);
    if (status == TDM_OK) status = ops_md_images(&dst, n, c->out, c->height, c->width, act);
    if (status == TDM_OK) status = ops_md_kernel(&weights, c->out, c->in, c->kernel, true, act);
    if (status == TDM_OK) status = ops_md_kernel(&gradient, c->out, c->in, c->kernel, true, dnnl_f32);
    if (status == TDM_OK)
        status = ops_dnnl_conv(engine, way, &src, way == CONV_WEIGHT ? &gradient : &weights, &weights, &dst,
                               c->kernel / 2, &w->primitive, &w->packed);
    const ops_md *from = way == CONV_DATA ? &dst : &src, *to = way == CONV_DATA ? &src : &dst;
    if (status == TDM_OK) status = ops_dnnl_memory(engine, from, DNNL_MEMORY_NONE, &w->from);
    if (status == TDM_OK) status = ops_dnnl_memory(engine, to, DNNL_MEMORY_NONE, &w->to);
    ops_md_destroy(&src);
    ops_md_destroy(&dst);
    ops_md_destroy(&weights);
    ops_md_destroy(&gradient);
    return status;
}

static tdm_status make_work(tdm_conv *c, conv_way way, int64_t n, conv_work *w)
{
    const dnnl_engine_t engine = c->ops->dnnl->engine;
    TDM_TRY(make_primitive(c, way, n, w));
    TDM_TRY(tdm_alloc(ops_md_bytes(&w->packed), "packed weights of a convolution", &w->data));
    TDM_TRY(ops_dnnl_memory(engine, &w->packed, w->data, &w->packed_memory));
    if (way == CONV_WEIGHT) return ops_dnnl_reorder(engine, &w->packed, &c->plain, true, &w->reorder);
    return ops_dnnl_reorder(engine, &c->plain, &w->packed, false, &w->reorder);
}

static tdm_status find_work(tdm_conv *c, conv_way way, int64_t n, conv_work **out)
{
    conv_size *size = NULL;
    for (int i = 0; i < CACHED_SIZES; i++)
        if (c->size[i].n == n) size = &c->size[i];
    if (!size) {
        size = &c->size[c->next];
        c->next = (c->next + 1) % CACHED_SIZES;
        for (int i = 0; i < CONV_WAYS; i++) destroy_work(&size->work[i]);
        size->n = n;
    }
    *out = &size->work[way];
    if ((*out)->reorder) return TDM_OK;
    tdm_status status = make_work(c, way, n, *out);
    if (status != TDM_OK) destroy_work(*out);
    return status;
}

static tdm_status execute(tdm_conv *c, dnnl_primitive_t primitive, int arguments,
                          const dnnl_exec_arg_t *argument)
{
    const dnnl_stream_t stream = c->ops->dnnl->stream;
    TDM_TRY(ops_dnnl_check(dnnl_primitive_execute(primitive, stream, arguments, argument), "convolution"));
    return ops_dnnl_check(dnnl_stream_wait(stream), "convolution");
}

/* oneDNN's handles are not const; sources are only read. */
static tdm_status point(dnnl_memory_t memory, const void *data)
{
    return ops_dnnl_check(dnnl_memory_set_data_handle(memory, (void *)(uintptr_t)data), "convolution");
}

static tdm_status pack(tdm_conv *c, conv_work *w)
{
    TDM_REQUIRE(c->weight, TDM_E_SHAPE, "a convolution is used before its weights are loaded");
    if (w->loaded == c->loads) return TDM_OK;
    const double start = op_begin();
    TDM_TRY(point(c->plain_memory, c->weight));
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, c->plain_memory}, {DNNL_ARG_TO, w->packed_memory}};
    TDM_TRY(execute(c, w->reorder, 2, arguments));
    w->loaded = c->loads;
    op_end(c->ops, TDM_OP_WEIGHT_PACK, start, 0.0);
    return TDM_OK;
}

static double conv_flop(const tdm_conv *c, int64_t n)
{
    return 2.0 * (double)(n * c->height * c->width) * (double)(c->in * c->out * c->kernel * c->kernel);
}

/* Forward: x to y. Data gradient: dy to dx. */
static tdm_status run_data(tdm_conv *c, conv_way way, int64_t n, const void *from, void *to)
{
    conv_work *w;
    TDM_TRY(find_work(c, way, n, &w));
    TDM_TRY(pack(c, w));
    const double start = op_begin();
    TDM_TRY(point(w->from, from));
    TDM_TRY(point(w->to, to));
    const bool forward = way == CONV_FORWARD;
    const dnnl_exec_arg_t arguments[] = {{forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_DST, w->from},
                                         {DNNL_ARG_WEIGHTS, w->packed_memory},
                                         {forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_SRC, w->to}};
    TDM_TRY(execute(c, w->primitive, 3, arguments));
    op_end(c->ops, forward ? TDM_OP_CONV_FORWARD : TDM_OP_CONV_DATA, start, conv_flop(c, n));
    return TDM_OK;
}

static tdm_status run_weight(tdm_conv *c, int64_t n, const void *x, const void *dy, float *dweight)
{
    conv_work *w;
    TDM_TRY(find_work(c, CONV_WEIGHT, n, &w));
    const double start = op_begin();
    TDM_TRY(point(w->from, x));
    TDM_TRY(point(w->to, dy));
    TDM_TRY(point(c->plain_memory, dweight));
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, w->from}, {DNNL_ARG_DIFF_DST, w->to}, {DNNL_ARG_DIFF_WEIGHTS, w->packed_memory}};
    TDM_TRY(execute(c, w->primitive, 3, arguments));
    const dnnl_exec_arg_t sum[] = {{DNNL_ARG_FROM, w->packed_memory}, {DNNL_ARG_TO, c->plain_memory}};
    TDM_TRY(execute(c, w->reorder, 2, sum));
    op_end(c->ops, TDM_OP_CONV_WEIGHT, start, conv_flop(c, n));
    return TDM_OK;
}

tdm_status tdm_conv_forward(tdm_conv *c, int64_t n, const void *x, void *y)
{
    if (n == 0) return TDM_OK;
    if (c->linear) return tdm_linear_forward(c->linear, n * c->height * c->width, x, y);
    const int saved = ops_dnnl_enter(c->ops);
    const tdm_status status = run_data(c, CONV_FORWARD, n, x, y);
    ops_dnnl_leave(saved);
    return status;
}

tdm_status tdm_conv_backward_data(tdm_conv *c, int64_t n, const void *dy, void *dx)
{
    if (n == 0) return TDM_OK;
    if (c->linear) return tdm_linear_backward_data(c->linear, n * c->height * c->width, dy, dx);
    const int saved = ops_dnnl_enter(c->ops);
    const tdm_status status = run_data(c, CONV_DATA, n, dy, dx);
    ops_dnnl_leave(saved);
    return status;
}

tdm_status tdm_conv_backward_weight(tdm_conv *c, int64_t n, const void *x, const void *dy, float *dweight)
{
    if (n == 0) return TDM_OK;
    if (c->linear)
        return tdm_linear_backward_weight(c->linear, n * c->height * c->width, x, dy, dweight, NULL);
    const int saved = ops_dnnl_enter(c->ops);
    const tdm_status status = run_weight(c, n, x, dy, dweight);
    ops_dnnl_leave(saved);
    return status;
}
