/* Stands in until inference.h has these. */
#ifndef TANDEM_SERVE_COMPAT_H
#define TANDEM_SERVE_COMPAT_H
#include "tandem/image.h"
#include "tandem/inference.h"
#include <math.h>

static inline int64_t tdm_inference_pixel_bytes(const tdm_inference *in)
{
    return in->config.model.image.height_px * in->config.model.image.width_px * 3;
}
static inline tdm_status tdm_inference_decode(const tdm_inference *in, const char *name, const void *data,
                                              size_t bytes, uint8_t *pixel)
{
    const tdm_tower_config *tower = &in->config.model.image;
    const tdm_image_policy policy = tdm_image_policy_of(tower);
    tdm_image image = {0};
    TDM_TRY(tdm_image_decode(name, data, bytes, policy.alpha, &image));
    const tdm_status status = tdm_image_plain(&image, policy.fit, tower->height_px, tower->width_px, pixel);
    tdm_image_free(&image);
    return status;
}
static inline tdm_status tdm_inference_embed_pixels(const tdm_inference *in, int64_t n, const uint8_t *pixel,
                                                    float *feature)
{
    const tdm_pass mode = {.train = false};
    const int64_t d = tdm_model_embed_dim(in->model);
    float *raw = NULL, norm;
    TDM_TRY(TDM_ALLOC(d, &raw));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < n && status == TDM_OK; i++) {
        const tdm_tower_input input = {.n = 1, .image = pixel + i * tdm_inference_pixel_bytes(in)};
        status = tdm_model_embed(in->model, TDM_IMAGE, &input, &mode, &(tdm_tower_output){.pooled = raw});
        if (status == TDM_OK) tdm_l2norm_forward(in->ops, 1, d, raw, feature + i * d, &norm);
    }
    tdm_free(raw);
    return status;
}
static inline tdm_status tdm_inference_embed_texts(const tdm_inference *in, int64_t n,
                                                   const char *const *text, float *feature, bool *cut)
{
    for (int64_t i = 0; i < n; i++)
        TDM_TRY(tdm_inference_embed_text(in, text[i], feature + i * tdm_model_embed_dim(in->model), cut + i));
    return TDM_OK;
}
static inline tdm_status tdm_inference_combine(const tdm_inference *in, const float *a, const float *b,
                                               double weight, float *out)
{
    const int64_t d = tdm_model_embed_dim(in->model);
    double square = 0;
    for (int64_t k = 0; k < d; k++) {
        const double sum = (1 - weight) * (double)a[k] + weight * (double)b[k];
        square += sum * sum;
    }
    const double scale = square > 0 ? 1 / sqrt(square) : 0;
    TDM_REQUIRE(scale > 0, TDM_E_NUMERIC, "two queries that cancel each other cannot be combined");
    for (int64_t k = 0; k < d; k++)
        out[k] = (float)(scale * ((1 - weight) * (double)a[k] + weight * (double)b[k]));
    return TDM_OK;
}
#endif
