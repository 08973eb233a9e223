/* Reading embedding files, by any number of ranks. */
#include "embedding_file_impl.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

static tdm_status read_attributes(const embedding_file *file, part_info *p)
{
    char format[64] = "", dtype[16] = "";
    int64_t version;
    *p = (part_info){0};
    TDM_TRY(embedding_get_text(file, "format", format, sizeof format));
    TDM_REQUIRE(strcmp(format, EMBEDDING_FORMAT) == 0, TDM_E_FORMAT,
                "%s: format is \"%s\", not \"" EMBEDDING_FORMAT "\"", file->path, format);
    TDM_TRY(embedding_get_i64(file, "version", &version));
    TDM_REQUIRE(version == EMBEDDING_VERSION, TDM_E_FORMAT,
                "%s: version %lld of " EMBEDDING_FORMAT ", this program reads %d", file->path,
                (long long)version, EMBEDDING_VERSION);
    TDM_TRY(embedding_get_text(file, "source", p->info.source, sizeof p->info.source));
    TDM_TRY(embedding_get_text(file, "split", p->info.split, sizeof p->info.split));
    TDM_TRY(embedding_get_text(file, "model", p->info.model, sizeof p->info.model));
    TDM_TRY(embedding_get_text(file, "model_digest", p->info.model_digest, sizeof p->info.model_digest));
    TDM_TRY(embedding_get_text(file, "dtype", dtype, sizeof dtype));
    TDM_REQUIRE(strcmp(dtype, "f32") == 0 || strcmp(dtype, "bf16") == 0, TDM_E_FORMAT,
                "%s: dtype is \"%s\", not f32 or bf16", file->path, dtype);
    p->dtype = strcmp(dtype, "bf16") == 0 ? TDM_BF16 : TDM_F32;
    TDM_TRY(embedding_get_i64(file, "embed_dim", &p->d));
    TDM_REQUIRE(p->d >= 1 && p->d <= 1 << 20, TDM_E_FORMAT, "%s: embed_dim is %lld", file->path,
                (long long)p->d);
    TDM_TRY(embedding_get_i64(file, "parts", &p->parts));
    TDM_TRY(embedding_get_i64(file, "part", &p->part));
    TDM_TRY(embedding_get_i64(file, "images_total", &p->images_total));
    TDM_TRY(embedding_get_i64(file, "captions_total", &p->captions_total));
    TDM_TRY(embedding_get_i64(file, "image_first", &p->image_first));
    TDM_TRY(embedding_get_i64(file, "caption_first", &p->caption_first));
    TDM_TRY(embedding_get_i64(file, "classes", &p->classes));
    TDM_REQUIRE(p->classes <= 1 << 24, TDM_E_FORMAT, "%s: classes is %lld", file->path,
                (long long)p->classes);
    return TDM_OK;
}

static tdm_status open_part(const char *dir, const char *split, int64_t part, embedding_file *file,
                            part_info *p)
{
    hid_t set;
    file->id = H5I_INVALID_HID;
    TDM_TRY(embedding_part_path(file->path, dir, split, part));
    TDM_TRY(tdm_h5_open(file->path, &file->id));
    TDM_TRY(read_attributes(file, p));
    TDM_TRY(embedding_open_rows(file, "image/embedding", p->d, &set, &p->images));
    H5Dclose(set);
    TDM_TRY(embedding_open_rows(file, "text/embedding", p->d, &set, &p->captions));
    H5Dclose(set);
    TDM_REQUIRE(p->part == part && part < p->parts && p->images <= p->images_total &&
                    p->captions <= p->captions_total && p->image_first <= p->images_total - p->images &&
                    p->caption_first <= p->captions_total - p->captions,
                TDM_E_FORMAT, "%s: part, image_first or caption_first is wrong", file->path);
    return TDM_OK;
}

static void close_part(embedding_file *file)
{
    if (file->id >= 0) H5Fclose(file->id);
    file->id = H5I_INVALID_HID;
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

static tdm_status get_embedding(const embedding_file *file, const char *name, const part_info *p,
                                int64_t rows, overlap o, float *out)
{
    out += o.to * p->d;
    if (p->dtype == TDM_F32)
        return embedding_get_rows(file, name, H5T_NATIVE_FLOAT, rows, p->d, o.from, o.n, out);
    uint16_t *half = NULL;
    TDM_TRY(TDM_ALLOC(o.n * p->d, &half));
    const tdm_status status =
        embedding_get_rows(file, name, H5T_NATIVE_UINT16, rows, p->d, o.from, o.n, half);
    if (status == TDM_OK) tdm_bf16_to_f32(o.n * p->d, half, out);
    tdm_free(half);
    return status;
}

static tdm_status get_classes(const embedding_file *file, const part_info *p, overlap o, tdm_embeddings *e)
{
    uint8_t *bit = NULL;
    if (p->classes == 0 || o.n == 0) return TDM_OK;
    TDM_TRY(TDM_ALLOC(o.n * p->classes, &bit));
    const tdm_status status =
        embedding_get_rows(file, "image/class", H5T_NATIVE_UINT8, p->images, p->classes, o.from, o.n, bit);
    for (int64_t i = 0; i < o.n && status == TDM_OK; i++)
        for (int64_t c = 0; c < p->classes; c++)
            e->image_labels[(o.to + i) * e->label_words + c / 64] |= (uint64_t)(bit[i * p->classes + c] != 0)
                                                                     << (c % 64);
    tdm_free(bit);
    return status;
}

static tdm_status read_part(const embedding_file *file, const part_info *p, tdm_embeddings *e)
{
    const overlap image = find_overlap(p->image_first, p->images, e->image_first, e->images);
    const overlap text = find_overlap(p->caption_first, p->captions, e->caption_first, e->captions);
    TDM_TRY(get_embedding(file, "image/embedding", p, p->images, image, e->image));
    TDM_TRY(embedding_get_rows(file, "image/identity", H5T_NATIVE_INT64, p->images, 0, image.from, image.n,
                               e->image_identity + image.to));
    TDM_TRY(get_classes(file, p, image, e));
    TDM_TRY(get_embedding(file, "text/embedding", p, p->captions, text, e->text));
    TDM_TRY(embedding_get_rows(file, "text/image", H5T_NATIVE_INT64, p->captions, 0, text.from, text.n,
                               e->image_row_of_caption + text.to));
    return embedding_get_rows(file, "text/identity", H5T_NATIVE_INT64, p->captions, 0, text.from, text.n,
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
    TDM_TRY(TDM_ALLOC(e->images * e->d, &e->image));
    TDM_TRY(TDM_ALLOC(e->captions * e->d, &e->text));
    TDM_TRY(TDM_ALLOC(e->captions, &e->image_row_of_caption));
    TDM_TRY(TDM_ALLOC(e->images, &e->image_identity));
    TDM_TRY(TDM_ALLOC(e->captions, &e->caption_identity));
    if (p->classes > 0) TDM_TRY(TDM_ALLOC(e->images * e->label_words, &e->image_labels));
    return TDM_OK;
}

static bool same_set(const part_info *a, const part_info *b)
{
    return a->d == b->d && a->parts == b->parts && a->images_total == b->images_total &&
           a->captions_total == b->captions_total && a->classes == b->classes &&
           strcmp(a->info.model_digest, b->info.model_digest) == 0 &&
           strcmp(a->info.source, b->info.source) == 0;
}

/* Opens all parts in turn; they must follow each other without a gap. first: of part 0. */
static tdm_status check_parts(const char *dir, const char *split, part_info *first)
{
    int64_t next_image = 0, next_caption = 0;
    *first = (part_info){.parts = 1};
    for (int64_t part = 0; part < first->parts; part++) {
        embedding_file file;
        part_info p;
        tdm_status status = open_part(dir, split, part, &file, &p);
        close_part(&file);
        TDM_TRY(status);
        if (part == 0) *first = p;
        TDM_REQUIRE(same_set(&p, first) && p.image_first == next_image && p.caption_first == next_caption,
                    TDM_E_FORMAT, "%s: does not belong to part 0: other model, source or sizes", file.path);
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
        TDM_REQUIRE(e->image_row_of_caption[c] >= 0 && e->image_row_of_caption[c] < images_total,
                    TDM_E_FORMAT, "%s: /text/image of caption %lld is %lld, there are %lld images", dir,
                    (long long)(e->caption_first + c), (long long)e->image_row_of_caption[c],
                    (long long)images_total);
    return TDM_OK;
}

tdm_status embedding_read_piece(int rank, int size, const char *dir, const char *split, part_info *first,
                                tdm_embeddings *e)
{
    TDM_TRY(check_parts(dir, split, first));
    TDM_TRY(allocate_piece(rank, size, first, e));
    for (int64_t part = 0; part < first->parts; part++) {
        embedding_file file;
        part_info p;
        tdm_status status = open_part(dir, split, part, &file, &p);
        if (status == TDM_OK && !same_set(&p, first))
            status = TDM_ERROR(TDM_E_FORMAT, "%s: was replaced meanwhile", file.path);
        if (status == TDM_OK) status = read_part(&file, &p, e);
        close_part(&file);
        TDM_TRY(status);
    }
    return check_captions(e, dir, first->images_total);
}

/* Class bits of the captions: their images may lie on any rank. */
static tdm_status gather_caption_labels(tdm_comm *comm, int64_t images_total, tdm_embeddings *e)
{
    const int size = tdm_comm_size(comm);
    int64_t *rows = NULL;
    uint64_t *all = NULL;
    tdm_status status = TDM_ALLOC(size, &rows);
    if (status == TDM_OK) status = TDM_ALLOC(images_total * e->label_words, &all);
    if (status == TDM_OK) status = TDM_ALLOC(e->captions * e->label_words, &e->caption_labels);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        tdm_comm_gather_i64(comm, e->images, rows);
        tdm_comm_gather_rows(comm, e->image_labels, all, rows, 8 * e->label_words);
        for (int64_t c = 0; c < e->captions; c++)
            memcpy(e->caption_labels + c * e->label_words, all + e->image_row_of_caption[c] * e->label_words,
                   (size_t)e->label_words * sizeof *all);
    }
    tdm_free(rows);
    tdm_free(all);
    return status;
}

tdm_status tdm_embeddings_read(tdm_comm *comm, const char *dir, const char *split, tdm_embedding_info *info,
                               tdm_embeddings *embeddings)
{
    part_info first;
    *embeddings = (tdm_embeddings){0};
    tdm_status status = tdm_comm_agree(
        comm, embedding_read_piece(tdm_comm_rank(comm), tdm_comm_size(comm), dir, split, &first, embeddings));
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
