/* Weights of another program become a checkpoint: the model's parameters are declared, each is looked for
 * under the file's naming, and what is missing, extra or of another shape is listed before anything is read.
 */
#include "convert_impl.h"

#include "tandem/model.h"

#include <string.h>

/* ---- The model ---- */

/* OpenAI's archives have these beside the weights; TBPS-CLIP starts from them. */
static bool is_openai_model(const import_job *job)
{
    static const char *const marks[] = {"input_resolution", "context_length", "vocab_size"};
    char name[WEIGHTS_PREFIX_BYTES + 32];
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        snprintf(name, sizeof name, "%s%s", job->src.prefix, marks[i]);
        if (tdm_tensor_file_find(job->src.file, name) != NULL) return true;
    }
    return job->src.naming->mask_token;
}

static tdm_status set_activation(import_job *job)
{
    const char *wanted = job->options->activation;
    char name[64];
    if (wanted[0] != '\0') {
        char assignment[128];
        snprintf(assignment, sizeof assignment, "model.activation=%.80s", wanted);
        return tdm_config_set(&job->config, assignment);
    }
    if (job->options->model[0] != '\0' || job->folder.activation != NULL) return TDM_OK;
    (void)tdm_option_choice_text(TDM_ACTIVATION_CHOICES, job->config.model.activation, name);
    if (is_openai_model(job))
        tdm_log(TDM_LOG_INFO, "model.activation = \"%s\", as OpenAI's models have", name);
    else
        tdm_log(
            TDM_LOG_WARN,
            "%s: neither the weights nor a configuration beside them say the activation; \"%s\" is taken, as "
            "OpenAI's models have. Models that open_clip trained have gelu unless their name ends in -quickgelu: "
            "say --activation gelu, or --activation %s",
            job->src.path, name, name);
    return TDM_OK;
}

static tdm_status set_size(import_job *job)
{
    const tdm_import_options *options = job->options;
    tdm_tower_config *image = &job->config.model.image;
    if (options->height_px > 0) {
        image->height_px = options->height_px;
        image->width_px = options->width_px;
    }
    if (options->context_length > 0) job->config.model.text.context_length = options->context_length;
    TDM_REQUIRE(
        image->height_px > 0, TDM_E_CONFIG,
        "%s: its patches make no square, and no configuration says the images' size: say it with --image-size HEIGHTxWIDTH",
        job->src.path);
    return TDM_OK;
}

/* The rules between keys, and, by way of the text, the range of each. */
static tdm_status check_config(import_job *job)
{
    tdm_text text = {0};
    tdm_status status = tdm_config_print(&job->config, "model", &text);
    if (status == TDM_OK) status = tdm_config_load_text(&job->config, job->src.path, text.data);
    tdm_text_free(&text);
    if (status == TDM_OK) status = tdm_config_check(&job->config);
    return status == TDM_OK ? tdm_model_check(&job->config) : status;
}

static tdm_status choose_model(import_job *job)
{
    TDM_TRY(facts_from_shapes(&job->src, &job->shapes));
    TDM_TRY(facts_from_folder(&job->src, &job->folder));
    TDM_TRY(tdm_config_init(&job->config));
    if (job->options->model[0] != '\0') {
        TDM_TRY(tdm_config_load_model(&job->config, job->options->model));
        facts_compare(&job->src, &job->shapes, &job->folder, &job->config);
    } else {
        TDM_TRY(facts_to_config(&job->src, &job->shapes, &job->folder, &job->config));
    }
    TDM_TRY(set_activation(job));
    TDM_TRY(set_size(job));
    TDM_TRY(check_config(job));
    return model_rows(&job->config, &job->params);
}

/* ---- Reading ---- */

/* The grid of the file's positions; {0, 0} when it cannot be told. */
static position_grid old_grid(const import_job *job)
{
    position_grid grid = {0, 0};
    if (!facts_grid(&job->src, &job->shapes, &job->folder, &grid.rows, &grid.columns))
        return (position_grid){0, 0};
    return grid;
}

/* As many positions stand for another grid only when a configuration beside the weights says so. */
static bool same_positions(const import_job *job, const tdm_param *row, int64_t have)
{
    if (have != row->shape[0]) return false;
    if (row->name[0] != 'v' || job->folder.image.height_px == 0) return true;
    const position_grid old = old_grid(job), new = grid_of(&job->config);
    return old.rows == 0 || (old.rows == new.rows &&old.columns == new.columns);
}

static tdm_status resize_into(const import_job *job, const tdm_param *row, int64_t have, const float *from)
{
    const char *method = job->options->resize[0] != '\0' ? job->options->resize : "open_clip";
    const position_grid old = old_grid(job);
    TDM_REQUIRE(row->name[0] != 'v' || old.rows > 0, TDM_E_SHAPE,
                "%s: %s has %lld patches, which make no square, and no configuration says how they lie: "
                "import it with its own --image-size first",
                job->src.path, row->name, (long long)have - 1);
    return resize_positions(job->src.path, method, row, old, grid_of(&job->config), have, from,
                            job->params.weight + row->offset);
}

static tdm_status read_row(const import_job *job, const tdm_param *row)
{
    weights_parts parts;
    float *from = NULL;
    (void)weights_find(&job->src, row->name, &parts, NULL);
    const tdm_tensor *tensor = parts.tensor[0];
    if (!is_position_row(row->name) || same_positions(job, row, tensor->shape[0]))
        return weights_read(&job->src, &parts, job->params.weight + row->offset);
    TDM_TRY(TDM_ALLOC(tensor->elements, &from));
    tdm_status status = weights_read(&job->src, &parts, from);
    if (status == TDM_OK) status = resize_into(job, row, tensor->shape[0], from);
    tdm_free(from);
    return status;
}

/* ---- The tokenizer ---- */

/* Tokenizer files beside the weights: path, or "" when there are none. */
static tdm_status find_tokenizer(const import_job *job, char path[TDM_PATH_BYTES])
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", "bpe_simple_vocab_16e6.txt.gz",
                                        "bpe_simple_vocab_16e6.txt"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        TDM_TRY(tdm_path_join(path, TDM_PATH_BYTES, job->src.dir, names[i]));
        if (tdm_path_exists(path)) return TDM_OK;
    }
    path[0] = '\0';
    return TDM_OK;
}

static tdm_status open_tokenizer(import_job *job)
{
    char found[TDM_PATH_BYTES];
    const char *path = job->options->tokenizer;
    if (path[0] == '\0') {
        TDM_TRY(find_tokenizer(job, found));
        path = found;
    }
    if (path[0] == '\0') {
        tdm_log(
            TDM_LOG_WARN,
            "no tokenizer is given, and none stands beside %s: eval, embed and search will ask for one (--tokenizer)",
            job->src.path);
        return TDM_OK;
    }
    if (job->src.naming->mask_token || job->options->mask_token) job->config.model.tokenizer_mask = true;
    TDM_TRY(tdm_tokenizer_open_variant(path, job->config.model.tokenizer_mask, &job->tokenizer));
    const int64_t size = tdm_tokenizer_vocab_size(job->tokenizer);
    const int64_t rows = job->config.model.text.vocab_size;
    TDM_REQUIRE(size <= rows, TDM_E_SHAPE, "%s: the tokenizer has %lld tokens, the model in %s knows %lld",
                path, (long long)size, job->src.path, (long long)rows);
    if (size < rows)
        tdm_log(TDM_LOG_WARN, "%s: the tokenizer has %lld tokens, the model in %s knows %lld", path,
                (long long)size, job->src.path, (long long)rows);
    tdm_log(TDM_LOG_INFO, "tokenizer: %s", path);
    return TDM_OK;
}

/* ---- The command ---- */

static tdm_status check_out(const tdm_import_options *options)
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, options->out, "model.h5"));
    TDM_REQUIRE(options->force || !tdm_path_exists(path), TDM_E_USAGE,
                "%s: is there already; choose another --out, or replace it with --force", path);
    return TDM_OK;
}

static tdm_status run_import(import_job *job)
{
    TDM_TRY(check_out(job->options));
    TDM_TRY(weights_open(job->options, &job->src));
    TDM_TRY(choose_model(job));
    TDM_TRY(import_check(job));
    TDM_TRY(open_tokenizer(job));
    TDM_TRY(tdm_params_allocate(&job->params, false));
    for (int64_t i = 0; i < job->params.count; i++) TDM_TRY(read_row(job, &job->params.row[i]));
    const tdm_dir_lock_options own = {
        .dir = job->options->out, .command = "import", .steal = job->options->steal_lock};
    TDM_TRY(tdm_dir_lock_take(NULL, &own, &job->lock));
    TDM_TRY(check_out(job->options)); /* again: it may have come meanwhile */
    TDM_TRY(tdm_checkpoint_write_model(job->options->out, &job->config, &job->params, job->tokenizer, 0));
    tdm_log(TDM_LOG_INFO, "%s: %lld tensors under %s's names, %.2f million parameters: %s", job->src.path,
            (long long)job->params.count, job->src.naming->name,
            (double)tdm_params_elements(&job->params) * 1e-6, job->options->out);
    return TDM_OK;
}

tdm_status tdm_import(const tdm_import_options *options)
{
    import_job job = {.options = options};
    const tdm_status status = run_import(&job);
    tdm_dir_lock_release(&job.lock);
    weights_close(&job.src);
    tdm_tokenizer_destroy(&job.tokenizer);
    tdm_params_destroy(&job.params);
    tdm_config_destroy(&job.config);
    return status;
}
