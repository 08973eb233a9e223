/* Which checkpoint: names and pointers, and which is whole. Whole means that every byte of both files is the one that
 * was written. */
#include "checkpoint_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64 };

/* ---- Names and pointers ---- */

static bool holds_model(const char *dir)
{
    char path[TDM_PATH_BYTES];
    return tdm_path_join(path, sizeof path, dir, "model.h5") == TDM_OK && tdm_path_exists(path);
}

static void name_of(int64_t step, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "step-%08lld", (long long)step);
}

static tdm_status dir_of(const char *dir, int64_t step, char *out, size_t bytes)
{
    char name[NAME_BYTES];
    name_of(step, name);
    return tdm_path_join(out, bytes, dir, name);
}

int64_t checkpoint_pointed(const char *dir, const char *pointer)
{
    char path[TDM_PATH_BYTES];
    if (tdm_path_join(path, sizeof path, dir, pointer) != TDM_OK || !tdm_path_exists(path)) return -1;
    tdm_text text = {0};
    int64_t step = -1;
    if (tdm_read_file(path, &text) == TDM_OK) {
        text.data[strcspn(text.data, "\r\n")] = '\0';
        step = checkpoint_step_of(text.data);
        if (step < 0) tdm_log(TDM_LOG_WARN, "%s: names no checkpoint", path);
    }
    tdm_text_free(&text);
    return step;
}

/* The directory that DIR/latest or DIR/best names, when it is there; else out[0] = 0. */
static void follow_pointer(const char *dir, const char *pointer, char *out, size_t bytes)
{
    const int64_t step = checkpoint_pointed(dir, pointer);
    out[0] = '\0';
    if (step < 0) return;
    if (dir_of(dir, step, out, bytes) == TDM_OK && tdm_path_is_dir(out)) return;
    tdm_log(TDM_LOG_WARN, "%s/%s names step-%08lld, which is not there", dir, pointer, (long long)step);
    out[0] = '\0';
}

/* `best` or `latest` of a run directory, whichever is preferred and there, else the newest with a model; out[0] = 0
 * without any. */
static tdm_status find_in_run(const char *run_dir, bool prefer_best, char *out, size_t bytes)
{
    char dir[TDM_PATH_BYTES];
    int64_t *step, count;
    TDM_TRY(tdm_path_join(dir, sizeof dir, run_dir, "checkpoints"));
    out[0] = '\0';
    if (prefer_best) follow_pointer(dir, "best", out, bytes);
    if (out[0] == '\0') follow_pointer(dir, "latest", out, bytes);
    if (out[0] != '\0') return TDM_OK;
    TDM_TRY(checkpoint_list(dir, &step, &count));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < count && status == TDM_OK && out[0] == '\0'; i++) {
        status = dir_of(dir, step[i], out, bytes);
        if (status == TDM_OK && !holds_model(out)) out[0] = '\0';
    }
    free(step);
    return status;
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

void tdm_checkpoint_selection(const char *path, const char *dir, tdm_selection *selection)
{
    char checkpoints[TDM_PATH_BYTES], best[TDM_PATH_BYTES];
    tdm_train_state state;
    *selection = (tdm_selection){0};
    if (!tdm_path_is_dir(path) || holds_model(path)) return;
    if (tdm_path_join(checkpoints, sizeof checkpoints, path, "checkpoints") != TDM_OK) return;
    const int64_t step = checkpoint_pointed(checkpoints, "best");
    if (step < 0 || dir_of(checkpoints, step, best, sizeof best) != TDM_OK || strcmp(best, dir) != 0) return;
    if (tdm_checkpoint_read_progress(dir, &state) != TDM_OK || state.best_step != step) return;
    *selection = (tdm_selection){.is_best = true, .value = state.best_value, .epoch = state.best_epoch};
    memcpy(selection->eval_digest, state.eval_digest, sizeof selection->eval_digest);
}

tdm_status tdm_checkpoint_any(const char *run_dir, bool *any)
{
    char dir[TDM_PATH_BYTES];
    int64_t *step, count;
    TDM_TRY(tdm_path_join(dir, sizeof dir, run_dir, "checkpoints"));
    TDM_TRY(checkpoint_list(dir, &step, &count));
    free(step);
    *any = count > 0;
    return TDM_OK;
}

/* ---- Whether one is whole ---- */

static int rank_of(const tdm_comm *comm)
{
    return comm != NULL ? tdm_comm_rank(comm) : 0;
}

static tdm_status agree(tdm_comm *comm, tdm_status local)
{
    return comm != NULL ? tdm_comm_agree(comm, local) : local;
}

/* Both files are of the same step: nobody mixed two checkpoints. */
static tdm_status check_steps(const char *dir, bool with_state)
{
    tdm_h5 *file = NULL;
    int64_t step[2] = {-1, -1};
    for (int i = 0; i < (with_state ? 2 : 1); i++) {
        tdm_status status = i == 0 ? checkpoint_open_model(dir, &file) : checkpoint_open_state(dir, &file);
        if (status == TDM_OK) status = tdm_h5_get_i64(file, "step", &step[i]);
        tdm_h5_discard(&file);
        TDM_TRY(status);
    }
    TDM_REQUIRE(!with_state || step[0] == step[1], TDM_E_FORMAT,
                "%s: is damaged: model.h5 is of step %lld, state.h5 of step %lld", dir, (long long)step[0],
                (long long)step[1]);
    return TDM_OK;
}

static tdm_status check_file(const char *dir, const char *name, int part, int parts, bool all, bool *sealed)
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, dir, name));
    TDM_REQUIRE(tdm_path_exists(path) || errno != ENOENT, TDM_E_FORMAT, "%s: is damaged: is missing", path);
    return all ? tdm_h5_verify_part(path, part, parts, sealed)
               : tdm_h5_compare_seal(path, part, parts, sealed);
}

/* This rank's part of the work. */
static tdm_status check_part(tdm_comm *comm, const char *dir, bool with_state, bool all, bool *sealed)
{
    const int rank = rank_of(comm), size = comm != NULL ? tdm_comm_size(comm) : 1;
    TDM_TRY(check_file(dir, "model.h5", rank, size, all, sealed));
    if (!with_state) return rank == 0 ? check_steps(dir, false) : TDM_OK;
    TDM_TRY(check_file(dir, "state.h5", rank, size, all, sealed));
    return rank == 0 ? check_steps(dir, true) : TDM_OK;
}

tdm_status tdm_checkpoint_check(tdm_comm *comm, const char *dir, bool with_state)
{
    bool sealed = false;
    TDM_TRY(agree(comm, check_part(comm, dir, with_state, with_state, &sealed)));
    if (!sealed)
        tdm_log(
            TDM_LOG_INFO,
            "%s: carries no checksums of its whole files (an older version wrote it, or another program changed "
            "it); those of its data sets are compared",
            dir);
    return TDM_OK;
}

tdm_status tdm_checkpoint_verify(const char *dir)
{
    char state[TDM_PATH_BYTES];
    bool sealed;
    TDM_TRY(tdm_path_join(state, sizeof state, dir, "state.h5"));
    return check_part(NULL, dir, tdm_path_exists(state), true, &sealed); /* an imported model has no state */
}

/* ---- The newest whole one ---- */

/* In the order in which they are tried: the one that `latest` names, those before it, those after it (of a course of
 * the run that was given up), each the newest first. */
typedef struct candidates {
    char dir[TDM_PATH_BYTES]; /* RUN/checkpoints */
    int64_t *step, count;     /* owned (free) */
    int64_t newest;           /* that there should be; -1: none */
} candidates;

static tdm_status list_candidates(const char *run_dir, candidates *list)
{
    TDM_TRY(tdm_path_join(list->dir, sizeof list->dir, run_dir, "checkpoints"));
    TDM_TRY(checkpoint_list(list->dir, &list->step, &list->count));
    const int64_t pointed = checkpoint_pointed(list->dir, "latest");
    list->newest = pointed >= 0 || list->count == 0 ? pointed : list->step[0];
    int64_t later = 0;
    while (pointed >= 0 && later < list->count && list->step[later] > pointed) later++;
    if (pointed >= 0 && (later == list->count || list->step[later] != pointed))
        tdm_log(TDM_LOG_WARN, "%s/latest names step-%08lld, which is not there", list->dir,
                (long long)pointed);
    if (later == 0) return TDM_OK;
    int64_t *kept;
    TDM_TRY(TDM_ALLOC(later, &kept));
    memcpy(kept, list->step, (size_t)later * sizeof *kept);
    memmove(list->step, list->step + later, (size_t)(list->count - later) * sizeof *kept);
    memcpy(list->step + list->count - later, kept, (size_t)later * sizeof *kept);
    tdm_free(kept);
    return TDM_OK;
}

/* Rank 0's list on every rank. */
static tdm_status share_candidates(tdm_comm *comm, const char *run_dir, candidates *list)
{
    tdm_status status = rank_of(comm) == 0 ? list_candidates(run_dir, list) : TDM_OK;
    TDM_TRY(agree(comm, status));
    if (comm == NULL) return TDM_OK;
    tdm_comm_broadcast(comm, &list->count, sizeof list->count, 0);
    if (rank_of(comm) != 0) {
        status = tdm_path_join(list->dir, sizeof list->dir, run_dir, "checkpoints");
        if (status == TDM_OK && list->count > 0) {
            list->step = malloc((size_t)list->count * sizeof *list->step);
            if (list->step == NULL) status = TDM_ERROR(TDM_E_NOMEM, "%s: out of memory", list->dir);
        }
    }
    TDM_TRY(agree(comm, status));
    if (list->count > 0) tdm_comm_broadcast(comm, list->step, list->count * (int64_t)sizeof *list->step, 0);
    return TDM_OK;
}

/* "; step-00000020: model.h5: is damaged: …" */
static tdm_status add_loss(tdm_text *losses, const char *dir, int64_t step, const char *message)
{
    const size_t length = strlen(dir);
    const bool inside = strncmp(message, dir, length) == 0;
    message += inside ? length : 0;
    return tdm_text_printf(losses, "%sstep-%08lld: %s", losses->length > 0 ? "; " : "", (long long)step,
                           message + (inside ? strspn(message, "/: ") : 0));
}

static tdm_status try_candidates(tdm_comm *comm, const candidates *list, tdm_text *losses, char *out,
                                 size_t bytes, int64_t *chosen)
{
    for (int64_t i = 0; i < list->count; i++) {
        TDM_TRY(dir_of(list->dir, list->step[i], out, bytes));
        const tdm_status status = tdm_checkpoint_check(comm, out, true);
        *chosen = list->step[i];
        if (status == TDM_OK) return TDM_OK;
        if (status != TDM_E_FORMAT) return status; /* not its fault: no permission, out of memory */
        tdm_log(TDM_LOG_WARN, "%s; it stays where it is, an older checkpoint is tried",
                tdm_error_last()->message);
        TDM_TRY(add_loss(losses, out, list->step[i], tdm_error_last()->message));
    }
    out[0] = '\0';
    TDM_REQUIRE(list->count == 0, TDM_E_FORMAT, "%s: no checkpoint is whole: %s", list->dir, losses->data);
    return TDM_OK;
}

tdm_status tdm_checkpoint_latest(tdm_comm *comm, const char *run_dir, char *out, size_t bytes)
{
    candidates list = {.newest = -1};
    tdm_text losses = {0};
    int64_t chosen = -1;
    out[0] = '\0';
    tdm_status status = share_candidates(comm, run_dir, &list);
    if (status == TDM_OK) status = try_candidates(comm, &list, &losses, out, bytes, &chosen);
    if (status == TDM_OK && chosen >= 0 && chosen < list.newest)
        tdm_log(
            TDM_LOG_WARN,
            "%s: going on from step-%08lld instead of step-%08lld: steps %lld to %lld have to be made again",
            list.dir, (long long)chosen, (long long)list.newest, (long long)chosen + 1,
            (long long)list.newest);
    free(list.step);
    tdm_text_free(&losses);
    return status;
}
