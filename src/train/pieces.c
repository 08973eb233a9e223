/* Towers forward and backward. The local batch is cut into pieces of train.chunk samples. A piece goes forward with
 * all its views, images before texts; backward goes through the pieces from the last to the first, and through the
 * views of a piece in the opposite order, so that what waits is a stack. */
#include "trainer_impl.h"

#include <string.h>

int64_t piece_count(const tdm_trainer *tr)
{
    return (tr->b + tr->chunk - 1) / tr->chunk;
}

piece piece_at(const tdm_trainer *tr, int64_t index)
{
    piece p = {.first = index * tr->chunk};
    p.n = tdm_min_i64(tr->chunk, tr->b - p.first);
    p.last = p.first + p.n == tr->b;
    return p;
}

/* First row whose sample is at least `sample`. A view without any row here has no members, either. */
static int64_t row_of(const tdm_batch_view *view, int64_t sample)
{
    return view->member ? tdm_lower_bound(view->member, view->n, sample) : tdm_min_i64(sample, view->n);
}

tdm_span piece_rows(const tdm_trainer *tr, const piece *p, int v)
{
    const tdm_batch_view *view = &tr->batch->view[v];
    return (tdm_span){row_of(view, p->first), row_of(view, p->first + p->n)};
}

tdm_tower_input piece_input(const tdm_trainer *tr, int v, tdm_span rows)
{
    const tdm_batch_view *view = &tr->batch->view[v];
    const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
    tdm_tower_input input = {.n = rows.end - rows.begin, .sample = tr->row_key[m] + rows.begin};
    if (view->image) input.image = view->image + rows.begin * tr->row_width[m];
    if (view->feature) input.feature = view->feature + rows.begin * tr->row_width[m];
    input.token = view->text.token;
    input.seq = view->text.seq ? view->text.seq + rows.begin : NULL;
    return input;
}

/* The only view of a modality has key 0, as every view had before there could be several: such runs keep their
 * dropout masks. */
tdm_pass tdm_step_pass(const tdm_config *config, int64_t step, tdm_view view, bool target)
{
    const tdm_view_info *info = tdm_view_of(view);
    tdm_loss_needs needs;
    tdm_loss_all_needs(config, &needs);
    const bool only = tdm_view_count(tdm_loss_views(&needs), info->modality) == 1;
    const int usual = info->modality == TDM_IMAGE ? tdm_view_of(TDM_VIEW_IMAGE_AUG_1)->number : 0;
    const uint64_t key = (only ? 0 : (uint64_t)(info->number ^ usual)) + (target ? 64 : 0);
    return (tdm_pass){.train = true,
                      .seed = (uint64_t)config->seed + key * UINT64_C(0x9e3779b97f4a7c15),
                      .step = (uint64_t)step};
}

tdm_pass step_pass(const tdm_trainer *tr, int v, bool target)
{
    tdm_pass pass = tdm_step_pass(tr->config, tr->optim->step, (tdm_view)v, target);
    pass.whole_images = tdm_clock_ends(&tr->clock, tr->optim->step, tr->config->train.unmasked_share);
    return pass;
}

static int64_t token_rows(const tdm_trainer *tr, int v, const tdm_tower_input *input)
{
    const tdm_pass pass = step_pass(tr, v, false);
    return tdm_model_token_rows(tr->model, tdm_view_of((tdm_view)v)->modality, input, &pass);
}

/* Where the dense tokens of a piece go. With keep_all the pieces lie behind each other, else there is one. */
static float *token_room(const tdm_trainer *tr, int v, tdm_span rows)
{
    const view_features *f = &tr->view[v];
    if (!f->tokens || !tr->keep_all) return f->tokens;
    const tdm_span before = {0, rows.begin};
    const tdm_tower_input input = piece_input(tr, v, before);
    return f->tokens + token_rows(tr, v, &input) * tr->d;
}

static tdm_status forward_view(tdm_trainer *tr, const piece *p, int v, bool keep)
{
    view_features *f = &tr->view[v];
    const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
    const tdm_span rows = piece_rows(tr, p, v);
    if (rows.begin == rows.end) return TDM_OK;
    const tdm_tower_input input = piece_input(tr, v, rows);
    const tdm_pass pass = step_pass(tr, v, false);
    const tdm_tower_output output = {.pooled = f->raw + rows.begin * tr->d,
                                     .tokens = keep ? token_room(tr, v, rows) : NULL};
    return keep ? tdm_model_forward(tr->model, m, &input, &pass, &output)
                : tdm_model_embed(tr->model, m, &input, &pass, &output);
}

static bool is_kept(const tdm_trainer *tr, const piece *p)
{
    return tr->keep_all || p->last;
}

static tdm_status forward_piece(tdm_trainer *tr, const piece *p, bool keep)
{
    for (int m = 0; m < TDM_MODALITIES; m++)
        for (int v = 0; v < TDM_VIEWS; v++)
            if (view_is_on(tr, v, (tdm_modality)m)) TDM_TRY(forward_view(tr, p, v, keep));
    return TDM_OK;
}

tdm_status forward_pieces(tdm_trainer *tr)
{
    for (int64_t i = 0; i < piece_count(tr); i++) {
        const piece p = piece_at(tr, i);
        TDM_TRY(forward_piece(tr, &p, is_kept(tr, &p)));
    }
    return TDM_OK;
}

/* The pass without gradient: into `dunit`, which nobody else uses yet. */
tdm_status forward_targets(tdm_trainer *tr)
{
    for (int v = 0; v < TDM_VIEWS; v++) {
        view_features *f = &tr->view[v];
        if (!f->target) continue;
        const tdm_pass pass = step_pass(tr, v, true);
        for (int64_t i = 0; i < piece_count(tr); i++) {
            const piece p = piece_at(tr, i);
            const tdm_span rows = piece_rows(tr, &p, v);
            if (rows.begin == rows.end) continue;
            const tdm_tower_input input = piece_input(tr, v, rows);
            const tdm_tower_output output = {.pooled = f->dunit + rows.begin * tr->d};
            TDM_TRY(tdm_model_embed(tr->model, tdm_view_of((tdm_view)v)->modality, &input, &pass, &output));
        }
    }
    return TDM_OK;
}

/* ---- Backward ---- */

static void on_final(void *context, int64_t begin)
{
    tdm_trainer *tr = context;
    tdm_reducer_ready(tr->reducer, begin);
}

static int64_t tower_begin(const tdm_trainer *tr, tdm_modality modality)
{
    int64_t row = 0;
    while (row < tr->params->count && tr->params->row[row].tower != (int)modality) row++;
    return row < tr->params->count ? tr->params->row[row].offset : tr->params->total;
}

/* Offset of the first row that belongs to neither tower: logit_scale and the objectives' own. */
static int64_t towers_end(const tdm_trainer *tr)
{
    int64_t row = 0;
    while (row < tr->params->count && tr->params->row[row].tower >= 0) row++; /* towers come first */
    return row < tr->params->count ? tr->params->row[row].offset : tr->params->total;
}

/* Is this the last backward of its tower in the step? Views go backward from the highest to the lowest. */
static bool is_final(const tdm_trainer *tr, const piece *p, int v)
{
    const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
    if (p->first > 0) return false;
    for (int lower = 0; lower < v; lower++)
        if (view_is_on(tr, lower, m)) return false;
    return true;
}

static tdm_status backward_view(tdm_trainer *tr, const piece *p, int v)
{
    view_features *f = &tr->view[v];
    const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
    const tdm_span rows = piece_rows(tr, p, v);
    const bool final = is_final(tr, p, v);
    if (!tdm_model_trains(tr->model, m)) return TDM_OK;
    if (rows.begin == rows.end) {
        /* rows of earlier pieces went already; what remains of this rank's share is final */
        if (final) tdm_reducer_ready(tr->reducer, tower_begin(tr, m));
        return TDM_OK;
    }
    const tdm_tower_output gradient = {.pooled = f->draw + rows.begin * tr->d, .tokens = f->dtokens};
    return tdm_model_backward(tr->model, m, &gradient, final ? on_final : NULL, tr);
}

static tdm_status backward_piece(tdm_trainer *tr, const piece *p)
{
    for (int m = TDM_MODALITIES - 1; m >= 0; m--)
        for (int v = TDM_VIEWS - 1; v >= 0; v--)
            if (view_is_on(tr, v, (tdm_modality)m)) TDM_TRY(backward_view(tr, p, v));
    return TDM_OK;
}

static void clear_token_gradients(tdm_trainer *tr, const piece *p)
{
    for (int v = 0; v < TDM_VIEWS; v++) {
        view_features *f = &tr->view[v];
        if (!f->dtokens) continue;
        const tdm_tower_input input = piece_input(tr, v, piece_rows(tr, p, v));
        tdm_clear(tr->ops, token_rows(tr, v, &input) * tr->d, f->dtokens);
    }
}

tdm_status backward_pieces(tdm_trainer *tr)
{
    for (int64_t i = piece_count(tr) - 1; i >= 0; i--) {
        const piece p = piece_at(tr, i);
        if (!is_kept(tr, &p)) TDM_TRY(forward_piece(tr, &p, true));
        if (tr->has_tokens) {
            clear_token_gradients(tr, &p);
            TDM_TRY(run_local_losses(tr, &p, true));
        }
        if (i == 0) tdm_reducer_ready(tr->reducer, towers_end(tr));
        TDM_TRY(backward_piece(tr, &p));
    }
    return TDM_OK;
}

/* The dense tokens of a piece, for objectives. */
void piece_tokens(const tdm_trainer *tr, const piece *p, int v, tdm_loss_view *view)
{
    const view_features *f = &tr->view[v];
    const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
    const tdm_batch_view *source = &tr->batch->view[v];
    const tdm_span rows = piece_rows(tr, p, v);
    const int64_t n = rows.end - rows.begin;
    const tdm_tower_input input = piece_input(tr, v, rows);
    const int64_t each = n > 0 && m == TDM_IMAGE ? token_rows(tr, v, &input) / n : 0;
    const int64_t base = source->text.seq ? source->text.seq[rows.begin] : 0;
    for (int64_t i = 0; i <= n; i++)
        f->seq[i] = m == TDM_TEXT ? source->text.seq[rows.begin + i] - base : i * each;
    view->seq = f->seq;
    view->tokens = token_room(tr, v, rows);
    view->dtokens = f->dtokens;
    if (m != TDM_TEXT) return;
    view->token = source->text.token + base;
    if (source->target) view->predict = source->target + base;
}
