/* Writing embedding files: each rank its own. */
#include "embedding_file_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK_BYTES = 1 << 18 };

tdm_status embedding_part_path(char out[TDM_PATH_BYTES], const char *dir, const char *split, int64_t part)
{
    char name[64];
    snprintf(name, sizeof name, "%.31s-%05lld.h5", split, (long long)part);
    return tdm_path_join(out, TDM_PATH_BYTES, dir, name);
}

static tdm_status put_attributes(tdm_h5 *file, const part_info *p)
{
    const struct {
        const char *name, *value;
    } texts[] = {{"source", p->info.source},
                 {"split", p->info.split},
                 {"model", p->info.model},
                 {"model_digest", p->info.model_digest},
                 {"dtype", tdm_dtype_name(p->dtype)}};
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"embed_dim", p->d},
                   {"parts", p->parts},
                   {"part", p->part},
                   {"images_total", p->images_total},
                   {"captions_total", p->captions_total},
                   {"image_first", p->image_first},
                   {"caption_first", p->caption_first},
                   {"classes", p->classes}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        TDM_TRY(tdm_h5_put_text(file, texts[i].name, texts[i].value));
    if (p->info.model_seal[0] != '\0') TDM_TRY(tdm_h5_put_text(file, "model_seal", p->info.model_seal));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        TDM_TRY(tdm_h5_put_i64(file, numbers[i].name, numbers[i].value));
    return TDM_OK;
}

/* data[rows][width]; width 0: one dimension. */
static tdm_status put_rows(tdm_h5 *file, const char *name, tdm_h5_type type, int64_t rows, int64_t width,
                           const void *data)
{
    const int64_t shape[2] = {rows, width};
    return tdm_h5_put_array(file, name, type, width > 0 ? 2 : 1, shape, CHUNK_BYTES, data);
}

static tdm_status put_embedding(tdm_h5 *file, const char *name, tdm_dtype dtype, int64_t rows, int64_t d,
                                const float *feature)
{
    if (dtype == TDM_F32) return put_rows(file, name, TDM_H5_F32, rows, d, feature);
    uint16_t *half = NULL;
    TDM_TRY(TDM_ALLOC(rows * d, &half));
    tdm_f32_to_bf16(rows * d, feature, half);
    const tdm_status status = put_rows(file, name, TDM_H5_U16, rows, d, half);
    tdm_free(half);
    return status;
}

/* first, first + 1, … */
static tdm_status put_range(tdm_h5 *file, const char *name, int64_t first, int64_t n)
{
    int64_t *row = NULL;
    TDM_TRY(TDM_ALLOC(n, &row));
    for (int64_t i = 0; i < n; i++) row[i] = first + i;
    const tdm_status status = put_rows(file, name, TDM_H5_I64, n, 0, row);
    tdm_free(row);
    return status;
}

static tdm_status put_classes(tdm_h5 *file, const tdm_embeddings *e)
{
    uint8_t *bit = NULL;
    if (e->class_count == 0) return TDM_OK;
    TDM_TRY(TDM_ALLOC(e->images * e->class_count, &bit));
    for (int64_t i = 0; i < e->images; i++)
        for (int64_t c = 0; c < e->class_count; c++)
            bit[i * e->class_count + c] = e->image_labels[i * e->label_words + c / 64] >> (c % 64) & 1;
    const tdm_status status = put_rows(file, "image/class", TDM_H5_U8, e->images, e->class_count, bit);
    tdm_free(bit);
    return status;
}

static tdm_status put_class_names(tdm_h5 *file, const tdm_embeddings *e)
{
    tdm_h5_strings names = {0};
    tdm_status status = TDM_OK;
    if (e->class_count == 0 || !e->class_name) return TDM_OK;
    for (int64_t c = 0; c < e->class_count && status == TDM_OK; c++)
        status = tdm_h5_strings_add(&names, e->class_name[c], strlen(e->class_name[c]));
    if (status == TDM_OK) status = tdm_h5_put_strings(file, "class_name_", &names);
    tdm_h5_strings_free(&names);
    return status;
}

static tdm_status put_all(tdm_h5 *file, const part_info *p, const tdm_embeddings *e)
{
    TDM_TRY(put_attributes(file, p));
    TDM_TRY(tdm_h5_put_group(file, "image"));
    TDM_TRY(tdm_h5_put_group(file, "text"));
    TDM_TRY(put_embedding(file, "image/embedding", p->dtype, e->images, e->d, e->image));
    TDM_TRY(e->image_row != NULL ? put_rows(file, "image/row", TDM_H5_I64, e->images, 0, e->image_row)
                                 : put_range(file, "image/row", e->image_first, e->images));
    TDM_TRY(put_rows(file, "image/identity", TDM_H5_I64, e->images, 0, e->image_identity));
    TDM_TRY(put_classes(file, e));
    TDM_TRY(put_class_names(file, e));
    TDM_TRY(put_embedding(file, "text/embedding", p->dtype, e->captions, e->d, e->text));
    TDM_TRY(put_range(file, "text/row", e->caption_first, e->captions));
    TDM_TRY(put_rows(file, "text/image", TDM_H5_I64, e->captions, 0, e->image_row_of_caption));
    return put_rows(file, "text/identity", TDM_H5_I64, e->captions, 0, e->caption_identity);
}

static tdm_status write_file(const char *path, const part_info *p, const tdm_embeddings *e)
{
    tdm_h5 *file;
    TDM_TRY(tdm_h5_create(path, EMBEDDING_FORMAT, EMBEDDING_VERSION, &file));
    tdm_status status = put_all(file, p, e);
    if (status == TDM_OK) status = tdm_h5_finish(&file);
    tdm_h5_discard(&file);
    return status;
}

tdm_status embedding_write_part(const char *path, const part_info *p, const tdm_embeddings *e)
{
    char temporary[TDM_PATH_BYTES];
    const int length = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    TDM_REQUIRE(length < (int)sizeof temporary, TDM_E_IO, "%.200s…: path is too long", path);
    tdm_status status = write_file(temporary, p, e);
    if (status == TDM_OK && rename(temporary, path) != 0)
        status = TDM_ERROR(TDM_E_IO, "%s: cannot rename: %s", temporary, strerror(errno));
    if (status != TDM_OK) {
        unlink(temporary);
        return status;
    }
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
