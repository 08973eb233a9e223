/* copy_tensors FROM TO: every tensor of a file of tensors into a safetensors file, in its type where that can
 * be written, else as F32. For tests/reference/tensors.py. */
#include "tandem/tensors.h"

#include <string.h>

static tdm_tensor_type written_as(tdm_tensor_type type)
{
    const bool writable = type == TDM_TENSOR_F16 || type == TDM_TENSOR_BF16 || type == TDM_TENSOR_I64;
    return writable ? type : TDM_TENSOR_F32;
}

static tdm_status read_all(tdm_tensor_file *file, tdm_tensor_out *out, float **value)
{
    for (int64_t i = 0; i < tdm_tensor_file_count(file); i++) {
        const tdm_tensor *t = tdm_tensor_file_at(file, i);
        TDM_TRY(TDM_ALLOC(t->elements, &value[i]));
        TDM_TRY(tdm_tensor_file_read_f32(file, t, value[i]));
        out[i] =
            (tdm_tensor_out){.name = t->name, .type = written_as(t->type), .ndim = t->ndim, .data = value[i]};
        memcpy(out[i].shape, t->shape, sizeof t->shape);
    }
    return TDM_OK;
}

static tdm_status copy(const char *from, const char *to)
{
    tdm_tensor_file *file;
    tdm_tensor_out *out = NULL;
    float **value = NULL;
    TDM_TRY(tdm_tensor_file_open(from, &file));
    const int64_t count = tdm_tensor_file_count(file);
    tdm_status status = TDM_ALLOC(count, &out);
    if (status == TDM_OK) status = TDM_ALLOC(count, &value);
    if (status == TDM_OK) status = read_all(file, out, value);
    if (status == TDM_OK) status = tdm_safetensors_write(to, out, count);
    for (int64_t i = 0; value != NULL && i < count; i++) tdm_free(value[i]);
    tdm_free(value);
    tdm_free(out);
    tdm_tensor_file_close(&file);
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: copy_tensors FROM TO\n");
        return 2;
    }
    if (copy(argv[1], argv[2]) == TDM_OK) return 0;
    fprintf(stderr, "copy_tensors: %s\n", tdm_error_last()->message);
    return 1;
}
