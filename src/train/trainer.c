/* The training step.
 *
 * Each view of a sample passes its tower once, in pieces of train.chunk samples. train.recompute says what of the
 * pieces is kept from forward to backward; "chunk": the last one, the others are embedded without activations, the
 * objectives give gradients on the features, and each piece is run again with its gradient (GradCache: Gao et al.,
 * arXiv 2101.06983); dropout replays because its masks are keyed by sample. Backward takes the pieces in the
 * opposite order whatever is kept, so that the results are the same bits.
 *
 * The features of the global batch are gathered; a rank computes the objectives of its own rows only and the
 * gradient flows back through the gather (reduce-scatter). Parameter gradients are summed over the ranks in
 * buckets while backward goes on: objectives' own parameters first, then the text tower, the image tower last,
 * which is the arena from its end to its beginning. With optim.shard a rank gets the sums of its part only, updates
 * that part and sends it to the others (ZeRO, stage 1: Rajbhandari et al., arXiv 1910.02054); the same numbers
 * either way.
 *
 * Frozen rows: their stretches of the arena are neither cleared nor summed over the ranks, and a tower without a
 * trained row is only embedded. */
#include "trainer_impl.h"

#include <math.h>
#include <string.h>

tdm_status tdm_trainer_views(const tdm_config *config, tdm_view_set *views)
{
    tdm_loss_needs needs;
    tdm_loss_all_needs(config, &needs);
    *views = tdm_loss_views(&needs);
    TDM_REQUIRE(*views != 0, TDM_E_CONFIG, "loss: the objectives that are on need no view");
    return TDM_OK;
}

int64_t tdm_trainer_rows(const tdm_config *config, int ranks)
{
    const int64_t local = (tdm_step_draw(config).samples + ranks - 1) / ranks;
    return config->train.chunk > 0 ? tdm_min_i64(config->train.chunk, local) : local;
}

tdm_status tdm_trainer_plan(const tdm_config *config, int ranks, tdm_model_plan *plan)
{
    static const struct {
        tdm_recompute blocks;
        bool keep_all; /* chunks */
    } ways[] = {
        [TDM_RECOMPUTE_CHOICE_NONE] = {TDM_RECOMPUTE_NOTHING, true},
        [TDM_RECOMPUTE_CHOICE_MLP] = {TDM_RECOMPUTE_MLP, true},
        [TDM_RECOMPUTE_CHOICE_BLOCK] = {TDM_RECOMPUTE_BLOCK, true},
        [TDM_RECOMPUTE_CHOICE_CHUNK] = {TDM_RECOMPUTE_NOTHING, false},
    };
    tdm_loss_needs needs;
    tdm_loss_all_needs(config, &needs);
    *plan = (tdm_model_plan){.batch = (tdm_step_draw(config).samples + ranks - 1) / ranks,
                             .chunk = tdm_trainer_rows(config, ranks),
                             .blocks = ways[config->train.recompute].blocks,
                             .keep_all = ways[config->train.recompute].keep_all};
    for (int m = 0; m < TDM_MODALITIES; m++)
        plan->views[m] = tdm_view_count(tdm_loss_views(&needs), (tdm_modality)m);
    for (int v = 0; v < TDM_VIEWS; v++)
        if (needs.view[v] & TDM_NEED_TOKENS) plan->tokens[tdm_view_of((tdm_view)v)->modality] = true;
    return TDM_OK;
}

/* Sums inside a tower, for statistics of the global batch. */
static void sum_over_ranks(void *context, double *value, int64_t count)
{
    sum_values(context, value, count);
}

static void poll_sums(void *context)
{
    tdm_trainer *tr = context;
    tdm_pulse_beat();
    tdm_reducer_poll(tr->reducer);
}

/* Statistics of the global batch need all of it in one pass, in the same number of passes on every rank. */
static tdm_status check_statistics(const tdm_trainer *tr, tdm_modality m)
{
    const char *why = tdm_model_whole_batch(tr->model, m);
    const int ranks = tdm_comm_size(tr->comm);
    const int64_t local = (tr->B + ranks - 1) / ranks;
    TDM_REQUIRE(
        !why || tdm_trainer_rows(tr->config, ranks) == local, TDM_E_CONFIG,
        "train.chunk = %lld cuts the %lld pairs of a rank into pieces, but %s; or set train.chunk = 0, or use more ranks",
        (long long)tr->config->train.chunk, (long long)local, why);
    TDM_REQUIRE(
        !why || tdm_model_trains(tr->model, m), TDM_E_CONFIG,
        "optim.freeze leaves nothing of the %s tower to train, so that its statistics would not follow, but %s",
        tdm_modality_name(m), why);
    return TDM_OK;
}

/* Stretches of trained rows, joined where less than SMALL_GAP frozen elements lie between two: a message of
 * its own would cost more. *span is the caller's. */
static tdm_status find_spans(const tdm_params *params, tdm_span **span, int64_t *spans)
{
    enum { SMALL_GAP = 16384 };
    tdm_span next;
    TDM_TRY(TDM_ALLOC(params->count, span));
    *spans = 0;
    for (int64_t row = 0; tdm_params_next_trained(params, &row, &next);) {
        tdm_span *last = *spans > 0 ? *span + *spans - 1 : NULL;
        if (last && next.begin - last->end < SMALL_GAP)
            last->end = next.end;
        else
            (*span)[(*spans)++] = next;
    }
    return TDM_OK;
}

static int64_t bucket_bytes(const tdm_config *config)
{
    return config->train.bucket_mib << 20;
}

tdm_status tdm_trainer_optim(const tdm_comm *comm, const tdm_config *config, const tdm_params *params,
                             tdm_optim *optim)
{
    if (!config->optim.shard) return tdm_optim_create(config, params, optim);
    tdm_span *span = NULL, *part = NULL;
    int64_t spans, parts;
    tdm_status status = find_spans(params, &span, &spans);
    if (status == TDM_OK) status = tdm_comm_part(comm, span, spans, bucket_bytes(config), &part, &parts);
    if (status == TDM_OK) status = tdm_optim_create_part(config, part, parts, optim);
    tdm_free(span);
    tdm_free(part);
    return status;
}

static bool same_spans(const tdm_span *a, int64_t a_count, const tdm_span *b, int64_t b_count)
{
    bool same = a_count == b_count;
    for (int64_t i = 0; same && i < a_count; i++) same = a[i].begin == b[i].begin && a[i].end == b[i].end;
    return same;
}

static tdm_status create_reducer(tdm_trainer *tr)
{
    const tdm_config *config = tr->config;
    const tdm_reducer_options options = {
        .bucket_bytes = bucket_bytes(config),
        .wire = (tdm_wire)config->train.wire,
        .reduce = (tdm_reduce)config->train.reduce,
        .shard = config->optim.shard,
        .threads = tdm_ops_threads(tr->ops),
    };
    TDM_TRY(find_spans(tr->params, &tr->span, &tr->spans));
    TDM_TRY(tdm_comm_part(tr->comm, tr->span, tr->spans, options.bucket_bytes, &tr->part, &tr->parts));
    TDM_REQUIRE(!options.shard || same_spans(tr->optim->part, tr->optim->parts, tr->part, tr->parts),
                TDM_E_CONFIG, "optim.shard: the optimiser holds another part than this rank's");
    TDM_TRY(tdm_reducer_create(tr->comm, tr->params->grad, tr->params->weight, tr->span, tr->spans, &options,
                               &tr->reducer));
    tdm_ops_set_poll(tr->ops, poll_sums, tr);
    return TDM_OK;
}

static tdm_status build(tdm_trainer *tr)
{
    const tdm_config *config = tr->config;
    const int ranks = tdm_comm_size(tr->comm), rank = tdm_comm_rank(tr->comm);
    tdm_model_plan plan;
    tr->B = tdm_step_draw(config).samples;
    TDM_REQUIRE(tr->B >= ranks, TDM_E_CONFIG, "train.batch is %lld, fewer pairs than the %d ranks",
                (long long)tr->B, ranks);
    tr->row0 = tdm_part_begin(tr->B, ranks, rank);
    tr->b = tdm_part_begin(tr->B, ranks, rank + 1) - tr->row0;
    tr->d = tdm_model_embed_dim(tr->model);
    TDM_TRY(tdm_trainer_plan(config, ranks, &plan));
    TDM_TRY(tdm_model_reserve(tr->model, &plan));
    tr->chunk = plan.chunk;
    tr->keep_all = plan.keep_all;
    for (int m = 0; m < TDM_MODALITIES; m++) {
        TDM_TRY(check_statistics(tr, (tdm_modality)m));
        if (plan.views[m] == 0 && tdm_model_trains(tr->model, (tdm_modality)m))
            tdm_log(
                TDM_LOG_WARN,
                "no objective looks at the %s: its tower only decays; freeze it (optim.freeze = [\"%s\"])",
                tdm_modality_name((tdm_modality)m), tdm_modality_name((tdm_modality)m));
        tdm_tower_reads reads;
        TDM_TRY(tdm_model_reads(config, (tdm_modality)m, &reads, &tr->row_width[m]));
    }
    tdm_model_set_rank_sum(tr->model, sum_over_ranks, tr);
    TDM_TRY(features_create(tr));
    return create_reducer(tr);
}

tdm_status tdm_trainer_create(tdm_comm *comm, tdm_ops *ops, const tdm_config *config, tdm_params *params,
                              tdm_model *model, tdm_losses *losses, tdm_optim *optim, int64_t total_steps,
                              tdm_trainer **trainer)
{
    TDM_TRY(TDM_ALLOC(1, trainer));
    tdm_trainer *tr = *trainer;
    tr->comm = comm;
    tr->ops = ops;
    tr->config = config;
    tr->params = params;
    tr->model = model;
    tr->losses = losses;
    tr->optim = optim;
    tr->clock = (tdm_clock){.rate = 1.0, .end = (double)total_steps};
    return build(tr);
}

void tdm_trainer_set_clock(tdm_trainer *trainer, const tdm_clock *clock)
{
    trainer->clock = *clock;
}

void tdm_trainer_destroy(tdm_trainer **trainer)
{
    tdm_trainer *tr = *trainer;
    if (!tr) return;
    if (tr->model) tdm_model_set_rank_sum(tr->model, NULL, NULL);
    if (tr->ops) tdm_ops_set_poll(tr->ops, NULL, NULL);
    features_destroy(tr);
    tdm_reducer_destroy(&tr->reducer);
    tdm_free(tr->span);
    tdm_free(tr->part);
    tdm_free(tr);
    *trainer = NULL;
}

int64_t tdm_trainer_scratch_bytes(const tdm_trainer *trainer)
{
    return (int64_t)trainer->losses->scratch.peak_bytes;
}

/* ---- The step ---- */

static void report_terms(const tdm_trainer *tr, tdm_step_report *report)
{
    report->term_count = tr->losses->terms;
    for (int k = 0; k < tr->losses->terms; k++) {
        report->term_name[k] = tr->losses->term_name[k];
        report->term[k] = tr->term[k];
    }
    for (int64_t i = 0; i < tr->losses->count; i++) {
        const tdm_loss_instance *one = &tr->losses->loss[i];
        report->loss += tdm_loss_weight(tr->config, one->type, ramp_step(tr)) * tr->term[one->first_term];
    }
}

/* What passes a tower in a step. */
typedef struct passed {
    int64_t rows, tokens, squared; /* squared: sum of the squared lengths of captions */
} passed;

static void count_view(const tdm_batch_view *view, passed *p)
{
    const int64_t *seq = view->text.seq;
    p->rows += view->n;
    for (int64_t i = 0; seq && i < view->n; i++) {
        const int64_t length = seq[i + 1] - seq[i];
        p->tokens += length;
        p->squared += length * length;
    }
}

/* pass: of any view */
static double step_flop(const tdm_trainer *tr, const tdm_batch *batch, const tdm_pass *pass, int64_t *tokens)
{
    double flop = 0.0;
    *tokens = 0;
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const tdm_modality modality = (tdm_modality)m;
        passed all = {0}, targets = {0};
        for (int v = 0; v < TDM_VIEWS; v++) {
            if (!view_is_on(tr, v, modality)) continue;
            count_view(&batch->view[v], &all);
            if (tr->view[v].target) count_view(&batch->view[v], &targets);
        }
        *tokens += all.tokens;
        flop += (1.0 + 2.0 * tdm_model_backward_share(tr->model, modality)) *
                tdm_model_tower_flop(tr->config, modality, pass, all.rows, all.tokens, all.squared);
        flop +=
            tdm_model_tower_flop(tr->config, modality, pass, targets.rows, targets.tokens, targets.squared);
    }
    return flop;
}

/* Every rank squares what it has completed the sums of; added in the order of the ranks. */
static double gradient_norm(tdm_trainer *tr)
{
    const int ranks = tdm_comm_size(tr->comm);
    const double mine = tdm_optim_squares(tr->ops, tr->params, tr->part, tr->parts);
    int64_t bits, all[ranks];
    double sum = 0.0;
    memcpy(&bits, &mine, sizeof(bits));
    const double start_s = tdm_now_s();
    tdm_comm_gather_i64(tr->comm, bits, all);
    tr->time.wait_s += tdm_now_s() - start_s;
    for (int i = 0; i < ranks; i++) {
        double squares;
        memcpy(&squares, &all[i], sizeof(squares));
        sum += squares;
    }
    return sqrt(sum);
}

/* Sums of gradients are complete: clipping, update, packing. */
static tdm_status update_weights(tdm_trainer *tr, tdm_step_report *report)
{
    report->lr =
        tdm_learning_rate(tr->optim, tr->config, tdm_clock_at(&tr->clock, tr->optim->step), tr->clock.end);
    report->grad_norm = gradient_norm(tr);
    TDM_TRY(tdm_optim_apply(tr->optim, tr->config, tr->ops, tr->params, report->lr, report->grad_norm));
    if (tr->config->optim.shard) tdm_reducer_gather(tr->reducer, &tr->time);
    tdm_model_clamp(tr->model);
    tdm_model_update_statistics(tr->model, true);
    TDM_TRY(tdm_losses_load(tr->losses, true));
    return tdm_model_load_trained(tr->model);
}

/* Gradients begin at zero. Where no backward may come that writes what is only marked (a tower or an objective
 * without a row here), they are cleared at once. */
static void clear_gradients(tdm_trainer *tr)
{
    for (int64_t i = 0; i < tr->spans; i++) tdm_model_clear_gradients(tr->model, tr->span[i]);
    for (int64_t i = 0; i < tr->params->count; i++) {
        const tdm_param *row = &tr->params->row[i];
        const bool lone = row->tower >= 0 ? tr->side[row->tower].b == 0 : row->linear != NULL;
        if (lone && tdm_param_trained(row)) tdm_clear(tr->ops, row->size, tr->params->grad + row->offset);
    }
    for (int v = 0; v < TDM_VIEWS; v++) {
        view_features *f = &tr->view[v];
        if (f->draw) tdm_clear(tr->ops, tr->b * tr->d, f->draw);
    }
    memset(tr->term, 0, sizeof(tr->term));
    tr->dlogit_scale = 0.0;
}

/* Objectives that read features: the global ones, then piece by piece the local ones. */
static tdm_status run_losses(tdm_trainer *tr)
{
    TDM_TRY(run_global_losses(tr));
    for (int64_t i = 0; i < piece_count(tr); i++) {
        const piece p = piece_at(tr, i);
        TDM_TRY(run_local_losses(tr, &p, false));
    }
    return TDM_OK;
}

static tdm_status check_finite(const tdm_trainer *tr, const tdm_step_report *report)
{
    TDM_REQUIRE(isfinite(report->logit_scale), TDM_E_NUMERIC, "step %lld: logit_scale is not finite (%g)",
                (long long)tr->optim->step, report->logit_scale);
    TDM_REQUIRE(isfinite(report->loss), TDM_E_NUMERIC, "step %lld: the loss is not finite (%g)",
                (long long)tr->optim->step, report->loss);
    return TDM_OK;
}

/* Sums the terms over the ranks; from here on all ranks know the loss. */
static tdm_status settle_terms(tdm_trainer *tr, tdm_step_report *report)
{
    sum_values(tr, tr->term, tr->losses->terms);
    report_terms(tr, report);
    report->logit_scale = *tdm_model_logit_scale(tr->model);
    return check_finite(tr, report);
}

static tdm_status forward(tdm_trainer *tr)
{
    tdm_model_forget(tr->model); /* what a step that failed left */
    tdm_model_update_statistics(tr->model, false);
    TDM_TRY(forward_targets(tr)); /* first, while no other pass holds room for its backward */
    return forward_pieces(tr);
}

/* Backward; with dense tokens the terms are complete only behind it. */
static tdm_status backward(tdm_trainer *tr, tdm_step_report *report)
{
    if (!tr->has_tokens) TDM_TRY(settle_terms(tr, report));
    scatter_gradients(tr);
    *tdm_model_dlogit_scale(tr->model) = (float)tr->dlogit_scale;
    TDM_TRY(backward_pieces(tr));
    tdm_reducer_finish(tr->reducer, &tr->time);
    return tr->has_tokens ? settle_terms(tr, report) : TDM_OK;
}

/* At the first step, and where train.unmasked_share switches patch dropout off. */
static void show_patches(tdm_trainer *tr, const tdm_pass *pass)
{
    const int64_t all = tdm_model_patches(tr->config, &(tdm_pass){.train = false});
    const int64_t now = tdm_model_patches(tr->config, pass);
    if (tr->config->model.image.patch_dropout > 0.0 && now != tr->patches)
        tdm_log(TDM_LOG_INFO, "from step %lld on: %lld of the %lld patches of an image are computed",
                (long long)tr->optim->step + 1, (long long)now, (long long)all);
    tr->patches = now;
}

tdm_status tdm_trainer_step(tdm_trainer *tr, const tdm_batch *batch, tdm_step_report *report)
{
    const double start_s = tdm_now_s();
    memset(report, 0, sizeof(*report));
    tr->time = (tdm_comm_time){0};
    tr->batch = batch;
    TDM_REQUIRE(batch->n == tr->b, TDM_E_SHAPE, "the batch holds %lld pairs, this rank's share is %lld",
                (long long)batch->n, (long long)tr->b);

    const tdm_pass pass = step_pass(tr, TDM_VIEW_IMAGE_AUG_1, false);
    show_patches(tr, &pass);
    tdm_pulse_phase("forward");
    TDM_TRY(local_rows(tr));
    TDM_TRY(forward(tr));
    tdm_pulse_phase("exchange of features");
    exchange_rows(tr);
    exchange_features(tr);
    clear_gradients(tr);
    TDM_TRY(exchange_normalizers(tr));
    tdm_pulse_phase("objectives");
    TDM_TRY(run_losses(tr));
    tdm_pulse_phase("backward");
    TDM_TRY(backward(tr, report));
    tdm_pulse_phase("update of the weights");
    TDM_TRY(update_weights(tr, report));

    report->flop = step_flop(tr, batch, &pass, &report->tokens);
    report->comm = tr->time;
    report->step_s = tdm_now_s() - start_s;
    return TDM_OK;
}
