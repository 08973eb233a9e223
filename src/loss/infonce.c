/* Symmetric InfoNCE over the global batch (CLIP, Radford et al. 2021, figure 3), with the soft targets of TBPS-CLIP's
 * N-ITC (arXiv 2308.10045, section 3.2.1):
 *
 *     p_ij = softmax_j(s · v_i·t_j),  s = exp(logit_scale),  q_ij = [id_i = id_j] / |{k : id_k = id_i}|
 *     T_ij = a · softmax_j(s · v'_i·t'_j) + (1 - a) q_ij
 *     L = -1/(2B) sum_i sum_j T_ij log p_ij   (image to text)   + the same with v and t exchanged
 *
 * v', t' are the features of a pass without gradient, a is `pseudo` (0: no such pass). Several views of a modality
 * give one L for each pair of views (MVS). A row without any positive, such as an image without a text, is left out
 * of its direction, and B is then the number of rows that have one.
 *
 * `gather` says what a query is compared with. The whole batch, of which every row receives its gradient ("full"), is what
 * the formula says. The others imitate programs that train on several devices: the batch is `groups` equal pieces, and
 * answers of other pieces receive no gradient ("own") or are not seen at all ("local"). The pieces are those of the
 * configuration, not the ranks, so that the result does not depend on them.
 *
 * A rank computes its own rows of both matrices, in blocks, so that memory stays bounded. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

enum { TARGETS_NONE, TARGETS_IDENTITY };
enum { COMBINE_MEAN, COMBINE_ADD };
enum { GATHER_FULL, GATHER_OWN, GATHER_LOCAL };

typedef struct infonce_options {
    tdm_loss_common common;
    int soft_targets, combine, gather;
    int64_t groups;
    double pseudo;
    int64_t pseudo_ramp_steps;
    tdm_strings image_views, text_views;
} infonce_options;

static const tdm_option infonce_rows[] = {
    TDM_LOSS_COMMON_OPTIONS,
    TDM_CHOICE_OPTION(
        infonce_options, soft_targets, "identity", "none|identity",
        "identity: rows of one identity are each other's positives, sharing the target evenly; none: only the pair itself."),
    TDM_FLOAT_OPTION(
        infonce_options, pseudo, "0.0", 0, 1, "",
        "Share of the target that comes from the model's own similarities (pseudo-labels), by a pass without gradient."),
    TDM_INT_OPTION(infonce_options, pseudo_ramp_steps, "0", 0, 1e12, "steps",
                   "pseudo grows linearly from 0 over so many steps; 0: no ramp."),
    TDM_OPTION_FIELD(TDM_OPTION_STRINGS, infonce_options, image_views, "[aug_1]", 0, 0, NULL, "",
                     "Views of the image that are compared with the text.", "loss.infonce.image_view"),
    TDM_STRINGS_OPTION(infonce_options, text_views, "[plain]", NULL,
                       "Views of the text; as many as of the image, or one list has one entry."),
    TDM_CHOICE_OPTION(infonce_options, combine, "mean", "mean|add",
                      "Of several pairs of views: the mean of their losses, or the sum."),
    TDM_CHOICE_OPTION(
        infonce_options, gather, "full", "full|own|local",
        "A query meets the whole batch (full); the whole, but answers of other groups get no gradient (own); its own group only (local)."),
    TDM_INT_OPTION(infonce_options, groups, "1", 1, 65536, "",
                   "Equal pieces of the batch, as devices of other programs; for gather own and local."),
};

static int64_t pairs_of(const infonce_options *o)
{
    return tdm_max_i64(o->image_views.count, o->text_views.count);
}

/* Views of pair k. */
static int image_of(const infonce_options *o, int64_t k)
{
    return view_named(TDM_IMAGE, o->image_views.item[o->image_views.count > 1 ? k : 0]);
}

static int text_of(const infonce_options *o, int64_t k)
{
    return view_named(TDM_TEXT, o->text_views.item[o->text_views.count > 1 ? k : 0]);
}

static void infonce_needs(const void *options, tdm_loss_needs *needs)
{
    const infonce_options *o = options;
    const uint8_t bits = TDM_NEED_ALL | (o->pseudo > 0.0 ? TDM_NEED_TARGET : 0);
    for (int64_t k = 0; k < o->image_views.count; k++) needs->view[image_of(o, k)] |= bits;
    for (int64_t k = 0; k < o->text_views.count; k++) needs->view[text_of(o, k)] |= bits;
}

static tdm_tie infonce_tie(const void *options)
{
    const infonce_options *o = options;
    return o->soft_targets == TARGETS_IDENTITY ? TDM_TIE_IDENTITY : TDM_TIE_SAMPLE;
}

static tdm_status infonce_check(const void *options, const tdm_loss_setup *setup)
{
    const infonce_options *o = options;
    const int64_t images = o->image_views.count, texts = o->text_views.count;
    TDM_REQUIRE(images > 0 && texts > 0, TDM_E_CONFIG,
                "loss.infonce.image_views, text_views: neither may be empty");
    TDM_REQUIRE(
        images == texts || images == 1 || texts == 1, TDM_E_CONFIG,
        "loss.infonce: %lld image_views and %lld text_views make no pairs: give as many, or one of a modality",
        (long long)images, (long long)texts);
    TDM_REQUIRE(
        setup->samples == 0 || setup->samples == setup->config->train.batch || o->groups == 1, TDM_E_CONFIG,
        "loss.infonce.groups = %lld: pieces of the batch need pairs, which data.imbalance = \"independent\" "
        "does not make",
        (long long)o->groups);
    TDM_REQUIRE(setup->config->train.batch % o->groups == 0, TDM_E_CONFIG,
                "loss.infonce.groups = %lld does not divide train.batch = %lld", (long long)o->groups,
                (long long)setup->config->train.batch);
    for (int64_t k = 0; k < images; k++)
        TDM_TRY(check_view("loss.infonce.image_views", TDM_IMAGE, o->image_views.item[k]));
    for (int64_t k = 0; k < texts; k++)
        TDM_TRY(check_view("loss.infonce.text_views", TDM_TEXT, o->text_views.item[k]));
    return TDM_OK;
}

typedef struct infonce_state {
    int64_t batch; /* samples of a global batch */
} infonce_state;

static tdm_status infonce_create(const void *options, const tdm_loss_setup *setup, void **state)
{
    (void)options;
    infonce_state *s;
    TDM_TRY(TDM_ALLOC(1, &s));
    s->batch = setup->samples > 0 ? setup->samples : setup->config->train.batch;
    *state = s;
    return TDM_OK;
}

static void infonce_destroy(void **state)
{
    tdm_free(*state);
    *state = NULL;
}

/* Temporaries of `block` rows. */
typedef struct room {
    int64_t block;
    float *logits, *target; /* [block][B] */
    float *pseudo;          /* [block][B], with pseudo-labels */
    float *row_loss, *drow; /* [block], [block][d] */
    key_index index[TDM_MODALITIES];
} room;

static tdm_status room_take(const tdm_loss_call *call, tdm_scratch *scratch, room *r)
{
    const infonce_options *o = call->options;
    const tdm_loss_rows *image = &call->rows[TDM_IMAGE], *text = &call->rows[TDM_TEXT];
    const int64_t B = tdm_max_i64(image->B, text->B);
    r->block = block_rows_of(tdm_max_i64(image->b, text->b), B);
    const size_t rows = sizeof(float) * (size_t)r->block;
    TDM_TRY(tdm_scratch_take(scratch, rows * (size_t)B, (void **)&r->logits));
    TDM_TRY(tdm_scratch_take(scratch, rows * (size_t)B, (void **)&r->target));
    if (o->pseudo > 0.0) TDM_TRY(tdm_scratch_take(scratch, rows * (size_t)B, (void **)&r->pseudo));
    TDM_TRY(tdm_scratch_take(scratch, rows, (void **)&r->row_loss));
    TDM_TRY(tdm_scratch_take(scratch, rows * (size_t)call->d, (void **)&r->drow));
    const bool soft = o->soft_targets == TARGETS_IDENTITY;
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const tdm_loss_rows *side = &call->rows[m];
        TDM_TRY(key_index_make(scratch, side->B, soft ? side->identity : side->sample, &r->index[m]));
    }
    return TDM_OK;
}

static int64_t infonce_scratch_bytes(const tdm_loss_call *call)
{
    room r;
    tdm_scratch count = {.capacity_bytes = SIZE_MAX};
    return room_take(call, &count, &r) == TDM_OK ? (int64_t)count.used_bytes : 0;
}

/* target = a · softmax(s · query'·answer') + (1 - a) · target */
static tdm_status mix_pseudo(const tdm_loss_call *call, const direction *dir, int64_t first, int64_t n,
                             float scale, float a, const room *r)
{
    const int64_t d = call->d, B = dir->seen.end - dir->seen.begin;
    TDM_TRY(tdm_gemm(call->nn->ops, false, true, n, B, d, scale, dir->query->target + first * d, d,
                     dir->answer->target + dir->seen.begin * d, d, 0.0f, r->pseudo, B));
    for (int64_t i = 0; i < n; i++) {
        float *p = r->pseudo + i * B, *target = r->target + i * B, most = p[0];
        double sum = 0.0;
        for (int64_t j = 1; j < B; j++) most = fmaxf(most, p[j]);
        for (int64_t j = 0; j < B; j++) sum += p[j] = expf(p[j] - most);
        const float factor = a / (float)sum;
        for (int64_t j = 0; j < B; j++) target[j] = factor * p[j] + (1.0f - a) * target[j];
    }
    return TDM_OK;
}

/* Rows without a positive take no part: neither a loss nor a gradient. */
static void leave_out(const direction *dir, int64_t first, int64_t n, const room *r)
{
    const int64_t W = dir->seen.end - dir->seen.begin;
    for (int64_t i = 0; i < n; i++) {
        if (direction_positives(dir, first + i)) continue;
        memset(r->logits + i * W, 0, sizeof(float) * (size_t)W);
        r->row_loss[i] = 0.0f;
    }
}

/* Rows [first, first+n) of one direction. dscale: what a row's gradient is multiplied by. */
static tdm_status infonce_block(const tdm_loss_call *call, const direction *dir, int64_t first, int64_t n,
                                float pseudo, float dscale, const room *r, double *loss)
{
    direction_targets(dir, first, n, r->target);
    if (pseudo > 0.0f) TDM_TRY(mix_pseudo(call, dir, first, n, expf(call->logit_scale), pseudo, r));
    TDM_TRY(direction_logits(call, dir, first, n, r->logits));
    tdm_softmax_cross_entropy(call->nn->ops, n, dir->seen.end - dir->seen.begin, r->logits, r->target,
                              r->row_loss); /* logits are now p - T */
    leave_out(dir, first, n, r);
    for (int64_t i = 0; i < n; i++) *loss += r->row_loss[i];
    return direction_backward(call, dir, first, n, dscale, r->logits, r->drow);
}

/* Rows whose samples are those of a group of the global batch. */
static tdm_span rows_of_group(const tdm_loss_rows *rows, int64_t group, int64_t group_samples)
{
    return (tdm_span){tdm_lower_bound(rows->sample, rows->B, group * group_samples),
                      tdm_lower_bound(rows->sample, rows->B, (group + 1) * group_samples)};
}

/* A group's queries and answers in one direction; of all groups when every query meets every answer. */
typedef struct group_part {
    direction dir;
    tdm_span queries; /* of this rank */
} group_part;

static group_part make_part(const infonce_options *o, const direction *whole, int64_t group,
                            int64_t group_samples)
{
    const tdm_loss_rows *rows = whole->query_rows;
    group_part part = {.dir = *whole, .queries = {rows->row0, rows->row0 + rows->b}};
    if (o->gather == GATHER_FULL) return part;
    const tdm_span queries = rows_of_group(rows, group, group_samples);
    part.queries.begin = tdm_max_i64(part.queries.begin, queries.begin);
    part.queries.end = tdm_min_i64(part.queries.end, queries.end);
    part.dir.trained = rows_of_group(whole->answer_rows, group, group_samples);
    if (o->gather == GATHER_LOCAL) part.dir.seen = part.dir.trained;
    return part;
}

/* Queries of the batch that have a positive among what they see. */
static int64_t count_positives(const infonce_options *o, const direction *whole, int64_t group_samples)
{
    int64_t count = 0;
    if (o->gather != GATHER_LOCAL) return whole->with_positive;
    for (int64_t g = 0; g < o->groups; g++) {
        const group_part part = make_part(o, whole, g, group_samples);
        const tdm_span queries = rows_of_group(whole->query_rows, g, group_samples);
        count += direction_count(&part.dir, queries.begin, queries.end - queries.begin);
    }
    return count;
}

/* One pair of views: both directions of all groups, block by block. */
static tdm_status run_pair(const tdm_loss_call *call, const direction whole[TDM_MODALITIES],
                           int64_t group_samples, double share, float pseudo, const room *r)
{
    const infonce_options *o = call->options;
    const int64_t groups = o->gather == GATHER_FULL ? 1 : o->groups;
    double count[TDM_MODALITIES];
    for (int m = 0; m < TDM_MODALITIES; m++) count[m] = (double)count_positives(o, &whole[m], group_samples);
    for (int64_t g = 0; g < groups; g++) {
        group_part part[TDM_MODALITIES];
        int64_t most = 0;
        for (int m = 0; m < TDM_MODALITIES; m++) {
            part[m] = make_part(o, &whole[m], g, group_samples);
            most = tdm_max_i64(most, part[m].queries.end - part[m].queries.begin);
        }
        for (int64_t at = 0; at < most; at += r->block)
            for (int m = 0; m < TDM_MODALITIES; m++) {
                const int64_t first = part[m].queries.begin + at,
                              n = tdm_min_i64(r->block, part[m].queries.end - first);
                double loss = 0.0;
                if (n <= 0 || count[m] == 0.0) continue;
                TDM_TRY(infonce_block(call, &part[m].dir, first, n, pseudo,
                                      (float)(call->weight * share * 0.5 / count[m]), r, &loss));
                call->term[0] += share * (0.5 * loss / count[m]);
                call->term[1 + m] += share * (loss / count[m]);
            }
    }
    return TDM_OK;
}

static tdm_status infonce_run(const tdm_loss_call *call, const room *r)
{
    const infonce_options *o = call->options;
    const infonce_state *s = call->state;
    const int64_t pairs = pairs_of(o);
    const double share = o->combine == COMBINE_MEAN ? 1.0 / (double)pairs : 1.0;
    const bool ramp = call->step < o->pseudo_ramp_steps;
    const float pseudo =
        (float)(o->pseudo * (ramp ? (double)call->step / (double)o->pseudo_ramp_steps : 1.0));
    for (int64_t pair = 0; pair < pairs; pair++) {
        const int view[TDM_MODALITIES] = {[TDM_IMAGE] = image_of(o, pair), [TDM_TEXT] = text_of(o, pair)};
        direction dir[TDM_MODALITIES]; /* image to text, text to image */
        for (int m = 0; m < TDM_MODALITIES; m++)
            dir[m] =
                direction_make(call, (tdm_modality)m, view, o->soft_targets == TARGETS_IDENTITY, r->index);
        TDM_TRY(run_pair(call, dir, s->batch / o->groups, share, pseudo, r));
    }
    return TDM_OK;
}

static tdm_status infonce_step(const tdm_loss_call *call)
{
    const size_t mark = tdm_scratch_mark(call->nn->scratch);
    room r = {0};
    TDM_TRY(room_take(call, call->nn->scratch, &r));
    TDM_TRY(infonce_run(call, &r));
    tdm_scratch_rewind(call->nn->scratch, mark);
    return TDM_OK;
}

static const char *const infonce_terms[] = {"infonce", "infonce_image_to_text", "infonce_text_to_image",
                                            NULL};

const tdm_loss tdm_loss_infonce = {
    .name = "infonce",
    .terms = infonce_terms,
    .options = infonce_rows,
    .option_count = sizeof(infonce_rows) / sizeof(infonce_rows[0]),
    .option_bytes = sizeof(infonce_options),
    .needs = infonce_needs,
    .tie = infonce_tie,
    .check = infonce_check,
    .create = infonce_create,
    .destroy = infonce_destroy,
    .scratch_bytes = infonce_scratch_bytes,
    .step = infonce_step,
};
