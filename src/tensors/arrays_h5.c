/* MATLAB 7.3: an HDF5 file behind 512 bytes. Its variables are data sets of the root with their dimensions in reverse;
 * texts are numbers of 16 bits, cell arrays references. */
#include "arrays_impl.h"

#include "tandem/h5.h"

/* The elements of data set `name`, read as floats or whole numbers of 64 bits. */
static tdm_status read_set(tdm_arrays *arrays, tdm_h5 *file, const char *name, const tdm_h5_item *item,
                           array *a)
{
    const bool is_float = item->type[0] == 'f';
    const array_type type = {.kind = is_float ? ARRAY_FLOAT : ARRAY_INT, .bytes = is_float ? 4 : 8};
    int64_t shape[TDM_ARRAY_MAX_DIMS], read_shape[TDM_H5_MAX_DIMS], bytes = type.bytes;
    tdm_h5_array *set;
    void *data;
    for (int i = 0; i < item->ndim; i++) {
        shape[i] = item->shape[item->ndim - 1 - i];
        TDM_REQUIRE(!__builtin_mul_overflow(bytes, shape[i], &bytes), TDM_E_FORMAT,
                    "%s: %s is absurdly large", a->shown.file, name);
    }
    TDM_TRY(tdm_h5_open_array(file, name, is_float ? TDM_H5_F32 : TDM_H5_I64, item->ndim, read_shape, &set));
    tdm_status status = arrays_own(arrays, (size_t)bytes + 1, &data);
    if (status == TDM_OK) status = tdm_h5_read(set, 0, item->shape[0], data);
    tdm_h5_close_array(&set);
    TDM_TRY(status);
    return array_place(a, type, item->ndim, shape, true, data, (uint64_t)bytes);
}

static tdm_status read_items(tdm_arrays *arrays, const char *path, tdm_h5 *file, const tdm_h5_items *items)
{
    for (int64_t i = 0; i < items->count; i++) {
        const tdm_h5_item *item = &items->item[i];
        const char *name = item->name + (item->name[0] == '/');
        array *a;
        if (item->value || strchr(name, '/')) continue; /* an attribute, part of a struct or a cell array */
        TDM_TRY(array_add(arrays, path, name, strlen(name), &a));
        const bool is_number =
            strchr("fiu", item->type[0]) && item->type[0] && item->type[1] >= '0' && item->type[1] <= '9';
        if (!is_number || item->ndim < 1)
            TDM_TRY(
                array_fault(a, "is no array of numbers (cell arrays and texts are read from files of -v7)"));
        else
            TDM_TRY(read_set(arrays, file, name, item, a));
    }
    return TDM_OK;
}

tdm_status matlab_h5_read(tdm_arrays *arrays, const array_file *from)
{
    tdm_h5_items items = {0};
    tdm_h5 *file = NULL;
    tdm_status status = tdm_h5_open(from->path, NULL, 0, &file);
    if (status == TDM_OK) status = tdm_h5_list(from->path, &items);
    if (status == TDM_OK) status = read_items(arrays, from->path, file, &items);
    tdm_h5_discard(&file);
    tdm_h5_items_free(&items);
    return status;
}
