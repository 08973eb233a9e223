/* Checkpoints of TBPS-CLIP (github Flame-Chasers/TBPS-CLIP, model/tbps_model.py): {"model": …, "optimizer":
 * …, "config": …}. Read only; the heads of its training objectives are left out. */
#include "naming_open_clip.h"

static const naming_rule rules[] = {
    {"visual.*", "visual.*", NAMING_COPY},
    {"logit_scale", "logit_scale", NAMING_COPY},
    {"*", "encode_text.*", NAMING_COPY},
};

static const char *const heads[] = {
    "simclr_mlp.*", "classifier.*", "cross_attn.*", "cross_modal_transformer.*", "mlm_head.*", "ln_pre_t.*",
    "ln_pre_i.*",   "ln_post.*",    NULL,
};

const naming naming_tbps_clip = {
    .name = "tbps_clip",
    .text_anchor = {"encode_text.token_embedding.weight", "encode_text.text_projection",
                    "encode_text.ln_final.weight"},
    .image_anchor = {"visual.conv1.weight", "visual.proj", "visual.attnpool.positional_embedding"},
    .rule = rules,
    .rules = sizeof rules / sizeof rules[0],
    .ignored = open_clip_ignored,
    .heads = heads,
    .mask_token = true,
    .read_config = open_clip_read_config,
};
