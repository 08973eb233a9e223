/* Private to src/train: the data of a run, from its configuration: tokenizer, split, batches. */
#ifndef TANDEM_TRAIN_FEED_H
#define TANDEM_TRAIN_FEED_H

#include "tandem/session.h"

/* model.tokenizer; where it is empty, that of the checkpoint `pretrained`. Its vocabulary must be the
 * model's. */
TDM_CHECKED tdm_status feed_open_tokenizer(const tdm_config *config, const char *pretrained,
                                           tdm_tokenizer **tokenizer);
/* A split; it must not have been packed with another tokenizer. `name`: of the tokenizer, for the message. */
TDM_CHECKED tdm_status feed_open_data(const char *dir, const char *split, const tdm_tokenizer *tokenizer,
                                      const char *name, tdm_dataset **dataset);
/* This rank's batches from a place on: see tdm_loader_create. */
TDM_CHECKED tdm_status feed_create_loader(const tdm_config *config, const tdm_comm *comm,
                                          tdm_dataset *dataset, const tdm_tokenizer *tokenizer,
                                          tdm_place from, tdm_loader **loader);

#endif
