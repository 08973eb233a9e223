/* A checkpoint of a tiny model with random weights, and its tokenizer. */
#ifndef TANDEM_TESTS_TINY_MODEL_H
#define TANDEM_TESTS_TINY_MODEL_H

#include "tandem/checkpoint.h"

static const char tiny_merges[] = "#version: 0.2\nr e\nre d</w>\nd i\n";
static const char tiny_model_text[] =
    "model: { name = \"tiny\"; embed_dim = 20; activation = \"gelu\"; tokenizer = \"memory\";"
    "image: { height_px = 32; width_px = 32; patch_px = 8; width = 32; layers = 1; heads = 2; };"
    "text: { context_length = 24; vocab_size = 517; width = 32; layers = 1; heads = 2; }; };";

/* Of step 7. */
static inline tdm_status tiny_model_write(const char *path, uint64_t seed)
{
    tdm_config config = {0};
    tdm_tokenizer *tokenizer = NULL;
    tdm_ops *ops = NULL;
    tdm_params params = {0};
    tdm_model *model = NULL;
    tdm_status status = tdm_make_dirs(path);
    if (status == TDM_OK) status = tdm_config_init(&config);
    if (status == TDM_OK) status = tdm_config_load_text(&config, "model", tiny_model_text);
    if (status == TDM_OK)
        status = tdm_tokenizer_open_memory("merges", tiny_merges, sizeof tiny_merges - 1, &tokenizer);
    if (status == TDM_OK) status = tdm_ops_create(TDM_F32, 1, &ops);
    if (status == TDM_OK) status = tdm_model_create(&config, ops, false, 16, &params, &model);
    if (status == TDM_OK) status = tdm_params_allocate(&params, false);
    if (status == TDM_OK) tdm_params_init(&params, seed);
    if (status == TDM_OK) status = tdm_checkpoint_write_model(path, &config, &params, tokenizer, 7);
    tdm_model_destroy(&model);
    tdm_params_destroy(&params);
    tdm_ops_destroy(&ops);
    tdm_tokenizer_destroy(&tokenizer);
    tdm_config_destroy(&config);
    return status;
}

#endif
