#include "bundle.h"

#include <string.h>

static tdm_status create_model(bundle *b, const bundle_options *options)
{
    tdm_dtype dtype;
    const char *precision = options->precision[0] != '\0' ? options->precision : b->config.train.precision;
    TDM_TRY(tdm_ops_resolve_precision(precision, &dtype));
    const int threads = options->threads > 0 ? (int)options->threads : tdm_default_threads();
    TDM_TRY(tdm_ops_create(dtype, threads, &b->ops));
    TDM_TRY(tdm_model_create(&b->config, b->ops, false, options->batch, &b->params, &b->model));
    TDM_TRY(tdm_params_allocate(&b->params, false));
    TDM_TRY(tdm_checkpoint_read_model(b->dir, &b->params));
    return tdm_model_load(b->model);
}

static tdm_status open_local(const bundle_options *options, bool with_digest, bundle *b)
{
    TDM_TRY(tdm_checkpoint_find(options->model, true, b->dir, sizeof b->dir));
    TDM_REQUIRE(b->dir[0] != '\0', TDM_E_IO, "%s: holds no checkpoint", options->model);
    TDM_TRY(tdm_config_init(&b->config));
    TDM_TRY(tdm_checkpoint_read_config(b->dir, &b->config, &b->tokenizer, &b->step));
    TDM_TRY(create_model(b, options));
    if (!with_digest) return TDM_OK;
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, b->dir, "model.h5"));
    return tdm_sha256_file(path, b->digest);
}

tdm_status bundle_open(tdm_comm *comm, const bundle_options *options, bool with_digest, bundle *b)
{
    return tdm_comm_agree(comm, open_local(options, with_digest, b));
}

void bundle_show(const tdm_comm *comm, const bundle *b)
{
    const int ranks = tdm_comm_size(comm), threads = tdm_ops_threads(b->ops);
    tdm_log(TDM_LOG_INFO, "model: %s, step %lld, %s; %d rank%s of %d thread%s, %s", b->dir,
            (long long)b->step, tdm_ops_dtype(b->ops) == TDM_BF16 ? "bf16" : "f32", ranks,
            ranks == 1 ? "" : "s", threads, threads == 1 ? "" : "s", tdm_ops_isa(b->ops));
}

void bundle_close(bundle *b)
{
    tdm_model_destroy(&b->model);
    tdm_params_destroy(&b->params);
    tdm_ops_destroy(&b->ops);
    tdm_tokenizer_destroy(&b->tokenizer);
    tdm_config_destroy(&b->config);
}

tdm_status bundle_open_data(const bundle *b, const char *dir, const char *split, tdm_dataset **dataset)
{
    TDM_TRY(tdm_dataset_open(dir, split, dataset));
    const char *digest = tdm_dataset_tokenizer_digest(*dataset);
    TDM_REQUIRE(digest[0] == '\0' || strcmp(digest, tdm_tokenizer_digest(b->tokenizer)) == 0, TDM_E_DATA,
                "%s: split \"%s\" was packed with another tokenizer (%.12s…) than the model's (%.12s…)", dir,
                split, digest, tdm_tokenizer_digest(b->tokenizer));
    return TDM_OK;
}
