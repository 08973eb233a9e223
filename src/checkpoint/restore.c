/* Reading checkpoints. */
#include "checkpoint_impl.h"

#include "tandem/model.h"

#include <stdlib.h>
#include <string.h>

enum { LISTED = 5 }; /* names shown per kind of mismatch */

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

tdm_status checkpoint_open_state(const char *dir, tdm_h5 **file)
{
    return open_in(dir, "state.h5", CKPT_STATE_FORMAT, file);
}

static tdm_status read_tokenizer(tdm_h5 *file, tdm_tokenizer **tokenizer)
{
    bool there;
    TDM_TRY(tdm_h5_find(file, "tokenizer", &there));
    TDM_REQUIRE(there, TDM_E_FORMAT, "%s: holds no tokenizer (import it with --tokenizer)",
                tdm_h5_path(file));
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
    bool there = false;
    if (status == TDM_OK && tokenizer != NULL) status = tdm_h5_find(file, "tokenizer", &there);
    if (status == TDM_OK && tokenizer != NULL && (there || reads_tokens(config)))
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

static int compare_name(const void *name, const void *place)
{
    return strcmp(name, ((const tdm_h5_place *)place)->name);
}

const tdm_h5_place *checkpoint_find_place(const tdm_h5_place *place, int64_t count, const char *name)
{
    return count > 0 ? bsearch(name, place, (size_t)count, sizeof *place, compare_name) : NULL;
}

static tdm_status compare_row(const tdm_h5_place *stored, const tdm_param *row, tdm_text *missing,
                              int64_t *n_missing, tdm_text *shapes, int64_t *n_shapes)
{
    if (stored == NULL) return list_name(missing, n_missing, row->name);
    bool same = stored->ndim == row->ndim || (row->ndim == 0 && stored->ndim == 1 && stored->shape[0] == 1);
    for (int i = 0; same && i < row->ndim; i++) same = stored->shape[i] == row->shape[i];
    if (same) return TDM_OK;
    char have[100], want[100], line[360];
    shape_text(stored->ndim, stored->shape, have, sizeof have);
    shape_text(row->ndim, row->shape, want, sizeof want);
    snprintf(line, sizeof line, "%s is %s, expected %s", row->name, have, want);
    return list_name(shapes, n_shapes, line);
}

static tdm_status find_unknown(const tdm_h5_place *place, int64_t count, const tdm_params *params,
                               tdm_text *unknown, int64_t *n_unknown)
{
    for (int64_t i = 0; i < count; i++) {
        const char *name = place[i].name;
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

tdm_status checkpoint_compare_places(const char *path, const char *group, const tdm_h5_place *place,
                                     int64_t count, const tdm_params *params)
{
    tdm_text missing = {0}, unknown = {0}, shapes = {0}, message = {0};
    int64_t n_missing = 0, n_unknown = 0, n_shapes = 0;
    tdm_status status = find_unknown(place, count, params, &unknown, &n_unknown);
    for (int64_t i = 0; i < params->count && status == TDM_OK; i++) {
        const tdm_param *row = &params->row[i];
        status = compare_row(checkpoint_find_place(place, count, row->name), row, &missing, &n_missing,
                             &shapes, &n_shapes);
    }
    if (status == TDM_OK) status = add_mismatch(&message, n_missing, "missing", &missing);
    if (status == TDM_OK) status = add_mismatch(&message, n_unknown, "unknown", &unknown);
    if (status == TDM_OK) status = add_mismatch(&message, n_shapes, "of another shape", &shapes);
    if (status == TDM_OK && message.length > 0) {
        status = TDM_ERROR(TDM_E_SHAPE, "%s: is of another model: /%s:%s", path, group, message.data);
    }
    tdm_text_free(&missing);
    tdm_text_free(&unknown);
    tdm_text_free(&shapes);
    tdm_text_free(&message);
    return status;
}

static tdm_status check_same_model(const tdm_h5 *file, const char *group, const tdm_params *params)
{
    tdm_h5_place *place = NULL;
    int64_t count = 0;
    tdm_status status = tdm_h5_find_places(file, group, &place, &count);
    if (status == TDM_OK) status = checkpoint_compare_places(tdm_h5_path(file), group, place, count, params);
    tdm_free(place);
    return status;
}

/* Rows of all towers, or of one and of none. */
enum { ALL_TOWERS = -2 };
static tdm_status read_rows(tdm_h5 *file, const char *group, const tdm_params *params, int tower,
                            float *arena)
{
    TDM_TRY(check_same_model(file, group, params));
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        if (tower != ALL_TOWERS && row->tower >= 0 && row->tower != tower) continue;
        TDM_TRY(tdm_stop_point("while reading %s", tdm_h5_path(file)));
        TDM_TRY(checkpoint_get_row(file, group, row->name, row->ndim, row->shape, arena + row->offset));
    }
    return TDM_OK;
}

static tdm_status read_arena(tdm_h5 *file, const char *group, const tdm_params *params, float *arena)
{
    return read_rows(file, group, params, ALL_TOWERS, arena);
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
        TDM_TRY(tdm_stop_point("while reading %s", tdm_h5_path(file)));
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

tdm_status tdm_checkpoint_read_tower(const char *dir, tdm_modality tower, tdm_params *params)
{
    tdm_h5 *file = NULL;
    tdm_status status = checkpoint_open_model(dir, &file);
    if (status == TDM_OK) status = read_rows(file, "param", params, (int)tower, params->weight);
    tdm_h5_discard(&file);
    return status;
}

static tdm_status read_progress(tdm_h5 *file, tdm_train_state *state)
{
    memset(state, 0, sizeof *state);
    TDM_TRY(tdm_h5_get_i64(file, "step", &state->step));
    TDM_TRY(tdm_h5_get_f64(file, "elapsed_s", &state->elapsed_s));
    TDM_TRY(tdm_h5_get_f64(file, "best_value", &state->best_value));
    TDM_TRY(tdm_h5_get_i64(file, "best_step", &state->best_step));
    return progress_get(file, state);
}

static tdm_status read_state_file(tdm_h5 *file, const tdm_params *params, tdm_optim *optim,
                                  tdm_train_state *state)
{
    TDM_TRY(read_progress(file, state));
    TDM_TRY(tdm_h5_get_i64(file, "optim_step", &optim->step));
    return read_moments(file, params, optim);
}

tdm_status tdm_checkpoint_read_progress(const char *dir, tdm_train_state *state)
{
    tdm_h5 *file = NULL;
    tdm_status status = checkpoint_open_state(dir, &file);
    if (status == TDM_OK) status = read_progress(file, state);
    tdm_h5_discard(&file);
    return status;
}

tdm_status tdm_checkpoint_read_state(const char *dir, const tdm_params *params, tdm_optim *optim,
                                     tdm_train_state *state)
{
    tdm_h5 *file = NULL;
    tdm_status status = checkpoint_open_state(dir, &file);
    if (status == TDM_OK) status = read_state_file(file, params, optim, state);
    tdm_h5_discard(&file);
    return status;
}

tdm_status tdm_checkpoint_reading(const char *dir, const char *what, bool with_state, tdm_reading *reading)
{
    static const char *const names[] = {"model.h5", "state.h5"};
    char path[TDM_PATH_BYTES], digest[65];
    for (int i = 0; i < (with_state ? 2 : 1); i++) {
        TDM_TRY(tdm_path_join(path, sizeof path, dir, names[i]));
        TDM_TRY(tdm_h5_digest(path, digest));
        TDM_TRY(tdm_reading_add(reading, what, path, digest));
    }
    return TDM_OK;
}
