/* Weights to compute with. Where model.h5 has each row in one piece, rows are used where they stand in the file: they are
 * not copied, ranks of a node share the memory, and nothing is read of a tower that nobody asks for. Older files, and
 * those that another program has written into, are read as a whole. */
#include "checkpoint_impl.h"

#include <stdlib.h>
#include <string.h>

enum { ROW_ALIGNMENT = 64 }; /* that parameters have in an arena, too */

struct tdm_weights {
    char dir[TDM_PATH_BYTES], path[TDM_PATH_BYTES];
    tdm_h5_map *map; /* NULL: the file is read */
    tdm_h5_place *place;
    int64_t count;
    tdm_params *params; /* borrowed */
};

void tdm_weights_close(tdm_weights **weights)
{
    tdm_weights *dying = *weights;
    *weights = NULL;
    if (dying == NULL) return;
    tdm_h5_map_close(&dying->map);
    tdm_free(dying->place);
    tdm_free(dying);
}

static bool can_stay(const tdm_weights *w)
{
    bool can = true;
    for (int64_t i = 0; i < w->count; i++)
        can = can && w->place[i].at >= 0 && w->place[i].at % ROW_ALIGNMENT == 0 &&
              w->place[i].at <= tdm_h5_map_end(w->map) - w->place[i].bytes;
    return can;
}

static int by_place(const void *a, const void *b)
{
    return tdm_compare_i64(&(*(const tdm_h5_place *const *)a)->at, &(*(const tdm_h5_place *const *)b)->at);
}

/* All that is no row: the file's structure, configuration and tokenizer. */
static tdm_status compare_rest(const tdm_weights *w, const tdm_h5_place **ordered)
{
    int64_t at = 0;
    for (int64_t i = 0; i < w->count; i++) ordered[i] = &w->place[i];
    if (w->count > 0) qsort(ordered, (size_t)w->count, sizeof(*ordered), by_place);
    for (int64_t i = 0; i < w->count; i++) {
        TDM_TRY(tdm_h5_map_compare(w->map, at, tdm_max_i64(at, ordered[i]->at)));
        at = ordered[i]->at + ordered[i]->bytes;
    }
    return tdm_h5_map_compare(w->map, at, tdm_h5_map_end(w->map));
}

static tdm_status find_rows(tdm_weights *w)
{
    tdm_h5 *file = NULL;
    tdm_status status = checkpoint_open_model(w->dir, &file);
    if (status == TDM_OK) status = tdm_h5_find_places(file, "param", &w->place, &w->count);
    tdm_h5_discard(&file);
    TDM_TRY(status);
    if (!can_stay(w)) {
        tdm_h5_map_close(&w->map);
        return TDM_OK;
    }
    const tdm_h5_place **ordered;
    TDM_TRY(TDM_ALLOC(w->count, &ordered));
    status = compare_rest(w, ordered);
    tdm_free((void *)ordered);
    return status;
}

/* The file was looked into before it was compared: if it is damaged, its checksums know better what is the matter. */
static tdm_status explain(const char *path, tdm_status status)
{
    const tdm_error kept = *tdm_error_last();
    bool sealed;
    if (status == TDM_E_FORMAT) TDM_TRY(tdm_h5_compare_seal(path, 0, 1, &sealed));
    return tdm_error_adopt(&kept);
}

static tdm_status prepare(tdm_weights *w)
{
    TDM_TRY(tdm_path_join(w->path, sizeof w->path, w->dir, "model.h5"));
    TDM_TRY(tdm_h5_map_open(w->path, &w->map));
    if (w->map != NULL) {
        const tdm_status status = find_rows(w);
        if (status != TDM_OK) return explain(w->path, status);
    }
    return w->map != NULL ? TDM_OK : tdm_checkpoint_check(NULL, w->dir, false);
}

tdm_status tdm_weights_open(const char *dir, tdm_weights **weights)
{
    TDM_TRY(TDM_ALLOC(1, weights));
    snprintf((*weights)->dir, sizeof(*weights)->dir, "%s", dir);
    const tdm_status status = prepare(*weights);
    if (status != TDM_OK) tdm_weights_close(weights);
    return status;
}

tdm_status tdm_weights_lend(tdm_weights *weights, tdm_params *params)
{
    weights->params = params;
    if (weights->map == NULL) return tdm_params_allocate(params, false);
    TDM_TRY(tdm_h5_map_check_name(weights->map)); /* places and configuration were read by it */
    TDM_TRY(checkpoint_compare_places(weights->path, "param", weights->place, weights->count, params));
    params->weight = (float *)(uintptr_t)tdm_h5_map_bytes(weights->map);
    params->is_lent = true;
    params->total = tdm_h5_map_end(weights->map) / (int64_t)sizeof(float);
    for (int64_t i = 0; i < params->count; i++) {
        tdm_param *row = &params->row[i];
        row->offset =
            checkpoint_find_place(weights->place, weights->count, row->name)->at / (int64_t)sizeof(float);
    }
    return TDM_OK;
}

tdm_status tdm_weights_need(tdm_weights *weights, tdm_modality tower)
{
    const tdm_params *params = weights->params;
    if (weights->map == NULL) return tdm_checkpoint_read_tower(weights->dir, tower, weights->params);
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        const int64_t at = row->offset * (int64_t)sizeof(float);
        if (row->tower >= 0 && row->tower != (int)tower) continue;
        TDM_TRY(tdm_h5_map_compare(weights->map, at, at + row->size * (int64_t)sizeof(float)));
    }
    return TDM_OK;
}
