/* CLIP's ModifiedResNet (github openai/CLIP, clip/model.py): a stem of three convolutions, four stages of
 * bottleneck blocks whose strided convolutions are average pooling and a convolution of stride 1, and
 * attention pooling with one query, the mean token. Images are rows of pixels, channels last, throughout.
 *
 * Every convolution is followed by batch normalisation. While training with batch_stats "sync" its statistics
 * are those of the global batch: sums go through tdm_model_set_rank_sum in forward and in backward. Else they
 * are the running ones, constants of the backward pass. */
#include "resnet_impl.h"

#include <string.h>

/* ---- Blocks ---- */
static tdm_status block_create(resnet *r, const block_shape *s, block *b)
{
    char at[64], down[80];
    snprintf(at, sizeof(at), "visual.layer%d.%lld", (int)s->stage, (long long)s->index);
    snprintf(down, sizeof(down), "%s.downsample", at);
    const int64_t p = s->planes, h = s->height, w = s->width, out_h = h / s->stride, out_w = w / s->stride;
    b->shape = *s;
    TDM_TRY(unit_create(r, at, "conv1", "bn1", s->in, p, 1, h, w, 1.0, &b->a));
    TDM_TRY(unit_create(r, at, "conv2", "bn2", p, p, 3, h, w, 1.0, &b->b));
    TDM_TRY(unit_create(r, at, "conv3", "bn3", p, p * EXPANSION, 1, out_h, out_w, 0.0, &b->c));
    r->stream_values = tdm_max_i64(r->stream_values, pixels_out(s) * p * EXPANSION);
    if (!has_projection(s)) return TDM_OK;
    return unit_create(r, down, "0", "1", s->in, p * EXPANSION, 1, out_h, out_w, 1.0, &b->d);
}

static tdm_status block_load(resnet *r, block *b)
{
    TDM_TRY(unit_load(r, &b->a));
    TDM_TRY(unit_load(r, &b->b));
    TDM_TRY(unit_load(r, &b->c));
    return b->d.conv ? unit_load(r, &b->d) : TDM_OK;
}

static tdm_status block_reserve(resnet *r, block *b, int64_t n)
{
    const block_shape *s = &b->shape;
    TDM_TAKE_ACT(r->scratch, r->ops, n * pixels_in(s) * s->planes, &b->y1);
    TDM_TAKE_ACT(r->scratch, r->ops, n * pixels_out(s) * s->planes, &b->y2);
    TDM_TRY(unit_reserve(r, &b->a, n));
    TDM_TRY(unit_reserve(r, &b->b, n));
    TDM_TRY(unit_reserve(r, &b->c, n));
    if (!has_projection(s)) return TDM_OK;
    if (s->stride > 1) TDM_TAKE_ACT(r->scratch, r->ops, n * pixels_out(s) * s->in, &b->pooled);
    return unit_reserve(r, &b->d, n);
}

/* The 3x3 convolution with its ReLU, pooled in a strided block. */
static tdm_status middle_forward(resnet *r, block *b, int64_t n, bool keep)
{
    const block_shape *s = &b->shape;
    if (s->stride == 1) return unit_forward(r, &b->b, n, keep, b->y1, NULL, true, b->y2);
    const size_t mark = tdm_scratch_mark(r->scratch);
    void *full;
    TDM_TAKE_ACT(r->scratch, r->ops, n * pixels_in(s) * s->planes, &full);
    TDM_TRY(unit_forward(r, &b->b, n, keep, b->y1, NULL, true, full));
    tdm_average_pool_forward(r->ops, n, s->height, s->width, s->planes, full, b->y2);
    tdm_scratch_rewind(r->scratch, mark);
    return TDM_OK;
}

static tdm_status block_forward(resnet *r, block *b, int64_t n, bool keep, void *x, void *out)
{
    const block_shape *s = &b->shape;
    b->x = x;
    b->out = out;
    TDM_TRY(unit_forward(r, &b->a, n, keep, x, NULL, true, b->y1));
    TDM_TRY(middle_forward(r, b, n, keep));
    const void *residual = x;
    if (has_projection(s)) {
        const void *input = x;
        if (s->stride > 1) {
            tdm_average_pool_forward(r->ops, n, s->height, s->width, s->in, x, b->pooled);
            input = b->pooled;
        }
        TDM_TRY(unit_forward(r, &b->d, n, keep, input, NULL, false, out));
        residual = out;
    }
    return unit_forward(r, &b->c, n, keep, b->y2, residual, true, out);
}

/* The residual's way: adds to dx, or returns in *identity what is to be added. g may be overwritten. */
static tdm_status residual_way_backward(resnet *r, block *b, void *g, void *dx, void **identity)
{
    const block_shape *s = &b->shape;
    *identity = g;
    if (!has_projection(s)) return TDM_OK;
    TDM_TAKE_ACT(r->scratch, r->ops, r->n * pixels_out(s) * s->in, identity);
    TDM_TRY(unit_backward(r, &b->d, false, g, g, *identity));
    if (s->stride == 1) return TDM_OK;
    tdm_average_pool_backward(r->ops, r->n, s->height, s->width, s->in, *identity, true, dx);
    *identity = NULL;
    return TDM_OK;
}

/* g: gradient of the block's output, zero where the output is (overwritten). dx: the same of its input. */
static tdm_status block_backward(resnet *r, block *b, void *g, void *dx)
{
    const block_shape *s = &b->shape;
    const size_t mark = tdm_scratch_mark(r->scratch);
    const int64_t in = r->n * pixels_in(s), out = r->n * pixels_out(s);
    void *dc, *dy2, *full, *dy1, *identity;
    TDM_TAKE_ACT(r->scratch, r->ops, out * s->planes * EXPANSION, &dc);
    TDM_TAKE_ACT(r->scratch, r->ops, out * s->planes, &dy2);
    TDM_TAKE_ACT(r->scratch, r->ops, in * s->planes, &dy1);
    TDM_TRY(unit_backward(r, &b->c, false, g, dc, dy2));
    full = dy2;
    if (s->stride > 1) {
        TDM_TAKE_ACT(r->scratch, r->ops, in * s->planes, &full);
        tdm_average_pool_backward(r->ops, r->n, s->height, s->width, s->planes, dy2, false, full);
    }
    TDM_TRY(unit_backward(r, &b->b, true, full, full, dy1));
    TDM_TRY(unit_backward(r, &b->a, true, dy1, dy1, dx));
    TDM_TRY(residual_way_backward(r, b, g, dx, &identity));
    tdm_residual_backward(r->ops, in * s->in, b->x, dx, identity, dx);
    tdm_scratch_rewind(r->scratch, mark);
    return TDM_OK;
}

/* ---- Stem ---- */
static tdm_status stem_create(resnet *r)
{
    const int64_t half = r->width / 2, h = r->height / 2, w = r->width_px / 2;
    TDM_TRY(unit_create(r, "visual", "conv1", "bn1", 3, half, 3, h, w, 1.0, &r->stem[0]));
    TDM_TRY(unit_create(r, "visual", "conv2", "bn2", half, half, 3, h, w, 1.0, &r->stem[1]));
    return unit_create(r, "visual", "conv3", "bn3", half, r->width, 3, h, w, 1.0, &r->stem[2]);
}

static tdm_status stem_forward(resnet *r, const tdm_tower_input *input, bool keep, void *out)
{
    const int64_t n = input->n, rows = n * r->stem[0].pixels;
    void *windows;
    TDM_TAKE_ACT(r->scratch, r->ops, rows * WINDOW, &windows);
    for (int i = 0; i < STEM - 1; i++) TDM_TAKE_ACT(r->scratch, r->ops, rows * r->stem[i].out, &r->stem_y[i]);
    for (int i = 0; i < STEM; i++) TDM_TRY(unit_reserve(r, &r->stem[i], n));
    const size_t mark = tdm_scratch_mark(r->scratch);
    void *full;
    TDM_TAKE_ACT(r->scratch, r->ops, rows * r->width, &full);
    tdm_image_windows(r->ops, n, r->height, r->width_px, 3, 2, 1, input->image, r->mean, r->std, windows);
    TDM_TRY(unit_forward(r, &r->stem[0], n, keep, windows, NULL, true, r->stem_y[0]));
    TDM_TRY(unit_forward(r, &r->stem[1], n, keep, r->stem_y[0], NULL, true, r->stem_y[1]));
    TDM_TRY(unit_forward(r, &r->stem[2], n, keep, r->stem_y[1], NULL, true, full));
    tdm_average_pool_forward(r->ops, n, r->height / 2, r->width_px / 2, r->width, full, out);
    tdm_scratch_rewind(r->scratch, mark);
    return TDM_OK;
}

static tdm_status stem_backward(resnet *r, const void *g)
{
    const size_t mark = tdm_scratch_mark(r->scratch);
    const int64_t rows = r->n * r->stem[0].pixels;
    void *full, *dy1, *dy0;
    TDM_TAKE_ACT(r->scratch, r->ops, rows * r->width, &full);
    TDM_TAKE_ACT(r->scratch, r->ops, rows * r->stem[1].out, &dy1);
    TDM_TAKE_ACT(r->scratch, r->ops, rows * r->stem[0].out, &dy0);
    tdm_average_pool_backward(r->ops, r->n, r->height / 2, r->width_px / 2, r->width, g, false, full);
    TDM_TRY(unit_backward(r, &r->stem[2], true, full, full, dy1));
    TDM_TRY(unit_backward(r, &r->stem[1], true, dy1, dy1, dy0));
    TDM_TRY(unit_backward(r, &r->stem[0], true, dy0, dy0, NULL));
    tdm_scratch_rewind(r->scratch, mark);
    return TDM_OK;
}

/* ---- The tower ---- */
static void resnet_destroy(tower **base)
{
    resnet *r = (resnet *)*base;
    if (!r) return;
    for (int i = 0; i < STEM; i++) unit_destroy(&r->stem[i]);
    for (int64_t i = 0; r->block && i < r->blocks; i++) {
        unit_destroy(&r->block[i].a);
        unit_destroy(&r->block[i].b);
        unit_destroy(&r->block[i].c);
        unit_destroy(&r->block[i].d);
    }
    for (int i = 0; i < 3; i++) tdm_linear_destroy(&r->pool.linear[i]);
    tdm_free(r->block);
    tdm_free(r->sum);
    tdm_free(r->moments);
    tdm_free(r);
    *base = NULL;
}

static tdm_status resnet_load(tower *base)
{
    resnet *r = (resnet *)base;
    const tdm_params *p = r->params;
    for (int i = 0; i < STEM; i++) TDM_TRY(unit_load(r, &r->stem[i]));
    for (int64_t i = 0; i < r->blocks; i++) TDM_TRY(block_load(r, &r->block[i]));
    for (int i = 0; i < 3; i++)
        TDM_TRY(tdm_load_linear(&base->scope, p, r->pool.linear[i], r->pool.weight[i], r->pool.bias[i],
                                r->train));
    return TDM_OK;
}

static tdm_status forward_keeping(resnet *r, const tdm_tower_input *input, void **last)
{
    const int64_t n = input->n;
    TDM_TAKE_ACT(r->scratch, r->ops, n * pixels_in(&r->block[0].shape) * r->width, &r->stream0);
    TDM_TRY(stem_forward(r, input, true, r->stream0));
    void *x = r->stream0;
    for (int64_t i = 0; i < r->blocks; i++) {
        block *b = &r->block[i];
        void *out;
        TDM_TAKE_ACT(r->scratch, r->ops, n * pixels_out(&b->shape) * b->shape.planes * EXPANSION, &out);
        TDM_TRY(block_reserve(r, b, n));
        TDM_TRY(block_forward(r, b, n, true, x, out));
        x = out;
    }
    *last = x;
    return TDM_OK;
}

/* Two streams in turn, and every block works in the same room behind them. */
static tdm_status forward_lean(resnet *r, const tdm_tower_input *input, void **last)
{
    const int64_t n = input->n;
    void *stream[2];
    for (int i = 0; i < 2; i++) TDM_TAKE_ACT(r->scratch, r->ops, n * r->stream_values, &stream[i]);
    const size_t mark = tdm_scratch_mark(r->scratch);
    TDM_TRY(stem_forward(r, input, false, stream[0]));
    tdm_scratch_rewind(r->scratch, mark);
    for (int64_t i = 0; i < r->blocks; i++) {
        TDM_TRY(block_reserve(r, &r->block[i], n));
        TDM_TRY(block_forward(r, &r->block[i], n, false, stream[i % 2], stream[(i + 1) % 2]));
        tdm_scratch_rewind(r->scratch, mark);
    }
    *last = stream[r->blocks % 2];
    return TDM_OK;
}

static tdm_status resnet_forward(tower *base, const tdm_tower_input *input, const tdm_pass *mode, bool keep,
                                 const tdm_tower_output *output)
{
    resnet *r = (resnet *)base;
    const size_t mark = tdm_scratch_mark(r->scratch);
    resnet_kept *k = NULL;
    if (keep) {
        TDM_TAKE(r->scratch, 1, &k);
        TDM_TAKE(r->scratch, r->blocks, &k->blocks);
    }
    r->n = input->n;
    r->batch_stats = mode->train && r->sync;
    void *last;
    TDM_TRY(keep ? forward_keeping(r, input, &last) : forward_lean(r, input, &last));
    TDM_TRY(pool_forward(r, input->n, last, output->pooled));
    if (!keep) {
        tdm_scratch_rewind(r->scratch, mark);
        return TDM_OK;
    }
    k->below = base->kept;
    k->mark = mark;
    k->tower = *r;
    memcpy(k->blocks, r->block, sizeof(block) * (size_t)r->blocks);
    base->kept = k;
    return TDM_OK;
}

/* The parts as the forward left them. */
static void restore(resnet *r, const resnet_kept *k)
{
    memcpy(r->stem, k->tower.stem, sizeof(r->stem));
    memcpy(r->stem_y, k->tower.stem_y, sizeof(r->stem_y));
    memcpy(r->block, k->blocks, sizeof(block) * (size_t)r->blocks);
    r->pool = k->tower.pool;
    r->stream0 = k->tower.stream0;
    r->n = k->tower.n;
    r->batch_stats = k->tower.batch_stats;
}

static tdm_status resnet_backward(tower *base, const tdm_tower_output *gradient, tdm_final_from *final_from,
                                  void *context)
{
    resnet *r = (resnet *)base;
    resnet_kept *k = base->kept;
    const tdm_params *p = r->params;
    const block *last = &r->block[r->blocks - 1];
    void *g, *dx;
    restore(r, k);
    TDM_TAKE_ACT(r->scratch, r->ops, r->n * r->stream_values, &g);
    TDM_TAKE_ACT(r->scratch, r->ops, r->n * r->stream_values, &dx);
    TDM_TRY(pool_backward(r, gradient->pooled, g));
    if (tdm_goes_below(&base->scope, r->pool.position))
        tdm_residual_backward(r->ops, r->n * r->pool.pixels * r->pool.width, last->out, g, NULL, g);
    if (final_from) final_from(context, p->row[r->pool.position].offset);
    int64_t end_row = r->pool.position; /* of the rows of the blocks still to come */
    for (int64_t i = r->blocks - 1; i >= 0 && tdm_goes_below(&base->scope, end_row); i--) {
        TDM_TRY(block_backward(r, &r->block[i], g, dx));
        end_row = r->block[i].a.weight;
        if (final_from) final_from(context, p->row[r->block[i].a.weight].offset);
        void *swap = g;
        g = dx;
        dx = swap;
    }
    if (tdm_goes_below(&base->scope, r->block[0].a.weight)) TDM_TRY(stem_backward(r, g));
    if (final_from) final_from(context, p->row[r->stem[0].weight].offset);
    base->kept = k->below;
    tdm_scratch_rewind(r->scratch, k->mark);
    return TDM_OK;
}

static void resnet_update_statistics(tower *base, bool apply)
{
    resnet *r = (resnet *)base;
    for (int i = 0; i < STEM; i++) unit_update(r, &r->stem[i], apply);
    for (int64_t i = 0; i < r->blocks; i++) {
        block *b = &r->block[i];
        unit_update(r, &b->a, apply);
        unit_update(r, &b->b, apply);
        unit_update(r, &b->c, apply);
        if (b->d.conv) unit_update(r, &b->d, apply);
    }
}

/* ---- What it costs ---- */
/* Values of one image: kept by a block, and of its temporaries forward and backward. */
static int64_t block_values(const block_shape *s)
{
    const int64_t in = pixels_in(s), out = pixels_out(s), p = s->planes;
    const int64_t projection = has_projection(s) ? out * (p * EXPANSION + (s->stride > 1 ? s->in : 0)) : 0;
    return 3 * in * p + out * p + out * p * EXPANSION + projection;
}

static int64_t block_backward_values(const block_shape *s)
{
    const int64_t in = pixels_in(s), out = pixels_out(s), p = s->planes;
    return out * p * (EXPANSION + 1) + in * p * (s->stride > 1 ? 2 : 1) +
           (has_projection(s) ? out * s->in : 0);
}

/* Streams, whatever the blocks hold, stem and pooling; f32 arrays count as two or one values. */
static tdm_status resnet_scratch_bytes(const tower *base, int64_t n, int64_t tokens_per_caption, bool dense,
                                       tower_bytes *bytes)
{
    (void)tokens_per_caption, (void)dense;
    const resnet *r = (const resnet *)base;
    const int64_t stem_pixels = (r->height / 2) * (r->width_px / 2),
                  act = (int64_t)tdm_dtype_bytes(tdm_ops_dtype(r->ops));
    const int64_t half = r->width / 2, stem = stem_pixels * (WINDOW + 4 * half + 2 * r->width);
    const int64_t stem_backward_values = stem_pixels * (r->width + 2 * half);
    const int64_t tokens = 1 + r->pool.pixels, wide = r->pool.width, floats = (int64_t)sizeof(float) / act;
    const int64_t pool = 3 * tokens * wide + 2 * wide + floats * (tokens * r->pool.heads + wide);
    const int64_t pool_backward_values = 4 * tokens * wide + (2 + floats) * wide;
    int64_t stream = stem_pixels / 4 * r->width, kept = 0, room = stem, backward = 0, channels = 3 * r->width;
    for (int64_t i = 0; i < r->blocks; i++) {
        const block_shape *s = &r->block[i].shape;
        const int64_t out = pixels_out(s) * s->planes * EXPANSION;
        stream = tdm_max_i64(stream, out);
        kept += block_values(s) + out;
        room = tdm_max_i64(room, block_values(s) + pixels_in(s) * s->planes);
        backward = tdm_max_i64(backward, block_backward_values(s));
        channels += 10 * s->planes;
    }
    backward = tdm_max_i64(backward, tdm_max_i64(stem_backward_values, pool_backward_values));
    const int64_t record = (int64_t)(sizeof(resnet_kept) + sizeof(block) * (size_t)r->blocks);
    const int64_t takes = 64 * (32 * r->blocks + 64); /* what rounding each array up may cost */
    const int64_t fixed = 16 * channels + takes + record;
    *bytes = (tower_bytes){.kept = n * act * (stem + stream + kept + pool) + fixed,
                           .work = n * act * (2 * stream + backward) + takes,
                           .lone = n * act * (2 * stream + tdm_max_i64(room, pool)) + fixed};
    return TDM_OK;
}

static double resnet_forward_flop(const tdm_config *config, const tdm_pass *pass, int64_t n, int64_t tokens,
                                  int64_t tokens_squared)
{
    (void)pass, (void)tokens, (void)tokens_squared;
    const tdm_tower_config *c = &config->model.image;
    const double half = (double)c->width / 2.0, wide = 32.0 * (double)c->width;
    const double stem_pixels = (double)(c->height_px / 2) * (double)(c->width_px / 2);
    const double length = 1.0 + (double)((c->height_px / 32) * (c->width_px / 32));
    double products = stem_pixels * half * (WINDOW + 9.0 * half + 9.0 * (double)c->width);
    for (int64_t i = 0; i < block_count(c); i++) {
        const block_shape s = shape_of_block(c, i);
        const double in = (double)pixels_in(&s), out = (double)pixels_out(&s), p = (double)s.planes;
        products += in * p * ((double)s.in + 9.0 * p) + out * p * p * EXPANSION;
        if (has_projection(&s)) products += out * (double)s.in * p * EXPANSION;
    }
    products += wide * wide * (2.0 * length + 1.0) + 2.0 * length * wide; /* k, v, q; the attention */
    products += wide * (double)tower_feature_dim(config, TDM_IMAGE);
    return 2.0 * (double)n * products;
}

static double resnet_backward_share(const tower *base)
{
    const resnet *r = (const resnet *)base;
    double all = 0.0, done = 0.0;
    for (int64_t i = 0; i < r->blocks; i++) {
        const block *b = &r->block[i];
        const unit *units[] = {&b->a, &b->b, &b->c, b->d.conv ? &b->d : NULL};
        for (int k = 0; k < 4 && units[k]; k++) {
            const int64_t row = units[k]->weight;
            const double products = (double)units[k]->pixels * (double)r->params->row[row].size;
            all += 2.0 * products;
            done += products * (tdm_is_trained(r->params, row) + tdm_goes_below(&base->scope, row));
        }
    }
    return done / all;
}

static tdm_status resnet_create(const tower_setup *setup, tower **out);

static const char *resnet_whole_batch(const tower *base)
{
    return ((const resnet *)base)->sync
               ? "model.image.batch_stats is \"sync\": statistics of the whole batch; \"frozen\" needs none"
               : NULL;
}

/* ---- Configuration ---- */
typedef struct resnet_options {
    int batch_stats;
} resnet_options;

enum { STATS_SYNC, STATS_FROZEN };

static const tdm_option options[] = {
    TDM_OPTION_ROW(TDM_OPTION_CHOICE, resnet_options, batch_stats, "sync", 0, 0, "sync|frozen", "",
                   "Batch normalisation of a resnet while training: by the statistics of the global batch, "
                   "or by the running ones, which then stay as they are (to fine-tune with small batches or "
                   "train.chunk).",
                   NULL, TDM_CHANGE_RUN),
};

static int64_t resnet_place_px(const tdm_config *config)
{
    (void)config;
    return 32;
}

static tdm_status resnet_check(const tdm_config *config)
{
    const tdm_tower_config *c = &config->model.image;
    TDM_REQUIRE(c->height_px % 32 == 0 && c->width_px % 32 == 0, TDM_E_CONFIG,
                "model.image: a resnet divides the image by 32, which does not divide %lld x %lld px (height "
                "x width)",
                (long long)c->height_px, (long long)c->width_px);
    TDM_REQUIRE(c->width % 2 == 0, TDM_E_CONFIG,
                "model.image.width = %lld is odd: the stem of a resnet has half of it", (long long)c->width);
    TDM_REQUIRE(
        c->width * 32 % c->heads == 0, TDM_E_CONFIG,
        "model.image.heads = %lld does not divide the resnet's %lld features (32 x model.image.width)",
        (long long)c->heads, (long long)c->width * 32);
    return TDM_OK;
}

const tower_type tower_resnet = {
    .name = "resnet",
    .modality = TDM_IMAGE,
    .reads = TDM_READS_PIXELS,
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .option_bytes = sizeof(resnet_options),
    .place_px = resnet_place_px,
    .check = resnet_check,
    .whole_batch = resnet_whole_batch,
    .create = resnet_create,
    .destroy = resnet_destroy,
    .load = resnet_load,
    .forward = resnet_forward,
    .backward = resnet_backward,
    .update_statistics = resnet_update_statistics,
    .scratch_bytes = resnet_scratch_bytes,
    .forward_flop = resnet_forward_flop,
    .backward_share = resnet_backward_share,
};

static tdm_status resnet_build(resnet *r, const tower_setup *setup)
{
    const tdm_config *config = setup->config;
    const tdm_tower_config *c = &config->model.image;
    const void *keys;
    TDM_TRY(tower_options(&tower_resnet, config, &keys));
    const resnet_options *own = keys;
    r->base.type = &tower_resnet;
    r->ops = setup->nn.ops;
    r->params = setup->nn.params;
    r->scratch = setup->nn.scratch;
    r->rank_sum = setup->rank_sum;
    r->train = setup->nn.train;
    r->sync = own->batch_stats == STATS_SYNC;
    r->height = c->height_px;
    r->width_px = c->width_px;
    r->width = c->width;
    r->embed_dim = tower_feature_dim(config, TDM_IMAGE);
    memcpy(r->mean, c->mean, sizeof(r->mean));
    memcpy(r->std, c->std, sizeof(r->std));
    r->stream_values = (r->height / 4) * (r->width_px / 4) * r->width;
    TDM_TRY(stem_create(r));
    r->blocks = block_count(c);
    TDM_TRY(TDM_ALLOC(r->blocks, &r->block));
    for (int64_t i = 0; i < r->blocks; i++) {
        const block_shape s = shape_of_block(c, i);
        TDM_TRY(block_create(r, &s, &r->block[i]));
        tdm_set_layer(r->params, r->block[i].a.weight, i + 1);
    }
    TDM_TRY(pool_create(r, c));
    tdm_set_layer(r->params, r->pool.position, r->blocks + 1);
    TDM_TRY(TDM_ALLOC(2 * r->widest + 1, &r->sum));
    return TDM_ALLOC(2 * r->widest, &r->moments);
}

static tdm_status resnet_create(const tower_setup *setup, tower **out)
{
    resnet *r;
    TDM_TRY(TDM_ALLOC(1, &r));
    *out = &r->base;
    return resnet_build(r, setup);
}
