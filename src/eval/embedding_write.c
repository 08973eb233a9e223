/* Writing embedding files: each rank its own. */
#include "embedding_file_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static tdm_status put_attributes(embedding_file *file, const part_info *p)
{
    const struct {
        const char *name, *value;
    } texts[] = {{"format", EMBEDDING_FORMAT},
                 {"tool_version", TDM_VERSION},
                 {"source", p->info.source},
                 {"split", p->info.split},
                 {"model", p->info.model},
                 {"model_digest", p->info.model_digest},
                 {"dtype", p->dtype == TDM_BF16 ? "bf16" : "f32"}};
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"version", EMBEDDING_VERSION},
                   {"embed_dim", p->d},
                   {"parts", p->parts},
                   {"part", p->part},
                   {"images_total", p->images_total},
                   {"captions_total", p->captions_total},
                   {"image_first", p->image_first},
                   {"caption_first", p->caption_first},
                   {"classes", p->classes}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        TDM_TRY(embedding_put_text(file, texts[i].name, texts[i].value));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        TDM_TRY(embedding_put_i64(file, numbers[i].name, numbers[i].value));
    return TDM_OK;
}

static tdm_status put_group(embedding_file *file, const char *name)
{
    const hid_t group = H5Gcreate2(file->id, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0) return embedding_fail(TDM_E_IO, file, "create group ", name);
    H5Gclose(group);
    return TDM_OK;
}

static tdm_status put_embedding(embedding_file *file, const char *name, tdm_dtype dtype, int64_t rows,
                                int64_t d, const float *feature)
{
    if (dtype == TDM_F32)
        return embedding_put_rows(file, name, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, rows, d, feature);
    uint16_t *half = NULL;
    TDM_TRY(TDM_ALLOC(rows * d, &half));
    tdm_f32_to_bf16(rows * d, feature, half);
    const tdm_status status = embedding_put_rows(file, name, H5T_STD_U16LE, H5T_NATIVE_UINT16, rows, d, half);
    tdm_free(half);
    return status;
}

/* first, first + 1, … */
static tdm_status put_range(embedding_file *file, const char *name, int64_t first, int64_t n)
{
    int64_t *row = NULL;
    TDM_TRY(TDM_ALLOC(n, &row));
    for (int64_t i = 0; i < n; i++) row[i] = first + i;
    const tdm_status status = embedding_put_rows(file, name, H5T_STD_I64LE, H5T_NATIVE_INT64, n, 0, row);
    tdm_free(row);
    return status;
}

static tdm_status put_classes(embedding_file *file, const tdm_embeddings *e)
{
    uint8_t *bit = NULL;
    if (e->class_count == 0) return TDM_OK;
    TDM_TRY(TDM_ALLOC(e->images * e->class_count, &bit));
    for (int64_t i = 0; i < e->images; i++)
        for (int64_t c = 0; c < e->class_count; c++)
            bit[i * e->class_count + c] = e->image_labels[i * e->label_words + c / 64] >> (c % 64) & 1;
    const tdm_status status = embedding_put_rows(file, "image/class", H5T_STD_U8LE, H5T_NATIVE_UINT8,
                                                 e->images, e->class_count, bit);
    tdm_free(bit);
    return status;
}

static tdm_status put_all(embedding_file *file, const part_info *p, const tdm_embeddings *e)
{
    TDM_TRY(put_attributes(file, p));
    TDM_TRY(put_group(file, "image"));
    TDM_TRY(put_group(file, "text"));
    TDM_TRY(put_embedding(file, "image/embedding", p->dtype, e->images, e->d, e->image));
    TDM_TRY(put_range(file, "image/row", e->image_first, e->images));
    TDM_TRY(embedding_put_rows(file, "image/identity", H5T_STD_I64LE, H5T_NATIVE_INT64, e->images, 0,
                               e->image_identity));
    TDM_TRY(put_classes(file, e));
    TDM_TRY(put_embedding(file, "text/embedding", p->dtype, e->captions, e->d, e->text));
    TDM_TRY(put_range(file, "text/row", e->caption_first, e->captions));
    TDM_TRY(embedding_put_rows(file, "text/image", H5T_STD_I64LE, H5T_NATIVE_INT64, e->captions, 0,
                               e->image_row_of_caption));
    return embedding_put_rows(file, "text/identity", H5T_STD_I64LE, H5T_NATIVE_INT64, e->captions, 0,
                              e->caption_identity);
}

tdm_status embedding_write_part(const char *path, const part_info *p, const tdm_embeddings *e)
{
    embedding_file file = {.id = H5I_INVALID_HID};
    const int length = snprintf(file.path, sizeof file.path, "%s.tmp", path);
    TDM_REQUIRE(length < (int)sizeof file.path, TDM_E_IO, "%.200s…: path is too long", path);
    TDM_TRY(tdm_h5_create(file.path, &file.id));
    tdm_status status = put_all(&file, p, e);
    if (status == TDM_OK) status = tdm_h5_finish(file.path, &file.id);
    if (status != TDM_OK) {
        tdm_h5_discard(&file.id);
        unlink(file.path);
        return status;
    }
    TDM_TRY(tdm_fsync_path(file.path));
    TDM_REQUIRE(rename(file.path, path) == 0, TDM_E_IO, "%s: cannot rename: %s", file.path, strerror(errno));
    return tdm_fsync_parent(path);
}

static tdm_status write_own_part(tdm_comm *comm, const char *dir, part_info *p, const tdm_embeddings *e)
{
    char path[TDM_PATH_BYTES];
    p->part = tdm_comm_rank(comm);
    p->parts = tdm_comm_size(comm);
    p->d = e->d;
    p->image_first = e->image_first;
    p->caption_first = e->caption_first;
    p->classes = e->class_count;
    TDM_TRY(tdm_path_join(path, sizeof path, dir, "dataset.h5"));
    TDM_REQUIRE(
        !tdm_path_exists(path), TDM_E_USAGE,
        "%s: holds a packed data set, whose shards have the names of embedding files; choose another directory",
        dir);
    TDM_TRY(tdm_make_dirs(dir));
    TDM_TRY(embedding_part_path(path, dir, p->info.split, p->part));
    return embedding_write_part(path, p, e);
}

static tdm_status remove_further_parts(const char *dir, const char *split, int64_t part)
{
    for (;; part++) {
        char path[TDM_PATH_BYTES];
        TDM_TRY(embedding_part_path(path, dir, split, part));
        if (!tdm_path_exists(path)) return TDM_OK;
        TDM_REQUIRE(unlink(path) == 0, TDM_E_IO, "%s: cannot remove: %s", path, strerror(errno));
    }
}

tdm_status tdm_embeddings_write(tdm_comm *comm, const char *dir, const tdm_embedding_info *info,
                                tdm_dtype dtype, const tdm_embeddings *embeddings)
{
    int64_t total[2] = {embeddings->images, embeddings->captions};
    tdm_comm_sum_i64(comm, total, 2);
    part_info p = {.info = *info, .dtype = dtype, .images_total = total[0], .captions_total = total[1]};
    TDM_AGREE(comm, write_own_part(comm, dir, &p, embeddings));
    const bool first = tdm_comm_rank(comm) == 0;
    return tdm_comm_agree(comm, first ? remove_further_parts(dir, info->split, tdm_comm_size(comm)) : TDM_OK);
}
