/* Every image with every text of the global batch, by the cosine of their unit features: what objectives of pairs
 * share. A rank asks with its own rows, in blocks, so that no B x B matrix is made. Squared distances of unit vectors
 * are 2 - 2 cos: their gradients differ from those of |f - g|^2 only along f and g, where a unit vector has none. */
#include "loss_impl.h"

#include <omp.h>
#include <string.h>

void pairs_needs(const void *options, tdm_loss_needs *needs)
{
    const pairs_options *o = options;
    needs->view[view_named(TDM_IMAGE, o->image_view)] = TDM_NEED_ALL;
    needs->view[view_named(TDM_TEXT, o->text_view)] = TDM_NEED_ALL;
}

tdm_tie pairs_tie(const void *options)
{
    return (tdm_tie)((const pairs_options *)options)->positives;
}

tdm_tie sample_tie(const void *options)
{
    (void)options;
    return TDM_TIE_SAMPLE;
}

tdm_status pairs_check(const char *name, const pairs_options *o, const tdm_loss_setup *setup)
{
    char key[80];
    snprintf(key, sizeof(key), "loss.%s.image_view", name);
    TDM_TRY(check_view(key, TDM_IMAGE, o->image_view));
    snprintf(key, sizeof(key), "loss.%s.text_view", name);
    TDM_TRY(check_view(key, TDM_TEXT, o->text_view));
    TDM_REQUIRE(
        o->positives != SAME_CLASS || setup->classes > 0, TDM_E_CONFIG,
        "loss.%s.positives = \"class\": the training data have no classes; \"identity\" and \"pair\" need none",
        name);
    return TDM_OK;
}

static tdm_status take(const tdm_loss_call *call, tdm_scratch *scratch, pair_rows *p)
{
    const tdm_loss_rows *image = &call->rows[TDM_IMAGE], *text = &call->rows[TDM_TEXT];
    const int64_t most = tdm_max_i64(image->B, text->B);
    p->block = block_rows_of(tdm_max_i64(image->b, text->b), most);
    TDM_TAKE(scratch, p->block * most, &p->cosine);
    TDM_TAKE(scratch, most, &p->same);
    TDM_TAKE(scratch, p->block, &p->value);
    TDM_TAKE(scratch, tdm_ops_threads(call->nn->ops) * most, &p->shared);
    for (size_t i = 0; i < sizeof(p->room) / sizeof(p->room[0]); i++) TDM_TAKE(scratch, most, &p->room[i]);
    return TDM_OK;
}

int64_t pairs_scratch_bytes(const tdm_loss_call *call)
{
    pair_rows p;
    tdm_scratch count = {.capacity_bytes = SIZE_MAX};
    return take(call, &count, &p) == TDM_OK ? (int64_t)count.used_bytes : 0;
}

tdm_status pairs_make(const tdm_loss_call *call, int relation, pair_rows *p)
{
    *p = (pair_rows){.call = call, .relation = relation};
    TDM_TRY(take(call, call->nn->scratch, p));
    pairs_turn(p, TDM_IMAGE);
    return TDM_OK;
}

void pairs_turn(pair_rows *p, tdm_modality query)
{
    const tdm_modality answer = query == TDM_IMAGE ? TDM_TEXT : TDM_IMAGE;
    const pairs_options *o = p->call->options;
    const int view[TDM_MODALITIES] = {
        [TDM_IMAGE] = view_named(TDM_IMAGE, o->image_view), [TDM_TEXT] = view_named(TDM_TEXT, o->text_view)};
    p->query = query;
    p->query_rows = &p->call->rows[query];
    p->answer_rows = &p->call->rows[answer];
    p->query_view = &p->call->view[view[query]];
    p->answer_view = &p->call->view[view[answer]];
    p->W = p->answer_rows->B;
}

int64_t pairs_own(const pair_rows *p, int64_t query)
{
    const int64_t sample = p->query_rows->sample[query],
                  j = tdm_lower_bound(p->answer_rows->sample, p->W, sample);
    return j < p->W && p->answer_rows->sample[j] == sample ? j : -1;
}

/* Fills p->same for a query. */
static void relate(const pair_rows *p, int64_t query)
{
    const tdm_loss_rows *asked = p->query_rows, *rows = p->answer_rows;
    const int64_t words = rows->class_words, own = pairs_own(p, query);
    memset(p->same, 0, (size_t)p->W);
    if (p->relation == SAME_IDENTITY) {
        const int64_t identity = asked->identity[query];
        for (int64_t j = 0; j < p->W; j++) p->same[j] = rows->identity[j] == identity;
    }
    for (int64_t w = 0; p->relation == SAME_CLASS && w < words; w++) {
        const uint64_t classes = asked->classes[query * words + w];
        for (int64_t j = 0; classes && j < p->W; j++)
            p->same[j] |= (rows->classes[j * words + w] & classes) != 0;
    }
    if (own >= 0) p->same[own] = 1;
}

void pairs_count(const pair_rows *p, double *positive, double *queries)
{
    const tdm_loss_rows *rows = p->query_rows;
    double sum[2] = {0.0, 0.0};
    for (int64_t i = rows->row0; i < rows->row0 + rows->b; i++) {
        int64_t count = 0;
        relate(p, i);
        for (int64_t j = 0; j < p->W; j++) count += p->same[j];
        sum[0] += (double)count;
        sum[1] += count > 0;
    }
    p->call->exchange->sum(p->call->exchange->context, 2, sum);
    *positive = sum[0];
    *queries = sum[1];
}

/* Gradients of queries [first, first + n) and of all answers, from those of their cosines. */
static tdm_status backward(const pair_rows *p, int64_t first, int64_t n, float dscale)
{
    tdm_ops *ops = p->call->nn->ops;
    const int64_t d = p->call->d, W = p->W;
    TDM_TRY(tdm_gemm(ops, false, false, n, d, W, dscale, p->cosine, W, p->answer_view->all, d, 1.0f,
                     p->query_view->dall + first * d, d));
    return tdm_gemm(ops, true, false, W, d, n, dscale, p->cosine, W, p->query_view->all + first * d, d, 1.0f,
                    p->answer_view->dall, d);
}

/* The values of a block's rows, and what `row` makes of their cosines; the same whatever the threads. */
static void visit_rows(const pair_rows *p, int64_t first, int64_t n, pairs_row *row, void *context)
{
    enum { WORTH_A_THREAD = 16384 }; /* pairs */
    const int64_t wanted = p->alone ? tdm_min_i64(n, n * p->W / WORTH_A_THREAD) : 1;
    const int threads = (int)tdm_max_i64(1, tdm_min_i64(wanted, tdm_ops_threads(p->call->nn->ops)));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        pair_rows mine = *p;
        mine.thread = omp_get_thread_num();
        mine.same = p->shared + mine.thread * p->W;
        relate(&mine, first + i);
        p->value[i] = row(context, &mine, first + i, p->cosine + i * p->W);
    }
}

static tdm_status visit(const pair_rows *p, pairs_row *row, void *context, const double *dscale,
                        double *value)
{
    const tdm_loss_rows *rows = p->query_rows;
    const int64_t d = p->call->d, end = rows->row0 + rows->b, W = p->W;
    for (int64_t first = rows->row0; W > 0 && first < end; first += p->block) {
        const int64_t n = tdm_min_i64(p->block, end - first);
        TDM_TRY(tdm_gemm(p->call->nn->ops, false, true, n, W, d, 1.0f, p->query_view->all + first * d, d,
                         p->answer_view->all, d, 0.0f, p->cosine, W));
        visit_rows(p, first, n, row, context);
        for (int64_t i = 0; i < n; i++) *value += p->value[i];
        if (dscale) TDM_TRY(backward(p, first, n, (float)*dscale));
    }
    return TDM_OK;
}

tdm_status pairs_walk(const pair_rows *p, pairs_row *row, void *context, double dscale, double *value)
{
    return visit(p, row, context, &dscale, value);
}

tdm_status pairs_look(const pair_rows *p, pairs_row *row, void *context, double *value)
{
    return visit(p, row, context, NULL, value);
}
