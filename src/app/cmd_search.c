/* tandem search: the best of a gallery for a text or an image. */
#include "bundle.h"
#include "sheet_items.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct search_options {
    bundle_options bundle;
    const char *gallery, *split, *text, *image, *find, *html, *json;
    int64_t k;
} search_options;

typedef struct search {
    tdm_comm *comm;
    const search_options *options;
    bundle bundle;
    tdm_embeddings embeddings;
    tdm_dataset *dataset; /* the source of the gallery; NULL when it is gone */
    char source[TDM_PATH_BYTES], split[64];
    tdm_text query_image; /* encoded */
    float *query;         /* [d] unit norm */
    bool find_captions;
    found_item *item;
    int64_t *row; /* [count] of images or captions, as searched */
    int64_t count;
} search;

/* ---- The gallery ---- */

/* The only split of a packed data set, unless one is named. */
static tdm_status choose_data_split(const char *dir, char *split, size_t bytes)
{
    tdm_index_row *row = NULL;
    int64_t count = 0;
    tdm_text names = {0};
    TDM_TRY(tdm_index_read(dir, &row, &count));
    tdm_status status = TDM_OK;
    int64_t splits = 0;
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

static tdm_status embed_gallery(search *s)
{
    const search_options *o = s->options;
    if (s->split[0] == '\0') TDM_TRY(choose_data_split(o->gallery, s->split, sizeof s->split));
    TDM_TRY(bundle_open_data(&s->bundle, o->gallery, s->split, &s->dataset));
    snprintf(s->source, sizeof s->source, "%s", o->gallery);
    return tdm_embed_dataset(s->comm, s->bundle.model, s->bundle.ops, &s->bundle.config, s->dataset,
                             s->bundle.tokenizer, o->bundle.batch, o->bundle.workers, &s->embeddings);
}

/* The source shards lead to captions and thumbnails; without them rows and scores are all there is. */
static tdm_status open_source(search *s, const tdm_embedding_info *info)
{
    char index[TDM_PATH_BYTES];
    snprintf(s->source, sizeof s->source, "%s", info->source);
    TDM_TRY(tdm_path_join(index, sizeof index, info->source, "dataset.h5"));
    if (!tdm_path_exists(index)) {
        tdm_log(TDM_LOG_WARN, "%s: the gallery's source is not there: no captions, names and thumbnails",
                info->source);
        return TDM_OK;
    }
    TDM_TRY(tdm_dataset_open(info->source, s->split, &s->dataset));
    return TDM_OK;
}

static tdm_status check_source(const search *s)
{
    if (s->dataset == NULL) return TDM_OK;
    const int64_t images = tdm_dataset_images(s->dataset), captions = tdm_dataset_captions(s->dataset);
    TDM_REQUIRE(
        images == s->embeddings.images && captions == s->embeddings.captions, TDM_E_DATA,
        "%s: split \"%s\" of %s has %lld images and %lld captions, embedded were %lld and %lld; run tandem "
        "embed again",
        s->options->gallery, s->split, s->source, (long long)images, (long long)captions,
        (long long)s->embeddings.images, (long long)s->embeddings.captions);
    return TDM_OK;
}

static tdm_status read_gallery(search *s)
{
    tdm_embedding_info info;
    const search_options *o = s->options;
    TDM_TRY(tdm_embeddings_find_split(o->gallery, s->split, sizeof s->split));
    TDM_TRY(tdm_embeddings_read(s->comm, o->gallery, s->split, &info, &s->embeddings));
    TDM_REQUIRE(s->embeddings.d == tdm_model_embed_dim(s->bundle.model), TDM_E_SHAPE,
                "%s: embeddings of width %lld, the model's have %lld", o->gallery, (long long)s->embeddings.d,
                (long long)tdm_model_embed_dim(s->bundle.model));
    TDM_REQUIRE(strcmp(info.model_digest, s->bundle.digest) == 0, TDM_E_DATA,
                "%s: was embedded by another model (%s) than %s; run tandem embed again", o->gallery,
                info.model, s->bundle.dir);
    TDM_TRY(open_source(s, &info));
    return check_source(s);
}

static tdm_status load_gallery(search *s)
{
    char index[TDM_PATH_BYTES];
    snprintf(s->split, sizeof s->split, "%s", s->options->split);
    TDM_REQUIRE(tdm_path_is_dir(s->options->gallery), TDM_E_IO, "%s: there is no such directory",
                s->options->gallery);
    TDM_TRY(tdm_path_join(index, sizeof index, s->options->gallery, "dataset.h5"));
    return tdm_path_exists(index) ? embed_gallery(s) : read_gallery(s);
}

/* ---- The query ---- */

static tdm_status embed_text(search *s, float *feature)
{
    const int64_t context = s->bundle.config.model.text.context_length;
    int32_t *token = NULL;
    int64_t count = 0;
    bool truncated = false;
    TDM_REQUIRE(s->options->text[strspn(s->options->text, " \t\r\n")] != '\0', TDM_E_USAGE,
                "tandem search: the text is empty");
    TDM_TRY(TDM_ALLOC(context, &token));
    tdm_status status =
        tdm_tokenizer_encode(s->bundle.tokenizer, s->options->text, context, token, &count, &truncated);
    if (status == TDM_OK && truncated)
        tdm_log(TDM_LOG_WARN, "the text was cut to the model's context of %lld tokens", (long long)context);
    const int64_t seq[2] = {0, count};
    const tdm_tower_input input = {.n = 1, .token = token, .seq = seq};
    const tdm_pass mode = {.train = false};
    if (status == TDM_OK) status = tdm_model_embed(s->bundle.model, TDM_TEXT, &input, &mode, feature);
    tdm_free(token);
    return status;
}

static tdm_status embed_image(search *s, float *feature)
{
    const tdm_tower_config *tower = &s->bundle.config.model.image;
    tdm_image image = {0};
    uint8_t *plain = NULL;
    TDM_TRY(tdm_read_file(s->options->image, &s->query_image));
    const tdm_image_policy policy = tdm_image_policy_of(tower);
    TDM_TRY(tdm_image_decode(s->options->image, s->query_image.data, s->query_image.length, policy.alpha,
                             &image));
    tdm_status status = TDM_ALLOC(tower->height_px * tower->width_px * 3, &plain);
    if (status == TDM_OK)
        status = tdm_image_plain(&image, policy.fit, tower->height_px, tower->width_px, plain);
    const tdm_tower_input input = {.n = 1, .image = plain};
    const tdm_pass mode = {.train = false};
    if (status == TDM_OK) status = tdm_model_embed(s->bundle.model, TDM_IMAGE, &input, &mode, feature);
    tdm_image_free(&image);
    tdm_free(plain);
    return status;
}

static tdm_status embed_query(search *s)
{
    const int64_t d = tdm_model_embed_dim(s->bundle.model);
    float *feature = NULL, norm;
    TDM_TRY(TDM_ALLOC(d, &s->query));
    TDM_TRY(TDM_ALLOC(d, &feature));
    const tdm_status status = s->options->image[0] != '\0' ? embed_image(s, feature) : embed_text(s, feature);
    if (status == TDM_OK) tdm_l2norm_forward(s->bundle.ops, 1, d, feature, s->query, &norm);
    tdm_free(feature);
    return status;
}

/* ---- Results ---- */

static tdm_status find_best(search *s)
{
    const tdm_embeddings *e = &s->embeddings;
    const int64_t rows = s->find_captions ? e->captions : e->images;
    float *score = NULL;
    s->count = tdm_min_i64(s->options->k, rows);
    TDM_REQUIRE(s->count > 0, TDM_E_DATA, "%s: the gallery is empty", s->options->gallery);
    TDM_TRY(TDM_ALLOC(s->count, &s->row));
    TDM_TRY(TDM_ALLOC(s->count, &s->item));
    TDM_TRY(TDM_ALLOC(s->count, &score));
    const tdm_eval_side query = {.n = 1, .d = e->d, .feature = s->query};
    const tdm_eval_side gallery = {.n = rows, .d = e->d, .feature = s->find_captions ? e->text : e->image};
    tdm_status status = tdm_eval_top_k(s->comm, s->bundle.ops, &query, &gallery, s->count, 1, s->row, score);
    for (int64_t i = 0; i < s->count && status == TDM_OK; i++) {
        s->item[i].row = s->find_captions ? e->image_row_of_caption[s->row[i]] : s->row[i];
        s->item[i].score = (double)score[i];
        if (s->dataset != NULL)
            status = found_item_read(s->dataset, s->find_captions ? s->row[i] : -1,
                                     s->options->html[0] != '\0', &s->item[i]);
    }
    tdm_free(score);
    return status;
}

static const char *or_dash(const tdm_text *text)
{
    return text->length > 0 ? text->data : "-";
}

static tdm_status print_table(const search *s)
{
    int written = printf("%4s  %7s  %8s  %s\n", "rank", "score", s->find_captions ? "caption" : "image",
                         s->find_captions ? "caption, of image" : "captions, file");
    for (int64_t i = 0; i < s->count && written >= 0; i++)
        written = printf("%4lld  %7.4f  %8lld  %s  [%s]\n", (long long)i + 1, s->item[i].score,
                         (long long)s->row[i], or_dash(&s->item[i].caption), or_dash(&s->item[i].name));
    TDM_REQUIRE(written >= 0 && fflush(stdout) == 0, TDM_E_IO, "standard output: cannot write");
    return TDM_OK;
}

/* Captions come from files: what is not UTF-8 is left out of the JSON. */
static void set_text(json_t *object, const char *key, const tdm_text *text)
{
    json_t *value = text->length > 0 ? json_string(text->data) : NULL;
    json_object_set_new(object, key, value != NULL ? value : json_null());
}

static tdm_status write_json(const search *s)
{
    json_t *root = json_object(), *results = json_array();
    const search_options *o = s->options;
    json_object_set_new(root, "model", json_string(s->bundle.dir));
    json_object_set_new(root, "gallery", json_string(o->gallery));
    json_object_set_new(root, "split", json_string(s->split));
    if (o->image[0] != '\0')
        json_object_set_new(root, "image", json_string(o->image));
    else
        json_object_set_new(root, "text", json_string(o->text));
    for (int64_t i = 0; i < s->count; i++) {
        json_t *item = json_object();
        json_object_set_new(item, "rank", json_integer(i + 1));
        json_object_set_new(item, "score", json_real(s->item[i].score));
        json_object_set_new(item, "image", json_integer(s->item[i].row));
        if (s->find_captions) json_object_set_new(item, "caption_row", json_integer(s->row[i]));
        set_text(item, "name", &s->item[i].name);
        set_text(item, "caption", &s->item[i].caption);
        json_array_append_new(results, item);
    }
    json_object_set_new(root, "results", results);
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    TDM_REQUIRE(text != NULL, TDM_E_NOMEM, "cannot make the JSON of the results");
    const tdm_status status = tdm_write_file_atomic(o->json, text, strlen(text));
    free(text);
    return status;
}

static tdm_status write_html(const search *s)
{
    tdm_sheet_item *shown = NULL;
    tdm_text subtitle = {0};
    TDM_TRY(TDM_ALLOC(s->count, &shown));
    found_items_show(s->item, s->count, shown);
    const search_options *o = s->options;
    const bool by_image = o->image[0] != '\0';
    const tdm_sheet_query query = {.text = by_image ? o->image : o->text,
                                   .image = by_image ? s->query_image.data : NULL,
                                   .image_bytes = (int64_t)s->query_image.length,
                                   .item = shown,
                                   .item_count = s->count};
    tdm_status status = tdm_text_printf(
        &subtitle, "%lld best of %lld %s in %s, split %s; model %s, step %lld", (long long)s->count,
        (long long)(s->find_captions ? s->embeddings.captions : s->embeddings.images),
        s->find_captions ? "captions" : "images", s->source, s->split, s->bundle.dir,
        (long long)s->bundle.step);
    if (status == TDM_OK) status = tdm_sheet_write(o->html, "Search", subtitle.data, &query, 1);
    tdm_text_free(&subtitle);
    tdm_free(shown);
    return status;
}

static tdm_status run_search(search *s)
{
    TDM_TRY(bundle_open(s->comm, &s->options->bundle, true, &s->bundle));
    TDM_TRY(embed_query(s));
    TDM_TRY(load_gallery(s));
    TDM_TRY(find_best(s));
    bundle_show(s->comm, &s->bundle);
    TDM_TRY(print_table(s));
    if (s->options->json[0] != '\0') TDM_TRY(write_json(s));
    return s->options->html[0] != '\0' ? write_html(s) : TDM_OK;
}

static tdm_status check_options(search_options *o, const tdm_strings *positional)
{
    const bool by_image = o->image[0] != '\0';
    TDM_REQUIRE(positional->count == (by_image ? 0 : 1), TDM_E_USAGE,
                "tandem search: give either one text or --image FILE, not %lld texts%s",
                (long long)positional->count, by_image ? " and an image" : "");
    if (!by_image) o->text = positional->item[0];
    TDM_REQUIRE(strcmp(o->find, "images") == 0 || strcmp(o->find, "captions") == 0, TDM_E_USAGE,
                "tandem search: --find %s: must be images or captions", o->find);
    return TDM_OK;
}

static tdm_status search_run(tdm_comm *comm, int argc, char **argv)
{
    search_options options = {.bundle = BUNDLE_DEFAULTS,
                              .gallery = "",
                              .split = "",
                              .text = "",
                              .image = "",
                              .find = "images",
                              .html = "",
                              .json = "",
                              .k = 10};
    const tdm_flag flags[] = {
        FLAG_STRING(
            "--gallery", &options.gallery, "DIR", NULL,
            "embeddings made by tandem embed, or a packed data directory, which is then embedded first"),
        FLAG_STRING("--split", &options.split, "NAME", "", "of the gallery, if it has several"),
        FLAG_INT("-k,--top", &options.k, "N", "10", "rows", 1, 1000000, "how many of the best to show"),
        FLAG_STRING("--image", &options.image, "FILE", "", "search with an image instead of a text"),
        FLAG_STRING("--find", &options.find, "images|captions", "images", "what to look for"),
        FLAG_STRING("--html", &options.html, "FILE", "", "contact sheet with thumbnails"),
        FLAG_STRING("--json", &options.json, "FILE", "", "the results as JSON"),
        BUNDLE_FLAGS(options.bundle),
    };
    tdm_strings positional = {0};
    bool help = false;
    TDM_TRY(tdm_parse_flags(
        "search", "--model CKPT --gallery DIR [-k N] [--html FILE] [--json FILE] \"text\" | --image FILE",
        flags, sizeof flags / sizeof flags[0], argc, argv, &positional, &help));
    const tdm_status usable = help ? TDM_OK : check_options(&options, &positional);
    free((void *)positional.item);
    if (help || usable != TDM_OK) return usable;
    search s = {.comm = comm, .options = &options, .find_captions = strcmp(options.find, "captions") == 0};
    const tdm_status status = run_search(&s);
    found_items_free(s.item, s.count);
    tdm_free(s.row);
    tdm_free(s.query);
    tdm_text_free(&s.query_image);
    tdm_embeddings_free(&s.embeddings);
    tdm_dataset_close(&s.dataset);
    bundle_close(&s.bundle);
    return status;
}

const tdm_command tdm_command_search = {.name = "search",
                                        .summary = "the best of a gallery for a text or an image",
                                        .mpi = false,
                                        .run = search_run};
