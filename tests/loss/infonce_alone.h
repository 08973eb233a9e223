/* InfoNCE of a whole batch of unit features on this rank alone, as a reference for the distributed step. */
#ifndef TANDEM_TESTS_INFONCE_ALONE_H
#define TANDEM_TESTS_INFONCE_ALONE_H

#include "tandem/loss.h"

/* image, text [B][d] unit norm; dimage, dtext [B][d] and *dlogit_scale are added to. Returns the loss. Complete pairs
 * only. */
static inline tdm_status infonce_alone(tdm_ops *ops, const tdm_config *config, int64_t B, int64_t d,
                                       float logit_scale, const int64_t *identity, const float *image,
                                       const float *text, float *dimage, float *dtext, double *dlogit_scale,
                                       double *value)
{
    enum { MOST = 256 };
    static tdm_scratch scratch;
    const tdm_loss *loss = tdm_loss_find("infonce");
    int64_t sample[MOST];
    double term[TDM_LOSS_MAX_TERMS] = {0};
    TDM_REQUIRE(B <= MOST, TDM_E_SHAPE, "a reference of at most %d rows", MOST);
    for (int64_t i = 0; i < B; i++) sample[i] = i;
    if (!scratch.base) TDM_TRY(tdm_scratch_create(4 << 20, &scratch));
    tdm_scratch_rewind(&scratch, 0);
    const tdm_nn nn = {.ops = ops, .scratch = &scratch, .train = true};
    const tdm_loss_rows rows = {.B = B, .b = B, .sample = sample, .identity = identity};
    tdm_loss_call call = {.options = tdm_config_group(config, "loss.infonce"),
                          .nn = &nn,
                          .weight = 1.0,
                          .d = d,
                          .logit_scale = logit_scale,
                          .rows = {rows, rows},
                          .term = term,
                          .dlogit_scale = dlogit_scale};
    tdm_config own = *config; /* borrows what it points to */
    own.train.batch = B;
    const tdm_loss_setup setup = {.nn = &nn, .config = &own};
    TDM_TRY(loss->create(call.options, &setup, &call.state));
    call.view[TDM_VIEW_IMAGE_AUG_1] = (tdm_loss_view){.all = image, .dall = dimage};
    call.view[TDM_VIEW_TEXT_PLAIN] = (tdm_loss_view){.all = text, .dall = dtext};
    const tdm_status status = loss->step(&call);
    loss->destroy(&call.state);
    *value = term[0];
    return status;
}

#endif
