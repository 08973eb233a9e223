/* A folder of pictures as a gallery: what tandem pack --format folder would pack of it, without packing. */
#include "search_impl.h"

#include <string.h>

enum { NAMED = 10 }; /* unreadable pictures in the log; all are counted */

typedef struct folder_job {
    tdm_searcher *searcher;
    picture_folder *folder;
    char isa[32]; /* tdm_ops_isa of all ranks */
    gallery_cache cache;
    int64_t *candidate;   /* [candidates] items with a picture, of all ranks */
    int64_t candidates;   /* of all ranks */
    int64_t begin, count; /* this rank's */
    picture *picture;     /* [count] */
    float *feature;       /* [count][d] */
    int64_t *good;        /* [good_n] places among picture[] of those in the gallery */
    int64_t good_n;
    int64_t *caption_cached; /* [captions of this rank] row of the cache, -1 */
} folder_job;

/* ---- What the folder holds ---- */

static const tdm_pack_format *folder_format(void)
{
    size_t count;
    const tdm_pack_format *const *format = tdm_pack_formats(&count);
    size_t i = 0;
    while (i + 1 < count && strcmp(format[i]->name, "folder") != 0) i++;
    return format[i];
}

/* The format's options are its own: they are set by their keys. */
static void set_levels(const tdm_pack_format *format, const tdm_searcher_options *options, void *values)
{
    const struct {
        const char *key;
        int64_t value;
    } levels[] = {{"class_level", options->class_level}, {"identity_level", options->identity_level}};
    for (size_t k = 0; k < sizeof levels / sizeof levels[0]; k++)
        for (size_t i = 0; i < format->option_count; i++)
            if (strcmp(format->options[i].key, levels[k].key) == 0)
                memcpy((char *)values + format->options[i].offset, &levels[k].value, sizeof levels[k].value);
}

static tdm_status list_folder(const tdm_searcher_options *options, picture_folder *folder)
{
    const tdm_pack_format *format = folder_format();
    void *values = NULL;
    TDM_TRY(tdm_alloc(format->option_bytes, "options of the folder", &values));
    tdm_pack_format_defaults(format, values);
    set_levels(format, options, values);
    const tdm_status status = tdm_pack_list_source(format, values, folder->dir, &folder->list);
    tdm_free(values);
    return status;
}

static tdm_status choose_candidates(folder_job *job)
{
    const tdm_pack_list *list = &job->folder->list;
    const tdm_comm *comm = job->searcher->comm;
    TDM_TRY(TDM_ALLOC(list->count, &job->candidate));
    for (int64_t i = 0; i < list->count; i++)
        if (list->item[i].path != NULL) job->candidate[job->candidates++] = i;
    TDM_REQUIRE(
        job->candidates > 0, TDM_E_IO,
        "%s: holds neither embeddings (SPLIT-00000.h5) nor a packed data set (dataset.h5) nor pictures",
        job->folder->dir);
    job->begin = tdm_part_begin(job->candidates, tdm_comm_size(comm), tdm_comm_rank(comm));
    job->count = tdm_part_begin(job->candidates, tdm_comm_size(comm), tdm_comm_rank(comm) + 1) - job->begin;
    return TDM_OK;
}

/* The ranks cut one list: it must be the same. */
static tdm_status list_reading(const picture_folder *folder, tdm_reading *reading)
{
    tdm_sha256 *sha;
    char digest[65];
    TDM_TRY(tdm_sha256_create(&sha));
    for (int64_t i = 0; i < folder->list.count; i++) {
        const tdm_pack_item *item = &folder->list.item[i];
        tdm_sha256_update(sha, item->name, strlen(item->name) + 1);
        tdm_sha256_update(sha, item->path != NULL ? "1" : "0", 1);
        for (int64_t k = 0; k < item->caption_n; k++)
            tdm_sha256_update(sha, item->caption[k], strlen(item->caption[k]) + 1);
    }
    tdm_sha256_finish(&sha, digest);
    return tdm_reading_add(reading, "list of pictures", folder->dir, digest);
}

static tdm_status list_all(const tdm_searcher_options *options, folder_job *job, tdm_reading *reading)
{
    TDM_REQUIRE(options->split[0] == '\0', TDM_E_USAGE,
                "%s: is a folder of pictures, which has no split \"%s\"", options->gallery, options->split);
    TDM_TRY(list_folder(options, job->folder));
    TDM_TRY(choose_candidates(job));
    return list_reading(job->folder, reading);
}

/* ---- Pictures ---- */

/* All ranks look into the same file, whatever each of them runs on. Collective. */
static void agree_on_isa(folder_job *job)
{
    tdm_comm *comm = job->searcher->comm;
    const char *own = tdm_ops_isa(job->searcher->inference->ops);
    snprintf(job->isa, sizeof job->isa, "%s", own);
    tdm_comm_broadcast(comm, job->isa, sizeof job->isa, 0);
    if (!tdm_comm_all_equal_u64(comm, strcmp(job->isa, own) == 0)) /* rank 0 has its own */
        snprintf(job->isa, sizeof job->isa, "several");
}

static tdm_status embed_pictures(const tdm_searcher_options *options, folder_job *job)
{
    const tdm_inference *in = job->searcher->inference;
    tdm_tower_reads reads;
    int64_t width;
    TDM_TRY(tdm_model_reads(&in->config, TDM_IMAGE, &reads, &width));
    TDM_REQUIRE(reads == TDM_READS_PIXELS, TDM_E_CONFIG, "%s: the model reads features, not pictures: %s",
                in->dir, job->folder->dir);
    TDM_TRY(TDM_ALLOC(job->count, &job->picture));
    TDM_TRY(TDM_ALLOC(job->count * tdm_model_embed_dim(in->model), &job->feature));
    TDM_TRY(gallery_cache_open(options->cache, job->folder->dir, in, job->isa, &job->cache));
    for (int64_t i = 0; i < job->count; i++) {
        const tdm_pack_item *item = &job->folder->list.item[job->candidate[job->begin + i]];
        job->picture[i] = (picture){.name = item->name, .path = item->path};
        if (item->fault == NULL) continue;
        job->picture[i].state = PICTURE_UNREADABLE;
        TDM_TRY(tdm_text_printf(&job->picture[i].why, "%s", item->fault));
    }
    return pictures_embed(in, &job->cache, job->count, job->picture, job->feature);
}

static bool is_good(const picture *it)
{
    return it->state != PICTURE_NEW && it->state != PICTURE_UNREADABLE;
}

/* Which of all candidates make the gallery, on every rank. */
static tdm_status gather_good(folder_job *job)
{
    tdm_comm *comm = job->searcher->comm;
    picture_folder *folder = job->folder;
    uint8_t *own = NULL, *all = NULL;
    int64_t *rows = NULL;
    tdm_status status = TDM_ALLOC(job->count, &own);
    if (status == TDM_OK) status = TDM_ALLOC(job->candidates, &all);
    if (status == TDM_OK) status = TDM_ALLOC(tdm_comm_size(comm), &rows);
    if (status == TDM_OK) status = TDM_ALLOC(job->candidates, &folder->item);
    if (status == TDM_OK) status = TDM_ALLOC(job->candidates + 1, &folder->caption_first);
    if (status == TDM_OK) status = TDM_ALLOC(job->count, &job->good);
    status = tdm_comm_agree(comm, status);
    for (int64_t i = 0; status == TDM_OK && i < job->count; i++) {
        own[i] = is_good(&job->picture[i]);
        if (own[i]) job->good[job->good_n++] = i;
    }
    if (status == TDM_OK) {
        tdm_comm_gather_i64(comm, job->count, rows);
        tdm_comm_gather_rows(comm, own, all, rows, 1);
    }
    for (int64_t i = 0; status == TDM_OK && i < job->candidates; i++) {
        if (!all[i]) continue;
        const int64_t at = folder->images++, item = job->candidate[i];
        folder->item[at] = item;
        folder->caption_first[at + 1] = folder->caption_first[at] + folder->list.item[item].caption_n;
    }
    tdm_free(own);
    tdm_free(all);
    tdm_free(rows);
    return status;
}

static tdm_status set_class_bits(picture_folder *f)
{
    const int64_t words = (f->list.classes.count + 63) / 64;
    if (words == 0) return TDM_OK;
    TDM_TRY(TDM_ALLOC(f->images * words, &f->class_bits));
    for (int64_t i = 0; i < f->images; i++) {
        const tdm_pack_item *item = folder_picture(f, i);
        for (int64_t k = 0; k < item->class_n; k++)
            f->class_bits[i * words + item->class_index[k] / 64] |= UINT64_C(1)
                                                                    << (item->class_index[k] % 64);
    }
    return TDM_OK;
}

/* ---- The piece of the gallery ---- */

static tdm_status describe_piece(const folder_job *job, tdm_embeddings *e)
{
    const picture_folder *f = job->folder;
    const bool texts = job->searcher->inference->tokenizer != NULL;
    *e = (tdm_embeddings){.d = tdm_model_embed_dim(job->searcher->inference->model),
                          .images = job->good_n,
                          .class_count = f->list.classes.count};
    e->image_first =
        job->count > 0 ? tdm_lower_bound(f->item, f->images, job->candidate[job->begin]) : f->images;
    e->caption_first = texts ? f->caption_first[e->image_first] : 0;
    e->captions = texts ? f->caption_first[e->image_first + e->images] - e->caption_first : 0;
    e->label_words = (e->class_count + 63) / 64;
    TDM_TRY(tdm_embeddings_reserve(e));
    TDM_TRY(TDM_ALLOC(e->class_count, &e->class_name));
    for (int64_t c = 0; c < e->class_count; c++) e->class_name[c] = f->list.classes.name[c];
    return TDM_OK;
}

static void fill_image(const folder_job *job, int64_t i, tdm_embeddings *e)
{
    const picture_folder *f = job->folder;
    const int64_t row = e->image_first + i, d = e->d, words = e->label_words;
    const tdm_pack_item *item = folder_picture(f, row);
    memcpy(e->image + i * d, job->feature + job->good[i] * d, (size_t)d * sizeof *e->image);
    e->image_identity[i] = item->identity >= 0 ? item->identity : row;
    for (int64_t w = 0; w < words; w++) e->image_labels[i * words + w] = f->class_bits[row * words + w];
    for (int64_t c = f->caption_first[row]; e->captions > 0 && c < f->caption_first[row + 1]; c++) {
        const int64_t own = c - e->caption_first;
        e->image_row_of_caption[own] = row;
        e->caption_identity[own] = e->image_identity[i];
        for (int64_t w = 0; w < words; w++)
            e->caption_labels[own * words + w] = e->image_labels[i * words + w];
    }
}

/* ---- Captions ---- */

/* text[n] are those that the cache does not have. */
static tdm_status embed_texts(const folder_job *job, tdm_embeddings *e, int64_t n, const char **text,
                              const int64_t *place)
{
    const tdm_inference *in = job->searcher->inference;
    const int64_t d = e->d;
    float *made = NULL;
    bool *cut = NULL;
    int64_t cuts = 0;
    tdm_status status = TDM_ALLOC(tdm_min_i64(in->batch, n) * d, &made);
    if (status == TDM_OK) status = TDM_ALLOC(n, &cut);
    for (int64_t i = 0; i < n && status == TDM_OK; i += in->batch) {
        const int64_t some = tdm_min_i64(in->batch, n - i);
        status = tdm_stop_point("after embedding %lld of %lld captions", (long long)i, (long long)n);
        if (status == TDM_OK) status = tdm_inference_embed_texts(in, some, text + i, made, cut + i);
        for (int64_t k = 0; k < some && status == TDM_OK; k++) {
            memcpy(e->text + place[i + k] * d, made + k * d, (size_t)d * sizeof *made);
            cuts += cut[i + k];
        }
        tdm_progress("embedding captions %lld/%lld", (long long)(i + some), (long long)n);
    }
    tdm_progress_clear();
    if (status == TDM_OK && cuts > 0)
        tdm_log(TDM_LOG_WARN, "%lld captions were cut to the %lld tokens that the model reads",
                (long long)cuts, (long long)tdm_caption_tokens(&in->config));
    tdm_free(made);
    tdm_free(cut);
    return status;
}

static tdm_status embed_captions(folder_job *job, tdm_embeddings *e)
{
    const char **text = NULL;
    int64_t *place = NULL, n = 0;
    TDM_TRY(TDM_ALLOC(e->captions, &job->caption_cached));
    tdm_status status = TDM_ALLOC(e->captions, &text);
    if (status == TDM_OK) status = TDM_ALLOC(e->captions, &place);
    for (int64_t c = 0; c < e->captions && status == TDM_OK; c++) {
        const char *caption = folder_caption(job->folder, e->caption_first + c);
        job->caption_cached[c] = gallery_cache_with_caption(&job->cache, caption);
        if (job->caption_cached[c] >= 0) continue;
        text[n] = caption;
        place[n++] = c;
    }
    if (status == TDM_OK && n > 0) status = embed_texts(job, e, n, text, place);
    if (status == TDM_OK)
        status = gallery_cache_features(&job->cache, TDM_TEXT, e->captions, job->caption_cached, e->text);
    job->searcher->news.captions_embedded = n;
    tdm_free((void *)text);
    tdm_free(place);
    return status;
}

/* ---- What is kept for the next call ---- */

/* Of a picture in the gallery, as it travels to rank 0. */
typedef struct kept_row {
    picture_stamp stamp;
    char digest[DIGEST_CHARS];
} kept_row;

static tdm_status kept_rows_of(const folder_job *job, kept_row **row)
{
    TDM_TRY(TDM_ALLOC(job->good_n, row));
    for (int64_t i = 0; i < job->good_n; i++) {
        const picture *it = &job->picture[job->good[i]];
        (*row)[i].stamp = it->stamp;
        memcpy((*row)[i].digest, it->digest, DIGEST_CHARS);
    }
    return TDM_OK;
}

static tdm_status fill_kept(const picture_folder *f, const kept_row *row, int64_t captions,
                            picture_stamp *stamp, char *digest, gallery_kept *kept)
{
    for (int64_t i = 0; i < f->images; i++) {
        const char *name = folder_picture(f, i)->name;
        TDM_TRY(tdm_h5_strings_add(&kept->name, name, strlen(name)));
        stamp[i] = row[i].stamp;
        memcpy(digest + i * DIGEST_CHARS, row[i].digest, DIGEST_CHARS);
    }
    for (int64_t c = 0; c < captions; c++) {
        const char *caption = folder_caption(f, c);
        TDM_TRY(tdm_h5_strings_add(&kept->caption, caption, strlen(caption)));
    }
    kept->stamp = stamp;
    kept->digest = digest;
    return TDM_OK;
}

/* On rank 0. */
static tdm_status write_kept(const folder_job *job, const kept_row *row, int64_t captions, const float *image,
                             const float *text)
{
    const picture_folder *f = job->folder;
    picture_stamp *stamp = NULL;
    char *digest = NULL;
    gallery_kept kept = {.image = image, .text = text};
    tdm_status status = TDM_ALLOC(f->images, &stamp);
    if (status == TDM_OK) status = TDM_ALLOC(f->images * DIGEST_CHARS + 1, &digest);
    if (status == TDM_OK) status = fill_kept(f, row, captions, stamp, digest, &kept);
    if (status == TDM_OK) status = gallery_cache_write(&job->cache, &kept);
    tdm_h5_strings_free(&kept.name);
    tdm_h5_strings_free(&kept.caption);
    tdm_free(stamp);
    tdm_free(digest);
    return status;
}

/* A cache that cannot be written is a warning: what was asked for is there. Collective. */
static tdm_status keep(const folder_job *job, const tdm_embeddings *e)
{
    tdm_comm *comm = job->searcher->comm;
    const int64_t d = (int64_t)sizeof(float) * e->d;
    kept_row *own = NULL;
    unsigned char *row = NULL, *image = NULL, *text = NULL;
    int64_t *offset = NULL;
    tdm_status status = kept_rows_of(job, &own);
    if (status == TDM_OK) status = TDM_ALLOC(tdm_comm_size(comm) + 1, &offset);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK)
        status = tdm_comm_collect(comm, own, job->good_n * (int64_t)sizeof *own, &row, offset);
    if (status == TDM_OK) status = tdm_comm_collect(comm, e->image, e->images * d, &image, offset);
    if (status == TDM_OK) status = tdm_comm_collect(comm, e->text, e->captions * d, &text, offset);
    if (status == TDM_OK && tdm_comm_rank(comm) == 0 &&
        write_kept(job, (kept_row *)(void *)row, offset[tdm_comm_size(comm)] / d, (float *)(void *)image,
                   (float *)(void *)text) != TDM_OK)
        tdm_log(TDM_LOG_WARN, "the embeddings are not kept for the next call: %s", tdm_error_last()->message);
    tdm_free(own);
    tdm_free(row);
    tdm_free(image);
    tdm_free(text);
    tdm_free(offset);
    return status;
}

/* ---- What is said ---- */

/* Unreadable pictures of all ranks to rank 0, in the order of the list. Collective. */
static tdm_status gather_unreadable(folder_job *job)
{
    picture_folder *f = job->folder;
    tdm_comm *comm = job->searcher->comm;
    tdm_text own = {0}; /* name and reason of each, with their NULs */
    unsigned char *all = NULL;
    int64_t *offset = NULL, bytes = 0;
    tdm_status status = TDM_ALLOC(tdm_comm_size(comm) + 1, &offset);
    for (int64_t i = 0; i < job->count && status == TDM_OK; i++) {
        const picture *it = &job->picture[i];
        if (it->state != PICTURE_UNREADABLE) continue;
        status = tdm_text_append(&own, it->name, strlen(it->name) + 1);
        if (status == TDM_OK) status = tdm_text_append(&own, it->why.data, it->why.length + 1);
    }
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK)
        status = tdm_comm_collect(comm, own.data != NULL ? own.data : "", (int64_t)own.length, &all, offset);
    if (status == TDM_OK && tdm_comm_rank(comm) == 0) {
        bytes = offset[tdm_comm_size(comm)];
        status = tdm_text_append(&f->bad_text, all, (size_t)bytes);
        if (status == TDM_OK) status = TDM_ALLOC(job->candidates - f->images, &f->bad);
        for (const char *at = f->bad_text.data; status == TDM_OK && at < f->bad_text.data + bytes;) {
            const char *why = at + strlen(at) + 1;
            f->bad[f->bads++] = (tdm_unreadable){.name = at, .why = why};
            at = why + strlen(why) + 1;
        }
    }
    status = tdm_comm_agree(comm, status);
    tdm_text_free(&own);
    tdm_free(all);
    tdm_free(offset);
    return status;
}

static void count_news(const folder_job *job, const tdm_embeddings *e, tdm_folder_news *news)
{
    news->captions = e->captions;
    for (int64_t i = 0; i < job->count; i++) {
        news->known += job->picture[i].state == PICTURE_KNOWN;
        news->recognised += job->picture[i].state == PICTURE_RECOGNISED;
        news->embedded += job->picture[i].state == PICTURE_EMBEDDED;
        news->unreadable += job->picture[i].state == PICTURE_UNREADABLE;
    }
    int64_t *const field[] = {&news->known,      &news->recognised, &news->embedded,
                              &news->unreadable, &news->captions,   &news->captions_embedded};
    enum { FIELDS = sizeof field / sizeof field[0] };
    int64_t value[FIELDS];
    for (int i = 0; i < FIELDS; i++) value[i] = *field[i];
    tdm_comm_sum_i64(job->searcher->comm, value, FIELDS);
    for (int i = 0; i < FIELDS; i++) *field[i] = value[i];
    news->pictures = job->folder->images;
}

/* Names in the cache that are no longer in the gallery. */
static int64_t count_gone(const folder_job *job)
{
    int64_t there = 0;
    for (int64_t i = 0; i < job->folder->images; i++)
        there += gallery_cache_named(&job->cache, folder_picture(job->folder, i)->name) >= 0;
    return job->cache.images - there;
}

static void show_left_out(const picture_folder *f)
{
    for (int64_t i = 0; i < f->list.left_out_key.count; i++)
        tdm_log(TDM_LOG_INFO, "%s: left out: %lld %s%s%s", f->dir, (long long)f->list.left_out[i].count,
                f->list.left_out[i].kind, f->list.left_out[i].extension[0] != '\0' ? ", " : "",
                f->list.left_out[i].extension);
    int64_t texts = 0, captions = 0;
    for (int64_t i = 0; i < f->list.count; i++) {
        texts += f->list.item[i].path == NULL;
        captions += f->list.item[i].path != NULL ? f->list.item[i].caption_fault_n : 0;
    }
    if (texts > 0)
        tdm_log(TDM_LOG_INFO, "%s: left out: %lld texts without a picture", f->dir, (long long)texts);
    if (captions > 0) tdm_log(TDM_LOG_WARN, "%s: %lld captions cannot be used", f->dir, (long long)captions);
    for (int64_t i = 0; i < f->list.fault_n; i++) tdm_log(TDM_LOG_WARN, "%s", f->list.fault[i]);
}

static void show_news(const picture_folder *f, const tdm_folder_news *n)
{
    tdm_log(
        TDM_LOG_INFO,
        "%s: %lld pictures: %lld known, %lld known by their content, %lld embedded now; %lld gone, %lld unreadable",
        f->dir, (long long)n->pictures, (long long)n->known, (long long)n->recognised, (long long)n->embedded,
        (long long)n->gone, (long long)n->unreadable);
    if (n->captions > 0)
        tdm_log(TDM_LOG_INFO, "%s: %lld captions: %lld known, %lld embedded now", f->dir,
                (long long)n->captions, (long long)(n->captions - n->captions_embedded),
                (long long)n->captions_embedded);
    for (int64_t i = 0; i < tdm_min_i64(f->bads, NAMED); i++)
        tdm_log(TDM_LOG_WARN, "unreadable: %s", f->bad[i].why);
    if (f->bads > NAMED) tdm_log(TDM_LOG_WARN, "and %lld more", (long long)(f->bads - NAMED));
    show_left_out(f);
}

/* ---- Opening ---- */

/* Is there something to be kept that the cache does not hold as it is? */
static bool has_changed(const folder_job *job)
{
    const tdm_folder_news *n = &job->searcher->news;
    if (job->cache.path[0] == '\0' || n->pictures == 0) return false;
    return n->recognised + n->embedded + n->captions_embedded + n->gone > 0 ||
           job->cache.captions != n->captions;
}

/* Captions are embedded unless the pictures already were interrupted; whatever is done is kept. */
static tdm_status fill_gallery(folder_job *job, bool stopped)
{
    tdm_searcher *s = job->searcher;
    tdm_embeddings *e = &s->embeddings;
    TDM_AGREE(s->comm, set_class_bits(job->folder));
    TDM_AGREE(s->comm, describe_piece(job, e));
    for (int64_t i = 0; i < e->images; i++) fill_image(job, i, e);
    if (stopped) e->captions = 0;
    TDM_AGREE(s->comm, embed_captions(job, e));
    TDM_TRY(gather_unreadable(job));
    count_news(job, e, &s->news);
    s->news.gone = stopped ? 0 : count_gone(job);
    int64_t decided[2] = {s->news.gone, has_changed(job)}; /* rank 0 writes: what it sees counts */
    tdm_comm_broadcast(s->comm, decided, sizeof decided, 0);
    s->news.gone = decided[0];
    return decided[1] != 0 ? keep(job, e) : TDM_OK;
}

static tdm_status make_gallery(const tdm_searcher_options *options, folder_job *job)
{
    tdm_searcher *s = job->searcher;
    tdm_reading reading = {0};
    TDM_TRY(tdm_comm_agree_on(s->comm, list_all(options, job, &reading), &reading));
    agree_on_isa(job);
    const tdm_status embedded = tdm_comm_agree(s->comm, embed_pictures(options, job));
    const bool stopped = embedded == TDM_E_STOPPED;
    if (embedded != TDM_OK && !stopped) return embedded;
    const tdm_error error = *tdm_error_last();
    TDM_TRY(gather_good(job));
    TDM_TRY(fill_gallery(job, stopped));
    if (stopped) return tdm_error_adopt(&error);
    show_news(job->folder, &s->news);
    TDM_REQUIRE(job->folder->images > 0, TDM_E_DATA, "%s: none of %lld pictures can be read",
                job->folder->dir, (long long)job->candidates);
    return TDM_OK;
}

tdm_status folder_open(const tdm_searcher_options *options, tdm_searcher *searcher)
{
    folder_job job = {.searcher = searcher};
    tdm_status status = TDM_ALLOC(1, &searcher->folder);
    status = tdm_comm_agree(searcher->comm, status);
    if (status == TDM_OK) {
        job.folder = searcher->folder;
        snprintf(job.folder->dir, sizeof job.folder->dir, "%s", options->gallery);
        snprintf(searcher->source, sizeof searcher->source, "%s", options->gallery);
        status = make_gallery(options, &job);
    }
    for (int64_t i = 0; job.picture != NULL && i < job.count; i++) tdm_text_free(&job.picture[i].why);
    gallery_cache_close(&job.cache);
    tdm_free(job.candidate);
    tdm_free(job.picture);
    tdm_free(job.feature);
    tdm_free(job.good);
    tdm_free(job.caption_cached);
    return status;
}

void folder_close(picture_folder **folder)
{
    picture_folder *f = *folder;
    if (f != NULL) {
        tdm_pack_list_free(&f->list);
        tdm_free(f->item);
        tdm_free(f->caption_first);
        tdm_free(f->class_bits);
        tdm_free(f->bad);
        tdm_text_free(&f->bad_text);
    }
    tdm_free(f);
    *folder = NULL;
}

/* ---- What a row is ---- */

const tdm_pack_item *folder_picture(const picture_folder *folder, int64_t image)
{
    return &folder->list.item[folder->item[image]];
}

void folder_captions(const picture_folder *folder, int64_t image, int64_t *first, int64_t *n)
{
    *first = folder->caption_first[image];
    *n = folder->caption_first[image + 1] - *first;
}

int64_t folder_image_of_caption(const picture_folder *folder, int64_t caption)
{
    /* the last image that begins at or before it; of those that begin there all but the last have no caption */
    return tdm_lower_bound(folder->caption_first, folder->images + 1, caption + 1) - 1;
}

const char *folder_caption(const picture_folder *folder, int64_t caption)
{
    const int64_t image = folder_image_of_caption(folder, caption);
    return folder_picture(folder, image)->caption[caption - folder->caption_first[image]];
}
