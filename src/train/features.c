/* Which rows the step has on which rank, the unit features of the global batch, the objectives that see them, and
 * the gradients back to this rank's rows. */
#include "trainer_impl.h"

#include <string.h>

/* A barrier, so that what follows is not charged with waiting for slower ranks. */
static void meet(tdm_trainer *tr)
{
    const double start_s = tdm_now_s();
    tdm_comm_barrier(tr->comm);
    tr->time.wait_s += tdm_now_s() - start_s;
}

void sum_values(tdm_trainer *tr, double *value, int64_t count)
{
    const double start_s = tdm_now_s();
    tdm_comm_sum_f64(tr->comm, value, count);
    tr->time.wait_s += tdm_now_s() - start_s;
}

/* ---- Room ---- */

static tdm_status create_view(tdm_trainer *tr, int v)
{
    view_features *f = &tr->view[v];
    const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
    const int64_t b = tr->b, B = tr->B, d = tr->d;
    TDM_TRY(TDM_ALLOC(b * d, &f->raw));
    TDM_TRY(TDM_ALLOC(b * d, &f->draw));
    if (f->needs & (TDM_NEED_ALL | TDM_NEED_TARGET)) {
        TDM_TRY(TDM_ALLOC(b, &f->norm));
        TDM_TRY(TDM_ALLOC(B * d, &f->all));
        TDM_TRY(TDM_ALLOC(B * d, &f->dall));
    }
    if ((f->needs & TDM_NEED_TARGET) && tdm_model_is_random(tr->model, m))
        TDM_TRY(TDM_ALLOC(B * d, &f->target));
    if (f->dall && (f->target || tdm_comm_size(tr->comm) > 1)) TDM_TRY(TDM_ALLOC(b * d, &f->dunit));
    if (!(f->needs & TDM_NEED_TOKENS)) return TDM_OK;
    const int64_t kept = tr->keep_all ? b : tr->chunk, each = tdm_model_most_tokens(tr->model, m);
    TDM_REQUIRE(tdm_model_has_tokens(tr->model, m), TDM_E_CONFIG,
                "loss: an objective reads dense tokens of %s, which the %s tower does not give",
                tdm_view_of((tdm_view)v)->label, tdm_modality_name(m));
    TDM_REQUIRE(
        tdm_model_token_dim(tr->model, m) == d, TDM_E_CONFIG,
        "loss: an objective reads dense tokens of %s, which are %lld wide by model.%s.feature_dim, not "
        "model.embed_dim = %lld",
        tdm_modality_name(m), (long long)tdm_model_token_dim(tr->model, m), tdm_modality_name(m),
        (long long)d);
    TDM_TRY(TDM_ALLOC(kept * each * d, &f->tokens));
    TDM_TRY(TDM_ALLOC(tr->chunk * each * d, &f->dtokens));
    return TDM_ALLOC(tr->chunk + 1, &f->seq);
}

/* The largest call that an objective may see: shapes only. */
static tdm_loss_call largest_call(const tdm_trainer *tr, const tdm_loss_instance *one)
{
    tdm_loss_call call = {.options = one->options, .state = one->state, .d = tr->d, .nn = &tr->losses->nn};
    const int64_t b = one->type->local ? tr->chunk : tr->b;
    for (int m = 0; m < TDM_MODALITIES; m++)
        call.rows[m] = (tdm_loss_rows){.B = tr->B, .row0 = 0, .b = b, .class_words = tr->class_words};
    return call;
}

/* Room for the temporaries of one objective at a time. */
static tdm_status reserve_scratch(tdm_trainer *tr)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < tr->losses->count; i++) {
        const tdm_loss_instance *one = &tr->losses->loss[i];
        const tdm_loss_call call = largest_call(tr, one);
        if (one->type->scratch_bytes) bytes = tdm_max_i64(bytes, one->type->scratch_bytes(&call));
    }
    tdm_scratch_destroy(&tr->losses->scratch);
    return tdm_scratch_create((size_t)bytes, &tr->losses->scratch);
}

static void gather(void *context, tdm_modality m, int64_t width, const float *local, float *all)
{
    tdm_trainer *tr = context;
    meet(tr);
    const double start_s = tdm_now_s();
    tdm_comm_gather_rows(tr->comm, local, all, tr->rows[m], width * (int64_t)sizeof(float));
    tr->time.transfer_s += tdm_now_s() - start_s;
}

static void scatter(void *context, tdm_modality m, int64_t width, const float *all, float *local)
{
    tdm_trainer *tr = context;
    meet(tr);
    const double start_s = tdm_now_s();
    tdm_comm_reduce_scatter_rows(tr->comm, all, local, tr->rows[m], width);
    tr->time.transfer_s += tdm_now_s() - start_s;
}

static void sum(void *context, int64_t count, double *value)
{
    sum_values(context, value, count);
}

tdm_status features_create(tdm_trainer *tr)
{
    const int ranks = tdm_comm_size(tr->comm);
    tr->exchange = (tdm_exchange){.context = tr, .gather = gather, .scatter = scatter, .sum = sum};
    TDM_TRY(TDM_ALLOC(ranks, &tr->sample_rows));
    for (int i = 0; i < ranks; i++)
        tr->sample_rows[i] = tdm_part_begin(tr->B, ranks, i + 1) - tdm_part_begin(tr->B, ranks, i);
    TDM_TRY(TDM_ALLOC(tr->B, &tr->all_identity));
    TDM_TRY(TDM_ALLOC(tr->b, &tr->own_rows));
    for (int m = 0; m < TDM_MODALITIES; m++) {
        TDM_TRY(TDM_ALLOC(ranks, &tr->rows[m]));
        TDM_TRY(TDM_ALLOC(tr->b, &tr->row_key[m]));
        TDM_TRY(TDM_ALLOC(tr->B, &tr->row_sample[m]));
        TDM_TRY(TDM_ALLOC(tr->B, &tr->row_identity[m]));
    }
    for (int v = 0; v < TDM_VIEWS; v++) {
        tr->view[v].needs = tr->losses->needs.view[v];
        if (tr->view[v].needs) TDM_TRY(create_view(tr, v));
        tr->has_tokens |= (tr->view[v].needs & TDM_NEED_TOKENS) != 0;
    }
    return reserve_scratch(tr);
}

void features_destroy(tdm_trainer *tr)
{
    for (int v = 0; v < TDM_VIEWS; v++) {
        view_features *f = &tr->view[v];
        float *const array[] = {f->raw,  f->norm,   f->draw,   f->dunit,  f->all,
                                f->dall, f->target, f->tokens, f->dtokens};
        for (size_t i = 0; i < sizeof(array) / sizeof(array[0]); i++) tdm_free(array[i]);
        tdm_free(f->seq);
    }
    for (int m = 0; m < TDM_MODALITIES; m++) {
        tdm_free(tr->rows[m]);
        tdm_free(tr->row_key[m]);
        tdm_free(tr->row_sample[m]);
        tdm_free(tr->row_identity[m]);
        tdm_free(tr->row_classes[m]);
    }
    tdm_free(tr->sample_rows);
    tdm_free(tr->all_identity);
    tdm_free(tr->own_rows);
    tdm_free(tr->all_classes);
}

/* ---- Rows ---- */

/* A view of the modality that takes part, -1: none. */
static int any_view(const tdm_trainer *tr, tdm_modality m)
{
    for (int v = 0; v < TDM_VIEWS; v++)
        if (view_is_on(tr, v, m)) return v;
    return -1;
}

/* All views of a modality have the same rows. */
static tdm_status check_views(const tdm_trainer *tr, tdm_modality m, int64_t n)
{
    for (int v = 0; v < TDM_VIEWS; v++)
        TDM_REQUIRE(!view_is_on(tr, v, m) || tr->batch->view[v].n == n, TDM_E_SHAPE,
                    "the batch has %lld rows of view %s and %lld of another of its modality",
                    (long long)tr->batch->view[v].n, tdm_view_of((tdm_view)v)->label, (long long)n);
    TDM_REQUIRE(n <= tr->b, TDM_E_SHAPE, "the batch has %lld %s rows in %lld samples", (long long)n,
                tdm_modality_name(m), (long long)tr->b);
    return TDM_OK;
}

static int64_t sample_of(const tdm_batch_view *view, int64_t row)
{
    return view->member ? view->member[row] : row;
}

/* The first batch tells how many words of class bits there are; temporaries may depend on it. */
static tdm_status grow_classes(tdm_trainer *tr)
{
    const int64_t words = tr->batch->class_words;
    if (words == tr->class_words) return TDM_OK;
    TDM_REQUIRE(tr->class_words == 0, TDM_E_SHAPE,
                "a batch has %lld words of class bits, those before had %lld", (long long)words,
                (long long)tr->class_words);
    tr->class_words = words;
    TDM_TRY(TDM_ALLOC(tr->B * words, &tr->all_classes));
    for (int m = 0; m < TDM_MODALITIES; m++) TDM_TRY(TDM_ALLOC(tr->B * words, &tr->row_classes[m]));
    return reserve_scratch(tr);
}

/* Identity and classes of each row, from those of the samples. */
static void fill_side(tdm_trainer *tr, tdm_modality m)
{
    const int ranks = tdm_comm_size(tr->comm), rank = tdm_comm_rank(tr->comm);
    const size_t words = (size_t)tr->class_words;
    tdm_loss_rows *side = &tr->side[m];
    *side = (tdm_loss_rows){.sample = tr->row_sample[m],
                            .identity = tr->row_identity[m],
                            .classes = words ? tr->row_classes[m] : NULL,
                            .class_words = tr->class_words};
    for (int i = 0; i < ranks; i++) {
        if (i == rank) side->row0 = side->B;
        side->B += tr->rows[m][i];
    }
    side->b = tr->rows[m][rank];
    for (int64_t i = 0; i < side->B; i++) {
        const int64_t sample = tr->row_sample[m][i];
        tr->row_identity[m][i] = tr->all_identity[sample];
        if (words)
            memcpy(tr->row_classes[m] + (size_t)i * words, tr->all_classes + (size_t)sample * words,
                   words * sizeof(uint64_t));
    }
}

tdm_status local_rows(tdm_trainer *tr)
{
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const int v = any_view(tr, (tdm_modality)m);
        const tdm_batch_view *view = v < 0 ? NULL : &tr->batch->view[v];
        const int64_t n = view ? view->n : 0;
        TDM_TRY(check_views(tr, (tdm_modality)m, n));
        const char *why = tdm_model_whole_batch(tr->model, (tdm_modality)m);
        TDM_REQUIRE(!view || n == tr->b || !why, TDM_E_DATA, "%lld samples of the batch have no %s, but %s",
                    (long long)(tr->b - n), tdm_modality_name((tdm_modality)m), why);
        tr->side[m].b = n;
        for (int64_t i = 0; i < n; i++) tr->row_key[m][i] = tr->batch->sample[sample_of(view, i)];
    }
    return grow_classes(tr);
}

void exchange_rows(tdm_trainer *tr)
{
    meet(tr);
    const double start_s = tdm_now_s();
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const int v = any_view(tr, (tdm_modality)m);
        int64_t *own = tr->own_rows;
        tdm_comm_gather_i64(tr->comm, tr->side[m].b, tr->rows[m]);
        for (int64_t i = 0; i < tr->side[m].b; i++) own[i] = tr->row0 + sample_of(&tr->batch->view[v], i);
        tdm_comm_gather_rows(tr->comm, own, tr->row_sample[m], tr->rows[m], sizeof(int64_t));
    }
    tdm_comm_gather_rows(tr->comm, tr->batch->identity, tr->all_identity, tr->sample_rows, sizeof(int64_t));
    if (tr->class_words)
        tdm_comm_gather_rows(tr->comm, tr->batch->class_bits, tr->all_classes, tr->sample_rows,
                             tr->class_words * (int64_t)sizeof(uint64_t));
    tr->time.transfer_s += tdm_now_s() - start_s;
    for (int m = 0; m < TDM_MODALITIES; m++) fill_side(tr, (tdm_modality)m);
}

/* ---- Features ---- */

void exchange_features(tdm_trainer *tr)
{
    for (int v = 0; v < TDM_VIEWS; v++) {
        view_features *f = &tr->view[v];
        const tdm_loss_rows *side = &tr->side[tdm_view_of((tdm_view)v)->modality];
        if (!(f->needs & (TDM_NEED_ALL | TDM_NEED_TARGET))) continue;
        f->unit = f->all + side->row0 * tr->d;
        tdm_l2norm_forward(tr->ops, side->b, tr->d, f->raw, f->unit, f->norm);
        tdm_clear(tr->ops, tr->B * tr->d, f->dall);
    }
    const double start_s = tdm_now_s();
    for (int v = 0; v < TDM_VIEWS; v++) {
        view_features *f = &tr->view[v];
        const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
        if (f->needs & (TDM_NEED_ALL | TDM_NEED_TARGET))
            tdm_comm_gather_rows(tr->comm, f->unit, f->all, tr->rows[m], tr->d * (int64_t)sizeof(float));
    }
    tr->time.transfer_s += tdm_now_s() - start_s;
    for (int v = 0; v < TDM_VIEWS; v++) {
        view_features *f = &tr->view[v];
        const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
        if (!f->target) continue;
        /* forward_targets has left its features in dunit */
        float *norm = tr->view[v].draw; /* [b] at least, cleared below */
        tdm_l2norm_forward(tr->ops, tr->side[m].b, tr->d, f->dunit, f->dunit, norm);
        gather(tr, m, tr->d, f->dunit, f->target);
    }
}

void scatter_gradients(tdm_trainer *tr)
{
    for (int v = 0; v < TDM_VIEWS; v++) {
        view_features *f = &tr->view[v];
        const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
        const float *dunit = f->dunit ? f->dunit : f->dall; /* of a single rank */
        if (!(f->needs & TDM_NEED_ALL) || !tdm_model_trains(tr->model, m)) continue;
        const double start_s = tdm_now_s();
        if (f->dunit) tdm_comm_reduce_scatter_rows(tr->comm, f->dall, f->dunit, tr->rows[m], tr->d);
        tr->time.transfer_s += tdm_now_s() - start_s;
        tdm_l2norm_backward_add(tr->ops, tr->side[m].b, tr->d, f->unit, f->norm, dunit, f->draw);
    }
}

/* ---- Objectives ---- */

static tdm_loss_call make_call(tdm_trainer *tr, int64_t index)
{
    const tdm_loss_instance *one = &tr->losses->loss[index];
    tdm_loss_call call = {.options = one->options,
                          .state = one->state,
                          .nn = &tr->losses->nn,
                          .weight = tdm_loss_weight(tr->config, one->type, ramp_step(tr)),
                          .d = tr->d,
                          .step = ramp_step(tr),
                          .total_steps = (int64_t)tr->clock.end,
                          .seed = (uint64_t)tr->config->seed,
                          .logit_scale = *tdm_model_logit_scale(tr->model),
                          .normalizer = tr->normalizer[index],
                          .exchange = one->type->local ? NULL : &tr->exchange,
                          .term = tr->term + one->first_term,
                          .dlogit_scale = &tr->dlogit_scale};
    for (int m = 0; m < TDM_MODALITIES; m++) call.rows[m] = tr->side[m];
    return call;
}

/* Local rows of a view, from `row` on. */
static void local_view(const tdm_trainer *tr, int v, uint8_t needs, int64_t row, tdm_loss_view *view)
{
    const view_features *f = &tr->view[v];
    const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
    view->sample_keys = tr->row_key[m] + row;
    if (!(needs & TDM_NEED_RAW)) return;
    view->raw = f->raw + row * tr->d;
    view->draw = f->draw + row * tr->d;
}

static void global_views(const tdm_trainer *tr, const tdm_loss_instance *one, tdm_loss_call *call)
{
    for (int v = 0; v < TDM_VIEWS; v++) {
        const view_features *f = &tr->view[v];
        const uint8_t needs = one->needs.view[v];
        if (!needs) continue;
        local_view(tr, v, needs, 0, &call->view[v]);
        if (needs & TDM_NEED_ALL) {
            call->view[v].all = f->all;
            call->view[v].dall = f->dall;
        }
        if (needs & TDM_NEED_TARGET) call->view[v].target = f->target ? f->target : f->all;
    }
}

tdm_status run_global_losses(tdm_trainer *tr)
{
    for (int64_t i = 0; i < tr->losses->count; i++) {
        const tdm_loss_instance *one = &tr->losses->loss[i];
        if (one->type->local) continue;
        tdm_loss_call call = make_call(tr, i);
        global_views(tr, one, &call);
        tdm_scratch_rewind(&tr->losses->scratch, 0);
        TDM_TRY(one->type->step(&call));
    }
    return TDM_OK;
}

static bool reads_tokens(const tdm_loss_instance *one)
{
    for (int v = 0; v < TDM_VIEWS; v++)
        if (one->needs.view[v] & TDM_NEED_TOKENS) return true;
    return false;
}

tdm_status run_local_losses(tdm_trainer *tr, const piece *p, bool tokens)
{
    for (int64_t i = 0; i < tr->losses->count; i++) {
        const tdm_loss_instance *one = &tr->losses->loss[i];
        if (!one->type->local || reads_tokens(one) != tokens) continue;
        tdm_loss_call call = make_call(tr, i);
        for (int v = 0; v < TDM_VIEWS; v++) {
            const uint8_t needs = one->needs.view[v];
            if (!needs) continue;
            const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
            const tdm_span rows = piece_rows(tr, p, v);
            call.rows[m].row0 = tr->side[m].row0 + rows.begin;
            call.rows[m].b = rows.end - rows.begin;
            local_view(tr, v, needs, rows.begin, &call.view[v]);
            if (needs & TDM_NEED_TOKENS) piece_tokens(tr, p, v, &call.view[v]);
        }
        tdm_scratch_rewind(&tr->losses->scratch, 0);
        TDM_TRY(one->type->step(&call));
    }
    return TDM_OK;
}

tdm_status exchange_normalizers(tdm_trainer *tr)
{
    bool any = false;
    for (int64_t i = 0; i < tr->losses->count; i++) {
        const tdm_loss_instance *one = &tr->losses->loss[i];
        tr->normalizer[i] = 0.0;
        if (!one->type->normalizer) continue;
        tdm_loss_call call = make_call(tr, i);
        for (int v = 0; v < TDM_VIEWS; v++) {
            const tdm_batch_view *source = &tr->batch->view[v];
            if (!one->needs.view[v]) continue;
            local_view(tr, v, 0, 0, &call.view[v]);
            call.view[v].seq = source->text.seq;
            call.view[v].token = source->text.token;
            call.view[v].predict = source->target;
        }
        tr->normalizer[i] = one->type->normalizer(&call);
        any = true;
    }
    if (any) sum_values(tr, tr->normalizer, tr->losses->count);
    return TDM_OK;
}
