#include "tandem/session.h"

#include "context.h"
#include "feed.h"

#include <stdlib.h>
#include <string.h>

/* ---- Configuration ---- */

/* What the user says, over the present values. */
static tdm_status load_wishes(tdm_config *config, const char *file, const tdm_strings *set)
{
    if (file[0]) TDM_TRY(tdm_config_load(config, file));
    for (int64_t i = 0; set && i < set->count; i++) TDM_TRY(tdm_config_set(config, set->item[i]));
    return TDM_OK;
}

static tdm_status check_sums(const tdm_config *config)
{
    TDM_REQUIRE(
        config->train.reduce != TDM_REDUCE_MPI || config->train.wire == TDM_WIRE_F32, TDM_E_CONFIG,
        "train.reduce = \"mpi\" does not go with train.wire = \"bf16\": MPI has no sum of bf16; choose "
        "\"exchange\", or f32");
    return TDM_OK;
}

tdm_status tdm_session_configure(tdm_session *s, const char *file, const tdm_strings *set)
{
    TDM_TRY(tdm_config_init(&s->config));
    TDM_TRY(load_wishes(&s->config, file, set));
    if (s->config.model.pretrained[0]) {
        /* again, with the pretrained model's definition in place of the defaults */
        TDM_TRY(tdm_checkpoint_find(s->config.model.pretrained, true, s->pretrained, sizeof(s->pretrained)));
        tdm_config_destroy(&s->config);
        TDM_TRY(tdm_config_init(&s->config));
        TDM_TRY(tdm_pretrained_config(s->pretrained, &s->config));
        TDM_TRY(load_wishes(&s->config, file, set));
    }
    TDM_TRY(tdm_loss_settle(&s->config));
    TDM_TRY(tdm_config_check(&s->config));
    TDM_TRY(check_sums(&s->config));
    TDM_TRY(tdm_views_check(&s->config));
    return tdm_model_check(&s->config);
}

/* ---- Data ---- */

static const char *tokenizer_name(const tdm_session *s)
{
    return s->config.model.tokenizer[0] ? s->config.model.tokenizer : s->pretrained;
}

tdm_status tdm_session_open_data(tdm_session *s)
{
    const tdm_config *c = &s->config;
    TDM_REQUIRE(c->data.dir[0], TDM_E_CONFIG, "data.dir is not set");
    tdm_tower_reads reads;
    int64_t width;
    TDM_TRY(tdm_model_reads(c, TDM_TEXT, &reads, &width));
    TDM_REQUIRE(tokenizer_name(s)[0] || reads != TDM_READS_TOKENS, TDM_E_CONFIG,
                "model.tokenizer is not set");
    if (c->model.tokenizer[0] || reads == TDM_READS_TOKENS)
        TDM_TRY(feed_open_tokenizer(c, s->pretrained, &s->tokenizer));
    TDM_TRY(context_settle(&s->config, s->tokenizer));
    TDM_TRY(tdm_session_open_split(s, c->data.dir, c->data.split, &s->dataset));
    return tdm_dataset_take_share(s->dataset, c);
}

tdm_status tdm_session_open_split(const tdm_session *s, const char *dir, const char *split,
                                  tdm_dataset **dataset)
{
    return feed_open_data(dir, split, s->tokenizer, tokenizer_name(s), dataset);
}

tdm_status tdm_session_create_loader(tdm_session *s)
{
    tdm_loader_destroy(&s->loader);
    TDM_TRY(feed_create_loader(&s->config, s->comm, s->dataset, s->tokenizer, s->from, &s->loader));
    s->steps_per_epoch = tdm_loader_steps_per_epoch(s->loader);
    if (s->total_steps == 0)
        s->total_steps =
            s->config.train.steps > 0 ? s->config.train.steps : s->config.train.epochs * s->steps_per_epoch;
    return TDM_OK;
}

/* ---- Where the run stands ---- */

static tdm_place place_at(const tdm_session *s, int64_t step)
{
    const int64_t samples = tdm_dataset_samples(s->dataset, (tdm_sample)s->config.data.sample);
    return tdm_place_after(s->from, samples, s->config.train.batch, step - s->first_step);
}

tdm_place tdm_session_place(const tdm_session *s)
{
    return place_at(s, s->optim.step);
}

double tdm_session_epoch(const tdm_session *s, int64_t step)
{
    const tdm_place place = place_at(s, step);
    const double per_epoch = (double)s->steps_per_epoch;
    const double steps =
        (double)place.epoch * per_epoch + (double)place.sample / (double)s->config.train.batch;
    return steps / per_epoch;
}

const char *tdm_session_precision(const tdm_session *s)
{
    return tdm_dtype_name(tdm_ops_dtype(s->ops));
}

tdm_status tdm_session_state(const tdm_session *s, tdm_train_state *state)
{
    state->step = s->optim.step;
    state->has_facts = true;
    state->place = tdm_session_place(s);
    state->samples_per_epoch = tdm_dataset_samples(s->dataset, (tdm_sample)s->config.data.sample);
    state->samples_seen = s->samples_before + (s->optim.step - s->first_step) * s->config.train.batch;
    state->clock = s->clock.rate > 0.0 ? s->clock : (tdm_clock){.rate = 1.0};
    snprintf(state->identity_digest, sizeof state->identity_digest, "%s", s->identity_digest);
    snprintf(state->precision, sizeof state->precision, "%s", tdm_session_precision(s));
    return tdm_dataset_digest(s->dataset, state->data_digest);
}

/* ---- Model ---- */

/* The distinct identities of the training data, ascending. *list is the caller's. */
static tdm_status list_identities(const tdm_session *s, int64_t **list, int64_t *count)
{
    const int64_t rows = s->dataset ? tdm_dataset_images(s->dataset) : s->config.train.batch;
    int64_t n = 0;
    TDM_TRY(TDM_ALLOC(rows, list));
    for (int64_t i = 0; i < rows; i++)
        if (!s->dataset || tdm_dataset_is_taken(s->dataset, i))
            (*list)[n++] = s->dataset ? tdm_dataset_identity(s->dataset, i) : i;
    qsort(*list, (size_t)n, sizeof(**list), tdm_compare_i64);
    *count = 0;
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || (*list)[i] != (*list)[*count - 1]) (*list)[(*count)++] = (*list)[i];
    return TDM_OK;
}

/* An objective's rows for the identities would be others' rows with other identities of the same number. */
static tdm_status digest_identities(tdm_session *s, const int64_t *identity, int64_t identities)
{
    size_t count;
    const tdm_loss *const *loss = tdm_loss_table(&count);
    for (size_t i = 0; i < count; i++)
        if (loss[i]->by_identity && tdm_loss_is_on(&s->config, loss[i]))
            return tdm_sha256_buffer(identity, (size_t)identities * sizeof *identity, s->identity_digest);
    return TDM_OK;
}

static tdm_status create_losses(tdm_session *s)
{
    const int ranks = tdm_comm_size(s->comm);
    const tdm_draw draw = tdm_step_draw(&s->config);
    const tdm_nn nn = {.ops = s->ops, .params = &s->params, .train = true};
    int64_t *identity = NULL, identities = 0;
    tdm_status status = list_identities(s, &identity, &identities);
    const tdm_loss_setup setup = {
        .nn = &nn,
        .d = tdm_model_embed_dim(s->model),
        .rows = (draw.samples + ranks - 1) / ranks,
        .samples = draw.samples,
        .unpaired = draw.unpaired,
        .own_identities = s->dataset && !tdm_dataset_has_identity(s->dataset),
        .identities = identities,
        .identity = identity,
        .classes = s->dataset ? tdm_dataset_class_count(s->dataset) : s->classes,
        .vocab_size = s->config.model.text.vocab_size,
        .tokens = {tdm_model_most_tokens(s->model, TDM_IMAGE), tdm_model_most_tokens(s->model, TDM_TEXT)}};
    if (status == TDM_OK) status = digest_identities(s, identity, identities);
    if (status == TDM_OK) status = tdm_losses_create(&s->config, &setup, &s->losses);
    tdm_free(identity);
    return status;
}

/* Collective under "auto": f32 on every rank where one chooses it. */
static tdm_status choose_precision(const tdm_session *s, tdm_dtype *dtype)
{
    const char *wanted = s->config.train.precision;
    const tdm_status status = tdm_ops_resolve_precision(wanted, dtype);
    if (strcmp(wanted, "auto") != 0) return status;
    if (tdm_comm_any(s->comm, status == TDM_OK && *dtype == TDM_F32)) *dtype = TDM_F32;
    return status;
}

tdm_status tdm_session_create_model(tdm_session *s)
{
    const tdm_config *c = &s->config;
    const int64_t rows = tdm_trainer_rows(c, tdm_comm_size(s->comm));
    const int threads = c->train.threads > 0 ? (int)c->train.threads : tdm_default_threads();
    tdm_dtype dtype;
    TDM_TRY(choose_precision(s, &dtype));              /* first: all ranks come here */
    TDM_TRY(context_settle(&s->config, s->tokenizer)); /* without data nothing has done it */
    TDM_TRY(tdm_ops_create(dtype, threads, &s->ops));
    TDM_TRY(tdm_model_create(c, s->ops, true, tdm_max_i64(s->max_rows, rows), &s->params, &s->model));
    TDM_TRY(create_losses(s));
    TDM_TRY(tdm_optim_groups(c, &s->params));
    TDM_TRY(tdm_params_allocate(&s->params, true));
    tdm_params_init(&s->params, (uint64_t)c->seed);
    TDM_TRY(context_start(c, s->tokenizer, &s->params));
    return tdm_trainer_optim(s->comm, c, &s->params, &s->optim);
}

tdm_status tdm_session_read_pretrained(tdm_session *s)
{
    bool has_context;
    TDM_TRY(tdm_pretrained_holds(s->pretrained, TDM_CONTEXT_ROW, &has_context));
    TDM_TRY(tdm_pretrained_read(s->pretrained, &s->config, &s->params));
    if (has_context || !s->config.model.text.context_words[0]) return TDM_OK;
    tdm_log(TDM_LOG_INFO, "%s starts from \"%s\"", TDM_CONTEXT_ROW, s->config.model.text.context_words);
    return context_start(&s->config, s->tokenizer, &s->params);
}

tdm_status tdm_session_load(tdm_session *s)
{
    TDM_TRY(tdm_model_load(s->model));
    return tdm_losses_load(s->losses, false);
}

tdm_status tdm_session_start(tdm_session *s)
{
    TDM_TRY(tdm_trainer_create(s->comm, s->ops, &s->config, &s->params, s->model, s->losses, &s->optim,
                               s->total_steps, &s->trainer));
    if (s->clock.rate > 0.0) tdm_trainer_set_clock(s->trainer, &s->clock);
    return TDM_OK;
}

void tdm_session_destroy(tdm_session *s)
{
    tdm_trainer_destroy(&s->trainer);
    tdm_loader_destroy(&s->loader);
    tdm_optim_destroy(&s->optim);
    tdm_losses_destroy(&s->losses);
    tdm_model_destroy(&s->model);
    tdm_params_destroy(&s->params);
    tdm_ops_destroy(&s->ops);
    tdm_dataset_close(&s->dataset);
    tdm_tokenizer_destroy(&s->tokenizer);
    tdm_config_destroy(&s->config);
}
