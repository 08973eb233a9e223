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
    /* open or H5I_INVALID_HID, all alike */
    hid_t file, image_bytes, caption_bytes;
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
    if (it->file < 0) return;
    if (it->image_bytes >= 0) H5Dclose(it->image_bytes);
    if (it->caption_bytes >= 0) H5Dclose(it->caption_bytes);
    H5Fclose(it->file);
    it->file = it->image_bytes = it->caption_bytes = H5I_INVALID_HID;
    dataset->open_count--;
}

static void close_oldest(tdm_dataset *dataset)
{
    shard *oldest = NULL;
    for (int64_t i = 0; i < dataset->shard_count; i++) {
        shard *it = &dataset->shard[i];
        if (it->file >= 0 && (!oldest || it->last_use < oldest->last_use)) oldest = it;
    }
    if (oldest) close_shard(dataset, oldest);
}

static hid_t open_cached(const tdm_dataset *dataset, hid_t file, const char *name)
{
    hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
    if (access < 0) return access;
    int64_t sharers = tdm_min_i64(OPEN_SHARDS, dataset->shard_count);
    H5Pset_chunk_cache(access, CACHE_SLOTS, (size_t)(CACHE_BYTES / sharers), 0.75);
    hid_t opened = H5Dopen2(file, name, access);
    hid_t stack = opened < 0 ? H5Eget_current_stack() : H5I_INVALID_HID;
    H5Pclose(access);
    if (stack >= 0) H5Eset_current_stack(stack);
    return opened;
}

static tdm_status open_bytes(const tdm_dataset *dataset, shard *it)
{
    it->image_bytes = open_cached(dataset, it->file, "image/bytes");
    TDM_REQUIRE(it->image_bytes >= 0, TDM_E_FORMAT, "%s: cannot open /image/bytes: %s", it->path,
                tdm_h5_reason());
    it->caption_bytes = H5Dopen2(it->file, "caption/bytes", H5P_DEFAULT);
    TDM_REQUIRE(it->caption_bytes >= 0, TDM_E_FORMAT, "%s: cannot open /caption/bytes: %s", it->path,
                tdm_h5_reason());
    return TDM_OK;
}

/* Makes sure that the shard's file is open. */
static tdm_status use_shard(tdm_dataset *dataset, shard *it)
{
    it->last_use = ++dataset->clock;
    if (it->file >= 0) return TDM_OK;
    if (dataset->open_count >= OPEN_SHARDS) close_oldest(dataset);
    TDM_TRY(shard_h5_open(it->path, SHARD_FORMAT, &it->file));
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
    TDM_TRY(shard_h5_get_text(it->path, it->file, "split", found, sizeof(found)));
    TDM_REQUIRE(!strcmp(found, split), TDM_E_FORMAT, "%s: split is \"%s\", the index says \"%s\"", it->path,
                found, split);
    TDM_TRY(shard_h5_get_i64(it->path, it->file, "images", &images));
    TDM_REQUIRE(images == it->images, TDM_E_FORMAT, "%s: holds %lld images, the index says %lld", it->path,
                (long long)images, (long long)it->images);
    TDM_TRY(shard_h5_get_i64(it->path, it->file, "captions", &captions));
    TDM_REQUIRE(captions == it->captions, TDM_E_FORMAT, "%s: holds %lld captions, the index says %lld",
                it->path, (long long)captions, (long long)it->captions);
    return TDM_OK;
}

/* offset[0] = 0, not decreasing, pieces of at most `longest`, and the last is the length of the bytes. */
static tdm_status check_offsets(const shard *it, const char *bytes_name, const char *offset_name,
                                const int64_t *offset, int64_t count, int64_t longest)
{
    hsize_t length;
    hid_t bytes;
    TDM_TRY(shard_h5_open_dataset(it->path, it->file, bytes_name, 1, &length, &bytes));
    H5Dclose(bytes);
    TDM_REQUIRE(offset[0] == 0, TDM_E_FORMAT, "%s: /%s does not begin with 0", it->path, offset_name);
    for (int64_t i = 0; i < count; i++)
        TDM_REQUIRE(offset[i] < offset[i + 1] && offset[i + 1] - offset[i] <= longest && offset[i + 1] >= 0,
                    TDM_E_FORMAT, "%s: /%s is wrong at row %lld", it->path, offset_name, (long long)i);
    TDM_REQUIRE((hsize_t)offset[count] == length, TDM_E_FORMAT, "%s: /%s holds %llu bytes, /%s says %lld",
                it->path, bytes_name, (unsigned long long)length, offset_name, (long long)offset[count]);
    return TDM_OK;
}

static tdm_status read_offsets(shard *it)
{
    int64_t image_offsets = it->images + 1, caption_offsets = it->captions + 1;
    TDM_TRY(shard_h5_read_i64(it->path, it->file, "image/offset", &image_offsets, &it->image_offset));
    TDM_TRY(
        check_offsets(it, "image/bytes", "image/offset", it->image_offset, it->images, SHARD_IMAGE_BYTES));
    TDM_TRY(shard_h5_read_i64(it->path, it->file, "caption/offset", &caption_offsets, &it->caption_offset));
    TDM_TRY(check_offsets(it, "caption/bytes", "caption/offset", it->caption_offset, it->captions,
                          SHARD_TEXT_BYTES));
    TDM_TRY(shard_h5_read_i64(it->path, it->file, "caption/image", &it->captions, &it->caption_image));
    for (int64_t i = 0; i < it->captions; i++) {
        int64_t image = it->caption_image[i];
        TDM_REQUIRE(image >= 0 && image < it->images && (i == 0 || image >= it->caption_image[i - 1]),
                    TDM_E_FORMAT, "%s: /caption/image is wrong at row %lld", it->path, (long long)i);
    }
    return shard_h5_read_i64(it->path, it->file, "image/identity", &it->images, &it->identity);
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
    hsize_t length;
    hid_t bytes;
    int64_t offsets = -1, *offset = NULL;
    unsigned char *text = NULL;
    TDM_TRY(shard_h5_read_i64(it->path, it->file, "class/name_offset", &offsets, &offset));
    tdm_status status =
        offsets > 0 ? shard_h5_open_dataset(it->path, it->file, "class/name_bytes", 1, &length, &bytes)
                    : TDM_ERROR(TDM_E_FORMAT, "%s: /class/name_offset is empty", it->path);
    if (status != TDM_OK) {
        tdm_free(offset);
        return status;
    }
    *count = offsets - 1;
    bool ok = offset[0] == 0 && (hsize_t)offset[*count] == length;
    for (int64_t i = 0; i < *count; i++)
        ok = ok && offset[i] <= offset[i + 1] && offset[i + 1] - offset[i] <= SHARD_NAME_BYTES;
    if (!ok) status = TDM_ERROR(TDM_E_FORMAT, "%s: /class/name_offset is wrong", it->path);
    if (status == TDM_OK) status = TDM_ALLOC(length, &text);
    if (status == TDM_OK) status = TDM_ALLOC(*count, at);
    if (status == TDM_OK && !shard_h5_read(bytes, H5T_NATIVE_UINT8, 0, (int64_t)length, 1, text))
        status = TDM_ERROR(TDM_E_FORMAT, "%s: cannot read /class/name_bytes: %s", it->path, tdm_h5_reason());
    for (int64_t i = 0; i < *count && status == TDM_OK; i++) {
        (*at)[i] = (int64_t)names->length;
        status = tdm_text_append(names, text + offset[i], (size_t)(offset[i + 1] - offset[i]));
        if (status == TDM_OK) status = tdm_text_append(names, "", 1);
    }
    H5Dclose(bytes);
    tdm_free(text);
    tdm_free(offset);
    return status;
}

static tdm_status check_class_bits(const shard *it, int64_t class_count)
{
    hsize_t dims[2];
    hid_t bits;
    TDM_TRY(shard_h5_open_dataset(it->path, it->file, "image/class", 2, dims, &bits));
    H5Dclose(bits);
    TDM_REQUIRE(dims[0] == (hsize_t)it->images && dims[1] == (hsize_t)class_count, TDM_E_FORMAT,
                "%s: /image/class is %llu x %llu, expected %lld images x %lld classes", it->path,
                (unsigned long long)dims[0], (unsigned long long)dims[1], (long long)it->images,
                (long long)class_count);
    return TDM_OK;
}

/* Class names and tokenizer digest: the first shard's, and the same in all others. */
static tdm_status check_alike(tdm_dataset *dataset, const shard *it)
{
    char digest[65];
    tdm_text names = {0};
    int64_t *at = NULL, count = 0;
    TDM_TRY(shard_h5_get_text(it->path, it->file, "tokenizer_digest", digest, sizeof(digest)));
    tdm_status status = TDM_OK;
    if (shard_h5_has(it->file, "class/name_offset")) {
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
        it->file = it->image_bytes = it->caption_bytes = H5I_INVALID_HID;
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
    tdm_h5_quiet();
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
    tdm_h5_quiet();
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

static tdm_status read_piece(tdm_dataset *dataset, shard *it, hid_t bytes, const char *name, int64_t begin,
                             int64_t end, const char *row_name, int64_t row, tdm_text *out)
{
    if (end - begin > dataset->scratch_bytes) {
        tdm_free(dataset->scratch);
        dataset->scratch = NULL;
        dataset->scratch_bytes = 0;
        int64_t want = tdm_round_up(end - begin, SHARD_CHUNK_BYTES);
        TDM_TRY(TDM_ALLOC(want, &dataset->scratch));
        dataset->scratch_bytes = want;
    }
    TDM_REQUIRE(shard_h5_read(bytes, H5T_NATIVE_UINT8, begin, end - begin, 1, dataset->scratch), TDM_E_FORMAT,
                "%s %s %lld: /%s: %s", it->path, row_name, (long long)row, name, tdm_h5_reason());
    return tdm_text_append(out, dataset->scratch, (size_t)(end - begin));
}

tdm_status tdm_dataset_read_image(tdm_dataset *dataset, int64_t image, tdm_text *out)
{
    tdm_h5_quiet();
    out->length = 0;
    TDM_REQUIRE(image >= 0 && image < dataset->images, TDM_E_SHAPE, "%s: no image row %lld", dataset->dir,
                (long long)image);
    shard *it = find_shard(dataset, image, false);
    int64_t row = image - it->first_image;
    TDM_TRY(use_shard(dataset, it));
    return read_piece(dataset, it, it->image_bytes, "image/bytes", it->image_offset[row],
                      it->image_offset[row + 1], "row", row, out);
}

tdm_status tdm_dataset_read_caption(tdm_dataset *dataset, int64_t caption, tdm_text *out)
{
    tdm_h5_quiet();
    out->length = 0;
    TDM_REQUIRE(caption >= 0 && caption < dataset->captions, TDM_E_SHAPE, "%s: no caption row %lld",
                dataset->dir, (long long)caption);
    shard *it = find_shard(dataset, caption, true);
    int64_t row = caption - it->first_caption;
    TDM_TRY(use_shard(dataset, it));
    return read_piece(dataset, it, it->caption_bytes, "caption/bytes", it->caption_offset[row],
                      it->caption_offset[row + 1], "caption row", row, out);
}

/* Reads the two offsets of the name, then its bytes. */
static tdm_status read_name(tdm_dataset *dataset, shard *it, int64_t row, hid_t offsets, hid_t bytes,
                            int64_t byte_count, tdm_text *out)
{
    int64_t offset[2];
    TDM_REQUIRE(shard_h5_read(offsets, H5T_NATIVE_INT64, row, 2, 1, offset), TDM_E_FORMAT,
                "%s row %lld: /image/name_offset: %s", it->path, (long long)row, tdm_h5_reason());
    TDM_REQUIRE(offset[0] >= 0 && offset[0] <= offset[1] && offset[1] - offset[0] <= SHARD_NAME_BYTES &&
                    offset[1] <= byte_count,
                TDM_E_FORMAT, "%s: /image/name_offset is wrong at row %lld", it->path, (long long)row);
    return read_piece(dataset, it, bytes, "image/name_bytes", offset[0], offset[1], "row", row, out);
}

tdm_status tdm_dataset_read_name(tdm_dataset *dataset, int64_t image, tdm_text *out)
{
    tdm_h5_quiet();
    out->length = 0;
    TDM_REQUIRE(image >= 0 && image < dataset->images, TDM_E_SHAPE, "%s: no image row %lld", dataset->dir,
                (long long)image);
    shard *it = find_shard(dataset, image, false);
    hsize_t offset_count, byte_count;
    hid_t offsets, bytes;
    TDM_TRY(use_shard(dataset, it));
    TDM_TRY(shard_h5_open_dataset(it->path, it->file, "image/name_offset", 1, &offset_count, &offsets));
    tdm_status status = shard_h5_open_dataset(it->path, it->file, "image/name_bytes", 1, &byte_count, &bytes);
    if (status == TDM_OK) {
        status = read_name(dataset, it, image - it->first_image, offsets, bytes, (int64_t)byte_count, out);
        H5Dclose(bytes);
    }
    H5Dclose(offsets);
    return status;
}

tdm_status tdm_dataset_classes(tdm_dataset *dataset, int64_t image, uint8_t *bit)
{
    tdm_h5_quiet();
    TDM_REQUIRE(image >= 0 && image < dataset->images, TDM_E_SHAPE, "%s: no image row %lld", dataset->dir,
                (long long)image);
    if (dataset->class_count == 0) return TDM_OK;
    shard *it = find_shard(dataset, image, false);
    hsize_t dims[2];
    hid_t bits;
    TDM_TRY(use_shard(dataset, it));
    TDM_TRY(shard_h5_open_dataset(it->path, it->file, "image/class", 2, dims, &bits));
    tdm_status status = TDM_OK;
    if (!shard_h5_read(bits, H5T_NATIVE_UINT8, image - it->first_image, 1, dataset->class_count, bit))
        status = TDM_ERROR(TDM_E_FORMAT, "%s row %lld: /image/class: %s", it->path,
                           (long long)(image - it->first_image), tdm_h5_reason());
    H5Dclose(bits);
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

/* Reads a data set of integers from end to end, so that every chunk's checksum is compared. */
static tdm_status verify_dataset(const shard *it, const char *name, int rank)
{
    enum { BLOCK_BYTES = 1 << 20 };
    hsize_t dims[2] = {0, 1};
    hid_t dataset;
    unsigned char *block = NULL;
    TDM_TRY(shard_h5_open_dataset(it->path, it->file, name, rank, dims, &dataset));
    int64_t rows = (int64_t)dims[0], width = (int64_t)dims[1];
    int64_t step = tdm_max_i64(1, BLOCK_BYTES / 8 / tdm_max_i64(1, width));
    tdm_status status = tdm_alloc((size_t)(step * width) * 8, name, (void **)&block);
    for (int64_t row = 0; row < rows && status == TDM_OK; row += step)
        if (!shard_h5_read(dataset, H5T_NATIVE_INT64, row, tdm_min_i64(step, rows - row), width, block))
            status = TDM_ERROR(TDM_E_FORMAT, "%s: /%s: %s", it->path, name, tdm_h5_reason());
    tdm_free(block);
    H5Dclose(dataset);
    return status;
}

static tdm_status verify_shard(tdm_dataset *dataset, shard *it)
{
    static const char *const required[] = {"image/bytes",      "image/offset",      "image/identity",
                                           "image/name_bytes", "image/name_offset", "caption/bytes",
                                           "caption/offset",   "caption/image"};
    static const char *const optional[] = {"class/name_bytes", "class/name_offset",
                                           "caption/alternative_bytes", "caption/alternative_offset",
                                           "caption/alternative_caption"};
    TDM_TRY(use_shard(dataset, it));
    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++)
        TDM_TRY(verify_dataset(it, required[i], 1));
    for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
        if (shard_h5_has(it->file, optional[i])) TDM_TRY(verify_dataset(it, optional[i], 1));
    if (shard_h5_has(it->file, "image/class")) TDM_TRY(verify_dataset(it, "image/class", 2));
    char digest[65];
    TDM_TRY(tdm_sha256_file(it->path, digest));
    TDM_REQUIRE(!strcmp(digest, it->digest), TDM_E_FORMAT,
                "%s: SHA-256 is %s, the index says %s: the file was changed after packing", it->path, digest,
                it->digest);
    return TDM_OK;
}

tdm_status tdm_dataset_verify(tdm_dataset *dataset)
{
    tdm_h5_quiet();
    for (int64_t i = 0; i < dataset->shard_count; i++) TDM_TRY(verify_shard(dataset, &dataset->shard[i]));
    return TDM_OK;
}
