/* Towers that read cached features, such as `tandem embed` or another program has written: what leaves them is what
 * enters, they own no parameters. Heads and objectives train on them. */
#include "model_impl.h"

#include <string.h>

typedef struct features {
    tower base;
    tdm_modality modality;
    int64_t width;
} features;

static tdm_status create(const tower_setup *setup, const tower_type *type, tower **out)
{
    features *f;
    TDM_TRY(TDM_ALLOC(1, &f));
    f->base.type = type;
    f->modality = type->modality;
    f->width = tower_feature_dim(setup->config, type->modality);
    *out = &f->base;
    return TDM_OK;
}

static void features_destroy(tower **self)
{
    tdm_free(*self);
    *self = NULL;
}

static tdm_status features_load(tower *self)
{
    (void)self;
    return TDM_OK;
}

static tdm_status features_forward(tower *self, const tdm_tower_input *input, const tdm_pass *mode, bool keep,
                                   const tdm_tower_output *output)
{
    const features *f = (const features *)self;
    (void)mode, (void)keep; /* pooled is NULL where a head reads the input itself */
    TDM_REQUIRE(input->feature || input->n == 0, TDM_E_DATA,
                "model.%s.tower is \"features\", but the data hold no %s features",
                tdm_modality_name(f->modality), tdm_modality_name(f->modality));
    if (output->pooled) memcpy(output->pooled, input->feature, sizeof(float) * (size_t)(input->n * f->width));
    return TDM_OK;
}

/* Never called: nothing of it is trained. */
static tdm_status features_backward(tower *self, const tdm_tower_output *gradient, tdm_final_from *final_from,
                                    void *context)
{
    (void)self, (void)gradient, (void)final_from, (void)context;
    return TDM_OK;
}

static tdm_status features_scratch_bytes(const tower *self, int64_t n, int64_t tokens_per_caption, bool dense,
                                         tower_bytes *bytes)
{
    (void)self, (void)n, (void)tokens_per_caption, (void)dense;
    *bytes = (tower_bytes){0};
    return TDM_OK;
}

static double features_forward_flop(const tdm_config *config, const tdm_pass *pass, int64_t n, int64_t tokens,
                                    int64_t tokens_squared)
{
    (void)config, (void)pass, (void)n, (void)tokens, (void)tokens_squared;
    return 0.0;
}

static tdm_status image_create(const tower_setup *setup, tower **out);
static tdm_status text_create(const tower_setup *setup, tower **out);

#define FEATURES_TOWER(modality_, create_)                                                                   \
    {                                                                                                        \
        .name = "features", .modality = modality_, .reads = TDM_READS_FEATURES, .has_levels = true,          \
        .create = create_, .destroy = features_destroy, .load = features_load, .forward = features_forward,  \
        .backward = features_backward, .scratch_bytes = features_scratch_bytes,                              \
        .forward_flop = features_forward_flop,                                                               \
    }
const tower_type tower_image_features = FEATURES_TOWER(TDM_IMAGE, image_create);
const tower_type tower_text_features = FEATURES_TOWER(TDM_TEXT, text_create);

static tdm_status image_create(const tower_setup *setup, tower **out)
{
    return create(setup, &tower_image_features, out);
}

static tdm_status text_create(const tower_setup *setup, tower **out)
{
    return create(setup, &tower_text_features, out);
}
