/* Where the learned context starts: as the token embeddings of words (CoOp, Zhou et al., arXiv 2109.01134). */
#include "context.h"

#include "tandem/model.h"

#include <string.h>

/* The words' tokens without start and end: *token is the caller's. */
static tdm_status read_words(const tdm_config *config, const tdm_tokenizer *tokenizer, int32_t **token,
                             int64_t *count)
{
    const int64_t most = config->model.text.context_length;
    bool cut = false;
    TDM_TRY(TDM_ALLOC(most, token));
    TDM_TRY(tdm_tokenizer_encode(tokenizer, config->model.text.context_words, most, *token, count, &cut));
    *count -= 2;
    TDM_REQUIRE(*count > 0 && !cut, TDM_E_CONFIG,
                "model.text.context_words has %s tokens than a context of %lld can hold",
                cut ? "more" : "fewer", (long long)most);
    memmove(*token, *token + 1, sizeof(**token) * (size_t)*count);
    return TDM_OK;
}

static tdm_status settle(tdm_config *config, int64_t words)
{
    tdm_tower_config *text = &config->model.text;
    TDM_REQUIRE(
        text->context_tokens == 0 || text->context_tokens == words, TDM_E_CONFIG,
        "model.text.context_tokens = %lld, but model.text.context_words has %lld tokens; 0 counts them",
        (long long)text->context_tokens, (long long)words);
    text->context_tokens = words;
    return tdm_model_check(config);
}

tdm_status context_settle(tdm_config *config, const tdm_tokenizer *tokenizer)
{
    int32_t *token = NULL;
    int64_t count = 0;
    if (!config->model.text.context_words[0]) return TDM_OK;
    TDM_REQUIRE(tokenizer || config->model.text.context_tokens > 0, TDM_E_CONFIG,
                "model.text.context_words cannot be counted without a tokenizer: set "
                "model.text.context_tokens to their number of tokens");
    if (!tokenizer) return TDM_OK;
    tdm_status status = read_words(config, tokenizer, &token, &count);
    tdm_free(token);
    return status == TDM_OK ? settle(config, count) : status;
}

tdm_status context_start(const tdm_config *config, const tdm_tokenizer *tokenizer, const tdm_params *params)
{
    const tdm_param *context = tdm_params_find(params, TDM_CONTEXT_ROW);
    const tdm_param *table = tdm_params_find(params, "token_embedding.weight");
    int32_t *token = NULL;
    int64_t count = 0;
    if (!config->model.text.context_words[0] || !tokenizer || !context || !table) return TDM_OK;
    const tdm_status status = read_words(config, tokenizer, &token, &count);
    const size_t bytes = sizeof(float) * (size_t)context->shape[1];
    for (int64_t i = 0; status == TDM_OK && i < context->shape[0]; i++)
        memcpy(params->weight + context->offset + i * context->shape[1],
               params->weight + table->offset + token[i] * table->shape[1], bytes);
    tdm_free(token);
    return status;
}
