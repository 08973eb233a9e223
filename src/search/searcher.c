/* The gallery of a searcher, and what is found in it. */
#include "search_impl.h"

#include <string.h>

/* ---- The gallery ---- */

/* The only split of a packed data set, unless one is named. */
static tdm_status choose_data_split(const char *dir, char *split, size_t bytes)
{
    tdm_index_row *row = NULL;
    int64_t count = 0, splits = 0;
    tdm_text names = {0};
    TDM_TRY(tdm_index_read(dir, &row, &count));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < count && status == TDM_OK; i++) {
        bool seen = false;
        for (int64_t j = 0; j < i; j++) seen |= strcmp(row[i].split, row[j].split) == 0;
        if (seen) continue;
        status = tdm_text_printf(&names, "%s%s", splits++ > 0 ? ", " : "", row[i].split);
    }
    if (status == TDM_OK && splits != 1)
        status = TDM_ERROR(TDM_E_USAGE, "%s: which --split? It has %s", dir,
                           names.data == NULL ? "none" : names.data);
    if (status == TDM_OK) snprintf(split, bytes, "%s", row[0].split);
    tdm_text_free(&names);
    tdm_free(row);
    return status;
}

static tdm_status embed_gallery(const tdm_searcher_options *options, tdm_searcher *s)
{
    snprintf(s->source, sizeof s->source, "%s", options->gallery);
    return tdm_inference_embed_data(s->comm, s->inference, s->dataset, !options->images_only, &s->embeddings);
}

static tdm_status check_embeddings(const char *dir, const tdm_embedding_info *info, const tdm_searcher *s)
{
    const int64_t d = tdm_model_embed_dim(s->inference->model);
    TDM_REQUIRE(s->embeddings.d == d, TDM_E_SHAPE, "%s: embeddings of width %lld, the model's have %lld", dir,
                (long long)s->embeddings.d, (long long)d);
    char digest[65];
    TDM_TRY(tdm_inference_seal(s->inference, digest)); /* SHA-256 reads the whole model */
    if (strcmp(info->model_seal, digest) == 0) return TDM_OK;
    TDM_TRY(tdm_inference_digest(s->inference, digest));
    TDM_REQUIRE(strcmp(info->model_digest, digest) == 0, TDM_E_DATA,
                "%s: was embedded by another model (%s) than %s; run tandem embed again", dir, info->model,
                s->inference->dir);
    return TDM_OK;
}

/* The source shards lead to captions, names and pictures. Collective. */
static tdm_status open_source(const char *dir, tdm_searcher *s)
{
    char index[TDM_PATH_BYTES];
    int64_t embedded[2] = {s->embeddings.images, s->embeddings.captions};
    tdm_comm_sum_i64(s->comm, embedded, 2);
    TDM_TRY(tdm_path_join(index, sizeof index, s->source, "dataset.h5"));
    if (!tdm_path_exists(index)) return TDM_OK;
    TDM_TRY(tdm_dataset_open(s->source, s->split, &s->dataset));
    const int64_t images = tdm_dataset_images(s->dataset) - tdm_dataset_imageless(s->dataset);
    const int64_t captions = tdm_dataset_captions(s->dataset);
    TDM_REQUIRE(
        images == embedded[0] && captions == embedded[1], TDM_E_DATA,
        "%s: split \"%s\" of %s has %lld images and %lld captions, embedded were %lld and %lld; run tandem embed again",
        dir, s->split, s->source, (long long)images, (long long)captions, (long long)embedded[0],
        (long long)embedded[1]);
    return TDM_OK;
}

/* Names of the classes as the files hold them, where the data set that they point to is gone. */
static tdm_status read_class_names(const char *dir, tdm_searcher *s)
{
    tdm_embeddings *e = &s->embeddings;
    if (s->dataset != NULL || e->class_count == 0) return TDM_OK;
    TDM_TRY(tdm_embeddings_class_names(dir, s->split, &s->class_names));
    if (s->class_names.length == 0) return TDM_OK; /* files of an earlier version */
    TDM_TRY(TDM_ALLOC(e->class_count, &e->class_name));
    const char *at = s->class_names.data, *end = at + s->class_names.length;
    for (int64_t c = 0; c < e->class_count; c++, at += strlen(at) + 1) {
        TDM_REQUIRE(at < end, TDM_E_FORMAT, "%s: names %lld of %lld classes", dir, (long long)c,
                    (long long)e->class_count);
        e->class_name[c] = at;
    }
    return TDM_OK;
}

static tdm_status open_known(const char *dir, tdm_searcher *s)
{
    TDM_TRY(open_source(dir, s));
    return read_class_names(dir, s);
}

static tdm_status read_gallery(const char *dir, tdm_searcher *s)
{
    tdm_embedding_info info;
    TDM_AGREE(s->comm, tdm_embeddings_find_split(dir, s->split, sizeof s->split));
    TDM_TRY(tdm_embeddings_read(s->comm, dir, s->split, &info, &s->embeddings));
    TDM_AGREE(s->comm, check_embeddings(dir, &info, s));
    snprintf(s->source, sizeof s->source, "%s", info.source);
    return tdm_comm_agree(s->comm, open_known(dir, s));
}

typedef enum gallery_kind { GALLERY_PACKED, GALLERY_EMBEDDINGS, GALLERY_FOLDER, GALLERY_KINDS } gallery_kind;
static const char *const kind_name[GALLERY_KINDS] = {"a data set", "embeddings", "a folder"};

static tdm_status find_kind(const char *dir, gallery_kind *kind)
{
    char index[TDM_PATH_BYTES], split[64] = "";
    TDM_REQUIRE(tdm_path_is_dir(dir), TDM_E_IO, "%s: there is no such directory", dir);
    TDM_TRY(tdm_path_join(index, sizeof index, dir, "dataset.h5"));
    *kind = GALLERY_PACKED;
    if (tdm_path_exists(index)) return TDM_OK;
    *kind =
        tdm_embeddings_find_split(dir, split, sizeof split) == TDM_E_IO ? GALLERY_FOLDER : GALLERY_EMBEDDINGS;
    return TDM_OK;
}

static tdm_status load_packed(const tdm_searcher_options *options, tdm_searcher *s)
{
    const char *dir = options->gallery;
    if (s->split[0] == '\0') TDM_AGREE(s->comm, choose_data_split(dir, s->split, sizeof s->split));
    TDM_TRY(tdm_inference_open_data(s->comm, s->inference, dir, s->split, &s->dataset));
    TDM_TRY(tdm_inference_prepare(s->comm, s->inference, s->dataset, !options->images_only));
    return tdm_comm_agree(s->comm, embed_gallery(options, s));
}

static tdm_status load_gallery(const tdm_searcher_options *options, tdm_searcher *s)
{
    const char *dir = options->gallery;
    gallery_kind kind = GALLERY_PACKED;
    tdm_reading reading = {0};
    TDM_AGREE(s->comm, find_kind(dir, &kind));
    TDM_TRY(tdm_comm_agree_on(s->comm, tdm_reading_add(&reading, "gallery", dir, kind_name[kind]), &reading));
    TDM_AGREE(s->comm, kind != GALLERY_FOLDER && options->class_level + options->identity_level > 0
                           ? TDM_ERROR(TDM_E_USAGE, "%s: is %s, of which no folder is a class or an identity",
                                       dir, kind_name[kind])
                           : TDM_OK);
    switch (kind) {
    case GALLERY_PACKED: return load_packed(options, s);
    case GALLERY_EMBEDDINGS: return read_gallery(dir, s);
    case GALLERY_FOLDER:
    case GALLERY_KINDS: break;
    }
    return folder_open(options, s);
}

tdm_status tdm_searcher_open(tdm_comm *comm, const tdm_inference *inference,
                             const tdm_searcher_options *options, tdm_searcher *searcher)
{
    *searcher = (tdm_searcher){.comm = comm, .inference = inference};
    snprintf(searcher->split, sizeof searcher->split, "%s", options->split);
    const tdm_status status = load_gallery(options, searcher);
    if (status != TDM_OK) tdm_searcher_close(searcher);
    return status;
}

tdm_searcher tdm_searcher_over(tdm_comm *comm, const tdm_inference *inference, tdm_dataset *dataset,
                               const tdm_embeddings *embeddings)
{
    return (tdm_searcher){.comm = comm,
                          .inference = inference,
                          .embeddings = *embeddings,
                          .dataset = dataset,
                          .source = "the data set",
                          .is_view = true};
}

void tdm_searcher_close(tdm_searcher *searcher)
{
    for (int m = 0; m < TDM_MODALITIES; m++) tdm_eval_gallery_destroy(&searcher->packed[m]);
    tdm_text_free(&searcher->class_names);
    if (!searcher->is_view) {
        tdm_embeddings_free(&searcher->embeddings);
        tdm_dataset_close(&searcher->dataset);
        folder_close(&searcher->folder);
    }
    *searcher = (tdm_searcher){0};
}

/* ---- What is known of it ---- */

const tdm_unreadable *tdm_searcher_unreadable(const tdm_searcher *searcher, int64_t *count)
{
    *count = searcher->folder != NULL ? searcher->folder->bads : 0;
    return searcher->folder != NULL ? searcher->folder->bad : NULL;
}

bool tdm_searcher_has_source(const tdm_searcher *searcher)
{
    return searcher->dataset != NULL || searcher->folder != NULL;
}

int64_t tdm_searcher_classes(const tdm_searcher *searcher)
{
    return searcher->embeddings.class_count;
}

const char *tdm_searcher_class_name(const tdm_searcher *searcher, int64_t index)
{
    if (searcher->embeddings.class_name != NULL) return searcher->embeddings.class_name[index];
    return searcher->dataset != NULL ? tdm_dataset_class_name(searcher->dataset, index) : NULL;
}

tdm_status tdm_searcher_class_bits(const tdm_searcher *searcher, int64_t image, const uint64_t **bits)
{
    const tdm_embeddings *e = &searcher->embeddings;
    *bits = NULL;
    if (e->class_count == 0) return TDM_OK;
    if (searcher->dataset != NULL) return tdm_dataset_class_bits(searcher->dataset, image, bits);
    if (searcher->folder != NULL)
        *bits = searcher->folder->class_bits + image * e->label_words;
    else if (image >= e->image_first && image < e->image_first + e->images)
        *bits = e->image_labels + (image - e->image_first) * e->label_words;
    return TDM_OK;
}

/* ---- Finding ---- */

/* This rank's rows of one modality. */
static tdm_eval_side side_of(const tdm_searcher *s, tdm_modality what)
{
    const tdm_embeddings *e = &s->embeddings;
    if (what == TDM_IMAGE) return (tdm_eval_side){.n = e->images, .d = e->d, .feature = e->image};
    return (tdm_eval_side){.n = e->captions, .d = e->d, .feature = e->text};
}

/* Rows and scores of all ranks' queries to rank 0. Collective. */
static tdm_status collect(const tdm_searcher *s, int64_t n, const int64_t *row, const float *score,
                          tdm_found *found)
{
    int64_t *offset = NULL; /* [ranks + 1] in bytes */
    unsigned char *rows = NULL, *scores = NULL;
    TDM_AGREE(s->comm, TDM_ALLOC(tdm_comm_size(s->comm) + 1, &offset));
    tdm_status status = tdm_comm_collect(s->comm, row, n * found->k * (int64_t)sizeof *row, &rows, offset);
    if (status == TDM_OK)
        status = tdm_comm_collect(s->comm, score, n * found->k * (int64_t)sizeof *score, &scores, offset);
    found->row = (int64_t *)(void *)rows;
    found->score = (float *)(void *)scores;
    if (status == TDM_OK && tdm_comm_rank(s->comm) == 0)
        found->queries = offset[tdm_comm_size(s->comm)] / (found->k * (int64_t)sizeof *score);
    tdm_free(offset);
    return status;
}

/* The found->k best, duplicates among them. Collective. */
static tdm_status find_plain(const tdm_searcher *s, const uint8_t *passes, int64_t n, const float *query,
                             tdm_found *found)
{
    const tdm_eval_side queries = {.n = n, .d = s->embeddings.d, .feature = query};
    int64_t *row = NULL;
    float *score = NULL;
    tdm_status status = TDM_ALLOC(n * found->k, &row);
    if (status == TDM_OK) status = TDM_ALLOC(n * found->k, &score);
    status = tdm_comm_agree(s->comm, status);
    if (status == TDM_OK)
        status = tdm_eval_gallery_top_k(s->comm, s->inference->ops, &queries, s->packed[found->what], passes,
                                        found->k, tdm_eval_block_rows(s->inference->ops), row, score);
    if (status == TDM_OK) status = collect(s, n, row, score, found);
    tdm_free(row);
    tdm_free(score);
    return status;
}

/* Rows that pass, of this rank; *passes NULL: all do. */
static tdm_status apply_filter(const tdm_searcher *s, const tdm_find *find, uint8_t **passes, int64_t *count)
{
    const int64_t n = side_of(s, find->what).n;
    *count = n;
    if (find->filter == NULL) return TDM_OK;
    TDM_TRY(TDM_ALLOC(n, passes));
    *count = 0;
    for (int64_t i = 0; i < n; i++) *count += (*passes)[i] = filter_passes(s, find->what, find->filter, i);
    return TDM_OK;
}

/* As many as are asked for, without duplicates: of ever more candidates. Collective. */
static tdm_status find_distinct(const tdm_searcher *s, const tdm_find *find, const uint8_t *passes, int64_t n,
                                const float *query, tdm_found *found)
{
    const int64_t k = found->k;
    for (int64_t asked = 2 * k;; asked *= 2) {
        tdm_found more = {
            .what = found->what, .gallery = found->gallery, .k = tdm_min_i64(asked, found->gallery)};
        bool enough = false;
        tdm_status status = find_plain(s, passes, n, query, &more);
        if (status == TDM_OK) status = distinct_only(s, find->hide_duplicates, k, &more, found, &enough);
        tdm_found_free(&more);
        if (status != TDM_OK || enough) return status;
    }
}

tdm_status tdm_searcher_find(tdm_searcher *searcher, const tdm_find *find, int64_t n, const float *query,
                             tdm_found *found)
{
    const tdm_modality what = find->what;
    const tdm_eval_side side = side_of(searcher, what);
    uint8_t *passes = NULL;
    int64_t rows[2] = {0, side.n}; /* that pass; all */
    *found = (tdm_found){.what = what};
    TDM_AGREE(searcher->comm, apply_filter(searcher, find, &passes, &rows[0]));
    tdm_comm_sum_i64(searcher->comm, rows, 2);
    found->gallery = rows[0];
    found->k = tdm_min_i64(find->k, rows[0]);
    tdm_status status = TDM_OK;
    if (rows[1] < 1 || find->k < 1)
        status = TDM_ERROR(TDM_E_DATA, "%s: the gallery is empty", searcher->source);
    if (status == TDM_OK && searcher->packed[what] == NULL)
        status =
            tdm_eval_gallery_create(searcher->comm, searcher->inference->ops, &side, &searcher->packed[what]);
    if (status == TDM_OK && found->k < 1) {
        int64_t queries = n;
        tdm_comm_sum_i64(searcher->comm, &queries, 1);
        found->queries = tdm_comm_rank(searcher->comm) == 0 ? queries : 0;
    } else if (status == TDM_OK) {
        status = find->hide_duplicates > 0 ? find_distinct(searcher, find, passes, n, query, found)
                                           : find_plain(searcher, passes, n, query, found);
    }
    tdm_free(passes);
    if (status != TDM_OK) tdm_found_free(found);
    return status;
}

void tdm_found_free(tdm_found *found)
{
    tdm_free(found->row);
    tdm_free(found->score);
    tdm_free(found->hidden);
    *found = (tdm_found){0};
}

/* ---- Rows of the gallery ---- */

tdm_status tdm_searcher_features(const tdm_searcher *searcher, tdm_modality what, int64_t n,
                                 const int64_t *row, float *feature)
{
    tdm_comm *comm = searcher->comm;
    const tdm_eval_side side = side_of(searcher, what);
    const int64_t first =
        what == TDM_IMAGE ? searcher->embeddings.image_first : searcher->embeddings.caption_first;
    int64_t *wanted = NULL, total = side.n;
    tdm_comm_broadcast(comm, &n, sizeof n, 0);
    tdm_comm_sum_i64(comm, &total, 1);
    tdm_status status = TDM_ALLOC(n, &wanted);
    if (status == TDM_OK && tdm_comm_rank(comm) == 0) memcpy(wanted, row, (size_t)n * sizeof *row);
    for (int64_t i = 0; status == TDM_OK && tdm_comm_rank(comm) == 0 && i < n; i++)
        if (row[i] < 0 || row[i] >= total)
            status = TDM_ERROR(TDM_E_USAGE, "%s: has no row %lld, there are %lld", searcher->source,
                               (long long)row[i], (long long)total);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        tdm_comm_broadcast(comm, wanted, n * (int64_t)sizeof *wanted, 0);
        for (int64_t i = 0; i < n; i++) {
            const int64_t local = wanted[i] - first;
            const bool mine = local >= 0 && local < side.n;
            for (int64_t k = 0; k < side.d; k++)
                feature[i * side.d + k] = mine ? side.feature[local * side.d + k] : 0.0F;
        }
        if (tdm_comm_size(comm) > 1)
            tdm_comm_sum_f32(comm, feature, n * side.d); /* one of the addends is not 0 */
    }
    tdm_free(wanted);
    return status;
}
