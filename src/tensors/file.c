/* Opening by content, the list of tensors, reading one. */
#include "tensors_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEAD_BYTES = 512, /* what a format shows itself by */
    NAME_BYTES_MAX = 1024,
    BLOCK_BYTES = 1 << 18, /* read and converted at a time */
    ENTRIES_MAX = 1 << 16
};

tdm_status tensor_grow(void *array, int64_t count, int64_t *capacity, size_t item_bytes)
{
    if (count < *capacity) return TDM_OK;
    const int64_t wanted = *capacity + *capacity / 2 + 16;
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    grown = realloc(old, (size_t)wanted * item_bytes);
    TDM_REQUIRE(grown != NULL, TDM_E_NOMEM, "cannot allocate %lld items", (long long)wanted);
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return TDM_OK;
}

/* ---- Sources ---- */

static tdm_status add_source(tdm_tensor_file *file, const char *path)
{
    TDM_TRY(tensor_grow(&file->source, file->sources, &file->source_capacity, sizeof *file->source));
    /* a FIFO without a writer must not block */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    TDM_REQUIRE(fd >= 0, TDM_E_IO, "%s: cannot open: %s", path, strerror(errno));
    struct stat info;
    const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    char *copy = regular ? strdup(path) : NULL;
    if (copy == NULL) close(fd);
    TDM_REQUIRE(regular, TDM_E_IO, "%s: is not a regular file", path);
    TDM_REQUIRE(copy != NULL, TDM_E_NOMEM, "cannot allocate the path %s", path);
    file->source[file->sources++] = (tensor_source){.path = copy, .fd = fd, .bytes = (int64_t)info.st_size};
    return TDM_OK;
}

tdm_status source_read(const tensor_source *source, int64_t at, size_t bytes, void *out)
{
    char *to = out;
    while (bytes > 0) {
        const ssize_t n = pread(source->fd, to, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        TDM_REQUIRE(n >= 0, TDM_E_IO, "%s: cannot read: %s", source->path, strerror(errno));
        TDM_REQUIRE(n > 0, TDM_E_IO, "%s: ends at byte %lld, has been cut since it was opened", source->path,
                    (long long)at);
        to += n;
        at += n;
        bytes -= (size_t)n;
    }
    return TDM_OK;
}

/* ---- What a file is ---- */

static bool begins(const unsigned char *head, const char *with)
{
    return memcmp(head, with, strlen(with)) == 0;
}

tdm_status tensor_file_add_path(tdm_tensor_file *file, const char *path, bool may_be_index)
{
    unsigned char head[HEAD_BYTES + 1] = {0};
    uint64_t header_bytes;
    TDM_TRY(add_source(file, path));
    const tensor_source *source = &file->source[file->sources - 1];
    const size_t head_bytes = (size_t)tdm_min_i64(source->bytes, HEAD_BYTES);
    TDM_TRY(source_read(source, 0, head_bytes, head));
    TDM_REQUIRE(source->bytes >= 8, TDM_E_FORMAT, "%s: has %lld bytes, too few for a file of tensors", path,
                (long long)source->bytes);
    memcpy(&header_bytes, head, sizeof header_bytes);
    const bool plausible =
        header_bytes <= SAFETENSORS_HEADER_BYTES_MAX; /* no other format begins like this */
    if (!plausible && (begins(head, "PK\3\4") || begins(head, "PK\5\6"))) return torch_read(file);
    if (!plausible && may_be_index && head[0] == '{') return shards_read(file);
    if (plausible && head[8] != '{') TDM_TRY(foreign_known(path, head, head_bytes));
    if (plausible || head[8] == '{') return safetensors_read(file);
    return foreign_file(path, head, head_bytes);
}

static tdm_status add_dir(tdm_tensor_file *file, const char *dir)
{
    static const char *const names[] = {
        "model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors",
        "pytorch_model.bin", "pytorch_model.bin.index.json", "open_clip_pytorch_model.bin"};
    char path[TDM_PATH_BYTES];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        TDM_TRY(tdm_path_join(path, sizeof path, dir, names[i]));
        if (tdm_path_exists(path)) return tensor_file_add_path(file, path, true);
    }
    return foreign_folder(dir);
}

/* ---- The list ---- */

tdm_status tensor_count_elements(const char *path, const char *name, int ndim, const int64_t *shape,
                                 int64_t *elements)
{
    int64_t n = 1;
    for (int i = 0; i < ndim; i++)
        TDM_REQUIRE(shape[i] >= 0 && !__builtin_mul_overflow(n, shape[i], &n) && n <= INT64_MAX / 8,
                    TDM_E_FORMAT,
                    "%s: tensor %s: dimension %d of its shape is %lld, which is negative or absurdly large",
                    path, name, i, (long long)shape[i]);
    *elements = n;
    return TDM_OK;
}

static tdm_status check_name(const char *path, const char *name)
{
    const size_t length = strlen(name);
    TDM_REQUIRE(length > 0, TDM_E_FORMAT, "%s: a tensor has no name", path);
    TDM_REQUIRE(length <= NAME_BYTES_MAX, TDM_E_FORMAT, "%s: a tensor's name has more than %d bytes: %.64s…",
                path, NAME_BYTES_MAX, name);
    for (size_t i = 0; i < length; i++)
        TDM_REQUIRE((unsigned char)name[i] >= ' ' && name[i] != 0x7f, TDM_E_FORMAT,
                    "%s: a tensor's name has a control character at byte %zu", path, i);
    return TDM_OK;
}

tdm_status tensor_file_add(tdm_tensor_file *file, const tensor_entry *entry)
{
    const char *path = file->source[entry->source].path;
    TDM_TRY(check_name(path, entry->tensor.name));
    TDM_REQUIRE(file->entries < ENTRIES_MAX, TDM_E_FORMAT, "%s: more than %d tensors", path, ENTRIES_MAX);
    TDM_TRY(tensor_grow(&file->entry, file->entries, &file->entry_capacity, sizeof *file->entry));
    char *name = strdup(entry->tensor.name);
    TDM_REQUIRE(name != NULL, TDM_E_NOMEM, "cannot allocate the name of %s", entry->tensor.name);
    file->entry[file->entries] = *entry;
    file->entry[file->entries++].tensor.name = name;
    return TDM_OK;
}

static int compare_names(const void *a, const void *b)
{
    const tensor_entry *x = *(const tensor_entry *const *)a, *y = *(const tensor_entry *const *)b;
    return strcmp(x->tensor.name, y->tensor.name);
}

static tdm_status sort_names(tdm_tensor_file *file)
{
    TDM_TRY(TDM_ALLOC(file->entries, &file->by_name));
    for (int64_t i = 0; i < file->entries; i++) file->by_name[i] = &file->entry[i];
    qsort(file->by_name, (size_t)file->entries, sizeof *file->by_name, compare_names);
    for (int64_t i = 1; i < file->entries; i++)
        TDM_REQUIRE(compare_names(&file->by_name[i - 1], &file->by_name[i]) != 0, TDM_E_FORMAT,
                    "%s: two tensors are named %s", file->source[file->by_name[i]->source].path,
                    file->by_name[i]->tensor.name);
    return TDM_OK;
}

tdm_status tdm_tensor_file_open(const char *path, tdm_tensor_file **file)
{
    *file = NULL;
    tdm_tensor_file *opened = NULL;
    TDM_TRY(TDM_ALLOC(1, &opened));
    tdm_status status =
        tdm_path_is_dir(path) ? add_dir(opened, path) : tensor_file_add_path(opened, path, true);
    if (status == TDM_OK) status = sort_names(opened);
    if (status != TDM_OK) tdm_tensor_file_close(&opened);
    *file = opened;
    return status;
}

void tdm_tensor_file_close(tdm_tensor_file **file)
{
    if (file == NULL || *file == NULL) return;
    tdm_tensor_file *f = *file;
    for (int64_t i = 0; i < f->sources; i++) {
        close(f->source[i].fd);
        free(f->source[i].path);
    }
    for (int64_t i = 0; i < f->entries; i++) free((char *)(uintptr_t)f->entry[i].tensor.name);
    free(f->source);
    free(f->entry);
    tdm_free(f->by_name);
    tdm_free(f);
    *file = NULL;
}

int64_t tdm_tensor_file_count(const tdm_tensor_file *file)
{
    return file->entries;
}

const tdm_tensor *tdm_tensor_file_at(const tdm_tensor_file *file, int64_t index)
{
    return &file->entry[index].tensor;
}

static const tensor_entry *find_entry(const tdm_tensor_file *file, const char *name)
{
    const tensor_entry key = {.tensor.name = name}, *key_at = &key;
    const tensor_entry *const *found =
        bsearch(&key_at, file->by_name, (size_t)file->entries, sizeof *file->by_name, compare_names);
    return found != NULL ? *found : NULL;
}

const tdm_tensor *tdm_tensor_file_find(const tdm_tensor_file *file, const char *name)
{
    const tensor_entry *entry = find_entry(file, name);
    return entry != NULL ? &entry->tensor : NULL;
}

/* ---- Reading one ---- */

/* n consecutive elements from byte `at` on. */
static tdm_status read_run(const tensor_source *source, int64_t at, tdm_tensor_type type, int64_t n,
                           float *out)
{
    if (type == TDM_TENSOR_F32) return source_read(source, at, (size_t)n * sizeof *out, out);
    const int64_t element_bytes = (int64_t)tdm_tensor_type_bytes(type), most = BLOCK_BYTES / element_bytes;
    unsigned char *block = NULL;
    TDM_TRY(TDM_ALLOC(tdm_min_i64(n, most) * element_bytes, &block));
    tdm_status status = TDM_OK;
    for (int64_t done = 0, now; done < n && status == TDM_OK; done += now) {
        now = tdm_min_i64(n - done, most);
        status = source_read(source, at + done * element_bytes, (size_t)(now * element_bytes), block);
        if (status == TDM_OK) tensor_to_f32(type, now, block, out + done);
    }
    tdm_free(block);
    return status;
}

static bool is_row_major(const tensor_entry *entry)
{
    int64_t wanted = 1;
    for (int i = entry->tensor.ndim - 1; i >= 0; i--) {
        if (entry->tensor.shape[i] == 1) continue;
        if (entry->stride[i] != wanted) return false;
        wanted *= entry->tensor.shape[i];
    }
    return true;
}

static void gather(const tensor_entry *entry, const float *span, float *out)
{
    int64_t index[TDM_TENSOR_MAX_DIMS] = {0}, at = 0;
    for (int64_t n = 0; n < entry->tensor.elements; n++) {
        out[n] = span[at];
        for (int i = entry->tensor.ndim - 1; i >= 0; i--) {
            at += entry->stride[i];
            if (++index[i] < entry->tensor.shape[i]) break;
            at -= entry->stride[i] * entry->tensor.shape[i];
            index[i] = 0;
        }
    }
}

static tdm_status read_entry(const tensor_source *source, const tensor_entry *entry, float *out)
{
    const tdm_tensor *t = &entry->tensor;
    if (t->elements == 0) return TDM_OK;
    if (is_row_major(entry)) return read_run(source, entry->first_byte, t->type, t->elements, out);
    float *span = NULL;
    TDM_TRY(TDM_ALLOC(entry->span, &span));
    const tdm_status status = read_run(source, entry->first_byte, t->type, entry->span, span);
    if (status == TDM_OK) gather(entry, span, out);
    tdm_free(span);
    return status;
}

tdm_status tdm_tensor_file_read_f32(tdm_tensor_file *file, const tdm_tensor *tensor, float *out)
{
    const tensor_entry *entry = find_entry(file, tensor->name);
    TDM_REQUIRE(entry != NULL, TDM_E_FORMAT, "%s: has no tensor %s", file->source[0].path, tensor->name);
    const tensor_source *source = &file->source[entry->source];
    const tdm_status status = read_entry(source, entry, out);
    if (status == TDM_OK) return TDM_OK;
    const tdm_error cause = *tdm_error_last();
    TDM_FAIL(status, "%s (tensor %s)", cause.message, tensor->name);
}
