/* Weights to start training from: a checkpoint whose towers are the model's, but for the number of positions.
 */
#include "convert_impl.h"

#include <string.h>

tdm_status tdm_pretrained_config(const char *dir, tdm_config *config)
{
    tdm_config stored = {0};
    tdm_text text = {0};
    tdm_status status = tdm_config_init(&stored);
    if (status == TDM_OK) status = tdm_checkpoint_read_config(dir, &stored, NULL, NULL);
    if (status == TDM_OK) status = tdm_config_print(&stored, "model", &text);
    if (status == TDM_OK) status = tdm_config_load_text(config, dir, text.data);
    if (status == TDM_OK) status = tdm_config_set(config, "model.pretrained=");
    if (status == TDM_OK) status = tdm_config_set(config, "model.tokenizer=");
    tdm_text_free(&text);
    tdm_config_destroy(&stored);
    return status;
}

/* A parameter of one of the two towers, which a checkpoint must hold; others are heads of objectives. */
static bool is_tower_row(const char *row)
{
    static const char *const patterns[] = {
        "visual.*",    "transformer.*",   "token_embedding.*",    "ln_final.*",
        "logit_scale", "text_projection", "positional_embedding", NULL};
    return naming_fits_any(patterns, row);
}

/* Names with ", " between, for one log line. */
typedef struct row_list {
    tdm_text names;
    int64_t count;
} row_list;

static tdm_status list_row(row_list *list, const char *row)
{
    enum { SHOWN = 12 };
    const int64_t before = list->count++;
    if (before > SHOWN) return TDM_OK;
    return tdm_text_printf(&list->names, "%s%s", before > 0 ? ", " : "", before < SHOWN ? row : "…");
}

static void log_rows(const char *dir, const row_list *list, const char *what)
{
    if (list->count > 0)
        tdm_log(TDM_LOG_WARN, "%s: %lld %s: %s", dir, (long long)list->count, what, list->names.data);
}

static tdm_status read_resized(tdm_h5 *file, const char *method, const tdm_param *row, position_grid old,
                               position_grid new, const int64_t *shape, float *weight)
{
    float *from = NULL;
    TDM_TRY(TDM_ALLOC(shape[0] * shape[1], &from));
    tdm_status status = checkpoint_get_row(file, "param", row->name, 2, shape, from);
    if (status == TDM_OK)
        status = resize_positions(tdm_h5_path(file), method, row, old, new, shape[0], from, weight);
    tdm_free(from);
    return status;
}

typedef struct pretrained_job {
    tdm_h5 *file;
    const tdm_config *config;
    position_grid old, new;
    row_list absent, beyond;
} pretrained_job;

static tdm_status shape_error(const pretrained_job *job, const tdm_param *row, int ndim, const int64_t *shape)
{
    char have[160], want[160];
    shape_text(ndim, shape, have, sizeof have);
    shape_text(row->ndim, row->shape, want, sizeof want);
    TDM_FAIL(TDM_E_SHAPE, "%s: %s is %s, the model's is %s", tdm_h5_path(job->file), row->name, have, want);
}

static tdm_status read_row(pretrained_job *job, const tdm_param *row, float *weight)
{
    int ndim;
    int64_t shape[TDM_H5_MAX_DIMS];
    TDM_TRY(checkpoint_row_shape(job->file, "param", row->name, &ndim, shape));
    if (ndim < 0) {
        TDM_REQUIRE(!is_tower_row(row->name), TDM_E_SHAPE, "%s: holds no %s, which the model has",
                    tdm_h5_path(job->file), row->name);
        return list_row(&job->absent, row->name);
    }
    const bool position = is_position_row(row->name) && ndim == 2 && shape[1] == row->shape[1];
    const bool moved =
        row->name[0] == 'v' && (job->old.rows != job->new.rows || job->old.columns != job->new.columns);
    if (position && (shape[0] != row->shape[0] || moved))
        return read_resized(job->file, job->config->model.position_resize, row, job->old, job->new, shape,
                            weight);
    bool same = ndim == row->ndim || (row->ndim == 0 && ndim == 1 && shape[0] == 1);
    for (int i = 0; same && i < row->ndim; i++) same = shape[i] == row->shape[i];
    if (!same) return shape_error(job, row, ndim, shape);
    return checkpoint_get_row(job->file, "param", row->name, row->ndim, row->shape, weight);
}

/* What the checkpoint has beyond the model: heads are left out, parts of a tower are an error. */
static tdm_status find_beyond(pretrained_job *job, const tdm_params *params)
{
    int64_t links;
    TDM_TRY(tdm_h5_group_size(job->file, "param", &links));
    for (int64_t i = 0; i < links; i++) {
        char name[256];
        TDM_TRY(tdm_h5_link_name(job->file, "param", i, name, sizeof name));
        if (tdm_params_find(params, name) != NULL) continue;
        TDM_REQUIRE(!is_tower_row(name), TDM_E_SHAPE, "%s: holds %s, which the model has not",
                    tdm_h5_path(job->file), name);
        TDM_TRY(list_row(&job->beyond, name));
    }
    return TDM_OK;
}

static tdm_status read_all(pretrained_job *job, const char *dir, tdm_params *params)
{
    tdm_config stored = {0};
    TDM_TRY(tdm_config_init(&stored));
    tdm_status status = tdm_checkpoint_read_config(dir, &stored, NULL, NULL);
    if (status == TDM_OK) {
        job->old = grid_of(&stored);
        job->new = grid_of(job->config);
    }
    tdm_config_destroy(&stored);
    TDM_TRY(status);
    TDM_TRY(checkpoint_open_model(dir, &job->file));
    TDM_TRY(find_beyond(job, params));
    for (int64_t i = 0; i < params->count; i++) {
        TDM_TRY(tdm_stop_point("while reading %s", dir));
        TDM_TRY(read_row(job, &params->row[i], params->weight + params->row[i].offset));
    }
    log_rows(dir, &job->absent, "not in it, so initialised anew");
    log_rows(dir, &job->beyond, "not in the model, so left out");
    tdm_log(TDM_LOG_INFO, "%s: %lld of %lld parameters start from it", dir,
            (long long)(params->count - job->absent.count), (long long)params->count);
    return TDM_OK;
}

tdm_status tdm_pretrained_read(const char *dir, const tdm_config *config, tdm_params *params)
{
    pretrained_job job = {.config = config};
    const tdm_status status = read_all(&job, dir, params);
    tdm_h5_discard(&job.file);
    tdm_text_free(&job.absent.names);
    tdm_text_free(&job.beyond.names);
    return status;
}

tdm_status tdm_pretrained_holds(const char *dir, const char *row, bool *holds)
{
    tdm_h5 *file = NULL;
    int ndim = -1;
    int64_t shape[TDM_H5_MAX_DIMS];
    tdm_status status = checkpoint_open_model(dir, &file);
    if (status == TDM_OK) status = checkpoint_row_shape(file, "param", row, &ndim, shape);
    tdm_h5_discard(&file);
    *holds = ndim >= 0;
    return status;
}
