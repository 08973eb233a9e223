/* A model's architecture from the shapes of its tensors and from a configuration file beside them. The shapes
 * are read as OpenAI's code does (github openai/CLIP, clip/model.py, build_model). */
#include "weights_file.h"

#include "tandem/model.h"
#include "tandem/plain_text.h"

#include <math.h>
#include <string.h>

enum { OPENAI_HEAD_WIDTH = 64, RESNET_STRIDE = 32, MOST_LAYERS = 1000 };

/* ---- Shapes ---- */

/* Dimension `dim` of a parameter of `ndim` dimensions; 0 when it is not there or empty. */
static int64_t dimension(const weights_file *src, const char *row, int ndim, int dim)
{
    int have = 0;
    int64_t shape[TDM_TENSOR_MAX_DIMS] = {0};
    if (!weights_shape(src, row, &have, shape) || have != ndim) return 0;
    return shape[dim];
}

static bool has_block(const weights_file *src, const char *prefix, int64_t layer)
{
    char row[128];
    weights_parts parts;
    snprintf(row, sizeof row, "%s.%lld.ln_1.weight", prefix, (long long)layer);
    return weights_find(src, row, &parts, NULL);
}

/* Width, layers and MLP of a transformer; heads are not in the shapes. */
static void take_blocks(const weights_file *src, const char *prefix, tdm_tower_config *tower)
{
    char row[128];
    while (tower->layers < MOST_LAYERS && has_block(src, prefix, tower->layers)) tower->layers++;
    snprintf(row, sizeof row, "%s.0.mlp.c_fc.weight", prefix);
    const int64_t hidden = dimension(src, row, 2, 0);
    if (tower->width > 0) tower->mlp_ratio = (double)hidden / (double)tower->width;
}

static void take_text(const weights_file *src, model_facts *facts)
{
    tdm_tower_config *text = &facts->text;
    text->vocab_size = dimension(src, "token_embedding.weight", 2, 0);
    text->width = dimension(src, "token_embedding.weight", 2, 1);
    text->context_length = dimension(src, "positional_embedding", 2, 0);
    text->context_tokens = dimension(src, TDM_CONTEXT_ROW, 2, 0);
    facts->embed_dim = dimension(src, "text_projection", 2, 1);
    take_blocks(src, "transformer.resblocks", text);
}

/* The side of a square of `count` places, or 0. */
static int64_t square_side(int64_t count)
{
    const int64_t side = count > 0 ? (int64_t)llround(sqrt((double)count)) : 0;
    return side * side == count ? side : 0;
}

static void take_vit(const weights_file *src, tdm_tower_config *image)
{
    image->tower = "vit";
    image->width = dimension(src, "visual.conv1.weight", 4, 0);
    image->patch_px = dimension(src, "visual.conv1.weight", 4, 3);
    take_blocks(src, "visual.transformer.resblocks", image);
    const int64_t side = square_side(dimension(src, "visual.positional_embedding", 2, 0) - 1);
    image->height_px = image->width_px = side * image->patch_px;
}

/* CLIP's ModifiedResNet; its attention pooling has a place for every 32nd row and column. */
static void take_resnet(const weights_file *src, tdm_tower_config *image)
{
    image->tower = "resnet";
    image->width = dimension(src, "visual.layer1.0.conv1.weight", 4, 0);
    for (int stage = 0; stage < 4; stage++) {
        char row[64];
        do {
            snprintf(row, sizeof row, "visual.layer%d.%lld.conv1.weight", stage + 1,
                     (long long)image->stage_layers[stage]);
        } while (dimension(src, row, 4, 0) > 0 && ++image->stage_layers[stage] < MOST_LAYERS);
    }
    const int64_t places = dimension(src, "visual.attnpool.positional_embedding", 2, 0) - 1;
    image->height_px = image->width_px = square_side(places) * RESNET_STRIDE;
}

static tdm_status require_known(const weights_file *src, const char *what, int64_t value)
{
    TDM_REQUIRE(
        value > 0, TDM_E_SHAPE,
        "%s: %s cannot be read from the shapes (%s): name the model with --model to see what is missing",
        src->path, what, src->naming->name);
    return TDM_OK;
}

tdm_status facts_from_shapes(const weights_file *src, model_facts *facts)
{
    memset(facts, 0, sizeof *facts);
    snprintf(facts->source, sizeof facts->source, "%.500s", src->path);
    take_text(src, facts);
    if (dimension(src, "visual.class_embedding", 1, 0) > 0) take_vit(src, &facts->image);
    if (dimension(src, "visual.attnpool.positional_embedding", 2, 0) > 0) take_resnet(src, &facts->image);
    return TDM_OK;
}

/* ---- A configuration beside the weights ---- */

static tdm_status parse_json(const char *path, json_t **root)
{
    tdm_text text = {0};
    json_error_t error;
    tdm_status status = tdm_read_file(path, &text);
    if (status == TDM_OK) status = tdm_refuse_lfs_pointer(path, text.data, text.length);
    if (status == TDM_OK) {
        const size_t mark = tdm_byte_order_mark(text.data, text.length);
        *root = json_loadb(text.data + mark, text.length - mark, 0, &error);
        if (*root == NULL) status = TDM_ERROR(TDM_E_FORMAT, "%s:%d: %s", path, error.line, error.text);
    }
    tdm_text_free(&text);
    return status;
}

static tdm_status read_config(const weights_file *src, const char *name, model_facts *facts)
{
    char path[TDM_PATH_BYTES];
    json_t *root = NULL;
    TDM_TRY(tdm_path_join(path, sizeof path, src->dir, name));
    if (!tdm_path_exists(path)) return TDM_OK;
    TDM_TRY(parse_json(path, &root));
    tdm_status status = TDM_OK;
    const naming *n;
    for (size_t i = 0; status == TDM_OK && facts->source[0] == '\0' && (n = naming_at(i)) != NULL; i++) {
        status = n->read_config(path, root, facts);
    }
    json_decref(root);
    return status;
}

/* Colours and shape as Transformers' image processors store them. */
static tdm_status read_preprocessor(const weights_file *src, model_facts *facts)
{
    char path[TDM_PATH_BYTES];
    json_t *root = NULL;
    TDM_TRY(tdm_path_join(path, sizeof path, src->dir, "preprocessor_config.json"));
    if (facts->has_mean || !tdm_path_exists(path)) return TDM_OK;
    TDM_TRY(parse_json(path, &root));
    facts->has_mean = json_take_rgb(root, "image_mean", facts->image.mean);
    facts->has_std = json_take_rgb(root, "image_std", facts->image.std);
    if (json_at(root, "size.height") != NULL && !json_is_true(json_at(root, "do_center_crop")))
        facts->image.resize = "squash";
    json_decref(root);
    return TDM_OK;
}

tdm_status facts_from_folder(const weights_file *src, model_facts *facts)
{
    static const char *const names[] = {"open_clip_config.json", "model_config.json", "config.json"};
    memset(facts, 0, sizeof *facts);
    for (size_t i = 0; i < sizeof names / sizeof names[0] && facts->source[0] == '\0'; i++) {
        TDM_TRY(read_config(src, names[i], facts));
    }
    return read_preprocessor(src, facts);
}

/* ---- Both together ---- */

#define COUNT(field)                                                                                         \
    {                                                                                                        \
        "model." #field, offsetof(model_facts, field), offsetof(tdm_config, model.field)                     \
    }
static const struct {
    const char *key;
    size_t fact, field;
} counts[] = {
    COUNT(image.stage_layers[0]),
    COUNT(image.stage_layers[1]),
    COUNT(image.stage_layers[2]),
    COUNT(image.stage_layers[3]),
    COUNT(embed_dim),
    COUNT(image.height_px),
    COUNT(image.width_px),
    COUNT(image.patch_px),
    COUNT(image.width),
    COUNT(image.layers),
    COUNT(image.heads),
    COUNT(text.width),
    COUNT(text.layers),
    COUNT(text.heads),
    COUNT(text.context_length),
    COUNT(text.context_tokens),
    COUNT(text.vocab_size),
};

static int64_t fact_at(const model_facts *facts, size_t offset)
{
    return *(const int64_t *)((const char *)facts + offset);
}

static tdm_status take_counts(const model_facts *shapes, const model_facts *folder, tdm_config *config)
{
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const int64_t from_shapes = fact_at(shapes, counts[i].fact), said = fact_at(folder, counts[i].fact);
        TDM_REQUIRE(from_shapes == 0 || said == 0 || from_shapes == said, TDM_E_CONFIG,
                    "%s: %s is %lld by its shapes, %lld by %s", shapes->source, counts[i].key,
                    (long long)from_shapes, (long long)said, folder->source);
        if (from_shapes + said > 0)
            *(int64_t *)((char *)config + counts[i].field) = from_shapes > 0 ? from_shapes : said;
    }
    return TDM_OK;
}

static void take_ratio(double from_shapes, double said, double *ratio)
{
    if (from_shapes > 0.0 || said > 0.0) *ratio = from_shapes > 0.0 ? from_shapes : said;
}

/* As OpenAI's code: 64 columns a head. */
static tdm_status guess_heads(const weights_file *src, const char *key, int64_t width, int64_t said,
                              int64_t *heads)
{
    if (said > 0) return TDM_OK;
    TDM_REQUIRE(
        width % OPENAI_HEAD_WIDTH == 0, TDM_E_CONFIG,
        "%s: %s: %lld columns are no multiple of %d, and no configuration says the heads: name the model with --model",
        src->path, key, (long long)width, OPENAI_HEAD_WIDTH);
    *heads = width / OPENAI_HEAD_WIDTH;
    tdm_log(TDM_LOG_INFO, "%s = %lld: 64 columns a head, as OpenAI's models have (no configuration says it)",
            key, (long long)*heads);
    return TDM_OK;
}

/* The last part of a path without its extension; of the folder when the file has one of the usual names. */
static void name_of(const char *path, char *name, size_t bytes)
{
    static const char *const usual[] = {"model", "pytorch_model", "open_clip_model",
                                        "open_clip_pytorch_model"};
    char copy[TDM_PATH_BYTES];
    snprintf(copy, sizeof copy, "%s", path);
    for (;;) {
        for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--) copy[n - 1] = '\0';
        char *slash = strrchr(copy, '/'), *last = slash ? slash + 1 : copy;
        char *dot = strchr(last, '.');
        if (dot != NULL && dot > last && !tdm_path_is_dir(copy)) *dot = '\0';
        snprintf(name, bytes, "%.200s", last);
        bool is_usual = false;
        for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) is_usual |= !strcmp(last, usual[i]);
        if (!is_usual || slash == NULL || slash == copy) return;
        *slash = '\0';
    }
}

static tdm_status set_text(tdm_config *config, const char *key, const char *value)
{
    char assignment[512];
    snprintf(assignment, sizeof assignment, "%s=%s", key, value);
    return tdm_config_set(config, assignment);
}

static bool is_resnet(const model_facts *shapes)
{
    return shapes->image.tower != NULL && strcmp(shapes->image.tower, "resnet") == 0;
}

/* How many places of an image have a position of their own. */
static int64_t places_of(const weights_file *src, const model_facts *shapes)
{
    return dimension(src,
                     is_resnet(shapes) ? "visual.attnpool.positional_embedding"
                                       : "visual.positional_embedding",
                     2, 0) -
           1;
}

/* Their rows and columns, when a configuration's image size has that many places. */
static bool grid_of_folder(const weights_file *src, const model_facts *shapes, const model_facts *folder,
                           int64_t *rows, int64_t *columns)
{
    const int64_t step = is_resnet(shapes) ? RESNET_STRIDE : shapes->image.patch_px;
    if (step == 0 || folder->image.height_px == 0) return false;
    *rows = folder->image.height_px / step;
    *columns = folder->image.width_px / step;
    return *rows * *columns == places_of(src, shapes);
}

/* The shapes' square image gives way to a configuration's oblong one of as many places. */
static model_facts without_size(const weights_file *src, const model_facts *shapes, const model_facts *folder)
{
    model_facts rest = *shapes;
    int64_t rows, columns;
    if (grid_of_folder(src, shapes, folder, &rows, &columns)) rest.image.height_px = rest.image.width_px = 0;
    return rest;
}

tdm_status facts_to_config(const weights_file *src, const model_facts *shapes, const model_facts *folder,
                           tdm_config *config)
{
    char name[256];
    TDM_TRY(require_known(src, "the text tower's width", shapes->text.width));
    TDM_TRY(require_known(src, "the text tower's depth", shapes->text.layers));
    TDM_TRY(require_known(src, "the context length", shapes->text.context_length));
    TDM_TRY(require_known(src, "the embedding's width", shapes->embed_dim));
    TDM_TRY(require_known(src, "the image tower's width", shapes->image.width));
    const model_facts rest = without_size(src, shapes, folder);
    config->model.image.height_px = config->model.image.width_px = 0;
    TDM_TRY(take_counts(&rest, folder, config));
    take_ratio(shapes->image.mlp_ratio, folder->image.mlp_ratio, &config->model.image.mlp_ratio);
    take_ratio(shapes->text.mlp_ratio, folder->text.mlp_ratio, &config->model.text.mlp_ratio);
    if (folder->has_mean) memcpy(config->model.image.mean, folder->image.mean, sizeof folder->image.mean);
    if (folder->has_std) memcpy(config->model.image.std, folder->image.std, sizeof folder->image.std);
    const int64_t wider = is_resnet(shapes) ? RESNET_STRIDE : 1; /* in the last stage */
    TDM_TRY(guess_heads(src, "model.image.heads", shapes->image.width * wider, folder->image.heads,
                        &config->model.image.heads));
    TDM_TRY(guess_heads(src, "model.text.heads", shapes->text.width, folder->text.heads,
                        &config->model.text.heads));
    name_of(src->path, name, sizeof name);
    TDM_TRY(set_text(config, "model.name", name));
    TDM_TRY(set_text(config, "model.image.tower", shapes->image.tower));
    if (folder->image.resize != NULL) TDM_TRY(set_text(config, "model.image.resize", folder->image.resize));
    if (folder->activation == NULL) return TDM_OK;
    return set_text(config, "model.activation", folder->activation);
}

/* "12", or "quickgelu": what the model definition says against what is known otherwise. */
static void warn_of(const weights_file *src, const char *from, const char *key, const char *known,
                    const char *definition)
{
    tdm_log(TDM_LOG_WARN, "%s: %s is %s by %s, %s in the model definition", src->path, key, known, from,
            definition);
}

void facts_compare(const weights_file *src, const model_facts *shapes, const model_facts *folder,
                   const tdm_config *config)
{
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        char known[32], definition[32];
        const int64_t from_shapes = fact_at(shapes, counts[i].fact), said = fact_at(folder, counts[i].fact);
        const int64_t fact = from_shapes > 0 ? from_shapes : said;
        const int64_t value = *(const int64_t *)((const char *)config + counts[i].field);
        if (fact == 0 || fact == value || strstr(counts[i].key, "_px") || strstr(counts[i].key, "context"))
            continue; /* another image size or context is resized, and said then */
        snprintf(known, sizeof known, "%lld", (long long)fact);
        snprintf(definition, sizeof definition, "%lld", (long long)value);
        warn_of(src, from_shapes > 0 ? "its shapes" : folder->source, counts[i].key, known, definition);
    }
    const int activation = config->model.activation;
    char name[64];
    if (folder->activation != NULL &&
        tdm_option_choice(TDM_ACTIVATION_CHOICES, folder->activation) != activation)
        warn_of(src, folder->source, "model.activation", folder->activation,
                tdm_option_choice_text(TDM_ACTIVATION_CHOICES, activation, name));
}

bool facts_grid(const weights_file *src, const model_facts *shapes, const model_facts *folder, int64_t *rows,
                int64_t *columns)
{
    if (grid_of_folder(src, shapes, folder, rows, columns)) return true;
    *rows = *columns = square_side(places_of(src, shapes));
    return *rows > 0;
}
