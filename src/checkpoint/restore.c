/* Finding and reading checkpoints. */
#include "checkpoint_impl.h"

#include "tandem/model.h"

#include <stdlib.h>
#include <string.h>

enum { LISTED = 5 }; /* names shown per kind of mismatch */

/* ---- Finding ---- */

static bool holds_model(const char *dir)
{
    char path[TDM_PATH_BYTES];
    return tdm_path_join(path, sizeof path, dir, "model.h5") == TDM_OK && tdm_path_exists(path);
}

/* The directory that DIR/latest or DIR/best names, when it holds a model; else out[0] = 0. */
static void follow_pointer(const char *dir, const char *pointer, char *out, size_t bytes)
{
    char path[TDM_PATH_BYTES];
    tdm_text text = {0};
    out[0] = '\0';
    if (tdm_path_join(path, sizeof path, dir, pointer) != TDM_OK || !tdm_path_exists(path)) return;
    if (tdm_read_file(path, &text) == TDM_OK) {
        text.data[strcspn(text.data, "\r\n")] = '\0';
        if (checkpoint_step_of(text.data) < 0 || tdm_path_join(out, bytes, dir, text.data) != TDM_OK ||
            !holds_model(out)) {
            out[0] = '\0';
        }
    }
    tdm_text_free(&text);
}

static bool opens(const char *dir, const char *name, const char *format)
{
    char path[TDM_PATH_BYTES];
    tdm_h5 *file = NULL;
    if (tdm_path_join(path, sizeof path, dir, name) != TDM_OK) return false;
    if (tdm_h5_open(path, format, CKPT_VERSION, &file) != TDM_OK) return false;
    tdm_h5_discard(&file);
    return true;
}

static bool is_whole(const char *dir)
{
    return opens(dir, "model.h5", CKPT_MODEL_FORMAT) && opens(dir, "state.h5", CKPT_STATE_FORMAT);
}

/* The newest directory in `dir` that is whole, or out[0] = 0. */
static tdm_status newest_whole(const char *dir, char *out, size_t bytes)
{
    int64_t *step, count;
    out[0] = '\0';
    TDM_TRY(checkpoint_list(dir, &step, &count));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < count && status == TDM_OK && out[0] == '\0'; i++) {
        char name[64];
        snprintf(name, sizeof name, "step-%08lld", (long long)step[i]);
        status = tdm_path_join(out, bytes, dir, name);
        if (status == TDM_OK && !is_whole(out)) out[0] = '\0';
    }
    free(step);
    return status;
}

tdm_status tdm_checkpoint_latest(const char *run_dir, char *out, size_t bytes)
{
    char dir[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(dir, sizeof dir, run_dir, "checkpoints"));
    follow_pointer(dir, "latest", out, bytes);
    if (out[0] != '\0') {
        if (is_whole(out)) return TDM_OK;
        tdm_log(TDM_LOG_WARN, "%s; looking for an older checkpoint", tdm_error_last()->message);
    }
    return newest_whole(dir, out, bytes);
}

/* `best` or `latest` of a run directory, whichever is preferred and there; out[0] = 0 without any. */
static tdm_status find_in_run(const char *run_dir, bool prefer_best, char *out, size_t bytes)
{
    char dir[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(dir, sizeof dir, run_dir, "checkpoints"));
    out[0] = '\0';
    if (prefer_best) follow_pointer(dir, "best", out, bytes);
    if (out[0] == '\0') follow_pointer(dir, "latest", out, bytes);
    return out[0] == '\0' ? newest_whole(dir, out, bytes) : TDM_OK;
}

/* What to do about weights of another program; "" when the path does not look like them. */
static const char *import_hint(const char *path)
{
    static const char *const names[] = {"model.safetensors", "open_clip_model.safetensors",
                                        "pytorch_model.bin", "model.safetensors.index.json",
                                        "open_clip_pytorch_model.bin"};
    static const char *const endings[] = {".safetensors", ".pt", ".pth", ".bin", ".ckpt"};
    static const char hint[] = ": weights of another program become one by tandem import";
    char inside[TDM_PATH_BYTES];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (tdm_path_join(inside, sizeof inside, path, names[i]) == TDM_OK && tdm_path_exists(inside))
            return hint;
    }
    const size_t n = strlen(path);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        const size_t m = strlen(endings[i]);
        if (n > m && strcmp(path + n - m, endings[i]) == 0) return hint;
    }
    return "";
}

tdm_status tdm_checkpoint_find(const char *path, bool prefer_best, char *out, size_t bytes)
{
    TDM_REQUIRE(tdm_path_exists(path), TDM_E_IO, "%s: there is no such checkpoint", path);
    if (tdm_path_is_dir(path)) {
        if (holds_model(path)) {
            TDM_REQUIRE(strlen(path) < bytes, TDM_E_IO, "%s: path is too long", path);
            strcpy(out, path);
            return TDM_OK;
        }
        TDM_TRY(find_in_run(path, prefer_best, out, bytes));
        TDM_REQUIRE(out[0] != '\0', TDM_E_IO, "%s: holds no checkpoint (neither model.h5 nor checkpoints/)%s",
                    path, import_hint(path));
        return TDM_OK;
    }
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    TDM_REQUIRE(strcmp(name, "model.h5") == 0, TDM_E_IO,
                "%s: is not a checkpoint (a directory, or its model.h5)%s", path, import_hint(path));
    const size_t length = slash ? (size_t)(slash - path) : 1;
    TDM_REQUIRE(length + 2 < bytes, TDM_E_IO, "%s: path is too long", path);
    snprintf(out, bytes, "%.*s", (int)tdm_max_i64(1, (int64_t)length), slash ? path : ".");
    return TDM_OK;
}

/* ---- Reading ---- */

static tdm_status open_in(const char *dir, const char *name, const char *format, tdm_h5 **file)
{
    char path[TDM_PATH_BYTES];
    *file = NULL;
    TDM_TRY(tdm_path_join(path, sizeof path, dir, name));
    return tdm_h5_open(path, format, CKPT_VERSION, file);
}

tdm_status checkpoint_open_model(const char *dir, tdm_h5 **file)
{
    return open_in(dir, "model.h5", CKPT_MODEL_FORMAT, file);
}

static tdm_status read_tokenizer(tdm_h5 *file, tdm_tokenizer **tokenizer)
{
    TDM_REQUIRE(tdm_h5_has(file, "tokenizer"), TDM_E_FORMAT,
                "%s: holds no tokenizer (import it with --tokenizer)", tdm_h5_path(file));
    tdm_text bytes = {0};
    tdm_status status = tdm_h5_get_bytes(file, "tokenizer", &bytes);
    if (status == TDM_OK) {
        status = tdm_tokenizer_open_memory(tdm_h5_path(file), bytes.data, bytes.length, tokenizer);
    }
    tdm_text_free(&bytes);
    return status;
}

tdm_status tdm_checkpoint_read_tokenizer(const char *dir, tdm_tokenizer **tokenizer)
{
    tdm_h5 *file = NULL;
    *tokenizer = NULL;
    tdm_status status = checkpoint_open_model(dir, &file);
    if (status == TDM_OK) status = read_tokenizer(file, tokenizer);
    tdm_h5_discard(&file);
    return status;
}

static tdm_status read_config(tdm_h5 *file, tdm_config *config)
{
    tdm_text text = {0};
    tdm_status status = tdm_h5_get_text(file, "config", &text);
    if (status == TDM_OK) status = tdm_config_load_text(config, tdm_h5_path(file), text.data);
    tdm_text_free(&text);
    return status;
}

/* A model of cached text features does without a tokenizer. */
static bool reads_tokens(const tdm_config *config)
{
    tdm_tower_reads reads;
    int64_t width;
    return tdm_model_reads(config, TDM_TEXT, &reads, &width) != TDM_OK || reads == TDM_READS_TOKENS;
}

tdm_status tdm_checkpoint_read_config(const char *dir, tdm_config *config, tdm_tokenizer **tokenizer,
                                      int64_t *step)
{
    if (tokenizer != NULL) *tokenizer = NULL;
    tdm_h5 *file = NULL;
    tdm_status status = checkpoint_open_model(dir, &file);
    if (status == TDM_OK && step != NULL) status = tdm_h5_get_i64(file, "step", step);
    if (status == TDM_OK) status = read_config(file, config);
    const bool wanted = status == TDM_OK && tokenizer != NULL;
    if (wanted && (tdm_h5_has(file, "tokenizer") || reads_tokens(config)))
        status = read_tokenizer(file, tokenizer);
    tdm_h5_discard(&file);
    return status;
}

/* ", a" … and at the end " …" */
static tdm_status list_name(tdm_text *text, int64_t *count, const char *name)
{
    ++*count;
    if (*count > LISTED + 1) return TDM_OK;
    if (*count > LISTED) return tdm_text_printf(text, ", …");
    return tdm_text_printf(text, "%s%s", *count > 1 ? ", " : "", name);
}

void shape_text(int ndim, const int64_t *shape, char *text, size_t bytes)
{
    size_t at = (size_t)snprintf(text, bytes, "[");
    for (int i = 0; i < ndim && at < bytes; i++) {
        at += (size_t)snprintf(text + at, bytes - at, "%s%lld", i > 0 ? ", " : "", (long long)shape[i]);
    }
    if (at < bytes) snprintf(text + at, bytes - at, "]");
}

static tdm_status compare_row(tdm_h5 *file, const char *group, const tdm_param *row, tdm_text *missing,
                              int64_t *n_missing, tdm_text *shapes, int64_t *n_shapes)
{
    int ndim;
    int64_t shape[TDM_H5_MAX_DIMS];
    if (!checkpoint_row_shape(file, group, row->name, &ndim, shape))
        return list_name(missing, n_missing, row->name);
    bool same = ndim == row->ndim || (row->ndim == 0 && ndim == 1 && shape[0] == 1);
    for (int i = 0; same && i < row->ndim; i++) same = shape[i] == row->shape[i];
    if (same) return TDM_OK;
    char have[100], want[100], line[360];
    shape_text(ndim, shape, have, sizeof have);
    shape_text(row->ndim, row->shape, want, sizeof want);
    snprintf(line, sizeof line, "%s is %s, expected %s", row->name, have, want);
    return list_name(shapes, n_shapes, line);
}

static tdm_status find_unknown(tdm_h5 *file, const char *group, const tdm_params *params, tdm_text *unknown,
                               int64_t *n_unknown)
{
    int64_t links;
    TDM_TRY(tdm_h5_group_size(file, group, &links));
    for (int64_t i = 0; i < links; i++) {
        char name[256];
        TDM_TRY(tdm_h5_link_name(file, group, i, name, sizeof name));
        if (params->grad == NULL && tdm_param_of_objective(name)) continue; /* only training needs them */
        if (tdm_params_find(params, name) == NULL) TDM_TRY(list_name(unknown, n_unknown, name));
    }
    return TDM_OK;
}

/* "2 missing (a, b)"; nothing when count is 0. */
static tdm_status add_mismatch(tdm_text *message, int64_t count, const char *kind, const tdm_text *names)
{
    if (count == 0) return TDM_OK;
    return tdm_text_printf(message, "%s %lld %s (%s)", message->length > 0 ? "," : "", (long long)count, kind,
                           names->data);
}

/* The group's data sets are exactly the parameters, or one message names what differs. */
static tdm_status check_same_model(tdm_h5 *file, const char *group, const tdm_params *params)
{
    tdm_text missing = {0}, unknown = {0}, shapes = {0}, message = {0};
    int64_t n_missing = 0, n_unknown = 0, n_shapes = 0;
    tdm_status status = find_unknown(file, group, params, &unknown, &n_unknown);
    for (int64_t i = 0; i < params->count && status == TDM_OK; i++) {
        status = compare_row(file, group, &params->row[i], &missing, &n_missing, &shapes, &n_shapes);
    }
    if (status == TDM_OK) status = add_mismatch(&message, n_missing, "missing", &missing);
    if (status == TDM_OK) status = add_mismatch(&message, n_unknown, "unknown", &unknown);
    if (status == TDM_OK) status = add_mismatch(&message, n_shapes, "of another shape", &shapes);
    if (status == TDM_OK && message.length > 0) {
        status =
            TDM_ERROR(TDM_E_SHAPE, "%s: is of another model: /%s:%s", tdm_h5_path(file), group, message.data);
    }
    tdm_text_free(&missing);
    tdm_text_free(&unknown);
    tdm_text_free(&shapes);
    tdm_text_free(&message);
    return status;
}

static tdm_status read_arena(tdm_h5 *file, const char *group, const tdm_params *params, float *arena)
{
    TDM_TRY(check_same_model(file, group, params));
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        TDM_TRY(checkpoint_get_row(file, group, row->name, row->ndim, row->shape, arena + row->offset));
    }
    return TDM_OK;
}

/* The optimiser's part of a group, through `buffer`, which holds the largest row. */
static tdm_status read_part(tdm_h5 *file, const char *group, const tdm_params *params, const tdm_optim *optim,
                            float *buffer, float *to)
{
    TDM_TRY(check_same_model(file, group, params));
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        const int64_t end = row->offset + row->size;
        int64_t from = row->offset, at;
        tdm_span piece;
        for (bool loaded = false; tdm_optim_next(optim, &from, end, &piece, &at); loaded = true) {
            if (!loaded) TDM_TRY(checkpoint_get_row(file, group, row->name, row->ndim, row->shape, buffer));
            memcpy(to + at, buffer + piece.begin - row->offset,
                   (size_t)(piece.end - piece.begin) * sizeof *buffer);
        }
    }
    return TDM_OK;
}

static tdm_status read_moments(tdm_h5 *file, const tdm_params *params, const tdm_optim *optim)
{
    if (tdm_optim_is_whole(optim, params)) {
        for (int k = 0; k < optim->moments; k++)
            TDM_TRY(read_arena(file, tdm_optim_moment_name(optim, k), params, optim->moment[k]));
        return TDM_OK;
    }
    int64_t longest = 0;
    float *buffer;
    for (int64_t i = 0; i < params->count; i++) longest = tdm_max_i64(longest, params->row[i].size);
    TDM_TRY(TDM_ALLOC(longest, &buffer));
    tdm_status status = TDM_OK;
    for (int k = 0; status == TDM_OK && k < optim->moments; k++)
        status = read_part(file, tdm_optim_moment_name(optim, k), params, optim, buffer, optim->moment[k]);
    tdm_free(buffer);
    return status;
}

tdm_status tdm_checkpoint_read_model(const char *dir, tdm_params *params)
{
    tdm_h5 *file = NULL;
    tdm_status status = checkpoint_open_model(dir, &file);
    if (status == TDM_OK) status = read_arena(file, "param", params, params->weight);
    tdm_h5_discard(&file);
    return status;
}

static tdm_status read_state_file(tdm_h5 *file, const tdm_params *params, tdm_optim *optim,
                                  tdm_train_state *state)
{
    TDM_TRY(tdm_h5_get_i64(file, "step", &state->step));
    TDM_TRY(tdm_h5_get_i64(file, "optim_step", &optim->step));
    TDM_TRY(tdm_h5_get_f64(file, "elapsed_s", &state->elapsed_s));
    TDM_TRY(tdm_h5_get_f64(file, "best_value", &state->best_value));
    TDM_TRY(tdm_h5_get_i64(file, "best_step", &state->best_step));
    return read_moments(file, params, optim);
}

/* Both files are of the same step: nobody mixed two checkpoints. */
static tdm_status check_same_step(const char *dir, int64_t step)
{
    tdm_h5 *file = NULL;
    int64_t model_step = -1;
    tdm_status status = checkpoint_open_model(dir, &file);
    if (status == TDM_OK) status = tdm_h5_get_i64(file, "step", &model_step);
    tdm_h5_discard(&file);
    TDM_TRY(status);
    TDM_REQUIRE(model_step == step, TDM_E_FORMAT, "%s: model.h5 is of step %lld, state.h5 of step %lld", dir,
                (long long)model_step, (long long)step);
    return TDM_OK;
}

tdm_status tdm_checkpoint_read_state(const char *dir, const tdm_params *params, tdm_optim *optim,
                                     tdm_train_state *state)
{
    tdm_h5 *file = NULL;
    tdm_status status = open_in(dir, "state.h5", CKPT_STATE_FORMAT, &file);
    if (status == TDM_OK) status = read_state_file(file, params, optim, state);
    tdm_h5_discard(&file);
    TDM_TRY(status);
    return check_same_step(dir, state->step);
}

tdm_status tdm_checkpoint_verify(const char *dir)
{
    static const struct {
        const char *name, *format;
    } files[] = {{"model.h5", CKPT_MODEL_FORMAT}, {"state.h5", CKPT_STATE_FORMAT}};
    for (size_t i = 0; i < 2; i++) {
        char path[TDM_PATH_BYTES];
        TDM_TRY(tdm_path_join(path, sizeof path, dir, files[i].name));
        if (i == 1 && !tdm_path_exists(path)) continue; /* an imported model has no state */
        tdm_h5 *file = NULL;
        TDM_TRY(tdm_h5_open(path, files[i].format, CKPT_VERSION, &file));
        tdm_h5_discard(&file);
        TDM_TRY(tdm_h5_verify(path));
    }
    return TDM_OK;
}
