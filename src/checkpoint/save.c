/* Writing checkpoints. A checkpoint exists from the instant its temporary directory is renamed; `latest`
 * moves afterwards; older ones are renamed away before they are deleted. So a kill at any instant leaves
 * `latest` naming a whole checkpoint. Names that end in ".tmp" are nobody's. */
#include "checkpoint_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEMPORARY ".tmp"
enum { TOKENIZER_CHUNK_BYTES = 1 << 20 };

/* Removes a tree without losing the error that is on its way up. */
static void remove_quietly(const char *path)
{
    const tdm_error kept = *tdm_error_last();
    if (tdm_remove_tree(path) != TDM_OK) tdm_log(TDM_LOG_WARN, "%s", tdm_error_last()->message);
    (void)tdm_error_adopt(&kept);
}

/* ---- The two files ---- */

static tdm_status put_config(tdm_h5 *file, const tdm_config *config)
{
    tdm_text text = {0};
    tdm_status status = tdm_config_print(config, NULL, &text);
    if (status == TDM_OK) status = tdm_h5_put_text(file, "config", text.data);
    tdm_text_free(&text);
    return status;
}

static tdm_status put_arena(tdm_h5 *file, const char *group, const tdm_params *params, const float *arena)
{
    TDM_TRY(tdm_h5_put_group(file, group));
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        TDM_TRY(checkpoint_put_row(file, group, row, true, arena + row->offset));
    }
    return TDM_OK;
}

/* Number `first` of `source`'s rows and those after it, as a group. */
static tdm_status put_moments(tdm_h5 *file, const char *group, moments *source, int64_t first)
{
    TDM_TRY(tdm_h5_put_group(file, group));
    for (int64_t i = 0; i < source->params->count; i++) {
        const tdm_param *row = &source->params->row[i];
        const float *data;
        TDM_TRY(moments_row(source, first + i, &data));
        TDM_TRY(checkpoint_put_row(file, group, row, false, data));
    }
    return TDM_OK;
}

static tdm_status fill_model(tdm_h5 *file, const tdm_config *config, const tdm_params *params,
                             const tdm_tokenizer *tokenizer, int64_t step)
{
    TDM_TRY(tdm_h5_put_i64(file, "step", step));
    TDM_TRY(put_config(file, config));
    TDM_TRY(put_arena(file, "param", params, params->weight));
    if (tokenizer != NULL) {
        size_t bytes;
        const void *data = tdm_tokenizer_file(tokenizer, &bytes);
        const int64_t shape[1] = {(int64_t)bytes};
        TDM_TRY(tdm_h5_put_array(file, "tokenizer", TDM_H5_U8, 1, shape, TOKENIZER_CHUNK_BYTES, data));
    }
    return TDM_OK;
}

static tdm_status write_model(const char *path, const tdm_config *config, const tdm_params *params,
                              const tdm_tokenizer *tokenizer, int64_t step)
{
    tdm_h5 *file = NULL;
    tdm_status status = tdm_h5_create_aligned(path, CKPT_MODEL_FORMAT, CKPT_VERSION, &file);
    if (status == TDM_OK) status = fill_model(file, config, params, tokenizer, step);
    if (status == TDM_OK) status = tdm_h5_finish(&file);
    tdm_h5_discard(&file);
    return status;
}

static tdm_status fill_state(tdm_h5 *file, moments *source, const tdm_train_state *state)
{
    TDM_TRY(tdm_h5_put_i64(file, "step", state->step));
    TDM_TRY(tdm_h5_put_i64(file, "optim_step", source->optim->step));
    TDM_TRY(tdm_h5_put_f64(file, "elapsed_s", state->elapsed_s));
    TDM_TRY(tdm_h5_put_f64(file, "best_value", state->best_value));
    TDM_TRY(tdm_h5_put_i64(file, "best_step", state->best_step));
    TDM_TRY(progress_put(file, state));
    for (int k = 0; k < source->optim->moments; k++)
        TDM_TRY(
            put_moments(file, tdm_optim_moment_name(source->optim, k), source, k * source->params->count));
    return TDM_OK;
}

static tdm_status write_state(const char *path, moments *source, const tdm_train_state *state)
{
    tdm_h5 *file = NULL;
    tdm_status status = tdm_h5_create(path, CKPT_STATE_FORMAT, CKPT_VERSION, &file);
    if (status == TDM_OK) status = fill_state(file, source, state);
    if (status == TDM_OK) status = tdm_h5_finish(&file);
    tdm_h5_discard(&file);
    return status;
}

tdm_status tdm_checkpoint_write_model(const char *dir, const tdm_config *config, const tdm_params *params,
                                      const tdm_tokenizer *tokenizer, int64_t step)
{
    char path[TDM_PATH_BYTES], temporary[TDM_PATH_BYTES];
    TDM_TRY(tdm_make_dirs(dir));
    TDM_TRY(tdm_path_join(path, sizeof path, dir, "model.h5"));
    TDM_TRY(tdm_path_join(temporary, sizeof temporary, dir, "model.h5" TEMPORARY));
    tdm_status status = write_model(temporary, config, params, tokenizer, step);
    if (status == TDM_OK && rename(temporary, path) != 0) {
        status = TDM_ERROR(TDM_E_IO, "%s: cannot rename: %s", temporary, strerror(errno));
    }
    if (status != TDM_OK) {
        remove_quietly(temporary);
        return status;
    }
    return tdm_fsync_path(dir);
}

/* ---- The directory of checkpoints ---- */

int64_t checkpoint_step_of(const char *name)
{
    if (strncmp(name, "step-", 5) != 0 || strspn(name + 5, "0123456789") < 8) return -1;
    char *end;
    errno = 0;
    const long long step = strtoll(name + 5, &end, 10);
    return *end == '\0' && errno == 0 ? step : -1;
}

static int newest_first(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

tdm_status checkpoint_list(const char *dir, int64_t **step, int64_t *count)
{
    *step = NULL;
    *count = 0;
    DIR *listing = opendir(dir);
    TDM_REQUIRE(listing || errno == ENOENT, TDM_E_IO, "%s: cannot list: %s", dir, strerror(errno));
    if (listing == NULL) return TDM_OK;
    int64_t capacity = 0;
    int64_t *list = NULL;
    tdm_status status = TDM_OK;
    for (struct dirent *entry; status == TDM_OK && (entry = readdir(listing)) != NULL;) {
        const int64_t found = checkpoint_step_of(entry->d_name);
        if (found < 0) continue;
        if (*count == capacity) {
            capacity = capacity * 2 + 16;
            int64_t *grown = realloc(list, (size_t)capacity * sizeof *grown);
            if (grown == NULL) {
                status = TDM_ERROR(TDM_E_NOMEM, "%s: out of memory", dir);
                break;
            }
            list = grown;
        }
        list[(*count)++] = found;
    }
    closedir(listing);
    if (status != TDM_OK) {
        free(list);
        *count = 0;
        return status;
    }
    if (*count > 0) qsort(list, (size_t)*count, sizeof *list, newest_first);
    *step = list;
    return TDM_OK;
}

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    return n > m && strcmp(name + n - m, end) == 0;
}

/* What a killed run left behind. */
static tdm_status remove_leftovers(const char *dir)
{
    DIR *listing = opendir(dir);
    TDM_REQUIRE(listing, TDM_E_IO, "%s: cannot list: %s", dir, strerror(errno));
    tdm_status status = TDM_OK;
    for (struct dirent *entry; status == TDM_OK && (entry = readdir(listing)) != NULL;) {
        if (!ends_with(entry->d_name, TEMPORARY)) continue;
        char path[TDM_PATH_BYTES];
        status = tdm_path_join(path, sizeof path, dir, entry->d_name);
        if (status == TDM_OK) status = tdm_remove_tree(path);
    }
    closedir(listing);
    return status;
}

/* Puts the finished `temporary` in the place of `path`. A checkpoint of the same step (of a run that was
 * started anew) is exchanged in one step where the file system can. */
static tdm_status put_in_place(const char *dir, const char *temporary, const char *path)
{
    if (!tdm_path_exists(path)) {
        TDM_REQUIRE(rename(temporary, path) == 0, TDM_E_IO, "%s: cannot rename: %s", temporary,
                    strerror(errno));
        return tdm_fsync_path(dir);
    }
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_EXCHANGE) != 0) {
        char aside[TDM_PATH_BYTES];
        TDM_TRY(tdm_path_join(aside, sizeof aside, dir, "replaced" TEMPORARY));
        TDM_REQUIRE(rename(path, aside) == 0 && rename(temporary, path) == 0, TDM_E_IO,
                    "%s: cannot rename: %s", temporary, strerror(errno));
        TDM_TRY(tdm_remove_tree(aside));
    }
    TDM_TRY(tdm_fsync_path(dir));
    return tdm_remove_tree(temporary); /* the old one, or nothing */
}

static tdm_status write_pointer(const char *dir, const char *pointer, const char *name)
{
    char path[TDM_PATH_BYTES], line[64];
    TDM_TRY(tdm_path_join(path, sizeof path, dir, pointer));
    const int n = snprintf(line, sizeof line, "%s\n", name);
    return tdm_write_file_atomic(path, line, (size_t)n);
}

tdm_status tdm_checkpoint_point_best(const char *run_dir, int64_t step, bool *there)
{
    char dir[TDM_PATH_BYTES], path[TDM_PATH_BYTES], name[64];
    TDM_TRY(tdm_path_join(dir, sizeof dir, run_dir, "checkpoints"));
    snprintf(name, sizeof name, "step-%08lld", (long long)step);
    TDM_TRY(tdm_path_join(path, sizeof path, dir, name));
    *there = tdm_path_is_dir(path);
    return *there && checkpoint_pointed(dir, "best") != step ? write_pointer(dir, "best", name) : TDM_OK;
}

static tdm_status remove_checkpoint(const char *dir, int64_t step)
{
    char name[64], path[TDM_PATH_BYTES], aside[TDM_PATH_BYTES];
    snprintf(name, sizeof name, "step-%08lld", (long long)step);
    TDM_TRY(tdm_path_join(path, sizeof path, dir, name));
    snprintf(name, sizeof name, "step-%08lld" TEMPORARY, (long long)step);
    TDM_TRY(tdm_path_join(aside, sizeof aside, dir, name));
    TDM_REQUIRE(rename(path, aside) == 0, TDM_E_IO, "%s: cannot rename: %s", path, strerror(errno));
    return tdm_remove_tree(aside);
}

/* Removes all but the `keep` newest, the one just written and the best one. Those of later steps do not count and
 * stay: they are damaged, or of a course of the run that was given up. */
static tdm_status remove_old(const char *dir, int64_t keep, int64_t written)
{
    int64_t *step, count;
    TDM_TRY(checkpoint_list(dir, &step, &count));
    const int64_t best = checkpoint_pointed(dir, "best");
    tdm_status status = TDM_OK;
    int64_t later = 0;
    while (later < count && step[later] > written) later++;
    for (int64_t i = later + keep; i < count && status == TDM_OK; i++) {
        if (step[i] != written && step[i] != best) status = remove_checkpoint(dir, step[i]);
    }
    free(step);
    return status;
}

static tdm_status write_files(const char *dir, const tdm_config *config, const tdm_params *params,
                              moments *source, const tdm_tokenizer *tokenizer, const tdm_train_state *state)
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_make_dirs(dir));
    TDM_TRY(tdm_path_join(path, sizeof path, dir, "model.h5"));
    TDM_TRY(write_model(path, config, params, tokenizer, state->step));
    TDM_TRY(tdm_path_join(path, sizeof path, dir, "state.h5"));
    TDM_TRY(write_state(path, source, state));
    return tdm_fsync_path(dir);
}

/* Rank 0's part of a save. */
static tdm_status save_files(const char *run_dir, const tdm_config *config, const tdm_params *params,
                             moments *source, const tdm_tokenizer *tokenizer, const tdm_train_state *state,
                             bool best)
{
    char dir[TDM_PATH_BYTES], temporary[TDM_PATH_BYTES], path[TDM_PATH_BYTES], name[64];
    TDM_TRY(tdm_path_join(dir, sizeof dir, run_dir, "checkpoints"));
    TDM_TRY(tdm_make_dirs(dir));
    TDM_TRY(remove_leftovers(dir));
    snprintf(name, sizeof name, "step-%08lld" TEMPORARY, (long long)state->step);
    TDM_TRY(tdm_path_join(temporary, sizeof temporary, dir, name));
    name[strlen(name) - strlen(TEMPORARY)] = '\0';
    TDM_TRY(tdm_path_join(path, sizeof path, dir, name));

    tdm_status status = write_files(temporary, config, params, source, tokenizer, state);
    if (status == TDM_OK) status = put_in_place(dir, temporary, path);
    if (status != TDM_OK) {
        remove_quietly(temporary);
        return status;
    }
    /* a run goes on from `latest`, whose state knows the best one: `best` is never behind it */
    if (best) TDM_TRY(write_pointer(dir, "best", name));
    TDM_TRY(write_pointer(dir, "latest", name));
    return remove_old(dir, config->checkpoint.keep, state->step);
}

tdm_status checkpoint_save_local(const char *run_dir, const tdm_config *config, const tdm_params *params,
                                 const tdm_optim *optim, const tdm_tokenizer *tokenizer,
                                 const tdm_train_state *state, bool best)
{
    moments source = {.params = params, .optim = optim, .whole = true};
    return save_files(run_dir, config, params, &source, tokenizer, state, best);
}

static tdm_status save_from(tdm_comm *comm, const char *run_dir, const tdm_config *config,
                            const tdm_params *params, moments *source, const tdm_tokenizer *tokenizer,
                            const tdm_train_state *state, bool best)
{
    tdm_status status = TDM_OK;
    if (tdm_comm_rank(comm) == 0)
        status = save_files(run_dir, config, params, source, tokenizer, state, best);
    const tdm_error kept = *tdm_error_last();
    const tdm_status rest = moments_rest(source);
    if (status != TDM_OK) status = tdm_error_adopt(&kept);
    return tdm_comm_agree(comm, status != TDM_OK ? status : rest);
}

tdm_status tdm_checkpoint_save(tdm_comm *comm, const char *run_dir, const tdm_config *config,
                               const tdm_params *params, const tdm_optim *optim,
                               const tdm_tokenizer *tokenizer, const tdm_train_state *state, bool best)
{
    moments source;
    tdm_status status = tdm_comm_agree(comm, moments_create(comm, params, optim, &source));
    if (status == TDM_OK) status = save_from(comm, run_dir, config, params, &source, tokenizer, state, best);
    moments_destroy(&source);
    return status;
}
