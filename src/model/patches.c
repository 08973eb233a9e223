/* Patch dropout (Li et al., Scaling Language-Image Pre-training via Masking, arXiv 2212.00794): while a ViT trains,
 * it computes some patches of each image only, other ones in every step. */
#include "tandem/model.h"
#include "tandem/rng.h"

/* As many as open_clip's PatchDropout keeps. */
int64_t tdm_model_patches(const tdm_config *config, const tdm_pass *pass)
{
    const tdm_tower_config *c = &config->model.image;
    const int64_t patches = c->height_px / c->patch_px * (c->width_px / c->patch_px);
    if (!pass->train || pass->whole_images || c->patch_dropout <= 0.0) return patches;
    return tdm_max_i64(1, (int64_t)((double)patches * (1.0 - c->patch_dropout)));
}

/* Patch by patch, each with the probability that is left for it (Knuth's algorithm S): every choice is as likely as any
 * other, and its numbers ascend. */
void tdm_patches_draw(const tdm_pass *pass, int64_t sample, int64_t patches, int64_t kept, int64_t *place)
{
    tdm_rng rng = tdm_rng_at(pass->seed, pass->step, (uint64_t)sample, TDM_RNG_PATCHES);
    for (int64_t at = 0, k = 0; k < kept; at++)
        if (tdm_rng_below(&rng, patches - at) < kept - k) place[k++] = at;
}
