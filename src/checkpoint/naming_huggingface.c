/* Transformers' CLIPModel (github huggingface/transformers, models/clip/modeling_clip.py) with its
 * config.json and preprocessor_config.json. Linear layers are transposed against OpenAI's projections, and
 * attention has three matrices for one. */
#include "naming.h"

#include <string.h>

enum { MOST = 10000000 }; /* no width, depth or vocabulary is larger */

#define BLOCKS(ours, theirs)                                                                                 \
    {ours ".*.ln_1.weight", theirs ".*.layer_norm1.weight", NAMING_COPY},                                    \
        {ours ".*.ln_1.bias", theirs ".*.layer_norm1.bias", NAMING_COPY},                                    \
        {ours ".*.ln_2.weight", theirs ".*.layer_norm2.weight", NAMING_COPY},                                \
        {ours ".*.ln_2.bias", theirs ".*.layer_norm2.bias", NAMING_COPY},                                    \
        {ours ".*.attn.in_proj_weight", theirs ".*.self_attn.?_proj.weight", NAMING_QKV},                    \
        {ours ".*.attn.in_proj_bias", theirs ".*.self_attn.?_proj.bias", NAMING_QKV},                        \
        {ours ".*.attn.out_proj.weight", theirs ".*.self_attn.out_proj.weight", NAMING_COPY},                \
        {ours ".*.attn.out_proj.bias", theirs ".*.self_attn.out_proj.bias", NAMING_COPY},                    \
        {ours ".*.mlp.c_fc.weight", theirs ".*.mlp.fc1.weight", NAMING_COPY},                                \
        {ours ".*.mlp.c_fc.bias", theirs ".*.mlp.fc1.bias", NAMING_COPY},                                    \
        {ours ".*.mlp.c_proj.weight", theirs ".*.mlp.fc2.weight", NAMING_COPY},                              \
    {                                                                                                        \
        ours ".*.mlp.c_proj.bias", theirs ".*.mlp.fc2.bias", NAMING_COPY                                     \
    }

static const naming_rule rules[] = {
    {"visual.class_embedding", "vision_model.embeddings.class_embedding", NAMING_COPY},
    {"visual.positional_embedding", "vision_model.embeddings.position_embedding.weight", NAMING_COPY},
    {"visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight", NAMING_COPY},
    {"visual.ln_pre.*", "vision_model.pre_layrnorm.*", NAMING_COPY}, /* so spelled there */
    {"visual.ln_pre.*", "vision_model.pre_layernorm.*", NAMING_COPY},
    BLOCKS("visual.transformer.resblocks", "vision_model.encoder.layers"),
    {"visual.ln_post.*", "vision_model.post_layernorm.*", NAMING_COPY},
    {"visual.proj", "visual_projection.weight", NAMING_TRANSPOSED},
    {"token_embedding.weight", "text_model.embeddings.token_embedding.weight", NAMING_COPY},
    {"positional_embedding", "text_model.embeddings.position_embedding.weight", NAMING_COPY},
    BLOCKS("transformer.resblocks", "text_model.encoder.layers"),
    {"ln_final.*", "text_model.final_layer_norm.*", NAMING_COPY},
    {"text_projection", "text_projection.weight", NAMING_TRANSPOSED},
    {"logit_scale", "logit_scale", NAMING_COPY},
};

static const char *const ignored[] = {"*.position_ids", NULL};

/* ---- config.json ---- */

/* A member of text_config or vision_config. Files of 2022 hold these a second time, as text_config_dict,
 * which Transformers prefers. */
static const json_t *member(const json_t *root, const char *group, const char *key)
{
    char path[128];
    snprintf(path, sizeof path, "%s_dict.%s", group, key);
    const json_t *value = json_at(root, path);
    snprintf(path, sizeof path, "%s.%s", group, key);
    return value != NULL && !json_is_null(value) ? value : json_at(root, path);
}

/* A count, or Transformers' default, which its files leave out; 0 when it is absurd. */
static int64_t count_of(const json_t *root, const char *group, const char *key, int64_t fallback)
{
    const json_t *value = member(root, group, key);
    if (!json_is_integer(value)) return fallback;
    const json_int_t count = json_integer_value(value);
    return count > 0 && count <= MOST ? (int64_t)count : 0;
}

static tdm_status activation_of(const char *path, const json_t *root, const char *group, const char **name)
{
    const char *act = json_string_value(member(root, group, "hidden_act"));
    if (act == NULL || strcmp(act, "quick_gelu") == 0) {
        *name = "quickgelu";
    } else {
        TDM_REQUIRE(strcmp(act, "gelu") == 0, TDM_E_CONFIG,
                    "%s: %s.hidden_act is \"%.40s\": known are quick_gelu and gelu", path, group, act);
        *name = "gelu";
    }
    const json_t *eps = member(root, group, "layer_norm_eps");
    TDM_REQUIRE(eps == NULL || (json_number_value(eps) > 0.99e-5 && json_number_value(eps) < 1.01e-5),
                TDM_E_CONFIG, "%s: %s.layer_norm_eps is %g: Tandem's is 1e-5", path, group,
                json_number_value(eps));
    return TDM_OK;
}

static void take_tower(const json_t *root, const char *group, tdm_tower_config *tower)
{
    const bool image = strcmp(group, "vision_config") == 0;
    tower->width = count_of(root, group, "hidden_size", image ? 768 : 512);
    tower->layers = count_of(root, group, "num_hidden_layers", 12);
    tower->heads = count_of(root, group, "num_attention_heads", image ? 12 : 8);
    const int64_t hidden = count_of(root, group, "intermediate_size", image ? 3072 : 2048);
    if (tower->width > 0) tower->mlp_ratio = (double)hidden / (double)tower->width;
}

static tdm_status read_config(const char *path, const json_t *root, model_facts *facts)
{
    const char *type = json_text(root, "model_type"), *text_activation = NULL;
    if (type == NULL || strcmp(type, "clip") != 0) return TDM_OK;
    snprintf(facts->source, sizeof facts->source, "%s", path);
    TDM_TRY(activation_of(path, root, "vision_config", &facts->activation));
    TDM_TRY(activation_of(path, root, "text_config", &text_activation));
    TDM_REQUIRE(strcmp(facts->activation, text_activation) == 0, TDM_E_CONFIG,
                "%s: the towers have different activations, %s and %s: Tandem's have the same", path,
                facts->activation, text_activation);
    const json_t *dim = json_at(root, "projection_dim");
    facts->embed_dim = dim != NULL ? 0 : 512;
    json_take_count(root, "projection_dim", &facts->embed_dim);
    facts->image.tower = "vit";
    take_tower(root, "vision_config", &facts->image);
    take_tower(root, "text_config", &facts->text);
    facts->image.patch_px = count_of(root, "vision_config", "patch_size", 32);
    facts->image.height_px = facts->image.width_px = count_of(root, "vision_config", "image_size", 224);
    facts->text.context_length = count_of(root, "text_config", "max_position_embeddings", 77);
    facts->text.vocab_size = count_of(root, "text_config", "vocab_size", 49408);
    return TDM_OK;
}

/* ---- Export ---- */

static tdm_status check_head(const export_job *job, const char *name, const tdm_tower_config *tower)
{
    TDM_REQUIRE(strcmp(tower->head, "none") == 0, TDM_E_CONFIG,
                "%s: model.%s.head is \"%s\": Hugging Face's CLIPModel has no heads; export it with --naming "
                "open_clip",
                job->options->model, name, tower->head);
    return TDM_OK;
}

static tdm_status check(const export_job *job)
{
    const tdm_config *c = &job->config;
    TDM_REQUIRE(strcmp(c->model.image.tower, "vit") == 0, TDM_E_CONFIG,
                "%s: the image tower is \"%s\": Hugging Face's CLIPModel knows vision transformers only; "
                "export it with --naming open_clip",
                job->options->model, c->model.image.tower);
    TDM_REQUIRE(strcmp(c->model.text.tower, "text") == 0, TDM_E_CONFIG,
                "%s: the text tower is \"%s\": Hugging Face's CLIPModel knows CLIP's only",
                job->options->model, c->model.text.tower);
    TDM_TRY(check_head(job, "image", &c->model.image));
    TDM_TRY(check_head(job, "text", &c->model.text));
    TDM_REQUIRE(
        c->model.text.context_tokens == 0, TDM_E_CONFIG,
        "%s: model.text.context_tokens is %lld: Hugging Face's CLIPModel has no learned context; export it "
        "with --naming open_clip",
        job->options->model, (long long)c->model.text.context_tokens);
    TDM_REQUIRE(
        c->model.image.height_px == c->model.image.width_px, TDM_E_CONFIG,
        "%s: images are %lld x %lld px: Hugging Face's CLIPModel knows square ones only; export it with --naming open_clip",
        job->options->model, (long long)c->model.image.height_px, (long long)c->model.image.width_px);
    return TDM_OK;
}

static json_t *tower_config(const tdm_config *c, const tdm_tower_config *tower, const char *type)
{
    const bool quick = tdm_option_choice(TDM_ACTIVATION_CHOICES, "quickgelu") == c->model.activation;
    return json_pack("{s:s,s:I,s:I,s:I,s:I,s:s,s:f,s:f,s:I}", "model_type", type, "hidden_size",
                     (json_int_t)tower->width, "intermediate_size",
                     (json_int_t)((double)tower->width * tower->mlp_ratio + 0.5), "num_hidden_layers",
                     (json_int_t)tower->layers, "num_attention_heads", (json_int_t)tower->heads, "hidden_act",
                     quick ? "quick_gelu" : "gelu", "layer_norm_eps", 1e-5, "attention_dropout", 0.0,
                     "projection_dim", (json_int_t)c->model.embed_dim);
}

static json_t *text_config(const export_job *job)
{
    const tdm_tower_config *text = &job->config.model.text;
    json_t *cfg = tower_config(&job->config, text, "clip_text_model");
    /* the real ids: 2 would mean "the largest id is the end" (transformers, pull request 24773) */
    const int64_t end = job->tokenizer ? tdm_tokenizer_end(job->tokenizer) : text->vocab_size - 1;
    const int64_t start = job->tokenizer ? tdm_tokenizer_start(job->tokenizer) : text->vocab_size - 2;
    json_t *more =
        json_pack("{s:I,s:I,s:I,s:I,s:I}", "vocab_size", (json_int_t)text->vocab_size,
                  "max_position_embeddings", (json_int_t)text->context_length, "bos_token_id",
                  (json_int_t)start, "eos_token_id", (json_int_t)end, "pad_token_id", (json_int_t)end);
    if (cfg != NULL && more != NULL) (void)json_object_update(cfg, more);
    json_decref(more);
    return cfg;
}

static json_t *vision_config(const tdm_config *c)
{
    const tdm_tower_config *image = &c->model.image;
    json_t *cfg = tower_config(c, image, "clip_vision_model");
    json_t *more = json_pack("{s:I,s:I,s:I}", "image_size", (json_int_t)image->height_px, "patch_size",
                             (json_int_t)image->patch_px, "num_channels", (json_int_t)3);
    if (cfg != NULL && more != NULL) (void)json_object_update(cfg, more);
    json_decref(more);
    return cfg;
}

static json_t *whole_config(const export_job *job)
{
    static const struct {
        const char *ours, *theirs;
    } types[] = {{"f32", "float32"}, {"bf16", "bfloat16"}, {"f16", "float16"}};
    const char *type = types[0].theirs;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].ours, job->options->dtype) == 0) type = types[i].theirs;
    }
    return json_pack("{s:[s],s:s,s:I,s:f,s:f,s:s,s:o,s:o}", "architectures", "CLIPModel", "model_type",
                     "clip", "projection_dim", (json_int_t)job->config.model.embed_dim,
                     "logit_scale_init_value", job->config.model.logit_scale_init, "initializer_factor", 1.0,
                     "torch_dtype", type, "text_config", text_config(job), "vision_config",
                     vision_config(&job->config));
}

/* CLIPImageProcessor: the shorter side and the centre, or with do_center_crop off both sides. */
static json_t *preprocessor_config(const tdm_config *c)
{
    const tdm_tower_config *image = &c->model.image;
    const json_int_t side = (json_int_t)image->height_px;
    const bool squash = strcmp(image->resize, "squash") == 0;
    json_t *size = squash ? json_pack("{s:I,s:I}", "height", side, "width", side)
                          : json_pack("{s:I}", "shortest_edge", side);
    if (strcmp(image->resize, "longest") == 0)
        tdm_log(TDM_LOG_WARN, "CLIPImageProcessor cannot put black around an image: preprocessor_config.json "
                              "says the shorter side and the centre");
    return json_pack("{s:s,s:s,s:b,s:o,s:i,s:b,s:{s:I,s:I},s:b,s:f,s:b,s:o,s:o,s:b}", "image_processor_type",
                     "CLIPImageProcessor", "processor_class", "CLIPProcessor", "do_resize", 1, "size", size,
                     "resample", 3, "do_center_crop", !squash, "crop_size", "height", side, "width", side,
                     "do_rescale", 1, "rescale_factor", 1.0 / 255.0, "do_normalize", 1, "image_mean",
                     json_rgb(image->mean), "image_std", json_rgb(image->std), "do_convert_rgb", 1);
}

static const char *const model_files[] = {"config.json", "preprocessor_config.json", NULL};
static const char *const all_files[] = {"config.json", "preprocessor_config.json", "vocab.json",
                                        "merges.txt",  "tokenizer_config.json",    "special_tokens_map.json",
                                        NULL};

static const char *const *files(const export_job *job)
{
    return job->tokenizer ? all_files : model_files;
}

static tdm_status write_file(const export_job *job, const char *name, tdm_text *text)
{
    if (strcmp(name, "config.json") == 0) return json_append(whole_config(job), text);
    if (strcmp(name, "preprocessor_config.json") == 0)
        return json_append(preprocessor_config(&job->config), text);
    return huggingface_tokenizer_file(job, name, text);
}

const naming naming_huggingface = {
    .name = "huggingface",
    .text_anchor = {"text_model.embeddings.token_embedding.weight", "text_model.final_layer_norm.weight"},
    .image_anchor = {"vision_model.embeddings.patch_embedding.weight", "vision_model.post_layernorm.weight"},
    .rule = rules,
    .rules = sizeof rules / sizeof rules[0],
    .ignored = ignored,
    .read_config = read_config,
    .check = check,
    .files = files,
    .write_file = write_file,
};
