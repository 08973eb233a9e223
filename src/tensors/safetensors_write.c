/* Writing safetensors. */
#include "tensors_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>

enum { BLOCK_ELEMENTS = 1 << 16, ALIGNMENT = 8 };

static const char metadata_key[] = "__metadata__";

/* The data's order: by element size, the largest first, so that every tensor is aligned for its type. */
static const tdm_tensor_type data_order[] = {TDM_TENSOR_I64, TDM_TENSOR_F32, TDM_TENSOR_F16, TDM_TENSOR_BF16};
enum { DATA_TYPES = sizeof data_order / sizeof data_order[0] };

/* ---- The header ---- */

static tdm_status check_tensor(const char *path, const tdm_tensor_out *t, int64_t *elements)
{
    bool writable = false;
    for (int i = 0; i < DATA_TYPES; i++) writable |= t->type == data_order[i];
    TDM_REQUIRE(writable, TDM_E_FORMAT,
                "%s: tensor %s: type %s cannot be written (F32, F16, BF16 and I64 can)", path, t->name,
                t->type < TDM_TENSOR_TYPES ? tdm_tensor_type_name(t->type) : "?");
    TDM_REQUIRE(t->ndim >= 0 && t->ndim <= TDM_TENSOR_MAX_DIMS, TDM_E_SHAPE,
                "%s: tensor %s: has %d dimensions, not 0 to %d", path, t->name, t->ndim, TDM_TENSOR_MAX_DIMS);
    TDM_REQUIRE(strcmp(t->name, metadata_key) != 0, TDM_E_FORMAT, "%s: a tensor may not be named %s", path,
                t->name);
    return tensor_count_elements(path, t->name, t->ndim, t->shape, elements);
}

/* begin[count]: where each tensor's data begins after the header. */
static tdm_status place_data(const char *path, const tdm_tensor_out *tensor, int64_t count, int64_t *begin)
{
    int64_t at = 0;
    for (int order = 0; order < DATA_TYPES; order++) {
        for (int64_t i = 0; i < count; i++) {
            int64_t elements;
            TDM_TRY(check_tensor(path, &tensor[i], &elements));
            if (tensor[i].type != data_order[order]) continue;
            begin[i] = at;
            at += elements * (int64_t)tdm_tensor_type_bytes(tensor[i].type);
            TDM_REQUIRE(at <= INT64_MAX / 4, TDM_E_FORMAT, "%s: tensor %s: the file would be absurdly large",
                        path, tensor[i].name);
        }
    }
    return TDM_OK;
}

static int64_t data_bytes(const tdm_tensor_out *t)
{
    int64_t n = (int64_t)tdm_tensor_type_bytes(t->type);
    for (int i = 0; i < t->ndim; i++) n *= t->shape[i];
    return n;
}

static tdm_status header_row(const char *path, const tdm_tensor_out *t, int64_t begin, json_t *root)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->ndim; i++) json_array_append_new(shape, json_integer(t->shape[i]));
    json_t *row = json_pack("{s:s, s:o, s:[I, I]}", "dtype", tdm_tensor_type_name(t->type), "shape", shape,
                            "data_offsets", (json_int_t)begin, (json_int_t)(begin + data_bytes(t)));
    if (json_object_get(root, t->name) != NULL) {
        json_decref(row);
        TDM_FAIL(TDM_E_FORMAT, "%s: two tensors are named %s", path, t->name);
    }
    TDM_REQUIRE(json_object_set_new(root, t->name, row) == 0, TDM_E_FORMAT,
                "%s: tensor %s: its name is not UTF-8", path, t->name);
    return TDM_OK;
}

static tdm_status append_header(const char *path, json_t *root, tdm_text *header)
{
    char *json = json_dumps(root, JSON_COMPACT);
    TDM_REQUIRE(json != NULL, TDM_E_NOMEM, "%s: cannot make its header", path);
    const uint64_t length = (uint64_t)tdm_round_up((int64_t)strlen(json), ALIGNMENT);
    tdm_status status = tdm_text_append(header, &length, sizeof length);
    if (status == TDM_OK) status = tdm_text_printf(header, "%-*s", (int)length, json);
    free(json);
    TDM_TRY(status);
    TDM_REQUIRE(length <= SAFETENSORS_HEADER_BYTES_MAX, TDM_E_FORMAT, "%s: its header would have %llu bytes",
                path, (unsigned long long)length);
    return TDM_OK;
}

static tdm_status make_header(const char *path, const tdm_tensor_out *tensor, int64_t count,
                              const int64_t *begin, tdm_text *header)
{
    json_t *root = json_pack("{s:{s:s}}", metadata_key, "format", "pt");
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < count && status == TDM_OK; i++)
        status = header_row(path, &tensor[i], begin[i], root);
    if (status == TDM_OK) status = append_header(path, root, header);
    json_decref(root);
    return status;
}

/* ---- The data ---- */

static tdm_status write_all(int fd, const char *path, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        const ssize_t n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        TDM_REQUIRE(n > 0, TDM_E_IO, "%s: cannot write: %s", path, strerror(errno));
        at += n;
        bytes -= (size_t)n;
    }
    return TDM_OK;
}

/* n <= BLOCK_ELEMENTS values of the tensor's type into block. */
static tdm_status convert_block(const char *path, const tdm_tensor_out *t, int64_t n, const float *from,
                                unsigned char *block)
{
    for (int64_t i = 0; i < n; i++) {
        if (t->type == TDM_TENSOR_I64) {
            const bool fits = from[i] >= -0x1p63F && from[i] < 0x1p63F;
            TDM_REQUIRE(fits, TDM_E_NUMERIC, "%s: tensor %s: %g is no 64-bit integer", path, t->name,
                        (double)from[i]);
            memcpy(block + 8 * i, &(int64_t){llrintf(from[i])}, 8);
        } else if (t->type == TDM_TENSOR_F32) {
            memcpy(block + 4 * i, &from[i], 4);
        } else {
            const uint16_t half =
                t->type == TDM_TENSOR_F16 ? tensor_f32_to_f16(from[i]) : tdm_bf16_round(from[i]);
            memcpy(block + 2 * i, &half, 2);
        }
    }
    return TDM_OK;
}

static tdm_status write_tensor(int fd, const char *path, const tdm_tensor_out *t, unsigned char *block)
{
    const int64_t element_bytes = (int64_t)tdm_tensor_type_bytes(t->type);
    const int64_t elements = data_bytes(t) / element_bytes;
    for (int64_t done = 0, now; done < elements; done += now) {
        now = tdm_min_i64(elements - done, BLOCK_ELEMENTS);
        TDM_TRY(convert_block(path, t, now, t->data + done, block));
        TDM_TRY(write_all(fd, path, block, (size_t)(now * element_bytes)));
    }
    return TDM_OK;
}

static tdm_status write_parts(int fd, const char *path, const tdm_text *header, const tdm_tensor_out *tensor,
                              int64_t count)
{
    unsigned char *block = NULL;
    TDM_TRY(TDM_ALLOC(BLOCK_ELEMENTS * sizeof(int64_t), &block));
    tdm_status status = write_all(fd, path, header->data, header->length);
    for (int order = 0; order < DATA_TYPES; order++)
        for (int64_t i = 0; i < count && status == TDM_OK; i++)
            if (tensor[i].type == data_order[order]) status = write_tensor(fd, path, &tensor[i], block);
    tdm_free(block);
    TDM_TRY(status);
    TDM_REQUIRE(fsync(fd) == 0, TDM_E_IO, "%s: cannot sync: %s", path, strerror(errno));
    return TDM_OK;
}

static tdm_status write_renamed(const char *path, const tdm_text *header, const tdm_tensor_out *tensor,
                                int64_t count)
{
    char temporary[TDM_PATH_BYTES];
    const int length = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    TDM_REQUIRE(length > 0 && (size_t)length < sizeof temporary, TDM_E_IO, "%s: path is too long", path);
    const int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    TDM_REQUIRE(fd >= 0, TDM_E_IO, "%s: cannot create: %s", temporary, strerror(errno));
    tdm_status status = write_parts(fd, temporary, header, tensor, count);
    if (close(fd) != 0 && status == TDM_OK)
        status = TDM_ERROR(TDM_E_IO, "%s: cannot write: %s", temporary, strerror(errno));
    if (status == TDM_OK && rename(temporary, path) != 0)
        status = TDM_ERROR(TDM_E_IO, "%s: cannot rename: %s", temporary, strerror(errno));
    if (status != TDM_OK) {
        unlink(temporary);
        return status;
    }
    return tdm_fsync_parent(path);
}

tdm_status tdm_safetensors_write(const char *path, const tdm_tensor_out *tensor, int64_t count)
{
    int64_t *begin = NULL;
    tdm_text header = {0};
    TDM_TRY(TDM_ALLOC(count, &begin));
    tdm_status status = place_data(path, tensor, count, begin);
    if (status == TDM_OK) status = make_header(path, tensor, count, begin, &header);
    if (status == TDM_OK) status = write_renamed(path, &header, tensor, count);
    tdm_text_free(&header);
    tdm_free(begin);
    return status;
}
