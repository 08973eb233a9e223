/* A checkpoint becomes a folder that another program loads: its configuration and tokenizer files first, the
 * weights last, so that weights without their configuration do not exist. */
#include "convert_impl.h"

#include "tandem/model.h"

#include <math.h>
#include <string.h>

#define WEIGHTS_NAME "model.safetensors"
#define WEIGHTS_END  ".safetensors"

/* The tensors to write, and the memory of those that are not stored as they stand in the arena. */
typedef struct tensor_list {
    tdm_tensor_out *tensor;
    char (*name)[NAMING_NAME_BYTES];
    float **made; /* [tensors], NULL: borrowed from the arena */
    int64_t count;
} tensor_list;

static void free_list(tensor_list *list)
{
    for (int64_t i = 0; list->made != NULL && i < list->count; i++) tdm_free(list->made[i]);
    tdm_free(list->tensor);
    tdm_free(list->name);
    tdm_free(list->made);
}

static tdm_tensor_type type_of(const export_job *job)
{
    const char *dtype = job->options->dtype;
    return strcmp(dtype, "bf16") == 0  ? TDM_TENSOR_BF16
           : strcmp(dtype, "f16") == 0 ? TDM_TENSOR_F16
                                       : TDM_TENSOR_F32;
}

/* The next tensor of the list, of the row's shape. */
static tdm_tensor_out *next_tensor(const export_job *job, tensor_list *list, const char *name,
                                   const tdm_param *row)
{
    char *kept = list->name[list->count];
    tdm_tensor_out *out = &list->tensor[list->count++];
    snprintf(kept, NAMING_NAME_BYTES, "%s", name);
    *out = (tdm_tensor_out){.name = kept, .type = type_of(job), .ndim = row->ndim};
    memcpy(out->shape, row->shape, sizeof row->shape);
    out->data = job->params.weight + row->offset;
    return out;
}

static tdm_status transpose(tdm_tensor_out *out, float **made)
{
    const int64_t m = out->shape[0], n = out->shape[1];
    TDM_TRY(TDM_ALLOC(m * n, made));
    for (int64_t i = 0; i < m; i++) {
        for (int64_t k = 0; k < n; k++) (*made)[k * m + i] = out->data[i * n + k];
    }
    out->shape[0] = n;
    out->shape[1] = m;
    out->data = *made;
    return TDM_OK;
}

static tdm_status add_row(const export_job *job, const tdm_param *row, tensor_list *list)
{
    naming_tensors names;
    naming_tensors_of(job->naming, row->name, 0, &names);
    TDM_REQUIRE(names.count > 0, TDM_E_CONFIG, "%s: %s has no name for parameter %s", job->options->model,
                job->naming->name, row->name);
    for (int part = 0; part < names.count; part++) {
        const int64_t at = list->count;
        tdm_tensor_out *out = next_tensor(job, list, names.name[part], row);
        if (names.how == NAMING_TRANSPOSED) TDM_TRY(transpose(out, &list->made[at]));
        if (names.how != NAMING_QKV) continue;
        out->shape[0] /= NAMING_PARTS;
        out->data += part * (row->size / NAMING_PARTS);
    }
    return TDM_OK;
}

/* torch.nn.BatchNorm2d counts its batches beside the running statistics; nothing reads it at this momentum.
 */
static void add_counter(const export_job *job, const tdm_param *row, tensor_list *list)
{
    static const float none = 0.0f;
    char name[NAMING_NAME_BYTES];
    const char *dot = strrchr(row->name, '.');
    if (job->naming->counters == NULL || !naming_fits(job->naming->counters, row->name, NULL, NULL)) return;
    snprintf(name, sizeof name, "%.*s.num_batches_tracked", (int)(dot - row->name), row->name);
    tdm_tensor_out *out = next_tensor(job, list, name, row);
    out->type = TDM_TENSOR_I64;
    out->ndim = 0;
    out->data = &none;
}

/* Is the value finite in the type that is written? */
static bool fits_type(tdm_tensor_type type, float value)
{
    const float largest = 65504.0f; /* of binary16 */
    if (type == TDM_TENSOR_F16) return fabsf(value) <= largest;
    return isfinite(type == TDM_TENSOR_BF16 ? tdm_bf16_value(tdm_bf16_round(value)) : value);
}

/* Weights that are not finite are no model, in whatever program they would be loaded. */
static tdm_status check_values(const export_job *job)
{
    const tdm_tensor_type type = type_of(job);
    for (int64_t i = 0; i < job->params.count; i++) {
        const tdm_param *row = &job->params.row[i];
        for (int64_t k = 0; k < row->size; k++) {
            const float value = job->params.weight[row->offset + k];
            if (fits_type(type, value)) continue;
            TDM_REQUIRE(isfinite(value), TDM_E_NUMERIC,
                        "%s: %s holds %s at element %lld: training went wrong before "
                        "it was saved; export an earlier checkpoint",
                        job->options->model, row->name, isnan(value) ? "NaN" : "an infinity", (long long)k);
            TDM_FAIL(TDM_E_NUMERIC, "%s: %s holds %g, which %s cannot; export it as f32%s",
                     job->options->model, row->name, (double)value, job->options->dtype,
                     type == TDM_TENSOR_F16 ? " or bf16" : "");
        }
    }
    return TDM_OK;
}

static tdm_status fill_list(const export_job *job, tensor_list *list)
{
    const int64_t most = job->params.count * (NAMING_PARTS + 1);
    TDM_TRY(TDM_ALLOC(most, &list->tensor));
    TDM_TRY(TDM_ALLOC(most, &list->name));
    TDM_TRY(TDM_ALLOC(most, &list->made));
    for (int64_t i = 0; i < job->params.count; i++) {
        TDM_TRY(add_row(job, &job->params.row[i], list));
        add_counter(job, &job->params.row[i], list);
    }
    return TDM_OK;
}

static tdm_status write_weights(const export_job *job)
{
    tensor_list list = {0};
    tdm_status status = fill_list(job, &list);
    if (status == TDM_OK) status = tdm_safetensors_write(job->weights, list.tensor, list.count);
    if (status == TDM_OK)
        tdm_log(TDM_LOG_INFO, "%s: %lld tensors under %s's names, %s", job->weights, (long long)list.count,
                job->naming->name, job->options->dtype);
    free_list(&list);
    return status;
}

/* ---- The folder ---- */

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

static tdm_status choose_paths(export_job *job)
{
    const char *to = job->options->to;
    TDM_REQUIRE(strlen(to) < sizeof job->dir, TDM_E_IO, "%.200s…: path is too long", to);
    strcpy(job->dir, to);
    if (!ends_with(to, WEIGHTS_END))
        return tdm_path_join(job->weights, sizeof job->weights, to, WEIGHTS_NAME);
    TDM_REQUIRE(!tdm_path_is_dir(to), TDM_E_USAGE, "%s: is a directory", to);
    strcpy(job->weights, to);
    char *slash = strrchr(job->dir, '/');
    if (slash == NULL)
        strcpy(job->dir, ".");
    else
        slash[slash == job->dir] = '\0';
    return TDM_OK;
}

static tdm_status check_free(const export_job *job, const char *path)
{
    TDM_REQUIRE(job->options->force || !tdm_path_exists(path), TDM_E_USAGE,
                "%s: is there already; choose another --to, or replace it with --force", path);
    return TDM_OK;
}

/* Files that the other programs, and tandem import, prefer to the ones written here. */
static const char *const preferred[] = {"tokenizer.json", "open_clip_model.safetensors"};

static tdm_status check_folder(const export_job *job)
{
    TDM_TRY(check_free(job, job->weights));
    for (size_t i = 0; i < sizeof preferred / sizeof preferred[0]; i++) {
        char path[TDM_PATH_BYTES];
        TDM_TRY(tdm_path_join(path, sizeof path, job->dir, preferred[i]));
        TDM_REQUIRE(
            !tdm_path_exists(path) || strcmp(path, job->weights) == 0, TDM_E_USAGE,
            "%s: would be read in place of what is written beside it; remove it, or choose another --to",
            path);
    }
    for (const char *const *name = job->naming->files(job); *name != NULL; name++) {
        char path[TDM_PATH_BYTES];
        TDM_TRY(tdm_path_join(path, sizeof path, job->dir, *name));
        TDM_TRY(check_free(job, path));
    }
    return TDM_OK;
}

static tdm_status write_side_file(const export_job *job, const char *name)
{
    char path[TDM_PATH_BYTES];
    tdm_text text = {0};
    TDM_TRY(tdm_path_join(path, sizeof path, job->dir, name));
    tdm_status status = job->naming->write_file(job, name, &text);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, text.data, text.length);
    tdm_text_free(&text);
    return status;
}

/* ---- The checkpoint ---- */

static tdm_status look_for_tokenizer(const char *dir, bool *there)
{
    tdm_h5 *file = NULL;
    tdm_status status = checkpoint_open_model(dir, &file);
    if (status == TDM_OK) status = tdm_h5_find(file, "tokenizer", there);
    tdm_h5_discard(&file);
    return status;
}

static tdm_status open_checkpoint(export_job *job)
{
    char dir[TDM_PATH_BYTES];
    TDM_TRY(tdm_checkpoint_find(job->options->model, true, dir, sizeof dir));
    TDM_TRY(tdm_checkpoint_check(NULL, dir, false));
    TDM_TRY(tdm_config_init(&job->config));
    bool tokenizer = false;
    TDM_TRY(look_for_tokenizer(dir, &tokenizer));
    TDM_TRY(tdm_checkpoint_read_config(dir, &job->config, tokenizer ? &job->tokenizer : NULL, NULL));
    tdm_selection chosen;
    tdm_checkpoint_selection(job->options->model, dir, &chosen);
    if (chosen.is_best)
        tdm_log(TDM_LOG_INFO, "%s: the best of its run, %s = %.4f, chosen on split %s", dir,
                job->config.checkpoint.best_metric, chosen.value, job->config.eval.split);
    if (job->naming->check != NULL) TDM_TRY(job->naming->check(job));
    TDM_TRY(model_rows(&job->config, &job->params));
    TDM_TRY(tdm_params_allocate(&job->params, false));
    if (!tokenizer) tdm_log(TDM_LOG_WARN, "%s: holds no tokenizer, so none is written", job->options->model);
    TDM_TRY(tdm_checkpoint_read_model(dir, &job->params));
    const int64_t silent = tdm_model_silence(&job->params);
    if (silent > 0)
        tdm_log(
            TDM_LOG_INFO,
            "%s: the output layers of %lld branches that model.*.drop leaves out are written as zeros: the "
            "exported model gives the same without knowing of it",
            job->options->model, (long long)silent);
    return TDM_OK;
}

static tdm_status check_options(export_job *job)
{
    const tdm_export_options *options = job->options;
    job->naming = naming_find(options->naming);
    TDM_REQUIRE(job->naming != NULL && job->naming->write_file != NULL, TDM_E_USAGE,
                "export: no naming \"%.80s\" to write; there are open_clip and huggingface", options->naming);
    TDM_REQUIRE(!strcmp(options->dtype, "f32") || !strcmp(options->dtype, "bf16") ||
                    !strcmp(options->dtype, "f16"),
                TDM_E_USAGE, "export: --dtype %.80s: must be f32, bf16 or f16", options->dtype);
    return choose_paths(job);
}

static tdm_status run_export(export_job *job)
{
    TDM_TRY(check_options(job));
    TDM_TRY(open_checkpoint(job));
    TDM_TRY(check_values(job));
    const tdm_dir_lock_options own = {
        .dir = job->dir, .command = "export", .steal = job->options->steal_lock};
    TDM_TRY(tdm_dir_lock_take(NULL, &own, &job->lock));
    TDM_TRY(check_folder(job));
    for (const char *const *name = job->naming->files(job); *name != NULL; name++) {
        TDM_TRY(write_side_file(job, *name));
    }
    return write_weights(job);
}

tdm_status tdm_export(const tdm_export_options *options)
{
    export_job job = {.options = options};
    const tdm_status status = run_export(&job);
    tdm_dir_lock_release(&job.lock);
    tdm_tokenizer_destroy(&job.tokenizer);
    tdm_params_destroy(&job.params);
    tdm_config_destroy(&job.config);
    return status;
}
