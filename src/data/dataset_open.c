/* Opening a split: every shard's offsets, identities and caption rows come into memory, checked against each
 * other and against the index. */
#include "dataset_impl.h"
#include "index_impl.h"

#include <string.h>
#include <sys/stat.h>

static tdm_status check_counts(const shard *it, const char *split)
{
    char found[64];
    int64_t images, captions;
    TDM_TRY(tdm_h5_get_chars(it->file, "split", found, sizeof(found)));
    TDM_REQUIRE(!strcmp(found, split), TDM_E_FORMAT, "%s: split is \"%s\", the index says \"%s\"", it->path,
                found, split);
    TDM_TRY(tdm_h5_get_i64(it->file, "images", &images));
    TDM_REQUIRE(images == it->images, TDM_E_FORMAT, "%s: holds %lld images, the index says %lld", it->path,
                (long long)images, (long long)it->images);
    TDM_TRY(tdm_h5_get_i64(it->file, "captions", &captions));
    TDM_REQUIRE(captions == it->captions, TDM_E_FORMAT, "%s: holds %lld captions, the index says %lld",
                it->path, (long long)captions, (long long)it->captions);
    return TDM_OK;
}

/* Row by row of the shard: where each part of a list belongs, in order. */
static tdm_status read_owners(const shard *it, const char *name, int64_t *count, int64_t owners,
                              int64_t **owner)
{
    TDM_TRY(tdm_h5_get_i64s(it->file, name, count, owner));
    for (int64_t i = 0; i < *count; i++)
        TDM_REQUIRE((*owner)[i] >= 0 && (*owner)[i] < owners && (i == 0 || (*owner)[i] >= (*owner)[i - 1]),
                    TDM_E_FORMAT, "%s: /%s is wrong at row %lld", it->path, name, (long long)i);
    return TDM_OK;
}

static tdm_status read_feature_shape(shard *it, tdm_modality modality, int64_t rows)
{
    int64_t shape[2];
    tdm_h5_array *array;
    const char *name = shard_feature_name(modality);
    if (!tdm_h5_has(it->file, name)) return TDM_OK;
    TDM_TRY(tdm_h5_open_array(it->file, name, TDM_H5_F32, 2, shape, &array));
    tdm_h5_close_array(&array);
    TDM_REQUIRE(shape[0] == rows && shape[1] >= 1 && shape[1] <= SHARD_FEATURE_WIDTH, TDM_E_FORMAT,
                "%s: /%s is %lld x %lld, expected %lld rows", it->path, name, (long long)shape[0],
                (long long)shape[1], (long long)rows);
    it->feature_width[modality] = shape[1];
    return TDM_OK;
}

/* Which rows have an image feature; all, unless the file says otherwise. */
static tdm_status read_has_feature(shard *it)
{
    tdm_text bytes = {0};
    if (!tdm_h5_has(it->file, "image/has_feature")) return TDM_OK;
    tdm_status status = tdm_h5_get_bytes(it->file, "image/has_feature", &bytes);
    if (status == TDM_OK && (int64_t)bytes.length != it->images)
        status = TDM_ERROR(TDM_E_FORMAT, "%s: /image/has_feature holds %zu rows, expected %lld", it->path,
                           bytes.length, (long long)it->images);
    if (status == TDM_OK) status = TDM_ALLOC(it->images, &it->has_feature);
    if (status == TDM_OK) memcpy(it->has_feature, bytes.data, bytes.length);
    tdm_text_free(&bytes);
    return status;
}

static tdm_status read_alternatives(tdm_dataset *dataset, shard *it)
{
    it->first_alternative = dataset->alternatives;
    if (!tdm_h5_has(it->file, "caption/alternative_offset")) return TDM_OK;
    int64_t count = -1;
    TDM_TRY(tdm_h5_get_offsets(it->file, "caption/alternative_", 1, SHARD_TEXT_BYTES, &count,
                               &it->alternative_offset));
    TDM_TRY(read_owners(it, "caption/alternative_caption", &count, it->captions, &it->alternative_caption));
    it->alternatives = count;
    dataset->alternatives += count;
    return TDM_OK;
}

/* A row that has neither an image nor a caption is nobody's sample. */
static tdm_status count_parts(tdm_dataset *dataset, const shard *it)
{
    for (int64_t row = 0, caption = 0; row < it->images; row++) {
        const int64_t first = caption;
        while (caption < it->captions && it->caption_image[caption] == row) caption++;
        const bool has_image = dataset_row_has_image(it, row), has_caption = caption > first;
        TDM_REQUIRE(has_image || has_caption, TDM_E_FORMAT, "%s row %lld: has neither an image nor a caption",
                    it->path, (long long)row);
        dataset->imageless += !has_image;
        dataset->captionless += !has_caption;
    }
    return TDM_OK;
}

static tdm_status read_offsets(tdm_dataset *dataset, shard *it)
{
    TDM_TRY(read_feature_shape(it, TDM_IMAGE, it->images));
    TDM_TRY(read_feature_shape(it, TDM_TEXT, it->captions));
    TDM_TRY(read_has_feature(it));
    /* what stands for an image or a caption may be its feature alone */
    TDM_TRY(tdm_h5_get_offsets(it->file, "image/", 0, SHARD_IMAGE_BYTES, &it->images, &it->image_offset));
    TDM_TRY(tdm_h5_get_offsets(it->file, "caption/", it->feature_width[TDM_TEXT] > 0 ? 0 : 1,
                               SHARD_TEXT_BYTES, &it->captions, &it->caption_offset));
    TDM_TRY(read_owners(it, "caption/image", &it->captions, it->images, &it->caption_image));
    TDM_TRY(read_alternatives(dataset, it));
    TDM_TRY(tdm_h5_get_i64s(it->file, "image/identity", &it->images, &it->identity));
    return count_parts(dataset, it);
}

/* Either every image of the split has an identity or none. */
static tdm_status check_identity(tdm_dataset *dataset, const shard *it)
{
    for (int64_t i = 0; i < it->images; i++) {
        bool has = it->identity[i] >= 0;
        if (it->first_image + i == 0) dataset->has_identity = has;
        TDM_REQUIRE(has == dataset->has_identity, TDM_E_FORMAT,
                    "%s row %lld: %s an identity, unlike the images before it", it->path, (long long)i,
                    has ? "has" : "has not");
    }
    return TDM_OK;
}

/* The names of the shard's classes, each with its NUL, and where each begins. */
static tdm_status read_class_names(const shard *it, tdm_text *names, int64_t **at, int64_t *count)
{
    tdm_h5_strings list = {0};
    tdm_status status = tdm_h5_get_strings(it->file, "class/name_", SHARD_NAME_BYTES, &list);
    if (status == TDM_OK) status = TDM_ALLOC(list.count, at);
    for (int64_t i = 0; i < list.count && status == TDM_OK; i++) {
        int64_t bytes;
        const char *name = tdm_h5_strings_at(&list, i, &bytes);
        (*at)[i] = (int64_t)names->length;
        status = tdm_text_append(names, name, (size_t)bytes);
        if (status == TDM_OK) status = tdm_text_append(names, "", 1);
    }
    *count = list.count;
    tdm_h5_strings_free(&list);
    return status;
}

static tdm_status check_class_bits(const shard *it, int64_t class_count)
{
    int64_t shape[2];
    tdm_h5_array *bits;
    TDM_TRY(tdm_h5_open_array(it->file, "image/class", TDM_H5_U8, 2, shape, &bits));
    tdm_h5_close_array(&bits);
    TDM_REQUIRE(shape[0] == it->images && shape[1] == class_count, TDM_E_FORMAT,
                "%s: /image/class is %lld x %lld, expected %lld images x %lld classes", it->path,
                (long long)shape[0], (long long)shape[1], (long long)it->images, (long long)class_count);
    return TDM_OK;
}

/* Class names and tokenizer digest: the first shard's, and the same in all others. */
static tdm_status check_alike(tdm_dataset *dataset, const shard *it)
{
    char digest[65];
    tdm_text names = {0};
    int64_t *at = NULL, count = 0;
    TDM_TRY(tdm_h5_get_chars(it->file, "tokenizer_digest", digest, sizeof(digest)));
    tdm_status status = TDM_OK;
    if (tdm_h5_has(it->file, "class/name_offset")) {
        status = read_class_names(it, &names, &at, &count);
        if (status == TDM_OK) status = check_class_bits(it, count);
    }
    if (status == TDM_OK && it == dataset->shard) {
        snprintf(dataset->tokenizer_digest, sizeof(dataset->tokenizer_digest), "%s", digest);
        dataset->class_bytes = names;
        dataset->class_at = at;
        dataset->class_count = count;
        return TDM_OK;
    }
    if (status == TDM_OK && strcmp(digest, dataset->tokenizer_digest))
        status = TDM_ERROR(TDM_E_FORMAT, "%s: packed with another tokenizer than %s", it->path,
                           dataset->shard[0].path);
    if (status == TDM_OK && (count != dataset->class_count || names.length != dataset->class_bytes.length ||
                             (names.length && memcmp(names.data, dataset->class_bytes.data, names.length))))
        status = TDM_ERROR(TDM_E_FORMAT, "%s: has other classes than %s", it->path, dataset->shard[0].path);
    tdm_text_free(&names);
    tdm_free(at);
    return status;
}

static tdm_status check_feature_widths(const tdm_dataset *dataset, const shard *it)
{
    for (int m = 0; m < TDM_MODALITIES; m++)
        TDM_REQUIRE(it->feature_width[m] == dataset->shard->feature_width[m], TDM_E_FORMAT,
                    "%s: /%s is %lld wide, that of %s %lld", it->path, shard_feature_name((tdm_modality)m),
                    (long long)it->feature_width[m], dataset->shard->path,
                    (long long)dataset->shard->feature_width[m]);
    return TDM_OK;
}

static tdm_status check_size(const shard *it)
{
    struct stat info;
    if (stat(it->path, &info)) TDM_FAIL(TDM_E_IO, "%s: shard is missing", it->path);
    long long bytes = (long long)info.st_size, expected = (long long)it->file_bytes;
    TDM_REQUIRE(bytes == expected, TDM_E_FORMAT,
                "%s: is damaged: truncated or changed after packing: %lld bytes, the index says %lld",
                it->path, bytes, expected);
    return TDM_OK;
}

static tdm_status open_shard(tdm_dataset *dataset, shard *it)
{
    TDM_TRY(tdm_stop_point("while opening %s", it->path));
    TDM_TRY(check_size(it));
    TDM_TRY(dataset_use_shard(dataset, it));
    TDM_TRY(check_counts(it, dataset->split));
    TDM_TRY(read_offsets(dataset, it));
    TDM_TRY(check_identity(dataset, it));
    TDM_TRY(check_feature_widths(dataset, it));
    return check_alike(dataset, it);
}

static tdm_status unknown_split(const char *dir, const char *split, const index_row *row, int64_t count)
{
    char known[512] = "";
    for (int64_t i = 0; i < count; i++) {
        bool seen = false;
        for (int64_t j = 0; j < i && !seen; j++) seen = !strcmp(row[j].row.split, row[i].row.split);
        size_t at = strlen(known);
        if (!seen) snprintf(known + at, sizeof(known) - at, "%s%s", at ? ", " : "", row[i].row.split);
    }
    TDM_FAIL(TDM_E_DATA, "%s: has no split \"%s\"; it has: %s", dir, split, *known ? known : "none");
}

/* The shards of the split, in the index's order, not yet opened. */
static tdm_status take_rows(tdm_dataset *dataset, const index_row *row, int64_t count)
{
    TDM_TRY(TDM_ALLOC(count, &dataset->shard));
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(row[i].row.split, dataset->split)) continue;
        shard *it = &dataset->shard[dataset->shard_count++];
        size_t path_bytes = strlen(dataset->dir) + sizeof(row[i].row.file) + 2;
        TDM_TRY(TDM_ALLOC(path_bytes, &it->path));
        TDM_TRY(tdm_path_join(it->path, path_bytes, dataset->dir, row[i].row.file));
        memcpy(it->digest, row[i].row.digest, sizeof(it->digest));
        it->images = row[i].row.images;
        it->captions = row[i].row.captions;
        it->file_bytes = row[i].file_bytes;
        it->first_image = dataset->images;
        it->first_caption = dataset->captions;
        TDM_REQUIRE(it->images <= INT64_MAX / 16 - dataset->images &&
                        it->captions <= INT64_MAX / 16 - dataset->captions,
                    TDM_E_FORMAT, "%s/%s: the counts of %s are too large", dataset->dir, INDEX_FILE,
                    it->path);
        dataset->images += it->images;
        dataset->captions += it->captions;
    }
    if (dataset->shard_count == 0) return unknown_split(dataset->dir, dataset->split, row, count);
    return TDM_OK;
}

/* The rows that have an image, when some have none. */
static tdm_status list_images(tdm_dataset *dataset)
{
    if (dataset->imageless == 0) return TDM_OK;
    TDM_TRY(TDM_ALLOC(dataset->images - dataset->imageless, &dataset->image_row));
    int64_t n = 0;
    for (int64_t i = 0; i < dataset->shard_count; i++) {
        const shard *it = &dataset->shard[i];
        for (int64_t row = 0; row < it->images; row++)
            if (dataset_row_has_image(it, row)) dataset->image_row[n++] = it->first_image + row;
    }
    return TDM_OK;
}

static tdm_status open_all(tdm_dataset *dataset)
{
    index_row *row;
    int64_t count;
    TDM_TRY(index_read(dataset->dir, &row, &count));
    tdm_status status = take_rows(dataset, row, count);
    tdm_free(row);
    for (int64_t i = 0; i < dataset->shard_count && status == TDM_OK; i++)
        status = open_shard(dataset, &dataset->shard[i]);
    return status == TDM_OK ? list_images(dataset) : status;
}

tdm_status tdm_dataset_open(const char *dir, const char *split, tdm_dataset **dataset)
{
    *dataset = NULL;
    tdm_dataset *made;
    TDM_REQUIRE(strlen(dir) < sizeof(made->dir), TDM_E_IO, "%.200s…: path is too long", dir);
    TDM_TRY(TDM_ALLOC(1, &made));
    snprintf(made->dir, sizeof(made->dir), "%s", dir);
    snprintf(made->split, sizeof(made->split), "%s", split);
    tdm_status status = open_all(made);
    if (status != TDM_OK)
        tdm_dataset_close(&made);
    else
        *dataset = made;
    return status;
}

void tdm_dataset_close(tdm_dataset **dataset)
{
    tdm_dataset *dying = *dataset;
    *dataset = NULL;
    if (!dying) return;
    for (int64_t i = 0; i < dying->shard_count; i++) {
        shard *it = &dying->shard[i];
        dataset_close_shard(dying, it);
        tdm_free(it->path);
        tdm_free(it->image_offset);
        tdm_free(it->caption_offset);
        tdm_free(it->identity);
        tdm_free(it->caption_image);
        tdm_free(it->alternative_offset);
        tdm_free(it->alternative_caption);
        tdm_free(it->has_feature);
        for (int m = 0; m < TDM_MODALITIES; m++) tdm_free(it->held[m]);
        tdm_free(it->class_bits);
    }
    tdm_free(dying->shard);
    tdm_text_free(&dying->class_bytes);
    tdm_free(dying->class_at);
    tdm_free(dying->image_row);
    tdm_free(dying->taken);
    for (int m = 0; m < TDM_MODALITIES; m++) tdm_free(dying->kept[m]);
    tdm_free(dying->scratch);
    tdm_free(dying);
}
