/* What --dry-run says about memory. */
#ifndef TANDEM_APP_MEMORY_PLAN_H
#define TANDEM_APP_MEMORY_PLAN_H

#include "tandem/tandem.h"

/* Logs what a rank needs, with each way to keep activations (train.recompute). The model is loaded; nothing
 * else may use the data set, whose first captions are read for their length. Not collective. */
TDM_CHECKED tdm_status memory_plan_show(const tdm_config *config, int ranks, const tdm_model *model,
                                        tdm_dataset *dataset, const tdm_tokenizer *tokenizer);

#endif
