/* The training step.
 *
 * Each view of a sample passes its tower once, in pieces of train.chunk pairs. train.recompute says what of
 * the pieces is kept from forward to backward; "chunk": the last one, the others are embedded without
 * activations, the loss gives gradients on the embeddings, and each is run again with its gradient
 * (GradCache: Gao et al., arXiv 2101.06983); dropout replays because its masks are keyed by sample. Backward
 * takes the pieces in the opposite order whatever is kept, so that the results are the same bits.
 *
 * The features of the global batch are gathered; a rank computes the loss of its own rows only and the
 * gradient flows back through the gather (reduce-scatter). Parameter gradients are summed over the ranks in
 * buckets while backward goes on: text tower first, image tower second, which is the arena from its end to
 * its beginning. With optim.shard a rank gets the sums of its part only, updates that part and sends it to
 * the others (ZeRO, stage 1: Rajbhandari et al., arXiv 1910.02054); the same numbers either way.
 *
 * Frozen rows: their stretches of the arena are neither cleared nor summed over the ranks, and a tower
 * without a trained row is only embedded. */
#include "tandem/train.h"

#include "tandem/base.h"

#include <math.h>
#include <string.h>

/* Features of one view of one modality, local and global. */
typedef struct view {
    bool on;
    float *raw, *unit, *norm; /* local [b][d], [b][d], [b] */
    float *all;               /* [B][d] */
    float *dall;              /* [B][d] */
    float *dunit;             /* local [b][d]; becomes the gradient of raw */
} view;

struct tdm_trainer {
    tdm_comm *comm;
    tdm_ops *ops;
    const tdm_config *config;
    tdm_params *params;
    tdm_model *model;
    tdm_optim *optim;
    tdm_reducer *reducer;
    int64_t total_steps, B, b, row0, d, chunk;
    bool keep_all;  /* activations of all pieces wait for the backward, else those of the last one */
    tdm_span *span; /* [spans] of the arena that hold trained rows */
    int64_t spans;
    tdm_span *part; /* [parts] of them that this rank completes the sums of */
    int64_t parts;
    int64_t *rows;     /* [ranks] local batch of each */
    int64_t *identity; /* [B] */
    view view[TDM_VIEWS];
    tdm_scratch loss_scratch;
    tdm_comm_time time;
};

static const void *loss_options(const tdm_config *config, const tdm_loss *loss, double *weight)
{
    char prefix[80];
    snprintf(prefix, sizeof(prefix), "loss.%s", loss->name);
    const void *options = tdm_config_group(config, prefix);
    *weight = options ? *(const double *)options : 0.0; /* the first row is the weight */
    return options;
}

tdm_status tdm_trainer_views(const tdm_config *config, tdm_view_set *views)
{
    size_t count;
    const tdm_loss *const *table = tdm_loss_table(&count);
    *views = 0;
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        double weight;
        const void *options = loss_options(config, table[i], &weight);
        if (weight <= 0.0) continue;
        any = true;
        *views |= table[i]->views(options);
    }
    TDM_REQUIRE(any, TDM_E_CONFIG, "loss: every objective has weight 0; give one a weight above 0");
    return TDM_OK;
}

int64_t tdm_trainer_rows(const tdm_config *config, int ranks)
{
    const int64_t local = (config->train.batch + ranks - 1) / ranks;
    return config->train.chunk > 0 ? tdm_min_i64(config->train.chunk, local) : local;
}

tdm_status tdm_trainer_plan(const tdm_config *config, int ranks, tdm_model_plan *plan)
{
    tdm_view_set views;
    const char *recompute = config->train.recompute;
    TDM_TRY(tdm_trainer_views(config, &views));
    *plan = (tdm_model_plan){.batch = (config->train.batch + ranks - 1) / ranks,
                             .chunk = tdm_trainer_rows(config, ranks)};
    if (!strcmp(recompute, "mlp")) plan->blocks = TDM_RECOMPUTE_MLP;
    if (!strcmp(recompute, "block")) plan->blocks = TDM_RECOMPUTE_BLOCK;
    plan->keep_all = strcmp(recompute, "chunk") != 0;
    for (int m = 0; m < TDM_MODALITIES; m++) plan->views[m] = tdm_view_count(views, (tdm_modality)m);
    return TDM_OK;
}

static tdm_status view_create(view *v, int64_t b, int64_t B, int64_t d)
{
    v->on = true;
    TDM_TRY(TDM_ALLOC(b * d, &v->raw));
    TDM_TRY(TDM_ALLOC(b * d, &v->unit));
    TDM_TRY(TDM_ALLOC(b, &v->norm));
    TDM_TRY(TDM_ALLOC(b * d, &v->dunit));
    TDM_TRY(TDM_ALLOC(B * d, &v->all));
    return TDM_ALLOC(B * d, &v->dall);
}

/* A barrier, so that what follows is not charged with waiting for slower ranks. */
static void meet(tdm_trainer *tr)
{
    const double start_s = tdm_now_s();
    tdm_comm_barrier(tr->comm);
    tr->time.wait_s += tdm_now_s() - start_s;
}

/* Few values: what it takes is waiting for each other. */
static void sum_values(tdm_trainer *tr, double *value, int64_t count)
{
    const double start_s = tdm_now_s();
    tdm_comm_sum_f64(tr->comm, value, count);
    tr->time.wait_s += tdm_now_s() - start_s;
}

/* Sums inside a tower, for statistics of the global batch. */
static void sum_over_ranks(void *context, double *value, int64_t count)
{
    sum_values(context, value, count);
}

static void poll_sums(void *context)
{
    tdm_trainer *tr = context;
    tdm_reducer_poll(tr->reducer);
}

/* Statistics of the global batch need all of it in one pass, in the same number of passes on every rank. */
static tdm_status check_statistics(const tdm_config *config, const tdm_model *model, int ranks)
{
    const int64_t local = (config->train.batch + ranks - 1) / ranks;
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const char *why = tdm_model_whole_batch(model, (tdm_modality)m);
        TDM_REQUIRE(
            !why || tdm_trainer_rows(config, ranks) == local, TDM_E_CONFIG,
            "train.chunk = %lld cuts the %lld pairs of a rank into pieces, but %s; or set train.chunk = "
            "0, or use more ranks",
            (long long)config->train.chunk, (long long)local, why);
        TDM_REQUIRE(!why || tdm_model_trains(model, (tdm_modality)m), TDM_E_CONFIG,
                    "optim.freeze leaves nothing of the %s tower to train, so that its statistics would not "
                    "follow, but %s",
                    tdm_modality_name((tdm_modality)m), why);
    }
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
    if (!config->optim.shard) return tdm_optim_create(params, optim);
    tdm_span *span = NULL, *part = NULL;
    int64_t spans, parts;
    tdm_status status = find_spans(params, &span, &spans);
    if (status == TDM_OK) status = tdm_comm_part(comm, span, spans, bucket_bytes(config), &part, &parts);
    if (status == TDM_OK) status = tdm_optim_create_part(part, parts, optim);
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
        .wire = strcmp(config->train.wire, "bf16") ? TDM_WIRE_F32 : TDM_WIRE_BF16,
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

/* Room for the temporaries of one objective at a time. */
static tdm_status reserve_losses(tdm_trainer *tr)
{
    size_t count;
    const tdm_loss *const *table = tdm_loss_table(&count);
    const tdm_loss_input in = {.B = tr->B, .row0 = tr->row0, .b = tr->b, .d = tr->d};
    int64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        double weight;
        const void *options = loss_options(tr->config, table[i], &weight);
        if (weight > 0.0) bytes = tdm_max_i64(bytes, table[i]->scratch_bytes(options, &in));
    }
    return tdm_scratch_create((size_t)bytes, &tr->loss_scratch);
}

tdm_status tdm_trainer_create(tdm_comm *comm, tdm_ops *ops, const tdm_config *config, tdm_params *params,
                              tdm_model *model, tdm_optim *optim, int64_t total_steps, tdm_trainer **trainer)
{
    const int ranks = tdm_comm_size(comm), rank = tdm_comm_rank(comm);
    TDM_TRY(TDM_ALLOC(1, trainer));
    tdm_trainer *tr = *trainer;
    tr->comm = comm;
    tr->ops = ops;
    tr->config = config;
    tr->params = params;
    tr->model = model;
    tr->optim = optim;
    tr->total_steps = total_steps;
    tr->B = config->train.batch;
    TDM_REQUIRE(tr->B >= ranks, TDM_E_CONFIG, "train.batch is %lld, fewer pairs than the %d ranks",
                (long long)tr->B, ranks);
    tr->row0 = tdm_part_begin(tr->B, ranks, rank);
    tr->b = tdm_part_begin(tr->B, ranks, rank + 1) - tr->row0;
    tr->d = tdm_model_embed_dim(model);
    tdm_model_plan plan;
    TDM_TRY(tdm_trainer_plan(config, ranks, &plan));
    TDM_TRY(tdm_model_reserve(model, &plan));
    tr->chunk = plan.chunk;
    tr->keep_all = plan.keep_all;
    TDM_TRY(check_statistics(config, model, ranks));
    tdm_model_set_rank_sum(model, sum_over_ranks, tr);
    TDM_TRY(TDM_ALLOC(ranks, &tr->rows));
    for (int i = 0; i < ranks; i++)
        tr->rows[i] = tdm_part_begin(tr->B, ranks, i + 1) - tdm_part_begin(tr->B, ranks, i);
    TDM_TRY(TDM_ALLOC(tr->B, &tr->identity));

    tdm_view_set views;
    TDM_TRY(tdm_trainer_views(config, &views));
    for (int k = 0; k < TDM_VIEWS; k++)
        if (views >> k & 1) TDM_TRY(view_create(&tr->view[k], tr->b, tr->B, tr->d));
    TDM_TRY(reserve_losses(tr));
    return create_reducer(tr);
}

void tdm_trainer_destroy(tdm_trainer **trainer)
{
    tdm_trainer *tr = *trainer;
    if (!tr) return;
    if (tr->model) tdm_model_set_rank_sum(tr->model, NULL, NULL);
    if (tr->ops) tdm_ops_set_poll(tr->ops, NULL, NULL);
    for (int k = 0; k < TDM_VIEWS; k++) {
        view *v = &tr->view[k];
        tdm_free(v->raw);
        tdm_free(v->unit);
        tdm_free(v->norm);
        tdm_free(v->all);
        tdm_free(v->dall);
        tdm_free(v->dunit);
    }
    tdm_scratch_destroy(&tr->loss_scratch);
    tdm_reducer_destroy(&tr->reducer);
    tdm_free(tr->span);
    tdm_free(tr->part);
    tdm_free(tr->rows);
    tdm_free(tr->identity);
    tdm_free(tr);
    *trainer = NULL;
}

int64_t tdm_trainer_scratch_bytes(const tdm_trainer *trainer)
{
    return (int64_t)trainer->loss_scratch.peak_bytes;
}

/* ---- Towers ---- */

/* Rows [first, first+n) of a view, as a tower reads them. */
static tdm_tower_input piece_input(const tdm_trainer *tr, const tdm_batch *batch, int modality, int k,
                                   int64_t first, int64_t n)
{
    tdm_tower_input input = {.n = n, .sample = batch->sample + first};
    if (modality == TDM_IMAGE) {
        const tdm_tower_config *c = &tr->config->model.image;
        input.image = batch->view[k].image + first * c->height_px * c->width_px * 3;
    } else {
        input.token = batch->view[k].text.token;
        input.seq = batch->view[k].text.seq + first;
    }
    return input;
}

static tdm_pass training_mode(const tdm_trainer *tr)
{
    return (tdm_pass){.train = true, .seed = (uint64_t)tr->config->seed, .step = (uint64_t)tr->optim->step};
}

static bool has_view(const tdm_trainer *tr, int k, int modality)
{
    return tr->view[k].on && (int)tdm_view_of((tdm_view)k)->modality == modality;
}

/* Is there nothing of the modality behind view k's rows up to `end`? */
static bool is_last_piece(const tdm_trainer *tr, int modality, int k, int64_t end)
{
    for (int later = k + 1; later < TDM_VIEWS; later++)
        if (has_view(tr, later, modality)) return false;
    return end == tr->b;
}

static tdm_status forward_tower(tdm_trainer *tr, const tdm_batch *batch, int modality)
{
    const tdm_pass mode = training_mode(tr);
    for (int k = 0; k < TDM_VIEWS; k++) {
        view *v = &tr->view[k];
        if (!has_view(tr, k, modality)) continue;
        for (int64_t first = 0; first < tr->b; first += tr->chunk) {
            const int64_t n = tdm_min_i64(tr->chunk, tr->b - first);
            const tdm_tower_input input = piece_input(tr, batch, modality, k, first, n);
            const bool keep = tr->keep_all || is_last_piece(tr, modality, k, first + n);
            const tdm_tower_output output = {.pooled = v->raw + first * tr->d};
            TDM_TRY(keep ? tdm_model_forward(tr->model, (tdm_modality)modality, &input, &mode, &output)
                         : tdm_model_embed(tr->model, (tdm_modality)modality, &input, &mode, &output));
        }
    }
    return TDM_OK;
}

static void on_final(void *context, int64_t begin)
{
    tdm_trainer *tr = context;
    tdm_reducer_ready(tr->reducer, begin);
}

/* The pieces in the opposite order of forward_tower's. */
static tdm_status backward_tower(tdm_trainer *tr, const tdm_batch *batch, int modality)
{
    const tdm_pass mode = training_mode(tr);
    if (!tdm_model_trains(tr->model, (tdm_modality)modality)) return TDM_OK;
    int lowest = 0;
    while (lowest < TDM_VIEWS && !has_view(tr, lowest, modality)) lowest++;
    for (int k = TDM_VIEWS - 1; k >= lowest; k--) {
        view *v = &tr->view[k];
        if (!has_view(tr, k, modality)) continue;
        for (int64_t first = (tr->b - 1) / tr->chunk * tr->chunk; first >= 0; first -= tr->chunk) {
            const int64_t n = tdm_min_i64(tr->chunk, tr->b - first);
            if (!tr->keep_all && !is_last_piece(tr, modality, k, first + n)) {
                const tdm_tower_input input = piece_input(tr, batch, modality, k, first, n);
                TDM_TRY(tdm_model_forward(tr->model, (tdm_modality)modality, &input, &mode,
                                          &(tdm_tower_output){.pooled = v->raw + first * tr->d}));
            }
            const bool final_piece = k == lowest && first == 0;
            TDM_TRY(tdm_model_backward(tr->model, (tdm_modality)modality,
                                       &(tdm_tower_output){.pooled = v->dunit + first * tr->d},
                                       final_piece ? on_final : NULL, tr));
        }
    }
    return TDM_OK;
}

/* ---- Loss ---- */

static void gather_features(tdm_trainer *tr, const tdm_batch *batch)
{
    meet(tr);
    const double start_s = tdm_now_s();
    tdm_comm_gather_rows(tr->comm, batch->identity, tr->identity, tr->rows, sizeof(int64_t));
    for (int k = 0; k < TDM_VIEWS; k++) {
        view *v = &tr->view[k];
        if (v->on) tdm_comm_gather_rows(tr->comm, v->unit, v->all, tr->rows, tr->d * (int64_t)sizeof(float));
    }
    tr->time.transfer_s += tdm_now_s() - start_s;
}

/* Unit vectors of all views, gathered, and room for the gradients. */
static void exchange_features(tdm_trainer *tr, const tdm_batch *batch)
{
    for (int k = 0; k < TDM_VIEWS; k++) {
        view *v = &tr->view[k];
        if (!v->on) continue;
        tdm_l2norm_forward(tr->ops, tr->b, tr->d, v->raw, v->unit, v->norm);
        memset(v->dall, 0, sizeof(float) * (size_t)(tr->B * tr->d));
    }
    gather_features(tr, batch);
}

static void scatter_gradients(tdm_trainer *tr)
{
    for (int k = 0; k < TDM_VIEWS; k++) {
        view *v = &tr->view[k];
        if (!v->on || !tdm_model_trains(tr->model, tdm_view_of((tdm_view)k)->modality)) continue;
        const double start_s = tdm_now_s();
        tdm_comm_reduce_scatter_rows(tr->comm, v->dall, v->dunit, tr->rows, tr->d);
        tr->time.transfer_s += tdm_now_s() - start_s;
        tdm_l2norm_backward(tr->ops, tr->b, tr->d, v->unit, v->norm, v->dunit, v->dunit);
    }
}

static tdm_status run_losses(tdm_trainer *tr, tdm_step_report *report, double *dlogit_scale)
{
    tdm_loss_input in = {.B = tr->B,
                         .row0 = tr->row0,
                         .b = tr->b,
                         .d = tr->d,
                         .identity = tr->identity,
                         .logit_scale = *tdm_model_logit_scale(tr->model),
                         .scratch = &tr->loss_scratch};
    tdm_scratch_rewind(&tr->loss_scratch, 0);
    tdm_loss_output out = {0};
    for (int k = 0; k < TDM_VIEWS; k++) {
        in.view[k] = tr->view[k].all;
        out.dview[k] = tr->view[k].dall;
    }

    size_t count;
    const tdm_loss *const *table = tdm_loss_table(&count);
    double total = 0.0;
    for (size_t i = 0; i < count; i++) {
        double weight;
        const void *options = loss_options(tr->config, table[i], &weight);
        if (weight <= 0.0) continue;
        memset(out.term, 0, sizeof(out.term));
        TDM_TRY(table[i]->step(options, weight, tr->ops, &in, &out));
        total += weight * out.term[0];
        for (int k = 0; table[i]->terms[k] && report->term_count < TDM_STEP_MAX_TERMS; k++) {
            report->term_name[report->term_count] = table[i]->terms[k];
            report->term[report->term_count++] = out.term[k];
        }
    }
    report->loss = total;
    *dlogit_scale = out.dlogit_scale;
    return TDM_OK;
}

static void sum_terms(tdm_trainer *tr, tdm_step_report *report)
{
    double value[TDM_STEP_MAX_TERMS + 1];
    memcpy(value, report->term, sizeof(report->term));
    value[report->term_count] = report->loss;
    sum_values(tr, value, report->term_count + 1);
    memcpy(report->term, value, sizeof(double) * (size_t)report->term_count);
    report->loss = value[report->term_count];
}

static double step_flop(const tdm_trainer *tr, const tdm_batch *batch, int64_t *tokens)
{
    *tokens = 0;
    int image_views = 0, text_views = 0;
    int64_t squared = 0;
    for (int k = 0; k < TDM_VIEWS; k++) {
        image_views += has_view(tr, k, TDM_IMAGE);
        if (!has_view(tr, k, TDM_TEXT)) continue;
        text_views++;
        for (int64_t i = 0; i < batch->n; i++) {
            const int64_t *seq = batch->view[k].text.seq, length = seq[i + 1] - seq[i];
            *tokens += length;
            squared += length * length;
        }
    }
    const double image_flop = tdm_model_tower_flop(tr->config, TDM_IMAGE, batch->n * image_views, 0, 0);
    const double text_flop =
        tdm_model_tower_flop(tr->config, TDM_TEXT, batch->n * text_views, *tokens, squared);
    return (1.0 + 2.0 * tdm_model_backward_share(tr->model, TDM_IMAGE)) * image_flop +
           (1.0 + 2.0 * tdm_model_backward_share(tr->model, TDM_TEXT)) * text_flop;
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
    report->lr = tdm_learning_rate(tr->config, tr->optim->step, tr->total_steps);
    report->grad_norm = gradient_norm(tr);
    TDM_TRY(tdm_optim_apply(tr->optim, tr->config, tr->ops, tr->params, report->lr, report->grad_norm));
    if (tr->config->optim.shard) tdm_reducer_gather(tr->reducer, &tr->time);
    tdm_model_clamp(tr->model);
    tdm_model_update_statistics(tr->model, true);
    return tdm_model_load_trained(tr->model);
}

tdm_status tdm_trainer_step(tdm_trainer *tr, const tdm_batch *batch, tdm_step_report *report)
{
    const double start_s = tdm_now_s();
    double dlogit_scale = 0.0;
    memset(report, 0, sizeof(*report));
    tr->time = (tdm_comm_time){0};
    TDM_REQUIRE(batch->n == tr->b, TDM_E_SHAPE, "the batch holds %lld pairs, this rank's share is %lld",
                (long long)batch->n, (long long)tr->b);

    tdm_model_forget(tr->model); /* what a step that failed left */
    tdm_model_update_statistics(tr->model, false);
    TDM_TRY(forward_tower(tr, batch, TDM_IMAGE));
    TDM_TRY(forward_tower(tr, batch, TDM_TEXT));

    exchange_features(tr, batch);
    TDM_TRY(run_losses(tr, report, &dlogit_scale));
    sum_terms(tr, report);
    report->logit_scale = *tdm_model_logit_scale(tr->model);
    TDM_REQUIRE(isfinite(report->logit_scale), TDM_E_NUMERIC, "step %lld: logit_scale is not finite (%g)",
                (long long)tr->optim->step, report->logit_scale);
    TDM_REQUIRE(isfinite(report->loss), TDM_E_NUMERIC, "step %lld: the loss is not finite (%g)",
                (long long)tr->optim->step, report->loss);
    scatter_gradients(tr);

    for (int64_t i = 0; i < tr->spans; i++) tdm_model_clear_gradients(tr->model, tr->span[i]);
    *tdm_model_dlogit_scale(tr->model) = (float)dlogit_scale;
    TDM_TRY(backward_tower(tr, batch, TDM_TEXT));
    TDM_TRY(backward_tower(tr, batch, TDM_IMAGE));
    tdm_reducer_finish(tr->reducer, &tr->time);
    TDM_TRY(update_weights(tr, report));

    report->flop = step_flop(tr, batch, &report->tokens);
    report->comm = tr->time;
    report->step_s = tdm_now_s() - start_s;
    return TDM_OK;
}
