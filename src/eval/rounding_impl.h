/* Private to src/eval: towers in int8, and what the functions of an opened checkpoint share with that. */
#ifndef TANDEM_ROUNDING_IMPL_H
#define TANDEM_ROUNDING_IMPL_H

#include "tandem/inference.h"

/* The towers that embedding the split needs. */
TDM_CHECKED tdm_status inference_need_for(const tdm_inference *inference, const tdm_dataset *dataset,
                                          bool with_captions);
/* At most a batch, by the tower as it is; feature[n][embed_dim] of unit norm. */
TDM_CHECKED tdm_status inference_embed_rows(const tdm_inference *inference, tdm_modality modality,
                                            const tdm_tower_input *input, float *feature);
/* In int8, the first time: rounds the tower, and says what that does to the first of these rows. */
TDM_CHECKED tdm_status rounding_by_rows(const tdm_inference *inference, tdm_modality modality,
                                        const tdm_tower_input *input);

#endif
