/* A split of a data directory: every shard's offsets, identities and caption rows in memory, bytes on demand.
 * At most OPEN_SHARDS files are open at a time, the least recently used is closed for the next. */
#include "index_impl.h"

#include <string.h>
#include <sys/stat.h>

enum { OPEN_SHARDS = 32, CACHE_SLOTS = 10007 };
#define CACHE_BYTES (INT64_C(64) << 20) /* of image chunks, shared by the open shards */

typedef struct shard {
    char *path;
    int64_t first_image, first_caption; /* global rows */
    int64_t images, captions, file_bytes;
    int64_t *image_offset, *caption_offset; /* [images+1], [captions+1] */
    int64_t *identity;                      /* [images], -1 = none */
    int64_t *caption_image;                 /* [captions] local rows, not decreasing */
    char digest[65];
    tdm_h5 *file; /* NULL when closed, as are its arrays */
    tdm_h5_array *image_bytes, *caption_bytes;
    uint64_t last_use;
} shard;

struct tdm_dataset {
    char dir[TDM_PATH_BYTES], split[32];
    shard *shard;
    int64_t shard_count, images, captions, class_count;
    tdm_text class_bytes; /* names, each with its NUL */
    int64_t *class_at;    /* [class_count] in class_bytes */
    char tokenizer_digest[65];
    bool has_identity;
    int64_t open_count;
    uint64_t clock;
    unsigned char *scratch; /* for one image, name or caption */
    int64_t scratch_bytes;
};

/* ---- open files ---- */

static void close_shard(tdm_dataset *dataset, shard *it)
{
    if (!it->file) return;
    tdm_h5_discard(&it->file);
    it->image_bytes = it->caption_bytes = NULL;
    dataset->open_count--;
}

static void close_oldest(tdm_dataset *dataset)
{
    shard *oldest = NULL;
    for (int64_t i = 0; i < dataset->shard_count; i++) {
        shard *it = &dataset->shard[i];
        if (it->file && (!oldest || it->last_use < oldest->last_use)) oldest = it;
    }
    if (oldest) close_shard(dataset, oldest);
}

/* Opening the split has checked them against the offsets. */
static tdm_status open_bytes(const tdm_dataset *dataset, shard *it)
{
    int64_t length, sharers = tdm_min_i64(OPEN_SHARDS, dataset->shard_count);
    TDM_TRY(tdm_h5_open_array_again(it->file, "image/bytes", TDM_H5_U8, 1, CACHE_BYTES / sharers, &length,
                                    &it->image_bytes));
    return tdm_h5_open_array_again(it->file, "caption/bytes", TDM_H5_U8, 1, 0, &length, &it->caption_bytes);
}

/* Makes sure that the shard's file is open. */
static tdm_status use_shard(tdm_dataset *dataset, shard *it)
{
    it->last_use = ++dataset->clock;
    if (it->file) return TDM_OK;
    if (dataset->open_count >= OPEN_SHARDS) close_oldest(dataset);
    TDM_TRY(tdm_h5_open(it->path, SHARD_FORMAT, SHARD_VERSION, &it->file));
    dataset->open_count++;
    tdm_status status = open_bytes(dataset, it);
    if (status != TDM_OK) close_shard(dataset, it);
    return status;
}

/* ---- opening ---- */

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

static tdm_status read_offsets(shard *it)
{
    TDM_TRY(tdm_h5_get_offsets(it->file, "image/", 1, SHARD_IMAGE_BYTES, &it->images, &it->image_offset));
    TDM_TRY(
        tdm_h5_get_offsets(it->file, "caption/", 1, SHARD_TEXT_BYTES, &it->captions, &it->caption_offset));
    TDM_TRY(tdm_h5_get_i64s(it->file, "caption/image", &it->captions, &it->caption_image));
    for (int64_t i = 0; i < it->captions; i++) {
        int64_t image = it->caption_image[i];
        TDM_REQUIRE(image >= 0 && image < it->images && (i == 0 || image >= it->caption_image[i - 1]),
                    TDM_E_FORMAT, "%s: /caption/image is wrong at row %lld", it->path, (long long)i);
    }
    return tdm_h5_get_i64s(it->file, "image/identity", &it->images, &it->identity);
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

static tdm_status check_size(const shard *it)
{
    struct stat info;
    if (stat(it->path, &info)) TDM_FAIL(TDM_E_IO, "%s: shard is missing", it->path);
    long long bytes = (long long)info.st_size, expected = (long long)it->file_bytes;
    TDM_REQUIRE(bytes >= expected, TDM_E_FORMAT, "%s: truncated: %lld bytes, the index says %lld", it->path,
                bytes, expected);
    TDM_REQUIRE(bytes == expected, TDM_E_FORMAT, "%s: holds %lld bytes, the index says %lld", it->path, bytes,
                expected);
    return TDM_OK;
}

static tdm_status open_shard(tdm_dataset *dataset, shard *it)
{
    TDM_TRY(check_size(it));
    TDM_TRY(use_shard(dataset, it));
    TDM_TRY(check_counts(it, dataset->split));
    TDM_TRY(read_offsets(it));
    TDM_TRY(check_identity(dataset, it));
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

static tdm_status open_all(tdm_dataset *dataset)
{
    index_row *row;
    int64_t count;
    TDM_TRY(index_read(dataset->dir, &row, &count));
    tdm_status status = take_rows(dataset, row, count);
    tdm_free(row);
    for (int64_t i = 0; i < dataset->shard_count && status == TDM_OK; i++)
        status = open_shard(dataset, &dataset->shard[i]);
    return status;
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
        close_shard(dying, it);
        tdm_free(it->path);
        tdm_free(it->image_offset);
        tdm_free(it->caption_offset);
        tdm_free(it->identity);
        tdm_free(it->caption_image);
    }
    tdm_free(dying->shard);
    tdm_text_free(&dying->class_bytes);
    tdm_free(dying->class_at);
    tdm_free(dying->scratch);
    tdm_free(dying);
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

const char *tdm_dataset_tokenizer_digest(const tdm_dataset *dataset)
{
    return dataset->tokenizer_digest;
}

bool tdm_dataset_has_identity(const tdm_dataset *dataset)
{
    return dataset->has_identity;
}

/* The shard with this image (or caption): the last that begins at or before it and is not empty. */
static shard *find_shard(const tdm_dataset *dataset, int64_t row, bool caption)
{
    int64_t low = 0, high = dataset->shard_count;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        const shard *it = &dataset->shard[middle];
        if ((caption ? it->first_caption : it->first_image) <= row)
            low = middle;
        else
            high = middle;
    }
    return &dataset->shard[low];
}

int64_t tdm_dataset_identity(const tdm_dataset *dataset, int64_t image)
{
    if (!dataset->has_identity) return image;
    const shard *it = find_shard(dataset, image, false);
    return it->identity[image - it->first_image];
}

int64_t tdm_dataset_caption_image(const tdm_dataset *dataset, int64_t caption)
{
    const shard *it = find_shard(dataset, caption, true);
    return it->first_image + it->caption_image[caption - it->first_caption];
}

/* First caption of the shard whose image is at least `image` (local rows). */
static int64_t lower_bound(const shard *it, int64_t image)
{
    int64_t low = 0, high = it->captions;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (it->caption_image[middle] < image)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void tdm_dataset_image_captions(const tdm_dataset *dataset, int64_t image, int64_t *first, int64_t *n)
{
    const shard *it = find_shard(dataset, image, false);
    int64_t begin = lower_bound(it, image - it->first_image);
    *n = lower_bound(it, image - it->first_image + 1) - begin;
    *first = it->first_caption + begin;
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

tdm_status tdm_dataset_read_image(tdm_dataset *dataset, int64_t image, tdm_text *out)
{
    out->length = 0;
    TDM_REQUIRE(image >= 0 && image < dataset->images, TDM_E_SHAPE, "%s: no image row %lld", dataset->dir,
                (long long)image);
    shard *it = find_shard(dataset, image, false);
    int64_t row = image - it->first_image;
    TDM_TRY(use_shard(dataset, it));
    return read_piece(dataset, it, it->image_bytes, it->image_offset[row], it->image_offset[row + 1], "row",
                      row, out);
}

tdm_status tdm_dataset_read_caption(tdm_dataset *dataset, int64_t caption, tdm_text *out)
{
    out->length = 0;
    TDM_REQUIRE(caption >= 0 && caption < dataset->captions, TDM_E_SHAPE, "%s: no caption row %lld",
                dataset->dir, (long long)caption);
    shard *it = find_shard(dataset, caption, true);
    int64_t row = caption - it->first_caption;
    TDM_TRY(use_shard(dataset, it));
    return read_piece(dataset, it, it->caption_bytes, it->caption_offset[row], it->caption_offset[row + 1],
                      "caption row", row, out);
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
    shard *it = find_shard(dataset, image, false);
    int64_t offset_count, byte_count;
    tdm_h5_array *offsets, *bytes = NULL;
    TDM_TRY(use_shard(dataset, it));
    TDM_TRY(tdm_h5_open_array(it->file, "image/name_offset", TDM_H5_I64, 1, &offset_count, &offsets));
    tdm_status status = tdm_h5_open_array(it->file, "image/name_bytes", TDM_H5_U8, 1, &byte_count, &bytes);
    if (status == TDM_OK)
        status = read_name(dataset, it, image - it->first_image, offsets, bytes, byte_count, out);
    tdm_h5_close_array(&bytes);
    tdm_h5_close_array(&offsets);
    return status;
}

tdm_status tdm_dataset_classes(tdm_dataset *dataset, int64_t image, uint8_t *bit)
{
    TDM_REQUIRE(image >= 0 && image < dataset->images, TDM_E_SHAPE, "%s: no image row %lld", dataset->dir,
                (long long)image);
    if (dataset->class_count == 0) return TDM_OK;
    shard *it = find_shard(dataset, image, false);
    int64_t row = image - it->first_image, shape[2];
    tdm_h5_array *bits;
    TDM_TRY(use_shard(dataset, it));
    TDM_TRY(tdm_h5_open_array(it->file, "image/class", TDM_H5_U8, 2, shape, &bits));
    tdm_status status = tdm_h5_read(bits, row, 1, bit) == TDM_OK ? TDM_OK : row_error(it, "row", row);
    tdm_h5_close_array(&bits);
    return status;
}

const char *tdm_dataset_where(const tdm_dataset *dataset, int64_t image)
{
    static _Thread_local char where[TDM_PATH_BYTES + 32];
    if (image < 0 || image >= dataset->images) {
        snprintf(where, sizeof(where), "%s image %lld", dataset->dir, (long long)image);
        return where;
    }
    const shard *it = find_shard(dataset, image, false);
    snprintf(where, sizeof(where), "%s row %lld", it->path, (long long)(image - it->first_image));
    return where;
}

/* ---- verification ---- */

/* What opening has not read is there, and every checksum fits. */
static tdm_status verify_shard(tdm_dataset *dataset, shard *it)
{
    int64_t *offset;
    TDM_TRY(use_shard(dataset, it));
    TDM_TRY(tdm_h5_verify_file(it->file));
    TDM_TRY(tdm_h5_get_offsets(it->file, "image/name_", 0, SHARD_NAME_BYTES, &it->images, &offset));
    tdm_free(offset);
    char digest[65];
    TDM_TRY(tdm_sha256_file(it->path, digest));
    TDM_REQUIRE(!strcmp(digest, it->digest), TDM_E_FORMAT,
                "%s: SHA-256 is %s, the index says %s: the file was changed after packing", it->path, digest,
                it->digest);
    return TDM_OK;
}

tdm_status tdm_dataset_verify(tdm_dataset *dataset)
{
    for (int64_t i = 0; i < dataset->shard_count; i++) TDM_TRY(verify_shard(dataset, &dataset->shard[i]));
    return TDM_OK;
}
