/* What all ranks of a run must have read alike. Each function stands before the first collective whose size depends on
 * what it compares. */
#include "tandem/session.h"

static const char *or_default(const char *path)
{
    return path[0] ? path : "configuration";
}

static bool is_alone(const tdm_session *s)
{
    return tdm_comm_size(s->comm) == 1;
}

/* ---- Configuration ---- */

/* The pretrained model comes first: its definition stands in the configuration. */
static tdm_status list_config(const tdm_session *s, const char *file, tdm_reading *reading)
{
    if (s->pretrained[0]) TDM_TRY(tdm_checkpoint_reading(s->pretrained, "pretrained model", false, reading));
    return tdm_config_reading(&s->config, or_default(file), reading);
}

tdm_status tdm_session_agree_config(const tdm_session *s, const char *file)
{
    tdm_reading reading = {0};
    return is_alone(s) ? TDM_OK : tdm_comm_agree_on(s->comm, list_config(s, file, &reading), &reading);
}

/* ---- Data ---- */

static tdm_status list_data(const tdm_session *s, const tdm_dataset *eval, tdm_reading *reading)
{
    const tdm_config *c = &s->config;
    if (s->tokenizer)
        TDM_TRY(tdm_reading_add(reading, "tokenizer",
                                c->model.tokenizer[0] ? c->model.tokenizer : s->pretrained,
                                tdm_tokenizer_digest(s->tokenizer)));
    if (s->dataset) TDM_TRY(tdm_dataset_reading(s->dataset, "data set", reading));
    return eval ? tdm_dataset_reading(eval, "data set to evaluate on", reading) : TDM_OK;
}

tdm_status tdm_session_agree_data(const tdm_session *s, const tdm_dataset *eval)
{
    tdm_reading reading = {0};
    return is_alone(s) ? TDM_OK : tdm_comm_agree_on(s->comm, list_data(s, eval, &reading), &reading);
}

tdm_status tdm_session_agree_checkpoint(const tdm_session *s, const char *dir)
{
    tdm_reading reading = {0};
    if (is_alone(s)) return TDM_OK;
    return tdm_comm_agree_on(s->comm, tdm_checkpoint_reading(dir, "checkpoint", true, &reading), &reading);
}

/* ---- Parameters ---- */

/* Of each row at most its first `most` elements. */
static tdm_status list_rows(const tdm_params *params, const float *arena, int64_t most, const char *kind,
                            const char *path, tdm_reading *reading)
{
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        const size_t bytes = (size_t)tdm_min_i64(row->size, most) * sizeof *arena;
        char what[sizeof row->name + 16], hash[24];
        snprintf(what, sizeof what, "%s%s", kind, row->name);
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)tdm_xxh64(arena + row->offset, bytes));
        TDM_TRY(tdm_reading_add(reading, what, path, hash));
    }
    return TDM_OK;
}

/* All parameters, which are initialised or read and resized; of the moments, which come from state.h5 as they are and
 * are twice as many, the rows' beginnings. Those of a sharded optimiser are each rank's own. */
static tdm_status list_start(const tdm_session *s, const char *path, tdm_reading *reading)
{
    char step[24], kind[16];
    snprintf(step, sizeof step, "%lld", (long long)s->optim.step);
    TDM_TRY(tdm_reading_add(reading, "step", path, step));
    TDM_TRY(list_rows(&s->params, s->params.weight, INT64_MAX, "", path, reading));
    for (int k = 0; k < s->optim.moments && tdm_optim_is_whole(&s->optim, &s->params) && s->optim.step > 0;
         k++) {
        snprintf(kind, sizeof kind, "%.8s of ", tdm_optim_moment_name(&s->optim, k));
        TDM_TRY(list_rows(&s->params, s->optim.moment[k], 1 << 16, kind, path, reading));
    }
    return s->loader ? tdm_loader_reading(s->loader, reading) : TDM_OK;
}

tdm_status tdm_session_agree_start(const tdm_session *s, const char *from)
{
    char seed[32];
    tdm_reading reading = {0};
    if (is_alone(s)) return TDM_OK;
    snprintf(seed, sizeof seed, "seed %lld", (long long)s->config.seed);
    const char *path = from[0] ? from : s->pretrained[0] ? s->pretrained : seed;
    return tdm_comm_agree_on(s->comm, list_start(s, path, &reading), &reading);
}
