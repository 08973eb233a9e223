/* What a rank has read of a source, so that ranks can compare it: each packs some of the shards, from files of its own
 * host. */
#include "pack_impl.h"

#include <string.h>

enum { SAMPLED_IMAGES = 32, SAMPLED_ROWS = 64 };

/* ---- The list ---- */

static void hash_text(tdm_sha256 *sha, const char *text)
{
    tdm_sha256_update(sha, text ? text : "", text ? strlen(text) + 1 : 1);
}

static void hash_numbers(tdm_sha256 *sha, const int64_t *number, int64_t count)
{
    tdm_sha256_update(sha, &count, sizeof count);
    if (number) tdm_sha256_update(sha, number, (size_t)count * sizeof *number);
}

static void hash_item(tdm_sha256 *sha, const tdm_pack_item *item)
{
    const int64_t number[] = {item->offset,    item->bytes,           item->identity,
                              item->caption_n, item->caption_fault_n, item->image_feature_row};
    hash_text(sha, item->name);
    hash_text(sha, item->path);
    hash_text(sha, item->split);
    hash_text(sha, item->fault);
    hash_numbers(sha, number, sizeof number / sizeof number[0]);
    for (int64_t k = 0; k < item->caption_n; k++) hash_text(sha, item->caption[k]);
    for (int64_t k = 0; k < item->caption_fault_n; k++) hash_text(sha, item->caption_fault[k].why);
    for (int64_t k = 0; k < item->alternative_n; k++) hash_text(sha, item->alternative[k]);
    hash_numbers(sha, item->alternative_of, item->alternative_n);
    hash_numbers(sha, item->text_feature_row, item->text_feature ? item->caption_n : 0);
    hash_numbers(sha, item->class_index, item->class_n);
}

static tdm_status add_items(const tdm_pack_list *list, int64_t first, const char *source,
                            tdm_reading *reading)
{
    tdm_sha256 *sha;
    char digest[65];
    TDM_TRY(tdm_sha256_create(&sha));
    for (int64_t i = first; i < list->count; i++) hash_item(sha, &list->item[i]);
    for (int64_t i = 0; i < list->fault_n; i++) hash_text(sha, list->fault[i]);
    for (int64_t i = 0; i < list->classes.count; i++) hash_text(sha, list->classes.name[i]);
    for (int64_t i = 0; i < list->identities.count; i++) hash_text(sha, list->identities.name[i]);
    tdm_sha256_finish(&sha, digest);
    return tdm_reading_add(reading, "list of samples", source, digest);
}

/* ---- What is read while packing, a sample of it ---- */

/* What cannot be read is a bad sample, if it is so on all ranks. */
static tdm_status add_file(const char *what, const char *path, tdm_reading *reading)
{
    char digest[65];
    const bool good = tdm_file_digest(path, digest) == TDM_OK;
    return tdm_reading_add(reading, what, path, good ? digest : "cannot be read");
}

static tdm_status add_images(const tdm_pack_list *list, int64_t first, tdm_reading *reading)
{
    const char *last = "";
    const int64_t count = list->count - first, sampled = tdm_min_i64(count, SAMPLED_IMAGES);
    for (int64_t i = 0; i < sampled; i++) {
        const tdm_pack_item *item = &list->item[first + tdm_part_begin(count, sampled, i)];
        if (!item->path || strcmp(item->path, last) == 0) continue;
        last = item->path; /* several may lie in one file */
        TDM_TRY(add_file(item->bytes < 0 ? "image" : "file of images", item->path, reading));
    }
    return TDM_OK;
}

static tdm_status add_features(tdm_pack_features *features, const char *source, tdm_reading *reading)
{
    float *row;
    tdm_sha256 *sha;
    char digest[65];
    const int64_t sampled = tdm_min_i64(features->rows, SAMPLED_ROWS);
    TDM_TRY(TDM_ALLOC(features->width, &row));
    tdm_status status = tdm_sha256_create(&sha);
    for (int64_t i = 0; i < sampled && status == TDM_OK; i++) {
        const int64_t at = tdm_part_begin(features->rows, sampled, i);
        if (features->read(features, at, row) != TDM_OK)
            memset(row, 0, sizeof *row * (size_t)features->width);
        tdm_sha256_update(sha, row, sizeof *row * (size_t)features->width);
    }
    tdm_free(row);
    TDM_TRY(status);
    tdm_sha256_finish(&sha, digest);
    return tdm_reading_add(reading, "matrix of features", source, digest);
}

tdm_status pack_list_reading(const tdm_pack_list *list, int64_t first_item, int64_t first_features,
                             const char *source, tdm_reading *reading)
{
    if (!tdm_path_is_dir(source)) TDM_TRY(add_file("source", source, reading));
    TDM_TRY(add_items(list, first_item, source, reading));
    TDM_TRY(add_images(list, first_item, reading));
    for (int64_t i = first_features; i < list->features_n; i++)
        TDM_TRY(add_features(list->features[i], source, reading));
    return TDM_OK;
}
