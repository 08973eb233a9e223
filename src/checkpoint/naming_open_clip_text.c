/* open_clip's CustomTextCLIP: the text tower is a module "text". Read only. */
#include "naming_open_clip.h"

static const naming_rule rules[] = {
    {"visual.*", "visual.*", NAMING_COPY},
    {"logit_scale", "logit_scale", NAMING_COPY},
    {"*", "text.*", NAMING_COPY},
};

static const char *const ignored[] = {"text.attn_mask", "*.num_batches_tracked", NULL};

const naming naming_open_clip_text = {
    .name = "open_clip_text",
    .text_anchor = {"text.token_embedding.weight", "text.text_projection", "text.ln_final.weight"},
    .image_anchor = {"visual.conv1.weight", "visual.proj", "visual.attnpool.positional_embedding"},
    .rule = rules,
    .rules = sizeof rules / sizeof rules[0],
    .ignored = ignored,
    .read_config = open_clip_read_config,
};
