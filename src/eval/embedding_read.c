/* Reading embedding files, by any number of ranks. */
#include "embedding_file_impl.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <string.h>

static tdm_status get_count(const tdm_h5 *file, const char *name, int64_t *value)
{
    TDM_TRY(tdm_h5_get_i64(file, name, value));
    TDM_REQUIRE(*value >= 0, TDM_E_FORMAT, "%s: attribute %s is %lld", tdm_h5_path(file), name,
                (long long)*value);
    return TDM_OK;
}

static tdm_status read_attributes(const tdm_h5 *file, part_info *p)
{
    char dtype[16] = "";
    *p = (part_info){0};
    TDM_TRY(tdm_h5_get_chars(file, "source", p->info.source, sizeof p->info.source));
    TDM_TRY(tdm_h5_get_chars(file, "split", p->info.split, sizeof p->info.split));
    TDM_TRY(tdm_h5_get_chars(file, "model", p->info.model, sizeof p->info.model));
    TDM_TRY(tdm_h5_get_chars(file, "model_digest", p->info.model_digest, sizeof p->info.model_digest));
    if (tdm_h5_has_attribute(file, "model_seal"))
        TDM_TRY(tdm_h5_get_chars(file, "model_seal", p->info.model_seal, sizeof p->info.model_seal));
    TDM_TRY(tdm_h5_get_chars(file, "dtype", dtype, sizeof dtype));
    TDM_REQUIRE(strcmp(dtype, "f32") == 0 || strcmp(dtype, "bf16") == 0, TDM_E_FORMAT,
                "%s: dtype is \"%s\", not f32 or bf16", tdm_h5_path(file), dtype);
    p->dtype = strcmp(dtype, "bf16") == 0 ? TDM_BF16 : TDM_F32;
    TDM_TRY(get_count(file, "embed_dim", &p->d));
    TDM_REQUIRE(p->d >= 1 && p->d <= 1 << 20, TDM_E_FORMAT, "%s: embed_dim is %lld", tdm_h5_path(file),
                (long long)p->d);
    TDM_TRY(get_count(file, "parts", &p->parts));
    TDM_TRY(get_count(file, "part", &p->part));
    TDM_TRY(get_count(file, "images_total", &p->images_total));
    TDM_TRY(get_count(file, "captions_total", &p->captions_total));
    TDM_TRY(get_count(file, "image_first", &p->image_first));
    TDM_TRY(get_count(file, "caption_first", &p->caption_first));
    TDM_TRY(get_count(file, "classes", &p->classes));
    TDM_REQUIRE(p->classes <= 1 << 24, TDM_E_FORMAT, "%s: classes is %lld", tdm_h5_path(file),
                (long long)p->classes);
    return TDM_OK;
}

/* Opens a data set that must be [*rows][width]; width 0: one dimension. */
static tdm_status open_rows(tdm_h5 *file, const char *name, tdm_h5_type type, int64_t width, int64_t *rows,
                            tdm_h5_array **array)
{
    int64_t shape[2] = {0, width};
    TDM_TRY(tdm_h5_open_array(file, name, type, width > 0 ? 2 : 1, shape, array));
    TDM_REQUIRE(shape[1] == width, TDM_E_FORMAT, "%s: /%s is %lld wide, the attributes say %lld",
                tdm_h5_path(file), name, (long long)shape[1], (long long)width);
    *rows = shape[0];
    return TDM_OK;
}

/* Rows [first, first + n) of a data set of `rows` rows into out. */
static tdm_status get_rows(tdm_h5 *file, const char *name, tdm_h5_type type, int64_t rows, int64_t width,
                           int64_t first, int64_t n, void *out)
{
    tdm_h5_array *array;
    int64_t found;
    if (n == 0) return TDM_OK;
    TDM_TRY(open_rows(file, name, type, width, &found, &array));
    TDM_REQUIRE(found == rows, TDM_E_FORMAT, "%s: /%s has %lld rows, not %lld", tdm_h5_path(file), name,
                (long long)found, (long long)rows);
    TDM_TRY(tdm_h5_read(array, first, n, out));
    tdm_h5_close_array(&array);
    return TDM_OK;
}

static tdm_h5_type type_of(tdm_dtype dtype)
{
    return dtype == TDM_F32 ? TDM_H5_F32 : TDM_H5_U16;
}

static tdm_status check_part(tdm_h5 *file, int64_t part, part_info *p)
{
    tdm_h5_array *array;
    TDM_TRY(read_attributes(file, p));
    TDM_TRY(open_rows(file, "image/embedding", type_of(p->dtype), p->d, &p->images, &array));
    TDM_TRY(open_rows(file, "text/embedding", type_of(p->dtype), p->d, &p->captions, &array));
    TDM_REQUIRE(p->part == part && part < p->parts && p->images <= p->images_total &&
                    p->captions <= p->captions_total && p->image_first <= p->images_total - p->images &&
                    p->caption_first <= p->captions_total - p->captions,
                TDM_E_FORMAT, "%s: part, image_first or caption_first is wrong", tdm_h5_path(file));
    return TDM_OK;
}

/* The caller discards the file. */
static tdm_status open_part(const char *dir, const char *split, int64_t part, tdm_h5 **file, part_info *p)
{
    char path[TDM_PATH_BYTES];
    *file = NULL;
    TDM_TRY(embedding_part_path(path, dir, split, part));
    TDM_TRY(tdm_h5_open(path, EMBEDDING_FORMAT, EMBEDDING_VERSION, file));
    return check_part(*file, part, p);
}

/* Where a part's rows [part_first, part_first + part_rows) overlap the wanted [first, first + n). */
typedef struct overlap {
    int64_t from, to, n; /* first row in the part, first row in the wanted piece, how many */
} overlap;

static overlap find_overlap(int64_t part_first, int64_t part_rows, int64_t first, int64_t n)
{
    const int64_t begin = tdm_max_i64(part_first, first);
    const int64_t end = tdm_min_i64(part_first + part_rows, first + n);
    return (overlap){.from = begin - part_first, .to = begin - first, .n = tdm_max_i64(0, end - begin)};
}

static tdm_status get_embedding(tdm_h5 *file, const char *name, const part_info *p, int64_t rows, overlap o,
                                float *out)
{
    out += o.to * p->d;
    if (p->dtype == TDM_F32) return get_rows(file, name, TDM_H5_F32, rows, p->d, o.from, o.n, out);
    uint16_t *half = NULL;
    TDM_TRY(TDM_ALLOC(o.n * p->d, &half));
    const tdm_status status = get_rows(file, name, TDM_H5_U16, rows, p->d, o.from, o.n, half);
    if (status == TDM_OK) tdm_bf16_to_f32(o.n * p->d, half, out);
    tdm_free(half);
    return status;
}

static tdm_status get_classes(tdm_h5 *file, const part_info *p, overlap o, tdm_embeddings *e)
{
    uint8_t *bit = NULL;
    if (p->classes == 0 || o.n == 0) return TDM_OK;
    TDM_TRY(TDM_ALLOC(o.n * p->classes, &bit));
    const tdm_status status =
        get_rows(file, "image/class", TDM_H5_U8, p->images, p->classes, o.from, o.n, bit);
    for (int64_t i = 0; i < o.n && status == TDM_OK; i++)
        for (int64_t c = 0; c < p->classes; c++)
            e->image_labels[(o.to + i) * e->label_words + c / 64] |= (uint64_t)(bit[i * p->classes + c] != 0)
                                                                     << (c % 64);
    tdm_free(bit);
    return status;
}

static tdm_status read_part(tdm_h5 *file, const part_info *p, tdm_embeddings *e)
{
    const overlap image = find_overlap(p->image_first, p->images, e->image_first, e->images);
    const overlap text = find_overlap(p->caption_first, p->captions, e->caption_first, e->captions);
    TDM_TRY(get_embedding(file, "image/embedding", p, p->images, image, e->image));
    TDM_TRY(get_rows(file, "image/identity", TDM_H5_I64, p->images, 0, image.from, image.n,
                     e->image_identity + image.to));
    TDM_TRY(get_classes(file, p, image, e));
    TDM_TRY(get_embedding(file, "text/embedding", p, p->captions, text, e->text));
    TDM_TRY(get_rows(file, "text/image", TDM_H5_I64, p->captions, 0, text.from, text.n,
                     e->image_row_of_caption + text.to));
    return get_rows(file, "text/identity", TDM_H5_I64, p->captions, 0, text.from, text.n,
                    e->caption_identity + text.to);
}

static tdm_status allocate_piece(int rank, int size, const part_info *p, tdm_embeddings *e)
{
    *e = (tdm_embeddings){.d = p->d,
                          .image_first = tdm_part_begin(p->images_total, size, rank),
                          .caption_first = tdm_part_begin(p->captions_total, size, rank),
                          .class_count = p->classes,
                          .label_words = (p->classes + 63) / 64};
    e->images = tdm_part_begin(p->images_total, size, rank + 1) - e->image_first;
    e->captions = tdm_part_begin(p->captions_total, size, rank + 1) - e->caption_first;
    return tdm_embeddings_reserve(e);
}

static bool same_set(const part_info *a, const part_info *b)
{
    return a->d == b->d && a->parts == b->parts && a->images_total == b->images_total &&
           a->captions_total == b->captions_total && a->classes == b->classes &&
           strcmp(a->info.model_digest, b->info.model_digest) == 0 &&
           strcmp(a->info.source, b->info.source) == 0;
}

/* The ranks share the reading of each file. */
static tdm_status compare_seal(int rank, int size, const char *dir, const char *split, int64_t part)
{
    char path[TDM_PATH_BYTES];
    bool sealed; /* a file of an older version is not, and one that another program has changed */
    TDM_TRY(embedding_part_path(path, dir, split, part));
    return tdm_h5_compare_seal(path, rank, size, &sealed);
}

/* Opens all parts in turn; they must follow each other without a gap. first: of part 0. */
static tdm_status check_parts(int rank, int size, const char *dir, const char *split, part_info *first)
{
    int64_t next_image = 0, next_caption = 0;
    *first = (part_info){.parts = 1};
    for (int64_t part = 0; part < first->parts; part++) {
        tdm_h5 *file;
        part_info p;
        TDM_TRY(compare_seal(rank, size, dir, split, part));
        tdm_status status = open_part(dir, split, part, &file, &p);
        if (status == TDM_OK && part == 0) *first = p;
        if (status == TDM_OK &&
            !(same_set(&p, first) && p.image_first == next_image && p.caption_first == next_caption))
            status = TDM_ERROR(TDM_E_FORMAT, "%s: does not belong to part 0: other model, source or sizes",
                               tdm_h5_path(file));
        tdm_h5_discard(&file);
        TDM_TRY(status);
        next_image += p.images;
        next_caption += p.captions;
    }
    TDM_REQUIRE(next_image == first->images_total && next_caption == first->captions_total, TDM_E_FORMAT,
                "%s: the parts of split \"%s\" hold %lld of %lld images and %lld of %lld captions", dir,
                split, (long long)next_image, (long long)first->images_total, (long long)next_caption,
                (long long)first->captions_total);
    return TDM_OK;
}

static tdm_status check_captions(const tdm_embeddings *e, const char *dir, int64_t images_total)
{
    for (int64_t c = 0; c < e->captions; c++)
        TDM_REQUIRE(e->image_row_of_caption[c] >= -1 && e->image_row_of_caption[c] < images_total,
                    TDM_E_FORMAT, "%s: /text/image of caption %lld is %lld, there are %lld images", dir,
                    (long long)(e->caption_first + c), (long long)e->image_row_of_caption[c],
                    (long long)images_total);
    return TDM_OK;
}

/* Other programs write such files, too. */
static tdm_status check_finite(const char *dir, const char *what, int64_t first, int64_t n, int64_t d,
                               const float *feature)
{
    for (int64_t i = 0; i < n * d; i++)
        TDM_REQUIRE(isfinite(feature[i]), TDM_E_NUMERIC, "%s: /%s/embedding of row %lld is not finite", dir,
                    what, (long long)(first + i / d));
    return TDM_OK;
}

tdm_status embedding_read_piece(int rank, int size, const char *dir, const char *split, part_info *first,
                                tdm_embeddings *e)
{
    TDM_TRY(check_parts(rank, size, dir, split, first));
    TDM_TRY(allocate_piece(rank, size, first, e));
    for (int64_t part = 0; part < first->parts; part++) {
        tdm_h5 *file;
        part_info p;
        tdm_status status = open_part(dir, split, part, &file, &p);
        if (status == TDM_OK && !same_set(&p, first))
            status = TDM_ERROR(TDM_E_FORMAT, "%s: was replaced meanwhile", tdm_h5_path(file));
        if (status == TDM_OK) status = read_part(file, &p, e);
        tdm_h5_discard(&file);
        TDM_TRY(status);
    }
    TDM_TRY(check_finite(dir, "image", e->image_first, e->images, e->d, e->image));
    TDM_TRY(check_finite(dir, "text", e->caption_first, e->captions, e->d, e->text));
    return check_captions(e, dir, first->images_total);
}

/* Class bits of the captions: their images may lie on any rank. None where a caption's row has no image. */
static tdm_status gather_caption_labels(tdm_comm *comm, int64_t images_total, tdm_embeddings *e)
{
    const int size = tdm_comm_size(comm);
    int64_t *rows = NULL;
    uint64_t *all = NULL;
    tdm_status status = TDM_ALLOC(size, &rows);
    if (status == TDM_OK) status = TDM_ALLOC(images_total * e->label_words, &all);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        tdm_comm_gather_i64(comm, e->images, rows);
        tdm_comm_gather_rows(comm, e->image_labels, all, rows, 8 * e->label_words);
        for (int64_t c = 0; c < e->captions; c++)
            if (e->image_row_of_caption[c] >= 0)
                memcpy(e->caption_labels + c * e->label_words,
                       all + e->image_row_of_caption[c] * e->label_words,
                       (size_t)e->label_words * sizeof *all);
    }
    tdm_free(rows);
    tdm_free(all);
    return status;
}

/* This rank's piece, and every part as a whole. */
static tdm_status read_and_list(tdm_comm *comm, const char *dir, const char *split, part_info *first,
                                tdm_embeddings *e, tdm_reading *reading)
{
    const int rank = tdm_comm_rank(comm), size = tdm_comm_size(comm);
    TDM_TRY(embedding_read_piece(rank, size, dir, split, first, e));
    for (int64_t part = 0; part < first->parts && size > 1; part++) {
        char path[TDM_PATH_BYTES], digest[65];
        TDM_TRY(embedding_part_path(path, dir, split, part));
        TDM_TRY(tdm_h5_digest(path, digest));
        TDM_TRY(tdm_reading_add(reading, "file of embeddings", path, digest));
    }
    return TDM_OK;
}

tdm_status tdm_embeddings_read(tdm_comm *comm, const char *dir, const char *split, tdm_embedding_info *info,
                               tdm_embeddings *embeddings)
{
    part_info first;
    *embeddings = (tdm_embeddings){0};
    tdm_reading reading = {0};
    tdm_status status = read_and_list(comm, dir, split, &first, embeddings, &reading);
    status = tdm_comm_agree_on(comm, status, &reading);
    if (status == TDM_OK) *info = first.info;
    if (status == TDM_OK && embeddings->class_count > 0)
        status = gather_caption_labels(comm, first.images_total, embeddings);
    if (status != TDM_OK) tdm_embeddings_free(embeddings);
    return status;
}

/* "SPLIT-00000.h5" -> SPLIT */
static bool split_of(const char *file, char *split, size_t bytes)
{
    static const char ending[] = "-00000.h5";
    const size_t length = strlen(file), tail = sizeof ending - 1;
    if (length <= tail || length - tail >= bytes || strcmp(file + length - tail, ending) != 0) return false;
    snprintf(split, bytes, "%.*s", (int)(length - tail), file);
    return true;
}

tdm_status tdm_embeddings_find_split(const char *dir, char *split, size_t bytes)
{
    DIR *folder = opendir(dir);
    TDM_REQUIRE(folder != NULL, TDM_E_IO, "%s: cannot open the directory: %s", dir, strerror(errno));
    char found[32], names[512] = "", only[32] = "";
    int count = 0;
    bool wanted = false;
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (!split_of(entry->d_name, found, sizeof found)) continue;
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", count > 0 ? ", " : "", found);
        snprintf(only, sizeof only, "%s", found);
        wanted |= strcmp(found, split) == 0;
        count++;
    }
    closedir(folder);
    TDM_REQUIRE(count > 0, TDM_E_IO,
                "%s: holds neither embeddings (SPLIT-00000.h5) nor a packed data set (dataset.h5)", dir);
    TDM_REQUIRE(split[0] == '\0' || wanted, TDM_E_USAGE, "%s: has no split \"%s\"; it has %s", dir, split,
                names);
    TDM_REQUIRE(split[0] != '\0' || count == 1, TDM_E_USAGE, "%s: which split? It has %s", dir, names);
    if (split[0] == '\0') snprintf(split, bytes, "%s", only);
    return TDM_OK;
}

static tdm_status append_class_names(tdm_h5 *file, tdm_text *names)
{
    enum { LONGEST = 1 << 16 };
    tdm_h5_strings list = {0};
    if (!tdm_h5_has(file, "class_name_bytes")) return TDM_OK;
    tdm_status status = tdm_h5_get_strings(file, "class_name_", LONGEST, &list);
    for (int64_t c = 0; c < list.count && status == TDM_OK; c++) {
        int64_t bytes;
        const char *name = tdm_h5_strings_at(&list, c, &bytes);
        status = tdm_text_append(names, name, (size_t)bytes);
        if (status == TDM_OK) status = tdm_text_append(names, "", 1);
    }
    tdm_h5_strings_free(&list);
    return status;
}

tdm_status tdm_embeddings_class_names(const char *dir, const char *split, tdm_text *names)
{
    tdm_h5 *file;
    part_info p;
    tdm_status status = open_part(dir, split, 0, &file, &p);
    if (status == TDM_OK) status = append_class_names(file, names);
    tdm_h5_discard(&file);
    return status;
}
