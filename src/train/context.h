/* Private to src/train: the learned context of the text tower (model.text.context_words, context_tokens). */
#ifndef TANDEM_TRAIN_CONTEXT_H
#define TANDEM_TRAIN_CONTEXT_H

#include "tandem/config.h"
#include "tandem/params.h"
#include "tandem/tokenizer.h"

/* model.text.context_tokens by the words, where there are any. tokenizer NULL: the words cannot be counted. */
TDM_CHECKED tdm_status context_settle(tdm_config *config, const tdm_tokenizer *tokenizer);
/* The words' token embeddings, as they are now, become the context. Nothing happens without words. */
TDM_CHECKED tdm_status context_start(const tdm_config *config, const tdm_tokenizer *tokenizer,
                                     const tdm_params *params);

#endif
