/* tandem search: the best of a gallery for a text or an image. */
#include "inference_flags.h"
#include "result_json.h"
#include "sheet_items.h"

#include <stdlib.h>
#include <string.h>

typedef struct search_options {
    tdm_inference_options inference;
    const char *gallery, *split, *text, *image, *find, *html, *json;
    int64_t k;
} search_options;

typedef struct search {
    tdm_comm *comm;
    const search_options *options;
    tdm_inference inference;
    tdm_searcher searcher;
    tdm_text query_image; /* encoded */
    float *query;         /* [d] unit norm */
    tdm_modality what;
    tdm_found found;
    tdm_found_item *item; /* [found.k] */
} search;

static tdm_status embed_query(search *s)
{
    const search_options *o = s->options;
    bool cut = false;
    TDM_TRY(TDM_ALLOC(tdm_model_embed_dim(s->inference.model), &s->query));
    if (o->image[0] != '\0') {
        TDM_TRY(tdm_read_file(o->image, &s->query_image));
        return tdm_inference_embed_image(&s->inference, o->image, s->query_image.data, s->query_image.length,
                                         s->query);
    }
    TDM_TRY(tdm_inference_embed_text(&s->inference, o->text, s->query, &cut));
    if (cut)
        tdm_log(TDM_LOG_WARN, "the text was cut to the %lld tokens that the model reads",
                (long long)tdm_caption_tokens(&s->inference.config));
    return TDM_OK;
}

static tdm_status find_best(search *s)
{
    const search_options *o = s->options;
    const tdm_searcher_options gallery = {.gallery = o->gallery, .split = o->split};
    TDM_TRY(tdm_searcher_open(s->comm, &s->inference, &gallery, &s->searcher));
    if (!tdm_searcher_has_source(&s->searcher))
        tdm_log(TDM_LOG_WARN, "%s: the gallery's source is not there: no captions, names and thumbnails",
                s->searcher.source);
    TDM_TRY(tdm_searcher_find(&s->searcher, &(tdm_find){.what = s->what, .k = o->k}, 1, s->query, &s->found));
    TDM_TRY(TDM_ALLOC(s->found.k, &s->item));
    return tdm_searcher_read(&s->searcher, &s->found, 0, o->html[0] != '\0', s->item);
}

/* ---- Results ---- */

/* A caption or a name, "-" for none. */
static tdm_status show_or_dash(const tdm_text *text, tdm_text *line)
{
    return tdm_text_show(line, text->length > 0 ? text->data : "-");
}

static tdm_status append_result(const search *s, int64_t i, tdm_text *line)
{
    TDM_TRY(tdm_text_printf(line, "%4lld  %7.4f  %8lld  ", (long long)i + 1, s->item[i].score,
                            (long long)s->found.row[i]));
    TDM_TRY(show_or_dash(&s->item[i].text, line));
    TDM_TRY(tdm_text_printf(line, "  ["));
    TDM_TRY(show_or_dash(&s->item[i].name, line));
    return tdm_text_printf(line, "]\n");
}

static tdm_status print_table(const search *s)
{
    tdm_text table = {0};
    tdm_status status = tdm_text_printf(&table, "%4s  %7s  %8s  %s\n", "rank", "score",
                                        s->what == TDM_TEXT ? "caption" : "image",
                                        s->what == TDM_TEXT ? "caption, of image" : "captions, file");
    for (int64_t i = 0; i < s->found.k && status == TDM_OK; i++) status = append_result(s, i, &table);
    if (status == TDM_OK && (fputs(table.data, stdout) == EOF || fflush(stdout) != 0))
        status = TDM_ERROR(TDM_E_IO, "standard output: cannot write");
    tdm_text_free(&table);
    return status;
}

static void set_text(json_t *object, const char *key, const tdm_text *text)
{
    json_object_set_new(object, key, text->length > 0 ? tdm_json_text(text->data) : json_null());
}

static tdm_status write_json(const search *s)
{
    json_t *root = json_object(), *results = json_array();
    const search_options *o = s->options;
    json_object_set_new(root, "model", tdm_json_text(s->inference.dir));
    json_object_set_new(root, "gallery", tdm_json_text(o->gallery));
    json_object_set_new(root, "split", tdm_json_text(s->searcher.split));
    if (o->image[0] != '\0')
        json_object_set_new(root, "image", tdm_json_text(o->image));
    else
        json_object_set_new(root, "text", tdm_json_text(o->text));
    for (int64_t i = 0; i < s->found.k; i++) {
        json_t *item = json_object();
        json_object_set_new(item, "rank", json_integer(i + 1));
        json_object_set_new(item, "score", json_real(s->item[i].score));
        json_object_set_new(item, "image", json_integer(s->item[i].image));
        if (s->what == TDM_TEXT) json_object_set_new(item, "caption_row", json_integer(s->item[i].caption));
        set_text(item, "name", &s->item[i].name);
        set_text(item, "caption", &s->item[i].text);
        json_array_append_new(results, item);
    }
    json_object_set_new(root, "results", results);
    const tdm_status status = result_write(root, 17, o->json);
    json_decref(root);
    return status;
}

static tdm_status write_html(const search *s)
{
    tdm_sheet_item *shown = NULL;
    tdm_text subtitle = {0};
    TDM_TRY(TDM_ALLOC(s->found.k, &shown));
    sheet_items_of(s->item, s->found.k, shown);
    const search_options *o = s->options;
    const bool by_image = o->image[0] != '\0';
    const tdm_sheet_query query = {.text = by_image ? o->image : o->text,
                                   .image = by_image ? s->query_image.data : NULL,
                                   .image_bytes = (int64_t)s->query_image.length,
                                   .item = shown,
                                   .item_count = s->found.k};
    tdm_status status = tdm_text_printf(
        &subtitle, "%lld best of %lld %s in %s, split %s; model %s, step %lld", (long long)s->found.k,
        (long long)s->found.gallery, s->what == TDM_TEXT ? "captions" : "images", s->searcher.source,
        s->searcher.split, s->inference.dir, (long long)s->inference.step);
    if (status == TDM_OK) status = tdm_sheet_write(o->html, "Search", subtitle.data, &query, 1);
    tdm_text_free(&subtitle);
    tdm_free(shown);
    return status;
}

static tdm_status run_search(search *s)
{
    TDM_TRY(tdm_inference_open(s->comm, &s->options->inference, true, &s->inference));
    TDM_TRY(embed_query(s));
    TDM_TRY(find_best(s));
    TDM_TRY(inference_show(s->comm, &s->inference));
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
    TDM_REQUIRE(by_image || o->text[strspn(o->text, " \t\r\n")] != '\0', TDM_E_USAGE,
                "tandem search: the text is empty");
    return TDM_OK;
}

static tdm_status search_run(tdm_comm *comm, int argc, char **argv)
{
    search_options options = {.inference = INFERENCE_DEFAULTS,
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
            "--data,--gallery", &options.gallery, "DIR", NULL,
            "embeddings made by tandem embed, or a packed data directory, which is then embedded first"),
        FLAG_STRING("--split", &options.split, "NAME", "", "of the gallery, if it has several"),
        FLAG_INT("-k,--top", &options.k, "N", "10", "rows", 1, 1000000, "how many of the best to show"),
        FLAG_STRING("--image", &options.image, "FILE", "", "search with an image instead of a text"),
        FLAG_STRING("--find", &options.find, "images|captions", "images", "what to look for"),
        FLAG_STRING("--html", &options.html, "FILE", "", "contact sheet with thumbnails"),
        FLAG_STRING("--json", &options.json, "FILE", "", "the results as JSON"),
        INFERENCE_FLAGS(options.inference),
    };
    tdm_strings positional = {0};
    bool help = false;
    TDM_TRY(tdm_parse_flags(
        "search", "--model CKPT --gallery DIR [-k N] [--html FILE] [--json FILE] \"text\" | --image FILE",
        flags, sizeof flags / sizeof flags[0], argc, argv, &positional, &help));
    const tdm_status usable = help ? TDM_OK : check_options(&options, &positional);
    free((void *)positional.item);
    if (help || usable != TDM_OK) return usable;
    search s = {.comm = comm,
                .options = &options,
                .what = strcmp(options.find, "captions") == 0 ? TDM_TEXT : TDM_IMAGE};
    const tdm_status status = run_search(&s);
    tdm_found_items_free(s.item, s.found.k);
    tdm_found_free(&s.found);
    tdm_free(s.query);
    tdm_text_free(&s.query_image);
    tdm_searcher_close(&s.searcher);
    tdm_inference_close(&s.inference);
    return status;
}

const tdm_command tdm_command_search = {.name = "search",
                                        .summary = "the best of a gallery for a text or an image",
                                        .mpi = false,
                                        .stops = true,
                                        .run = search_run};
