/* A split of a data directory as one list: what is in memory is answered, bytes are read on demand. */
#include "dataset_impl.h"

#include <math.h>
#include <string.h>

enum { OPEN_SHARDS = 32 };
#define CACHE_BYTES (INT64_C(64) << 20) /* of image chunks, shared by the open shards */

/* ---- open files ---- */

void dataset_close_shard(tdm_dataset *dataset, shard *it)
{
    if (!it->file) return;
    tdm_h5_discard(&it->file);
    it->image_bytes = it->caption_bytes = it->alternative_bytes = NULL;
    for (int m = 0; m < TDM_MODALITIES; m++) it->feature[m] = NULL;
    dataset->open_count--;
}

static void close_oldest(tdm_dataset *dataset)
{
    shard *oldest = NULL;
    for (int64_t i = 0; i < dataset->shard_count; i++) {
        shard *it = &dataset->shard[i];
        if (it->file && (!oldest || it->last_use < oldest->last_use)) oldest = it;
    }
    if (oldest) dataset_close_shard(dataset, oldest);
}

/* Opening the split checks them against the offsets, once. */
static tdm_status open_arrays(const tdm_dataset *dataset, shard *it)
{
    int64_t shape[2], cache_bytes = CACHE_BYTES / tdm_min_i64(OPEN_SHARDS, dataset->shard_count);
    TDM_TRY(
        tdm_h5_open_array_again(it->file, "image/bytes", TDM_H5_U8, 1, cache_bytes, shape, &it->image_bytes));
    TDM_TRY(tdm_h5_open_array_again(it->file, "caption/bytes", TDM_H5_U8, 1, 0, shape, &it->caption_bytes));
    if (tdm_h5_has(it->file, "caption/alternative_bytes"))
        TDM_TRY(tdm_h5_open_array_again(it->file, "caption/alternative_bytes", TDM_H5_U8, 1, 0, shape,
                                        &it->alternative_bytes));
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const char *name = shard_feature_name((tdm_modality)m);
        if (!tdm_h5_has(it->file, name)) continue;
        TDM_TRY(tdm_h5_open_array_again(it->file, name, TDM_H5_F32, 2, cache_bytes, shape, &it->feature[m]));
    }
    return TDM_OK;
}

tdm_status dataset_use_shard(tdm_dataset *dataset, shard *it)
{
    it->last_use = ++dataset->clock;
    if (it->file) return TDM_OK;
    if (dataset->open_count >= OPEN_SHARDS) close_oldest(dataset);
    TDM_TRY(tdm_h5_open(it->path, SHARD_FORMAT, SHARD_VERSION, &it->file));
    dataset->open_count++;
    tdm_status status = open_arrays(dataset, it);
    if (status != TDM_OK) dataset_close_shard(dataset, it);
    return status;
}

/* ---- what is in memory ---- */

const char *dataset_dir(const tdm_dataset *dataset)
{
    return dataset->dir;
}

const char *dataset_split(const tdm_dataset *dataset)
{
    return dataset->split;
}

int64_t tdm_dataset_images(const tdm_dataset *dataset)
{
    return dataset->images;
}

int64_t tdm_dataset_captions(const tdm_dataset *dataset)
{
    return dataset->captions;
}

int64_t tdm_dataset_class_count(const tdm_dataset *dataset)
{
    return dataset->class_count;
}

const char *tdm_dataset_class_name(const tdm_dataset *dataset, int64_t index)
{
    if (index < 0 || index >= dataset->class_count) return "";
    return dataset->class_bytes.data + dataset->class_at[index];
}

tdm_status tdm_dataset_digest(const tdm_dataset *dataset, char digest[65])
{
    tdm_sha256 *sha;
    TDM_TRY(tdm_sha256_create(&sha));
    for (int64_t i = 0; i < dataset->shard_count; i++)
        tdm_sha256_update(sha, dataset->shard[i].digest, sizeof(dataset->shard[i].digest));
    tdm_sha256_finish(&sha, digest);
    return TDM_OK;
}

tdm_status tdm_dataset_reading(const tdm_dataset *dataset, const char *what, tdm_reading *reading)
{
    char path[TDM_PATH_BYTES], digest[65];
    TDM_TRY(tdm_path_join(path, sizeof path, dataset->dir, INDEX_FILE));
    TDM_TRY(tdm_dataset_digest(dataset, digest));
    TDM_TRY(tdm_reading_add(reading, what, path, digest));
    for (int64_t i = 0; i < dataset->shard_count; i++) {
        TDM_TRY(tdm_h5_digest(dataset->shard[i].path, digest));
        TDM_TRY(tdm_reading_add(reading, "shard", dataset->shard[i].path, digest));
    }
    return TDM_OK;
}

const char *tdm_dataset_tokenizer_digest(const tdm_dataset *dataset)
{
    return dataset->tokenizer_digest;
}

bool tdm_dataset_has_identity(const tdm_dataset *dataset)
{
    return dataset->has_identity;
}

typedef enum list_kind { LIST_IMAGES, LIST_CAPTIONS, LIST_ALTERNATIVES } list_kind;

static int64_t first_of(const shard *it, list_kind kind)
{
    switch (kind) {
    case LIST_IMAGES: return it->first_image;
    case LIST_CAPTIONS: return it->first_caption;
    case LIST_ALTERNATIVES: break;
    }
    return it->first_alternative;
}

/* The shard that holds this image, caption or alternative: the last that begins at or before it. */
static shard *find_shard(const tdm_dataset *dataset, int64_t row, list_kind kind)
{
    int64_t low = 0, high = dataset->shard_count;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (first_of(&dataset->shard[middle], kind) <= row)
            low = middle;
        else
            high = middle;
    }
    return &dataset->shard[low];
}

int64_t tdm_dataset_identity(const tdm_dataset *dataset, int64_t image)
{
    if (!dataset->has_identity) return image;
    const shard *it = find_shard(dataset, image, LIST_IMAGES);
    return it->identity[image - it->first_image];
}

int64_t tdm_dataset_caption_image(const tdm_dataset *dataset, int64_t caption)
{
    const shard *it = find_shard(dataset, caption, LIST_CAPTIONS);
    return it->first_image + it->caption_image[caption - it->first_caption];
}

void tdm_dataset_image_captions(const tdm_dataset *dataset, int64_t image, int64_t *first, int64_t *n)
{
    const shard *it = find_shard(dataset, image, LIST_IMAGES);
    int64_t row = image - it->first_image, begin = tdm_lower_bound(it->caption_image, it->captions, row);
    *n = tdm_lower_bound(it->caption_image, it->captions, row + 1) - begin;
    *first = it->first_caption + begin;
}

int64_t tdm_dataset_alternatives(const tdm_dataset *dataset)
{
    return dataset->alternatives;
}

void tdm_dataset_caption_alternatives(const tdm_dataset *dataset, int64_t caption, int64_t *first, int64_t *n)
{
    const shard *it = find_shard(dataset, caption, LIST_CAPTIONS);
    int64_t row = caption - it->first_caption;
    int64_t begin = tdm_lower_bound(it->alternative_caption, it->alternatives, row);
    *n = tdm_lower_bound(it->alternative_caption, it->alternatives, row + 1) - begin;
    *first = it->first_alternative + begin;
}

/* ---- rows that lack a part ---- */

bool dataset_row_has_image(const shard *it, int64_t row)
{
    if (it->image_offset[row] < it->image_offset[row + 1]) return true;
    return it->feature_width[TDM_IMAGE] > 0 && (!it->has_feature || it->has_feature[row]);
}

bool tdm_dataset_has_image(const tdm_dataset *dataset, int64_t image)
{
    if (!dataset->image_row) return true;
    const shard *it = find_shard(dataset, image, LIST_IMAGES);
    return dataset_row_has_image(it, image - it->first_image);
}

int64_t tdm_dataset_imageless(const tdm_dataset *dataset)
{
    return dataset->imageless;
}

int64_t tdm_dataset_captionless(const tdm_dataset *dataset)
{
    return dataset->captionless;
}

int64_t tdm_dataset_image_row(const tdm_dataset *dataset, int64_t number)
{
    return dataset->image_row ? dataset->image_row[number] : number;
}

int64_t tdm_dataset_image_number(const tdm_dataset *dataset, int64_t image)
{
    if (!dataset->image_row) return image;
    const int64_t count = dataset->images - dataset->imageless;
    const int64_t number = tdm_lower_bound(dataset->image_row, count, image);
    return number < count && dataset->image_row[number] == image ? number : -1;
}

int64_t tdm_dataset_feature_width(const tdm_dataset *dataset, tdm_modality modality)
{
    return dataset->shard->feature_width[modality];
}

/* ---- what is read on demand ---- */

/* Puts the row behind the path in the last error: "DIR/train-00001.h5 row 17: cannot read /image/bytes: …". */
static tdm_status row_error(const shard *it, const char *row_name, int64_t row)
{
    const char *message = tdm_error_last()->message;
    const size_t path = strlen(it->path);
    if (!strncmp(message, it->path, path) && !strncmp(message + path, ": ", 2)) message += path + 2;
    TDM_FAIL(TDM_E_FORMAT, "%s %s %lld: %s", it->path, row_name, (long long)row, message);
}

static tdm_status read_piece(tdm_dataset *dataset, shard *it, tdm_h5_array *bytes, int64_t begin, int64_t end,
                             const char *row_name, int64_t row, tdm_text *out)
{
    if (end - begin > dataset->scratch_bytes) {
        tdm_free(dataset->scratch);
        dataset->scratch = NULL;
        dataset->scratch_bytes = 0;
        int64_t want = tdm_round_up(end - begin, SHARD_CHUNK_BYTES);
        TDM_TRY(TDM_ALLOC(want, &dataset->scratch));
        dataset->scratch_bytes = want;
    }
    if (tdm_h5_read(bytes, begin, end - begin, dataset->scratch) != TDM_OK)
        return row_error(it, row_name, row);
    return tdm_text_append(out, dataset->scratch, (size_t)(end - begin));
}

/* Zeros pass HDF5's checksum, but no caption and no encoded image begins with eight of them. */
static tdm_status check_no_zeros(const shard *it, const char *row_name, int64_t row, const tdm_text *text)
{
    static const char zeros[8];
    const size_t n = text->length < sizeof zeros ? text->length : sizeof zeros;
    TDM_REQUIRE(n == 0 || memcmp(text->data, zeros, n) != 0, TDM_E_FORMAT,
                "%s %s %lld: is damaged: begins with zeros", it->path, row_name, (long long)row);
    return TDM_OK;
}

tdm_status tdm_dataset_read_image(tdm_dataset *dataset, int64_t image, tdm_text *out)
{
    out->length = 0;
    TDM_REQUIRE(image >= 0 && image < dataset->images, TDM_E_SHAPE, "%s: no image row %lld", dataset->dir,
                (long long)image);
    shard *it = find_shard(dataset, image, LIST_IMAGES);
    int64_t row = image - it->first_image;
    TDM_REQUIRE(it->image_offset[row]<it->image_offset[row + 1], TDM_E_DATA, "%s row %lld: has no %simage",
                                      it->path, (long long)row, it->feature_width[TDM_IMAGE]> 0
                    ? "encoded "
                    : "");
    TDM_TRY(dataset_use_shard(dataset, it));
    TDM_TRY(read_piece(dataset, it, it->image_bytes, it->image_offset[row], it->image_offset[row + 1], "row",
                       row, out));
    return check_no_zeros(it, "row", row, out);
}

tdm_status tdm_dataset_read_caption(tdm_dataset *dataset, int64_t caption, tdm_text *out)
{
    out->length = 0;
    TDM_REQUIRE(caption >= 0 && caption < dataset->captions, TDM_E_SHAPE, "%s: no caption row %lld",
                dataset->dir, (long long)caption);
    shard *it = find_shard(dataset, caption, LIST_CAPTIONS);
    int64_t row = caption - it->first_caption;
    TDM_TRY(dataset_use_shard(dataset, it));
    TDM_TRY(read_piece(dataset, it, it->caption_bytes, it->caption_offset[row], it->caption_offset[row + 1],
                       "caption row", row, out));
    return check_no_zeros(it, "caption row", row, out);
}

tdm_status tdm_dataset_read_alternative(tdm_dataset *dataset, int64_t index, tdm_text *out)
{
    out->length = 0;
    TDM_REQUIRE(index >= 0 && index < dataset->alternatives, TDM_E_SHAPE, "%s: no alternative %lld",
                dataset->dir, (long long)index);
    shard *it = find_shard(dataset, index, LIST_ALTERNATIVES);
    int64_t row = index - it->first_alternative;
    TDM_TRY(dataset_use_shard(dataset, it));
    TDM_TRY(read_piece(dataset, it, it->alternative_bytes, it->alternative_offset[row],
                       it->alternative_offset[row + 1], "alternative", row, out));
    return check_no_zeros(it, "alternative", row, out);
}

void dataset_hold_features(tdm_dataset *dataset, int64_t bytes)
{
    dataset->hold_bytes = bytes;
}

static bool all_finite(int64_t n, const float *x)
{
    int bad = 0;
    for (int64_t i = 0; i < n; i++) bad |= !isfinite(x[i]);
    return !bad;
}

/* Tries once. What is damaged is not held: reading its rows one by one tells which it is. */
static tdm_status hold_feature(tdm_dataset *dataset, shard *it, tdm_modality modality)
{
    const int64_t rows = modality == TDM_IMAGE ? it->images : it->captions;
    const int64_t n = rows * it->feature_width[modality], bytes = n * (int64_t)sizeof(float);
    if (it->hold_tried[modality] || bytes > dataset->hold_bytes) return TDM_OK;
    it->hold_tried[modality] = true;
    float *all;
    TDM_TRY(dataset_use_shard(dataset, it));
    TDM_TRY(TDM_ALLOC(n, &all));
    if (tdm_h5_read(it->feature[modality], 0, rows, all) == TDM_OK && all_finite(n, all)) {
        it->held[modality] = all;
        dataset->hold_bytes -= bytes;
    } else {
        tdm_free(all);
    }
    return TDM_OK;
}

tdm_status tdm_dataset_read_feature(tdm_dataset *dataset, tdm_modality modality, int64_t row, float *out)
{
    const bool image = modality == TDM_IMAGE;
    const char *what = image ? "image" : "caption";
    TDM_REQUIRE(row >= 0 && row < (image ? dataset->images : dataset->captions), TDM_E_SHAPE,
                "%s: no %s row %lld", dataset->dir, what, (long long)row);
    TDM_REQUIRE(tdm_dataset_feature_width(dataset, modality) > 0, TDM_E_DATA, "%s: holds no %s features",
                dataset->dir, what);
    shard *it = find_shard(dataset, row, image ? LIST_IMAGES : LIST_CAPTIONS);
    const int64_t local = row - (image ? it->first_image : it->first_caption);
    TDM_REQUIRE(!image || dataset_row_has_image(it, local), TDM_E_DATA, "%s row %lld: has no image", it->path,
                (long long)local);
    const int64_t width = it->feature_width[modality];
    TDM_TRY(hold_feature(dataset, it, modality));
    if (it->held[modality]) {
        memcpy(out, it->held[modality] + local * width, sizeof(float) * (size_t)width);
        return TDM_OK;
    }
    TDM_TRY(dataset_use_shard(dataset, it));
    if (tdm_h5_read(it->feature[modality], local, 1, out) != TDM_OK)
        return row_error(it, image ? "row" : "caption row", local);
    for (int64_t k = 0; k < width; k++)
        TDM_REQUIRE(isfinite(out[k]), TDM_E_DATA, "%s %srow %lld: its %s feature is not finite at %lld",
                    it->path, image ? "" : "caption ", (long long)local, what, (long long)k);
    return TDM_OK;
}

/* Reads the two offsets of the name, then its bytes. */
static tdm_status read_name(tdm_dataset *dataset, shard *it, int64_t row, tdm_h5_array *offsets,
                            tdm_h5_array *bytes, int64_t byte_count, tdm_text *out)
{
    int64_t offset[2];
    if (tdm_h5_read(offsets, row, 2, offset) != TDM_OK) return row_error(it, "row", row);
    TDM_REQUIRE(offset[0] >= 0 && offset[0] <= offset[1] && offset[1] - offset[0] <= SHARD_NAME_BYTES &&
                    offset[1] <= byte_count,
                TDM_E_FORMAT, "%s: /image/name_offset is wrong at row %lld", it->path, (long long)row);
    return read_piece(dataset, it, bytes, offset[0], offset[1], "row", row, out);
}

tdm_status tdm_dataset_read_name(tdm_dataset *dataset, int64_t image, tdm_text *out)
{
    out->length = 0;
    TDM_REQUIRE(image >= 0 && image < dataset->images, TDM_E_SHAPE, "%s: no image row %lld", dataset->dir,
                (long long)image);
    shard *it = find_shard(dataset, image, LIST_IMAGES);
    int64_t offset_count, byte_count;
    tdm_h5_array *offsets, *bytes = NULL;
    TDM_TRY(dataset_use_shard(dataset, it));
    TDM_TRY(tdm_h5_open_array(it->file, "image/name_offset", TDM_H5_I64, 1, &offset_count, &offsets));
    tdm_status status = tdm_h5_open_array(it->file, "image/name_bytes", TDM_H5_U8, 1, &byte_count, &bytes);
    if (status == TDM_OK)
        status = read_name(dataset, it, image - it->first_image, offsets, bytes, byte_count, out);
    tdm_h5_close_array(&bytes);
    tdm_h5_close_array(&offsets);
    return status;
}

int64_t tdm_dataset_class_words(const tdm_dataset *dataset)
{
    return (dataset->class_count + 63) / 64;
}

/* The bits of all rows of a shard, from its bytes, a block of rows at a time. */
static tdm_status pack_bits(shard *it, tdm_h5_array *array, int64_t classes, int64_t words, uint64_t *bits)
{
    uint8_t *byte;
    const int64_t block = tdm_max_i64(1, SHARD_CHUNK_BYTES / classes);
    TDM_TRY(TDM_ALLOC(block * classes, &byte));
    tdm_status status = TDM_OK;
    for (int64_t first = 0; first < it->images && status == TDM_OK; first += block) {
        const int64_t n = tdm_min_i64(block, it->images - first);
        status = tdm_h5_read(array, first, n, byte);
        for (int64_t i = 0; i < n && status == TDM_OK; i++)
            for (int64_t c = 0; c < classes; c++)
                bits[(first + i) * words + c / 64] |= (uint64_t)(byte[i * classes + c] != 0) << (c % 64);
    }
    tdm_free(byte);
    return status;
}

static tdm_status load_class_bits(tdm_dataset *dataset, shard *it)
{
    int64_t shape[2], words = tdm_dataset_class_words(dataset);
    uint64_t *bits = NULL;
    tdm_h5_array *array;
    TDM_TRY(dataset_use_shard(dataset, it));
    TDM_TRY(tdm_h5_open_array_again(it->file, "image/class", TDM_H5_U8, 2, 0, shape, &array));
    tdm_status status = TDM_ALLOC(it->images * words, &bits);
    if (status == TDM_OK) status = pack_bits(it, array, dataset->class_count, words, bits);
    tdm_h5_close_array(&array);
    if (status != TDM_OK) tdm_free(bits);
    if (status == TDM_OK) it->class_bits = bits;
    return status;
}

tdm_status tdm_dataset_class_bits(tdm_dataset *dataset, int64_t image, const uint64_t **words)
{
    *words = NULL;
    TDM_REQUIRE(image >= 0 && image < dataset->images, TDM_E_SHAPE, "%s: no image row %lld", dataset->dir,
                (long long)image);
    if (dataset->class_count == 0) return TDM_OK;
    shard *it = find_shard(dataset, image, LIST_IMAGES);
    if (!it->class_bits) TDM_TRY(load_class_bits(dataset, it));
    *words = it->class_bits + (image - it->first_image) * tdm_dataset_class_words(dataset);
    return TDM_OK;
}

tdm_status tdm_dataset_classes(tdm_dataset *dataset, int64_t image, uint8_t *bit)
{
    const uint64_t *words;
    TDM_TRY(tdm_dataset_class_bits(dataset, image, &words));
    for (int64_t c = 0; c < dataset->class_count; c++) bit[c] = words[c / 64] >> (c % 64) & 1;
    return TDM_OK;
}

const char *tdm_dataset_where(const tdm_dataset *dataset, int64_t image)
{
    static _Thread_local char where[TDM_PATH_BYTES + 32];
    if (image < 0 || image >= dataset->images) {
        snprintf(where, sizeof(where), "%s image %lld", dataset->dir, (long long)image);
        return where;
    }
    const shard *it = find_shard(dataset, image, LIST_IMAGES);
    snprintf(where, sizeof(where), "%s row %lld", it->path, (long long)(image - it->first_image));
    return where;
}

/* ---- verification ---- */

/* What opening has not read is there, and every checksum fits. */
static tdm_status verify_shard(tdm_dataset *dataset, shard *it)
{
    int64_t *offset;
    TDM_TRY(dataset_use_shard(dataset, it));
    TDM_TRY(tdm_h5_verify(it->path));
    TDM_TRY(tdm_h5_get_offsets(it->file, "image/name_", 0, SHARD_NAME_BYTES, &it->images, &offset));
    tdm_free(offset);
    char digest[65];
    TDM_TRY(tdm_sha256_file(it->path, digest));
    TDM_REQUIRE(!strcmp(digest, it->digest), TDM_E_FORMAT,
                "%s: is damaged: SHA-256 is %s, the index says %s: the file was changed after packing",
                it->path, digest, it->digest);
    return TDM_OK;
}

tdm_status tdm_dataset_verify(tdm_dataset *dataset)
{
    for (int64_t i = 0; i < dataset->shard_count; i++) TDM_TRY(verify_shard(dataset, &dataset->shard[i]));
    return TDM_OK;
}
