/* The packer: list on every rank alike, cut into shards, each shard written by one rank. */
#include "pack_impl.h"
#include "report.h"
#include "splits.h"

#include "tandem/dir_lock.h"
#include "tandem/image.h"
#include "tandem/tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Items [first, first+n) of `order` become one file. Bad items are left out of it, so that it holds n or
 * fewer. */
typedef struct shard_plan {
    int split;
    int64_t number, first, n;
} shard_plan;

/* What a row is put together from, besides the item. */
typedef struct row_parts {
    tdm_text bytes;                 /* of the image */
    float *feature[TDM_MODALITIES]; /* [width], [feature_captions][width] */
    tdm_shard_strings *alternative; /* [alternative_captions] */
    int64_t feature_captions, alternative_captions;
} row_parts;

typedef struct packer {
    tdm_comm *comm;
    const tdm_pack_options *options;
    const tdm_pack_format *format;
    tdm_tokenizer *tokenizer;
    tdm_dir_lock *lock; /* of out_dir */
    tdm_pack_list list;
    split_rules rules;
    int64_t *order; /* item indices, split by split */
    shard_plan *shard;
    int64_t shards;
    const char **empty_source; /* [empty_sources] that hold nothing */
    int64_t empty_sources;
    bool named_identities;                 /* those of the items are indices of list.identities */
    int64_t feature_width[TDM_MODALITIES]; /* 0: no features */
    char digest[65];                       /* of the list */
    tdm_reading reading;                   /* what all ranks must have read alike */
    /* this rank's work */
    tdm_index_row *row; /* [rows] of the shards it wrote */
    int64_t rows;
    tdm_text bad; /* of report_note */
    int64_t bad_count, bad_captions, truncated, images_only, texts_only, alternatives;
    int64_t failed_at; /* place in `order` of what made this rank stop, INT64_MAX: nothing */
    int32_t *token;    /* [context] */
    row_parts parts;
} packer;

static void packer_free(packer *p)
{
    tdm_dir_lock_release(&p->lock);
    tdm_tokenizer_destroy(&p->tokenizer);
    tdm_pack_list_free(&p->list);
    free(p->order);
    free(p->shard);
    tdm_free((void *)p->empty_source);
    tdm_free(p->row);
    tdm_free(p->token);
    tdm_text_free(&p->bad);
    tdm_text_free(&p->parts.bytes);
    for (int m = 0; m < TDM_MODALITIES; m++) tdm_free(p->parts.feature[m]);
    tdm_free(p->parts.alternative);
}

/* ---- Listing and planning: the same on every rank ---- */

static tdm_status find_format(packer *p)
{
    size_t count;
    const tdm_pack_format *const *formats = tdm_pack_formats(&count);
    char known[256] = "";
    p->format = p->options->reader;
    if (p->format) return TDM_OK;
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(formats[i]->name, p->options->format)) p->format = formats[i];
        snprintf(known + strlen(known), sizeof(known) - strlen(known), " %s", formats[i]->name);
    }
    TDM_REQUIRE(p->format, TDM_E_USAGE, "--format %s: unknown; known:%s", p->options->format, known);
    return TDM_OK;
}

/* What is wrong with a source as a whole is its fault where others may be packed without it; one that is not there is a
 * mistake in the call. */
static tdm_status list_source(packer *p, const char *source)
{
    tdm_pack_list *list = &p->list;
    const int64_t before = list->count + list->fault_n, items = list->count, features = list->features_n;
    tdm_status status = tdm_pack_list_source(p->format, p->options->format_options, source, list);
    if (p->options->skip_bad && pack_is_fault(status) && tdm_path_exists(source))
        status = pack_list_fault(list, source, status);
    TDM_TRY(status);
    TDM_REQUIRE(p->options->skip_bad || !list->fault_n, TDM_E_DATA, "%s", list->fault[0]);
    if (list->count + list->fault_n == before) p->empty_source[p->empty_sources++] = source;
    if (tdm_comm_size(p->comm) == 1) return TDM_OK;
    return pack_list_reading(list, items, features, source, &p->reading);
}

static tdm_status holds_nothing(const packer *p)
{
    tdm_text others = {0};
    TDM_TRY(report_tell_left_out(&p->list, &others));
    const tdm_status status =
        TDM_ERROR(TDM_E_DATA, "%s: holds no images and no captions%s%s", p->options->source[0],
                  others.length ? ", but " : "", others.length ? others.data : "");
    tdm_text_free(&others);
    return status;
}

/* Its samples would be packed twice. */
static tdm_status refuse_twice(const packer *p)
{
    tdm_pack_names names = {0};
    tdm_status status = TDM_OK;
    for (int64_t i = 0; status == TDM_OK && i < p->options->source_count; i++) {
        int64_t index;
        const char *source = p->options->source[i];
        status = pack_names_index(&names, source, strlen(source), &index);
        if (status == TDM_OK && index < i) status = TDM_ERROR(TDM_E_USAGE, "%s: is given twice", source);
    }
    pack_names_free(&names);
    return status;
}

static tdm_status list_sources(packer *p)
{
    const int64_t sources = p->options->source_count;
    TDM_REQUIRE(sources > 0, TDM_E_USAGE, "no SOURCE to pack");
    TDM_TRY(TDM_ALLOC(sources, &p->empty_source));
    TDM_TRY(refuse_twice(p));
    for (int64_t i = 0; i < sources; i++) TDM_TRY(list_source(p, p->options->source[i]));
    if (p->list.count + p->list.fault_n == 0) return holds_nothing(p);
    for (int64_t i = 0; i < p->empty_sources; i++)
        tdm_log(TDM_LOG_WARN, "%s: holds no images and no captions", p->empty_source[i]);
    return TDM_OK;
}

static bool is_number(const char *name)
{
    const size_t digits = strspn(name, "0123456789");
    return digits > 0 && digits <= 18 && !name[digits] && (name[0] != '0' || digits == 1);
}

/* Identities by name become numbers: their own where all are numbers, else in the order of first appearance. */
static void number_identities(packer *p)
{
    const tdm_pack_names *names = &p->list.identities;
    for (int64_t i = 0; i < names->count; i++) p->named_identities |= !is_number(names->name[i]);
    if (!names->count || p->named_identities) return;
    for (int64_t i = 0; i < p->list.count; i++) {
        int64_t *identity = &p->list.item[i].identity;
        if (*identity >= 0) *identity = strtoll(names->name[*identity], NULL, 10);
    }
}

/* Where some samples have an identity, one without is bad. */
static tdm_status check_identities(packer *p)
{
    const tdm_pack_list *list = &p->list;
    int64_t with = 0, without = 0, other = 0;
    for (int64_t i = 0; i < list->count; i++) {
        with += list->item[i].identity >= 0;
        if (list->item[i].identity >= 0) other = i;
    }
    for (int64_t i = 0; i < list->count; i++) without += list->item[i].identity < 0;
    for (int64_t i = 0; with && without && i < list->count; i++)
        if (list->item[i].identity < 0)
            TDM_TRY(pack_item_fault(
                &list->item[i],
                TDM_ERROR(TDM_E_DATA, "%s: has no identity, as %lld of %lld samples; others have, as %s",
                          list->item[i].name, (long long)without, (long long)list->count,
                          list->item[other].name)));
    TDM_REQUIRE(list->classes.count <= MOST_CLASSES, TDM_E_DATA,
                "%lld classes, such as \"%s\": at most %d are possible", (long long)list->classes.count,
                list->classes.name[0], MOST_CLASSES);
    return TDM_OK;
}

/* All features of a modality are of one width, and no text has words where another has features. */
static tdm_status check_features(packer *p)
{
    int64_t *width = p->feature_width;
    for (int64_t i = 0; i < p->list.count; i++) {
        const tdm_pack_item *item = &p->list.item[i];
        const tdm_pack_features *of[TDM_MODALITIES] = {
            [TDM_IMAGE] = item->image_feature, [TDM_TEXT] = item->text_feature};
        for (int m = 0; m < TDM_MODALITIES; m++) {
            if (!of[m]) continue;
            if (!width[m]) width[m] = of[m]->width;
            TDM_REQUIRE(width[m] == of[m]->width, TDM_E_SHAPE,
                        "%s: its %s feature is %lld wide, others are %lld", item->name,
                        m == TDM_IMAGE ? "image" : "text", (long long)of[m]->width, (long long)width[m]);
        }
    }
    for (int64_t i = 0; i < p->list.count; i++) {
        const tdm_pack_item *item = &p->list.item[i];
        TDM_REQUIRE(!width[TDM_TEXT] || item->text_feature || !item->caption_n, TDM_E_FORMAT,
                    "%s: has captions without features, others have features", item->name);
        TDM_REQUIRE(!width[TDM_IMAGE] || item->image_feature || !item->path, TDM_E_FORMAT,
                    "%s: has an image without a feature, others have features", item->name);
    }
    return TDM_OK;
}

static void hash_text(tdm_sha256 *sha, const char *text)
{
    tdm_sha256_update(sha, text, strlen(text) + 1);
}

/* The digest of what was listed: names, captions, identities; not the images' bytes, which the shards' own
 * digests cover. */
static tdm_status digest_list(packer *p)
{
    tdm_sha256 *sha;
    TDM_TRY(tdm_sha256_create(&sha));
    hash_text(sha, p->format->name);
    for (int64_t i = 0; i < p->list.count; i++) {
        const tdm_pack_item *item = &p->list.item[i];
        hash_text(sha, item->name);
        tdm_sha256_update(sha, &item->identity, sizeof(item->identity));
        for (int64_t k = 0; k < item->caption_n; k++) hash_text(sha, item->caption[k]);
        for (int64_t k = 0; k < item->alternative_n; k++) hash_text(sha, item->alternative[k]);
    }
    tdm_sha256_finish(&sha, p->digest);
    return TDM_OK;
}

/* A sample of a split that --split does not ask for. */
static tdm_status leave_out_of_splits(tdm_pack_list *list, const tdm_pack_item *item)
{
    char kind[128];
    snprintf(kind, sizeof(kind),
             item->split[0] ? "samples of split \"%s\", which --split does not ask for"
                            : "samples beyond the fractions of --split",
             item->split);
    return pack_list_leave_out(list, kind, item->name, NULL);
}

static tdm_status plan_shards(packer *p)
{
    const char *spec = p->options->split[0] || !p->format->split ? p->options->split : p->format->split;
    TDM_TRY(split_rules_parse(spec, &p->rules));
    int *split = malloc(sizeof(*split) * (size_t)(p->list.count + 1));
    p->order = malloc(sizeof(*p->order) * (size_t)(p->list.count + 1));
    p->shard = malloc(sizeof(*p->shard) * (size_t)(p->list.count / p->options->shard_size + MOST_SPLITS + 1));
    tdm_status status = TDM_OK;
    if (!split || !p->order || !p->shard)
        status = TDM_ERROR(TDM_E_NOMEM, "no memory for %lld items", (long long)p->list.count);
    for (int64_t i = 0; status == TDM_OK && i < p->list.count; i++) {
        status = split_rules_apply(&p->rules, &p->list.item[i], p->options->seed, &split[i]);
        if (status == TDM_OK && split[i] < 0) status = leave_out_of_splits(&p->list, &p->list.item[i]);
    }
    int64_t placed = 0;
    for (int s = 0; status == TDM_OK && s < p->rules.count; s++) {
        const int64_t begin = placed;
        for (int64_t i = 0; i < p->list.count; i++)
            if (split[i] == s) p->order[placed++] = i;
        if (placed == begin && p->list.count)
            status =
                TDM_ERROR(TDM_E_USAGE, "--split %s: no sample goes into \"%s\"", spec, p->rules.rule[s].name);
        for (int64_t first = begin, number = 0; first < placed; first += p->options->shard_size, number++)
            p->shard[p->shards++] = (shard_plan){.split = s,
                                                 .number = number,
                                                 .first = first,
                                                 .n = tdm_min_i64(p->options->shard_size, placed - first)};
    }
    free(split);
    return status;
}

static tdm_status prepare(packer *p)
{
    const tdm_pack_options *o = p->options;
    TDM_REQUIRE(o->shard_size > 0, TDM_E_USAGE, "--shard-size must be at least 1");
    TDM_TRY(find_format(p));
    if (o->tokenizer) {
        TDM_TRY(tdm_tokenizer_open_variant(o->tokenizer, o->tokenizer_mask, &p->tokenizer));
        TDM_TRY(tdm_reading_add(&p->reading, "tokenizer", o->tokenizer, tdm_tokenizer_digest(p->tokenizer)));
        TDM_TRY(TDM_ALLOC(o->context_length, &p->token));
    }
    TDM_TRY(list_sources(p));
    number_identities(p);
    TDM_TRY(check_identities(p));
    TDM_TRY(check_features(p));
    TDM_TRY(digest_list(p));
    TDM_TRY(plan_shards(p));
    TDM_TRY(tdm_stop_point("before packing"));
    return TDM_ALLOC(p->shards + 1, &p->row);
}

/* ---- Writing: shard s by rank s mod size ---- */

static tdm_status read_image_bytes(const tdm_pack_item *item, tdm_text *bytes)
{
    bytes->length = 0;
    if (item->bytes < 0) return tdm_read_file(item->path, bytes);
    FILE *file = fopen(item->path, "rb");
    TDM_REQUIRE(file, TDM_E_IO, "%s: cannot open: %s", item->path, strerror(errno));
    void *data = NULL;
    tdm_status status = tdm_alloc((size_t)item->bytes, item->name, &data);
    if (status == TDM_OK && (fseeko(file, (off_t)item->offset, SEEK_SET) ||
                             fread(data, 1, (size_t)item->bytes, file) != (size_t)item->bytes))
        status = TDM_ERROR(TDM_E_FORMAT, "%s: %s is cut short", item->path, item->name);
    if (status == TDM_OK) status = tdm_text_append(bytes, data, (size_t)item->bytes);
    tdm_free(data);
    fclose(file);
    return status;
}

static bool is_jpeg(const tdm_text *bytes)
{
    return bytes->length > 2 && !memcmp(bytes->data, "\xff\xd8", 2);
}

/* The image with its shorter side `px` in place of `bytes`; its transparency stays. */
static tdm_status shrink_image(const tdm_image *image, int64_t px, tdm_text *bytes)
{
    const int64_t shorter = tdm_min_i64(image->height, image->width);
    const int64_t height = tdm_max_i64(px, (image->height * px + shorter / 2) / shorter);
    const int64_t width = tdm_max_i64(px, (image->width * px + shorter / 2) / shorter);
    const bool jpeg = is_jpeg(bytes);
    tdm_image small = {0};
    TDM_TRY(tdm_image_scale(image, height, width, &small));
    bytes->length = 0;
    const tdm_status status = jpeg ? tdm_image_encode_jpeg(small.pixel, height, width, 95, bytes)
                              : small.mode == TDM_IMAGE_RGBA
                                  ? tdm_image_encode_rgba_png(small.pixel, height, width, bytes)
                                  : tdm_image_encode_png(small.pixel, height, width, bytes);
    tdm_image_free(&small);
    return status;
}

/* Decodes the image, which proves it whole, and with --image-size replaces `bytes` by a smaller encoding. */
static tdm_status check_image(const packer *p, const tdm_pack_item *item, tdm_text *bytes)
{
    char name[TDM_PATH_BYTES];
    tdm_image image = {0};
    const int64_t px = p->options->image_px;
    if (item->bytes >= 0)
        snprintf(name, sizeof(name), "%.2000s: %.2000s", item->path, item->name);
    else
        snprintf(name, sizeof(name), "%s", item->path);
    TDM_TRY(tdm_image_decode(name, bytes->data, bytes->length, TDM_ALPHA_KEEP, &image));
    tdm_status status = TDM_OK;
    if (px > 0 && tdm_min_i64(image.height, image.width) > px) status = shrink_image(&image, px, bytes);
    tdm_image_free(&image);
    return status;
}

/* How many captions the tokenizer would cut. */
static tdm_status count_truncated(const packer *p, const tdm_pack_item *item, int64_t *truncated_n)
{
    *truncated_n = 0;
    for (int64_t k = 0; p->tokenizer && k < item->caption_n && !item->text_feature; k++) {
        int64_t count;
        bool truncated;
        TDM_TRY(tdm_tokenizer_encode(p->tokenizer, item->caption[k], p->options->context_length, p->token,
                                     &count, &truncated));
        *truncated_n += truncated;
        TDM_REQUIRE(!truncated || !p->options->refuse_overlong, TDM_E_DATA,
                    "%s: caption %lld has more than %lld tokens (--overlong refuse)", item->name,
                    (long long)k + 1, (long long)p->options->context_length);
    }
    return TDM_OK;
}

static bool has_image(const tdm_pack_item *item)
{
    return item->path || item->image_feature;
}

/* The caption that is lost if the item is packed, the first one. Captions that are nothing but empty are none, and so
 * no loss. */
static const tdm_pack_caption_fault *lost_caption(const tdm_pack_item *item)
{
    for (int64_t k = 0; k < item->caption_fault_n; k++)
        if (item->caption_n || !item->caption_fault[k].empty) return &item->caption_fault[k];
    return NULL;
}

/* Is there what a sample needs, with --unpaired keep or without? */
static tdm_status check_parts(const packer *p, const tdm_pack_item *item)
{
    const bool keep = p->options->keep_unpaired, image = has_image(item), caption = item->caption_n > 0;
    const tdm_pack_caption_fault *lost = lost_caption(item);
    const bool bearable = p->options->skip_bad && (caption || (image && keep));
    TDM_REQUIRE(!item->fault, TDM_E_DATA, "%s", item->fault);
    TDM_REQUIRE(!lost || bearable, TDM_E_DATA, "%s", lost->why);
    TDM_REQUIRE(image || caption, TDM_E_DATA, "%s: has neither an image nor a caption", item->name);
    TDM_REQUIRE(image || keep, TDM_E_DATA, "%s: has no image (--unpaired keep packs it)", item->name);
    TDM_REQUIRE(caption || keep || !item->caption_fault_n, TDM_E_DATA,
                "%s (--unpaired keep packs the image alone)", item->caption_fault[0].why);
    TDM_REQUIRE(caption || keep, TDM_E_DATA, "%s: has no caption (--unpaired keep packs it)", item->name);
    return TDM_OK;
}

/* parts->feature of an item that has some. */
static tdm_status read_features(const packer *p, const tdm_pack_item *item, row_parts *parts)
{
    const int64_t *width = p->feature_width;
    tdm_pack_features *image = item->image_feature, *text = item->text_feature;
    if (image && !parts->feature[TDM_IMAGE]) TDM_TRY(TDM_ALLOC(width[TDM_IMAGE], &parts->feature[TDM_IMAGE]));
    if (image) TDM_TRY(image->read(image, item->image_feature_row, parts->feature[TDM_IMAGE]));
    if (text && item->caption_n > parts->feature_captions) {
        tdm_free(parts->feature[TDM_TEXT]);
        TDM_TRY(TDM_ALLOC(item->caption_n * width[TDM_TEXT], &parts->feature[TDM_TEXT]));
        parts->feature_captions = item->caption_n;
    }
    for (int64_t k = 0; text && k < item->caption_n; k++)
        TDM_TRY(text->read(text, item->text_feature_row[k], parts->feature[TDM_TEXT] + k * width[TDM_TEXT]));
    return TDM_OK;
}

/* parts->alternative of an item that has some: a list for each caption. */
static tdm_status sort_alternatives(const tdm_pack_item *item, row_parts *parts)
{
    if (!item->alternative_n) return TDM_OK;
    if (item->caption_n > parts->alternative_captions) {
        tdm_free(parts->alternative);
        TDM_TRY(TDM_ALLOC(item->caption_n, &parts->alternative));
        parts->alternative_captions = item->caption_n;
    }
    int64_t a = 0;
    for (int64_t k = 0; k < item->caption_n; k++) {
        const int64_t first = a;
        while (a < item->alternative_n && item->alternative_of[a] == k) a++;
        parts->alternative[k] =
            (tdm_shard_strings){.string = (const char *const *)item->alternative + first, .n = a - first};
    }
    return TDM_OK;
}

static tdm_status read_parts(const packer *p, const tdm_pack_item *item, row_parts *parts,
                             int64_t *truncated_n)
{
    *truncated_n = 0;
    parts->bytes.length = 0;
    TDM_TRY(check_parts(p, item));
    TDM_TRY(count_truncated(p, item, truncated_n));
    TDM_TRY(read_features(p, item, parts));
    TDM_TRY(sort_alternatives(item, parts));
    if (!item->path) return TDM_OK;
    TDM_TRY(read_image_bytes(item, &parts->bytes));
    return check_image(p, item, &parts->bytes);
}

/* *bad: the error is the sample's own, not the disk's or the machine's, so that one may go on without it. */
static tdm_status add_item(packer *p, const tdm_pack_item *item, tdm_shard_writer *writer, bool *bad)
{
    int64_t truncated_n;
    row_parts *parts = &p->parts;
    tdm_status status = read_parts(p, item, parts, &truncated_n);
    *bad = pack_is_fault(status);
    if (status != TDM_OK) return status;
    const tdm_shard_sample sample = {
        .image = parts->bytes.data,
        .image_bytes = (int64_t)parts->bytes.length,
        .name = item->name,
        .identity = item->identity,
        .class_index = item->class_index,
        .class_n = item->class_n,
        .caption = (const char *const *)item->caption,
        .caption_n = item->caption_n,
        .alternative = item->alternative_n ? parts->alternative : NULL,
        .image_feature = item->image_feature ? parts->feature[TDM_IMAGE] : NULL,
        .caption_feature = item->text_feature ? parts->feature[TDM_TEXT] : NULL,
    };
    status = tdm_shard_writer_add(writer, &sample);
    *bad = status == TDM_E_DATA;
    if (status != TDM_OK) return status;
    p->truncated += truncated_n;
    p->images_only += !item->caption_n;
    p->texts_only += !has_image(item);
    p->alternatives += item->alternative_n;
    return TDM_OK;
}

/* The captions that an item was packed without. */
static tdm_status note_lost_captions(packer *p, const tdm_pack_item *item, int64_t place)
{
    if (!lost_caption(item)) return TDM_OK;
    for (int64_t k = 0; k < item->caption_fault_n; k++)
        TDM_TRY(report_note(&p->bad, place, item->caption_fault[k].number, item, item->caption_fault[k].why));
    p->bad_captions += item->caption_fault_n;
    return TDM_OK;
}

static tdm_status fill_shard(packer *p, const shard_plan *plan, tdm_shard_writer *writer, int64_t *written)
{
    tdm_status status = TDM_OK;
    *written = 0;
    for (int64_t i = 0; status == TDM_OK && i < plan->n; i++) {
        const tdm_pack_item *item = &p->list.item[p->order[plan->first + i]];
        bool bad = false;
        status = tdm_stop_point("while packing; the data set is not complete: start the same command again");
        if (status == TDM_OK) status = add_item(p, item, writer, &bad);
        *written += status == TDM_OK;
        if (status == TDM_OK)
            status = note_lost_captions(p, item, plan->first + i);
        else if (bad && p->options->skip_bad) {
            status = report_note(&p->bad, plan->first + i, 0, item, tdm_error_last()->message);
            p->bad_count++;
        }
        if (status != TDM_OK) p->failed_at = plan->first + i;
        tdm_progress("packing %s shard %lld: %lld of %lld samples", p->rules.rule[plan->split].name,
                     (long long)plan->number, (long long)(i + 1), (long long)plan->n);
    }
    return status;
}

static tdm_status write_shard(packer *p, const shard_plan *plan)
{
    const tdm_pack_options *o = p->options;
    const char *split = p->rules.rule[plan->split].name;
    char policy[64] = "original", path[TDM_PATH_BYTES];
    if (o->image_px > 0) snprintf(policy, sizeof(policy), "resized to %lld px", (long long)o->image_px);
    tdm_index_row *row = &p->row[p->rows];
    memset(row, 0, sizeof(*row));
    snprintf(row->split, sizeof(row->split), "%s", split);
    snprintf(row->file, sizeof(row->file), "%s-%05lld.h5", split, (long long)plan->number);
    TDM_TRY(tdm_path_join(path, sizeof(path), o->out_dir, row->file));

    const tdm_shard_info info = {
        .dataset = o->dataset_name,
        .split = split,
        .image_policy = policy,
        .source_digest = p->digest,
        .tokenizer_digest = p->tokenizer ? tdm_tokenizer_digest(p->tokenizer) : "",
        .class_count = p->list.classes.count,
        .class_name = (const char *const *)p->list.classes.name,
        .feature_width = {[TDM_IMAGE] = p->feature_width[TDM_IMAGE], [TDM_TEXT] = p->feature_width[TDM_TEXT]},
    };
    tdm_shard_writer *writer = NULL;
    int64_t written = 0;
    tdm_status status = tdm_shard_writer_create(path, &info, &writer);
    if (status == TDM_OK) status = fill_shard(p, plan, writer, &written);
    if (status == TDM_OK && written > 0) {
        status = tdm_shard_writer_finish(&writer, &row->images, &row->captions, row->digest);
        p->rows += status == TDM_OK;
    }
    const tdm_error kept = *tdm_error_last();
    tdm_shard_writer_destroy(&writer); /* of an unfinished file: removed */
    return status == TDM_OK ? TDM_OK : tdm_error_adopt(&kept);
}

static tdm_status write_own_shards(packer *p)
{
    const int rank = tdm_comm_rank(p->comm), size = tdm_comm_size(p->comm);
    p->failed_at = INT64_MAX;
    for (int64_t s = rank; s < p->shards; s += size) {
        const tdm_status status = write_shard(p, &p->shard[s]);
        if (status == TDM_OK) continue;
        if (p->failed_at == INT64_MAX) p->failed_at = p->shard[s].first;
        return status;
    }
    return TDM_OK;
}

/* Every rank has stopped at its first error or is done. The error of all is the one that stands first in the
 * list, whichever rank met it. */
static tdm_status agree_on_first(packer *p, tdm_status status)
{
    const int size = tdm_comm_size(p->comm);
    int64_t *failed_at;
    TDM_AGREE(p->comm, TDM_ALLOC(size, &failed_at));
    tdm_comm_gather_i64(p->comm, p->failed_at, failed_at);
    int64_t first = INT64_MAX;
    for (int r = 0; r < size; r++) first = tdm_min_i64(first, failed_at[r]);
    tdm_free(failed_at);
    return tdm_comm_agree(p->comm, p->failed_at == first ? status : TDM_OK);
}

/* ---- Index and report: rank 0 ---- */

static int compare_rows(const void *a, const void *b)
{
    return strcmp(((const tdm_index_row *)a)->file, ((const tdm_index_row *)b)->file);
}

/* Files of an earlier packing of the same splits that this one did not write again. */
static tdm_status remove_stale(const packer *p, const tdm_index_row *row, int64_t rows)
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof(path), p->options->out_dir, "dataset.h5"));
    if (!tdm_path_exists(path)) return TDM_OK;
    tdm_index_row *old = NULL;
    int64_t olds = 0;
    TDM_TRY(tdm_index_read(p->options->out_dir, &old, &olds));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; status == TDM_OK && i < olds; i++) {
        bool replaced = false, present = false;
        for (int s = 0; s < p->rules.count; s++) replaced |= !strcmp(old[i].split, p->rules.rule[s].name);
        for (int64_t k = 0; k < rows; k++) present |= !strcmp(old[i].file, row[k].file);
        if (!replaced || present) continue;
        status = tdm_path_join(path, sizeof(path), p->options->out_dir, old[i].file);
        if (status == TDM_OK) (void)unlink(path);
    }
    tdm_free(old);
    return status;
}

/* ---- What each split holds: rank 0, which knows every rank's bad samples ---- */

static int compare_i64(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Of the places [begin, end) of the order, of which those with bad[place] were not packed. */
static void count_split(const packer *p, int64_t begin, int64_t end, const bool *bad, int64_t *identity,
                        bool *class_seen, tdm_pack_split *split)
{
    int64_t n = 0;
    for (int64_t place = begin; place < end; place++) {
        const tdm_pack_item *item = &p->list.item[p->order[place]];
        if (bad[place]) continue;
        split->samples++;
        split->images += has_image(item);
        split->captions += item->caption_n;
        if (item->identity >= 0) identity[n++] = item->identity;
        for (int64_t k = 0; k < item->class_n; k++) class_seen[item->class_index[k]] = true;
    }
    qsort(identity, (size_t)n, sizeof(*identity), compare_i64);
    for (int64_t i = 0; i < n; i++) split->identities += i == 0 || identity[i] != identity[i - 1];
    for (int64_t c = 0; c < p->list.classes.count; c++) split->classes += class_seen[c];
}

static tdm_status count_splits(const packer *p, const report_notes *notes, tdm_pack_result *result)
{
    bool *bad = NULL, *class_seen = NULL;
    int64_t *identity = NULL;
    tdm_status status = TDM_ALLOC(p->list.count + 1, &bad);
    if (status == TDM_OK) status = TDM_ALLOC(p->list.classes.count + 1, &class_seen);
    if (status == TDM_OK) status = TDM_ALLOC(p->list.count + 1, &identity);
    for (int64_t i = 0; status == TDM_OK && i < notes->bad_n; i++) bad[notes->bad_place[i]] = true;
    for (int64_t s = 0; status == TDM_OK && s < p->shards;) {
        const shard_plan *first = &p->shard[s], *last = first;
        while (s < p->shards && p->shard[s].split == first->split) last = &p->shard[s++];
        tdm_pack_split *split = &result->split[result->split_n];
        snprintf(split->name, sizeof(split->name), "%s", p->rules.rule[first->split].name);
        memset(class_seen, 0, (size_t)p->list.classes.count);
        count_split(p, first->first, last->first + last->n, bad, identity, class_seen, split);
        result->split_n += split->samples > 0;
    }
    tdm_free(bad);
    tdm_free(class_seen);
    tdm_free(identity);
    return status;
}

/* ---- The end ---- */

static void sum_up(packer *p, tdm_pack_result *result)
{
    int64_t *const sum[] = {&result->images,      &result->captions,     &result->shards,
                            &result->bad,         &result->bad_captions, &result->truncated_captions,
                            &result->images_only, &result->texts_only,   &result->alternatives};
    enum { SUMS = sizeof(sum) / sizeof(sum[0]) };
    int64_t value[SUMS] = {-p->texts_only, /* rows without an image */
                           0,
                           p->rows,
                           p->bad_count,
                           p->bad_captions,
                           p->truncated,
                           p->images_only,
                           p->texts_only,
                           p->alternatives};
    for (int64_t i = 0; i < p->rows; i++) {
        value[0] += p->row[i].images;
        value[1] += p->row[i].captions;
    }
    tdm_comm_sum_i64(p->comm, value, SUMS);
    for (int i = 0; i < SUMS; i++) *sum[i] = value[i];
    result->bad += p->list.fault_n;
    for (int64_t g = 0; g < p->list.left_out_key.count; g++) result->left_out += p->list.left_out[g].count;
}

static tdm_status write_report(const packer *p, const report_notes *notes, tdm_pack_result *result)
{
    char path[TDM_PATH_BYTES];
    const report_head head = {.dataset = p->options->dataset_name,
                              .format = p->format->name,
                              .list = &p->list,
                              .result = result,
                              .empty_source = p->empty_source,
                              .empty_sources = p->empty_sources,
                              .named_identities = p->named_identities};
    TDM_TRY(count_splits(p, notes, result));
    TDM_TRY(tdm_path_join(path, sizeof(path), p->options->out_dir, "pack-report.json"));
    TDM_TRY(report_write(path, &head, notes));
    TDM_TRY(report_log_left_out(&p->list));
    if (result->images + result->captions > 0) return TDM_OK;
    const json_t *first = json_array_get(notes->bad, 0);
    TDM_FAIL(TDM_E_DATA, "%s: every sample is bad; see %s; the first: %s", p->options->source[0], path,
             json_string_value(json_object_get(first, "error")));
}

/* Rank 0, with the rows and notes of all ranks. */
static tdm_status write_end(const packer *p, tdm_index_row *row, const char *lines, size_t bytes,
                            tdm_pack_result *result)
{
    report_notes notes;
    qsort(row, (size_t)result->shards, sizeof(*row), compare_rows);
    tdm_status status = report_sort(&p->list, lines, bytes, &notes);
    if (status == TDM_OK) status = remove_stale(p, row, result->shards);
    if (status == TDM_OK) status = write_report(p, &notes, result);
    if (status == TDM_OK)
        status = tdm_index_write(p->options->out_dir, p->options->dataset_name, row, result->shards);
    report_notes_free(&notes);
    return status;
}

static tdm_status finish(packer *p, tdm_pack_result *result)
{
    const int size = tdm_comm_size(p->comm);
    unsigned char *rows = NULL, *bad = NULL;
    int64_t *offset;
    sum_up(p, result);
    TDM_AGREE(p->comm, TDM_ALLOC(size + 1, &offset));
    tdm_status status = tdm_comm_collect(p->comm, p->row, p->rows * (int64_t)sizeof(*p->row), &rows, offset);
    if (status == TDM_OK)
        status =
            tdm_comm_collect(p->comm, p->bad.data ? p->bad.data : "", (int64_t)p->bad.length, &bad, offset);
    if (status == TDM_OK && tdm_comm_rank(p->comm) == 0)
        status = write_end(p, (tdm_index_row *)(void *)rows, (const char *)bad, (size_t)offset[size], result);
    tdm_free(rows);
    tdm_free(bad);
    tdm_free(offset);
    TDM_AGREE(p->comm, status);
    tdm_comm_broadcast(p->comm, result, sizeof(*result), 0);
    return TDM_OK;
}

static tdm_status pack_all(packer *p, tdm_pack_result *result)
{
    const tdm_status prepared = prepare(p); /* fills p->reading */
    TDM_TRY(tdm_comm_agree_on(p->comm, prepared, &p->reading));
    const tdm_dir_lock_options own = {
        .dir = p->options->out_dir, .command = "pack", .steal = p->options->steal_lock};
    TDM_TRY(tdm_dir_lock_take(p->comm, &own, &p->lock));
    const tdm_status status = write_own_shards(p);
    tdm_progress_clear();
    TDM_TRY(agree_on_first(p, status));
    return finish(p, result);
}

tdm_status tdm_pack(tdm_comm *comm, const tdm_pack_options *options, tdm_pack_result *result)
{
    packer p = {.comm = comm, .options = options};
    memset(result, 0, sizeof(*result));
    const tdm_status status = pack_all(&p, result);
    const tdm_error kept = *tdm_error_last();
    packer_free(&p);
    return status == TDM_OK ? TDM_OK : tdm_error_adopt(&kept);
}
