/* Opening a file of tensors, finding and reading a parameter in it. */
#include "weights_file.h"

#include <math.h>
#include <string.h>

/* ---- Opening ---- */

static tdm_status folder_of(const char *path, char dir[TDM_PATH_BYTES])
{
    TDM_REQUIRE(strlen(path) < TDM_PATH_BYTES, TDM_E_IO, "%.200s…: path is too long", path);
    strcpy(dir, path);
    if (tdm_path_is_dir(path)) return TDM_OK;
    char *slash = strrchr(dir, '/');
    if (slash == NULL)
        strcpy(dir, ".");
    else
        slash[slash == dir] = '\0';
    return TDM_OK;
}

tdm_status weights_open(const tdm_import_options *options, weights_file *src)
{
    src->path = options->from;
    src->wish = options->prefix;
    src->ignore = &options->ignore;
    TDM_TRY(folder_of(src->path, src->dir));
    TDM_TRY(tdm_tensor_file_open(src->path, &src->file));
    return weights_recognise(src);
}

void weights_close(weights_file *src)
{
    if (src->file != NULL) tdm_tensor_file_close(&src->file);
}

/* ---- Finding ---- */

/* The tensors of one rule; false when one is missing. */
static bool find_parts(const weights_file *src, const naming_tensors *names, weights_parts *parts,
                       char missing[NAMING_NAME_BYTES])
{
    parts->how = names->how;
    for (parts->count = 0; parts->count < names->count; parts->count++) {
        char full[sizeof src->prefix + NAMING_NAME_BYTES];
        snprintf(full, sizeof full, "%s%s", src->prefix, names->name[parts->count]);
        parts->tensor[parts->count] = tdm_tensor_file_find(src->file, full);
        if (parts->tensor[parts->count] != NULL) continue;
        parts->count = 0;
        if (missing != NULL && missing[0] == '\0')
            snprintf(missing, NAMING_NAME_BYTES, "%.*s", NAMING_NAME_BYTES - 1, full);
        return false;
    }
    return true;
}

bool weights_find(const weights_file *src, const char *row, weights_parts *parts,
                  char missing[NAMING_NAME_BYTES])
{
    naming_tensors names;
    if (missing != NULL) missing[0] = '\0';
    parts->count = 0;
    for (int alternative = 0;; alternative++) {
        naming_tensors_of(src->naming, row, alternative, &names);
        if (names.count == 0) break;
        if (find_parts(src, &names, parts, missing)) return true;
    }
    if (missing != NULL && missing[0] == '\0') snprintf(missing, NAMING_NAME_BYTES, "%s", row);
    return false;
}

static bool same_shape(const tdm_tensor *a, const tdm_tensor *b)
{
    return a->ndim == b->ndim && memcmp(a->shape, b->shape, sizeof a->shape[0] * (size_t)a->ndim) == 0;
}

static bool shape_of(const weights_parts *parts, int *ndim, int64_t shape[TDM_TENSOR_MAX_DIMS])
{
    const tdm_tensor *first = parts->tensor[0];
    *ndim = first->ndim;
    memcpy(shape, first->shape, sizeof first->shape);
    if (parts->how == NAMING_TRANSPOSED) {
        if (first->ndim != 2) return false;
        shape[0] = first->shape[1];
        shape[1] = first->shape[0];
    }
    for (int i = 1; i < parts->count; i++) {
        if (!same_shape(first, parts->tensor[i])) return false;
    }
    if (parts->how == NAMING_QKV && first->ndim > 0) shape[0] *= parts->count;
    return true;
}

bool weights_shape(const weights_file *src, const char *row, int *ndim, int64_t shape[TDM_TENSOR_MAX_DIMS])
{
    weights_parts parts;
    return weights_find(src, row, &parts, NULL) && shape_of(&parts, ndim, shape);
}

/* ---- Reading ---- */

static tdm_status check_finite(const weights_file *src, const tdm_tensor *tensor, const float *value)
{
    for (int64_t i = 0; i < tensor->elements; i++) {
        TDM_REQUIRE(isfinite(value[i]), TDM_E_NUMERIC, "%s: %s holds %s at element %lld", src->path,
                    tensor->name, isnan(value[i]) ? "NaN" : "an infinity", (long long)i);
    }
    return TDM_OK;
}

static tdm_status read_transposed(const weights_file *src, const tdm_tensor *tensor, float *weight)
{
    float *rows = NULL;
    TDM_TRY(TDM_ALLOC(tensor->elements, &rows));
    tdm_status status = tdm_tensor_file_read_f32(src->file, tensor, rows);
    const int64_t m = tensor->shape[0], n = tensor->shape[1];
    for (int64_t i = 0; status == TDM_OK && i < m; i++) {
        for (int64_t k = 0; k < n; k++) weight[k * m + i] = rows[i * n + k];
    }
    tdm_free(rows);
    return status;
}

tdm_status weights_read(const weights_file *src, const weights_parts *parts, float *weight)
{
    for (int i = 0; i < parts->count; i++) {
        const tdm_tensor *tensor = parts->tensor[i];
        if (parts->how == NAMING_TRANSPOSED)
            TDM_TRY(read_transposed(src, tensor, weight));
        else
            TDM_TRY(tdm_tensor_file_read_f32(src->file, tensor, weight));
        TDM_TRY(check_finite(src, tensor, weight));
        weight += tensor->elements;
    }
    return TDM_OK;
}
