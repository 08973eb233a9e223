/* open_clip (github mlfoundations/open_clip) and OpenAI's CLIP: the arena's own names. The configuration is
 * open_clip's: {"model_cfg": {…}, "preprocess_cfg": {…}}, or the content of model_cfg alone. */
#include "naming.h"
#include "naming_open_clip.h"

#include "tandem/json_text.h"
#include "tandem/model.h"

#include <string.h>

/* RESNET_STRIDE: also the width of a ResNet's last stage over its first's */
enum { RESNET_STRIDE = 32, MOST_PX = 32768, MOST_BLOCKS = 1000 };

static const naming_rule rules[] = {{"*", "*", NAMING_COPY}};

/* Entries of OpenAI's archives, counters of batch normalisation, and masks that older versions stored. */
const char *const open_clip_ignored[] = {"input_resolution", "context_length",        "vocab_size",
                                         "attn_mask",        "*.num_batches_tracked", NULL};

/* Parts that open_clip can build and Tandem cannot, under vision_cfg and text_cfg, with the value that means
 * "not built". */
static const struct {
    const char *path, *known;
} parts[] = {
    {"vision_cfg.timm_model_name", NULL},
    {"vision_cfg.attentional_pool", NULL},
    {"vision_cfg.ls_init_value", NULL},
    {"vision_cfg.no_ln_pre", NULL},
    {"vision_cfg.pos_embed_type", "learnable"},
    {"vision_cfg.pool_type", "tok"},
    {"vision_cfg.act_kwargs", NULL},
    {"vision_cfg.norm_kwargs", NULL},
    {"vision_cfg.qk_norm", NULL},
    {"vision_cfg.scaled_cosine_attn", NULL},
    {"vision_cfg.scale_heads", NULL},
    {"text_cfg.text_arch", "clip"},
    {"text_cfg.hf_model_name", NULL},
    {"text_cfg.ls_init_value", NULL},
    {"text_cfg.embed_cls", NULL},
    {"text_cfg.no_causal_mask", NULL},
    {"text_cfg.proj_bias", NULL},
    {"text_cfg.proj_type", "linear"},
    {"text_cfg.act_kwargs", NULL},
    {"text_cfg.norm_kwargs", NULL},
    {"text_cfg.qk_norm", NULL},
    {"text_cfg.scaled_cosine_attn", NULL},
    {"text_cfg.scale_heads", NULL},
};

/* A number of pixels, 0 when it is none or absurd. */
static int64_t side_of(const json_t *side)
{
    const json_int_t px = json_integer_value(side);
    return px > 0 && px <= MOST_PX ? (int64_t)px : 0;
}

/* A side in px, or [height, width]. */
static void take_image_size(const json_t *size, tdm_tower_config *image)
{
    const bool two = json_array_size(size) == 2;
    const int64_t height = side_of(two ? json_array_get(size, 0) : size);
    const int64_t width = side_of(two ? json_array_get(size, 1) : size);
    if (height == 0 || width == 0) return;
    image->height_px = height;
    image->width_px = width;
}

static void take_resnet(const json_t *layers, int64_t head_width, tdm_tower_config *image)
{
    image->tower = "resnet";
    for (size_t i = 0; i < 4; i++) {
        const json_int_t blocks = json_integer_value(json_array_get(layers, i));
        if (blocks > 0 && blocks <= MOST_BLOCKS) image->stage_layers[i] = blocks;
    }
    image->heads = image->width * RESNET_STRIDE / head_width;
}

static void take_vision(const json_t *cfg, tdm_tower_config *image)
{
    int64_t head_width = 64;
    take_image_size(json_at(cfg, "image_size"), image);
    json_take_count(cfg, "width", &image->width);
    json_take_count(cfg, "head_width", &head_width);
    const json_t *layers = json_at(cfg, "layers");
    if (json_is_array(layers)) {
        take_resnet(layers, head_width, image);
        return;
    }
    image->tower = "vit";
    json_take_count(cfg, "layers", &image->layers);
    json_take_count(cfg, "patch_size", &image->patch_px);
    json_take_number(cfg, "mlp_ratio", &image->mlp_ratio);
    if (image->width % head_width == 0) image->heads = image->width / head_width;
}

static void take_text(const json_t *cfg, tdm_tower_config *text)
{
    json_take_count(cfg, "context_length", &text->context_length);
    json_take_count(cfg, "vocab_size", &text->vocab_size);
    json_take_count(cfg, "width", &text->width);
    json_take_count(cfg, "heads", &text->heads);
    json_take_count(cfg, "layers", &text->layers);
    json_take_number(cfg, "mlp_ratio", &text->mlp_ratio);
}

/* How an image gets the input's shape, in Tandem's words and in open_clip's. */
static const struct {
    const char *ours, *theirs;
} resize_modes[] = {{"crop", "shortest"}, {"squash", "squash"}, {"longest", "longest"}};
enum { RESIZE_MODES = sizeof resize_modes / sizeof resize_modes[0] };

static void take_preprocessing(const char *path, const json_t *cfg, tdm_tower_config *image)
{
    const char *mode = json_text(cfg, "resize_mode"), *filter = json_text(cfg, "interpolation");
    for (size_t i = 0; mode != NULL && i < RESIZE_MODES; i++) {
        if (strcmp(mode, resize_modes[i].theirs) == 0) image->resize = resize_modes[i].ours;
    }
    if (filter != NULL && strcmp(filter, "bicubic") != 0)
        tdm_log(TDM_LOG_WARN, "%s: preprocess_cfg.interpolation is \"%.40s\": Tandem resizes bicubic", path,
                filter);
}

tdm_status open_clip_read_config(const char *path, const json_t *root, model_facts *facts)
{
    const json_t *model = json_at(root, "model_cfg");
    if (model == NULL) model = root;
    const json_t *vision = json_at(model, "vision_cfg"), *text = json_at(model, "text_cfg");
    if (!json_is_object(vision) || !json_is_object(text)) return TDM_OK;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        TDM_TRY(json_require(path, model, parts[i].path, parts[i].known));
    }
    const char *pool = json_text(text, "pool_type");
    TDM_REQUIRE(pool == NULL || !strcmp(pool, "argmax") || !strcmp(pool, "eos"), TDM_E_CONFIG,
                "%s: text_cfg.pool_type is \"%.40s\": Tandem reads the end token", path, pool);
    snprintf(facts->source, sizeof facts->source, "%s", path);
    facts->activation = json_is_true(json_at(model, "quick_gelu")) ? "quickgelu" : "gelu";
    json_take_count(model, "embed_dim", &facts->embed_dim);
    take_vision(vision, &facts->image);
    take_text(text, &facts->text);
    take_preprocessing(path, json_at(root, "preprocess_cfg"), &facts->image);
    facts->has_mean = json_take_rgb(root, "preprocess_cfg.mean", facts->image.mean);
    facts->has_std = json_take_rgb(root, "preprocess_cfg.std", facts->image.std);
    return TDM_OK;
}

/* ---- Export ---- */

static json_t *image_size(const tdm_tower_config *image)
{
    return image->height_px == image->width_px
               ? json_integer(image->height_px)
               : json_pack("[I,I]", (json_int_t)image->height_px, (json_int_t)image->width_px);
}

static json_t *resnet_config(const tdm_tower_config *image)
{
    const int64_t *layers = image->stage_layers;
    return json_pack("{s:o,s:[I,I,I,I],s:I,s:I,s:n}", "image_size", image_size(image), "layers",
                     (json_int_t)layers[0], (json_int_t)layers[1], (json_int_t)layers[2],
                     (json_int_t)layers[3], "width", (json_int_t)image->width, "head_width",
                     (json_int_t)(image->width * RESNET_STRIDE / image->heads), "patch_size");
}

static json_t *vision_config(const tdm_tower_config *image)
{
    if (strcmp(image->tower, "resnet") == 0) return resnet_config(image);
    return json_pack("{s:o,s:I,s:I,s:I,s:I,s:f}", "image_size", image_size(image), "layers",
                     (json_int_t)image->layers, "width", (json_int_t)image->width, "head_width",
                     (json_int_t)(image->width / image->heads), "patch_size", (json_int_t)image->patch_px,
                     "mlp_ratio", image->mlp_ratio);
}

/* open_clip loads CLIP's own vocabulary by itself, any other from the folder. */
static bool has_own_vocabulary(const export_job *job)
{
    return job->tokenizer != NULL && strcmp(tdm_tokenizer_digest(job->tokenizer), CLIP_MERGES_DIGEST) != 0;
}

static json_t *text_config(const export_job *job)
{
    const tdm_tower_config *text = &job->config.model.text;
    json_t *cfg =
        json_pack("{s:I,s:I,s:I,s:I,s:I,s:f}", "context_length", (json_int_t)text->context_length,
                  "vocab_size", (json_int_t)text->vocab_size, "width", (json_int_t)text->width, "heads",
                  (json_int_t)text->heads, "layers", (json_int_t)text->layers, "mlp_ratio", text->mlp_ratio);
    if (cfg != NULL && has_own_vocabulary(job))
        (void)json_object_set_new(cfg, "hf_tokenizer_name", tdm_json_text(job->config.model.name));
    return cfg;
}

static json_t *whole_config(const export_job *job)
{
    const tdm_config *c = &job->config;
    const bool quick = tdm_option_choice(TDM_ACTIVATION_CHOICES, "quickgelu") == c->model.activation;
    const char *mode = resize_modes[0].theirs;
    for (size_t i = 0; i < RESIZE_MODES; i++) {
        if (strcmp(c->model.image.resize, resize_modes[i].ours) == 0) mode = resize_modes[i].theirs;
    }
    return json_pack("{s:{s:I,s:b,s:o,s:o},s:{s:o,s:o,s:s,s:s}}", "model_cfg", "embed_dim",
                     (json_int_t)c->model.embed_dim, "quick_gelu", quick, "vision_cfg",
                     vision_config(&c->model.image), "text_cfg", text_config(job), "preprocess_cfg", "mean",
                     json_rgb(c->model.image.mean), "std", json_rgb(c->model.image.std), "interpolation",
                     "bicubic", "resize_mode", mode);
}

static const char *const config_alone[] = {"open_clip_config.json", NULL};
static const char *const config_and_tokenizer[] = {
    "open_clip_config.json",   "vocab.json", "merges.txt", "tokenizer_config.json",
    "special_tokens_map.json", NULL};

static const char *const *open_clip_files(const export_job *job)
{
    return has_own_vocabulary(job) ? config_and_tokenizer : config_alone;
}

static tdm_status write_file(const export_job *job, const char *name, tdm_text *text)
{
    if (strcmp(name, config_alone[0]) != 0) return huggingface_tokenizer_file(job, name, text);
    return json_append(whole_config(job), text);
}

static tdm_status check(const export_job *job)
{
    const tdm_config *c = &job->config;
    const char *image = c->model.image.tower;
    TDM_REQUIRE(!strcmp(image, "vit") || !strcmp(image, "resnet"), TDM_E_CONFIG,
                "%s: open_clip has no image tower \"%s\"", job->options->model, image);
    TDM_REQUIRE(!strcmp(c->model.text.tower, "text"), TDM_E_CONFIG, "%s: open_clip has no text tower \"%s\"",
                job->options->model, c->model.text.tower);
    if (strcmp(c->model.image.head, "none") || strcmp(c->model.text.head, "none"))
        tdm_log(TDM_LOG_WARN, "%s: open_clip knows no heads; their rows are in the file under Tandem's names",
                job->options->model);
    if (c->model.text.context_tokens > 0)
        tdm_log(TDM_LOG_WARN,
                "%s: open_clip knows no learned context; " TDM_CONTEXT_ROW
                " is in the file under Tandem's name",
                job->options->model);
    return TDM_OK;
}

const naming naming_open_clip = {
    .name = "open_clip",
    .text_anchor = {"token_embedding.weight", "text_projection", "ln_final.weight"},
    .image_anchor = {"visual.conv1.weight", "visual.proj", "visual.attnpool.positional_embedding"},
    .rule = rules,
    .rules = sizeof rules / sizeof rules[0],
    .ignored = open_clip_ignored,
    .read_config = open_clip_read_config,
    .check = check,
    .files = open_clip_files,
    .write_file = write_file,
    .counters = "*.running_var",
};
