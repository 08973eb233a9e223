/* Files of named tensors as other programs write them: safetensors (one file, or shards under a
 * model.safetensors.index.json) and PyTorch's .pt and .pth archives (zip with a pickle that is only read,
 * never executed). Not collective. Threads may read from one file at once.
 *
 * A file is opened by its content, not by its name; a directory by the first of model.safetensors,
 * model.safetensors.index.json, open_clip_model.safetensors, pytorch_model.bin,
 * pytorch_model.bin.index.json and open_clip_pytorch_model.bin in it.
 *
 * Names are as the file spells them. Those of nested dictionaries, lists and objects (a TorchScript module's
 * attributes) are joined with '.', as in "state_dict.visual.proj"; a file that holds nothing but one tensor
 * calls it "tensor". No name is empty or has control characters. In archives, what is no tensor is left out,
 * and so is what stands under keys that are neither text nor integers. */
#ifndef TANDEM_TENSORS_H
#define TANDEM_TENSORS_H

#include "tandem/base.h"

#define TDM_TENSOR_MAX_DIMS 8

typedef enum tdm_tensor_type {
    TDM_TENSOR_F64,
    TDM_TENSOR_F32,
    TDM_TENSOR_F16,
    TDM_TENSOR_BF16,
    TDM_TENSOR_I64,
    TDM_TENSOR_I32,
    TDM_TENSOR_I16,
    TDM_TENSOR_I8,
    TDM_TENSOR_U8,
    TDM_TENSOR_BOOL,
    TDM_TENSOR_TYPES
} tdm_tensor_type;
const char *tdm_tensor_type_name(tdm_tensor_type type); /* "F32", as in safetensors */
size_t tdm_tensor_type_bytes(tdm_tensor_type type);

typedef struct tdm_tensor {
    const char *name; /* borrowed from the file */
    tdm_tensor_type type;
    int ndim; /* 0 (a scalar) … TDM_TENSOR_MAX_DIMS */
    int64_t shape[TDM_TENSOR_MAX_DIMS];
    int64_t elements; /* product of shape; 1 for a scalar, 0 when a dimension is 0 */
} tdm_tensor;

typedef struct tdm_tensor_file tdm_tensor_file;

/* Reads names, types and shapes and checks that every tensor lies within the file. Errors name the file, the
 * tensor and what is wrong: TDM_E_IO (missing, unreadable), TDM_E_FORMAT (neither format, truncated,
 * overlapping, of absurd size, of a type not listed above). */
TDM_CHECKED tdm_status tdm_tensor_file_open(const char *path, tdm_tensor_file **file);
void tdm_tensor_file_close(tdm_tensor_file **file);
int64_t tdm_tensor_file_count(const tdm_tensor_file *file);
/* In the order in which the file lists them; valid until the file is closed. */
const tdm_tensor *tdm_tensor_file_at(const tdm_tensor_file *file, int64_t index);
const tdm_tensor *tdm_tensor_file_find(const tdm_tensor_file *file,
                                       const char *name); /* NULL when not there */
/* Fills out[elements], row-major whatever the strides in the file; any type is converted, to the nearest
 * f32. Reads this tensor alone. */
TDM_CHECKED tdm_status tdm_tensor_file_read_f32(tdm_tensor_file *file, const tdm_tensor *tensor, float *out);

typedef struct tdm_tensor_out { /* one tensor to write; everything borrowed */
    const char *name;
    tdm_tensor_type type; /* F32; F16 and BF16, rounded to nearest even; I64, the nearest integers */
    int ndim;
    int64_t shape[TDM_TENSOR_MAX_DIMS];
    const float *data;
} tdm_tensor_out;
/* One safetensors file, atomically (temporary name, fsync, rename): on an error there is no new file. The
 * header lists the tensors in the order given; their data is ordered by element size, so that each is
 * aligned. Metadata is {"format": "pt"}, which Transformers asks for. */
TDM_CHECKED tdm_status tdm_safetensors_write(const char *path, const tdm_tensor_out *tensor, int64_t count);

#endif
