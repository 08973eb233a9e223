/* What import, export and training from pretrained weights share. */
#include "convert_impl.h"

#include "tandem/model.h"

#include <string.h>

tdm_status model_rows(const tdm_config *config, tdm_params *params)
{
    tdm_ops *ops = NULL;
    tdm_model *model = NULL;
    tdm_status status = tdm_ops_create(TDM_F32, 1, &ops);
    if (status == TDM_OK) status = tdm_model_create(config, ops, false, 1, params, &model);
    tdm_model_destroy(&model);
    tdm_ops_destroy(&ops);
    return status;
}

bool is_position_row(const char *row)
{
    return strcmp(row, "visual.positional_embedding") == 0 || strcmp(row, "positional_embedding") == 0 ||
           strcmp(row, "visual.attnpool.positional_embedding") == 0;
}

position_grid grid_of(const tdm_config *config)
{
    position_grid grid;
    tdm_model_grid(config, &grid.rows, &grid.columns);
    return grid;
}

tdm_status resize_positions(const char *where, const char *method, const tdm_param *row, position_grid old,
                            position_grid new, int64_t have, const float *from, float *weight)
{
    const int64_t width = row->shape[1];
    if (row->name[0] != 'v') {
        tdm_log(TDM_LOG_INFO, "%s: %lld positions of the text tower become %lld (linear, as %s)", where,
                (long long)have, (long long)row->shape[0], method);
        return tdm_resize_text_positions(method, have, row->shape[0], width, from, weight);
    }
    tdm_log(TDM_LOG_INFO, "%s: position embeddings of %lld x %lld patches become %lld x %lld (as %s)", where,
            (long long)old.rows, (long long)old.columns, (long long)new.rows, (long long)new.columns, method);
    return tdm_resize_image_positions(method, old.rows, old.columns, new.rows, new.columns, width, from,
                                      weight);
}
