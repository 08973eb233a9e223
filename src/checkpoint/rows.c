/* Rows of the parameter table as data sets of a group: /param, /m, /v. */
#include "checkpoint_impl.h"

#include "tandem/pulse.h"

enum { CHUNK_BYTES = 1 << 20, NAME_BYTES = 256 };
#define MOST_CHUNK_BYTES (INT64_C(1) << 31) /* HDF5's limit is 4 GiB */

static tdm_status set_name(const tdm_h5 *file, const char *group, const char *row, char name[NAME_BYTES])
{
    const int n = snprintf(name, NAME_BYTES, "%s/%s", group, row);
    TDM_REQUIRE(n < NAME_BYTES, TDM_E_FORMAT, "%s: the name %s/%s is too long", tdm_h5_path(file), group,
                row);
    return TDM_OK;
}

tdm_status checkpoint_put_row(tdm_h5 *file, const char *group, const tdm_param *row, bool whole,
                              const float *data)
{
    char name[NAME_BYTES];
    const int64_t chunk_bytes =
        whole ? tdm_min_i64(MOST_CHUNK_BYTES, row->size * (int64_t)sizeof *data) : CHUNK_BYTES;
    TDM_TRY(set_name(file, group, row->name, name));
    tdm_pulse_beat();
    return tdm_h5_put_array(file, name, TDM_H5_F32, row->ndim, row->shape, chunk_bytes, data);
}

tdm_status checkpoint_get_row(tdm_h5 *file, const char *group, const char *row, int ndim,
                              const int64_t *shape, float *data)
{
    char name[NAME_BYTES];
    TDM_TRY(set_name(file, group, row, name));
    return tdm_h5_get_array(file, name, TDM_H5_F32, ndim, shape, data);
}

tdm_status checkpoint_row_shape(const tdm_h5 *file, const char *group, const char *row, int *ndim,
                                int64_t shape[TDM_H5_MAX_DIMS])
{
    char name[NAME_BYTES];
    TDM_TRY(set_name(file, group, row, name));
    return tdm_h5_find_shape(file, name, ndim, shape);
}
