#include "tandem/session.h"

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
    return tdm_session_open_split(s, c->data.dir, c->data.split, &s->dataset);
}

tdm_status tdm_session_open_split(const tdm_session *s, const char *dir, const char *split,
                                  tdm_dataset **dataset)
{
    return feed_open_data(dir, split, s->tokenizer, tokenizer_name(s), dataset);
}

tdm_status tdm_session_create_loader(tdm_session *s, int64_t step)
{
    tdm_loader_destroy(&s->loader);
    TDM_TRY(feed_create_loader(&s->config, s->comm, s->dataset, s->tokenizer, step, &s->loader));
    s->steps_per_epoch = tdm_loader_steps_per_epoch(s->loader);
    s->total_steps =
        s->config.train.steps > 0 ? s->config.train.steps : s->config.train.epochs * s->steps_per_epoch;
    return TDM_OK;
}

/* ---- Model ---- */

static int compare_i64(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The distinct identities of the training data, ascending. *list is the caller's. */
static tdm_status list_identities(const tdm_session *s, int64_t **list, int64_t *count)
{
    const int64_t n = s->dataset ? tdm_dataset_images(s->dataset) : s->config.train.batch;
    TDM_TRY(TDM_ALLOC(n, list));
    for (int64_t i = 0; i < n; i++) (*list)[i] = s->dataset ? tdm_dataset_identity(s->dataset, i) : i;
    qsort(*list, (size_t)n, sizeof(**list), compare_i64);
    *count = 0;
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || (*list)[i] != (*list)[*count - 1]) (*list)[(*count)++] = (*list)[i];
    return TDM_OK;
}

static tdm_status create_losses(tdm_session *s)
{
    const int ranks = tdm_comm_size(s->comm);
    const tdm_nn nn = {.ops = s->ops, .params = &s->params, .train = true};
    int64_t *identity = NULL, identities = 0;
    tdm_status status = list_identities(s, &identity, &identities);
    const tdm_loss_setup setup = {
        .nn = &nn,
        .d = tdm_model_embed_dim(s->model),
        .rows = (s->config.train.batch + ranks - 1) / ranks,
        .identities = identities,
        .identity = identity,
        .classes = s->dataset ? tdm_dataset_class_count(s->dataset) : 0,
        .vocab_size = s->config.model.text.vocab_size,
        .tokens = {tdm_model_most_tokens(s->model, TDM_IMAGE), tdm_model_most_tokens(s->model, TDM_TEXT)}};
    if (status == TDM_OK) status = tdm_losses_create(&s->config, &setup, &s->losses);
    tdm_free(identity);
    return status;
}

tdm_status tdm_session_create_model(tdm_session *s)
{
    const tdm_config *c = &s->config;
    const int64_t rows = tdm_trainer_rows(c, tdm_comm_size(s->comm));
    const int threads = c->train.threads > 0 ? (int)c->train.threads : tdm_default_threads();
    tdm_dtype dtype;
    TDM_TRY(tdm_ops_resolve_precision(c->train.precision, &dtype));
    TDM_TRY(tdm_ops_create(dtype, threads, &s->ops));
    TDM_TRY(tdm_model_create(c, s->ops, true, tdm_max_i64(s->max_rows, rows), &s->params, &s->model));
    TDM_TRY(create_losses(s));
    TDM_TRY(tdm_optim_groups(c, &s->params));
    TDM_TRY(tdm_params_allocate(&s->params, true));
    tdm_params_init(&s->params, (uint64_t)c->seed);
    return tdm_trainer_optim(s->comm, c, &s->params, &s->optim);
}

tdm_status tdm_session_load(tdm_session *s)
{
    TDM_TRY(tdm_model_load(s->model));
    return tdm_losses_load(s->losses, false);
}

tdm_status tdm_session_start(tdm_session *s)
{
    return tdm_trainer_create(s->comm, s->ops, &s->config, &s->params, s->model, s->losses, &s->optim,
                              s->total_steps, &s->trainer);
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
